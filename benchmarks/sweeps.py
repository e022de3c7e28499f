"""How many trials an hour `ultragcn sweep --jobs` gets through on electronics, and whether each gives what it gives alone.

    ULTRAGCN_DATA_DIR=... python benchmarks/sweeps.py [--jobs N] [--repeats N]

24 random trials of the exact solver, from a cold start of the command to its end. Every repeat runs each way once, in turn: one job
with all cores, one job with one thread, N jobs with their share of the cores. A row for each goes to plots/sweeps.tsv.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from measure import data_dir, report

from ultragcn import UltraGCN, evaluate, load_dataset
from ultragcn.config import configuration_for
from ultragcn.experiments.studies.study import read_results

TRIALS = 24


def sweep(out: Path, jobs: int, threads: int | None) -> float:
    """Run the study into `out`; return seconds."""
    over = ["--vary", "l2_user,l2_item=log:0.2:1", "--vary", "item_item_weight=0:2", "--vary", "num_item_neighbors=5,10,20"]
    how = ["--sampler", "random", "--trials", str(TRIALS), "--jobs", str(jobs), *([] if threads is None else ["--threads", str(threads)])]
    started = time.perf_counter()
    words = ["--dataset", "electronics", "--data_dir", data_dir(), *over, *how, "--out", str(out), "--quiet"]
    subprocess.run([sys.executable, "-m", "ultragcn", "sweep", *words], check=True, capture_output=True)
    return time.perf_counter() - started


def after_the_first(out: Path) -> float:
    """Return seconds from the first line of the results to the last."""
    ended = sorted(datetime.fromisoformat(row.ended) for row in read_results(out))
    return (ended[-1] - ended[0]).total_seconds()


def differences(out: Path) -> int:
    """Return how many trials, each run again here and alone, do not give every digit of their line."""
    data, different = load_dataset("electronics", data_dir()), 0
    for row in read_results(out):
        strength, weight, neighbors = row.parameters.values()
        changes = {"l2_user": strength, "l2_item": strength, "item_item_weight": weight, "num_item_neighbors": neighbors}
        model = UltraGCN(configuration_for("electronics", seed=row.seed, **changes)).fit(data.train, data.valid)
        alone = evaluate(model, data.valid, ["recall@20", "ndcg@20"])
        different += any(row.metrics[f"valid_{label}"] != float(f"{alone[label]:.8g}") for label in ("recall@20", "ndcg@20"))
    return different


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(arguments.repeats):
            for jobs, threads in ((1, None), (1, 1), (arguments.jobs, None)):
                out = Path(folder) / f"{repeat}-{jobs}-{threads}"
                seconds = sweep(out, jobs, threads)
                report("sweeps", {
                    "repeat": repeat, "jobs": jobs, "threads": threads or "share", "seconds": seconds,
                    "trials_per_minute": 60 * TRIALS / seconds, "seconds_after_first": after_the_first(out),
                    "different": differences(out) if repeat == 0 else "",
                })  # fmt: skip


if __name__ == "__main__":
    main()
