"""The text format of word2vec: a line with the number of rows and of dimensions, then a line a row, with spaces between id and numbers."""

from pathlib import Path

import numpy as np
import polars as pl

from ultragcn.errors import UsageError
from ultragcn.serving.exports.sides import Side, lines_in_blocks, numbers_in_text, numbers_of_text, objects


def write(side: Side, folder: Path) -> None:
    """Write the lines."""
    with open(folder / f"{side.name}.txt", "wb") as file:
        file.write(f"{len(side.ids)} {side.dimensions}\n".encode())
        for block in side.blocks():
            lines = block.select(pl.concat_str([pl.col("id").cast(pl.String), numbers_in_text(block["vector"], " ")], separator=" "))
            file.write(lines.write_csv(include_header=False, quote_style="never").encode())


def read(side: Side, folder: Path) -> Side:
    """Return the side that `write` wrote; `side` says which one."""
    ids, vectors = [], []
    with open(folder / f"{side.name}.txt", "rb") as file:
        _, dimensions = map(int, file.readline().split())
        for lines in lines_in_blocks(file, side.step):
            texts = pl.Series([line.decode().removesuffix("\n") for line in lines])
            cells = texts.str.splitn(" ", 2).struct.unnest()
            ids.append(cells["field_0"])
            vectors.append(numbers_of_text(cells["field_1"], " ", dimensions))
    named = pl.concat(ids)
    return Side(side.name, objects(named) if side.are_strings else named.cast(pl.Int64).to_numpy(), np.concatenate(vectors))


def refuse(side: Side) -> None:
    """Raise `UsageError` for ids with white space, which is where a line is cut, and for empty ones."""
    if side.are_strings:
        for one in side.ids:
            if len(one.split()) != 1 or one.split()[0] != one:
                raise UsageError(
                    f"word2vec text has spaces between its columns, so it cannot hold the {side.what} id {one!r}; give --to parquet, or "
                    "--to ndjson"
                )
