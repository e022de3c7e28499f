"""Models by name, with the settings kept for a data set: UltraGCN by its solver, and the baselines."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ultragcn.baselines import BASELINES, baseline_for
from ultragcn.config import PARAMETERS, configuration_for
from ultragcn.errors import unknown_name
from ultragcn.model import UltraGCN
from ultragcn.recommender import Recommender

SOLVERS = {"ultragcn": "exact", "ultragcn-sgd": "sgd"}
MODELS = (*SOLVERS, *BASELINES)
"""Names of the models."""


def make_model(model: str, dataset: str | None, seed: int, settings: Mapping[str, Any]) -> Recommender:
    """Return an untrained model with the settings kept for the data set, unless `settings` say otherwise."""
    if model in SOLVERS:
        changes: dict[str, Any] = {"solver": SOLVERS[model], "seed": seed} | dict(settings)
        return UltraGCN(configuration_for(dataset, **changes))
    seeded = {"seed": seed} if hasattr(BASELINES[model].Settings, "seed") else {}
    return baseline_for(model, dataset, **(seeded | dict(settings)))


def hyper_parameters(model: str) -> Mapping[str, dataclasses.Field]:
    """Return what a model's hyper-parameters are declared as, by name; an unknown model raises `UsageError`."""
    if model not in MODELS:
        raise unknown_name("model", model, MODELS)
    return PARAMETERS if model in SOLVERS else {declared.name: declared for declared in dataclasses.fields(BASELINES[model].Settings)}
