"""What the baselines share besides the verbs of every model: how their hyper-parameters are given, and what surrounds learning."""

import inspect
import time
from dataclasses import fields
from typing import Any, ClassVar, Self

import numpy as np

from ultragcn import kernels, rng
from ultragcn.config import HyperParameters
from ultragcn.config.foreign_names import unknown_parameter
from ultragcn.data.interactions import Interactions, refuse_empty, refuse_leaks
from ultragcn.machine import ask_for
from ultragcn.models.files import read_model
from ultragcn.models.recommender import Recommender, checked_threads
from ultragcn.models.verbs import NUM_THREADS, refuse_positional, verb
from ultragcn.progress import Progress, progress_of
from ultragcn.solvers import Sizes


class Baseline(Recommender):
    """A model to compare with.

    A subclass declares its hyper-parameters in a class `Settings` and learns in `_learn`; one that draws random numbers has a
    hyper-parameter `seed`, and finds the seed to use in `seed_`.

    Parameters
    ----------
    **hyper_parameters
        Any hyper-parameter of `Settings` by its name; the others have their defaults.
    num_threads : int, optional
        How many threads the verbs use at most; by default as many as there are cores. It changes no scores (of EASE's, the last digits).

    Raises
    ------
    UsageError
        An unknown name, or a value out of range.
    """

    Settings: ClassVar[type[HyperParameters]]
    _version: ClassVar[int] = 2
    """Of the model's file."""
    config: Any
    seed_: int

    def __init__(self, *given: Any, num_threads: int | None = None, **hyper_parameters: Any):
        refuse_positional(type(self), given, fields(self.Settings)[0].name)
        names = [declared.name for declared in fields(self.Settings)]
        for name in hyper_parameters:
            if name not in names:
                raise unknown_parameter("hyper-parameter", name, [*names, "num_threads"], type(self).__name__)
        self.config = self.Settings(**hyper_parameters)
        self.num_threads = checked_threads(num_threads)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "Settings" in vars(cls):
            cls._format, cls._readers = f"{cls.__name__.lower()}-{cls._version}", {cls._version: read_model}
            # help() shows the hyper-parameters as the signature.
            settings = inspect.signature(cls.Settings).parameters.values()
            by_name = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*settings, NUM_THREADS)]
            cls.__signature__ = inspect.Signature(by_name)  # type: ignore[attr-defined]

    @classmethod
    def _settings(cls) -> type[HyperParameters]:
        return cls.Settings

    @verb
    def fit(self, data: Any, valid: Any = None, *, select_on: Any = None, progress: Progress | bool | None = None, **reading: Any) -> Self:
        """Learn from `data`.

        Parameters
        ----------
        data : Dataset, Interactions, frame, str, Path or sparse matrix
            A data set as `load_dataset` returns it: the model learns its train pairs, and its validation pairs are `valid`. Or train pairs
            alone: interactions, a polars or pandas frame, a file, or a SciPy matrix of users by items.
        valid : Interactions or the like, optional
            Held-out pairs. They count as seen when recommending. A model that chooses its epoch (LightGCN) chooses it on them.
        select_on : Interactions or the like, optional
            Choose the epoch on these pairs instead of `valid`, and do not count them as seen. The protocol `authors` chooses on test data,
            also for a data set that was loaded under it. Do not choose on test data for any other reason.
        progress : bool or Progress, optional
            True shows a bar, in a terminal and in a notebook, for a model that has epochs.
        **reading
            How a file, a frame or a matrix is read, as in `read_interactions`: `user_column`, `item_column`, `min_rating` and the like.

        Returns
        -------
        Baseline
            This model. An interrupt (Ctrl-C) is raised again. A model that chooses among its epochs (LightGCN) then has its best epoch so
            far.

        Raises
        ------
        DataError
            There are no train interactions, or a held-out pair is in train.
        MissingDependencyError
            A package that the model needs is not installed. The message says what to install.
        UsageError
            The model would need more memory than is free, or the data cannot be read. The message says how much memory, and what to use
            instead.

        Examples
        --------
        >>> from ultragcn import EASE, load_dataset
        >>> EASE(l2=100.0).fit(load_dataset("demo")).is_fitted
        True
        """
        taken = self._given(data, valid, select_on, reading)
        train, valid, select_on = taken.train, taken.valid, taken.select_on
        show = progress_of(progress)
        refuse_empty(train)
        refuse_leaks(train, valid, select_on)
        self._set_data(train, valid)
        self._take_beside(taken)
        if hasattr(self.config, "seed"):
            self.seed_ = rng.given_or_fresh(self.config.seed)
        self.check_runnable()
        self._ask_for_memory()
        with kernels.interrupts_kept():
            self._prepare()
        started = time.perf_counter()
        show.start("training", getattr(self.config, "epochs", None), "epoch")
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at
                self._learn(select_on if select_on is not None else valid, show)
        finally:
            show.finish()
            self.train_seconds_ = time.perf_counter() - started
        self._check_learned()
        return self

    _lighter: ClassVar[str] = "fit on less data"
    """What to do where there is too little memory for `fit`."""

    @classmethod
    def _memory_for(cls, sizes: Sizes, squares: int, config: Any) -> int:
        """Return about how many bytes learning takes at its peak, those of the data themselves left out.

        `squares` is the sum of the squares of the users' degrees.
        """
        return 0

    def _ask_for_memory(self) -> None:
        """Raise `MemoryShortError` where there is too little memory for learning."""
        train = self.train_
        what = f"{type(self).__name__} on {train.num_users} users and {train.num_items} items"
        squares = int(np.square(train.user_degrees.astype(np.int64)).sum())
        ask_for(self._memory_for(Sizes(train.num_users, train.num_items, len(train)), squares, self.config), what, self._lighter)

    _kernels: tuple[str, ...] = (
        "rank_users", "find_hits", "list_statistics", "mask_seen", "top_k", "sparse_product", "largest_entries"
    )  # fmt: skip

    def _prepare(self) -> None:
        """Import packages and compile kernels: no part of training, so not in `train_seconds_`."""
        kernels.compile_kernels(*self._kernels)

    def _learn(self, targets: Interactions | None, show: Progress) -> None:
        """Make what `_learned` names from `train_`; `targets` are what an epoch may be chosen on."""
        raise NotImplementedError
