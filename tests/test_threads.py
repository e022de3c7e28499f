"""How many threads work: limits hold for the work they are given to, and nothing is left of them."""

import threading

import pytest

from tests.conftest import interactions_of, random_interactions
from ultragcn import UltraGCN, machine
from ultragcn.kernels import numba_cpu
from ultragcn.models.lightgcn import LightGCN


def of_blas():
    return [library.get_num_threads() for library in numba_cpu.threads._blas().lib_controllers]


@pytest.fixture
def four_blas_threads():
    """BLAS with four threads, however many cores there are."""
    libraries = numba_cpu.threads._blas().lib_controllers
    before = of_blas()
    give(libraries, [4] * len(libraries))
    yield
    give(libraries, before)


def give(libraries, numbers):
    for library, number in zip(libraries, numbers, strict=True):
        getattr(library, "clear_controlling_thread", lambda force: None)(force=True)
        library.set_num_threads(number)


def test_a_limit_belongs_to_the_thread_it_was_set_in_and_ends_with_its_block():
    seen = []
    with machine.limited_threads(3):
        thread = threading.Thread(target=lambda: seen.append(machine.thread_limit()))
        thread.start()
        thread.join()
        with machine.limited_threads(None), machine.limited_threads(2):
            assert machine.thread_limit() == 2
        assert machine.thread_limit() == 3
    assert seen == [None]
    with pytest.raises(ZeroDivisionError), machine.limited_threads(1):
        raise ZeroDivisionError
    assert machine.thread_limit() is None


def test_of_several_limits_of_blas_the_smallest_counts_and_the_last_one_out_ends_it(four_blas_threads):
    both, first_out, second_out = (threading.Event() for _ in range(3))
    within = []

    def other():
        with numba_cpu.blas_threads(2):
            both.set()
            assert first_out.wait(60)
            within.append(of_blas())
        second_out.set()

    thread = threading.Thread(target=other)
    with numba_cpu.blas_threads(3):
        assert set(of_blas()) == {3}
        thread.start()
        assert both.wait(60)
        assert set(of_blas()) == {2}
    first_out.set()
    assert second_out.wait(60)
    thread.join()
    assert set(within[0]) == {2}
    assert set(of_blas()) == {4}


def test_a_limit_never_gives_blas_more_than_it_had(four_blas_threads):
    with numba_cpu.blas_threads(9):
        assert set(of_blas()) == {4}


@pytest.mark.parametrize("model", [LightGCN, UltraGCN])
def test_pytorch_keeps_to_num_threads_while_it_trains_and_is_given_back_what_it_had(model, monkeypatch):
    torch = pytest.importorskip("torch")
    before, within = torch.get_num_threads(), []
    torch.set_num_threads(2)
    settings = {"embedding_dim": 2, "epochs": 1, "device": "cpu"} | ({"solver": "sgd"} if model is UltraGCN else {})
    monkeypatch.setattr(torch.optim.Adam, "step", lambda *arguments: within.append(torch.get_num_threads()))
    try:
        model(**settings, num_threads=1).fit(random_interactions(9, 9, 0.4))
        assert within
        assert set(within) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_list_that_is_read_block_by_block_limits_nothing_between_its_blocks():
    model = UltraGCN(embedding_dim=2, epochs=1, num_threads=1).fit(interactions_of([[1, 0], [0, 1]]))
    for _ in model.rank(model.user_ids.rows([0, 1]), 1):
        assert machine.thread_limit() is None
