"""What the studies of UltraGCN share: a script says what varies over what; here it is run, printed as a table, and drawn.

A script gives its studies in the words of a study file (docs/sweeps.md), one for each data set. Settings that it does not name are those
kept for the data set in configs/. Everything is measured on validation items; test is not looked at.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # src/, where the run button of an IDE may not look

from arguments import DATA_DIR, help_page, read_flags, run_as_program
from experiments import JOBS, PLOTS
from ultragcn import load_dataset, storage
from ultragcn.errors import UltraGCNError, UsageError
from ultragcn.experiments import plots
from ultragcn.experiments.reports.studies import best_first, points_of
from ultragcn.experiments.studies.model_study import ModelTrial, source_of, study_of
from ultragcn.experiments.studies.study import HISTORY, RESULTS, TRIALS, Study, Summary, t_interval
from ultragcn.experiments.studies.sweep import sweep

CHOOSE_BY = "recall@20"
Draw = Callable[[Study, Path, Sequence[Summary]], plots.Plot]


def against_parameter(study: Study, folder: Path, trials: Sequence[Summary]) -> plots.Plot:
    """Draw the metric against the first parameter, a line for each value of the others."""
    return plots.against_parameter(
        points_of(trials, study.choose_by), next(iter(study.parameters)), study.choose_by, study.about["dataset"]
    )


def against_seconds(study: Study, folder: Path, trials: Sequence[Summary]) -> plots.Plot:
    """Draw how each trial's metric grew by the second: the mean over seeds at each epoch that all of them measured."""
    label, curves = study.choose_by.removeprefix("valid_"), []
    for trial in sorted(trials, key=lambda trial: trial.trial):
        seeds = [_measured(folder / TRIALS / f"{trial.trial}-{seed}" / HISTORY, label) for seed in study.seeds]
        epochs = sorted(set.intersection(*map(set, seeds)))
        seconds, values = (np.array([[seed[epoch][part] for seed in seeds] for epoch in epochs]) for part in (0, 1))
        name = ", ".join(str(value) for value in trial.parameters.values())
        intervals = [t_interval(of_epoch) for of_epoch in values] if len(seeds) > 1 else None
        curves.append(plots.Curve(name, seconds.mean(1).tolist(), values.mean(1).tolist(), intervals))
    return plots.curves(curves, study.choose_by, "seconds", study.about["dataset"])


def _measured(history: Path, label: str) -> dict[int, tuple[float, float]]:
    """Return seconds and metric by epoch, where it was measured."""
    return {int(row["epoch"]): (float(row["seconds"]), float(row[label])) for row in storage.read_rows(history) if row[label]}


def command(name: str, about: str, studies: Sequence[Mapping[str, Any]], draw: Draw = against_parameter) -> Callable[[Sequence[str]], None]:
    """Return the command of a script.

    Parameters
    ----------
    name : str
        Of the script: its studies are kept in plots/NAME/DATASET/, its figures are plots/NAME-DATASET.png.
    about : str
        What --help says.
    studies : list of dict
        In the words of a study file.
    draw : callable, optional
        Makes the figure of a study, its folder and its trials, best first.
    """

    def main(argv: Sequence[str]) -> None:
        flags = (JOBS, DATA_DIR)
        given = {flag.name: flag.default for flag in flags} | read_flags(argv, flags, help_page(f"{name}.py", about, flags))
        plots.check_installed(name)
        from data import data_folders  # only now: it loads torch, and a mistyped flag is answered at once

        data_dir = str(data_folders(given["data_dir"])[0])
        for said in studies:
            # A figure shows what is laid out: a trial 0 with what is kept would be a point beside it.
            _run({"choose_by": CHOOSE_BY, "data_dir": data_dir, "kept": False, **said}, name, given["jobs"], draw)

    return main


def _run(said: Mapping[str, Any], name: str, jobs: int, draw: Draw) -> None:
    from utils import ProgressBars

    source, folder = source_of(said), PLOTS / name / said["dataset"]
    study = study_of(said, load_dataset(**source, progress=ProgressBars()))
    trial = ModelTrial(source, said.get("model", "ultragcn"), study.metrics)
    outcome = sweep(study, trial, folder, jobs=jobs, progress=ProgressBars())
    if outcome.best is None:
        raise UltraGCNError(f"no trial is done; {folder / RESULTS} says why")
    _print_table(study, outcome.summaries)
    plot = draw(study, folder, best_first(study, outcome.summaries))
    image = PLOTS / f"{name}-{study.about['dataset']}.png"
    image.parent.mkdir(parents=True, exist_ok=True)
    plot.write_png(image)
    print(image)


def _print_table(study: Study, trials: Sequence[Summary]) -> None:
    """Print a line for each trial: mean over seeds ± half of the 95 % t-interval."""
    print("dataset", *study.parameters, *study.metrics, "seeds", "seconds", sep="\t")
    for trial in trials:
        cells = []
        for metric in study.metrics:
            low, high = trial.intervals.get(metric, (np.nan, np.nan))
            cells.append(f"{trial.means.get(metric, np.nan):.4f} ± {(high - low) / 2:.4f}")
        print(study.about["dataset"], *trial.parameters.values(), *cells, trial.num_seeds, f"{trial.train_seconds:.2f}", sep="\t")


def refuse(argv: Sequence[str]) -> None:
    """Say which scripts there are to run: this file is what they share."""
    scripts = sorted(
        path.name for path in Path(__file__).parent.glob("exp_*.py") if Path(__file__).stem in path.read_text(encoding="utf-8")
    )
    raise UsageError(f"{Path(__file__).name} is not an experiment; run one of those that use it: {', '.join(scripts)}")


if __name__ == "__main__":
    run_as_program(refuse)
