"""What a data set is made from: which files of a folder are train, test, log or titles, by what they are called."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultragcn.data.log import PARTS
from ultragcn.data.sources import _FILES, dataset_names
from ultragcn.data.tables import suffix_of
from ultragcn.errors import DataError, UsageError, unknown_name

# What a log and a file of titles are called in a folder; of RecBole's files, the suffix tells.
_LOGS = ("ratings", "interactions", "events", "reviews", "log")
_TITLES = ("movies", "items", "products", "books", "titles")


_READABLE = (".csv", ".tsv", ".dat", ".inter", ".item", ".parquet", ".txt")
_VALID_NAMES = ("valid", "validation", "val")


@dataclass(frozen=True)
class _Files:
    """What a data set is made from: files, frames or matrices. Without `test`, `train` is a log still to be split."""

    name: str
    train: Any
    test: Any = None
    valid: Any = None
    titles: Any = None


def _find_files(source: Any) -> _Files:
    if not isinstance(source, (str, Path)):
        return _Files("data", source)
    path = Path(source)
    if path.is_dir():
        return _files_in(path)
    if path.exists():
        return _Files(_stem(path), path)
    if os.sep in str(source) or suffix_of(path) in _READABLE:
        raise UsageError(f"no file and no folder {source}; give one, or a name: {', '.join(dataset_names())}")
    raise unknown_name("data set", str(source), dataset_names())


def _files_in(folder: Path) -> _Files:
    """Return the files of a folder by what they are called."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file() and suffix_of(path) in _READABLE)
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(_role(path), []).append(path)
    tables = [path for path in found.pop("", []) if suffix_of(path) != ".txt"]
    if not found.keys() & {"train", "test", "log"} and len(tables) == 1:
        found["log"] = tables
    for several in found.values():
        if len(several) > 1:
            names = " and ".join(path.name for path in several)
            raise DataError(f"{folder} has several files of one kind, {names}; give the one that counts instead of the folder")
    one = {role: several[0] for role, several in found.items()}
    name = folder.resolve().name
    if "train" in one and "test" in one:
        return _Files(name, one["train"], one["test"], one.get("valid"), one.get("titles"))
    if "log" in one and not one.keys() & {"train", "test"}:
        return _Files(name, one["log"], titles=one.get("titles"))
    missing = " and no ".join(file for file in _FILES if file.removesuffix(".txt") not in one)
    raise DataError(
        f"{folder} has no {missing}; a data set is a folder with train and test files (train.txt, train.csv, ...), or with a log "
        "such as ratings.csv"
    )


def _role(path: Path) -> str:
    """Return what a file is by its name: train, test, valid, log or titles; "" where the name does not tell."""
    stem = _stem(path).lower()
    last = stem.rsplit(".", 1)[-1]
    if last in _VALID_NAMES:
        return "valid"
    if last in PARTS:
        return last
    if stem in _LOGS or suffix_of(path) == ".inter":
        return "log"
    return "titles" if stem in _TITLES or suffix_of(path) == ".item" else ""


def _stem(path: Path) -> str:
    """Return the name of a file without its suffix and that of its compression."""
    suffix = suffix_of(path)
    return path.name[: path.name.lower().rindex(suffix)] if suffix else path.name
