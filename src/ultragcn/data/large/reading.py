"""Reading a log of Parquet files piece by piece: the rows are coded, and sorted on the disk into distinct pairs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ultragcn.data import columns, kinds
from ultragcn.data.coding import Decoded
from ultragcn.data.containers import ready
from ultragcn.data.folders import Part
from ultragcn.data.hints import TIMES_ARE_USED
from ultragcn.data.ids import IdMap
from ultragcn.data.large import pairs as on_disk
from ultragcn.data.large.codes import Side
from ultragcn.data.large.disk import Column, Scratch
from ultragcn.data.large.interactions import DiskInteractions
from ultragcn.data.large.pairs import SORTED_TOGETHER, Buckets, Pairs, count, sorted_pairs
from ultragcn.data.log import name_of, refuse_no_rows, refuse_nothing_chosen, what_was_read
from ultragcn.data.options import DataOptions
from ultragcn.data.repetitions import are_many, at_which, note
from ultragcn.data.rows import Rows, read_rows
from ultragcn.data.tables import Table, open_table
from ultragcn.data.text import ROW
from ultragcn.errors import DataError, counted, warn
from ultragcn.lazily import pl
from ultragcn.progress import Progress

_SIDES = ("user", "item")
LOOKED_AT = 1 << 22
"""Rows among which the first repetition is looked for."""
_HEAD = 1000
"""Rows that are looked at before all of them are."""


@dataclass(frozen=True)
class DiskLog:
    """What `read_log` and `events_of` return of a log in memory, on the disk."""

    name: str
    about: str
    user_ids: IdMap
    item_ids: IdMap
    pairs: Pairs
    had: DiskInteractions | None = None
    """What is rated below `min_rating`, over ids of its own; None without `min_rating`."""


def read_on_disk(parts: Sequence[Part], options: DataOptions, scratch: Scratch, num_rows: int, progress: Progress) -> DiskLog:
    """Read Parquet files as one log, in memory that does not grow with their rows.

    Parameters
    ----------
    parts : list of Part
    options : DataOptions
    scratch : Scratch
        Where everything is kept.
    num_rows : int
        Of all files, for the progress.
    progress : Progress

    Returns
    -------
    DiskLog
        Ids, pairs and times as those of the reader in memory, bit for bit.

    Raises
    ------
    DataError
        What cannot be read, with its row; or no row is left.
    """
    name, rows = name_of(parts), on_disk.ROWS
    sides, low = ({side: Side(side, scratch) for side in _SIDES} for _ in range(2))  # of what is rated high enough, and too low
    when = scratch.column(np.int64) if options.needs_times else None
    read: list[Rows] = []
    heads: list[tuple[str, np.ndarray]] = []  # of the first pieces, the file and its rows
    sizes: list[int] = []
    low_sizes: list[int] = []
    span: tuple[int, int] | None = None
    progress.start("reading", num_rows, "row")
    try:
        for size, found in _pieces(parts, options, rows):
            frame = found.found if not options.needs_ratings else found.found.filter(pl.col("rating"))
            if len(frame) < len(found.found):
                _add(found.found.filter(~pl.col("rating")), low, low_sizes)
            read.append(replace(found, found=frame.clear()))
            progress.advance(size)
            if not len(frame):
                continue
            _add(frame, sides, sizes)
            if sum(sizes[:-1]) < LOOKED_AT:
                heads.append((found.table.name, frame[ROW].to_numpy()))
            if when is not None:
                moments = frame["time"].to_numpy()
                when.append(moments)
                span = _wider(span, moments)
    finally:
        progress.finish()
    refuse_nothing_chosen(name, read, options)
    refuse_no_rows(sum(sizes), name, options)
    users, items = decoded = [column.decoded(options) for column in sides.values()]
    counts = _counts(sides, decoded, len(sizes))
    about = what_was_read(name, _one_a_file(read), options, users, items, counts, span, looked_at=True)
    pairs = _sorted(sides, when, options.counts_first, sizes, counts, scratch, progress)
    repeated, at = sum(sizes) - len(pairs), at_which(options.counts_first, when is not None)
    if said := note(repeated, sum(sizes), False, at):
        about = f"{about}; {said}"
    if not are_many(repeated, sum(sizes)):
        _warn_of_repetitions(name, repeated, sides, users.ids, items.ids, heads, at)
    for column in sides.values():
        column.remove()
    return DiskLog(name, about, users.ids, items.ids, pairs, _had(low, low_sizes, options, scratch, progress))


def _add(frame: pl.DataFrame, sides: dict[str, Side], sizes: list[int]) -> None:
    """Write the ids of the next piece."""
    for side, column in sides.items():
        column.add(frame[side])
    sizes.append(len(frame))


def _counts(sides: dict[str, Side], decoded: Sequence[Decoded], pieces: int) -> list[np.ndarray]:
    """Return the rows of each user and of each item in all pieces."""
    counts = [np.zeros(len(side.ids), np.int64) for side in decoded]
    for number in range(pieces):
        for column, own in zip(sides.values(), counts, strict=True):
            count(own, column.rows(number))
    return counts


def _had(low: dict[str, Side], sizes: Sequence[int], options: DataOptions, scratch: Scratch, progress: Progress) -> DiskInteractions | None:
    """Return the distinct pairs of the rows that are rated too low."""
    if not sizes:
        return None
    decoded = [column.decoded(options) for column in low.values()]
    pairs = _sorted(low, None, False, sizes, _counts(low, decoded, len(sizes)), scratch, progress)
    for column in low.values():
        column.remove()
    return DiskInteractions.on_disk(pairs, *(side.ids for side in decoded))


def _sorted(sides: dict[str, Side], when: Column | None, first_times: bool, sizes: Sequence[int], counts: Sequence[np.ndarray],
            scratch: Scratch, progress: Progress) -> Pairs:  # fmt: skip
    """Return the distinct pairs of all pieces."""
    num_items = len(counts[1])
    progress.start("sorting", 2 * sum(sizes), "row")
    try:
        kinds_of_columns = (np.int64,) if when is None else (np.int64, np.int64)
        buckets = Buckets(scratch, counts[0], SORTED_TOGETHER * on_disk.ROWS, kinds_of_columns)
        start = 0
        for number, size in enumerate(sizes):
            users, items = (side.rows(number) for side in sides.values())
            keys = users.astype(np.int64) * num_items + items
            times = () if when is None else (when.read(start, start + size),)
            buckets.add(users, keys, *times)
            start += size
            progress.advance(size)
        if when is not None:
            when.remove()
        return sorted_pairs(buckets, scratch, num_items, when is not None, first_times, progress.advance)
    finally:
        progress.finish()


def _pieces(parts: Sequence[Part], options: DataOptions, rows: int) -> Iterator[tuple[int, Rows]]:
    """Yield the size of each piece of each file, and what is read of it; one at least, of empty files too."""
    categories = pl.Categories.random()
    as_text = _text_sides(parts, options, categories)
    is_looked_at = False
    for part in parts:
        with _opened(part, options) as table:
            length = num_rows_of(table)
            dates = _are_dates(table, options)
            for start in range(0, max(length, 1), rows):
                found = read_rows(table.piece(start, rows, dates), options, categories, None if is_looked_at else TIMES_ARE_USED)
                is_looked_at = True
                casts = [
                    pl.col(side).cast(pl.String).cast(pl.Categorical(categories)) for side in as_text if found.found[side].dtype == pl.Int64
                ]
                yield max(0, min(rows, length - start)), replace(found, found=found.found.with_columns(casts))


@contextlib.contextmanager
def _opened(part: Part, options: DataOptions) -> Iterator[Table]:
    with ready(part.path, part.name) as found:
        if found.kind != kinds.PARQUET:
            raise DataError(f"{part.name} is not a Parquet file, but other files beside it are; give files of one kind")
        yield open_table(found, options).within(part.partitions)


def num_rows_of(table: Table) -> int:
    """Return how many rows a table has, by the header of its file."""
    return int(table.collect(table.plan(table.names[:1]).select(pl.len())).item())


def _text_sides(parts: Sequence[Part], options: DataOptions, categories: pl.Categories) -> list[str]:
    """Return the sides whose ids are strings in one file or more: there, all are."""
    found: dict[str, bool] = dict.fromkeys(_SIDES, False)
    for part in parts:
        with _opened(part, options) as table:
            frame = read_rows(table.piece(0, 0, False), options, categories).found
            for side in _SIDES:
                found[side] |= frame[side].dtype != pl.Int64
    return [side for side, is_text in found.items() if is_text]


def _are_dates(table: Table, options: DataOptions) -> bool:
    """Return whether the numbers in the column of times are dates, for which all of them must be."""
    if not options.needs_times or options.time_format:
        return False
    names = columns.chosen(table, options)["time"]
    rows = table.plan(names)
    schema = table.kinds(rows)
    of_times = [schema[name] for name in names]
    if len(names) == 1 and not (of_times[0].is_numeric() or of_times[0] == pl.String):
        return False
    holds = columns.are_dates([pl.col(name) for name in names], of_times).alias("holds")
    if len(names) == 1 and of_times[0].is_numeric():  # the first rows tell most often
        head = table.collect(rows.head(_HEAD).select(holds, filled=pl.col(names[0]).is_not_null().any()))
        if head["filled"][0] and not head["holds"][0]:
            return False
    return bool(table.collect(rows.select(holds))["holds"][0])


def _one_a_file(read: Sequence[Rows]) -> list[Rows]:
    """Return what was read of each file, its pieces put together."""
    files: dict[str, Rows] = {}
    for piece in read:
        before = files.get(piece.table.name)
        if before is None:
            files[piece.table.name] = piece
            continue
        disliked = piece.disliked
        if before.disliked is not None and piece.disliked is not None:
            disliked = (piece.disliked[0], before.disliked[1] + piece.disliked[1])
        files[piece.table.name] = replace(
            before, read=before.read + piece.read, before=before.before + piece.before, skipped=before.skipped + piece.skipped,
            words=tuple(dict.fromkeys((*before.words, *piece.words))), disliked=disliked, in_where=before.in_where or piece.in_where,
        )  # fmt: skip
    return list(files.values())


def _wider(span: tuple[int, int] | None, moments: np.ndarray) -> tuple[int, int]:
    """Return the first and the last time so far."""
    first, last = int(moments.min()), int(moments.max())
    return (first, last) if span is None else (min(first, span[0]), max(last, span[1]))


def _warn_of_repetitions(name: str, repeated: int, sides: dict[str, Side], user_ids: IdMap, item_ids: IdMap,
                         heads: Sequence[tuple[str, np.ndarray]], at: str) -> None:  # fmt: skip
    """Count repetitions in a `DataWarning`, with the first one where it stands among the first rows."""
    if not repeated:
        return
    many = "it was" if repeated == 1 else f"{repeated} such repetitions were"
    users, items = (np.concatenate([side.rows(number) for number in range(len(heads))]) for side in sides.values())
    keys = users.astype(np.int64) * len(item_ids) + items
    order = np.argsort(keys, kind="stable")
    again = order[1:][keys[order[1:]] == keys[order[:-1]]]
    if len(again):
        first = int(again.min())
        shown = user_ids.shown(users[first]), item_ids.shown(items[first])
        ends = np.cumsum([len(numbers) for _, numbers in heads])
        piece = int(np.searchsorted(ends, first, side="right"))
        file, numbers = heads[piece]
        warn(f"{file}, row {numbers[first - ends[piece]]}: user {shown[0]} has item {shown[1]} twice; {many} counted once{at}")
    else:
        warn(
            f"{name}: {counted(repeated, 'row')} repeat a pair of a user and an item that stands in an earlier row; {many} counted once{at}"
        )
