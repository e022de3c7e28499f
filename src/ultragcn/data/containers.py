"""Files as people have them, made ready to be read: unpacked, recoded as UTF-8, named for what they are.

What polars reads as it is (text, Parquet, gzip and zstd around text) is left where it lies. Everything else becomes a temporary
file, block by block, so that memory does not grow with it; the temporary files go when the reading ends.
"""

import bz2
import codecs
import contextlib
import gzip
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from ultragcn.data import kinds
from ultragcn.data.options import option
from ultragcn.errors import DataError

_HEAD = 1 << 16  # bytes looked at
_BLOCK = 1 << 20
_SPARE = 256 << 20  # bytes that unpacking leaves on the disk
_DEPTH = 3  # archives in archives
DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError)
_OPEN: dict[str, Callable[..., Any]] = {kinds.GZIP: gzip.open, kinds.BZIP2: bz2.open, kinds.XZ: lzma.open}
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz", ".lzma")
_PLAIN_NAMES = ("utf-8", "utf-8-sig", "ascii", "utf_8_sig")


@dataclass(frozen=True)
class Ready:
    """A file that can be read now."""

    path: Path
    """Where the bytes are: the file itself, or a temporary copy."""
    name: str
    """What the user calls it."""
    kind: str
    """Of `kinds`: text, JSON lines, JSON, Parquet or SQLite."""
    head: bytes
    """Its first bytes, unpacked."""
    note: str = ""
    """What was done to it, in a few words."""

    @property
    def suffix(self) -> str:
        """The suffix of its name without that of its compression, in small letters."""
        return suffix_of(Path(self.name))


def suffix_of(path: Path) -> str:
    """Return the suffix of a file name without that of its compression, in small letters."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if len(suffixes) > 1 and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def require_file(path: Path, what: str = "a file") -> None:
    """Raise `DataError` where `path` is a folder, or a pipe: files are looked at before they are read, and a pipe gives its bytes once."""
    if path.is_dir():
        raise DataError(f"{path} is a folder; give {what}")
    if path.is_fifo():
        raise DataError(f"{path} is a pipe, which can be read only once; write its output to a file and give the file")


@contextlib.contextmanager
def ready(path: Path, name: str, encoding: str = "", guess: str = "", skips: bool = False) -> Iterator[Ready]:
    """Yield a file as one that can be read.

    Parameters
    ----------
    path : Path
    name : str
        What to call it in messages.
    encoding : str
        In which the user says that it is; "" for UTF-8, or UTF-16 where its first bytes say so.
    guess : str
        Where it is not UTF-8, read it in this encoding, or in the most likely one if this is `auto`, in place of refusing it later.
    skips : bool
        Whether its first lines are skipped, so that they say nothing of what it is.

    Raises
    ------
    DataError
        The file does not exist, is damaged, or is not a log. The message names it.
    """
    with contextlib.ExitStack() as stack:
        for _ in range(_DEPTH):
            head, packing = _peek(path, name)
            inner = kinds.kind_of(head)
            if packing in ("", kinds.ZSTD) or (packing == kinds.GZIP and inner in (kinds.TEXT, kinds.JSON_LINES)):
                break
            path = stack.enter_context(_unpacked(path, packing, name))
        found = Ready(path, name, inner, head)
        if inner == kinds.ZIP and (special := kind_of_zip(members(path, name))) is not None:
            if special[0] != kinds.WORKBOOK:
                raise DataError(f"{name} is {special[0]}; {special[1]}")
            found = replace(found, kind=kinds.WORKBOOK)
        elif inner == kinds.ZIP:
            raise DataError(f"{name} is an archive in an archive; unpack it and give the file in it")
        if (what := kinds.other(head)) is not None and not skips:
            raise DataError(f"{name} is {what[0]}; {what[1]}")
        if packing == kinds.ZSTD and inner not in (kinds.TEXT, kinds.JSON_LINES):
            raise DataError(f"{name} is {inner} in zstd; unpack it with zstd -d and give the unpacked file")
        if inner in (kinds.TEXT, kinds.JSON_LINES, kinds.JSON):
            found = _in_utf_8(found, packing, encoding, guess, stack)
            if skips:
                found = replace(found, kind=kinds.TEXT)
        yield found


def members(path: Path, name: str) -> list[str]:
    """Return the names of the files in a zip."""
    try:
        with zipfile.ZipFile(path) as opened:
            return [member for member in opened.namelist() if not member.endswith("/")]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"cannot read {name}: its zip archive is damaged or cut short; fetch or copy it again") from error


def kind_of_zip(inside: list[str]) -> tuple[str, str] | None:
    """Return what a zip is whose members are `inside`, and what to do, where it is more than an archive of files."""
    if any(member.startswith("xl/") for member in inside):
        return kinds.WORKBOOK, ""
    if any(member.startswith("word/") for member in inside):
        return "a Word document", "give the data themselves"
    if "mimetype" in inside and "content.xml" in inside:
        return "an OpenDocument file", "save its table as CSV and give the CSV file"
    if inside and all(member.endswith(".npy") for member in inside):
        return "an archive of NumPy arrays", "make a SciPy matrix or a frame of them in Python (scipy.sparse.load_npz)"
    return None


def _peek(path: Path, name: str) -> tuple[bytes, str]:
    """Return the first bytes of a file, unpacked, and what it is packed with; "" for a plain one."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise DataError(f"cannot read {name}: {why}") from error
    packing = kinds.kind_of(head)
    if packing == kinds.ZSTD:
        return _peek_zstd(path, name), packing
    if packing not in _OPEN:
        return head, ""
    pieces = b""
    try:
        with _OPEN[packing](path, "rb") as file:
            # Piece by piece: of an archive that is cut short the beginning is there.
            while len(pieces) < _HEAD and (piece := file.read(4096)):
                pieces += piece
    except DAMAGED as error:
        if not pieces:
            raise DataError(_broken(name, packing, error)) from error
    return pieces, packing


def _peek_zstd(path: Path, name: str) -> bytes:
    # Python knows zstd only since 3.14; polars reads it as text.
    import polars as pl

    try:
        lines = pl.scan_csv(path, has_header=False, schema={"line": pl.String}, separator="\x01", quote_char=None, glob=False,
                            encoding="utf8-lossy", truncate_ragged_lines=True).head(100).collect()["line"].to_list()  # fmt: skip
    except pl.exceptions.NoDataError:
        return b""
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"cannot read {name}: its zstd archive is damaged or cut short; fetch or copy it again") from error
    return "\n".join(line or "" for line in lines).encode()[:_HEAD]


def _broken(name: str, packing: str, error: Exception) -> str:
    cut = isinstance(error, EOFError) or "truncated" in str(error) or "ended before" in str(error)
    return f"cannot read {name}: its {packing} archive is {'cut short' if cut else 'damaged'}; fetch or copy it again"


@contextlib.contextmanager
def _unpacked(path: Path, packing: str, name: str) -> Iterator[Path]:
    with temporary_folder() as folder:
        target = folder / "unpacked"
        try:
            with _OPEN[packing](path, "rb") as inside:
                copy(inside, target, name)
        except DataError:
            raise
        except DAMAGED as error:
            raise DataError(_broken(name, packing, error)) from error
        yield target


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder that is gone afterwards."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="ultragcn-", ignore_cleanup_errors=True)
    except OSError as error:
        raise DataError(
            f"cannot make a temporary folder to unpack into: {error.strerror}; set TMPDIR to a folder that can be written"
        ) from error
    with folder as name:
        yield Path(name)


def copy(inside: IO[bytes], target: Path, name: str) -> None:
    """Write what comes out of an archive, as long as the disk holds it."""
    try:
        with open(target, "wb") as outside:
            while block := inside.read(_BLOCK):
                _leave_room(target, name)
                outside.write(block)
    except OSError as error:
        if error.errno is None:
            raise
        raise DataError(f"cannot unpack {name}: {error.strerror}; set TMPDIR to a folder with room") from error


def _leave_room(target: Path, name: str) -> None:
    if shutil.disk_usage(target.parent).free < _SPARE:
        raise DataError(f"{name} does not fit on the disk when it is unpacked to {target.parent}; set TMPDIR to a folder with room")


def _in_utf_8(found: Ready, packing: str, encoding: str, guess: str, stack: contextlib.ExitStack) -> Ready:
    """Return the text as UTF-8: as it is, or recoded into a temporary file."""
    note = ""
    if not encoding:
        wide = kinds.utf_16(found.head)
        if wide is not None:
            encoding, note = wide, f"read as {wide.upper()}"
        elif guess and (foreign := _foreign(found, packing)):
            encoding = kinds.likely_encoding(foreign) if guess == "auto" else guess
            note = f"read as {encoding}, since it is not UTF-8"
        elif found.kind != kinds.TEXT and found.head.startswith(codecs.BOM_UTF8):
            encoding = "utf-8-sig"
    elif codecs.lookup(encoding).name.replace("_", "-") in _PLAIN_NAMES and not found.head.startswith(codecs.BOM_UTF8):
        encoding = ""
    if not encoding:
        if kinds.is_binary(found.head):
            raise DataError(
                f"cannot read {found.name}: it is not text in UTF-8; give CSV, TSV, ::, RecBole, JSON lines or Parquet, also .gz "
                f"or .zip, or give its encoding with {option('encoding')}"
            )
        return found
    if packing == kinds.ZSTD:
        raise DataError(f"{found.name} is not UTF-8 in zstd; unpack it with zstd -d and give the unpacked file")
    target = stack.enter_context(temporary_folder()) / "recoded"
    try:
        with _OPEN[packing](found.path, "rb") if packing == kinds.GZIP else open(found.path, "rb") as inside:
            _recode(inside, target, encoding, found.name)
    except DataError:
        raise
    except DAMAGED as error:
        raise DataError(_broken(found.name, packing, error)) from error
    head = _first_bytes(target)
    kind = kinds.kind_of(head)
    return replace(found, path=target, head=head, kind=kind if kind in (kinds.JSON, kinds.JSON_LINES) else kinds.TEXT, note=note)


def _first_bytes(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(_HEAD)


def _foreign(found: Ready, packing: str) -> bytes:
    """Return some bytes from the first on that is not UTF-8; none where all are."""
    if packing == kinds.ZSTD:
        return b""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    try:
        with _OPEN[packing](found.path, "rb") if packing == kinds.GZIP else open(found.path, "rb") as inside:
            while block := inside.read(_BLOCK):
                decoder.decode(block)
    except UnicodeDecodeError as error:
        return bytes(error.object[error.start : error.start + 4096])
    except DAMAGED as error:
        raise DataError(_broken(found.name, packing, error)) from error
    return b""


def _recode(inside: IO[Any], target: Path, encoding: str, name: str) -> None:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    lines, first = 1, True
    with open(target, "wb") as outside:
        while True:
            block = inside.read(_BLOCK)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeError as error:
                raise DataError(f"{name}, near line {lines + _line_ends(block, error)}: not {encoding}; give another encoding") from error
            if first and text:
                text, first = text.removeprefix("\ufeff"), False
            lines += text.count("\n")
            _leave_room(target, name)
            outside.write(text.encode("utf-8", "replace"))
            if not block:
                return


def _line_ends(block: bytes, error: UnicodeError) -> int:
    return block[: error.start].count(b"\n") if isinstance(error, UnicodeDecodeError) else 0
