"""Ranked lists between ids and rows: empty places, and frames of lists.

Letters: U users, I items, B users asked about, K places of a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ultragcn.data.ids import Id, IdMap, as_ids
from ultragcn.errors import UsageError
from ultragcn.lazily import pl
from ultragcn.machine import ask_for, refuse_lost_threads
from ultragcn.rules.masks import empty_lists, joined
from ultragcn.scoring.ranking import BATCH_USERS, batch_users
from ultragcn.scoring.scorer import Ranking


def is_one(ids: Any) -> bool:
    """Return whether an id is given and not a list; what is neither is refused later, as the id that it is not."""
    return isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable) or (isinstance(ids, np.ndarray) and ids.ndim == 0)


def one_or_many(ids: Id | Iterable[Id] | np.ndarray) -> tuple[bool, Any]:
    """Return whether one id is given, and the ids as a list or an array."""
    if is_one(ids):
        return True, [ids.item() if isinstance(ids, np.ndarray) else ids]
    return False, ids if isinstance(ids, np.ndarray) else list(ids)  # type: ignore[arg-type]


def checked_top_k(top_k: Any, most: int) -> int:
    """Return the length of lists, which have at most as many places as there are items; raise `UsageError` where `top_k` is none."""
    if isinstance(top_k, bool) or not isinstance(top_k, (int, np.integer)) or top_k < 1:
        raise UsageError(f"top_k must be a whole number of 1 or more, not {top_k!r}")
    return min(int(top_k), most)


_PLACE_BYTES = 32
"""Bytes of a place of a list: item and score of its block, those of all lists, and the id. A frame has columns instead."""


def ask_for_lists(num_lists: int, top_k: int) -> None:
    """Raise `MemoryShortError` where lists that are returned together need more memory than is free."""
    what = f"a table of {num_lists} lists of {top_k} items"
    ask_for(_PLACE_BYTES * num_lists * top_k, what, "take fewer users at a time, or a smaller top_k")


def lists_in_blocks(
    rank: Callable[[np.ndarray], Ranking] | None, rows: np.ndarray, top_k: int, instead: tuple[np.ndarray, np.ndarray] | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the lists of user rows (B,) in order, a block of them at a time: items (b, K) and scores (b, K).

    Row -1 is a user that the model does not know. The first of them gets the first list of `instead` and so on, or all get empty ones.
    `rank` gives the lists of the others; it may be None where there are no others.
    """
    step, done = min(BATCH_USERS, batch_users(top_k)), 0
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        listed, scores = empty_lists(len(block), top_k)
        known = np.flatnonzero(block >= 0)
        if rank is not None and len(known):
            listed[known], scores[known] = joined(((one, own) for _, one, own in rank(block[known])), top_k)
        if instead is not None:
            unknown = np.flatnonzero(block < 0)
            listed[unknown], scores[unknown] = (table[done : done + len(unknown)] for table in instead)
            done += len(unknown)
        yield listed, scores


def named(ids: IdMap, rows: np.ndarray, scores: np.ndarray, one: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (B, K) as ids, empty places (-1) as -1 or ""; the first line alone, without empty places, for `one`."""
    names = np.where(rows >= 0, ids.ids[rows], "" if ids.are_strings else -1) if len(ids) else np.full(rows.shape, -1)
    if one:
        listed = rows[0] >= 0
        return names[0][listed], scores[0][listed]
    return names, scores


def frame_of(user_ids: np.ndarray, items: np.ndarray, scores: np.ndarray, item_ids: IdMap, titles: np.ndarray | None) -> pl.DataFrame:
    """Return the lists (B, K) of B users as a frame: user_id, rank, item_id, title where titles are known, score; no empty places.

    No Python object is made for a row: ids and titles are gathered from columns of those that occur.
    """
    refuse_lost_threads()
    listed, places = np.nonzero(items >= 0)
    rows = items[listed, places]
    occurring, which = np.unique(rows, return_inverse=True)
    columns = {
        "user_id": _series(user_ids).gather(pl.Series(listed)),
        "rank": pl.Series((places + 1).astype(np.int32)),
        "item_id": _series(item_ids.ids[occurring]).gather(pl.Series(which)),
    }
    if titles is not None:
        columns["title"] = _series(titles[occurring]).gather(pl.Series(which))
    return pl.DataFrame(columns | {"score": pl.Series(scores[listed, places])})


def _series(ids: np.ndarray) -> pl.Series:
    return pl.Series(ids.tolist(), dtype=pl.String) if ids.dtype == object else pl.Series(ids)


def pairs_of(user_ids: IdMap, item_ids: IdMap, users: Any, items: Any) -> tuple[bool, np.ndarray, np.ndarray]:
    """Return whether one pair is meant, and the rows of N pairs, (N,) each: one user with each item, or users and items in step."""
    (one_user, given_users), (one_item, given_items) = one_or_many(users), one_or_many(items)
    rows, columns = user_ids.rows(given_users), item_ids.rows(given_items)
    if not one_user and not one_item and len(rows) != len(columns):
        raise UsageError(f"{len(rows)} users do not pair with {len(columns)} items; give one user, or as many users as items")
    pairs = np.broadcast_arrays(rows if not one_user else rows[0], columns if not one_item else columns[0])
    # Copies, because NumPy warns where compiled code looks at an array that was broadcast.
    rows, columns = (np.array(side, ndmin=1) for side in pairs)
    return one_user and one_item, rows, columns


def baskets_of(item_ids: IdMap, given: Any, unknown: str) -> tuple[bool, list[np.ndarray]]:
    """Return whether one new user is meant, and the item rows of each."""
    if is_one(given):
        raise UsageError(f"give the items of a new user as a list, such as [{given!r}]")
    listed: Sequence[Any] = list(given)
    one = not listed or is_one(listed[0])
    baskets = []
    for basket in [listed] if one else listed:
        if unknown == "raise":
            rows = item_ids.rows(basket)
            if len(rows) == 0:
                raise UsageError('a new user needs at least one item; give unknown="popular" for what is popular')
        else:
            rows = item_ids.find(as_ids(basket, item_ids.what))
            rows = rows[rows >= 0]
        baskets.append(rows)
    return one, baskets
