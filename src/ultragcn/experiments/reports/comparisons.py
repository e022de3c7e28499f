"""What is said about a comparison: models side by side."""

import json
import math
import shlex
from pathlib import Path
from typing import Any

from ultragcn import storage
from ultragcn.errors import UsageError, counted
from ultragcn.experiments import plots
from ultragcn.experiments.reports.page import Cell, Section, Table, command_line, hashes, number_cell
from ultragcn.experiments.studies.compare import COMPARISON, RUNS, TABLE, protocol_words

_NEEDED = ("dataset", "protocol", "metrics", "num_users", "dialect", "data_hash")


def section(folder: Path) -> Section:
    """Return what there is to say about the comparison in `folder`."""
    about = storage.read_json(folder / COMPARISON)
    if missing := [name for name in _NEEDED if name not in about]:
        raise UsageError(f"{folder / COMPARISON} is not as ultragcn compare writes it (no {missing[0]}); put it back as it was")
    protocol = protocol_words(about)
    lines, runs = _rows(folder / f"{TABLE}.tsv"), _rows(folder / RUNS)
    ended = [line for line in lines if line["seeds"] != "0"]
    failed = [line for line in lines if line["seeds"] == "0"]
    tables = [_table(about, ended)] if ended else []
    if failed:
        tables.append(Table("What failed", ["model", "why"], [[Cell(line["model"]), Cell(line["settings"])] for line in failed]))
    return Section(
        title=f"Models on {about['dataset']}, protocol {protocol}",
        facts=[
            ("Data set", about["dataset"]), ("Protocol", protocol), ("Test users", str(about["num_users"])),
            ("Dialect", about["dialect"]), ("Hashes", hashes(about)), ("Models", str(len(lines))),
            ("Runs", f"{len(runs)} done" + (f", {counted(len(failed), 'model')} failed" if failed else "")), ("Folder", str(folder)),
        ],
        command=_command(folder, about, runs),
        warning=_warning(about["protocol"]),
        summary=_summary(about, ended),
        notes=[] if ended else ["There is no table yet: the comparison was interrupted, or every model failed. Its command goes on."],
        plots=_plots(about, ended) if ended else [],
        tables=[*tables, *([_runs(about, runs)] if runs else [])],
    )  # fmt: skip


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    try:
        return storage.read_rows(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}; run ultragcn compare again") from error


def _command(folder: Path, about: dict[str, Any], runs: list[dict[str, str]]) -> str:
    """Return what does the comparison again: the command that was last given, or as much of it as a folder of before has kept."""
    if "command" in about:
        return command_line(about["command"])
    listed = {name: ",".join(dict.fromkeys(row[name] for row in runs)) for name in ("model", "seed")}
    if listed["seed"].isdecimal() and listed["seed"] != "0":
        listed["seed"] += ","  # a number alone is how many
    options = {"dataset": about["dataset"], "protocol": about["protocol"], "models": listed["model"], "seeds": listed["seed"],
               "metrics": ",".join(about["metrics"]), "out": str(folder)}  # fmt: skip
    words = [word for name, value in options.items() if value for word in (f"--{name}", value)]
    return shlex.join(["ultragcn", "compare", *words, *(["--refit"] if about.get("refit") else [])])


def _warning(protocol: str) -> str:
    if protocol != "authors":
        return ""
    return (
        "Under protocol authors, models with epochs chose theirs on the test set, so they look better than they are. Compare these numbers "
        "with published ones made the same way only."
    )


def _summary(about: dict[str, Any], ended: list[dict[str, str]]) -> str:
    if not ended:
        return ""
    first, best = _labels(about, ended)[0], ended[0]
    interval = f", 95 % interval {float(best[f'{first}_low']):.4f} to {float(best[f'{first}_high']):.4f}" if best[f"{first}_low"] else ""
    near = [line["model"] for line in ended[1:] if line["p_holm"] and float(line["p_holm"]) > 0.05]
    tied = f" Not told apart from it (p above .05): {', '.join(near)}." if near else ""
    tested = len(ended) > 1 and all(line["p_holm"] for line in ended[1:])
    beaten = " Every other model is behind it by a paired test (p at most .05)." if tested and not near else ""
    return f"Best: {best['model']} with {first} {float(best[first]):.4f}{interval}.{tied}{beaten}"


def _plots(about: dict[str, Any], ended: list[dict[str, str]]) -> list[plots.Plot]:
    first = _labels(about, ended)[0]
    points = [
        plots.Point({}, float(line[first]), _interval(line, first), line["model"], float(line["train_seconds"] or math.nan))
        for line in ended
        if line[first]
    ]
    if not points:
        return []
    drawn = [plots.side_by_side(points, first, f"{about['dataset']}, protocol {protocol_words(about)}", "users")]
    timed = [point for point in points if math.isfinite(point.seconds)]
    return [*drawn, plots.against_seconds(timed, first)] if len(timed) > 1 else drawn


def _labels(about: dict[str, Any], ended: list[dict[str, str]]) -> list[str]:
    """Return the metrics of the table, in its order: those that were asked for last, of all that the comparison has."""
    return [name for name in ended[0] if name in about["metrics"]]


def _interval(line: dict[str, str], metric: str) -> tuple[float, float] | None:
    low, high = line[f"{metric}_low"], line[f"{metric}_high"]
    return (float(low), float(high)) if low and high else None


def _table(about: dict[str, Any], ended: list[dict[str, str]]) -> Table:
    labels = _labels(about, ended)
    first = labels[0]
    rows = [
        [
            Cell(line["model"]), *(_number(line[label]) for label in labels), _number(line[f"{first}_low"]), _number(line[f"{first}_high"]),
            _number(line["seed_std"]) if line["seed_std"] else Cell(""),
            _number(line["p_holm"], ".2g") if line["p_holm"] else Cell("best"), _number(line["seeds"], ".0f"),
            _number(line["train_seconds"], ".3g"), _number(line["peak_memory_mb"], ".0f"),
            Cell(line["settings_from"]), Cell(_settings(line["settings"])),
        ]
        for line in ended
    ]  # fmt: skip
    columns = ["model", *labels, "low", "high", "over seeds", "p", "seeds", "seconds", "peak MB", "settings", "which"]
    note = (
        f"Best first. low and high: 95 % bootstrap interval of {first} over users. over seeds: its standard deviation. p: paired t-test "
        "of it over users against the best model, Holm's correction."
    )
    return Table("Models", columns, rows, note, first)


def _settings(text: str) -> str:
    try:
        return ", ".join(f"{name} {value}" for name, value in json.loads(text).items())
    except (ValueError, AttributeError):
        return text


def _runs(about: dict[str, Any], runs: list[dict[str, str]]) -> Table:
    rows = [
        [Cell(row["model"]), _number(row["seed"], ".0f"), *(_number(row[label]) for label in about["metrics"]),
         _number(row["train_seconds"], ".3g"), _number(row["peak_memory_mb"], ".0f"), Cell(_settings(row["settings"]))]
        for row in runs
    ]  # fmt: skip
    return Table("Every run", ["model", "seed", *about["metrics"], "seconds", "peak MB", "settings"], rows, folded=True)


def _number(cell: str, form: str = ".4f") -> Cell:
    return number_cell(float(cell), form) if cell else Cell("")
