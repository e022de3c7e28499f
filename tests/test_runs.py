"""Runs of every model: what is measured, what is kept, and what an earlier run in the same folder loses (nothing)."""

import json
import os
import shutil

import numpy as np
import pytest

from tests.conftest import random_interactions
from ultragcn import UltraGCN, evaluate, load_dataset, storage
from ultragcn.cli import main
from ultragcn.config import Config
from ultragcn.errors import NumericalError, UsageError
from ultragcn.experiments.runs.train import resume_run, train_run
from ultragcn.models.ease import EASE
from ultragcn.models.refit import unfitted_for_refit
from ultragcn.models.registry import BASELINES, load_model

QUICK = {"embedding_dim": 8, "negative_weight": 20.0, "epochs": 3, "patience": 3}
WHOLE = ["history.tsv", "manifest.json", "metrics.json", "model.safetensors"]
UNEQUAL = ("train_seconds", "compile_seconds", "peak_memory_mb", "kept_train_seconds")


class Stop(BaseException):
    """Stands for a process's sudden end."""


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A log of one's own with times: 50 users, 40 items."""
    file = tmp_path_factory.mktemp("log") / "log.csv"
    users, items = random_interactions(50, 40, 0.3).pairs
    days = np.random.default_rng(0).integers(1, 29, len(users))
    lines = [f"u{user},i{item},2024-01-{day:02d}" for user, item, day in zip(users, items, days, strict=True)]
    file.write_text("\n".join(["user,item,time", *lines]) + "\n")
    return file


@pytest.fixture(scope="module")
def split_files(log, tmp_path_factory):
    """The same pairs as a file of train and one of test."""
    folder = tmp_path_factory.mktemp("split")
    head, *rows = log.read_text().splitlines()
    for name, chosen in (("train", rows[: len(rows) * 4 // 5]), ("test", rows[len(rows) * 4 // 5 :])):
        (folder / f"{name}.csv").write_text("\n".join([head, *chosen]) + "\n")
    return folder


def outcome(folder):
    """All that a run says of itself, but seconds and memory, and what it ranks."""
    assert sorted(path.name for path in folder.iterdir()) == WHOLE
    metrics = {name: value for name, value in storage.read_json(folder / "metrics.json").items() if name not in UNEQUAL}
    model = load_model(folder)
    items, scores = model.recommend(model.user_ids.ids.tolist(), 5)
    return metrics, items.tolist(), scores.tolist()


def ultragcn(capsys, *words, status=0):
    capsys.readouterr()
    assert main([str(word) for word in words]) == status
    return capsys.readouterr()


# What is kept.


@pytest.mark.filterwarnings("ignore::ultragcn.errors.DataWarning")  # users without test items
def test_a_log_of_ones_own_is_measured_and_then_learned_whole(log, tmp_path):
    data = load_dataset(log, split="time")
    metrics = train_run(data, Config(**QUICK), tmp_path / "run")
    measured = train_run(data, Config(**QUICK), tmp_path / "measured", keep="measured")
    assert (metrics["kept"], measured["kept"]) == ("everything", "measured")
    for name in measured.keys() - {*UNEQUAL, "kept"}:
        assert metrics[name] == measured[name], name
    chosen, kept = UltraGCN.load(tmp_path / "measured"), UltraGCN.load(tmp_path / "run")
    assert metrics["test"] == evaluate(chosen, data.test)
    again = unfitted_for_refit(chosen).fit(data.everything)
    np.testing.assert_array_equal(kept.user_embedding_, again.user_embedding_)
    np.testing.assert_array_equal(kept.item_trend_, again.item_trend_)
    # Its whole history is seen: nobody is recommended what they have.
    items, _ = kept.recommend(data.train.user_ids.ids.tolist(), 5)
    for user, listed in enumerate(kept.item_ids.find(items.reshape(-1)).reshape(items.shape)):
        for part in (data.train, data.valid, data.test):
            assert not set(listed.tolist()) & set(part.items_of(user).tolist())


@pytest.mark.filterwarnings("ignore::ultragcn.errors.DataWarning")  # users without test items
def test_everything_has_all_pairs_and_the_times_of_all_of_them(log):
    data, whole = load_dataset(log, split="time"), load_dataset(log, split="none", time_column="time").train
    assert data.everything.hash == whole.hash
    assert len(whole) == sum(map(len, (data.train, data.valid, data.test)))


@pytest.mark.filterwarnings("ignore::ultragcn.errors.DataWarning")  # users without test items
def test_named_data_given_test_files_and_authors_keep_the_measured_model(log, split_files, tmp_path):
    given = load_dataset(split_files / "train.csv", test=split_files / "test.csv")
    for number, data in enumerate((load_dataset("demo"), given, load_dataset(split_files), load_dataset(log, protocol="authors"))):
        assert train_run(data, BASELINES["popularity"](), tmp_path / f"{number}")["kept"] == "measured"
        assert train_run(data, BASELINES["popularity"](), tmp_path / f"all-{number}", keep="everything")["kept"] == "everything"


@pytest.mark.parametrize("name", BASELINES)
def test_every_model_leaves_the_same_files_and_keys(log, tmp_path, capsys, name):
    if name == "lightgcn":
        pytest.importorskip("torch")
    few = ["--epochs", 2] if name in ("lightgcn", "ials", "bpr") else []
    said = ultragcn(capsys, "train", "--model", name, "--dataset", log, "--out", tmp_path / "run", "--refit", "--quiet", *few)
    assert f"run\t{tmp_path / 'run'}" in said.out
    metrics, _, _ = outcome(tmp_path / "run")
    assert {"dataset", "protocol", "solver", "seed", "valid", "test"} < metrics.keys()
    assert (metrics["model"], metrics["kept"]) == (name, "everything")
    manifest = storage.read_json(tmp_path / "run/manifest.json")
    assert (manifest["model"], manifest["config"]) == (name, load_model(tmp_path / "run").config.to_dict() | few_of(few, manifest))
    rows = storage.read_rows(tmp_path / "run/history.tsv")
    assert list(rows[0]) == ["epoch", "seconds", "loss", "recall@20", "ndcg@20"]
    assert rows[-1]["recall@20"] != ""
    assert len(ultragcn(capsys, "recommend", tmp_path / "run", "--users", "u3").out.splitlines()) > 1


def few_of(few, manifest):
    """What a refit settles that the manifest does not have yet."""
    return {name: manifest["config"][name] for name in ("epochs", "patience", "schedule_epochs") if few and name in manifest["config"]}


def test_evaluate_takes_measured_runs_of_every_kind_and_refuses_models_that_know_everything(log, tmp_path, capsys):
    ultragcn(capsys, "train", "--model", "ease", "--dataset", log, "--out", tmp_path / "all", "--quiet")
    said = ultragcn(capsys, "evaluate", tmp_path / "all", status=2).err
    recall = storage.read_json(tmp_path / "all/metrics.json")["test"]["recall@20"]
    assert "was trained on everything, so nothing is left to measure it on" in said
    assert f"{tmp_path / 'all' / 'metrics.json'} (test recall@20 {recall:.5g}, " in said
    ultragcn(capsys, "train", "--model", "ease", "--dataset", log, "--out", tmp_path / "run", "--keep", "measured", "--quiet")
    assert f"recall@20\t{recall:.6g}" in ultragcn(capsys, "evaluate", tmp_path / "run").out


def test_recommend_says_in_one_line_that_a_measured_model_has_not_seen_test(log, tmp_path, capsys):
    for keep, lines in (("measured", 1), ("everything", 0)):
        run = tmp_path / keep
        ultragcn(capsys, "train", "--model", "popularity", "--dataset", log, "--out", run, "--keep", keep, "--quiet")
        for who in (["--users", "u1"], ["--items", "i1"], ["--all"]):
            said = ultragcn(capsys, "recommend", run, *who).err.splitlines()
            assert len(said) == lines, who
            assert all("was measured, so it has not seen the test pairs" in line for line in said)
        load_model(run).save(tmp_path / f"alone-{keep}")
        assert ultragcn(capsys, "recommend", tmp_path / f"alone-{keep}", "--all").err == ""


def test_split_none_trains_on_everything_and_measures_nothing(log, tmp_path, capsys):
    words = ("--dataset", log, "--split", "none", "--embedding_dim", 8, "--epochs", 3, "--quiet")
    said = ultragcn(capsys, "train", *words, "--out", tmp_path / "run")
    assert said.out == f"run\t{tmp_path / 'run'}\n"
    assert "nothing was held out, so nothing is measured" in said.err
    metrics, _, _ = outcome(tmp_path / "run")
    assert not metrics.keys() & {"valid", "test"}
    assert metrics["kept"] == "everything"
    assert len(load_model(tmp_path / "run").train_) == len(load_dataset(log).everything)
    assert "nothing was held out (split none), so it cannot be measured" in ultragcn(capsys, "evaluate", tmp_path / "run", status=2).err
    for more, says in (
        (["--keep", "measured"], "so no model is measured"), (["--refit"], "nothing to refit on"),
        (["--protocol", "authors"], "authors chooses on test"), (["--test_share", "0.1"], "drop test_share"),
    ):  # fmt: skip
        assert says in ultragcn(capsys, "train", *words, *more, "--out", tmp_path / "no", status=2).err
        assert not (tmp_path / "no/metrics.json").exists()
    assert (
        "nothing to compare models on"
        in ultragcn(capsys, "compare", "--dataset", log, "--split", "none", "--models", "ease", "--out", tmp_path / "no", status=2).err
    )


def test_an_interrupt_under_split_none_leaves_a_model_that_knows_everything_so_far(log, tmp_path):
    def interrupt(record):
        if record["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="the best model so far is in"):
        train_run(load_dataset(log, split="none"), Config(**QUICK), tmp_path / "run", on_epoch=interrupt)
    metrics = storage.read_json(tmp_path / "run/metrics.json")
    assert (metrics["stopped"], metrics["kept"]) == ("interrupted", "everything")
    assert resume_run(tmp_path / "run")["kept"] == "everything"
    assert outcome(tmp_path / "run")[0]["stopped"] != "interrupted"


def test_evaluate_ranking_takes_every_option_of_the_data(log, tmp_path, capsys):
    how = ("--dataset", log, "--split", "last", "--last_k", 2, "--k_core", 3, "--split_seed", 4)
    ultragcn(capsys, "train", "--model", "itemknn", *how, "--keep", "measured", "--out", tmp_path / "run", "--quiet")
    ultragcn(capsys, "recommend", tmp_path / "run", "--all", "--output", tmp_path / "lists.tsv")
    of_run = ultragcn(capsys, "evaluate", tmp_path / "run").out
    assert ultragcn(capsys, "evaluate", "--ranking", tmp_path / "lists.tsv", *how).out == of_run
    assert "who have them in train" in ultragcn(capsys, "evaluate", "--ranking", tmp_path / "lists.tsv", "--dataset", log, status=2).err
    assert (
        "lists cannot be evaluated"
        in ultragcn(capsys, "evaluate", "--ranking", tmp_path / "lists.tsv", "--dataset", log, "--split", "none", status=2).err
    )


# Hyper-parameters of a model.


def test_a_baseline_takes_its_own_hyper_parameters_and_its_table_of_a_file(log, tmp_path, capsys):
    (tmp_path / "settings.toml").write_text("[ease]\nl2 = 7\n[itemknn]\nnum_neighbors = 3\n")
    words = ("train", "--model", "ease", "--dataset", log, "--quiet")
    for more, l2 in (([], 500.0), (["--l2", 3], 3.0), (["--config", tmp_path / "settings.toml"], 7.0)):
        ultragcn(capsys, *words, *more, "--out", tmp_path / f"{l2:g}")
        assert load_model(tmp_path / f"{l2:g}").config.l2 == l2
    said = ultragcn(capsys, "train", "--model", "bpr", "--config", tmp_path / "settings.toml", status=2).err
    assert "has tables for ease, itemknn, not for bpr; put its hyper-parameters under [bpr]" in said


def test_help_lists_the_hyper_parameters_of_the_model_alone(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for words, has, has_not in ((["--model", "ease"], "--l2 X", "--solver"), (["--model=ials"], "--unobserved_weight", "--w1"),
                                ([], "--solver", "--unobserved_weight")):  # fmt: skip
        with pytest.raises(SystemExit):
            main(["train", *words, "--help"])
        shown = capsys.readouterr().out
        assert has in shown
        assert has_not not in shown
        assert "ultragcn-sgd, popularity, itemknn" in shown


def test_variants_of_ultragcn_are_trained_as_compare_trains_them(tmp_path, capsys):
    for name, expected in (("ultragcn-paper", {"item_graph_weight": 0.0, "solver": "exact"}), ("ultragcn-default", {"solver": "exact"})):
        ultragcn(capsys, "train", "--model", name, "--epochs", 2, "--embedding_dim", 4, "--out", tmp_path / name, "--quiet")
        config = storage.read_json(tmp_path / name / "manifest.json")["config"]
        assert expected.items() <= config.items()


def test_runs_begun_in_the_same_second_have_folders_of_their_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "ultragcn.cli.train.datetime", type("Frozen", (), {"now": staticmethod(lambda: __import__("datetime").datetime(2024, 1, 2))})
    )
    for _ in range(3):
        ultragcn(capsys, "train", "--model", "popularity", "--quiet")
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == ["demo-popularity-20240102-000000", "demo-popularity-20240102-000000-2", "demo-popularity-20240102-000000-3"]


# Killed, interrupted, overwritten.


@pytest.mark.parametrize("model", ["ultragcn", "ease"])
@pytest.mark.parametrize("refit", [True, False])
def test_stopped_at_any_file_a_run_that_replaces_another_leaves_one_or_the_other(log, tmp_path, monkeypatch, model, refit):
    data, make = load_dataset(log), {"ultragcn": lambda: UltraGCN(**QUICK), "ease": EASE}[model]
    train_run(data, make(), tmp_path / "whole", refit=refit, checkpoint_every=1)
    train_run(data, BASELINES["popularity"](), tmp_path / "old")
    (tmp_path / "old/events.out.tfevents.1").write_text("of the old run")
    new, stops, old_ones = outcome(tmp_path / "whole"), 0, 0
    old = (tmp_path / "old/model.safetensors").read_bytes()
    while True:
        run, touched = shutil.copytree(tmp_path / "old", tmp_path / f"run-{stops}"), 0

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
                train_run(data, make(), run, refit=refit, checkpoint_every=1, overwrite=True)
            except Stop:
                pass
            else:
                assert outcome(run) == new
                break
        load_model(run)  # there is always one
        if (
            (run / "model.safetensors").read_bytes() == old
            and not (run / "next/manifest.json").exists()
            and not (run / "next/metrics.json").exists()
        ):
            old_ones += 1
            resume_run(run, dataset=data)
            assert (run / "model.safetensors").read_bytes() == old
        else:
            resume_run(run, dataset=data)
            assert outcome(run) == new, stops
        stops += 1
    assert stops >= 12
    assert 1 <= old_ones <= 2


def test_a_night_that_fails_leaves_yesterdays_model(log, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    words = ("train", "--dataset", log, "--out", run, "--embedding_dim", 8, "--epochs", 2, "--quiet")
    ultragcn(capsys, *words)
    before = outcome(run)

    def fail(*_, **__):
        raise NumericalError("the loss is no longer a finite number; lower learning_rate")

    with monkeypatch.context() as patched:
        patched.setattr(UltraGCN, "fit", fail)
        assert "the loss is no longer" in ultragcn(capsys, *words, "--overwrite", status=1).err
    assert outcome_of_old(run) == before
    assert "already holds a run that is not complete" in ultragcn(capsys, *words, status=2).err
    said = ultragcn(capsys, "train", "--resume", run, "--quiet")
    assert f"run\t{run}" in said.out
    assert outcome(run)[0] == before[0]


def outcome_of_old(run):
    """What the earlier run in a folder says, where another is being made."""
    kept = shutil.copytree(run, run.with_name("kept"))
    shutil.rmtree(kept / "next")
    return outcome(kept)


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_interrupt_while_everything_is_learned_leaves_the_measured_model(log, tmp_path, monkeypatch, capsys, overwrite):
    run, real, fits = tmp_path / "run", UltraGCN.fit, []
    words = ("train", "--dataset", log, "--out", run, "--embedding_dim", 8, "--epochs", 2, "--quiet")
    if overwrite:
        ultragcn(capsys, "train", "--model", "popularity", "--dataset", log, "--out", run, "--quiet")

    def fit(model, *arguments, **options):
        fits.append(model)
        if len(fits) == 2:
            raise KeyboardInterrupt
        return real(model, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(UltraGCN, "fit", fit)
        said = ultragcn(capsys, *words, *(["--overwrite"] if overwrite else []), status=130).err
    folder = run / "next" if overwrite else run
    left = f"; the model in {run} is as it was" if overwrite else ""
    assert f"interrupted; the best model so far is in {folder}{left}; go on by --resume {run}" in said
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["stopped"], metrics["kept"]) == ("interrupted", "measured")
    assert metrics["test"] == evaluate(load_model(folder), load_dataset(log).test)
    ultragcn(capsys, "train", "--resume", run, "--quiet")
    train_run(load_dataset(log), Config(embedding_dim=8, epochs=2), tmp_path / "whole")
    assert outcome(run) == outcome(tmp_path / "whole")


def test_a_model_without_checkpoints_begins_again_and_says_so(log, tmp_path, monkeypatch, capsys):
    run, words = tmp_path / "run", ("train", "--model", "ease", "--dataset", log, "--quiet")

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(EASE, "_learn", interrupt)
        said = ultragcn(capsys, *words, "--out", run, status=130).err
    assert f"interrupted before an epoch ended; there is no model in {run}; begin again by --resume {run}" in said
    said = ultragcn(capsys, "train", "--resume", run, "--quiet").err
    assert "ease writes no checkpoints, so its training begins again" in said
    ultragcn(capsys, *words, "--out", tmp_path / "whole")
    assert outcome(run) == outcome(tmp_path / "whole")
    assert "there is nothing left to do" in ultragcn(capsys, "train", "--resume", run).err


def test_keep_must_be_something_that_can_be_kept(log, tmp_path):
    with pytest.raises(UsageError, match="unknown keep 'evrything'; did you mean everything"):
        train_run(load_dataset(log), Config(), tmp_path / "run", keep="evrything")


# The doctor.


def test_the_doctor_says_what_there_is_as_lines_and_as_json(capsys, tmp_path):
    lines = dict(line.split("\t") for line in ultragcn(capsys, "doctor").out.splitlines())
    found = json.loads(ultragcn(capsys, "doctor", "--json", "--data_dir", tmp_path).out)
    assert lines.keys() == found.keys()
    for name in ("ultragcn", "python", "processor", "cores_allowed", "numpy", "numba_threading_layer", "kernel_cache"):
        assert lines[name] not in ("", "-"), name
    assert found["data_folder"] == str(tmp_path.resolve())
    assert found["cores_allowed"] <= found["cores_present"]


def test_the_doctor_is_well_without_torch_and_without_a_place_for_kernels(capsys, monkeypatch):
    def missing(package):
        return None if package == "torch" else "1.0"

    monkeypatch.setattr("ultragcn.cli.doctor._version", missing)
    monkeypatch.setattr("ultragcn.kernels.numba_cpu.about._can_write", lambda folder: False)
    said = ultragcn(capsys, "doctor")
    assert "torch\t-" in said.out.splitlines()
    assert "set NUMBA_CACHE_DIR to a folder that can be written to" in said.err
    assert "torch (solver sgd and LightGCN)" in said.err
