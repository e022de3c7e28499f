"""The options that say which data, how they are read and how they are split."""

import argparse
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultragcn.cli.messages import tell
from ultragcn.data.options import DATA_OPTIONS
from ultragcn.progress import Progress

if TYPE_CHECKING:
    from ultragcn.data.datasets import Dataset


class _Joined(argparse.Action):
    """Keeps several paths as one word with commas between, which `load_dataset` takes for one log."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        setattr(namespace, self.dest, ",".join(values))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them; one for every data option, from its one declaration."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--dataset",
        metavar="NAME|PATH",
        nargs="+",
        action=_Joined,
        help="a name that ultragcn datasets lists; or a file (CSV, TSV, ::, RecBole, user lines, JSON lines, Parquet, SQLite; "
        "packed or not); or several files that are one log; or a folder or zip of files (default: demo)",
    )
    group.add_argument(
        "--data_dir",
        metavar="DIR",
        help="folder in which named data sets are searched and downloaded (default: $ULTRAGCN_DATA_DIR or datasets)",
    )
    group.add_argument("--test", metavar="FILE", help="file of the test interactions; --dataset is then all train")
    group.add_argument("--valid", metavar="FILE", help="file of the validation interactions")
    group.add_argument("--titles", metavar="FILE", help="file of item ids and titles; the titles are shown beside recommendations")
    group.add_argument(
        "--items_table",
        metavar="FILE",
        help="file of item ids and anything else known of the items, such as price; rules for lists use its columns",
    )
    group.add_argument(
        "--protocol",
        choices=("clean", "authors"),
        default="clean",
        help="clean: choose on validation and read test once; authors: choose on test, as the authors' code does (default: clean)",
    )
    group.add_argument(
        "--split_seed", type=int, default=0, metavar="N", help="seed of the split, which decides what is held out (default: 0)"
    )
    for name, declared in DATA_OPTIONS.items():
        meaning, choices = declared.metadata["meaning"], " | ".join(declared.metadata["choices"])
        default = "" if "(default" in meaning or declared.default in ("", False) else f" (default: {declared.default})"
        about = {"dest": f"data_{name}", "help": (meaning + default).replace("%", "%%")}
        if declared.type is bool:
            group.add_argument(f"--{name}", nargs="?", const="true", metavar="true", **about)
        else:
            group.add_argument(f"--{name}", metavar=choices or "X", **about)


def add_disk_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options for logs that are larger than memory."""
    group = parser.add_argument_group("logs larger than memory")
    group.add_argument(
        "--on_disk",
        choices=("auto", "yes", "no"),
        default="auto",
        help="read a log of Parquet files piece by piece and keep it on disk; auto: do so if the log would take more than half of "
        "the free memory (default: auto)",
    )
    group.add_argument(
        "--scratch",
        metavar="DIR",
        help="folder in which such a log is kept; it is removed at the end (default: the folder of --out, or runs)",
    )


def disk_of(arguments: argparse.Namespace, out: Path | None) -> dict[str, Any]:
    """Return what those options say as arguments of `load_dataset`, for a run in the folder `out`."""
    beside = Path("runs") if out is None else out.resolve().parent
    return {"on_disk": arguments.on_disk, "scratch": arguments.scratch or str(beside)}


def arguments_of_load(arguments: argparse.Namespace, source: str) -> dict[str, Any]:
    """Return what the options say as arguments of `load_dataset`, for a data set that is called `source`."""
    choices = {name: value for name in DATA_OPTIONS if (value := getattr(arguments, f"data_{name}")) is not None}
    named = {name: getattr(arguments, name) for name in ("data_dir", "test", "valid", "titles", "items_table", "protocol", "split_seed")}
    return {"source": source} | named | choices


def tuned_as(arguments: argparse.Namespace, source: str) -> str | None:
    """Return the `Dataset.tuned_as` of what the options say, before anything is read."""
    from ultragcn.data.options import DataOptions
    from ultragcn.data.sources import SOURCES, dataset_names, is_usual_split

    if source not in dataset_names():
        return None
    choices = {name: value for name in DATA_OPTIONS if (value := getattr(arguments, f"data_{name}")) is not None}
    usual = DataOptions(**SOURCES[source].options) if source in SOURCES and choices.get("split") is None else DataOptions()
    files = [name for name in ("test", "valid") if getattr(arguments, name) is not None]
    return source if is_usual_split(source, usual.replace(**choices), files) else None


def load(
    arguments: argparse.Namespace, source: str, files: tuple[Path, Path] | None, progress: Progress, disk: Mapping[str, Any] | None = None
) -> "Dataset":
    """Return the data set that the options name, or that of train and test `files`, and say on stderr what was read."""
    given = {} if files is None else {"source": files[0], "test": arguments.test or files[1]}
    dataset = read(arguments_of_load(arguments, source) | given | dict(disk or {}), progress)
    return dataset if files is None else replace(dataset, name=source)


def read(source: Mapping[str, Any], progress: Progress) -> "Dataset":
    """Return the data set of these arguments of `load_dataset`, and say on stderr what was read."""
    from ultragcn.data.datasets import load_dataset

    # First what was read, then what was put right in it; both come even if the rest cannot be read.
    notes: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            return load_dataset(**source, progress=progress, tell=notes.append)
    finally:
        for note in notes:
            tell(note)
        for warning in caught:
            warnings.showwarning(warning.message, warning.category, warning.filename, warning.lineno)
