"""The examples in docstrings are true: each of them runs, and what it prints is what it says."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import ultragcn

NEED_TORCH = ("ultragcn.kernels.torch_ops", "ultragcn.processes.torchrun", "ultragcn.solvers.sgd", "ultragcn.solvers.torch_sweeper")
NEED_TRITON = ("ultragcn.kernels.torch_ops.triton_cells",)


def modules():
    """All modules of the library."""
    found = (module.name for module in pkgutil.walk_packages(ultragcn.__path__, "ultragcn."))
    return [name for name in found if name != "ultragcn.__main__"]


@pytest.mark.parametrize("name", modules())
def test_the_examples_in_docstrings_are_true(name):
    if name.startswith(NEED_TORCH):
        pytest.importorskip("torch")
    if name in NEED_TRITON:
        pytest.importorskip("triton")
    done = doctest.testmod(importlib.import_module(name))
    assert done.failed == 0


VERBS = (
    "fit", "refit", "recommend", "recommend_frame", "recommend_for", "score", "explain", "explain_for", "similar_items", "similar_users",
    "evaluate", "save", "load", "get_params", "set_params", "untrained", "update",
)  # fmt: skip


@pytest.mark.parametrize("model", ["UltraGCN", "EASE"])
def test_every_verb_has_an_example(model):
    for verb in VERBS:
        assert ">>>" in getattr(getattr(ultragcn, model), verb).__doc__, verb


@pytest.mark.parametrize("name", ["compare", "diff", "evaluate", "export"])
def test_every_function_on_a_fitted_model_has_an_example(name):
    assert ">>>" in getattr(ultragcn, name).__doc__


def test_the_python_of_the_page_on_recommending_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[1] / "docs/recommending.md").read_text(encoding="utf-8")
    found = {}
    exec("\n".join(re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)), found)
    assert found["frame"].columns == ["user_id", "rank", "item_id", "score"]
    assert found["items"].shape == (5,)
    assert found["users"].shape == (2, 5)
    assert found["same"].recommend("user-0001")[0].tolist() == found["model"].recommend("user-0001")[0].tolist()
    assert "num_threads=2), fitted on 2,000 users" in repr(found["other"])
