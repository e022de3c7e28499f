"""The file of a model: as docs/model-format.md describes it, of every version that was promised to be readable, and without histories."""

import ast
import importlib.util
import json
import pickle
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors import safe_open

from tests.test_docs import code_blocks
from ultragcn import EASE, Interactions, UltraGCN, load_dataset, load_model, storage
from ultragcn.cli import main
from ultragcn.data.ids import IdMap
from ultragcn.errors import UsageError
from ultragcn.models.files import MODEL_FILE
from ultragcn.models.registry import BASELINES

ROOT = Path(__file__).parents[1]
PAGE = "docs/model-format.md"
GOLDEN = ROOT / "tests" / "golden" / "models"
KINDS = {"ultragcn": UltraGCN, **BASELINES}
SMALL = {"ultragcn": {"embedding_dim": 6, "epochs": 3, "seed": 0}, "ials": {"embedding_dim": 6}, "bpr": {"embedding_dim": 4, "epochs": 2},
         "lightgcn": {"embedding_dim": 4, "epochs": 1}}  # fmt: skip
ONLY_KNOWN_USERS = ("bpr", "lightgcn")
NEW_USERS = [name for name in KINDS if name not in ONLY_KNOWN_USERS]
has_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")
EVERY_KIND = [pytest.param(name, marks=has_torch) if name == "lightgcn" else name for name in KINDS]


@pytest.fixture(scope="module")
def data():
    return load_dataset("demo")


@pytest.fixture(scope="module")
def dated(data):
    """The train pairs, with times."""
    train = data.train
    return Interactions(train.matrix, train.user_ids, train.item_ids, np.random.default_rng(0).integers(0, 10**14, len(train)))


@pytest.fixture(scope="module")
def whole(data, dated):
    """A model with everything that a file can hold."""
    model = UltraGCN(embedding_dim=8, epochs=3, seed=0, item_graph_weight=0.7, item_trend_weight=0.5).fit(dated, data.valid)
    items = model.item_ids.ids.tolist()
    prices = [None if number % 7 == 0 else number / 4 for number in range(len(items))]
    table = {"item": items, "price": prices, "stock": list(range(len(items))), "new": [number % 2 == 0 for number in range(len(items))]}
    model.set_items_table(pl.DataFrame(table | {"brand": ["é" * (number % 3) or None for number in range(len(items))]}))
    model.item_titles_ = np.array([f"Title {number}" for number in range(len(items))], object)
    return model


@pytest.fixture(scope="module")
def reader():
    """What the page's code defines, once it has run on a folder."""
    code = "\n".join(code_blocks(PAGE))
    imported = {name.name.split(".")[0] for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module.split(".")[0] for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)}
    assert imported == {"json", "zlib", "pathlib", "numpy", "safetensors"}

    def read(folder):
        found = {"folder": folder}
        exec(compile(code, PAGE, "exec"), found)  # the page is ours
        return found

    return read


# ------------------------------------------------------------------------ page


def assert_same(found, model, users, top_k=20):
    for user in users:
        items, scores = model.recommend(user, top_k)
        theirs, values = found["recommend"](user, top_k)
        np.testing.assert_allclose(values, scores, rtol=2e-5, atol=2e-5)
        gap = np.abs(np.diff(scores.astype(float), append=-np.inf, prepend=np.inf))
        clear = (gap[1:] > 1e-4) & (gap[:-1] > 1e-4)  # elsewhere, rounding may change the order
        assert np.array(theirs, items.dtype)[clear].tolist() == items[clear].tolist()


def test_the_code_of_the_page_makes_the_models_own_lists_with_numpy_and_safetensors_alone(reader, whole, tmp_path):
    whole.save(tmp_path)
    found = reader(tmp_path)
    assert found["kind"] == "ultragcn"
    assert found["about"]["item_graph"]["weight"] == 0.7
    assert np.abs(found["arrays"]["item_trend"]).max() > 0
    users = whole.user_ids.ids[::20].tolist()
    assert_same(found, whole, users)
    exact = sum(found["recommend"](user)[0] == whole.recommend(user)[0].tolist() for user in users)
    assert exact > 0.95 * len(users)
    assert found["texts"]("item_titles") == whole.item_titles_.tolist()
    assert pl.DataFrame(found["items_table"]()).equals(whole.items_table_.kept)


@pytest.mark.parametrize("name", EVERY_KIND)
def test_the_code_of_the_page_makes_the_lists_of_every_kind(reader, data, name, tmp_path):
    model = KINDS[name](**SMALL.get(name, {})).fit(data)
    assert_same(reader(model.save(tmp_path)), model, model.user_ids.ids[::250].tolist())


@pytest.mark.parametrize("name", EVERY_KIND)
def test_the_code_of_the_page_makes_the_lists_of_users_of_whom_nothing_was_learned(reader, name, tmp_path):
    dense = np.random.default_rng(0).random((30, 40)) < 0.2
    dense[[4, 7]] = False
    dense[7, 39], dense[:7, 39], dense[8:, 39] = True, False, False  # the only item of user 7, whom nobody is like
    train = Interactions.from_pairs(*np.nonzero(dense), IdMap(np.arange(30), "user"), IdMap(np.arange(40), "item"))
    model = KINDS[name](**SMALL.get(name, {})).fit(train)
    assert_same(reader(model.save(tmp_path)), model, [0, 4, 7])


def test_the_code_of_the_page_reads_ids_that_are_numbers_and_a_model_without_validation(reader, tmp_path):
    dense = np.random.default_rng(0).random((30, 40)) < 0.2
    pairs = pl.DataFrame({"user": np.nonzero(dense)[0] * 7 - 50, "item": np.nonzero(dense)[1] * 3})
    model = UltraGCN(embedding_dim=4, epochs=2, seed=0).fit(pairs)
    found = reader(model.save(tmp_path))
    assert_same(found, model, model.user_ids.ids.tolist())
    assert found["item_ids"] == model.item_ids.ids.tolist()


def test_the_checksum_of_the_page_is_that_of_the_file_and_changes_with_every_byte(reader, data, tmp_path):
    file = EASE().fit(data).save(tmp_path) / MODEL_FILE
    assert reader(tmp_path)["checksum"] == storage.read_checksum(file)
    good = file.read_bytes()
    for place in (len(good) - 1, len(good) // 2):
        file.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(AssertionError):
            reader(tmp_path)


def test_the_page_names_every_array_and_every_name_that_is_written_and_the_versions():
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    for file in GOLDEN.rglob(MODEL_FILE):
        with safe_open(file, framework="numpy") as opened:
            names, about = list(opened.keys()), json.loads(opened.metadata()["about"])
        for name in names:
            shown = re.sub(r"items_table\.\d+", "items_table.c", name)
            ending = shown.rpartition(".")[2] if shown.endswith((".indices", ".indptr", ".shape")) else None
            assert f"`{shown}`" in text or f"`.{ending}`" in text, name
        for name in about:
            assert f"`{name}`" in text or f'`about["{name}"]`' in text, name
    for made in KINDS.values():
        kind, _, version = made._format.rpartition("-")
        assert re.search(rf"^\| [^|]*`{kind}`[^|]* \| {version} \|", text, re.M), made._format


# -------------------------------------------------------------------- versions


def test_there_is_a_golden_model_of_every_version_that_can_be_read():
    versions = {f"{made.kind()}-{version}" for made in KINDS.values() for version in made._readers}
    assert versions == {folder.name for folder in GOLDEN.iterdir()}
    for made in KINDS.values():
        assert made._format == f"{made.kind()}-{max(made._readers)}"
    assert sum(file.stat().st_size for file in GOLDEN.rglob("*") if file.is_file()) < 100_000


@pytest.mark.parametrize("version", sorted(folder.name for folder in GOLDEN.iterdir()))
def test_a_model_of_every_version_loads_and_has_the_lists_that_it_had(version):
    expected = json.loads((GOLDEN / version / "lists.json").read_text(encoding="utf-8"))
    model = load_model(GOLDEN / version)

    def check(name, items, scores):
        theirs, values = np.array(expected[name][0], object), np.array(expected[name][1])
        np.testing.assert_allclose(scores, values, rtol=1e-4, atol=1e-6)
        gap = np.diff(values, axis=-1, append=-np.inf, prepend=np.inf)
        clear = -np.maximum(gap[..., 1:], gap[..., :-1]) > 1e-4 * np.abs(values)  # of equal scores, another processor may list another
        assert clear.mean() > 0.25
        assert items[clear].tolist() == theirs[clear].tolist()
        if name == "recommend":
            for user, some, own in zip(model.user_ids.ids, theirs, values, strict=True):
                np.testing.assert_allclose(model.score(user, some.tolist()), own, rtol=1e-4, atol=1e-6)

    check("recommend", *model.recommend(model.user_ids.ids, 5))
    check("recommend_where", *model.recommend("user 01 é", 5, where="price > 5 and brand = 'b'"))
    if "recommend_for" in expected:
        check("recommend_for", *model.recommend_for(["item 03", "item 07"], 5))
    if (GOLDEN / version / "without_history").exists():
        check("recommend_for", *load_model(GOLDEN / version / "without_history").recommend_for(["item 03", "item 07"], 5))


def rewritten(source, target, change, form=None):
    """Write the file of a model again, changed, with a right checksum."""
    old = storage.read_form(source / MODEL_FILE)
    arrays, about = storage.read_arrays(source / MODEL_FILE, old)
    arrays = dict(arrays)
    change(arrays, about)
    storage.write_arrays(target / MODEL_FILE, arrays, form or old, about)
    return target


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ("ultragcn-6", "ultragcn-6, which a later ultragcn wrote; this one reads ultragcn-5, so install a later one"),
        ("ultragcn-4", "ultragcn-4, which this ultragcn does not read; it reads ultragcn-5, so train the model anew"),
        ("ultragcn-x", "ultragcn-x, which this ultragcn does not read"),
        ("ultragcn-99999999999999999999", "which this ultragcn does not read"),
        ("ease-9", "ease-9, which a later ultragcn wrote; this one reads ease-2"),
        ("tree-1", "holds a model of another kind"),
        ("", "holds a model of another kind"),
    ],
)
def test_a_version_that_is_not_known_is_refused_in_a_sentence(tmp_path, form, says):
    kind = "ease-2" if form.startswith("ease") else "ultragcn-5"
    rewritten(GOLDEN / kind, tmp_path, lambda arrays, about: None, form or "nothing")
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_of_version_5_without_the_scale_of_the_item_graph_has_the_same_lists(tmp_path):
    model = load_model(GOLDEN / "ultragcn-5")
    older = load_model(rewritten(GOLDEN / "ultragcn-5", tmp_path, lambda arrays, about: about.pop("item_graph")))
    for mine, theirs in zip(model.recommend(model.user_ids.ids, 9), older.recommend(model.user_ids.ids, 9), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_scale_of_the_item_graph_is_that_of_the_file_until_something_learned_changes(tmp_path):
    model = load_model(rewritten(GOLDEN / "ultragcn-5", tmp_path, lambda arrays, about: about["item_graph"].update(unit=3.0)))
    assert model.scorer.unit_scale == 3.0
    assert pickle.loads(pickle.dumps(model)).scorer.unit_scale == 3.0
    model.item_titles_ = None
    assert model.scorer.unit_scale == 3.0
    model.user_embedding_ = model.user_embedding_ * 2
    assert model.scorer.unit_scale == pytest.approx(2 * load_model(GOLDEN / "ultragcn-5").scorer.unit_scale, rel=1e-5)


# ----------------------------------------------------------- without histories


@pytest.mark.parametrize("name", NEW_USERS)
def test_a_copy_without_histories_recommends_to_new_users_bit_for_bit_as_the_model_does(data, name, tmp_path):
    model = KINDS[name](**SMALL.get(name, {})).fit(data)
    model.set_items_table(pl.DataFrame({"item": data.train.item_ids.ids.tolist(), "price": range(len(data.train.item_ids))}))
    baskets = [model.item_ids.ids[model.train_.items_of(row)].tolist() for row in range(0, 2000, 97)]
    copy = load_model(model.save(tmp_path / "copy", history=False))
    again = load_model(copy.save(tmp_path / "again"))  # there is nothing in it that could come back
    for other in (copy, again, pickle.loads(pickle.dumps(copy))):
        assert other.is_without_history
        for rules in ({}, {"where": "price < 100", "max_per": {"price": 1}}, {"exclude_seen": False}):
            for mine, theirs in zip(model.recommend_for(baskets, 20, **rules), other.recommend_for(baskets, 20, **rules), strict=True):
                np.testing.assert_array_equal(mine, theirs)
        mine, theirs = (one.recommend(["nobody"], 5, unknown="popular")[0].tolist() for one in (model, other))
        assert mine == theirs
    if name != "popularity":
        assert copy.explain_for(baskets[0], baskets[1][0]).to_dict() == model.explain_for(baskets[0], baskets[1][0]).to_dict()


@pytest.mark.parametrize("name", NEW_USERS)
def test_what_a_copy_without_histories_cannot_do_is_refused_in_a_sentence(data, name, tmp_path):
    model = KINDS[name](**SMALL.get(name, {})).fit(data)
    copy = load_model(model.save(tmp_path, history=False))
    user, item = "user-0001", data.train.item_ids.ids[0]
    cases = {
        "saved without histories; recommend by items": (
            lambda: copy.recommend(user), lambda: copy.recommend([user]), lambda: copy.score(user, item), lambda: copy.explain(user, item),
        ),
        "without histories and knows no users; evaluate": (lambda: copy.evaluate(data.test),),
        "holds no histories of its users, and update needs them": (lambda: copy.update(data.test),),
        "holds nothing to train on; give refit the data": (lambda: copy.refit(),),
    }  # fmt: skip
    if name in ("ultragcn", "ials", "popularity"):
        cases["does not know which items the same users have"] = (lambda: copy.similar_items(item, by="together"),)
    for says, calls in cases.items():
        for call in calls:
            with pytest.raises(UsageError, match=says) as caught:
                call()
            assert "\n" not in str(caught.value)
    assert not copy.refit(data).is_without_history


@pytest.mark.parametrize("name", [pytest.param("lightgcn", marks=has_torch), "bpr"])
def test_a_model_that_knows_users_only_by_training_is_not_saved_without_them(data, name, tmp_path):
    model = KINDS[name](**SMALL[name]).fit(data)
    with pytest.raises(UsageError, match="without them it could recommend to nobody"):
        model.save(tmp_path / "copy", history=False)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", NEW_USERS)
def test_nothing_in_a_copy_without_histories_has_a_place_for_a_user_and_no_id_of_a_user_is_in_it(data, name, tmp_path):
    model = KINDS[name](**SMALL.get(name, {})).fit(data)
    copy = model.save(tmp_path / "copy", history=False)
    assert [file.name for file in copy.iterdir()] == [MODEL_FILE]
    content = (copy / MODEL_FILE).read_bytes()
    assert b"user-" not in content
    assert b"user-0001" in (model.save(tmp_path / "whole") / MODEL_FILE).read_bytes()
    arrays, about = storage.read_arrays(copy / MODEL_FILE, model._format)
    assert not [name for name in arrays if name.startswith(("train", "valid", "user"))]
    sizes = {size for array in arrays.values() for size in array.shape}
    assert not sizes & {len(data.train.user_ids), len(data.train.user_ids) + 1, len(model.train_), len(model.valid_)}

    assert arrays["item_degrees"].tolist() == model.train_.item_degrees.tolist()
    assert about["without_history"] == {"user_ids": "text"}


def test_embeddings_of_users_would_give_away_what_they_have(data, tmp_path):
    model = UltraGCN(embedding_dim=32, epochs=8, seed=0).fit(data)
    degrees, train = model.train_.user_degrees, model.train_.matrix.toarray() > 0
    ranked = np.argsort(-(model.user_embedding_ @ model.item_embedding_.T), axis=1)
    popular = np.argsort(-model.train_.item_degrees, kind="stable")
    own, by_popularity = (
        np.mean([train[user, order[user][: degrees[user]]].mean() for user in np.flatnonzero(degrees)])
        for order in (ranked, np.broadcast_to(popular, ranked.shape))
    )
    assert own > 2 * by_popularity  # which is why a copy without histories has none
    assert "user_embedding" not in storage.read_arrays(model.save(tmp_path, history=False) / MODEL_FILE, model._format)[0]


def test_the_files_of_a_run_stay_out_of_a_copy_without_histories(tmp_path, capsys):
    log = tmp_path / "secret-log.csv"
    random = np.random.default_rng(0)
    rows = [f"customer{user},{item}" for user in range(40) for item in sorted(random.choice(30, 8, replace=False))]
    log.write_text("user,item\n" + "\n".join(rows) + "\n")
    run, out = tmp_path / "run", tmp_path / "copy"
    words = ["train", "--dataset", str(log), "--split", "random", "--embedding_dim", "4", "--epochs", "2", "--out", str(run), "--quiet"]
    assert main(words) == 0
    assert main(["copy", str(run), "--out", str(out), "--without_history"]) == 0
    said = capsys.readouterr()
    assert said.out.endswith(f"model\t{out}\n")
    assert "the copy knows 30 items and no users" in said.err
    assert [file.name for file in out.rglob("*")] == [MODEL_FILE]
    content = (out / MODEL_FILE).read_bytes()
    assert b"customer" not in content
    assert b"secret-log" not in content
    assert main(["recommend", str(out), "--items", "3", "4", "--top_k", "2"]) == 0
    assert capsys.readouterr().out.count("\n") == 3
    assert main(["copy", str(run), "--out", str(tmp_path / "all")]) == 0
    assert "30 items and 40 users, with the items that each user has" in capsys.readouterr().err
    assert (tmp_path / "all" / MODEL_FILE).stat().st_size == (run / MODEL_FILE).stat().st_size
    for name, array in storage.read_arrays(tmp_path / "all" / MODEL_FILE, UltraGCN._format)[0].items():
        np.testing.assert_array_equal(array, storage.read_arrays(run / MODEL_FILE, UltraGCN._format)[0][name])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["copy", "{run}", "--out", "{run}", "--without_history"], "needs a folder of its own"),
        (["copy", "{run}", "--out", "{full}", "--without_history"], "holds other files, such as manifest.json"),
        (["copy", "{run}", "--out", "{there}"], "holds a model already; give another --out, or --overwrite"),
        (["copy", "{run}", "--out", "{file}"], "cannot use"),
        (["copy", "{run}", "--out", "{new}", "--no_history"], "did you mean --without_history?"),
        (["recommend", "{there}", "--all"], "was saved without histories and knows no users; give --items"),
        (["recommend", "{there}", "--users", "nobody"], "recommend by items"),
        (["explain", "{there}", "--user", "nobody", "--item", "item 03"], "recommend by items"),
        (["update", "{there}", "--interactions", "{file}", "--out", "{new}"], "holds a model alone"),
    ],
)  # fmt: skip
def test_a_copy_that_cannot_be_made_or_used_so_is_one_line(tmp_path, capsys, words, says):
    places = {name: tmp_path / name for name in ("run", "full", "there", "file", "new")}
    load_model(GOLDEN / "ultragcn-5").save(places["run"])
    load_model(GOLDEN / "ultragcn-5").save(places["there"], history=False)
    places["full"].mkdir()
    (places["full"] / "manifest.json").write_text("{}")
    places["file"].write_text("user,item\n1,2\n")
    assert main([word.format(**places) for word in words]) == 2
    said = capsys.readouterr().err.strip()
    assert says in said
    assert "\n" not in said
    assert not places["new"].exists()


def test_a_copy_can_replace_an_earlier_one(tmp_path, capsys):
    model = load_model(GOLDEN / "ultragcn-5")
    model.save(tmp_path / "run")
    model.save(tmp_path / "copy")
    words = ["copy", str(tmp_path / "run"), "--out", str(tmp_path / "copy"), "--without_history", "--overwrite"]
    assert main(words) == 0
    assert load_model(tmp_path / "copy").is_without_history


def test_a_model_that_is_fitted_again_has_users_again(data, tmp_path):
    model = UltraGCN.load(UltraGCN(**SMALL["ultragcn"]).fit(data).save(tmp_path, history=False)).fit(data)
    assert not model.is_without_history
    assert model.recommend("user-0001", 5)[0].tolist() == UltraGCN(**SMALL["ultragcn"]).fit(data).recommend("user-0001", 5)[0].tolist()


def test_a_log_in_place_of_a_model_is_said_to_be_a_file(tmp_path):
    (tmp_path / "log.csv").write_text("user,item\n1,2\n")
    with pytest.raises(UsageError, match=r"log\.csv is a file, not the folder of a model; give the folder"):
        load_model(tmp_path / "log.csv")
