"""Item weights: what having item i says of item j, learned from who has what. Always sparse, made a block of rows at a time.

Letters: U users, I items, K neighbours, M weights; A the U x I train matrix, C = A^T diag(w) A the weighted co-occurrence.
"""

from collections.abc import Callable, Iterator

import numpy as np
import scipy.sparse as sp

from ultragcn import kernels
from ultragcn.errors import NumericalError

_SCORE_BYTES = 64 * 2**20
"""Scores that exist at a time."""
_ROW_BYTES = 16 * 2**20
"""Rows of C that exist at a time, were they dense: enough of them for all threads."""
SAMPLE_USERS = 1000
"""Users whose scores tell how much scores vary."""


def blocks(num_rows: int, num_items: int, size: int = _SCORE_BYTES) -> Iterator[np.ndarray]:
    """Yield the rows 0 ... num_rows - 1 in blocks, each as many as rows of I float32 numbers fit `size` bytes."""
    step = max(1, size // (4 * num_items))
    for start in range(0, num_rows, step):
        yield np.arange(start, min(start + step, num_rows))


def most_entries(matrix: sp.csr_matrix, count: int) -> int:
    """Return how many weights there are at most, were `count` kept of each item, among the items that share a user of A (U, I) with it."""
    num_items = matrix.shape[1]
    return int(min(min(count, num_items) * num_items, np.square(np.diff(matrix.indptr).astype(np.int64)).sum()))


WEIGHT_BYTES = 24
"""Bytes that a weight takes while a matrix of them is made: in its block, in the matrix, and in the transpose."""


def strongest_neighbors(
    matrix: sp.csr_matrix,
    user_weight: np.ndarray,
    strength: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    num_neighbors: int,
) -> sp.csr_matrix:
    """Return the K items of largest strength for each item, among those that share a user with it.

    C is made a block of rows at a time, never whole.

    Parameters
    ----------
    matrix : csr_matrix, U x I
        A.
    user_weight : (U,)
        w, what a user counts in C_ij = sum_u w_u A_ui A_uj.
    strength : callable
        From items i, items j and C_ij, (n,) each, to strengths (n,). Where it is not above zero, j is no neighbour of i.
    num_neighbors : int
        K.

    Returns
    -------
    csr_matrix, (I, I) float32
        Row i has the strengths of i's neighbours.
    """
    weighted = sp.csr_matrix(sp.diags_array(np.asarray(user_weight, np.float32)) @ matrix)
    kept = []
    for items, c in _product_by_rows(matrix.T.tocsr(), weighted):
        own = np.repeat(items, np.diff(c.indptr))
        c.data = np.where(c.indices == own, 0, strength(own, c.indices, c.data)).astype(np.float32)
        kept.append(largest_of_rows(c, num_neighbors))
    return sp.csr_matrix(sp.vstack(kept, format="csr"))


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
    weighted = sp.csr_matrix(sp.diags_array((users**-alpha).astype(np.float32)) @ matrix)
    strongest = _strongest_of_product(matrix.T.tocsr(), weighted, num_neighbors, from_item)
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
    about the density of W, M / I that of B; memory is 8 (K + M) I bytes, and 8 for each non-zero of C.

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
    regressed = _strongest_of_product(matrix.T.tocsr(), matrix, num_neighbors, scale, place)
    above, diagonal = _above_diagonal(matrix), (degrees + l2).astype(np.float32)
    weights, pivots = np.empty_like(regressed.data), np.empty(num_items, np.float32)
    with kernels.numba_threads():
        kernels.inverse_factor(
            (above.indptr.astype(np.int64), above.indices, above.data), diagonal,
            (regressed.indptr.astype(np.int64), regressed.indices), int(np.diff(regressed.indptr).max(initial=0)), weights, pivots,
        )  # fmt: skip
    if not (pivots > 0).all() or not np.isfinite(weights).all():
        raise NumericalError(f"A^T A + l2 I is not positive definite in float32; raise the L2 strength of the item weights ({l2:g})")
    regressed.data = -weights
    return sp.csr_matrix(regressed + sp.eye_array(num_items, dtype=np.float32)), pivots


def _above_diagonal(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Return what is above the diagonal of A^T A, (I, I) float32: made a block of rows at a time, half of the memory of the whole."""
    # Row 0 of a block is row items[0] of the whole.
    parts = [sp.triu(rows, items[0] + 1, format="csr") for items, rows in _product_by_rows(matrix.T.tocsr(), matrix)]
    above = sp.csr_matrix(sp.vstack(parts, format="csr"))
    above.sort_indices()
    return above
