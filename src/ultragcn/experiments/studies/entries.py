"""Who is compared: models of this library by their names, and models of the user's own by what makes them."""

import json
import pickle
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ultragcn.data.datasets import Dataset
from ultragcn.data.interactions import Interactions
from ultragcn.errors import UsageError, unknown_name
from ultragcn.evaluation.own_models import check_form
from ultragcn.experiments.runs.training import accepted
from ultragcn.models.refit import chooses_epochs, unfitted_for_refit
from ultragcn.models.registry import MODELS, has_kept_settings, make_model
from ultragcn.storage import hash_bytes

Factory = Callable[..., Any]
"""What makes an untrained model of the user's own: a class, or a function that returns an object."""


@dataclass(frozen=True)
class Entry:
    """A model of a comparison."""

    name: str
    settings: Mapping[str, Any]
    """Given hyper-parameters."""
    factory: Factory | None = None
    """What makes a model of the user's own; None for one of this library."""

    def check(self) -> None:
        """Raise `UsageError` or `MissingDependencyError` for what could only fail later, in another process."""
        if self.factory is None:
            try:
                unfitted = make_model(self.name, None, 0, self.settings)
            except UsageError as error:
                raise UsageError(f"settings of {self.name}: {error}" if self.settings else str(error)) from None
            unfitted.check_runnable()
            return
        apart = f"{self.name} is made in another process, so what makes it must be a class or a function that can be imported"
        main = sys.modules.get("__main__")
        if getattr(self.factory, "__module__", None) == "__main__" and not hasattr(main, "__file__"):
            raise UsageError(f"{apart}; put it into a .py file and import it from there")
        try:
            pickle.dumps(self.factory)
        except Exception as error:
            raise UsageError(f"{apart}, at the top of a .py file: {error}") from error
        self._make(0, ("fit", "recommend"))

    def is_random(self, dataset: str | None) -> bool:
        """Return whether every seed makes another model."""
        if self.factory is None:
            return hasattr(make_model(self.name, dataset, 0, self.settings).config, "seed")
        return bool(accepted(self.factory, seed=0))

    def settings_from(self, dataset: str | None) -> str:
        """Return the word of the table for where the settings are from."""
        if self.settings:
            return "given"
        return "kept" if self.factory is None and has_kept_settings(self.name, dataset) else "defaults"

    def columns(self, dataset: str | None, seed: int) -> dict[str, str]:
        """Return the columns that say with which settings a run was made: those that are no defaults, to read, and a hash of all values.

        Of a model of the user's own, the hash knows what makes it, and what is given; not what is inside.
        """
        if self.factory is None:
            config = make_model(self.name, dataset, seed, self.settings).config
            return {"settings": json.dumps(config.changed()), "settings_hash": config.fingerprint()}
        settings = json.dumps(dict(self.settings), sort_keys=True, default=str)
        maker = f"{getattr(self.factory, '__module__', '')}.{getattr(self.factory, '__qualname__', type(self.factory).__qualname__)}"
        return {"settings": settings, "settings_hash": hash_bytes([f"{maker} {seed} {settings}".encode()])[:16]}

    def fitted(self, dataset: Dataset, seed: int, refit: bool) -> tuple[Any, float, dict[str, Interactions | None]]:
        """Return the trained model, the seconds it took, and what `evaluate` has to be given besides."""
        train = dataset.train if dataset.valid is None or not refit else dataset.train.union(dataset.valid)
        if self.factory is not None:
            model = self._make(seed, ("fit", "recommend"))
            started = time.perf_counter()
            returned = model.fit(train, **({} if refit else accepted(model.fit, valid=dataset.valid)))
            seconds = time.perf_counter() - started
            model = model if returned is None else returned
            check_form(model)
            return model, seconds, {"train": train, "valid": None if refit else dataset.valid}
        fitted: Any = make_model(self.name, dataset.known_as, seed, self.settings)
        on_test = {"select_on": dataset.test} if dataset.protocol == "authors" else {}
        if not refit:
            fitted.fit(dataset.train, dataset.valid, **on_test)
            return fitted, fitted.train_seconds_, {}
        seconds = 0.0
        if chooses_epochs(fitted):  # others have nothing to choose
            seconds = fitted.fit(dataset.train, dataset.valid, **on_test).train_seconds_
            fitted = unfitted_for_refit(fitted)
        fitted.fit(train)
        return fitted, seconds + fitted.train_seconds_, {}

    def _make(self, seed: int, verbs: Sequence[str]) -> Any:
        """Return an untrained model of the user's own, with the verbs it needs."""
        assert self.factory is not None
        try:
            model = self.factory(**accepted(self.factory, seed=seed), **self.settings)
        except TypeError as error:
            raise UsageError(f"{self.name} cannot be made: {error}") from error
        check_form(model, verbs)
        return model


def entries_of(models: Sequence[str] | Mapping[str, Factory | None], settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Entry]:
    """Return the models of a comparison by name, each once.

    Raises
    ------
    UsageError
        A name that is no model of this library and has no callable, or one that is and has; settings of a model that is not there.
    """
    factories = models if isinstance(models, Mapping) else dict.fromkeys(models)
    for name in (*factories, *settings):
        own = factories.get(name)
        if own is None and name not in MODELS:
            raise unknown_name("model", name, [*MODELS, *(known for known, factory in factories.items() if factory is not None)])
        if own is not None and name in MODELS:
            raise UsageError(f"{name} is a model of this library; give yours another name")
        if own is not None and not callable(own):
            raise UsageError(f"{name} must be made by a class or a function, not by a {type(own).__name__}")
        if own is not None and (not name or set(name) & set("/\\\t\n")):
            raise UsageError(f"{name!r} cannot be the name of a model, because files are named by it; leave out slashes and tabs")
    return {name: Entry(name, dict(settings.get(name, {})), factory) for name, factory in factories.items()}
