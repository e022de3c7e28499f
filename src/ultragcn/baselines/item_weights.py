"""Models that score items by the items a user has: s_uj = sum of w_ij over the items i of user u.

Letters: U users, I items, B users of a block, K neighbours; A the U x I train matrix, C = A^T diag(w) A the weighted co-occurrence.
"""

from collections.abc import Callable, Iterator

import numpy as np
import scipy.sparse as sp

from ultragcn.baselines.base import Baseline
from ultragcn.data.ids import Id
from ultragcn.recommender import Ranking, _best_but

_BLOCK_BYTES = 64 * 2**20
"""Scores, or rows of C, that exist at a time."""


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
                numba_cpu.mask_seen(scores, rows, seen.indptr, seen.indices)
            yield rows, *numba_cpu.top_k(scores, top_k)

    def similar_items(self, item_id: Id, top_k: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """Return the top_k items whose scores `item_id` raises most, and by how much: (K,) each, fewer where it raises fewer."""
        self._check_fitted()
        row = int(self.item_ids.rows([item_id])[0])
        alone = sp.csr_matrix((np.ones(1, np.float32), ([0], [row])), shape=(1, len(self.item_ids)))
        weights = self.scores_of(alone)[0]
        weights[weights <= 0] = -np.inf
        return _best_but(row, weights, self.item_ids, top_k)


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


def blocks(num_rows: int, num_items: int) -> Iterator[np.ndarray]:
    """Yield the rows 0 ... num_rows - 1 in blocks, each as many as rows of I float32 numbers fit `_BLOCK_BYTES`."""
    step = max(1, _BLOCK_BYTES // (4 * num_items))
    for start in range(0, num_rows, step):
        yield np.arange(start, min(start + step, num_rows))


def strongest_neighbors(
    matrix: sp.csr_matrix, user_weight: np.ndarray, strength: Callable[[np.ndarray, np.ndarray], np.ndarray], num_neighbors: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the K items of largest strength for each item, among those that share a user with it.

    C is made a block of rows at a time, never whole.

    Parameters
    ----------
    matrix : csr_matrix, U x I
        A.
    user_weight : (U,)
        w, what a user counts in C_ij = sum_u w_u A_ui A_uj.
    strength : callable
        Called with items (B,) and their rows of C (B, I) float32; returns strengths (B, I) float32. One that is not above zero is no
        neighbour.
    num_neighbors : int
        K.

    Returns
    -------
    items : (I, K) int32
        By (larger strength, lower item); -1 where there are fewer.
    strengths : (I, K) float32
    """
    from ultragcn.kernels import numba_cpu

    num_items = matrix.shape[1]
    by_item = matrix.T.tocsr()
    weighted = sp.csr_matrix(sp.diags_array(np.asarray(user_weight, np.float32)) @ matrix)
    items, strengths = [], []
    for block in blocks(num_items, num_items):
        values = strength(block, (by_item[block] @ weighted).toarray())
        values[values <= 0] = -np.inf
        values[np.arange(len(block)), block] = -np.inf
        best, value = numba_cpu.top_k(values, num_neighbors)
        items.append(best)
        strengths.append(value)
    return np.concatenate(items), np.concatenate(strengths)


def weights_of_neighbors(items: np.ndarray, weights: np.ndarray) -> sp.csr_matrix:
    """Return the I x I matrix whose column j has the weights of item j's neighbours: w[items[j, k], j] = weights[j, k]."""
    num_items, k = items.shape
    kept = items >= 0
    columns = np.repeat(np.arange(num_items, dtype=np.int32), k).reshape(items.shape)
    matrix = sp.csr_matrix((weights[kept].astype(np.float32), (items[kept], columns[kept])), shape=(num_items, num_items))
    matrix.sort_indices()
    return matrix
