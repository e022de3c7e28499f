"""The loss of UltraGCN, in one place: which pairs count, how much, and how embeddings are kept small.

Letters: U users, I items, N train pairs, K neighbours, B batch, R negatives; A the U x I train matrix, beta and omega the graph
weights of `weights.py`; s_uj = e_u . e_j; softplus(x) = log(1 + exp x).

One batch of train pairs (u, i), each with R negatives j_r, costs (authors' code; paper, eq. 9, 12, 17)

    L      = sum_(u,i) [ (w1 + w2 beta_ui) softplus(-s_ui) + negative_weight / R * sum_r (w3 + w4 beta_u,jr) softplus(s_u,jr) ]
    L_I    = sum_(u,i) sum_{j in S(i)} omega_ij softplus(-s_uj)
    total  = L + item_item_weight * L_I + l2_weight / 2 * (||E_users||^2 + ||E_items||^2)

and its expectation over an epoch, every pair visited once and negatives uniform, is

    L(E)   = sum_uj P_uj softplus(-s_uj) + sum_uj N_uj softplus(s_uj) + sum_u rho_u / 2 ||e_u||^2 + sum_i rho_i / 2 ||e_i||^2

    P      = w1 A + w2 (beta o A) + item_item_weight * A Omega               sparse
    N_uj   = d_u negative_weight / I * (w3 + w4 beta_uj)                     rank 2
    rho_u  = rho d_u^nu / mean d^nu, rho = l2_user, for sgd l2_weight * ceil(N / batch_size); items alike

With `exclude_positives`, N is zero on a user's own items and d_u negative_weight / (I - d_u) * (...) elsewhere.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from ultragcn import kernels
from ultragcn.config import Config
from ultragcn.data.interactions import Interactions, ItemTotals, refuse_empty
from ultragcn.loss.weights import DegreeWeights, ItemNeighbors, degree_weights, item_neighbors, user_weights


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
    """Resolved: only sgd's L2 strengths may be None."""

    @classmethod
    def of(cls, train: Interactions, config: Config) -> "Objective":
        """Return the objective of `train` under `config`: degrees, beta, neighbours and omega come from train alone.

        Raises
        ------
        DataError
            There is nothing to learn from.
        """
        refuse_empty(train)
        return cls(train, config.resolved())

    @classmethod
    def without_users(cls, totals: ItemTotals, config: Config, neighbors: ItemNeighbors, l2_user: float, scale: float) -> "Objective":
        """Return an objective for folding in new users, of data whose users were left out.

        Parameters
        ----------
        totals : ItemTotals
        config : Config
        neighbors : ItemNeighbors
            Those of the data.
        l2_user, scale : float
            The `l2_strengths` of users, and the `l2_user_scale`.
        """
        made = cls(totals, config.resolved())
        vars(made).update(neighbors=neighbors, l2_strengths=(l2_user, 0.0), l2_user_scale=scale)
        return made

    @cached_property
    def beta(self) -> DegreeWeights:
        """Beta of all pairs, as its two factors."""
        return degree_weights(self.train)

    @cached_property
    def neighbors(self) -> ItemNeighbors:
        """The item-item neighbours, none where they have no weight."""
        num_neighbors = self.config.num_item_neighbors if self.config.item_item_weight > 0 else 0
        if num_neighbors == 0:
            return ItemNeighbors(np.empty((self.train.num_items, 0), np.int32), np.empty((self.train.num_items, 0), np.float32))
        return item_neighbors(self.train, num_neighbors, self.config.omega)

    @property
    def num_batches(self) -> int:
        """Batches in an epoch."""
        return math.ceil(len(self.train) / self.config.batch_size)

    @cached_property
    def l2_strengths(self) -> tuple[float, float]:
        """The rho of the users and of the items: the mean L2 weight of a row over an epoch."""
        given, own = (self.config.l2_user, self.config.l2_item), self.config.l2_weight * self.num_batches
        user, item = (own if strength is None else strength for strength in given)
        return user, item

    def l2_users(self, degrees: np.ndarray) -> np.ndarray:
        """Return rho_u of users with `degrees` (U,), proportional to d_u^nu with mean rho over the train users: (U,) float32."""
        return _by_degree(self.l2_strengths[0], self.config.l2_user_exponent, degrees, self.l2_user_scale)

    @cached_property
    def l2_user_scale(self) -> float:
        """The mean of d_u^nu over the train users."""
        return _mean_power(self.config.l2_user_exponent, self.train.user_degrees)

    def l2_items(self) -> np.ndarray:
        """Return rho_i, proportional to d_i^nu with mean rho: (I,) float32."""
        degrees = self.train.item_degrees
        exponent = self.config.l2_item_exponent
        return _by_degree(self.l2_strengths[1], exponent, degrees, _mean_power(exponent, degrees))

    def l2_loss(self, user_embedding: np.ndarray, item_embedding: np.ndarray) -> float:
        """Return sum_u rho_u / 2 ||e_u||^2 + sum_i rho_i / 2 ||e_i||^2."""
        tables = ((self.l2_users(self.train.user_degrees), user_embedding), (self.l2_items(), item_embedding))
        return float(sum(0.5 * strength @ np.einsum("rd,rd->r", rows, rows, dtype=np.float64) for strength, rows in tables))

    def with_l2(self, config: Config) -> "Objective":
        """Return the objective under a `config` that differs in L2 alone: what is known of train stays."""
        other = Objective(self.train, config.resolved())
        vars(other).update({name: value for name, value in vars(self).items() if name in ("beta", "neighbors", "train_positives")})
        return other

    def positives(self, matrix: sp.csr_matrix) -> tuple[sp.csr_matrix, np.ndarray]:
        """Return P, and where the users' own pairs stand among its entries.

        Parameters
        ----------
        matrix : csr_matrix, U x I
            Which users, by their N items. Items' weights are train's.

        Returns
        -------
        positives : csr_matrix, U x I, float32
            Entries for a user's items, also where they have no weight, and for their neighbours.
        places : (N,) int64
        """
        degrees = np.diff(matrix.indptr)
        own = positive_weight(self.config, np.repeat(user_weights(degrees), degrees), self.beta.item[matrix.indices])
        weight = np.float32(self.config.item_item_weight)
        indptr, indices, data, places = kernels.positive_rows(
            matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32, copy=False), own.astype(np.float32), *self.neighbors, weight
        )
        positives = sp.csr_matrix((data, indices, indptr), matrix.shape)
        positives.has_canonical_format = True
        return positives, places

    @cached_property
    def train_positives(self) -> tuple[sp.csr_matrix, np.ndarray]:
        """P of the train users, and where the train pairs stand among its entries."""
        return self.positives(self.train.matrix)

    def positive_matrix(self) -> sp.csr_matrix:
        """Return P of the train users alone."""
        return self.train_positives[0]

    def negative_rows(self, degrees: np.ndarray) -> np.ndarray:
        """Return the first factor of N, N_uj = row_u . column_j, for users with `degrees` (U,): (U, 2) float32.

        The positives are not excluded in it.
        """
        config, d_u = self.config, degrees.astype(np.float64)
        candidates = np.full_like(d_u, self.train.num_items)
        if config.exclude_positives:
            candidates -= d_u
        share = np.divide(config.negative_weight * d_u, candidates, out=np.zeros_like(d_u), where=candidates > 0)
        return np.stack((config.w3 * share, config.w4 * share * user_weights(degrees)), axis=1).astype(np.float32)

    def negative_columns(self) -> np.ndarray:
        """Return the second factor of N: (I, 2) float32."""
        return np.stack((np.ones_like(self.beta.item), self.beta.item), axis=1)


def _mean_power(exponent: float, degrees: np.ndarray) -> float:
    """Return the mean of degrees^exponent; a degree of 0 counts as 1."""
    return float((np.maximum(degrees, 1) ** np.float64(exponent)).mean())


def _by_degree(strength: float, exponent: float, degrees: np.ndarray, scale: float) -> np.ndarray:
    """Return `strength` scaled by degrees^exponent / scale; a degree of 0 counts as 1."""
    result: np.ndarray = (strength * np.maximum(degrees, 1) ** np.float64(exponent) / scale).astype(np.float32)
    return result


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
        As in `weights.py`, of the same kind as the following.
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
