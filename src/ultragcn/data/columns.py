"""Which columns hold users, items, ratings, times and quantities, and what is made of their cells."""

from __future__ import annotations

import re
import shlex

import numpy as np

from ultragcn.data import names, times
from ultragcn.data.options import DataOptions
from ultragcn.data.tables import Table
from ultragcn.errors import DataError, UsageError
from ultragcn.lazily import pl

_HOLDS = {"user": "the users", "item": "the items", "rating": "the ratings", "time": "the times", "title": "the titles",
          "quantity": "the quantities"}  # fmt: skip
_WIDE = 8  # columns from which on a table may have one for every item
_MATRIX = 16  # columns without names, all of numbers, from which on they are not a log
_THOUSANDS = r"^\s*[+-]?\d{1,3},\d{3}\s*$"
_DECIMAL_COMMA = r"^\s*[+-]?\d*,\d+\s*$"


def find(table: Table, role: str, given: str = "") -> str | None:
    """Return the column of `table` that holds the users, items, ratings, times, titles or quantities; None where nothing tells.

    Raises
    ------
    DataError
        There is no column of the name `given`.
    """
    if given:
        if given in table.names:
            return given
        if given.isdecimal() and 1 <= int(given) <= len(table.names):
            return table.names[int(given) - 1]
        raise DataError(f"{table.name} has no column {given!r}; give one of {table.listed()}, or a number from 1 to {len(table.names)}")
    if table.named:
        return names.known(role, table.names)
    # The third of three columns may be ratings or times; only the user can tell.
    place = names.PLACES.get(role, len(table.names))
    return table.names[place] if place < len(table.names) and (role != "time" or len(table.names) > names.PLACES["time"]) else None


def chosen(table: Table, options: DataOptions) -> dict[str, tuple[str, ...]]:
    """Return the columns that are read, by what they hold: one, or two of times.

    Raises
    ------
    DataError
        Columns that are needed are missing: all of them in one message, with options to copy.
    """
    wanted = {"user": options.user_column, "item": options.item_column}
    if options.needs_ratings or options.rating_column:
        wanted["rating"] = options.rating_column
    if options.needs_times:
        wanted["time"] = options.time_column
    if options.net:
        wanted["quantity"] = options.quantity_column
    if not table.named and not options.user_column and not options.item_column and len(table.names) >= _MATRIX and _is_wide(table, 0):
        raise DataError(_wide(table))
    found = {role: _columns(table, role, given) for role, given in wanted.items()}
    if missing := [role for role, columns in found.items() if not columns]:
        if table.text is not None and any("\ufffd" in name for name in table.names):
            raise table.fault()  # the names themselves are not UTF-8
        raise DataError(_missing(table, missing, {name for named in found.values() for name in named}))
    if found["user"] == found["item"]:
        raise DataError(f"{table.name}: column {found['user'][0]} cannot hold both users and items; give user_column and item_column")
    return found


def _columns(table: Table, role: str, given: str) -> tuple[str, ...]:
    if role == "time" and "," in given and given not in table.names:
        return tuple(column for piece in given.split(",")[:2] if (column := find(table, role, piece.strip())) is not None)
    column = find(table, role, given)
    return () if column is None else (column,)


def missing_column(table: Table, *roles: str) -> DataError:
    """Return the error for columns that nothing tells, with options to copy."""
    return DataError(_missing(table, list(roles), set()))


def _missing(table: Table, roles: list[str], taken: set[str]) -> str:
    if table.has_header and "item" in roles and len(table.names) >= _WIDE and _is_wide(table):
        return _wide(table)
    holds = " and which ".join(_HOLDS[role] for role in roles)
    taken = set(taken)
    words, arguments = [], []
    for role in roles:
        if (guess := _guess(table, role, taken)) is not None:
            taken.add(guess)
            words.append(f"--{role}_column {shlex.quote(guess)}")
            arguments.append(f"{role}_column={guess!r}")
    options = " and ".join(f"{role}_column (--{role}_column)" for role in roles)
    copied = f", such as {' '.join(words)} ({', '.join(arguments)})" if len(words) == len(roles) else ""
    hint = ""
    if table.text is not None:
        one_row = "the first row is data" if table.has_header else "the first row names the columns"
        hint = f", or header={'no' if table.has_header else 'yes'} (--header {'no' if table.has_header else 'yes'}) if {one_row}"
    return f"{table.name}: it is not clear which of the columns {table.listed()} holds {holds}; give {options}{copied}{hint}"


def _guess(table: Table, role: str, taken: set[str]) -> str | None:
    """Return a column that could be meant, to show how the option is written; None where none is free."""
    free = [name for name in table.names if name not in taken and not name.startswith("#")]
    if role in ("user", "item"):  # a column of times or ratings is not one of ids
        others = {names.known(other, table.names) for other in ("time", "rating", "quantity")}
        others |= {names.known("user" if role == "item" else "item", table.names)}
        free = [name for name in free if name not in others]
    if role not in ("user", "item") or not free:
        return free[-1] if free else None
    return next((name for name in free if names.looks_like_id(name)), free[0])


def _wide(table: Table) -> str:
    return (
        f"{table.name} seems to be a wide table, with a row for each user and a column for each item ({table.listed(4)}); turn it "
        f"into a table with a row for each interaction (docs/data.md shows how)"
    )


def _is_wide(table: Table, first: int = 1) -> bool:
    """Return whether all columns from the `first` on hold nothing but numbers: many of them none, or there are many columns."""
    try:
        head = table.collect(table.plan(table.names[:200]).head(100)).drop("row\0")
    except DataError:
        return False
    if not head.height:
        return False
    cells = [head[name].cast(pl.String, strict=False) for name in table.names[first:200]]
    numbers = [column.drop_nulls().cast(pl.Float64, strict=False).is_not_null().all() for column in cells]
    empty = sum(column.null_count() for column in cells) / (len(cells) * head.height)
    if first == 0:
        return all(numbers)
    return all(numbers) and head[table.names[0]].n_unique() == head.height and (empty > 0.2 or len(cells) > 50)


def coded(column: pl.Expr, kind: pl.DataType, table: Table, side: str, categories: pl.Categories, options: DataOptions) -> pl.Expr:
    """Return ids as integers, or as the codes that polars gives to strings while it reads; null where there is none."""
    if kind.is_integer():
        return column.cast(pl.Int64, strict=False)
    if isinstance(kind, pl.Decimal) and not kind.scale:
        return column.cast(pl.Int64, strict=False)
    if kind in (pl.Categorical, pl.Enum):
        column, kind = column.cast(pl.String), pl.String()
    if kind.is_float() and options.missing == "skip":
        # A missing id among integers makes floats of all of them in pandas.
        whole = column.fill_nan(None)
        return pl.when((whole == whole.round()) & (whole.abs() < 2**53)).then(whole).cast(pl.Int64, strict=False)
    if kind != pl.String:
        why = (
            " (in pandas, a missing id among integers turns all ids of the column into this type; drop its row, or give missing=skip)"
            if kind.is_float()
            else ""
        )
        raise DataError(f"{table.name}: {side} ids must be integers or strings, and those in the column are {kind}{why}; convert it first")
    return pl.when(column != "").then(column).cast(pl.Categorical(categories))


def number(column: pl.Expr, kind: pl.DataType, decimal: str) -> pl.Expr:
    """Return cells as numbers; null where there is none, or nothing tells which number it is.

    `decimal` is what stands before decimals: a point, a comma, or either ("") where that is clear: 5,0 is 5, but 5,000 is 5 here and
    5000 there.
    """
    if kind != pl.String:
        made = column.cast(pl.Float64, strict=False)
    else:
        text = column.str.strip_chars()
        with_point = text.str.replace(",", ".", literal=True)
        if decimal == ",":
            made = pl.when(~text.str.contains(".", literal=True)).then(with_point).cast(pl.Float64, strict=False)
        elif decimal == ".":
            made = text.cast(pl.Float64, strict=False)
        else:
            comma = text.str.contains(_DECIMAL_COMMA) & ~text.str.contains(_THOUSANDS)
            made = pl.when(comma).then(with_point).otherwise(text).cast(pl.Float64, strict=False)
    return pl.when(made.is_finite()).then(made)


def at_least(rating: pl.Expr, kind: pl.DataType, least: float) -> pl.Expr:
    """Return whether ratings reach `least`, rounded as the ratings are."""
    return rating >= (float(np.float32(least)) if kind == pl.Float32 else least)


def moments(columns: list[pl.Expr], kinds: list[pl.DataType], options: DataOptions, dates: bool | None = None) -> pl.Expr:
    """Return times as microseconds; of two columns the second is a clock. For `dates` see `times.microseconds`."""
    column, kind = _one_column(columns, kinds)
    if not options.time_format:
        return times.microseconds(column, kind, dates)
    return times.by_format(column.cast(pl.String), options.time_format)


def are_dates(columns: list[pl.Expr], kinds: list[pl.DataType]) -> pl.Expr:
    """Return whether times are numbers that are dates, all of them: what `moments` takes as `dates`."""
    return times.are_dates(*_one_column(columns, kinds))


def _one_column(columns: list[pl.Expr], kinds: list[pl.DataType]) -> tuple[pl.Expr, pl.DataType]:
    if len(columns) == 1:
        return columns[0], kinds[0]
    return pl.concat_str([part.cast(pl.String) for part in columns], separator=" "), pl.String()


def check_time_format(pattern: str) -> None:
    """Raise `UsageError` unless times can be written so."""
    if not pattern:
        return
    if not re.search(r"%[YymbBdjDFcxsGV]", pattern):
        raise UsageError(f"time_format must have the places of year, month and day, such as %d/%m/%Y %H:%M, not {pattern!r}")
    if not times.is_format(pattern):
        raise UsageError(
            f"time_format {pattern!r} cannot be read; write a form such as %d/%m/%Y, %m/%d/%Y %I:%M:%S %p or %Y-%m-%dT%H:%M:%S%z"
        )
