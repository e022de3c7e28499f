"""The training loop and what it drives: it knows a solver by its verbs alone, and every solver goes on as if nothing had happened."""

import numpy as np
import pytest

from tests.conftest import random_interactions
from ultragcn.config import Config
from ultragcn.data.split import hold_out
from ultragcn.loss.objective import Objective
from ultragcn.models.lightgcn import LightGCN, PairwiseSolver
from ultragcn.progress import Silent
from ultragcn.solvers import Sizes, exact, make_solver
from ultragcn.training.checkpoint import Checkpoint
from ultragcn.training.course import Course
from ultragcn.training.loop import train

SMALL = {"embedding_dim": 6, "negative_weight": 20.0, "device": "cpu", "num_negatives": 5, "batch_size": 64}


class Scripted:
    """A solver that has a loss for each epoch, and one number as embeddings: its epoch."""

    unit, tolerance = "epoch", 0.1

    def __init__(self, losses, every=1):
        self.losses, self.every, self.epoch = losses, every, 0

    def step(self):
        self.epoch += 1
        return self.losses[self.epoch - 1]

    def embeddings(self):
        return np.array([self.epoch]), np.array([-self.epoch])

    def is_due(self, epoch):
        return epoch % self.every == 0


def trained(solver, values=None, **limits):
    course, placed, seen = Course(0), [], []

    def measure():
        return {"recall@20": values[int(placed[-1][0][0]) - 1], "ndcg@20": 0.0}

    ended = train(
        solver, course, placed.append, None if values is None else measure, started=0.0, show=Silent(),
        checkpoints=Checkpoint(None, None, {}, ()), on_epoch=seen.append, **limits,
    )  # fmt: skip
    assert seen == course.history
    return ended, course, [int(user[0]) for user, _ in placed]


def test_the_best_epoch_is_kept_and_patience_ends_training():
    ended, course, placed = trained(Scripted([1.0] * 9), [0.1, 0.3, 0.2, 0.3, 0.25, 0.9], epochs=9, patience=3)
    assert (ended, course.best_epoch, course.best, course.without_better) == ("patience", 2, 0.3, 3)
    assert [int(table[0]) for table in course.kept] == [2, -2]
    assert placed == [1, 2, 3, 4, 5]
    assert list(course.history[0]) == ["epoch", "seconds", "loss", "recall@20", "ndcg@20"]


def test_epochs_that_are_not_due_are_not_measured_but_the_last_one_is():
    ended, course, placed = trained(Scripted([1.0] * 8, every=3), [0, 0, 0.5, 0, 0, 0.4, 0, 0.6], epochs=8, patience=3)
    assert (ended, course.best_epoch) == ("epochs", 8)
    assert [record["epoch"] for record in course.history if "recall@20" in record] == [3, 6, 8]
    assert placed == [1, 2, 3, 6, 8]  # up to the first value the latest is kept, in case that training is interrupted


def test_without_held_out_pairs_the_loss_ends_training_and_the_last_epoch_is_kept():
    # A loss is better where it is lower by a tenth than the best so far.
    ended, course, _ = trained(Scripted([10.0, 9.5, 8.9, 8.8, 8.7, 1.0]), epochs=9, patience=2)
    assert (ended, course.best_epoch, course.best) == ("patience", 5, -8.9)


@pytest.mark.parametrize("solver", ["exact", "sgd"])
def test_a_solver_whose_objective_changes_goes_on_as_one_that_began_with_its_state(solver, monkeypatch):
    if solver == "sgd":
        pytest.importorskip("torch")
    interactions = random_interactions(40, 30, 0.2)
    config = Config(**SMALL, solver=solver, l2_user=0.1, l2_item=0.1)
    first = Objective.of(interactions, config)
    second = first.with_l2(config.replace(l2_user=0.9, l2_item=0.7, l2_item_exponent=0.5))
    changed, other = make_solver(first, 3), make_solver(second, 3)
    changed.start()
    before = changed.step()
    state = {name: array.copy() for name, array in changed.state().items() if not name.startswith("pending.")}
    other.start(state)
    monkeypatch.setattr(exact, "sides_of", None)  # neither P nor its transpose is made again
    changed.change(second)
    losses = [(changed.step(), other.step()) for _ in range(3)]
    assert all(ours == theirs for ours, theirs in losses)
    assert losses[0][0] != before
    for ours, theirs in zip(changed.embeddings(), other.embeddings(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert changed.epoch == other.epoch == 4


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("dim", [4, 64])
def test_the_memory_that_is_predicted_is_that_of_the_arrays_held(dim, exclude):
    interactions = random_interactions(800, 500, 0.03)
    config = Config(embedding_dim=dim, exclude_positives=exclude)
    solver = exact.ExactSolver(Objective.of(interactions, config), 0)
    solver.start()
    solver.step()
    held = {id(array): array.nbytes for part in (solver, solver._users, solver._items, solver._pending) for array in vars(part).values()
            if isinstance(array, np.ndarray)}  # fmt: skip
    predicted = solver.memory(Sizes(interactions.num_users, interactions.num_items, len(interactions)), config)
    assert sum(held.values()) < predicted < 4 * sum(held.values())


@pytest.fixture(scope="module")
def held_out():
    return hold_out(random_interactions(60, 40, 0.3), 0)


LIGHT = {"embedding_dim": 8, "epochs": 8, "evaluate_every": 2, "learning_rate": 0.05, "device": "cpu"}


def test_an_interrupted_lightgcn_keeps_its_best_epoch_so_far(held_out, monkeypatch, tmp_path):
    pytest.importorskip("torch")
    whole = LightGCN(**LIGHT | {"epochs": 4}).fit(*held_out)
    step = PairwiseSolver.step

    def interrupted(solver):
        if solver.epoch == 5:
            raise KeyboardInterrupt
        return step(solver)

    monkeypatch.setattr(PairwiseSolver, "step", interrupted)
    model = LightGCN(**LIGHT)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*held_out)
    assert (model.stopped_, len(model.history_), model.best_epoch_) == ("interrupted", 5, whole.best_epoch_)
    np.testing.assert_array_equal(model.item_embedding_, whole.item_embedding_)
    assert LightGCN.load(model.save(tmp_path)).stopped_ == "interrupted"


def test_lightgcn_has_the_history_and_the_ends_of_every_training(held_out):
    pytest.importorskip("torch")
    model = LightGCN(**LIGHT | {"patience": 1, "epochs": 60}).fit(*held_out)
    assert list(model.history_[1]) == ["epoch", "seconds", "loss", "recall@20", "ndcg@20"]
    assert model.stopped_ == "patience"
    assert [("recall@20" in record) for record in model.history_[:4]] == [False, True, False, True]
    assert LightGCN(**LIGHT).fit(held_out[0]).stopped_ == "epochs"


def test_lightgcn_goes_on_from_its_state_to_the_same_bits(held_out):
    pytest.importorskip("torch")
    settings = LightGCN(**LIGHT, schedule="cosine").config
    whole, again = (PairwiseSolver(held_out[0], settings, 0) for _ in range(2))
    whole.start()
    _ = [whole.step() for _ in range(2)]
    state = {name: array.copy() for name, array in whole.state().items()}
    again.start(state)
    assert [again.step() for _ in range(2)] == [whole.step() for _ in range(2)]
    for ours, theirs in zip(again.embeddings(), whole.embeddings(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_where_l2_rises_two_values_far_below_the_best_end_training():
    course = Course(0, l2=0.1)
    for value in (0.5, 0.46, 0.44, 0.46, 0.44):
        course.note(value)
        assert not course.is_lost
    course.note(0.43)
    assert course.is_lost
    given = Course(0)
    for value in (0.5, 0.1, 0.1):
        given.note(value)
    assert not given.is_lost
