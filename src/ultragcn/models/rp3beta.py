"""RP3beta: a random walk of three steps, user - item - user - item, that popular items are made to pay for.

Paudel, Christoffel, Newell, Bernstein: Updatable, accurate, diverse, and scalable recommendations for interactive applications (ACM TiiS
2017), eq. 3 and 4.
"""

from dataclasses import dataclass
from typing import Any

from ultragcn.config import HyperParameters, parameter
from ultragcn.data.interactions import Interactions
from ultragcn.models.item_scorer import ItemWeightModel
from ultragcn.progress import Progress
from ultragcn.scoring.item_weights import WEIGHT_BYTES, most_weights, walk_weights
from ultragcn.solvers import Sizes


class RP3beta(ItemWeightModel):
    """s_uj = sum over the items i of u of w_ij, what the walk i - v - j is worth:

        w_ij = sum_v (1 / d_i)^alpha (1 / d_v)^alpha / d_j^beta.

    The first step has the same probability 1 / d_u for all items of a user, so it changes no order. Of each item j only the K
    largest w_ij are kept.
    """

    @dataclass(frozen=True)
    class Settings(HyperParameters):
        """The hyper-parameters of `RP3beta`."""

        num_neighbors: int = parameter(100, "number K of neighbours that count for an item", unit="items", low=1)
        alpha: float = parameter(1.0, "power of the transition probabilities", low=0)
        beta: float = parameter(0.6, "the score of an item is divided by this power of its degree", low=0)

    _lighter = "lower num_neighbors, or fit on fewer items"

    @classmethod
    def _memory_for(cls, sizes: Sizes, squares: int, config: Any) -> int:
        return WEIGHT_BYTES * most_weights(sizes.num_items, squares, config.num_neighbors)

    def _learn(self, targets: Interactions | None, show: Progress) -> None:
        settings = self.config
        self.item_weights_ = walk_weights(self.train_.matrix, settings.num_neighbors, settings.alpha, settings.beta)
