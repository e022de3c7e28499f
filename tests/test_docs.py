"""The documents are true: what they tell the reader to do is done here, to the letter."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.ko.md")


def code_blocks(document):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / document).read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.parametrize("document", READMES)
def test_the_python_of_the_readme_runs_as_it_stands(document, tmp_path):
    (tmp_path / "readme.py").write_text("\n".join(code_blocks(document)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "readme.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    recall = float(re.search(r"'recall@20': ([0-9.]+)", done.stdout)[1])
    assert 0.45 < recall < 0.58


def test_following_adding_a_model_to_the_letter_gives_a_model_that_learns(tmp_path):
    text = (ROOT / "docs/adding-a-model.md").read_text(encoding="utf-8")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    named = re.findall(r"`(src/models/mlp/\w+\.py)`:\n\n```python\n(.*?)^```", text, re.M | re.S)
    assert len(named) == len(code_blocks("docs/adding-a-model.md")) == 4
    for path, code in named:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(code, encoding="utf-8")
    (command,) = re.findall(r"^    python (-m main .*)$", text, re.M)
    done = subprocess.run(
        [sys.executable, *command.split()],
        cwd=tmp_path / "src",
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr
    accuracy = float(re.search(r"accuracy\W+([0-9.]+)", done.stdout)[1])
    assert 0.9 < accuracy < 1


def names_after(document):
    """What the Python of a page defines, pasted block after block into one session."""
    blocks = code_blocks(document)
    assert blocks
    found = {}
    exec("\n".join(blocks), found)
    return found


def test_the_python_of_the_evaluation_page_runs_as_it_stands():
    found = names_after("docs/evaluation.md")
    assert 0 < found["other"].means["ndcg@20"] < found["result"].means["ndcg@20"] < 1


def test_the_python_of_the_baselines_page_runs_as_it_stands():
    found = names_after("docs/baselines.md")
    assert len(found["items"]) == 20


def test_the_python_of_the_data_page_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    events = ((user, step) for user in range(20) for step in range(12))
    rows = [f"{user},{(user + 7 * step) % 30},{3 + step % 3},{1_600_000_000 + 100 * step}" for user, step in events]
    Path("my.csv").write_text("\n".join(["user,item,rating,time", *rows]))
    Path("items.csv").write_text("\n".join(["item,title", *(f"{item},Item {item}" for item in range(30))]))
    found = names_after("docs/data.md")
    assert len(found["data"].train) > len(found["data"].test) > 0
    assert len(found["pairs"]) == 3


def test_the_python_of_the_training_page_runs_as_it_stands_and_goes_on_when_called_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole, again = (names_after("docs/training.md")["model"] for _ in range(2))
    assert Path("demo.checkpoint").exists()
    assert (whole.user_embedding_ == again.user_embedding_).all()


@pytest.mark.parametrize("document", READMES)
def test_what_the_readme_names_exists(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / link).exists(), link
    tree = text[text.index("    ├── README.md") :]
    names = re.findall(r"[├└]── ([\w./-]+)", tree)
    assert len(names) > 15
    made_on_demand = {"datasets/"}
    for name in set(names) - made_on_demand:
        assert any((ROOT / folder / name).exists() for folder in (".", "src", "src/ultragcn")), name


def test_both_readmes_show_the_same_tree():
    trees = [re.findall(r"([│ ]*[├└]──) ([\w./-]+)", (ROOT / document).read_text(encoding="utf-8")) for document in READMES]
    # Each lists itself first and names the other.
    assert trees[0][1:] == trees[1][1:]


@pytest.mark.parametrize("document", READMES)
def test_the_readme_begins_with_the_two_commands(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    assert text.index("    make demo") < text.index("    make test") < 1000


def test_the_python_of_the_reports_page_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert names_after("docs/reports.md")["plot"].title == "valid_ndcg@20 against item_item_weight"
    assert Path("weights.svg").read_text(encoding="utf-8").startswith("<?xml")
