"""A file of queries: each row gets the list that it would get alone."""

import gzip
import io
import json
import sys

import numpy as np
import polars as pl
import pytest

from tests.test_results_out import run, saved
from ultragcn import BPR, UltraGCN, load_model
from ultragcn.rules import Rules

ITEMS = [f"i{number:02}" for number in range(40)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A model with embeddings and item graph, titles, an items table, and validation pairs; and its folder."""
    random = np.random.default_rng(0)
    pairs = [(f"u{user:02}", ITEMS[item]) for user in range(50) for item in random.permutation(20)[:8] + 20 * (user % 2)]
    frame = pl.DataFrame(pairs, schema=["user", "item"], orient="row")
    model = UltraGCN(embedding_dim=8, epochs=3, seed=0, item_graph_weight=1.0).fit(frame[::2], frame[1::2])
    model.set_items_table(pl.DataFrame({"item": ITEMS, "kind": ["jazz", "folk"] * 20, "price": list(range(40))}))
    return model, model.save(tmp_path_factory.mktemp("shop") / "run")


def random_queries(number, seed=0):
    """Rows of every kind: old and new users, own masks, own lengths, the same user again and again."""
    random = np.random.default_rng(seed)

    def some(most):
        return [ITEMS[item] for item in random.permutation(40)[: random.integers(1, most)]]

    rows = []
    for query in range(number):
        row = {"user_id": f"u{random.integers(12):02}"} if random.random() < 0.6 else {"items": some(6)}
        if random.random() < 0.5:
            row["exclude"] = some(9)
        if random.random() < 0.3:
            row["only"] = some(20) if random.random() < 0.5 else ITEMS[::2]
        if random.random() < 0.5:
            row["top_k"] = int(random.integers(1, 50))
        if random.random() < 0.5:
            row["query_id"] = f"query {query}"
        rows.append(row)
    return rows


def alone(model, row, top_k, **rules):
    """What a query gets when it is the only one: items and scores."""
    asked = {"top_k": row.get("top_k", top_k), "only": row.get("only"), **rules}
    if "user_id" in row:
        pairs = [(row["user_id"], item) for item in row.get("exclude", [])]
        return model.recommend(row["user_id"], exclude=pairs or None, **asked)
    return model.recommend_for(row["items"], exclude=row.get("exclude"), **asked)


def written(path, rows):
    """Write rows as the name of the file says."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path
    columns = {name: [row.get(name) for row in rows] for name in ("query_id", "user_id", "items", "exclude", "only", "top_k")}
    if path.suffix == ".parquet":
        pl.DataFrame(columns, schema_overrides={name: pl.List(pl.String) for name in ("items", "exclude", "only")}).write_parquet(path)
        return path
    cells = {name: ["|".join(cell) if isinstance(cell, list) else cell for cell in values] for name, values in columns.items()}
    pl.DataFrame(cells).write_csv(path, separator="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("rules", [{}, {"where": "price > 3"}, {"max_per": {"kind": 4}}, {"diversity": 0.4, "promote": "price < 9=20%"}])
@pytest.mark.parametrize("seen", [True, False])
def test_each_query_gets_the_list_that_it_gets_alone(shop, tmp_path, capsys, monkeypatch, rules, seen):
    model, folder = shop
    rows = random_queries(60)
    monkeypatch.setattr("ultragcn.cli.recommend._BLOCK_USERS", 16)
    monkeypatch.setattr("ultragcn.cli.queries._CHUNK", 7)
    options = [word for name, value in rules.items() for word in (f"--{name}", "kind=4" if name == "max_per" else value)]
    asked = ("recommend", folder, "--queries", written(tmp_path / "q.jsonl", rows), "--top_k", 7, *options)
    assert run(capsys, *asked, *([] if seen else ["--include_seen"]), "--output", tmp_path / "lists.parquet") == (0, [], "")
    table = pl.read_parquet(tmp_path / "lists.parquet")
    assert table.columns == ["query_id", "rank", "item_id", "score"]
    names = [row.get("query_id", str(number)) for number, row in enumerate(rows, start=1)]
    lengths = []
    for name, row in zip(names, rows, strict=True):
        items, scores = alone(model, row, 7, rules=Rules(**rules), exclude_seen=seen)
        found = table.filter(query_id=name)
        assert (found["item_id"].to_list(), found["score"].to_list()) == (items.tolist(), scores.tolist())
        lengths.append(len(items))
    in_order = table["query_id"].unique(maintain_order=True).to_list()
    assert in_order == [name for name, length in zip(names, lengths, strict=True) if length]
    assert max(lengths) > 7 > min(lengths)


@pytest.mark.parametrize("name", ["q.parquet", "q.csv", "q.tsv"])
def test_every_kind_of_file_asks_the_same(shop, tmp_path, capsys, name):
    rows = [row | {"query_id": f"q{number}"} for number, row in enumerate(random_queries(30))]
    expected = run(capsys, "recommend", shop[1], "--queries", written(tmp_path / "q.jsonl", rows))
    assert run(capsys, "recommend", shop[1], "--queries", written(tmp_path / name, rows)) == expected
    assert (expected[0], expected[2]) == (0, "")


def test_queries_come_packed_and_from_stdin(shop, tmp_path, capsys, monkeypatch):
    content = written(tmp_path / "q.jsonl", random_queries(5)).read_bytes()
    expected = run(capsys, "recommend", shop[1], "--queries", tmp_path / "q.jsonl")
    (tmp_path / "q.gz").write_bytes(gzip.compress(content))
    assert run(capsys, "recommend", shop[1], "--queries", tmp_path / "q.gz") == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert run(capsys, "recommend", shop[1], "--queries", "-") == expected


def test_without_query_ids_the_number_of_the_row_comes_back_as_a_number(shop, tmp_path, capsys):
    rows = [{"user_id": "u01"}, {"items": ["i01"]}, {"user_id": "u01", "only": []}, {"user_id": "u02", "query_id": 77}]
    asked = ("recommend", shop[1], "--queries", written(tmp_path / "q.jsonl", rows), "--top_k", 2, "--output", tmp_path / "x.parquet")
    assert run(capsys, *asked)[0] == 0
    table = pl.read_parquet(tmp_path / "x.parquet")
    assert table["query_id"].dtype == pl.Int64
    assert table["query_id"].to_list() == [1, 1, 2, 2, 77, 77]  # an empty `only` allows nothing


def test_ids_that_are_whole_numbers_are_so_in_every_kind_of_file(tmp_path, capsys):
    _, folder = saved(tmp_path / "run", [*range(10), -3], items=tuple(range(100, 106)))
    rows = [{"user_id": -3, "exclude": [102]}, {"items": [100, 101], "top_k": 2}]
    expected = run(capsys, "recommend", folder, "--queries", written(tmp_path / "q.jsonl", rows))
    assert expected[0] == 0
    pl.DataFrame({"user_id": [-3.0, None], "items": [None, [100, 101]], "exclude": [[102], None], "top_k": [None, 2]}).write_parquet(
        tmp_path / "q.parquet"
    )
    (tmp_path / "q.csv").write_text('user_id;items;exclude;top_k\n-3;;102;\n;"[100, 101]";;2\n')
    for name in ("q.parquet", "q.csv"):
        assert run(capsys, "recommend", folder, "--queries", tmp_path / name) == expected


def test_what_the_model_does_not_know_is_refused_left_out_or_gets_what_is_popular(shop, tmp_path, capsys):
    rows = [
        {"user_id": "u01"},
        {"user_id": "zoe", "exclude": ["i20", "none"]},
        {"items": ["i01", "new"]},
        {"items": ["new"]},
        {"items": []},
    ]
    asked = ("recommend", shop[1], "--queries", written(tmp_path / "q.jsonl", rows), "--top_k", 3, "--stats")
    written(tmp_path / "some.jsonl", rows[:4])
    status, lines, err = run(capsys, *asked[:3], tmp_path / "some.jsonl")
    assert (status, lines) == (2, [])
    assert "row 2: unknown user id 'zoe'" in err
    assert err.endswith("--unknown skip leaves out what the model does not know\n")
    status, lines, err = run(capsys, *asked, "--unknown", "skip")
    assert (status, [line[0] for line in lines[1:]]) == (0, ["1"] * 3 + ["3"] * 3)
    assert "1 time a user is not known to the model; they get no list (first: 'zoe' in row 2)" in err
    status, lines, err = run(capsys, *asked, "--unknown", "popular")
    assert (status, [line[0] for line in lines[1:]]) == (0, [str(row) for row in range(1, 6) for _ in range(3)])
    stats = json.loads(err.splitlines()[-1])
    assert (stats["users"], stats["rows"], stats["fallbacks"]) == (5, 15, 3)
    model = load_model(shop[1])
    popular = model.recommend("zoe", 3, unknown="popular", exclude=["i20"])[0].tolist()
    assert [line[2] for line in lines[1:] if line[0] == "2"] == popular
    assert [line[2] for line in lines[1:] if line[0] == "3"] == model.recommend_for(["i01"], 3)[0].tolist()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("q.jsonl", '{"user_id": "u01"}\n\n{"user_id": "u02", "topk": 3}', "row 2: unknown column 'topk'; did you mean top_k? (allowed"),
        ("q.jsonl", '{"user_id": "u01", "items": ["i01"]}', "row 1 has both user_id 'u01' and items; give exactly one"),
        ("q.jsonl", '{"top_k": 3}', "row 1 has neither user_id nor items; give exactly one"),
        ("q.jsonl", '{"user_id": "u01", "top_k": 0}', "row 1: top_k must be a whole number of 1 or more, not 0"),
        ("q.jsonl", '{"user_id": "u01", "top_k": true}', "row 1: top_k must be a whole number of 1 or more, not true"),
        ("q.jsonl", '{"user_id": 1.5}', "row 1: user_id must be a text or a whole number, not 1.5"),
        ("q.jsonl", '{"items": [["i01"]]}', 'row 1: each of items must be a text or a whole number, not ["i01"]'),
        ("q.jsonl", '{"items": ["i01", ""]}', 'row 1: items must be a list of items without empty ones, not ["i01", ""]'),
        ("q.jsonl", '{"items": {"i01": 1}}', 'row 1: items must be a list of items such as ["tea", "pie"], not {"i01": 1}'),
        ("q.jsonl", '{"items": []}', "row 1: items is empty; give at least one item, or --unknown popular"),
        ("q.jsonl", '{"items": ["new"]}', "row 1: unknown item id 'new'"),
        ("q.jsonl", '{"user_id": "u01"}\n["u02"]', "row 2: '[\"u02\"]' is not a JSON object; give one a line"),
        ("q.csv", "user_id,top_k\nu01,five\n", 'row 1: top_k must be a whole number of 1 or more, not "five"'),
        ("q.csv", "user_id,top_k\nu01,5\nu02\n", "row 2 has fewer cells than the header"),
        ("q.csv", 'items,top_k\n"[1,",5\n', "row 1: items must be a list of items such as tea|pie"),
        ("q.csv", "u01\nu02\n", "has no column user_id or items, but u01; give a header, of the columns query_id, user_id"),
        ("q.csv", "user_id\n", "has no queries; give a row for each query"), ("q.parquet", "PAR1xxxx", "it is damaged, or not Parquet"),
        ("q.csv", "", "has no column user_id or items, but nothing"), ("q.csv", None, "cannot read --queries"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_meant_is_one_sentence_with_its_number_and_nothing_is_written(shop, tmp_path, capsys, name, content, says):
    if content is not None:
        (tmp_path / name).write_text(content)
    for output in ([], ["--output", tmp_path / "lists" / "x.tsv"], ["--output", f"{tmp_path}/parts/"]):
        status, lines, err = run(capsys, "recommend", shop[1], "--queries", tmp_path / name, *output)
        assert (status, lines, len(err.splitlines())) == (2, [], 1)
        assert says in err
        assert str(tmp_path / name) in err
    assert not (tmp_path / "lists").exists()
    assert not (tmp_path / "parts").exists()


@pytest.mark.torch
def test_a_model_that_cannot_answer_for_new_users_says_so_before_anything_is_written(tmp_path, capsys):
    model = BPR(embedding_dim=4, epochs=1).fit(pl.DataFrame({"user": [1, 1, 2], "item": [5, 6, 5]}))
    rows = [{"user_id": 1}] * 3 + [{"items": [5]}]
    status, lines, err = run(capsys, "recommend", model.save(tmp_path / "run"), "--queries", written(tmp_path / "q.jsonl", rows))
    assert (status, lines) == (2, [])
    assert "BPR learns a user's embedding only by training" in err


def test_shards_of_queries_below_each_other_are_the_whole(shop, tmp_path, capsys):
    asked = ("recommend", shop[1], "--queries", written(tmp_path / "q.jsonl", random_queries(20)))
    header, *whole = run(capsys, *asked)[1]
    shards = [run(capsys, *asked, "--shard", f"{part}/3")[1] for part in (1, 2, 3)]
    assert [line for lines in shards for line in lines[1:]] == whole
    assert all(lines[0] == header for lines in shards)
