"""Text files beside a model may be edited: they are checked for their form, and what a model answers depends on none of them."""

import json

import pytest

from ultragcn.cli import main

LISTS = ["recommend", "run", "--users", "user-0001", "user-0002", "--top_k", "5"]
NEW = ["recommend", "run", "--items", "Quiet River (jazz)", "--top_k", "5"]
ALIKE = ["similar", "run", "--item", "Quiet River (jazz)", "--top_k", "5"]


@pytest.fixture(scope="module", params=["ultragcn", "ease"])
def run(request, tmp_path_factory):
    """Return a folder with a run in it."""
    folder = tmp_path_factory.mktemp("text")
    own = ["--embedding_dim", "4", "--epochs", "3"] if request.param == "ultragcn" else []
    words = ["train", "--dataset", "demo", "--model", request.param, *own, "--out", str(folder / "run"), "--quiet"]
    assert main(words) == 0
    return folder


@pytest.fixture
def answers(run, monkeypatch, capsys):
    """Return what asks the run for lists, and what it answered as it was written."""
    monkeypatch.chdir(run)

    def ask():
        capsys.readouterr()
        ended = [main(words) for words in (LISTS, NEW, ALIKE)]
        return ended, capsys.readouterr().out

    ended, first = ask()
    assert ended == [0, 0, 0]
    assert len(first.splitlines()) > 15
    return ask, first


def edited(value):
    """Return a value as somebody may have edited it, of the same form."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value} edited"
        case dict():
            return {name: edited(one) for name, one in value.items()}
        case list():
            return [edited(one) for one in value]
    return value


def test_a_folder_of_a_run_has_these_text_files_and_no_other(run):
    texts = sorted(path.name for path in (run / "run").rglob("*") if path.is_file() and path.suffix != ".safetensors")
    assert texts == ["history.tsv", "manifest.json", "metrics.json"]


@pytest.mark.parametrize("name", ["history.tsv", "manifest.json", "metrics.json"])
@pytest.mark.parametrize("change", ["removed", "edited", "emptied"])
def test_whatever_is_done_to_a_text_file_a_list_is_as_before_or_refused_in_one_sentence(run, answers, name, change, capsys):
    ask, first = answers
    path = run / "run" / name
    before = path.read_text()
    try:
        if change == "removed":
            path.unlink()
        elif change == "emptied":
            path.write_text("")
        elif name == "history.tsv":
            path.write_text(before.replace("1", "2"))
        else:
            path.write_text(json.dumps({key: edited(value) for key, value in json.loads(before).items()}))
        ended, now = ask()
        assert now == first
        assert set(ended) <= {0, 2}
        if change == "removed":
            assert ended == [0, 0, 0]
    finally:
        path.write_text(before)


def test_a_manifest_that_says_something_else_of_the_data_does_not_change_what_a_model_is_measured_on(run, monkeypatch, capsys):
    monkeypatch.chdir(run)
    assert main(["evaluate", "run"]) == 0
    figures = capsys.readouterr().out
    path = run / "run" / "manifest.json"
    before = path.read_text()
    about = json.loads(before)
    try:
        for name, value in (("data_hash", "0" * 64), ("split_hash", "0" * 64), ("split_seed", 1), ("protocol", "authors")):
            path.write_text(json.dumps(about | {name: value}))
            status = main(["evaluate", "run"])
            said = capsys.readouterr()
            assert (status, said.out) in ((2, ""), (0, figures)), name
            assert "Traceback" not in said.err
            assert said.err.count("\n") == 1
    finally:
        path.write_text(before)
