"""Update the model of a run with new interactions, and report what changed."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ultragcn.cli import ids, threads
from ultragcn.cli.messages import tell
from ultragcn.data.options import DATA_OPTIONS
from ultragcn.data.reading import READING
from ultragcn.errors import UsageError

_MEASURES = ("estimate", "retrain", "none")
_READING = tuple(name for name in READING if name != "k_core")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run_folder", metavar="RUN", help="a folder that ultragcn train or ultragcn update wrote; it stays as it is")
    parser.add_argument(
        "--interactions", nargs="+", default=[], metavar="FILE",
        help="the new interactions, read as those of the run were unless the options below say otherwise; several files are one log; not "
        "needed where users are only forgotten",
    )  # fmt: skip
    parser.add_argument("--out", required=True, metavar="NEW", help="the folder of the updated run")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an earlier run in --out; the earlier model stays until the new run is complete"
    )
    parser.add_argument(
        "--forget", nargs="+", action="extend", default=[], metavar="ID", help="users to forget, of whom nothing is kept; give an "
        "id that begins with - as --forget=-ID",
    )  # fmt: skip
    parser.add_argument("--forget_file", metavar="FILE", help="a file of users to forget: one id a line, or a column user_id")
    parser.add_argument("--sweeps", metavar="N", help="number of passes over all rows, after the new rows are solved (default: 1)")
    parser.add_argument(
        "--item_graph", choices=("new", "old"), default="new",
        help="new: make the item graph from the new log; old: keep the item graph of the run and compute weights for new items "
        "alone, which saves most of the time (default: new)",
    )  # fmt: skip
    parser.add_argument(
        "--measure", choices=_MEASURES, default="estimate",
        help="how to measure what a new training would gain: estimate: go on with the sweeps on a part of the log; retrain: also "
        "train a new model; none: do not measure, which takes half of the time (default: estimate)",
    )  # fmt: skip
    parser.add_argument(
        "--titles", metavar="FILE", help="file of item ids and titles (default: the titles of the run, and no titles for new items)"
    )
    parser.add_argument(
        "--items_table", metavar="FILE", help="file of item ids and anything else known of the items (default: the table of the "
        "run, and empty cells for new items)",
    )  # fmt: skip
    parser.add_argument(
        "--data_dir", metavar="DIR", help="folder of the named data set of the run, if its times are needed and it has moved"
    )
    threads.add_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    group = parser.add_argument_group("how the new interactions are read")
    for name in _READING:
        declared = DATA_OPTIONS[name]
        meaning, choices = declared.metadata["meaning"], " | ".join(declared.metadata["choices"])
        about: dict[str, Any] = {"dest": f"data_{name}", "help": meaning.replace("%", "%%")}
        if declared.type is bool:
            group.add_argument(f"--{name}", nargs="?", const="true", metavar="true", **about)
        else:
            group.add_argument(f"--{name}", metavar=choices or "X", **about)


_INSTEAD = {
    "--dataset": "--interactions", "--data": "--interactions", "--users": "--forget", "--users_file": "--forget_file", "--output": "--out",
    "--refit": "--measure retrain",
}  # fmt: skip


def advice(option: str, argv: Sequence[str]) -> str:
    """Return which option is meant by one that looks like it; else an empty string."""
    return f"; did you mean {_INSTEAD[option]}?" if option in _INSTEAD else ""


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn update`."""
    from ultragcn.experiments.runs.update import REPORT, update_run
    from ultragcn.models.registry import load_model
    from ultragcn.models.update import lines_of
    from ultragcn.progress import Bars, Silent

    forget = list(arguments.forget)
    if arguments.forget_file:
        forget += ids.read_ids(arguments.forget_file, load_model(arguments.run_folder).user_ids, "--forget_file")
    reading = {name: value for name in _READING if (value := getattr(arguments, f"data_{name}")) is not None}
    report = update_run(
        Path(arguments.run_folder), ",".join(arguments.interactions) or None, Path(arguments.out), forget, sweeps=_number(arguments.sweeps),
        item_graph=arguments.item_graph,
        measure=arguments.measure, titles=arguments.titles, items_table=arguments.items_table,
        tell=tell, overwrite=arguments.overwrite, data_dir=arguments.data_dir,
        progress=Silent() if arguments.quiet else Bars(), **reading,
    )  # fmt: skip
    for cells in lines_of(report):
        print("\t".join(cells))
    print(f"run\t{arguments.out}")
    tell(_course(report))
    if report["advice"] is not None:
        tell(report["advice"])
    tell(f"the whole report is in {Path(arguments.out) / REPORT}")
    return 0


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal():
        raise UsageError(f"--sweeps must be a whole number of 0 or more, not {text}")
    return int(text)


def _course(report: Mapping[str, Any]) -> str:
    """Return how the model followed the log, and the seconds that took."""
    seconds = f"{report['seconds']:.1f} s, and {report['measuring_seconds']:.1f} s of measuring"
    if report["how"] == "anew":
        return f"this model is cheap to train, so it was trained anew on the old and the new interactions in {seconds}"
    sweeps = "1 sweep" if report["sweeps"] == 1 else f"{report['sweeps']} sweeps"
    return f"the embeddings went on from where they were, by {sweeps}, in {seconds}"
