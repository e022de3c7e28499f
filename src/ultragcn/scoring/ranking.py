"""Full ranking: every item scored for every user asked about, in blocks, seen items left out.

U users, I items, D dimensions, B users of a block, K list length.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from ultragcn import kernels
from ultragcn.kernels import arguments
from ultragcn.scoring.item_weights import sample

BATCH_USERS = 8192  # users ranked before their lists are handed over
_BATCH_PLACES = 2**23  # places of those lists at most
_BLOCK, _TILE = 128, 512  # users and items whose scores are made together: a quarter of a megabyte, near the processor
_GRAPH_BYTES = 24 * 2**20  # what the scores of the item graph take of a block of users, on each thread


Lists = tuple[np.ndarray, np.ndarray]
"""Items (B, K) int32 and scores (B, K) float32."""
_ranker: ContextVar[Callable[..., Lists] | None] = ContextVar("ranker", default=None)


@contextmanager
def ranked_by(ranker: Callable[..., Lists] | None) -> Iterator[None]:
    """Let `ranker`, which takes what `kernels.rank_users` takes, make the lists of this thread's `rank`; None: Numba makes them."""
    before = _ranker.set(ranker)
    try:
        yield
    finally:
        _ranker.reset(before)


def batch_users(top_k: int) -> int:
    """Return how many users are ranked before their lists are handed over: fewer where lists are long, so that memory does not grow."""
    return max(1, min(BATCH_USERS, _BATCH_PLACES // top_k))


class GraphTerm(NamedTuple):
    """What the item graph adds to the score: s_ui = e_u . e_i + scale g_ui, g = owned w."""

    weights: sp.csr_matrix  # (I, I) float32, w: row i has what having item i adds to the others
    owned: sp.csr_matrix  # (U, I), what each user has
    scale: float


def graph_scale(user_embedding: np.ndarray, item_embedding: np.ndarray, owned: sp.csr_matrix, deviation: float) -> float:
    """Return the scale at which the graph's scores vary as much as the product of the embeddings.

    mean_u std_i(e_u . e_i) / deviation, over a sample of users (`item_weights.sample`).

    Parameters
    ----------
    user_embedding, item_embedding : (U, D) and (I, D) float32
    owned : csr_matrix (U, I)
    deviation : float
        mean_u std_i(g_ui) of the graph, from `item_weights.mean_deviation`.

    Returns
    -------
    float
        0 when the graph says nothing of any of them.
    """
    centred = item_embedding - item_embedding.mean(axis=0, dtype=np.float64)
    rows = user_embedding[sample(owned)].astype(np.float64)
    with kernels.numba_threads():  # a thread of BLAS's own would spin for a while, in the way of the kernels that come next
        covariance = centred.T @ centred / len(item_embedding)
        product = np.sqrt(np.maximum(np.einsum("ud,ud->u", rows @ covariance, rows), 0))
    return float(product.mean() / deviation) if deviation > 0 else 0.0


class Rows(NamedTuple):
    """What belongs to each user, as kernels take it: CSR rows without their values."""

    indptr: np.ndarray  # (U + 1,) int64
    indices: np.ndarray  # int32, ascending within a row where it matters


def rows_of(matrix: sp.csr_matrix) -> Rows:
    """Return the rows of a matrix with the types that kernels are compiled for."""
    return Rows(matrix.indptr.astype(np.int64, copy=False), matrix.indices.astype(np.int32, copy=False))


def no_rows(number: int) -> Rows:
    """Return so many rows without entries."""
    return Rows(np.zeros(number + 1, np.int64), np.zeros(0, np.int32))


def term_of(graph: GraphTerm) -> arguments.GraphTerm:
    """Return the term of the item graph as kernels take it."""
    weights = graph.weights if graph.weights.has_sorted_indices else graph.weights.sorted_indices()
    return arguments.GraphTerm(*rows_of(graph.owned), *rows_of(weights), weights.data, float(graph.scale))


def no_term() -> arguments.GraphTerm:
    """Return the term of the item graph where there is none."""
    return arguments.GraphTerm(*no_rows(0), *no_rows(0), np.zeros(0, np.float32), 0.0)


def rank(user_embedding: np.ndarray, item_embedding: np.ndarray, users: np.ndarray, top_k: int,
         seen: sp.csr_matrix | Rows | None = None, graph: GraphTerm | arguments.GraphTerm | None = None,
         ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:  # fmt: skip
    """Yield, block by block, the top_k items of `users`, by (higher score, then lower item index).

    Parameters
    ----------
    user_embedding : (U, D) float32
    item_embedding : (I, D) float32
    users : (Q,) int
        User rows to rank for.
    top_k : int
        K >= 1; may exceed I.
    seen : csr_matrix, U x I, or Rows, optional
        Items that are never listed.
    graph : GraphTerm, optional
        A second term of the score; whoever ranks often gives it as `term_of` makes it.

    Yields
    ------
    users : (B,) int64
    items : (B, K) int32
        -1 where fewer than K items may be listed.
    scores : (B, K) float32
        -inf there.
    """
    users = np.asarray(users, dtype=np.int64)
    tables = (np.ascontiguousarray(user_embedding, np.float32), np.ascontiguousarray(item_embedding, np.float32))
    seen_rows = no_rows(len(user_embedding)) if seen is None else seen if isinstance(seen, Rows) else rows_of(seen)
    term = no_term() if graph is None else term_of(graph) if isinstance(graph, GraphTerm) else graph
    block = _BLOCK if term.scale == 0 else int(np.clip(_GRAPH_BYTES // (4 * len(item_embedding)), 1, _BLOCK))
    step = batch_users(top_k)
    rank_users: Any = _ranker.get() or kernels.rank_users
    for start in range(0, len(users), step):
        batch = users[start : start + step]
        with limits_for(len(batch), len(item_embedding)):
            lists = rank_users(*tables, batch, min(top_k, len(item_embedding)), tuple(seen_rows), term, block, _TILE)
        yield batch, *_padded(lists, top_k)


def limits_for(num_users: int, num_items: int) -> AbstractContextManager[None]:
    """Return what surrounds a kernel that ranks so many users: few of them need no BLAS, so no limit is set for it."""
    context: AbstractContextManager[None] = kernels.interrupts_named() if kernels.are_few(num_users, num_items) else kernels.numba_threads()
    return context


def best_columns(scores: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the top_k columns of largest score of each row of (B, N) float32, and the scores: (B, K) each, as `rank` yields them."""
    with kernels.interrupts_named():
        lists = kernels.top_k(scores, min(top_k, scores.shape[1]))
    return _padded(lists, top_k)


def _padded(lists: tuple[np.ndarray, np.ndarray], top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return items and scores of lists (B, N) with empty places up to top_k: item -1, score -inf.

    Time and memory of the kernels grow with the places of a list, so they are not asked for more than there are items.
    """
    items, scores = lists
    if items.shape[1] == top_k:
        return items, scores
    width = ((0, 0), (0, top_k - items.shape[1]))
    return np.pad(items, width, constant_values=-1), np.pad(scores, width, constant_values=-np.inf)
