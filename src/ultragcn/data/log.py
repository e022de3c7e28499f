"""What a source says, in numbers: one row an interaction, users and items coded as rows of their id maps.

Every source becomes a `Log` by `read_log`, and a log becomes `Events`, its distinct pairs, by `events_of`.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp

from ultragcn.data import times
from ultragcn.data.ids import IdMap
from ultragcn.data.interactions import Interactions
from ultragcn.data.matrices import own_csr
from ultragcn.data.options import TIMED_SPLITS, DataOptions
from ultragcn.data.tables import ROW, Table, first_line, is_frame, open_table, require_file, suffix_of
from ultragcn.data.user_lines import read_user_lines
from ultragcn.errors import DataError, UsageError, counted, warn

PARTS = ("train", "test", "valid")
_LAST_MISSING = "last missing"


@dataclass(frozen=True)
class Log:
    """The rows of one source, N of them; those below `min_rating` are left out already."""

    name: str
    """File, or what else the source is, for messages."""
    unit: str
    """What the source has: rows or lines (`row`, `line`)."""
    user_ids: IdMap
    item_ids: IdMap
    users: np.ndarray  # (N,) int32, row in user_ids
    items: np.ndarray  # (N,) int32, row in item_ids
    rows: np.ndarray  # (N,) number of each row in the source, from 1
    times: np.ndarray | None  # (N,) int64, microseconds since 1970; None when they were not asked for
    about: str
    """What was read, in a few words."""
    dated: bool = False
    """Whether times are those of a clock, not places in a line."""

    def place(self, position: int) -> str:
        """Return where the row at `position` stands, for messages."""
        return f"{self.name}, {self.unit} {self.rows[position]}"


@dataclass(frozen=True)
class Events:
    """Distinct pairs, and what they are split by: when each happened last, or where it stands in its line."""

    interactions: Interactions
    times: np.ndarray | None  # (N,) int64, aligned with interactions.pairs

    def part(self, mask: np.ndarray) -> "Events":
        """Return the pairs chosen by a mask (N,) over the same ids."""
        return Events(self.interactions.part(mask), None if self.times is None else self.times[mask])


def read_log(source: Any, options: DataOptions) -> Log:
    """Read one source.

    Parameters
    ----------
    source : str, Path, frame or sparse matrix
        A text file (CSV, TSV, `::`, RecBole, user lines) or Parquet, text also compressed (`.gz`, `.zst`); a polars or pandas
        frame; a SciPy matrix U x I, whose ids are its row and column numbers and whose values are ratings.
    options : DataOptions

    Raises
    ------
    DataError
        What cannot be read, with its row; or the source has no row that `min_rating` keeps.
    UsageError
        `source` is nothing that can be read.
    """
    if sp.issparse(source):
        log = _of_matrix(source, options)
    elif is_frame(source):
        log = _of_table(open_table(source, options), options)
    elif isinstance(source, (str, Path)):
        path = Path(source)
        require_file(path)
        log = _of_user_lines(path, options) if _has_user_lines(path, options) else _of_table(open_table(path, options), options)
    else:
        raise UsageError(f"cannot read interactions from {type(source).__name__}; give a file, a polars or pandas frame, or a SciPy matrix")
    if len(log.users) == 0:
        if options.needs_ratings:
            raise DataError(f"{log.name} has no interactions rated {options.min_rating:g} or higher; lower min_rating, or give other data")
        raise DataError(f"{log.name} has no interactions; give data with at least one")
    return log


def over_same_ids(logs: list[Log]) -> list[Log]:
    """Return the logs over the ids that occur in any of them; where some have strings, all ids become strings."""
    if len(logs) == 1:
        return logs
    user_ids = _union([log.user_ids for log in logs])
    item_ids = _union([log.item_ids for log in logs])
    return [
        replace(log, user_ids=user_ids, users=_moved(log.users, log.user_ids, user_ids), item_ids=item_ids,
                items=_moved(log.items, log.item_ids, item_ids))
        for log in logs
    ]  # fmt: skip


def events_of(log: Log) -> Events:
    """Return the distinct pairs of a log, with the latest time of each; repetitions are counted in a `DataWarning`."""
    keys = log.users.astype(np.int64) * len(log.item_ids) + log.items
    if log.times is None:
        latest, sorted_keys = None, np.sort(keys)
        starts = _starts(sorted_keys)
    else:
        order = np.argsort(keys)
        sorted_keys = keys[order]
        starts = _starts(sorted_keys)
        latest = np.maximum.reduceat(log.times[order], starts)
    distinct = sorted_keys[starts]
    repeated = len(keys) - len(distinct)
    if repeated:
        first = _first_repetition(keys)
        user, item = log.user_ids.shown(log.users[first]), log.item_ids.shown(log.items[first])
        many = "it was" if repeated == 1 else f"{repeated} such repetitions were"
        warn(f"{log.place(first)}: user {user} has item {item} twice; {many} counted once")
    return Events(_interactions(distinct, log.user_ids, log.item_ids, latest if log.dated else None), latest)


def k_core(events: Events, k: int) -> Events:
    """Return the largest part in which every user and every item has `k` pairs or more; ids that fall out are gone.

    Raises
    ------
    DataError
        Nothing is left.
    """
    if k <= 1:
        return events
    users, items = events.interactions.pairs
    latest = events.times
    while True:
        keep = (np.bincount(users)[users] >= k) & (np.bincount(items)[items] >= k) if len(users) else np.zeros(0, bool)
        if keep.all():
            break
        users, items = users[keep], items[keep]
        latest = None if latest is None else latest[keep]
    if len(users) == 0:
        raise DataError(f"the {k}-core is empty: no part of the data has {k} interactions of every user and item; lower k_core")
    user_ids, users = _compacted(events.interactions.user_ids, users)
    item_ids, items = _compacted(events.interactions.item_ids, items)
    dated = events.interactions.times is not None
    return Events(_interactions(users * np.int64(len(item_ids)) + items, user_ids, item_ids, latest if dated else None), latest)


def _compacted(ids: IdMap, rows: np.ndarray) -> tuple[IdMap, np.ndarray]:
    """Return the map of those ids that occur in `rows` (N,), and `rows` in that map."""
    occurs = np.bincount(rows, minlength=len(ids)) > 0
    return ids.part(np.flatnonzero(occurs)), (np.cumsum(occurs) - 1)[rows]


def _interactions(keys: np.ndarray, user_ids: IdMap, item_ids: IdMap, latest: np.ndarray | None) -> Interactions:
    """Return the interactions of distinct ascending keys, user row x I + item row, and their times (N,)."""
    counts = np.bincount(keys // len(item_ids), minlength=len(user_ids)) if len(keys) else np.zeros(len(user_ids), np.int64)
    indptr = np.concatenate(([0], np.cumsum(counts)))
    indices = (keys % len(item_ids)).astype(np.int32)
    shape = (len(user_ids), len(item_ids))
    return Interactions._of(sp.csr_matrix((np.ones(len(keys), np.float32), indices, indptr), shape=shape), user_ids, item_ids, latest)


def _starts(sorted_keys: np.ndarray) -> np.ndarray:
    """Return where each key begins among ascending ones."""
    return np.flatnonzero(np.concatenate(([True], sorted_keys[1:] != sorted_keys[:-1])))


def _first_repetition(keys: np.ndarray) -> int:
    """Return the position of the first key that stood before; there must be one. Most often it comes early."""
    size = 1024
    while True:
        head = keys[:size]
        order = np.argsort(head, kind="stable")
        again = order[1:][head[order[1:]] == head[order[:-1]]]
        if len(again):
            return int(again.min())
        size *= 4


# ------------------------------------------------------------------- sources


def _has_user_lines(path: Path, options: DataOptions) -> bool:
    """Return whether a file is in the user-line format: a `.txt` of numbers between blanks."""
    if suffix_of(path) != ".txt" or options.separator:
        return False
    # Tabs may stand between the numbers of a published split; elsewhere they make a table.
    blanks = " \t" if path.name.split(".")[0] in PARTS else " "
    return re.fullmatch(rf"[0-9{blanks}]+", first_line(path).strip()) is not None


def _of_user_lines(path: Path, options: DataOptions) -> Log:
    for needed, what, option in (
        (options.needs_ratings, "ratings", "min_rating"),
        (options.split == "time", "times", "split time"),
        (options.time_column != "", "times", "time_column"),
    ):
        if needed:
            raise DataError(f"{path} has no {what}, only lines of users and their items; drop {option}, or give another file")
    lines = read_user_lines(path)
    if len(lines.items) == 0:
        raise DataError(f"{path} names users but no items; expected one line a user: user item item ...")
    user_ids, item_ids = IdMap.of(lines.all_users, "user"), IdMap.of(lines.items, "item")
    users, items = user_ids.rows(lines.users).astype(np.int32), item_ids.rows(lines.items).astype(np.int32)
    about = f"{counted(len(lines.all_users), 'line')}, one a user"
    # The later in a line, the later: only split last asks for it, and only within a user.
    order = np.arange(len(items)) if options.split == "last" else None
    return Log(str(path), "line", user_ids, item_ids, users, items, lines.lines, order, about)


def _of_matrix(matrix: Any, options: DataOptions) -> Log:
    if options.needs_times:
        asking = f"split {options.split} needs" if options.split in TIMED_SPLITS else "time_column asks for"
        raise UsageError(f"{asking} times, and a matrix has none; give a frame or a file")
    cells = own_csr(matrix).tocoo()
    values = cells.data
    # Rated 4.2 in single precision is rated 4.2: NumPy rounds the threshold as the ratings are.
    keep = (values != 0) & (values >= options.min_rating)
    user_ids, item_ids = (IdMap(np.arange(size), what) for size, what in zip(cells.shape, ("user", "item"), strict=True))
    users, items = cells.row[keep].astype(np.int32), cells.col[keep].astype(np.int32)
    return Log("the matrix", "row", user_ids, item_ids, users, items, users, None, _kept(len(values), len(users), "entries", options))


def _of_table(table: Table, options: DataOptions) -> Log:
    """Read the columns that are needed and no others, codes instead of ids, in one pass."""
    columns = {"user": table.find("user", options.user_column), "item": table.find("item", options.item_column)}
    if columns["user"] == columns["item"]:
        raise DataError(f"{table.name}: column {columns['user']} cannot hold both users and items; give user_column and item_column")
    for role, needed, given in (
        ("rating", options.needs_ratings, options.rating_column),
        ("time", options.needs_times, options.time_column),
    ):
        if needed or given:
            columns[role] = table.find(role, given)
    kinds = table.rows.collect_schema()
    wanted = [pl.col(ROW), *(_coded(pl.col(columns[side]), kinds[columns[side]], table, side).alias(side) for side in ("user", "item"))]
    if options.needs_ratings:
        rating = pl.col(columns["rating"])
        rating = (rating.str.strip_chars() if kinds[columns["rating"]] == pl.String else rating).cast(pl.Float64, strict=False)
        least = float(np.float32(options.min_rating)) if kinds[columns["rating"]] == pl.Float32 else options.min_rating
        wanted.append(pl.when(rating.is_finite()).then(rating >= least).alias("rating"))
    if options.needs_times:
        wanted.append(times.microseconds(pl.col(columns["time"]), kinds[columns["time"]]).alias("time"))
    # Where the last cell is missing, others may be; where it is read, that is refused anyway.
    wanted.append(pl.col(table.names[-1]).is_null().alias(_LAST_MISSING))
    found = table.collect(table.rows.select(wanted))
    if found[ROW].null_count():
        raise table.fault()
    found = _without_blank_rows(found, table)
    _check_cells(found, table, columns)
    if found[_LAST_MISSING].any():
        _warn_of_short_rows(table)
    num_rows = len(found)
    if options.needs_ratings:
        found = found.filter(pl.col("rating"))
    user_ids, users = _decoded(found["user"], "user", bool(table.separator))
    item_ids, items = _decoded(found["item"], "item", bool(table.separator))
    when = found["time"].to_numpy() if options.needs_times else None
    header = "" if table.has_header else ", no header, row 1 is data (if it is one: header yes)"
    named = ", ".join(f"{role}s in column {name}" for role, name in columns.items())
    about = f"{_kept(num_rows, len(found), 'rows', options)}{header}; {named}"
    return Log(table.name, "row", user_ids, item_ids, users, items, found[ROW].to_numpy(), when, about, dated=when is not None)


def _kept(read: int, kept: int, what: str, options: DataOptions) -> str:
    return f"{kept} of {read} {what} rated {options.min_rating:g} or higher" if options.needs_ratings else f"all {read} {what}"


def _coded(column: pl.Expr, kind: pl.DataType, table: Table, side: str) -> pl.Expr:
    """Return the column as integers, or as the codes that polars gives to strings while it reads."""
    if kind.is_integer():
        return column.cast(pl.Int64, strict=False)
    if kind in (pl.Categorical, pl.Enum):
        column, kind = column.cast(pl.String), pl.String()
    if kind != pl.String:
        why = " (a missing id among integers makes all of them that in pandas; drop its row)" if kind.is_float() else ""
        raise DataError(f"{table.name}: {side} ids must be integers or strings, and those in the column are {kind}{why}; convert it first")
    return pl.when(column != "").then(column).cast(pl.Categorical(pl.Categories.random()))


def _without_blank_rows(found: pl.DataFrame, table: Table) -> pl.DataFrame:
    nameless = found["user"].is_null() & found["item"].is_null()
    if not nameless.any():
        return found
    return found.filter(~(nameless & found[ROW].is_in(table.blank_rows())))


def _check_cells(found: pl.DataFrame, table: Table, columns: dict[str, str]) -> None:
    """Raise the error for the first cell that is missing or is not what its column should hold."""
    faults = [(int(found[ROW][bad]), role) for role in columns if role in found.columns and (bad := _first_bad(found[role])) is not None]
    if not faults:
        return
    row, role = min(faults)
    text = table.cell(row, columns[role])
    count = found[role].null_count()
    place = table.place(row) + (f" (the first of {count} such rows)" if count > 1 else "")
    if role in ("user", "item") and text:
        raise DataError(f"{place}: the {role} id {text} does not fit 64 bits with a sign; convert the column to strings")
    if role in ("user", "item"):
        raise DataError(f"{place}: no {role} id in column {columns[role]}; every row needs a user and an item")
    allowed = "a number" if role == "rating" else times.ALLOWED
    raise DataError(f"{place}: cannot read the {role} {text!r} in column {columns[role]}; expected {allowed}")


def _warn_of_short_rows(table: Table) -> None:
    """Count, in a `DataWarning`, the rows that have fewer cells than the first, of which none that is read is missing."""
    count, first = table.short_rows()
    if count:
        those = "it was" if count == 1 else f"{count} such rows were"
        warn(f"{table.place(first)}: fewer cells than the {len(table.names)} of the first row; {those} kept, since only columns that are "
             "not read lack any; check that the file is whole")  # fmt: skip


def _first_bad(column: pl.Series) -> int | None:
    return int(column.is_null().arg_max()) if column.null_count() else None  # type: ignore[arg-type]


def _decoded(column: pl.Series, what: str, from_text: bool) -> tuple[IdMap, np.ndarray]:
    """Return the ids of a column and their rows (N,) int32.

    Those of a text file, which has no kinds of columns, are integers if every one is written as integers usually are.
    """
    if column.dtype == pl.Int64:
        ids, rows = np.unique(column.to_numpy(), return_inverse=True)
        return IdMap(ids, what), rows.astype(np.int32)
    distinct = column.unique()
    names = distinct.cast(pl.String)
    numbers = names.cast(pl.Int64, strict=False)
    # 007 and +7 are not what their number is written like, so they stay text, and so does their column.
    are_numbers = from_text and (numbers.cast(pl.String) == names).fill_null(False).all()
    order = (numbers if are_numbers else names).arg_sort().to_numpy()
    ids = numbers.to_numpy()[order] if are_numbers else np.array(names.to_list(), dtype=object)[order]
    codes = distinct.to_physical().to_numpy()
    row_of = np.zeros(int(codes.max(initial=0)) + 1, dtype=np.int32)
    row_of[codes[order]] = np.arange(len(order), dtype=np.int32)
    return IdMap(ids, what), row_of[column.to_physical().to_numpy()]


def _union(maps: list[IdMap]) -> IdMap:
    as_text = any(ids.are_strings for ids in maps)
    every = [np.array([str(one) for one in ids.ids.tolist()], dtype=object) if as_text else ids.ids for ids in maps]
    return IdMap.of(np.concatenate(every), maps[0].what)


def _moved(rows: np.ndarray, old: IdMap, new: IdMap) -> np.ndarray:
    ids = old.ids if old.are_strings == new.are_strings else np.array([str(one) for one in old.ids.tolist()], dtype=object)
    return new.rows(ids).astype(np.int32)[rows]
