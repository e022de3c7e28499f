"""Metrics written as formulas; ranking with ties, masks and short lists; what is averaged and what is refused."""

import warnings

import numpy as np
import pytest

from tests.conftest import interactions_of, random_interactions
from ultragcn import UltraGCN, evaluate
from ultragcn.errors import DataError, UsageError
from ultragcn.evaluation import metrics
from ultragcn.evaluation.dialects import DIALECTS, Dialect, dialect_of
from ultragcn.evaluation.evaluate import evaluate_by_user
from ultragcn.scoring.ranking import BATCH_USERS, rank

# One user, three relevant items, a list of five with hits at places 2 and 4.
HITS, RELEVANT = np.array([[False, True, False, True, False]]), np.array([3])
DCG = 1 / np.log2(3) + 1 / np.log2(5)


def d(m):
    return sum(1 / np.log2(n + 1) for n in range(1, m + 1))


def f1_of(precision, recall):
    return 2 * precision * recall / (precision + recall)


def value_of(name, hits, num_relevant, dialect="lightgcn"):
    """The metric of lists given by their hits alone."""
    label = metrics.Label(name, hits.shape[1])
    items = np.zeros(hits.shape, np.int32)
    table = metrics.user_values(hits, items, num_relevant, [label], dialect_of(dialect), interactions_of([[1]]), len(hits))
    return float(table.means()[label][0])


@pytest.mark.parametrize(
    ("name", "dialect", "value"),
    [
        ("recall", "lightgcn", 2 / 3), ("recall", "recbole", 2 / 3), ("recall", "lenskit", 2 / 3),
        ("precision", "lightgcn", 2 / 5), ("precision", "implicit", 2 / 3),
        ("ndcg", "lightgcn", DCG / d(3)), ("ndcg", "rectools", DCG / d(5)), ("ndcg", "ngcf-legacy", DCG / d(2)),
        ("map", "lightgcn", (1 / 2 + 2 / 4) / 3), ("map", "recbole", (1 / 2 + 2 / 4) / 3), ("map", "rectools", (1 / 2 + 2 / 4) / 3),
        ("map", "lightgcn-tf", (1 / 2 + 2 / 4) / 3), ("map", "elliot", (0 + 1 / 2 + 1 / 3 + 2 / 4 + 2 / 5) / 5),
        ("mrr", "lightgcn", 1 / 2), ("hit_rate", "lightgcn", 1), ("f1", "lightgcn", f1_of(2 / 5, 2 / 3)),
        ("f1", "user-f1", f1_of(2 / 5, 2 / 3)),
    ],
)  # fmt: skip
def test_each_metric_of_each_dialect_worked_by_hand(name, dialect, value):
    assert value_of(name, HITS, RELEVANT, dialect) == pytest.approx(value)


@pytest.mark.parametrize(
    ("name", "dialect", "value"),
    [
        ("recall", "lightgcn", 1 / 4), ("recall", "lenskit", 1 / 2), ("precision", "lightgcn", 1 / 2), ("precision", "implicit", 1 / 2),
        ("ndcg", "lightgcn", 1 / d(2)), ("ndcg", "rectools", 1 / d(2)), ("ndcg", "ngcf-legacy", 1), ("map", "lightgcn", 1 / 2),
        ("map", "rectools", 1 / 4), ("map", "lightgcn-tf", 1 / 4), ("map", "elliot", (1 + 1 / 2) / 2),
    ],
)  # fmt: skip
def test_each_dialect_worked_by_hand_where_more_is_relevant_than_fits(name, dialect, value):
    # Four relevant items, a list of two, a hit at place 1.
    assert value_of(name, np.array([[True, False]]), np.array([4]), dialect) == pytest.approx(value)


def test_means_of_two_users_pool_average_or_combine_as_the_dialect_says():
    # A list of two: one relevant item, found first; four relevant items, none found.
    hits, relevant = np.array([[True, False], [False, False]]), np.array([1, 4])
    assert value_of("precision", hits, relevant) == pytest.approx((1 / 2 + 0) / 2)
    assert value_of("precision", hits, relevant, "implicit") == pytest.approx((1 + 0) / (1 + 2))
    assert value_of("f1", hits, relevant) == pytest.approx(f1_of((1 / 2 + 0) / 2, (1 + 0) / 2))
    assert value_of("f1", hits, relevant, "user-f1") == pytest.approx((f1_of(1 / 2, 1) + 0) / 2)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", metrics.ACCURACY)
def test_no_hits_give_zero_and_the_best_ranking_gives_one(name, dialect):
    assert value_of(name, np.zeros((1, 4), bool), np.array([2]), dialect) == 0
    assert value_of(name, np.ones((1, 4), bool), np.array([4]), dialect) == pytest.approx(1)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_metrics_lie_between_zero_and_one_and_recall_grows_with_the_list(dialect):
    random = np.random.default_rng(0)
    hits = random.random((50, 12)) < 0.3
    relevant = hits.sum(axis=1) + random.integers(1, 9, 50)
    labels = [metrics.Label(name, k) for name in metrics.ACCURACY for k in range(1, 13)]
    table = metrics.user_values(hits, np.zeros((50, 12), np.int32), relevant, labels, dialect_of(dialect), interactions_of([[1]]), 50)
    means = table.means()
    assert all(0 < means[label][0] < 1 for label in labels)
    for name in ("hit_rate", "mrr", *(["recall"] if dialect != "lenskit" else [])):
        values = [means[label][0] for label in labels if label.metric == name]
        assert values == sorted(values)


def test_a_dialect_of_ones_own_mixes_definitions_and_a_wrong_one_is_refused():
    mine = Dialect(ndcg="length", map="places")
    assert value_of("ndcg", HITS, RELEVANT, mine) == pytest.approx(DCG / d(5))
    assert value_of("map", HITS, RELEVANT, mine) == value_of("map", HITS, RELEVANT, "elliot")
    with pytest.raises(UsageError, match="unknown definition of ndcg 'lenght'; did you mean length"):
        Dialect(ndcg="lenght")
    with pytest.raises(UsageError, match="did you mean rectools"):
        dialect_of("rectool")


# What ir-measures (the judges of TREC) calls the same thing, and the dialect that agrees.
ORACLE = {
    ("recall", "lightgcn"): "R@{k}", ("precision", "lightgcn"): "P@{k}", ("ndcg", "lightgcn"): "nDCG@{k}",
    ("map", "lightgcn-tf"): "AP@{k}", ("mrr", "lightgcn"): "RR@{k}", ("hit_rate", "lightgcn"): "Success@{k}",
}  # fmt: skip


@pytest.mark.parametrize(("name", "dialect"), ORACLE)
@pytest.mark.parametrize("k", [1, 5, 20])
def test_metrics_equal_those_of_ir_measures(name, dialect, k):
    ir_measures = pytest.importorskip("ir_measures")
    train, test = random_interactions(40, 60, 0.1, seed=1), random_interactions(40, 60, 0.15, seed=2)
    test = test.with_matrix(test.matrix - test.matrix.multiply(train.matrix))
    model = Scores(train, np.random.default_rng(3).standard_normal((40, 60)))
    ours = evaluate_by_user(model, test, [f"{name}@{k}"], dialect)
    relevant = {str(u): {str(i): 1 for i in test.items_of(u)} for u in ours.user_index}
    run = {
        str(u): {str(i): -float(place) for place, i in enumerate(items) if i >= 0}
        for u, items in zip(ours.user_index, ours.items, strict=True)
    }
    with warnings.catch_warnings():  # from Python 3.12 on, it reads numbers with what will be gone in 3.14
        warnings.filterwarnings("ignore", "(ast\\.Num|ast\\.Str|Attribute [ns]) is deprecated", DeprecationWarning)
        measure = ir_measures.parse_measure(ORACLE[name, dialect].format(k=k))
        theirs = {metric.query_id: metric.value for metric in ir_measures.iter_calc([measure], relevant, run)}
    for row, user in enumerate(ours.user_index):
        assert ours.values[f"{name}@{k}"][row] == pytest.approx(theirs[str(user)])


def test_metrics_equal_what_ranx_gives():
    # ranx 0.3.21 on these lists. It divides AP by |R|, and its F1 is the mean of every user's own.
    given = {
        "recall@10": 0.18175628538128535, "precision@10": 0.153, "ndcg@10": 0.17735833027265657, "mrr@10": 0.35070634920634924,
        "hit_rate@10": 0.835, "map@10": 0.07210064849171992, "f1@10": 0.1621136483190461,
    }  # fmt: skip
    train, test = random_interactions(200, 60, 0.1, seed=1), random_interactions(200, 60, 0.15, seed=2)
    test = test.with_matrix(test.matrix - test.matrix.multiply(train.matrix))
    model = Scores(train, np.random.default_rng(3).standard_normal((200, 60)))
    ours = evaluate(model, test, list(given), Dialect(map="relevant", f1="by_user"))
    assert ours == pytest.approx(given | {"num_users": 200})


def test_beyond_accuracy_worked_by_hand():
    # Items 0 to 3 have 4, 2, 1 and 0 of four users in train; two users are listed [1, 3] and [1, 2].
    train = interactions_of([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
    test = interactions_of([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])
    model = Scores(train, [[0, 0, 0, 0], [0, 0, 0, 0], [9, 3, 0, 2], [9, 3, 2, 0]])
    result = evaluate(model, test, ["novelty@2", "popularity@2", "coverage@2", "gini@2", "novelty@1", "coverage@1", "gini@1"])
    assert result == {
        "novelty@2": pytest.approx(((1 + 2) / 2 + (1 + 2) / 2) / 2),  # -log2 of 2/4, 1/4; nobody's item 3 counts as 1/4
        "popularity@2": pytest.approx(((2 + 0) / 2 + (2 + 1) / 2) / 2),
        "coverage@2": 3 / 4,
        "gini@2": pytest.approx((-3 * 0 - 1 * 1 + 1 * 1 + 3 * 2) / (4 * 4)),  # listed 0, 1, 1 and 2 times
        "novelty@1": 1,
        "coverage@1": 1 / 4,
        "gini@1": 3 / 4,
        "num_users": 2,
    }


def test_an_empty_list_has_no_novelty_and_lowers_nobodys():
    train = interactions_of([[1, 1, 1], [1, 0, 0]])
    items, hits = np.array([[-1, -1], [1, 2]], np.int32), np.array([[False, False], [True, False]])
    labels = [metrics.Label(name, 2) for name in ("novelty", "recall")]
    means = metrics.user_values(hits, items, np.ones(2, int), labels, dialect_of("lightgcn"), train, 2).means()
    assert [float(means[label][0]) for label in labels] == [1, 0.5]  # -log2(1/2) for both items of the second user


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
    # What is listed to users without held-out items is not asked, so novelty is theirs under no dialect.
    novelty = [evaluate(model, test, ["novelty@1"], dialect=dialect)["novelty@1"] for dialect in ("lightgcn", "authors")]
    assert novelty[0] == novelty[1]


def test_validation_items_are_masked_at_test_but_not_at_validation():
    train, valid, test = interactions_of([[1, 0, 0, 0]]), interactions_of([[0, 1, 0, 0]]), interactions_of([[0, 0, 1, 0]])
    model = Scores(train, [[4, 3, 2, 1]], valid)
    assert evaluate(model, test, ["recall@1"])["recall@1"] == 1
    assert evaluate(model, valid, ["recall@1"])["recall@1"] == 1


def test_what_is_asked_for_is_not_masked_also_where_it_is_a_part_of_validation():
    train, valid = interactions_of([[1, 0, 0, 0]] * 2), interactions_of([[0, 1, 1, 0]] * 2)
    model = Scores(train, [[4, 1, 2, 3]] * 2, valid)
    one_user, one_item_each = valid.part(np.arange(4) < 2), interactions_of([[0, 0, 1, 0]] * 2)
    assert evaluate(model, valid, ["recall@1", "recall@2"]) == {"recall@1": 0, "recall@2": 0.5, "num_users": 2}
    assert evaluate(model, one_user, ["recall@1", "recall@2"]) == {"recall@1": 0, "recall@2": 0.5, "num_users": 1}
    assert evaluate(model, one_item_each, ["recall@1", "recall@2"]) == {"recall@1": 0, "recall@2": 1, "num_users": 2}


def test_the_authors_mask_train_alone():
    train, valid, test = interactions_of([[1, 0, 0, 0]]), interactions_of([[0, 1, 0, 0]]), interactions_of([[0, 0, 1, 0]])
    model = Scores(train, [[4, 3, 2, 1]], valid)
    assert evaluate(model, test, ["recall@1"], dialect="authors")["recall@1"] == 0
    assert evaluate(model, test, ["recall@2"], dialect="authors")["recall@2"] == 1


def test_lists_with_fewer_candidates_than_k_keep_k():
    # Two candidates, both relevant, a list of four.
    train, test = interactions_of([[1, 1, 0, 0]]), interactions_of([[0, 0, 1, 1]])
    model = Scores(train, [[0, 0, 1, 1]])
    labels = ["recall@4", "precision@4", "ndcg@4", "map@4", "coverage@4"]
    assert evaluate(model, test, labels) == {
        "recall@4": 1, "precision@4": 2 / 4, "ndcg@4": 1, "map@4": 1, "coverage@4": 2 / 4, "num_users": 1,
    }  # fmt: skip
    strict = evaluate(model, test, labels, "rectools")
    assert strict["ndcg@4"] == pytest.approx(d(2) / d(4))
    assert evaluate(model, test, labels, "elliot")["map@4"] == pytest.approx((1 + 2 / 2 + 2 / 3 + 2 / 4) / 4)


def test_equal_scores_go_by_the_lower_item_and_decide_a_hit():
    train = interactions_of([[0, 0, 0, 0], [0, 0, 0, 0]])
    model = Scores(train, np.ones((2, 4)))
    result = evaluate_by_user(model, interactions_of([[1, 0, 0, 0], [0, 0, 0, 1]]), ["recall@1", "recall@4"])
    assert result.items.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert result.values["recall@1"].tolist() == [1, 0]


def test_permuting_users_permutes_values_and_keeps_the_means():
    train, test = random_interactions(30, 25, 0.2, seed=4), random_interactions(30, 25, 0.2, seed=5)
    test = test.with_matrix(test.matrix - test.matrix.multiply(train.matrix))
    scores = np.random.default_rng(6).standard_normal((30, 25))
    order = np.random.default_rng(7).permutation(30)
    labels = [f"{name}@{k}" for name in metrics.METRICS for k in (3, 30)]
    plain = evaluate_by_user(Scores(train, scores), test, labels)
    moved = evaluate_by_user(Scores(interactions_of(train.matrix.toarray()[order]), scores[order]),
                             interactions_of(test.matrix.toarray()[order]), labels)  # fmt: skip
    assert moved.means == pytest.approx(plain.means)
    by_user = dict(zip(plain.user_index, plain.values["ndcg@3"], strict=True))
    assert [by_user[order[user]] for user in moved.user_index] == pytest.approx(moved.values["ndcg@3"].tolist())


def test_held_out_pairs_that_stand_in_train_are_refused():
    train = interactions_of([[1, 1, 0]])
    with pytest.raises(DataError, match="1 of the held-out pairs stand in train"):
        evaluate(Scores(train, [[1, 2, 3]]), interactions_of([[0, 1, 1]]))


def test_values_by_user_average_to_the_mean():
    train = interactions_of(np.eye(6, 8))
    test = interactions_of(np.roll(np.eye(6, 8), 1, axis=1))
    model = Scores(train, np.random.default_rng(0).standard_normal((6, 8)))
    result = evaluate_by_user(model, test, ["ndcg@3", "recall@5", "novelty@4"])
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


@pytest.mark.parametrize("label", ["gini@20", "popularity@5", "coverage@20"])
def test_an_epoch_is_not_chosen_by_what_is_no_accuracy(checkerboard, label):
    with pytest.raises(UsageError, match="metric of accuracy"):
        UltraGCN(select_by=label).fit(checkerboard)
