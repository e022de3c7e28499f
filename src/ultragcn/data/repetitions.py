"""Rows that repeat a pair of a user and an item: how many there are, and what is said of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_MANY = 20
_SHARE = 0.01
"""So many repetitions, and so large a share of the rows, are what logs of shops have: part of what was read. Fewer may be a mistake."""


class Distinct(NamedTuple):
    """The distinct pairs of N rows, P of them."""

    keys: np.ndarray  # (P,) int64, ascending: user row x I + item row
    times: np.ndarray | None  # (P,) int64, the latest time of each pair or the first; None where no times are read
    repeated: int
    """Rows that repeat an earlier one."""


def distinct(users: np.ndarray, items: np.ndarray, num_items: int, times: np.ndarray | None, first: bool) -> Distinct:
    """Return the distinct pairs of rows `users` and `items` (N,), each at its first time or at its latest."""
    keys = users.astype(np.int64) * num_items + items
    if times is None:
        sorted_keys = np.sort(keys)
        starts = _starts(sorted_keys)
        when = None
    else:
        order = np.argsort(keys)
        sorted_keys = keys[order]
        starts = _starts(sorted_keys)
        when = (np.minimum if first else np.maximum).reduceat(times[order], starts)
    return Distinct(sorted_keys[starts], when, len(keys) - len(starts))


def _starts(sorted_keys: np.ndarray) -> np.ndarray:
    """Return where each key begins among ascending ones."""
    return np.flatnonzero(np.concatenate(([True], sorted_keys[1:] != sorted_keys[:-1])))


def are_many(repeated: int, num_rows: int) -> bool:
    """Return whether so many of the rows repeat a pair that it is usual in this log."""
    return repeated >= max(_MANY, _SHARE * num_rows)


def at_which(first: bool, dated: bool) -> str:
    """Return at which time a pair that comes again counts, for messages; "" where no times are read."""
    return f", at {'its first' if first else 'its latest'} time" if dated else ""


def note(repeated: int, num_rows: int, netted: bool, at: str) -> str:
    """Return what is said of repetitions where it is said what was read; "" where there are none, or so few that a warning says it."""
    if netted and repeated:
        return "1 row repeats a pair and was added up" if repeated == 1 else f"{repeated} rows repeat a pair and were added up"
    return f"{repeated} rows repeat a pair and count once{at}" if not netted and are_many(repeated, num_rows) else ""
