"""Metrics written as formulas; ranking with ties, masks and short lists; what is averaged and what is refused."""

import numpy as np
import pytest

from tests.conftest import interactions_of
from ultragcn import evaluate
from ultragcn.errors import DataError, UsageError
from ultragcn.evaluation import metrics
from ultragcn.evaluation.evaluate import evaluate_by_user
from ultragcn.evaluation.ranking import BATCH_USERS, rank

# One user, three relevant items, a list of five with hits at places 2 and 4.
HITS, RELEVANT = np.array([[False, True, False, True, False]]), np.array([3])


def d(m):
    return sum(1 / np.log2(n + 1) for n in range(1, m + 1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("recall", 2 / 3), ("precision", 2 / 5), ("ndcg", (1 / np.log2(3) + 1 / np.log2(5)) / d(3)), ("map", (1 / 2 + 2 / 4) / 3),
        ("mrr", 1 / 2), ("hit_rate", 1), ("f1", 2 * (2 / 3) * (2 / 5) / (2 / 3 + 2 / 5)),
    ],
)  # fmt: skip
def test_each_metric_worked_by_hand(name, value):
    assert metrics.METRICS[name](HITS, RELEVANT)[0] == pytest.approx(value)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_no_hits_give_zero_and_the_best_ranking_gives_one(name):
    assert metrics.METRICS[name](np.zeros((1, 4), bool), np.array([2]))[0] == 0
    best = metrics.METRICS[name](np.ones((1, 4), bool), np.array([4]))[0]
    assert best == pytest.approx(1)


@pytest.mark.parametrize("label", ["recall", "recall@", "recall@0", "recall@-1", "recall@1.5", "@20"])
def test_a_label_that_is_no_metric_at_k_is_refused(label):
    with pytest.raises(UsageError, match="name@K"):
        metrics.parse_labels([label])


def test_a_misspelt_metric_gets_the_nearest_name_suggested():
    with pytest.raises(UsageError, match="did you mean recall"):
        metrics.parse_labels(["recal@20"])


class Scores:
    """A ranker with given scores: user embeddings are rows of scores, item embeddings unit vectors."""

    def __init__(self, train, scores, valid=None):
        self.train_, self.valid_ = train, valid
        self.user_ids, self.item_ids = train.user_ids, train.item_ids
        self.scores = np.asarray(scores, np.float32)

    def rank(self, users, top_k, seen):
        return rank(self.scores, np.eye(self.scores.shape[1], dtype=np.float32), users, top_k, seen)


def test_ranking_is_by_score_then_by_lower_item_and_leaves_seen_items_out():
    train = interactions_of([[1, 0, 0, 0, 0]])
    model = Scores(train, [[9, 1, 2, 2, 1]])
    ((_, items, scores),) = model.rank(np.array([0]), 6, train.matrix)
    assert items.tolist() == [[2, 3, 1, 4, -1, -1]]
    assert scores[0, 4:].tolist() == [-np.inf, -np.inf]


def test_more_users_than_a_block_are_ranked_in_order():
    random = np.random.default_rng(0)
    user_embedding, item_embedding = (random.standard_normal((rows, 4)).astype(np.float32) for rows in (2 * BATCH_USERS + 3, 50))
    users = np.arange(len(user_embedding))[::-1]
    blocks = list(rank(user_embedding, item_embedding, users, 3))
    assert len(blocks) == 3
    np.testing.assert_array_equal(np.concatenate([block[0] for block in blocks]), users)


def test_users_without_held_out_items_count_for_the_authors_alone():
    train, test = interactions_of([[1, 0, 0], [1, 0, 0]]), interactions_of([[0, 1, 0], [0, 0, 0]])
    model = Scores(train, [[0, 2, 1], [0, 2, 1]])
    assert evaluate(model, test, ["recall@1"]) == {"recall@1": 1.0, "num_users": 1}
    assert evaluate(model, test, ["recall@1", "f1@1"], dialect="authors") == {"recall@1": 0.5, "f1@1": 0.5, "num_users": 1}


def test_validation_items_are_masked_at_test_but_not_at_validation():
    train, valid, test = interactions_of([[1, 0, 0, 0]]), interactions_of([[0, 1, 0, 0]]), interactions_of([[0, 0, 1, 0]])
    model = Scores(train, [[4, 3, 2, 1]], valid)
    assert evaluate(model, test, ["recall@1"])["recall@1"] == 1
    assert evaluate(model, valid, ["recall@1"])["recall@1"] == 1


def test_held_out_pairs_that_stand_in_train_are_refused():
    train = interactions_of([[1, 1, 0]])
    with pytest.raises(DataError, match="1 of the held-out pairs stand in train"):
        evaluate(Scores(train, [[1, 2, 3]]), interactions_of([[0, 1, 1]]))


def test_values_by_user_average_to_the_mean():
    train = interactions_of(np.eye(6, 8))
    test = interactions_of(np.roll(np.eye(6, 8), 1, axis=1))
    model = Scores(train, np.random.default_rng(0).standard_normal((6, 8)))
    result = evaluate_by_user(model, test, ["ndcg@3", "recall@5"])
    for label, values in result.values.items():
        assert values.mean() == pytest.approx(result.means[label])


@pytest.mark.parametrize("dim", [3, 8, 64])
def test_a_list_is_the_same_alone_and_among_others_also_where_scores_are_nearly_equal(dim):
    random = np.random.default_rng(0)
    items = np.repeat(random.standard_normal((40, dim)), 5, axis=0)  # in fives that only rounding tells apart
    items = (items * (1 + 1e-7 * random.standard_normal(items.shape))).astype(np.float32)
    users = random.standard_normal((150, dim)).astype(np.float32)
    [(_, together, scores)] = rank(users, items, np.arange(150), 12)
    for user in range(0, 150, 7):
        [(_, alone, own_scores)] = rank(users, items, np.array([user]), 12)
        np.testing.assert_array_equal(alone[0], together[user])
        np.testing.assert_array_equal(own_scores[0], scores[user])
