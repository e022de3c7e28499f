"""UltraGCN with its defaults on data it was not tuned for, against baselines that were tuned on them: leave-last-5 and global time.

    ULTRAGCN_DATA_DIR=... python benchmarks/unknown_data.py [--datasets LIST] [--splits LIST] [--seeds LIST]

On each data set and split every baseline chooses among the values of GRIDS by Recall@20 on validation (model seed 0). Then `compare` with
refit: all models trained on train and validation together, test read once. What was tried is kept in plots/baselines_settings.tsv, runs
and tables in runs/unknown-DATASET-SPLIT; what is there is not run again.
"""

import argparse
import warnings
from pathlib import Path

from baselines import best_among, combinations
from measure import ROOT, data_dir

from ultragcn import load_dataset
from ultragcn.errors import DataWarning
from ultragcn.experiments.studies.compare import compare, markdown
from ultragcn.models.registry import baseline_for, every_value

NAMES = ("ml-latest-small", "movietweetings-100k")
SPLITS = {"last": {"split": "last", "last_k": 5}, "time": {"split": "time"}}

GRIDS: dict[str, dict[str, list]] = {
    "popularity": {"half_life": [None, 2.0, 7.0, 30.0, 90.0, 365.0, 1000.0]},
    "itemknn": {"num_neighbors": [50, 200, 400, 1000], "shrinkage": [0.0, 30.0, 100.0, 300.0]},
    "rp3beta": {"num_neighbors": [100, 400, 1000], "alpha": [0.6, 0.8, 1.0], "beta": [0.0, 0.3, 0.6]},
    "ease": {"l2": [30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0]},
    "ials": {"unobserved_weight": [0.01, 0.1, 0.3, 1.0], "l2": [0.003, 0.01, 0.03, 0.1]},
    "bpr": {"l2": [0.003, 0.01, 0.03, 0.1, 0.3], "learning_rate": [0.01, 0.02, 0.05]},
}
"""Model -> hyper-parameter -> values; every combination is tried."""


def measure(name: str, split: str, seeds: list[int]) -> None:
    """Tune the baselines, compare, and print the table."""
    source = {"source": name, "data_dir": data_dir(), **SPLITS[split]}
    label, data = f"{name} {split}", load_dataset(**source)
    best = {model: best_among(combinations(grid), model, data, label)[1] for model, grid in GRIDS.items()}
    # Every value is said, so that none of those kept for another split of these data comes to it.
    settings = {model: every_value(baseline_for(model, None, **given)) for model, given in best.items()}
    models = ["ultragcn-default", *GRIDS]
    table = compare(source, models, seeds, folder(name, split), settings=settings, refit=True)
    print(f"{name}, split {split}\n\n{markdown(table)}", flush=True)


def folder(name: str, split: str) -> Path:
    """Return where one comparison is kept."""
    return ROOT / "runs" / f"unknown-{name}-{split}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--datasets", default=",".join(NAMES))
    parser.add_argument("--splits", default=",".join(SPLITS))
    parser.add_argument("--seeds", default="0,1,2,3,4")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", DataWarning)
    for name in arguments.datasets.split(","):
        for split in arguments.splits.split(","):
            measure(name, split, [int(seed) for seed in arguments.seeds.split(",")])
