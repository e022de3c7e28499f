"""Looking at what was read: signs that a file was read otherwise than its owner means it, each with the option that mends it."""

import numpy as np

from ultragcn.data.coding import stands_for_nothing
from ultragcn.data.ids import IdMap
from ultragcn.data.options import option
from ultragcn.errors import counted, warn

_FEW_ROWS = 20
"""Fewer rows say nothing."""
_FEW_USERS = 3
_HALF = 0.5
_SHARE_OF_WORDS = 0.1
_YEAR_1971 = 365 * 86_400 * 1_000_000  # microseconds


def look(name: str, user_ids: IdMap, item_ids: IdMap, users: np.ndarray, items: np.ndarray, span: tuple[int, int] | None,
         columns: dict[str, tuple[str, ...]]) -> None:  # fmt: skip
    """Warn of what is odd in a log.

    Parameters
    ----------
    name : str
        The file.
    user_ids, item_ids : IdMap
    users, items : (U,) and (I,) int64
        Rows of the log of each.
    span : (int, int), microseconds, optional
        The first and the last time.
    columns : dict
        Which columns were taken for what.
    """
    num_rows = int(users.sum())
    if num_rows < _FEW_ROWS:
        return
    of = {role: " and ".join(named) for role, named in columns.items()}
    if len(user_ids) < _FEW_USERS:
        only = ", ".join(user_ids.shown(row) for row in range(len(user_ids)))
        warn(
            f"{name}: column {of['user']} has only {counted(len(user_ids), 'user')} ({only}) in {num_rows} rows; if another "
            f"column has the users, give it with {option('user_column')}"
        )
    elif (sentence := _common(name, "user", user_ids, users, of["user"])) is not None:
        warn(sentence)
    if (sentence := _common(name, "item", item_ids, items, of["item"])) is not None:
        warn(sentence)
    for what, ids in (("user", user_ids), ("item", item_ids)):
        if len(ids) == num_rows:
            warn(
                f"{name}: no {what} of column {of[what]} appears twice in {num_rows} rows, so nothing can be learned about any of "
                f"them; if another column has the {what}s, give it with {option(f'{what}_column')}"
            )
    if span is not None:
        _look_at_times(name, *span, of["time"])


def warn_of_dislikes(name: str, column: str, count: int, num_rows: int, is_rating: bool) -> None:
    """Warn of ratings or quantities of 0 or less in a column that nobody asked for."""
    if num_rows < _FEW_ROWS:
        return
    values = f"{count} values of column {column} are 0 or less" if count > 1 else f"a value of column {column} is 0 or less"
    if is_rating:
        enough = option("min_rating", "1")
        mend = f"these rows count as liked items; keep the rows with a rating that is high enough, with {enough}, or another number"
    else:
        mend = f"these rows count as bought items; subtract returns with {option('net', 'true')}, or choose rows with {option('where')}"
    warn(f"{name}: {values}, and {mend}")


def _common(name: str, what: str, ids: IdMap, counts: np.ndarray, column: str) -> str | None:
    """Return the sentence on an id that has half of the rows, or is a word for nothing."""
    most, num_rows = int(counts.argmax()), int(counts.sum())
    share = counts[most] / num_rows
    nothing = [row for row in _nothing_in(ids) if what == "user" or counts[row] >= _SHARE_OF_WORDS * num_rows]
    if nothing:
        first = max(nothing, key=lambda row: counts[row])
        return (
            f"{name}: {what} {ids.shown(first)} of column {column} has {counts[first]} of {num_rows} rows "
            f"({counts[first] / num_rows:.0%}); if this word means that there is no {what}, skip these rows with "
            f"{option('missing', 'skip')}"
        )
    if share < _HALF or len(ids) < _FEW_USERS:
        return None
    value = "'" + str(ids.ids[most]).replace("'", "''") + "'" if ids.are_strings else str(ids.ids[most])
    condition = f"{column} <> {value}" if column.isidentifier() else f'"{column}" <> {value}'
    return (
        f"{name}: {what} {ids.shown(most)} of column {column} has {counts[most]} of {num_rows} rows ({share:.0%}); if this is not "
        f"a {what}, leave out these rows with {option('where', condition)}"
    )


def _nothing_in(ids: IdMap) -> list[int]:
    return [row for row, one in enumerate(ids.ids) if stands_for_nothing(one)] if ids.are_strings else []


def _look_at_times(name: str, first: int, last: int, column: str) -> None:
    if first == last:
        warn(
            f"{name}: all times in column {column} are equal, so a split by time would be random; give the column of times with "
            f"{option('time_column')}"
        )
    elif first >= 0 and last < _YEAR_1971:
        warn(
            f"{name}: all times in column {column} are in 1970, so these numbers may not be seconds; give another column with "
            f"{option('time_column')}, or their form with {option('time_format')}"
        )
