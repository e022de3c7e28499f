"""The data sets of the workbench: found on disk, downloaded or built in, and turned into what the models learn from."""

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

from ultragcn.data.download import fetch
from ultragcn.errors import DataError, DownloadError
from utils import ProgressBars

DATASETS = Path(__file__).resolve().parents[1] / "datasets"
"""Where data sets are kept unless the user says otherwise."""

MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
# Name, and SHA-256 of the gzipped file as published there: train images, train labels, test images, test labels.
MNIST_FILES = {
    "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def load_data(dataset: str, data_dir: str | Path | None = None) -> tuple[Any, Any]:
    """Return the train and the test data of a data set.

    Parameters
    ----------
    dataset : str
        `mnist` or `digits`: both parts are a `TensorDataset` of images, (N, 1, height, width) float32 in [0, 1], and
        labels, (N,) int64. Any other name, or a folder, is a data set of the library: the train data are its `Dataset`
        (a model may look at `train` and `valid`), the test data the `Interactions` of its test part.
    data_dir : str or Path, optional
        Where data are looked for and put: by default $ULTRAGCN_DATA_DIR, else `datasets/` of this repository.
    """
    if dataset == "mnist":
        return load_mnist(data_dir)
    if dataset == "digits":
        return load_digits()
    from ultragcn import load_dataset  # only here: image models do not need the library's readers

    data = load_dataset(dataset, data_dir=data_folders(data_dir)[0], progress=ProgressBars())
    return data, data.test


def data_folders(data_dir: str | Path | None) -> list[Path]:
    """Return the folders in which data are looked for, in this order; downloads go to the first."""
    return [Path(folder) for folder in (data_dir, os.environ.get("ULTRAGCN_DATA_DIR"), DATASETS) if folder]


def load_digits() -> tuple[TensorDataset, TensorDataset]:
    """Return scikit-learn's built-in 8 x 8 digits; the same fifth of every class is always the test part."""
    from sklearn import datasets, model_selection  # takes a second to load

    digits = datasets.load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)  # 17 grey levels, 0 to 16
    parts = model_selection.train_test_split(images, digits.target, test_size=0.2, random_state=0, stratify=digits.target)
    train_images, test_images, train_labels, test_labels = map(torch.from_numpy, parts)
    return TensorDataset(train_images, train_labels), TensorDataset(test_images, test_labels)


def hold_out(train_data: TensorDataset) -> tuple[TensorDataset, TensorDataset]:
    """Return the first four fifths of the train images, to learn from, and the last fifth, to choose on: the validation part."""
    images, labels = train_data.tensors
    learned_from, held_out = slice(len(labels) * 4 // 5), slice(len(labels) * 4 // 5, None)
    return TensorDataset(images[learned_from], labels[learned_from]), TensorDataset(images[held_out], labels[held_out])


def load_mnist(data_dir: str | Path | None = None) -> tuple[TensorDataset, TensorDataset]:
    """Return MNIST from the first data folder that holds all four files, gzipped or not; otherwise download them."""
    folders = data_folders(data_dir)
    places = [folder / name for folder in folders for name in ("MNIST", "mnist", "MNIST/raw", ".")]
    found = next(filter(None, map(_mnist_in, places)), None) or _download_mnist(folders[0] / "MNIST")
    return _read_images(*found[:2]), _read_images(*found[2:])


def _mnist_in(folder: Path) -> list[Path] | None:
    """Return the four files if `folder` holds all of them."""
    files = []
    for name in MNIST_FILES:
        try:
            present = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
        except OSError as error:
            raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
        files += present[:1]
    return files if len(files) == len(MNIST_FILES) else None


def _download_mnist(folder: Path) -> list[Path]:
    files = []
    for name, sha256 in MNIST_FILES.items():
        try:
            files.append(fetch(f"{MNIST_URL}{name}.gz", folder / f"{name}.gz", sha256=sha256, progress=ProgressBars()))
        except DownloadError as error:
            raise DownloadError(
                f"cannot download MNIST from {MNIST_URL} ({error.__cause__}); use --dataset digits, which needs no download, "
                "or name a folder that holds MNIST with --data_dir or ULTRAGCN_DATA_DIR, "
                f"or put the four files {', '.join(f'{file}.gz' for file in MNIST_FILES)} into {folder} by hand"
            ) from error
    return files


def _read_images(images_path: Path, labels_path: Path) -> TensorDataset:
    images, labels = _read_idx(images_path, num_dimensions=3), _read_idx(labels_path, num_dimensions=1)
    if images.shape[1:] != (28, 28):
        raise DataError(f"{images_path} has images of {images.shape[1]} x {images.shape[2]} pixels; MNIST has 28 x 28")
    if len(images) == 0 or len(images) != len(labels):
        raise DataError(f"{images_path} has {len(images)} images, but {labels_path} has {len(labels)} labels")
    if labels.max() > 9:
        raise DataError(f"{labels_path} has the label {labels.max()}; MNIST has 0 to 9")
    return TensorDataset(torch.from_numpy(images[:, None] / np.float32(255)), torch.from_numpy(labels.astype(np.int64)))


def _read_idx(path: Path, num_dimensions: int) -> np.ndarray:
    """Read an idx file of bytes: 0, 0, 8 (meaning bytes), `num_dimensions`, a big-endian size each, then the values."""
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}; get the file anew") from error
    start = 4 + 4 * num_dimensions
    if len(content) < start or content[:4] != bytes([0, 0, 8, num_dimensions]):
        raise DataError(f"{path} is not an idx file of bytes in {num_dimensions} dimensions; get the file anew")
    shape = np.frombuffer(content, dtype=">u4", count=num_dimensions, offset=4).tolist()
    if len(content) != start + math.prod(shape):
        raise DataError(
            f"{path} is damaged: {len(content)} bytes, where its header announces {start + math.prod(shape)}; get the file anew"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
