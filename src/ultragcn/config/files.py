"""Configuration files: ours (`.toml`), those that the authors published (`.ini`), and which is kept for a data set."""

import configparser
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultragcn.config.declare import checked
from ultragcn.config.ultragcn import PARAMETERS, Config, from_authors, known_names
from ultragcn.errors import UsageError, unknown_name

_PAPER = "paper"  # table of a configuration file
# Keys of the authors' .ini files that are not hyper-parameters: where files are, and settings of the machine.
_INI_PATHS = ("train_file_path", "test_file_path")
_INI_IGNORED = ("model_save_path", "enable_tensorboard", "gpu", "test_batch_size")


@dataclass(frozen=True)
class ConfigFile:
    """What a configuration file says: hyper-parameters, and for an authors' file also which data."""

    values: dict[str, Any]
    dataset: str | None = None
    files: tuple[Path, Path] | None = None
    ignored: tuple[str, ...] = ()


def read_config(path: str | Path, solver: str | None = None, paper: bool = False) -> ConfigFile:
    """Read a configuration file: ours (`.toml`) or one that the authors published (`.ini`), as it is.

    Parameters
    ----------
    path : str or Path
        A `.toml` file has our names at its top; a table `[sgd]` holds what is meant for that solver alone.
    solver : str, optional
        Whose table to apply; by default that of the file's own `solver`, else of the default solver.
    paper : bool
        Whether the table `[paper]` is applied on top, what suits the paper's model where it has to do without the item graph.

    Raises
    ------
    UsageError
        The file cannot be read or says something unknown; the message names the file.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read the configuration {path}: {reason}") from error
    try:
        return _from_ini(text, path) if path.suffix == ".ini" else ConfigFile(_from_toml(text, solver, paper))
    except (tomllib.TOMLDecodeError, configparser.Error, UsageError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"cannot read the configuration {path}: {reason}") from error


def _from_toml(text: str, solver: str | None, paper: bool) -> dict[str, Any]:
    document = tomllib.loads(text)
    solvers = PARAMETERS["solver"].metadata["choices"]
    shared = {name: value for name, value in document.items() if not isinstance(value, dict)}
    for table in document:
        if isinstance(document[table], dict) and table not in (*solvers, _PAPER):
            raise unknown_name("table", table, (*solvers, _PAPER))
    chosen = str(solver or shared.get("solver") or PARAMETERS["solver"].default)
    tables = [document.get(table, {}) for table in ((chosen, _PAPER) if paper else (chosen,))]
    values = {name: value for table in (shared, *tables) for name, value in known_names(table).items()}
    return {name: checked(PARAMETERS[name], value) for name, value in values.items()}


def _from_ini(text: str, path: Path) -> ConfigFile:
    parser = configparser.ConfigParser(inline_comment_prefixes=("#", ";"), interpolation=None)
    parser.read_string(text)
    given = {name: value.strip("'\" ") for section in parser.sections() for name, value in parser.items(section)}
    dataset = given.pop("dataset", None)
    paths = {name: given.pop(name) for name in _INI_PATHS if name in given}
    ignored = tuple(name for name in _INI_IGNORED if given.pop(name, None) is not None)
    if "topk" in given:
        given["select_by"] = f"recall@{given.pop('topk')}"
    if "lr" in given:
        given["learning_rate"] = given.pop("lr")
    values = {"solver": "sgd"} | {name: checked(PARAMETERS[name], value) for name, value in from_authors(given).items()}
    files = None
    if len(paths) == len(_INI_PATHS):
        # The authors run from their own folder; look beside the file as well.
        for folder in (Path(), path.parent):
            found = tuple(folder / paths[name] for name in _INI_PATHS)
            if all(file.is_file() for file in found):
                files = (found[0], found[1])
                break
    return ConfigFile(values, dataset, files, ignored)


def configs_folder() -> Path | None:
    """Return the folder of the benchmark configurations: inside the installed package, or the checkout's `configs/`."""
    package = Path(__file__).resolve().parents[1]
    return next((folder for folder in (package / "configs", package.parents[1] / "configs") if folder.is_dir()), None)


def kept_configuration(dataset: str) -> Path | None:
    """Return the file of the configuration kept for the benchmark data set `dataset`; None when there is none, as for a path."""
    folder = configs_folder()
    if folder is None or Path(dataset).name != dataset or not (folder / f"{dataset}.toml").is_file():
        return None
    return folder / f"{dataset}.toml"


def configuration_for(dataset: str | None = None, solver: str | None = None, *, paper: bool = False, **changes: Any) -> Config:
    """Return the configuration kept for the benchmark data set `dataset` (the defaults when there is none), with `changes`.

    With `paper` it is that of the paper's model: nothing is added to the scores when ranking, neither item graph nor trend.

    A name that is none of those, a misspelt one too, is taken for a data set of your own: `kept_configuration` tells.
    """
    file = kept_configuration(dataset) if dataset is not None else None
    values: dict[str, Any] = read_config(file, solver, paper).values if file is not None else {}
    if solver is not None:
        values["solver"] = solver
    if paper:
        values |= {"item_graph_weight": 0.0, "item_trend_weight": 0.0}
    return Config(**(values | known_names(changes)))
