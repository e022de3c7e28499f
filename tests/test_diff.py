"""What changes when one run takes the place of another: figures that are worked out by hand, and the same by plain Python."""

import json
import sys

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

import ultragcn
from ultragcn import EASE, Interactions, ItemKNN, Popularity, UltraGCN, diff, load_dataset
from ultragcn.cli import main
from ultragcn.data.ids import IdMap
from ultragcn.errors import UsageError
from ultragcn.evaluation import difference


class Given:
    """A ranker whose lists are given: user id -> item ids, best first; what each item is had by in train is given too."""

    def __init__(self, lists, degrees):
        self.user_ids = IdMap.of(list(lists), "user")
        self.item_ids = IdMap.of(list(degrees), "item")
        self.lists = lists
        counts = [degrees[item] for item in self.item_ids.ids.tolist()]
        users, items = np.concatenate([np.arange(count) for count in counts]), np.repeat(np.arange(len(counts)), counts)
        shape = (len(self.user_ids), len(self.item_ids))
        self.train_, self.valid_ = (
            Interactions(sp.csr_matrix((np.ones(len(users)), (users, items)), shape), self.user_ids, self.item_ids),
            None,
        )

    def rank(self, users, top_k, seen):
        for start in range(0, len(users), 2):  # blocks of another size than what was asked for
            block = users[start : start + 2]
            items = np.full((len(block), top_k), -1, np.int32)
            for row, user in enumerate(block):
                listed = self.item_ids.rows(self.lists[self.user_ids.ids[user]][:top_k])
                items[row, : len(listed)] = listed
            yield block, items, np.zeros(items.shape, np.float32)


OLD = Given({"ann": ["a", "b"], "bob": ["b", "c"], "eve": ["c"], "joe": ["a", "b"], "old": ["a", "b"]}, {"a": 4, "b": 2, "c": 1})
NEW = Given(
    {"ann": ["b", "a"], "bob": ["d", "a"], "eve": ["c"], "joe": [], "new": ["a", "d"], "now": ["a", "b"]}, {"a": 3, "b": 2, "c": 0, "d": 1}
)


def test_the_figures_are_those_worked_out_by_hand():
    change = diff(OLD, NEW, top_k=2)
    assert change.user_ids.tolist() == ["ann", "bob", "eve", "joe"]
    assert change.overlap.tolist() == [1, 0, 1, 0]
    assert change.first_is_new.tolist() == [True, True, False, True]
    found = change.figures()
    assert found["overlap@2"] == 0.5
    assert found["overlap@2_quantile_0.25"] == 0
    assert found["overlap@2_quantile_0.75"] == 1
    assert found["unchanged_lists"] == 0.5
    assert found["new_first_item"] == 0.75
    # Popularity is counted in the new train: a 3, b 2, c 0 (as 1), d 1.
    log2, log3 = np.log([2, 3])
    assert found["mean_log_popularity@2_a"] == pytest.approx((2 * log3 + 3 * log2) / 7)
    assert found["mean_log_popularity@2_b"] == pytest.approx((2 * log3 + log2) / 5)
    assert (found["coverage@2_a"], found["coverage@2_b"]) == (1, 1)
    assert found["gini@2_a"] == pytest.approx(2 * (3 - 2) / (3 * 7))  # times listed 2, 2, 3
    assert found["gini@2_b"] == pytest.approx((-3 * 1 - 1 * 1 + 1 * 1 + 3 * 2) / (4 * 5))  # 1, 1, 1, 2
    assert (found["unknown_to_other@2_a"], found["unknown_to_other@2_b"]) == (0, 0.2)
    assert (found["empty_places_a"], found["empty_places_b"]) == (1, 3)
    assert (found["users_in_both"], found["users_only_in_a"], found["users_only_in_b"]) == (4, 1, 2)
    assert (found["items_in_both"], found["items_only_in_a"], found["items_only_in_b"]) == (3, 0, 1)


def test_the_users_who_changed_most_come_first_and_among_equals_those_with_most_items():
    change = diff(OLD, NEW, top_k=2)
    assert NEW.train_.user_degrees.tolist() == [3, 2, 1, 0, 0, 0]
    assert change.most_changed(3).rows() == [("bob", 0.0, "b", "d"), ("joe", 0.0, "a", None), ("ann", 1.0, "a", "b")]
    assert change.most_changed(1).rows() == [("bob", 0.0, "b", "d")]
    assert len(change.most_changed(100)) == 4
    assert len(change.most_changed(0)) == 0


def test_what_only_one_of_them_knows_is_counted_and_shown():
    told = diff(OLD, NEW, top_k=2).to_dict(1)
    assert told["examples"] == {
        "users_only_in_a": ["old"],
        "users_only_in_b": ["new", "now"],
        "items_only_in_a": [],
        "items_only_in_b": ["d"],
    }
    assert told["most_changed"] == [{"user_id": "bob", "overlap": 0.0, "first_a": "b", "first_b": "d"}]
    assert json.loads(json.dumps(told)) == told


def test_an_item_that_the_new_run_does_not_know_has_the_popularity_of_the_old_one():
    change = diff(NEW, OLD, top_k=2)
    log2, log4 = np.log([2, 4])  # a 4, b 2, c 1, and d 1 of the other
    assert change.a.mean_log_popularity == pytest.approx((2 * log4 + log2) / 5)
    assert change.overlap.tolist() == diff(OLD, NEW, top_k=2).overlap.tolist()


@pytest.mark.parametrize("block", [1, 7, 1000])
@pytest.mark.parametrize("as_strings", [False, True])
def test_it_is_what_sets_of_python_say_whatever_the_blocks_are(block, as_strings, monkeypatch):
    random = np.random.default_rng(block)

    def made(users, items):
        named = (lambda number: f"x{number}") if as_strings else int
        lists = {named(user): [named(item) for item in random.permutation(items)[: random.integers(0, 9)]] for user in users}
        return Given(lists, {named(item): int(random.integers(0, 20)) for item in items})

    a, b = made(range(0, 40), np.arange(0, 30)), made(range(5, 47), np.arange(10, 35))
    monkeypatch.setattr(difference, "_BLOCK_USERS", block)
    change = diff(a, b, top_k=6)
    expected = {}
    for user in set(a.lists) & set(b.lists):
        one, other = (model.lists[user][:6] for model in (a, b))
        longer = max(len(one), len(other))
        share = len(set(one) & set(other)) / longer if longer else 1.0
        expected[user] = (share, one[0] if one else None, other[0] if other else None)
    assert len(expected) == len(change.user_ids) == 35
    for user, share, first_a, first_b in change.most_changed(35).rows():
        assert (share, first_a, first_b) == expected[user]
    assert change.most_changed(35)["overlap"].to_list() == sorted(change.overlap)
    assert change.most_changed(4).rows() == change.most_changed(35).rows()[:4]
    np.testing.assert_array_equal(change.first_is_new, [expected[user][1] != expected[user][2] for user in change.user_ids.tolist()])
    listed = [item for user in expected for item in a.lists[user][:6]]
    assert change.a.coverage == len(set(listed)) / 30
    assert change.a.new_items == pytest.approx(np.mean([item not in set(b.item_ids.ids.tolist()) for item in listed]))


def test_nothing_has_changed_between_a_model_and_itself():
    model = EASE().fit(load_dataset("demo"))
    change = diff(model, model, top_k=5)
    assert (change.overlap == 1).all()
    assert not change.first_is_new.any()
    assert change.a == change.b


def test_models_of_different_classes_users_and_items_are_compared_by_their_lists():
    data = load_dataset("demo")
    users, items = data.train.pairs
    some = (users >= 100) & (items < 550)
    frame = pl.DataFrame({
        "user": data.train.user_ids.ids[users[some]].tolist(), "item": data.train.item_ids.ids[items[some]].tolist(),
    })  # fmt: skip
    a, b = UltraGCN(embedding_dim=8, epochs=3, seed=0).fit(data), ItemKNN().fit(frame)
    change = diff(a, b, top_k=10)
    assert change.users.both == len(b.user_ids) < len(a.user_ids)
    assert change.items.only_a == len(a.item_ids) - len(b.item_ids) > 0
    for user in change.user_ids[[0, 50, -1]]:
        one, other = (set(model.recommend(user, 10)[0]) for model in (a, b))
        assert change.overlap[np.flatnonzero(change.user_ids == user)[0]] == len(one & other) / 10
    with_seen = diff(a, b, top_k=10, exclude_seen=False)
    one, other = (set(model.recommend(change.user_ids[7], 10, exclude_seen=False)[0]) for model in (a, b))
    assert with_seen.overlap[7] == len(one & other) / 10


def test_lists_are_no_longer_than_there_are_items():
    assert diff(OLD, NEW, top_k=100).top_k == 4


def test_no_object_of_python_is_made_for_a_user():
    class Alike(Given):
        def __init__(self, number):
            self.user_ids, self.item_ids = IdMap(np.arange(number), "user"), IdMap(np.arange(3), "item")
            self.train_ = Interactions(sp.csr_matrix((number, 3), dtype=np.float32), self.user_ids, self.item_ids)
            self.valid_ = None

        def rank(self, users, top_k, seen):
            yield users, np.tile(np.arange(top_k, dtype=np.int32), (len(users), 1)), np.zeros((len(users), top_k), np.float32)

    models = Alike(200_000), Alike(200_000)
    diff(*models, top_k=2)
    before = sys.getallocatedblocks()
    change = diff(*models, top_k=2)
    assert sys.getallocatedblocks() - before < 20_000
    assert len(change.overlap) == 200_000


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: diff(OLD, Given({"zoe": ["a"]}, {"a": 1})), r"no user in common \(ids are such as 'ann' and 'zoe'\)"),
        (lambda: diff(OLD, Given({1: ["a"]}, {"a": 1})), r"no user in common \(ids are such as 'ann' and 1\)"),
        (lambda: diff(OLD, "run"), "diff compares fitted models; b is a str"),
        (lambda: diff(OLD, NEW, top_k=0), "top_k must be a whole number of 1 or more, not 0"),
        (lambda: diff(OLD, NEW, top_k=2.5), "top_k must be a whole number of 1 or more, not 2.5"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(ask, says):
    with pytest.raises(UsageError, match=says):
        ask()


# ------------------------------------------------------------------ on the command line


@pytest.fixture
def folders(tmp_path):
    data = load_dataset("demo")
    return [str(model.fit(data).save(tmp_path / name)) for name, model in (("old", Popularity()), ("new", EASE()))]


def test_the_command_prints_figures_as_a_table(folders, capsys):
    assert main(["diff", *folders, "--top_k", "5"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header == "figure\tvalue"
    found = dict(line.split("\t") for line in lines)
    expected = diff(*(ultragcn.load_model(folder) for folder in folders), top_k=5).figures()
    assert list(found) == list(expected)
    assert found["users_in_both"] == "2000"  # a number of users is a whole number
    assert float(found["overlap@5"]) == pytest.approx(expected["overlap@5"], rel=1e-5)
    assert 0 < expected["overlap@5"] < 0.5


def test_the_command_prints_the_users_who_changed_most(folders, capsys):
    assert main(["diff", *folders, "--changed", "4"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split("\t") == ["user_id", "overlap", "first_a", "first_b"]
    assert len(lines) == 4


def test_the_command_prints_everything_as_one_object(folders, capsys):
    assert main(["diff", *folders, "--json", "--changed", "3", "--include_seen"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["overlap@20_quantile_0.5"] <= 1
    assert len(told["most_changed"]) == 3
    assert main(["diff", *folders, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["most_changed"]) == 10


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--top_k", "0"], "--top_k must be a whole number of 1 or more, not 0"),
        (["--changed", "0"], "--changed must be a whole number of 1 or more, not 0"),
        (["--format", "json"], "did you mean --json?"),
    ],
)
def test_a_command_that_cannot_be_meant_is_one_line(folders, words, says, capsys):
    assert main(["diff", *folders, *words]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.out == ""
