"""Who used what: a sparse user x item matrix with the ids of its rows and columns."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.sparse as sp

from ultragcn.data.ids import Id, IdMap, as_ids
from ultragcn.data.matrices import own_csr
from ultragcn.errors import DataError, UsageError, counted
from ultragcn.storage import hash_bytes


class Interactions:
    """Distinct pairs of a user and an item, which never change once they are made: U users, I items, N pairs.

    Parameters
    ----------
    matrix : SciPy sparse matrix, U x I
        An entry means that the user has the item. Values are ignored, duplicates are merged and columns are sorted. The matrix is checked
        and copied, so later changes to it have no effect here.
    user_ids, item_ids : IdMap
        Ids of the rows and of the columns.
    times : (N,) int64, optional
        The time of each pair, in microseconds since 1970, in the order of the entries of a canonical `matrix`; None if times are not known.
    """

    matrix: sp.csr_matrix
    """U x I, float32 ones, columns ascending."""
    user_ids: IdMap
    item_ids: IdMap
    times: np.ndarray | None

    def __init__(self, matrix: sp.csr_matrix, user_ids: IdMap, item_ids: IdMap, times: np.ndarray | None = None):
        if matrix.shape != (len(user_ids), len(item_ids)):
            raise DataError(f"a matrix of shape {matrix.shape} does not fit {len(user_ids)} users and {len(item_ids)} items")
        ours = own_csr(matrix)
        if times is not None:
            in_order = matrix.format == "csr" and np.array_equal(matrix.indices, ours.indices)
            if len(times) != ours.nnz or not in_order:
                raise DataError(
                    f"{len(times)} times do not fit {counted(matrix.nnz, 'pair')}; give one time for each pair, with sorted "
                    f"columns and no pair twice"
                )
            times = np.array(times)
        self._set(ours, user_ids, item_ids, times)

    def _set(self, matrix: sp.csr_matrix, user_ids: IdMap, item_ids: IdMap, times: np.ndarray | None) -> None:
        """Keep a canonical matrix that nobody else holds."""
        indices, indptr = matrix.indices.astype(np.int32, copy=False), matrix.indptr.astype(np.int64)
        ours = sp.csr_matrix((np.ones(matrix.nnz, dtype=np.float32), indices, indptr), shape=matrix.shape)
        vars(self).update(matrix=ours, user_ids=user_ids, item_ids=item_ids, times=times)

    @classmethod
    def _of(cls, matrix: sp.csr_matrix, user_ids: IdMap, item_ids: IdMap, times: np.ndarray | None = None) -> "Interactions":
        """Return the interactions of a canonical matrix that the library made itself: nothing is checked or copied."""
        made = cls.__new__(cls)
        made._set(matrix, user_ids, item_ids, times)
        return made

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"interactions do not change, so {name} cannot be set; make new interactions, for example with part or union")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"interactions do not change, so {name} cannot be deleted")

    @classmethod
    def from_pairs(
        cls,
        users: Iterable[Id] | np.ndarray,
        items: Iterable[Id] | np.ndarray,
        user_ids: IdMap | None = None,
        item_ids: IdMap | None = None,
    ) -> "Interactions":
        """Return the interactions of two lists of equal length, one of user ids and one of item ids.

        Without id maps, the maps have all ids that occur.
        """
        users, items = as_ids(users, "user"), as_ids(items, "item")
        if len(users) != len(items):
            raise DataError(f"{len(users)} users do not fit {len(items)} items; give two lists of the same length")
        user_ids = user_ids or IdMap.of(users, "user")
        item_ids = item_ids or IdMap.of(items, "item")
        rows, columns = user_ids.rows(users), item_ids.rows(items)
        matrix = sp.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=(len(user_ids), len(item_ids)))
        matrix.sum_duplicates()
        return cls._of(matrix, user_ids, item_ids)

    @classmethod
    def from_frame(cls, frame: Any, **options: Any) -> "Interactions":
        """Return the interactions in a polars or pandas frame, a SciPy matrix or a file.

        Parameters
        ----------
        frame : frame, sparse matrix, str or Path
            Anything that `ultragcn.data.log.read_log` reads.
        **options
            `user_column`, `item_column`, `min_rating`, `k_core` and the like: `ultragcn.data.options.DataOptions`. Times are read when
            `time_column` is given.

        Raises
        ------
        DataError
            The source cannot be read. The message names the row.
        """
        from ultragcn.data import events, log  # which themselves make interactions
        from ultragcn.data.options import DataOptions

        chosen = DataOptions().replace(**options)
        return events.k_core(events.events_of(log.read_log(frame, chosen)), chosen.k_core).interactions

    def __len__(self) -> int:
        return int(self.matrix.nnz)

    def __repr__(self) -> str:
        return f"Interactions({self.num_users} users x {self.num_items} items, {len(self)} pairs)"

    @property
    def num_users(self) -> int:
        """U."""
        return int(self.matrix.shape[0])

    @property
    def num_items(self) -> int:
        """I."""
        return int(self.matrix.shape[1])

    @property
    def user_degrees(self) -> np.ndarray:
        """d_u, the number of items of each user: (U,) int64."""
        return np.diff(self.matrix.indptr)

    @property
    def item_degrees(self) -> np.ndarray:
        """d_i, the number of users of each item: (I,) int64."""
        return np.bincount(self.matrix.indices, minlength=self.num_items)

    @property
    def by_item(self) -> sp.csr_matrix:
        """The users of each item: I x U, float32 ones, users ascending."""
        return self.matrix.T.tocsr()

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """User rows and item columns of all pairs, by user, then item: (N,) int32 each."""
        return np.repeat(np.arange(self.num_users, dtype=np.int32), self.user_degrees), self.matrix.indices

    @property
    def hash(self) -> str:
        """SHA-256 of ids, pairs, and times where they are known. Equal data have the same hash."""
        parts = [self.matrix.indptr.astype("<i8").tobytes(), self.matrix.indices.astype("<i4").tobytes()]
        parts.extend(bytes_of_ids(ids) for ids in (self.user_ids, self.item_ids))
        if self.times is not None:
            parts.append(self.times.astype("<i8").tobytes())
        return hash_bytes(parts)

    def items_of(self, user_index: int) -> np.ndarray:
        """Return the item columns of one user row, ascending (int32)."""
        result: np.ndarray = self.matrix.indices[self.matrix.indptr[user_index] : self.matrix.indptr[user_index + 1]]
        return result

    def with_matrix(self, matrix: sp.csr_matrix, times: np.ndarray | None = None) -> "Interactions":
        """Return other pairs over the same ids."""
        return Interactions(matrix, self.user_ids, self.item_ids, times)

    def part(self, mask: np.ndarray) -> "Interactions":
        """Return the pairs that a mask (N,) selects, over the same ids."""
        users, items = self.pairs
        indptr = np.concatenate(([0], np.cumsum(np.bincount(users[mask], minlength=self.num_users))))
        ones = np.ones(indptr[-1], dtype=np.float32)
        times = None if self.times is None else self.times[mask]
        matrix = sp.csr_matrix((ones, items[mask], indptr), shape=self.matrix.shape)
        return Interactions._of(matrix, self.user_ids, self.item_ids, times)

    def union(self, other: "Interactions") -> "Interactions":
        """Return the pairs that are in either. Both must have the same ids. A pair in both has its later time."""
        matrix = sp.csr_matrix(self.matrix + other.matrix)
        matrix.sum_duplicates()
        union = Interactions._of(matrix, self.user_ids, self.item_ids)
        if self.times is None or other.times is None:
            return union
        times = np.full(len(union), np.iinfo(np.int64).min)
        for part in (self, other):
            assert part.times is not None
            places = np.searchsorted(union._keys, part._keys)
            times[places] = np.maximum(times[places], part.times)
        return Interactions._of(union.matrix, self.user_ids, self.item_ids, times)

    @property
    def _keys(self) -> np.ndarray:
        """User row x I + item column of all pairs, ascending: (N,) int64."""
        users, items = self.pairs
        result: np.ndarray = users.astype(np.int64) * self.num_items + items
        return result

    def common(self, other: "Interactions") -> sp.csr_matrix:
        """Return the matrix of the pairs that are in both. Both must have the same ids."""
        return sp.csr_matrix(self.matrix.multiply(other.matrix))


def bytes_of_ids(ids: IdMap) -> bytes:
    """Return ids as the bytes that a hash is taken of."""
    return "\0".join(map(str, ids.ids.tolist())).encode()


class ItemTotals(Interactions):
    """What is left of interactions whose users were left out: how many users each item had. There are no users and no pairs in it."""

    @classmethod
    def of(cls, user_ids: IdMap, item_ids: IdMap, degrees: np.ndarray) -> "ItemTotals":
        """Return the totals of items that so many users had: (I,) int64; `user_ids` is empty, and says of which kind they were."""
        made = cls.__new__(cls)
        made._set(sp.csr_matrix((0, len(item_ids)), dtype=np.float32), user_ids, item_ids, None)
        vars(made)["_degrees"] = degrees
        return made

    @property
    def item_degrees(self) -> np.ndarray:
        """d_i, the number of users of each item before the users were left out: (I,) int64."""
        degrees: np.ndarray = vars(self)["_degrees"]
        return degrees


def refuse_overlap(train: Interactions, held_out: Interactions, name: str) -> None:
    """Raise `DataError` if a pair of `held_out` stands in `train` too."""
    common = train.common(held_out).tocoo()
    if common.nnz:
        user, item = train.user_ids.shown(common.row[0]), train.item_ids.shown(common.col[0])
        verb, them = ("is", "it") if common.nnz == 1 else ("are", "them")
        pairs = counted(common.nnz, f"{name} pair")
        raise DataError(f"{pairs} {verb} in train too (first: item {item} of user {user}); remove {them} from one of the two")


def refuse_leaks(train: Interactions, valid: Interactions | None, test: Interactions | None) -> None:
    """Raise `DataError` if a pair that is held out stands in `train` too, `UsageError` if it is not said by the ids of `train`."""
    for name, held_out in (("test", test), ("valid", valid)):
        if held_out is not None:
            if held_out.user_ids != train.user_ids or held_out.item_ids != train.item_ids:
                raise UsageError(f"train and {name} must have the same ids; make both from one data set, as load_dataset does")
            refuse_overlap(train, held_out, name)


def refuse_empty(train: Interactions) -> None:
    """Raise `DataError` if there is nothing to learn from."""
    if len(train) == 0:
        raise DataError("there are no train interactions; give at least one (user, item) pair")


def require_interactions(caller: str, example: str, *given: Any) -> None:
    """Raise `UsageError` if one of `given` is anything but interactions or None."""
    for value in given:
        if value is not None and not isinstance(value, Interactions):
            raise UsageError(f"{caller} takes interactions, such as {example}, not a {type(value).__name__}")
