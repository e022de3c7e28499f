"""The co-occurrence graph: counts row by row, the strongest neighbours of each item, and what users have with their neighbours.

Letters: I items, K neighbours, A the user x item train matrix of N pairs, G = A^T A.
"""

import numpy as np

from ultragcn.kernels.numba_cpu.compiling import inlined, kernel
from ultragcn.kernels.numba_cpu.search import sort
from ultragcn.kernels.numba_cpu.threads import share_out, take_next

# Pieces the rows are dealt into: enough to keep any number of threads busy until the end.
_PIECES = 64


def cooccurrences(items, item_indptr, item_users, user_indptr, user_items, num_items):
    """Return how many users have each item of some, and each of all items: rows of G.

    Parameters
    ----------
    items : (B,) int64
    item_indptr, item_users : CSR rows of A^T
    user_indptr, user_items : CSR rows of A
    num_items : int

    Returns
    -------
    (B, I) float32
    """
    counts = np.zeros((len(items), num_items), np.float32)
    share_out(len(items), lambda counter: _count_rows(counter, items, (item_indptr, item_users), (user_indptr, user_items), counts))
    return counts


@kernel
def _count_rows(counter, items, users_of_items, items_of_users, counts):
    """Count for item after item, as long as the counter has any."""
    item_indptr, item_users = users_of_items
    user_indptr, user_items = items_of_users
    while True:
        b = take_next(counter)
        if b >= len(items):
            break
        for position in range(item_indptr[items[b]], item_indptr[items[b] + 1]):
            u = item_users[position]
            for other in range(user_indptr[u], user_indptr[u + 1]):
                counts[b, user_items[other]] += np.float32(1)


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
    items, weights = np.empty((num_items, k), np.int32), np.zeros((num_items, k), np.float32)
    root = np.sqrt(g + 1.0)
    pieces = min(num_items, _PIECES)

    def run(counter):
        # One row of G at a time: counts by item, which items were counted, and the largest omegas.
        work = (np.zeros(num_items, np.int32), np.empty(num_items + 1, np.int32), np.empty(k, np.float64))
        _strongest(counter, pieces, (user_indptr, user_items), (item_indptr, item_users), (g, root), keep_diagonal, (items, weights), work)

    share_out(pieces, run)
    return items, weights


@kernel
def _strongest(counter, pieces, users, items_of_users, strength, keep_diagonal, neighbors, work):
    """Write the neighbours of the items of piece after piece, as long as the counter has any."""
    user_indptr, user_items = users
    item_indptr, item_users = items_of_users
    g, root = strength
    items, weights = neighbors
    counts, touched, best = work
    num_items, k = items.shape
    while True:
        piece = take_next(counter)
        if piece >= pieces:
            break
        for i in range(piece, num_items, pieces):
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
    pieces = min(num_rows, _PIECES)
    rows, omega = (indptr, indices), (neighbors, neighbor_weights)
    starts = np.zeros(num_rows + 1, np.int64)

    def count(counter):
        _count_positives(counter, pieces, rows, omega, starts, np.full(num_items, -1, np.int32))

    share_out(pieces, count)
    np.cumsum(starts, out=starts)
    columns, values = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.float32)
    places = np.empty(len(indices), np.int64)

    def write(counter):
        work = (np.full(num_items, -1, np.int32), np.empty(num_items, np.float32))
        _write_positives(counter, pieces, rows, omega, (own, weight), (starts, columns, values, places), work)

    share_out(pieces, write)
    return starts, columns, values, places


@kernel
def _count_positives(counter, pieces, rows, omega, lengths, met):
    """Write how many entries each row of P has, one place on, for the rows of piece after piece. `met`: the row an item was last met in."""
    indptr, indices = rows
    neighbors, neighbor_weights = omega
    while True:
        piece = take_next(counter)
        if piece >= pieces:
            break
        for row in range(piece, len(indptr) - 1, pieces):
            length = 0
            for p in range(indptr[row], indptr[row + 1]):
                item = indices[p]
                length += _meet(met, row, item)
                for k in range(neighbors.shape[1]):
                    if neighbor_weights[item, k] != 0:
                        length += _meet(met, row, neighbors[item, k])
            lengths[row + 1] = length


@kernel
def _write_positives(counter, pieces, rows, omega, weights, positives, work):
    """Write columns, values and places of the rows of piece after piece."""
    indptr, indices = rows
    neighbors, neighbor_weights = omega
    own, weight = weights
    starts, columns, values, places = positives
    met, sums = work
    while True:
        piece = take_next(counter)
        if piece >= pieces:
            break
        for row in range(piece, len(indptr) - 1, pieces):
            start = starts[row]
            end = start
            for p in range(indptr[row], indptr[row + 1]):
                item = indices[p]
                if _meet(met, row, item):
                    columns[end] = item
                    sums[item] = 0
                    end += 1
                for k in range(neighbors.shape[1]):
                    other, strength = neighbors[item, k], neighbor_weights[item, k]
                    if strength != 0:
                        if _meet(met, row, other):
                            columns[end] = other
                            sums[other] = 0
                            end += 1
                        sums[other] += strength
            sort(columns, start, end)
            p = indptr[row]
            for n in range(start, end):
                item = columns[n]
                value = weight * sums[item]
                if p < indptr[row + 1] and indices[p] == item:
                    value += own[p]
                    places[p] = n
                    p += 1
                values[n] = value


@inlined
def _meet(met, row, item):
    """Note that `item` was met in `row`; return 1 if it is the first time, else 0."""
    first = met[item] != row
    met[item] = row
    return 1 if first else 0
