"""Full ranking: every item scored for every user asked about, in blocks, seen items left out.

U users, I items, D dimensions, B users of a block, K list length.
"""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

BATCH_USERS = 8192  # users ranked before their lists are handed over
_BLOCK, _TILE = 128, 512  # users and items whose scores are made together: a quarter of a megabyte, near the processor


def rank(user_embedding: np.ndarray, item_embedding: np.ndarray, users: np.ndarray, top_k: int,
         seen: sp.csr_matrix | None = None) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:  # fmt: skip
    """Yield, block by block, the top_k items of `users`, by (higher score, then lower item index).

    Parameters
    ----------
    user_embedding : (U, D) float32
    item_embedding : (I, D) float32
    users : (Q,) int
        User rows to rank for.
    top_k : int
        K >= 1; may exceed I.
    seen : csr_matrix, U x I, optional
        Items that are never listed.

    Yields
    ------
    users : (B,) int64
    items : (B, K) int32
        -1 where fewer than K items may be listed.
    scores : (B, K) float32
        -inf there.
    """
    from ultragcn.kernels import numba_cpu

    users = np.asarray(users, dtype=np.int64)
    if seen is None:
        indptr, indices = np.zeros(len(user_embedding) + 1, np.int64), np.zeros(0, np.int32)
    else:
        indptr, indices = seen.indptr.astype(np.int64, copy=False), seen.indices.astype(np.int32, copy=False)
    tables = (np.ascontiguousarray(user_embedding, np.float32), np.ascontiguousarray(item_embedding, np.float32))
    for start in range(0, len(users), BATCH_USERS):
        block = users[start : start + BATCH_USERS]
        with numba_cpu.numba_threads():
            items, scores = numba_cpu.rank_users(*tables, block, top_k, indptr, indices, _BLOCK, _TILE)
        yield block, items, scores
