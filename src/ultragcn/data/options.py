"""How interactions are made from files and split, declared once: the API, the command and the run's manifest read this one list."""

import codecs
import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from os import PathLike
from typing import Any

from ultragcn.config import checked, parameter
from ultragcn.config.foreign_names import unknown_parameter
from ultragcn.errors import UsageError, did_you_mean

TIMED_SPLITS = ("last", "time")
"""The splits that ask when an interaction was."""


_NAMED_CHARACTERS = {"blank": " ", "comma": ",", "tab": "\t"}
_NO_ENCODINGS = ("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem")


def option(name: str, value: str = "") -> str:
    """Return how an option is given, on the command line and in Python, for messages."""
    if not value:
        return f"--{name} ({name}=)"
    word = value
    if any(mark in value for mark in " ,'\"<>*()|`$"):
        word = '"' + re.sub(r'([\\"`$])', r"\\\1", value) + '"'  # as a shell takes it
    in_python = value if value.isdecimal() else "True" if value == "true" else repr(value)
    return f"--{name} {word} ({name}={in_python})"


def check_encoding(name: str) -> None:
    """Raise `UsageError` unless `name` is "" or the name of a way in which text is stored."""
    if not name:
        return
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        found = None
    if found is None or found.name.replace("-", "_") in _NO_ENCODINGS or not found._is_text_encoding:
        near = did_you_mean(name, ("utf-8", "utf-16", "cp949", "euc-kr", "cp1252", "latin-1", "shift_jis", "gb18030", "cp1251"))
        raise UsageError(f"unknown encoding {name!r}{near} (such as utf-8, utf-16, cp949, cp1252, latin-1, shift_jis, gb18030)")


@dataclass(frozen=True)
class DataOptions:
    """What to take from a file and what to hold out of it. None stands for the default of any option.

    Raises
    ------
    UsageError
        A value has the wrong type or is out of range, or two options contradict each other.
    """

    user_column: str = parameter("", "column of the user ids, by name or by number from 1 (default: found by its name)")
    item_column: str = parameter("", "column of the item ids, likewise")
    rating_column: str = parameter("", "column of the ratings, likewise; read when min_rating is given")
    time_column: str = parameter(
        "", "column of the times, likewise, or two columns with a comma between, date,clock; read when it is given or the split needs it"
    )
    title_column: str = parameter("", "column of the titles in the file of titles, likewise")
    quantity_column: str = parameter("", "column of the quantities that net adds up, likewise")
    header: str = parameter("auto", "whether the first row names the columns", choices=("auto", "yes", "no"))
    separator: str = parameter(
        "", "what stands between two cells; tab for a tab, blank for blanks (default: what splits the first rows alike)"
    )
    quote: str = parameter("", 'the character around cells that hold a separator; none: quotes are letters (default: ")')
    encoding: str = parameter("", "how letters are stored, such as cp949, cp1252 or utf-16 (default: UTF-8)")
    decimal: str = parameter("", "what stands before the decimals of a number (default: a point, and a comma where that is clear)")
    comment: str = parameter("", "skip the lines that begin so, such as # (default: those before the first row)")
    skip_rows: int = parameter(0, "lines to skip at the beginning of a file", unit="lines", low=0)
    table: str = parameter("", "table of a database, or sheet of a workbook (default: the only one)")
    where: str = parameter("", "keep the rows for which this condition in SQL holds, such as event = 'buy' AND price > 2 (default: all)")
    missing: str = parameter(
        "refuse", "a row without a user or an item, also one that says NA, null or the like there", choices=("refuse", "skip")
    )
    blanks: str = parameter(
        "auto", "blanks around ids: auto drops them where every id of a column has them", choices=("auto", "keep", "drop")
    )
    item_list: str = parameter("", "what stands between the items of a cell that holds several: blank, comma, tab or a character")
    time_format: str = parameter("", "how times are written, such as %d/%m/%Y %H:%M or %m/%d/%Y %I:%M:%S %p (default: found)")
    min_rating: float = parameter(-math.inf, "keep the rows rated so or higher (default: all)")
    net: bool = parameter(False, "add up the quantities of each user and item, and drop the pairs that come to 0 or less (returns)")
    k_core: int = parameter(1, "drop users and items with fewer interactions than this, again and again", low=1)
    split: str = parameter(
        "random",
        "what is held out: items of each user at random, the last items of each user, everything from some time on, or nothing, so that "
        "nothing is measured",
        choices=("random", "last", "time", "none"),
    )
    test_share: float = parameter(0.2, "share held out for test, of each user's items or (time) of all pairs", positive=True, high=0.9)
    last_k: int = parameter(1, "items of each user that split last holds out", unit="items", low=1)
    last_share: float = parameter(
        0.0, "share of each user's items that split last holds out for test, in place of last_k; a tenth for validation", low=0, high=0.9
    )
    test_from: str = parameter("", "first time that split time holds out, such as 2020-01-31 (default: as test_share says)")

    def __post_init__(self) -> None:
        for declared in fields(self):
            value = getattr(self, declared.name)
            if value is None:
                value = declared.default
            elif declared.type is str and isinstance(value, (int, PathLike)) and not isinstance(value, bool):
                value = str(value)
            object.__setattr__(self, declared.name, checked(declared, value))
        self._check_reading()
        self._check_split()

    def _check_reading(self) -> None:
        if self.quote != "none" and (len(self.quote) > 1 or not self.quote.isascii() or self.quote in ("\n", "\r", "\0")):
            raise UsageError(f"quote must be one character of ASCII, such as ', or none, not {self.quote!r}")
        if any(mark in self.separator for mark in "\n\r\0"):
            raise UsageError(f"separator cannot hold a line end, and {self.separator!r} does")
        if any(mark in self.comment for mark in "\n\r\0"):
            raise UsageError(f"comment cannot hold a line end, and {self.comment!r} does")
        if self.decimal not in ("", ".", ","):
            raise UsageError(f"decimal must be a point or a comma, not {self.decimal!r}")
        if self.quantity_column and not self.net:
            raise UsageError("quantity_column is read with net; give net too, or drop quantity_column")
        check_encoding(self.encoding)

    def _check_split(self) -> None:
        if self.last_k != 1 and self.split != "last":
            raise UsageError(f"last_k needs split last, not {self.split}")
        if self.last_share and self.split != "last":
            raise UsageError(f"last_share needs split last, not {self.split}")
        if self.last_share and self.last_k != 1:
            raise UsageError("split last holds out last_k items of each user or last_share of them; drop one of the two")
        if self.test_from and self.split != "time":
            raise UsageError(f"test_from needs split time, not {self.split}")
        if self.test_from and self.test_share != DATA_OPTIONS["test_share"].default:
            raise UsageError("test_from says where test begins; drop test_share, or drop test_from")
        if self.split == "none" and self.test_share != DATA_OPTIONS["test_share"].default:
            raise UsageError("split none holds nothing out; drop test_share")
        if self.split == "last" and self.test_share != DATA_OPTIONS["test_share"].default:
            raise UsageError("split last holds out last_k items of each user, or last_share of them; drop test_share")

    @property
    def character_between_items(self) -> str:
        """What stands between the items of a cell, as itself; "" where cells hold one item."""
        return _NAMED_CHARACTERS.get(self.item_list, self.item_list)

    @property
    def needs_times(self) -> bool:
        """Whether times are read at all."""
        return self.split in TIMED_SPLITS or bool(self.time_column)

    @property
    def counts_first(self) -> bool:
        """Whether a pair that comes again counts at its first time.

        By a split in time it must: at its latest time it would leave train, and be held out as if it were new.
        """
        return self.split in TIMED_SPLITS

    @property
    def needs_ratings(self) -> bool:
        """Whether ratings are read at all."""
        return self.min_rating > -math.inf

    def replace(self, **changes: Any) -> "DataOptions":
        """Return a copy with `changes`; an unknown name raises `UsageError` with the nearest known one."""
        for name in changes:
            if name not in DATA_OPTIONS:
                raise unknown_parameter("data option", name, DATA_OPTIONS)
        return dataclasses.replace(self, **changes)

    def changed(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, by name: what a manifest has to record."""
        return {name: getattr(self, name) for name, declared in DATA_OPTIONS.items() if getattr(self, name) != declared.default}


DATA_OPTIONS: Mapping[str, dataclasses.Field[Any]] = {declared.name: declared for declared in fields(DataOptions)}
"""Every data option by name."""
