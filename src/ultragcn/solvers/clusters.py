"""Clusters of columns that stand for the negatives of a half-sweep: k-means, weighted by what columns weigh, in the metric of the rows.

Two columns y and z matter to the rows as one where their scores agree: mean_u (x_u . (y - z))^2 = (y - z)^T M (y - z), M = X^T X / U.
In that metric, and weighted by about the slope of each column's negatives, k-means makes small what clusters get wrong.

Letters: U rows, I columns, D dimensions, K clusters.
"""

import math

import numpy as np
import scipy.sparse as sp

from ultragcn import kernels
from ultragcn.config import Config
from ultragcn.kernels.arguments import Clusters
from ultragcn.processes import Share
from ultragcn.solvers.half_sweeps import checked, means_of_labels

_FIRST_ROUNDS, _ROUNDS = 4, 1  # of k-means, from random centres and from the labels of the sweep before
_LEAST_SHARE = 0.05  # of the mass is dealt out evenly, so that columns with next to no slope have places too
_LEAST_LENGTH = 1e-6  # of the rows along a direction, squared, relative to the longest: rounding may have made it negative

_CLUSTERS, _ROWS, _POWER = 512, 40_000, 0.125  # so many clusters for so many rows, and more with this power of the rows
_CELL_COST = 4  # of a row and a cluster, relative to that of a cell


def num_clusters(config: Config, num_users: int, num_items: int) -> tuple[int, int] | None:
    """Return how many clusters of users and of items stand for the negatives; None: every cell is to be visited."""
    if config.negatives == "full":
        return None
    users, items = (usual_clusters(config, rows) for rows in (num_users, num_items))
    is_cheaper = _CELL_COST * (num_users * items + num_items * users) < num_users * num_items
    return (users, items) if config.negatives == "clusters" or is_cheaper else None


def usual_clusters(config: Config, rows: int) -> int:
    """Return how many clusters there are of so many rows."""
    usual = max(16, round(_CLUSTERS * (rows / _ROWS) ** _POWER / 16) * 16)
    return min(rows, usual if config.num_clusters is None else config.num_clusters)


def cluster_columns(
    x: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    mix: np.ndarray,
    number: int,
    random: np.random.Generator,
    labels: np.ndarray | None = None,
    rows: Share | None = None,
    columns: Share | None = None,
) -> tuple[Clusters, np.ndarray]:
    """Return the clusters of the columns `y` as the rows `x` see them, and the cluster of each column.

    Each process finds the nearest centre of its own columns, and measures its own part of the clusters.

    Parameters
    ----------
    x, y : (U, D) and (I, D) float32
    weight : (2, I) float32
        Of the columns, by term.
    mix : (2,) float32
        The mean of the rows' weights.
    number : int
        K, at most I.
    random : Generator
        Draws columns for centres, at first and in place of a cluster that lost its columns.
    labels : (I,) int32, optional
        Clusters to begin with.
    rows, columns : Share, optional
        How both are cut into shards; by default they are one each.

    Returns
    -------
    clusters : Clusters
    labels : (I,) int32
    """
    rows, columns = rows or Share([0, len(x)]), columns or Share([0, len(y)])
    mixed = mix @ weight
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found by `checked`
        metric = checked(rows.sum(lambda shard: x[shard].T @ x[shard])) / max(len(x), 1)
        mean = (rows.sum(lambda shard: x[shard].sum(axis=0, dtype=np.float64)) / max(len(x), 1)).astype(np.float32)
    own = np.concatenate([mixed[shard] * _slope_of(y[shard], mean, metric) for shard in columns.shards])
    mass = columns.gather(own / max(float(columns.sum_rows(own)), 1e-30) + np.float32(_LEAST_SHARE / len(y)))
    lengths, directions = np.linalg.eigh(metric)
    turn = (directions * np.sqrt(np.maximum(lengths, _LEAST_LENGTH * lengths[-1]))).astype(np.float32)
    points = [np.ascontiguousarray(y[shard] @ turn) for shard in columns.shards]
    clusters = Share.even(number, columns.processes)

    def nearest(centres: np.ndarray) -> np.ndarray:
        found = np.empty(columns.own.stop - columns.own.start, np.int32)
        for of_shard, part in zip(points, columns.parts, strict=True):
            kernels.nearest_centres(of_shard, centres, found[part])
        return columns.gather(found)

    def draw(count: int) -> np.ndarray:
        """Return different columns, drawn by mass."""
        chance = mass.astype(np.float64)
        drawn: np.ndarray = y[columns.processes.same(random.choice(len(y), count, replace=False, p=chance / chance.sum()))] @ turn
        return drawn

    rounds = _ROUNDS
    if labels is None:
        labels, rounds = nearest(draw(number)), _FIRST_ROUNDS
    for _ in range(rounds):
        means, sizes = means_of_labels(y, mass, labels, clusters)
        centres, empty = means @ turn, sizes == 0
        if empty.any():
            centres[empty] = draw(int(empty.sum()))
        labels = nearest(centres)
    return _moments(y, weight, mixed, labels, clusters), labels


def _slope_of(y: np.ndarray, mean: np.ndarray, metric: np.ndarray) -> np.ndarray:
    """Return about the mean slope of the negatives of columns: (I,) float32."""
    return _slope(y @ mean, np.einsum("id,id->i", y @ metric.astype(np.float32), y))


def _slope(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return about the mean of sigmoid(s) over normal scores s: (I,) float32."""
    narrowed = mean / np.sqrt(1 + math.pi / 8 * np.maximum(variance, 0))
    result: np.ndarray = 1 / (1 + np.exp(-np.clip(narrowed, -40, 40)))
    return result


def _moments(y: np.ndarray, weight: np.ndarray, mixed: np.ndarray, labels: np.ndarray, share: Share) -> Clusters:
    """Return the mass, the mean and the spread of each cluster; each process measures its own ones."""
    size, number, own = y.shape[1], share.total, share.own
    members = sp.csr_matrix((np.ones(len(y), np.int8), (labels, np.arange(len(y)))), (number, len(y)))
    starts, count = members.indptr.astype(np.int64)[own.start : own.stop + 1], own.stop - own.start
    centre, spread = np.empty((count, size), np.float32), np.empty((count, size * (size + 1) // 2), np.float32)
    kernels.cluster_moments(y, mixed, members.indices.astype(np.int64), starts, centre, spread)
    centre, spread = share.gather(centre), share.gather(spread)
    mass = np.stack([np.bincount(labels, term, number) for term in weight]).astype(np.float32)
    return Clusters(mass, centre, np.ascontiguousarray(centre.T), spread)
