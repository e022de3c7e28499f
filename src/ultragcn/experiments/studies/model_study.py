"""Studies of the library's own models: written in a short file or on the command line, run on a data set under a protocol.

name = "l2"                      # every line but dataset and [vary] may be left out
dataset = "electronics"          # and any option of the data: split = "last", min_rating = 4
protocol = "clean"
model = "ultragcn"
sampler = "random"               # grid, random, list, tpe
trials = 24
seeds = [0, 1]                   # or how many
choose_by = "ndcg@20"
metrics = ["recall@20", "ndcg@20"]
kept = true                      # trial 0 has the settings in use without the study; false: it is like the others

[vary]
item_item_weight = [0, 0.5, 1]
"l2_user,l2_item" = { low = 0.1, high = 1, log = true }      # both the same

[fixed]
embedding_dim = 32
"""

import json
import shlex
import tomllib
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ultragcn import storage
from ultragcn.config import checked, in_text, kind_of
from ultragcn.config.foreign_names import unknown_parameter
from ultragcn.data.datasets import Dataset, load_dataset
from ultragcn.data.interactions import Interactions
from ultragcn.data.options import DATA_OPTIONS
from ultragcn.errors import DataWarning, UsageError, counted, did_you_mean
from ultragcn.evaluation.evaluate import evaluate
from ultragcn.evaluation.metrics import DEFAULT_LABELS, labels_in_training, parse_labels, parse_selection
from ultragcn.experiments.runs.manifest import git_commit, split_hash
from ultragcn.experiments.studies.space import Range, Values, space_of
from ultragcn.experiments.studies.study import BEST, Study, Summary
from ultragcn.models.registry import VARIANTS, every_value, hyper_parameters, make_model
from ultragcn.models.ultragcn import UltraGCN

_SOURCE = ("dataset", "data_dir", "test", "valid", "titles", "items_table", "protocol", "split_seed", *DATA_OPTIONS)
_WORDS = ("name", *_SOURCE, "model", "sampler", "sampler_seed", "trials", "seeds", "choose_by", "metrics", "prune", "kept", "vary", "fixed")
"""What a study file may say."""


def read_study_file(path: Path) -> dict[str, Any]:
    """Return what a study file says; its name is that of the file unless it has another.

    Raises
    ------
    UsageError
        The file cannot be read, or says something unknown.
    """
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the study {path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read the study {path}: {error}") from error
    for word in said:
        if word not in _WORDS:
            raise UsageError(f"{path} says {word!r}, which a study has not{did_you_mean(word, _WORDS)} (allowed: {', '.join(_WORDS)})")
    for table in ("vary", "fixed"):
        if not isinstance(said.get(table, {}), dict):
            raise UsageError(f"{path}: {table} is a table, [{table}] with a line for each parameter")
    return {"name": path.stem} | said


def study_of(said: Mapping[str, Any], data: Dataset) -> Study:
    """Return the study that is said, of `data`; everything in it is checked.

    Parameters
    ----------
    said : dict
        As `read_study_file` returns it.
    data : Dataset
        What `load_dataset(**source_of(said))` returns.

    Raises
    ------
    UsageError
        A name or a value is wrong.
    """
    model = said.get("model", "ultragcn")
    vary, fixed = parameters_of(said)
    part, targets = _judged_on(data)
    if not len(targets):
        raise UsageError("split none holds nothing out, so no trial can be measured; give another split")
    choose_by = str(parse_selection(str(said.get("choose_by", "ndcg@20")).removeprefix(f"{part}_"), "choose_by"))
    labels = [str(label) for label in parse_labels([*said.get("metrics", DEFAULT_LABELS), choose_by])]
    sampler, seeds = said.get("sampler", "grid"), said.get("seeds", (0,))
    kept: Any = make_model(model, data.tuned_as, 0, _spread(fixed))
    varied = ("seed", *_spread(vary), *_spread(fixed))
    watched = model in VARIANTS and choose_by in labels_in_training(kept.config.select_by)
    if not isinstance(said.get("kept", True), bool):
        raise UsageError(f"kept is true (trial 0 has the settings in use without the study) or false, not {said['kept']!r}")
    if said.get("prune") and not watched:
        raise UsageError(
            f"pruning watches {choose_by} while models train, and {model} does not measure it then; "
            f"{f'set select_by to {choose_by}, ' if model in VARIANTS else ''}choose by another metric, or do not prune"
        )
    study = Study(
        name=said.get("name", data.name), parameters=vary, metrics=tuple(f"{part}_{label}" for label in labels),
        choose_by=f"{part}_{choose_by}", seeds=tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds), sampler=sampler,
        trials=said.get("trials", 0), fixed=fixed, sampler_seed=said.get("sampler_seed", 0),
        prune=said.get("prune", sampler == "tpe" and watched),
        about={"dataset": data.name, "protocol": data.protocol, "data_hash": data.hash, "split_hash": split_hash(data),
               "settings": _settings(kept, besides=varied), "settings_hash": _hash_of(kept, besides=varied)},
        kept={names: _in_one(names, kept) for names in vary} if said.get("kept", True) else None,
    )  # fmt: skip
    if len(study.seeds) > 1 and "seed" not in hyper_parameters(model):
        raise UsageError(f"{model} draws nothing, so every seed gives the same; give one seed, not {len(study.seeds)}")
    for unfitted in _models(study, model):
        unfitted.check_runnable()
    study.points()  # may find that a grid or list cannot be made
    return study


def parameters_of(said: Mapping[str, Any]) -> tuple[dict[str, Values | Range], dict[str, Any]]:
    """Return what varies, by name over what, and what is fixed, checked without looking at the data.

    Raises
    ------
    UsageError
        A name or a value is wrong.
    """
    declared = hyper_parameters(said.get("model", "ultragcn"))
    if "seed" in {**said.get("vary", {}), **said.get("fixed", {})}:
        raise UsageError("seeds are no parameter; give seeds = [0, 1, 2]")
    vary = {name: _checked_range(name, over, declared) for name, over in space_of(said.get("vary", {})).items()}
    fixed = {name: in_text(checked(_declared(name, declared), value)) for name, value in said.get("fixed", {}).items()}
    return vary, fixed


def without_effect(study: Study, model: str) -> list[str]:
    """Return a sentence for each parameter that is varied and changes nothing, whatever the others are."""
    if model not in VARIANTS:
        return []
    lacking = [unfitted.config.without_effect for unfitted in _models(study, model)]
    idle = set.intersection(*map(set, lacking))
    sentences = []
    for names in study.parameters:
        parts = list(_spread({names: None}))
        if idle.issuperset(parts):
            needed = lacking[0][parts[0]]
            sentences.append(f"{names} has no effect without {needed}; drop {names}, or give {needed}")
    return sentences


def _models(study: Study, model: str) -> list[Any]:
    """Return untrained models of the study: each value of each parameter, or the ends of its range, with the first of the others."""
    over = {name: over.values if isinstance(over, Values) else (over.low, over.high) for name, over in study.parameters.items()}
    first = {name: values[0] for name, values in over.items()}
    points = [{**study.fixed, **first, name: value} for name, values in over.items() for value in values]
    kept = study.about["settings"]
    return [make_model(model, None, study.seeds[0], kept | _spread(point)) for point in points]


def source_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a study that `load_dataset` takes."""
    source = {name: said[name] for name in _SOURCE if name in said}
    if "dataset" not in source:
        raise UsageError('a study names its data: dataset = "electronics"')
    return {"source": source.pop("dataset")} | source


@dataclass(frozen=True)
class ModelTrial:
    """The trial of a study: train a model on the data and measure it, on validation under `clean`, on test under `authors`."""

    source: Mapping[str, Any]
    """Arguments of `load_dataset`."""
    model: str
    metrics: tuple[str, ...]
    """Of the study."""

    def __call__(self, parameters: Mapping[str, Any], seed: int, report: Callable[[int, Mapping[str, Any]], None]) -> dict[str, Any]:
        """Return the metrics of the epoch that was kept; report every epoch of a model that has a history."""
        data = _data(json.dumps(dict(self.source), default=str))
        model: Any = make_model(self.model, data.tuned_as, seed, _spread(parameters))
        part, targets = _judged_on(data)
        told: dict[str, Any] = {"select_on": targets} if part == "test" else {}
        if isinstance(model, UltraGCN):
            columns = ("seconds", "loss", *labels_in_training(model.config.select_by))
            told["on_epoch"] = lambda record: report(record["epoch"], {name: record.get(name, "") for name in columns})
        model.fit(data.train, data.valid, **told)
        labels = [name.removeprefix(f"{part}_") for name in self.metrics]
        measured = evaluate(model, targets, labels)
        epoch = {"best_epoch": model.best_epoch_} if hasattr(model, "best_epoch_") else {}
        return {f"{part}_{label}": measured[label] for label in labels} | epoch | {"train_seconds": model.train_seconds_}


def write_best(out: Path, study: Study, model: str, source: Mapping[str, Any], chosen: Summary) -> Path:
    """Write the best trial as a configuration into the study's folder; return the file. `source`: arguments of `load_dataset`."""
    best = make_model(model, None, 0, study.about["settings"] | _spread({**study.fixed, **chosen.parameters}))
    # compare puts what a file says over what is kept for the data, so a baseline's says everything.
    settings = _settings(best) if model in VARIANTS else every_value(best)
    ends = chosen.intervals.get(study.choose_by)
    interval = "" if ends is None else f", 95 % interval {ends[0]:.5f} - {ends[1]:.5f}"
    options = {"dataset": source["source"]} | {name: value for name, value in source.items() if name != "source" and value is not None}
    data = shlex.join(word for name, value in options.items() for word in (f"--{name}", str(value)))
    which = "" if model in VARIANTS else f" --model {model}"
    use = f"ultragcn train {data}{which} --config {shlex.quote(str(out / BEST))}"
    about = [
        f"Trial {chosen.trial} of the study {study.name} in {out}, the best of sampler {study.sampler} over {', '.join(study.parameters)}.",
        f"{study.choose_by} {chosen.means[study.choose_by]:.5f} over {counted(chosen.num_seeds, 'seed')}"
        f" ({', '.join(map(str, study.seeds))}){interval}.",
        f"Data {study.about['dataset']} ({study.about['data_hash'][:12]}), protocol {study.about['protocol']}; "
        f"ultragcn commit {git_commit() or 'unknown'}.",
        use,
    ]
    lines = [*(f"# {line}" for line in about), "", *([] if model in VARIANTS else [f"[{model}]"])]
    lines += [f"{name} = {_toml(value)}" for name, value in settings.items()]
    storage.write_text(out / BEST, "\n".join(lines) + "\n")
    return out / BEST


def _judged_on(data: Dataset) -> tuple[str, Interactions]:
    """Return on which part of the data trials are measured and chosen, by name and itself."""
    return ("test", data.test) if data.valid is None else ("valid", data.valid)


def _settings(unfitted: Any, besides: Collection[str] = ("seed",)) -> dict[str, Any]:
    """Return the hyper-parameters of a model that are not at their defaults, without some."""
    return {name: value for name, value in unfitted.config.changed().items() if name not in besides}


def _hash_of(unfitted: Any, besides: Collection[str]) -> str:
    """Return a hash of the hyper-parameters of a model, of defaults too, without some."""
    values = {name: value for name, value in unfitted.config.in_use().items() if name not in besides}
    return storage.hash_bytes([json.dumps(values, sort_keys=True).encode()])[:16]


def _toml(value: Any) -> str:
    value = in_text(value)
    return json.dumps(value) if isinstance(value, (bool, str)) else repr(value)


@cache
def _data(source: str) -> Dataset:
    """Return the data set, read once in each worker."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # said once, by the process that sweeps
        return load_dataset(**json.loads(source))


def _spread(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters by their own names: `l2_user,l2_item` has one value for both, or as text one for each."""
    every: dict[str, Any] = {}
    for names, value in parameters.items():
        own = [name.strip() for name in names.split(",")]
        parts = value.split(",") if isinstance(value, str) and len(own) > 1 else []
        every |= zip(own, parts, strict=True) if len(parts) == len(own) else dict.fromkeys(own, value)
    return every


def _in_one(names: str, unfitted: Any) -> Any:
    """Return the value that a model has for `names`, as text has it: of several names whose values differ, all of them, `0.3,auto`."""
    values = [in_text(getattr(unfitted.config, name.strip())) for name in names.split(",")]
    return values[0] if len(set(map(str, values))) == 1 else ",".join(map(str, values))


def _declared(names: str, declared: Mapping[str, Any]) -> Any:
    """Return how the first of some hyper-parameters that have one value is declared; all of them must be known."""
    for name in (every := [name.strip() for name in names.split(",")]):
        if name not in declared:
            raise unknown_parameter("hyper-parameter", name, declared)
    return declared[every[0]]


def _checked_range(names: str, over: Values | Range, declared: Mapping[str, Any]) -> Values | Range:
    """Return what a parameter varies over with values of its type, all of them allowed."""
    rule = _declared(names, declared)
    if isinstance(over, Values):
        return Values(tuple(in_text(checked(rule, value)) for value in over.values))
    if kind_of(rule) not in (int, float):
        raise UsageError(f"{names} is no number; give a list of its values instead of a range")
    low, high = checked(rule, over.low), checked(rule, over.high)
    step = over.step if over.step is None else type(low)(over.step)
    if step is not None and step != over.step:
        raise UsageError(f"{names} is a whole number, so its step is one, not {over.step}")
    return replace(over, low=low, high=high, step=step)
