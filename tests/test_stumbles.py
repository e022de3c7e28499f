"""What people stumble over between a trained model and its lists: each time, one sentence says what to do."""

from time import perf_counter

import numpy as np
import polars as pl
import pytest

from ultragcn import EASE, UltraGCN, load_model
from ultragcn.cli import main
from ultragcn.data.ids import IdMap
from ultragcn.errors import UsageError

GENRES = ("jazz", "folk", "rock")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A log with times, an items table, and a run on them."""
    folder = tmp_path_factory.mktemp("stumbles")
    random = np.random.default_rng(0)
    rows = [
        f"u{user},song{item},{1_500_000_000 + int(random.integers(0, 10**7))}"
        for user in range(60)
        for item in random.choice(30, 8, replace=False)
    ]
    (folder / "log.csv").write_text("user,item,timestamp\n" + "\n".join(rows) + "\n")
    (folder / "items.csv").write_text("item,genre,price\n" + "".join(f"song{item},{GENRES[item % 3]},{item}\n" for item in range(30)))
    (folder / "new.csv").write_text("user,item,timestamp\nu1,song3,1600000000\nu99,song9,1600000001\nu98,song77,1600000002\n")
    (folder / "no_item.csv").write_text("user,timestamp,thing,rating\nu1,1600000000,song3,4\nu2,1600000001,song9,5\n")
    words = ["train", "--dataset", str(folder / "log.csv"), "--items_table", str(folder / "items.csv"), "--embedding_dim", "4"]
    assert main([*words, "--epochs", "2", "--out", str(folder / "run"), "--quiet"]) == 0
    return folder


def told(capsys, *words):
    """The lines that a command says on stderr, and its exit status."""
    status = main(list(words))
    return status, capsys.readouterr().err.strip().split("\n")


# ------------------------------------------------------------------ explaining


def test_an_item_that_the_user_has_is_explained_and_the_sentence_says_that_it_is_not_listed(folder, capsys):
    model = load_model(folder / "run")
    user = model.user_ids.ids[3]
    own, other = model.item_ids.ids[model.train_.items_of(3)[0]], model.recommend(user, 1)[0][0]
    why = model.explain(user, own)
    assert why.is_owned
    assert f"{user!r} has {own!r} already, so it is not listed; its score comes from" in why.words()
    assert why.to_dict()["is_owned"] is True
    assert why.contributions.sum() + why.trend + why.rest == pytest.approx(model.score(user, own), abs=1e-5)
    assert not model.explain(user, other).is_owned
    assert "already" not in model.explain(user, other).words()
    capsys.readouterr()
    assert main(["explain", str(folder / "run"), "--user", user, "--item", own]) == 0
    assert "already, so it is not listed" in capsys.readouterr().out


def test_what_the_user_has_in_validation_is_theirs_too_and_so_is_what_someone_new_was_given(tmp_path):
    dense = np.random.default_rng(1).random((30, 12)) < 0.4
    rows, columns = np.nonzero(dense)
    held = np.random.default_rng(2).random(len(rows)) < 0.2
    frame = pl.DataFrame({"user": rows, "item": columns})
    model = UltraGCN(embedding_dim=4, epochs=2).fit(frame.filter(~held), frame.filter(held))
    user, item = frame.filter(held).row(0)
    assert model.explain(user, item).is_owned
    items = frame.filter(frame["user"] == 0)["item"].to_list()
    assert model.explain_for(items, items[0]).is_owned
    assert (
        "The user has item" in model.explain_for(items, items[0]).words() or "has it already" in model.explain_for(items, items[0]).words()
    )


def test_an_item_that_raises_its_own_score_is_called_itself():
    frame = pl.DataFrame({"user": [1, 1, 2, 2, 3], "item": ["tea", "pie", "tea", "pie", "jam"]})
    model = EASE(l2=1.0).fit(frame)
    weights = model.item_weights_.copy()
    np.fill_diagonal(weights, 5.0)
    model.item_weights_ = weights
    assert model.explain(1, "tea").words().startswith("User 1 has 'tea' already, so it is not listed; its score comes from itself (")


# ----------------------------------------------------------------- short lists


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--all", "--where", "price > 28"],
            "60 of 60 lists have fewer than 20 items: --where lets 1 of 30 items be listed, and what a user has is left out "
            "(--include_seen lists it)",
        ),
        (
            ["--all", "--max_per", "genre=2", "--top_k", "10", "--include_seen"],
            "60 of 60 lists have fewer than 10 items: --max_per genre=2 holds for 3 values of genre",
        ),
        (
            ["--items", "song1", "song2", "--max_per", "genre=1", "--top_k", "5"],
            "the list has fewer than 5 items: --max_per genre=1 holds for 3 values of genre, and what a user has is left out "
            "(--include_seen lists it)",
        ),
        (
            ["--all", "--top_k", "40", "--include_seen", "--max_per", "item=1"],
            "60 of 60 lists have fewer than 40 items: the model knows 30 items, and --max_per item=1 holds for 30 values of item",
        ),
        (
            ["--users", "u1", "u1", "--where", "genre = 'jazz'", "--where", "price < 4", "--include_seen", "--top_k", "3"],
            "2 of 2 lists have fewer than 3 items: --where lets 2 of 30 items be listed",
        ),
        (
            ["--users", "u1", "u2", "--promote", "price > 28=50%", "--top_k", "4", "--include_seen"],
            "2 of 2 lists have fewer than the 2 items that --promote promises of 'price > 28', which is true of 1 item of the "
            "model; items that may not be listed for a user do not count",
        ),
        (
            ["--items", "song1", "--promote", "price > 98=50%", "--top_k", "4"],
            "the list has fewer than the 2 items that --promote promises of 'price > 98', which is true of 0 items of the model; "
            "items that may not be listed for a user do not count",
        ),
    ],
)  # fmt: skip
def test_one_line_says_how_many_lists_a_rule_leaves_short_and_why(folder, capsys, words, says):
    status, lines = told(capsys, "recommend", str(folder / "run"), *words)
    assert status == 0
    assert lines == [f"ultragcn: {says}"]


@pytest.mark.parametrize(
    "words",
    [
        ["--all", "--top_k", "5"],
        ["--all", "--top_k", "40", "--include_seen"],
        ["--all", "--where", "genre = 'jazz'", "--top_k", "2"],
        ["--users", "u1", "u2", "u1", "--max_per", "genre=2", "--top_k", "6"],
        ["--all", "--promote", "genre = 'jazz'=20%", "--top_k", "5"],
        ["--users", "u1", "--diversity", "0.5", "--top_k", "5"],
    ],
)  # fmt: skip
def test_nothing_is_said_where_every_list_is_full_and_every_promise_kept(folder, capsys, words):
    assert told(capsys, "recommend", str(folder / "run"), *words) == (0, [""])


def test_short_lists_are_counted_over_all_blocks_and_once_for_a_user_that_is_asked_for_twice(folder, capsys, monkeypatch):
    monkeypatch.setattr("ultragcn.cli.recommend._BLOCK_USERS", 7)
    model = load_model(folder / "run")
    lists = model.recommend(model.user_ids.ids, 20, where="price < 24")[0]
    short = int((lists == "").any(axis=1).sum())
    assert 0 < short < 60
    _, lines = told(capsys, "recommend", str(folder / "run"), "--all", "--where", "price < 24")
    assert f"{short} of 60 lists have fewer than 20 items" in lines[-1]


# --------------------------------------------------------------- did you mean


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["similar", "{run}", "--item", "Song3"], "did you mean 'song3'?"),
        (["recommend", "{run}", "--items", "song 3"], "did you mean 'song3'?"),
        (["recommend", "{run}", "--items", "sonng3"], "did you mean 'song3'?"),
        (["explain", "{run}", "--user", "u1", "--item", "song3x"], "did you mean 'song3'?"),
        (["explain", "{run}", "--user", "u1", "--item", "quite else"], "ids are strings such as 'song0', 'song1', 'song10' ... no more"),
        (["recommend", "{run}", "--users", "U1"], "ids are strings such as 'u0', 'u1', 'u10'; --unknown skip"),
        (["recommend", "{run}", "--users", "u1", "--where", "genre = jazz"], "genre has the value jazz; put text into"),
        (["recommend", "{run}", "--users", "u1", "--where", 'genre = "JAZZ"'], "put text into single quotes: 'jazz'"),
        (["recommend", "{run}", "--users", "u1", "--promote", "genre in (folk)=20%"], "put text into single quotes: 'folk'"),
        (["recommend", "{run}", "--users", "u1", "--where", "prise > 3"], "no column 'prise'; did you mean price?"),
        (["recommend", "{run}", "--users", "u1", "--where", "genre = zydeco"], "put text into single quotes: 'zydeco'"),
        (["train", "--dataset", "{log}", "--where", "item = song3", "--out", "{new}"], "put text into single quotes: 'song3'"),
        (["recommend", "{run}", "--users", "u1", "--where", "zydeco > 3"], "no column 'zydeco' (it has item_id, item, genre, price)"),
        (["train", "--dataset", "{log}", "--where", "itm = 'song3'", "--out", "{new}"], "no column 'itm' for where; did you mean item?"),
        (["update", "{run}", "--interactions", "{no_item}", "--out", "{new}"], "such as --item_column thing (item_column='thing')"),
    ],
)  # fmt: skip
def test_the_error_says_what_was_meant(folder, capsys, words, says):
    places = {"run": folder / "run", "log": folder / "log.csv", "no_item": folder / "no_item.csv", "new": folder / "new"}
    status, lines = told(capsys, *(word.format(**places) for word in words))
    assert status == 2
    assert len(lines) <= 2
    if says.endswith("... no more"):
        assert lines[-1].endswith(says.removesuffix(" ... no more"))
    else:
        assert says in lines[-1]


def test_of_many_items_the_one_that_is_meant_is_found_at_once():
    ids = IdMap.of([f"item-{number:06}" for number in range(50_000)] + ["The Matrix"], "item")
    started = perf_counter()
    for given, meant in (("item-001234 ", "'item-001234'"), ("the  matrix", "'The Matrix'"), ("The Matrx", "'The Matrix'")):
        with pytest.raises(UsageError, match=f"did you mean {meant}"):
            ids.rows([given])
    assert perf_counter() - started < 10


# -------------------------------------------------------------------- updating


def test_an_update_says_what_was_read_and_takes_an_items_table(folder, capsys, tmp_path):
    words = ["update", str(folder / "run"), "--interactions", str(folder / "new.csv"), "--measure", "none", "--quiet"]
    status, lines = told(capsys, *words, "--out", str(tmp_path / "plain"))
    assert status == 0
    assert lines[0] == f"ultragcn: {folder / 'new.csv'}: all 3 rows; users in column user, items in column item; 3 users x 3 items"
    assert load_model(tmp_path / "plain").items_table_.kept.row(-1) == ("song9", "jazz", 9)
    table = tmp_path / "items.csv"
    table.write_text((folder / "items.csv").read_text() + "song77,polka,77\n")
    timed = ["--time_column", "timestamp", "--items_table", str(table)]
    status, lines = told(capsys, *words, *timed, "--out", str(tmp_path / "new"))
    assert status == 0
    assert "times in column timestamp; 3 users x 3 items, times from 2020-09-13 12:26:40 to 2020-09-13 12:26:42" in lines[0]
    assert load_model(tmp_path / "new").recommend("u98", 40, where="genre = 'polka'", exclude_seen=False)[0].tolist() == ["song77"]
    assert told(capsys, *words, "--items_table", str(folder / "log.csv.missing"), "--out", str(tmp_path / "none"))[0] == 2
    assert not (tmp_path / "none").exists()


def test_a_training_with_times_says_from_when_to_when(folder, capsys, tmp_path):
    words = ["train", "--dataset", str(folder / "log.csv"), "--split", "time", "--model", "popularity", "--out", str(tmp_path / "run")]
    status, lines = told(capsys, *words)
    assert status == 0
    assert "times in column timestamp; 60 users x 30 items, times from 2017-07-14 " in lines[0]
