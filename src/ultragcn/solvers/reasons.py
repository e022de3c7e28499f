"""Reasons: how much each item that a user has adds to the product of the user's embedding and an item's.

The embedding x of a user minimises a sum of terms, one for each item that the user has, and terms that no single item brings (negatives
and L2). Near x that sum is a parabola with the Hessian H. Without the term of item i, whose gradient at x is -v_i and whose Hessian is
H_i, the parabola has its minimum at x - (H - H_i)^-1 v_i. So item i adds to the score of item j

    y_j . (H - H_i)^-1 v_i,

which is what the score would lose with the term of item i, the other terms staying as they are.

Letters: I items, D dimensions, n items of the user, M rows that a term is made of, J items whose scores are explained.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg

from ultragcn.loss.objective import positive_weight
from ultragcn.loss.weights import user_weights
from ultragcn.solvers.fold_in import FrozenItems

_RIDGE = 1e-9  # of the mean curvature, for directions in which neither items nor L2 hold the user
_TERMS = 512  # terms whose systems are solved together
_ROWS = 4096  # items whose curvature is added at a time: they stay near the processor


class Terms(NamedTuple):
    """Terms of a loss, one for each of a user's n items: each a sum over M rows of the other side, seen at the user's embedding."""

    rows: np.ndarray  # (n, M) int64, indices of the rows
    slope: np.ndarray  # (n, M) float64, v_i = sum_m slope_im y_m: how strongly a row pulls
    bend: np.ndarray  # (n, M) float64, H_i = sum_m bend_im y_m y_m^T


def additions(hessian: np.ndarray, y: np.ndarray, terms: Terms, targets: np.ndarray) -> np.ndarray:
    """Return what each term adds to the scores of the items `targets`, y_j . (H - H_i)^-1 v_i.

    Parameters
    ----------
    hessian : (D, D)
        H, that of all terms together.
    y : (I, D) float32
    terms : Terms
    targets : (J,) int
        Each of them is j.

    Returns
    -------
    (n, J) float64

    Notes
    -----
    With B the rows of a term, t = B H^-1 y_j and K = B H^-1 B^T, the sum is t . (1 - diag(bend) K)^-1 slope: a system of M unknowns.
    """
    size = len(hessian)
    whole = hessian + (_RIDGE * np.trace(hessian) / size + 1e-30) * np.eye(size)
    # H = L L^T; in the coordinates L^-1 y, the products above are plain ones.
    half = scipy.linalg.solve_triangular(np.linalg.cholesky(whole), np.eye(size), lower=True)
    wanted = [half @ y[target].astype(np.float64) for target in targets]
    result = np.empty((len(terms.rows), len(wanted)))
    for start in range(0, len(result), _TERMS):
        rows, slope, bend = (part[start : start + _TERMS] for part in terms)
        b = y[rows].astype(np.float64) @ half.T  # (n, M, D)
        system = np.eye(rows.shape[1]) - bend[:, :, None] * (b @ b.transpose(0, 2, 1))
        pulls = np.linalg.solve(system, slope[:, :, None])[:, :, 0]
        for place, direction in enumerate(wanted):
            result[start : start + _TERMS, place] = np.einsum("nm,nm->n", b @ direction, pulls)
    return result


def reasons(items: FrozenItems, x: np.ndarray, own: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return what each of a user's items adds to the products of the user's embedding and those of the items `targets`.

    An item's term is its share of P: its own weight, and those that the item-item term gives its neighbours.

    Parameters
    ----------
    items : FrozenItems
    x : (D,) float32
        The user's embedding.
    own : (n,) int
        Rows of the items that the user has.
    targets : (J,) int

    Returns
    -------
    (n, J) float64
    """
    objective, y = items.objective, items.embedding
    degrees = np.array([len(own)])
    scores = y @ x
    own_weight = positive_weight(objective.config, user_weights(degrees), objective.beta.item[own])
    neighbors, weights = objective.neighbors
    rows = np.column_stack([own, neighbors[own]]).astype(np.int64)
    weight = np.column_stack([own_weight, objective.config.item_item_weight * weights[own]]).astype(np.float64)
    likely = _sigmoid(scores[rows].astype(np.float64))
    terms = Terms(rows, weight * (1 - likely), weight * likely * (1 - likely))

    likely = _sigmoid(scores)
    bend = (items.weight @ objective.negative_rows(degrees)[0]) * likely * (1 - likely)
    if objective.config.exclude_positives:
        bend[own] = 0
    bend += np.bincount(rows.ravel(), terms.bend.ravel(), minlength=len(y)).astype(np.float32)
    return additions(_weighted_gram(y, bend) + float(objective.l2_users(degrees)[0]) * np.eye(len(x)), y, terms, targets)


def _weighted_gram(y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return sum_i weight_i y_i y_i^T of y (I, D) float32 and weights (I,) float32 of 0 or more: (D, D) float64."""
    total = np.zeros((y.shape[1], y.shape[1]))
    root = np.sqrt(weight)[:, None]
    for start in range(0, len(y), _ROWS):
        part = y[start : start + _ROWS] * root[start : start + _ROWS]
        total += part.T @ part
    return total


def _sigmoid(scores: np.ndarray) -> np.ndarray:
    result: np.ndarray = 0.5 * (1 + np.tanh(0.5 * scores))
    return result
