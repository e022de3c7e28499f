"""Evaluate a run on its data set's held-out interactions."""

import argparse
from pathlib import Path

SPLITS = ("test", "valid")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run_folder", metavar="RUN", help="a folder that ultragcn train wrote")
    parser.add_argument("--split", choices=SPLITS, default="test", help="what to evaluate on (default: test)")
    parser.add_argument(
        "--metrics",
        default="recall@20,ndcg@20",
        metavar="LIST",
        help="separated by commas: recall, ndcg, precision, map, mrr, hit_rate, f1, each @K (default: recall@20,ndcg@20)",
    )
    parser.add_argument(
        "--dialect",
        default="lightgcn",
        metavar="NAME",
        help="whose definitions: lightgcn or authors (default: lightgcn)",
    )
    parser.add_argument("--data_dir", metavar="DIR", help="where the data set is (default: where the run found it)")
    parser.add_argument("--per_user", metavar="FILE", help="also write every user's values to this TSV file")


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn evaluate`."""
    from ultragcn.errors import UsageError
    from ultragcn.evaluation.evaluate import evaluate_by_user
    from ultragcn.evaluation.metrics import parse_labels
    from ultragcn.experiments.run import load_run, load_run_data
    from ultragcn.storage import atomic_path

    labels = [str(label) for label in parse_labels(arguments.metrics.split(","))]
    model, manifest = load_run(Path(arguments.run_folder))
    dataset = load_run_data(manifest, arguments.data_dir)
    targets = getattr(dataset, arguments.split)
    if targets is None:
        raise UsageError(f"the {manifest['protocol']} protocol has no {arguments.split} split; evaluate on test")
    if manifest["refit"] and arguments.split == "valid":
        raise UsageError("this run was refitted on train and validation together, so valid measures nothing; evaluate on test")
    result = evaluate_by_user(model, targets, labels, arguments.dialect)
    for label, value in result.means.items():
        print(f"{label}\t{value:.6g}" if isinstance(value, float) else f"{label}\t{value}")
    if arguments.per_user:
        import polars as pl

        table = pl.DataFrame({"user_id": model.user_ids.ids[result.user_index].tolist(), **result.values})
        with atomic_path(Path(arguments.per_user)) as temporary:
            table.write_csv(temporary, separator="\t")
    return 0
