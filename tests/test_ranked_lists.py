"""Lists from anywhere: every format gives the numbers the ranker itself gets, and what is wrong with a file is said."""

import json

import numpy as np
import polars as pl
import pytest

from tests.conftest import interactions_of
from tests.test_metrics_and_ranking import Scores
from ultragcn import Interactions, evaluate, load_dataset
from ultragcn.data.ids import IdMap
from ultragcn.errors import DataError, DataWarning, UsageError
from ultragcn.evaluation.dialects import DIALECTS
from ultragcn.evaluation.evaluate import evaluate_by_user
from ultragcn.evaluation.lists import RankedLists, read_lists
from ultragcn.evaluation.metrics import METRICS

TRAIN = interactions_of([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]])
TEST = interactions_of([[0, 1, 1, 0, 0], [0, 0, 0, 1, 0]])
GOOD = [(0, 1, 1), (0, 2, 3), (1, 1, 3), (1, 2, 0)]  # user, rank, item


def named(interactions):
    """The same pairs under text ids, one with a quotation mark in it."""
    users = IdMap(np.array([f"u{row}" for row in range(interactions.num_users)], dtype=object), "user")
    items = IdMap(np.array([f'"i" {column}' for column in range(interactions.num_items)], dtype=object), "item")
    return Interactions(interactions.matrix, users, items)


def table_of(rows, text_ids=False):
    users, ranks, items = zip(*rows, strict=True)
    if text_ids:
        users, items = [f"u{user}" for user in users], [f'"i" {item}' for item in items]
    return pl.DataFrame({"user_id": users, "rank": ranks, "item_id": items, "score": [-0.5 * rank for rank in ranks]})


def write(table, path, kind):
    if kind == "parquet":
        table.write_parquet(path)
    elif kind == "json":
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_dicts()))
    elif kind == "csv":
        table.write_csv(path)
    else:
        lines = [table.columns, *table.rows()]
        path.write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("text_ids", [False, True])
@pytest.mark.parametrize("kind", ["tsv", "csv", "json", "parquet"])
@pytest.mark.parametrize("columns", ["user_id item_id rank", "score item_id user_id", "user_id rank item_id score"])
def test_every_format_is_read_whatever_the_order_of_rows_and_columns(tmp_path, kind, columns, text_ids):
    table = table_of(GOOD, text_ids).sample(fraction=1, shuffle=True, seed=3).select(columns.split())
    train, test = (named(TRAIN), named(TEST)) if text_ids else (TRAIN, TEST)
    lists = read_lists(write(table, tmp_path / "lists", kind), train)
    result = evaluate_by_user(lists, test, ["recall@2", "mrr@2"])
    assert result.items.tolist() == [[1, 3], [3, 0]]
    assert result.means == {"recall@2": (1 / 2 + 1) / 2, "mrr@2": 1, "num_users": 2}


def test_a_text_file_may_have_a_byte_order_mark_other_line_ends_and_empty_lines(tmp_path):
    path = tmp_path / "lists"
    path.write_bytes("\ufeffuser_id\titem_id\trank\r\n0\t1\t1\r\n\r\n1\t3\t1\r\n\r\n".encode())
    assert evaluate(read_lists(path, TRAIN), TEST, ["recall@1"])["recall@1"] == (1 / 2 + 1) / 2


def test_equal_scores_go_by_the_lower_item_and_rank_counts_more_than_score(tmp_path):
    table = pl.DataFrame({"user_id": [0, 0, 0], "item_id": [4, 2, 3], "score": [1.0, 1.0, 2.0]})
    (_, items, _), *_ = read_lists(write(table, tmp_path / "a", "tsv"), TRAIN).rank(np.array([0]), 3)
    assert items.tolist() == [[3, 2, 4]]
    table = table.with_columns(rank=pl.Series([0, 5, 7]))
    (_, items, _), *_ = read_lists(write(table, tmp_path / "b", "tsv"), TRAIN).rank(np.array([0]), 3)
    assert items.tolist() == [[4, 2, 3]]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_lists_of_a_ranker_are_worth_what_the_ranker_is(dialect):
    data = load_dataset("demo")
    random = np.random.default_rng(0)
    model = Scores(data.train, random.standard_normal((data.train.num_users, data.train.num_items)), data.valid)
    seen = data.train.matrix if DIALECTS[dialect].masked == "train" else data.train.union(data.valid).matrix
    ((users, items, _),) = model.rank(np.arange(data.train.num_users), 20, seen)
    lists = RankedLists(np.repeat(users, 20), items.ravel(), data.train, data.valid if dialect != "authors" else None)
    labels = [f"{name}@{k}" for name in METRICS for k in (5, 20)]
    assert evaluate(lists, data.test, labels, dialect) == evaluate(model, data.test, labels, dialect)


def test_lists_are_made_from_ids_too():
    train, test = named(TRAIN), named(TEST)
    lists = RankedLists.of(["u1", "u0", "u1", "u0"], ['"i" 3', '"i" 1', '"i" 0', '"i" 4'], train)
    assert evaluate(lists, test, ["recall@1"]) == {"recall@1": (1 / 2 + 1) / 2, "num_users": 2}
    with pytest.raises(UsageError, match="unknown item id 'nosuch'"):
        RankedLists.of(["u1"], ["nosuch"], train)


def test_missing_users_and_short_lists_are_counted_and_count_as_missed():
    with pytest.warns(DataWarning, match=r"has no list for 1 of 2 users with held-out items \(first: user 1\); they count 0"):
        result = evaluate(RankedLists(np.array([0]), np.array([1]), TRAIN), TEST, ["recall@1", "coverage@1", "novelty@1"])
    assert result == {"recall@1": 1 / 4, "coverage@1": 1 / 5, "novelty@1": 1, "num_users": 2}
    with pytest.warns(DataWarning, match=r"has fewer than 2 items for 1 of 2 users \(first: user 1, 1\)"):
        result = evaluate(RankedLists(np.array([0, 1, 0]), np.array([1, 3, 2]), TRAIN), TEST, ["precision@2"])
    assert result["precision@2"] == (2 / 2 + 1 / 2) / 2


def test_a_list_is_not_short_where_nothing_more_could_be_listed():
    train, test = interactions_of([[1, 1, 1, 0]]), interactions_of([[0, 0, 0, 1]])
    assert evaluate(RankedLists(np.array([0]), np.array([3]), train), test, ["recall@4"])["recall@4"] == 1


def test_users_without_held_out_items_may_be_listed():
    lists = RankedLists(np.array([0, 1]), np.array([1, 0]), TRAIN)
    assert evaluate(lists, interactions_of([[0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]), ["recall@1"]) == {"recall@1": 1, "num_users": 1}


def test_listed_train_items_are_refused_and_validation_items_counted():
    with pytest.raises(DataError, match=r"lists 1 items to 1 users who have them in train \(first: item 0 to user 0\)"):
        evaluate(RankedLists(np.array([0, 0, 1]), np.array([1, 0, 3]), TRAIN), TEST, ["recall@2"])
    valid = interactions_of([[0, 0, 0, 1, 0], [0, 0, 0, 0, 0]])
    lists = RankedLists(np.array([0, 0, 1, 1]), np.array([1, 3, 3, 0]), TRAIN, valid)
    with pytest.warns(DataWarning, match="lists 1 validation items to 1 users who have them; they count as missed"):
        assert evaluate(lists, TEST, ["recall@2"])["recall@2"] == (1 / 2 + 1) / 2
    assert evaluate(lists, TEST, ["recall@2"], "authors")["recall@2"] == (1 / 2 + 1) / 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("user_id\titem_id\trank\n0\t1\t1\n7\t1\t1\n", "the user_id of 1 of 2 rows is not in the data set (first: '7' in row 3); its"),
        ("user_id\titem_id\trank\n0\t9\t1\n0\tx\t2\n", "the item_id of 2 of 2 rows is not in the data set (first: '9' in row 2)"),
        ("user_id\titem_id\trank\n0\t1\t1\n0\t1\t2\n", "lists 1 items twice to the same user (first: item 1 to user 0)"),
        ("user_id\titem_id\trank\n0\t1\t1\n0\t2\t1\n", "the same rank twice for a user, 1 times (first: user 0)"),
        ("user_id\titem_id\trank\n0\t1\t-1\n0\t2\t-2\n", "rank -1 in row 2 is below 0; 1 is the first of a list"),
        ("user_id\titem_id\trank\n00\t1\t1\n0\t+1\t2\n", "the user_id of 1 of 2 rows is not in the data set (first: '00' in row 2)"),
        ("user_id\titem_id\trank\n0\t1\tfirst\n", "rank 'first' in row 2 is not a number"),
        ("user_id,item_id,score\n0,1,\n", "score None in row 2 is not a number"),
        ("user_id,item_id,score\n,1,2\n", "the user_id of 1 of 1 rows is not in the data set (first: None in row 2)"),
        ("user_id,item_id,rank\n0,1,1\n\n0,2,x\n", "rank 'x' in row 4 is not a number"),
        ('{"user_id": 0, "item_id": 77, "rank": 1}\n', "(first: 77 in row 1)"),
        ("user_id,item_id\n0,1\n", "has the columns user_id, item_id; expected user_id, item_id and rank or score"),
        ("who,what,rank\n0,1,1\n", "has the columns who, what, rank; expected"),
        ("user_id\titem_id\trank\n", "lists nothing"), ("", "as a table"), ('{"user_id": 0\n', "as a table"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_with_its_place(tmp_path, text, says):
    path = tmp_path / "lists.txt"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        read_lists(path, TRAIN)
    assert says in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_that_is_not_there_or_has_ids_of_another_kind_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*nosuch\.tsv: No such file"):
        read_lists(tmp_path / "nosuch.tsv", TRAIN)
    table = pl.DataFrame({"user_id": [0.5], "item_id": [1], "rank": [1]})
    with pytest.raises(DataError, match="user_id must be integers or text, not Float64"):
        read_lists(write(table, tmp_path / "lists", "parquet"), TRAIN)


@pytest.mark.real_data
def test_one_ranking_of_ml_1m_has_a_number_in_every_dialect(data_dir):
    # EASE (Steck, WWW 2019), because it has a closed form: B = I - P / diag(P), P = (A^T A + 500 I)^-1.
    data = load_dataset("ml-1m", data_dir, protocol="authors")
    a = data.train.matrix.toarray()
    p = np.linalg.inv(data.train.matrix.T @ data.train.matrix + 500 * np.eye(data.train.num_items))
    b = -p / np.diag(p)
    np.fill_diagonal(b, 0)
    ((users, items, _),) = Scores(data.train, a @ b.astype(np.float32)).rank(np.arange(data.train.num_users), 20, data.train.matrix)
    lists = RankedLists(np.repeat(users, 20), items.ravel(), data.train)
    found = {name: evaluate(lists, data.test, ["recall@20", "ndcg@20", "precision@20", "map@20", "f1@20"], name) for name in DIALECTS}
    ours = found["lightgcn"]
    assert found["recbole"] == ours
    assert found["authors"] == ours  # every user has test items, and there is nothing but train to mask
    assert ours["recall@20"] == pytest.approx(0.2759, abs=0.0005)
    assert ours["ndcg@20"] == pytest.approx(0.2660, abs=0.0005)
    assert found["rectools"]["ndcg@20"] == pytest.approx(0.1796, abs=0.0005)
    assert found["ngcf-legacy"]["ndcg@20"] == pytest.approx(0.5253, abs=0.0005)
    assert ours["precision@20"] == pytest.approx(0.1586, abs=0.0005)
    assert found["implicit"]["precision@20"] == pytest.approx(0.2898, abs=0.0005)
    assert found["lenskit"]["recall@20"] == pytest.approx(0.3111, abs=0.0005)
    assert ours["map@20"] == pytest.approx(0.1270, abs=0.0005)
    assert found["rectools"]["map@20"] == found["lightgcn-tf"]["map@20"] == pytest.approx(0.1091, abs=0.0005)
    assert found["elliot"]["map@20"] == pytest.approx(0.1987, abs=0.0005)
    assert ours["f1@20"] == pytest.approx(0.2014, abs=0.0005)
    assert found["user-f1"]["f1@20"] == pytest.approx(0.1640, abs=0.0005)
    # What a dialect does not redefine stays as it is.
    changed = {"lenskit": "recall f1", "implicit": "precision f1", "rectools": "ndcg map", "ngcf-legacy": "ndcg", "lightgcn-tf": "map",
               "elliot": "map", "user-f1": "f1"}  # fmt: skip
    for name, metrics in changed.items():
        assert {label.split("@")[0] for label in ours if found[name][label] != ours[label]} == set(metrics.split())
