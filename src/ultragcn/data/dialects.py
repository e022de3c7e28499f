"""How a text file is written: where its rows begin, what stands between its cells, whether the first row names the columns."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ultragcn.data import names
from ultragcn.data.options import DataOptions
from ultragcn.errors import DataError
from ultragcn.lazily import pl

BLANKS = "blanks"
"""The separator of cells between which any number of blanks and tabs stand."""

_BY_SUFFIX = {".csv": (",", ";", "\t", "|"), ".tsv": ("\t",), ".inter": ("\t",), ".item": ("\t",)}
ANY = ("::", "\t", ",", ";", "|")
# Excel writes it before the first row, so that Excel elsewhere finds the separator.
_SEPARATOR_LINE = re.compile(r"(?i)\ufeff?sep=(.)\r?")
_LONE_COMMA = re.compile(r"(?<!\d),|,(?!\d)")
ALIKE = 0.8  # share of rows from which on a few short ones do not count against a separator
_MARKS = ("#", "%", "//")
_MARKED = re.compile(r"(#|%|//)(\s|$)")
# RecBole's header says the kind of each column: user_id:token, rating:float.
_TYPED_NAME = re.compile(r"(.+):(?:token|float|token_seq|float_seq)")


@dataclass(frozen=True)
class Dialect:
    """How a text file is written."""

    start: int
    """Lines before the first row."""
    separator: str
    quote: str | None
    comment: str | None


def dialect_of(lines: Sequence[str], suffix: str, options: DataOptions, name: str) -> Dialect:
    """Return how a file is written whose first lines are `lines`.

    Raises
    ------
    DataError
        Nothing stands in them.
    """
    start, separator = _beginning(lines, options)
    quote = None if options.quote == "none" else options.quote or '"'
    rows = [line for line in lines[start:] if line.strip() and not (options.comment and line.startswith(options.comment))]
    if not rows:
        raise DataError(f"{name} has nothing but the lines that are skipped; lower skip_rows, or give another comment")
    given = {"tab": "\t", "blank": " "}.get(options.separator, options.separator)
    separator = given or separator or find_separator(rows, suffix, quote)
    if separator == " " and widths(rows, " ", quote) != widths(rows, BLANKS, quote):
        separator = BLANKS
    return Dialect(start, separator, quote if len(separator.encode()) == 1 else None, options.comment or None)


def _beginning(lines: Sequence[str], options: DataOptions) -> tuple[int, str]:
    """Return how many lines stand before the first row, and the separator if one of them says it."""
    start, separator = options.skip_rows, ""
    start += _blank(lines[start:], options.comment)
    if start < len(lines) and (said := _SEPARATOR_LINE.fullmatch(lines[start])):
        start, separator = start + 1, said[1]
        start += _blank(lines[start:], options.comment)
    if options.comment:
        return start, separator
    marked = start
    while marked < len(lines) and (lines[marked].startswith(_MARKS) or not lines[marked].strip()):
        marked += 1
    # Comments, not ids that begin so: with a blank after it, and not in every line.
    if start < marked < len(lines) and any(_MARKED.match(line) for line in lines[start:marked]):
        start = marked
    return start, separator


def _blank(lines: Sequence[str], comment: str) -> int:
    """Return how many blank lines and comments stand at the beginning."""
    rows = (place for place, line in enumerate(lines) if line.strip() and not (comment and line.startswith(comment)))
    return next(rows, 0)


def find_separator(rows: Sequence[str], suffix: str, quote: str | None) -> str:
    """Return what stands between the cells of `rows`: what splits them all alike, and is usual in files of this suffix."""
    allowed = _BY_SUFFIX.get(suffix, ANY)
    bare = re.sub(rf"{re.escape(quote)}[^{re.escape(quote)}]*{re.escape(quote)}", "", rows[0]) if quote else rows[0]
    usual = next((separator for separator in allowed if separator in bare), None)
    others = [separator for separator in (*allowed, *ANY) if separator != usual]
    splits = {separator: widths(rows, separator, quote) for separator in (usual, *others) if separator}
    alike = [separator for separator in dict.fromkeys(others) if len(set(splits[separator])) == 1 and splits[separator][0] > 1]
    if usual == ",":
        # 3;3;5,0 of a German Excel: every comma belongs to a number.
        wider = [separator for separator in alike if splits[separator][0] > max(splits[","])]
        if wider and not any(_LONE_COMMA.search(row) for row in rows):
            return wider[0]
    if usual is not None and _nearly_alike(splits[usual]):
        return usual
    if alike:
        return alike[0]
    blanks = set(widths(rows, BLANKS, quote))
    if usual is None and len(blanks) == 1 and blanks.pop() > 1 and (len(rows) > 2 or _are_typed(rows[0].split())):
        return " "
    return usual or allowed[0]


def widths(rows: Sequence[str], separator: str, quote: str | None) -> list[int]:
    """Return the number of cells of each row."""
    if separator == BLANKS:
        return [len(row.split()) for row in rows]
    if len(separator) > 1 or quote is None:
        return [row.count(separator) + 1 for row in rows]
    try:
        records = list(csv.reader((row + "\n" for row in rows), delimiter=separator, quotechar=quote))
    except csv.Error:
        return [row.count(separator) + 1 for row in rows]
    found = [len(record) for record in records if record]
    # The last may be cut off in the middle of a quoted cell.
    return found[:-1] if len(found) > 1 and len(records) < len(rows) else found or [1]


def _nearly_alike(found: Sequence[int]) -> bool:
    width, count = Counter(found).most_common(1)[0]
    return width > 1 and max(found) == width and count >= ALIKE * len(found)


def _are_typed(cells: Sequence[str]) -> bool:
    return all(_TYPED_NAME.fullmatch(cell) for cell in cells)


def header_of(head: pl.DataFrame, options: DataOptions) -> list[str] | None:
    """Return the names of the columns if the first row of `head` has them, "" where it has none; None if it is data.

    It has them if a column that was asked for is there by name, or a cell is a common name for users or items, or a column holds
    numbers in all rows but the first.
    """
    cells = [" ".join((cell or "").split()) for cell in head.row(0)]
    if _are_typed(cells):
        return [cell.rsplit(":", 1)[0] for cell in cells]
    if options.header == "no":
        return None
    return cells if options.header == "yes" or _names_columns(cells, head, options) else None


def _names_columns(cells: list[str], head: pl.DataFrame, options: DataOptions) -> bool:
    given = (options.user_column, options.item_column, options.rating_column, options.time_column, options.quantity_column)
    asked = {name for name in given if name and not name.isdecimal()}
    if asked & set(cells) or any(names.is_common(cell) for cell in cells):
        return True
    if head.height < 2:
        return False
    numbers = [head[column].cast(pl.Float64, strict=False).is_not_null() for column in head.columns]
    return not any(column[0] for column in numbers) and any(column[1:].all() for column in numbers)


def distinct_names(cells: list[str]) -> list[str]:
    """Return a name for each column: its own, or with its place where it has none or another has it too."""
    named: list[str] = []
    seen: set[str] = set()
    for place, cell in enumerate(cells, start=1):
        name = cell if cell and cell not in seen else f"{cell}#{place}"
        while name in seen:
            name += "'"
        seen.add(name)
        named.append(name)
    return named
