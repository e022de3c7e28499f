"""How lists leave: ids from files, ids nobody knows, names of files, and what a kill leaves behind."""

import csv
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from ultragcn import Interactions, ItemKNN, Popularity, UltraGCN, load_model, storage
from ultragcn.cli import ids, main, output
from ultragcn.data.ids import IdMap
from ultragcn.errors import UsageError
from ultragcn.progress import Bars, Silent
from ultragcn.scoring.similar import most_together

SRC = Path(__file__).parents[1] / "src"
TITLES = ["Tea", 'Pie, "warm"', "", "Jam;", " Egg", "Naïve – 차"]


def saved(folder, users, items=tuple("abcdef"), titles=None):
    """The folder of a model in which every user has two items."""
    pairs = [(user, items[(number + step) % len(items)]) for number, user in enumerate(users) for step in (0, 1)]
    model = ItemKNN(shrinkage=0.0).fit(pl.DataFrame({"user": [user for user, _ in pairs], "item": [item for _, item in pairs]}))
    if titles:
        model.item_titles_ = np.array(titles, object)
    return model, model.save(folder)


@pytest.fixture
def words(tmp_path):
    return saved(tmp_path / "words", [f"u{number}" for number in range(8)] + ["-x", "--y", "Doe, John"])[1]


@pytest.fixture
def numbers(tmp_path):
    return saved(tmp_path / "numbers", [*range(10), -3])[1]


def run(capsys, *argv):
    """Status, cells of the lines printed, and what stderr says."""
    status = main(list(map(str, argv)))
    captured = capsys.readouterr()
    return status, [line.split("\t") for line in captured.out.splitlines()], captured.err


def users_in(lines):
    return list(dict.fromkeys(line[0] for line in lines[1:]))


# ------------------------------------------------------------------------- who


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ids.txt", b"u3\nu1\n"), ("ids.txt", b"\xef\xbb\xbfu3\r\n\r\n u1 \r\nu3"), ("ids.csv", b"user_id\nu3\nu1\n"),
        ("log.csv", b"when,Customer ID,what\n1,u3,a\n2,u1,b\n3,u3,c\n"), ("log.tsv", b"item\tuser\na\tu3\nb\tu1\n"),
        ("log.csv", b'user;"what, for"\nu3;x\nu1;y\n'), ("ids.txt.gz", gzip.compress(b"u3\nu1\n")),
        ("ids.jsonl", b'{"user_id": "u3", "n": 1}\n{"user_id": "u1", "n": 2}\n'), ("ids.txt", "user_id\nu3\nu1".encode("utf-16")),
    ],
)  # fmt: skip
def test_users_come_from_a_file_one_a_line_or_as_a_column_each_once(words, tmp_path, capsys, name, content):
    (tmp_path / name).write_bytes(content)
    status, lines, err = run(capsys, "recommend", words, "--users_file", tmp_path / name, "--top_k", 2)
    assert (status, err) == (0, "")
    assert users_in(lines) == ["u3", "u1"]
    assert lines == run(capsys, "recommend", words, "--users", "u3", "u1", "--top_k", 2)[1]


def test_users_come_from_parquet_also_where_missing_ones_made_them_decimals(numbers, tmp_path, capsys):
    pl.DataFrame({"user_id": [3.0, None, 1.0, float("nan")]}).write_parquet(tmp_path / "users")
    status, lines, err = run(capsys, "recommend", numbers, "--users_file", tmp_path / "users")
    assert (status, users_in(lines), err) == (0, ["3", "1"], "")


def test_users_come_from_stdin(words, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"u2\nDoe, John\n-x\n")))
    status, lines, _ = run(capsys, "recommend", words, "--users_file", "-", "--top_k", 1)
    assert (status, users_in(lines)) == (0, ["u2", "Doe, John", "-x"])


def test_a_line_that_is_an_id_is_no_header(tmp_path, capsys):
    _, folder = saved(tmp_path / "run", ["user", "member"])
    (tmp_path / "ids").write_text("user\nmember\n")
    assert users_in(run(capsys, "recommend", folder, "--users_file", tmp_path / "ids")[1]) == ["user", "member"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has no ids; give one id a line, or a table with a column user_id"),
        (b"\x81\xff\x00", "it is not text in UTF-8; save it as UTF-8"),
        (b"1,2\n3,4\n", "is a table, and it is not clear which of its columns (1, 2) has the user ids; rename this column to user_id"),
        (b"\x1f\x8bxxxxxx", "it is a damaged gzip file"),
        (b"PAR1xxxx", "it is damaged"), (b'{"n": 1}\n', "it is not clear which of its columns (n) has the user ids"),
        (None, "cannot read --users_file"),
    ],
)  # fmt: skip
def test_a_file_without_ids_is_one_line(words, tmp_path, capsys, content, says):
    if content is not None:
        (tmp_path / "ids").write_bytes(content)
    status, lines, err = run(capsys, "recommend", words, "--users_file", tmp_path / "ids")
    assert (status, lines, len(err.splitlines())) == (2, [], 1)
    assert says in err


def test_ids_nobody_knows_end_it_are_left_out_or_get_what_is_popular(numbers, tmp_path, capsys):
    (tmp_path / "ids").write_text("3\n77\nabc\n007\n1\n99999999999999999999\n")
    asked = ("recommend", numbers, "--users_file", tmp_path / "ids", "--top_k", 2)
    status, lines, err = run(capsys, *asked)
    assert (status, lines) == (2, [])
    assert "unknown user id 'abc'" in err
    assert "--unknown skip leaves out what the model does not know" in err
    status, lines, err = run(capsys, *asked, "--unknown", "skip")
    assert (status, users_in(lines)) == (0, ["3", "1"])
    assert err == "ultragcn: 4 of 6 users (first: 'abc') are not known to the model, and left out\n"
    status, lines, err = run(capsys, *asked, "--unknown", "popular")
    assert (status, users_in(lines)) == (0, ["3", "77", "1"])
    assert "ultragcn: 3 of 6 users (first: 'abc') are not known to the model, and left out\n" in err
    assert "ultragcn: 1 of 6 users (first: '77') is not known to the model, and get the items that most users have\n" in err
    status, lines, err = run(capsys, "recommend", numbers, "--users", "77", "--unknown", "skip")
    assert (status, lines) == (0, [["user_id", "rank", "item_id", "score"]])


def test_items_nobody_knows_do_not_count(words, capsys):
    known = run(capsys, "recommend", words, "--items", "a", "--top_k", 3)[1]
    for unknown in ("skip", "popular"):
        status, lines, err = run(capsys, "recommend", words, "--items", "a", "zz", "--top_k", 3, "--unknown", unknown)
        assert (status, lines) == (0, known)
        assert err.startswith("ultragcn: 1 of 2 items (first: 'zz') is not known to the model, and ")
    assert len(run(capsys, "recommend", words, "--items", "zz", "--top_k", 3, "--unknown", "popular")[1]) == 4


def test_ids_that_begin_with_a_dash_can_be_typed_and_the_message_says_how(words, numbers, capsys):
    assert users_in(run(capsys, "recommend", words, "--users=-x", "--users=--y", "--users", "u1", "u2")[1]) == ["-x", "--y", "u1", "u2"]
    assert users_in(run(capsys, "recommend", numbers, "--users", "-3", "4")[1]) == ["-3", "4"]
    for argv in (("--users", "-x"), ("--users", "u1", "-x")):
        status, _, err = run(capsys, "recommend", words, *argv)
        assert (status, len(err.splitlines())) == (2, 1)
        assert "write an id that begins with - as --users=-x" in err
    assert "write an id that begins with - as --item=-x" in run(capsys, "similar", words, "--item", "-x")[2]


def test_files_say_which_items_may_be_listed_and_which_may_not(words, tmp_path, capsys):
    (tmp_path / "some").write_text("item_id\na\nb\nc\nzz\n")
    (tmp_path / "none").write_text("b\n")
    asked = ("recommend", words, "--all", "--include_seen", "--candidates", tmp_path / "some", "--exclude", tmp_path / "none")
    status, lines, err = run(capsys, *asked)
    assert status == 0
    assert {line[2] for line in lines[1:]} == {"a", "c"}
    assert f"1 of 4 items (first: 'zz') in --candidates {tmp_path / 'some'} is not known to the model" in err
    status, _, err = run(capsys, "recommend", words, "--all", "--candidates", "-", "--exclude", "-")
    assert (status, err) == (2, "ultragcn: --candidates and --exclude cannot both be read from stdin; give a file for one of them\n")


# ----------------------------------------------------------------------- where


def test_frames_are_written_as_rows_are(tmp_path):
    model, _ = saved(tmp_path / "run", [f"u{number}" for number in range(7)], titles=TITLES)
    frame = model.recommend_frame(model.user_ids.ids, 4)
    names, rows = tuple(frame.columns), frame.rows()
    assert {title for *_, title, _ in rows} == set(TITLES)
    for kind in ("tsv", "csv", "json"):
        assert output._text_of(frame, kind, header=True) == "".join(output._lines(kind, names, rows))
    assert next(csv.reader(io.StringIO(output._text_of(frame, "csv", header=False))))[3] == rows[0][3]
    with pytest.raises(UsageError, match="has a tab or a line break, which TSV cannot hold"):
        output._text_of(frame.with_columns(title=pl.lit("a\tb")), "tsv", header=True)


def test_lists_of_many_blocks_have_one_header_and_every_user(tmp_path, capsys, monkeypatch):
    model, folder = saved(tmp_path / "run", [f"u{number:02}" for number in range(25)])
    whole = run(capsys, "recommend", folder, "--all", "--top_k", 3)[1]
    monkeypatch.setattr("ultragcn.cli.recommend._BLOCK_USERS", 4)
    assert run(capsys, "recommend", folder, "--all", "--top_k", 3)[1] == whole
    for name in ("a.tsv", "a.csv", "a.jsonl", "a.parquet"):
        assert run(capsys, "recommend", folder, "--all", "--top_k", 3, "--output", tmp_path / name)[0] == 0
    table = pl.read_parquet(tmp_path / "a.parquet")
    assert table.schema == {"user_id": pl.String, "rank": pl.Int64, "item_id": pl.String, "score": pl.Float64}
    assert table["user_id"].unique(maintain_order=True).to_list() == model.user_ids.ids.tolist()
    assert [line["user_id"] for line in map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())] == [line[0] for line in whole[1:]]
    assert [line.split(",") for line in (tmp_path / "a.csv").read_text().splitlines()] == whole


def test_numbers_are_written_as_python_writes_them():
    random = np.random.default_rng(0)
    scores = np.concatenate([
        random.standard_normal(20_000), 10 ** random.uniform(-9, 17, 20_000), -(2.0 ** np.arange(-40, 60)), np.arange(0, 4000) / 512,
        [0.0, -0.0, 9.999995, 0.9999995, 99999.5, 999995, 1e-4, 9.9999e-5, 1e15, 1e16],
    ]).astype(np.float32)  # fmt: skip
    column = pl.Series("score", scores)
    assert output._in_digits(column).to_list() == [f"{score:.6g}" for score in scores.tolist()]
    assert output._json_cells(column).to_list() == [json.dumps(score) for score in scores.tolist()]


def test_texts_are_written_as_python_writes_them():
    for texts in (["tea", "차", "a\x7fb"], ["tea", 'say "tea"', "back\\slash", "a\tb\r\nc", "\x01", ""]):
        assert output._json_cells(pl.Series("title", texts)).to_list() == [json.dumps(text, ensure_ascii=False) for text in texts]


def test_a_long_parquet_file_goes_by_way_of_parts_and_leaves_none(words, tmp_path, capsys, monkeypatch):
    asked = ("recommend", words, "--all", "--top_k", 3, "--output")
    assert run(capsys, *asked, tmp_path / "whole.parquet")[0] == 0
    monkeypatch.setattr("ultragcn.cli.recommend._BLOCK_USERS", 2)
    for rows in (1, 7, 1000):
        monkeypatch.setattr(output, "_FRAME_ROWS", rows)
        assert run(capsys, *asked, tmp_path / "parts.parquet")[0] == 0
        assert pl.read_parquet(tmp_path / "parts.parquet").equals(pl.read_parquet(tmp_path / "whole.parquet"))
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["parts.parquet", "whole.parquet"]


def test_a_long_parquet_file_that_fails_leaves_nothing(words, tmp_path, monkeypatch):
    model = load_model(words)
    monkeypatch.setattr(output, "_FRAME_ROWS", 1)

    def frames():
        yield model.recommend_frame(["u1"], 2)
        yield model.recommend_frame(["u2"], 2)
        raise UsageError("enough")

    with pytest.raises(UsageError, match="enough"):
        output.write_frames(SimpleNamespace(output=str(tmp_path / "out" / "x.parquet"), format="parquet", bom=False), frames())
    assert list((tmp_path / "out").iterdir()) == []


def test_shards_below_each_other_are_the_whole(words, capsys):
    asked = ("recommend", words, "--all", "--top_k", 2)
    header, *whole = run(capsys, *asked)[1]
    for parts in (1, 3, 20):
        shards = [run(capsys, *asked, "--shard", f"{part}/{parts}")[1] for part in range(1, parts + 1)]
        assert all(lines[0] == header for lines in shards)
        assert [line for lines in shards for line in lines[1:]] == whole
    for shard in ("0/3", "4/3", "1", "1/0", "x/y", "-1/2", "1/2/3"):
        status, lines, err = run(capsys, *asked, f"--shard={shard}")
        assert (status, lines) == (2, [])
        assert err == f"ultragcn: --shard must be I/N with I from 1 to N, such as 1/4, not {shard!r}\n"
    assert "--shard divides users" in run(capsys, "recommend", words, "--items", "a", "--shard", "1/2")[2]


def test_stats_are_the_last_line_on_stderr_and_count_what_was_written(words, tmp_path, capsys):
    _, lines, err = run(capsys, "recommend", words, "--users", "u1", "zoe", "u2", "--top_k", 3, "--unknown", "popular", "--stats")
    stats = json.loads(err.splitlines()[-1])
    assert (stats["users"], stats["rows"], stats["fallbacks"]) == (3, len(lines) - 1, 1)
    assert stats["seconds"] > 0
    assert set(stats) == {"users", "rows", "fallbacks", "seconds", "model"}
    again = json.loads(run(capsys, "recommend", words, "--all", "--output", tmp_path / "x.parquet", "--stats")[2])
    assert again["model"] == stats["model"] == f"itemknn-{storage.read_checksum(Path(words) / 'model.safetensors')}"
    assert (again["users"], again["rows"]) == (11, len(pl.read_parquet(tmp_path / "x.parquet")))
    new = json.loads(run(capsys, "recommend", words, "--items", "zz", "--top_k", 3, "--unknown", "popular", "--stats")[2].splitlines()[-1])
    assert (new["users"], new["rows"], new["fallbacks"]) == (1, 3, 1)
    assert run(capsys, "recommend", words, "--all")[2] == ""


def test_progress_is_shown_while_a_file_of_many_users_is_written(words, tmp_path, capsys, monkeypatch):
    steps = []

    class Noted(Silent):
        def start(self, what, total, unit):
            steps.append((what, total, unit))

        def advance(self, number, figures=None):
            steps.append(number)

    monkeypatch.setattr("ultragcn.cli.recommend.Bars", Noted)
    monkeypatch.setattr("ultragcn.cli.recommend._BLOCK_USERS", 4)
    asked = ("recommend", words, "--all", "--output", tmp_path / "x.tsv")
    assert run(capsys, *asked)[0] == 0
    assert steps == [("recommending", 11, "user"), 4, 4, 3]
    assert run(capsys, *asked[:3])[0] == 0
    assert len(steps) == 4


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl", "a.txt", "plain", "A.CSV"])
def test_a_packed_file_holds_what_the_other_does(words, tmp_path, capsys, name):
    for file in (name, f"{name}.gz"):
        assert run(capsys, "recommend", words, "--all", "--output", tmp_path / file)[0] == 0
        assert run(capsys, "similar", words, "--item", "a", "--output", tmp_path / f"similar-{file}")[0] == 0
    for start in ("", "similar-"):
        packed = (tmp_path / f"{start}{name}.gz").read_bytes()
        assert gzip.decompress(packed) == (tmp_path / f"{start}{name}").read_bytes()
    assert run(capsys, "recommend", words, "--all", "--output", tmp_path / f"{name}.gz")[0] == 0
    assert (tmp_path / f"{name}.gz").read_bytes() != packed
    assert b"plain" not in (tmp_path / f"{name}.gz").read_bytes()  # neither the name nor the time is in it


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("x.xlsx", (), "workbooks are not written; --output x.csv is a table that Excel opens"),
        ("x.xlsx", ("--format", "csv"), "workbooks are not written"),
        ("x.zip", ("--format", "csv"), "files that end with .zip are not written; give a name that ends with .tsv"),
        ("x.csv.zst", (), "files that end with .zst are not written"),
        ("x.data", (), "files that end with .data are not written; give a name that ends with .tsv, .txt, .csv, .json, .jsonl, .ndjson or "
                       ".parquet, or give --format"),
        ("x.parquet.gz", (), "Parquet is compressed already; give the name without .gz"),
        ("x.csv", ("--format", "parquet"), "--format parquet and --output x.csv do not agree"),
        ("x.parquet", ("--bom",), "--bom marks a file of text for Excel"), ("x.jsonl", ("--bom",), "--bom marks a file of text"),
    ],
)  # fmt: skip
def test_an_ending_that_is_not_written_is_refused_before_any_work(words, tmp_path, capsys, monkeypatch, name, more, says):
    monkeypatch.chdir(tmp_path)
    status, lines, err = run(capsys, "recommend", words, "--all", "--output", name, *more)
    assert (status, lines, len(err.splitlines())) == (2, [], 1)
    assert says in err
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x.xlsx", "workbooks are not written; --per_user x.csv is a table that Excel opens"),
        ("x.json", "files that end with .json are not written; give a name that ends with .tsv, .txt, .csv or .parquet"),
    ],
)
def test_values_of_users_are_written_by_the_same_rule(capsys, name, says):
    assert run(capsys, "evaluate", "nosuch", "--per_user", name) == (2, [], f"ultragcn: cannot write {name}: {says}\n")


def test_format_says_what_a_name_does_not(words, tmp_path, capsys):
    assert run(capsys, "recommend", words, "--all", "--output", tmp_path / "x.data", "--format", "csv")[0] == 0
    assert (tmp_path / "x.data").read_text().startswith("user_id,rank,")
    assert run(capsys, "recommend", words, "--all", "--bom")[2].startswith("ultragcn: --bom marks a file of text")


def test_a_byte_order_mark_is_written_once_and_read_back(words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ultragcn.cli.recommend._BLOCK_USERS", 4)
    for name, unpacked in (("x.csv", lambda data: data), ("y.tsv.gz", gzip.decompress)):
        assert run(capsys, "recommend", words, "--all", "--bom", "--output", tmp_path / name)[0] == 0
        data = unpacked((tmp_path / name).read_bytes())
        assert data.startswith(b"\xef\xbb\xbfuser_id")
        assert data.count(b"\xef\xbb\xbf") == 1
    assert ids.read_ids(str(tmp_path / "x.csv"), Popularity().fit(pl.DataFrame({"user": ["q"], "item": [1]})).user_ids, "--users_file")


# --------------------------------------------------------------------- alike


def test_shrunk_cosines_of_co_occurrence_worked_by_hand():
    users = sp.csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 0], [0, 0, 1, 0]], np.float32))
    items, cosines = most_together(users, np.array([1, 3, 0]), 3)
    assert items.tolist() == [[0, 2, -1], [-1, -1, -1], [1, 2, -1]]  # 1 and 2 stand alike with 0 but for how many have them
    assert cosines[0, :2] == pytest.approx([2 / (6**0.5 + 10), 1 / (6**0.5 + 10)])
    assert cosines[2, :2] == pytest.approx([2 / (6**0.5 + 10), 2 / (3 + 10)])
    assert np.isneginf(cosines[1]).all()


def test_the_command_lists_what_is_alike_by_either_way(tmp_path, capsys):
    pairs = pl.DataFrame({"user": [1, 1, 2, 2, 3, 3], "item": [7, 8, 7, 8, 8, 9]})
    model = UltraGCN(embedding_dim=4, epochs=2, seed=0).fit(pairs)
    model.save(tmp_path / "run")
    for way, column in (("together", "score"), ("embeddings", "cosine")):
        status, lines, err = run(capsys, "similar", tmp_path / "run", "--item", 7, "--by", way)
        ids, values = model.similar_items(7, by=way)
        assert (status, err, lines[0]) == (0, "", ["rank", "item_id", column])
        assert [line[1] for line in lines[1:]] == [str(item) for item in ids]
        assert [float(line[2]) for line in lines[1:]] == pytest.approx(values.tolist(), rel=1e-5)
    assert run(capsys, "similar", tmp_path / "run", "--item", 7)[1][0] == ["rank", "item_id", "score"]
    assert "--by says how items are compared" in run(capsys, "similar", tmp_path / "run", "--user", 1, "--by", "together")[2]


def test_an_item_that_nobody_has_is_like_nothing_and_the_command_says_so(tmp_path, capsys):
    ids = IdMap(np.arange(2), "user"), IdMap(np.arange(4), "item")
    UltraGCN(embedding_dim=4, epochs=2).fit(Interactions(sp.csr_matrix([[1.0, 1, 0, 0], [1, 1, 1, 0]]), *ids)).save(tmp_path / "run")
    status, lines, err = run(capsys, "similar", tmp_path / "run", "--item", 3)
    assert (status, len(lines), err) == (0, 1, "ultragcn: no user has item '3' in train, so no item can be compared with it\n")


# --------------------------------------------------------------------- killed


WRITER = """
import sys, time
from pathlib import Path
from ultragcn.cli.output import file_at
with file_at(Path(sys.argv[1])) as place:
    place.write_text("half")
    print(place, flush=True)
    time.sleep(60)
"""


def parts(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(".part"))


def started(path):
    """A process that has written half of a file."""
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True,
                             env=os.environ | {"PYTHONPATH": str(SRC)})  # fmt: skip
    assert child.stdout.readline().strip()
    return child


def ended(child, how):
    child.send_signal(how)
    child.wait(30)
    child.stdout.close()
    return child.returncode


@pytest.mark.skipif(os.name == "nt", reason="there are no such signals")
def test_a_kill_leaves_no_part_and_what_another_one_left_goes_with_the_next_writer(tmp_path):
    path = tmp_path / "lists.tsv"
    path.write_text("before")
    assert ended(started(path), signal.SIGTERM) == 143
    assert (parts(tmp_path), path.read_text()) == ([], "before")
    ended(started(path), signal.SIGKILL)
    assert len(parts(tmp_path)) == 1
    (tmp_path / ".lists.tsv.x.abcdefgh.part").write_text("of another file")
    alive = started(path)
    try:
        assert len(parts(tmp_path)) == 2  # the dead one's is gone, the living one's is there
        storage.write_text(path, "after")
        assert len(parts(tmp_path)) == 2
    finally:
        ended(alive, signal.SIGTERM)
    assert (parts(tmp_path), path.read_text()) == ([".lists.tsv.x.abcdefgh.part"], "after")


# ----------------------------------------------------------------------- bars


def test_bars_show_as_many_figures_as_a_line_holds(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(written, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr", written)
    figures = {"loss": 0.123456789, "l2_user": 0.0123456, "l2_item": 0.0123456, "recall@20": 0.123456, "ndcg@20": 0.123456, "best": 0.12}
    for width, shown in ((80, "ndcg@20=0.12346"), (100, "recall@20=0.12346"), (200, "loss=0.12346, l2_user=0.012346")):
        bars = Bars()
        bars.start("training", 300, "epoch")
        bars._bars[-1].ncols, bars._bars[-1].dynamic_ncols = width, None
        written.truncate(0)
        for _ in range(3):
            bars.advance(100, figures)
            time.sleep(0.01)
        bars._bars[-1].refresh()
        bars.finish()
        lines = [line for line in written.getvalue().replace("\n", "\r").split("\r") if line.strip("\0 ")]
        assert max(map(len, lines)) <= width
        assert shown in lines[-1]
        assert "best=0.12" in lines[-1]


def test_where_stderr_is_no_terminal_progress_is_a_plain_line_now_and_then(monkeypatch):
    written, now = io.StringIO(), [0.0]
    monkeypatch.setattr("sys.stderr", written)
    monkeypatch.setattr("ultragcn.progress.time", SimpleNamespace(monotonic=lambda: now[0]))

    def worked(seconds, steps, unit="epoch", total=300):
        written.truncate(0), written.seek(0)
        bars = Bars()
        bars.start("training", total, unit)
        for step in range(steps):
            now[0] += seconds / steps
            bars.advance(100, {"loss": 0.123456789, "epoch": step})
        bars.finish()
        return written.getvalue().splitlines()

    assert worked(29, 3) == []
    assert worked(120, 3) == [
        "ultragcn: training: 100 of 300 epochs in 0:40, 1:20 left, loss=0.12346, epoch=0",
        "ultragcn: training: 200 of 300 epochs in 1:20, 0:40 left, loss=0.12346, epoch=1",
        "ultragcn: training: 300 of 300 epochs in 2:00, loss=0.12346, epoch=2",
    ]
    assert len(worked(120, 3000)) == 4
    assert worked(7300, 2, unit="byte", total=None)[-1] == "ultragcn: training: 0 MB in 2:01:40, loss=0.12346, epoch=1"


@pytest.mark.parametrize("command", ["train", "recommend", "update"])
def test_no_command_redraws_a_bar_in_a_redirected_log(tmp_path, log, command):
    options = ("--dataset", log, "--epochs", 2, "--embedding_dim", 4, "--seed", 0)
    words = {
        "train": ("train", *options, "--out", tmp_path / "new"),
        "recommend": ("recommend", tmp_path / "run", "--all", "--output", tmp_path / "x.tsv"),
        "update": ("update", tmp_path / "run", "--interactions", log, "--forget", "u1", "--measure", "none", "--out", tmp_path / "new"),
    }[command]
    if command != "train":
        assert main(list(map(str, ("train", *options, "--out", tmp_path / "run", "--quiet")))) == 0
    done = subprocess.run([sys.executable, "-m", "ultragcn", *map(str, words)], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(SRC)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\r" not in done.stderr
    assert "|" not in done.stderr
