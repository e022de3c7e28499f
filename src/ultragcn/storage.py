"""Files that are either whole or not there: atomic writes, appended rows, arrays with a checksum; and one writer a folder."""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from ultragcn.errors import UltraGCNError, UsageError, warn
from ultragcn.forms import misfit

_PART = ".part"
_PARTS = ".parts"
"""What the name of a temporary folder ends with."""


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well it replaces `path` at once, else it is removed.

    A reader sees the old file or the new one, never half of either, also after a crash or on a full disk. A link stays, and the file
    that it leads to is replaced. What a killed process left beside `path` is removed by the next one that writes it.

    Raises
    ------
    UsageError
        `path` is no file, such as a folder or a device, or its folder cannot be written to.
    """
    path = Path(path)
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_file():
        raise UsageError(f"cannot write {path}: it is no file; give the name of one")
    with contextlib.ExitStack() as held:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(path)
            temporary = _new_part(path, held)
        except OSError as error:
            raise UsageError(f"cannot write to {path.parent}: {error.strerror}; choose a folder you can write to") from error
        with _in_place_of(path, temporary):
            yield temporary


@contextlib.contextmanager
def _in_place_of(path: Path, temporary: Path) -> Iterator[None]:
    """Put `temporary` in the place of `path` when the block ends well; else remove it."""
    try:
        yield
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


def _new_part(path: Path, held: contextlib.ExitStack) -> Path:
    """Return a new file beside `path`, locked until `held` ends, by which others see that somebody writes it."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PART)
        if os.name == "nt":  # a file that is open cannot be moved there
            os.close(descriptor)
            return Path(name)
        try:
            lock(descriptor, say=False)
        except BaseException:
            os.close(descriptor)
            raise
        if os.path.exists(name):  # else another writer took it for abandoned before it was locked
            held.callback(os.close, descriptor)
            return Path(name)
        os.close(descriptor)


def _remove_abandoned(path: Path) -> None:
    """Remove what killed writers of `path` left beside it: a part that nobody holds. Where there are no locks, everything stays."""
    if os.name == "nt":
        return
    part = re.compile(re.escape(f".{path.name}.") + "[a-z0-9_]{8}" + re.escape(_PART))
    names: list[str] = []
    with contextlib.suppress(OSError):  # a folder may be one to write to and not to list
        names = os.listdir(path.parent)
    for name in names:
        if part.fullmatch(name):
            with contextlib.suppress(OSError):  # it is held, or somebody else has removed it
                descriptor = os.open(path.parent / name, os.O_RDWR)
                try:
                    if lock(descriptor, wait=False, say=False):
                        os.unlink(path.parent / name)
                finally:
                    os.close(descriptor)


@contextlib.contextmanager
def scratch_path(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path`, which is removed when the block ends, or by the next writer of `path` after a kill."""
    with contextlib.ExitStack() as held:
        scratch = _new_part(path, held)
        try:
            yield scratch
        finally:
            scratch.unlink(missing_ok=True)


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`; it is removed when the block ends, or after a kill by the next one that is made there.

    Raises
    ------
    UsageError
        The folder of `path` cannot be written to.
    UltraGCNError
        Something in the block could not be written.
    """
    with contextlib.ExitStack() as held:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned_folders(path)
            folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PARTS))
            held.callback(_remove_own, folder, os.getpid())
            if os.name != "nt":  # Windows cannot open a folder
                descriptor = os.open(folder, os.O_RDONLY)
                held.callback(os.close, descriptor)
                lock(descriptor, say=False)
        except OSError as error:
            raise UsageError(f"cannot write to {path.parent}: {error.strerror}; choose a folder you can write to") from error
        try:
            yield folder
        except OSError as error:
            why = error.strerror or f"not everything could be written ({error}); is the disk full?"
            raise UltraGCNError(f"cannot write {path}: {why}; what was there before is untouched") from error


def _remove_own(folder: Path, owner: int) -> None:
    """Remove a folder, in the process that made it: one that was forked from it leaves it alone when it ends."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned_folders(path: Path) -> None:
    """Remove the folders that killed processes left beside `path`: those that nobody holds. Where there are no locks, everything stays."""
    if os.name == "nt":
        return
    part = re.compile(re.escape(f".{path.name}.") + "[a-z0-9_]{8}" + re.escape(_PARTS))
    for name in os.listdir(path.parent):
        if part.fullmatch(name):
            with contextlib.suppress(OSError):  # it is held, or somebody else has removed it
                descriptor = os.open(path.parent / name, os.O_RDONLY)
                try:
                    if lock(descriptor, wait=False, say=False):
                        shutil.rmtree(path.parent / name, ignore_errors=True)
                finally:
                    os.close(descriptor)


def put_in_place(made: Path, path: Path) -> None:
    """Let a file or a folder that was made in a `scratch_folder` of `path` take the place of `path`.

    A folder takes the place of another one by two renames. Whoever looks between them finds neither; a failure puts the old one back.
    """
    umask = os.umask(0)
    os.umask(umask)
    for file in made.iterdir() if made.is_dir() else (made,):
        with open(file, "rb+") as opened:
            os.fsync(opened.fileno())
        file.chmod(0o666 & ~umask)
    if not made.is_dir():
        os.replace(made, path)
        return
    made.chmod(0o777 & ~umask)
    if not path.exists():
        os.rename(made, path)
        return
    with scratch_folder(path) as aside:
        os.rename(path, aside / "old")
        try:
            os.rename(made, path)
        except BaseException:
            os.rename(aside / "old", path)
            raise


@contextlib.contextmanager
def output_path(path: Path) -> Iterator[Path]:
    """Yield where to write what is to come out at `path`: as `atomic_path`, but into a device or a pipe, which has no place beside it."""
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
    else:
        with atomic_path(path) as temporary:
            yield temporary


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Make `folder` if need be, and keep other processes out for as long as the block or this process lasts, however it ends.

    What a killed process left of `atomic_path` there is removed.

    Raises
    ------
    UsageError
        Another process is at it, or it cannot be used.
    """
    folder = Path(folder)
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if os.name != "nt":  # Windows cannot open a folder
                descriptor = os.open(folder, os.O_RDONLY)
                held.callback(os.close, descriptor)
                lock(descriptor, wait=False)
            for left in folder.glob(f".*{_PART}"):
                left.unlink(missing_ok=True)
        except BlockingIOError as error:
            raise UsageError(f"another process is writing to {folder}; wait until it ends, or end it") from error
        except OSError as error:
            raise UsageError(f"cannot use {folder}: {error.strerror}; choose a folder you can write to") from error
        yield


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` as indented JSON to `path`, atomically. Numbers that JSON does not know (NaN) are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], form: str, about: Mapping[str, Any]) -> None:
    """Write named arrays and what is to be known `about` them (JSON) to `path`, atomically: a safetensors file with a checksum.

    Parameters
    ----------
    path : Path
    arrays : dict of str -> array
    form : str
        What kind of file this is, and its version: `read_arrays` refuses others.
    about : dict
    """
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    data = bytearray(save(arrays, metadata={"format": form, "about": json.dumps(about), "checksum": _NO_CHECKSUM}))
    place = data.index(_BEFORE_CHECKSUM + _NO_CHECKSUM.encode()) + len(_BEFORE_CHECKSUM)
    data[place : place + len(_NO_CHECKSUM)] = _checksum(data, place).encode()
    with atomic_path(path) as temporary:
        # The library's own writing to a file leaves another temporary file behind when it is killed, under a name of its own.
        temporary.write_bytes(data)


def read_form(path: Path) -> str:
    """Return the `form` of a file that `write_arrays` wrote, "" of another safetensors file. The rest of the file is not read."""
    return _read_metadata(path).get("format", "")


def read_checksum(path: Path) -> str:
    """Return the checksum that a file of `write_arrays` says that it has, "" of another safetensors file: it tells one file from others."""
    return _read_metadata(path).get("checksum", "")


def _read_metadata(path: Path) -> dict[str, str]:
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(_PREFIX), "little")
            if size > os.fstat(file.fileno()).st_size - _PREFIX:
                raise _damaged(path, "its header is longer than the file")
            return _header(path, file.read(size))[1]
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def read_arrays(path: Path, form: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays that `write_arrays` wrote to `path`, and what it was given about them.

    Every bit of the file is under the checksum, so that a file that came to harm by accident is refused. What was made on purpose may
    have a right one: whoever reads the arrays checks them before using them.

    Raises
    ------
    UsageError
        The file cannot be read, is damaged, or is not of this `form`.
    """
    try:
        with open(path, "rb") as file:
            return _read_arrays(path, file, form)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _read_arrays(path: Path, file: IO[bytes], form: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    start = file.read(_PREFIX)
    size, length = int.from_bytes(start, "little"), os.fstat(file.fileno()).st_size
    if len(start) < _PREFIX or size > length - _PREFIX:
        raise _damaged(path, "its header is longer than the file")
    header = file.read(size)
    entries, metadata = _header(path, header)
    if metadata.get("format") != form:
        raise UsageError(f"{path} is {metadata.get('format', 'something else')}, not {form}, which this version reads")
    written = metadata.get("checksum", "")
    found = header.find(_BEFORE_CHECKSUM + written.encode())
    if found < 0 or len(written) != len(_NO_CHECKSUM):
        raise UsageError(f"{path} is damaged: its checksum does not fit")
    place = _PREFIX + found + len(_BEFORE_CHECKSUM)
    digest, end, arrays = _digest_of(start + header, place), 0, {}
    # Each array has memory of its own: SciPy copies what is a small part of a larger one, which would then be there twice.
    for name, entry in sorted(entries.items(), key=lambda named: named[1]["data_offsets"]):
        arrays[name], end = _array(path, file, name, entry, end, length - _PREFIX - size)
        digest = zlib.crc32(arrays[name].reshape(-1).view(np.uint8).data, digest)
    if end != length - _PREFIX - size:
        raise _damaged(path, "its arrays do not fill it")
    if f"{digest:08x}" != written:
        raise UsageError(f"{path} is damaged: its checksum does not fit")
    try:
        about = json.loads(metadata["about"], object_pairs_hook=_distinct)  # checkpoints hold infinite numbers
    except (KeyError, ValueError, RecursionError) as error:
        raise _damaged(path, "what it says about its arrays is not JSON") from error
    if not isinstance(about, dict):
        raise _damaged(path, "what it says about its arrays is not an object")
    return {name: arrays[name] for name in entries}, about


_PREFIX = 8
"""Bytes of a safetensors file that say how long its header is."""
_NO_CHECKSUM = "0" * 8
"""What stands in place of the checksum while it is made."""
_BEFORE_CHECKSUM = b'"checksum":"'
"""What stands before the checksum in the header; inside of another text, the quotes would have backslashes before them."""
_TYPES = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "U8": "|u1"}
"""The types of arrays, as safetensors calls them."""
_ENTRY = {"dtype": set(_TYPES), "shape": [int], "data_offsets": [int]}


def _checksum(data: bytearray, place: int) -> str:
    """Return the CRC-32 of a whole file with nothing in place of the checksum, which begins at `place`.

    Every flipped bit changes it, and so does every burst of up to 32 bits; SHA-256 takes three times as long.
    """
    return f"{_digest_of(data, place):08x}"


def _digest_of(data: bytes | bytearray, place: int) -> int:
    """Return the CRC-32 of the start of a file, or of all of it, with nothing in place of the checksum."""
    view = memoryview(data)
    return zlib.crc32(view[place + len(_NO_CHECKSUM) :], zlib.crc32(_NO_CHECKSUM.encode(), zlib.crc32(view[:place])))


def _header(path: Path, header: bytes) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return what the header of a safetensors file says of each array, and the texts about them."""
    try:
        entries = _parsed(header)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is not JSON") from error
    metadata = entries.pop("__metadata__", {}) if isinstance(entries, dict) else None
    if wrong := misfit(metadata, {str: str}, "the header") or misfit(entries, {str: _ENTRY}, "the header"):
        raise _damaged(path, wrong)
    return entries, metadata or {}


def _array(path: Path, file: IO[bytes], name: str, entry: Mapping[str, Any], start: int, most: int) -> tuple[np.ndarray, int]:
    """Return the next array of a safetensors file, which begins `start` bytes after the header, and where it ends."""
    dtype, shape, offsets = np.dtype(_TYPES[entry["dtype"]]), entry["shape"], entry["data_offsets"]
    if len(offsets) != 2 or offsets[0] != start:
        raise _damaged(path, f"the place of {name!r} in it is not behind that of the array before")
    inside = start <= offsets[1] <= most
    if not inside or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
        raise _damaged(path, f"the place of {name!r} in it does not fit its shape")
    values = np.fromfile(file, dtype, math.prod(shape))
    try:
        array = values.reshape(shape)
    except ValueError as error:  # more than 64 dimensions, or a file that became shorter
        raise _damaged(path, f"{name!r} has a shape that no array has") from error
    return array, offsets[1]


def _damaged(path: Path, why: str) -> UsageError:
    return UsageError(f"cannot read {path}: {why}; the file is damaged, or not one that this version writes")


def read_json(path: Path, form: Mapping[Any, Any] | None = None) -> dict[str, Any]:
    """Read a JSON object; a missing or broken file, or one whose values do not have the `form` (`forms`), is one sentence."""
    try:
        value = _parsed(Path(path).read_text(encoding="utf-8"))
        _refuse_odd_texts(value)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except RecursionError as error:
        raise UsageError(f"cannot read {path}: it is nested too deeply") from error
    except ValueError as error:
        raise UsageError(f"cannot read {path}: it is not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise UsageError(f"cannot read {path}: expected a JSON object")
    if form is not None and (wrong := misfit(value, dict(form))):
        raise UsageError(f"{path} is not as it was written: {wrong}; put it back as it was")
    return value


@contextlib.contextmanager
def as_written(path: Path, by: str) -> Iterator[None]:
    """Make one sentence of whatever goes wrong with values that stand in `path`, a file or folder that `by` wrote.

    Tables are text that anybody can edit: a cell that is not a number, a column that is missing, a number out of all proportion.
    """
    try:
        yield
    except UltraGCNError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        why = f"no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0] or type(error).__name__
        raise UsageError(f"{path} is not as {by} writes it ({why}); put it back as it was") from error


def _parsed(text: str | bytes) -> Any:
    """Return what JSON says; numbers that JSON does not know (NaN) and a name that comes twice in an object raise `ValueError`."""
    return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_distinct)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of its pairs; of a name that comes twice, nobody knows which value is meant."""
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} comes twice")
    return value


def _refuse_odd_texts(value: Any) -> None:
    """Raise `ValueError` if a text is in a value that cannot be written or be the name of a file."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("a text has a null character")
        value.encode()
    elif isinstance(value, (list, dict)):
        for one in value if isinstance(value, list) else (*value, *value.values()):
            _refuse_odd_texts(one)


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row to the TSV file `path`; the first row writes the header.

    The row is handed to the system in one `write` on a file opened for appending, so that rows of several processes do not mix and a
    process killed at any moment all but never leaves half a line (the system may stop between two pages of memory). Half a last
    line, left so or by a machine that lost power, is cut off first: closed, its last cell might look whole.

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
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            lock(descriptor)
            size = os.fstat(descriptor).st_size
            if size > 0:
                with open(path, encoding="utf-8") as file:
                    present = file.readline()
                if present != header and (present.endswith("\n") or not header.startswith(present)):
                    raise UltraGCNError(
                        f"{path} has the columns {present.split()}, not {list(row)}; move that file away or write to another"
                    )
                os.lseek(descriptor, size - 1, os.SEEK_SET)
                if os.read(descriptor, 1) != b"\n":
                    size = path.read_bytes().rfind(b"\n") + 1
                    os.ftruncate(descriptor, size)
            if size == 0:
                line = header + line
            data = line.encode()
            if os.write(descriptor, data) != len(data):
                os.ftruncate(descriptor, size)
                raise OSError(28, "No space left on device")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UltraGCNError(f"cannot write {path}: {error.strerror}") from error


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `rows`, which have the same columns, to the TSV file `path`, atomically; `append_row` goes on from there."""
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    write_text(path, "".join("\t".join(line) + "\n" for line in lines))


def read_rows(path: Path, needed: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return the whole rows of a TSV file written by `append_row`; a torn line is not a row.

    Raises
    ------
    UsageError
        The file is not text, or lacks one of the columns that are `needed`.
    OSError
        It cannot be read.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")[:-1]
    except ValueError as error:
        raise UsageError(f"cannot read {path}: it is not UTF-8 text; put it back as it was") from error
    names = lines[0].split("\t") if lines else []
    if lines and (lacking := [name for name in needed if name not in names]):
        raise UsageError(f"cannot read {path}: it has no column {lacking[0]}; put it back as it was")
    cells = (line.split("\t") for line in lines[1:])
    return [dict(zip(names, row, strict=True)) for row in cells if len(row) == len(names)]


def hash_bytes(parts: Iterable[bytes | memoryview]) -> str:
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


def lock(descriptor: int, wait: bool = True, say: bool = True) -> bool:
    """Hold the file until it is closed; return whether it is held.

    Without `wait`, a file that another process holds raises `BlockingIOError`.

    Where there are no such locks (Windows, some network file systems and FUSE), nothing is held. A warning says so, once,
    unless `say` is False.
    """
    try:
        import fcntl
    except ImportError:
        if say:
            _say_no_locks("this system")
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        if say:
            _say_no_locks("this file system")
        return False
    return True


def _say_no_locks(where: str) -> None:
    global _no_locks_said
    if not _no_locks_said:
        _no_locks_said = True
        warn(f"{where} has no file locks; let no two processes write to the same folder at once")


_no_locks_said = False
