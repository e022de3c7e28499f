"""Models side by side: the same data, protocol and metrics, several seeds, one table.

runs.tsv          a line for each model and seed, as it ends; what stands there is not run again
values/           every user's values of each of them, Parquet
comparison.json   which data, protocol and metrics these are
table.tsv/.md     a line for each model: mean over seeds, interval, significance, seconds, memory
table.png         the same as a picture, where matplotlib is installed

Each run is a process of its own, so that its peak memory is its own and one that fails leaves the others alone.
"""

import json
import multiprocessing
import shutil
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ultragcn import storage
from ultragcn.baselines import BASELINES, baseline_for
from ultragcn.config import configuration_for
from ultragcn.data.datasets import Dataset, load_dataset
from ultragcn.errors import DataWarning, UltraGCNError, UsageError, unknown_name
from ultragcn.evaluation import significance
from ultragcn.evaluation.dialects import dialect_of
from ultragcn.evaluation.evaluate import evaluate_by_user
from ultragcn.evaluation.metrics import DEFAULT_LABELS, UserValues, parse_labels
from ultragcn.experiments.run import peak_memory_mb, split_hash
from ultragcn.model import UltraGCN
from ultragcn.progress import Progress, Silent
from ultragcn.recommender import Recommender

SOLVERS = {"ultragcn": "exact", "ultragcn-sgd": "sgd"}
MODELS = (*SOLVERS, *BASELINES)
"""Names of the models that can be compared."""
DEFAULT_MODELS = ("popularity", "itemknn", "rp3beta", "ease", "ials", "ultragcn")
DIALECT = "lightgcn"

RUNS, VALUES, COMPARISON, TABLE = "runs.tsv", "values", "comparison.json", "table"


class Line(NamedTuple):
    """One model's line of the table."""

    model: str
    settings: str
    """JSON of the settings that are not defaults; or, of a model that failed, why."""
    num_seeds: int
    """0 for a model that failed."""
    means: dict[str, float]
    """Label -> mean over seeds."""
    intervals: dict[str, tuple[float, float]]
    """Label -> 95 % bootstrap interval over users, of their values averaged over seeds."""
    spread: float
    """Standard deviation of the first metric over seeds."""
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
    num_users: int
    labels: tuple[str, ...]
    lines: tuple[Line, ...]


def compare(
    source: Mapping[str, Any],
    models: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    *,
    metrics: Sequence[str] = DEFAULT_LABELS,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Table:
    """Train every model with every seed and evaluate it on test; return the table, and leave it in `out`.

    What `out` holds of the same comparison is not run again: after an interrupt, or with more models or seeds, call it anew.

    Parameters
    ----------
    source : dict
        Arguments of `load_dataset`, by name: which data, and under which protocol. Under `clean`, a model with epochs chooses on
        validation; under `authors`, on test.
    models : list of str
        Of `MODELS`. The settings are those kept for the data set (configs/), else the defaults.
    seeds : list of int
        A model that draws nothing runs once.
    out : Path
    metrics : list of str
        Labels; the first one orders the table, and is what is tested.
    settings : dict of model -> dict, optional
        Hyper-parameters that win over those kept.
    overwrite : bool
        Drop what `out` holds of another comparison.
    progress : Progress, optional
        Shown the runs.

    Raises
    ------
    UsageError
        Unknown models, metrics or settings, or an `out` that holds another comparison: before anything is run.
    """
    labels = [str(label) for label in parse_labels(metrics)]
    settings = settings or {}
    for name in (*models, *settings):
        if name not in MODELS:
            raise unknown_name("model", name, MODELS)
    if not models or not seeds:
        raise UsageError("give at least one model and one seed")
    dataset = load_dataset(**source)
    plan = {}
    for model in dict.fromkeys(models):
        random = hasattr(_make(model, dataset.name, 0, settings.get(model, {})).config, "seed")
        for seed in dict.fromkeys(seeds) if random else [seeds[0]]:
            plan[model, seed] = json.dumps(_make(model, dataset.name, seed, settings.get(model, {})).config.changed())
    _prepare(out, _about(dataset, labels), overwrite)
    done = {(row["model"], int(row["seed"])) for row in _read_runs(out) if plan.get((row["model"], int(row["seed"]))) == row["settings"]}
    todo = [run for run in plan if run not in done]
    failed: dict[str, str] = {}
    show = progress or Silent()
    show.start("comparing", len(plan), "run")
    show.advance(len(plan) - len(todo))
    del dataset
    try:
        for model, seed in todo:
            if model not in failed:
                row, why = _apart(source, model, seed, settings.get(model, {}), labels, out)
                if why:
                    failed[model] = why
                else:
                    storage.append_row(out / RUNS, {"model": model, "seed": seed, "settings": plan[model, seed]} | row)
            show.advance(1, {"model": model, "seed": seed})
    finally:
        show.finish()
    table = _tabulate(out, plan, failed, labels)
    _write(table, out)
    return table


def markdown(table: Table) -> str:
    """Return the table in Markdown, with a line that says how it is to be read."""
    head = ["model", "seeds", *table.labels, f"95 % interval of {table.labels[0]}", "over seeds", "p", "seconds", "peak MB"]
    rows = [head, ["---"] * len(head)]
    failures = []
    for line in table.lines:
        if not line.num_seeds:
            failures.append(f"{line.model}: {line.settings}")
            continue
        first = table.labels[0]
        low, high = line.intervals.get(first, (np.nan, np.nan))
        rows.append([
            line.model, str(line.num_seeds), *(f"{line.means[label]:.4f}" for label in table.labels), f"{low:.4f} - {high:.4f}",
            f"± {line.spread:.4f}" if line.num_seeds > 1 else "", "best" if line.p_value is None else f"{line.p_value:.2g}",
            f"{line.train_seconds:.3g}", f"{line.peak_memory_mb:.0f}",
        ])  # fmt: skip
    about = (
        f"{table.dataset}, protocol {table.protocol}, dialect {DIALECT}, {table.num_users} test users. p: paired t-test of "
        f"{table.labels[0]} over users against the best model, Holm's correction. Interval: bootstrap over users."
    )
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([about, "", *lines, *([""] if failures else []), *failures]) + "\n"


def _make(model: str, dataset: str, seed: int, settings: Mapping[str, Any]) -> Recommender:
    """Return an untrained model with the settings kept for the data set."""
    if model in SOLVERS:
        return UltraGCN(configuration_for(dataset, SOLVERS[model], **({"seed": seed} | dict(settings))))
    seeded = {"seed": seed} if hasattr(BASELINES[model].Settings, "seed") else {}
    return baseline_for(model, dataset, **(seeded | dict(settings)))


def _about(dataset: Dataset, labels: Sequence[str]) -> dict[str, Any]:
    return {
        "dataset": dataset.name, "protocol": dataset.protocol, "data_hash": dataset.hash, "split_hash": split_hash(dataset),
        "metrics": list(labels), "dialect": DIALECT, "num_users": int((dataset.test.user_degrees > 0).sum()),
    }  # fmt: skip


def _prepare(out: Path, about: dict[str, Any], overwrite: bool) -> None:
    """Make the folder; refuse one that holds something else."""
    if overwrite:
        for name in (RUNS, COMPARISON, *(f"{TABLE}.{kind}" for kind in ("tsv", "md", "png"))):
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(out / VALUES, ignore_errors=True)
    if (out / COMPARISON).exists():
        present = storage.read_json(out / COMPARISON)
        if present != about:
            changed = ", ".join(name for name in about if present.get(name) != about[name])
            raise UsageError(f"{out} holds another comparison (other {changed}); give another --out, or --overwrite")
    elif out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} holds other files; give another --out")
    storage.write_json(out / COMPARISON, about)


def _read_runs(out: Path) -> list[dict[str, str]]:
    """Return the rows of runs.tsv, a later one of the same model and seed in the place of an earlier."""
    if not (out / RUNS).exists():
        return []
    head, *lines = [line.split("\t") for line in (out / RUNS).read_text(encoding="utf-8").splitlines()]
    rows = [dict(zip(head, cells, strict=True)) for cells in lines if len(cells) == len(head)]
    return list({(row["model"], row["seed"]): row for row in rows}.values())


def _apart(source: Mapping[str, Any], model: str, seed: int, settings: Mapping[str, Any], labels: Sequence[str],
           out: Path) -> tuple[dict[str, Any], str]:  # fmt: skip
    """Run one model with one seed in a process of its own; return its row, and why it failed if it did."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(run_one, dict(source), model, seed, dict(settings), list(labels), out).result(), ""
        except UltraGCNError as error:
            return {}, str(error)
        except BrokenProcessPool:
            return {}, "its process was killed, most likely because memory ran out"


def run_one(source: dict[str, Any], model: str, seed: int, settings: dict[str, Any], labels: list[str], out: Path) -> dict[str, Any]:
    """Train and evaluate one model; write every user's values and return the row of runs.tsv."""
    import polars as pl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # said once, by the process that compares
        dataset = load_dataset(**source)
    fitted = _make(model, dataset.name, seed, settings)
    on_test = {"select_on": dataset.test} if dataset.protocol == "authors" else {}
    fitted.fit(dataset.train, dataset.valid, **on_test)  # type: ignore[attr-defined]
    result = evaluate_by_user(fitted, dataset.test, labels, DIALECT)
    with storage.atomic_path(_values_path(out, model, seed)) as temporary:
        pl.DataFrame({"user_index": result.user_index, **result.values}).write_parquet(temporary)
    measured = {label: result.means[label] for label in labels}
    return measured | {"train_seconds": round(fitted.train_seconds_, 3), "peak_memory_mb": peak_memory_mb() or ""}


def _values_path(out: Path, model: str, seed: int) -> Path:
    return out / VALUES / f"{model}-{seed}.parquet"


def _tabulate(out: Path, plan: Mapping[tuple[str, int], str], failed: Mapping[str, str], labels: Sequence[str]) -> Table:
    import polars as pl

    about = storage.read_json(out / COMPARISON)
    rows: dict[str, list[dict[str, str]]] = {}
    for row in _read_runs(out):
        if plan.get((row["model"], int(row["seed"]))) == row["settings"] and row["model"] not in failed:
            rows.setdefault(row["model"], []).append(row)
    values: dict[str, dict[str, np.ndarray]] = {}
    for model, of_seeds in rows.items():
        frames = [pl.read_parquet(_values_path(out, model, int(row["seed"]))) for row in of_seeds]
        values[model] = {label: np.mean([frame[label] for frame in frames], axis=0) for label in frames[0].columns if label in labels}
    means = {
        model: {label: float(np.mean([float(row[label]) for row in of_seeds])) for label in labels} for model, of_seeds in rows.items()
    }
    first = labels[0]
    order = sorted(rows, key=lambda model: -means[model][first])
    p_values: dict[str, float] = {}
    if len(order) > 1 and first in values[order[0]]:
        tests = significance.compare({model: values[model][first] for model in order}, baseline=order[0])
        p_values = {test.first: test.p_holm for test in tests}
    lines = [
        Line(
            model, rows[model][0]["settings"], len(rows[model]), means[model], _intervals(values[model]),
            float(np.std([float(row[first]) for row in rows[model]])), p_values.get(model),
            float(np.mean([float(row["train_seconds"]) for row in rows[model]])),
            max(float(row["peak_memory_mb"] or "nan") for row in rows[model]),
        )
        for model in order
    ]  # fmt: skip
    nothing: dict[str, Any] = {}
    lines += [Line(model, why, 0, nothing, nothing, np.nan, None, np.nan, np.nan) for model, why in failed.items()]
    return Table(about["dataset"], about["protocol"], about["num_users"], tuple(labels), tuple(lines))


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
        "settings",
    ]
    rows = [head]
    for line in table.lines:
        low, high = line.intervals.get(first, (np.nan, np.nan))
        numbers = [*(line.means.get(label, np.nan) for label in table.labels), low, high, line.spread, line.p_value, line.train_seconds]
        cells = ["" if number is None or np.isnan(number) else f"{number:.6g}" for number in [*numbers, line.peak_memory_mb]]
        rows.append([line.model, str(line.num_seeds), *cells, line.settings])
    storage.write_text(out / f"{TABLE}.tsv", "".join("\t".join(row) + "\n" for row in rows))
    _draw(table, out / f"{TABLE}.png")


def _draw(table: Table, path: Path) -> None:
    """Draw the first metric with its intervals; nothing where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    first, lines = table.labels[0], [line for line in table.lines if line.num_seeds][::-1]
    if not lines:
        return
    means = np.array([line.means[first] for line in lines])
    ends = np.array([line.intervals.get(first, (mean, mean)) for line, mean in zip(lines, means, strict=True)])
    figure, axis = pyplot.subplots(figsize=(6, 0.4 * len(lines) + 1.2))
    axis.errorbar(means, [line.model for line in lines], xerr=np.maximum([means - ends[:, 0], ends[:, 1] - means], 0), fmt="o", capsize=3)
    axis.set(title=f"{table.dataset}, protocol {table.protocol}", xlabel=f"{first} (95 % interval over users)")
    axis.grid(alpha=0.3)
    figure.tight_layout()
    with storage.atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    pyplot.close(figure)
