"""Explanations: the numbers add up to the score, are what leaving an item out would take away, and are told in words and as JSON."""

import json

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from tests.conftest import random_interactions
from ultragcn import BPR, EASE, IALS, Interactions, ItemKNN, Popularity, RP3beta, SparseEASE, UltraGCN, load_dataset, load_model
from ultragcn.cli import main
from ultragcn.errors import NotFittedError, UsageError
from ultragcn.models.explanations import Explanation
from ultragcn.models.lightgcn import LightGCN
from ultragcn.solvers import reasons as module
from ultragcn.solvers.fold_in import fold_in
from ultragcn.solvers.reasons import Terms, additions, reasons

BASKETS = [("ann", "tea"), ("ann", "pie"), ("bob", "tea"), ("bob", "pie"), ("eve", "tea"), ("eve", "jam"), ("joe", "jam")]


def of_baskets(**more):
    """A model whose weights can be worked out by hand: with no shrinkage and no idf, they are cosines."""
    frame = pl.DataFrame({"user": [user for user, _ in BASKETS], "item": [item for _, item in BASKETS]})
    return ItemKNN(shrinkage=0.0, **more).fit(frame)


@pytest.fixture(scope="module")
def data():
    return load_dataset("demo")


@pytest.fixture(scope="module")
def exact(data):
    return UltraGCN(embedding_dim=16, epochs=6, seed=0).fit(data)


@pytest.fixture(scope="module")
def models(data, exact):
    unfitted = (IALS(embedding_dim=8, epochs=3, seed=0), EASE(), SparseEASE(), ItemKNN(), RP3beta())
    return {type(model).__name__: model.fit(data) for model in unfitted} | {"UltraGCN": exact}


# ------------------------------------------------------------- the numbers are right


def test_what_a_term_adds_is_the_score_less_that_of_the_parabola_without_the_term():
    random = np.random.default_rng(0)
    y = random.standard_normal((12, 5)).astype(np.float32)
    rows = random.integers(0, 12, (7, 3))  # with repetitions within a term
    slope, bend = random.random((7, 3)), 0.1 * random.random((7, 3))
    hessian = 3 * np.eye(5) + y.T.astype(np.float64) @ y
    expected = []
    for term in range(7):
        without = hessian - sum(bend[term, m] * np.outer(y[rows[term, m]], y[rows[term, m]]).astype(np.float64) for m in range(3))
        pull = sum(slope[term, m] * y[rows[term, m]].astype(np.float64) for m in range(3))
        expected.append(y[4] @ np.linalg.solve(without, pull))
    np.testing.assert_allclose(additions(hessian, y, Terms(rows, slope, bend), np.array([4]))[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"item_item_weight": 0.5}, {"exclude_positives": True}, {"item_item_weight": 0.0}])
def test_reasons_are_those_of_the_loss_written_out(settings, monkeypatch):
    train = random_interactions(40, 30, 0.2)
    model = UltraGCN(embedding_dim=6, epochs=3, seed=0, num_item_neighbors=4, negative_weight=20.0, **settings).fit(train)
    frozen, user, target = model._frozen(), 3, 11
    objective, y = frozen.objective, model.item_embedding_.astype(np.float64)
    own, x = train.matrix[[user]].indices, model.user_embedding_[user].astype(np.float64)
    degree = len(own)

    def sigmoid(score):
        return 1 / (1 + np.exp(-score))

    def outer(item, weight):
        likely = sigmoid(x @ y[item])
        return weight * likely * (1 - likely) * np.outer(y[item], y[item])

    beta_user = np.sqrt(degree + 1) / degree
    beta = beta_user / np.sqrt(train.item_degrees + 1)
    config = objective.config
    candidates = 30 - degree if config.exclude_positives else 30
    hessian = float(objective.l2_users(np.array([degree]))[0]) * np.eye(6)
    for item in range(30):
        if not (config.exclude_positives and item in own):
            hessian += outer(item, degree * config.negative_weight / candidates * (config.w3 + config.w4 * beta[item]))
    pulls, bends = [], []
    for item in own:
        pairs = [(item, config.w1 + config.w2 * beta[item])]
        pairs += [(other, config.item_item_weight * weight) for other, weight in zip(*(part[item] for part in objective.neighbors))]  # noqa: B905
        pulls.append(sum(weight * (1 - sigmoid(x @ y[other])) * y[other] for other, weight in pairs))
        bends.append(sum(outer(other, weight) for other, weight in pairs))
    hessian += sum(bends)
    expected = [y[target] @ np.linalg.solve(hessian - bend, pull) for pull, bend in zip(pulls, bends, strict=True)]
    found = reasons(frozen, model.user_embedding_[user], own.astype(np.int64), np.array([target]))[:, 0]
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-7)
    monkeypatch.setattr(module, "_TERMS", 2)
    monkeypatch.setattr(module, "_ROWS", 7)
    np.testing.assert_allclose(
        reasons(frozen, model.user_embedding_[user], own.astype(np.int64), np.array([target]))[:, 0], found, rtol=1e-4, atol=1e-8
    )


def test_without_a_degree_in_the_l2_what_an_item_adds_in_ials_is_exactly_what_is_lost_without_it(data):
    model = IALS(embedding_dim=8, epochs=3, l2=1.0, l2_exponent=0.0, seed=0).fit(data)
    own = model.item_ids.ids[data.train.matrix[[5]].indices]
    why = model.explain_for(own, model.item_ids.ids[77])
    for item, added in zip(why.item_ids, why.contributions, strict=True):
        rows = model.item_ids.rows(np.array([other for other in own if other != item], object))
        without = sp.csr_matrix((np.ones(len(rows)), rows, [0, len(rows)]), shape=(1, len(model.item_ids)))
        score = float(model.fold_in(without)[0].astype(np.float64) @ model.item_embedding_[77])
        np.testing.assert_allclose(why.score - score, added, atol=2e-4 * abs(why.contributions).max())


@pytest.mark.parametrize("settings", [{}, {"item_graph_weight": 0.0}, {"item_item_weight": 1.0}])
def test_the_first_reason_is_nearly_always_that_of_exact_leave_one_out(data, settings):
    model = UltraGCN(embedding_dim=16, epochs=5, seed=0, **settings).fit(data)
    hits, pairs = 0, 0
    for user in range(0, 600, 15):
        own = data.train.matrix[[user]].indices
        listed = model.item_ids.rows(model.recommend(model.user_ids.ids[user], 2)[0])
        baskets = [own, *(np.delete(own, place) for place in range(len(own)))]
        indptr = np.cumsum([0, *map(len, baskets)])
        matrix = sp.csr_matrix(
            (np.ones(indptr[-1], np.float32), np.concatenate(baskets), indptr), shape=(len(baskets), len(model.item_ids))
        )
        scorer = model.scorer.of_users(fold_in(model._frozen(), matrix, 100, 1e-4), matrix)
        for item in listed:
            rows = np.arange(len(baskets))
            scores = sum(scorer.parts(rows, np.full(len(rows), item)).values())
            first = model.explain(model.user_ids.ids[user], model.item_ids.ids[item]).item_ids[0]
            hits += model.item_ids.ids[own[np.argmin(scores[1:])]] == first
            pairs += 1
    assert hits / pairs >= 0.85  # by chance it would be 0.07


@pytest.mark.parametrize("name", ["UltraGCN", "IALS", "EASE", "SparseEASE", "ItemKNN", "RP3beta"])
def test_contributions_trend_and_rest_add_up_to_the_score(models, name):
    model = models[name]
    for user in model.user_ids.ids[:3]:
        scores = model.score(user, model.item_ids.ids)
        has = model.item_ids.ids[model.train_.matrix[model.user_ids.rows([user])].indices]
        for item in (*model.recommend(user, 2)[0], has[0]):  # one of the user's own items among them
            why = model.explain(user, item)
            assert why.score == model.score(user, item)
            assert sorted(why.item_ids) == sorted(has)
            assert (np.diff(why.contributions) <= 0).all()
            assert abs(why.contributions.sum() + why.trend + why.rest - why.score) <= 1e-6 * scores.std()
            if list(why.parts) == ["item weights"]:  # which are all that there is
                assert abs(why.rest) <= 1e-4 * scores.std()
            new = model.explain_for(has, item)
            assert new.user_id is None
            assert abs(new.contributions.sum() + new.trend + new.rest - new.score) <= 1e-6 * scores.std()


def test_the_part_of_the_item_graph_is_exact(exact):
    user, item = exact.user_ids.ids[9], exact.item_ids.ids[40]
    why = exact.explain(user, item)
    parts = exact.scorer.parts(np.array([9]), np.array([40]))
    assert why.parts["item graph"].any()
    np.testing.assert_allclose(why.parts["item graph"].sum(), parts["item graph"][0], rtol=1e-5)
    np.testing.assert_allclose(why.parts["embeddings"].sum() + why.rest, parts["embeddings"][0], atol=1e-4)
    assert list(UltraGCN(embedding_dim=4, epochs=2, item_graph_weight=0.0).fit(exact.train_).explain(user, item).parts) == ["embeddings"]


def test_the_trend_is_a_part_of_its_own(exact):
    item = int(np.argmax(exact.item_embedding_.std(axis=1)))
    model = UltraGCN(embedding_dim=4, epochs=2, seed=0).fit(exact.train_)
    before = model.explain(exact.user_ids.ids[0], exact.item_ids.ids[item])
    trend = np.zeros(len(exact.item_ids), np.float32)
    trend[item] = 2.0
    model.item_trend_ = trend
    why = model.explain(exact.user_ids.ids[0], exact.item_ids.ids[item])
    assert (before.trend, why.trend) == (0.0, 2.0)
    np.testing.assert_allclose(why.contributions, before.contributions)
    np.testing.assert_allclose([why.score - before.score, why.rest], [2.0, before.rest], atol=1e-5)
    assert "its trend (" in why.words()
    assert "trend" not in before.words()


def test_an_item_adds_its_weight_in_a_model_of_item_weights():
    why = of_baskets().explain("joe", "tea")
    assert why.item_ids.tolist() == ["jam"]
    np.testing.assert_allclose(why.contributions, [1 / np.sqrt(3 * 2)], rtol=1e-6)
    assert why.score == pytest.approx(why.contributions[0])
    assert why.rest == pytest.approx(0, abs=1e-7)


def test_a_user_without_items_has_no_reasons(data):
    matrix = data.train.matrix.copy().tolil()
    matrix[4] = 0
    train = Interactions(sp.csr_matrix(matrix), data.train.user_ids, data.train.item_ids)
    for model in (UltraGCN(embedding_dim=4, epochs=2), ItemKNN()):
        why = model.fit(train).explain(data.train.user_ids.ids[4], data.train.item_ids.ids[0])
        assert (len(why.item_ids), len(why.contributions), len(why.frame())) == (0, 0, 0)
        assert why.rest == why.score
        assert why.words().startswith(f"No item of user {data.train.user_ids.ids[4]!r} raises the score")
        json.dumps(why.to_dict())


def test_a_model_that_was_saved_explains_as_before(exact, tmp_path):
    user, item = exact.user_ids.ids[3], exact.item_ids.ids[8]
    before, after = (model.explain(user, item) for model in (exact, load_model(exact.save(tmp_path / "run"))))
    assert before.to_dict() == after.to_dict()


# ------------------------------------------------------------------- in words


def explanation(parts, trend=0.0, rest=0.5, titles=None):
    numbers = np.array(parts, np.float64)
    ids = np.arange(len(parts)) + 10
    score = float(numbers.sum()) + trend + rest
    return Explanation(7, 3, "" if titles is None else "Tea", score, ids, titles, {"item weights": numbers}, trend, rest)


@pytest.mark.parametrize(
    ("parts", "trend", "words"),
    [
        ([3.0, 1.0], 0.0, "User 7 may like item 3 because of item 10 (75 %) and item 11 (25 %)."),
        ([4.0], 0.0, "User 7 may like item 3 because of item 10 (100 %)."),
        ([4.0, 3.0, 2.0, 1.0, -5.0], 0.0,
         "User 7 may like item 3 because of item 10 (40 %), item 11 (30 %), item 12 (20 %) and 1 other item (10 %)."),
        ([2.0, 1.0], 1.0, "User 7 may like item 3 because of item 10 (50 %), item 11 (25 %) and its trend (25 %)."),
        ([-1.0], 1.0, "User 7 may like item 3 because of its trend (100 %)."),
        ([-1.0, -2.0], -1.0, "No item of user 7 raises the score of item 3: it is what it is for anyone."),
        ([], 0.0, "No item of user 7 raises the score of item 3: it is what it is for anyone."),
    ],
)  # fmt: skip
def test_the_sentence_names_the_strongest_reasons_and_their_shares(parts, trend, words):
    assert str(explanation(parts, trend)) == words


def test_titles_stand_for_ids_where_they_are_known():
    why = explanation([3.0, 1.0], titles=np.array(["Pie", ""], object))
    assert why.words() == "User 7 may like 'Tea' because of 'Pie' (75 %) and item 11 (25 %)."
    assert why.frame().columns == ["item_id", "title", "contribution", "share", "item weights"]
    assert why.to_dict()["title"] == "Tea"
    assert why.to_dict()["reasons"][0] == {"item_id": 10, "title": "Pie", "contribution": 3.0, "share": 0.75, "item weights": 3.0}


def test_numbers_of_the_first_reasons_and_of_the_others_add_up_to_the_score():
    told = explanation([3.0, 1.0, -0.5, -0.75], 0.25).to_dict(1)
    assert len(told["reasons"]) == 1
    assert told["others"] == -0.25
    assert told["reasons"][0]["contribution"] + told["others"] + told["trend"] + told["rest"] == told["score"]


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("model", [Popularity(), BPR(embedding_dim=4, epochs=1), LightGCN])
def test_a_model_whose_scores_are_not_made_of_items_says_so_in_a_sentence(data, model):
    if model is LightGCN:
        pytest.importorskip("torch")
        model = LightGCN(embedding_dim=4, epochs=1, device="cpu")
    model.fit(data.train)
    with pytest.raises(UsageError, match=f"{type(model).__name__} cannot say which items of a user raise a score: .*ItemKNN.* can$"):
        model.explain(model.user_ids.ids[0], model.item_ids.ids[0])


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda model: model.explain("nobody", "tea"), "unknown user id 'nobody'"),
        (lambda model: model.explain("ann", "cake"), "unknown item id 'cake'"),
        (lambda model: model.explain(["ann"], "tea"), "explain takes one id as user_id, not a list; call it once for each"),
        (lambda model: model.explain_for(["cake"], "tea"), "unknown item id 'cake'"),
        (lambda model: model.explain_for(["pie"], "cake"), "unknown item id 'cake'"),
        (lambda model: model.explain_for([["pie"], ["jam"]], "tea"), "explain_for takes the items of one new user"),
        (lambda model: model.explain_for([], "tea"), "a new user needs at least one item"),
        (lambda model: model.explain_for("pie", "tea"), r"give the items of a new user as a list, such as \['pie'\]"),
        (lambda model: model.explain(user="ann", item_id="tea"), "unknown argument of explain 'user'"),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(ask, says):
    with pytest.raises(UsageError, match=says):
        ask(of_baskets())


@pytest.mark.parametrize("kind", ["ultragcn", "ials", "ease", "itemknn"])
def test_several_items_are_explained_together_as_one_by_one(data, kind):
    model = {
        "ultragcn": lambda: UltraGCN(embedding_dim=8, epochs=2, seed=0, item_graph_weight=0.5),
        "ials": lambda: IALS(embedding_dim=4, epochs=2),
        "ease": EASE, "itemknn": ItemKNN,
    }[kind]().fit(data)  # fmt: skip
    user, items = model.user_ids.ids[3], model.item_ids.ids[[5, 2, 40]]
    basket = model.item_ids.ids[[1, 7, 9]]
    for together, alone in (
        (model.explain(user, items), [model.explain(user, item) for item in items]),
        (model.explain_for(basket, list(items)), [model.explain_for(basket, item) for item in items]),
    ):
        assert [one.item_id for one in together] == items.tolist()
        for one, other in zip(together, alone, strict=True):
            assert one.score == other.score
            assert one.item_ids.tolist() == other.item_ids.tolist()
            assert one.contributions.tolist() == other.contributions.tolist()
    assert model.explain(user, []) == []


def test_a_model_that_is_not_fitted_explains_nothing():
    with pytest.raises(NotFittedError):
        ItemKNN().explain("ann", "tea")


# ------------------------------------------------------------------ on the command line


@pytest.fixture
def folder(tmp_path):
    model = of_baskets()
    model.item_titles_ = np.array(["Jam\tjar", "Pie", "Tea"], object)
    return str(model.save(tmp_path / "run"))


def test_the_command_prints_a_sentence_and_a_table_that_adds_up(folder, capsys):
    assert main(["explain", folder, "--user", "eve", "--item", "pie", "--top_k", "1"]) == 0
    sentence, empty, header, *lines = capsys.readouterr().out.splitlines()
    assert sentence == "User 'eve' may like 'Pie' because of 'Tea' (100 %)."
    assert empty == ""
    assert header.split("\t") == ["item_id", "title", "contribution", "share"]
    cells = [line.split("\t") for line in lines]
    assert [row[0] for row in cells] == ["tea", "(others)", "(trend)", "(rest)", "(score)"]
    assert {len(row) for row in cells} == {4}
    *numbers, score = (float(row[2]) for row in cells)
    assert sum(numbers) == pytest.approx(score, abs=1e-5)


def test_a_title_with_a_tab_stays_in_its_cell(folder, capsys):
    assert main(["explain", folder, "--user", "joe", "--item", "tea"]) == 0
    assert capsys.readouterr().out.splitlines()[3].split("\t")[:2] == ["jam", "Jam jar"]


def test_the_command_prints_json_of_a_new_user_too(folder, capsys):
    assert main(["explain", folder, "--items", "tea", "jam", "--item", "pie", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["user_id"] is None
    assert [reason["item_id"] for reason in told["reasons"]] == ["tea", "jam"]
    assert told["reasons"][0]["share"] == 1.0
    assert sum(reason["contribution"] for reason in told["reasons"]) + told["rest"] == pytest.approx(told["score"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--user", "zoe", "--item", "pie"], "unknown user id 'zoe'"),
        (["--user", "eve", "--item", "cake"], "unknown item id 'cake'"),
        (["--user", "eve", "--items", "pie", "--item", "tea"], "not allowed with"),
        (["--users", "eve", "--item", "tea"], "did you mean --user?"),
        (["--user", "eve", "--item", "tea", "--top_k", "0"], "--top_k must be a whole number of 1 or more, not 0"),
    ],
)
def test_a_command_that_cannot_be_meant_is_one_line(folder, words, says, capsys):
    assert main(["explain", folder, *words]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
