"""The formats of an export by name."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ultragcn.serving.exports import arrays, faiss_index, json_lines, parquet, postgres, word2vec
from ultragcn.serving.exports.sides import Side


class Format(NamedTuple):
    """How a side is written into a folder, and read back."""

    write: Callable[[Side, Path], None]
    read: Callable[[Side, Path], Side]
    """From a side and the folder to what the folder holds of it; the side says which one, and which columns."""
    refuse: Callable[[Side], None]
    """Raise `UsageError` for a side that the format cannot hold."""
    endings: tuple[str, ...] = ()
    """What the name of a single file ends with; empty where a side takes several files."""
    has_titles: bool = True
    has_bias: bool = True


def _json(store: str) -> Format:
    given = [partial(one, store=store) for one in (json_lines.write, json_lines.read, json_lines.refuse)]
    return Format(given[0], given[1], given[2], (".ndjson", ".jsonl", ".json"))  # type: ignore[arg-type]


def _anything(side: Side) -> None:
    """Take any side."""


FORMATS = {
    "numpy": Format(arrays.write, arrays.read, arrays.refuse, has_titles=False),
    "parquet": Format(parquet.write, parquet.read, _anything, (".parquet",)),
    "word2vec": Format(word2vec.write, word2vec.read, word2vec.refuse, (".txt", ".vec", ".w2v"), has_titles=False, has_bias=False),
    "faiss": Format(faiss_index.write, faiss_index.read, faiss_index.refuse, has_titles=False, has_bias=False),
    "pgvector": Format(postgres.write, postgres.read, postgres.refuse, (".sql",)),
    "ndjson": _json("ndjson"),
    "qdrant": _json("qdrant"),
    "elasticsearch": _json("elasticsearch"),
}
"""What `--to` may be."""
ENDINGS = sorted({ending for one in FORMATS.values() for ending in one.endings} | {".npy", ".npz", ".faiss", ".index", ".gz", ".zip"})
"""Endings of the names of files."""
