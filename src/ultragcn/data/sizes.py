"""How many users, items and pairs a source has, from its header or footer and a look at some of its rows.

A source that is small is read as a training would read it, and its sizes are exact. Those of a large one are estimates. Of Parquet files
all rows of some users are read, wherever they stand; of text, pieces are read that lie evenly spread over it.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np

from ultragcn.data import columns, json_lines, kinds
from ultragcn.data.containers import DAMAGED, Ready, ready, temporary_folder
from ultragcn.data.datasets import load_dataset
from ultragcn.data.events import over_same_ids
from ultragcn.data.folders import Files, Part, find_files
from ultragcn.data.large.size import is_large, needed_on_disk, rows_to_read_on_disk
from ultragcn.data.log import Log, _has_user_lines, name_of, read_log, refuse_no_rows
from ultragcn.data.options import DataOptions
from ultragcn.data.sources import SOURCES, data_folder, is_present
from ultragcn.data.tables import Table, open_table
from ultragcn.data.text import ROW
from ultragcn.errors import DataError, DataWarning, UsageError
from ultragcn.lazily import pl

WHOLE_BYTES, WHOLE_ROWS = 48 * 2**20, 4_000_000
"""A source of text, and one of Parquet, that is not larger is read as a whole: it takes about a second."""
_PIECES = 16
"""Of a source that is not."""
_PIECE_BYTES = 2**20
_SAMPLE_ROWS, _SAMPLE_ITEMS = 1_000_000, 50_000
"""Rows of the users that are looked at in Parquet files, about, and items that are looked for."""
_PARTS = 64
"""Of a source of many files, so many are opened to look at them."""
SPREAD = 2.5
"""Mean square of the users' degrees over the square of their mean, where nothing is known: between what MovieLens and Gowalla have."""
VALID_SHARE = 0.1
"""Of the pairs that are not test pairs: what is held out for validation where items are drawn at random."""


LINES, TABLE, TEXT, CELLS, DISK = "lines", "table", "text", "cells", "disk"
"""A line for each user; rows with kinds of columns; text with a character between cells; text with several; rows kept on disk."""


class LogSizes(NamedTuple):
    """The sizes of a log, as it will be split."""

    num_users: int
    num_items: int
    num_train: int
    num_valid: int
    num_test: int
    spread: float = SPREAD
    """Mean square of the users' degrees over the square of their mean."""
    kind: str = TABLE
    """What is read, by how much memory it takes: one of the kinds of this module."""
    is_estimate: bool = True
    one_log: bool = True
    """Whether everything is one log, of which test is held out."""
    about: str = ""
    """How the sizes were found, in a few words."""
    disk_bytes: int = 0
    """Space on the disk that reading takes at most, where the log is kept there."""

    @property
    def num_pairs(self) -> int:
        """Train, validation and test pairs together."""
        return self.num_train + self.num_valid + self.num_test


def sizes_of(
    source: Any,
    data_dir: str | Path | None = None,
    *,
    test: Any = None,
    valid: Any = None,
    options: DataOptions | None = None,
    protocol: str = "clean",
    split_seed: int = 0,
    on_disk: str = "auto",
    **choices: Any,
) -> LogSizes:
    """Return the sizes of what `load_dataset` would read, without reading a large source as a whole.

    Parameters
    ----------
    source, data_dir, test, valid, options, protocol, split_seed, on_disk, **choices
        As of `load_dataset`. Nothing is downloaded: of a named data set that is not there, the published sizes are returned.

    Returns
    -------
    LogSizes

    Raises
    ------
    DataError, UsageError
        As of `load_dataset`, where the part that is looked at cannot be read.

    Examples
    --------
    >>> sizes_of("demo").num_users
    2000
    """
    named = SOURCES.get(source) if isinstance(source, str) else None
    if named is not None and not is_present(named, data_folder(data_dir)):
        about = f"published sizes; {source} is not in {data_folder(data_dir)} yet"
        users, items, pairs = named.num_users, named.num_items, named.num_train
        if named.num_test is None:
            return _split(users, items, pairs, protocol, DataOptions(), about, SPREAD, TEXT)
        in_valid = round(VALID_SHARE * pairs) if protocol == "clean" else 0
        return LogSizes(users, items, pairs - in_valid, in_valid, named.num_test, SPREAD, LINES, True, False, about)
    given: dict[str, Any] = {"test": test, "valid": valid, "options": options, "protocol": protocol, "split_seed": split_seed, **choices}
    if isinstance(source, str) and source == "demo":
        return _of_whole(source, data_dir, given, LINES)
    chosen = (options or DataOptions()).replace(**choices)
    with contextlib.ExitStack() as stack:
        found = find_files(source if named is None else data_folder(data_dir) / named.name, stack)
        held = {role: value for role, value in (("test", test), ("valid", valid)) if value is not None}
        num_rows = rows_to_read_on_disk(replace(found, **held), chosen, on_disk)
        if named is None and not _is_small(found, test, valid):
            seen = _of_files(found, test, valid, chosen, protocol)
        else:
            seen = _of_whole(source, data_dir, given, _kind_of(found.train[0], chosen))
        return seen if num_rows is None else seen._replace(kind=DISK, disk_bytes=needed_on_disk(num_rows, chosen))


def _kind_of(part: Part, options: DataOptions) -> str:
    """Return what kind of file a part is."""
    with ready(part.path, part.name, options.encoding, skips=options.skip_rows > 0) as found, json_lines.as_lines(found) as lines:
        if _has_user_lines(lines, options):
            return LINES
        text = open_table(lines, options).text
        return TABLE if text is None else TEXT if len(text.dialect.separator) == 1 else CELLS


def by_sizes(
    num_users: int, num_items: int, num_pairs: int, protocol: str = "clean", options: DataOptions | None = None, on_disk: str = "auto"
) -> LogSizes:
    """Return the sizes of a log of which nothing else is known: `num_pairs` train, validation and test pairs together.

    It is taken for a log of Parquet files, so it is read on the disk where it is large (`on_disk`).

    Raises
    ------
    UsageError
        A size is below 1, or there are more pairs than users times items.

    Examples
    --------
    >>> by_sizes(100, 50, 1000).num_test
    200
    """
    for name, size in (("users", num_users), ("items", num_items), ("pairs", num_pairs)):
        if size < 1:
            raise UsageError(f"--{name} must be a whole number of 1 or more, not {size}")
    if num_pairs > num_users * num_items:
        raise UsageError(f"{num_users} users and {num_items} items make at most {num_users * num_items} pairs, not {num_pairs}")
    options = options or DataOptions()
    seen = _split(num_users, num_items, num_pairs, protocol, options, "sizes as given", SPREAD, TABLE)
    if on_disk == "no" or (on_disk == "auto" and not is_large(num_pairs, options)):
        return seen
    return seen._replace(kind=DISK, disk_bytes=needed_on_disk(num_pairs, options))


def _split(
    users: int, items: int, pairs: int, protocol: str, options: DataOptions, about: str, spread: float, kind: str, estimate: bool = True
) -> LogSizes:
    """Return the sizes of a log of which test and validation pairs are held out."""
    if options.split == "none":
        return LogSizes(users, items, pairs, 0, 0, spread, kind, estimate, True, about)
    by_count = options.split == "last" and not options.last_share
    share = options.last_share if options.split == "last" else options.test_share
    in_test = min(users * options.last_k, pairs // 2) if by_count else round(share * pairs)
    in_valid = min(users * options.last_k, (pairs - in_test) // 2) if by_count else round(VALID_SHARE * (pairs - in_test))
    in_valid = in_valid if protocol == "clean" else 0
    return LogSizes(users, items, pairs - in_test - in_valid, in_valid, in_test, spread, kind, estimate, True, about)


def _of_whole(source: Any, data_dir: str | Path | None, given: Mapping[str, Any], kind: str) -> LogSizes:
    """Return the sizes of a small source, which is read as a training reads it; what it warns of will be said then."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        data = load_dataset(source, data_dir, **given)
    train, degrees = data.train, data.train.user_degrees.astype(np.float64)
    spread = float(np.square(degrees).mean() / max(degrees.mean(), 1e-30) ** 2)
    in_valid = 0 if data.valid is None else len(data.valid)
    about = "every row was read"
    return LogSizes(train.num_users, train.num_items, len(train), in_valid, len(data.test), spread, kind, False, data.one_log, about)


def _parts(found: Files, test: Any, valid: Any) -> list[Part]:
    """Return all files that hold pairs."""
    parts: list[Part] = []
    for role in (found.train, test if test is not None else found.test, valid if valid is not None else found.valid):
        parts += role if isinstance(role, list) else [] if role is None else [Part(Path(role), str(role))]
    return parts


def _is_small(found: Files, test: Any, valid: Any) -> bool:
    total = 0.0
    for part in _parts(found, test, valid):
        try:
            size = part.path.stat().st_size
            with open(part.path, "rb") as file:
                kind = kinds.kind_of(file.read(64))
        except OSError:  # what cannot be read is said by the reader
            return True
        if kind == kinds.PARQUET and size > 2**20:
            total += pl.scan_parquet(part.path, glob=False).select(pl.len()).collect().item() / WHOLE_ROWS if _opens(part.path) else 0.0
        else:
            packed = kind in (kinds.GZIP, kinds.ZSTD, kinds.BZIP2, kinds.XZ, kinds.ZIP)
            total += size * (4 if packed else 1) / WHOLE_BYTES
    return total <= 1


def _opens(path: Path) -> bool:
    """Return whether a Parquet file has a footer; one without is refused by the reader."""
    try:
        pl.scan_parquet(path, glob=False).collect_schema()
    except (pl.exceptions.PolarsError, OSError):
        return False
    return True


class _Seen(NamedTuple):
    """What was seen of some files that are one log."""

    rows: float
    """In all of them, seen or not, about."""
    users: float
    items: float
    pairs: float
    squares: float
    """The sum of the squares of the users' degrees."""
    seen: int
    """Rows that were looked at."""
    kind: str


def _of_files(found: Files, test: Any, valid: Any, options: DataOptions, protocol: str) -> LogSizes:
    """Return the sizes of large files."""
    log = _look(found.train, options)
    users, items, pairs = round(log.users), round(log.items), round(log.pairs)
    spread = float(log.squares / max(log.pairs, 1) ** 2 * log.users)
    about = f"estimated from {log.seen} of about {round(log.rows)} rows"
    given_test = test if test is not None else found.test
    if given_test is None:
        return _split(users, items, pairs, protocol, options, about, spread, log.kind)
    roles = {"test": given_test, "valid": valid if valid is not None else found.valid}
    held = {}
    for role, parts in roles.items():
        held[role] = (
            0 if parts is None else round(_look(parts if isinstance(parts, list) else [Part(Path(parts), str(parts))], options).pairs)
        )
    in_valid = held["valid"] or (round(VALID_SHARE * pairs) if protocol == "clean" else 0)
    in_train = pairs if held["valid"] else pairs - in_valid
    return LogSizes(users, items, in_train, in_valid, held["test"], spread, log.kind, True, False, about)


def _look(parts: Sequence[Part], options: DataOptions) -> _Seen:
    """Look at some rows of some files, evenly spread, and say what all of them will have."""
    if all(_is(kinds.PARQUET, part.path) for part in parts):
        return _look_at_users(parts, options)
    chosen = [parts[place] for place in np.unique(np.linspace(0, len(parts) - 1, min(len(parts), _PARTS)).astype(int))]
    pieces = max(1, _PIECES // len(chosen))
    logs, rows, kind = [], 0.0, _kind_of(chosen[0], options)
    for part in chosen:
        with ready(part.path, part.name, options.encoding, skips=options.skip_rows > 0) as found, json_lines.as_lines(found) as lines:
            log, total = _sample(lines, options, pieces)
        logs.append(log)
        rows += total
    rows *= sum(part.path.stat().st_size for part in parts) / max(1, sum(part.path.stat().st_size for part in chosen))
    joined = over_same_ids(logs)
    users, items = (np.concatenate([getattr(log, side) for log in joined]) for side in ("users", "items"))
    share = min(1.0, len(users) / max(rows, 1.0))
    return _extrapolated(users, items, rows, share, kind)


def _look_at_users(parts: Sequence[Part], options: DataOptions) -> _Seen:
    """Look at all rows of one user in so many, whose ids hash so: a pass over their column in Parquet files."""
    counts = [int(table.collect(pl.scan_parquet(part.path, glob=False).select(pl.len())).item()) for part, table in _tables(parts, options)]
    one_in = max(1, sum(counts) // _SAMPLE_ROWS)
    logs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        for _, table in _tables(parts, options):
            chosen = columns.chosen(table, options)
            needed = table.names if options.where else tuple(dict.fromkeys(itertools.chain.from_iterable(chosen.values())))
            rows = table.plan(needed).drop(ROW)
            frame = table.collect(rows.filter(_one_in(one_in, chosen["user"][0], table)))
            if len(frame):
                logs.append(read_log(frame, options, looked_at=False))
    refuse_no_rows(sum(len(log.users) for log in logs), name_of(parts), options)
    joined = over_same_ids(logs)
    users, items = (np.concatenate([getattr(log, side) for log in joined]) for side in ("users", "items"))
    keys = np.unique(users.astype(np.int64) * (int(items.max()) + 1) + items)
    users, items = np.divmod(keys, int(items.max()) + 1)  # users one after the other, so that pieces of them are other users
    degrees = np.unique(users, return_counts=True)[1].astype(np.float64)
    pairs, most = one_in * float(len(keys)), float(sum(counts))
    found = min(_grown(items, float(np.log2(one_in))), pairs)
    if one_in > 1 and not (options.where or options.needs_ratings or options.net):  # all rows have a say, so all items can be counted
        found = _count_items(parts, options, found)
    return _Seen(most, one_in * float(len(degrees)), found, pairs, one_in * float(np.square(degrees).sum()), len(keys), TABLE)


def _one_in(number: int, name: str, table: Table) -> pl.Expr:
    """Return the condition that holds for about one value in `number` of a column."""
    column = pl.col(name)
    whole = table.kinds(table.plan([name]))[name].is_integer()
    return column.cast(pl.Int64 if whole else pl.String, strict=False).hash(seed=0) % number == 0


def _count_items(parts: Sequence[Part], options: DataOptions, expected: float) -> float:
    """Return how many items there are: about `_SAMPLE_ITEMS` of the expected ones are looked for in all rows."""
    one_in, met = max(1, round(expected / _SAMPLE_ITEMS)), []
    for _, table in _tables(parts, options):
        name = columns.chosen(table, options)["item"][0]
        if table.kinds(table.plan([name]))[name].is_nested():
            return expected
        met.append(table.collect(table.plan([name]).filter(_one_in(one_in, name, table)).select(pl.col(name).cast(pl.String).unique())))
    return float(one_in * pl.concat(met).n_unique())


def _tables(parts: Sequence[Part], options: DataOptions) -> Iterator[tuple[Part, Table]]:
    """Yield the files, opened as tables."""
    for part in parts:
        with ready(part.path, part.name, options.encoding, skips=options.skip_rows > 0) as found:
            yield part, open_table(found, options)


def _extrapolated(users: np.ndarray, items: np.ndarray, rows: float, share: float, kind: str) -> _Seen:
    """Return what all rows have, from those that were seen (n,), which lie in pieces evenly spread over the source.

    The number of different users in 1, 2, 4 ... pieces shows how it grows each time that the rows are doubled: it doubles where rows are
    sorted by user, and it hardly grows where all users have been met. It is taken to go on in the same way.
    """
    doublings = np.log2(1 / share) if share > 0 else 0.0
    found = [_grown(codes, doublings) for codes in (users, items)]
    keys = users.astype(np.int64) * (int(items.max(initial=0)) + 1) + items
    pairs = len(np.unique(keys)) / max(len(keys), 1) * rows
    pieces = np.array_split(users, _PIECES)
    whole = _squares(users)
    half = float(np.mean([_squares(np.concatenate(pieces[start::2])) for start in range(2)]))
    growth = float(np.clip(np.log2(max(whole, 1) / max(half, 1)), 1, 2))
    repeated = whole * 2.0 ** (growth * doublings)
    return _Seen(rows, min(found[0], rows), min(found[1], rows), pairs, repeated + pairs, len(users), kind)


def _squares(codes: np.ndarray) -> float:
    """Return the sum of d (d - 1) over the counts d of each code."""
    counts = np.bincount(codes).astype(np.float64)
    return float((counts * (counts - 1)).sum())


def _grown(codes: np.ndarray, doublings: float) -> float:
    """Return how many different codes there will be after so many doublings of the rows."""
    pieces = np.array_split(codes, _PIECES)
    steps = (4, 2, 1)
    counts = [float(np.mean([len(np.unique(np.concatenate(pieces[start::step]))) for start in range(step)])) for step in steps]
    before, last = (float(np.log2(max(later, 1) / max(earlier, 1))) for earlier, later in itertools.pairwise(counts))
    decay = float(np.clip(last / before, 0.0, 1.0)) if before > 0 else 0.0
    whole, rest = int(doublings), doublings - int(doublings)
    growth, step = 0.0, last
    for _ in range(whole):
        step *= decay
        growth += step
    growth += rest * step * decay
    return float(counts[-1] * 2.0**growth)


def _sample(source: Ready, options: DataOptions, pieces: int) -> tuple[Log, float]:
    """Return the log of some rows of a file, and about how many rows the file has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        if source.kind in (kinds.TEXT, kinds.JSON_LINES) and not _is(kinds.ZSTD, source.path):
            return _sample_of_text(source, options, pieces)
        log = read_log([Part(source.path, source.name)], options, looked_at=False)
        return log, float(len(log.users))


def _is(kind: str, path: Path) -> bool:
    with open(path, "rb") as file:
        return kinds.kind_of(file.read(64)) == kind


def _sample_of_text(source: Ready, options: DataOptions, pieces: int) -> tuple[Log, float]:
    """Lines at the beginning and at places evenly spread over the file; of a packed file, those at its beginning."""
    with temporary_folder() as folder:
        names = "".join(Path(source.name).suffixes[-2:]).removesuffix(".gz")
        target = folder / f"{Path(source.name).name.split('.')[0] or 'log'}{names}"
        try:
            with open(target, "wb") as sample:
                share = _copy_pieces(source.path, sample, pieces)
        except DAMAGED as error:
            raise DataError(f"cannot read {source.name}: {getattr(error, 'strerror', None) or 'it is damaged or cut short'}") from error
        log = read_log([Part(target, source.name)], options, looked_at=False)
    return log, len(log.users) / share


class _ShortReads:
    """A file that gives 8 kB at most a time. gzip reads 128 kB ahead from Python 3.12 on, and what it has not unpacked is not seen."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        return self._file.read(min(size, 2**13))


def _copy_pieces(path: Path, sample: IO[bytes], pieces: int) -> float:
    """Write whole lines of a text file to `sample`; return the share of the file that they are."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        packed = kinds.kind_of(file.read(64)) == kinds.GZIP
        file.seek(0)
        if packed:
            with gzip.GzipFile(fileobj=cast(IO[bytes], _ShortReads(file)), mode="rb") as unpacked:
                head = unpacked.read(pieces * _PIECE_BYTES)
                share = min(1.0, file.tell() / max(size, 1))
                sample.write(head + (unpacked.readline() if share < 1 else b""))
            return share
        if size <= pieces * _PIECE_BYTES:
            sample.write(file.read())
            return 1.0
        written = 0
        for start in np.linspace(0, size - _PIECE_BYTES, pieces).astype(np.int64):
            file.seek(int(start))
            if start:
                file.readline()  # the rest of a line whose beginning lies before
            piece = file.read(_PIECE_BYTES) + file.readline()
            piece += b"" if piece.endswith(b"\n") else b"\n"
            sample.write(piece)
            written += len(piece)
    return min(1.0, written / size)
