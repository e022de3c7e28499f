"""What a ranking is worth. One function a metric, of the hits and the number of relevant items of each user.

R the relevant (held-out) items of a user, h_n hits in the first n places, r_n = 1 when place n is a hit,
D(m) = sum_{n <= m} 1 / log2(n + 1), K the list length. Q users are averaged.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ultragcn.errors import UsageError, unknown_name

DIALECTS = ("lightgcn", "authors")
"""`lightgcn` (default): means over users with relevant items. `authors`: means over all users, a user without relevant items
counting 0, and F1 from mean precision and mean recall."""


def recall(hits: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    """h_K / |R|."""
    return hits.sum(axis=1) / num_relevant


def precision(hits: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    """h_K / K, also when fewer than K items could be listed."""
    return hits.sum(axis=1) / hits.shape[1]


def ndcg(hits: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    """DCG / D(min(|R|, K)), DCG = sum_n r_n / log2(n + 1)."""
    discounts = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.concatenate(([0.0], np.cumsum(discounts)))
    return np.asarray((hits * discounts).sum(axis=1) / ideal[np.minimum(num_relevant, hits.shape[1])])


def average_precision(hits: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    """sum_n r_n h_n / n / min(|R|, K); its mean is MAP."""
    precisions = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return (hits * precisions).sum(axis=1) / np.minimum(num_relevant, hits.shape[1])


def reciprocal_rank(hits: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    """1 / place of the first hit, 0 when there is none among the K; its mean is MRR."""
    return np.where(hits.any(axis=1), 1 / (1 + hits.argmax(axis=1)), 0.0)


def hit_rate(hits: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    """1 when there is a hit among the K, else 0."""
    return np.asarray(hits.any(axis=1), dtype=np.float64)


def f1(hits: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    """The harmonic mean of a user's precision and recall, 0 when both are 0."""
    p, r = precision(hits, num_relevant), recall(hits, num_relevant)
    return np.divide(2 * p * r, p + r, out=np.zeros_like(p), where=p + r > 0)


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "recall": recall, "ndcg": ndcg, "precision": precision, "map": average_precision, "mrr": reciprocal_rank,
    "hit_rate": hit_rate, "f1": f1,
}  # fmt: skip
"""Metric name -> per-user values (Q,) from hits (Q, K) bool and num_relevant (Q,) int >= 1."""

DEFAULT_LABELS = ("recall@20", "ndcg@20")


@dataclass(frozen=True)
class Label:
    """A metric at a list length, written `recall@20`."""

    metric: str
    top_k: int

    def __str__(self) -> str:
        return f"{self.metric}@{self.top_k}"


def parse_labels(labels: Sequence[str]) -> list[Label]:
    """Return the metrics that labels such as `recall@20` mean; a wrong one raises `UsageError`."""
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
    return parsed


def per_user(hits: np.ndarray, num_relevant: np.ndarray, labels: Sequence[Label]) -> dict[str, np.ndarray]:
    """Return each metric's value for each user.

    Parameters
    ----------
    hits : (Q, Kmax) bool
        Kmax at least the longest list asked for.
    num_relevant : (Q,) int, >= 1
    labels : list of Label

    Returns
    -------
    dict of label -> (Q,) float64
    """
    return {str(label): METRICS[label.metric](hits[:, : label.top_k], num_relevant) for label in labels}


def mean_over_users(values: dict[str, np.ndarray], dialect: str, num_all_users: int) -> dict[str, float]:
    """Return the mean of per-user values as `dialect` defines it.

    Parameters
    ----------
    values : dict of label -> (Q,)
        Of the users with relevant items.
    dialect : {"lightgcn", "authors"}
    num_all_users : int
        Users with relevant items or without, whom `authors` counts too.
    """
    if dialect not in DIALECTS:
        raise unknown_name("dialect", dialect, DIALECTS)
    count = max(num_all_users if dialect == "authors" else len(next(iter(values.values()))), 1)
    means = {label: float(by_user.sum() / count) for label, by_user in values.items()}
    if dialect == "authors":
        for label in [label for label in means if label.startswith("f1@")]:
            top_k = label.removeprefix("f1@")
            p, r = means[f"precision@{top_k}"], means[f"recall@{top_k}"]
            means[label] = 2 * p * r / (p + r) if p + r > 0 else 0.0
    return means
