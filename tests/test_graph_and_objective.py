"""Graph weights worked by hand, and the laws of the loss."""

import numpy as np
import pytest

from tests.conftest import interactions_of, random_interactions
from ultragcn.config import Config
from ultragcn.errors import DataError, UsageError
from ultragcn.kernels import reference
from ultragcn.loss.objective import Objective, batch_weights
from ultragcn.loss.weights import cooccurrence_degrees, degree_weights, item_neighbors

# Three users, three items: A = [[1,1,0],[1,1,1],[0,0,1]], so d_u = 2, 3, 1, d_i = 2, 2, 2,
# G = A^T A = [[2,2,1],[2,2,1],[1,1,2]] and g = 5, 5, 4.
HAND = [[1, 1, 0], [1, 1, 1], [0, 0, 1]]


def test_beta_worked_by_hand():
    beta = degree_weights(interactions_of(HAND))
    np.testing.assert_allclose(beta.user, [np.sqrt(3) / 2, np.sqrt(4) / 3, np.sqrt(2) / 1], rtol=1e-6)
    np.testing.assert_allclose(beta.item, [1 / np.sqrt(3)] * 3, rtol=1e-6)


def test_cooccurrence_degrees_worked_by_hand():
    assert cooccurrence_degrees(interactions_of(HAND)).tolist() == [5, 5, 4]


def test_omega_of_the_authors_worked_by_hand():
    items, weights = item_neighbors(interactions_of(HAND), 3, "authors")
    assert items[2].tolist() == [2, 0, 1]
    np.testing.assert_allclose(weights[2], [2 * np.sqrt(5) / 4 / np.sqrt(5), *[1 * np.sqrt(5) / 4 / np.sqrt(6)] * 2], rtol=1e-6)


def test_omega_of_the_paper_worked_by_hand_leaves_the_item_itself_out():
    items, weights = item_neighbors(interactions_of(HAND), 3, "paper")
    assert items[0].tolist() == [1, 2, 0]
    np.testing.assert_allclose(weights[0], [2 / (5 - 2) * np.sqrt(5 / 5), 1 / (5 - 2) * np.sqrt(5 / 4), 0], rtol=1e-6)


def test_isolated_users_and_items_get_finite_weights_and_no_neighbours():
    train = interactions_of([[0, 0, 0], [1, 0, 0], [1, 0, 1]])
    beta = degree_weights(train)
    assert beta.user[0] == 0
    assert np.isfinite(beta.user).all()
    assert np.isfinite(beta.item).all()
    for omega in ("authors", "paper"):
        items, weights = item_neighbors(train, 2, omega)
        assert items[1].tolist() == [1, 1]
        assert weights[1].tolist() == [0, 0]


def test_an_unknown_omega_is_refused():
    with pytest.raises(UsageError, match="did you mean paper"):
        item_neighbors(interactions_of(HAND), 2, "papr")


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(DataError, match="no train interactions"):
        Objective.of(interactions_of(np.zeros((2, 2))), Config())


@pytest.mark.parametrize("exclude_positives", [False, True])
@pytest.mark.parametrize("omega", ["authors", "paper"])
def test_expected_loss_is_the_mean_of_sampled_epochs(exclude_positives, omega):
    """P, N and the batches are two writings of one loss: average the second over all negatives of every pair."""
    config = Config(
        w1=0.3, w2=0.7, w3=0.2, w4=0.9, negative_weight=4, item_item_weight=0.5, num_item_neighbors=2, omega=omega,
        exclude_positives=exclude_positives,
    )  # fmt: skip
    train = random_interactions(6, 9, 0.4, seed=5)
    objective = Objective.of(train, config)
    random = np.random.default_rng(6)
    user_embedding, item_embedding = random.standard_normal((6, 3)), random.standard_normal((9, 3))
    users, items = (ids.astype(np.int64) for ids in train.pairs)
    sampled = 0.0
    for user, item in zip(users, items, strict=True):
        own = train.items_of(user)
        candidates = np.setdiff1d(np.arange(9), own) if exclude_positives else np.arange(9)
        pair = np.array([user]), np.array([item]), candidates[None, :]
        weights = batch_weights(config, objective.beta, objective.neighbors, *pair, np.concatenate)
        sampled += reference.batch_loss(user_embedding, item_embedding, pair[0], *weights).columns.sum()
    scores = user_embedding @ item_embedding.T
    row, column = objective.negative_rows(objective.train.user_degrees), objective.negative_columns()
    negatives = row.astype(np.float64) @ column.T
    if exclude_positives:
        negatives *= train.matrix.toarray() == 0
    expected = (objective.positive_matrix().toarray() * reference.softplus(-scores) + negatives * reference.softplus(scores)).sum()
    assert expected == pytest.approx(sampled, rel=1e-5)


def test_l2_counts_once_a_batch():
    train = random_interactions(10, 10, 0.5)
    objective = Objective.of(train, Config(batch_size=7, l2_weight=0.01, solver="sgd"))
    once_a_batch = 0.01 * -(-len(train) // 7)
    assert objective.l2_strengths == pytest.approx((once_a_batch, once_a_batch))


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 1.0])
def test_l2_grows_with_a_power_of_the_degree_at_the_same_mean(exponent):
    train = random_interactions(40, 30, 0.3)
    objective = Objective.of(train, Config(l2_user=0.3, l2_item=0.7, l2_user_exponent=exponent, l2_item_exponent=exponent))
    for rows, degrees, mean in ((objective.l2_users(train.user_degrees), train.user_degrees, 0.3),
                                (objective.l2_items(), train.item_degrees, 0.7)):  # fmt: skip
        assert rows.mean() == pytest.approx(mean, rel=1e-5)
        assert np.ptp(rows / np.maximum(degrees, 1.0) ** exponent) < 1e-5


@pytest.mark.real_data
def test_the_cooccurrence_graph_of_gowalla_has_the_diagonal_first_and_no_dense_matrix(data_dir):
    from ultragcn import load_dataset

    train = load_dataset("gowalla", data_dir, protocol="authors").train
    items, weights = item_neighbors(train, 10)
    assert (items[:, 0] == np.arange(train.num_items)).mean() > 0.99
    assert (np.diff(weights, axis=1) <= 0).all()
