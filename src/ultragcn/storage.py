"""Files that are either whole or not there: atomic writes, appended rows, hashes."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ultragcn.errors import UltraGCNError, UsageError


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well it replaces `path` at once, else it is removed.

    A reader sees the old file or the new one, never half of either, also after a crash or on a full disk.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise UsageError(f"cannot write to {path.parent}: {error.strerror}; choose a folder you can write to") from error
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes files private; a result file gets the permissions any other new file would get.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        raise UltraGCNError(f"cannot write {path}: {error.strerror}; the previous file, if any, is untouched") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` as indented JSON to `path`, atomically. Numbers that JSON does not know (NaN) are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a missing or broken file is one sentence."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"cannot read {path}: it is not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise UsageError(f"cannot read {path}: expected a JSON object")
    return value


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row to the TSV file `path`; the first row writes the header.

    The row is handed to the system in one `write` on a file opened for appending, so that a process killed at any moment
    leaves whole lines only, and rows of several processes do not mix. A torn last line, left by a machine that lost power, is
    closed first.

    Raises
    ------
    UltraGCNError
        `path` has other columns than `row`, or cannot be written.
    """
    path = Path(path)
    header = "\t".join(row) + "\n"
    line = "\t".join(_cell(value) for value in row.values()) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
            size = os.fstat(descriptor).st_size
            if size == 0:
                line = header + line
            else:
                with open(path, encoding="utf-8") as file:
                    present = file.readline()
                if present != header:
                    raise UltraGCNError(
                        f"{path} has the columns {present.split()}, not {list(row)}; move that file away or write to another"
                    )
                if os.pread(descriptor, 1, size - 1) != b"\n":
                    line = "\n" + line
            data = line.encode()
            if os.write(descriptor, data) != len(data):
                os.ftruncate(descriptor, size)
                raise OSError(28, "No space left on device")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UltraGCNError(f"cannot write {path}: {error.strerror}") from error


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the whole rows of a TSV file written by `append_row`; a torn line is not a row."""
    lines = Path(path).read_text(encoding="utf-8").split("\n")[:-1]
    names = lines[0].split("\t") if lines else []
    cells = (line.split("\t") for line in lines[1:])
    return [dict(zip(names, row, strict=True)) for row in cells if len(row) == len(names)]


def hash_bytes(parts: Sequence[bytes | memoryview]) -> str:
    """Return the SHA-256 of the concatenated parts, in hexadecimal."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cell(value: Any) -> str:
    text = f"{value:.8g}" if isinstance(value, float) else str(value)
    return text.replace("\t", " ").replace("\n", " ")


def _lock(descriptor: int) -> None:
    """Hold the file until it is closed; where the system has no such locks (Windows), appending alone must do."""
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)
