"""What is wrong with a text file that polars could not read, and where: it says that something is wrong, here is looked up what."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from ultragcn.data import kinds
from ultragcn.data.dialects import BLANKS
from ultragcn.data.options import option
from ultragcn.data.text import ROW, Text
from ultragcn.errors import DataError
from ultragcn.lazily import pl

_BLOCK = 1 << 16  # lines looked at together
_HEAD = 100


def fault_in(text: Text) -> DataError | None:
    """Return the error for the first line that is not a row; None when all are."""
    try:
        found = _first_fault(text)
    except (pl.exceptions.PolarsError, OSError):  # a damaged archive has no rows to look at
        return None
    return None if found is None else DataError(f"{text.name}, row {found[0]}: {found[1]}")


def _lines(text: Text) -> Iterator[str]:
    for batch in text.lines().select("line").collect_batches(chunk_size=_BLOCK, maintain_order=True):
        yield from ((line or "").removesuffix("\r") for line in batch["line"].to_list())


def _first_fault(text: Text) -> tuple[int, str] | None:
    """Return the number of the first line that is not a row, and what is wrong with it."""
    row, record, first_width = text.dialect.start, "", 0
    quote, separator = (text.dialect.quote or "", text.dialect.separator) if text.quoted else ("", text.dialect.separator)
    for line in _lines(text):
        row += 0 if record else 1
        if "\ufffd" in line and not text.lossy:
            return row, f"{line[:60]!r} is not UTF-8; {_encoding_advice(text)}"
        record = f"{record}\n{line}" if record else line
        if quote and record.count(quote) % 2:
            if "\n" not in record and not _opens_a_cell(record, separator, quote):
                return row, _stray(record)
            continue
        if not record.strip():
            record = ""
            continue
        width = _width(record, separator, quote)
        if width is None:
            return row, _stray(record)
        first_width = first_width or width
        if width > first_width:
            return row, _too_many(text, width, first_width)
        record = ""
    if not record:
        return None
    return row, (
        f"a quote is opened and never closed: {record[:60]!r}; close the quote, double a quote that belongs to the text, or read "
        f"quotes as letters with {option('quote', 'none')}"
    )


def _opens_a_cell(record: str, separator: str, quote: str) -> bool:
    one, mark = re.escape(separator), re.escape(quote)
    whole_cell = rf"(?:^|(?<={one})){mark}(?:[^{mark}]|{mark}{mark})*{mark}(?={one}|$)"
    return re.search(rf"(?:^|{one}){mark}[^{mark}]*(?:{mark}{mark}[^{mark}]*)*$", re.sub(whole_cell, "", record)) is not None


def _stray(record: str) -> str:
    return (
        f"{record.partition(chr(10))[0][:60]!r} has a quote inside a cell; quote the whole cell and double the quotes in it, or read "
        f"quotes as letters with {option('quote', 'none')}"
    )


def _width(record: str, separator: str, quote: str) -> int | None:
    """Return the number of cells of a row; None where a quote stands in the middle of one."""
    if separator == BLANKS:
        return len(record.split())
    if not quote:
        return record.count(separator) + 1
    try:
        return len(next(csv.reader(record.splitlines(keepends=True), delimiter=separator, quotechar=quote, strict=True), []))
    except csv.Error as error:
        # A cell of more than 131072 letters is none of our business.
        return record.count(separator) + 1 if "limit" in str(error) and quote not in record else None


def _too_many(text: Text, width: int, first_width: int) -> str:
    found = f"{width} cells, where the first row has {first_width}"
    # A cell for everything that somebody bought: rows of three, four, six cells, and no quotes that could hold a separator.
    head = [line for line, _ in zip(_lines(text), range(_HEAD), strict=False) if line.strip()]
    bare = not any(text.dialect.quote and text.dialect.quote in line for line in head)
    if bare and len({line.count(text.dialect.separator) for line in head}) > 2:
        return (
            f"{found}, and other rows have other numbers of cells; these seem to be baskets; turn them into a table with a row "
            f"for each interaction "
            f"(docs/data.md shows how)"
        )
    return f"{found}; put cells that contain the separator into quotes"


def _encoding_advice(text: Text) -> str:
    sample = b""
    try:
        with open(text.path, "rb") as file:
            while not sample and (block := file.read(1 << 20)):
                try:
                    block.decode("utf-8")
                except UnicodeDecodeError as error:
                    sample = block[error.start : error.start + 4096]
    except OSError:
        pass
    likely = kinds.likely_encoding(sample)
    return f"give its encoding, most likely {option('encoding', likely)}, or convert the file to UTF-8"


def short_rows(text: Text, width: int) -> tuple[int, int]:
    """Return how many rows have fewer cells than the first, and the number of the first such row: (0, 0) where there are none.

    Polars makes the same of a cell that is empty and of one that is not there, so the lines are looked at once more. Where a quoted
    cell runs over several lines, lines are not rows, and none is counted.
    """
    separator, quote = text.dialect.separator, text.dialect.quote if text.quoted else None
    if separator == BLANKS:
        return 0, 0
    line = pl.col("line").fill_null("").str.strip_suffix("\r")
    mark = re.escape(quote) if quote else ""
    bare = line.str.replace_all(f"{mark}[^{mark}]*{mark}", "") if quote else line
    short = (line.str.strip_chars() != "") & (bare.str.count_matches(separator, literal=True) < width - 1)
    is_open = bare.str.contains(quote, literal=True) if quote else pl.lit(False)
    lines = text.lines().select(ROW, short=short, open=is_open)
    found = lines.select(pl.col("short").sum(), pl.col("open").any(), pl.col(ROW).filter("short").min()).collect(engine="streaming")
    count, over_several_lines, first = found.row(0)
    return (0, 0) if over_several_lines or not count else (count, first)
