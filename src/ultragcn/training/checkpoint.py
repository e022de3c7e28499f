"""Checkpoints: all that a training needs to go on after its process was killed, to the very end it would have reached."""

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ultragcn import storage
from ultragcn.data.interactions import Interactions
from ultragcn.errors import UsageError
from ultragcn.solvers import State
from ultragcn.training.course import Course

_FORM = "ultragcn-checkpoint-3"  # another number when a solver, or what it needs, changes


# By the clock: seldom enough that writing costs at most a fiftieth of the time, and nothing at all in a short training.
_SECONDS = 10.0
_WRITING_TIMES = 50


class Checkpoint:
    """The file of one training's latest checkpoint; without a `path`, one that is never due.

    Parameters
    ----------
    path : str, Path or None
    every : int
        Epochs between checkpoints; 0: by the clock, the first after ten seconds.
    config : dict
        The hyper-parameters of the training.
    data : list of Interactions or None
        All that it learns from and chooses on. A checkpoint of other data or hyper-parameters is refused.
    """

    def __init__(self, path: str | Path | None, every: int, config: Mapping[str, Any], data: Sequence[Interactions | None]):
        if every < 0:
            raise UsageError(f"checkpoint_every must be a number of epochs, or 0 for every ten seconds, not {every}")
        self.path = None if path is None else Path(path)
        self._every, self._config, self._data = every, dict(config), data
        self._last, self._took = time.perf_counter(), 0.0

    def read(self) -> tuple[Course, State] | None:
        """Return how far the training came, and the solver's state there; None when there is no checkpoint.

        Raises
        ------
        UsageError
            The file is damaged, or that of another training or version.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            arrays, about = storage.read_arrays(self.path, _FORM)
        except UsageError as error:
            raise UsageError(f"cannot go on from the checkpoint: {error}; remove it to train from the start") from error
        for name, value in self._identity.items():
            if about[name] != value:
                raise UsageError(f"{self.path} is the checkpoint of a training with other {name}; remove it, or give another path")
        state = {name.removeprefix("solver."): array for name, array in arrays.items() if name.startswith("solver.")}
        kept = (arrays["kept.user"], arrays["kept.item"]) if "kept.user" in arrays else None
        return Course(**about["course"], kept=kept), state

    def is_due(self, epoch: int) -> bool:
        """Return whether to write one after `epoch`."""
        if self.path is None:
            return False
        if self._every:
            return epoch % self._every == 0
        return time.perf_counter() - self._last >= max(_SECONDS, _WRITING_TIMES * self._took)

    def write(self, course: Course, state: State) -> None:
        """Replace the checkpoint; if that fails, the one before is as it was."""
        assert self.path is not None
        started = time.perf_counter()
        arrays = {f"solver.{name}": array for name, array in state.items()}
        if course.kept is not None:
            arrays |= {"kept.user": course.kept[0], "kept.item": course.kept[1]}
        told = {name: value for name, value in vars(course).items() if name != "kept"}
        storage.write_arrays(self.path, arrays, _FORM, self._identity | {"course": told})
        self._last = time.perf_counter()
        self._took = self._last - started

    @cached_property
    def _identity(self) -> dict[str, Any]:
        return {"hyper-parameters": self._config, "data": [None if part is None else part.hash for part in self._data]}
