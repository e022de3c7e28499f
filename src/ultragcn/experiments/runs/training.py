"""The trainings of a run, one after another: what is measured, and what is kept.

1. Train, and choose on the validation pairs.
2. With refit: train what was chosen again, on train and validation. The test figures are those of this model, else of the first.
3. Where everything is to be known: train what was chosen on train, validation and test together. Nothing is left to measure this model on.

Each training that has ended leaves a folder or a file, so that a run that was killed goes on with the next.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ultragcn import storage
from ultragcn.data.datasets import Dataset
from ultragcn.data.interactions import Interactions
from ultragcn.data.reading import reading_of
from ultragcn.errors import UsageError
from ultragcn.evaluation.evaluate import evaluate
from ultragcn.evaluation.metrics import DEFAULT_LABELS, labels_in_training, parse_selection
from ultragcn.experiments.runs.manifest import (
    CHECKPOINT,
    CHOSEN,
    EVERYTHING,
    EVERYTHING_CHECKPOINT,
    HISTORY,
    MEASURED,
    METRICS,
    REFIT_CHECKPOINT,
    read_metrics,
)
from ultragcn.experiments.runs.trackers import Tracking
from ultragcn.machine import peak_memory_mb
from ultragcn.models.files import MODEL_FILE
from ultragcn.models.popularity import Popularity
from ultragcn.models.recommender import Recommender
from ultragcn.models.refit import unfitted_for_refit
from ultragcn.progress import Progress
from ultragcn.training.course import Record

_DEFAULT_SELECTION = "recall@20"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C came; `saved` says whether there is a model to use."""

    def __init__(self, saved: bool):
        super().__init__()
        self.saved = saved


@dataclass
class Trainings:
    """The trainings of one run, from where the files in `folder` show that it stands.

    Parameters
    ----------
    dataset : Dataset
    unfitted : Recommender
        What is trained first.
    folder : Path
        Where everything is written.
    manifest : dict
        What manifest.json holds: `refit`, `keep`, `checkpoint_every`.
    tracking : Tracking
    progress, on_epoch
        As in `UltraGCN.fit`.
    """

    dataset: Dataset
    unfitted: Recommender
    folder: Path
    manifest: Mapping[str, Any]
    tracking: Tracking
    progress: Progress | None = None
    on_epoch: Callable[[Record], None] | None = None
    _usable: Recommender | None = field(default=None, init=False)
    """What an interrupt leaves to save."""
    _figures: dict[str, Any] = field(default_factory=dict, init=False)
    """What metrics.json says of the model that was measured."""

    def run(self) -> dict[str, Any]:
        """Train what is left to train, save the model to keep, and return the metrics.

        Raises
        ------
        Interrupted
            After the best model so far was saved, if there was one.
        """
        try:
            model, metrics = self._trained()
        except KeyboardInterrupt:
            self.tracking.finish(None)
            if self._usable is None or not _is_whole(self._usable):
                raise Interrupted(saved=False) from None
            self._save(self._usable, self.folder)
            summary = self._figures or self._summary(self._usable, self._usable, {})
            # The model may be one that was trained to its end, and a later training interrupted.
            storage.write_json(self.folder / METRICS, summary | {"stopped": "interrupted"})
            raise Interrupted(saved=True) from None
        self._save(model, self.folder)
        storage.write_json(self.folder / METRICS, metrics)
        return metrics

    def _trained(self) -> tuple[Recommender, dict[str, Any]]:
        """Return the model to keep, and what metrics.json says."""
        if not len(self.dataset.test):  # nothing is held out
            model = self._choose()  # which _save lets know what users had besides
            return model, self._summary(model, model, {})
        everything = self.manifest.get("keep") == EVERYTHING
        figures = self.folder / MEASURED / METRICS
        if figures.exists():
            self._usable, self._figures = type(self.unfitted).load(self.folder / MEASURED), read_metrics(self.folder / MEASURED)
        else:
            chosen = self._choose()
            if self.manifest["refit"] or everything:
                self._save(chosen, self.folder / CHOSEN)
            parts = {} if self.dataset.valid is None else {"valid": evaluate(chosen, self.dataset.valid, labels_of(chosen))}
            measured = chosen
            if self.manifest["refit"] and self.dataset.valid is not None:
                measured = self._fit_again(chosen, self.dataset.train.union(self.dataset.valid), REFIT_CHECKPOINT)
            self._usable = measured
            parts["test"] = evaluate(measured, self.dataset.test, labels_of(measured))
            if self.dataset.known_as is None and self.manifest["model"] != "popularity":
                parts["popularity"] = _popularity_beside(measured, self.dataset.test)
            self._figures = self._summary(chosen, measured, parts)
            if not everything:
                return measured, self._figures
            self._save(measured, self.folder / MEASURED)
            storage.write_json(figures, self._figures)
        chosen = type(self.unfitted).load(self.folder / CHOSEN)
        model = self._fit_again(chosen, self.dataset.everything, EVERYTHING_CHECKPOINT)
        model.had_ = self.dataset.had
        return model, self._figures | {"kept": EVERYTHING, "kept_train_seconds": round(model.train_seconds_, 3)}

    def _choose(self) -> Recommender:
        """Return the model of the first training."""
        if (self.folder / CHOSEN / MODEL_FILE).exists():
            self._usable = type(self.unfitted).load(self.folder / CHOSEN)
            return self._usable
        model: Any = self.unfitted
        self._usable = model
        select_on = self.dataset.test if self.dataset.protocol == "authors" else None
        history = _History(model, self.folder / HISTORY, self.tracking, self.on_epoch)
        options = accepted(
            model.fit, progress=self.progress, on_epoch=history.add, checkpoint=self.folder / CHECKPOINT,
            checkpoint_every=self._checkpoint_every,
        )  # fmt: skip
        model.fit(self.dataset.train, self.dataset.valid, select_on=select_on, **options)
        history.complete(self.dataset.valid if select_on is None else select_on)
        return self.unfitted

    def _fit_again(self, chosen: Recommender, train: Interactions, checkpoint: str) -> Recommender:
        """Return what was chosen, trained on more pairs."""
        model: Any = unfitted_for_refit(chosen)
        every = self._checkpoint_every
        options = accepted(model.fit, progress=self.progress, checkpoint=self.folder / checkpoint, checkpoint_every=every)
        fitted: Recommender = model.fit(train, **options)
        return fitted

    @property
    def _checkpoint_every(self) -> int | None:
        return self.manifest["checkpoint_every"] or None  # runs of before had 0 for None

    def _save(self, model: Recommender, folder: Path) -> None:
        """Write the model, which knows pairs alone, with the titles and the items table of the data set, and how it was read."""
        model.item_titles_, model.items_table_ = self.dataset.item_titles, self.dataset.items_table
        model.reading_ = reading_of(self.dataset.options)
        if not len(self.dataset.test):  # nothing is held out, so every model is one for use
            model.had_ = self.dataset.had
        model.save(folder)

    def _summary(self, chosen: Any, measured: Any, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Return what metrics.json says of a model that was chosen and the one that is measured, in the order in which it says it."""
        # History and model carry the loss in full; here are the figures people quote.
        again = 0.0 if measured is chosen else measured.train_seconds_
        summary = {
            "dataset": self.dataset.name,
            "protocol": self.dataset.protocol,
            "dialect": "lightgcn",
            "model": self.manifest["model"],
            "solver": getattr(chosen.config, "solver", None),
            "seed": getattr(chosen, "seed_", None),
            "best_epoch": getattr(chosen, "best_epoch_", _num_epochs(chosen)),
            "epochs": _num_epochs(measured),
            "stopped": getattr(measured, "stopped_", "epochs"),
            "train_seconds": round(chosen.train_seconds_ + again, 3),
            "compile_seconds": round(getattr(chosen, "compile_seconds_", 0.0), 3),
            "peak_memory_mb": peak_memory_mb(),
            "kept": MEASURED if len(self.dataset.test) else EVERYTHING,
            **parts,
        }
        said = {"chosen": getattr(chosen, "chosen_", {}), "best_reachable": dict(self.dataset.best_recall)}
        return summary | {name: value for name, value in said.items() if value}


class _History:
    """history.tsv and the trackers, while a model trains."""

    def __init__(self, model: Any, path: Path, tracking: Tracking, on_epoch: Callable[[Record], None] | None):
        self._model, self._path, self._tracking, self._on_epoch = model, path, tracking, on_epoch
        self._columns = ("epoch", "seconds", "loss", *labels_in_training(selection_of(model)))
        self._all_written = False

    def add(self, record: Record) -> None:
        """Take note of an epoch."""
        if self._all_written:
            storage.append_row(self._path, self._row(record))
        else:  # what stands there may have epochs that were lost with the process
            storage.write_rows(self._path, [self._row(known) for known in self._model.history_])
        for known in [record] if self._all_written else self._model.history_:
            self._tracking.record(known)
        self._all_written = True
        if self._on_epoch is not None:
            self._on_epoch(record)

    def complete(self, targets: Interactions | None) -> None:
        """Write the history of a model that does not say how it goes: all of it, or one line of a model that has none."""
        if self._all_written:
            return
        records: list[Record] = getattr(self._model, "history_", [])
        if not records:
            measured = {} if targets is None else evaluate(self._model, targets, self._columns[3:])
            records = [{"epoch": _num_epochs(self._model), "seconds": self._model.train_seconds_, **measured}]
        storage.write_rows(self._path, [self._row(record) for record in records])

    def _row(self, record: Record) -> dict[str, Any]:
        """Return a line; it has every column, measured or not, so that the file can be read while it grows."""
        return {name: record.get(name, "") for name in self._columns}


def accepted(function: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Return those options that `function` has parameters for."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in known}


def selection_of(model: Recommender) -> str:
    """Return the metric that a model chooses by, or the usual one for a model that chooses nothing."""
    return str(getattr(model.config, "select_by", _DEFAULT_SELECTION))


def labels_of(model: Recommender) -> list[str]:
    """Return the metrics of a run's figures."""
    return list(dict.fromkeys([*DEFAULT_LABELS, str(parse_selection(selection_of(model)))]))


def kept_of(dataset: Dataset, keep: str, refit: bool) -> str:
    """Return which model a run on `dataset` keeps: `measured` or `everything`.

    Raises
    ------
    UsageError
        Nothing is held out, and the measured model or a refit of it is wanted.
    """
    if not len(dataset.test):
        if keep == MEASURED:
            raise UsageError("split none holds nothing out, so no model is measured; leave out --keep measured, or give another split")
        if refit:
            raise UsageError("split none trains on everything at once, so there is nothing to refit on; leave out --refit")
        return EVERYTHING
    if keep != "auto":
        return keep
    own = dataset.known_as is None and dataset.one_log and dataset.protocol == "clean"
    return EVERYTHING if own else MEASURED


def _popularity_beside(measured: Recommender, test: Interactions) -> dict[str, float]:
    """Return the figures of popularity, learned from the same pairs as a model and measured on the same test pairs."""
    figures = evaluate(Popularity().fit(measured.train_, measured.valid_), test, DEFAULT_LABELS)
    return {label: figures[label] for label in DEFAULT_LABELS}


def _is_whole(model: Recommender) -> bool:
    """Return whether a model can be saved: one that was interrupted may have learned something and lack the rest."""
    return model.is_fitted and all(hasattr(model, name) for name in model._recorded) and getattr(model, "history_", None) != []


def _num_epochs(model: Any) -> int:
    """Return how many epochs a model was trained; 1 for a model that learns in one go."""
    return len(model.history_) if hasattr(model, "history_") else int(getattr(model.config, "epochs", 1) or 1)
