"""The studies of UltraGCN: short scripts that run, go on, print their table and draw their figure."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ultragcn import load_dataset, storage
from ultragcn.cli import main
from ultragcn.config import Config, kept_configuration
from ultragcn.experiments.studies.model_study import read_study_file, source_of, study_of, without_effect
from ultragcn.experiments.studies.study import read_results, read_study

pytest.importorskip("torch", reason="the workbench needs PyTorch")

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
SCRIPTS = tuple(path.stem for path in sorted((SRC / "experiments").glob("exp_*.py")) if "STUDIES" in path.read_text(encoding="utf-8"))


def run(src, script, *words):
    command = [sys.executable, "-m", f"experiments.{script}", *words]
    return subprocess.run(command, cwd=src, env=os.environ | {"PYTHONPATH": str(SRC)}, capture_output=True, text=True, check=False)


def workbench_with(folder, script, **changes):
    """A copy of the workbench in which that script says something else in some places."""
    shutil.copytree(SRC / "experiments", folder / "src/experiments", ignore=shutil.ignore_patterns("__pycache__"))
    for module in SRC.glob("*.py"):
        shutil.copy(module, folder / "src")
    (folder / "src/ultragcn").symlink_to(SRC / "ultragcn", target_is_directory=True)  # with its kernels, which are compiled here
    path = folder / f"src/experiments/{script}.py"
    text = path.read_text(encoding="utf-8")
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    path.write_text(text, encoding="utf-8")
    return folder / "src"


def test_a_study_on_other_data_is_another_word_in_its_script_and_goes_on_where_it_was(tmp_path):
    src = workbench_with(
        tmp_path, "exp_item_neighbors", **{'"electronics"': '"demo"', "[5, 10, 20, 50]": "[5, 20]", '"seeds": 5': '"seeds": 2'}
    )
    done = run(src, "exp_item_neighbors", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    *table, image = done.stdout.splitlines()
    assert table[0].split("\t") == [
        "dataset",
        "num_item_neighbors",
        "item_graph_weight",
        "valid_recall@20",
        "valid_ndcg@20",
        "seeds",
        "seconds",
    ]
    assert [line.split("\t")[:3] for line in table[1:]] == [["demo", k, w] for k in ("5", "20") for w in ("0.0", "0.4")]
    assert all(re.search(r"\t0\.[3-7]\d{3} ± 0\.\d{4}\t", line) for line in table[1:])
    assert Path(image) == tmp_path / "plots/exp_item_neighbors-demo.png"
    assert Path(image).read_bytes().startswith(b"\x89PNG")
    folder = tmp_path / "plots/exp_item_neighbors/demo"
    assert read_study(folder).choose_by == "valid_recall@20"
    assert len(read_results(folder)) == 8
    before = (folder / "results.tsv").read_bytes()
    assert run(src, "exp_item_neighbors").stdout == done.stdout
    assert (folder / "results.tsv").read_bytes() == before


def test_the_solvers_are_compared_by_the_second_over_their_seeds(tmp_path):
    changes = {'"electronics"': '"demo"', '"epochs": 120': '"epochs": 10', '"seeds": 3': '"seeds": 2'}
    src = workbench_with(tmp_path, "exp_solvers", **changes)
    done = run(src, "exp_solvers", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert [line.split("\t")[1] for line in done.stdout.splitlines()[1:3]] == ["exact", "sgd"]
    assert (tmp_path / "plots/exp_solvers-demo.png").is_file()
    histories = sorted(path.name for path in (tmp_path / "plots/exp_solvers/demo/trials").iterdir())
    assert histories == ["0-0", "0-1", "1-0", "1-1"]
    assert {row["recall@20"] != "" for row in storage.read_rows(tmp_path / "plots/exp_solvers/demo/trials/1-0/history.tsv")} == {
        True,
        False,
    }


def test_a_mistyped_flag_of_a_study_is_one_line_and_nothing_is_run(tmp_path):
    src = workbench_with(tmp_path, "exp_solvers")
    done = run(src, "exp_solvers", "--jbos", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown flag '--jbos'; did you mean --jobs? (allowed: --jobs, --data_dir)\n"
    assert not (tmp_path / "plots").exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_study_is_short_and_shown_on_the_page_with_its_command(script, monkeypatch):
    monkeypatch.syspath_prepend(str(SRC))
    assert len((SRC / f"experiments/{script}.py").read_text(encoding="utf-8").splitlines()) <= 30
    page = (ROOT / "docs/studies.md").read_text(encoding="utf-8")
    assert f"python -m experiments.{script}" in page
    for said in importlib.import_module(f"experiments.{script}").STUDIES:
        image = f"images/{script}-{said['dataset']}.png"
        assert f"({image})" in page
        assert 5_000 < (ROOT / "docs" / image).stat().st_size < 150_000


@pytest.mark.real_data
@pytest.mark.parametrize("script", SCRIPTS)
def test_whatever_a_study_varies_changes_something(script, data_dir, monkeypatch):
    monkeypatch.syspath_prepend(str(SRC))
    for said in importlib.import_module(f"experiments.{script}").STUDIES:
        said = {"choose_by": "recall@20", **said, "data_dir": str(data_dir)}
        study = study_of(said, load_dataset(**source_of(said)))
        assert without_effect(study, said.get("model", "ultragcn")) == []
        assert study.about["protocol"] == "clean"
        assert len(study.seeds) > 1


# ------------------------------------------------------------- the studies that found what is kept


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::ultragcn.errors.DataWarning")
@pytest.mark.parametrize("path", sorted((ROOT / "configs/studies").glob("*.toml")), ids=lambda path: path.stem)
def test_each_kept_study_is_on_validation_and_named_by_what_it_found(path, data_dir):
    said = read_study_file(path) | {"data_dir": str(data_dir)}
    study = study_of(said, load_dataset(**source_of(said)))
    paper = path.stem.endswith("-paper")
    assert (said["dataset"], study.name) == (path.stem.removesuffix("-paper"), path.stem)
    by_ndcg = paper or path.stem in ("gowalla", "amazoncds")
    assert study.choose_by == ("valid_ndcg@20" if by_ndcg else "valid_recall@20")
    assert (study.fixed.get("item_graph_weight") == 0) == paper
    assert without_effect(study, "ultragcn") == []
    kept = kept_configuration(said["dataset"])
    assert kept is not None
    assert f"configs/studies/{path.name}" in kept.read_text(encoding="utf-8")


# ------------------------------------------------------------- what varies and changes nothing


@pytest.mark.parametrize(
    ("vary", "idle"),
    [
        (["l2_weight=0.1,1"], ["l2_weight has no effect without solver sgd; drop l2_weight, or give solver sgd"]),
        (["l2_user,l2_item=0.1,1"], []),
        (["item_graph_l2=1,2", "item_graph_weight=0,0.2"], []),
        (["num_item_neighbors=5,10", "item_item_weight=0,1"], []),
        (["learning_rate=0.1,1", "solver=exact,sgd"], []),
    ],
)
def test_a_sweep_says_which_parameter_changes_nothing(log, tmp_path, capsys, vary, idle):
    words = [word for over in vary for word in ("--vary", over)]
    assert main(["sweep", "--dataset", str(log), *words, "--slurm", str(tmp_path / "job.sh")]) == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ultragcn: warning: ")]
    assert warned == [f"ultragcn: warning: {sentence}" for sentence in idle]


def test_what_is_fixed_can_leave_what_varies_without_effect(log, tmp_path, capsys):
    words = ["--vary", "item_graph_l2=1,2", "--fix", "item_graph_weight=0", "--slurm", str(tmp_path / "job.sh")]
    assert main(["sweep", "--dataset", str(log), *words]) == 0
    assert "item_graph_l2 has no effect without item_graph_weight above 0; drop item_graph_l2" in capsys.readouterr().err


def test_what_has_no_effect_beside_the_others_is_known():
    assert "item_graph_l2" not in Config().without_effect
    assert {"l2_weight", "learning_rate", "tf32"} <= set(Config().without_effect)
    assert "tf32" not in Config(device="cuda").without_effect
    sampled = Config(solver="sgd", item_item_weight=0.0)
    assert set(sampled.without_effect) == {
        "start", "start_sweeps", "start_l2", "start_uniform_weight", "negatives", "num_clusters", "num_item_neighbors", "omega",
        "item_graph_l2", "item_graph_neighbors", "item_graph_walk", "item_graph_walk_alpha", "item_graph_walk_beta",
        "item_trend_half_life", "tf32",
    }  # fmt: skip
    assert sampled.replace(l2_user=0.1, l2_item=0.1).without_effect["l2_weight"] == "l2_user or l2_item at auto"
