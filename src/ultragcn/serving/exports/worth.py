"""What ranking by exported vectors is worth, beside ranking by the model itself."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from ultragcn import rng
from ultragcn.data.had import with_had
from ultragcn.data.interactions import Interactions
from ultragcn.evaluation.evaluate import evaluate
from ultragcn.models.recommender import Recommender
from ultragcn.scoring.scorer import Ranking, Scorer
from ultragcn.serving.exports.sides import Side

TOP_K = 20
MOST_USERS = 10_000
"""Users whose lists are compared, where nothing was held out; of more users, so many are drawn."""


class DotProducts:
    """What ranks by the dot product of exported vectors, and perhaps the bias beside them.

    Parameters
    ----------
    model : Recommender
        Whose users, items and seen pairs these are.
    users, items : Side
        Rows in the order of the model.
    with_bias : bool
        Add the bias that stands beside the items.
    """

    def __init__(self, model: Recommender, users: Side, items: Side, with_bias: bool):
        self.train_, self.valid_, self.user_ids, self.item_ids = model.train_, model.valid_, model.user_ids, model.item_ids
        self.had_ = model.had_
        self._scorer = Scorer(users.vectors, items.vectors, model.train_.matrix, items.bias if with_bias else None)

    def rank(self, users: np.ndarray, top_k: int, seen: sp.csr_matrix | None) -> Ranking:
        """Yield the top_k items of `users`; see `Scoring.rank`."""
        return self._scorer.rank(users, top_k, seen)


def figures(
    model: Recommender, users: Side, items: Side, held_out: Interactions | None, embeddings: tuple[np.ndarray, np.ndarray] | None = None
) -> dict[str, float]:
    """Return what ranking by vectors is worth.

    With pairs that were held out: `recall@20` of the vectors, and `recall@20_of_the_model`. Without such: `overlap@20`, the share of the
    20 items of the model's own list that the vectors list too, the mean over users. Where a bias stands beside the items, the same with the
    bias added, under names that end with `_with_bias`. With `embeddings`, (U, D) and (I, D), where the vectors have dimensions besides
    them: the same of the embeddings alone, under names that end with `_of_the_embeddings`.
    """
    rankers = {"": DotProducts(model, users, items, with_bias=False)}
    if items.bias is not None:
        rankers["_with_bias"] = DotProducts(model, users, items, with_bias=True)
    if embeddings is not None:
        alone = (Side("users", users.ids, embeddings[0]), Side("items", items.ids, embeddings[1]))
        rankers["_of_the_embeddings"] = DotProducts(model, *alone, with_bias=False)
    label = f"recall@{TOP_K}"
    if held_out is not None:
        found = {f"{label}{end}": evaluate(ranker, held_out, [label])[label] for end, ranker in rankers.items()}
        return found | {f"{label}_of_the_model": evaluate(model, held_out, [label])[label]}
    rows = np.arange(len(model.user_ids))
    if len(rows) > MOST_USERS:
        rows = np.sort(rng.stream(0, "export").choice(rows, MOST_USERS, replace=False))
    own = _lists(model, rows)
    return {f"overlap@{TOP_K}{end}": _overlap(own, _lists(ranker, rows)) for end, ranker in rankers.items()}


def _lists(ranker: Any, rows: np.ndarray) -> np.ndarray:
    """Return the lists of user rows (B,): items (B, K), -1 where a place is empty."""
    seen = with_had(ranker.train_, ranker.valid_, ranker.had_).matrix
    return np.concatenate([items for _, items, _ in ranker.rank(rows, TOP_K, seen)])


def _overlap(own: np.ndarray, others: np.ndarray) -> float:
    """Return the mean share of each own list that the other list has; lists without items are left out."""
    both = ((own[:, :, None] == others[:, None, :]) & (own >= 0)[:, :, None]).any(axis=2).sum(axis=1)
    length = (own >= 0).sum(axis=1)
    return float((both[length > 0] / length[length > 0]).mean()) if (length > 0).any() else 1.0
