"""Lists in a folder of parts: each part is whole or not there, and a restarted command makes only the parts that are missing."""

import argparse
import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ultragcn import __version__
from ultragcn.cli import output
from ultragcn.errors import UsageError
from ultragcn.storage import hash_bytes, hash_file, lock, read_json, write_json

if TYPE_CHECKING:
    from ultragcn.rules import Rules

MANIFEST = "_manifest.json"
"""Beside the parts. Spark, pandas and pyarrow pass over names that begin so when they read a folder."""
_FORMAT = "ultragcn-parts-1"
_ENDINGS = {"parquet": ".parquet", "tsv": ".tsv", "csv": ".csv", "json": ".jsonl"}
_PART_ROWS = 2**19
"""Rows of a part where nobody says how many parts there are."""
_MOST_PARTS = 99_999
_WORDS = {
    "version": "version of ultragcn", "model": "model", "parts": "number of parts", "format": "format", "bom": "byte order mark",
    "top_k": "--top_k", "include_seen": "--include_seen", "users": "users", "queries": "queries", "items_table": "items table",
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --parts."""
    parser.add_argument(
        "--parts", type=int, metavar="N", help="how many parts --output FOLDER/ gets (default: one for each half million rows)"
    )  # fmt: skip


def is_wanted(arguments: argparse.Namespace) -> bool:
    """Return whether the lists go into a folder of parts."""
    name = arguments.output or ""
    return arguments.parts is not None or name.endswith(("/", os.sep))


def check(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be written in parts, before any work, and settle the format."""
    if not arguments.output:
        raise UsageError("--parts writes files into a folder; give the folder too, as --output FOLDER/")
    if arguments.items:
        raise UsageError(f"--items makes one list, which has no parts; give the name of a file in place of {arguments.output}")
    if arguments.parts is not None and not 1 <= arguments.parts <= _MOST_PARTS:
        raise UsageError(f"--parts must be a whole number from 1 to {_MOST_PARTS}, not {arguments.parts}")
    if arguments.parts is not None and arguments.shard is not None:
        raise UsageError("--shard I/N says how many parts there are; drop --parts")
    folder = Path(arguments.output)
    if folder.is_file():
        raise UsageError(f"cannot write parts into {folder}, because it is a file; give the name of a folder")
    arguments.format = arguments.format or "parquet"
    arguments.folder = folder
    arguments.output = str(folder / f"part{_ENDINGS[arguments.format]}")
    output.check(arguments)


def number_of(arguments: argparse.Namespace, rows: int) -> int:
    """Return how many parts there are of so many rows."""
    return int(arguments.parts or max(1, min(_MOST_PARTS, math.ceil(rows / _PART_ROWS))))


def file_of(arguments: argparse.Namespace, part: int, parts: int) -> Path:
    """Return where a part stands, counted from 1."""
    folder: Path = arguments.folder
    return folder / f"part-{part:05}-of-{parts:05}{_ENDINGS[arguments.format]}"


def question_of(arguments: argparse.Namespace, model: str, parts: int, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what the parts hold: what has to be the same for parts to belong together.

    Parameters
    ----------
    arguments : argparse.Namespace
    model : str
        Its id.
    parts : int
    asked : dict
        Who is asked for, as number and checksum, by what they are: users or queries.
    """
    table = None if arguments.items_table is None else hash_file(Path(arguments.items_table))
    return {
        "version": __version__, "model": model, "parts": parts, "format": arguments.format, "bom": arguments.bom, "top_k": arguments.top_k,
        "include_seen": arguments.include_seen, **asked, "items_table": table, **_rules_as_json(arguments.all_rules),
    }  # fmt: skip


def checksum(*arrays: np.ndarray) -> str:
    """Return a checksum of arrays of numbers, or of numbers and texts."""
    digest = hashlib.sha256()
    for array in arrays:
        whole = json.dumps(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes()
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(whole)
    return digest.hexdigest()


def _rules_as_json(rules: "Rules") -> dict[str, Any]:
    return {
        "only": [_checksum_of(listed) for _, listed in rules.only], "exclude": [_checksum_of(listed) for listed in rules.exclude],
        "where": list(rules.where), "max_per": dict(rules.max_per), "diversity": rules.diversity, "promote": dict(rules.promote),
        "unknown": rules.unknown or "raise",
    }  # fmt: skip


def _checksum_of(listed: Any) -> str:
    """Return a checksum of ids, pairs of ids, or a file of them, as rules keep them."""
    if isinstance(listed, np.ndarray):
        return checksum(listed)
    found = []
    for one in listed:  # texts, the name of a file and its option, or the two columns of pairs
        if isinstance(one, np.ndarray):
            found.append(checksum(one))
        elif isinstance(one, str) and os.path.isfile(one):
            found.append(hash_file(Path(one)))
        else:
            found.append(json.dumps(one))
    return hash_bytes([" ".join(found).encode()])


def claim(folder: Path, question: dict[str, Any]) -> None:
    """Write what the parts in `folder` hold beside them; where something stands there already, it must be the same.

    Raises
    ------
    UsageError
        The folder holds parts of other lists; the message says what differs.
    """
    path = folder / MANIFEST
    with _held(folder):
        if path.exists():
            found = read_json(path, {"form": str, "question": dict})
            if found["form"] != _FORMAT:
                raise UsageError(f"{path} is {found['form']}, not {_FORMAT}, which this version writes; give another folder")
            before = found["question"]
            now = json.loads(json.dumps(question))
            for name in dict.fromkeys((*now, *before)):
                if before.get(name) != now.get(name):
                    raise UsageError(_difference(folder, name, before.get(name), now.get(name)))
            return
        if strangers := sorted(one.name for one in folder.glob("part-*-of-*")):
            raise UsageError(f"{folder} holds {strangers[0]} without {MANIFEST}, which says what it is; give another folder, or empty it")
        write_json(path, {"form": _FORMAT, "question": question})


def _difference(folder: Path, name: str, before: Any, now: Any) -> str:
    what = _WORDS.get(name, f"--{name}")
    shown = "" if _is_long(before) or _is_long(now) else f" ({_shown(before)} there, {_shown(now)} here)"
    return f"{folder} holds parts of other lists, which differ in the {what}{shown}; give another folder, or remove this one"


def _is_long(value: Any) -> bool:
    return len(json.dumps(value)) > 60


def _shown(value: Any) -> str:
    return "nothing" if value is None or value == [] or value == {} else value if isinstance(value, str) else json.dumps(value)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Make the folder if need be, and let one process at a time look what is in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.name == "nt":  # Windows cannot open a folder
            yield
            return
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UsageError(f"cannot use {folder}: {error.strerror}; choose a folder you can write to") from error
    try:
        lock(descriptor, say=False)
        yield
    finally:
        os.close(descriptor)
