"""Training that was stopped, however roughly, goes on to the very end it would have reached: the same bits, the same history."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from tests.conftest import random_interactions
from ultragcn import UltraGCN, load_dataset, storage
from ultragcn.cli import main
from ultragcn.config import Config
from ultragcn.errors import UltraGCNError, UsageError
from ultragcn.experiments.runs.trackers import TRACKERS, Tracking
from ultragcn.experiments.runs.train import resume_run, train_run
from ultragcn.experiments.runs.training import Trainings

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SRC = Path(__file__).parents[1] / "src"
# On the CPU also where there is a GPU, which adds in an order of its own.
SMALL = {"embedding_dim": 8, "negative_weight": 20.0, "epochs": 7, "patience": 7, "seed": 3, "device": "cpu"}
CASES = {
    "exact": {"solver": "exact"},
    "exact_clusters": {"solver": "exact", "negatives": "clusters", "num_clusters": 20},
    "sgd": {"solver": "sgd", "batch_size": 256, "num_negatives": 10, "init_std": 0.1, "learning_rate": 0.02, "evaluate_every": 2},
    "sgd_with_l2_by_row": {"solver": "sgd", "batch_size": 256, "num_negatives": 10, "l2_user_exponent": 0.5, "exclude_positives": True},
}  # fmt: skip


class Stop(BaseException):
    """Stands for a process's sudden end."""


def stop_after(epoch):
    def on_epoch(record):
        if record["epoch"] > epoch:
            raise Stop

    return on_epoch


def told(history):
    """A history without its seconds."""
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history]


def assert_same(model, other):
    np.testing.assert_array_equal(model.user_embedding_, other.user_embedding_)
    np.testing.assert_array_equal(model.item_embedding_, other.item_embedding_)
    assert told(model.history_) == told(other.history_)
    assert (model.seed_, model.best_epoch_, model.stopped_) == (other.seed_, other.best_epoch_, other.stopped_)
    assert model.l2_ == other.l2_


@pytest.fixture(scope="module")
def pairs():
    everything = random_interactions(60, 90, 0.2)
    chosen = np.random.default_rng(1).random(len(everything)) < 0.2
    return everything.part(~chosen), everything.part(chosen)


@pytest.mark.parametrize("with_valid", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_stopped_twice_training_ends_with_the_same_bits(pairs, tmp_path, case, with_valid):
    train, valid = pairs[0], pairs[1] if with_valid else None
    config, file = Config(**SMALL | CASES[case]), tmp_path / "checkpoint"
    whole = UltraGCN(config).fit(train, valid)
    for epoch in (1, 4):
        file.unlink(missing_ok=True)
        for stop in (epoch, epoch + 1):
            with pytest.raises(Stop):
                UltraGCN(config).fit(train, valid, on_epoch=stop_after(stop), checkpoint=file, checkpoint_every=1)
        again = []
        model = UltraGCN(config).fit(train, valid, checkpoint=file, checkpoint_every=1, on_epoch=again.append)
        assert_same(model, whole)
        # It did go on, and not begin anew.
        assert [record["epoch"] for record in again] == list(range(epoch + 2, len(whole.history_) + 1))


def test_training_ended_by_patience_ends_the_same_when_it_went_on(tmp_path):
    data = load_dataset("demo")
    config, file = Config(embedding_dim=8, negative_weight=50, l2_user=0.3, l2_item=0.3, epochs=30, patience=2), tmp_path / "checkpoint"
    whole = UltraGCN(config).fit(data.train, data.valid)
    assert whole.stopped_ == "patience"
    with pytest.raises(Stop):
        UltraGCN(config).fit(data.train, data.valid, checkpoint=file, checkpoint_every=1, on_epoch=stop_after(len(whole.history_) - 1))
    assert_same(UltraGCN(config).fit(data.train, data.valid, checkpoint=file), whole)


def test_checkpoints_come_every_so_many_epochs(pairs, tmp_path):
    file, changes = tmp_path / "checkpoint", []

    def look(record):
        changes.append(file.stat().st_mtime_ns if file.exists() else 0)

    UltraGCN(**SMALL).fit(*pairs, checkpoint=file, checkpoint_every=3, on_epoch=look)
    assert [changes.index(change) + 1 for change in sorted(set(changes))] == [1, 4, 7]


def test_by_the_clock_a_short_training_writes_none_and_a_long_one_seldom(pairs, tmp_path, monkeypatch):
    file, now, changes = tmp_path / "checkpoint", [0.0], []
    monkeypatch.setattr("ultragcn.training.checkpoint.time.perf_counter", lambda: now[0])

    def four_seconds(record):
        changes.append(file.stat().st_mtime_ns if file.exists() else 0)
        now[0] += 4

    UltraGCN(**SMALL).fit(*pairs, checkpoint=file)
    assert not file.exists()
    UltraGCN(**SMALL).fit(*pairs, checkpoint=file, on_epoch=four_seconds)
    assert [changes.index(change) + 1 for change in sorted(set(changes))] == [1, 4, 7]


def test_an_unseeded_training_goes_on_with_the_seed_it_drew(pairs, tmp_path):
    config, file = Config(**SMALL | {"seed": None}), tmp_path / "checkpoint"
    first = UltraGCN(config)
    with pytest.raises(Stop):
        first.fit(*pairs, checkpoint=file, checkpoint_every=1, on_epoch=stop_after(2))
    assert_same(UltraGCN(config).fit(*pairs, checkpoint=file), UltraGCN(config.replace(seed=first.seed_)).fit(*pairs))


@pytest.fixture
def checkpoint(pairs, tmp_path):
    file = tmp_path / "checkpoint"
    with pytest.raises(Stop):
        UltraGCN(**SMALL).fit(*pairs, checkpoint=file, checkpoint_every=1, on_epoch=stop_after(3))
    return file


def test_a_checkpoint_of_another_training_is_refused(pairs, checkpoint):
    for config, data, says in (
        (Config(**SMALL | {"l2_user": 0.9}), pairs, "other hyper-parameters"),
        (Config(**SMALL), (pairs[0].part(np.arange(len(pairs[0])) > 0), pairs[1]), "other data"),
        (Config(**SMALL), (pairs[0], None), "other data"),
    ):
        with pytest.raises(UsageError, match=says):
            UltraGCN(config).fit(*data, checkpoint=checkpoint)


def test_a_damaged_checkpoint_is_one_sentence_whichever_byte_is_wrong(pairs, checkpoint):
    good = checkpoint.read_bytes()
    draw = random.Random(0)
    damaged = [b"", good[:5], good[: len(good) // 2], good[:-1], good + b"x", b"not at all"]
    for _ in range(12):
        place = draw.randrange(len(good))
        damaged.append(good[:place] + bytes([good[place] ^ 1 << draw.randrange(8)]) + good[place + 1 :])
    for content in damaged:
        checkpoint.write_bytes(content)
        with pytest.raises(UsageError, match=r"cannot go on from the checkpoint: .*; remove it to train from the start") as caught:
            UltraGCN(**SMALL).fit(*pairs, checkpoint=checkpoint)
        assert "\n" not in str(caught.value)
    checkpoint.write_bytes(good)
    assert_same(UltraGCN(**SMALL).fit(*pairs, checkpoint=checkpoint), UltraGCN(**SMALL).fit(*pairs))


def test_a_checkpoint_of_another_version_is_refused(pairs, checkpoint):
    storage.write_arrays(checkpoint, {"x": np.ones(3)}, "ultragcn-checkpoint-0", {})
    with pytest.raises(UsageError, match="is ultragcn-checkpoint-0, not ultragcn-checkpoint-6"):
        UltraGCN(**SMALL).fit(*pairs, checkpoint=checkpoint)


def test_a_checkpoint_that_cannot_be_written_is_one_sentence(pairs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UltraGCNError, match=r"cannot write to .*file: .*; choose a folder you can write to"):
        UltraGCN(**SMALL).fit(*pairs, checkpoint=tmp_path / "file/checkpoint", checkpoint_every=1)
    with pytest.raises(UsageError, match=r"checkpoint_every must be a whole number of epochs, 1 or more, or None \(auto\)"):
        UltraGCN(**SMALL).fit(*pairs, checkpoint=tmp_path / "checkpoint", checkpoint_every=0)


# Runs: the folder, the command.

QUICK = {"embedding_dim": 8, "negative_weight": 20.0, "epochs": 4, "patience": 4}
UNEQUAL = ("train_seconds", "compile_seconds", "peak_memory_mb", "kept_train_seconds")
"""What two equal runs say differently."""
WHOLE = ["history.tsv", "manifest.json", "metrics.json", "model.safetensors"]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A small log of one's own: 60 users, 90 items."""
    file = tmp_path_factory.mktemp("log") / "log.csv"
    users, items = random_interactions(60, 90, 0.2).pairs
    file.write_text("user,item\n" + "".join(f"{user},{item}\n" for user, item in zip(users, items, strict=True)))
    return file


def outcome(folder):
    """All that a run folder says, without seconds and memory."""
    assert sorted(path.name for path in folder.iterdir()) == WHOLE
    model = UltraGCN.load(folder)
    history = [{name: cell for name, cell in row.items() if name != "seconds"} for row in storage.read_rows(folder / "history.tsv")]
    metrics = json.loads((folder / "metrics.json").read_text())
    measured = {name: value for name, value in metrics.items() if name not in UNEQUAL}
    return model.user_embedding_.tobytes(), model.item_embedding_.tobytes(), told(model.history_), history, measured


@pytest.mark.parametrize("solver", ["exact", "sgd"])
def test_stopped_at_any_file_it_writes_a_refit_run_ends_the_same(log, tmp_path, monkeypatch, solver):
    data = load_dataset(log)
    config = Config(**QUICK | CASES[solver] | {"epochs": 4 if solver == "exact" else 2})
    train_run(data, config, tmp_path / "whole", refit=True, checkpoint_every=1)
    expected, stops = outcome(tmp_path / "whole"), 0
    while True:
        run, touched = tmp_path / f"run-{stops}", 0

        def stopping(operation, stop_at=stops):
            def touch(*arguments, **options):
                nonlocal touched
                touched += 1
                if touched > stop_at:
                    raise Stop
                return operation(*arguments, **options)

            return touch

        with monkeypatch.context() as patched:
            for module, name in ((os, "replace"), (os, "write"), (shutil, "rmtree")):
                patched.setattr(module, name, stopping(getattr(module, name)))
            try:
                train_run(data, config, run, refit=True, checkpoint_every=1)
            except Stop:
                pass
            else:
                break
        if (run / "manifest.json").exists():
            resume_run(run, dataset=data)
            assert outcome(run) == expected, stops
        stops += 1
    assert stops >= 9  # manifest, lines, checkpoints of both trainings, the chosen model, the model, metrics, clearing up


@pytest.mark.parametrize("where", ["refit", "terms"])
def test_an_interrupt_after_the_first_training_is_gone_on_from(log, tmp_path, monkeypatch, where):
    data = load_dataset(log)
    config = Config(embedding_dim=8, negative_weight=20.0, epochs=4, seed=3, select_by="NDCG@5")
    train_run(data, config, tmp_path / "whole", refit=True, checkpoint_every=1)
    run, fits = tmp_path / "run", []

    def fit(model, *arguments, real=UltraGCN.fit, **options):
        fits.append(model)
        if len(fits) == 2:
            raise KeyboardInterrupt
        return real(model, *arguments, **options)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if where == "refit":
            patched.setattr(UltraGCN, "fit", fit)
        else:
            patched.setattr(UltraGCN, "_choose_terms", interrupt)
        with pytest.raises(KeyboardInterrupt, match="go on by --resume"):
            train_run(data, config, run, refit=True, checkpoint_every=1)
    assert storage.read_json(run / "metrics.json")["stopped"] == "interrupted"
    assert "test" in resume_run(run, dataset=data)
    assert outcome(run) == outcome(tmp_path / "whole")
    assert all(row["ndcg@5"] for row in storage.read_rows(run / "history.tsv"))  # however it was written in select_by


def test_an_interrupt_before_a_run_that_goes_on_has_a_model_is_one_sentence(log, tmp_path, monkeypatch):
    data, run = load_dataset(log), tmp_path / "run"
    config = Config(embedding_dim=8, negative_weight=20.0, epochs=4, seed=3)
    train_run(data, config, tmp_path / "whole", checkpoint_every=1)

    def interrupt(*_):
        raise KeyboardInterrupt

    def fail(*_):
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(UltraGCN, "_choose_terms", fail)
        with pytest.raises(RuntimeError):
            train_run(data, config, run, checkpoint_every=1)
    with monkeypatch.context() as patched:
        patched.setattr("ultragcn.models.ultragcn.item_graph", interrupt)
        with pytest.raises(KeyboardInterrupt, match=f"before an epoch ended; there is no model in {run}; go on by --resume"):
            resume_run(run, dataset=data)
    resume_run(run, dataset=data)
    assert outcome(run) == outcome(tmp_path / "whole")


def training(*words, cwd, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "ultragcn", "train", *map(str, words), "--quiet"], cwd=cwd, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(SRC)}, **options,
    )  # fmt: skip


def ended(*words, cwd, **options):
    with training(*words, cwd=cwd, **options) as process:
        output, errors = process.communicate(timeout=120)
    return process.returncode, output, [line for line in errors.splitlines() if " read from " not in line]


def stop_at_line(process, history, lines, with_signal):
    """Stop the process once the history has so many lines."""
    deadline = time.monotonic() + 90
    while not (history.exists() and history.read_text().count("\n") >= lines) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(with_signal)
    return process.communicate(timeout=60)[1]


LONG = {  # with an L2 strength that is given: where one is chosen, training may end sooner
    "embedding_dim": 16,
    "l2_user": 0.1,
    "l2_item": 0.1,
    "negative_weight": 20.0,
    "epochs": 60,
    "patience": 60,
    "evaluate_every": 1,
    "batch_size": 256,
    "num_negatives": 10,
    "device": "cpu",
}


@pytest.mark.parametrize("solver", ["exact", "sgd"])
def test_killed_twice_and_resumed_a_run_ends_with_the_same_bits(log, tmp_path, solver):
    config = Config(**LONG, solver=solver)
    train_run(load_dataset(log), config, tmp_path / "whole", refit=True)
    options = [word for name, value in config.changed().items() for word in (f"--{name}", value)]
    history, first = tmp_path / "run/history.tsv", random.randrange(3, 16)
    begin = ("--dataset", log, "--out", "run", "--refit", "--checkpoint_every", 1, *options)
    for words, line in ((begin, first), (("--resume", "run"), first + 15)):
        with training(*words, cwd=tmp_path) as process:
            stop_at_line(process, history, line, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    assert ended("--resume", "run", cwd=tmp_path)[0] == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert len(manifest["resumed"]) == 2
    assert manifest["resumed"][0].keys() == {"at", "versions", "git_commit"}


def test_after_ctrl_c_there_is_a_model_and_resume_goes_on(log, tmp_path):
    config = Config(**LONG)
    train_run(load_dataset(log), config, tmp_path / "whole")
    options = [word for name, value in config.changed().items() for word in (f"--{name}", value)]
    with training("--dataset", log, "--out", "run", *options, cwd=tmp_path) as process:
        errors = stop_at_line(process, tmp_path / "run/history.tsv", 5, signal.SIGINT)
    assert process.returncode == 130, errors
    assert json.loads((tmp_path / "run/metrics.json").read_text())["stopped"] == "interrupted"
    UltraGCN.load(tmp_path / "run")
    status, output, _ = ended("--resume", "run", cwd=tmp_path)
    assert (status, output.splitlines()[-1]) == (0, "run\trun")
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


@pytest.fixture
def stopped(log, tmp_path, monkeypatch):
    """The folder of a run that was stopped after two epochs, with a checkpoint; the current folder is the one around it."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(log, "log.csv")
    with pytest.raises(Stop):
        train_run(load_dataset("log.csv"), Config(**QUICK), Path("run"), checkpoint_every=1, on_epoch=stop_after(2))
    return Path("run")


def refused(capsys, *words):
    """The one line with which the command refuses."""
    assert main(["train", *map(str, words), "--quiet"]) == 2
    printed = capsys.readouterr()
    [line] = [line for line in printed.err.splitlines() if " read from " not in line and "warning" not in line]
    assert printed.out == ""
    return line.removeprefix("ultragcn: ")


def test_a_complete_run_stays_as_it_is_and_says_so(stopped, capsys):
    metrics = resume_run(stopped)
    before = {path.name: path.stat().st_mtime_ns for path in stopped.iterdir()}
    assert main(["train", "--resume", "run"]) == 0
    printed = capsys.readouterr()
    assert "ultragcn: the run in run is complete; there is nothing left to do" in printed.err.splitlines()
    assert f"test\trecall@20\t{metrics['test']['recall@20']:.5g}" in printed.out.splitlines()
    assert {path.name: path.stat().st_mtime_ns for path in stopped.iterdir()} == before


def test_a_run_without_a_checkpoint_starts_anew_as_its_manifest_says(stopped):
    (stopped / "checkpoint.safetensors").unlink()
    resume_run(stopped)
    train_run(load_dataset("log.csv"), Config(**QUICK), Path("whole"))
    assert outcome(stopped) == outcome(Path("whole"))


def test_a_run_that_drew_its_seed_keeps_it_in_the_manifest(log, tmp_path):
    train_run(load_dataset(log), Config(**QUICK, seed=None), tmp_path)
    seed = json.loads((tmp_path / "manifest.json").read_text())["config"]["seed"]
    assert seed >= 0
    assert json.loads((tmp_path / "metrics.json").read_text())["seed"] == seed


def test_options_beside_resume_are_refused_for_the_manifest_says_everything(stopped, capsys):
    line = refused(capsys, "--resume", "run", "--epochs", 9, "--protocol=clean")
    assert line == "--resume takes the options from the manifest of the run; leave out --epochs, --protocol"
    assert refused(capsys, "--resume", "nosuch") == "no run folder nosuch; give a folder that ultragcn train wrote"


def test_a_run_on_data_that_have_changed_since_is_refused(stopped, capsys):
    with open("log.csv", "a") as file:
        file.write("0,89\n1,89\n2,89\n")
    assert "log.csv has changed since the run was trained on it" in refused(capsys, "--resume", "run")


def test_a_run_of_another_version_is_refused(stopped, capsys):
    manifest = json.loads((stopped / "manifest.json").read_text())
    storage.write_json(stopped / "manifest.json", manifest | {"versions": {"ultragcn": "0.0.1"}})
    assert "was begun with ultragcn 0.0.1, not" in refused(capsys, "--resume", "run")


def test_a_run_with_a_damaged_checkpoint_is_refused_and_goes_on_when_that_is_mended(stopped, capsys):
    good = (stopped / "checkpoint.safetensors").read_bytes()
    (stopped / "checkpoint.safetensors").write_bytes(good[:-9])
    said = refused(capsys, "--resume", "run")
    assert "cannot go on from the checkpoint: " in said
    assert "damaged" in said
    (stopped / "checkpoint.safetensors").write_bytes(good)
    resume_run(stopped)
    assert sorted(path.name for path in stopped.iterdir()) == WHOLE


def test_a_folder_in_which_another_process_trains_is_refused(stopped, capsys):
    with storage.sole_writer(stopped):
        line = refused(capsys, "--resume", "run")
    assert line == "another process is writing to run; wait until it ends, or end it"
    assert main(["train", "--resume", "run", "--quiet"]) == 0


def test_a_new_run_in_the_folder_of_an_incomplete_one_is_refused_with_how_to_go_on(stopped, capsys):
    line = refused(capsys, "--dataset", "log.csv", "--out", "run")
    assert line.startswith("run already holds a run that is not complete (")
    assert "go on with it by --resume run, give another --out, or --overwrite" in line
    assert main(["train", "--dataset", "log.csv", "--out", "run", "--epochs", "1", "--overwrite", "--quiet"]) == 0
    assert sorted(path.name for path in stopped.iterdir()) == WHOLE


def test_what_a_killed_process_half_wrote_is_removed(stopped):
    (stopped / ".checkpoint.safetensors.x1y2.part").write_bytes(b"half")
    resume_run(stopped)
    assert sorted(path.name for path in stopped.iterdir()) == WHOLE


def test_a_run_on_data_in_memory_goes_on_when_they_are_given(pairs, tmp_path):
    data = replace(load_dataset("demo"), origin=None)
    with pytest.raises(Stop):
        train_run(data, Config(**QUICK), tmp_path / "run", on_epoch=stop_after(1))
    with pytest.raises(UsageError, match="data in memory"):
        resume_run(tmp_path / "run")
    with pytest.raises(UsageError, match="on other data, or split otherwise"):
        resume_run(tmp_path / "run", dataset=load_dataset("demo", split_seed=1))
    train_run(data, Config(**QUICK), tmp_path / "whole")
    resume_run(tmp_path / "run", dataset=data)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def test_a_full_disk_is_one_sentence_and_the_checkpoint_before_is_still_good(stopped):
    resource = pytest.importorskip("resource")
    before = (stopped / "checkpoint.safetensors").read_bytes()
    full = len(before) // 2  # room for manifest and history, not for a checkpoint

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (full, full))

    status, output, errors = ended("--resume", "run", cwd=".", preexec_fn=limit)
    assert (status, output) == (1, "")
    assert errors == ["ultragcn: cannot write run/checkpoint.safetensors: File too large; the previous file, if any, is untouched"]
    assert (stopped / "checkpoint.safetensors").read_bytes() == before
    assert sorted(path.name for path in stopped.iterdir()) == ["checkpoint.safetensors", "history.tsv", "manifest.json"]
    resume_run(stopped)
    train_run(load_dataset("log.csv"), Config(**QUICK), Path("whole"))
    assert outcome(stopped) == outcome(Path("whole"))


def test_a_disk_too_full_for_the_model_is_one_sentence_and_the_run_can_go_on(stopped):
    resource = pytest.importorskip("resource")
    (stopped / "checkpoint.safetensors").unlink()
    storage.write_json(stopped / "manifest.json", storage.read_json(stopped / "manifest.json") | {"checkpoint_every": 0})

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    status, output, errors = ended("--resume", "run", cwd=".", preexec_fn=limit)
    assert (status, output, len(errors)) == (1, "", 1)
    assert errors[0].startswith("ultragcn: cannot write run/chosen/model.safetensors: File too large")
    resume_run(stopped)
    assert sorted(path.name for path in stopped.iterdir()) == WHOLE


# Trackers.


class Remembering:
    """A tracker for tests: what it was told, by the folder's name."""

    told: ClassVar[dict[str, list]] = {}
    fails_at = 0

    def __init__(self, folder, manifest):
        self.lines = self.told.setdefault(folder.name, [])
        self.lines.append(("begin", manifest["config"]["epochs"]))

    def record(self, record):
        self.lines.append(("epoch", record["epoch"]))
        if record["epoch"] == self.fails_at:
            raise RuntimeError("no\nnetwork")

    def finish(self, metrics):
        self.lines.append(("end", None if metrics is None else metrics["test"]["num_users"]))


@pytest.fixture
def remembering(monkeypatch):
    monkeypatch.setattr(Remembering, "told", {})
    monkeypatch.setitem(TRACKERS, "remembering", Remembering)
    monkeypatch.setattr("ultragcn.experiments.runs.trackers._PACKAGES", {"remembering": "json", "tensorboard": "nosuchpackage"})
    return Remembering


def test_a_tracker_of_a_resumed_run_is_told_every_epoch_from_the_first(log, tmp_path, remembering):
    data = load_dataset(log)
    with pytest.raises(Stop):
        train_run(data, Config(**QUICK), tmp_path / "run", checkpoint_every=1, track=["remembering"], on_epoch=stop_after(2))
    assert remembering.told.pop("run") == [("begin", 4), ("epoch", 1), ("epoch", 2), ("epoch", 3)]
    metrics = resume_run(tmp_path / "run")
    epochs = [("epoch", epoch) for epoch in (1, 2, 3, 4)]
    assert remembering.told["run"] == [("begin", 4), *epochs, ("end", metrics["test"]["num_users"])]


def test_a_tracker_that_fails_is_left_out_and_the_run_goes_on(log, tmp_path, remembering, monkeypatch):
    monkeypatch.setattr(remembering, "fails_at", 2)
    with pytest.warns(UserWarning, match=r"remembering failed \(no network\); the run goes on without it"):
        train_run(load_dataset(log), Config(**QUICK), tmp_path / "run", track=["remembering"])
    assert remembering.told["run"] == [("begin", 4), ("epoch", 1), ("epoch", 2)]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == WHOLE


def test_a_tracker_that_is_not_there_is_refused_before_anything_is_done(log, tmp_path, remembering):
    data = load_dataset(log)
    with pytest.raises(UsageError, match="unknown tracker 'tensorbord'; did you mean tensorboard"):
        train_run(data, Config(), tmp_path / "run", track=["tensorbord"])
    with pytest.raises(UltraGCNError, match=r"tracker tensorboard needs a package .* pip install '.\[tensorboard\]'"):
        train_run(data, Config(), tmp_path / "run", track=["tensorboard"])
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_cannot_start_is_refused_with_why_unless_the_run_has_begun(log, tmp_path, remembering, monkeypatch):
    def fail(folder, manifest):
        raise OSError("no server at http://tracker")

    monkeypatch.setitem(TRACKERS, "remembering", fail)
    data = load_dataset(log)
    with pytest.raises(UsageError, match="cannot start remembering: no server at http://tracker; mend that, or train without"):
        train_run(data, Config(**QUICK), tmp_path / "run", track=["remembering"])
    assert not list((tmp_path / "run").iterdir())
    with pytest.warns(UserWarning, match=r"remembering failed \(no server at http://tracker\)"):
        Tracking(["remembering"], tmp_path, {}, resumed=True)


def twice(log, run, tracker):
    """Train with a tracker, stopped once; return the history."""
    with pytest.raises(Stop):
        train_run(
            load_dataset(log), Config(**QUICK), run, keep="measured", checkpoint_every=2, track=[tracker], on_epoch=stop_after(3)
        )  # fmt: skip
    metrics = resume_run(run)
    return UltraGCN.load(run).history_, metrics


def test_tensorboard_shows_the_history_each_epoch_once(log, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history, metrics = twice(log, tmp_path / "run", "tensorboard")
    shown = EventAccumulator(str(tmp_path / "run")).Reload()
    for name in ("loss", "recall@20", "ndcg@20"):
        events = shown.Tensors(name)
        assert [event.step for event in events] == [1, 2, 3, 4]
        values = [event.tensor_proto.float_val[0] for event in events]
        np.testing.assert_allclose(values, [record[name] for record in history], rtol=1e-6)
    [event] = shown.Tensors("test/recall@20")
    assert event.step == metrics["best_epoch"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what MLflow's own packages warn of
def test_mlflow_shows_the_history_each_epoch_once(log, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    history, metrics = twice(log, tmp_path / "run", "mlflow")
    client = mlflow.MlflowClient()
    [run] = client.search_runs([client.get_experiment_by_name("ultragcn").experiment_id])
    assert (run.info.run_name, run.info.status, run.data.params["embedding_dim"]) == ("run", "FINISHED", "8")
    for name in ("loss", "recall@20"):
        points = client.get_metric_history(run.info.run_id, name.replace("@", "_at_"))
        assert [(point.step, point.value) for point in points] == [(record["epoch"], record[name]) for record in history]
    assert run.data.metrics["test/recall_at_20"] == metrics["test"]["recall@20"]


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "often"])
def test_a_number_of_epochs_between_checkpoints_that_is_none_is_one_sentence(given, tmp_path, capsys):
    words = f"train --dataset demo --model popularity --quiet --out {tmp_path / 'run'} --checkpoint_every={given}".split()
    assert main(words) == 2
    err = capsys.readouterr().err
    assert "checkpoint_every must be a whole number of epochs" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_auto_and_what_older_manifests_have_for_it_are_by_the_clock(tmp_path):
    words = f"train --dataset demo --model popularity --quiet --out {tmp_path / 'run'} --checkpoint_every auto".split()
    assert main(words) == 0
    manifest = storage.read_json(tmp_path / "run/manifest.json")
    assert manifest["checkpoint_every"] is None
    trainings = Trainings(None, None, tmp_path, {"checkpoint_every": 0}, None)
    assert trainings._checkpoint_every is None
