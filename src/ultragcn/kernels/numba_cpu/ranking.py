"""Ranking: leaving out seen items, the best of each row, which of them are relevant, what metrics need of that.

Letters: U users, I items, B rows of a block, K list length, Q lists.
"""

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401 - the BLAS that Numba calls
from numba import njit, prange

from ultragcn.kernels.numba_cpu.search import first_at_least
from ultragcn.kernels.numba_cpu.vectors import prefer_wide_vectors

# Scores looked at together when searching for one above the list's last: long enough to vectorise, short enough to skip.
_STRIP = 64
# Candidates kept besides the list: as many near-equal scores may change places when they are made again in double precision.
_SPARE = 6


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


@njit(inline="always")
def _insert(row, low, high, offset, best, where):
    """Put row[low:high] into the sorted list `best` wherever it is above the list's last; column j is called offset + j."""
    last = best[-1]
    above = np.int32(0)
    for j in range(low, high):
        above += np.int32(row[j] > last)
    if above == 0:
        return
    for j in range(low, high):
        score = row[j]
        if score > last:
            # Equal scores stay behind those already listed, whose column is lower.
            place = len(best) - 1
            while place > 0 and best[place - 1] < score:
                best[place] = best[place - 1]
                where[place] = where[place - 1]
                place -= 1
            best[place] = score
            where[place] = offset + j
            last = best[-1]


@njit(cache=True)
def _empty_lists(num_rows, k):
    """Return items, (B, k) int32, and scores, (B, k) float32, of no candidates; here, because a parallel function would fill them in
    pieces, dealt out one by one (`numba_threads`).
    """
    return np.full((num_rows, k), -1, dtype=np.int32), np.full((num_rows, k), -np.inf, dtype=np.float32)


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
    columns, values = _empty_lists(num_rows, k)
    for b in prange(num_rows):
        row = scores[b]
        best = values[b]
        where = columns[b]
        for start in range(0, num_columns, _STRIP):
            _insert(row, start, min(start + _STRIP, num_columns), 0, best, where)
    return columns, values


@njit(cache=True)
def _best_again(user, item_embedding, graph, scale, candidates, best, where):
    """Put the candidates (-1 ends them) into the list `best`, `where` by (higher score, lower item), scores in double precision."""
    for item in candidates:
        if item < 0:
            return
        total = 0.0
        for d in range(len(user)):
            total += np.float64(user[d]) * np.float64(item_embedding[item, d])
        if scale != 0:
            total += scale * graph[item]
        score = np.float32(total)
        place = len(best)
        while place > 0 and (best[place - 1] < score or (best[place - 1] == score and where[place - 1] > item)):
            place -= 1
        if place < len(best) and score > -np.inf:
            for n in range(len(best) - 1, place, -1):
                best[n], where[n] = best[n - 1], where[n - 1]
            best[place], where[place] = score, item


@njit(cache=True)
def _graph_scores(owned, indptr, indices, weights, scores):
    """Set scores[j] = sum of w_ij over the items i in `owned`, (I,) float32."""
    scores[:] = 0.0
    for i in owned:
        for place in range(indptr[i], indptr[i + 1]):
            scores[indices[place]] += weights[place]


@njit(parallel=True, cache=True)
def rank_users(user_embedding, item_embedding, users, k, seen_indptr, seen_indices, term, block, tile):
    """Return the k items of highest score of each user, seen ones left out, by (higher score, lower item).

    The score is s_ui = e_u . e_i + scale g_ui, with g_ui = sum of w_ji over the items j that u owns where there is a graph.

    Scores are made and looked at tile by tile, so they never leave the processor's cache. Their last digits depend on the shapes of
    the tiles, so those of the list are made again, in double precision: a user's list is the same alone and among others.

    Parameters
    ----------
    user_embedding, item_embedding : (U, D) and (I, D) float32
    users : (B,) int64
        Rows of users.
    k : int
    seen_indptr, seen_indices : CSR rows of what each user has seen, ascending
    term : tuple
        Of the graph's term: CSR rows of what each user owns (indptr, indices), CSR rows of w (indptr, indices, (N,) float32), and the
        scale, 0 without a graph.
    block, tile : int
        Users and items of a tile.

    Returns
    -------
    items : (B, k) int32
        -1 where there are fewer than k candidates.
    scores : (B, k) float32
        -inf there.
    """
    owned_indptr, owned_indices, graph_indptr, graph_indices, graph_weights, scale = term
    num_items, size = item_embedding.shape
    num_blocks = (len(users) + block - 1) // block
    items, best_scores = _empty_lists(len(users), k)
    factor = np.float32(scale)
    for b in prange(num_blocks):
        prefer_wide_vectors()
        first = b * block
        count = min(block, len(users) - first)
        rows = np.empty((count, size), np.float32)
        seen = np.empty(count, np.int64)
        buffer = np.empty(count * tile, np.float32)
        candidates = np.full((count, k + _SPARE), -1, dtype=np.int32)
        values = np.full((count, k + _SPARE), -np.inf, dtype=np.float32)
        graph = np.empty((count, num_items if scale != 0 else 0), np.float32)
        for i in range(count):
            user = users[first + i]
            rows[i] = user_embedding[user]
            seen[i] = seen_indptr[user]
            if scale != 0:
                owned = owned_indices[owned_indptr[user] : owned_indptr[user + 1]]
                _graph_scores(owned, graph_indptr, graph_indices, graph_weights, graph[i])
        for start in range(0, num_items, tile):
            width = min(tile, num_items - start)
            scores = buffer[: count * width].reshape(count, width)
            np.dot(rows, item_embedding[start : start + width].T, scores)
            for i in range(count):
                row = scores[i]
                if scale != 0:
                    for j in range(width):
                        row[j] += factor * graph[i, start + j]
                position, end = seen[i], seen_indptr[users[first + i] + 1]
                while position < end and seen_indices[position] < start + width:
                    row[seen_indices[position] - start] = -np.inf
                    position += 1
                seen[i] = position
                for low in range(0, width, _STRIP):
                    _insert(row, low, min(low + _STRIP, width), start, values[i], candidates[i])
        for i in range(count):
            _best_again(rows[i], item_embedding, graph[i], scale, candidates[i], best_scores[first + i], items[first + i])
    return items, best_scores


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
            place = first_at_least(indices, start, end, ranking[b, n])
            hits[b, n] = place < end and indices[place] == ranking[b, n]
    return hits


@njit(parallel=True, cache=True)
def list_statistics(hits, lengths):
    """Return what every metric needs of each list cut at each length, in one pass over the places.

    h_n hits in the first n places, r_n = 1 when place n is a hit.

    Parameters
    ----------
    hits : (Q, N) bool
    lengths : (C,) int64, ascending, at most N

    Returns
    -------
    (5, C, Q) float64
        h_K; sum_n r_n / log2(n + 1); sum_n r_n h_n / n; sum_n h_n / n; 1 / place of the first hit, 0 when there is none.
    """
    num_lists, num_places = hits.shape
    discounts = 1 / np.log2(np.arange(2, num_places + 2))
    statistics = np.zeros((5, len(lengths), num_lists))
    for q in prange(num_lists):
        count, gain, at_hits, at_places, first, done = 0, 0.0, 0.0, 0.0, 0.0, 0
        for c in range(len(lengths)):
            for n in range(done, lengths[c]):
                if hits[q, n]:
                    count += 1
                    gain += discounts[n]
                    at_hits += count / (n + 1)
                    if count == 1:
                        first = 1 / (n + 1)
                at_places += count / (n + 1)
            done = lengths[c]
            statistics[0, c, q] = count
            statistics[1, c, q] = gain
            statistics[2, c, q] = at_hits
            statistics[3, c, q] = at_places
            statistics[4, c, q] = first
    return statistics
