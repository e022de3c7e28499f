"""Splits: what is held out by which rule, that it is the same again, and the guards that refuse a leak."""

import datetime
import gzip
import json
import os
import warnings

import numpy as np
import polars as pl
import pytest

from tests.conftest import random_interactions
from ultragcn import UltraGCN, load_dataset
from ultragcn.cli import main
from ultragcn.config import Config
from ultragcn.data import datasets
from ultragcn.data.ids import IdMap
from ultragcn.data.options import DataOptions
from ultragcn.data.titles import read_titles
from ultragcn.errors import DataError, DataWarning, UsageError
from ultragcn.evaluation.lists import read_lists
from ultragcn.experiments.runs.manifest import load_manifest, load_run_data
from ultragcn.experiments.runs.train import train_run
from ultragcn.models.ease import EASE


@pytest.fixture
def log():
    """A frame of 40 users, 12 items each, everything at its own time."""
    random = np.random.default_rng(0)
    users = np.repeat(np.arange(40), 12)
    items = np.concatenate([random.permutation(60)[:12] for _ in range(40)])
    return pl.DataFrame({"user": users, "item": items, "time": random.permutation(len(users)) + 1_000_000})


def quiet_load(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return load_dataset(*args, **options)


def pairs(part):
    users, items = part.pairs
    return set(zip(part.user_ids.ids[users].tolist(), part.item_ids.ids[items].tolist(), strict=True))


def everything(frame):
    return set(frame.select("user", "item").rows())


def test_random_holds_out_a_share_of_each_user_and_is_the_same_again(log):
    data = quiet_load(log, test_share=0.25)
    assert set(data.test.user_degrees.tolist()) == {3}
    assert set(data.valid.user_degrees.tolist()) == {1}
    assert pairs(data.train) | pairs(data.valid) | pairs(data.test) == everything(log)
    # The order of rows is no part of the data.
    again, other = quiet_load(log.sample(fraction=1, shuffle=True, seed=1), test_share=0.25), quiet_load(log, test_share=0.25, split_seed=1)
    assert again.hash == data.hash != other.hash
    assert again.valid.hash == data.valid.hash


@pytest.mark.parametrize("k", [1, 3])
def test_last_holds_out_the_latest_items_of_each_user(log, k):
    data = quiet_load(log, split="last", last_k=k)
    for user in range(40):
        latest = log.filter(pl.col("user") == user).sort("time", descending=True)["item"].to_list()
        assert set(data.test.items_of(user)) == set(data.test.item_ids.rows(latest[:k]))
        assert set(data.valid.items_of(user)) == set(data.valid.item_ids.rows(latest[k : 2 * k]))


def test_last_leaves_users_with_too_few_items_alone_and_breaks_ties_by_seed():
    frame = pl.DataFrame(
        {"user": [0, 0, *[user for user in range(1, 40) for _ in range(4)]], "item": [0, 1, *[0, 1, 2, 3] * 39], "time": 5}
    )
    data = quiet_load(frame, split="last", last_k=2, protocol="authors")
    assert data.test.user_degrees.tolist() == [0] + [2] * 39
    same, other = (quiet_load(frame, split="last", last_k=2, protocol="authors", split_seed=seed) for seed in (0, 1))
    assert data.hash == same.hash != other.hash
    with pytest.raises(DataError, match=r"split last finds none of 80 pairs to hold out for valid; .* use the authors protocol"):
        quiet_load(frame, split="last", last_k=2)
    # No item is preferred for its id.
    assert data.test.item_degrees.min() > 8


def test_last_share_holds_out_a_share_of_each_user_the_latest(log):
    data = quiet_load(log, split="last", last_share=0.25)
    assert data.notes[-1].endswith("for test (the last 25% of each user's items)")
    for user in range(40):
        latest = log.filter(pl.col("user") == user).sort("time", descending=True)["item"].to_list()
        assert set(data.test.items_of(user)) == set(data.test.item_ids.rows(latest[:3]))
        assert set(data.valid.items_of(user)) == set(data.valid.item_ids.rows(latest[3:4]))
    for options, says in (
        ({"last_share": 0.2}, "last_share needs split last, not random"),
        ({"split": "last", "last_share": 0.2, "last_k": 2}, "drop one of the two"),
    ):
        with pytest.raises(UsageError, match=says):
            load_dataset(log, **options)


@pytest.fixture
def named(tmp_path, monkeypatch):
    """Makes a named data set `small`, of lines of train and of test, that asks for the last tenth of each line; returns its data folder."""

    def make(train, test, sizes):
        home = tmp_path / "small"
        home.mkdir()
        (home / "train.txt").write_text("".join(f"{line}\n" for line in train))
        (home / "test.txt").write_text("".join(f"{line}\n" for line in test))
        urls = dict.fromkeys(("train.txt", "test.txt"), ())
        source = datasets.Source("small", "", *sizes, urls, options={"split": "last", "last_share": 0.1})
        monkeypatch.setitem(datasets.SOURCES, "small", source)
        return tmp_path

    return make


def test_the_later_in_a_line_the_later_for_split_last_and_a_data_set_may_ask_for_it(named):
    folder = named(["0 7 3 9 1", "1 9 3 7 2"], ["0 2", "1 1"], (2, 5, 8, 2))
    assert pairs(quiet_load("small", folder).valid) == {(0, 1), (1, 2)}
    assert pairs(quiet_load("small", folder, split="last", last_k=2).valid) == {(0, 9), (0, 1), (1, 7), (1, 2)}
    assert pairs(quiet_load("small", folder, split="random", split_seed=3).valid) != {(0, 1), (1, 2)}
    with pytest.raises(DataError, match="has no times"):
        quiet_load("small", folder, split="time")


def test_a_run_on_a_named_data_set_is_read_again_as_it_was_split(named):
    def lines(places):
        return [" ".join(map(str, [user, *((place + user) % 8 for place in places)])) for user in range(8)]

    folder = named(lines(range(6)), lines(range(6, 8)), (8, 8, 48, 16))
    for chosen in ({}, {"split": "random"}):
        data = quiet_load("small", folder, **chosen)
        train_run(data, Config(embedding_dim=2, epochs=1), folder / "run", overwrite=True)
        assert load_run_data(load_manifest(folder / "run"), None).valid.hash == data.valid.hash


def test_time_holds_out_everything_from_some_time_on(log):
    data = quiet_load(log, split="time", test_share=0.1)
    assert (len(data.train), len(data.valid), len(data.test)) == (389, 43, 48)
    when = {(user, item): time for user, item, time in log.rows()}
    spans = [[when[pair] for pair in pairs(part)] for part in (data.train, data.valid, data.test)]
    assert max(spans[0]) < min(spans[1]) <= max(spans[1]) < min(spans[2])


def test_time_can_be_given_and_ties_go_to_test(log):
    frame = log.with_columns(time=pl.col("time") // 100 * 86400)  # days 10000 to 10004: 1997-05-19 and on
    data = quiet_load(frame, split="time", test_from="1997-05-22")
    assert pairs(data.test) == everything(frame.filter(pl.col("time") >= 10003 * 86400))
    # A share that would cut through a day takes all of it.
    assert len(quiet_load(frame, split="time", test_share=0.1).test) == 80
    with pytest.raises(UsageError, match="test_from must be seconds"):
        quiet_load(frame, split="time", test_from="May 1997")
    with pytest.raises(DataError, match="leaves no pair to train on"):
        quiet_load(frame, split="time", test_from="1970-01-01")
    with pytest.raises(UsageError, match=r"later than all data, which end at 1997-05-23 00:00:00; give an earlier time"):
        quiet_load(frame, split="time", test_from="2050-01-01")


def test_given_files_in_different_formats_are_a_split(tmp_path, log):
    log[:300].write_csv(tmp_path / "train.csv")
    log[300:400].write_parquet(tmp_path / "valid.parquet")
    log[400:].write_csv(tmp_path / "test.tsv", separator="\t")
    by_folder = quiet_load(tmp_path)
    data = quiet_load(tmp_path / "train.csv", valid=tmp_path / "valid.parquet", test=tmp_path / "test.tsv")
    assert [pairs(part) for part in (data.train, data.valid, data.test)] == [
        everything(log[a:b]) for a, b in ((0, 300), (300, 400), (400, 480))
    ]
    assert by_folder.hash == data.hash
    authors = quiet_load(tmp_path, protocol="authors")
    assert (len(authors.train), authors.valid, len(authors.test)) == (300, None, 80)


def test_ids_of_given_parts_are_joined_as_strings_where_one_has_strings():
    train = pl.DataFrame({"user": [1, 1, 1, 2, 2, 2], "item": ["a", "b", "c", "a", "b", "d"]})
    test = pl.DataFrame({"user": ["1", "x"], "item": ["d", "a"]})
    data = quiet_load(train, test=test)
    assert data.train.user_ids.ids.tolist() == ["1", "2", "x"]
    assert pairs(data.test) == {("1", "d"), ("x", "a")}


def test_a_test_pair_in_train_is_refused_with_its_row(tmp_path):
    (tmp_path / "train.csv").write_text("user,item\nann,x\nann,y\nann,z\nbob,x\n")
    (tmp_path / "test.csv").write_text("user,item\nbob,y\nann,y\n")
    with pytest.raises(DataError, match=r"test.csv, row 3: item 'y' of user 'ann' is in train too; remove it from one of the files"):
        load_dataset(tmp_path)


def test_the_future_in_the_past_is_refused_when_given_files_claim_a_split_in_time(log):
    early, late = log.sort("time")[:400], log.sort("time")[400:]
    data = quiet_load(early, test=late, split="time")
    assert len(data.train) + len(data.valid) == 400
    with pytest.raises(DataError, match=r"1 pair of train is not older than the first of test \(1970-01-12 .*learn from the future"):
        quiet_load(pl.concat([early, late[-1:]]), test=late[:-1], split="time")


@pytest.mark.parametrize("model", [UltraGCN(epochs=1), EASE()])
def test_a_model_is_not_fitted_on_what_it_is_tested_with(model):
    train = random_interactions(30, 20, 0.3)
    held = train.part(np.arange(len(train)) == 5)
    with pytest.raises(DataError, match="1 valid pair is in train too"):
        model.fit(train, held)
    with pytest.raises(DataError, match="1 test pair is in train too"):
        model.fit(train, select_on=held)


def test_users_and_items_that_a_split_leaves_without_train_or_test_are_counted():
    frame = pl.DataFrame({"user": [1, 1, 1, 2, 2, 2, 3], "item": [1, 2, 3, 1, 2, 9, 1], "time": [1, 2, 3, 1, 2, 9, 9]})
    with pytest.warns(DataWarning) as caught:
        load_dataset(frame, split="time", test_from="5", protocol="authors")
    messages = [str(warning.message) for warning in caught]
    assert messages[0].startswith("1 user has no train items (first: user 3)")
    assert messages[1].startswith("1 user has no test items (first: user 1)")
    assert messages[2].startswith("1 item has no train interaction (first: item 9); nothing can be learned about it")
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"test": "t.csv", "k_core": 2}, "k_core would change a split that is given"), ({"valid": "t.csv"}, "valid needs test"),
        ({"test": "t.csv", "valid": "t.csv", "protocol": "authors"}, "valid needs the protocol clean"),
        ({"source": "demo", "k_core": 2}, "demo is made on the spot and split already; drop k_core"),
        ({"source": "no.csv"}, "no.csv is not a file or a folder"), ({"mim_rating": 2}, "did you mean min_rating"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_together_is_refused(tmp_path, monkeypatch, options, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("user,item\n1,1\n1,2\n1,3\n")
    with pytest.raises(UsageError, match=says):
        load_dataset(**{"source": "t.csv"} | options)


def test_a_folder_tells_its_files_by_their_names(tmp_path, log):
    home = tmp_path / "shop"
    home.mkdir()
    with pytest.raises(DataError, match=r"shop has no train.txt and no test.txt; give a folder with"):
        load_dataset(home)
    log.write_csv(home / "sales-2024.csv")
    (home / "README.txt").write_text("The only table of a folder is its log.")
    assert quiet_load(home).name == "shop"
    log.write_csv(home / "ratings.csv")
    pl.DataFrame({"item": range(60), "name": [f"Item\n no. {number}" for number in range(60)]}).write_csv(home / "products.csv")
    data = quiet_load(home)
    assert data.item_titles[data.train.item_ids.rows([7])[0]] == "Item no. 7"
    log.write_parquet(home / "ratings.parquet")
    with pytest.raises(DataError, match=r"several files of one kind, ratings.csv and ratings.parquet"):
        load_dataset(home)


def test_recbole_folders_are_read_with_their_splits(tmp_path, log):
    columns = {"user": "user_id:token", "item": "item_id:token", "time": "timestamp:float"}
    for name, rows in (("train", log[:400]), ("valid", log[400:440]), ("test", log[440:])):
        rows.rename(columns).write_csv(tmp_path / f"shop.{name}.inter", separator="\t")
    data = quiet_load(tmp_path)
    assert [len(part) for part in (data.train, data.valid, data.test)] == [400, 40, 40]


def test_a_folder_is_no_file_of_titles(tmp_path):
    with pytest.raises(DataError, match="is a folder; give a file of titles"):
        read_titles(tmp_path, IdMap(np.array([1, 2]), "item"), DataOptions())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_told_from_an_empty_file(tmp_path, log):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)  # nobody writes: reading it would wait for ever
    says = "pipe.csv is a pipe, which can be read only once; write its output to a file"
    with pytest.raises(DataError, match=says):
        load_dataset(pipe)
    log.write_csv(tmp_path / "log.csv")
    with pytest.raises(DataError, match=says):
        load_dataset(tmp_path / "log.csv", test=pipe)
    with pytest.raises(DataError, match=says):
        load_dataset(tmp_path / "log.csv", titles=pipe)
    with pytest.raises(DataError, match=says):
        read_lists(pipe, quiet_load(tmp_path / "log.csv").train)


def test_titles_are_found_for_every_kind_of_id_and_missing_ones_counted(tmp_path):
    titles = pl.DataFrame({"movieId": ["1", "007", "1"], "title": ["One", "Bond", "again"], "genres": "x"})
    with pytest.warns(DataWarning, match=r"the frame: 1 of 2 items has no title \(first: item 7\)"):
        assert read_titles(titles, IdMap(np.array([1, 7]), "item"), DataOptions()).tolist() == ["One", ""]
    strings = IdMap(np.array(["007", "1"], dtype=object), "item")
    assert read_titles(titles, strings, DataOptions(title_column="genres")).tolist() == ["x", "x"]
    (tmp_path / "movies.dat").write_text("1::Alien: Resurrection (1997)::x\n007::L'été::y\n", encoding="utf-8")
    assert read_titles(tmp_path / "movies.dat", strings, DataOptions()).tolist() == ["L'été", "Alien: Resurrection (1997)"]
    (tmp_path / "none.csv").write_text("")
    with pytest.raises(DataError, match=r"none.csv is empty; expected a row with an item and its title"):
        read_titles(tmp_path / "none.csv", strings, DataOptions())
    with pytest.raises(DataError, match=r"none of 1 item is in column movieId \(ids such as 'x'\)"):
        read_titles(titles, IdMap(np.array(["x"], dtype=object), "item"), DataOptions())
    with pytest.raises(DataError, match="no row has a title in column title; give title_column"):
        read_titles(pl.DataFrame({"item": ["1"], "title": pl.Series([None], dtype=pl.String)}), strings, DataOptions())


# ----------------------------------------------------------------- the command

QUICK = ["--epochs", "1", "--embedding_dim", "8", "--quiet"]


def run(*words):
    return main([str(word) for word in words])


def test_a_file_becomes_recommendations_with_titles_in_two_commands(tmp_path, monkeypatch, capsys, log):
    monkeypatch.chdir(tmp_path)
    named = log.select(customer=pl.format("Zoë {}", "user"), product=pl.format("{}", "item"), rating=pl.col("item") % 5 + 1, date="time")
    named.write_csv("my.csv")
    pl.DataFrame({"product": range(60), "label": [f"Thing {number}" for number in range(60)]}).write_csv("things.csv")
    words = ["--min_rating", "2", "--k_core", "3", "--split", "last", "--titles", "things.csv", "--title_column", "label"]
    assert run("train", "--dataset", "my.csv", *words, "--out", "run", *QUICK) == 0
    errors = capsys.readouterr().err
    assert (
        "rows rated 2 or higher; users in column customer, items in column product, ratings in column rating, times in column date"
        in errors
    )
    assert "items in the 3-core:" in errors
    assert run("recommend", "run", "--users", "Zoë 3", "--top_k", "2") == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["user_id", "rank", "item_id", "title", "score"]
    assert all(row[3] == f"Thing {row[2]}" for row in lines[1:])
    assert len(lines) == 3
    for words in (["recommend", "run", "--items", lines[1][2]], ["similar", "run", "--item", lines[1][2]]):
        assert run(*words) == 0
        assert capsys.readouterr().out.split("\n")[0].split("\t")[1:3] == ["item_id", "title"]
    assert run("similar", "run", "--user", "Zoë 3") == 0
    assert "title" not in capsys.readouterr().out
    assert UltraGCN.load("run").item_titles_.tolist() == [f"Thing {item}" for item in UltraGCN.load("run").item_ids.ids]


def test_what_was_read_is_said_before_what_was_put_right(tmp_path, monkeypatch, capsys, log):
    monkeypatch.chdir(tmp_path)
    pl.concat([log, log[:1]]).write_csv("my.csv")
    assert run("train", "--dataset", "my.csv", "--out", "run", *QUICK) == 0
    errors = capsys.readouterr().err
    assert 0 <= errors.index("ultragcn: my.csv: all 481 rows") < errors.index("ultragcn: warning: my.csv, row 482: user 0")
    # Warnings are not lost with the data.
    assert run("train", "--dataset", "my.csv", "--k_core", "99", "--out", "other", *QUICK) == 2
    assert "ultragcn: warning: my.csv, row 482" in capsys.readouterr().err


def test_what_the_command_is_asked_in_vain_is_answered_with_what_there_is(tmp_path, monkeypatch, capsys, log):
    monkeypatch.chdir(tmp_path)
    log.write_csv("my.csv")
    assert run("train", "--dataset", "my.csv", "--out", "run", *QUICK) == 0
    for words in (["recommend", "run", "--users", "0"], ["similar", "run", "--user", "0"]):
        capsys.readouterr()
        assert run(*words, "--top_k", "0") == 2
        assert capsys.readouterr().err == "ultragcn: --top_k must be a whole number of 1 or more, not 0\n"
        assert run(*words[:-1], "abc") == 2
        said = capsys.readouterr().err.strip()
        assert said.startswith("ultragcn: unknown user id 'abc': the model knows 40 users, ids are integers such as 0, 1, 2")
        assert ("--unknown skip" in said) == (words[0] == "recommend")


def spoilt(log, separator=",", header=True, newline="\n", encoding="utf-8", quote=""):
    """The log as a file with names in UTF-8 and dates in every form."""
    forms = ("{:%Y-%m-%d}", "{:%Y-%m-%dT%H:%M:%SZ}", "{:%Y/%m/%d %H:%M}", "{:%d.%m.%Y}")
    lines = [separator.join(("user", "item", "rating", "date"))] if header else []
    for number, (user, item, day) in enumerate(log.rows()):
        when = datetime.datetime(2020, 1, 1) + datetime.timedelta(days=day - 1_000_000)
        date = forms[number % 5].format(when) if number % 5 < 4 else str(int((when - datetime.datetime(1970, 1, 1)).total_seconds()))
        lines.append(separator.join((f"{quote}Zoë {user}{quote}", f"{quote}00{item}{quote}", "5", date)))
    return newline.join(lines).encode(encoding)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("my.csv", {"newline": "\r\n"}), ("my.csv", {"encoding": "utf-8-sig"}), ("my.csv", {"quote": '"'}), ("my.csv", {"header": False}),
        ("my.csv", {"separator": ";"}), ("my.tsv", {"separator": "\t"}), ("my.dat", {"separator": "::", "header": False}),
        ("my.csv.gz", {"newline": "\r\n", "quote": '"', "encoding": "utf-8-sig"}),
    ],
)  # fmt: skip
def test_the_same_log_in_any_dress_gives_the_same_run(tmp_path, monkeypatch, log, name, how):
    monkeypatch.chdir(tmp_path)
    plain = tmp_path / "plain.csv"
    plain.write_bytes(spoilt(log))
    content = spoilt(log, **how)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert run("train", "--dataset", name, "--split", "time", "--out", "run", *QUICK) == 0
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["data_hash"] == quiet_load(plain, split="time").hash
    assert UltraGCN.load("run").user_ids.ids[0] == "Zoë 0"


def test_evaluate_loads_the_very_data_of_the_run_or_refuses(tmp_path, monkeypatch, capsys, log):
    monkeypatch.chdir(tmp_path)
    log.write_csv("my.csv")
    assert run("train", "--dataset", "my.csv", "--split", "time", "--test_share", "0.3", "--keep", "measured", "--out", "run", *QUICK) == 0
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["data_source"] == str(tmp_path / "my.csv")
    assert manifest["data_options"] == {"split": "time", "test_share": 0.3}
    test = json.loads((tmp_path / "run/metrics.json").read_text())["test"]
    capsys.readouterr()
    monkeypatch.chdir("/")
    assert run("evaluate", tmp_path / "run") == 0
    printed = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert float(printed["recall@20"]) == pytest.approx(test["recall@20"], rel=1e-5)
    log[1:].write_csv(tmp_path / "my.csv")
    assert run("evaluate", tmp_path / "run") == 2
    assert "has changed since the run was trained on it" in capsys.readouterr().err


def test_given_files_are_recorded_too(tmp_path, monkeypatch, capsys, log):
    monkeypatch.chdir(tmp_path)
    for name, rows in (("a.csv", log[:400]), ("b.csv", log[400:440]), ("c.csv", log[440:])):
        rows.write_csv(name)
    assert run("train", "--dataset", "a.csv", "--valid", "b.csv", "--test", "c.csv", "--out", "run", *QUICK) == 0
    assert run("evaluate", "run", "--part", "valid") == 0
    log[401:440].write_csv("b.csv")
    assert run("evaluate", "run") == 2
    files = ", ".join(str(tmp_path / name) for name in ("a.csv", "c.csv", "b.csv"))
    assert f"one of {files} has changed since the run was trained on them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words", "says"),
    [
        ("user,item,time\na,x,2020-01-01\na,y,someday\n", ["--split", "time"], "row 3: cannot read the time 'someday'"),
        ("user,item\na,x\n,y\n", [], "row 3: no user id"), ("a,b\n1,2\n", [], "give user_column"),
        ("user,item\na,x\n", ["--split", "tim"], "did you mean time"), ("user,item\na,x\n", ["--min_rating", "x"], "must be a number"),
        ("user,item\na,x\n", ["--usr_column", "x"], "did you mean --user_column"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_ends_with_status_2_and_one_line(tmp_path, monkeypatch, capsys, text, words, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.csv").write_text(text)
    assert run("train", "--dataset", "my.csv", *words) == 2
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == 1
    assert says in errors
    assert [path.name for path in tmp_path.iterdir()] == ["my.csv"]


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "title"), [("ml-latest-small", "Toy Story (1995)"), ("movietweetings-100k", "Man of Steel (2013)")])
def test_the_raw_files_of_a_public_log_become_recommendations_with_titles(data_dir, tmp_path, capsys, name, title):
    for source in (name, data_dir / name):
        out = tmp_path / str(source == name)
        assert run("train", "--dataset", source, "--data_dir", data_dir, "--out", out, *QUICK) == 0
        assert title in UltraGCN.load(out).item_titles_.tolist()
        capsys.readouterr()
        assert run("recommend", out, "--users", "1", "--top_k", "3") == 0
        header, *lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
        assert header[2:4] == ["item_id", "title"]
        assert all(line[3].endswith(")") for line in lines)  # the year


def test_a_data_set_shows_its_name_its_size_and_its_parts():
    size = "2,000 users x 600 items"
    assert repr(load_dataset("demo")) == f"Dataset(demo, protocol clean: {size}; pairs: train 48,265, valid 4,425, test 13,253)"
    assert repr(load_dataset("demo", protocol="authors")).endswith(f"protocol authors: {size}; pairs: train 52,690, test 13,253)")
