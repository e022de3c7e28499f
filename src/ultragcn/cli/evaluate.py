"""Evaluate a run, or ranked lists from anywhere, on a data set's held-out interactions."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ultragcn.cli.messages import tell

if TYPE_CHECKING:
    from ultragcn.data.datasets import Dataset
    from ultragcn.evaluation.evaluate import Evaluation, Ranker
    from ultragcn.evaluation.groups import Group

SPLITS = ("test", "valid")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from ultragcn.evaluation.dialects import DIALECTS

    parser.add_argument("run_folder", metavar="RUN", nargs="?", help="a folder that ultragcn train wrote")
    parser.add_argument("--split", choices=SPLITS, default="test", help="what to evaluate on (default: test)")
    parser.add_argument(
        "--metrics",
        default="recall@20,ndcg@20",
        metavar="LIST",
        help="separated by commas: recall, ndcg, precision, map, mrr, hit_rate, f1, coverage, novelty, gini, popularity, each @K "
        "(default: recall@20,ndcg@20)",
    )
    parser.add_argument(
        "--dialect",
        default="lightgcn",
        metavar="NAME",
        help=f"whose definitions: {', '.join(DIALECTS)} (default: lightgcn)",
    )
    parser.add_argument(
        "--ci", action="store_true", help="add a header and 95 %% confidence intervals: bootstrap of users, 1000 samples, seed 0"
    )
    parser.add_argument("--groups", action="store_true", help="add tables by user activity and by item popularity, in quarters")
    parser.add_argument(
        "--per_user", metavar="FILE", help="also write every user's values to this file: TSV, CSV or Parquet, as it is named"
    )
    parser.add_argument("--data_dir", metavar="DIR", help="where the data set is (default: where the run found it)")
    group = parser.add_argument_group("lists from anywhere: over the data and split of RUN, or without RUN over --dataset")
    group.add_argument(
        "--ranking",
        metavar="FILE",
        help="TSV, CSV, JSON lines or Parquet with user_id, item_id, and rank or score, such as ultragcn recommend writes",
    )
    group.add_argument("--dataset", metavar="NAME|PATH", help="the data set that was ranked")
    group.add_argument("--protocol", choices=("clean", "authors"), help="how it was split (default: clean)")
    group.add_argument("--split_seed", type=int, metavar="N", help="which items clean held out (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn evaluate`."""
    from ultragcn.errors import UsageError, warn
    from ultragcn.evaluation.dialects import dialect_of
    from ultragcn.evaluation.evaluate import evaluate_by_user
    from ultragcn.evaluation.metrics import parse_labels

    labels = [str(label) for label in parse_labels(arguments.metrics.split(","))]
    dialect_of(arguments.dialect)
    model, dataset = _from_run(arguments) if arguments.run_folder is not None else _from_dataset(arguments)
    targets = getattr(dataset, arguments.split)
    if targets is None:
        raise UsageError(f"the {dataset.protocol} protocol has no {arguments.split} split; evaluate on test")
    result = evaluate_by_user(model, targets, labels, arguments.dialect)
    if arguments.ranking and not result.hits.any():
        warn(f"no listed item is held out: were the {arguments.split} items left out of {arguments.ranking}?")
    intervals = ", low and high: 95 % intervals, bootstrap of users" if arguments.ci else ""
    tell(f"{dataset.name} {arguments.split}, protocol {dataset.protocol}, dialect {arguments.dialect}{intervals}")
    _print_means(result, arguments.ci)
    if arguments.groups:
        _print_groups("users by train items", "num_users", result.by_user_group())
        _print_groups("items by train users", "num_items", result.by_item_group())
    if arguments.per_user:
        _write_per_user(Path(arguments.per_user), model, result)
    return 0


def _from_run(arguments: argparse.Namespace) -> tuple["Ranker", "Dataset"]:
    from ultragcn.errors import UsageError
    from ultragcn.evaluation.lists import read_lists
    from ultragcn.experiments.runs.manifest import load_manifest, load_run_data
    from ultragcn.models.ultragcn import UltraGCN

    for name in ("dataset", "protocol", "split_seed"):
        if getattr(arguments, name) is not None:
            raise UsageError(f"--{name} goes with --ranking without RUN; a run knows its own")
    manifest = load_manifest(Path(arguments.run_folder))
    if manifest["refit"] and arguments.split == "valid":
        raise UsageError("this run was refitted on train and validation together, so valid measures nothing; evaluate on test")
    if arguments.ranking:
        dataset = load_run_data(manifest, arguments.data_dir)
        return read_lists(arguments.ranking, dataset.train, dataset.valid), dataset
    return UltraGCN.load(arguments.run_folder), load_run_data(manifest, arguments.data_dir)


def _from_dataset(arguments: argparse.Namespace) -> tuple["Ranker", "Dataset"]:
    from ultragcn.data.datasets import load_dataset
    from ultragcn.errors import UsageError
    from ultragcn.evaluation.lists import read_lists

    if not arguments.ranking:
        raise UsageError("give the folder of a run, or --ranking FILE with --dataset NAME")
    if arguments.dataset is None:
        raise UsageError("--ranking needs --dataset, the data set that was ranked, or RUN, a run on it")
    dataset = load_dataset(
        arguments.dataset, arguments.data_dir, protocol=arguments.protocol or "clean", split_seed=arguments.split_seed or 0
    )
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


def _write_per_user(path: Path, model: "Ranker", result: "Evaluation") -> None:
    import polars as pl

    from ultragcn.storage import output_path

    table = pl.DataFrame({"user_id": model.user_ids.ids[result.user_index].tolist(), **result.values})
    with output_path(path) as place:
        if path.suffix == ".parquet":
            table.write_parquet(place)
        else:
            table.write_csv(place, separator="," if path.suffix == ".csv" else "\t")
