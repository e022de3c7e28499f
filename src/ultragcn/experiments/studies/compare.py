"""Models side by side: the same data, protocol and metrics, several seeds, one table.

runs.tsv          a line for each model and seed, as it ends; what stands there is not run again
values/           every user's values of each of them, Parquet
comparison.json   which data, protocol and metrics these are
table.tsv/.md     a line for each model: mean over seeds, interval, significance, seconds, memory
table.tex         the same for a paper, with the commands of booktabs
table.png         the same as a picture, where matplotlib is installed

Each run is a process of its own, so that its peak memory is its own and one that fails leaves the others alone. From Python
(`ultragcn.compare`) all runs are in the process that asks for them.
"""

import math
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ultragcn import storage
from ultragcn.data.datasets import Dataset, load_dataset
from ultragcn.errors import DataWarning, MissingDependencyError, UltraGCNError, UsageError
from ultragcn.evaluation import significance
from ultragcn.evaluation.dialects import dialect_of
from ultragcn.evaluation.evaluate import evaluate_by_user
from ultragcn.evaluation.metrics import DEFAULT_LABELS, OF_ALL_LISTS, UserValues, parse_labels
from ultragcn.experiments import plots
from ultragcn.experiments.runs.manifest import split_hash
from ultragcn.experiments.studies.entries import Entry, Factory, entries_of
from ultragcn.experiments.studies.workers import Done, Failed, Worker
from ultragcn.forms import Optional
from ultragcn.machine import peak_memory_mb, refuse_lost_threads, thread_limit
from ultragcn.progress import Progress, Silent

if TYPE_CHECKING:
    import polars as pl

DEFAULT_MODELS = ("popularity", "itemknn", "rp3beta", "ease", "ials", "ultragcn")
DIALECT = "lightgcn"

COMPARISON_FORM = {
    "dataset": str, "protocol": str, "data_hash": str, "metrics": [str], "dialect": str, "num_users": int,
    Optional("split_hash"): str, Optional("refit"): bool, Optional("command"): [str],
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


class Line(NamedTuple):
    """One model's line of the table."""

    model: str
    settings: str
    """JSON of the settings that are not defaults; or, of a model that failed, why."""
    settings_from: str
    """`kept` for the data set (configs/), `given` by the caller, or `defaults`."""
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


@dataclass(frozen=True)
class Table:
    """The lines, best first, and what they are about."""

    dataset: str
    protocol: str
    """As `protocol_words` says it."""
    num_users: int
    labels: tuple[str, ...]
    lines: tuple[Line, ...]

    def __len__(self) -> int:
        return len(self.lines)

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines)

    def __repr__(self) -> str:
        return text(self)

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
        Names of `MODELS`. The settings are those kept for the data set (configs/), else the defaults. In a dict, a callable makes a model
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
    plan, settings_from = _planned(dataset.known_as, entries, seeds)
    _refuse_others(out)
    with storage.sole_writer(out):
        kept_labels = _prepare(out, _about(dataset, labels, refit), overwrite)
        done = _done(out, plan, kept_labels)
        todo = [run for run in plan if run not in done]
        sentences = [
            *dataset.notes,
            "each model is measured on test, which it has not seen; ultragcn train makes a model to use of the best",
        ]
        if done:
            sentences.append(f"{len(done)} of {len(plan)} runs found, {len(todo)} to do")
        if others := sorted(_kept_models(out) - {model for model, _ in plan}):
            sentences.append(f"{out} also holds runs of {', '.join(others)}, which stay; the table has them when --models names them too")
        for sentence in sentences:
            if tell is not None:
                tell(sentence)
        del dataset
        failed = _run(plan, todo, source, entries, refit, kept_labels, out, progress or Silent(), _apart if apart else _here)
        table = _tabulate(out, _done(out, plan, kept_labels), failed, settings_from, labels)
        _write(table, out)
        return table


def markdown(table: Table, failures: bool = True) -> str:
    """Return the table in Markdown, with lines that say how it is to be read, and why models failed unless without `failures`."""
    head = ["model", "settings", "seeds", *table.labels, f"95 % interval of {table.labels[0]}", "over seeds", "p", "seconds", "peak MB"]
    rows = [head, ["---"] * len(head)]
    first = table.labels[0]
    for line in table.lines:
        if not line.num_seeds:
            continue
        rows.append([
            line.model, line.settings_from, str(line.num_seeds), *(f"{line.means[label]:.4f}" for label in table.labels),
            " - ".join(f"{end:.4f}" for end in line.intervals.get(first, ())), f"± {line.spread:.4f}" if line.num_seeds > 1 else "",
            "best" if line.p_value is None else f"{line.p_value:.2g}" if line.p_value else "< 1e-300", f"{line.train_seconds:.3g}",
            "" if math.isnan(line.peak_memory_mb) else f"{line.peak_memory_mb:.0f}",
        ])  # fmt: skip
    about = (
        f"{table.dataset}, protocol {table.protocol}, dialect {DIALECT}, {table.num_users} test users. p: paired t-test of {first} over "
        f"users against the best model, Holm's correction. Interval: bootstrap over users."
    )
    settings = "Settings: kept, chosen for this data set (configs/); given, by --settings; defaults, chosen for no data set."
    failed = [f"{line.model} failed: {line.settings}" for line in table.lines if failures and not line.num_seeds]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([about, "", *lines, "", settings, *([""] if failed else []), *failed]) + "\n"


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


def _planned(
    dataset: str | None, entries: Mapping[str, Entry], seeds: Sequence[int]
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
    """Return what the comparison in `out` says of itself, with the metrics in its order; refuse one that is not `about` the same."""
    present = {"refit": False} | storage.read_json(out / COMPARISON, COMPARISON_FORM)  # one of before there was a refit does not say so
    labels: list[str] = present.get("metrics", [])
    same = present | ({"metrics": about["metrics"]} if sorted(labels) == sorted(about["metrics"]) else {})
    changed = dict.fromkeys(other for name, other in _OTHER.items() if same.get(name) != about[name])
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
            show.advance(1)
    except KeyboardInterrupt:
        kept = len(_done(out, plan, labels))
        raise KeyboardInterrupt(f"interrupted; {kept} of {len(plan)} runs are kept in {out}; the same command goes on from there") from None
    finally:
        show.finish()
    return failed


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
    settings_hash = entry.columns(dataset.known_as, seed)["settings_hash"]
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        fitted, seconds, seen = entry.fitted(dataset, seed, refit)
        result = evaluate_by_user(fitted, dataset.test, labels, DIALECT, **seen)
    with storage.atomic_path(_values_path(out, entry.name, seed, settings_hash)) as temporary:
        pl.DataFrame({"user_id": dataset.train.user_ids.ids[result.user_index].tolist(), **result.values}).write_parquet(temporary)
    measured = {label: result.means[label] for label in labels}
    return measured | {"train_seconds": round(seconds, 3), "peak_memory_mb": peak_memory_mb() or ""}


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
              labels: Sequence[str]) -> Table:  # fmt: skip

    about = storage.read_json(out / COMPARISON, COMPARISON_FORM)
    rows: dict[str, list[dict[str, str]]] = {}
    for (model, _), row in done.items():
        if model not in failed:
            rows.setdefault(model, []).append(row)
    values: dict[str, dict[str, np.ndarray]] = {}
    for model, of_seeds in rows.items():
        frames = [_read_values(_values_path(out, model, int(row["seed"]), row["settings_hash"]), row, labels) for row in of_seeds]
        values[model] = {label: np.mean([frame[label] for frame in frames], axis=0) for label in frames[0].columns if label in labels}
    means = {
        model: {label: float(np.mean([float(row[label]) for row in of_seeds])) for label in labels} for model, of_seeds in rows.items()
    }
    first = labels[0]
    order = sorted(rows, key=lambda model: -means[model][first])
    p_values: dict[str, float] = {}
    if len(order) > 1:
        tests = significance.compare({model: values[model][first] for model in order}, baseline=order[0])
        p_values = {test.first: test.p_holm for test in tests}
    lines = [
        Line(
            model, rows[model][0]["settings"], settings_from[model], len(rows[model]), means[model], _intervals(values[model]),
            _over_seeds([float(row[first]) for row in rows[model]]), p_values.get(model),
            float(np.mean([float(row["train_seconds"]) for row in rows[model]])),
            max(float(row["peak_memory_mb"] or "nan") for row in rows[model]),
        )
        for model in order
    ]  # fmt: skip
    nothing: dict[str, Any] = {}
    lines += [Line(model, why, settings_from[model], 0, nothing, nothing, np.nan, None, np.nan, np.nan) for model, why in failed.items()]
    return Table(about["dataset"], protocol_words(about), about["num_users"], tuple(labels), tuple(lines))


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
        "train_seconds",
        "peak_memory_mb",
        "settings_from",
        "settings",
    ]
    rows = [head]
    for line in table.lines:
        low, high = line.intervals.get(first, (np.nan, np.nan))
        numbers = [*(line.means.get(label, np.nan) for label in table.labels), low, high, line.spread, line.p_value, line.train_seconds]
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
