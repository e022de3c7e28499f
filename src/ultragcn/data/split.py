"""What is held out by which rule, and the guards that refuse a split that leaks."""

import itertools

import numpy as np

from ultragcn import rng
from ultragcn.data import times
from ultragcn.data.events import Events, events_of, over_same_ids
from ultragcn.data.interactions import Interactions
from ultragcn.data.log import Log
from ultragcn.data.options import DataOptions
from ultragcn.errors import DataError, UsageError, counted, warn

VALID_FRACTION = 0.1
MIN_DEGREE = 3
_BITS = 53
"""Of a random number from 0 to 1."""
_USERS_TOGETHER = 1 << (64 - _BITS)


def hold_out(
    interactions: Interactions, seed: int, fraction: float = VALID_FRACTION, min_degree: int = MIN_DEGREE, purpose: str = "hold out"
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
    purpose : str
        Names the stream of random numbers: two hold-outs of one data set draw from two.

    Returns
    -------
    kept, held_out : Interactions
        Over the same ids; every user keeps at least one item.
    """
    out = _random_items(interactions.user_degrees, rng.stream(seed, purpose), fraction, min_degree)
    return interactions.part(~out), interactions.part(out)


def hold_out_by(events: Events, options: DataOptions, seed: int, part: str) -> tuple[Events, Events]:
    """Split events as `options.split` says, for `part` test or valid.

    * random: `test_share` of each user's items (valid: a tenth), as `hold_out` does.
    * last: the `last_k` latest items of each user who has more, or `last_share` of each user's items (valid: a tenth). Ties are
      broken at random, so that neither ids nor the order of rows decide.
    * time: all pairs from a time on, `test_from`, or the one that leaves `test_share` of them (valid: a tenth of the rest). Pairs of
      that very time are all held out: what stays is strictly earlier.
    * none: nothing.

    Returns
    -------
    kept, held_out : Events
        Over the same ids.

    Raises
    ------
    DataError
        Nothing stays, or nothing is held out.
    UsageError
        `test_from` is not a time.
    """
    first_time = None
    if options.split == "last":
        _times_of(events)
    if options.split == "time":
        found, latest = first_time_given(options, part), _times_of(events)
        first_time = _nth_latest(latest, num_held_by_time(len(latest), options, part)) if found is None else found
    out = HoldOut(options, seed, part, first_time).mask(events.interactions.user_degrees, events.times)
    if options.split != "none":
        refuse_empty_split(int(out.sum()), len(out), options, part, None if events.times is None else int(events.times.max()))
    return events.part(~out), events.part(out)


class HoldOut:
    """What a split holds out, decided piece by piece: a piece is all pairs of some users, and pieces come in the order of their users.

    Random numbers are drawn one a pair in the order of the pairs, so that the pieces do not matter.

    Parameters
    ----------
    options : DataOptions
    seed : int
    part : {"test", "valid"}
    first_time : int, optional
        The first time that split time holds out, in microseconds.
    """

    def __init__(self, options: DataOptions, seed: int, part: str, first_time: int | None = None):
        self._options, self._part, self._first_time = options, part, first_time
        # The stream of validation had its name before there was another.
        purposes = {"random": "hold out" if part == "valid" else "hold out test", "last": f"last {part}"}
        purpose = purposes.get(options.split)
        self._random = None if purpose is None else rng.stream(seed, purpose)

    def mask(self, degrees: np.ndarray, when: np.ndarray | None) -> np.ndarray:
        """Return which pairs of the next users are held out: (N,) bool.

        Parameters
        ----------
        degrees : (U,) int64
            Pairs of each of these users.
        when : (N,) int64, optional
            The time of each pair, for the splits that need times.
        """
        options, part = self._options, self._part
        if options.split == "none":
            return np.zeros(int(degrees.sum()), bool)
        if options.split == "time":
            assert when is not None
            assert self._first_time is not None
            return np.asarray(when >= self._first_time)
        assert self._random is not None
        if options.split == "random":
            return _random_items(degrees, self._random, options.test_share if part == "test" else VALID_FRACTION, MIN_DEGREE)
        assert when is not None
        share, k = options.last_share if part == "test" else VALID_FRACTION, options.last_k
        held = _share_of_each_user(degrees, share, MIN_DEGREE) if options.last_share else np.where(degrees > k, k, 0)
        # Ties are broken at random.
        return _first_of_each_user(degrees, held, self._random.random(int(degrees.sum())), -when)


def refuse_empty_split(held: int, num_pairs: int, options: DataOptions, part: str, latest: int | None) -> None:
    """Raise an error where `held` of so many pairs are all or none; `latest` is the last time, where times are known."""
    all_pairs = counted(num_pairs, "pair")
    if held == num_pairs:
        raise DataError(f"split {options.split} holds out all {all_pairs} for {part} and leaves no pair to train on; hold out fewer pairs")
    if not held:
        if options.split == "time" and part == "test" and latest is not None:
            raise UsageError(
                f"test_from {options.test_from} is later than all data, which end at {times.shown(latest)}; give an earlier time"
            )
        instead = "" if part == "test" else ", or use the authors protocol, which has no validation set"
        raise DataError(f"split {options.split} finds none of {all_pairs} to hold out for {part}; give another split{instead}")


def given_parts(logs: dict[str, Log], options: DataOptions) -> dict[str, Events]:
    """Return the events of parts that come split already, over the same ids.

    Raises
    ------
    DataError
        A pair of test or valid stands in train too, or with split time an event of train is later than one of test: such a test
        would measure memory, not recommendation.
    """
    logs = dict(zip(logs, over_same_ids(list(logs.values())), strict=True))
    parts = {name: events_of(log) for name, log in logs.items()}
    for name, earlier in (("test", "train"), ("valid", "train"), ("valid", "test")):
        if name in parts and earlier in parts:
            _refuse_common(parts[name].interactions, parts[earlier].interactions, logs[name], earlier)
    if options.split == "time":
        order = [name for name in ("train", "valid", "test") if name in parts]
        for earlier, later in itertools.pairwise(order):
            refuse_future(parts[earlier], parts[later], earlier, later)
    return parts


def refuse_future(earlier: Events, later: Events, name: str, later_name: str) -> None:
    """Raise `DataError` unless all of `earlier` happened before all of `later`."""
    last, first = int(_times_of(earlier).max()), int(_times_of(later).min())
    if last >= first:
        count = int((_times_of(earlier) >= first).sum())
        pairs = f"{counted(count, 'pair')} of {name} {'is' if count == 1 else 'are'}"
        raise DataError(
            f"{pairs} not older than the first of {later_name} ({times.shown(first)}; the latest of {name}: "
            f"{times.shown(last)}): the model would learn from the future; divide the files at one time, or drop split time"
        )


def warn_of_gaps(train: Interactions, test: Interactions) -> None:
    """Count in a `DataWarning` the users without train or test items and the items without train users."""
    warn_of_empty(train, train.user_degrees, train.item_degrees, test.user_degrees)


def warn_of_empty(train: Interactions, train_users: np.ndarray, train_items: np.ndarray, test_users: np.ndarray) -> None:
    """Do what `warn_of_gaps` does, with the pairs that train has for each user, (U,), and each item, (I,), and test for each user, (U,)."""
    for name, degrees in (("train", train_users), ("test", test_users)):
        empty = np.flatnonzero(degrees == 0)
        if len(empty):
            has = "user has" if len(empty) == 1 else "users have"
            warn(f"{len(empty)} {has} no {name} items (first: user {train.user_ids.shown(empty[0])})")
    unseen = np.flatnonzero(train_items == 0)
    if len(unseen):
        first = train.item_ids.shown(unseen[0])
        has, them = ("item has", "it") if len(unseen) == 1 else ("items have", "them")
        warn(f"{len(unseen)} {has} no train interaction (first: item {first}); nothing can be learned about {them}")


def _random_items(degrees: np.ndarray, random: np.random.Generator, fraction: float, min_degree: int) -> np.ndarray:
    """Return the mask (N,) of a random share of each user's items."""
    held = _share_of_each_user(degrees, fraction, min_degree)
    return _smallest_of_each_user(degrees, held, random.random(int(degrees.sum())))


def _share_of_each_user(degrees: np.ndarray, fraction: float, min_degree: int) -> np.ndarray:
    """Return how many items (U,) are a share of each user's: rounded down, but at least one, and none of a user with few."""
    held = np.where(degrees >= min_degree, np.maximum(1, np.floor(fraction * degrees).astype(np.int64)), 0)
    result: np.ndarray = np.minimum(held, np.maximum(degrees - 1, 0))
    return result


def _smallest_of_each_user(degrees: np.ndarray, counts: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return the mask (N,) of the `counts` (U,) smallest of each user's random numbers (N,): what `_first_of_each_user` returns of them.

    A random number has 53 bits, so that it and the number of one of 2048 users are one integer. Of 4 million pairs, sorting
    those takes .06 s, and sorting by user and number 2.5 s.
    """
    chosen = np.zeros(len(drawn), bool)
    ends = np.cumsum(degrees)
    for first in range(0, len(degrees), _USERS_TOGETHER):
        own, wanted = degrees[first : first + _USERS_TOGETHER], counts[first : first + _USERS_TOGETHER]
        start, stop = int(ends[first] - degrees[first]), int(ends[first + len(own) - 1])
        users = np.repeat(np.arange(len(own), dtype=np.uint64) << np.uint64(_BITS), own)
        keys = users | (drawn[start:stop] * 2.0**_BITS).astype(np.uint64)
        ordered = np.sort(keys)
        some = wanted > 0
        last = np.zeros(len(own), np.uint64)  # the largest of each user's that is chosen
        last[some] = ordered[(np.cumsum(own) - own + wanted - 1)[some]]
        chosen[start:stop] = (keys <= np.repeat(last, own)) & np.repeat(some, own)
        if chosen[start:stop].sum() != wanted.sum():  # two of the same size, which the first place decides on
            chosen[start:stop] = _first_of_each_user(own, wanted, drawn[start:stop])
    return chosen


def _first_of_each_user(degrees: np.ndarray, counts: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """Return the mask (N,) of the first `counts` (U,) items of each user in ascending order of the last of `keys`, then the one before."""
    users = np.repeat(np.arange(len(degrees), dtype=np.int32), degrees)
    order = np.lexsort((*keys, users))
    rank = np.arange(len(users)) - np.repeat(np.cumsum(degrees) - degrees, degrees)
    chosen = np.zeros(len(users), dtype=bool)
    chosen[order] = rank < np.repeat(counts, degrees)
    return chosen


def first_time_given(options: DataOptions, part: str) -> int | None:
    """Return the first time that split time holds out, in microseconds; None where a share of all pairs decides on it."""
    if not options.test_from or part != "test":
        return None
    first = times.parse(options.test_from)
    if first is None:
        raise UsageError(f"test_from must be {times.ALLOWED}, not {options.test_from!r}")
    return first


def num_held_by_time(num_pairs: int, options: DataOptions, part: str) -> int:
    """Return how many of the latest pairs split time holds out, those of the same time as the first of them left out."""
    return max(1, int((options.test_share if part == "test" else VALID_FRACTION) * num_pairs))


def _nth_latest(when: np.ndarray, n: int) -> int:
    """Return the `n`-th latest of some times, from 1."""
    return int(np.partition(when, len(when) - n)[len(when) - n])


def _times_of(events: Events) -> np.ndarray:
    if events.times is None:
        raise DataError("a split by time needs the time of every interaction; give time_column, or another split")
    return events.times


def _refuse_common(part: Interactions, earlier: Interactions, log: Log, earlier_name: str) -> None:
    common = earlier.common(part).tocoo()
    if common.nnz == 0:
        return
    row, column = common.row[0], common.col[0]
    place = log.place(int(np.flatnonzero((log.users == row) & (log.items == column))[0]))
    item, user = log.item_ids.shown(column), log.user_ids.shown(row)
    all_of_them, them = ("", "it") if common.nnz == 1 else (f", as are {common.nnz} such pairs in all", "them")
    raise DataError(f"{place}: item {item} of user {user} is in {earlier_name} too{all_of_them}; remove {them} from one of the files")
