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
from functools import partial

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator, eigsh

from ultragcn import kernels, rng
from ultragcn.config import Config
from ultragcn.errors import UsageError
from ultragcn.loss.objective import Objective
from ultragcn.solvers import State, Step
from ultragcn.solvers.half_sweeps import (
    NOTHING,
    Pending,
    Side,
    checked,
    grams_of,
    half_sweep,
    parabola_of,
    quadratic_half_sweep,
    sides_of,
)  # fmt: skip

_MIN_DAMPING, _MAX_DAMPING = 0.3, 1e6
_START_STD = 0.1
_LEADING_STD = 0.03  # smaller, since these directions need not grow first
_START_LEAST_L2 = 1e-3  # without any, directions that P does not have would be free
_SUBSPACE_STEPS = 2  # towards the leading directions of P


def choose_device(device: str) -> str:
    """Return "cpu", the one device this solver computes on."""
    if device == "cuda":
        raise UsageError("solver exact computes on the CPU, not on cuda; use --device cpu or auto, or --solver sgd")
    return "cpu"


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
    pending: Pending | None = None
    sweep = 0
    if state is None:
        with kernels.numba_threads():
            x, y = deque(start_sweeps(objective, seed), maxlen=1).pop()
        user_damping, item_damping = np.ones(len(x), np.float32), np.ones(len(y), np.float32)
    else:
        sweep, pending = int(state["sweep"][0]), _pending_of(state)
        x, y, user_damping, item_damping = (state[name] for name in ("x", "y", "user_damping", "item_damping"))
    users, items = sides_of(objective)
    while True:
        sweep += 1
        with kernels.numba_threads():
            if sweep <= config.sampled_sweeps:
                random = rng.stream(seed, f"sweep {sweep}")
                half = half_sweep(users, x, y, user_damping, config.cell_share, random)
                loss = half.loss + items.ridge(y).sum()
                x = half.x_new
                y = half_sweep(items, y, x, item_damping, config.cell_share, random).x_new
            else:
                half = half_sweep(users, x, y, user_damping)
                if pending is not None:
                    item_damping, worse, increased = _measure(items, y, half.other_negative, pending, item_damping)
                    if increased:  # given the other side rows are independent: without the bad steps the loss cannot be larger
                        y = np.where(worse[:, None], pending.embedding, y)
                        half = half_sweep(users, x, y, user_damping)
                x, user_pending = half.x_new, half.pending
                half = half_sweep(items, y, x, item_damping)
                user_damping, worse, increased = _measure(users, x, half.other_negative, user_pending, user_damping)
                if increased:
                    x = np.where(worse[:, None], user_pending.embedding, x)
                    half = half_sweep(items, y, x, item_damping)
                loss = half.loss + users.ridge(x).sum()
                y, pending = half.x_new, half.pending
        yield Step(sweep, float(loss), x, y, partial(_state, sweep, x, y, user_damping, item_damping, pending))


def _state(sweep: int, x: np.ndarray, y: np.ndarray, user_damping: np.ndarray, item_damping: np.ndarray,
           pending: Pending | None) -> State:  # fmt: skip
    """Return what a sweep leaves to the next one."""
    state = {"sweep": np.array([sweep]), "x": x, "y": y, "user_damping": user_damping, "item_damping": item_damping}
    return state | ({f"pending.{name}": array for name, array in vars(pending).items()} if pending is not None else {})


def carry_over(state: State) -> State:
    """Return the state from which to go on with another objective: what the last half-sweep promised of the old one counts no more."""
    return {name: array for name, array in state.items() if not name.startswith("pending.")}


def _pending_of(state: State) -> Pending | None:
    arrays = {name.removeprefix("pending."): array for name, array in state.items() if name.startswith("pending.")}
    return Pending(**arrays) if arrays else None


def _measure(side: Side, x: np.ndarray, negative: np.ndarray, pending: Pending, damping: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Compare what the last step of `x` promised with what it brought: the new damping, which rows got worse, whether all did."""
    loss = negative + pending.sparse_loss + side.ridge(x)
    gain = (pending.loss - loss) / np.maximum(pending.predicted, 1e-12 + 1e-7 * np.abs(pending.loss))
    damping = damping * np.where(gain < 0.25, 4.0, np.where(gain < 0.5, 2.0, np.where(gain > 0.95, 0.8, 1.0)))
    increased = bool(loss.sum() > pending.loss.sum() * (1 + 1e-6) + 1e-6)
    return np.clip(damping, _MIN_DAMPING, _MAX_DAMPING).astype(np.float32), loss > pending.loss, increased


def start_sweeps(objective: Objective, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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
        replace(side, l2=np.maximum(side.l2 * np.float32(config.start_l2), np.float32(_START_LEAST_L2))) for side in sides_of(own)
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


def compile_kernels(config: Config) -> float:
    """Compile the solver's kernels, or load them from the cache on disk, by running them on a tiny input; return the seconds."""
    started = time.perf_counter()
    x = np.ones((1, 1), np.float32)
    row = np.ones((1, 2), np.float32)
    side = Side(np.array([0, 1], np.int64), np.zeros(1, np.int32), x[0], NOTHING, row, np.ones((2, 1), np.float32), x[0], 1, 1)
    kernels.compile_kernels("positive_rows")
    with kernels.numba_threads():
        half_sweep(side, x, x, x[0])
        quadratic_half_sweep(side, x, x, grams_of(row, x), 0.5, 0.25)
    return time.perf_counter() - started
