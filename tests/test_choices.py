"""What training chooses itself on held-out pairs, where it is not given: the L2 strength, along a path, and the item graph's weight."""

import json

import numpy as np
import pytest

from ultragcn import UltraGCN, evaluate, load_dataset
from ultragcn.cli import main
from ultragcn.cli.train import _chosen_words
from ultragcn.config import Config
from ultragcn.config.ultragcn import EXACT_GRAPH_WEIGHT, EXACT_GRAPH_WEIGHTS, EXACT_L2, EXACT_L2_FACTOR, EXACT_L2_FROM
from ultragcn.loss.objective import Objective
from ultragcn.models.refit import unfitted_for_refit
from ultragcn.solvers.fold_in import FrozenItems, fold_in
from ultragcn.training.choices import on_some_users

QUICK = {"embedding_dim": 16, "negative_weight": 50.0}


@pytest.fixture(scope="module")
def data():
    return load_dataset("demo")


@pytest.fixture(scope="module")
def chosen(data):
    return UltraGCN(**QUICK).fit(data.train, data.valid)


def test_it_begins_weak_and_rises_after_every_sweep_no_better_than_the_one_before(chosen):
    best, last, expected, before, kept = -np.inf, -np.inf, EXACT_L2_FROM, EXACT_L2_FROM, None
    for record in chosen.history_:
        assert record["l2"] == pytest.approx(expected, rel=1e-12)
        if record["recall@20"] > best:  # right after a rise, what is kept lies between the two strengths
            best, kept = record["recall@20"], (record["l2"] * before) ** 0.5
        before = record["l2"]
        if not record["recall@20"] > last:
            expected *= EXACT_L2_FACTOR
        last = record["recall@20"]
    assert chosen.l2_ == pytest.approx(kept, rel=1e-12)
    assert kept > EXACT_L2_FROM
    assert chosen.history_[chosen.best_epoch_ - 1]["recall@20"] == best


def test_what_it_finds_is_as_good_as_the_best_of_a_grid(data, chosen):
    def best(model):
        return model.history_[model.best_epoch_ - 1]["recall@20"]

    grid = [best(UltraGCN(**QUICK, l2_user=l2, l2_item=l2).fit(data.train, data.valid)) for l2 in (0.05, 0.1, 0.2, 0.3, 0.5)]
    assert 0.98 * max(grid) < best(chosen) < 1.05 * max(grid)
    assert min(grid) < 0.95 * best(chosen)


@pytest.mark.parametrize(
    ("given", "rising"), [({}, {"l2_user", "l2_item"}), ({"l2_item": 0.3}, {"l2_user"}), ({"l2_user": 0.3, "l2_item": 0.2}, set())]
)
def test_only_a_strength_that_is_not_given_is_chosen(data, given, rising):
    model = UltraGCN(**QUICK, **given, epochs=4).fit(data.train, data.valid)
    assert (model.l2_ is not None) == bool(rising) == ("l2" in model.history_[0])
    again = unfitted_for_refit(model).config
    assert {name for name in ("l2_user", "l2_item") if getattr(again, name) == model.l2_} == rising
    assert {name: getattr(again, name) for name in given} == given


@pytest.mark.parametrize("solver", ["exact", "sgd"])
def test_without_held_out_pairs_and_with_sgd_nothing_is_chosen(data, solver):
    pytest.importorskip("torch")
    held_out = None if solver == "exact" else data.valid
    model = UltraGCN(**QUICK, solver=solver, epochs=1, evaluate_every=1).fit(data.train, held_out)
    assert model.l2_ is None
    assert "l2" not in model.history_[0]


def test_the_strength_is_saved_and_new_users_are_folded_in_with_it(data, chosen, tmp_path):
    loaded = UltraGCN.load(chosen.save(tmp_path))
    assert loaded.l2_ == chosen.l2_
    config = chosen.config.replace(l2_user=chosen.l2_, l2_item=chosen.l2_)
    expected = fold_in(FrozenItems(Objective.of(data.train, config), chosen.item_embedding_), data.train.matrix[:20])
    np.testing.assert_array_equal(loaded.fold_in(data.train.matrix[:20]), expected)


def test_a_changed_rule_is_another_fingerprint(monkeypatch):
    before = Config().fingerprint(), Config(l2_user=EXACT_L2, l2_item=EXACT_L2).fingerprint()
    monkeypatch.setattr("ultragcn.config.ultragcn.EXACT_L2_FACTOR", 2.0)
    assert Config().fingerprint() != before[0]
    assert Config(l2_user=EXACT_L2, l2_item=EXACT_L2).fingerprint() == before[1]


def test_the_weight_of_the_item_graph_is_the_best_of_those_tried_and_every_verb_has_it(data, chosen, tmp_path):
    given = {"l2_user": chosen.l2_, "l2_item": chosen.l2_, "seed": 1}
    model = UltraGCN(**QUICK, **given).fit(data.train, data.valid)

    def product():
        result = evaluate(model, data.valid)
        return result["recall@20"] * result["ndcg@20"]

    found, kept, tried = product(), model.item_graph_weight_, {}
    for model.item_graph_weight_ in EXACT_GRAPH_WEIGHTS:
        tried[model.item_graph_weight_] = product()
    model.item_graph_weight_ = kept
    assert tried[kept] == max(tried.values()) == found > min(tried.values())
    at_best = model.history_[model.best_epoch_ - 1]
    assert found >= at_best["recall@20"] * at_best["ndcg@20"]
    loaded = UltraGCN.load(model.save(tmp_path))
    assert loaded.item_graph_weight_ == kept
    assert evaluate(loaded, data.test) == evaluate(model, data.test)
    assert unfitted_for_refit(model).config.item_graph_weight == kept


def test_an_interrupt_while_terms_are_chosen_leaves_none_that_was_only_tried(data, monkeypatch):
    calls = []

    def interrupted(model, targets, labels):
        calls.append(model.scorer.graph_weight)
        if len(calls) == len(model.history_) + 3:
            raise KeyboardInterrupt
        return evaluate(model, targets, labels)

    monkeypatch.setattr("ultragcn.training.choices.evaluate", interrupted)
    model = UltraGCN(**QUICK, epochs=3)
    with pytest.raises(KeyboardInterrupt):
        model.fit(data.train, data.valid)
    assert calls[-3:] == list(EXACT_GRAPH_WEIGHTS[:3])
    assert (model.item_graph_weight_, model.stopped_, model.chosen_.keys()) == (None, "interrupted", {"l2"})
    assert evaluate(model, data.test)["recall@20"] > 0.3


@pytest.mark.parametrize(("given", "valid"), [({"item_graph_weight": 0.1}, True), ({"item_graph_weight": 0.0}, True), ({}, False)])
def test_a_weight_of_the_item_graph_that_is_given_or_cannot_be_measured_is_not_chosen(data, given, valid):
    model = UltraGCN(**QUICK, **given, epochs=2).fit(data.train, data.valid if valid else None)
    assert model.item_graph_weight_ is None
    assert unfitted_for_refit(model).config.resolved().item_graph_weight == given.get("item_graph_weight", EXACT_GRAPH_WEIGHT)


@pytest.mark.parametrize("more", [[], ["--refit"]])
def test_a_run_says_what_was_chosen(tmp_path, capsys, more):
    words = ["--embedding_dim", "16", "--epochs", "6", "--l2_user", "auto", "--out", str(tmp_path / "run"), "--quiet", *more]
    assert main(["train", *words]) == 0
    chosen = json.loads((tmp_path / "run/metrics.json").read_text())["chosen"]
    assert set(chosen) == {"l2", "item_graph_weight"}
    assert (
        f"chosen on held-out pairs: l2 {chosen['l2']:.3g}, item_graph_weight {chosen['item_graph_weight']:.3g}\n" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("weight", "words"),
    [(0.0, "item_graph_weight 0.2, no trend"), (2.0, "item_graph_weight 0.2, item_trend_weight 2, item_trend_half_life 30")],
)
def test_a_trend_without_weight_is_called_no_trend(weight, words):
    assert _chosen_words({"item_graph_weight": 0.2, "item_trend_weight": weight, "item_trend_half_life": 30.0}) == words


def test_training_measures_itself_on_so_many_users_as_are_asked_for(data):
    given = {"item_graph_weight": 0.0, "l2_user": 0.1, "l2_item": 0.1}
    model = UltraGCN(**QUICK, epochs=2, seed=0, select_users=50, **given).fit(data.train, data.valid)
    some = on_some_users(data.valid, 50)
    assert np.count_nonzero(some.user_degrees) == 50
    with_pairs = some.user_degrees > 0
    np.testing.assert_array_equal(some.user_degrees[with_pairs], data.valid.user_degrees[with_pairs])
    best = model.history_[model.best_epoch_ - 1]
    assert best["recall@20"] == evaluate(model, some)["recall@20"]
    assert best["recall@20"] != evaluate(model, data.valid)["recall@20"]


def test_of_fewer_users_than_are_asked_for_all_take_part(data):
    assert on_some_users(data.valid, data.valid.num_users) is data.valid
    assert on_some_users(data.valid, None) is data.valid
