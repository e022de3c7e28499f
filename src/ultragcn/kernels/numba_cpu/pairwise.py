"""Stochastic gradient descent on pairs of items: one epoch of BPR.

Letters: U users, I items, D dimensions, T triples (a user, an item they have, one they lack).
"""

import numpy as np

from ultragcn.kernels.numba_cpu.compiling import fast_kernel
from ultragcn.kernels.numba_cpu.search import first_at_least
from ultragcn.kernels.numba_cpu.vectors import ONE, ZERO, prefer_wide_vectors


@fast_kernel
def bpr_epoch(user_embedding, item_embedding, triples, indptr, indices, learning_rate, l2):
    """Take a gradient step on softplus(s_uj - s_ui) + l2 / 2 (||e_u||^2 + ||e_i||^2 + ||e_j||^2) for each triple (u, i, j), in order.

    One thread: the order of the steps, and with it the result, is that of the triples. A triple whose j is among the user's own items is
    skipped.

    Parameters
    ----------
    user_embedding, item_embedding : (U, D) and (I, D) float32, changed in place
    triples : Triples
    indptr, indices : CSR rows of the users' items, ascending
    learning_rate, l2 : float32

    Returns
    -------
    int
        Triples that were not skipped.
    """
    prefer_wide_vectors()
    users, positives, negatives = triples
    taken = 0
    for n in range(len(users)):
        u, i, j = users[n], positives[n], negatives[n]
        end = indptr[u + 1]
        place = first_at_least(indices, indptr[u], end, j)
        if place < end and indices[place] == j:
            continue
        taken += 1
        user, positive, negative = user_embedding[u], item_embedding[i], item_embedding[j]
        margin = ZERO
        for d in range(len(user)):
            margin += user[d] * (positive[d] - negative[d])
        slope = ONE / (ONE + np.exp(margin))
        for d in range(len(user)):
            x, y, z = user[d], positive[d], negative[d]
            user[d] = x + learning_rate * (slope * (y - z) - l2 * x)
            positive[d] = y + learning_rate * (slope * x - l2 * y)
            negative[d] = z - learning_rate * (slope * x + l2 * z)
    return taken
