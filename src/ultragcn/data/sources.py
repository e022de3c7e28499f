"""Public data sets: their sizes, where they come from, and how what is missing of them is fetched and checked."""

import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ultragcn.data.download import fetch
from ultragcn.data.interactions import Interactions
from ultragcn.data.options import DataOptions
from ultragcn.errors import DataError
from ultragcn.progress import Progress
from ultragcn.storage import atomic_path, hash_file

DATA_DIR_VARIABLE = "ULTRAGCN_DATA_DIR"
_HUB = "https://huggingface.co/datasets/reczoo/{repository}/resolve/main/{file}"


_FILES = ("train.txt", "test.txt")


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


def dataset_names() -> tuple[str, ...]:
    """Return the names `load_dataset` knows."""
    return ("demo", *SOURCES)


_OF_THE_PAIRS = ("where", "min_rating", "net", "k_core")
_OF_THE_SPLIT = ("split", "test_share", "last_k", "last_share", "test_from")


def is_usual_split(name: str, options: DataOptions, files: Iterable[str] = ()) -> bool:
    """Return whether a named data set is split as it is by default, which is the split that the settings in configs/ were chosen on.

    Split none holds nothing out, so no test pair can have been among those that settings were chosen on: it counts as the usual split.

    Parameters
    ----------
    name : str
        One of `dataset_names`.
    options : DataOptions
        How it is read and split.
    files : iterable of str
        What is given besides the data set: with `test` or `valid`, the split is another.
    """
    usual = DataOptions(**SOURCES[name].options) if name in SOURCES else DataOptions()
    named = _OF_THE_PAIRS if options.split == "none" else (*_OF_THE_PAIRS, *_OF_THE_SPLIT)
    return not {"test", "valid"}.intersection(files) and all(getattr(options, one) == getattr(usual, one) for one in named)


def canonical_name(name: str) -> str:
    """Return our name for a data set that is known under `name`, or `name` itself."""
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    return ALIASES.get(plain, next((known for known in dataset_names() if known.replace("-", "") == plain), name))


def data_folder(data_dir: str | Path | None = None) -> Path:
    """Return the folder of the named data sets: `data_dir`, else $ULTRAGCN_DATA_DIR, else `datasets` where we stand."""
    return Path(data_dir or os.environ.get(DATA_DIR_VARIABLE) or "datasets")


def is_present(source: Source, folder: Path) -> bool:
    """Return whether all files of a public data set are in its place under the data folder."""
    return all((folder / source.name / file).is_file() for file in source.urls)


def _provide(source: Source, folder: Path, progress: Progress) -> None:
    """Download what is missing of a public data set; refuse other data under its name."""
    home = folder / source.name
    for place in (folder, home):
        if place.exists() and not (place.is_dir() and os.access(place, os.R_OK | os.X_OK)):
            raise DataError(f"cannot read the folder {place}: it is not a folder, or you may not read it; give another --data_dir")
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
