"""Questions of many kinds at once: each has its own user or items, its own masks and its own length of list.

Letters: U users, I items, B queries, K places of a list.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
import scipy.sparse as sp

from ultragcn.data.ids import Id
from ultragcn.models import lists
from ultragcn.rules import Rules
from ultragcn.rules.bound import Bound
from ultragcn.rules.masks import empty_lists, joined, rows_of

if TYPE_CHECKING:
    from ultragcn.models.ranking_verbs import RankingVerbs


class Rows(NamedTuple):
    """Item rows of each query, one query after the other."""

    indptr: np.ndarray
    """(B + 1,) int64"""
    rows: np.ndarray
    """int32, ascending within a query, none twice"""

    @classmethod
    def of(cls, lists: Sequence[np.ndarray]) -> "Rows":
        """Return the rows of lists of rows, which may come in any order and more than once."""
        lists = [np.unique(rows).astype(np.int32) for rows in lists]
        sizes = np.array([0, *map(len, lists)], np.int64)
        return cls(np.cumsum(sizes), np.concatenate([np.zeros(0, np.int32), *lists]))

    @property
    def sizes(self) -> np.ndarray:
        """How many rows each query has, (B,)."""
        return np.diff(self.indptr)

    def at(self, query: int) -> np.ndarray:
        """Return the rows of one query."""
        return self.rows[self.indptr[query] : self.indptr[query + 1]]

    def part(self, start: int, stop: int) -> "Rows":
        """Return the rows of some queries that follow each other."""
        indptr = self.indptr[start : stop + 1]
        return Rows(indptr - indptr[0], self.rows[indptr[0] : indptr[-1]])

    def joined(self, other: "Rows") -> "Rows":
        """Return these rows and those of the queries of `other` after them."""
        return Rows(np.concatenate([self.indptr, other.indptr[1:] + self.indptr[-1]]), np.concatenate([self.rows, other.rows]))


@dataclass(frozen=True, eq=False)
class Queries:
    """B queries over the rows of a model.

    Attributes
    ----------
    names : (B,) object of int and str
        What each query is called in the answer: whole numbers or texts.
    user_ids : (B,) object
        The id of the user; None where a query has items of its own instead.
    users : (B,) int64
        The row of the user; -1 where the model does not know the user, or the query has items.
    items, exclude, only : Rows
        What a new user has; what may not be listed; what alone may be listed.
    limited : (B,) bool
        Whether `only` counts. An empty `only` that counts allows nothing.
    top_k : (B,) int64
    """

    names: np.ndarray
    user_ids: np.ndarray
    users: np.ndarray
    items: Rows
    exclude: Rows
    only: Rows
    limited: np.ndarray
    top_k: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    def part(self, start: int, stop: int) -> "Queries":
        """Return some queries that follow each other."""
        parts: Any = {name: own.part(start, stop) if isinstance(own, Rows) else own[start:stop] for name, own in vars(self).items()}
        return Queries(**parts)

    def joined(self, other: "Queries") -> "Queries":
        """Return these queries and those of `other` after them."""
        pairs = ((name, own, getattr(other, name)) for name, own in vars(self).items())
        parts: Any = {name: a.joined(b) if isinstance(a, Rows) else np.concatenate([a, b]) for name, a, b in pairs}
        return Queries(**parts)

    @property
    def unanswered(self) -> np.ndarray:
        """Whether the model knows nothing of whom a query asks for, (B,) bool: neither the user nor any item."""
        result: np.ndarray = (self.users < 0) & (self.items.sizes == 0)
        return result


def frame_of(
    model: "RankingVerbs", queries: Queries, names: np.ndarray, exclude_seen: bool = True, rules: Rules | None = None
) -> pl.DataFrame:
    """Return the lists of queries as a frame: query_id, rank, item_id, title (where known) and score; no empty places.

    Parameters
    ----------
    model : RankingVerbs
    queries : Queries
    names : (B,) int64, or object of str
        What the queries are called.
    exclude_seen : bool
        Leave out what a user has.
    rules : Rules, optional
        They hold for every query, besides its own.
    """
    bound = model._bound(rules, None, None, None, None, None, None, None, None)
    listed, scores = lists_of(model, queries, exclude_seen, bound)
    return lists.frame_of(names, listed, scores, model.item_ids, model.item_titles_).rename({"user_id": "query_id"})


def lists_of(model: "RankingVerbs", queries: Queries, exclude_seen: bool, bound: Bound) -> tuple[np.ndarray, np.ndarray]:
    """Return the lists of queries: items and scores, (B, K) each, K the longest list; shorter ones end with empty places.

    A list is the one that `recommend` or `recommend_for` gives for the query alone. Queries that ask the same kind of thing are answered
    together.
    """
    listed, scores = empty_lists(len(queries), int(queries.top_k.max(initial=1)))
    for places in _groups(queries):
        first = places[0]
        rules, top_k = bound, int(queries.top_k[first])
        if queries.limited[first]:
            is_allowed = np.zeros(len(model.item_ids), bool)
            is_allowed[queries.only.at(first)] = True
            rules = replace(bound, items=bound.items.also(is_allowed))
        answer = _by_items if queries.user_ids[first] is None else _by_users
        listed[places, :top_k], scores[places, :top_k] = answer(model, queries, places, top_k, exclude_seen, rules)
    return listed, scores


def _groups(queries: Queries) -> Iterator[np.ndarray]:
    """Yield the places of queries that can be answered together: of users or of items, equally long lists, the same `only`.

    What may not be listed is kept by user, so a user who comes more than once with such items comes into several groups.
    """
    groups: dict[Any, list[int]] = {}
    times_met: dict[int, int] = {}
    sizes = queries.exclude.sizes
    for place in range(len(queries)):
        user, turn = int(queries.users[place]), 0
        if user >= 0 and sizes[place]:
            turn = times_met[user] = times_met.get(user, 0) + 1
        only = queries.only.at(place).tobytes() if queries.limited[place] else None
        key = (queries.user_ids[place] is None, int(queries.top_k[place]), only, turn)
        groups.setdefault(key, []).append(place)
    return map(np.array, groups.values())


def _by_users(
    model: "RankingVerbs", queries: Queries, places: np.ndarray, top_k: int, exclude_seen: bool, bound: Bound
) -> tuple[np.ndarray, np.ndarray]:
    rows, own = queries.users[places], places[queries.exclude.sizes[places] > 0]
    known = own[queries.users[own] >= 0]
    pairs = bound.pairs
    strangers: dict[Id, np.ndarray] = {}
    if len(known):
        known = known[np.argsort(queries.users[known])]
        shape = (len(model.user_ids), len(model.item_ids))
        more = rows_of(shape, queries.users[known], queries.exclude.sizes[known], _rows_at(queries.exclude, known))
        pairs = more if pairs is None else sp.csr_matrix(pairs + more)
    for number, place in enumerate(places.tolist()):
        if queries.users[place] < 0:
            before = bound.strangers.get(queries.user_ids[place], np.zeros(0, np.int32))
            strangers[number] = np.union1d(before, queries.exclude.at(place))
    blocks = model._lists(np.arange(len(rows)), rows, top_k, exclude_seen, replace(bound, pairs=pairs, strangers=strangers))
    return joined(blocks, top_k)


def _by_items(
    model: "RankingVerbs", queries: Queries, places: np.ndarray, top_k: int, exclude_seen: bool, bound: Bound
) -> tuple[np.ndarray, np.ndarray]:
    baskets = [queries.items.at(place) for place in places.tolist()]
    left_out = [queries.exclude.at(place) for place in places.tolist()]
    return joined(model._lists_of_baskets(baskets, top_k, exclude_seen, bound, left_out), top_k)


def _rows_at(rows: Rows, places: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int32), *(rows.at(place) for place in places.tolist())])
