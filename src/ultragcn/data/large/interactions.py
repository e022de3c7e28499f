"""Interactions whose pairs lie on the disk."""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

from ultragcn.data.ids import IdMap
from ultragcn.data.interactions import Interactions, bytes_of_ids
from ultragcn.data.large import pairs as on_disk
from ultragcn.data.large.disk import Scratch
from ultragcn.data.large.pairs import Pairs, Piece, Writer
from ultragcn.storage import hash_bytes


class DiskInteractions(Interactions):
    """Interactions whose arrays are mapped to files in a scratch folder, which stays as long as they do.

    They are used like any others and are equal to them, bit for bit. What would take all pairs into memory works in pieces here: `hash`,
    `item_degrees`, `union`, `common` and `by_item`. `pairs` and `part` take memory for all pairs, as they do elsewhere.
    """

    @classmethod
    def on_disk(cls, pairs: Pairs, user_ids: IdMap, item_ids: IdMap) -> "DiskInteractions":
        """Return the interactions of pairs on the disk."""
        made = cls.__new__(cls)
        shape = len(pairs.indptr) - 1, pairs.num_items
        indptr = _short(pairs.indptr)
        matrix = sp.csr_matrix((pairs.scratch.ones(len(pairs)), pairs.items.mapped(), indptr), shape=shape)
        matrix.has_sorted_indices = matrix.has_canonical_format = True  # else SciPy looks through all of them
        when = None if pairs.times is None else pairs.times.mapped()
        vars(made).update(matrix=matrix, user_ids=user_ids, item_ids=item_ids, times=when, _pairs=pairs)
        return made

    _pairs: Pairs

    @property
    def scratch(self) -> Scratch:
        """Where the pairs lie."""
        return self._pairs.scratch

    @property
    def on_disk_pairs(self) -> Pairs:
        """The pairs as they lie there."""
        return self._pairs

    @property
    def item_degrees(self) -> np.ndarray:
        """d_i, the number of users of each item: (I,) int64."""
        if "_counted" not in vars(self):
            vars(self)["_counted"] = self._pairs.item_degrees()
        result: np.ndarray = vars(self)["_counted"]
        return result

    @property
    def by_item(self) -> sp.csr_matrix:
        """The users of each item: I x U, float32 ones, on the disk too."""
        if "_by_item" not in vars(self):
            indptr, users = on_disk.by_item(self._pairs, self.item_degrees)
            shape = self.matrix.shape[::-1]
            matrix = sp.csr_matrix((self.scratch.ones(len(self)), users.mapped(), _short(indptr)), shape=shape)
            matrix.has_sorted_indices = matrix.has_canonical_format = True
            vars(self)["_by_item"] = matrix
        result: sp.csr_matrix = vars(self)["_by_item"]
        return result

    @property
    def hash(self) -> str:
        """SHA-256 of ids, pairs, and times where they are known. Equal data have the same hash."""
        if "_hash" not in vars(self):
            vars(self)["_hash"] = hash_bytes(self._bytes())
        result: str = vars(self)["_hash"]
        return result

    def _bytes(self) -> Iterator[bytes]:
        yield self._pairs.indptr.astype("<i8").tobytes()
        yield from (items.astype("<i4", copy=False).tobytes() for items in self._pairs.items.pieces(on_disk.ROWS))
        yield from (bytes_of_ids(ids) for ids in (self.user_ids, self.item_ids))
        if self._pairs.times is not None:
            yield from (times.astype("<i8", copy=False).tobytes() for times in self._pairs.times.pieces(on_disk.ROWS))

    def union(self, other: Interactions) -> Interactions:
        """Return the pairs that are in either. Both must have the same ids. A pair in both has its later time."""
        timed = self.times is not None and other.times is not None
        writer = Writer(self.scratch, self.num_items, timed)
        for piece in self._pairs.pieces():
            whole = self._of_piece(piece).union(_users_of(other, piece))
            writer.add(whole.user_degrees, whole.matrix.indices, whole.times)
        return DiskInteractions.on_disk(writer.pairs(), self.user_ids, self.item_ids)

    def common(self, other: Interactions) -> sp.csr_matrix:
        """Return the matrix of the pairs that are in both. Both must have the same ids."""
        found = [self._of_piece(piece).common(_users_of(other, piece)) for piece in self._pairs.pieces()]
        return sp.csr_matrix(sp.vstack(found, format="csr")) if found else sp.csr_matrix(self.matrix.shape, dtype=np.float32)

    def _of_piece(self, piece: Piece) -> Interactions:
        """Return the pairs of some users as interactions in memory, whose rows are those users alone."""
        indptr = np.concatenate(([0], np.cumsum(piece.degrees)))
        matrix = sp.csr_matrix((np.ones(len(piece.items), np.float32), piece.items, indptr), shape=(len(piece.degrees), self.num_items))
        return Interactions._of(matrix, self.user_ids, self.item_ids, piece.times)


def _users_of(other: Interactions, piece: Piece) -> Interactions:
    """Return the pairs that the users of a piece have in other interactions, in memory."""
    first, last = piece.first, piece.first + len(piece.degrees)
    if isinstance(other, DiskInteractions):
        return other._of_piece(other._pairs.piece(first, last))
    start, stop = other.matrix.indptr[first], other.matrix.indptr[last]
    when = None if other.times is None else other.times[start:stop]
    return Interactions._of(other.matrix[first:last], other.user_ids, other.item_ids, when)


def _short(indptr: np.ndarray) -> np.ndarray:
    """Return the beginnings of rows in 32 bits where they fit: SciPy would make both arrays of a matrix as long as the longer one."""
    return indptr.astype(np.int32) if indptr[-1] <= np.iinfo(np.int32).max else indptr
