"""What is said about a study: its trials over their seeds, and what the parameters do."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from ultragcn import storage
from ultragcn.errors import counted
from ultragcn.experiments import plots
from ultragcn.experiments.reports.curves import read_curve
from ultragcn.experiments.reports.page import Cell, Section, Table, command_line, hashes, number_cell, period, value_cell
from ultragcn.experiments.studies.space import Value, Values
from ultragcn.experiments.studies.study import (
    DONE,
    FAILED,
    HISTORY,
    PRUNED,
    RESULTS,
    STUDY,
    TRIALS,
    Row,
    Study,
    Summary,
    against_kept,
    read_results,
    read_study,
    summarise,
)  # fmt: skip

_MOST_CURVES = 5
_MOST_PAIRS = 3
"""Of parameters, for heat maps: three parameters have as many."""


def section(folder: Path) -> Section:
    """Return what there is to say about the study in `folder`."""
    study = read_study(folder)
    rows = read_results(folder, study)
    trials = best_first(study, summarise(rows))
    ranked = [trial for trial in trials if _is_ranked(study, trial)]
    dataset = study.about.get("dataset")
    return Section(
        title=f"{study.name} on {dataset}" if dataset and dataset not in study.name else study.name,
        facts=_facts(folder, study, rows, len(trials)),
        command=_command(folder),
        warning=_warning(study),
        summary=_summary(study, ranked, trials),
        notes=_notes(study, rows, trials),
        plots=_plots(folder, study, rows, ranked) if ranked else [],
        tables=[*_trials(study, trials), *_runs(study, rows), *_failures(rows)],
    )


def best_first(study: Study, trials: Sequence[Summary]) -> list[Summary]:
    """Return the trials as they are to be read: whole ones first, then those that lack seeds, then those without a value."""
    sign = 1 if study.direction == "maximize" else -1
    most = max((trial.num_seeds for trial in trials if trial.state == DONE), default=0)

    def rank(trial: Summary) -> tuple[bool, bool, float]:
        value = trial.means.get(study.choose_by, math.nan)
        return not _is_ranked(study, trial), trial.state != DONE or trial.num_seeds < most, 0.0 if math.isnan(value) else -sign * value

    return sorted(trials, key=rank)


def points_of(trials: Sequence[Summary], metric: str) -> list[plots.Point]:
    """Return what is drawn of the trials that have the metric, in their order."""
    return [
        plots.Point(trial.parameters, trial.means[metric], trial.intervals.get(metric), f"trial {trial.trial}", trial.train_seconds)
        for trial in trials
        if math.isfinite(trial.means.get(metric, math.nan))
    ]


def _is_ranked(study: Study, trial: Summary) -> bool:
    return math.isfinite(trial.means.get(study.choose_by, math.nan))


def _facts(folder: Path, study: Study, rows: Sequence[Row], num_trials: int) -> list[tuple[str, str]]:
    about = study.about
    ended = sorted(row.ended for row in rows if row.ended)
    # As text: they are for reading, and studies of before may have others.
    versions = sorted({row["versions"] for row in storage.read_rows(folder / RESULTS)} - {""}) if rows else []
    states = [f"{number} {state}" for state in (DONE, PRUNED, FAILED) if (number := sum(row.state == state for row in rows))]
    facts = {
        "Data set": about.get("dataset"), "Protocol": about.get("protocol"), "Hashes": hashes(about),
        "Chosen by": f"{study.choose_by}, {'highest' if study.direction == 'maximize' else 'lowest'}",
        "Varies": ", ".join(study.parameters), "Fixed": ", ".join(f"{name} {value}" for name, value in study.fixed.items()),
        "Sampler": study.sampler, "Seeds": ", ".join(map(str, study.seeds)),
        "Trials": f"{num_trials} of {study.num_trials}", "Runs": ", ".join(states),
        "Ended": period(ended), "Versions": "; ".join(versions),
        "Folder": str(folder),
    }  # fmt: skip
    return [(name, str(value)) for name, value in facts.items() if value]


def _command(folder: Path) -> str:
    return command_line(storage.read_json(folder / STUDY).get("command", []))


def _warning(study: Study) -> str:
    if study.about.get("protocol") == "authors" or study.choose_by.startswith("test"):
        return (
            "Trials were chosen on the test set, so the best of them look better than they are. Compare these numbers with published ones "
            "made the same way only; for anything else, run the study under protocol clean."
        )
    return ""


def _summary(study: Study, ranked: Sequence[Summary], trials: Sequence[Summary]) -> str:
    if not ranked:
        return ""
    best = ranked[0]
    gain = against_kept(study, trials)
    cell = _metric_cell(best, study.choose_by)
    setting = ", ".join(f"{name} {value_cell(value).text}" for name, value in best.parameters.items())
    over = f"mean over {counted(best.num_seeds, 'seed')}" if best.num_seeds > 1 else "one seed"
    text = f"Best: trial {best.trial} with {study.choose_by} {cell.text} ({over}), at {setting}."
    text += f" {gain}" if gain else ""
    if len(ranked) == 1 or _warning(study):
        return text
    return text + f" Picked from {len(ranked)} for this number, it looks a little better than it is; test, read once, is what counts."


def _notes(study: Study, rows: Sequence[Row], trials: Sequence[Summary]) -> list[str]:
    notes = []
    if not rows:
        return ["No trial has ended yet. Write this page again when one has."]
    if len(trials) < study.num_trials:
        notes.append(f"{study.num_trials - len(trials)} of {counted(study.num_trials, 'trial')} have not ended yet.")
    if len(trials) == 1:
        notes.append("One trial shows nothing about its parameters: there is nothing to hold it against.")
    if not any(_is_ranked(study, trial) for trial in trials):
        notes.append(f"No trial has a number for {study.choose_by}, so there is no best and nothing to draw.")
    elif strays := [trial for trial in trials if trial.num_seeds and not _is_ranked(study, trial)]:
        notes.append(f"{counted(len(strays), 'trial')} ended without a number for {study.choose_by}: last in the table, on no plot.")
    off = [f"{name} {value}" for name, value in (study.kept or {}).items() if _is_off_axis(study, name, value)]
    if off and any(trial.trial == 0 and _is_ranked(study, trial) for trial in trials):
        notes.append(f"Trial 0 has {', '.join(off)}: not a number, so trial 0 is left off the plots with an axis for that.")
    if any(trial.num_seeds > 1 for trial in trials):
        notes.append("± is half of a 95 % t-interval over seeds: how far seeds move a mean, not how far the choice of users does.")
    return notes


def _is_off_axis(study: Study, name: str, value: Value) -> bool:
    """Return whether a parameter varies over numbers alone and `value`, of trial 0, is not a number: `auto`, or a value for each name."""
    over = study.parameters[name]
    words = isinstance(over, Values) and any(isinstance(one, str) for one in over.values)
    return isinstance(value, str) and not words


def _trials(study: Study, trials: Sequence[Summary]) -> list[Table]:
    if not trials:
        return []
    rows = [
        [
            Cell(str(trial.trial), trial.trial), *(value_cell(trial.parameters[name]) for name in study.parameters),
            *(_metric_cell(trial, metric) for metric in study.metrics), Cell(str(trial.num_seeds), trial.num_seeds),
            number_cell(trial.train_seconds, ".3g"), number_cell(trial.peak_memory_mb, ".0f"), Cell(trial.state),
        ]
        for trial in trials
    ]  # fmt: skip
    columns = ["trial", *study.parameters, *study.metrics, "seeds", "seconds", "peak MB", "state"]
    highest = study.direction == "maximize"
    return [Table("Trials", columns, rows, "Best first.", study.choose_by, highest)]


def _metric_cell(trial: Summary, metric: str) -> Cell:
    low, high = trial.intervals.get(metric, (math.nan, math.nan))
    return number_cell(trial.means.get(metric), ".4f", None if math.isnan(high) else (high - low) / 2)


def _runs(study: Study, rows: Sequence[Row]) -> list[Table]:
    if len(study.seeds) < 2 or not rows:
        return []
    cells = [
        [
            Cell(str(row.trial), row.trial), Cell(str(row.seed), row.seed),
            *(value_cell(row.parameters[name]) for name in study.parameters),
            *(number_cell(row.metrics.get(metric)) for metric in study.metrics), number_cell(row.best_epoch, ".0f"),
            number_cell(row.train_seconds, ".3g"), number_cell(row.peak_memory_mb, ".0f"), Cell(row.state), Cell(row.ended),
        ]
        for row in rows
    ]  # fmt: skip
    columns = ["trial", "seed", *study.parameters, *study.metrics, "best epoch", "seconds", "peak MB", "state", "ended"]
    return [Table("Every run", columns, cells, folded=True)]


def _failures(rows: Sequence[Row]) -> list[Table]:
    failed = [row for row in rows if row.state == FAILED]
    if not failed:
        return []
    cells = [[Cell(str(row.trial), row.trial), Cell(str(row.seed), row.seed), Cell(row.why or "it does not say")] for row in failed]
    return [Table("What failed", ["trial", "seed", "why"], cells)]


def _plots(folder: Path, study: Study, rows: Sequence[Row], ranked: Sequence[Summary]) -> list[plots.Plot]:
    points = points_of(ranked, study.choose_by)

    def on_axes(*names: str) -> list[plots.Point]:
        return [point for point in points if not any(_is_off_axis(study, name, point.parameters[name]) for name in names)]

    varied = [name for name in study.parameters if len({str(point.parameters[name]) for point in on_axes(name)}) > 1]
    drawn = [plots.against_parameter(on_axes(name), name, study.choose_by) for name in varied]
    pairs = [pair for pair in itertools.combinations(varied, 2) if len(on_axes(*pair)) > 1]
    drawn += [plots.over_two_parameters(on_axes(*pair), *pair, study.choose_by) for pair in pairs[:_MOST_PAIRS]]
    curves = [curve for trial in ranked[:_MOST_CURVES] if (curve := _curve(folder, study, rows, trial))]
    drawn += [plots.curves(curves, study.choose_by, "epoch")] if curves else []
    recall = next((metric for metric in study.metrics if "recall@" in metric), study.choose_by)
    # Best first by this metric, as the plots take them.
    of_recall = [point for point in points_of(ranked, recall) if math.isfinite(point.seconds)]
    of_recall.sort(key=lambda point: point.mean, reverse=recall != study.choose_by or study.direction == "maximize")
    return [*drawn, plots.against_seconds(of_recall, recall)] if len(of_recall) > 1 else drawn


def _curve(folder: Path, study: Study, rows: Sequence[Row], trial: Summary) -> plots.Curve | None:
    """Return how the trial grew with the first seed that has a history."""
    at_the_end = {row.seed: row.metrics.get(study.choose_by) for row in rows if row.trial == trial.trial and row.state == DONE}
    for seed in study.seeds:
        path = folder / TRIALS / f"{trial.trial}-{seed}" / HISTORY
        curve = read_curve(path, study.choose_by, "epoch", f"trial {trial.trial}", at_the_end.get(seed))
        if curve is not None:
            return curve
    return None
