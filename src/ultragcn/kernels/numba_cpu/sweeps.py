"""Half-sweeps: one Newton-like step of every row of one side, the other side frozen; and the loss alone.

Letters: U rows of the side that moves, I rows of the frozen side, D dimensions, B rows of a block, T columns of a tile. For the
items' half-sweep the two sides change places. N_uj = row_weight[u] . column_weight[:, j], s_uj = x_u . y_j.

Matrix products in here are single-threaded calls of BLAS: the threads share out strips of row blocks, whose number does not depend
on how many threads there are, so neither do the results. Where vectors are wide, OpenBLAS computes a product of at most 10^6
multiplications, its right side not transposed, without copying what it is given into an order of its own: faster by a third. So blocks
are worked on in pieces, and where there are many rows, columns come transposed, tile by tile.
"""

import numba
import numpy as np
import scipy.linalg.cython_blas  # noqa: F401 - the BLAS that Numba calls, loaded so that its threads can be limited

from ultragcn.kernels.numba_cpu.rows import invert, multiply, newton_row, padded, row_loss, row_work_space
from ultragcn.kernels.numba_cpu.vectors import FAST, ONE, TINY, WIDE, ZERO, exp_minus_abs, logistic, prefer_wide_vectors

PIECE_ROWS, PIECE_PRODUCT = (64, 96 * 2**13) if WIDE else (256, 2**23)
"""Rows of a block whose scores are held at a time, and the multiplications in which a tile of theirs should be done."""


@numba.njit(fastmath=FAST, cache=True, forceinline=True)
def activate_tile(scores, row_weight, column_weight, curvature_row, curvature_column, loss_row, loss_column, powers):
    """Add up the negatives' loss and curvature on one tile, and replace `scores` (B, T) by N sigmoid(s), the slope.

    Parameters
    ----------
    scores : (B, T) float32
    row_weight : (B, 2) float32
    column_weight : (2, T) float32
    curvature_row, curvature_column : (B,) and (T,) float32
        Increased by the sums of N sigmoid'(s) over columns and over rows.
    loss_row, loss_column : (B,) float64 and (T,) float32
        Likewise by the sums of N softplus(s).
    powers : (T,) float32
        Work space: in one loop, the chain from a score to its sums would be too long for the processor to begin the next ones meanwhile.
    """
    prefer_wide_vectors()
    num_rows, num_columns = scores.shape
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
            curvature_column[j] += slope
            loss_column[j] += softplus
        curvature_row[i] += curvature
        loss_row[i] += loss


@numba.njit(fastmath=FAST, cache=True, forceinline=True)
def _combine(grams, first, second, gram):
    """Write first grams[0] + second grams[1] into `gram`, (D, D or wider)."""
    prefer_wide_vectors()
    for a in range(len(gram)):
        for c in range(len(gram)):
            gram[a, c] = first * grams[0, a, c] + second * grams[1, a, c]


@numba.njit(fastmath=FAST, cache=True, forceinline=True)
def _invert_about(matrix, scale, total, prior, l2):
    """Replace `matrix`, (D, D padded), by the inverse of scale matrix + total prior + l2 1, the system of about each row."""
    prefer_wide_vectors()
    for a in range(len(matrix)):
        for c in range(len(matrix)):
            matrix[a, c] = scale * matrix[a, c] + total * prior[a, c]
        matrix[a, a] += l2
    invert(matrix)


@numba.njit(cache=True)
def _wide(size):
    """Return zeros of (D, D padded to whole vectors) float32; here, because a parallel function would deal them out one by one."""
    return np.zeros((size, padded(size)), np.float32)


@numba.njit(cache=True, forceinline=True)
def _mean(values):
    """Return the mean of (R,) float32: one after the other, whatever the threads."""
    total = 0.0
    for value in values:
        total += value
    return np.float32(total / max(len(values), 1))


@numba.njit(cache=True)
def _longest(indptr):
    """Return the most entries that a row has."""
    most = 0
    for row in range(len(indptr) - 1):
        most = max(most, indptr[row + 1] - indptr[row])
    return most


@numba.njit(fastmath=FAST, cache=True, forceinline=True)
def _visit_tile(rows_x, rows_weight, tile_y, transposed, tile_weight, piece, buffers, gradient, sums_by_row, sums_by_column):
    """Add what one tile of columns, `tile_y` (T, D), gives to gradients and to the sums of `activate_tile`, for all rows of a block.

    `transposed` is (D, T), or (0, T) for `tile_y` to serve in its place; `sums_by_row` and `sums_by_column` are curvature and loss;
    `buffers`, work space of `piece` rows: their scores (piece T,), their part of the gradient (piece, D), and (T,) powers.
    """
    prefer_wide_vectors()
    count, size = rows_x.shape
    width = len(tile_y)
    scores_buffer, part, powers = buffers
    curvature_row, loss_row = sums_by_row
    curvature_column, loss_column = sums_by_column
    for low in range(0, count, piece):
        high = min(low + piece, count)
        scores = scores_buffer[: (high - low) * width].reshape(high - low, width)
        if len(transposed) > 0:
            np.dot(rows_x[low:high], transposed, scores)
        else:
            np.dot(rows_x[low:high], tile_y.T, scores)
        activate_tile(
            scores, rows_weight[low:high], tile_weight, curvature_row[low:high], curvature_column, loss_row[low:high], loss_column, powers
        )
        np.dot(scores, tile_y, part[: high - low])
        for i in range(low, high):
            for k in range(size):
                gradient[i, k] += part[i - low, k]


@numba.njit(fastmath=FAST, cache=True, forceinline=True)
def _add_gram(tile_y, curvature, at_a_time, scaled, product, gram):
    """Add sum_j curvature_j y_j y_j^T to `gram` (D, D), `tile_y` being (T, D) and `curvature` (T,); return the sum of `curvature`."""
    prefer_wide_vectors()
    total = ZERO
    for j in range(len(tile_y)):
        total += curvature[j]
        for k in range(tile_y.shape[1]):
            scaled[j, k] = curvature[j] * tile_y[j, k]
    for low in range(0, len(tile_y), at_a_time):
        high = min(low + at_a_time, len(tile_y))
        np.dot(scaled[low:high].T, tile_y[low:high], product)
        gram += product
    return total


@numba.njit(cache=True, forceinline=True)
def _aligned(rows, columns):
    """Return an empty (rows, columns) float32 array that begins with a line of the cache: vectors of it lie within one."""
    spare = np.empty(rows * columns + 16, np.float32)
    first = -(spare.ctypes.data // 4) % 16
    return spare[first : first + rows * columns].reshape(rows, columns)


@numba.njit(parallel=True, fastmath=FAST, cache=True)
def half_sweep(
    x, y, cells_y, cells_transposed, row_weight, column_weight, indptr, indices, positive, excluded, l2, damping, total, prior, steps,
    order, block, tile, first_tile, num_visited, gram_share, x_new, row_stats, column_loss,
):  # fmt: skip
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
    cells_y, column_weight : (I, D) and (2, I) float32
        `y` and the weights of its rows, in the order in which tiles are cut from them.
    cells_transposed : (D I,) float32, or (0,)
        The tiles of `cells_y`, (T, D) each, transposed and one after the other: worth making when there are many rows.
    row_weight : (U, 2) float32
    indptr, indices, positive, excluded
        CSR rows over `y` of P, and of the N to take back from excluded cells ((0,) when there are none).
    l2, damping : (U,) float32
    total : (U,) float32
        sum_p positive_up.
    prior : (D, D) float32
        About the mean curvature of the positives of a row, for a total of 1.
    steps : int
        Of conjugate gradients.
    order : (U,) int64
        The rows, as they are dealt into blocks.
    block, tile : int
        B and T.
    first_tile : (blocks,) int64
        Where each block starts to visit tiles, cyclically.
    num_visited : int
        Tiles a block visits; fewer than all makes sums over columns unbiased estimates.
    gram_share : int
        1 for the whole of Q; more is cheaper and only bends the step.
    x_new : (U, D) float32, written
    row_stats : (U, 4) float64, written
        Loss of the negatives and of the sparse part at `x`, sparse part at `x_new`, decrease that the model promises.
    column_loss : (strips, I) float32, zero on entry
        Loss of the negatives at `x` by column, as cut.
    """
    num_rows, size = x.shape
    num_columns = len(y)
    num_blocks = (num_rows + block - 1) // block
    num_tiles = (num_columns + tile - 1) // tile
    strips = len(column_loss)
    height = len(cells_transposed) // num_columns  # D, or 0
    piece = min(block, PIECE_ROWS)
    gram_columns = min(tile, max(16, PIECE_PRODUCT // size**2))
    most_entries = _longest(indptr)
    for strip in numba.prange(strips):
        prefer_wide_vectors()
        buffers = (_aligned(piece, tile).reshape(-1), _aligned(piece, size), np.empty(tile, np.float32))
        rows_x = _aligned(block, size)
        rows_weight = np.empty((block, 2), np.float32)
        gradient = _aligned(block, size)
        curvature_row = np.empty(block, np.float32)
        loss_row = np.empty(block, np.float64)
        curvature_column = np.empty(tile, np.float32)
        loss_column = np.empty(tile, np.float32)
        tile_weight = np.empty((2, tile), np.float32)
        aligned_y = _aligned(tile, size)
        transposed_buffer = _aligned(size, tile).reshape(-1)
        scaled = _aligned(tile, size)
        gram = np.empty((size, size), np.float32)
        product = np.empty((size, size), np.float32)
        inverse = _wide(size)
        scale = np.empty(block, np.float32)
        work = row_work_space(size, most_entries)
        row_gradient, move, row_scores = work[0], work[1], work[7]
        for b in range(strip, num_blocks, strips):
            count = min(block, num_rows - b * block)
            members = order[b * block : b * block + count]
            for i in range(count):
                rows_x[i] = x[members[i]]
                rows_weight[i] = row_weight[members[i]]
            gradient[:] = ZERO
            gram[:] = ZERO
            curvature_row[:] = ZERO
            loss_row[:] = 0.0
            gram_curvature = ZERO
            visited = 0
            for t in range(num_visited):
                start = (first_tile[b] + t) % num_tiles * tile
                width = min(tile, num_columns - start)
                visited += width
                tile_y = cells_y[start : start + width]
                transposed = transposed_buffer[: height * width].reshape(height, width)
                if height > 0:  # enough rows for a copy to pay that begins with a line of the cache
                    aligned_y[:width] = tile_y
                    tile_y = aligned_y[:width]
                    transposed.reshape(-1)[:] = cells_transposed[height * start : height * (start + width)]
                tile_weight[:, :width] = column_weight[:, start : start + width]
                curvature_column[:] = ZERO
                loss_column[:] = ZERO
                _visit_tile(
                    rows_x[:count], rows_weight, tile_y, transposed, tile_weight, piece, buffers, gradient,
                    (curvature_row, loss_row), (curvature_column, loss_column),
                )  # fmt: skip
                for j in range(width):
                    column_loss[strip, start + j] += loss_column[j]
                taken = (width + gram_share - 1) // gram_share
                gram_curvature += _add_gram(tile_y[:taken], curvature_column, gram_columns, scaled, product, gram)
            more = np.float32(num_columns / visited)
            if visited < num_columns:
                gradient[:count] *= more
            gram_curvature = max(gram_curvature, TINY)
            mean_scale, mean_total, mean_l2 = ZERO, ZERO, ZERO
            for i in range(count):
                row = members[i]
                scale[i] = damping[row] * more * curvature_row[i] / gram_curvature
                mean_scale += scale[i] / np.float32(count)
                mean_total += total[row] / np.float32(count)
                mean_l2 += l2[row] / np.float32(count)
            inverse[:, :size] = gram
            _invert_about(inverse, mean_scale, mean_total, prior, mean_l2)
            for i in range(count):
                row = members[i]
                low, high = indptr[row], indptr[row + 1]
                row_gradient[:] = gradient[i]
                sparse_loss, predicted = newton_row(
                    rows_x[i], y, indices[low:high], positive[low:high], excluded[low:high], gram, scale[i], l2[row], inverse, steps, work
                )
                for k in range(size):
                    move[k] += rows_x[i, k]
                x_new[row] = move
                row_stats[row, 0] = loss_row[i]
                row_stats[row, 1] = sparse_loss
                row_stats[row, 2] = row_loss(move, y, indices[low:high], positive[low:high], excluded[low:high], row_scores)
                row_stats[row, 3] = predicted


@numba.njit(parallel=True, fastmath=FAST, cache=True)
def quadratic_half_sweep(
    x, y, row_weight, grams, sums, indptr, indices, positive, l2, total, prior, steps, linear, curvature, strips, x_new
):
    """Take one Newton-like step of every row of the loss whose negatives are quadratic in s: no pass over the cells.

    N_uj softplus(s) is replaced by N_uj (linear s + curvature s^2 / 2), so that all rows share two Gram matrices, one for each term
    of the rank-two weight: implicit ALS with logistic positives. Nothing is excluded.

    Parameters
    ----------
    x, y, row_weight, indptr, indices, positive, l2, total, prior, steps
        As in `half_sweep`.
    grams, sums : (2, D, D) and (2, D) float32
        sum_j column_weight[r, j] y_j y_j^T, and sum_j column_weight[r, j] y_j.
    linear, curvature : float32
    strips : int
    x_new : (U, D) float32, written
    """
    num_rows, size = x.shape
    excluded = np.empty(0, np.float32)
    most_entries = _longest(indptr)
    inverse = _wide(size)
    _combine(grams, curvature * _mean(row_weight[:, 0]), curvature * _mean(row_weight[:, 1]), inverse)
    _invert_about(inverse, ONE, _mean(total), prior, _mean(l2))
    for strip in numba.prange(strips):
        prefer_wide_vectors()
        work = row_work_space(size, most_entries)
        gradient, move = work[0], work[1]
        gram = np.empty((size, size), np.float32)
        for row in range(strip * num_rows // strips, (strip + 1) * num_rows // strips):
            low, high = indptr[row], indptr[row + 1]
            w0, w1 = row_weight[row, 0], row_weight[row, 1]
            _combine(grams, curvature * w0, curvature * w1, gram)
            multiply(gram, x[row], gradient)
            for a in range(size):
                gradient[a] += linear * (w0 * sums[0, a] + w1 * sums[1, a])
            newton_row(x[row], y, indices[low:high], positive[low:high], excluded, gram, ONE, l2[row], inverse, steps, work)
            for k in range(size):
                x_new[row, k] = x[row, k] + move[k]
