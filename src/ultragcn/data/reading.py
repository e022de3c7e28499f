"""Interactions from whatever a caller has them in: a file, a frame, a matrix."""

from typing import Any

from ultragcn.data.events import events_of, k_core, over_same_ids
from ultragcn.data.interactions import Interactions
from ultragcn.data.log import read_log
from ultragcn.data.options import DATA_OPTIONS, DataOptions
from ultragcn.errors import UsageError

_SPLITTING = ("title_column", "split", "test_share", "last_k", "last_share", "test_from")
READING = tuple(name for name in DATA_OPTIONS if name not in _SPLITTING)
"""The data options that say how one source is read, and nothing of a split."""


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
    chosen = (options or DataOptions()).replace(**choices)
    return k_core(events_of(read_log(source, chosen)), chosen.k_core).interactions


def read_together(sources: list[Any], **choices: Any) -> list[Interactions]:
    """Return the interactions of several sources over the ids that occur in any of them."""
    chosen = DataOptions().replace(**choices)
    if chosen.k_core > 1:
        raise UsageError("k_core would change a split that is given; drop it, or give one source")
    # What is held out may well have one row a user, which would be odd in what a model learns from.
    logs = [read_log(source, chosen, looked_at=place == 0) for place, source in enumerate(sources)]
    return [events_of(log).interactions for log in over_same_ids(logs)]
