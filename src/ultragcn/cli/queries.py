"""A file of queries: a row each, with its own user or items, its own masks and its own length of list."""

import csv
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ultragcn.cli import ids
from ultragcn.cli.messages import tell
from ultragcn.errors import UsageError, counted, did_you_mean

if TYPE_CHECKING:
    from ultragcn.data.ids import Id, IdMap
    from ultragcn.models.queries import Queries
    from ultragcn.models.recommender import Recommender

COLUMNS = ("query_id", "user_id", "items", "exclude", "only", "top_k")
_LISTS = ("items", "exclude", "only")
_SEPARATORS = ("\t", ",", ";", "|")
_BETWEEN = "|"
"""What stands between the items of a cell of text."""
_CHUNK = 8192  # rows that are Python objects at a time

Row = tuple[int, Mapping[str, Any]]
"""Number, from 1, and values of a row."""


def read(name: str, content: bytes, model: "Recommender", top_k: int, unknown: str) -> "Queries":
    """Return the queries of a file, with `top_k` where a row has none of its own.

    Parameters
    ----------
    name : str
        The file, for messages.
    content : bytes
        JSON lines, Parquet, or text with a header and cells between tabs, commas, semicolons or bars.
    model : Recommender
    top_k : int
    unknown : {"raise", "popular", "skip"}
        What happens with ids that the model does not know.

    Raises
    ------
    UsageError
        The file cannot be read, has no rows, or a row cannot be meant; the message has its number.
    """
    reader = _Reader(name, model, top_k, unknown)
    found: Queries | None = None
    rows = _rows_in(content, name)
    while chunk := list(itertools.islice(rows, _CHUNK)):
        some = reader.queries_of(chunk)
        found = some if found is None else found.joined(some)
    if found is None:
        raise UsageError(f"{name} has no queries; give a row for each query, with a user_id or a list of items")
    reader.tell_strangers()
    return found


class _Reader:
    """Makes queries of rows, and counts the ids that the model does not know."""

    def __init__(self, name: str, model: "Recommender", top_k: int, unknown: str) -> None:
        self._name, self._model, self._top_k, self._unknown = name, model, top_k, unknown
        self._refused: list[tuple[int, str, IdMap]] = []
        self._strangers: dict[str, list[str]] = {"user_id": [], **{column: [] for column in _LISTS}}

    def queries_of(self, chunk: Sequence[Row]) -> "Queries":
        """Return the queries of some rows."""
        from ultragcn.models.queries import Queries, Rows

        rows = [self._checked(number, values) for number, values in chunk]
        numbers = [number for number, _ in chunk]
        names = [number if row["query_id"] is None else row["query_id"] for number, row in zip(numbers, rows, strict=True)]
        lists = {column: Rows.of(self._rows_of(column, numbers, [row[column] or () for row in rows])) for column in _LISTS}
        users = [(number, row["user_id"]) for number, row in zip(numbers, rows, strict=True)]
        user_rows, user_ids = self._users_of(users)
        self._refuse_strangers()
        limited = np.array([row["only"] is not None for row in rows])
        most = len(self._model.item_ids)
        top_k = np.array([min(self._top_k if row["top_k"] is None else row["top_k"], most) for row in rows], np.int64)
        return Queries(_objects(names), user_ids, user_rows, lists["items"], lists["exclude"], lists["only"], limited, top_k)

    def tell_strangers(self) -> None:
        """Say how many ids the model does not know, and what happens with them."""
        what_happens = {
            "user_id": "the items that most users have" if self._unknown == "popular" else "no list", "items": "does not count",
            "exclude": "cannot be listed anyway", "only": "cannot be listed anyway",
        }  # fmt: skip
        for column, strangers in self._strangers.items():
            if strangers:
                get = "; they get " if column == "user_id" else ", which "
                what = "a user" if column == "user_id" else f"an item in {column}"
                times = counted(len(strangers), "time")
                tell(f"{self._name}: {times} {what} is not known to the model{get}{what_happens[column]} (first: {strangers[0]})")

    def _checked(self, number: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of a row, ids as texts and None where there is nothing."""
        place = f"{self._name}, row {number}"
        for column in values:
            if column not in COLUMNS:
                raise UsageError(f"{place}: unknown column {column!r}{did_you_mean(str(column), COLUMNS)} (allowed: {', '.join(COLUMNS)})")
        row: dict[str, Any] = {column: _nothing_of(values.get(column)) for column in COLUMNS}
        name, row["user_id"] = _id_of(row["query_id"], place, "query_id"), _id_of(row["user_id"], place, "user_id")
        row["query_id"] = name if name is None or isinstance(row["query_id"], str) else int(name)
        for column in _LISTS:
            row[column] = _list_of(row[column], place, column)
        row["top_k"] = _top_k_of(row["top_k"], place)
        if (row["user_id"] is None) == (row["items"] is None):
            given = "neither user_id nor items" if row["items"] is None else f"both user_id {row['user_id']!r} and items"
            raise UsageError(
                f"{place} has {given}; give exactly one of the two: the user, or the items of someone whom the model does not know"
            )
        if row["items"] == [] and self._unknown == "raise":
            raise UsageError(f"{place}: items is empty; give at least one item, or --unknown popular to get the items that most users have")
        return row

    def _users_of(self, users: Sequence[tuple[int, str | None]]) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of users, and their ids, None where a query has no user."""
        known = self._model.user_ids
        given = [(place, number, text) for place, (number, text) in enumerate(users) if text is not None]
        found = ids.rows_of(known, [text for *_, text in given])
        rows, user_ids = np.full(len(users), -1, np.int64), np.full(len(users), None, object)
        for (place, number, text), row in zip(given, found.tolist(), strict=True):
            if row < 0:
                self._met_stranger("user_id", number, text, known)
            rows[place], user_ids[place] = row, known.ids[row] if row >= 0 else _typed(text, known)
        return rows, user_ids

    def _rows_of(self, column: str, numbers: Sequence[int], lists: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Return the item rows of each list of ids, those that the model knows."""
        known = self._model.item_ids
        found = ids.rows_of(known, [text for texts in lists for text in texts])
        ends = np.cumsum([0, *map(len, lists)])
        for place in np.flatnonzero(found < 0).tolist():
            query = int(np.searchsorted(ends, place, side="right")) - 1
            self._met_stranger(column, numbers[query], lists[query][place - ends[query]], known)
        return [rows[rows >= 0] for rows in np.split(found, ends[1:-1])]

    def _met_stranger(self, column: str, number: int, text: str, known: "IdMap") -> None:
        """Count an id that the model does not know."""
        self._strangers[column].append(f"{text!r} in row {number}")
        if self._unknown == "raise" and column in ("user_id", "items"):
            self._refused.append((number, text, known))

    def _refuse_strangers(self) -> None:
        """Raise the error for the first row with an id that the model has to know."""
        if not self._refused:
            return
        number, text, known = min(self._refused, key=lambda refused: refused[0])
        try:
            known.rows(known.parse([text]))
        except UsageError as error:
            advice = "--unknown skip leaves out what the model does not know"
            raise UsageError(f"{self._name}, row {number}: {error}; {advice}") from None


def names_of(queries: "Queries") -> np.ndarray:
    """Return what queries are called in the answer: whole numbers where all are such, else texts."""
    names = queries.names.tolist()
    if all(isinstance(name, int) for name in names):
        return np.array(names, np.int64)
    return _objects([str(name) for name in names])


def _typed(text: str, known: "IdMap") -> "Id":
    """Return the id that a text stands for, in the kind that a model has."""
    return text if known.are_strings or not ids.typed(known, [text]).ids else int(text)


def _objects(values: Sequence[Any]) -> np.ndarray:
    made = np.empty(len(values), object)
    made[:] = values
    return made


# ------------------------------------------------------------------ the rows


def _rows_in(content: bytes, name: str) -> Iterator[Row]:
    """Yield the rows of a file."""
    if content.startswith(b"PAR1"):
        return enumerate(_of_parquet(content, name), start=1)
    head = content.removeprefix(b"\xef\xbb\xbf").lstrip()
    return _of_json(content, name) if head[:1] in (b"{", b"[") else _of_text(content, name)


def _of_parquet(content: bytes, name: str) -> Iterator[Mapping[str, Any]]:
    import polars as pl

    from ultragcn.machine import refuse_lost_threads

    refuse_lost_threads()
    try:
        table = pl.read_parquet(content)
    except pl.exceptions.PolarsError as error:
        raise UsageError(f"cannot read {name}: it is damaged, or not Parquet; write it again") from error
    for part in table.iter_slices(_CHUNK):
        yield from part.iter_rows(named=True)


def _text_of(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read {name}: it is not text in UTF-8; save it as UTF-8") from error


def _of_json(content: bytes, name: str) -> Iterator[Row]:
    lines = (line for line in io.StringIO(_text_of(content, name)) if line.strip())
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise UsageError(
                f'{name}, row {number}: {line.strip()[:60]!r} is not a JSON object; give one a line, such as {{"user_id": 1, "top_k": 5}}'
            )
        yield number, values


def _of_text(content: bytes, name: str) -> Iterator[Row]:
    text = _text_of(content, name)
    header = next((line for line in text.splitlines() if line.strip()), "")
    cells = {separator: next(csv.reader([header], delimiter=separator), []) for separator in _SEPARATORS}
    separator = max(_SEPARATORS, key=lambda one: len(cells[one]))
    if not set(cells[separator]) & {"user_id", "items"}:
        raise UsageError(
            f"{name} has no column user_id or items, but {', '.join(cells[separator][:8]) or 'nothing'}; "
            f"give a header, of the columns {', '.join(COLUMNS)}"
        )
    rows = csv.DictReader(io.StringIO(text), delimiter=separator)
    try:
        for number, values in enumerate(rows, start=1):
            if None in values or None in values.values():
                raise UsageError(f"{name}, row {number} has {'more' if None in values else 'fewer'} cells than the header")
            yield number, values
    except csv.Error as error:
        raise UsageError(f"cannot read {name}: {error}; save it as CSV again") from error


# ------------------------------------------------------------------- the cells


def _nothing_of(value: Any) -> Any:
    """Return a value, None where a cell is empty."""
    is_missing = value is None or (isinstance(value, str) and not value.strip()) or (isinstance(value, float) and np.isnan(value))
    return None if is_missing else value


def _id_of(value: Any, place: str, column: str) -> str | None:
    """Return an id as text."""
    if isinstance(value, float) and value.is_integer():  # a column with missing ids, as pandas writes it
        value = int(value)
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return None if value is None else str(value)
    _refuse(place, column, value, "a text or a whole number")


def _list_of(value: Any, place: str, column: str) -> list[str] | None:
    """Return a list of ids as texts."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                _refuse(place, column, value, 'a list of items such as tea|pie or ["tea", "pie"]')
        else:
            value = [text.strip() for text in value.split(_BETWEEN)]
    if value is None:
        return None
    if not isinstance(value, list):
        _refuse(place, column, value, 'a list of items such as ["tea", "pie"]')
    found = [_id_of(_nothing_of(item), place, f"each of {column}") for item in value]
    return [_refuse(place, column, value, "a list of items without empty ones") if item is None else item for item in found]


def _top_k_of(value: Any, place: str) -> int | None:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        _refuse(place, "top_k", value, "a whole number of 1 or more")
    return value


def _refuse(place: str, column: str, value: Any, allowed: str) -> NoReturn:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    raise UsageError(f"{place}: {column} must be {allowed}, not {shown if len(shown) <= 60 else shown[:57] + '...'}")
