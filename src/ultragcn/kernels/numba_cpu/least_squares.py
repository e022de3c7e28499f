"""Many small least-squares problems, a row each: implicit ALS, and the sparse factor of an inverse.

Letters: R rows, D dimensions, I rows of the other side, or items; K neighbours.
"""

import numba
import numpy as np

from ultragcn.kernels.numba_cpu.rows import cholesky_solve, padded
from ultragcn.kernels.numba_cpu.search import first_at_least
from ultragcn.kernels.numba_cpu.vectors import LANES, prefer_wide_vectors

GATHER_ROWS = 512  # entries copied at a time into a contiguous buffer
# Pieces the rows are dealt into: enough to keep any number of threads busy until the end.
_CHUNKS = 64


@numba.njit(parallel=True, cache=True)
def ridge_rows(y, gram, indptr, indices, l2, x):
    """Write x_r = (sum_p y_p y_p^T + gram + l2_r I)^-1 sum_p y_p, p the entries of row r.

    Parameters
    ----------
    y : (I, D) float32
    gram : (D, D) float32
        What every row has in common, symmetric.
    indptr, indices : CSR rows of entries
    l2 : (R,) float32, > 0
    x : (R, D) float32, written
        0 where a row has no entries.
    """
    num_rows, size = x.shape
    num_chunks = min(num_rows, _CHUNKS)
    for chunk in numba.prange(num_chunks):
        prefer_wide_vectors()
        system = np.zeros((size, padded(size)), np.float32)
        gathered, product = np.empty((GATHER_ROWS, size), np.float32), np.empty((size, size), np.float32)
        for row in range(chunk, num_rows, num_chunks):
            x[row] = 0.0
            system[:, :size] = gram
            for start in range(indptr[row], indptr[row + 1], GATHER_ROWS):
                count = min(GATHER_ROWS, indptr[row + 1] - start)
                for p in range(count):
                    gathered[p] = y[indices[start + p]]
                    x[row] += gathered[p]
                np.dot(gathered[:count].T, gathered[:count], product)
                system[:, :size] += product
            for d in range(size):
                system[d, d] += l2[row]
            cholesky_solve(system, x[row])


@numba.njit(parallel=True, cache=True)
def inverse_factor(indptr, indices, data, diagonal, row_indptr, row_items, k, weights, pivots):
    """Write the sparse factor W, D of an inverse, G^-1 = W^T D^-1 W, W unit lower triangular in an order of the items.

    Row i of I - W regresses item i on a set S of items before it in the order: weights_i = G_SS^-1 G_Si,
    D_i = G_ii - G_iS weights_i. Where every S is all that come before, this is exact.

    Parameters
    ----------
    indptr, indices, data : CSR rows of what is above the diagonal of G (I, I) float32, symmetric positive definite; ascending
    diagonal : (I,) float32
        Of G.
    row_indptr, row_items : CSR rows of S, ascending
    k : int
        At least the size of the largest S.
    weights : (len(row_items),) float32, written
    pivots : (I,) float32, written
        D.
    """
    num_items = len(pivots)
    num_chunks = min(num_items, _CHUNKS)
    for chunk in numba.prange(num_chunks):
        prefer_wide_vectors()
        buffer = np.empty(k * (k + LANES), np.float32)
        right = np.empty(k, np.float32)
        for i in range(chunk, num_items, num_chunks):
            s = row_items[row_indptr[i] : row_indptr[i + 1]]
            solution = weights[row_indptr[i] : row_indptr[i + 1]]
            width = padded(len(s))
            system = buffer[: len(s) * width].reshape(len(s), width)
            system[:] = 0.0
            for q in range(len(s)):
                system[q, q] = diagonal[s[q]]
                place, end = indptr[s[q]], indptr[s[q] + 1]
                for r in range(q + 1, len(s)):  # the upper triangle is enough
                    place = first_at_least(indices, place, end, s[r])
                    if place < end and indices[place] == s[r]:
                        system[q, r] = data[place]
            pivots[i] = diagonal[i]
            for q in range(len(s)):
                row, column = min(i, s[q]), max(i, s[q])
                end = indptr[row + 1]
                place = first_at_least(indices, indptr[row], end, column)
                right[q] = data[place] if place < end and indices[place] == column else 0.0
            solution[:] = right[: len(s)]
            if len(s) > 0:
                cholesky_solve(system, solution)
            for q in range(len(s)):
                pivots[i] -= solution[q] * right[q]
