"""Every fast kernel against its slow twin of the same name, on plain and awkward shapes."""

import contextlib
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import threadpoolctl
import torch

from tests.conftest import random_interactions
from ultragcn.kernels import numba_cpu, reference, torch_ops
from ultragcn.loss.weights import item_graph_degrees, item_neighbors

SHAPES = [(1, 1), (1, 7), (5, 1), (6, 130), (3, 1000)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [1, 4, 200])
def test_top_k_equals_its_twin_with_ties_masked_scores_and_nan(shape, k):
    random = np.random.default_rng(1)
    scores = random.integers(-3, 4, shape).astype(np.float32)
    scores[random.random(shape) < 0.2] = -np.inf
    scores[random.random(shape) < 0.05] = np.nan
    columns, values = numba_cpu.top_k(scores, k)
    expected_columns, expected_values = reference.top_k(scores, k)
    np.testing.assert_array_equal(columns, expected_columns)
    np.testing.assert_array_equal(values, expected_values)


def test_top_k_breaks_ties_by_the_lower_column():
    columns, _ = numba_cpu.top_k(np.array([[1, 2, 2, 1, 2]], np.float32), 4)
    assert columns.tolist() == [[1, 2, 4, 0]]


@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
def test_masking_and_hits_equal_their_twins(density):
    pairs = random_interactions(9, 31, density).matrix
    random = np.random.default_rng(2)
    users = random.integers(0, 9, 6)
    scores = random.standard_normal((6, 31)).astype(np.float32)
    expected = scores.copy()
    numba_cpu.mask_seen(scores, users, pairs.indptr, pairs.indices)
    reference.mask_seen(expected, users, pairs.indptr, pairs.indices)
    np.testing.assert_array_equal(scores, expected)
    ranking = random.integers(-1, 31, (6, 8)).astype(np.int32)
    np.testing.assert_array_equal(
        numba_cpu.find_hits(ranking, users, pairs.indptr, pairs.indices),
        reference.find_hits(ranking, users, pairs.indptr, pairs.indices),
    )


@pytest.mark.parametrize("shape", [(1, 1), (0, 5), (7, 3), (40, 50)])
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_list_statistics_equal_their_twin(shape, density):
    hits = np.random.default_rng(3).random(shape) < density
    for lengths in ([1], [shape[1]], sorted({1, (shape[1] + 1) // 2, shape[1]})):
        lengths = np.array(lengths)
        np.testing.assert_allclose(numba_cpu.list_statistics(hits, lengths), reference.list_statistics(hits, lengths), rtol=1e-12)


@pytest.mark.parametrize("keep_diagonal", [True, False])
@pytest.mark.parametrize(("num_users", "num_items", "density"), [(1, 1, 1), (4, 3, 0.5), (30, 90, 0.1), (50, 8, 0.9), (5, 5, 0)])
@pytest.mark.parametrize("k", [0, 1, 5, 12])
def test_item_neighbors_equal_their_twin(num_users, num_items, density, k, keep_diagonal):
    train = random_interactions(num_users, num_items, density)
    by_item = train.matrix.T.tocsr()
    arguments = (
        train.matrix.indptr, train.matrix.indices, by_item.indptr.astype(np.int64), by_item.indices.astype(np.int32),
        item_graph_degrees(train), k, keep_diagonal,
    )  # fmt: skip
    items, weights = numba_cpu.item_neighbors(*arguments)
    expected_items, expected_weights = reference.item_neighbors(*arguments)
    # Weights that are equal in exact arithmetic may differ in the last digit, so ties may be ordered differently.
    np.testing.assert_allclose(weights, expected_weights, rtol=1e-6)
    assert items.shape == expected_items.shape
    assert (weights >= 0).all()


@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("k", [0, 1, 5])
@pytest.mark.parametrize(("num_users", "num_items", "density"), [(1, 1, 1), (4, 3, 0.5), (200, 90, 0.1), (50, 8, 0.9), (5, 5, 0)])
def test_positive_rows_equal_their_twin(num_users, num_items, density, k, weight):
    train = random_interactions(num_users, num_items, density)
    neighbors = item_neighbors(train, k)
    arguments = (
        train.matrix.indptr.astype(np.int64), train.matrix.indices, np.random.default_rng(0).random(len(train), dtype=np.float32),
        *neighbors, np.float32(weight),
    )  # fmt: skip
    for array, expected in zip(numba_cpu.positive_rows(*arguments), reference.positive_rows(*arguments), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-5)


def test_own_pairs_stay_in_positives_where_they_have_no_weight():
    indptr, indices = np.array([0, 2]), np.array([0, 2], np.int32)
    neighbors, weights = np.array([[1], [1], [2]], np.int32), np.array([[0.5], [0.0], [0.0]], np.float32)
    _, columns, values, places = numba_cpu.positive_rows(indptr, indices, np.zeros(2, np.float32), neighbors, weights, np.float32(2))
    assert columns.tolist() == [0, 1, 2]
    assert values.tolist() == [0, 1, 0]
    assert places.tolist() == [0, 2]


def batch(num_users=7, num_items=11, dim=3, rows=10, columns=6, seed=0):
    random = np.random.default_rng(seed)
    return (
        random.standard_normal((num_users, dim)), random.standard_normal((num_items, dim)), random.integers(0, num_users, rows),
        random.integers(0, num_items, (rows, columns)), random.random((rows, columns)),
    )  # fmt: skip


@pytest.mark.parametrize("shape", [{}, {"num_users": 1, "num_items": 1}, {"rows": 1, "columns": 1}, {"dim": 1}, {"rows": 300, "dim": 64}])
@pytest.mark.parametrize("num_positive", [0, 1])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_batch_loss_equals_its_twin_in_value_and_gradient(shape, num_positive, scale):
    users_table, items_table, users, columns, weights = batch(**shape)
    expected = reference.batch_loss(scale * users_table, items_table, users, columns, weights, num_positive)
    tensors = [torch.from_numpy(a.astype(np.float32)) for a in (scale * users_table, items_table)]
    ours = torch_ops.batch_loss(
        *tensors, torch.from_numpy(users), torch.from_numpy(columns), torch.from_numpy(weights.astype(np.float32)), num_positive
    )
    user_gradient = torch.zeros_like(tensors[0]).index_add_(0, torch.from_numpy(users), ours.user_gradient)
    for mine, theirs in (
        (ours.columns, expected.columns),
        (user_gradient, expected.user_gradient),
        (ours.item_gradient, expected.item_gradient),
    ):
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def test_the_gradient_of_batch_loss_is_its_finite_difference():
    users_table, items_table, users, columns, weights = batch()
    result = reference.batch_loss(users_table, items_table, users, columns, weights, 2)
    step = 1e-6
    for table, gradient in ((users_table, result.user_gradient), (items_table, result.item_gradient)):
        for place in np.ndindex(*table.shape):
            kept = table[place]
            values = []
            for moved in (kept + step, kept - step):
                table[place] = moved
                values.append(reference.batch_loss(users_table, items_table, users, columns, weights, 2).columns.sum())
            table[place] = kept
            assert gradient[place] == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-6)


@pytest.mark.parametrize("density", [0.0, 0.3, 0.8])
def test_drawn_negatives_equal_their_twin_and_are_never_a_users_own(density):
    train = random_interactions(12, 20, density, seed=3)
    random = np.random.default_rng(4)
    users = random.integers(0, 12, 30)
    lacking = train.num_items - train.user_degrees[users]
    ranks = np.where(lacking[:, None] > 0, (random.random((30, 9)) * lacking[:, None]).astype(np.int64), -1)
    indptr, indices = train.matrix.indptr, train.matrix.indices.astype(np.int64)
    drawn = torch_ops.draw_negatives(*map(torch.from_numpy, (ranks, users, indptr, indices))).numpy()
    np.testing.assert_array_equal(drawn, reference.draw_negatives(ranks, users, indptr, indices))
    assert not train.matrix[np.repeat(users, 9), drawn.ravel()].any()
    assert drawn.max() < train.num_items


def test_a_user_with_every_item_has_no_negatives():
    train = random_interactions(2, 4, 1.0)
    ranks = torch.full((2, 3), -1)
    indptr, indices = torch.from_numpy(train.matrix.indptr), torch.from_numpy(train.matrix.indices.astype(np.int64))
    assert (torch_ops.draw_negatives(ranks, torch.tensor([0, 1]), indptr, indices) == -1).all()


def blas_threads():
    return [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]


def test_several_threads_leave_blas_its_own():
    before = blas_threads()
    entered, both = threading.Event(), threading.Event()

    def other():
        with numba_cpu.numba_threads():
            entered.set()
            assert both.wait(60)

    thread = threading.Thread(target=other)
    with numba_cpu.numba_threads():
        thread.start()
        assert entered.wait(60)
    within = blas_threads()
    both.set()
    thread.join()
    assert set(within) == {1}
    assert blas_threads() == before


def test_an_interrupt_that_a_callback_loses_is_raised_in_the_end():
    with pytest.raises(KeyboardInterrupt), numba_cpu.interrupts_kept(), contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


_FORKED = """
import multiprocessing, sys
from ultragcn import UltraGCN, load_dataset
from ultragcn.errors import UsageError
data = load_dataset("demo")
model = UltraGCN(epochs=1, item_graph_weight=0.0, l2_user=0.1, l2_item=0.1).fit(data.train)
def ask():
    try:
        model.recommend("user-0001")
    except UsageError as error:
        assert "forked" in str(error)
process = multiprocessing.get_context("fork").Process(target=ask)
process.start()
process.join()
sys.exit(process.exitcode != 0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere processes are not forked")
def test_a_forked_process_without_its_threads_says_so_and_does_not_die():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _FORKED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_what_a_signal_raises_within_a_kernel_is_raised_as_that(raised):
    inner = SystemError("returned a result with an exception set")
    inner.__cause__ = raised()
    with pytest.raises(raised), numba_cpu.numba_threads():
        raise SystemError("returned a result with an exception set") from inner
    with pytest.raises(SystemError, match="otherwise"), numba_cpu.numba_threads():
        raise SystemError("otherwise")
