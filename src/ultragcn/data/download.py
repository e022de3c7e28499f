"""Fetching a file: whole and checked, or not there at all. An interrupted download goes on where it stopped."""

import contextlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from pathlib import Path

from ultragcn.errors import DownloadError, UsageError
from ultragcn.progress import Progress, Silent
from ultragcn.storage import hash_file

_ATTEMPTS = 3  # per address; an attempt after a broken connection goes on where that one stopped
_BLOCK = 1 << 16  # bytes read at a time: small enough for a smooth bar, large enough not to matter


class _RefusedError(Exception):
    """An address does not have what we want; the message says why. Trying it again would change nothing."""


class _BrokenError(Exception):
    """The connection ended too early; the next attempt may go on from there."""


def fetch(
    urls: str | Sequence[str],
    path: str | Path,
    *,
    sha256: str | None,
    size: int | None = None,
    wanted: Path | None = None,
    progress: Progress | None = None,
    timeout: float = 30.0,
) -> Path:
    """Download a file to `path`, from the first address that delivers it.

    The bytes go to `<path>.part`, which replaces `path` at once when it is complete and its checksum is right: `path`
    is never half a file. A `.part` left by an interrupted download is continued, if there is a checksum to tell that
    both halves belong together; otherwise it is started anew. A `path` that has the right checksum already is kept.

    Parameters
    ----------
    urls : str or sequence of str
        Addresses (http or https) of the same file, tried in turn.
    path : str or Path
        Where the file belongs; folders are made as needed.
    sha256 : str or None
        Checksum of the whole file in hexadecimal; None accepts what comes.
    size : int, optional
        Length of the whole file in bytes, if known: a server that announces another length is not read at all.
    wanted : Path, optional
        The file that `path` will be made into: what someone without a connection has to put in its place. By default `path`.
    progress : Progress, optional
        Told the bytes as they come (unit `byte`).
    timeout : float
        Seconds to wait for a silent server.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    UsageError
        An address is neither http nor https.
    DownloadError
        No address delivered the file, or it cannot be written. The message says what went wrong where, and where to put
        the file by hand; `__cause__` is the last reason alone.
    """
    urls = [urls] if isinstance(urls, str) else list(urls)
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"cannot download from {url!r}: the address must begin with http:// or https://")
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    reasons: dict[str, Exception] = {}
    try:
        if sha256 is not None and path.is_file() and hash_file(path) == sha256:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        for url in urls:
            try:
                _fetch_from(url, part, sha256, size, progress or Silent(), timeout)
            except (_RefusedError, _BrokenError) as reason:
                reasons[url] = reason
            else:
                os.replace(part, path)
                return path
    except OSError as error:
        raise DownloadError(
            f"cannot write {part}: {error.strerror or error}; free some space or choose a folder you can write to"
        ) from error
    wanted = wanted or path
    message = f"cannot download {wanted.name} ({'; '.join(f'{url}: {reason}' for url, reason in reasons.items())})"
    if sha256 is not None and part.is_file():
        message += "; the part that was downloaded is kept, and the next try goes on from there"
    last = next(reversed(reasons.values()), None)
    raise DownloadError(f"{message}; download the file by hand and put it at {wanted}") from last


def _fetch_from(url: str, part: Path, sha256: str | None, size: int | None, progress: Progress, timeout: float) -> None:
    """Complete and check `part` from one address, continuing after broken connections."""
    for attempt in range(_ATTEMPTS):
        if sha256 is None:
            part.unlink(missing_ok=True)
        try:
            continued = _transfer(url, part, size, progress, timeout)
        except _BrokenError:
            if attempt + 1 == _ATTEMPTS:
                raise
            continue
        if sha256 is None or (found := hash_file(part)) == sha256:
            return
        part.unlink()
        # Two halves may come from different versions of the file; a file that came in one piece is simply another one.
        if not continued:
            raise _RefusedError(f"it is another file or damaged (SHA-256 {found[:12]}..., expected {sha256[:12]}...)")
    raise _RefusedError("it kept changing while it was read")


def _transfer(url: str, part: Path, size: int | None, progress: Progress, timeout: float) -> bool:
    """Append to `part` what is still missing and return whether the result continues an earlier transfer."""
    offset = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "ultragcn", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    try:
        response = _http_only().open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if offset and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return True  # nothing is missing, or the file has become shorter: the checksum will tell
        raise _RefusedError(f"the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _RefusedError(_why(error)) from error
    with response:
        first = _first_byte(response)
        if first not in (0, offset):
            part.unlink(missing_ok=True)
            raise _BrokenError(f"the server sends the file from byte {first} instead of {offset}")
        offset = first  # 0 although we asked for more: the server does not know ranges and sends the whole file
        length = response.headers.get("Content-Length", "")
        total = offset + int(length) if length.isdecimal() else size
        if size is not None and total != size:
            raise _RefusedError(f"the file there has {total} bytes, not {size}")
        with open(part, "r+b" if offset else "wb") as file:
            file.seek(offset)
            received = offset
            with _shown(progress, part.stem, total):
                progress.advance(offset)
                for block in _blocks(response):
                    if not part.exists() or part.stat().st_size != received:
                        raise _RefusedError("another process is downloading the same file; wait until it is done")
                    file.write(block)
                    file.flush()
                    received += len(block)
                    progress.advance(len(block))
            if total is not None and received < total:
                raise _BrokenError(f"the connection ended after {received} of {total} bytes")
            os.fsync(file.fileno())
    return offset > 0


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the body; what goes wrong on the way is `_BrokenError`, so that errors of the disk keep their own name."""
    while True:
        try:
            block = response.read(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenError(_why(error)) from error
        if not block:
            return
        yield block


def _first_byte(response: http.client.HTTPResponse) -> int:
    """Return which byte of the file the body begins with."""
    if response.status != HTTPStatus.PARTIAL_CONTENT:
        return 0
    given = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if given is None:
        raise _RefusedError("the server sends part of the file without saying which")
    return int(given[1])


@contextlib.contextmanager
def _shown(progress: Progress, what: str, total: int | None) -> Iterator[None]:
    progress.start(what, total, "byte")
    try:
        yield
    finally:
        progress.finish()


def _why(error: BaseException) -> str:
    """Return in a few words why a connection failed."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "the server does not answer"
    return f"no connection ({getattr(reason, 'strerror', None) or reason or type(reason).__name__})"


def _http_only() -> urllib.request.OpenerDirector:
    """Return an opener that speaks http and https alone: no redirection may lead it to a local file or to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
