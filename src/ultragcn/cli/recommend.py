"""Recommend items to users of a run, or to someone new by what they have."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ultragcn.cli import output
from ultragcn.cli.messages import tell

if TYPE_CHECKING:
    from ultragcn.models.recommender import Recommender


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run_folder", metavar="RUN", help="a folder that ultragcn train wrote, or save of any model")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--users", nargs="+", metavar="ID", help="user ids")
    who.add_argument("--items", nargs="+", metavar="ID", help="item ids of someone the run has not seen")
    who.add_argument("--all", action="store_true", help="every user")
    parser.add_argument("--top_k", type=int, default=20, metavar="K", help="items for each user (default: 20)")
    parser.add_argument("--include_seen", action="store_true", help="also list what the user already has")
    output.add_arguments(parser)


_INSTEAD = {"--user": "--users", "--user_ids": "--users", "--item": "--items", "--item_ids": "--items", "--all_users": "--all"}


def advice(option: str, argv: Sequence[str]) -> str:
    """Return which option is meant by one that looks like it; else an empty string."""
    return f"; did you mean {_INSTEAD[option]}?" if option in _INSTEAD else ""


def run(arguments: argparse.Namespace) -> int:
    """Run `ultragcn recommend`."""
    from ultragcn.models.registry import load_model

    output.check(arguments)
    model = load_model(arguments.run_folder)
    if arguments.items:
        items, scores = model.recommend_for(model.item_ids.parse(arguments.items), arguments.top_k, not arguments.include_seen)
        named = output.item_cells(model, model.item_ids.rows(items))
        ranked = ((place, *cells, float(score)) for place, (cells, score) in enumerate(zip(named, scores, strict=True), start=1))
        output.write(arguments, ("rank", *output.item_columns(model), "score"), ranked)
        _tell_unseen(Path(arguments.run_folder))
        return 0
    users = model.user_ids.rows(model.user_ids.ids if arguments.all else model.user_ids.parse(arguments.users))
    rows = _rows(model, users, arguments.top_k, not arguments.include_seen)
    output.write(arguments, ("user_id", "rank", *output.item_columns(model), "score"), rows)
    _tell_unseen(Path(arguments.run_folder))
    return 0


def _tell_unseen(folder: Path) -> None:
    """Say of a model that was measured that lists may hold what was held out from it."""
    from ultragcn.experiments.runs.manifest import MEASURED, kept_by

    sys.stdout.flush()  # first the lists: what cannot be printed is said before this
    if kept_by(folder) == MEASURED:
        tell(
            f"the model in {folder} was measured, so it has not seen the test pairs, and lists may hold them; "
            "ultragcn train --keep everything makes a model to use"
        )


def _rows(model: "Recommender", users: np.ndarray, top_k: int, exclude_seen: bool) -> Iterator[output.Row]:
    """Yield the ranked lists block by block, so that memory does not grow with the number of users."""
    for block, items, scores in model.rank(users, top_k, model.seen_ if exclude_seen else None):
        for user, user_items, user_scores in zip(block, items, scores, strict=True):
            user_id = model.user_ids.ids[user]
            places = np.flatnonzero(user_items >= 0)
            for place, cells in zip(places, output.item_cells(model, user_items[places]), strict=True):
                yield user_id, int(place) + 1, *cells, float(user_scores[place])
