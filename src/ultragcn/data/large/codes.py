"""The ids of one side of a log that is read in pieces: which there are, and the row of each.

A piece has integers, or the codes that polars gives to strings while it reads. They are written to the disk as they come. When all have
been seen, the ids are put in order, and each piece can be had again as rows of the id map.
"""

from __future__ import annotations

import numpy as np

from ultragcn.data import coding
from ultragcn.data.ids import IdMap
from ultragcn.data.large.disk import Column, Scratch
from ultragcn.data.options import DataOptions
from ultragcn.lazily import pl

SPAN = 1 << 27
"""Integers as close together as this are marked in a table; others are sorted."""
WAITING = 1 << 24
"""Integers that wait to be sorted in among the others, at least."""


class Side:
    """The users or the items of a log.

    Parameters
    ----------
    what : {"user", "item"}
    scratch : Scratch
    """

    def __init__(self, what: str, scratch: Scratch):
        self._what, self._scratch = what, scratch
        self._pieces: list[tuple[Column, int, int]] = []
        self._seen = _Seen()
        self._new: list[pl.Series] = []  # of strings, the cells in which each came first
        self._row_of: np.ndarray | None = None

    def add(self, cells: pl.Series) -> None:
        """Write the ids of the next piece, and take note of them."""
        codes = cells.to_physical().to_numpy()
        if cells.dtype != pl.Int64:
            self._new.append(cells.filter(pl.Series(self._seen.are_new(codes))).unique())
        self._seen.add(codes)
        kind = np.dtype(np.int32) if not len(codes) or -(1 << 31) <= codes.min() <= codes.max() < 1 << 31 else np.dtype(np.int64)
        if not self._pieces or self._pieces[-1][0].dtype != kind:
            column = self._scratch.column(kind)
        else:
            column = self._pieces[-1][0]
        self._pieces.append((column, len(column), len(column) + len(codes)))
        column.append(codes)

    def decoded(self, options: DataOptions) -> coding.Decoded:
        """Return the ids, as `coding.decoded` does; its `rows` are none."""
        codes = self._seen.all()
        if not self._new:
            self._row_of = self._seen.row_of()
            return coding.Decoded(IdMap(codes, self._what), np.empty(0, np.int32))
        distinct = pl.concat(self._new)
        found = coding.decoded(distinct, self._what, False, options)
        self._row_of = np.zeros(int(codes.max(initial=0)) + 1, np.int32)
        self._row_of[distinct.to_physical().to_numpy()] = found.rows
        self._new = []
        return coding.Decoded(found.ids, np.empty(0, np.int32), found.notes, found.warnings)

    def rows(self, number: int) -> np.ndarray:
        """Return piece `number` as rows of the id map: int32."""
        column, start, stop = self._pieces[number]
        codes = column.read(start, stop)
        if self._row_of is not None:
            rows: np.ndarray = self._row_of[codes - self._seen.low]
            return rows
        # In ascending order, since looking up wanders through the ids.
        order = np.argsort(codes)
        rows = np.empty(len(codes), np.int32)
        rows[order] = np.searchsorted(self._seen.all(), codes[order])
        return rows

    def remove(self) -> None:
        """Remove what was written."""
        for column in {id(column): column for column, _, _ in self._pieces}.values():
            column.remove()


class _Seen:
    """The distinct integers of all pieces."""

    def __init__(self) -> None:
        self.low = 0
        self._marks: np.ndarray | None = np.zeros(0, bool)  # of the integers from `low` on; None: they are too far apart
        self._ids, self._waiting = np.empty(0, np.int64), [np.empty(0, np.int64)]

    def are_new(self, codes: np.ndarray) -> np.ndarray:
        """Return which of the codes of strings, which count from 0, were not there before."""
        assert self._marks is not None
        new = np.ones(len(codes), bool)
        known = codes < len(self._marks)
        new[known] = ~self._marks[codes[known]]
        return new

    def add(self, codes: np.ndarray) -> None:
        if not len(codes):
            return
        low, high = int(codes.min()), int(codes.max())
        if self._marks is not None and not self._reach(low, high):
            self._ids, self._marks, self.low = np.flatnonzero(self._marks) + self.low, None, 0
        if self._marks is not None:
            self._marks[codes - self.low] = True
            return
        self._waiting.append(_distinct(codes.astype(np.int64)))
        if sum(map(len, self._waiting)) > max(WAITING, len(self._ids)):
            self._merge()

    def _reach(self, low: int, high: int) -> bool:
        """Make the marks reach from `low` to `high`; return whether they can."""
        assert self._marks is not None
        if not len(self._marks):
            self.low = low if low < 0 or low > SPAN // 2 else 0
        first, end = min(self.low, low), max(self.low + len(self._marks), high + 1)
        if end - first > SPAN:
            return False
        if first < self.low or end > self.low + len(self._marks):
            size = min(SPAN, 2 * (end - first))
            marks = np.zeros(size, bool)
            marks[self.low - first : self.low - first + len(self._marks)] = self._marks[: size - (self.low - first)]
            self.low, self._marks = first, marks
        return True

    def _merge(self) -> None:
        self._ids, self._waiting = _distinct(np.concatenate([self._ids, *self._waiting])), [np.empty(0, np.int64)]

    def all(self) -> np.ndarray:
        """Return all of them, ascending: int64."""
        if self._marks is not None:
            return np.flatnonzero(self._marks) + self.low
        if len(self._waiting) > 1:
            self._merge()
        return self._ids

    def row_of(self) -> np.ndarray | None:
        """Return the place of each integer from `low` on among all of them, int32; None where they are too far apart for a table."""
        return None if self._marks is None else np.cumsum(self._marks, dtype=np.int32) - np.int32(1)


def _distinct(numbers: np.ndarray) -> np.ndarray:
    """Return distinct integers, ascending; sorting is faster than the hash table of np.unique."""
    numbers = np.sort(numbers)
    result: np.ndarray = numbers[np.concatenate((np.ones(min(1, len(numbers)), bool), numbers[1:] != numbers[:-1]))]
    return result
