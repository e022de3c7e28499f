"""Compiling is said wherever it happens: once, on stderr, with the folder in which the kernels are kept."""

import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.test_surroundings import SOURCES
from ultragcn import progress
from ultragcn.experiments.studies import workers
from ultragcn.kernels.numba_cpu import compiling

SENTENCE = "compiling the kernels that this needs, once: up to 20 seconds on most machines; they are kept in "


def run(folder, *words, code=None, cwd=None):
    """Run Python with `folder` as the cache; return how it ended."""
    sources = str(cwd if cwd is not None and cwd.name == "src" else SOURCES)
    environment = {"PYTHONPATH": sources, "NUMBA_CACHE_DIR": str(folder), "HOME": str(folder), "PATH": "/usr/bin:/bin"}
    start = ["-c", code] if code else ["-m", *words]
    return subprocess.run(
        [sys.executable, *start], capture_output=True, text=True, cwd=cwd or folder, timeout=500, env=environment
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder with a run in it and an empty cache, and what Python said while a model was trained."""
    folder = tmp_path_factory.mktemp("cold")
    code = """
from ultragcn import Popularity, load_dataset
from ultragcn.data.ids import IdMap
model = Popularity().fit(load_dataset("demo"))
model.recommend("user-0001")
model.save("model")
"""
    return folder, run(folder, code=code)


def test_in_python_it_is_one_line_on_stderr_without_progress(trained):
    folder, done = trained
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(SENTENCE + str(folder))
    assert done.stderr.count("\n") == 1


def test_what_is_in_the_cache_is_not_spoken_of(trained):
    folder, _ = trained
    done = run(folder, "ultragcn", "recommend", "model", "--users", "user-0001", "--top_k", "2")
    assert (done.returncode, done.stderr) == (0, "")


def empty(tmp_path):
    """Return a folder in which no kernel is."""
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.mark.parametrize(
    "words",
    [
        "recommend MODEL --users user-0001",
        "train --dataset demo --model popularity --out run",
        "compare --dataset demo --models popularity,ease --out compared",
        "sweep --dataset demo --model ease --vary l2=100,200 --jobs 2 --out swept",
        "doctor --compile",
    ],
)
@pytest.mark.slow
def test_in_each_command_it_is_one_line(trained, tmp_path, words):
    folder, _ = trained
    done = run(empty(tmp_path), "ultragcn", *words.replace("MODEL", str(folder / "model")).split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"ultragcn: {SENTENCE}{tmp_path / 'cache'}") == 1
    assert done.stderr.count("compiling the kernels") == 1


@pytest.mark.slow
def test_evaluating_says_it_too_and_quiet_training_does_not(trained, tmp_path):
    words = ["train", "--dataset", "demo", "--model", "popularity", "--out", "run", "--quiet"]
    quiet = run(empty(tmp_path), "ultragcn", *words, cwd=tmp_path)
    assert "compiling" not in quiet.stderr
    (tmp_path / "other").mkdir()
    done = run(tmp_path / "other", "ultragcn", "evaluate", str(tmp_path / "run"), cwd=tmp_path)
    assert done.stderr.count(f"ultragcn: {SENTENCE}{tmp_path / 'other'}") == 1


@pytest.mark.slow
@pytest.mark.torch
def test_the_workbench_says_it(tmp_path):
    pytest.importorskip("torch")
    shutil.copytree(SOURCES, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))  # it writes a table beside them
    shutil.copytree(SOURCES.parent / "configs", tmp_path / "configs")
    words = ["main", "--model", "ultragcn", "--dataset", "demo", "--epochs", "1"]
    done = run(empty(tmp_path), *words, cwd=tmp_path / "src")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(SENTENCE + str(tmp_path / "cache")) == 1


def test_where_kernels_cannot_be_kept_it_says_so(monkeypatch):
    said = []
    monkeypatch.setattr(compiling, "say", said.append)

    dispatcher = SimpleNamespace(py_func=progress.say, targetoptions={"nogil": True}, stats=SimpleNamespace(cache_path=None))
    compiling._Notice().on_start(SimpleNamespace(data={"dispatcher": dispatcher}))
    sentence = (
        "compiling the kernels that this needs, in each process: up to 20 seconds on most machines; there is no folder to keep them in"
    )
    assert said == [sentence]


def test_what_wants_to_know_is_called_before_a_kernel_is_compiled_and_no_more_afterwards(monkeypatch):
    monkeypatch.setattr(compiling, "say", lambda sentence: None)
    dispatcher = SimpleNamespace(py_func=progress.say, targetoptions={"nogil": True}, stats=SimpleNamespace(cache_path=None))
    starts, called = SimpleNamespace(data={"dispatcher": dispatcher}), []
    with compiling.calling_when_a_kernel_is_compiled(lambda: called.append(1)):
        compiling._Notice().on_start(starts)
    compiling._Notice().on_start(starts)
    assert called == [1]


def test_a_sentence_is_said_once_in_each_process(monkeypatch, caplog):
    monkeypatch.setattr(progress, "_said", set())
    progress.say("once")
    progress.say("once")
    assert [record.getMessage() for record in caplog.records] == ["once"]


def says_and_returns(number):
    progress.say("from a worker")
    return number + 1


def test_what_a_worker_has_to_say_is_said_by_the_process_that_has_it(monkeypatch, caplog, capfd):
    monkeypatch.setattr(progress, "_said", set())
    for _ in range(2):
        worker = workers.Worker(says_and_returns)
        try:
            worker.call(1)
            assert worker.result().result == 2
        finally:
            worker.end()
    assert [record.getMessage() for record in caplog.records] == ["from a worker"]
    assert "from a worker" not in capfd.readouterr().err
