"""The item graph: what having one item adds to the scores of the others when ranking."""

import numpy as np
import scipy.sparse as sp

from ultragcn.config import (
    Config,
)
from ultragcn.data.interactions import Interactions
from ultragcn.progress import Progress, Silent
from ultragcn.scoring import item_weights


def item_graph(train: Interactions, config: Config, progress: Progress | None = None) -> sp.csr_matrix:
    """Return the item graph that `config` adds to the scores: (I, I) csr_matrix, float32; empty where it has no weight.

    `progress` is shown one step: on large data it takes seconds.
    """
    if config.resolved().item_graph_weight == 0:
        return sp.csr_matrix((train.num_items, train.num_items), dtype=np.float32)
    show = progress or Silent()
    show.start("item graph", 1, "graph")
    try:
        size = config.item_graph_neighbors
        weights = item_weights.regression_weights(train.matrix, size, size, config.item_graph_l2)
        if config.item_graph_walk > 0:
            walks = item_weights.walk_weights(train.matrix, 2 * size, config.item_graph_walk_alpha, config.item_graph_walk_beta)
            spread, own = (item_weights.mean_deviation(part, train.matrix) for part in (weights, walks))
            share = config.item_graph_walk * spread / own if own > 0 else 0.0
            weights = sp.csr_matrix(weights + np.float32(share) * walks)
        show.advance(1)
    finally:
        show.finish()
    return weights
