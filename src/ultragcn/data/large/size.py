"""How large a log is, by the headers of its files, and whether it is read on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ultragcn.data import kinds
from ultragcn.data.folders import Files, Part
from ultragcn.data.options import DataOptions
from ultragcn.errors import DataError, UsageError, unknown_name
from ultragcn.lazily import pl
from ultragcn.machine import free_memory

ON_DISK = ("auto", "yes", "no")
BYTES_IN_MEMORY, BYTES_OF_TIME_IN_MEMORY = 90, 50
"""Memory that a row takes at most while it is read and split in memory, and what a time takes besides."""
BYTES_ON_DISK, BYTES_OF_TIME_ON_DISK = 34, 24
"""Space that a row takes at most while it is read and split on the disk and turned round for training, and what a time takes besides."""
_SHARE = 0.5
"""Of the free memory, what reading may take: training comes after it."""


def needed_on_disk(num_rows: int, options: DataOptions) -> int:
    """Return the bytes of disk that a log of so many rows takes at most."""
    return num_rows * (BYTES_ON_DISK + (BYTES_OF_TIME_ON_DISK if options.needs_times else 0))


def rows_to_read_on_disk(files: Files, options: DataOptions, on_disk: str) -> int | None:
    """Return the rows of a log that is to be read on the disk; None for one that is to be read in memory.

    Parameters
    ----------
    files : Files
    options : DataOptions
    on_disk : {"auto", "yes", "no"}
        `auto`: where reading in memory would take more than half of the memory that is free, and reading on the disk is possible.

    Raises
    ------
    UsageError
        `on_disk` is yes, and it is not possible; or it is none of the three.
    """
    if on_disk not in ON_DISK:
        raise unknown_name("choice of on_disk", on_disk, ON_DISK)
    if on_disk == "no":
        return None
    why = _why_not(files, options)
    if why:
        if on_disk == "yes":
            raise UsageError(f"{files.name} cannot be read on disk: {why}")
        return None
    num_rows = rows_in(files.train)
    if on_disk == "yes":
        return num_rows
    return num_rows if is_large(num_rows, options) else None


def is_large(num_rows: int, options: DataOptions) -> bool:
    """Return whether reading so many rows in memory would take more than half of the memory that is free."""
    free = free_memory()
    needed = num_rows * (BYTES_IN_MEMORY + (BYTES_OF_TIME_IN_MEMORY if options.needs_times else 0))
    return free is not None and needed > _SHARE * free


def rows_in(parts: Sequence[Part]) -> int:
    """Return the rows of Parquet files, by their headers."""
    count = 0
    for part in parts:
        try:
            count += int(pl.scan_parquet(part.path, glob=False).select(pl.len()).collect().item())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"cannot read {part.name}: it is damaged or cut short, or not Parquet; fetch or write it again") from error
    return count


def _why_not(files: Files, options: DataOptions) -> str:
    """Return why a log cannot be read on the disk, and what to do; "" if it can."""
    if files.test is not None:
        return "train and test are given as files of their own; give one log, and a split"
    if not _are_parts(files.train):
        return "the data are in memory already; leave out on_disk"
    other = next((part for part in files.train if not _is_parquet(part)), None)
    if other is not None:
        return (
            f"{other.name} is not a Parquet file; convert it piece by piece and give the new file: "
            f"python -c \"import polars; polars.scan_csv('{other.name}').sink_parquet('log.parquet')\""
        )
    return (
        "net adds up the rows of each pair in memory, which a log on disk does not allow; add up the rows before, or drop net"
        if options.net
        else ""
    )


def _are_parts(source: Any) -> bool:
    return isinstance(source, list) and all(isinstance(part, Part) for part in source)


def _is_parquet(part: Part) -> bool:
    try:
        with open(part.path, "rb") as file:
            return kinds.kind_of(file.read(1 << 10)) == kinds.PARQUET
    except OSError:
        return False
