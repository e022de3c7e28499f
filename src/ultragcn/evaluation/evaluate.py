"""Evaluating a fitted model on held-out interactions."""

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp

from ultragcn.data.ids import IdMap
from ultragcn.data.interactions import Interactions
from ultragcn.errors import DataError, DataWarning, unknown_name
from ultragcn.evaluation.metrics import DEFAULT_LABELS, DIALECTS, Label, mean_over_users, parse_labels, per_user


class Ranker(Protocol):
    """What can be evaluated: anything that ranks items for users and knows what it has seen."""

    train_: Interactions
    valid_: Interactions | None
    user_ids: IdMap
    item_ids: IdMap

    def rank(self, users: np.ndarray, top_k: int, seen: sp.csr_matrix | None) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield blocks of (users (B,), items (B, K), scores (B, K)), as `evaluation.ranking.rank` does."""


class Evaluation(NamedTuple):
    """Metrics by user. Q users with held-out items."""

    means: dict[str, float]
    user_index: np.ndarray  # (Q,) int64
    values: dict[str, np.ndarray]  # label -> (Q,) float64


def evaluate(model: Ranker, targets: Interactions, metrics: Sequence[str] = DEFAULT_LABELS, dialect: str = "lightgcn") -> dict[str, float]:
    """Return metrics of `model` on held-out interactions, all items ranked for every user who has some.

    Items the model has seen in train are never listed; nor are its validation items, except when `targets` is that
    validation set.

    Parameters
    ----------
    model : UltraGCN or any other fitted ranker
    targets : Interactions
        The held-out pairs; ids are matched with the model's.
    metrics : list of str
        Such as `["recall@20", "ndcg@20"]`; several list lengths cost one ranking.
    dialect : {"lightgcn", "authors"}
        See `evaluation.metrics.DIALECTS`.

    Returns
    -------
    dict
        Label -> value, and `num_users`, the number of users with held-out items.

    Raises
    ------
    DataError
        Held-out pairs that stand in train, held-out users the model does not know, or no held-out pairs at all.
    """
    return evaluate_by_user(model, targets, metrics, dialect).means


def evaluate_by_user(
    model: Ranker, targets: Interactions, metrics: Sequence[str] = DEFAULT_LABELS, dialect: str = "lightgcn"
) -> Evaluation:
    """Like `evaluate`, with every user's own values."""
    if dialect not in DIALECTS:
        raise unknown_name("dialect", dialect, DIALECTS)
    labels = parse_labels(metrics)
    matrix, num_relevant = _in_model_rows(model, targets)
    leaked = model.train_.matrix.multiply(matrix).nnz
    if leaked:
        raise DataError(f"{leaked} of the held-out pairs stand in train: such a score measures memory; remove them from one side")
    seen = model.train_.matrix
    if model.valid_ is not None and (model.valid_.matrix != matrix).nnz:
        seen = sp.csr_matrix(seen + model.valid_.matrix)
    users = np.flatnonzero(num_relevant)
    if len(users) == 0:
        raise DataError("there are no held-out pairs to evaluate on")
    # The authors' F1 comes from mean precision and mean recall, so these are needed with it.
    needed = labels + [Label(name, label.top_k) for label in labels if label.metric == "f1" for name in ("precision", "recall")]
    hits = ranked_hits(model, users, matrix, max(label.top_k for label in labels), seen)
    values = per_user(hits, num_relevant[users], needed)
    means = mean_over_users(values, dialect, targets.num_users)
    asked = {str(label) for label in labels}
    return Evaluation(
        {label: value for label, value in means.items() if label in asked} | {"num_users": len(users)},
        users,
        {label: value for label, value in values.items() if label in asked},
    )


def ranked_hits(model: Ranker, users: np.ndarray, relevant: sp.csr_matrix, top_k: int, seen: sp.csr_matrix | None) -> np.ndarray:
    """Return hits (Q, K) bool: which of each user's listed items are relevant."""
    from ultragcn.kernels import numba_cpu

    hits = [numba_cpu.find_hits(items, block, relevant.indptr, relevant.indices) for block, items, _ in model.rank(users, top_k, seen)]
    return np.concatenate(hits)


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
        warnings.warn(
            f"{int((~known).sum())} held-out pairs concern items unknown to the model; they count as missed",
            DataWarning,
            stacklevel=4,
        )
    shape = (len(model.user_ids), len(model.item_ids))
    ones = np.ones(int(known.sum()), dtype=np.float32)
    matrix = sp.csr_matrix((ones, (rows[users[known]], columns[items[known]])), shape=shape)
    matrix.sort_indices()
    return matrix, np.bincount(rows[users], minlength=shape[0])
