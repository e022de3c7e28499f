"""Models that score items by the items a user has: s_uj = sum of w_ij over the items i of user u.

Letters: U users, I items, B users of a block.
"""

import numpy as np
import scipy.sparse as sp

from ultragcn.data.ids import Id
from ultragcn.models.baseline import Baseline
from ultragcn.models.recommender import Ranking, best_others
from ultragcn.scoring.item_weights import blocks
from ultragcn.scoring.ranking import best_columns


class ItemScorer(Baseline):
    """A model that scores all items for anyone, known or new, by the items they have."""

    def scores_of(self, matrix: sp.csr_matrix) -> np.ndarray:
        """Return the scores of all items for users given by their items: (B, I) csr_matrix to (B, I) float32."""
        raise NotImplementedError

    def rank(self, users: np.ndarray, top_k: int, seen: sp.csr_matrix | None = None) -> Ranking:
        """Yield the top_k items of user rows in blocks; see `evaluation.ranking.rank`."""
        self._check_fitted()
        users = np.asarray(users, np.int64)
        for block, items, scores in self._rank_rows(self.train_.matrix[users], top_k, None if seen is None else seen[users]):
            yield users[block], items, scores

    def _rank_new(self, matrix: sp.csr_matrix, top_k: int, seen: sp.csr_matrix | None) -> Ranking:
        return self._rank_rows(matrix, top_k, seen)

    def _rank_rows(self, matrix: sp.csr_matrix, top_k: int, seen: sp.csr_matrix | None) -> Ranking:
        from ultragcn.kernels import numba_cpu

        for rows in blocks(*matrix.shape):
            scores = self.scores_of(matrix[rows])
            if seen is not None:
                with numba_cpu.numba_threads():
                    numba_cpu.mask_seen(scores, rows, seen.indptr, seen.indices)
            yield rows, *best_columns(scores, top_k)

    def similar_items(self, item_id: Id, top_k: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """Return the top_k items whose scores `item_id` raises most, and by how much: (K,) each, fewer where it raises fewer."""
        self._check_fitted()
        row = int(self.item_ids.rows([item_id])[0])
        alone = sp.csr_matrix((np.ones(1, np.float32), ([0], [row])), shape=(1, len(self.item_ids)))
        weights = self.scores_of(alone)[0]
        weights[weights <= 0] = -np.inf
        return best_others(row, weights, self.item_ids, top_k)


class ItemWeightModel(ItemScorer):
    """A model whose score is a product of what a user has and a matrix of item weights.

    Attributes
    ----------
    item_weights_ : (I, I) csr_matrix or array, float32
        w_ij: what having item i adds to the score of item j.
    """

    item_weights_: sp.csr_matrix | np.ndarray
    _learned = ("item_weights_",)

    def scores_of(self, matrix: sp.csr_matrix) -> np.ndarray:
        """Return the scores of all items for users given by their items: (B, I) csr_matrix to (B, I) float32."""
        product = matrix @ self.item_weights_
        return product.toarray() if sp.issparse(product) else product
