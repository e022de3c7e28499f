"""The slow twins: every kernel once more in plain NumPy and float64, written to be read beside the formulas.

Letters: U users, I items, D dimensions, B rows of a block, C columns (items looked at for a row), K list length or neighbours.
"""

from typing import NamedTuple

import numpy as np


class BatchLoss(NamedTuple):
    """What `batch_loss` returns."""

    columns: np.ndarray  # (C,) loss summed over the batch, by column
    user_gradient: np.ndarray  # (U, D)
    item_gradient: np.ndarray  # (I, D)


def softplus(x):
    """log(1 + exp x) = -log sigmoid(-x), without overflow or underflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def sigmoid(x):
    """1 / (1 + exp -x), without overflow."""
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def batch_loss(user_embedding, item_embedding, users, columns, weights, num_positive):
    """Return the weighted logistic loss of a batch and its gradients.

    loss = sum_b sum_c weights[b, c] * softplus(-+ e_users[b] . e_columns[b, c]), minus for the first `num_positive` columns,
    which should score high, plus for the others.

    Parameters
    ----------
    user_embedding : (U, D)
    item_embedding : (I, D)
    users : (B,) int64
    columns : (B, C) int64
        Items looked at for each row of the batch.
    weights : (B, C), >= 0
    num_positive : int

    Returns
    -------
    BatchLoss
    """
    user_embedding, item_embedding = np.asarray(user_embedding, np.float64), np.asarray(item_embedding, np.float64)
    sign = np.where(np.arange(columns.shape[1]) < num_positive, -1.0, 1.0)
    scores = np.einsum("bd,bcd->bc", user_embedding[users], item_embedding[columns])
    loss = weights * softplus(sign * scores)
    slope = weights * sign * sigmoid(sign * scores)
    user_gradient, item_gradient = np.zeros_like(user_embedding), np.zeros_like(item_embedding)
    np.add.at(user_gradient, users, np.einsum("bc,bcd->bd", slope, item_embedding[columns]))
    np.add.at(item_gradient, columns, slope[:, :, None] * user_embedding[users][:, None, :])
    return BatchLoss(loss.sum(axis=0), user_gradient, item_gradient)


def draw_negatives(ranks, users, indptr, indices):
    """Return the items that are not among a user's own, by rank: negatives[b, r] = the ranks[b, r]-th item (from 0) user b lacks.

    Uniform ranks below I - d_u give uniform negatives without a rejected draw.

    Parameters
    ----------
    ranks : (B, R) int64
        Below I - d_u; an item that does not exist (the user has them all) is marked by a rank of -1 and stays -1.
    users : (B,) int64
    indptr, indices : CSR rows of the users' items, ascending

    Returns
    -------
    (B, R) int64
    """
    num_items = int(max(indices.max(initial=0), ranks.max(initial=0))) + len(indices) + 1
    negatives = np.full(ranks.shape, -1, dtype=np.int64)
    for b, user in enumerate(users):
        lacking = np.setdiff1d(np.arange(num_items), indices[indptr[user] : indptr[user + 1]])
        exists = ranks[b] >= 0
        negatives[b, exists] = lacking[ranks[b, exists]]
    return negatives


def mask_seen(scores, users, indptr, indices):
    """Set scores[b, j] = -inf, in place, for every item j of user users[b]."""
    for b, user in enumerate(users):
        scores[b, indices[indptr[user] : indptr[user + 1]]] = -np.inf


def top_k(scores, k):
    """Return columns and values of the k largest scores of each row, by (higher score, lower column); -1 and -inf where none."""
    scores = np.where(np.isnan(scores), -np.inf, np.asarray(scores, np.float64))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    values = np.take_along_axis(scores, order, axis=1)
    order = np.where(values == -np.inf, -1, order)
    missing = ((0, 0), (0, k - order.shape[1]))
    return np.pad(order, missing, constant_values=-1), np.pad(values, missing, constant_values=-np.inf)


def find_hits(ranking, users, indptr, indices):
    """Return hits[b, n] = whether ranking[b, n] is among the items of user users[b]."""
    return np.array([np.isin(ranking[b], indices[indptr[user] : indptr[user + 1]]) for b, user in enumerate(users)])


def item_neighbors(user_indptr, user_items, item_indptr, item_users, g, k, keep_diagonal):
    """Return the k neighbours of largest omega of each item and their weights, from the dense G = A^T A."""
    num_users, num_items = len(user_indptr) - 1, len(g)
    a = np.zeros((num_users, num_items))
    for u in range(num_users):
        a[u, user_items[user_indptr[u] : user_indptr[u + 1]]] = 1
    co_occurrence = a.T @ a
    g = np.asarray(g, np.float64)
    items = np.tile(np.arange(num_items)[:, None], (1, k))
    weights = np.zeros((num_items, k))
    for i in range(num_items):
        row = co_occurrence[i]
        candidates = np.flatnonzero(row)
        if keep_diagonal:
            omega = row[candidates] * (np.sqrt(g[i] + 1) / max(g[i], 1)) / np.sqrt(g[candidates] + 1)
        else:
            candidates = candidates[candidates != i]
            omega = row[candidates] / max(g[i] - row[i], 1) * np.sqrt(g[i] / g[candidates])
        order = np.lexsort((candidates, -omega))[:k]
        items[i, : len(order)] = candidates[order]
        weights[i, : len(order)] = omega[order]
    return items, weights
