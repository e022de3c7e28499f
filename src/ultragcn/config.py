"""Every hyper-parameter of UltraGCN, declared once: type, default, unit, range, meaning, and the name the authors gave it.

The estimator, the command line, the configuration files and the documentation all read this one list. Every baseline declares its own
in the same way (`HyperParameters`, `parameter`), beside its model.
"""

import configparser
import dataclasses
import hashlib
import json
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ultragcn.errors import UsageError, did_you_mean, unknown_name

EXACT_L2 = 0.13
"""rho for the exact solver where nothing is known of the data and nothing is held out: between the values chosen on validation data for the
benchmarks (configs/). The authors' l2_weight leans on early stopping, and over-fits where the loss is really minimised."""
EXACT_L2_FROM, EXACT_L2_FACTOR = 0.1, 1.7
"""Where pairs are held out, rho begins with the first, and is raised by the factor after every sweep no better than the one before."""
EXACT_GRAPH_WEIGHT = 0.2
"""Of the exact solver, where nothing is known of the data."""
EXACT_GRAPH_WEIGHTS = (0.05, 0.1, 0.2, 0.35, 0.6, 1.0)
"""Where pairs are held out, the one of these is kept that is best at the epoch kept: whose metrics have the greatest product."""
EXACT_TREND_WEIGHTS, EXACT_TREND_HALF_LIVES = (1.0, 2.0, 4.0), (2.0, 7.0, 30.0, 90.0, 365.0, 1000.0)
"""Where pairs are held out and times are known, the best of these weights and half-lives is kept, or no trend where that is better."""
_TREND_HALF_LIFE = 30.0


def parameter(default: Any, meaning: str, *, unit: str = "", low: float = -math.inf, high: float = math.inf,
               positive: bool = False, choices: tuple[str, ...] = (), authors: str = "") -> Any:  # fmt: skip
    """Declare one hyper-parameter or other option; `positive` excludes zero, `low` and `high` are allowed values themselves."""
    return field(
        default=default,
        metadata={"meaning": meaning, "unit": unit, "low": 0.0 if positive else low, "high": high, "positive": positive,
                  "choices": choices, "authors": authors},
    )  # fmt: skip


@dataclass(frozen=True)
class HyperParameters:
    """What a model's hyper-parameters have in common. Values are checked when they are made; they never change afterwards.

    Raises
    ------
    UsageError
        A value has the wrong type or is out of range; the message says which values are allowed.
    """

    def __post_init__(self) -> None:
        for declared in fields(self):
            object.__setattr__(self, declared.name, checked(declared, getattr(self, declared.name)))

    def to_dict(self) -> dict[str, Any]:
        """Return all hyper-parameters by name."""
        return dataclasses.asdict(self)

    def resolved(self) -> dict[str, Any]:
        """Return all hyper-parameters by name, with the value used where a default stands for another one."""
        return self.to_dict()

    def fingerprint(self) -> str:
        """Return a hash of all values in use: another one when a default has changed in the code."""
        return hashlib.sha256(json.dumps(self.resolved(), sort_keys=True).encode()).hexdigest()[:16]

    def changed(self) -> dict[str, Any]:
        """Return those that differ from their defaults."""
        return {declared.name: value for declared in fields(self) if (value := getattr(self, declared.name)) != declared.default}


@dataclass(frozen=True)
class Config(HyperParameters):
    """The hyper-parameters of UltraGCN."""

    embedding_dim: int = parameter(64, "length of an embedding", unit="numbers", low=1)
    solver: str = parameter(
        "exact", "how the loss is minimised: exact samples nothing, sgd is the authors' procedure", choices=("exact", "sgd")
    )

    # The loss (docs/model.md).
    w1: float = parameter(1e-7, "constant part of a positive pair's weight", low=0)
    w2: float = parameter(1.0, "factor of beta in a positive pair's weight", low=0)
    w3: float = parameter(1e-7, "constant part of a negative pair's weight", low=0)
    w4: float = parameter(1.0, "factor of beta in a negative pair's weight", low=0)
    negative_weight: float = parameter(200.0, "weight of the mean over a pair's negatives", low=0)
    num_item_neighbors: int = parameter(10, "item neighbours K of an item", unit="items", low=0, authors="ii_neighbor_num")
    item_item_weight: float = parameter(1e-3, "weight of the item-item term", low=0, authors="lambda")
    omega: str = parameter("authors", "formula of the item-item weights", choices=("authors", "paper"))
    l2_weight: float = parameter(1e-4, "L2 weight of all embeddings, once a batch", low=0, authors="gamma")
    l2_user: float = parameter(
        -1.0,
        "L2 strength of the users over an epoch; -1: the solver's own, l2_weight times the batches for sgd; for exact 0.13, or chosen on "
        "held-out pairs, from 0.1 upwards",
        low=0,
    )
    l2_item: float = parameter(
        -1.0,
        "L2 strength of the items over an epoch; -1: the solver's own, l2_weight times the batches for sgd; for exact 0.13, or chosen on "
        "held-out pairs, from 0.1 upwards",
        low=0,
    )
    l2_user_exponent: float = parameter(0.0, "the L2 strength of a user grows with this power of its degree, at the same mean")
    l2_item_exponent: float = parameter(0.0, "the L2 strength of an item grows with this power of its degree, at the same mean")
    exclude_positives: bool = parameter(False, "never draw a user's own train items as negatives", authors="sampling_sift_pos")

    # The item graph at ranking time (docs/model.md).
    item_graph_weight: float = parameter(
        -1.0,
        "how much the item graph adds to the scores when ranking, relative to how much they vary; 0: nothing, as in the paper; "
        "-1: the solver's own, 0 for sgd; for exact 0.2, or chosen on held-out pairs",
        low=0,
    )
    item_graph_l2: float = parameter(100.0, "L2 strength of the item graph's weights", unit="users", positive=True)
    item_graph_neighbors: int = parameter(
        100, "weights that regression leaves an item in the item graph; walks leave twice as many", unit="items", low=1
    )
    item_graph_walk: float = parameter(
        0.5, "how much walks add to the item graph, relative to how much its regression weights vary; 0: regression weights alone", low=0
    )
    item_graph_walk_alpha: float = parameter(0.5, "power of the walks' transition probabilities", low=0)
    item_graph_walk_beta: float = parameter(0.5, "power of the item's degree that its walks are divided by", low=0)

    # The trend at ranking time (docs/model.md).
    item_trend_weight: float = parameter(
        -1.0,
        "how much popularity of late counts when ranking, in place of the mean user's score; needs the times of the interactions; 0: that "
        "score stays; -1: the solver's own, 0 for sgd; for exact 0, or chosen on held-out pairs",
        low=0,
    )
    item_trend_half_life: float = parameter(
        -1.0,
        "days after which an interaction counts half for popularity of late; -1: 30, or chosen on held-out pairs with the weight",
        unit="days",
        positive=True,
    )

    # The exact solver (docs/exact-solver.md).
    start: str = parameter(
        "quadratic",
        "first embeddings of exact: about the leading directions, then cheap sweeps on quadratic negatives; spectral: from the leading "
        "directions to convergence, so that the seed hardly counts; or random",
        choices=("quadratic", "spectral", "random"),
    )
    start_sweeps: int = parameter(2, "sweeps of the start", unit="sweeps", low=1)
    start_l2: float = parameter(0.5, "L2 strength of the start, relative to that of the sweeps", low=0)
    start_uniform_weight: float = parameter(
        0.0, "what the start adds to w1 and w3: the larger, the less its weights depend on degrees", low=0
    )
    sampled_sweeps: int = parameter(0, "sweeps of exact, from the first, that look at a share of the cells", unit="sweeps", low=0)
    cell_share: float = parameter(0.5, "share of the cells that sampled_sweeps look at", positive=True, high=1)
    tile_megabytes: float = parameter(
        0.0, "scores that exact holds at a time, per thread; 0: as many as suit the processor", unit="MB", low=0, high=1024
    )

    # The sampled procedure.
    learning_rate: float = parameter(1e-3, "Adam's step size", positive=True)
    batch_size: int = parameter(1024, "train pairs in a batch", unit="pairs", low=1)
    num_negatives: int = parameter(200, "negatives drawn for each train pair", unit="items", low=1, authors="negative_num")
    init_std: float = parameter(1e-3, "standard deviation of the first embeddings", positive=True, authors="initial_weight")

    # When to stop.
    epochs: int = parameter(
        0,
        "passes over the train pairs (exact: sweeps) at most; 0: the solver's own, 2000 for sgd and 30 for exact",
        unit="epochs",
        low=1,
        authors="max_epoch",
    )
    patience: int = parameter(
        0,
        "evaluations without a better value before stopping; 0: the solver's own, 15 for sgd and 3 for exact, 8 where the L2 strength is "
        "not given",
        unit="evaluations",
        low=1,
        authors="early_stop_epoch",
    )  # fmt: skip
    tolerance: float = parameter(
        1e-3, "without validation data, a pass of exact that lowers the loss by a smaller share than this is no better", low=0
    )
    evaluate_every: int = parameter(
        5, "epochs of sgd between evaluations during the first 50; afterwards, and for exact, every epoch", unit="epochs", low=1
    )
    select_by: str = parameter("recall@20", "metric that chooses the epoch to keep")

    # The machine.
    seed: int = parameter(0, "fixes everything random; -1 draws one and records it", low=-1)
    device: str = parameter("auto", "where sgd computes; auto takes a GPU when there is one", choices=("auto", "cpu", "cuda"))

    @property
    def max_epochs(self) -> int:
        """Passes at most: `epochs`, or the solver's usual number."""
        return self.epochs or {"exact": 30, "sgd": 2000}[self.solver]

    @property
    def max_patience(self) -> int:
        """Evaluations without a better value before stopping: `patience`, or the solver's usual number."""
        # An L2 strength that rises with sweeps that are no better than the one before must reach what data with much noise need.
        return self.patience or {"exact": 8 if self.chooses_l2 else 3, "sgd": 15}[self.solver]

    @property
    def graph_weight(self) -> float:
        """Weight of the item graph when ranking: `item_graph_weight`, or the solver's own."""
        return self.item_graph_weight if self.item_graph_weight >= 0 else {"exact": EXACT_GRAPH_WEIGHT, "sgd": 0.0}[self.solver]

    @property
    def chooses_graph_weight(self) -> bool:
        """Return whether training chooses the weight of the item graph, given held-out pairs."""
        return self.solver == "exact" and self.item_graph_weight < 0

    @property
    def trend_weight(self) -> float:
        """Weight of the trend when ranking: `item_trend_weight`, or the solver's own."""
        return max(self.item_trend_weight, 0.0)

    @property
    def trend_half_life(self) -> float:
        """Half-life of the trend in days: `item_trend_half_life`, or the usual one."""
        return self.item_trend_half_life if self.item_trend_half_life > 0 else _TREND_HALF_LIFE

    @property
    def chooses_trend(self) -> bool:
        """Return whether training chooses the weight of the trend, given held-out pairs and times."""
        return self.solver == "exact" and self.item_trend_weight < 0

    @property
    def chooses_l2(self) -> bool:
        """Return whether training chooses an L2 strength, given held-out pairs."""
        return self.solver == "exact" and min(self.l2_user, self.l2_item) < 0

    def with_l2(self, strength: float) -> "Config":
        """Return a copy with `strength` in place of L2 strengths that are not given."""
        return self.replace(**{name: strength for name in ("l2_user", "l2_item") if getattr(self, name) < 0})

    def resolved(self) -> dict[str, Any]:
        """Return all hyper-parameters by name, the solver's own values in place of what stands for them."""
        own: dict[str, Any] = {"epochs": self.max_epochs, "patience": self.max_patience, "item_graph_weight": self.graph_weight}
        if self.solver == "exact":
            rising = (EXACT_L2, EXACT_L2_FROM, EXACT_L2_FACTOR)
            own |= {name: rising for name in ("l2_user", "l2_item") if getattr(self, name) < 0}
        if self.chooses_graph_weight:
            own["item_graph_weight"] = (EXACT_GRAPH_WEIGHT, *EXACT_GRAPH_WEIGHTS)
        own |= {"item_trend_weight": self.trend_weight, "item_trend_half_life": self.trend_half_life}
        if self.chooses_trend:
            own["item_trend_weight"] = EXACT_TREND_WEIGHTS
            own["item_trend_half_life"] = EXACT_TREND_HALF_LIVES if self.item_trend_half_life < 0 else self.item_trend_half_life
        return self.to_dict() | own

    @property
    def without_effect(self) -> dict[str, str]:
        """Hyper-parameters that change nothing beside the others, and what each lacks."""
        return {name: lacking for names, lacking, has in _NEEDS if not has(self) for name in names}

    def replace(self, **changes: Any) -> "Config":
        """Return a copy with `changes`; the authors' names are understood too."""
        return dataclasses.replace(self, **our_names(changes))


_NEEDS: tuple[tuple[tuple[str, ...], str, Callable[[Config], bool]], ...] = (
    (("l2_weight",), "l2_user or l2_item at -1", lambda config: min(config.l2_user, config.l2_item) < 0),
    (
        ("l2_weight", "learning_rate", "batch_size", "num_negatives", "init_std", "evaluate_every", "device"), "solver sgd",
        lambda config: config.solver == "sgd",
    ),
    (
        ("start", "start_sweeps", "start_l2", "start_uniform_weight", "sampled_sweeps", "cell_share"), "solver exact",
        lambda config: config.solver == "exact",
    ),
    (("start_sweeps", "start_l2", "start_uniform_weight"), "start quadratic or spectral", lambda config: config.start != "random"),
    (("cell_share",), "sampled_sweeps above 0", lambda config: config.sampled_sweeps > 0),
    (("num_item_neighbors", "omega"), "item_item_weight above 0", lambda config: config.item_item_weight > 0),
    (
        ("item_graph_l2", "item_graph_neighbors", "item_graph_walk", "item_graph_walk_alpha", "item_graph_walk_beta"),
        "item_graph_weight above 0", lambda config: config.graph_weight > 0,
    ),
    (("item_graph_walk_alpha", "item_graph_walk_beta"), "item_graph_walk above 0", lambda config: config.item_graph_walk > 0),
    (("item_trend_half_life",), "item_trend_weight above 0", lambda config: config.chooses_trend or config.trend_weight > 0),
)  # fmt: skip
"""Names, what they need to have an effect, and whether a configuration has it."""

PARAMETERS: dict[str, dataclasses.Field] = {declared.name: declared for declared in fields(Config)}
"""Every hyper-parameter by our name."""

TOPICS: dict[str, str] = {
    "embedding_dim": "the model",
    "w1": "the loss",
    "item_graph_weight": "ranking",
    "start": "solver exact",
    "learning_rate": "solver sgd",
    "epochs": "when to stop",
    "seed": "the machine",
}
"""The hyper-parameter that a group of them begins with -> what the group is about."""

AUTHORS_NAMES: dict[str, str] = {p.metadata["authors"]: p.name for p in PARAMETERS.values() if p.metadata["authors"]}
"""The authors' name of a hyper-parameter -> ours."""

_PAPER = "paper"  # table of a configuration file
# Keys of the authors' .ini files that are not hyper-parameters: where files are, and settings of the machine.
_INI_PATHS = ("train_file_path", "test_file_path")
_INI_IGNORED = ("model_save_path", "enable_tensorboard", "gpu", "test_batch_size")


def our_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` under our names; an unknown name raises `UsageError` with the nearest known one."""
    renamed: dict[str, Any] = {}
    for name, value in values.items():
        ours = AUTHORS_NAMES.get(name, name)
        if ours not in PARAMETERS:
            near = did_you_mean(name, [*PARAMETERS, *AUTHORS_NAMES])
            raise UsageError(f"unknown hyper-parameter {name!r}{near or '; ultragcn train --help lists them all'}")
        if ours in renamed:
            raise UsageError(f"{ours} is given twice, once as {name!r}; give it once")
        renamed[ours] = value
    return renamed


def parse_value(name: str, text: str) -> Any:
    """Return the value that `text` means for hyper-parameter `name`, checked."""
    return checked(PARAMETERS[name], text)


def checked(declared: dataclasses.Field, value: Any) -> Any:
    """Return `value` as the declared type if it is allowed, else raise `UsageError` saying what is."""
    kind = declared.type if isinstance(declared.type, type) else {"int": int, "float": float, "bool": bool, "str": str}[declared.type]
    rule = declared.metadata
    if type(value) is kind and value == declared.default:
        return value  # also a default that stands for the solver's own, out of the range of what can be given
    problem = UsageError(f"{declared.name} must be {_allowed(kind, rule, declared.default)}, not {value!r}")
    if kind is str:
        if not isinstance(value, str):
            raise problem
        if rule["choices"] and value not in rule["choices"]:
            raise unknown_name(declared.name, value, rule["choices"])
        return value
    if kind is bool:
        known = {
            True: True,
            False: False,
            "true": True,
            "false": False,
            "1": True,
            "0": False,
            "yes": True,
            "no": False,
        }
        key = value.strip().lower() if isinstance(value, str) else value
        if not isinstance(key, (str, bool)) or key not in known:
            raise problem
        return known[key]
    if isinstance(value, bool):
        raise problem
    try:
        number = float(value)
        # int("2000") and 2000.0 are both 2000; 0.5 is no integer, and neither is text such as "1e3.5". Never by way of a float: 2^53 + 1.
        converted = int(value) if kind is int else number
    except (TypeError, ValueError, OverflowError):
        raise problem from None
    if not math.isfinite(number) or (kind is int and not isinstance(value, str) and converted != value):
        raise problem
    if not _in_range(number, rule) and converted != declared.default:
        raise problem
    return converted


def _in_range(number: float, rule: Mapping[str, Any]) -> bool:
    return rule["low"] <= number <= rule["high"] and not (rule["positive"] and number <= 0)


def _allowed(kind: type, rule: Mapping[str, Any], default: Any) -> str:
    if kind is bool:
        return "true or false"
    if kind is str:
        return "text"
    noun = "a whole number" if kind is int else "a number"
    most = f", {rule['high']:g} at most" if rule["high"] < math.inf else ""
    if rule["positive"]:
        return f"{noun} above 0{most}"
    if rule["low"] == -math.inf:
        return noun
    return f"{noun} of {rule['low']:g} or more{most}" + ("" if _in_range(default, rule) else f", or {default:g} (the default)")


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
    values = {name: value for table in (shared, *tables) for name, value in our_names(table).items()}
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
    values = {"solver": "sgd"} | {name: checked(PARAMETERS[name], value) for name, value in our_names(given).items()}
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
    here = Path(__file__).resolve().parent
    return next((folder for folder in (here / "configs", here.parents[1] / "configs") if folder.is_dir()), None)


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
    return Config(**(values | our_names(changes)))
