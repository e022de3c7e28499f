"""The contract: what every model of the registry can do, whichever it is.

A model that cannot do something says so in one sentence, which is part of the contract too.
"""

import copy
import functools
import importlib.util
import inspect
import pickle
import sys
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp

from tests.conftest import Heard, interactions_of
from ultragcn import Dataset, Interactions, evaluate, load_model, machine, read_interactions
from ultragcn.data.ids import IdMap
from ultragcn.errors import DataError, NotFittedError, UsageError
from ultragcn.kernels import numba_cpu
from ultragcn.models import lists
from ultragcn.models.refit import chooses_epochs
from ultragcn.models.registry import MODELS, hyper_parameters, make_model
from ultragcn.rules import masks

TORCH = ("ultragcn-sgd", "lightgcn")
NO_TASTE = ("popularity",)
ONLY_KNOWN_USERS = ("bpr", "lightgcn")
NO_REASONS = ("popularity", "bpr", "lightgcn")
NO_USER_EMBEDDINGS = ("popularity", "itemknn", "rp3beta", "ease", "sparse-ease")
_EXACT = {"embedding_dim": 8, "epochs": 30}
ENOUGH = {
    "ultragcn": _EXACT, "ultragcn-default": _EXACT, "ultragcn-paper": _EXACT,
    "ultragcn-sgd": {"embedding_dim": 8, "epochs": 100, "patience": 100, "learning_rate": 0.02, "batch_size": 64, "num_negatives": 20,
                     "negative_weight": 20, "init_std": 0.1, "l2_weight": 0.01, "device": "cpu"},
    "itemknn": {"num_neighbors": 12}, "rp3beta": {"num_neighbors": 12}, "ease": {"l2": 1.0}, "sparse-ease": {"l2": 1.0},
    "ials": {"embedding_dim": 8, "epochs": 10, "l2": 0.1}, "bpr": {"embedding_dim": 8, "epochs": 300, "learning_rate": 0.1},
    "lightgcn": {"embedding_dim": 8, "epochs": 60, "learning_rate": 0.05, "device": "cpu"},
}  # fmt: skip
"""Settings with which a model learns the checkerboard."""
SIZE = 20
USERS, ITEMS = ([f"{kind}{number:02}" for number in range(SIZE)] for kind in "ui")
BOARD = (np.add.outer(np.arange(SIZE), np.arange(SIZE)) % 2 == 0) & ~np.eye(SIZE, dtype=bool)
"""Even users like even items, odd users odd ones, but everyone still lacks the item of their own number."""
HELD_OUT = np.zeros((SIZE, SIZE), bool)
HELD_OUT[np.arange(SIZE), (np.arange(SIZE) + 2) % SIZE] = True

pytestmark = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch"))
        if name in TORCH
        else name
        for name in MODELS
    ],
)


def of(dense) -> Interactions:
    """Interactions of a 0/1 array, with ids u00 ... and i00 ..."""
    ids = IdMap(np.array(USERS, object), "user"), IdMap(np.array(ITEMS, object), "item")
    return Interactions(sp.csr_matrix(np.asarray(dense, np.float32)), *ids)


def frame_of(dense) -> pl.DataFrame:
    """The same as a frame; its rows in no order."""
    rows, columns = np.nonzero(dense)
    order = np.random.default_rng(0).permutation(len(rows))
    return pl.DataFrame({"user": np.array(USERS, object)[rows[order]].tolist(), "item": np.array(ITEMS, object)[columns[order]].tolist()})


def model_of(name, **changes):
    """An untrained model that learns a little in no time."""
    few = {"epochs": 3} if "epochs" in hyper_parameters(name) else {}
    return make_model(name, None, 0, ENOUGH.get(name, {}) | few | changes)


@functools.cache
def fitted(name):
    """The model that learned the checkerboard; nobody changes it."""
    return make_model(name, None, 0, ENOUGH.get(name, {})).fit(of(BOARD))


@functools.cache
def chosen(name):
    """The model that learned a little, and chose on held-out pairs what there is to choose."""
    return model_of(name).fit(of(BOARD & ~HELD_OUT), of(HELD_OUT))


def lists_of(model, **rules):
    return model.recommend(model.user_ids.ids, 9, **rules)


def assert_same_lists(model, other):
    for mine, theirs in zip(lists_of(model), lists_of(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)


# ---------------------------------------------------------------------- fitting


@pytest.mark.parametrize("kind", ["polars", "pandas", "file", "matrix", "read"])
def test_it_is_fitted_to_a_frame_a_file_or_a_matrix_as_to_interactions(name, kind, tmp_path):
    frame = frame_of(BOARD)
    given = {
        "polars": lambda: frame,
        "pandas": lambda: pd.DataFrame(frame.to_dict(as_series=False)),
        "file": lambda: tmp_path / "log.csv",
        "matrix": lambda: sp.coo_matrix(BOARD),
        "read": lambda: read_interactions(frame),
    }[kind]()
    frame.write_csv(tmp_path / "log.csv")
    model = model_of(name).fit(given)
    expected = model_of(name).fit(of(BOARD))
    items, scores = lists_of(model)
    wanted, numbers = lists_of(expected)
    np.testing.assert_array_equal(scores, numbers)
    if kind == "matrix":  # whose ids are its row and column numbers
        wanted = np.where(wanted == "", -1, [[int(item[1:] or -1) for item in row] for row in wanted])
    np.testing.assert_array_equal(items, wanted)


def test_it_is_fitted_to_a_data_set_as_its_protocol_says(name):
    train, held_out, test = of(BOARD & ~HELD_OUT), of(HELD_OUT), of(np.eye(SIZE))
    titles = np.array([f"Item {item}" for item in ITEMS], object)
    clean = model_of(name).fit(Dataset("mine", "clean", train, held_out, test, "", item_titles=titles))
    assert_same_lists(clean, chosen(name))
    assert clean.item_titles_[3] == "Item i03"
    authors = model_of(name).fit(Dataset("mine", "authors", train, None, test, ""))
    assert_same_lists(authors, model_of(name).fit(train, select_on=test))
    assert authors.valid_ is None
    assert authors.item_titles_ is None
    with pytest.raises(UsageError, match="a data set brings its own validation pairs; drop valid"):
        model_of(name).fit(Dataset("mine", "clean", train, held_out, test, ""), held_out)


def test_held_out_pairs_are_taken_from_a_frame_too_and_all_come_in_one_form(name):
    train, held_out = BOARD & ~HELD_OUT, HELD_OUT
    assert_same_lists(model_of(name).fit(frame_of(train), frame_of(held_out)), chosen(name))
    with pytest.raises(UsageError, match="in one form: give all of them as interactions, or none"):
        model_of(name).fit(of(train), frame_of(held_out))


def test_columns_are_named_where_they_are_not_found_and_only_where_something_is_read(name):
    frame = frame_of(BOARD).rename({"user": "who", "item": "what"})
    model = model_of(name).fit(frame, user_column="who", item_column="what")
    assert model.train_.num_users == SIZE
    with pytest.raises(UsageError, match="user_column says how to read files, frames and matrices"):
        model_of(name).fit(of(BOARD), user_column="who")


def test_what_cannot_be_fitted_to_is_one_sentence(name):
    for given, says in (
        ("demo", "'demo' is the name of a data set, not a file; give load_dataset"),
        (np.eye(3), "cannot read interactions from ndarray"),
        (None, "cannot read interactions from NoneType"),
    ):
        with pytest.raises(UsageError, match=says):
            model_of(name).fit(given)
    for nothing in (np.zeros((SIZE, SIZE)), np.zeros((0, 0))):
        with pytest.raises(DataError, match="no train interactions"):
            model_of(name).fit(interactions_of(nothing))
    with pytest.raises(UsageError, match="must have the same ids"):
        model_of(name).fit(of(BOARD), interactions_of(np.eye(SIZE)))


def test_fitting_twice_is_fitting_once_to_what_came_last(name):
    model = model_of(name).fit(of(~BOARD))
    model.recommend(USERS)
    assert_same_lists(model.fit(of(BOARD)), model_of(name).fit(of(BOARD)))


def test_what_the_caller_changes_later_does_not_reach_the_model(name):
    matrix = sp.csr_matrix(BOARD.astype(np.float32))
    model = model_of(name).fit(matrix)
    before = lists_of(model)
    kept = [table.copy() for table in before]
    matrix.indices[:] = 0
    for table in before:
        table[...] = 0
    for mine, theirs in zip(lists_of(model), kept, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_same_seed_gives_the_same_scores_and_another_seed_others(name):
    dense = np.random.default_rng(0).random((SIZE, SIZE)) < 0.3
    scores = lists_of(model_of(name).fit(of(dense)))[1]
    np.testing.assert_array_equal(lists_of(model_of(name).fit(of(dense)))[1], scores)
    if "seed" in hyper_parameters(name):
        assert not np.allclose(lists_of(model_of(name, seed=1).fit(of(dense)))[1], scores)


@pytest.mark.parametrize("dense", [[[1]], [[1, 1, 1]], [[1], [1]], [[1, 0, 0], [0, 0, 0]], [[1, 1], [1, 1]], [[1, 0, 1], [1, 1, 1]]])
def test_awkward_data_give_finite_scores(name, dense):
    model = model_of(name).fit(interactions_of(dense))
    assert np.isfinite(model.recommend(list(range(len(dense))), len(dense[0]), exclude_seen=False)[1]).all()


def test_progress_is_shown_from_its_start_to_its_end(name, capsys, monkeypatch):
    heard = Heard()
    model_of(name).fit(of(BOARD), progress=heard)
    started = [told for told in heard.told if isinstance(told, tuple)]
    assert "training" in [what for what, _, _ in started]
    assert heard.told.count("finished") == len(started)
    capsys.readouterr()
    model_of(name).fit(of(BOARD))
    assert capsys.readouterr() == ("", "")
    model_of(name).fit(of(BOARD), progress=True)
    assert capsys.readouterr() == ("", "")  # where stderr is no terminal, short work leaves no line
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    model_of(name).fit(of(BOARD), progress=True)
    assert "training" in capsys.readouterr().err
    with pytest.raises(UsageError, match="progress must be True, False or an object with start, advance and finish"):
        model_of(name).fit(of(BOARD), progress="yes")


def test_refitting_trains_a_new_model_on_train_and_validation_with_what_was_chosen(name):
    model = chosen(name)
    before = lists_of(model)
    again = model.refit()
    assert type(again) is type(model)
    assert again is not model
    assert again.train_.hash == of(BOARD | HELD_OUT).hash
    assert again.valid_ is None
    assert_same_lists(again, model.untrained().fit(of(BOARD | HELD_OUT)))
    if chooses_epochs(model):
        assert len(again.history_) == model.best_epoch_
    for mine, theirs in zip(lists_of(model), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_refitting_to_other_data_takes_all_that_fit_takes(name):
    data = Dataset("mine", "clean", of(BOARD & ~HELD_OUT), of(HELD_OUT), of(np.eye(SIZE)), "")
    for given in (data, frame_of(BOARD | HELD_OUT)):
        assert_same_lists(chosen(name).refit(given), chosen(name).refit())
    with_test = of(BOARD | HELD_OUT).union(data.test).hash
    assert chosen(name).refit(replace(data, one_log=True)).train_.hash == with_test  # a log of one's own: the model to use
    with pytest.raises(UsageError, match="refit has nothing left to choose, so it takes no valid"):
        chosen(name).refit(of(BOARD), valid=of(HELD_OUT))


# ----------------------------------------------------------------- recommending


def test_even_users_like_even_items(name):
    model = fitted(name)
    items, _ = model.recommend(USERS, top_k=1)
    if name not in NO_TASTE:
        # The one even (or odd) item a user lacks is the one of their own number.
        assert items[:, 0].tolist() == ITEMS


def test_one_id_gives_one_list_and_several_give_several(name):
    model = fitted(name)
    items, scores = model.recommend("u03", top_k=5)
    assert items.shape == scores.shape == (5,)
    assert scores.dtype == np.float32
    for several in (["u04", "u03"], np.array(["u04", "u03"], object), ("u04", "u03")):
        many, many_scores = model.recommend(several, top_k=5)
        assert many.shape == many_scores.shape == (2, 5)
        assert many[1].tolist() == items.tolist()
        np.testing.assert_array_equal(many_scores[1], scores)
    assert model.recommend([], top_k=5)[0].shape == (0, 5)


def test_seen_items_are_never_listed_unless_asked_for_and_places_left_are_empty(name):
    model = fitted(name)
    items, scores = model.recommend(["u00", "u01"], top_k=30)
    for user in (0, 1):
        listed = items[user][scores[user] > -np.inf]
        assert not set(listed) & set(np.array(ITEMS)[BOARD[user]])
        assert len(listed) == 11
        assert (items[user][11:] == "").all()
    assert len(model.recommend("u00", top_k=30)[0]) == 11
    assert set(model.recommend("u00", top_k=20, exclude_seen=False)[0]) == set(ITEMS)


def test_validation_items_count_as_seen(name):
    items, _ = chosen(name).recommend(USERS, top_k=SIZE)
    assert all(ITEMS[(user + 2) % SIZE] not in items[user] for user in range(SIZE))


@pytest.mark.parametrize("few", [masks.FEW, 0])
def test_candidates_and_exclusions_are_masks_before_the_list_is_made(name, few, monkeypatch):
    monkeypatch.setattr(masks, "FEW", few)
    model = fitted(name)
    for seen in (True, False):
        whole, numbers = model.recommend(USERS, SIZE, seen)
        only, never = ITEMS[3:17], ITEMS[5:9]
        for rules in ({"candidates": only[::-1]}, {"exclude": never}, {"candidates": only, "exclude": never}, {"exclude": "i07"}):
            items, scores = model.recommend(USERS, 4, seen, **rules)
            barred = {"i07"} if rules.get("exclude") == "i07" else set(rules.get("exclude", ()))
            for user in range(SIZE):
                may = [item in rules.get("candidates", ITEMS) and item not in barred for item in whole[user]]
                allowed = whole[user][may & (whole[user] != "")][:4]
                assert items[user][items[user] != ""].tolist() == allowed.tolist()
                np.testing.assert_allclose(scores[user][: len(allowed)], numbers[user][may & (whole[user] != "")][:4], rtol=1e-6)
    assert model.recommend("u00", candidates=[])[0].tolist() == []
    with pytest.raises(UsageError, match="candidates has an id that cannot be meant: unknown item id 'x'"):
        model.recommend("u00", candidates=["i00", "x"])
    with pytest.raises(UsageError, match="exclude has an id that cannot be meant: unknown item id 7"):
        model.recommend("u00", exclude=[7])


def test_unknown_users_raise_or_get_what_is_popular_or_nothing(name):
    model = fitted(name)
    known, _ = model.recommend(["u01", "u02"], 5)
    with pytest.raises(UsageError, match="unknown user id 'zoe': the model knows 20 users"):
        model.recommend(["u01", "zoe", "u02"], 5)
    items, scores = model.recommend(["u01", "zoe", "u02"], 5, unknown="skip")
    np.testing.assert_array_equal(items[[0, 2]], known)
    assert (items[1] == "").all()
    assert np.isneginf(scores[1]).all()
    assert model.recommend("zoe", 5, unknown="skip")[0].shape == (0,)
    rules = {"candidates": ITEMS[4:], "exclude": ["i05"], "unknown": "popular"}
    items, scores = model.recommend(["zoe", "u01"], 5, **rules)
    assert items[0].tolist() == ["i04", "i06", "i07", "i08", "i09"]  # all have nine users, and the first of equals comes first
    assert scores[0].tolist() == [9.0] * 5
    assert items[1].tolist() == model.recommend("u01", 5, candidates=ITEMS[4:], exclude=["i05"])[0].tolist()
    assert model.recommend([1, 2], 3, unknown="popular")[0].tolist() == [ITEMS[:3]] * 2  # ids of another kind
    with pytest.raises(UsageError, match="unknown must be raise, popular or skip, not 'ignore'"):
        model.recommend("u00", unknown="ignore")


def test_the_frame_has_what_the_arrays_have(name, monkeypatch):
    monkeypatch.setattr(lists, "BATCH_USERS", 3)  # several blocks
    model = copy.copy(fitted(name))
    model.item_titles_ = np.array([f"Item {item}" for item in ITEMS], object)
    asked = ["u05", "zoe", "u01", "u02", "eve", "u05"]
    items, scores = model.recommend(asked, 12, unknown="skip", exclude=["i04"])
    frame = model.recommend_frame(asked, 12, unknown="skip", exclude=["i04"])
    assert frame.columns == ["user_id", "rank", "item_id", "title", "score"]
    rows = [
        (user, place + 1, item, f"Item {item}", score)
        for user, row, own in zip(asked, items.tolist(), scores.tolist(), strict=True)
        for place, (item, score) in enumerate(zip(row, own, strict=True))
        if item
    ]
    assert frame.rows() == rows
    assert fitted(name).recommend_frame("u05", 2).columns == ["user_id", "rank", "item_id", "score"]
    popular = model.recommend_frame(["zoe"], 2, unknown="popular")
    assert popular["item_id"].to_list() == ["i00", "i01"]
    nobody = model.recommend_frame(["zoe"], unknown="skip")
    assert nobody.is_empty()
    assert nobody.schema == frame.schema


def test_a_user_without_train_items_gets_what_is_popular(name):
    # Of 20 users two have nothing, and few have the items with a high number.
    some = BOARD & np.add.outer(np.arange(SIZE), np.arange(SIZE)).__lt__(SIZE + 4)
    some[[3, 8]] = False
    degrees = some.sum(axis=0)
    model = model_of(name).fit(of(some))
    asked = [USERS[3], USERS[0], USERS[8]]
    items, scores = model.recommend(asked, 6)
    for row in (0, 2):
        assert len(set(scores[row].tolist())) > 1
        if not name.startswith("ultragcn"):  # which has the mean user's taste for them
            assert items[row].tolist() == [ITEMS[item] for item in np.argsort(-degrees, kind="stable")[:6]]
            np.testing.assert_array_equal(scores[row], np.sort(degrees)[::-1][:6])
            np.testing.assert_array_equal(model.score(asked[row], items[row].tolist()), scores[row])
    np.testing.assert_array_equal(items[1], model.recommend(USERS[0], 6)[0])
    np.testing.assert_array_equal(model.recommend(asked, 6, unknown="popular")[0], items)
    best = items[0][0]
    assert model.recommend(USERS[3], 3, exclude=[best], only=items[0][:3].tolist())[0].tolist() == items[0][1:3].tolist()


def test_the_score_is_the_number_that_ranks(name):
    model = fitted(name)
    items, scores = model.recommend(USERS, SIZE, exclude_seen=False)
    for user in (0, 7):
        np.testing.assert_array_equal(model.score(USERS[user], items[user]), scores[user])
    one = model.score("u00", items[0, 0])
    assert isinstance(one, float)
    assert one == scores[0, 0]
    np.testing.assert_array_equal(model.score(USERS, items[:, 2]), scores[:, 2])
    assert model.score(USERS, "i00").shape == (SIZE,)
    assert model.score("u00", []).shape == (0,)
    with pytest.raises(UsageError, match="2 users do not pair with 3 items"):
        model.score(["u00", "u01"], ITEMS[:3])
    with pytest.raises(UsageError, match="unknown item id 'x'"):
        model.score("u00", "x")


def test_similar_items_are_even_for_even_ones_and_never_the_item_itself(name):
    model = fitted(name)
    if name in NO_TASTE:
        with pytest.raises(UsageError, match="no similar items; give by together"):
            model.similar_items("i00")
        return
    for number in range(6):
        others, values = model.similar_items(ITEMS[number], top_k=8)
        assert ITEMS[number] not in others
        assert len(others) > 0
        assert all(int(other[1:]) % 2 == number % 2 for other in others)
        assert (np.diff(values) <= 0).all()
    many, numbers = model.similar_items(["i03", "i00"], top_k=25)
    assert many.shape == numbers.shape == (2, SIZE)  # never more places than there are items
    for row, item in enumerate(("i03", "i00")):
        one, own = model.similar_items(item, top_k=25)
        assert many[row].tolist() == [*one, *[""] * (SIZE - len(one))]
        np.testing.assert_array_equal(numbers[row][: len(one)], own)
        assert np.isneginf(numbers[row][len(one) :]).all()
    with pytest.raises(UsageError, match="unknown item id 'x'"):
        model.similar_items(["i00", "x"])


def test_items_are_alike_together_in_every_model_and_by_embeddings_where_there_are_any(name):
    model = fitted(name)
    others, values = model.similar_items("i04", top_k=25, by="together")
    assert set(others) <= {item for item in ITEMS[::2] if item != "i04"}
    assert len(others) == 9 or hasattr(model, "item_weights_")
    assert (values > 0).all()
    if hasattr(model, "item_embedding_"):
        near, _ = model.similar_items("i04", top_k=8, by="embeddings")
        assert all(int(item[1:]) % 2 == 0 for item in near)
    else:
        with pytest.raises(UsageError, match="learns no embeddings of items, by which they could be compared; give by together"):
            model.similar_items("i04", by="embeddings")
    usual = {"ultragcn": "together", "bpr": "embeddings", "ials": "embeddings", "lightgcn": "embeddings", "popularity": None}
    assert model.similar_by == usual.get(name.split("-")[0], "together")
    if model.similar_by is not None:
        usually, explicit = model.similar_items("i04", top_k=8), model.similar_items("i04", top_k=8, by=model.similar_by)
        np.testing.assert_array_equal(usually[0], explicit[0])
    with pytest.raises(UsageError, match="by must be together or embeddings, not 'cosine'"):
        model.similar_items("i04", by="cosine")


def test_what_nobody_has_and_who_has_nothing_is_never_like_anything(name):
    board = BOARD.copy()
    board[:, [4, 7]] = False
    board[[4, 7], :] = False
    model = model_of(name).fit(of(board))
    for way in ("together", "embeddings") if hasattr(model, "item_embedding_") else ("together",):
        others, values = model.similar_items(ITEMS, top_k=25, by=way)
        assert not np.isin(others, ["i04", "i07"]).any()
        assert (others[[4, 7]] == "").all()
        assert np.isneginf(values[[4, 7]]).all()
        assert (others[[0, 1, 2]] != "").any(axis=1).all()
    if name not in NO_USER_EMBEDDINGS:
        users, _ = model.similar_users(USERS, top_k=25)
        assert not np.isin(users, ["u04", "u07"]).any()
        assert (users[[4, 7]] == "").all()
        assert (users[0] != "").sum() == SIZE - 3


def test_similar_users_are_even_for_even_ones_where_users_have_embeddings(name):
    model = fitted(name)
    if name in NO_USER_EMBEDDINGS:
        with pytest.raises(UsageError, match="learns no embeddings of users"):
            model.similar_users("u00")
        return
    one, own = model.similar_users("u03", top_k=9)
    assert all(int(user[1:]) % 2 == 1 for user in one)
    many, numbers = model.similar_users(["u00", "u03"], top_k=9)
    assert many[1].tolist() == one.tolist()
    np.testing.assert_array_equal(numbers[1], own)


def test_someone_new_is_recommended_what_goes_with_their_items(name):
    model = fitted(name)
    if name in ONLY_KNOWN_USERS:
        with pytest.raises(UsageError, match="only by training"):
            model.recommend_for(["i00", "i02"])
        return
    items, _ = model.recommend_for(["i00", "i02", "i04"], top_k=5)
    assert len(items) == 5
    assert not set(items) & {"i00", "i02", "i04"}
    if name not in NO_TASTE:
        assert all(int(item[1:]) % 2 == 0 for item in items)
    # Someone new with the items of a known user gets what the known user gets.
    baskets = [np.array(ITEMS, object)[BOARD[user]] for user in (0, 1)]
    assert model.recommend_for(baskets, top_k=1)[0].tolist() == model.recommend(["u00", "u01"], top_k=1)[0].tolist()
    rules = {"candidates": ITEMS[6:], "exclude": ["i08", "i10"]}
    assert set(model.recommend_for(["i00"], top_k=SIZE, **rules)[0]) == set(ITEMS[6:]) - {"i08", "i10"}
    assert "i00" in model.recommend_for(["i00"], top_k=SIZE, exclude_seen=False)[0]


def test_unknown_items_of_someone_new_raise_or_do_not_count(name):
    model = fitted(name)
    for basket in (["x"], ["x", "i00"]):
        with pytest.raises(UsageError, match="unknown item id 'x'"):
            model.recommend_for(basket)
    with pytest.raises(UsageError, match="needs at least one item"):
        model.recommend_for([])
    assert model.recommend_for([], 3, unknown="popular")[0].tolist() == ITEMS[:3]
    assert model.recommend_for([["x"], ["y"]], 3, unknown="skip")[0].tolist() == [[""] * 3] * 2
    if name not in ONLY_KNOWN_USERS:
        items, _ = model.recommend_for([["x", "i00"], ["x"], ["i01"]], 4, unknown="popular")
        assert items.tolist() == [model.recommend_for(["i00"], 4)[0].tolist(), ITEMS[:4], model.recommend_for(["i01"], 4)[0].tolist()]
    with pytest.raises(UsageError, match="give the items of a new user as a list"):
        model.recommend_for("i00")


@pytest.mark.parametrize("top_k", [0, -1, 2.5, "3", True])
def test_a_list_of_no_length_is_refused(name, top_k):
    model = fitted(name)
    for ask in (model.recommend, model.recommend_frame, model.similar_items, model.similar_users):
        with pytest.raises(UsageError, match="top_k must be a whole number"):
            ask(["u00"], top_k=top_k)


def test_what_is_no_id_is_refused_with_what_ids_are(name):
    model = fitted(name)
    for nonsense in (3.0, None, [3.0], True, ["u00", 1]):
        with pytest.raises(UsageError, match="user ids must be all integers or all strings, not"):
            model.recommend(nonsense)


def test_all_models_are_evaluated_alike(name):
    model, targets = fitted(name), of(np.eye(SIZE))
    result = evaluate(model, targets, ["recall@1", "recall@20"])
    assert result == model.evaluate(targets, ["recall@1", "recall@20"])
    assert result["recall@20"] == 1.0
    assert result["num_users"] == SIZE


# ------------------------------------------------------------- keeping and copying


def test_what_is_saved_recommends_the_same_after_loading(name, tmp_path):
    model = copy.copy(chosen(name))
    model.item_titles_ = np.array([f"Item {item}" for item in ITEMS], object)
    folder = model.save(tmp_path / "model")
    for loaded in (type(model).load(folder), load_model(folder)):
        assert type(loaded) is type(model)
        assert_same_lists(loaded, model)
        np.testing.assert_array_equal(loaded.score(USERS, ITEMS), model.score(USERS, ITEMS))
        assert loaded.config == model.config
        assert {known: getattr(loaded, known) for known in loaded._recorded} == {known: getattr(model, known) for known in model._recorded}
        assert repr(loaded) == repr(model)
        assert loaded.item_titles_.tolist() == model.item_titles_.tolist()
        assert loaded.untrained().get_params() == model.untrained().get_params()


def test_a_model_of_another_kind_is_not_loaded(name, tmp_path):
    other = type(fitted("ease" if name != "ease" else "itemknn"))
    kind = type(fitted(name)).__name__.lower()
    with pytest.raises(UsageError, match=f"holds a model of another kind .{kind}, not {other.__name__.lower()}"):
        other.load(fitted(name).save(tmp_path))


@pytest.mark.parametrize("way", [lambda model: pickle.loads(pickle.dumps(model)), copy.copy, copy.deepcopy])
def test_a_pickle_or_a_copy_of_a_fitted_model_has_equal_lists(name, way):
    model = chosen(name)
    lists_of(model)
    made = way(model)
    assert_same_lists(made, model)
    assert made.get_params() == model.get_params()
    before = lists_of(model)
    made.fit(of(~BOARD))
    for mine, theirs in zip(lists_of(model), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_pickle_does_not_hold_what_is_made_again(name):
    model = model_of(name).fit(of(BOARD & ~HELD_OUT), of(HELD_OUT))
    fresh = len(pickle.dumps(model))
    lists_of(model)
    if name not in ONLY_KNOWN_USERS:
        model.recommend_for(ITEMS[:2])
    assert model._scorer is not None
    assert set(vars(model)) - set(model.__getstate__()) >= {"_scorer", "_seen"}
    assert len(pickle.dumps(model)) - fresh < 300  # SciPy notes that columns are sorted


def test_scikit_learn_clones_it(name):
    clone = pytest.importorskip("sklearn.base").clone
    made = clone(chosen(name).set_params(num_threads=None))
    assert made.get_params() == chosen(name).get_params()
    assert not made.is_fitted
    assert_same_lists(made.fit(of(BOARD & ~HELD_OUT), of(HELD_OUT)), chosen(name))


def test_its_parameters_are_those_of_its_constructor_and_can_be_set(name):
    model = model_of(name)
    params = model.get_params()
    assert list(params) == [*hyper_parameters(name), "num_threads"]
    known = set(inspect.signature(type(model)).parameters) - {"config"}
    assert known == set(params)
    assert type(model)(**params).get_params() == params
    some = next(iter(hyper_parameters(name)))
    assert model.set_params(**{some: 2}) is model
    assert model.get_params()[some] == 2
    with pytest.raises(UsageError, match="what scikit-learn calls n_jobs is num_threads here"):
        model.set_params(n_jobs=3)
    assert model.get_params() == params | {some: 2}


def test_a_changed_hyper_parameter_asks_for_another_fit_and_threads_do_not(name):
    model = copy.copy(fitted(name))
    assert_same_lists(model.set_params(num_threads=1), fitted(name))
    some = next(iter(hyper_parameters(name)))
    with pytest.raises(NotFittedError):
        model.set_params(**{some: 3}).recommend("u00")
    assert fitted(name).is_fitted


def test_threads_change_no_list_and_are_kept_to_in_every_verb_and_restored(name, monkeypatch):
    blas, during = numba_cpu.threads._blas(), []
    before = [library.get_num_threads() for library in blas.lib_controllers]

    def noted(kernel):
        def call(*arguments):
            during.append((machine.thread_limit(), max(library.get_num_threads() for library in blas.lib_controllers)))
            return kernel(*arguments)

        return call

    for kernel in ("rank_users", "top_k", "pair_scores"):
        monkeypatch.setattr(numba_cpu, kernel, noted(getattr(numba_cpu, kernel)))
    model = model_of(name).set_params(num_threads=1)
    model.fit(of(BOARD & ~HELD_OUT), of(HELD_OUT))
    if name == "ease":  # whose inverse LAPACK rounds otherwise on several threads
        np.testing.assert_allclose(lists_of(model)[1], lists_of(chosen(name))[1], atol=1e-6)
    else:
        assert_same_lists(model, chosen(name))
    during.clear()
    verbs = [
        lambda: model.recommend(USERS), lambda: model.recommend_frame(USERS), lambda: model.score("u00", ITEMS),
        lambda: evaluate(model, of(np.eye(SIZE))),
    ]  # fmt: skip
    for ask in verbs:
        ask()
        assert during
        assert set(during) == {(1, 1)}
        during.clear()
    assert machine.thread_limit() is None
    assert [library.get_num_threads() for library in blas.lib_controllers] == before


def test_several_threads_may_ask_one_model(name):
    model, found = fitted(name), []
    threads = [threading.Thread(target=lambda: found.append(lists_of(model))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for items, scores in found:
        np.testing.assert_array_equal(items, lists_of(model)[0])
        np.testing.assert_array_equal(scores, lists_of(model)[1])
    assert len(found) == 3


# ---------------------------------------------------------------------- why


def test_it_says_what_each_item_of_a_user_adds_to_a_score_or_that_it_cannot(name):
    model = fitted(name)
    if name in NO_REASONS:
        for ask in (lambda: model.explain("u00", "i00"), lambda: model.explain_for(["i02"], "i00")):
            with pytest.raises(UsageError, match=f"{type(model).__name__} "):
                ask()
        return
    for why in (model.explain("u00", "i00"), model.explain_for(ITEMS[2::2], "i00")):
        assert sorted(why.item_ids) == ITEMS[2::2]
        assert why.contributions.sum() + why.trend + why.rest == pytest.approx(why.score)
        assert why.contributions.sum() > 0  # even users like even items, so they speak for i00
        assert why.contributions.sum() > model.explain("u00", "i01").contributions.sum()


# ----------------------------------------------------------------- what is refused


def test_names_of_other_libraries_lead_to_ours(name):
    model = fitted(name)
    for ask, says in (
        (lambda: model.recommend("u00", N=3), "unknown argument of recommend 'N'; what implicit calls N is top_k here"),
        (lambda: model.recommend("u00", k=3), "is top_k here"),
        (lambda: model.recommend_frame("u00", N=3), "is top_k here"),
        (lambda: model.similar_items("i00", N=3), "is top_k here"),
        (lambda: model_of(name).fit(of(BOARD), show_progress=True), "what implicit calls show_progress is progress here"),
        (lambda: type(model)(n_jobs=2), "is num_threads here"),
        (lambda: type(model)(64), f"hyper-parameters of {type(model).__name__} go by name, such as {type(model).__name__}"),
        (lambda: type(model)(num_threads=0), "num_threads must be a whole number of 1 or more, or None for all cores, not 0"),
    ):
        with pytest.raises(UsageError, match=says):
            ask()


def test_a_hyper_parameter_of_another_library_gets_our_name(name):
    declared = hyper_parameters(name)
    for theirs, ours in (("factors", "embedding_dim"), ("iterations", "epochs"), ("random_state", "seed"), ("lr", "learning_rate")):
        if ours in declared:
            with pytest.raises(UsageError, match=f"{theirs} is {ours} here"):
                type(fitted(name))(**{theirs: 1})


def test_what_asks_for_a_fit_says_so_before_it(name):
    model = model_of(name)
    for ask in (
        lambda: model.recommend("u00"), lambda: model.recommend_frame("u00"), lambda: model.recommend_for(["i00"]),
        lambda: model.score("u00", "i00"), lambda: model.similar_items("i00"), lambda: model.similar_users("u00"),
        lambda: model.save("x"), lambda: model.evaluate(None), lambda: model.refit(), lambda: model.untrained(), lambda: model.seen_,
    ):  # fmt: skip
        with pytest.raises(NotFittedError, match=f"call fit.data. or {type(model).__name__}.load"):
            ask()
