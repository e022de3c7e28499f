"""Ids that are given as text, on the command line or in a file: users, items, and pairs of them."""

import csv
import gzip
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ultragcn.data.ids import Id, IdMap
from ultragcn.data.names import known
from ultragcn.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

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
    possible = [_is_possible(text) for text in texts]
    kept = [text for text, fits in zip(texts, possible, strict=True) if fits]
    numbers: list[Id] = [int(text) for text in kept]
    unknown = [text for text, row in zip(kept, ids.find(numbers), strict=True) if row < 0]
    return Typed(numbers, unknown, [text for text, fits in zip(texts, possible, strict=True) if not fits])


def rows_of(ids: IdMap, texts: Sequence[str]) -> np.ndarray:
    """Return the rows (int64) of ids that were given as text; -1 for what the model does not know, or what cannot be an id of it."""
    if ids.are_strings or not texts:
        return ids.find(np.array(texts, object)) if texts else np.zeros(0, np.int64)
    rows = np.full(len(texts), -1, np.int64)
    places = [place for place, text in enumerate(texts) if _is_possible(text)]
    rows[places] = ids.find(np.array([int(texts[place]) for place in places], np.int64))
    return rows


def _is_possible(text: str) -> bool:
    """Return whether a text can be a whole number that is an id."""
    return bool(_INTEGER.fullmatch(text)) and -(2**63) <= int(text) < 2**63


def read_ids(name: str, ids: IdMap, option: str) -> list[str]:
    """Return the ids in a file, each once, in their order: one a line, or the column of a table that is called as such ids are.

    Parameters
    ----------
    name : str
        A file of text, perhaps packed with gzip, of JSON lines or Parquet; `-` is stdin.
    ids : IdMap
        Those of the model. A line that is one of these ids is not a header.
    option : str
        For messages.

    Raises
    ------
    UsageError
        The file cannot be read, is a table in which no column is found, or has no ids.
    """
    shown = "stdin" if name == STDIN else name
    return _ids_of(content_of(name, option), shown, ids, option)


def read_items_or_pairs(name: str, user_ids: IdMap, item_ids: IdMap, option: str) -> tuple[list[str] | None, list[str]]:
    """Return what a file lists: users and items in step, where it is a table with a column of either; else None and item ids.

    Parameters
    ----------
    name : str
        As of `read_ids`.
    user_ids, item_ids : IdMap
        Those of the model.
    option : str
        For messages.

    Raises
    ------
    UsageError
        As of `read_ids`.
    """
    content, shown = content_of(name, option), "stdin" if name == STDIN else name
    if _is_table(content):
        table = _table(content, shown, "item")
        columns = [known(what, table.columns) for what in ("user", "item")]
        if None in columns:
            return None, _ids_of(content, shown, item_ids, option)
        pairs = table.select(columns).drop_nulls()
        if not pairs.height:
            raise UsageError(f"{option} {shown} has no pairs; give a row with a user and an item for each pair")
        users, items = (_texts_of(pairs.to_series(place)) for place in (0, 1))
        return users, items
    lines = _lines_of(content, shown)
    for separator in _SEPARATORS if lines and lines[0] not in _known(item_ids, lines[:1]) else ():
        cells = _cells_of(lines[0], separator)
        columns = [known(what, cells) for what in ("user", "item")]
        if None not in columns:
            user, item = (cells.index(column) for column in columns)  # type: ignore[arg-type]
            rows = [row for row in _rows_of(lines[1:], separator) if len(row) > max(user, item)]
            if not rows:
                raise UsageError(f"{option} {shown} has no pairs; give a row with a user and an item for each pair")
            return [row[user].strip() for row in rows], [row[item].strip() for row in rows]
    return None, _ids_of(content, shown, item_ids, option)


def _ids_of(content: bytes, shown: str, ids: IdMap, option: str) -> list[str]:
    if _is_table(content):
        texts = _column_of_table(content, shown, ids.what)
    else:
        texts = _of_text(content, shown, ids)
    found = list(dict.fromkeys(text for text in texts if text))
    if not found:
        raise UsageError(f"{option} {shown} has no ids; give one id a line, or a table with a column {ids.what}_id")
    return found


def content_of(name: str, option: str) -> bytes:
    """Return what is in a file or comes from stdin (`-`), unpacked where gzip packed it; a file that cannot be read is one sentence."""
    try:
        content = sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    except (OSError, EOFError) as error:
        why = "it is a damaged gzip file" if isinstance(error, (gzip.BadGzipFile, EOFError)) else getattr(error, "strerror", None)
        raise UsageError(f"cannot read {option} {name}: {why or error}") from error


def _is_table(content: bytes) -> bool:
    return content.startswith(b"PAR1") or content.lstrip().startswith(b"{")


def _table(content: bytes, name: str, what: str) -> "pl.DataFrame":
    import polars as pl

    try:
        return pl.read_parquet(content) if content.startswith(b"PAR1") else pl.read_ndjson(content)
    except pl.exceptions.PolarsError as error:
        raise UsageError(f"cannot read {name}: it is damaged; give one {what} id a line") from error


def _column_of_table(content: bytes, name: str, what: str) -> list[str]:
    table = _table(content, name, what)
    column = known(what, table.columns)
    if column is None:
        raise _no_column(name, table.columns, what)
    return _texts_of(table[column].drop_nulls())


def _texts_of(values: "pl.Series") -> list[str]:
    import polars as pl

    if values.dtype.is_float():  # a column with missing ids, as pandas writes it
        whole = values == values.floor()
        values = values.set(~whole.fill_null(False), None).cast(pl.Int64, strict=False)
    return [str(value) for value in values.to_list() if value is not None]


def _lines_of(content: bytes, name: str) -> list[str]:
    try:
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read {name}: it is not text in UTF-8; save it as UTF-8") from error
    return [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]


def _cells_of(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator))


def _rows_of(lines: Sequence[str], separator: str) -> Iterator[list[str]]:
    tabs = separator == "\t"
    quoting: Any = csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
    return csv.reader(lines, delimiter=separator, quotechar=None if tabs else '"', quoting=quoting)


def _of_text(content: bytes, name: str, ids: IdMap) -> list[str]:
    lines = _lines_of(content, name)
    if not lines:
        return []
    as_they_are = _known(ids, lines)
    if lines[0] not in as_they_are:
        for separator in _SEPARATORS:
            cells = _cells_of(lines[0], separator)
            column = known(ids.what, cells)
            if column is not None:
                place = cells.index(column)
                return [row[place].strip() for row in _rows_of(lines[1:], separator) if len(row) > place]
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
    return UsageError(
        f"{name} is a table, and it is not clear which of its columns ({shown}) has the {what} ids; rename this column to {what}_id"
    )
