"""Models side by side, from Python: `ultragcn compare` as a function."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ultragcn.data.datasets import Dataset, load_dataset
from ultragcn.errors import UsageError
from ultragcn.evaluation.metrics import DEFAULT_LABELS
from ultragcn.experiments.studies import compare as study
from ultragcn.experiments.studies.entries import Factory
from ultragcn.models.recommender import Recommender
from ultragcn.models.registry import BASELINES
from ultragcn.models.ultragcn import UltraGCN
from ultragcn.progress import Progress, progress_of


def compare(
    data: Any = "demo",
    models: str | type[Recommender] | Sequence[str | type[Recommender]] | Mapping[str, Factory | None] = study.DEFAULT_MODELS,
    seeds: int | Sequence[int] = 3,
    *,
    metrics: Sequence[str] = DEFAULT_LABELS,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    refit: bool = False,
    out: str | Path | None = None,
    progress: Progress | bool | None = None,
) -> study.Table:
    """Train models with several seeds, evaluate each on test, and return a table: a line a model, the best one first.

    The models learn from train, and choose on valid what they choose. All of them run in this process, one after another.

    Parameters
    ----------
    data : Dataset, or what `load_dataset` takes
    models : str, class, list of them, or dict of str -> callable
        Names as in `ultragcn compare --models`, or classes of this library. In a dict, a callable that makes a model of your own, with
        `fit` and `recommend`, or None for the model of this library that has the name.
    seeds : int or list of int
        How many seeds, from 0 on, or which. A model that draws nothing runs once.
    metrics : list of str
        Labels such as `recall@20`. The first one orders the table.
    settings : dict of model -> dict, optional
        Hyper-parameters. The others are those kept for a named data set, else the defaults.
    refit : bool
        Train every model once more on train and valid together, with what it chose, before test is read.
    out : str or Path, optional
        A folder that keeps the runs, user by user, with the table as Markdown, TSV and LaTeX. What it holds is not run again. Without it
        nothing is kept.
    progress : bool or Progress, optional
        True shows a bar.

    Returns
    -------
    Table
        It prints as a table. It holds `lines`, one for each model, and `to_frame()` makes a polars frame of them. A model that failed is a
        line too, which says why.

    Raises
    ------
    UsageError
        Unknown models, metrics or settings, or an `out` that holds something else: before anything is trained.
    MissingDependencyError
        A package that one of the models needs is not installed: likewise.

    Examples
    --------
    >>> from ultragcn import compare, load_dataset
    >>> table = compare(load_dataset("demo"), models=["ease", "popularity"], seeds=1)
    >>> [line.model for line in table]
    ['ease', 'popularity']
    >>> table.to_frame().columns[:4]
    ['model', 'seeds', 'recall@20', 'ndcg@20']
    """
    dataset = data if isinstance(data, Dataset) else load_dataset(data)
    if isinstance(models, (str, type)):
        models = [models]
    named = models if isinstance(models, Mapping) else [_name_of(model) for model in models]
    listed = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    options: dict[str, Any] = {"metrics": metrics, "settings": settings, "refit": refit, "progress": progress_of(progress), "apart": False}
    if out is not None:
        return study.compare(dataset, named, listed, Path(out), **options)
    with tempfile.TemporaryDirectory() as folder:
        return study.compare(dataset, named, listed, Path(folder), **options)


def _name_of(model: Any) -> str:
    """Return the name under which a model is compared, given by name or by class."""
    if isinstance(model, str):
        return model
    names = {kind: name for name, kind in BASELINES.items()} | {UltraGCN: "ultragcn"}
    if model in names:
        return names[model]
    raise UsageError(
        f"models is a list of names such as 'ease' or of classes such as EASE, not of {model!r}; hyper-parameters go into settings, such "
        "as settings={'ease': {'l2': 100}}, and a model of your own into a dict, such as {'mine': MyModel}"
    )
