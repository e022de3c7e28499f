"""Kernels in Numba: parallel over rows, compiled on first use and cached on disk. Twins of the same names in `reference`.

ranking.py      seen items left out, the best of each row, hits, statistics of lists
sparse.py       a product of sparse matrices, the largest entries of each row
cooccurrence.py the strongest neighbours of each item, and P with them
sweeps.py       half-sweeps of the exact solver, over blocks of cells
fold_in.py      the problem of one row to convergence, the other side frozen
clusters.py     half-sweeps over clusters of columns, and what makes the clusters
rows.py         the problem of one row, and small systems of D x D
least_squares.py  a ridge regression a row: implicit ALS, the sparse factor of an inverse
pairwise.py     one epoch of BPR
search.py       where an item stands in a row of ascending ones
threads.py      who starts threads
cache.py        where compiled kernels are kept
vectors.py      wide vectors and a sigmoid that vectorises
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ultragcn.kernels.arguments import Frozen, GraphTerm, Rows, Strength, Triples, Wide
from ultragcn.kernels.numba_cpu import rows, sweeps
from ultragcn.kernels.numba_cpu.clusters import cluster_moments, clustered_half_sweep, nearest_centres
from ultragcn.kernels.numba_cpu.compiling import on_its_own
from ultragcn.kernels.numba_cpu.cooccurrence import cooccurrences, item_neighbors, positive_rows
from ultragcn.kernels.numba_cpu.fold_in import fold_in_rows
from ultragcn.kernels.numba_cpu.least_squares import inverse_factor, ridge_rows
from ultragcn.kernels.numba_cpu.pairwise import bpr_epoch
from ultragcn.kernels.numba_cpu.ranking import FEW_USERS, are_few, find_hits, list_statistics, mask_seen, pair_scores, rank_users, top_k
from ultragcn.kernels.numba_cpu.rows import row_work_space
from ultragcn.kernels.numba_cpu.sparse import largest_entries, sparse_product, strongest_beside, strongest_of_product
from ultragcn.kernels.numba_cpu.sweeps import PIECE_PRODUCT, PIECE_ROWS, half_sweep, quadratic_half_sweep
from ultragcn.kernels.numba_cpu.threads import blas_threads, interrupts_kept, interrupts_named, numba_threads

# What kernels are made of, for whoever wants to try one alone.
activate_tile, cholesky_solve, invert, newton_row, row_loss, row_system = map(
    on_its_own, (sweeps.activate_tile, rows.cholesky_solve, rows.invert, rows.newton_row, rows.row_loss, rows.row_system)
)

__all__ = [
    "COMPILED",
    "FEW_USERS",
    "PIECE_PRODUCT",
    "PIECE_ROWS",
    "activate_tile",
    "are_few",
    "blas_threads",
    "bpr_epoch",
    "cholesky_solve",
    "cluster_moments",
    "clustered_half_sweep",
    "compile_kernels",
    "cooccurrences",
    "find_hits",
    "fold_in_rows",
    "half_sweep",
    "interrupts_kept",
    "interrupts_named",
    "inverse_factor",
    "invert",
    "item_neighbors",
    "largest_entries",
    "list_statistics",
    "mask_seen",
    "nearest_centres",
    "newton_row",
    "numba_threads",
    "pair_scores",
    "positive_rows",
    "quadratic_half_sweep",
    "rank_users",
    "ridge_rows",
    "row_loss",
    "row_system",
    "row_work_space",
    "sparse_product",
    "strongest_beside",
    "strongest_of_product",
    "top_k",
]  # fmt: skip


def cache_folder() -> Path | None:
    """Return the folder in which compiled kernels are kept, all of them in one; None where there is no place for them."""
    path = bpr_epoch.stats.cache_path
    return None if path is None else Path(str(path))


def compile_kernels(*names: str) -> float:
    """Compile kernels, or load them from the cache on disk, by running them on a tiny input; return the seconds it took.

    With the types that they are called with: indptr as SciPy keeps it (int32) where a matrix is handed on as it is, else int64.

    Parameters
    ----------
    *names : str
        Of `COMPILED`; all of them where none is given. The half-sweeps are compiled by the solver (`solvers.exact.compile_kernels`).
    """
    started = time.perf_counter()
    with numba_threads():
        for name in names or COMPILED:
            COMPILED[name]()
    return time.perf_counter() - started


_INDPTR, _INDICES = np.array([0, 1], np.int64), np.zeros(1, np.int32)
_OF_SCIPY, _USERS, _ONE = _INDPTR.astype(np.int32), np.zeros(1, np.int64), np.ones((1, 1), np.float32)
_MANY = np.zeros(FEW_USERS + 1, np.int64)
_STRENGTH = Strength(_ONE[0], _ONE[0], np.float32(1), np.zeros(0, np.int64))
_WIDE = Wide(_INDICES, _ONE, _INDPTR, _INDICES, np.ones(1, np.int64))
_MATRIX = _INDPTR, _INDICES, _ONE[0]
_TERM = GraphTerm(_INDPTR, _INDICES, _INDPTR, _INDICES, _ONE[0], 0.0)
_ROWS = Rows(_INDPTR, _INDICES, _ONE[0], _ONE[0, :0], np.ones((1, 2), np.float32), _ONE[0], _ONE[0, :0], _ONE[0, :0])
_PAIR = np.ones((2, 1), np.float32)
_FROZEN = Frozen(_PAIR, _PAIR, _ONE, _ONE, _ONE[0], np.ones((2, 1, 1), np.float32), _PAIR, _ONE)

COMPILED: dict[str, Callable[[], object]] = {
    "rank_users": lambda: [rank_users(_ONE, _ONE, users, 1, (_INDPTR, _INDICES), _TERM, 1, 1) for users in (_USERS, _MANY)],
    "pair_scores": lambda: pair_scores(_ONE, _ONE, _USERS, _USERS, _TERM),
    "find_hits": lambda: find_hits(_INDICES[:, None], _USERS, _OF_SCIPY, _INDICES),
    "list_statistics": lambda: list_statistics(np.ones((1, 1), np.bool_), np.ones(1, np.int64)),
    "mask_seen": lambda: mask_seen(_ONE.copy(), _USERS, _OF_SCIPY, _INDICES),
    "top_k": lambda: top_k(_ONE, 1),
    "item_neighbors": lambda: item_neighbors(_INDPTR, _INDICES, _INDPTR, _INDICES, np.ones(1, np.int64), 1, True),
    "cooccurrences": lambda: cooccurrences(_USERS, _INDPTR, _INDICES, _INDPTR, _INDICES, 1),
    "fold_in_rows": lambda: fold_in_rows(_ONE, _ROWS, _FROZEN, 1, 1.0, _ONE.copy()),
    "positive_rows": lambda: positive_rows(_INDPTR, _INDICES, _ONE[0], _INDICES[:, None], _ONE, np.float32(0.5)),
    "sparse_product": lambda: sparse_product(_INDPTR, _INDICES, _ONE[0], _INDPTR, _INDICES, _ONE[0], 1),
    "strongest_of_product": lambda: strongest_of_product(_MATRIX, _MATRIX, _ONE[0], _INDPTR[:0], 1),
    "largest_entries": lambda: largest_entries(_INDPTR, _INDICES, _ONE[0], 1),
    "strongest_beside": lambda: strongest_beside(0, _INDPTR, _INDICES, _ONE[0], _STRENGTH, _WIDE, 1),
    "ridge_rows": lambda: ridge_rows(_ONE, _ONE, _INDPTR, _INDICES, _ONE[0], _ONE.copy()),
    "bpr_epoch": lambda: bpr_epoch(
        _ONE.copy(), _ONE.copy(), Triples(_INDICES, _INDICES, _INDICES), _OF_SCIPY, _INDICES, np.float32(0), np.float32(0)
    ),
}
"""What compiles a kernel, by its name: the kernels of ranking, of evaluation, of graphs and of baselines."""
