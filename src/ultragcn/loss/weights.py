"""The graph weights of UltraGCN: beta of a user-item pair and omega of an item-item pair (paper, eq. 8 and 16).

Letters: A the U x I binary train matrix, d_u and d_i its row and column sums, G = A^T A, g_i the row sums of G.
No U x I and no I x I array is ever made.
"""

from typing import NamedTuple

import numpy as np

from ultragcn import kernels
from ultragcn.data.interactions import Interactions
from ultragcn.errors import unknown_name

OMEGAS = ("authors", "paper")


class DegreeWeights(NamedTuple):
    """beta_ui = user[u] * item[i] = sqrt(d_u + 1) / d_u * 1 / sqrt(d_i + 1) (paper, eq. 8)."""

    user: np.ndarray  # (U,) float32
    item: np.ndarray  # (I,) float32


class ItemNeighbors(NamedTuple):
    """The K neighbours S(i) of largest omega_ij of each item, by (larger omega, lower index)."""

    items: np.ndarray  # (I, K) int32; an item with fewer than K neighbours is filled up with itself at weight 0
    weights: np.ndarray  # (I, K) float32, omega_ij


def degree_weights(train: Interactions) -> DegreeWeights:
    """Return beta as its two factors.

    A user without train items has factor 0 (the authors' code gives infinity there): it takes no part in the loss.
    """
    item = 1 / np.sqrt(train.item_degrees.astype(np.float64) + 1)
    return DegreeWeights(user_weights(train.user_degrees), item.astype(np.float32))


def user_weights(degrees: np.ndarray) -> np.ndarray:
    """Return the user factor of beta, sqrt(d_u + 1) / d_u, of users with `degrees` (U,): (U,) float32; 0 at degree 0."""
    d_u = degrees.astype(np.float64)
    return np.divide(np.sqrt(d_u + 1), d_u, out=np.zeros_like(d_u), where=d_u > 0).astype(np.float32)


def cooccurrence_degrees(train: Interactions) -> np.ndarray:
    """Return g_i = sum_k G_ik = sum over the users u of item i of d_u: (I,) int64, without making G."""
    users, items = train.pairs
    return np.bincount(items, weights=train.user_degrees[users], minlength=train.num_items).astype(np.int64)


def item_neighbors(train: Interactions, num_neighbors: int, omega: str = "authors") -> ItemNeighbors:
    """Return each item's strongest neighbours in the co-occurrence graph.

    Parameters
    ----------
    train : Interactions
        N pairs over I items.
    num_neighbors : int
        K >= 0.
    omega : {"authors", "paper"}
        `paper` is eq. 16, omega_ij = G_ij / (g_i - G_ii) * sqrt(g_i / g_j), an item never its own neighbour.
        `authors` is their code, omega_ij = G_ij * (sqrt(g_i + 1) / g_i) / sqrt(g_j + 1), the diagonal kept: an item is normally
        its own first neighbour.

    Notes
    -----
    Row i of G is the sum of the rows of A of the users who have i, so time is sum_u d_u^2 and memory one row of G per thread.
    """
    if omega not in OMEGAS:
        raise unknown_name("omega", omega, OMEGAS)
    # The transpose of A, stored by rows: the users of each item.
    by_item = train.matrix.T.tocsr()
    items, weights = kernels.item_neighbors(
        train.matrix.indptr.astype(np.int64),
        train.matrix.indices,
        by_item.indptr.astype(np.int64),
        by_item.indices.astype(np.int32),
        cooccurrence_degrees(train),
        num_neighbors,
        omega == "authors",
    )
    return ItemNeighbors(items, weights)
