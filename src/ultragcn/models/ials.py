"""iALS: matrix factorisation by alternating least squares over all cells, with an L2 strength that grows with an item's or user's degree.

Hu, Koren, Volinsky: Collaborative filtering for implicit feedback datasets (ICDM 2008); the loss and its scaled L2 are those of Rendle,
Krichene, Zhang, Koren: Revisiting the performance of iALS on item recommendation benchmarks (RecSys 2022), eq. 1 to 5.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from ultragcn import kernels, rng
from ultragcn.config import HyperParameters, parameter, seed_parameter
from ultragcn.data.interactions import Interactions
from ultragcn.models.baseline import Baseline
from ultragcn.models.recommender import EmbeddingRecommender
from ultragcn.progress import Progress
from ultragcn.solvers import Sizes
from ultragcn.solvers.reasons import Terms, additions


class IALS(Baseline, EmbeddingRecommender):
    """The minimiser, users and items in turn, of

        sum_{(u,i) in A} (1 - s_ui)^2 + alpha0 sum_{all u,i} s_ui^2 + sum_u lambda_u ||e_u||^2 + sum_i lambda_i ||e_i||^2,

    s_ui = e_u . e_i, lambda_u = l2 (d_u + alpha0 I)^nu, lambda_i = l2 (d_i + alpha0 U)^nu; alpha0 is `unobserved_weight`, nu
    `l2_exponent`. A row costs no pass over the cells: all share the Gram matrix of the other side.
    """

    @dataclass(frozen=True)
    class Settings(HyperParameters):
        """The hyper-parameters of `IALS`."""

        embedding_dim: int = parameter(64, "length of an embedding", unit="numbers", low=1)
        unobserved_weight: float = parameter(0.1, "weight alpha0 of every cell's pull towards 0", positive=True)
        l2: float = parameter(0.003, "L2 strength", positive=True)
        l2_exponent: float = parameter(1.0, "the L2 strength grows with this power nu of the degree", low=0)
        init_std: float = parameter(0.1, "standard deviation of the first scores; of an embedding, divided by sqrt(D)", positive=True)
        epochs: int = parameter(16, "number of times that users and items are solved", unit="epochs", low=1)
        seed: int | None = seed_parameter()

    _recorded = ("seed_", "train_seconds_")
    _kernels = (*Baseline._kernels, "ridge_rows")

    _lighter = "lower embedding_dim, or fit on fewer users and items"

    @classmethod
    def _memory_for(cls, sizes: Sizes, squares: int, config: Any) -> int:
        rows, dim = sizes.num_users + sizes.num_items, int(config.embedding_dim)
        # Both sides and those that are made of them; the first ones are drawn in float64. The pairs once more, by item.
        return max(8 * rows * dim, 20 * sizes.num_items * dim) + 8 * sizes.num_pairs

    def _learn(self, targets: Interactions | None, show: Progress) -> None:
        by_user = self.train_.matrix
        by_item = by_user.T.tocsr()
        std = self.config.init_std / np.sqrt(self.config.embedding_dim)
        shape = (by_item.shape[0], self.config.embedding_dim)
        items = (std * rng.stream(self.seed_, "init").standard_normal(shape)).astype(np.float32)
        for _ in range(self.config.epochs):
            users = self._solve(by_user, items)
            items = self._solve(by_item, users)
            show.advance(1)
        self.user_embedding_, self.item_embedding_ = users, items

    def fold_in(self, matrix: sp.csr_matrix) -> np.ndarray:
        """Return the embeddings of new users, given by their items: (B, I) csr_matrix to (B, D) float32.

        Exact: the users that minimise the loss, items held still.
        """
        return self._solve(self._as_rows(matrix), self.item_embedding_)

    def _reasons(self, scorer: Any, user: int, own: np.ndarray, items: np.ndarray) -> dict[str, np.ndarray]:
        x, y = scorer.user_embedding[user].astype(np.float64), self.item_embedding_
        # Halves of the terms of the loss: the gradient of (1 - s)^2 / 2 is -(1 - s) y, its Hessian y y^T.
        of_own = y[own].astype(np.float64)
        terms = Terms(own[:, None], (1 - of_own @ x)[:, None], np.ones((len(own), 1)))
        gram = self.config.unobserved_weight * (y.T @ y).astype(np.float64)
        hessian = gram + of_own.T @ of_own + self._l2(np.array([len(own)]), len(y))[0] * np.eye(len(x))
        return {"embeddings": additions(hessian, y, terms, items)}

    def _l2(self, degrees: np.ndarray, num_columns: int) -> np.ndarray:
        """Return the L2 strengths of rows with `degrees` (R,) on the side whose other side has `num_columns` rows: (R,) float64."""
        result: np.ndarray = self.config.l2 * (degrees + self.config.unobserved_weight * num_columns) ** self.config.l2_exponent
        return result

    def _solve(self, matrix: sp.csr_matrix, y: np.ndarray) -> np.ndarray:
        """Return the rows that minimise the loss given the other side's `y`, (columns, D): (rows, D) float32."""
        alpha = self.config.unobserved_weight
        l2 = self._l2(np.diff(matrix.indptr), len(y))
        x = np.empty((matrix.shape[0], y.shape[1]), np.float32)
        with kernels.numba_threads():
            kernels.ridge_rows(y, np.float32(alpha) * (y.T @ y), matrix.indptr.astype(np.int64), matrix.indices, l2.astype(np.float32), x)
        return x
