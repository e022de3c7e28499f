"""Exports: each format reads back equal by what people read it with, the printed figures are true, and files are whole or not there."""

import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
import uuid
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from ultragcn import BPR, EASE, IALS, Interactions, ItemKNN, LightGCN, Popularity, UltraGCN, export, load_dataset
from ultragcn.cli import main
from ultragcn.cli.export import _TO
from ultragcn.errors import MissingDependencyError, NotFittedError, UltraGCNError, UsageError
from ultragcn.serving.exports import arrays, vectors
from ultragcn.serving.exports.formats import FORMATS

HOSTILE = [
    "tab\there", 'quote " and \' quote', "line\nbreak", "carriage\rreturn", "back\\slash", "\\N", "\\.", "ünï ☃ 日本", "-leading",
    "--option", "a b  c ", " leading", "{\"id\": 1}", "NULL", "null", "", "%s", "a,b", "1", "007", "x" * 300, "\u2028separator",
    "\x0bvertical", "\x08bell\x0c",
]  # fmt: skip
PLAIN = [f"item-{number}" for number in range(24)]
NUMBERS = [-7, -1, 0, 1, 5, 2**40, 2**62, *range(10, 27)]
NEED_FAISS = pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="needs FAISS")
ALL = [pytest.param(name, marks=NEED_FAISS) if name == "faiss" else name for name in FORMATS]


def made(item_ids, user_ids=None, dim=6, seed=0, **settings):
    """Return a model of a random log over these ids, with an item graph and a trend."""
    random = np.random.default_rng(seed)
    users = user_ids or [f"u{number}" for number in range(30)]
    dense = random.random((len(users), len(item_ids))) < 0.3
    dense[np.arange(len(item_ids)) % len(users), np.arange(len(item_ids))] = True
    dense[:, 0] = True
    rows, columns = dense.nonzero()
    log = Interactions.from_pairs([users[row] for row in rows], [item_ids[column] for column in columns])
    model = UltraGCN(embedding_dim=dim, epochs=2, seed=seed, item_graph_weight=0.5, item_graph_neighbors=10, **settings).fit(log)
    model.item_trend_ = random.standard_normal(len(item_ids)).astype(np.float32)
    return model


@pytest.fixture(scope="module")
def models():
    """Models over plain, hostile and integer ids."""
    found = {"plain": made(PLAIN), "hostile": made(HOSTILE, HOSTILE), "numbers": made(NUMBERS, NUMBERS)}
    for model in found.values():
        titles = np.array([f"title {name!r} of\t{name}" for name in model.item_ids.ids.tolist()], dtype=object)
        titles[3] = ""
        model.item_titles_ = titles
    return found


# ----------------------------------------------------------------- readers, as people would write them


def read_numpy(folder, name):
    ids = np.load(folder / f"{name[:-1]}_ids.npy")
    bias = np.load(folder / "item_bias.npy") if name == "items" else None
    return ids.tolist(), np.load(folder / f"{name}.npy"), None, bias


def read_parquet(folder, name):
    frame = pl.read_parquet(folder / f"{name}.parquet")
    assert isinstance(frame.schema["vector"], pl.Array)
    assert frame.schema["vector"].inner == pl.Float32
    titles, bias = (frame["title"].to_list(), frame["bias"].to_numpy()) if name == "items" else (None, None)
    return frame[f"{name[:-1]}_id"].to_list(), frame["vector"].to_numpy(), titles, bias


def read_word2vec(folder, name):
    """As gensim's KeyedVectors.load_word2vec_format does."""
    with open(folder / f"{name}.txt", "rb") as file:
        number, dimensions = map(int, file.readline().decode().split())
        words, rows = [], []
        for _ in range(number):
            parts = file.readline().decode().rstrip().split(" ")
            assert len(parts) == dimensions + 1
            words.append(parts[0])
            rows.append(np.array([np.float32(cell) for cell in parts[1:]]))
        assert file.readline() == b""
    return words, np.array(rows), None, None


def read_faiss(folder, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import faiss
    index = faiss.read_index(str(folder / f"{name}.faiss"))
    assert index.metric_type == faiss.METRIC_INNER_PRODUCT
    ids = np.load(folder / f"{name[:-1]}_ids.npy")
    return ids.tolist(), index.reconstruct_n(0, index.ntotal), None, None


def unescaped(cell):
    """What PostgreSQL makes of a cell of COPY text, letter by letter."""
    if cell == "\\N":
        return None
    letters, text = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}, iter(cell)
    return "".join(letters.get(after := next(text), after) if letter == "\\" else letter for letter in text)


def read_pgvector(folder, name):
    text = (folder / f"{name}.sql").read_bytes().decode()
    before, rows = re.fullmatch(r"(.*?\nCOPY [^\n]* FROM stdin;\n)(.*)\\\.\nCOMMIT;\n", text, re.S).groups()
    columns = re.search(r"COPY \w+ \((.*)\) FROM stdin;", before)[1].split(", ")
    assert f"CREATE TABLE {name[:-1]}_vectors (\n    id " in before
    table = [dict(zip(columns, map(unescaped, row.split("\t")), strict=True)) for row in rows.split("\n")[:-1]]
    found = np.array([[np.float32(cell) for cell in row["vector"].removeprefix("[").removesuffix("]").split(",")] for row in table])
    assert f"vector({found.shape[1]})" in before
    titles, bias = None, None
    if name == "items":
        titles, bias = [row.get("title") for row in table], np.array([np.float32(row["bias"]) for row in table])
    ids = [row["id"] for row in table]
    return [int(one) for one in ids] if "id bigint" in before else ids, found, titles, bias


def of_objects(rows, name, id_name):
    titles, bias = None, None
    if name == "items":
        titles, bias = [row.get("title") for row in rows], np.array([np.float32(row["bias"]) for row in rows])
    return [row[id_name] for row in rows], np.array([row["vector"] for row in rows]).astype(np.float32), titles, bias


def objects_in(folder, name):
    return [json.loads(line) for line in (folder / f"{name}.ndjson").read_bytes().decode().split("\n")[:-1]]


def read_ndjson(folder, name):
    return of_objects(objects_in(folder, name), name, "id")


def read_qdrant(folder, name):
    points = objects_in(folder, name)
    for point in points:
        if not isinstance(point["id"], int):
            assert uuid.UUID(point["id"]) == uuid.uuid5(uuid.NAMESPACE_OID, str(point["payload"][f"{name[:-1]}_id"]))
        else:
            assert point["id"] == point["payload"][f"{name[:-1]}_id"] >= 0
    assert len({point["id"] for point in points}) == len(points)
    return of_objects([point["payload"] | {"vector": point["vector"]} for point in points], name, f"{name[:-1]}_id")


def read_elasticsearch(folder, name):
    lines = objects_in(folder, name)
    actions, documents = lines[::2], lines[1::2]
    found = of_objects(documents, name, f"{name[:-1]}_id")
    assert actions == [{"index": {"_id": str(one)}} for one in found[0]]
    return found


READERS = {
    "numpy": read_numpy, "parquet": read_parquet, "word2vec": read_word2vec, "faiss": read_faiss, "pgvector": read_pgvector,
    "ndjson": read_ndjson, "qdrant": read_qdrant, "elasticsearch": read_elasticsearch,
}  # fmt: skip


@pytest.mark.parametrize("ids", ["plain", "hostile", "numbers"])
@pytest.mark.parametrize("to", ALL)
def test_each_format_reads_back_equal_by_what_people_read_it_with(to, ids, models, tmp_path):
    model = models[ids]
    if (to, ids) in (("word2vec", "hostile"), ("elasticsearch", "hostile")):
        with pytest.raises(
            UsageError, match="so it cannot hold the item id ''" if to == "word2vec" else "has 1 to 512 bytes, which '' has not"
        ):
            export(model, tmp_path / "out", to)
        assert list(tmp_path.iterdir()) == []
        return
    done = export(model, tmp_path / "out", to)
    assert done.rows == {"items": len(model.item_ids), "users": len(model.user_ids)}
    titles = [title or None for title in model.item_titles_]
    sides = {"items": (model.item_ids, model.item_embedding_, titles, model.item_trend_), "users": (model.user_ids, model.user_embedding_)}
    for name, (wanted, embedding, *more) in sides.items():
        found_ids, found, found_titles, bias = READERS[to](tmp_path / "out", name)
        wanted_ids = wanted.ids.tolist()
        assert found_ids == (list(map(str, wanted_ids)) if to == "word2vec" else wanted_ids)
        assert found.dtype == np.float32
        assert found.tobytes() == embedding.tobytes()
        if more:
            assert found_titles in (None, more[0])
            assert bias is None or bias.tobytes() == more[1].tobytes()
    about = json.loads((tmp_path / "out" / "export.json").read_text(encoding="utf-8"))
    assert (about["format"], about["dimensions"], about["model"]) == (to, {"embeddings": 6}, "UltraGCN")
    assert sorted(about["files"]) == sorted(path.name for path in (tmp_path / "out").iterdir() if path.name != "export.json")


def test_every_reader_of_titles_and_biases_finds_them(models, tmp_path):
    for to in ("numpy", "parquet", "pgvector", "ndjson", "qdrant", "elasticsearch"):
        export(models["plain"], tmp_path / to, to, which="items")
        _, _, titles, bias = READERS[to](tmp_path / to, "items")
        assert bias is not None
        assert (titles is None) == (to == "numpy")
        assert sorted(path.stem for path in (tmp_path / to).iterdir() if "user" in path.stem) == []


def test_numbers_of_every_size_keep_every_bit_in_text(tmp_path):
    model = made(PLAIN)
    random = np.random.default_rng(1)
    size = 10.0 ** random.integers(-37, 15, model.item_embedding_.shape)
    odd = (random.standard_normal(size.shape) * size).astype(np.float32)
    odd[0, :4] = [0.0, -0.0, 1e-42, np.float32(1) / 3]
    model.item_embedding_, model.user_embedding_ = odd, model.user_embedding_ * np.float32(1e-3)
    for to in ("word2vec", "pgvector", "ndjson", "qdrant", "elasticsearch"):
        export(model, tmp_path / to, to)
        assert READERS[to](tmp_path / to, "items")[1].tobytes() == odd.tobytes()


def test_text_is_made_in_blocks_of_rows_and_is_the_same(models, tmp_path, monkeypatch):
    for to in ("word2vec", "pgvector", "ndjson", "qdrant", "elasticsearch"):
        ids = "numbers" if to in ("word2vec", "elasticsearch") else "hostile"
        export(models[ids], tmp_path / to, to)
        with monkeypatch.context() as patched:
            patched.setattr("ultragcn.serving.exports.sides._NUMBERS", 6 * 7)
            export(models[ids], tmp_path / f"{to}-blocks", to)
        for file in (tmp_path / to).iterdir():
            assert file.read_bytes() == (tmp_path / f"{to}-blocks" / file.name).read_bytes()


@NEED_FAISS
def test_a_search_in_the_index_finds_the_items_of_the_largest_product(models, tmp_path):
    import faiss

    model = models["hostile"]
    export(model, tmp_path / "out", "faiss")
    index = faiss.read_index(str(tmp_path / "out/items.faiss"))
    _, rows = index.search(model.user_embedding_, 5)
    assert rows.tolist() == np.argsort(-(model.user_embedding_ @ model.item_embedding_.T), axis=1)[:, :5].tolist()


def test_without_faiss_one_sentence_says_what_to_install(models, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingDependencyError, match=r"pip install '\.\[faiss\]'"):
        export(models["plain"], tmp_path / "out", "faiss")
    assert list(tmp_path.iterdir()) == []


def test_ids_that_would_take_much_room_in_one_width_are_written_one_a_line(models, tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "_MOST_BYTES", 100)
    export(models["plain"], tmp_path / "out", "numpy")
    assert (tmp_path / "out/item_ids.txt").read_text(encoding="utf-8").splitlines() == models["plain"].item_ids.ids.tolist()
    with pytest.raises(UsageError, match="does not fit on a line; give --to parquet"):
        export(models["hostile"], tmp_path / "other", "numpy")
    assert not (tmp_path / "other").exists()


def test_what_a_format_cannot_hold_is_refused_by_its_name(tmp_path):
    model = made([*PLAIN[:-1], "null\0character"])
    with pytest.raises(UsageError, match=r"no null character, such as in the item id 'null\\x00character'; give --to parquet"):
        export(model, tmp_path / "out", "pgvector")
    model = made([*PLAIN[:-1], "x" * 513])
    with pytest.raises(UsageError, match="1 to 512 bytes"):
        export(model, tmp_path / "out", "elasticsearch")
    model = made([*PLAIN[:-1], "null at the end\0"])
    export(model, tmp_path / "out", "numpy")
    assert (tmp_path / "out/item_ids.txt").exists()
    assert "null at the end\0" in arrays.read_ids("item", tmp_path / "out").tolist()


# ----------------------------------------------------------------- what it is worth


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on the demo data with an item graph, whose model has not seen the test pairs."""
    folder = tmp_path_factory.mktemp("runs") / "demo"
    words = "--dataset demo --embedding_dim 8 --epochs 4 --item_graph_weight 0.6 --keep measured --quiet --seed 1"
    assert main(["train", *words.split(), "--out", str(folder)]) == 0
    return folder


def recall_of_files(folder, data, biased=False):
    """Recall@20 by plain NumPy, out of a Parquet export and the data."""
    items, users = (pl.read_parquet(folder / f"{name}.parquet") for name in ("items", "users"))
    assert items["item_id"].to_list() == data.train.item_ids.ids.tolist()
    assert users["user_id"].to_list() == data.train.user_ids.ids.tolist()
    scores = users["vector"].to_numpy() @ items["vector"].to_numpy().T
    if biased:
        scores = scores + items["bias"].to_numpy()
    scores[(data.train.matrix + data.valid.matrix).toarray() > 0] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :20]
    held_out = data.test.matrix.toarray() > 0
    hits = np.take_along_axis(held_out, best, axis=1).sum(axis=1)
    asked = held_out.any(axis=1)
    return float((hits[asked] / held_out[asked].sum(axis=1)).mean())


def printed(capsys):
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "figure\tvalue"
    return {name: value for name, value in (line.split("\t") for line in out[1:]) if name != "file"}


@pytest.mark.parametrize("extended", [None, 5, 40])
def test_the_recall_that_is_printed_is_that_of_the_files(run, extended, tmp_path, capsys):
    words = [] if extended is None else ["--extended", str(extended)]
    assert main(["export", str(run), "--to", "parquet", "--out", str(tmp_path / "out"), *words]) == 0
    found = printed(capsys)
    assert float(found["recall@20"]) == pytest.approx(recall_of_files(tmp_path / "out", load_dataset("demo")), abs=1e-4)
    assert found["dimensions"] == str(8 + (extended or 0))
    assert main(["evaluate", str(run), "--metrics", "recall@20"]) == 0
    of_model = float(dict(line.split("\t") for line in capsys.readouterr().out.splitlines())["recall@20"])
    assert float(found["recall@20_of_the_model"]) == pytest.approx(of_model, abs=1e-6)
    assert float(found["recall@20"]) != of_model
    if extended is not None:
        assert main(["export", str(run), "--to", "parquet", "--out", str(tmp_path / "plain")]) == 0
        assert found["recall@20_of_the_embeddings"] == printed(capsys)["recall@20"]


def test_a_bias_beside_the_vectors_is_measured_too(tmp_path):
    data = load_dataset("demo")
    model = UltraGCN(embedding_dim=8, epochs=2, seed=0, item_graph_weight=0).fit(data)
    model.item_trend_ = np.random.default_rng(0).standard_normal(len(model.item_ids)).astype(np.float32)
    plain = export(model, tmp_path / "plain", "parquet", held_out=data.test)
    assert plain.figures["recall@20"] == pytest.approx(recall_of_files(tmp_path / "plain", data), abs=1e-4)
    assert plain.figures["recall@20_with_bias"] == pytest.approx(recall_of_files(tmp_path / "plain", data, biased=True), abs=1e-4)
    assert plain.figures["recall@20_with_bias"] == pytest.approx(plain.figures["recall@20_of_the_model"], abs=1e-4)
    assert plain.left_out == []
    wide = export(model, tmp_path / "wide", "parquet", extended=0, held_out=data.test)
    assert wide.dimensions == {"embeddings": 8, "item bias": 1}
    assert wide.figures["recall@20"] == pytest.approx(plain.figures["recall@20_of_the_model"], abs=1e-4)
    assert recall_of_files(tmp_path / "wide", data) == pytest.approx(wide.figures["recall@20"], abs=1e-4)
    assert "bias" not in pl.read_parquet(tmp_path / "wide/items.parquet").columns


def test_where_nothing_is_held_out_the_lists_are_compared_with_the_models_own(models, tmp_path):
    model = models["plain"]
    done = export(model, tmp_path / "out", "numpy")
    assert set(done.figures) == {"overlap@20", "overlap@20_with_bias"}
    scores = np.load(tmp_path / "out/users.npy") @ np.load(tmp_path / "out/items.npy").T
    for name, added in (("overlap@20", 0), ("overlap@20_with_bias", np.load(tmp_path / "out/item_bias.npy"))):
        shares = []
        for user, row in zip(model.user_ids.ids.tolist(), scores + added, strict=True):
            own = model.recommend(user, top_k=20)[0].tolist()
            row[model.seen_[model.user_ids.rows([user])[0]].indices] = -np.inf
            best = [model.item_ids.ids[item] for item in np.argsort(-row, kind="stable")[: len(own)]]
            shares.append(len(set(own) & set(best)) / len(own))
        assert done.figures[name] == pytest.approx(np.mean(shares), abs=1e-4)


def test_of_many_users_some_are_compared(tmp_path, monkeypatch):
    model = made(PLAIN, [f"u{number}" for number in range(200)])
    whole = export(model, tmp_path / "whole", "numpy").figures["overlap@20"]
    monkeypatch.setattr("ultragcn.serving.exports.worth.MOST_USERS", 100)
    some = export(model, tmp_path / "some", "numpy").figures["overlap@20"]
    assert some == pytest.approx(whole, abs=0.1)
    assert some == export(model, tmp_path / "again", "numpy").figures["overlap@20"]


def test_a_run_that_has_seen_everything_says_so_and_compares_lists(log, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["train", "--dataset", str(log), "--model", "ials", "--embedding_dim", "4", "--out", run, "--keep", "everything"]) == 0
    capsys.readouterr()
    assert main(["export", run, "--to", "ndjson", "--out", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert "overlap@20\t1\n" in captured.out  # the score of iALS is the product
    assert "recall" not in captured.out
    assert "has seen all pairs, so nothing is held out" in captured.err


def test_a_run_whose_data_are_gone_is_exported_all_the_same(log, tmp_path, capsys):
    copy, run = tmp_path / "log.csv", str(tmp_path / "run")
    copy.write_bytes(log.read_bytes())
    assert main(["train", "--dataset", str(copy), "--model", "ials", "--embedding_dim", "4", "--out", run, "--keep", "measured"]) == 0
    capsys.readouterr()
    assert main(["export", run, "--to", "numpy", "--out", str(tmp_path / "there")]) == 0
    assert "recall@20\t" in capsys.readouterr().out
    copy.unlink()
    assert main(["export", run, "--to", "numpy", "--out", str(tmp_path / "gone")]) == 0
    captured = capsys.readouterr()
    assert "overlap@20\t1\n" in captured.out
    assert "the held-out pairs cannot be read: the run was trained on" in captured.err


# ----------------------------------------------------------------- more dimensions


def scores_of(blocks):
    user, item = vectors.joined(blocks)
    return user.astype(np.float64) @ item.astype(np.float64).T


def all_scores(model):
    users, items = (np.arange(len(ids)) for ids in (model.user_ids, model.item_ids))
    pairs = np.array(list(itertools.product(users, items)))
    return model.scorer.scores(pairs[:, 0], pairs[:, 1]).reshape(len(users), len(items))


def test_with_dimensions_enough_the_product_is_the_score():
    model = made(PLAIN, [f"u{number}" for number in range(60)])
    blocks = vectors.blocks_of(model.scorer, len(PLAIN) - 1)
    assert [one.name for one in blocks] == ["embeddings", "item bias", "item graph"]
    scores = all_scores(model)
    # One dimension fewer than there are items: what is left out is the smallest singular value.
    graph = model.scorer.scale * (model.scorer.owned @ model.item_graph_).toarray()
    smallest = np.linalg.svd(graph.astype(np.float64), compute_uv=False)[-1]
    assert np.linalg.norm(scores_of(blocks) - scores) == pytest.approx(smallest, abs=1e-4 * float(np.abs(scores).max()))
    assert np.abs(scores_of(blocks) - scores).max() < 0.02 * scores.std()


@pytest.mark.parametrize("rank", [1, 3, 8, 15])
def test_no_other_factors_of_this_rank_are_nearer_to_what_the_graph_adds(rank):
    model = made(PLAIN, [f"u{number}" for number in range(60)])
    graph = model.scorer.scale * (model.scorer.owned @ model.item_graph_).toarray().astype(np.float64)
    user, item = vectors.graph_factors(model.scorer, rank)
    assert user.shape == (60, rank)
    best = np.sqrt((np.linalg.svd(graph, compute_uv=False)[rank:] ** 2).sum())  # Eckart and Young
    assert np.linalg.norm(graph - user.astype(np.float64) @ item.T) == pytest.approx(best, rel=1e-5)
    again = vectors.graph_factors(model.scorer, rank)
    assert np.allclose(user, again[0], atol=1e-5)


def test_a_graph_of_low_rank_gives_dimensions_that_are_zero(tmp_path):
    model = made(PLAIN)
    weights = np.zeros((24, 24), np.float32)
    weights[:12, 12:] = 1.0
    model.item_graph_ = sp.csr_matrix(weights)
    user, item = vectors.graph_factors(model.scorer, 4)
    assert (np.abs(user[:, 1:]).max(), np.abs(item[:, 1:]).max()) == (0, 0)
    assert np.allclose(user @ item.T, model.scorer.scale * (model.scorer.owned @ model.item_graph_).toarray(), atol=1e-4)


@pytest.mark.parametrize("rank", [-1, 24, 1.5, True, "8"])
def test_a_rank_that_is_not_possible_is_one_sentence(rank, models, tmp_path):
    with pytest.raises(UsageError, match="extended must be a whole number from 0 to 23"):
        export(models["plain"], tmp_path / "out", "numpy", extended=rank)


def test_a_model_without_anything_besides_the_product_cannot_be_extended(tmp_path):
    model = IALS(embedding_dim=4).fit(load_dataset("demo"))
    with pytest.raises(UsageError, match="there is nothing to extend them by; drop --extended"):
        export(model, tmp_path / "out", "numpy", extended=4)


# ----------------------------------------------------------------- alignment


def turned(model, dim, seed=5):
    """Return an orthogonal matrix, and turn the embeddings of the model by it."""
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))
    for name in ("user_embedding_", "item_embedding_"):
        setattr(model, name, (getattr(model, name).astype(np.float64) @ turn).astype(np.float32))
    return turn


@pytest.mark.parametrize("extended", [None, 4])
def test_a_model_that_was_turned_is_turned_back_and_no_score_changes(extended, tmp_path):
    old, new = made(PLAIN), made(PLAIN)
    turned(new, 6)
    plain = export(new, tmp_path / "plain", "numpy", extended=extended)
    done = export(new, tmp_path / "out", "numpy", extended=extended, align_to=old)
    wanted = export(old, tmp_path / "old", "numpy", extended=extended)
    assert done.figures["cosine_before"] < 0.7
    assert done.figures["cosine_after"] == pytest.approx(1, abs=1e-5)
    assert done.figures["common_ids"] == 54
    for name in ("items", "users"):
        found, of_old = (np.load(folder / f"{name}.npy") for folder in (tmp_path / "out", tmp_path / "old"))
        assert np.abs(found - of_old).max() < 1e-4 * np.abs(of_old).max()
    before, after = (np.load(folder / "users.npy") @ np.load(folder / "items.npy").T for folder in (tmp_path / "plain", tmp_path / "out"))
    assert np.abs(after - before).max() < 1e-5 * np.abs(before).max()
    assert done.figures["overlap@20"] == plain.figures["overlap@20"]
    assert wanted.dimensions == done.dimensions


def test_todays_vectors_come_nearer_to_yesterdays_of_the_ids_in_both(tmp_path):
    old, new = made(PLAIN, seed=0), made([*PLAIN[4:], *"abcd"], [f"u{number}" for number in range(5, 35)], seed=1)
    old.save(tmp_path / "old")
    done = export(new, tmp_path / "out", "numpy", align_to=tmp_path / "old")
    assert done.figures["common_ids"] == 20 + 25
    assert done.figures["cosine_after"] > done.figures["cosine_before"]
    scores, wanted = (
        np.load(tmp_path / "out/users.npy") @ np.load(tmp_path / "out/items.npy").T,
        new.user_embedding_ @ new.item_embedding_.T,
    )
    assert np.abs(scores - wanted).max() < 1e-5 * np.abs(wanted).max()
    # No small turn from there comes nearer to the old vectors.
    items, users = (
        sorted(set(some.ids) & set(others.ids)) for some, others in ((new.item_ids, old.item_ids), (new.user_ids, old.user_ids))
    )
    sides = (np.load(tmp_path / "out/items.npy")[new.item_ids.rows(items)], np.load(tmp_path / "out/users.npy")[new.user_ids.rows(users)])
    here = np.concatenate(sides)
    there = np.concatenate([old.item_embedding_[old.item_ids.rows(items)], old.user_embedding_[old.user_ids.rows(users)]])
    nearest = np.linalg.norm(here - there)
    for seed in range(20):
        skew = np.random.default_rng(seed).standard_normal((6, 6)) * 0.05
        small, _ = np.linalg.qr(np.eye(6) + skew - skew.T)
        small *= np.sign(np.diag(small))
        assert np.linalg.norm(here @ small - there) > nearest


def test_runs_that_cannot_be_aligned_are_refused_in_a_sentence(models, tmp_path):
    model = models["plain"]
    with pytest.raises(UsageError, match=r"other dimensions \(6 of the embeddings; --align_to 5 of the embeddings\)"):
        export(model, tmp_path / "out", "numpy", align_to=made(PLAIN, dim=5))
    stranger = made([*PLAIN[:3], *(f"other-{number}" for number in range(21))], [f"v{number}" for number in range(30)])
    with pytest.raises(UsageError, match="know only 3 users and items in common, and a rotation in 6 dimensions needs as many"):
        export(model, tmp_path / "out", "numpy", align_to=stranger)
    with pytest.raises(UsageError, match="know only 0 users and items"):
        export(model, tmp_path / "out", "numpy", align_to=models["numbers"])
    data = load_dataset("demo")
    product = IALS(embedding_dim=6).fit(data)
    with pytest.raises(
        UsageError, match="6 of the embeddings and 1 of the item bias and 3 of the item graph; --align_to 6 of the embeddings"
    ):
        export(model, tmp_path / "out", "numpy", extended=3, align_to=product)
    with pytest.raises(UsageError, match="EASE has no vectors"):
        export(model, tmp_path / "out", "numpy", align_to=EASE().fit(data))
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------- whole or not at all


def everything_in(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("to", ["numpy", "parquet", "ndjson"])
def test_writing_that_fails_leaves_nothing_and_an_earlier_export_as_it_was(to, failure, overwrite, models, tmp_path, monkeypatch):
    if overwrite:
        export(models["plain"], tmp_path / "out", to)
    before, form = everything_in(tmp_path), FORMATS[to]

    def fails(side, folder):
        form.write(side, folder)
        if side.name == "users":
            raise failure

    monkeypatch.setitem(FORMATS, to, form._replace(write=fails))
    expected = UltraGCNError if isinstance(failure, OSError) else type(failure)
    with pytest.raises(expected) as caught:
        export(models["plain"], tmp_path / "out", to, overwrite=overwrite)
    if isinstance(failure, OSError):
        assert str(caught.value).startswith(f"cannot write {tmp_path / 'out'}: No space left on device")
    assert everything_in(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == (["out"] if overwrite else [])


@pytest.mark.skipif(os.name == "nt", reason="limits of Unix")
def test_on_a_disk_that_is_full_every_format_is_one_sentence_and_leaves_nothing(models, tmp_path):
    models["plain"].save(tmp_path / "model")
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from ultragcn import export, load_model\n"
        "from ultragcn.errors import UltraGCNError\n"
        "model, out = load_model(sys.argv[1]), Path(sys.argv[2])\n"
        "for number, to in enumerate(sys.argv[3:]):\n"
        "    export(model, out.parent / f'warm{number}', to)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))\n"
        "for to in sys.argv[3:]:\n"
        "    try:\n"
        "        export(model, out, to)\n"
        "    except UltraGCNError as error:\n"
        "        print(to, error)\n"
    )
    names = [name for name in FORMATS if name != "faiss" or importlib.util.find_spec("faiss") is not None]
    source = str(Path(__file__).parents[1] / "src")
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "model", tmp_path / "there/out", *names],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": source}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(" ")[0] for line in lines] == names
    ends = re.compile(r"(what was there before is untouched|do not read back \(.*\), so nothing was kept; is the disk full\?)$")
    assert all(f"cannot write {tmp_path / 'there/out'}: " in line and ends.search(line) for line in lines), lines
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == sorted(f"warm{number}" for number in range(len(names)))


@pytest.mark.parametrize("to", ALL)
def test_what_does_not_read_back_equal_is_not_kept(to, models, tmp_path, monkeypatch):
    form = FORMATS[to]

    def writes_other_numbers(side, folder):
        vectors_ = side.vectors.copy()
        vectors_[-1, -1] = np.nextafter(vectors_[-1, -1], np.float32(9))
        form.write(type(side)(side.name, side.ids, vectors_, side.titles, side.bias), folder)

    def writes_another_order(side, folder):
        form.write(type(side)(side.name, side.ids[::-1].copy(), side.vectors, side.titles, side.bias), folder)

    for part, write in (("vectors", writes_other_numbers), ("ids", writes_another_order)):
        monkeypatch.setitem(FORMATS, to, form._replace(write=write))
        with pytest.raises(UltraGCNError, match=f"the {part} of the items do not read back"):
            export(models["plain"], tmp_path / "out", to)
        assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_refused_without_overwrite_and_only_an_export_is_replaced(models, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    export(models["plain"], out, "parquet")  # an empty folder is a place like any other
    with pytest.raises(UsageError, match="already holds an export; give another --out, or --overwrite"):
        export(models["plain"], out, "numpy")
    export(models["plain"], out, "numpy", overwrite=True)
    assert sorted(path.suffix for path in out.iterdir()) == [".json", ".npy", ".npy", ".npy", ".npy", ".npy"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=r"already holds something that is not an export \(letter.txt\)"):
            export(models["plain"], other, "numpy", overwrite=overwrite)
    assert everything_in(other) == {"letter.txt": b"dear"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


def test_one_side_in_one_file(models, tmp_path):
    out = tmp_path / "deep" / "songs.parquet"
    done = export(models["plain"], out, "parquet", which="items")
    assert done.files == [out]
    assert list(out.parent.iterdir()) == [out]
    assert pl.read_parquet(out)["item_id"].to_list() == models["plain"].item_ids.ids.tolist()
    with pytest.raises(UsageError, match="already exists; give another --out, or --overwrite"):
        export(models["plain"], out, "parquet", which="items")
    export(models["plain"], out, "parquet", which="items", extended=3, overwrite=True)
    assert pl.read_parquet(out)["vector"].to_numpy().shape == (24, 10)
    with pytest.raises(UsageError, match="is one file, and items and users are two; give a folder"):
        export(models["plain"], tmp_path / "both.parquet", "parquet")
    for to, name in (("parquet", "x.npy"), ("numpy", "x.npy"), ("pgvector", "x.parquet"), ("faiss", "x.faiss")):
        with pytest.raises(UsageError, match=f"cannot write {to} to .*{name}: it takes"):
            export(models["plain"], tmp_path / name, to, which="items")


@pytest.mark.skipif(os.name == "nt", reason="modes and locks of Unix")
def test_files_have_the_permissions_of_any_other_and_what_a_kill_left_is_removed(models, tmp_path):
    left = tmp_path / ".out.abcd1234.parts"
    left.mkdir()
    (left / "items.npy").write_bytes(b"half")
    (tmp_path / ".other.abcd1234.parts").mkdir()
    before = os.umask(0o027)
    try:
        export(models["plain"], tmp_path / "out", "numpy")
    finally:
        os.umask(before)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.abcd1234.parts", "out"]
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "out/items.npy").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_sigterm_in_the_middle_leaves_nothing(run, tmp_path):
    code = (
        "import os, signal, sys\n"
        "from ultragcn.serving.exports.formats import FORMATS\n"
        "form = FORMATS['parquet']\n"
        "def write(side, folder):\n"
        "    form.write(side, folder)\n"
        "    print(len(list(folder.iterdir())), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "FORMATS['parquet'] = form._replace(write=write)\n"
        "from ultragcn.cli import main\n"
        f"sys.exit(main(['export', {str(run)!r}, '--to', 'parquet', '--out', {str(tmp_path / 'out')!r}]))\n"
    )
    source = str(Path(__file__).parents[1] / "src")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": source}, timeout=120
    )
    assert (done.returncode, done.stdout) == (143, "1\n"), done.stderr
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------- models and misuse


@pytest.mark.parametrize("make", [
    lambda: IALS(embedding_dim=4), lambda: BPR(embedding_dim=4, epochs=2, seed=0),
    pytest.param(lambda: LightGCN(embedding_dim=4, epochs=2, seed=0, device="cpu"), marks=pytest.mark.torch),
])  # fmt: skip
def test_every_model_with_embeddings_is_exported_and_its_product_is_its_score(make, tmp_path):
    data = load_dataset("demo")
    model = make().fit(data)
    done = export(model, tmp_path / "out", "parquet", held_out=data.test)
    assert done.figures["recall@20"] == pytest.approx(done.figures["recall@20_of_the_model"], abs=1e-4)
    assert done.figures["recall@20"] == pytest.approx(recall_of_files(tmp_path / "out", data), abs=1e-4)
    assert done.left_out == []


@pytest.mark.parametrize("make", [ItemKNN, Popularity, EASE])
def test_models_without_vectors_are_one_sentence(make, tmp_path):
    with pytest.raises(
        UsageError, match=f"{make.__name__} has no vectors to export; export a model with embeddings: UltraGCN, LightGCN, BPR or IALS"
    ):
        export(make().fit(load_dataset("demo")), tmp_path / "out", "numpy")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_meant_in_python_is_one_sentence(models, tmp_path):
    with pytest.raises(UsageError, match="unknown format 'parket'; did you mean parquet"):
        export(models["plain"], tmp_path / "out", "parket")
    with pytest.raises(UsageError, match="unknown side 'item'; did you mean items"):
        export(models["plain"], tmp_path / "out", "numpy", which="item")
    with pytest.raises(UsageError, match=r"export takes interactions, such as held_out=data\.test, not a list"):
        export(models["plain"], tmp_path / "out", "numpy", held_out=[("u0", "item-0")])
    with pytest.raises(NotFittedError):
        export(UltraGCN(), tmp_path / "out", "numpy")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--out", "out"], "--to"),
        (["--to", "numpy"], "--out"),
        (["--to", "csv", "--out", "out"], "--to must be one of"),
        (["--to", "numpy", "--out", "out", "--extended", "-3"], "--extended"),
        (["--to", "numpy", "--out", "out", "--extended", "many"], "--extended must be a whole number of 0 or more, not many"),
        (["--to", "numpy", "--out", "out", "--extended", "100000"], "extended must be a whole number from 0 to"),
        (["--format", "numpy", "--out", "out"], "did you mean --to?"),
        (["--to", "numpy", "--out", "out", "--align_to", "nowhere"], "no model in nowhere"),
        (["--to", "word2vec", "--out", "out"], "cannot hold the item id"),
        (["--to", "parquet", "--out", "items.parquet"], "give a folder, or --which items or --which users"),
    ],
)
def test_a_command_that_cannot_be_meant_is_one_line(run, words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run), *words]) == 2
    captured = capsys.readouterr()
    assert says in captured.err.splitlines()[-1]
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_the_vectors_lack_and_takes_another_run_to_align_to(run, tmp_path, capsys):
    assert main(["export", str(run), "--to", "numpy", "--out", str(tmp_path / "one")]) == 0
    assert "the score of the model also has its item graph, which the vectors lack; --extended R adds dimensions" in capsys.readouterr().err
    words = ["--extended", "4", "--align_to", str(run), "--which", "items"]
    assert main(["export", str(run), "--to", "ndjson", "--out", str(tmp_path / "items.ndjson"), *words]) == 0
    captured = capsys.readouterr()
    assert "lack" not in captured.err
    figures = dict(line.split("\t") for line in captured.out.splitlines())
    assert (figures["cosine_before"], figures["cosine_after"], figures["items"]) == (
        "1",
        "1",
        str(len(load_dataset("demo").train.item_ids)),
    )
    assert "users" not in figures
    assert figures["file"] == str(tmp_path / "items.ndjson")


def test_the_command_knows_every_format():
    assert tuple(FORMATS) == _TO


def test_the_python_of_the_page_on_exporting_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[1] / "docs/exporting.md").read_text(encoding="utf-8")
    found = {}
    exec("\n".join(re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)), found)
    assert found["done"].figures["recall@20"] > 0.3
    assert found["best"][0] in found["items"]["item_id"].to_list()
    assert [name for name in FORMATS if f"| `{name}` |" not in page] == []
