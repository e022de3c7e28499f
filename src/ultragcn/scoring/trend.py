"""Popularity of late: how much of what is used now an item is. It needs the times of the train interactions."""

import numpy as np

from ultragcn.data.interactions import Interactions

PRIOR = 0.05
"""Weight of an item's share over all time beside its recent one, relative to all recent interactions: bounds what few of them can say."""
_DAY = 86_400_000_000  # microseconds


def has_span(train: Interactions) -> bool:
    """Return whether times are known and not all the same."""
    return train.times is not None and len(train) > 0 and bool(train.times.max() > train.times.min())


def recent_counts(train: Interactions, half_life: float) -> np.ndarray:
    """Return the sum of 2^(-age / half_life) over each item's interactions, ages back from the last of all, in days: (I,) float64."""
    assert train.times is not None
    recent = 0.5 ** ((train.times.max() - train.times) / (_DAY * half_life))
    return np.bincount(train.pairs[1], weights=recent, minlength=train.num_items)


def log_recent_share(train: Interactions, half_life: float) -> np.ndarray:
    """Return the logarithm of each item's share of what is used of late: (I,) float64.

        log q_i,   q_i = (r_i + m p_i) / (R + m),   r_i the recent count, R = sum of r_i, p_i = d_i / N, m = PRIOR R

    An item without interactions counts as half of one in p_i.

    Parameters
    ----------
    train : Interactions
        With times.
    half_life : float
        Days after which an interaction counts half.
    """
    recent = recent_counts(train, half_life)
    prior = PRIOR * recent.sum()
    shares: np.ndarray = (recent + prior * np.maximum(train.item_degrees, 0.5) / len(train)) / (recent.sum() + prior)
    result: np.ndarray = np.log(shares)
    return result
