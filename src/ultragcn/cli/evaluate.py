"""Evaluate a run, or ranked lists from anywhere, on a data set's held-out interactions."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultragcn.cli import data_options, output, threads
from ultragcn.cli.messages import tell
from ultragcn.data.options import DATA_OPTIONS

if TYPE_CHECKING:
    from ultragcn.data.datasets import Dataset
    from ultragcn.evaluation.evaluate import Evaluation, Ranker
    from ultragcn.evaluation.groups import Group
    from ultragcn.models.recommender import Recommender

PARTS = ("test", "valid")
_PER_USER = ("tsv", "csv", "parquet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from ultragcn.evaluation.dialects import DIALECTS

    parser.add_argument("run_folder", metavar="RUN", nargs="?", help="a folder that ultragcn train wrote")
    parser.add_argument("--part", choices=PARTS, default="test", help="what to evaluate on (default: test)")
    parser.add_argument(
        "--metrics",
        default="recall@20,ndcg@20",
        metavar="LIST",
        help="metrics, separated by commas: recall, ndcg, precision, map, mrr, hit_rate, f1, coverage, novelty, gini, popularity, "
        "each @K "
        "(default: recall@20,ndcg@20)",
    )
    parser.add_argument(
        "--dialect",
        default="lightgcn",
        metavar="NAME",
        help=f"whose definitions of the metrics to use: {', '.join(DIALECTS)} (default: lightgcn)",
    )
    parser.add_argument(
        "--ci",
        action="store_true",
        help="add a header and 95 %% confidence intervals, by a bootstrap over users with 1000 samples and seed 0",
    )
    parser.add_argument("--groups", action="store_true", help="add tables by user activity and by item popularity, in quarters")
    parser.add_argument(
        "--per_user",
        metavar="FILE",
        help="also write every user's values to this file: TSV, CSV or Parquet, by its name; .gz packs text",
    )
    parser.add_argument(
        "--ranking",
        metavar="FILE",
        help="evaluate lists from anywhere: TSV, CSV, JSON lines or Parquet with user_id, item_id, and rank or score (or prediction, "
        "rating), such as ultragcn recommend writes, or a TREC run; over the data and split of RUN, or without RUN over --dataset, read "
        "and split as the options of data say",
    )
    threads.add_argument(parser)
    data_options.add_arguments(parser)
    parser.set_defaults(protocol=None, split_seed=None)  # not given: as the run says, or the usual ones


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn evaluate`."""
    from ultragcn.errors import UsageError, warn
    from ultragcn.evaluation.dialects import dialect_of
    from ultragcn.evaluation.evaluate import evaluate_by_user
    from ultragcn.evaluation.metrics import parse_labels

    if arguments.data_split in PARTS:
        raise UsageError(f"--split says how data are split; what to evaluate on is --part {arguments.data_split}")
    labels = [str(label) for label in parse_labels(arguments.metrics.split(","))]
    dialect_of(arguments.dialect)
    per_user_kind = output.kind_of(arguments.per_user or "", "--per_user", _PER_USER)
    model, dataset = _from_run(arguments) if arguments.run_folder is not None else _from_dataset(arguments)
    targets = getattr(dataset, arguments.part)
    if targets is None:
        raise UsageError(f"the {dataset.protocol} protocol has no {arguments.part} part; evaluate on test")
    result = evaluate_by_user(model, targets, labels, arguments.dialect)
    if arguments.ranking and not result.hits.any():
        warn(f"no listed item is held out: were the {arguments.part} items left out of {arguments.ranking}?")
    intervals = ", low and high: 95 % intervals, bootstrap of users" if arguments.ci else ""
    tell(f"{dataset.name} {arguments.part}, protocol {dataset.protocol}, dialect {arguments.dialect}{intervals}")
    _print_means(result, arguments.ci)
    if arguments.groups:
        _print_groups("users by train items", "num_users", result.by_user_group())
        _print_groups("items by train users", "num_items", result.by_item_group())
    if arguments.per_user:
        _write_per_user(arguments.per_user, per_user_kind, model, result)
    return 0


def _from_run(arguments: argparse.Namespace) -> tuple["Ranker", "Dataset"]:
    from ultragcn.errors import UsageError
    from ultragcn.evaluation.lists import read_lists
    from ultragcn.experiments.runs.manifest import load_manifest, load_run_data
    from ultragcn.models.registry import load_model

    moved = {
        name: value for name in ("dataset", "test", "valid", "titles", "items_table") if (value := getattr(arguments, name)) is not None
    }
    of_data = {f"--{name}": getattr(arguments, name) for name in ("protocol", "split_seed")}
    of_data |= {f"--{name}": getattr(arguments, f"data_{name}") for name in DATA_OPTIONS}
    if given := [option for option, value in of_data.items() if value is not None]:
        raise UsageError(f"{given[0]} goes only with --ranking without RUN, because a run has its own data; leave out {given[0]}, or RUN")
    folder = Path(arguments.run_folder)
    manifest = load_manifest(folder)
    if manifest["refit"] and arguments.part == "valid":
        raise UsageError("this run was refitted on train and validation together, so valid measures nothing; evaluate on test")
    if arguments.ranking:
        dataset = load_run_data(manifest, arguments.data_dir, moved)
        return read_lists(arguments.ranking, dataset.train, dataset.valid), dataset
    if "updated" in manifest:
        raise UsageError(
            f"the model in {folder} was updated and has seen all pairs, so nothing is left to measure it on; "
            f"{folder / 'report.json'} has its figures on the new pairs, measured before it learned them"
        )
    _refuse_everything(folder)
    model = load_model(folder)
    _refuse_another(model, manifest, folder)
    return model, load_run_data(manifest, arguments.data_dir, moved)


def _refuse_another(model: "Recommender", manifest: Mapping[str, Any], folder: Path) -> None:
    """Refuse a model that is not that of the run: its figures would pass for those of the run."""
    from ultragcn.errors import UsageError
    from ultragcn.models.registry import untrained

    name = manifest.get("model", "ultragcn")
    is_same = type(untrained(name, {})) is type(model)
    if is_same and not manifest["refit"]:  # a refit repeats what was chosen, which the manifest does not say
        config, of_run = json.loads(json.dumps(model.config.to_dict())), manifest["config"]
        is_same = all(config[known] == of_run[known] for known in config.keys() & of_run.keys())
    if not is_same:
        raise UsageError(
            f"the model in {folder} is {model._made_with()}, not the one that {folder / 'manifest.json'} describes; put the run's "
            "own back, or evaluate that model in Python"
        )


def _refuse_everything(folder: Path) -> None:
    """Refuse a model that has seen all pairs: nothing is left to measure it on."""
    from ultragcn.errors import UsageError
    from ultragcn.experiments.runs.manifest import EVERYTHING, METRICS, kept_by, read_metrics

    if kept_by(folder) != EVERYTHING:
        return
    test = read_metrics(folder).get("test", {})
    if not test:
        raise UsageError(
            f"the model in {folder} was trained on everything, and nothing was held out (split none), so it cannot be measured; train with "
            "another split to have figures"
        )
    figures = ", ".join(f"{label} {value:.5g}" for label, value in test.items() if label != "num_users")
    raise UsageError(
        f"the model in {folder} was trained on everything, so nothing is left to measure it on; the figures of the model that was measured "
        f"before are in {folder / METRICS} (test {figures}); ultragcn train --keep measured keeps the measured model"
    )


def _from_dataset(arguments: argparse.Namespace) -> tuple["Ranker", "Dataset"]:
    from ultragcn.errors import UsageError
    from ultragcn.evaluation.lists import read_lists
    from ultragcn.progress import Silent

    if not arguments.ranking:
        raise UsageError("give the folder of a run, or --ranking FILE with --dataset NAME")
    if arguments.dataset is None:
        raise UsageError("--ranking needs the data set that the lists are for; give --dataset NAME|PATH, or RUN, a run on these data")
    arguments.protocol, arguments.split_seed = arguments.protocol or "clean", arguments.split_seed or 0
    dataset = data_options.load(arguments, arguments.dataset, None, Silent())
    if not len(dataset.test):
        raise UsageError("split none holds nothing out, so lists cannot be evaluated; give another split")
    return read_lists(arguments.ranking, dataset.train, dataset.valid), dataset


def _print_means(result: "Evaluation", with_intervals: bool) -> None:
    intervals = result.intervals() if with_intervals else {}
    if with_intervals:
        print("\t".join(["metric", "value", "low", "high"]))
    for label, value in result.means.items():
        print("\t".join([label, *_cells([value, *intervals.get(label, ())])]))


def _print_groups(range_name: str, size_name: str, groups: Sequence["Group"]) -> None:
    print()
    print("\t".join([range_name, size_name, *groups[0].means]))
    for group in groups:
        print("\t".join([f"{group.low}-{group.high}", *_cells([group.size, *group.means.values()])]))


def _cells(values: Sequence[float]) -> list[str]:
    return [f"{value:.6g}" if isinstance(value, float) else str(value) for value in values]


def _write_per_user(name: str, kind: str, model: "Ranker", result: "Evaluation") -> None:
    import polars as pl

    table = pl.DataFrame({"user_id": model.user_ids.ids[result.user_index].tolist(), **result.values})
    with output.file_at(Path(name)) as place:
        if kind == "parquet":
            table.write_parquet(place)
        else:
            with output.text_file(place, name) as file:
                table.write_csv(file, separator="," if kind == "csv" else "\t")
