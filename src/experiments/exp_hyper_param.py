"""Train mymodel with the learning rates 0.1, 0.01, 0.001, 0.0001 and 0.00001 and compare the test accuracies.

    cd src
    python -m experiments.exp_hyper_param

Adds a line to ../plots/exp_hyper_param.tsv as each result comes; finished lines stay whole whenever the program ends.
"""

import os
import time
from collections.abc import Sequence
from typing import Any

import models
from arguments import FLAGS, Flag, fire_command, read_flags, run_as_program, whole_number
from experiments import PLOTS, run_in_parallel
from ultragcn import rng
from ultragcn.storage import append_row

MODEL = "mymodel"
LEARNING_RATES = (0.1, 0.01, 0.001, 0.0001, 0.00001)
TABLE = PLOTS / "exp_hyper_param.tsv"
WORKERS = Flag("workers", whole_number(1), min(len(LEARNING_RATES), os.cpu_count() or 1), "processes that train at once")
OWN_FLAGS = (*(flag for flag in FLAGS if flag.name not in ("model", "learning_rate")), WORKERS)


def main(argv: Sequence[str]) -> None:
    """Check the arguments, then let fire call `compare_learning_rates` with them."""
    given = read_flags(argv, OWN_FLAGS, about=__doc__)
    dataset = models.find(MODEL).dataset(given.get("dataset"))
    values = {flag.name: flag.default for flag in OWN_FLAGS} | given | {"dataset": dataset}
    import fire  # only here, where `run_as_program` says what to do if it is not installed

    fire.Fire(compare_learning_rates, command=fire_command(values))


def compare_learning_rates(workers: int, **settings: Any) -> None:
    """Train once with each learning rate and the same `settings`, and write the results to the table."""
    # Only now: these load torch, which takes seconds, and a mistyped flag is answered at once.
    from data import load_data
    from utils import log_param, progress_bar

    settings["seed"] = rng.given_or_fresh(None if settings["seed"] == -1 else settings["seed"])
    log_param({"model": MODEL, **settings, "workers": workers})
    load_data(settings["dataset"], settings["data_dir"])  # so that data are downloaded once, and before any work begins
    jobs = [{"learning_rate": learning_rate, **settings} for learning_rate in LEARNING_RATES]
    with progress_bar(total=len(jobs), desc="learning rates", unit="rate") as bar:
        for row in run_in_parallel(train_once, jobs, workers):
            append_row(TABLE, row)
            bar.set_postfix(learning_rate=row["learning_rate"], accuracy=row["accuracy"], refresh=False)
            bar.update()
    print(TABLE)


def train_once(dataset: str, data_dir: str | None, **hyper_param: Any) -> dict[str, Any]:
    """Return one line of the table."""
    from data import load_data
    from utils import choose_device, set_random_seed

    trainer_class, evaluator_class = models.find(MODEL).load()
    device = choose_device()
    train_data, test_data = load_data(dataset, data_dir)
    set_random_seed(hyper_param["seed"])
    start = time.perf_counter()
    model = trainer_class(device).train_with_hyper_param(train_data, hyper_param)
    seconds = time.perf_counter() - start
    metrics = evaluator_class(device).evaluate(model, test_data)
    return {"dataset": dataset, **hyper_param, **metrics, "seconds": round(seconds, 2)}


if __name__ == "__main__":
    run_as_program(main)
