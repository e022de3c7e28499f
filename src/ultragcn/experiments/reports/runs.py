"""What is said about runs of `ultragcn train`: those on the same data under the same protocol, side by side."""

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultragcn import storage
from ultragcn.config import AUTO
from ultragcn.errors import UsageError, counted
from ultragcn.evaluation.metrics import DEFAULT_LABELS, parse_selection
from ultragcn.experiments import plots
from ultragcn.experiments.reports.curves import read_curve
from ultragcn.experiments.reports.page import Cell, Section, Table, command_line, hashes, number_cell, period, value_cell
from ultragcn.experiments.runs.manifest import EVERYTHING, HISTORY, MANIFEST, MEASURED, METRICS, read_manifest, read_metrics

_NEEDED = ("dataset", "protocol", "data_hash", "config", "versions", "started")
_MOST_CURVES = 6
_AGAINST_SECONDS = "recall@20"


@dataclass(frozen=True)
class _Run:
    folder: Path
    name: str
    """Its folder, as short as it can be told apart from the others."""
    manifest: dict[str, Any]
    metrics: dict[str, Any]
    """Empty where training has not ended."""

    @property
    def part(self) -> str:
        """Where its epoch was chosen, and so what its curves show."""
        return "test" if self.manifest["protocol"] == "authors" else "valid"

    def value(self, part: str, label: str) -> float:
        value = self.metrics.get(part, {}).get(label)
        return float(value) if isinstance(value, int | float) else math.nan


def sections(folders: Sequence[Path]) -> list[Section]:
    """Return a section for each data set, split and protocol: only what shares them can be held against each other."""
    names = _short([folder.resolve() for folder in folders])
    groups: dict[tuple[str, ...], list[_Run]] = {}
    for folder, name in zip(folders, names, strict=True):
        if missing := [field for field in _NEEDED if field not in storage.read_json(folder / MANIFEST)]:
            raise UsageError(f"{folder / MANIFEST} is not as ultragcn train writes it (no {missing[0]}); put it back as it was")
        metrics = read_metrics(folder) if (folder / METRICS).exists() else {}
        manifest = read_manifest(folder)
        key = (manifest["dataset"], manifest["protocol"], manifest["data_hash"], str(manifest.get("split_hash")))
        groups.setdefault(key, []).append(_Run(folder, name, manifest, metrics))
    return [_section(runs) for runs in groups.values()]


def _short(folders: Sequence[Path]) -> list[str]:
    names = [folder.name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _section(runs: list[_Run]) -> Section:
    shared = runs[0].manifest
    by = str(parse_selection(shared["config"].get("select_by", "ndcg@20")))
    part = runs[0].part
    ordered = sorted(runs, key=lambda run: -value if math.isfinite(value := run.value(part, by)) else math.inf)
    unfinished = [run for run in runs if "test" not in run.metrics and run.metrics.get("kept") != EVERYTHING]
    one = len(runs) == 1
    started = sorted(run.manifest["started"] for run in runs)
    notes = [f"{', '.join(run.name for run in unfinished)}: not finished, so there are no test numbers yet."] if unfinished else []
    if unmeasured := [run.name for run in runs if run not in unfinished and "test" not in run.metrics]:
        notes.append(f"{', '.join(unmeasured)}: trained on everything at once, so nothing is measured.")
    if any(run.metrics.get("kept") == EVERYTHING for run in runs):
        notes.append("Figures are of the model that was measured; where everything is kept, the model in the folder has seen test too.")
    return Section(
        title=f"{runs[0].name if one else f'{len(runs)} runs'} on {shared['dataset']}, protocol {shared['protocol']}",
        facts=[
            ("Data set", shared["dataset"]), ("Protocol", shared["protocol"]), ("Hashes", hashes(shared)), ("Chosen by", f"{part} {by}"),
            ("Runs", f"{len(runs) - len(unfinished)} done" + (f", {len(unfinished)} not finished" if unfinished else "")),
            ("Started", period(started)), ("Versions", "; ".join(dict.fromkeys(map(_versions, runs)))),
        ],
        command="\n".join(dict.fromkeys(_command(run) for run in runs)),
        warning=_warning(part),
        summary=_summary(ordered[0], by),
        notes=notes,
        plots=_plots(ordered, by),
        tables=[_table(ordered, by)],
    )  # fmt: skip


def _model(run: _Run) -> str:
    """Return what was trained: the name of a baseline, or UltraGCN with its solver."""
    name, solver = run.manifest.get("model", "ultragcn"), run.manifest["config"].get("solver")
    return f"{name} ({solver})" if solver else str(name)


def _versions(run: _Run) -> str:
    commit = run.manifest.get("git_commit")
    named = [f"{name} {version}" for name, version in run.manifest["versions"].items()]
    return ", ".join([*named, *([f"commit {commit[:10]}{'+' if commit.endswith('+') else ''}"] if commit else [])])


def _command(run: _Run) -> str:
    words = list(map(str, run.manifest.get("command", [])))
    if "seed" in run.metrics:  # where a seed was drawn, that one repeats the run
        seed = str(run.metrics["seed"])
        followed = itertools.pairwise(["", *words])
        words = [seed if pair == ("--seed", AUTO) else f"--seed={seed}" if pair[1] == f"--seed={AUTO}" else pair[1] for pair in followed]
    return command_line(words)


def _warning(part: str) -> str:
    if part != "test":
        return ""
    return (
        "Under protocol authors the epoch was chosen on the test set, so these numbers look better than they are. Compare them with "
        "published ones made the same way only."
    )


def _summary(best: _Run, by: str) -> str:
    value = best.value("test", by)
    if math.isnan(value):
        return ""
    chosen = f"{best.part} {by} {best.value(best.part, by):.4f}"
    on_test = ", ".join(f"{label} {best.value('test', label):.4f}" for label in dict.fromkeys((by, *DEFAULT_LABELS)))
    also = "" if best.part == "test" else f"; on test {on_test}"
    return f"Best: {best.name} with {chosen}{also}."


def _plots(ordered: Sequence[_Run], by: str) -> list[plots.Plot]:
    drawn = []
    for metric, against in ((by, "epoch"), (_AGAINST_SECONDS, "seconds")):
        read = (read_curve(run.folder / HISTORY, metric, against, run.name, run.value(run.part, metric)) for run in ordered)
        curves = [curve for curve in read if curve is not None][:_MOST_CURVES]
        drawn += [plots.curves(curves, f"{ordered[0].part} {metric}", against)] if curves else []
    points = [
        plots.Point({}, value, None, run.name, float(run.metrics.get("train_seconds", math.nan)))
        for run in ordered
        if math.isfinite(value := run.value("test", _AGAINST_SECONDS))
    ]
    points.sort(key=lambda point: -point.mean)
    return [*drawn, plots.against_seconds(points, f"test {_AGAINST_SECONDS}")] if len(points) > 1 else drawn


def _table(ordered: Sequence[_Run], by: str) -> Table:
    labels = list(dict.fromkeys([*DEFAULT_LABELS, by]))
    parts = [part for part in ("valid", "test") if any(part in run.metrics for run in ordered)]
    configs = [run.manifest["config"] for run in ordered]
    names = dict.fromkeys(name for config in configs for name in config)
    differ = [name for name in names if name not in ("seed", "solver") and len({json.dumps(config.get(name)) for config in configs}) > 1]
    rows = [
        [
            Cell(run.name), Cell(_model(run)), value_cell(run.metrics.get("seed", config.get("seed", ""))),
            *(value_cell(config.get(name, "")) for name in differ),
            *(number_cell(run.value(part, label)) for part in parts for label in labels),
            number_cell(run.metrics.get("best_epoch"), ".0f"), number_cell(run.metrics.get("epochs"), ".0f"),
            number_cell(run.metrics.get("train_seconds"), ".3g"), number_cell(run.metrics.get("peak_memory_mb"), ".0f"),
            Cell(run.metrics.get("kept", MEASURED) if run.metrics else ""), Cell(run.metrics.get("stopped", "not finished")),
        ]
        for run, config in zip(ordered, configs, strict=True)
    ]  # fmt: skip
    columns = [
        "run", "model", "seed", *differ, *(f"{part} {label}" for part in parts for label in labels), "best epoch", "epochs", "seconds",
        "peak MB", "model kept", "ended by",
    ]  # fmt: skip
    settings = f" Settings that are not the same in all of them have a column ({counted(len(differ), 'setting')})." if differ else ""
    return Table("Runs", columns, rows, f"Best first.{settings}", f"{ordered[0].part} {by}" if parts else "")
