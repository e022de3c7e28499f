"""Threads and forks: one model asked by many at once, and children of a process that ranked, trained and read."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_sixteen_threads_and_forked_children_get_equal_answers_or_one_sentence(tmp_path):
    script = BENCHMARKS / "threads_and_forks.py"
    words = [sys.executable, "-W", "ignore", str(script), "--seconds", "4", "--threads", "16", "--forks", "8", "--seed", "3"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    (threads, *of_threads), (forks, *of_forks) = (line.split("\t") for line in done.stdout.splitlines()[1:3])
    assert (threads, forks) == ("16 threads x 4 s", "8 forks")
    assert int(of_threads[0]) >= 16
    assert (of_threads[3], of_forks[3]) == ("0", "0")
    assert int(of_forks[0]) == 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_what_goes_wrong_in_a_child_is_noticed():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        script = importlib.import_module("threads_and_forks")
    finally:
        sys.path.remove(str(BENCHMARKS))
    assert script.fork([lambda: "equal", lambda: "a sentence"]) == "equal"
    assert script.fork([lambda: "a sentence"]) == "a sentence"
    assert script.fork([lambda: "equal", lambda: "other"]) == "other"
    assert script.fork([lambda: os._exit(3)]).startswith("ended with")
