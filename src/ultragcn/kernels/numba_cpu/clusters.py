"""Half-sweeps whose negatives are clusters of columns, and what makes the clusters.

Letters: U rows of the side that moves, I rows of the frozen side (columns), D dimensions, K clusters, B rows of a block, G blocks that
are worked on together, T = D (D + 1) / 2 numbers of the upper triangle of a symmetric matrix, row by row.

A pass over the cells costs U I. Columns that lie close together have nearly the same score for every row, so a cluster of them can
stand for its members. The spreads of all clusters are much data, K T numbers, which every block needs twice: for the variance of its
scores in each cluster, and for its curvature. So G blocks are worked on together, and both are one product of matrices for all of them.
"""

from typing import NamedTuple

import numpy as np

from ultragcn.kernels.arguments import Clusters, Curvature, Entries, Groups, RowWork
from ultragcn.kernels.numba_cpu.compiling import fast_inlined, fast_kernel
from ultragcn.kernels.numba_cpu.rows import aligned, newton_row, padded, row_loss, row_work_space
from ultragcn.kernels.numba_cpu.sweeps import PIECE_PRODUCT, invert_about, starts_of
from ultragcn.kernels.numba_cpu.threads import share_out, take_next
from ultragcn.kernels.numba_cpu.vectors import HALF, TINY, TWO, ZERO, exp_minus_abs, logistic, prefer_wide_vectors

_CHUNK = 256  # columns whose products with all centres are held at a time


def nearest_centres(points, centres, labels):
    """Write the number of the nearest centre of each point into `labels`, the first of equals.

    Parameters
    ----------
    points, centres : (I, D) and (K, D) float32
    labels : (I,) int32, written
    """
    half_squares = HALF * np.einsum("kd,kd->k", centres, centres)
    transposed = np.ascontiguousarray(centres.T)

    def run(counter):
        _label_chunks(counter, points, transposed, half_squares, labels, aligned(_CHUNK, len(centres)))

    share_out(-(-len(points) // _CHUNK), run)


@fast_kernel
def _label_chunks(counter, points, transposed, half_squares, labels, products):
    """Label chunk after chunk of points, as long as the counter has any."""
    prefer_wide_vectors()
    num_points = len(points)
    while True:
        low = take_next(counter) * len(products)
        if low >= num_points:
            break
        high = min(low + len(products), num_points)
        part = products[: high - low]
        np.dot(points[low:high], transposed, part)
        for i in range(high - low):
            best = part[i, 0] - half_squares[0]
            for k in range(len(half_squares)):
                part[i, k] -= half_squares[k]
                best = max(best, part[i, k])
            label = 0
            while label < len(half_squares) - 1 and part[i, label] < best:
                label += 1
            labels[low + i] = label


def cluster_moments(y, weight, members, starts, centre, spread):
    """Write the mean and the covariance of the columns of each cluster; a cluster without columns has zeros.

    Parameters
    ----------
    y : (I, D) float32
    weight : (I,) float32
        Of each column in both.
    members : (I,) int64
        The columns, cluster after cluster.
    starts : (K + 1,) int64
        Where each cluster begins in `members`.
    centre : (K, D) float32, written
    spread : (K, T) float32, written
    """
    size = y.shape[1]

    def run(counter):
        work = aligned(_CHUNK, size), aligned(_CHUNK, size), np.empty((size, size), np.float32), np.empty((size, size), np.float32)
        _measure_clusters(counter, y, weight, members, starts, centre, spread, work)

    share_out(len(centre), run)


@fast_kernel
def _measure_clusters(counter, y, weight, members, starts, centre, spread, work):
    """Measure cluster after cluster, as long as the counter has any."""
    prefer_wide_vectors()
    size = y.shape[1]
    away, scaled, product, total = work
    while True:
        k = take_next(counter)
        if k >= len(centre):
            break
        mean = centre[k]
        for d in range(size):
            mean[d] = ZERO
        mass = ZERO
        for n in range(starts[k], starts[k + 1]):
            j = members[n]
            mass += weight[j]
            for d in range(size):
                mean[d] += weight[j] * y[j, d]
        share = np.float32(1) / max(mass, TINY)
        for d in range(size):
            mean[d] *= share
        for a in range(size):
            for c in range(size):
                total[a, c] = ZERO
        for low in range(starts[k], starts[k + 1], len(away)):
            high = min(low + len(away), starts[k + 1])
            for n in range(low, high):
                j = members[n]
                for d in range(size):
                    difference = y[j, d] - mean[d]
                    away[n - low, d] = difference
                    scaled[n - low, d] = weight[j] * difference
            np.dot(scaled[: high - low].T, away[: high - low], product)
            for a in range(size):
                for c in range(size):
                    total[a, c] += product[a, c]
        place = 0
        for a in range(size):
            for c in range(a, size):
                spread[k, place] = share * total[a, c]
                place += 1


class ClusterWork(NamedTuple):
    """What one thread needs for a half-sweep over clusters: room for G blocks."""

    piece: int  # rows whose scores are held at a time
    scores: np.ndarray  # (piece, K) float32
    powers: np.ndarray  # (2, K) float32
    part: np.ndarray  # (piece, D) float32
    x: np.ndarray  # (G B, D) float32, the rows of the blocks
    gradient: np.ndarray  # (G B, D) float32
    spread_x: np.ndarray  # (B, D) float32, the rows times the spread of the block
    weight: np.ndarray  # (G B, 2) float32
    curvature: np.ndarray  # (G B,) float32, sum_k m_uk E sigmoid'
    loss: np.ndarray  # (G B,) float64
    moments: np.ndarray  # (G, T) float32, second moments of the blocks, off the diagonal twice; then the spreads of the blocks
    deviation: np.ndarray  # (G, K) float32, standard deviation of a block's scores within each cluster
    bent: np.ndarray  # (G, K) float32, sum_u m_uk E sigmoid'
    scaled: np.ndarray  # (K, D) float32
    product: np.ndarray  # (D, D) float32
    gram: np.ndarray  # (D, D) float32
    inverse: np.ndarray  # (D, D padded to whole vectors) float32, zeros at first
    row: RowWork


def cluster_work_space(groups: Groups, clusters: Clusters, size: int, entries: int) -> ClusterWork:
    """Return the work space of one thread, for D = `size` and rows of at most `entries` entries."""
    count, triangle = clusters.spread.shape
    block, together = groups.block, groups.together
    piece = int(np.clip(PIECE_PRODUCT // (count * size), 16, 64))
    return ClusterWork(
        piece, aligned(piece, count), aligned(2, count), aligned(piece, size), aligned(together * block, size),
        aligned(together * block, size), aligned(block, size), np.empty((together * block, 2), np.float32),
        np.empty(together * block, np.float32), np.empty(together * block), np.empty((together, triangle), np.float32),
        aligned(together, count), aligned(together, count), aligned(count, size), np.empty((size, size), np.float32),
        np.empty((size, size), np.float32), np.zeros((size, padded(size)), np.float32), row_work_space(size, entries),
    )  # fmt: skip


@fast_inlined
def activate_clusters(scores, row_weight, mass, deviation, bent, curvature, loss, powers):
    """Add up loss and curvature over clusters, and replace `scores` (p, K) by m E sigmoid(s).

    Parameters
    ----------
    scores : (p, K) float32
        Of centres.
    row_weight : (p, 2) float32
    mass : (2, K) float32
        m_uk = row_weight[u] . mass[:, k].
    deviation : (K,) float32
        Standard deviation of scores within each cluster.
    bent : (K,) float32
        Increased by sum_u m_uk E sigmoid'.
    curvature : (p,) float32, loss : (p,) float64
        Increased by sum_k m_uk E sigmoid' and sum_k m_uk E softplus.
    powers : (2, K) float32
        Work space.
    """
    prefer_wide_vectors()
    num_rows, num_clusters = scores.shape
    first, second = mass[0], mass[1]
    lower, upper = powers[0], powers[1]
    for i in range(num_rows):
        a0, a1 = row_weight[i, 0], row_weight[i, 1]
        row_curvature = ZERO
        row_loss = ZERO
        for k in range(num_clusters):
            lower[k] = exp_minus_abs(scores[i, k] - deviation[k])
            upper[k] = exp_minus_abs(scores[i, k] + deviation[k])
        for k in range(num_clusters):
            weight = HALF * (a0 * first[k] + a1 * second[k])
            sigmoid_0, slope_0, softplus_0 = logistic(scores[i, k] - deviation[k], lower[k])
            sigmoid_1, slope_1, softplus_1 = logistic(scores[i, k] + deviation[k], upper[k])
            scores[i, k] = weight * (sigmoid_0 + sigmoid_1)
            slope = weight * (slope_0 + slope_1)
            row_curvature += slope
            bent[k] += slope
            row_loss += weight * (softplus_0 + softplus_1)
        curvature[i] += row_curvature
        loss[i] += row_loss


@fast_inlined
def _cluster_loss(scores, row_weight, mass, deviation, powers):
    """Return sum_k m_uk E softplus of one row of scores (K,)."""
    prefer_wide_vectors()
    lower, upper = powers[0], powers[1]
    for k in range(len(scores)):
        lower[k] = exp_minus_abs(scores[k] - deviation[k])
        upper[k] = exp_minus_abs(scores[k] + deviation[k])
    total = ZERO
    for k in range(len(scores)):
        weight = row_weight[0] * mass[0, k] + row_weight[1] * mass[1, k]
        _, _, softplus_0 = logistic(scores[k] - deviation[k], lower[k])
        _, _, softplus_1 = logistic(scores[k] + deviation[k], upper[k])
        total += weight * (softplus_0 + softplus_1)
    return HALF * total


@fast_inlined
def _take_blocks(start, stop, x, rows, groups, work):
    """Copy the rows `start` to `stop` of the order, and write the second moments of their blocks into work.moments."""
    prefer_wide_vectors()
    size = x.shape[1]
    for i in range(stop - start):
        u = groups.order[start + i]
        for d in range(size):
            work.x[i, d] = x[u, d]
            work.gradient[i, d] = ZERO
        work.weight[i, 0] = rows.weight[u, 0]
        work.weight[i, 1] = rows.weight[u, 1]
        work.curvature[i] = ZERO
        work.loss[i] = 0.0
    for g in range(groups.together):
        low, high = min(g * groups.block, stop - start), min((g + 1) * groups.block, stop - start)
        own = work.x[low:high]
        np.dot(own.T, own, work.product)
        share = np.float32(1 / max(high - low, 1))
        place = 0
        for a in range(size):
            for c in range(a, size):
                work.moments[g, place] = (share if a == c else TWO * share) * work.product[a, c]
                place += 1


@fast_inlined
def _visit_clusters(low, high, deviation, bent, clusters, work):
    """Add what the clusters give to the gradients, the curvature and the loss of the rows `low` to `high` of a group."""
    prefer_wide_vectors()
    size = work.x.shape[1]
    for start in range(low, high, work.piece):
        stop = min(start + work.piece, high)
        scores = work.scores[: stop - start]
        np.dot(work.x[start:stop], clusters.transposed, scores)
        activate_clusters(
            scores, work.weight[start:stop], clusters.mass, deviation, bent, work.curvature[start:stop], work.loss[start:stop], work.powers
        )
        np.dot(scores, clusters.centre, work.part[: stop - start])
        for i in range(stop - start):
            for d in range(size):
                work.gradient[start + i, d] += work.part[i, d]


@fast_inlined
def _curvature_of(spread, bent, centre, work):
    """Write sum_k bent_k C_k into work.product and Q = sum_k bent_k (centre centre^T + C_k) into work.gram; return the sum of bent."""
    prefer_wide_vectors()
    size = centre.shape[1]
    total = ZERO
    for k in range(len(bent)):
        total += bent[k]
        for d in range(size):
            work.scaled[k, d] = bent[k] * centre[k, d]
    np.dot(work.scaled.T, centre, work.gram)
    place = 0
    for a in range(size):
        for c in range(a, size):
            work.product[a, c] = spread[place]
            work.product[c, a] = spread[place]
            place += 1
    for a in range(size):
        for c in range(size):
            work.gram[a, c] += work.product[a, c]
    return max(total, TINY)


def clustered_half_sweep(x, y, rows, clusters, groups, system, out):
    """Take one Newton-like step of every row of `x` against the frozen `y`, whose negatives are the clusters of `y`.

    Within a cluster the scores of row u are taken as normal, around s_uk = x_u . centre_k with variance v_k = tr(C_k M), M the second
    moment of the rows of u's block. E is the mean over it, by the two nodes of Gauss-Hermite, a standard deviation
    below and above; m_uk = weight_u . mass_k.

    gradient_u = sum_k m_uk E sigmoid(s_uk) centre_k + (h_u / sum_v h_v) S x_u - (positives, exact) + l2_u x_u
    hessian_u  = damping_u (h_u / sum_v h_v) Q + (positives) + l2_u 1
                 h_u = sum_k m_uk E sigmoid'(s_uk),   b_k = sum_v m_vk E sigmoid'(s_vk),   v over the rows of the block
                 S = sum_k b_k C_k,   Q = S + sum_k b_k centre_k centre_k^T
    loss_u     = sum_k m_uk E softplus(s_uk) + (positives, exact);  after the step with the same v_k, and with what longer or shorter
                 rows add to them: (h_u / sum_v h_v) (x_new^T S x_new - x^T S x) / 2

    Parameters
    ----------
    x, y : (U, D) and (I, D) float32
    rows : Rows
    clusters : Clusters
    groups : Groups
    system : System
    out : Clustered
        Written.
    """
    longest = int(np.diff(rows.indptr).max(initial=0))
    if groups.starts is None:
        groups = groups._replace(starts=starts_of(len(x), groups.block * groups.together))

    def run(counter):
        _sweep_groups(counter, x, y, rows, clusters, groups, system, out, cluster_work_space(groups, clusters, x.shape[1], longest))

    share_out(len(groups.starts) - 1, run)


@fast_kernel
def _sweep_groups(counter, x, y, rows, clusters, groups, system, out, work):
    """Sweep group after group of blocks, as long as the counter has any."""
    prefer_wide_vectors()
    size = x.shape[1]
    deviation, bent, row = work.deviation, work.bent, work.row
    block = groups.block
    while True:
        group = take_next(counter)
        if group >= len(groups.starts) - 1:
            break
        first, last = groups.starts[group], groups.starts[group + 1]
        _take_blocks(first, last, x, rows, groups, work)
        np.dot(work.moments, clusters.spread.T, deviation)
        for g in range(groups.together):
            for k in range(deviation.shape[1]):
                deviation[g, k] = np.sqrt(max(deviation[g, k], ZERO))
                bent[g, k] = ZERO
            low, high = min(g * block, last - first), min((g + 1) * block, last - first)
            _visit_clusters(low, high, deviation[g], bent[g], clusters, work)
        np.dot(bent, clusters.spread, work.moments)
        for g in range(groups.together):
            low, high = min(g * block, last - first), min((g + 1) * block, last - first)
            if low == high:
                break
            total = _curvature_of(work.moments[g], bent[g], clusters.centre, work)
            mean_scale, mean_total, mean_l2 = ZERO, ZERO, ZERO
            share = np.float32(1 / (high - low))
            for i in range(low, high):
                u = groups.order[first + i]
                mean_scale += share * rows.damping[u] * work.curvature[i] / total
                mean_total += share * rows.total[u]
                mean_l2 += share * rows.l2[u]
            for a in range(size):
                for c in range(size):
                    work.inverse[a, c] = work.gram[a, c]
            invert_about(work.inverse, mean_scale, mean_total, system.prior, mean_l2)
            np.dot(work.x[low:high], work.product, work.spread_x[: high - low])
            for i in range(low, high):
                u = groups.order[first + i]
                begin, end = rows.indptr[u], rows.indptr[u + 1]
                entries = Entries(rows.indices[begin:end], rows.positive[begin:end], rows.excluded[begin:end])
                scale = work.curvature[i] / total
                widened = 0.0
                for d in range(size):
                    row.gradient[d] = work.gradient[i, d] + scale * work.spread_x[i - low, d]
                    widened -= work.x[i, d] * work.spread_x[i - low, d]
                curvature = Curvature(work.gram, rows.damping[u] * scale, rows.l2[u], work.inverse)
                sparse_loss, predicted = newton_row(work.x[i], y, entries, curvature, system.steps, row)
                for d in range(size):
                    row.move[d] += work.x[i, d]
                    work.x[i, d] = row.move[d]
                out.stats[u, 0] = work.loss[i]
                out.stats[u, 1] = sparse_loss
                out.stats[u, 2] = 0.5 * scale * widened
                out.stats[u, 3] = row_loss(row.move, y, entries, row.scores)
                out.stats[u, 4] = predicted
            np.dot(work.x[low:high], work.product, work.spread_x[: high - low])
            for start in range(low, high, work.piece):
                stop = min(start + work.piece, high)
                scores = work.scores[: stop - start]
                np.dot(work.x[start:stop], clusters.transposed, scores)
                for i in range(start, stop):
                    u = groups.order[first + i]
                    widened = 0.0
                    for d in range(size):
                        widened += work.x[i, d] * work.spread_x[i - low, d]
                        out.x[u, d] = work.x[i, d]
                    out.stats[u, 2] += 0.5 * work.curvature[i] / total * widened
                    out.stats[u, 2] += _cluster_loss(scores[i - start], work.weight[i], clusters.mass, deviation[g], work.powers)
