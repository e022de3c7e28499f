"""What UltraGCN does besides the contract of every model (`test_contract.py`)."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from tests.conftest import interactions_of, random_interactions
from ultragcn import Interactions, UltraGCN, evaluate, load_dataset
from ultragcn.data.ids import IdMap
from ultragcn.errors import NotFittedError, NumericalError, UsageError
from ultragcn.models import lists
from ultragcn.models.popularity import Popularity

SRC = Path(__file__).parents[1] / "src"
QUICK = {
    "embedding_dim": 8, "epochs": 30, "learning_rate": 0.02, "batch_size": 64, "num_negatives": 20, "negative_weight": 20,
    "init_std": 0.1, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module", params=["exact", "sgd"])
def fitted(request):
    size = 20
    dense = (np.add.outer(np.arange(size), np.arange(size)) % 2 == 0) & ~np.eye(size, dtype=bool)
    return UltraGCN(**QUICK | {"epochs": 100, "l2_weight": 0.01, "patience": 100, "solver": request.param}).fit(interactions_of(dense))


def test_string_ids_survive_saving_exactly(tmp_path):
    users, items = ["007", "Zoë", "a b", "a b"], ["x", "y", "", "x"]
    model = UltraGCN(**QUICK | {"epochs": 2}).fit(Interactions.from_pairs(users, items))
    loaded = UltraGCN.load(model.save(tmp_path))
    assert loaded.user_ids.ids.tolist() == ["007", "Zoë", "a b"]
    assert loaded.item_ids.ids.tolist() == ["", "x", "y"]


def test_a_damaged_or_missing_model_is_one_sentence(fitted, tmp_path):
    with pytest.raises(UsageError, match=r"model.safetensors is missing"):
        UltraGCN.load(tmp_path)
    file = fitted.save(tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UsageError, match="damaged"):
        UltraGCN.load(tmp_path)


@pytest.mark.parametrize("exclude_positives", [False, True])
def test_the_same_seed_gives_the_same_embeddings_and_another_seed_others(exclude_positives):
    train = random_interactions(30, 25, 0.3)
    settings = QUICK | {"epochs": 3, "exclude_positives": exclude_positives}
    same, again, other = (UltraGCN(**settings, seed=seed).fit(train).user_embedding_ for seed in (1, 1, 2))
    np.testing.assert_array_equal(same, again)
    assert not np.allclose(same, other)


def test_an_unseeded_model_records_the_seed_it_drew():
    train = random_interactions(10, 10, 0.4)
    model = UltraGCN(**QUICK | {"epochs": 2}, seed=None).fit(train)
    again = UltraGCN(**QUICK | {"epochs": 2}, seed=model.seed_).fit(train)
    np.testing.assert_array_equal(model.item_embedding_, again.item_embedding_)


@pytest.mark.parametrize("dense", [[[1]], [[1, 1, 1]], [[1], [1], [1]], [[1, 0, 0], [0, 0, 0]], [[1, 1], [1, 1]], [[1, 0, 1], [1, 1, 1]]])
@pytest.mark.parametrize("exclude_positives", [False, True])
@pytest.mark.parametrize("solver", ["exact", "sgd"])
def test_awkward_data_give_finite_embeddings(dense, exclude_positives, solver):
    model = UltraGCN(**QUICK | {"epochs": 3, "solver": solver, "exclude_positives": exclude_positives}).fit(interactions_of(dense))
    assert np.isfinite(model.user_embedding_).all()
    assert np.isfinite(model.item_embedding_).all()


@pytest.mark.torch
def test_a_loss_beyond_float32_says_what_to_change():
    with pytest.raises(NumericalError, match="lower learning_rate"):
        UltraGCN(**QUICK | {"learning_rate": 1e30, "solver": "sgd"}).fit(random_interactions(10, 10, 0.4))


@pytest.mark.parametrize("model", [UltraGCN, Popularity])
def test_a_data_set_in_the_place_of_held_out_pairs_is_refused_with_what_was_meant(model):
    data = load_dataset("demo")
    with pytest.raises(UsageError, match=r"fit takes held-out pairs, such as data.valid, not a whole Dataset"):
        model().fit(data.train, data)
    with pytest.raises(UsageError, match=r"evaluate takes interactions, such as data.test, not a Dataset"):
        evaluate(model(), data)


@pytest.mark.parametrize("name", ["graph", "paper", "ItemKNN", "BPR"])
def test_no_kernel_is_compiled_while_the_clock_of_training_runs(name):
    # In a process of its own: in this one, other tests have had them compiled.
    code = """
import sys
from numba.core.dispatcher import Dispatcher
from ultragcn import UltraGCN, load_dataset
from ultragcn.models import registry, ultragcn
from ultragcn.solvers import Sizes

def compiled():
    modules = [module for name, module in sys.modules.items() if name.startswith("ultragcn.kernels.numba_cpu")]
    kernels = {kernel for module in modules for kernel in vars(module).values() if isinstance(kernel, Dispatcher)}
    return {(kernel.__name__, str(types)) for kernel in kernels for types in kernel.signatures}

data = load_dataset("demo")
if sys.argv[1] in ("graph", "paper"):
    model = UltraGCN(epochs=2) if sys.argv[1] == "graph" else UltraGCN(epochs=2, item_graph_weight=0.0, item_item_weight=0.0)
    train = data.train
    ultragcn._compile_kernels(model.config, Sizes(train.num_users, train.num_items, len(train)))
else:
    model = getattr(registry, sys.argv[1])()
    model._prepare()
before = compiled()
assert before
model.fit(data.train, data.valid)
assert compiled() == before, compiled() - before
"""
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(SRC)})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [("embedding_dim", 0, "1 or more"), ("epochs", "abc", "whole number"), ("learning_rate", float("nan"), "above 0"),
     ("batch_size", 2.5, "whole number"), ("exclude_positives", 3, "true or false"), ("solver", "sdg", "did you mean sgd"),
     ("w1", -1, "0 or more"), ("seed", True, "whole number"), ("select_by", "recall", "name@K")],
)  # fmt: skip
def test_a_hyper_parameter_out_of_range_is_refused_with_what_is_allowed(name, value, allowed):
    with pytest.raises(UsageError, match=allowed):
        UltraGCN(**{name: value}).fit(interactions_of([[1]]))


def test_a_seed_is_kept_to_its_last_digit():
    for given in (2**53 + 1, str(2**53 + 1)):
        assert UltraGCN(seed=given).config.seed == 2**53 + 1


def test_a_misspelt_hyper_parameter_gets_the_nearest_name_suggested():
    with pytest.raises(UsageError, match="did you mean embedding_dim"):
        UltraGCN(embeding_dim=3)


def test_the_epoch_kept_is_the_best_on_validation_and_patience_ends_training():
    data = load_dataset("demo")
    changes = {"batch_size": 4096, "patience": 2, "evaluate_every": 1, "epochs": 200, "item_graph_weight": 0.2}
    model = UltraGCN(**QUICK | changes).fit(data.train, data.valid)
    values = [record["recall@20"] for record in model.history_]
    assert model.best_epoch_ == 1 + int(np.argmax(values))
    assert model.stopped_ == "patience"
    assert len(values) == model.best_epoch_ + 2
    assert evaluate(model, data.valid)["recall@20"] == values[model.best_epoch_ - 1]


@pytest.mark.parametrize("solver", ["exact", "sgd"])
def test_without_held_out_pairs_the_last_epoch_is_kept(solver):
    last = {}

    def keep(record):
        last[0] = model.item_embedding_.copy()

    # One that learns so fast that its loss goes up and down.
    quick = QUICK | {"epochs": 25, "patience": 25, "learning_rate": 0.5, "l2_user": 0.2, "l2_item": 0.2, "solver": solver}
    model = UltraGCN(**quick).fit(random_interactions(30, 30, 0.3))
    losses = [record["loss"] for record in model.history_]
    assert int(np.argmin(losses)) + 1 < len(losses) == 25 if solver == "sgd" else len(losses) > 3
    model.fit(random_interactions(30, 30, 0.3), on_epoch=keep)
    assert model.best_epoch_ == len(model.history_)
    np.testing.assert_array_equal(model.item_embedding_, last[0])


@pytest.mark.torch
def test_a_fit_that_fails_leaves_no_model_of_other_data():
    model = UltraGCN(**QUICK).fit(random_interactions(20, 20, 0.3))
    model.config = model.config.replace(solver="sgd", learning_rate=1e30)
    with pytest.raises(NumericalError):
        model.fit(random_interactions(40, 40, 0.3))
    with pytest.raises(NotFittedError):
        model.recommend(30)


def test_new_users_are_the_same_however_their_matrix_is_written(fitted):
    matrix = fitted.train_.matrix[:3]
    users, items = matrix.nonzero()
    back = np.concatenate((np.arange(len(users))[::-1], [0]))  # columns descending, and a pair twice
    order = np.argsort(users[back], kind="stable")
    counts = np.bincount(users[back], minlength=3)
    written = sp.csr_matrix((np.full(len(back), 2.0), items[back][order], np.concatenate(([0], np.cumsum(counts)))), shape=matrix.shape)
    np.testing.assert_array_equal(fitted.fold_in(written), fitted.fold_in(matrix))
    with pytest.raises(UsageError, match="fold_in takes a SciPy sparse matrix, users by items, not a list; recommend_for takes ids"):
        fitted.fold_in([[1, 2]])
    assert fitted.fold_in(matrix[:0]).shape == (0, fitted.config.embedding_dim)
    with pytest.raises(UsageError, match="a column for each of the"):
        fitted.fold_in(sp.csr_matrix((1, matrix.shape[1] + 1)))


def test_an_interrupt_leaves_the_best_model_so_far():
    def interrupt(record):
        if record["epoch"] == 3:
            raise KeyboardInterrupt

    model = UltraGCN(**QUICK)
    with pytest.raises(KeyboardInterrupt):
        model.fit(random_interactions(20, 20, 0.3), on_epoch=interrupt)
    assert model.stopped_ == "interrupted"
    assert model.recommend(0, top_k=3)[0].shape == (3,)


def test_the_pairs_of_a_user_and_a_list_of_items_can_be_looked_at_without_a_warning():
    ids = IdMap(np.arange(5), "id")
    for users, items in ((3, [1]), (3, [1, 2]), ([3], 1), (3, 1), ([1, 2], [3, 4])):
        _, rows, columns = lists.pairs_of(ids, ids, users, items)
        assert rows.flags.writeable  # which NumPy would warn of
        assert columns.flags.writeable
        assert rows.tolist() == np.broadcast_to(users, columns.shape).tolist()
