"""Titles: what to call an item when showing it to people."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from ultragcn.data import columns, json_lines, names
from ultragcn.data.containers import ready, require_file
from ultragcn.data.folders import Part
from ultragcn.data.ids import IdMap
from ultragcn.data.options import DataOptions
from ultragcn.data.tables import Table, open_table
from ultragcn.data.text import ROW
from ultragcn.errors import DataError, counted, warn
from ultragcn.lazily import pl
from ultragcn.machine import refuse_lost_threads

_MOST_COLUMNS = 40  # of a table of titles that are looked at
_SAMPLE = 1000
_LETTERS = r"[^\W\d_]"
_NO_TITLE = r"^\s*(https?://|\d{1,4}[-./ ]\w{1,3}[-./ ]\d{1,4}\b)"


def read_titles(source: Any, item_ids: IdMap, options: DataOptions) -> np.ndarray:
    """Return the titles of `item_ids`, (I,) strings, "" where there is none.

    Parameters
    ----------
    source : str, Path or frame
        A table with a column of item ids and one of titles, found by their names or by what stands in them. It has a separator and an
        encoding of its own: those of the log say nothing about it. Of an item that comes twice the first title counts.
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
    refuse_lost_threads()
    with contextlib.ExitStack() as stack:
        return _titles_in(_open(source, options, stack), item_ids, options)


def _open(source: Any, options: DataOptions, stack: contextlib.ExitStack) -> Table:
    own, expected = DataOptions(header=options.header), "a row with an item and its title"
    if isinstance(source, Part):
        path, name = source.path, source.name
    elif isinstance(source, (str, Path)):
        path, name = Path(source), str(source)
    else:
        return open_table(source, own, expected)
    require_file(path, "a file of titles")
    found = stack.enter_context(ready(path, name, guess=options.encoding or "auto"))
    return open_table(stack.enter_context(json_lines.as_lines(found)), own, expected)


def _titles_in(table: Table, item_ids: IdMap, options: DataOptions) -> np.ndarray:
    cells = _cells(table)
    item = _item_column(table, cells, item_ids, options)
    title = _title_column(table, cells, item, options)
    if item == title:
        raise DataError(f"{table.name}: column {item} cannot hold both the items and their titles; give title_column")
    # As text first, so that only 7, not 007, is found where the ids are integers.
    found = cells.select(
        pl.col(item).cast(pl.String, strict=False).alias("item"),
        pl.col(title).cast(pl.String, strict=False).str.replace_all(r"\s+", " ").str.strip_chars().alias("title"),
    )
    listed_items = found.drop_nulls("item").height
    found = found.drop_nulls().filter(pl.col("title") != "")
    if listed_items and not found.height:
        raise DataError(f"{table.name}: no row has a title in column {title}; give title_column")
    titles = _joined(found, item_ids, plainly=False)
    if titles.null_count() == len(titles):
        titles = _joined(found, item_ids, plainly=True)
        if titles.null_count() < len(titles):
            warn(f"{table.name}: its ids differ from the ids of the log by blanks or .0, so they were compared without these")
    return _checked(titles, table, item, item_ids)


def _checked(titles: pl.Series, table: Table, item: str, item_ids: IdMap) -> np.ndarray:
    missing = titles.null_count()
    if missing == len(titles):
        sample = ", ".join(item_ids.shown(row) for row in range(min(3, len(item_ids))))
        raise DataError(f"{table.name}: none of {counted(missing, 'item')} is in column {item} (ids such as {sample}); give item_column")
    if missing:
        first = item_ids.shown(int(titles.is_null().arg_max()))  # type: ignore[arg-type]
        verb = "has" if missing == 1 else "have"
        warn(f"{table.name}: {missing} of {len(titles)} items {verb} no title (first: item {first})")
    return np.array(titles.fill_null("").to_list(), dtype=object)


def _cells(table: Table, most: int = _MOST_COLUMNS) -> pl.DataFrame:
    """Return the first columns of a table of items. Where lines have more cells than the first, a title has the separator in it."""
    looked_at = table.names[:most]
    try:
        found = table.collect(table.plan(looked_at))
        if found[ROW].null_count():
            raise table.fault()
    except DataError as error:
        for other in (*table.calmer(), *table.last_holds_the_rest()):
            try:
                found = other.collect(other.plan(looked_at))
            except DataError:
                continue
            if not found[ROW].null_count():
                return found
        raise error
    return found


def _item_column(table: Table, cells: pl.DataFrame, item_ids: IdMap, options: DataOptions) -> str:
    """Return the column in which the items stand: the one of such a name, or else that in which most of them are."""
    if options.item_column and options.item_column in table.names:
        return options.item_column
    by_name = names.known("item", table.names) if table.has_header else None
    if by_name is not None:
        return by_name
    known = pl.Series(_texts(item_ids))
    found = {name: _shared(cells[name], known) for name in cells.columns if name != ROW}
    by_place = (
        next((name for name in table.names if names.plain(name) in names.ITEM_OF_TITLES), None) if table.has_header else table.names[0]
    )
    if by_place is not None and (found.get(by_place) or not any(found.values())):
        return by_place
    best = max(found, key=lambda name: found[name])
    if not found[best]:
        raise columns.missing_column(table, "item")
    return best


def _shared(column: pl.Series, known: pl.Series) -> int:
    """Return how many of the known ids stand in a column."""
    return int(_plainly(column.cast(pl.String, strict=False)).unique().is_in(_plainly(known).implode()).sum())


def _title_column(table: Table, cells: pl.DataFrame, item: str, options: DataOptions) -> str:
    if options.title_column:
        found = columns.find(table, "title", options.title_column)
        assert found is not None
        return found
    free = [name for name in cells.columns if name not in (ROW, item)]
    by_name = names.known("title", free) if table.has_header else None
    if by_name is None:
        by_name = next((name for name in free if _has_words(cells[name])), None)
    if by_name is None:
        raise columns.missing_column(table, "title")
    return by_name


def _has_words(column: pl.Series) -> bool:
    """Return whether most cells of a column are made of words: not numbers, dates or addresses."""
    sample = column.drop_nulls().head(_SAMPLE)
    if not len(sample):
        return False
    texts = sample.cast(pl.String, strict=False)
    words = texts.str.contains(_LETTERS) & ~texts.str.contains(_NO_TITLE)
    return bool(words.fill_null(False).mean() > 0.5)  # type: ignore[operator]


def _texts(item_ids: IdMap) -> list[str]:
    return [str(one) for one in item_ids.ids.tolist()]


def _plainly(column: pl.Series) -> pl.Series:
    return column.str.strip_chars().str.replace(r"\.0+$", "")


def _joined(found: pl.DataFrame, item_ids: IdMap, plainly: bool) -> pl.Series:
    """Return the title of each item, null where there is none."""
    ids = pl.DataFrame({"item": pl.Series(_texts(item_ids), dtype=pl.String)})
    if plainly:
        found, ids = (frame.with_columns(_plainly(frame["item"]).alias("item")) for frame in (found, ids))
    listed = found.unique("item", keep="first", maintain_order=True)
    return ids.join(listed, on="item", how="left", maintain_order="left")["title"]
