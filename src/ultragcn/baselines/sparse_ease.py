"""SparseEASE: EASE for catalogues whose I x I inverse does not fit into memory, by a sparse factor of that inverse.

The idea is that of SANSA (Spisak et al., RecSys 2023): never store P = (A^T A + l2 I)^-1, but sparse W and D with P = W^T D^-1 W.
SANSA takes an incomplete LDL^T of A^T A + l2 I and then inverts L approximately; here each row of W is found at once, as a regression
of an item on a few items before it (Kolotilina and Yeremin: Factorized sparse approximate inverse preconditionings, 1993): no fill-in,
no iteration, all rows independent.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ultragcn.baselines.item_weights import ItemScorer, strongest_neighbors, weights_of_neighbors
from ultragcn.config import HyperParameters, parameter
from ultragcn.data.interactions import Interactions
from ultragcn.errors import NumericalError
from ultragcn.progress import Progress


class SparseEASE(ItemScorer):
    """EASE's s_uj = sum_i A_ui B_ij, B = I - P / diag P, with P = W^T D^-1 W held as the sparse W and D.

    Items are ordered from the most popular to the least, and each is regressed on K of those before it: those with the largest
    C_ij / sqrt(C_jj), C = A^T A, so the ones most alike in cosine. With K = I this is EASE. K I numbers are learned, so K / I is about
    the density of W, half of it that of a full triangle.

    Attributes
    ----------
    left_, right_ : (I, I) csr_matrix, float32
        W^T and -D^-1 W / diag P: B = I + left_ right_. The product is never made.
    """

    @dataclass(frozen=True)
    class Settings(HyperParameters):
        """The hyper-parameters of `SparseEASE`."""

        num_neighbors: int = parameter(100, "items K that an item is regressed on; K / I is the density of the factor", unit="items", low=1)
        l2: float = parameter(100.0, "L2 strength, in users: added to the number of users of each item", positive=True)

    left_: sp.csr_matrix
    right_: sp.csr_matrix
    _learned = ("left_", "right_")

    def _prepare(self) -> None:
        from ultragcn.kernels import numba_cpu

        super()._prepare()
        one = np.ones(1, np.float32)
        numba_cpu.inverse_factor(np.array([0, 1], np.int64), np.zeros(1, np.int32), one, -np.ones((1, 1), np.int32), one[:, None], one)

    def _learn(self, targets: Interactions | None, show: Progress) -> None:
        from ultragcn.kernels import numba_cpu

        matrix, num_items = self.train_.matrix, self.train_.num_items
        degrees = self.train_.item_degrees
        place = np.empty(num_items, np.int64)  # of an item in the order
        place[np.argsort(-degrees, kind="stable")] = np.arange(num_items)
        scale = (1 / np.sqrt(np.maximum(degrees, 1))).astype(np.float32)

        def alike(items: np.ndarray, rows: np.ndarray) -> np.ndarray:
            return np.where(place < place[items, None], rows * scale, np.float32(0))

        neighbors, _ = strongest_neighbors(matrix, np.ones(len(self.user_ids)), alike, self.config.num_neighbors)
        gram = sp.csr_matrix(matrix.T.tocsr() @ matrix + sp.diags_array(np.full(num_items, self.config.l2, np.float32)))
        weights, pivots = np.empty(neighbors.shape, np.float32), np.empty(num_items, np.float32)
        with numba_cpu.numba_threads():
            numba_cpu.inverse_factor(gram.indptr.astype(np.int64), gram.indices, gram.data, neighbors, weights, pivots)
        if not (pivots > 0).all() or not np.isfinite(weights).all():
            raise NumericalError(f"A^T A + l2 I is not positive definite in float32; raise l2 ({self.config.l2:g})")
        self.left_ = sp.csr_matrix(sp.eye_array(num_items, dtype=np.float32) - weights_of_neighbors(neighbors, weights))
        scaled = self.left_.T.tocsr().multiply(1 / pivots[:, None])  # D^-1 W
        diagonal = np.asarray(self.left_.multiply(scaled.T).sum(axis=1)).ravel()
        self.right_ = sp.csr_matrix(scaled.multiply(-1 / diagonal), dtype=np.float32)

    def scores_of(self, matrix: sp.csr_matrix) -> np.ndarray:
        """Return the scores of all items for users given by their items: (B, I) csr_matrix to (B, I) float32."""
        return (matrix + (matrix @ self.left_) @ self.right_).toarray()
