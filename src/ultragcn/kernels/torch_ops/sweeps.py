"""Half-sweeps of the exact solver in PyTorch: one Newton-like step of every row of one side, the other side frozen.

Rows are worked on in groups of whole blocks. A group has so many rows that what it holds beside the data is bounded
(`cells.held`, `rows.held`), and all its rows take each step of conjugate gradients together. The tuples of `kernels.arguments` hold
tensors of one device here.

Letters: U rows of the side that moves, I rows of the frozen side (columns), D dimensions, b blocks of a group, B rows of a block,
R = b B rows of a group, K clusters of columns, T = D (D + 1) / 2 numbers of the upper triangle of a symmetric matrix, row by row.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ultragcn.kernels.torch_ops import cells as passes
from ultragcn.kernels.torch_ops.cells import activate_clusters, cluster_loss, for_each, visit_cells
from ultragcn.kernels.torch_ops.rows import TINY, Neighbours, Tensors, held, inverse_about, newton_rows, widths

_PARABOLA_BLOCK = 256  # rows of which a group has a whole number


class Group(NamedTuple):
    """Some blocks of rows, each padded to B rows."""

    first: int  # the number of its first block
    members: Tensor  # (b, B) int64, the rows; 0 in a place without one
    there: Tensor  # (b, B) bool, whether a place has a row
    x: Tensor  # (b, B, D) float32; zeros in a place without a row
    weight: Tensor  # (b, B, 2) float32, of the negatives; likewise
    damping: Tensor  # (b, B) float32; likewise
    total: Tensor  # (b, B) float32, the sum of P; likewise
    l2: Tensor  # (b, B) float32; likewise
    neighbours: Neighbours

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over the rows of each block, (b,) of (b, B)."""
        return torch.where(self.there, values, 0.0).sum(dim=1) / self.there.sum(dim=1)

    def write(self, values: Tensor, out: Tensor) -> None:
        """Write values of the rows, (b, B, ...), to where the rows stand in `out`, (U, ...)."""
        out[self.members[self.there]] = values[self.there]


def _edges(num_rows: int, block: int, starts: Tensor | None = None) -> np.ndarray:
    """Return where blocks begin and the last one ends: after every `block` rows, and at `starts`."""
    pieces = [0, num_rows] if starts is None else starts.cpu().numpy()
    inner = [np.arange(low, high, block) for low, high in pairwise(pieces)]
    return np.concatenate([*inner, [num_rows]]).astype(np.int64)


def _groups(x: Tensor, y: Tensor, rows: Tensors, order: Tensor, edges: np.ndarray, most: int) -> Iterator[Group]:
    """Yield the blocks of rows that begin at `edges` of `order`, in groups of `most` blocks at most."""
    lengths = np.diff(rows.indptr.cpu().numpy())[order.cpu().numpy()]
    entries = np.add.reduceat(widths(lengths), edges[:-1]) if len(order) else np.zeros(0, np.int64)
    limit = held(y.device) // y.shape[1]
    block = int(np.diff(edges).max(initial=1))
    first = 0
    while first < len(entries):
        last = first + 1
        while last < len(entries) and last - first < most and entries[first : last + 1].sum() <= limit:
            last += 1
        yield _group(x, y, rows, order, lengths, edges[first : last + 1], block, first)
        first = last


def _group(x: Tensor, y: Tensor, rows: Tensors, order: Tensor, lengths: np.ndarray, edges: np.ndarray, block: int, first: int) -> Group:
    places = edges[:-1, None] + np.arange(block)
    full = places < edges[1:, None]
    places = np.where(full, places, edges[0])
    there = torch.from_numpy(full).to(x.device)
    members = order[torch.from_numpy(places).to(x.device)]

    def of(values: Tensor) -> Tensor:
        own = values[members]
        return torch.where(there if own.ndim == 2 else there[:, :, None], own, 0.0)

    damping = of(rows.damping) if len(rows.damping) else of(rows.l2)
    neighbours = Neighbours(rows, y, members.reshape(-1), np.where(full, lengths[places], 0).reshape(-1))
    return Group(first, members, there, of(x), of(rows.weight), damping, of(rows.total), of(rows.l2), neighbours)


def _step(group: Group, gradient: Tensor, gram: Tensor, scale: Tensor, system: Tensors) -> tuple[Tensor, Tensor, Tensor]:
    """Take the step of every row of a group; return the rows after it, (b, B, D), and two measures of `newton_rows`, (b, B) each."""
    blocks, block, size = group.x.shape
    one = torch.eye(size, dtype=gram.dtype, device=gram.device)
    about = group.mean(scale)[:, None, None] * gram + group.mean(group.total)[:, None, None] * system.prior
    inverse = inverse_about(about + group.mean(group.l2)[:, None, None] * one)
    scale, l2 = scale[:, :, None], group.l2[:, :, None]

    def bend(direction: Tensor) -> Tensor:
        direction = direction.view(blocks, block, size)
        return (scale * torch.bmm(direction, gram) + l2 * direction).view(-1, size)

    def solve(residual: Tensor) -> Tensor:
        return torch.bmm(residual.view(blocks, block, size), inverse).view(-1, size)

    flat = group.x.reshape(-1, size)
    gradient = (gradient + l2 * group.x).reshape(-1, size)
    move, sparse_loss, predicted = newton_rows(flat, gradient, bend, solve, group.neighbours, system.steps)
    return (flat + move).view_as(group.x), sparse_loss.view(blocks, block), predicted.view(blocks, block)


Visit = Callable[[Tensor, Tensor, Tensor, Tensor], Any]


def half_sweep(x: Tensor, y: Tensor, rows: Tensors, cells: Tensors, blocks: Tensors, system: Tensors, out: Tensors) -> None:
    """Take one Newton-like step of every row of `x` against the frozen `y`; see `numba_cpu.half_sweep`.

    `cells.transposed` has no use here.

    Parameters
    ----------
    x, y : (U, D) and (I, D) float32
    rows : Rows
    cells : Cells
    blocks : Blocks
    system : System
    out : Swept
        Written.
    """
    half_sweep_by(visit_cells, x, y, rows, cells, blocks, system, out)


def half_sweep_by(
    visit: Visit, x: Tensor, y: Tensor, rows: Tensors, cells: Tensors, blocks: Tensors, system: Tensors, out: Tensors
) -> None:
    """Do `half_sweep` with another function for the pass over the cells: `visit_cells` of this package or of `triton_cells`."""
    num_tiles = -(-len(y) // blocks.tile)
    all_visited = blocks.num_visited >= num_tiles
    tiles = np.arange(num_tiles)
    edges = _edges(len(x), blocks.block) if blocks.starts is None else blocks.starts.cpu().numpy()
    starts = blocks.first_tile.cpu().numpy()
    # What a pass leaves for each block and column is held too.
    most = max(1, passes.held(x.device) // len(y)) if all_visited else 1
    column_loss = torch.zeros(len(y), dtype=torch.float64, device=x.device)
    for group in _groups(x, y, rows, blocks.order, edges, most):
        if not all_visited:
            tiles = (starts[group.first] + np.arange(blocks.num_visited)) % num_tiles
        columns, taken = _columns(tiles, blocks.tile, blocks.gram_share, len(y))
        if all_visited:
            seen, weight = cells.y, cells.weight
        else:
            there = torch.from_numpy(columns).to(x.device)
            seen, weight = cells.y[there], cells.weight[:, there]
        more = len(y) / len(columns)
        found = visit(group.x, seen, group.weight, weight)
        if all_visited:
            column_loss += found.column_loss
        else:
            column_loss[there] += found.column_loss
        bent, part = found.column_curvature, seen
        if len(taken) < len(columns):
            chosen = torch.from_numpy(taken).to(x.device)
            bent, part = bent[:, chosen], seen[chosen]
        gram = _grams(bent, part)
        scale = group.damping * (more / bent.sum(dim=1).clamp_min(TINY))[:, None] * found.row_curvature
        moved, sparse_loss, predicted = _step(group, more * found.gradient, gram, scale, system)
        after = group.neighbours.loss(moved.reshape(-1, moved.shape[2])).view_as(predicted)
        group.write(moved, out.x)
        group.write(torch.stack([found.row_loss, sparse_loss, after, predicted], dim=2), out.stats)
    out.column_loss[:1] += column_loss


def _columns(tiles: np.ndarray, tile: int, share: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns of tiles one after the other, and which of these the shared curvature is made of: their places."""
    columns = (tiles[:, None] * tile + np.arange(tile)).reshape(-1)
    width = np.minimum(tile, count - tiles * tile)
    first = (np.arange(tile) < -(-width // share)[:, None]).reshape(-1)
    return columns[columns < count], np.flatnonzero(first[columns < count])


def _grams(weight: Tensor, y: Tensor) -> Tensor:
    """Return sum_j weight[b, j] y_j y_j^T: (b, D, D) of weights (b, I) and y (I, D)."""
    blocks, size = len(weight), y.shape[1]
    grams = y.new_zeros(blocks * size, size)
    tile = max(16, passes.held(y.device) // (blocks * size))
    for low in range(0, len(y), tile):
        part = y[low : low + tile]
        grams.addmm_((weight[:, None, low : low + tile] * part.T).reshape(blocks * size, -1), part)
    return grams.view(blocks, size, size)


def clustered_half_sweep(x: Tensor, y: Tensor, rows: Tensors, clusters: Tensors, groups: Tensors, system: Tensors, out: Tensors) -> None:
    """Take one Newton-like step of every row of `x`, whose negatives are clusters of `y`; see `numba_cpu.clustered_half_sweep`.

    How many blocks are worked on together follows from the device.

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
    size, device = x.shape[1], x.device
    upper = torch.triu_indices(size, size, device=device)
    twice = 2.0 - torch.eye(size, dtype=x.dtype, device=device)[upper[0], upper[1]]
    activate, loss_of = for_each(activate_clusters, device), for_each(cluster_loss, device)
    most = max(1, passes.held(device) // (len(clusters.centre) * groups.block))
    for group in _groups(x, y, rows, groups.order, _edges(len(x), groups.block, groups.starts), most):
        moment = torch.bmm(group.x.transpose(1, 2), group.x) / group.there.sum(dim=1)[:, None, None]
        variance = (moment[:, upper[0], upper[1]] * twice) @ clusters.spread.T
        deviation = variance.clamp_min(0).sqrt()[:, None, :]
        scores = group.x @ clusters.centre.T
        pulled, slope, loss = activate(scores, deviation, group.weight, clusters.mass)
        bent, curvature, before = slope.sum(dim=1), slope.sum(dim=2), loss.sum(dim=2, dtype=torch.float64)
        spread = x.new_empty(len(bent), size, size)
        spread[:, upper[0], upper[1]] = bent @ clusters.spread
        spread[:, upper[1], upper[0]] = spread[:, upper[0], upper[1]]
        gram = spread + _grams(bent, clusters.centre)
        share = curvature / bent.sum(dim=1).clamp_min(TINY)[:, None]
        widened = torch.bmm(group.x, spread)
        gradient = pulled @ clusters.centre + share[:, :, None] * widened
        moved, sparse_loss, predicted = _step(group, gradient, gram, group.damping * share, system)
        wider = (moved * torch.bmm(moved, spread)).sum(dim=2, dtype=torch.float64)
        wider -= (group.x * widened).sum(dim=2, dtype=torch.float64)
        after = loss_of(moved @ clusters.centre.T, deviation, group.weight, clusters.mass).sum(dim=2, dtype=torch.float64)
        sparse_after = group.neighbours.loss(moved.reshape(-1, size)).view_as(predicted)
        group.write(moved, out.x)
        group.write(torch.stack([before, sparse_loss, after + 0.5 * share * wider, sparse_after, predicted], dim=2), out.stats)


def quadratic_half_sweep(
    x: Tensor, y: Tensor, rows: Tensors, negatives: Tensors, system: Tensors, strips: int, x_new: Tensor, means: Tensors | None = None
) -> None:
    """Take one Newton-like step of every row, with quadratic negatives; see `numba_cpu.quadratic_half_sweep`.

    `strips` has no use here.

    Parameters
    ----------
    x, y : (U, D) and (I, D) float32
    rows : Rows
    negatives : Parabola
    system : System
    strips : int
    x_new : (U, D) float32, written
    means : Means, optional
        By default those of `rows`.
    """
    size, curvature, linear = x.shape[1], float(negatives.curvature), float(negatives.linear)
    weight, total, l2 = means or (values.mean(dim=0, dtype=torch.float64).to(x.dtype) for values in (rows.weight, rows.total, rows.l2))
    about = curvature * torch.tensordot(weight, negatives.grams, 1) + float(total) * system.prior
    inverse = inverse_about((about + float(l2) * torch.eye(size, dtype=x.dtype, device=x.device))[None])[0]
    most = max(1, passes.held(x.device) // (_PARABOLA_BLOCK * size))
    order = torch.arange(len(x), device=x.device)
    rows = rows._replace(excluded=rows.excluded[:0])
    for group in _groups(x, y, rows, order, _edges(len(x), _PARABOLA_BLOCK), most):
        weight, l2, flat = group.weight.reshape(-1, 2), group.l2.reshape(-1, 1), group.x.reshape(-1, size)

        def curved(rows_x: Tensor, weight: Tensor = weight) -> Tensor:
            return curvature * (weight[:, :1] * (rows_x @ negatives.grams[0]) + weight[:, 1:] * (rows_x @ negatives.grams[1]))

        def bend(direction: Tensor, l2: Tensor = l2) -> Tensor:
            return curved(direction) + l2 * direction

        gradient = curved(flat) + linear * (weight @ negatives.sums) + l2 * flat
        move, _, _ = newton_rows(flat, gradient, bend, lambda residual: residual @ inverse, group.neighbours, system.steps)
        group.write((flat + move).view_as(group.x), x_new)
