"""Models of the user's own: any object with `fit` and `recommend`, ids in and ids out, judged as a model of this library is.

B users asked about, K list length.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from ultragcn.data.ids import Id, IdMap, as_python
from ultragcn.data.interactions import Interactions
from ultragcn.errors import DataError, UsageError, counted
from ultragcn.evaluation.lists import RankedLists

_BLOCK = 4096  # users a call of `recommend`
_NEEDS_TRAIN = ("novelty", "popularity")
_RECOMMEND = "recommend(user_ids, top_k), which returns a list of item ids, best first, for each user"


def is_ranker(model: Any) -> bool:
    """Return whether a model ranks by rows, as those of this library and lists from a file do."""
    return all(hasattr(model, name) for name in ("rank", "train_", "user_ids", "item_ids"))


def check_form(model: Any, verbs: Sequence[str] = ("recommend",)) -> None:
    """Raise `UsageError` if a model of the user's own lacks one of `verbs`; the message says what the verb is."""
    if isinstance(model, type):
        raise UsageError(f"{model.__name__} is a class; give an object of it, such as {model.__name__}()")
    meanings = {"fit": "fit(train), which learns from the interactions of a data set", "recommend": _RECOMMEND}
    for verb in verbs:
        if not callable(getattr(model, verb, None)):
            raise UsageError(f"a model needs {meanings[verb]}; {type(model).__name__} has no method {verb}")


def lists_of(
    model: Any, targets: Interactions, top_k: int, metrics: Iterable[str], train: Interactions | None, valid: Interactions | None
) -> RankedLists:
    """Return the lists of a model of the user's own, for all users with held-out items.

    Parameters
    ----------
    model : object
        With `recommend(user_ids, top_k)`: a list of B user ids in, B lists of K item ids out, best first, or a (B, K) array of them, or
        a tuple of that and of scores. Places that stay empty are None, or what is no id. What users have is to be left out.
    targets : Interactions
        What was held out; its ids are those of the data set.
    top_k : int
    metrics : list of str
        Names of the metrics that are measured.
    train, valid : Interactions, optional
        What nobody should be recommended. Without `train`, nothing checks that, and there are no metrics that count train pairs.

    Raises
    ------
    UsageError
        The model lacks `recommend`, or returns something else than lists of ids; or a metric needs `train`.
    DataError
        A list holds an item twice, one that the data do not have, or one that its user has in `train`.
    """
    check_form(model)
    if train is None:
        if lacking := [metric for metric in metrics if metric in _NEEDS_TRAIN]:
            raise UsageError(f"{lacking[0]} counts train pairs, which {type(model).__name__} does not show; give train=data.train")
        train = targets.with_matrix(sp.csr_matrix(targets.matrix.shape, dtype=np.float32))
    users = np.flatnonzero(targets.user_degrees)
    rows, columns = [], []
    for block in np.array_split(users, max(1, -(-len(users) // _BLOCK))):
        listed = _lists(model, [as_python(user) for user in targets.user_ids.ids[block]], top_k)
        rows.append(np.repeat(block, [len(items) for items in listed]))
        columns.append(_rows(model, [item for items in listed for item in items], targets.item_ids))
    return RankedLists(np.concatenate(rows), np.concatenate(columns), train, valid, type(model).__name__)


def _lists(model: Any, user_ids: list[Id], top_k: int) -> list[list[Any]]:
    """Return what a model recommends to users: a list of at most K items each."""
    name = f"{type(model).__name__}.recommend"
    given = model.recommend(user_ids, top_k)
    items = given[0] if isinstance(given, tuple) and len(given) == 2 else given
    if isinstance(items, (str, bytes, dict)) or not hasattr(items, "__len__") or not hasattr(items, "__iter__"):
        raise UsageError(f"{name} returned a {type(items).__name__}; it must return a list of item ids for each user")
    if len(items) != len(user_ids):
        raise UsageError(f"{name} returned {counted(len(items), 'list')} for {counted(len(user_ids), 'user')}; it must return one for each")
    lists = []
    for of_user in items:
        if isinstance(of_user, (str, bytes)) or not hasattr(of_user, "__iter__"):
            raise UsageError(f"{name} returned {of_user!r} where a list of item ids belongs; it must return one list for each user")
        lists.append(list(of_user)[:top_k])
    return lists


def _rows(model: Any, items: list[Any], ids: IdMap) -> np.ndarray:
    """Return the rows of item ids; -1 for a place that is empty."""
    nothing = (None, "") if ids.are_strings else (None, "", -1)
    empty = np.array([item is None or (isinstance(item, (str, int, np.integer)) and item in nothing) for item in items], bool)
    if not ids.are_strings and len(ids) and ids.ids[0] < 0:
        empty = np.array([item is None for item in items], bool)
    rows = np.full(len(items), -1, np.int64)
    listed = [item for item, left in zip(items, empty, strict=True) if not left]
    if listed:
        rows[~empty] = ids.find(listed)
    unknown = np.flatnonzero((rows < 0) & ~empty)
    if len(unknown):
        raise DataError(
            f"{type(model).__name__} recommends {counted(len(unknown), 'item')} that the data do not have (first: "
            f"{items[int(unknown[0])]!r}; its ids are such as {ids.shown(0)}); recommend items of the data set alone"
        )
    return rows
