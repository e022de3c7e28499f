"""Distinct pairs on the disk, by user, then item: how they are sorted, thinned out, merged and turned round.

Letters: U users, I items, N pairs, R rows of a log.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ultragcn.data.large.disk import Column, Scratch
from ultragcn.errors import DataError

ROWS = 1 << 22
"""Rows that are in memory at a time while they are read, written or split."""
SORTED_TOGETHER = 4
"""Of so many times as many, the rows that are sorted in memory at a time."""
Advance = Callable[[int], None]
"""Counts rows as done."""


class Piece(NamedTuple):
    """All pairs of some users who stand side by side."""

    first: int
    """The first user."""
    degrees: np.ndarray  # pairs of each user, int64
    start: int
    """Where the pairs begin among all."""
    items: np.ndarray  # int32
    times: np.ndarray | None  # int64

    @property
    def users(self) -> np.ndarray:
        """The user of each pair: int32."""
        return np.repeat(np.arange(self.first, self.first + len(self.degrees), dtype=np.int32), self.degrees)


@dataclass(frozen=True)
class Pairs:
    """N distinct pairs, ascending by user, then item."""

    num_items: int
    indptr: np.ndarray  # (U + 1,) int64
    items: Column  # (N,) int32
    times: Column | None  # (N,) int64

    def __len__(self) -> int:
        return int(self.indptr[-1])

    @property
    def scratch(self) -> Scratch:
        """Where the columns lie."""
        return self.items.scratch

    @property
    def degrees(self) -> np.ndarray:
        """Pairs of each user: (U,) int64."""
        return np.diff(self.indptr)

    def pieces(self, rows: int = ROWS) -> Iterator[Piece]:
        """Yield the pairs in pieces of whole users, of at most `rows` pairs where no user has more."""
        for first, last in ranges(self.degrees, rows):
            yield self.piece(first, last)

    def piece(self, first: int, last: int) -> Piece:
        """Return the pairs of the users from `first` to before `last`."""
        start, stop = int(self.indptr[first]), int(self.indptr[last])
        when = None if self.times is None else self.times.read(start, stop)
        return Piece(first, np.diff(self.indptr[first : last + 1]), start, self.items.read(start, stop), when)

    def item_degrees(self, rows: int = ROWS) -> np.ndarray:
        """Return how many users each item has: (I,) int64."""
        counts = np.zeros(self.num_items, np.int64)
        for items in self.items.pieces(rows):
            count(counts, items)
        return counts


class Writer:
    """Pairs that are being written, user by user."""

    def __init__(self, scratch: Scratch, num_items: int, timed: bool):
        self._num_items, self._degrees = num_items, [np.zeros(1, np.int64)]
        self._items = scratch.column(np.int32)
        self._times = scratch.column(np.int64) if timed else None

    def add(self, degrees: np.ndarray, items: np.ndarray, times: np.ndarray | None) -> None:
        """Write the pairs of the next users."""
        self._degrees.append(degrees.astype(np.int64))
        self._items.append(items)
        if self._times is not None:
            assert times is not None
            self._times.append(times)

    def pairs(self) -> Pairs:
        """Return all that was written."""
        return Pairs(self._num_items, np.cumsum(np.concatenate(self._degrees)), self._items, self._times)


def ranges(counts: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Yield ranges (first, last) of rows whose `counts` come to `most` together, or of one row that has more."""
    ends, first, done = np.cumsum(counts), 0, 0
    while first < len(counts):
        last = max(first + 1, int(np.searchsorted(ends, done + most, side="right")))
        yield first, last
        first, done = last, int(ends[last - 1])


def count(counts: np.ndarray, rows: np.ndarray) -> None:
    """Add to `counts` how often each of its places comes in `rows`."""
    if len(rows) < len(counts):
        np.add.at(counts, rows, 1)
    else:
        counts += np.bincount(rows, minlength=len(counts))


class Buckets:
    """Rows on their way to being sorted: each bucket holds all rows of a range of keys, and is sorted in memory.

    Parameters
    ----------
    scratch : Scratch
    counts : (K,) int64
        Rows of each key.
    most : int
        Rows of a bucket, where no key has more.
    kinds : tuple of types
        Of the columns.
    """

    def __init__(self, scratch: Scratch, counts: np.ndarray, most: int, kinds: tuple[type[np.generic], ...]):
        self.ranges = list(ranges(counts, most))
        self._bucket_of = np.zeros(len(counts), np.uint16 if len(self.ranges) < 1 << 16 else np.int64)
        for number, (first, last) in enumerate(self.ranges):
            self._bucket_of[first:last] = number
        ends = np.concatenate(([0], np.cumsum(counts)))
        self._starts = np.array([ends[first] for first, _ in self.ranges] + [ends[-1]], np.int64)
        self._filled = self._starts[:-1].copy()
        self._columns = [scratch.column(kind, int(ends[-1])) for kind in kinds]

    def add(self, keys: np.ndarray, *columns: np.ndarray) -> None:
        """Put rows into the buckets of their keys."""
        bucket = self._bucket_of[keys]
        order = np.argsort(bucket, kind="stable")
        sizes = np.bincount(bucket, minlength=len(self.ranges))
        ends = np.cumsum(sizes)
        moved = [column[order] for column in columns]
        for number in np.flatnonzero(sizes):
            begin, end = int(ends[number] - sizes[number]), int(ends[number])
            for own, numbers in zip(self._columns, moved, strict=True):
                own.write(int(self._filled[number]), numbers[begin:end])
        self._filled += sizes

    def __iter__(self) -> Iterator[tuple[tuple[int, int], list[np.ndarray]]]:
        """Yield the range of keys and the columns of each bucket, in memory; then the files are gone."""
        for number, keys in enumerate(self.ranges):
            start, stop = int(self._starts[number]), int(self._starts[number + 1])
            yield keys, [column.read(start, stop) for column in self._columns]
        for column in self._columns:
            column.remove()


def sorted_pairs(buckets: Buckets, scratch: Scratch, num_items: int, timed: bool, first_times: bool, advance: Advance) -> Pairs:
    """Return the distinct pairs in buckets of users, each with its latest time or its first.

    The first column of the buckets is the key of a row, user x I + item; the second one is its time, if there are times.
    """
    writer = Writer(scratch, num_items, timed)
    for (first, last), (keys, *others) in buckets:
        rows = len(keys)
        when = None
        if timed:
            order = np.argsort(keys)
            keys = keys[order]
            starts = _starts(keys)
            when = (np.minimum if first_times else np.maximum).reduceat(others[0][order], starts)
        else:
            keys.sort()
            starts = _starts(keys)
        keys = keys[starts]
        users = keys // num_items
        items = (keys - users * num_items).astype(np.int32)
        writer.add(np.bincount(users - first, minlength=last - first), items, when)
        advance(rows)
    return writer.pairs()


def _starts(ascending: np.ndarray) -> np.ndarray:
    """Return where each key begins among ascending ones."""
    return np.flatnonzero(np.concatenate((np.ones(min(1, len(ascending)), bool), ascending[1:] != ascending[:-1])))


def core_of(pairs: Pairs, k: int, rows: int = ROWS) -> tuple[Pairs, np.ndarray, np.ndarray]:
    """Return the largest part in which every user and every item has `k` pairs or more, and which users and items are in it.

    Raises
    ------
    DataError
        Nothing is left.
    """
    users_in, items_in = np.ones(len(pairs.degrees), bool), np.ones(pairs.num_items, bool)
    user_degrees, item_degrees = pairs.degrees, pairs.item_degrees(rows)
    while True:
        users_left, items_left = users_in & (user_degrees >= k), items_in & (item_degrees >= k)
        if users_left.sum() == users_in.sum() and items_left.sum() == items_in.sum():
            break
        users_in, items_in = users_left, items_left
        user_degrees, item_degrees = np.zeros_like(user_degrees), np.zeros_like(item_degrees)
        for piece in pairs.pieces(rows):
            users = piece.users
            there = users_in[users] & items_in[piece.items]
            user_degrees[piece.first : piece.first + len(piece.degrees)] = np.bincount(
                users[there] - piece.first, minlength=len(piece.degrees)
            )
            count(item_degrees, piece.items[there])
    if not users_in.any() or not user_degrees[users_in].sum():
        raise DataError(f"the {k}-core is empty: no part of the data has {k} interactions of every user and item; lower k_core")
    places = (np.cumsum(items_in) - 1).astype(np.int32)
    writer = Writer(pairs.scratch, int(items_in.sum()), pairs.times is not None)
    for piece in pairs.pieces(rows):
        users = piece.users
        there = users_in[users] & items_in[piece.items]
        degrees = np.bincount(users[there] - piece.first, minlength=len(piece.degrees))
        kept = users_in[piece.first : piece.first + len(piece.degrees)]
        writer.add(degrees[kept], places[piece.items[there]], None if piece.times is None else piece.times[there])
    return writer.pairs(), users_in, items_in


def by_item(pairs: Pairs, item_degrees: np.ndarray, rows: int = ROWS) -> tuple[np.ndarray, Column]:
    """Return the same pairs by item, then user: where each item begins, (I + 1,) int64, and the users, (N,) int32."""
    buckets = Buckets(pairs.scratch, item_degrees, SORTED_TOGETHER * rows, (np.int64,))
    for piece in pairs.pieces(rows):
        buckets.add(piece.items, (piece.items.astype(np.int64) << 32) | piece.users)
    users = pairs.scratch.column(np.int32)
    for _, (keys,) in buckets:
        keys.sort()
        users.append((keys & 0xFFFFFFFF).astype(np.int32))
    return np.concatenate(([0], np.cumsum(item_degrees))), users


def nth_latest(when: Column, n: int, before: int | None = None, rows: int = ROWS) -> int:
    """Return the `n`-th latest of some times, from 1; with `before`, of those that are earlier. A digit of 16 bits is found at a time."""
    found, known = 0, 0
    for shift in (48, 32, 16, 0):
        counts = np.zeros(1 << 16, np.int64)
        for times in when.pieces(rows):
            if before is not None:
                times = times[times < before]
            ordered = times.view(np.uint64) ^ np.uint64(1 << 63)  # the order of numbers with a sign
            if known:
                ordered = ordered[(ordered >> np.uint64(64 - known)) == np.uint64(found)]
            counts += np.bincount(((ordered >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64), minlength=1 << 16)
        later = np.cumsum(counts[::-1])
        place = int(np.searchsorted(later, n))
        digit = len(counts) - 1 - place
        n -= int(later[place] - counts[digit])
        found, known = (found << 16) | digit, known + 16
    return int((np.array([found], np.uint64) ^ np.uint64(1 << 63)).view(np.int64)[0])
