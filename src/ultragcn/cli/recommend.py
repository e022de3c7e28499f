"""Recommend items to users of a run, or to someone new by what they have."""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ultragcn.cli import ids, output, parts, queries, rule_options, threads
from ultragcn.cli.messages import tell
from ultragcn.cli.rule_options import are, of
from ultragcn.cli.short_lists import ShortLists
from ultragcn.errors import UsageError, counted
from ultragcn.progress import Bars, Progress, Silent
from ultragcn.storage import hash_bytes

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
        "--users", nargs="+", action="extend", metavar="ID", help="user ids; give each id that begins with - as --users=-ID",
    )  # fmt: skip
    who.add_argument(
        "--users_file", metavar="FILE",
        help="user ids from a file: one a line, or the column user_id of a table (CSV, TSV, JSON lines, Parquet); - is stdin",
    )  # fmt: skip
    who.add_argument("--items", nargs="+", action="extend", metavar="ID", help="item ids of someone whom the model does not know")
    who.add_argument(
        "--queries", metavar="FILE",
        help="a table (CSV, TSV, JSON lines, Parquet) with a query in each row: user_id or items, and if needed exclude, only, "
        "top_k and query_id, which the answer repeats (default: the number of the row); - is stdin",
    )  # fmt: skip
    who.add_argument("--all", action="store_true", help="every user")
    parser.add_argument("--top_k", type=int, default=20, metavar="K", help="items for each user (default: 20)")
    parser.add_argument("--include_seen", action="store_true", help="also list items that the user already has")
    rule_options.add_arguments(parser)
    parser.add_argument(
        "--shard", metavar="I/N", help="only the I-th of N parts of the users, 1/N to N/N, for N processes or machines; the parts "
        "in their order are the whole",
    )  # fmt: skip
    parts.add_arguments(parser)
    parser.add_argument(
        "--stats", action="store_true", help="end with a line of JSON on stderr: users, rows, fallbacks (users who got popular "
        "items), seconds and the id of the model",
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
    in_parts = parts.is_wanted(arguments)
    if in_parts:
        parts.check(arguments)
    else:
        output.check(arguments)
    rule_options.check(arguments)
    shard = _shard_of(arguments)
    model = load_model(arguments.run_folder)
    arguments.all_rules = rule_options.rules_of(arguments, model)
    short = None if arguments.queries else ShortLists(arguments, model)  # a query has a length of its own
    if arguments.items:
        done = _recommend_for_items(arguments, model, short)
    else:
        asked: _Asked = _Queries(arguments, model) if arguments.queries else _Users(arguments, model)
        done = _write_parts(arguments, asked, shard, short) if in_parts else _write(arguments, asked, shard or (1, 1), short)
    sys.stdout.flush()  # first the lists: what cannot be printed is said before anything else
    if short is not None:
        short.say()
    _tell_unseen(Path(arguments.run_folder))
    if arguments.stats and sys.stderr is not None:
        seconds = round(time.perf_counter() - started, 3)
        counts = {name: count for name, count in asdict(done).items() if count is not None}
        print(json.dumps(counts | {"seconds": seconds, "model": model_id(arguments.run_folder)}), file=sys.stderr)
    return 0


@dataclass
class _Done:
    """What --stats says of the lists that were written."""

    users: int = 0
    """Users asked for, those who got no list among them."""
    rows: int = 0
    fallbacks: int = 0
    """Users whom the model does not know, and who got what is popular."""
    parts: int | None = None
    """Parts that were written; None where there is one file."""
    parts_kept: int | None = None
    """Parts that were there already."""


def _shard_of(arguments: argparse.Namespace) -> tuple[int, int] | None:
    """Return which part of the users is asked for, and of how many; None: all."""
    if arguments.shard is None:
        return None
    if arguments.items:
        raise UsageError(
            "--shard divides users, and --items is not a user; drop --shard, or give --all, --users_file or --users in place of --items"
        )
    found = re.fullmatch(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})", arguments.shard)
    part, of_all = map(int, found.groups()) if found else (1, 0)
    if part > of_all:
        raise UsageError(f"--shard must be I/N with I from 1 to N, such as 1/4, not {arguments.shard!r}")
    return part, of_all


def _recommend_for_items(arguments: argparse.Namespace, model: "Recommender", short: ShortLists | None) -> _Done:
    import polars as pl

    listed = _meant(arguments, model.item_ids, arguments.items)
    items, scores = model.recommend_for(listed, arguments.top_k, not arguments.include_seen, rules=arguments.all_rules)
    named = output.item_cells(model, model.item_ids.rows(items))
    ranked = ((place, *cells, float(score)) for place, (cells, score) in enumerate(zip(named, scores, strict=True), start=1))
    output.write(arguments, ("rank", *output.item_columns(model), "score"), ranked)
    if short is not None:
        short.count(1, pl.DataFrame({"rank": np.arange(1, len(items) + 1), "item_id": items.tolist()}))
    known = len(listed) > 0 and bool((model.item_ids.find(listed) >= 0).any())
    return _Done(1, len(items), int(not known and len(items) > 0))


class _Asked(Protocol):
    """Those who get a list, in their order."""

    number: int
    unit: str
    places: int
    """Places of the longest list."""

    def frame(self, start: int, stop: int) -> "pl.DataFrame":
        """Return the lists of some that follow each other."""

    def fallbacks(self, start: int, stop: int) -> int:
        """Return how many of them got what is popular, since the model does not know them."""

    def checksums(self) -> dict[str, Any]:
        """Return what tells them from others."""


class _Users:
    """Users of the model, or ids from the command line or a file."""

    unit = "user"

    def __init__(self, arguments: argparse.Namespace, model: "Recommender") -> None:
        users: Any = model.user_ids.ids
        if arguments.all and model.is_without_history:
            raise UsageError(f"the model in {arguments.run_folder} was saved without histories and knows no users; give --items ID ...")
        if not arguments.all:
            given = arguments.users
            if arguments.users_file:
                given = ids.read_ids(arguments.users_file, model.user_ids, "--users_file")
            users = _meant(arguments, model.user_ids, given)
        self._arguments, self._model, self._users = arguments, model, users
        self.number, self.places = len(users), min(arguments.top_k, len(model.item_ids))

    def frame(self, start: int, stop: int) -> "pl.DataFrame":
        asked = self._arguments
        return self._model.recommend_frame(self._users[start:stop], asked.top_k, not asked.include_seen, rules=asked.all_rules)

    def fallbacks(self, start: int, stop: int) -> int:
        if self._arguments.unknown != "popular":
            return 0
        return int((self._model.user_ids.find(self._users[start:stop]) < 0).sum())

    def checksums(self) -> dict[str, Any]:
        users = self._users if isinstance(self._users, np.ndarray) else np.array(self._users, object)
        return {"users": [self.number, parts.checksum(users)]}


class _Queries:
    """Rows of a file, each of which asks for a list."""

    unit = "list"

    def __init__(self, arguments: argparse.Namespace, model: "Recommender") -> None:
        content = ids.content_of(arguments.queries, "--queries")
        unknown = "raise" if arguments.unknown == "error" else arguments.unknown
        shown = "stdin" if arguments.queries == ids.STDIN else arguments.queries
        self._queries = queries.read(shown, content, model, arguments.top_k, unknown)
        self._names, self._checksum = queries.names_of(self._queries), hash_bytes([content])
        self._arguments, self._model = arguments, model
        self.number, self.places = len(self._queries), int(self._queries.top_k.max())
        by_items = np.flatnonzero(self._queries.items.sizes)
        if len(by_items):  # a model that cannot answer for new users says so before anything is written
            self.frame(int(by_items[0]), int(by_items[0]) + 1)

    def frame(self, start: int, stop: int) -> "pl.DataFrame":
        from ultragcn.models.queries import frame_of

        asked, some = self._arguments, self._queries.part(start, stop)
        return frame_of(self._model, some, self._names[start:stop], not asked.include_seen, asked.all_rules)

    def fallbacks(self, start: int, stop: int) -> int:
        return int(self._queries.part(start, stop).unanswered.sum()) if self._arguments.unknown == "popular" else 0

    def checksums(self) -> dict[str, Any]:
        return {"queries": [self.number, self._checksum]}


def _write(arguments: argparse.Namespace, asked: _Asked, shard: tuple[int, int], short: ShortLists | None) -> _Done:
    """Write one file, or to stdout."""
    done = _Done()
    first, last = _range_of(asked, *shard)
    show: Progress = Bars() if last - first > _step(asked) and arguments.output else Silent()
    show.start("recommending", last - first, asked.unit)
    try:
        output.write_frames(arguments, _frames(asked, first, last, done, show, short))
    finally:
        show.finish()
    return done


def _write_parts(arguments: argparse.Namespace, asked: _Asked, shard: tuple[int, int] | None, short: ShortLists | None) -> _Done:
    """Write the parts that are not there; of a shard, that one alone."""
    from ultragcn.models.files import model_id

    of_all = shard[1] if shard else parts.number_of(arguments, asked.number * asked.places)
    parts.claim(arguments.folder, parts.question_of(arguments, model_id(arguments.run_folder), of_all, asked.checksums()))
    wanted = [shard[0]] if shard else range(1, of_all + 1)
    missing = [part for part in wanted if not parts.file_of(arguments, part, of_all).exists()]
    done = _Done(parts=len(missing), parts_kept=len(wanted) - len(missing))
    if done.parts_kept:
        tell(f"{done.parts_kept} of {counted(len(wanted), 'part')} in {arguments.folder} {'was' if done.parts_kept == 1 else 'were'} there")
    show = Bars()
    show.start("recommending", sum(last - first for first, last in (_range_of(asked, part, of_all) for part in missing)), asked.unit)
    try:
        for part in missing:
            arguments.output = str(parts.file_of(arguments, part, of_all))
            output.write_frames(arguments, _frames(asked, *_range_of(asked, part, of_all), done, show, short))
    finally:
        show.finish()
    return done


def _range_of(asked: _Asked, part: int, of_all: int) -> tuple[int, int]:
    """Return where a part of those asked for begins and ends."""
    return asked.number * (part - 1) // of_all, asked.number * part // of_all


def _step(asked: _Asked) -> int:
    """Return for how many lists are made at a time, so that memory does not grow."""
    return max(1, min(_BLOCK_USERS, _BLOCK_PLACES // max(1, asked.places)))


def _frames(
    asked: _Asked, first: int, last: int, done: _Done, show: Progress, short: ShortLists | None
) -> Iterator["pl.DataFrame"]:  # fmt: skip
    """Yield the ranked lists block by block; count them in `done`."""
    step = _step(asked)
    for start in range(first, max(first + 1, last), step):
        stop = min(start + step, last)
        frame = asked.frame(start, stop)
        done.users, done.rows = done.users + stop - start, done.rows + len(frame)
        done.fallbacks += asked.fallbacks(start, stop)
        if short is not None:
            short.count(stop - start, frame)
        yield frame
        show.advance(stop - start)


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
