"""How many threads work: limits hold for the work they are given to, and nothing is left of them."""

import threading
from pathlib import Path

import pytest

from tests.conftest import interactions_of, random_interactions
from ultragcn import UltraGCN, machine
from ultragcn.cli import main
from ultragcn.experiments.studies import compare, workers
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


@pytest.fixture
def noted(monkeypatch):
    """Return the limits under which kernels were asked how many threads there are."""
    limits = set()
    ask = numba_cpu.threads.num_threads
    monkeypatch.setattr(numba_cpu.threads, "num_threads", lambda: limits.add(machine.thread_limit()) or ask())
    return limits


@pytest.mark.parametrize("command", ["train --dataset demo --model bpr --embedding_dim 4 --epochs 1 --out new --quiet", "evaluate run",
                                     "recommend run --all"])  # fmt: skip
def test_a_command_keeps_to_num_threads(command, noted, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--dataset", "demo", "--model", "bpr", "--embedding_dim", "4", "--epochs", "1", "--out", "run", "--quiet"]) == 0
    noted.clear()
    assert main([*command.split(), "--num_threads", "1"]) == 0
    assert noted == {1}
    assert machine.thread_limit() is None


@pytest.mark.parametrize("command", ["train --model popularity", "evaluate run", "recommend run --all", "similar run --item 1", "compare",
                                     "sweep --dataset demo --vary l2_user=1,2"])  # fmt: skip
@pytest.mark.parametrize("given", ["0", "-1", "two", "1.5"])
def test_a_number_of_threads_that_is_none_is_one_sentence(command, given, capsys):
    assert main([*command.split(), f"--num_threads={given}"]) == 2
    assert capsys.readouterr().err == f"ultragcn: --num_threads must be a whole number of 1 or more, or auto, not {given}\n"


def test_the_jobs_of_a_sweep_share_num_threads(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["sweep", "--dataset", "demo", "--model", "ease", "--vary", "l2=100,200", "--jobs", "2", "--num_threads", "4"]
    made = []

    class StopError(Exception):
        pass

    def worker(function, threads):
        made.append(threads)
        raise StopError

    monkeypatch.setattr(workers, "Worker", worker)
    with pytest.raises(StopError):
        main(words)
    assert made == [2]
    assert main([*words, "--threads", "2"]) == 2
    assert "give one of the" in capsys.readouterr().err
    assert main([*words, "--slurm", "night.sh"]) == 0
    assert "--cpus-per-task=4" in Path("night.sh").read_text()


def test_the_runs_of_a_comparison_keep_to_num_threads(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    made = []

    class StopError(Exception):
        pass

    def worker(function, threads):
        made.append(threads)
        raise StopError

    monkeypatch.setattr(compare, "Worker", worker)
    with pytest.raises(StopError):
        main(["compare", "--dataset", "demo", "--models", "popularity", "--num_threads", "3", "--quiet"])
    assert made == [3]


def test_a_limit_around_a_model_holds_in_it_and_the_smaller_one_counts(noted):
    data = random_interactions(9, 9, 0.4)
    with machine.limited_threads(2):
        UltraGCN(embedding_dim=2, epochs=1, num_threads=5).fit(data)
    assert noted == {2}
    noted.clear()
    with machine.limited_threads(2):
        UltraGCN(embedding_dim=2, epochs=1, num_threads=1).fit(data)
    assert noted == {1}
