"""NumPy files: `items.npy` with the vectors, `item_ids.npy` or `item_ids.txt` with the ids in the same order, `item_bias.npy`."""

from pathlib import Path

import numpy as np

from ultragcn.errors import UsageError
from ultragcn.serving.exports.sides import Side

_MOST_BYTES = 2**28
"""Of texts of one width. Where they take more, a few ids are far longer than the others, or there are many ids."""


def write(side: Side, folder: Path) -> None:
    """Write vectors, ids and biases, each into a file of its own."""
    np.save(folder / f"{side.name}.npy", side.vectors, allow_pickle=False)
    write_ids(side, folder)
    if side.bias is not None:
        np.save(folder / f"{side.what}_bias.npy", side.bias, allow_pickle=False)


def read(side: Side, folder: Path) -> Side:
    """Return the side that `write` wrote; `side` says which one."""
    vectors = np.load(folder / f"{side.name}.npy", allow_pickle=False)
    bias = None if side.bias is None else np.load(folder / f"{side.what}_bias.npy", allow_pickle=False)
    return Side(side.name, read_ids(side.what, folder), vectors, bias=bias)


def refuse(side: Side) -> None:
    """Raise `UsageError` for ids that fit neither into texts of one width nor on a line each."""
    if side.are_strings and not _fit_one_width(side.ids):
        for one in side.ids:
            if len(one.splitlines()) != 1 or one.splitlines()[0] != one:
                raise UsageError(
                    f"the {side.what} ids are too long or too odd for an array of texts of one width, and {one!r} does not fit on a line; "
                    "give --to parquet"
                )


def write_ids(side: Side, folder: Path) -> None:
    """Write ids: as an array of int64, as an array of texts of one width, or, where that would be large, one a line."""
    if not side.are_strings:
        np.save(folder / f"{side.what}_ids.npy", side.ids, allow_pickle=False)
    elif _fit_one_width(side.ids):
        np.save(folder / f"{side.what}_ids.npy", np.array(side.ids.tolist(), dtype=np.str_), allow_pickle=False)
    else:
        with open(folder / f"{side.what}_ids.txt", "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{one}\n" for one in side.ids)


def read_ids(what: str, folder: Path) -> np.ndarray:
    """Return the ids that `write_ids` wrote."""
    if (folder / f"{what}_ids.npy").exists():
        ids: np.ndarray = np.load(folder / f"{what}_ids.npy", allow_pickle=False)
        found: np.ndarray = ids.astype(object) if ids.dtype.kind == "U" else ids
        return found
    with open(folder / f"{what}_ids.txt", encoding="utf-8", newline="\n") as file:
        lines = [line.removesuffix("\n") for line in file]
    found = np.empty(len(lines), dtype=object)
    found[:] = lines
    return found


def _fit_one_width(ids: np.ndarray) -> bool:
    """Whether texts of one width hold the ids: such texts lose null characters at their ends, and each is as long as the longest."""
    longest = max(map(len, ids), default=0)
    return 4 * longest * len(ids) <= _MOST_BYTES and not any(one.endswith("\0") for one in ids)
