"""The item graph at ranking time: what it adds to the scores, that off is the paper's model, and that every verb has it."""

import warnings

import numpy as np
import pytest

from tests.conftest import interactions_of
from ultragcn import UltraGCN, evaluate, load_dataset
from ultragcn.config import Config
from ultragcn.models.rp3beta import RP3beta
from ultragcn.models.sparse_ease import SparseEASE
from ultragcn.scoring.item_graph import item_graph
from ultragcn.scoring.item_weights import regression_weights, walk_weights

QUICK = {"embedding_dim": 8, "epochs": 3, "item_graph_weight": 0.0}
GRAPH = {"item_graph_weight": 0.4, "item_graph_l2": 20.0, "item_graph_neighbors": 30}
REGRESSION_ALONE = {"item_graph_walk": 0.0}


@pytest.fixture(scope="module")
def data():
    return load_dataset("demo")


@pytest.fixture(scope="module")
def with_graph(data):
    return UltraGCN(**QUICK | GRAPH).fit(data.train)


@pytest.fixture(scope="module")
def paper(data):
    return UltraGCN(**QUICK).fit(data.train)


def test_more_neighbours_than_items_take_no_more_room(data):
    few, many = (RP3beta(num_neighbors=count).fit(data.train).item_weights_ for count in (data.train.num_items, 10**9))
    assert (few != many).nnz == 0
    few, many = (SparseEASE(num_neighbors=count).fit(data.train).item_weights_ for count in (data.train.num_items, 10**9))
    assert (few != many).nnz == 0


def test_off_is_the_model_of_the_paper_and_on_trains_the_same_embeddings(data, with_graph, paper):
    assert paper.item_graph_.nnz == 0
    assert with_graph.item_graph_.nnz > 0
    np.testing.assert_array_equal(paper.user_embedding_, with_graph.user_embedding_)
    np.testing.assert_array_equal(paper.item_embedding_, with_graph.item_embedding_)
    user = data.train.user_ids.ids[3]
    row = int(data.train.user_ids.rows([user])[0])
    items, scores = paper.recommend(user, top_k=5)
    expected = paper.item_embedding_[paper.item_ids.rows(items)] @ paper.user_embedding_[row]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def mean_std(rows):
    return np.asarray(rows).std(axis=1).mean()


def test_scores_are_the_formula_of_the_documentation(data, with_graph):
    every_product = with_graph.user_embedding_.astype(np.float64) @ with_graph.item_embedding_.T
    every_graph = (data.train.matrix.astype(np.float64) @ with_graph.item_graph_).todense()
    sample = np.linspace(0, data.train.num_users - 1, 1000).astype(int)
    assert data.train.user_degrees.min() > 0
    scale = GRAPH["item_graph_weight"] * mean_std(every_product[sample]) / mean_std(every_graph[sample])
    for user in data.train.user_ids.ids[[0, 7, 50]]:
        row = int(data.train.user_ids.rows([user])[0])
        expected = every_product[row] + scale * np.asarray(every_graph)[row]
        items, scores = with_graph.recommend(user, top_k=10, exclude_seen=False)
        np.testing.assert_array_equal(with_graph.item_ids.rows(items), np.argsort(-expected, kind="stable")[:10])
        np.testing.assert_allclose(scores, np.sort(expected)[::-1][:10], rtol=1e-4, atol=1e-6)


def test_a_very_heavy_graph_ranks_as_its_weights_alone(data):
    heavy = UltraGCN(**QUICK | GRAPH | REGRESSION_ALONE | {"item_graph_weight": 1e6}).fit(data.train)
    alone = SparseEASE(num_neighbors=30, num_weights=30, l2=20.0).fit(data.train)
    users = data.train.user_ids.ids[:40]
    ours, theirs = heavy.recommend(users, top_k=3)[0], alone.recommend(users, top_k=3)[0]
    assert (ours == theirs).mean() > 0.95  # equal weights are told apart by the embeddings


def test_the_graph_of_new_users_is_free_and_every_verb_has_it(data, with_graph, paper, tmp_path):
    users = data.train.user_ids.ids[:30]
    together, scores = with_graph.recommend(users, top_k=10)
    for place in (0, 11, 29):
        alone, own = with_graph.recommend(users[place], top_k=10)
        np.testing.assert_array_equal(alone, together[place])
        np.testing.assert_array_equal(own, scores[place])
    loaded = UltraGCN.load(with_graph.save(tmp_path))
    np.testing.assert_array_equal(loaded.recommend(users, top_k=10)[0], together)
    basket = data.train.item_ids.ids[data.train.matrix[[0]].indices].tolist()
    np.testing.assert_array_equal(loaded.recommend_for(basket, top_k=5)[0], with_graph.recommend_for(basket, top_k=5)[0])
    assert paper.recommend_for(basket, top_k=20)[0].tolist() != with_graph.recommend_for(basket, top_k=20)[0].tolist()
    assert evaluate(loaded, data.valid)["recall@20"] == evaluate(with_graph, data.valid)["recall@20"]


def test_a_user_without_items_and_an_item_without_users_are_ranked_too():
    dense = np.random.default_rng(0).random((12, 9)) < 0.4
    dense[3] = False
    dense[:, 5] = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = UltraGCN(**QUICK | GRAPH).fit(interactions_of(dense))
    items, scores = model.recommend(list(range(12)), top_k=9, exclude_seen=False)
    assert np.isfinite(scores).all()
    assert (np.sort(items, axis=1) == np.arange(9)).all()


@pytest.mark.parametrize("walk", [0.25, 2.0])
def test_walks_add_to_the_regression_weights_as_much_as_asked_for(data, walk):
    config = Config(**GRAPH | {"item_graph_walk": walk, "item_graph_walk_alpha": 0.8, "item_graph_walk_beta": 0.1})
    graph = item_graph(data.train, config)
    regression = item_graph(data.train, config.replace(item_graph_walk=0.0))
    np.testing.assert_array_equal(regression.todense(), regression_weights(data.train.matrix, 30, 30, 20.0).todense())
    rest = (graph - regression).todense()
    walks = RP3beta(num_neighbors=60, alpha=0.8, beta=0.1).fit(data.train).item_weights_.todense()
    share = rest.sum() / walks.sum()
    np.testing.assert_allclose(rest, share * walks, atol=1e-6)
    a = data.train.matrix.todense()[np.linspace(0, data.train.num_users - 1, 1000).astype(int)]
    assert mean_std(a @ rest) == pytest.approx(walk * mean_std(a @ regression.todense()), rel=1e-3)
    assert graph.has_sorted_indices


def test_walk_weights_are_the_formula():
    dense = (np.random.default_rng(0).random((40, 12)) < 0.3).astype(np.float32)
    users, items = (np.maximum(dense.sum(axis), 1.0) for axis in (1, 0))
    weights = walk_weights(interactions_of(dense > 0).matrix, 12, 0.7, 0.4).todense()
    expected = np.zeros((12, 12))
    for i in range(12):
        for j in range(12):
            if i != j:
                expected[i, j] = sum(dense[v, i] * dense[v, j] * users[v] ** -0.7 for v in range(40)) * items[i] ** -0.7 * items[j] ** -0.4
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_the_weights_of_an_item_are_at_most_as_many_as_asked_for(data):
    weights = regression_weights(data.train.matrix, 20, 10, 50.0)
    assert weights.tocsc().getnnz(axis=0).max() <= 10
    assert (weights.diagonal() == 0).all()
