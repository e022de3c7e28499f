"""Recommend items to users of a run, or to someone new by what they have."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultragcn.cli import ids, output, rule_options, threads
from ultragcn.cli.messages import tell
from ultragcn.cli.rule_options import are, of
from ultragcn.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from ultragcn.data.ids import Id, IdMap
    from ultragcn.models.recommender import Recommender

_BLOCK_USERS = 8192  # whose lists are written at a time
_BLOCK_PLACES = 2**22  # places of those lists at most


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run_folder", metavar="RUN", help="a folder that ultragcn train wrote, or save of any model")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument(
        "--users", nargs="+", action="extend", metavar="ID", help="user ids; an id that begins with - is typed --users=-ID, as often as "
        "there are such ids",
    )  # fmt: skip
    who.add_argument(
        "--users_file", metavar="FILE",
        help="user ids from a file: one a line, or the column user_id of a table (CSV, TSV, JSON lines, Parquet); - is stdin",
    )  # fmt: skip
    who.add_argument("--items", nargs="+", action="extend", metavar="ID", help="item ids of someone the run has not seen")
    who.add_argument("--all", action="store_true", help="every user")
    parser.add_argument("--top_k", type=int, default=20, metavar="K", help="items for each user (default: 20)")
    parser.add_argument("--include_seen", action="store_true", help="also list what the user already has")
    rule_options.add_arguments(parser)
    threads.add_argument(parser)
    output.add_arguments(parser)


_INSTEAD = {
    "--user": "--users", "--user_ids": "--users", "--item": "--items", "--item_ids": "--items", "--all_users": "--all",
    "--user_file": "--users_file", "--users_from": "--users_file",
}  # fmt: skip


def advice(option: str, argv: Sequence[str]) -> str:
    """Return which option is meant by one that looks like it; else an empty string."""
    return f"; did you mean {_INSTEAD[option]}?" if option in _INSTEAD else ""


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn recommend`."""
    from ultragcn.models.registry import load_model

    output.check(arguments)
    rule_options.check(arguments)
    model = load_model(arguments.run_folder)
    arguments.all_rules = rule_options.rules_of(arguments, model)
    if arguments.items:
        _recommend_for_items(arguments, model)
    else:
        output.write_frames(arguments, _frames(arguments, model))
    _tell_unseen(Path(arguments.run_folder))
    return 0


def _recommend_for_items(arguments: argparse.Namespace, model: "Recommender") -> None:
    listed = _meant(arguments, model.item_ids, arguments.items)
    items, scores = model.recommend_for(listed, arguments.top_k, not arguments.include_seen, rules=arguments.all_rules)
    named = output.item_cells(model, model.item_ids.rows(items))
    ranked = ((place, *cells, float(score)) for place, (cells, score) in enumerate(zip(named, scores, strict=True), start=1))
    output.write(arguments, ("rank", *output.item_columns(model), "score"), ranked)


def _frames(arguments: argparse.Namespace, model: "Recommender") -> Iterator["pl.DataFrame"]:
    """Return the ranked lists block by block, so that memory does not grow with the number of users."""
    users: Any = model.user_ids.ids
    if not arguments.all:
        given = arguments.users
        if arguments.users_file:
            given = ids.read_ids(arguments.users_file, model.user_ids, "--users_file")
        users = _meant(arguments, model.user_ids, given)

    def blocks() -> Iterator["pl.DataFrame"]:
        step = max(1, min(_BLOCK_USERS, _BLOCK_PLACES // max(1, min(arguments.top_k, len(model.item_ids)))))
        for start in range(0, max(1, len(users)), step):
            block = users[start : start + step]
            yield model.recommend_frame(block, arguments.top_k, not arguments.include_seen, rules=arguments.all_rules)

    return blocks()


def _meant(arguments: argparse.Namespace, known: "IdMap", texts: Sequence[str]) -> list["Id"]:
    """Return the ids that `texts` stand for; say how many the model does not know, and what happens with them."""
    found = ids.typed(known, texts)
    if arguments.unknown == "error":
        try:
            listed = known.parse(texts)
            known.rows(listed)
        except UsageError as error:
            raise UsageError(f"{error}; --unknown skip leaves out what the model does not know") from None
        return listed
    left_out = [*found.impossible, *(found.unknown if arguments.unknown == "skip" else ())]
    if left_out:
        tell(f"{of(left_out, found, known.what)} {are(left_out)} not known to the model, and left out")
    if arguments.unknown == "popular" and found.unknown:
        what = "get the items that most users have" if known.what == "user" else "do not count"
        tell(f"{of(found.unknown, found, known.what)} {are(found.unknown)} not known to the model, and {what}")
    unknown = set(found.unknown) if arguments.unknown == "skip" else ()
    return [one for one in found.ids if str(one) not in unknown]


def _tell_unseen(folder: Path) -> None:
    """Say of a model that was measured that lists may hold what was held out from it."""
    from ultragcn.experiments.runs.manifest import MEASURED, kept_by

    sys.stdout.flush()  # first the lists: what cannot be printed is said before this
    if kept_by(folder) == MEASURED:
        tell(
            f"the model in {folder} was measured, so it has not seen the test pairs, and lists may hold them; "
            "ultragcn train --keep everything makes a model to use"
        )
