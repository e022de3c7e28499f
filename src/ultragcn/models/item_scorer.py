"""Models that score items by the items a user has: s_uj = sum of w_ij over the items i of user u.

Letters: U users, I items, B users of a block.
"""

from functools import partial
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from ultragcn.errors import NumericalError
from ultragcn.models.baseline import Baseline
from ultragcn.models.explanations import weights_of
from ultragcn.scoring.scorer import OwnedScorer, largest_size
from ultragcn.scoring.similar import heaviest


class ItemScorer(Baseline):
    """A model that scores all items for anyone, known or new, by the items they have."""

    def scores_of(self, matrix: sp.csr_matrix) -> np.ndarray:
        """Return the scores of all items for users given by their items: (B, I) csr_matrix to (B, I) float32."""
        raise NotImplementedError

    def _make_scorer(self) -> OwnedScorer:
        return OwnedScorer(self.scores_of, self.train_.matrix, self._popularity_of_items)

    def _scorer_of(self, matrix: sp.csr_matrix) -> OwnedScorer:
        scorer: Any = self.scorer
        made: OwnedScorer = scorer.of_users(matrix)
        return made

    def _items_together(self, rows: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the items whose scores those at `rows` raise most, and by how much; fewer where they raise fewer."""
        num_items = len(self.item_ids)

        def weights_of(items: np.ndarray) -> np.ndarray:
            alone = (np.ones(len(items), np.float32), (np.arange(len(items)), items))
            return self.scores_of(sp.csr_matrix(alone, shape=(len(items), num_items)))

        return heaviest(weights_of, num_items, rows, top_k)


class ItemWeightModel(ItemScorer):
    """A model whose score is a product of what a user has and a matrix of item weights.

    Attributes
    ----------
    item_weights_ : (I, I) csr_matrix or array, float32
        w_ij: what having item i adds to the score of item j.
    """

    item_weights_: sp.csr_matrix | np.ndarray
    _learned: ClassVar[dict[str, str]] = {"item_weights_": "II"}

    def scores_of(self, matrix: sp.csr_matrix) -> np.ndarray:
        """Return the scores of all items for users given by their items: (B, I) csr_matrix to (B, I) float32."""
        return _product(self.item_weights_, matrix)

    def _check_range(self) -> None:
        weights = self.item_weights_
        largest = largest_size(weights if isinstance(weights, np.ndarray) else weights.data) * weights.shape[0]
        if not largest < float(np.finfo(np.float32).max):
            raise NumericalError(f"scores leave the range of float32: sums of item weights may reach {largest:.2g}")

    def _make_scorer(self) -> OwnedScorer:
        return OwnedScorer(partial(_product, self.item_weights_), self.train_.matrix, self._popularity_of_items)

    def _reasons(self, scorer: Any, user: int, own: np.ndarray, items: np.ndarray) -> dict[str, np.ndarray]:
        return {"item weights": weights_of(self.item_weights_, own, items)}


def _product(item_weights: sp.csr_matrix | np.ndarray, matrix: sp.csr_matrix) -> np.ndarray:
    product = matrix @ item_weights
    result: np.ndarray = product.toarray() if sp.issparse(product) else product
    return result
