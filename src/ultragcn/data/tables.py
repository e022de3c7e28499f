"""Files and frames as tables: one row an interaction, columns found by their names."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from ultragcn.data import databases, faults, json_lines, kinds
from ultragcn.data.containers import Ready
from ultragcn.data.options import DataOptions
from ultragcn.data.text import LOG, ROW, Text, damage, open_text
from ultragcn.errors import DataError
from ultragcn.lazily import pl
from ultragcn.machine import refuse_lost_threads

_DAMAGED = "cannot read {}: it is damaged or cut short, or not {}; fetch or write it again"


@dataclass(frozen=True)
class Partition:
    """A folder `name=value` that files of a table lie in, as Spark and Hive write them: a column with one value for all of their rows."""

    name: str
    value: int | date | str | None
    kind: type
    """Of its values in all folders: int, date or str."""

    @property
    def literal(self) -> pl.Expr:
        """The column."""
        return pl.lit(self.value, dtype={int: pl.Int64(), date: pl.Date(), str: pl.String()}[self.kind])


@dataclass(frozen=True)
class Table:
    """A table that has not been read yet: where its rows come from, and what its columns are called."""

    name: str
    """The file, for messages."""
    names: tuple[str, ...]
    """The columns by name; in a file without header `1`, `2`, ..."""
    plan: Callable[[Sequence[str]], pl.LazyFrame]
    """Gives the rows, ROW and the columns of these names."""
    has_header: bool = True
    typed: bool = True
    """Whether columns have kinds of their own; in a text file everything is text."""
    text: Text | None = None
    kind: str = "a frame"
    note: str = ""
    named: bool = True
    """Whether the names tell what the columns hold: those of a header, its own or of another part of the same log."""
    ready: Ready | None = None
    """The file; None for a frame."""
    dates: bool | None = None
    """Whether numbers in the column of times are dates, where the rows are a piece of a file; None: the column itself tells."""
    whole: Callable[[Sequence[str]], pl.LazyFrame] | None = None
    """What `plan` is of the whole file, where the rows are a piece of it."""
    first: Callable[[Sequence[str], int], pl.DataFrame] | None = None
    """Gives the first rows of some columns, where that takes less than `plan`; columns that cannot be read are left out."""
    index: tuple[str, ...] = ()
    """Of a pandas frame, the names of its index."""
    is_pivoted: bool = False
    """Whether a pandas frame has names of rows and columns as `pivot_table` makes them."""

    def collect(self, rows: pl.LazyFrame) -> pl.DataFrame:
        """Return the result of a plan, read block by block; what cannot be read is one sentence with its row."""
        try:
            return rows.collect(engine="streaming")
        except DataError:
            raise
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnicodeError) as error:
            raise self.fault(error) from error

    def head(self, names: Sequence[str], count: int) -> pl.DataFrame:
        """Return the first rows of the whole table, only to look at them: columns that cannot be read are left out."""
        try:
            if self.first is not None:
                return self.first(names, count)
            return (self.whole or self.plan)(names).head(count).collect(engine="streaming").drop(ROW)
        except (DataError, pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnicodeError):
            return pl.DataFrame()

    def kinds(self, rows: pl.LazyFrame) -> pl.Schema:
        """Return the kinds of the columns of a plan made from this table."""
        try:
            return rows.collect_schema()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self.fault(error) from error

    def fault(self, error: BaseException | None = None) -> DataError:
        """Return the sentence for what polars could not read."""
        if self.text is not None and (found := faults.fault_in(self.text)) is not None:
            return found
        if self.kind == kinds.JSON_LINES and self.ready is not None and (line := json_lines.fault_in(self.ready)) is not None:
            return line
        if isinstance(error, OSError) and error.strerror:
            return DataError(f"cannot read {self.name}: {error.strerror}")
        if self.text is None:
            return DataError(_DAMAGED.format(self.name, self.kind))
        return DataError(f"cannot read {self.name}: {damage(error) if error is not None else 'its rows differ in length'}")

    def place(self, row: int) -> str:
        """Return where a row is, for messages."""
        return f"{self.name}, row {row}"

    def cell(self, row: int, column: str) -> str:
        """Return the text of one cell, for messages."""
        cells = self.plan([column]).filter(pl.col(ROW) == row).select(pl.col(column).cast(pl.String, strict=False))
        found = self.collect(cells)
        return str(found[column][0] or "") if found.height else ""

    def calmer(self) -> Iterable[Table]:
        """Yield the same file read with less care: bytes that are not UTF-8 as U+FFFD, quotes as letters, both."""
        if self.text is None:
            return
        lossy = replace(self.text, lossy=True)
        for text in (lossy, self.text.letters(), lossy.letters()):
            if text != self.text:
                yield replace(_of_text(text, self.names, self.has_header, self.ready), named=self.named)

    def last_holds_the_rest(self) -> Iterable[Table]:
        """Yield the same file, the last cell of a line being all that is left of it, separators and quotes among it."""
        if self.text is not None and len(self.names) > 1:
            rest = replace(self.text.letters(), rest=True, width=len(self.names))
            for text in (rest, replace(rest, lossy=True)):
                yield replace(_of_text(text, self.names, self.has_header, self.ready), named=self.named)

    def called(self, names: tuple[str, ...]) -> Table:
        """Return the same table, its columns under other names."""
        place = dict(zip(names, self.names, strict=True))

        def plan(columns: Sequence[str]) -> pl.LazyFrame:
            return self.plan([place[name] for name in columns]).rename({place[name]: name for name in columns})

        return replace(self, names=names, plan=plan, named=True)

    def piece(self, start: int, length: int, dates: bool | None) -> Table:
        """Return the table of `length` rows from the one at `start` on, which keep their row numbers; for `dates` see there."""

        def plan(columns: Sequence[str]) -> pl.LazyFrame:
            return self.plan(columns).slice(start, length)

        return replace(self, plan=plan, dates=dates, whole=self.whole or self.plan)

    def within(self, partitions: Sequence[Partition]) -> Table:
        """Return the same table with a column more for each folder `name=value` that it lies in, where its own columns have no such name.

        Text has no such columns: there, the last column says how long a row should be.
        """
        more = {one.name: one.literal for one in partitions if one.name not in self.names}
        if not more or not self.typed:
            return self

        def plan(columns: Sequence[str]) -> pl.LazyFrame:
            own = self.plan([name for name in columns if name not in more])
            return own.with_columns(more[name].alias(name) for name in columns if name in more).select(ROW, *columns)

        return replace(self, names=(*self.names, *more), plan=plan)  # a piece of it comes later, so there is no whole yet

    def listed(self, most: int = 12) -> str:
        """Return the names of the columns for messages."""
        return ", ".join(self.names[:most]) + (", ..." if len(self.names) > most else "")


def open_table(source: Any, options: DataOptions, expected: str = LOG) -> Table:
    """Return the table of a file that is ready to be read, or of a polars or pandas frame.

    `expected` is what an empty file should have had, for the message.

    Raises
    ------
    DataError
        It is empty, damaged, or has a single column.
    """
    refuse_lost_threads()
    if not isinstance(source, Ready):
        return _of_frame(source)
    if source.kind == kinds.PARQUET:
        return _of_parquet(source)
    if source.kind == kinds.SQLITE:
        return _of_database(source, options)
    if source.kind == kinds.JSON_LINES:
        return _of_json_lines(source)
    if databases.is_workbook(source):
        return _of_polars(databases.read_workbook(source, options.table), source.name, kinds.WORKBOOK, source)
    text, found, has_header = open_text(source, options, expected)
    return _of_text(text, tuple(found), has_header, source)


def is_frame(source: Any) -> bool:
    """Return whether `source` is a polars or pandas frame, or something that looks like one."""
    if "polars" in sys.modules and isinstance(source, (pl.DataFrame, pl.LazyFrame)):
        return True
    return hasattr(source, "columns") and hasattr(source, "dtypes")


def _of_text(text: Text, found: tuple[str, ...], has_header: bool, source: Ready | None) -> Table:
    rows = text.rows()
    if has_header:
        rows = rows.filter(pl.col(ROW).fill_null(0) != 1 + text.dialect.start)
    place = {name: f"column_{number}" for number, name in enumerate(found)}

    def plan(columns: Sequence[str]) -> pl.LazyFrame:
        return rows.select(ROW, *(pl.col(place[name]).alias(name) for name in columns))

    return Table(
        text.name,
        found,
        plan,
        has_header,
        named=has_header,
        typed=False,
        text=text,
        kind=kinds.TEXT,
        note=source.note if source else "",
        ready=source,
    )


def _of_polars(rows: pl.LazyFrame, name: str, kind: str, ready: Ready | None = None, *, typed: bool = True) -> Table:
    found = tuple(rows.collect_schema().names())
    numbered = rows.with_row_index(ROW, offset=1)
    note = "" if ready is None else ready.note
    return Table(name, found, lambda columns: numbered.select(ROW, *columns), typed=typed, kind=kind, note=note, ready=ready)


def _of_json_lines(source: Ready) -> Table:
    """Return the table of a file of one JSON object a line: a column for every key of the first objects."""
    schema = dict.fromkeys(json_lines.keys_of(source), pl.String)
    return _of_polars(pl.scan_ndjson(source.path, schema=schema), source.name, kinds.JSON_LINES, source, typed=False)


def _of_parquet(source: Ready) -> Table:
    try:
        return _of_polars(pl.scan_parquet(source.path, glob=False), source.name, source.kind, source)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(_DAMAGED.format(source.name, source.kind)) from error


def _of_database(source: Ready, options: DataOptions) -> Table:
    table, found = databases.table_of(source, options.table)

    def plan(columns: Sequence[str]) -> pl.LazyFrame:
        return databases.read(source, table, columns).with_row_index(ROW, offset=1)

    return Table(source.name, tuple(found), plan, typed=False, kind=kinds.SQLITE, note=f"table {table}", ready=source)


def _of_frame(frame: Any) -> Table:
    """Return the table of a frame; of one that is not polars' own only the columns that are needed are converted."""
    if isinstance(frame, (pl.DataFrame, pl.LazyFrame)):
        return _of_polars(frame.lazy(), "the frame", "a frame")
    found = [str(column) for column in frame.columns]
    place = {name: number for number, name in reversed(list(enumerate(found)))}

    def plan(columns: Sequence[str]) -> pl.LazyFrame:
        made = [_column(frame.iloc[:, place[name]] if hasattr(frame, "iloc") else frame[name], name) for name in columns]
        return pl.DataFrame(made).lazy().with_row_index(ROW, offset=1)

    def first(columns: Sequence[str], count: int) -> pl.DataFrame:
        made = []
        for name in columns:
            with contextlib.suppress(DataError):
                made.append(_column(frame.iloc[:count, place[name]], name))
        return pl.DataFrame(made)

    index = tuple(str(name) for name in getattr(getattr(frame, "index", None), "names", ()) if name is not None)
    of_columns = any(name is not None for name in getattr(frame.columns, "names", ()))
    return Table("the frame", tuple(dict.fromkeys(found)), plan, kind="a frame", first=first if hasattr(frame, "iloc") else None,
                 index=index, is_pivoted=of_columns and bool(index))  # fmt: skip


def _column(column: Any, name: str) -> pl.Series:
    """Return a column of a pandas frame; one of integers and floats becomes floats, one of other kinds mixed strings."""
    try:
        made = _converted(column, name)
        if made.dtype == pl.Object:
            raise TypeError(name)
        return made
    except Exception as error:  # whatever pandas and polars say of kinds that they do not share
        kind = getattr(column, "dtype", "unknown")
        raise DataError(f"the frame: cannot read column {name} of type {kind}; convert it to numbers, text or dates") from error


def _converted(column: Any, name: str) -> pl.Series:
    missing = column.isna().to_numpy()
    # As objects where cells are missing: pandas would make numbers of a column of integers floats.
    values = column.to_numpy(dtype=object) if missing.any() else column.to_numpy()
    if values.dtype.kind in "mM":
        return pl.Series(name, values.astype(f"{values.dtype.kind}8[us]"))
    if values.dtype != object:
        return pl.Series(name, values)
    cells = [None if gone else cell for cell, gone in zip(values.tolist(), missing.tolist(), strict=True)]
    found = {type(cell) for cell in cells if cell is not None}
    if found == {int, float}:
        return pl.Series(name, cells, dtype=pl.Float64, strict=False)
    if len(found) > 1:
        cells = [None if cell is None else str(cell) for cell in cells]
    return pl.Series(name, cells)
