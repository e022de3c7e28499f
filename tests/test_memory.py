"""Memory: it is asked for in one place before it is taken, and running out of it is one sentence."""

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

import ultragcn
from ultragcn import (
    BPR,
    EASE,
    IALS,
    Interactions,
    ItemKNN,
    LightGCN,
    Popularity,
    RP3beta,
    SparseEASE,
    UltraGCN,
    load_model,
    machine,
    solvers,
)
from ultragcn.cli import main
from ultragcn.data import log
from ultragcn.data.ids import IdMap
from ultragcn.errors import UltraGCNError, UsageError
from ultragcn.machine import MemoryShortError, OutOfMemoryError, ask_for, ran_out
from ultragcn.models import lists
from ultragcn.scoring import ranking
from ultragcn.scoring.item_weights import most_entries

SOURCES = Path(ultragcn.__file__).parents[1]


@pytest.fixture
def free(monkeypatch):
    """Return what sets how many bytes are free, and lets small needs count too."""
    monkeypatch.setattr(machine, "_WORTH_ASKING", 0)

    def free(number):
        monkeypatch.setattr(machine, "free_memory", lambda: number)

    return free


@pytest.fixture
def pairs():
    matrix = sp.random_array((60, 40), density=0.2, format="csr", rng=np.random.default_rng(0))
    return Interactions(sp.csr_matrix(matrix), IdMap(np.arange(60), "user"), IdMap(np.arange(40), "item"))


def test_a_need_is_refused_where_it_is_above_what_is_free_and_nowhere_else(free):
    free(10**9)
    ask_for(10**9, "it", "take less")
    with pytest.raises(MemoryShortError, match=r"^it needs 1\.1 GB of memory, but 1\.0 GB are free; take less$") as caught:
        ask_for(11 * 10**8, "it", "take less")
    assert isinstance(caught.value, UsageError)
    assert isinstance(caught.value, MemoryError)
    ask_for(11 * 10**8, "it", "take less", free=2 * 10**9)
    free(None)
    ask_for(10**15, "it", "take less")


def test_small_needs_are_not_looked_at(monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: pytest.fail("looked"))
    ask_for(machine._WORTH_ASKING - 1, "it", "take less")


TRAINED = [
    (UltraGCN, {"embedding_dim": 8, "epochs": 2, "item_graph_weight": 0.0}, "lower embedding_dim"),
    (EASE, {}, "use SparseEASE"),
    (SparseEASE, {}, "lower num_weights"),
    (ItemKNN, {}, "lower num_neighbors"),
    (RP3beta, {}, "lower num_neighbors"),
    (IALS, {"embedding_dim": 8, "epochs": 1}, "lower embedding_dim"),
    (BPR, {"embedding_dim": 8, "epochs": 1}, "lower embedding_dim"),
    pytest.param(LightGCN, {"embedding_dim": 8, "epochs": 1, "device": "cpu"}, "lower embedding_dim", marks=pytest.mark.torch),
    pytest.param(
        UltraGCN, {"solver": "sgd", "embedding_dim": 8, "epochs": 1, "device": "cpu"}, "lower embedding_dim", marks=pytest.mark.torch
    ),
]


@pytest.mark.parametrize(("model", "settings", "advice"), TRAINED)
def test_training_is_refused_before_anything_is_made(free, pairs, model, settings, advice):
    if settings.get("device"):
        pytest.importorskip("torch")
    free(2000)
    unfitted = model(**settings)
    with pytest.raises(MemoryShortError, match=rf"{model.__name__} on .*40 items needs .*; {advice}") as caught:
        unfitted.fit(pairs)
    assert "\n" not in str(caught.value)
    assert not unfitted.is_fitted
    free(10**10)
    assert unfitted.fit(pairs).is_fitted


def test_the_item_graph_is_asked_for_by_itself(free, pairs, monkeypatch):
    monkeypatch.setattr(solvers, "memory", lambda sizes, config: 0)
    model = UltraGCN(embedding_dim=2, epochs=2, item_graph_weight=0.5)
    needed = 24 * most_entries(pairs.matrix, model.config.item_graph_neighbors)
    free(needed - 1)
    with pytest.raises(MemoryShortError, match=r"the item graph of 40 items needs .*; lower item_graph_neighbors"):
        model._ask_for_memory(pairs)


def test_weights_are_counted_by_items_and_by_the_users_that_they_share():
    matrix = sp.csr_matrix(np.array([[1, 1, 0, 0], [0, 1, 1, 0]], np.float32))
    assert most_entries(matrix, 1) == 4
    assert most_entries(matrix, 100) == 8  # 2 x 2 pairs of each user
    assert most_entries(sp.csr_matrix((2, 4), dtype=np.float32), 3) == 0


def test_lists_are_asked_for_where_they_are_returned_together(free, pairs):
    model = ItemKNN().fit(pairs)
    free(1000)
    for ask in (
        lambda: model.recommend(list(range(20)), top_k=10),
        lambda: model.recommend_frame(list(range(20)), top_k=10),
        lambda: model.recommend_for([[1]] * 20, top_k=10),
        lambda: model.similar_items(list(range(20)), top_k=10),
    ):
        with pytest.raises(MemoryShortError, match=r"a table of 20 lists of 10 items needs .*; take fewer users at a time"):
            ask()
    assert len(model.recommend(1, top_k=10)[0]) == 10


def test_long_lists_are_made_for_fewer_users_at_a_time_and_are_the_same(pairs, monkeypatch):
    model = UltraGCN(embedding_dim=4, epochs=2, item_graph_weight=0.0).fit(pairs)
    users = list(range(60))
    expected = [model.recommend(users, top_k=10, candidates=some) for some in (None, list(range(30)))]
    assert ranking.batch_users(20) == ranking.BATCH_USERS
    assert 1 <= ranking.batch_users(10**6) < 10
    assert ranking.batch_users(10**9) == 1
    monkeypatch.setattr(ranking, "_BATCH_PLACES", 70)
    blocks = list(model.rank(np.arange(60), 10))
    assert [len(block[0]) for block in blocks] == [7] * 8 + [4]
    for some, (items, scores) in zip((None, list(range(30))), expected, strict=True):
        again = model.recommend(users, top_k=10, candidates=some)
        np.testing.assert_array_equal(again[0], items)
        np.testing.assert_array_equal(again[1], scores)


def test_a_model_is_asked_for_before_it_is_read(free, pairs, tmp_path):
    Popularity().fit(pairs).save(tmp_path)
    free(100)
    with pytest.raises(MemoryShortError, match=r"the model in .*model\.safetensors needs "):
        load_model(tmp_path)


def test_rows_are_asked_for_before_they_are_sorted(free, tmp_path):
    (tmp_path / "log.csv").write_text("user,item\n" + "".join(f"{row % 10},{row // 10}\n" for row in range(100)))
    free(log._ROW_BYTES * 100 - 1)
    with pytest.raises(MemoryShortError, match=r"sorting the 100 rows of .*log\.csv needs .*; read fewer rows"):
        ultragcn.read_interactions(tmp_path / "log.csv")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((2**40,), np.dtype(np.float32)),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.\nmore"
        ),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    ],
)
def test_memory_that_runs_out_in_a_verb_is_one_sentence_of_ours(pairs, monkeypatch, error):
    def learn(*_):
        raise error

    monkeypatch.setattr(EASE, "_learn", learn)
    with pytest.raises(OutOfMemoryError, match=r"^memory ran out \(.* GB are left\): .*; give this process more, or take") as caught:
        EASE().fit(pairs)
    assert isinstance(caught.value, UltraGCNError)
    assert isinstance(caught.value, MemoryError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "No such file"), RuntimeError("something else"), ValueError("out of memory")])
def test_other_errors_stay_what_they_are(pairs, monkeypatch, error):
    def learn(*_):
        raise error

    monkeypatch.setattr(EASE, "_learn", learn)
    assert ran_out(error) is None
    with pytest.raises(type(error)) as caught:
        EASE().fit(pairs)
    assert caught.value is error


VERBS = {
    "train": "ultragcn.experiments.runs.train.train_run", "evaluate": "ultragcn.evaluation.evaluate.evaluate_by_user",
    "recommend": "ultragcn.models.registry.load_model", "similar": "ultragcn.models.registry.load_model",
    "explain": "ultragcn.models.registry.load_model", "diff": "ultragcn.models.registry.load_model",
    "export": "ultragcn.models.registry.load_model",
    "compare": "ultragcn.experiments.studies.compare.load_dataset", "sweep": "ultragcn.experiments.studies.sweep.sweep",
    "datasets": "ultragcn.cli.datasets.run", "doctor": "ultragcn.cli.doctor._examined", "report": "ultragcn.cli.report.run",
    "plan": "ultragcn.cli.train.resolve",
}  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_in_every_verb_of_the_command_memory_that_runs_out_is_one_line(verb, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    if verb == "evaluate":
        assert main(["train", "--dataset", "demo", "--model", "popularity", "--out", "run", "--quiet"]) == 0
    capsys.readouterr()

    def none_left(*given, **named):
        raise MemoryError

    monkeypatch.setattr(VERBS[verb], none_left)
    words = {
        "train": "--dataset demo --model popularity --quiet --out new", "evaluate": "run", "recommend": "run --all",
        "similar": "run --item 1", "explain": "run --user 1 --item 1", "diff": "run run",
        "export": "run --to numpy --out new",
        "compare": "--models popularity --quiet", "sweep": "--dataset demo --vary l2_user=0.1,0.2 --quiet",
        "report": "run",
    }  # fmt: skip
    assert main([verb, *words.get(verb, "").split()]) == 1
    err = capsys.readouterr().err
    assert err.splitlines()[-1].startswith("ultragcn: memory ran out (")
    assert "Traceback" not in err


LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
"""
AS_COMMAND = """
sys.argv = ["ultragcn", "datasets"]
runpy.run_module("ultragcn", run_name="__main__")
"""
IN_PYTHON = """
import ultragcn
from ultragcn.errors import UsageError
try:
    ultragcn.EASE
except UsageError as error:
    sys.exit(f"ultragcn: {error}")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not hold a process to a limit of addresses")
@pytest.mark.parametrize("code", [AS_COMMAND, IN_PYTHON])
def test_a_limit_of_addresses_under_which_no_library_loads_is_one_sentence_before_they_are_loaded(tmp_path, code):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED + code], capture_output=True, text=True, cwd=tmp_path, timeout=60, env={"PYTHONPATH": str(SOURCES)},
    )  # fmt: skip
    assert done.returncode in (1, 2)
    assert done.stderr == (
        "ultragcn: this process may have 1.1 GB of addresses (ulimit -v), but NumPy, polars and Numba need 1.3 GB before any work begins, "
        "most of it never used; raise the limit, as by ulimit -v unlimited\n"
    )


def test_the_bytes_of_a_place_are_those_that_lists_take():
    rows, ids = np.zeros((1000, 50), np.int32), IdMap(np.arange(10), "item")
    named, scores = lists.named(ids, rows, np.zeros((1000, 50), np.float32), one=False)
    held = rows.nbytes + scores.nbytes + named.nbytes
    assert held < lists._PLACE_BYTES * 1000 * 50 < 3 * held


def test_in_the_workbench_memory_that_runs_out_is_one_line(capsys):
    from arguments import run_as_program

    def none_left(argv):
        raise MemoryError

    with pytest.raises(SystemExit) as ended:
        run_as_program(none_left)
    assert ended.value.code == 1
    err = capsys.readouterr().err
    assert err.startswith("error: memory ran out (")
    assert err.count("\n") == 1
