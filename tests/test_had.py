"""What users had and rated too low: it is not learned, and it is not listed either; and the next log is read as the first one was."""

import json
import pickle
import warnings

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from ultragcn import EASE, Interactions, ItemKNN, UltraGCN, diff, evaluate, load_dataset, load_model, read_interactions, storage
from ultragcn.cli import main
from ultragcn.data.had import had_beside, with_had
from ultragcn.errors import DataWarning, UsageError
from ultragcn.models.files import MODEL_FILE
from ultragcn.models.queries import Queries, Rows, lists_of
from ultragcn.models.registry import MODELS, make_model

NUM_USERS, NUM_ITEMS = 40, 24
SMALL = {
    "ultragcn": {"embedding_dim": 4, "epochs": 3, "num_item_neighbors": 5}, "ials": {"embedding_dim": 4},
    "bpr": {"embedding_dim": 4, "epochs": 1}, "lightgcn": {"embedding_dim": 4, "epochs": 1},
    "ultragcn-default": {"embedding_dim": 4, "epochs": 3}, "ultragcn-paper": {"embedding_dim": 4, "epochs": 3},
    "ultragcn-sgd": {"embedding_dim": 4, "epochs": 2},
}  # fmt: skip


def made_log(seed=0, text=True):
    """A log of stars from 1 to 5, in which each user rated half of the items, and a fifth of the pairs twice."""
    random = np.random.default_rng(seed)
    users, items = np.nonzero(random.random((NUM_USERS, NUM_ITEMS)) < 0.5)
    again = random.random(len(users)) < 0.2
    users, items = np.concatenate([users, users[again]]), np.concatenate([items, items[again]])
    stars, order = random.integers(1, 6, len(users)), random.permutation(len(users))
    shown = (lambda letter, rows: [f"{letter}{row:02}" for row in rows]) if text else (lambda _, rows: rows.tolist())
    times = 1_600_000_000 + random.permutation(len(users))
    frame = pl.DataFrame({"user": shown("u", users), "item": shown("i", items), "stars": stars, "time": times})
    return frame[order]


LOG = made_log()
RATED = {"min_rating": 4, "rating_column": "stars"}


def split_by_stars(frame, least=4):
    """Return the pairs that are liked, and those that are rated too low only, of users and items that are liked or like anything."""
    liked = set(frame.filter(pl.col("stars") >= least).select("user", "item").rows())
    users, items = ({pair[side] for pair in liked} for side in (0, 1))
    return liked, {pair for pair in frame.select("user", "item").rows() if pair[0] in users and pair[1] in items} - liked


LIKED, HAD = split_by_stars(LOG)
EVERY_PAIR = set(LOG.select("user", "item").rows())
NUM_USERS_KNOWN = len({user for user, _ in LIKED})


def pairs_of(interactions):
    if interactions is None:
        return set()
    users, items = interactions.pairs
    return set(zip(interactions.user_ids.ids[users].tolist(), interactions.item_ids.ids[items].tolist(), strict=True))


def quietly(function, *given, **named):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return function(*given, **named)


def listed_by(model, **options):
    """Return all pairs of a user and an item in lists of every item."""
    return set(model.recommend_frame(model.user_ids.ids, NUM_ITEMS, **options).select("user_id", "item_id").rows())


def untrained(name, **more):
    return make_model(name, None, 0, SMALL.get(name, {}) | more)


@pytest.fixture(scope="module")
def model():
    return quietly(ItemKNN().fit, LOG, **RATED)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "log.csv"
    LOG.write_csv(path)
    return path


# ---------------------------------------------------------------------- reading


@pytest.mark.parametrize("form", ["frame", "csv", "parquet", "on disk", "two files", "numbers", "none held out"])
def test_every_reader_keeps_what_is_rated_too_low_beside_the_log(tmp_path, form):
    frame = made_log(text=form != "numbers")
    liked, had = split_by_stars(frame)
    frame.write_csv(tmp_path / "log.csv"), frame.write_parquet(tmp_path / "log.parquet")
    frame[:300].write_csv(tmp_path / "a.csv"), frame[300:].write_csv(tmp_path / "b.csv")
    source = {"csv": "log.csv", "parquet": "log.parquet", "on disk": "log.parquet", "none held out": "log.csv"}.get(form)
    given = tmp_path / source if source else [tmp_path / "a.csv", tmp_path / "b.csv"] if form == "two files" else frame
    more = {"on_disk": "yes", "scratch": tmp_path} if form == "on disk" else {"split": "none"} if form == "none held out" else {}
    data = quietly(load_dataset, given, **RATED, **more)
    assert pairs_of(data.everything) == liked
    assert pairs_of(data.had) == had
    assert len(had) > 100


def test_a_matrix_holds_ratings_and_what_is_rated_too_low_was_had():
    ratings = np.array([[5, 1, 0, 4], [0, 4, 5, 2], [4, 0, 3, 5]], np.float32)
    model = ItemKNN().fit(sp.csr_matrix(ratings), min_rating=4)
    assert pairs_of(model.had_) == {(0, 1), (1, 3), (2, 2)}
    assert pairs_of(model.refit(sp.csr_matrix(ratings.T)).had_) == {(1, 0), (3, 1), (2, 2)}


def test_what_where_leaves_out_and_what_was_sent_back_nobody_had():
    frame = pl.DataFrame(
        {
            "user": ["a", "a", "a", "b", "b", "b", "b"], "item": ["x", "y", "z", "x", "y", "z", "z"], "stars": [5, 1, 1, 1, 5, 1, 1],
            "event": ["buy", "view", "buy", "buy", "buy", "buy", "buy"], "quantity": [1, 1, 1, 2, 1, 1, -1],
        }
    )  # fmt: skip
    frame = pl.concat([frame, pl.DataFrame({"user": ["b"], "item": ["z"], "stars": [1], "event": ["buy"], "quantity": [0]})])
    frame = pl.concat([frame, pl.DataFrame({"user": ["c"], "item": ["z"], "stars": [5], "event": ["buy"], "quantity": [1]})])
    bought = quietly(ItemKNN().fit, frame, **RATED, where="event = 'buy'")
    assert pairs_of(bought.had_) == {("a", "z"), ("b", "x"), ("b", "z")}
    kept = quietly(ItemKNN().fit, frame, **RATED, where="event = 'buy'", net=True)
    assert pairs_of(kept.had_) == {("a", "z"), ("b", "x")}  # b sent z back


def test_without_a_lowest_rating_and_of_interactions_nothing_is_known_besides():
    assert quietly(ItemKNN().fit, LOG).had_ is None
    model = ItemKNN().fit(quietly(read_interactions, LOG, **RATED))
    assert (model.had_, dict(model.reading_)) == (None, {})
    liked = LOG.filter(pl.col("stars") >= 4)
    assert quietly(ItemKNN().fit, liked, **RATED).had_ is None


def test_ids_that_are_numbers_in_one_part_and_texts_in_the_other_meet():
    learned = Interactions.from_pairs(["7", "007"], ["x", "y"])
    assert pairs_of(had_beside([Interactions.from_pairs([7, 8], ["y", "x"])], learned)) == {("7", "y")}
    learned = Interactions.from_pairs([7, 8], ["x", "y"])
    assert pairs_of(had_beside([Interactions.from_pairs(["7", "007", "8"], ["y", "x", "y"]), None], learned)) == {(7, "y")}
    assert had_beside([None], learned) is None


def test_a_core_and_a_split_keep_what_users_of_the_core_had():
    data = quietly(load_dataset, LOG, **RATED, k_core=2, split="time", time_column="time")
    kept = data.everything
    users, items = set(kept.user_ids.ids.tolist()), set(kept.item_ids.ids.tolist())
    assert pairs_of(data.had) == {(user, item) for user, item in HAD if user in users and item in items}


def test_train_and_test_given_as_files_leave_out_what_either_likes(tmp_path):
    half = LOG.sort("user", "item", "stars")
    pairs = half.select("user", "item").unique(maintain_order=True)
    first = pairs.gather_every(2)
    half.join(first, on=["user", "item"]).write_csv(tmp_path / "train.csv")
    half.join(first, on=["user", "item"], how="anti").write_csv(tmp_path / "test.csv")
    data = quietly(load_dataset, tmp_path / "train.csv", test=tmp_path / "test.csv", **RATED)
    assert pairs_of(data.had) == HAD
    assert pairs_of(quietly(ItemKNN().fit, data).had_) == set()


# ---------------------------------------------------------------------- lists


@pytest.mark.parametrize("name", MODELS)
def test_no_model_lists_what_a_user_had_unless_asked_to_and_it_learns_nothing_of_it(name):
    model = quietly(untrained(name).fit, LOG, **RATED)
    alone = untrained(name).fit(quietly(read_interactions, LOG, **RATED))
    every = {(user, item) for user in model.user_ids.ids for item in model.item_ids.ids}
    assert listed_by(model) == every - LIKED - HAD
    assert listed_by(model, exclude_seen=False) == every
    assert listed_by(alone) == every - LIKED
    for ours, theirs in zip(*(one.recommend(one.user_ids.ids, NUM_ITEMS, False) for one in (model, alone)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    again = quietly(model.refit)
    assert pairs_of(again.had_) == HAD
    assert listed_by(again) == every - LIKED - HAD


def test_each_way_to_a_list_leaves_it_out(model):
    users = model.user_ids.ids
    only = model.item_ids.ids[:12]
    for items in (model.recommend(users, NUM_ITEMS)[0], np.array([model.recommend(user, NUM_ITEMS)[0] for user in users], object)):
        assert not {(user, item) for user, row in zip(users, items, strict=True) for item in row} & (HAD | LIKED)
    assert not set(model.recommend_frame(users, 12, only=only).select("user_id", "item_id").rows()) & (HAD | LIKED)
    number, nothing = len(users), Rows.of([np.zeros(0, int)] * len(users))
    queries = Queries(
        users.copy(), users.copy(), np.arange(number), nothing, nothing, nothing, np.zeros(number, bool), np.full(number, NUM_ITEMS)
    )  # fmt: skip
    listed, _ = lists_of(model, queries, True, model._bound(*[None] * 9))
    found = {(user, model.item_ids.ids[item]) for user, row in zip(users, listed, strict=True) for item in row if item >= 0}
    assert found
    assert not found & (HAD | LIKED)
    same = diff(model, model, NUM_ITEMS)
    assert same.a.empty_places == NUM_USERS_KNOWN * NUM_ITEMS - len(listed_by(model))


def test_of_many_users_among_many_more_only_their_own_rows_are_put_together(monkeypatch):
    model = quietly(ItemKNN().fit, LOG, **RATED)
    whole = model.seen_
    monkeypatch.setattr("ultragcn.models.ranking_verbs._MANY_USERS", 1)
    monkeypatch.setattr("ultragcn.models.ranking_verbs._LARGE", 4)
    model.had_ = model.had_  # which lets what was put together go
    some = np.array([3, -1, 7, 3])
    few = model._seen_by(some)
    assert model._seen is None
    assert few[[3, 7]].toarray().tolist() == whole[[3, 7]].toarray().tolist()
    assert few.nnz == whole[[3, 7]].nnz


def test_an_explanation_says_that_the_user_has_it_and_gives_reasons_by_what_was_learned(model):
    user, item = min(HAD)
    why = model.explain(user, item)
    assert set(why.item_ids.tolist()) == {one for who, one in LIKED if who == user}


def test_someone_new_gets_what_the_model_of_the_liked_pairs_gives(model):
    alone = ItemKNN().fit(quietly(read_interactions, LOG, **RATED))
    for ours, theirs in zip(model.recommend_for(["i03", "i04"], 9), alone.recommend_for(["i03", "i04"], 9), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# ------------------------------------------------------------------ measuring


def test_what_is_measured_is_as_if_low_ratings_had_never_been_there():
    liked = LOG.filter(pl.col("stars") >= 4)
    figures = []
    for frame in (LOG, liked):
        data = quietly(load_dataset, frame, **RATED)
        model = EASE().fit(data)
        assert model.had_ is None
        assert model.refit().had_ is None
        figures.append((evaluate(model, data.test), evaluate(model, data.valid), data.hash))
        model.had_ = data.had
        assert evaluate(model, data.test) == figures[-1][0]
    assert figures[0] == figures[1]


def test_refitted_on_everything_a_model_knows_what_users_had(file):
    data = quietly(load_dataset, file, **RATED)
    model = EASE().fit(data).refit(data)
    assert pairs_of(model.train_) == LIKED
    assert pairs_of(model.had_) == HAD


# --------------------------------------------------------------------- keeping


def held_in(folder):
    """Return what the file of a model holds; its bytes come in any order."""
    arrays, about = storage.read_arrays(folder / MODEL_FILE, ItemKNN._format)
    return {name: (array.dtype, array.tolist()) for name, array in arrays.items()}, about


def test_it_is_saved_loaded_and_pickled_with_the_model_and_left_out_with_histories(model, tmp_path):
    loaded = load_model(model.save(tmp_path / "whole"))
    for other in (loaded, pickle.loads(pickle.dumps(model))):
        assert pairs_of(other.had_) == HAD
        assert listed_by(other) == listed_by(model)
        assert dict(other.reading_) == {"min_rating": 4.0, "rating_column": "stars"}
    loaded.save(tmp_path / "again")
    assert held_in(tmp_path / "again") == held_in(tmp_path / "whole")
    assert load_model(model.save(tmp_path / "alone", history=False)).had_ is None
    assert not [name for name in held_in(tmp_path / "alone")[0] if name.startswith("had")]
    assert main(["copy", str(tmp_path / "whole"), "--out", str(tmp_path / "copy"), "--without_history"]) == 0
    assert held_in(tmp_path / "copy") == held_in(tmp_path / "alone")


def test_a_file_of_before_has_nothing_of_it_and_is_read(model, tmp_path):
    arrays, about = storage.read_arrays(model.save(tmp_path / "new") / MODEL_FILE, model._format)
    del arrays["had.indptr"], arrays["had.indices"], about["reading"]
    storage.write_arrays(tmp_path / "old" / MODEL_FILE, arrays, model._format, about)
    loaded = load_model(tmp_path / "old")
    assert (loaded.had_, dict(loaded.reading_)) == (None, {})
    assert listed_by(loaded) >= HAD


def changed_indices(place, value):
    def change(arrays, about):
        arrays["had.indices"] = arrays["had.indices"].copy()
        arrays["had.indices"][place] = value

    return change


def without_indptr(arrays, about):
    del arrays["had.indptr"]


def without_indices(arrays, about):
    del arrays["had.indices"]


def learned_too(arrays, about):
    arrays["had.indptr"], arrays["had.indices"] = arrays["train.indptr"], arrays["train.indices"]


def reading_of(value):
    return lambda arrays, about: about.update(reading=value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (changed_indices(0, NUM_ITEMS), "had has a column that is not there"),
        (changed_indices(1, -1), "had has a column that is not there"),
        (changed_indices(0, NUM_ITEMS - 1), "the columns in a row of had do not ascend"), (without_indptr, "it has 'had.indices', which"),
        (without_indices, "had.indices is missing"), (learned_too, "had has a pair that is in train too"),
        (reading_of(["min_rating"]), "reading must be an object"), (reading_of({"min_ratin": 4}), "unknown data option 'min_ratin'"),
        (reading_of({"min_rating": "high"}), "min_rating must be a number"), (reading_of({"min_rating": None}), "not written as save"),
        (reading_of({"test_share": 0.5}), "not written as save"), (reading_of({"min_rating": {}}), "min_rating"),
        (reading_of({"split": "random"}), "not written as save"), (reading_of({"header": "perhaps"}), "header"),
    ],
)  # fmt: skip
def test_a_file_that_was_changed_is_refused_in_a_sentence(model, tmp_path, change, says):
    arrays, about = storage.read_arrays(model.save(tmp_path / "good") / MODEL_FILE, model._format)
    change(arrays, about)
    storage.write_arrays(tmp_path / "bad" / MODEL_FILE, arrays, model._format, about)
    with pytest.raises(UsageError, match="is damaged") as refused:
        load_model(tmp_path / "bad")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_without_histories_that_has_it_all_the_same_is_refused(model, tmp_path):
    arrays, about = storage.read_arrays(model.save(tmp_path / "good", history=False) / MODEL_FILE, model._format)
    arrays |= {"had.indptr": np.array([0], np.int64), "had.indices": np.zeros(0, np.int32)}
    storage.write_arrays(tmp_path / "bad" / MODEL_FILE, arrays, model._format, about)
    with pytest.raises(UsageError, match=r"it has 'had\.in"):
        load_model(tmp_path / "bad")


# ------------------------------------------------ the next log is read as the first


@pytest.mark.parametrize("fitted_by", ["frame", "file", "data set", "saved"])
def test_refit_and_update_read_the_next_log_as_the_first_one_was(file, tmp_path, fitted_by):
    given = {"frame": LOG, "file": file}.get(fitted_by)
    if given is None:
        data = quietly(load_dataset, file, **RATED)
        model = ItemKNN().fit(data).refit(data)
    else:
        model = quietly(ItemKNN().fit, given, **RATED)
    if fitted_by == "saved":
        model = load_model(model.save(tmp_path))
    for next_log in (LOG, file):
        new = quietly(model.refit, next_log)
        assert (pairs_of(new.train_), pairs_of(new.had_)) == (LIKED, HAD)
        assert dict(new.reading_) == dict(model.reading_)
    low = pl.DataFrame({"user": ["u00", "u01", "new"], "item": ["i00", "i01", "i02"], "stars": [5, 1, 4], "time": [1, 2, 3]})
    new, report = model.update(low, measure="none")
    assert pairs_of(new.train_) == LIKED | {("u00", "i00"), ("new", "i02")}
    assert pairs_of(new.had_) == (HAD | {("u01", "i01")}) - pairs_of(new.train_)
    assert report["pairs"]["new"] == len(pairs_of(new.train_) - LIKED)
    assert dict(new.reading_) == dict(model.reading_)


def test_what_is_given_takes_the_place_of_what_the_model_knows(model):
    new = quietly(model.refit, LOG, min_rating=5)
    liked, had = split_by_stars(LOG, 5)
    assert (pairs_of(new.train_), new.reading_["min_rating"]) == (liked, 5.0)
    assert pairs_of(new.had_) == had
    new = quietly(model.refit, LOG, min_rating=None, rating_column=None)
    assert (pairs_of(new.train_), new.had_, dict(new.reading_)) == (EVERY_PAIR, None, {})
    low = pl.DataFrame({"user": ["u00"], "item": ["i00"], "points": [3]})
    new, _ = model.update(low, measure="none", min_rating=3, rating_column="points")
    assert ("u00", "i00") in pairs_of(new.train_)
    assert new.reading_["min_rating"] == 4.0
    with pytest.raises(UsageError, match="unknown data option 'min_ratin'"):
        model.update(low, min_ratin=3)


def test_columns_a_condition_and_a_core_are_known_too_but_an_update_is_no_core(tmp_path):
    frame = LOG.rename({"user": "who", "item": "what"}).with_columns(event=pl.Series(["buy", "view", "buy", "buy"] * 1000)[: len(LOG)])
    options = {"user_column": "who", "item_column": "what", "where": "event = 'buy'", "k_core": 3, **RATED}
    model = quietly(ItemKNN().fit, frame, **options)
    again = quietly(model.refit, frame)
    assert pairs_of(again.train_) == pairs_of(model.train_) == pairs_of(quietly(read_interactions, frame, **options))
    few = pl.DataFrame({"who": ["u00"] * 2, "what": ["brand new", "i01"], "stars": [5, 5], "event": ["buy", "view"]})
    new, _ = model.update(few, measure="none")
    assert pairs_of(new.train_) == pairs_of(model.train_) | {("u00", "brand new")}


def test_interactions_and_data_sets_are_taken_as_they_are(model, file):
    pairs = Interactions.from_pairs(["u00", "u01"], ["i00", "i00"])
    assert pairs_of(model.refit(pairs).train_) == pairs_of(pairs)
    assert pairs_of(model.update(pairs, measure="none").model.train_) == LIKED | pairs_of(pairs)
    plain = ItemKNN().fit(pairs)
    assert pairs_of(quietly(plain.update, LOG, measure="none").model.train_) == EVERY_PAIR | pairs_of(pairs)
    whole = quietly(load_dataset, file)
    assert pairs_of(model.refit(whole).train_) == EVERY_PAIR
    assert dict(model.refit(whole).reading_) == {}


def test_times_are_looked_for_only_where_the_model_needs_them(file):
    data = quietly(load_dataset, file, **RATED, split="time")
    plain = ItemKNN().fit(data)
    assert plain.reading_["split"] == "time"
    assert len(quietly(plain.refit, LOG.drop("time")).train_) == len(LIKED)
    trending = UltraGCN(**SMALL["ultragcn"], item_trend_weight=0.5).fit(data).refit(data)
    assert quietly(trending.refit, LOG).train_.times is not None
    few = pl.DataFrame({"user": ["u00"], "item": ["i00"], "stars": [5], "time": [1_700_000_000]})
    new, _ = trending.update(few, measure="none")
    assert new.train_.times is not None


# --------------------------------------------------------------------- updates


def test_over_updates_what_users_had_grows_a_later_like_is_learned_and_the_forgotten_are_forgotten(model):
    (user, item), *_ = sorted(HAD)
    other = next(who for who, _ in sorted(HAD) if who != user)
    new, _ = model.update(pl.DataFrame({"user": [user], "item": [item], "stars": [5]}), forget=[other], measure="none")
    assert pairs_of(new.train_) == {pair for pair in LIKED if pair[0] != other} | {(user, item)}
    assert pairs_of(new.had_) == {pair for pair in HAD if pair[0] != other} - {(user, item)}
    assert (user, item) not in listed_by(new)
    assert not listed_by(new) & HAD
    assert pairs_of(model.had_) == HAD
    third, _ = new.update(None, forget=[user], measure="none")
    assert pairs_of(third.had_) == {pair for pair in HAD if pair[0] not in (user, other)}


def test_measuring_an_update_does_not_see_what_users_had(model):
    plain = ItemKNN().fit(model.train_)
    liked = pl.DataFrame({"user": [u for u, _ in sorted(HAD)[:30]], "item": [i for _, i in sorted(HAD)[:30]]}).with_columns(stars=5)
    (_, ours), (_, theirs) = (quietly(one.update, liked) for one in (model, plain))
    assert ours["held_out"] == theirs["held_out"] is not None


# ---------------------------------------------------------------- the command


def tables(capsys, *words):
    assert main([str(word) for word in words]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = lines[0].split("\t")
    return {(row[names.index("user_id")], row[names.index("item_id")]) for row in (line.split("\t") for line in lines[1:])}


@pytest.fixture(scope="module")
def run(file, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", "--model", "itemknn", "--dataset", file, "--min_rating", 4, "--rating_column", "stars", "--out", out, "--quiet"]
    assert quietly(main, [str(word) for word in words]) == 0
    return out


def test_a_run_that_is_kept_for_use_knows_what_users_had_and_its_figures_are_those_of_the_liked_pairs(run, tmp_path, capsys):
    model = load_model(run)
    assert (pairs_of(model.train_), pairs_of(model.had_)) == (LIKED, HAD)
    assert not tables(capsys, "recommend", run, "--all", "--top_k", NUM_ITEMS) & (HAD | LIKED)
    assert tables(capsys, "recommend", run, "--all", "--top_k", NUM_ITEMS, "--include_seen") >= HAD | LIKED
    LOG.filter(pl.col("stars") >= 4).write_csv(tmp_path / "liked.csv")
    words = ["train", "--model", "itemknn", "--dataset", tmp_path / "liked.csv", "--out", tmp_path / "liked", "--quiet"]
    assert quietly(main, [str(word) for word in words]) == 0
    ours, theirs = (json.loads((folder / "metrics.json").read_text()) for folder in (run, tmp_path / "liked"))
    assert (ours["valid"], ours["test"]) == (theirs["valid"], theirs["test"])


def test_lists_in_parts_and_for_queries_leave_it_out(run, tmp_path, capsys):
    words = ["recommend", run, "--all", "--top_k", NUM_ITEMS, "--output", f"{tmp_path}/lists/", "--parts", 3, "--format", "parquet"]
    assert main([str(word) for word in words]) == 0
    listed = set(pl.read_parquet(f"{tmp_path}/lists/*.parquet").select("user_id", "item_id").rows())
    assert listed
    assert not listed & (HAD | LIKED)
    users = sorted({user for user, _ in HAD})
    pl.DataFrame({"query_id": users, "user_id": users}).write_csv(tmp_path / "queries.csv")
    capsys.readouterr()
    assert main(["recommend", str(run), "--queries", str(tmp_path / "queries.csv"), "--top_k", str(NUM_ITEMS), "--format", "json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found
    assert not {(row["query_id"], row["item_id"]) for row in found} & (HAD | LIKED)


@pytest.mark.parametrize("keep", ["measured", "everything"])
def test_a_run_that_is_measured_knows_nothing_of_it_and_one_that_was_stopped_ends_as_it_would_have(file, tmp_path, keep, monkeypatch):
    from ultragcn.experiments.runs import train, training

    data = quietly(load_dataset, file, **RATED)
    model = UltraGCN(**SMALL["ultragcn"], seed=1)
    train.train_run(data, model, tmp_path / "straight", keep=keep)
    before = training.storage.write_json

    def stopping(path, *given):
        if path.name == "metrics.json" and path.parent == tmp_path / "stopped":
            raise OSError("stopped")
        before(path, *given)

    monkeypatch.setattr(training.storage, "write_json", stopping)
    with pytest.raises(OSError, match="stopped"):
        train.train_run(data, model, tmp_path / "stopped", keep=keep)
    monkeypatch.setattr(training.storage, "write_json", before)
    quietly(train.resume_run, tmp_path / "stopped")
    straight, resumed = (load_model(tmp_path / name) for name in ("straight", "stopped"))
    assert pairs_of(straight.had_) == pairs_of(resumed.had_) == (HAD if keep == "everything" else set())
    assert dict(straight.reading_) == dict(resumed.reading_) == {"min_rating": 4.0, "rating_column": "stars"}


def test_a_run_in_which_nothing_is_held_out_knows_it_too(file, tmp_path):
    words = ["--dataset", file, "--min_rating", 4, "--rating_column", "stars", "--split", "none", "--out", tmp_path, "--quiet"]
    assert quietly(main, ["train", "--model", "itemknn", *map(str, words)]) == 0
    assert pairs_of(load_model(tmp_path).had_) == HAD
    data = quietly(load_dataset, file, **RATED, split="none")
    assert pairs_of(ItemKNN().fit(data).had_) == HAD


def test_a_chain_of_updates_by_the_command_is_that_of_the_library(run, tmp_path):
    first = pl.DataFrame({"user": ["u00", "u00", "new"], "item": ["i00", "fresh", "i01"], "stars": [1, 5, 4], "time": [1, 2, 3]})
    second = pl.DataFrame({"user": ["u00", "new", "u02"], "item": ["i00", "fresh", "fresh"], "stars": [5, 2, 4], "time": [1, 2, 3]})
    model, folder = load_model(run), run
    for number, frame in enumerate((first, second)):
        frame.write_csv(tmp_path / f"{number}.csv")
        out = tmp_path / f"run{number}"
        words = ["update", folder, "--interactions", tmp_path / f"{number}.csv", "--out", out, "--measure", "none"]
        assert main([str(word) for word in words]) == 0
        model, folder = model.update(frame, measure="none").model, out
        by_command = load_model(folder)
        assert pairs_of(by_command.train_) == pairs_of(model.train_)
        assert pairs_of(by_command.had_) == pairs_of(model.had_)
        assert dict(by_command.reading_) == dict(model.reading_)
    assert ("u00", "i00") in pairs_of(model.train_)
    assert ("new", "fresh") in pairs_of(model.had_)
    assert not listed_by(model) & (pairs_of(model.had_) | pairs_of(model.train_))


# ------------------------------------------------------------------ the server


def test_the_server_leaves_it_out_also_of_somebody_who_has_more_since(run):
    pytest.importorskip("msgspec")
    from ultragcn.serving.engine import Engine
    from ultragcn.serving.messages import HistoryQuestion, ListQuestion

    engine = Engine(run)
    user = min(user for user, _ in HAD)
    low, liked = ({item for who, item in pairs if who == user} for pairs in (HAD, LIKED))
    free = set(engine.model.item_ids.ids.tolist()) - low - liked
    added = min(free)
    for question, expected in (
        (ListQuestion(user=user, k=NUM_ITEMS), free), (ListQuestion(user=user, add=[added], k=NUM_ITEMS), free - {added}),
        (ListQuestion(user=user, add=[added], exclude=[max(free)], k=NUM_ITEMS), free - {added, max(free)}),
        (ListQuestion(user=user, k=NUM_ITEMS, include_seen=True), free | low | liked),
        (ListQuestion(user=user, add=[added], k=NUM_ITEMS, include_seen=True), free | low | liked),
    ):  # fmt: skip
        answer = engine.lists([question])[0]
        assert {one.item for one in answer.items} == expected
    shown = engine.history(user, HistoryQuestion(k=NUM_ITEMS))
    assert {one.item for one in shown.items} == liked


def test_vectors_are_measured_by_lists_without_it(run):
    from ultragcn.serving.exports.worth import _lists

    model = load_model(run)
    rows = _lists(model_with_vectors := UltraGCN(**SMALL["ultragcn"], seed=0).fit(model.train_), np.arange(NUM_USERS)[:5])
    assert (rows >= 0).any()
    model_with_vectors.had_ = model.had_
    left = _lists(model_with_vectors, np.arange(len(model.user_ids)))
    out = with_had(model.train_, None, model.had_).matrix.toarray() > 0
    assert not any(out[user, item] for user, row in enumerate(left) for item in row[row >= 0])
