"""JSON lines for vector stores: `items.ndjson`, an object a line.

`ndjson`          {"id", "title", "bias", "vector"}: what Milvus inserts under its usual names, and what anything else can read
`qdrant`          a point a line: {"id", "vector", "payload": {"item_id", "title", "bias"}}
`elasticsearch`   the body of the bulk API: a line with the action and the id, then a line with the document
"""

import uuid
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import polars as pl

from ultragcn.errors import UsageError
from ultragcn.serving.exports.sides import Side, lines_in_blocks

NAMESPACE = uuid.NAMESPACE_OID
"""The namespace of the UUIDs (version 5) that stand for ids which are not whole numbers from 0."""
_MOST_ID_BYTES = 512
"""Of an id in Elasticsearch."""
_MOST_DIMENSIONS = {"elasticsearch": 4096, "qdrant": 65_535, "ndjson": None}


class _Shape(NamedTuple):
    """What a store wants the lines to be."""

    lines: Callable[[Side, pl.DataFrame], str]
    """From a block of rows, with the columns of `Side.frame`, to its lines."""
    per_row: int
    """Lines a row."""
    rows: Callable[[Side, list[bytes]], pl.DataFrame]
    """From such lines to the rows."""


def write(side: Side, folder: Path, store: str) -> None:
    """Write the lines that `store` takes."""
    with open(_file(side, folder), "wb") as file:
        for block in side.blocks():
            file.write(_SHAPES[store].lines(side, block).encode())


def read(side: Side, folder: Path, store: str) -> Side:
    """Return the side that `write` wrote; `side` says which one."""
    shape = _SHAPES[store]
    with open(_file(side, folder), "rb") as file:
        found = [shape.rows(side, lines) for lines in lines_in_blocks(file, shape.per_row * side.step)]
    return side.of_frame(pl.concat(found).select(list(side.schema())))


def refuse(side: Side, store: str) -> None:
    """Raise `UsageError` for what `store` does not take."""
    most = _MOST_DIMENSIONS[store]
    if most is not None and side.dimensions > most:
        raise UsageError(f"a vector of {store} has at most {most} dimensions, not {side.dimensions}; lower --extended")
    if store == "elasticsearch" and side.are_strings:
        for one in side.ids:
            if not 0 < len(one.encode()) <= _MOST_ID_BYTES:
                raise UsageError(f"an id of Elasticsearch has 1 to {_MOST_ID_BYTES} bytes, which {one!r} has not; give --to ndjson")


def point_ids(side: Side, ids: pl.Series) -> pl.Series:
    """Return what Qdrant knows the rows by: whole numbers from 0 stay; anything else gets a UUID, which is always the same for an id."""
    if not side.are_strings and bool((side.ids >= 0).all()):
        return ids
    return pl.Series([str(uuid.uuid5(NAMESPACE, str(one))) for one in ids], dtype=pl.String)


def _file(side: Side, folder: Path) -> Path:
    return folder / f"{side.name}.ndjson"


def _read(lines: list[bytes], schema: dict[str, pl.DataType]) -> pl.DataFrame:
    return pl.read_ndjson(BytesIO(b"".join(lines)), schema=schema)


def _points(side: Side, block: pl.DataFrame) -> str:
    payload = [pl.col("id").alias(f"{side.what}_id"), *(name for name in block.columns if name not in ("id", "vector"))]
    return block.select(point_ids(side, block["id"]).alias("id"), "vector", payload=pl.struct(payload)).write_ndjson()


def _rows_of_points(side: Side, lines: list[bytes]) -> pl.DataFrame:
    schema = side.schema()
    payload = {f"{side.what}_id": schema["id"]} | {name: kind for name, kind in schema.items() if name not in ("id", "vector")}
    points = _read(lines, {"id": _id_kind(side), "vector": schema["vector"], "payload": pl.Struct(payload)})
    rows = points.drop("id").unnest("payload").rename({f"{side.what}_id": "id"})
    if not points["id"].equals(point_ids(side, rows["id"])):
        return rows.clear()  # which is not what was written
    return rows


def _id_kind(side: Side) -> pl.DataType:
    return pl.Int64() if not side.are_strings and bool((side.ids >= 0).all()) else pl.String()


def _actions(side: Side, block: pl.DataFrame) -> str:
    index = block.select(index=pl.struct(_id=pl.col("id").cast(pl.String))).write_ndjson().split("\n")
    documents = block.rename({"id": f"{side.what}_id"}).write_ndjson().split("\n")
    return "".join(f"{action}\n{document}\n" for action, document in zip(index[:-1], documents[:-1], strict=True))


def _rows_of_actions(side: Side, lines: list[bytes]) -> pl.DataFrame:
    actions = _read(lines[::2], {"index": pl.Struct({"_id": pl.String})}).unnest("index")["_id"]
    rows = _read(lines[1::2], side.schema(f"{side.what}_id")).rename({f"{side.what}_id": "id"})
    return rows if actions.equals(rows["id"].cast(pl.String)) else rows.clear()  # which is not what was written


_SHAPES = {
    "ndjson": _Shape(lambda side, block: block.write_ndjson(), 1, lambda side, lines: _read(lines, side.schema())),
    "qdrant": _Shape(_points, 1, _rows_of_points),
    "elasticsearch": _Shape(_actions, 2, _rows_of_actions),
}
