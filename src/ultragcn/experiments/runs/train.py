"""One run: train under a protocol, and leave a folder that says what was done and what came out.

manifest.json      configuration, seed, versions, data hash, git commit
history.tsv        a line per epoch, as it happens
metrics.json       validation and test metrics, seconds, memory
model.safetensors  embeddings, ids and everything else `UltraGCN.load` needs

Until it is complete, also what `resume_run` goes on from:

checkpoint.safetensors        how far training came
chosen/                       of a refit: the model whose number of epochs it repeats
checkpoint-refit.safetensors  how far the refit came
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ultragcn
from ultragcn import rng, storage
from ultragcn.config import Config
from ultragcn.data.datasets import Dataset
from ultragcn.errors import UsageError
from ultragcn.evaluation.evaluate import evaluate
from ultragcn.evaluation.metrics import DEFAULT_LABELS, labels_in_training, parse_selection
from ultragcn.experiments.runs.manifest import (
    _UNFINISHED,
    CHECKPOINT,
    CHOSEN,
    HISTORY,
    MANIFEST,
    METRICS,
    REFIT_CHECKPOINT,
    _clear,
    _manifest,
    _now,
    _unusable,
    complete_metrics,
    git_commit,
    load_manifest,
    load_run_data,
    split_hash,
    versions,
)
from ultragcn.experiments.runs.trackers import Tracking, check_installed
from ultragcn.machine import peak_memory_mb
from ultragcn.models.files import MODEL_FILE
from ultragcn.models.refit import unfitted_for_refit
from ultragcn.models.ultragcn import UltraGCN
from ultragcn.progress import Progress
from ultragcn.training.checkpoint import Checkpoint
from ultragcn.training.course import Record


def train_run(
    dataset: Dataset,
    config: Config,
    out: Path,
    *,
    refit: bool = False,
    overwrite: bool = False,
    checkpoint_every: int = 0,
    track: Sequence[str] = (),
    progress: Progress | None = None,
    on_epoch: Callable[[Record], None] | None = None,
) -> dict[str, Any]:
    """Train on `dataset` under its protocol, write the run folder, and return the metrics.

    `clean`: the epoch is chosen on the validation set and test is read once, at the end. `authors`: the epoch is chosen on test
    itself, as their code does; its numbers are for comparison with published ones only.

    Parameters
    ----------
    dataset : Dataset
    config : Config
    out : Path
        The run folder. It must be new or empty unless `overwrite`.
    refit : bool
        Under `clean`, train once more on train and validation together for as many epochs as were chosen, before reading test.
    overwrite : bool
        Replace an earlier run in `out`.
    checkpoint_every, progress, on_epoch
        As in `UltraGCN.fit`.
    track : list of str
        Trackers (`experiments.trackers`) to be told how the run goes.

    Returns
    -------
    dict
        What `metrics.json` holds.

    Raises
    ------
    UsageError
        As of `check_run`; or another process is writing to `out`.
    KeyboardInterrupt
        After the run folder was given what there was; the message says what that is.
    """
    check_run(config, dataset.protocol, out, refit=refit, overwrite=overwrite, checkpoint_every=checkpoint_every, track=track)
    config = config.replace(seed=rng.given_or_fresh(config.seed))  # now, so that the manifest has it and a resumed run draws the same
    with storage.sole_writer(out):
        _clear(out, MODEL_FILE, METRICS, HISTORY, MANIFEST, *_UNFINISHED)
        manifest = _manifest(dataset, config) | {"refit": refit, "checkpoint_every": checkpoint_every, "track": list(track)}
        storage.write_json(out / MANIFEST, manifest)
        try:
            tracking = Tracking(track, out, manifest)
        except UsageError:
            _clear(out, MANIFEST)
            raise
        return _train(dataset, config, out, manifest, tracking, progress, on_epoch)


def resume_run(
    out: Path,
    *,
    dataset: Dataset | None = None,
    data_dir: str | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[Record], None] | None = None,
) -> dict[str, Any]:
    """Go on with a run that was killed or interrupted, to the end that it would have reached; return the metrics.

    A run that is complete stays as it is.

    Parameters
    ----------
    out : Path
        The run folder. Its manifest says everything else.
    dataset : Dataset, optional
        The data, where they were in memory; by default they are loaded as the manifest says.
    data_dir : str, optional
        Where a named data set is now, if it has moved.
    progress, on_epoch
        As in `UltraGCN.fit`; epochs before the checkpoint are not told again.

    Raises
    ------
    UsageError
        There is no run in `out`, or one of another version; its data have changed, its checkpoint is damaged, or another process is
        writing to `out`.
    """
    manifest = load_manifest(out)
    if (metrics := complete_metrics(out)) is not None:
        _clear(out, *_UNFINISHED)  # if it was killed between its last two steps
        return metrics
    version = manifest["versions"]["ultragcn"]
    if version != ultragcn.__version__:
        raise UsageError(
            f"the run in {out} was begun with ultragcn {version}, not {ultragcn.__version__}; finish it with that, or train anew"
        )
    if dataset is not None and (dataset.hash, split_hash(dataset)) != (manifest["data_hash"], manifest["split_hash"]):
        raise UsageError(f"the run in {out} is one on other data, or split otherwise; give those, or train anew")
    if dataset is None:
        dataset = replace(load_run_data(manifest, data_dir), name=manifest["dataset"])
    with storage.sole_writer(out):
        resumed = {"at": _now(), "versions": versions(), "git_commit": git_commit()}
        manifest["resumed"] = [*manifest.get("resumed", []), resumed]
        storage.write_json(out / MANIFEST, manifest)
        tracking = Tracking(manifest["track"], out, manifest, resumed=True)
        return _train(dataset, Config().replace(**manifest["config"]), out, manifest, tracking, progress, on_epoch)


def _train(
    dataset: Dataset,
    config: Config,
    out: Path,
    manifest: Mapping[str, Any],
    tracking: Tracking,
    progress: Progress | None,
    on_epoch: Callable[[Record], None] | None,
) -> dict[str, Any]:
    """Do what the manifest says from where the files in `out` show that it stands, and return the metrics."""
    model = UltraGCN(config)
    all_written = False

    def record_epoch(record: Record) -> None:
        nonlocal all_written
        if all_written:
            storage.append_row(out / HISTORY, _row(record, config))
        else:  # what stands there may have epochs that were lost with the process
            storage.write_rows(out / HISTORY, [_row(known, config) for known in model.history_])
        for known in [record] if all_written else model.history_:
            tracking.record(known)
        all_written = True
        if on_epoch is not None:
            on_epoch(record)

    every = manifest["checkpoint_every"]
    select_on = dataset.test if dataset.protocol == "authors" else None
    try:
        if (out / CHOSEN / MODEL_FILE).exists():
            model = UltraGCN.load(out / CHOSEN)
        else:
            model.fit(
                dataset.train, dataset.valid, select_on=select_on, progress=progress, on_epoch=record_epoch,
                checkpoint=out / CHECKPOINT, checkpoint_every=every,
            )  # fmt: skip
        seconds, compile_seconds, best_epoch = model.train_seconds_, model.compile_seconds_, model.best_epoch_
        chosen = model.chosen_
        if manifest["refit"]:
            model.save(out / CHOSEN)
        valid = None if dataset.valid is None else evaluate(model, dataset.valid, _labels(config))
        if manifest["refit"] and dataset.valid is not None:
            train = dataset.train.union(dataset.valid)
            model = unfitted_for_refit(model).fit(train, progress=progress, checkpoint=out / REFIT_CHECKPOINT, checkpoint_every=every)
            seconds += model.train_seconds_
    except KeyboardInterrupt:
        tracking.finish(None)
        if not model.is_fitted or not model.history_:
            left = f"the model in {out} is as it was" if (out / MODEL_FILE).exists() else f"there is no model in {out}"
            again = "go on" if (out / CHECKPOINT).exists() else "begin again"
            raise KeyboardInterrupt(f"interrupted before an epoch ended; {left}; {again} by --resume {out}") from None
        _save(model, dataset, out)
        summary = _summary(dataset, model, {}, model.train_seconds_, model.compile_seconds_, model.chosen_)
        # The model may be one that was trained to its end, and the refit of it interrupted.
        storage.write_json(out / METRICS, summary | {"stopped": "interrupted"})
        raise KeyboardInterrupt(f"interrupted; the best model so far is in {out}; go on by --resume {out}") from None
    _save(model, dataset, out)
    measured = {"valid": valid} if valid is not None else {}
    test = evaluate(model, dataset.test, _labels(config))
    metrics = _summary(dataset, model, measured | {"test": test}, seconds, compile_seconds, chosen) | {"best_epoch": best_epoch}
    storage.write_json(out / METRICS, metrics)
    _clear(out, *_UNFINISHED)
    tracking.finish(metrics)
    return metrics


def _save(model: UltraGCN, dataset: Dataset, out: Path) -> None:
    """Write the model, which knows pairs alone, with the titles of the data set."""
    model.item_titles_ = dataset.item_titles
    model.save(out)


def check_run(
    config: Config,
    protocol: str,
    out: Path | None,
    *,
    refit: bool = False,
    overwrite: bool = False,
    checkpoint_every: int = 0,
    track: Sequence[str] = (),
) -> None:
    """Refuse what `train_run` would refuse, before any data are read; without `out`, the folder is new.

    Raises
    ------
    UsageError
        `select_by` is no metric to choose by; `refit` without a validation set; `out` is in use, or holds files of something else,
        which `overwrite` does not change; `checkpoint_every` is no number of epochs; there is no such tracker.
    MissingDependencyError
        A tracker's package is not installed.
    """
    parse_selection(config.select_by)
    Checkpoint(None, checkpoint_every, {}, ())
    check_installed(track)
    if refit and protocol == "authors":
        raise UsageError("refit needs the clean protocol: under authors there is no validation set to add to train")
    try:
        present = sorted(path.name for path in out.iterdir()) if out is not None and out.exists() else []
    except OSError as error:
        raise _unusable(out, error) from error
    if present and MANIFEST not in present:
        raise UsageError(f"{out} already holds files of something else ({', '.join(present[:3])}); give another --out")
    if out is not None and present and not overwrite:
        unfinished = complete_metrics(out) is None
        raise UsageError(
            f"{out} already holds {'a run that is not complete' if unfinished else 'files'} ({', '.join(present[:3])}); "
            f"{f'go on with it by --resume {out}, ' if unfinished else ''}give another --out, or --overwrite"
        )


def _labels(config: Config) -> list[str]:
    return list(dict.fromkeys([*DEFAULT_LABELS, str(parse_selection(config.select_by))]))


def _row(record: Record, config: Config) -> dict[str, Any]:
    """Return a line of history.tsv; it has every column, measured or not, so that the file can be read while it grows."""
    return {name: record.get(name, "") for name in ("epoch", "seconds", "loss", *labels_in_training(config.select_by))}


def _summary(
    dataset: Dataset,
    model: UltraGCN,
    measured: dict[str, dict[str, float]],
    seconds: float,
    compile_seconds: float,
    chosen: dict[str, float],
) -> dict[str, Any]:
    # History and model carry the loss in full; here are the figures people quote.
    summary = {
        "dataset": dataset.name,
        "protocol": dataset.protocol,
        "dialect": "lightgcn",
        "solver": model.config.solver,
        "seed": model.seed_,
        "best_epoch": model.best_epoch_,
        "epochs": len(model.history_),
        "stopped": model.stopped_,
        "train_seconds": round(seconds, 3),
        "compile_seconds": round(compile_seconds, 3),
        "peak_memory_mb": peak_memory_mb(),
        **measured,
    }
    return summary | ({"chosen": chosen} if chosen else {}) | ({"best_reachable": dict(dataset.best_recall)} if dataset.best_recall else {})
