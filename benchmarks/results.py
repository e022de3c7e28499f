"""What the solvers reach with the paper's model on the benchmark data sets: Recall@20 / NDCG@20, seconds and memory, means over seeds.

    ULTRAGCN_DATA_DIR=... python benchmarks/results.py [--datasets LIST] [--protocols LIST] [--seeds LIST] [--solver exact]

Each run is a process of its own, so that its peak memory is its own; settings are those of configs/, without the item graph at ranking
time. A row for every run goes to plots/results.tsv as it ends, and a row with the means to the terminal. Under `clean`, validation
chooses the sweep and test is read once; under `authors`, the sweep is chosen on test, as their code does: for comparing with published
numbers only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import data_dir, report

NAMES = "electronics,ml-1m,gowalla,amazoncds"


def run(name: str, protocol: str, seed: int, solver: str) -> dict:
    """Train once, in a process of its own; return its metrics.json."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", "--dataset", name, "--data_dir", data_dir(), "--protocol", protocol, "--seed", str(seed), "--solver", solver]
        words += ["--item_graph_weight", "0"]
        subprocess.run([sys.executable, "-m", "ultragcn", *words, "--out", folder, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        return json.loads((Path(folder) / "metrics.json").read_text())


def measure(name: str, protocol: str, seeds: list[int], solver: str) -> None:
    """Run all seeds of one data set under one protocol and print their means."""
    rows = []
    for seed in seeds:
        metrics = run(name, protocol, seed, solver)
        row = {
            "dataset": name, "protocol": protocol, "solver": solver, "seed": seed, "recall@20": metrics["test"]["recall@20"],
            "ndcg@20": metrics["test"]["ndcg@20"], "train_seconds": metrics["train_seconds"], "sweep": metrics["best_epoch"],
            "sweeps": metrics["epochs"], "peak_memory_mb": metrics["peak_memory_mb"],
        }  # fmt: skip
        report("results", row)
        rows.append(row)
    mean = {key: float(np.mean([row[key] for row in rows])) for key in ("recall@20", "ndcg@20", "train_seconds", "peak_memory_mb")}
    print(
        f"MEAN {name} {protocol} {solver} over {len(seeds)} seeds: " + "  ".join(f"{key} {value:.5g}" for key, value in mean.items()),
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--datasets", default=NAMES)
    parser.add_argument("--protocols", default="authors,clean")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--solver", default="exact")
    arguments = parser.parse_args()
    for protocol in arguments.protocols.split(","):
        for name in arguments.datasets.split(","):
            measure(name, protocol, [int(seed) for seed in arguments.seeds.split(",")], arguments.solver)
