"""The item graph: co-occurrence counts row by row, the strongest neighbours of each item, and what users have with their neighbours.

Letters: I items, K neighbours, A the user x item train matrix of N pairs, G = A^T A.
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
    root = np.sqrt(g + 1.0)
    num_chunks = min(num_items, _CHUNKS)
    for chunk in prange(num_chunks):
        # One row of G at a time: counts by item, and which items were counted.
        counts = np.zeros(num_items, dtype=np.int32)
        touched = np.empty(num_items + 1, dtype=np.int32)
        best = np.empty(k, dtype=np.float64)
        for i in range(chunk, num_items, num_chunks):
            num_touched = 0
            for position in range(item_indptr[i], item_indptr[i + 1]):
                u = item_users[position]
                for other in range(user_indptr[u], user_indptr[u + 1]):
                    j = user_items[other]
                    touched[num_touched] = j  # kept where it is the first of its kind: a branch would be guessed wrong too often
                    num_touched += counts[j] == 0
                    counts[j] += 1
            filled = 0
            others = g[i] - counts[i]
            for n in range(num_touched):
                j = touched[n]
                if keep_diagonal:
                    omega = counts[j] * (root[i] / g[i]) / root[j]
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


@njit(parallel=True, cache=True)
def positive_rows(indptr, indices, own, neighbors, neighbor_weights, weight):
    """Return the rows of P = own + weight * A Omega by CSR, and where the pairs of A stand in it.

    Parameters
    ----------
    indptr, indices : CSR rows of A, ascending
    own : (N,) float32
        A weight for each pair of A.
    neighbors : (I, K) int32
    neighbor_weights : (I, K) float32
        Omega; entries of 0 are left out.
    weight : float32

    Returns
    -------
    indptr : (U + 1,) int64
    columns : (P,) int32
        Ascending in each row.
    values : (P,) float32
    places : (N,) int64
        Of each pair of A among the P entries; a pair is there also where its value is 0.
    """
    num_rows, num_items = len(indptr) - 1, len(neighbors)
    num_chunks = max(1, min(num_rows, _CHUNKS))
    lengths = np.empty(num_rows + 1, np.int64)
    lengths[0] = 0
    for chunk in prange(num_chunks):
        met = np.full(num_items, -1, np.int32)  # the row that an item was last met in
        for row in range(chunk, num_rows, num_chunks):
            lengths[row + 1] = 0
            for p in range(indptr[row], indptr[row + 1]):
                lengths[row + 1] += _meet(met, row, indices[p])
                for k in range(neighbors.shape[1]):
                    if neighbor_weights[indices[p], k] != 0:
                        lengths[row + 1] += _meet(met, row, neighbors[indices[p], k])
    for row in range(num_rows):
        lengths[row + 1] += lengths[row]
    columns, values = np.empty(lengths[-1], np.int32), np.empty(lengths[-1], np.float32)
    places = np.empty(len(indices), np.int64)
    for chunk in prange(num_chunks):
        met = np.full(num_items, -1, np.int32)
        sums = np.empty(num_items, np.float32)
        for row in range(chunk, num_rows, num_chunks):
            columns_of_row = columns[lengths[row] : lengths[row + 1]]
            count = 0
            for p in range(indptr[row], indptr[row + 1]):
                item = indices[p]
                if _meet(met, row, item):
                    columns_of_row[count] = item
                    sums[item] = 0
                    count += 1
                for k in range(neighbors.shape[1]):
                    other, omega = neighbors[item, k], neighbor_weights[item, k]
                    if omega != 0:
                        if _meet(met, row, other):
                            columns_of_row[count] = other
                            sums[other] = 0
                            count += 1
                        sums[other] += omega
            columns_of_row.sort()
            p = indptr[row]
            for n in range(count):
                item = columns_of_row[n]
                value = weight * sums[item]
                if p < indptr[row + 1] and indices[p] == item:
                    value += own[p]
                    places[p] = lengths[row] + n
                    p += 1
                values[lengths[row] + n] = value
    return lengths, columns, values, places


@njit(cache=True)
def _meet(met, row, item):
    """Note that `item` was met in `row`; return 1 if it is the first time, else 0."""
    if met[item] == row:
        return 0
    met[item] = row
    return 1
