"""What users had but is not learned (`data.had`), of a log on the disk."""

import numpy as np

from ultragcn.data.had import rows_in
from ultragcn.data.ids import IdMap
from ultragcn.data.large import pairs as on_disk
from ultragcn.data.large.interactions import DiskInteractions
from ultragcn.data.large.pairs import Pairs, Writer, ranges


def had_on_disk(had: DiskInteractions | None, whole: Pairs, user_ids: IdMap, item_ids: IdMap) -> DiskInteractions | None:
    """Return the pairs of `had` that `whole` has users and items for and does not have itself; None where there are none.

    It is what `had.had_beside` returns, made in pieces. Ids of both are of one kind.

    Parameters
    ----------
    had : DiskInteractions or None
        Over ids of its own.
    whole : Pairs
        All pairs that are learned, of the users `user_ids` and the items `item_ids`.
    user_ids, item_ids : IdMap
    """
    if had is None or not len(had):
        return None
    rows, columns = rows_in(user_ids, had.user_ids), rows_in(item_ids, had.item_ids).astype(np.int32)
    left = _without(_moved(had.on_disk_pairs, rows, columns, len(user_ids), len(item_ids)), whole)
    return DiskInteractions.on_disk(left, user_ids, item_ids) if len(left) else None


def _moved(pairs: Pairs, rows: np.ndarray, columns: np.ndarray, num_users: int, num_items: int) -> Pairs:
    """Return the pairs in the rows and columns of other ids, without those that have -1 there. Both ids ascend."""
    known = np.flatnonzero(rows >= 0)

    def begins(user: int) -> int:
        """Return the first row that a user from `user` on may have."""
        place = int(np.searchsorted(known, user))
        return int(rows[known[place]]) if place < len(known) else num_users

    writer, first = Writer(pairs.scratch, num_items, False), 0
    for piece in pairs.pieces(on_disk.ROWS):
        last = begins(piece.first + len(piece.degrees))
        users, items = rows[piece.users], columns[piece.items]
        there = (users >= 0) & (items >= 0)
        writer.add(np.bincount(users[there] - first, minlength=last - first), items[there], None)
        first = last
    return writer.pairs()


def _without(pairs: Pairs, others: Pairs) -> Pairs:
    """Return the pairs that are not among the others, over the same ids."""
    writer, num_items = Writer(pairs.scratch, pairs.num_items, False), np.int64(pairs.num_items)
    for first, last in ranges(pairs.degrees + others.degrees, on_disk.ROWS):
        own, theirs = pairs.piece(first, last), others.piece(first, last)
        keys, taken = (part.users * num_items + part.items for part in (own, theirs))
        left = np.ones(len(keys), bool)
        if len(taken):
            left = taken[np.minimum(np.searchsorted(taken, keys), len(taken) - 1)] != keys
        writer.add(np.bincount(own.users[left] - first, minlength=last - first), own.items[left], None)
    return writer.pairs()
