"""What the defaults lose on data they were not tuned for: the settings kept, the defaults, and other defaults, on validation items.

    ULTRAGCN_DATA_DIR=... python research/defaults.py [--datasets LIST] [--seeds N]

Protocol clean, split seed 0; test is not read. A row for each goes to plots/defaults.tsv as it ends.
"""

import argparse

import numpy as np
from shared import data_dir, report

from ultragcn import UltraGCN, load_dataset
from ultragcn.config import Config, configuration_for

NAMES = "demo,electronics,ml-latest-small,movietweetings-100k,ml-1m"
OTHERS: list[dict[str, float]] = [
    {"l2_user": 0.1, "l2_item": 0.1},
    {"l2_user": 0.13, "l2_item": 0.13},
    {"l2_user": 0.2, "l2_item": 0.2},
    {"l2_user": 0.3, "l2_item": 0.3},
    {"item_graph_walk": 0.0, "item_graph_weight": 0.3},
]
"""Defaults that were thought of: one L2 strength for all data in place of the path, and an item graph without walks."""


def measure(name: str, seeds: int) -> None:
    """Train with every configuration and report the means over seeds."""
    data = load_dataset(name, data_dir())
    settings = {"kept": configuration_for(name, "exact"), "defaults": Config()} | {str(other): Config(**other) for other in OTHERS}
    for said, config in settings.items():
        results = [UltraGCN(config, seed=seed).fit(data.train, data.valid).evaluate(data.valid) for seed in range(seeds)]
        recall, ndcg = (float(np.mean([result[label] for result in results])) for label in ("recall@20", "ndcg@20"))
        report("defaults", {"dataset": name, "settings": said, "seeds": seeds, "recall@20": recall, "ndcg@20": ndcg})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--datasets", default=NAMES)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    for name in arguments.datasets.split(","):
        measure(name, arguments.seeds)
