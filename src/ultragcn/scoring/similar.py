"""What points most nearly the same way. N rows of a table, D dimensions, B rows asked about, K places of a list."""

import numpy as np
import scipy.sparse as sp

from ultragcn.scoring.ranking import rank


def nearest_rows(table: np.ndarray, rows: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the top_k rows of `table` (N, D) of largest cosine with each of `rows` (B,), which are not listed themselves.

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
    lengths = np.linalg.norm(table, axis=1)
    unit = (table / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]).astype(np.float32, copy=False)
    places = np.arange(len(rows))
    itself = sp.csr_matrix((np.ones(len(rows), np.float32), (places, rows)), shape=(len(rows), len(table)))
    blocks = [(np.zeros((0, top_k), np.int32), np.zeros((0, top_k), np.float32))]
    blocks += [(found, cosines) for _, found, cosines in rank(unit[rows], unit, places, top_k, itself)]
    return np.concatenate([found for found, _ in blocks]), np.concatenate([cosines for _, cosines in blocks])
