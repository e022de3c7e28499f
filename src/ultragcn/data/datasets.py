"""Data sets: found by name, in a folder, a file or in memory; fetched when they are not there; split; checked."""

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ultragcn.data import synthetic, times
from ultragcn.data.download import fetch
from ultragcn.data.interactions import Interactions, refuse_leaks
from ultragcn.data.log import PARTS, Events, events_of, k_core, read_log
from ultragcn.data.options import DataOptions
from ultragcn.data.split import given_parts, hold_out, hold_out_by, refuse_future, warn_of_gaps
from ultragcn.data.tables import suffix_of
from ultragcn.data.titles import read_titles
from ultragcn.errors import DataError, UsageError, counted, unknown_name
from ultragcn.progress import Progress, Silent
from ultragcn.storage import atomic_path, hash_bytes, hash_file

PROTOCOLS = ("clean", "authors")
DATA_DIR_VARIABLE = "ULTRAGCN_DATA_DIR"
_HUB = "https://huggingface.co/datasets/reczoo/{repository}/resolve/main/{file}"
_FILES = ("train.txt", "test.txt")
# What a log and a file of titles are called in a folder; of RecBole's files, the suffix tells.
_LOGS = ("ratings", "interactions", "events", "reviews", "log")
_TITLES = ("movies", "items", "products", "books", "titles")
_READABLE = (".csv", ".tsv", ".dat", ".inter", ".item", ".parquet", ".txt")
_VALID_NAMES = ("valid", "validation", "val")


@dataclass(frozen=True)
class Source:
    """A public data set: its size, its home and the SHA-256 of its files where it is known."""

    name: str
    about: str
    num_users: int
    num_items: int
    num_train: int
    """Train pairs; all pairs of a log."""
    num_test: int | None
    """Test pairs; None for a log, which is split when it is loaded."""
    urls: Mapping[str, tuple[str, ...]]  # file name -> addresses to try in turn; a .zip has the file inside
    sha256: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    """Data options that it needs to be split well, unless others are asked for."""

    @property
    def home(self) -> str:
        """Where it comes from, for people."""
        file, urls = next(iter(self.urls.items()))
        return urls[0].split("/resolve/")[0].removesuffix(f"/{file}")


def _source(name: str, about: str, repository: str, sizes: tuple[int, int, int, int], *hashes: str, **options: Any) -> Source:
    urls = {}
    for file in _FILES:
        # Some of the public repositories hold JSON lists of items, one list a user, instead of the text format.
        as_json = file.removesuffix(".txt") + "_data.json"
        urls[file] = tuple(_HUB.format(repository=repository, file=remote) for remote in (file, as_json))
    return Source(name, about, *sizes, urls, dict(zip(_FILES, hashes, strict=False)), options)


_BENCHMARKS = (
    _source(
        "gowalla", "check-ins, NGCF/LightGCN split", "Gowalla_m1", (29_858, 40_981, 810_128, 217_242),
        "7244696fdeb23911319cf7b689f2e15a3c4c92549c873a5677b44e3f13cc3e62",
        "099a2a73924e4b754dc6efd730d764f492321b53c38eb93298850c83acf57be3",
        split="last", last_share=0.1,  # neighbours in a line tell of each other, and test is outside: docs/data.md
    ),
    _source("yelp2018", "businesses, NGCF/LightGCN split", "Yelp18_m1", (31_668, 38_048, 1_237_259, 324_147)),
    _source("amazon-book", "books, NGCF/LightGCN split", "AmazonBooks_m1", (52_643, 91_599, 2_380_730, 603_378)),
    _source(
        "ml-1m", "MovieLens-1M, LCFN split", "Movielens1M_m1", (6_022, 3_043, 796_244, 99_455),
        "f088986b22f14f17136f9c4ef6f1269201f83dfb9ce259f1fd4ed46d72a92599",
        "7ca364f7f9321417b521745833b12719a2feb13253bccece2c04d5afe9fc3e15",
    ),
    _source(
        "amazoncds", "Amazon CDs, BGCF split", "AmazonCDs_m1", (43_169, 35_648, 604_475, 172_951),
        "dffb4e0cb45813f752ebe4c201a6c35aeb2755289b39b89bc1c148df8afcbd0c",
        "5ad687ad2d00d7b3da4b366736aa606a63b3df5a53502ffc860f40990d7d6c36",
    ),
    _source(
        "electronics", "Amazon Electronics, small split", "AmazonElectronics_m1", (1_435, 1_522, 31_887, 4_044),
        "36162d78d851dd566c41380434b33785564761bc9e3bf869a523bb8bdde46cdd",
        "3484521a88bb32dccf5f09839446b3adbb21796bb075cf6eba37be411eadf0a6",
    ),
    Source(
        "ml-latest-small", "MovieLens latest small of 2018, a log with titles", 610, 9_724, 100_836, None,
        dict.fromkeys(("ratings.csv", "movies.csv"), ("https://files.grouplens.org/datasets/movielens/ml-latest-small.zip",)),
        {"ratings.csv": "aa289ca83157595d0df6aea1be6a4ded676ddc4385472e8313a8ed9805352646",
         "movies.csv": "0b51fea714421d61045d49a335db61ffd732a49a6569bd83738ab700edc3b9db"},
    ),
    Source(
        "movietweetings-100k", "MovieTweetings snapshot, a log with titles", 16_554, 10_506, 100_000, None,
        {file: (f"https://raw.githubusercontent.com/sidooms/MovieTweetings/master/snapshots/100K/{file}",)
         for file in ("ratings.dat", "movies.dat")},
        {"ratings.dat": "c0dd868c2632d10002ebc928ddc5345f33adeaa59eca52c2941c26a2c5e36fd6",
         "movies.dat": "e63fb84bc734e3c574f135634a40d3cbafab22b8f94f5fc0b80f80d1d2076efc"},
    ),
)  # fmt: skip

SOURCES: dict[str, Source] = {source.name: source for source in _BENCHMARKS}
"""The public data sets by name, besides `demo`, which is made on the spot."""

# Other names under which the authors' files and papers know the same data.
ALIASES = {"yelp18": "yelp2018", "amazonbooks": "amazon-book", "amazonbook": "amazon-book", "movielens1m": "ml-1m",
           "movielens": "ml-1m", "ml1m": "ml-1m", "cds": "amazoncds", "amazonelectronics": "electronics",
           "gowallam1": "gowalla", "yelp18m1": "yelp2018", "amazonbooksm1": "amazon-book", "movielens1mm1": "ml-1m",
           "amazoncdsm1": "amazoncds", "amazonelectronicsm1": "electronics",
           "movielenslatestsmall": "ml-latest-small", "movietweetings": "movietweetings-100k"}  # fmt: skip


@dataclass(frozen=True)
class Dataset:
    """Train, validation and test interactions over the same ids; a held-out pair that stands in train is refused.

    Under the `clean` protocol `valid` was held out of train, if it was not given; under `authors` it is None and train is whole.
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
    """What to give `load_dataset` to get it again: `source`, and `test`, `valid`, `titles` if given; None for data in memory."""
    notes: tuple[str, ...] = ()
    """What was read and kept, a sentence each."""

    def __post_init__(self) -> None:
        refuse_leaks(self.train, self.valid, self.test)

    @property
    def known_as(self) -> str | None:
        """The name under which settings are kept for it; None for data of your own, whatever their file is called."""
        source = (self.origin or {}).get("source")
        return source if source in dataset_names() else None


@dataclass(frozen=True)
class _Files:
    """What a data set is made from: files, frames or matrices. Without `test`, `train` is a log still to be split."""

    name: str
    train: Any
    test: Any = None
    valid: Any = None
    titles: Any = None


def dataset_names() -> tuple[str, ...]:
    """Return the names `load_dataset` knows."""
    return ("demo", *SOURCES)


def canonical_name(name: str) -> str:
    """Return our name for a data set that is known under `name`, or `name` itself."""
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    return ALIASES.get(plain, next((known for known in dataset_names() if known.replace("-", "") == plain), name))


def data_folder(data_dir: str | Path | None = None) -> Path:
    """Return the folder of the named data sets: `data_dir`, else $ULTRAGCN_DATA_DIR, else `datasets` where we stand."""
    return Path(data_dir or os.environ.get(DATA_DIR_VARIABLE) or "datasets")


def load_dataset(
    source: Any = "demo",
    data_dir: str | Path | None = None,
    *,
    test: Any = None,
    valid: Any = None,
    titles: Any = None,
    options: DataOptions | None = None,
    protocol: str = "clean",
    split_seed: int = 0,
    progress: Progress | None = None,
    **choices: Any,
) -> Dataset:
    """Load a data set and split it.

    Parameters
    ----------
    source : str, Path, frame or sparse matrix
        One of `dataset_names()` (what is not in `data_dir` yet is downloaded into it); a file, frame or matrix that `read_log`
        reads; or a folder that holds `train` and `test` files, and perhaps `valid`, or a log such as `ratings.csv`, and perhaps
        titles such as `movies.csv`.
    data_dir : str or Path, optional
        Where named data sets are looked for and put (default: $ULTRAGCN_DATA_DIR, else `datasets`).
    test, valid : str, Path, frame or sparse matrix, optional
        Interactions that are held out already; `source` is all train then.
    titles : str, Path or frame, optional
        A table of item ids and titles.
    options : DataOptions, optional
        How files are read and split; by default as is best for a named data set, else `DataOptions()`.
    protocol : {"clean", "authors"}
        `clean` holds out validation items from train as `options.split` says, unless `valid` is given: per user 10 %, at least one
        where the user has three or more, at random (gowalla, where the order of a line means something: the last ones). `authors` leaves
        train whole and has no validation set.
    split_seed : int
        Fixes which items are held out.
    progress : Progress, optional
        Shown the download.
    **choices
        Any of `DataOptions` by its name, taking precedence over `options`.

    Raises
    ------
    UsageError
        No such data set, protocol or option; the nearest name is suggested.
    DataError
        Files that cannot be read, contradict themselves or are not the published ones; a split that leaks.
    DownloadError
        The files are not there and cannot be fetched; the message says where to put them by hand.
    """
    if protocol not in PROTOCOLS:
        raise unknown_name("protocol", protocol, PROTOCOLS)
    named = str(source) if isinstance(source, (str, Path)) else None
    public = SOURCES.get(named) if named is not None else None
    if options is None:
        options = DataOptions() if public is None or choices.get("split") is not None else DataOptions(**public.options)
    options = options.replace(**choices)
    given = {name: value for name, value in {"source": source, "test": test, "valid": valid, "titles": titles}.items() if value is not None}
    if valid is not None and protocol == "authors":
        raise UsageError("valid needs the clean protocol: authors has no validation set")
    if valid is not None and test is None:
        raise UsageError("valid needs test: give both, or neither")
    if named == "demo":
        if len(given) > 1 or options.changed():
            unwanted = [name for name in (*given, *options.changed()) if name != "source"]
            raise UsageError(f"demo is made on the spot and split already; drop {', '.join(unwanted)}")
        return demo_dataset(protocol, split_seed)
    home = data_folder(data_dir)
    if public is not None:
        _provide(public, home, progress or Silent())
        files = replace(_files_in(home / public.name), name=public.name)
    else:
        files = _find_files(source)
    files = replace(files, **{name: value for name, value in given.items() if name != "source"})
    origin = None
    if all(isinstance(value, (str, Path)) for value in given.values()):
        origin = {name: str(Path(value).resolve()) for name, value in given.items()} | ({"source": public.name} if public else {})
    published = public if public is not None and test is None and public.num_test is not None else None
    return _make(files, options, protocol, split_seed, published, folder=str(home.resolve()) if public else None, origin=origin)


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


def is_present(source: Source, folder: Path) -> bool:
    """Return whether all files of a public data set are in its place under the data folder."""
    return all((folder / source.name / file).is_file() for file in source.urls)


def _make(files: _Files, options: DataOptions, protocol: str, split_seed: int, published: Source | None, **where: Any) -> Dataset:
    """Read, split and check: the way of every data set that is not made up.

    `published` is the split it must be, if any; `where` it was found are the fields of the result that say so.
    """
    log = read_log(files.train, options)
    notes = [f"{log.name}: {log.about}"]
    if files.test is None:
        whole = k_core(events_of(log), options.k_core)
        train, test = hold_out_by(whole, options, split_seed, "test")
        parts = {"train": train, "test": test}
        if options.split == "time":
            refuse_future(train, test, "train", "test")
    else:
        if options.k_core > 1:
            raise UsageError("k_core would change a split that is given; drop it, or give one file to be split")
        logs = {"train": log, "test": read_log(files.test, options)}
        if files.valid is not None and protocol == "clean":
            logs["valid"] = read_log(files.valid, options)
        notes += [f"{other.name}: {other.about}" for other in list(logs.values())[1:]]
        parts = given_parts(logs, options)
    train, test, valid = parts["train"], parts["test"], parts.get("valid")
    if published is not None:
        _check_sizes(published, Path(files.train).parent, train.interactions, test.interactions)
    if files.titles is not None:
        # All parts share one map of the items.
        item_ids = train.interactions.item_ids
        item_ids.titles = read_titles(files.titles, item_ids, options)
    warn_of_gaps(train.interactions, test.interactions)
    data_hash = hash_bytes([part.interactions.hash.encode() for part in parts.values()])
    if protocol == "clean" and valid is None:
        train, valid = hold_out_by(train, options, split_seed, "valid")
    notes.append(_summary(train, valid, test, options, given=files.test is not None))
    return Dataset(
        files.name, protocol, train.interactions, None if valid is None else valid.interactions, test.interactions, data_hash, split_seed,
        options=options, notes=tuple(notes), **where,
    )  # fmt: skip


def _summary(train: Events, valid: Events | None, test: Events, options: DataOptions, given: bool) -> str:
    pairs = train.interactions
    core = f" in the {options.k_core}-core" if options.k_core > 1 else ""
    how = {
        "random": f"{options.test_share:.0%} of each user's items at random, rounded down",
        "last": f"the last {options.last_share:.0%} of each user's items"
        if options.last_share
        else f"the last {options.last_k} of each user",
        "time": f"from {times.shown(int(test.times.min()))} on" if test.times is not None else "",
    }[options.split]
    held = "as given" if given else how
    size = f"{counted(pairs.num_users, 'user')} x {counted(pairs.num_items, 'item')}{core}"
    held_out = "" if valid is None else f"{len(valid.interactions)} for validation, "
    return f"{size}: {counted(len(pairs), 'pair')} for train, {held_out}{len(test.interactions)} for test ({held})"


def _find_files(source: Any) -> _Files:
    if not isinstance(source, (str, Path)):
        return _Files("data", source)
    path = Path(source)
    if path.is_dir():
        return _files_in(path)
    if path.exists():
        return _Files(_stem(path), path)
    if os.sep in str(source) or suffix_of(path) in _READABLE:
        raise UsageError(f"no file and no folder {source}; give one, or a name: {', '.join(dataset_names())}")
    raise unknown_name("data set", str(source), dataset_names())


def _files_in(folder: Path) -> _Files:
    """Return the files of a folder by what they are called."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file() and suffix_of(path) in _READABLE)
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(_role(path), []).append(path)
    tables = [path for path in found.pop("", []) if suffix_of(path) != ".txt"]
    if not found.keys() & {"train", "test", "log"} and len(tables) == 1:
        found["log"] = tables
    for several in found.values():
        if len(several) > 1:
            names = " and ".join(path.name for path in several)
            raise DataError(f"{folder} has several files of one kind, {names}; give the one that counts instead of the folder")
    one = {role: several[0] for role, several in found.items()}
    name = folder.resolve().name
    if "train" in one and "test" in one:
        return _Files(name, one["train"], one["test"], one.get("valid"), one.get("titles"))
    if "log" in one and not one.keys() & {"train", "test"}:
        return _Files(name, one["log"], titles=one.get("titles"))
    missing = " and no ".join(file for file in _FILES if file.removesuffix(".txt") not in one)
    raise DataError(
        f"{folder} has no {missing}; a data set is a folder with train and test files (train.txt, train.csv, ...), or with a log "
        "such as ratings.csv"
    )


def _role(path: Path) -> str:
    """Return what a file is by its name: train, test, valid, log or titles; "" where the name does not tell."""
    stem = _stem(path).lower()
    last = stem.rsplit(".", 1)[-1]
    if last in _VALID_NAMES:
        return "valid"
    if last in PARTS:
        return last
    if stem in _LOGS or suffix_of(path) == ".inter":
        return "log"
    return "titles" if stem in _TITLES or suffix_of(path) == ".item" else ""


def _stem(path: Path) -> str:
    """Return the name of a file without its suffix and that of its compression."""
    suffix = suffix_of(path)
    return path.name[: path.name.lower().rindex(suffix)] if suffix else path.name


# ------------------------------------------------------------- public data sets


def _provide(source: Source, folder: Path, progress: Progress) -> None:
    """Download what is missing of a public data set; refuse other data under its name."""
    home = folder / source.name
    for place in (folder, home):
        if place.exists() and not (place.is_dir() and os.access(place, os.R_OK | os.X_OK)):
            raise DataError(f"cannot read the folder {place}: it is no folder, or you may not read it; give another --data_dir")
    for file, urls in source.urls.items():
        if not (home / file).is_file():
            if urls[0].endswith(".zip"):
                _fetch_archive(source, home, progress)
            else:
                _fetch(source, file, home / file, progress)
        # A split is known by its sizes, because it may have come as JSON lists; a log by its bytes.
        if source.num_test is None and hash_file(home / file) != source.sha256.get(file):
            raise DataError(
                f"{home / file} is not the published file (another SHA-256); to use it as your own data, give it as --dataset {home}"
            )


def _check_sizes(source: Source, home: Path, train: Interactions, test: Interactions) -> None:
    sizes = (train.num_users, train.num_items, len(train), len(test))
    if sizes != (source.num_users, source.num_items, source.num_train, source.num_test):
        raise DataError(
            f"{home} is not the published {source.name}: {sizes[0]} users, {sizes[1]} items, {sizes[2]} train and {sizes[3]} test pairs, "
            f"not {source.num_users}, {source.num_items}, {source.num_train}, {source.num_test}; "
            f"to use it as your own data, give it as --dataset {home}"
        )


def _fetch_archive(source: Source, home: Path, progress: Progress) -> None:
    """Download a zip, unless it was put there by hand, and take the files out of it."""
    url = next(iter(source.urls.values()))[0]
    archive = home / url.rsplit("/", 1)[-1]
    if not archive.is_file():
        fetch(url, archive, sha256=None, progress=progress)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = {member.rsplit("/", 1)[-1]: member for member in opened.namelist()}
            for file in source.urls:
                with atomic_path(home / file) as temporary, opened.open(members[file]) as inside, open(temporary, "wb") as outside:
                    shutil.copyfileobj(inside, outside)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise DataError(f"the downloaded {archive} is damaged or lacks {' and '.join(source.urls)}; run again to fetch it anew") from error
    finally:
        archive.unlink(missing_ok=True)


def _fetch(source: Source, file: str, path: Path, progress: Progress) -> None:
    """Download one file of a benchmark and check it; JSON lists are rewritten as user lines."""
    incoming = path.with_name(f"{file}.download")
    fetch(source.urls[file], incoming, sha256=None, wanted=path, progress=progress)
    try:
        with open(incoming, "rb") as opened:
            is_json = opened.read(1) == b"["
        if is_json:
            lists = json.loads(incoming.read_text(encoding="utf-8"))
            with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as lines:
                lines.writelines(" ".join(map(str, [user, *items])) + "\n" for user, items in enumerate(lists))
        else:
            expected = source.sha256.get(file)
            if expected is not None and hash_file(incoming) != expected:
                raise DataError(f"the downloaded {source.name}/{file} is damaged (wrong SHA-256); run again to fetch it anew")
            with atomic_path(path) as temporary:
                shutil.copyfile(incoming, temporary)
    finally:
        incoming.unlink(missing_ok=True)
