"""Writing ranked lists: TSV, CSV, JSON lines or Parquet, to stdout or whole into a file."""

import argparse
import codecs
import contextlib
import csv
import gzip
import io
import itertools
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ultragcn.errors import UsageError
from ultragcn.storage import output_path, scratch_path

if TYPE_CHECKING:
    import polars as pl

    from ultragcn.models.recommender import Recommender

Row = tuple[Any, ...]
FORMATS = ("tsv", "csv", "json", "parquet")
_FORMAT_OF = {
    "": "tsv", ".tsv": "tsv", ".txt": "tsv", ".csv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet",
}  # fmt: skip
_WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".ods")
_OTHER_KINDS = (".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz", ".pkl", ".pickle", ".feather", ".arrow", ".avro", ".orc", ".sqlite",
                ".db", ".npy", ".npz", ".html", ".xml", ".h5", ".hdf5")  # fmt: skip
"""What a file of such a name holds is never what is written here, whatever --format says."""
_PACKED = ".gz"
_LEAST_PLAIN = 1e-4  # smaller numbers are written with an exponent
_FRAME_ROWS = 2**19  # rows of a Parquet file that are held in memory: about 60 megabytes, and as much again while they are written
_GROUP_ROWS = 2**17
"""Rows of a Parquet file that are packed together where it is put together from parts."""
_KILLED = 128 + 15
"""Exit status of a process that SIGTERM ended, as shells count it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --format, --output and --bom."""
    parser.add_argument(
        "--format", choices=FORMATS, help="tsv, csv, json (an object a line) or parquet (default: by the name of --output, else tsv)"
    )
    parser.add_argument(
        "--output", metavar="FILE",
        help="write to this file, not to stdout: .tsv, .csv, .jsonl or .parquet; text may also end in .gz; parquet cannot go to "
        "stdout; recommend also takes FOLDER/, for output in parts",
    )  # fmt: skip
    parser.add_argument(
        "--bom", action="store_true", help="begin a CSV or TSV file with a byte order mark, so that Excel reads it as UTF-8"
    )


def check(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be listed or written, before any work, and settle the format."""
    if arguments.top_k < 1:
        raise UsageError(f"--top_k must be a whole number of 1 or more, not {arguments.top_k}")
    if arguments.format == "parquet" and not arguments.output:
        raise UsageError("Parquet cannot go to stdout, because it is not text; give --output FILE with --format parquet")
    arguments.format = kind_of(arguments.output or "", "--output", FORMATS, arguments.format)
    if arguments.bom and (not arguments.output or arguments.format not in ("tsv", "csv")):
        raise UsageError("--bom marks a file of text for Excel; give --output FILE.csv or FILE.tsv with it")


def kind_of(name: str, option: str, kinds: Sequence[str], wanted: str | None = None) -> str:
    """Return the one of `kinds` in which the file `name` is written: what its ending says, or `wanted` where the ending says nothing.

    Raises
    ------
    UsageError
        The ending is unknown, or is that of something else than what is written.
    """
    path = Path(name)
    ending = path.suffix.lower()
    packed = ending == _PACKED
    if packed:
        ending = path.with_suffix("").suffix.lower()
    named = [known for known, kind in _FORMAT_OF.items() if known and kind in kinds]
    allowed = f"give a name that ends with {', '.join(named[:-1])} or {named[-1]}"
    if ending in _WORKBOOKS:
        csv_file = path.with_suffix(".csv").name
        raise UsageError(f"cannot write {name}: workbooks are not written; {option} {csv_file} is a table that Excel opens")
    found = _FORMAT_OF.get(ending)
    if ending in _OTHER_KINDS or (found is None and wanted is None) or (found is not None and found not in kinds):
        or_format = ", or give --format" if wanted is None and option == "--output" and ending not in _OTHER_KINDS else ""
        raise UsageError(f"cannot write {name}: files that end with {ending} are not written; {allowed}{or_format}")
    if wanted is not None and ending and found not in (None, wanted):
        raise UsageError(f"--format {wanted} and {option} {name} do not agree; drop --format, or give the file another name")
    kind = wanted or found or kinds[0]
    if packed and kind == "parquet":
        raise UsageError(f"cannot write {name}: Parquet is compressed already; give the name without {_PACKED}")
    return kind


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
    with file_at(Path(arguments.output)) as place:
        if arguments.format == "parquet":
            import polars as pl

            from ultragcn.machine import refuse_lost_threads

            refuse_lost_threads()
            pl.DataFrame(list(rows), schema=list(names), orient="row").write_parquet(place)
        else:
            with text_file(place, arguments.output, arguments.bom) as file:
                file.writelines(line.encode() for line in _lines(arguments.format, names, rows))


def write_frames(arguments: argparse.Namespace, frames: Iterable["pl.DataFrame"]) -> None:
    """Write frames of ranked lists, at least one of them, below each other as `arguments` want; a file appears whole or not at all."""
    if not arguments.output:
        for number, frame in enumerate(frames):
            sys.stdout.write(_text_of(frame, arguments.format, header=number == 0))
        return
    with file_at(Path(arguments.output)) as place:
        if arguments.format == "parquet":
            _write_parquet(place, Path(arguments.output), frames)
        else:
            with text_file(place, arguments.output, arguments.bom) as file:
                for number, frame in enumerate(frames):
                    file.write(_text_of(frame, arguments.format, header=number == 0).encode())


def _write_parquet(place: Path, path: Path, frames: Iterable["pl.DataFrame"]) -> None:
    """Write frames below each other to `place`, by way of parts beside `path` where there are many rows, so that memory does not grow."""
    import polars as pl

    def joined(some: list["pl.DataFrame"]) -> "pl.DataFrame":
        return pl.concat(some).cast({"rank": pl.Int64, "score": pl.Float64})

    with contextlib.ExitStack() as held:
        parts: list[Path] = []
        waiting: list[pl.DataFrame] = []
        for frame in frames:
            waiting.append(frame)
            if sum(map(len, waiting)) >= _FRAME_ROWS and place != path:  # what is written straight into a pipe has no place beside it
                parts.append(held.enter_context(scratch_path(path)))
                joined(waiting).write_parquet(parts[-1], compression="lz4")
                waiting.clear()
        if not parts:
            joined(waiting).write_parquet(place)
            return
        if waiting:
            parts.append(held.enter_context(scratch_path(path)))
            joined(waiting).write_parquet(parts[-1], compression="lz4")
            waiting.clear()
        _sink(parts, place)


def _sink(parts: Sequence[Path], place: Path) -> None:
    """Write the rows of Parquet files below each other to `place`, one file after the other.

    polars alone opens all of them at once: twice the memory, and more time.
    """
    import polars as pl
    from polars.io.plugins import register_io_source

    def rows(*_: Any) -> Iterator[pl.DataFrame]:
        for part in parts:
            yield from pl.read_parquet(part).iter_slices(_GROUP_ROWS)

    register_io_source(rows, schema=pl.read_parquet_schema(parts[0]), is_pure=True).sink_parquet(place, row_group_size=_GROUP_ROWS)


@contextlib.contextmanager
def file_at(path: Path) -> Iterator[Path]:
    """Yield where to write what is to come out at `path`; what is half written is removed, also when SIGTERM ends the process."""
    with removed_when_killed(), output_path(path) as place:
        yield place


@contextlib.contextmanager
def text_file(place: Path, name: str, bom: bool = False) -> Iterator[IO[bytes]]:
    """Yield an open file at `place` for text in UTF-8, which is packed if `name` says so."""
    with contextlib.ExitStack() as opened:
        file: Any = opened.enter_context(open(place, "wb"))
        if name.lower().endswith(_PACKED):
            # Without a name and a time, the same lists are the same bytes.
            file = opened.enter_context(gzip.GzipFile("", "wb", 6, file, mtime=0))
        if bom:
            file.write(codecs.BOM_UTF8)
        yield file


@contextlib.contextmanager
def removed_when_killed() -> Iterator[None]:
    """Let SIGTERM end the process as an exit does, so that what is cleaned up at an exit is cleaned up."""
    if threading.current_thread() is not threading.main_thread():  # where no handler can be set
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(_KILLED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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


def _text_of(frame: "pl.DataFrame", kind: str, header: bool) -> str:
    """Return the text of a frame of ranked lists, as `_lines` writes its rows; no object of Python is made for a row."""
    import polars as pl

    if kind == "json":
        return _json_of(frame)
    texts = frame.with_columns(_in_digits(frame["score"]))
    if kind == "csv":
        # polars would write "" for a title that is empty.
        empty = pl.col(pl.String).replace("", None)
        return texts.with_columns(empty).write_csv(include_header=header, quote_style="necessary")
    for column in texts.select(pl.col(pl.String)):
        unfit = column.filter(column.str.contains("[\t\n\r]"))
        if len(unfit):
            _cell(unfit[0])
    return texts.write_csv(include_header=header, separator="\t", quote_style="never")


def _in_digits(scores: "pl.Series") -> "pl.Series":
    """Return numbers as texts of six digits, as f"{score:.6g}" writes them."""
    import polars as pl

    values = scores.to_numpy().astype(np.float64)
    size = np.abs(values)
    plain = (size >= _LEAST_PLAIN) & (size < 1e5)
    size = np.where(plain, size, 1.0)
    factor = 10.0 ** (5 - np.floor(np.log10(size)))
    scaled = size * factor
    plain &= np.abs(scaled - np.floor(scaled) - 0.5) > 1e-6  # at a half, the last digit is decided by digits that were lost
    rounded = np.copysign(np.rint(scaled) / factor, values)
    texts = pl.Series(scores.name, rounded).cast(pl.String).str.strip_suffix(".0")
    return _replaced(texts, ~plain, values, "{:.6g}".format)


def _replaced(texts: "pl.Series", where: np.ndarray, values: np.ndarray, text_of: Callable[[float], str]) -> "pl.Series":
    """Return `texts` with those of a few values made by Python."""
    places = np.flatnonzero(where)
    return texts.scatter(places, [text_of(value) for value in values[places].tolist()]) if len(places) else texts


def _json_of(frame: "pl.DataFrame") -> str:
    """Return an object a line, in the text that Python's json makes of it."""
    import polars as pl

    cells: list[Any] = []
    for column in frame:
        cells += [pl.lit(f"{', ' if cells else '{'}{json.dumps(column.name, ensure_ascii=False)}: "), _json_cells(column)]
    lines = frame.select(pl.concat_str([*cells, pl.lit("}")]).alias("line"))
    return str(lines.write_csv(include_header=False, quote_style="never"))


def _json_cells(column: "pl.Series") -> "pl.Series":
    """Return the texts that JSON has for strings, integers or scores."""
    import polars as pl

    if column.dtype == pl.String:
        if not column.str.contains(r'["\\\x00-\x1f]').any():
            return pl.select(pl.concat_str([pl.lit('"'), column, pl.lit('"')])).to_series()
        distinct = column.unique()
        quoted = [json.dumps(text, ensure_ascii=False) for text in distinct.to_list()]
        return column.replace_strict(distinct, quoted, return_dtype=pl.String)
    if not column.dtype.is_float():
        return column.cast(pl.String)
    wide = column.cast(pl.Float64)
    values = wide.to_numpy()
    odd = ~((np.abs(values) >= _LEAST_PLAIN) & (np.abs(values) < 1e15))
    return _replaced(wide.cast(pl.String), odd, values, json.dumps)


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
