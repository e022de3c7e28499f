"""The authors' published functions, run on known inputs: every term, gradient and metric of both golden files."""

import json
from pathlib import Path

import numpy as np
import pytest

from ultragcn import Interactions, evaluate, load_dataset
from ultragcn.config import Config
from ultragcn.data.ids import IdMap
from ultragcn.kernels import reference
from ultragcn.loss.objective import Objective, batch_weights
from ultragcn.loss.weights import DegreeWeights, ItemNeighbors, item_neighbors
from ultragcn.scoring.ranking import rank

GOLDEN = Path(__file__).parent / "golden"
FLOAT64, FLOAT32 = 1e-6, 1e-4


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def config_of(values):
    h = values["hyperparameters"]
    return Config(
        w1=h["w1"], w2=h["w2"], w3=h["w3"], w4=h["w4"], negative_weight=h["negative_weight"], l2_weight=h["gamma"],
        item_item_weight=h["lambda"], num_item_neighbors=values["num_item_neighbors"], embedding_dim=values["embedding_dim"],
    )  # fmt: skip


def relative(ours, theirs):
    theirs = np.asarray(theirs, np.float64)
    return np.abs(np.asarray(ours, np.float64) - theirs).max() / np.abs(theirs).max()


def terms_and_gradients(objective, user_embedding, item_embedding, users, items, negatives, implementation):
    """L, L_I, half norm, total and both full gradients, by the float64 reference or by the float32 PyTorch kernel."""
    config = objective.config
    if implementation == "reference":
        weights = batch_weights(config, objective.beta, objective.neighbors, users, items, negatives, np.concatenate)
        result = reference.batch_loss(user_embedding, item_embedding, users, *weights)
        user_gradient, item_gradient = result.user_gradient, result.item_gradient
    else:
        import torch

        from ultragcn.kernels import torch_ops

        tensor = torch.from_numpy
        beta = DegreeWeights(*map(tensor, objective.beta))
        neighbors = ItemNeighbors(tensor(objective.neighbors.items.astype(np.int64)), tensor(objective.neighbors.weights))
        weights = batch_weights(config, beta, neighbors, *map(tensor, (users, items, negatives)), torch.cat)
        user_embedding, item_embedding = (tensor(table.astype(np.float32)) for table in (user_embedding, item_embedding))
        result = torch_ops.batch_loss(user_embedding, item_embedding, tensor(users), *weights)
        user_gradient = torch.zeros_like(user_embedding).index_add_(0, tensor(users), result.user_gradient)
        item_gradient = result.item_gradient
    # The loss by column: the pair's item, its neighbours, its negatives.
    item_item = result.columns[1 : weights.num_positive].sum()
    main = result.columns.sum() - item_item
    half_norm = ((user_embedding**2).sum() + (item_embedding**2).sum()) / 2
    l2 = config.l2_weight
    return {
        "weighted_bce_L": main,
        "item_item_I": item_item / config.item_item_weight,
        "l2_half_squared_norm": half_norm,
        "total": main + item_item + l2 * half_norm,
        "grad_user": user_gradient + l2 * user_embedding,
        "grad_item": item_gradient + l2 * item_embedding,
    }


@pytest.fixture(scope="module")
def tiny():
    values = golden("tiny")
    user_ids, item_ids = IdMap(np.arange(values["num_users"]), "user"), IdMap(np.arange(values["num_items"]), "item")
    train, test = (Interactions.from_pairs(*np.array(values[split]).T, user_ids, item_ids) for split in ("train", "test"))
    return values, train, test


def test_beta_of_the_tiny_example_is_the_authors(tiny):
    values, train, _ = tiny
    beta = Objective.of(train, config_of(values)).beta
    assert relative(beta.user, values["beta_user"]) < FLOAT64
    assert relative(beta.item, values["beta_item"]) < FLOAT64


def test_neighbours_of_the_tiny_example_are_the_authors_up_to_ties(tiny):
    values, train, _ = tiny
    ours = Objective.of(train, config_of(values)).neighbors
    assert relative(ours.weights, values["item_neighbor_weights"]) < FLOAT64
    for row, theirs in enumerate(values["item_neighbors"]):
        weights = values["item_neighbor_weights"][row]
        # Which of several items of the smallest listed weight is taken is not defined; those above it must agree.
        above = {item for item, weight in zip(theirs, weights, strict=True) if weight > min(weights) * (1 + FLOAT64)}
        assert above <= set(ours.items[row].tolist())


@pytest.mark.parametrize(
    ("implementation", "tolerance"), [("reference", FLOAT64), pytest.param("torch_ops", FLOAT32, marks=pytest.mark.torch)]
)
def test_loss_terms_and_gradients_of_the_tiny_example_are_the_authors(tiny, implementation, tolerance):
    values, train, _ = tiny
    # With the authors' own choice among tied neighbours.
    neighbors = ItemNeighbors(np.array(values["item_neighbors"], np.int32), np.array(values["item_neighbor_weights"], np.float32))
    objective = Objective.of(train, config_of(values))
    vars(objective)["neighbors"] = neighbors  # found before the first use, so never looked for
    arrays = [np.array(values[name]) for name in ("user_embedding", "item_embedding", "batch_users", "batch_items", "negatives")]
    ours = terms_and_gradients(objective, *arrays, implementation)
    for term, theirs in values["loss"].items():
        assert float(ours[term]) == pytest.approx(theirs, rel=tolerance), term
    for gradient in ("grad_user", "grad_item"):
        assert relative(ours[gradient], values[gradient]) < tolerance, gradient
        assert np.linalg.norm(ours[gradient]) == pytest.approx(values[f"{gradient}_norm"], rel=tolerance)


class FixedEmbeddings:
    """A ranker with given embeddings."""

    def __init__(self, train, user_embedding, item_embedding):
        self.train_, self.valid_ = train, None
        self.user_ids, self.item_ids = train.user_ids, train.item_ids
        self.tables = user_embedding, item_embedding

    def rank(self, users, top_k, seen):
        return rank(*(table.astype(np.float32) for table in self.tables), users, top_k, seen)


def assert_metrics(values, model, test):
    top_k = values["metrics"]["top_k"]
    names = ("f1", "precision", "recall", "ndcg")
    ours = evaluate(model, test, [f"{name}@{top_k}" for name in names], dialect="authors")
    for name in names:
        assert ours[f"{name}@{top_k}"] == pytest.approx(values["metrics"][name], rel=FLOAT64), name


def test_metrics_of_the_tiny_example_are_the_authors(tiny):
    values, train, test = tiny
    model = FixedEmbeddings(train, np.array(values["user_embedding"]), np.array(values["item_embedding"]))
    assert_metrics(values, model, test)


def bounds_over_ties(objective, user_embedding, item_embedding, users, items):
    """The least and the largest L_I over all ways to choose among neighbours whose weight ties with the last one listed."""
    num_neighbors = objective.neighbors.items.shape[1]
    more = item_neighbors(objective.train, objective.train.num_items)
    low = high = 0.0
    for user, item in zip(users, items, strict=True):
        weights = more.weights[item].astype(np.float64)
        last = weights[num_neighbors - 1]
        loss = weights * reference.softplus(-item_embedding[more.items[item]] @ user_embedding[user])
        above, tied = weights > last * (1 + FLOAT64), np.abs(weights - last) <= last * FLOAT64
        choice, places = np.sort(loss[tied]), num_neighbors - above.sum()
        low += loss[above].sum() + choice[:places].sum()
        high += loss[above].sum() + choice[::-1][:places].sum()
    return low, high


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("implementation", "tolerance"), [("reference", FLOAT64), pytest.param("torch_ops", FLOAT32, marks=pytest.mark.torch)]
)
def test_loss_gradients_and_metrics_on_electronics_are_the_authors(data_dir, implementation, tolerance):
    values = golden("electronics")
    data = load_dataset("electronics", data_dir, protocol="authors")
    random = np.random.default_rng(11)
    user_embedding = random.standard_normal((values["num_users"], values["embedding_dim"])) * 0.1
    item_embedding = random.standard_normal((values["num_items"], values["embedding_dim"])) * 0.1
    drawn = random.integers(0, len(data.train), 512)
    negatives = random.integers(0, values["num_items"], (512, 75))
    # The batch indexes pairs in file order, which is not ours.
    lines = [list(map(int, line.split())) for line in (data_dir / "electronics/train.txt").read_text().splitlines()]
    pairs = np.array([(line[0], item) for line in lines for item in line[1:]])
    users, items = pairs[drawn].T
    assert users[:8].tolist() == values["batch_users_head"]
    assert items[:8].tolist() == values["batch_items_head"]
    objective = Objective.of(data.train, config_of(values))
    assert relative(objective.beta.user[:8], values["beta_user_head"]) < FLOAT64
    assert relative(objective.beta.item[:8], values["beta_item_head"]) < FLOAT64
    assert relative(objective.neighbors.weights[:8], values["item_neighbor_weights_head"]) < FLOAT64
    assert objective.neighbors.weights.sum(dtype=np.float64) == pytest.approx(values["item_neighbor_weights_sum"], rel=FLOAT64)

    ours = terms_and_gradients(objective, user_embedding, item_embedding, users, items, negatives, implementation)
    for term, theirs in values["loss"].items():
        if term == "item_item_I":
            low, high = bounds_over_ties(objective, user_embedding, item_embedding, users, items)
            assert low * (1 - tolerance) <= theirs <= high * (1 + tolerance)
            assert low * (1 - tolerance) <= float(ours[term]) <= high * (1 + tolerance)
            assert high / low < 1.001
        else:
            assert float(ours[term]) == pytest.approx(theirs, rel=tolerance), term
    for side in ("user", "item"):
        gradient = np.asarray(ours[f"grad_{side}"])
        assert np.linalg.norm(gradient) == pytest.approx(values[f"grad_{side}_norm"], rel=tolerance)
        rows = values[f"grad_{side}_rows"]
        assert relative(gradient[[int(row) for row in rows], :8], list(rows.values())) < tolerance
    assert_metrics(values, FixedEmbeddings(data.train, user_embedding, item_embedding), data.test)
