"""Data sets: found by name, in a folder, a file or in memory; fetched when they are not there; split; checked."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from ultragcn.data import synthetic, times
from ultragcn.data.columns import check_time_format
from ultragcn.data.events import Events, events_of, k_core
from ultragcn.data.folders import Files, absolute, files_in, find_files
from ultragcn.data.had import had_beside
from ultragcn.data.hints import TIMES_ARE_USED
from ultragcn.data.ids import IdMap
from ultragcn.data.interactions import Interactions, refuse_leaks
from ultragcn.data.items_table import ItemsTable, as_items_table
from ultragcn.data.large.disk import Scratch
from ultragcn.data.large.had import had_on_disk
from ultragcn.data.large.interactions import DiskInteractions
from ultragcn.data.large.pairs import core_of
from ultragcn.data.large.reading import read_on_disk
from ultragcn.data.large.size import needed_on_disk, rows_to_read_on_disk
from ultragcn.data.large.splitting import Splitter
from ultragcn.data.log import Log, read_log
from ultragcn.data.options import DataOptions
from ultragcn.data.sources import SOURCES, Source, _check_sizes, _provide, data_folder, dataset_names, is_usual_split
from ultragcn.data.split import given_parts, hold_out, hold_out_by, refuse_future, warn_of_empty, warn_of_gaps
from ultragcn.data.titles import read_titles
from ultragcn.data.tuples import as_frame_of_pairs
from ultragcn.errors import DataError, UsageError, counted, unknown_name, warn
from ultragcn.progress import Progress, Silent
from ultragcn.storage import hash_bytes

PROTOCOLS = ("clean", "authors")


@dataclass(frozen=True)
class Dataset:
    """Train, validation and test interactions over the same ids. A held-out pair that is in train is refused.

    Under the protocol `clean`, `valid` was held out of train, unless it was given. Under `authors`, `valid` is None and train is whole.
    """

    name: str
    protocol: str
    train: Interactions
    valid: Interactions | None
    test: Interactions
    hash: str
    """SHA-256 over train, test and a given valid, before anything was held out for validation."""
    split_seed: int = 0
    """Fixes which items were held out."""
    folder: str | None = None
    """The data folder it was found in; None for data that are made or given by their own place."""
    best_recall: Mapping[str, float] = field(default_factory=dict)
    """For made-up data: metric label -> the best value that any model can expect on test."""
    options: DataOptions = field(default_factory=DataOptions)
    """How it was read and split."""
    origin: Mapping[str, str] | None = None
    """What to give `load_dataset` to get it again: `source`, and `test`, `valid`, `titles`, `items_table` if given; None for data in
    memory."""
    notes: tuple[str, ...] = ()
    """What was read and kept, a sentence each."""
    item_titles: np.ndarray | None = None
    """(I,) array of str: what to call each item when showing it to people, "" where there is no title; None without titles."""
    items_table: ItemsTable | None = None
    """What is known of the items besides who has them, which rules for lists can ask for; None without such a table."""
    one_log: bool = False
    """Whether everything was one log, of which test was held out when it was loaded."""
    whole: Interactions | None = None
    """All pairs, of a log that lies on the disk: putting its parts together again would write them once more."""
    had: Interactions | None = None
    """What users had besides, over the same ids: pairs rated below `min_rating`, which are in none of the parts; None where there are none.
    A model that is trained on everything leaves them out of its lists. Nothing is measured with them."""

    def __repr__(self) -> str:
        sizes = f"{counted(self.train.num_users, 'user', ',')} x {counted(self.train.num_items, 'item', ',')}"
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        pairs = ", ".join(f"{name} {len(part):,}" for name, part in parts.items() if part is not None)
        return f"Dataset({self.name}, protocol {self.protocol}: {sizes}; pairs: {pairs})"

    def __post_init__(self) -> None:
        refuse_leaks(self.train, self.valid, self.test)

    @property
    def everything(self) -> Interactions:
        """Train, validation and test pairs together, with their times where they are known."""
        if self.whole is not None:
            return self.whole
        parts = (self.valid, self.test)
        return reduce(lambda whole, part: whole.union(part) if part is not None and len(part) else whole, parts, self.train)

    @property
    def known_as(self) -> str | None:
        """The name of a data set that `dataset_names` has; None for data of your own, whatever their file is called."""
        source = (self.origin or {}).get("source")
        return source if source in dataset_names() else None

    @property
    def tuned_as(self) -> str | None:
        """The name under which settings are kept that were chosen on this split; None for data of your own.

        It is None for another split of a named data set too: the settings were chosen on validation pairs of the usual split, and these
        may be test pairs of another one.
        """
        name = self.known_as
        return name if name is not None and is_usual_split(name, self.options, self.origin or ()) else None


def load_dataset(
    source: Any = "demo",
    data_dir: str | Path | None = None,
    *,
    test: Any = None,
    valid: Any = None,
    titles: Any = None,
    items_table: Any = None,
    options: DataOptions | None = None,
    protocol: str = "clean",
    split_seed: int = 0,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
    on_disk: str = "auto",
    scratch: str | Path | None = None,
    **choices: Any,
) -> Dataset:
    """Load a data set and split it.

    Parameters
    ----------
    source : str, Path, list of them, frame or sparse matrix
        A name in `dataset_names()`, which is downloaded into `data_dir` if it is not there yet. Or a file, frame or matrix that `read_log`
        reads. Or several files: a list, names with commas between, or a pattern such as `logs/*.csv`. Or a folder or a zip with `train` and
        `test` files, and perhaps `valid`. Or a folder or a zip with a log such as `ratings.csv`, and perhaps titles such as `movies.csv`.
    data_dir : str or Path, optional
        The folder in which named data sets are searched and downloaded (default: $ULTRAGCN_DATA_DIR, else `datasets`).
    test, valid : str, Path, frame or sparse matrix, optional
        Test and validation interactions in a source of their own. `source` is then all train.
    titles : str, Path or frame, optional
        A table of item ids and titles.
    items_table : str, Path or frame, optional
        A table of item ids and anything else that is known of the items, such as price and brand. Rules for lists can use its columns.
    options : DataOptions, optional
        How files are read and split. A named data set has options that suit it. The default of other data is `DataOptions()`.
    protocol : {"clean", "authors"}
        `clean` holds out validation items from train as `options.split` says, unless `valid` is given. Of each user, 10 % are held out at
        random, and at least one item of a user with three or more. In gowalla, whose lines have an order, these are the last items.
        `authors` leaves train whole and has no validation set.
    split_seed : int
        The seed that decides which items are held out.
    progress : Progress, optional
        Shown the download, and the reading of a log on the disk.
    tell : callable, optional
        A function that is called with each note as soon as it is known. So it says what was read even if the split then fails.
    on_disk : {"auto", "yes", "no"}
        Whether a log of Parquet files is read piece by piece and kept on the disk. Memory then does not grow with its rows. The result is
        the same, bit for bit. `auto` does so if the log would take more than half of the free memory.
    scratch : str or Path, optional
        The folder of the files that are kept on the disk. They are removed when nothing uses them any more (default: the system's folder
        for temporary files).
    **choices
        Any of `DataOptions` by its name, taking precedence over `options`.

    Raises
    ------
    UsageError
        The data set, the protocol or an option is unknown. The message suggests the nearest name.
    DataError
        Files cannot be read, contradict each other or differ from the published files; or the split leaks.
    DownloadError
        The files are missing and cannot be downloaded. The message says where to put them by hand.
    """
    if protocol not in PROTOCOLS:
        raise unknown_name("protocol", protocol, PROTOCOLS)
    source = as_frame_of_pairs(source)
    named = str(source) if isinstance(source, (str, Path)) else None
    public = SOURCES.get(named) if named is not None else None
    if options is None:
        options = DataOptions() if public is None or choices.get("split") is not None else DataOptions(**public.options)
    options = options.replace(**choices)
    given = {name: value for name, value in {"source": source, "test": test, "valid": valid, "titles": titles}.items() if value is not None}
    if options.split == "none" and protocol == "authors":
        raise UsageError("split none holds nothing out, and the protocol authors chooses on test; give another split, or leave it out")
    if valid is not None and protocol == "authors":
        raise UsageError(
            "valid needs the protocol clean, because authors has no validation set; leave out valid, or give the protocol clean"
        )
    if valid is not None and test is None:
        raise UsageError("valid needs test: give both, or neither")
    if named == "demo":
        if len(given) > 1 or options.changed():
            unwanted = [name for name in (*given, *options.changed()) if name != "source"]
            raise UsageError(f"demo is made on the spot and split already; drop {', '.join(unwanted)}")
        return _with_items(demo_dataset(protocol, split_seed), items_table, options)
    check_time_format(options.time_format)
    home = data_folder(data_dir)
    with contextlib.ExitStack() as stack:
        if public is not None:
            _provide(public, home, progress or Silent())
            files = replace(files_in(home / public.name), name=public.name)
        else:
            files = find_files(source, stack)
        changes = {name: value for name, value in given.items() if name != "source"}
        if protocol == "authors":
            files = replace(files, valid=None)
        files = replace(files, **changes, titles_asked="titles" in given or public is not None)
        origin = None
        if all(isinstance(value, (str, Path, list, tuple)) for value in given.values()):
            origin = {name: absolute(value) for name, value in given.items()} | ({"source": public.name} if public else {})
        published = public if public is not None and test is None and public.num_test is not None else None
        where = {"folder": str(home.resolve()) if public else None, "origin": origin}
        num_rows = rows_to_read_on_disk(files, options, on_disk)
        if num_rows is not None:
            place = None if scratch is None else Path(scratch)
            made = _made_on_disk(files, options, protocol, split_seed, tell, num_rows, place, progress or Silent(), **where)
            return _with_items(made, items_table, options)
        made = _make(files, options, protocol, split_seed, published, tell or (lambda note: None), heard=tell is not None, **where)
        return _with_items(made, items_table, options)


def _with_items(dataset: Dataset, items: Any, options: DataOptions) -> Dataset:
    """Return a data set with an items table, which it has to be given when it is loaded again."""
    if items is None:
        return dataset
    origin = dataset.origin
    if origin is not None:
        origin = dict(origin) | {"items_table": absolute(items)} if isinstance(items, (str, Path)) else None
    return replace(dataset, items_table=as_items_table(items, dataset.train.item_ids, options), origin=origin)


def as_dataset(name: str, train: Interactions, test: Interactions, protocol: str, split_seed: int = 0) -> Dataset:
    """Return the data set of a given train and test, with validation items held out as `protocol` wants."""
    data_hash = hash_bytes([train.hash.encode(), test.hash.encode()])
    valid = None
    if protocol == "clean":
        train, valid = hold_out(train, split_seed)
        if len(valid) == 0:
            raise DataError(f"{name} has no user with three items or more, so nothing can be held out; use the authors protocol")
    return Dataset(name, protocol, train, valid, test, data_hash, split_seed)


def demo_dataset(protocol: str = "clean", split_seed: int = 0) -> Dataset:
    """Return the built-in data set and the best recall that any model can expect on it."""
    made = synthetic.make_demo()
    dataset = as_dataset("demo", made.train, made.test, protocol, split_seed)
    best = {f"recall@{top_k}": synthetic.best_reachable_recall(made, top_k) for top_k in (10, 20, 50)}
    return replace(dataset, best_recall=best, origin={"source": "demo"})


def _make(files: Files, options: DataOptions, protocol: str, split_seed: int, published: Source | None, tell: Callable[[str], None],
          heard: bool, **where: Any) -> Dataset:  # fmt: skip
    """Read, split and check: the way of every data set that is not made up.

    `published` is the split it must be, if any; `where` it was found are the fields of the result that say so.
    """
    log = read_log(files.train, options, use_times=TIMES_ARE_USED if files.test is None else "")
    notes = [f"{log.name}: {log.about}"]
    tell(notes[0])
    with contextlib.nullcontext() if heard else _with_what_was_read(notes[0]):
        parts, more, had = _parts(files, log, options, split_seed)
    for note in more:
        tell(note)
    notes += more
    train, test, valid = parts["train"], parts["test"], parts.get("valid")
    if published is not None:
        _check_sizes(published, Path(files.train[0].path).parent, train.interactions, test.interactions)
    titles = _titles(files, train.interactions.item_ids, options)
    if options.split != "none":
        warn_of_gaps(train.interactions, test.interactions)
    data_hash = hash_bytes([part.interactions.hash.encode() for part in parts.values()])
    if protocol == "clean" and valid is None and options.split != "none":
        with contextlib.nullcontext() if heard else _with_what_was_read(notes[0]):
            train, valid = hold_out_by(train, options, split_seed, "valid")
    notes.append(_summary(train, valid, test, options, given=files.test is not None))
    tell(notes[-1])
    return Dataset(
        files.name, protocol, train.interactions, None if valid is None else valid.interactions, test.interactions, data_hash, split_seed,
        options=options, notes=tuple(notes), item_titles=titles, one_log=files.test is None,
        had=had_beside(had, train.interactions, test.interactions, None if valid is None else valid.interactions), **where,
    )  # fmt: skip


def _made_on_disk(files: Files, options: DataOptions, protocol: str, split_seed: int, tell: Callable[[str], None] | None, num_rows: int,
                  place: Path | None, progress: Progress, **where: Any) -> Dataset:  # fmt: skip
    """Do what `_make` does with a log that is kept on the disk."""
    scratch = Scratch(place, needed_on_disk(num_rows, options))
    log = read_on_disk(files.train, options, scratch, num_rows, progress)
    notes = [f"{log.name}: {log.about}; on disk"]
    (tell or (lambda note: None))(notes[0])
    pairs, user_ids, item_ids = log.pairs, log.user_ids, log.item_ids
    with_valid = protocol == "clean" and options.split != "none"
    with contextlib.nullcontext() if tell is not None else _with_what_was_read(notes[0]):
        if options.k_core > 1:
            pairs, users_in, items_in = core_of(pairs, options.k_core)
            user_ids, item_ids = (ids.part(np.flatnonzero(there)) for ids, there in ((user_ids, users_in), (item_ids, items_in)))
        parts = Splitter(pairs, options, split_seed, progress).split(user_ids, item_ids, with_valid)
    titles = _titles(files, item_ids, options)
    train, valid, test = parts.train, parts.valid, parts.test
    if options.split != "none":
        known = [part for part in (train, valid) if part is not None]  # before anything was held out for validation
        users, items = (sum(getattr(part, f"{side}_degrees") for part in known) for side in ("user", "item"))
        warn_of_empty(train, users, items, test.user_degrees)
    first_time = int(test.times.min()) if options.split == "time" and test.times is not None else None
    notes.append(_summary_of(train, valid, test, options, False, first_time))
    (tell or (lambda note: None))(notes[-1])
    return Dataset(
        files.name, protocol, train, valid, test, hash_bytes([parts.known_hash.encode(), test.hash.encode()]), split_seed, options=options,
        notes=tuple(notes), item_titles=titles, one_log=True, whole=DiskInteractions.on_disk(pairs, user_ids, item_ids),
        had=had_on_disk(log.had, pairs, user_ids, item_ids), **where,
    )  # fmt: skip


@contextlib.contextmanager
def _with_what_was_read(note: str) -> Iterator[None]:
    """Add to a split's error what was read: the wrong column is the usual cause."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{error} (read from {note})") from error


def _parts(
    files: Files, log: Log, options: DataOptions, split_seed: int
) -> tuple[dict[str, Events], list[str], list[Interactions | None]]:  # fmt: skip
    """Return train, test and perhaps valid: split off the log, or as given.

    Besides, return what is to be said of the files of those, and what users had that is rated too low.
    """
    if options.split == "none" and files.test is not None:
        raise UsageError("split none trains on everything, but test is given; drop split none, or give all pairs as one file")
    if files.test is None:
        whole = k_core(events_of(log), options.k_core)
        train, test = hold_out_by(whole, options, split_seed, "test")
        if options.split == "time":
            refuse_future(train, test, "train", "test")
        return {"train": train, "test": test}, [], [log.had]
    if options.k_core > 1:
        raise UsageError("k_core would change a split that is given; drop it, or give one file to be split")
    logs = {"train": log, "test": read_log(files.test, options, looked_at=False)}
    if files.valid is not None:
        logs["valid"] = read_log(files.valid, options, looked_at=False)
    about = [f"{other.name}: {other.about}" for other in list(logs.values())[1:]]
    return given_parts(logs, options), about, [each.had for each in logs.values()]


def _titles(files: Files, item_ids: IdMap, options: DataOptions) -> np.ndarray | None:
    """Return the titles of the items. Titles that nobody asked for never stop a log."""
    if files.titles is None:
        return None
    try:
        return read_titles(files.titles, item_ids, options)
    except DataError as error:
        if files.titles_asked:
            raise
        warn(f"{error}; the data set has no titles now (give other titles with --titles)")
        return None


def _summary(train: Events, valid: Events | None, test: Events, options: DataOptions, given: bool) -> str:
    first_time = int(test.times.min()) if options.split == "time" and test.times is not None else None
    return _summary_of(train.interactions, None if valid is None else valid.interactions, test.interactions, options, given, first_time)


def _summary_of(pairs: Interactions, valid: Interactions | None, test: Interactions, options: DataOptions, given: bool,
                first_time: int | None) -> str:  # fmt: skip
    if options.split == "none":
        return f"{counted(pairs.num_users, 'user')} x {counted(pairs.num_items, 'item')}: {counted(len(pairs), 'pair')}, all for train"
    core = f" in the {options.k_core}-core" if options.k_core > 1 else ""
    how = {
        "random": f"{options.test_share:.0%} of each user's items at random, rounded down",
        "last": f"the last {options.last_share:.0%} of each user's items"
        if options.last_share
        else f"the last {options.last_k} of each user",
        "time": f"from {times.shown(first_time)} on" if first_time is not None else "",
    }[options.split]
    held = "as given" if given else how
    size = f"{counted(pairs.num_users, 'user')} x {counted(pairs.num_items, 'item')}{core}"
    held_out = "" if valid is None else f"{len(valid)} for validation, "
    return f"{size}: {counted(len(pairs), 'pair')} for train, {held_out}{len(test)} for test ({held})"
