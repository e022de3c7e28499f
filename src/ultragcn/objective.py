"""The loss of UltraGCN, in one place: which pairs count, how much, and how embeddings are kept small.

Letters: U users, I items, N train pairs, K neighbours, B batch, R negatives; A the U x I train matrix, beta and omega the graph
weights of `graph.py`; s_uj = e_u . e_j; softplus(x) = log(1 + exp x).

One batch of train pairs (u, i), each with R negatives j_r, costs (authors' code; paper, eq. 9, 12, 17)

    L      = sum_(u,i) [ (w1 + w2 beta_ui) softplus(-s_ui) + negative_weight / R * sum_r (w3 + w4 beta_u,jr) softplus(s_u,jr) ]
    L_I    = sum_(u,i) sum_{j in S(i)} omega_ij softplus(-s_uj)
    total  = L + item_item_weight * L_I + l2_weight / 2 * (||E_users||^2 + ||E_items||^2)

and its expectation over an epoch, every pair visited once and negatives uniform, is

    L(E)   = sum_uj P_uj softplus(-s_uj) + sum_uj N_uj softplus(s_uj) + rho / 2 (||E_users||^2 + ||E_items||^2)

    P      = w1 A + w2 (beta o A) + item_item_weight * A Omega               sparse
    N_uj   = d_u negative_weight / I * (w3 + w4 beta_uj)                     rank 2
    rho    = l2_weight * ceil(N / batch_size)                                the authors add L2 once a batch

With `exclude_positives`, N is zero on a user's own items and d_u negative_weight / (I - d_u) * (...) elsewhere.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from ultragcn.config import Config
from ultragcn.data.interactions import Interactions
from ultragcn.errors import DataError
from ultragcn.graph import DegreeWeights, ItemNeighbors, degree_weights, item_neighbors


class BatchWeights(NamedTuple):
    """The items a batch looks at, and their weights: C = 1 + K + R columns, of which the first 1 + K should score high."""

    columns: Any  # (B, C) int64: the pair's item, its neighbours, its negatives
    weights: Any  # (B, C)
    num_positive: int  # 1 + K


@dataclass(frozen=True)
class Objective:
    """The loss over given train interactions; build it with `Objective.of`."""

    train: Interactions
    config: Config
    beta: DegreeWeights
    neighbors: ItemNeighbors

    @classmethod
    def of(cls, train: Interactions, config: Config) -> "Objective":
        """Return the objective of `train` under `config`: degrees, beta, neighbours and omega come from train alone.

        Raises
        ------
        DataError
            There is nothing to learn from.
        """
        if len(train) == 0:
            raise DataError("there are no train interactions; give at least one (user, item) pair")
        # Without weight the neighbours change nothing: leave them out.
        num_neighbors = config.num_item_neighbors if config.item_item_weight > 0 else 0
        return cls(train, config, degree_weights(train), item_neighbors(train, num_neighbors, config.omega))

    @property
    def num_batches(self) -> int:
        """Batches in an epoch."""
        return math.ceil(len(self.train) / self.config.batch_size)

    @property
    def l2_strength(self) -> float:
        """rho: the L2 weight of an epoch."""
        return self.config.l2_weight * self.num_batches

    def positive_matrix(self) -> sp.csr_matrix:
        """Return P: U x I, sparse float32; entries for a user's items and their neighbours."""
        config, train = self.config, self.train
        users, items = train.pairs
        data = positive_weight(config, self.beta.user[users], self.beta.item[items])
        positives = sp.csr_matrix((data.astype(np.float32), train.matrix.indices, train.matrix.indptr), shape=train.matrix.shape)
        if self.neighbors.items.shape[1]:
            positives = positives + config.item_item_weight * (train.matrix @ self.omega_matrix())
        positives.sort_indices()
        return positives.astype(np.float32)

    def omega_matrix(self) -> sp.csr_matrix:
        """Return Omega: I x I, sparse float32, K entries a row."""
        num_items, num_neighbors = self.neighbors.items.shape
        indptr = np.arange(0, num_items * num_neighbors + 1, num_neighbors) if num_neighbors else np.zeros(num_items + 1, np.int64)
        omega = sp.csr_matrix((self.neighbors.weights.reshape(-1), self.neighbors.items.reshape(-1), indptr), shape=(num_items, num_items))
        omega.sum_duplicates()
        omega.eliminate_zeros()
        return omega

    def negative_factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Return N as two factors, (U, 2) and (I, 2) float32: N_uj = row_u . column_j, the positives not yet excluded."""
        config, d_u = self.config, self.train.user_degrees.astype(np.float64)
        candidates = np.full_like(d_u, self.train.num_items)
        if config.exclude_positives:
            candidates -= d_u
        share = np.divide(config.negative_weight * d_u, candidates, out=np.zeros_like(d_u), where=candidates > 0)
        row = np.stack((config.w3 * share, config.w4 * share * self.beta.user), axis=1)
        column = np.stack((np.ones(self.train.num_items), self.beta.item), axis=1)
        return row.astype(np.float32), column.astype(np.float32)


def positive_weight(config: Config, beta_user: Any, beta_item: Any) -> Any:
    """Return w1 + w2 beta of pairs, from beta's factors at those pairs (arrays or tensors)."""
    return config.w1 + config.w2 * beta_user * beta_item


def negative_weight(config: Config, beta_user: Any, beta_item: Any) -> Any:
    """Return w3 + w4 beta of pairs, from beta's factors at those pairs (arrays or tensors)."""
    return config.w3 + config.w4 * beta_user * beta_item


def batch_weights(config: Config, beta: DegreeWeights, neighbors: ItemNeighbors, users: Any, items: Any, negatives: Any,
                  concatenate: Any) -> BatchWeights:  # fmt: skip
    """Return what a batch of train pairs looks at: each pair's item, its item's neighbours, its negatives.

    The same formula serves NumPy arrays and PyTorch tensors: give `np.concatenate` or `torch.cat`.

    Parameters
    ----------
    config : Config
    beta, neighbors
        As in `graph.py`, of the same kind as the following.
    users, items : (B,)
    negatives : (B, R)
        -1 marks a negative that does not exist (the user has every item); its weight is 0.
    concatenate : callable

    Returns
    -------
    BatchWeights
    """
    beta_user = beta.user[users][:, None]
    missing = negatives < 0
    negatives = negatives * ~missing
    weights = (
        positive_weight(config, beta_user, beta.item[items][:, None]),
        config.item_item_weight * neighbors.weights[items],
        config.negative_weight / negatives.shape[1] * negative_weight(config, beta_user, beta.item[negatives]) * ~missing,
    )
    columns = (items[:, None], neighbors.items[items], negatives)
    return BatchWeights(concatenate(columns, 1), concatenate(weights, 1), 1 + neighbors.items.shape[1])


def batch_terms(config: Config, by_column: Any, num_positive: int) -> tuple[Any, Any]:
    """Return L and item_item_weight * L_I of a batch, from its loss by column, in the columns' order of `batch_weights`."""
    item_item = by_column[1:num_positive].sum()
    return by_column.sum() - item_item, item_item


def half_squared_norm(user_embedding: Any, item_embedding: Any) -> Any:
    """Return (||E_users||^2 + ||E_items||^2) / 2."""
    return ((user_embedding**2).sum() + (item_embedding**2).sum()) / 2
