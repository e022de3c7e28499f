"""What is most alike: what points most nearly the same way, and what the same users have.

N rows of a table, D dimensions, U users, I items, B rows asked about, K places of a list.
"""

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from ultragcn import kernels
from ultragcn.scoring.item_weights import blocks
from ultragcn.scoring.ranking import Rows, best_columns, rank, rows_of

WAYS = ("together", "embeddings")
"""By what items can be alike."""
SHRINKAGE = 10.0
"""Added to the denominator of cosines of co-occurrence, as `ItemKNN` does by default: pulls cosines made of few users towards 0."""


class Directions:
    """Where the rows of a table point: what does not change between questions about the nearest of them.

    Parameters
    ----------
    table : (N, D) float32
    among : (N,) bool, optional
        The rows that something is known of: others are never listed, and nothing is listed for them. Default: all.
    """

    def __init__(self, table: np.ndarray, among: np.ndarray | None = None):
        self._known = np.arange(len(table)) if among is None else np.flatnonzero(among)
        table = table if len(self._known) == len(table) else table[self._known]
        lengths = np.linalg.norm(table, axis=1)
        self._unit = (table / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]).astype(np.float32, copy=False)

    def nearest(self, rows: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the top_k rows of largest cosine with each of `rows` (B,); see `nearest_rows`."""
        known, unit = self._known, self._unit
        neighbors, cosines = np.full((len(rows), top_k), -1, np.int32), np.full((len(rows), top_k), -np.inf, np.float32)
        if len(known) == 0:
            return neighbors, cosines
        own = np.minimum(np.searchsorted(known, rows), len(known) - 1)
        asked = np.flatnonzero(known[own] == rows)
        own = own[asked]
        places = np.arange(len(asked))
        itself = Rows(np.arange(len(asked) + 1, dtype=np.int64), own.astype(np.int32))
        for block, found, values in rank(unit[own], unit, places, top_k, itself):
            neighbors[asked[block]] = np.where(found >= 0, known[found], -1)
            cosines[asked[block]] = values
        return neighbors, cosines


def nearest_rows(table: np.ndarray, rows: np.ndarray, top_k: int, among: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the top_k rows of `table` (N, D) of largest cosine with each of `rows` (B,), which are not listed themselves.

    Parameters
    ----------
    table : (N, D) float32
    rows : (B,) int
    top_k : int
    among : (N,) bool, optional
        As in `Directions`, which is for whoever asks several times.

    Returns
    -------
    neighbors : (B, K) int32
        -1 where there are no more rows.
    cosines : (B, K) float32
        -inf there.

    Examples
    --------
    >>> nearest_rows(np.array([[1, 0], [2, 1], [0, 1]], np.float32), np.array([0]), 2)[0].tolist()
    [[1, 2]]
    """
    return Directions(table, among).nearest(rows, top_k)


def heaviest(weights_of: Callable[[np.ndarray], np.ndarray], num_items: int, rows: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the top_k items of largest weight for each of `rows` (B,), never the item itself, and none whose weight is not above 0.

    Parameters
    ----------
    weights_of : callable
        From some of the rows (b,) to the weights of all items for each, (b, I) float32, which may be overwritten.
    num_items : int
        I.
    rows : (B,) int
    top_k : int

    Returns
    -------
    items : (B, K) int32
        -1 where there are no more items.
    weights : (B, K) float32
        -inf there.

    Examples
    --------
    >>> weights = np.array([[5, 1, 2], [0, 0, 1], [0, 0, 0]], np.float32)
    >>> heaviest(lambda rows: weights[rows], 3, np.array([0, 1]), 2)[0].tolist()
    [[2, 1], [2, -1]]
    """
    items, values = np.full((len(rows), top_k), -1, np.int32), np.full((len(rows), top_k), -np.inf, np.float32)
    for block in blocks(len(rows), num_items):
        weights = weights_of(rows[block])
        weights[weights <= 0] = -np.inf
        weights[np.arange(len(block)), rows[block]] = -np.inf
        items[block], values[block] = best_columns(weights, top_k)
    return items, values


class Together:
    """Who has what, from both sides: what does not change between questions about what the same users have.

    Parameters
    ----------
    matrix : csr_matrix (U, I)
        A, who has what.
    """

    def __init__(self, matrix: sp.csr_matrix):
        by_item = matrix.T.tocsr()
        self._num_items = matrix.shape[1]
        self._rows = *rows_of(by_item), *rows_of(matrix)
        self._lengths = np.sqrt(np.diff(by_item.indptr)).astype(np.float32)

    def nearest(self, rows: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the top_k items that the users of each of `rows` (B,) have most; see `most_together`."""
        return heaviest(self._cosines, self._num_items, rows, top_k)

    def _cosines(self, items: np.ndarray) -> np.ndarray:
        with kernels.interrupts_named():
            together: np.ndarray = kernels.cooccurrences(np.asarray(items, np.int64), *self._rows, self._num_items)
        together /= self._lengths[items, None] * self._lengths + np.float32(SHRINKAGE)
        return together


def most_together(matrix: sp.csr_matrix, rows: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the top_k items that the users of each of `rows` (B,) have most, for how many users they have: the shrunk cosine

        c_ij = C_ij / (sqrt(C_ii C_jj) + shrinkage),    C = A^T A.

    Parameters
    ----------
    matrix : csr_matrix (U, I)
        A, who has what. `Together` is for whoever asks several times.
    rows : (B,) int
        Items.
    top_k : int

    Returns
    -------
    items, cosines : (B, K)
        As of `heaviest`.

    Examples
    --------
    >>> most_together(sp.csr_matrix([[1, 1, 0], [1, 1, 0], [0, 1, 1]], dtype=np.float32), np.array([0, 2]), 2)[0].tolist()
    [[1, -1], [1, -1]]
    """
    return Together(matrix).nearest(rows, top_k)
