"""Fold-in: the problem of one row solved to convergence, the other side frozen, row by row and without BLAS.

Letters: U rows to be solved, I columns, D dimensions, K clusters of columns, p entries of one row in P, Z = K + p.

A pass over all columns is dear, so there are few. Clusters of the columns stand for them while Newton's method looks for the solution.
Then the exact gradient says how far the clusters are from the truth; its difference to theirs is added to their gradient, and the search
goes on from there. Each such correction leaves less than half of the error (gowalla: .0162, .0061, .0028 of a row's length).
"""

from typing import NamedTuple

import numpy as np

from ultragcn.kernels.arguments import Entries
from ultragcn.kernels.numba_cpu.compiling import fast_inlined, fast_kernel
from ultragcn.kernels.numba_cpu.rows import aligned, multiply, row_loss
from ultragcn.kernels.numba_cpu.threads import share_out, take_next
from ultragcn.kernels.numba_cpu.vectors import HALF, ONE, QUARTER, TINY, ZERO, exp_minus_abs, logistic, prefer_wide_vectors

_TILE = 512  # columns whose scores are held at a time
_SQRT_3 = np.float32(np.sqrt(3.0))
_OUTER, _MIDDLE = np.float32(1 / 6), np.float32(2 / 3)  # weights of three nodes of Gauss-Hermite, at 0 and at +-sqrt(3) deviations
_FIRST_STEPS, _STEPS = 12, 8  # of Newton's method, before the first exact gradient and after each
_SOLVER_STEPS = 40  # of conjugate gradients at most, in a step of Newton's method
_SOLVED = np.float32(1e-4)  # of the squared length of what is to be solved, that may be left
_HALVINGS = 12  # of a step that makes the loss larger
_LEFT = np.float32(4)  # squared: what an exact gradient leaves is less than half of what it moved
_SLACK = 1e-6  # of a loss: what rounding may make it larger
_NEAR = np.float32(1e-2)  # a step that is this part of the row's length is near enough for the exact gradient
_QUADRATIC_CURVATURE = 8.0  # of quadratic negatives, relative to that of the best constant score


class FoldWork(NamedTuple):
    """What one thread needs to solve rows."""

    z: np.ndarray  # (Z, D) float32, the centres and then the columns of the row's entries
    scores: np.ndarray  # (Z,) float32
    along: np.ndarray  # (Z,) float32, scores of the step
    moved: np.ndarray  # (Z,) float32, scores after it
    slope: np.ndarray  # (Z,) float32, derivative of the loss by the score
    bent: np.ndarray  # (Z,) float32, second derivative
    powers: np.ndarray  # (3, max(K, T)) float32
    mass: np.ndarray  # (K,) float32, of the row
    deviation: np.ndarray  # (K,) float32, sqrt(3) standard deviations of the row's scores within each cluster
    tile: np.ndarray  # (T,) float32
    shared: np.ndarray  # (D, D) float32, the curvature but for that of `z`
    vectors: np.ndarray  # (10, D) float32


def fold_in_rows(y, rows, frozen, max_steps, tolerance, out):
    """Write the solution of each row's problem, `y` held still, into `out`.

    loss_u = sum_j N_uj softplus(s_uj) + sum_p positive_up softplus(-s_up) - excluded_up softplus(s_up) + l2_u / 2 ||x_u||^2

    A row's solution has the same bits alone and among others.

    Parameters
    ----------
    y : (I, D) float32
    rows : Rows
        `total` and `damping` are not looked at.
    frozen : Frozen
    max_steps : int
        Exact gradients at most.
    tolerance : float
        A row is done when what is left to go is less than about this share of its length: when what follows from an exact gradient
        moves it by less than twice that.
    out : (U, D) float32, written
    """
    longest, size, count = int(np.diff(rows.indptr).max(initial=0)), y.shape[1], len(frozen.centre)

    def run(counter):
        both, wide = count + longest, max(count, _TILE)
        work = FoldWork(
            aligned(both, size), *aligned(5, both), aligned(3, wide), *aligned(2, count), np.empty(_TILE, np.float32),
            np.empty((size, size), np.float32), aligned(10, size),
        )  # fmt: skip
        work.z[:count] = frozen.centre
        _fold_rows(counter, y, rows, frozen, max_steps, np.float32(tolerance), out, work)

    share_out(len(out), run)


@fast_inlined
def _dots(z, x, scores):
    """Write z x into `scores`."""
    prefer_wide_vectors()
    for n in range(len(scores)):
        total = ZERO
        for d in range(len(x)):
            total += z[n, d] * x[d]
        scores[n] = total


@fast_inlined
def _add_rows(z, factors, total):
    """Add sum_n factors_n z_n to `total` (D,)."""
    prefer_wide_vectors()
    size, count = len(total), len(factors)
    whole = count // 4 * 4
    for n in range(0, whole, 4):
        a, b, c, e = factors[n], factors[n + 1], factors[n + 2], factors[n + 3]
        for d in range(size):
            total[d] += (a * z[n, d] + b * z[n + 1, d]) + (c * z[n + 2, d] + e * z[n + 3, d])
    for n in range(whole, count):
        for d in range(size):
            total[d] += factors[n] * z[n, d]


@fast_inlined
def _dot(a, b):
    prefer_wide_vectors()
    total = ZERO
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


@fast_inlined
def _losses(scores, entries, work, derive):
    """Return the loss of scores of centres and entries; with `derive`, write its first and second derivatives by them."""
    prefer_wide_vectors()
    mass, deviation, slope, bent = work.mass, work.deviation, work.slope, work.bent
    lower, middle, upper = work.powers[0], work.powers[1], work.powers[2]
    count = len(mass)
    for k in range(count):
        lower[k] = exp_minus_abs(scores[k] - deviation[k])
        middle[k] = exp_minus_abs(scores[k])
        upper[k] = exp_minus_abs(scores[k] + deviation[k])
    total = ZERO
    for k in range(count):
        s = scores[k]
        sigmoid_0, slope_0, softplus_0 = logistic(s - deviation[k], lower[k])
        sigmoid_1, slope_1, softplus_1 = logistic(s, middle[k])
        sigmoid_2, slope_2, softplus_2 = logistic(s + deviation[k], upper[k])
        total += mass[k] * (_OUTER * (softplus_0 + softplus_2) + _MIDDLE * softplus_1)
        if derive:
            slope[k] = mass[k] * (_OUTER * (sigmoid_0 + sigmoid_2) + _MIDDLE * sigmoid_1)
            bent[k] = mass[k] * (_OUTER * (slope_0 + slope_2) + _MIDDLE * slope_1)
    loss = np.float64(total)
    positive, excluded = entries
    excludes = len(excluded) > 0
    for p in range(len(positive)):
        s, weight = scores[count + p], positive[p]
        sigmoid, curved, softplus = logistic(s, exp_minus_abs(s))
        loss += weight * (softplus - s)
        pull, bend = weight * (ONE - sigmoid), weight * curved
        if excludes:
            loss -= excluded[p] * softplus
            pull += excluded[p] * sigmoid
        if derive:
            slope[count + p] = -pull
            bent[count + p] = bend
    return loss


@fast_inlined
def _spread_out(x, frozen, work):
    """Write how far the scores of `x` are spread out within each cluster."""
    prefer_wide_vectors()
    product = work.vectors[6]
    multiply(frozen.spread, x, product)
    variance = max(_dot(x, product), ZERO)
    for k in range(len(work.mass)):
        work.deviation[k] = _SQRT_3 * np.sqrt(variance * frozen.share[k])


@fast_inlined
def _share_spread(frozen, work):
    """Write the curvature that the spread within clusters adds, sum_k bent_k share_k spread, into work.shared."""
    prefer_wide_vectors()
    scale = ZERO
    for k in range(len(work.mass)):
        scale += work.bent[k] * frozen.share[k]
    for a in range(len(frozen.spread)):
        for c in range(len(frozen.spread)):
            work.shared[a, c] = scale * frozen.spread[a, c]


@fast_inlined
def _solve(lines, bent, gradient, l2, frozen, work):
    """Write the step of Newton's method, (shared + l2 1 + sum_n bent_n z_n z_n^T) step = -gradient, into work.vectors[0].

    By conjugate gradients, whose preconditioner is about the inverse of such a matrix.
    """
    prefer_wide_vectors()
    step, residual, direction, curved, solved = work.vectors[0], work.vectors[1], work.vectors[2], work.vectors[3], work.vectors[4]
    size = len(gradient)
    along = work.along[: len(bent)]
    for d in range(size):
        step[d] = ZERO
        residual[d] = -gradient[d]
        direction[d] = ZERO
    before, enough = ONE, TINY
    for n in range(_SOLVER_STEPS):
        multiply(frozen.inverse, residual, solved)
        length = _dot(residual, solved)
        if length <= enough:
            break  # NaN goes on
        if n == 0:
            enough = max(TINY, _SOLVED * length)
        ratio = length / before if n > 0 else ZERO
        for d in range(size):
            direction[d] = solved[d] + ratio * direction[d]
        multiply(work.shared, direction, curved)
        _dots(lines, direction, along)
        for m in range(len(bent)):
            along[m] *= bent[m]
        for d in range(size):
            curved[d] += l2 * direction[d]
        _add_rows(lines, along, curved)
        bend = _dot(direction, curved)
        if bend <= TINY:
            break
        share = length / bend
        for d in range(size):
            step[d] += share * direction[d]
            residual[d] -= share * curved[d]
        before = length


@fast_inlined
def _start(x, weight, positive, l2, frozen, work):
    """Write the solution with quadratic negatives into `x`: a step from 0."""
    prefer_wide_vectors()
    size, count = len(x), len(work.mass)
    w0, w1 = weight
    given, total = 0.0, 0.0
    for p in range(len(positive)):
        given += positive[p]
    for k in range(count):
        total += work.mass[k]
    # softplus(s) as a parabola around the best constant score, which says nothing useful when it is not well below zero.
    score = min(max(np.log(max(given, 1e-30) / max(total, 1e-30)), -20.0), 0.0)
    share = 1 / (1 + np.exp(-score))
    curvature = np.float32(_QUADRATIC_CURVATURE * share * (1 - share))
    linear = np.float32(share - curvature * score)
    for a in range(size):
        for c in range(size):
            work.shared[a, c] = curvature * (w0 * frozen.grams[0, a, c] + w1 * frozen.grams[1, a, c])
    gradient = work.vectors[5]
    for d in range(size):
        gradient[d] = linear * (w0 * frozen.sums[0, d] + w1 * frozen.sums[1, d])
    for p in range(len(positive)):
        work.slope[count + p] = -HALF * positive[p]
        work.bent[count + p] = QUARTER * positive[p]
    lines, high = work.z[count:], count + len(positive)
    _add_rows(lines, work.slope[count:high], gradient)
    _solve(lines, work.bent[count:high], gradient, l2, frozen, work)
    for d in range(size):
        x[d] = work.vectors[0, d]


@fast_inlined
def _newton(x, l2, entries, frozen, is_first, near, work):
    """Move `x` towards the solution of the clusters' problem, whose gradient at `x` is made the exact one unless `is_first`.

    The exact gradient of the negatives is in work.vectors[8], and is overwritten by its difference to that of the clusters. At first,
    the spread of scores within clusters follows `x`; later it stays as it was at the exact gradient.
    """
    prefer_wide_vectors()
    size, count = len(x), len(work.mass)
    both = count + len(entries[0])
    z, scores, along, moved, slope = work.z[:both], work.scores[:both], work.along[:both], work.moved[:both], work.slope[:both]
    step, gradient, spread_x, spread_step, correction = work.vectors[0], work.vectors[5], work.vectors[6], work.vectors[7], work.vectors[8]
    _dots(z, x, scores)
    for n in range(_FIRST_STEPS if is_first else _STEPS):
        renews = is_first or n == 0
        if renews:
            _spread_out(x, frozen, work)
        loss = _losses(scores, entries, work, True)
        if renews:
            _share_spread(frozen, work)
        multiply(work.shared, x, spread_x)
        if n == 0:
            if is_first:
                for d in range(size):
                    correction[d] = ZERO
            else:
                for d in range(size):
                    gradient[d] = spread_x[d]
                _add_rows(z[:count], slope[:count], gradient)
                for d in range(size):
                    correction[d] -= gradient[d]
        for d in range(size):
            gradient[d] = spread_x[d] + l2 * x[d] + correction[d]
        _add_rows(z, slope, gradient)
        _solve(z, work.bent[:both], gradient, l2, frozen, work)
        _dots(z, step, along)
        # What is quadratic of the loss along the step, with its derivatives: the spread, L2 and the correction.
        multiply(work.shared, step, spread_step)
        first = _dot(spread_x, step) + l2 * _dot(x, step) + _dot(correction, step)
        second = _dot(spread_step, step) + l2 * _dot(step, step)
        length = ONE
        for _ in range(_HALVINGS):
            for m in range(both):
                moved[m] = scores[m] + length * along[m]
            after = _losses(moved, entries, work, False) + length * (first + HALF * length * second)
            if after <= loss + _SLACK * abs(loss):
                break
            length *= HALF
        for d in range(size):
            x[d] += length * step[d]
        for m in range(both):
            scores[m] += length * along[m]
        if not length * length * _dot(step, step) > near * near * _dot(x, x):
            break


@fast_inlined
def _visit(x, y, weight, column_weight, gradient, work):
    """Write the gradient of all negatives, exact, into `gradient`; return their loss."""
    prefer_wide_vectors()
    w0, w1 = weight
    loss = 0.0
    for d in range(len(x)):
        gradient[d] = ZERO
    powers = work.powers[0]
    for start in range(0, len(y), _TILE):
        width = min(_TILE, len(y) - start)
        scores, part = work.tile[:width], y[start : start + width]
        _dots(part, x, scores)
        total = ZERO
        for j in range(width):
            powers[j] = exp_minus_abs(scores[j])
        for j in range(width):
            own = w0 * column_weight[0, start + j] + w1 * column_weight[1, start + j]
            sigmoid, _, softplus = logistic(scores[j], powers[j])
            scores[j] = own * sigmoid
            total += own * softplus
        loss += total
        _add_rows(part, scores, gradient)
    return loss


@fast_kernel
def _fold_rows(counter, y, rows, frozen, max_steps, tolerance, out, work):
    """Solve row after row, as long as the counter has any."""
    prefer_wide_vectors()
    size, count = y.shape[1], len(frozen.centre)
    gradient, best = work.vectors[8], work.vectors[9]
    while True:
        u = take_next(counter)
        if u >= len(out):
            break
        x, l2, weight = out[u], rows.l2[u], (rows.weight[u, 0], rows.weight[u, 1])
        low, high = rows.indptr[u], rows.indptr[u + 1]
        indices, positive = rows.indices[low:high], rows.positive[low:high]
        excluded = rows.excluded[low:high] if len(rows.excluded) > 0 else rows.excluded
        for p in range(high - low):
            for d in range(size):
                work.z[count + p, d] = y[indices[p], d]
        for k in range(count):
            work.mass[k] = weight[0] * frozen.mass[0, k] + weight[1] * frozen.mass[1, k]
        _start(x, weight, positive, l2, frozen, work)
        best_loss = np.inf
        for visit in range(max_steps + 1):
            if visit > 0:
                loss = _visit(x, y, weight, frozen.weight, gradient, work) + HALF * l2 * _dot(x, x)
                loss += row_loss(x, y, Entries(indices, positive, excluded), work.scores)
                if loss > best_loss + 1e-5 * abs(best_loss):  # losses have an error of about 1e-6
                    for d in range(size):
                        x[d] = HALF * (x[d] + best[d])
                    continue
                best_loss = loss
            for d in range(size):
                best[d] = x[d]
            _newton(x, l2, (positive, excluded), frozen, visit == 0, _NEAR if visit == 0 else HALF * tolerance, work)
            moved = ZERO
            for d in range(size):
                moved += (x[d] - best[d]) * (x[d] - best[d])
            if visit > 0 and not moved > _LEFT * tolerance * tolerance * _dot(x, x):
                break
