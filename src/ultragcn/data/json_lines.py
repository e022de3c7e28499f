"""JSON: one object a line, or one array of objects, which is first written out as lines."""

import codecs
import gzip
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from ultragcn.data import kinds
from ultragcn.data.containers import Ready, temporary_folder
from ultragcn.data.options import option
from ultragcn.errors import DataError

_BLOCK = 1 << 20
_LONGEST = 64 << 20  # letters of one object
_HEAD_LINES = 100


def keys_of(source: Ready) -> list[str]:
    """Return the keys of the first objects of a file of JSON lines, in the order in which they come.

    Raises
    ------
    DataError
        A line is not an object.
    """
    keys: dict[str, None] = {}
    for number, line in itertools.islice(_lines(source), _HEAD_LINES):
        keys.update(dict.fromkeys(key for key in _object(line, source.name, number) if _is_text(key)))
    if not keys:
        raise DataError(f"{source.name} has JSON objects without keys; expected an object for each interaction, such as "
                        '{"user_id": 1, "item_id": 2}')  # fmt: skip
    return list(keys)


def fault_in(source: Ready) -> DataError | None:
    """Return the error for the first line that is not an object; None when all are."""
    try:
        for number, line in _lines(source):
            _object(line, source.name, number)
    except DataError as error:
        return error
    return None


@contextmanager
def as_lines(source: Ready) -> Iterator[Ready]:
    """Yield a file of JSON as one of JSON lines: itself, or a temporary copy, a line for each object of its array or of its lines."""
    if source.kind != kinds.JSON:
        yield source
        return
    with temporary_folder() as folder:
        target = folder / "lines"
        count = _write_lines(source, target)
        yield replace(source, path=target, kind=kinds.JSON_LINES, note=_joined(source.note, f"an array of {count} objects"))


def _joined(*notes: str) -> str:
    return ", ".join(note for note in notes if note)


def _open(source: Ready) -> IO[bytes]:
    with open(source.path, "rb") as file:
        packed = kinds.kind_of(file.read(4))
    return gzip.open(source.path, "rb") if packed == kinds.GZIP else open(source.path, "rb")  # type: ignore[return-value]


def _lines(source: Ready) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, and their numbers from 1."""
    try:
        with _open(source) as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST), b""), start=1):
                if line.strip():
                    yield number, line
    except (OSError, EOFError) as error:
        raise DataError(f"cannot read {source.name}: it is damaged or cut short; fetch or copy it again") from error


def _object(line: bytes, name: str, number: int) -> dict[str, object]:
    try:
        found = json.loads(line.removeprefix(codecs.BOM_UTF8).decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        how = option("encoding", kinds.likely_encoding(line))
        raise DataError(f"{name}, line {number}: not UTF-8; give its encoding, most likely {how}") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        shown = line.decode("utf-8", "replace").strip()[:60]
        raise DataError(f"{name}, line {number}: {shown!r} is not a JSON object; expected one object a line")
    return found


def _is_text(key: str) -> bool:
    """Return whether a key can be written as UTF-8; half of a pair of surrogates cannot."""
    return key.encode("utf-8", "ignore").decode("utf-8") == key


def _refuse_constant(word: str) -> None:
    raise ValueError(word)


def _write_lines(source: Ready, target: Path) -> int:
    """Write every object of an array, or every one of several objects, as a line; return how many there are."""
    count = 0
    with open(target, "w", encoding="utf-8", errors="replace") as out:
        for found in _objects(source):
            out.write(json.dumps(found, ensure_ascii=False, allow_nan=True) + "\n")
            count += 1
    if count == 0:
        raise DataError(f"{source.name} is empty; expected a JSON object for each interaction")
    return count


def _objects(source: Ready) -> Iterator[dict[str, object]]:
    """Yield the objects of a file one by one, so that memory does not grow with it."""
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    with open(source.path, encoding="utf-8-sig", errors="strict") as file:
        text, count, in_array = "", 0, False
        while True:
            text = text.lstrip(" \t\r\n,") if count or in_array else text.lstrip()
            if not in_array and count == 0 and text.startswith("["):
                in_array, text = True, text[1:].lstrip()
            try:
                found, end = decoder.raw_decode(text) if text and text[0] != "]" else (None, 0)
            except (ValueError, RecursionError):
                end = -1
            if end > 0:
                if not isinstance(found, dict):
                    raise DataError(
                        f"{source.name}: element {count + 1} of its JSON is not an object; expected an object for each interaction"
                    )
                yield found
                count, text = count + 1, text[end:]
                continue
            if end == 0 and text:
                return  # the array is closed
            try:
                block = file.read(_BLOCK)
            except UnicodeDecodeError as error:
                raise DataError(f"{source.name}: its JSON is not UTF-8; give its encoding with {option('encoding')}") from error
            if not block or len(text) > _LONGEST:
                if text or in_array:
                    raise DataError(f"{source.name}: its JSON is broken or cut short after {count} objects; fetch or write it again")
                return
            text += block
