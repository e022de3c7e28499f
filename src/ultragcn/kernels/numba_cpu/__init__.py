"""Kernels in Numba: parallel over rows, compiled on first use and cached on disk. Twins of the same names in `reference`.

ranking.py      seen items left out, the best of each row, hits, statistics of lists
sparse.py       a product of sparse matrices, the largest entries of each row
cooccurrence.py the strongest neighbours of each item, and P with them
sweeps.py       half-sweeps of the exact solver, over blocks of cells
rows.py         the problem of one row, and small systems of D x D
least_squares.py  a ridge regression a row: implicit ALS, the sparse factor of an inverse
pairwise.py     one epoch of BPR
search.py       where an item stands in a row of ascending ones
threads.py      who starts threads
vectors.py      wide vectors and a sigmoid that vectorises
"""

import os
import time
from pathlib import Path

import numpy as np

from ultragcn.kernels.arguments import GraphTerm
from ultragcn.kernels.numba_cpu import rows, sweeps
from ultragcn.kernels.numba_cpu.compiling import on_its_own
from ultragcn.kernels.numba_cpu.cooccurrence import item_neighbors, positive_rows
from ultragcn.kernels.numba_cpu.least_squares import inverse_factor, ridge_rows
from ultragcn.kernels.numba_cpu.pairwise import bpr_epoch
from ultragcn.kernels.numba_cpu.ranking import find_hits, list_statistics, mask_seen, rank_users, top_k
from ultragcn.kernels.numba_cpu.rows import row_work_space
from ultragcn.kernels.numba_cpu.sparse import largest_entries, sparse_product
from ultragcn.kernels.numba_cpu.sweeps import PIECE_PRODUCT, PIECE_ROWS, half_sweep, quadratic_half_sweep
from ultragcn.kernels.numba_cpu.threads import blas_threads, interrupts_kept, numba_threads

# What kernels are made of, for whoever wants to try one alone.
activate_tile, cholesky_solve, invert, newton_row, row_loss, row_system = map(
    on_its_own, (sweeps.activate_tile, rows.cholesky_solve, rows.invert, rows.newton_row, rows.row_loss, rows.row_system)
)

__all__ = [
    "PIECE_PRODUCT",
    "PIECE_ROWS",
    "activate_tile",
    "blas_threads",
    "bpr_epoch",
    "cholesky_solve",
    "compile_kernels",
    "find_hits",
    "half_sweep",
    "interrupts_kept",
    "inverse_factor",
    "invert",
    "is_compiled",
    "item_neighbors",
    "largest_entries",
    "list_statistics",
    "mask_seen",
    "newton_row",
    "numba_threads",
    "positive_rows",
    "quadratic_half_sweep",
    "rank_users",
    "ridge_rows",
    "row_loss",
    "row_system",
    "row_work_space",
    "sparse_product",
    "top_k",
]  # fmt: skip


def is_compiled() -> bool:
    """Return whether kernels were compiled before on this installation: whether Numba's cache on disk holds any."""
    cache = os.environ.get("NUMBA_CACHE_DIR")
    return any(Path(cache).rglob("*.nbi")) if cache else any(Path(__file__).parent.glob("__pycache__/*.nbi"))


def compile_kernels() -> float:
    """Compile the kernels of ranking and of the co-occurrence graph, or load them from the cache on disk, by running them on a tiny input.

    With the types that they are called with: indptr as SciPy keeps it (int32) where a matrix is handed on as it is, else int64.
    Returns the seconds it took. The solver's own kernels are compiled by the solver (`solvers.exact.compile_kernels`).
    """
    started = time.perf_counter()
    indptr, indices = np.array([0, 1], dtype=np.int64), np.zeros(1, dtype=np.int32)
    of_scipy = indptr.astype(np.int32)
    users, scores = np.zeros(1, dtype=np.int64), np.zeros((1, 1), dtype=np.float32)
    mask_seen(scores, users, of_scipy, indices)
    ranking, _ = top_k(scores, 1)
    list_statistics(find_hits(ranking, users, of_scipy, indices), np.ones(1, dtype=np.int64))
    largest_entries(*sparse_product(indptr, indices, scores[0], indptr, indices, scores[0], 1), 1)
    with numba_threads():
        rank_users(scores, scores, users, 1, (indptr, indices), GraphTerm(indptr, indices, indptr, indices, scores[0], 0.0), 1, 1)
    item_neighbors(indptr, indices, indptr, indices, np.ones(1, dtype=np.int64), 1, True)
    return time.perf_counter() - started
