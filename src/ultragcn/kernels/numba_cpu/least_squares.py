"""Many small least-squares problems, a row each: implicit ALS, and the sparse factor of an inverse.

Letters: R rows, D dimensions, I rows of the other side, or items; K neighbours.
"""

import numpy as np

from ultragcn.kernels.numba_cpu.compiling import kernel
from ultragcn.kernels.numba_cpu.rows import cholesky_solve, padded
from ultragcn.kernels.numba_cpu.search import first_at_least
from ultragcn.kernels.numba_cpu.threads import share_out, take_next
from ultragcn.kernels.numba_cpu.vectors import LANES, prefer_wide_vectors

GATHER_ROWS = 512  # entries copied at a time into a contiguous buffer
# Pieces the rows are dealt into: enough to keep any number of threads busy until the end.
_PIECES = 64


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
    pieces = min(num_rows, _PIECES)

    def run(counter):
        work = np.zeros((size, padded(size)), np.float32), np.empty((GATHER_ROWS, size), np.float32), np.empty((size, size), np.float32)
        _ridge_pieces(counter, pieces, y, gram, (indptr, indices), l2, x, work)

    share_out(pieces, run)


@kernel
def _ridge_pieces(counter, pieces, y, gram, entries, l2, x, work):
    prefer_wide_vectors()
    indptr, indices = entries
    system, gathered, product = work
    num_rows, size = x.shape
    while True:
        piece = take_next(counter)
        if piece >= pieces:
            break
        for row in range(piece, num_rows, pieces):
            for a in range(size):
                x[row, a] = 0.0
                for c in range(size):
                    system[a, c] = gram[a, c]
            for start in range(indptr[row], indptr[row + 1], GATHER_ROWS):
                count = min(GATHER_ROWS, indptr[row + 1] - start)
                for p in range(count):
                    item = indices[start + p]
                    for d in range(size):
                        gathered[p, d] = y[item, d]
                        x[row, d] += y[item, d]
                np.dot(gathered[:count].T, gathered[:count], product)
                for a in range(size):
                    for c in range(size):
                        system[a, c] += product[a, c]
            for d in range(size):
                system[d, d] += l2[row]
            cholesky_solve(system, x[row])


def inverse_factor(above, diagonal, regressed, k, wide, weights, pivots):
    """Write the sparse factor W, D of an inverse, G^-1 = W^T D^-1 W, W unit lower triangular in an order of the items.

    Row i of I - W regresses item i on a set S of items before it in the order: weights_i = G_SS^-1 G_Si,
    D_i = G_ii - G_iS weights_i. Where every S is all that come before, this is exact.

    Parameters
    ----------
    above : tuple of indptr, indices, values
        CSR rows of what is above the diagonal of G (I, I) float32, symmetric positive definite; ascending.
    diagonal : (I,) float32
        Of G.
    regressed : tuple of indptr, items
        CSR rows of S, ascending.
    k : int
        At least the size of the largest S.
    wide : tuple of group (I,) int32, shared (P, P) float32
        What is added to G_ij, i != j, by the groups of i and j.
    weights : (len(items),) float32, written
    pivots : (I,) float32, written
        D.
    """
    pieces = min(len(pivots), _PIECES)
    wide = (*wide, bool(np.any(wide[1])))

    def run(counter):
        work = np.empty(k * (k + LANES), np.float32), np.empty(k, np.float32)
        _factor_pieces(counter, pieces, above, diagonal, regressed, wide, weights, pivots, work)

    share_out(pieces, run)


@kernel
def _factor_pieces(counter, pieces, above, diagonal, regressed, wide, weights, pivots, work):
    prefer_wide_vectors()
    indptr, indices, data = above
    row_indptr, row_items = regressed
    group, shared, adds = wide
    buffer, right = work
    while True:
        piece = take_next(counter)
        if piece >= pieces:
            break
        for i in range(piece, len(pivots), pieces):
            first, size = row_indptr[i], row_indptr[i + 1] - row_indptr[i]
            s = row_items[first : first + size]
            solution = weights[first : first + size]
            width = (size + LANES - 1) // LANES * LANES
            system = buffer[: size * width].reshape(size, width)
            for q in range(size):
                for r in range(width):
                    system[q, r] = 0.0
                system[q, q] = diagonal[s[q]]
                place, end = indptr[s[q]], indptr[s[q] + 1]
                for r in range(q + 1, size):  # the upper triangle is enough
                    place = first_at_least(indices, place, end, s[r])
                    if place < end and indices[place] == s[r]:
                        system[q, r] = data[place]
                    if adds:
                        system[q, r] += shared[group[s[q]], group[s[r]]]
            pivots[i] = diagonal[i]
            for q in range(size):
                row, column = min(i, s[q]), max(i, s[q])
                end = indptr[row + 1]
                place = first_at_least(indices, indptr[row], end, column)
                right[q] = data[place] if place < end and indices[place] == column else 0.0
                if adds:
                    right[q] += shared[group[i], group[s[q]]]
                solution[q] = right[q]
            if size > 0:
                cholesky_solve(system, solution)
            for q in range(size):
                pivots[i] -= solution[q] * right[q]
