"""An epoch of the sampled solver against its exact expectation: the loss and the gradient that Adam sees, within their standard errors."""

import numpy as np
import pytest

from tests.conftest import random_interactions
from ultragcn.config import Config
from ultragcn.kernels import reference
from ultragcn.loss.objective import Objective

torch = pytest.importorskip("torch", reason="needs PyTorch")

EPOCHS = 200
STILL = {"learning_rate": 1e-15, "init_std": 0.4, "embedding_dim": 6}
"""Embeddings that do not move, and scores that are not all alike."""
LOSS = {
    "solver": "sgd", "w1": 0.3, "w2": 0.7, "w3": 0.2, "w4": 0.9, "negative_weight": 12.0, "num_negatives": 3, "num_item_neighbors": 3,
    "item_item_weight": 0.5, "l2_user": 0.2, "l2_item": 0.3,
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    """Matrices as small as these are computed by one thread; more would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def solver_of(objective: Objective, seed: int):
    from ultragcn.solvers.sgd import SgdSolver

    solver = SgdSolver(objective, seed)
    solver.start()
    return solver


def expectation(objective: Objective, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The exact loss over all cells in float64, and its gradients."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    positive = objective.positive_matrix().toarray().astype(np.float64)
    negative = objective.negative_rows(objective.train.user_degrees).astype(np.float64) @ objective.negative_columns().T
    if objective.config.exclude_positives:
        negative *= objective.train.matrix.toarray() == 0
    scores = x @ y.T
    loss = (positive * reference.softplus(-scores) + negative * reference.softplus(scores)).sum() + objective.l2_loss(x, y)
    slope = negative * reference.sigmoid(scores) - positive * reference.sigmoid(-scores)
    l2_user, l2_item = objective.l2_users(objective.train.user_degrees), objective.l2_items()
    return loss, slope @ y + l2_user[:, None] * x, slope.T @ x + l2_item[:, None] * y


@pytest.mark.parametrize("exclude_positives", [False, True])
def test_the_mean_loss_of_epochs_is_the_exact_one(exclude_positives):
    train = random_interactions(40, 30, 0.2, seed=3)
    objective = Objective.of(train, Config(**LOSS, **STILL, batch_size=16, exclude_positives=exclude_positives))
    solver = solver_of(objective, seed=1)
    exact, *_ = expectation(objective, *(table.copy() for table in solver.embeddings()))
    losses = np.array([solver.step() for _ in range(EPOCHS)])
    error = losses.std(ddof=1) / np.sqrt(EPOCHS)
    assert 0 < error < 0.01 * exact  # narrow enough to mean something
    assert abs(losses.mean() - exact) < 4 * error


@pytest.mark.parametrize("exclude_positives", [False, True])
def test_the_mean_gradient_that_adam_sees_is_the_exact_one(exclude_positives):
    train = random_interactions(40, 30, 0.2, seed=3)
    objective = Objective.of(train, Config(**LOSS, **STILL, batch_size=len(train), exclude_positives=exclude_positives))
    solver = solver_of(objective, seed=2)
    _, *exact = expectation(objective, *(table.copy() for table in solver.embeddings()))
    seen: dict[str, list[np.ndarray]] = {"user": [], "item": []}
    before = dict.fromkeys(seen, 0.0)
    for _ in range(EPOCHS):
        solver.step()
        state = solver.state()
        for name, gradients in seen.items():
            moment = state[f"{name}.exp_avg"].astype(np.float64)
            gradients.append((moment - 0.9 * before[name]) / 0.1)  # one batch an epoch: Adam's first moment holds one gradient more
            before[name] = moment
    for gradients, wanted in zip(seen.values(), exact, strict=True):
        error = np.std(gradients, axis=0, ddof=1) / np.sqrt(EPOCHS)
        moves = error > 1e-9
        z = (np.mean(gradients, axis=0) - wanted)[moves] / error[moves]
        assert moves.mean() > 0.9
        assert 0.8 < np.mean(z**2) < 1.25
        assert np.abs(z).max() < 5
