"""SparseEASE: EASE for catalogues whose I x I inverse does not fit into memory, by a sparse factor of that inverse.

How: `item_weights.regression_weights`, which UltraGCN uses for its item graph too.
"""

from dataclasses import dataclass
from typing import Any

from ultragcn.config import HyperParameters, parameter
from ultragcn.data.interactions import Interactions
from ultragcn.models.item_scorer import ItemWeightModel
from ultragcn.progress import Progress
from ultragcn.scoring.item_weights import WEIGHT_BYTES, compile_kernels, most_weights, regression_weights
from ultragcn.solvers import Sizes


class SparseEASE(ItemWeightModel):
    """EASE with an approximate inverse and few weights for each item.

    Attributes
    ----------
    item_weights_ : (I, I) csr_matrix, float32
        B.
    """

    @dataclass(frozen=True)
    class Settings(HyperParameters):
        """The hyper-parameters of `SparseEASE`."""

        num_neighbors: int = parameter(
            100, "number K of items that an item is regressed on, which sets the density of the factor", unit="items", low=1
        )
        num_weights: int = parameter(500, "number M of weights that are kept for an item, which sets the density of B", unit="items", low=1)
        l2: float = parameter(100.0, "L2 strength, a number of users that is added to the number of users of each item", positive=True)

    _lighter = "lower num_weights and num_neighbors, or fit on fewer items"

    @classmethod
    def _memory_for(cls, sizes: Sizes, squares: int, config: Any) -> int:
        # The factor is denser than what shares users, its inverse too.
        num_items = sizes.num_items
        factor = most_weights(num_items, squares, config.num_neighbors)
        return WEIGHT_BYTES * (factor + num_items * min(int(config.num_weights), num_items))

    def _prepare(self) -> None:
        super()._prepare()
        compile_kernels()

    def _learn(self, targets: Interactions | None, show: Progress) -> None:
        settings = self.config
        self.item_weights_ = regression_weights(self.train_.matrix, settings.num_neighbors, settings.num_weights, settings.l2)
