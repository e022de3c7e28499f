"""The scorer: its lists, its pair scores and the parts of a score agree with each other and with plain sums."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from ultragcn.kernels import numba_cpu
from ultragcn.scoring.scorer import OwnedScorer, Scorer
from ultragcn.scoring.similar import Directions, Together

USERS, ITEMS, DIM = 7, 23, 4


def made(with_graph=True, with_bias=True) -> Scorer:
    random = np.random.default_rng(0)
    x, y = (random.standard_normal((rows, DIM)).astype(np.float32) for rows in (USERS, ITEMS))
    owned = sp.csr_matrix((random.random((USERS, ITEMS)) < 0.3).astype(np.float32))
    graph = sp.random(ITEMS, ITEMS, 0.3, "csr", np.float32, 0)
    bias = random.standard_normal(ITEMS).astype(np.float32)
    return Scorer(x, y, owned, bias if with_bias else None, graph if with_graph else None, 0.4 if with_graph else 0.0)


def dense(scorer: Scorer) -> np.ndarray:
    whole = scorer.user_embedding.astype(np.float64) @ scorer.item_embedding.T
    if scorer.item_graph is not None:
        whole += scorer.scale * (scorer.owned @ scorer.item_graph).toarray()
    return whole if scorer.item_bias is None else whole + scorer.item_bias


def lists(scorer, *arguments):
    blocks = list(scorer.rank(*arguments))
    return np.concatenate([items for _, items, _ in blocks]), np.concatenate([values for _, _, values in blocks])


@pytest.mark.parametrize("with_graph", [True, False])
@pytest.mark.parametrize("with_bias", [True, False])
def test_lists_are_those_of_the_plain_sum(with_graph, with_bias):
    scorer = made(with_graph, with_bias)
    whole = dense(scorer)
    items, values = lists(scorer, np.arange(USERS), ITEMS)
    assert (items == np.argsort(-whole, axis=1, kind="stable")).all()
    np.testing.assert_allclose(values, -np.sort(-whole, axis=1), rtol=1e-5, atol=1e-5)


def test_candidates_alone_are_listed_in_the_order_of_the_whole_list():
    scorer, candidates = made(), np.array([1, 4, 5, 17, 22])
    whole, _ = lists(scorer, np.arange(USERS), ITEMS, scorer.owned)
    some, values = lists(scorer, np.array([3, 0]), 6, scorer.owned, candidates)
    for user, items, own in zip([3, 0], some, values, strict=True):
        wanted = [item for item in whole[user] if item in candidates]
        assert items[: len(wanted)].tolist() == wanted
        assert (items[len(wanted) :] == -1).all()
        assert np.isneginf(own[len(wanted) :]).all()


def test_the_score_of_a_pair_is_the_number_that_ranks_and_the_sum_of_its_parts():
    scorer = made()
    items, values = lists(scorer, np.arange(USERS), 5)
    users, listed = np.repeat(np.arange(USERS), 5), items.ravel()
    order = np.random.default_rng(1).permutation(len(users))
    found = scorer.scores(users[order], listed[order])
    assert (found == values.ravel()[order]).all()
    parts = scorer.parts(users[order], listed[order])
    assert set(parts) == {"embeddings", "item graph", "trend"}
    np.testing.assert_allclose(sum(parts.values()), found, rtol=1e-5, atol=1e-5)


def test_the_scores_of_many_pairs_are_those_of_the_lists_to_the_last_bit():
    random, users, items = np.random.default_rng(2), 90, 700
    tables = (random.standard_normal((rows, 64)).astype(np.float32) for rows in (users, items))
    owned = sp.csr_matrix((random.random((users, items)) < 0.05).astype(np.float32))
    graph = sp.random(items, items, 0.1, "csr", np.float32, 0)
    scorer = Scorer(*tables, owned, random.standard_normal(items).astype(np.float32), graph, 0.4)
    listed, values = lists(scorer, np.arange(users), 12)
    pairs = random.permutation(users * 12)
    found = scorer.scores(np.repeat(np.arange(users), 12)[pairs], listed.ravel()[pairs])
    assert (found == values.ravel()[pairs]).all()
    assert scorer.scores(np.zeros(0, int), np.zeros(0, int)).shape == (0,)


@pytest.mark.parametrize("with_ties", [True, False])
def test_a_thousand_users_alone_get_the_lists_of_all_together_to_the_last_bit(with_ties):
    random, users, items = np.random.default_rng(3), 1000, 1300
    if with_ties:
        tables = [random.integers(-2, 3, (rows, 8)).astype(np.float32) for rows in (users, items)]
    else:
        tables = [random.standard_normal((rows, 32)).astype(np.float32) for rows in (users, items)]
    owned = sp.csr_matrix((random.random((users, items)) < 0.02).astype(np.float32))
    graph = sp.random(items, items, 0.02, "csr", np.float32, 0)
    if with_ties:
        graph.data = np.ceil(2 * graph.data)
    scorer = Scorer(*tables, owned, item_graph=graph, graph_weight=0.5)
    if with_ties:
        vars(scorer)["unit_scale"] = 2.0
    together = lists(scorer, np.arange(users), 20, owned)
    for user in range(users):
        alone = lists(scorer, np.array([user]), 20, owned)
        np.testing.assert_array_equal(alone[0][0], together[0][user])
        np.testing.assert_array_equal(alone[1][0], together[1][user])
    if with_ties:
        assert (np.diff(together[1], axis=1) == 0).any()


def test_one_user_sets_no_limit_and_starts_no_thread(monkeypatch):
    def refuse(*_):
        raise AssertionError("a lone call needs no other thread and no BLAS")

    scorer = made()
    assert scorer.scale > 0  # is found once
    monkeypatch.setattr(numba_cpu.threads, "blas_threads", refuse)
    monkeypatch.setattr(numba_cpu.threads, "ThreadPoolExecutor", refuse)
    monkeypatch.setattr(numba_cpu.threads, "_pool", None)
    monkeypatch.setattr(numba_cpu.threads, "num_threads", lambda: 8)
    lists(scorer, np.array([3]), 5, scorer.owned)
    scorer.scores(np.array([3, 3]), np.array([1, 2]))
    Directions(scorer.item_embedding).nearest(np.array([4]), 5)
    Together(scorer.owned).nearest(np.array([4]), 5)
    with pytest.raises(AssertionError, match="a lone call"):
        lists(scorer, np.arange(USERS), 5)


def test_new_users_are_ranked_with_the_scale_of_the_users_of_training():
    scorer = made()
    rows = np.array([2, 5])
    others = scorer.of_users(scorer.user_embedding[rows], scorer.owned[rows])
    assert others.scale == scorer.scale
    for mine, theirs in zip(lists(others, np.arange(2), 8), lists(scorer, rows, 8), strict=True):
        assert (mine == theirs).all()


def test_another_weight_is_another_scorer_and_the_first_stays_as_it_was():
    scorer = made()
    before = lists(scorer, np.arange(USERS), 4)
    heavier = scorer.with_graph_weight(3.0)
    assert heavier.scale == pytest.approx(scorer.scale * 3.0 / 0.4)
    without = scorer.with_graph_weight(0.0).with_item_bias(None)
    np.testing.assert_allclose(
        lists(without, np.arange(USERS), ITEMS)[1], -np.sort(-(without.user_embedding @ without.item_embedding.T)), rtol=1e-5
    )
    for mine, theirs in zip(lists(scorer, np.arange(USERS), 4), before, strict=True):
        assert (mine == theirs).all()
    with pytest.raises(AttributeError):
        scorer.graph_weight = 1.0


def test_a_scorer_of_owned_items_agrees_with_the_product_it_is_made_of():
    weights, owned = sp.random(ITEMS, ITEMS, 0.4, "csr", np.float32, 1), made().owned
    scorer = OwnedScorer(lambda matrix: (matrix @ weights).toarray(), owned)
    whole = (owned @ weights).toarray()
    items, _ = lists(scorer, np.arange(USERS), ITEMS, owned, np.array([0, 7, 9]))
    for user in range(USERS):
        allowed = [item for item in (0, 7, 9) if owned[user, item] == 0]
        assert items[user][items[user] >= 0].tolist() == sorted(allowed, key=lambda item: (-whole[user, item], item))
    np.testing.assert_allclose(scorer.scores(np.arange(USERS), np.arange(USERS)), whole[np.arange(USERS), np.arange(USERS)])


@pytest.mark.parametrize("candidates", [None, np.array([1, 4, 5, 17, 22])])
def test_users_who_have_nothing_are_ranked_by_popularity_where_it_is_known(candidates):
    plain = made()
    owned = plain.owned.toarray()
    owned[[2, 5]] = 0
    popularity = np.random.default_rng(1).integers(0, 9, ITEMS).astype(np.float32)
    scorer = replace(plain, owned=sp.csr_matrix(owned), popularity=popularity)
    without = replace(scorer, popularity=None)
    asked = np.array([5, 0, 2, 6, 5, 1])
    items, values = lists(scorer, asked, 6, None, candidates)
    others, theirs = lists(without, asked, 6, None, candidates)
    among = np.arange(ITEMS) if candidates is None else candidates
    wanted = among[np.argsort(-popularity[among], kind="stable")][:6].tolist()
    for row, user in enumerate(asked):
        listed = items[row][items[row] >= 0]
        if user in (2, 5):
            assert listed.tolist() == wanted
            np.testing.assert_array_equal(values[row][: len(listed)], popularity[listed])
        else:
            np.testing.assert_array_equal(items[row], others[row])
            np.testing.assert_array_equal(values[row], theirs[row])
    np.testing.assert_array_equal(scorer.scores(np.full(ITEMS, 5), np.arange(ITEMS)), popularity)
    users, columns = np.array([5, 0, 2]), np.array([3, 3, 7])
    np.testing.assert_allclose(sum(scorer.parts(users, columns).values()), scorer.scores(users, columns), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_a_scorer_of_owned_items_ranks_by_popularity_where_all_scores_are_equal(level):
    weights = np.random.default_rng(1).random((ITEMS, ITEMS)).astype(np.float32)
    weights[4] = level  # having item 4 alone says nothing of any other
    owned = made().owned.toarray()
    owned[2], owned[5] = 0, 0
    owned[5, 4] = 1
    popularity = np.arange(ITEMS, dtype=np.float32) % 7
    plain = OwnedScorer(lambda matrix: matrix @ weights, sp.csr_matrix(owned))
    scorer = replace(plain, popularity=popularity)
    items, values = lists(scorer, np.arange(USERS), 5, sp.csr_matrix(owned))
    before, numbers = lists(plain, np.arange(USERS), 5, sp.csr_matrix(owned))
    for user in range(USERS):
        if user in (2, 5):
            wanted = [item for item in np.argsort(-popularity, kind="stable") if owned[user, item] == 0][:5]
            assert items[user].tolist() == wanted
            np.testing.assert_array_equal(values[user], popularity[wanted])
        else:
            np.testing.assert_array_equal(items[user], before[user])
            np.testing.assert_array_equal(values[user], numbers[user])
    np.testing.assert_array_equal(scorer.scores(np.full(3, 5), np.array([0, 4, 22])), popularity[[0, 4, 22]])
    stranger = scorer.of_users(sp.csr_matrix(owned[5:6]))
    assert lists(stranger, np.array([0]), 1)[0].tolist() == [[6]]


def test_threads_share_a_scorer():
    scorer = made()
    alone, found = lists(made(), np.arange(USERS), 5), []
    threads = [threading.Thread(target=lambda: found.append(lists(scorer, np.arange(USERS), 5))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all((items == alone[0]).all() for items, _ in found)
