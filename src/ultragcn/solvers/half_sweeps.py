"""Half-sweeps of the exact solver: the loss seen from one side, and one Newton-like step of every row of that side.

Given the items, every user's row is a strictly convex problem in D numbers, and the other way round. `half_sweep` visits the cells;
`quadratic_half_sweep` has quadratic negatives, which need two Gram matrices alone. The loops are kernels
(`kernels/numba_cpu/sweeps.py`), behind `HalfSweeper`; here is what they are given, and what is made of what they measure.

Letters: U users, I items, D dimensions, N non-zeros of P, R rows of a side.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import scipy.sparse as sp

from ultragcn import kernels
from ultragcn.config import Config
from ultragcn.errors import NumericalError
from ultragcn.kernels.arguments import Blocks, Cells, Clustered, Clusters, Groups, Parabola, Rows, Swept, System
from ultragcn.loss.objective import Objective

MAX_STRIPS = 64  # bounds the parallelism; fixed, so that results do not depend on the number of threads
_BLOCK_ROWS = 256  # rows that share one curvature matrix: more would be cheaper, fewer more exact
_LEAST_GROUPS, _MOST_TOGETHER = 24, 8  # pieces of work of a half-sweep over clusters; blocks in one of them
_MIN_DAMPING, _MAX_DAMPING = 0.3, 1e6
_LABELS = 4  # labels among which no order is looked for
_MANY_ROWS = 256  # for which it is worth while to transpose the columns
_NEWTON_STEPS = 4  # of conjugate gradients for a row's Newton step; more do not lower the loss faster
_CLUSTERED_STEPS = 2  # the same over clusters, where the positives are most of the work
_USUAL_BOUND = 0.2  # the curvature of a positive pair, a quarter at most, for the preconditioner
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
        self, x: np.ndarray, y: np.ndarray, rows: Rows, negatives: Parabola, system: System, strips: int, x_new: np.ndarray
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
        self, x: np.ndarray, y: np.ndarray, rows: Rows, negatives: Parabola, system: System, strips: int, x_new: np.ndarray
    ) -> None:
        """Take one step of every row, with quadratic negatives; see `kernels.quadratic_half_sweep`."""
        kernels.quadratic_half_sweep(x, y, rows, negatives, system, strips, x_new)


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

    @property
    def num_blocks(self) -> int:
        """Blocks of rows."""
        return -(-len(self.l2) // self.block)

    @property
    def num_tiles(self) -> int:
        """Tiles of columns."""
        result: int = -(-self.column_weight.shape[1] // self.tile)
        return result

    @property
    def strips(self) -> int:
        """Pieces of work for the threads, all of as many blocks but the last: threads get as many pieces each."""
        blocks = max(1, self.num_blocks)
        return -(-blocks // -(-blocks // MAX_STRIPS))

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

    def prior(self, y: np.ndarray) -> np.ndarray:
        """Return about the curvature that the positives of a mean row have, for a total of 1: (D, D) float32."""
        used, share = self._column_share
        part = y if len(used) == len(y) else y[used]
        with np.errstate(over="ignore", invalid="ignore"):
            result: np.ndarray = (part * (_USUAL_BOUND * share[:, None])).T @ part
            return result

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
        lengths = np.diff(self.indptr)[chosen]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(self.indptr.dtype)
        entries = np.arange(indptr[-1]) + np.repeat(self.indptr[chosen] - indptr[:-1], lengths)
        return replace(
            self, indptr=indptr, indices=self.indices[entries], positive=self.positive[entries],
            excluded=self.excluded[entries] if len(self.excluded) else self.excluded, row_weight=self.row_weight[chosen],
            l2=self.l2[chosen],
        )  # fmt: skip

    def with_l2(self, l2: np.ndarray) -> "Side":
        """Return the side with other L2 strengths (R,); what is known of P stays."""
        other = replace(self, l2=l2)
        vars(other).update({name: value for name, value in vars(self).items() if name in ("total", "mean_weight", "_column_share")})
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
    x, y : (R, D) and (columns, D) float32
    damping : (R,) float32
        Of the steps: larger ones are shorter.

    Raises
    ------
    NumericalError
        The loss or the step is not finite.
    """
    x_new, stats = np.empty_like(x), np.zeros((len(x), 4))
    column_loss = np.zeros((side.strips, len(y)), np.float32)
    first = np.zeros(side.num_blocks, np.int64)
    side.sweeper.half_sweep(
        x, y, side.problem(damping), Cells(y, transposed(side, y), side.column_weight),
        Blocks(_similar_together(x, side.block), side.block, side.tile, first, side.num_tiles, gram_share(side, y)),
        System(side.prior(y), _NEWTON_STEPS), Swept(x_new, stats, column_loss),
    )  # fmt: skip
    loss = stats[:, 0] + stats[:, 1] + side.ridge(x)
    if not np.isfinite(loss).all():
        raise NumericalError(f"the loss is no longer a finite number; {_ADVICE}")
    return Half(checked(x_new), Pending(x, loss, stats[:, 2], stats[:, 3]), column_loss.sum(axis=0, dtype=np.float64), float(loss.sum()))


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
    x, y : (R, D) and (columns, D) float32
    damping : (R,) float32
    clusters : Clusters
    labels : (R,) int32, optional
        Of similar rows, such as their own clusters: blocks are made of them, which is cheaper than to look for similar rows.

    Raises
    ------
    NumericalError
        The loss or the step is not finite.
    """
    x_new, stats = np.empty_like(x), np.zeros((len(x), 5))
    block = int(np.clip(-(-len(x) // 12), 16, _BLOCK_ROWS))
    together = int(np.clip(len(x) // (block * _LEAST_GROUPS), 1, _MOST_TOGETHER))
    order = _similar_together(x, block) if labels is None else _by_label(x, labels)
    side.sweeper.clustered_half_sweep(
        x, y, side.problem(damping), clusters, Groups(order, block, together), System(side.prior(y), _CLUSTERED_STEPS),
        Clustered(x_new, stats),
    )  # fmt: skip
    before = stats[:, 0] + stats[:, 1] + side.ridge(x)
    after = stats[:, 2] + stats[:, 3] + side.ridge(x_new)
    if not np.isfinite(before).all():
        raise NumericalError(f"the loss is no longer a finite number; {_ADVICE}")
    checked(x_new)
    worse = after > before + 1e-6 * np.abs(before)
    x_new[worse] = x[worse]
    return ClusteredHalf(x_new, next_damping(damping, before, after, stats[:, 4]), float(np.where(worse, before, after).sum()))


def next_damping(damping: np.ndarray, before: np.ndarray, after: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the damping that follows from what a step was worth to each row, and what it promised: (R,) float32."""
    gain = (before - after) / np.maximum(predicted, 1e-12 + 1e-7 * np.abs(before))
    damping = damping * np.where(gain < 0.25, 4.0, np.where(gain < 0.5, 2.0, np.where(gain > 0.95, 0.8, 1.0)))
    result: np.ndarray = np.clip(damping, _MIN_DAMPING, _MAX_DAMPING).astype(np.float32)
    return result


def transposed(side: Side, y: np.ndarray) -> np.ndarray:
    """Return the tiles of `y` (columns, D), each transposed, one after the other, (D columns,); or (0,) for so few rows as do not pay."""
    if len(side.l2) < _MANY_ROWS:
        return NOTHING
    dim = y.shape[1]
    whole = len(y) // side.tile * side.tile
    out = np.empty(y.size, np.float32)
    out[: whole * dim].reshape(-1, dim, side.tile)[:] = y[:whole].reshape(-1, side.tile, dim).transpose(0, 2, 1)
    out[whole * dim :].reshape(dim, -1)[:] = y[whole:].T
    return out


def gram_share(side: Side, y: np.ndarray) -> int:
    """Return the part of the columns whose Gram matrix stands for all: its product should cost an eighth of the other two at most."""
    rows = min(side.block, len(side.l2))
    return int(np.clip(y.shape[1] * 4 // max(rows, 1), 1, max(1, len(y) // (8 * y.shape[1]))))


def _similar_together(x: np.ndarray, block: int) -> np.ndarray:
    """Return the rows in an order in which a block holds similar ones."""
    return np.concatenate(_halves(x, np.arange(len(x)), block))


def _by_label(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the rows label by label, labels of similar rows one after the other."""
    sizes = np.bincount(labels)
    members = sp.csr_matrix((np.ones(len(x), np.float32), (labels, np.arange(len(x)))), (len(sizes), len(x)))
    order = _similar_together(members @ x / np.maximum(sizes, 1).astype(np.float32)[:, None], _LABELS)
    rank = np.empty(len(sizes), np.int32)
    rank[order] = np.arange(len(sizes))
    return np.argsort(rank[labels], kind="stable")


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


def grams_of(weight: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sum_j weight[j, r] y_j y_j^T, (2, D, D), and sum_j weight[j, r] y_j, (2, D)."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found by `checked`
        return np.stack([(y * weight[:, r : r + 1]).T @ y for r in range(2)]), weight.T @ y


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
    """Step every row of `x` of the loss whose negatives are the parabola of `parabola_of`; `grams` from `grams_of`: (R, D) float32."""
    x_new = np.empty_like(x)
    side.sweeper.quadratic_half_sweep(
        x, y, side.problem(NOTHING), Parabola(*grams, np.float32(linear), np.float32(curvature)), System(side.prior(y), _NEWTON_STEPS),
        side.strips, x_new,
    )  # fmt: skip
    return checked(x_new)


def checked(x: np.ndarray) -> np.ndarray:
    """Return `x`; raise `NumericalError` if it is not finite."""
    if not np.isfinite(x).all():
        raise NumericalError(f"the embeddings overflow float32; {_ADVICE}")
    return x
