"""The models of the workbench, one folder each. `main.py` finds a model by its folder's name and knows none by heart.

A folder `src/models/<name>/` has three files:

`model.py`
    The model itself, in any form.
`train.py`
    A class `Trainer` with `__init__(self, device)` and
    `train_with_hyper_param(self, train_data, hyper_param, verbose=False)`, which returns the trained model.
    `hyper_param` is a dict with `batch_size`, `epochs`, `learning_rate`, `seed` and the flags of the model's own;
    `verbose` asks for progress bars.
`eval.py`
    A class `Evaluator` with `__init__(self, device)` and `evaluate(self, model, test_data)`, which returns a dict
    {name of the metric: number}.

`train.py` may also say, as plain constants (they are read without running the file: loading torch takes seconds):

`DATASETS`
    Which data sets of `data.py` the model learns from, the default first: `DATASETS = ("mnist", "digits")`, which is
    also what a model without this line gets. `DATASETS = "recommendation"` means every data set that the library knows,
    and any folder in its format. `train_data` and `test_data` are what `data.load_data` returns for that data set.
`DEFAULTS`
    Its own defaults for flags of `main.py`: `DEFAULTS = {"epochs": 50}`.
`FLAGS`
    Flags of its own, with their defaults: `FLAGS = {"weight_decay": 0.0}` makes `--weight_decay 0.01` a flag of `main.py`
    for this model, and `hyper_param["weight_decay"]` its value. A default is a number, a text, True or False, and the
    flag takes what is like it.

A mistake in these files is one sentence that names the file and the line. `python -X dev -m main ...` shows the whole
traceback as well.
"""

import ast
import contextlib
import importlib
import inspect
import linecache
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

from arguments import READERS, REQUIRED, Flag, reader_like
from ultragcn.errors import UltraGCNError, UsageError, did_you_mean, unknown_name

FOLDER = Path(__file__).resolve().parent
FILES = ("model.py", "train.py", "eval.py")
IMAGES = ("mnist", "digits")
RECOMMENDATION = "recommendation"
HYPER_PARAMETERS = ("batch_size", "epochs", "learning_rate", "seed")
CONSTANTS = ("DATASETS", "DEFAULTS", "FLAGS")
TRAIN = ("train", "Trainer", "train_with_hyper_param")
EVALUATE = ("eval", "Evaluator", "evaluate")
# How the workbench calls these methods.
_CALLS = {"train_with_hyper_param": "(self, train_data, hyper_param, verbose=False)", "evaluate": "(self, model, test_data)"}


class HyperParam(dict):
    """What a trainer gets as `hyper_param`: a dict that says which key is missing."""

    def __missing__(self, key: object) -> Any:
        raise MissingHyperParamError(key, list(self))


class MissingHyperParamError(KeyError):
    """The model's code looks for a key that `hyper_param` does not have: the key, and the keys that there are."""


class Result(NamedTuple):
    """What a run gives."""

    metrics: dict[str, float]
    seconds: float
    """Of training alone."""


@dataclass(frozen=True)
class Model:
    """What is known of a model before it is loaded, and how it is run."""

    name: str
    datasets: tuple[str, ...] | str
    defaults: Mapping[str, Any]
    flags: tuple[Flag, ...]
    """Flags of its own."""

    @property
    def notes(self) -> str:
        """What `--help` says besides the flags."""
        own = [f"--{name} {value}" for name, value in self.defaults.items() if value is not None]
        left = [f"--{name}" for name, value in self.defaults.items() if value is None]
        lines = [f"{self.name} has its own defaults: {', '.join(own)}"] if own else []
        return "\n".join([*lines, f"{self.name} chooses where they are not given: {', '.join(left)}"] if left else lines)

    def dataset(self, given: str | None) -> str:
        """Return the data set to use when the user asks for `given` (None: the model's default)."""
        if self.datasets == RECOMMENDATION:
            return _recommendation_dataset(given)
        chosen = self.datasets[0] if given is None else given.lower()
        if chosen not in self.datasets:
            raise unknown_name(f"data set of {self.name}", chosen, self.datasets)
        return chosen

    def values(self, flags: Iterable[Flag], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of `flags` and of the model's own: as given, else the model's default, else the flag's."""
        names = {flag.name: flag.default for flag in (*flags, *self.flags)}
        return {**names, **{name: value for name, value in self.defaults.items() if name in names}, **given}

    def load(self) -> tuple[type, type]:
        """Import the model's code and return its `Trainer` and `Evaluator`."""
        return self._class_of(*TRAIN), self._class_of(*EVALUATE)

    def run(
        self, dataset: str, data_dir: str | None, hyper_param: Mapping[str, Any], verbose: bool = False, on: str = "test"
    ) -> Result:  # fmt: skip
        """Load a data set, train with `hyper_param` (its seed fixes everything random), and evaluate.

        The metrics are those of the test part. With `on="valid"` they are those of a fifth of the train images, from which the model
        then does not learn, and the test part is not looked at.
        """
        from data import hold_out, load_data  # these load torch, which takes seconds
        from utils import choose_device, set_random_seed

        device = choose_device()
        set_random_seed(hyper_param["seed"])
        train_data, measured_on = load_data(dataset, data_dir)
        if on == "valid":
            train_data, measured_on = hold_out(train_data)
        started = time.perf_counter()
        trained = self.train(device, train_data, hyper_param, verbose)
        seconds = time.perf_counter() - started
        return Result(self.evaluate(device, trained, measured_on), seconds)

    def train(self, device: Any, train_data: Any, hyper_param: Mapping[str, Any], verbose: bool = False) -> Any:
        """Return what the model's `Trainer` makes of the data.

        Raises
        ------
        UltraGCNError
            The model's code has a mistake; the message names the file and the line.
        """
        trainer_class = self._class_of(*TRAIN)
        with self._blaming(*TRAIN):
            trained = trainer_class(device).train_with_hyper_param(train_data, HyperParam(hyper_param), verbose=verbose)
        if trained is None:
            raise self._broken_by(*TRAIN, "train_with_hyper_param returns None; end it with `return model`", at_return=True)
        return trained

    def evaluate(self, device: Any, model: Any, test_data: Any) -> dict[str, float]:
        """Return the metrics that the model's `Evaluator` measures; raises what `train` raises."""
        evaluator_class = self._class_of(*EVALUATE)
        with self._blaming(*EVALUATE):
            metrics = evaluator_class(device).evaluate(model, test_data)
        problem = _problem_of(metrics)
        if problem:
            raise self._broken_by(*EVALUATE, problem, at_return=True)
        return metrics

    def _class_of(self, module: str, name: str, method: str) -> type:
        with self._blaming(module, name, method):
            found = getattr(importlib.import_module(f"models.{self.name}.{module}"), name, None)
        if not isinstance(found, type) or not callable(getattr(found, method, None)):
            raise self._broken_by(module, name, method, f"has no class {name} with a method {method}")
        try:
            inspect.signature(found).bind("device")
        except TypeError as error:
            raise self._broken_by(module, name, "__init__", f"has a {name} that is not made from a device alone ({error})") from error
        bound = isinstance(inspect.getattr_static(found, method), (staticmethod, classmethod))
        options = {"verbose": True} if method == TRAIN[2] else {}
        try:
            inspect.signature(getattr(found, method)).bind(*([] if bound else ["self"]), "data", "more", **options)
        except TypeError as error:
            problem = f"must have its method as {method}{_CALLS[method]} ({error})"
            raise self._broken_by(module, name, method, problem) from error
        return found

    def _broken_by(self, module: str, name: str, method: str, problem: str, at_return: bool = False) -> UsageError:
        path = FOLDER / self.name / f"{module}.py"
        return _broken(path, problem, _line_of(path, name, method, at_return))

    @contextlib.contextmanager
    def _blaming(self, module: str, name: str, method: str) -> Iterator[None]:
        """Turn what the model's code raises into one sentence that names the file and the line."""
        try:
            yield
        except UltraGCNError:
            raise  # says what to do by itself
        except Exception as error:
            missing = error.name.split(".")[0] if isinstance(error, ModuleNotFoundError) and error.name else None
            if missing in REQUIRED:
                raise  # `run_as_program` says what to install
            path, line, way = self._place_of(error)
            if path is None:
                path = FOLDER / self.name / f"{module}.py"
                line = _line_of(path, name, method)
            if isinstance(error, MissingHyperParamError):
                key, keys = error.args
                raise _broken(
                    path, f"hyper_param has no {key!r}{did_you_mean(str(key), keys)} (there are {', '.join(keys)}); "
                    f"FLAGS = {{{key!r}: DEFAULT}} in train.py adds a flag", line
                ) from error  # fmt: skip
            if isinstance(error, SyntaxError):
                raise _broken(path, f"is not Python ({error.msg})", line) from error
            raise UltraGCNError(_at(path, line) + _sentence_of(error, self.name, missing, path, line, way)) from error

    def _place_of(self, error: Exception) -> tuple[Path | None, int | None, str]:
        """Return where the model's code was when `error` came: file, line, and how it got there."""
        own = (FOLDER / self.name).resolve()
        if isinstance(error, SyntaxError) and error.filename and Path(error.filename).resolve().is_relative_to(own):
            return Path(error.filename), error.lineno, ""
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).resolve().is_relative_to(own)]
        if not frames:
            return None, None, ""
        caller = f", called by {Path(frames[-2].filename).name}, line {frames[-2].lineno}" if len(frames) > 1 else ""
        return Path(frames[-1].filename), frames[-1].lineno, caller


def _sentence_of(error: Exception, model: str, missing: str | None, path: Path, line: int | None, way: str) -> str:
    code = linecache.getline(str(path), line).strip() if line else ""
    where = f" in `{code}`{way}" if code else ""
    if missing is not None:
        own = missing in ("model", "train", "eval", model)
        mend = f"write `from models.{model}.model import ...`" if own else f"install {missing}"
        return f"there is no module {error.name}{where}; {mend}"
    message = " ".join(str(error).split())
    return f"{type(error).__name__}{where}{f': {message}' if message else ''}"


def _problem_of(metrics: Any) -> str | None:
    """Return what is wrong with what an evaluator returned, or None."""
    if metrics is None:
        return 'evaluate returns None; end it with a dict, such as `return {"accuracy": accuracy}`'
    if not isinstance(metrics, dict) or not metrics or not all(isinstance(name, str) for name in metrics):
        return f"evaluate must return a dict of numbers by the names of the metrics, not {metrics!r}"
    for name, value in metrics.items():
        if isinstance(value, Real):
            continue
        if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
            return f"evaluate returns {value!r} for {name!r}, which is not a plain number; write .item() behind it"
        return f"evaluate must return a dict of numbers by the names of the metrics, not {metrics!r}"
    return None


def names() -> list[str]:
    """Return the names of all models."""
    folders = (entry.name for entry in FOLDER.iterdir() if entry.is_dir())
    return sorted(name for name in folders if name.isidentifier() and not name.startswith("_"))


def find(name: str) -> Model:
    """Return the model in the folder `name`, without loading its code.

    Raises
    ------
    UsageError
        There is no such folder, or it does not keep to the contract above.
    """
    if name not in names():
        if not name.isidentifier() and any(entry.name == name for entry in FOLDER.iterdir() if entry.is_dir()):
            raise _broken(FOLDER / name, "cannot be imported: letters, digits and _ alone make a name of a model")
        raise unknown_name("model", name, names())
    for file in FILES:
        if not (FOLDER / name / file).is_file():
            raise _broken(FOLDER / name, f"has no {file}")
    # All three are read, so that a mistyped line in eval.py is met before an hour of training.
    trees = {file: _parsed(FOLDER / name / file) for file in FILES}
    constants = _constants(FOLDER / name / "train.py", trees["train.py"])
    own = tuple(Flag(flag, reader_like(value), value, f"flag of {name}") for flag, value in constants.get("FLAGS", {}).items())
    return Model(name, constants.get("DATASETS", IMAGES), constants.get("DEFAULTS", {}), own)


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise _broken(path, f"is not Python (line {error.lineno}: {error.msg})") from error
    except (OSError, ValueError) as error:
        raise _broken(path, f"cannot be read ({error})") from error


def _constants(path: Path, tree: ast.Module) -> dict[str, Any]:
    """Return the constants as far as the file sets them, checked, without running it."""
    found: dict[str, Any] = {}
    for statement in tree.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.expr() as expression)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as expression)
            ) if name in CONSTANTS:
                found[name] = _checked(path, name, expression)
    return found


def _checked(path: Path, name: str, expression: ast.expr) -> Any:
    try:
        value = ast.literal_eval(expression)
    except (ValueError, TypeError):
        value = None
    allowed = _CHECKS[name](value)
    if allowed is not None:
        raise _broken(path, f"must set {name} to {allowed}", expression.lineno)
    return value


def _check_datasets(value: Any) -> str | None:
    """Return what is allowed if `value` is not; so do the checks below."""
    is_tuple = isinstance(value, tuple) and len(value) > 0
    if value == RECOMMENDATION or (is_tuple and all(isinstance(v, str) and v == v.lower() for v in value)):
        return None
    comma = f" (a tuple of one has a comma: ({value!r},))" if isinstance(value, str) else ""
    return f'a plain tuple of lower-case names or to "{RECOMMENDATION}"{comma}'


def _check_defaults(value: Any) -> str | None:
    if not isinstance(value, dict) or not set(value) <= set(HYPER_PARAMETERS):
        return f"a plain dict with keys among {', '.join(HYPER_PARAMETERS)}; flags of the model's own are in FLAGS"
    for name, default in value.items():
        try:
            if default is not None:
                READERS[name](str(default))
        except ValueError as allowed:
            return f"a dict in which {name!r} is {allowed}, not {default!r}"
    return None


def _check_flags(value: Any) -> str | None:
    if not isinstance(value, dict):
        return "a plain dict of defaults by the names of the flags"
    for name, default in value.items():
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_") or not name.isascii():
            return f"a dict whose keys are names of flags, made of letters, digits and _, not {name!r}"
        if name in READERS or name == "help":
            return f"a dict without {name!r}, which is a flag of every model (DEFAULTS changes its default)"
        reader = reader_like(default)
        try:
            if reader is None:
                raise ValueError("a number, a text, True or False")
            reader(str(default))
        except ValueError as allowed:
            return f"a dict in which the default of {name!r} is {allowed}, not {default!r}"
    return None


_CHECKS = {"DATASETS": _check_datasets, "DEFAULTS": _check_defaults, "FLAGS": _check_flags}


def _recommendation_dataset(given: str | None) -> str:
    # Here, because the library's readers take a moment to load and only some models need them.
    from ultragcn.data.sources import canonical_name, dataset_names

    chosen = canonical_name(given or "demo")
    if chosen in dataset_names() or Path(chosen).exists():
        return chosen
    raise unknown_name("data set", chosen, dataset_names())


def _line_of(path: Path, name: str, method: str, at_return: bool = False) -> int | None:
    """Return the line of a method of a class (of its only return statement, where it has one), else of the class, else None."""
    for statement in _parsed(path).body:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            for inner in statement.body:
                if isinstance(inner, ast.FunctionDef) and inner.name == method:
                    returns = _returns_of(inner)
                    return returns[0].lineno if at_return and len(returns) == 1 else inner.lineno
            return statement.lineno
    return None


def _returns_of(node: ast.AST) -> list[ast.Return]:
    """Return the return statements of a function, without those of functions inside it."""
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Return):
            found.append(child)
        elif not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            found += _returns_of(child)
    return found


def _at(path: Path, line: int | None) -> str:
    return f"{path}: " if line is None else f"{path}, line {line}: "


def _broken(path: Path, problem: str, line: int | None = None) -> UsageError:
    place = f"{path} " if line is None else _at(path, line)
    return UsageError(f"{place}{problem}; {Path(__file__).name} in src/models/ says what a model folder needs")
