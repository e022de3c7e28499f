"""Writing ranked lists: TSV, CSV, JSON lines or Parquet, to stdout or whole into a file."""

import argparse
import csv
import io
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ultragcn.errors import UsageError
from ultragcn.storage import output_path

if TYPE_CHECKING:
    from ultragcn.models.recommender import Recommender

Row = tuple[Any, ...]
FORMATS = ("tsv", "csv", "json", "parquet")
_FORMAT_OF = {".csv": "csv", ".parquet": "parquet", ".json": "json", ".jsonl": "json"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --format and --output."""
    parser.add_argument(
        "--format", choices=FORMATS, help="tsv, csv, json (an object a line) or parquet (default: by the name of --output, else tsv)"
    )
    parser.add_argument("--output", metavar="FILE", help="write here instead of to stdout; parquet needs it")


def check(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be listed or written, before any work, and settle the format."""
    if arguments.top_k < 1:
        raise UsageError(f"--top_k must be a whole number of 1 or more, not {arguments.top_k}")
    if arguments.format is None:
        arguments.format = _FORMAT_OF.get(Path(arguments.output or "").suffix.lower(), "tsv")
    if arguments.format == "parquet" and not arguments.output:
        raise UsageError("parquet is not text; give --output FILE with --format parquet")


def item_columns(model: "Recommender") -> tuple[str, ...]:
    """Return the names of the columns that say which item."""
    return ("item_id",) if model.item_titles_ is None else ("item_id", "title")


def item_cells(model: "Recommender", rows: np.ndarray) -> Iterator[Row]:
    """Yield what stands in those columns for each item row."""
    ids, titles = model.item_ids.ids, model.item_titles_
    for row in rows:
        yield (ids[row],) if titles is None else (ids[row], titles[row])


def write(arguments: argparse.Namespace, names: tuple[str, ...], rows: Iterable[Row]) -> None:
    """Write `rows` with columns `names` as `arguments` want; a file appears whole or not at all."""
    if not arguments.output:
        sys.stdout.writelines(_lines(arguments.format, names, rows))
        return
    with output_path(Path(arguments.output)) as place:
        if arguments.format == "parquet":
            import polars as pl

            pl.DataFrame(list(rows), schema=list(names), orient="row").write_parquet(place)
        else:
            with open(place, "w", encoding="utf-8") as file:
                file.writelines(_lines(arguments.format, names, rows))


def _lines(kind: str, names: tuple[str, ...], rows: Iterable[Row]) -> Iterator[str]:
    if kind == "tsv":
        yield "\t".join(names) + "\n"
        for row in rows:
            yield "\t".join(map(_cell, row)) + "\n"
    elif kind == "csv":
        line = io.StringIO()
        writer = csv.writer(line, lineterminator="\n")
        for row in itertools.chain([names], rows):
            writer.writerow([_text(value) for value in row])
            yield line.getvalue()
            line.seek(0)
            line.truncate()
    else:
        for row in rows:
            yield json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, default=_as_python) + "\n"


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _cell(value: object) -> str:
    """Return what stands for a value in a line of TSV."""
    text = _text(value)
    if any(mark in text for mark in "\t\n\r"):
        raise UsageError(f"{text!r} has a tab or a line break, which TSV cannot hold; give --format csv or json, or --output FILE.parquet")
    return text


def _as_python(value: np.generic) -> object:
    """Return a NumPy number, such as an integer id, as one of Python's."""
    return value.item()
