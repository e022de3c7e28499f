"""Full ranking: every item scored for every user asked about, in blocks, seen items left out.

U users, I items, D dimensions, B users of a block, K list length.
"""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

# Scores of one block, in bytes: large enough for the matrix product to run at speed, small enough to stay near the processor.
_BLOCK_BYTES = 16 * 2**20


def block_rows(num_items: int) -> int:
    """Return B, the users ranked together."""
    return int(np.clip(_BLOCK_BYTES // (4 * max(num_items, 1)), 16, 4096))


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
    step = block_rows(item_embedding.shape[0])
    scores = np.empty((min(step, len(users)), item_embedding.shape[0]), dtype=np.float32)
    for start in range(0, len(users), step):
        block = users[start : start + step]
        block_scores = scores[: len(block)]
        np.matmul(user_embedding[block], item_embedding.T, out=block_scores)
        if seen is not None:
            numba_cpu.mask_seen(block_scores, block, seen.indptr, seen.indices)
        yield block, *numba_cpu.top_k(block_scores, top_k)
