"""What a manifest records is true wherever the package lies."""

import json
import os
import shutil
import subprocess
from types import SimpleNamespace

import pytest

import ultragcn
from ultragcn import Popularity, load_dataset
from ultragcn.cli import main
from ultragcn.experiments.runs import manifest
from ultragcn.experiments.runs.train import train_run

GIT = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
OWN = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def git(folder, *words):
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *who, "-C", str(folder), *words], check=True, capture_output=True, text=True, env=OWN).stdout.strip()


def package(folder):
    (folder / "ultragcn").mkdir(parents=True)
    (folder / "ultragcn/__init__.py").write_text("")


def commit(folder):
    """Make a repository of what is in a folder; return its commit."""
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "all")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def lies_in(monkeypatch):
    """Return what lets the package lie in a folder."""
    return lambda folder: monkeypatch.setattr(ultragcn, "__file__", str(folder / "ultragcn/__init__.py"))


@GIT
def test_the_commit_is_that_of_the_clone_and_says_whether_something_was_changed(tmp_path, lies_in):
    package(tmp_path / "src")
    (tmp_path / "README.md").write_text("a")
    made = commit(tmp_path)
    lies_in(tmp_path / "src")
    assert manifest.git_commit() == made
    (tmp_path / "notes.txt").write_text("beside the package, and of no matter")
    assert manifest.git_commit() == made
    (tmp_path / "src/ultragcn/more.py").write_text("")
    assert manifest.git_commit() == made + "+"
    (tmp_path / "src/ultragcn/more.py").unlink()
    (tmp_path / "README.md").write_text("b")
    assert manifest.git_commit() == made + "+"


@GIT
@pytest.mark.parametrize("ignored", [False, True])
def test_the_commit_of_a_repository_in_which_the_package_is_installed_is_not_recorded(tmp_path, lies_in, ignored):
    (tmp_path / "theirs.py").write_text("")
    if ignored:
        (tmp_path / ".gitignore").write_text(".venv\n")
    commit(tmp_path)
    package(tmp_path / ".venv/lib/site-packages")
    lies_in(tmp_path / ".venv/lib/site-packages")
    assert manifest.git_commit() is None


@GIT
def test_the_commit_of_a_clone_inside_another_repository_is_its_own(tmp_path, lies_in):
    (tmp_path / "theirs.py").write_text("")
    outer = commit(tmp_path)
    package(tmp_path / "ours/src")
    inner = commit(tmp_path / "ours")
    lies_in(tmp_path / "ours/src")
    assert manifest.git_commit() == inner != outer


@GIT
def test_variables_of_git_that_name_another_repository_change_nothing(tmp_path, lies_in, monkeypatch):
    (tmp_path / "other").mkdir()
    commit(tmp_path / "other")
    package(tmp_path / "ours")
    made = commit(tmp_path / "ours")
    lies_in(tmp_path / "ours")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other/.git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    assert manifest.git_commit() == made


def test_outside_a_repository_and_without_git_there_is_no_commit(tmp_path, lies_in, monkeypatch):
    package(tmp_path)
    lies_in(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert manifest.git_commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert manifest.git_commit() is None


def test_versions_are_those_of_what_is_loaded(monkeypatch):
    monkeypatch.setitem(manifest.sys.modules, "torch", SimpleNamespace(__version__="9.8.7+local"))
    assert manifest.versions()["torch"] == "9.8.7+local"
    assert manifest.versions()["ultragcn"] == ultragcn.__version__


def test_paths_are_absolute_and_the_command_has_the_folder_in_which_it_was_given(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "work").mkdir()
    lines = "".join(f"u{number % 10},i{number * 7 % 13},{number}\n" for number in range(100))
    (tmp_path / "data/log.csv").write_text("user,item,time\n" + lines)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(manifest.sys, "argv", ["ultragcn", "train", "--dataset", "../data/log.csv"])
    assert main(["train", "--dataset", "../data/log.csv", "--model", "popularity", "--out", "run", "--quiet"]) == 0
    about = json.loads((tmp_path / "work/run/manifest.json").read_text())
    assert about["data_source"] == str((tmp_path / "data/log.csv").resolve())
    assert (about["folder"], about["command"]) == (str((tmp_path / "work").resolve()), manifest.sys.argv)
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "work/run"]) in (0, 2)
    assert manifest.load_run_data(about, None).hash == about["data_hash"]


def test_data_that_are_made_on_the_spot_have_a_name_and_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train_run(load_dataset("demo"), Popularity(), tmp_path / "run")
    about = json.loads((tmp_path / "run/manifest.json").read_text())
    assert (about["dataset"], about["data_source"], about["data_dir"]) == ("demo", "demo", None)
