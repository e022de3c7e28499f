"""Fixtures: where the real data and the golden values are, and small hand-made interactions."""

import importlib.util
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from ultragcn import Interactions
from ultragcn.data.ids import IdMap

DATA_VARIABLE = "ULTRAGCN_DATA_DIR"


@pytest.fixture(scope="session", autouse=True)
def interrupts_heard() -> None:
    """Hear Ctrl-C also where a shell started the tests in the background: what they start would ignore it too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


_NEED_TORCH = {"sgd", "sgd_with_l2_by_row", "ultragcn-sgd", "lightgcn"}
"""Cases of a parametrised test that need PyTorch, by the name of the solver or of the model."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, by name, what needs PyTorch where it is not installed."""
    if importlib.util.find_spec("torch") is not None:
        return
    for item in items:
        cases = getattr(item, "callspec", None)
        given = {} if cases is None else cases.params
        names = {value for name, value in given.items() if isinstance(value, str) and name != "dialect"}
        if item.get_closest_marker("torch") is not None or names & _NEED_TORCH:
            item.add_marker(pytest.mark.skip(reason="needs PyTorch"))


@pytest.fixture
def data_dir() -> Path:
    """The folder of the benchmark data sets; a test that wants it is skipped where it is not."""
    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        pytest.skip(f"needs the benchmark data sets: set {DATA_VARIABLE}")
    return Path(folder)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    """A log of 60 users who keep to their half of 30 items."""
    random = np.random.default_rng(0)
    pairs = [f"u{user},{'ab'[user % 2]}{item}" for user in range(60) for item in random.permutation(15)[:8]]
    path = tmp_path_factory.mktemp("data") / "log.csv"
    path.write_text("\n".join(["user,item", *pairs]) + "\n")
    return path


class Heard:
    """A progress that remembers what it was told."""

    def __init__(self):
        self.told = []

    def start(self, what, total, unit):
        self.told.append((what, total, unit))

    def advance(self, steps, figures=None):
        self.told.append(steps)

    def finish(self):
        self.told.append("finished")


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
