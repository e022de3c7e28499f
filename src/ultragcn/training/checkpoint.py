"""Checkpoints: all that a training needs to go on after its process was killed, to the very end it would have reached."""

import math
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ultragcn import storage
from ultragcn.config import AUTO
from ultragcn.data.interactions import Interactions
from ultragcn.errors import UsageError
from ultragcn.forms import FLOATING, is_finite, misfit
from ultragcn.solvers import State
from ultragcn.training.course import Course

_FORM = "ultragcn-checkpoint-6"  # another number when a solver, or what it needs, changes
_COURSE = {
    "seed": int, "history": [{"epoch": int, "seconds": float, "loss": float}], "best_epoch": int, "without_better": int, "low": int,
    "rising": bool, "l2": (float, None), "kept_l2": (float, None), "seconds": float, "best": FLOATING, "last": FLOATING,
}  # fmt: skip
"""The form of a `Course` in JSON."""


# By the clock: seldom enough that writing costs at most a fiftieth of the time, and nothing at all in a short training.
_SECONDS = 10.0
_WRITING_TIMES = 50


class Checkpoint:
    """The file of one training's latest checkpoint; without a `path`, one that is never due.

    Parameters
    ----------
    path : str, Path or None
    every : int or None
        Epochs between checkpoints; None: by the clock, the first after ten seconds.
    config : dict
        The hyper-parameters of the training.
    data : list of Interactions or None
        All that it learns from and chooses on. A checkpoint of other data or hyper-parameters is refused.
    """

    def __init__(self, path: str | Path | None, every: int | None, config: Mapping[str, Any], data: Sequence[Interactions | None]):
        if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            raise UsageError(
                f"checkpoint_every must be a whole number of epochs, 1 or more, or None ({AUTO}) for every ten seconds, not {every!r}"
            )
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
            self._check(arrays, about)
        except UsageError as error:
            raise UsageError(f"cannot go on from the checkpoint: {error}; remove it to train from the start") from error
        for name, value in self._identity.items():
            if about[name] != value:
                raise UsageError(f"{self.path} is the checkpoint of a training with other {name}; remove it, or give another path")
        state = {name.removeprefix("solver."): array for name, array in arrays.items() if name.startswith("solver.")}
        kept = (arrays["kept.user"], arrays["kept.item"]) if "kept.user" in arrays else None
        course = Course(**about["course"], kept=kept)
        try:
            self._check_course(course, state)
        except UsageError as error:
            raise UsageError(f"cannot go on from the checkpoint: {error}; remove it to train from the start") from error
        return course, state

    def _check(self, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
        """Refuse what is not as `write` writes it: the checksum may be right all the same."""
        if wrong := misfit(about, {"hyper-parameters": dict, "data": list, "course": _COURSE}):
            raise UsageError(f"{self.path} is damaged: {wrong}")
        course = about["course"]
        names = {name for name in vars(Course(0)) if name != "kept"}
        kept = [name for name in arrays if not name.startswith("solver.")]
        if course.keys() != names or sorted(kept) not in ([], ["kept.item", "kept.user"]):
            raise UsageError(f"{self.path} is damaged: it has other parts than a checkpoint")
        if any(math.isnan(course[name]) for name in ("best", "last")):
            raise UsageError(f"{self.path} is damaged: best and last must be numbers")

    def _check_course(self, course: Course, state: State) -> None:
        """Refuse a course that does not fit the data, or the epochs that it has."""
        train, epochs = self._data[0], len(course.history)
        assert train is not None
        for array, rows in zip(course.kept or (), (train.num_users, train.num_items), strict=False):
            if array.dtype != np.float32 or array.shape != (rows, self._config.get("embedding_dim")) or not np.isfinite(array).all():
                raise UsageError(f"{self.path} is damaged: the embeddings that it keeps have another shape, or are not finite")
        done = next((state[name] for name in ("sweep", "epoch") if name in state), np.zeros(0))
        if done.tolist() != [epochs] or not 0 <= course.best_epoch <= epochs or (course.kept is None) != (course.best_epoch == 0):
            raise UsageError(f"{self.path} is damaged: its epochs do not fit its history")
        if any(not is_finite(value) for record in course.history for value in record.values()):
            raise UsageError(f"{self.path} is damaged: its history has something else than numbers")
        if course.seed < 0 or course.without_better < 0 or course.low < 0 or course.seconds < 0:
            raise UsageError(f"{self.path} is damaged: a number is below 0")
        if course.l2 is not None and (course.l2 <= 0 or any("l2" not in record for record in course.history)):
            raise UsageError(f"{self.path} is damaged: the L2 strength is not in its history")

    def is_due(self, epoch: int) -> bool:
        """Return whether to write one after `epoch`."""
        if self.path is None:
            return False
        if self._every is not None:
            return epoch % self._every == 0
        return time.perf_counter() - self._last >= max(_SECONDS, _WRITING_TIMES * self._took)

    def write(self, course: Course, state: State) -> None:
        """Replace the checkpoint; if that fails, the one before is as it was. Without a path, nothing is written."""
        if self.path is None:
            return
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
