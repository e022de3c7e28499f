"""Parquet: a row an item or a user, with the columns `item_id` or `user_id`, `title`, `bias` and `vector`, of which each has its length."""

from pathlib import Path

import polars as pl

from ultragcn.serving.exports.sides import Side


def write(side: Side, folder: Path) -> None:
    """Write the rows; the vectors are a list of float32 of fixed size."""
    try:
        side.frame(f"{side.what}_id").write_parquet(folder / f"{side.name}.parquet")
    except pl.exceptions.PolarsError as error:  # of a disk that is full
        raise OSError(str(error)) from error


def read(side: Side, folder: Path) -> Side:
    """Return the side that `write` wrote; `side` says which one."""
    frame = pl.read_parquet(folder / f"{side.name}.parquet", glob=False)
    return side.of_frame(frame.cast(dict(side.schema(f"{side.what}_id"))), f"{side.what}_id")  # type: ignore[arg-type]
