"""Updating: a model's log grows, the model follows, and the report says what that did."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from tests.conftest import interactions_of
from ultragcn import EASE, Interactions, ItemKNN, UltraGCN, load_dataset, load_model
from ultragcn.cli import main
from ultragcn.errors import DataError, UsageError
from ultragcn.experiments.runs.manifest import _without_ids
from ultragcn.loss.objective import Objective
from ultragcn.models.registry import MODELS, make_model
from ultragcn.models.update import grow
from ultragcn.scoring.item_graph import item_graph

SMALL = {"embedding_dim": 8, "epochs": 4, "seed": 0}


@pytest.fixture(scope="module")
def data():
    return load_dataset("demo")


@pytest.fixture(scope="module")
def parts(data):
    """The log, and a random tenth of it that comes later."""
    log = data.train.union(data.valid)
    late = np.random.default_rng(3).random(len(log)) < 0.1
    return log, late


@pytest.fixture(scope="module")
def old(parts):
    log, late = parts
    return UltraGCN(**SMALL | {"embedding_dim": 32}).fit(log.part(~late))


def pairs_of(interactions):
    users, items = interactions.pairs
    return set(zip(interactions.user_ids.ids[users].tolist(), interactions.item_ids.ids[items].tolist(), strict=True))


def test_the_log_of_the_new_model_is_the_old_one_with_the_new_pairs_and_without_the_forgotten():
    old = Interactions.from_pairs(["a", "a", "c", "d"], ["x", "z", "x", "z"])
    new = Interactions.from_pairs(["b", "c", "a", "d"], ["y", "z", "x", "y"])
    growth, counts = grow(old, new, ["d"])
    assert pairs_of(growth.log) == {("a", "x"), ("a", "z"), ("c", "x"), ("b", "y"), ("c", "z")}
    assert growth.log.user_ids.ids.tolist() == ["a", "b", "c"]
    assert growth.log.item_ids.ids.tolist() == ["x", "y", "z"]
    assert growth.user_rows.tolist() == [0, 2, -1]
    assert growth.item_rows.tolist() == [0, 2]
    assert growth.new_users.tolist() == [False, True, False]
    assert growth.new_items.tolist() == [False, True, False]
    users, items = growth.log.pairs
    fresh = {
        (growth.log.user_ids.ids[u], growth.log.item_ids.ids[i]) for u, i in zip(users[growth.fresh], items[growth.fresh], strict=True)
    }
    assert fresh == {("b", "y"), ("c", "z")}
    assert counts["users"] == {"before": 3, "new": 1, "forgotten": 1, "after": 3}
    assert counts["items"] == {"before": 2, "new": 1, "forgotten": 0, "after": 3}
    assert counts["pairs"] == {"before": 4, "new": 2, "forgotten": 1, "after": 5, "known_already": 1}


@pytest.mark.parametrize("seed", range(20))
def test_any_log_grows_into_the_union_of_its_pairs(seed):
    random = np.random.default_rng(seed)
    sides = []
    for _ in range(2):
        number = int(random.integers(1, 40))
        sides.append(Interactions.from_pairs(random.integers(0, 12, number), random.integers(0, 9, number)))
    forgotten = random.choice(sides[0].user_ids.ids, int(random.integers(0, sides[0].num_users)), replace=False).tolist()
    growth, counts = grow(*sides, forgotten)
    wanted = {pair for side in sides for pair in pairs_of(side) if pair[0] not in forgotten}
    assert pairs_of(growth.log) == wanted
    assert set(growth.log.user_ids.ids) == (set(sides[0].user_ids.ids) | {user for user, _ in wanted}) - set(forgotten)
    assert counts["pairs"]["before"] + counts["pairs"]["new"] - counts["pairs"]["forgotten"] == counts["pairs"]["after"] == len(wanted)


def test_of_a_pair_that_comes_again_the_later_time_counts():
    def timed(pairs, times):
        dense = Interactions.from_pairs(*zip(*pairs, strict=True))
        return Interactions(dense.matrix, dense.user_ids, dense.item_ids, np.array(times, np.int64))

    growth, _ = grow(timed([(1, 1), (1, 2)], [10, 20]), timed([(1, 2), (2, 1)], [30, 5]))
    assert growth.log.times.tolist() == [10, 30, 5]


def test_numbers_become_texts_where_the_ids_of_the_model_are_texts_and_texts_are_refused_where_they_are_numbers():
    texts, numbers = Interactions.from_pairs(["1", "9"], ["a", "b"]), Interactions.from_pairs([9, 10], ["b", "a"])
    growth, _ = grow(texts, numbers)
    assert pairs_of(growth.log) == {("1", "a"), ("9", "b"), ("10", "a")}
    with pytest.raises(UsageError, match="user ids of the model are integers such as 9, and those of the new interactions are strings"):
        grow(numbers, texts)


def test_an_update_returns_a_new_model_with_all_pairs_and_leaves_the_old_one_as_it_was(old, parts):
    log, late = parts
    before = old.user_embedding_.copy(), old.item_embedding_.copy(), old.recommend("user-0001")
    new, report = old.update(log.part(late), measure="none")
    assert pairs_of(new.train_) == pairs_of(log)
    assert new.valid_ is None
    assert report["pairs"]["new"] == late.sum()
    assert report["how"] == "warm"
    assert report["sweeps"] == 1 == len(report["losses"])
    assert report["held_out"] is None
    assert report["distance"] is None
    assert np.array_equal(before[0], old.user_embedding_)
    assert np.array_equal(before[1], old.item_embedding_)
    assert all(np.array_equal(one, other) for one, other in zip(before[2], old.recommend("user-0001"), strict=True))


def test_degrees_weights_and_the_item_graph_are_those_of_the_new_log(old, parts):
    log, late = parts
    new, _ = old.update(log.part(late), measure="none")
    assert (new.item_graph_ != item_graph(log, new.config)).nnz == 0
    frozen = new.fold_in(new.train_.matrix[:1]) is not None and new._frozen_items
    assert np.array_equal(frozen.objective.beta.item, Objective.of(log, new.config).beta.item)


def test_the_old_item_graph_can_be_kept_and_then_only_new_items_get_weights(old):
    pairs = Interactions.from_pairs(["user-0001", "user-0002", "user-0003"], ["A new thing", "Zzz", "Zzz"])
    new, _ = old.update(pairs, item_graph="old", measure="none")
    rows, added = new.item_ids.rows(old.item_ids.ids), new.item_ids.rows(["A new thing", "Zzz"])
    assert new.item_graph_.shape == (len(new.item_ids),) * 2
    assert (new.item_graph_[rows][:, rows] != old.item_graph_).nnz == 0
    assert (new.item_graph_[:, added].sum(axis=0) > 0).all()
    owned = old.train_.matrix[old.user_ids.rows(["user-0002"])[0]].indices
    assert set(new.item_graph_[:, added[1:]].nonzero()[0]) >= set(rows[owned])  # who has it has these too
    with pytest.raises(UsageError, match="unknown item_graph 'none'"):
        old.update(pairs, item_graph="none")


def test_an_updated_model_recommends_as_well_as_one_trained_anew(old, parts, data):
    log, late = parts
    updated, _ = old.update(log.part(late), measure="none")
    anew = old.untrained().fit(log)
    assert updated.evaluate(data.test)["recall@20"] > 0.98 * anew.evaluate(data.test)["recall@20"]
    assert updated.evaluate(data.test)["recall@20"] > old.evaluate(data.test)["recall@20"]


def test_ten_updates_in_a_row_are_as_good_as_one_training(old, parts, data):
    log, late = parts
    model = old
    for places in np.array_split(np.flatnonzero(late), 10):
        mask = np.zeros(len(log), bool)
        mask[places] = True
        model, _ = model.update(log.part(mask), measure="none")
    assert pairs_of(model.train_) == pairs_of(log)
    assert model.evaluate(data.test)["recall@20"] > 0.98 * old.untrained().fit(log).evaluate(data.test)["recall@20"]
    assert model.untrained().config == old.untrained().config  # what a refit repeats is still what was chosen


def test_new_items_are_found_as_well_as_by_a_training_of_their_own(data):
    log = data.train.union(data.valid)
    gone = np.random.default_rng(5).random(log.num_items) < 0.05
    late = gone[log.pairs[1]]
    users, items = log.part(~late).pairs
    first = Interactions.from_pairs(log.user_ids.ids[users], log.item_ids.ids[items])
    old = UltraGCN(**SMALL | {"embedding_dim": 32}).fit(first)
    targets = data.test.part(gone[data.test.pairs[1]])
    anew = old.untrained().fit(log)
    for graph, share in (("new", 0.9), ("old", 0.8)):
        updated, report = old.update(log.part(late), item_graph=graph, measure="none")
        assert report["items"]["new"] == gone.sum() == len(updated.item_ids) - len(old.item_ids)
        assert updated.evaluate(targets)["recall@20"] >= share * anew.evaluate(targets)["recall@20"] > 0.1


def test_before_any_sweep_new_rows_are_already_near_their_place(parts):
    log, _ = parts
    new_users = np.arange(log.num_users) % 20 == 0
    late = new_users[log.pairs[0]]
    users, items = log.part(~late).pairs
    old = UltraGCN(**SMALL).fit(Interactions.from_pairs(log.user_ids.ids[users], log.item_ids.ids[items]))
    updated, report = old.update(log.part(late), sweeps=0, measure="none")
    assert report["sweeps"] == 0
    assert report["users"]["new"] == new_users.sum()
    rows = updated.user_ids.rows(log.user_ids.ids[new_users])
    folded = updated.fold_in(updated.train_.matrix[rows])
    ours = updated.user_embedding_[rows]
    cosines = (ours * folded).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(folded, axis=1)
    assert np.median(cosines) > 0.97
    kept = updated.user_ids.rows(old.user_ids.ids)
    assert np.array_equal(updated.user_embedding_[kept], old.user_embedding_)


def test_a_forgotten_user_is_unknown_and_leaves_no_pair(old):
    user = "user-0001"
    new, report = old.update(Interactions.from_pairs([user, "someone new"], ["Quiet River (jazz)"] * 2), [user], measure="none")
    assert user not in new.user_ids.ids
    assert "someone new" in new.user_ids.ids
    degree = int(old.train_.user_degrees[old.user_ids.rows([user])[0]])
    assert report["users"]["forgotten"] == 1
    assert report["pairs"]["forgotten"] == degree
    assert len(new.train_) == len(old.train_) - degree + 1
    with pytest.raises(UsageError, match="unknown user id 'nobody'"):
        old.update(Interactions.from_pairs(["a"], ["b"]), ["nobody"])


def test_measuring_changes_nothing_in_the_model_and_says_what_it_measured(old, parts):
    log, late = parts
    plain, _ = old.update(log.part(late), measure="none")
    for measure in ("estimate", "retrain"):
        measured, report = old.update(log.part(late), measure=measure)
        assert np.array_equal(measured.user_embedding_, plain.user_embedding_)
        assert np.array_equal(measured.item_embedding_, plain.item_embedding_)
        held, distance = report["held_out"], report["distance"]
        assert held["by"] == "random"
        assert 0 < held["pairs"] <= late.sum() / 3
        assert 0.3 < held["before"]["recall@20"] < 0.7
        assert 0.3 < held["after"]["recall@20"] < 0.7
        assert distance["by"] == measure
        assert distance["low"] < distance["value"] < distance["high"]
        assert abs(distance["value"]) < 0.2
        assert 0.3 < report["overlap@20"] < 1
        json.dumps(report)


def test_the_estimate_counts_what_the_old_item_graph_loses(old, parts):
    from ultragcn.models.update import Plan
    from ultragcn.progress import Silent

    log, late = parts
    growth, _ = grow(old.train_, log.part(late))
    plan = Plan(1, keeps_graph=True)
    grown, course = old._grown(growth, plan, Silent())
    before = grown.user_embedding_.copy()
    far = grown._gone_on(course.solver, plan, Silent())
    assert (far.item_graph_ != item_graph(growth.log, old.config)).nnz == 0
    assert (grown.item_graph_ != far.item_graph_).nnz > 0
    assert np.array_equal(grown.user_embedding_, before)


def test_where_times_are_known_the_latest_new_pairs_are_held_out(parts):
    log, late = parts
    times = np.arange(len(log), dtype=np.int64)
    dated = Interactions(log.matrix, log.user_ids, log.item_ids, times)
    model = UltraGCN(**SMALL, item_trend_weight=0).fit(log.part(~late))
    from ultragcn.models import update

    growth, _ = grow(model.train_, dated.part(late))
    out, by = update._held_out(growth, 0)
    assert by == "latest"
    assert growth.when[out].min() > np.median(growth.when[growth.fresh & ~out])
    assert not (out & ~growth.fresh).any()
    assert model.update(dated.part(late))[1]["held_out"]["by"] == "latest"


def test_the_old_model_is_measured_on_what_it_can_list(old, parts):
    """On old users and items alone it is the model itself."""
    from ultragcn.models.update import _Before

    log, late = parts
    growth, _ = grow(old.train_, log.part(late))
    rows = np.arange(50)
    _, items, scores = next(_Before(old, growth).rank(rows, 20, None))
    [(_, own, own_scores)] = old.scorer.rank(rows, 20)
    assert np.array_equal(items, own)
    assert np.array_equal(scores, own_scores)


def test_a_model_that_is_not_near_a_retrain_says_to_train_anew(old, parts):
    from ultragcn.models.update import _advice

    held = {"pairs": 100, "before": {"recall@20": 0.2}, "after": {"recall@20": 0.3}}
    assert _advice({"held_out": held, "distance": {"value": 0.005, "low": 0.001, "bound": 0.01}}) is None
    assert _advice({"held_out": held, "distance": {"value": 0.05, "low": 0.001, "bound": 0.01}}).startswith(
        "train anew: the update is 5.0 % of recall@20"
    )
    assert _advice({"held_out": held, "distance": {"value": 0.05, "low": -0.001, "bound": 0.01}}) is None  # chance may do it
    worse = held | {"after": {"recall@20": 0.1}}
    assert _advice({"held_out": worse, "distance": {"value": 0.0, "low": 0.0, "bound": 0.01}}).startswith("keep the old model")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch"))
        if name in ("ultragcn-sgd", "lightgcn")
        else name
        for name in MODELS
    ],
)
def test_every_model_is_updated_or_says_that_refit_is_the_way(name):
    random = np.random.default_rng(1)
    dense = random.random((30, 12)) < 0.4
    dense[np.arange(30), np.arange(30) % 12] = True
    log = interactions_of(dense)
    late = random.random(len(log)) < 0.2
    names = {"embedding_dim": 4, "epochs": 2, "device": "cpu"}
    known = {one: value for one, value in names.items() if hasattr(make_model(name, None, 0, {}).config, one)}
    model = make_model(name, None, 0, known).fit(log.part(~late))
    if name in ("ultragcn-sgd", "bpr", "lightgcn"):
        with pytest.raises(UsageError, match="refit it on old and new pairs together"):
            model.update(log.part(late))
        return
    new, report = model.update(log.part(late))
    assert pairs_of(new.train_) == pairs_of(log)
    assert type(new) is type(model)
    assert report["how"] == ("warm" if name.startswith("ultragcn") else "anew")
    assert len(new.recommend(0, top_k=3)[0]) == 3
    if report["how"] == "anew":
        assert report["distance"] is None or report["distance"]["value"] == 0
        scores = [one.score(3, [0, 5, 7]) for one in (new, model.untrained().fit(log))]
        np.testing.assert_allclose(*scores, rtol=1e-5)


def test_where_all_pairs_are_known_nothing_is_trained_and_the_report_says_so(old, monkeypatch):
    log = old.train_ if old.valid_ is None else old.train_.union(old.valid_)
    some = log.part(np.arange(len(log)) % 3 == 0)
    monkeypatch.setattr(type(old), "_grown", lambda *_: pytest.fail("a model was trained"))
    model, report = old.update(some)
    assert model is old
    assert report["how"] == "nothing new"
    assert report["advice"] == f"nothing is new: all {len(some)} pairs are known"
    assert (report["sweeps"], report["losses"], report["held_out"], report["overlap@20"]) == (0, [], None, 1.0)
    assert report["pairs"] == {"before": len(log), "new": 0, "forgotten": 0, "after": len(log), "known_already": len(some)}
    monkeypatch.undo()
    assert old.update(some, forget=["user-0001"], measure="none").report["how"] == "warm"


def test_the_command_writes_nothing_and_ends_with_1_where_nothing_is_new(run_folder, tmp_path, capsys):
    words = ["update", str(run_folder / "run"), "--interactions", str(run_folder / "first.csv"), "--out", str(tmp_path / "new"), "--quiet"]
    assert main(words) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"ultragcn: nothing is new: all 420 pairs are known, so {tmp_path / 'new'} is not written\n" in printed.err
    assert not (tmp_path / "new").exists()


def test_an_update_of_nothing_and_one_that_leaves_nothing_are_refused():
    model = ItemKNN().fit(interactions_of(np.eye(3)))
    with pytest.raises(DataError, match="nothing changes; give at least one pair"):
        model.update(model.train_.part(np.zeros(3, bool)))
    with pytest.raises(DataError, match="no interactions are left"):
        model.update(model.train_, [0, 1, 2])
    with pytest.raises(UsageError, match="unknown measure 'guess'"):
        model.update(model.train_, measure="guess")
    with pytest.raises(UsageError, match="sweeps must be a whole number of 0 or more, or None for 1, not -1"):
        model.update(model.train_, sweeps=-1)


def test_a_model_without_histories_is_not_updated():
    model = EASE(l2=1.0).fit(interactions_of(np.eye(3)))
    model.train_ = model.train_.part(np.zeros(3, bool))
    with pytest.raises(UsageError, match="holds no histories of its users"):
        model.update(interactions_of(np.eye(3)))


def test_a_model_that_ranks_by_a_trend_needs_the_times_of_all_pairs(tmp_path):
    random = np.random.default_rng(0)
    dense = random.random((40, 15)) < 0.3
    dense[:, 0] = True
    log = interactions_of(dense)
    dated = Interactions(log.matrix, log.user_ids, log.item_ids, random.integers(0, 10**13, len(log)))
    late = dated.times >= np.quantile(dated.times, 0.9)
    model = UltraGCN(**SMALL, item_trend_weight=1.0).fit(dated.part(~late))
    with pytest.raises(UsageError, match="needs the times of the new interactions"):
        model.update(log.part(late))
    new, _ = model.update(dated.part(late))
    anew = model.untrained().fit(dated)
    popularity = new.item_trend_ + new.item_embedding_ @ new._mean_user()
    np.testing.assert_allclose(popularity, anew.item_trend_ + anew.item_embedding_ @ anew._mean_user(), atol=1e-4)
    loaded = load_model(model.save(tmp_path / "model"))
    with pytest.raises(UsageError, match="which its file does not hold"):
        loaded.update(dated.part(late))
    again, _ = loaded.update(dated.part(late), history=dated.part(~late))
    np.testing.assert_array_equal(again.item_trend_, new.item_trend_)
    with pytest.raises(UsageError, match="history must be the"):
        loaded.update(dated.part(late), history=dated)


def test_a_frame_is_read_as_it_says(old):
    frame = pl.DataFrame({"who": ["someone new"] * 2, "what": ["Quiet River (jazz)", "a new thing"]})
    new, report = old.update(frame, user_column="who", item_column="what", measure="none")
    assert report["users"]["new"] == report["items"]["new"] == 1
    assert "a new thing" not in new.recommend("someone new")[0]
    with pytest.raises(UsageError, match="are read already"):
        old.update(Interactions.from_pairs(["a"], ["b"]), user_column="who")


def test_titles_stay_and_new_items_have_none(old):
    import copy

    model = copy.copy(old)
    model.item_titles_ = np.array([f"title of {one}" for one in old.item_ids.ids], dtype=object)
    new, _ = model.update(Interactions.from_pairs(["user-0001"], ["Aaa"]), measure="none")
    titles = dict(zip(new.item_ids.ids, new.item_titles_, strict=True))
    assert titles["Aaa"] == ""
    assert titles["Quiet River (jazz)"] == "title of Quiet River (jazz)"


# ----------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run on the first part of a log, and files with the rest."""
    folder = tmp_path_factory.mktemp("update")
    random = np.random.default_rng(0)
    rows = [f"u{user},{'ab'[user % 2]}{item},{user + 100 * item}" for user in range(60) for item in random.permutation(15)[:8]]
    random.shuffle(rows)
    for name, part in (
        ("first", rows[:420]),
        ("second", rows[420:450]),
        ("third", [*rows[450:], "u99,a3,2000", "u1,c1,2000", "u3,c1,2001"]),
    ):
        (folder / f"{name}.csv").write_text("\n".join(["who,what,when", *part]) + "\n")
    options = ["--user_column", "who", "--item_column", "what", "--time_column", "when", "--split", "time"]
    arguments = ["train", "--dataset", str(folder / "first.csv"), *options, "--embedding_dim", "4", "--epochs", "3", "--quiet"]
    assert main([*arguments, "--item_trend_weight", "1", "--item_trend_half_life", "30", "--out", str(folder / "run")]) == 0
    return folder


def test_a_run_is_updated_again_and_again_into_folders_like_any_other(run_folder, capsys):
    for number, (before, file) in enumerate((("run", "second"), ("run-1", "third")), start=1):
        command = ["update", str(run_folder / before), "--interactions", str(run_folder / f"{file}.csv"), "--quiet"]
        assert main([*command, "--out", str(run_folder / f"run-{number}")]) == 0
    printed = capsys.readouterr()
    table = [line.split("\t") for line in printed.out.splitlines()]
    assert ["", "before", "new", "forgotten", "after"] in table
    assert ["run", str(run_folder / "run-2")] in table
    assert "the embeddings went on from where they were, by 1 sweep" in printed.err
    folder = run_folder / "run-2"
    manifest, report = (json.loads((folder / name).read_text()) for name in ("manifest.json", "report.json"))
    assert manifest["updated"]["from"] == str(run_folder / "run-1")
    assert manifest["updated"]["updates"] == 2
    assert manifest["updated"]["pairs"] == report["pairs"]
    assert report["pairs"]["new"] == 33
    assert manifest["updated"]["pairs_since_training"] == 63
    assert report["users"]["new"] == 1
    assert report["items"]["new"] == 1
    assert report["held_out"]["by"] == "latest"
    model = load_model(folder)
    assert len(model.train_) == 483
    assert {"u99"} < set(model.user_ids.ids)
    assert main(["recommend", str(folder), "--users", "u99", "--top_k", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert main(["evaluate", str(folder)]) == 2
    assert "was updated and has seen all pairs" in capsys.readouterr().err


def test_times_are_found_in_the_new_file_as_they_were_in_that_of_the_run(tmp_path, capsys):
    random = np.random.default_rng(4)
    rows = [
        f"u{user},i{item},{1000 + number}"
        for number, (user, item) in enumerate(random.permutation([(u, i) for u in range(20) for i in range(9)]))
    ]
    for name, part in (("first", rows[:140]), ("second", rows[140:])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["user,item,timestamp", *part]) + "\n")
    arguments = ["--dataset", str(tmp_path / "first.csv"), "--split", "time", "--embedding_dim", "4", "--epochs", "2", "--quiet"]
    assert main(["train", *arguments, "--item_trend_weight", "1", "--out", str(tmp_path / "run")]) == 0
    update = ["update", str(tmp_path / "run"), "--interactions", str(tmp_path / "second.csv"), "--out", str(tmp_path / "new"), "--quiet"]
    assert main(update) == 0
    reading = json.loads((tmp_path / "new" / "report.json").read_text())
    assert reading["pairs"]["new"] == 40
    assert reading["held_out"]["by"] == "latest"
    assert (tmp_path / "new" / "times.safetensors").exists()
    capsys.readouterr()


@pytest.mark.parametrize("model", [ItemKNN(), EASE(l2=5.0), UltraGCN(**SMALL)], ids=["itemknn", "ease", "ultragcn"])
def test_the_old_model_is_measured_on_new_users_by_the_old_items_they_have(model):
    """New users have what goes together for old ones, so folding them in finds more than half of what was held out."""
    dense = np.kron(np.eye(2), np.ones((20, 30))) * (np.random.default_rng(0).random((40, 60)) < 0.6)
    late = np.zeros(dense.shape, bool)
    late[[0, 1, 2, 20, 21, 22]] = True
    log = interactions_of(dense)
    late = late[log.pairs]
    users, items = log.part(~late).pairs
    fitted = model.fit(Interactions.from_pairs(log.user_ids.ids[users], log.item_ids.ids[items]))
    _, report = fitted.update(log.part(late))
    assert report["users"]["new"] == 6 == report["held_out"]["users"]
    assert report["held_out"]["before"]["recall@20"] > 0.5


def test_users_are_forgotten_on_the_command_line_by_id_and_by_file(run_folder, tmp_path, capsys):
    (tmp_path / "gone.txt").write_text("u4\nu5\n")
    command = [
        "update",
        str(run_folder / "run"),
        "--interactions",
        str(run_folder / "second.csv"),
        "--out",
        str(tmp_path / "new"),
        "--quiet",
    ]
    assert main([*command, "--forget", "u1", "--forget_file", str(tmp_path / "gone.txt"), "--measure", "none"]) == 0
    model = load_model(tmp_path / "new")
    assert not {"u1", "u4", "u5"} & set(model.user_ids.ids.tolist())
    assert json.loads((tmp_path / "new" / "report.json").read_text())["users"]["forgotten"] == 3
    assert b"u5" not in b"".join(path.read_bytes().replace(b"u5\n", b"") for path in (tmp_path / "new").glob("history.tsv"))
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "{run}"], "needs a folder of its own"),
        (["--out", "{new}", "--sweeps", "-1"], "--sweeps must be a whole number of 0 or more, not -1"),
        (["--out", "{new}", "--forget", "nobody"], "unknown user id 'nobody'"),
        (["--out", "{new}", "--dataset", "x"], "did you mean --interactions?"),
        ([], "required: --out"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_leaves_no_folder(run_folder, tmp_path, capsys, words, sentence):
    words = [word.format(run=run_folder / "run", new=tmp_path / "new") for word in words]
    assert main(["update", str(run_folder / "run"), "--interactions", str(run_folder / "second.csv"), "--quiet", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_an_earlier_update_is_replaced_only_where_that_is_wanted(run_folder, tmp_path, capsys):
    command = ["update", str(run_folder / "run"), "--out", str(tmp_path / "new"), "--measure", "none", "--quiet", "--interactions"]
    assert main([*command, str(run_folder / "second.csv")]) == 0
    assert main([*command, str(run_folder / "third.csv")]) == 2
    assert "already holds files" in capsys.readouterr().err
    assert main([*command, str(run_folder / "third.csv"), "--overwrite"]) == 0
    assert "u99" in load_model(tmp_path / "new").user_ids.ids
    assert sorted(path.name for path in (tmp_path / "new").iterdir() if not path.name.startswith(".")) == [
        "history.tsv", "manifest.json", "metrics.json", "model.safetensors", "report.json", "times.safetensors",
    ]  # fmt: skip


def test_the_page_on_updating_runs_as_it_stands(tmp_path):
    from tests.test_docs import code_blocks

    done = subprocess.run([sys.executable, "-c", "\n".join(code_blocks("docs/updating.md"))], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_items_table_goes_along_and_new_items_have_empty_cells():
    log = pl.DataFrame({"user": [1, 1, 2, 2, 3], "item": ["pie", "tea", "tea", "jam", "pie"]})
    model = UltraGCN(embedding_dim=2, epochs=1, seed=0).fit(log)
    model.set_items_table(pl.DataFrame({"item": ["tea", "pie", "jam"], "price": [3.5, 12.0, 1.0]}))
    grown = model.update(pl.DataFrame({"user": [3, 3], "item": ["ale", "jam"]}), measure="none").model
    assert grown.item_ids.ids.tolist() == ["ale", "jam", "pie", "tea"]
    assert grown.items_table_.holds("price > 2").tolist() == [False, False, True, True]
    assert grown.items_table_.holds("price is null").tolist() == [True, False, False, False]


def small():
    return UltraGCN(embedding_dim=2, epochs=1, seed=0).fit(
        pl.DataFrame({"user": [1, 1, 2, 2, 3], "item": ["pie", "tea", "tea", "jam", "pie"]})
    )


@pytest.mark.parametrize("nothing", [None, [], ()])
def test_users_can_be_forgotten_without_new_interactions(nothing):
    grown, report = small().update(nothing, forget=[2], measure="estimate")
    assert grown.user_ids.ids.tolist() == [1, 3]
    assert report["pairs"]["forgotten"] == 2
    with pytest.raises(UsageError, match="nobody to forget"):
        small().update(nothing)


def test_of_few_held_out_pairs_there_is_no_advice():
    random = np.random.default_rng(0)
    cells = random.permutation(30 * 25)[:440]
    log, new = (pl.DataFrame({"user": part // 25, "item": part % 25}) for part in (cells[:400], cells[400:]))
    report = UltraGCN(embedding_dim=4, epochs=2, seed=0).fit(log).update(new).report
    assert report["held_out"]["pairs"] < 100
    assert "cannot tell whether" in report["advice"]


def test_a_manifest_does_not_hold_the_ids_that_were_forgotten():
    assert _without_ids(["ultragcn", "update", "a", "--forget", "ann", "bob", "--out", "b"]) == [
        "ultragcn", "update", "a", "--forget", "...", "--out", "b",
    ]  # fmt: skip
    assert _without_ids(["update", "--forget=-ann", "--out", "b"]) == ["update", "--forget=...", "--out", "b"]
