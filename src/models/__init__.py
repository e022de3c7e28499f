"""The models of the workbench, one folder each. `main.py` finds a model by its folder's name and knows none by heart.

A folder `src/models/<name>/` has three files:

`model.py`
    The model itself, in any form.
`train.py`
    A class `Trainer` with `__init__(self, device)` and
    `train_with_hyper_param(self, train_data, hyper_param, verbose=False)`, which returns the trained model.
    `hyper_param` is a dict with `batch_size`, `epochs`, `learning_rate` and `seed`; `verbose` asks for progress bars.
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
"""

import ast
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from ultragcn.errors import UsageError, unknown_name

FOLDER = Path(__file__).resolve().parent
FILES = ("model.py", "train.py", "eval.py")
IMAGES = ("mnist", "digits")
RECOMMENDATION = "recommendation"
HYPER_PARAMETERS = ("batch_size", "epochs", "learning_rate", "seed")


@dataclass(frozen=True)
class Model:
    """What is known of a model before it is loaded."""

    name: str
    datasets: tuple[str, ...] | str
    defaults: Mapping[str, Any]

    def dataset(self, given: str | None) -> str:
        """Return the data set to use when the user asks for `given` (None: the model's default)."""
        if self.datasets == RECOMMENDATION:
            return _recommendation_dataset(given)
        chosen = self.datasets[0] if given is None else given.lower()
        if chosen not in self.datasets:
            raise unknown_name(f"data set of {self.name}", chosen, self.datasets)
        return chosen

    def load(self) -> tuple[type, type]:
        """Import the model's code and return its `Trainer` and `Evaluator`."""
        return (
            self._class_of("train", "Trainer", "train_with_hyper_param"),
            self._class_of("eval", "Evaluator", "evaluate"),
        )

    def _class_of(self, module: str, name: str, method: str) -> type:
        found = getattr(importlib.import_module(f"models.{self.name}.{module}"), name, None)
        if not isinstance(found, type) or not callable(getattr(found, method, None)):
            raise _broken(FOLDER / self.name / f"{module}.py", f"has no class {name} with a method {method}")
        try:
            inspect.signature(found).bind("device")
        except TypeError as error:
            raise _broken(FOLDER / self.name / f"{module}.py", f"has a {name} that is not made from a device alone ({error})") from error
        return found


def checked_metrics(name: str, metrics: Any) -> dict[str, float]:
    """Return what the evaluator of the model `name` returned, if it is what the contract says."""
    if isinstance(metrics, dict) and all(isinstance(key, str) and isinstance(value, Real) for key, value in metrics.items()):
        return metrics
    raise _broken(FOLDER / name / "eval.py", f"must return a dict of numbers by the names of the metrics, not {metrics!r}")


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
    said = _constants(FOLDER / name / "train.py")
    return Model(name, said.get("DATASETS", IMAGES), said.get("DEFAULTS", {}))


def _constants(path: Path) -> dict[str, Any]:
    """Return DATASETS and DEFAULTS as far as the file sets them, checked, without running it."""
    try:
        statements = ast.parse(path.read_bytes()).body
    except SyntaxError as error:
        raise _broken(path, f"is not Python (line {error.lineno}: {error.msg})") from error
    found: dict[str, Any] = {}
    for statement in statements:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id="DATASETS" | "DEFAULTS" as name)], value=ast.expr() as expression)
                | ast.AnnAssign(target=ast.Name(id="DATASETS" | "DEFAULTS" as name), value=ast.expr() as expression)
            ):
                found[name] = _checked(path, name, expression)
    return found


def _checked(path: Path, name: str, expression: ast.expr) -> Any:
    try:
        value = ast.literal_eval(expression)
    except ValueError:
        value = None
    if name == "DEFAULTS":
        right = isinstance(value, dict) and set(value) <= set(HYPER_PARAMETERS)
        allowed = f"a plain dict with keys among {', '.join(HYPER_PARAMETERS)}"
    else:
        is_tuple = isinstance(value, tuple) and len(value) > 0
        right = value == RECOMMENDATION or (is_tuple and all(isinstance(v, str) and v == v.lower() for v in value))
        allowed = f'a plain tuple of lower-case names or to "{RECOMMENDATION}"'
    if not right:
        raise _broken(path, f"must set {name} to {allowed}")
    return value


def _recommendation_dataset(given: str | None) -> str:
    # Here, because the library's readers take a moment to load and only some models need them.
    from ultragcn.data.sources import canonical_name, dataset_names

    chosen = canonical_name(given or "demo")
    if chosen in dataset_names() or Path(chosen).exists():
        return chosen
    raise unknown_name("data set", chosen, dataset_names())


def _broken(path: Path, problem: str) -> UsageError:
    return UsageError(f"{path} {problem}; {Path(__file__).name} in src/models/ says what a model folder needs")
