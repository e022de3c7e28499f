"""Lists in a folder of parts: whole or not there, made once, and never mixed with other lists."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from tests.test_results_out import SRC, run, saved
from ultragcn.cli import parts


@pytest.fixture
def words(tmp_path):
    return saved(tmp_path / "words", [f"u{number:02}" for number in range(23)])[1]


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.mark.parametrize(("kind", "ending"), [(None, "parquet"), ("tsv", "tsv"), ("csv", "csv"), ("json", "jsonl")])
def test_a_folder_gets_parts_that_below_each_other_are_the_whole(words, tmp_path, capsys, kind, ending):
    asked = ("recommend", words, "--all", "--top_k", 3)
    form = [] if kind is None else ["--format", kind]
    assert run(capsys, *asked, *form, "--output", f"{tmp_path}/lists/", "--parts", 4) == (0, [], "")
    made = [f"part-{part:05}-of-00004.{ending}" for part in range(1, 5)]
    assert names(tmp_path / "lists") == ["_manifest.json", *made]
    assert run(capsys, *asked, "--output", tmp_path / f"whole.{ending}")[0] == 0
    if ending == "parquet":
        assert pl.read_parquet(tmp_path / "lists" / "*.parquet").equals(pl.read_parquet(tmp_path / "whole.parquet"))
        return
    texts = [(tmp_path / "lists" / name).read_text() for name in made]
    header = "" if ending == "jsonl" else texts[0].splitlines(keepends=True)[0]
    assert all(text.startswith(header) for text in texts)
    assert header + "".join(text.removeprefix(header) for text in texts) == (tmp_path / f"whole.{ending}").read_text()


def test_there_are_as_many_parts_as_keep_each_small_where_nobody_says_how_many(words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(parts, "_PART_ROWS", 10)
    assert run(capsys, "recommend", words, "--all", "--top_k", 3, "--output", f"{tmp_path}/lists/")[0] == 0
    assert names(tmp_path / "lists")[-1] == "part-00007-of-00007.parquet"
    assert max(len(pl.read_parquet(path)) for path in (tmp_path / "lists").glob("*.parquet")) <= 12


def test_a_shard_of_a_folder_is_one_part_and_all_shards_are_the_folder(words, tmp_path, capsys):
    asked = ("recommend", words, "--all", "--top_k", 3)
    assert run(capsys, *asked, "--output", tmp_path / "whole", "--parts", 3)[0] == 0
    for part in (3, 1, 2):
        assert run(capsys, *asked, "--output", f"{tmp_path}/shards/", "--shard", f"{part}/3")[0] == 0
        assert f"part-{part:05}-of-00003.parquet" in names(tmp_path / "shards")
    assert contents(tmp_path / "shards") == contents(tmp_path / "whole")


def test_a_restarted_command_makes_only_the_parts_that_are_missing(words, tmp_path, capsys):
    asked = ("recommend", words, "--all", "--top_k", 3, "--output", f"{tmp_path}/lists/", "--parts", 4, "--stats")
    assert run(capsys, *asked)[0] == 0
    before = contents(tmp_path / "lists")
    gone, kept = tmp_path / "lists" / "part-00003-of-00004.parquet", tmp_path / "lists" / "part-00002-of-00004.parquet"
    gone.unlink()
    os.utime(kept, (1, 1))
    status, _, err = run(capsys, *asked)
    told, stats = err.splitlines()
    assert (status, told) == (0, f"ultragcn: 3 of 4 parts in {tmp_path}/lists were there")
    assert (json.loads(stats)["parts"], json.loads(stats)["parts_kept"], json.loads(stats)["users"]) == (1, 3, 6)
    assert contents(tmp_path / "lists") == before
    assert kept.stat().st_mtime == 1


@pytest.mark.skipif(os.name == "nt", reason="there are no such signals")
@pytest.mark.filterwarnings("ignore:the frame. column item has only 6 items")
def test_killed_in_the_middle_and_restarted_it_leaves_the_bytes_of_an_undisturbed_run(tmp_path, capsys):
    _, folder = saved(tmp_path / "run", [f"u{number:05}" for number in range(20_000)])
    asked = ("recommend", folder, "--all", "--top_k", 6, "--parts", 40, "--output")
    assert run(capsys, *asked, tmp_path / "whole")[0] == 0
    stops = 0
    for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        there = len(list((tmp_path / "lists").glob("part-*"))) if (tmp_path / "lists").exists() else 0
        child = subprocess.Popen([sys.executable, "-m", "ultragcn", *map(str, asked), str(tmp_path / "lists")],
                                 env=os.environ | {"PYTHONPATH": str(SRC)}, stderr=subprocess.DEVNULL)  # fmt: skip
        while child.poll() is None and len(list((tmp_path / "lists").glob("part-*"))) < there + 5:
            time.sleep(0.002)
        child.send_signal(how)
        stops += child.wait(60) != 0
        whole = contents(tmp_path / "whole")
        assert all(whole[name] == data for name, data in contents(tmp_path / "lists").items() if not name.startswith("."))
    assert stops >= 2
    assert run(capsys, *asked, tmp_path / "lists")[0] == 0
    assert contents(tmp_path / "lists") == contents(tmp_path / "whole")  # nothing half written is left beside the parts either


def test_parts_of_other_lists_are_refused_in_a_sentence_that_says_what_differs(words, tmp_path, capsys):
    _, other = saved(tmp_path / "other", [f"u{number:02}" for number in range(24)])
    for name, lines in (("some", "a\nb\nc\n"), ("more", "a\nb\n"), ("users", "u01\nu02\n"), ("table.csv", "item,price\na,1\nb,2\n")):
        (tmp_path / name).write_text(lines)
    folder = f"{tmp_path}/lists/"
    to, same = ("--parts", 2, "--output", folder), ("recommend", words, "--all", "--only", tmp_path / "some")
    assert run(capsys, *same, *to)[0] == 0
    before = contents(folder)
    cases = [
        (("recommend", other, *same[2:]), "in the model (itemknn-"), ((*same, "--top_k", 3), "in the --top_k (20 there, 3 here)"),
        ((*same, "--include_seen"), "in the --include_seen (false there, true here)"),
        (("recommend", words, "--users_file", tmp_path / "users", *same[3:]), "in the users"),
        ((*same[:3], "--only", tmp_path / "more"), "in the --only"), (same[:3], "in the --only"),
        ((*same, "--exclude", tmp_path / "more"), "in the --exclude"), ((*same, "--diversity", 0.0), "in the --diversity"),
        ((*same, "--unknown", "skip"), "in the --unknown (raise there, skip here)"), ((*same, "--format", "csv"), "in the format (parquet"),
        ((*same, "--items_table", tmp_path / "table.csv", "--where", "price < 5"), "in the items table"),
    ]  # fmt: skip
    for asked, says in cases:
        status, _, err = run(capsys, *asked, *to)
        err = [line for line in err.splitlines() if "items table (first" not in line]
        assert (status, len(err)) == (2, 1), asked
        assert err[0].startswith(f"ultragcn: {tmp_path}/lists holds parts of other lists, which differ {says}"), err
        assert err[0].endswith("; give another folder, or remove this one")
    assert "in the number of parts (2 there, 3 here)" in run(capsys, *same, "--output", folder, "--parts", 3)[2]
    assert contents(folder) == before
    assert run(capsys, *same, *to)[0] == 0


def test_other_queries_are_told_apart(words, tmp_path, capsys):
    for number in (1, 2):
        (tmp_path / f"{number}.jsonl").write_text(f'{{"user_id": "u0{number}"}}\n')
    asked = ("recommend", words, "--output", f"{tmp_path}/lists/", "--queries")
    assert run(capsys, *asked, tmp_path / "1.jsonl")[0] == 0
    assert "which differ in the queries" in run(capsys, *asked, tmp_path / "2.jsonl")[2]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--all", "--parts", "2"), "--parts writes files into a folder; give the folder too, as --output FOLDER/"),
        (("--all", "--parts", "0", "--output", "x/"), "--parts must be a whole number from 1 to 99999, not 0"),
        (("--all", "--parts", "2", "--shard", "1/2", "--output", "x/"), "--shard I/N says how many parts there are; drop --parts"),
        (("--items", "a", "--output", "x/"), "--items makes one list, which has no parts; give the name of a file in place of x/"),
        (("--all", "--output", "file/"), "cannot write parts into file, because it is a file; give the name of a folder"),
        (("--all", "--output", "strange/"), "strange holds part-00001-of-00002.parquet without _manifest.json"),
        (("--all", "--bom", "--output", "x/"), "--bom marks a file of text for Excel"),
    ],
)
def test_what_cannot_be_written_in_parts_is_one_sentence(words, tmp_path, capsys, monkeypatch, options, says):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("strange").mkdir()
    Path("strange/part-00001-of-00002.parquet").touch()
    status, lines, err = run(capsys, "recommend", words, *options)
    assert (status, lines, len(err.splitlines())) == (2, [], 1)
    assert says in err
    assert not Path("x").exists()
