"""EASE: a linear autoencoder of one closed form, dense. Strong, and as large as the square of the number of items.

Steck: Embarrassingly shallow autoencoders for sparse data (WWW 2019).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ultragcn.config import HyperParameters, parameter
from ultragcn.data.interactions import Interactions
from ultragcn.errors import NumericalError
from ultragcn.machine import ask_for
from ultragcn.models.inverse import invert, scratch_bytes
from ultragcn.models.item_scorer import ItemWeightModel
from ultragcn.progress import Progress
from ultragcn.scoring.item_weights import blocks
from ultragcn.solvers import Sizes

_SPARE_BYTES = 512 * 2**20  # besides the matrix: the blocks it is made from, the scores of a block of users


class EASE(ItemWeightModel):
    """s_uj = sum_i A_ui B_ij, where B minimises ||A - A B||^2 + l2 ||B||^2 and has a diagonal of zeros (Steck, eq. 8):

        P = (A^T A + l2 I)^-1,    B_ij = -P_ij / P_jj for i != j.

    The one I x I array of this library: 4 I^2 bytes, in which A^T A is made, inverted and scaled in place.

    Attributes
    ----------
    item_weights_ : (I, I) float32
        B.

    Raises
    ------
    UsageError
        From `fit`, before anything is made: the matrix does not fit into the free memory.
    NumericalError
        From `fit`: in float32, A^T A + l2 I is not positive definite.
    """

    @dataclass(frozen=True)
    class Settings(HyperParameters):
        """The hyper-parameters of `EASE`."""

        l2: float = parameter(500.0, "L2 strength, a number of users that is added to the number of users of each item", positive=True)

    @classmethod
    def _memory_for(cls, sizes: Sizes, squares: int, config: Any) -> int:
        return memory_for(sizes.num_items)

    def _ask_for_memory(self) -> None:
        check_memory(self.train_.num_items)

    def _learn(self, targets: Interactions | None, show: Progress) -> None:
        matrix, num_items = self.train_.matrix, self.train_.num_items
        by_item = matrix.T.tocsr()
        b = np.empty((num_items, num_items), np.float32)
        for rows in blocks(num_items, num_items):
            b[rows[0] : rows[-1] + 1] = (by_item[rows] @ matrix).toarray()
        b.flat[:: num_items + 1] += self.config.l2
        try:
            invert(b, show)
        except np.linalg.LinAlgError as error:
            raise NumericalError(f"A^T A + l2 I is not positive definite in float32; raise l2 ({self.config.l2:g})") from error
        b /= -b.diagonal().copy()
        np.fill_diagonal(b, 0.0)
        self.item_weights_ = b


def memory_for(num_items: int) -> int:
    """Return the bytes that EASE on so many items takes."""
    return 4 * num_items**2 + scratch_bytes(num_items) + _SPARE_BYTES


def check_memory(num_items: int) -> None:
    """Raise `MemoryShortError` when the I x I matrix does not fit into the memory that is free, where the system says how much that is."""
    ask_for(memory_for(num_items), f"EASE on {num_items} items", "use SparseEASE, or fit on fewer items")
