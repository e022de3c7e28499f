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

import importlib.metadata
import platform
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ultragcn
from ultragcn import rng, storage
from ultragcn.checkpoint import Checkpoint
from ultragcn.config import Config
from ultragcn.data.datasets import Dataset, dataset_names, load_dataset
from ultragcn.errors import UsageError
from ultragcn.evaluation.evaluate import evaluate
from ultragcn.evaluation.metrics import DEFAULT_LABELS, labels_in_training, parse_selection
from ultragcn.experiments.models import unfitted_for_refit
from ultragcn.experiments.trackers import Tracking, check_installed
from ultragcn.model import MODEL_FILE, Record, UltraGCN
from ultragcn.progress import Progress

MANIFEST, HISTORY, METRICS = "manifest.json", "history.tsv", "metrics.json"
_UNFINISHED = CHECKPOINT, CHOSEN, REFIT_CHECKPOINT = "checkpoint.safetensors", "chosen", "checkpoint-refit.safetensors"
_NEEDED = ("versions", "config", "dataset", "data_source", "data_dir", "data_hash", "protocol", "split_seed", "refit")
"""What a manifest must say."""
_PACKAGES = ("numpy", "scipy", "numba", "torch")


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


def complete_metrics(out: Path) -> dict[str, Any] | None:
    """Return the metrics of the run in `out`; None when it was killed or interrupted before its end."""
    if not (out / METRICS).exists():
        return None
    metrics = storage.read_json(out / METRICS)
    return metrics if metrics["stopped"] != "interrupted" else None


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
        model.save(out)
        summary = _summary(dataset, model, {}, model.train_seconds_, model.compile_seconds_, model.chosen_)
        # The model may be one that was trained to its end, and the refit of it interrupted.
        storage.write_json(out / METRICS, summary | {"stopped": "interrupted"})
        raise KeyboardInterrupt(f"interrupted; the best model so far is in {out}; go on by --resume {out}") from None
    model.save(out)
    measured = {"valid": valid} if valid is not None else {}
    test = evaluate(model, dataset.test, _labels(config))
    metrics = _summary(dataset, model, measured | {"test": test}, seconds, compile_seconds, chosen) | {"best_epoch": best_epoch}
    storage.write_json(out / METRICS, metrics)
    _clear(out, *_UNFINISHED)
    tracking.finish(metrics)
    return metrics


def load_manifest(folder: Path) -> dict[str, Any]:
    """Return what a run folder says about how it was made."""
    if not Path(folder).is_dir():
        raise UsageError(f"no run folder {folder}; give a folder that ultragcn train wrote")
    if not (Path(folder) / MANIFEST).exists() and (Path(folder) / MODEL_FILE).is_file():
        raise UsageError(
            f"{folder} holds a model alone, as save writes it, and does not say which data it is for; give a folder that ultragcn train "
            "wrote, or evaluate the model in Python: UltraGCN.load(folder).evaluate(data.test)"
        )
    if not (Path(folder) / MANIFEST).exists():
        raise UsageError(f"{folder} has no {MANIFEST}; give a folder that ultragcn train wrote")
    manifest = storage.read_json(Path(folder) / MANIFEST)
    if lacking := [name for name in _NEEDED if name not in manifest]:
        raise UsageError(f"{Path(folder) / MANIFEST} does not say {lacking[0]}, as train writes it; put it back as it was, or train anew")
    return manifest


def load_run_data(manifest: dict[str, Any], data_dir: str | None) -> Dataset:
    """Return the data set a run was trained on, read and split as it was.

    Raises
    ------
    UsageError
        The files are gone, there are other data in that place now, they are split otherwise, or the run was trained on data in memory.
    """
    source = manifest["data_source"]
    if source is None:
        raise UsageError("this run was trained on data in memory, which cannot be loaded again; evaluate the model in Python")
    files, named = manifest.get("data_files", {}), source in dataset_names()
    for path in files.values() if named else (source, *files.values()):
        if not Path(path).exists():
            raise UsageError(f"the run was trained on {path}, which is gone; put it back")
    dataset = load_dataset(
        source,
        data_dir or manifest["data_dir"],
        **files,
        protocol=manifest["protocol"],
        split_seed=manifest["split_seed"],
        **manifest.get("data_options", {}),
    )
    if dataset.hash != manifest["data_hash"]:
        pairs = ", ".join([source, *(files[part] for part in ("test", "valid") if part in files)])
        if pairs != source:
            raise UsageError(f"one of {pairs} has changed since the run was trained on them; put it back as it was, or train anew")
        if not named:
            raise UsageError(f"{source} has changed since the run was trained on it; put it back as it was, or train anew")
        raise UsageError(
            f"{source} is not the data this run was trained on (hash {dataset.hash[:12]}, not {manifest['data_hash'][:12]}); "
            "give the right place with --data_dir"
        )
    if split_hash(dataset) != manifest.get("split_hash", split_hash(dataset)):  # runs of earlier versions have none
        raise UsageError(f"{source} is split otherwise than when the run was trained on it; train anew")
    return dataset


def split_hash(dataset: Dataset) -> str:
    """Return the SHA-256 over what train, valid and test became."""
    parts = (dataset.train, dataset.valid, dataset.test)
    return storage.hash_bytes([part.hash.encode() for part in parts if part is not None])


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


def _clear(out: Path, *names: str) -> None:
    """Remove files and folders of these names from the run folder, where they are."""
    try:
        for name in names:
            if (out / name).is_dir():
                shutil.rmtree(out / name)
            elif (out / name).exists():  # asked, because a complete run may lie where nothing can be written
                (out / name).unlink()
    except OSError as error:
        raise _unusable(out, error) from error


def _unusable(out: Path | None, error: OSError) -> UsageError:
    return UsageError(f"cannot use {out} as run folder: {error.strerror}; choose a folder you can write to")


def _labels(config: Config) -> list[str]:
    return list(dict.fromkeys([*DEFAULT_LABELS, str(parse_selection(config.select_by))]))


def _row(record: Record, config: Config) -> dict[str, Any]:
    """Return a line of history.tsv; it has every column, measured or not, so that the file can be read while it grows."""
    return {name: record.get(name, "") for name in ("epoch", "seconds", "loss", *labels_in_training(config.select_by))}


def _manifest(dataset: Dataset, config: Config) -> dict[str, Any]:
    origin = dict(dataset.origin or {})
    return {
        "id": uuid.uuid4().hex,
        "dataset": dataset.name,
        "data_source": origin.pop("source", None),
        "data_files": origin,
        "data_dir": dataset.folder,
        "data_options": {"split": dataset.options.split} | dataset.options.changed(),
        "data_hash": dataset.hash,
        "split_hash": split_hash(dataset),
        "protocol": dataset.protocol,
        "split_seed": dataset.split_seed,
        "config": config.to_dict(),
        "versions": versions(),
        "git_commit": git_commit(),
        "started": _now(),
        "command": sys.argv,
    }


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


def peak_memory_mb() -> float | None:
    """Return the largest resident memory of this process so far, in MB; None where the system does not tell (Windows)."""
    try:
        # On Linux, getrusage also counts what the parent had before this program was started.
        with open("/proc/self/status", encoding="ascii") as status:
            return round(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**10, 1)
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the versions of what results depend on, by name."""
    packages = {name: version for name in _PACKAGES if (version := _version(name)) is not None}
    return {"ultragcn": ultragcn.__version__, "python": platform.python_version()} | packages


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Return the commit of the checkout this code runs from, with `+` when it was changed since; None outside one."""
    here = Path(__file__).parent
    try:
        commit, status = (
            subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, timeout=10, check=True).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if status else "")
