"""Splitting interactions for the `clean` protocol."""

import numpy as np
import scipy.sparse as sp

from ultragcn import rng
from ultragcn.data.interactions import Interactions

VALID_FRACTION = 0.1
MIN_DEGREE = 3


def hold_out(
    interactions: Interactions, seed: int, fraction: float = VALID_FRACTION, min_degree: int = MIN_DEGREE
) -> tuple[Interactions, Interactions]:
    """Split each user's items at random into what stays and what is held out.

    Parameters
    ----------
    interactions : Interactions, N pairs
    seed : int
        The same seed and data give the same split.
    fraction : float
        Share of a user's items to hold out, rounded down, but at least one.
    min_degree : int
        Users with fewer items keep them all.

    Returns
    -------
    kept, held_out : Interactions
        Over the same ids; every user keeps at least one item.
    """
    users, items = interactions.pairs
    degrees = interactions.user_degrees
    held = np.where(degrees >= min_degree, np.maximum(1, np.floor(fraction * degrees).astype(np.int64)), 0)
    held = np.minimum(held, np.maximum(degrees - 1, 0))
    # Shuffle within each user: sort by (user, random key), then the first `held` of a user are held out.
    order = np.lexsort((rng.stream(seed, "hold out").random(len(items)), users))
    rank = np.arange(len(items)) - np.repeat(interactions.matrix.indptr[:-1], degrees)
    out = np.zeros(len(items), dtype=bool)
    out[order] = rank < np.repeat(held, degrees)

    def chosen(mask: np.ndarray) -> Interactions:
        ones = np.ones(int(mask.sum()), dtype=np.float32)
        return interactions.with_matrix(sp.csr_matrix((ones, (users[mask], items[mask])), shape=interactions.matrix.shape))

    return chosen(~out), chosen(out)
