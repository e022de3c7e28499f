"""User and item ids: whatever the data have outside, rows of a table inside."""

import difflib
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np

from ultragcn.errors import UsageError, counted

Id = int | str
_MANY = 10_000


class IdMap:
    """The ids of one side, in ascending order; the position of an id is its row.

    Parameters
    ----------
    ids : array of int64, or array of str (dtype object)
        Distinct and ascending. Use `IdMap.of` for ids in any order.
    what : {"user", "item"}
        For messages.
    """

    def __init__(self, ids: np.ndarray, what: str):
        self.ids = ids
        self.what = what

    @classmethod
    def of(cls, ids: Iterable[Id] | np.ndarray, what: str) -> "IdMap":
        """Return the map of all distinct `ids`, integers or strings (not both)."""
        return cls(np.unique(as_ids(ids, what)), what)

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, IdMap) and self.ids.dtype == other.ids.dtype and np.array_equal(self.ids, other.ids)

    __hash__ = None  # type: ignore[assignment]

    def part(self, rows: np.ndarray) -> "IdMap":
        """Return the map of the ids at ascending `rows`."""
        return IdMap(self.ids[rows], self.what)

    def shown(self, row: int) -> str:
        """Return the id at `row` for messages, strings in quotes."""
        return repr(as_python(self.ids[row]))

    @property
    def are_strings(self) -> bool:
        """Whether the ids are strings (else integers)."""
        return self.ids.dtype == object

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {str(name): row for row, name in enumerate(self.ids)}

    def find(self, ids: Iterable[Id] | np.ndarray) -> np.ndarray:
        """Return the rows (int64) of `ids`; -1 for an id that is not in the map."""
        given = as_ids(ids, self.what)
        if (given.dtype == object) != self.are_strings:
            return np.full(len(given), -1, dtype=np.int64)
        if self.are_strings:
            return np.fromiter((self._row_of.get(name, -1) for name in given), dtype=np.int64, count=len(given))
        rows = np.searchsorted(self.ids, given)
        rows[rows == len(self.ids)] = 0
        return np.where(self.ids[rows] == given, rows, -1) if len(self.ids) else np.full(len(given), -1, dtype=np.int64)

    def rows(self, ids: Iterable[Id] | np.ndarray) -> np.ndarray:
        """Return the rows (int64) of `ids`; an unknown id raises `UsageError` with the first unknown one."""
        given = as_ids(ids, self.what)
        rows = self.find(given)
        if (rows < 0).any():
            raise self._unknown(as_python(given[rows < 0][0]))
        return rows

    def parse(self, texts: Iterable[str]) -> list[Id]:
        """Return ids typed as text (on a command line) in the kind this map has."""
        if self.are_strings:
            return list(texts)
        parsed: list[Id] = []
        for text in texts:
            if not re.fullmatch(r"0|-?[1-9][0-9]*", text):  # int() would also take 007 and 7_0, which are not ids of a map of integers
                raise self._unknown(text)
            parsed.append(int(text))
        return parsed

    def _unknown(self, given: Id) -> UsageError:
        if len(self) == 0:
            return UsageError(
                f"unknown {self.what} id {given!r}: the model knows no {self.what}s, because it was saved without histories; recommend by "
                "items (recommend_for, --items), or give unknown popular"
            )
        sample = ", ".join(self.shown(row) for row in range(min(3, len(self))))
        kind = "strings" if self.are_strings else "integers"
        return UsageError(
            f"unknown {self.what} id {given!r}: the model knows {counted(len(self), self.what)}, ids are {kind} such as {sample}"
            f"{self._near(given) if self.what == 'item' else ''}"
        )

    def _near(self, given: Id) -> str:
        """Return '; did you mean X?' for the id that is most like `given`, or '' when none is; never of users, whose ids are their own."""
        if not self.are_strings or not isinstance(given, str):
            return ""
        plain = _plain(given)
        same = [row for row, name in enumerate(self.ids) if _plain(name) == plain]
        if same:
            return f"; did you mean {self.shown(same[0])}?"
        # Where there are many, only those that begin alike are looked at: each takes some microseconds.
        names = self.ids.tolist()
        names = names if len(names) <= _MANY else [name for name in names if name[:1].casefold() == given[:1].casefold()][:_MANY]
        near = difflib.get_close_matches(given, names, n=1, cutoff=0.75)
        return f"; did you mean {near[0]!r}?" if near else ""


def _plain(name: str) -> str:
    """Return a name without case and blanks."""
    return "".join(name.casefold().split())


def as_ids(ids: Iterable[Id] | np.ndarray, what: str) -> np.ndarray:
    """Return ids as a 1-D array of int64 or of str (dtype object)."""
    array = ids if isinstance(ids, np.ndarray) else np.array(list(ids), dtype=object)
    if array.ndim != 1:
        raise UsageError(f"{what} ids must be one-dimensional, not of shape {array.shape}")
    if array.dtype.kind in "iu" and array.dtype != np.uint64:
        return array.astype(np.int64)
    values = array.tolist()
    if all(isinstance(value, (int, np.integer)) and not isinstance(value, bool) for value in values):
        try:
            return np.array(values, dtype=np.int64)
        except OverflowError:
            raise UsageError(f"{what} ids must fit 64 bits; give larger ones as strings") from None
    if all(isinstance(value, str) for value in values):
        return np.array(values, dtype=object)
    wrong = [value for value in values if isinstance(value, bool) or not isinstance(value, (str, int, np.integer))]
    given = f"{wrong[0]!r} of type {type(wrong[0]).__name__}" if wrong else "of both kinds"
    raise UsageError(f"{what} ids must be all integers or all strings, not {given}")


def as_python(value: Any) -> Id:
    """Return an id as a plain int or str."""
    return value if isinstance(value, str) else int(value)
