"""Tune mymodel's learning rate and batch size on the digits: twelve random trials, two seeds each.

    cd src
    python -m experiments.exp_sweep_mymodel

Everything is kept in ../plots/exp_sweep_mymodel/, a line of results.tsv as each run ends. However it was ended, started again it goes on.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # src/, where the run button of an IDE may not look

import models
from arguments import help_page, read_flags, run_as_program
from experiments import JOBS, PLOTS
from ultragcn.errors import UltraGCNError
from ultragcn.experiments.studies.space import Range, Values
from ultragcn.experiments.studies.study import RESULTS, Study
from ultragcn.experiments.studies.sweep import sweep
from ultragcn.storage import read_rows

STUDY = Study(
    name="mymodel on digits",
    parameters={"learning_rate": Range(1e-4, 1e-1, log=True), "batch_size": Values((25, 50, 100, 200))},
    metrics=("valid_accuracy",), choose_by="valid_accuracy", sampler="random", trials=12, seeds=(0, 1), fixed={"epochs": 15},
    kept={"learning_rate": 0.001, "batch_size": 100},  # trial 0: the defaults of main.py
)  # fmt: skip
FOLDER = PLOTS / "exp_sweep_mymodel"


def trial(parameters: dict[str, Any], seed: int, report: Callable[[int, Mapping[str, Any]], None]) -> dict[str, float]:
    """Learn from four fifths of the train images; return the accuracy on the others. Test images are not looked at."""
    result = models.find("mymodel").run("digits", None, {**parameters, "seed": seed}, on="valid")
    return {"valid_accuracy": result.metrics["accuracy"], "train_seconds": result.seconds}


def main(argv: Sequence[str]) -> None:
    """Check the arguments, run what is missing of the study, print the best trial."""
    given = read_flags(argv, (JOBS,), help_page("exp_sweep_mymodel.py", __doc__, (JOBS,)))
    from utils import ProgressBars

    outcome = sweep(STUDY, trial, FOLDER, jobs=given.get("jobs", JOBS.default), progress=ProgressBars())
    if outcome.best is None:
        results = FOLDER / RESULTS
        reasons = [row["why"] for row in read_rows(results) if row["why"]]
        raise UltraGCNError(
            f"no trial is done ({reasons[0] if reasons else 'no reason is kept'}); mend it, remove {FOLDER} and start again"
        )
    print(outcome.best.parameters, outcome.best.means)
    if outcome.against_kept:
        print(outcome.against_kept)
    print(FOLDER)


if __name__ == "__main__":
    run_as_program(main)
