"""The exact solver: alternating Newton-like sweeps over the expected loss (`objective.py`), nothing sampled.

Given the items, every user's row is a strictly convex problem in D numbers, and the other way round. A half-sweep takes one
Newton-like step of every row of one side. The pass over the cells that the next half-sweep needs anyway measures, row by row, what
the step was worth: that steers the length of later steps (`damping`), and takes back steps that made the loss larger. So the loss
never increases, at no cost while all goes well.

The start matters: from random embeddings the first sweeps learn popularity alone. With quadratic negatives (`quadratic` start), a
sweep needs no pass over the cells and leaves that plateau in seconds. docs/exact-solver.md has the derivation and the figures.

Letters: U users, I items, D dimensions, N non-zeros of P, R rows of a side.
"""

import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import scipy.sparse as sp

from ultragcn import rng
from ultragcn.config import Config
from ultragcn.errors import NumericalError, UsageError
from ultragcn.kernels import numba_cpu
from ultragcn.objective import Objective
from ultragcn.solvers import State, Step

_MAX_STRIPS = 64  # bounds the parallelism; fixed, so that results do not depend on the number of threads
_BLOCK_ROWS = 256  # rows that share one curvature matrix: more would be cheaper, fewer more exact
_MIN_DAMPING, _MAX_DAMPING = 0.3, 1e6
_START_STD = 0.1
_LEADING_STD = 0.03  # smaller, since these directions need not grow first
_START_CURVATURE = 8.0  # of the start's quadratic negatives, relative to that of the best constant score
_START_LEAST_L2 = 1e-3  # without any, directions that P does not have would be free
_SUBSPACE_STEPS = 2  # towards the leading directions of P
_NEWTON_STEPS = 4  # of conjugate gradients for a row's Newton step; more do not lower the loss faster
_USUAL_BOUND = 0.2  # the curvature of a positive pair, a quarter at most, for the preconditioner
_SAMPLED_STEPS, _SAMPLED_SHARE = 6, 0.2  # of a fold-in: steps at first, and the part of the cells that each looks at
_SAMPLED_TILES = 20  # of a fold-in, at least: a part of few tiles would be too much or too little
_POWER_STEPS = 10  # towards the leading direction of a group of rows
_MEMORY = 6  # earlier steps that Anderson's rule mixes
_NOTHING = np.empty(0, np.float32)
_ADVICE = "lower negative_weight, item_item_weight or w1..w4, or raise the L2 strength"


def choose_device(device: str) -> str:
    """Return "cpu", the one device this solver computes on."""
    if device == "cuda":
        raise UsageError("solver exact computes on the CPU, not on cuda; use --device cpu or auto, or --solver sgd")
    return "cpu"


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

    @property
    def num_blocks(self) -> int:
        """Blocks of rows."""
        return -(-len(self.l2) // self.block)

    @property
    def num_tiles(self) -> int:
        """Tiles of columns."""
        return -(-self.column_weight.shape[1] // self.tile)

    @property
    def strips(self) -> int:
        """Pieces of work for the threads, all of as many blocks but the last: threads get as many pieces each."""
        blocks = max(1, self.num_blocks)
        return -(-blocks // -(-blocks // _MAX_STRIPS))

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

    def prior(self, y: np.ndarray) -> np.ndarray:
        """Return about the curvature that the positives of a mean row have, for a total of 1: (D, D) float32."""
        used, share = self._column_share
        part = y if len(used) == len(y) else y[used]
        with np.errstate(over="ignore", invalid="ignore"):
            return (part * (_USUAL_BOUND * share[:, None])).T @ part

    @cached_property
    def _column_share(self) -> tuple[np.ndarray, np.ndarray]:
        """Columns with any P, and their share of its sum."""
        total = self._sums(0)
        used = np.flatnonzero(total)
        with np.errstate(over="ignore", invalid="ignore"):
            return used, total[used] / max(float(total.sum()), 1e-30)

    def _sums(self, axis: int) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found by `_checked`
            return np.asarray(self.matrix(self.positive).sum(axis=axis), np.float32).ravel()

    def ridge(self, x: np.ndarray) -> np.ndarray:
        """Return l2 / 2 ||x||^2 by row: (R,) float64."""
        return 0.5 * self.l2 * np.einsum("rd,rd->r", x, x, dtype=np.float64)

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


@dataclass(frozen=True)
class _Pending:
    """A half-sweep whose outcome is not measured yet: what each of the R rows was worth, and what its model promised."""

    embedding: np.ndarray  # (R, D) before the step
    loss: np.ndarray  # (R,) before the step, L2 included
    sparse_loss: np.ndarray  # (R,) sparse part after the step
    predicted: np.ndarray  # (R,) promised decrease


@dataclass(frozen=True)
class _Half:
    """What a half-sweep gave, and the loss at the point where it measured it."""

    x_new: np.ndarray
    pending: _Pending
    other_negative: np.ndarray  # loss of the negatives by row of the other side
    loss: float  # without the L2 part of the other side


def solve(objective: Objective, seed: int, device: str, state: State | None = None) -> Iterator[Step]:
    """Yield a `Step` after each sweep, for ever; its loss is the expected loss, measured after the users' half of the sweep.

    What a sweep draws depends on the seed and its number alone, so a `state` holds no random state.

    Raises
    ------
    NumericalError
        The weights are so large that float32 overflows; the message says what to change.
    UsageError
        `device` is cuda.
    """
    choose_device(device)
    config = objective.config
    pending: _Pending | None = None
    sweep = 0
    if state is None:
        with numba_cpu.numba_threads():
            x, y = deque(start_sweeps(objective, seed), maxlen=1).pop()
        user_damping, item_damping = np.ones(len(x), np.float32), np.ones(len(y), np.float32)
    else:
        sweep, pending = int(state["sweep"][0]), _pending_of(state)
        x, y, user_damping, item_damping = (state[name] for name in ("x", "y", "user_damping", "item_damping"))
    users, items = _sides(objective)
    while True:
        sweep += 1
        with numba_cpu.numba_threads():
            if sweep <= config.sampled_sweeps:
                random = rng.stream(seed, f"sweep {sweep}")
                half = _half_sweep(users, x, y, user_damping, config.cell_share, random)
                loss = half.loss + items.ridge(y).sum()
                x = half.x_new
                y = _half_sweep(items, y, x, item_damping, config.cell_share, random).x_new
            else:
                half = _half_sweep(users, x, y, user_damping)
                if pending is not None:
                    item_damping, worse, increased = _measure(items, y, half.other_negative, pending, item_damping)
                    if increased:  # given the other side rows are independent: without the bad steps the loss cannot be larger
                        y = np.where(worse[:, None], pending.embedding, y)
                        half = _half_sweep(users, x, y, user_damping)
                x, user_pending = half.x_new, half.pending
                half = _half_sweep(items, y, x, item_damping)
                user_damping, worse, increased = _measure(users, x, half.other_negative, user_pending, user_damping)
                if increased:
                    x = np.where(worse[:, None], user_pending.embedding, x)
                    half = _half_sweep(items, y, x, item_damping)
                loss = half.loss + users.ridge(x).sum()
                y, pending = half.x_new, half.pending
        yield Step(sweep, float(loss), x, y, partial(_state, sweep, x, y, user_damping, item_damping, pending))


def _state(sweep: int, x: np.ndarray, y: np.ndarray, user_damping: np.ndarray, item_damping: np.ndarray,
           pending: _Pending | None) -> State:  # fmt: skip
    """Return what a sweep leaves to the next one."""
    state = {"sweep": np.array([sweep]), "x": x, "y": y, "user_damping": user_damping, "item_damping": item_damping}
    return state | ({f"pending.{name}": array for name, array in vars(pending).items()} if pending is not None else {})


def carry_over(state: State) -> State:
    """Return the state from which to go on with another objective: what the last half-sweep promised of the old one counts no more."""
    return {name: array for name, array in state.items() if not name.startswith("pending.")}


def _pending_of(state: State) -> _Pending | None:
    arrays = {name.removeprefix("pending."): array for name, array in state.items() if name.startswith("pending.")}
    return _Pending(**arrays) if arrays else None


def expected_loss(objective: Objective, user_embedding: np.ndarray, item_embedding: np.ndarray) -> float:
    """Return the expected loss of an epoch at given embeddings, L2 included: a quarter of the work of a sweep.

    Parameters
    ----------
    objective : Objective
    user_embedding, item_embedding : (U, D) and (I, D) float32
    """
    users, _ = _sides(objective)
    negative, column_loss = np.empty(len(user_embedding)), np.zeros((users.strips, len(item_embedding)), np.float32)
    sparse = np.empty(len(user_embedding))
    with numba_cpu.numba_threads():
        numba_cpu.negative_loss(
            user_embedding, item_embedding, users.row_weight, users.column_weight, users.block, users.tile, negative, column_loss
        )
        numba_cpu.row_losses(user_embedding, item_embedding, users.indptr, users.indices, users.positive, users.excluded, sparse)
    return float(negative.sum() + sparse.sum() + objective.l2_loss(user_embedding, item_embedding))


class FrozenItems:
    """Items held still: what every new user's row problem has in common.

    Parameters
    ----------
    objective : Objective
        Of the train data; gives the items' degrees and neighbours.
    item_embedding : (I, D) float32
    """

    def __init__(self, objective: Objective, item_embedding: np.ndarray):
        self.objective = objective
        self.embedding = np.ascontiguousarray(item_embedding, np.float32)
        self.weight = objective.negative_factors()[1]
        self.grams = _grams(self.weight, self.embedding)
        self.shuffled = _shuffled(self.embedding, np.ascontiguousarray(self.weight.T), np.random.default_rng(0))


def fold_in(items: FrozenItems, matrix: sp.csr_matrix, max_steps: int = 40, tolerance: float = 2e-2) -> np.ndarray:
    """Return the embeddings of users that training has not seen: their rows' problem, items frozen, solved to convergence.

    A step on quadratic negatives, a few on another part of the cells each, then full ones, mixed by Anderson's rule, in which only
    rows that still move take part.

    Parameters
    ----------
    items : FrozenItems
    matrix : csr_matrix, U x I
        What the users have.
    max_steps : int
    tolerance : float
        A row is done when a step moves it by less than this share of its length.

    Returns
    -------
    (U, D) float32
    """
    objective, y = items.objective, items.embedding
    degrees = np.diff(matrix.indptr)
    side = _side(objective, matrix, *objective.positives(matrix), items.weight, objective.l2_users(degrees))
    side = replace(side, tile=min(side.tile, max(16, len(y) // _SAMPLED_TILES // 16 * 16)))
    result = np.zeros((len(degrees), y.shape[1]), np.float32)
    random = np.random.default_rng(0)
    with numba_cpu.numba_threads():
        parabola = _parabola(side.row_weight, side.positive, items.weight)
        result = _quadratic_half_sweep(side, result, y, items.grams, *parabola)
        for _ in range(_SAMPLED_STEPS):
            result = _half_sweep(side, result, y, np.ones(len(result), np.float32), _SAMPLED_SHARE, random, items.shuffled).x_new
        active, x = np.arange(len(result)), result.copy()
        best_x, best_move, best_loss = x, np.zeros_like(x), np.full(len(x), np.inf)
        past: list[tuple[np.ndarray, np.ndarray]] = []
        for _ in range(max_steps):
            half = _half_sweep(side.rows(active), x, y, np.ones(len(x), np.float32))
            move, loss = half.x_new - x, half.pending.loss
            # Measured losses have an error of about 1e-6.
            worse = (loss > best_loss + 1e-5 * np.abs(best_loss))[:, None]
            x_new = np.where(worse, best_x + 0.5 * best_move, _accelerated(x, move, past))
            best_move = np.where(worse, 0.5 * best_move, move)
            best_x, best_loss = np.where(worse, best_x, x), np.where(worse[:, 0], best_loss, loss)
            past = [*past[-_MEMORY:], (x, move)]
            result[active] = best_x + best_move
            moving = worse[:, 0] | (np.linalg.norm(move, axis=1) > tolerance * (np.linalg.norm(x, axis=1) + 1e-12))
            if not moving.any():
                break
            active, x = active[moving], np.ascontiguousarray(x_new[moving])
            best_x, best_move, best_loss = best_x[moving], best_move[moving], best_loss[moving]
            past = [(there[moving], moved[moving]) for there, moved in past]
    return result


def compile_kernels(config: Config) -> float:
    """Compile the solver's kernels, or load them from the cache on disk, by running them on a tiny input; return the seconds."""
    started = time.perf_counter()
    x = np.ones((1, 1), np.float32)
    row = np.ones((1, 2), np.float32)
    side = Side(np.array([0, 1], np.int64), np.zeros(1, np.int32), x[0], _NOTHING, row, np.ones((2, 1), np.float32), x[0], 1, 1)
    numba_cpu.positive_rows(side.indptr, side.indices, x[0], np.zeros((1, 1), np.int32), x, np.float32(0.5))
    with numba_cpu.numba_threads():
        _half_sweep(side, x, x, x[0])
        _quadratic_half_sweep(side, x, x, _grams(row, x), 0.5, 0.25)
    return time.perf_counter() - started


def _tile_sizes(num_rows: int, megabytes: float) -> tuple[int, int]:
    """Return rows of a block and columns of a tile: long blocks amortise the Gram matrix, but a small side needs some to share out."""
    block = int(np.clip(-(-num_rows // 12), 16, _BLOCK_ROWS))
    tile = int((megabytes or _half_cache()) * 2**20 / 4 / block) // 16 * 16
    return block, int(np.clip(tile, 64, 4096))


def _half_cache() -> float:
    """Return half of a core's second-level cache in MB; 0.5 where the system does not say."""
    try:
        size = os.sysconf("SC_LEVEL2_CACHE_SIZE")
    except (AttributeError, ValueError, OSError):
        size = 0
    return float(np.clip(size / 2 / 2**20, 0.25, 2.0)) if size > 0 else 0.5


def _side(
    objective: Objective, matrix: sp.csr_matrix, positives: sp.csr_matrix, places: np.ndarray, column_weight: np.ndarray, l2: np.ndarray
) -> Side:
    """Return the users' side for users given by their items, by P and by where their items stand in it."""
    row_weight = objective.negative_rows(np.diff(matrix.indptr))
    excluded = _NOTHING
    if objective.config.exclude_positives:
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        excluded = np.zeros(positives.nnz, np.float32)
        excluded[places] = np.einsum("nr,nr->n", row_weight[rows], column_weight[matrix.indices])
    return Side(
        positives.indptr.astype(np.int64), positives.indices, positives.data, excluded, row_weight,
        np.ascontiguousarray(column_weight.T), l2, *_tile_sizes(matrix.shape[0], objective.config.tile_megabytes),
    )  # fmt: skip


def _sides(objective: Objective) -> tuple[Side, Side]:
    train, config = objective.train, objective.config
    _, column_weight = objective.negative_factors()
    users = _side(objective, train.matrix, *objective.train_positives, column_weight, objective.l2_users(train.user_degrees))
    by_item = users.matrix(users.positive).T.tocsr()
    excluded = users.matrix(users.excluded).T.tocsr().data if len(users.excluded) else _NOTHING
    items = Side(
        by_item.indptr.astype(np.int64), by_item.indices.astype(np.int32, copy=False), by_item.data, excluded, column_weight,
        np.ascontiguousarray(users.row_weight.T), objective.l2_items(), *_tile_sizes(train.num_items, config.tile_megabytes),
    )  # fmt: skip
    return users, items


def start_sweeps(objective: Objective, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield embeddings to begin with: random ones, or leading directions of P after each of a few sweeps with quadratic negatives.

    Of P only what the train pairs have for themselves: a tenth of the work, a start as good, and no neighbours to wait for.
    """
    config, random = objective.config, rng.stream(seed, "init")
    shapes = ((objective.train.num_users, config.embedding_dim), (objective.train.num_items, config.embedding_dim))
    x, y = (random.standard_normal(shape, dtype=np.float32) for shape in shapes)
    if config.start == "random":
        yield x * np.float32(_START_STD), y * np.float32(_START_STD)
        return
    own = Objective(objective.train, config.replace(item_item_weight=0.0, exclude_positives=False))
    users, items = (
        replace(side, l2=np.maximum(side.l2 * np.float32(config.start_l2), np.float32(_START_LEAST_L2))) for side in _sides(own)
    )
    y = _leading_directions(users.matrix(users.positive), y)
    x[:] = 0.0
    parabola = _parabola(users.row_weight, users.positive, items.row_weight)
    for _ in range(config.start_sweeps):
        x = _quadratic_half_sweep(users, x, y, _grams(items.row_weight, y), *parabola)
        y = _quadratic_half_sweep(items, y, x, _grams(users.row_weight, x), *parabola)
        yield x, y


def _leading_directions(matrix: sp.csr_matrix, y: np.ndarray) -> np.ndarray:
    """Turn `y` (I, D) towards the leading right singular vectors of `matrix` (U, I), at `_LEADING_STD`: subspace iteration."""
    matrix = matrix * np.float32(1 / max(float(matrix.data.max(initial=0)), 1e-30))  # directions alone count; squares must not overflow
    transposed = matrix.T.tocsr()
    for _ in range(_SUBSPACE_STEPS):
        y = _checked(transposed @ (matrix @ y))
        length, rotation = np.linalg.eigh((y.T @ y).astype(np.float64))
        # Directions that the matrix does not have keep what rounding left of them: at zero they could never grow.
        length = np.sqrt(np.maximum(length, 1e-6 * length[-1] + 1e-30))
        y = y @ (rotation / length).astype(np.float32)
    return y * np.float32(_LEADING_STD * np.sqrt(len(y)))


def _grams(weight: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sum_j weight[j, r] y_j y_j^T, (2, D, D), and sum_j weight[j, r] y_j, (2, D)."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found by `_checked`
        return np.stack([(y * weight[:, r : r + 1]).T @ y for r in range(2)]), weight.T @ y


def _parabola(row_weight: np.ndarray, positive: np.ndarray, column_weight: np.ndarray) -> tuple[float, float]:
    """Return linear and curvature of softplus(s) as the parabola linear s + curvature s^2 / 2 around the best constant score."""
    total = float((row_weight.sum(axis=0, dtype=np.float64) * column_weight.sum(axis=0, dtype=np.float64)).sum())
    # Quadratic negatives say nothing useful when that score is not well below zero.
    score = float(np.clip(np.log(max(float(positive.sum(dtype=np.float64)), 1e-30) / max(total, 1e-30)), -20.0, 0.0))
    share = 1 / (1 + np.exp(-score))
    curvature = _START_CURVATURE * share * (1 - share)
    return share - curvature * score, curvature


def _quadratic_half_sweep(
    side: Side, x: np.ndarray, y: np.ndarray, grams: tuple[np.ndarray, np.ndarray], linear: float, curvature: float
) -> np.ndarray:
    x_new = np.empty_like(x)
    numba_cpu.quadratic_half_sweep(
        x, y, side.row_weight, *grams, side.indptr, side.indices, side.positive, side.l2, side.total, side.prior(y),
        _NEWTON_STEPS, np.float32(linear), np.float32(curvature), side.strips, x_new,
    )  # fmt: skip
    return _checked(x_new)


def _half_sweep(
    side: Side,
    x: np.ndarray,
    y: np.ndarray,
    damping: np.ndarray,
    share: float = 1.0,
    random: np.random.Generator | None = None,
    shuffled: tuple[np.ndarray, np.ndarray] | None = None,
) -> _Half:
    """Step every row of `x`; with a `share` below 1, each block of rows looks at as many tiles of `shuffled` columns only."""
    x_new, stats = np.empty_like(x), np.zeros((len(x), 4))
    column_loss = np.zeros((side.strips, len(y)), np.float32)
    num_visited = max(1, round(share * side.num_tiles))
    cells_y, column_weight, first = y, side.column_weight, np.zeros(side.num_blocks, np.int64)
    if num_visited < side.num_tiles and random is not None:
        cells_y, column_weight = shuffled or _shuffled(y, column_weight, random)
        first = random.integers(0, side.num_tiles, side.num_blocks)
    numba_cpu.half_sweep(
        x, y, cells_y, side.row_weight, column_weight, side.indptr, side.indices, side.positive, side.excluded, side.l2, damping,
        side.total, side.prior(y), _NEWTON_STEPS, _similar_together(x, side.block), side.block, side.tile, first, num_visited,
        _gram_share(side, y), x_new, stats, column_loss,
    )  # fmt: skip
    negative = stats[:, 0] * (side.num_tiles / num_visited)
    loss = negative + stats[:, 1] + side.ridge(x)
    if not np.isfinite(loss).all():
        raise NumericalError(f"the loss is no longer a finite number; {_ADVICE}")
    return _Half(_checked(x_new), _Pending(x, loss, stats[:, 2], stats[:, 3]), column_loss.sum(axis=0, dtype=np.float64), float(loss.sum()))


def _shuffled(y: np.ndarray, column_weight: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return columns, (I, D), and their weights, (2, I), in a random order, in which every tile is a fair sample of them."""
    order = random.permutation(len(y))
    return y[order], np.ascontiguousarray(column_weight[:, order])


def _accelerated(x: np.ndarray, move: np.ndarray, past: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the next point of each row by Anderson's rule: the step of the mixture of past points whose move is the smallest.

    Parameters
    ----------
    x, move : (R, D) float32
        Where the rows are, and where a plain step would take them.
    past : list of (x, move)
        Earlier ones.

    Returns
    -------
    (R, D) float32
    """
    if not past:
        return x + move
    moves = np.stack([move - moved for _, moved in past], axis=1)  # (R, M, D)
    points = np.stack([x - there for there, _ in past], axis=1)
    gram = np.einsum("rmd,rnd->rmn", moves, moves, dtype=np.float64)
    size = np.trace(gram, axis1=1, axis2=2)[:, None, None]
    gram += np.eye(len(past)) * (1e-6 * size + 1e-30)
    share = np.linalg.solve(gram, np.einsum("rmd,rd->rm", moves, move, dtype=np.float64)[..., None])[..., 0]
    return np.asarray(x + move - np.einsum("rm,rmd->rd", share, points + moves), np.float32)


def _gram_share(side: Side, y: np.ndarray) -> int:
    """Return the part of the columns whose Gram matrix stands for all: its product should cost an eighth of the other two at most."""
    rows = min(side.block, len(side.l2))
    return int(np.clip(y.shape[1] * 4 // max(rows, 1), 1, max(1, len(y) // (8 * y.shape[1]))))


def _checked(x: np.ndarray) -> np.ndarray:
    if not np.isfinite(x).all():
        raise NumericalError(f"the embeddings overflow float32; {_ADVICE}")
    return x


def _measure(
    side: Side, x: np.ndarray, negative: np.ndarray, pending: _Pending, damping: np.ndarray
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Compare what the last step of `x` promised with what it brought: the new damping, which rows got worse, whether all did."""
    loss = negative + pending.sparse_loss + side.ridge(x)
    gain = (pending.loss - loss) / np.maximum(pending.predicted, 1e-12 + 1e-7 * np.abs(pending.loss))
    damping = damping * np.where(gain < 0.25, 4.0, np.where(gain < 0.5, 2.0, np.where(gain > 0.95, 0.8, 1.0)))
    increased = bool(loss.sum() > pending.loss.sum() * (1 + 1e-6) + 1e-6)
    return np.clip(damping, _MIN_DAMPING, _MAX_DAMPING).astype(np.float32), loss > pending.loss, increased


def _similar_together(x: np.ndarray, block: int) -> np.ndarray:
    """Return the rows in an order in which a block holds similar ones."""
    return np.concatenate(_halves(x, np.arange(len(x)), block))


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
