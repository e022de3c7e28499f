"""Solvers: ways to minimise the one objective. They differ in speed, never in meaning.

A solver's module has its class, `choose_device(device)`, which refuses a device that is not there, and `compile_kernels(config, sizes)`,
which returns the seconds it took.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import NamedTuple, Protocol

import numpy as np

from ultragcn.config import Config
from ultragcn.errors import UsageError
from ultragcn.loss.objective import Objective

State = dict[str, np.ndarray]
"""All that a solver needs to go on from a pass as if it had never stopped: arrays by name."""
Embeddings = tuple[np.ndarray, np.ndarray]
"""Embeddings of users and items, (U, D) and (I, D) float32."""


Shapes = Mapping[str, tuple[str | int, ...]]
"""The type and the shape of arrays, by name, such as ("f4", 10, 64); -1 is any size."""


def check_state(state: State, shapes: Shapes, optional: Shapes | None = None) -> None:
    """Raise `UsageError` unless a state that was read from a file has exactly these arrays, and all their numbers are finite.

    Parameters
    ----------
    state : dict of str -> array
    shapes : dict of str -> (type, *shape)
    optional : dict of str -> (type, *shape)
        Arrays of which all are there, or none.
    """
    expected = dict(shapes)
    if optional and any(name in state for name in optional):
        expected |= optional
    if odd := sorted(expected.keys() ^ state.keys()):
        raise UsageError(f"the state of the solver is damaged: {odd[0]!r} is {'missing' if odd[0] in expected else 'no part of it'}")
    for name, (kind, *shape) in expected.items():
        array = state[name]
        fits = array.ndim == len(shape) and all(size in (-1, real) for size, real in zip(shape, array.shape, strict=True))
        if not fits or array.dtype.str[1:] != kind or not np.isfinite(array).all():
            raise UsageError(f"the state of the solver is damaged: {name!r} has another shape, or a number that is not finite")


class Stepper(Protocol):
    """What learns embeddings pass by pass: all that the training loop knows of a model.

    Attributes
    ----------
    unit : str
        What a pass is called: "epoch" or "sweep".
    epoch : int
        Passes so far.
    tolerance : float
        Where no pairs are held out, a pass that lowers the loss by a smaller share than this is no better.
    """

    unit: str
    epoch: int
    tolerance: float

    def start(self, state: State | None = None) -> None:
        """Make the first embeddings, or put those of `state` in place to go on after its pass."""

    def step(self) -> float:
        """Do a pass; return its loss."""

    def embeddings(self) -> Embeddings:
        """Return where the solver stands after a pass; the arrays may change with the next one."""

    def is_due(self, epoch: int) -> bool:
        """Return whether held-out pairs should be looked at after `epoch`; the last epoch is due in any case."""

    def state(self) -> State:
        """Return what `start` needs to go on from here; the arrays may change with the next pass."""


class Sizes(NamedTuple):
    """The sizes that memory depends on."""

    num_users: int
    num_items: int
    num_pairs: int


class Solver(Stepper, Protocol):
    """What minimises an objective."""

    def __init__(self, objective: Objective, seed: int):
        """Take the objective, with the configuration in it, and the seed of everything random; `start` does the first work."""

    def change(self, objective: Objective) -> None:
        """Go on from here with an `objective` that differs in L2 alone."""

    @staticmethod
    def memory(sizes: Sizes, config: Config) -> int:
        """Return about how many bytes the arrays of a training take, those of the data themselves left out."""


_CLASSES = {"exact": "ExactSolver", "sgd": "SgdSolver"}


def check_runnable(config: Config) -> None:
    """Raise `MissingDependencyError` or `UsageError` when the chosen solver's packages are not installed or its device is not there."""
    import_module(f"ultragcn.solvers.{config.solver}").choose_device(config.device)


def compile_kernels(config: Config, sizes: Sizes | None = None) -> float:
    """Compile what the chosen solver needs for data of these sizes, or of any, or load it from the cache on disk; return the seconds."""
    seconds: float = import_module(f"ultragcn.solvers.{config.solver}").compile_kernels(config, sizes)
    return seconds


def memory(sizes: Sizes, config: Config) -> int:
    """Return about how many bytes the chosen solver's arrays take in a training, those of the data themselves left out."""
    return _class(config.solver).memory(sizes, config)


def make_solver(objective: Objective, seed: int) -> Solver:
    """Return the solver that the objective's configuration names, before its `start`."""
    return _class(objective.config.solver)(objective, seed)


GPU_SPACE = 4 * 2**30
"""About the bytes that exact takes on a GPU beside the data: tiles of cells, and the frozen rows that a group of rows keeps."""


def free_gpu_memory() -> int | None:
    """Return the bytes that are free on the GPU; refuse a GPU that is not there."""
    torch_ops = import_module("ultragcn.kernels.torch_ops")
    free: int | None = torch_ops.free_memory(torch_ops.choose_device("cuda"))
    return free


def make_ranker(config: Config) -> Callable[..., tuple[np.ndarray, np.ndarray]] | None:
    """Return what ranks while a training looks at held-out pairs: a GPU where the solver exact computes on one; else None, Numba does."""
    if config.solver != "exact" or config.device != "cuda":
        return None
    ranker: Callable[..., tuple[np.ndarray, np.ndarray]] = import_module("ultragcn.kernels.torch_ops").Ranker(config.device)
    return ranker


def _class(name: str) -> type[Solver]:
    chosen: type[Solver] = getattr(import_module(f"ultragcn.solvers.{name}"), _CLASSES[name])
    return chosen
