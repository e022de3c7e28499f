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
    out = _random_items(interactions, seed, fraction, min_degree, purpose)
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
        `test_from` is no time.
    """
    share = options.test_share if part == "test" else VALID_FRACTION
    if options.split == "none":
        nothing = np.zeros(len(events.interactions), bool)
        return events, events.part(nothing)
    if options.split == "random":
        # The stream of validation had its name before there was another.
        out = _random_items(events.interactions, seed, share, MIN_DEGREE, "hold out" if part == "valid" else "hold out test")
    elif options.split == "last":
        degrees, k = events.interactions.user_degrees, options.last_k
        share = options.last_share if part == "test" else VALID_FRACTION
        held = _share_of_each_user(degrees, share, MIN_DEGREE) if options.last_share else np.where(degrees > k, k, 0)
        out = _last_items(events, held, seed, part)
    else:
        out = _times_of(events) >= _first_time(events, options.test_from if part == "test" else "", share)
    all_pairs = counted(len(out), "pair")
    if out.all():
        raise DataError(f"split {options.split} holds out all {all_pairs} for {part} and leaves none to train on; hold out less")
    if not out.any():
        if options.split == "time" and part == "test":
            latest = times.shown(int(_times_of(events).max()))
            raise UsageError(
                f"test_from {options.test_from} is later than all data, the latest of which are of {latest}; give an earlier time"
            )
        instead = "" if part == "test" else ", or use the authors protocol, which has no validation set"
        raise DataError(f"split {options.split} finds none of {all_pairs} to hold out for {part}; give another split{instead}")
    return events.part(~out), events.part(out)


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
            f"{times.shown(last)}): the model would learn from the future; cut the files at one time, or drop split time"
        )


def warn_of_gaps(train: Interactions, test: Interactions) -> None:
    """Count in a `DataWarning` the users without train or test items and the items without train users."""
    for name, part in (("train", train), ("test", test)):
        empty = np.flatnonzero(part.user_degrees == 0)
        if len(empty):
            has = "user has" if len(empty) == 1 else "users have"
            warn(f"{len(empty)} {has} no {name} items (first: user {part.user_ids.shown(empty[0])})")
    unseen = np.flatnonzero(train.item_degrees == 0)
    if len(unseen):
        first = train.item_ids.shown(unseen[0])
        has, them = ("item has", "it") if len(unseen) == 1 else ("items have", "them")
        warn(f"{len(unseen)} {has} no train interaction (first: item {first}); nothing can be learned about {them}")


def _random_items(interactions: Interactions, seed: int, fraction: float, min_degree: int, purpose: str) -> np.ndarray:
    """Return the mask (N,) of a random share of each user's items."""
    held = _share_of_each_user(interactions.user_degrees, fraction, min_degree)
    return _first_of_each_user(interactions, held, rng.stream(seed, purpose).random(len(interactions)))


def _share_of_each_user(degrees: np.ndarray, fraction: float, min_degree: int) -> np.ndarray:
    """Return how many items (U,) are a share of each user's: rounded down, but at least one, and none of a user with few."""
    held = np.where(degrees >= min_degree, np.maximum(1, np.floor(fraction * degrees).astype(np.int64)), 0)
    result: np.ndarray = np.minimum(held, np.maximum(degrees - 1, 0))
    return result


def _last_items(events: Events, counts: np.ndarray, seed: int, part: str) -> np.ndarray:
    """Return the mask (N,) of the latest `counts` (U,) items of each user."""
    ties = rng.stream(seed, f"last {part}").random(len(events.interactions))
    return _first_of_each_user(events.interactions, counts, ties, -_times_of(events))


def _first_of_each_user(interactions: Interactions, counts: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """Return the mask (N,) of the first `counts` (U,) items of each user in ascending order of the last of `keys`, then the one before."""
    users, _ = interactions.pairs
    order = np.lexsort((*keys, users))
    rank = np.arange(len(users)) - np.repeat(interactions.matrix.indptr[:-1], interactions.user_degrees)
    chosen = np.zeros(len(users), dtype=bool)
    chosen[order] = rank < np.repeat(counts, interactions.user_degrees)
    return chosen


def _first_time(events: Events, given: str, share: float) -> int:
    """Return the first time that is held out."""
    if given:
        first = times.parse(given)
        if first is None:
            raise UsageError(f"test_from must be {times.ALLOWED}, not {given!r}")
        return first
    latest = _times_of(events)
    held = max(1, int(share * len(latest)))
    return int(np.partition(latest, len(latest) - held)[len(latest) - held])


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
