"""Item weights: what having item i says of item j, learned from who has what. Always sparse, made a block of rows at a time.

Letters: U users, I items, K neighbours, M weights; A the U x I train matrix, C = A^T diag(w) A the weighted co-occurrence.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ultragcn import kernels
from ultragcn.errors import NumericalError
from ultragcn.kernels.arguments import Strength, Wide

_SCORE_BYTES = 64 * 2**20
"""Scores that exist at a time."""
_ROW_BYTES = 16 * 2**20
"""Rows of C that exist at a time, were they dense: enough of them for all threads."""
WIDE = 10_000
"""Items from which on a user is wide: the products of all pairs of its items would take a second and a gigabyte."""
_MOST_GROUPS = 256
"""Of items, by which wide users have them."""
SAMPLE_USERS = 1000
"""Users whose scores tell how much scores vary."""


def blocks(num_rows: int, num_items: int, size: int = _SCORE_BYTES) -> Iterator[np.ndarray]:
    """Yield the rows 0 ... num_rows - 1 in blocks, each as many as rows of I float32 numbers fit `size` bytes."""
    step = max(1, size // (4 * num_items))
    for start in range(0, num_rows, step):
        yield np.arange(start, min(start + step, num_rows))


def most_entries(matrix: sp.csr_matrix, count: int) -> int:
    """Return how many weights there are at most, were `count` kept of each item, among the items that share a user of A (U, I) with it."""
    return most_weights(matrix.shape[1], int(np.square(np.diff(matrix.indptr).astype(np.int64)).sum()), count)


def most_weights(num_items: int, squares: int, count: int) -> int:
    """Return the same from sizes alone; `squares` is the sum of the squares of the users' degrees."""
    return min(min(count, num_items) * num_items, squares)


WEIGHT_BYTES = 24
"""Bytes that a weight takes while a matrix of them is made: in its block, in the matrix, and in the transpose."""


@dataclass(frozen=True)
class Likeness:
    """How alike items are by how many users share them: what `kernels.arguments.Strength` says, what is None left out.

    `column` and `length` are not both given.
    """

    column: np.ndarray | None = None
    length: np.ndarray | None = None
    shrinkage: float = 0.0
    place: np.ndarray | None = None

    def of(self, i: np.ndarray, j: np.ndarray, c: np.ndarray) -> np.ndarray:
        """Return the strengths of neighbours j of items i by their C_ij, (n,) each."""
        if self.column is not None:
            c = c * self.column[j]
        if self.length is not None:
            below = self.length[i] * self.length[j] + np.float32(self.shrinkage)
            c = np.divide(c, below, out=np.zeros_like(c), where=below > 0)
        return c if self.place is None else np.where(self.place[j] < self.place[i], c, 0)

    def for_kernels(self, num_items: int) -> Strength:
        """Return the same with every array."""
        ones, zeros = np.ones(num_items, np.float32), np.zeros(num_items, np.float32)
        return Strength(
            ones if self.column is None else self.column, zeros if self.length is None else self.length,
            np.float32(1.0 if self.length is None else self.shrinkage), np.zeros(0, np.int64) if self.place is None else self.place,
        )  # fmt: skip


def strongest_neighbors(matrix: sp.csr_matrix, user_weight: np.ndarray, likeness: Likeness, num_neighbors: int) -> sp.csr_matrix:
    """Return the K items of largest strength for each item, among those that share a user with it.

    C is made a block of rows at a time, never whole. Users with `WIDE` items or more would fill all of it; what they add is known by the
    groups of its items, so it is not made, and the result is the same.

    Parameters
    ----------
    matrix : csr_matrix, U x I
        A.
    user_weight : (U,)
        w, what a user counts in C_ij = sum_u w_u A_ui A_uj.
    likeness : Likeness
        Where its strength is not above zero, j is no neighbour of i.
    num_neighbors : int
        K.

    Returns
    -------
    csr_matrix, (I, I) float32
        Row i has the strengths of i's neighbours.
    """
    user_weight = np.asarray(user_weight, np.float32)
    others, wide = _apart(matrix)
    weighted = sp.csr_matrix(sp.diags_array(user_weight) @ others)
    groups = None if len(wide) == 0 else _Groups.of(matrix, wide, user_weight[wide])
    whole = None if groups is None else (likeness.for_kernels(matrix.shape[1]), groups.in_order(likeness))
    kept = []
    for items, c in _product_by_rows(others.T.tocsr(), weighted):
        own = np.repeat(items, np.diff(c.indptr))
        if groups is not None:
            groups.add_to(own, c)
        c.data = np.where(c.indices == own, 0, likeness.of(own, c.indices, c.data)).astype(np.float32)
        kept.append(largest_of_rows(c, num_neighbors) if whole is None else _largest_beside(items, c, *whole, num_neighbors))
    return sp.csr_matrix(sp.vstack(kept, format="csr"))


def _apart(matrix: sp.csr_matrix) -> tuple[sp.csr_matrix, np.ndarray]:
    """Return the matrix without the rows of wide users, and which those are: as many as make `_MOST_GROUPS` groups of items at most."""
    degrees = np.diff(matrix.indptr)
    wide: list[int] = []
    group = np.zeros(matrix.shape[1], np.int64)
    for user in np.flatnonzero(degrees >= WIDE)[np.argsort(-degrees[degrees >= WIDE], kind="stable")]:
        finer = 2 * group
        finer[matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]]] += 1
        distinct, finer = np.unique(finer, return_inverse=True)
        if len(distinct) > _MOST_GROUPS:
            break
        group = finer
        wide.append(int(user))
    if not wide:
        return matrix, np.zeros(0, np.int64)
    own = np.ones(len(degrees), np.float32)
    own[wide] = 0
    others = sp.csr_matrix(sp.diags_array(own) @ matrix)
    others.eliminate_zeros()
    return others, np.sort(wide)


@dataclass(frozen=True)
class _Groups:
    """The items by the wide users who have them, and what these add to C."""

    group: np.ndarray
    """(I,) int32."""
    has: np.ndarray
    """(W, P) bool: which of the W wide users have the items of each of the P groups."""
    weight: np.ndarray
    """(W,) float32: what they count."""

    @classmethod
    def of(cls, matrix: sp.csr_matrix, wide: np.ndarray, weight: np.ndarray) -> "_Groups":
        has = np.zeros((len(wide), matrix.shape[1]), bool)
        for row, user in enumerate(wide):
            has[row, matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]]] = True
        if len(wide) == 0:
            return cls(np.zeros(matrix.shape[1], np.int32), np.zeros((0, 1), bool), weight)
        distinct, group = np.unique(has, axis=1, return_inverse=True)
        return cls(group.reshape(-1).astype(np.int32), distinct, weight)

    @property
    def shared(self) -> np.ndarray:
        """Return what wide users add to C_ij by the groups of i and j, (P, P) float32, user after user."""
        total = np.zeros((self.has.shape[1],) * 2, np.float32)
        for has, weight in zip(self.has, self.weight, strict=True):
            total += weight * np.outer(has, has).astype(np.float32)
        return total

    def add_to(self, rows: np.ndarray, c: sp.csr_matrix) -> None:
        """Add to the entries of C that are there what wide users add, user after user; `rows` (N,) are their items i."""
        own, other = self.group[rows], self.group[c.indices]
        for has, weight in zip(self.has, self.weight, strict=True):
            c.data += weight * (has[own] & has[other]).astype(np.float32)

    def in_order(self, likeness: Likeness) -> Wide:
        """Return the items of each group from the strongest to the weakest, as kernels take them."""
        strength = likeness.for_kernels(len(self.group))
        order = np.lexsort((np.arange(len(self.group)), strength.length, -strength.column, self.group)).astype(np.int32)
        sorted_by = (self.group[order], strength.column[order], strength.length[order])
        last = np.ones(len(order), bool)
        last[:-1] = np.any([key[1:] != key[:-1] for key in sorted_by], axis=0)
        ends = np.flatnonzero(last) + 1
        stops = ends[np.searchsorted(ends, np.arange(len(order)), side="right")]
        starts = np.searchsorted(sorted_by[0], np.arange(self.has.shape[1] + 1))
        return Wide(self.group, self.shared, starts.astype(np.int64), order, stops.astype(np.int64))


def _largest_beside(items: np.ndarray, near: sp.csr_matrix, strength: Strength, wide: Wide, count: int) -> sp.csr_matrix:
    """Return what `largest_of_rows` would of the whole rows, of which `near` has what other users than wide ones share."""
    found, values = kernels.strongest_beside(
        int(items[0]), near.indptr.astype(np.int64), near.indices, near.data, strength, wide, min(count, near.shape[1])
    )
    there = found >= 0
    indptr = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    kept = sp.csr_matrix((values[there], found[there], indptr), shape=near.shape)
    kept.sort_indices()
    return kept


def _strongest_of_product(
    left: sp.csr_matrix, right: sp.csr_matrix, count: int, factors: np.ndarray | None = None, before: np.ndarray | None = None
) -> sp.csr_matrix:
    """Return the `count` entries of largest size of each row of left right factors, the diagonal left out: see the kernel."""
    num_rows, num_columns = left.shape[0], right.shape[1]
    columns, values = kernels.strongest_of_product(
        (left.indptr.astype(np.int64), left.indices, left.data), (right.indptr.astype(np.int64), right.indices, right.data),
        np.ones(num_columns, np.float32) if factors is None else factors, np.empty(0, np.int64) if before is None else before,
        min(count, num_columns),
    )  # fmt: skip
    found = columns >= 0
    indptr = np.concatenate([[0], np.cumsum(found.sum(axis=1))])
    kept = sp.csr_matrix((values[found], columns[found], indptr), shape=(num_rows, num_columns))
    kept.sort_indices()
    return kept


def _most_shared(
    matrix: sp.csr_matrix, user_weight: np.ndarray, factors: np.ndarray, count: int, before: np.ndarray | None = None
) -> sp.csr_matrix:
    """Return the `count` largest C_ij factors_j of each item i, also beside wide users; `before` is that of the kernel."""
    if len(_apart(matrix)[1]):
        return strongest_neighbors(matrix, user_weight, Likeness(column=factors, place=before), count)
    weighted = sp.csr_matrix(sp.diags_array(user_weight) @ matrix)
    return _strongest_of_product(matrix.T.tocsr(), weighted, count, factors, before)


def _product_by_rows(left: sp.csr_matrix, right: sp.csr_matrix) -> Iterator[tuple[np.ndarray, sp.csr_matrix]]:
    """Yield the product of two matrices a block of rows at a time: which rows, and the rows, float32, columns not sorted."""
    num_columns = right.shape[1]
    rows_of_right = right.indptr.astype(np.int64), right.indices, right.data
    for rows in blocks(left.shape[0], num_columns, _ROW_BYTES):
        block = left[rows[0] : rows[-1] + 1]
        indptr, columns, values = kernels.sparse_product(
            block.indptr.astype(np.int64), block.indices, block.data, *rows_of_right, num_columns
        )
        yield rows, sp.csr_matrix((values, columns, indptr), shape=(len(rows), num_columns))


def largest_of_rows(matrix: sp.csr_matrix, count: int) -> sp.csr_matrix:
    """Return a matrix with only the `count` entries of largest size of each row, zeros left out; ties go to the lower column."""
    count = min(count, matrix.shape[1])  # room is made for that many in every row
    places = kernels.largest_entries(matrix.indptr.astype(np.int64), matrix.indices, np.abs(matrix.data), count)
    found = places >= 0
    indptr = np.concatenate([[0], np.cumsum(found.sum(axis=1))])
    places = places[found]
    kept = sp.csr_matrix((matrix.data[places], matrix.indices[places], indptr), shape=matrix.shape)
    kept.sort_indices()
    return kept


def walk_weights(matrix: sp.csr_matrix, num_neighbors: int, alpha: float, beta: float) -> sp.csr_matrix:
    """Return the weights of RP3beta (Paudel et al., TiiS 2017, eq. 3 and 4): what the walk from item i over a user v to item j is worth,

        w_ij = sum_v (1 / d_i)^alpha (1 / d_v)^alpha / d_j^beta,

    of which each item j keeps the K largest.

    Parameters
    ----------
    matrix : csr_matrix, U x I
        A.
    num_neighbors : int
        K.
    alpha : float
        Power of the transition probabilities.
    beta : float
        Power of the item's degree that its weights are divided by.

    Returns
    -------
    csr_matrix, (I, I) float32
        Row i has what having i adds to the scores of the others.
    """
    users = np.maximum(np.diff(matrix.indptr), 1.0)
    items = np.maximum(np.bincount(matrix.indices, minlength=matrix.shape[1]), 1.0)
    from_item, to_item = ((items**-power).astype(np.float32) for power in (alpha, beta))

    # C is symmetric: row j of it, over all i, gives column j of the weights.
    strongest = _most_shared(matrix, (users**-alpha).astype(np.float32), from_item, num_neighbors)
    return sp.csr_matrix(sp.diags_array(to_item) @ strongest).T.tocsr()


def mean_deviation(weights: sp.csr_matrix, owned: sp.csr_matrix) -> float:
    """Return how much g = owned w varies over the items: mean_u std_i(g_ui), over a sample of users; 0 when none has items."""
    if owned.nnz == 0:
        return 0.0
    g = sp.csr_matrix(owned[sample(owned)].astype(np.float64) @ weights)
    # Not .mean(): g has I columns, most of them zeros that are not stored. Not .power(): it would sort them first.
    mean = g.sum(axis=1) / g.shape[1]
    g.data *= g.data
    square = g.sum(axis=1) / g.shape[1]
    return float(np.sqrt(np.maximum(np.asarray(square - np.square(mean)), 0)).mean())


def sample(owned: sp.csr_matrix) -> np.ndarray:
    """Return the rows of `SAMPLE_USERS` users at most, evenly spaced among those with items."""
    users = np.flatnonzero(np.diff(owned.indptr))
    return np.asarray(users[np.linspace(0, len(users) - 1, min(len(users), SAMPLE_USERS)).astype(np.int64)])


def regression_weights(matrix: sp.csr_matrix, num_neighbors: int, num_weights: int, l2: float) -> sp.csr_matrix:
    """Return sparse weights of EASE (Steck, WWW 2019, eq. 8): B_ij = -P_ij / P_jj for i != j, with P near (A^T A + l2 I)^-1.

    The idea is that of SANSA (Spisak et al., RecSys 2023): P is never made whole, but held as W^T D^-1 W with a sparse triangle W.
    SANSA takes an incomplete LDL^T of A^T A + l2 I and then inverts its L approximately; here each row of W is found at once, as the
    regression of an item on a few items before it (Kolotilina, Yeremin: Factorized sparse approximate inverse preconditionings, 1993).
    Nothing fills in, nothing is iterated, and all rows are independent.

    Items are ordered from the most popular to the least, and each is regressed on K of those before it: those with the largest
    C_ij / sqrt(C_jj), C = A^T A, the ones most alike in cosine. With K = M = I this is EASE where every two items share a user. K / I is
    about the density of W, M / I that of B; memory is 8 (K + M) I bytes, and 8 for each non-zero of C that users with fewer than
    `WIDE` items make.

    Parameters
    ----------
    matrix : csr_matrix, U x I
        A.
    num_neighbors : int
        K, items that an item is regressed on.
    num_weights : int
        M, weights of largest size that are kept for each item j.
    l2 : float
        L2 strength, in users.

    Returns
    -------
    csr_matrix, (I, I) float32
        B: row i has what having i adds to the scores of the others.

    Raises
    ------
    NumericalError
        In float32, A^T A + l2 I is not positive definite.
    """
    triangle, pivots = _inverse_factor(matrix, num_neighbors, l2)
    scaled = sp.csr_matrix(sp.diags_array(1 / pivots) @ triangle)
    diagonal = np.asarray(triangle.multiply(scaled).sum(axis=0)).ravel()
    # P is symmetric: what will be column j of B is made as a row.
    strongest = _strongest_of_product(triangle.T.tocsr(), scaled, num_weights)
    return sp.csr_matrix(sp.diags_array((-1 / diagonal).astype(np.float32)) @ strongest).T.tocsr()


def compile_kernels() -> None:
    """Compile the kernels of `regression_weights`, or load them from the cache on disk, by running them on a tiny input."""
    regression_weights(sp.csr_matrix(np.ones((2, 2), np.float32)), 1, 1, 1.0)


def _inverse_factor(matrix: sp.csr_matrix, num_neighbors: int, l2: float) -> tuple[sp.csr_matrix, np.ndarray]:
    """Return W (I, I) and D (I,), float32, of P = W^T D^-1 W."""
    num_items = matrix.shape[1]
    degrees = np.bincount(matrix.indices, minlength=num_items)
    place = np.empty(num_items, np.int64)  # of an item in the order
    place[np.argsort(-degrees, kind="stable")] = np.arange(num_items)
    scale = (1 / np.sqrt(np.maximum(degrees, 1))).astype(np.float32)
    regressed = _most_shared(matrix, np.ones(matrix.shape[0], np.float32), scale, num_neighbors, place)
    others, wide = _apart(matrix)
    groups = _Groups.of(matrix, wide, np.ones(len(wide), np.float32))
    above, diagonal = _above_diagonal(others), (degrees + l2).astype(np.float32)
    weights, pivots = np.empty_like(regressed.data), np.empty(num_items, np.float32)
    most = int(np.diff(regressed.indptr).max(initial=0))
    with kernels.numba_threads():
        kernels.inverse_factor(
            (above.indptr.astype(np.int64), above.indices, above.data), diagonal, (regressed.indptr.astype(np.int64), regressed.indices),
            most, (groups.group, groups.shared), weights, pivots,
        )  # fmt: skip
    if not (pivots > 0).all() or not np.isfinite(weights).all():
        raise NumericalError(f"A^T A + l2 I is not positive definite in float32; raise the L2 strength of the item weights ({l2:g})")
    regressed.data = -weights
    return sp.csr_matrix(regressed + sp.eye_array(num_items, dtype=np.float32)), pivots


def _above_diagonal(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Return what is above the diagonal of A^T A, (I, I) float32: made a block of rows at a time, half of the memory of the whole."""
    num_items = matrix.shape[1]
    indptr, indices, data = np.zeros(num_items + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
    for items, rows in _product_by_rows(matrix.T.tocsr(), matrix):
        part = sp.triu(rows, items[0] + 1, format="csr")  # row 0 of a block is row items[0] of the whole
        first, last = indptr[items[0]], indptr[items[0]] + part.nnz
        indptr[items + 1] = first + part.indptr[1:]
        if last > len(data):  # what is larger than a few megabytes grows in its place, and never stands twice
            for array in (indices, data):
                array.resize(last + last // 4, refcheck=False)
        indices[first:last], data[first:last] = part.indices, part.data
    for array in (indices, data):
        array.resize(indptr[-1], refcheck=False)
    above = sp.csr_matrix((data, indices, indptr), (num_items, num_items), copy=False)
    above.sort_indices()
    return above
