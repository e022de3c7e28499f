"""Rules that have a name, in a TOML file, with the dates between which they hold and places for values.

    [summer]
    from = 2026-06-01
    until = 2026-08-31
    where = "season = 'summer' and price < {price}"
    max_per = { brand = 2 }
    promote = { "margin > 0.4" = "20%" }
    exclude = "withdrawn.txt"

    [summer.values]
    price = 20

`{price}` stands for a value: 20 unless another is given. It is put into a condition as the number or the text that it is, so a value
cannot change what the condition says.
"""

import datetime
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ultragcn.errors import UsageError, unknown_name
from ultragcn.rules.rules import IdFile, Rules, Texts

_SETTINGS = ("only", "exclude", "where", "max_per", "diversity", "promote", "unknown")
_KEYS = ("from", "until", *_SETTINGS, "values")
_PIECE = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\{(\w+)\}")
_IN = re.compile(r"\bin\s*$", re.IGNORECASE)
"""Before a placeholder that stands for a list, though one value alone may be given."""
_PLACE = re.compile(r"\{(\w+)\}")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")


class Named(NamedTuple):
    """Rules that were read by their names."""

    rules: Rules
    notes: tuple[str, ...]
    """Which of them do not hold on the day, a sentence each."""


def read_rules(path: str | Path, names: Sequence[str], values: Mapping[str, Any] | None = None, on: Any = None) -> Named:
    """Return the rules of these names in a TOML file, together.

    Parameters
    ----------
    path : str or Path
    names : list of str
        The tables to take; of two that differ in diversity or unknown the later counts.
    values : dict, optional
        What placeholders stand for, by name: a number, a text, true or false, a date, or a list of those.
    on : datetime.date, optional
        The day; a rule that does not hold on it is left out, with a note. By default today.

    Raises
    ------
    UsageError
        The file cannot be read, there is no such rule, a value is missing or has no place, or a rule says what cannot be meant.
    """
    return RulesFile(path).named(names, values, on)


class RulesFile:
    """The rules of a TOML file, read once.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    UsageError
        The file cannot be read, or has a setting that there is not.

    Attributes
    ----------
    names : tuple of str
        Names of its rules.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._document = _read(self._path)
        self.names = tuple(self._document)

    def named(self, names: Sequence[str], values: Mapping[str, Any] | None = None, on: Any = None) -> Named:
        """Return the rules of these names, together; see `read_rules`."""
        day = datetime.date.today() if on is None else on
        if not names:
            raise UsageError(f"no rule of {self._path} is named; name one or more of {', '.join(self.names)}")
        rules, notes, places = Rules(), [], set()
        for name in names:
            if name not in self._document:
                raise unknown_name(f"rule of {self._path}", name, self._document)
            given = dict(values or {})
            table = _Table(self._path, name, self._document[name], given)
            made = table.rules()  # of all, so that what cannot be meant is found before its first day
            places |= table.places
            if (why := table.not_on(day)) is None:
                rules &= made
            else:
                notes.append(why)
        if useless := [name for name in values or {} if name not in places]:
            raise UsageError(
                f"{self._path}: no rule that is named has a place for the value {useless[0]!r}; write {{{useless[0]}}} where it belongs"
            )
        return Named(rules, tuple(notes))


def value_of(text: str) -> Any:
    """Return the value that a text on a command line stands for: a number as numbers are written, else text; quotes make it text.

    Examples
    --------
    >>> value_of("20"), value_of("1.5"), value_of("007"), value_of("jazz"), value_of("'20'")
    (20, 1.5, '007', 'jazz', '20')
    """
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text


def values_of(texts: Iterable[str]) -> dict[str, Any]:
    """Return values by name, given as texts such as price=20; a name that comes several times has a list."""
    found: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"\w+", name):
            raise UsageError(f"a value is given as NAME=VALUE, such as price=20, not {text!r}")
        found.setdefault(name, []).append(value_of(value))
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    if not document:
        raise UsageError(f"{path} has no rules; put each under its name, such as [summer]")
    for name, table in document.items():
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {name} stands outside a table; put it under the name of a rule, such as [summer]")
        for key in table:
            if key not in _KEYS:
                raise unknown_name(f"setting of rule {name} in {path}", key, _KEYS)
    return document


class _Table:
    """The table of one rule."""

    def __init__(self, path: Path, name: str, table: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        self._path, self._name, self._table = path, name, table
        defaults = table.get("values", {})
        if not isinstance(defaults, dict):
            raise self._wrong("values must be a table of names and values")
        self._values = defaults | dict(given)
        self.places: set[str] = set()
        """Placeholders that occur, and names that have a default."""
        self.places |= defaults.keys()
        self._first, self._last = (self._day(key) for key in ("from", "until"))
        if self._first is not None and self._last is not None and self._first > self._last:
            raise self._wrong(f"it ends on {self._last}, before it begins on {self._first}; exchange from and until")

    def not_on(self, day: datetime.date) -> str | None:
        """Return the sentence that the rule does not hold on a day; None where it does."""
        if self._first is not None and day < self._first:
            return f"rule {self._name} of {self._path} does not hold on {day}: it begins on {self._first}"
        if self._last is not None and day > self._last:
            return f"rule {self._name} of {self._path} does not hold on {day}: it ended on {self._last}"
        return None

    def rules(self) -> Rules:
        """Return the rule, every placeholder replaced."""
        settings: dict[str, Any] = {}
        for key in _SETTINGS:
            if key in self._table:
                settings[key] = self._setting(key, self._table[key])
        try:
            return Rules(**settings)
        except UsageError as error:
            raise self._wrong(str(error)) from error

    def _setting(self, key: str, value: Any) -> Any:
        if key in ("only", "exclude"):
            value = self._filled(value)
            if isinstance(value, str):
                return IdFile(str(self._path.parent / value), f"rule {self._name} of {self._path}:")
            if not isinstance(value, list) or not all(isinstance(one, (str, int)) and not isinstance(one, bool) for one in value):
                raise self._wrong(f"{key} must be a list of item ids, or the name of a file of them, not {value!r}")
            return Texts(tuple(map(str, value)))
        if key == "where":
            conditions = value if isinstance(value, list) else [value]
            return [self._condition(one) for one in conditions]
        if key == "promote":
            if not isinstance(value, dict):
                raise self._wrong(f'{key} must be a table such as {{ "price < 20" = "20%" }}, not {value!r}')
            return {self._condition(condition): self._filled(share) for condition, share in value.items()}
        if key == "max_per":
            if not isinstance(value, dict):
                raise self._wrong(f"{key} must be a table such as {{ brand = 2 }}, not {value!r}")
            return {column: self._filled(most) for column, most in value.items()}
        return self._filled(value)

    def _filled(self, value: Any) -> Any:
        """Return a value, or what a placeholder that is all of it stands for."""
        found = _PLACE.fullmatch(value) if isinstance(value, str) else None
        return value if found is None else self._value(found[1])

    def _value(self, name: str) -> Any:
        self.places.add(name)
        if name not in self._values:
            raise self._wrong(f"the value of {{{name}}} is missing; give one: --value {name}=...")
        return self._values[name]

    def _condition(self, condition: Any) -> Any:
        """Return a condition with values in the places of placeholders."""
        if not isinstance(condition, str):
            raise self._wrong(f"a condition must be text, not {condition!r}")

        def piece(found: re.Match[str]) -> str:
            if found[1] is not None:
                value = self._value(found[1])
                is_list = _IN.search(found.string[: found.start()]) is not None and not isinstance(value, (list, tuple))
                return self._in_sql(found[1], [value] if is_list else value)
            if (inside := _PLACE.search(found[0])) is not None and inside[1] in self._values:
                raise self._wrong(f"{inside[0]} stands in quotes in {condition!r}; leave the quotes out, they come with the value")
            return found[0]

        return _PIECE.sub(piece, condition)

    def _in_sql(self, name: str, value: Any) -> str:
        if isinstance(value, (list, tuple)) and value:
            return f"({', '.join(self._in_sql(name, one) for one in value)})"
        if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
            return repr(value)
        if isinstance(value, (datetime.datetime, datetime.date)):
            value = value.isoformat(" ") if isinstance(value, datetime.datetime) else value.isoformat()
        if isinstance(value, str):
            return "'" + value.replace("'", "''") + "'"
        raise self._wrong(f"the value of {{{name}}} must be a number, a text, true or false, a date, or a list of those, not {value!r}")

    def _day(self, key: str) -> datetime.date | None:
        value = self._table.get(key)
        if isinstance(value, datetime.datetime):
            return value.date()
        if value is None or isinstance(value, datetime.date):
            return value
        raise self._wrong(f"{key} must be a date without quotes, such as {key} = 2026-06-01, not {value!r}")

    def _wrong(self, why: str) -> UsageError:
        return UsageError(f"rule {self._name} of {self._path}: {why}")
