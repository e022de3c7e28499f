"""Updating a run: a run folder whose model knows more interactions than that of an earlier one, with a report of what changed.

It holds manifest.json, history.tsv, metrics.json and model.safetensors, as every run does, and

report.json         what changed, what it is worth, and how far it is from a retrain
times.safetensors   when each pair was, where that is known: the next update of a model that ranks by a trend needs it
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ultragcn import storage
from ultragcn.data.events import events_of
from ultragcn.data.ids import Id
from ultragcn.data.interactions import Interactions
from ultragcn.data.log import read_log
from ultragcn.data.options import TIMED_SPLITS, DataOptions
from ultragcn.data.reading import READING, Rated
from ultragcn.data.titles import read_titles
from ultragcn.errors import UltraGCNError, UsageError
from ultragcn.experiments.runs.manifest import (
    _UNFINISHED,
    EVERYTHING,
    HISTORY,
    MANIFEST,
    METRICS,
    NEXT,
    _clear,
    _now,
    _updated_manifest,
    load_manifest,
    load_run_data,
)
from ultragcn.experiments.runs.train import _put_in_place, _workplace, check_run
from ultragcn.machine import peak_memory_mb
from ultragcn.models.files import MODEL_FILE
from ultragcn.models.recommender import Recommender
from ultragcn.models.registry import load_model
from ultragcn.models.update import NOTHING
from ultragcn.progress import Progress

REPORT, TIMES = "report.json", "times.safetensors"
_TIMES_FORM = "ultragcn-times-1"


class NothingNewError(UltraGCNError):
    """An update would bring nothing: the model has seen all pairs. A job that expects new ones should notice."""


def update_run(
    run: Path,
    interactions: Any,
    out: Path,
    forget: Iterable[Id] = (),
    *,
    sweeps: int | None = None,
    item_graph: str = "new",
    measure: str = "estimate",
    titles: Any = None,
    items_table: Any = None,
    tell: Callable[[str], None] | None = None,
    overwrite: bool = False,
    data_dir: str | None = None,
    progress: Progress | None = None,
    **reading: Any,
) -> dict[str, Any]:
    """Update the model of the run in `run`, write the run folder `out`, and return the report.

    Parameters
    ----------
    run : Path
        A folder that `train_run` or `update_run` wrote. It stays as it is.
    interactions : Interactions, frame, str, Path or sparse matrix
        New pairs.
    out : Path
        The new run folder. It must be another one than `run`, and new or empty unless `overwrite`.
    forget, sweeps, item_graph, measure
        As in `Recommender.update`. Ids to forget are given as text or as they are.
    titles : str, Path or frame, optional
        Titles of all items; by default those of the run, and none for new items.
    items_table : str, Path or frame, optional
        What is known of all items; by default the table of the run, with empty cells for new items.
    tell : callable, optional
        Called with a sentence that says what was read of `interactions`.
    overwrite : bool
        Replace an earlier run in `out`. Its model stays in place until the new one is complete.
    data_dir : str, optional
        Where a named data set is now, where its times are needed.
    progress : Progress, optional
    **reading
        How the interactions are read; what is not given is as it was for the run.

    Raises
    ------
    UsageError
        As of `Recommender.update`; or a folder cannot be used.
    NothingNewError
        All pairs are known, and nobody is forgotten. Nothing is written.
    """
    manifest = load_manifest(run)
    if out.resolve() == run.resolve():
        raise UsageError(f"the updated run needs a folder of its own, and {out} is that of the run; give another --out")
    model = load_model(run)
    check_run(model, manifest["protocol"], out, overwrite=overwrite)
    of_run = manifest.get("data_options", {})
    options = {name: value for name, value in of_run.items() if name in READING and name != "k_core"}
    if of_run.get("split") in TIMED_SPLITS:
        options["split"] = of_run["split"]  # by which times are looked for; nothing is split
    options = {} if isinstance(interactions, Interactions) else options | reading
    if interactions is not None and not isinstance(interactions, Interactions):
        interactions, options = _read(interactions, options, tell), {}
    history = _log_with_times(run, manifest, model, data_dir) if model._update_needs_times else None
    new, report = model.update(
        interactions, _ids(model, forget), history=history, sweeps=sweeps, item_graph=item_graph, measure=measure,
        progress=progress, **options,
    )  # fmt: skip
    if report["how"] == NOTHING:
        raise NothingNewError(f"{report['advice']}, so {out} is not written")
    if titles is not None:
        new.item_titles_ = read_titles(titles, new.item_ids, DataOptions())
    if items_table is not None:
        new.set_items_table(items_table)
    with storage.sole_writer(out):
        _clear(out, NEXT)
        with _workplace(out, beside=(out / MODEL_FILE).exists()) as folder:
            _clear(folder, MODEL_FILE, METRICS, HISTORY, MANIFEST, REPORT, TIMES, *_UNFINISHED)
            storage.write_json(folder / MANIFEST, _updated_manifest(manifest, run, new.train_.hash, report["pairs"]))
            storage.write_rows(folder / HISTORY, _history(new, report))
            storage.write_json(folder / REPORT, report)
            if new.train_.times is not None:
                storage.write_arrays(folder / TIMES, {"times": new.train_.times}, _TIMES_FORM, {"pairs": len(new.train_)})
            new.save(folder)
            storage.write_json(folder / METRICS, _metrics(manifest, new, report))
            if folder != out:
                _clear(out, REPORT, TIMES)
                _put_in_place(folder, out)
    return report


def _read(source: Any, options: Mapping[str, Any], tell: Callable[[str], None] | None) -> Rated:
    """Return the interactions in a source and what is rated too low, and say what was read: rows, columns, users, items and times."""
    log = read_log(source, DataOptions().replace(**options))
    if tell is not None:
        tell(f"{log.name}: {log.about}")
    return Rated(events_of(log).interactions, log.had)


def _ids(model: Recommender, forget: Iterable[Id]) -> list[Id]:
    """Return ids in the kind that the model has: on a command line all are texts."""
    given = list(forget)
    return model.user_ids.parse(given) if all(isinstance(one, str) for one in given) else given  # type: ignore[arg-type]


def _log_with_times(run: Path, manifest: Mapping[str, Any], model: Recommender, data_dir: str | None) -> Interactions:
    """Return what the model of a run has seen, with times: from beside it, or from the data that it was trained on."""
    seen = model.train_ if model.valid_ is None else model.train_.union(model.valid_)
    if (run / TIMES).exists():
        arrays, _ = storage.read_arrays(run / TIMES, _TIMES_FORM)
        times = arrays.get("times")
        if times is None or times.dtype != np.int64 or times.shape != (len(seen),):
            raise UsageError(f"{run / TIMES} is damaged: it does not hold a time for each of the {len(seen)} pairs; put it back as it was")
        return Interactions(seen.matrix, seen.user_ids, seen.item_ids, times)
    data = load_run_data(dict(manifest), data_dir)
    parts = [data.train] if data.valid is None else [data.train, data.train.union(data.valid), data.everything]
    return next((part for part in parts if len(part) == len(seen)), data.everything)


def _history(model: Any, report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a line for each sweep of the update, or one for a model that was trained anew."""
    losses = report["losses"] or [""]
    return [
        {"epoch": number, "seconds": report["seconds"] * number / len(losses), "loss": loss} for number, loss in enumerate(losses, start=1)
    ]


def _metrics(manifest: Mapping[str, Any], model: Any, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what metrics.json says of an updated run: there is no test that its model has not seen."""
    return {
        "dataset": manifest["dataset"],
        "protocol": manifest["protocol"],
        "dialect": "lightgcn",
        "model": manifest.get("model", "ultragcn"),
        "solver": getattr(model.config, "solver", None),
        "seed": getattr(model, "seed_", None),
        "best_epoch": max(1, report["sweeps"]),
        "epochs": max(1, report["sweeps"]),
        "stopped": "epochs",
        "train_seconds": round(report["seconds"], 3),
        "compile_seconds": round(getattr(model, "compile_seconds_", 0.0), 3),
        "peak_memory_mb": peak_memory_mb(),
        "kept": EVERYTHING,
        "updated": _now(),
    }
