"""The benchmark beside other libraries: one ruler for all lists, settings drawn alike, and every fit that fails stands in the table."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from ultragcn import Popularity, evaluate, load_dataset

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="CPU seconds are limited as Linux does it")

ROOT = Path(__file__).parents[1]

FAKE = '''
import numpy as np

class DenseSLIMRecommender:
    """Popular items, whatever reg is; {how}."""

    def __init__(self, matrix, reg=1):
        self.matrix = matrix

    def learn(self):
        {learn}
        return self
'''
UTILS = """
import numpy as np

class IDMapper:
    def __init__(self, users, items):
        pass

    def recommend_for_known_user_batch(self, model, users, cutoff, n_threads):
        degrees = np.asarray(model.matrix.sum(0)).ravel()
        lists = []
        for user in users:
            scores = degrees.copy()
            if {leave_out}:
                scores[model.matrix[user].indices] = -1
            best = np.argsort(-scores, kind="stable")[:cutoff]
            lists.append([(int(item), float(scores[item])) for item in best if scores[item] >= 0])
        return lists
"""


@pytest.fixture
def script(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    script = importlib.import_module("peers")
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(sys.modules["measure"], "ROOT", tmp_path)
    return script


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    import polars as pl

    random = np.random.default_rng(0)
    users = np.repeat(np.arange(80), 14)
    items = np.concatenate([random.choice(40, 14, replace=False, p=np.arange(40, 0, -1) / 820) for _ in range(80)])
    return load_dataset(pl.DataFrame({"user_id": users, "item_id": items}))


@pytest.fixture
def bench(script, data, tmp_path):
    return script.Bench(data, None, 120, tmp_path)


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Make a package called irspack, which the worker imports."""

    def make(how="as it should be", learn="pass", leave_out=True):
        package = tmp_path / "fake" / "irspack"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(FAKE.format(how=how, learn=learn))
        (package / "utils.py").write_text(UTILS.format(leave_out=leave_out))
        about = package.parent / "irspack-9.9.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: irspack\nVersion: 9.9\n")
        monkeypatch.setenv("PYTHONPATH", f"{package.parent}:{ROOT / 'src'}")

    return make


def test_our_ease_is_run_with_its_default_and_with_the_strength_chosen_and_only_once(script, bench, monkeypatch):
    monkeypatch.setattr(script, "EASE_L2", (5.0, 50.0))
    lines = script.ease(bench, ["ultragcn"])
    assert [line[:2] for line in lines[1:]] in ([["ultragcn", "default"], ["ultragcn", l2]] for l2 in ("5", "50"))
    rows = bench.rows()
    assert [row["purpose"] for row in rows] == ["try", "try", "final", "final"]
    assert all(row["outcome"] == "ok" and float(row["fit_cpu"]) > 0 and float(row["peak_mb"]) > 20 for row in rows)
    best = max(rows[:2], key=lambda row: float(row["ndcg@20"]))
    assert rows[3]["settings"] == best["settings"]
    assert script.ease(bench, ["ultragcn"]) == lines
    assert len(bench.rows()) == len(rows)


def test_lists_of_our_own_model_are_worth_what_the_model_is_worth(script, bench, data):
    row = bench.row("ultragcn", "EASE", {"l2": 20.0}, "final")
    from ultragcn import EASE

    model = EASE(l2=20.0).fit(data.train.union(data.valid))
    expected = evaluate(model, data.test, script.METRICS)
    assert [float(row[metric]) for metric in script.METRICS] == pytest.approx([expected[metric] for metric in script.METRICS], abs=1e-6)


def test_our_model_chooses_on_validation_and_is_then_worth_what_it_is_worth_there_and_refitted_on_test(bench, data):
    from ultragcn import UltraGCN

    small = {"embedding_dim": 4, "epochs": 3}
    model = UltraGCN(seed=0, num_threads=2, **small).fit(data.train, data.valid, progress=False)
    tried, final = (bench.row("ultragcn", "UltraGCN", small, f"{kind} with validation") for kind in ("try", "final"))
    assert float(tried["ndcg@20"]) == pytest.approx(model.evaluate(data.valid)["ndcg@20"], abs=1e-6)
    assert float(final["ndcg@20"]) == pytest.approx(model.refit(progress=False).evaluate(data.test)["ndcg@20"], abs=1e-6)


def test_another_library_gets_the_same_pairs_and_is_measured_by_the_same_ruler(script, bench, data, fake):
    fake()
    row = bench.row("irspack", "DenseSLIMRecommender", {}, "final")
    model = Popularity().fit(data.train.union(data.valid))
    assert (row["outcome"], row["version"]) == ("ok", "9.9")
    assert float(row["recall@20"]) == pytest.approx(evaluate(model, data.test, ["recall@20"])["recall@20"], abs=0.02)  # ties


def test_a_list_with_an_item_that_its_user_has_counts_for_nothing_and_the_table_says_why(script, bench, fake):
    fake("with what users have", leave_out=False)
    row = bench.row("irspack", "DenseSLIMRecommender", {}, "try")
    assert row["outcome"].startswith("failed: the library lists")
    assert script.cells(row)[0] == row["outcome"]


def test_a_fit_that_takes_too_long_is_stopped_and_stands_in_the_table(script, data, tmp_path, fake):
    fake("for ever", learn="while True: pass")
    bench = script.Bench(data, None, 3, tmp_path)
    row = bench.row("irspack", "DenseSLIMRecommender", {}, "final")
    assert row["outcome"] == "stopped after 3 CPU s"
    assert bench.row("irspack", "DenseSLIMRecommender", {}, "final") == row
    assert len(bench.rows()) == 1
    assert script.cells(row) == ["stopped after 3 CPU s", "", "", ""]


def test_a_fit_that_failed_is_tried_again(script, bench, fake):
    pytest.importorskip("scipy")
    first = bench.row("recpack", "EASE", {}, "final")
    assert first["outcome"].startswith("failed: ModuleNotFoundError: No module named 'recpack'")
    bench.row("recpack", "EASE", {}, "final")
    assert len(bench.rows()) == 2


def test_the_best_settings_on_validation_are_chosen_until_the_time_is_spent(bench, script, monkeypatch):
    values = {1: 0.2, 2: 0.5, 3: 0.4, 4: 0.9}
    seen = []

    def row(library, model, settings, purpose):
        seen.append(settings["k"])
        return {"outcome": "ok", "ndcg@20": str(values[settings["k"]]), "fit_cpu": "100", "rank_cpu": "0"}

    monkeypatch.setattr(bench, "row", row)
    assert bench.chosen("cornac", "BPR", [{"k": k} for k in values]) == ({"k": 2}, 300.0)  # 240 seconds are the limit
    assert seen == [1, 2, 3]


def test_tables_can_be_printed_without_running_what_is_missing(script, data, tmp_path):
    bench = script.Bench(data, None, 120, tmp_path, runs=False)
    assert script.ease(bench, ["ultragcn"])[1:] == [["ultragcn", "default", "not run", "", "", ""]]
    assert script.tuned(bench, ["ultragcn"], 3)[1:] == [["ultragcn", "UltraGCN", "0", "0", "not all were run", "", "", "", ""]]
    assert bench.rows() == []


def test_settings_are_drawn_from_their_ranges_the_default_first_and_more_begin_with_the_same(script):
    ranges = {"a,b": (0.1, 10.0), "epochs": (5, 40), "kind": [1, 2]}
    few, many = (list(script.drawn(ranges, draws)) for draws in (5, 50))
    assert few[0] == {}
    assert many[:5] == few
    for settings in many[1:]:
        assert list(settings) == ["a", "b", "epochs", "kind"]
        assert settings["a"] == settings["b"]
        assert 0.1 <= settings["a"] <= 10
        assert isinstance(settings["epochs"], int)
        assert 5 <= settings["epochs"] <= 40
        assert settings["kind"] in (1, 2)


def test_what_is_learned_from_is_train_or_train_and_validation_and_nobody_sees_test(script, data, tmp_path):
    sizes = {}
    for purpose in ("try", "final", "try with validation", "final with validation"):
        found = np.load(script.pairs_of(data, purpose, tmp_path))
        sizes[purpose] = (len(found["users"]), len(found["held_users"]))
        targets = data.valid if purpose.startswith("try") else data.test
        assert bool(found["asks_held"]) == (purpose == "try with validation")
        assert np.array_equal(found["asked"], np.flatnonzero(targets.user_degrees))
        assert data.test.matrix[found["users"], found["items"]].sum() == 0
    train, valid = len(data.train), len(data.valid)
    apart = dict.fromkeys(("try with validation", "final with validation"), (train, valid))
    assert sizes == {"try": (train, 0), "final": (train + valid, 0), **apart}


def test_each_range_names_a_hyper_parameter_of_ours_where_the_library_is_ours(script):
    import ultragcn

    for model, ranges in script.PEERS["ultragcn"].models.items():
        for settings in script.drawn(ranges, 5):
            getattr(ultragcn, model)(**settings)


def test_an_unknown_library_or_part_is_refused_in_one_sentence(script, capsys):
    for words in (["--libraries", "spotify"], ["--parts", "speed"]):
        with pytest.raises(SystemExit):
            script.main(words)
        assert f"'{words[1]}'; choose from " in capsys.readouterr().err


def test_the_page_names_every_library_as_it_was_installed(script):
    page = (ROOT / "docs/peers.md").read_text(encoding="utf-8")
    for library, peer in script.PEERS.items():
        assert f"| {library} |" in page
        for requirement in peer.requirements:
            if "==" in requirement:
                assert requirement in page
