"""ItemKNN: items are alike when the same users have them; a user is recommended what is like the items they have.

Sarwar, Karypis, Konstan, Riedl: Item-based collaborative filtering recommendation algorithms (WWW 2001); the shrinkage is that of Bell
and Koren (ICDM 2007), in the form of Ferrari Dacrema et al. (RecSys 2019).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ultragcn.config import HyperParameters, parameter
from ultragcn.data.interactions import Interactions
from ultragcn.models.item_scorer import ItemWeightModel
from ultragcn.progress import Progress
from ultragcn.scoring.item_weights import WEIGHT_BYTES, Likeness, most_weights, strongest_neighbors
from ultragcn.solvers import Sizes


class ItemKNN(ItemWeightModel):
    """s_uj = sum of c_ij over those K items most like j that user u has, with the shrunk cosine

        c_ij = C_ij / (sqrt(C_ii C_jj) + shrinkage),    C_ij = sum_u w_u^2 A_ui A_uj.

    w_u is 1, or with `weighting` "idf" log(I / d_u): two items of a user who has few say more than two of one who has everything.
    (BM25 differs from that only by factors of each item, which a cosine cancels.)
    """

    @dataclass(frozen=True)
    class Settings(HyperParameters):
        """The hyper-parameters of `ItemKNN`."""

        num_neighbors: int = parameter(100, "number K of neighbours that count for an item", unit="items", low=1)
        shrinkage: float = parameter(10.0, "number added to the denominator, so that cosines made of few users are nearer to 0", low=0)
        weighting: str = parameter("none", "weight of a user", choices=("none", "idf"))

    _lighter = "lower num_neighbors, or fit on fewer items"

    @classmethod
    def _memory_for(cls, sizes: Sizes, squares: int, config: Any) -> int:
        return WEIGHT_BYTES * most_weights(sizes.num_items, squares, config.num_neighbors)

    def _learn(self, targets: Interactions | None, show: Progress) -> None:
        matrix, degrees = self.train_.matrix, self.train_.user_degrees
        user_weight = np.ones(len(degrees))
        if self.config.weighting == "idf":
            user_weight = np.log(self.train_.num_items / np.maximum(degrees, 1)) ** 2
        length = np.sqrt(matrix.T @ user_weight).astype(np.float32)  # sqrt(C_ii)
        cosine = Likeness(length=length, shrinkage=self.config.shrinkage)
        # Row j of the neighbours is what column j of the weights must be.
        self.item_weights_ = strongest_neighbors(matrix, user_weight, cosine, self.config.num_neighbors).T.tocsr()
