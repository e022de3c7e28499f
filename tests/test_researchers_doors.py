"""What researchers bring: own models and lists on the command line, own metrics, files of other tools; and what they take away."""

import gzip
import json

import numpy as np
import polars as pl
import pytest

from tests.conftest import interactions_of
from ultragcn import Dataset, ItemKNN, evaluate, load_dataset
from ultragcn.cli import main
from ultragcn.errors import DataError, UsageError
from ultragcn.evaluation.evaluate import evaluate_by_user
from ultragcn.evaluation.lists import RankedLists, read_lists
from ultragcn.experiments.studies import compare
from ultragcn.experiments.studies.compare import Line, Table, latex
from ultragcn.experiments.studies.entries import Entry, ListsFile, factories_of

TRAIN = interactions_of([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]])
TEST = interactions_of([[0, 1, 1, 0, 0], [0, 0, 0, 1, 0]])
LISTS = [[1, 3], [3, 0]]

# ----------------------------------------------------------------- ranked lists


@pytest.mark.parametrize(
    "text",
    [
        "user_id,item_id,prediction\n0,3,2.5\n0,1,4\n1,0,-1\n1,3,0.5\n", "userId\tmovieId\trating\n1\t3\t5\n0\t1\t5\n1\t0\t4\n0\t3\t4.5\n",
        "user,item,Score\n0,1,2\n0,3,1\n1,3,2\n1,0,1\n", "user,item,rating,score\n0,1,0,2\n0,3,9,1\n1,3,0,2\n1,0,9,1\n",
        "0 Q0 1 1 9.5 mine\n0 Q0 3 2 9.25 mine\n1 Q0 0 1 1e-3 mine\n1 Q0 3 2 0.5 mine\n",  # the score counts, as for trec_eval
        "  0\tq0  1 0 2 x\r\n0 q0 3 0 1 x\r\n\r\n1 q0 3 0 2 x\r\n1 q0 0 0 1 x\r\n",
    ],
)  # fmt: skip
def test_lists_of_other_tools_are_read_packed_or_not(tmp_path, text):
    (tmp_path / "lists").write_bytes(text.encode())
    (tmp_path / "lists.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("lists", "lists.gz"):
        assert evaluate_by_user(read_lists(tmp_path / name, TRAIN), TEST, ["recall@2"]).items.tolist() == LISTS


def test_what_recommend_packs_or_marks_for_excel_is_read_back(tmp_path, capsys):
    data = load_dataset("demo")
    model = ItemKNN().fit(data)
    model.save(tmp_path / "run")
    expected = evaluate(model, data.test)
    for name, more in (("a.csv", ["--bom"]), ("b.tsv.gz", []), ("c.jsonl.gz", []), ("d.parquet", [])):
        assert main(["recommend", str(tmp_path / "run"), "--all", "--output", str(tmp_path / name), *more]) == 0
        assert evaluate(read_lists(tmp_path / name, data.train, data.valid), data.test) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"user,item,title\n0,1,x\n", "expected user_id, item_id and rank or score"),
        (b"0 Q0 1 1 much mine\n", "'much' in row 1 is not a number"),
        (b"0 Q0 1 1 2 x\n0 Q0 77 2 1 x\n", "in row 2"), (b"\x1f\x8bxxxx", "cannot read"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_such_a_file_is_said(tmp_path, content, says):
    (tmp_path / "lists").write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_lists(tmp_path / "lists", TRAIN)


# ------------------------------------------------------------------ own metrics


def first_is_relevant(items, relevant):
    return items[0] in relevant if items else 0.0


def test_a_metric_of_ones_own_sees_ids_and_is_averaged_over_users():
    seen = []

    def noted(items, relevant):
        seen.append((items, relevant))
        return len(items) + len(relevant) / 10

    lists = RankedLists(np.array([0, 0, 0, 1]), np.array([1, 3, 4, 0]), TRAIN)
    with pytest.warns(UserWarning, match="fewer than"):
        result = evaluate_by_user(lists, TEST, ["recall@3", ("noted@2", noted), first_is_relevant])
    assert seen == [([1, 3], {1, 2}), ([0], {3})]
    assert list(result.means) == ["recall@3", "noted@2", "first_is_relevant@20", "num_users"]
    assert result.means["noted@2"] == pytest.approx((2.2 + 1.1) / 2)
    assert result.means["first_is_relevant@20"] == 0.5
    assert result.values["noted@2"].tolist() == pytest.approx([2.2, 1.1])
    assert result.intervals().keys() == {"recall@3", "noted@2", "first_is_relevant@20"}
    assert [group.means.keys() >= {"noted@2"} for group in result.by_user_group(1)] == [True]


def test_a_metric_of_ones_own_alone_and_a_copy_of_ours_have_the_same_value():
    data = load_dataset("demo")
    model = ItemKNN().fit(data)
    recall = ("mine@10", lambda items, relevant: len(relevant & set(items)) / len(relevant))
    assert evaluate(model, data.test, [recall])["mine@10"] == pytest.approx(evaluate(model, data.test, ["recall@10"])["recall@10"])


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ([lambda items, relevant: 1], "needs a name: give the pair"), ([("ndcg@5", first_is_relevant)], "ndcg is a metric of this library"),
        ([("mine", first_is_relevant)], "needs a name"), ([3], "a metric is a label such as 'recall@20', a function, or the pair"),
        ([("mine@2", lambda items, relevant: float("nan"))], "mine@2 returned nan"),
        ([("mine@2", lambda items, relevant: None)], "must return a number"),
        (first_is_relevant, "metrics are a list"), ([], "at least one"),
    ],
)  # fmt: skip
def test_what_is_no_metric_is_refused_in_one_sentence(metrics, says):
    lists = RankedLists(np.array([0, 0, 1, 1]), np.array([1, 3, 3, 0]), TRAIN)
    with pytest.raises(UsageError, match=says):
        evaluate(lists, TEST, metrics)


# ------------------------------------------------------------------- own models


MODEL = """
class Constant:
    def __init__(self, best=0):
        self.best = best

    def fit(self, train):
        matrix, ids = train.matrix, train.item_ids.ids
        order = (-train.item_degrees).argsort(kind="stable")[self.best:]
        self.lists = {user: [ids[item] for item in order if item not in matrix[row].indices] for row, user in enumerate(train.user_ids.ids)}

    def recommend(self, user_ids, top_k):
        return [self.lists[user][:top_k] for user in user_ids]
"""


def test_the_command_compares_lists_and_classes_and_writes_a_table_for_a_paper(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab_of_mine.py").write_text(MODEL)
    log = [(user, item, user + item) for user in range(24) for item in range(20) if (user + item) % 2 == 0 or item < 2]
    pl.DataFrame(log, schema=["user", "item", "time"], orient="row").write_csv("log.csv")
    data = load_dataset("log.csv")
    frame = ItemKNN().fit(data).recommend_frame(data.train.user_ids.ids, 20)
    frame.write_csv("knn_lists.tsv", separator="\t")
    (tmp_path / "settings.toml").write_text("[Constant]\nbest = 1\n")
    words = ["compare", "--dataset", "log.csv", "--models", "popularity,lists:knn_lists.tsv,lab_of_mine:Constant",
             "--settings", "settings.toml", "--out", "out", "--metrics", "recall@5,ndcg@5", "--quiet"]  # fmt: skip
    assert main(words) == 0, capsys.readouterr().err
    capsys.readouterr()
    rows = {row["model"]: row for row in pl.read_csv("out/table.tsv", separator="\t").to_dicts()}
    assert rows.keys() == {"popularity", "knn_lists", "Constant"}
    expected = evaluate(read_lists("knn_lists.tsv", data.train, data.valid), data.test, ["recall@5"])["recall@5"]
    assert rows["knn_lists"]["recall@5"] == pytest.approx(expected, rel=1e-5)
    assert json.loads(rows["Constant"]["settings"]) == {"best": 1}
    tex = (tmp_path / "out" / "table.tex").read_text()
    assert r"knn\_lists & " in tex
    assert tex.count("\\\\\n") == 4
    frame.filter(pl.col("rank") > 1).with_columns(pl.col("rank") - 1).write_csv("knn_lists.tsv", separator="\t")  # other lists: another run
    assert main(words) == 0
    assert "2 of 3 runs found, 1 to do" in capsys.readouterr().err


def test_every_number_of_the_paper_s_table_is_there_and_nothing_in_it_is_a_command():
    lines = (
        Line("my_model & co", "{}", "given", 2, {"recall@20": 0.25, "ndcg@20": 0.125}, {"recall@20": (0.2, 0.3)}, 0.01, None, 12.34, 9.0),
        Line("ease", "{}", "kept", 1, {"recall@20": 0.2, "ndcg@20": 0.15}, {"recall@20": (0.15, 0.25)}, np.nan, 0.001, 0.5, 90.0),
        Line("knn", "{}", "kept", 1, {"recall@20": 0.1, "ndcg@20": 0.05}, {}, np.nan, 0.5, 0.5, 90.0),
        Line("broken", "no memory", "kept", 0, {}, {}, np.nan, None, np.nan, np.nan),
    )  # fmt: skip
    text = latex(Table("demo", "clean", 7, ("recall@20", "ndcg@20"), lines))
    comments, rest = text.split("\\begin{tabular}{lrrrr}\n")
    assert all(line.startswith("% ") for line in comments.splitlines())
    assert rest.splitlines() == [
        r"\toprule", r"Model & recall@20 & ndcg@20 & 95\,\% interval of recall@20 & Seconds \\", r"\midrule",
        r"my\_model \& co & \textbf{0.2500} & 0.1250 & 0.2000 -- 0.3000 & 12.3 \\",
        r"ease & 0.2000$^{*}$ & \textbf{0.1500} & 0.1500 -- 0.2500 & 0.5 \\", r"knn & 0.1000 & 0.0500 &  & 0.5 \\", r"\bottomrule",
        r"\end{tabular}",
    ]  # fmt: skip


def test_lists_are_held_to_the_data_as_any_file_of_lists(tmp_path):
    (tmp_path / "lists.csv").write_text("user,item,rank\n0,0,1\n1,3,1\n")  # user 0 has item 0
    entry = Entry("lists", {}, ListsFile(str(tmp_path / "lists.csv")))
    entry.check()
    data = Dataset("mine", "clean", TRAIN, None, TEST, "")
    model, seconds, besides = entry.fitted(data, 0, refit=False)
    assert (seconds, besides, entry.is_random(data), entry.settings_from(data)) == (0.0, {}, False, "given")
    with pytest.raises(DataError, match="lists 1 items to 1 users who have them in train"):
        evaluate(model, TEST)
    with pytest.raises(UsageError, match="so it takes no settings"):
        Entry("lists", {"a": 1}, ListsFile(str(tmp_path / "lists.csv"))).check()


def test_names_of_models_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.b.tsv").write_text("")
    found = factories_of(["ease", "lists:a.b.tsv", "mine=lists:a.b.tsv", "collections:Counter", "x=collections.abc:Set"])
    assert list(found) == ["ease", "a", "mine", "Counter", "x"]
    assert found["ease"] is None
    assert found["mine"] == ListsFile("a.b.tsv")
    assert found["Counter"].__name__ == "Counter"
    (tmp_path / "broken_lab.py").write_text("import no_such_package_at_all\n")
    for word, says in (
        ("lists:no.tsv", "there is no file no.tsv"), ("no_such_lab:Model", "there is no module no_such_lab here"),
        ("broken_lab:Model", "cannot import broken_lab: ModuleNotFoundError: No module named 'no_such_package_at_all'"),
        ("collections:Conter", "collections has no Conter; did you mean Counter?"), ("mine=ease", "ease has one"),
    ):  # fmt: skip
        with pytest.raises(UsageError) as caught:
            factories_of([word])
        assert says in str(caught.value)
    with pytest.raises(UsageError, match="two models are called a; give one of them another name: NAME=lists:a"):
        factories_of(["lists:a.b.tsv", "a=lists:a.b.tsv"])


def test_an_empty_table_of_settings_is_refused(tmp_path, capsys):
    (tmp_path / "settings.toml").write_text("[ease]\n[itemknn]\nshrinkage = 1\n")
    assert main(["compare", "--models", "ease", "--settings", str(tmp_path / "settings.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "the table [ease] is empty, so it sets no hyper-parameter; leave the table out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert compare.DEFAULT_MODELS[3] == "ease"
