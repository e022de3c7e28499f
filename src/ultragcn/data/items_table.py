"""The items table: what is known of the items besides who has them, such as price, brand or genre.

Letters: I items.
"""

from __future__ import annotations

import contextlib
from functools import cached_property
from typing import Any

import numpy as np

from ultragcn.data.ids import IdMap
from ultragcn.data.options import DataOptions
from ultragcn.data.tables import is_frame
from ultragcn.data.text import ROW
from ultragcn.data.titles import _cells, _item_column, _joined, _open
from ultragcn.errors import DataError, UsageError, counted, did_you_mean, warn
from ultragcn.lazily import pl
from ultragcn.machine import refuse_lost_threads

ITEM_ID = "item_id"
TITLE = "title"
KINDS = {"text": "String", "whole": "Int64", "real": "Float64", "flag": "Boolean"}
"""What a column can hold, by the name that the file of a model has for it: the name of the type in polars."""
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_CODE = r"^[+-]?0\d"
_EXAMPLE = "such as price < 20 and genre in ('jazz', 'folk')"


def kind_names() -> dict[Any, str]:
    """Return what the file of a model calls the types of columns."""
    return {getattr(pl, kind): name for name, kind in KINDS.items()}


class ItemsTable:
    """What is known of the items of a model: a row an item, in the order of its items.

    Parameters
    ----------
    frame : polars.DataFrame
        I rows. Its columns hold text, whole numbers, real numbers, or true and false.
    item_ids : IdMap
        They stand in the column `item_id`, where the frame has none of that name.
    titles : (I,) array of str, optional
        They stand in the column `title`, where the frame has none of that name.

    Examples
    --------
    >>> ids = IdMap.of(["jam", "pie", "tea"], "item")
    >>> table = ItemsTable.of(pl.DataFrame({"item": ["tea", "pie", "jam"], "price": [3.5, 12.0, None]}), ids)
    >>> table.holds("price < 10").tolist()
    [False, False, True]
    """

    def __init__(self, frame: pl.DataFrame | None, item_ids: IdMap, titles: np.ndarray | None = None) -> None:
        self._given = frame
        self._item_ids, self._titles = item_ids, titles

    @classmethod
    def of(cls, source: Any, item_ids: IdMap, options: DataOptions | None = None) -> ItemsTable:
        """Return the items table in a file or a frame.

        Parameters
        ----------
        source : str, Path or frame
            A table with a column of item ids, found by its name or by what stands in it. Of an item that comes twice the first row
            counts. Columns of a text file are numbers where every cell of theirs that is not empty is one. Dates become text such as
            2026-05-31, which stands in the order of time.
        item_ids : IdMap
            The items of the model; rows of other items are left out.
        options : DataOptions, optional
            `item_column`, where the table has a column of that name.

        Raises
        ------
        DataError
            The table cannot be read, or it has none of the items of the model.

        Warns
        -----
        DataWarning
            Items that are not in the table, or columns that cannot be kept, counted.
        """
        refuse_lost_threads()
        options = options or DataOptions()
        with contextlib.ExitStack() as stack:
            table = _open(source, options, stack)
            cells = _cells(table, len(table.names))
            item = _item_column(table, cells, item_ids, options)
            cells = cells.drop(ROW)
            if not table.typed:
                cells = cells.select(_plain(column) for column in cells)
            frame, left_out = _kept(cells)
            if left_out:
                warn(f"{table.name}: {', '.join(left_out)} cannot be kept, because an items table holds only text, numbers, true and false")
            places = _places(cells[item].cast(pl.String, strict=False), item_ids)
            if places.null_count() == len(item_ids):
                sample = ", ".join(item_ids.shown(row) for row in range(min(3, len(item_ids))))
                raise DataError(f"{table.name}: none of {counted(len(item_ids), 'item')} is in column {item} (ids such as {sample}); "
                                "give item_column")  # fmt: skip
            if missing := places.null_count():
                first = item_ids.shown(int(places.is_null().arg_max()))  # type: ignore[arg-type]
                verb = "is" if missing == 1 else "are"
                warn(f"{table.name}: {missing} of {counted(len(item_ids), 'item')} {verb} not in the items table (first: item {first})")
            return cls(frame.select(pl.all().gather(places)), item_ids)

    @property
    def kept(self) -> pl.DataFrame:
        """The columns of the table itself."""
        return pl.DataFrame() if self._given is None else self._given

    @property
    def names(self) -> list[str]:
        """The columns that conditions can name."""
        return self._frame.columns

    @cached_property
    def _frame(self) -> pl.DataFrame:
        refuse_lost_threads()
        more = {}
        if ITEM_ID not in self.kept.columns:
            ids = self._item_ids.ids
            more[ITEM_ID] = pl.Series(ids.tolist(), dtype=pl.String) if self._item_ids.are_strings else pl.Series(ids)
        if TITLE not in self.kept.columns and self._titles is not None:
            more[TITLE] = pl.Series(self._titles.tolist(), dtype=pl.String).replace("", None)
        return pl.DataFrame(more | {column.name: column for column in self.kept})

    def with_titles(self, titles: np.ndarray | None) -> ItemsTable:
        """Return the table with titles of the items, (I,) array of str."""
        return ItemsTable(self.kept, self._item_ids, titles)

    def moved(self, rows: np.ndarray, item_ids: IdMap) -> ItemsTable:
        """Return the table of more items: `rows` (I,) int says where each item stands among `item_ids`. New ones have empty cells."""
        places = np.full(len(item_ids), -1, np.int64)
        places[rows] = np.arange(len(rows))
        found = pl.Series(places).replace(-1, None)
        return ItemsTable(self.kept.select(pl.all().gather(found)), item_ids)

    def holds(self, condition: str) -> np.ndarray:
        """Return of which items a condition in SQL is true: (I,) bool. Where a cell that it needs is empty, it is not.

        Raises
        ------
        UsageError
            It is not a condition, names a column that is not there, or compares what cannot be compared.
        """
        refuse_lost_threads()
        holds, names = _parsed(condition)
        for name in names:
            self._require(name, f"where {condition!r}", self._as_text(name, names))
        try:
            found = self._frame.select(holds.alias("holds"))["holds"]
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
                raise
            found = None
        if found is None or found.dtype != pl.Boolean or len(found) not in (1, len(self._item_ids)):
            raise UsageError(
                f"where {condition!r} is not a condition that is true or false for each item; compare numbers with numbers and "
                f"text with text in single quotes, "
                f"{_EXAMPLE} (the items table has {self._listed(kinds=True)})"
            )
        result: np.ndarray = np.broadcast_to(found.fill_null(False).to_numpy(), len(self._item_ids)).copy()
        return result

    def groups(self, name: str) -> np.ndarray:
        """Return which items have the same value in a column: (I,) int32 codes from 0, -1 for items without a value.

        Raises
        ------
        UsageError
            The table does not have the column.
        """
        refuse_lost_threads()
        self._require(name, f"max_per {name}")
        codes = self._frame[name].rank("dense").cast(pl.Int32) - 1
        found: np.ndarray = codes.fill_null(-1).to_numpy().astype(np.int32)
        return found

    def _as_text(self, name: str, names: list[str]) -> str:
        """Return what to say of a name in a condition that is not a column: beside a name that is one, it may be a text without quotes."""
        if name in self.names:
            return ""
        for column in self._frame:
            if column.dtype == pl.String and (column.str.to_lowercase() == name.lower()).any():
                value = column.filter(column.str.to_lowercase() == name.lower())[0]
                return f"; {column.name} has the value {value}; put text into single quotes: '{value}'"
        quotes = f"; put text into single quotes: '{name}'" if any(other in self.names for other in names) else ""
        return did_you_mean(name, self.names) or quotes

    def _require(self, name: str, what: str, near: str | None = None) -> None:
        if name not in self.names:
            near = did_you_mean(name, self.names) if near is None else near
            without = "" if self.kept.width else "; give the model an items table: --items_table FILE, or set_items_table in Python"
            raise UsageError(f"{what}: the items table has no column {name!r}{near} (it has {self._listed()}){without}")

    def _listed(self, kinds: bool = False, most: int = 12) -> str:
        word = kind_names()
        shown = [f"{column.name} ({word[column.dtype]})" if kinds else column.name for column in self._frame[:, :most]]
        return ", ".join(shown) + (", ..." if len(self.names) > most else "")


def _parsed(condition: str) -> tuple[pl.Expr, list[str]]:
    """Return a condition as an expression, and the columns that it names."""
    if not isinstance(condition, str):
        raise UsageError(f"where must be a condition in SQL, {_EXAMPLE}, not {condition!r}")
    try:
        holds = pl.sql_expr(condition)
        return holds, list(dict.fromkeys(holds.meta.root_names()))
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        raise UsageError(f"cannot make sense of where {condition!r}; give a condition in SQL, {_EXAMPLE}") from error


def check_condition(condition: str) -> None:
    """Raise `UsageError` unless a text is an expression in SQL; whether its columns are there is known with a table."""
    _parsed(condition)


def _plain(column: pl.Series) -> pl.Series:
    """Return a column of a text file as what its cells are: numbers, true and false, or text; empty cells have no value."""
    text = column.cast(pl.String, strict=False).str.strip_chars().replace("", None)
    cells = text.drop_nulls()
    if not len(cells) or cells.str.contains(_CODE).any():  # 007 is a code, not a number
        return text
    if cells.str.contains(_NUMBER).all():
        whole = text.cast(pl.Int64, strict=False)
        return whole if whole.null_count() == text.null_count() else text.cast(pl.Float64, strict=False)
    lower = cells.str.to_lowercase()
    return text.str.to_lowercase() == "true" if lower.is_in(["true", "false"]).all() else text


def _kept(cells: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Return the columns in the kinds that an items table has, and the names of those that have no such kind."""
    columns, left_out = [], []
    for column in cells:
        kind = column.dtype
        if kind.is_integer():
            made = column.cast(pl.Int64, strict=False)
            column = made if made.null_count() == column.null_count() else column.cast(pl.Float64)
        elif kind.is_float() or kind.is_decimal():
            column = column.cast(pl.Float64).fill_nan(None)
        elif kind == pl.Datetime:
            column = column.dt.strftime("%Y-%m-%d %H:%M:%S")
        elif kind in (pl.Date, pl.Time, pl.Categorical, pl.Enum, pl.Null):
            column = column.cast(pl.String)
        elif kind not in (pl.String, pl.Boolean):
            left_out.append(column.name)
            continue
        columns.append(column)
    return pl.DataFrame(columns), left_out


def _places(column: pl.Series, item_ids: IdMap) -> pl.Series:
    """Return in which row of a table each item stands first, null where it is not."""
    found = pl.DataFrame({"item": column, "title": pl.int_range(len(column), eager=True, dtype=pl.UInt32)}).drop_nulls()
    places = _joined(found, item_ids, plainly=False)
    return places if places.null_count() < len(places) else _joined(found, item_ids, plainly=True)


def as_items_table(source: Any, item_ids: IdMap, options: DataOptions | None = None) -> ItemsTable:
    """Return the items table in anything that holds one: such a table over the same items, a file or a frame."""
    if isinstance(source, ItemsTable):
        if source._item_ids != item_ids:
            raise UsageError("this items table was made for the items of another model; give the file or the frame that it was made from")
        return source
    if not isinstance(source, str) and not is_frame(source) and not hasattr(source, "__fspath__"):
        raise UsageError(f"an items table must be a file or a frame with a row for each item, not a {type(source).__name__}")
    return ItemsTable.of(source, item_ids, options)
