"""One run: train under a protocol, and leave a folder that says what was done and what came out.

manifest.json      configuration, seed, versions, data hash, git commit
history.tsv        a line per epoch, as it happens
metrics.json       validation and test metrics, seconds, memory
model.safetensors  embeddings, ids and everything else `UltraGCN.load` needs
"""

import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ultragcn
from ultragcn import storage
from ultragcn.config import Config
from ultragcn.data.datasets import Dataset, dataset_names, load_dataset
from ultragcn.errors import UsageError
from ultragcn.evaluation.evaluate import evaluate
from ultragcn.evaluation.metrics import DEFAULT_LABELS, parse_selection
from ultragcn.model import MODEL_FILE, Record, UltraGCN
from ultragcn.progress import Progress

MANIFEST, HISTORY, METRICS = "manifest.json", "history.tsv", "metrics.json"
_PACKAGES = ("numpy", "scipy", "numba", "torch")


def train_run(
    dataset: Dataset,
    config: Config,
    out: Path,
    *,
    refit: bool = False,
    overwrite: bool = False,
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
    progress, on_epoch
        As in `UltraGCN.fit`.

    Returns
    -------
    dict
        What `metrics.json` holds.

    Raises
    ------
    UsageError
        As of `check_run`.
    KeyboardInterrupt
        After the run folder was completed with what there was; the message says what that is.
    """
    check_run(config, dataset.protocol, out, refit=refit, overwrite=overwrite)
    _prepare(out)
    storage.write_json(out / MANIFEST, _manifest(dataset, config, refit))

    def record_epoch(record: Record) -> None:
        # Every line has every column, measured or not, so that the file can be read while it grows.
        labels = dict.fromkeys((config.select_by, *DEFAULT_LABELS))
        storage.append_row(out / HISTORY, {name: record.get(name, "") for name in ("epoch", "seconds", "loss", *labels)})
        if on_epoch is not None:
            on_epoch(record)

    model = UltraGCN(config)
    select_on = dataset.test if dataset.protocol == "authors" else None
    try:
        model.fit(dataset.train, dataset.valid, select_on=select_on, progress=progress, on_epoch=record_epoch)
        valid = None if dataset.valid is None else evaluate(model, dataset.valid, _labels(config))
        seconds, compile_seconds, best_epoch = model.train_seconds_, model.compile_seconds_, model.best_epoch_
        if refit and dataset.valid is not None:
            # Exactly as many epochs as were chosen: the loss alone must not end it earlier.
            refitted = UltraGCN(config.replace(epochs=best_epoch, patience=best_epoch, seed=model.seed_))
            model = refitted.fit(dataset.train.union(dataset.valid), progress=progress)
            seconds += model.train_seconds_
    except KeyboardInterrupt:
        if not hasattr(model, "user_embedding_"):
            raise KeyboardInterrupt(f"interrupted before the first epoch ended; there is no model in {out}") from None
        model.save(out)
        storage.write_json(out / METRICS, _summary(dataset, model, {}, model.train_seconds_, model.compile_seconds_))
        raise KeyboardInterrupt(f"interrupted; the best model so far is in {out}") from None
    model.save(out)
    measured = {"valid": valid} if valid is not None else {}
    test = evaluate(model, dataset.test, _labels(config))
    metrics = _summary(dataset, model, measured | {"test": test}, seconds, compile_seconds) | {"best_epoch": best_epoch}
    storage.write_json(out / METRICS, metrics)
    return metrics


def load_manifest(folder: Path) -> dict[str, Any]:
    """Return what a run folder says about how it was made."""
    if not Path(folder).is_dir():
        raise UsageError(f"no run folder {folder}; give a folder that ultragcn train wrote")
    return storage.read_json(Path(folder) / MANIFEST)


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


def check_run(config: Config, protocol: str, out: Path | None, *, refit: bool = False, overwrite: bool = False) -> None:
    """Refuse what `train_run` would refuse, before any data are read; without `out`, the folder is new.

    Raises
    ------
    UsageError
        `select_by` is no metric to choose by; `refit` without a validation set; `out` is in use, or holds files of something else,
        which `overwrite` does not change.
    """
    parse_selection(config.select_by)
    if refit and protocol == "authors":
        raise UsageError("refit needs the clean protocol: under authors there is no validation set to add to train")
    try:
        present = sorted(path.name for path in out.iterdir()) if out is not None and out.exists() else []
    except OSError as error:
        raise _unusable(out, error) from error
    if present and MANIFEST not in present:
        raise UsageError(f"{out} already holds files of something else ({', '.join(present[:3])}); give another --out")
    if present and not overwrite:
        raise UsageError(f"{out} already holds files ({', '.join(present[:3])}); give another --out, or --overwrite")


def _prepare(out: Path) -> None:
    """Make the run folder, or clear an earlier run out of it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in (MODEL_FILE, METRICS, HISTORY, MANIFEST):
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise _unusable(out, error) from error


def _unusable(out: Path | None, error: OSError) -> UsageError:
    return UsageError(f"cannot use {out} as run folder: {error.strerror}; choose a folder you can write to")


def _labels(config: Config) -> list[str]:
    return list(dict.fromkeys([*DEFAULT_LABELS, config.select_by]))


def _manifest(dataset: Dataset, config: Config, refit: bool) -> dict[str, Any]:
    origin = dict(dataset.origin or {})
    return {
        "dataset": dataset.name,
        "data_source": origin.pop("source", None),
        "data_files": origin,
        "data_dir": dataset.folder,
        "data_options": dataset.options.changed(),
        "data_hash": dataset.hash,
        "split_hash": split_hash(dataset),
        "protocol": dataset.protocol,
        "split_seed": dataset.split_seed,
        "refit": refit,
        "config": config.to_dict(),
        "versions": versions(),
        "git_commit": git_commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
    }


def _summary(
    dataset: Dataset, model: UltraGCN, measured: dict[str, dict[str, float]], seconds: float, compile_seconds: float
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
    return summary | ({"best_reachable": dict(dataset.best_recall)} if dataset.best_recall else {})


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
