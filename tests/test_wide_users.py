"""Users who have very many items: what is made of the items that users share is the same, in bounded memory and time."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from ultragcn import ItemKNN
from ultragcn.data.ids import IdMap
from ultragcn.data.interactions import Interactions
from ultragcn.scoring import item_weights

ROOT = Path(__file__).parents[1]


def log_with(num_wide, num_items=200, share=1.0, seed=0):
    """150 users with 8 items each, popular ones more often; then users with a share of all items."""
    random = np.random.default_rng(seed)
    popularity = random.permutation(1 / (np.arange(num_items) + 3.0))
    dense = np.zeros((150 + num_wide, num_items), np.float32)
    for row in dense[:150]:
        row[random.choice(num_items, 8, replace=False, p=popularity / popularity.sum())] = 1
    dense[150:] = random.random((num_wide, num_items)) < share
    return sp.csr_matrix(dense)


def cosines(matrix):
    """As ItemKNN makes them."""
    length = np.sqrt(np.bincount(matrix.indices, minlength=matrix.shape[1])).astype(np.float32)
    return item_weights.strongest_neighbors(matrix, np.ones(matrix.shape[0]), item_weights.Likeness(length=length, shrinkage=10.0), 12)


MADE = {
    "cosines": cosines,
    "idf": lambda matrix: ItemKNN(num_neighbors=12, weighting="idf", shrinkage=0.0)
    .fit(Interactions(matrix, IdMap(np.arange(matrix.shape[0]), "user"), IdMap(np.arange(matrix.shape[1]), "item")))
    .item_weights_,
    "walks": lambda matrix: item_weights.walk_weights(matrix, 12, 0.7, 0.4),
    "even walks": lambda matrix: item_weights.walk_weights(matrix, 12, 0.0, 0.0),
    "regression": lambda matrix: item_weights.regression_weights(matrix, 12, 20, 5.0),
}  # fmt: skip


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize(("num_wide", "share"), [(1, 1.0), (1, 0.8), (3, 0.7), (12, 0.6), (40, 1.0)])
def test_what_wide_users_add_is_counted_to_the_last_bit(monkeypatch, made, num_wide, share):
    matrix = log_with(num_wide, share=share)
    plain = MADE[made](matrix)
    monkeypatch.setattr(item_weights, "WIDE", 60)
    monkeypatch.setattr(item_weights, "_MOST_GROUPS", 50)
    others, wide = item_weights._apart(matrix)
    assert len(wide) == num_wide or (num_wide == 12 and 3 <= len(wide) < 12)  # those beyond make too many groups
    assert others.nnz == np.diff(matrix.indptr)[[row for row in range(matrix.shape[0]) if row not in wide]].sum()
    ours = MADE[made](matrix)
    assert ours.has_sorted_indices
    if num_wide == len(wide) or made in ("cosines", "regression"):
        np.testing.assert_array_equal(ours.toarray(), plain.toarray())
    else:  # sums of weights that are not whole numbers, in another order of the users
        np.testing.assert_allclose(np.sort(ours.toarray(), axis=0), np.sort(plain.toarray(), axis=0), rtol=1e-5)


def test_no_product_that_wide_users_fill_is_made(monkeypatch):
    made = []
    real = item_weights._product_by_rows

    def counting(left, right):
        for rows, product in real(left, right):
            made.append(product.nnz)
            yield rows, product

    monkeypatch.setattr(item_weights, "_product_by_rows", counting)
    monkeypatch.setattr(item_weights, "WIDE", 1000)
    matrix = log_with(1, num_items=3000)
    for make in (MADE["cosines"], MADE["walks"]):
        made.clear()
        make(matrix)
        assert sum(made) <= 150 * 8 * 8
    made.clear()
    MADE["regression"](matrix)
    assert sum(made) < 3000 * 3000 / 5


@pytest.mark.slow
def test_one_user_with_many_items_costs_little_memory_and_time():
    command = [sys.executable, str(ROOT / "benchmarks/giant_user.py"), "--items", "30000", "--most_gigabytes", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [dict(cell.split("=") for cell in line.split("  ")) for line in done.stdout.splitlines()]
    assert [row["outcome"] for row in rows] == ["done"] * 3
    for row in rows:
        assert float(row["extra_mb"]) < 1000
        assert float(row["cpu_seconds"]) < 60
