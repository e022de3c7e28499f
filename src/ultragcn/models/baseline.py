"""What the baselines share besides the verbs of every model: how their hyper-parameters are given, and what surrounds learning."""

import inspect
import time
from dataclasses import fields
from typing import Any, ClassVar, Self

from ultragcn import rng
from ultragcn.config import HyperParameters
from ultragcn.config.foreign_names import unknown_parameter
from ultragcn.data.interactions import Interactions, refuse_empty, refuse_leaks, require_interactions
from ultragcn.models.recommender import Recommender
from ultragcn.progress import Progress, Silent


class Baseline(Recommender):
    """A model to compare with.

    A subclass declares its hyper-parameters in a class `Settings` and learns in `_learn`; one that draws random numbers has a
    hyper-parameter `seed`, and finds the seed to use in `seed_`.

    Parameters
    ----------
    **hyper_parameters
        Any hyper-parameter of `Settings` by its name; the others have their defaults.

    Raises
    ------
    UsageError
        An unknown name, or a value out of range.
    """

    Settings: ClassVar[type[HyperParameters]]
    config: Any
    seed_: int

    def __init__(self, **hyper_parameters: Any):
        names = [declared.name for declared in fields(self.Settings)]
        for name in hyper_parameters:
            if name not in names:
                raise unknown_parameter(f"hyper-parameter of {type(self).__name__}", name, names)
        self.config = self.Settings(**hyper_parameters)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "Settings" in vars(cls):
            cls._format = f"{cls.__name__.lower()}-1"
            # help() shows the hyper-parameters as the signature.
            cls.__signature__ = inspect.signature(cls.Settings)  # type: ignore[attr-defined]

    def fit(
        self,
        train: Interactions,
        valid: Interactions | None = None,
        *,
        select_on: Interactions | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Learn from `train`.

        Parameters
        ----------
        train : Interactions
        valid : Interactions, optional
            Held-out pairs: they count as seen when recommending, and a model that chooses its epoch (LightGCN) does so on them.
        select_on : Interactions, optional
            Choose the epoch on these instead of `valid`, and do not count them as seen. Selecting on test data is what the `authors`
            protocol does; nothing else should.
        progress : Progress, optional
            Shown the epochs of a model that has them.

        Returns
        -------
        Baseline
            This model.

        Raises
        ------
        DataError
            There are no train interactions, or a held-out pair stands in train.
        MissingDependencyError
            A package this model needs is not installed; the message says what to install.
        UsageError
            The model would need more memory than there is; the message says how much, and what to use instead. Or something else
            than interactions was given, such as a whole data set.
        """
        require_interactions("fit", "data.train", train, valid, select_on)
        refuse_empty(train)
        refuse_leaks(train, valid, select_on)
        self._set_data(train, valid)
        if hasattr(self.config, "seed"):
            self.seed_ = rng.given_or_fresh(self.config.seed)
        self.check_runnable()
        from ultragcn.kernels import numba_cpu  # takes a moment, so only now

        with numba_cpu.interrupts_kept():
            self._prepare()
        started = time.perf_counter()
        show = progress or Silent()
        show.start("training", getattr(self.config, "epochs", None), "epoch")
        try:
            self._learn(select_on if select_on is not None else valid, show)
        finally:
            show.finish()
        self.train_seconds_ = time.perf_counter() - started
        return self

    def _prepare(self) -> None:
        """Import packages and compile kernels: no part of training, so not in `train_seconds_`."""
        from ultragcn.kernels import numba_cpu

        numba_cpu.compile_kernels()

    def _learn(self, targets: Interactions | None, show: Progress) -> None:
        """Make what `_learned` names from `train_`; `targets` are what an epoch may be chosen on."""
        raise NotImplementedError
