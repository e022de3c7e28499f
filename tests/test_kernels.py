"""What kernels promise besides equality with their twins (test_twins.py), and the threads they run on."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import numba
import numpy as np
import pytest
import threadpoolctl

from tests.conftest import random_interactions
from ultragcn.kernels import numba_cpu, reference
from ultragcn.kernels.numba_cpu import threads


def test_top_k_breaks_ties_by_the_lower_column():
    columns, _ = numba_cpu.top_k(np.array([[1, 2, 2, 1, 2]], np.float32), 4)
    assert columns.tolist() == [[1, 2, 4, 0]]


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
def test_drawn_negatives_are_never_a_users_own(density):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    from ultragcn.kernels import torch_ops

    train = random_interactions(12, 20, density, seed=3)
    random = np.random.default_rng(4)
    users = random.integers(0, 12, 30)
    lacking = train.num_items - train.user_degrees[users]
    ranks = np.where(lacking[:, None] > 0, (random.random((30, 9)) * lacking[:, None]).astype(np.int64), -1)
    indptr, indices = train.matrix.indptr, train.matrix.indices.astype(np.int64)
    drawn = torch_ops.draw_negatives(*map(torch.from_numpy, (ranks, users, indptr, indices))).numpy()
    assert not train.matrix[np.repeat(users, 9), drawn.ravel()].any()
    assert drawn.max() < train.num_items


def test_a_user_with_every_item_has_no_negatives():
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    from ultragcn.kernels import torch_ops

    train = random_interactions(2, 4, 1.0)
    ranks = torch.full((2, 3), -1)
    indptr, indices = torch.from_numpy(train.matrix.indptr), torch.from_numpy(train.matrix.indices.astype(np.int64))
    assert (torch_ops.draw_negatives(ranks, torch.tensor([0, 1]), indptr, indices) == -1).all()


def blas_threads():
    # FAISS, which a test of exports loads, has a BLAS of its own; no kernel calls it.
    found = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    return [library["num_threads"] for library in found if "faiss" not in library["filepath"]]


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
data = load_dataset("demo")
model = UltraGCN(epochs=1, item_graph_weight=0.0, l2_user=0.1, l2_item=0.1).fit(data.train)
def recommend(user):
    return model.recommend(user)[0].tolist()
users = ["user-0001"] + data.train.user_ids.ids[:600].tolist()
expected = recommend(users)
with multiprocessing.get_context("fork").Pool(1) as pool:
    sys.exit(pool.apply_async(recommend, (users,)).get(60) != expected)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere processes are not forked")
def test_a_forked_process_recommends_what_its_parent_recommends():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _FORKED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_kernels_are_handed_out_by_name_and_load_numba_when_the_first_is_named():
    code = """
import sys
from ultragcn import kernels
from ultragcn.kernels import arguments, reference
import ultragcn.models.registry, ultragcn.evaluation.evaluate, ultragcn.solvers.exact, ultragcn.solvers.fold_in
assert not {"numba", "torch"} & set(sys.modules), "loaded too early"
assert not hasattr(kernels, "_private")
assert kernels.top_k is kernels.numba_cpu.top_k
assert "numba" in sys.modules
try:
    kernels.no_such_kernel
except AttributeError as error:
    assert "no_such_kernel" in str(error)
else:
    raise AssertionError("a kernel that there is not was handed out")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@numba.njit
def take_one(counter):
    return threads.take_next(counter)


def test_each_piece_of_work_is_taken_once(monkeypatch):
    monkeypatch.setattr(threads, "num_threads", lambda: 4)
    taken = []

    def run(counter):
        while (piece := take_one(counter)) < 1000:
            taken.append(piece)

    threads.share_out(1000, run)
    assert sorted(taken) == list(range(1000))


@pytest.mark.parametrize("failing", ["the calling thread", "a helper"])
def test_an_error_in_any_thread_is_raised(monkeypatch, failing):
    monkeypatch.setattr(threads, "num_threads", lambda: 2)
    both = threading.Barrier(2, timeout=60)

    def run(counter):
        both.wait()
        if (threading.current_thread() is threading.main_thread()) == (failing == "the calling thread"):
            raise MemoryError

    with pytest.raises(MemoryError):
        threads.share_out(2, run)


def test_the_number_of_threads_is_that_of_numba():
    code = "import numba; from ultragcn.kernels.numba_cpu.threads import num_threads; print(num_threads());"
    code += "numba.set_num_threads(1); print(num_threads())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"NUMBA_NUM_THREADS": "3"})
    assert done.stdout.split() == ["3", "1"], done.stderr


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_what_a_signal_raises_within_a_kernel_is_raised_as_that(raised):
    inner = SystemError("returned a result with an exception set")
    inner.__cause__ = raised()
    with pytest.raises(raised), numba_cpu.numba_threads():
        raise SystemError("returned a result with an exception set") from inner
    with pytest.raises(SystemError, match="otherwise"), numba_cpu.numba_threads():
        raise SystemError("otherwise")


_FRESH = """
import hashlib
import numpy as np
from numba.core import event
from ultragcn import UltraGCN, load_dataset
from ultragcn.models.compiling import compile_all

class Compiled(event.Listener):
    def on_start(self, event):
        names.append(event.data["dispatcher"].__name__)
    def on_end(self, event):
        pass

names, data = [], load_dataset("demo")
event.register("numba:compile", Compiled())
compile_all()
print(len(names) > 0)
names.clear()
model = UltraGCN(epochs=4, l2_user=0.1, l2_item=0.1, item_graph_weight=0.3).fit(data.train, data.valid)
items, scores = model.recommend(data.train.user_ids.ids[:50].tolist(), 10)
model.recommend_for(data.train.item_ids.ids[:2].tolist())
for array in (model.user_embedding_, model.item_embedding_, scores):
    print(hashlib.sha256(np.ascontiguousarray(array)).hexdigest())
assert not names, names
"""


@pytest.mark.slow
def test_everything_can_be_compiled_beforehand_and_a_process_that_compiles_computes_the_same_bits_as_one_that_loads(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run([sys.executable, "-c", _FRESH], capture_output=True, text=True, env=environment) for _ in range(2)
    )  # fmt: skip
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    (compiled, *bits), (loaded, *the_same) = first.stdout.split(), second.stdout.split()
    assert (compiled, loaded) == ("True", "False")
    assert bits == the_same
