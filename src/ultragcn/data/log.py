"""What a source says, in numbers: one row an interaction, users and items coded as rows of their id maps."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from ultragcn.data import coding, hints, json_lines, kinds, look, names, times
from ultragcn.data.containers import Ready, ready
from ultragcn.data.folders import PARTS, Part, parts_of
from ultragcn.data.had import distinct_pairs
from ultragcn.data.ids import IdMap
from ultragcn.data.interactions import Interactions
from ultragcn.data.matrices import own_csr
from ultragcn.data.options import TIMED_SPLITS, DataOptions, option
from ultragcn.data.repetitions import Distinct, at_which, distinct, note
from ultragcn.data.rows import Rows, read_rows, together
from ultragcn.data.tables import is_frame, open_table
from ultragcn.data.text import HEAD_ROWS, ROW, first_lines
from ultragcn.data.tuples import as_frame_of_pairs
from ultragcn.data.user_lines import read_user_lines
from ultragcn.errors import DataError, UsageError, counted, warn
from ultragcn.lazily import pl
from ultragcn.machine import MemoryShortError, ask_for, refuse_lost_threads

_ENOUGH_LINES = 20
"""Lines that are all equally long, and users that come again in them, from which on they are rows and not users with their items."""


_KEPT = "_distinct"
_ROW_BYTES = 40
"""Bytes that a row of a log takes while repetitions are looked for: its key, the keys in order, and what is kept of them."""


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
    read: str
    """What was read, in a few words, without the repetitions."""
    dated: bool = False
    """Whether times are those of a clock, not places in a line."""
    parts: tuple[tuple[str, int], ...] = ()
    """Of several files: what each is called, and the position after its last row."""
    netted: bool = False
    """Whether quantities were added up, so that a pair that comes again says nothing."""
    counts_first: bool = False
    """Whether a pair that comes again counts at its first time, not at its latest."""
    had: Interactions | None = None
    """The distinct pairs rated below `min_rating`, over ids of their own; None without `min_rating`."""

    @property
    def about(self) -> str:
        """What was read, in a few words."""
        try:
            repeated = self.distinct().repeated
        except MemoryShortError:  # which is raised again where the pairs are needed
            return self.read
        said = note(repeated, len(self.users), self.netted, at_which(self.counts_first, self.dated))
        return f"{self.read}; {said}" if said else self.read

    def distinct(self) -> Distinct:
        """Return the distinct pairs; they are kept until `let_go`.

        Raises
        ------
        MemoryShortError
            Sorting the rows needs more memory than is free.
        """
        kept: Distinct | None = vars(self).get(_KEPT)
        if kept is None:
            what = f"sorting the {len(self.users)} rows of {self.name}"
            ask_for(_ROW_BYTES * len(self.users), what, "read fewer rows, for example with where or min_rating")
            kept = distinct(self.users, self.items, len(self.item_ids), self.times, self.counts_first)
            vars(self)[_KEPT] = kept
        return kept

    def let_go(self) -> None:
        """Keep the distinct pairs no longer."""
        vars(self).pop(_KEPT, None)

    def place(self, position: int) -> str:
        """Return where the row at `position` stands, for messages."""
        name = next((name for name, end in self.parts if position < end), self.name)
        return f"{name}, {self.unit} {self.rows[position]}"


def read_log(source: Any, options: DataOptions, looked_at: bool = True, use_times: str = hints.TIMES_ARE_USED) -> Log:
    """Read one source.

    Parameters
    ----------
    source : str, Path, list of them, frame or sparse matrix
        A text file (CSV, TSV, `::`, RecBole, user lines, JSON lines), Parquet, a SQLite database or an Excel workbook; also
        packed (`.gz`, `.zst`, `.bz2`, `.xz`, `.zip`); several of them, a pattern such as `logs/*.csv`, or a folder, as one log; a polars
        or pandas frame; a SciPy matrix U x I, whose ids are its row and column numbers and whose values are ratings.
    options : DataOptions
    looked_at : bool
        Warn of what is odd in it, and say which columns are not read though they look as if they should be.
    use_times : str
        What to do, for messages, with a column of times that is not read; "" where there is nothing to be done.

    Raises
    ------
    DataError
        What cannot be read, with its row; or the source has no row that `min_rating` keeps.
    UsageError
        `source` is nothing that can be read.
    """
    refuse_lost_threads()
    look_for = use_times if looked_at else None
    source = as_frame_of_pairs(source)
    with contextlib.ExitStack() as stack:
        if sp.issparse(source):
            log = _of_matrix(source, options)
        elif is_frame(source):
            categories = pl.Categories.random()
            log = _of_rows([read_rows(open_table(source, options), options, categories, look_for)], "the frame", options, looked_at)
        elif isinstance(source, (str, Path, list, tuple)):
            log = _of_parts(parts_of(source, stack), options, looked_at, look_for)
        else:
            raise UsageError(
                f"cannot read interactions from {type(source).__name__}; give a file, a polars or pandas frame, a SciPy matrix, or a list "
                "of tuples (user, item)"
            )
    refuse_no_rows(len(log.users), log.name, options)
    return log


def refuse_no_rows(count: int, name: str, options: DataOptions) -> None:
    """Raise `DataError` where nothing is left of a log."""
    if count == 0:
        if options.needs_ratings:
            raise DataError(f"{name} has no interactions rated {options.min_rating:g} or higher; lower min_rating, or give other data")
        raise DataError(f"{name} has no interactions; give data with at least one")


def _of_parts(parts: Sequence[Part], options: DataOptions, looked_at: bool, look_for: str | None) -> Log:
    """Read one file, or several as one log; each is let go before the next is opened."""
    categories = pl.Categories.random()
    read: list[Rows] = []
    for part in parts:
        with ready(part.path, part.name, options.encoding, skips=options.skip_rows > 0) as found, json_lines.as_lines(found) as lines:
            if _has_user_lines(lines, options):
                if len(parts) > 1:
                    raise DataError(
                        f"{part.name} has a line for each user; put such files together into one file with cat, and give that file"
                    )
                return _of_user_lines(lines, options)
            table = _like_the_first(open_table(lines, options).within(part.partitions), read)
            read.append(read_rows(table, options, categories, None if read else look_for))
    return _of_rows(read, name_of(parts), options, looked_at)


def name_of(parts: Sequence[Part]) -> str:
    """Return what to call several files in messages."""
    return parts[0].name if len(parts) == 1 else f"{parts[0].name} and {counted(len(parts) - 1, 'more file')}"


def _like_the_first(table: Any, read: Sequence[Rows]) -> Any:
    """Return a table whose columns are called as those of the first part, where it has no header of its own."""
    if not read or table.has_header or not read[0].table.named or len(table.names) != len(read[0].table.names):
        return table
    return table.called(read[0].table.names)


def _of_rows(parts: Sequence[Rows], name: str, options: DataOptions, looked_at: bool) -> Log:
    """Return the log of what was read of one table or several."""
    refuse_nothing_chosen(name, parts, options)
    found = together(parts)
    ends = tuple(zip((part.table.name for part in parts), itertools.accumulate(len(part.found) for part in parts), strict=True))
    from_text = not any(part.table.typed for part in parts)
    had = _rated_low(found, from_text, options)
    found, ends = _chosen(found, ends, options)
    users = coding.decoded(found["user"], "user", from_text, options)
    items = coding.decoded(found["item"], "item", from_text, options)
    when = found["time"].to_numpy() if options.needs_times else None
    counts = [np.bincount(side.rows, minlength=len(side.ids)) for side in (users, items)]
    span = None if when is None or not len(when) else (int(when.min()), int(when.max()))
    words = what_was_read(name, parts, options, users, items, counts, span, looked_at)
    return Log(
        name, "row", users.ids, items.ids, users.rows, items.rows, found[ROW].to_numpy(), when, words, dated=when is not None,
        parts=ends if len(parts) > 1 else (), netted=options.net, counts_first=options.counts_first,
        had=had,
    )  # fmt: skip


def what_was_read(name: str, parts: Sequence[Rows], options: DataOptions, users: coding.Decoded, items: coding.Decoded,
                  counts: Sequence[np.ndarray], span: tuple[int, int] | None, looked_at: bool) -> str:  # fmt: skip
    """Return what was read, in a few words, and warn of what is odd in it.

    Parameters
    ----------
    name : str
        The source, for messages.
    parts : list of Rows
        Of each table: its columns and how much was read. Their `found` is not looked at.
    options : DataOptions
    users, items : Decoded
        Their ids, and what is to be said of them. Their `rows` are not looked at.
    counts : (U,) and (I,) int64
        Rows of each user and of each item.
    span : (int, int), optional
        The first and the last time, in microseconds.
    looked_at : bool
        Warn of what is odd.
    """
    first, kept = parts[0], int(counts[0].sum())
    about = _counts(parts, kept, options)
    about[0] += "" if first.table.has_header else _NO_HEADER
    about += _notes(parts)
    used = {role: named for role, named in first.columns.items() if role != "rating" or options.needs_ratings}
    about.append(", ".join(f"{role}s in column {' and '.join(named)}".replace("quantitys", "quantities") for role, named in used.items()))
    about += [*users.notes, *items.notes, *(clause for part in parts for clause in part.hints)]
    if looked_at:
        for sentence in (*users.warnings, *items.warnings):
            warn(f"{name}: {sentence}")
        _look_at_dislikes(name, parts)
        look.look(name, users.ids, items.ids, counts[0], counts[1], span, first.columns, options)
    if kept:
        shown = "" if span is None else f", times from {times.shown(span[0])} to {times.shown(span[1])}"
        about.append(f"{counted(len(users.ids), 'user')} x {counted(len(items.ids), 'item')}{shown}")
    return "; ".join(about)


def refuse_nothing_chosen(name: str, parts: Sequence[Rows], options: DataOptions) -> None:
    """Raise `DataError` where `where` keeps no row of those that there are."""
    before = sum(part.before for part in parts)
    if not options.where or not before or any(part.read or part.skipped for part in parts):
        return
    shown = next((part.in_where for part in parts if part.in_where), "")
    raise DataError(f'{name}: where "{options.where}" keeps 0 of {counted(before, "row")}{f"; {shown}" if shown else ""}')


def _counts(parts: Sequence[Rows], kept: int, options: DataOptions) -> list[str]:
    """Return how many rows there are, and how many of them count."""
    read = sum(part.read for part in parts)
    if not options.where:
        return [_kept(read, kept, "rows", options)]
    chosen = read + sum(part.skipped for part in parts)
    about = [f"{counted(sum(part.before for part in parts), 'row')}, of which where {options.where} keeps {chosen}"]
    return [*about, _kept(read, kept, "rows", options)] if options.needs_ratings or options.net else about


def _notes(parts: Sequence[Rows]) -> list[str]:
    """Return what is to be said of how the parts were read, once for all of them."""
    notes = list(dict.fromkeys(part.table.note for part in parts if part.table.note))
    skipped = sum(part.skipped for part in parts)
    if skipped:
        words = ", ".join(dict.fromkeys(word for part in parts for word in part.words))
        notes.append(f"{counted(skipped, 'row')} without a user or an item skipped" + (f" (written {words})" if words else ""))
    return notes


def _chosen(
    found: pl.DataFrame, ends: tuple[tuple[str, int], ...], options: DataOptions
) -> tuple[pl.DataFrame, tuple[tuple[str, int], ...]]:
    """Return the rows that are rated high enough and were not returned, and where each part of them ends."""
    keeps = []
    if options.needs_ratings:
        keeps.append(pl.col("rating"))
    if options.net:
        left = pl.col("quantity").sum().over("user", "item").round(9)
        keeps.append(((left > 0) & (pl.col("quantity") > 0)).fill_null(False))
    for keep in keeps:
        mask = found.select(keep).to_series()
        kept = np.concatenate(([0], np.cumsum(mask.to_numpy()))) if len(ends) > 1 else np.zeros(1, np.int64)
        ends = tuple((part, int(kept[end])) for part, end in ends) if len(ends) > 1 else ends
        found = found.filter(mask)
    return found, ends


def _rated_low(found: pl.DataFrame, from_text: bool, options: DataOptions) -> Interactions | None:
    """Return the distinct pairs of the rows that are not rated high enough: who rated something has it.

    What was sent back nobody has.
    """
    if not options.needs_ratings:
        return None
    low = ~pl.col("rating")
    if options.net:
        low &= (pl.col("quantity").sum().over("user", "item").round(9) > 0).fill_null(False)
    rows = found.filter(low).select("user", "item")
    users, items = (coding.decoded(rows[side], side, from_text, options) for side in ("user", "item"))
    return distinct_pairs(users.rows, items.rows, users.ids, items.ids)


_NO_HEADER = ", no header, row 1 is data (if it is one: header yes)"


def _look_at_dislikes(name: str, parts: Sequence[Rows]) -> None:
    told = [part.disliked for part in parts if part.disliked is not None]
    count = sum(number for _, number in told)
    if count:
        column = told[0][0]
        is_rating = not parts[0].table.named or names.plain(column) in names.LIKINGS
        look.warn_of_dislikes(name, column, count, sum(part.read for part in parts), is_rating)


def _kept(read: int, kept: int, what: str, options: DataOptions) -> str:
    if options.needs_ratings:
        net = " and not returned" if options.net else ""
        return f"{kept} of {read} {what} rated {options.min_rating:g} or higher{net}"
    return f"{kept} of {read} {what} after returns" if options.net else f"all {read} {what}"


def _has_user_lines(found: Ready, options: DataOptions) -> bool:
    """Return whether a file is in the user-line format: a `.txt` of numbers between blanks, one line for each user."""
    if found.suffix != ".txt" or options.separator or found.kind != kinds.TEXT:
        return False
    lines = [line.strip() for line in first_lines(found, "one interaction a row") if line.strip()]
    # Tabs may stand between the numbers of a published split; elsewhere they make a table.
    is_part = Path(found.name).name.split(".")[0] in PARTS
    blanks = " \t" if is_part else " "
    if is_part:
        return re.fullmatch(rf"[0-9{blanks}]+", lines[0]) is not None
    if not all(re.fullmatch(rf"[0-9{blanks}]+", line) for line in lines[: HEAD_ROWS - 1]):
        return False
    return not _are_rows(lines)


def _are_rows(lines: Sequence[str]) -> bool:
    """Return whether lines of numbers are rows `user item rating time`: all equally long, a user in several of them."""
    rows = [line.split() for line in lines]
    if len({len(row) for row in rows}) != 1 or not 2 <= len(rows[0]) <= 4:
        return False
    if len({row[0] for row in rows}) == len(rows):
        return False
    return len(rows) >= _ENOUGH_LINES or len(rows[0]) != 3 or len({row[2] for row in rows}) <= max(12, len(rows) // 8)


def _of_user_lines(found: Ready, options: DataOptions) -> Log:
    for needed, what, choice in (
        (options.needs_ratings, "ratings", "min_rating"),
        (options.split == "time", "times", "split time"),
        (options.time_column != "", "times", "time_column"),
        (options.net, "quantities", "net"),
        (options.where != "", "columns", "where"),
    ):
        if needed:
            raise DataError(
                f"{found.name} has no {what}, because its lines hold only a user and items; drop {choice}, or give another file"
            )
    lines = read_user_lines(found.path, found.name)
    if len(lines.items) == 0:
        raise DataError(f"{found.name} has users but no items; expected a line for each user: user item item ...")
    user_ids, item_ids = IdMap.of(lines.all_users, "user"), IdMap.of(lines.items, "item")
    users, items = user_ids.rows(lines.users).astype(np.int32), item_ids.rows(lines.items).astype(np.int32)
    about = f"{counted(len(lines.all_users), 'line')}, one a user; {counted(len(user_ids), 'user')} x {counted(len(item_ids), 'item')}"
    # The later in a line, the later: only split last asks for it, and only within a user.
    order = np.arange(len(items)) if options.split == "last" else None
    return Log(found.name, "line", user_ids, item_ids, users, items, lines.lines, order, about, counts_first=options.counts_first)


def _of_matrix(matrix: Any, options: DataOptions) -> Log:
    if options.needs_times:
        asking = f"split {options.split} needs" if options.split in TIMED_SPLITS else "time_column asks for"
        raise UsageError(f"{asking} times, and a matrix has none; give a frame or a file")
    cells = own_csr(matrix).tocoo()
    values = cells.data
    # Rated 4.2 in single precision is rated 4.2: NumPy rounds the threshold as the ratings are.
    keep = (values != 0) & (values >= options.min_rating)
    if not options.needs_ratings and (values < 0).any():
        count = int((values < 0).sum())
        warn(
            f"the matrix: {counted(count, 'value')} below 0 count as liked items; keep the pairs with a rating that is high "
            f"enough, with {option('min_rating', '1')}"
        )
    user_ids, item_ids = (IdMap(np.arange(size), what) for size, what in zip(cells.shape, ("user", "item"), strict=True))
    users, items = cells.row[keep].astype(np.int32), cells.col[keep].astype(np.int32)
    had = None
    if options.needs_ratings:
        low = (values != 0) & (values < options.min_rating)
        had = distinct_pairs(cells.row[low], cells.col[low], user_ids, item_ids)
    about = _kept(len(values), len(users), "entries", options)
    return Log("the matrix", "row", user_ids, item_ids, users, items, users, None, about, had=had)
