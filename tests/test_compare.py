"""Comparing models: one table, kept run by run, resumed where it ended."""

import json
import shutil

import numpy as np
import pytest

from ultragcn import evaluate, load_dataset
from ultragcn.baselines import ItemKNN
from ultragcn.cli import main
from ultragcn.errors import UsageError
from ultragcn.experiments import compare


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A log of 60 users who keep to their half of 30 items."""
    random = np.random.default_rng(0)
    pairs = [f"u{user},{'ab'[user % 2]}{item}" for user in range(60) for item in random.permutation(15)[:8]]
    path = tmp_path_factory.mktemp("data") / "log.csv"
    path.write_text("\n".join(["user,item", *pairs]) + "\n")
    return path


@pytest.fixture(scope="module")
def finished(log, tmp_path_factory):
    """A comparison of three models, and the folder that holds it."""
    out = tmp_path_factory.mktemp("compared") / "out"
    table = compare.compare({"source": log}, ["popularity", "itemknn", "ials"], [0, 1], out, metrics=["recall@5", "ndcg@5"])
    return table, out


def test_the_best_model_comes_first_and_the_others_are_tested_against_it(finished):
    table, _ = finished
    assert [line.model for line in table.lines][-1] == "popularity"
    best, *others = table.lines
    assert best.p_value is None
    assert all(0 <= line.p_value <= 1 for line in others)
    assert table.lines[-1].p_value < 0.01
    for line in table.lines:
        low, high = line.intervals["recall@5"]
        assert low < line.means["recall@5"] < high
        assert line.peak_memory_mb > 20


def test_a_model_that_draws_nothing_runs_once_and_one_that_does_with_every_seed(finished):
    table, out = finished
    assert {line.model: line.num_seeds for line in table.lines} == {"popularity": 1, "itemknn": 1, "ials": 2}
    assert len((out / "runs.tsv").read_text().splitlines()) == 1 + 4


def test_the_numbers_are_those_of_the_model_on_its_own(finished, log):
    table, _ = finished
    data = load_dataset(log)
    own = evaluate(ItemKNN().fit(data.train, data.valid), data.test, ["recall@5", "ndcg@5"])
    [line] = [line for line in table.lines if line.model == "itemknn"]
    assert line.means["recall@5"] == pytest.approx(own["recall@5"])
    assert line.means["ndcg@5"] == pytest.approx(own["ndcg@5"])
    assert table.num_users == own["num_users"]


def test_what_is_there_is_not_run_again(finished, log, monkeypatch):
    table, out = finished
    monkeypatch.setattr(compare, "_apart", lambda *arguments: pytest.fail(f"{arguments[1]} runs again"))
    again = compare.compare({"source": log}, ["popularity", "itemknn", "ials"], [0, 1], out, metrics=["recall@5", "ndcg@5"])
    assert again == table


def test_other_settings_run_anew_and_take_the_place_of_the_old(finished, log, tmp_path):
    out = shutil.copytree(finished[1], tmp_path / "out")
    before = (out / "runs.tsv").read_text()
    table = compare.compare(
        {"source": log}, ["itemknn"], [0], out, metrics=["recall@5", "ndcg@5"], settings={"itemknn": {"num_neighbors": 3}}
    )
    assert json.loads(table.lines[0].settings) == {"num_neighbors": 3}
    assert len((out / "runs.tsv").read_text().splitlines()) == len(before.splitlines()) + 1


def test_another_comparison_in_the_folder_is_refused_not_mixed(finished, log):
    _, out = finished
    with pytest.raises(UsageError, match=r"holds another comparison \(other metrics\)"):
        compare.compare({"source": log}, ["popularity"], [0], out, metrics=["recall@10"])
    with pytest.raises(UsageError, match="other data_hash, split_hash"):
        compare.compare({"source": log, "split_seed": 1}, ["popularity"], [0], out, metrics=["recall@5", "ndcg@5"])


def test_a_folder_of_something_else_is_left_alone(log, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="other files"):
        compare.compare({"source": log}, ["popularity"], [0], tmp_path)


@pytest.mark.parametrize(
    ("models", "settings", "message"),
    [
        (["populariti"], {}, "did you mean popularity"), (["ease"], {"ease": {"l3": 1}}, "did you mean l2"),
        (["ease"], {"eese": {}}, "did you mean ease"), ([], {}, "at least one model"),
        (["ultragcn"], {"ultragcn": {"epochs": -3}}, "epochs"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_before_anything_is(log, tmp_path, models, settings, message):
    with pytest.raises(UsageError, match=message):
        compare.compare({"source": log}, models, [0], tmp_path / "out", settings=settings)
    assert not (tmp_path / "out").exists()


def test_a_model_that_fails_says_why_and_the_others_are_kept(log, tmp_path, monkeypatch, capsys):
    apart = compare._apart
    monkeypatch.setattr(
        compare, "_apart", lambda source, model, *rest: ({}, "ease needs a cathedral") if model == "ease" else apart(source, model, *rest)
    )
    words = ["--dataset", str(log), "--models", "ease,popularity", "--seeds", "3", "--out", str(tmp_path / "out"), "--quiet"]
    assert main(["compare", *words]) == 1
    printed = capsys.readouterr()
    assert "| popularity | 1 |" in printed.out
    assert "ease failed: ease needs a cathedral" in printed.err
    assert "needs a cathedral" in (tmp_path / "out/table.tsv").read_text()


def test_the_command_reads_settings_and_names_a_stray_one(log, tmp_path, capsys):
    (tmp_path / "settings.toml").write_text("l2 = 3\n")
    words = ["compare", "--dataset", str(log), "--settings", str(tmp_path / "settings.toml"), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "l2 stands outside a table" in capsys.readouterr().err
    assert main(["compare", "--dataset", str(log), "--seeds", "zero"]) == 2
    assert "whole numbers" in capsys.readouterr().err
