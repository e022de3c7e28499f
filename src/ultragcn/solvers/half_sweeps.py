"""Half-sweeps of the exact solver: the loss seen from one side, and one Newton-like step of every row of that side.

Given the items, every user's row is a strictly convex problem in D numbers, and the other way round. `half_sweep` visits the cells;
`quadratic_half_sweep` has quadratic negatives, which need two Gram matrices alone. The loops are kernels
(`kernels/numba_cpu/sweeps.py`), behind `HalfSweeper`; here is what they are given, and what is made of what they measure.

Where several processes train, each has the rows of its own shards (`processes.Share`) and all of both tables of embeddings. Blocks of
similar rows form inside a shard, and sums are made a shard each. One process does the same with all shards.

Letters: U users, I items, D dimensions, N non-zeros of P, R rows of a side, or those of them that this process has.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp

from ultragcn import kernels
from ultragcn.config import Config
from ultragcn.errors import NumericalError
from ultragcn.kernels.arguments import Blocks, Cells, Clustered, Clusters, Groups, Means, Parabola, Rows, Swept, System
from ultragcn.loss.objective import Objective
from ultragcn.processes import Processes, Share, cut, num_shards

MAX_STRIPS = 64  # bounds the parallelism; fixed, so that results do not depend on the number of threads
_BLOCK_ROWS = 256  # rows that share one curvature matrix: more would be cheaper, fewer more exact
_LEAST_GROUPS, _MOST_TOGETHER = 24, 8  # pieces of work of a half-sweep over clusters; blocks in one of them
_MIN_DAMPING, _MAX_DAMPING = 0.3, 1e6
_LABELS = 4  # labels among which no order is looked for
_COPIED = 1 << 20  # entries that are in memory twice while they are changed
_MANY_ROWS = 256  # for which it is worth while to transpose the columns
_NEWTON_STEPS = 4  # of conjugate gradients for a row's Newton step; more do not lower the loss faster
_CLUSTERED_STEPS = 2  # the same over clusters, where the positives are most of the work
_USUAL_BOUND = 0.2  # the curvature of a positive pair, a quarter at most, for the preconditioner
_ROW_COST = 200  # what a row costs beside its entries of P, in entries
_QUADRATIC_CURVATURE = 8.0  # of quadratic negatives, relative to that of the best constant score
_POWER_STEPS = 10  # towards the leading direction of a group of rows
NOTHING = np.empty(0, np.float32)
_ADVICE = "lower negative_weight, item_item_weight or w1..w4, or raise the L2 strength"


class HalfSweeper(Protocol):
    """Who computes half-sweeps: kernels of these names. `kernels.reference` is one, and so are `NumbaSweeper` and `TorchSweeper`."""

    def half_sweep(self, x: np.ndarray, y: np.ndarray, rows: Rows, cells: Cells, blocks: Blocks, system: System, out: Swept) -> None:
        """Take one Newton-like step of every row of `x` against the frozen `y`, and write the rows and what they measure to `out`."""

    def clustered_half_sweep(
        self, x: np.ndarray, y: np.ndarray, rows: Rows, clusters: Clusters, groups: Groups, system: System, out: Clustered
    ) -> None:
        """Take one such step of the loss whose negatives are clusters of `y`, and write the rows and what they measure to `out`."""

    def quadratic_half_sweep(
        self, x: np.ndarray, y: np.ndarray, rows: Rows, negatives: Parabola, system: System, strips: int, x_new: np.ndarray, means: Means
    ) -> None:
        """Take one such step of the loss with quadratic negatives, and write the rows to `x_new`."""


class NumbaSweeper:
    """Half-sweeps on the processor's cores."""

    def half_sweep(self, x: np.ndarray, y: np.ndarray, rows: Rows, cells: Cells, blocks: Blocks, system: System, out: Swept) -> None:
        """Take one step of every row, with exact negatives; see `kernels.half_sweep`."""
        kernels.half_sweep(x, y, rows, cells, blocks, system, out)

    def clustered_half_sweep(
        self, x: np.ndarray, y: np.ndarray, rows: Rows, clusters: Clusters, groups: Groups, system: System, out: Clustered
    ) -> None:
        """Take one step of every row, with clusters for negatives; see `kernels.clustered_half_sweep`."""
        kernels.clustered_half_sweep(x, y, rows, clusters, groups, system, out)

    def quadratic_half_sweep(
        self, x: np.ndarray, y: np.ndarray, rows: Rows, negatives: Parabola, system: System, strips: int, x_new: np.ndarray, means: Means
    ) -> None:
        """Take one step of every row, with quadratic negatives; see `kernels.quadratic_half_sweep`."""
        kernels.quadratic_half_sweep(x, y, rows, negatives, system, strips, x_new, means)


NUMBA = NumbaSweeper()


@dataclass(frozen=True)
class Side:
    """The loss seen from one side, by its R rows: P, the weights of the negatives, the L2 strengths, and the sizes of tiles."""

    indptr: np.ndarray  # (R + 1,) int64
    indices: np.ndarray  # (N,) int32
    positive: np.ndarray  # (N,) float32, P
    excluded: np.ndarray  # (N,) float32, N to take back from excluded cells; (0,) when nothing is excluded
    row_weight: np.ndarray  # (R, 2) float32
    column_weight: np.ndarray  # (2, columns) float32
    l2: np.ndarray  # (R,) float32
    block: int
    tile: int
    sweeper: HalfSweeper = NUMBA
    dealt: Share | None = None
    """Which of all rows these are; None: they are all, in one shard."""
    columns: Share | None = None
    """How the columns are cut into shards; None: they are one."""

    @cached_property
    def share(self) -> Share:
        """Which of all rows these are."""
        return Share([0, len(self.l2)]) if self.dealt is None else self.dealt

    @cached_property
    def starts(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each block of rows begins and the last one ends, and the first block of each strip: strips keep to one shard."""
        pieces = [_pieces(part, _even(self.share, part, self.block)) for part in self.share.parts]
        most = max(1, MAX_STRIPS // max(1, len(self.share.bounds) - 1))
        strips, blocks = [0], 0
        for piece in pieces:
            number = min(len(piece), most)
            strips.extend(blocks + len(piece) * np.arange(1, number + 1) // max(number, 1))
            blocks += len(piece)
        return _joined(pieces, len(self.l2)), np.array(strips, np.int64)

    @property
    def num_tiles(self) -> int:
        """Tiles of columns."""
        result: int = -(-self.column_weight.shape[1] // self.tile)
        return result

    @property
    def strips(self) -> int:
        """Pieces of work for the threads, where rows do not depend on one another."""
        return min(MAX_STRIPS, max(1, -(-len(self.l2) // self.block)))

    def matrix(self, values: np.ndarray) -> sp.csr_matrix:
        """Return `values` (N,) where P has entries: (R, columns), sparse."""
        # Indices of one type, else SciPy makes long ones of all.
        fits = len(self.indices) <= np.iinfo(self.indices.dtype).max
        indptr = self.indptr.astype(self.indices.dtype) if fits else self.indptr
        return sp.csr_matrix((values, self.indices, indptr), (len(self.l2), self.column_weight.shape[1]))

    @cached_property
    def total(self) -> np.ndarray:
        """Sum of P by row: (R,) float32."""
        return self._sums(1)

    @cached_property
    def mean_weight(self) -> np.ndarray:
        """Mean of the rows' weights: (2,) float32."""
        result: np.ndarray = self.row_weight.mean(axis=0, dtype=np.float64).astype(np.float32)
        return result

    @cached_property
    def means(self) -> Means:
        """Means over the rows."""
        total, l2 = (np.float32(values.mean(dtype=np.float64)) for values in (self.total, self.l2))
        return Means(self.mean_weight, total, l2)

    def prior(self, y: np.ndarray) -> np.ndarray:
        """Return about the curvature that the positives of a mean row have, for a total of 1: (D, D) float32."""
        used, share = self._column_share

        def of_shard(shard: slice) -> np.ndarray:
            low, high = np.searchsorted(used, (shard.start, shard.stop))
            part = y[shard] if high - low == shard.stop - shard.start else y[used[low:high]]
            product: np.ndarray = (part * (_USUAL_BOUND * share[low:high, None])).T @ part
            return product

        with np.errstate(over="ignore", invalid="ignore"):
            return summed(self.columns or Share([0, len(y)]), of_shard)

    @cached_property
    def _column_share(self) -> tuple[np.ndarray, np.ndarray]:
        """Columns with any P, and their share of its sum."""
        total = self._sums(0)
        used = np.flatnonzero(total)
        with np.errstate(over="ignore", invalid="ignore"):
            return used, total[used] / max(float(total.sum()), 1e-30)

    def _sums(self, axis: int) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found by `checked`
            return np.asarray(self.matrix(self.positive).sum(axis=axis), np.float32).ravel()

    def problem(self, damping: np.ndarray) -> Rows:
        """Return the rows as kernels take them; `damping` (R,) float32 is that of their steps."""
        return Rows(self.indptr, self.indices, self.positive, self.excluded, self.row_weight, self.l2, self.total, damping)

    def ridge(self, x: np.ndarray) -> np.ndarray:
        """Return l2 / 2 ||x||^2 by row: (R,) float64."""
        result: np.ndarray = 0.5 * self.l2 * np.einsum("rd,rd->r", x, x, dtype=np.float64)
        return result

    def rows(self, chosen: np.ndarray) -> "Side":
        """Return the side of some rows alone."""
        own = self.matrix(self.positive)[chosen]
        excluded = self.matrix(self.excluded)[chosen].data if len(self.excluded) else self.excluded
        return replace(
            self, indptr=own.indptr.astype(np.int64), indices=own.indices, positive=own.data, excluded=excluded,
            row_weight=self.row_weight[chosen], l2=self.l2[chosen], dealt=None,
        )  # fmt: skip

    def in_order(self, rows: np.ndarray, columns: np.ndarray) -> "Side":
        """Return the side with its rows and its columns in another order, given by what is now where: (R,) and (columns,) int64."""
        place = np.empty(len(columns), np.int32)
        place[columns] = np.arange(len(columns))
        other = self.rows(rows)
        for first in range(0, len(other.indices), _COPIED):  # in place
            own = other.indices[first : first + _COPIED]
            own[:] = place[own]
        return replace(other, column_weight=np.ascontiguousarray(self.column_weight[:, columns]))

    def of(self, share: Share, columns: Share) -> "Side":
        """Return the side of the rows of one process; what is known of all rows stays."""
        known: dict[str, Any] = {"mean_weight": self.mean_weight, "means": self.means, "_column_share": self._column_share}
        own = self if share.own == slice(0, len(self.l2)) else self.rows(np.arange(share.own.start, share.own.stop))
        own = replace(own, dealt=share, columns=columns)
        vars(own).update(known | {"total": self.total[share.own]})
        return own

    def with_l2(self, l2: np.ndarray) -> "Side":
        """Return the side with other L2 strengths (R,); what is known of P stays."""
        other = replace(self, l2=l2)
        kept = ("total", "mean_weight", "_column_share", "share", "starts")
        vars(other).update({name: value for name, value in vars(self).items() if name in kept})
        return other


def _tile_sizes(num_rows: int, config: Config) -> tuple[int, int]:
    """Return rows of a block and columns of a tile: long blocks amortise the Gram matrix, but a small side needs some to share out."""
    block = int(np.clip(-(-num_rows // 12), 16, _BLOCK_ROWS))
    piece = max(1, min(num_rows, block, kernels.PIECE_ROWS))  # rows whose scores are held at a time
    scores = kernels.PIECE_PRODUCT / config.embedding_dim if config.tile_megabytes is None else config.tile_megabytes * 2**20 / 4
    tile = scores / piece
    return block, int(np.clip(tile // 16 * 16, 16, 4096))


def side_of(
    objective: Objective, matrix: sp.csr_matrix, positives: sp.csr_matrix, places: np.ndarray, column_weight: np.ndarray, l2: np.ndarray
) -> Side:
    """Return the users' side for users given by their items, by P and by where their items stand in it."""
    row_weight = objective.negative_rows(np.diff(matrix.indptr))
    excluded = NOTHING
    if objective.config.exclude_positives:
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        excluded = np.zeros(positives.nnz, np.float32)
        excluded[places] = np.einsum("nr,nr->n", row_weight[rows], column_weight[matrix.indices])
    return Side(
        positives.indptr.astype(np.int64), positives.indices, positives.data, excluded, row_weight,
        np.ascontiguousarray(column_weight.T), l2, *_tile_sizes(matrix.shape[0], objective.config),
    )  # fmt: skip


def users_of(objective: Objective) -> Side:
    """Return the users' side of an objective over its train pairs."""
    train = objective.train
    columns, l2 = objective.negative_columns(), objective.l2_users(train.user_degrees)
    return side_of(objective, train.matrix, *objective.train_positives, columns, l2)


def sides_of(objective: Objective, sweeper: HalfSweeper = NUMBA) -> tuple[Side, Side]:
    """Return the users' and the items' side of an objective over its train pairs; `sweeper` computes their half-sweeps."""
    train, config, users = objective.train, objective.config, users_of(objective)
    by_item = users.matrix(users.positive).T.tocsr()
    excluded = users.matrix(users.excluded).T.tocsr().data if len(users.excluded) else NOTHING
    items = Side(
        by_item.indptr.astype(np.int64), by_item.indices.astype(np.int32, copy=False), by_item.data, excluded,
        np.ascontiguousarray(users.column_weight.T), np.ascontiguousarray(users.row_weight.T), objective.l2_items(),
        *_tile_sizes(train.num_items, config), sweeper,
    )  # fmt: skip
    return replace(users, sweeper=sweeper), items


def shares_of(users: Side, items: Side, processes: Processes) -> tuple[Share, Share]:
    """Return which rows of the users and of the items a process works on: in every shard rows cost about the same."""
    number = num_shards(len(users.l2), len(items.l2))
    user, item = (Share(cut(np.diff(side.indptr) + _ROW_COST, number), processes) for side in (users, items))
    return user, item


def orders_of(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of users and of items in an order in which similar ones are near each other, so that shards hold such: int64.

    Where there is one shard, they stay as they are.
    """
    if num_shards(len(x), len(y)) == 1:
        return np.arange(len(x)), np.arange(len(y))
    return _similar_together(x, _BLOCK_ROWS), _similar_together(y, _BLOCK_ROWS)


def summed(share: Share, function: Callable[[slice], np.ndarray]) -> np.ndarray:
    """Return the sum of `function` over all shards: float32, added in float64."""
    return share.sum(function).astype(np.float32)


def _even(share: Share, part: slice, block: int) -> int:
    """Return the rows of a block in a shard: at most `block`. Where there are several shards, the last block of each is nearly as large."""
    rows = part.stop - part.start
    return block if len(share.bounds) == 2 else -(-rows // max(1, -(-rows // block)))


def _pieces(part: slice, length: int) -> np.ndarray:
    """Return where pieces of `length` rows of a shard begin."""
    return np.arange(part.start, part.stop, max(1, length))


def _joined(pieces: list[np.ndarray], num_rows: int) -> np.ndarray:
    """Return where the pieces of all shards begin, and where the last one ends."""
    return np.concatenate([*pieces, [num_rows]]).astype(np.int64)


@dataclass(frozen=True)
class Pending:
    """A half-sweep whose outcome is not measured yet: what each of the R rows was worth, and what its model promised."""

    embedding: np.ndarray  # (R, D) before the step
    loss: np.ndarray  # (R,) before the step, L2 included
    sparse_loss: np.ndarray  # (R,) sparse part after the step
    predicted: np.ndarray  # (R,) promised decrease


@dataclass(frozen=True)
class Half:
    """What a half-sweep gave, and the loss at the point where it measured it."""

    x_new: np.ndarray
    pending: Pending
    other_negative: np.ndarray  # loss of the negatives by row of the other side
    loss: float  # without the L2 part of the other side


def half_sweep(side: Side, x: np.ndarray, y: np.ndarray, damping: np.ndarray) -> Half:
    """Step every row of `x` against the frozen `y`, and measure the loss before the step.

    Parameters
    ----------
    side : Side
    x, y : (all rows, D) and (columns, D) float32
    damping : (R,) float32
        Of the steps: larger ones are shorter.

    Returns
    -------
    Half
        Of the rows of this process; the loss is that of all rows.

    Raises
    ------
    NumericalError
        The loss or the step is not finite.
    """
    share, x = side.share, x[side.share.own]
    x_new, stats = np.empty_like(x), np.zeros((len(x), 4))
    starts, strips = side.starts
    column_loss = np.zeros((len(strips) - 1, len(y)), np.float32)
    first = np.zeros(len(starts) - 1, np.int64)
    order = np.concatenate([part.start + _similar_together(x[part], _even(share, part, side.block)) for part in share.parts])
    side.sweeper.half_sweep(
        x, y, side.problem(damping), Cells(y, transposed(side, y), side.column_weight),
        Blocks(order, side.block, side.tile, first, side.num_tiles, gram_share(side, y), starts, strips),
        System(side.prior(y), _NEWTON_STEPS), Swept(x_new, stats, column_loss),
    )  # fmt: skip
    loss = stats[:, 0] + stats[:, 1] + side.ridge(x)
    if not np.isfinite(loss).all():
        raise NumericalError(f"the loss is no longer a finite number; {_ADVICE}")
    # The strips of each shard: those whose first block begins in it.
    edges = np.searchsorted(starts[strips[:-1]], [part.start for part in share.parts] + [len(x)])
    other = share.processes.add(np.stack([column_loss[a:b].sum(axis=0, dtype=np.float64) for a, b in pairwise(edges)]))
    return Half(checked(x_new), Pending(x, loss, stats[:, 2], stats[:, 3]), other, float(share.sum_rows(loss)))


@dataclass(frozen=True)
class ClusteredHalf:
    """What a half-sweep over clusters gave."""

    x_new: np.ndarray  # (R, D); a row whose loss would have become larger stays where it was
    damping: np.ndarray  # (R,) float32, for the next one
    loss: float  # after it, without the L2 part of the other side


def clustered_half_sweep(
    side: Side, x: np.ndarray, y: np.ndarray, damping: np.ndarray, clusters: Clusters, labels: np.ndarray | None = None
) -> ClusteredHalf:
    """Step every row of `x` against the frozen `y`, of which `clusters` stand for the negatives.

    The loss of a row before and after its step is measured with the same clusters. So a step that makes it larger is not taken, and the
    lengths of later steps follow from what this one was worth.

    Parameters
    ----------
    side : Side
    x, y : (all rows, D) and (columns, D) float32
    damping : (R,) float32
    clusters : Clusters
    labels : (all rows,) int32, optional
        Of similar rows, such as their own clusters: blocks are made of them, which is cheaper than to look for similar rows.

    Returns
    -------
    ClusteredHalf
        Of the rows of this process; the loss is that of all rows.

    Raises
    ------
    NumericalError
        The loss or the step is not finite.
    """
    share, every = side.share, x
    x = x[share.own]
    x_new, stats = np.empty_like(x), np.zeros((len(x), 5))
    block = int(np.clip(-(-share.total // 12), 16, _BLOCK_ROWS))
    together = int(np.clip(share.total // (block * _LEAST_GROUPS), 1, _MOST_TOGETHER))
    if labels is None:
        order = np.concatenate([part.start + _similar_together(x[part], block) for part in share.parts])
    else:
        place = _places_of_labels(every, labels, share.processes)[labels[share.own]]
        order = np.concatenate([part.start + np.argsort(place[part], kind="stable") for part in share.parts])
    starts = _joined([_pieces(part, block * together) for part in share.parts], len(x))
    side.sweeper.clustered_half_sweep(
        x, y, side.problem(damping), clusters, Groups(order, block, together, starts), System(side.prior(y), _CLUSTERED_STEPS),
        Clustered(x_new, stats),
    )  # fmt: skip
    before = stats[:, 0] + stats[:, 1] + side.ridge(x)
    after = stats[:, 2] + stats[:, 3] + side.ridge(x_new)
    if not np.isfinite(before).all():
        raise NumericalError(f"the loss is no longer a finite number; {_ADVICE}")
    checked(x_new)
    worse = after > before + 1e-6 * np.abs(before)
    x_new[worse] = x[worse]
    loss = float(share.sum_rows(np.where(worse, before, after)))
    return ClusteredHalf(x_new, next_damping(damping, before, after, stats[:, 4]), loss)


def next_damping(damping: np.ndarray, before: np.ndarray, after: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the damping that follows from what a step was worth to each row, and what it promised: (R,) float32."""
    gain = (before - after) / np.maximum(predicted, 1e-12 + 1e-7 * np.abs(before))
    damping = damping * np.where(gain < 0.25, 4.0, np.where(gain < 0.5, 2.0, np.where(gain > 0.95, 0.8, 1.0)))
    result: np.ndarray = np.clip(damping, _MIN_DAMPING, _MAX_DAMPING).astype(np.float32)
    return result


def transposed(side: Side, y: np.ndarray) -> np.ndarray:
    """Return the tiles of `y` (columns, D), each transposed, one after the other, (D columns,); or (0,) for so few rows as do not pay."""
    if side.share.total < _MANY_ROWS:
        return NOTHING
    dim = y.shape[1]
    whole = len(y) // side.tile * side.tile
    out = np.empty(y.size, np.float32)
    out[: whole * dim].reshape(-1, dim, side.tile)[:] = y[:whole].reshape(-1, side.tile, dim).transpose(0, 2, 1)
    out[whole * dim :].reshape(dim, -1)[:] = y[whole:].T
    return out


def gram_share(side: Side, y: np.ndarray) -> int:
    """Return the part of the columns whose Gram matrix stands for all: its product should cost an eighth of the other two at most."""
    rows = min(side.block, side.share.total)
    return int(np.clip(y.shape[1] * 4 // max(rows, 1), 1, max(1, len(y) // (8 * y.shape[1]))))


def _similar_together(x: np.ndarray, block: int) -> np.ndarray:
    """Return the rows in an order in which a block holds similar ones."""
    return np.concatenate(_halves(x, np.arange(len(x)), block))


def _places_of_labels(x: np.ndarray, labels: np.ndarray, processes: Processes) -> np.ndarray:
    """Return the place of each label in an order in which labels of similar rows come one after the other: (K,) int32."""
    number = int(labels.max(initial=-1)) + 1
    means = means_of_labels(x, np.ones(len(x), np.float32), labels, Share.even(number, processes))[0]
    place = np.empty(number, np.int32)
    place[_similar_together(means, _LABELS)] = np.arange(number)
    return place


def means_of_labels(x: np.ndarray, weight: np.ndarray, labels: np.ndarray, share: Share) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of the rows of each label, by their weight, and how many rows it has; each process makes those of its own labels.

    Parameters
    ----------
    x : (R, D) float32
    weight : (R,) float32
    labels : (R,) int32
    share : Share
        Of the K labels.

    Returns
    -------
    means : (K, D) float32
        Zeros where a label has no rows.
    sizes : (K,) int64
    """
    members = sp.csr_matrix((weight, (labels, np.arange(len(labels)))), (share.total, len(labels)))
    sizes = np.diff(members.indptr)
    own = members[share.own]
    total = np.asarray(own.sum(axis=1)).ravel()
    means = np.ascontiguousarray(own @ x / np.maximum(total, 1e-30)[:, None], np.float32)
    return share.gather(means), sizes


def _halves(x: np.ndarray, rows: np.ndarray, block: int) -> list[np.ndarray]:
    """Return `rows` in blocks: halved along the leading direction of their `x`, again and again."""
    if len(rows) <= block:
        return [rows]
    centred = x[rows] - x[rows].mean(axis=0)
    covariance = centred.T @ centred
    direction = covariance[np.argmax(np.diag(covariance))]
    for _ in range(_POWER_STEPS):
        direction = covariance @ (direction / max(float(np.linalg.norm(direction)), 1e-30))
    rows = rows[np.argsort(centred @ direction, kind="stable")]
    middle = -(-len(rows) // block) // 2 * block
    return _halves(x, rows[:middle], block) + _halves(x, rows[middle:], block)


def grams_of(weight: np.ndarray, y: np.ndarray, share: Share | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return sum_j weight[j, r] y_j y_j^T, (2, D, D), and sum_j weight[j, r] y_j, (2, D), made a shard each where there is a share."""

    def of_shard(shard: slice) -> np.ndarray:
        part, scale = y[shard], weight[shard]
        grams = [(part * scale[:, r : r + 1]).T @ part for r in range(2)]
        return np.stack([np.vstack([gram, row]) for gram, row in zip(grams, scale.T @ part, strict=True)])

    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found by `checked`
        both = summed(share or Share([0, len(y)]), of_shard)
    return np.ascontiguousarray(both[:, :-1]), np.ascontiguousarray(both[:, -1])


def parabola_of(row_weight: np.ndarray, positive: np.ndarray, column_weight: np.ndarray) -> tuple[float, float]:
    """Return linear and curvature of softplus(s) as the parabola linear s + curvature s^2 / 2 around the best constant score."""
    total = float((row_weight.sum(axis=0, dtype=np.float64) * column_weight.sum(axis=0, dtype=np.float64)).sum())
    # Quadratic negatives say nothing useful when that score is not well below zero.
    score = float(np.clip(np.log(max(float(positive.sum(dtype=np.float64)), 1e-30) / max(total, 1e-30)), -20.0, 0.0))
    share = 1 / (1 + np.exp(-score))
    curvature = _QUADRATIC_CURVATURE * share * (1 - share)
    return share - curvature * score, curvature


def quadratic_half_sweep(
    side: Side, x: np.ndarray, y: np.ndarray, grams: tuple[np.ndarray, np.ndarray], linear: float, curvature: float
) -> np.ndarray:
    """Step every row of `x` of the loss whose negatives are the parabola of `parabola_of`; `grams` from `grams_of`: (R, D) float32.

    `x` has all rows; what is returned are the rows of this process.
    """
    x = x[side.share.own]
    x_new = np.empty_like(x)
    side.sweeper.quadratic_half_sweep(
        x, y, side.problem(NOTHING), Parabola(*grams, np.float32(linear), np.float32(curvature)), System(side.prior(y), _NEWTON_STEPS),
        side.strips, x_new, side.means,
    )  # fmt: skip
    return checked(x_new)


def checked(x: np.ndarray) -> np.ndarray:
    """Return `x`; raise `NumericalError` if it is not finite."""
    if not np.isfinite(x).all():
        raise NumericalError(f"the embeddings overflow float32; {_ADVICE}")
    return x
