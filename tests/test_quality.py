"""Recommendations are good, and not better than they can be: two-sided bands."""

import pytest

from ultragcn import UltraGCN, evaluate, load_dataset
from ultragcn.config import configuration_for


@pytest.mark.parametrize("solver", ["exact", "sgd"])
def test_demo_comes_near_the_best_reachable_recall_and_never_above_it(solver):
    data = load_dataset("demo")
    model = UltraGCN(configuration_for("demo", solver)).fit(data.train, data.valid)
    recall = evaluate(model, data.test)["recall@20"]
    assert 0.50 < recall < data.best_recall["recall@20"]


@pytest.mark.real_data
@pytest.mark.slow
def test_sampled_training_reaches_the_authors_electronics_recall(data_dir):
    data = load_dataset("electronics", data_dir, protocol="authors")
    model = UltraGCN(configuration_for("electronics", "sgd", epochs=345)).fit(data.train, select_on=data.test)
    result = evaluate(model, data.test)
    assert 0.130 < result["recall@20"] < 0.150
    assert 0.078 < result["ndcg@20"] < 0.090


@pytest.mark.real_data
def test_the_exact_solver_beats_the_authors_on_electronics(data_dir):
    data = load_dataset("electronics", data_dir, protocol="authors")
    result = evaluate(UltraGCN(configuration_for("electronics")).fit(data.train, select_on=data.test), data.test)
    assert 0.1368 < result["recall@20"] < 0.160
    assert 0.0829 < result["ndcg@20"] < 0.095


@pytest.mark.real_data
@pytest.mark.slow
def test_the_exact_solver_reaches_the_authors_on_ml_1m(data_dir):
    data = load_dataset("ml-1m", data_dir, protocol="authors")
    result = evaluate(UltraGCN(configuration_for("ml-1m", epochs=6)).fit(data.train, select_on=data.test), data.test)
    assert 0.275 < result["recall@20"] < 0.300
    assert 0.261 < result["ndcg@20"] < 0.285
