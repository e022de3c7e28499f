"""What clusters in place of all cells do to a training: seconds, and what the model is worth on held-out pairs.

    ULTRAGCN_DATA_DIR=... python benchmarks/clusters.py [--datasets LIST] [--settings kept,defaults] [--negatives full,clusters]
        [--seeds LIST]

For every data set, settings, seed and kind of negatives, one after the other: a training on train and validation items of `clean`, its
figures on validation and on test, and a refit on both with its figures on test. A row for each goes to plots/clusters.tsv as it ends.
`cpu` counts the seconds of all cores, which other programs disturb less than the clock.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

from measure import data_dir, report

from ultragcn import UltraGCN, load_dataset
from ultragcn.config import configuration_for
from ultragcn.models.refit import unfitted_for_refit


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return what `work` returns, and its seconds by the clock and of all cores."""
    clock, cores = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - clock, time.process_time() - cores


def measure(name: str, settings: str, negatives: str, seed: int) -> None:
    """Train, refit, and report."""
    data = load_dataset(name, data_dir())
    config = UltraGCN().config if settings == "defaults" else configuration_for(name, "exact", paper=settings == "paper")
    untrained = UltraGCN(config.replace(seed=seed, negatives=negatives))
    model, seconds, cpu = timed(lambda: untrained.fit(data))
    best, on_test = model.history_[model.best_epoch_ - 1], model.evaluate(data.test)
    both = data.train.union(data.valid)
    refitted, refit_seconds, refit_cpu = timed(lambda: unfitted_for_refit(model).fit(both))
    epochs = {"sweeps": len(model.history_), "best": model.best_epoch_}
    figures = {"valid": best, "test": on_test, "refitted": refitted.evaluate(data.test)}
    report(
        "clusters",
        {"dataset": name, "settings": settings, "negatives": negatives, "seed": seed}
        | epochs
        | {"seconds": seconds, "cpu": cpu, "refit_seconds": refit_seconds, "refit_cpu": refit_cpu}
        | {f"{part} {metric}": values[metric] for part, values in figures.items() for metric in ("recall@20", "ndcg@20")},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--datasets", default="electronics,ml-latest-small,movietweetings-100k,ml-1m,gowalla,amazoncds")
    parser.add_argument("--settings", default="kept,defaults")
    parser.add_argument("--negatives", default="full,clusters")
    parser.add_argument("--seeds", default="0,1,2")
    arguments = parser.parse_args()
    for name in arguments.datasets.split(","):
        for settings in arguments.settings.split(","):
            for seed in arguments.seeds.split(","):
                for negatives in arguments.negatives.split(","):
                    measure(name, settings, negatives, int(seed))
