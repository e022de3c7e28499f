"""Comparing models: one table, kept run by run, resumed where it ended."""

import argparse
import json
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

import ultragcn
from ultragcn import UltraGCN, evaluate, load_dataset, storage
from ultragcn.cli import main, train
from ultragcn.cli.seeds import seeds_of
from ultragcn.config import Config, configuration_for, read_config
from ultragcn.data.options import DataOptions
from ultragcn.data.sources import is_usual_split
from ultragcn.errors import MissingDependencyError, UsageError
from ultragcn.evaluation.evaluate import evaluate_by_user
from ultragcn.experiments.reports.comparisons import section
from ultragcn.experiments.studies import compare
from ultragcn.experiments.studies.entries import Entry
from ultragcn.models.ease import EASE
from ultragcn.models.itemknn import ItemKNN
from ultragcn.models.lightgcn import LightGCN
from ultragcn.models.popularity import HALF_LIVES, Popularity
from ultragcn.models.refit import unfitted_for_refit
from ultragcn.models.registry import baseline_for, every_value, kept_settings, make_model, note_of_defaults
from ultragcn.progress import Silent
from ultragcn.training import choices

SRC = Path(__file__).parents[1] / "src"
TINY = {"ultragcn": {"embedding_dim": 8, "negative_weight": 20.0, "epochs": 6}}


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
    of_seeds = [float(row["recall@5"]) for row in storage.read_rows(out / "runs.tsv") if row["model"] == "ials"]
    spread = {row["model"]: row["seed_std"] for row in storage.read_rows(out / "table.tsv")}
    assert spread == {"popularity": "", "itemknn": "", "ials": f"{statistics.stdev(of_seeds):.6g}"}


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


def test_a_default_that_changed_in_the_code_makes_another_run(log, tmp_path, monkeypatch):
    def again():
        return compare.compare({"source": log}, ["ultragcn", "itemknn"], [0], tmp_path, metrics=["recall@5"], settings=TINY)

    first, asked = again(), []
    monkeypatch.setattr(compare, "_apart", lambda source, entry, *others: (asked.append(entry.name), ({}, "not now"))[1])
    assert again() == first
    assert asked == []
    monkeypatch.setattr("ultragcn.config.ultragcn.EXACT_L2", 0.7)
    assert [line.num_seeds for line in again().lines] == [1, 0]
    assert asked == ["ultragcn"]


def test_another_comparison_in_the_folder_is_refused_not_mixed(finished, log):
    _, out = finished
    with pytest.raises(UsageError, match=r"holds another comparison \(other metrics\)"):
        compare.compare({"source": log}, ["popularity"], [0], out, metrics=["recall@10"])
    with pytest.raises(UsageError, match=r"holds another comparison \(another data set or split\)"):
        compare.compare({"source": log, "split_seed": 1}, ["popularity"], [0], out, metrics=["recall@5", "ndcg@5"])


def test_a_folder_of_something_else_is_left_alone(log, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="files of something else"):
            compare.compare({"source": log}, ["popularity"], [0], tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UsageError, match=r"thesis\.tex for a comparison: Not a directory"):
        compare.compare({"source": log}, ["popularity"], [0], tmp_path / "thesis.tex")


def test_the_same_metrics_in_another_order_order_the_table_anew(finished, log, tmp_path):
    table, out = finished[0], shutil.copytree(finished[1], tmp_path / "out")
    again = compare.compare({"source": log}, ["popularity", "ease", "ials"], [0, 1], out, metrics=["ndcg@5", "recall@5"])
    assert again.labels == ("ndcg@5", "recall@5")
    means = {line.model: line.means for line in again.lines}
    assert sorted(means, key=lambda model: -means[model]["ndcg@5"]) == list(means)
    assert all(means[line.model] == line.means for line in table.lines if line.model in means)
    data = load_dataset(log)
    assert means["ease"]["ndcg@5"] == pytest.approx(evaluate(EASE().fit(data.train, data.valid), data.test, ["ndcg@5"])["ndcg@5"])


def test_a_metric_of_several_can_be_asked_for_alone_where_its_values_are_kept(finished, log, tmp_path, monkeypatch):
    table, out = finished[0], shutil.copytree(finished[1], tmp_path / "out")
    monkeypatch.setattr(compare, "_apart", lambda *arguments: pytest.fail(f"{arguments[1]} runs again"))
    alone = compare.compare({"source": log}, ["popularity", "itemknn", "ials"], [0, 1], out, metrics=["ndcg@5"])
    assert alone.labels == ("ndcg@5",)
    assert {line.model: line.means["ndcg@5"] for line in alone.lines} == {line.model: line.means["ndcg@5"] for line in table.lines}
    assert [line.p_value for line in alone.lines if line.p_value is not None] != [
        line.p_value for line in table.lines if line.p_value is not None
    ]
    page = section(out)
    assert "ndcg@5" in page.summary
    assert compare.compare({"source": log}, ["popularity", "itemknn", "ials"], [0, 1], out, metrics=["recall@5", "ndcg@5"]) == table


def test_each_model_has_its_difference_to_the_best_and_an_interval_of_it(finished):
    table, out = finished
    best, *others = table.lines
    assert best.difference is None
    for line in others:
        assert line.difference.mean == pytest.approx(line.means["recall@5"] - best.means["recall@5"])
        low, high = line.difference.interval
        assert low <= line.difference.mean <= high
    # Paired by user, the interval of a difference is that of every user's own differences.
    name = {line.model: next((out / "values").glob(f"{line.model}-0-*.parquet")) for line in table.lines if line.num_seeds == 1}
    first, second = (pl.read_parquet(name[model])["recall@5"].to_numpy() for model in ("popularity", "itemknn"))
    error = np.std(first - second, ddof=1) / np.sqrt(len(first))
    if best.model == "itemknn":
        low, high = next(line.difference.interval for line in others if line.model == "popularity")
        assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)
    printed = compare.markdown(table)
    assert "| difference to the best | p |" in printed
    assert printed.splitlines()[2].split(" | ")[-1] == "peak MB |"


def test_a_race_of_one_has_no_best(log, tmp_path):
    table = compare.compare({"source": log}, ["popularity"], [0], tmp_path / "out", metrics=["recall@5"])
    assert "best |" not in compare.markdown(table).split("| --- |")[-1]


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    """A log in which the last fifth of the time has users of whom nothing was seen before, and what is popular changes."""
    random, path = np.random.default_rng(0), tmp_path_factory.mktemp("timed") / "log.csv"
    lines, seen = ["user,item,time"], set()
    for day in range(200):
        for _ in range(12):
            is_new = day >= 120 and random.random() < 0.7
            user = random.integers(40, 41 + (day - 120) // 2) if is_new else random.integers(40)
            item = (int(random.integers(12)) + day // 4) % 60
            if (user, item) not in seen:
                lines.append(f"u{user:02},i{item:02},{1_500_000_000 + day * 86_400}")
            seen.add((user, item))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.filterwarnings("ignore::ultragcn.errors.DataWarning")
def test_users_without_history_are_counted_and_the_others_have_a_mean_of_their_own(timed, tmp_path):
    source = {"source": timed, "split": "time"}
    table = compare.compare(source, ["itemknn", "popularity"], [0], tmp_path / "out", metrics=["recall@5"])
    data = load_dataset(**source)
    users = np.flatnonzero(data.test.user_degrees)
    nothing = data.train.user_degrees[users] == 0
    assert 0 < nothing.sum() < len(users)
    assert table.num_without_history == nothing.sum()
    result = evaluate_by_user(ItemKNN().fit(data.train, data.valid), data.test, ["recall@5"])
    [line] = [line for line in table.lines if line.model == "itemknn"]
    assert line.with_history == pytest.approx(result.values["recall@5"][~nothing].mean())
    printed = compare.markdown(table)
    assert f"{nothing.sum()} of {len(users)} test users have no train items" in printed
    assert f"| recall@5, {(~nothing).sum()} with history |" in printed
    refitted = compare.compare(source, ["itemknn"], [0], tmp_path / "refitted", metrics=["recall@5"], refit=True)
    both = data.train.union(data.valid).user_degrees[users] == 0
    assert refitted.num_without_history == both.sum() < nothing.sum()


@pytest.mark.filterwarnings("ignore::ultragcn.errors.DataWarning")
def test_popularity_chooses_its_half_life_on_validation_where_times_are_known(timed, tmp_path):
    table = compare.compare({"source": timed, "split": "time"}, ["popularity"], [0], tmp_path / "out", metrics=["recall@5"])
    [line] = table.lines
    assert line.settings_from == "chosen"
    data = load_dataset(timed, split="time")
    worth = {one: choices.worth(Popularity(half_life=one).fit(data.train, data.valid), data.valid, "recall@20") for one in HALF_LIVES}
    best = max(worth, key=worth.__getitem__)
    assert best is not None  # what is popular changes
    assert json.loads(line.settings) == {"half_life": best}
    own = evaluate(Popularity(half_life=best).fit(data.train, data.valid), data.test, ["recall@5"])
    assert line.means["recall@5"] == pytest.approx(own["recall@5"])
    given = {"popularity": {"half_life": 365.0}}
    [line] = compare.compare(
        {"source": timed, "split": "time"}, ["popularity"], [0], tmp_path / "given", metrics=["recall@5"], settings=given
    ).lines
    assert (line.settings_from, json.loads(line.settings)) == ("given", given["popularity"])
    [line] = compare.compare({"source": timed}, ["popularity"], [0], tmp_path / "random", metrics=["recall@5"]).lines
    assert (line.settings_from, line.settings) == ("defaults", "{}")


def test_models_with_defaults_are_named_under_the_table_with_a_command_that_tunes_one(timed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["compare", "--dataset", str(timed), "--models", "popularity,itemknn", "--seeds", "0,", "--metrics", "recall@5", "--quiet"]
    assert main([*words, "--out", "first"]) == 0
    printed = capsys.readouterr().out
    assert "Not tuned on these data, because their settings are defaults: itemknn." in printed
    command = shlex.split(printed.partition("This tunes itemknn: `")[2].partition("`")[0])
    assert command[:2] == ["ultragcn", "sweep"]
    assert main([*command[1:], "--quiet"]) == 0
    best = Path(dict(line.split("\t")[:2] for line in capsys.readouterr().out.splitlines())["configuration"])
    assert main([*words, "--settings", str(best), "--out", "second"]) == 0
    printed = capsys.readouterr().out
    assert "| itemknn | given |" in printed
    assert "Not tuned" not in printed


def test_settings_kept_for_a_split_are_not_used_on_another(monkeypatch):
    small, core = DataOptions(), DataOptions(k_core=5)
    assert is_usual_split("ml-latest-small", small)
    assert is_usual_split("ml-latest-small", DataOptions(split="none"))
    assert is_usual_split("gowalla", DataOptions(split="last", last_share=0.1))
    assert not is_usual_split("gowalla", small)
    assert not is_usual_split("ml-latest-small", core)
    assert not any(is_usual_split("ml-latest-small", DataOptions(split=split)) for split in ("time", "last"))
    assert not is_usual_split("electronics", small, ["source", "test"])
    note = note_of_defaults(["ease", "popularity", "ultragcn"], "ml-latest-small", None)
    assert note.startswith("ease, ultragcn: the settings kept for ml-latest-small were chosen on validation pairs of its usual split")
    assert note_of_defaults(["ease"], "ml-latest-small", "ml-latest-small") is None
    assert note_of_defaults(["ease"], None, None) is None


@pytest.mark.parametrize("split", ["time", "random"])
def test_train_takes_kept_settings_for_the_usual_split_alone(split, monkeypatch, capsys):
    words = ["--dataset", "ml-latest-small", "--model", "ease", "--split", split]
    parser = argparse.ArgumentParser()
    train.add_arguments(parser, "ease")
    arguments = parser.parse_args(words)
    _, _, model = train.resolve(arguments, {})
    kept = kept_settings("ease", "ml-latest-small")
    assert model.config.l2 == (kept["l2"] if split == "random" else EASE().config.l2)
    assert ("chosen on validation pairs of its usual split" in capsys.readouterr().err) == (split == "time")


def test_a_run_whose_values_are_gone_is_done_again_and_values_name_the_users(finished, log, tmp_path):
    table, out = finished[0], shutil.copytree(finished[1], tmp_path / "out")
    (file,) = (out / "values").glob("itemknn-0-*.parquet")
    file.unlink()
    told = []
    again = compare.compare(
        {"source": log}, ["popularity", "itemknn", "ials"], [0, 1], out, metrics=["recall@5", "ndcg@5"], tell=told.append
    )
    assert told[-1] == "3 of 4 runs found, 1 to do"
    assert [line.means for line in again.lines] == [line.means for line in table.lines]
    values = pl.read_parquet(file)
    assert values.columns == ["user_id", "recall@5", "ndcg@5"]
    assert values["user_id"].to_list() == sorted(f"u{user}" for user in range(60))


def test_models_that_are_not_asked_for_stay_and_are_named(finished, log, tmp_path):
    out, told = shutil.copytree(finished[1], tmp_path / "out"), []
    table = compare.compare({"source": log}, ["popularity"], [0], out, metrics=["recall@5", "ndcg@5"], tell=told.append)
    assert [line.model for line in table.lines] == ["popularity"]
    assert told[-1] == f"{out} also holds runs of ials, itemknn, which stay; the table has them when --models names them too"


@pytest.mark.parametrize("content", [b"garbage", b"a\tb\n1\t2\n", b"\xff\xfe\n", None])
def test_runs_that_compare_has_not_written_are_refused_in_one_sentence(finished, log, tmp_path, content):
    out = shutil.copytree(finished[1], tmp_path / "out")
    runs = out / "runs.tsv"
    runs.write_bytes(content if content is not None else runs.read_bytes().replace(b"\t1\t", b"\tone\t"))
    with pytest.raises(UsageError, match=r"runs\.tsv is not as compare writes it"):
        compare.compare({"source": log}, ["popularity"], [0], out, metrics=["recall@5", "ndcg@5"])


def test_the_table_says_where_the_settings_are_from(finished):
    assert {line.settings_from for line in finished[0].lines} == {"defaults"}
    words = {
        ("ultragcn", "gowalla", ()): "kept", ("ultragcn", "my", ()): "defaults", ("ultragcn", "gowalla", ("epochs",)): "given",
        ("ultragcn-default", "gowalla", ()): "defaults",
        ("ease", "electronics", ()): "kept", ("ease", "demo", ()): "defaults", ("popularity", "electronics", ()): "defaults",
    }  # fmt: skip
    data = {name: SimpleNamespace(tuned_as=name, valid=None, train=None) for name in ("gowalla", "my", "electronics", "demo")}
    assert {key: Entry(key[0], dict.fromkeys(key[2], 1)).settings_from(data[key[1]]) for key in words} == words
    printed = compare.markdown(finished[0])
    assert "| model | settings | seeds |" in printed
    assert "| popularity | defaults | 1 |" in printed
    assert "`defaults` where they were chosen for no data set" in printed


def test_the_table_says_which_version_made_it_on_which_day(log, tmp_path, monkeypatch):
    def made(commit, version, models):
        monkeypatch.setattr(compare, "git_commit", lambda: commit)
        monkeypatch.setattr(compare, "_today", lambda: "2026-05-04")
        monkeypatch.setattr("ultragcn.__version__", version)
        table = compare.compare({"source": log}, models, [0], tmp_path / "out", metrics=["recall@5"])
        made = compare.made_by(table)
        assert made == [line for line in (tmp_path / "out/table.md").read_text().splitlines() if line in made]
        return compare.made_by(table), json.loads((tmp_path / "out/comparison.json").read_text())["made"].values()

    sentences, runs = made("1234567890abcdef", "8.9", ["popularity"])
    assert [run["day"] for run in runs] == ["2026-05-04"]
    assert sentences == ["This table was made by ultragcn 8.9, commit 1234567, on 2026-05-04."]
    sentences, _ = made(None, "9.0", ["popularity", "itemknn"])
    assert set(sentences) == {
        "The runs of popularity were made by ultragcn 8.9, commit 1234567, on 2026-05-04.",
        "The runs of itemknn were made by ultragcn 9.0 on 2026-05-04.",
    }
    shutil.rmtree(tmp_path / "out")
    assert made("1234567890abcdef+", "9.0", ["itemknn"])[0] == [
        "This table was made by ultragcn 9.0, commit 1234567 with changes, on 2026-05-04."
    ]


def test_a_table_of_runs_over_several_days_says_both_ends_and_runs_without_a_record_are_named(finished):
    table, _ = finished
    of_two_days = replace(table, makers=(compare.Maker("1.0", None, ("2026-01-02", "2026-01-03", "2026-01-05"), ("ials",)),))
    assert compare.made_by(of_two_days) == ["This table was made by ultragcn 1.0 from 2026-01-02 to 2026-01-05."]
    assert compare.made_by(replace(of_two_days, unrecorded=("itemknn",))) == [
        "The runs of ials were made by ultragcn 1.0 from 2026-01-02 to 2026-01-05.",
        "The runs of itemknn were made by a version that was not recorded.",
    ]


def test_runs_of_before_versions_were_recorded_are_kept_and_the_table_does_not_name_a_version(finished, log, tmp_path):
    table, out = finished[0], shutil.copytree(finished[1], tmp_path / "out")
    about = json.loads((out / "comparison.json").read_text())
    (out / "comparison.json").write_text(json.dumps({name: value for name, value in about.items() if name != "made"}))
    again = compare.compare({"source": log}, ["popularity", "itemknn", "ials"], [0, 1], out, metrics=["recall@5", "ndcg@5"])
    assert again.lines == table.lines
    assert (again.makers, set(again.unrecorded)) == ((), {"popularity", "itemknn", "ials"})
    assert "made by" not in compare.markdown(again)


def test_a_p_value_too_small_for_a_number_is_not_printed_as_zero(finished):
    table, _ = finished
    lines = tuple(line if line.p_value is None else line._replace(p_value=0.0) for line in table.lines)
    assert "| < 1e-300 |" in compare.markdown(replace(table, lines=lines))


def test_an_interrupt_says_what_is_kept_and_progress_names_what_runs(log, tmp_path, monkeypatch, capsys):
    apart, shown = compare._apart, []

    def second_is_interrupted(source, entry, *rest):
        if entry.name == "itemknn":
            raise KeyboardInterrupt
        return apart(source, entry, *rest)

    class Shown(Silent):
        def advance(self, steps, figures=None):
            shown.append((steps, (figures or {}).get("model")))

    monkeypatch.setattr(compare, "_apart", second_is_interrupted)
    monkeypatch.setattr("ultragcn.progress.Bars", Shown)
    out = tmp_path / "out"
    words = ["compare", "--dataset", str(log), "--models", "popularity , itemknn", "--metrics", "recall@5, ndcg@5", "--out", str(out)]
    assert main(words) == 130
    assert shown == [(0, None), (0, "popularity"), (1, None), (0, "itemknn")]
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == f"ultragcn: interrupted; 1 of 2 runs are kept in {out}; the same command goes on from there"
    assert not any("found" in line for line in told)


@pytest.mark.parametrize(
    ("models", "settings", "message"),
    [
        (["populariti"], {}, "did you mean popularity"), (["ease"], {"ease": {"l3": 1}}, "did you mean l2"),
        (["ease"], {"eese": {}}, "did you mean ease"), ([], {}, "at least one model"),
        (["ultragcn"], {"ultragcn": {"epochs": -3}}, "epochs"),
        pytest.param(["ultragcn"], {"ultragcn": {"device": "cuda"}}, "finds no GPU", marks=pytest.mark.torch),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_before_anything_is(log, tmp_path, models, settings, message):
    with pytest.raises(UsageError, match=message):
        compare.compare({"source": log}, models, [0], tmp_path / "out", settings=settings)
    assert not (tmp_path / "out").exists()


def test_ctrl_c_ends_the_run_that_is_going_on_at_once_and_without_a_traceback(log, tmp_path):
    (tmp_path / "settings.toml").write_text("[bpr]\nepochs = 1000000000\n")
    words = ["--dataset", str(log), "--models", "popularity,bpr", "--seeds", "0", "--settings", "settings.toml", "--out", "out"]
    command, environment = [sys.executable, "-m", "ultragcn", "compare", *words], os.environ | {"PYTHONPATH": str(SRC)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 90
        while not (tmp_path / "out/runs.tsv").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == "ultragcn: interrupted; 1 of 2 runs are kept in out; the same command goes on from there"


def test_a_first_metric_that_users_have_no_values_of_is_refused_and_a_later_one_is_not(log, tmp_path):
    with pytest.raises(UsageError, match="coverage belongs to all lists together; put one such as recall@20 first"):
        compare.compare({"source": log}, ["popularity"], [0], tmp_path / "out", metrics=["coverage@5", "recall@5"])
    table = compare.compare({"source": log}, ["popularity"], [0], tmp_path / "out", metrics=["recall@5", "coverage@5"])
    assert 0 < table.lines[0].means["coverage@5"] <= 1


@pytest.mark.parametrize("model", ["lightgcn", "ultragcn-sgd"])
def test_a_model_whose_package_is_missing_is_refused_before_anything_is_read(tmp_path, monkeypatch, model):
    for name in [name for name in sys.modules if name.startswith(("ultragcn.kernels.torch_ops", "ultragcn.solvers.sgd"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("ultragcn.kernels.torch_ops", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match="needs PyTorch, which is not installed"):
        compare.compare({"source": "no.csv"}, ["popularity", model], [0], tmp_path / "out")


def test_a_model_that_fails_says_why_and_the_others_are_kept(log, tmp_path, monkeypatch, capsys):
    apart = compare._apart
    monkeypatch.setattr(
        compare,
        "_apart",
        lambda source, entry, *rest: ({}, "ease needs a cathedral") if entry.name == "ease" else apart(source, entry, *rest),
    )
    words = ["--dataset", str(log), "--models", "ease,popularity", "--seeds", "3", "--out", str(tmp_path / "out"), "--quiet"]
    assert main(["compare", *words]) == 1
    printed = capsys.readouterr()
    assert "| popularity | defaults | 1 |" in printed.out
    assert (printed.out + printed.err).count("ease failed: ease needs a cathedral") == 1
    assert "holds every run that ended" in printed.err
    assert "ease failed: ease needs a cathedral" in (tmp_path / "out/table.md").read_text()
    assert "needs a cathedral" in (tmp_path / "out/table.tsv").read_text()


def test_the_command_reads_settings_and_names_a_stray_one(log, tmp_path, capsys):
    (tmp_path / "settings.toml").write_text("l2 = 3\n")
    words = ["compare", "--dataset", str(log), "--settings", str(tmp_path / "settings.toml"), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "l2 stands outside a table" in capsys.readouterr().err
    assert main([*words[:3], "--settings", str(tmp_path / "no.toml")]) == 2
    assert capsys.readouterr().err == f"ultragcn: cannot read {tmp_path / 'no.toml'}: No such file or directory\n"


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--seeds", "zero"), "whole numbers"), (("--models", ""), "--models is empty; give a value, or leave the option out"),
        (("--models", "ease,,ials"), "nothing empty"), (("--seeds", "0,,1"), "nothing empty"), (("--metrics", " "), "nothing empty"),
        (("--seeds", "-1"), "of 0 or more"),
    ],
)  # fmt: skip
def test_lists_are_separated_by_commas_and_have_nothing_empty(log, capsys, option, says):
    assert main(["compare", "--dataset", str(log), *option]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(("text", "seeds"), [("0", [0]), ("3", [0, 1, 2]), ("3,", [3]), ("7, 5", [7, 5]), ("1", [0])])
def test_seeds_are_a_list_or_how_many(text, seeds):
    assert seeds_of(text) == seeds


def test_refit_trains_once_more_on_train_and_validation_as_was_chosen(log, tmp_path):
    table = compare.compare(
        {"source": log}, ["ultragcn", "itemknn"], [0], tmp_path / "out", metrics=["recall@5"], settings=TINY, refit=True
    )
    data = load_dataset(log)
    both = data.train.union(data.valid)
    chosen = UltraGCN(**TINY["ultragcn"]).fit(data.train, data.valid)
    as_chosen = {"epochs": chosen.best_epoch_, "patience": chosen.best_epoch_, "l2_user": chosen.l2_, "l2_item": chosen.l2_}
    as_chosen |= {"item_graph_weight": chosen.item_graph_weight_}
    own = {
        "ultragcn": UltraGCN(**TINY["ultragcn"] | as_chosen).fit(both),
        "itemknn": ItemKNN().fit(both),
    }
    for line in table.lines:
        assert line.means["recall@5"] == pytest.approx(evaluate(own[line.model], data.test, ["recall@5"])["recall@5"])
    assert "The protocol is clean, refitted on train and validation." in compare.markdown(table)
    with pytest.raises(UsageError, match="with or without refit"):
        compare.compare({"source": log}, ["itemknn"], [0], tmp_path / "out", metrics=["recall@5"])
    with pytest.raises(UsageError, match="only the protocol clean holds validation out"):
        compare.compare({"source": log, "protocol": "authors"}, ["itemknn"], [0], tmp_path / "other", refit=True)


def test_values_of_other_settings_are_never_those_of_a_row(log, tmp_path):
    def means(l2):
        table = compare.compare({"source": log}, ["ease"], [0], tmp_path / "out", metrics=["recall@5"], settings={"ease": {"l2": l2}})
        return table.lines[0].means, table.lines[0].intervals

    first, _ = means(1.0), means(1000.0)
    assert len(list((tmp_path / "out/values").iterdir())) == 2
    assert means(1.0) == first


def test_two_comparisons_do_not_write_to_one_folder(log, tmp_path):
    with storage.sole_writer(tmp_path / "out"), pytest.raises(UsageError, match="another process is writing to"):
        compare.compare({"source": log}, ["popularity"], [0], tmp_path / "out")


def test_data_of_one_s_own_have_the_defaults_whatever_their_file_is_called(log, tmp_path, monkeypatch):
    own = Path(shutil.copy(log, tmp_path / "electronics.csv"))
    assert load_dataset(own).name == "electronics"
    assert [load_dataset(source).known_as for source in (own, "demo")] == [None, "demo"]
    table = compare.compare({"source": own}, ["ease"], [0], tmp_path / "out", metrics=["recall@5"])
    assert [(line.settings_from, line.settings) for line in table.lines] == [("defaults", "{}")]
    own.with_suffix(".toml").write_text("embedding_dim = 7\n")
    monkeypatch.chdir(tmp_path)
    for name in (str(own.with_suffix("")), "./electronics", "../configs/gowalla", "studies/gowalla"):
        assert configuration_for(name) == Config()


def test_a_model_that_is_given_every_value_takes_none_that_is_kept():
    tuned = baseline_for("ials", None, l2=0.01)
    assert make_model("ials", "movietweetings-100k", 0, {"l2": 0.01}).config != tuned.config
    assert make_model("ials", "movietweetings-100k", 0, every_value(tuned)).config == tuned.config


@pytest.mark.torch
def test_a_refit_of_lightgcn_takes_the_steps_of_the_training_that_was_stopped_there(log):
    data = load_dataset(log)
    model = LightGCN(schedule="cosine", epochs=40, evaluate_every=1, patience=2, embedding_dim=8, device="cpu")
    model.fit(data.train, data.valid)
    assert model.best_epoch_ < 40
    again = unfitted_for_refit(model).config
    assert (again.epochs, again.schedule_epochs) == (model.best_epoch_, 40)
    assert unfitted_for_refit(LightGCN(**again.to_dict()).fit(data.train, data.valid)).config.schedule_epochs == 40
    np.testing.assert_array_equal(LightGCN(**again.to_dict()).fit(data.train).item_embedding_, model.item_embedding_)


def test_the_variants_of_ultragcn_differ_in_solver_and_in_what_is_added_when_ranking():
    ours, paper, sampled = (make_model(name, "ml-1m", 0, {}).config for name in ("ultragcn", "ultragcn-paper", "ultragcn-sgd"))
    assert ours.item_graph_weight > 0
    assert paper == ours.replace(item_graph_weight=0.0, item_trend_weight=0.0)
    assert not any(paper.chooses(name) for name in ("item_graph_weight", "item_trend_weight"))
    assert (sampled.solver, sampled.resolved().item_graph_weight) == ("sgd", 0)
    assert make_model("ultragcn-default", "electronics", 0, {}).config == Config()


def test_the_papers_model_has_settings_of_its_own_where_they_are_kept(tmp_path):
    ours, paper = (make_model(name, "electronics", 0, {}).config for name in ("ultragcn", "ultragcn-paper"))
    assert paper.item_graph_weight == 0
    assert paper.l2_user != ours.l2_user
    assert make_model("ultragcn-paper", "electronics", 0, {"l2_user": 0.4}).config.l2_user == 0.4
    file = tmp_path / "kept.toml"
    file.write_text("w3 = 0.1\n[exact]\nw3 = 0.2\n[paper]\nw3 = 0.3\n", encoding="utf-8")
    assert [read_config(file, paper=paper).values["w3"] for paper in (False, True)] == [0.2, 0.3]


# ------------------------------------------------------------------ from Python


def test_compare_in_python_gives_what_the_command_gives_and_keeps_nothing_unless_it_is_asked_to(finished, log, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table, _ = finished
    data = load_dataset(log)
    again = ultragcn.compare(data, ["popularity", ItemKNN, "ials"], 2, metrics=["recall@5", "ndcg@5"])
    assert [(line.model, line.num_seeds, line.means) for line in again] == [(line.model, line.num_seeds, line.means) for line in table]
    assert again.lines[1].p_value == pytest.approx(table.lines[1].p_value)
    assert list(tmp_path.iterdir()) == []
    kept = ultragcn.compare(log, ["popularity"], [4], out="kept", metrics=["recall@5"])
    assert (tmp_path / "kept" / "table.md").read_text().splitlines()[2].startswith("| model |")
    assert "nan" not in (tmp_path / "kept" / "table.md").read_text()
    assert kept.lines[0].means["recall@5"] == table.lines[-1].means["recall@5"]


def test_a_table_prints_in_columns_and_becomes_a_frame(finished):
    table, _ = finished
    about, head, *lines, tuning = repr(table).splitlines()
    assert tuning == table.tuning
    assert "Not tuned on these data" in tuning
    assert about == f"{table.dataset}, protocol clean, {table.num_users} test users"
    assert head.split()[:4] == ["model", "seeds", "recall@5", "ndcg@5"]
    assert [line.split()[:3] for line in lines] == [
        [line.model, str(line.num_seeds), f"{line.means['recall@5']:.4f}"] for line in table
    ]  # fmt: skip
    assert {line.index(f"{of.means['recall@5']:.4f}") for line, of in zip(lines, table, strict=True)} == {head.index("recall@5")}
    frame = table.to_frame()
    assert frame["recall@5"].to_list() == [line.means["recall@5"] for line in table]
    assert frame["p_holm"].null_count() == 1
    assert len(table) == 3


def test_compare_in_python_takes_models_made_on_the_spot_and_says_what_else_it_does_not_take(log):
    data = load_dataset(log)
    table = ultragcn.compare(data, {"mine": lambda: ItemKNN(num_neighbors=3), "itemknn": None}, 1, metrics=["recall@5"])
    expected = evaluate(ItemKNN(num_neighbors=3).fit(data), data.test, ["recall@5"])["recall@5"]
    assert {line.model: line.means["recall@5"] for line in table}["mine"] == pytest.approx(expected)
    assert [line.model for line in ultragcn.compare(data, "popularity", 1, metrics=["recall@5"])] == ["popularity"]
    for models, said in ((["eas"], "did you mean ease"), ([EASE(l2=3)], r"settings=\{'ease'"), ([dict], "a model of your own into a dict")):
        with pytest.raises(UsageError, match=said):
            ultragcn.compare(data, models)


def test_a_model_that_fails_in_python_is_a_line_that_says_why(log, monkeypatch):
    def fit(self, *given, **more):
        raise UsageError("no luck today")

    monkeypatch.setattr(EASE, "fit", fit)
    table = ultragcn.compare(log, ["ease", "popularity"], 1, metrics=["recall@5"])
    assert repr(table).splitlines()[-1] == "ease failed: no luck today"
    assert table.to_frame()["model"].to_list() == ["popularity"]
