"""Extremes: trials that return anything, numbers out of range, and lists longer than there are items."""

import json

import numpy as np
import pytest

from tests import trials_for_sweeps as trials
from ultragcn import EASE, IALS, ItemKNN, Popularity, UltraGCN, load_dataset
from ultragcn.errors import NotFittedError, NumericalError, UltraGCNError
from ultragcn.experiments.studies.space import Values
from ultragcn.experiments.studies.study import Study, read_results, read_study
from ultragcn.experiments.studies.sweep import sweep

WRONG = {
    "none": "the trial returned None (NoneType); it must return its metrics by name, such as {'score': 0.5}",
    "text": "the trial returned '0.5' (str); it must return its metrics by name",
    "array": "the trial returned array([0, 1, 2]) (ndarray); it must return its metrics by name",
    "text in it": "the trial returned 'high' (str) as score; it must be a number",
    "array in it": "the trial returned array([0, 1, 2]) (ndarray) as score; it must be a number",
    "nothing in it": "the trial did not return score, by which trials are chosen; it must be a number",
    "epoch": "the trial returned 1.5 as best_epoch; it must be a whole number",
    "seconds": "the trial returned nan as train_seconds; it must be a finite number",
}


@pytest.fixture(scope="module")
def data():
    return load_dataset("demo")


def test_a_trial_that_returns_no_metrics_has_failed_and_the_others_go_on(tmp_path):
    about = dict.fromkeys(("dataset", "protocol", "data_hash", "split_hash", "settings"))
    study = Study("odd", {"what": Values((*WRONG, "scalar", "fine"))}, ("score",), "score", about=about)
    outcome = sweep(study, trials.odd, tmp_path / "out")
    rows = {row.parameters["what"]: row for row in read_results(tmp_path / "out")}
    assert outcome.num_ended == len(WRONG) + 2
    for what, why in WRONG.items():
        assert rows[what].state == "failed"
        assert rows[what].why.startswith(why)
    assert [rows[what].metrics for what in ("scalar", "fine")] == [{"score": 0.5}] * 2
    read_study(tmp_path / "out")
    assert sweep(study, trials.odd, tmp_path / "out").num_ended == len(WRONG) + 2
    json.loads((tmp_path / "out/study.json").read_text())


@pytest.mark.parametrize("std", [1e20, 1e300])
def test_weights_out_of_range_are_an_error_with_advice_and_leave_no_model(data, std):
    model = IALS(embedding_dim=4, epochs=2, init_std=std)
    with pytest.raises(NumericalError, match=r"is not finite: .* nearer to its default \(such as .*init_std"):
        model.fit(data)
    with pytest.raises(NotFittedError):
        model.recommend("user-0001")


def test_scores_out_of_range_are_an_error_with_advice(data):
    with pytest.raises(NumericalError, match=r"scores leave the range of float32: .* lower item_graph_weight"):
        UltraGCN(embedding_dim=4, epochs=2, item_graph_weight=3e38).fit(data)


@pytest.mark.parametrize("settings", [{"learning_rate": 1e30}, {"init_std": 1e30}])
def test_every_extreme_of_the_sampled_solver_is_an_error_in_one_sentence(data, settings):
    pytest.importorskip("torch")
    with pytest.raises(UltraGCNError) as caught:
        UltraGCN(embedding_dim=4, epochs=1, solver="sgd", num_negatives=4, **settings).fit(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", [EASE(), ItemKNN(), Popularity(), IALS(embedding_dim=4)], ids=lambda model: type(model).__name__)
def test_a_list_has_at_most_as_many_places_as_there_are_items_whatever_is_wanted(data, model):
    model.fit(data)
    items, scores = model.recommend(["user-0001", "user-0002"], top_k=10**12)
    assert items.shape == scores.shape == (2, data.train.num_items)
    longest = model.recommend(["user-0001", "user-0002"], top_k=data.train.num_items)
    np.testing.assert_array_equal(items, longest[0])
    assert len(model.recommend_for([data.train.item_ids.ids[0]], top_k=10**12)[0]) < data.train.num_items
    if not isinstance(model, Popularity):
        assert len(model.similar_items(data.train.item_ids.ids[0], top_k=10**12)[0]) < data.train.num_items
