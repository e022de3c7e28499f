"""Kernels in Numba: parallel over rows, compiled on first use and cached on disk. Twins of the same names in `reference`.

Letters: U users, I items, B rows of a block, K list length or neighbours.
"""

import time

import numpy as np
from numba import njit, prange

# Scores looked at together when searching for one above the list's last: long enough to vectorise, short enough to skip.
_STRIP = 128
# Pieces the items are dealt into for `item_neighbors`: enough to keep any number of threads busy until the end.
_CHUNKS = 64


@njit(parallel=True, cache=True)
def mask_seen(scores, users, indptr, indices):
    """Set scores[b, j] = -inf for every item j of user users[b].

    Parameters
    ----------
    scores : (B, I) float32, changed in place
    users : (B,) int64
        Rows of the seen matrix.
    indptr, indices : CSR rows of what each user has seen
    """
    for b in prange(len(users)):
        for position in range(indptr[users[b]], indptr[users[b] + 1]):
            scores[b, indices[position]] = -np.inf


@njit(parallel=True, cache=True)
def top_k(scores, k):
    """Return the k largest scores of each row and their columns, by (higher score, lower column).

    Parameters
    ----------
    scores : (B, I) float32
        Entries of -inf and NaN are no candidates.
    k : int

    Returns
    -------
    columns : (B, k) int32
        -1 where a row has fewer than k candidates.
    values : (B, k) float32
        -inf there.
    """
    num_rows, num_columns = scores.shape
    columns = np.full((num_rows, k), -1, dtype=np.int32)
    values = np.full((num_rows, k), -np.inf, dtype=np.float32)
    for b in prange(num_rows):
        row = scores[b]
        best = values[b]
        where = columns[b]
        last = best[k - 1]
        for start in range(0, num_columns, _STRIP):
            end = min(start + _STRIP, num_columns)
            above = 0
            for j in range(start, end):
                above += row[j] > last
            if above == 0:
                continue
            for j in range(start, end):
                score = row[j]
                if score > last:
                    # Equal scores stay behind those already listed, whose column is lower.
                    place = k - 1
                    while place > 0 and best[place - 1] < score:
                        best[place] = best[place - 1]
                        where[place] = where[place - 1]
                        place -= 1
                    best[place] = score
                    where[place] = j
                    last = best[k - 1]
    return columns, values


@njit(parallel=True, cache=True)
def find_hits(ranking, users, indptr, indices):
    """Return which listed items are relevant: hits[b, n] = ranking[b, n] is among the items of user users[b].

    Parameters
    ----------
    ranking : (B, K) int32
        -1 marks an empty place, never a hit.
    users : (B,) int64
    indptr, indices : CSR rows of the relevant items, ascending within a row

    Returns
    -------
    (B, K) bool
    """
    hits = np.zeros(ranking.shape, dtype=np.bool_)
    for b in prange(len(users)):
        start, end = indptr[users[b]], indptr[users[b] + 1]
        for n in range(ranking.shape[1]):
            low, high = start, end
            while low < high:
                middle = (low + high) // 2
                if indices[middle] < ranking[b, n]:
                    low = middle + 1
                else:
                    high = middle
            hits[b, n] = low < end and indices[low] == ranking[b, n]
    return hits


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


def compile_kernels() -> float:
    """Compile every kernel, or load it from the cache on disk, by running it on a tiny input; return the seconds it took."""
    started = time.perf_counter()
    indptr, indices = np.array([0, 1], dtype=np.int64), np.zeros(1, dtype=np.int32)
    users, scores = np.zeros(1, dtype=np.int64), np.zeros((1, 1), dtype=np.float32)
    mask_seen(scores, users, indptr, indices)
    ranking, _ = top_k(scores, 1)
    find_hits(ranking, users, indptr, indices)
    item_neighbors(indptr, indices, indptr, indices, np.ones(1, dtype=np.int64), 1, True)
    return time.perf_counter() - started
