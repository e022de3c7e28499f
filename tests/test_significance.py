"""How sure the numbers are: intervals that cover, tests that keep their level, Holm's correction worked by hand."""

import numpy as np
import pytest
from scipy import stats

from tests.conftest import interactions_of, random_interactions
from tests.test_metrics_and_ranking import Scores
from ultragcn.errors import UsageError
from ultragcn.evaluation import significance
from ultragcn.evaluation.dialects import dialect_of
from ultragcn.evaluation.evaluate import evaluate_by_user
from ultragcn.evaluation.metrics import parse_labels, user_values

TESTS = ("t", "wilcoxon", "permutation", "bootstrap")


def evaluation(labels, dialect="lightgcn", num_users=80):
    train, test = random_interactions(num_users, 30, 0.15, seed=1), random_interactions(num_users, 30, 0.1, seed=2)
    test = test.with_matrix(test.matrix - test.matrix.multiply(train.matrix))
    scores = np.random.default_rng(3).standard_normal((num_users, 30))
    return evaluate_by_user(Scores(train, scores), test, labels, dialect)


@pytest.mark.parametrize("dialect", ["lightgcn", "authors", "implicit", "user-f1"])
def test_intervals_hold_the_mean_repeat_with_the_seed_and_narrow_with_the_level(dialect):
    result = evaluation(["recall@5", "precision@5", "f1@5", "novelty@5", "coverage@5"], dialect)
    wide, again, narrow = result.intervals(0.99, seed=1), result.intervals(0.99, seed=1), result.intervals(0.5, seed=1)
    assert wide == again != result.intervals(0.99, seed=2)
    assert wide.keys() == {"recall@5", "precision@5", "f1@5", "novelty@5"}  # coverage belongs to no user
    for label, (low, high) in wide.items():
        assert low < narrow[label][0] < result.means[label] < narrow[label][1] < high


def test_an_interval_is_as_wide_as_the_standard_error_says():
    result = evaluation(["ndcg@10"], num_users=2000)
    low, high = result.intervals(0.95, num_samples=2000)["ndcg@10"]
    values = result.values["ndcg@10"]
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(len(values)), rel=0.08)


def test_users_who_all_have_the_same_value_leave_no_doubt():
    hits, relevant = np.tile([True, False], (9, 1)), np.full(9, 2)
    labels = parse_labels(["recall@2", "f1@2"])
    table = user_values(hits, np.zeros((9, 2), np.int32), relevant, labels, dialect_of("implicit"), interactions_of([[1]]), 9)
    assert significance.bootstrap_intervals(table) == {"recall@2": (0.5, 0.5), "f1@2": (0.5, 0.5)}


def test_blocks_of_samples_are_the_samples_and_stay_within_memory(monkeypatch):
    monkeypatch.setattr(significance, "_BLOCK", 100)
    blocks = list(significance._draws(np.random.default_rng(0), 30, 10))
    assert [block.shape for block in blocks] == [(3, 30), (3, 30), (3, 30), (1, 30)]
    flips = np.concatenate(list(significance._random_flips(np.random.default_rng(0), 30, 1000)))
    assert flips.shape == (1000, 30)
    assert flips.mean() == pytest.approx(0.5, abs=0.02)


def test_holm_worked_by_hand():
    # Sorted .01 .02 .03 .04: times 4, 3, 2, 1 is .04 .06 .06 .04, and the last may not fall below those before it.
    assert significance.holm([0.04, 0.01, 0.03, 0.02]).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert significance.holm([0.6, 0.7]).tolist() == [1, 1]
    assert significance.holm([0.03]).tolist() == [0.03]


@pytest.mark.parametrize("test", TESTS)
def test_a_difference_is_found_and_equal_models_do_not_differ(test):
    random = np.random.default_rng(0)
    base = random.random(400)
    values = {"base": base, "same": base.copy(), "noise": base + 0.1 * random.standard_normal(400), "better": base + random.random(400)}
    found = {(c.first, c.second): c for c in significance.compare(values, test)}
    assert len(found) == 6
    assert found["base", "same"].p_value == found["base", "same"].p_holm == 1
    assert found["base", "noise"].p_holm > 0.05
    assert found["base", "better"].p_holm < 0.001
    assert found["base", "better"].difference == pytest.approx(base.mean() - values["better"].mean())
    against = significance.compare(values, test, baseline="base")
    assert [(c.first, c.second) for c in against] == [("same", "base"), ("noise", "base"), ("better", "base")]


@pytest.mark.parametrize("test", TESTS)
def test_under_no_difference_one_in_twenty_is_below_five_per_cent(test):
    random = np.random.default_rng(1)
    p = [
        significance.compare({"a": random.random(60), "b": random.random(60)}, test, num_samples=300, seed=seed)[0].p_value
        for seed in range(400)
    ]
    assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.09


def test_the_t_test_is_scipys_and_the_random_ones_come_near_it():
    random = np.random.default_rng(2)
    values = {"a": random.random(300), "b": random.random(300) + 0.04}
    expected = stats.ttest_rel(values["a"], values["b"]).pvalue
    assert significance.compare(values, "t")[0].p_value == pytest.approx(expected)
    for test in ("permutation", "bootstrap"):
        assert significance.compare(values, test)[0].p_value == pytest.approx(expected, abs=0.02)


def test_the_permutation_test_of_three_users_worked_by_hand():
    # Eight ways to give signs to 1, 2, 3; only all plus and all minus are as far from zero as 6.
    values = {"a": np.array([1.0, 2, 3]), "b": np.zeros(3)}
    assert significance.compare(values, "permutation", num_samples=20_000)[0].p_value == pytest.approx(2 / 8, abs=0.015)


@pytest.mark.parametrize("test", TESTS)
def test_the_same_gain_for_everyone_is_beyond_doubt(test):
    base = np.arange(30.0)
    assert significance.compare({"a": base + 1, "b": base}, test)[0].p_value < 0.001


@pytest.mark.parametrize(
    ("values", "options", "says"),
    [
        ({"a": [1, 2]}, {}, "two or more"), ({"a": [1, 2], "b": [1, 2, 3]}, {}, "same two or more users"),
        ({"a": [1, 2], "b": [1, np.nan]}, {}, "values of b are not all finite"), ({"a": [1], "b": [2]}, {}, "two or more users"),
        ({"a": [1, 2], "b": [3, 5]}, {"test": "tt"}, "unknown test"), ({"a": [1, 2], "b": [3, 5]}, {"baseline": "c"}, "unknown baseline"),
        ({"a": [1, 2], "b": [3, 5]}, {"num_samples": 0}, "num_samples must be 1 or more"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(values, options, says):
    with pytest.raises(UsageError, match=says):
        significance.compare(values, **options)
    with pytest.raises(UsageError, match="level must be between 0 and 1"):
        evaluation(["recall@5"]).intervals(level=95)
