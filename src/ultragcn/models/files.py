"""The file of a model: arrays, ids and hyper-parameters in one safetensors file."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from ultragcn.data.ids import IdMap
from ultragcn.data.interactions import Interactions
from ultragcn.errors import UsageError
from ultragcn.storage import read_metadata

MODEL_FILE = "model.safetensors"


def kind_of_model(folder: str | Path) -> str:
    """Return the `kind` of the model that `save` wrote into `folder`."""
    return _kind_in(read_metadata(_model_file(folder)).get("format", ""))


def _kind_in(name_and_version: str) -> str:
    return name_and_version.rpartition("-")[0]


def _model_file(folder: str | Path) -> Path:
    path = Path(folder) / MODEL_FILE
    if not path.is_file():
        begun = (Path(folder) / "manifest.json").is_file()
        advice = f"its training has not ended: ultragcn train --resume {folder}" if begun else "give a folder that save or train wrote"
        raise UsageError(f"no model in {folder}: {MODEL_FILE} is missing; {advice}")
    return path


def _pack(name: str, value: np.ndarray | sp.csr_matrix) -> dict[str, np.ndarray]:
    if isinstance(value, np.ndarray):
        return {name: np.ascontiguousarray(value)}
    parts = {"data": value.data, "indices": value.indices, "indptr": value.indptr, "shape": np.array(value.shape)}
    return {f"{name}.{part}": array for part, array in parts.items()}


def _unpack(name: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray | sp.csr_matrix:
    if name in arrays:
        return arrays[name]
    data, indices, indptr, shape = (arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr", "shape"))
    return sp.csr_matrix((data, indices, indptr), shape=tuple(shape.tolist()))


def _pack_ids(name: str, ids: IdMap) -> dict[str, np.ndarray]:
    return _pack_texts(name, ids.ids) if ids.are_strings else {name: ids.ids}


def _unpack_ids(name: str, arrays: Mapping[str, np.ndarray], what: str) -> IdMap:
    return IdMap(arrays[name] if name in arrays else _unpack_texts(name, arrays), what)


def _pack_texts(name: str, texts: np.ndarray) -> dict[str, np.ndarray]:
    encoded = [str(text).encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    return {f"{name}.utf8": np.frombuffer(b"".join(encoded), dtype=np.uint8), f"{name}.ends": ends}


def _unpack_texts(name: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    text, ends = arrays[f"{name}.utf8"].tobytes(), arrays[f"{name}.ends"].tolist()
    pieces = [text[start:end].decode("utf-8", "surrogatepass") for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return np.array(pieces, dtype=object)


def _pack_pairs(name: str, pairs: Interactions) -> dict[str, np.ndarray]:
    return {f"{name}.indptr": pairs.matrix.indptr, f"{name}.indices": pairs.matrix.indices}


def _unpack_pairs(name: str, arrays: Mapping[str, np.ndarray], user_ids: IdMap, item_ids: IdMap) -> Interactions:
    indices = arrays[f"{name}.indices"]
    ones = np.ones(len(indices), dtype=np.float32)
    shape = (len(user_ids), len(item_ids))
    return Interactions(sp.csr_matrix((ones, indices, arrays[f"{name}.indptr"]), shape=shape), user_ids, item_ids)
