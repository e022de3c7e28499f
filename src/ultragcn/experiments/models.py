"""Models by name, with the settings kept for a data set: UltraGCN in its variants, and the baselines."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ultragcn.baselines import BASELINES, baseline_for, kept_settings
from ultragcn.config import PARAMETERS, configuration_for, kept_configuration
from ultragcn.errors import unknown_name
from ultragcn.model import UltraGCN
from ultragcn.recommender import Recommender, kind_of_model

_Model = TypeVar("_Model", bound=Recommender)

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

    `dataset` is a `Dataset.known_as`: None, data of one's own, has the defaults.
    """
    if model in VARIANTS:
        changes: dict[str, Any] = VARIANTS[model] | {"seed": seed} | dict(settings)
        return UltraGCN(configuration_for(None if model in _NOTHING_KEPT else dataset, **changes))
    seeded = {"seed": seed} if hasattr(BASELINES[model].Settings, "seed") else {}
    return baseline_for(model, dataset, **(seeded | dict(settings)))


def load_model(folder: str | Path) -> Recommender:
    """Return the model that `save` wrote into `folder`, of whichever class it is."""
    kind = kind_of_model(folder)
    known: tuple[type[Recommender], ...] = (UltraGCN, *BASELINES.values())
    classes = {one.kind(): one for one in known}
    return classes.get(kind, UltraGCN).load(folder)  # which says what a file of no kind is


def chooses_epochs(model: Recommender) -> bool:
    """Return whether `model` chooses on validation for how many epochs it trains."""
    return "best_epoch_" in model._recorded


def unfitted_for_refit(model: _Model) -> _Model:
    """Return an untrained model with the settings of a trained one and what that chose itself, such as its number of epochs.

    It is to be trained on train and validation together, with nothing left to choose on.
    """
    trained: Any = model
    changes = {"seed": trained.seed_} if hasattr(model, "seed_") else {}
    if chooses_epochs(model):
        changes |= {"epochs": trained.best_epoch_, "patience": trained.best_epoch_}  # else the loss alone might end it earlier
    config: Any = model.config
    if hasattr(config, "schedule_epochs"):  # its steps are those of the training that was stopped there
        changes["schedule_epochs"] = config.schedule_epochs or config.epochs
    if isinstance(model, UltraGCN):
        chosen = dict(model.chosen_)
        config = config.with_l2(chosen.pop("l2")) if "l2" in chosen else config
        changes |= chosen
    return type(model)(**(config.to_dict() | changes))


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


def hyper_parameters(model: str) -> Mapping[str, dataclasses.Field]:
    """Return what a model's hyper-parameters are declared as, by name; an unknown model raises `UsageError`."""
    if model not in MODELS:
        raise unknown_name("model", model, MODELS)
    return PARAMETERS if model in VARIANTS else {declared.name: declared for declared in dataclasses.fields(BASELINES[model].Settings)}
