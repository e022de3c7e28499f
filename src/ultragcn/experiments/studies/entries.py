"""Who is compared: models of this library by their names, and models of the user's own by what makes them."""

import importlib
import json
import pickle
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultragcn.data.containers import require_file
from ultragcn.data.datasets import Dataset
from ultragcn.data.interactions import Interactions
from ultragcn.errors import NotFittedError, UsageError, did_you_mean, unknown_name
from ultragcn.evaluation.lists import RankedLists, read_lists
from ultragcn.evaluation.own_models import check_form
from ultragcn.experiments.runs.training import accepted
from ultragcn.models.popularity import HALF_LIVES, choose_half_life, may_choose_half_life
from ultragcn.models.recommender import Recommender
from ultragcn.models.refit import chooses_epochs, unfitted_for_refit
from ultragcn.models.registry import MODELS, has_kept_settings, make_model
from ultragcn.storage import hash_bytes, hash_file

Factory = Callable[..., Any]
"""What makes an untrained model of the user's own: a class, or a function that returns an object."""


@dataclass(frozen=True)
class ListsFile:
    """Ranked lists in a file, as a model of the user's own: what `read_lists` reads, for the data set that is compared on."""

    path: str

    def __call__(self) -> "ListsFile":
        """Return what stands for the model; there is nothing to train."""
        return self

    @property
    def fingerprint(self) -> str:
        """A hash of what the file holds: other lists are another model."""
        return hash_file(Path(self.path))

    def fit(self, train: Interactions, valid: Interactions | None = None) -> RankedLists:
        """Return the lists, checked against the data."""
        return read_lists(self.path, train, valid)

    def recommend(self, user_ids: Sequence[Any], top_k: int) -> Any:
        """Raise: lists are evaluated as they are."""
        raise NotFittedError("lists from a file recommend nothing before they are fitted to the data they are for")


@dataclass(frozen=True)
class Entry:
    """A model of a comparison."""

    name: str
    settings: Mapping[str, Any]
    """Given hyper-parameters."""
    factory: Factory | None = None
    """What makes a model of the user's own; None for one of this library."""

    def check(self, apart: bool = True) -> None:
        """Raise `UsageError` or `MissingDependencyError` for what could only fail later; `apart`: in another process."""
        if self.factory is None:
            try:
                unfitted = make_model(self.name, None, 0, self.settings)
            except UsageError as error:
                raise UsageError(f"settings of {self.name}: {error}" if self.settings else str(error)) from None
            unfitted.check_runnable()
            return
        if apart:
            self._check_that_it_can_be_sent()
        if isinstance(self.factory, ListsFile) and self.settings:
            raise UsageError(f"{self.name} is read from {self.factory.path}, so it takes no settings; leave its table out")
        self._make(0, ("fit", "recommend"))

    def _check_that_it_can_be_sent(self) -> None:
        why = f"{self.name} is made in another process, so what makes it must be a class or a function that can be imported"
        main = sys.modules.get("__main__")
        if getattr(self.factory, "__module__", None) == "__main__" and not hasattr(main, "__file__"):
            raise UsageError(f"{why}; put it into a .py file and import it from there")
        try:
            pickle.dumps(self.factory)
        except Exception as error:
            raise UsageError(f"{why}, at the top of a .py file: {error}") from error

    def is_random(self, data: Dataset) -> bool:
        """Return whether every seed makes another model."""
        if self.factory is None:
            return hasattr(make_model(self.name, data.tuned_as, 0, self.settings).config, "seed")
        return bool(accepted(self.factory, seed=0))

    def settings_from(self, data: Dataset) -> str:
        """Return the word of the table for where the settings are from."""
        if self.settings or isinstance(self.factory, ListsFile):
            return "given"
        if self._chooses_half_life(data):
            return "chosen"
        return "kept" if self.factory is None and has_kept_settings(self.name, data.tuned_as) else "defaults"

    def _chooses_half_life(self, data: Dataset) -> bool:
        """Return whether this is popularity whose half-life is chosen on validation, because none is given and times are known."""
        return self.factory is None and self.name == "popularity" and not self.settings and may_choose_half_life(data.train, data.valid)

    def columns(self, data: Dataset, seed: int) -> dict[str, str]:
        """Return the columns that say with which settings a run was made: those that are no defaults, to read, and a hash of all values.

        Of a model of the user's own, the hash knows what makes it, and what is given; not what is inside.
        """
        if self._chooses_half_life(data):
            return {"settings": json.dumps({"half_life": "chosen"}), "settings_hash": hash_bytes([repr(HALF_LIVES).encode()])[:16]}
        if self.factory is None:
            config = make_model(self.name, data.tuned_as, seed, self.settings).config
            return {"settings": json.dumps(config.changed()), "settings_hash": config.fingerprint()}
        if isinstance(self.factory, ListsFile):
            return {"settings": json.dumps({"lists": self.factory.path}), "settings_hash": self.factory.fingerprint[:16]}
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
            if isinstance(model, (RankedLists, Recommender)):  # which know what they were checked against
                return model, 0.0 if isinstance(model, RankedLists) else seconds, {}
            check_form(model)
            return model, seconds, {"train": train, "valid": None if refit else dataset.valid}
        if dataset.valid is not None and self._chooses_half_life(dataset):
            started = time.perf_counter()
            chosen = choose_half_life(dataset.train, dataset.valid)
            chosen = chosen.untrained().fit(train) if refit else chosen
            return chosen, time.perf_counter() - started, {}
        fitted: Any = make_model(self.name, dataset.tuned_as, seed, self.settings)
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


def factories_of(words: Sequence[str]) -> dict[str, Factory | None]:
    """Return the models that a command line names, as `entries_of` takes them.

    Parameters
    ----------
    words : list of str
        A name of `MODELS`; `lists:FILE`, ranked lists from elsewhere; `package.module:Class`, a class or a function that can be imported
        from where the command runs. The last two may have a name of their own before them: `NAME=lists:FILE`.

    Raises
    ------
    UsageError
        A file or something to import is not there, or a name comes twice.
    """
    found: dict[str, Factory | None] = {}
    for word in words:
        name, equals, made_by = word.rpartition("=")
        kind, colon, rest = made_by.partition(":")
        if not colon:
            if equals:
                raise UsageError(f"{word}: only lists:FILE and package.module:Class take a name; {made_by} has one")
            found[word] = None
            continue
        if kind == "lists":
            require_file(Path(rest), "a file of ranked lists")
            if not Path(rest).exists():
                raise UsageError(f"there is no file {rest}; lists:FILE names a file of ranked lists")
            name, factory = name or Path(rest).name.split(".")[0], ListsFile(rest)
        else:
            name, factory = name or rest.rpartition(".")[2], _imported(kind, rest)
        if name in found:
            raise UsageError(f"two models are called {name}; give one of them another name: NAME={made_by}")
        found[name] = factory
    return found


def _imported(module: str, path: str) -> Any:
    """Return what stands at `path` in a module, which may lie where the command runs."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        name = error.name if isinstance(error, ModuleNotFoundError) else None
        missing = name is not None and f"{module}.".startswith(f"{name}.")
        why = f"there is no module {name} here or among the installed ones" if missing else f"{type(error).__name__}: {error}"
        raise UsageError(f"cannot import {module}: {why}; a model of your own is given as package.module:Class") from error
    for name in path.split("."):
        if not hasattr(found, name):
            public = [known for known in vars(found) if not known.startswith("_")]
            raise UsageError(f"{module} has no {path}{did_you_mean(name, public)}; a model of your own is given as package.module:Class")
        found = getattr(found, name)
    return found


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
