"""The exact solver: alternating Newton-like sweeps over the expected loss (`objective.py`), nothing sampled.

Given the items, every user's row is a strictly convex problem in D numbers, and the other way round. A half-sweep takes one
Newton-like step of every row of one side. The pass over the cells that the next half-sweep needs anyway measures, row by row, what
the step was worth: that steers the length of later steps (`damping`), and takes back steps that made the loss larger. So the loss
never increases, at no cost while all goes well.

The start matters: from random embeddings the first sweeps learn popularity alone. With quadratic negatives (any other start), a
sweep needs no pass over the cells and leaves that plateau in seconds. docs/exact-solver.md has the derivation and the figures.

Several processes may do a sweep together (`processes`): each steps the rows of its own shards, and all have both tables of embeddings.
Blocks of similar rows form inside a shard, so a shard should hold similar rows: after the start the rows are put in such an order, and they
keep it. What comes from outside and goes there is in the order of the data.

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
from ultragcn.processes import Processes, Share, current, num_shards
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
    orders_of,
    parabola_of,
    quadratic_half_sweep,
    shares_of,
    sides_of,
    summed,
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

    Notes
    -----
    It is made, started and stepped by all processes that are at work (`processes.current`), in the same order; so is `state` asked for.
    """

    unit = "sweep"

    def __init__(self, objective: Objective, seed: int, sweeper: HalfSweeper | None = None):
        self._sweeper = choose_sweeper(objective.config) if sweeper is None else sweeper
        self.epoch, self.tolerance = 0, objective.config.tolerance
        self._objective, self._config, self._seed, self._processes = objective, objective.config, seed, current()
        self._pending: Pending | None = None  # the items' last half-sweep
        sizes = objective.train.num_users, objective.train.num_items
        self._order: tuple[np.ndarray, np.ndarray]  # which user and which item is in each row
        self._numbers = num_clusters(self._config, *sizes)  # of users and of items; None: every cell is visited
        self._labels: dict[str, np.ndarray] = {}  # the cluster of each user and of each item, after the first sweep over clusters

    def start(self, state: State | None = None) -> None:
        """Make the first embeddings, or take those of `state`; then make the two sides of the loss."""
        if state is None:
            with kernels.numba_threads():
                self._x, self._y = deque(start_sweeps(self._objective, self._seed, self._sweeper), maxlen=1).pop()
            self._arrange()
            return
        self._check(state)
        order = self._order = state["user_order"], state["item_order"]
        self._x, self._y = state["x"][order[0]], state["y"][order[1]]
        self._make_sides()
        users, items = order[0][self._users.share.own], order[1][self._items.share.own]
        self.epoch, self._pending = int(state["sweep"][0]), _pending_of(state, items)
        self._user_damping, self._item_damping = state["user_damping"][users], state["item_damping"][items]
        named = zip(("user", "item"), order, strict=True)
        self._labels = {side: state[f"{side}_labels"][rows] for side, rows in named if f"{side}_labels" in state}

    def start_from(self, x: np.ndarray, y: np.ndarray, new_users: np.ndarray, new_items: np.ndarray) -> None:
        """Begin with the embeddings of a smaller log in place of a start of its own; see `warm.warm_start`, which fills the new rows."""
        with kernels.numba_threads():
            self._x, self._y = warm_start(*sides_of(self._objective, self._sweeper), x, y, new_users, new_items)
        self._arrange()

    def _arrange(self) -> None:
        """Put the rows in the order that they keep, and make the two sides of the loss."""
        with kernels.numba_threads():
            self._order = self._processes.same(orders_of(self._x, self._y))
        self._x, self._y = self._x[self._order[0]], self._y[self._order[1]]
        self._make_sides()

    def _make_sides(self) -> None:
        """Make the two sides of the loss, of the rows of this process."""
        self._users, self._items = own_sides(self._objective, self._order, self._processes, self._sweeper)
        self._user_damping, self._item_damping = (np.ones(len(side.l2), np.float32) for side in (self._users, self._items))

    def _check(self, state: State) -> None:
        """Refuse a state that is not one of this solver on these data."""
        users, items, dim = self._objective.train.num_users, self._objective.train.num_items, self._config.embedding_dim
        pending: Shapes = {f"pending.{name}": ("f8", items) for name in ("loss", "sparse_loss", "predicted")}
        embeddings: Shapes = {"x": ("f4", users, dim), "y": ("f4", items, dim)}
        damping: Shapes = {"user_damping": ("f4", users), "item_damping": ("f4", items)}
        labels: Shapes = {} if self._numbers is None else {"user_labels": ("i4", users), "item_labels": ("i4", items)}
        orders: Shapes = {"user_order": ("i8", users), "item_order": ("i8", items)}
        needed = {"sweep": ("i8", 1), **embeddings, **damping, **labels, **orders}
        check_state(state, needed, {"pending.embedding": ("f4", items, dim), **pending})
        for name in orders:
            if not np.array_equal(np.sort(state[name]), np.arange(len(state[name]))):
                raise UsageError(f"the state of the solver is damaged: {name!r} does not name each row once")
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
        return _put_back(self._x, self._order[0]), _put_back(self._y, self._order[1])

    def is_due(self, epoch: int) -> bool:
        """Return True: sweeps are few, and each of them can be the best."""
        return True

    def state(self) -> State:
        """Return what a sweep leaves to the next one: of all rows, whichever process has them."""
        (x, y), (of_users, of_items) = self.embeddings(), self._order
        state = {"sweep": np.array([self.epoch]), "x": x, "y": y, "user_order": of_users, "item_order": of_items}
        state["user_damping"] = _put_back(self._users.share.gather(self._user_damping), of_users)
        state["item_damping"] = _put_back(self._items.share.gather(self._item_damping), of_items)
        for side, order in (("user", of_users), ("item", of_items)):
            if side in self._labels:
                state[f"{side}_labels"] = _put_back(self._labels[side], order)
        pending = {} if self._pending is None else vars(self._pending)
        return state | {f"pending.{name}": _put_back(self._items.share.gather(array), of_items) for name, array in pending.items()}

    def change(self, objective: Objective) -> None:
        """Go on with an objective that differs in L2 alone: P and its transpose stay.

        What the last half-sweep promised was of the old objective, and is not compared with what it brings.
        """
        self._objective, self._config, self._pending = objective, objective.config, None
        self._users = self._users.with_l2(objective.l2_users(objective.train.user_degrees)[self._order[0]][self._users.share.own])
        self._items = self._items.with_l2(objective.l2_items()[self._order[1]][self._items.share.own])

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
            self._x, self._y, users.column_weight, users.mean_weight, num_item_clusters, random, self._labels.get("item"),
            users.share, items.share,
        )  # fmt: skip
        half = clustered_half_sweep(users, self._x, self._y, self._user_damping, clusters, self._labels.get("user"))
        ridge, self._user_damping = users.share.sum_rows(users.ridge(half.x_new)), half.damping
        self._x = users.share.gather(half.x_new)
        clusters, self._labels["user"] = cluster_columns(
            self._y, self._x, items.column_weight, items.mean_weight, num_user_clusters, random, self._labels.get("user"),
            items.share, users.share,
        )  # fmt: skip
        half = clustered_half_sweep(items, self._y, self._x, self._item_damping, clusters, self._labels["item"])
        self._y, self._item_damping = items.share.gather(half.x_new), half.damping
        return float(half.loss + ridge)

    def _full_sweep(self) -> float:
        """Do a sweep over all cells, which also measures what the half-sweeps before brought; return its loss."""
        users, items, x, y, pending = self._users, self._items, self._x, self._y, self._pending
        half = half_sweep(users, x, y, self._user_damping)
        if pending is not None:
            y_new, self._item_damping = _measured(items, y, half.other_negative, pending, self._item_damping)
            if y_new is not y:  # given the other side rows are independent: without the bad steps the loss cannot be larger
                y = y_new
                half = half_sweep(users, x, y, self._user_damping)
        x, user_pending = users.share.gather(half.x_new), half.pending
        half = half_sweep(items, y, x, self._item_damping)
        x_new, self._user_damping = _measured(users, x, half.other_negative, user_pending, self._user_damping)
        if x_new is not x:
            x = x_new
            half = half_sweep(items, y, x, self._item_damping)
        self._x, self._y, self._pending = x, items.share.gather(half.x_new), half.pending
        return float(half.loss + users.share.sum_rows(users.ridge(x[users.share.own])))


def _put_back(table: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return the rows of a table in the order of the data, `order` (R,) being theirs now."""
    result = np.empty_like(table)
    result[order] = table
    return result


def own_sides(
    objective: Objective, order: tuple[np.ndarray, np.ndarray], processes: Processes, sweeper: HalfSweeper = NUMBA
) -> tuple[Side, Side]:
    """Return the users' and the items' side of an objective, rows in this order, of the rows of this process."""
    users, items = sides_of(objective, sweeper)
    if num_shards(*map(len, order)) > 1:
        users = users.in_order(*order)
        vars(objective).pop("train_positives", None)  # they are in the sides now
        items = items.in_order(*order[::-1])
    of_users, of_items = shares_of(users, items, processes)
    return users.of(of_users, of_items), items.of(of_items, of_users)


def _pending_of(state: State, own: np.ndarray) -> Pending | None:
    arrays = {name.removeprefix("pending."): array[own] for name, array in state.items() if name.startswith("pending.")}
    return Pending(**arrays) if arrays else None


def _measured(side: Side, x: np.ndarray, negative: np.ndarray, pending: Pending, damping: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compare what the last step of `x` promised with what it brought; return `x` and the new damping.

    `x` is without the steps that made their row worse, if the whole loss rose.
    """
    share, own = side.share, x[side.share.own]
    loss = negative[share.own] + pending.sparse_loss + side.ridge(own)
    damping = next_damping(damping, pending.loss, loss, pending.predicted)
    if share.sum_rows(loss) > share.sum_rows(pending.loss) * (1 + 1e-6) + 1e-6:
        x = share.gather(np.where((loss > pending.loss)[:, None], pending.embedding, own))
    return x, damping


def start_sweeps(objective: Objective, seed: int, sweeper: HalfSweeper = NUMBA) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield embeddings to begin with: random ones, or leading directions of P after each of a few sweeps with quadratic negatives.

    Of P only what the train pairs have for themselves: a tenth of the work, a start as good, and no neighbours to wait for.
    """
    config, random, processes = objective.config, rng.stream(seed, "init"), current()
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
    of_users, of_items = shares_of(users, items, processes)
    weights, parabola = (users.row_weight, items.row_weight), parabola_of(users.row_weight, users.positive, items.row_weight)
    lanczos = random if config.start == "spectral" else None
    y = _leading_directions(users.matrix(users.positive), y, lanczos, of_users, of_items)
    users, items = users.of(of_users, of_items), items.of(of_items, of_users)
    x[:] = 0.0
    for _ in range(config.start_sweeps):
        x = of_users.gather(quadratic_half_sweep(users, x, y, grams_of(weights[1], y, of_items), *parabola))
        y = of_items.gather(quadratic_half_sweep(items, y, x, grams_of(weights[0], x, of_users), *parabola))
        yield x, y


def _leading_directions(
    matrix: sp.csr_matrix, y: np.ndarray, lanczos: np.random.Generator | None, rows: Share | None = None, columns: Share | None = None
) -> np.ndarray:
    """Turn `y` (I, D) towards the leading right singular vectors of `matrix` (U, I), at `_LEADING_STD`: subspace iteration.

    `lanczos`: from the vectors themselves, found by Lanczos; then the seed decides next to nothing. It draws where that begins anew,
    which it does in a matrix of fewer directions.
    """
    rows, columns = rows or Share([0, matrix.shape[0]]), columns or Share([0, len(y)])
    matrix = matrix * np.float32(1 / max(float(matrix.data.max(initial=0)), 1e-30))  # directions alone count; squares must not overflow
    rank = min(*matrix.shape, y.shape[1] + 1) - 1  # of the vectors, Lanczos finds all but one
    if lanczos is not None and rank > 0 and matrix.data.any():
        wide = aslinearoperator(matrix.astype(np.float64))
        if len(y) <= matrix.shape[0]:
            vectors = eigsh(wide.H @ wide, rank, v0=y[:, 0].astype(np.float64), rng=lanczos)[1]
        else:
            vectors = wide.H @ eigsh(wide @ wide.H, rank, v0=(matrix @ y[:, 0]).astype(np.float64), rng=lanczos)[1]
        y[:, :rank] = columns.processes.same(vectors / np.maximum(np.linalg.norm(vectors, axis=0), 1e-30))
    transposed, matrix = matrix.T.tocsr()[columns.own], matrix[rows.own]
    for _ in range(_SUBSPACE_STEPS):
        y = checked(columns.gather(transposed @ rows.gather(matrix @ y)))
        length, rotation = np.linalg.eigh(summed(columns, lambda shard: y[shard].T @ y[shard]).astype(np.float64))  # noqa: B023
        # Directions that the matrix does not have keep what rounding left of them: at zero they could never grow.
        length = np.sqrt(np.maximum(length, 1e-6 * length[-1] + 1e-30))
        rotation = (rotation / length).astype(np.float32)
        y = columns.gather(np.concatenate([y[shard] @ rotation for shard in columns.shards]))
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
