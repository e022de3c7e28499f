r"""SQL for PostgreSQL with pgvector: `items.sql` makes the table `item_vectors` and fills it by COPY.

In the text of COPY a tab ends a column, a line break ends a row and \N is null. Inside of a text each of them has a backslash before it.
"""

import re
from itertools import takewhile
from pathlib import Path

import polars as pl

from ultragcn.errors import UsageError
from ultragcn.serving.exports.sides import Side, lines_in_blocks, numbers_in_text, numbers_of_text

_ESCAPES = {"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_LETTERS = {escaped[1]: plain for plain, escaped in _ESCAPES.items()}
_NULL, _END = "\\N", b"\\.\n"
_MOST_DIMENSIONS = 16_000
"""Of a column of type vector. An index takes 2,000."""
_KINDS = {"title": "text", "bias": "real"}


def write(side: Side, folder: Path) -> None:
    """Write the commands and the rows."""
    names = list(side.schema())
    id_kind = "text" if side.are_strings else "bigint"
    kinds = _KINDS | {"id": f"{id_kind} PRIMARY KEY", "vector": f"vector({side.dimensions}) NOT NULL"}
    table = f"{side.what}_vectors"
    columns = ",\n".join(f"    {name} {kinds[name]}" for name in names)
    with open(folder / f"{side.name}.sql", "wb") as file:
        file.write(
            f"-- psql -v ON_ERROR_STOP=1 -f {side.name}.sql\n"
            f"-- The score is the inner product. For an index: CREATE INDEX ON {table} USING hnsw (vector vector_ip_ops);\n"
            f"SET client_encoding = 'UTF8';\nCREATE EXTENSION IF NOT EXISTS vector;\nBEGIN;\nCREATE TABLE {table} (\n{columns}\n);\n"
            f"COPY {table} ({', '.join(names)}) FROM stdin;\n".encode()
        )
        for block in side.blocks():
            vectors = pl.concat_str([pl.lit("["), numbers_in_text(block["vector"], ","), pl.lit("]")])
            cells = [vectors if name == "vector" else _escaped(name) if block[name].dtype == pl.String else pl.col(name) for name in names]
            rows = block.select(cell.cast(pl.String).alias(name) for name, cell in zip(names, cells, strict=True))
            text = rows.write_csv(include_header=False, separator="\t", quote_style="never", null_value=_NULL)
            file.write(text.encode())
        file.write(_END + b"COMMIT;\n")


def read(side: Side, folder: Path) -> Side:
    """Return the side that `write` wrote; `side` says which one."""
    names = list(side.schema())
    with open(folder / f"{side.name}.sql", "rb") as file:
        for line in file:
            if line.startswith(b"COPY "):
                break
        rows = takewhile(lambda line: line != _END, file)
        found = [_block_of(side, names, lines) for lines in lines_in_blocks(rows, side.step)]
    return side.of_frame(pl.concat(found))


def refuse(side: Side) -> None:
    """Raise `UsageError` for what PostgreSQL does not take."""
    if side.dimensions > _MOST_DIMENSIONS:
        raise UsageError(f"a column of pgvector holds {_MOST_DIMENSIONS} dimensions, not {side.dimensions}; lower --extended")
    for texts, what in ((side.ids, "id"), (side.titles, "title")):
        for one in texts if texts is not None and texts.dtype == object else ():
            if one is not None and "\0" in one:
                raise UsageError(f"PostgreSQL takes no null character, such as in the {side.what} {what} {one!r}; give --to parquet")


def _escaped(name: str) -> pl.Expr:
    column = pl.col(name)
    for plain, escaped in _ESCAPES.items():  # the backslash comes first
        column = column.str.replace_all(plain, escaped, literal=True)
    return column


def _block_of(side: Side, names: list[str], lines: list[bytes]) -> pl.DataFrame:
    rows = [line.decode().removesuffix("\n").split("\t") for line in lines]
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    frame: dict[str, pl.Series] = {}
    for name, kind in side.schema().items():
        cells = pl.Series(columns[name], dtype=pl.String)
        if name == "vector":
            frame[name] = pl.Series(numbers_of_text(cells.str.strip_chars("[]"), ",", side.dimensions), dtype=kind)
        elif kind == pl.String:
            plain = [None if cell == _NULL else re.sub(r"\\(.)", lambda mark: _LETTERS[mark[1]], cell) for cell in columns[name]]
            frame[name] = pl.Series(plain, dtype=pl.String)
        else:
            frame[name] = cells.cast(kind)
    return pl.DataFrame(frame)
