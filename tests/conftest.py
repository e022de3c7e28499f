"""Fixtures: where the real data and the golden values are, and small hand-made interactions."""

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from ultragcn import Interactions
from ultragcn.data.ids import IdMap

DATA_VARIABLE = "ULTRAGCN_DATA_DIR"


@pytest.fixture
def data_dir() -> Path:
    """The folder of the benchmark data sets; a test that wants it is skipped where it is not."""
    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        pytest.skip(f"needs the benchmark data sets: set {DATA_VARIABLE}")
    return Path(folder)


def interactions_of(dense) -> Interactions:
    """Interactions of a small dense 0/1 array, ids 0, 1, 2, ..."""
    dense = np.asarray(dense)
    users, items = (IdMap(np.arange(size), what) for size, what in zip(dense.shape, ("user", "item"), strict=True))
    return Interactions(sp.csr_matrix(dense.astype(np.float32)), users, items)


def random_interactions(num_users: int, num_items: int, density: float, seed: int = 0) -> Interactions:
    """Random interactions; some users and items may be left without any."""
    return interactions_of(np.random.default_rng(seed).random((num_users, num_items)) < density)


@pytest.fixture
def checkerboard() -> Interactions:
    """Even users like even items, odd users odd ones, but everyone still lacks the item of their own number."""
    size = 20
    dense = np.add.outer(np.arange(size), np.arange(size)) % 2 == 0
    return interactions_of(dense & ~np.eye(size, dtype=bool))
