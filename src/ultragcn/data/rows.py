"""The rows of a table that are read: their users and items as codes, whether they are rated high enough, times, quantities."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from ultragcn.data import coding, columns, faults, names, times
from ultragcn.data.options import DataOptions, option
from ultragcn.data.tables import Table
from ultragcn.data.text import ROW
from ultragcn.data.where import Condition, condition_of
from ultragcn.errors import DataError, warn
from ultragcn.lazily import pl

_LAST_MISSING = "last missing"
_HOLDS = "holds\0"
_DISLIKED = "disliked\0"
_SIDES = ("user", "item")


@dataclass(frozen=True)
class Rows:
    """The rows of one table."""

    table: Table
    columns: dict[str, tuple[str, ...]]
    found: pl.DataFrame
    """ROW, user, item; rating (whether it is high enough), time, quantity where they are read."""
    read: int
    """Rows that were looked at, blank ones left out."""
    before: int
    """Rows among which `where` chose these."""
    skipped: int
    """Rows without a user or an item that were left out."""
    words: tuple[str, ...] = ()
    """What stood there for nothing."""
    disliked: tuple[str, int] | None = None
    """A column of ratings or quantities that is not read, and how many of its values are 0 or less."""


def read_rows(table: Table, options: DataOptions, categories: pl.Categories) -> Rows:
    """Read the columns that are needed and no others, codes instead of ids, in one pass.

    Raises
    ------
    DataError
        The source cannot be read. The message names the row.
    """
    chosen = columns.chosen(table, options)
    condition = condition_of(options.where, table) if options.where else None
    liking = None if "rating" in chosen or options.net else _liking(table, chosen)
    table, found = _collected(table, options, chosen, condition, liking, categories)
    if found[ROW].null_count():
        raise table.fault()
    before = len(found)
    if condition is not None:
        found = found.filter(pl.col(_HOLDS)).drop(_HOLDS)
    distinct = {side: coding.distinct_in(found[side]) for side in _SIDES}
    found = _without_header_again(found, table, chosen, distinct)
    found, skipped, words = _with_ids(found, table, chosen, distinct, options)
    num_rows = len(found)
    _check_cells(found, table, chosen)
    if _LAST_MISSING in found.columns:
        if found[_LAST_MISSING].any():
            _warn_of_short_rows(table)
        found = found.drop(_LAST_MISSING)
    disliked = None
    if liking is not None:
        disliked = (liking, int(found[_DISLIKED].sum()))
        found = found.drop(_DISLIKED)
    return Rows(table, chosen, found, num_rows, before, skipped, words, disliked)


def _collected(table: Table, options: DataOptions, chosen: dict[str, tuple[str, ...]], condition: Condition | None, liking: str | None,
               categories: pl.Categories) -> tuple[Table, pl.DataFrame]:  # fmt: skip
    """Return the rows, read with less care where what is wrong stands in columns that are not read."""
    plan = functools.partial(_plan, options=options, chosen=chosen, condition=condition, liking=liking, categories=categories)
    try:
        found = table.collect(plan(table, decimal=options.decimal or "."))
        if not options.decimal and any(role in found.columns and found[role].null_count() for role in ("rating", "quantity")):
            found = table.collect(plan(table, decimal=""))  # only now: looking for commas in every number takes its time
        return table, found
    except DataError as error:
        refused = error
    for other in table.calmer() if condition is None else ():
        try:
            found = other.collect(plan(other, decimal=options.decimal))
        except DataError:
            continue
        if found[ROW].null_count() or _is_touched(found, other):
            continue
        warn(f"{refused}; only columns that are not read have this fault, so it was ignored")
        return other, found
    raise refused


def _is_touched(found: pl.DataFrame, table: Table) -> bool:
    """Return whether something that was read depends on how quotes or bytes that are not UTF-8 are read."""
    assert table.text is not None
    if not table.text.quoted and _LAST_MISSING in found.columns and found[_LAST_MISSING].any():
        return True
    for side in _SIDES:
        if found[side].dtype != pl.Int64:
            cells = found[side].unique().cast(pl.String)
            if cells.str.contains('"|\ufffd').any():
                return True
    return False


def _plan(table: Table, options: DataOptions, chosen: dict[str, tuple[str, ...]], condition: Condition | None, liking: str | None,
          categories: pl.Categories, decimal: str) -> pl.LazyFrame:  # fmt: skip
    """Return the plan of what is read."""
    last = table.names[-1] if table.text is not None else None
    needed = [*(name for role in chosen.values() for name in role), *(condition.columns if condition else ()), liking, last]
    rows = table.plan(list(dict.fromkeys(name for name in needed if name is not None)))
    kinds = table.kinds(rows)
    in_list = options.item_list or isinstance(kinds[chosen["item"][0]], (pl.List, pl.Array))
    wanted = [pl.col(ROW)]
    for side in _SIDES:
        name = chosen[side][0]
        if side == "item" and in_list:
            wanted.append(_listed(pl.col(name), kinds[name], table, options).alias(side))
        else:
            wanted.append(columns.coded(pl.col(name), kinds[name], table, side, categories, options).alias(side))
    if options.needs_ratings:
        name = chosen["rating"][0]
        rating = columns.number(pl.col(name), kinds[name], decimal)
        wanted.append(columns.at_least(rating, kinds[name], options.min_rating).alias("rating"))
    if options.needs_times:
        moments = [pl.col(name) for name in chosen["time"]]
        wanted.append(columns.moments(moments, [kinds[name] for name in chosen["time"]], options, table.dates).alias("time"))
    if options.net:
        name = chosen["quantity"][0]
        wanted.append(columns.number(pl.col(name), kinds[name], decimal).alias("quantity"))
    if liking is not None:
        wanted.append((pl.col(liking).cast(pl.Float64, strict=False) <= 0).alias(_DISLIKED))
    if last is not None:
        # Where the last cell is missing, others may be; where it is read, that is refused anyway.
        wanted.append(pl.col(last).is_null().alias(_LAST_MISSING))
    if condition is not None:
        made = [expression.meta.output_name() for expression in wanted]
        private = [expression.alias(f"{name}\0w") for name, expression in zip(made, wanted, strict=True)]
        rows = rows.with_columns(private).with_columns(condition.casts).with_columns(condition.holds.fill_null(False).alias(_HOLDS))
        wanted = [*(pl.col(f"{name}\0w").alias(name) for name in made), pl.col(_HOLDS)]
    rows = rows.select(wanted)
    return _exploded(rows, table, options, categories) if in_list else rows


def _listed(column: pl.Expr, kind: pl.DataType, table: Table, options: DataOptions) -> pl.Expr:
    """Return the items of a cell as a list."""
    if isinstance(kind, pl.Array):
        return column.arr.to_list()
    if isinstance(kind, pl.List):
        return column
    if kind != pl.String:
        raise DataError(f"{table.name}: item_list divides cells of text, but the cells of the items are {kind}; leave out item_list")
    return column.str.strip_chars("[](){} ").str.split(options.character_between_items)


def _exploded(rows: pl.LazyFrame, table: Table, options: DataOptions, categories: pl.Categories) -> pl.LazyFrame:
    """Return a row for every item of a list; of an empty list none."""
    rows = rows.explode("item")
    kind = table.kinds(rows)["item"]
    if kind == pl.String:
        rows = rows.with_columns(pl.col("item").str.strip_chars(" '\""))
    rows = rows.filter(pl.col("item").is_not_null() & (pl.col("item") != "" if kind == pl.String else True))
    return rows.with_columns(columns.coded(pl.col("item"), kind, table, "item", categories, options).alias("item"))


def _liking(table: Table, chosen: dict[str, tuple[str, ...]]) -> str | None:
    """Return a column of ratings, labels or quantities that is not read; what stands there may say that somebody did not like it."""
    taken = {name for role in chosen.values() for name in role}
    if not table.named:
        third = table.names[2] if len(table.names) > 2 else None
        return third if third not in taken else None
    free = [name for name in table.names if name not in taken] if len(table.names) <= 1000 else []
    liking = next((name for name in free if names.plain(name) in names.LIKINGS), None)
    found = liking or names.known("quantity", free)
    if found is None:
        return None
    if table.text is not None:
        return found
    kind = table.kinds(table.plan([found]))[found]
    return found if kind.is_numeric() or kind in (pl.String, pl.Boolean) else None


def _without_header_again(
    found: pl.DataFrame, table: Table, chosen: dict[str, tuple[str, ...]], distinct: dict[str, pl.Series]
) -> pl.DataFrame:
    """Return the rows without those that are the header once more, as files put together with `cat` have them."""
    if not table.has_header or table.typed or not len(found) or found["user"].dtype == pl.Int64 or found["item"].dtype == pl.Int64:
        return found
    user, item = chosen["user"][0], chosen["item"][0]
    both = pl.Series([True])
    for side, name in zip(_SIDES, (user, item), strict=True):
        same = distinct[side].filter(distinct[side].cast(pl.String).is_in([name, f"\ufeff{name}", f" {name}"]))
        if not len(same):
            return found
        both = both & found[side].is_in(same.implode())
    count = int(both.fill_null(False).sum())
    if not count:
        return found
    again = found.filter(both.fill_null(False))
    row = "it was" if count == 1 else f"{count} such rows were"
    warn(f"{table.place(int(again[ROW][0]))}: the header is repeated, as in files that were put together; {row} left out")
    return found.filter(~both.fill_null(False))


def _with_ids(
    found: pl.DataFrame,
    table: Table,
    chosen: dict[str, tuple[str, ...]],
    distinct: dict[str, pl.Series],
    options: DataOptions,
) -> tuple[pl.DataFrame, int, tuple[str, ...]]:
    """Return the rows that have a user and an item, how many were skipped, and the words that stood there for nothing.

    Others are blank, or skipped where they may be, or refused.
    """
    masks, words = {}, {}
    for side in _SIDES:
        masks[side], words[side] = coding.without_id(found[side], distinct[side], options)
    lacking = masks["user"] | masks["item"]
    if not lacking.any():
        return found, 0, ()
    nameless = masks["user"] & masks["item"]
    # Rows that have neither user nor item are blank, if nothing else stands in them.
    filled = _filled(found.filter(nameless)[ROW], table, chosen, options)
    half = found.filter(lacking & ~nameless)[ROW]
    count = len(half) + len(filled)
    if count and options.missing == "refuse":
        row = min(int(numbers[0]) for numbers in (half, filled) if len(numbers))
        place = found[ROW] == row
        side = "user" if masks["user"].filter(place)[0] else "item"
        raise _no_id(table, row, side, chosen[side][0], count)
    return found.filter(~lacking), count, tuple(dict.fromkeys(word for side in _SIDES for word in words[side]))


def _no_id(table: Table, row: int, side: str, column: str, count: int) -> DataError:
    place = table.place(row) + (f" (the first of {count} such rows)" if count > 1 else "")
    text = table.cell(row, column)
    if text.strip() and table.typed:
        return DataError(f"{place}: the {side} id {text} does not fit 64 bits with a sign; convert the column to strings")
    skipped = option("missing", "skip")
    return DataError(f"{place}: no {side} id in column {column}; every row needs a user and an item, or skip such rows with {skipped}")


def _filled(nameless: pl.Series, table: Table, chosen: dict[str, tuple[str, ...]], options: DataOptions) -> pl.Series:
    """Return the numbers of those rows, of these without user and item, in which something else stands."""
    if not len(nameless):
        return nameless
    sides = [chosen[side][0] for side in _SIDES]
    rows = table.plan(table.names)
    kinds = table.kinds(rows)

    def nothing(name: str, by_words: bool = False) -> pl.Expr:
        if kinds[name] != pl.String:
            return pl.col(name).is_null()
        cell = pl.col(name).str.strip_chars(coding.BLANKS).fill_null("")
        return (cell == "") | cell.str.to_lowercase().is_in(coding.WORDS) if by_words else cell == ""

    skipped = options.missing == "skip"
    something = [~nothing(name) for name in (table.names if skipped else [name for name in table.names if name not in sides])]
    if not something:
        return nameless.clear()
    filled = rows.filter(nothing(sides[0], skipped) & nothing(sides[1], skipped) & pl.any_horizontal(something)).select(ROW)
    numbers = table.collect(filled)[ROW]
    return numbers.filter(numbers.is_in(nameless.implode()))


def _check_cells(found: pl.DataFrame, table: Table, chosen: dict[str, tuple[str, ...]]) -> None:
    """Raise the error for the first rating, time or quantity that is missing or is not what its column should hold."""
    faulty = [(int(found[ROW][_first_null(found[role])]), role) for role in chosen if role in found.columns and found[role].null_count()]
    if not faulty:
        return
    row, role = min(faulty)
    text = " ".join(table.cell(row, name) for name in chosen[role])
    count = found[role].null_count()
    place = table.place(row) + (f" (the first of {count} such rows)" if count > 1 else "")
    allowed = _allowed(role, chosen[role][0], table, text)
    raise DataError(f"{place}: cannot read the {role} {text!r} in column {' and '.join(chosen[role])}; expected {allowed}")


def _allowed(role: str, column: str, table: Table, text: str) -> str:
    if role != "time":
        comma = f"; if its decimal mark is a comma, give {option('decimal', ',')}" if "," in text else ""
        return f"a number{comma}"
    clock = ":" in text and len(text) < 13 and "-" not in text and "/" not in text
    beside = [name for name in table.names if "date" in name.lower() or "day" in name.lower()]
    if clock and beside and beside[0] != column:
        both = option("time_column", f"{beside[0]},{column}")
        return f"a date; if another column has the date, give both columns with {both}, the date first"
    return f"{times.ALLOWED}; give the form of other times with {option('time_format')}, such as %d/%m/%Y %H:%M"


def _first_null(column: pl.Series) -> int:
    return int(column.is_null().arg_max())  # type: ignore[arg-type]


def _warn_of_short_rows(table: Table) -> None:
    """Count, in a `DataWarning`, the rows that have fewer cells than the first, of which none that is read is missing."""
    assert table.text is not None
    try:
        count, first = faults.short_rows(table.text, len(table.names))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise table.fault(error) from error
    if count:
        those = "it was" if count == 1 else f"{count} such rows were"
        warn(f"{table.place(first)}: fewer cells than the {len(table.names)} of the first row; {those} kept, because only columns "
        f"that are not read lack cells; check that the file is whole")  # fmt: skip


def together(parts: Sequence[Rows]) -> pl.DataFrame:
    """Return the rows of all parts, one part after the other; where some have integers and others strings as ids, all have strings."""
    frames = [part.found for part in parts]
    for side in _SIDES:
        kinds = {frame[side].dtype for frame in frames}
        if len(kinds) > 1:
            coded = next(kind for kind in kinds if kind != pl.Int64)
            frames = [
                frame.with_columns(pl.col(side).cast(pl.String).cast(coded)) if frame[side].dtype == pl.Int64 else frame for frame in frames
            ]
    return frames[0] if len(frames) == 1 else pl.concat(frames, how="vertical")
