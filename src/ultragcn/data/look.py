"""Looking at what was read: signs that a file was read otherwise than its owner means it, each with the option that mends it."""

import re

import numpy as np

from ultragcn.data import names
from ultragcn.data.coding import stands_for_nothing
from ultragcn.data.ids import IdMap
from ultragcn.data.options import DataOptions, option
from ultragcn.errors import DataError, counted, warn

_FEW_ROWS = 20
"""Fewer rows say nothing."""
_FEW_USERS = 3
_HALF = 0.5
_SHARE_OF_WORDS = 0.1
_ENOUGH_ROWS = 100
_FEW_ITEMS, _MANY_ROWS = 10, 1000
_NEARLY_UNIQUE = 0.9
_LOOKED_AT = 1000
_MOMENT = re.compile(r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})([T ].*)?")
_WITH_DECIMALS = re.compile(r"[+-]?\d*[.,]\d{1,2}")
_YEAR_1971 = 365 * 86_400 * 1_000_000  # microseconds


def look(name: str, user_ids: IdMap, item_ids: IdMap, users: np.ndarray, items: np.ndarray, span: tuple[int, int] | None,
         columns: dict[str, tuple[str, ...]], options: DataOptions) -> None:  # fmt: skip
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
    options : DataOptions

    Raises
    ------
    DataError
        By its times the log cannot be split in time, which it is to be.
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
    has_few_items = len(item_ids) <= _FEW_ITEMS and num_rows >= _MANY_ROWS
    if not has_few_items and (sentence := _common(name, "item", item_ids, items, of["item"])) is not None:
        warn(sentence)
    for what, ids in (("user", user_ids), ("item", item_ids)):
        if len(ids) == num_rows:
            warn(
                f"{name}: no {what} of column {of[what]} appears twice in {num_rows} rows, so nothing can be learned about any of "
                f"them; if another column has the {what}s, give it with {option(f'{what}_column')}"
            )
    if options.user_column and options.item_column and names.both_swapped(of["user"], of["item"]):
        warn(
            f"{name}: column {of['user']} is read as users and column {of['item']} as items, and their names say the opposite; if they are "
            f"swapped, give {option('user_column', of['item'])} and {option('item_column', of['user'])}"
        )
    _look_at_items(name, item_ids, num_rows, of["item"])
    if span is not None:
        _look_at_times(name, *span, of["time"], options)


def _look_at_items(name: str, ids: IdMap, num_rows: int, column: str) -> None:
    """Warn of items of which hardly any comes twice, or that are times or numbers with decimals."""
    mend = f"if items stand in another column, give it with {option('item_column')}"
    if num_rows > len(ids) > _NEARLY_UNIQUE * num_rows and num_rows >= _ENOUGH_ROWS:
        warn(
            f"{name}: column {column} has {len(ids)} items in {num_rows} rows, so hardly any comes twice and hardly anything can be "
            f"learned; {mend}"
        )
        return
    if len(ids) <= _FEW_ITEMS and num_rows >= _MANY_ROWS:
        some = ", ".join(ids.shown(row) for row in range(min(3, len(ids))))
        more = ", ..." if len(ids) > 3 else ""
        warn(f"{name}: column {column} has only {counted(len(ids), 'item')} ({some}{more}) in {num_rows} rows; {mend}")
        return
    if not ids.are_strings or len(ids) < _FEW_USERS:
        return
    sample = [str(one) for one in ids.ids[:_LOOKED_AT]]
    for pattern, what in ((_MOMENT, "times"), (_WITH_DECIMALS, "numbers with decimals, as prices are")):
        if all(pattern.fullmatch(one) for one in sample):
            warn(f"{name}: the items of column {column} are {what} (such as {sample[0]}); {mend}")


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


def _look_at_times(name: str, first: int, last: int, column: str, options: DataOptions) -> None:
    if first == last:
        warn(
            f"{name}: all times in column {column} are equal, so a split by time would be random; give the column of times with "
            f"{option('time_column')}"
        )
    elif first >= 0 and last < _YEAR_1971:
        mend = f"give another column with {option('time_column')}, or their form with {option('time_format')}"
        if options.split == "time" and names.known("time", [column]) is None:  # a column called time may well count from 0
            raise DataError(
                f"{name}: all times in column {column} are in 1970, so these numbers are not seconds, and no split by "
                f"time can be made of them; {mend}"
            )
        warn(f"{name}: all times in column {column} are in 1970, so these numbers may not be seconds; {mend}")
