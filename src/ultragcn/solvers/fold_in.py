"""Fold-in: the embedding of a user that training has not seen, from the items it has.

The user's row problem of the expected loss, the items held still, solved to convergence: where training would put the user.

Letters: U users, I items, D dimensions, K clusters, S sampled train users.
"""

import numpy as np
import scipy.sparse as sp

from ultragcn import kernels
from ultragcn.kernels.arguments import Frozen, Rows
from ultragcn.loss.objective import Objective
from ultragcn.solvers.clusters import cluster_columns, usual_clusters
from ultragcn.solvers.half_sweeps import NOTHING, checked, grams_of, parabola_of, quadratic_half_sweep, side_of

_SAMPLE_USERS = 2048  # train users who tell how items matter to users
_ITEMS_EACH = 4  # fewer items for a cluster than this, and every item is a cluster of its own
_RIDGE = 1e-4  # of the mean curvature, for directions that items do not have


class FrozenItems:
    """Items held still: what every new user's row problem has in common.

    Parameters
    ----------
    objective : Objective
        Of the train data; gives the items' degrees and neighbours, and train users.
    item_embedding : (I, D) float32
    shared : Frozen, optional
        What was made of train users earlier; by default it is made.
    """

    def __init__(self, objective: Objective, item_embedding: np.ndarray, shared: Frozen | None = None):
        self.objective = objective
        self.embedding = y = np.ascontiguousarray(item_embedding, np.float32)
        self.weight = objective.negative_columns()
        if shared is not None:
            self.shared = shared
            return
        with kernels.numba_threads():
            self.shared = self._share(objective, y, self.weight)

    @staticmethod
    def _share(objective: Objective, y: np.ndarray, weight: np.ndarray) -> Frozen:
        size, column_weight = y.shape[1], np.ascontiguousarray(weight.T)
        grams = grams_of(weight, y)
        users = np.flatnonzero(objective.train.user_degrees)
        users = users[np.unique(np.linspace(0, len(users) - 1, _SAMPLE_USERS).astype(np.int64))]
        matrix = objective.train.matrix[users]
        side = side_of(objective, matrix, *objective.positives(matrix), weight, objective.l2_users(np.diff(matrix.indptr)))
        linear, curvature = parabola_of(side.row_weight, side.positive, weight)
        x = quadratic_half_sweep(side, np.zeros((len(users), size), np.float32), y, grams, linear, curvature)
        mean = curvature * np.tensordot(side.mean_weight, grams[0], 1).astype(np.float64) + float(side.total.mean()) * side.prior(y)
        mean += (float(side.l2.mean()) + _RIDGE * np.trace(mean) / size + 1e-30) * np.eye(size)
        number = usual_clusters(objective.config, len(y))
        if len(y) < _ITEMS_EACH * number:
            mass, centre = column_weight, y
            spread, share = np.zeros((size, size), np.float32), np.zeros(len(y), np.float32)
        else:
            clusters, _ = cluster_columns(x, y, column_weight, side.mean_weight, number, np.random.default_rng(0))
            mass, centre = clusters.mass, clusters.centre
            spread, share = _mean_spread(clusters.spread, side.mean_weight @ mass, x)
        inverse = np.linalg.inv(mean).astype(np.float32)
        return Frozen(column_weight, mass, centre, spread, share, *grams, 0.5 * (inverse + inverse.T))


def _mean_spread(spread: np.ndarray, mass: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean covariance of clusters, and how much of it each has, as the users `x` (S, D) see them.

    Parameters
    ----------
    spread : (K, D (D + 1) / 2) float32
        As in `Clusters`.
    mass : (K,) float32

    Returns
    -------
    spread : (D, D) float32
    share : (K,) float32
    """
    rows, columns = np.triu_indices(x.shape[1])
    moments = (x.T @ x / max(len(x), 1))[rows, columns] * np.where(rows == columns, 1, 2)
    mean = mass.astype(np.float64) @ spread / max(float(mass.sum()), 1e-30)
    variance, usual = spread @ moments.astype(np.float32), float(mean @ moments)
    whole = np.zeros((x.shape[1], x.shape[1]), np.float32)
    whole[rows, columns] = whole[columns, rows] = mean
    return whole, (np.maximum(variance, 0) / max(usual, 1e-30)).astype(np.float32)


def fold_in(items: FrozenItems, matrix: sp.csr_matrix, max_steps: int = 40, tolerance: float = 5e-3) -> np.ndarray:
    """Return the embeddings of users that training has not seen: their rows' problem, items frozen, solved to convergence.

    A user's embedding has the same bits alone and among others.

    Parameters
    ----------
    items : FrozenItems
    matrix : csr_matrix, U x I
        What the users have.
    max_steps : int
        Exact gradients at most.
    tolerance : float
        A row is done when what is left to go is less than about this share of its length.

    Returns
    -------
    (U, D) float32
    """
    objective, degrees = items.objective, np.diff(matrix.indptr)
    side = side_of(objective, matrix, *objective.positives(matrix), items.weight, objective.l2_users(degrees))
    rows = Rows(side.indptr, side.indices, side.positive, side.excluded, side.row_weight, side.l2, NOTHING, NOTHING)
    result = np.empty((len(degrees), items.embedding.shape[1]), np.float32)
    with kernels.interrupts_named():
        kernels.fold_in_rows(items.embedding, rows, items.shared, max_steps, tolerance, result)
    return checked(result)
