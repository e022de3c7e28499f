"""Every fast kernel against its slow float64 twin of the same name in `reference`, on plain and awkward shapes."""

import copy
import functools
import importlib
import inspect
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp

from tests.conftest import random_interactions
from ultragcn.kernels import numba_cpu, reference
from ultragcn.kernels.arguments import (
    Blocks,
    Cells,
    Clustered,
    Clusters,
    Curvature,
    Entries,
    Frozen,
    GraphTerm,
    Groups,
    Parabola,
    Rows,
    Strength,
    Sums,
    Swept,
    System,
    Triples,
    Wide,
)
from ultragcn.loss.weights import cooccurrence_degrees, item_neighbors
from ultragcn.models.lightgcn import normalised_adjacency

# What modules of kernels export besides kernels, and why it has no twin.
NOT_KERNELS = {
    "FEW_USERS": "a size",
    "are_few": "says which way is taken, which the lists do not show",
    "PIECE_PRODUCT": "a size",
    "PIECE_ROWS": "a size",
    "COMPILED": "is about compiling",
    "compile_kernels": "is about compiling",
    "interrupts_kept": "is about signals",
    "interrupts_named": "is about signals",
    "numba_threads": "is about threads",
    "blas_threads": "is about threads",
    "cpu_threads": "is about threads",
    "row_work_space": "makes room for `newton_row`, which has a twin",
    "BatchLoss": "is what `batch_loss` returns",
    "choose_device": "names a device",
    "free_memory": "is about memory",
    "gpu_names": "names devices",
    "Ranker": "calls `rank_users`, which has a twin",
    "products": "is about how exact products are",
    "sparse_matrix": "moves a matrix to a device",
}


class Case(NamedTuple):
    """One call of a kernel and of its twin."""

    module: str  # of the fast kernel
    kernel: str
    label: str
    arguments: Callable[[], tuple]  # for both; what is float32 among them is float64 for the twin
    outcome: Callable[[Any, tuple], tuple]  # what to compare, from what was returned and the arguments after the call
    rtol: float
    atol: float  # relative to the largest number


CASES: list[Case] = []


def returned(result: Any, arguments: tuple) -> tuple:
    return result if isinstance(result, tuple) else (result,)


def cases(kernel, options, outcome=returned, rtol=0.0, atol=0.0, module="numba_cpu", also_in=None):
    """Add a case for each of the `options`, a list of keyword arguments of the decorated function, which makes the kernel's arguments.

    `also_in` names another module that has a kernel of this name, for which the same cases are added.
    """

    def add(make):
        for given in options:
            label = ", ".join(f"{name}={value}" for name, value in given.items())
            modules = filter(None, (module, also_in))
            CASES.extend(Case(where, kernel, label, functools.partial(make, **given), outcome, rtol, atol) for where in modules)
        return make

    return add


def crossed(**choices):
    """Return every combination of the choices, as keyword arguments."""
    options = [{}]
    for name, values in choices.items():
        options = [given | {name: value} for given in options for value in values]
    return options


def in_float64(value: Any) -> Any:
    """Return a copy of arguments in which float32 became float64."""
    if isinstance(value, tuple):
        parts = [in_float64(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, np.ndarray | np.float32) and value.dtype == np.float32:
        with np.errstate(invalid="ignore"):  # what a kernel is to write may hold anything before
            return value.astype(np.float64)
    return copy.copy(value)


# ------------------------------------------------------------------ ranking

SHAPES = [(0, 5), (1, 1), (1, 7), (5, 1), (6, 130), (3, 1000), (300, 40)]


@cases("top_k", crossed(shape=SHAPES, k=[1, 4, 200]))
def few_scores_so_that_many_are_equal(shape, k):
    random = np.random.default_rng(1)
    scores = random.integers(-3, 4, shape).astype(np.float32)
    scores[random.random(shape) < 0.2] = -np.inf
    scores[random.random(shape) < 0.05] = np.nan
    return scores, k


@cases("mask_seen", crossed(users=[0, 1, 6, 200], density=[0.0, 0.2, 1.0]), outcome=lambda _, arguments: arguments[:1])
def scores_of_users_who_have_seen_items(users, density):
    pairs, random = random_interactions(9, 31, density).matrix, np.random.default_rng(2)
    return random.standard_normal((users, 31)).astype(np.float32), random.integers(0, 9, users), pairs.indptr, pairs.indices


@cases("find_hits", crossed(shape=[(0, 8), (1, 1), (6, 8), (200, 3)], density=[0.0, 0.2, 1.0]))
def lists_with_empty_places(shape, density):
    pairs, random = random_interactions(9, 31, density).matrix, np.random.default_rng(2)
    users = random.integers(0, 9, shape[0])
    return random.integers(-1, 31, shape).astype(np.int32), users, pairs.indptr, pairs.indices


@cases("list_statistics", crossed(shape=[(0, 5), (1, 1), (7, 3), (300, 50)], density=[0.0, 0.3, 1.0], cuts=[1, 2, 3]), rtol=1e-12)
def hits_cut_at_lengths(shape, density, cuts):
    lengths = sorted({1, (shape[1] + 1) // 2, shape[1]})[:cuts]
    return np.random.default_rng(3).random(shape) < density, np.array(lengths)


def ranked(shape, integers, graph_weight, k):
    """Return the arguments of `rank_users` for (users, items, dim); with `integers`, equal scores are equal in any arithmetic."""
    num_users, num_items, dim = shape
    random = np.random.default_rng(4)
    tables = [
        (random.integers(-2, 3, (rows, dim)) if integers else random.standard_normal((rows, dim))).astype(np.float32)
        for rows in (num_users, num_items)
    ]
    seen, owned = (random_interactions(num_users, num_items, density).matrix for density in (0.2, 0.1))
    graph = sp.random_array((num_items, num_items), density=0.1, format="csr", dtype=np.float32, rng=random)
    graph.data -= np.float32(0.3)
    graph.sort_indices()
    graph.sort_indices()
    users = random.integers(0, num_users, 2 * num_users)
    term = GraphTerm(owned.indptr, owned.indices, graph.indptr, graph.indices, graph.data, graph_weight)
    return *tables, users, k, (seen.indptr, seen.indices), term, 8, 64


@cases("rank_users", crossed(shape=[(1, 1, 1), (1, 90, 3), (9, 31, 4), (300, 700, 16)], k=[1, 4, 50]), also_in="torch_ops")
def scores_with_ties(shape, k):
    return ranked(shape, True, 0.0, k)


@cases("rank_users", crossed(shape=[(1, 2, 1), (9, 31, 4), (300, 700, 16)], weight=[0.2, 3.0]), rtol=1e-5, atol=1e-6, also_in="torch_ops")
def scores_with_an_item_graph(shape, weight):
    return ranked(shape, False, weight, 10)


@cases("pair_scores", crossed(shape=[(1, 2, 1), (9, 31, 4), (300, 700, 16)], weight=[0.0, 3.0]), rtol=1e-5, atol=1e-6)
def pairs_of_users_and_items(shape, weight):
    *tables, users, _, _, term, _, _ = ranked(shape, False, weight, 10)
    return *tables, users, np.random.default_rng(5).integers(0, shape[1], len(users)), term


# ------------------------------------------------------------------ graphs and sparse matrices

GRAPHS = [(1, 1, 1), (4, 3, 0.5), (1, 40, 0.5), (30, 90, 0.1), (50, 8, 0.9), (5, 5, 0)]


@cases("cooccurrences", crossed(shape=GRAPHS))
def some_items_and_who_has_what(shape):
    train = random_interactions(*shape)
    by_item = train.matrix.T.tocsr()
    items = np.random.default_rng(6).integers(0, shape[1], 5)
    return items, by_item.indptr, by_item.indices, train.matrix.indptr, train.matrix.indices, shape[1]


# Weights that are equal in exact arithmetic may differ in the last digit, so ties may be ordered differently.
@cases(
    "item_neighbors", crossed(shape=GRAPHS, k=[0, 1, 5, 12], keep_diagonal=[True, False]), rtol=1e-6,
    outcome=lambda result, _: (result[1], (result[1] >= 0).all(), result[0].shape),
)  # fmt: skip
def users_and_items_of_each_other(shape, k, keep_diagonal):
    train = random_interactions(*shape)
    by_item = train.matrix.T.tocsr()
    users = train.matrix.indptr, train.matrix.indices
    return *users, by_item.indptr.astype(np.int64), by_item.indices.astype(np.int32), cooccurrence_degrees(train), k, keep_diagonal


@cases("positive_rows", crossed(shape=[*GRAPHS, (200, 90, 0.1)], k=[0, 1, 5], weight=[0.0, 0.7]), rtol=1e-5)
def pairs_with_weights_and_neighbors(shape, k, weight):
    train = random_interactions(*shape)
    own = np.random.default_rng(0).random(len(train), dtype=np.float32)
    return train.matrix.indptr.astype(np.int64), train.matrix.indices, own, *item_neighbors(train, k), np.float32(weight)


@cases("sparse_product", crossed(shape=[(0, 3, 4), (1, 1, 1), (9, 4, 31), (300, 20, 7)], density=[0.0, 0.2, 1.0]), rtol=1e-5, atol=1e-6)
def two_sparse_matrices(shape, density):
    rows, inner, columns = shape
    random = np.random.default_rng(13)
    left, right = (sp.random(*of, density, "csr", random_state=3, dtype=np.float32) for of in ((rows, inner), (inner, columns)))
    right.data *= random.choice(np.float32([-1, 1]), right.nnz)  # some sums are near zero
    parts = [part for matrix in (left, right) for part in (matrix.indptr.astype(np.int64), matrix.indices, matrix.data)]
    return *parts, columns


@cases("strongest_of_product", crossed(size=[1, 9, 60], k=[0, 1, 5, 60], density=[0.0, 0.2, 1.0], ordered=[False, True]), rtol=1e-6)
def whole_numbers_so_that_some_entries_are_as_large(size, k, density, ordered):
    random = np.random.default_rng(14)
    matrices = []
    for rows, columns in ((size, 7), (7, size)):
        matrix = sp.random(rows, columns, density, "csr", random_state=4, dtype=np.float32)
        matrix.data = random.integers(-2, 3, matrix.nnz).astype(np.float32)
        matrices.append((matrix.indptr.astype(np.int64), matrix.indices, matrix.data))
    before = random.permutation(size) if ordered else np.empty(0, np.int64)
    return *matrices, random.choice(np.float32([0.5, 1, 2]), size), before, min(k, size)


@cases("largest_entries", crossed(rows=[0, 1, 9, 300], k=[0, 1, 3, 50], density=[0.0, 0.3, 1.0]))
def values_with_ties_and_columns_out_of_order(rows, k, density):
    random = np.random.default_rng(10)
    matrix = sp.random(rows, 31, density, "csr", random_state=2, dtype=np.float32)
    for row in range(rows):
        own = slice(matrix.indptr[row], matrix.indptr[row + 1])
        matrix.indices[own] = random.permutation(matrix.indices[own])
    return matrix.indptr.astype(np.int64), matrix.indices, random.integers(-1, 4, matrix.nnz).astype(np.float32), k


@cases("strongest_beside", crossed(items=[1, 7, 60], k=[0, 1, 5, 80], groups=[1, 4], kind=["column", "length", "place"]))
def neighbors_beside_wide_users(items, k, groups, kind):
    random = np.random.default_rng(17)
    near = sp.random(items, items, 0.1, "csr", random_state=4, dtype=np.float32)
    group = random.integers(0, groups, items).astype(np.int32)
    # Powers of two, so that what is equal in float32 is equal in float64.
    column, length = (np.exp2(random.integers(-2, 2, items)).astype(np.float32) for _ in range(2))
    ones, place = np.ones(items, np.float32), np.zeros(0, np.int64)
    if kind == "length":
        column = ones
    else:
        length = 0 * ones
    if kind == "place":
        place = np.empty(items, np.int64)
        place[np.argsort(column, kind="stable")] = np.arange(items)
    order = np.lexsort((np.arange(items), length, -column, group)).astype(np.int32)
    keys = np.column_stack([group, column, length])[order]
    stops = np.array([next((m for m in range(n, items) if (keys[m] != keys[n]).any()), items) for n in range(items)])
    shared = np.exp2(random.integers(0, 3, (groups, groups))).astype(np.float32) * (random.random((groups, groups)) < 0.8)
    near.data = np.exp2(random.integers(-2, 3, near.nnz)).astype(np.float32) * random.choice(np.float32([0, 1, 1]), near.nnz)
    wide = Wide(group, np.float32(shared), np.searchsorted(group[order], np.arange(groups + 1)), order, stops)
    strength = Strength(column, length, np.float32(kind != "length"), place)
    return 0, near.indptr.astype(np.int64), near.indices, near.data, strength, wide, k


# ------------------------------------------------------------------ half-sweeps and what they are made of


class Problem(NamedTuple):
    """A side of a loss with random weights."""

    x: np.ndarray
    y: np.ndarray
    rows: Rows
    column_weight: np.ndarray
    system: System


def problem(rows, columns, dim, exclude=False, density=0.1):
    random = np.random.default_rng(0)
    pairs = sp.random(rows, columns, density, "csr", random_state=0, dtype=np.float32)
    x, y = (0.7 * random.standard_normal((n, dim)).astype(np.float32) for n in (rows, columns))
    weight, column_weight = random.random((rows, 2), np.float32), random.random((2, columns), np.float32)
    excluded = np.float32(0.3) * random.random(pairs.nnz, np.float32) if exclude else np.empty(0, np.float32)
    l2, damping = (least + random.random(rows, np.float32) for least in (np.float32(0.1), np.float32(0.5)))
    total = np.asarray(pairs.sum(axis=1), np.float32).ravel()
    side = Rows(pairs.indptr.astype(np.int64), pairs.indices, pairs.data, excluded, weight, l2, total, damping)
    return Problem(x, y, side, column_weight, System(np.float32(0.2 / columns) * y.T @ y, 3))


def what_a_sweep_wrote(_, arguments):
    out = arguments[-1]
    return out.x, out.stats, out.column_loss.sum(axis=0)


ROWS_AND_COLUMNS = [(1, 1, 1), (1, 90, 5), (37, 1, 3), (37, 90, 5), (20, 200, 17), (70, 33, 64)]


@cases(
    "half_sweep",
    [*crossed(shape=ROWS_AND_COLUMNS, share=[1.0, 0.4], gram_share=[1, 3], exclude=[False, True], transposed=[False, True]),
     *crossed(shape=[(300, 45, 20)], block=[2 * numba_cpu.PIECE_ROWS], exclude=[False, True], transposed=[False, True])],
    outcome=what_a_sweep_wrote, rtol=2e-4, atol=2e-4, also_in="torch_ops",
)  # fmt: skip
def blocks_of_rows(shape, exclude, transposed, share=1.0, gram_share=1, block=16, tile=32):
    num_rows, num_columns, _ = shape
    x, y, rows, column_weight, system = problem(*shape, exclude)
    tiles = [y[start : start + tile].T.ravel() for start in range(0, num_columns, tile)]
    cells = Cells(y, np.concatenate(tiles) if transposed else np.empty(0, np.float32), column_weight)
    num_blocks, num_tiles = -(-num_rows // block), -(-num_columns // tile)
    order = np.random.default_rng(1).permutation(num_rows)
    blocks = Blocks(order, block, tile, np.arange(num_blocks) % num_tiles, max(1, round(share * num_tiles)), gram_share)
    out = Swept(np.empty_like(x), np.zeros((num_rows, 4)), np.zeros((3, num_columns), np.float32))
    return x, y, rows, cells, blocks, system, out


@cases(
    "quadratic_half_sweep", crossed(shape=[(1, 1, 1), (37, 90, 5), (20, 50, 17)], strips=[1, 4]), rtol=1e-3, atol=1e-4,
    outcome=lambda _, arguments: arguments[-1:], also_in="torch_ops",
)  # fmt: skip
def rows_with_quadratic_negatives(shape, strips):
    x, y, rows, column_weight, system = problem(*shape)
    grams = np.stack([(y * weight[:, None]).T @ y for weight in column_weight])
    parabola = Parabola(grams, column_weight @ y, np.float32(0.3), np.float32(0.2))
    return x, y, rows, parabola, system, strips, np.empty_like(x)


@cases(
    "fold_in_rows", crossed(shape=[(1, 1, 1), (1, 90, 5), (37, 90, 5), (5, 700, 17)], clusters=[1, 9, None], exclude=[False, True]),
    outcome=lambda _, arguments: arguments[-1:], rtol=2e-3, atol=2e-4,
)  # fmt: skip
def rows_to_be_solved(shape, clusters, exclude):
    """Return the problem of `problem`, each column a cluster of its own or some of them together, which changes no solution."""
    x, y, rows, column_weight, _ = problem(*shape, exclude)
    num_columns, size = y.shape
    # What is excluded is no more than there is.
    of_entry = np.repeat(np.arange(len(x)), np.diff(rows.indptr))
    most = np.einsum("nr,rn->n", rows.weight[of_entry], column_weight[:, rows.indices])
    rows = rows._replace(excluded=rows.excluded * most if exclude else rows.excluded)
    labels = np.arange(num_columns) if clusters is None else np.arange(num_columns) % clusters
    mass = np.stack([np.bincount(labels, weight) for weight in column_weight]).astype(np.float32)
    number = np.bincount(labels)
    centre = np.stack([np.bincount(labels, y[:, d]) / number for d in range(size)], axis=1).astype(np.float32)
    away = y - centre[labels]
    grams = np.stack([(y * weight[:, None]).T @ y for weight in column_weight])
    shared = Frozen(
        column_weight, mass, centre, away.T @ away / np.float32(num_columns), np.ones(len(number), np.float32), grams,
        column_weight @ y, np.eye(size, dtype=np.float32),
    )  # fmt: skip
    return y, rows, shared, 200, 1e-4, np.empty_like(x)


@cases("nearest_centres", crossed(shape=[(0, 1, 3), (1, 1, 1), (9, 4, 2), (600, 70, 20)]), outcome=lambda _, arguments: arguments[-1:])
def whole_numbers_so_that_some_centres_are_as_near(shape):
    points, centres, dim = shape
    random = np.random.default_rng(5)
    places = (random.integers(-2, 3, (rows, dim)).astype(np.float32) for rows in (points, centres))
    return *places, np.empty(points, np.int32)


def clustered(columns, clusters):
    """Return columns by cluster, and where each cluster begins; the second one is empty where there are several."""
    labels = np.random.default_rng(6).integers(0, clusters, columns)
    labels[labels == 1] = 0
    return np.argsort(labels, kind="stable"), np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=clusters))]).astype(np.int64)


@cases(
    "cluster_moments", crossed(shape=[(1, 1, 1), (90, 5, 3), (600, 2, 17)]), rtol=1e-4, atol=1e-5,
    outcome=lambda _, arguments: arguments[-2:],
)  # fmt: skip
def columns_by_cluster(shape):
    columns, clusters, dim = shape
    random = np.random.default_rng(7)
    y, weight = random.standard_normal((columns, dim)).astype(np.float32), random.random(columns, np.float32)
    moments = np.empty((clusters, dim), np.float32), np.empty((clusters, dim * (dim + 1) // 2), np.float32)
    return y, weight, *clustered(columns, clusters), *moments


@cases(
    "clustered_half_sweep",
    [*crossed(shape=ROWS_AND_COLUMNS, clusters=[1, 8], together=[1, 3], exclude=[False, True]),
     *crossed(shape=[(300, 45, 20)], clusters=[5], block=[130], exclude=[False, True])],
    outcome=lambda _, arguments: (arguments[-1].x, arguments[-1].stats), rtol=2e-4, atol=2e-4, also_in="torch_ops",
)  # fmt: skip
def blocks_of_rows_and_clusters_of_columns(shape, clusters, exclude, together=2, block=16):
    num_rows, num_columns, dim = shape
    x, y, rows, column_weight, system = problem(*shape, exclude)
    members, starts = clustered(num_columns, clusters)
    centre, spread = np.empty((clusters, dim)), np.empty((clusters, dim * (dim + 1) // 2))
    reference.cluster_moments(y, column_weight.sum(axis=0), members, starts, centre, spread)
    mass = np.stack([[term[members[low:high]].sum() for low, high in pairwise(starts)] for term in column_weight])
    of_clusters = Clusters(
        *(part.astype(np.float32) for part in (mass, centre)), centre.T.astype(np.float32, order="C"), np.float32(spread)
    )
    groups = Groups(np.random.default_rng(1).permutation(num_rows), block, together)
    return x, y, rows, of_clusters, groups, system, Clustered(np.empty_like(x), np.zeros((num_rows, 5)))


ENTRIES = crossed(entries=[0, 1, 40], dim=[1, 7, 64], exclude=[False, True])


def one_row(entries, dim, exclude):
    x, y, rows, *_ = problem(1, max(entries, 1), dim, exclude, density=float(entries > 0))
    return x[0], y, Entries(rows.indices, rows.positive, rows.excluded)


@cases("row_loss", ENTRIES, rtol=1e-5, atol=1e-6)
def one_row_and_its_entries(entries, dim, exclude):
    return *one_row(entries, dim, exclude), np.empty(entries, np.float32)


@cases("row_system", ENTRIES, rtol=1e-4, atol=1e-5, outcome=lambda loss, arguments: (loss, *arguments[3:5]))
def one_row_and_its_gradient(entries, dim, exclude):
    return *one_row(entries, dim, exclude), np.ones(dim, np.float32), np.empty(entries, np.float32), np.empty(entries, np.float32)


@cases("newton_row", ENTRIES, rtol=2e-3, atol=2e-4, outcome=lambda result, arguments: (*result, arguments[-1].move))
def one_row_and_its_system(entries, dim, exclude):
    x, y, own = one_row(entries, dim, exclude)
    random = np.random.default_rng(3)
    gram = y.T @ (y * random.random((len(y), 1), np.float32))
    inverse = np.linalg.inv(gram + np.eye(dim)).astype(np.float32)
    work = numba_cpu.row_work_space(dim, entries)
    work.gradient[:] = random.standard_normal(dim)
    return x, y, own, Curvature(gram, np.float32(0.5), np.float32(0.3), inverse), 4, work


@cases(
    "activate_tile", crossed(shape=[(1, 1), (2, 3), (5, 40)], score=[0.0, 1e-4, -3.0, 20.0, -40.0, 86.0, -86.0, 200.0, -200.0]),
    rtol=3e-6, outcome=lambda _, arguments: (arguments[0], *arguments[3]),
)  # fmt: skip
def scores_in_the_tails(shape, score):
    rows, columns = shape
    sums = Sums(np.zeros(rows, np.float32), np.zeros(rows), np.zeros(columns, np.float32), np.zeros(columns, np.float32))
    weights = np.ones((rows, 2), np.float32), np.ones((2, columns), np.float32)
    return np.full(shape, score, np.float32), *weights, sums, np.empty(columns, np.float32)


def positive_definite(size, more):
    root = np.random.default_rng(size).standard_normal((size, size + more))
    matrix = np.zeros((size, -(-size // 16) * 16), np.float32)
    matrix[:, :size] = root @ root.T + np.eye(size)
    return matrix


SIZES = [{"size": size} for size in (1, 3, 4, 16, 31, 64, 130)]


@cases("cholesky_solve", SIZES, rtol=2e-3, atol=2e-3, outcome=lambda _, arguments: arguments[1:])
def a_system(size):
    return positive_definite(size, 5), np.random.default_rng(1).standard_normal(size).astype(np.float32)


@cases("invert", SIZES, rtol=2e-3, atol=1e-4, outcome=lambda _, arguments: arguments)
def a_matrix(size):
    return (positive_definite(size, size + 5),)


# ------------------------------------------------------------------ baselines


@cases(
    "ridge_rows", crossed(shape=[(0, 4, 3), (1, 1, 1), (9, 40, 5), (3, 1300, 17), (70, 30, 64)], density=[0.0, 0.3, 0.9]),
    rtol=1e-3, atol=1e-4, outcome=lambda _, arguments: arguments[-1:],
)  # fmt: skip
def rows_of_a_regression(shape, density):
    rows, columns, dim = shape
    random = np.random.default_rng(6)
    pairs = random_interactions(rows, columns, density).matrix
    y = random.standard_normal((columns, dim)).astype(np.float32)
    l2 = (0.1 + random.random(rows)).astype(np.float32)
    return y, np.float32(0.2) * y.T @ y, pairs.indptr, pairs.indices, l2, np.empty((rows, dim), np.float32)


@cases(
    "inverse_factor",
    crossed(items=[1, 5, 40, 90], k=[1, 9, 33], groups=[1, 3]),
    rtol=1e-3,
    atol=1e-4,
    outcome=lambda _, arguments: arguments[-2:],
)
def items_regressed_on_those_before(items, k, groups):
    random = np.random.default_rng(7)
    a = (random.random((3 * items, items)) < 0.3).astype(np.float64)
    dense = a.T @ a + 2 * np.eye(items)
    group, has = random.integers(0, groups, items).astype(np.int32), np.eye(groups) * (groups > 1)
    dense += np.diag(np.diag(has[np.ix_(group, group)]))
    above = sp.csr_matrix(np.triu(dense, 1), dtype=np.float32)
    before = [np.sort(random.permutation(i)[:k]).astype(np.int32) for i in range(items)]
    regressed = np.concatenate([[0], np.cumsum([len(s) for s in before])]), np.concatenate(before)
    rows = above.indptr.astype(np.int64), above.indices, above.data
    written = np.empty(len(regressed[1]), np.float32), np.empty(items, np.float32)
    return rows, np.diag(dense).astype(np.float32), regressed, k, (group, has.astype(np.float32)), *written


@cases(
    "bpr_epoch", crossed(dim=[1, 5, 64], drawn=[0, 1, 50], density=[0.4, 1.0]), rtol=1e-3, atol=1e-4,
    outcome=lambda taken, arguments: (taken, *arguments[:2]),
)  # fmt: skip
def triples_of_which_some_are_skipped(dim, drawn, density):
    random = np.random.default_rng(11)
    pairs = random_interactions(6, 9, density).matrix
    chosen = random.integers(0, pairs.nnz, drawn)
    users, positives = np.repeat(np.arange(6, dtype=np.int32), np.diff(pairs.indptr))[chosen], pairs.indices[chosen]
    tables = [random.standard_normal((rows, dim)).astype(np.float32) for rows in (6, 9)]
    triples = Triples(users, positives, random.integers(0, 9, drawn).astype(np.int32))
    return *tables, triples, pairs.indptr, pairs.indices, np.float32(0.3), np.float32(0.1)


# ------------------------------------------------------------------ kernels in PyTorch


def gradients_of_tables(result, arguments):
    users_table, _, users, *_ = arguments
    gradient = result.user_gradient
    if not isinstance(result, reference.BatchLoss):  # PyTorch's has the rows of the batch
        gradient = np.zeros_like(users_table)
        np.add.at(gradient, users, result.user_gradient)
    return result.columns, gradient, result.item_gradient


@cases(
    "batch_loss",
    crossed(shape=[(7, 11, 3, 10, 6), (1, 1, 3, 10, 6), (7, 11, 3, 1, 1), (7, 11, 1, 10, 6), (7, 11, 64, 300, 6)], num_positive=[0, 1],
            scale=[1.0, 30.0]),
    outcome=gradients_of_tables, rtol=1e-4, atol=1e-4, module="torch_ops",
)  # fmt: skip
def a_batch(shape, num_positive, scale):
    num_users, num_items, dim, rows, columns = shape
    random = np.random.default_rng(0)
    tables = [random.standard_normal((count, dim)).astype(np.float32) for count in (num_users, num_items)]
    looked_at = random.integers(0, num_items, (rows, columns)), random.random((rows, columns), np.float32)
    return np.float32(scale) * tables[0], tables[1], random.integers(0, num_users, rows), *looked_at, num_positive


@cases("draw_negatives", crossed(rows=[0, 1, 30], density=[0.0, 0.3, 0.8, 1.0]), module="torch_ops")
def ranks_among_the_items_a_user_lacks(rows, density):
    train, random = random_interactions(12, 20, density, seed=3), np.random.default_rng(4)
    users = random.integers(0, 12, rows)
    lacking = train.num_items - train.user_degrees[users]
    ranks = np.where(lacking[:, None] > 0, (random.random((rows, 9)) * lacking[:, None]).astype(np.int64), -1)
    return ranks, users, train.matrix.indptr, train.matrix.indices.astype(np.int64)


@cases("propagate", crossed(shape=[(1, 1), (30, 20)], num_layers=[0, 1, 3]), rtol=1e-4, atol=1e-6, module="torch_ops")
def a_graph_and_its_layers(shape, num_layers):
    graph = normalised_adjacency(random_interactions(*shape, 0.3).matrix)
    return graph, np.random.default_rng(8).standard_normal((sum(shape), 6)).astype(np.float32), num_layers


@cases(
    "visit_cells", crossed(blocks=[1, 3], block=[1, 16], columns=[1, 90], dim=[1, 5, 64], score=[1.0, 30.0]), rtol=2e-4, atol=2e-6,
    module="torch_ops",
)  # fmt: skip
def blocks_of_rows_and_all_columns(blocks, block, columns, dim, score):
    random = np.random.default_rng(12)
    x, y = (random.standard_normal(shape).astype(np.float32) for shape in ((blocks, block, dim), (columns, dim)))
    return np.float32(score) * x, y, random.random((blocks, block, 2), np.float32), random.random((2, columns), np.float32)


@cases("pairwise_loss", crossed(rows=[0, 1, 20], dim=[1, 3]), rtol=1e-5, atol=1e-6, module="torch_ops")
def pairs_of_items(rows, dim):
    random = np.random.default_rng(9)
    return random.standard_normal((12, dim)).astype(np.float32), *(random.integers(0, 12, rows) for _ in range(3))


def in_torch(kernel, arguments):
    """Call a kernel of PyTorch with arrays; return arrays."""
    torch = pytest.importorskip("torch")
    from ultragcn.kernels import torch_ops

    def tensor(value):
        if isinstance(value, tuple):
            parts = [tensor(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        if sp.issparse(value):
            return torch_ops.sparse_matrix(value, torch.device("cpu"))
        return torch.from_numpy(value) if isinstance(value, np.ndarray) else value

    given = map(tensor, arguments)
    result = getattr(torch_ops, kernel)(*given)
    if result is None:  # it wrote into the arrays, whose memory the tensors share
        return None
    if isinstance(result, tuple):
        parts = [part.numpy() for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else tuple(parts)
    return result.numpy()


# ------------------------------------------------------------------ the tests


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.module}.{case.kernel}({case.label})")
def test_a_kernel_equals_its_twin(case):
    arguments, exact = case.arguments(), in_float64(case.arguments())
    result = in_torch(case.kernel, arguments) if case.module == "torch_ops" else getattr(numba_cpu, case.kernel)(*arguments)
    mine = case.outcome(result, arguments)
    theirs = case.outcome(getattr(reference, case.kernel)(*exact), exact)
    for ours, twin in zip(mine, theirs, strict=True):
        largest = np.abs(twin, dtype=np.float64).max(initial=0, where=np.isfinite(twin)) if case.atol else 0.0
        smallest = 1e-34 if case.rtol else 0.0  # sums of numbers near the smallest one that float32 holds with all its digits
        np.testing.assert_allclose(ours, twin, rtol=case.rtol, atol=max(case.atol * largest, smallest))


def kernels_of(module):
    """Return the names of all kernels that a module exports."""
    return set(module.__all__) - set(NOT_KERNELS)


def test_every_kernel_in_numba_has_a_case_that_compares_it_with_its_twin():
    assert kernels_of(numba_cpu) == {case.kernel for case in CASES if case.module == "numba_cpu"}


def test_every_kernel_in_torch_has_a_case_that_compares_it_with_its_twin():
    pytest.importorskip("torch")
    from ultragcn.kernels import torch_ops

    assert kernels_of(torch_ops) == {case.kernel for case in CASES if case.module == "torch_ops"}


@pytest.mark.parametrize(("module", "kernel"), sorted({(case.module, case.kernel) for case in CASES}))
def test_every_kernel_takes_at_most_eight_arguments_and_the_same_as_its_twin(module, kernel):
    if module == "torch_ops":
        pytest.importorskip("torch")
    fast = getattr(importlib.import_module(f"ultragcn.kernels.{module}"), kernel)
    names, twins = (list(inspect.signature(function).parameters) for function in (fast, getattr(reference, kernel)))
    assert names == twins
    assert len(names) <= 8


def test_a_kernel_without_a_case_is_found():
    module = SimpleNamespace(__all__=["top_k", "a_new_kernel"])
    assert kernels_of(module) - {case.kernel for case in CASES} == {"a_new_kernel"}
