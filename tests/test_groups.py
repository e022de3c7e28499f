"""Groups: who is in which, and what each gets, worked by hand and held together by laws."""

import numpy as np
import pytest

from tests.conftest import interactions_of, random_interactions
from tests.test_metrics_and_ranking import Scores
from ultragcn.errors import UsageError
from ultragcn.evaluation.evaluate import evaluate_by_user
from ultragcn.evaluation.groups import quantile_groups


def test_groups_are_equal_in_size_where_degrees_differ():
    assert quantile_groups(np.array([8, 1, 2, 7, 3, 6, 5, 4]), 4).tolist() == [3, 0, 0, 3, 1, 2, 2, 1]


def test_equal_degrees_stay_together_and_no_group_is_empty():
    assert quantile_groups(np.array([5, 5, 5, 5, 5, 9]), 4).tolist() == [0, 0, 0, 0, 0, 1]
    assert quantile_groups(np.full(3, 2), 4).tolist() == [0, 0, 0]
    assert quantile_groups(np.array([3]), 1).tolist() == [0]


def test_no_groups_are_refused():
    with pytest.raises(UsageError, match="num_groups must be 1 or more, not 0"):
        quantile_groups(np.ones(3), 0)


def hand_made():
    # Users 0 and 1 have one train item, user 2 has three. Items 0 to 4 have 3, 1, 1, 0 and 0 users.
    train = interactions_of([[1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0]])
    test = interactions_of([[0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 1]])
    scores = [[0, 9, 8, 1, 2], [0, 9, 1, 8, 2], [0, 0, 0, 9, 8]]  # lists of two: [1, 2], [1, 3], [3, 4]
    return evaluate_by_user(Scores(train, scores), test, ["recall@1", "recall@2"])


def test_user_groups_worked_by_hand():
    few, many = hand_made().by_user_group(3)
    assert (few.low, few.high, few.size) == (1, 1, 2)
    assert few.means == {"recall@1": (1 / 2 + 0) / 2, "recall@2": (1 / 2 + 0) / 2}
    assert (many.low, many.high, many.size, many.means) == (3, 3, 1, {"recall@1": 1 / 2, "recall@2": 1})


def test_item_groups_worked_by_hand():
    rare, known, star = hand_made().by_item_group(5)
    # Items 3 and 4: user 0 misses item 3, user 2 finds both.
    assert (rare.low, rare.high, rare.size) == (0, 0, 2)
    assert rare.means == {"recall@1": (0 + 1 / 2) / 2, "recall@2": (0 + 1) / 2, "num_users": 2}
    # Items 1 and 2: user 0 finds item 1, user 1 misses item 2.
    assert (known.low, known.high, known.size, known.means) == (1, 1, 2, {"recall@1": 1 / 2, "recall@2": 1 / 2, "num_users": 2})
    assert (star.low, star.high, star.size, star.means) == (3, 3, 1, {"recall@1": 0, "recall@2": 0, "num_users": 0})


@pytest.mark.parametrize("dialect", ["lightgcn", "implicit", "user-f1"])
def test_one_group_is_everyone_and_groups_average_to_the_mean(dialect):
    train, test = random_interactions(60, 30, 0.15, seed=1), random_interactions(60, 30, 0.2, seed=2)
    test = test.with_matrix(test.matrix - test.matrix.multiply(train.matrix))
    scores = np.random.default_rng(3).standard_normal((60, 30))
    result = evaluate_by_user(Scores(train, scores), test, ["recall@5", "precision@5", "ndcg@10", "f1@5"], dialect)
    (everyone,) = result.by_user_group(1)
    assert everyone.means | {"num_users": everyone.size} == pytest.approx(result.means)
    groups = result.by_user_group(4)
    assert sum(group.size for group in groups) == result.means["num_users"]
    assert sum(group.size * group.means["ndcg@10"] for group in groups) == pytest.approx(everyone.size * result.means["ndcg@10"])
    (all_items,) = result.by_item_group(1)
    assert all_items.means["recall@5"] == pytest.approx(result.means["recall@5"])
    assert sum(group.size for group in result.by_item_group(3)) == 30
