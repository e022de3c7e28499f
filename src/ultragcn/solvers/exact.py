"""The exact solver: alternating Newton-like sweeps over the expected loss (`objective.py`), nothing sampled.

Given the items, every user's row is a strictly convex problem in D numbers, and the other way round. A half-sweep takes one
Newton-like step of every row of one side. The pass over the cells that the next half-sweep needs anyway measures, row by row, what
the step was worth: that steers the length of later steps (`damping`), and takes back steps that made the loss larger. So the loss
never increases, at no cost while all goes well.

The start matters: from random embeddings the first sweeps learn popularity alone. With quadratic negatives (any other start), a
sweep needs no pass over the cells and leaves that plateau in seconds. docs/exact-solver.md has the derivation and the figures.

Here is the course of the sweeps; one half of a sweep is in `half_sweeps.py`, users that are new in `fold_in.py`.

Letters: U users, I items, D dimensions, R rows of a side.
"""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator, eigsh

from ultragcn import kernels, rng
from ultragcn.config import Config
from ultragcn.errors import UsageError
from ultragcn.loss.objective import Objective
from ultragcn.solvers import Embeddings, Shapes, Sizes, State, check_state
from ultragcn.solvers.clusters import cluster_columns, num_clusters
from ultragcn.solvers.half_sweeps import (
    MAX_STRIPS,
    NOTHING,
    NUMBA,
    HalfSweeper,
    Pending,
    Side,
    checked,
    clustered_half_sweep,
    grams_of,
    half_sweep,
    next_damping,
    parabola_of,
    quadratic_half_sweep,
    sides_of,
)  # fmt: skip
from ultragcn.solvers.warm import warm_start

_START_STD = 0.1
_LEADING_STD = 0.03  # smaller, since these directions need not grow first
_START_LEAST_L2 = 1e-3  # without any, directions that P does not have would be free
_SUBSPACE_STEPS = 2  # towards the leading directions of P


def choose_device(device: str) -> str:
    """Return "cpu" or "cuda", where half-sweeps are computed; auto is the CPU. Refuse a GPU that is not there."""
    if device != "cuda":
        return "cpu"
    from ultragcn.solvers import torch_sweeper

    name: str = torch_sweeper.choose_device(device).type
    return name


def choose_sweeper(config: Config) -> HalfSweeper:
    """Return who computes the half-sweeps of a training: Numba on the CPU, PyTorch on a GPU."""
    if choose_device(config.device) == "cpu":
        return NUMBA
    from ultragcn.solvers.torch_sweeper import TorchSweeper

    return TorchSweeper("cuda", config.tf32)


class ExactSolver:
    """Alternating sweeps over the expected loss; a sweep's loss is measured after the users' half of it.

    What a sweep draws depends on the seed and its number alone, so a state holds no random state.

    Parameters
    ----------
    objective : Objective
    seed : int
    sweeper : HalfSweeper, optional
        Who computes half-sweeps; by default what suits the configuration's `device`.

    Raises
    ------
    MissingDependencyError
        The configuration's `device` is cuda, and PyTorch is not installed.
    UsageError
        The configuration's `device` is cuda, and there is no GPU.
    NumericalError
        From `start` and `step`: the weights are so large that float32 overflows; the message says what to change.
    """

    unit = "sweep"

    def __init__(self, objective: Objective, seed: int, sweeper: HalfSweeper | None = None):
        self._sweeper = choose_sweeper(objective.config) if sweeper is None else sweeper
        self.epoch, self.tolerance = 0, objective.config.tolerance
        self._objective, self._config, self._seed = objective, objective.config, seed
        self._pending: Pending | None = None  # the items' last half-sweep
        sizes = objective.train.num_users, objective.train.num_items
        self._numbers = num_clusters(self._config, *sizes)  # of users and of items; None: every cell is visited
        self._labels: dict[str, np.ndarray] = {}  # the cluster of each user and of each item, after the first sweep over clusters

    def start(self, state: State | None = None) -> None:
        """Make the first embeddings, or take those of `state`; then make the two sides of the loss."""
        if state is None:
            with kernels.numba_threads():
                self._x, self._y = deque(start_sweeps(self._objective, self._seed, self._sweeper), maxlen=1).pop()
            self._user_damping, self._item_damping = (np.ones(len(table), np.float32) for table in (self._x, self._y))
        else:
            self._check(state)
            self.epoch, self._pending = int(state["sweep"][0]), _pending_of(state)
            self._x, self._y = state["x"], state["y"]
            self._user_damping, self._item_damping = state["user_damping"], state["item_damping"]
        self._users, self._items = sides_of(self._objective, self._sweeper)
        if state is not None:
            self._labels = {side: state[f"{side}_labels"] for side in ("user", "item") if f"{side}_labels" in state}

    def start_from(self, x: np.ndarray, y: np.ndarray, new_users: np.ndarray, new_items: np.ndarray) -> None:
        """Begin with the embeddings of a smaller log in place of a start of its own; see `warm.warm_start`, which fills the new rows."""
        self._users, self._items = sides_of(self._objective, self._sweeper)
        with kernels.numba_threads():
            self._x, self._y = warm_start(self._users, self._items, x, y, new_users, new_items)
        self._user_damping, self._item_damping = (np.ones(len(table), np.float32) for table in (self._x, self._y))

    def _check(self, state: State) -> None:
        """Refuse a state that is not one of this solver on these data."""
        users, items, dim = self._objective.train.num_users, self._objective.train.num_items, self._config.embedding_dim
        pending: Shapes = {f"pending.{name}": ("f8", items) for name in ("loss", "sparse_loss", "predicted")}
        embeddings: Shapes = {"x": ("f4", users, dim), "y": ("f4", items, dim)}
        damping: Shapes = {"user_damping": ("f4", users), "item_damping": ("f4", items)}
        labels: Shapes = {} if self._numbers is None else {"user_labels": ("i4", users), "item_labels": ("i4", items)}
        check_state(state, {"sweep": ("i8", 1), **embeddings, **damping, **labels}, {"pending.embedding": ("f4", items, dim), **pending})
        for name, number in zip(labels, self._numbers or (), strict=True):
            if state[name].min(initial=0) < 0 or state[name].max(initial=0) >= number:
                raise UsageError(f"the state of the solver is damaged: {name!r} names a cluster that does not exist")

    def step(self) -> float:
        """Do a sweep; return its loss."""
        sweep = self.epoch + 1
        with kernels.numba_threads():
            loss = self._full_sweep() if self._numbers is None else self._clustered_sweep(sweep, *self._numbers)
        self.epoch = sweep
        return float(loss)

    def embeddings(self) -> Embeddings:
        """Return the embeddings of users and items."""
        return self._x, self._y

    def is_due(self, epoch: int) -> bool:
        """Return True: sweeps are few, and each of them can be the best."""
        return True

    def state(self) -> State:
        """Return what a sweep leaves to the next one."""
        state = {"sweep": np.array([self.epoch]), "x": self._x, "y": self._y}
        state |= {"user_damping": self._user_damping, "item_damping": self._item_damping}
        state |= {f"{side}_labels": labels for side, labels in self._labels.items()}
        return state | ({f"pending.{name}": array for name, array in vars(self._pending).items()} if self._pending is not None else {})

    def change(self, objective: Objective) -> None:
        """Go on with an objective that differs in L2 alone: P and its transpose stay.

        What the last half-sweep promised was of the old objective, and is not compared with what it brings.
        """
        self._objective, self._config, self._pending = objective, objective.config, None
        self._users = self._users.with_l2(objective.l2_users(objective.train.user_degrees))
        self._items = self._items.with_l2(objective.l2_items())

    @staticmethod
    def memory(sizes: Sizes, config: Config) -> int:
        """Return about how many bytes the arrays of a training take, those of the data themselves left out."""
        rows, larger = sizes.num_users + sizes.num_items, max(sizes.num_users, sizes.num_items)
        neighbors = config.num_item_neighbors if config.item_item_weight > 0 else 0
        entries = min(sizes.num_pairs * (1 + neighbors), sizes.num_users * sizes.num_items)
        # An index and a value on each side, and with exclude_positives another value.
        positive = entries * (24 if config.exclude_positives else 16) + 8 * sizes.num_pairs + 8 * neighbors * sizes.num_items
        # Embeddings, those before the step and those kept; of the larger side, new ones and transposed ones too.
        tables = 4 * config.embedding_dim * (3 * rows + 2 * larger)
        # Weights, damping and what is measured of every row.
        measured = positive + tables + 80 * rows
        clusters = num_clusters(config, sizes.num_users, sizes.num_items)
        if clusters is None:
            return measured + 4 * MAX_STRIPS * larger  # the strips' sums
        # The frozen side as k-means sees it, labels, and a centre and a spread for each cluster.
        dim = config.embedding_dim
        return measured + 4 * dim * larger + 12 * rows + 4 * max(clusters) * (2 * dim + dim * (dim + 1) // 2)

    def _clustered_sweep(self, sweep: int, num_user_clusters: int, num_item_clusters: int) -> float:
        """Do a sweep over clusters; return the loss after it, in which clusters of users stand for the negatives."""
        users, items, random = self._users, self._items, rng.stream(self._seed, f"sweep {sweep}")
        clusters, self._labels["item"] = cluster_columns(
            self._x, self._y, users.column_weight, users.mean_weight, num_item_clusters, random, self._labels.get("item")
        )
        half = clustered_half_sweep(users, self._x, self._y, self._user_damping, clusters, self._labels.get("user"))
        self._x, self._user_damping = half.x_new, half.damping
        clusters, self._labels["user"] = cluster_columns(
            self._y, self._x, items.column_weight, items.mean_weight, num_user_clusters, random, self._labels.get("user")
        )
        half = clustered_half_sweep(items, self._y, self._x, self._item_damping, clusters, self._labels["item"])
        self._y, self._item_damping = half.x_new, half.damping
        return float(half.loss + users.ridge(self._x).sum())

    def _full_sweep(self) -> float:
        """Do a sweep over all cells, which also measures what the half-sweeps before brought; return its loss."""
        users, items, x, y, pending = self._users, self._items, self._x, self._y, self._pending
        half = half_sweep(users, x, y, self._user_damping)
        if pending is not None:
            self._item_damping, worse, increased = _measure(items, y, half.other_negative, pending, self._item_damping)
            if increased:  # given the other side rows are independent: without the bad steps the loss cannot be larger
                y = np.where(worse[:, None], pending.embedding, y)
                half = half_sweep(users, x, y, self._user_damping)
        x, user_pending = half.x_new, half.pending
        half = half_sweep(items, y, x, self._item_damping)
        self._user_damping, worse, increased = _measure(users, x, half.other_negative, user_pending, self._user_damping)
        if increased:
            x = np.where(worse[:, None], user_pending.embedding, x)
            half = half_sweep(items, y, x, self._item_damping)
        self._x, self._y, self._pending = x, half.x_new, half.pending
        return float(half.loss + users.ridge(x).sum())


def _pending_of(state: State) -> Pending | None:
    arrays = {name.removeprefix("pending."): array for name, array in state.items() if name.startswith("pending.")}
    return Pending(**arrays) if arrays else None


def _measure(side: Side, x: np.ndarray, negative: np.ndarray, pending: Pending, damping: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Compare what the last step of `x` promised with what it brought: the new damping, which rows got worse, whether all did."""
    loss = negative + pending.sparse_loss + side.ridge(x)
    increased = bool(loss.sum() > pending.loss.sum() * (1 + 1e-6) + 1e-6)
    return next_damping(damping, pending.loss, loss, pending.predicted), loss > pending.loss, increased


def start_sweeps(objective: Objective, seed: int, sweeper: HalfSweeper = NUMBA) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield embeddings to begin with: random ones, or leading directions of P after each of a few sweeps with quadratic negatives.

    Of P only what the train pairs have for themselves: a tenth of the work, a start as good, and no neighbours to wait for.
    """
    config, random = objective.config, rng.stream(seed, "init")
    shapes = ((objective.train.num_users, config.embedding_dim), (objective.train.num_items, config.embedding_dim))
    x, y = (random.standard_normal(shape, dtype=np.float32) for shape in shapes)
    uniform = config.start_uniform_weight
    if config.start == "random" or config.w1 + config.w2 + uniform == 0:  # nothing of the train pairs' own to find directions of
        yield x * np.float32(_START_STD), y * np.float32(_START_STD)
        return
    own = Objective(
        objective.train, config.replace(w1=config.w1 + uniform, w3=config.w3 + uniform, item_item_weight=0.0, exclude_positives=False)
    )
    users, items = (
        replace(side, l2=np.maximum(side.l2 * np.float32(config.start_l2), np.float32(_START_LEAST_L2))) for side in sides_of(own, sweeper)
    )
    y = _leading_directions(users.matrix(users.positive), y, random if config.start == "spectral" else None)
    x[:] = 0.0
    parabola = parabola_of(users.row_weight, users.positive, items.row_weight)
    for _ in range(config.start_sweeps):
        x = quadratic_half_sweep(users, x, y, grams_of(items.row_weight, y), *parabola)
        y = quadratic_half_sweep(items, y, x, grams_of(users.row_weight, x), *parabola)
        yield x, y


def _leading_directions(matrix: sp.csr_matrix, y: np.ndarray, lanczos: np.random.Generator | None) -> np.ndarray:
    """Turn `y` (I, D) towards the leading right singular vectors of `matrix` (U, I), at `_LEADING_STD`: subspace iteration.

    `lanczos`: from the vectors themselves, found by Lanczos; then the seed decides next to nothing. It draws where that begins anew,
    which it does in a matrix of fewer directions.
    """
    matrix = matrix * np.float32(1 / max(float(matrix.data.max(initial=0)), 1e-30))  # directions alone count; squares must not overflow
    rank = min(*matrix.shape, y.shape[1] + 1) - 1  # of the vectors, Lanczos finds all but one
    if lanczos is not None and rank > 0 and matrix.data.any():
        wide = aslinearoperator(matrix.astype(np.float64))
        if len(y) <= matrix.shape[0]:
            vectors = eigsh(wide.H @ wide, rank, v0=y[:, 0].astype(np.float64), rng=lanczos)[1]
        else:
            vectors = wide.H @ eigsh(wide @ wide.H, rank, v0=(matrix @ y[:, 0]).astype(np.float64), rng=lanczos)[1]
        y[:, :rank] = vectors / np.maximum(np.linalg.norm(vectors, axis=0), 1e-30)
    transposed = matrix.T.tocsr()
    for _ in range(_SUBSPACE_STEPS):
        y = checked(transposed @ (matrix @ y))
        length, rotation = np.linalg.eigh((y.T @ y).astype(np.float64))
        # Directions that the matrix does not have keep what rounding left of them: at zero they could never grow.
        length = np.sqrt(np.maximum(length, 1e-6 * length[-1] + 1e-30))
        y = y @ (rotation / length).astype(np.float32)
    return y * np.float32(_LEADING_STD * np.sqrt(len(y)))


def compile_kernels(config: Config, sizes: Sizes | None = None) -> float:
    """Compile the solver's kernels, or load them from the cache on disk, by running them on a tiny input; return the seconds.

    `sizes` of the data say which of them will be needed.
    """
    started = time.perf_counter()
    clustered = None if sizes is None else num_clusters(config, sizes.num_users, sizes.num_items) is not None
    x = np.ones((1, 1), np.float32)
    row = np.ones((1, 2), np.float32)
    side = Side(
        np.array([0, 1], np.int64), np.zeros(1, np.int32), x[0], NOTHING, row, np.ones((2, 1), np.float32), x[0], 1, 1,
        choose_sweeper(config),
    )  # fmt: skip
    kernels.compile_kernels("positive_rows")
    with kernels.numba_threads():
        if config.negatives != "clusters" and clustered is not True:
            half_sweep(side, x, x, x[0])
        if config.negatives != "full" and clustered is not False:
            clusters, _ = cluster_columns(x, x, side.column_weight, row[0], 1, rng.stream(0, "compile"))
            clustered_half_sweep(side, x, x, x[0], clusters)
        quadratic_half_sweep(side, x, x, grams_of(row, x), 0.5, 0.25)
    return time.perf_counter() - started
