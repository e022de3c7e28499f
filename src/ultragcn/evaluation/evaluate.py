"""Evaluating a fitted model on held-out interactions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp

from ultragcn import kernels
from ultragcn.data.ids import Id, IdMap
from ultragcn.data.interactions import Interactions, require_interactions
from ultragcn.errors import DataError, UsageError, counted, warn
from ultragcn.evaluation.dialects import Dialect, dialect_of
from ultragcn.evaluation.groups import Group, by_item_group, by_user_group
from ultragcn.evaluation.metrics import (
    DEFAULT_LABELS,
    Own,
    UserValues,
    labels_and_own,
    own_values,
    user_values,
    values_of_all_lists,
)
from ultragcn.evaluation.own_models import is_ranker, lists_of
from ultragcn.evaluation.significance import bootstrap_intervals
from ultragcn.processes import Share, current

_NOTHING = "there are no held-out pairs to evaluate on"


class Ranker(Protocol):
    """What can be evaluated: anything that ranks items for users and knows what it has seen."""

    train_: Interactions
    valid_: Interactions | None
    user_ids: IdMap
    item_ids: IdMap

    def rank(self, users: np.ndarray, top_k: int, seen: sp.csr_matrix | None) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield blocks of (users (B,), items (B, K), scores (B, K)), as `evaluation.ranking.rank` does."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics, what they are means of, and the lists they were read from. Q users with held-out items, N places."""

    means: dict[str, float]
    """Label -> value, and `num_users`."""
    user_index: np.ndarray  # (Q,) int64
    values: dict[str, np.ndarray]
    """Label -> (Q,) float64, for every metric that users have (coverage and Gini index belong to all lists together)."""
    table: UserValues
    """The same values, and how they are averaged."""
    items: np.ndarray  # (Q, N) int32, the lists, -1 where a place is empty
    hits: np.ndarray  # (Q, N) bool, which of them are relevant
    relevant: sp.csr_matrix  # U x I, held-out pairs
    train: Interactions

    def intervals(self, level: float = 0.95, num_samples: int = 1000, seed: int = 0) -> dict[str, tuple[float, float]]:
        """Return bootstrap confidence intervals over users: label -> (low, high); see `significance.bootstrap_intervals`."""
        return bootstrap_intervals(self.table, level, num_samples, seed)

    def by_user_group(self, num_groups: int = 4) -> list[Group]:
        """Return the metrics of users who have few, more, ... most train items; see `groups.by_user_group`."""
        return by_user_group(self.table, self.train.user_degrees[self.user_index], num_groups)

    def by_item_group(self, num_groups: int = 4) -> list[Group]:
        """Return the recall of items that few, more, ... most users have; see `groups.by_item_group`."""
        relevant = sp.csr_matrix(self.relevant[self.user_index])
        return by_item_group(self.table, self.items, self.hits, relevant, self.train.item_degrees, num_groups)


def evaluate(
    model: Any,
    targets: Interactions,
    metrics: Sequence[str | Own | tuple[str, Own]] = DEFAULT_LABELS,
    dialect: str | Dialect = "lightgcn",
    *,
    train: Interactions | None = None,
    valid: Interactions | None = None,
) -> dict[str, float]:
    """Return metrics of `model` on held-out interactions. All items are ranked for every user who has held-out items.

    Items that a user has in train are never listed. Validation items are not listed either, except if `targets` is the validation set or if
    the dialect masks train alone.

    Parameters
    ----------
    model : UltraGCN, any other fitted ranker, or a model of your own
        A model of your own is any object with `recommend(user_ids, top_k)`. The method gets a list of B user ids. It returns B lists of
        item ids, best first, or a (B, K) array, or a tuple of these and of scores. It must leave out the items that users have.
    targets : Interactions
        The held-out pairs. Their ids are matched with the ids of the model.
    metrics : list of str or callable
        Labels such as `["recall@20", "ndcg@20", "coverage@20"]` (`metrics.METRICS`). Several list lengths need only one ranking. A function
        is a metric of your own. It is called for every user with held-out items, with the list of item ids, best first, and the set of
        held-out ids. It returns a number, and the mean over these users is reported as `NAME@20`. A pair `("name@10", function)` sets
        another name and another length.
    dialect : str or Dialect
        A name in `dialects.DIALECTS`, or a dialect of your own.
    train, valid : Interactions, optional
        For a model of your own: the pairs that must not be recommended. With `train`, a list with an item that its user has is refused.

    Returns
    -------
    dict
        Label -> value, and `num_users`, the number of users with held-out items.

    Raises
    ------
    UsageError
        `targets` are not interactions, a metric or the dialect is unknown, or a model of your own has no `recommend` or does not return
        lists of ids.
    DataError
        A held-out pair is in train, the model does not know a held-out user, or there are no held-out pairs.

    Examples
    --------
    >>> from ultragcn import evaluate, load_dataset
    >>> data = load_dataset("demo")
    >>> class Alphabet:
    ...     def recommend(self, user_ids, top_k):
    ...         return [data.train.item_ids.ids[:top_k] for _ in user_ids]
    >>> evaluate(Alphabet(), data.test)["num_users"]
    1984
    >>> def any_hit(items, relevant):
    ...     return bool(relevant & set(items))
    >>> found = evaluate(Alphabet(), data.test, ["hit_rate@10", ("any_hit@10", any_hit)])
    >>> found["any_hit@10"] == found["hit_rate@10"]
    True
    """
    return evaluate_by_user(model, targets, metrics, dialect, train=train, valid=valid).means


def evaluate_by_user(
    model: Any,
    targets: Interactions,
    metrics: Sequence[str | Own | tuple[str, Own]] = DEFAULT_LABELS,
    dialect: str | Dialect = "lightgcn",
    *,
    train: Interactions | None = None,
    valid: Interactions | None = None,
) -> Evaluation:
    """Like `evaluate`, with every user's own values, confidence intervals and groups."""
    require_interactions("evaluate", "data.test", targets, train, valid)
    dialect = dialect_of(dialect)
    labels, own = labels_and_own(metrics)
    of_library = [label for label in labels if label not in own]
    if not is_ranker(model):
        if not len(targets):
            raise DataError(_NOTHING)
        model = lists_of(model, targets, max(label.top_k for label in labels), [label.metric for label in labels], train, valid)
    elif train is not None or valid is not None:
        raise UsageError(f"a {type(model).__name__} knows what it was trained on; leave out train and valid")
    matrix, num_relevant = _in_model_rows(model, targets)
    leaked = model.train_.matrix.multiply(matrix).nnz
    if leaked:
        raise DataError(
            f"{leaked} of the held-out pairs stand in train: such a score measures memory; evaluate a model that was not "
            "trained on them, or remove them from one side"
        )
    seen = model.train_.matrix
    if dialect.masked == "train_and_valid" and model.valid_ is not None:
        asked = model.valid_.matrix.multiply(matrix)  # what is asked for is not left out
        if asked.nnz < model.valid_.matrix.nnz:
            seen = sp.csr_matrix(seen + (model.valid_.matrix - asked))
    users = np.flatnonzero(num_relevant)
    if len(users) == 0:
        raise DataError(_NOTHING)
    items, hits = ranked(model, users, matrix, max(label.top_k for label in labels), seen)
    table = user_values(hits, items, num_relevant[users], of_library, dialect, model.train_, targets.num_users)
    if own:
        table = table.with_own(labels, own_values(own, model.item_ids.ids, items, _held_out(targets, model.user_ids.ids[users])))
    means = {label: float(mean[0]) for label, mean in table.means().items()} | values_of_all_lists(items, of_library, len(model.item_ids))
    in_order = {str(label): means[label] for label in labels} | {"num_users": len(users)}
    return Evaluation(in_order, users, table.by_label(), table, items, hits, matrix, model.train_)


def _held_out(targets: Interactions, user_ids: np.ndarray) -> list[set[Id]]:
    """Return the ids of what was held out from each user."""
    matrix = targets.matrix[targets.user_ids.rows(user_ids)]
    ids = targets.item_ids.ids
    return [set(ids[matrix.indices[start:end]].tolist()) for start, end in pairwise(matrix.indptr)]


def ranked(
    model: Ranker, users: np.ndarray, relevant: sp.csr_matrix, top_k: int, seen: sp.csr_matrix | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lists (Q, K) int32 of `users`, and which listed items are relevant (Q, K) bool.

    Several processes each rank for their share of the users, and have all lists in the end.
    """
    share = Share.even(len(users), current())
    lists = [items for _, items, _ in model.rank(users[share.own], top_k, seen)]
    items = share.gather(np.concatenate(lists) if lists else np.empty((0, top_k), np.int32))
    return items, kernels.find_hits(items, users, relevant.indptr, relevant.indices)


def _in_model_rows(model: Ranker, targets: Interactions) -> tuple[sp.csr_matrix, np.ndarray]:
    """Return the held-out pairs over the model's rows and columns, and |R| of each model user.

    A held-out item that the model does not know cannot be recommended, yet it was relevant: it stays in |R|.
    """
    if targets.user_ids == model.user_ids and targets.item_ids == model.item_ids:
        return targets.matrix, targets.user_degrees
    with_items = np.flatnonzero(targets.user_degrees)
    rows, columns = model.user_ids.find(targets.user_ids.ids), model.item_ids.find(targets.item_ids.ids)
    strangers = with_items[rows[with_items] < 0]
    if len(strangers):
        raise DataError(
            f"{len(strangers)} of {len(with_items)} held-out users are unknown to the model "
            f"(first: {targets.user_ids.ids[strangers[0]]!r}); leave them out or fit on data that has them"
        )
    users, items = targets.pairs
    known = columns[items] >= 0
    if not known.all():
        warn(f"the model does not know the items of {counted(int((~known).sum()), 'held-out pair')}; they count as missed")
    shape = (len(model.user_ids), len(model.item_ids))
    ones = np.ones(int(known.sum()), dtype=np.float32)
    matrix = sp.csr_matrix((ones, (rows[users[known]], columns[items[known]])), shape=shape)
    matrix.sort_indices()
    return matrix, np.bincount(rows[users], minlength=shape[0])
