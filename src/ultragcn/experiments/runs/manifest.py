"""What a run folder says of itself: which data, settings, versions and commit."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ultragcn
from ultragcn import storage
from ultragcn.config import HyperParameters
from ultragcn.data.datasets import Dataset, load_dataset
from ultragcn.data.folders import absolute, missing_files
from ultragcn.data.sources import dataset_names
from ultragcn.errors import UsageError
from ultragcn.forms import Optional
from ultragcn.models.files import MODEL_FILE

MANIFEST, HISTORY, METRICS = "manifest.json", "history.tsv", "metrics.json"
EVERYTHING, MEASURED = "everything", "measured"
"""Which model a run keeps: one that has seen all pairs, or the one whose figures are in metrics.json."""
KEEP = ("auto", EVERYTHING, MEASURED)
CHECKPOINT, REFIT_CHECKPOINT, EVERYTHING_CHECKPOINT = (
    "checkpoint.safetensors", "checkpoint-refit.safetensors", "checkpoint-everything.safetensors",
)  # fmt: skip
CHOSEN = "chosen"
NEXT = "next"
"""The folder, inside that of a run, where the run is made that is to replace it."""
_UNFINISHED = (CHECKPOINT, CHOSEN, REFIT_CHECKPOINT, MEASURED, EVERYTHING_CHECKPOINT)
"""What is there while a run is not complete: files, and folders of models."""

_NEEDED = ("versions", "config", "dataset", "data_source", "data_dir", "data_hash", "protocol", "split_seed", "refit")
"""What a manifest must say."""
_TEXT_OR_NONE = (str, None)
_MANIFEST_FORM = {
    "versions": {str: str}, "config": dict, "dataset": str, "data_source": _TEXT_OR_NONE, "data_dir": _TEXT_OR_NONE, "data_hash": str,
    "protocol": str, "split_seed": (int, None), "refit": bool, Optional("data_files"): {str: str}, Optional("data_options"): dict,
    Optional("split_hash"): str, Optional("model"): str, Optional("id"): str, Optional("git_commit"): _TEXT_OR_NONE,
    Optional("started"): str, Optional("command"): [str], Optional("folder"): str,
    Optional("keep"): str, Optional("checkpoint_every"): (int, None),
    Optional("track"): [str], Optional("resumed"): [dict],
    Optional("updated"): {"from": str, "from_id": _TEXT_OR_NONE, "pairs": dict, "updates": int, "pairs_since_training": int},
}  # fmt: skip
"""The form (`forms`) of manifest.json."""
_FIGURES = {str: float}
_METRICS_FORM = {
    "dataset": str, "protocol": str, "stopped": str, "train_seconds": float, "epochs": int, "best_epoch": int, "solver": _TEXT_OR_NONE,
    Optional("seed"): (int, None), Optional("kept"): str, Optional("kept_train_seconds"): float, Optional("compile_seconds"): float,
    Optional("peak_memory_mb"): (float, None), Optional("valid"): _FIGURES, Optional("test"): _FIGURES, Optional("chosen"): _FIGURES,
    Optional("best_reachable"): _FIGURES, Optional("popularity"): _FIGURES,
}  # fmt: skip
"""The form of metrics.json."""
_PACKAGES = ("numpy", "scipy", "numba", "torch")


def complete_metrics(out: Path) -> dict[str, Any] | None:
    """Return the metrics of the run in `out`; None when it was killed or interrupted before its end."""
    if not (out / METRICS).exists():
        return None
    metrics = read_metrics(out)
    return metrics if metrics["stopped"] != "interrupted" else None


def kept_by(folder: Path) -> str | None:
    """Return which model the run in `folder` keeps, `measured` or `everything`; None when it is no run, or has not ended.

    Runs of before there was a choice keep the measured one.
    """
    if not (folder / MANIFEST).is_file() or not (folder / METRICS).is_file():
        return None
    kept: str = read_metrics(folder).get("kept", MEASURED)
    return kept


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return what metrics.json says, checked."""
    metrics = storage.read_json(Path(folder) / METRICS, _METRICS_FORM)
    if metrics.get("kept") == EVERYTHING and "test" in metrics and Path(folder).name != MEASURED and "kept_train_seconds" not in metrics:
        raise UsageError(f"{Path(folder) / METRICS} is not as it was written: it must have kept_train_seconds; put it back as it was")
    return metrics


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what manifest.json says, checked."""
    manifest = storage.read_json(Path(folder) / MANIFEST)
    if lacking := [name for name in _NEEDED if name not in manifest]:
        raise UsageError(f"{Path(folder) / MANIFEST} does not say {lacking[0]}, as train writes it; put it back as it was, or train anew")
    return storage.read_json(Path(folder) / MANIFEST, _MANIFEST_FORM)


def load_manifest(folder: Path) -> dict[str, Any]:
    """Return what a run folder says about how it was made."""
    if not Path(folder).is_dir():
        raise UsageError(f"no run folder {folder}; give a folder that ultragcn train wrote")
    if not (Path(folder) / MANIFEST).exists() and (Path(folder) / MODEL_FILE).is_file():
        raise UsageError(
            f"{folder} holds a model alone, as save writes it, and does not say which data it is for; give a folder that ultragcn train "
            "wrote, or evaluate the model in Python: load it, then model.evaluate(data.test)"
        )
    if not (Path(folder) / MANIFEST).exists():
        raise UsageError(f"{folder} has no {MANIFEST}; give a folder that ultragcn train wrote")
    return read_manifest(folder)


def load_run_data(
    manifest: dict[str, Any], data_dir: str | None, moved: Mapping[str, Any] | None = None, disk: Mapping[str, Any] | None = None
) -> Dataset:
    """Return the data set a run was trained on, read and split as it was.

    Parameters
    ----------
    manifest : dict
        What the run folder says.
    data_dir : str, optional
        Where named data sets are now.
    moved : dict of str -> path or list of paths, optional
        Where files are now that are no longer in their place: `dataset`, `test`, `valid`, `titles`,
        `items_table`. Their content must be as it was.
    disk : dict, optional
        `on_disk` and `scratch` of `load_dataset`, which change nothing of the data.

    Raises
    ------
    UsageError
        The files are gone, there are other data in that place now, they are split otherwise, or the run was trained on data in memory.
    """
    moved = {name: place if place in dataset_names() else absolute(place) for name, place in (moved or {}).items()}
    source = moved.get("dataset", manifest["data_source"])
    if source is None:
        raise UsageError("this run was trained on data in memory, which cannot be loaded again; evaluate the model in Python")
    files, named = dict(manifest.get("data_files", {})), source in dataset_names()
    for name, path in moved.items():
        if name != "dataset":
            if name not in files:
                raise UsageError(f"the run was trained without --{name}, so it cannot have moved; leave it out")
            files[name] = path
    for recorded in files.values() if named else (source, *files.values()):
        for path in missing_files(recorded):
            of = next((name for name, value in files.items() if value == recorded), "dataset")
            raise UsageError(
                f"the run was trained on {path}, which is gone; put it back, or say where it is now: ultragcn evaluate RUN --{of} PATH"
            )
    with storage.as_written(Path(MANIFEST), "train"):
        dataset = load_dataset(
            source,
            data_dir or manifest["data_dir"],
            **files,
            **(disk or {}),
            protocol=manifest["protocol"],
            split_seed=manifest["split_seed"],
            **manifest.get("data_options", {}),
        )
    if dataset.hash != manifest["data_hash"]:
        pairs = ", ".join([source, *(files[part] for part in ("test", "valid") if part in files)])
        if pairs != source:
            raise UsageError(f"one of {pairs} has changed since the run was trained on them; put it back as it was, or train anew")
        if "dataset" in moved:
            raise UsageError(
                f"{source} is not the data this run was trained on (hash {dataset.hash[:12]}, not {manifest['data_hash'][:12]}); give "
                "the file as it was then"
            )
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


def _manifest(dataset: Dataset, model: str, config: HyperParameters) -> dict[str, Any]:
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
        "model": model,
        "config": config.to_dict(),
        "versions": versions(),
        "git_commit": git_commit(),
        "started": _now(),
        "command": sys.argv,
        "folder": str(Path.cwd()),
    }


def _updated_manifest(manifest: Mapping[str, Any], run: Path, data_hash: str, pairs: Mapping[str, int]) -> dict[str, Any]:
    """Return what the manifest of an updated run says: that of the run it comes from, and what came.

    Parameters
    ----------
    manifest : dict
        Of the run in `run`, which is updated.
    run : Path
    data_hash : str
        Of all pairs that the new model knows.
    pairs : dict
        How many came, as the report counts them.
    """
    earlier = manifest.get("updated", {"updates": 0, "pairs_since_training": 0})
    left_out = ("resumed", "split_hash")
    return {name: value for name, value in manifest.items() if name not in left_out} | {
        "id": uuid.uuid4().hex,
        "data_hash": data_hash,
        "keep": EVERYTHING,
        "refit": False,
        "track": [],
        "updated": {
            "from": str(Path(run).resolve()),
            "from_id": manifest.get("id"),
            "pairs": dict(pairs),
            "updates": earlier["updates"] + 1,
            "pairs_since_training": earlier["pairs_since_training"] + pairs["new"] + pairs["forgotten"],
        },
        "versions": versions(),
        "git_commit": git_commit(),
        "started": _now(),
        "command": _without_ids(sys.argv),
        "folder": str(Path.cwd()),
    }


def _without_ids(command: list[str]) -> list[str]:
    """Return a command without the ids that are to be forgotten."""
    shown: list[str] = []
    hides = False
    for word in command:
        if word == "--forget":
            shown, hides = [*shown, "--forget", "..."], True
        elif word.startswith("--forget="):
            shown, hides = [*shown, "--forget=..."], True
        elif not hides or word.startswith("--"):
            shown, hides = [*shown, word], False
    return shown


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the versions of what results depend on, by name."""
    packages = {name: version for name in _PACKAGES if (version := _version(name)) is not None}
    return {"ultragcn": ultragcn.__version__, "python": platform.python_version()} | packages


def _version(package: str) -> str | None:
    """Return the version of a package: what is loaded says it of itself, and may be another than what is installed."""
    if (loaded := getattr(sys.modules.get(package), "__version__", None)) is not None:
        return str(loaded)
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Return the commit of the checkout this code runs from, with `+` when it was changed since; None outside one.

    A repository in which the package merely lies, such as one that has an environment with an installed package in it, does not count:
    it must have the package under its control.
    """
    package = Path(ultragcn.__file__).parent
    try:
        _git(package, "ls-files", "--error-unmatch", "__init__.py")
        commit = _git(package, "rev-parse", "HEAD")
        changed = _git(package, "status", "--porcelain", "--untracked-files=no")
        added = _git(package, "ls-files", "--others", "--exclude-standard", ".")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed or added else "")


def _git(folder: Path, *words: str) -> str:
    """Return what git prints of the repository in which `folder` lies, whichever one its variables name (a hook has them)."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", "--no-optional-locks", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True, env=own
    ).stdout.strip()
