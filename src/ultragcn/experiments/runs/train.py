"""One run: train under a protocol, and leave a folder that says what was done and what came out.

manifest.json      model, configuration, seed, versions, data hash, git commit
history.tsv        a line per epoch, as it happens
metrics.json       validation and test metrics of the model that was measured, seconds, memory, and which model is kept
model.safetensors  embeddings, ids and everything else that `load_model` needs

Until it is complete, also what `resume_run` goes on from:

checkpoint.safetensors             how far the first training came
chosen/                            the model of the first training, whose choices later ones repeat
checkpoint-refit.safetensors       how far the refit on train and validation came
measured/                          the model that was measured, and its figures, while another is trained on everything
checkpoint-everything.safetensors  how far that one came
next/                              all of these and the four above, of a run that is to replace the one in the folder
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ultragcn
from ultragcn import rng, storage
from ultragcn.config import Config
from ultragcn.data.datasets import Dataset
from ultragcn.errors import UsageError, unknown_name
from ultragcn.evaluation.metrics import parse_selection
from ultragcn.experiments.runs.manifest import (
    _UNFINISHED,
    CHECKPOINT,
    HISTORY,
    KEEP,
    MANIFEST,
    METRICS,
    NEXT,
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
from ultragcn.experiments.runs.training import Interrupted, Trainings, accepted, kept_of, selection_of
from ultragcn.models.files import MODEL_FILE
from ultragcn.models.recommender import Recommender
from ultragcn.models.registry import name_of, untrained
from ultragcn.models.ultragcn import UltraGCN
from ultragcn.progress import Progress
from ultragcn.training.checkpoint import Checkpoint
from ultragcn.training.course import Record


def train_run(
    dataset: Dataset,
    model: Recommender | Config,
    out: Path,
    *,
    refit: bool = False,
    keep: str = "auto",
    overwrite: bool = False,
    checkpoint_every: int | None = None,
    track: Sequence[str] = (),
    progress: Progress | None = None,
    on_epoch: Callable[[Record], None] | None = None,
) -> dict[str, Any]:
    """Train on `dataset` under its protocol, write the run folder, and return the metrics.

    `clean`: what is chosen is chosen on the validation set, and test is read once, at the end. `authors`: the epoch is chosen on test
    itself, as their code does; its numbers are for comparison with published ones only.

    Parameters
    ----------
    dataset : Dataset
    model : Recommender or Config
        An untrained model, or the hyper-parameters of an UltraGCN. It is not changed.
    out : Path
        The run folder. It must be new or empty unless `overwrite`.
    refit : bool
        Under `clean`, train once more on train and validation together for as many epochs as were chosen, before reading test.
    keep : {"auto", "everything", "measured"}
        The model that is left in the folder. `measured`: the one whose figures are in metrics.json; it has not seen test. `everything`:
        what was chosen, trained once more on train, validation and test together; no pair is left to measure it on. `auto`: everything,
        for data of one's own of which test was held out here, under `clean`; else measured.
    overwrite : bool
        Replace an earlier run in `out`. Its model stays in place until the new run is complete.
    checkpoint_every, progress, on_epoch
        As in `UltraGCN.fit`; models that do not go by epochs have no use for the first and the last.
    track : list of str
        Trackers (`experiments.trackers`) that record how the run goes.

    Returns
    -------
    dict
        What `metrics.json` holds.

    Raises
    ------
    UsageError
        As of `check_run`; or another process is writing to `out`; or nothing is held out, and something that needs it is wanted.
    KeyboardInterrupt
        After the run folder was given what there was; the message says what that is.
    """
    unfitted = UltraGCN(model) if isinstance(model, Config) else model
    options: dict[str, Any] = {"refit": refit, "keep": keep, "checkpoint_every": checkpoint_every, "track": list(track)}
    check_run(unfitted, dataset.protocol, out, overwrite=overwrite, **options)
    kept = kept_of(dataset, keep, refit)
    unfitted = _with_seed(unfitted)  # now, so that the manifest has it and a resumed run draws the same
    with storage.sole_writer(out):
        _clear(out, NEXT)
        with _workplace(out, beside=(out / MODEL_FILE).exists()) as folder:
            _clear(folder, MODEL_FILE, METRICS, HISTORY, MANIFEST, *_UNFINISHED)
            manifest = _manifest(dataset, name_of(unfitted), unfitted.config) | options | {"keep": kept}
            storage.write_json(folder / MANIFEST, manifest)
            try:
                tracking = Tracking(track, folder, manifest)
            except UsageError:
                _clear(folder, MANIFEST)
                raise
            return _train(Trainings(dataset, unfitted, folder, manifest, tracking, progress, on_epoch), out)


def resume_run(
    out: Path,
    *,
    dataset: Dataset | None = None,
    data_dir: str | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[Record], None] | None = None,
    disk: Mapping[str, Any] | None = None,
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
        As in `UltraGCN.fit`; `on_epoch` is not called again for epochs before the checkpoint.
    disk : dict, optional
        `on_disk` and `scratch` of `load_dataset`.

    Raises
    ------
    UsageError
        There is no run in `out`, or one of another version; its data have changed, its checkpoint is damaged, or another process is
        writing to `out`.
    """
    folder = unfinished_in(out)
    if (metrics := complete_metrics(folder)) is not None:
        if folder != out or (out / NEXT).exists():  # it was killed while its last files were moved
            with storage.sole_writer(out):
                _put_in_place(folder, out)
        _clear(out, *_UNFINISHED)  # if it was killed between its last two steps
        return metrics
    manifest = load_manifest(folder)
    version = manifest["versions"]["ultragcn"]
    if version != ultragcn.__version__:
        raise UsageError(
            f"the run in {out} was begun with ultragcn {version}, not {ultragcn.__version__}; finish it with that, or train anew"
        )
    if dataset is not None and (dataset.hash, split_hash(dataset)) != (manifest["data_hash"], manifest["split_hash"]):
        raise UsageError(f"the run in {out} is one on other data, or split otherwise; give those, or train anew")
    if dataset is None:
        dataset = replace(load_run_data(manifest, data_dir, disk=disk), name=manifest["dataset"])
    with storage.sole_writer(out), _workplace(out, beside=folder != out):
        resumed = {"at": _now(), "versions": versions(), "git_commit": git_commit()}
        manifest["resumed"] = [*manifest.get("resumed", []), resumed]
        storage.write_json(folder / MANIFEST, manifest)
        tracking = Tracking(manifest["track"], folder, manifest, resumed=True)
        unfitted = untrained(manifest.get("model", "ultragcn"), manifest["config"])
        return _train(Trainings(dataset, unfitted, folder, manifest, tracking, progress, on_epoch), out)


def goes_on(name: str) -> bool:
    """Return whether a model writes checkpoints, from which its training goes on."""
    return bool(accepted(untrained(name, {}).fit, checkpoint=None))


def unfinished_in(out: Path) -> Path:
    """Return the folder in which a run goes on that was begun in `out`: inside it, where it is to replace an earlier one."""
    inside = out / NEXT
    return inside if (inside / MANIFEST).exists() or (inside / METRICS).exists() else out


def _train(trainings: Trainings, out: Path) -> dict[str, Any]:
    """Do what the manifest says from where the files show that it stands, put the run in place, and return the metrics."""
    folder = trainings.folder
    try:
        metrics = trainings.run()
    except Interrupted as interrupted:
        earlier = f"the model in {out} is as it was"
        if not interrupted.saved:
            left = earlier if (out / MODEL_FILE).exists() else f"there is no model in {out}"
            again = "go on" if (folder / CHECKPOINT).exists() else "begin again"
            raise KeyboardInterrupt(f"interrupted before an epoch ended; {left}; {again} by --resume {out}") from None
        left = f"; {earlier}" if folder != out else ""
        raise KeyboardInterrupt(f"interrupted; the best model so far is in {folder}{left}; go on by --resume {out}") from None
    _clear(folder, *_UNFINISHED)
    trainings.tracking.finish(metrics)
    if folder != out:
        _put_in_place(folder, out)
    return metrics


@contextmanager
def _workplace(out: Path, beside: bool) -> Iterator[Path]:
    """Yield the folder to write a run into: `out`, or, `beside` the run that is there, one inside it."""
    if not beside:
        yield out
        return
    with storage.sole_writer(out / NEXT):
        yield out / NEXT


def _put_in_place(folder: Path, out: Path) -> None:
    """Move the files of a complete run into `out`, one by one, from the manifest to metrics.json.

    Whenever this stops, it can be begun again: metrics.json is there until all is done.
    """
    try:
        if (folder / MANIFEST).exists() and folder != out:
            for left in out.glob("events.out.tfevents.*"):
                left.unlink()  # of the run that is replaced
        moved = [path.name for path in folder.iterdir()] if folder != out else []
        for name in sorted(moved, key=lambda name: (name == METRICS, name != MANIFEST)):
            os.replace(folder / name, out / name)
    except OSError as error:
        raise _unusable(out, error) from error
    _clear(out, *_UNFINISHED, NEXT)


def _with_seed(unfitted: Recommender) -> Recommender:
    """Return a model with the seed that is used; one that draws nothing stays as it is."""
    config: Any = unfitted.config
    if not hasattr(config, "seed"):
        return unfitted
    return type(unfitted)(**(unfitted.get_params() | {"seed": rng.given_or_fresh(config.seed)}))


def check_run(
    model: Recommender,
    protocol: str,
    out: Path | None,
    *,
    refit: bool = False,
    keep: str = "auto",
    overwrite: bool = False,
    checkpoint_every: int | None = None,
    track: Sequence[str] = (),
) -> None:
    """Refuse what `train_run` would refuse, before any data are read; without `out`, the folder is new.

    Raises
    ------
    UsageError
        `select_by` is no metric to choose by; `refit` without a validation set; `keep` is nothing that can be kept; `out` is in use, or
        holds files of something else, which `overwrite` does not change; `checkpoint_every` is no number of epochs; there is no such
        tracker.
    MissingDependencyError
        A tracker's package is not installed.
    """
    parse_selection(selection_of(model))
    if keep not in KEEP:
        raise unknown_name("keep", keep, KEEP)
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
        unfinished = complete_metrics(unfinished_in(out)) is None
        raise UsageError(
            f"{out} already holds {'a run that is not complete' if unfinished else 'files'} ({', '.join(present[:3])}); "
            f"{f'go on with it by --resume {out}, ' if unfinished else ''}give another --out, or --overwrite"
        )
