"""Fractal expansions, the large logs of the benchmarks: seeded, streamed, long-tailed, and what is held out stays held out."""

import importlib
import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from ultragcn import load_dataset

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SIZES = (5_000, 1_500, 60_000)


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("fractal")
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def log():
    return load_dataset("demo", protocol="authors")


@pytest.fixture(scope="module")
def large(script, log):
    return script.Fractal(log.train.matrix, log.test.matrix, *SIZES, seed=1)


def whole(fractal, part):
    users, items = (np.concatenate(side) for side in zip(*fractal.blocks(part), strict=True))
    return sp.csr_matrix((np.ones(len(users)), (users, items)), shape=fractal.shape)


def test_an_expansion_has_the_sizes_asked_for_and_no_pair_twice(large):
    train = whole(large, "train")
    assert large.num_blocks > 1
    assert large.kept.shape[1] > 1
    assert train.shape == SIZES[:2]
    assert train.nnz == pytest.approx(SIZES[2], rel=0.03)
    assert train.max() == 1


def test_equal_seeds_make_equal_logs_and_other_seeds_others(script, log, large):
    again, other = (script.Fractal(log.train.matrix, log.test.matrix, *SIZES, seed=seed) for seed in (1, 2))
    for part in script.PARTS:
        assert (whole(again, part) != whole(large, part)).nnz == 0
        assert (whole(other, part) != whole(large, part)).nnz > 0


def test_no_held_out_pair_stands_in_train_and_all_are_as_many_as_in_the_log(log, large):
    train, test = whole(large, "train"), whole(large, "test")
    assert train.multiply(test).nnz == 0
    assert test.nnz / train.nnz == pytest.approx(len(log.test) / len(log.train), rel=0.05)


def test_a_block_made_alone_is_the_block_of_the_whole_and_of_the_files(script, large, tmp_path):
    alone = large.block(1, "train")
    in_turn = list(large.blocks("train"))
    np.testing.assert_array_equal(alone, in_turn[1])
    large.write(tmp_path)
    (tmp_path / "about.json").write_text(json.dumps({"users": SIZES[0], "items": SIZES[1]}))
    for part, read in zip(script.PARTS, script.read(tmp_path), strict=True):
        frame = pl.read_parquet(tmp_path / f"{part}.parquet")
        np.testing.assert_array_equal(frame.to_numpy().T, np.concatenate(list(large.blocks(part)), axis=1))
        assert frame.schema == script.SCHEMA
        assert (read.matrix != whole(large, part)).nnz == 0


def test_users_of_a_block_are_neighbours_in_the_files_and_items_are_mixed(large):
    ends = [(users.min(), users.max()) for users, _ in large.blocks("train")]
    assert all(before[1] < after[0] for before, after in pairwise(ends))
    for _, items in large.blocks("train"):
        assert items.min() < SIZES[1] // 20
        assert items.max() > SIZES[1] * 19 // 20


def test_popular_items_keep_their_share(log, large):
    def share_of_the_top_tenth(degrees):
        return np.sort(degrees)[::-1][: len(degrees) // 10].sum() / degrees.sum()

    items = np.asarray(whole(large, "train").sum(axis=0)).ravel()
    assert items.min() > 0
    assert share_of_the_top_tenth(items) == pytest.approx(share_of_the_top_tenth(log.train.item_degrees), rel=0.2)


def test_degrees_are_bounded(log, large):
    train = whole(large, "train")
    counts = large.kept.shape[1]
    assert np.diff(train.indptr).max() <= counts * log.train.user_degrees.max()
    assert np.asarray(train.sum(axis=0)).max() <= large.num_blocks * log.train.item_degrees.max()


def test_one_block_that_keeps_all_is_the_log_with_other_numbers(script, log):
    base = log.train
    fractal = script.Fractal(base.matrix, log.test.matrix, base.num_users, base.num_items, len(base))
    train = whole(fractal, "train")
    assert train.nnz == len(base)
    np.testing.assert_array_equal(np.sort(np.diff(train.indptr)), np.sort(base.user_degrees))
    np.testing.assert_array_equal(np.sort(np.asarray(train.sum(axis=0)).ravel()), np.sort(base.item_degrees))


def test_blocks_differ_in_detail(script, log):
    base = log.train
    fractal = script.Fractal(base.matrix, log.test.matrix, base.num_users, 2 * base.num_items, 2 * len(base))
    users, items = fractal.block(0, "train")
    of_first = np.isin(items, fractal._columns[0])
    halves = [np.bincount(users[mask], minlength=base.num_users) for mask in (of_first, ~of_first)]
    np.testing.assert_array_equal(np.sort(halves[0]), np.sort(halves[1]))
    assert (halves[0] != halves[1]).any()


def test_shuffles_stay_within_neighbourhoods_and_leave_some_alone(script):
    points = np.random.default_rng(0).standard_normal((403, 5))
    order, neighbourhood = script.neighbourhoods(points, 8)
    assert sorted(order) == list(range(403))
    assert np.bincount(neighbourhood).max() <= 8
    of = np.empty(403, int)
    of[order] = neighbourhood
    permutation = script.shuffled(order, neighbourhood, np.random.default_rng(1))
    assert sorted(permutation) == list(range(403))
    np.testing.assert_array_equal(of[permutation], of)
    moved = np.bincount(of, permutation != np.arange(403)) > 0
    assert 0.3 < moved.mean() < 0.7


def test_neighbours_are_closer_than_others(script):
    points = np.random.default_rng(0).standard_normal((512, 2))
    order, neighbourhood = script.neighbourhoods(points, 4)
    centres = np.array([points[order[neighbourhood == one]].mean(axis=0) for one in range(neighbourhood[-1] + 1)])
    assert np.linalg.norm(points[order] - centres[neighbourhood], axis=1).mean() < 0.2 * np.linalg.norm(points, axis=1).mean()


def test_a_reduced_copy_has_the_leading_singular_values(script):
    # Non-negative by itself, so that nothing is folded: 12 x 6 made of four users' kinds and three items' kinds.
    small = np.array([[4.0, 1, 0], [1, 3, 1], [0, 1, 2], [2, 2, 2]])
    left, values, right = np.linalg.svd(np.repeat(np.repeat(small, 3, axis=0), 2, axis=1), full_matrices=False)
    copy = script.reduced(left[:, :3], right[:3].T, values[:3], [4, 3])
    np.testing.assert_allclose(copy, small / 4, atol=1e-9)


def test_shares_are_scaled_to_the_pairs_asked_for_and_end_at_one(script):
    shares, sizes = np.array([[1.0, 0.1]]), np.array([[100.0, 100.0]])
    np.testing.assert_allclose(script.scaled(shares, sizes, 55), [[0.5, 0.05]])
    np.testing.assert_allclose(script.scaled(shares, sizes, 150), [[1.0, 0.5]])
    with pytest.raises(ValueError, match="200 pairs at most, not 201; ask for fewer pairs"):
        script.scaled(shares, sizes, 201)
