"""Dialects: what each name of a metric means, which users are averaged, and what is masked.

R the relevant (held-out) items of a user, r_n = 1 when place n is a hit, h_n hits in the first n places, P@n = h_n / n,
D(m) = sum_{n <= m} 1 / log2(n + 1), K the list length. Q users have relevant items.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from ultragcn.errors import unknown_name


class CutLists(NamedTuple):
    """What a definition looks at: Q lists cut at one K. All arrays are (Q,)."""

    top_k: int
    num_relevant: np.ndarray  # |R| >= 1
    hits: np.ndarray  # h_K
    gain: np.ndarray  # DCG = sum_n r_n / log2(n + 1)
    precision_at_hits: np.ndarray  # sum_n r_n P@n
    precision_at_places: np.ndarray  # sum_n P@n
    reciprocal_rank: np.ndarray  # 1 / place of the first hit, 0 when there is none

    @property
    def reachable(self) -> np.ndarray:
        """min(|R|, K), the most hits a list of K can have."""
        result: np.ndarray = np.minimum(self.num_relevant, self.top_k)
        return result


def _ideal_gain(size: np.ndarray | int, top_k: int) -> np.ndarray:
    """D(size), for sizes up to top_k."""
    result: np.ndarray = np.concatenate(([0.0], np.cumsum(1 / np.log2(np.arange(2, top_k + 2)))))[size]
    return result


def _own_hits_ndcg(lists: CutLists) -> np.ndarray:
    ideal = _ideal_gain(lists.hits.astype(np.int64), lists.top_k)
    result: np.ndarray = np.divide(lists.gain, ideal, out=np.zeros_like(lists.gain), where=ideal > 0)
    return result


DEFINITIONS: dict[str, dict[str, Callable[[CutLists], np.ndarray]]] = {
    "recall": {
        "relevant": lambda lists: lists.hits / lists.num_relevant,
        "reachable": lambda lists: lists.hits / lists.reachable,
    },
    "precision": {
        "length": lambda lists: lists.hits / lists.top_k,
        "pooled": lambda lists: lists.hits / lists.reachable,
    },
    "ndcg": {
        "reachable": lambda lists: lists.gain / _ideal_gain(lists.reachable, lists.top_k),
        "length": lambda lists: lists.gain / _ideal_gain(lists.top_k, lists.top_k),
        "hits": _own_hits_ndcg,
    },
    "map": {
        "reachable": lambda lists: lists.precision_at_hits / lists.reachable,
        "relevant": lambda lists: lists.precision_at_hits / lists.num_relevant,
        "places": lambda lists: lists.precision_at_places / lists.top_k,
    },
    "mrr": {"first": lambda lists: lists.reciprocal_rank},
    "hit_rate": {"any": lambda lists: (lists.hits > 0).astype(np.float64)},
}
"""Metric -> definition -> values (Q,). K stays K where fewer than K items could be listed."""


@dataclass(frozen=True)
class Dialect:
    """Which definition each metric has, who is averaged, what is masked. The defaults are ours.

    Parameters
    ----------
    recall : {"relevant", "reachable"}
        h_K / |R|, or h_K / min(|R|, K).
    precision : {"length", "pooled"}
        h_K / K, or sum of h_K / sum of min(|R|, K), the sums over users.
    ndcg : {"reachable", "length", "hits"}
        DCG / D(min(|R|, K)), DCG / D(K), or DCG / D(h_K).
    map : {"reachable", "relevant", "places"}
        sum_n r_n P@n, divided by min(|R|, K) or by |R|; or the mean of P@n over all K places.
    f1 : {"of_means", "by_user"}
        The harmonic mean of mean precision and mean recall, or the mean of every user's own.
    users : {"with_items", "all"}
        Who is averaged: users with relevant items, or all, those without counting 0.
    masked : {"train_and_valid", "train"}
        What is never listed at test.
    """

    recall: str = "relevant"
    precision: str = "length"
    ndcg: str = "reachable"
    map: str = "reachable"
    f1: str = "of_means"
    users: str = "with_items"
    masked: str = "train_and_valid"

    def __post_init__(self) -> None:
        for field in fields(self):
            allowed = _CHOICES.get(field.name) or tuple(DEFINITIONS[field.name])
            if getattr(self, field.name) not in allowed:
                raise unknown_name(f"definition of {field.name}", str(getattr(self, field.name)), allowed)

    def definition(self, metric: str) -> Callable[[CutLists], np.ndarray]:
        """Return what `metric` means here; what has one definition (mrr, hit_rate) is no field."""
        return DEFINITIONS[metric][getattr(self, metric, next(iter(DEFINITIONS[metric])))]


_CHOICES = {"f1": ("of_means", "by_user"), "users": ("with_items", "all"), "masked": ("train_and_valid", "train")}

DIALECTS: dict[str, Dialect] = {
    "lightgcn": Dialect(),
    "recbole": Dialect(),
    "authors": Dialect(users="all", masked="train"),
    "lenskit": Dialect(recall="reachable"),
    "implicit": Dialect(precision="pooled"),
    "rectools": Dialect(ndcg="length", map="relevant"),
    "ngcf-legacy": Dialect(ndcg="hits"),
    "lightgcn-tf": Dialect(map="relevant"),
    "elliot": Dialect(map="places"),
    "user-f1": Dialect(f1="by_user"),
}
"""By the name of whose definitions they are; what a name does not change is ours. `lightgcn` is the default."""


def dialect_of(dialect: str | Dialect) -> Dialect:
    """Return a dialect by its name, or the one given; an unknown name raises `UsageError` with the nearest."""
    if isinstance(dialect, Dialect):
        return dialect
    if dialect not in DIALECTS:
        raise unknown_name("dialect", dialect, DIALECTS)
    return DIALECTS[dialect]
