"""How the settings of the exact solver in configs/ were chosen: each one moved alone, Recall@20 / NDCG@20 on validation items.

    ULTRAGCN_DATA_DIR=... python research/settings.py [--datasets LIST]

Protocol clean, split seed 0, model seed 0; test is not read. A row for every setting goes to plots/settings.tsv as it ends. What is
kept now was found by the studies of configs/studies/ since.
"""

import argparse

from shared import data_dir, report

from ultragcn import UltraGCN, load_dataset
from ultragcn.config import configuration_for


def strength(value: float) -> dict[str, float]:
    """Return both L2 strengths as one."""
    return {"l2_user": value, "l2_item": value}


MOVED: dict[str, list[dict]] = {
    "ml-1m": [
        strength(0.08), strength(0.09), strength(0.12), {"l2_user_exponent": -0.3}, {"l2_item_exponent": -0.3},
        {"negative_weight": 100.0}, {"item_item_weight": 1e-3}, {"w3": 1e-7}, {"w3": 5e-3}, {"start_l2": 1.0},
        {"start": "random"},
    ],
    "gowalla": [
        strength(0.12), strength(0.2), {"l2_item_exponent": 0.4}, {"num_item_neighbors": 10}, {"item_item_weight": 0.1},
        {"item_item_weight": 0.4}, {"negatives": "full"}, {"start": "random"},
    ],
    "amazoncds": [
        strength(0.15), strength(0.25), {"l2_user_exponent": 0.2}, {"num_item_neighbors": 10}, {"num_item_neighbors": 40},
        {"item_item_weight": 0.5}, {"negative_weight": 500.0}, {"w3": 1e-7}, {"omega": "paper", "item_item_weight": 0.3},
        {"l2_item_exponent": 0.2}, {"start_sweeps": 10},
    ],
}  # fmt: skip
"""What was moved, by data set; everything else as in configs/."""


def measure(name: str) -> None:
    """Train with the settings kept, then with each one moved."""
    data = load_dataset(name, data_dir())
    for changes in ({}, *MOVED[name]):
        model = UltraGCN(configuration_for(name, "exact", **changes)).fit(data.train, data.valid)
        best = model.history_[model.best_epoch_ - 1]
        moved = ", ".join(f"{key} {value}" for key, value in changes.items()) or "as kept"
        report("settings", {
            "dataset": name, "moved": moved, "recall@20": best["recall@20"], "ndcg@20": best["ndcg@20"], "sweep": model.best_epoch_,
            "sweeps": len(model.history_), "train_seconds": model.train_seconds_,
        })  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--datasets", default=",".join(MOVED))
    for name in parser.parse_args().datasets.split(","):
        measure(name)
