"""The benchmark of how a training grows with the data: its sums, and all of it on a small expansion."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
HYPER = {"embedding_dim": 8, "item_item_weight": 0.0, "item_graph_weight": 0.0, "seed": 0}


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("growth")
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def folder(script, tmp_path_factory):
    folder = tmp_path_factory.mktemp("large") / "demo-2500"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ULTRAGCN_DATA_DIR", str(folder.parent))
        script.fractal.make(folder, "demo", 2_500, 1_200, 30_000)
    return folder


@pytest.fixture(scope="module")
def data(script, folder):
    train, test = script.fractal.read(folder)
    return train, *script.held_out(test, 300, 500)


def test_seconds_that_grow_with_the_square_have_exponent_two(script):
    assert script.exponent([10, 100, 1000], [3.0, 300.0, 30_000.0]) == pytest.approx(2)
    assert script.exponent([10, 100], [5.0, 5.0]) == pytest.approx(0)


def test_the_users_to_choose_by_and_those_to_report_by_are_others(data):
    _, valid, test = data
    assert ((valid.user_degrees > 0).sum(), (test.user_degrees > 0).sum()) == (300, 500)
    assert not ((valid.user_degrees > 0) & (test.user_degrees > 0)).any()


def test_of_few_users_a_fifth_chooses(script, folder):
    _, test = script.fractal.read(folder)
    with_pairs = (test.user_degrees > 0).sum()
    valid, rest = script.held_out(test, 10_000, 20_000)
    assert (valid.user_degrees > 0).sum() == with_pairs // 5
    assert len(valid) + len(rest) == len(test)


def test_settings_are_read_as_numbers_where_they_are(script):
    assert script.settings_in(["epochs=3", "l2_user=0.5", "start=spectral"]) == {"epochs": 3, "l2_user": 0.5, "start": "spectral"}


def test_what_is_made_is_described_beside_it(folder):
    about = json.loads((folder / "about.json").read_text())
    assert (about["users"], about["items"], about["dataset"]) == (2_500, 1_200, "demo")
    assert about["train_pairs"] == pytest.approx(30_000, rel=0.03)


def test_data_that_are_there_are_not_made_again(script, folder):
    assert script.folder_of(folder.parent, "demo", 2_500) == folder


def test_sweeps_are_timed(script, folder):
    row = script.grow(folder, HYPER, 2)
    assert row["sweep_seconds"] > 0
    assert row["sweep_cpu_seconds"] > 0
    assert (row["users"], row["data"]) == (2_500, "demo-2500")


def test_a_model_learns_from_an_expansion_more_than_popularity(script, data):
    train, valid, test = data
    ones, degrees = np.ones((train.num_users, 1), np.float32), train.item_degrees.astype(np.float32)[:, None]
    popular = script.evaluate(script.Tables(train, ones, degrees), test)["recall@20"]
    row = script.ultragcn(train, valid, test, HYPER | {"epochs": 4})
    assert row["recall@20"] > 1.2 * popular
    assert 0 < row["seconds_to_best"] <= row["seconds"]


@pytest.mark.filterwarnings("ignore:OpenBLAS:RuntimeWarning", "ignore:Intel MKL:RuntimeWarning")
def test_the_rival_is_measured_on_the_same_users(script, data):
    pytest.importorskip("implicit")
    row = script.als(*data, 8, [20.0, 10.0])
    assert row["passes"] == script.ALS_ITERATIONS
    assert 0 < row["recall@20"] < 1
    assert row["settings"] == '{"alpha": 20.0, "regularization": 10.0}'


def test_what_cannot_be_made_ends_with_one_sentence(tmp_path):
    words = [sys.executable, str(BENCHMARKS / "fractal.py"), "--dataset", "demo", "--users", "100", "--items", "100", "--pairs", "5000"]
    environment = {"ULTRAGCN_DATA_DIR": str(tmp_path), "PYTHONPATH": str(BENCHMARKS.parent / "src")}
    done = subprocess.run([*words, "--out", str(tmp_path / "out")], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 1
    assert "pairs at most, not 5,000; ask for fewer pairs" in done.stderr
    assert "Traceback" not in done.stderr
