"""The documents are true: what they tell the reader to do is done here, to the letter."""

import importlib.util
import itertools
import json
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
    _, command = followed(tmp_path, "mlp")
    assert len(code_blocks("docs/adding-a-model.md")) == 8
    done = ran(tmp_path / "src", *command.split())
    assert done.returncode == 0, done.stderr
    accuracy = float(re.search(r"accuracy\W+([0-9.]+)", done.stdout)[1])
    assert 0.9 < accuracy < 1
    # The page's figure over several seeds. PyTorch of another version or another machine draws and adds otherwise.
    text = (ROOT / "docs/adding-a-model.md").read_text(encoding="utf-8")
    (over_seeds,) = re.findall(r"^    python (-m experiments\.exp_seeds .*)$", text, re.M)
    done = ran(tmp_path / "src", *over_seeds.split())
    assert done.returncode == 0, done.stderr
    said, shown = (re.search(r"^ *accuracy: ([0-9.]+) ± ([0-9.]+) \(3 seeds\)$", output, re.M) for output in (text, done.stdout))
    assert float(shown[1]) == pytest.approx(float(said[1]), abs=0.02)
    assert 0 < float(shown[2]) < 0.03


def test_the_recommender_of_adding_a_model_is_one_of_fifteen_lines_that_recommends(tmp_path):
    text = (ROOT / "docs/adding-a-model.md").read_text(encoding="utf-8")
    named, command = followed(tmp_path, "cosine")
    model = dict(named)["src/models/cosine/model.py"]
    assert len([line for line in model.splitlines() if line.strip()]) <= 15
    runs = {}
    for shrinkage in ("10", "1000"):
        arguments = [shrinkage if before == "--shrinkage" else word for before, word in itertools.pairwise(["", *command.split()])]
        done = ran(tmp_path / "src", *arguments)
        assert done.returncode == 0, done.stderr
        runs[shrinkage] = float(re.search(r"recall@20\W+([0-9.]+)", done.stdout)[1])
    assert f"{runs['10']:.2f}" == re.search(r"it reaches a Recall@20 of ([0-9.]+)", text)[1]
    assert 0.4 < runs["1000"] < runs["10"] < 0.58  # 0.5757 is the best that anybody can reach on these data


def followed(folder, model):
    """Write what the page gives for a model into a copy of src/; return the named texts, and the command that runs it."""
    pytest.importorskip("torch", reason="the workbench needs PyTorch")
    text = (ROOT / "docs/adding-a-model.md").read_text(encoding="utf-8")
    shutil.copytree(ROOT / "src", folder / "src")  # with the compiled kernels, which take minutes
    shutil.copytree(ROOT / "configs", folder / "configs")
    named = re.findall(rf"`(src/models/{model}/\w+\.py)`:\n\n```python\n(.*?)^```", text, re.M | re.S)
    assert sorted(Path(path).name for path, _ in named) == ["__init__.py", "eval.py", "model.py", "train.py"]
    for path, code in named:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(code, encoding="utf-8")
    (command,) = re.findall(rf"^    python (-m main --model {model} .*)$", text, re.M)
    return named, command


def ran(src, *arguments):
    environment = os.environ | {"PYTHONPATH": ""}
    return subprocess.run([sys.executable, *arguments], cwd=src, capture_output=True, text=True, timeout=300, env=environment)


# Runs the code cells of a notebook in their order, and prints what each would show.
_NOTEBOOK = """
import ast, json, pathlib, sys
found = {"__name__": "__main__"}
for cell in json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, cell["id"], "exec"), found)
        if last is not None:
            print(repr(eval(compile(ast.Expression(last.value), cell["id"], "eval"), found)))
"""


def test_the_notebook_runs_as_shipped_where_the_library_is_installed(tmp_path):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    environment = {key: value for key, value in os.environ.items() if key != "ULTRAGCN_DATA_DIR"} | {"PYTHONPATH": str(ROOT / "src")}
    environment |= {"MPLBACKEND": "agg", "PYTHONIOENCODING": "utf-8", "NO_PROXY": "*", "HTTPS_PROXY": "http://127.0.0.1:9"}
    # It needs nothing but the library and matplotlib, as its first cell says.
    more = "print('loaded besides:', sorted({'torch', 'sklearn', 'pandas', 'IPython'} & set(sys.modules)))\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _NOTEBOOK + more, "first_steps.ipynb"],
        cwd=tmp_path / "notebooks", capture_output=True, encoding="utf-8", timeout=600, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Dataset(demo, protocol clean: 2,000 users x 600 items" in done.stdout
    assert "fitted on    2,000 users x 600 items, 48,265 pairs" in done.stdout
    assert "User 'user-0001' may like" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded besides: []"
    recall = {model: float(value) for model, value in re.findall(r"^│ (\w+) +┆ (0\.\d+) ", done.stdout, re.M)}
    assert sorted(recall) == ["ease", "itemknn", "popularity", "ultragcn"]
    assert 0.5 < recall["ultragcn"] < 0.58
    assert recall["popularity"] < 0.2
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["first_steps.ipynb", "notebooks"]


def test_every_cell_of_the_notebook_has_a_sentence_before_it_and_imports_from_the_library_alone():
    cells = json.loads((ROOT / "notebooks" / "first_steps.ipynb").read_text(encoding="utf-8"))["cells"]
    for before, cell in itertools.pairwise(cells):
        assert cell["cell_type"] == "markdown" or before["cell_type"] == "markdown", cell["source"]
    modules = re.findall(
        r"^(?:from|import) ([\w.]+)", "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"), re.M
    )
    assert set(modules) == {"ultragcn", "matplotlib.pyplot", "polars"}
    assert "pip install '.[report]' jupyterlab" in "".join(cells[0]["source"])


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_in_the_form_that_jupyter_opens_and_holds_no_output(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    names = [cell["id"] for cell in notebook["cells"]]
    assert len(set(names)) == len(names)
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("code", "markdown")
        assert isinstance(cell["metadata"], dict)
        assert "".join(cell["source"]).strip()
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
        for link in re.findall(r"\]\(([^)#]+)\)", "".join(cell["source"])):
            assert (path.parent / link).exists(), link


@pytest.mark.parametrize("document", ["docs/ide.md", "docs/ide.ko.md"])
def test_the_page_about_ides_names_every_setting_and_its_files_are_json(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for said in ("PyCharm", "VS Code", "requirements.txt", "Sources Root", "Emulate terminal in output console", "tqdm", "src/main.py"):
        assert said in text, said
    settings = [json.loads(block) for block in re.findall(r"^ *```json\n(.*?)^ *```", text, re.M | re.S)]
    assert settings[0]["python.analysis.extraPaths"] == ["src"]
    program = settings[1]["configurations"][0]
    assert (ROOT / program["program"].removeprefix("${workspaceFolder}/")).exists()
    assert program["args"] == ["--dataset", "digits", "--epochs", "5"]


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


def test_the_python_of_the_rules_page_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = names_after("docs/rules.md")
    prices = dict(found["table"].select("item_id", "price").rows())
    assert [prices[item] < 20 for item in found["items"]] == [True] * 4
    assert len({item.split("(")[1] for item in found["items"]}) == 4


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


def test_the_page_on_architecture_lists_every_file_as_it_describes_itself():
    spec = importlib.util.spec_from_file_location("tree", ROOT / "docs/tree.py")
    tree = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tree)
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert tree.whole(page) == page, "run: python docs/tree.py"
