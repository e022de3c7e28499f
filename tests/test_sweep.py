"""Sweeps: studies that survive anything, are shared by processes, and give what each trial gives on its own."""

import importlib.util
import inspect
import json
import multiprocessing
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import trials_for_sweeps as trials
from ultragcn import UltraGCN, evaluate, load_dataset, storage
from ultragcn.cli import main, parse
from ultragcn.cli import sweep as sweep_command
from ultragcn.config import read_config
from ultragcn.errors import MissingDependencyError, UltraGCNError, UsageError
from ultragcn.experiments.studies import claims, model_study, space, study
from ultragcn.experiments.studies.space import Range, Values
from ultragcn.experiments.studies.study import Study, read_results, read_study, summarise
from ultragcn.experiments.studies.sweep import sweep
from ultragcn.machine import num_cores
from ultragcn.models.itemknn import ItemKNN
from ultragcn.models.registry import every_value
from ultragcn.progress import Silent

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"


def parabola_study(**changes):
    kept = {
        "name": "parabola", "parameters": {"x": Values((0.0, 0.2, 0.5)), "kind": Values(("a", "b"))}, "metrics": ("score",),
        "choose_by": "score", "seeds": (0, 1),
    }  # fmt: skip
    return Study(**(kept | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A grid of 3 x 2 trials and 2 seeds, run by two workers, and its folder."""
    out = tmp_path_factory.mktemp("study") / "out"
    return sweep(parabola_study(), trials.parabola, out, jobs=2), out


# ------------------------------------------------------------- what varies


def test_a_grid_has_every_combination_and_a_list_takes_values_together():
    over = {"a": Values((1, 2)), "b": Range(0, 4, step=2)}
    assert space.grid(over) == [{"a": a, "b": b} for a in (1, 2) for b in (0, 2, 4)]
    assert space.together({"a": Values((1, 2)), "b": Values(("x", "y"))}) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    with pytest.raises(UsageError, match=r"as long as each other, not \{'a': 2, 'b': 3\}"):
        space.together(over)
    steps = {"a": Values((1, 1, 2)), "b": Values((3, 4, 3))}
    assert parabola_study(parameters=steps, sampler="list").points() == [{"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 3}]
    with pytest.raises(UsageError, match="trials 1 and 3 of this list are the same"):
        space.together({"a": Values((1, 2, 1))})


def test_chance_draws_within_the_range_the_same_for_a_trial_and_short_enough_for_a_table():
    over = {"a": Range(1e-4, 1e-1, log=True), "b": Range(1, 64, log=True), "c": Range(0.1, 0.5, step=0.1), "d": Values(("x", "y"))}
    points = [space.drawn(over, 0, trial) for trial in range(300)]
    assert points == [space.drawn(over, 0, trial) for trial in range(300)]
    assert points[0] != space.drawn(over, 1, 0)
    a, b, c, d = (np.array([point[name] for point in points]) for name in "abcd")
    assert 1e-4 <= a.min() < 3e-4
    assert 3e-2 < a.max() <= 1e-1
    assert 0.35 < np.mean(a < np.sqrt(1e-4 * 1e-1)) < 0.65  # log: as many below the geometric mean as above
    assert set(b) >= {1, 2, 3, 64} or b.dtype.kind == "i"
    assert set(c) == {0.1, 0.2, 0.3, 0.4, 0.5}
    assert set(d) == {"x", "y"}
    assert all(float(f"{value:.6g}") == value for value in a)


@pytest.mark.parametrize(
    ("described", "says"),
    [
        ({"a": 3}, "vary a: give a list of values or a range"), ({"a": []}, "at least one"),
        ({"a": {"low": 1}}, "needs low and high"), ({"a": {"low": 1, "high": 2, "logs": True}}, "not 'logs'; did you mean log"),
        ({"a": {"low": 2, "high": 1}}, "from low to a larger high"), ({"a": {"low": 0, "high": 1, "log": True}}, "begins above 0"),
        ({"a": {"low": 0, "high": 1, "step": 2}}, "above 0 and at most 1"), ({"a": {"low": "x", "high": 1}}, "has numbers"),
    ],
)  # fmt: skip
def test_what_cannot_be_varied_is_refused_in_one_sentence(described, says):
    with pytest.raises(UsageError, match=says):
        space.space_of(described)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sampler": "gird"}, "did you mean grid"), ({"choose_by": "scroe"}, "did you mean score"),
        ({"seeds": ()}, "whole numbers of 0 or more"),
        ({"seeds": (1, 1)}, "none twice"), ({"parameters": {}}, "nothing varies"), ({"fixed": {"x": 1}}, "both fixed and varied"),
        ({"parameters": {"seed": Values((1,))}}, "another name"),
        ({"parameters": {"x": Values((1, 1))}, "sampler": "grid"}, "vary x: with sampler grid no value comes twice"),
        ({"trials": -1}, "20 of random or tpe., not -1"), ({"prune": True}, "needs sampler tpe"),
        ({"direction": "up"}, "unknown direction"),
    ],
)  # fmt: skip
def test_a_study_that_contradicts_itself_is_refused(changes, says):
    with pytest.raises(UsageError, match=says):
        parabola_study(**changes)


# ------------------------------------------------------------- a sweep and its folder


def test_every_trial_is_run_once_with_every_seed_and_the_best_one_is_found(finished):
    outcome, out = finished
    lines = storage.read_rows(out / "results.tsv")
    assert sorted((int(line["trial"]), int(line["seed"])) for line in lines) == [(t, s) for t in range(6) for s in (0, 1)]
    assert {line["state"] for line in lines} == {"done"}
    assert outcome.best.parameters == {"x": 0.2, "kind": "a"}
    assert outcome.best.means["score"] == pytest.approx(1 - 0.01 + 0.0005)
    assert (outcome.num_ended, outcome.num_runs) == (12, 12)
    assert list(lines[0])[:6] == ["trial", "seed", "state", "x", "kind", "score"]
    assert "numpy" in lines[0]["versions"]
    assert float(lines[0]["peak_memory_mb"]) > 20
    assert lines[0]["best_epoch"] == "6"


def test_each_run_leaves_its_log_and_its_curve(finished):
    _, out = finished
    assert (out / "trials/2-1/log.txt").read_text() == "x is 0.2\n"
    curve = storage.read_rows(out / "trials/2-1/history.tsv")
    assert [row["epoch"] for row in curve] == ["1", "2", "3", "4", "5", "6"]
    assert float(curve[-1]["score"]) == pytest.approx(0.991 - 1 / 6)


def test_what_is_there_is_read_back_as_it_was_run(finished):
    outcome, out = finished
    kept = read_study(out)
    assert kept.parameters == parabola_study().parameters
    assert kept.seeds == (0, 1)
    rows = read_results(out)
    assert rows[5].parameters == {"x": 0.2, "kind": "a"}
    assert rows[5].metrics == {"score": 0.991}
    assert summarise(rows) == outcome.summaries


def test_seeds_become_a_mean_and_a_t_interval():
    values = {0: (1.0, 2.0, 4.0), 1: (3.0,)}
    rows = [
        study.Row(trial, seed, "done", {"x": trial}, {"score": value}, None, 2.0, 10.0 * (seed + 1), "", "")
        for trial, of_trial in values.items()
        for seed, value in enumerate(of_trial)
    ]
    first, second = summarise(rows)
    half = 4.302653 * np.std([1, 2, 4], ddof=1) / np.sqrt(3)  # t of 2 degrees of freedom
    assert first.means == {"score": pytest.approx(7 / 3)}
    assert first.intervals["score"] == pytest.approx((7 / 3 - half, 7 / 3 + half), abs=1e-5)
    assert (first.num_seeds, first.train_seconds, first.peak_memory_mb) == (3, 2.0, 30.0)
    assert second.intervals == {}
    assert study.best(parabola_study(), [first, second]) == first  # the other has fewer seeds
    assert study.best(parabola_study(), []) is None


def test_what_is_done_is_not_run_again_and_more_seeds_values_and_trials_are_added(tmp_path):
    told, out = [], tmp_path / "out"
    small = parabola_study(parameters={"x": Values((0.0, 0.5)), "kind": Values(("a",))}, seeds=(0,))
    sweep(small, trials.parabola, out)
    before = (out / "results.tsv").read_text()
    sweep(small, trials.failing, out, tell=told.append)  # not run, so it cannot matter what it is
    assert (out / "results.tsv").read_text() == before
    assert told == [f"2 of 2 runs found in {out}"]
    outcome = sweep(parabola_study(), trials.parabola, out)
    assert (out / "results.tsv").read_text().startswith(before)
    assert len(storage.read_rows(out / "results.tsv")) == 12
    assert [summary.parameters for summary in outcome.summaries[:2]] == [{"x": 0.0, "kind": "a"}, {"x": 0.5, "kind": "a"}]
    assert storage.read_json(out / "study.json")["seeds"] == [0, 1]
    sweep(small, trials.failing, out)
    assert storage.read_json(out / "study.json")["seeds"] == [0, 1]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"parameters": {"x": Range(0.0, 0.5, step=0.1), "kind": Values(("a", "b"))}}, "something else varies"),
        ({"parameters": {"y": Values((0.0,))}}, "something else varies"), ({"sampler": "random"}, "another sampler"),
        ({"fixed": {"z": 1}}, "other fixed settings"), ({"about": {"data_hash": "x"}}, "other data"),
        ({"direction": "minimize"}, "another metric to choose by"), ({"metrics": ("score", "loss")}, "other metrics"),
        ({"about": {"settings": {"w1": 1.0}}}, "other settings kept for the data"),
        ({"about": {"settings_hash": "x"}}, "other defaults"),
    ],
)  # fmt: skip
def test_another_study_in_the_folder_is_refused_not_mixed(finished, changes, what):
    _, out = finished
    before = (out / "study.json").read_bytes()
    with pytest.raises(UsageError, match=rf"holds another study \({what}\)"):
        sweep(parabola_study(**changes), trials.parabola, out)
    assert (out / "study.json").read_bytes() == before


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="files of something else"):
        sweep(parabola_study(), trials.parabola, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UsageError, match=r"thesis\.tex for a study: Not a directory"):
        sweep(parabola_study(), trials.parabola, tmp_path / "thesis.tex")
    with pytest.raises(UsageError, match="holds no study"):
        read_study(tmp_path)


@pytest.mark.parametrize("content", ["a\tb\n1\t2\n", None])
def test_results_that_sweep_has_not_written_are_refused_in_one_sentence(finished, tmp_path, content):
    text = (finished[1] / "results.tsv").read_text()
    (tmp_path / "results.tsv").write_text(content or text.replace("0.991", "many"))
    with pytest.raises(UsageError, match=r"results\.tsv is not as ultragcn sweep writes it"):
        read_results(tmp_path, parabola_study())


def test_a_trial_that_fails_says_why_and_the_others_are_run(tmp_path):
    few = parabola_study(parameters={"x": Values((0, 1, 2))}, seeds=(0,))
    outcome = sweep(few, trials.failing, tmp_path / "out", jobs=2)
    assert [summary.state for summary in outcome.summaries] == ["done", "failed", "done"]
    [row] = [row for row in read_results(tmp_path / "out") if row.state == "failed"]
    assert row.why == outcome.summaries[1].why == "ZeroDivisionError: no such x"
    assert row.metrics == {}
    assert row.train_seconds is None
    assert "in failing" in (tmp_path / "out/trials/1-0/log.txt").read_text()
    assert outcome.best.trial == 0


def test_a_trial_whose_process_is_killed_again_and_again_fails_and_the_others_are_run(tmp_path):
    outcome = sweep(parabola_study(parameters={"x": Values((0, 1, 2))}, seeds=(0,)), trials.suicidal, tmp_path / "out")
    assert [summary.state for summary in outcome.summaries] == ["done", "failed", "done"]
    assert "was killed 3 times" in read_results(tmp_path / "out")[1].why


def test_a_metric_that_the_study_does_not_know_is_a_failure_that_says_so(tmp_path):
    outcome = sweep(parabola_study(parameters={"x": Values((0,))}, seeds=(0,)), trials.talkative, tmp_path / "out")
    assert outcome.best is None
    assert "returned 'scroe', which is no metric of the study (score)" in read_results(tmp_path / "out")[0].why


def test_a_trial_that_no_other_process_can_import_is_an_error_and_not_a_failed_trial(tmp_path, capfd):
    module = type(sys)("nowhere")
    exec("def trial(parameters, seed, report): return {}", module.__dict__)
    sys.modules["nowhere"] = module
    try:
        with pytest.raises(UltraGCNError, match="another process can import"):
            sweep(parabola_study(), module.trial, tmp_path / "out")
    finally:
        del sys.modules["nowhere"]
    assert not (tmp_path / "out/results.tsv").exists()


def test_the_cores_are_shared_out_and_each_run_has_its_own_peak_memory(tmp_path):
    hungry = parabola_study(parameters={"megabytes": Values((300, 1))}, seeds=(0,))
    sweep(hungry, trials.hungry, tmp_path / "out", threads=3)
    large, small = read_results(tmp_path / "out")
    assert large.metrics == {"score": 3.0}
    assert large.peak_memory_mb > 300
    if Path("/proc/self/clear_refs").exists():
        assert small.peak_memory_mb < 250  # the same worker ran both
    sweep(hungry, trials.hungry, tmp_path / "other", jobs=num_cores())
    assert read_results(tmp_path / "other")[0].metrics == {"score": 1.0}
    with pytest.raises(UsageError, match="jobs must be a whole number of 1 or more, not 0"):
        sweep(hungry, trials.hungry, tmp_path / "third", jobs=0)


# ------------------------------------------------------------- Optuna


def tpe_study(**changes):
    return parabola_study(**({"parameters": {"x": Range(0.0, 1.0), "kind": Values(("a", "b"))}, "sampler": "tpe", "trials": 14} | changes))


def test_tpe_learns_prunes_and_gives_the_same_again(tmp_path):
    outcome = sweep(tpe_study(prune=True), trials.parabola, tmp_path / "a")
    states = [summary.state for summary in outcome.summaries]
    assert len(states) == 14
    assert states.count("pruned") >= 2
    assert set(states) == {"done", "pruned"}
    assert outcome.num_ended == outcome.num_runs
    assert outcome.best.parameters["kind"] == "a"
    assert abs(outcome.best.parameters["x"] - 0.3) < 0.2
    pruned = next(row for row in read_results(tmp_path / "a") if row.state == "pruned")
    assert pruned.metrics == {}
    assert len(storage.read_rows(tmp_path / "a" / f"trials/{pruned.trial}-{pruned.seed}/history.tsv")) < 6
    again = sweep(tpe_study(prune=True, seeds=(0,)), trials.parabola, tmp_path / "b")
    assert [s.parameters for s in again.summaries][:10] == [s.parameters for s in outcome.summaries][:10]
    more = sweep(tpe_study(prune=True, trials=16), trials.parabola, tmp_path / "a")
    assert [s.parameters for s in more.summaries[:14]] == [s.parameters for s in outcome.summaries]
    assert len(more.summaries) == 16


def test_without_optuna_tpe_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependencyError, match=r"needs Optuna, which is not installed.*\[tune\]"):
        sweep(tpe_study(), trials.parabola, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------- sharing and surviving

SHARED = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests import trials_for_sweeps as trials
from tests.test_sweep import {study}
from ultragcn.experiments.studies.sweep import sweep
from ultragcn.machine import num_cores
if __name__ == "__main__":
    sweep({study}({changes}), trials.slow, Path(sys.argv[1]), jobs=int(sys.argv[2]))
"""


def begin(tmp_path, study, jobs, changes="", out="out"):
    """Start a sweep in a process of its own, and of its own group."""
    script = tmp_path / "shared.py"
    text = SHARED.format(root=str(ROOT), study=study, changes=changes)
    if not script.exists() or script.read_text() != text:  # another process may be about to read it
        script.write_text(text)
    return subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / out), str(jobs)], env=os.environ | {"PYTHONPATH": str(SRC)}, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip


def ended_well(process):
    _, errors = process.communicate(timeout=60)
    return process.returncode == 0 or errors


def alive(group):
    """Whether any process of the group is still there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def lines_of(path):
    """The lines of results.tsv, without what is measured."""
    measured = ("train_seconds", "peak_memory_mb", "ended")
    return sorted(tuple(value for name, value in row.items() if name not in measured) for row in storage.read_rows(path))


def test_the_half_written_study_of_another_process_is_not_somebody_else_s(tmp_path):
    (tmp_path / ".study.json.abc.part").write_text("{")
    asked = parabola_study()
    assert len(study.open_folder(tmp_path, asked)) == len(asked.points())


def test_a_claim_that_is_back_already_closes_no_file_of_somebody_else(tmp_path):
    held = claims.claim(tmp_path / "it")
    held.release()
    with open(tmp_path / "other", "w") as other:  # most likely gets the number that the claim had
        held.abandon()
        held.abandon()
        other.write("still open")
    assert (tmp_path / "other").read_text() == "still open"


@pytest.mark.parametrize("kind", ["parabola_study", "tpe_study"])
def test_two_processes_that_share_a_study_never_run_the_same(tmp_path, kind):
    processes = [begin(tmp_path, kind, jobs=2, changes="fixed={'seconds': 0.3}") for _ in range(2)]
    assert [ended_well(process) for process in processes] == [True, True]
    runs = [(int(row["trial"]), int(row["seed"])) for row in storage.read_rows(tmp_path / "out/results.tsv")]
    count = {"parabola_study": 6, "tpe_study": 14}[kind]
    assert sorted(runs) == [(trial, seed) for trial in range(count) for seed in (0, 1)]
    points = {tuple(row.parameters.items()) for row in read_results(tmp_path / "out")}
    assert len(points) == count
    assert {path.name for path in (tmp_path / "out/claims").iterdir()} <= {"study", "ask", "journal"}


@pytest.mark.parametrize("kind", ["parabola_study", "tpe_study"])
def test_a_sweep_that_is_killed_again_and_again_ends_with_the_table_of_one_that_is_not(tmp_path, kind):
    random.seed(1)
    for _ in range(4):
        process = begin(tmp_path, kind, jobs=1)
        time.sleep(random.uniform(1.0, 2.0))
        workers_of = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        victims = [int(pid) for pid in workers_of.read_text().split()] if workers_of.exists() else []
        for victim in random.choice([[process.pid], [*victims, process.pid]]):
            os.kill(victim, signal.SIGKILL)
        process.communicate()
    last, whole = begin(tmp_path, kind, jobs=1), begin(tmp_path, kind, jobs=1, out="whole")
    assert [ended_well(last), ended_well(whole)] == [True, True]
    assert lines_of(tmp_path / "out/results.tsv") == lines_of(tmp_path / "whole/results.tsv")


def test_ctrl_c_says_what_is_kept_and_leaves_no_process(tmp_path):
    process = begin(tmp_path, "parabola_study", jobs=2, changes="fixed={'seconds': 0.4}")
    deadline = time.monotonic() + 60
    while not (tmp_path / "out/results.tsv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert errors.splitlines()[-1].startswith("KeyboardInterrupt: interrupted; ")
    assert errors.splitlines()[-1].endswith(f"of 12 runs are kept in {tmp_path / 'out'}; the same command goes on from there")
    while alive(process.pid) and time.monotonic() < deadline + 60:
        time.sleep(0.05)
    assert not alive(process.pid)


def test_an_interrupt_in_this_process_gives_the_trial_back(tmp_path):
    class Interrupting(Silent):
        def advance(self, steps, figures=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="1 of 12 runs are kept"):
        sweep(parabola_study(), trials.parabola, tmp_path / "out", progress=Interrupting())
    assert sweep(parabola_study(), trials.parabola, tmp_path / "out").num_ended == 12


def test_a_claim_is_one_process_s_until_it_is_released_or_its_process_is_gone(tmp_path):
    first = claims.claim(tmp_path / "claims/3-0")
    assert json.loads((tmp_path / "claims/3-0").read_text())["pid"] == os.getpid()
    assert claims.claim(tmp_path / "claims/3-0") is None
    first.release()
    assert not (tmp_path / "claims/3-0").exists()
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys, time; from pathlib import Path; from ultragcn.experiments.studies.claims import claim; "
         f"c = claim(Path({str(tmp_path / 'claims/3-0')!r})); print('held', flush=True); time.sleep(60)"],
        env=os.environ | {"PYTHONPATH": str(SRC)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    assert claims.claim(tmp_path / "claims/3-0") is None
    holder.kill()
    holder.communicate()
    second = claims.claim(tmp_path / "claims/3-0")
    assert second is not None
    second.release()


def append_rows(path, writer, count):
    for number in range(count):
        storage.append_row(path, {"writer": writer, "number": number, "text": "x" * (number % 50)})


def test_eight_writers_that_are_killed_leave_whole_lines_and_lose_none(tmp_path):
    path, generator = tmp_path / "rows.tsv", random.Random(0)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=append_rows, args=(path, writer, 100_000)) for writer in range(8)]
    for process in writers:
        process.start()
    time.sleep(0.5)
    for process in generator.sample(writers, len(writers)):
        time.sleep(generator.uniform(0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    lines = path.read_text().splitlines()
    assert lines[0] == "writer\tnumber\ttext"
    numbers = {writer: [] for writer in range(8)}
    for line in lines[1:]:
        writer, number, text = line.split("\t")
        numbers[int(writer)].append(int(number))
        assert text == "x" * (int(number) % 50)
    assert sum(map(len, numbers.values())) > 100
    assert all(of_writer == list(range(len(of_writer))) for of_writer in numbers.values())


# ------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def swept(log, tmp_path_factory):
    """A study file, run by the command with two jobs."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "l2.toml").write_text(
        f'dataset = "{log}"\nsampler = "random"\ntrials = 3\nseeds = 2\nchoose_by = "ndcg@5"\n'
        '[vary]\n"l2_user,l2_item" = { low = 0.1, high = 1, log = true }\nnegative_weight = [100, 300]\n[fixed]\nembedding_dim = 8\n'
    )
    assert main(["sweep", str(folder / "l2.toml"), "--out", str(folder / "out"), "--jobs", "2", "--quiet"]) == 0
    return folder / "out"


def test_the_numbers_of_a_trial_are_those_of_its_run_alone(swept, log):
    data = load_dataset(log)
    rows = read_results(swept)
    assert len(rows) == 6
    for row in rows:
        strength, weight = row.parameters.values()
        model = UltraGCN(embedding_dim=8, l2_user=strength, l2_item=strength, negative_weight=weight, seed=row.seed)
        model.fit(data.train, data.valid)
        alone = evaluate(model, data.valid, ["ndcg@5", "recall@20"])
        assert row.metrics["valid_ndcg@5"] == float(f"{alone['ndcg@5']:.8g}")
        assert row.metrics["valid_recall@20"] == float(f"{alone['recall@20']:.8g}")
        assert row.best_epoch == model.best_epoch_
        curve = storage.read_rows(swept / f"trials/{row.trial}-{row.seed}/history.tsv")
        assert [line["loss"] for line in curve] == [f"{record['loss']:.8g}" for record in model.history_]


def test_test_is_not_measured_under_clean_and_named_under_authors(swept, log, tmp_path, capsys):
    header = (swept / "results.tsv").read_text().splitlines()[0]
    assert "valid_ndcg@5" in header
    assert "test" not in header
    words = [
        "sweep",
        "--dataset",
        str(log),
        "--protocol",
        "authors",
        "--vary",
        "embedding_dim=4,8",
        "--out",
        str(tmp_path / "out"),
        "--quiet",
    ]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "test_ndcg@20" in printed.out
    assert "chose on the test set" in printed.err


def test_the_best_trial_is_a_configuration_that_train_takes(swept, log, tmp_path, capsys):
    best = study.best(read_study(swept), summarise(read_results(swept)))
    text = (swept / "best.toml").read_text()
    values = read_config(swept / "best.toml").values
    auto = best.parameters["l2_user,l2_item"] == "auto"  # of trial 0
    assert values.get("l2_user") == values.get("l2_item") == (None if auto else best.parameters["l2_user,l2_item"])
    assert values["embedding_dim"] == 8
    assert "seed" not in values
    assert f"# Trial {best.trial} of the study l2" in text
    assert "over 2 seeds (0, 1)" in text
    assert "commit" in text
    assert main(["train", "--dataset", str(log), "--config", str(swept / "best.toml"), "--out", str(tmp_path / "run"), "--quiet"]) == 0
    metrics = storage.read_json(tmp_path / "run/metrics.json")
    [row] = [row for row in read_results(swept) if (row.trial, row.seed) == (best.trial, 0)]
    assert row.metrics["valid_recall@20"] == float(f"{metrics['valid']['recall@20']:.8g}")


def test_the_quick_form_of_a_baseline_prints_the_best_and_a_file_for_train_and_compare(log, tmp_path, capsys):
    out = tmp_path / "out"
    words = [
        "sweep",
        "--dataset",
        str(log),
        "--model",
        "ease",
        "--vary",
        "l2=1,10,100",
        "--choose_by",
        "recall@5",
        "--out",
        str(out),
        "--quiet",
    ]
    assert main(words) == 0
    printed = capsys.readouterr()
    names = [line.split("\t")[0] for line in printed.out.splitlines()]
    assert names == ["trial", "chosen_by", "l2", "valid_recall@20", "valid_ndcg@20", "valid_recall@5", "configuration"]
    assert "4 of 4 runs; results are in" in printed.err
    assert re.search(r"(Trial \d beats|No trial beats) trial 0, the settings in use without a sweep, .*in valid_recall@5 \(", printed.err)
    assert "[ease]\nl2 = " in (out / "best.toml").read_text()
    # The file says every value, because compare puts it over what is kept for the data.
    kept = read_study(out)
    best = study.best(kept, summarise(read_results(out)))._replace(parameters={"num_neighbors": 100})
    file = model_study.write_best(tmp_path, replace(kept, about=kept.about | {"settings": {}}), "itemknn", {"source": "electronics"}, best)
    assert tomllib.loads(file.read_text())["itemknn"] == every_value(ItemKNN(num_neighbors=100))
    source = {"source": "my log.csv", "split": "last", "last_k": 2, "min_rating": 4, "protocol": "authors", "titles": None}
    text = model_study.write_best(tmp_path, kept, "ease", source, best._replace(parameters={})).read_text()
    options = "--split last --last_k 2 --min_rating 4 --protocol authors"
    assert f"# ultragcn train --dataset 'my log.csv' {options} --model ease --config " in text
    trained = ["train", "--dataset", str(log), "--model", "ease", "--config", str(out / "best.toml"), "--out", str(tmp_path / "run")]
    assert main([*trained, "--quiet"]) == 0
    compared = ["compare", "--dataset", str(log), "--models", "ease", "--seeds", "0", "--settings", str(out / "best.toml"),
                "--out", str(tmp_path / "compared"), "--quiet"]  # fmt: skip
    assert main(compared) == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--vary", "embeding_dim=4,8"], "did you mean embedding_dim"), (["--vary", "embedding_dim=4,0.5"], "a whole number of 1 or more"),
        (["--vary", "embedding_dim"], "written NAME=..."), (["--vary", "l2_user=1:2:3:4"], "LOW:HIGH"), ([], "nothing varies"),
        (["--vary", "solver=0:1"], "is no number; give a list"), (["--vary", "l2_user=0.1:1"], "range with a step"),
        (["--vary", "l2_user=0.1,0.2", "--seeds", "one"], "--seeds is a list"), (["--vary", "seed=1,2"], "seeds are no parameter"),
        (["--vary", "l2_user=0.1,0.2", "--choose_by", "novelty@5"], "choose_by must be a metric of accuracy"),
        (["--vary", "l2=1,2", "--model", "eese"], "mean ease"),
        (["--vary", "l2_user=log:0:1", "--sampler", "random"], "begins above 0 and has no step, such as log:0.01:1, not log:0:1"),
        (["--vary", "l2=1,2", "--model", "ease", "--seeds", "2"], "every seed gives the same"),
        pytest.param(["--vary", "device=cpu,cuda"], "finds no GPU", marks=pytest.mark.torch),
        (["--vary", "l2_user=-1:1", "--sampler", "random"], "l2_user must be"),
    ],
)  # fmt: skip
def test_what_cannot_be_swept_is_refused_before_anything_is_run(log, tmp_path, capsys, words, says):
    assert main(["sweep", "--dataset", str(log), "--out", str(tmp_path / "out"), *words]) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_pruning_by_what_training_does_not_measure_is_refused_and_not_the_default():
    data = load_dataset("demo")
    said = {"dataset": "demo", "sampler": "tpe", "trials": 4, "vary": {"w3": [0.1, 0.2]}}
    for more, prunes in (({}, True), ({"choose_by": "map@20"}, False), ({"choose_by": "map@20", "fixed": {"select_by": "MAP@20"}}, True)):
        assert model_study.study_of(said | more, data).prune == prunes
    with pytest.raises(UsageError, match="pruning watches map@20 while models train"):
        model_study.study_of(said | {"choose_by": "map@20", "prune": True}, data)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dataset = 'demo'\nsampelr = 'grid'\n", "says 'sampelr', which a study has not; did you mean sampler"),
        ("vary = 3\n", "vary is a table"),
        ("[vary]\nl2_user = [0.1]\n", "names its data"), ("dataset = \n", "cannot read the study"), (None, "No such file"),
    ],
)  # fmt: skip
def test_a_study_file_that_is_wrong_is_refused_with_its_name(tmp_path, capsys, text, says):
    path = tmp_path / "study.toml"
    if text is not None:
        path.write_text(text)
    assert main(["sweep", str(path)]) == 2
    assert says in capsys.readouterr().err


def test_the_script_for_slurm_is_right_and_runs_the_same_study(log, tmp_path):
    script, out = tmp_path / "a study.sh", tmp_path / "out"
    words = ["--dataset", str(log), "--vary", "embedding_dim=4,8", "--fix", "epochs=3", "--min_rating", "-1", "--split_seed", "3"]
    assert main(["sweep", *words, "--out", str(out), "--jobs", "2", "--slurm", str(script)]) == 2  # the log has no ratings
    assert not script.exists()
    del words[-4:-2]
    assert main(["sweep", *words, "--out", str(out), "--jobs", "2", "--slurm", str(script)]) == 0
    assert not out.exists()
    assert "#SBATCH --cpus-per-task=2\n" in script.read_text()
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    done = subprocess.run(["bash", str(script)], env=os.environ | {"PYTHONPATH": str(SRC)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kept = read_study(out)
    assert kept.parameters == {"embedding_dim": Values((4, 8))}
    assert kept.fixed == {"epochs": 3}
    assert [row.parameters["embedding_dim"] for row in read_results(out)] == [64, 4, 8]


def test_kill_ends_a_sweep_as_ctrl_c_does(log, tmp_path):
    words = ["--dataset", str(log), "--vary", "embedding_dim=4:64:1", "--out", str(tmp_path / "out"), "--quiet"]
    command, environment = [sys.executable, "-m", "ultragcn", "sweep", *words], os.environ | {"PYTHONPATH": str(SRC)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "out/results.tsv").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1].endswith(f"of 61 runs are kept in {tmp_path / 'out'}; the same command goes on from there")


# ------------------------------------------------------------- trial 0, what is in use without a sweep


def kept_study(**changes):
    """A grid over x whose kept value is 0.3 unless said otherwise."""
    return parabola_study(**({"parameters": {"x": Values((0.0, 0.2, 0.5))}, "seeds": (0,), "kept": {"x": 0.3}} | changes))


def x_of(points):
    return [point["x"] for point in points]


def test_trial_0_has_what_is_kept_and_counts_among_the_trials():
    assert x_of(kept_study().points()) == [0.3, 0.0, 0.2, 0.5]
    assert kept_study().num_trials == 4
    assert x_of(kept_study(trials=2).points()) == [0.3, 0.0]
    assert x_of(kept_study(kept={"x": 0.2}).points()) == [0.2, 0.0, 0.5]
    assert x_of(kept_study(kept={"x": "auto"}, sampler="list").points()) == ["auto", 0.0, 0.2, 0.5]
    over = {"parameters": {"x": Range(0.0, 1.0)}, "sampler": "random", "trials": 5}
    with_kept, without = kept_study(**over).points(), kept_study(**over, kept=None).points()
    assert (with_kept[0], with_kept[1:], len(without)) == ({"x": 0.3}, without[1:], 5)
    with pytest.raises(UsageError, match=r"kept has a value for each parameter that varies \(x\), or is None; it has values for y"):
        kept_study(kept={"y": 1})


def test_a_range_has_what_it_may_draw_and_a_list_what_it_lists():
    whole, steps = Range(1, 9), Range(0.1, 0.5, step=0.1)
    assert [whole.has(value) for value in (1, 5, 9, 10, 2.5, True, "auto")] == [True, True, True, False, False, False, False]
    assert [steps.has(value) for value in (0.1, 0.3, 0.25, 0.6)] == [True, True, False, False]
    assert [Values((1, "auto")).has(value) for value in (1, "auto", True, 2)] == [True, True, False, False]


@pytest.mark.parametrize("kept", [0.3, "auto", 5.0])
def test_tpe_learns_from_what_is_kept_where_it_is_among_what_varies(tmp_path, kept):
    pytest.importorskip("optuna")
    asked = tpe_study(seeds=(0,), trials=3, kept={"x": kept, "kind": "a"}, prune=True)
    outcome = sweep(asked, trials.forgiving, tmp_path / "out")
    assert [summary.state for summary in outcome.summaries] == ["done"] * 3
    assert outcome.summaries[0].parameters == {"x": kept, "kind": "a"}
    assert all(0 <= summary.parameters["x"] <= 1 for summary in outcome.summaries[1:])
    lines = [json.loads(line) for line in (tmp_path / "out/journal.log").read_text().splitlines()]
    assert {line["param_name"] for line in lines if line.get("trial_id") == 0 and "param_name" in line} == (
        {"x", "kind"} if kept == 0.3 else {"kind"}
    )
    assert "trial 0, the settings in use without a sweep" in outcome.against_kept
    more = sweep(replace(asked, trials=5), trials.forgiving, tmp_path / "out")
    assert [s.parameters for s in more.summaries[:3]] == [s.parameters for s in outcome.summaries]


def test_what_is_kept_is_never_pruned_because_the_others_are_held_against_it(tmp_path):
    pytest.importorskip("optuna")
    asked = tpe_study(seeds=(0,), trials=14, kept={"x": 1.0, "kind": "b"}, prune=True)
    folder = tmp_path / "out"
    study.open_folder(folder, asked)
    from ultragcn.experiments.studies.suggest import Suggested

    source = Suggested(folder, asked, dict)
    first, others = source.take(), []
    for _ in range(8):
        task = source.take()
        others.append(task)
        for step in range(1, 7):
            source.go_on(task, step, 1.0)
        source._optuna_study.tell(task.trial, 1.0)
    assert first.parameters == {"x": 1.0, "kind": "b"}
    assert all(source.go_on(first, step, 0.0) for step in range(1, 7))
    last = source.take()
    assert not all(source.go_on(last, step, 0.0) for step in range(1, 7))
    for task in (first, *others, last):
        task.claim.release()


def test_a_sweep_says_by_how_much_its_best_trial_beats_what_is_kept(tmp_path):
    assert sweep(kept_study(), trials.parabola, tmp_path / "a").against_kept == (
        "No trial beats trial 0, the settings in use without a sweep, in score (1.0000)."
    )
    better = sweep(kept_study(kept={"x": 0.9}), trials.parabola, tmp_path / "b")
    assert better.against_kept == (
        "Trial 2 beats trial 0, the settings in use without a sweep, by 0.3500 in score (0.9900 against 0.6400)."
    )
    assert read_study(tmp_path / "b").kept == {"x": 0.9}
    assert sweep(kept_study(kept=None), trials.parabola, tmp_path / "c").against_kept == ""
    failed = sweep(kept_study(kept={"x": 1}), trials.failing, tmp_path / "d")
    assert failed.against_kept.endswith("trial 0, the settings in use without a sweep, is not known: trial 0 failed.")
    low = kept_study(kept={"x": 0.2}, direction="minimize")
    assert sweep(low, trials.parabola, tmp_path / "e").against_kept == (
        "Trial 1 beats trial 0, the settings in use without a sweep, by 0.0800 in score (0.9100 against 0.9900, where lower is better)."
    )
    assert "has not ended with every seed" in study.against_kept(low, better.summaries[1:])


def test_a_study_that_was_begun_before_trial_0_was_kept_goes_on_as_it_was(tmp_path):
    said, out = [], tmp_path / "out"
    over = {"parameters": {"x": Range(0.0, 1.0)}, "sampler": "random", "trials": 3}
    sweep(kept_study(**over, kept=None), trials.parabola, out)
    begun = storage.read_json(out / "study.json")
    del begun["kept"]  # as it was written then
    storage.write_json(out / "study.json", begun)
    before = x_of(row.parameters for row in read_results(out))
    outcome = sweep(kept_study(**over | {"trials": 4}), trials.parabola, out, tell=said.append)
    assert x_of(trial.parameters for trial in outcome.summaries)[:3] == before
    assert len(outcome.summaries) == 4
    assert outcome.against_kept == ""
    assert said[0] == f"the study in {out} was begun without trial 0 for the settings in use without a sweep, and goes on without"


def test_trial_0_stays_as_it_was_begun_when_something_else_is_kept_since(tmp_path):
    said, out = [], tmp_path / "out"
    sweep(kept_study(), trials.parabola, out)
    outcome = sweep(kept_study(kept={"x": 0.5}, seeds=(0, 1)), trials.parabola, out, tell=said.append)
    assert x_of(trial.parameters for trial in outcome.summaries) == [0.3, 0.0, 0.2, 0.5]
    assert said[0] == f"trial 0 of the study in {out} stays as it was begun, at x 0.3"
    assert outcome.num_ended == outcome.num_runs == 8


def test_trial_0_of_the_command_is_the_model_that_train_makes_without_a_sweep(log, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["sweep", "--dataset", str(log), "--vary", "l2_user,l2_item=log:0.05:2", "--vary", "item_graph_weight=0,0.5",
             "--sampler", "random", "--trials", "2", "--choose_by", "ndcg@5", "--out", str(out), "--quiet"]  # fmt: skip
    assert main(words) == 0
    assert "trial 0, the settings in use without a sweep" in capsys.readouterr().err
    first = read_results(out)[0]
    assert first.parameters == {"l2_user,l2_item": "auto", "item_graph_weight": "auto"}
    data = load_dataset(log)
    alone = evaluate(UltraGCN(seed=0).fit(data.train, data.valid), data.valid, ["ndcg@5"])
    assert first.metrics["valid_ndcg@5"] == float(f"{alone['ndcg@5']:.8g}")
    assert main([*words, "--no_kept"]) == 0
    assert "trial 0 of the study" in capsys.readouterr().err
    assert main([*words[:-2], str(tmp_path / "other"), "--quiet", "--no_kept"]) == 0
    assert "trial 0, the settings" not in capsys.readouterr().err
    assert read_study(tmp_path / "other").kept is None


def test_what_is_kept_for_a_data_set_is_trial_0_also_where_two_names_have_one_axis():
    data = load_dataset("demo")
    asked = model_study.study_of({"dataset": "demo", "vary": {"l2_user,l2_item": [0.1, 0.3], "num_item_neighbors": [5]}}, data)
    assert asked.kept == {"l2_user,l2_item": 0.3, "num_item_neighbors": 10}
    apart = model_study.study_of({"dataset": "demo", "vary": {"l2_user,l2_user_exponent": [0.1, 0.3]}}, data)
    assert apart.kept == {"l2_user,l2_user_exponent": "0.3,0.0"}
    assert model_study._spread(apart.kept) == {"l2_user": "0.3", "l2_user_exponent": "0.0"}
    with pytest.raises(UsageError, match=r"kept is true .* or false, not 'yes'"):
        model_study.study_of({"dataset": "demo", "vary": {"w3": [0.1]}, "kept": "yes"}, data)


# ------------------------------------------------------------- what the pages say


def test_the_study_file_of_the_page_is_the_command_of_the_page(tmp_path, data_dir):
    text = (ROOT / "docs/sweeps.md").read_text(encoding="utf-8")
    (toml,) = re.findall(r"^```toml\n(.*?)^```", text, re.M | re.S)
    (tmp_path / "l2.toml").write_text(toml)
    said = model_study.read_study_file(tmp_path / "l2.toml") | {"data_dir": str(data_dir)}
    data = load_dataset(**model_study.source_of(said))
    from_file = model_study.study_of(said, data)
    (command,) = re.findall(r"^    ultragcn (sweep .*?[^\\])$", text, re.M | re.S)[:1]
    arguments = parse(shlex.split(command.replace("\\\n", " ")))
    from_command = model_study.study_of(sweep_command._said(arguments) | {"data_dir": str(data_dir)}, data)
    # The file fixes what is a default, and what is fixed is not among the rest.
    assert from_file.fixed
    assert from_file.about.pop("settings_hash") != from_command.about.pop("settings_hash")
    assert replace(from_file, name="", fixed={}) == replace(from_command, name="")


def test_the_python_of_the_page_runs_as_it_stands(swept, tmp_path):
    reading, own = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/sweeps.md").read_text(encoding="utf-8"), re.M | re.S)
    (tmp_path / "runs").mkdir()
    shutil.copytree(swept, tmp_path / "runs/sweep-l2")
    (tmp_path / "reading.py").write_text(reading.replace("valid_ndcg@20", "valid_ndcg@5"))
    (tmp_path / "own.py").write_text(own)
    environment = os.environ | {"PYTHONPATH": str(SRC)}
    for script in ("reading.py", "own.py"):
        done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    best_of_own = study.best(read_study(tmp_path / "runs/example"), summarise(read_results(tmp_path / "runs/example")))
    assert abs(best_of_own.parameters["x"] - 0.3) < 0.3


def main_of_the_workbench():
    """The function whose parameters are the flags of main.py."""
    specification = importlib.util.spec_from_file_location("main_of_the_workbench", SRC / "main.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.main


def test_the_sweep_of_the_workbench_tunes_and_goes_on_where_it_was(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="the workbench needs PyTorch")
    monkeypatch.syspath_prepend(str(SRC))
    shutil.copytree(SRC, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    words = [sys.executable, "-m", "experiments.exp_sweep_mymodel", "--jobs", "2"]
    environment = os.environ | {"PYTHONPATH": ""}
    done = subprocess.run(words, cwd=tmp_path / "src", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "leaked" not in done.stderr
    folder = tmp_path / "plots/exp_sweep_mymodel"
    chosen = study.best(read_study(folder), summarise(read_results(folder)))
    assert 0.9 < chosen.means["valid_accuracy"] < 0.99
    defaults = {name: parameter.default for name, parameter in inspect.signature(main_of_the_workbench()).parameters.items()}
    assert read_study(folder).kept == {name: defaults[name] for name in ("learning_rate", "batch_size")}
    assert "trial 0, the settings in use without a sweep" in done.stdout
    before = (folder / "results.tsv").read_text()
    assert len(before.splitlines()) == 1 + 24
    again = subprocess.run(words, cwd=tmp_path / "src", env=environment, capture_output=True, text=True, check=False)
    assert again.stdout == done.stdout
    assert (folder / "results.tsv").read_text() == before
