"""Masks: items that may not be listed are left out before the best are taken.

Letters: U users, I items, B users asked about, K places of a list, C candidates, E items left out.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from ultragcn.scoring.scorer import Ranking, Scoring

FEW = 1000
"""Items that are left out by longer lists, which are then shortened; more of them are left out by listing candidates alone."""


_FEW_USERS = 16
_MANY = 8
"""For so few users, and candidates that are more than one item in so many, all items are ranked and the others left out, as what is seen:
half the time of taking the candidates' rows out of all tables, for one user and half of gowalla's items."""


class Allowed(NamedTuple):
    """Which items may be listed, as rows."""

    candidates: np.ndarray | None
    """The only ones, (C,) ascending; None: all."""
    left_out: np.ndarray
    """Of those the ones that may not, (E,) ascending."""

    def also(self, holds: np.ndarray) -> "Allowed":
        """Return which of these items `holds` (I,) bool is true of."""
        among = np.arange(len(holds)) if self.candidates is None else self.candidates
        among = among[holds[among]]
        return Allowed(np.setdiff1d(among, self.left_out, assume_unique=True), self.left_out[:0])


def allowed(num_items: int, only: Sequence[np.ndarray], left_out: Sequence[np.ndarray]) -> Allowed:
    """Return which items may be listed: those in each of `only`, if any, without those of `left_out`; rows in any order."""
    out = np.unique(np.concatenate([np.zeros(0, np.int64), *left_out]))
    if not only and len(out) <= FEW:
        return Allowed(None, out)
    among = np.arange(num_items)
    for rows in only:
        among = np.intersect1d(among, rows)
    return Allowed(np.setdiff1d(among, out, assume_unique=True), out[:0])


def ranked(scorer: Scoring, users: np.ndarray, top_k: int, seen: sp.csr_matrix | None, items: Allowed) -> Ranking:
    """Yield the top_k allowed items of user rows in blocks; see `scoring.scorer.Scoring.rank`."""
    candidates, left_out = items
    if candidates is not None and len(candidates) == 0:
        yield users, *empty_lists(len(users), top_k)
        return
    if candidates is not None and len(users) <= _FEW_USERS and _MANY * len(candidates) > scorer.num_items:
        seen, candidates = _others(seen, candidates, np.asarray(users, np.int64), scorer.num_items), None
    for block, listed, scores in scorer.rank(users, top_k + len(left_out), seen, candidates):
        if len(left_out):
            # A list that is longer by as many places has enough others: they move up.
            order = np.argsort(np.isin(listed, left_out), axis=1, kind="stable")[:, :top_k]
            listed, scores = (np.take_along_axis(table, order, axis=1) for table in (listed, scores))
        yield block, listed, scores


def _others(seen: sp.csr_matrix | None, candidates: np.ndarray, users: np.ndarray, num_items: int) -> sp.csr_matrix:
    """Return what may not be listed for `users` (B,): what they have seen, and all that are no candidates."""
    is_other = np.ones(num_items, bool)
    is_other[candidates] = False
    own, rows = np.unique(users), []
    for user in own.tolist():
        is_out = is_other.copy()
        if seen is not None:
            is_out[seen.indices[seen.indptr[user] : seen.indptr[user + 1]]] = True
        rows.append(np.flatnonzero(is_out))
    shape = (int(own[-1]) + 1 if seen is None else seen.shape[0], num_items)
    return rows_of(shape, own, np.array([len(row) for row in rows]), np.concatenate(rows))


def empty_lists(num_lists: int, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return lists without items: (B, K) int32 of -1 and (B, K) float32 of -inf."""
    return np.full((num_lists, top_k), -1, np.int32), np.full((num_lists, top_k), -np.inf, np.float32)


def with_pairs(seen: sp.csr_matrix | None, pairs: sp.csr_matrix | None, users: np.ndarray) -> sp.csr_matrix | None:
    """Return what may not be listed for `users` (B,): what they have seen and their pairs, (U, I); rows of other users are empty."""
    if seen is None or pairs is None:
        return pairs if seen is None else seen
    own = np.unique(users)
    if not np.diff(pairs.indptr)[own].any():
        return seen
    both = sp.csr_matrix(seen[own] + pairs[own])
    both.sort_indices()
    return rows_of(seen.shape, own, np.diff(both.indptr), both.indices)


def rows_of(shape: tuple[int, int], users: np.ndarray, counts: np.ndarray, items: np.ndarray) -> sp.csr_matrix:
    """Return a matrix of ones in which distinct `users`, ascending, have the next `counts` of `items`; others have nothing."""
    indptr = np.zeros(shape[0] + 1, np.int64)
    indptr[users + 1] = counts
    return sp.csr_matrix((np.ones(len(items), np.float32), items.astype(np.int32), np.cumsum(indptr)), shape=shape)


def joined(blocks: Iterable[tuple[np.ndarray, np.ndarray]], top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return items and scores of all blocks, (B, K) each."""
    items, scores = zip(*(empty_lists(0, top_k), *blocks), strict=True)
    return np.concatenate(items), np.concatenate(scores)
