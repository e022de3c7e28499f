"""What a data set is made from: one file or several, a folder, a zip; which of them are train, test, log or titles, by their names."""

import contextlib
import glob
import os
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ultragcn.data import kinds, names
from ultragcn.data.containers import DAMAGED, copy, kind_of_zip, members, ready, require_file, suffix_of, temporary_folder
from ultragcn.data.options import DataOptions
from ultragcn.data.sources import _FILES, dataset_names
from ultragcn.data.tables import Partition
from ultragcn.errors import DataError, UsageError, did_you_mean, unknown_name

PARTS = ("train", "test", "valid")
# What a log and a file of titles are called in a folder, alone or as the last word; of RecBole's files, the suffix tells.
_LOGS = ("ratings", "rating", "interactions", "interaction", "events", "reviews", "review", "log", "logs", "transactions", "purchases",
         "clicks", "plays", "views")  # fmt: skip
_TITLES = ("movies", "items", "products", "books", "titles", "articles", "artists", "songs", "tracks", "games")
_READABLE = (".csv", ".tsv", ".dat", ".data", ".inter", ".item", ".parquet", ".txt", ".jsonl", ".ndjson", ".json",
             ".sqlite", ".sqlite3", ".db", ".xlsx")  # fmt: skip
_VALID_NAMES = ("valid", "validation", "val")
_SEVERAL = re.compile(r"part-\d+.*")
_PARTITION = re.compile(r"([^=]+)=(.*)")
_NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_WHOLE = re.compile(r"0|-?[1-9]\d{0,17}")
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Part:
    """A file to read: where it lies, and what the user calls it."""

    path: Path
    name: str
    partitions: tuple[Partition, ...] = ()
    """Of the folders `name=value` that it lies in, from the outermost."""

    @property
    def suffix(self) -> str:
        """The suffix of its name without that of its compression."""
        return suffix_of(Path(self.name))


@dataclass(frozen=True)
class Files:
    """What a data set is made from: parts, frames or matrices. Without `test`, `train` is a log still to be split."""

    name: str
    train: Any
    test: Any = None
    valid: Any = None
    titles: Any = None
    titles_asked: bool = False
    """Whether the user named the titles; those that were only found never stop a log."""


def find_files(source: Any, stack: contextlib.ExitStack) -> Files:
    """Return the files of what `load_dataset` was given; archives are unpacked for as long as `stack` is open.

    Raises
    ------
    UsageError
        The file, the folder or the data set does not exist.
    DataError
        A folder or an archive does not tell what is what.
    """
    if isinstance(source, (list, tuple)):
        return _of_several([str(one) for one in source], stack)
    if not isinstance(source, (str, Path)):
        return Files("data", source)
    path, text = Path(source), str(source)
    if path.is_dir():
        return files_in(path)
    if path.exists():
        require_file(path)
        return _of_archive(path, stack) if is_archive(path) else Files(_stem(path), [Part(path, text)])
    if _MAGIC.search(text):
        found = sorted(glob.glob(text, recursive=True))
        if not found:
            raise UsageError(f"no file matches {text}; give another pattern, or the name of a data set: {', '.join(dataset_names())}")
        return _of_several(found, stack)
    if "," in text and all(piece.strip() for piece in text.split(",")):
        return _of_several(text.split(","), stack)
    if os.sep in text or suffix_of(path) in _READABLE:
        raise _missing(path)
    raise unknown_name("data set", text, dataset_names())


def parts_of(source: Any, stack: contextlib.ExitStack) -> list[Part]:
    """Return the parts of one log: a file, several, or those that hold the log of a folder or an archive."""
    if isinstance(source, (list, tuple)) and all(isinstance(one, Part) for one in source):
        return list(source)
    if isinstance(source, (str, Path)) and not Path(source).exists() and not _MAGIC.search(str(source)) and "," not in str(source):
        return [Part(Path(source), str(source))]  # which says that it is not there
    found = find_files(source, stack)
    if found.test is not None:
        raise DataError(f"{source} holds train and test files; give one of the files, or give the folder as --dataset")
    return list(found.train)


def missing_files(source: str) -> list[str]:
    """Return those of the files of a source, as a manifest records it, that are gone."""
    pieces = [source] if Path(source).exists() or "," not in source else source.split(",")
    return [piece for piece in pieces if not Path(piece).exists() and not (_MAGIC.search(piece) and glob.glob(piece))]


def absolute(source: Any) -> str:
    """Return a source as a manifest records it: the absolute paths, with commas between."""
    pieces = [str(one) for one in source] if isinstance(source, (list, tuple)) else [str(source)]
    if len(pieces) == 1 and not Path(pieces[0]).exists() and not _MAGIC.search(pieces[0]):
        pieces = pieces[0].split(",")
    return ",".join(str(Path(piece).resolve()) for piece in pieces)


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip of files, not a workbook."""
    try:
        with open(path, "rb") as file:
            packed = kinds.kind_of(file.read(4)) == kinds.ZIP
    except OSError:
        return False
    return packed and kind_of_zip(members(path, str(path))) is None


def _missing(path: Path) -> UsageError:
    """Return the error for a path where there is nothing, with the nearest name in its folder."""
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = did_you_mean(path.name, beside)
    advice = near or f"; give a path that exists, or the name of a data set: {', '.join(dataset_names())}"
    return UsageError(f"{path} is not a file or a folder{advice}")


def _of_several(sources: Sequence[str], stack: contextlib.ExitStack) -> Files:
    """Return several files as one log."""
    parts: list[Part] = []
    for source in sources:
        path = Path(source)
        if not path.exists() and not _MAGIC.search(source):
            raise _missing(path)
        parts += parts_of(source, stack)
    return Files(_stem(Path(parts[0].name)), parts)


def files_in(folder: Path) -> Files:
    """Return the files of a folder by what they are called."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
        if not any(map(_may_be_read, paths)):
            paths = sorted(path for path in folder.rglob("*") if path.is_file() and _is_one_of_many(path.relative_to(folder)))
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    parts = [Part(path, str(path)) for path in paths if _may_be_read(path)]
    if any("=" in name for part in parts for name in part.path.relative_to(folder).parent.parts):
        return Files(folder.resolve().name, _with_partitions(parts, folder))
    return _told_apart(parts, str(folder), folder.resolve().name)


def _is_one_of_many(path: Path) -> bool:
    """Return whether a file below a folder is one of those that a program like Spark wrote side by side."""
    above = path.parent.parts
    if any(name.startswith(("_", ".")) for name in above):  # what a job that was stopped has left
        return False
    return path.name.startswith("part-") or (len(above) > 0 and all(_PARTITION.fullmatch(name) for name in above))


def _with_partitions(parts: list[Part], folder: Path) -> list[Part]:
    """Return files with the folders `name=value` that they lie in: numbers or dates where all values of a name are."""
    texts = [
        {found[1]: unquote(found[2]) for name in part.path.relative_to(folder).parent.parts if (found := _PARTITION.fullmatch(name))}
        for part in parts
    ]
    kinds: dict[str, type] = {}
    for name in {name: None for text in texts for name in text}:
        values = [text[name] for text in texts if name in text and text[name] != _NO_PARTITION]
        kinds[name] = int if all(map(_WHOLE.fullmatch, values)) else date if all(map(_is_date, values)) else str
    read: dict[type, Callable[[str], Any]] = {int: int, date: date.fromisoformat, str: str}

    def partition(name: str, text: str) -> Partition:
        return Partition(name, None if text == _NO_PARTITION else read[kinds[name]](text), kinds[name])

    return [
        replace(part, partitions=tuple(partition(name, text) for name, text in of.items())) for part, of in zip(parts, texts, strict=True)
    ]


def _is_date(text: str) -> bool:
    try:
        return len(text) == len("2026-01-01") and bool(date.fromisoformat(text))
    except ValueError:
        return False


def _may_be_read(path: Path) -> bool:
    if path.name.startswith((".", "_")) or path.name.endswith(".crc"):
        return False
    return suffix_of(path) in _READABLE or _SEVERAL.fullmatch(path.name) is not None


def _of_archive(path: Path, stack: contextlib.ExitStack) -> Files:
    """Unpack the files of a zip that can be read, and return them as those of a folder."""
    listed = members(path, str(path))
    readable = [member for member in listed if _may_be_read(Path(member)) and "__MACOSX" not in member]
    if not readable:
        raise DataError(
            f"{path} is a zip in which nothing can be read as a log (it has {', '.join(listed[:5]) or 'nothing'}); unpack it and "
            f"give the right file"
        )
    folder = stack.enter_context(temporary_folder())
    parts = []
    try:
        with zipfile.ZipFile(path) as opened:
            for number, member in enumerate(sorted(readable)):
                # A name of our own: one in an archive may lead out of the folder.
                target = folder / f"{number}{''.join(Path(member).suffixes[-2:])}"
                with opened.open(member) as inside:
                    copy(inside, target, str(path))
                parts.append(Part(target, f"{path}/{member}"))
    except DataError:
        raise
    except DAMAGED as error:
        locked = isinstance(error, RuntimeError) and "password" in str(error)
        why = "it has a password" if locked else "it is damaged, cut short or packed in an unknown way"
        raise DataError(f"cannot unpack {path}: {why}; unpack it by hand and give the right file") from error
    return _told_apart(parts, str(path), path.stem) if len(parts) > 1 else Files(_stem(Path(parts[0].name)), parts)


def _told_apart(parts: list[Part], place: str, name: str) -> Files:
    """Return the files of a folder or an archive by what they are called."""
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(_role(part), []).append(part)
    if len(found.get("titles", ())) > 1 and (exact := [part for part in found["titles"] if _stem(Path(part.name)).lower() in _TITLES]):
        # order_products beside products
        found.setdefault("", []).extend(part for part in found["titles"] if part not in exact)
        found["titles"] = exact
    tables = [part for part in found.pop("", []) if part.suffix != ".txt"]
    if not found.keys() & {"train", "test", "log"} and tables:
        found["log"] = _log_among(tables, [part for part in parts if part not in tables], place)
    for role, several in found.items():
        if len(several) > 1 and not (role == "log" and _are_one(several)):
            listed = " and ".join(Path(part.name).name for part in several)
            raise DataError(f"{place} has several files of one kind, {listed}; give the right file in place of the folder")
    titles = found["titles"][0] if "titles" in found else None
    if "train" in found and "test" in found:
        return Files(name, found["train"], found["test"], found.get("valid"), titles)
    if "log" in found and not found.keys() & {"train", "test"}:
        return Files(name, found["log"], titles=titles)
    missing = " and no ".join(file for file in _FILES if file.removesuffix(".txt") not in found)
    raise DataError(
        f"{place} has no {missing}; give a folder with train and test files (train.txt, train.csv, ...), or with a log such as ratings.csv"
    )


def _log_among(tables: list[Part], others: list[Part], place: str) -> list[Part]:
    """Return which tables of no telling name are the log: all of them, parts of one, or the only one with users and items."""
    if len(tables) == 1 or _are_one(tables):
        return tables
    columns = {part: _columns(part) for part in tables}
    both = [part for part, known in columns.items() if known and {"user", "item"} <= known.keys()]
    if len(both) == 1 or (both and _are_one(both)):
        return both
    users = [part for part, known in columns.items() if "user" in known]
    items = [part for part, known in columns.items() if "item" in known]
    if not both and users and items:
        raise DataError(
            f"{place} has the items in {Path(items[0].name).name} and the users in {Path(users[0].name).name}; join the two into "
            f"one table (docs/data.md shows how), and give this table"
        )
    listed = " and ".join(Path(part.name).name for part in tables)
    raise DataError(f"{place} has several files of one kind, {listed}; give the right file in place of the folder")


def _columns(part: Part) -> dict[str, str]:
    """Return the columns of users and items that a table names."""
    from ultragcn.data.tables import open_table  # which knows what is in a file; this module, which files there are

    try:
        with ready(part.path, part.name) as found:
            table = open_table(found, DataOptions())
    except DataError:
        return {}
    return {role: column for role in ("user", "item") if table.has_header and (column := names.known(role, table.names)) is not None}


def _are_one(parts: list[Part]) -> bool:
    """Return whether several files are parts of one log: called alike but for numbers, or with the same first row."""
    if len({part.suffix for part in parts}) > 1:
        return False
    if len({re.sub(r"[\d\W_]+|[0-9a-f]{8,}", "", Path(part.name).name) for part in parts}) == 1:
        return True
    if all(_SEVERAL.fullmatch(Path(part.name).name) for part in parts):
        return True
    first = {_first_line(part.path) for part in parts}
    return len(first) == 1 and any(byte > 64 for byte in first.pop())


def _first_line(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.readline(1 << 16).strip()
    except OSError:
        return b""


def _role(part: Part) -> str:
    """Return what a file is by its name: train, test, valid, log or titles; "" where the name does not tell."""
    path = Path(part.name)
    stem = _stem(path).lower()
    last = stem.rsplit(".", 1)[-1]
    if last in _VALID_NAMES:
        return "valid"
    if last in PARTS:
        return last
    word = re.split(r"[\W_]+", re.sub(r"[\W_\d]+$", "", stem))[-1]
    if stem in _LOGS or word in _LOGS or part.suffix in (".inter", ".data") or _SEVERAL.fullmatch(path.name):
        return "log"
    return "titles" if stem in _TITLES or word in _TITLES or part.suffix == ".item" else ""


def _stem(path: Path) -> str:
    """Return the name of a file without its suffix and that of its compression."""
    suffix = suffix_of(path)
    return path.name[: path.name.lower().rindex(suffix)] if suffix else path.name
