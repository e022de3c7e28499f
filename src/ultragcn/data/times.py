"""Times in files: seconds, milliseconds and dates, also mixed in one column, as microseconds since 1970 (UTC)."""

from datetime import UTC, datetime

import polars as pl

ALLOWED = "seconds or milliseconds since 1970, or a date such as 2020-01-31, 2020-01-31T12:00:00Z or 31.01.2020"

_DATES = ("%Y-%m-%d", "%d.%m.%Y")
_CLOCKS = ("%H:%M:%S%.f", "%H:%M")
_ZONED = tuple(f"{date} {clock}%z" for date in _DATES for clock in _CLOCKS)
_NAIVE = tuple(f"{date} {clock}" for date in _DATES for clock in _CLOCKS)


def microseconds(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """Return a column of times as microseconds (int64); null where nothing can be made of it.

    The unit of a number follows from its size: below 1e11 it is seconds (to the year 5138), below 1e14 milliseconds, below 1e17
    microseconds, else nanoseconds. A date without a zone is UTC. `01/02/2020` is refused: it is January here and February there.
    """
    if kind.is_numeric():
        return _from_number(column.cast(pl.Float64) if kind.is_float() else column.cast(pl.Int64, strict=False))
    if kind in (pl.Date, pl.Datetime):
        return column.dt.epoch("us")
    text = column.cast(pl.String, strict=False).str.strip_chars()
    number = text.cast(pl.Float64, strict=False)
    # 2020/01/31T12:00:00Z and 2020-01-31 12:00:00 +0000 say the same.
    date = (
        text.str.replace(r"^(\d{4})/(\d{1,2})/(\d{1,2})", "$1-$2-$3")
        .str.replace(r"(\d)[Tt](\d)", "$1 $2")
        .str.replace(r"(\d) ?(?:Z|z|UTC)$", "$1+0000")
        .str.replace(r"(:\d\d(?:\.\d+)?) ?([+-]\d\d):?(\d\d)$", "$1$2$3")
    )
    dates = [date.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False) for form in _ZONED]
    dates += [date.str.to_datetime(form, time_unit="us", strict=False).dt.replace_time_zone("UTC") for form in _NAIVE]
    dates += [date.str.to_date(form, strict=False).cast(pl.Datetime("us")).dt.replace_time_zone("UTC") for form in _DATES]
    return pl.coalesce(_from_number(number), *(found.dt.epoch("us") for found in dates))


def parse(text: str) -> int | None:
    """Return one time as microseconds; None when it cannot be read."""
    found: int | None = pl.select(microseconds(pl.lit(text), pl.String())).item()
    return found


def shown(time: int) -> str:
    """Return a time for messages."""
    return datetime.fromtimestamp(time / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _from_number(number: pl.Expr) -> pl.Expr:
    size = number.abs()
    scaled = (
        pl.when(size < 1e11).then(number * 1_000_000)
        .when(size < 1e14).then(number * 1_000)
        .when(size < 1e17).then(number)
        .otherwise(number / 1_000)
    )  # fmt: skip
    return scaled.cast(pl.Int64, strict=False)
