"""Train a model of src/models/ with several seeds, and print and draw the mean and the standard deviation of its metrics.

    cd src
    python -m experiments.exp_seeds --model mymodel --dataset digits --seeds 1,2,3

Adds a line to ../plots/exp_seeds.tsv as each run ends. However it was ended, started again it goes on: a run is not repeated while the
flags, the data and the files of the model are the same. The figure is ../plots/exp_seeds-MODEL-DATASET.png.
"""

import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # src/, where the run button of an IDE may not look

import models
from arguments import fire_command, flags_of, help_page, read_flags, run_as_program, value_given
from experiments import PLOTS, run_in_parallel
from ultragcn.experiments import plots
from ultragcn.storage import append_row, hash_bytes, read_rows

TABLE = PLOTS / "exp_seeds.tsv"
WORKERS = min(3, os.cpu_count() or 1)


def train_with_seeds(
    model="mymodel", seeds="0,1,2", batch_size=100, epochs=15, learning_rate=0.001, dataset=None, data_dir=None, workers=WORKERS,
    **flags_of_the_model,
):  # fmt: skip
    """Train once with each seed, write the results to the table, print and draw what they have in common.

    :param model: name of model to be trained and tested
    :param seeds: random seeds, separated by commas; each is a run of its own
    :param batch_size: size of batch
    :param epochs: number of training epochs
    :param learning_rate: learning rate
    :param dataset: data set to learn from (None: the first that the model names)
    :param data_dir: folder of the data sets (None: $ULTRAGCN_DATA_DIR, else datasets/)
    :param workers: number of processes that train at once
    """
    # Only now: these load torch, which takes seconds, and a mistyped flag is answered at once.
    from data import load_data
    from utils import log_param, progress_bar

    settings = {"batch_size": batch_size, "epochs": epochs, "learning_rate": learning_rate, **flags_of_the_model}
    log_param({"model": model, "dataset": dataset, "seeds": seeds, **settings, "workers": workers})
    found = models.find(model)
    found.load()  # so that a mistake in its code is met before data are downloaded
    train_data, _ = load_data(dataset, data_dir)  # so that data are downloaded once, and before any work begins
    about = {
        "model": model, "dataset": dataset, "flags": json.dumps({"data_dir": data_dir, **settings}),
        "made_of": _hash_of(model, getattr(train_data, "hash", "")),
    }  # fmt: skip
    wanted = [int(seed) for seed in seeds.split(",")]
    done = {seed: metrics for seed, metrics in _kept(about).items() if seed in wanted}
    jobs = [{"about": about, "data_dir": data_dir, "hyper_param": {**settings, "seed": seed}} for seed in wanted if seed not in done]
    with progress_bar(total=len(wanted), initial=len(done), desc="seeds", unit="run") as bar:
        for row in run_in_parallel(train_once, jobs, workers) if jobs else ():
            append_row(TABLE, row)
            done[row["seed"]] = json.loads(row["metrics"])
            bar.update()
    runs = [done[seed] for seed in wanted]
    print(_summary(runs))
    metric = next(iter(runs[0]))
    image = PLOTS / f"exp_seeds-{model}-{Path(dataset).name}.png"
    plots.over_seeds({seed: done[seed][metric] for seed in wanted}, metric, f"{model} on {Path(dataset).name}").write_png(image)
    print(TABLE)
    print(image)


def train_once(about: Mapping[str, str], data_dir: str | None, hyper_param: Mapping[str, Any]) -> dict[str, Any]:
    """Return one line of the table."""
    result = models.find(about["model"]).run(about["dataset"], data_dir, hyper_param)
    return {
        "time": datetime.now().astimezone().isoformat(timespec="seconds"), **about, "seed": hyper_param["seed"],
        "metrics": json.dumps(result.metrics, default=float), "seconds": round(result.seconds, 2),
    }  # fmt: skip


def _hash_of(model: str, data: str) -> str:
    """Return a hash of the files of a model, and of the hash of its data: a run with other code or other data is another run."""
    files = sorted((models.FOLDER / model).rglob("*.py"))
    return hash_bytes([data.encode(), *(part for file in files for part in (file.name.encode(), file.read_bytes()))])[:16]


def _kept(about: Mapping[str, str]) -> dict[int, dict[str, float]]:
    """Return the metrics by seed of the runs that the table has."""
    rows = read_rows(TABLE) if TABLE.exists() else []
    same = [row for row in rows if all(row.get(name) == value for name, value in about.items())]
    return {int(row["seed"]): json.loads(row["metrics"]) for row in same}


def _summary(runs: Sequence[Mapping[str, float]]) -> str:
    """Return a line for each metric: mean ± standard deviation over the runs (n - 1 in the denominator)."""
    lines = []
    for name in runs[0]:
        values = [run[name] for run in runs]
        spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
        lines.append(f"{name}: {statistics.mean(values):.4f}{spread} ({len(values)} {'seeds' if spread else 'seed'})")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> None:
    """Check the arguments, then let fire call `train_with_seeds` with them."""
    import fire  # only here, where `run_as_program` says what to do if it is not installed

    flags = flags_of(train_with_seeds)
    # The model comes first, because it may have flags of its own.
    named = value_given(argv, "model")
    model = models.find(named or flags[0].default)
    page = help_page("exp_seeds.py", __doc__, (*flags, *(model.flags if named else ())), model.notes if named else "")
    given = read_flags(argv, (*flags, *model.flags), page)
    plots.check_installed("exp_seeds")
    values = model.values(flags, given) | {"dataset": model.dataset(given.get("dataset"))}
    fire.Fire(train_with_seeds, command=fire_command(values))


if __name__ == "__main__":
    run_as_program(main)
