"""One side of an export: ids and the vectors beside them.

Letters: N rows (users or items), D dimensions.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from ultragcn.errors import UltraGCNError

SIDES = ("items", "users")
_NUMBERS = 2**21
"""Numbers of vectors whose texts are in memory at a time."""


@dataclass(frozen=True, eq=False)
class Side:
    """The users or the items of a model, with their vectors.

    Attributes
    ----------
    name : {"items", "users"}
    ids : (N,) int64, or object with str
    vectors : (N, D) float32
    titles : (N,) object with str or None, optional
        None where an item has no title.
    bias : (N,) float32, optional
        What is added to the dot product.
    """

    name: str
    ids: np.ndarray
    vectors: np.ndarray
    titles: np.ndarray | None = None
    bias: np.ndarray | None = None

    @property
    def what(self) -> str:
        """What one row is: `item` or `user`."""
        return self.name[:-1]

    @property
    def dimensions(self) -> int:
        """D."""
        return int(self.vectors.shape[1])

    @property
    def are_strings(self) -> bool:
        """Whether the ids are strings (else integers)."""
        return self.ids.dtype == object

    def frame(self, id_column: str = "id") -> pl.DataFrame:
        """Return the rows as a frame: ids, titles and biases where there are such, and vectors."""
        columns = {id_column: text_series(self.ids) if self.are_strings else pl.Series(self.ids)}
        if self.titles is not None:
            columns["title"] = text_series(self.titles)
        if self.bias is not None:
            columns["bias"] = pl.Series(self.bias)
        return pl.DataFrame(columns | {"vector": pl.Series(self.vectors, dtype=pl.Array(pl.Float32, self.dimensions))})

    def schema(self, id_column: str = "id") -> dict[str, pl.DataType]:
        """Return the names and types of the columns of `frame`."""
        titles, bias = (None if column is None else column[:0] for column in (self.titles, self.bias))
        return dict(Side(self.name, self.ids[:0], self.vectors[:0], titles, bias).frame(id_column).schema)

    def of_frame(self, frame: pl.DataFrame, id_column: str = "id") -> "Side":
        """Return the side that a frame holds whose columns are those of `frame` of this side."""
        ids = frame[id_column]
        return Side(
            self.name, objects(ids) if self.are_strings else ids.to_numpy(), frame["vector"].to_numpy(),
            None if self.titles is None else objects(frame["title"]), None if self.bias is None else frame["bias"].to_numpy(),
        )  # fmt: skip

    @property
    def step(self) -> int:
        """How many rows are turned into text at a time."""
        return max(1, _NUMBERS // self.dimensions)

    def blocks(self, id_column: str = "id") -> Iterator[pl.DataFrame]:
        """Yield the frame of the side a few rows at a time."""
        frame = self.frame(id_column)
        yield from (frame[start : start + self.step] for start in range(0, len(frame), self.step))


def text_series(texts: np.ndarray) -> pl.Series:
    """Return texts (N,) as a column; None is a text that is missing."""
    return pl.Series(texts.tolist(), dtype=pl.String)


def objects(column: pl.Series) -> np.ndarray:
    """Return a column of texts as an array (N,) of str or None."""
    found = np.empty(len(column), dtype=object)
    found[:] = column.to_list()
    return found


def numbers_in_text(vectors: pl.Series, separator: str) -> pl.Series:
    """Return vectors (N, D) as texts; each number has the fewest digits that lead back to the same float32."""
    width = int(vectors.dtype.shape[0])  # type: ignore[attr-defined]
    return vectors.cast(pl.Array(pl.String, width)).arr.join(separator)


def numbers_of_text(texts: pl.Series, separator: str, dimensions: int) -> np.ndarray:
    """Return the vectors (N, D) float32 that stand in texts."""
    numbers = texts.str.split(separator).list.eval(pl.element().cast(pl.Float32))
    return numbers.list.to_array(dimensions).to_numpy()


def lines_in_blocks(lines: Iterable[bytes], step: int) -> Iterator[list[bytes]]:
    """Yield lines, such as those of a file, so many at a time."""
    left = iter(lines)
    while block := list(islice(left, step)):
        yield block


def read_back(read: Callable[[Side, Path], Side], written: Side, folder: Path, place: Path) -> Side:
    """Return what `read` finds in the folder, to which a side was written; raise `UltraGCNError` where it is not equal, to the last bit.

    `place` is what the folder is to become, for the message.
    """
    try:
        found = read(written, folder)
    except (ValueError, LookupError, TypeError, RuntimeError, pl.exceptions.PolarsError) as error:
        if isinstance(error, UltraGCNError):
            raise
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise UltraGCNError(
            f"cannot write {place}: the {written.name} do not read back ({why}), so nothing was kept; is the disk full?"
        ) from error

    def same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
        if one is None or other is None:
            return one is other
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        return one.tolist() == other.tolist() if one.dtype == object else one.tobytes() == other.tobytes()

    for part in ("ids", "vectors", "titles", "bias"):
        if not same(getattr(written, part), getattr(found, part)):
            raise UltraGCNError(
                f"cannot write {place}: the {part} of the {written.name} do not read back as they were written, so nothing was kept; try "
                "again, on another disk or in another format"
            )
    return found
