"""Interactions from whatever a caller has them in: a file, a frame, a matrix."""

from typing import Any, NamedTuple

from ultragcn.data.events import events_of, k_core, over_same_ids
from ultragcn.data.interactions import Interactions
from ultragcn.data.log import read_log
from ultragcn.data.options import DATA_OPTIONS, TIMED_SPLITS, DataOptions
from ultragcn.errors import UsageError

_SPLITTING = ("title_column", "split", "test_share", "last_k", "last_share", "test_from")
READING = tuple(name for name in DATA_OPTIONS if name not in _SPLITTING)
"""The data options that say how one source is read, and nothing of a split."""


class Rated(NamedTuple):
    """The pairs of one source: those rated high enough, and those below."""

    liked: Interactions
    had: Interactions | None
    """What is rated below `min_rating`, over ids of its own; None without `min_rating`."""


def reading_of(options: DataOptions) -> dict[str, Any]:
    """Return how a log was read, by name: what the next one is to be read like, where it is not the default."""
    timed = {"split": options.split} if options.split in TIMED_SPLITS else {}
    return {name: value for name, value in options.changed().items() if name in READING} | timed


def read_interactions(source: Any, options: DataOptions | None = None, **choices: Any) -> Interactions:
    """Return the interactions in a file, a frame or a matrix.

    Parameters
    ----------
    source : str, Path, frame or sparse matrix
        Anything that `ultragcn.data.log.read_log` reads: a file or several, a folder, a zip, a polars or pandas frame, or a SciPy sparse
        matrix of users by items. The ids of a matrix are its row and column numbers.
    options : DataOptions, optional
        How the source is read.
    **choices
        Any of `READING`, such as `user_column`, `min_rating`, `where` or `k_core`, taking precedence over `options`. Times are read when
        `time_column` is given.

    Returns
    -------
    Interactions
        The distinct pairs.

    Raises
    ------
    DataError
        The source cannot be read. The message names the row.
    UsageError
        `source` cannot be read, or an option is unknown.

    Examples
    --------
    >>> import polars as pl
    >>> read_interactions(pl.DataFrame({"user": ["ann", "bob", "bob"], "item": [1, 1, 2]}))
    Interactions(2 users x 2 items, 3 pairs)
    """
    return read_rated(source, (options or DataOptions()).replace(**choices)).liked


def is_column(source: Any) -> bool:
    """Return whether something is one column of values: a series, an array of one dimension, or a list of numbers."""
    if getattr(source, "ndim", 2) == 1 or type(source).__name__ == "Series":
        return True
    return isinstance(source, (list, tuple)) and bool(source) and all(isinstance(one, (int, float)) for one in source)


def read_rated(source: Any, options: DataOptions) -> Rated:
    """Return the interactions in a file, a frame or a matrix, and what is rated too low to be among them."""
    log = read_log(source, options)
    return Rated(k_core(events_of(log), options.k_core).interactions, log.had)


def read_together(sources: list[Any], **choices: Any) -> list[Rated]:
    """Return the interactions of several sources over the ids that occur in any of them, and what is rated too low in each."""
    for source in sources[1:]:
        if is_column(source):
            raise UsageError(
                "the second argument of fit is validation pairs, not y: a frame, a file or interactions with users and items; ratings are "
                "a column of the first argument, of which min_rating=4 keeps those of 4 and more"
            )
    chosen = DataOptions().replace(**choices)
    if chosen.k_core > 1:
        raise UsageError("k_core would change a split that is given; drop it, or give one source")
    # What is held out may well have one row a user, which would be odd in what a model learns from.
    logs = [read_log(source, chosen, looked_at=place == 0) for place, source in enumerate(sources)]
    return [Rated(events_of(log).interactions, log.had) for log in over_same_ids(logs)]
