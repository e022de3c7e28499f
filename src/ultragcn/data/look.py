"""Looking at what was read: signs that a file was read otherwise than its owner means it, each with the option that mends it."""

import numpy as np

from ultragcn.data.coding import stands_for_nothing
from ultragcn.data.ids import IdMap
from ultragcn.errors import warn

_FEW_ROWS = 20
"""Fewer rows say nothing."""
_FEW_USERS = 3
_HALF = 0.5
_SHARE_OF_WORDS = 0.1
_YEAR_1971 = 365 * 86_400 * 1_000_000  # microseconds


def look(name: str, user_ids: IdMap, item_ids: IdMap, users: np.ndarray, items: np.ndarray, times: np.ndarray | None,
         columns: dict[str, tuple[str, ...]]) -> None:  # fmt: skip
    """Warn of what is odd in a log.

    Parameters
    ----------
    name : str
        The file.
    user_ids, item_ids : IdMap
    users, items : (N,) int32
        Rows in them.
    times : (N,) int64, microseconds, optional
    columns : dict
        Which columns were taken for what.
    """
    if len(users) < _FEW_ROWS:
        return
    of = {role: " and ".join(named) for role, named in columns.items()}
    if len(user_ids) < _FEW_USERS:
        only = ", ".join(user_ids.shown(row) for row in range(len(user_ids)))
        warn(f"{name}: {'only one user' if len(user_ids) == 1 else 'only two users'} ({only}) in column {of['user']}, in {len(users)} rows; if users stand "
             "in another column, give it with --user_column (user_column=)")  # fmt: skip
    elif (sentence := _common(name, "user", user_ids, users, of["user"])) is not None:
        warn(sentence)
    if len(user_ids) == len(users):
        warn(f"{name}: no user of column {of['user']} comes twice in {len(users)} rows, so nothing can be learned of any; if users stand in "
             "another column, give it with --user_column (user_column=)")  # fmt: skip
    if (sentence := _common(name, "item", item_ids, items, of["item"])) is not None:
        warn(sentence)
    if len(item_ids) == len(items):
        warn(f"{name}: no item of column {of['item']} comes twice in {len(items)} rows, so nothing can be learned of any; if items stand in "
             "another column, give it with --item_column (item_column=)")  # fmt: skip
    if times is not None:
        _look_at_times(name, times, of["time"])


def warn_of_dislikes(name: str, column: str, count: int, num_rows: int, is_rating: bool) -> None:
    """Warn of ratings or quantities of 0 or less in a column that nobody asked for."""
    if num_rows < _FEW_ROWS:
        return
    values = f"{count} values of column {column} are 0 or less" if count > 1 else f"a value of column {column} is 0 or less"
    if is_rating:
        mend = "such rows count as liked; keep those rated high enough with --min_rating (min_rating=), such as --min_rating 1"
    else:
        mend = "such rows count as bought; take returns off with --net (net=True), or choose rows with --where (where=)"
    warn(f"{name}: {values}, and {mend}")


def _common(name: str, what: str, ids: IdMap, rows: np.ndarray, column: str) -> str | None:
    """Return the sentence on an id that has half of the rows, or is a word for nothing."""
    counts = np.bincount(rows, minlength=len(ids))
    most = int(counts.argmax())
    share = counts[most] / len(rows)
    nothing = [row for row in _nothing_in(ids) if what == "user" or counts[row] >= _SHARE_OF_WORDS * len(rows)]
    if nothing:
        first = max(nothing, key=lambda row: counts[row])
        return (f"{name}: {what} {ids.shown(first)} of column {column} has {counts[first]} of {len(rows)} rows ({counts[first] / len(rows):.0%}); if that "
                f"word stands for no {what}, skip such rows with --missing skip (missing=\"skip\")")  # fmt: skip
    if share < _HALF or len(ids) < _FEW_USERS:
        return None
    value = str(ids.ids[most]).replace("'", "''")
    condition = f"{column} <> '{value}'" if column.isidentifier() else f"\"{column}\" <> '{value}'"
    if not ids.are_strings:
        condition = condition.replace(f"'{value}'", value)
    return (f"{name}: {what} {ids.shown(most)} of column {column} has {counts[most]} of {len(rows)} rows ({share:.0%}); if that is no {what}, leave "
            f"such rows out with --where \"{condition}\" (where=)")  # fmt: skip


def _nothing_in(ids: IdMap) -> list[int]:
    return [row for row, one in enumerate(ids.ids) if stands_for_nothing(one)] if ids.are_strings else []


def _look_at_times(name: str, times: np.ndarray, column: str) -> None:
    if times.min() == times.max():
        warn(f"{name}: all times in column {column} are alike, so a split by time would be one at random; give the column of times with "
             "--time_column (time_column=)")  # fmt: skip
    elif times.min() >= 0 and times.max() < _YEAR_1971:
        warn(f"{name}: all times in column {column} are in 1970, so these numbers may count something else than seconds; give another column "
             "with --time_column (time_column=), or their form with --time_format (time_format=)")  # fmt: skip
