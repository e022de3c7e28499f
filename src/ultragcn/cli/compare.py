"""Compare models on a data set: the same protocol, several seeds, one table."""

import argparse
from pathlib import Path

from ultragcn.cli import data_options, seeds, threads
from ultragcn.cli.messages import tell
from ultragcn.cli.settings import read_settings

_USUAL_SEEDS = "0,1,2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    data_options.add_arguments(parser)
    parser.add_argument(
        "--models", metavar="LIST",
        help="what to compare, separated by commas: a name of a model; lists:FILE for ranked lists from elsewhere; "
        "package.module:Class for a model of your own; NAME=... before the last two sets their name (default: "
        "popularity,itemknn,rp3beta,ease,ials,ultragcn)",
    )  # fmt: skip
    seeds.add_argument(parser, _USUAL_SEEDS)
    parser.set_defaults(seeds=_USUAL_SEEDS)
    parser.add_argument(
        "--metrics", default="recall@20,ndcg@20", metavar="LIST", help="the first one orders the table (default: recall@20,ndcg@20)"
    )
    parser.add_argument("--settings", metavar="FILE", help="a .toml file with a table of hyper-parameters for each model, such as [ease]")
    parser.add_argument(
        "--out", metavar="DIR", help="folder that keeps the results of each run (default: runs/compare-DATASET-PROTOCOL[-refit])"
    )
    parser.add_argument(
        "--refit", action="store_true",
        help="with --protocol clean: train every model once more on train and validation together, for as many epochs as were chosen",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace another comparison in --out")
    threads.add_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn compare`."""
    from ultragcn.experiments.studies import compare
    from ultragcn.experiments.studies.entries import factories_of
    from ultragcn.progress import Bars, Silent

    models = compare.DEFAULT_MODELS if arguments.models is None else _listed("--models", arguments.models)
    metrics = _listed("--metrics", arguments.metrics)
    over = seeds.seeds_of(arguments.seeds)
    source = data_options.arguments_of_load(arguments, arguments.dataset or "demo")
    name = Path(str(source["source"])).name.split(".")[0]
    protocol = arguments.protocol + ("-refit" if arguments.refit else "")
    out = Path(arguments.out) if arguments.out else Path("runs") / f"compare-{name}-{protocol}"
    settings = {} if arguments.settings is None else read_settings(arguments.settings)
    table = compare.compare(
        source, factories_of(models), over, out, metrics=metrics, settings=settings, refit=arguments.refit,
        overwrite=arguments.overwrite, progress=Silent() if arguments.quiet else Bars(), tell=tell,
    )  # fmt: skip
    failed = [line for line in table.lines if not line.num_seeds]
    if len(failed) < len(table.lines):
        print(compare.markdown(table, failures=False), end="")
        tell(f"{out} holds every run{' that ended' if failed else ''}, user by user")
    for line in failed:
        tell(f"{line.model} failed: {line.settings}")
    return 1 if failed else 0


def _listed(option: str, text: str) -> list[str]:
    """Return what stands between the commas of `text`."""
    from ultragcn.errors import UsageError

    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise UsageError(f"{option} must be a list separated by commas, with nothing empty between them, not {text!r}")
    return words
