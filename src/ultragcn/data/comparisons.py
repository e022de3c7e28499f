"""Comparisons in conditions: polars compares a text with a number letter by letter, which nobody means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ultragcn.lazily import pl

_IN_ORDER = re.compile(r" (<|<=|>|>=) |\.sql_(lt|le|gt|ge)|\.is_between\(")


@dataclass(frozen=True)
class Mismatch:
    """A part of a condition that takes text for a number, or numbers for a text."""

    column: str
    is_text: bool
    """Whether the column holds text, and what it is compared with is a number; else the other way round."""
    other: str
    """What it is compared with, as it stands in the condition; "" where that is more than a value."""
    is_in_order: bool
    """Whether it asks which comes first, and not whether both are equal or alike."""
    is_of_letters: bool
    """Whether it asks for the letters of a text, as LIKE does."""


@dataclass(frozen=True)
class TextOrder:
    """A part of a condition that asks which of two texts comes first."""

    column: str
    other: str
    """The text that the column is compared with."""


def _of_two(condition: pl.Expr) -> Iterator[tuple[pl.Expr, list[pl.Expr]]]:
    """Yield the parts of a condition that are made of two expressions, and these two."""
    waiting = [condition]
    while waiting:
        part = waiting.pop()
        inner = part.meta.pop()
        waiting += inner
        if len(inner) == 2:
            yield part, inner


def mismatches(condition: pl.Expr, schema: Mapping[str, Any]) -> Iterator[Mismatch]:
    """Yield the parts of a condition that take text for numbers, or numbers for text, over columns of these kinds."""
    rows = pl.LazyFrame(schema=dict(schema))
    for part, inner in _of_two(condition):
        texts = [one for one in inner if _kind(rows, one) == "text"]
        numbers = [one for one in inner if _kind(rows, one) == "number"]
        if len(texts) != 1 or len(numbers) != 1 or _is_text_of(rows, part):
            continue
        (text,), (number,) = texts, numbers
        if text.meta.root_names():
            yield Mismatch(text.meta.root_names()[0], True, _shown(number), _is_in_order(part), _is_of_letters(part))
        elif number.meta.root_names():
            yield Mismatch(number.meta.root_names()[0], False, _shown(text), _is_in_order(part), _is_of_letters(part))


def text_orders(condition: pl.Expr, schema: Mapping[str, Any]) -> Iterator[TextOrder]:
    """Yield the parts of a condition that ask whether a column of text comes before or after a given text."""
    rows = pl.LazyFrame(schema=dict(schema))
    for part, inner in _of_two(condition):
        if not _is_in_order(part) or any(_kind(rows, one) != "text" for one in inner):
            continue
        columns = [one for one in inner if one.meta.root_names()]
        given = [one for one in inner if not one.meta.root_names()]
        if len(columns) == 1 and str(columns[0]) == str(pl.col(columns[0].meta.root_names()[0])):
            yield TextOrder(columns[0].meta.root_names()[0], _shown(given[0]).strip("'"))


def has_no_order(cell: str, other: str) -> str:
    """Return why the letters of a cell are not in the order of what it is: a date with its day first, or a number; "" where they may be."""
    if _DAY_FIRST.match(cell) and _DAY_FIRST.match(other):
        return "dates with the day first"
    are_codes = _CODE.match(cell) or (cell.isdigit() and other.isdigit() and len(cell) == len(other))
    return "numbers" if _WITH_UNIT.fullmatch(cell) and _NUMBER.fullmatch(other) and not are_codes else ""


_DAY_FIRST = re.compile(r"\s*\d{1,2}[./]\d{1,2}[./]\d{4}")
_NUMBER = re.compile(r"\s*[+-]?\d+([.,]\d+)*\s*")
_WITH_UNIT = re.compile(r"\s*[+-]?\d+([.,]\d+)*\s*(\D{1,4})?")
_CODE = re.compile(r"[+-]?0\d")


def _kind(rows: pl.LazyFrame, part: pl.Expr) -> str:
    """Return `text`, `number` or "" for others, and for what cannot be made."""
    try:
        kind: Any = rows.select(part.alias("part")).collect_schema()["part"]
    except pl.exceptions.PolarsError:
        return ""
    if isinstance(kind, (pl.List, pl.Array)):
        kind = kind.inner
    return "text" if kind in (pl.String, pl.Categorical, pl.Enum) else "number" if kind.is_numeric() else ""


def _is_text_of(rows: pl.LazyFrame, part: pl.Expr) -> bool:
    """Return whether a part is made of a text and a number by right, such as the first three letters of a text."""
    try:
        return rows.select(part.alias("part")).collect_schema()["part"] != pl.Boolean
    except pl.exceptions.PolarsError:
        return False


def _is_in_order(part: pl.Expr) -> bool:
    return _IN_ORDER.search(str(part)) is not None


def _is_of_letters(part: pl.Expr) -> bool:
    return ".str." in str(part)


def _shown(part: pl.Expr) -> str:
    if part.meta.root_names():
        return ""
    try:
        value = pl.select(part.alias("part"))["part"]
    except pl.exceptions.PolarsError:
        return ""
    if len(value) == 1 and isinstance(value[0], pl.Series):
        value = value[0]
    return ", ".join(repr(one) if isinstance(one, str) else str(one) for one in value.head(3).to_list())
