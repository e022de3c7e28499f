"""Choosing: lists that keep limits, promises and diversity, each taken from a pool of the best allowed items.

How a list of K items is chosen, place after place:

1. The pool is the best of the items that may still be taken: allowed, not in the list, and none of their values at its limit
   (`max_per`). With diversity it has `POOL` K items.
2. The item of the pool with the largest worth is taken, until the list is full or nothing in the pool may be taken; then comes the next
   pool. The worth is the score. With diversity d it is (Carbonell & Goldstein, SIGIR 1998: MMR)

       (1 - d) (s - s_last) / (s_first - s_last) - d max_j cos(v, v_j)    over the items j of the list (0 while there are none),

   where s_first and s_last are the scores of the first and the last item of the user's first pool.
3. A list that does not keep a promise (`promote`) is chosen anew: first as many of the promised items as were promised, then the others.
   The items are then put in the order in which step 2 takes them, limits aside.

With one limit the list has K items whenever K items can keep it, and the greatest sum of scores of all such lists; limits on several
columns may leave it shorter.

Letters: U users, I items, B users of a block, K places of a list, N items of a pool, D dimensions, A lists that are worked on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from ultragcn.rules.masks import Allowed, empty_lists, joined, ranked, rows_of
from ultragcn.scoring.scorer import Ranking, Scoring

POOL = 10
"""Items of a pool for each place of a list, with diversity."""
_SPARE = 4
"""The same with limits alone, where the size of the pool changes no list: as many as are seldom all used up."""
_TOGETHER = 128
"""Users whose items' vectors are looked at together, or of whom a limit leaves many items out: some 20 MB."""
_TOGETHER_OTHERS = 1024
"""Users whose lists are chosen together where there are no such things: more make calls for a new pool rarer."""


class Limit(NamedTuple):
    """At most so many items of a list have the same value of a column."""

    codes: np.ndarray
    """Which items have the same value: (I,) int32, -1 for items without one, which no limit holds for."""
    most: int

    @property
    def num_values(self) -> int:
        """Return how many values there are."""
        return int(self.codes.max(initial=-1)) + 1


class Promise(NamedTuple):
    """At least a share of the places of a list has items of a kind, as far as there are such items."""

    holds: np.ndarray
    """Of which items it is true: (I,) bool."""
    share: float

    def places(self, top_k: int) -> int:
        """Return how many places of a list that is."""
        return min(top_k, math.ceil(round(self.share * top_k, 9)))


@dataclass(frozen=True, eq=False)
class Choice:
    """What lists must keep beyond masks.

    Attributes
    ----------
    limits : sequence of Limit
    promises : sequence of Promise
    diversity : float
        d, from 0 (by score alone) to 1.
    vectors : (I, D) float32, optional
        v, by which items are alike; needed with diversity.
    """

    limits: Sequence[Limit] = ()
    promises: Sequence[Promise] = ()
    diversity: float = 0.0
    vectors: np.ndarray | None = None

    @property
    def is_plain(self) -> bool:
        """Whether lists are the best allowed items and nothing more."""
        return not (self.limits or self.promises or self.diversity)

    def pool(self, top_k: int) -> int:
        """Return N."""
        return top_k * (POOL if self.diversity else _SPARE if self.limits else 1)


def chosen(scorer: Scoring, users: np.ndarray, top_k: int, seen: sp.csr_matrix | None, items: Allowed, choice: Choice) -> Ranking:
    """Yield lists of the allowed items that keep a choice, in blocks; see `scoring.scorer.Scoring.rank`.

    Scores are those of the scorer; with diversity they do not descend.
    """
    if choice.is_plain:
        yield from ranked(scorer, users, top_k, seen, items)
        return
    for block, pool, scores in ranked(scorer, users, min(choice.pool(top_k), scorer.num_items), seen, items):
        made = []
        step = _TOGETHER if choice.diversity else _TOGETHER_OTHERS
        for start in range(0, len(block), step):
            part = slice(start, start + step)
            making = _Making(scorer, block[part], top_k, seen, items, choice, pool[part], scores[part])
            made.append(making.lists())
        yield block, *joined(made, top_k)


class _Lists(NamedTuple):
    """Lists while they are chosen."""

    items: np.ndarray  # (B, K) int32, -1 in empty places
    scores: np.ndarray  # (B, K) float32
    length: np.ndarray  # (B,) int64, how many items each has

    @classmethod
    def empty(cls, number: int, top_k: int) -> "_Lists":
        return cls(*empty_lists(number, top_k), np.zeros(number, np.int64))


class _Making:
    """The lists of some users, being chosen from pools, of which the first is given: items and scores, (B, N) each."""

    def __init__(
        self, scorer: Scoring, users: np.ndarray, top_k: int, seen: sp.csr_matrix | None, items: Allowed, choice: Choice,
        pool: np.ndarray, scores: np.ndarray,
    ) -> None:  # fmt: skip
        self._scorer, self._users, self._top_k, self._seen, self._items = scorer, users, top_k, seen, items
        self._choice, self._pool, self._scores = choice, pool, scores
        there = (pool >= 0).sum(axis=1)
        first = scores[:, 0].astype(np.float64)
        last = scores[np.arange(len(users)), np.maximum(there, 1) - 1].astype(np.float64)
        self._last = np.where(there > 0, last, 0.0)
        self._span = np.where((there > 0) & (first > last), np.subtract(first, last, where=there > 0, out=np.ones_like(first)), 1.0)

    def lists(self) -> tuple[np.ndarray, np.ndarray]:
        """Return items and scores, (B, K) each."""
        everyone = np.arange(len(self._users))
        lists = _Lists.empty(len(everyone), self._top_k)
        self._fill(lists, everyone, self._items, np.full(len(everyone), self._top_k), (self._pool, self._scores))
        short = np.flatnonzero(self._owed(lists).any(axis=1))
        if len(short):
            for table, kept in zip(lists, self._as_promised(short), strict=True):
                table[short] = kept
        return lists.items, lists.scores

    def _owed(self, lists: _Lists) -> np.ndarray:
        """Return how many promised items each list lacks: (B, promises)."""
        owed = [self._lacking(lists, promise) for promise in self._choice.promises]
        return np.stack(owed, axis=1) if owed else np.zeros((len(lists.items), 0), np.int64)

    def _lacking(self, lists: _Lists, promise: Promise) -> np.ndarray:
        kept = (promise.holds[lists.items] & (lists.items >= 0)).sum(axis=1)
        lacking: np.ndarray = np.maximum(promise.places(self._top_k) - kept, 0)
        return lacking

    def _as_promised(self, short: np.ndarray) -> _Lists:
        """Return lists for the users `short` that begin with the promised items, in the order of worth."""
        part = _Making(
            self._scorer, self._users[short], self._top_k, self._seen, self._items, self._choice, self._pool[short], self._scores[short]
        )
        everyone = np.arange(len(short))
        lists = _Lists.empty(len(short), self._top_k)
        for promise in self._choice.promises:
            wanted = np.minimum(part._lacking(lists, promise), self._top_k - lists.length)
            part._fill(lists, everyone, self._items.also(promise.holds), wanted, None)
        part._fill(lists, everyone, self._items, self._top_k - lists.length, None)
        return part._in_order(lists)

    def _in_order(self, lists: _Lists) -> _Lists:
        """Return the same lists in the order of worth."""
        order = np.lexsort((lists.items, -lists.scores.astype(np.float64), lists.items < 0))
        items, scores = (np.take_along_axis(table, order, axis=1) for table in (lists.items, lists.scores))
        if not self._choice.diversity:
            return _Lists(items, scores, lists.length)
        ordered = _Lists.empty(len(items), self._top_k)
        self._take(ordered, np.arange(len(items)), items, scores, lists.length, ())
        return ordered

    def _fill(self, lists: _Lists, at: np.ndarray, items: Allowed, wanted: np.ndarray, pool: tuple[np.ndarray, np.ndarray] | None) -> None:
        """Add `wanted` (A,) items of the allowed ones to the lists `at` (A,), from the given pool and then from others."""
        while (wanted > 0).any():
            at, wanted, pool = at[wanted > 0], wanted[wanted > 0], None if pool is None else _part(pool, wanted > 0)
            if pool is None:
                pool = self._next_pool(lists, at, items)
            taken = self._take(lists, at, *pool, wanted, self._choice.limits)
            is_more = (pool[0][:, -1] >= 0) & (taken > 0)  # else the pool was all there was
            at, wanted, pool = at[is_more], (wanted - taken)[is_more], None

    def _next_pool(self, lists: _Lists, at: np.ndarray, items: Allowed) -> tuple[np.ndarray, np.ndarray]:
        """Return the best of the items that may still be taken, and their scores, (A, N) each."""
        size = min(self._choice.pool(self._top_k), self._scorer.num_items)
        step, blocks = _TOGETHER if self._choice.limits else max(1, len(at)), []
        for start in range(0, len(at), step):
            some = at[start : start + step]
            left_out = self._left_out(lists, some)
            blocks += [(listed, scores) for _, listed, scores in ranked(self._scorer, self._users[some], size, left_out, items)]
        return joined(blocks, size)

    def _left_out(self, lists: _Lists, at: np.ndarray) -> sp.csr_matrix | None:
        """Return what may not be taken into the lists `at` (A,), of users by their rows.

        That is what is seen, what they have, and what has a value at its limit.
        """
        if not lists.length[at].any():
            return self._seen
        users, first = np.unique(self._users[at], return_index=True)
        rows = []
        for user, row in zip(users.tolist(), at[first].tolist(), strict=True):
            own = lists.items[row, : lists.length[row]]
            is_out = np.zeros(self._scorer.num_items, bool)
            is_out[own] = True
            if self._seen is not None:
                is_out[self._seen.indices[self._seen.indptr[user] : self._seen.indptr[user + 1]]] = True
            for limit in self._choice.limits:
                values, counts = np.unique(limit.codes[own], return_counts=True)
                is_full = np.zeros(limit.num_values + 1, bool)
                is_full[values[counts >= limit.most]] = True
                is_full[-1] = False  # where items without a value look
                is_out |= is_full[limit.codes]
            rows.append(np.flatnonzero(is_out))
        shape = (int(users[-1]) + 1 if self._seen is None else self._seen.shape[0], self._scorer.num_items)
        return rows_of(shape, users, np.array([len(row) for row in rows], np.int64), np.concatenate(rows))

    def _take(
        self, lists: _Lists, at: np.ndarray, pool: np.ndarray, scores: np.ndarray, wanted: np.ndarray, limits: Sequence[Limit]
    ) -> np.ndarray:
        """Move the items of largest worth from pools (A, N) to the lists `at` (A,); return how many, (A,), at most `wanted`."""
        is_free = pool >= 0
        own = lists.items[at]
        codes, room = [], []
        for limit in limits:
            of_pool, of_own = np.where(is_free, limit.codes[pool], -1), np.where(own >= 0, limit.codes[own], -1)
            used = (of_pool[:, :, None] == of_own[:, None, :]).sum(axis=2) if lists.length[at].any() else np.zeros(pool.shape, np.int64)
            codes.append(of_pool)
            room.append(np.where(of_pool >= 0, limit.most - used, 1))
            is_free &= room[-1] > 0
        worth = _Worth(self._choice, pool, own, (scores - self._last[at, None]) / self._span[at, None])
        taken = np.zeros(len(at), np.int64)
        while True:
            rows = np.flatnonzero((taken < wanted) & is_free.any(axis=1))
            if not len(rows):
                return taken
            best = np.where(is_free[rows], worth.now[rows], -np.inf).argmax(axis=1)
            lists.items[at[rows], lists.length[at[rows]]] = pool[rows, best]
            lists.scores[at[rows], lists.length[at[rows]]] = scores[rows, best]
            lists.length[at[rows]] += 1
            taken[rows] += 1
            is_free[rows, best] = False
            for of_pool, left in zip(codes, room, strict=True):
                value = of_pool[rows, best]
                is_same = (of_pool[rows] == value[:, None]) & (value >= 0)[:, None]
                left[rows] -= is_same
                is_free[rows] &= ~(is_same & (left[rows] <= 0))
            worth.after(rows, best)


def _part(pool: tuple[np.ndarray, np.ndarray], which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return pool[0][which], pool[1][which]


class _Worth:
    """What items of pools (A, N) are worth to lists that begin with items `own` (A, K); `relevance` (A, N) is that of their scores."""

    def __init__(self, choice: Choice, pool: np.ndarray, own: np.ndarray, relevance: np.ndarray) -> None:
        self._diversity = choice.diversity
        self.now = relevance = np.where(pool >= 0, relevance, 0.0)
        if not self._diversity:
            return
        assert choice.vectors is not None
        self._relevance, self._unit = (1 - self._diversity) * relevance, _directions(choice.vectors, pool)
        self._nearest = np.full(pool.shape, -np.inf)
        if (own >= 0).any():
            cosines = np.einsum("and,akd->ank", self._unit, _directions(choice.vectors, own))
            self._nearest = np.where((own >= 0)[:, None, :], cosines, -np.inf).max(axis=2)
        self._count()

    def after(self, rows: np.ndarray, taken: np.ndarray) -> None:
        """Take note that the lists at `rows` have one more item, at the place `taken` of their pool."""
        if self._diversity:
            some = self._unit if len(rows) == len(self._unit) else self._unit[rows]  # a copy, which would take as long as the product
            cosines = np.einsum("and,ad->an", some, self._unit[rows, taken])
            self._nearest[rows] = np.maximum(self._nearest[rows], cosines)
            self._count()

    def _count(self) -> None:
        self.now = self._relevance - self._diversity * np.where(np.isneginf(self._nearest), 0.0, self._nearest)


def _directions(vectors: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return the vectors of items at length 1, float64, with one more dimension than `items`; 0 stays 0."""
    found = vectors[items].astype(np.float64)
    lengths = np.linalg.norm(found, axis=-1, keepdims=True)
    unit: np.ndarray = np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0)
    return unit
