"""Half-sweeps: one Newton-like step of every row of one side, the other side frozen; and the loss alone.

Letters: U rows of the side that moves, I rows of the frozen side, D dimensions, B rows of a block, T columns of a tile. For the
items' half-sweep the two sides change places. N_uj = row_weight[u] . column_weight[:, j], s_uj = x_u . y_j.

Matrix products in here are single-threaded calls of BLAS: the threads share out strips of row blocks, whose number does not depend
on how many threads there are, so neither do the results. Where vectors are wide, OpenBLAS computes a product of at most 10^6
multiplications, its right side not transposed, without copying what it is given into an order of its own: faster by a third. So blocks
are worked on in pieces, and where there are many rows, columns come transposed, tile by tile.
"""

from typing import NamedTuple

import numpy as np

from ultragcn.kernels.arguments import Curvature, Entries, Means, RowWork, Sums
from ultragcn.kernels.numba_cpu.compiling import fast_inlined, fast_kernel, inlined
from ultragcn.kernels.numba_cpu.rows import aligned, invert, multiply, newton_row, padded, row_loss, row_work_space
from ultragcn.kernels.numba_cpu.threads import share_out, take_next
from ultragcn.kernels.numba_cpu.vectors import ONE, TINY, WIDE, ZERO, exp_minus_abs, logistic, prefer_wide_vectors

PIECE_ROWS, PIECE_PRODUCT = (64, 96 * 2**13) if WIDE else (256, 2**23)
"""Rows of a block whose scores are held at a time, and the multiplications in which a tile of theirs should be done."""


class SweepWork(NamedTuple):
    """What one thread needs for a half-sweep: room for a block and a tile."""

    piece: int  # rows whose scores are held at a time
    gram_columns: int  # columns that are added to the Gram matrix at a time
    scores: np.ndarray  # (piece T,) float32
    powers: np.ndarray  # (T,) float32
    part: np.ndarray  # (piece, D) float32, what a tile adds to the gradient
    x: np.ndarray  # (B, D) float32, the rows of the block
    weight: np.ndarray  # (B, 2) float32
    gradient: np.ndarray  # (B, D) float32
    sums: Sums
    scale: np.ndarray  # (B,) float32
    tile_y: np.ndarray  # (T, D) float32
    tile_transposed: np.ndarray  # (D T,) float32
    tile_weight: np.ndarray  # (2, T) float32
    scaled: np.ndarray  # (T, D) float32
    product: np.ndarray  # (D, D) float32
    gram: np.ndarray  # (D, D) float32
    inverse: np.ndarray  # (D, D padded to whole vectors) float32, zeros at first
    row: RowWork


def sweep_work_space(block: int, tile: int, size: int, entries: int) -> SweepWork:
    """Return the work space of one thread, for blocks of B x T cells, D = `size`, and rows of at most `entries` entries."""
    piece = min(block, PIECE_ROWS)
    sums = Sums(np.empty(block, np.float32), np.empty(block), np.empty(tile, np.float32), np.empty(tile, np.float32))
    return SweepWork(
        piece, min(tile, max(16, PIECE_PRODUCT // size**2)), aligned(piece, tile).reshape(-1), np.empty(tile, np.float32),
        aligned(piece, size), aligned(block, size), np.empty((block, 2), np.float32), aligned(block, size), sums,
        np.empty(block, np.float32), aligned(tile, size), aligned(size, tile).reshape(-1), np.empty((2, tile), np.float32),
        aligned(tile, size), np.empty((size, size), np.float32), np.empty((size, size), np.float32),
        np.zeros((size, padded(size)), np.float32), row_work_space(size, entries),
    )  # fmt: skip


@fast_inlined
def activate_tile(scores, row_weight, column_weight, sums, powers):
    """Add up the negatives' loss and curvature on one tile, and replace `scores` (B, T) by N sigmoid(s), the slope.

    Parameters
    ----------
    scores : (B, T) float32
    row_weight : (B, 2) float32
    column_weight : (2, T) float32
    sums : Sums
        Increased.
    powers : (T,) float32
        Work space: in one loop, the chain from a score to its sums would be too long for the processor to begin the next ones meanwhile.
    """
    prefer_wide_vectors()
    num_rows, num_columns = scores.shape
    row_curvature, row_loss, column_curvature, column_loss = sums
    first, second = column_weight[0], column_weight[1]
    for i in range(num_rows):
        a0, a1 = row_weight[i, 0], row_weight[i, 1]
        curvature = ZERO
        loss = ZERO
        for j in range(num_columns):
            powers[j] = exp_minus_abs(scores[i, j])
        for j in range(num_columns):
            weight = a0 * first[j] + a1 * second[j]
            sigmoid, slope, softplus = logistic(scores[i, j], powers[j])
            scores[i, j] = weight * sigmoid
            slope *= weight
            softplus *= weight
            curvature += slope
            loss += softplus
            column_curvature[j] += slope
            column_loss[j] += softplus
        row_curvature[i] += curvature
        row_loss[i] += loss


@fast_inlined
def _combine(grams, first, second, gram):
    """Write first grams[0] + second grams[1] into `gram`, (D, D or wider)."""
    prefer_wide_vectors()
    for a in range(len(gram)):
        for c in range(len(gram)):
            gram[a, c] = first * grams[0, a, c] + second * grams[1, a, c]


@fast_inlined
def invert_about(matrix, scale, total, prior, l2):
    """Replace `matrix`, (D, D padded), by the inverse of scale matrix + total prior + l2 1, the system of about each row."""
    prefer_wide_vectors()
    for a in range(len(matrix)):
        for c in range(len(matrix)):
            matrix[a, c] = scale * matrix[a, c] + total * prior[a, c]
        matrix[a, a] += l2
    invert(matrix)


@fast_inlined
def _visit_tile(count, tile_y, transposed, work):
    """Add what one tile of columns, `tile_y` (T, D), gives to gradients and to the sums of `activate_tile`, for `count` rows of a block.

    `transposed` is (D, T), or (0, T) for `tile_y` to serve in its place.
    """
    prefer_wide_vectors()
    width, size = tile_y.shape
    gradient, part, sums = work.gradient, work.part, work.sums
    for low in range(0, count, work.piece):
        high = min(low + work.piece, count)
        rows_x = work.x[low:high]
        scores = work.scores[: (high - low) * width].reshape(high - low, width)
        if len(transposed) > 0:
            np.dot(rows_x, transposed, scores)
        else:
            np.dot(rows_x, tile_y.T, scores)
        of_rows = Sums(sums.row_curvature[low:high], sums.row_loss[low:high], sums.column_curvature, sums.column_loss)
        activate_tile(scores, work.weight[low:high], work.tile_weight, of_rows, work.powers)
        np.dot(scores, tile_y, part[: high - low])
        for i in range(low, high):
            for k in range(size):
                gradient[i, k] += part[i - low, k]


@fast_inlined
def _add_gram(tile_y, work):
    """Add sum_j c_j y_j y_j^T to the Gram matrix, c the curvature of each column of `tile_y` (T, D); return the sum of c."""
    prefer_wide_vectors()
    curvature, scaled, product, gram = work.sums.column_curvature, work.scaled, work.product, work.gram
    total = ZERO
    for j in range(len(tile_y)):
        total += curvature[j]
        for k in range(tile_y.shape[1]):
            scaled[j, k] = curvature[j] * tile_y[j, k]
    for low in range(0, len(tile_y), work.gram_columns):
        high = min(low + work.gram_columns, len(tile_y))
        np.dot(scaled[low:high].T, tile_y[low:high], product)
        for a in range(len(gram)):
            for c in range(len(gram)):
                gram[a, c] += product[a, c]
    return total


@inlined
def _product(a, b, c):
    """Return a b c, from left to right: the compiler may not change the order, as it may in a fast kernel."""
    return a * b * c


def half_sweep(x, y, rows, cells, blocks, system, out):
    """Take one Newton-like step of every row of `x` against the frozen `y`.

    gradient_u = sum_j N_uj sigmoid(s_uj) y_j - sum_p positive_up sigmoid(-s_up) y_p + l2_u x_u              exact
    hessian_u  = damping_u (h_u / sum_v h_v) Q + sum_p positive_up kappa(s_up) y_p y_p^T + l2_u 1
                 h_u = sum_j N_uj sigmoid'(s_uj),   Q = sum_j (sum_v N_vj sigmoid'(s_vj)) y_j y_j^T,   v over the rows of the block
                 (Q from the first 1 / gram_share of the columns of each tile, its scale corrected)

    so the negatives' curvature is the best rank-one approximation, over a block, of the exact one: rows taken together should be
    alike. The hessian is never made (`newton_row`): conjugate gradients have that of the block's mean row for a preconditioner, in
    which `prior` stands for the positives of all.

    Parameters
    ----------
    x, y : (U, D) and (I, D) float32
    rows : Rows
    cells : Cells
        The columns as tiles are cut from them: `y` and the weights of its rows.
    blocks : Blocks
    system : System
    out : Swept
        Written.
    """
    longest, strips = int(np.diff(rows.indptr).max(initial=0)), len(out.column_loss)
    starts = starts_of(len(x), blocks.block) if blocks.starts is None else blocks.starts
    even = np.arange(strips + 1) * (len(starts) - 1) // max(strips, 1)
    blocks = blocks._replace(starts=starts, strips=even if blocks.strips is None else blocks.strips)

    def run(counter):
        _sweep_strips(counter, x, y, rows, cells, blocks, system, out, sweep_work_space(blocks.block, blocks.tile, x.shape[1], longest))

    share_out(strips, run)


def starts_of(num_rows: int, length: int) -> np.ndarray:
    """Return where pieces of `length` rows begin, and where the last one ends: int64."""
    return np.minimum(np.arange(-(-num_rows // length) + 1, dtype=np.int64) * length, num_rows)


@fast_kernel
def _sweep_strips(counter, x, y, rows, cells, blocks, system, out, work):
    """Sweep strip after strip of blocks, as long as the counter has any."""
    prefer_wide_vectors()
    size = x.shape[1]
    num_columns = len(y)
    tile = blocks.tile
    num_tiles = (num_columns + tile - 1) // tile
    height = len(cells.transposed) // num_columns  # D, or 0
    gradient, gram, inverse, scale, sums, row = work.gradient, work.gram, work.inverse, work.scale, work.sums, work.row
    while True:
        strip = take_next(counter)
        if strip >= len(out.column_loss):
            break
        for b in range(blocks.strips[strip], blocks.strips[strip + 1]):
            first = blocks.starts[b]
            count = blocks.starts[b + 1] - first
            for i in range(count):
                u = blocks.order[first + i]
                for k in range(size):
                    work.x[i, k] = x[u, k]
                    gradient[i, k] = ZERO
                work.weight[i, 0] = rows.weight[u, 0]
                work.weight[i, 1] = rows.weight[u, 1]
                sums.row_curvature[i] = ZERO
                sums.row_loss[i] = 0.0
            for a in range(size):
                for c in range(size):
                    gram[a, c] = ZERO
            gram_curvature = ZERO
            visited = 0
            for t in range(blocks.num_visited):
                start = (blocks.first_tile[b] + t) % num_tiles * tile
                width = min(tile, num_columns - start)
                visited += width
                tile_y = cells.y[start : start + width]
                if height > 0:  # enough rows for a copy to pay that begins with a line of the cache
                    for j in range(width):
                        for k in range(size):
                            work.tile_y[j, k] = tile_y[j, k]
                    tile_y = work.tile_y[:width]
                    for n in range(height * width):
                        work.tile_transposed[n] = cells.transposed[height * start + n]
                transposed = work.tile_transposed[: height * width].reshape(height, width)
                for j in range(width):
                    work.tile_weight[0, j] = cells.weight[0, start + j]
                    work.tile_weight[1, j] = cells.weight[1, start + j]
                    sums.column_curvature[j] = ZERO
                    sums.column_loss[j] = ZERO
                _visit_tile(count, tile_y, transposed, work)
                for j in range(width):
                    out.column_loss[strip, start + j] += sums.column_loss[j]
                taken = (width + blocks.gram_share - 1) // blocks.gram_share
                gram_curvature += _add_gram(tile_y[:taken], work)
            more = np.float32(num_columns / visited)
            if visited < num_columns:
                for i in range(count):
                    for k in range(size):
                        gradient[i, k] *= more
            gram_curvature = max(gram_curvature, TINY)
            mean_scale, mean_total, mean_l2 = ZERO, ZERO, ZERO
            members = blocks.order[first : first + count]
            for i in range(count):
                u = members[i]
                scale[i] = _product(rows.damping[u], more / gram_curvature, sums.row_curvature[i])
                mean_scale += scale[i] / np.float32(count)
                mean_total += rows.total[u] / np.float32(count)
                mean_l2 += rows.l2[u] / np.float32(count)
            for a in range(size):
                for c in range(size):
                    inverse[a, c] = gram[a, c]
            invert_about(inverse, mean_scale, mean_total, system.prior, mean_l2)
            for i in range(count):
                u = blocks.order[first + i]
                low, high = rows.indptr[u], rows.indptr[u + 1]
                entries = Entries(rows.indices[low:high], rows.positive[low:high], rows.excluded[low:high])
                for k in range(size):
                    row.gradient[k] = gradient[i, k]
                curvature = Curvature(gram, scale[i], rows.l2[u], inverse)
                sparse_loss, predicted = newton_row(work.x[i], y, entries, curvature, system.steps, row)
                for k in range(size):
                    row.move[k] += work.x[i, k]
                    out.x[u, k] = row.move[k]
                out.stats[u, 0] = sums.row_loss[i]
                out.stats[u, 1] = sparse_loss
                out.stats[u, 2] = row_loss(row.move, y, entries, row.scores)
                out.stats[u, 3] = predicted


class ParabolaWork(NamedTuple):
    """What one thread needs for a half-sweep with quadratic negatives."""

    gram: np.ndarray  # (D, D) float32
    inverse: np.ndarray  # (D, D padded to whole vectors) float32, zeros at first
    row: RowWork


def quadratic_half_sweep(x, y, rows, negatives, system, strips, x_new, means=None):
    """Take one Newton-like step of every row of the loss whose negatives are quadratic in s: no pass over the cells.

    N_uj softplus(s) is replaced by N_uj (linear s + curvature s^2 / 2), so that all rows share two Gram matrices, one for each term
    of the rank-two weight: implicit ALS with logistic positives. Nothing is excluded.

    Parameters
    ----------
    x, y, rows, system
        As in `half_sweep`.
    negatives : Parabola
    strips : int
        Pieces of work for the threads.
    x_new : (U, D) float32, written
    means : Means, optional
        By default those of `rows`.
    """
    longest, size = int(np.diff(rows.indptr).max(initial=0)), x.shape[1]
    if means is None:
        means = Means(
            rows.weight.mean(axis=0, dtype=np.float64).astype(np.float32),
            np.float32(rows.total.mean(dtype=np.float64)), np.float32(rows.l2.mean(dtype=np.float64)),
        )  # fmt: skip

    def run(counter):
        work = ParabolaWork(
            np.empty((size, size), np.float32), np.zeros((size, padded(size)), np.float32), row_work_space(size, longest)
        )  # fmt: skip
        _parabola_strips(counter, x, y, rows, negatives, system, strips, x_new, means, work)

    share_out(strips, run)


@fast_kernel
def _parabola_strips(counter, x, y, rows, negatives, system, strips, x_new, means, work):
    """Sweep strip after strip of rows, as long as the counter has any."""
    prefer_wide_vectors()
    num_rows, size = x.shape
    grams, sums, linear, curvature = negatives
    gram, inverse, row = work
    _combine(grams, curvature * means.weight[0], curvature * means.weight[1], inverse)
    invert_about(inverse, ONE, means.total, system.prior, means.l2)
    while True:
        strip = take_next(counter)
        if strip >= strips:
            break
        for u in range(strip * num_rows // strips, (strip + 1) * num_rows // strips):
            low, high = rows.indptr[u], rows.indptr[u + 1]
            w0, w1 = rows.weight[u, 0], rows.weight[u, 1]
            _combine(grams, curvature * w0, curvature * w1, gram)
            multiply(gram, x[u], row.gradient)
            for a in range(size):
                row.gradient[a] += linear * (w0 * sums[0, a] + w1 * sums[1, a])
            entries = Entries(rows.indices[low:high], rows.positive[low:high], rows.excluded[:0])
            newton_row(x[u], y, entries, Curvature(gram, ONE, rows.l2[u], inverse), system.steps, row)
            for k in range(size):
                x_new[u, k] = x[u, k] + row.move[k]
