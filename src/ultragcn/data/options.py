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
    """Options that say what is read from a file and what is held out. None means the default of an option.

    Raises
    ------
    UsageError
        A value has the wrong type or is out of range, or two options contradict each other.
    """

    user_column: str = parameter("", "column of the user ids, by name or by number from 1 (default: found by its name)")
    item_column: str = parameter("", "column of the item ids, given like user_column")
    rating_column: str = parameter("", "column of the ratings, given like user_column; it is read when min_rating is given")
    time_column: str = parameter(
        "",
        "column of the times, given like user_column, or two columns, such as date,clock; it is read when it is given or when "
        "the split needs it",
    )
    title_column: str = parameter("", "column of the titles in the file of titles, given like user_column")
    quantity_column: str = parameter("", "column of the quantities that net adds up, given like user_column")
    header: str = parameter("auto", "whether the first row has the names of the columns", choices=("auto", "yes", "no"))
    separator: str = parameter(
        "",
        "the character between two cells, or the word tab or blank (default: the one that splits the first rows into equally many cells)",
    )
    quote: str = parameter(
        "", 'the character around cells that contain a separator; none: quotation marks are ordinary letters (default: ")'
    )
    encoding: str = parameter("", "the encoding of the text, such as cp949, cp1252 or utf-16 (default: UTF-8)")
    decimal: str = parameter(
        "", "the decimal mark of numbers, a point or a comma (default: a point, or a comma where only a comma makes sense)"
    )
    comment: str = parameter("", "skip the lines that begin with this, such as # (default: skip lines with # before the first row only)")
    skip_rows: int = parameter(0, "number of lines to skip at the beginning of a file", unit="lines", low=0)
    table: str = parameter("", "the table of a database, or the sheet of a workbook (default: the only one)")
    where: str = parameter("", "keep the rows for which this condition in SQL holds, such as event = 'buy' AND price > 2 (default: all)")
    missing: str = parameter(
        "refuse", "what to do with rows without a user or an item, or with NA, null or the like in its place", choices=("refuse", "skip")
    )
    blanks: str = parameter(
        "auto", "what to do with blanks around ids: auto drops them where every id of a column has them", choices=("auto", "keep", "drop")
    )
    item_list: str = parameter(
        "", "what separates the items of a cell with several items: blank, comma, tab or a character (default: a cell has one item)"
    )
    time_format: str = parameter("", "the form of the times, such as %d/%m/%Y %H:%M or %m/%d/%Y %I:%M:%S %p (default: found by itself)")
    min_rating: float = parameter(-math.inf, "keep the rows with this rating or a higher one (default: all)")
    net: bool = parameter(
        False, "add up the quantities of each user and item, and drop the pairs whose sum is 0 or less, because the items were sent back"
    )
    k_core: int = parameter(1, "drop users and items with fewer interactions than this, and repeat until none is left to drop", low=1)
    split: str = parameter(
        "random",
        "which pairs are held out: random: random items of each user; last: the last items of each user; time: all from some time "
        "on; none: nothing, so that nothing is measured",
        choices=("random", "last", "time", "none"),
    )
    test_share: float = parameter(
        0.2, "share to hold out for test: of the items of each user, or with split time of all pairs", positive=True, high=0.9
    )
    last_k: int = parameter(1, "number of items of each user that split last holds out", unit="items", low=1)
    last_share: float = parameter(
        0.0,
        "share of each user's items that split last holds out for test, in place of last_k; validation gets a tenth of the rest",
        low=0,
        high=0.9,
    )
    test_from: str = parameter("", "split time holds out everything from this time on, such as 2020-01-31 (default: chosen by test_share)")

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
            raise UsageError(f"quote must be one ASCII character, such as ', or the word none, not {self.quote!r}")
        if any(mark in self.separator for mark in "\n\r\0"):
            raise UsageError(f"separator must not contain a line end, but {self.separator!r} does")
        if any(mark in self.comment for mark in "\n\r\0"):
            raise UsageError(f"comment must not contain a line end, but {self.comment!r} does")
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
            raise UsageError("test_from and test_share both say where test begins; drop one of the two")
        if self.split == "none" and self.test_share != DATA_OPTIONS["test_share"].default:
            raise UsageError("split none holds nothing out; drop test_share")
        if self.split == "last" and self.test_share != DATA_OPTIONS["test_share"].default:
            raise UsageError("split last holds out last_k items of each user, or last_share of them; drop test_share")

    @property
    def character_between_items(self) -> str:
        """The character between the items of a cell; "" where a cell holds one item."""
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
        """Return the options that differ from their defaults, by name. A manifest records these."""
        return {name: getattr(self, name) for name, declared in DATA_OPTIONS.items() if getattr(self, name) != declared.default}


DATA_OPTIONS: Mapping[str, dataclasses.Field[Any]] = {declared.name: declared for declared in fields(DataOptions)}
"""Every data option by name."""
