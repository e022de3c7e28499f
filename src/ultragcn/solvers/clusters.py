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
from ultragcn.solvers.half_sweeps import checked

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
) -> tuple[Clusters, np.ndarray]:
    """Return the clusters of the columns `y` as the rows `x` see them, and the cluster of each column.

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

    Returns
    -------
    clusters : Clusters
    labels : (I,) int32
    """
    mixed = mix @ weight
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found by `checked`
        metric = checked(x.T @ x).astype(np.float64) / max(len(x), 1)
    slope = _slope(y @ x.mean(axis=0), np.einsum("id,id->i", y @ metric.astype(np.float32), y))
    mass = mixed * slope
    mass = mass / max(float(mass.sum()), 1e-30) + np.float32(_LEAST_SHARE / len(y))
    lengths, directions = np.linalg.eigh(metric)
    root = np.sqrt(np.maximum(lengths, _LEAST_LENGTH * lengths[-1]))
    points = np.ascontiguousarray(y @ (directions * root).astype(np.float32))
    first = labels is None
    labels = np.empty(len(y), np.int32) if labels is None else labels.copy()
    if first:
        kernels.nearest_centres(points, _draw(points, mass, number, random), labels)
    for _ in range(_FIRST_ROUNDS if first else _ROUNDS):
        centres, empty = _centres(points, mass, labels, number)
        if empty.any():
            centres[empty] = _draw(points, mass, int(empty.sum()), random)
        kernels.nearest_centres(points, centres, labels)
    return _moments(y, weight, mixed, labels, number), labels


def _slope(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return about the mean of sigmoid(s) over normal scores s: (I,) float32."""
    narrowed = mean / np.sqrt(1 + math.pi / 8 * np.maximum(variance, 0))
    result: np.ndarray = 1 / (1 + np.exp(-np.clip(narrowed, -40, 40)))
    return result


def _draw(points: np.ndarray, mass: np.ndarray, number: int, random: np.random.Generator) -> np.ndarray:
    """Return different points, drawn by mass: (number, D) float32."""
    chance = mass.astype(np.float64)
    return points[random.choice(len(points), number, replace=False, p=chance / chance.sum())]


def _centres(points: np.ndarray, mass: np.ndarray, labels: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of the points of each label, (number, D) float32, and which labels have no points."""
    members = sp.csr_matrix((mass, (labels, np.arange(len(labels)))), (number, len(labels)))
    total = np.asarray(members.sum(axis=1)).ravel()
    means = np.ascontiguousarray(members @ points / np.maximum(total, 1e-30)[:, None], np.float32)
    return means, np.bincount(labels, minlength=number) == 0


def _moments(y: np.ndarray, weight: np.ndarray, mixed: np.ndarray, labels: np.ndarray, number: int) -> Clusters:
    """Return the mass, the mean and the spread of each cluster."""
    size = y.shape[1]
    starts = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=number))]).astype(np.int64)
    centre, spread = np.empty((number, size), np.float32), np.empty((number, size * (size + 1) // 2), np.float32)
    kernels.cluster_moments(y, mixed, np.argsort(labels, kind="stable"), starts, centre, spread)
    mass = np.stack([np.bincount(labels, term, number) for term in weight]).astype(np.float32)
    return Clusters(mass, centre, np.ascontiguousarray(centre.T), spread)
