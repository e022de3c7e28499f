"""The user-line text format of the published splits.

One line a user: `user item item ...`, non-negative integers separated by blanks or tabs; the line may end in LF or CRLF. The
same user may come twice (the items are joined), a user may have no items, a user may have an item twice (counted, kept once).
"""

import codecs
import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ultragcn.errors import DataError

# Digits of the largest id that surely fits 64 bits.
_MAX_DIGITS = 18


@dataclass(frozen=True)
class UserLines:
    """A file in the user-line format, as read: N pairs and the line each came from."""

    path: Path
    users: np.ndarray  # (N,) int64, user id of each pair
    items: np.ndarray  # (N,) int64
    lines: np.ndarray  # (N,) int64, from 1
    all_users: np.ndarray  # (L,) int64, user id of each line, with items or without


def read_user_lines(path: str | Path, name: str = "") -> UserLines:
    """Read a file in the user-line format, plain or gzip, called `name` in messages.

    Raises
    ------
    DataError
        The file cannot be read, is empty, or has a line that is not made of non-negative integers of at most 18 digits without zeros
        before them; the message names file and line.
    """
    path, name = Path(path), name or str(path)
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        broken = "its gzip archive is damaged or cut short; fetch or copy it again"
        raise DataError(f"cannot read {name}: {getattr(error, 'strerror', None) or broken}") from error
    data = np.frombuffer(content.removeprefix(codecs.BOM_UTF8), dtype=np.uint8)
    is_digit = (data >= ord("0")) & (data <= ord("9"))
    is_newline = data == ord("\n")
    is_blank = (data == ord(" ")) | (data == ord("\t")) | (data == ord("\r")) | is_newline
    odd = np.flatnonzero(~is_digit & ~is_blank)
    if len(odd):
        _refuse(name, data, int(odd[0]), "expected non-negative integers: user item item ...")
    # A carriage return belongs before a newline (or ends the file); elsewhere two lines would be read as one.
    lone = np.flatnonzero((data[:-1] == ord("\r")) & ~is_newline[1:])
    if len(lone):
        _refuse(name, data, int(lone[0]), "a carriage return inside a line; end lines with LF or CRLF")
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_digit, [False]))))
    starts, ends = edges[0::2], edges[1::2]
    if len(starts) == 0:
        raise DataError(f"{name} is empty; expected a line for each user: user item item ...")
    too_long = np.flatnonzero(ends - starts > _MAX_DIGITS)
    if len(too_long):
        _refuse(name, data, int(starts[too_long[0]]), f"an id of more than {_MAX_DIGITS} digits")
    padded = np.flatnonzero((ends - starts > 1) & (data[starts] == ord("0")))
    if len(padded):  # read as a number it would be the id of another
        _refuse(name, data, int(starts[padded[0]]), "a number that begins with 0; give such ids as text, in a CSV of user,item")
    numbers = _parse(data, starts, ends)
    line_of = np.searchsorted(np.flatnonzero(is_newline), starts)
    first_of_line = np.concatenate(([True], line_of[1:] != line_of[:-1]))
    all_users = numbers[first_of_line]
    counts = np.diff(np.append(np.flatnonzero(first_of_line), len(numbers))) - 1
    keep = ~first_of_line
    return UserLines(path, np.repeat(all_users, counts), numbers[keep], line_of[keep] + 1, all_users)


def _parse(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the decimal numbers at data[start:end], all at once: one multiply-add for each digit position."""
    numbers = np.zeros(len(starts), dtype=np.int64)
    lengths = ends - starts
    for position in range(int(lengths.max())):
        active = lengths > position
        numbers[active] = numbers[active] * 10 + (data[starts[active] + position] - ord("0"))
    return numbers


def _refuse(name: str, data: np.ndarray, position: int, expected: str) -> None:
    """Raise the error that names line and word at byte `position`."""
    text = data.tobytes()
    line = text.count(b"\n", 0, position) + 1
    blanks = b" \t\n\r"
    start = max(text.rfind(bytes([blank]), 0, position) for blank in blanks) + 1
    rest = text[start : position + 40].split(None, 1)
    word = rest[0].decode("utf-8", "replace") if text[position] not in blanks else "\\r"
    raise DataError(f"{name}, line {line}: cannot read {word!r}: {expected}")
