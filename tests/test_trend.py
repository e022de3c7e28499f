"""The trend at ranking time: the formula, the times it is made from, and that every verb has it."""

import numpy as np
import polars as pl
import pytest

from tests.conftest import interactions_of, random_interactions
from ultragcn import Interactions, UltraGCN, evaluate, load_dataset
from ultragcn.config import Config
from ultragcn.config.ultragcn import EXACT_TREND_HALF_LIVES, EXACT_TREND_WEIGHTS
from ultragcn.errors import DataError, DataWarning, UsageError
from ultragcn.models.popularity import Popularity
from ultragcn.models.refit import unfitted_for_refit
from ultragcn.scoring.trend import PRIOR, has_span, log_recent_share, recent_counts

DAY = 86_400_000_000
QUICK = {"embedding_dim": 8, "negative_weight": 50.0, "l2_user": 0.2, "l2_item": 0.2, "item_graph_weight": 0.1, "epochs": 4}


def fashionable(num_users=120, num_items=60, seed=0):
    """A log of 100 days: half of the items are used before day 60, the other half after it."""
    random = np.random.default_rng(seed)
    day = random.uniform(0, 100, (num_users, num_items))
    is_new = np.arange(num_items) >= num_items // 2
    used = random.random((num_users, num_items)) < np.where((day > 60) == is_new, 0.5, 0.02)
    users, items = np.nonzero(used)
    return pl.DataFrame({"user": users, "item": items, "time": (day[used] * DAY).astype(np.int64) + 10**15})


@pytest.fixture(scope="module")
def data():
    with pytest.warns(DataWarning, match="have no test items"):
        return load_dataset(fashionable(), split="time")


@pytest.fixture(scope="module")
def chosen(data):
    return UltraGCN(**QUICK).fit(data.train, data.valid)


def test_the_share_of_late_is_the_formula():
    pairs = random_interactions(30, 12, 0.3)
    times = np.random.default_rng(1).integers(0, 90 * DAY, len(pairs))
    timed = pairs.with_matrix(pairs.matrix, times)
    ages = [(int(times.max()) - int(time)) / DAY for time in times]
    recent = [sum(2 ** (-age / 20) for age, item in zip(ages, pairs.pairs[1], strict=True) if item == one) for one in range(12)]
    np.testing.assert_allclose(recent_counts(timed, 20.0), recent, rtol=1e-10)
    prior = PRIOR * sum(recent)
    expected = np.log((np.array(recent) + prior * pairs.item_degrees / len(pairs)) / (sum(recent) + prior))
    np.testing.assert_allclose(log_recent_share(timed, 20.0), expected, rtol=1e-10)
    assert log_recent_share(timed, 20.0).std() > 0.05


def test_an_item_without_interactions_has_a_share():
    dense = np.ones((4, 3))
    dense[:, 2] = 0
    pairs = interactions_of(dense)
    same = pairs.with_matrix(pairs.matrix, np.repeat(np.arange(4), 2) * DAY)
    shares = np.exp(log_recent_share(same, 1.0))
    assert shares[0] == shares[1] == pytest.approx(0.5)
    assert 0 < shares[2] < 0.01


def trend_of(model, weight, half_life):
    """The formula of the documentation, in double precision."""
    mean = model.user_embedding_[model.train_.user_degrees > 0].astype(np.float64).mean(axis=0)
    return weight * log_recent_share(model.train_, half_life) - model.item_embedding_ @ mean


def test_times_go_with_their_pairs():
    frame = pl.DataFrame({"user": ["b", "a", "a", "b"], "item": ["y", "x", "y", "x"], "when": [5, 2, 7, 3]})
    pairs = Interactions.from_frame(frame, time_column="when")
    assert Interactions.from_frame(frame.rename({"when": "time"})).times is None
    expected = {("a", "x"): 2, ("a", "y"): 7, ("b", "x"): 3, ("b", "y"): 5}

    def told(some):
        pairs = zip(some.user_ids.ids[some.pairs[0]], some.item_ids.ids[some.pairs[1]], strict=True)
        return dict(zip(pairs, some.times // 10**6, strict=True))

    assert told(pairs) == expected
    early, late = (pairs.part(mask) for mask in (pairs.times < 4 * 10**6, pairs.times > 4 * 10**6))
    assert told(early) == {("a", "x"): 2, ("b", "x"): 3}
    assert told(early.union(late)) == told(late.union(early)) == expected
    assert told(pairs.union(early)) == expected
    assert early.union(late).hash == pairs.hash
    untimed = pairs.with_matrix(pairs.matrix)
    assert untimed.hash != pairs.hash
    assert untimed.union(early).times is None
    with pytest.raises(DataError, match="3 times do not fit 4 pairs"):
        pairs.with_matrix(pairs.matrix, np.arange(3))


def test_a_place_in_a_line_is_no_time(tmp_path):
    file = tmp_path / "lines.txt"
    file.write_text("1 5 6 7 9\n2 6 9 7\n3 9 7 5\n")
    assert load_dataset(file, split="last", protocol="authors").train.times is None
    assert not has_span(load_dataset(file, split="last", protocol="authors").train)
    with pytest.raises(DataError, match="has no times, because its lines hold only a user and items; drop time_column"):
        load_dataset(file, time_column="3")


def test_what_is_used_more_of_late_is_found(data, chosen):
    assert chosen.item_trend_weight_ in EXACT_TREND_WEIGHTS
    assert chosen.item_trend_half_life_ in EXACT_TREND_HALF_LIVES
    expected = trend_of(chosen, chosen.item_trend_weight_, chosen.item_trend_half_life_)
    np.testing.assert_allclose(chosen.item_trend_, expected, rtol=1e-4, atol=1e-5)
    without = UltraGCN(**QUICK, item_trend_weight=0.0).fit(data.train, data.valid)
    assert not without.item_trend_.any()
    assert without.item_trend_weight_ is None
    np.testing.assert_array_equal(without.user_embedding_, chosen.user_embedding_)
    before, after = (evaluate(model, data.test)["recall@20"] for model in (without, chosen))
    assert before < 0.2 < 0.5 < after < 0.9


def test_the_score_is_the_product_plus_the_trend_for_users_known_and_new(data):
    model = UltraGCN(**QUICK | {"item_graph_weight": 0.0}, item_trend_weight=0.5, item_trend_half_life=20.0).fit(data.train)
    user = data.train.user_ids.ids[np.argmax(data.train.user_degrees)]
    row = int(data.train.user_ids.rows([user])[0])
    basket = data.train.item_ids.ids[data.train.items_of(row)]
    folded = model.fold_in(data.train.matrix[[row]])[0]
    for (items, scores), embedding in (
        (model.recommend(user, top_k=6), model.user_embedding_[row]),
        (model.recommend_for(basket, top_k=6), folded),
    ):
        columns = model.item_ids.rows(items)
        every = model.item_embedding_.astype(np.float64) @ embedding + trend_of(model, 0.5, 20.0)
        np.testing.assert_allclose(scores, every[columns], rtol=1e-5, atol=1e-6)
        every[data.train.items_of(row)] = -np.inf
        np.testing.assert_array_equal(np.sort(columns), np.sort(np.argsort(-every)[:6]))


def test_it_is_saved_and_a_refit_takes_it_over(data, chosen, tmp_path):
    loaded = UltraGCN.load(chosen.save(tmp_path))
    assert (loaded.item_trend_weight_, loaded.item_trend_half_life_) == (chosen.item_trend_weight_, chosen.item_trend_half_life_)
    assert evaluate(loaded, data.test) == evaluate(chosen, data.test)
    both = data.train.union(data.valid)
    refitted = unfitted_for_refit(chosen).fit(both)
    assert refitted.train_ is both
    expected = trend_of(refitted, chosen.item_trend_weight_, chosen.item_trend_half_life_)
    np.testing.assert_allclose(refitted.item_trend_, expected, rtol=1e-4, atol=1e-5)


def test_without_times_there_is_none_and_one_that_is_asked_for_is_refused():
    demo = load_dataset("demo")
    model = UltraGCN(**QUICK).fit(demo.train, demo.valid)
    assert model.item_trend_weight_ is None
    assert not model.item_trend_.any()
    with pytest.raises(UsageError, match="item_trend_weight needs the times of the interactions, which are read when time_column is given"):
        UltraGCN(**QUICK, item_trend_weight=0.5).fit(demo.train)
    with pytest.raises(UsageError, match="half_life needs the times"):
        Popularity(half_life=30.0).fit(demo.train)


def test_it_is_kept_only_where_held_out_pairs_bear_it_out():
    demo = load_dataset("demo")
    trained = QUICK | {"epochs": 8}  # after four sweeps, popularity would still add to what the embeddings know
    random = np.random.default_rng(3)
    train = demo.train.with_matrix(demo.train.matrix, random.integers(0, 90 * DAY, len(demo.train)))
    model = UltraGCN(**trained).fit(train, demo.valid)
    assert (model.item_trend_weight_, model.item_trend_.any()) == (0.0, False)
    asked = UltraGCN(**trained, item_trend_weight=2.0).fit(train, demo.valid)
    worse, better = (evaluate(one, demo.valid)["recall@20"] for one in (asked, model))
    assert 0.3 * better < worse < better


@pytest.mark.parametrize("given", [0, 0.0, -1, "0"])
def test_a_half_life_of_no_days_is_refused_and_none_counts_all_the_same(given):
    with pytest.raises(UsageError, match=r"^half_life must be a number above 0, or None \(auto\), not "):
        Popularity(half_life=given)
    assert Popularity(half_life="auto").config.half_life is None


def test_a_half_life_that_is_given_is_kept(data):
    model = UltraGCN(**QUICK, item_trend_half_life=14.0).fit(data.train, data.valid)
    assert model.item_trend_half_life_ == 14.0
    assert model.item_trend_weight_ in EXACT_TREND_WEIGHTS
    assert Config(item_trend_half_life=14.0).fingerprint() != Config().fingerprint()


def test_popularity_of_late(data):
    recent = Popularity(half_life=7.0).fit(data.train)
    np.testing.assert_allclose(recent.item_scores_, recent_counts(data.train, 7.0), rtol=1e-6)
    ever, of_late = (evaluate(model, data.test)["recall@20"] for model in (Popularity().fit(data.train), recent))
    assert ever < 0.2 < 0.5 < of_late < 0.9


@pytest.mark.parametrize("solver", ["exact", "sgd"])
def test_a_user_without_items_is_offered_what_suits_most(solver):
    if solver == "sgd":
        pytest.importorskip("torch")
    dense = load_dataset("demo").train.matrix.toarray() > 0
    dense[[3, 70]] = False
    train = interactions_of(dense)
    model = UltraGCN(**QUICK, solver=solver, learning_rate=0.02, init_std=0.1).fit(train)
    mean = np.delete(model.user_embedding_, [3, 70], axis=0).mean(axis=0)
    np.testing.assert_allclose(model.user_embedding_[[3, 70]], [mean, mean], rtol=1e-4, atol=1e-6)
    popular = set(np.argsort(-train.item_degrees, kind="stable")[:40])
    items, _ = model.recommend(70, top_k=20)
    assert len(popular & set(items)) > 14
    np.testing.assert_allclose(model.fold_in(train.matrix[[3, 5, 70]])[[0, 2]], [mean, mean], rtol=1e-4, atol=1e-6)


def test_and_what_is_popular_of_late_where_times_are_known(data):
    train = data.train.part(data.train.pairs[0] > 4)
    model = UltraGCN(**QUICK, item_trend_weight=2.0, item_trend_half_life=20.0).fit(train)
    shares = np.sort(log_recent_share(train, 20.0))[::-1]
    _, scores = model.recommend(train.user_ids.ids[2], top_k=10)
    np.testing.assert_allclose(scores, 2 * shares[:10], rtol=1e-4, atol=1e-5)
