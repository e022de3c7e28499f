"""The exact solver: its kernels against their twins, its gradient against finite differences, then laws on awkward data."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from tests.conftest import interactions_of, random_interactions
from ultragcn import UltraGCN, evaluate, load_dataset
from ultragcn.config import Config
from ultragcn.errors import NumericalError, UsageError
from ultragcn.kernels import numba_cpu, reference
from ultragcn.kernels.arguments import Curvature, Entries
from ultragcn.loss.objective import Objective
from ultragcn.solvers import exact, half_sweeps
from ultragcn.solvers.clusters import cluster_columns
from ultragcn.solvers.fold_in import FrozenItems, fold_in

GENERAL = {
    "w1": 0.3, "w2": 0.7, "w3": 0.2, "w4": 0.9, "negative_weight": 6.0, "item_item_weight": 0.5, "num_item_neighbors": 3, "l2_user": 0.2,
    "l2_item": 0.3, "l2_user_exponent": 0.4, "l2_item_exponent": -0.3, "embedding_dim": 6,
}  # fmt: skip


def f32(*arrays):
    return [np.asarray(array, np.float32) for array in arrays]


def dense_loss(objective, x, y):
    """The expected loss, written over all U x I cells."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    scores = x @ y.T
    row, column = objective.negative_rows(objective.train.user_degrees), objective.negative_columns()
    negatives = row.astype(np.float64) @ column.T
    if objective.config.exclude_positives:
        negatives = negatives * (objective.train.matrix.toarray() == 0)
    cells = objective.positive_matrix().toarray() * reference.softplus(-scores) + negatives * reference.softplus(scores)
    return cells.sum() + objective.l2_loss(x, y)


@pytest.mark.parametrize("exclude", [False, True])
def test_conjugate_gradients_end_in_the_newton_step(exclude):
    random = np.random.default_rng(3)
    x, y = (0.7 * random.standard_normal(shape).astype(np.float32) for shape in (7, (90, 7)))
    indices = np.flatnonzero(random.random(90) < 0.3).astype(np.int32)
    positive = random.random(len(indices), np.float32)
    entries = Entries(indices, positive, np.float32(0.3) * positive if exclude else np.empty(0, np.float32))
    gram = np.asarray(y.T @ (y * random.random((90, 1))), np.float32)
    negatives = random.standard_normal(7).astype(np.float32)
    inverse = np.linalg.inv(0.2 / 90 * y.T @ y + np.eye(7)).astype(np.float32)
    work = numba_cpu.row_work_space(7, len(indices))
    work.gradient[:] = negatives
    _, predicted = numba_cpu.newton_row(x, y, entries, Curvature(gram, np.float32(0.5), np.float32(0.3), inverse), 12, work)
    gradient, bounds = negatives.astype(np.float64) + 0.3 * x, np.zeros(len(indices))
    reference.row_system(x, y, entries, gradient, bounds)
    hessian = 0.5 * gram + 0.3 * np.eye(7) + y[indices].T @ (y[indices] * bounds[:, None])
    step = -np.linalg.solve(hessian, gradient)
    np.testing.assert_allclose(work.move, step, rtol=1e-3, atol=1e-4 * np.abs(step).max())
    assert predicted == pytest.approx(-0.5 * step @ gradient, rel=1e-3)


def started(objective, seed=0):
    solver = exact.ExactSolver(objective, seed)
    solver.start()
    return solver


def test_whoever_computes_half_sweeps_the_steps_are_the_same():
    objective = Objective.of(random_interactions(30, 40, 0.15), Config(**GENERAL))
    side = half_sweeps.users_of(objective)
    random = np.random.default_rng(0)
    x, y = (0.3 * random.standard_normal((rows, 6)).astype(np.float32) for rows in (30, 40))
    sides = [replace(side, sweeper=sweeper) for sweeper in (half_sweeps.NUMBA, reference)]
    halves = [half_sweeps.half_sweep(side, x, y, np.ones(30, np.float32)) for side in sides]
    np.testing.assert_allclose(halves[0].x_new, halves[1].x_new, rtol=1e-3, atol=1e-4)
    assert halves[0].loss == pytest.approx(halves[1].loss, rel=1e-5)
    grams = half_sweeps.grams_of(objective.negative_columns(), y)
    mine, theirs = (half_sweeps.quadratic_half_sweep(side, x, y, grams, 0.3, 0.2) for side in sides)
    np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("omega", ["authors", "paper"])
def test_the_loss_that_is_reported_is_the_expected_loss(exclude, omega):
    objective = Objective.of(random_interactions(30, 40, 0.15), Config(**GENERAL, exclude_positives=exclude, omega=omega))
    solver, items = started(objective), None
    for _ in range(4):
        loss, (users, new_items) = solver.step(), solver.embeddings()
        if items is not None:  # it is measured after the users' half of the sweep
            assert loss == pytest.approx(dense_loss(objective, users, items), rel=1e-5)
        items = new_items.copy()


@pytest.mark.parametrize("exclude", [False, True])
def test_a_converged_row_has_no_gradient_by_finite_differences(exclude):
    train = random_interactions(25, 40, 0.2)
    objective = Objective.of(train, Config(**GENERAL, exclude_positives=exclude))
    y = np.random.default_rng(2).standard_normal((40, 6)).astype(np.float32)
    x = fold_in(FrozenItems(objective, y), train.matrix, max_steps=200, tolerance=1e-6).astype(np.float64)
    step, worst = 1e-4, 0.0
    for place in np.ndindex(*x.shape):
        moved = [x.copy(), x.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        worst = max(worst, abs(dense_loss(objective, moved[0], y) - dense_loss(objective, moved[1], y)) / (2 * step))
    # The largest single force on a row is of the order of its pairs' weights, about 1.
    assert worst < 2e-3


AWKWARD = {
    "one user": interactions_of([[1, 0, 1, 1, 0]]),
    "one item": interactions_of([[1], [1], [0]]),
    "one cell": interactions_of([[1]]),
    "a user with every item": interactions_of([[1, 1, 1, 1], [1, 0, 0, 0], [0, 1, 1, 0]]),
    "isolated rows": interactions_of([[0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 1, 0]]),
    "dense": interactions_of(np.ones((12, 9))),
    "plain": random_interactions(60, 45, 0.15, seed=4),
}


@pytest.mark.parametrize(
    "extreme",
    [
        {}, {"negatives": "clusters"}, {"negative_weight": 1e5}, {"w1": 1e3}, {"l2_user": 0.0, "l2_item": 0.0}, {"start": "random"},
        {"start": "spectral"}, {"start": "spectral", "w1": 0.0, "w2": 0.0, "embedding_dim": 70},
    ],
)  # fmt: skip
@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("name", AWKWARD)
def test_the_loss_never_increases_and_embeddings_are_finite(name, exclude, extreme):
    config = Config(**GENERAL | extreme, exclude_positives=exclude)
    losses, solver = [], started(Objective.of(AWKWARD[name], config))
    for _ in range(8):
        losses.append(solver.step())
        for table in solver.embeddings():
            assert np.isfinite(table).all()
    drops = -np.diff(losses)
    assert (drops >= -2e-5 * np.abs(losses[:-1]) - 1e-6).all(), losses


def test_a_sweep_lets_go_of_the_arrays_of_earlier_ones():
    train = random_interactions(40, 30, 0.2)
    solver = started(Objective.of(train, Config(embedding_dim=4)))

    def tables_after_a_sweep():
        solver.step()
        return solver.embeddings()

    gc.collect()
    gc.disable()  # what only the garbage collector would find stays for as long as few objects are made, and on large data they are few
    try:
        tables = [weakref.ref(table) for _ in range(3) for table in tables_after_a_sweep()]
        for _ in range(3):
            solver.step()
        assert [table() for table in tables] == [None] * 6
    finally:
        gc.enable()


def test_the_start_has_weights_of_its_own_and_the_loss_keeps_its():
    train = random_interactions(40, 30, 0.2)
    given = Config(embedding_dim=8, start_uniform_weight=0.3)
    raised = given.replace(w1=given.w1 + 0.3, w3=given.w3 + 0.3, start_uniform_weight=0.0)
    ours, theirs = (list(exact.start_sweeps(Objective.of(train, config), 0)) for config in (given, raised))
    np.testing.assert_array_equal([x for x, _ in ours], [x for x, _ in theirs])
    objective = Objective.of(train, given)
    assert started(objective).step() < dense_loss(objective, *ours[-1])
    another = list(exact.start_sweeps(Objective.of(train, given.replace(start_uniform_weight=0.0)), 0))
    assert np.abs(ours[-1][0] - another[-1][0]).max() > 0.01


@pytest.mark.parametrize(("num_users", "num_items"), [(40, 30), (30, 40)])
def test_the_spectral_start_is_where_the_leading_directions_are_whatever_the_seed(num_users, num_items):
    random = np.random.default_rng(3)
    matrix = random.random((num_users, num_items)) * (random.random((num_users, num_items)) < 0.3)
    _, _, rows = np.linalg.svd(matrix)
    for seed in range(2):
        y = np.random.default_rng(seed).standard_normal((num_items, 5), dtype=np.float32)
        space, _ = np.linalg.qr(exact._leading_directions(sp.csr_matrix(matrix, dtype=np.float32), y.copy(), np.random.default_rng(seed)))
        np.testing.assert_allclose(space @ space.T, rows[:5].T @ rows[:5], atol=1e-5)
        space, _ = np.linalg.qr(exact._leading_directions(sp.csr_matrix(matrix, dtype=np.float32), y.copy(), None))
        assert np.abs(space @ space.T - rows[:5].T @ rows[:5]).max() > 0.01  # two steps of subspace iteration do not get there


def test_the_spectral_start_is_the_same_each_time_also_where_there_are_fewer_directions():
    groups = interactions_of([[item // 6 == user % 5 for item in range(30)] for user in range(100)])
    config = {"start": "spectral", "embedding_dim": 16, "item_graph_weight": 0.0, "epochs": 2}
    first, second = (UltraGCN(**config).fit(groups).user_embedding_ for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("start", ["quadratic", "spectral"])
def test_neighbours_alone_are_learned_from_too(start):
    groups = interactions_of([[item // 6 == user % 5 for item in range(30)] for user in range(100)])
    alone = {"w1": 0.0, "w2": 0.0, "item_item_weight": 1.0, "embedding_dim": 8, "item_graph_weight": 0.0}
    model, other = (UltraGCN(**alone, start=name).fit(groups) for name in (start, "random"))
    assert np.abs(model.user_embedding_).max() > 0.1
    assert model.history_[-1]["loss"] == pytest.approx(other.history_[-1]["loss"])


def test_overflow_is_an_error_that_says_what_to_change():
    config = Config(**GENERAL | {"negative_weight": 1e38, "w1": 1e38})
    solver = exact.ExactSolver(Objective.of(AWKWARD["plain"], config), 0)
    with pytest.raises(NumericalError, match="lower negative_weight"):
        _ = [solver.start(), *(solver.step() for _ in range(5))]


@pytest.mark.torch
def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match="PyTorch finds no GPU here; use --device cpu or auto"):
        exact.choose_device("cuda")


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_unless_a_gpu_is_wanted_the_cpu_computes_by_numba(device):
    assert exact.choose_device(device) == "cpu"
    assert exact.choose_sweeper(Config(device=device)) is half_sweeps.NUMBA


def test_even_users_like_even_items(checkerboard):
    model = UltraGCN(embedding_dim=8, negative_weight=20.0, l2_user=0.05, l2_item=0.05, epochs=20).fit(checkerboard)
    for user in range(20):
        assert model.recommend(user, top_k=1)[0].tolist() == [user]
    # Someone new with even items is recommended the other even ones.
    assert all(item % 2 == 0 for item in model.recommend_for([0, 2, 4, 6, 8, 10], top_k=4)[0])


@pytest.fixture(scope="module")
def demo():
    data = load_dataset("demo")
    return data, UltraGCN(embedding_dim=16, negative_weight=50.0, l2_user=0.3, l2_item=0.3, epochs=40, patience=40).fit(data.train)


def test_the_same_seed_gives_the_same_bits_whatever_the_threads(demo):
    import numba

    data, model = demo
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        again = UltraGCN(model.config).fit(data.train)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(again.user_embedding_, model.user_embedding_)
    np.testing.assert_array_equal(again.item_embedding_, model.item_embedding_)


@pytest.mark.parametrize(("start", "epochs", "share"), [("quadratic", 40, 0.01), ("spectral", 40, 0.003), ("spectral", 3, 0.003)])
def test_another_seed_changes_recall_by_less_than_a_percent(demo, start, epochs, share):
    data, model = demo
    config = model.config.replace(start=start, epochs=epochs)
    mine, theirs = (evaluate(UltraGCN(config.replace(seed=seed)).fit(data.train), data.test)["recall@20"] for seed in range(2))
    assert abs(mine - theirs) < share * mine


def test_folding_in_a_train_user_lands_where_training_put_it(demo):
    data, model = demo
    assert np.quantile(cosines(model.fold_in(data.train.matrix), model.user_embedding_), 0.01) > 0.999


def test_a_user_alone_is_folded_in_as_among_others(demo):
    data, model = demo
    alone = np.concatenate([model.fold_in(data.train.matrix[[user]]) for user in range(20)])
    np.testing.assert_array_equal(alone, model.fold_in(data.train.matrix[:200])[:20])


def test_clusters_of_items_change_no_solution(demo, monkeypatch):
    data, model = demo
    matrix = data.train.matrix[:50]
    objective = Objective.of(data.train, model.config.replace(num_clusters=8))
    some = FrozenItems(objective, model.item_embedding_)
    monkeypatch.setattr("ultragcn.solvers.fold_in._ITEMS_EACH", 10**6)
    every = FrozenItems(objective, model.item_embedding_)
    assert (len(some.shared.centre), len(every.shared.centre)) == (8, data.train.num_items)
    expected = fold_in(every, matrix, max_steps=200, tolerance=1e-5)
    length = np.linalg.norm(expected, axis=1)
    assert (np.linalg.norm(fold_in(some, matrix, max_steps=200, tolerance=1e-4) - expected, axis=1) < 1e-3 * length).all()
    assert (np.linalg.norm(fold_in(some, matrix) - expected, axis=1) < 1e-2 * length).all()


def cosines(x, y):
    return np.einsum("ud,ud->u", x, y) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))


def test_clusters_lead_to_nearly_the_same_place(demo):
    data, model = demo
    clustered = UltraGCN(model.config.replace(negatives="clusters")).fit(data.train)
    mine, theirs = (evaluate(m, data.test)["recall@20"] for m in (model, clustered))
    assert abs(mine - theirs) < 0.03 * mine
    assert not np.array_equal(model.item_embedding_, clustered.item_embedding_)


@pytest.mark.parametrize("exclude", [False, True])
def test_with_a_cluster_for_every_column_the_gradient_is_exact(exclude):
    objective = Objective.of(random_interactions(40, 30, 0.15), Config(**GENERAL, exclude_positives=exclude))
    users, random = half_sweeps.users_of(objective), np.random.default_rng(0)
    x, y = (0.3 * random.standard_normal((rows, 6)).astype(np.float32) for rows in (40, 30))
    clusters, labels = cluster_columns(x, y, users.column_weight, users.mean_weight, 30, random)
    assert sorted(labels) == list(range(30))
    still = np.full(40, 1e6, np.float32)
    ours, theirs = half_sweeps.clustered_half_sweep(users, x, y, still, clusters), half_sweeps.half_sweep(users, x, y, still)
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)
    np.testing.assert_allclose(ours.x_new, theirs.x_new, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("name", AWKWARD)
def test_few_clusters_lower_the_loss_too(name, exclude):
    objective = Objective.of(AWKWARD[name], Config(**GENERAL, exclude_positives=exclude, negatives="clusters", num_clusters=2))
    solver = started(objective)
    before = dense_loss(objective, *solver.embeddings())
    for _ in range(8):
        assert np.isfinite(solver.step())
    assert dense_loss(objective, *solver.embeddings()) < before


def test_over_clusters_a_step_that_makes_a_row_worse_is_not_taken():
    objective = Objective.of(random_interactions(40, 30, 0.15), Config(**GENERAL))
    users, random = half_sweeps.users_of(objective), np.random.default_rng(0)
    x, y = (random.standard_normal((rows, 6)).astype(np.float32) for rows in (40, 30))
    clusters, _ = cluster_columns(x, y, users.column_weight, users.mean_weight, 5, random)

    def half(damping):
        return half_sweeps.clustered_half_sweep(users, x, y, np.asarray(damping, np.float32), clusters)

    half_too_long = half(np.repeat([1e-6, 1.0], 20))
    stayed = (half_too_long.x_new == x).all(axis=1)
    assert stayed[:20].all()
    assert not stayed[20:].any()
    assert half_too_long.loss < half(np.full(40, 1e6)).loss


def test_clusters_are_of_columns_that_score_alike():
    random = np.random.default_rng(1)
    middles = 5 * random.standard_normal((4, 6))
    groups = np.repeat(np.arange(4), 25)
    y = (middles[groups] + 0.01 * random.standard_normal((100, 6))).astype(np.float32)
    x = random.standard_normal((50, 6)).astype(np.float32)
    clusters, labels = cluster_columns(x, y, np.ones((2, 100), np.float32), np.ones(2, np.float32), 20, random)
    assert all(len(set(groups[labels == label])) == 1 for label in set(labels))
    again, _ = cluster_columns(x, y, np.ones((2, 100), np.float32), np.ones(2, np.float32), 20, random, labels)
    np.testing.assert_allclose(again.mass.sum(axis=1), [100, 100])
    assert clusters.spread.max() < 1e-2


def test_rows_that_all_point_one_way_have_clusters_too():
    random = np.random.default_rng(2)
    way = random.standard_normal(64)
    x, y = ((np.abs(random.standard_normal((rows, 1))) * way).astype(np.float32) for rows in (3000, 400))
    clusters, labels = cluster_columns(x, y, np.ones((2, 400), np.float32), np.ones(2, np.float32), 20, random)
    assert len(set(labels)) > 10
    scores = y @ way
    within = [np.ptp(scores[labels == label]) for label in set(labels)]
    assert max(within) < 0.5 * np.ptp(scores)
    assert np.isfinite(clusters.centre).all()
    assert np.isfinite(clusters.spread).all()


@pytest.mark.parametrize(
    ("items", "message"), [([], "at least one item"), ([[]], "at least one item"), (["no"], "unknown item id"), ("x", "as a list")]
)
def test_a_new_user_without_known_items_is_refused(demo, items, message):
    with pytest.raises(UsageError, match=message):
        demo[1].recommend_for(items)


def test_several_new_users_get_several_lists_and_nothing_they_have(demo):
    data, model = demo
    baskets = [model.item_ids.ids[data.train.items_of(user)].tolist() for user in range(4)]
    items, scores = model.recommend_for(baskets, top_k=5)
    assert items.shape == scores.shape == (4, 5)
    for basket, row in zip(baskets, items, strict=True):
        assert not set(basket) & set(row)
