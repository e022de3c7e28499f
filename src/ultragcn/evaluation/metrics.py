"""What rankings are worth: labels such as `recall@20`, every user's values, and how values become means.

K the list length, |R| the number of relevant (held-out) items of a user, Q users who have some. Whose definitions: `dialects`.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ultragcn import kernels
from ultragcn.data.ids import Id
from ultragcn.data.interactions import Interactions
from ultragcn.errors import UsageError, unknown_name
from ultragcn.evaluation import beyond_accuracy
from ultragcn.evaluation.dialects import CutLists, Dialect

ACCURACY = ("recall", "ndcg", "precision", "map", "mrr", "hit_rate", "f1")
OF_LISTS = ("novelty", "popularity")
OF_ALL_LISTS = ("coverage", "gini")
METRICS = (*ACCURACY, *OF_LISTS, *OF_ALL_LISTS)
"""Names of all metrics: of hits; of every list, whatever is relevant; of all lists together, so that no user has a value."""

DEFAULT_LABELS = ("recall@20", "ndcg@20")

Own = Callable[[list[Id], set[Id]], float]
"""A metric of the user's own: from a list of item ids, best first, and the set of those that are relevant, to a number."""
_OWN_TOP_K = 20
_LABEL = r"([A-Za-z0-9_]+)@([1-9][0-9]{0,5})"


@dataclass(frozen=True)
class Label:
    """A metric at a list length, written `recall@20`."""

    metric: str
    top_k: int

    def __str__(self) -> str:
        return f"{self.metric}@{self.top_k}"


def parse_labels(labels: Sequence[str]) -> list[Label]:
    """Return the metrics that labels such as `recall@20` mean; a wrong one raises `UsageError`."""
    if isinstance(labels, str):
        raise UsageError(f"metrics are a list, such as ['recall@20', 'ndcg@20'], not the string {labels!r}")
    parsed = []
    for label in labels:
        match = re.fullmatch(r"([a-z0-9_]+)@([1-9][0-9]{0,5})", label.strip().lower())
        if match is None:
            raise UsageError(f"a metric is written name@K, such as recall@20, not {label!r} (names: {', '.join(METRICS)})")
        if match[1] not in METRICS:
            raise unknown_name("metric", match[1], METRICS)
        parsed.append(Label(match[1], int(match[2])))
    if not parsed:
        raise UsageError("give at least one metric, such as recall@20")
    return list(dict.fromkeys(parsed))


def labels_and_own(metrics: Sequence[str | Own | tuple[str, Own]]) -> tuple[list[Label], dict[Label, Own]]:
    """Return the metrics that are asked for, in order, and the functions of those that are the user's own.

    Parameters
    ----------
    metrics : list
        Labels such as `recall@20`; functions, which are called `NAME@20` by their own names; pairs of a label and a function.

    Raises
    ------
    UsageError
        An unknown label, a function without a name, or a name that a metric of this library has.
    """
    if isinstance(metrics, str) or callable(metrics):
        raise UsageError(f"metrics are a list, such as ['recall@20', 'ndcg@20'], not {metrics!r}")
    labels: list[Label] = []
    own: dict[Label, Own] = {}
    for given in metrics:
        if isinstance(given, str):
            labels += parse_labels([given])
            continue
        text, function = (f"{getattr(given, '__name__', '')}@{_OWN_TOP_K}", given) if callable(given) else _pair(given)
        match = re.fullmatch(_LABEL, text)
        if match is None:
            raise UsageError(f"a metric of your own needs a name: give the pair ('name@20', function), not {given!r}")
        if match[1] in METRICS:
            raise UsageError(f"{match[1]} is a metric of this library; give yours another name")
        label = Label(match[1], int(match[2]))
        labels.append(label)
        own[label] = function
    if not labels:
        raise UsageError("give at least one metric, such as recall@20")
    return list(dict.fromkeys(labels)), own


def _pair(given: Any) -> tuple[str, Own]:
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str) and callable(given[1]):
        return given
    raise UsageError(f"a metric is a label such as 'recall@20', a function, or the pair ('name@20', function), not {given!r}")


def own_values(own: Mapping[Label, Own], item_ids: np.ndarray, items: np.ndarray, relevant: Sequence[set[Id]]) -> dict[Label, np.ndarray]:
    """Return every user's value of the user's own metrics.

    Parameters
    ----------
    own : dict of Label -> callable
        From a list of item ids, best first, at most K of them, and the set of relevant ids to a number.
    item_ids : (I,) array
        Ids of the items listed.
    items : (Q, N) int32
        The lists, -1 where a place is empty.
    relevant : list of Q sets of ids

    Raises
    ------
    UsageError
        A function that fails or returns something else than a finite number.
    """
    ids = item_ids.tolist()
    values = {label: np.empty(len(items)) for label in own}
    for user, row in enumerate(items.tolist()):
        listed = [(place, ids[item]) for place, item in enumerate(row) if item >= 0]
        for label, function in own.items():
            try:
                value = float(function([item for place, item in listed if place < label.top_k], set(relevant[user])))
            except (TypeError, ValueError) as error:
                raise UsageError(f"{label} is called with a list and a set of item ids and must return a number: {error}") from error
            if not math.isfinite(value):
                raise UsageError(f"{label} returned {value} for a user; it must return a finite number")
            values[label][user] = value
    return values


def parse_selection(label: str, name: str = "select_by") -> Label:
    """Return the metric by which the option `name` chooses: one of accuracy, of which more is better."""
    [parsed] = parse_labels([label])
    if parsed.metric not in ACCURACY:
        raise UsageError(f"{name} must be a metric of accuracy, such as recall@20, not {label!r} (names: {', '.join(ACCURACY)})")
    return parsed


def labels_in_training(select_by: str) -> list[str]:
    """Return the labels of what is measured after an epoch: first the one that chooses it."""
    return list(dict.fromkeys([str(parse_selection(select_by)), *DEFAULT_LABELS]))


@dataclass(frozen=True)
class UserValues:
    """Values of Q users, and how they become means.

    The mean of a metric is sum_q w_q v_q / sum_q w_q. Most weights are 1; those of a pooled metric are min(|R|, K), that of an
    empty list, which has no novelty, is 0. Where a dialect averages all users, the divisor is their number.
    """

    labels: list[Label]  # those asked for; F1 needs precision and recall besides
    values: dict[Label, np.ndarray]  # (Q,) float64 each
    weights: dict[Label, np.ndarray]  # (Q,) float64 each
    dialect: Dialect
    population: int  # users averaged: Q, or all

    def means(self, counts: np.ndarray | None = None, population: int | np.ndarray | None = None) -> dict[Label, np.ndarray]:
        """Return the mean of each metric asked for, over the users or over other collections of them.

        Parameters
        ----------
        counts : (B, Q), optional
            How often each user counts in each of B collections (default: one collection, everyone once).
        population : int or (B,), optional
            How many users each collection has, including those without relevant items (default: the population, or what
            `counts` sum to).

        Returns
        -------
        dict of Label -> (B,) float64
        """
        if not self.values:
            return {}
        if counts is None:
            counts, population = np.ones((1, len(next(iter(self.values.values())))), np.float64), self.population
        elif population is None:
            population = counts.sum(axis=1)
        weighted, weights = self._columns
        sums, totals = counts @ weighted, counts @ weights
        means = {}
        for column, label in enumerate(self.values):
            alike = label.metric in ACCURACY and not self._is_pooled(label)
            total = np.broadcast_to(population, len(sums)) if alike else totals[:, column]
            means[label] = np.divide(sums[:, column], total, out=np.zeros(len(sums)), where=total > 0)
        if self.dialect.f1 == "of_means":
            for label in self.labels:
                if label.metric == "f1":
                    means[label] = _harmonic_mean(*(means[part] for part in _parts_of_f1(label)))
        return {label: means[label] for label in self.labels if label in means}

    def by_label(self) -> dict[str, np.ndarray]:
        """Return the values of every metric asked for that users have: label -> (Q,)."""
        return {str(label): self.values[label] for label in self.labels if label in self.values}

    def with_own(self, labels: list[Label], values: dict[Label, np.ndarray]) -> "UserValues":
        """Return the values with those of the user's own metrics, (Q,) each, which are averaged over these users; `labels`: all of them."""
        ones = {label: np.ones(len(of_users)) for label, of_users in values.items()}
        return UserValues(labels, self.values | values, self.weights | ones, self.dialect, self.population)

    @cached_property
    def _columns(self) -> tuple[np.ndarray, np.ndarray]:
        """Values times weights, and weights: (Q, number of metrics) each."""
        weights = np.stack([self.weights[label] for label in self.values], axis=1)
        return weights * np.stack(list(self.values.values()), axis=1), weights

    def _is_pooled(self, label: Label) -> bool:
        return label.metric == "precision" and self.dialect.precision == "pooled"


def user_values(hits: np.ndarray, items: np.ndarray, num_relevant: np.ndarray, labels: Sequence[Label], dialect: Dialect,
                train: Interactions, num_all_users: int) -> UserValues:  # fmt: skip
    """Return every user's value of each metric that users have.

    Parameters
    ----------
    hits : (Q, N) bool
        Which listed items are relevant; N at least the longest list asked for.
    items : (Q, N) int32
        The lists, -1 where a place is empty.
    num_relevant : (Q,) int, >= 1
    labels : list of Label
    dialect : Dialect
    train : Interactions
        What popularity is counted in.
    num_all_users : int
        Users with relevant items or without.
    """
    needed = list(dict.fromkeys([*labels, *(part for label in labels if label.metric == "f1" for part in _parts_of_f1(label))]))
    lengths = sorted({label.top_k for label in needed})
    if not lengths:
        return UserValues([], {}, {}, dialect, num_all_users if dialect.users == "all" else len(hits))
    statistics = kernels.list_statistics(hits, np.array(lengths, dtype=np.int64))
    cut = {top_k: CutLists(top_k, num_relevant, *statistics[:, c]) for c, top_k in enumerate(lengths)}
    values = {
        label: dialect.definition(label.metric)(cut[label.top_k]) for label in needed if label.metric in ACCURACY and label.metric != "f1"
    }
    for label in needed:
        if label.metric == "f1":
            values[label] = _harmonic_mean(*(values[part] for part in _parts_of_f1(label)))
    weights = {label: np.ones(len(hits)) for label in values}
    if dialect.precision == "pooled":
        weights |= {label: cut[label.top_k].reachable.astype(np.float64) for label in values if label.metric == "precision"}
    for metric, of_item in (("novelty", beyond_accuracy.self_information), ("popularity", lambda train: train.item_degrees)):
        asked = [top_k for top_k in lengths if Label(metric, top_k) in needed]
        if asked:
            for top_k, (mean, listed) in zip(asked, beyond_accuracy.list_means(of_item(train), items, asked), strict=True):
                values[Label(metric, top_k)], weights[Label(metric, top_k)] = mean, listed.astype(np.float64)
    return UserValues(list(labels), values, weights, dialect, num_all_users if dialect.users == "all" else len(hits))


def values_of_all_lists(items: np.ndarray, labels: Sequence[Label], num_items: int) -> dict[Label, float]:
    """Return the metrics of all lists (Q, N) together: coverage and Gini index."""
    asked = [label for label in labels if label.metric in OF_ALL_LISTS]
    lengths = sorted({label.top_k for label in asked})
    times = dict(zip(lengths, beyond_accuracy.times_listed(items, num_items, lengths), strict=True))
    return {label: getattr(beyond_accuracy, label.metric)(times[label.top_k]) for label in asked}


def _parts_of_f1(label: Label) -> tuple[Label, Label]:
    return Label("precision", label.top_k), Label("recall", label.top_k)


def _harmonic_mean(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """2ab / (a + b), 0 when both are 0."""
    result: np.ndarray = np.divide(2 * first * second, first + second, out=np.zeros_like(first), where=first + second > 0)
    return result
