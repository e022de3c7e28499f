"""Train mymodel with the learning rates 0.1, 0.01, 0.001, 0.0001 and 0.00001, choose one, and measure that one on test.

    cd src
    python -m experiments.exp_hyper_param

Each of them learns from four fifths of the train images and is measured on the last fifth, the validation images. This is the column
valid_accuracy of ../plots/exp_hyper_param.tsv, which gets a line as each result comes; finished lines stay whole whenever the program
ends. The learning rate that is best there is trained once more, on all train images, and alone is measured on test.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # src/, where the run button of an IDE may not look

import models
from arguments import fire_command, flags_of, help_page, read_flags, run_as_program
from experiments import PLOTS, run_in_parallel
from ultragcn.storage import append_row

MODEL = "mymodel"
LEARNING_RATES = (0.1, 0.01, 0.001, 0.0001, 0.00001)
TABLE = PLOTS / "exp_hyper_param.tsv"
WORKERS = min(len(LEARNING_RATES), os.cpu_count() or 1)


def compare_learning_rates(seed=-1, batch_size=100, epochs=15, dataset=None, data_dir=None, workers=WORKERS, **flags_of_the_model):
    """Train once with each learning rate, write the results to the table, and print what the best of them reaches on test.

    :param seed: random_seed (if -1, a default seed is used)
    :param batch_size: size of batch
    :param epochs: number of training epochs
    :param dataset: data set to learn from (None: the first that the model names)
    :param data_dir: folder of the data sets (None: $ULTRAGCN_DATA_DIR, else datasets/)
    :param workers: number of processes that train at once
    """
    # Only now: these load torch, which takes seconds, and a mistyped flag is answered at once.
    from data import load_data
    from utils import chosen_seed, log_param, progress_bar

    settings = {"seed": chosen_seed(seed), "batch_size": batch_size, "epochs": epochs, **flags_of_the_model}
    log_param({"model": MODEL, "dataset": dataset, **settings, "workers": workers})
    load_data(dataset, data_dir)  # so that data are downloaded once, and before any work begins
    jobs = [{"dataset": dataset, "data_dir": data_dir, "learning_rate": learning_rate, **settings} for learning_rate in LEARNING_RATES]
    rows = []
    with progress_bar(total=len(jobs), desc="learning rates", unit="rate") as bar:
        for row in run_in_parallel(train_once, jobs, workers):
            append_row(TABLE, row)
            rows.append(row)
            bar.set_postfix(learning_rate=row["learning_rate"], valid_accuracy=row["valid_accuracy"], refresh=False)
            bar.update()
    # Of two that are equally good the larger one, whichever ended first.
    best = max(rows, key=lambda row: (row["valid_accuracy"], row["learning_rate"]))
    (chosen,) = run_in_parallel(measure_on_test, [job for job in jobs if job["learning_rate"] == best["learning_rate"]], 1)
    print(f"learning_rate: {best['learning_rate']}")
    print(f"valid_accuracy: {best['valid_accuracy']:.4f}")
    print(f"test_accuracy: {chosen['accuracy']:.4f}")
    print(TABLE)


def train_once(dataset: str, data_dir: str | None, **hyper_param: Any) -> dict[str, Any]:
    """Return one line of the table. Test images are not looked at."""
    result = models.find(MODEL).run(dataset, data_dir, hyper_param, on="valid")
    metrics = {f"valid_{name}": value for name, value in result.metrics.items()}
    return {"dataset": dataset, **hyper_param, **metrics, "seconds": round(result.seconds, 2)}


def measure_on_test(dataset: str, data_dir: str | None, **hyper_param: Any) -> dict[str, float]:
    """Return what the model reaches on test when it learns from all train images."""
    return models.find(MODEL).run(dataset, data_dir, hyper_param).metrics


def main(argv: Sequence[str]) -> None:
    """Check the arguments, then let fire call `compare_learning_rates` with them."""
    import fire  # only here, where `run_as_program` says what to do if it is not installed

    model = models.find(MODEL)
    flags = flags_of(compare_learning_rates)
    page = help_page("exp_hyper_param.py", __doc__, (*flags, *model.flags), model.notes)
    given = read_flags(argv, (*flags, *model.flags), page)
    values = model.values(flags, given) | {"dataset": model.dataset(given.get("dataset"))}
    fire.Fire(compare_learning_rates, command=fire_command(values))


if __name__ == "__main__":
    run_as_program(main)
