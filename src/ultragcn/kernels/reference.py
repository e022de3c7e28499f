"""The slow twins: every kernel once more in plain NumPy and float64, written to be read beside the formulas.

Letters: U users, I items, D dimensions, B rows of a block, C columns (items looked at for a row), K list length or neighbours.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ultragcn.kernels.arguments import Curvature, Entries, RowWork, Visited


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


def sparse_product(left_indptr, left_indices, left, right_indptr, right_indices, right, num_columns):
    """Return the rows of a product of sparse matrices, columns in each as they are met: indptr, columns, values."""
    rows = []
    for row in range(len(left_indptr) - 1):
        sums: dict[int, float] = {}
        for p in range(left_indptr[row], left_indptr[row + 1]):
            for q in range(right_indptr[left_indices[p]], right_indptr[left_indices[p] + 1]):
                sums[right_indices[q]] = sums.get(right_indices[q], 0.0) + float(left[p]) * float(right[q])
        rows.append(sums)
    columns, values = ([entry for sums in rows for entry in part(sums)] for part in (dict.keys, dict.values))
    return np.cumsum([0, *map(len, rows)]), np.array(columns, np.int32), np.array(values)


def largest_entries(indptr, indices, values, k):
    """Return places (rows, k) of the k largest positive entries of each sparse row, by (larger value, lower column); -1 where none."""
    places = np.full((len(indptr) - 1, k), -1)
    for row in range(len(places)):
        own = np.arange(indptr[row], indptr[row + 1])
        own = own[values[own] > 0]
        order = own[np.lexsort((indices[own], -values[own]))][:k]
        places[row, : len(order)] = order
    return places


def strongest_beside(first, indptr, columns, values, strength, wide, k):
    """Return the k strongest of the neighbours given and of those that share users of `wide` alone, (R, k) each: -1 and 0 where none."""
    items, strengths = np.full((len(indptr) - 1, k), -1), np.zeros((len(indptr) - 1, k))
    for row in range(len(items)):
        i, own = first + row, slice(indptr[row], indptr[row + 1])
        of = dict(zip(columns[own].tolist(), values[own].tolist(), strict=True))
        for j, group in enumerate(wide.group):
            before = len(strength.place) == 0 or strength.place[j] < strength.place[i]
            below = strength.length[i] * strength.length[j] + strength.shrinkage
            if j != i and before and below > 0 and j not in of:
                of[j] = wide.shared[wide.group[i], group] * strength.column[j] / below
        order = sorted((j for j, value in of.items() if value > 0), key=lambda j: (-of[j], j))[:k]
        items[row, : len(order)], strengths[row, : len(order)] = order, [of[j] for j in order]
    return items, strengths


def strongest_of_product(left, right, factors, before, k):
    """Return the k entries of largest size of each row of a product, times factors of its columns, the diagonal left out."""
    indptr, indices, values = sparse_product(*left, *right, len(factors))
    columns, found = np.full((len(indptr) - 1, k), -1, np.int32), np.zeros((len(indptr) - 1, k))
    for row in range(len(columns)):
        own = np.arange(indptr[row], indptr[row + 1])
        own = own[(indices[own] != row) & (values[own] != 0)]
        if len(before):
            own = own[before[indices[own]] < before[row]]
        sizes = values[own] * factors[indices[own]]
        order = np.lexsort((indices[own], -np.abs(sizes)))[:k]
        columns[row, : len(order)], found[row, : len(order)] = indices[own][order], sizes[order]
    return columns, found


def rank_users(user_embedding, item_embedding, users, k, seen, term, block, tile):
    """Return the k items of highest score of each user, seen ones left out, and the scores: e_u . e_i + scale g_ui."""
    scores = np.asarray(user_embedding, np.float64)[users] @ np.asarray(item_embedding, np.float64).T
    if term.scale != 0:
        for row, user in zip(scores, users, strict=True):
            for item in term.owned_indices[term.owned_indptr[user] : term.owned_indptr[user + 1]]:
                places = slice(term.graph_indptr[item], term.graph_indptr[item + 1])
                row[term.graph_indices[places]] += term.scale * term.graph_weights[places]
    mask_seen(scores, users, *seen)
    return top_k(scores, k)


def pair_scores(user_embedding, item_embedding, users, items, term):
    """Return the scores of pairs: e_u . e_i + scale g_ui."""
    scores = np.einsum("nd,nd->n", np.asarray(user_embedding, np.float64)[users], np.asarray(item_embedding, np.float64)[items])
    if term.scale != 0:
        for n, (user, item) in enumerate(zip(users, items, strict=True)):
            for own in term.owned_indices[term.owned_indptr[user] : term.owned_indptr[user + 1]]:
                places = np.arange(term.graph_indptr[own], term.graph_indptr[own + 1])
                scores[n] += term.scale * term.graph_weights[places[term.graph_indices[places] == item]].sum()
    return scores


def find_hits(ranking, users, indptr, indices):
    """Return hits[b, n] = whether ranking[b, n] is among the items of user users[b]."""
    hits = [np.isin(ranking[b], indices[indptr[user] : indptr[user + 1]]) for b, user in enumerate(users)]
    return np.array(hits, bool).reshape(ranking.shape)


def list_statistics(hits, lengths):
    """Return h_K, DCG, sum_n r_n h_n / n, sum_n h_n / n and the reciprocal place of the first hit: (5, C, Q)."""
    statistics = np.zeros((5, len(lengths), len(hits)))
    for c, length in enumerate(lengths):
        for q, r in enumerate(hits[:, :length].astype(np.float64)):
            n = np.arange(1, length + 1)
            h = np.cumsum(r)
            first = 1 / n[r > 0][0] if r.any() else 0.0
            statistics[:, c, q] = r.sum(), np.sum(r / np.log2(n + 1)), np.sum(r * h / n), np.sum(h / n), first
    return statistics


def cooccurrences(items, item_indptr, item_users, user_indptr, user_items, num_items):
    """Return how many users have each item of some, and each of all items: (B, I)."""
    counts = np.zeros((len(items), num_items))
    for row, item in zip(counts, items, strict=True):
        for user in item_users[item_indptr[item] : item_indptr[item + 1]]:
            np.add.at(row, user_items[user_indptr[user] : user_indptr[user + 1]], 1)
    return counts


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


def positive_rows(indptr, indices, own, neighbors, neighbor_weights, weight):
    """Return P = own + weight * A Omega by CSR rows, and where the pairs of A stand in it, from dense matrices."""
    num_rows, num_items = len(indptr) - 1, len(neighbors)
    a, omega = np.zeros((num_rows, num_items)), np.zeros((num_items, num_items))
    dense = np.zeros((num_rows, num_items))
    rows = np.repeat(np.arange(num_rows), np.diff(indptr))
    a[rows, indices], dense[rows, indices] = 1, own
    np.add.at(omega, (np.arange(num_items)[:, None], neighbors), neighbor_weights)
    dense += weight * (a @ omega)
    there = (a + a @ (omega != 0)) > 0
    place = np.cumsum(there.ravel()).reshape(there.shape) - 1
    return np.concatenate([[0], np.cumsum(there.sum(1))]), np.nonzero(there)[1], dense[there], place[rows, indices]


def jaakkola_jordan(s):
    """kappa(s) = tanh(|s| / 2) / (2 |s|), 1/4 at 0: the curvature of the parabola that touches softplus at s and bounds it above."""
    size = np.maximum(np.abs(np.asarray(s, np.float64)), 1e-6)
    return np.tanh(size / 2) / (2 * size)


def activate_tile(scores, row_weight, column_weight, sums, powers=None):
    """Add the sums of N sigmoid'(s) and N softplus(s) over rows and over columns; replace scores by N sigmoid(s)."""
    weight = row_weight @ column_weight
    slope = weight * sigmoid(scores) * sigmoid(-scores)
    loss = weight * softplus(scores)
    sums.row_curvature[...] += slope.sum(axis=1)
    sums.column_curvature[...] += slope.sum(axis=0)
    sums.row_loss[...] += loss.sum(axis=1)
    sums.column_loss[...] += loss.sum(axis=0)
    scores[...] = weight * sigmoid(scores)


def visit_cells(x, y, row_weight, column_weight):
    """Return what the negatives give to gradients, curvatures and losses, of every cell of blocks of rows (b, B, D) and columns (I, D)."""
    scores, weight = x @ y.T, row_weight @ column_weight
    slope, loss = weight * sigmoid(scores) * sigmoid(-scores), weight * softplus(scores)
    return Visited((weight * sigmoid(scores)) @ y, slope.sum(axis=2), loss.sum(axis=2), slope.sum(axis=1), loss.sum(axis=(0, 1)))


def cholesky_solve(matrix, vector):
    """Solve matrix z = vector in place; the upper triangle of `matrix` (D, D or wider) counts."""
    upper = np.triu(matrix[:, : len(vector)])
    vector[...] = np.linalg.solve(upper + np.triu(upper, 1).T, vector)


def row_loss(x, y, entries, scores=None):
    """sum_p positive_p softplus(-s_p) - excluded_p softplus(s_p)."""
    s = y[entries.indices] @ x
    return float(np.sum(entries.positive * softplus(-s)) - np.sum(_all(entries.excluded, s) * softplus(s)))


def row_system(x, y, entries, gradient, bounds, scores=None):
    """Add the sparse part of a row's gradient, write the weights of its curvature; return its loss."""
    neighbours = y[entries.indices]
    s = neighbours @ x
    gradient -= neighbours.T @ (entries.positive * sigmoid(-s) + _all(entries.excluded, s) * sigmoid(s))
    bounds[: len(s)] = entries.positive * jaakkola_jordan(s)
    return row_loss(x, y, entries)


def invert(matrix):
    """Replace a matrix, the first D columns of (D, D or wider), by its inverse."""
    matrix[:, : len(matrix)] = np.linalg.inv(matrix[:, : len(matrix)])


def row_work_space(size, entries):
    """Return what `newton_row` works in; of it, the twin needs gradient, move and bounds."""
    return RowWork(*(np.zeros(size) for _ in range(6)), *(np.zeros(entries) for _ in range(2)))


def newton_row(x, y, entries, curvature, steps, work):
    """Take `steps` conjugate gradients towards the Newton step, from the gradient of the negatives in work.gradient, to work.move."""
    gradient, move = work.gradient, work.move
    gradient += curvature.l2 * x
    sparse_loss = row_system(x, y, entries, gradient, work.bounds)
    neighbours = y[entries.indices]
    own = neighbours.T @ (neighbours * work.bounds[: len(neighbours), None])
    hessian = curvature.scale * curvature.gram + curvature.l2 * np.eye(len(x)) + own
    inverse = curvature.inverse[:, : len(x)]
    # The step that makes the quadratic model the smallest within what `steps` products with the preconditioned system span.
    basis = np.zeros((0, len(x)))
    residual = -gradient
    move[...] = 0
    for _ in range(steps):
        direction = inverse @ residual
        for earlier in basis:
            direction -= earlier * (earlier @ hessian @ direction)
        length = direction @ hessian @ direction
        if residual @ inverse @ residual <= 1e-30 or length <= 1e-30:
            break
        direction /= np.sqrt(length)
        move += direction * (direction @ residual)
        residual = -gradient - hessian @ move
        basis = np.vstack([basis, direction])
    return sparse_loss, -0.5 * move @ gradient


def half_sweep(x, y, rows, cells, blocks, system, out):
    """Take one Newton-like step of every row, block by block, each block looking at the columns of its tiles."""
    num_tiles = -(-len(y) // blocks.tile)
    starts = _starts_of(blocks.starts, len(x), blocks.block)
    strips = np.zeros(len(starts) - 1, np.int64)
    if blocks.strips is not None:
        strips = np.repeat(np.arange(len(blocks.strips) - 1), np.diff(blocks.strips))
    for b in range(len(starts) - 1):
        members = blocks.order[starts[b] : starts[b + 1]]
        tiles = (blocks.first_tile[b] + np.arange(blocks.num_visited)) % num_tiles
        starts_and_widths = [(t * blocks.tile, min(blocks.tile, len(y) - t * blocks.tile)) for t in tiles]
        columns = np.concatenate([start + np.arange(width) for start, width in starts_and_widths])
        taken = np.concatenate([np.arange(width) < -(-width // blocks.gram_share) for _, width in starts_and_widths])
        more = len(y) / len(columns)
        seen_y, weight = cells.y[columns], rows.weight[members] @ cells.weight[:, columns]
        scores = x[members] @ seen_y.T
        slope = weight * sigmoid(scores) * sigmoid(-scores)
        loss = weight * softplus(scores)
        out.column_loss[strips[b], columns] += loss.sum(axis=0)
        gradient = more * (weight * sigmoid(scores)) @ seen_y
        by_column = slope.sum(axis=0) * taken
        gram = (seen_y * by_column[:, None]).T @ seen_y / max(by_column.sum(), 1e-30)
        scale = rows.damping[members] * more * slope.sum(axis=1)
        near = scale.mean() * gram + rows.total[members].mean() * system.prior + rows.l2[members].mean() * np.eye(x.shape[1])
        inverse = np.linalg.pinv(near)
        for i, u in enumerate(members):
            entries = _entries_of(rows, u)
            work = row_work_space(x.shape[1], len(rows.indices))
            work.gradient[...] = gradient[i]
            sparse_loss, predicted = newton_row(x[u], y, entries, Curvature(gram, scale[i], rows.l2[u], inverse), system.steps, work)
            out.x[u] = x[u] + work.move
            out.stats[u] = loss[i].sum(), sparse_loss, row_loss(out.x[u], y, entries), predicted


def fold_in_rows(y, rows, frozen, max_steps, tolerance, out):
    """Write the solution of each row's problem into `out`: Newton's method on all columns, steps halved where the loss rises."""
    for u in range(len(out)):
        entries, weight, x = _entries_of(rows, u), rows.weight[u] @ frozen.weight, np.zeros(y.shape[1])
        own, excluded = y[entries.indices], entries.excluded if len(entries.excluded) else np.zeros(len(entries.indices))

        def loss(x, weight=weight, entries=entries, u=u):
            return weight @ softplus(y @ x) + row_loss(x, y, entries) + rows.l2[u] / 2 * x @ x

        for _ in range(100):
            scores, among = y @ x, own @ x
            gradient = (weight * sigmoid(scores)) @ y - (entries.positive * sigmoid(-among) + excluded * sigmoid(among)) @ own
            curved = weight * sigmoid(scores) * sigmoid(-scores), (entries.positive - excluded) * sigmoid(among) * sigmoid(-among)
            hessian = sum((part * values[:, None]).T @ part for part, values in zip((y, own), curved, strict=True))
            step = -np.linalg.pinv(hessian + rows.l2[u] * np.eye(len(x))) @ (gradient + rows.l2[u] * x)
            while loss(x + step) > loss(x) and np.abs(step).max() > 1e-12:
                step = step / 2
            x = x + step
        out[u] = x


def quadratic_half_sweep(x, y, rows, negatives, system, strips, x_new, means=None):
    """Take one Newton-like step of every row, the negatives N_uj (linear s + curvature s^2 / 2)."""
    weight, total, l2 = means or (rows.weight.mean(axis=0), rows.total.mean(), rows.l2.mean())
    near = negatives.curvature * np.tensordot(weight, negatives.grams, 1)
    inverse = np.linalg.pinv(near + total * system.prior + l2 * np.eye(x.shape[1]))
    for u in range(len(x)):
        entries = _entries_of(rows, u)._replace(excluded=np.empty(0))
        work = row_work_space(x.shape[1], len(rows.indices))
        gram = negatives.curvature * np.tensordot(rows.weight[u], negatives.grams, 1)
        work.gradient[...] = gram @ x[u] + negatives.linear * rows.weight[u] @ negatives.sums
        newton_row(x[u], y, entries, Curvature(gram, np.float64(1), rows.l2[u], inverse), system.steps, work)
        x_new[u] = x[u] + work.move


def _starts_of(starts, num_rows, length):
    """Return where pieces of rows begin and the last one ends: as given, or after every `length` rows."""
    return [*range(0, num_rows, length), num_rows] if starts is None else starts


def _entries_of(rows, u):
    """Return the entries of row u."""
    own = slice(rows.indptr[u], rows.indptr[u + 1])
    return Entries(rows.indices[own], rows.positive[own], rows.excluded[own])


def _all(excluded, s):
    """Return excluded weights, or zeros where none are given."""
    return excluded if len(excluded) else np.zeros(len(s))


def ridge_rows(y, gram, indptr, indices, l2, x):
    """Write x_r = (sum_p y_p y_p^T + gram + l2_r I)^-1 sum_p y_p."""
    y = np.asarray(y, np.float64)
    for r in range(len(x)):
        own = y[indices[indptr[r] : indptr[r + 1]]]
        x[r] = np.linalg.solve(own.T @ own + gram + l2[r] * np.eye(y.shape[1]), own.sum(axis=0))


def inverse_factor(above, diagonal, regressed, k, wide, weights, pivots):
    """Write weights_i = G_SS^-1 G_Si and D_i = G_ii - G_iS weights_i, from the dense G."""
    (indptr, indices, data), (row_indptr, row_items), (group, shared) = above, regressed, wide
    g = np.triu(shared[np.ix_(group, group)], 1)
    for i in range(len(g)):
        g[i, indices[indptr[i] : indptr[i + 1]]] += data[indptr[i] : indptr[i + 1]]
    g += g.T + np.diag(diagonal)
    for i in range(len(g)):
        row = slice(row_indptr[i], row_indptr[i + 1])
        s = row_items[row]
        weights[row] = np.linalg.solve(g[np.ix_(s, s)], g[s, i])
        pivots[i] = g[i, i] - g[i, s] @ weights[row]


def bpr_epoch(user_embedding, item_embedding, triples, indptr, indices, learning_rate, l2):
    """Take a gradient step on softplus(s_uj - s_ui) + l2 / 2 (...) for each triple whose j the user lacks; return how many there were."""
    taken = 0
    for u, i, j in zip(*triples, strict=True):
        if j in indices[indptr[u] : indptr[u + 1]]:
            continue
        taken += 1
        x, y, z = user_embedding[u].copy(), item_embedding[i].copy(), item_embedding[j].copy()
        slope = sigmoid(x @ (z - y))
        user_embedding[u] += learning_rate * (slope * (y - z) - l2 * x)
        item_embedding[i] += learning_rate * (slope * x - l2 * y)
        item_embedding[j] += learning_rate * (-slope * x - l2 * z)
    return taken


def propagate(adjacency, embedding, num_layers):
    """Return (E + A E + ... + A^L E) / (L + 1), A (N, N) dense or sparse."""
    layers = [np.asarray(embedding, np.float64)]
    for _ in range(num_layers):
        layers.append(adjacency @ layers[-1])
    return np.mean(layers, axis=0)


def pairwise_loss(embedding, users, positives, negatives):
    """Return sum_b softplus(s_negative - s_positive) and its gradient (N, D)."""
    embedding = np.asarray(embedding, np.float64)
    user, difference = embedding[users], embedding[positives] - embedding[negatives]
    margin = (user * difference).sum(axis=1)
    slope = -sigmoid(-margin)[:, None]
    gradient = np.zeros_like(embedding)
    for rows, part in ((users, slope * difference), (positives, slope * user), (negatives, -slope * user)):
        np.add.at(gradient, rows, part)
    return softplus(-margin).sum(), gradient


def nearest_centres(points, centres, labels):
    """Write the number of the nearest centre of each point into `labels`, the first of equals."""
    labels[...] = ((np.asarray(points)[:, None] - np.asarray(centres)[None]) ** 2).sum(axis=2).argmin(axis=1)


def cluster_moments(y, weight, members, starts, centre, spread):
    """Write the mean and the covariance of the columns of each cluster; a cluster without columns has zeros."""
    centre[...], spread[...] = 0, 0
    upper = np.triu_indices(y.shape[1])
    for k in range(len(centre)):
        own = members[starts[k] : starts[k + 1]]
        share = weight[own] / max(weight[own].sum(), 1e-30)
        centre[k] = share @ y[own]
        away = y[own] - centre[k]
        spread[k] = ((away * share[:, None]).T @ away)[upper]


def clustered_half_sweep(x, y, rows, clusters, groups, system, out):
    """Take one Newton-like step of every row, the negatives of each cluster normal around its centre."""
    size = x.shape[1]
    spread = np.zeros((len(clusters.centre), size, size))
    upper = np.triu_indices(size)
    spread[:, upper[0], upper[1]] = clusters.spread
    spread = spread + np.triu(spread, 1).transpose(0, 2, 1)
    edges = _starts_of(groups.starts, len(x), groups.block * groups.together)
    blocks = [(first, min(first + groups.block, stop)) for low, stop in pairwise(edges) for first in range(low, stop, groups.block)]
    for start, stop in blocks:
        members = groups.order[start:stop]
        moment = x[members].T @ x[members] / len(members)
        deviation = np.sqrt(np.maximum(np.einsum("kab,ab->k", spread, moment), 0))
        weight = rows.weight[members] @ clusters.mass

        def expected(function, points, weight=weight, deviation=deviation):
            scores = points @ clusters.centre.T
            return weight * (function(scores - deviation) + function(scores + deviation)) / 2

        slope = expected(lambda s: sigmoid(s) * sigmoid(-s), x[members])
        bent, curvature = slope.sum(axis=0), slope.sum(axis=1)
        spread_of_block = np.tensordot(bent, spread, 1)
        total = max(bent.sum(), 1e-30)
        gram = spread_of_block + (clusters.centre * bent[:, None]).T @ clusters.centre
        widened = (curvature / total)[:, None] * (x[members] @ spread_of_block)
        gradient = expected(sigmoid, x[members]) @ clusters.centre + widened
        scale = rows.damping[members] * curvature / total
        near = scale.mean() * gram + rows.total[members].mean() * system.prior + rows.l2[members].mean() * np.eye(size)
        inverse = np.linalg.pinv(near)
        for i, u in enumerate(members):
            entries = _entries_of(rows, u)
            work = row_work_space(size, len(rows.indices))
            work.gradient[...] = gradient[i]
            sparse_loss, predicted = newton_row(x[u], y, entries, Curvature(gram, scale[i], rows.l2[u], inverse), system.steps, work)
            out.x[u] = x[u] + work.move
            out.stats[u, 1], out.stats[u, 3], out.stats[u, 4] = sparse_loss, row_loss(out.x[u], y, entries), predicted
        wider = np.einsum("ra,ab,rb->r", out.x[members], spread_of_block, out.x[members])
        narrower = np.einsum("ra,ab,rb->r", x[members], spread_of_block, x[members])
        out.stats[members, 0] = expected(softplus, x[members]).sum(axis=1)
        out.stats[members, 2] = expected(softplus, out.x[members]).sum(axis=1) + 0.5 * curvature / total * (wider - narrower)
