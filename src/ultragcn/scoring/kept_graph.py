"""An item graph that is kept while its log grows: only new items get weights, those of walks, which cost a fraction of a whole graph."""

import numpy as np
import scipy.sparse as sp

from ultragcn.config import Config
from ultragcn.data.interactions import Interactions
from ultragcn.scoring import item_weights


def with_new_items(graph: sp.csr_matrix, train: Interactions, config: Config, new_items: np.ndarray) -> sp.csr_matrix:
    """Return the item graph with weights from and to new items: those of walks, as large as make walks vary as much as the graph.

    Parameters
    ----------
    graph : (I, I) csr_matrix, float32
        Without weights of new items.
    train : Interactions
        All pairs, those of new items too.
    config : Config
    new_items : (I,) bool

    Returns
    -------
    (I, I) csr_matrix, float32
    """
    if not new_items.any() or graph.nnz == 0:
        return graph
    count, alpha, beta = 2 * config.item_graph_neighbors, config.item_graph_walk_alpha, config.item_graph_walk_beta
    walks = item_weights.walk_weights(train.matrix, count, alpha, beta)
    spread, own = (item_weights.mean_deviation(part, train.matrix) for part in (graph, walks))
    sources = np.repeat(np.arange(walks.shape[0]), np.diff(walks.indptr))
    walks.data[~(new_items[sources] | new_items[walks.indices])] = 0
    walks.eliminate_zeros()
    return sp.csr_matrix(graph + np.float32(spread / own if own > 0 else 0.0) * walks)
