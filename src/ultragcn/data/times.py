"""Times in files: seconds, milliseconds and dates, also mixed in one column, as microseconds since 1970 (UTC)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from ultragcn.lazily import pl

ALLOWED = "seconds or milliseconds since 1970, or a date such as 2020-01-31, 20200131, 2020-01-31T12:00:00Z or 31.01.2020"

_CLOCK = re.compile(r"%[HIklMSTRrcpPsX.f]")
_FORMAT = "%Y-%m-%d %H:%M:%S%.f%z"
# Rewritten to that format step by step: a pattern and what takes its place.
_REWRITES = (
    (r"^(\d{4})/(\d{1,2})/(\d{1,2})", "$1-$2-$3"),
    (r"^(\d{1,2})\.(\d{1,2})\.(\d{4})", "$3-$2-$1"),
    (r"^(\d+-\d+-\d+)[Tt ]+", "$1 "),
    (r"^(\d+-\d+-\d+)$", "$1 00:00:00"),
    (r" ?(?:Z|z|UTC)$", "+0000"),
    (r"(:\d\d(?:\.\d+)?) ?([+-]\d\d)$", "$1${2}00"),
    (r"(:\d\d(?:\.\d+)?) ?([+-]\d\d):?(\d\d)$", "$1$2$3"),
    (r"^(\d+-\d+-\d+ \d+:\d\d)([+-]\d{4})?$", "$1:00$2"),
    (r"(:\d\d:\d\d(?:\.\d+)?)$", "$1+0000"),
)


def microseconds(column: pl.Expr, kind: pl.DataType, dates: bool | None = None) -> pl.Expr:
    """Return a column of times as microseconds (int64); null where nothing can be made of it.

    The unit of a number follows from its size: below 1e11 it is seconds (to the year 5138), below 1e14 milliseconds, below 1e17
    microseconds, else nanoseconds; but where every number of a column is a date written without dashes, 20200131, they are dates. A
    date without a zone is UTC. `01/02/2020` is refused: it is January here and February there.

    `dates` says whether the numbers are such dates, where `column` is a part of one that is read in pieces.
    """
    if kind.is_numeric():
        return _from_numbers(_as_number(column, kind), dates)
    if kind in (pl.Date, pl.Datetime):
        return column.dt.epoch("us")
    text = column.cast(pl.String, strict=False).str.strip_chars()
    number = _as_number(column, kind)
    date: pl.Expr = pl.when(number.is_null()).then(text)
    for pattern, replacement in _REWRITES:
        date = date.str.replace(pattern, replacement)
    return pl.coalesce(_from_numbers(number, dates), date.str.to_datetime(_FORMAT, time_unit="us", strict=False).dt.epoch("us"))


def by_format(text: pl.Expr, pattern: str) -> pl.Expr:
    """Return times that are written as `pattern` says, as microseconds (int64); null where they are not. Without a zone they are UTC."""
    stripped = text.str.strip_chars()
    if "%z" in pattern or "%Z" in pattern or "%:z" in pattern:
        return stripped.str.to_datetime(pattern, time_unit="us", time_zone="UTC", strict=False).dt.epoch("us")
    if not _CLOCK.search(pattern):
        return stripped.str.to_date(pattern, strict=False).cast(pl.Datetime("us")).dt.epoch("us")
    return stripped.str.to_datetime(pattern, time_unit="us", strict=False).dt.epoch("us")


def is_format(pattern: str) -> bool:
    """Return whether times can be written and read again as `pattern` says."""
    moment = pl.Series([datetime(2021, 1, 13, 15, 4, 5, tzinfo=UTC)], dtype=pl.Datetime("us", "UTC"))
    try:
        written = moment.dt.strftime(pattern)
        return pl.select(by_format(pl.lit(written[0]), pattern)).item() is not None
    except pl.exceptions.PolarsError:
        return False


def parse(text: str) -> int | None:
    """Return one time as microseconds; None when it cannot be read."""
    found: int | None = pl.select(microseconds(pl.lit(text), pl.String())).item()
    return found


def shown(time: int) -> str:
    """Return a time for messages."""
    return datetime.fromtimestamp(time / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")


def are_dates(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """Return whether all numbers of a column of times are dates written without dashes, 20200131, and there are any."""
    number = _as_number(column, kind)
    return (_date_of(number).is_not_null() | number.is_null()).all() & number.is_not_null().any()


def _as_number(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    if kind.is_numeric():
        return column.cast(pl.Float64) if kind.is_float() else column.cast(pl.Int64, strict=False)
    return column.cast(pl.String, strict=False).str.strip_chars().cast(pl.Float64, strict=False)


def _date_of(number: pl.Expr) -> pl.Expr:
    # As seconds, all of them days of 1970 that read as dates of 1900 to 2100: of other numbers one in thirty would.
    whole = number.is_between(19000101, 21001231) & (number == number.round())
    return pl.when(whole).then(number).cast(pl.Int64).cast(pl.String).str.to_date("%Y%m%d", strict=False)


def _from_numbers(number: pl.Expr, dates: bool | None) -> pl.Expr:
    if dates is False:
        return _from_number(number)
    date = _date_of(number)
    as_date = date.cast(pl.Datetime("us")).dt.epoch("us")
    if dates:
        return as_date
    all_dates = (date.is_not_null() | number.is_null()).all() & number.is_not_null().any()
    return pl.when(all_dates).then(as_date).otherwise(_from_number(number))


def _from_number(number: pl.Expr) -> pl.Expr:
    size = number.abs()
    scaled = (
        pl.when(size < 1e11).then(number * 1_000_000)
        .when(size < 1e14).then(number * 1_000)
        .when(size < 1e17).then(number)
        .otherwise(number / 1_000)
    )  # fmt: skip
    return scaled.cast(pl.Int64, strict=False)
