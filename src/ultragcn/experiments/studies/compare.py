"""Models side by side: the same data, protocol and metrics, several seeds, one table.

runs.tsv          a line for each model and seed, as it ends; what stands there is not run again
values/           every user's values of each of them, Parquet
comparison.json   which data, protocol and metrics these are, and which version made each run on which day
table.tsv/.md     a line for each model: mean over seeds, interval, significance, seconds, memory
table.tex         the same for a paper, with the commands of booktabs
table.png         the same as a picture, where matplotlib is installed

Each run is a process of its own, so that its peak memory is its own and one that fails leaves the others alone. From Python
(`ultragcn.compare`) all runs are in the process that asks for them.
"""

import json
import math
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import ultragcn
from ultragcn import storage
from ultragcn.data.datasets import Dataset, load_dataset
from ultragcn.errors import DataWarning, MissingDependencyError, UltraGCNError, UsageError
from ultragcn.evaluation import significance
from ultragcn.evaluation.dialects import dialect_of
from ultragcn.evaluation.evaluate import evaluate_by_user
from ultragcn.evaluation.metrics import DEFAULT_LABELS, OF_ALL_LISTS, UserValues, parse_labels
from ultragcn.experiments import plots
from ultragcn.experiments.runs.manifest import git_commit, split_hash
from ultragcn.experiments.studies.entries import Entry, Factory, entries_of
from ultragcn.experiments.studies.workers import Done, Failed, Worker
from ultragcn.forms import Optional
from ultragcn.machine import peak_memory_mb, refuse_lost_threads, thread_limit
from ultragcn.models.registry import note_of_defaults
from ultragcn.progress import Progress, Silent

if TYPE_CHECKING:
    import polars as pl

DEFAULT_MODELS = ("popularity", "itemknn", "rp3beta", "ease", "ials", "ultragcn")
DIALECT = "lightgcn"

COMPARISON_FORM = {
    "dataset": str, "protocol": str, "data_hash": str, "metrics": [str], "dialect": str, "num_users": int,
    Optional("split_hash"): str, Optional("refit"): bool, Optional("command"): [str],
    Optional("made"): {str: {"version": str, "commit": (str, None), "day": str}},
}  # fmt: skip
"""The form (`forms`) of comparison.json."""
_OTHER = {
    "dataset": "another data set or split", "data_hash": "another data set or split", "split_hash": "another data set or split",
    "num_users": "another data set or split", "protocol": "another protocol", "refit": "with or without refit",
    "metrics": "other metrics", "dialect": "another dialect",
}  # fmt: skip
"""What differs when a field of comparison.json does."""

_SIGNIFICANT = 0.05
_LATEX = {letter: f"\\{letter}" for letter in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}

RUNS, VALUES, COMPARISON, TABLE = "runs.tsv", "values", "comparison.json", "table"


class Difference(NamedTuple):
    """How far a model is from the best one, by a metric."""

    mean: float
    interval: tuple[float, float] | None
    """95 % bootstrap interval over users of the paired difference; None of a metric that is not a mean over users."""


class Line(NamedTuple):
    """One model's line of the table."""

    model: str
    settings: str
    """JSON of the settings that are not defaults; or, of a model that failed, why."""
    settings_from: str
    """`kept` for the data set and its split (configs/), `given` by the caller, `chosen` on validation here, or `defaults`."""
    num_seeds: int
    """0 for a model that failed."""
    means: dict[str, float]
    """Label -> mean over seeds."""
    intervals: dict[str, tuple[float, float]]
    """Label -> 95 % bootstrap interval over users, of their values averaged over seeds."""
    spread: float
    """Standard deviation of the first metric over seeds (n - 1 in the denominator); nan where there is one."""
    p_value: float | None
    """Of a paired t-test on the first metric against the best model, with Holm's correction; None for the best."""
    train_seconds: float
    """Mean."""
    peak_memory_mb: float
    """Largest."""
    difference: Difference | None = None
    """Of the first metric to the best model; None for the best."""
    with_history: float = np.nan
    """Mean of the first metric over the test users who have train items; nan where all have, or none."""


class Maker(NamedTuple):
    """A version of ultragcn that made runs of a table."""

    version: str
    commit: str | None
    """Of the clone that the version ran from, with `+` where its code was changed since; None outside a clone."""
    days: tuple[str, ...]
    """Days (UTC) on which the runs ended, earliest first."""
    models: tuple[str, ...]
    """Models of these runs, in the order of the table."""


@dataclass(frozen=True)
class Table:
    """The lines, best first, and what they are about."""

    dataset: str
    protocol: str
    """As `protocol_words` says it."""
    num_users: int
    labels: tuple[str, ...]
    lines: tuple[Line, ...]
    makers: tuple[Maker, ...] = ()
    """Versions that made the runs, as far as they were recorded."""
    unrecorded: tuple[str, ...] = ()
    """Models with runs whose version was not recorded."""
    num_without_history: int = 0
    """Test users who have no train items; with a refit, neither train nor validation items."""
    is_refitted: bool = False
    tuning: str = ""
    """How to tune the models that have `defaults`; empty where there are none to tune."""

    def __len__(self) -> int:
        return len(self.lines)

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines)

    def __repr__(self) -> str:
        return text(self) + (f"\n{self.tuning}" if self.tuning else "")

    def to_frame(self) -> "pl.DataFrame":
        """Return a polars frame with a row for each model that ended, best first: its name, means over seeds, and the rest of `Line`."""
        import polars as pl

        first = self.labels[0]
        rows = [
            {"model": line.model, "seeds": line.num_seeds, **line.means, f"{first}_low": line.intervals.get(first, (None, None))[0],
             f"{first}_high": line.intervals.get(first, (None, None))[1], "seed_std": line.spread if line.num_seeds > 1 else None,
             "p_holm": line.p_value, "train_seconds": line.train_seconds, "settings": line.settings}
            for line in self.lines if line.num_seeds
        ]  # fmt: skip
        return pl.DataFrame(rows, infer_schema_length=None)


def compare(
    source: Mapping[str, Any] | Dataset,
    models: Sequence[str] | Mapping[str, Factory | None],
    seeds: Sequence[int],
    out: Path,
    *,
    metrics: Sequence[str] = DEFAULT_LABELS,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    refit: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
    apart: bool = True,
) -> Table:
    """Train every model with every seed and evaluate it on test; return the table, and leave it in `out`.

    What `out` holds of the same comparison is not run again: after an interrupt, or with more models or seeds, call it anew.

    Parameters
    ----------
    source : dict or Dataset
        Arguments of `load_dataset`, by name: which data, and under which protocol. Or the data set itself, where no run is `apart`. Under
        `clean`, a model with epochs chooses on validation; under `authors`, on test.
    models : list of str, or dict of str -> callable
        Names of `MODELS`. The settings are those kept for the data set and this split of it (configs/), else the defaults. Where times are
        known, popularity chooses its half-life on validation, unless it is given one. In a dict, a callable makes a model
        of your own, which stands in the table under its name: a class or a function that another process can import. It is called with
        what `settings` has for the name, and with `seed` if it takes one. What it returns has `fit(train)`, perhaps with `valid`, and
        `recommend(user_ids, top_k)`, as `evaluate` needs it. `ListsFile(path)` stands for ranked lists from elsewhere. None stands for
        the model of this library that has the name.
    seeds : list of int
        A model that draws nothing, or takes no seed, runs once, as seed 0.
    out : Path
    metrics : list of str
        Labels; the first one orders the table and is tested user by user, so users must have values of it.
    settings : dict of model -> dict, optional
        Hyper-parameters that win over those kept.
    refit : bool
        Under `clean`, train every model once more, on train and validation together and for as many epochs as it chose, before test
        is read.
    overwrite : bool
        Drop what `out` holds of another comparison.
    progress : Progress, optional
        Shown the runs.
    tell : callable, optional
        Called with what is worth knowing before the first run, a sentence at a time.
    apart : bool
        Whether each run is a process of its own.

    Raises
    ------
    UsageError
        Unknown models, metrics or settings, a device that is not there, a model of your own that lacks a verb or cannot be sent to
        another process, or an `out` that holds another comparison: before anything is run.
    MissingDependencyError
        A package that one of the models needs is not installed: likewise.
    KeyboardInterrupt
        With a message that says what is kept.
    """
    refuse_lost_threads()
    labels, settings = [str(label) for label in parse_labels(metrics)], settings or {}
    entries = entries_of(models, settings)
    _refuse_unfit(source, entries, seeds, labels, refit, apart)
    dataset = source if isinstance(source, Dataset) else load_dataset(**source)
    if not len(dataset.test):
        raise UsageError("split none holds nothing out, so there is nothing to compare models on; give another split")
    plan, settings_from = _planned(dataset, entries, seeds)
    _refuse_others(out)
    with storage.sole_writer(out):
        kept_labels = _prepare(out, _about(dataset, labels, refit), overwrite)
        done = _done(out, plan, kept_labels)
        todo = [run for run in plan if run not in done]
        sentences = [
            *dataset.notes,
            "each model is measured on test, which it has not seen; ultragcn train makes a model to use of the best",
        ]
        library = [name for name, entry in entries.items() if entry.factory is None and not entry.settings]
        if note := note_of_defaults(library, dataset.known_as, dataset.tuned_as):
            sentences.append(note)
        if done:
            sentences.append(f"{len(done)} of {len(plan)} runs found, {len(todo)} to do")
        if others := sorted(_kept_models(out) - {model for model, _ in plan}):
            sentences.append(f"{out} also holds runs of {', '.join(others)}, which stay; the table has them when --models names them too")
        for sentence in sentences:
            if tell is not None:
                tell(sentence)
        with_history = _ids_with_history(dataset, refit)
        del dataset
        failed = _run(plan, todo, source, entries, refit, kept_labels, out, progress or Silent(), _apart if apart else _here)
        table = _tabulate(out, _done(out, plan, kept_labels), failed, settings_from, labels, with_history)
        table = replace(table, tuning=_tuning(source, entries, table))
        _write(table, out)
        return table


def markdown(table: Table, failures: bool = True) -> str:
    """Return the table in Markdown.

    Sentences above the table say what is compared. Those under it say how to read it, which version made it on which day, and, unless
    without `failures`, why models failed.
    """
    first, ended = table.labels[0], [line for line in table.lines if line.num_seeds]
    num_with_history = table.num_users - table.num_without_history
    of_some = [f"{first}, {num_with_history} with history"] if 0 < num_with_history < table.num_users else []
    head = [
        "model", "settings", "seeds", *table.labels, *of_some, f"95 % interval of {first}", "difference to the best", "p", "over seeds",
        "seconds", "peak MB",
    ]  # fmt: skip
    rows = [head, ["---"] * len(head)]
    for line in ended:
        p = "" if line.p_value is None else f"{line.p_value:.2g}" if line.p_value else "< 1e-300"
        rows.append([
            line.model, line.settings_from, str(line.num_seeds), *(f"{line.means[label]:.4f}" for label in table.labels),
            *(f"{line.with_history:.4f}" for _ in of_some), " - ".join(f"{end:.4f}" for end in line.intervals.get(first, ())),
            _difference_words(line.difference), "best" if line.p_value is None and len(ended) > 1 else p,
            f"± {line.spread:.4f}" if line.num_seeds > 1 else "", f"{line.train_seconds:.3g}",
            "" if math.isnan(line.peak_memory_mb) else f"{line.peak_memory_mb:.0f}",
        ])  # fmt: skip
    about = f"{table.dataset} has {table.num_users} test users. The protocol is {table.protocol}. The metrics follow the dialect {DIALECT}."
    failed = [f"{line.model} failed: {line.settings}" for line in table.lines if failures and not line.num_seeds]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    history = [_history_words(table, of_some)] if table.num_without_history else []
    under = [reading(first), *made_by(table), *history, *([table.tuning] if table.tuning else []), *failed]
    return "\n".join([about, "", *lines, *(line for paragraph in under for line in ("", paragraph))]) + "\n"


def reading(first: str) -> str:
    """Return how to read a table in Markdown whose first metric is `first`."""
    return (
        f"The column p has the p-value of a paired t-test of {first} over users against the best model, with Holm's correction. The "
        f"difference to the best is that of {first}, paired by user, with its 95 % interval. The intervals are bootstraps over users. "
        "Settings are `kept` where they were chosen for this data set and split (configs/), `given` where --settings gave them, `chosen` "
        "where popularity chose its half-life on validation, and `defaults` where they were chosen for no data set."
    )


def made_by(table: Table) -> list[str]:
    """Return which versions made the runs of a table and on which days, a sentence for each version; nothing where none is recorded."""
    alone = len(table.makers) == 1 and not table.unrecorded
    sentences = []
    for maker in table.makers:
        what = "This table was" if alone else f"The runs of {', '.join(maker.models)} were"
        commit = "" if maker.commit is None else f", commit {maker.commit[:7]}{' with changes' if maker.commit.endswith('+') else ''},"
        first, last = maker.days[0], maker.days[-1]
        when = f"on {first}" if first == last else f"from {first} to {last}"
        sentences.append(f"{what} made by ultragcn {maker.version}{commit} {when}.")
    if table.makers and table.unrecorded:
        sentences.append(f"The runs of {', '.join(table.unrecorded)} were made by a version that was not recorded.")
    return sentences


def _history_words(table: Table, of_some: Sequence[str]) -> str:
    """Return how many test users have nothing that a model could learn their taste from; `of_some` heads the column of the others."""
    pairs = "train or validation" if table.is_refitted else "train"
    have = "test user has" if table.num_without_history == 1 else "test users have"
    others = "".join(f" The column {head} has the mean over the others." for head in of_some)
    return (
        f"{table.num_without_history} of {table.num_users} {have} no {pairs} items. Every model of this library lists popular items for "
        f"such users, each in its own way.{others}"
    )


def _difference_words(difference: Difference | None) -> str:
    if difference is None:
        return ""
    ends = "" if difference.interval is None else f" ({difference.interval[0]:+.4f} to {difference.interval[1]:+.4f})"
    return f"{difference.mean:+.4f}{ends}"


_TO_VARY = {
    "itemknn": "num_neighbors=50,100,200,400", "rp3beta": "beta=0:1", "ease": "l2=log:10:10000", "sparse-ease": "l2=log:10:10000",
    "ials": "l2=log:0.001:0.1", "bpr": "l2=log:0.003:0.3", "lightgcn": "l2_weight=log:0.00001:0.01",
}  # fmt: skip
"""What matters most of each baseline, and a range of it to begin a sweep with. UltraGCN with defaults tunes itself as it trains."""


def _tuning(source: Mapping[str, Any] | Dataset, entries: Mapping[str, Entry], table: Table) -> str:
    """Return a sentence on the models that have defaults, with the command that tunes one of them; empty where there are none."""
    untuned = [line.model for line in table.lines if line.num_seeds and line.settings_from == "defaults" and line.model in _TO_VARY]
    untuned = [model for model in untuned if entries[model].factory is None]
    if not untuned:
        return ""
    given = {"source": source.known_as or "..."} if isinstance(source, Dataset) else source
    data = given["source"] if isinstance(given["source"], (str, Path)) else "..."
    usual = {"protocol": "clean", "split_seed": 0}
    options = {"dataset": data} | {
        name: value for name, value in given.items() if name != "source" and value is not None and usual.get(name) != value
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    model = untuned[0]
    sampler = ["--sampler", "tpe"] if ":" in _TO_VARY[model] else []
    command = shlex.join(["ultragcn", "sweep", *words, "--model", model, "--vary", _TO_VARY[model], *sampler])
    return (
        f"Not tuned on these data, because their settings are defaults: {', '.join(untuned)}. This tunes {model}: `{command}`. It ends "
        "with a file best.toml, which `--settings` takes."
    )


def text(table: Table) -> str:
    """Return the table for a terminal: a line a model, best first, in columns."""
    first = table.labels[0]
    rows = [["model", "seeds", *table.labels, f"95 % of {first}", "over seeds", "p", "seconds"]]
    for line in table.lines:
        if line.num_seeds:
            interval = " - ".join(f"{end:.4f}" for end in line.intervals.get(first, ()))
            p_value = "best" if line.p_value is None else f"{line.p_value:.2g}" if line.p_value else "< 1e-300"
            spread = f"± {line.spread:.4f}" if line.num_seeds > 1 else ""
            means = [f"{line.means[label]:.4f}" for label in table.labels]
            rows.append([line.model, str(line.num_seeds), *means, interval, spread, p_value, f"{line.train_seconds:.3g}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    about = f"{table.dataset}, protocol {table.protocol}, {table.num_users} test users"
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([about, *lines, *(f"{line.model} failed: {line.settings}" for line in table.lines if not line.num_seeds)])


def latex(table: Table) -> str:
    """Return the table for LaTeX with booktabs: the best value of each metric is bold, and `*` marks models the best is told apart from."""
    ended = [line for line in table.lines if line.num_seeds]
    first = table.labels[0]
    highest = {label: max((line.means[label] for line in ended), default=np.nan) for label in table.labels}
    head = ["Model", *(_in_latex(label) for label in table.labels), f"95\\,\\% interval of {_in_latex(first)}", "Seconds"]
    rows = []
    for line in ended:
        values = [f"{line.means[label]:.4f}" for label in table.labels]
        marks = ["$^{*}$" if line.p_value is not None and line.p_value < _SIGNIFICANT else "", *[""] * (len(values) - 1)]
        cells = [
            (f"\\textbf{{{value}}}" if line.means[label] == highest[label] else value) + mark
            for label, value, mark in zip(table.labels, values, marks, strict=True)
        ]
        interval = " -- ".join(f"{end:.4f}" for end in line.intervals.get(first, ()))
        rows.append([_in_latex(line.model), *cells, interval, f"{line.train_seconds:.3g}"])
    about = [
        f"{table.dataset}, protocol {table.protocol}, dialect {DIALECT}, {table.num_users} test users; bold: the highest value.",
        f"*: worse in {first} than the best model, p < {_SIGNIFICANT} (paired t-test over users, Holm's correction). Needs booktabs.",
    ]
    body = [" & ".join(row) + r" \\" for row in rows]
    lines = [f"\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule", *body]
    return "\n".join([*(f"% {line}" for line in about), *lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _in_latex(text: str) -> str:
    """Return text with what LaTeX would take for commands as letters."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def protocol_words(about: Mapping[str, Any]) -> str:
    """Return under which protocol a comparison is, as its title says it; `about` is what its comparison.json holds."""
    protocol: str = about["protocol"]
    return protocol + (", refitted on train and validation" if about.get("refit") else "")


def _refuse_unfit(
    source: Mapping[str, Any] | Dataset, entries: Mapping[str, Entry], seeds: Sequence[int], labels: Sequence[str], refit: bool, apart: bool
) -> None:
    """Raise what can be said against a comparison before the data are read."""
    first, *_ = parse_labels(labels)
    if first.metric in OF_ALL_LISTS:
        raise UsageError(
            f"the first metric is tested user by user, and {first.metric} belongs to all lists together; put one such as recall@20 first"
        )
    protocol = source.protocol if isinstance(source, Dataset) else source.get("protocol", "clean")
    if refit and protocol != "clean":
        raise UsageError("refit trains on train and validation together, and only the protocol clean holds validation out; leave one out")
    if not entries or not seeds:
        raise UsageError("give at least one model and one seed")
    for entry in entries.values():
        entry.check(apart)


def _ids_with_history(dataset: Dataset, refit: bool) -> np.ndarray:
    """Return the ids of the users who have items among what models are trained on."""
    degrees = dataset.train.user_degrees
    if refit and dataset.valid is not None:
        degrees = degrees + dataset.valid.user_degrees
    ids: np.ndarray = dataset.train.user_ids.ids[degrees > 0]
    return ids


def _planned(
    dataset: Dataset, entries: Mapping[str, Entry], seeds: Sequence[int]
) -> tuple[dict[tuple[str, int], dict[str, str]], dict[str, str]]:
    """Return the runs, by model and seed, with what `runs.tsv` says of their settings; and where each model has its settings from."""
    plan, settings_from = {}, {}
    for model, entry in entries.items():
        settings_from[model] = entry.settings_from(dataset)
        for seed in dict.fromkeys(seeds) if entry.is_random(dataset) else [0]:
            plan[model, seed] = entry.columns(dataset, seed)
    return plan, settings_from


def _about(dataset: Dataset, labels: Sequence[str], refit: bool) -> dict[str, Any]:
    return {
        "dataset": dataset.name, "protocol": dataset.protocol, "refit": refit, "data_hash": dataset.hash, "split_hash": split_hash(dataset),
        "metrics": list(labels), "dialect": DIALECT, "num_users": int((dataset.test.user_degrees > 0).sum()),
    }  # fmt: skip


def _prepare(out: Path, about: dict[str, Any], overwrite: bool) -> list[str]:
    """Begin a comparison, or go on with the one that is there. Return the metrics in the order in which the folder has them."""
    try:
        if (out / COMPARISON).exists() and not overwrite:
            about = _same_comparison(out, about)
            storage.write_json(out / COMPARISON, about | {"command": sys.argv})
            return list(about["metrics"])
        for name in (RUNS, *(f"{TABLE}.{kind}" for kind in ("tsv", "md", "tex", "png"))):
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(out / VALUES, ignore_errors=True)
    except OSError as error:
        raise UsageError(f"cannot use {out} for a comparison: {error.strerror}; choose a folder you can write to") from error
    storage.write_json(out / COMPARISON, about | {"command": sys.argv})
    return list(about["metrics"])


def _refuse_others(out: Path) -> None:
    """Refuse a folder that holds something else, before anything is put into it."""
    try:
        present = sorted(path.name for path in out.iterdir()) if out.exists() else []
    except OSError as error:
        raise UsageError(f"cannot use {out} for a comparison: {error.strerror}; choose a folder you can write to") from error
    if present and COMPARISON not in present:
        raise UsageError(f"{out} already holds files of something else ({', '.join(present[:3])}); give another --out")


def _same_comparison(out: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Return what the comparison in `out` says of itself, with the metrics it has; refuse one that is not `about` the same.

    Of its metrics some may be asked for: every user's values of all of them are there.
    """
    present = {"refit": False} | storage.read_json(out / COMPARISON, COMPARISON_FORM)  # one of before there was a refit does not say so
    labels: list[str] = present.get("metrics", [])
    same = present | ({"metrics": about["metrics"]} if set(about["metrics"]) <= set(labels) else {})
    changed = dict.fromkeys(other for name, other in _OTHER.items() if same.get(name) != about[name])
    if list(changed) == [_OTHER["metrics"]]:
        raise UsageError(
            f"{out} holds another comparison (other metrics): it has values of {', '.join(labels)}, not of "
            f"{', '.join(sorted(set(about['metrics']) - set(labels)))}; ask for some of those it has, give another --out, or --overwrite"
        )
    if changed:
        raise UsageError(f"{out} holds another comparison ({', '.join(changed)}); give another --out, or --overwrite")
    return present | {"metrics": labels}


def _done(out: Path, plan: Mapping[tuple[str, int], dict[str, str]], labels: Sequence[str]) -> dict[tuple[str, int], dict[str, str]]:
    """Return the rows of runs.tsv that belong to the plan, the last one of each run, where every user's values are there too."""
    path = out / RUNS
    if not path.exists() or path.stat().st_size == 0:
        return {}
    columns = ["model", "seed", "settings", "settings_hash", *labels, "train_seconds", "peak_memory_mb"]
    try:
        with open(path, encoding="utf-8") as file:
            if file.readline().rstrip("\n").split("\t") != columns:
                raise ValueError("other columns")
        rows = {(row["model"], int(row["seed"])): row for row in storage.read_rows(path)}
        for row in rows.values():
            for name in columns[4:]:
                if math.isinf(float(row[name] or ("" if name in labels else "nan"))):
                    raise ValueError(f"{name} is {row[name]}")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is not as compare writes it; put it back as it was, or start anew with --overwrite") from error
    same = {run: row for run, row in rows.items() if run in plan and plan[run]["settings_hash"] == row["settings_hash"]}
    return {run: row for run, row in same.items() if _values_path(out, *run, row["settings_hash"]).exists()}


def _kept_models(out: Path) -> set[str]:
    return {row["model"] for row in storage.read_rows(out / RUNS, ["model"])} if (out / RUNS).is_file() else set()


def _run(
    plan: Mapping[tuple[str, int], dict[str, str]],
    todo: Sequence[tuple[str, int]],
    source: Mapping[str, Any] | Dataset,
    entries: Mapping[str, Entry],
    refit: bool,
    labels: Sequence[str],
    out: Path,
    show: Progress,
    run: Callable[..., tuple[dict[str, Any], str]],
) -> dict[str, str]:
    """Run what is to do of the plan, a row of runs.tsv for each; return why models failed, which are not tried with other seeds."""
    failed: dict[str, str] = {}
    commit = git_commit() if todo else None
    show.start("comparing", len(plan), "run")
    show.advance(len(plan) - len(todo))
    try:
        for model, seed in todo:
            show.advance(0, {"model": model, "seed": seed})
            if model not in failed:
                row, why = run(source, entries[model], seed, refit, labels, out)
                if why:
                    failed[model] = why
                else:
                    storage.append_row(out / RUNS, {"model": model, "seed": seed} | plan[model, seed] | row)
                    _record(out, _values_path(out, model, seed, plan[model, seed]["settings_hash"]).stem, commit)
            show.advance(1)
    except KeyboardInterrupt:
        kept = len(_done(out, plan, labels))
        raise KeyboardInterrupt(f"interrupted; {kept} of {len(plan)} runs are kept in {out}; the same command goes on from there") from None
    finally:
        show.finish()
    return failed


def _record(out: Path, run: str, commit: str | None) -> None:
    """Write into comparison.json that this version has made a run today; `run` is the name of its file in values/."""
    about = storage.read_json(out / COMPARISON, COMPARISON_FORM)
    today = {"version": ultragcn.__version__, "commit": commit, "day": _today()}
    storage.write_json(out / COMPARISON, about | {"made": about.get("made", {}) | {run: today}})


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _makers(
    out: Path, rows: Mapping[str, Sequence[Mapping[str, str]]], made: Mapping[str, Mapping[str, Any]]
) -> tuple[list[Maker], list[str]]:
    """Return the versions that made the runs of a table, and the models with runs whose version `made` does not have."""
    days: dict[tuple[str, str | None], list[str]] = {}
    models: dict[tuple[str, str | None], dict[str, None]] = {}
    unrecorded: dict[str, None] = {}
    for model, of_seeds in rows.items():
        for row in of_seeds:
            run = made.get(_values_path(out, model, int(row["seed"]), row["settings_hash"]).stem)
            if run is None:
                unrecorded[model] = None
            else:
                key = run["version"], run["commit"]
                days.setdefault(key, []).append(run["day"])
                models.setdefault(key, {})[model] = None
    makers = [Maker(*key, tuple(sorted(set(days[key]))), tuple(models[key])) for key in sorted(days, key=lambda key: min(days[key]))]
    return makers, list(unrecorded)


def _apart(source: Mapping[str, Any], entry: Entry, seed: int, refit: bool, labels: Sequence[str], out: Path) -> tuple[dict[str, Any], str]:
    """Run one model with one seed in a process of its own; return its row, and why it failed if it did."""
    worker = Worker(run_one, thread_limit())
    try:
        worker.call(dict(source), entry, seed, refit, list(labels), out)
        match worker.result():
            case Done(row):
                return row, ""
            case Failed(UltraGCNError() as error):
                return {}, str(error)
            case Failed(error):
                raise error
        return {}, "its process was killed, most likely because memory ran out"
    finally:
        worker.end()


def _here(
    source: Mapping[str, Any] | Dataset, entry: Entry, seed: int, refit: bool, labels: Sequence[str], out: Path
) -> tuple[dict[str, Any], str]:  # fmt: skip
    """Run one model with one seed in this process; return its row, and why it failed if it did.

    The row says nothing of memory: what the process took is not one run's.
    """
    try:
        return run_one(source, entry, seed, refit, list(labels), out) | {"peak_memory_mb": ""}, ""
    except UltraGCNError as error:
        return {}, str(error)


def run_one(
    source: Mapping[str, Any] | Dataset, entry: Entry, seed: int, refit: bool, labels: list[str], out: Path
) -> dict[str, Any]:  # fmt: skip
    """Train and evaluate one model; write every user's values and return the row of runs.tsv."""
    import polars as pl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # said once, by the process that compares
        dataset = source if isinstance(source, Dataset) else load_dataset(**source)
    settings_hash = entry.columns(dataset, seed)["settings_hash"]
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        fitted, seconds, seen = entry.fitted(dataset, seed, refit)
        result = evaluate_by_user(fitted, dataset.test, labels, DIALECT, **seen)
    with storage.atomic_path(_values_path(out, entry.name, seed, settings_hash)) as temporary:
        pl.DataFrame({"user_id": dataset.train.user_ids.ids[result.user_index].tolist(), **result.values}).write_parquet(temporary)
    measured = {label: result.means[label] for label in labels}
    chosen = {"settings": json.dumps(fitted.config.changed())} if entry.settings_from(dataset) == "chosen" else {}
    return chosen | measured | {"train_seconds": round(seconds, 3), "peak_memory_mb": peak_memory_mb() or ""}


def _show_warning(message: Warning | str, *where: Any, **more: Any) -> None:
    """Show a warning as the command does, without the place in the code from which it came."""
    print(f"ultragcn: warning: {message}", file=sys.stderr)


def _values_path(out: Path, model: str, seed: int, settings_hash: str) -> Path:
    return out / VALUES / f"{model}-{seed}-{settings_hash}.parquet"


def _read_values(path: Path, row: Mapping[str, str], labels: Sequence[str]) -> "pl.DataFrame":
    """Return the values of every user that a run left; refuse a file that does not have the means that the run has in runs.tsv."""
    import polars as pl

    wrong = f"{path} is not as compare writes it; put it back as it was, or start anew with --overwrite"
    try:
        frame = pl.read_parquet(path)
        means = {label: float(frame[label].cast(pl.Float64).mean()) for label in frame.columns if label in labels}  # type: ignore[arg-type]
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a panic of polars is not an Exception
        raise UsageError(wrong) from error
    if not means or any(not math.isclose(mean, float(row[label]), rel_tol=1e-6, abs_tol=1e-9) for label, mean in means.items()):
        raise UsageError(wrong)
    return frame


def _tabulate(out: Path, done: Mapping[tuple[str, int], dict[str, str]], failed: Mapping[str, str], settings_from: Mapping[str, str],
              labels: Sequence[str], with_history: np.ndarray) -> Table:  # fmt: skip

    about = storage.read_json(out / COMPARISON, COMPARISON_FORM)
    rows: dict[str, list[dict[str, str]]] = {}
    for (model, _), row in done.items():
        if model not in failed:
            rows.setdefault(model, []).append(row)
    values: dict[str, dict[str, np.ndarray]] = {}
    has_history: np.ndarray = np.ones(0, np.bool_)
    for model, of_seeds in rows.items():
        frames = [_read_values(_values_path(out, model, int(row["seed"]), row["settings_hash"]), row, labels) for row in of_seeds]
        values[model] = {label: np.mean([frame[label] for frame in frames], axis=0) for label in frames[0].columns if label in labels}
        has_history = np.isin(np.array(frames[0]["user_id"].to_list(), with_history.dtype), with_history)
    means = {
        model: {label: float(np.mean([float(row[label]) for row in of_seeds])) for label in labels} for model, of_seeds in rows.items()
    }
    first = labels[0]
    order = sorted(rows, key=lambda model: -means[model][first])
    p_values: dict[str, float] = {}
    if len(order) > 1:
        tests = significance.compare({model: values[model][first] for model in order}, baseline=order[0])
        p_values = {test.first: test.p_holm for test in tests}
    best = order[0] if order else ""
    differences = {
        model: Difference(
            means[model][first] - means[best][first], _intervals({first: values[model][first] - values[best][first]}).get(first)
        )
        for model in order[1:]
    }
    num_without = int((~has_history).sum())
    splits = 0 < num_without < len(has_history)
    lines = [
        Line(
            model, rows[model][0]["settings"], settings_from[model], len(rows[model]), means[model], _intervals(values[model]),
            _over_seeds([float(row[first]) for row in rows[model]]), p_values.get(model),
            float(np.mean([float(row["train_seconds"]) for row in rows[model]])),
            max(float(row["peak_memory_mb"] or "nan") for row in rows[model]),
            differences.get(model), float(values[model][first][has_history].mean()) if splits else np.nan,
        )
        for model in order
    ]  # fmt: skip
    nothing: dict[str, Any] = {}
    lines += [Line(model, why, settings_from[model], 0, nothing, nothing, np.nan, None, np.nan, np.nan) for model, why in failed.items()]
    makers, unrecorded = _makers(out, {model: rows[model] for model in order}, about.get("made", {}))
    return Table(
        about["dataset"], protocol_words(about), about["num_users"], tuple(labels), tuple(lines), tuple(makers), tuple(unrecorded),
        num_without, bool(about.get("refit")),
    )  # fmt: skip


def _over_seeds(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def _intervals(values: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Return the intervals of metrics that are plain means over users; F1 is not."""
    kept = {label: given for label, given in values.items() if not label.startswith("f1@")}
    if not kept:
        return {}
    labels = parse_labels(list(kept))
    ones = {label: np.ones(len(kept[str(label)])) for label in labels}
    table = UserValues(labels, {label: kept[str(label)] for label in labels}, ones, dialect_of(DIALECT), len(next(iter(ones.values()))))
    return significance.bootstrap_intervals(table)


def _write(table: Table, out: Path) -> None:
    storage.write_text(out / f"{TABLE}.md", markdown(table))
    storage.write_text(out / f"{TABLE}.tex", latex(table))
    first = table.labels[0]
    head = [
        "model",
        "seeds",
        *table.labels,
        f"{first}_low",
        f"{first}_high",
        "seed_std",
        "p_holm",
        "difference",
        "difference_low",
        "difference_high",
        "with_history",
        "train_seconds",
        "peak_memory_mb",
        "settings_from",
        "settings",
    ]
    rows = [head]
    for line in table.lines:
        low, high = line.intervals.get(first, (np.nan, np.nan))
        apart = line.difference
        ends = (None, None) if apart is None or apart.interval is None else apart.interval
        numbers = [
            *(line.means.get(label, np.nan) for label in table.labels), low, high, line.spread, line.p_value,
            None if apart is None else apart.mean, *ends, line.with_history, line.train_seconds,
        ]  # fmt: skip
        cells = ["" if number is None or np.isnan(number) else f"{number:.6g}" for number in [*numbers, line.peak_memory_mb]]
        rows.append([line.model, str(line.num_seeds), *cells, line.settings_from, line.settings])
    storage.write_text(out / f"{TABLE}.tsv", "".join("\t".join(row) + "\n" for row in rows))
    _draw(table, out / f"{TABLE}.png")


def _draw(table: Table, path: Path) -> None:
    """Draw the first metric with its intervals; nothing where matplotlib is not installed."""
    first = table.labels[0]
    points = [
        plots.Point({}, line.means[first], line.intervals.get(first), line.model, line.train_seconds)
        for line in table.lines
        if line.num_seeds
    ]
    if not points:
        return
    try:
        plots.side_by_side(points, first, f"{table.dataset}, protocol {table.protocol}", "users").write_png(path)
    except MissingDependencyError:
        return
