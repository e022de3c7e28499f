"""Tables of SQLite databases and sheets of Excel workbooks."""

from __future__ import annotations

import sqlite3
import urllib.parse
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from ultragcn.data import kinds
from ultragcn.data.containers import Ready
from ultragcn.data.options import option
from ultragcn.errors import DataError, MissingDependencyError, did_you_mean
from ultragcn.lazily import pl

_BLOCK = 50_000  # rows fetched at a time


def table_of(source: Ready, given: str) -> tuple[str, list[str]]:
    """Return the table of a database that is meant, and its columns.

    Raises
    ------
    DataError
        There is no table, or there are several and none is given.
    """
    with _database(source) as opened:
        found = [
            name
            for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'")
        ]
        listed = ", ".join(found[:12])
        if not found:
            raise DataError(f"{source.name} is a SQLite database without tables; give a database that has a table of interactions")
        if given and given not in found:
            raise DataError(
                f"{source.name} has no table {given!r}{did_you_mean(given, found)} (it has {listed}); give another {option('table')}"
            )
        if not given and len(found) > 1:
            raise DataError(f"{source.name} has several tables, {listed}; give the table of the interactions with {option('table')}")
        table = given or found[0]
        return table, [row[1] for row in opened.execute(f"PRAGMA table_info({_quoted(table)})")]


def read(source: Ready, table: str, columns: Sequence[str]) -> pl.LazyFrame:
    """Return columns of a table as text, read block by block."""
    schema = dict.fromkeys(columns, pl.String)

    def batches(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        wanted = with_columns if with_columns is not None else list(columns)
        chosen = ", ".join(map(_quoted, wanted)) or "NULL"
        limit = "" if n_rows is None else f" LIMIT {n_rows}"
        with _database(source) as opened:
            rows = opened.execute(f"SELECT {chosen} FROM {_quoted(table)}{limit}")
            while block := rows.fetchmany(_BLOCK):
                cells = list(zip(*block, strict=True))
                made = pl.DataFrame(
                    {name: [_text(cell) for cell in column] for name, column in zip(wanted, cells, strict=False)},
                    schema=dict.fromkeys(wanted, pl.String),
                )
                yield made if predicate is None else made.filter(predicate)

    from polars.io.plugins import register_io_source

    return register_io_source(batches, schema=schema)


def _text(cell: object) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell or None
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _database(source: Ready) -> Iterator[sqlite3.Connection]:
    try:
        # Nothing is written beside the file, also where another process has it open. Polars takes the rows in threads of its own.
        place = "file:" + urllib.parse.quote(str(source.path.absolute())) + "?mode=ro&immutable=1"
        with closing(sqlite3.connect(place, uri=True, check_same_thread=False)) as opened:
            opened.text_factory = lambda data: data.decode("utf-8", "replace")
            yield opened
    except sqlite3.Error as error:
        raise DataError(f"cannot read {source.name}: it is damaged or not a SQLite database; copy it again") from error


def is_workbook(source: Ready) -> bool:
    """Return whether a file is an Excel workbook."""
    return source.kind == kinds.WORKBOOK


def read_workbook(source: Ready, sheet: str) -> pl.LazyFrame:
    """Return a sheet of a workbook, whose first row names the columns, as text.

    Raises
    ------
    MissingDependencyError
        The package that reads workbooks is not installed.
    DataError
        There are several sheets and none is given, or it cannot be read.
    """
    try:
        import fastexcel
    except ImportError:
        raise MissingDependencyError(
            f"{source.name} is an Excel workbook; save its sheet as CSV and give the CSV file, or install what reads workbooks: "
            f"pip install 'ultragcn[excel]'"
        ) from None
    try:
        book = fastexcel.read_excel(str(source.path))
        sheets = list(book.sheet_names)
        if sheet and sheet not in sheets:
            raise DataError(f"{source.name} has no sheet {sheet!r}{did_you_mean(sheet, sheets)} (it has {', '.join(sheets[:12])})")
        if not sheet and len(sheets) > 1:
            raise DataError(
                f"{source.name} has several sheets, {', '.join(sheets[:12])}; give the table of the interactions with {option('table')}"
            )
        return _with_whole_numbers(pl.DataFrame(book.load_sheet(sheet or sheets[0]))).lazy()
    except (DataError, zipfile.BadZipFile):
        raise
    except Exception as error:  # its errors share no base that every version has
        raise DataError(f"cannot read {source.name}: the workbook is damaged; save it again, or as CSV") from error


def _with_whole_numbers(cells: pl.DataFrame) -> pl.DataFrame:
    """Return a sheet whose columns of whole numbers are integers: a workbook itself knows no others than floats."""
    floats = [column for column in cells if column.dtype.is_float()]
    whole = [column.name for column in floats if ((column == column.round()) & (column.abs() < 2**53)).fill_null(True).all()]
    return cells.with_columns(pl.col(whole).cast(pl.Int64))
