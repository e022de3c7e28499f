"""Models by name, with the settings kept for a data set: UltraGCN in its variants, and the baselines."""

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ultragcn.config import PARAMETERS, configs_folder, configuration_for, kept_configuration
from ultragcn.errors import unknown_name
from ultragcn.models.baseline import Baseline
from ultragcn.models.bpr import BPR
from ultragcn.models.ease import EASE
from ultragcn.models.files import kind_of_model
from ultragcn.models.ials import IALS
from ultragcn.models.itemknn import ItemKNN
from ultragcn.models.lightgcn import LightGCN
from ultragcn.models.popularity import Popularity
from ultragcn.models.recommender import Recommender
from ultragcn.models.rp3beta import RP3beta
from ultragcn.models.sparse_ease import SparseEASE
from ultragcn.models.ultragcn import UltraGCN
from ultragcn.solvers import Sizes

SETTINGS_FILE = "baselines/settings.toml"  # in configs/, in a folder of its own: a file there would be a data set's
BASELINES: dict[str, type[Baseline]] = {
    "popularity": Popularity, "itemknn": ItemKNN, "rp3beta": RP3beta, "ease": EASE, "sparse-ease": SparseEASE, "ials": IALS, "bpr": BPR,
    "lightgcn": LightGCN,
}  # fmt: skip
"""The baselines by the name they have on the command line and in configs/baselines/settings.toml."""


def baseline_for(name: str, dataset: str | None = None, **changes: Any) -> Baseline:
    """Return the baseline `name` with the settings kept for the benchmark data set `dataset` (the defaults when there are none).

    Parameters
    ----------
    name : str
        One of `BASELINES`.
    dataset : str, optional
        Settings were chosen on its validation items (configs/baselines/settings.toml says how). A name that is none of those, a
        misspelt one too, is taken for a data set of your own: `kept_settings` tells.
    **changes
        Hyper-parameters that win over those.

    Raises
    ------
    UsageError
        No such baseline or hyper-parameter, or a value out of range.
    """
    if name not in BASELINES:
        raise unknown_name("baseline", name, BASELINES)
    kept = kept_settings(name, dataset) if dataset is not None else None
    return BASELINES[name](**((kept or {}) | changes))


def kept_settings(name: str, dataset: str) -> dict[str, Any] | None:
    """Return the settings kept for the baseline `name` on the benchmark data set `dataset`; None when there are none."""
    folder = configs_folder()
    if folder is None or not (folder / SETTINGS_FILE).is_file():
        return None
    settings: dict[str, Any] | None = tomllib.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8")).get(dataset, {}).get(name)
    return settings


VARIANTS: dict[str, dict[str, Any]] = {
    "ultragcn": {"solver": "exact"},
    "ultragcn-default": {"solver": "exact"},
    "ultragcn-paper": {"solver": "exact", "paper": True},
    "ultragcn-sgd": {"solver": "sgd"},
}
"""UltraGCN; as it is on data it knows nothing of, even where settings are kept; the paper's model, minimised exactly; the authors' way."""


_NOTHING_KEPT = ("ultragcn-default",)
MODELS = (*VARIANTS, *BASELINES)
"""Names of the models."""


def make_model(model: str, dataset: str | None, seed: int, settings: Mapping[str, Any]) -> Recommender:
    """Return an untrained model with the settings kept for the data set, unless `settings` say otherwise.

    `dataset` is a `Dataset.tuned_as`: None, data of one's own or another split, has the defaults.
    """
    if model in VARIANTS:
        changes: dict[str, Any] = VARIANTS[model] | {"seed": seed} | dict(settings)
        return UltraGCN(configuration_for(None if model in _NOTHING_KEPT else dataset, **changes))
    seeded = {"seed": seed} if hasattr(BASELINES[model].Settings, "seed") else {}
    return baseline_for(model, dataset, **(seeded | dict(settings)))


def untrained(name: str, settings: Mapping[str, Any]) -> Recommender:
    """Return an untrained model of the class that `name` stands for, with `settings` and nothing that is kept for any data."""
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    return UltraGCN(**settings) if name in VARIANTS else BASELINES[name](**settings)


def memory_for(model: Baseline, sizes: Sizes, squares: int) -> int:
    """Return about how many bytes an untrained baseline will take for learning, those of the data themselves left out.

    Parameters
    ----------
    model : Baseline
    sizes : Sizes
        Of the train pairs.
    squares : int
        The sum of the squares of the users' degrees.

    Examples
    --------
    >>> memory_for(Popularity(), Sizes(10, 10, 50), 300)
    0
    """
    return model._memory_for(sizes, squares, model.config)


def name_of(model: Recommender) -> str:
    """Return the name of a model's class: `ultragcn` for every variant of it."""
    return next((name for name, baseline in BASELINES.items() if type(model) is baseline), "ultragcn")


def load_model(folder: str | Path) -> Recommender:
    """Return the model that `save` wrote into `folder`. It may be of any class."""
    kind = kind_of_model(folder)
    known: tuple[type[Recommender], ...] = (UltraGCN, *BASELINES.values())
    classes = {one.kind(): one for one in known}
    return classes.get(kind, UltraGCN).load(folder)  # which says what a file of no kind is


def every_value(model: Recommender) -> dict[str, Any]:
    """Return all hyper-parameters of a model but its seed: given to `make_model`, nothing that is kept for the data comes to them."""
    return {name: value for name, value in model.config.to_dict().items() if name != "seed"}


def has_kept_settings(model: str, dataset: str | None) -> bool:
    """Return whether `make_model` finds settings that were chosen for the data set."""
    if dataset is None:
        return False
    if model in VARIANTS:
        return model not in _NOTHING_KEPT and kept_configuration(dataset) is not None
    return kept_settings(model, dataset) is not None


def note_of_defaults(models: Iterable[str], dataset: str | None, tuned_as: str | None) -> str | None:
    """Return a sentence where settings are kept for models on a data set, and are not used because it is split otherwise; else None.

    Parameters
    ----------
    models : iterable of str
    dataset : str, optional
        A `Dataset.known_as`.
    tuned_as : str, optional
        The `Dataset.tuned_as` of the same.
    """
    kept = [model for model in models if tuned_as is None and has_kept_settings(model, dataset)]
    if not kept:
        return None
    return (
        f"{', '.join(kept)}: the settings kept for {dataset} were chosen on validation pairs of its usual split, which may be test pairs "
        "of this one, so the defaults are used"
    )


def hyper_parameters(model: str) -> Mapping[str, dataclasses.Field[Any]]:
    """Return what a model's hyper-parameters are declared as, by name; an unknown model raises `UsageError`."""
    if model not in MODELS:
        raise unknown_name("model", model, MODELS)
    return PARAMETERS if model in VARIANTS else {declared.name: declared for declared in dataclasses.fields(BASELINES[model].Settings)}
