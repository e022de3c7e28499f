"""The problem of one row: its sparse part, its Newton step by conjugate gradients, and small systems of D x D.

Letters: D dimensions, I rows of the other side, p the row's entries in P.

What kernels call is inlined in them (`inline="always"`), for two reasons. It is compiled once, within its kernel. And a process holds
one compiled copy of it: a copy of its own might round otherwise, and which of the two ran would depend on which was loaded first.
"""

import numpy as np

from ultragcn.kernels.arguments import RowWork
from ultragcn.kernels.numba_cpu.compiling import fast_inlined
from ultragcn.kernels.numba_cpu.vectors import (
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

_PART = 256  # entries whose loss is summed in single precision
ROUNDING = np.float32(1e-10)  # of a squared length, that is left where float32 has solved a system


@fast_inlined
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


@fast_inlined
def invert(matrix):
    """Replace a symmetric positive definite matrix, (D, D padded to LANES) float32, by its inverse: Gauss-Jordan.

    A pivot that rounding made not positive is replaced by a huge one: that direction does not move. NaN goes through, for the caller
    to see.
    """
    prefer_wide_vectors()
    size, width = matrix.shape
    flat = matrix.reshape(-1)
    for k in range(size):
        pivot = matrix[k, k]
        if pivot <= TINY:
            pivot = HUGE
        matrix[k, k] = ONE
        scale = ONE / pivot
        for j in range(width):
            matrix[k, j] *= scale
        for i in range(size):
            if i != k:
                factor = matrix[i, k]
                matrix[i, k] = ZERO
                for j in range(0, width, LANES):
                    subtract_multiples(flat, i * width + j, k * width + j, width, (factor,))


@fast_inlined
def multiply(matrix, vector, product):
    """Write the product of a symmetric matrix, (D, D or wider) float32, and a vector (D,) into `product`: rows are added, whole ones."""
    prefer_wide_vectors()
    size = len(vector)
    for j in range(size):
        product[j] = ZERO
    for i in range(size):
        factor = vector[i]
        for j in range(size):
            product[j] += factor * matrix[i, j]


@fast_inlined
def row_scores(x, y, indices, scores):
    """Write x . y_p into `scores` (p or more,) float32: four entries at a time, so that the processor works on several sums."""
    prefer_wide_vectors()
    fours = len(indices) // 4 * 4
    for p in range(0, fours, 4):
        a, b, c, d = y[indices[p]], y[indices[p + 1]], y[indices[p + 2]], y[indices[p + 3]]
        s, t, u, v = ZERO, ZERO, ZERO, ZERO
        for k in range(len(x)):
            s += x[k] * a[k]
            t += x[k] * b[k]
            u += x[k] * c[k]
            v += x[k] * d[k]
        scores[p], scores[p + 1], scores[p + 2], scores[p + 3] = s, t, u, v
    for p in range(fours, len(indices)):
        a = y[indices[p]]
        s = ZERO
        for k in range(len(x)):
            s += x[k] * a[k]
        scores[p] = s


@fast_inlined
def add_multiples(y, indices, factors, total):
    """Add sum_p factors_p y_p to `total` (D,) float32: four entries at a time, so that it is read and written once for them."""
    prefer_wide_vectors()
    fours = len(indices) // 4 * 4
    for p in range(0, fours, 4):
        a, b, c, d = y[indices[p]], y[indices[p + 1]], y[indices[p + 2]], y[indices[p + 3]]
        s, t, u, v = factors[p], factors[p + 1], factors[p + 2], factors[p + 3]
        for k in range(len(total)):
            total[k] += s * a[k] + t * b[k] + u * c[k] + v * d[k]
    for p in range(fours, len(indices)):
        a = y[indices[p]]
        for k in range(len(total)):
            total[k] += factors[p] * a[k]


@fast_inlined
def add_curvature(direction, y, indices, bounds, total):
    """Add sum_p bounds_p y_p (y_p . direction) to `total` (D,) float32: four entries at a time, each fetched once."""
    prefer_wide_vectors()
    fours = len(indices) // 4 * 4
    for p in range(0, fours, 4):
        a, b, c, d = y[indices[p]], y[indices[p + 1]], y[indices[p + 2]], y[indices[p + 3]]
        s, t, u, v = ZERO, ZERO, ZERO, ZERO
        for k in range(len(total)):
            s += direction[k] * a[k]
            t += direction[k] * b[k]
            u += direction[k] * c[k]
            v += direction[k] * d[k]
        s, t, u, v = s * bounds[p], t * bounds[p + 1], u * bounds[p + 2], v * bounds[p + 3]
        for k in range(len(total)):
            total[k] += s * a[k] + t * b[k] + u * c[k] + v * d[k]
    for p in range(fours, len(indices)):
        a = y[indices[p]]
        s = ZERO
        for k in range(len(total)):
            s += direction[k] * a[k]
        s *= bounds[p]
        for k in range(len(total)):
            total[k] += s * a[k]


@fast_inlined
def row_loss(x, y, entries, scores):
    """Return the sparse part of a row's loss, sum_p positive_p softplus(-s_p) - excluded_p softplus(s_p): float64.

    Parameters
    ----------
    x : (D,) float32
    y : (I, D) float32
    entries : Entries
    scores : (p or more,) float32
        Work space.
    """
    prefer_wide_vectors()
    row_scores(x, y, entries.indices, scores)
    positive, excluded = entries.positive, entries.excluded
    total = 0.0
    for low in range(0, len(positive), _PART):
        high = min(low + _PART, len(positive))
        part = ZERO
        for p in range(low, high):
            _, _, softplus = sigmoid_softplus(scores[p])
            part += positive[p] * (softplus - scores[p])
        if len(excluded) > 0:
            for p in range(low, high):
                _, _, softplus = sigmoid_softplus(scores[p])
                part -= excluded[p] * softplus
        total += part
    return total


@fast_inlined
def row_system(x, y, entries, gradient, bounds, scores):
    """Add the sparse part of a row's gradient to `gradient` (D,), write that of its curvature into `bounds`; return its loss.

    gradient -= sum_p (positive_p sigmoid(-s_p) + excluded_p sigmoid(s_p)) y_p
    hessian  += sum_p bounds_p y_p y_p^T,   bounds_p = positive_p tanh(|s_p| / 2) / (2 |s_p|), the Jaakkola-Jordan bound

    The other arguments are those of `row_loss`; `bounds` and `scores`: (p or more,) float32. The curvature of excluded cells is left
    in, which only shortens the step.
    """
    prefer_wide_vectors()
    indices, positive, excluded = entries
    row_scores(x, y, indices, scores)
    total = 0.0
    for low in range(0, len(indices), _PART):
        high = min(low + _PART, len(indices))
        part = ZERO
        if len(excluded) > 0:
            for p in range(low, high):
                sigmoid, _, softplus = sigmoid_softplus(scores[p])
                part -= excluded[p] * softplus
                bounds[p] = excluded[p] * sigmoid  # until the next loop
        else:
            for p in range(low, high):
                bounds[p] = ZERO
        for p in range(low, high):
            s, weight = scores[p], positive[p]
            sigmoid, _, softplus = sigmoid_softplus(s)
            near_zero = abs(s) < np.float32(1e-3)
            part += weight * (softplus - s)
            scores[p] = weight * (sigmoid - ONE) - bounds[p]
            bounds[p] = weight * (
                QUARTER if near_zero else np.divide(sigmoid - HALF, ONE if near_zero else s)
            )  # `/` would look for zeros, one by one
        total += part
    add_multiples(y, indices, scores, gradient)
    return total


def padded(size: int) -> int:
    """Return `size` rounded up to whole vectors."""
    return (size + LANES - 1) // LANES * LANES


def row_work_space(size: int, entries: int) -> RowWork:
    """Return what `newton_row` works in, for D = `size` and rows of at most `entries` entries."""
    return RowWork(*(np.empty(size, np.float32) for _ in range(6)), *(np.empty(entries, np.float32) for _ in range(2)))


def aligned(rows: int, columns: int) -> np.ndarray:
    """Return an empty (rows, columns) float32 array that begins with a line of the cache: vectors of it lie within one."""
    spare = np.empty(rows * columns + 16, np.float32)
    first = -(spare.ctypes.data // 4) % 16
    return spare[first : first + rows * columns].reshape(rows, columns)


@fast_inlined
def newton_row(x, y, entries, curvature, steps, work):
    """Take a Newton step on one row, its negatives given by gradient and curvature at `x`; the step goes to `work.move` (D,).

    The system (scale gram + l2 1 + sum_p bounds_p y_p y_p^T) step = -gradient is never made: conjugate gradients, preconditioned by
    the inverse of a matrix that many rows have in common, need products with it alone.

    Parameters
    ----------
    x, y, entries
        As in `row_loss`.
    curvature : Curvature
        That of the negatives and of L2.
    steps : int
        Of conjugate gradients.
    work : RowWork
        `work.gradient` holds the gradient of the negatives, and is overwritten.

    Returns
    -------
    sparse_loss, predicted : float64
        The sparse part of the loss at `x`, and the decrease that the quadratic model of the step promises.
    """
    prefer_wide_vectors()
    gradient, move, residual, direction, curved, solved, bounds, scores = work
    gram, scale, l2, inverse = curvature
    indices = entries.indices
    size = len(x)
    for k in range(size):
        gradient[k] += l2 * x[k]
    sparse_loss = row_system(x, y, entries, gradient, bounds, scores)
    for k in range(size):
        move[k] = ZERO
        residual[k] = -gradient[k]
        direction[k] = ZERO
    before, enough = ONE, TINY
    for step in range(steps):
        multiply(inverse, residual, solved)
        length = ZERO
        for k in range(size):
            length += residual[k] * solved[k]
        if length <= enough:
            break  # what is left is rounding; NaN goes on
        if step == 0:
            enough = max(TINY, ROUNDING * length)
        ratio = length / before
        for k in range(size):
            direction[k] = solved[k] + ratio * direction[k]
        multiply(gram, direction, curved)
        for k in range(size):
            curved[k] = scale * curved[k] + l2 * direction[k]
        add_curvature(direction, y, indices, bounds, curved)
        bent = ZERO
        for k in range(size):
            bent += direction[k] * curved[k]
        if bent <= TINY:
            break
        share = length / bent
        for k in range(size):
            move[k] += share * direction[k]
            residual[k] -= share * curved[k]
        before = length
    predicted = 0.0
    for k in range(size):
        predicted -= HALF * move[k] * gradient[k]
    return sparse_loss, predicted
