"""Models that score items by the items a user has: s_uj = sum of w_ij over the items i of user u.

Letters: U users, I items, B users of a block, K neighbours; A the U x I train matrix, C = A^T diag(w) A the weighted co-occurrence.
"""

from collections.abc import Callable, Iterator

import numpy as np
import scipy.sparse as sp

from ultragcn.baselines.base import Baseline
from ultragcn.data.ids import Id
from ultragcn.recommender import Ranking, best_others

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


def blocks(num_rows: int, num_items: int) -> Iterator[np.ndarray]:
    """Yield the rows 0 ... num_rows - 1 in blocks, each as many as rows of I float32 numbers fit `_BLOCK_BYTES`."""
    step = max(1, _BLOCK_BYTES // (4 * num_items))
    for start in range(0, num_rows, step):
        yield np.arange(start, min(start + step, num_rows))


def strongest_neighbors(
    matrix: sp.csr_matrix,
    user_weight: np.ndarray,
    strength: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    num_neighbors: int,
) -> sp.csr_matrix:
    """Return the K items of largest strength for each item, among those that share a user with it.

    C is made a block of rows at a time, never whole.

    Parameters
    ----------
    matrix : csr_matrix, U x I
        A.
    user_weight : (U,)
        w, what a user counts in C_ij = sum_u w_u A_ui A_uj.
    strength : callable
        From items i, items j and C_ij, (n,) each, to strengths (n,). Where it is not above zero, j is no neighbour of i.
    num_neighbors : int
        K.

    Returns
    -------
    csr_matrix, (I, I) float32
        Row i has the strengths of i's neighbours.
    """
    by_item = matrix.T.tocsr()
    weighted = sp.csr_matrix(sp.diags_array(np.asarray(user_weight, np.float32)) @ matrix)
    kept = []
    for items in blocks(matrix.shape[1], matrix.shape[1]):
        c = sp.csr_matrix(by_item[items] @ weighted)
        own = np.repeat(items, np.diff(c.indptr))
        c.data = np.where(c.indices == own, 0, strength(own, c.indices, c.data)).astype(np.float32)
        kept.append(largest_of_rows(c, num_neighbors))
    return sp.csr_matrix(sp.vstack(kept, format="csr"))


def largest_of_rows(matrix: sp.csr_matrix, count: int) -> sp.csr_matrix:
    """Return a matrix with only the `count` entries of largest size of each row, zeros left out; ties go to the lower column."""
    from ultragcn.kernels import numba_cpu

    places = numba_cpu.largest_entries(matrix.indptr.astype(np.int64), matrix.indices, np.abs(matrix.data), count)
    found = places >= 0
    indptr = np.concatenate([[0], np.cumsum(found.sum(axis=1))])
    places = places[found]
    kept = sp.csr_matrix((matrix.data[places], matrix.indices[places], indptr), shape=matrix.shape)
    kept.sort_indices()
    return kept
