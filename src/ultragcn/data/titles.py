"""Titles: what to call an item when showing it to people."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ultragcn.data.ids import IdMap
from ultragcn.data.options import DataOptions
from ultragcn.data.tables import ROW, open_table, require_file
from ultragcn.errors import DataError, counted, warn


def read_titles(source: Any, item_ids: IdMap, options: DataOptions) -> np.ndarray:
    """Return the titles of `item_ids`, (I,) strings, "" where there is none.

    Parameters
    ----------
    source : str, Path or frame
        A table with a column of item ids and one of titles, found by their names; without header, the first two. Of an item that
        comes twice the first title counts.
    item_ids : IdMap
    options : DataOptions
        `title_column`, and `item_column` where the table has one of that name.

    Raises
    ------
    DataError
        What cannot be read, with its row; or none of the items is there.

    Warns
    -----
    DataWarning
        Items without a title, counted.
    """
    if isinstance(source, str | Path):
        require_file(Path(source), "a file of titles")
    table = open_table(source, options, "one item and its title a row")
    if table.has_header:
        item = table.find("item", options.item_column if options.item_column in table.names else "")
        title = table.find("title", options.title_column)
    else:
        item, title = table.names[0], table.find("title", options.title_column or "2")
    if item == title:
        raise DataError(f"{table.name}: column {item} cannot hold both the items and their titles; give title_column")
    ids = pl.DataFrame({"item": pl.Series(item_ids.ids.tolist(), dtype=pl.String if item_ids.are_strings else pl.Int64)})
    listed = table.rows.select(
        pl.col(ROW),
        # As text first, so that only 7, not 007, is found where the ids are integers.
        pl.col(item).cast(pl.String).alias("item"),
        pl.col(title).cast(pl.String).str.replace_all(r"\s+", " ").str.strip_chars().alias("title"),
    )
    found = table.collect(listed)
    if found[ROW].null_count():
        raise table.fault()
    listed_items = found.drop_nulls("item").height
    found = found.drop_nulls().unique("item", keep="first", maintain_order=True)
    if listed_items and not found.height:
        raise DataError(f"{table.name}: no row has a title in column {title}; give title_column")
    titles = ids.select(pl.col("item").cast(pl.String)).join(found, on="item", how="left", maintain_order="left")["title"]
    missing = titles.null_count()
    if missing == len(titles):
        sample = ", ".join(item_ids.shown(row) for row in range(min(3, len(item_ids))))
        raise DataError(f"{table.name}: none of {counted(missing, 'item')} is in column {item} (ids such as {sample}); give item_column")
    if missing:
        first = item_ids.shown(int(titles.is_null().arg_max()))  # type: ignore[arg-type]
        verb = "has" if missing == 1 else "have"
        warn(f"{table.name}: {missing} of {len(titles)} items {verb} no title (first: item {first})")
    return np.array(titles.fill_null("").to_list(), dtype=object)
