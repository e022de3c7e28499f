"""The pages hold together: no link is dead, every Python block runs in a test, the site builds, and what counts sentences counts them."""

import ast
import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_docs import ROOT, code_blocks, names_after

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *(page for folder in ("docs/**", "benchmarks", "research") for page in ROOT.glob(f"{folder}/*.md"))]
)

RUN_BY = {
    "README.md": "tests/test_docs.py::test_the_python_of_the_readme_runs_as_it_stands",
    "README.ko.md": "tests/test_docs.py::test_the_python_of_the_readme_runs_as_it_stands",
    "docs/adding-a-model.md": "tests/test_docs.py::test_following_adding_a_model_to_the_letter_gives_a_model_that_learns",
    "docs/baselines.md": "tests/test_docs.py::test_the_python_of_the_baselines_page_runs_as_it_stands",
    "docs/coming-from.md": "tests/test_pages.py::test_the_python_for_those_who_come_from_elsewhere_runs_as_it_stands",
    "docs/data.md": "tests/test_docs.py::test_the_python_of_the_data_page_runs_as_it_stands",
    "docs/evaluation.md": "tests/test_docs.py::test_the_python_of_the_evaluation_page_runs_as_it_stands",
    "docs/exporting.md": "tests/test_export.py::test_the_python_of_the_page_on_exporting_runs_as_it_stands",
    "docs/faq.md": "tests/test_pages.py::test_the_python_of_the_answers_runs_as_it_stands",
    "docs/index.md": "tests/test_pages.py::test_the_python_of_the_quick_start_runs_as_it_stands",
    "docs/model-format.md": "tests/test_model_format.py::test_the_code_of_the_page_makes_the_lists_of_every_kind",
    "docs/nightly.md": "tests/test_nightly.py::test_nights_that_end_well_put_new_lists_in_place_and_remove_old_nights",
    "docs/recommending.md": "tests/test_examples.py::test_the_python_of_the_page_on_recommending_runs_as_it_stands",
    "docs/reports.md": "tests/test_docs.py::test_the_python_of_the_reports_page_runs_as_it_stands",
    "docs/rules.md": "tests/test_docs.py::test_the_python_of_the_rules_page_runs_as_it_stands",
    "docs/scaling.md": "tests/test_large_logs.py::test_lists_made_inside_spark_are_those_of_the_model",  # its other block: below
    "docs/serving.md": "tests/test_serving_docs.py::test_the_python_example_runs_as_it_stands",
    "docs/sweeps.md": "tests/test_sweep.py::test_the_python_of_the_page_runs_as_it_stands",
    "docs/training.md": "tests/test_docs.py::test_the_python_of_the_training_page_runs_as_it_stands_and_goes_on_when_called_again",
    "docs/updating.md": "tests/test_update.py::test_the_page_on_updating_runs_as_it_stands",
}
"""Pages with Python -> the test that runs it."""


def test_every_page_with_python_names_the_test_that_runs_it():
    assert sorted(page for page in PAGES if code_blocks(page)) == sorted(RUN_BY)
    for page, where in RUN_BY.items():
        file, _, name = where.partition("::")
        functions = {
            node.name: node for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)
        }
        assert name in functions, (page, where)


def test_the_model_that_the_page_on_large_logs_gives_to_a_gpu_can_be_made_without_one():
    (code,) = [block for block in code_blocks("docs/scaling.md") if "mapInPandas" not in block and "functools" not in block]
    found = {}
    exec(code, found)
    assert found["model"].get_params()["device"] == "cuda"


def test_the_python_of_the_quick_start_runs_as_it_stands():
    found = names_after("docs/index.md")
    assert found["items"].shape == (3,)


def test_the_python_of_the_answers_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = names_after("docs/faq.md")
    assert found["items"].shape == (5,)
    assert "may like" in capsys.readouterr().out


def test_the_python_for_those_who_come_from_elsewhere_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn", reason="the section on scikit-learn needs it")
    monkeypatch.chdir(tmp_path)
    found = names_after("docs/coming-from.md")
    assert found["ids"].shape == (5,)
    assert list(found["table"].columns) == ["user_id", "rank", "item_id", "score"]
    assert len(found["table"]) == 5
    assert found["twin"].user_embedding_.shape == (60, 16)
    assert capsys.readouterr().out.endswith("5 (60, 16)\n")


def test_the_sentence_about_a_foreign_name_is_the_one_that_is_printed():
    from ultragcn import UltraGCN
    from ultragcn.errors import UsageError

    (line,) = re.findall(r"^    UsageError: (.*)$", (ROOT / "docs/coming-from.md").read_text(encoding="utf-8"), re.M)
    with pytest.raises(UsageError) as raised:
        UltraGCN(factors=64)
    assert str(raised.value) == line


def prose_of(page):
    """A page without its code."""
    text = (ROOT / page).read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return re.sub(r"`[^`\n]+`", "", text)


def anchors(path):
    """The anchors of a page: its headings as a link writes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_no_link_of_a_page_is_dead(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if re.match(r"(https?|mailto):", target):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), target


def test_every_page_of_docs_is_in_the_navigation_once():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = re.findall(r": ([\w./-]+\.md)$", text, re.M)
    assert sorted(named) == sorted(page.removeprefix("docs/") for page in PAGES if page.startswith("docs/"))


def test_the_page_of_the_api_has_every_public_name():
    import ultragcn

    named = re.findall(r"^::: ultragcn\.(\w+)$", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.M)
    assert sorted(named) == sorted(ultragcn.__all__)


def built(folder):
    """Build the site of a folder."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]  # --quiet would hide warnings, which then do not count
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})


@pytest.mark.slow
def test_the_site_builds_loads_nothing_from_other_hosts_and_fails_where_something_leads_nowhere(tmp_path):
    pytest.importorskip("mkdocs", reason="needs what make docs needs: pip install -r requirements-dev.txt")
    for name in ("docs", "mkdocs.yml", "CHANGELOG.md"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / "src").symlink_to(ROOT / "src")
    done = built(tmp_path)
    assert done.returncode == 0, done.stderr
    api = (tmp_path / "site/api/index.html").read_text(encoding="utf-8")
    assert "recommend_frame" in api
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert re.findall(r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//[^\"]+", text) == [], page
        assert re.findall(r"<link[^>]+rel=\"(?:stylesheet|preconnect|preload)\"[^>]+href=\"(?:https?:)?//[^\"]+", text) == [], page
    index = tmp_path / "docs/index.md"
    whole = index.read_text(encoding="utf-8")
    for wrong, says in (("[gone](gone.md)", "gone.md"), ("[gone](data.md#gone)", "#gone"), ("::: ultragcn.Gone", "ultragcn.Gone")):
        index.write_text(f"{whole}\n{wrong}\n", encoding="utf-8")
        done = built(tmp_path)
        assert done.returncode != 0, wrong
        assert says in done.stdout + done.stderr


def loaded(path):
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_lists_of_benchmarks_and_of_research_are_what_the_scripts_say_of_themselves():
    tree = loaded("docs/tree.py")
    for page, head in tree.PAGES.items():
        assert page.read_text(encoding="utf-8") == tree.scripts(page, head), "run: python docs/tree.py"
        assert "|  |" not in tree.scripts(page, head)


def test_sentences_are_counted_without_code_tables_and_headings():
    counting = loaded("benchmarks/sentences.py")
    text = """# A title is not counted.

Dogs bark, and `this.code()` counts as a word. It is no bird! A [link](x.md)
goes over two lines.

| a table | is not. counted |
|---|---|

    code. is not. counted.

```python
nor = "is. this."
```

* **A lead.** Items are sentences.
* A second one, with nothing to say

1. Three of them.
"""
    found = counting.sentences(text)
    assert found == [
        "Dogs bark, and code counts as a word.", "It is no bird!", "A link goes over two lines.", "Items are sentences.",
        "A second one, with nothing to say", "Three of them.",
    ]  # fmt: skip
    counted = counting.counts(text)
    assert (counted.sentences, counted.long, counted.is_no) == (6, 0, 1)
    assert counted.words == sum(len(sentence.split()) for sentence in found)


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("The model learns from pairs.", True), ("Train it first.", True), ("It lists five items.", True), ("Files were packed.", True),
        ("A table of all lists.", False), ("Figures, each with its day.", False), ("Nothing of it.", False),
    ],
)  # fmt: skip
def test_a_verb_is_known_by_a_list_of_words(sentence, expected):
    assert loaded("benchmarks/sentences.py").has_verb(sentence) is expected


def test_long_sentences_are_those_of_more_than_thirty_words():
    counting = loaded("benchmarks/sentences.py")
    assert [counting.counts(f"{' '.join(['Word'] * number)}.").long for number in (30, 31)] == [0, 1]


def test_every_table_of_our_figures_on_the_page_of_results_says_what_made_it(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    comparison = loaded("benchmarks/comparison.py")
    paragraphs = (ROOT / "docs/results.md").read_text(encoding="utf-8").split("\n\n")
    after = [follows for table, follows in itertools.pairwise(paragraphs) if table.startswith(comparison.MEASURED)]
    assert len(after) > 10
    assert [line for line in after if not comparison.DATED.match(line)] == []


def test_a_table_of_results_without_a_record_gets_the_commit_of_its_last_rows(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    comparison = loaded("benchmarks/comparison.py")
    head = "| model | settings | seeds |\n| --- | --- | --- |\n"
    old, new, own = f"{head}| ease | kept | 1 |\n| ials | kept | 5 |", f"{head}| bpr | kept | 5 |", f"{head}| bpr | given | 5 |"
    recorded = "This table was made by ultragcn 1.0 on 2026-01-01."
    commits = {
        "| ease | kept | 1 |": comparison.Commit(7, "abc1234", "2026-01-03"),
        "| ials | kept | 5 |": comparison.Commit(2, "def5678", "2026-01-02"),
        "| bpr | given | 5 |": comparison.Commit(1, "fed5678", "2026-01-01"),
    }  # fmt: skip
    line = "The last rows of this table came into this page with commit abc1234, on 2026-01-03."
    section = "\n\n".join(["## data", old, new, own, recorded, "| published by others |\n| --- |\n| 1 |"]) + "\n"
    dated = comparison.dated(section, commits)
    assert dated == section.replace(old, f"{old}\n\n{line}")
    assert comparison.dated(dated, commits) == dated
    assert comparison.dated("", commits) == ""
