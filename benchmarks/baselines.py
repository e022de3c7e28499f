"""What the baselines reach on the benchmark data sets, and how their settings in configs/baselines/settings.toml were chosen.

    ULTRAGCN_DATA_DIR=... python benchmarks/baselines.py [--datasets LIST] [--models LIST] [--protocols LIST] [--seed N]
    ULTRAGCN_DATA_DIR=... python benchmarks/baselines.py --tune [--draws N] [--datasets LIST] [--models LIST]

Without --tune: every model with its settings, in a process of its own so that its peak memory is its own; a row for each goes to
plots/baselines.tsv. Under `clean`, models are fitted on train and test is read once; under `authors`, on the whole published train with
the same settings (LightGCN: its epoch is chosen on test, as its authors do). `cpu_seconds` count all threads, loading kernels included:
on a busy machine they say more than `train_seconds`.

With --tune: from the defaults, stage after stage of GRIDS (or FEWER) tries every combination of its values and keeps the one with the
best Recall@20 on the validation items of `clean` (split seed 0, model seed 0); test is not read. A row for each fit goes to
plots/baselines_settings.tsv, and what stands there already is not fitted again. With --draws N, N random settings from RANGES and
those in configs/ are tried instead of GRIDS.
"""

import argparse
import itertools
import subprocess
import sys
import time
from operator import itemgetter

import numpy as np
from measure import ROOT, data_dir, report

from ultragcn import load_dataset, storage
from ultragcn.data.datasets import Dataset
from ultragcn.experiments.runs.manifest import split_hash
from ultragcn.machine import peak_memory_mb
from ultragcn.models.registry import BASELINES, baseline_for, kept_settings

GRIDS: dict[str, list[dict[str, list]]] = {
    "popularity": [],
    "itemknn": [{"num_neighbors": [50, 100, 200, 400]}, {"shrinkage": [0.0, 3.0, 30.0, 100.0]}, {"weighting": ["idf"]}],
    "rp3beta": [{"num_neighbors": [100, 400]}, {"beta": [0.0, 0.2, 0.4]}, {"alpha": [0.8, 1.2]}],
    "ease": [{"l2": [100.0, 200.0, 300.0, 500.0, 800.0, 1200.0]}],
    "sparse-ease": [{"l2": [30.0, 100.0, 300.0]}],
    # The L2 strength also grows with unobserved_weight, so the two are chosen together.
    "ials": [{"unobserved_weight": [0.003, 0.01, 0.03, 0.1, 0.3], "l2": [0.003, 0.01, 0.03]}, {"embedding_dim": [192]}],
    "bpr": [{"l2": [0.01, 0.03, 0.1]}, {"learning_rate": [0.02, 0.1]}],
    "lightgcn": [
        {
            "schedule": ["cosine"],
            "epochs": [90],
            "patience": [18],
            "learning_rate": [0.05],
            "num_layers": [2, 3],
            "l2_weight": [1e-4, 6e-4, 1.5e-3, 4e-3],
        },
    ],
}
"""Model -> stages, each of hyper-parameter -> values tried."""

FEWER: dict[tuple[str, str], list[dict[str, list]]] = {
    ("gowalla", "ials"): [{"embedding_dim": [192], "unobserved_weight": [0.003, 0.01, 0.03], "l2": [0.003]}, {"l2": [0.001]}],
}
"""(Data set, model) -> stages in place of GRIDS, where a fit takes minutes."""

RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "ials": {"unobserved_weight": (0.001, 1.0), "l2": (0.001, 0.3), "l2_exponent": (0.6, 1.1)},
    "bpr": {"l2": (0.001, 0.1), "learning_rate": (0.01, 0.2)},
}
"""Model -> hyper-parameter -> the range that values are drawn from, evenly over the orders of magnitude."""


def tune(dataset: str, model: str, draws: int) -> None:
    """Choose the settings of one model on one data set."""
    data = load_dataset(dataset, data_dir())
    if draws:
        best = best_among([kept_settings(model, dataset) or {}, *drawn(model, draws)], model, data, dataset)
    else:
        best = -1.0, {}
        for stage in FEWER.get((dataset, model), GRIDS[model]):
            best = max(best, best_among([best[1] | settings for settings in combinations(stage)], model, data, dataset), key=itemgetter(0))
    print(f"CHOSEN {dataset} {model} {best[1]} {best[0]:.4f}", flush=True)


def best_among(candidates: list[dict], model: str, data: Dataset, label: str) -> tuple[float, dict]:
    """Return the best Recall@20 on validation of some settings, and the settings; the first of equals.

    Those that stand in plots/baselines_settings.tsv for the same split are not fitted again. `label` is a name of data and split.
    """
    split = split_hash(data)[:16]
    known, values = measured(split, model), []
    for settings in candidates:
        fitted = baseline_for(model, None, **settings)
        settings_hash = fitted.config.fingerprint()
        if settings_hash not in known:
            fitted.fit(data.train, data.valid)
            result = fitted.evaluate(data.valid)
            known[settings_hash] = result["recall@20"]
            report("baselines_settings", {
                "dataset": label, "split": split, "model": model, "settings": repr(fitted),
                "settings_hash": settings_hash, "valid recall@20": result["recall@20"],
                "valid ndcg@20": result["ndcg@20"], "seconds": fitted.train_seconds_,
            })  # fmt: skip
        values.append(known[settings_hash])
    return max(zip(values, candidates, strict=True), key=itemgetter(0))


def combinations(values: dict[str, list]) -> list[dict]:
    """Return every combination of the values of some hyper-parameters."""
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


def drawn(model: str, draws: int) -> list[dict[str, float]]:
    """Return random settings from the RANGES of a model, two digits each; more draws begin with the same ones."""
    random = np.random.default_rng(0)
    ranges = {name: np.log(ends) for name, ends in RANGES[model].items()}
    return [{name: float(f"{np.exp(random.uniform(*ends)):.2g}") for name, ends in ranges.items()} for _ in range(draws)]


def measured(split: str, model: str) -> dict[str, float]:
    """Return hash of all settings -> validation Recall@20 of the rows that earlier runs left."""
    file = ROOT / "plots" / "baselines_settings.tsv"
    if not file.is_file():
        return {}
    rows = [row for row in storage.read_rows(file) if (row["split"], row["model"]) == (split, model)]
    return {row["settings_hash"]: float(row["valid recall@20"]) for row in rows}


def measure(dataset: str, model: str, protocol: str, seed: int) -> None:
    """Fit one model with its settings and read test."""
    data = load_dataset(dataset, data_dir(), protocol=protocol)
    seeded = {"seed": seed} if hasattr(BASELINES[model].Settings, "seed") else {}
    fitted = baseline_for(model, dataset, **seeded)
    started = time.process_time()
    fitted.fit(data.train, data.valid, select_on=data.test if protocol == "authors" else None)
    cpu_seconds = time.process_time() - started
    peak = peak_memory_mb()
    result = fitted.evaluate(data.test)
    report("baselines", {
        "dataset": dataset, "protocol": protocol, "model": model, "settings": repr(fitted), "recall@20": result["recall@20"],
        "ndcg@20": result["ndcg@20"], "train_seconds": fitted.train_seconds_, "cpu_seconds": cpu_seconds,
        "peak_memory_mb": peak,
    })  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--datasets", default="electronics,ml-1m,gowalla,amazoncds")
    parser.add_argument("--models", default=",".join(BASELINES))
    parser.add_argument("--protocols", default="authors,clean")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--draws", type=int, default=0)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    protocols = ["clean"] if arguments.tune else arguments.protocols.split(",")
    jobs = [(d, m, p) for d in arguments.datasets.split(",") for p in protocols for m in arguments.models.split(",")]
    for job in jobs:
        if arguments.tune:
            tune(*job[:2], arguments.draws)
        elif arguments.one:
            measure(*job, arguments.seed)
        else:
            words = ["--datasets", job[0], "--models", job[1], "--protocols", job[2], "--seed", str(arguments.seed), "--one"]
            # A model that does not fit into memory, or a package that is not there, ends its own process only.
            subprocess.run([sys.executable, __file__, *words], check=False)
