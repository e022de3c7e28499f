"""Say what reading, training and ranking will take of memory and time on this machine, before anything starts."""

import argparse
import json
from typing import TYPE_CHECKING

from ultragcn.cli import data_options, threads, train
from ultragcn.cli.messages import tell
from ultragcn.errors import UsageError

if TYPE_CHECKING:
    from ultragcn.data.sizes import LogSizes
    from ultragcn.experiments.plans import Plan

_COUNTS = ("users", "items", "pairs")
DOES_NOT_FIT = 1
"""The exit status, so that `ultragcn plan ... && ultragcn train ...` trains only where there is room."""


def _counts(arguments: argparse.Namespace) -> dict[str, int]:
    """Return the sizes that are given, which may be written as 1000000, 1_000_000 or 1e6."""
    given = {name: text for name in _COUNTS if (text := getattr(arguments, name)) is not None}
    if given and len(given) < len(_COUNTS):
        lacking = " and ".join(f"--{name}" for name in _COUNTS if name not in given)
        raise UsageError(f"a plan by sizes needs --users, --items and --pairs; give {lacking} too")
    if given and arguments.dataset:
        raise UsageError("--dataset has sizes of its own; give either --dataset or --users, --items and --pairs")
    return {name: _whole(name, text) for name, text in given.items()}


def _whole(name: str, text: str) -> int:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 1 <= number < float("inf") or number != int(number):
        raise UsageError(f"--{name} must be a whole number of 1 or more, such as 1000000 or 1e6, not {text}")
    return int(number)


def add_arguments(parser: argparse.ArgumentParser, model: str = "ultragcn") -> None:
    """Declare the options: those of `train` that matter for memory and time."""
    group = parser.add_argument_group("sizes, in place of --dataset")
    for name in _COUNTS:
        what = "train, validation and test pairs together" if name == "pairs" else name
        group.add_argument(f"--{name}", metavar="N", help=f"number of {what}, such as 1000000 or 1e6")
    data_options.add_arguments(parser)
    data_options.add_disk_arguments(parser)
    train.add_model(parser)
    parser.add_argument("--refit", action="store_true", help="as for train: train again on train and validation before reading test")
    parser.add_argument(
        "--keep", choices=("everything", "measured"), help="as for train: which model to keep; everything trains once more on all pairs"
    )
    threads.add_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, not lines of TSV")
    train.add_hyper_parameters(parser, model)


def advice(option: str, argv: list[str]) -> str:
    """Return what to do in place of an option that is a hyper-parameter of other models; else an empty string."""
    return train.advice(option, argv)


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn plan`."""
    counts = _counts(arguments)
    # What is given by sizes alone is nobody's data set, so no settings are kept for it.
    named = argparse.Namespace(**(vars(arguments) | ({"dataset": "sizes"} if counts else {})))
    source, files, model = train.resolve(named, train.changes_of(arguments))
    sizes = _sizes(arguments, counts, str(files[0]) if files else source, str(files[1]) if files else None)

    from ultragcn.experiments import plans, speed

    keep = arguments.keep
    own = sizes.one_log and arguments.protocol == "clean" and (bool(counts) or not _is_named(source))
    everything = sizes.num_test > 0 and (keep == "everything" or (keep is None and own))
    made = plans.plan(sizes, model, speed.measured(sizes.kind), everything, arguments.refit)
    if arguments.json:
        print(json.dumps(made.to_dict(), indent=2))
    else:
        _print(made)
    _say(made)
    return DOES_NOT_FIT if made.fits is False else 0


def _is_named(source: str) -> bool:
    from ultragcn.data.sources import dataset_names

    return source in dataset_names()


def _sizes(arguments: argparse.Namespace, counts: dict[str, int], source: str, test: str | None) -> "LogSizes":
    """Return the sizes that the options name or that a look at the source shows."""
    from ultragcn.data.options import DataOptions
    from ultragcn.data.sizes import by_sizes, sizes_of

    asked = data_options.arguments_of_load(arguments, source)
    if counts:
        known = ("titles", "items_table", "data_dir", "test", "valid", "split_seed", "source", "protocol")
        options = DataOptions(**{name: value for name, value in asked.items() if name not in known})
        return by_sizes(counts["users"], counts["items"], counts["pairs"], arguments.protocol, options, arguments.on_disk)
    for name in ("titles", "items_table"):
        asked.pop(name)
    asked["on_disk"] = arguments.on_disk
    return sizes_of(**(asked | ({} if test is None else {"test": arguments.test or test})))


def _print(made: "Plan") -> None:
    print("stage\tpeak_memory_mb\tcpu_seconds\tseconds")
    for stage in made.to_dict()["stages"]:
        print("\t".join("-" if value is None else f"{value:g}" if isinstance(value, float) else value for value in stage.values()))


def _time(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _say(made: "Plan") -> None:
    """Say what was planned for, what the machine has, and whether it fits."""
    sizes = made.sizes
    tell(f"planned for {sizes.num_users} users, {sizes.num_items} items and {sizes.num_pairs} pairs ({sizes.about})")
    if sizes.disk_bytes:
        tell(f"reading keeps the log on the disk and takes at most {sizes.disk_bytes / 1e9:.1f} GB there (--on_disk, --scratch)")
    if made.sweeps is None or made.range_seconds is None:
        tell(f"the time of {made.model} is not predicted, nor are time and memory of ranking; the memory below is the peak of training")
    else:
        least, likely, most = made.sweeps
        fewest, longest = made.range_seconds
        counts = f"{least} to {most} sweeps, likely {likely}" if least < most else f"{most} sweeps"
        tell(f"training does {counts}; it takes {_time(fewest)} to {_time(longest)}")
    cores = f"{made.threads} {'core' if made.threads == 1 else 'cores'}"
    if made.free is None:
        tell(f"this machine has {cores}; the system does not say how much memory is free, so it is not known whether the plan fits")
        return
    tell(f"this machine has {cores} and {made.free / 1e9:.1f} GB of free memory")
    if made.fits:
        tell(f"the plan fits: at most {made.memory / 1e9:.2f} GB are needed at a time")
        return
    tell(f"the plan does not fit: {made.memory / 1e9:.1f} GB are needed at a time; these things help:")
    for sentence in made.advice:
        tell(f"  {sentence}")
