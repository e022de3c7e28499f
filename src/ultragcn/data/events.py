"""Events: the distinct pairs of a log, what they are split by, and the densest part of them."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from ultragcn.data.ids import IdMap
from ultragcn.data.interactions import Interactions
from ultragcn.data.log import Log
from ultragcn.errors import DataError, warn
from ultragcn.machine import ask_for

_ROW_BYTES = 40
"""Bytes that a row of a log takes while repetitions are looked for: its key, the keys in order, and what is kept of them."""


@dataclass(frozen=True)
class Events:
    """Distinct pairs, and what they are split by: when each happened last, or where it stands in its line."""

    interactions: Interactions
    times: np.ndarray | None  # (N,) int64, aligned with interactions.pairs

    def part(self, mask: np.ndarray) -> "Events":
        """Return the pairs that a mask (N,) selects, over the same ids."""
        return Events(self.interactions.part(mask), None if self.times is None else self.times[mask])


def over_same_ids(logs: list[Log]) -> list[Log]:
    """Return the logs over the ids that occur in any of them; where some have strings, all ids become strings."""
    if len(logs) == 1:
        return logs
    user_ids = _union([log.user_ids for log in logs])
    item_ids = _union([log.item_ids for log in logs])
    return [
        replace(log, user_ids=user_ids, users=_moved(log.users, log.user_ids, user_ids), item_ids=item_ids,
                items=_moved(log.items, log.item_ids, item_ids))
        for log in logs
    ]  # fmt: skip


def at_which(first: bool, dated: bool) -> str:
    """Return at which time a pair that comes again counts, for messages; "" where no times are read."""
    return f", at {'its first' if first else 'its latest'} time" if dated else ""


def events_of(log: Log) -> Events:
    """Return the distinct pairs of a log, with the latest time of each or the first; repetitions are counted in a `DataWarning`."""
    ask_for(
        _ROW_BYTES * len(log.users),
        f"sorting the {len(log.users)} rows of {log.name}",
        "read fewer rows, for example with where or min_rating",
    )
    keys = log.users.astype(np.int64) * len(log.item_ids) + log.items
    if log.times is None:
        when, sorted_keys = None, np.sort(keys)
        starts = _starts(sorted_keys)
    else:
        order = np.argsort(keys)
        sorted_keys = keys[order]
        starts = _starts(sorted_keys)
        when = (np.minimum if log.counts_first else np.maximum).reduceat(log.times[order], starts)
    distinct = sorted_keys[starts]
    repeated = len(keys) - len(distinct)
    if repeated and not log.netted:
        first = _first_repetition(keys)
        user, item = log.user_ids.shown(log.users[first]), log.item_ids.shown(log.items[first])
        many = "it was" if repeated == 1 else f"{repeated} such repetitions were"
        warn(f"{log.place(first)}: user {user} has item {item} twice; {many} counted once{at_which(log.counts_first, log.dated)}")
    return Events(_interactions(distinct, log.user_ids, log.item_ids, when if log.dated else None), when)


def k_core(events: Events, k: int) -> Events:
    """Return the largest part in which every user and every item has `k` pairs or more; ids that fall out are gone.

    Raises
    ------
    DataError
        Nothing is left.
    """
    if k <= 1:
        return events
    users, items = events.interactions.pairs
    when = events.times
    while True:
        keep = (np.bincount(users)[users] >= k) & (np.bincount(items)[items] >= k) if len(users) else np.zeros(0, bool)
        if keep.all():
            break
        users, items = users[keep], items[keep]
        when = None if when is None else when[keep]
    if len(users) == 0:
        raise DataError(f"the {k}-core is empty: no part of the data has {k} interactions of every user and item; lower k_core")
    user_ids, users = _compacted(events.interactions.user_ids, users)
    item_ids, items = _compacted(events.interactions.item_ids, items)
    dated = events.interactions.times is not None
    return Events(_interactions(users * np.int64(len(item_ids)) + items, user_ids, item_ids, when if dated else None), when)


def _compacted(ids: IdMap, rows: np.ndarray) -> tuple[IdMap, np.ndarray]:
    """Return the map of those ids that occur in `rows` (N,), and `rows` in that map."""
    occurs = np.bincount(rows, minlength=len(ids)) > 0
    return ids.part(np.flatnonzero(occurs)), (np.cumsum(occurs) - 1)[rows]


def _interactions(keys: np.ndarray, user_ids: IdMap, item_ids: IdMap, when: np.ndarray | None) -> Interactions:
    """Return the interactions of distinct ascending keys, user row x I + item row, and their times (N,)."""
    counts = np.bincount(keys // len(item_ids), minlength=len(user_ids)) if len(keys) else np.zeros(len(user_ids), np.int64)
    indptr = np.concatenate(([0], np.cumsum(counts)))
    indices = (keys % len(item_ids)).astype(np.int32)
    shape = (len(user_ids), len(item_ids))
    return Interactions._of(sp.csr_matrix((np.ones(len(keys), np.float32), indices, indptr), shape=shape), user_ids, item_ids, when)


def _starts(sorted_keys: np.ndarray) -> np.ndarray:
    """Return where each key begins among ascending ones."""
    return np.flatnonzero(np.concatenate(([True], sorted_keys[1:] != sorted_keys[:-1])))


def _first_repetition(keys: np.ndarray) -> int:
    """Return the position of the first key that stood before; there must be one. Most often it comes early."""
    size = 1024
    while True:
        head = keys[:size]
        order = np.argsort(head, kind="stable")
        again = order[1:][head[order[1:]] == head[order[:-1]]]
        if len(again):
            return int(again.min())
        size *= 4


def _union(maps: list[IdMap]) -> IdMap:
    as_text = any(ids.are_strings for ids in maps)
    every = [np.array([str(one) for one in ids.ids.tolist()], dtype=object) if as_text else ids.ids for ids in maps]
    return IdMap.of(np.concatenate(every), maps[0].what)


def _moved(rows: np.ndarray, old: IdMap, new: IdMap) -> np.ndarray:
    ids = old.ids if old.are_strings == new.are_strings else np.array([str(one) for one in old.ids.tolist()], dtype=object)
    result: np.ndarray = new.rows(ids).astype(np.int32)[rows]
    return result
