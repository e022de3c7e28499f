"""TPE against random search on validation: the best NDCG@20 after equally many trials, over independent repeats.

    ULTRAGCN_DATA_DIR=... python research/tpe.py [--dataset ml-1m] [--trials N] [--repeats N]

Six hyper-parameters of the paper's model (the item graph hides much of what they do), wide ranges, the exact solver, 32 dimensions so that
a trial takes a second or two; protocol clean, test is not read, nothing is pruned. Each repeat has its own seed of the sampler. A row for
each goes to plots/tpe.tsv; what it says of a number of trials is the best of the first so many. The sweeps are kept in runs/tpe-DATASET/,
so a benchmark that was ended goes on.
"""

import argparse

import numpy as np
from scipy import stats
from shared import ROOT, data_dir, report

from ultragcn import load_dataset
from ultragcn.experiments.studies import model_study
from ultragcn.experiments.studies.study import Summary
from ultragcn.experiments.studies.sweep import sweep

SAID = {
    "vary": {
        "l2_user": {"low": 0.01, "high": 2.0, "log": True}, "l2_item": {"low": 0.01, "high": 2.0, "log": True},
        "negative_weight": {"low": 20, "high": 2000, "log": True}, "w3": {"low": 1e-7, "high": 1e-2, "log": True},
        "l2_user_exponent": {"low": -1, "high": 1}, "l2_item_exponent": {"low": -1, "high": 1},
    },
    "fixed": {"embedding_dim": 32, "epochs": 8, "item_graph_weight": 0}, "prune": False,
}  # fmt: skip
SAMPLERS = ("random", "tpe")


def best_so_far(summaries: list[Summary], trials: int) -> float:
    """Return the best value among the first `trials`."""
    return max(summary.means["valid_ndcg@20"] for summary in summaries[:trials] if summary.means)


def main() -> None:
    """Run both with each seed of the sampler, then compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    source = {"source": arguments.dataset, "data_dir": data_dir()}
    data = load_dataset(**source)
    points = sorted({arguments.trials // 3, arguments.trials * 2 // 3, arguments.trials})
    best: dict[tuple[str, int], list[float]] = {(sampler, trials): [] for sampler in SAMPLERS for trials in points}
    for repeat in range(arguments.repeats):
        for sampler in SAMPLERS:
            said = SAID | {"dataset": arguments.dataset, "sampler": sampler, "sampler_seed": repeat, "trials": arguments.trials}
            study = model_study.study_of(said, data)
            trial = model_study.ModelTrial(source, "ultragcn", study.metrics)
            outcome = sweep(study, trial, ROOT / "runs" / f"tpe-{arguments.dataset}" / f"{sampler}-{repeat}", jobs=arguments.jobs)
            for trials in points:
                best[sampler, trials].append(best_so_far(outcome.summaries, trials))
            report("tpe", {"dataset": arguments.dataset, "repeat": repeat, "sampler": sampler}
                   | {f"best of {trials}": best[sampler, trials][-1] for trials in points})  # fmt: skip
    for trials in points:
        gains = np.subtract(best["tpe", trials], best["random", trials])
        half = stats.t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains))
        means = "  ".join(f"{sampler} {np.mean(best[sampler, trials]):.5f}" for sampler in SAMPLERS)
        print(f"{trials} trials: {means}  gain {gains.mean():+.5f}, 95 % interval {gains.mean() - half:+.5f} - {gains.mean() + half:+.5f}")


if __name__ == "__main__":
    main()
