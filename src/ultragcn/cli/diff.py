"""Compare the lists of two runs: what changes for users when one takes the place of the other."""

import argparse
import json
from collections.abc import Sequence

from ultragcn.cli import output, threads
from ultragcn.errors import UsageError

_MOST = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run_a", metavar="A", help="the old run: a folder that ultragcn train wrote, or save of any model")
    parser.add_argument("run_b", metavar="B", help="the new run; its model may be another one, and know other users and items")
    parser.add_argument("--top_k", type=int, default=20, metavar="K", help="length of the lists (default: 20)")
    parser.add_argument("--include_seen", action="store_true", help="also list items that users already have")
    parser.add_argument(
        "--changed", type=int, metavar="N",
        help="print the N users whose lists changed most, and not the figures; --json prints both, with N = 10 by default",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object with everything, not a table")
    threads.add_argument(parser)


_INSTEAD = {"--most": "--changed", "--users": "--changed", "--format": "--json"}


def advice(option: str, argv: Sequence[str]) -> str:
    """Return which option is meant by one that looks like it; else an empty string."""
    return f"; did you mean {_INSTEAD[option]}?" if option in _INSTEAD else ""


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn diff`."""
    from ultragcn.evaluation.difference import diff
    from ultragcn.models.registry import load_model

    for option, value in (("--top_k", arguments.top_k), ("--changed", arguments.changed)):
        if value is not None and value < 1:
            raise UsageError(f"{option} must be a whole number of 1 or more, not {value}")
    change = diff(load_model(arguments.run_a), load_model(arguments.run_b), arguments.top_k, not arguments.include_seen)
    if arguments.json:
        print(json.dumps(change.to_dict(arguments.changed or _MOST), ensure_ascii=False))
    elif arguments.changed:
        table = change.most_changed(arguments.changed)
        rows = (["" if cell is None else cell for cell in row] for row in table.iter_rows())
        output.write(_as_tsv(), tuple(table.columns), map(tuple, rows))
    else:
        output.write(_as_tsv(), ("figure", "value"), iter(change.figures().items()))
    return 0


def _as_tsv() -> argparse.Namespace:
    return argparse.Namespace(output=None, format="tsv")
