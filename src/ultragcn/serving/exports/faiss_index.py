"""FAISS: `items.faiss`, an exact index by inner product whose row n is the n-th id of `item_ids.npy` or `item_ids.txt`."""

import warnings
from pathlib import Path
from typing import Any

from ultragcn.errors import MissingDependencyError
from ultragcn.serving.exports import arrays
from ultragcn.serving.exports.sides import Side


def write(side: Side, folder: Path) -> None:
    """Write the index and the ids of its rows."""
    faiss = _faiss()
    index = faiss.IndexFlatIP(side.dimensions)
    index.add(side.vectors)
    try:
        faiss.write_index(index, str(folder / f"{side.name}.faiss"))
    except RuntimeError as error:  # of a disk that is full
        raise OSError(f"FAISS stopped in {side.name}.faiss") from error
    arrays.write_ids(side, folder)


def read(side: Side, folder: Path) -> Side:
    """Return the side that `write` wrote; `side` says which one."""
    index = _faiss().read_index(str(folder / f"{side.name}.faiss"))
    return Side(side.name, arrays.read_ids(side.what, folder), index.reconstruct_n(0, index.ntotal))


def refuse(side: Side) -> None:
    """Raise `MissingDependencyError` without FAISS, `UsageError` for ids that cannot stand beside the index."""
    _faiss()
    arrays.refuse(side)


def _faiss() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of how the package was made
            import faiss
    except ImportError as error:
        raise MissingDependencyError(
            "--to faiss needs FAISS, which is not installed; in the repository, run: pip install '.[faiss]'"
        ) from error
    return faiss
