"""A study: what varies over what, and the folder that keeps what came out.

study.json         what the study is
results.tsv        a line for each trial and seed the moment it ends, done, pruned or failed
trials/TRIAL-SEED/ log.txt, what the trial said; history.tsv, its curve
claims/            what is being run, and by whom
best.toml          the best trial so far, as a configuration
journal.log        Optuna's journal, of sampler tpe alone

A trial is a set of values for the parameters; with each seed it is run once.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ultragcn import storage
from ultragcn.errors import UsageError, counted, unknown_name
from ultragcn.experiments.studies import space
from ultragcn.experiments.studies.claims import one_at_a_time
from ultragcn.experiments.studies.space import Point, Space, Values
from ultragcn.forms import Optional, misfit

SAMPLERS = ("grid", "random", "list", "tpe")
DIRECTIONS = ("maximize", "minimize")
STUDY, RESULTS, TRIALS, CLAIMS, BEST, JOURNAL = "study.json", "results.tsv", "trials", "claims", "best.toml", "journal.log"
LOG, HISTORY = "log.txt", "history.tsv"
DONE, PRUNED, FAILED = "done", "pruned", "failed"
DEFAULT_TRIALS = 20
"""Of random and tpe."""

_MEASURED = ("best_epoch", "train_seconds", "peak_memory_mb")
_ABOUT = ("dataset", "protocol", "data_hash", "split_hash", "settings")
_RESERVED = ("trial", "seed", "state", *_MEASURED, "data_hash", "versions", "ended", "why")


_VALUE = (bool, float, str)
_STUDY_FORM = {
    "name": str, "parameters": {str: ([_VALUE], {"low": float, "high": float})}, "metrics": [str], "choose_by": str, "seeds": [int],
    "sampler": set(SAMPLERS), "num_trials": int, "direction": set(DIRECTIONS), "fixed": dict, "sampler_seed": int, "prune": bool,
    "trials": [{str: _VALUE}], Optional("kept"): ({str: _VALUE}, None), Optional("command"): [str], "settings": (dict, str, None),
    **dict.fromkeys(("dataset", "protocol", "data_hash", "split_hash"), (str, None)),
}  # fmt: skip
"""The form (`forms`) of study.json."""
_MOST_TRIALS = 1_000_000


@dataclass(frozen=True)
class Study:
    """What varies over what, with which seeds, and what is best.

    Raises
    ------
    UsageError
        Something is unknown, empty or contradicts something else.
    """

    name: str
    parameters: Space
    """What varies, by name: `Values` or `Range`; `space.space_of` makes them from lists and tables."""
    metrics: tuple[str, ...]
    """What each trial returns."""
    choose_by: str
    """The metric that orders trials."""
    seeds: tuple[int, ...] = (0,)
    sampler: str = "grid"
    trials: int = 0
    """How many; 0: all of a grid or list, 20 of random or tpe."""
    direction: str = "maximize"
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """What is the same in all trials, as the trial function takes it."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """dataset, protocol, data_hash, split_hash, settings (what trials begin with, from configs/), as far as there are any."""
    sampler_seed: int = 0
    """Fixes what random and tpe draw."""
    prune: bool = False
    """With tpe, end trials early whose curve is below the median of those before."""
    laid_out: tuple[Point, ...] = ()
    """The trials that a folder holds, where values or trials were added to the first ones."""
    kept: Point | None = None
    """What the parameters are without the study: trial 0 has these values, whether they are among what varies or not. None: trial 0 is
    like the others."""

    def __post_init__(self) -> None:
        for what, given, allowed in (("sampler", self.sampler, SAMPLERS), ("direction", self.direction, DIRECTIONS),
                                     ("metric to choose by", self.choose_by, self.metrics)):  # fmt: skip
            if given not in allowed:
                raise unknown_name(what, given, allowed)
        if not self.parameters:
            raise UsageError("nothing varies; give at least one parameter and what it varies over")
        for name, over in self.parameters.items():
            if isinstance(over, Values) and over.repeats and self.sampler != "list":
                raise UsageError(f"vary {name}: with sampler {self.sampler} no value comes twice, not {list(over.values)}")
            if name in (*_RESERVED, *self.metrics):
                raise UsageError(f"a column of results.tsv is called {name}; give the parameter another name")
            if name in self.fixed:
                raise UsageError(f"{name} is both fixed and varied; drop one of them")
        seeds = self.seeds
        if not seeds or len(set(seeds)) < len(seeds) or any(isinstance(s, bool) or not isinstance(s, int) or s < 0 for s in seeds):
            raise UsageError(f"seeds are whole numbers of 0 or more, none twice, so that a trial can be repeated, not {list(seeds)}")
        if isinstance(self.trials, bool) or not isinstance(self.trials, int) or not 0 <= self.trials <= _MOST_TRIALS:
            raise UsageError(
                f"trials must be a whole number from 0 to {_MOST_TRIALS} (0: all of a grid or list, {DEFAULT_TRIALS} of random or tpe), "
                f"not {self.trials!r}"
            )
        if self.kept is not None:
            if self.kept.keys() != self.parameters.keys():
                raise UsageError(
                    f"kept has a value for each parameter that varies ({', '.join(self.parameters)}), or is None; "
                    f"it has values for {', '.join(self.kept) or 'none'}"
                )
            object.__setattr__(self, "kept", {name: self.kept[name] for name in self.parameters})
        if self.prune and self.sampler != "tpe":
            raise UsageError(f"pruning needs sampler tpe, not {self.sampler}")

    @property
    def num_trials(self) -> int:
        """How many trials there are to be."""
        if self.sampler in ("random", "tpe"):
            return self.trials or DEFAULT_TRIALS
        return len(self.points())

    def points(self) -> list[Point]:
        """Return the parameters of each trial; of tpe none, because they depend on what came out before."""
        if self.sampler == "tpe" or self.laid_out:
            return list(self.laid_out)
        first = [] if self.kept is None else [dict(self.kept)]
        if self.sampler == "random":
            return first + [space.drawn(self.parameters, self.sampler_seed, trial) for trial in range(len(first), self.num_trials)]
        every = space.grid(self.parameters) if self.sampler == "grid" else space.together(self.parameters)
        every = first + [point for point in every if point not in first]
        return every[: self.trials or len(every)]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of results.tsv."""
        return ("trial", "seed", "state", *self.parameters, *self.metrics, *_MEASURED, "data_hash", "versions", "ended", "why")


class Row(NamedTuple):
    """A line of results.tsv: one trial with one seed."""

    trial: int
    seed: int
    state: str
    """done, pruned or failed."""
    parameters: Point
    metrics: dict[str, float]
    """Those that are there."""
    best_epoch: int | None
    train_seconds: float | None
    peak_memory_mb: float | None
    ended: str
    why: str
    """Empty unless it failed."""


class Summary(NamedTuple):
    """A trial over its seeds."""

    trial: int
    parameters: Point
    state: str
    """done if every run of it is; else failed, or pruned."""
    num_seeds: int
    """Runs that are done."""
    means: dict[str, float]
    """Metric -> mean over them."""
    intervals: dict[str, tuple[float, float]]
    """Metric -> 95 % t-interval of that mean; none with one seed."""
    train_seconds: float
    """Mean; nan where unknown."""
    peak_memory_mb: float
    """Largest; nan where unknown."""
    why: str = ""
    """Of a trial that failed, with the first seed that it failed with."""


def open_folder(folder: Path, study: Study) -> list[tuple[int, Point]]:
    """Make `folder` that of the study, or find it there, perhaps with other seeds or fewer values; return the study's trials.

    A trial keeps its number when values are added: what is new comes after what was there. Trial 0 stays what it was when the study was
    begun, also where what is kept has changed since, or where the study was begun before trial 0 had what is kept.

    Returns
    -------
    list of (number, parameters)
        Empty for tpe.

    Raises
    ------
    UsageError
        The folder holds another study or something else.
    """
    _refuse_others(folder)
    with one_at_a_time(folder / CLAIMS / "study"):
        before = _read(folder) if (folder / STUDY).exists() else None
        if before is not None:
            study = replace(study, kept=before.get("kept") if list(before["parameters"]) == list(study.parameters) else None)
        points = study.points()
        every, seeds = points, list(study.seeds)
        over = {name: values.described() for name, values in study.parameters.items()}
        if before is not None:
            changed = _changes(before, study)
            if changed:
                raise UsageError(f"{folder} holds another study ({', '.join(changed)}); give another --out")
            every = [*before["trials"], *(point for point in points if point not in before["trials"])]
            seeds = [*before["seeds"], *(seed for seed in study.seeds if seed not in before["seeds"])]
            over = {name: _both(before["parameters"][name], now) for name, now in over.items()}
        described = {
            "name": study.name, **{name: study.about.get(name) for name in (*_ABOUT, "settings_hash")},
            "parameters": over, "fixed": dict(study.fixed),
            "seeds": seeds, "sampler": study.sampler, "sampler_seed": study.sampler_seed, "prune": study.prune,
            "choose_by": study.choose_by, "direction": study.direction, "metrics": list(study.metrics),
            "num_trials": max(study.num_trials, len(every), (before or {}).get("num_trials", 0)), "trials": every, "kept": study.kept,
            "command": sys.argv,
        }  # fmt: skip
        if described != before:
            storage.write_json(folder / STUDY, described)
    numbers = {json.dumps(point): trial for trial, point in enumerate(every)}
    return [(numbers[json.dumps(point)], point) for point in points]


def _refuse_others(folder: Path) -> None:
    """Refuse a folder that holds something else, before anything is put into it."""
    try:
        # Another process may be just making the study: its half-written file is none of somebody else's.
        names = [path.name for path in folder.iterdir()] if folder.exists() else []
        present = sorted(name for name in names if name != CLAIMS and not name.startswith(f".{STUDY}."))
    except OSError as error:
        raise UsageError(f"cannot use {folder} for a study: {error.strerror}; choose a folder you can write to") from error
    if present and not (folder / STUDY).exists():
        raise UsageError(f"{folder} already holds files of something else ({', '.join(present[:3])}); give another --out")


def _changes(before: Mapping[str, Any], study: Study) -> list[str]:
    """Return in which respects `study` is not the one that was there; other values for a grid or list are none."""
    now = {name: over.described() for name, over in study.parameters.items()}
    now_hash = study.about.get("settings_hash")
    lists = study.sampler in ("grid", "list")
    same = list(before["parameters"]) == list(now) and all(
        (lists and isinstance(old, list) and isinstance(now[name], list)) or old == now[name] for name, old in before["parameters"].items()
    )
    differ = {
        "other data": any(before[name] != study.about.get(name) for name in ("dataset", "data_hash", "split_hash")),
        "another protocol": before["protocol"] != study.about.get("protocol"),
        "something else varies": not same,
        "other fixed settings": before["fixed"] != dict(study.fixed),
        "other settings kept for the data": before["settings"] != study.about.get("settings"),
        "other defaults": before.get("settings_hash", now_hash) != now_hash,  # one of before there was a hash does not say
        "another sampler": any(before[name] != getattr(study, name) for name in ("sampler", "sampler_seed", "prune")),
        "another metric to choose by": any(before[name] != getattr(study, name) for name in ("choose_by", "direction")),
        "other metrics": before["metrics"] != list(study.metrics),
    }
    return [what for what, differs in differ.items() if differs]


def _both(before: Any, now: Any) -> Any:
    """Return what a parameter varies over in the folder, when `now` comes to what was there."""
    return [*before, *(value for value in now if value not in before)] if isinstance(now, list) else now


def read_study(folder: Path) -> Study:
    """Return the study that `folder` holds.

    Raises
    ------
    UsageError
        There is none, or study.json is not as sweep writes it.
    """
    if not (folder / STUDY).is_file():
        raise UsageError(f"{folder} holds no study; give a folder that ultragcn sweep wrote")
    kept = _read(folder)
    try:
        return Study(
            kept["name"], space.space_of(kept["parameters"]), tuple(kept["metrics"]), kept["choose_by"], tuple(kept["seeds"]),
            kept["sampler"], kept["num_trials"], kept["direction"], kept["fixed"], {name: kept[name] for name in _ABOUT},
            kept["sampler_seed"], kept["prune"], tuple(kept["trials"]), kept.get("kept"),
        )  # fmt: skip
    except UsageError as error:
        raise UsageError(f"{folder / STUDY} is not as ultragcn sweep writes it ({error}); put it back as it was") from error


def _read(folder: Path) -> dict[str, Any]:
    """Return what study.json says, checked."""
    kept = storage.read_json(folder / STUDY)
    if wrong := misfit(kept, _STUDY_FORM, STUDY):
        raise UsageError(f"{folder / STUDY} is not as ultragcn sweep writes it ({wrong}); put it back as it was")
    if any(point.keys() != kept["parameters"].keys() for point in [*kept["trials"], kept.get("kept") or kept["parameters"]]):
        raise UsageError(f"{folder / STUDY} is not as ultragcn sweep writes it (trials have other parameters); put it back as it was")
    return kept


def read_results(folder: Path, study: Study | None = None) -> list[Row]:
    """Return what ended so far, by trial and seed; of a run that is there twice, the last.

    Raises
    ------
    UsageError
        results.tsv is not as sweep writes it.
    """
    study = study or read_study(folder)
    path = folder / RESULTS
    if not path.exists() or path.stat().st_size == 0:
        return []
    try:
        with open(path, encoding="utf-8") as file:
            if tuple(file.readline().rstrip("\n").split("\t")) != study.columns:
                raise ValueError("other columns")
        rows = [_row(cells, study) for cells in storage.read_rows(path)]
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(f"{path} is not as ultragcn sweep writes it ({error}); put it back as it was") from error
    last = {(row.trial, row.seed): row for row in rows}
    return [last[run] for run in sorted(last)]


def _row(cells: Mapping[str, str], study: Study) -> Row:
    def number(name: str) -> float | None:
        value = float(cells[name]) if cells[name] else None
        if value is not None and not np.isfinite(value):
            raise ValueError(f"{name} is {value}")
        return value

    if cells["state"] not in (DONE, PRUNED, FAILED):
        raise ValueError(f"the state {cells['state']!r}")

    epoch, trial = number("best_epoch"), int(cells["trial"])
    # What is kept need not be among what varies: `auto`, or a number out of the range.
    if trial == 0 and study.kept is not None and all(str(value) == cells[name] for name, value in study.kept.items()):
        parameters = dict(study.kept)
    else:
        parameters = {name: over.read(cells[name]) for name, over in study.parameters.items()}
    return Row(
        trial, int(cells["seed"]), cells["state"], parameters,
        {name: float(cells[name]) for name in study.metrics if cells[name]},
        None if epoch is None else int(epoch), number("train_seconds"), number("peak_memory_mb"), cells["ended"], cells["why"],
    )  # fmt: skip


def summarise(rows: Sequence[Row]) -> list[Summary]:
    """Return each trial over its seeds, in the order of their numbers."""
    trials: dict[int, list[Row]] = {}
    for row in rows:
        trials.setdefault(row.trial, []).append(row)
    summaries = []
    for trial, of_trial in sorted(trials.items()):
        states = [row.state for row in of_trial]
        done = [row for row in of_trial if row.state == DONE]
        names = dict.fromkeys(name for row in done for name in row.metrics)
        values = {name: np.array([row.metrics[name] for row in done if name in row.metrics]) for name in names}
        seconds = [row.train_seconds for row in done if row.train_seconds is not None]
        memory = [row.peak_memory_mb for row in done if row.peak_memory_mb is not None]
        summaries.append(Summary(
            trial, of_trial[0].parameters, next((state for state in (FAILED, PRUNED) if state in states), DONE), len(done),
            {name: float(of_metric.mean()) for name, of_metric in values.items()},
            {name: t_interval(of_metric) for name, of_metric in values.items() if len(of_metric) > 1},
            float(np.mean(seconds)) if seconds else np.nan, max(memory, default=np.nan),
            next((row.why for row in of_trial if row.state == FAILED), ""),
        ))  # fmt: skip
    return summaries


def best(study: Study, summaries: Sequence[Summary]) -> Summary | None:
    """Return the best trial of those that are done with the most seeds; None when there is none."""
    done = [trial for trial in summaries if trial.state == DONE and np.isfinite(trial.means.get(study.choose_by, np.nan))]
    most = max((trial.num_seeds for trial in done), default=0)
    sign = 1 if study.direction == "maximize" else -1
    return max((t for t in done if t.num_seeds == most), key=lambda trial: sign * trial.means[study.choose_by], default=None)


def against_kept(study: Study, summaries: Sequence[Summary]) -> str:
    """Return by how much the best trial beats trial 0, which has what is kept, as a sentence; empty where trial 0 is like the others.

    Examples
    --------
    >>> study = Study("x", {"x": space.Values((1, 2))}, ("score",), "score", kept={"x": 1})
    >>> trials = [Summary(n, {"x": n + 1}, DONE, 1, {"score": 0.25 * (n + 1)}, {}, 1.0, 1.0) for n in range(2)]
    >>> against_kept(study, trials)
    'Trial 1 beats trial 0, the settings in use without a sweep, by 0.2500 in score (0.5000 against 0.2500).'
    """
    chosen = best(study, summaries)
    if study.kept is None or chosen is None:
        return ""
    kept = next((trial for trial in summaries if trial.trial == 0), None)
    name = "trial 0, the settings in use without a sweep"
    if kept is None or kept.state != DONE or kept.num_seeds < chosen.num_seeds:
        state = {FAILED: "failed", PRUNED: "was pruned"}.get(DONE if kept is None else kept.state, "has not ended with every seed")
        return f"By how much trial {chosen.trial} beats {name}, is not known: trial 0 {state}."
    if not np.isfinite(kept.means.get(study.choose_by, np.nan)):
        return f"By how much trial {chosen.trial} beats {name}, is not known: trial 0 has no number for {study.choose_by}."
    ours, theirs = chosen.means[study.choose_by], kept.means[study.choose_by]
    if ours == theirs:
        return f"No trial beats {name}, in {study.choose_by} ({in_digits(theirs)})."
    lower = "" if study.direction == "maximize" else ", where lower is better"
    return (
        f"Trial {chosen.trial} beats {name}, by {in_digits(abs(ours - theirs))} in {study.choose_by} "
        f"({in_digits(ours)} against {in_digits(theirs)}{lower})."
    )


def in_digits(value: float) -> str:
    """Return a metric as a sentence has it: with four decimals, or four digits where those would say little."""
    return f"{value:.4f}" if 0.01 <= abs(value) < 1000 or value == 0 else f"{value:.4g}"


def t_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % t-interval of the mean of two or more values."""
    from scipy import stats

    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()) - half, float(values.mean()) + half


def in_words(study: Study) -> str:
    """Return what is to be run: `random over a, b: 24 trials x 2 seeds`."""
    what = f"{study.sampler} over {', '.join(study.parameters)}: {counted(study.num_trials, 'trial')}"
    return what + (f" x {len(study.seeds)} seeds" if len(study.seeds) > 1 else "")
