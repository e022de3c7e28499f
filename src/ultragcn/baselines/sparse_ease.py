"""SparseEASE: EASE for catalogues whose I x I inverse does not fit into memory, by a sparse factor of that inverse.

The idea is that of SANSA (Spisak et al., RecSys 2023): P = (A^T A + l2 I)^-1 is never made whole, but held as W^T D^-1 W with a sparse
triangle W. SANSA takes an incomplete LDL^T of A^T A + l2 I and then inverts its L approximately; here each row of W is found at once, as
the regression of an item on a few items before it (Kolotilina, Yeremin: Factorized sparse approximate inverse preconditionings, 1993).
Nothing fills in, nothing is iterated, and all rows are independent.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ultragcn.baselines.item_weights import ItemWeightModel, blocks, largest_of_rows, strongest_neighbors
from ultragcn.config import HyperParameters, parameter
from ultragcn.data.interactions import Interactions
from ultragcn.errors import NumericalError
from ultragcn.progress import Progress


class SparseEASE(ItemWeightModel):
    """EASE's B_ij = -P_ij / P_jj with P = W^T D^-1 W for a sparse W, and of each item j only the M weights of largest size.

    Items are ordered from the most popular to the least, and each is regressed on K of those before it: those with the largest
    C_ij / sqrt(C_jj), C = A^T A, the ones most alike in cosine. With K = M = I this is EASE where every two items share a user. K / I is
    about the density of W, M / I that of B; memory is 8 (K + M) I bytes, and 8 for each non-zero of C.

    Attributes
    ----------
    item_weights_ : (I, I) csr_matrix, float32
        B.
    """

    @dataclass(frozen=True)
    class Settings(HyperParameters):
        """The hyper-parameters of `SparseEASE`."""

        num_neighbors: int = parameter(100, "items K that an item is regressed on: the density of the factor", unit="items", low=1)
        num_weights: int = parameter(500, "weights M kept of an item: the density of B", unit="items", low=1)
        l2: float = parameter(100.0, "L2 strength, in users: added to the number of users of each item", positive=True)

    def _prepare(self) -> None:
        from ultragcn.kernels import numba_cpu

        super()._prepare()
        one, ends, nothing = np.ones(1, np.float32), np.array([0, 1], np.int64), np.zeros(0, np.int32)
        numba_cpu.inverse_factor(ends, np.zeros(1, np.int32), one, np.zeros(2, np.int64), nothing, 0, np.zeros(0, np.float32), one)

    def _learn(self, targets: Interactions | None, show: Progress) -> None:
        triangle, pivots = self._factor()
        transposed, scaled = triangle.T.tocsr(), sp.csr_matrix(sp.diags_array(1 / pivots) @ triangle)
        columns = []
        for items in blocks(*triangle.shape):
            # P is symmetric: what will be column j of B is made as a row.
            p = sp.csr_matrix(transposed[items] @ scaled)
            row = np.repeat(np.arange(len(items)), np.diff(p.indptr))
            own = p.indices == items[row]
            p.data /= -p.data[own][row]
            p.data[own] = 0
            columns.append(largest_of_rows(p, self.config.num_weights))
        self.item_weights_ = sp.csr_matrix(sp.vstack(columns, format="csr").T)

    def _factor(self) -> tuple[sp.csr_matrix, np.ndarray]:
        """Return W (I, I) and D (I,), float32."""
        from ultragcn.kernels import numba_cpu

        matrix, num_items, degrees = self.train_.matrix, self.train_.num_items, self.train_.item_degrees
        place = np.empty(num_items, np.int64)  # of an item in the order
        place[np.argsort(-degrees, kind="stable")] = np.arange(num_items)
        scale = (1 / np.sqrt(np.maximum(degrees, 1))).astype(np.float32)

        def alike(i: np.ndarray, j: np.ndarray, c: np.ndarray) -> np.ndarray:
            return np.where(place[j] < place[i], c * scale[j], 0)

        regressed = strongest_neighbors(matrix, np.ones(matrix.shape[0]), alike, self.config.num_neighbors)
        gram = sp.csr_matrix(matrix.T.tocsr() @ matrix + sp.diags_array(np.full(num_items, self.config.l2, np.float32)))
        gram.sort_indices()
        weights, pivots = np.empty_like(regressed.data), np.empty(num_items, np.float32)
        with numba_cpu.numba_threads():
            numba_cpu.inverse_factor(
                gram.indptr.astype(np.int64), gram.indices, gram.data, regressed.indptr.astype(np.int64), regressed.indices,
                self.config.num_neighbors, weights, pivots,
            )  # fmt: skip
        if not (pivots > 0).all() or not np.isfinite(weights).all():
            raise NumericalError(f"A^T A + l2 I is not positive definite in float32; raise l2 ({self.config.l2:g})")
        regressed.data = -weights
        return sp.csr_matrix(regressed + sp.eye_array(num_items, dtype=np.float32)), pivots
