"""Recommend items to users of a run, or to someone new by what they have."""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ultragcn.cli import ids, output, rule_options, threads
from ultragcn.cli.messages import tell
from ultragcn.cli.rule_options import are, of
from ultragcn.cli.short_lists import ShortLists
from ultragcn.errors import UsageError
from ultragcn.progress import Bars, Progress, Silent

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
    parser.add_argument(
        "--shard", metavar="I/N", help="only the I-th of N parts of the users, 1/N to N/N, for N processes or machines; the parts below "
        "each other are the whole",
    )  # fmt: skip
    parser.add_argument(
        "--stats", action="store_true", help="end with a line of JSON on stderr: users, rows, fallbacks (users who got what is popular), "
        "seconds and the id of the model",
    )  # fmt: skip
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
    from ultragcn.models.files import model_id
    from ultragcn.models.registry import load_model

    started = time.perf_counter()
    output.check(arguments)
    rule_options.check(arguments)
    shard = _shard_of(arguments)
    model = load_model(arguments.run_folder)
    arguments.all_rules = rule_options.rules_of(arguments, model)
    short = ShortLists(arguments, model)
    if arguments.items:
        done = _recommend_for_items(arguments, model, short)
    else:
        done = _Done()
        output.write_frames(arguments, _frames(arguments, model, shard, done, short))
    sys.stdout.flush()  # first the lists: what cannot be printed is said before anything else
    short.say()
    _tell_unseen(Path(arguments.run_folder))
    if arguments.stats and sys.stderr is not None:
        seconds = round(time.perf_counter() - started, 3)
        print(json.dumps(asdict(done) | {"seconds": seconds, "model": model_id(arguments.run_folder)}), file=sys.stderr)
    return 0


@dataclass
class _Done:
    """What --stats says of the lists that were written."""

    users: int = 0
    """Users asked for, those who got no list among them."""
    rows: int = 0
    fallbacks: int = 0
    """Users whom the model does not know, and who got what is popular."""


def _shard_of(arguments: argparse.Namespace) -> tuple[int, int]:
    """Return which part of the users is asked for, and of how many."""
    if arguments.shard is None:
        return 1, 1
    if arguments.items:
        raise UsageError("--shard shares out users; drop it, or give --all, --users_file or --users in place of --items")
    found = re.fullmatch(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})", arguments.shard)
    part, parts = map(int, found.groups()) if found else (1, 0)
    if part > parts:
        raise UsageError(f"--shard must be I/N with I from 1 to N, such as 1/4, not {arguments.shard!r}")
    return part, parts


def _recommend_for_items(arguments: argparse.Namespace, model: "Recommender", short: ShortLists) -> _Done:
    import polars as pl

    listed = _meant(arguments, model.item_ids, arguments.items)
    items, scores = model.recommend_for(listed, arguments.top_k, not arguments.include_seen, rules=arguments.all_rules)
    named = output.item_cells(model, model.item_ids.rows(items))
    ranked = ((place, *cells, float(score)) for place, (cells, score) in enumerate(zip(named, scores, strict=True), start=1))
    output.write(arguments, ("rank", *output.item_columns(model), "score"), ranked)
    short.count(1, pl.DataFrame({"rank": np.arange(1, len(items) + 1), "item_id": items.tolist()}))
    known = len(listed) > 0 and bool((model.item_ids.find(listed) >= 0).any())
    return _Done(1, len(items), int(not known and len(items) > 0))


def _frames(
    arguments: argparse.Namespace, model: "Recommender", shard: tuple[int, int], done: _Done, short: ShortLists
) -> Iterator["pl.DataFrame"]:  # fmt: skip
    """Return the ranked lists block by block, so that memory does not grow with the number of users; count them in `done`."""
    users: Any = model.user_ids.ids
    if arguments.all and model.is_without_history:
        raise UsageError(f"the model in {arguments.run_folder} was saved without histories and knows no users; give --items ID ...")
    if not arguments.all:
        given = arguments.users
        if arguments.users_file:
            given = ids.read_ids(arguments.users_file, model.user_ids, "--users_file")
        users = _meant(arguments, model.user_ids, given)
    part, parts = shard
    users = users[len(users) * (part - 1) // parts : len(users) * part // parts]
    step = max(1, min(_BLOCK_USERS, _BLOCK_PLACES // max(1, min(arguments.top_k, len(model.item_ids)))))
    is_watched = len(users) > step and bool(arguments.output) and sys.stderr is not None and sys.stderr.isatty()
    show: Progress = Bars() if is_watched else Silent()

    def blocks() -> Iterator["pl.DataFrame"]:
        show.start("recommending", len(users), "user")
        try:
            for start in range(0, max(1, len(users)), step):
                block = users[start : start + step]
                frame = model.recommend_frame(block, arguments.top_k, not arguments.include_seen, rules=arguments.all_rules)
                done.users, done.rows = done.users + len(block), done.rows + len(frame)
                short.count(len(block), frame)
                if arguments.unknown == "popular":
                    done.fallbacks += int((model.user_ids.find(block) < 0).sum())
                yield frame
                show.advance(len(block))
        finally:
            show.finish()

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

    if kept_by(folder) == MEASURED:
        tell(
            f"the model in {folder} was measured, so it has not seen the test pairs, and lists may hold them; "
            "ultragcn train --keep everything makes a model to use"
        )
