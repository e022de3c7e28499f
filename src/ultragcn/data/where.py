"""Conditions on rows: what `where` says in SQL, as an expression over the columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ultragcn.data.tables import Table
from ultragcn.data.text import ROW
from ultragcn.errors import DataError, did_you_mean
from ultragcn.lazily import pl

_EXAMPLE = "such as event = 'buy' AND price > 2; put a name with other characters than letters into double quotes"
_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


@dataclass(frozen=True)
class Condition:
    """A condition, and the columns that it is about."""

    text: str
    holds: pl.Expr
    columns: tuple[str, ...]
    casts: tuple[pl.Expr, ...]
    """Makes numbers of the columns that hold nothing else."""


def condition_of(text: str, table: Table) -> Condition:
    """Return what `text` says about the rows of a table.

    Columns of a text file are numbers to it where every cell of theirs that is not empty is one.

    Raises
    ------
    DataError
        It is not a condition, names a column that is not there, or compares what cannot be compared.
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
    for casts in (_casts(columns, table), ()):
        if _is_condition(holds, casts, columns, table):
            return Condition(text, holds, columns, casts)
    raise DataError(
        f"{table.name}: where {text!r} is not a condition that is true or false for each row; compare numbers with numbers "
        f"and text with text in single quotes, {_EXAMPLE}"
    )


def _casts(columns: Sequence[str], table: Table) -> tuple[pl.Expr, ...]:
    """Return what makes numbers of those columns of a text file that hold nothing else."""
    if table.typed:
        return ()
    filled = [pl.col(name).str.strip_chars().replace("", None) for name in columns]
    whole = [(cell.cast(pl.Int64, strict=False).is_null() & cell.is_not_null()).any().alias(f"{n}i") for n, cell in enumerate(filled)]
    real = [(~cell.str.contains(_NUMBER)).any().alias(f"{n}f") for n, cell in enumerate(filled)]
    found = table.collect(table.plan(columns).select(*whole, *real)).row(0, named=True)
    kinds = {name: pl.Int64 if not found[f"{n}i"] else None if found[f"{n}f"] else pl.Float64 for n, name in enumerate(columns)}
    return tuple(filled[n].cast(kind, strict=False).alias(name) for n, (name, kind) in enumerate(kinds.items()) if kind is not None)


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
