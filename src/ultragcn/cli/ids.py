"""Ids that are given on the command line or in a file, as text, and what happens to those that a model does not know."""

import gzip
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ultragcn.data.ids import Id, IdMap
from ultragcn.errors import UsageError

STDIN = "-"
_SEPARATORS = ("\t", ",", ";", "|")
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")


class Typed(NamedTuple):
    """Ids that were given as text, in the kind that the model has."""

    ids: list[Id]
    unknown: list[str]
    """Those of `ids` that the model does not know."""
    impossible: list[str]
    """Texts that are left out, since they cannot be an id of the model: words where the ids are integers."""


def typed(ids: IdMap, texts: Sequence[str]) -> Typed:
    """Return what `texts` stand for among `ids`; nothing is refused."""
    if ids.are_strings:
        found = ids.find(list(texts))
        return Typed(list(texts), [text for text, row in zip(texts, found, strict=True) if row < 0], [])
    possible = [bool(_INTEGER.fullmatch(text)) and -(2**63) <= int(text) < 2**63 for text in texts]
    kept = [text for text, fits in zip(texts, possible, strict=True) if fits]
    numbers: list[Id] = [int(text) for text in kept]
    unknown = [text for text, row in zip(kept, ids.find(numbers), strict=True) if row < 0]
    return Typed(numbers, unknown, [text for text, fits in zip(texts, possible, strict=True) if not fits])


def read_ids(name: str, ids: IdMap, option: str) -> list[str]:
    """Return the ids in a file, each once, in their order: one a line, or the column of a table that is called as such ids are.

    Parameters
    ----------
    name : str
        A file of text, perhaps packed with gzip, of JSON lines or Parquet; `-` is stdin.
    ids : IdMap
        Those of the model. A line that is one of them is no header.
    option : str
        For messages.

    Raises
    ------
    UsageError
        The file cannot be read, is a table in which no column is found, or has no ids.
    """
    content = _content(name, option)
    shown = "stdin" if name == STDIN else name
    if content.startswith(b"PAR1") or content.lstrip().startswith(b"{"):
        texts = _column_of_table(content, shown, ids.what)
    else:
        texts = _of_text(content, shown, ids)
    found = list(dict.fromkeys(text for text in texts if text))
    if not found:
        raise UsageError(f"{option} {shown} has no ids; give one id a line, or a table with a column {ids.what}_id")
    return found


def _content(name: str, option: str) -> bytes:
    try:
        content = sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    except (OSError, EOFError) as error:
        why = "it is a damaged gzip file" if isinstance(error, (gzip.BadGzipFile, EOFError)) else getattr(error, "strerror", None)
        raise UsageError(f"cannot read {option} {name}: {why or error}") from error


def _column_of_table(content: bytes, name: str, what: str) -> list[str]:
    import polars as pl

    from ultragcn.data.names import known

    try:
        table = pl.read_parquet(content) if content.startswith(b"PAR1") else pl.read_ndjson(content)
    except pl.exceptions.PolarsError as error:
        raise UsageError(f"cannot read {name}: it is damaged; give one {what} id a line") from error
    column = known(what, table.columns)
    if column is None:
        raise _no_column(name, table.columns, what)
    values = table[column].drop_nulls()
    if values.dtype.is_float():  # a column with missing ids, as pandas writes it
        values = values.filter(values == values.floor()).cast(pl.Int64, strict=False).drop_nulls()
    return [str(value) for value in values.to_list()]


def _of_text(content: bytes, name: str, ids: IdMap) -> list[str]:
    import csv

    from ultragcn.data.names import known

    try:
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read {name}: it is not text in UTF-8; save it as UTF-8") from error
    lines = [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
    if not lines:
        return []
    as_they_are = _known(ids, lines)
    if lines[0] not in as_they_are:
        for separator in _SEPARATORS:
            cells = next(csv.reader([lines[0]], delimiter=separator))
            column = known(ids.what, cells)
            if column is not None:
                place = cells.index(column)
                rows = csv.reader(lines[1:], delimiter=separator, quotechar=None if separator == "\t" else '"',
                                  quoting=csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL)  # fmt: skip
                return [row[place].strip() for row in rows if len(row) > place]
    found = [line if line in as_they_are else line.strip() for line in lines]
    if not as_they_are and not _known(ids, found):
        for separator in _SEPARATORS:
            if all(separator in line for line in lines):
                raise _no_column(name, lines[0].split(separator), ids.what)
    return found


def _known(ids: IdMap, texts: Sequence[str]) -> set[str]:
    """Return those of `texts` that are ids of the model."""
    found = typed(ids, texts)
    return set(texts).difference(found.unknown, found.impossible)


def _no_column(name: str, columns: Sequence[str], what: str) -> UsageError:
    shown = ", ".join(map(str, columns[:8])) + (", ..." if len(columns) > 8 else "")
    return UsageError(f"{name} is a table, and which of its columns ({shown}) has the {what} ids is not clear; call that column {what}_id")
