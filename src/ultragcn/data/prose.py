"""Text that is not a table: letters, web logs, programs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ultragcn.data.dialects import ALIKE, ANY, BLANKS, widths

_FEW_LINES = 3
_WORDS = 3.0
"""Words of a cell, on average, from which on it is a part of a sentence; titles and goods of a basket have fewer."""
_WITHOUT = 0.2
_MOST = 0.5
_OF_PROGRAMS = re.compile(r"[{}=]|\w\(|;\s*$|^\s*(#|//|\*|import |from \S+ import |def |return )")
_BETWEEN = re.compile(r"[,;|\t]|::")


def is_prose(lines: Sequence[str], quote: str | None) -> bool:
    """Return whether lines are those of a text or of a program: nothing splits them alike, and they look like such lines.

    A table whose cells hold a separator by mistake is none, nor are baskets, which have goods of a word or two.
    """
    rows = [line for line in lines if line.strip()]
    if len(rows) < _FEW_LINES:
        return False
    splits = {separator: widths(rows, separator, quote) for separator in (*ANY, BLANKS)}
    if any(_is_usual(found) for found in splits.values()):
        return False
    if sum(_OF_PROGRAMS.search(row) is not None for row in rows) > _MOST * len(rows):
        return True
    if any(_share_of(1, splits[separator]) < _WITHOUT for separator in ANY):
        return False
    cells = [cell for row in rows for cell in _BETWEEN.split(row) if cell.strip()]
    return sum(len(cell.split()) for cell in cells) > _WORDS * len(cells)


def _is_usual(found: Sequence[int]) -> bool:
    """Return whether most rows have the same number of cells, and more than one."""
    width = max(set(found), key=found.count)
    return width > 1 and _share_of(width, found) >= ALIKE


def _share_of(width: int, found: Sequence[int]) -> float:
    return found.count(width) / len(found)
