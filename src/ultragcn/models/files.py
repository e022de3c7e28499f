"""The file of a model: arrays, ids and hyper-parameters in one safetensors file; docs/model-format.md describes it byte by byte.

A file may have been made by anybody. `read_model` believes nothing in it: it checks names, types, shapes and values of all that is there
before compiled code walks through an array.

Letters: U users, I items, D dimensions of an embedding, N pairs, S neighbours of an item, K clusters of items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from ultragcn.config import HyperParameters
from ultragcn.data.ids import IdMap
from ultragcn.data.interactions import Interactions, ItemTotals
from ultragcn.data.items_table import KINDS, ItemsTable, kind_names
from ultragcn.data.options import DataOptions
from ultragcn.data.reading import reading_of
from ultragcn.errors import UsageError
from ultragcn.forms import Optional, misfit
from ultragcn.kernels.arguments import Frozen
from ultragcn.lazily import pl
from ultragcn.loss.weights import ItemNeighbors
from ultragcn.machine import ask_for
from ultragcn.storage import read_arrays, read_checksum, read_form

MODEL_FILE = "model.safetensors"
ITEMS_TABLE = "items_table"
"""What the columns of the items table are called in the file of a model: items_table.0 and so on; their names and kinds are JSON."""

_AMOUNT = (float, None)
_STATE: dict[str, Any] = {
    "seed": int, "history": [{str: float}], "best_epoch": int, "stopped": {"patience", "epochs", "interrupted"},
    "train_seconds": float, "compile_seconds": float, "l2": _AMOUNT, "item_graph_weight": _AMOUNT, "item_trend_weight": _AMOUNT,
    "item_trend_half_life": _AMOUNT,
}  # fmt: skip
"""The form (`forms`) of what models record."""
READING_OF_LOG = "reading"
WITHOUT_HISTORY, ITEM_GRAPH, FOLD_IN = "without_history", "item_graph", "fold_in"
_TEXT, _WHOLE = "text", "whole"
_MORE: dict[str, Any] = {
    WITHOUT_HISTORY: {"user_ids": {_TEXT, _WHOLE}}, ITEM_GRAPH: {"weight": float, "unit": float},
    FOLD_IN: {"l2_user": float, "l2_user_scale": float},
}  # fmt: skip
"""The form of what a file may have besides."""
_FROZEN = {"weight": "2I", "mass": "2K", "centre": "KD", "spread": "DD", "share": "K", "grams": "2DD", "sums": "2D", "inverse": "DD"}
"""Shapes of the arrays of `Frozen`."""


def kind_of_model(folder: str | Path) -> str:
    """Return the `kind` of the model that `save` wrote into `folder`."""
    return _kind_in(read_form(_model_file(folder)))


def model_id(folder: str | Path) -> str:
    """Return what tells the model in `folder` from others: its kind and the checksum of its file, such as "ease-1b2f00c4"."""
    path = _model_file(folder)
    return f"{_kind_in(read_form(path))}-{read_checksum(path)}"


def _kind_in(name_and_version: str) -> str:
    return name_and_version.rpartition("-")[0]


def reader_of(path: Path, form: str, readers: Mapping[int, Reader]) -> Reader:
    """Return what reads a file of this name and version; `readers` are those of its kind, by version."""
    kind, _, text = form.rpartition("-")
    version = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
    if version is not None and version in readers:
        return readers[version]
    first, last = min(readers), max(readers)
    known = f"{kind}-{first}" if first == last else f"{kind}-{first} to {kind}-{last}"
    if version is not None and version > last:
        raise UsageError(f"{path} is {form}, which a later ultragcn wrote; this one reads {known}, so install a later one")
    raise UsageError(f"{path} is {form}, which this ultragcn does not read; it reads {known}, so train the model anew")


def _model_file(folder: str | Path) -> Path:
    path = Path(folder) / MODEL_FILE
    try:
        is_file, is_there = path.is_file(), path.exists() or path.is_symlink()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if not is_file:
        if Path(folder).is_file():
            raise UsageError(f"{folder} is a file, not the folder of a model; give the folder that train or save wrote")
        if not Path(folder).is_dir():
            raise UsageError(f"no model in {folder}: there is no such folder; give a folder that save or train wrote")
        if is_there:
            raise UsageError(f"no model in {folder}: {MODEL_FILE} is not a file; give a folder that save or train wrote")
        begun = (Path(folder) / "manifest.json").is_file()
        advice = f"its training has not ended: ultragcn train --resume {folder}" if begun else "give a folder that save or train wrote"
        raise UsageError(f"no model in {folder}: {MODEL_FILE} is missing; {advice}")
    return path


class GraphScale(NamedTuple):
    """What the scores of the item graph are multiplied by: weight times unit."""

    weight: float
    unit: float
    """The scale at which they vary as much as the products of the embeddings."""


class OfUsers(NamedTuple):
    """What a model keeps of users that were left out: sums and means over them, by which it folds in new ones."""

    mean: np.ndarray
    """Mean embedding of the users with items, (D,) float32."""
    neighbors: ItemNeighbors
    """Of the items in the co-occurrence graph."""
    l2: float
    """L2 strength of users."""
    l2_scale: float
    """`Objective.l2_user_scale`."""
    frozen: Frozen
    """What the problems of all users have in common."""
    graph: GraphScale


_ADDED = ("tf32",)
"""Hyper-parameters that came after the first files of today's version: where one is missing, it has its default."""


def _form_of_config(settings: type[HyperParameters]) -> dict[str, Any]:
    """Return the form of the hyper-parameters in a file."""
    return {Optional(one.name) if one.name in _ADDED else one.name: object for one in fields(settings)}


class Contents(NamedTuple):
    """What the file of a model holds, checked."""

    config: dict[str, Any]
    recorded: dict[str, Any]
    """What the model recorded, by the names of the attributes."""
    user_ids: IdMap
    item_ids: IdMap
    train: Interactions
    valid: Interactions | None
    item_titles: np.ndarray | None
    items_table: ItemsTable | None
    learned: dict[str, np.ndarray | sp.csr_matrix]
    """What the model learned, by the names of the attributes."""
    graph_scale: GraphScale | None
    of_users: OfUsers | None
    """None where the users are there, or the model needs nothing of them."""
    had: Interactions | None
    """What users had besides train and validation; None where the file has no such pairs."""
    reading: dict[str, Any]
    """How the log was read, by the names of data options; empty where nothing is known of it."""


Reader = Callable[[Path, str, type[HyperParameters], Mapping[str, str], tuple[str, ...], tuple[str, ...]], Contents]
"""Reads a file of one version, as `read_model` does."""


def read_model(
    path: Path, form: str, settings: type[HyperParameters], learned: Mapping[str, str], recorded: tuple[str, ...], more: tuple[str, ...]
) -> Contents:  # fmt: skip
    """Return what is in the file of a model; nothing in it is believed.

    Parameters
    ----------
    path : Path
    form : str
        Name and version of the file.
    settings : type
        What the hyper-parameters are declared in.
    learned : dict of str -> str
        The attributes that were learned, and the shape of each in letters, such as "UD". A matrix of shape "II" may be sparse.
    recorded : tuple of str
        The attributes that were recorded as JSON.
    more : tuple of str
        Which of `WITHOUT_HISTORY`, `ITEM_GRAPH` and `FOLD_IN` such a model may have besides.

    Raises
    ------
    UsageError
        The file is damaged, of another form, or something in it is not as `save` writes it.
    """
    ask_for(path.stat().st_size, f"the model in {path}", "load it on a machine with more memory")
    arrays, about = read_arrays(path, form)
    names = {name.rstrip("_"): _STATE.get(name.rstrip("_"), object) for name in recorded}
    columns, reading = about.pop(ITEMS_TABLE, None), _reading(path, about.pop(READING_OF_LOG, {}))
    besides = {name: about.pop(name) for name in more if name in about}
    form_of_more = {Optional(name): _MORE[name] for name in more}
    if wrong := misfit(about, {"config": _form_of_config(settings), **names}) or misfit(besides, form_of_more):
        raise DamagedError(path, wrong)
    if extra := (about.keys() - names - {"config"}) | (about["config"].keys() - {one.name for one in fields(settings)}):
        raise DamagedError(path, f"it has {min(extra)!r}, which such a model has not")
    if extra := [f"{name}.{key}" for name in besides for key in besides[name].keys() - _MORE[name].keys()]:
        raise DamagedError(path, f"it has {min(extra)!r}, which such a model has not")
    is_alone = WITHOUT_HISTORY in besides
    if is_alone and (lacking := [name for name in more if name not in besides]):
        raise DamagedError(path, f"it must have {lacking[0]}")
    if FOLD_IN in besides and not is_alone:
        raise DamagedError(path, f"it has {FOLD_IN!r}, which a model with its users has not")
    for name in (ITEM_GRAPH, FOLD_IN):
        if negative := [key for key, value in besides.get(name, {}).items() if value < 0]:
            raise DamagedError(path, f"{name}.{negative[0]} is below 0")
    if "best_epoch" in names and "history" in names and not 0 <= about["best_epoch"] <= len(about["history"]):
        raise DamagedError(path, f"the best epoch, {about['best_epoch']}, is none of {len(about['history'])}")
    for name in names:
        if name != "history" and isinstance(about[name], (int, float)) and about[name] < 0:
            raise DamagedError(path, f"{name} is below 0")
    taken = _Taken(path, arrays)
    item_ids = taken.ids("item")
    user_ids = no_ids(besides[WITHOUT_HISTORY]["user_ids"] == _TEXT) if is_alone else taken.ids("user")
    taken.sizes = {"U": len(user_ids), "I": len(item_ids), "2": 2}
    if "embedding_dim" in about["config"]:
        taken.sizes["D"] = about["config"]["embedding_dim"]
    if is_alone:
        train: Interactions = taken.totals(user_ids, item_ids)
        learned = {name: letters for name, letters in learned.items() if "U" not in letters}
    else:
        train = taken.pairs("train", user_ids, item_ids)
        if not len(train):
            raise DamagedError(path, "it has no train pairs")
    valid = taken.pairs("valid", user_ids, item_ids) if "valid.indptr" in arrays and not is_alone else None
    contents = Contents(
        about["config"],
        {name: about[name.rstrip("_")] for name in recorded},
        user_ids,
        item_ids,
        train,
        valid,
        taken.titles() if "item_titles.ends" in arrays else None,
        None if columns is None else taken.table(columns, item_ids),
        {name: taken.learned(name.rstrip("_"), letters) for name, letters in learned.items()},
        GraphScale(**besides[ITEM_GRAPH]) if ITEM_GRAPH in besides else None,
        taken.of_users(besides[FOLD_IN], GraphScale(**besides[ITEM_GRAPH])) if FOLD_IN in besides else None,
        taken.had(train, valid) if "had.indptr" in arrays and not is_alone else None,
        reading,
    )
    if left := arrays.keys() - taken.names:
        raise DamagedError(path, f"it has {min(left)!r}, which such a model has not")
    return contents


def _reading(path: Path, found: Any) -> dict[str, Any]:
    """Return how the log was read, checked: data options that say so, and no others."""
    if wrong := misfit(found, {str: object}, READING_OF_LOG):
        raise DamagedError(path, wrong)
    try:
        reading = reading_of(DataOptions().replace(**found))
    except (UsageError, TypeError, ValueError) as error:
        raise DamagedError(path, f"of {READING_OF_LOG}, {error}") from error
    if reading != found:
        raise DamagedError(path, f"{READING_OF_LOG} is not written as save writes it")
    return reading


def no_ids(are_strings: bool) -> IdMap:
    """Return the ids of no users, of one kind or the other."""
    return IdMap(np.zeros(0, object if are_strings else np.int64), "user")


def is_finite(array: np.ndarray) -> bool:
    """Return whether all numbers of an array are finite."""
    # A sum that is finite has finite parts only, and takes no memory; one that is not may have overflowed.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum()) or np.isfinite(array).all())


class DamagedError(UsageError):
    """The file of a model is not as `save` writes it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} is damaged: {why}; put it back as it was, or train anew")


class _Taken:
    """Arrays as they are taken from a file, each of them checked."""

    def __init__(self, path: Path, arrays: Mapping[str, np.ndarray]) -> None:
        self._path, self._arrays = path, arrays
        self.sizes: dict[str, int] = {}
        self.names: set[str] = set()

    def ids(self, what: str) -> IdMap:
        """Return the ids of the users or items: whole numbers or texts, ascending, none twice."""
        name = f"{what}_ids"
        if name in self._arrays:
            ids = self._one(name, "i8")
            ascending = bool((ids[1:] > ids[:-1]).all())
        else:
            ids = self._texts(name)
            texts = ids.tolist()
            ascending = all(first < second for first, second in pairwise(texts))
        if not ascending:
            raise DamagedError(self._path, f"the ids of the {what}s do not ascend")
        return IdMap(ids, what)

    def titles(self) -> np.ndarray:
        """Return the titles of the items."""
        titles = self._texts("item_titles")
        if len(titles) != self.sizes["I"]:
            raise DamagedError(self._path, f"{len(titles)} titles do not go with {self.sizes['I']} items")
        return titles

    def table(self, columns: Any, item_ids: IdMap) -> ItemsTable:
        """Return the items table, whose columns have these names and kinds."""
        if wrong := misfit(columns, [{"name": str, "kind": set(KINDS)}], ITEMS_TABLE):
            raise DamagedError(self._path, wrong)
        names = [column["name"] for column in columns]
        if len(set(names)) != len(names) or not names:
            raise DamagedError(self._path, f"the names of the columns of {ITEMS_TABLE} are not distinct")
        made = [self._column(f"{ITEMS_TABLE}.{number}", column["kind"]) for number, column in enumerate(columns)]
        return ItemsTable(pl.DataFrame([values.alias(name) for name, values in zip(names, made, strict=True)]), item_ids)

    def _column(self, name: str, kind: str) -> pl.Series:
        """Return a column of the items table: values, and which of them are there."""
        there = self._one(f"{name}.there", "u1")
        if kind == "text":
            texts = self._texts(name)
            values = pl.Series(texts.tolist(), dtype=pl.String) if _is_unicode(texts) else None
        else:
            array = self._one(name, {"whole": "i8", "real": "f8", "flag": "u1"}[kind])
            values = pl.Series(array == 1 if kind == "flag" else array)
            if (kind == "flag" and (array > 1).any()) or (kind == "real" and np.isnan(array).any()):
                values = None
        if values is None or len(values) != self.sizes["I"] or len(there) != self.sizes["I"] or (there > 1).any():
            raise DamagedError(self._path, f"{name} is not a column of {self.sizes['I']} items")
        return values.set(pl.Series(there == 0), None)

    def pairs(self, name: str, user_ids: IdMap, item_ids: IdMap) -> Interactions:
        """Return pairs of users and items."""
        indptr, indices = self._one(f"{name}.indptr", "i4i8"), self._one(f"{name}.indices", "i4")
        self._check_rows(name, indptr, indices, len(user_ids), len(item_ids))
        ones = np.broadcast_to(np.float32(1), len(indices))  # which the interactions make themselves
        matrix = sp.csr_matrix((ones, indices, indptr), shape=(len(user_ids), len(item_ids)))
        return Interactions._of(matrix, user_ids, item_ids)

    def had(self, train: Interactions, valid: Interactions | None) -> Interactions:
        """Return what users had besides the pairs that were learned or held out."""
        had = self.pairs("had", train.user_ids, train.item_ids)
        for name, part in (("train", train), ("valid", valid)):
            if part is not None and part.common(had).nnz:
                raise DamagedError(self._path, f"had has a pair that is in {name} too")
        return had

    def totals(self, user_ids: IdMap, item_ids: IdMap) -> ItemTotals:
        """Return how many users the items had."""
        degrees = self._one("item_degrees", "i8")
        if len(degrees) != len(item_ids) or (degrees < 0).any() or (degrees > 2**31).any() or not degrees.any():
            raise DamagedError(self._path, f"item_degrees are not the numbers of users of {len(item_ids)} items")
        return ItemTotals.of(user_ids, item_ids, degrees)

    def of_users(self, strengths: Mapping[str, float], graph: GraphScale) -> OfUsers:
        """Return what is left of users by which new ones are folded in."""
        items = self._one("fold_in.neighbors", "i4", 2, may_be_empty=True)
        if len(items) != self.sizes["I"] or (items < 0).any() or (items >= len(items)).any():
            raise DamagedError(self._path, "fold_in.neighbors are not items for each item")
        self.sizes["S"] = items.shape[1]
        weights = self._numbers("fold_in.neighbor_weights", "IS")
        frozen = Frozen(**{name: self._numbers(f"fold_in.{name}", letters) for name, letters in _FROZEN.items()})
        if not strengths["l2_user_scale"]:
            raise DamagedError(self._path, "fold_in.l2_user_scale is 0")
        mean = self._numbers("fold_in.mean_user", "D")
        return OfUsers(mean, ItemNeighbors(items, weights), strengths["l2_user"], strengths["l2_user_scale"], frozen, graph)

    def learned(self, name: str, letters: str) -> np.ndarray | sp.csr_matrix:
        """Return what was learned: finite numbers in float32, in the shape that the letters say."""
        if name in self._arrays or f"{name}.data" not in self._arrays:
            return self._numbers(name, letters)
        rows, columns = (self.sizes[letter] for letter in letters)
        data, shape = self._one(f"{name}.data", "f4"), self._one(f"{name}.shape", "i8")
        indices, indptr = self._one(f"{name}.indices", "i4i8"), self._one(f"{name}.indptr", "i4i8")
        if shape.tolist() != [rows, columns]:
            raise DamagedError(self._path, f"{name} has the shape {shape.tolist()}, not {[rows, columns]}")
        if len(data) != len(indices):
            raise DamagedError(self._path, f"{name} has {len(indices)} places for {len(data)} values")
        self._check_rows(name, indptr, indices, rows, columns)
        self._check_finite(name, data)
        return sp.csr_matrix((data, indices, indptr), shape=(rows, columns))

    def _numbers(self, name: str, letters: str) -> np.ndarray:
        """Return an array of finite numbers in float32."""
        array = self._one(name, "f4", len(letters), may_be_empty="S" in letters)
        for size, letter in zip(array.shape, letters, strict=True):
            if size != self.sizes.setdefault(letter, size):
                raise DamagedError(self._path, f"{name} has {size} where {self.sizes[letter]} belong")
        self._check_finite(name, array)
        return array

    def _one(self, name: str, types: str, dimensions: int = 1, may_be_empty: bool = False) -> np.ndarray:
        """Return the array of a name, of one of the types, such as "i4i8"; of several dimensions none is 0, unless it `may_be_empty`."""
        if name not in self._arrays:
            raise DamagedError(self._path, f"{name} is missing")
        self.names.add(name)
        array = self._arrays[name]
        if array.dtype.str[1:] not in types or array.ndim != dimensions or (dimensions > 1 and not array.size and not may_be_empty):
            raise DamagedError(self._path, f"{name} is of another type or shape")
        return array

    def _texts(self, name: str) -> np.ndarray:
        text, ends = self._one(f"{name}.utf8", "u1").tobytes(), self._one(f"{name}.ends", "i8")
        steps = np.diff(ends, prepend=0)
        if (
            (ends < 0).any()
            or (ends > len(text)).any()
            or (steps < 0).any()
            or (ends[-1:] != len(text)).any()
            or (len(text) and not len(ends))
        ):
            raise DamagedError(self._path, f"the ends of {name} do not ascend to the end")
        stops = ends.tolist()
        try:
            pieces = [text[start:end].decode("utf-8", "surrogatepass") for start, end in zip([0, *stops[:-1]], stops, strict=True)]
        except UnicodeDecodeError as error:
            raise DamagedError(self._path, f"{name} are not texts in UTF-8") from error
        return np.array(pieces, dtype=object)

    def _check_rows(self, name: str, indptr: np.ndarray, indices: np.ndarray, rows: int, columns: int) -> None:
        """Refuse rows that do not begin at 0, fall or end elsewhere, and columns out of range or not ascending."""
        if len(indptr) != rows + 1 or indptr[0] != 0 or indptr[-1] != len(indices) or (indptr[1:] < indptr[:-1]).any():
            raise DamagedError(self._path, f"the rows of {name} do not ascend from 0 to the end")
        if len(indices) and (indices.min() < 0 or indices.max() >= columns):
            raise DamagedError(self._path, f"{name} has a column that is not there")
        falls = indices[1:] <= indices[:-1]
        starts = indptr[1:-1]
        falls[starts[(starts > 0) & (starts < len(indices))] - 1] = False  # a new row may begin with a smaller column
        if falls.any():
            raise DamagedError(self._path, f"the columns in a row of {name} do not ascend")

    def _check_finite(self, name: str, array: np.ndarray) -> None:
        if not is_finite(array):
            raise DamagedError(self._path, f"{name} has a number that is not finite")


def _pack(name: str, value: np.ndarray | sp.csr_matrix) -> dict[str, np.ndarray]:
    if isinstance(value, np.ndarray):
        return {name: np.ascontiguousarray(value)}
    parts = {"data": value.data, "indices": value.indices, "indptr": value.indptr, "shape": np.array(value.shape)}
    return {f"{name}.{part}": array for part, array in parts.items()}


def _pack_of_users(kept: OfUsers) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what is left of users by which new ones are folded in: as JSON, and as arrays."""
    arrays = {"mean_user": kept.mean, "neighbors": kept.neighbors.items, "neighbor_weights": kept.neighbors.weights}
    arrays |= kept.frozen._asdict()
    packed = {f"{FOLD_IN}.{name}": np.ascontiguousarray(array) for name, array in arrays.items()}
    return {FOLD_IN: {"l2_user": float(kept.l2), "l2_user_scale": kept.l2_scale}}, packed


def _kind_of_ids(ids: IdMap) -> dict[str, str]:
    return {"user_ids": _TEXT if ids.are_strings else _WHOLE}


def _pack_ids(name: str, ids: IdMap) -> dict[str, np.ndarray]:
    return _pack_texts(name, ids.ids) if ids.are_strings else {name: ids.ids}


def _pack_texts(name: str, texts: np.ndarray) -> dict[str, np.ndarray]:
    encoded = [str(text).encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    return {f"{name}.utf8": np.frombuffer(b"".join(encoded), dtype=np.uint8), f"{name}.ends": ends}


def _is_unicode(texts: np.ndarray) -> bool:
    """Return whether texts can be written as UTF-8, as columns of a frame are."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _pack_table(table: ItemsTable) -> tuple[list[dict[str, str]], dict[str, np.ndarray]]:
    """Return the names and kinds of the columns of an items table, and their arrays."""
    name_of = kind_names()
    columns, arrays = [], {}
    for number, column in enumerate(table.kept):
        name, kind = f"{ITEMS_TABLE}.{number}", name_of[column.dtype]
        columns.append({"name": column.name, "kind": kind})
        arrays[f"{name}.there"] = column.is_not_null().to_numpy().astype(np.uint8)
        if kind == "text":
            arrays |= _pack_texts(name, np.array(column.fill_null("").to_list(), dtype=object))
        else:
            values = column.fill_null(False if kind == "flag" else 0).to_numpy()
            arrays[name] = values.astype(np.uint8) if kind == "flag" else values
    return columns, arrays


def _pack_pairs(name: str, pairs: Interactions) -> dict[str, np.ndarray]:
    return {f"{name}.indptr": pairs.matrix.indptr, f"{name}.indices": pairs.matrix.indices}
