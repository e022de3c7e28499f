"""Holding out pairs of a log on the disk: the same pairs as `split.hold_out_by` holds out of one in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from ultragcn.data.ids import IdMap
from ultragcn.data.interactions import bytes_of_ids
from ultragcn.data.large import pairs as on_disk
from ultragcn.data.large.disk import Column
from ultragcn.data.large.interactions import DiskInteractions
from ultragcn.data.large.pairs import Pairs, Writer, nth_latest, ranges
from ultragcn.data.options import DataOptions
from ultragcn.data.split import HoldOut, first_time_given, num_held_by_time, refuse_empty_split
from ultragcn.progress import Progress

_TRAIN, _VALID, _TEST = 0, 1, 2
_LABELS = {"valid": _VALID, "test": _TEST}


@dataclass(frozen=True)
class DiskSplit:
    """Train, validation and test, over the same ids."""

    train: DiskInteractions
    valid: DiskInteractions | None
    test: DiskInteractions
    known_hash: str
    """The hash of train and validation together: that of train before anything was held out for validation."""


class Splitter:
    """Holds pairs out of a log on the disk. Every pair has a label, which says what it is for.

    Parameters
    ----------
    whole : Pairs
    options : DataOptions
    seed : int
    progress : Progress
    """

    def __init__(self, whole: Pairs, options: DataOptions, seed: int, progress: Progress):
        self._whole, self._options, self._seed, self._progress = whole, options, seed, progress
        self._labels: Column | None = None
        self._known = whole.degrees  # pairs of each user that are train or validation
        self._first_time: int | None = None

    def split(self, user_ids: IdMap, item_ids: IdMap, with_valid: bool) -> DiskSplit:
        """Return the parts; `with_valid` holds out for validation too.

        Raises
        ------
        DataError, UsageError
            As of `split.hold_out_by`.
        """
        if self._options.split == "none":
            train = DiskInteractions.on_disk(self._whole, user_ids, item_ids)
            nothing = Writer(self._whole.scratch, self._whole.num_items, self._whole.times is not None)
            nothing.add(np.zeros(len(user_ids), np.int64), np.empty(0, np.int32), np.empty(0, np.int64))
            return DiskSplit(train, None, DiskInteractions.on_disk(nothing.pairs(), user_ids, item_ids), train.hash)
        self._labels = self._whole.scratch.column(np.uint8, len(self._whole))
        self._progress.start("splitting", (3 if with_valid else 2) * len(self._whole), "pair")
        try:
            self._known = self._hold_out("test", self._known)
            if with_valid:
                self._hold_out("valid", self._known)
            pairs, known_hash = self._written(user_ids, item_ids)
        finally:
            self._progress.finish()
        self._labels.remove()
        parts = {label: DiskInteractions.on_disk(own, user_ids, item_ids) for label, own in pairs.items()}
        return DiskSplit(parts[_TRAIN], parts[_VALID] if with_valid else None, parts[_TEST], known_hash)

    def _hold_out(self, part: str, degrees: np.ndarray) -> np.ndarray:
        """Label what is held out for `part` of train, in which users have `degrees` pairs; return how many are left to each."""
        labels, options, num_pairs = self._labels, self._options, int(degrees.sum())
        assert labels is not None
        if options.split == "time":
            given, before = first_time_given(options, part), self._first_time
            assert self._whole.times is not None
            self._first_time = (
                nth_latest(self._whole.times, num_held_by_time(num_pairs, options, part), before, on_disk.ROWS) if given is None else given
            )
        rule = HoldOut(options, self._seed, part, self._first_time)
        left, latest = degrees.copy(), None
        for first, last in ranges(self._whole.degrees, on_disk.ROWS):
            start, stop = int(self._whole.indptr[first]), int(self._whole.indptr[last])
            label = labels.read(start, stop)
            times = None if self._whole.times is None else self._whole.times.read(start, stop)
            if times is not None:
                latest = int(times.max()) if latest is None else max(latest, int(times.max()))
            free = label == _TRAIN
            held = rule.mask(degrees[first:last], None if times is None else times[free])
            users = np.repeat(np.arange(last - first), degrees[first:last])
            left[first:last] -= np.bincount(users[held], minlength=last - first)
            label[np.flatnonzero(free)[held]] = _LABELS[part]
            labels.write(start, label)
            self._progress.advance(stop - start)
        refuse_empty_split(num_pairs - int(left.sum()), num_pairs, options, part, latest)
        return left

    def _written(self, user_ids: IdMap, item_ids: IdMap) -> tuple[dict[int, Pairs], str]:
        """Return the pairs of each label, written, and the hash of those that are not test."""
        assert self._labels is not None
        whole = self._whole
        writers = {label: Writer(whole.scratch, whole.num_items, whole.times is not None) for label in (_TRAIN, _VALID, _TEST)}
        digest = hashlib.sha256(np.concatenate(([0], np.cumsum(self._known))).astype("<i8").tobytes())
        for piece in whole.pieces(on_disk.ROWS):
            label = self._labels.read(piece.start, piece.start + len(piece.items))
            users = piece.users - np.int32(piece.first)
            for own, writer in writers.items():
                mask = label == own
                degrees = np.bincount(users[mask], minlength=len(piece.degrees))
                writer.add(degrees, piece.items[mask], None if piece.times is None else piece.times[mask])
            digest.update(piece.items[label != _TEST].astype("<i4", copy=False))
            self._progress.advance(len(piece.items))
        for ids in (user_ids, item_ids):
            digest.update(bytes_of_ids(ids))
        if whole.times is not None:
            for times, label in zip(whole.times.pieces(on_disk.ROWS), self._labels.pieces(on_disk.ROWS), strict=True):
                digest.update(times[label != _TEST].astype("<i8", copy=False))
        return {label: writer.pairs() for label, writer in writers.items()}, digest.hexdigest()
