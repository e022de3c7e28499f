"""Ranked lists from elsewhere, evaluated as our own: read, checked, and handed out as a ranker does.

U users, Q users asked about, K list length, N listed places.
"""

import gzip
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from ultragcn import kernels
from ultragcn.data.ids import Id, IdMap, as_python
from ultragcn.data.interactions import Interactions
from ultragcn.data.names import known
from ultragcn.errors import DataError, warn
from ultragcn.machine import refuse_lost_threads

_ORDERED_BY = ("rank", "score", "prediction", "rating")
"""Names of the column that orders a list; the first one that is there counts."""
_TREC = ("user_id", "q0", "item_id", "place", "score", "tag")
"""Columns of a TREC run. Its rank is not called rank, because only its score counts."""
_ROW = "#row"
"""The column that says where in the file a row stood."""


class RankedLists:
    """A ranker whose lists are given.

    Parameters
    ----------
    users, items : (N,) int
        Rows; the items of each user from best to worst. An item of -1 is an empty place.
    train, valid : Interactions
        What nobody should be recommended; `valid` may be None.
    source : str
        Where the lists are from, for messages.

    Raises
    ------
    DataError
        An item stands twice in a user's list.
    """

    def __init__(self, users: np.ndarray, items: np.ndarray, train: Interactions, valid: Interactions | None = None,
                 source: str = "the ranking"):  # fmt: skip
        self.train_, self.valid_ = train, valid
        self.user_ids, self.item_ids = train.user_ids, train.item_ids
        self.source = source
        users, items = users[items >= 0], items[items >= 0]
        pairs = np.sort(users.astype(np.int64) * train.num_items + items)
        repeated = pairs[1:][pairs[1:] == pairs[:-1]]
        if len(repeated):
            user, item = divmod(int(repeated[0]), train.num_items)
            raise DataError(
                f"{source} lists {len(repeated)} items twice to the same user (first: item {self._item(item)!r} to user "
                f"{self._user(user)!r}); list each item once"
            )
        order = np.argsort(users, kind="stable")
        self._items = items[order].astype(np.int32)
        self._indptr = np.concatenate(([0], np.cumsum(np.bincount(users, minlength=train.num_users))))

    @classmethod
    def of(cls, user_ids: Iterable[Id], item_ids: Iterable[Id], train: Interactions, valid: Interactions | None = None) -> "RankedLists":
        """Return the lists of aligned ids, the items of each user from best to worst; an unknown id raises `UsageError`."""
        return cls(train.user_ids.rows(user_ids), train.item_ids.rows(item_ids), train, valid)

    def rank(self, users: np.ndarray, top_k: int, seen: sp.csr_matrix | None = None) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield one block with the first top_k items of `users`, as `evaluation.ranking.rank` does; scores only keep the order.

        Raises
        ------
        DataError
            A list holds train items of its user, though seen items are to be left out.

        Warns
        -----
        DataWarning
            Users without a list, lists shorter than top_k though more items could be listed, validation items in lists: each with
            its count.
        """
        users = np.asarray(users, dtype=np.int64)
        lengths = np.diff(self._indptr)[users]
        places = np.arange(top_k)
        listed = places < lengths[:, None]
        items = np.full(listed.shape, -1, dtype=np.int32)
        items[listed] = self._items[(self._indptr[users][:, None] + places)[listed]]
        self._check(users, items, lengths, top_k, seen)
        yield users, items, np.where(listed, -places.astype(np.float32), -np.inf).astype(np.float32)

    def _check(self, users: np.ndarray, items: np.ndarray, lengths: np.ndarray, top_k: int, seen: sp.csr_matrix | None) -> None:
        candidates = np.full(len(users), self.train_.num_items)
        if seen is not None:
            train = self.train_.matrix
            in_train, in_seen = (kernels.find_hits(items, users, pairs.indptr, pairs.indices) for pairs in (train, seen))
            if in_train.any():
                row, place = np.argwhere(in_train)[0]
                raise DataError(
                    f"{self.source} lists {in_train.sum()} items to {in_train.any(axis=1).sum()} users who have them in train (first: item "
                    f"{self._item(items[row, place])!r} to user {self._user(users[row])!r}); leave out what users have and list again"
                )
            if in_seen.any():
                self._warn(
                    f"lists {in_seen.sum()} validation items to {in_seen.any(axis=1).sum()} users who have them; they count as missed"
                )
            candidates -= np.diff(seen.indptr)[users]
        missing = lengths == 0
        if missing.any():
            self._warn(
                f"has no list for {missing.sum()} of {len(users)} users with held-out items "
                f"(first: user {self._user(users[missing][0])!r}); they count 0"
            )
        short = ~missing & (lengths < np.minimum(top_k, candidates))
        if short.any():
            self._warn(
                f"has fewer than {top_k} items for {short.sum()} of {len(users)} users (first: user "
                f"{self._user(users[short][0])!r}, {lengths[short][0]}); the places left empty count as missed"
            )

    def _warn(self, message: str) -> None:
        warn(f"{self.source} {message}")

    def _user(self, row: int) -> Id:
        return as_python(self.user_ids.ids[row])

    def _item(self, row: int) -> Id:
        return as_python(self.item_ids.ids[row])


def read_lists(path: str | Path, train: Interactions, valid: Interactions | None = None) -> RankedLists:
    """Read ranked lists: a table with columns of users and items, and of rank (1 first) or score (highest first) or both.

    What `ultragcn recommend --output` writes is such a file. The content says what the format is: Parquet, JSON lines, text with a
    header, separated by tabs or commas, or a TREC run (`user Q0 item rank score tag` without a header); text may be packed with gzip.
    Columns may be called as other tools call them: user or userId, item or movieId, and for the score prediction or rating. Where
    there are both, rank counts; of a TREC run the score, as for trec_eval. Equal scores go by the lower item.

    Raises
    ------
    DataError
        The file cannot be read, lacks a column, has ids that the data set does not have, ranks or scores that are not numbers, a
        rank twice for a user, or an item twice for a user.
    """
    refuse_lost_threads()
    path = Path(path)
    table = _read_table(path)
    names = [name for name in table.columns if name != _ROW]
    key = next((name for wanted in _ORDERED_BY for name in names if name.strip().lower() == wanted), None)
    columns = [known(role, names) for role in ("user", "item")]
    if key is None or None in columns:
        raise DataError(f"{path} has the columns {', '.join(names)}; expected user_id, item_id and rank or score")
    if len(table) == 0:
        raise DataError(f"{path} lists nothing; expected one row for each listed item")
    users, items = (_rows(path, table, str(name), ids) for name, ids in zip(columns, (train.user_ids, train.item_ids), strict=True))
    order_by = _numbers(path, table, key)
    if key.strip().lower() == "rank":
        below = np.flatnonzero(order_by < 0)
        if len(below):
            raise DataError(f"{path}: rank {order_by[below[0]]:g} in row {table[_ROW][int(below[0])]} is below 0; 1 is the first of a list")
        order = np.lexsort((order_by, users))
        again = (users[order][1:] == users[order][:-1]) & (order_by[order][1:] == order_by[order][:-1])
        if again.any():
            user = as_python(train.user_ids.ids[users[order][1:][again][0]])
            raise DataError(f"{path} has the same rank twice for a user, {again.sum()} times (first: user {user!r}); ranks must differ")
    else:
        order = np.lexsort((items, -order_by, users))
    return RankedLists(users[order], items[order], train, valid, str(path))


def _read_table(path: Path) -> Any:
    """Return the file as a polars table; text with all columns as text. `_ROW` counts from 1, a header and empty lines included."""
    import polars as pl

    from ultragcn.data.containers import require_file  # which brings polars

    require_file(path, "a file of ranked lists")
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else open(path, "rb") as opened:
            start = opened.readline()
            source: Any = io.BytesIO(start + opened.read()) if packed else path
        if start.startswith(b"PAR1"):
            return pl.read_parquet(source).with_row_index(_ROW, 1)
        if start.lstrip().startswith(b"{"):
            return pl.read_ndjson(source).with_row_index(_ROW, 1)
        if _is_trec(start):
            content = source.getvalue() if packed else path.read_bytes()
            lines = io.BytesIO(re.sub(rb"[ \t]+", b"\t", re.sub(rb"(?m)^[ \t]+|[ \t\r]+$", b"", content)))
            runs = pl.read_csv(lines, has_header=False, new_columns=list(_TREC), separator="\t", quote_char=None, infer_schema=False)
            return runs.with_row_index(_ROW, 1).filter(~pl.all_horizontal(pl.exclude(_ROW).is_null()))
        if b"\t" in start:
            # Ids may contain quotation marks; tabs cannot be in them.
            table = pl.read_csv(source, separator="\t", quote_char=None, infer_schema=False)
        else:
            table = pl.read_csv(source, infer_schema=False)
        return table.with_row_index(_ROW, 2).filter(~pl.all_horizontal(pl.exclude(_ROW).is_null()))  # lines left empty
    except (OSError, EOFError) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    except pl.exceptions.PolarsError as error:
        raise DataError(f"cannot read {path} as a table: {str(error).splitlines()[0]}") from error


def _is_trec(line: bytes) -> bool:
    """Return whether a line is one of a TREC run: `user Q0 item rank score tag`."""
    words = line.split()
    return len(words) == len(_TREC) and words[1].upper() == b"Q0"


def _rows(path: Path, table: Any, name: str, ids: IdMap) -> np.ndarray:
    """Return the row of each id (N,) int64; ids that are not there are counted in one error."""
    import polars as pl

    column = table[name]
    if not (column.dtype.is_integer() or column.dtype == pl.String):
        raise DataError(f"{path}: {column.name} must be integers or text, not {column.dtype}")
    typed = column.cast(pl.String if ids.are_strings else pl.Int64, strict=False)
    present = (typed.cast(pl.String) == column.cast(pl.String)).fill_null(False).to_numpy()  # 007 is not 7
    rows = np.full(len(typed), -1, dtype=np.int64)
    rows[present] = ids.find(typed.filter(present).to_numpy())
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        raise DataError(
            f"{path}: the {column.name} of {len(unknown)} of {len(rows)} rows is not in the data set (first: "
            f"{column[int(unknown[0])]!r} in row {table[_ROW][int(unknown[0])]}); its ids are such as {as_python(ids.ids[0])!r}"
        )
    return rows


def _numbers(path: Path, table: Any, name: str) -> np.ndarray:
    """Return a column as float64 (N,)."""
    import polars as pl

    column = table[name]
    numbers = column.cast(pl.Float64, strict=False).to_numpy()
    wrong = np.flatnonzero(np.isnan(numbers))
    if len(wrong):
        raise DataError(f"{path}: {column.name} {column[int(wrong[0])]!r} in row {table[_ROW][int(wrong[0])]} is not a number")
    return np.asarray(numbers, dtype=np.float64)
