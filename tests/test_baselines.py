"""The baselines: closed forms against dense float64 arithmetic, then two-sided bands on real data. All share `test_contract.py`."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from tests.conftest import interactions_of, random_interactions
from ultragcn import Interactions, UltraGCN, evaluate, load_dataset, machine
from ultragcn.data.ids import IdMap
from ultragcn.data.sources import dataset_names
from ultragcn.data.split import hold_out
from ultragcn.errors import MissingDependencyError, UsageError
from ultragcn.kernels import numba_cpu, reference
from ultragcn.models import lightgcn
from ultragcn.models.bpr import BPR
from ultragcn.models.ease import EASE
from ultragcn.models.ials import IALS
from ultragcn.models.itemknn import ItemKNN
from ultragcn.models.lightgcn import LightGCN
from ultragcn.models.popularity import Popularity
from ultragcn.models.registry import BASELINES, baseline_for
from ultragcn.models.rp3beta import RP3beta
from ultragcn.models.sparse_ease import SparseEASE
from ultragcn.scoring.item_weights import blocks

QUICK = {
    "itemknn": {"num_neighbors": 12}, "rp3beta": {"num_neighbors": 12}, "ease": {"l2": 1.0}, "sparse-ease": {"l2": 1.0},
    "ials": {"embedding_dim": 8, "epochs": 10, "l2": 0.1}, "bpr": {"embedding_dim": 8, "epochs": 300, "learning_rate": 0.1},
    "lightgcn": {"embedding_dim": 8, "epochs": 60, "learning_rate": 0.05, "device": "cpu"},
}  # fmt: skip
ROOT = Path(__file__).parents[1]


def quick(name, **changes):
    return BASELINES[name](**QUICK.get(name, {}) | changes)


@pytest.mark.parametrize("name", ["popularity", "itemknn", "rp3beta", "ease", "sparse-ease"])
def test_permuting_users_permutes_results(name):
    dense = np.random.default_rng(3).random((40, 30)) < 0.25
    order = np.random.default_rng(4).permutation(40)
    plain, permuted = (quick(name).fit(interactions_of(rows)) for rows in (dense, dense[order]))
    _, scores = plain.recommend(list(range(40)), 10)
    _, shuffled = permuted.recommend(list(range(40)), 10)
    np.testing.assert_allclose(shuffled, scores[order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "values", "allowed"),
    [(EASE, {"l2": 0}, "l2 must be a number above 0"), (ItemKNN, {"num_neighbors": 2.5}, "whole number of 1 or more"),
     (ItemKNN, {"weighting": "tfidf"}, "did you mean idf"), (ItemKNN, {"num_neighbours": 3}, "did you mean num_neighbors"),
     (IALS, {"embedding_dim": 0}, "1 or more"), (LightGCN, {"device": "gpu"}, "allowed: auto, cpu, cuda"), (BPR, {"seed": -2}, "seed"),
     (RP3beta, {"alpha": float("nan")}, "alpha must be a number"),
     (Popularity, {"l2": 1}, "'l2' of Popularity .allowed: half_life, num_threads")],
)  # fmt: skip
def test_a_hyper_parameter_that_is_wrong_is_refused_with_what_is_allowed(model, values, allowed):
    with pytest.raises(UsageError, match=allowed):
        model(**values)


def test_a_model_shows_the_hyper_parameters_that_differ_from_the_defaults():
    assert repr(EASE()) == "EASE()"
    assert repr(ItemKNN(num_neighbors=50, weighting="idf")) == "ItemKNN(num_neighbors=50, weighting='idf')"


def test_a_fitted_model_says_what_it_was_fitted_on_and_what_fitting_chose(tmp_path):
    data = load_dataset("demo")
    knn = ItemKNN(num_neighbors=50)
    assert knn.summary().splitlines()[1] == "fitted on    nothing yet; call fit(data)"
    assert repr(knn.fit(data)) == "ItemKNN(num_neighbors=50), fitted on 2,000 users x 600 items, 48,265 pairs"
    model = UltraGCN(embedding_dim=8, epochs=3).fit(data)
    chosen = ", ".join(f"{name}={value:.4g}" for name, value in model.chosen_.items())
    assert repr(model) == (
        "UltraGCN(embedding_dim=8, epochs=3), fitted on 2,000 users x 600 items, 48,265 pairs; embeddings 8 dimensions; "
        f"kept sweep {model.best_epoch_} of 3; chosen {chosen}"
    )
    lines = {line[:12].strip(): line[13:] for line in model.summary().splitlines()}
    assert list(lines) == ["model", "fitted on", "embeddings", "kept", "chosen", "seconds"]
    assert lines["chosen"] == chosen
    assert repr(UltraGCN.load(model.save(tmp_path / "whole"))) == repr(model)
    without = UltraGCN.load(model.save(tmp_path / "without", history=False))
    assert "fitted on 600 items, users left out; embeddings 8 dimensions" in repr(without)
    assert repr(model.set_params(epochs=4)) == "UltraGCN(embedding_dim=8, epochs=4)"


@pytest.mark.torch
def test_a_fitted_lightgcn_says_which_epoch_was_kept():
    model = LightGCN(embedding_dim=4, epochs=2).fit(load_dataset("demo"))
    assert repr(model).endswith(f"embeddings 4 dimensions; kept epoch {model.best_epoch_} of 2")


# ------------------------------------------------------------------ closed forms


@pytest.fixture(scope="module")
def taste():
    """Random pairs around three groups of items, and one user without any."""
    random = np.random.default_rng(5)
    near = random.integers(0, 3, 60)[:, None] == (np.arange(24) % 3)[None, :]
    dense = random.random((60, 24)) < np.where(near, 0.6, 0.2)
    dense[7] = False
    return interactions_of(dense)


def scores_of(model):
    """All scores of all users, (U, I), by the public verb."""
    items, scores = model.recommend(list(range(model.train_.num_users)), model.train_.num_items, exclude_seen=False)
    return np.take_along_axis(scores, np.argsort(items, axis=1), axis=1)


def of_sums(a, weights):
    """The scores of an item model: sums of the rows of its weights; of a user without items, the number of users of an item."""
    return np.where(a.any(axis=1)[:, None], a @ weights, a.sum(axis=0))


def top_by_column(weights, k):
    """Keep the k largest of each column, the diagonal left out."""
    kept = np.zeros_like(weights)
    for j in range(len(weights)):
        order = [i for i in np.argsort(-weights[:, j], kind="stable") if i != j and weights[i, j] > 0][:k]
        kept[order, j] = weights[order, j]
    return kept


def test_popularity_is_the_number_of_users_of_an_item(taste):
    np.testing.assert_array_equal(scores_of(Popularity().fit(taste)), np.tile(taste.matrix.toarray().sum(axis=0), (60, 1)))


@pytest.mark.parametrize("weighting", ["none", "idf"])
@pytest.mark.parametrize("shrinkage", [0.0, 7.0])
def test_itemknn_is_the_shrunk_cosine_of_its_formula(taste, weighting, shrinkage):
    a = taste.matrix.toarray().astype(np.float64)
    w = np.log(24 / np.maximum(a.sum(axis=1), 1)) if weighting == "idf" else np.ones(60)
    c = (w[:, None] * a).T @ (w[:, None] * a)
    length = np.sqrt(np.diag(c))
    denominator = np.outer(length, length) + shrinkage
    cosine = np.divide(c, denominator, out=np.zeros_like(c), where=denominator > 0)
    model = ItemKNN(num_neighbors=6, shrinkage=shrinkage, weighting=weighting).fit(taste)
    # Equal cosines may be ordered by their last digit, so neighbours are compared by their weights.
    np.testing.assert_allclose(
        np.sort(model.item_weights_.toarray(), axis=0), np.sort(top_by_column(cosine, 6), axis=0), rtol=1e-5, atol=1e-7
    )
    full = ItemKNN(num_neighbors=24, shrinkage=shrinkage, weighting=weighting).fit(taste)
    np.testing.assert_allclose(scores_of(full), of_sums(a, cosine - np.diag(np.diag(cosine))), rtol=1e-4, atol=1e-6)


def test_rp3beta_is_the_random_walk_of_its_formula(taste):
    a = taste.matrix.toarray().astype(np.float64)
    from_item = (a / np.maximum(a.sum(axis=0), 1)).T ** 0.9  # (1 / d_i)^alpha from an item to its users
    from_user = (a / np.maximum(a.sum(axis=1), 1)[:, None]) ** 0.9
    walk = from_item @ from_user / np.maximum(a.sum(axis=0), 1) ** 0.4
    np.fill_diagonal(walk, 0)
    full = RP3beta(num_neighbors=24, alpha=0.9, beta=0.4).fit(taste)
    np.testing.assert_allclose(scores_of(full), of_sums(a, walk), rtol=1e-4, atol=1e-6)
    few = RP3beta(num_neighbors=5, alpha=0.9, beta=0.4).fit(taste)
    np.testing.assert_allclose(np.sort(few.item_weights_.toarray(), axis=0), np.sort(top_by_column(walk, 5), axis=0), rtol=1e-5, atol=1e-7)


def ease_weights(train, l2):
    a = train.matrix.toarray().astype(np.float64)
    p = np.linalg.inv(a.T @ a + l2 * np.eye(a.shape[1]))
    b = -p / np.diag(p)
    np.fill_diagonal(b, 0)
    return a, b


@pytest.mark.parametrize("l2", [0.5, 20.0])
def test_ease_is_its_closed_form(taste, l2):
    a, b = ease_weights(taste, l2)
    model = EASE(l2=l2).fit(taste)
    np.testing.assert_allclose(model.item_weights_, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scores_of(model), of_sums(a, b), rtol=1e-4, atol=1e-4)


def test_sparse_ease_with_all_neighbors_is_ease(taste):
    assert (taste.matrix.T @ taste.matrix).nnz == 24**2  # every two items share a user
    _, b = ease_weights(taste, 5.0)
    model = SparseEASE(num_neighbors=24, num_weights=24, l2=5.0).fit(taste)
    np.testing.assert_allclose(model.item_weights_.toarray(), b, rtol=1e-3, atol=1e-5)


def test_sparse_ease_comes_nearer_to_ease_as_its_density_grows(taste):
    _, b = ease_weights(taste, 5.0)
    away = [
        np.linalg.norm(SparseEASE(num_neighbors=k, num_weights=m, l2=5.0).fit(taste).item_weights_.toarray() - b)
        for k, m in ((1, 1), (4, 8), (10, 16), (23, 23))
    ]
    assert away == sorted(away, reverse=True)
    assert away[-1] < 1e-4 < 0.1 < away[0]


def test_sparse_ease_keeps_no_more_weights_than_it_is_told(taste):
    weights = SparseEASE(num_neighbors=8, num_weights=3).fit(taste).item_weights_
    assert np.diff(weights.tocsc().indptr).max() == 3


def test_one_row_of_ials_is_its_normal_equations(taste):
    model = IALS(embedding_dim=5, unobserved_weight=0.3, l2=0.2, l2_exponent=0.7, epochs=4).fit(taste)
    users, items = (table.astype(np.float64) for table in (model.user_embedding_, model.item_embedding_))
    # Items were solved last: each is the minimiser given the users.
    for item in (0, 5, 11):
        own = users[taste.matrix.toarray()[:, item] > 0]
        strength = 0.2 * (len(own) + 0.3 * 60) ** 0.7
        expected = np.linalg.solve(own.T @ own + 0.3 * users.T @ users + strength * np.eye(5), own.sum(axis=0))
        np.testing.assert_allclose(items[item], expected, rtol=1e-3, atol=1e-5)
    own = items[[1, 4, 9]]
    strength = 0.2 * (3 + 0.3 * 24) ** 0.7
    expected = np.linalg.solve(own.T @ own + 0.3 * items.T @ items + strength * np.eye(5), own.sum(axis=0))
    new = model.fold_in(sp.csr_matrix(([1.0] * 3, ([0] * 3, [1, 4, 9])), shape=(1, 24), dtype=np.float32))
    np.testing.assert_allclose(new[0], expected, rtol=1e-3, atol=1e-5)


def test_ials_lowers_its_loss_with_every_epoch(taste):
    a = taste.matrix.toarray()
    losses = []
    for epochs in (1, 2, 4, 8):
        model = IALS(embedding_dim=5, l2=0.05, epochs=epochs).fit(taste)
        scores = model.user_embedding_ @ model.item_embedding_.T
        users, items = ((table**2).sum(axis=1) for table in (model.user_embedding_, model.item_embedding_))
        ridge = 0.05 * (users @ (a.sum(axis=1) + 0.1 * 24) + items @ (a.sum(axis=0) + 0.1 * 60))
        losses.append((a * (1 - scores) ** 2).sum() + 0.1 * (scores**2).sum() + ridge)
    assert losses == sorted(losses, reverse=True)


# ------------------------------------------------------------------ kernels and their twins


@pytest.mark.parametrize("items", [1, 5, 40])
def test_an_inverse_factor_of_all_items_before_is_the_inverse(items):
    random = np.random.default_rng(7)
    a = (random.random((3 * items, items)) < 0.3).astype(np.float64)
    dense = a.T @ a + 2 * np.eye(items)
    above = sp.csr_matrix(np.triu(dense, 1), dtype=np.float32)
    regressed = np.concatenate([[0], np.cumsum(np.arange(items))]), np.concatenate([np.arange(i, dtype=np.int32) for i in range(items)])
    weights, pivots = np.empty(len(regressed[1]), np.float32), np.empty(items, np.float32)
    rows = above.indptr.astype(np.int64), above.indices, above.data
    no_wide = np.zeros(items, np.int32), np.zeros((1, 1), np.float32)
    numba_cpu.inverse_factor(rows, np.diag(dense).astype(np.float32), regressed, items, no_wide, weights, pivots)
    w = np.eye(items) - sp.csr_matrix((weights, *regressed[::-1]), shape=(items, items)).toarray()
    np.testing.assert_allclose(w.T @ np.diag(1 / pivots) @ w @ dense, np.eye(items), atol=1e-3)


def test_the_gradient_of_the_pairwise_loss_is_its_finite_difference():
    random = np.random.default_rng(9)
    embedding = random.standard_normal((12, 3))
    triple = [random.integers(0, 12, 20) for _ in range(3)]
    gradient = reference.pairwise_loss(embedding, *triple)[1]
    step = np.zeros_like(embedding)
    step[4, 1] = 1e-6
    slope = (reference.pairwise_loss(embedding + step, *triple)[0] - reference.pairwise_loss(embedding - step, *triple)[0]) / 2e-6
    np.testing.assert_allclose(gradient[4, 1], slope, rtol=1e-5)


def test_the_gradient_of_lightgcn_goes_back_by_the_same_propagation(taste):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    graph = lightgcn.normalised_adjacency(taste.matrix).toarray().astype(np.float64)
    random = np.random.default_rng(13)
    start = torch.from_numpy(random.standard_normal((84, 4))).requires_grad_()
    triple = [random.integers(0, 84, 30) for _ in range(3)]
    dense = torch.from_numpy(graph)
    final = (start + dense @ start + dense @ (dense @ start)) / 3
    u, i, j = (final[rows] for rows in triple)
    torch.nn.functional.softplus((u * (j - i)).sum(dim=1)).sum().backward()
    _, gradient = reference.pairwise_loss(final.detach().numpy(), *triple)
    np.testing.assert_allclose(reference.propagate(graph, gradient, 2), start.grad.numpy(), rtol=1e-9, atol=1e-12)


# ------------------------------------------------------------------ memory, epochs, packages


def test_ease_refuses_what_does_not_fit_into_memory_and_names_need_and_alternative(taste, monkeypatch, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:  9000000 kB\nMemAvailable:    2000000 kB\n")
    monkeypatch.setattr(machine, "_MEMORY_FILE", tmp_path / "meminfo")
    EASE().fit(taste)
    many = IdMap(np.arange(50_000), "item")
    wide = Interactions(sp.csr_matrix(([1.0], ([0], [7])), shape=(1, 50_000)), IdMap(np.arange(1), "user"), many)
    with pytest.raises(UsageError, match=r"EASE on 50000 items needs 11\.0 GB of memory, but 2\.0 GB are free; use SparseEASE"):
        EASE().fit(wide)


def test_where_the_system_does_not_say_how_much_memory_is_free_ease_tries(taste, monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_MEMORY_FILE", tmp_path / "nothing")
    assert machine.free_memory() is None
    EASE().fit(taste)


def test_scores_are_made_in_blocks_of_bounded_size():
    rows = list(blocks(20_000, 50_000))
    assert np.concatenate(rows).tolist() == list(range(20_000))
    assert max(len(block) for block in rows) * 50_000 * 4 <= 64 * 2**20


@pytest.mark.torch
def test_lightgcn_keeps_its_best_epoch_on_validation_and_patience_ends_training():
    train, valid = hold_out(random_interactions(60, 40, 0.3), 0)
    settings = {"embedding_dim": 8, "epochs": 60, "evaluate_every": 1, "patience": 2, "learning_rate": 0.05, "device": "cpu"}
    model = LightGCN(**settings).fit(train, valid)
    values = [record["recall@20"] for record in model.history_]
    assert model.best_epoch_ == 1 + int(np.argmax(values))
    assert len(values) == min(60, model.best_epoch_ + 2)
    assert evaluate(model, valid)["recall@20"] == values[model.best_epoch_ - 1]


@pytest.mark.parametrize(
    ("schedule", "steps"),
    [("constant", [0.1] * 6), ("cosine", [0.1, 0.1 * (1 + 3**0.5 / 2) / 2, 0.075, 0.05, 0.025, 0.1 * (1 - 3**0.5 / 2) / 2])],
)
def test_the_step_size_of_lightgcn_follows_its_schedule(taste, monkeypatch, schedule, steps):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    taken = []

    class Watched(torch.optim.Adam):
        def step(self):
            taken.append(self.param_groups[0]["lr"])
            super().step()

    monkeypatch.setattr(torch.optim, "Adam", Watched)
    halves = {"batch_size": (len(taste) + 1) // 2, "epochs": 3, "device": "cpu"}
    LightGCN(embedding_dim=4, learning_rate=0.1, schedule=schedule, **halves).fit(taste)
    assert taken == pytest.approx(steps)


def test_importing_the_baselines_loads_neither_torch_nor_numba():
    code = "import sys, ultragcn.models.registry; assert not {'torch', 'numba'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT / "src")})
    assert done.returncode == 0, done.stderr


def test_a_package_that_is_not_installed_is_named_with_what_to_install(monkeypatch):
    for module in [module for module in sys.modules if module.startswith("ultragcn.kernels.torch_ops") or module.split(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr("ultragcn.kernels.torch_ops", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"LightGCN needs PyTorch.*pip install '\.\[torch\]'"):
        LightGCN().fit(interactions_of([[1, 0], [0, 1]]))


def test_settings_are_found_by_data_set_and_what_is_given_wins():
    assert repr(baseline_for("ease", "electronics")) == "EASE(l2=300.0)"
    assert repr(baseline_for("ease", "electronics", l2=7)) == "EASE(l2=7.0)"
    assert repr(baseline_for("ease", "nothing of that name")) == repr(baseline_for("ease")) == "EASE()"
    with pytest.raises(UsageError, match="unknown baseline 'iknn'; did you mean itemknn"):
        baseline_for("iknn")


def test_every_kept_setting_is_one_its_model_takes():
    for dataset, models in tomllib.loads((ROOT / "configs/baselines/settings.toml").read_text(encoding="utf-8")).items():
        assert dataset in dataset_names()
        for name, settings in models.items():
            assert baseline_for(name, dataset).config == BASELINES[name](**settings).config


# ------------------------------------------------------------------ real data


@pytest.mark.real_data
def test_ease_reaches_its_known_result_on_ml_1m(data_dir):
    data = load_dataset("ml-1m", data_dir, protocol="authors")
    result = EASE(l2=500).fit(data.train).evaluate(data.test)
    assert 0.2749 < result["recall@20"] < 0.2769
    assert 0.2650 < result["ndcg@20"] < 0.2670


@pytest.mark.real_data
def test_popularity_reaches_its_known_result_on_gowalla(data_dir):
    data = load_dataset("gowalla", data_dir, protocol="authors")
    result = Popularity().fit(data.train).evaluate(data.test)
    assert 0.0405 < result["recall@20"] < 0.0430
    assert 0.0300 < result["ndcg@20"] < 0.0330


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "recall", "ndcg", "band"),
    [("popularity", 0.0893, 0.0490, 1e-4), ("itemknn", 0.1258, 0.0763, 1e-3), ("rp3beta", 0.1376, 0.0801, 1e-3),
     ("ease", 0.1288, 0.0793, 1e-3), ("sparse-ease", 0.1322, 0.0823, 1e-3), ("ials", 0.1412, 0.0851, 4e-3), ("bpr", 0.1190, 0.0682, 4e-3)],
)  # fmt: skip
def test_baselines_with_their_settings_reach_what_the_document_says_on_electronics(data_dir, name, recall, ndcg, band):
    data = load_dataset("electronics", data_dir, protocol="authors")
    result = baseline_for(name, "electronics").fit(data.train).evaluate(data.test)
    assert abs(result["recall@20"] - recall) < band
    assert abs(result["ndcg@20"] - ndcg) < band
