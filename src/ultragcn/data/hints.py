"""Columns that are not read and look as if they should be: of times, of ratings, of kinds of events. Each is one clause of a note."""

from __future__ import annotations

from collections.abc import Sequence

from ultragcn.data import columns, names, times
from ultragcn.data.options import DataOptions
from ultragcn.data.tables import Table
from ultragcn.errors import DataError
from ultragcn.lazily import pl

SAMPLE = 10_000
"""Rows at the beginning of a table that are looked at."""
_FEW_ROWS = 20
"""Fewer rows say nothing."""
_MOST_COLUMNS = 40
_NEARLY_ALL = 0.95
_REPEATED = 5
"""Users or items that come again in the rows looked at, from which on they show whether a column describes them."""
_DATE = r"^\s*(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})([T\s].*)?$"
_WORD = r"^[^\W\d_][\w .:/+-]{0,29}$"
_FIRST, _LAST = 631_152_000_000_000, 4_102_444_800_000_000  # microseconds: 1990 and 2100, between which times of use lie
_MOST_RATINGS = 11  # values from 0 to 10, or from 0.5 to 5 by halves
_LIKED = 0.8
TIMES_ARE_USED = "training with --split time or last uses it"
"""What to do with times that are not read, where a log is split or added to one that was."""


def hints(
    table: Table, chosen: dict[str, tuple[str, ...]], options: DataOptions, named_in_where: Sequence[str], use_times: str
) -> list[str]:
    """Return what is to be said of columns that are not read, a clause each; nothing where none looks as if it should be.

    Parameters
    ----------
    table : Table
    chosen : dict
        The columns that are read, by what they hold.
    options : DataOptions
    named_in_where : list of str
        The columns that `where` names: they are read.
    use_times : str
        What to do with a column of times; "" where nothing is to be said of it.

    Raises
    ------
    DataError
        `rating_column` is text.
    """
    read = {name for role in chosen.values() for name in role} | set(named_in_where)
    free = [name for name in table.names if name not in read][:_MOST_COLUMNS]
    unused = chosen["rating"][0] if "rating" in chosen and not options.needs_ratings else None
    sides = (chosen["user"][0], chosen["item"][0])
    sample = table.head(list(dict.fromkeys([*sides, *([unused] if unused else []), *free])), SAMPLE)
    if unused is not None:
        _refuse_text(table, sample, unused)
    found = []
    if unused is not None:
        found.append(_unused_ratings(sample, unused))
    if sample.height < _FEW_ROWS or not set(sides) <= set(sample.columns):
        return found
    looked_at = [name for name in free if name in sample.columns]
    taken = None
    if use_times and options.split == "random" and not options.needs_times:
        taken = _times(table, sample, looked_at, sides)
        if taken is not None:
            found.append(f"column {taken} has times and is not read; {use_times}")
    looked_at = [name for name in looked_at if name != taken]
    if unused is None and not options.needs_ratings and not options.net:
        ratings = _ratings(table, sample, looked_at, sides)
        if ratings is not None:
            found.append(ratings)
    if not options.where and (events := _events(table, sample, looked_at, sides)) is not None:
        found.append(events)
    return found


def looks_like_times(table: Table, column: pl.Series, by_name: bool) -> bool:
    """Return whether a column holds times; numbers do only where the name of the column says so."""
    filled = column.drop_nulls()
    if not len(filled) or filled.n_unique() < 2:
        return False
    kind = filled.dtype
    if kind in (pl.Date, pl.Datetime):
        return True
    if kind == pl.String:
        if float(filled.str.contains(_DATE).mean() or 0) >= _NEARLY_ALL:  # type: ignore[arg-type]
            return True
    elif not kind.is_numeric():
        return False
    if not by_name:
        return False
    made = filled.to_frame().select(times.microseconds(pl.col(filled.name), kind).is_between(_FIRST, _LAST).fill_null(False)).to_series()
    return float(made.mean() or 0) >= _NEARLY_ALL  # type: ignore[arg-type]


def _times(table: Table, sample: pl.DataFrame, free: Sequence[str], sides: tuple[str, str]) -> str | None:
    known = [name for name in free if table.named and names.plain(name) in names.KNOWN["time"]]
    ending = [name for name in free if table.named and names.ends_like("time", name)]
    if not table.named and len(table.names) > names.PLACES["time"]:
        ending.append(table.names[names.PLACES["time"]])
    for name in known:
        if looks_like_times(table, sample[name], by_name=True):
            return name
    for name in dict.fromkeys((*ending, *free)):
        if name in free and looks_like_times(table, sample[name], by_name=name in ending) and not _describes(sample, name, sides):
            return name
    return None


def numbers_in(column: pl.Series) -> pl.Series | None:
    """Return a column as numbers, empty cells left out; None where a cell is none."""
    filled = column.drop_nulls()
    if filled.dtype == pl.String:
        filled = filled.str.strip_chars()
        filled = filled.filter(filled != "")
    elif not filled.dtype.is_numeric():
        return None
    made = filled.to_frame().select(columns.number(pl.col(filled.name), filled.dtype, "")).to_series()
    return None if made.null_count() or not len(made) else made


def are_like_ratings(values: pl.Series) -> bool:
    """Return whether numbers are few, small and apart as ratings are: from 1 to 5, from 0.5 to 5 by halves, from 0 to 10."""
    distinct = values.unique().sort()
    if not 3 <= len(distinct) <= _MOST_RATINGS or distinct[0] < 0 or not 3 <= distinct[-1] <= 10:
        return False
    return bool((distinct * 2 == (distinct * 2).round()).all()) and distinct[0] < _LIKED * distinct[-1] - 0.5


def _least_liked(values: pl.Series) -> str:
    """Return the rating from which on something is liked, of ratings up to a highest: 4 of 5, 8 of 10."""
    return f"{round(_LIKED * float(values.max())):g}"  # type: ignore[arg-type]


def _ratings(table: Table, sample: pl.DataFrame, free: Sequence[str], sides: tuple[str, str]) -> str | None:
    if table.named:
        likely = [name for name in free if names.plain(name) in names.LIKINGS or names.ends_like("rating", name)]
    else:
        third = table.names[names.PLACES["rating"] : names.PLACES["rating"] + 1]
        likely = [name for name in third if name in free]
    for name in likely:
        values = numbers_in(sample[name])
        if values is None or not are_like_ratings(values) or _describes(sample, name, sides):
            continue
        if not table.named and values.max() not in (5.0, 10.0):
            continue  # of a column without a name, the highest value must be that of a usual scale
        which = "" if columns.find(table, "rating") == name else f" --rating_column {name}"
        return (
            f"column {name} has values {float(values.min()):g} to {float(values.max()):g}, as ratings have, and is not used; "  # type: ignore[arg-type]
            f"--min_rating {_least_liked(values)}{which} keeps the likes"
        )
    return None


def _unused_ratings(sample: pl.DataFrame, name: str) -> str:
    values = numbers_in(sample[name]) if name in sample.columns else None
    least = f" {_least_liked(values)}" if values is not None and are_like_ratings(values) else ""
    return f"the ratings in column {name} are not used; --min_rating{least} keeps the rows that are rated so or higher"


def _refuse_text(table: Table, sample: pl.DataFrame, name: str) -> None:
    """Raise `DataError` where a column that was given as one of ratings has text."""
    if name not in sample.columns or sample[name].dtype != pl.String:
        return
    cells = sample[name].str.strip_chars()
    cells = cells.filter(cells != "")
    number = cells.to_frame().select(columns.number(pl.col(name), cells.dtype, ",")).to_series()
    point = cells.to_frame().select(columns.number(pl.col(name), cells.dtype, ".")).to_series()
    text = cells.filter(number.is_null() & point.is_null())
    if len(text):
        raise DataError(
            f"{table.name}: column {name} holds text such as {text[0]!r}, and ratings are numbers; give another rating_column "
            "(--rating_column), or choose rows with where (--where)"
        )


def _events(table: Table, sample: pl.DataFrame, free: Sequence[str], sides: tuple[str, str]) -> str | None:
    named = [name for name in free if table.named and names.plain(name) in names.EVENTS]
    others = [name for name in free if name not in named and not (table.named and names.is_no_event(name))]
    for name in (*named, *others):
        cells = sample[name].drop_nulls()
        if cells.dtype in (pl.Categorical, pl.Enum) or (name in named and cells.dtype.is_integer()):
            cells = cells.cast(pl.String)
        if cells.dtype != pl.String:
            continue
        cells = cells.str.strip_chars()
        cells = cells.filter(cells != "")
        counts = cells.value_counts(sort=True)
        words = counts[name]
        if not 2 <= counts.height <= 10 or len(cells) < _FEW_ROWS:
            continue
        if name not in named and not (words.str.contains(_WORD).all() and counts["count"].min() > 1):  # type: ignore[operator]
            continue
        if words.str.to_lowercase().is_in(list(_ANSWERS)).all() or _describes(sample, name, sides):
            continue
        share = f"{counts['count'][0] / len(cells):.0%}".replace("%", " %")
        where = f" in the first {SAMPLE} rows" if sample.height == SAMPLE else ""
        return f"column {name} has {words[0]} ({share}{where}), {', '.join(words[1:].to_list())}; every row counts alike; --where chooses"
    return None


_ANSWERS = ("true", "false", "yes", "no", "y", "n", "t", "f", "ja", "nein")


def _describes(sample: pl.DataFrame, name: str, sides: tuple[str, str]) -> bool:
    """Return whether a column describes users or items, not what happened: each user, or each item, has one value in all of its rows."""
    for side in sides:
        groups = sample.select(pl.col(side), pl.col(name)).drop_nulls().group_by(side).agg(pl.len().alias("\0n"), pl.col(name).n_unique())
        again = groups.filter(pl.col("\0n") > 1)
        if again.height >= _REPEATED and float((again[name] == 1).mean() or 0) >= _NEARLY_ALL:  # type: ignore[arg-type]
            return True
    return False
