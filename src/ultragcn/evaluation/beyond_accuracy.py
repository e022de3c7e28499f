"""Beyond accuracy: how much of the catalogue is listed, how evenly, and how well known it is already.

d_i users of item i in train, U users, I items, K list length, Q lists. Places left empty (-1) count nowhere.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from ultragcn.data.interactions import Interactions


def self_information(train: Interactions) -> np.ndarray:
    """-log2(d_i / U), in bits: how surprising it is that a user has the item; one nobody has counts as if one user had it.

    Its mean over a list is novelty (Zhou et al., PNAS 2010). Returns (I,) float64.
    """
    result: np.ndarray = -np.log2(np.maximum(train.item_degrees, 1) / train.num_users)
    return result


def list_means(values: np.ndarray, items: np.ndarray, lengths: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, for each list length, the mean of `values` over every list, 0 for an empty one, and which lists are not empty.

    Parameters
    ----------
    values : (I,)
    items : (Q, K) int32
    lengths : list of int, ascending

    Yields
    ------
    (Q,) float64 and (Q,) bool
    """
    total, count = np.zeros(len(items)), np.zeros(len(items), dtype=np.int64)
    done = 0
    for length in lengths:
        for column in items.T[done:length]:
            total += np.where(column >= 0, values[column], 0)
            count += column >= 0
        done = length
        yield total / np.maximum(count, 1), count > 0


def times_listed(items: np.ndarray, num_items: int, lengths: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield, for each list length (ascending), how many lists every item is in: (I,) int64."""
    times = np.zeros(num_items, dtype=np.int64)
    done = 0
    for length in lengths:
        for column in items.T[done:length]:
            times += np.bincount(column[column >= 0], minlength=num_items)
        done = length
        yield times.copy()


def coverage(times: np.ndarray) -> float:
    """Return the share of all items that are listed to anyone (Ge et al., RecSys 2010)."""
    return float(np.mean(times > 0))


def gini(times: np.ndarray) -> float:
    """Return sum_i (2i - I - 1) times_(i) / (I sum times), times ascending: 0 when all items are listed equally often, near 1 when one is.

    Fleder and Hosanagar, Management Science 2009; the same as RecBole's.
    """
    places = 2 * np.arange(1, len(times) + 1) - len(times) - 1
    return float(places @ np.sort(times) / (len(times) * max(int(times.sum()), 1)))
