"""Cells of text that are numbers, with a point or a comma before their decimals."""

from __future__ import annotations

from ultragcn.lazily import pl

WITH_POINT = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_WITH_COMMA = r"^[+-]?(\d+|\d*,\d+|\d{1,3}(\.\d{3})+,\d+)$"
"""Numbers as they are written in much of Europe: 35,99 and 1.299,00."""
_THOUSANDS = r"^[+-]?\d{1,3}(\.\d{3})+$"
_EITHER = r"^[+-]?[1-9]\d{0,2},\d{3}$"
"""1,500 is one and a half there, and fifteen hundred elsewhere."""


def not_numbers(cell: pl.Expr, decimal: str) -> pl.Expr:
    """Return whether a cell is not a number with a point before its decimals; `decimal` is the option."""
    pattern = r"^[+-]?\d+$" if decimal == "," else WITH_POINT
    return ~cell.str.contains(pattern)


def have_commas(cell: pl.Expr, decimal: str) -> pl.Expr:
    """Return whether all cells of a column are numbers, some of them with a comma before their decimals.

    Where `decimal` does not say that commas are, at least one cell must show it: 35,99 does, and 1,500 does not.
    """
    if decimal == ".":
        return pl.lit(False)
    comma = cell.str.contains(",", literal=True)
    if decimal == ",":
        return (cell.str.contains(_WITH_COMMA) | cell.str.contains(_THOUSANDS)).all().fill_null(False)
    shows = comma & ~cell.str.contains(_EITHER)
    return (cell.str.contains(_WITH_COMMA).all() & shows.any()).fill_null(False)


def could_have_commas(text: str) -> bool:
    """Return whether a cell is a number if a comma stands before its decimals."""
    found: bool = pl.select(pl.lit(text.strip()).str.contains(_WITH_COMMA)).item()
    return found and "," in text


def from_commas(cell: pl.Expr) -> pl.Expr:
    """Return as numbers the cells of a column of which `have_commas` is true."""
    return cell.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
