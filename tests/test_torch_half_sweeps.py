"""Half-sweeps in PyTorch, on the CPU: against the float64 twin on awkward data, and against Numba sweep by sweep."""

import gc
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import interactions_of, random_interactions
from tests.test_exact import AWKWARD, GENERAL, dense_loss
from ultragcn import UltraGCN, load_dataset, processes, solvers
from ultragcn.config import Config, configuration_for
from ultragcn.errors import MissingDependencyError, UsageError
from ultragcn.kernels import reference
from ultragcn.loss.objective import Objective
from ultragcn.machine import MemoryShortError
from ultragcn.scoring.ranking import ranked_by
from ultragcn.solvers import exact, half_sweeps
from ultragcn.solvers.clusters import cluster_columns

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from ultragcn.kernels import torch_ops  # noqa: E402
from ultragcn.kernels.torch_ops import cells as passes  # noqa: E402
from ultragcn.kernels.torch_ops import rows as newton  # noqa: E402
from ultragcn.solvers.torch_sweeper import TorchSweeper  # noqa: E402

MORE = {
    "more rows than a block": random_interactions(600, 40, 0.1, seed=5),
    "rows of very different lengths": interactions_of(np.random.default_rng(6).random((50, 70)) < np.linspace(0, 1, 50)[:, None] ** 3),
}
DATA = AWKWARD | MORE
NEIGHBOURS = [0.0, 0.5]  # the weight of item-item positives


def objective_of(name, **changes):
    return Objective.of(DATA[name], Config(**GENERAL | changes))


def solver_of(objective, sweeper=None):
    solver = exact.ExactSolver(objective, 0, sweeper)
    solver.start()
    return solver


def copied(state):
    return {name: array.copy() for name, array in state.items()}


def both(objective, side="users"):
    """Return one side of a loss twice, for the twin and for PyTorch, embeddings of both sides, and dampings."""
    users, items = half_sweeps.sides_of(objective)
    moved, frozen = (users, items) if side == "users" else (items, users)
    random = np.random.default_rng(0)
    x, y = (0.4 * random.standard_normal((len(part.l2), 6)).astype(np.float32) for part in (moved, frozen))
    return [replace(moved, sweeper=sweeper) for sweeper in (reference, TorchSweeper("cpu"))], x, y, 0.5 + random.random(len(x), np.float32)


# ------------------------------------------------------------------ against the float64 twin


@pytest.mark.parametrize("neighbours", NEIGHBOURS)
@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("side", ["users", "items"])
@pytest.mark.parametrize("name", DATA)
def test_a_half_sweep_is_that_of_the_twin(name, side, exclude, neighbours):
    sides, x, y, damping = both(objective_of(name, exclude_positives=exclude, item_item_weight=neighbours), side)
    theirs, ours = (half_sweeps.half_sweep(part, x, y, damping) for part in sides)
    np.testing.assert_allclose(ours.x_new, theirs.x_new, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(ours.other_negative, theirs.other_negative, rtol=1e-5)
    for measured in ("loss", "sparse_loss", "predicted"):
        np.testing.assert_allclose(getattr(ours.pending, measured), getattr(theirs.pending, measured), rtol=1e-4, atol=1e-5)
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-6)


@pytest.mark.parametrize("number", [1, 3, "one for each column"])
@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("name", DATA)
def test_a_half_sweep_over_clusters_is_that_of_the_twin(name, exclude, number):
    sides, x, y, damping = both(objective_of(name, exclude_positives=exclude))
    number = len(y) if isinstance(number, str) else min(number, len(y))
    side = sides[0]
    clusters, _ = cluster_columns(x, y, side.column_weight, side.mean_weight, number, np.random.default_rng(0))
    theirs, ours = (half_sweeps.clustered_half_sweep(part, x, y, damping, clusters) for part in sides)
    np.testing.assert_allclose(ours.x_new, theirs.x_new, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(ours.damping, theirs.damping, rtol=1e-6)
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)


@pytest.mark.parametrize("name", DATA)
def test_a_half_sweep_with_quadratic_negatives_is_that_of_the_twin(name):
    objective = objective_of(name)
    sides, x, y, _ = both(objective)
    grams = half_sweeps.grams_of(objective.negative_columns(), y)
    theirs, ours = (half_sweeps.quadratic_half_sweep(side, x, y, grams, 0.3, 0.2) for side in sides)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("negatives", ["full", "clusters"])
def test_however_little_fits_at_a_time_the_steps_are_the_same(monkeypatch, negatives):
    objective = objective_of("rows of very different lengths", exclude_positives=True, negatives=negatives, num_clusters=4)
    first = solver_of(objective)
    first.step()
    state, results = first.state(), []
    for numbers in (2**24, 2**10, 1):  # all rows together; some; each block by itself, its columns fetched at each use
        monkeypatch.setattr(newton, "_HELD", {"cpu": numbers})
        monkeypatch.setattr(passes, "_HELD", {"cpu": numbers})
        solver = exact.ExactSolver(objective, 0, TorchSweeper("cpu"))
        solver.start(copied(state))
        results.append((solver.step(), *solver.embeddings()))
    for loss, x, y in results[1:]:
        assert loss == pytest.approx(results[0][0], rel=1e-6)
        np.testing.assert_allclose(x, results[0][1], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(y, results[0][2], rtol=1e-3, atol=1e-5)


def test_what_is_fetched_at_a_time_is_bounded(monkeypatch):
    fetched, fetch = [], newton.embedding
    monkeypatch.setattr(newton, "embedding", lambda indices, table: fetched.append(indices.numel()) or fetch(indices, table))
    monkeypatch.setattr(newton, "_HELD", {"cpu": 40 * 6})
    side = replace(half_sweeps.users_of(objective_of("more rows than a block")), sweeper=TorchSweeper("cpu"))
    x, y = (0.4 * np.random.default_rng(0).standard_normal((rows, 6)).astype(np.float32) for rows in (600, 40))
    half_sweeps.half_sweep(side, x, y, np.ones(600, np.float32))
    assert sum(fetched) > 10 * 40
    assert max(fetched) <= 40  # the longest row has no more


# ------------------------------------------------------------------ against Numba


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("negatives", ["full", "clusters"])
@pytest.mark.parametrize("name", DATA)
def test_a_sweep_from_the_same_state_has_the_loss_of_numba(name, negatives, exclude):
    objective = objective_of(name, exclude_positives=exclude, negatives=negatives, num_clusters=8)
    ours, theirs = exact.ExactSolver(objective, 0, TorchSweeper("cpu")), solver_of(objective)
    theirs.step()
    for _ in range(3):
        ours.start(copied(theirs.state()))
        assert ours.step() == pytest.approx(theirs.step(), rel=1e-5)


@pytest.mark.parametrize("negatives", ["full", "clusters"])
@pytest.mark.parametrize("name", DATA)
def test_cut_into_shards_a_sweep_has_the_loss_of_numba_and_of_the_twin(monkeypatch, name, negatives):
    monkeypatch.setattr(processes, "_FEW_ROWS", 1)
    objective = objective_of(name, exclude_positives=True, negatives=negatives, num_clusters=8)
    theirs = solver_of(objective)
    theirs.step()
    assert len(theirs._users.share.parts) == 4
    state = theirs.state()
    loss = theirs.step()
    for sweeper in (TorchSweeper("cpu"), reference):
        solver = exact.ExactSolver(objective, 0, sweeper)
        solver.start(copied(state))
        assert solver.step() == pytest.approx(loss, rel=1e-5)


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("negatives", ["full", "clusters"])
def test_on_ml_1m_a_sweep_has_the_loss_of_numba(data_dir, negatives):
    objective = Objective.of(load_dataset("ml-1m", data_dir).train, configuration_for("ml-1m", "exact").replace(negatives=negatives))
    ours, theirs = exact.ExactSolver(objective, 0, TorchSweeper("cpu")), solver_of(objective)
    theirs.step()
    for _ in range(2):
        ours.start(copied(theirs.state()))
        assert ours.step() == pytest.approx(theirs.step(), rel=1e-5)


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("name", DATA)
def test_the_loss_never_increases_and_is_the_expected_loss(name, exclude):
    objective = objective_of(name, exclude_positives=exclude)
    solver, losses, items = solver_of(objective, TorchSweeper("cpu")), [], None
    for _ in range(6):
        losses.append(solver.step())
        users, new_items = solver.embeddings()
        if items is not None:
            assert losses[-1] == pytest.approx(dense_loss(objective, users, items), rel=1e-5)
        items = new_items.copy()
    assert (-np.diff(losses) >= -2e-5 * np.abs(losses[:-1]) - 1e-6).all(), losses


def test_a_training_that_numba_began_goes_on_in_torch_and_back():
    objective = objective_of("plain")
    numba, sweeper = solver_of(objective), TorchSweeper("cpu")
    numba.step()
    ours = exact.ExactSolver(objective, 0, sweeper)
    ours.start(copied(numba.state()))
    ours.step()
    back = exact.ExactSolver(objective, 0)
    back.start(copied(ours.state()))
    numba.step()
    assert back.step() == pytest.approx(numba.step(), rel=1e-5)


@pytest.mark.parametrize("negatives", ["full", "clusters"])
def test_a_model_ends_where_numba_ends(monkeypatch, checkerboard, negatives):
    settings = {"embedding_dim": 8, "negative_weight": 20.0, "l2_user": 0.05, "l2_item": 0.05, "epochs": 20, "seed": 0}
    theirs = UltraGCN(**settings, negatives=negatives).fit(checkerboard)
    monkeypatch.setattr(exact, "choose_sweeper", lambda config: TorchSweeper("cpu"))
    ours = UltraGCN(**settings, negatives=negatives).fit(checkerboard)
    assert ours.history_[-1]["loss"] == pytest.approx(theirs.history_[-1]["loss"], rel=1e-4)
    users = list(range(20))
    assert (ours.recommend(users, top_k=1)[0] == theirs.recommend(users, top_k=1)[0]).all()


# ------------------------------------------------------------------ ranking


def fitted():
    return UltraGCN(embedding_dim=8, epochs=3, seed=0).fit(load_dataset("demo"))


def test_ranked_by_a_device_lists_are_those_of_numba():
    model = fitted()
    users, seen = np.arange(model.train_.num_users), model.train_.matrix
    calls, ranker = [], torch_ops.Ranker("cpu")
    ours, theirs = [], list(model.scorer.rank(users, 20, seen))
    with ranked_by(lambda *given: calls.append(1) or ranker(*given)):
        ours = list(model.scorer.rank(users, 20, seen))
    assert calls
    for (_, items, scores), (_, other_items, other_scores) in zip(ours, theirs, strict=True):
        assert (items == other_items).mean() > 0.999  # an item graph's sums in single precision may round otherwise
        np.testing.assert_allclose(scores, other_scores, rtol=1e-5, atol=1e-5)


def test_few_users_at_a_time_have_the_same_lists(monkeypatch):
    model, ranker = fitted(), torch_ops.Ranker("cpu")
    users, lists = np.arange(model.train_.num_users), []
    for numbers in (2**20, 1):
        monkeypatch.setattr(passes, "_HELD", {"cpu": numbers})
        with ranked_by(ranker):
            lists.append(np.concatenate([items for _, items, _ in model.scorer.rank(users, 10, model.train_.matrix)]))
    assert (lists[0] == lists[1]).all()


def test_a_training_measures_itself_with_the_ranker_of_its_device_and_no_longer(monkeypatch):
    calls, ranker = [], torch_ops.Ranker("cpu")
    monkeypatch.setattr(solvers, "make_ranker", lambda config: lambda *given: calls.append(1) or ranker(*given))
    model = fitted()
    assert len(calls) >= 3
    del calls[:]
    list(model.scorer.rank(np.arange(5), 3))
    assert not calls


@pytest.mark.parametrize(("settings", "on_gpu"), [({"device": "cuda"}, True), ({}, False), ({"device": "cuda", "solver": "sgd"}, False)])
def test_only_an_exact_training_on_a_gpu_ranks_there(monkeypatch, settings, on_gpu):
    assert (solvers.make_ranker(Config(**settings)) is not None) == on_gpu


def test_a_gpu_with_too_little_memory_is_refused_before_training(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (10**9, 10**10))
    with pytest.raises(
        MemoryShortError, match=r"on a GPU needs 4.* GB of memory, but 1.0 GB are free; lower embedding_dim, .* or give device cpu"
    ):
        UltraGCN(embedding_dim=8, epochs=3, device="cuda").fit(load_dataset("demo"))


# ------------------------------------------------------------------ what it is made of


@pytest.mark.parametrize("size", [1, 3, 16, 64])
def test_inverses_are_those_of_numpy(size):
    root = np.random.default_rng(size).standard_normal((5, size, size + 5))
    matrices = root @ root.transpose(0, 2, 1) + np.eye(size)
    found = newton.inverse_about(torch.from_numpy(matrices)).numpy()
    np.testing.assert_allclose(found, np.linalg.inv(matrices), rtol=1e-9, atol=1e-12)


def test_a_direction_without_curvature_does_not_move():
    found = newton.inverse_about(torch.tensor([[[2.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]))
    np.testing.assert_allclose(found, [[[0.5, 0], [0, 0]], [[0, 0], [0, 0]]], atol=1e-29)


def test_padding_is_a_third_at_most():
    lengths = np.arange(2000)
    widths = newton.widths(lengths)
    assert widths[0] == 0
    assert (widths >= lengths).all()
    assert (widths[1:] <= np.maximum(lengths[1:] * 1.5, 1)).all()
    assert len(np.unique(widths)) < 25


def test_products_are_those_of_float32_whatever_the_program_has_set(monkeypatch):
    seen, visit = [], torch_ops.visit_cells
    monkeypatch.setattr(torch_ops, "visit_cells", lambda *given: seen.append(torch.get_float32_matmul_precision()) or visit(*given))
    x = np.ones((1, 6), np.float32)
    torch.set_float32_matmul_precision("medium")
    try:
        for tf32 in (False, True):
            side = replace(half_sweeps.users_of(objective_of("one cell")), sweeper=TorchSweeper("cpu", tf32))
            half_sweeps.half_sweep(side, x, x, x[0, :1])
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == ["highest", "high"]


def test_without_tf32_in_the_settings_a_gpu_does_not_use_it(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert exact.choose_sweeper(Config(device="cuda")).tf32 is False
    assert exact.choose_sweeper(Config(device="cuda", tf32=True)).tf32 is True


def test_arrays_leave_the_device_with_the_side_that_had_them():
    sweeper = TorchSweeper("cpu")
    side = replace(half_sweeps.users_of(objective_of("plain")), sweeper=sweeper)
    x, y = (np.ones((rows, 6), np.float32) for rows in (60, 45))
    half_sweeps.half_sweep(side, x, y, np.ones(60, np.float32))
    kept = len(sweeper._on_device)
    assert kept > 0
    part = side.rows(np.arange(7))
    half_sweeps.half_sweep(part, x[:7], y, np.ones(7, np.float32))
    assert len(sweeper._on_device) > kept
    del part
    gc.collect()
    assert len(sweeper._on_device) == kept


def test_an_unknown_pass_over_the_cells_is_refused():
    with pytest.raises(UsageError, match="cells is 'cuda'; give one of torch, triton"):
        TorchSweeper("cpu", cells="cuda")


def test_without_pytorch_a_gpu_is_refused_with_what_to_install(monkeypatch):
    for module in [name for name in sys.modules if name.startswith(("ultragcn.kernels.torch_ops", "ultragcn.solvers.torch_sweeper"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr("ultragcn.kernels.torch_ops", raising=False)
    monkeypatch.delattr("ultragcn.solvers.torch_sweeper", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"needs PyTorch, which is not installed; .*pip install '.\[torch\]'"):
        exact.choose_device("cuda")


def test_a_training_on_the_cpu_loads_no_pytorch():
    code = (
        "import json, sys\nfrom ultragcn import UltraGCN, load_dataset\n"
        "UltraGCN(embedding_dim=4, epochs=1, device='cpu').fit(load_dataset('demo'))\n"
        "print(json.dumps([name for name in sys.modules if name.split('.')[0] in ('torch', 'triton')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
