"""`ultragcn evaluate`: runs and lists from anywhere, intervals, groups, values by user, and how it refuses."""

import numpy as np
import polars as pl
import pytest

from ultragcn import UltraGCN
from ultragcn.cli import main
from ultragcn.evaluation.dialects import DIALECTS
from ultragcn.evaluation.metrics import METRICS as ALL_METRICS

METRICS = "recall@20,ndcg@20,precision@10,map@20,mrr@20,hit_rate@5,f1@20,coverage@20,novelty@20,gini@20,popularity@20"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "demo"
    assert main(["train", "--epochs", "2", "--quiet", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def ultragcn(capsys):
    def call(*words, status=0):
        capsys.readouterr()
        assert main([str(word) for word in words]) == status
        return capsys.readouterr()

    return call


def printed(text):
    return {name: [float(value) for value in values] for name, *values in (line.split("\t") for line in text.splitlines())}


@pytest.mark.parametrize("kind", ["tsv", "json", "parquet"])
@pytest.mark.parametrize("dialect", ["lightgcn", "elliot"])
def test_recommended_lists_in_every_format_are_worth_what_the_run_is(ultragcn, run_folder, tmp_path, kind, dialect):
    ultragcn("recommend", run_folder, "--all", "--top_k", 20, "--format", kind, "--output", tmp_path / "lists")
    options = ("--metrics", METRICS, "--dialect", dialect)
    of_run = ultragcn("evaluate", run_folder, *options)
    of_lists = ultragcn("evaluate", "--ranking", tmp_path / "lists", "--dataset", "demo", *options)
    assert of_lists.out == of_run.out
    assert printed(of_run.out).keys() == {*METRICS.split(","), "num_users"}
    assert ultragcn("evaluate", run_folder, "--ranking", tmp_path / "lists", *options).out == of_run.out
    assert of_run.err == of_lists.err == f"ultragcn: demo test, protocol clean, dialect {dialect}\n"


def test_intervals_hold_their_values(ultragcn, run_folder):
    header, rows = ultragcn("evaluate", run_folder, "--metrics", "recall@20,coverage@20", "--ci").out.split("\n", 1)
    assert header.split("\t") == ["metric", "value", "low", "high"]
    found = printed(rows)
    value, low, high = found["recall@20"]
    assert low < value < high
    assert len(found["coverage@20"]) == len(found["num_users"]) == 1


def test_groups_are_two_tables_below_the_metrics(ultragcn, run_folder):
    metrics, users, items = ultragcn("evaluate", run_folder, "--metrics", "recall@20,novelty@5", "--groups").out.split("\n\n")
    header, *rows = [line.split("\t") for line in users.splitlines()]
    assert header == ["users by train items", "num_users", "recall@20", "novelty@5"]
    assert sum(int(row[1]) for row in rows) == printed(metrics)["num_users"][0]
    header, *rows = [line.split("\t") for line in items.splitlines()]
    assert header == ["items by train users", "num_items", "recall@5", "recall@20", "num_users"]
    assert sum(int(row[1]) for row in rows) == 600


@pytest.mark.parametrize("name", ["values.tsv", "values.parquet"])
def test_values_by_user_average_to_what_is_printed(ultragcn, run_folder, tmp_path, name):
    file = tmp_path / name
    found = printed(ultragcn("evaluate", run_folder, "--metrics", "recall@20,ndcg@10,gini@20", "--per_user", file).out)
    table = pl.read_parquet(file) if name.endswith("parquet") else pl.read_csv(file, separator="\t")
    assert table.columns == ["user_id", "recall@20", "ndcg@10"]
    assert len(table) == found["num_users"][0]
    assert table["user_id"][0] == "user-0001"
    for label in table.columns[1:]:
        assert table[label].mean() == pytest.approx(found[label][0], rel=1e-5)


def test_what_is_wrong_with_lists_is_warned_of_or_refused(ultragcn, run_folder, tmp_path):
    lists = tmp_path / "lists.tsv"
    ultragcn("recommend", run_folder, "--all", "--top_k", 5, "--output", lists)
    evaluate = ("evaluate", "--ranking", lists, "--dataset", "demo")
    assert "has fewer than 20 items for 1984 of 1984 users (first: user 'user-0001', 5)" in ultragcn(*evaluate).err
    assert "no listed item is held out" in ultragcn(*evaluate, "--part", "valid", "--metrics", "recall@5").err
    lines = lists.read_text().splitlines(keepends=True)
    lists.write_text("".join(lines[: 1 + 5 * 1990]))
    assert "has no list for 9 of 1984 users with held-out items" in ultragcn(*evaluate, "--metrics", "recall@5").err
    ultragcn("recommend", run_folder, "--all", "--include_seen", "--output", lists)
    assert "who have them in train" in ultragcn(*evaluate, status=2).err


@pytest.fixture
def log_run(ultragcn, tmp_path):
    """A log split by time, and a run on it."""
    random = np.random.default_rng(0)
    rows = [f"u{user},i{item},{random.integers(10**6)}" for user in range(40) for item in random.permutation(25)[:10]]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    words = ("--dataset", tmp_path / "log.csv", "--split", "last", "--last_k", "2", "--epochs", "2", "--quiet", "--keep", "measured")
    ultragcn("train", *words, "--out", tmp_path / "run")
    return tmp_path / "log.csv", tmp_path / "run"


def test_lists_are_evaluated_over_the_split_of_a_run(ultragcn, log_run, tmp_path):
    _, run = log_run
    ultragcn("recommend", run, "--all", "--output", tmp_path / "lists.tsv")
    of_run, of_lists = ultragcn("evaluate", run), ultragcn("evaluate", run, "--ranking", tmp_path / "lists.tsv")
    assert of_lists.out == of_run.out != ""
    assert "--split_seed goes only with --ranking without RUN" in ultragcn("evaluate", run, "--split_seed", 1, status=2).err


def test_data_that_moved_with_their_project_are_found_where_they_are_said_to_be_and_checked(ultragcn, log_run, tmp_path):
    log, run = log_run
    before = ultragcn("evaluate", run).out
    (tmp_path / "elsewhere").mkdir()
    moved = log.rename(tmp_path / "elsewhere" / "log.csv")
    assert f"--dataset PATH{chr(10)}" in ultragcn("evaluate", run, status=2).err
    assert ultragcn("evaluate", run, "--dataset", moved).out == before
    assert "it cannot have moved; leave it out" in ultragcn("evaluate", run, "--dataset", moved, "--titles", moved, status=2).err
    moved.write_text(moved.read_text() + "u0,i99,5\n")
    refused = ultragcn("evaluate", run, "--dataset", moved, status=2).err
    assert "is not the data this run was trained on (hash " in refused
    assert refused.endswith("; give the file as it was then\n")


def test_data_that_changed_or_are_gone_since_the_run_are_told_apart(ultragcn, log_run):
    log, run = log_run
    content = log.read_text()
    log.write_text(content + "u0,i99,5\n")
    assert f"{log} has changed since the run was trained on it; put it back as it was" in ultragcn("evaluate", run, status=2).err
    log.unlink()
    sentence = f"the run was trained on {log}, which is gone; put it back, or say where it is now: ultragcn evaluate RUN --dataset PATH"
    assert ultragcn("evaluate", run, status=2).err == f"ultragcn: {sentence}\n"


def test_help_names_every_metric_and_dialect(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    words = capsys.readouterr().out.replace(",", " ").split()
    assert {*ALL_METRICS, *DIALECTS} <= set(words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give the folder of a run, or --ranking FILE"), (["run", "--ranking", "file"], "no run folder run"),
        (["--ranking", "file"], "--ranking needs the data set that the lists are for"),
        (["run", "--protocol", "clean"], "--protocol goes only with --ranking"),
        (["run", "--split_seed", "0"], "--split_seed goes only with --ranking"), (["run", "--dialect", "elliott"], "did you mean elliot"),
        (["run", "--metrics", "recal@20"], "did you mean recall"), (["--ranking", "nosuch", "--dataset", "demo"], "cannot read nosuch"),
        (["--ranking", "file", "--dataset", "dem"], "did you mean demo"),
        (["--ranking", "x", "--dataset", "demo", "--protocol", "authors", "--part", "valid"], "cannot read x"),
    ],
)  # fmt: skip
def test_misuse_is_one_line(ultragcn, words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    captured = ultragcn("evaluate", *words, status=2)
    assert says in captured.err
    assert (captured.out, len(captured.err.splitlines())) == ("", 1)


def test_a_model_without_its_run_says_what_is_missing(ultragcn, run_folder, tmp_path):
    UltraGCN.load(run_folder).save(tmp_path / "alone")
    said = ultragcn("evaluate", str(tmp_path / "alone"), status=2).err
    assert "holds a model alone, as save writes it, and does not say which data it is for" in said
    assert len(said.splitlines()) == 1
