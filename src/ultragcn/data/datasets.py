"""Named data sets: where they come from, where they are kept, and how they are loaded."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ultragcn.data import synthetic
from ultragcn.data.download import fetch
from ultragcn.data.interactions import Interactions
from ultragcn.data.readers import read_split
from ultragcn.data.split import hold_out
from ultragcn.errors import DataError, UsageError, unknown_name
from ultragcn.progress import Progress, Silent
from ultragcn.storage import atomic_path, hash_bytes, hash_file

PROTOCOLS = ("clean", "authors")
DATA_DIR_VARIABLE = "ULTRAGCN_DATA_DIR"
_HUB = "https://huggingface.co/datasets/reczoo/{repository}/resolve/main/{file}"
_FILES = ("train.txt", "test.txt")


@dataclass(frozen=True)
class Source:
    """A benchmark data set: its size, its public home and the SHA-256 of its two files where it is known."""

    name: str
    about: str
    num_users: int
    num_items: int
    num_train: int
    num_test: int
    urls: Mapping[str, tuple[str, ...]]  # file name -> addresses to try in turn
    sha256: Mapping[str, str] = field(default_factory=dict)


def _source(name: str, about: str, repository: str, sizes: tuple[int, int, int, int], *hashes: str) -> Source:
    urls = {}
    for file in _FILES:
        # Some of the public repositories hold JSON lists of items, one list a user, instead of the text format.
        as_json = file.removesuffix(".txt") + "_data.json"
        urls[file] = tuple(_HUB.format(repository=repository, file=remote) for remote in (file, as_json))
    return Source(name, about, *sizes, urls, dict(zip(_FILES, hashes, strict=False)))


_BENCHMARKS = (
    _source(
        "gowalla", "check-ins, NGCF/LightGCN split", "Gowalla_m1", (29_858, 40_981, 810_128, 217_242),
        "7244696fdeb23911319cf7b689f2e15a3c4c92549c873a5677b44e3f13cc3e62",
        "099a2a73924e4b754dc6efd730d764f492321b53c38eb93298850c83acf57be3",
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
)  # fmt: skip

SOURCES: dict[str, Source] = {source.name: source for source in _BENCHMARKS}
"""The benchmark data sets by name, besides `demo`, which is made on the spot."""

# Other names under which the authors' files and papers know the same data.
ALIASES = {"yelp18": "yelp2018", "amazonbooks": "amazon-book", "amazonbook": "amazon-book", "movielens1m": "ml-1m",
           "movielens": "ml-1m", "ml1m": "ml-1m", "cds": "amazoncds", "amazonelectronics": "electronics",
           "gowallam1": "gowalla", "yelp18m1": "yelp2018", "amazonbooksm1": "amazon-book", "movielens1mm1": "ml-1m",
           "amazoncdsm1": "amazoncds", "amazonelectronicsm1": "electronics"}  # fmt: skip


@dataclass(frozen=True)
class Dataset:
    """Train, validation and test interactions over the same ids.

    Under the `clean` protocol `valid` was held out of the published train; under `authors` it is None and train is whole.
    """

    name: str
    protocol: str
    train: Interactions
    valid: Interactions | None
    test: Interactions
    hash: str
    """SHA-256 over the published train and test, before anything was held out."""
    split_seed: int = 0
    """Fixes which items were held out."""
    folder: str | None = None
    """The data folder it was found in; None for data that are made or given by their own folder."""
    best_recall: Mapping[str, float] = field(default_factory=dict)
    """For made-up data: metric label -> the best value that any model can expect on test."""


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
    name: str | Path = "demo",
    data_dir: str | Path | None = None,
    *,
    protocol: str = "clean",
    split_seed: int = 0,
    progress: Progress | None = None,
) -> Dataset:
    """Load a data set by name, or from a folder that holds `train.txt` and `test.txt` in the user-line format.

    Parameters
    ----------
    name : str or Path
        One of `dataset_names()`, or a folder. A benchmark that is not in `data_dir` yet is downloaded into it.
    data_dir : str or Path, optional
        Where named data sets are looked for and put (default: $ULTRAGCN_DATA_DIR, else `datasets`).
    protocol : {"clean", "authors"}
        `clean` holds out validation items from train: per user 10 %, at least one where the user has three or more.
        `authors` leaves train whole and has no validation set.
    split_seed : int
        Fixes which items are held out.
    progress : Progress, optional
        Shown the download.

    Raises
    ------
    UsageError
        No such data set or protocol; the nearest name is suggested.
    DataError
        Files that cannot be read, contradict themselves or are not the published ones.
    DownloadError
        The files are not there and cannot be fetched; the message says where to put them by hand.
    """
    if protocol not in PROTOCOLS:
        raise unknown_name("protocol", protocol, PROTOCOLS)
    if str(name) == "demo":
        return demo_dataset(protocol, split_seed)
    source = SOURCES.get(str(name))
    if source is not None:
        home = data_folder(data_dir)
        train, test = _load_benchmark(source, home, progress or Silent())
        return replace(as_dataset(source.name, train, test, protocol, split_seed), folder=str(home.resolve()))
    folder = Path(name)
    if folder.is_dir():
        return as_dataset(folder.resolve().name, *read_folder(folder), protocol, split_seed)
    if folder.exists():
        raise UsageError(f"{name} is a file; give the folder that holds its train.txt and test.txt")
    if os.sep in str(name):
        raise UsageError(f"no folder {name}; give a folder with train.txt and test.txt, or a name: {', '.join(dataset_names())}")
    raise unknown_name("data set", str(name), dataset_names())


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
    return replace(dataset, best_recall=best)


def read_folder(folder: Path) -> tuple[Interactions, Interactions]:
    """Read `train.txt` and `test.txt` of a folder."""
    missing = [file for file in _FILES if not (folder / file).exists()]
    if missing:
        try:
            os.listdir(folder)
        except OSError as error:
            raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
        raise DataError(f"{folder} has no {' and no '.join(missing)}; a data set is a folder with train.txt and test.txt")
    return read_split(folder / _FILES[0], folder / _FILES[1])


def is_present(source: Source, folder: Path) -> bool:
    """Return whether both files of a benchmark are in its place under the data folder."""
    return all((folder / source.name / file).is_file() for file in _FILES)


def _load_benchmark(source: Source, folder: Path, progress: Progress) -> tuple[Interactions, Interactions]:
    home = folder / source.name
    for place in (folder, home):
        if place.exists() and not (place.is_dir() and os.access(place, os.R_OK | os.X_OK)):
            raise DataError(f"cannot read the folder {place}: it is no folder, or you may not read it; give another --data_dir")
    for file in _FILES:
        if not (home / file).is_file():
            _fetch(source, file, home / file, progress)
    train, test = read_folder(home)
    sizes = (train.num_users, train.num_items, len(train), len(test))
    if sizes != (source.num_users, source.num_items, source.num_train, source.num_test):
        raise DataError(
            f"{home} is not the published {source.name}: {sizes[0]} users, {sizes[1]} items, {sizes[2]} train and {sizes[3]} test pairs, "
            f"not {source.num_users}, {source.num_items}, {source.num_train}, {source.num_test}; "
            f"to use it as your own data, give it as --dataset {home}"
        )
    return train, test


def _fetch(source: Source, file: str, path: Path, progress: Progress) -> None:
    """Download one file of a benchmark and check it; JSON lists are rewritten as user lines."""
    incoming = path.with_name(f"{file}.download")
    fetch(source.urls[file], incoming, sha256=None, progress=progress)
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
