"""The rules that lists keep, in one vocabulary: only, exclude, where, max_per, diversity, promote, unknown.

Letters: U users, I items.
"""

import math
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import scipy.sparse as sp

from ultragcn.data.id_texts import read_ids, read_items_or_pairs, typed
from ultragcn.data.ids import IdMap, as_ids
from ultragcn.data.interactions import Interactions
from ultragcn.data.items_table import ItemsTable, check_condition
from ultragcn.data.names import known
from ultragcn.data.tables import is_frame
from ultragcn.errors import UsageError
from ultragcn.rules import masks
from ultragcn.rules.bound import Bound
from ultragcn.rules.choosing import Choice, Limit, Promise

UNKNOWN = {"raise": "raise", "error": "raise", "popular": "popular", "skip": "skip"}
"""What can be done about users that a model does not know; the command says error for what is an exception in Python."""


class IdFile(NamedTuple):
    """A file of ids, or of user-item pairs, that is read when the rules meet a model. What the model does not know is left out."""

    path: str
    option: str = "a rule"
    """Who names it, for messages."""


class Texts(NamedTuple):
    """Ids as text, which are whole numbers where those of the model are. What the model does not know is left out."""

    texts: tuple[str, ...]


class Pairs(NamedTuple):
    """Users and items in step, as arrays of ids."""

    users: np.ndarray
    items: np.ndarray


@dataclass(frozen=True, eq=False, init=False)
class Rules:
    """Rules that lists must keep.

    All rules are optional. Masks (`only`, `exclude`, `where`) leave items out before the best items are taken. So a list has K items
    whenever K items are allowed. `max_per`, `promote` and `diversity` then choose among the allowed items.

    Parameters
    ----------
    only : list of item ids
        List only these.
    exclude : list of item ids, or pairs
        Never list these. Pairs of a user and an item (a list of tuples, a frame with columns of users and items, or `Interactions`)
        are left out for that user alone; pairs whose item the model does not know change nothing.
    where : str, or list of str
        A condition in SQL on the columns of the items table, such as "price < 20 and genre in ('jazz', 'folk')".
    max_per : dict of str -> int, or str
        The most items of a list with the same value in a column: {"brand": 2} or "brand=2". Items without a value are not limited.
    diversity : float
        How different the items of a list are: 0 ranks by score alone, and 1 makes them as different as possible. It is maximal marginal
        relevance on the item vectors that the model has learned, among the 10 K best items.
    promote : dict of str -> float, or str
        The least share of the places that has items for which a condition in SQL holds, as far as there are such items: {"margin > 0.4":
        0.2} or "margin > 0.4=20%". Shares are rounded up to whole places.
    unknown : {"raise", "popular", "skip"}
        What happens with users whom the model does not know, as in `recommend`. "error" means the same as "raise", which is the default.
    name_of_only : str
        The name of `only` in messages.

    Raises
    ------
    UsageError
        A value makes no sense. The message says what is allowed.

    Examples
    --------
    >>> Rules(where="price < 20", max_per={"brand": 2}) & Rules(max_per="brand=1", promote="new=20%")
    Rules(where=('price < 20',), max_per={'brand': 1}, promote={'new': 0.2})
    """

    only: tuple[Any, ...] = ()
    exclude: tuple[Any, ...] = ()
    where: tuple[str, ...] = ()
    max_per: Mapping[str, int] = field(default_factory=dict)
    diversity: float | None = None
    promote: Mapping[str, float] = field(default_factory=dict)
    unknown: str | None = None

    def __init__(self, *, only: Any = None, exclude: Any = None, where: Any = None, max_per: Any = None, diversity: Any = None,
                 promote: Any = None, unknown: Any = None, name_of_only: str = "only") -> None:  # fmt: skip
        made = {
            "only": () if only is None else ((name_of_only, _listed(only, name_of_only, pairs=False)),),
            "exclude": () if exclude is None else (_listed(exclude, "exclude", pairs=True),),
            "where": _conditions(where), "max_per": _limits(max_per), "diversity": _diversity(diversity),
            "promote": _promises(promote), "unknown": _unknown(unknown),
        }  # fmt: skip
        self._set(made)

    def _set(self, values: Mapping[str, Any]) -> Self:
        for name, value in values.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_last", None)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle or a copy of the rules holds: all but the rows of a model."""
        return vars(self) | {"_last": None}

    def __repr__(self) -> str:
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return f"Rules({', '.join(f'{name}={value!r}' for name, value in values.items() if value not in ((), {}, None))})"

    def __and__(self, other: "Rules") -> "Rules":
        """Return the rules of both: what both allow, the lower of two limits, the larger of two shares; else what `other` says."""
        limits, shares = dict(self.max_per), dict(self.promote)
        for name, most in other.max_per.items():
            limits[name] = min(most, limits.get(name, most))
        for condition, share in other.promote.items():
            shares[condition] = max(share, shares.get(condition, share))
        return Rules.__new__(Rules)._set({
            "only": self.only + other.only, "exclude": self.exclude + other.exclude, "where": self.where + other.where, "max_per": limits,
            "diversity": self.diversity if other.diversity is None else other.diversity, "promote": shares,
            "unknown": self.unknown if other.unknown is None else other.unknown,
        })  # fmt: skip

    @classmethod
    def read(cls, path: str | Path, *names: str, values: Mapping[str, Any] | None = None, on: Any = None) -> "Rules":
        """Return the rules of these names in a TOML file as one object; see `rules.named.read_rules`."""
        from ultragcn.rules.named import read_rules

        return read_rules(path, names, values, on).rules

    @property
    def needs_table(self) -> bool:
        """Whether the rules use columns of the items table."""
        return bool(self.where or self.max_per or self.promote)

    def bind(self, user_ids: IdMap, item_ids: IdMap, table: ItemsTable) -> Bound:
        """Return the rules over the rows of a model.

        Parameters
        ----------
        user_ids, item_ids : IdMap
            Those of the model.
        table : ItemsTable
            What is known of its items.

        Raises
        ------
        UsageError
            The model does not know an id, or the table does not have a column of a rule.
        """
        known_ones: tuple[Any, ...] = (user_ids, item_ids, table)
        last = self._last  # type: ignore[attr-defined]
        if last is not None and all(ref() is one for ref, one in zip(last[0], known_ones, strict=True)):
            bound: Bound = last[1]
            return bound
        bound = self._bound(user_ids, item_ids, table)
        object.__setattr__(self, "_last", (tuple(weakref.ref(one) for one in known_ones), bound))
        return bound

    def _bound(self, user_ids: IdMap, item_ids: IdMap, table: ItemsTable) -> Bound:
        only = [_rows(listed, item_ids, name) for name, listed in self.only]
        only += [np.flatnonzero(table.holds(condition)) for condition in self.where]
        left_out: list[np.ndarray] = []
        pairs: list[Pairs] = []
        for listed in self.exclude:
            found = _items_or_pairs(listed, user_ids, item_ids)
            if isinstance(found, Pairs):
                pairs.append(found)
            else:
                left_out.append(found)
        of_users, strangers = _pairs_of_users(pairs, user_ids, item_ids)
        choice = Choice(
            [Limit(table.groups(name), most) for name, most in self.max_per.items()],
            [Promise(table.holds(condition), share) for condition, share in self.promote.items()],
            self.diversity or 0.0,
        )
        return Bound(masks.allowed(len(item_ids), only, left_out), choice, of_users, strangers, self.unknown or "raise")


def _listed(given: Any, name: str, pairs: bool) -> Any:
    """Return ids that were given: an array, `Pairs`, or what is read when the rules meet a model."""
    if isinstance(given, (IdFile, Texts, Pairs)):
        return given
    if isinstance(given, Interactions) and pairs:
        matrix = given.matrix
        return Pairs(np.repeat(given.user_ids.ids, np.diff(matrix.indptr)), given.item_ids.ids[matrix.indices])
    if is_frame(given):
        return _of_frame(given, name, pairs)
    if isinstance(given, np.ndarray) and given.ndim:
        return given
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        return np.array([given.item() if isinstance(given, np.ndarray) else given], object)
    listed = list(given)
    if pairs and listed and all(isinstance(one, (tuple, list)) and len(one) == 2 for one in listed):
        users, items = [one[0] for one in listed], [one[1] for one in listed]
        return Pairs(as_ids(users, "user"), as_ids(items, "item"))
    return np.array(listed, dtype=object) if listed else np.zeros(0, object)


def _of_frame(frame: Any, name: str, pairs: bool) -> Any:
    taken = frame.collect() if hasattr(frame, "collect") else frame
    columns = {what: known(what, [str(column) for column in taken.columns]) for what in ("user", "item")}
    if columns["item"] is None:
        shown = ", ".join(map(str, taken.columns))
        raise UsageError(
            f"{name}: a frame needs a column of items, and which of its columns ({shown}) that is is not clear; call it item_id"
        )
    items = np.asarray(taken[columns["item"]].to_numpy())
    if columns["user"] is None or not pairs:
        return items
    return Pairs(as_ids(np.asarray(taken[columns["user"]].to_numpy()), "user"), as_ids(items, "item"))


def _conditions(given: Any) -> tuple[str, ...]:
    if given is None:
        return ()
    conditions = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    for condition in conditions:
        check_condition(condition)
    return conditions


def _limits(given: Any) -> dict[str, int]:
    """Return the limits of columns by name."""
    limits = {}
    for name, most in _named(given, "max_per", 'brand=2 (in Python also {"brand": 2})'):
        number = int(most) if isinstance(most, str) and most.strip().isdecimal() else most
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
            raise UsageError(f"max_per must be a whole number of 1 or more for each column, such as brand=2, not {name}={most}")
        limits[name] = int(number)
    return limits


def _promises(given: Any) -> dict[str, float]:
    """Return the shares of conditions."""
    shares = {}
    for condition, share in _named(given, "promote", '"price < 20=20%" (in Python also {"price < 20": 0.2})'):
        number = _share(share)
        if number is None or not 0 <= number <= 1:
            raise UsageError(
                f"promote must end in a share of the places, 0 to 1 or 0% to 100%, such as \"genre = 'tea'=20%\", not {condition}={share}"
            )
        check_condition(condition)
        shares[condition] = number
    return shares


def _share(given: Any) -> float | None:
    try:
        if isinstance(given, str) and given.strip().endswith("%"):
            return float(given.strip()[:-1]) / 100
        return None if isinstance(given, bool) else float(given)
    except (TypeError, ValueError):
        return None


def _named(given: Any, name: str, example: str) -> list[tuple[str, Any]]:
    """Return what is given as a dict, or as texts with an equals sign before the value."""
    if given is None:
        return []
    if isinstance(given, Mapping):
        return [(str(key), value) for key, value in given.items()]
    texts: Sequence[Any] = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    found = []
    for text in texts:
        key, equals, value = text.rpartition("=") if isinstance(text, str) else ("", "", "")
        if not equals or not key.strip():
            raise UsageError(f"{name} must be such as {example}, not {text!r}")
        found.append((key.strip(), value.strip()))
    return found


def _diversity(given: Any) -> float | None:
    if given is None:
        return None
    number = None if isinstance(given, str) and given.strip().endswith("%") else _share(given)
    if number is None or not math.isfinite(number) or not 0 <= number <= 1:
        raise UsageError(f"diversity must be a number from 0 (by score alone) to 1, not {given!r}")
    return number


def _unknown(given: Any) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or given not in UNKNOWN:
        raise UsageError(f"unknown must be raise, popular or skip, not {given!r}")
    return UNKNOWN[given]


def _rows(listed: Any, item_ids: IdMap, name: str) -> np.ndarray:
    """Return the rows of ids that were given."""
    if isinstance(listed, IdFile):
        listed = Texts(tuple(read_ids(listed.path, item_ids, listed.option)))
    if isinstance(listed, Texts):
        found = item_ids.find(typed(item_ids, listed.texts).ids)
        return found[found >= 0]
    try:
        return item_ids.rows(listed)
    except UsageError as error:
        raise UsageError(f"{name} has an id that cannot be meant: {error}") from None


def _items_or_pairs(listed: Any, user_ids: IdMap, item_ids: IdMap) -> Any:
    """Return the rows of items, or pairs of ids."""
    if isinstance(listed, IdFile):
        users, items = read_items_or_pairs(listed.path, user_ids, item_ids, listed.option)
        if users is None:
            return _rows(Texts(tuple(items)), item_ids, "exclude")
        return pairs_of_texts(users, items, user_ids, item_ids)
    return listed if isinstance(listed, Pairs) else _rows(listed, item_ids, "exclude")


def pairs_of_texts(users: Sequence[str], items: Sequence[str], user_ids: IdMap, item_ids: IdMap) -> Pairs:
    """Return the pairs that texts stand for, without those that cannot be ids of the model."""
    is_meant = np.ones(len(users), bool)
    for ids, texts in ((user_ids, users), (item_ids, items)):
        impossible = set(typed(ids, texts).impossible)
        is_meant &= np.array([text not in impossible for text in texts], bool)
    kept = [(user, item) for user, item, meant in zip(users, items, is_meant.tolist(), strict=True) if meant]
    return Pairs(*(as_ids(typed(ids, [pair[place] for pair in kept]).ids, ids.what) for place, ids in ((0, user_ids), (1, item_ids))))


def _pairs_of_users(pairs: Sequence[Pairs], user_ids: IdMap, item_ids: IdMap) -> tuple[sp.csr_matrix | None, dict[Any, np.ndarray]]:
    """Return the pairs of users that the model knows as a matrix, and the items of those that it does not know."""
    if not pairs:
        return None, {}
    rows: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    strange: list[tuple[Any, int]] = []
    for users, items in pairs:
        for ids, given in ((user_ids, users), (item_ids, items)):
            if len(given) and (given.dtype == object) != ids.are_strings:
                ids.rows(given)  # which says that they are of another kind
        of_items = item_ids.find(items)
        users, of_items = users[of_items >= 0], of_items[of_items >= 0]
        of_users = user_ids.find(users)
        rows.append(of_users[of_users >= 0])
        columns.append(of_items[of_users >= 0])
        strange += zip(users[of_users < 0].tolist(), of_items[of_users < 0].tolist(), strict=True)
    row, column = np.concatenate(rows), np.concatenate(columns)
    matrix = sp.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=(len(user_ids), len(item_ids)))
    matrix.sum_duplicates()
    strangers: dict[Any, set[int]] = {}
    for user, item in strange:
        strangers.setdefault(user, set()).add(item)
    return matrix, {user: np.array(sorted(items), np.int64) for user, items in strangers.items()}
