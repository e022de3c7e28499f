"""The problem of one row: its sparse part, its Newton step, and the solution of its D x D system.

Letters: D dimensions, I rows of the other side, p the row's entries in P.
"""

import numba
import numpy as np

from ultragcn.kernels.numba_cpu.vectors import (
    FAST,
    HALF,
    HUGE,
    LANES,
    ONE,
    QUARTER,
    TINY,
    ZERO,
    prefer_wide_vectors,
    sigmoid_softplus,
    subtract_multiples,
)

GATHER_ROWS = 512  # entries copied at a time into a contiguous buffer


@numba.njit(fastmath=FAST, cache=True)
def cholesky_solve(matrix, vector):
    """Solve matrix z = vector in place for a symmetric positive definite matrix.

    Parameters
    ----------
    matrix : (D, D padded to LANES) float32
        The upper triangle is read and overwritten with R of matrix = R^T R; the rest is work space.
    vector : (D,) float32
        Becomes z.

    Notes
    -----
    Rows are eliminated in panels of four, and columns are walked in whole vectors from the one that holds the diagonal: a quarter
    of the memory traffic and no remainder loops. A pivot that rounding made not positive is replaced by a huge one: that direction
    does not move. NaN pivots go through, for the caller to see.
    """
    prefer_wide_vectors()
    size = len(vector)
    width = matrix.shape[1]
    flat = matrix.reshape(-1)
    for start in range(0, size, 4):
        stop = min(start + 4, size)
        for k in range(start, stop):
            pivot = matrix[k, k]
            if pivot <= TINY:
                pivot = HUGE
            scale = ONE / np.sqrt(pivot)
            for j in range(k, size):
                matrix[k, j] *= scale
            matrix[k, k] = scale  # the inverse of the diagonal is all that the substitutions need
            vector[k] *= scale
            for i in range(k + 1, stop):
                factor = matrix[k, i]
                vector[i] -= factor * vector[k]
                for j in range(i // LANES * LANES, width, LANES):
                    subtract_multiples(flat, i * width + j, k * width + j, width, (factor,))
        for i in range(stop, size):  # not reached by a last, narrower panel
            factors = (matrix[start, i], matrix[start + 1, i], matrix[start + 2, i], matrix[start + 3, i])
            vector[i] -= (
                factors[0] * vector[start]
                + factors[1] * vector[start + 1]
                + factors[2] * vector[start + 2]
                + factors[3] * vector[start + 3]
            )
            for j in range(i // LANES * LANES, width, LANES):
                subtract_multiples(flat, i * width + j, start * width + j, width, factors)
    for k in range(size - 1, -1, -1):
        total = vector[k]
        for j in range(k + 1, size):
            total -= matrix[k, j] * vector[j]
        vector[k] = total * matrix[k, k]


@numba.njit(fastmath=FAST, cache=True)
def row_loss(x, y, indices, positive, excluded):
    """Return the sparse part of a row's loss, sum_p positive_p softplus(-s_p) - excluded_p softplus(s_p): float64.

    Parameters
    ----------
    x : (D,) float32
    y : (I, D) float32
    indices : (p,) int32
        Rows of `y`.
    positive : (p,) float32
        P.
    excluded : (p,) float32, or (0,) when nothing is excluded
        The negative weight N to take back from a train cell.
    """
    total = 0.0
    for p in range(len(indices)):
        item = y[indices[p]]
        s = ZERO
        for k in range(len(x)):
            s += x[k] * item[k]
        _, _, softplus = sigmoid_softplus(s)
        total += positive[p] * (softplus - s)
        if len(excluded) > 0:
            total -= excluded[p] * softplus
    return total


@numba.njit(fastmath=FAST, cache=True)
def row_system(x, y, indices, positive, excluded, gradient, hessian, gathered, weighted, product):
    """Add the sparse part of a row's gradient to `gradient` (D,) and of its curvature to `hessian` (D, D); return its loss.

    gradient -= sum_p (positive_p sigmoid(-s_p) + excluded_p sigmoid(s_p)) y_p
    hessian  += sum_p positive_p kappa(s_p) y_p y_p^T,   kappa(s) = tanh(|s| / 2) / (2 |s|), the Jaakkola-Jordan bound

    The other arguments are those of `row_loss`. The curvature of excluded cells is left in, which only shortens the step. Of
    `hessian` the upper triangle is written. `gathered` and `weighted` (GATHER_ROWS, D) and `product` (D, D) are work space.
    """
    size = len(x)
    total = 0.0
    for start in range(0, len(indices), GATHER_ROWS):
        count = min(GATHER_ROWS, len(indices) - start)
        for p in range(count):
            item = y[indices[start + p]]
            s = ZERO
            for k in range(size):
                s += x[k] * item[k]
            sigmoid, _, softplus = sigmoid_softplus(s)
            weight = positive[start + p]
            total += weight * (softplus - s)
            pull = weight * (ONE - sigmoid)
            if len(excluded) > 0:
                back = excluded[start + p]
                total -= back * softplus
                pull += back * sigmoid
            a = abs(s)
            bound = QUARTER if a < np.float32(1e-3) else (sigmoid - HALF) / s
            bound *= weight
            for k in range(size):
                gathered[p, k] = item[k]
                weighted[p, k] = bound * item[k]
                gradient[k] -= pull * item[k]
        if count > 0:
            np.dot(weighted[:count].T, gathered[:count], product)
            for i in range(size):
                for j in range(i, size):
                    hessian[i, j] += product[i, j]
    return total


@numba.njit(cache=True)
def row_work_space(size):
    """Return what `newton_row` works in: hessian (D, D padded), product (D, D), gathered, weighted (GATHER_ROWS, D), move (D,)."""
    width = (size + LANES - 1) // LANES * LANES
    return (
        np.zeros((size, width), np.float32),
        np.empty((size, size), np.float32),
        np.empty((GATHER_ROWS, size), np.float32),
        np.empty((GATHER_ROWS, size), np.float32),
        np.empty(size, np.float32),
    )


@numba.njit(fastmath=FAST, cache=True)
def newton_row(x, y, indices, positive, excluded, gradient, l2, work):
    """Take a Newton step on one row, its negatives given by their gradient and curvature at `x`; the step goes to `work[4]` (D,).

    Parameters
    ----------
    x, y, indices, positive, excluded
        As in `row_loss`.
    gradient : (D,) float32
        Of the negatives; overwritten.
    l2 : float32
    work : tuple
        From `row_work_space`; `work[0]` holds the curvature of the negatives, of which the upper triangle is read.

    Returns
    -------
    sparse_loss, predicted : float64
        The sparse part of the loss at `x`, and the decrease that the quadratic model of the step promises.
    """
    hessian, product, gathered, weighted, move = work
    size = len(x)
    for k in range(size):
        gradient[k] += l2 * x[k]
        hessian[k, k] += l2
    sparse_loss = row_system(x, y, indices, positive, excluded, gradient, hessian, gathered, weighted, product)
    move[:] = gradient
    cholesky_solve(hessian, move)
    predicted = 0.0
    for k in range(size):
        predicted += HALF * move[k] * gradient[k]
        move[k] = -move[k]
    return sparse_loss, predicted
