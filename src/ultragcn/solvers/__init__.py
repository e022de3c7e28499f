"""Solvers: ways to minimise the one objective. They differ in speed, never in meaning.

A solver module has `solve(objective, seed, device, state) -> Iterator[Step]`, which yields after each pass for as long as it is asked
to, `choose_device(device)`, which refuses what is not there, and `compile_kernels(config)`, which returns the seconds it took.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import NamedTuple, Protocol

import numpy as np

from ultragcn.config import Config
from ultragcn.loss.objective import Objective

State = dict[str, np.ndarray]
"""All that a solver needs to go on from a step as if it had never stopped: arrays by name."""


class Step(NamedTuple):
    """Where a solver stands after a pass (an epoch). U users, I items, D dimensions."""

    epoch: int  # from 1
    loss: float  # of the pass, by the objective's formula, L2 included
    user_embedding: np.ndarray  # (U, D) float32; valid until the next step is asked for
    item_embedding: np.ndarray  # (I, D) float32; likewise
    state: Callable[[], State]  # what to give `solve` to go on from here; to be asked for before the next step is


class Solve(Protocol):
    """What a solver module's `solve` looks like."""

    def __call__(self, objective: Objective, seed: int, device: str, state: State | None = None) -> Iterator[Step]:
        """Yield a `Step` after each pass, from the start or after the step of `state`. `device` is "cpu", "cuda" or "auto"."""


def check_runnable(config: Config) -> None:
    """Raise `MissingDependencyError` or `UsageError` when the chosen solver's packages are not installed or its device is not there."""
    import_module(f"ultragcn.solvers.{config.solver}").choose_device(config.device)


def compile_kernels(config: Config) -> float:
    """Compile what the chosen solver needs, or load it from the cache on disk; return the seconds it took."""
    seconds: float = import_module(f"ultragcn.solvers.{config.solver}").compile_kernels(config)
    return seconds


def solve(objective: Objective, seed: int, device: str, state: State | None = None) -> Iterator[Step]:
    """Run the solver that the objective's configuration names, from the start or after the step of `state`."""
    module = import_module(f"ultragcn.solvers.{objective.config.solver}")
    chosen: Solve = module.solve
    return chosen(objective, seed, device, state)
