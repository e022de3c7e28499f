"""Pairs of a user and an item in a plain Python list, as a frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultragcn.errors import UsageError
from ultragcn.lazily import pl

_INSTEAD = "give tuples (user, item), a polars or pandas frame, or a SciPy matrix"


def as_frame_of_pairs(source: Any) -> Any:
    """Return the frame of a list of tuples (user, item), or of named tuples, whose names are those of the columns; anything else as it is.

    Raises
    ------
    UsageError
        A list of lists, which could be pairs or a matrix; or tuples of other lengths.
    """
    if not isinstance(source, (list, tuple)) or not source or not isinstance(source[0], (list, tuple)):
        return source
    first = source[0]
    if isinstance(first, list):
        raise UsageError(f"a list of lists could be pairs or the rows of a matrix; {_INSTEAD}")
    if any(not isinstance(one, tuple) or len(one) != len(first) for one in source):
        raise UsageError(f"a list of interactions holds tuples of the same length, and this one holds others; {_INSTEAD}")
    fields = getattr(first, "_fields", None)
    if fields is None and (len(first) != 2 or any(isinstance(cell, Path) for cell in first)):
        raise UsageError(f"a tuple is a user and an item, and {first!r} has {len(first)} cells; {_INSTEAD}")
    cells = [list(column) for column in zip(*source, strict=True)]
    try:
        return pl.DataFrame(dict(zip(fields or ("user", "item"), cells, strict=True)), strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"the users, or the items, of a list are all integers or all texts; {_INSTEAD}") from error
