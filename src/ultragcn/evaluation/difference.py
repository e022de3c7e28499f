"""What changes for users when the lists of one fitted model take the place of another's.

U users of a model, I items of a model, Q users that both models know, B users of a block, K list length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ultragcn.data.had import with_had
from ultragcn.data.ids import Id, IdMap, as_python
from ultragcn.errors import UsageError
from ultragcn.evaluation.beyond_accuracy import coverage, gini, times_listed
from ultragcn.evaluation.evaluate import Ranker
from ultragcn.evaluation.own_models import is_ranker
from ultragcn.lazily import pl

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the overlap of users' lists, what is reported besides the mean."""
_BLOCK_USERS = 8192  # whose lists are compared at a time
_BLOCK_PLACES = 2**22  # places of those lists at most
_EXAMPLES = 5  # ids that only one model knows, of each kind


class Lists(NamedTuple):
    """What the lists of one model are like, over the users that both models know."""

    mean_log_popularity: float
    """Mean over all listed places of log d, d the users who have the item in train of the model that is measured by."""
    coverage: float
    """Share of the model's own items that are in any list."""
    gini: float
    """How unevenly the model's own items are listed: 0 all equally often, near 1 a few alone."""
    new_items: float
    """Share of listed places whose item the other model does not know."""
    empty_places: int


class Known(NamedTuple):
    """How many users, or items, the models know, and examples of ids that only one of them does."""

    both: int
    only_a: int
    only_b: int
    examples_a: list[Id]
    examples_b: list[Id]


@dataclass(frozen=True, eq=False)
class Difference:
    """How the lists of a model `b` differ from those of a model `a`, for the users that both know; see `diff`.

    Attributes
    ----------
    top_k : int
        K, the length of the lists.
    user_ids : (Q,)
        The users that both models know, in ascending order.
    overlap : (Q,) float64
        The items that both lists of a user have, relative to the length of the longer one; 1 where both are empty.
    first_a, first_b : (Q,) int64
        Rows of the first items in `a` and in `b`, -1 for an empty list.
    first_is_new : (Q,) bool
        Whether the first items are different ones.
    a, b : Lists
    users, items : Known
    """

    top_k: int
    user_ids: np.ndarray
    overlap: np.ndarray
    first_a: np.ndarray
    first_b: np.ndarray
    first_is_new: np.ndarray
    a: Lists
    b: Lists
    users: Known
    items: Known
    item_ids: tuple[IdMap, IdMap]
    """Ids of the items of both models."""
    weight: np.ndarray
    """(Q,) int64, the items that each user has in train of `b`: of users whose lists changed as much, who has more stands first."""

    def most_changed(self, most: int = 10) -> pl.DataFrame:
        """Return the users whose lists changed most, most first: user_id, overlap, first_a and first_b (null for an empty list).

        Users whose lists changed as much stand in the order of how many items they have, most first.

        Examples
        --------
        >>> from ultragcn import EASE, ItemKNN, diff, load_dataset
        >>> data = load_dataset("demo")
        >>> diff(ItemKNN().fit(data), EASE().fit(data)).most_changed(3).columns
        ['user_id', 'overlap', 'first_a', 'first_b']
        """
        rows = np.lexsort((-self.weight, self.overlap))[:most]
        firsts = [_ids_at(ids, first[rows]) for ids, first in zip(self.item_ids, (self.first_a, self.first_b), strict=True)]
        return pl.DataFrame({
            "user_id": _ids_at(IdMap(self.user_ids, "user"), rows), "overlap": pl.Series(self.overlap[rows]), "first_a": firsts[0],
            "first_b": firsts[1],
        })  # fmt: skip

    def figures(self) -> dict[str, float | int]:
        """Return all figures by name; those of one model alone end with `_a` or `_b`.

        Examples
        --------
        >>> from ultragcn import EASE, diff, load_dataset
        >>> model = EASE().fit(load_dataset("demo"))
        >>> figures = diff(model, model, top_k=5).figures()
        >>> figures["overlap@5"], figures["new_first_item"]
        (1.0, 0.0)
        """
        at = f"@{self.top_k}"
        quantiles = np.quantile(self.overlap, QUANTILES)
        found: dict[str, float | int] = {f"overlap{at}": float(self.overlap.mean())}
        found |= {f"overlap{at}_quantile_{share:g}": float(value) for share, value in zip(QUANTILES, quantiles, strict=True)}
        found |= {"unchanged_lists": float((self.overlap == 1).mean()), "new_first_item": float(self.first_is_new.mean())}
        for side, own in (("a", self.a), ("b", self.b)):
            found |= {
                f"mean_log_popularity{at}_{side}": own.mean_log_popularity, f"coverage{at}_{side}": own.coverage,
                f"gini{at}_{side}": own.gini, f"unknown_to_other{at}_{side}": own.new_items, f"empty_places_{side}": own.empty_places,
            }  # fmt: skip
        for name, known in (("users", self.users), ("items", self.items)):
            found |= {f"{name}_in_both": known.both, f"{name}_only_in_a": known.only_a, f"{name}_only_in_b": known.only_b}
        return found

    def to_dict(self, most: int = 10) -> dict[str, Any]:
        """Return the figures, the `most` users who changed most, and examples of ids that one model alone knows, as JSON can hold it.

        Examples
        --------
        >>> from ultragcn import EASE, diff, load_dataset
        >>> model = EASE().fit(load_dataset("demo"))
        >>> sorted(set(diff(model, model).to_dict(3)) - set(diff(model, model).figures()))
        ['examples', 'most_changed']
        """
        examples = {
            f"{name}_only_in_{side}": getattr(known, f"examples_{side}")
            for name, known in (("users", self.users), ("items", self.items))
            for side in "ab"
        }
        return self.figures() | {"most_changed": self.most_changed(most).to_dicts(), "examples": examples}


def diff(a: Ranker, b: Ranker, top_k: int = 20, exclude_seen: bool = True) -> Difference:
    """Return how the lists of model `b` differ from the lists of model `a`. Look at it before `b` replaces `a`.

    The models may be of different classes and know different users and items, because ids are matched. Lists are made for the users that
    both models know, a block of users at a time.

    Parameters
    ----------
    a, b : fitted models, or ranked lists from elsewhere (`evaluation.lists.RankedLists`)
        The old one and the new one.
    top_k : int
        K >= 1, the length of the lists.
    exclude_seen : bool
        Leave out of each model's lists what the user has in that model's train and validation pairs.

    Returns
    -------
    Difference
        `figures()`, `most_changed()` and `to_dict()` return numbers and tables.

    Raises
    ------
    UsageError
        The models have no user in common, something is not a fitted model, or top_k is below 1.

    Notes
    -----
    The popularity of an item is measured in the same way for both models. It is the number of users who have the item in train of `b`, or
    in train of `a` where `b` does not know the item. An item that nobody has counts as if one user had it.

    Examples
    --------
    >>> from ultragcn import EASE, ItemKNN, diff, load_dataset
    >>> data = load_dataset("demo")
    >>> change = diff(ItemKNN().fit(data), EASE().fit(data), top_k=10)
    >>> bool(0 < change.overlap.mean() < 1)
    True
    """
    for name, model in (("a", a), ("b", b)):
        if not is_ranker(model):
            raise UsageError(f"diff compares fitted models; {name} is a {type(model).__name__}")
    if isinstance(top_k, bool) or not isinstance(top_k, (int, np.integer)) or top_k < 1:
        raise UsageError(f"top_k must be a whole number of 1 or more, not {top_k!r}")
    users, items = _Matched.of(a.user_ids, b.user_ids), _Matched.of(a.item_ids, b.item_ids)
    if len(users.in_a) == 0:
        samples = [ids.shown(0) if len(ids) else "none" for ids in (a.user_ids, b.user_ids)]
        raise UsageError(
            f"the models have no user in common (ids are such as {samples[0]} and {samples[1]}); compare models of the same users"
        )
    top_k = min(int(top_k), items.number)
    degrees = np.zeros(items.number, np.int64)
    for model, places in ((a, items.place_a), (b, items.place_b)):  # b's count where both know an item
        degrees[places] = model.train_.item_degrees
    log_popularity = np.log(np.maximum(degrees, 1))
    sides = _Side(a, items.place_a, items.known_to_b, exclude_seen), _Side(b, items.place_b, items.known_to_a, exclude_seen)

    number = len(users.in_a)
    overlap, first = np.empty(number), np.empty((2, number), np.int64)
    is_new = np.empty(number, bool)
    step = max(1, min(_BLOCK_USERS, _BLOCK_PLACES // top_k))
    for start in range(0, number, step):
        block = slice(start, start + step)
        rows_a, places_a = sides[0].lists(users.in_a[block], top_k, log_popularity)
        rows_b, places_b = sides[1].lists(users.in_b[block], top_k, log_popularity)
        overlap[block] = _overlap(places_a, places_b)
        first[0, block], first[1, block] = rows_a[:, 0], rows_b[:, 0]
        is_new[block] = places_a[:, 0] != places_b[:, 0]
    return Difference(
        top_k, a.user_ids.ids[users.in_a], overlap, first[0], first[1], is_new, sides[0].found(), sides[1].found(),
        users.known(a.user_ids, b.user_ids), items.known(a.item_ids, b.item_ids), (a.item_ids, b.item_ids),
        b.train_.user_degrees[users.in_b].astype(np.int64),
    )  # fmt: skip


class _Matched(NamedTuple):
    """The ids of two models, laid over each other: each id that either of them knows has a place, first those of `b`."""

    in_a: np.ndarray  # (Q,) int64, rows in a of the ids that both know
    in_b: np.ndarray  # (Q,) int64, their rows in b
    place_a: np.ndarray  # (U or I of a,) int64, the places of a's ids
    place_b: np.ndarray  # (U or I of b,) int64
    known_to_a: np.ndarray  # (number,) bool, by place
    known_to_b: np.ndarray  # (number,) bool

    @classmethod
    def of(cls, a: IdMap, b: IdMap) -> _Matched:
        in_a = in_b = np.zeros(0, np.int64)
        if a.are_strings == b.are_strings:
            # Both are in order already, so this takes no longer than reading them; a table of rows by id would.
            _, in_a, in_b = np.intersect1d(a.ids, b.ids, assume_unique=True, return_indices=True)
        place_a, place_b = np.full(len(a), -1), np.arange(len(b))
        place_a[in_a] = in_b
        alone = np.flatnonzero(place_a < 0)
        place_a[alone] = len(b) + np.arange(len(alone))
        known_to_a, known_to_b = (np.zeros(len(b) + len(alone), bool) for _ in "ab")
        known_to_a[place_a], known_to_b[place_b] = True, True
        return cls(in_a, in_b, place_a, place_b, known_to_a, known_to_b)

    @property
    def number(self) -> int:
        """Ids that either model knows."""
        return len(self.known_to_a)

    def known(self, a: IdMap, b: IdMap) -> Known:
        only_a = np.flatnonzero(~self.known_to_b[self.place_a])
        only_b = np.flatnonzero(~self.known_to_a[self.place_b])
        examples = [[as_python(ids.ids[row]) for row in only[:_EXAMPLES]] for ids, only in ((a, only_a), (b, only_b))]
        return Known(len(self.in_a), len(only_a), len(only_b), *examples)


class _Side:
    """The lists of one model, and what is counted in them as they come."""

    def __init__(self, model: Ranker, place_of: np.ndarray, known_to_other: np.ndarray, exclude_seen: bool):
        self._model, self._place_of, self._known_to_other = model, place_of, known_to_other
        train, valid = model.train_, model.valid_
        self._seen = None
        if exclude_seen:
            self._seen = with_had(train, valid, getattr(model, "had_", None)).matrix  # a model of one's own need not have it
        self._times = np.zeros(len(place_of), np.int64)
        self._popularity, self._new, self._listed, self._empty = 0.0, 0, 0, 0

    def lists(self, users: np.ndarray, top_k: int, log_popularity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the lists of user rows (B,) as the model's rows and as places, (B, K) each; -1 where a list has no more items."""
        rows = np.concatenate([items for _, items, _ in self._model.rank(users, top_k, self._seen)]).astype(np.int64)
        places = np.where(rows >= 0, self._place_of[rows], -1)
        listed = places[places >= 0]
        self._times += next(times_listed(rows, len(self._times), [rows.shape[1]]))
        self._popularity += float(log_popularity[listed].sum())
        self._new += int((~self._known_to_other[listed]).sum())
        self._listed += len(listed)
        self._empty += rows.size - len(listed)
        return rows, places

    def found(self) -> Lists:
        listed = max(self._listed, 1)
        return Lists(self._popularity / listed, coverage(self._times), gini(self._times), self._new / listed, self._empty)


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the items that two lists of places, (B, K) and (B, K), have in common, relative to the longer one: (B,) float64."""
    both = np.sort(np.concatenate([a, np.where(b >= 0, b, -2)], axis=1), axis=1)
    shared = ((both[:, 1:] == both[:, :-1]) & (both[:, 1:] >= 0)).sum(axis=1)
    longer = np.maximum((a >= 0).sum(axis=1), (b >= 0).sum(axis=1))
    return np.where(longer > 0, shared / np.maximum(longer, 1), 1.0)


def _ids_at(ids: IdMap, rows: np.ndarray) -> pl.Series:
    """Return the ids at `rows`, null where a row is -1."""
    found = [as_python(ids.ids[row]) if row >= 0 else None for row in rows]
    return pl.Series(found, dtype=pl.String if ids.are_strings else pl.Int64)
