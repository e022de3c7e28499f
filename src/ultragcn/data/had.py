"""Pairs that users had but that are not learned: rows of a log that are rated below `min_rating`.

Whoever bought something and rated it low has it. A model for use does not learn such a pair, and does not list it.
"""

from collections.abc import Iterable

import numpy as np
import scipy.sparse as sp

from ultragcn.data.ids import IdMap
from ultragcn.data.interactions import Interactions


def distinct_pairs(users: np.ndarray, items: np.ndarray, user_ids: IdMap, item_ids: IdMap) -> Interactions:
    """Return the distinct pairs of rows (N,) of two id maps."""
    shape = (len(user_ids), len(item_ids))
    matrix = sp.csr_matrix((np.ones(len(users), np.float32), (users, items)), shape=shape)
    matrix.sum_duplicates()
    return Interactions._of(matrix, user_ids, item_ids)


def had_beside(had: Iterable[Interactions | None], learned: Interactions, *more: Interactions | None) -> Interactions | None:
    """Return the pairs that users had besides those that are learned, over the ids of what is learned; None where there are none.

    Pairs of users and of items that `learned` does not know are left out: neither gets into a list.

    Parameters
    ----------
    had : list of Interactions or None
        Over ids of their own.
    learned : Interactions
    *more : Interactions or None
        Other pairs that are learned or seen, over the ids of `learned`.
    """
    found = [np.zeros(0, np.int64), *(_keys_over(part, learned) for part in had if part is not None)]
    keys = np.unique(np.concatenate(found))
    for part in (learned, *more):
        if part is not None and len(part) and len(keys):
            theirs = part._keys
            places = np.minimum(np.searchsorted(theirs, keys), len(theirs) - 1)
            keys = keys[theirs[places] != keys]
    if not len(keys):
        return None
    users, items = np.divmod(keys, learned.num_items)
    return distinct_pairs(users, items, learned.user_ids, learned.item_ids)


def with_had(train: Interactions, valid: Interactions | None, had: Interactions | None) -> Interactions:
    """Return all pairs that lists leave out: what was learned, what is held out for validation, and what users had besides."""
    for part in (valid, had):
        train = train if part is None else train.union(part)
    return train


def _keys_over(part: Interactions, other: Interactions) -> np.ndarray:
    """Return the pairs of `part` that `other` has users and items for, as keys of `other`: user row x I + item row, int64."""
    users, items = part.pairs
    rows, columns = rows_in(other.user_ids, part.user_ids)[users], rows_in(other.item_ids, part.item_ids)[items]
    known = (rows >= 0) & (columns >= 0)
    result: np.ndarray = rows[known] * np.int64(other.num_items) + columns[known]
    return result


def rows_in(ids: IdMap, others: IdMap) -> np.ndarray:
    """Return the rows of all `others` in `ids`, (number of others,) int64, -1 where they are not there.

    Where one map has numbers and the other one texts, a number is the text that it is usually written as.
    """
    if ids is others:
        return np.arange(len(ids))
    wanted = others.ids
    if ids.are_strings and not others.are_strings:
        wanted = np.array([str(one) for one in wanted.tolist()], dtype=object)
    elif others.are_strings and not ids.are_strings:
        numbers = {str(one): row for row, one in enumerate(ids.ids.tolist())}
        return np.array([numbers.get(one, -1) for one in wanted.tolist()], np.int64)
    if not len(ids):
        return np.full(len(wanted), -1, np.int64)
    # Both are arrays of one kind, and `ids` ascend: no table of texts is made, as a search by id would make one.
    places = np.minimum(np.searchsorted(ids.ids, wanted), len(ids) - 1)
    return np.where(ids.ids[places] == wanted, places, -1).astype(np.int64)
