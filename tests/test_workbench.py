"""The workbench as its users meet it: commands in a copy of `src/`, so that nothing is written into the repository."""

import datetime
import functools
import gzip
import http.server
import importlib
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from ultragcn.config import Config, configuration_for
from ultragcn.errors import DataError, DownloadError, MissingDependencyError, NumericalError, UltraGCNError, UsageError
from ultragcn.storage import append_row, read_rows

pytest.importorskip("torch", reason="the workbench needs PyTorch")

import torch
from loguru import logger

import data
import models
from arguments import REQUIRED
from main import main, train_and_evaluate
from models.mymodel.eval import Evaluator
from models.mymodel.train import Trainer
from utils import DEFAULT_SEED

SRC = Path(__file__).resolve().parents[1] / "src"


@pytest.fixture(scope="module")
def shared_copy(tmp_path_factory):
    """A copy of the workbench for tests that must not write anything."""
    return copy_of_workbench(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def workbench(tmp_path):
    """A copy of the workbench of one's own."""
    return copy_of_workbench(tmp_path / "repository")


def copy_of_workbench(root):
    for part in (SRC, SRC.parent / "configs"):
        shutil.copytree(part, root / part.name, ignore=shutil.ignore_patterns("__pycache__"))
    return root / "src"


def command(*arguments):
    return [sys.executable, "-m", *arguments]


def environment(**changes):
    clean = {name: value for name, value in os.environ.items() if name != "ULTRAGCN_DATA_DIR"}
    return clean | {"PYTHONDONTWRITEBYTECODE": "1"} | changes


def run(src, *arguments, **changes):
    return subprocess.run(command(*arguments), cwd=src, env=environment(**changes), capture_output=True, text=True, timeout=120)


def files_of(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def metrics_of(stdout):
    return {name: float(value) for name, value in (line.split(":") for line in stdout.splitlines())}


# ---- arguments


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epoch", "3"], "unknown flag '--epoch'; did you mean --epochs?"),
        (["--epoch=3"], "unknown flag '--epoch'; did you mean --epochs?"),
        (["-epochs", "3"], "unknown flag '-epochs'; did you mean --epochs?"),
        (["--epochs", "abc"], "--epochs must be a whole number from 1 to 2147483647, not 'abc'"),
        (["--epochs", "3.0"], "--epochs must be a whole number"),
        (["--epochs", "-3"], "--epochs must be a whole number from 1"),
        (["--epochs=1_0"], "--epochs must be a whole number"),
        (["--epochs", "9" * 5000], "--epochs must be a whole number"),
        (["--batch_size", "0"], "--batch_size must be a whole number from 1"),
        (["--seed", "-2"], "--seed must be a whole number from -1"),
        (["--seed", "1.5"], "--seed must be a whole number"),
        (["--seed", "1,2,3"], "for several seeds run: python -m experiments.exp_seeds --seeds 1,2,3"),
        (["--seeds=1,2"], "main trains once, with one --seed; for several seeds run: python -m experiments.exp_seeds"),
        (["--seeds", "3"], "unknown flag '--seeds'; did you mean --seed?"),
        (["--learning_rate", "nan"], "--learning_rate must be a number above 0 and at most 1e30, not 'nan'"),
        (["--learning_rate", "1e300"], "--learning_rate must be a number above 0 and at most 1e30, not '1e300'"),
        (["--learning_rate", "inf"], "--learning_rate must be a number above 0"),
        (["--learning-rate=0"], "--learning_rate must be a number above 0"),
        (["--learning_rate", "-0.1"], "--learning_rate must be a number above 0"),
        (["--learning_rate", "fast"], "--learning_rate must be a number above 0"),
        (["--epochs"], "--epochs needs a value"),
        (["--epochs", "--seed", "1"], "--epochs needs a value"),
        (["--epochs="], "--epochs needs a value"),
        (["--epochs", "3", "--epochs=3"], "--epochs is given twice"),
        (["--batch_size", "3", "--batch-size", "4"], "--batch_size is given twice"),
        (["mymodel"], "unexpected 'mymodel'"),
        (["--epochs", "3", "4"], "unexpected '4'"),
        (["--"], "unexpected '--'"),
        (["--model", "mymode"], "unknown model 'mymode'; did you mean mymodel?"),
        (["--model", "../models/mymodel"], "unknown model '../models/mymodel'"),
        (["--model", "__pycache__"], "unknown model '__pycache__'"),
        (["--dataset", "nosuch"], "unknown data set of mymodel 'nosuch' (allowed: mnist, digits)"),
        (["--dataset", "digit"], "did you mean digits?"),
        (["--dataset", "electronics"], "unknown data set of mymodel 'electronics'"),
        (["--model", "ultragcn", "--dataset", "electronic"], "did you mean electronics?"),
        (["--model", "ultragcn", "--dataset", "mnist"], "unknown data set 'mnist'"),
        (["--data_dir", "no/such/folder"], "--data_dir must be a folder that can be read (No such file or directory)"),
        (["--data_dir", "main.py"], "--data_dir must be a folder that can be read (Not a directory)"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2_before_anything_is_loaded_or_written(shared_copy, arguments, said):
    before = files_of(shared_copy.parent)
    # A module that cannot be imported in the place of torch: were it loaded, there would be a traceback.
    result = run(shared_copy, "main", *arguments, PYTHONPATH=str(no_torch(shared_copy.parent)))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert files_of(shared_copy.parent) == before


def no_torch(root):
    """A folder for PYTHONPATH whose `torch` fails to load."""
    folder = root.with_name(root.name + "-without-torch")
    folder.mkdir(exist_ok=True)
    (folder / "torch.py").write_text("raise SystemExit('torch was loaded')\n")
    return folder


@pytest.mark.parametrize("program", ["main", "experiments.exp_hyper_param"])
@pytest.mark.parametrize("package", ["fire", "loguru", "torch"])
def test_a_package_that_is_not_installed_is_one_line_that_names_the_requirements(shared_copy, tmp_path, program, package):
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('No module named {package}', name='{package}')\n")
    result = run(shared_copy, program, "--dataset", "digits", PYTHONPATH=str(tmp_path))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"error: {package} is not installed; run pip install -r requirements.txt in the folder above src/\n"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_one_line_and_status_2(shared_copy, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o000)
    result = run(shared_copy, "main", "--data_dir", str(locked))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert "Permission denied" in result.stderr


# What the template promises its users, to the letter.
HELP_OF_THE_TEMPLATE = """\
NAME
    main.py - Handle user arguments of ml-project-template

SYNOPSIS
    main.py <flags>

DESCRIPTION
    Handle user arguments of ml-project-template

FLAGS
    --model=MODEL
        Default: 'mymodel'
        name of model to be trained and tested
    --seed=SEED
        Default: -1
        random_seed (if -1, a default seed is used)
    --batch_size=BATCH_SIZE
        Default: 100
        size of batch
    --epochs=EPOCHS
        Default: 15
        number of training epochs
    --learning_rate=LEARNING_RATE
        Default: 0.001
        learning rate
"""


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--epochs", "3", "--help"], ["--", "--help"], ["--help", "--model", "mymodel"]])
def test_help_begins_with_the_text_of_the_template_to_the_letter_and_goes_on_in_its_form(shared_copy, arguments):
    result = run(shared_copy, "main", *arguments, PYTHONPATH=str(no_torch(shared_copy.parent)), PAGER="false")
    assert (result.returncode, result.stderr) == (0, "")
    promised, lines = HELP_OF_THE_TEMPLATE.splitlines(), result.stdout.splitlines()
    assert lines[: len(promised)] == promised
    more = lines[len(promised) :]
    assert more[::3] == ["    --dataset=DATASET", "    --data_dir=DATA_DIR"]
    assert more[1::3] == ["        Default: None"] * 2
    assert all(meaning.startswith("        ") and len(meaning.split()) > 3 for meaning in more[2::3])


def test_the_help_is_the_docstring_of_main(workbench):
    program = workbench / "main.py"
    text = program.read_text(encoding="utf-8")
    text = text.replace(":param epochs: number of training epochs", ":param epochs: how often\n        all images are seen")
    text = text.replace("data_dir=None, **", 'data_dir=None, colour="red", **')
    text = text.replace("    :param data_dir:", "    :param colour: any colour\n    :param data_dir:")
    program.write_text(text, encoding="utf-8")
    page = run(workbench, "main", "--help").stdout
    assert "        Default: 15\n        how often all images are seen\n" in page
    assert page.endswith("    --colour=COLOUR\n        Default: 'red'\n        any colour\n")


def test_help_names_the_flags_and_the_defaults_of_a_model(workbench):
    train = CONSTANT_MODEL["train"].replace("DEFAULTS", "FLAGS = {'weight_decay': 0.0, 'nesterov': False}\nDEFAULTS")
    add_model(workbench, "constant", **CONSTANT_MODEL | {"train": train})
    page = run(workbench, "main", "--help", "--model", "constant").stdout
    assert page.startswith(HELP_OF_THE_TEMPLATE)
    assert "    --weight_decay=WEIGHT_DECAY\n        Default: 0.0\n        flag of constant\n" in page
    assert "    --nesterov=NESTEROV\n        Default: False\n" in page
    assert page.endswith("NOTES\n    constant has its own defaults: --epochs 7, --batch_size 50\n")
    assert "weight_decay" not in run(workbench, "main", "--help").stdout
    assert "--learning_rate" in run(workbench, "main", "--help", "--model=ultragcn").stdout.split("NOTES")[1]


def test_the_experiment_refuses_the_same_mistakes_and_has_help(shared_copy):
    for arguments, said in (
        (["--epoch", "3"], "did you mean --epochs?"),
        (["--dataset", "digit"], "did you mean digits?"),
        (["--learning_rate", "0.1"], "unknown flag '--learning_rate'"),
        (["--workers", "0"], "--workers must be a whole number from 1"),
    ):
        result = run(shared_copy, "experiments.exp_hyper_param", *arguments, PYTHONPATH=str(no_torch(shared_copy.parent)))
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert said in result.stderr
    result = run(shared_copy, "experiments.exp_hyper_param", "--help")
    assert result.returncode == 0
    assert "    --workers=WORKERS\n        Default: " in result.stdout
    assert not (shared_copy.parent / "plots").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epoch", "3"], "unknown flag '--epoch'; did you mean --epochs?"),
        (["--seed", "3"], "unknown flag '--seed'; did you mean --seeds?"),
        (["--seeds", "1,a"], "--seeds must be whole numbers from 0 to 4294967295 with commas between them, such as 1,2,3, not '1,a'"),
        (["--seeds", "1,,2"], "--seeds must be whole numbers"),
        (["--seeds", "-1"], "--seeds must be whole numbers"),
        (["--seeds", "4294967296"], "--seeds must be whole numbers"),
        (["--seeds"], "--seeds needs a value, such as --seeds 0,1,2"),
        (["--model", "mymode"], "unknown model 'mymode'; did you mean mymodel?"),
        (["--dataset", "digit"], "did you mean digits?"),
    ],
)
def test_the_experiment_over_seeds_refuses_mistakes_before_anything_is_loaded(shared_copy, arguments, said):
    result = run(shared_copy, "experiments.exp_seeds", *arguments, PYTHONPATH=str(no_torch(shared_copy.parent)))
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert said in result.stderr


# ---- training


def test_a_reader_that_has_had_enough_of_the_help_ends_it_quietly(shared_copy):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command("main", "--help"), cwd=shared_copy, env=environment(), **pipes) as running:
        running.stdout.close()
        assert (running.wait(), running.stderr.read()) == (0, b"")


def test_mymodel_learns_the_digits_and_the_same_seed_gives_the_same_result(shared_copy, tmp_path, monkeypatch):
    monkeypatch.setattr("main.TABLE", tmp_path / "main.tsv")
    arguments = ("--dataset", "Digits", "--seed=777", "--epochs", "20", "--learning-rate", "0.01")
    first = run(shared_copy, "main", *arguments)
    assert first.returncode == 0, first.stderr
    # A linear layer separates about 96 % of these digits; 100 % would mean that test images were trained on.
    assert 0.93 <= metrics_of(first.stdout)["accuracy"] <= 0.99
    for said in (
        "model: mymodel",
        "seed: 777",
        "epochs: 20",
        "learning_rate: 0.01",
        "batch_size: 100",
        "100%",
        "loss=",
    ):
        assert said in first.stderr
    values = {"model": "mymodel", "dataset": "digits", "data_dir": None, "seed": 777, "batch_size": 100}
    again = train_and_evaluate(**values, epochs=20, learning_rate=0.01)
    assert again == metrics_of(first.stdout)


def test_main_in_python_takes_the_defaults_of_the_model_and_refuses_what_the_command_refuses(made, tmp_path, monkeypatch):
    monkeypatch.setattr("main.TABLE", tmp_path / "main.tsv")
    name = made(train=("DEFAULTS", "FLAGS = {'depth': 2}\nDEFAULTS")).name
    expected = {"answer": 42.0, "batch_size": 50, "epochs": 7, "learning_rate": 0.001, "seed": 1, "depth": 2, "num_test": 360}
    assert main(model=name, seed=1) == main(name, 1) == main(model=name, seed=1, dataset=None, epochs=None) == expected
    assert main(model=name, seed=1, epochs=3, depth=5) == expected | {"epochs": 3, "depth": 5}
    rows = read_rows(tmp_path / "main.tsv")
    assert [row["dataset"] for row in rows] == ["digits"] * 4
    for wrong, said in (
        ({"epoch": 3}, "did you mean --epochs"),
        ({"epochs": 0}, "--epochs must be"),
        ({"dataset": "mnist"}, "data set of"),
    ):
        with pytest.raises(UsageError, match=said):
            main(model=name, **wrong)
    assert len(read_rows(tmp_path / "main.tsv")) == 4


def test_two_runs_without_a_seed_are_equal_and_say_which_seed_they_used(shared_copy):
    flags = ("--dataset", "digits", "--epochs", "1")
    first, second = (run(shared_copy, "main", *flags) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    (seed,) = re.findall(r"- seed -1 stands for the default seed: (\d+)$", first.stderr, re.M)
    assert f"- seed: {seed}\n" in first.stderr
    given = run(shared_copy, "main", *flags, "--seed", seed)
    assert given.stdout == first.stdout
    assert "default seed" not in given.stderr


def test_two_runs_of_ultragcn_without_a_seed_are_equal(tmp_path, monkeypatch):
    monkeypatch.setattr("main.TABLE", tmp_path / "main.tsv")
    flags = {"model": "ultragcn", "dataset": "demo", "data_dir": None, "batch_size": None, "epochs": 2, "learning_rate": None}
    assert train_and_evaluate(**flags, seed=-1) == train_and_evaluate(**flags, seed=-1)
    assert [row["seed"] for row in read_rows(tmp_path / "main.tsv")] == [str(DEFAULT_SEED)] * 2


def test_another_seed_gives_another_model_and_minus_one_the_default():
    from utils import set_random_seed

    train_data, _ = data.load_data("digits")

    def weights(seed):
        set_random_seed(seed)
        hyper_param = {"batch_size": 100, "epochs": 1, "learning_rate": 0.01, "seed": seed}
        return Trainer(torch.device("cpu")).train_with_hyper_param(train_data, hyper_param).linear.weight.detach()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
    assert torch.equal(weights(-1), weights(DEFAULT_SEED))


def test_mymodel_returns_the_logarithm_of_softmax_probabilities_by_the_formula():
    from models.mymodel.model import MyModel

    model = MyModel(num_pixels=4, num_classes=2)
    with torch.no_grad():
        model.linear.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]]))
        model.linear.bias.copy_(torch.tensor([0.0, 1.0]))
        probabilities = model(torch.tensor([[[[3.0, 2.0], [7.0, 7.0]]]])).exp()
    # W x + b = (3, 2 + 1)
    assert torch.allclose(probabilities, torch.tensor([[0.5, 0.5]]))


def test_accuracy_is_the_fraction_of_right_answers():
    images = torch.eye(3)[:, None, None]
    labels = torch.tensor([0, 1, 1])
    answers_its_input = torch.nn.Flatten()
    result = Evaluator(torch.device("cpu")).evaluate(answers_its_input, torch.utils.data.TensorDataset(images, labels))
    assert result == {"accuracy": pytest.approx(2 / 3)}


def test_training_that_diverges_is_an_error_that_says_what_to_change():
    train_data, _ = data.load_data("digits")
    hyper_param = {"batch_size": 100, "epochs": 2, "learning_rate": 1e37, "seed": 1}
    with pytest.raises(NumericalError, match=r"the loss is (inf|nan) after epoch 1; try a smaller --learning_rate"):
        Trainer(torch.device("cpu")).train_with_hyper_param(train_data, hyper_param)


def test_an_interrupt_is_one_line_and_status_130(shared_copy):
    process = start(shared_copy, "main", "--dataset", "digits", "--epochs", "1000000")
    for line in process.stderr:
        if "learning_rate" in line:
            break
    # Wherever it is by now: still loading libraries, or training.
    time.sleep(random.random() * 2)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=30)
    assert process.returncode == 130
    assert rest.splitlines()[-1] == "interrupted"
    assert "Traceback" not in rest


def start(src, *arguments):
    return subprocess.Popen(
        command(*arguments), cwd=src, env=environment(), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.real_data
def test_mymodel_at_the_default_flags_reaches_about_092_on_mnist(shared_copy, data_dir):
    result = run(shared_copy, "main", "--model", "mymodel", "--seed", "777", ULTRAGCN_DATA_DIR=str(data_dir.resolve()))
    assert result.returncode == 0, result.stderr
    assert 0.90 <= metrics_of(result.stdout)["accuracy"] <= 0.935


def test_ultragcn_plays_the_three_roles_with_the_configuration_of_its_data_set():
    from data import load_data
    from models.ultragcn.eval import Evaluator as UltraGCNEvaluator
    from models.ultragcn.train import Trainer as UltraGCNTrainer

    train_data, test_data = load_data("demo")
    hyper_param = {"batch_size": None, "epochs": 2, "learning_rate": None, "seed": 5}
    try:
        model = UltraGCNTrainer(torch.device("cpu")).train_with_hyper_param(train_data, hyper_param)
    except MissingDependencyError as error:
        pytest.skip(str(error))
    assert (model.config.epochs, model.config.seed) == (2, 5)
    assert model.config.embedding_dim == configuration_for("demo").embedding_dim != Config().embedding_dim
    said = []
    sink = logger.add(said.append, format="{message}")
    drawn = UltraGCNTrainer(torch.device("cpu")).train_with_hyper_param(train_data, hyper_param | {"seed": -1}, verbose=True)
    logger.remove(sink)
    assert f"seed drawn: {drawn.seed_}\n" in said  # with which the run can be repeated
    metrics = UltraGCNEvaluator(torch.device("cpu")).evaluate(model, test_data)
    assert {"recall@20", "ndcg@20"} <= metrics.keys()
    assert 0 <= metrics["recall@20"] <= 1


# ---- the contract of model folders


def add_model(src, name, **files):
    folder = src / "models" / name
    folder.mkdir()
    for file, text in files.items():
        (folder / f"{file}.py").write_text(text)
    return folder


CONSTANT_MODEL = {
    "model": "ANSWER = 42.0\n",
    "train": """
from models.constant.model import ANSWER

DATASETS = ("digits",)
DEFAULTS = {"epochs": 7, "batch_size": 50}


class Trainer:
    def __init__(self, device):
        self.device = device

    def train_with_hyper_param(self, train_data, hyper_param, verbose=False):
        return {"answer": ANSWER, **hyper_param}
""",
    "eval": """
class Evaluator:
    def __init__(self, device):
        self.device = device

    def evaluate(self, model, test_data):
        return {**model, "num_test": len(test_data)}
""",
}


def test_a_new_folder_is_a_new_model_with_its_own_data_set_and_defaults(workbench):
    add_model(workbench, "constant", **CONSTANT_MODEL)
    result = run(workbench, "main", "--model", "constant", "--batch_size", "60")
    assert result.returncode == 0, result.stderr
    metrics = metrics_of(result.stdout)
    assert f"seed: {metrics['seed']:.0f}\n" in result.stderr  # the default seed
    assert metrics.pop("seed") >= 0
    assert metrics == {"answer": 42.0, "batch_size": 60, "epochs": 7, "learning_rate": 0.001, "num_test": 360}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"eval": None}, "has no eval.py"),
        ({"train": "class Trainer:\n    pass\n"}, "has no class Trainer with a method train_with_hyper_param"),
        ({"eval": "evaluate = len\n"}, "has no class Evaluator with a method evaluate"),
        ({"train": CONSTANT_MODEL["train"].replace("self, device", "self")}, "has a Trainer that is not made from a device alone"),
        ({"train": "class Trainer\n"}, "is not Python (line 1"),
        ({"train": "DATASETS = list('ab')\n"}, 'must set DATASETS to a plain tuple of lower-case names or to "recom'),
        ({"train": "DATASETS: tuple = ()\n"}, "must set DATASETS to a plain tuple"),
        ({"train": "DATASETS = ('digits')\n"}, "a tuple of one has a comma: ('digits',)"),
        ({"train": "\nDEFAULTS = {'momentum': 1}\n"}, "train.py, line 2: must set DEFAULTS to a plain dict with keys among batch_size"),
        ({"train": "DEFAULTS = {'epochs': 'many'}\n"}, "a dict in which 'epochs' is a whole number from 1"),
        ({"train": "FLAGS = ['momentum']\n"}, "must set FLAGS to a plain dict of defaults by the names of the flags"),
        ({"train": "FLAGS = {'epochs': 3}\n"}, "a dict without 'epochs', which is a flag of every model"),
        ({"train": "FLAGS = {'weight decay': 3}\n"}, "not 'weight decay'"),
        ({"train": "FLAGS = {'momentum': None}\n"}, "the default of 'momentum' is a number, a text, True or False, not None"),
        ({"train": "FLAGS = {'momentum': 1e99}\n"}, "the default of 'momentum' is a number from -1e30 to 1e30, not 1e+99"),
        ({"eval": "class Evaluator:\n    def evaluate(self)\n"}, "eval.py is not Python (line 2: "),
        ({"model": "ANSWER = (\n"}, "model.py is not Python (line 1: "),
    ],
)
def test_a_folder_that_breaks_the_contract_is_one_line_that_says_how(workbench, changed, said):
    files = {name: text for name, text in (CONSTANT_MODEL | changed).items() if text is not None}
    add_model(workbench, "constant", **files)
    result = run(workbench, "main", "--model", "constant", "--dataset", "digits")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert said in result.stderr


def test_an_evaluator_that_returns_something_else_and_a_name_that_is_none_are_one_line(workbench):
    add_model(workbench, "constant", **CONSTANT_MODEL | {"eval": CONSTANT_MODEL["eval"].replace("{**model,", "{'answer': 'many',")})
    result = run(workbench, "main", "--model", "constant")
    assert (result.returncode, result.stdout) == (2, "")
    said = "eval.py, line 7: evaluate must return a dict of numbers by the names of the metrics, not {'answer': 'many'"
    assert said in result.stderr.splitlines()[-1]
    add_model(workbench, "no-name", **CONSTANT_MODEL)
    result = run(workbench, "main", "--model", "no-name")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "letters, digits and _ alone make a name of a model" in result.stderr


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Make a model folder under a new name, with changes to the texts of the files; return the model."""
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])

    def make(**changes):
        name = f"made_{time.monotonic_ns()}"
        files = {"__init__": "", **CONSTANT_MODEL}
        for file, (old, new) in changes.items():
            assert old in files[file]
            files[file] = files[file].replace(old, new)
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / f"{file}.py").write_text(text.replace("constant", name))
        importlib.invalidate_caches()
        return models.find(name)

    return make


HYPER_PARAM = {"batch_size": 100, "epochs": 1, "learning_rate": 0.01, "seed": 1}
RETURN_MODEL = 'return {"answer": ANSWER, **hyper_param}'
RETURN_METRICS = 'return {**model, "num_test": len(test_data)}'


@pytest.mark.parametrize(
    ("changes", "place", "said"),
    [
        ({"train": (RETURN_MODEL, "self.model = 1")}, "train.py, line 12", "returns None; end it with `return model`"),
        ({"train": (RETURN_MODEL, "return")}, "train.py, line 13", "train_with_hyper_param returns None"),
        ({"train": (RETURN_MODEL, 'return hyper_param["lr"]')}, "train.py, line 13", "hyper_param has no 'lr' (there are batch_size,"),
        ({"train": (RETURN_MODEL, 'return hyper_param["epoch"]')}, "train.py, line 13", "no 'epoch'; did you mean epochs?"),
        ({"train": (RETURN_MODEL, 'return hyper_param["lr"]')}, "train.py, line 13", "FLAGS = {'lr': DEFAULT} in train.py adds a flag"),
        ({"train": (RETURN_MODEL, 'return {}["epochs"]')}, "train.py, line 13", "KeyError in `return {}[\"epochs\"]`: 'epochs'"),
        ({"train": (RETURN_MODEL, "return modle")}, "train.py, line 13", "NameError in `return modle`: name 'modle' is not defined"),
        ({"train": (RETURN_MODEL, "import torch; return torch.ones(2, 3) @ torch.ones(2, 3)")}, "train.py, line 13", "RuntimeError in "),
        ({"train": ("from models", "import torchvisionary\nfrom models")}, "train.py, line 2", "there is no module torchvisionary in"),
        ({"train": ("from models.constant.model", "from model")}, "train.py, line 2", "write `from models.MODEL.model import ...`"),
        ({"train": ("import ANSWER", "import ANSWERS")}, "train.py, line 2", "ImportError in `from models.MODEL.model import ANSWERS`"),
        ({"train": (", verbose=False", "")}, "train.py, line 12", "must have its method as train_with_hyper_param(self, "),
        ({"train": ("self, train_data", "train_data")}, "train.py, line 12", "must have its method as train_with_hyper_param(self, "),
        ({"train": ("self.device = device", "self.device = devise")}, "train.py, line 10", "NameError in `self.device = devise`"),
        ({"train": ("self, device", "self")}, "train.py, line 9", "has a Trainer that is not made from a device alone"),
        ({"eval": (RETURN_METRICS, "len(test_data)")}, "eval.py, line 6", "evaluate returns None; end it with a dict, such as"),
        ({"eval": (RETURN_METRICS, "return 0.5")}, "eval.py, line 7", "must return a dict of numbers by the names of the metrics, not 0.5"),
        ({"eval": (RETURN_METRICS, "return {}")}, "eval.py, line 7", "must return a dict of numbers by the names of the metrics, not {}"),
        ({"eval": (RETURN_METRICS, "import torch; return {'accuracy': torch.tensor(0.5)}")}, "eval.py, line 7",
         "evaluate returns tensor(0.5000) for 'accuracy', which is not a plain number; write .item() behind it"),
        ({"eval": ("model, test_data", "test_data")}, "eval.py, line 6", "must have its method as evaluate(self, model, test_data)"),
        ({"eval": (RETURN_METRICS, "return model.accuracy")}, "eval.py, line 7", "AttributeError in `return model.accuracy`"),
        ({"model": ("42.0", "42.0 / 0"), "eval": ("class", "from models.constant import model\nclass")}, "model.py, line 1",
         "ZeroDivisionError in `ANSWER = 42.0 / 0`, called by train.py, line 2: float division"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_model_folder_is_blamed_on_its_file_and_line(made, changes, place, said):
    model = made(**changes)
    with pytest.raises(UltraGCNError) as caught:
        model.run("digits", None, HYPER_PARAM)
    message = str(caught.value)
    assert message.startswith(str(models.FOLDER / model.name / place))
    assert said.replace("MODEL", model.name) in message
    assert "\n" not in message


def test_a_blamed_mistake_is_one_line_of_the_program_and_with_x_dev_the_whole_traceback(workbench):
    wrong = CONSTANT_MODEL | {"train": CONSTANT_MODEL["train"].replace(RETURN_MODEL, 'return hyper_param["lr"]')}
    add_model(workbench, "constant", **wrong)
    result = run(workbench, "main", "--model", "constant")
    assert (result.returncode, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"error: {workbench / 'models' / 'constant' / 'train.py'}, line 13: hyper_param has no 'lr'")
    arguments = [sys.executable, "-X", "dev", "-W", "ignore", "-m", "main", "--model", "constant"]
    detailed = subprocess.run(arguments, cwd=workbench, env=environment(), capture_output=True, text=True, timeout=120)
    assert detailed.returncode == 2
    assert "Traceback" in detailed.stderr
    assert detailed.stderr.splitlines()[-1] == last


def test_what_the_library_and_a_missing_package_say_is_left_as_it_is(made):
    raised = "from ultragcn.errors import NumericalError; raise NumericalError('the loss is nan')"
    with pytest.raises(NumericalError, match=r"^the loss is nan$"):
        made(train=(RETURN_MODEL, raised)).run("digits", None, HYPER_PARAM)
    with pytest.raises(ModuleNotFoundError, match="gone"):
        made(train=(RETURN_MODEL, "raise ModuleNotFoundError('gone', name='torch')")).run("digits", None, HYPER_PARAM)
    assert models.find(made(eval=("len(test_data)", "0.5")).name).run("digits", None, HYPER_PARAM).metrics["num_test"] == 0.5


FLAGS_MODEL = CONSTANT_MODEL | {
    "train": CONSTANT_MODEL["train"].replace(
        "DEFAULTS", "FLAGS = {'weight_decay': 0.0, 'layers': 2, 'kind': 'plain', 'nesterov': False}\nDEFAULTS"
    ),
    "eval": CONSTANT_MODEL["eval"].replace(RETURN_METRICS, "model['kind'] = len(model['kind'])\n        return model"),
}


def test_flags_of_a_model_reach_its_trainer_with_their_types(workbench):
    add_model(workbench, "constant", **FLAGS_MODEL)
    result = run(workbench, "main", "--model", "constant", "--weight_decay", "-1", "--kind=7 of it", "--nesterov", "TRUE")
    assert result.returncode == 0, result.stderr
    shown = {name: value.strip() for name, value in (line.split(":") for line in result.stdout.splitlines())}
    assert shown.items() >= {"weight_decay": "-1.0", "layers": "2", "kind": "7", "nesterov": "true"}.items()
    assert "- weight_decay: -1.0\n" in result.stderr
    (row,) = read_rows(workbench.parent / "plots" / "main.tsv")
    assert json.loads(row["flags"]).items() >= {"weight_decay": -1.0, "layers": 2, "kind": "7 of it", "nesterov": True}.items()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "constant", "--weight_decay", "much"], "--weight_decay must be a number from -1e30 to 1e30, not 'much'"),
        (["--weight-decay=nan", "--model=constant"], "--weight_decay must be a number from -1e30 to 1e30, not 'nan'"),
        (["--model", "constant", "--layers", "1.5"], "--layers must be a whole number from -2147483648 to 2147483647, not '1.5'"),
        (["--model", "constant", "--nesterov", "1"], "--nesterov must be true or false, not '1'"),
        (["--model", "constant", "--weight_decy", "1"], "unknown flag '--weight_decy'; did you mean --weight_decay?"),
        (["--model", "constant", "--layers", "1", "--layers", "2"], "--layers is given twice"),
        (["--model", "mymodel", "--weight_decay", "1"], "unknown flag '--weight_decay'"),
        (["--weight_decay", "1"], "unknown flag '--weight_decay'"),
    ],
)
def test_flags_of_a_model_are_checked_as_strictly_as_the_others(workbench, arguments, said):
    add_model(workbench, "constant", **FLAGS_MODEL)
    result = run(workbench, "main", *arguments, PYTHONPATH=str(no_torch(workbench.parent)))
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert said in result.stderr


# ---- the table of runs


def test_runs_side_by_side_leave_a_line_each_under_one_header(workbench):
    add_model(workbench, "constant", **CONSTANT_MODEL)
    running = [start(workbench, "main", "--model", "constant", "--seed", str(seed)) for seed in range(3)]
    said = [process.communicate(timeout=120) for process in running]
    for process, (stdout, stderr) in zip(running, said, strict=True):
        assert process.returncode == 0, stderr
        assert metrics_of(stdout)["answer"] == 42.0
    table = workbench.parent / "plots" / "main.tsv"
    for _, stderr in said:
        assert stderr.splitlines()[-1].endswith(f"- {table} has a line for this run")
    assert table.read_text().count("time\tmodel\tdataset\tseed\tflags\tmetrics\tseconds\n") == 1
    rows = read_rows(table)
    assert sorted(row["seed"] for row in rows) == ["0", "1", "2"]
    for row in rows:
        assert abs(datetime.datetime.fromisoformat(row["time"]).timestamp() - time.time()) < 600
        assert (row["model"], row["dataset"]) == ("constant", "digits")
        assert json.loads(row["flags"]) == {"data_dir": None, "batch_size": 50, "epochs": 7, "learning_rate": 0.001}
        assert json.loads(row["metrics"])["num_test"] == 360
        assert 0 <= float(row["seconds"]) < 60


def test_a_table_that_cannot_be_written_takes_no_result_away(workbench):
    add_model(workbench, "constant", **CONSTANT_MODEL)
    (workbench.parent / "plots").mkdir()
    (workbench.parent / "plots" / "main.tsv").write_text("mine\n")
    result = run(workbench, "main", "--model", "constant")
    assert (result.returncode, metrics_of(result.stdout)["answer"]) == (0, 42.0)
    assert "the table of runs has no line for this run" in result.stderr.splitlines()[-1]
    assert (workbench.parent / "plots" / "main.tsv").read_text() == "mine\n"


# ---- the run button of an IDE: a file's path, from wherever the IDE stands


@pytest.mark.parametrize("program", ["main.py", "experiments/exp_hyper_param.py", "experiments/exp_sweep_mymodel.py"])
def test_the_run_button_works_from_any_folder(workbench, tmp_path, program):
    if program == "main.py":
        arguments = ["--dataset", "digits", "--epochs", "1"]
    elif program.endswith("exp_hyper_param.py"):
        arguments = ["--dataset", "digits", "--epochs", "1", "--workers", "1"]
    else:
        arguments = ["--jobs", "1"]
        script = workbench / program
        script.write_text(script.read_text().replace("trials=12, seeds=(0, 1)", "trials=1, seeds=(0,)"))
    result = pressed(workbench / program, tmp_path, *arguments)
    assert result.returncode == 0, result.stderr
    left = {"main.py": "main.tsv", "experiments/exp_hyper_param.py": "exp_hyper_param.tsv"}.get(program, "exp_sweep_mymodel/results.tsv")
    assert read_rows(workbench.parent / "plots" / left)


def pressed(file, folder, *arguments):
    clean = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    return subprocess.run([sys.executable, str(file), *arguments], cwd=folder, env=clean, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("script", sorted(path.name for path in (SRC / "experiments").glob("[!_]*.py")))
def test_every_script_finds_the_workbench_when_it_is_run_by_its_path(shared_copy, tmp_path, script):
    result = pressed(shared_copy / "experiments" / script, tmp_path, "--help")
    if script == "ultragcn_study.py":  # what scripts share
        assert result.returncode == 2
        assert "is not an experiment; run one of those that use it: exp_embedding_dim.py" in result.stderr
    else:
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith(f"NAME\n    {script} - ")


@pytest.mark.parametrize("program", ["main.py", "experiments/exp_hyper_param.py"])
def test_without_a_flag_a_program_does_what_its_defaults_say(workbench, tmp_path, program):
    write(tmp_path / "data" / "mnist", tiny_mnist()[1])
    words = [sys.executable, str(workbench / program)]
    given = environment(ULTRAGCN_DATA_DIR=str(tmp_path / "data"))
    result = subprocess.run(words, cwd=tmp_path, env=given, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert len(read_rows(workbench.parent / "plots" / f"{Path(program).stem}.tsv")) == (1 if program == "main.py" else 5)


def test_main_runs_by_a_relative_path_as_well(shared_copy):
    result = pressed(Path("src", "main.py"), shared_copy.parent, "--help")
    assert result.stdout.startswith(HELP_OF_THE_TEMPLATE)


# ---- the requirements


def test_the_message_about_missing_packages_knows_what_the_requirements_bring():
    lines = (SRC.parent / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = {re.split(r"[=<>~\[ ]", line)[0] for line in lines if line and not line.startswith("#")}
    assert {"sklearn" if name == "scikit-learn" else name.replace("-", "_") for name in names} == set(REQUIRED)


def test_the_models_of_the_repository_keep_to_the_contract():
    for name in models.names():
        trainer_class, evaluator_class = models.find(name).load()
        assert trainer_class.__name__ == "Trainer"
        assert evaluator_class.__name__ == "Evaluator"


# ---- the experiment


def test_the_experiment_writes_a_line_for_each_learning_rate(workbench):
    result = run(workbench, "experiments.exp_hyper_param", "--dataset", "digits", "--epochs", "1", "--seed", "3")
    assert result.returncode == 0, result.stderr
    table = workbench.parent / "plots" / "exp_hyper_param.tsv"
    *said, place = result.stdout.splitlines()
    assert place == str(table)
    rows = read_rows(table)
    assert sorted(float(row["learning_rate"]) for row in rows) == [0.00001, 0.0001, 0.001, 0.01, 0.1]
    accuracy = {float(row["learning_rate"]): float(row["valid_accuracy"]) for row in rows}
    assert accuracy[0.1] > accuracy[0.001]
    # Chosen on validation images; what stands beside it as the figure of test is what main prints with that learning rate.
    found = metrics_of("\n".join(said))
    assert found["valid_accuracy"] == pytest.approx(max(accuracy.values()), abs=5e-5)
    assert accuracy[found["learning_rate"]] == max(accuracy.values())
    alone = run(workbench, "main", "--dataset", "digits", "--epochs", "1", "--seed", "3", "--learning_rate", str(found["learning_rate"]))
    assert metrics_of(alone.stdout)["accuracy"] == pytest.approx(found["test_accuracy"], abs=5e-5)
    for row in rows:
        assert row.items() >= {"dataset": "digits", "epochs": "1", "batch_size": "100", "seed": "3"}.items()
        assert math.isfinite(float(row["seconds"]))


def test_what_is_chosen_on_validation_images_learns_from_the_others_and_is_not_shown_test_images(made):
    model = made(train=(RETURN_MODEL, 'return {"answer": 1.0, "num_train": len(train_data)}'))
    whole, test = data.load_digits()
    learned_from, held_out = data.hold_out(whole)
    assert (len(learned_from), len(held_out), len(test)) == (1149, 288, 360)
    assert torch.equal(torch.cat([learned_from.tensors[0], held_out.tensors[0]]), whole.tensors[0])
    assert {on: model.run("digits", None, HYPER_PARAM, on=on).metrics for on in ("valid", "test")} == {
        "valid": {"answer": 1.0, "num_train": 1149, "num_test": 288},
        "test": {"answer": 1.0, "num_train": 1437, "num_test": 360},
    }


def test_the_experiment_over_seeds_prints_mean_and_deviation_of_the_runs_of_main_and_draws_them(workbench):
    flags = ("--dataset", "digits", "--epochs", "1", "--learning_rate", "0.01")
    result = run(workbench, "experiments.exp_seeds", *flags, "--seeds", "3,1,3")
    assert result.returncode == 0, result.stderr
    plots = workbench.parent / "plots"
    figure, table, image = result.stdout.splitlines()
    assert [table, image] == [str(plots / "exp_seeds.tsv"), str(plots / "exp_seeds-mymodel-digits.png")]
    assert Path(image).read_bytes().startswith(b"\x89PNG")
    alone = [metrics_of(run(workbench, "main", *flags, "--seed", seed).stdout)["accuracy"] for seed in ("3", "1")]
    assert alone[0] != alone[1]
    assert figure == f"accuracy: {np.mean(alone):.4f} ± {np.std(alone, ddof=1):.4f} (2 seeds)"
    rows = read_rows(Path(table))
    assert sorted((row["model"], row["dataset"], row["seed"]) for row in rows) == [("mymodel", "digits", "1"), ("mymodel", "digits", "3")]
    assert json.loads(rows[0]["flags"]) == {"data_dir": None, "batch_size": 100, "epochs": 1, "learning_rate": 0.01}


SLOW_MODEL = CONSTANT_MODEL | {
    "train": CONSTANT_MODEL["train"].replace(
        RETURN_MODEL, "import time; time.sleep(0.3 * hyper_param['depth']); " + RETURN_MODEL
    ).replace("DEFAULTS", "FLAGS = {'depth': 1}\nDEFAULTS")
}  # fmt: skip


def test_the_experiment_over_seeds_goes_on_after_a_kill_with_any_model_and_starts_anew_when_its_code_changes(workbench):
    folder = add_model(workbench, "constant", **SLOW_MODEL)
    table = workbench.parent / "plots" / "exp_seeds.tsv"
    flags = ("experiments.exp_seeds", "--model", "constant", "--depth", "2", "--seeds", "5,6,7,8", "--workers", "1")
    process = start(workbench, *flags)
    while not table.exists() or len(table.read_bytes().splitlines()) < 2:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    process.kill()
    process.communicate(timeout=20)  # the worker ends with its parent
    before = read_rows(table)
    assert 1 <= len(before) < 4
    result = run(workbench, *flags)
    assert result.returncode == 0, result.stderr
    rows = read_rows(table)
    assert rows[: len(before)] == before
    assert sorted(row["seed"] for row in rows) == ["5", "6", "7", "8"]
    assert "seed: 6.5000 ± 1.2910 (4 seeds)" in result.stdout
    assert "epochs: 7.0000 ± 0.0000 (4 seeds)" in result.stdout  # the model's own default
    (folder / "model.py").write_text("ANSWER = 43.0\n")
    again = run(workbench, *flags[:-3], "5", "--workers", "1")
    assert "answer: 43.0000 (1 seed)" in again.stdout
    assert len(read_rows(table)) == 5


def test_killing_the_experiment_leaves_every_finished_line_whole_and_no_process(workbench):
    table = workbench.parent / "plots" / "exp_hyper_param.tsv"
    whole = []
    for lines_to_wait_for in (2, 1):
        process = start(workbench, "experiments.exp_hyper_param", "--dataset", "digits", "--epochs", "100", "--workers", "1")
        while not table.exists() or len(table.read_bytes().splitlines()) < 1 + len(whole) + lines_to_wait_for:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.005)
        time.sleep(random.random() * 0.5)
        process.kill()
        # The pipes close when the last process that holds them has ended: the worker ends with its parent.
        process.communicate(timeout=20)
        text = table.read_text()
        assert text.endswith("\n")
        lines = text.splitlines()
        assert {line.count("\t") for line in lines} == {6}
        assert lines[1 : 1 + len(whole)] == whole
        whole = lines[1:]
        assert len(read_rows(table)) == len(whole)


@pytest.mark.parametrize("whole", ["", "a\tsquare\n", "a\tsquare\n1\t100\n"])
@pytest.mark.parametrize("torn", ["a\tsq", "2\t40", "2"])
def test_half_a_line_is_cut_off_before_the_next_row(tmp_path, whole, torn):
    table = tmp_path / "table.tsv"
    table.write_text(whole + torn)
    if not whole and torn != "a\tsq":  # no beginning of such a table: left alone
        with pytest.raises(UltraGCNError, match="move that file away"):
            append_row(table, {"a": 3, "square": 900})
        assert table.read_text() == torn
        return
    append_row(table, {"a": 3, "square": 900})
    assert table.read_text() == (whole or "a\tsquare\n") + "3\t900\n"


def test_rows_appended_without_pause_are_whole_however_often_the_writer_is_killed(tmp_path):
    table = tmp_path / "table.tsv"
    program = (
        "import itertools, sys; from pathlib import Path; from ultragcn.storage import append_row\n"
        "for n in itertools.count(): append_row(Path(sys.argv[1]), {'n': n, 'text': 'x' * 100, 'square': n * n})"
    )
    for _ in range(6):
        written = table.stat().st_size if table.exists() else 0
        process = subprocess.Popen([sys.executable, "-c", program, str(table)], cwd=SRC, env=environment())
        while not table.exists() or table.stat().st_size == written:
            time.sleep(0.001)
        time.sleep(random.random() * 0.05)
        process.kill()
        process.wait()
        rows = read_rows(table)
        assert len(rows) == table.read_bytes().count(b"\n") - 1  # the header aside
        for row in rows:
            assert int(row["square"]) == int(row["n"]) ** 2
            assert row["text"] == "x" * 100


# ---- data


def idx(array, magic=None):
    array = np.asarray(array, dtype=np.uint8)
    sizes = np.array(array.shape, dtype=">u4").tobytes()
    return (magic or bytes([0, 0, 8, array.ndim])) + sizes + array.tobytes()


def tiny_mnist():
    """Three train and two test images, as the contents of the four files."""
    images = np.arange(5 * 28 * 28).reshape(5, 28, 28) % 256
    contents = (idx(images[:3]), idx([3, 1, 9]), idx(images[3:]), idx([0, 7]))
    return images, dict(zip(data.MNIST_FILES, contents, strict=True))


def write(folder, contents, gzipped=False):
    folder.mkdir(parents=True)
    for name, content in contents.items():
        path = folder / (f"{name}.gz" if gzipped else name)
        path.write_bytes(gzip.compress(content) if gzipped else content)


@pytest.fixture
def empty_data_folders(tmp_path, monkeypatch):
    """No MNIST anywhere, and nothing that could be downloaded."""
    monkeypatch.setattr(data, "DATASETS", tmp_path / "datasets")
    monkeypatch.setattr(data, "MNIST_URL", "http://127.0.0.1:9/mnist/")
    monkeypatch.delenv("ULTRAGCN_DATA_DIR", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("subfolder", ["MNIST", "mnist", "MNIST/raw", "."])
def test_mnist_files_at_hand_are_read_as_they_are(empty_data_folders, subfolder, gzipped):
    images, contents = tiny_mnist()
    home = empty_data_folders / "mine" / "data"
    write(home / subfolder, contents, gzipped)
    before = files_of(empty_data_folders)
    train_data, test_data = data.load_data("mnist", home)
    assert files_of(empty_data_folders) == before
    train_images, train_labels = train_data.tensors
    assert (train_images.shape, train_images.dtype) == ((3, 1, 28, 28), torch.float32)
    assert torch.equal(train_images[:, 0], torch.from_numpy(images[:3].astype(np.float32) / 255))
    assert torch.equal(train_labels, torch.tensor([3, 1, 9]))
    assert torch.equal(test_data.tensors[1], torch.tensor([0, 7]))
    assert (len(train_data), len(test_data)) == (3, 2)


def test_the_data_folders_are_searched_in_order(empty_data_folders, monkeypatch):
    folders = [empty_data_folders / name for name in ("given", "environment", "datasets")]
    monkeypatch.setenv("ULTRAGCN_DATA_DIR", str(folders[1]))
    _, contents = tiny_mnist()
    for label, folder in reversed(list(enumerate(folders))):
        write(folder / "MNIST", contents | {"t10k-labels-idx1-ubyte": idx([label, label])})
        assert data.load_data("mnist", folders[0])[1].tensors[1].tolist() == [label, label]


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("train-images-idx3-ubyte", b"", "is not an idx file of bytes in 3 dimensions"),
        ("train-images-idx3-ubyte", b"<html>not found</html>", "is not an idx file of bytes in 3 dimensions"),
        ("train-images-idx3-ubyte", idx(np.zeros((3, 28, 28)))[:-1], "2367 bytes, where its header announces 2368"),
        ("train-images-idx3-ubyte", idx(np.zeros((3, 28, 28))) + b"x", "is damaged"),
        ("train-images-idx3-ubyte", bytes([0, 0, 8, 3]) + b"\xff" * 12, "is damaged"),
        ("train-images-idx3-ubyte", idx(np.zeros((3, 28, 28)), magic=bytes([0, 0, 13, 3])), "is not an idx file"),
        ("train-images-idx3-ubyte", idx(np.zeros((3, 8, 8))), "has images of 8 x 8 pixels; MNIST has 28 x 28"),
        ("train-images-idx3-ubyte", gzip.compress(idx(np.zeros((3, 28, 28))))[:-9], "cannot read"),
        ("train-images-idx3-ubyte", b"\x1f\x8bnot gzip", "cannot read"),
        ("train-labels-idx1-ubyte", idx([1, 2]), "has 3 images, but"),
        ("train-labels-idx1-ubyte", idx([1, 2, 10]), "has the label 10; MNIST has 0 to 9"),
        ("train-labels-idx1-ubyte", idx(np.zeros((3, 28, 28))), "is not an idx file of bytes in 1 dimensions"),
    ],
)  # fmt: skip
def test_a_broken_mnist_file_is_named(empty_data_folders, file, content, said):
    _, contents = tiny_mnist()
    write(empty_data_folders / "MNIST", contents | {file: content})
    with pytest.raises(DataError, match=file) as caught:
        data.load_data("mnist", empty_data_folders)
    assert said in str(caught.value)


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def mnist_server(empty_data_folders, monkeypatch):
    """A server with a tiny MNIST."""
    _, contents = tiny_mnist()
    served = empty_data_folders / "served"
    write(served, contents, gzipped=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_QuietHandler, directory=str(served)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(data, "MNIST_URL", f"http://127.0.0.1:{server.server_port}/")
    hashes = {name: sha256((served / f"{name}.gz").read_bytes()).hexdigest() for name in contents}
    monkeypatch.setattr(data, "MNIST_FILES", hashes)
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("place", ["default", "environment", "given"])
def test_mnist_is_downloaded_once_with_a_progress_bar(mnist_server, empty_data_folders, place, monkeypatch, capsys):
    folder = empty_data_folders / ("datasets" if place == "default" else "elsewhere")
    if place == "environment":
        monkeypatch.setenv("ULTRAGCN_DATA_DIR", str(folder))
    given = folder if place == "given" else None
    first = data.load_data("mnist", given)
    assert sorted(os.listdir(folder)) == ["MNIST"]
    assert sorted(os.listdir(folder / "MNIST")) == sorted(f"{name}.gz" for name in data.MNIST_FILES)
    assert "train-images-idx3-ubyte.gz: 100%" in capsys.readouterr().err
    shutil.rmtree(mnist_server)
    again = data.load_data("mnist", given)
    assert all(map(torch.equal, first[0].tensors, again[0].tensors))


def test_offline_one_sentence_names_the_digits_and_the_place_for_the_files(empty_data_folders):
    with pytest.raises(DownloadError) as caught:
        data.load_data("mnist")
    message = str(caught.value)
    assert "\n" not in message
    assert "--dataset digits" in message
    assert "--data_dir or ULTRAGCN_DATA_DIR" in message
    assert str(empty_data_folders / "datasets" / "MNIST") in message
    for name in data.MNIST_FILES:
        assert f"{name}.gz" in message


def test_the_digits_are_split_the_same_way_every_time_with_all_classes_in_both_parts():
    (train_data, test_data), again = data.load_data("digits"), data.load_data("digits")
    assert (len(train_data), len(test_data)) == (1437, 360)
    for part, same in zip((train_data, test_data), again, strict=True):
        images, labels = part.tensors
        assert (images.shape[1:], images.dtype, labels.dtype) == ((1, 8, 8), torch.float32, torch.int64)
        assert (images.min(), images.max()) == (0, 1)
        assert len(labels.unique()) == 10
        assert torch.equal(images, same.tensors[0])


def test_a_sweep_whose_trials_all_fail_says_why_and_ends_with_an_error(workbench, tmp_path):
    model = workbench / "models" / "mymodel" / "train.py"
    model.write_text(
        model.read_text()
        + "\n\ndef broken(*given, **more):\n    raise ValueError('nothing fits')\n\n\nTrainer.train_with_hyper_param = broken\n"
    )
    script = workbench / "experiments" / "exp_sweep_mymodel.py"
    script.write_text(script.read_text().replace("trials=12, seeds=(0, 1)", "trials=1, seeds=(0,)"))
    result = pressed(script, tmp_path, "--jobs", "1")
    assert result.returncode == 1
    assert "no trial is done (" in result.stderr
    assert "nothing fits" in result.stderr
