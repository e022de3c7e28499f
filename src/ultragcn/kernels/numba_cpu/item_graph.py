"""The item graph: co-occurrence counts row by row, and the strongest neighbours of each item.

Letters: I items, K neighbours, A the user x item train matrix, G = A^T A.
"""

import numpy as np
from numba import njit, prange

# Pieces the items are dealt into: enough to keep any number of threads busy until the end.
_CHUNKS = 64


@njit(parallel=True, cache=True)
def item_neighbors(user_indptr, user_items, item_indptr, item_users, g, k, keep_diagonal):
    """Return the k neighbours of largest omega of each item, by (larger omega, lower index).

    G_ij counts the users who have both i and j. With `keep_diagonal` (the authors' code)
    omega_ij = G_ij * (sqrt(g_i + 1) / g_i) / sqrt(g_j + 1); without (paper, eq. 16)
    omega_ij = G_ij / (g_i - G_ii) * sqrt(g_i / g_j) for j != i.

    Parameters
    ----------
    user_indptr, user_items : CSR rows of A
    item_indptr, item_users : CSR rows of A^T
    g : (I,) int64
        Row sums of G.
    k : int
    keep_diagonal : bool

    Returns
    -------
    items : (I, k) int32
        The item itself where there are fewer than k neighbours.
    weights : (I, k) float32
        omega_ij; 0 there.
    """
    num_items = len(g)
    items = np.empty((num_items, k), dtype=np.int32)
    weights = np.zeros((num_items, k), dtype=np.float32)
    num_chunks = min(num_items, _CHUNKS)
    for chunk in prange(num_chunks):
        # One row of G at a time: counts by item, and which items were counted.
        counts = np.zeros(num_items, dtype=np.int32)
        touched = np.empty(num_items, dtype=np.int32)
        best = np.empty(k, dtype=np.float64)
        for i in range(chunk, num_items, num_chunks):
            num_touched = 0
            for position in range(item_indptr[i], item_indptr[i + 1]):
                u = item_users[position]
                for other in range(user_indptr[u], user_indptr[u + 1]):
                    j = user_items[other]
                    if counts[j] == 0:
                        touched[num_touched] = j
                        num_touched += 1
                    counts[j] += 1
            filled = 0
            others = g[i] - counts[i]
            for n in range(num_touched):
                j = touched[n]
                if keep_diagonal:
                    omega = counts[j] * (np.sqrt(g[i] + 1.0) / g[i]) / np.sqrt(g[j] + 1.0)
                elif j != i and others > 0:
                    omega = counts[j] / others * np.sqrt(g[i] / g[j])
                else:
                    omega = -1.0
                counts[j] = 0
                if omega < 0:
                    continue
                # Insert by (larger omega, lower index) into the sorted list.
                place = min(filled, k)
                while place > 0 and (best[place - 1] < omega or (best[place - 1] == omega and items[i, place - 1] > j)):
                    if place < k:
                        best[place] = best[place - 1]
                        items[i, place] = items[i, place - 1]
                    place -= 1
                if place < k:
                    best[place] = omega
                    items[i, place] = j
                    filled = min(filled + 1, k)
            for place in range(filled):
                weights[i, place] = best[place]
            for place in range(filled, k):
                items[i, place] = i
    return items, weights
