"""Ids as they stand in files, and the rows of an id map that they become."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from ultragcn.data.ids import IdMap
from ultragcn.data.options import DataOptions
from ultragcn.lazily import pl

BLANKS = " \t\u00a0\u3000"
"""What may stand around an id without being part of it."""
WORDS = ("na", "n/a", "#n/a", "nan", "null", "none", "<na>", "nil", "(null)", "\\n", "undefined", "missing", "unknown")
"""What stands in many files where there is nothing, in small letters."""
_POINT_ZERO = r"^-?(0|[1-9]\d*)\.0+$"
_SCIENTIFIC = re.compile(r"[+-]?\d(\.\d+)?[eE]\+\d+")


@dataclass(frozen=True)
class Decoded:
    """The ids of one side, and what is to be said about them."""

    ids: IdMap
    rows: np.ndarray  # (N,) int32
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def stands_for_nothing(name: str) -> bool:
    """Return whether an id is a word that stands for nothing in many files."""
    return name.strip().lower() in WORDS


def distinct_in(column: pl.Series) -> pl.Series:
    """Return the distinct ids of a column of codes; none of a column of integers."""
    return column.clear() if column.dtype == pl.Int64 else column.unique().drop_nulls()


def without_id(column: pl.Series, distinct: pl.Series, options: DataOptions) -> tuple[pl.Series, list[str]]:
    """Return the mask (N,) of rows without an id, and the words that stood there for nothing.

    Blanks are nothing. Words are nothing only where `options.missing` is skip: a band may be called nan.
    """
    mask = column.is_null()
    if column.dtype == pl.Int64:
        return mask, []
    names = distinct.cast(pl.String)
    bare = names.str.strip_chars(BLANKS)
    nothing = bare == "" if options.blanks != "keep" else pl.repeat(False, len(names), eager=True)
    words = names.filter(nothing).to_list()
    if options.missing == "skip":
        nothing = nothing | bare.str.to_lowercase().is_in(WORDS)
        words = names.filter(nothing).to_list()
    if words:
        mask = mask | column.is_in(distinct.filter(nothing).implode())
    return mask, sorted(word for word in words if word.strip())


def decoded(column: pl.Series, what: str, from_text: bool, options: DataOptions) -> Decoded:
    """Return the ids of a column and their rows.

    Those of a text file, which has no kinds of columns, are integers if every one is written as integers usually are, or, as pandas
    writes integers beside missing ones, with `.0` after it.
    """
    if column.dtype == pl.Int64:
        ids, rows = np.unique(column.to_numpy(), return_inverse=True)
        return Decoded(IdMap(ids, what), rows.astype(np.int32))
    distinct = column.unique()
    notes, warnings = [], []
    names = distinct.cast(pl.String)
    stripped = names.str.strip_chars(BLANKS)
    padded = (stripped != names) & (stripped != "")
    if options.blanks != "keep" and padded.any():
        if options.blanks == "drop" or (options.blanks == "auto" and padded.all()):
            names = stripped
            notes.append(f"blanks around {what} ids dropped")
        elif stripped.n_unique() < len(stripped):
            example = names.filter(padded & stripped.is_duplicated())
            shown = f" (such as {example[0]!r})" if len(example) else ""
            warnings.append(f'some {what} ids differ only by blanks around them{shown}; --blanks drop (blanks="drop") makes one of them')
    numbers = names.cast(pl.Int64, strict=False)
    # 007 and +7 are not what their number is written like, so they stay text, and so does their column.
    are_numbers = from_text and bool((numbers.cast(pl.String) == names).fill_null(False).all())
    if from_text and not are_numbers:
        pointed = names.str.contains(_POINT_ZERO)
        whole = names.str.replace(r"\.0+$", "").cast(pl.Int64, strict=False)
        if pointed.all() and whole.is_not_null().all() and (names != "-0.0").all():
            numbers, are_numbers = whole, True
            notes.append(f"{what} ids such as {names[0]} read as whole numbers")
        elif pointed.any():
            warnings += _mixed(names, pointed, what)
    if not are_numbers:
        warnings += _scientific(names, what)
    keys = numbers if are_numbers else names
    return Decoded(*_rows_of(column, distinct, keys, what), notes, warnings)


def _rows_of(column: pl.Series, distinct: pl.Series, keys: pl.Series, what: str) -> tuple[IdMap, np.ndarray]:
    """Return the map of all `keys`, what each of the `distinct` values of a column is called, and the row of every cell (N,) int32."""
    order = keys.arg_sort().to_numpy()
    ids = keys.to_numpy()[order] if keys.dtype == pl.Int64 else np.array(keys.to_list(), dtype=object)[order]
    rank = np.arange(len(order), dtype=np.int32)
    if len(ids) > 1 and (again := ids[1:] == ids[:-1]).any():  # two spellings of one id
        rank = np.concatenate(([0], np.cumsum(~again))).astype(np.int32)
        ids = ids[np.concatenate(([True], ~again))]
    codes = distinct.to_physical().to_numpy()
    row_of = np.zeros(int(codes.max(initial=0)) + 1, dtype=np.int32)
    row_of[codes[order]] = rank
    return IdMap(ids, what), row_of[column.to_physical().to_numpy()]


def _mixed(names: pl.Series, pointed: pl.Series, what: str) -> list[str]:
    """Return what is to be said where 3 and 3.0 are two ids."""
    bare = names.filter(pointed).str.replace(r"\.0+$", "")
    both = bare.filter(bare.is_in(names.implode()))
    if not len(both):
        return []
    return [
        f"{len(both)} {what} ids differ only by .0 (such as {both[0]} and {both[0]}.0), so each counts as two ids; write them in one form"
    ]


def _scientific(names: pl.Series, what: str) -> list[str]:
    """Return what is to be said where a spreadsheet has made floats of long ids."""
    sample = names.head(1000).to_list()
    written = [name for name in sample if name is not None and _SCIENTIFIC.fullmatch(name)]
    if not written or len(written) < len(sample) / 2:
        return []
    return [f"{what} ids such as {written[0]} have lost their last digits, so that several ids became one; export the column as text"]
