"""Files that are not believed: damaged by accident or made on purpose, they are refused in one sentence or answer as before."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from ultragcn import BPR, EASE, IALS, ItemKNN, Popularity, RP3beta, SparseEASE, UltraGCN, load_dataset, load_model, storage
from ultragcn.cli import main
from ultragcn.errors import UsageError
from ultragcn.forms import FLOATING, Optional, misfit

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "mutants.py"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPT.parent))  # which workers inherit
    try:
        yield importlib.import_module("mutants")
    finally:
        sys.path.remove(str(SCRIPT.parent))


@pytest.fixture(scope="module")
def data():
    return load_dataset("demo")


def test_every_single_flipped_bit_of_a_file_is_noticed(tmp_path):
    file = tmp_path / "file"
    arrays = {"a": np.arange(3, dtype=np.float32), "b": np.array([[1, 2]], np.int64), "c": np.frombuffer(b"text", np.uint8)}
    storage.write_arrays(file, arrays, "form-1", {"name": 'with "checksum":"00000000" in it'})
    good = file.read_bytes()
    read, about = storage.read_arrays(file, "form-1")
    assert {name: array.tolist() for name, array in read.items()} == {name: array.tolist() for name, array in arrays.items()}
    assert about == {"name": 'with "checksum":"00000000" in it'}
    for bit in range(8 * len(good)):
        file.write_bytes(good[: bit // 8] + bytes([good[bit // 8] ^ 1 << bit % 8]) + good[bit // 8 + 1 :])
        with pytest.raises(UsageError):
            storage.read_arrays(file, "form-1")


MODELS = (
    UltraGCN(embedding_dim=4, epochs=2), EASE(), SparseEASE(), ItemKNN(), RP3beta(), IALS(embedding_dim=4),
    BPR(embedding_dim=4, epochs=1), Popularity(),
)  # fmt: skip


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_what_every_model_saves_passes_the_checks_and_is_bit_for_bit_what_it_was(data, tmp_path, model):
    model.fit(data)
    loaded = load_model(model.save(tmp_path))
    for name in model._learned:
        ours, theirs = (value if isinstance(value, np.ndarray) else value.data for value in (getattr(model, name), getattr(loaded, name)))
        assert ours.dtype == theirs.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)


def test_a_model_made_on_purpose_with_a_right_checksum_is_refused(data, tmp_path):
    file = ItemKNN().fit(data).save(tmp_path) / "model.safetensors"
    form = storage.read_form(file)

    def refused(change):
        arrays, about = storage.read_arrays(file, form)
        arrays = {name: array.copy() for name, array in arrays.items()}
        change(arrays, about)
        (tmp_path / "made").mkdir(exist_ok=True)
        storage.write_arrays(tmp_path / "made" / "model.safetensors", arrays, form, about)
        with pytest.raises(UsageError, match="is damaged") as caught:
            load_model(tmp_path / "made")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def put(name, place, value):
        return lambda arrays, about: arrays[name].__setitem__(place, value)

    assert "has a column that is not there" in refused(put("item_weights.indices", 3, 10**6))
    assert "has a column that is not there" in refused(put("item_weights.indices", 3, -1))
    assert "do not ascend from 0 to the end" in refused(put("item_weights.indptr", 1, 10**6))
    assert "do not ascend from 0 to the end" in refused(put("item_weights.indptr", 0, 1))
    assert "not finite" in refused(put("item_weights.data", 5, np.nan))
    assert "has the shape" in refused(put("item_weights.shape", 0, 10**12))
    assert "the columns in a row of train do not ascend" in refused(put("train.indices", slice(0, 2), 7))
    assert "the ends of user_ids" in refused(put("user_ids.ends", 4, 2**40))
    assert "the ids of the users do not ascend" in refused(put("user_ids.utf8", 3, ord("~")))
    assert "are not texts in UTF-8" in refused(put("user_ids.utf8", 3, 0xFF))
    assert "must have train_seconds" in refused(lambda arrays, about: about.pop("train_seconds"))
    assert "train_seconds must be a finite number" in refused(lambda arrays, about: about.update(train_seconds="1"))
    assert "has 'more'" in refused(lambda arrays, about: about.update(more=1))
    assert "train.indices is missing" in refused(lambda arrays, about: arrays.pop("train.indices"))
    assert "has 'other'" in refused(lambda arrays, about: arrays.update(other=np.zeros(1)))
    assert "of another type" in refused(lambda arrays, about: arrays.update({"train.indices": arrays["train.indices"].astype(np.float64)}))
    assert "hyper-parameters" in refused(lambda arrays, about: about["config"].update(num_neighbors=-3))
    assert "num_neighbors is not written as save writes it" in refused(lambda arrays, about: about["config"].update(num_neighbors="100"))
    assert "scores leave the range of float32" in refused(put("item_weights.data", 5, 3e38))


def made_of(header, values=b""):
    """A file of a header and arrays, with a right checksum."""
    text = header.encode()
    whole = bytearray(len(text).to_bytes(8, "little") + text + values)
    place = whole.index(storage._BEFORE_CHECKSUM) + len(storage._BEFORE_CHECKSUM)
    whole[place : place + 8] = storage._checksum(whole, place).encode()
    return bytes(whole)


@pytest.mark.parametrize(
    ("entries", "about", "values", "says"),
    [
        ('"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}', "{}", b"abc", "its arrays do not fill it"),
        ('"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}', "{}", b"abc", "is not behind that of the array before"),
        (
            '"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}',
            "{}",
            b"ab",
            "is not behind that of the array before",
        ),
        (
            '"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}',
            "{}",
            b"ab",
            "its header is not JSON",
        ),
        ('"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}', '{\\"x\\":1,\\"x\\":2}', b"ab", "about its arrays is not JSON"),
        ('"a":{"dtype":"U8","shape":[],"data_offsets":[0,1,2]}', "{}", b"ab", "is not behind"),
        ('"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,2]}', "{}", b"ab", "its header is not JSON"),
        ('"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}', "[" * 5000, b"ab", "what it says about its arrays is not JSON"),
    ],
)  # fmt: skip
def test_a_header_that_no_writer_makes_is_refused_in_a_sentence(tmp_path, entries, about, values, says):
    header = f'{{{entries},"__metadata__":{{"format":"form-1","about":"{about}","checksum":"00000000"}}}}'
    (tmp_path / "file").write_bytes(made_of(header, values))
    with pytest.raises(UsageError, match=says) as caught:
        storage.read_arrays(tmp_path / "file", "form-1")
    assert "\n" not in str(caught.value)


def test_infinite_numbers_in_what_is_said_about_arrays_are_read_as_checkpoints_write_them(tmp_path):
    storage.write_arrays(tmp_path / "file", {}, "form-1", {"best": float("-inf")})
    assert storage.read_arrays(tmp_path / "file", "form-1")[1] == {"best": float("-inf")}


def test_two_names_alike_in_a_text_file_are_refused(tmp_path):
    (tmp_path / "x.json").write_text('{"a": 1, "b": {"c": 1, "c": 2}}')
    with pytest.raises(UsageError, match="'c' comes twice"):
        storage.read_json(tmp_path / "x.json")


def test_a_run_whose_model_is_another_one_is_not_evaluated(tmp_path, capsys):
    run = tmp_path / "run"
    words = ["train", "--dataset", "demo", "--embedding_dim", "4", "--epochs", "1", "--keep", "measured", "--out", str(run), "--quiet"]
    assert main(words) == 0
    assert main(["evaluate", str(run)]) == 0
    demo = load_dataset("demo")
    for other in (EASE().fit(demo), UltraGCN(embedding_dim=6, epochs=1).fit(demo)):
        other.save(run)
        capsys.readouterr()
        assert main(["evaluate", str(run)]) == 2
        assert "manifest.json describes; put the run's own back" in capsys.readouterr().err


def test_a_form_says_what_is_wrong_and_where():
    form = {"a": int, Optional("b"): [(float, None)], "c": {str: {"x", "y"}}}
    assert misfit({"a": 1, "b": [1.5, None], "c": {"k": "x"}}, form) is None
    for value, sentence in (
        ([], "it must be an object"),
        ({"a": True, "c": {}}, "a must be a whole number"),
        ({"a": 2**63, "c": {}}, "a must be a whole number"),
        ({"a": 1}, "it must have c"),
        ({"a": 1, "b": [float("inf")], "c": {}}, "b[0] must be a finite number or null"),
        ({"a": 1, "c": {"k": "z"}}, "c.k must be one of x, y"),
    ):
        assert misfit(value, form) == sentence
    assert misfit(float("-inf"), FLOATING) is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[" * 100_000, "nested too deeply"), ('{"a": NaN}', "NaN is not a number"), ('{"a": "x\\u0000"}', "null character"),
        ('{"a": "\\ud800"}', "not valid JSON"), ("[1]", "expected a JSON object"), ('{"a": "x"}', "a must be a whole number"),
    ],
)  # fmt: skip
def test_json_that_cannot_be_used_is_one_sentence(tmp_path, content, says):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UsageError, match=says) as caught:
        storage.read_json(tmp_path / "x.json", {"a": int})
    assert "\n" not in str(caught.value)


def test_mutants_of_every_file_are_refused_or_answer_as_before(script, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    script.make_originals(tmp_path)
    offered = list(script.mutants(tmp_path, models=100, flipped=20, others=22, seed=20, places=24, swapped=4))
    came, wrong, slowest, _ = script.run(tmp_path, offered, workers=1)
    assert not wrong, "\n".join(wrong)
    assert came["bit", "refused"] == 50
    assert came["swapped", "refused"] == 4
    assert came["place", "refused"] == 20
    assert came["place", "equal"] == 4  # the file itself, and a link to it
    assert sum(came.values()) == len(offered)
    assert slowest <= script.SECONDS
