"""Say why an item has its score with a user: which of the user's items raise it, and by how much."""

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ultragcn.cli import threads
from ultragcn.errors import UsageError

_MOST = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run_folder", metavar="RUN", help="a folder that ultragcn train wrote, or save of any model that can say why")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--user", metavar="ID", help="a user id; one that begins with - is typed --user=-ID")
    who.add_argument("--items", nargs="+", action="extend", metavar="ID", help="item ids of someone whom the model does not know")
    parser.add_argument("--item", required=True, metavar="ID", help="the item whose score is explained")
    parser.add_argument("--top_k", type=int, default=_MOST, metavar="K", help=f"number of reasons to list (default: {_MOST})")
    parser.add_argument("--json", action="store_true", help="print one JSON object, not a sentence and a table")
    threads.add_argument(parser)


_INSTEAD = {"--users": "--user", "--user_id": "--user", "--item_id": "--item", "--item_ids": "--items", "--format": "--json"}


def advice(option: str, argv: Sequence[str]) -> str:
    """Return which option is meant by one that looks like it; else an empty string."""
    return f"; did you mean {_INSTEAD[option]}?" if option in _INSTEAD else ""


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn explain`."""
    from ultragcn.models.registry import load_model

    if arguments.top_k < 1:
        raise UsageError(f"--top_k must be a whole number of 1 or more, not {arguments.top_k}")
    model = load_model(arguments.run_folder)
    [item] = model.item_ids.parse([arguments.item])
    if arguments.items:
        why = model.explain_for(model.item_ids.parse(arguments.items), item)
    else:
        why = model.explain(model.user_ids.parse([arguments.user])[0], item)
    told = why.to_dict(arguments.top_k)
    if arguments.json:
        print(json.dumps(told, ensure_ascii=False))
        return 0
    print(why)
    print()
    for cells in _table(told):
        print("\t".join(cells))
    return 0


def _table(told: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the lines of a table whose second column adds up to the score, which stands last."""
    titled = "title" in told
    yield ("item_id", *(("title",) if titled else ()), "contribution", "share")
    for reason in told["reasons"]:
        names = (str(reason["item_id"]), *((reason["title"],) if titled else ()))
        yield (*map(_in_one_cell, names), f"{reason['contribution']:.6g}", f"{100 * reason['share']:.1f} %")
    for name in ("others", "trend", "rest", "score"):
        yield (f"({name})", *(("",) if titled else ()), f"{told[name]:.6g}", "")


def _in_one_cell(text: str) -> str:
    """Return `text` without tabs and line breaks, which would begin another cell."""
    return " ".join(re.split(r"[\t\r\n]+", text))
