"""Conditions on rows: what `where` says in SQL, as an expression over the columns of a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ultragcn.data import numbers
from ultragcn.data.comparisons import Mismatch, TextOrder, has_no_order, mismatches, text_orders
from ultragcn.data.options import option
from ultragcn.data.tables import Table
from ultragcn.data.text import ROW
from ultragcn.errors import DataError, did_you_mean
from ultragcn.lazily import pl

_EXAMPLE = "such as event = 'buy' AND price > 2; put a name with other characters than letters into double quotes"


@dataclass(frozen=True)
class Condition:
    """A condition, and the columns that it is about."""

    text: str
    holds: pl.Expr
    columns: tuple[str, ...]
    casts: tuple[pl.Expr, ...]
    """Makes numbers of the columns that hold nothing else."""


def condition_of(text: str, table: Table, decimal: str = "") -> Condition:
    """Return what `text` says about the rows of a table.

    Columns of a text file are numbers to it where every cell of theirs that is not empty is one. `decimal` is what stands before the
    decimals of a number: a point, a comma, or either ("") where that is clear.

    Raises
    ------
    DataError
        It is not a condition, names a column that is not there, or compares what cannot be compared, such as text with numbers.
    """
    try:
        holds = pl.sql_expr(text)
        columns = tuple(dict.fromkeys(holds.meta.root_names()))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise DataError(f"cannot make sense of where {text!r}; give a condition in SQL, {_EXAMPLE}") from error
    lacking = [name for name in columns if name not in table.names]
    if lacking:
        near = did_you_mean(lacking[0], table.names)
        if not near and len(lacking) < len(columns):  # beside a column
            near = f"; put text into single quotes: '{lacking[0]}'"
        raise DataError(f"{table.name} has no column {', '.join(map(repr, lacking))} for where{near} (it has {table.listed()})")
    if not columns:
        raise DataError(f"where {text!r} has no column of {table.name}; give a condition on {table.listed()}, {_EXAMPLE}")
    casts = _casts(columns, table, decimal)
    kinds = dict(table.kinds(table.plan(columns))) | {name: kind for name, (kind, _) in casts.items()}
    # Whole numbers that are compared with a text, as in code = '20', are the texts that they are written as.
    for wrong in mismatches(holds, kinds):
        if (
            not wrong.is_text
            and wrong.column in casts
            and (wrong.is_of_letters or (kinds[wrong.column] == pl.Int64 and not wrong.is_in_order))
        ):
            del casts[wrong.column]
            kinds[wrong.column] = pl.String()
    for wrong in mismatches(holds, kinds):
        raise _mismatched(wrong, text, table, decimal)
    for order in text_orders(holds, kinds):
        cell = _first_cell(table, order.column)
        if why := has_no_order(cell, order.other):
            raise DataError(f"{table.name}: {out_of_order(text, order, cell, why)}")
    for some in (tuple(made for _, made in casts.values()), ()):
        if _is_condition(holds, some, columns, table):
            return Condition(text, holds, columns, some)
    raise DataError(
        f"{table.name}: where {text!r} is not a condition that is true or false for each row; compare numbers with numbers "
        f"and text with text in single quotes, {_EXAMPLE}"
    )


def _casts(columns: Sequence[str], table: Table, decimal: str) -> dict[str, tuple[pl.DataType, pl.Expr]]:
    """Return what makes numbers of those columns of a text file that hold nothing else, and of which kind they then are."""
    if table.typed:  # its text is text, unless it is said how numbers are written
        kinds = table.kinds(table.plan(columns))
        columns = [name for name in columns if kinds[name] == pl.String] if decimal == "," else []
        if not columns:
            return {}
    filled = [pl.col(name).str.strip_chars().replace("", None) for name in columns]
    whole = [(cell.cast(pl.Int64, strict=False).is_null() & cell.is_not_null()).any().alias(f"{n}i") for n, cell in enumerate(filled)]
    real = [numbers.not_numbers(cell, decimal).any().alias(f"{n}f") for n, cell in enumerate(filled)]
    commas = [numbers.have_commas(cell, decimal).alias(f"{n}c") for n, cell in enumerate(filled)]
    found = table.collect(table.plan(columns).select(*whole, *real, *commas)).row(0, named=True)
    casts: dict[str, tuple[pl.DataType, pl.Expr]] = {}
    for n, name in enumerate(columns):
        if not found[f"{n}i"]:
            casts[name] = pl.Int64(), filled[n].cast(pl.Int64, strict=False).alias(name)
        elif not found[f"{n}f"]:
            casts[name] = pl.Float64(), filled[n].cast(pl.Float64, strict=False).alias(name)
        elif found[f"{n}c"]:
            casts[name] = pl.Float64(), numbers.from_commas(filled[n]).alias(name)
    return casts


def _first_cell(table: Table, name: str) -> str:
    column = pl.col(name).cast(pl.String, strict=False).str.strip_chars()
    cells = table.collect(table.plan([name]).filter(column.is_not_null() & (column != "")).select(pl.col(ROW), column).head(1))[name]
    return str(cells[0]) if len(cells) else ""


def _mismatched(wrong: Mismatch, text: str, table: Table, decimal: str) -> DataError:
    """Return the error for text that is compared with numbers, or numbers with text."""
    if not wrong.is_text:
        return DataError(f"{table.name}: {numbers_with_text(text, wrong, _first_cell(table, wrong.column))}")
    column = pl.col(wrong.column).cast(pl.String, strict=False).str.strip_chars()
    filled = table.plan([wrong.column]).filter(column.is_not_null() & (column != ""))
    found = table.collect(filled.filter(numbers.not_numbers(column, decimal)).select(pl.col(ROW), column).head(1))
    cell, row = (found[wrong.column][0], int(found[ROW][0])) if found.height else ("", 0)
    return DataError(f"{table.name}: {text_with_numbers(text, wrong, cell, f' in row {row}' if row else '', decimal)}")


def numbers_with_text(condition: str, wrong: Mismatch, cell: str) -> str:
    """Return the sentence for a condition that compares a column of numbers with a text."""
    given = f"the text {wrong.other}" if wrong.other else "text"
    value = wrong.other[1:-1].strip()
    if numbers.could_have_commas(value):
        value = value.replace(".", "").replace(",", ".")
    is_number = wrong.other.count("'") == 2 and re.fullmatch(numbers.WITH_POINT, value)
    instead = f"; write {value} without quotes" if is_number else "; write numbers without quotes, and with a point before their decimals"
    return f"where {condition!r} compares column {wrong.column}, which holds numbers such as {cell}, with {given}{instead}"


def out_of_order(condition: str, order: TextOrder, cell: str, why: str) -> str:
    """Return the sentence for a condition that asks which of two texts comes first, where their letters do not say it."""
    mend = "such dates as 2025-01-31" if why != "numbers" else "the cells as plain numbers, and the number without quotes"
    return f"where {condition!r} compares {why}, such as {cell!r} in column {order.column}, letter by letter; write {mend}"


def text_with_numbers(condition: str, wrong: Mismatch, cell: str, place: str, decimal: str) -> str:
    """Return the sentence for a condition that compares a column of text with numbers; `cell` is a text in it, `place` where it stands."""
    such = f" such as {cell!r}{place}" if cell else ""
    if cell and decimal != "," and numbers.could_have_commas(cell):
        mend = f"if a comma stands before the decimals of its numbers, give {option('decimal', ',')}; else make numbers of them first"
    else:
        mend = "write its cells as plain numbers, or compare it with a text in single quotes"
    return f"where {condition!r} compares column {wrong.column} with a number, and the column holds text{such}; {mend}"


def _is_condition(holds: pl.Expr, casts: Sequence[pl.Expr], columns: Sequence[str], table: Table) -> bool:
    rows = table.plan(columns).with_columns(*casts).select(pl.col(ROW), holds.alias("holds"))
    try:
        if rows.collect_schema()["holds"] != pl.Boolean:
            return False
        rows.select(pl.col("holds").sum()).collect(engine="streaming")
    except (KeyboardInterrupt, SystemExit, DataError):
        raise
    except pl.exceptions.PolarsError:
        table.collect(table.plan(columns).select(pl.len()))  # which says it, where the file itself is at fault
        return False
    return True
