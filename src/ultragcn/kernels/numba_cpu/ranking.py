"""Ranking: leaving out seen items, the best of each row, which of them are relevant, what metrics need of that.

Letters: U users, I items, B rows of a block, K list length, Q lists.
"""

from typing import NamedTuple

import numpy as np

from ultragcn.kernels.numba_cpu.compiling import fast_inlined, inlined, kernel
from ultragcn.kernels.numba_cpu.search import first_at_least
from ultragcn.kernels.numba_cpu.threads import num_threads, share_out, take_next
from ultragcn.kernels.numba_cpu.vectors import ZERO, prefer_wide_vectors

# Scores looked at together when searching for one above the list's last: long enough to vectorise, short enough to skip.
_STRIP = 64
# Candidates kept besides the list: as many near-equal scores may change places when they are made again in double precision.
_SPARE = 6
# Rows that a thread takes at a time where each is little work.
_ROWS = 128
_PAIRS = 1024  # pairs that a thread scores at a time
FEW_USERS = 4
"""So many users at most are ranked one after the other by `rank_users`, without BLAS and without another thread.

For more of them, the products of matrices of BLAS are faster.
"""
_FEW_SCORES = 2**19
"""Of one user after the other. Where the items are many, their table is read from memory anew for each user: of a million items of 64
dimensions four users take 17 ms each so, and eight together 33 ms."""


def are_few(num_users, num_items):
    """Return whether `rank_users` ranks so many users one after the other."""
    return num_users <= 1 or (num_users <= FEW_USERS and num_users * num_items <= _FEW_SCORES)


def mask_seen(scores, users, indptr, indices):
    """Set scores[b, j] = -inf for every item j of user users[b].

    Parameters
    ----------
    scores : (B, I) float32, changed in place
    users : (B,) int64
        Rows of the seen matrix.
    indptr, indices : CSR rows of what each user has seen
    """
    share_out(-(-len(users) // _ROWS), lambda counter: _mask_rows(counter, scores, users, indptr, indices))


@kernel
def _mask_rows(counter, scores, users, indptr, indices):
    while True:
        first = take_next(counter) * _ROWS
        if first >= len(users):
            break
        for b in range(first, min(first + _ROWS, len(users))):
            for position in range(indptr[users[b]], indptr[users[b] + 1]):
                scores[b, indices[position]] = -np.inf


@inlined
def _insert(row, low, high, offset, best, where):
    """Put row[low:high] into the sorted list `best` wherever it is above the list's last; column j is called offset + j."""
    last = best[len(best) - 1]
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
            last = best[len(best) - 1]


def _empty_lists(num_rows: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return items, (B, k) int32, and scores, (B, k) float32, of no candidates."""
    return np.full((num_rows, k), -1, np.int32), np.full((num_rows, k), -np.inf, np.float32)


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
    columns, values = _empty_lists(len(scores), k)
    share_out(-(-len(scores) // _ROWS), lambda counter: _best_of_rows(counter, scores, columns, values))
    return columns, values


@kernel
def _best_of_rows(counter, scores, columns, values):
    num_rows, num_columns = scores.shape
    while True:
        first = take_next(counter) * _ROWS
        if first >= num_rows:
            break
        for b in range(first, min(first + _ROWS, num_rows)):
            for start in range(0, num_columns, _STRIP):
                _insert(scores[b], start, min(start + _STRIP, num_columns), 0, values[b], columns[b])


@inlined
def _exact_score(x, y, graph, scale):
    """Return x . y + scale graph, in double precision until the end, in which the order of the sum is always the same."""
    total = 0.0
    for d in range(len(x)):
        total += np.float64(x[d]) * np.float64(y[d])
    if scale != 0:
        total += scale * graph
    return np.float32(total)


@inlined
def _best_again(user, item_embedding, graph, scale, candidates, best, where):
    """Put the candidates (-1 ends them) into the list `best`, `where` by (higher score, lower item), scores in double precision."""
    for n in range(len(candidates)):
        item = candidates[n]
        if item < 0:
            return
        score = _exact_score(user, item_embedding[item], graph[item] if scale != 0 else np.float32(0.0), scale)
        place = len(best)
        while place > 0 and (best[place - 1] < score or (best[place - 1] == score and where[place - 1] > item)):
            place -= 1
        if place < len(best) and score > -np.inf:
            for m in range(len(best) - 1, place, -1):
                best[m], where[m] = best[m - 1], where[m - 1]
            best[place], where[place] = score, item


class RankWork(NamedTuple):
    """What one thread needs to rank a block of users."""

    rows: np.ndarray  # (B, D) float32
    seen: np.ndarray  # (B,) int64, where each user's next seen item stands
    scores: np.ndarray  # (B tile,) float32
    candidates: np.ndarray  # (B, K + spare) int32
    values: np.ndarray  # (B, K + spare) float32
    graph: np.ndarray  # (B, I) float32, or (B, 0) without a graph


def rank_users(user_embedding, item_embedding, users, k, seen, term, block, tile):
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
    seen : tuple of (U + 1,) int64 and int32
        CSR rows, indptr and indices, of what each user has seen, ascending.
    term : GraphTerm
    block, tile : int
        Users and items of a tile.

    Returns
    -------
    items : (B, k) int32
        -1 where there are fewer than k candidates.
    scores : (B, k) float32
        -inf there.
    """
    num_items, size = item_embedding.shape
    width, few = k + _SPARE, are_few(len(users), num_items)
    block = 1 if few else min(block, len(users))
    lists = _empty_lists(len(users), k)

    def new_work():
        return RankWork(
            np.empty((block, size), np.float32), np.empty(block, np.int64), np.empty(block * tile, np.float32),
            *_empty_lists(block, width), np.empty((block, num_items if term.scale != 0 else 0), np.float32),
        )  # fmt: skip

    pieces = 1 if few else -(-len(users) // block)
    # Made in this thread: each helper that makes its own leaves as much memory behind, and helpers come and go.
    works = [new_work() for _ in range(min(num_threads(), pieces))] if pieces > 1 else []

    def run(counter):
        rank = _rank_few if few else _rank_blocks
        work = works.pop() if works else new_work()
        rank(counter, (user_embedding, item_embedding), users, seen, term, tile, lists, work)

    share_out(pieces, run)
    return lists


@inlined
def _sum_graph(user, term, graph):
    """Write what the item graph adds to the scores of one user, but for its scale, into `graph` (I,)."""
    for j in range(len(graph)):
        graph[j] = 0.0
    for own in range(term.owned_indptr[user], term.owned_indptr[user + 1]):
        j = term.owned_indices[own]
        for place in range(term.graph_indptr[j], term.graph_indptr[j + 1]):
            graph[term.graph_indices[place]] += term.graph_weights[place]


@inlined
def _list_tile(scores, start, user, factor, graph, seen, position, values, candidates):
    """Add the graph to the scores of a tile of items, leave out seen ones, and list the best; return the next seen item's place.

    `graph` is a slice of its own: added from a place in a longer row, it is not vectorised, and ranking takes 1.25 times as long.
    """
    columns = len(scores)
    seen_indptr, seen_indices = seen
    if len(graph) > 0:
        for j in range(columns):
            scores[j] += factor * graph[j]
    place, end = position, seen_indptr[user + 1]
    while place < end and seen_indices[place] < start + columns:
        scores[seen_indices[place] - start] = -np.inf
        place += 1
    for low in range(0, columns, _STRIP):
        _insert(scores, low, min(low + _STRIP, columns), start, values, candidates)
    return place


@inlined
def _start_list(values, candidates):
    """Empty the list of candidates of one user."""
    for n in range(len(candidates)):
        candidates[n] = -1
        values[n] = -np.inf


@fast_inlined
def _products(x, y, start, scores):
    """Write the products of `x` (D,) with rows of `y` from `start` on into `scores`, without BLAS, which might start threads."""
    prefer_wide_vectors()
    for j in range(len(scores)):
        total = ZERO
        for d in range(len(x)):
            total += x[d] * y[start + j, d]
        scores[j] = total


@kernel
def _rank_few(counter, tables, users, seen, term, tile, lists, work):
    """Write the lists of a few users, one after the other; the scores in them have the same bits as those of `_rank_blocks`."""
    prefer_wide_vectors()
    user_embedding, item_embedding = tables
    items, best_scores = lists
    row, candidates, values, graph = work.rows[0], work.candidates[0], work.values[0], work.graph[0]
    num_items = len(item_embedding)
    for i in range(len(users)):
        user = users[i]
        for d in range(len(row)):
            row[d] = user_embedding[user, d]
        position = np.int64(seen[0][user])
        _start_list(values, candidates)
        if term.scale != 0:
            _sum_graph(user, term, graph)
        for start in range(0, num_items, tile):
            scores = work.scores[: min(tile, num_items - start)]
            _products(row, item_embedding, start, scores)
            part = graph[start : start + len(scores)]
            position = _list_tile(scores, start, user, np.float32(term.scale), part, seen, position, values, candidates)
        _best_again(row, item_embedding, graph, term.scale, candidates, best_scores[i], items[i])


@kernel
def _rank_blocks(counter, tables, users, seen, term, tile, lists, work):
    """Write the lists of block after block of users, as long as the counter has any."""
    prefer_wide_vectors()
    user_embedding, item_embedding = tables
    items, best_scores = lists
    rows, position, candidates, values, graph = work.rows, work.seen, work.candidates, work.values, work.graph
    num_items, size = item_embedding.shape
    block = len(candidates)
    while True:
        first = take_next(counter) * block
        if first >= len(users):
            break
        count = min(block, len(users) - first)
        for i in range(count):
            user = users[first + i]
            for d in range(size):
                rows[i, d] = user_embedding[user, d]
            position[i] = seen[0][user]
            _start_list(values[i], candidates[i])
            if term.scale != 0:
                _sum_graph(user, term, graph[i])
        for start in range(0, num_items, tile):
            columns = min(tile, num_items - start)
            scores = work.scores[: count * columns].reshape(count, columns)
            np.dot(rows[:count], item_embedding[start : start + columns].T, scores)
            for i in range(count):
                part = graph[i, start : start + columns]
                position[i] = _list_tile(
                    scores[i], start, users[first + i], np.float32(term.scale), part, seen, position[i], values[i], candidates[i]
                )
        for i in range(count):
            _best_again(rows[i], item_embedding, graph[i], term.scale, candidates[i], best_scores[first + i], items[first + i])


def pair_scores(user_embedding, item_embedding, users, items, term):
    """Return the scores of pairs, with the same bits as in the lists of `rank_users`.

    Parameters
    ----------
    user_embedding, item_embedding : (U, D) and (I, D) float32
    users, items : (N,) int64
    term : GraphTerm
        Columns ascending within a row of the graph.

    Returns
    -------
    (N,) float32
    """
    result = np.empty(len(users), np.float32)
    share_out(-(-len(users) // _PAIRS), lambda counter: _score_pairs(counter, (user_embedding, item_embedding), users, items, term, result))
    return result


@kernel
def _score_pairs(counter, tables, users, items, term, result):
    """Score some pairs after others, as long as the counter has any."""
    user_embedding, item_embedding = tables
    while True:
        first = take_next(counter) * _PAIRS
        if first >= len(users):
            break
        for n in range(first, min(first + _PAIRS, len(users))):
            user, item = users[n], items[n]
            graph = np.float32(0.0)
            if term.scale != 0:
                for own in range(term.owned_indptr[user], term.owned_indptr[user + 1]):
                    j = term.owned_indices[own]
                    low, high = term.graph_indptr[j], term.graph_indptr[j + 1]
                    place = first_at_least(term.graph_indices, low, high, item)
                    if place < high and term.graph_indices[place] == item:
                        graph += term.graph_weights[place]
            result[n] = _exact_score(user_embedding[user], item_embedding[item], graph, term.scale)


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
    hits = np.zeros(ranking.shape, np.bool_)
    share_out(-(-len(users) // _ROWS), lambda counter: _find_rows(counter, ranking, users, indptr, indices, hits))
    return hits


@kernel
def _find_rows(counter, ranking, users, indptr, indices, hits):
    while True:
        first = take_next(counter) * _ROWS
        if first >= len(users):
            break
        for b in range(first, min(first + _ROWS, len(users))):
            start, end = indptr[users[b]], indptr[users[b] + 1]
            for n in range(ranking.shape[1]):
                place = first_at_least(indices, start, end, ranking[b, n])
                hits[b, n] = place < end and indices[place] == ranking[b, n]


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
    discounts = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    statistics = np.zeros((5, len(lengths), len(hits)))
    share_out(-(-len(hits) // _ROWS), lambda counter: _sum_rows(counter, hits, lengths, discounts, statistics))
    return statistics


@kernel
def _sum_rows(counter, hits, lengths, discounts, statistics):
    while True:
        start = take_next(counter) * _ROWS
        if start >= len(hits):
            break
        for q in range(start, min(start + _ROWS, len(hits))):
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
