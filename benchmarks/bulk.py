"""Lists of all users, from the command to a Parquet file with titles; beside implicit's recommend and the same writer, where installed.

    ULTRAGCN_DATA_DIR=... python benchmarks/bulk.py --model FOLDER [--dataset gowalla] [--epochs 8] [--repeats 3] [--users 1000000]

The model is trained for a few epochs, which changes no cost, and kept in FOLDER, each item with a title. `seconds` is the clock's from the
start of the command to its end, loading and writing in it; `cpu` is what all threads took. Of implicit, the model is in memory already, so
that its figures leave out loading. Runs alternate, and the fastest of each counts. A row for each goes to plots/bulk.tsv.

`--users N` makes a model of N users out of it: those of the data set, again and again, under new ids. `peak_mb` is the peak memory of the
command, `model_mb` the size of the model's file; what the command takes beside the model is the difference.
"""

import argparse
import copy
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from measure import data_dir, report

from ultragcn import Interactions, UltraGCN, load_dataset, load_model
from ultragcn.data.ids import IdMap
from ultragcn.models.files import MODEL_FILE

TOP_K = 20


def model_in(folder: Path, dataset: str, epochs: int) -> UltraGCN:
    """Return the model in `folder`, which is made where it is not there."""
    if not (folder / MODEL_FILE).exists():
        model = UltraGCN(epochs=epochs, seed=0).fit(load_dataset(dataset, data_dir()))
        model.item_titles_ = np.array([f"The place called {name}" for name in model.item_ids.ids], object)
        model.save(folder)
    return load_model(folder)


def enlarged(model: UltraGCN, num_users: int) -> UltraGCN:
    """Return the model with so many users, who are its own ones again and again; their ids are whole numbers."""
    rows = np.arange(num_users) % len(model.user_ids)
    ids = IdMap(np.arange(num_users), "user")
    large, train, valid = copy.copy(model), model.train_, model.valid_
    large._set_data(*(pairs and Interactions(pairs.matrix[rows], ids, model.item_ids) for pairs in (train, valid)))
    for name in (*model._learned, *model._recorded, "item_titles_"):
        setattr(large, name, getattr(model, name))
    large.user_embedding_ = model.user_embedding_[rows]
    return large


def peak_of(command: list[str]) -> float:
    """Run a command; return the most memory that it held, in MB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} ended with {status}")
    return used.ru_maxrss / 1024


def seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of the clock, and of the processor in this process and in those that it started."""

    def processor() -> float:
        return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))

    before = time.perf_counter(), processor()
    work()
    return time.perf_counter() - before[0], processor() - before[1]


def of_implicit(model: UltraGCN, file: Path) -> Callable[[], object] | None:
    """Return what lists all users with implicit and writes them as ours are written; None where it is not installed."""
    try:
        import implicit
    except ImportError:
        return None
    matrix = model.train_.matrix.astype(np.float32)
    als = implicit.als.AlternatingLeastSquares(model.config.embedding_dim, iterations=1, random_state=0)
    als.fit(matrix, show_progress=False)
    users = np.arange(matrix.shape[0])
    ids, titles = pl.Series(model.item_ids.ids), pl.Series(model.item_titles_.tolist())

    def write() -> None:
        items, scores = als.recommend(users, matrix, TOP_K)
        rows = pl.Series(items.ravel())
        pl.DataFrame({
            "user_id": np.repeat(model.user_ids.ids, TOP_K), "rank": np.tile(np.arange(1, TOP_K + 1), len(users)),
            "item_id": ids.gather(rows), "title": titles.gather(rows), "score": scores.ravel().astype(np.float64),
        }).write_parquet(file)  # fmt: skip

    return write


def of_many(large: Path, options: argparse.Namespace) -> None:
    """Measure the lists of a large model, and report."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ultragcn", "recommend", str(large), "--all", "--output", f"{folder}/ours.parquet"]
        before = time.perf_counter()
        peak = peak_of(command)
        seconds = time.perf_counter() - before
    report("bulk-memory", {
        "dataset": options.dataset, "users": options.users, "model_mb": (large / MODEL_FILE).stat().st_size / 2**20, "peak_mb": peak,
        "seconds": seconds, "users_a_second": options.users / seconds,
    })  # fmt: skip


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--dataset", default="gowalla")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--users", type=int, help="users of the model that is made of the other; only its memory and time are measured")
    options = parser.parse_args()
    model = model_in(options.model, options.dataset, options.epochs)
    if options.users:
        large = options.model / f"users-{options.users}"
        if not (large / MODEL_FILE).exists():
            enlarged(model, options.users).save(large)
        of_many(large, options)
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ultragcn", "recommend", str(options.model), "--all", "--output", f"{folder}/ours.parquet"]
        works = {"ultragcn": lambda: subprocess.run(command, check=True, capture_output=True)}
        theirs = of_implicit(model, Path(folder) / "theirs.parquet")
        works |= {} if theirs is None else {"implicit": theirs}
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
        for _ in range(options.repeats):
            for name, work in works.items():
                spent[name].append(seconds_of(work))
    for name, runs in spent.items():
        seconds, processor = np.min(runs, axis=0)
        users = len(model.user_ids)
        report("bulk", {
            "dataset": options.dataset, "dim": model.config.embedding_dim, "library": name, "users": users, "seconds": seconds,
            "cpu": processor, "users_a_second": users / seconds, "users_a_cpu_second": users / processor,
        })  # fmt: skip


if __name__ == "__main__":
    main()
