"""Which L2 strength a refit is to have, where training chose it along a path: that of the best sweep, or its mean with the one before.

    ULTRAGCN_DATA_DIR=... python research/refits.py [--datasets LIST] [--seeds LIST]

Test is not read: of the train items of `clean` a tenth is held out again and chosen on, the refit is trained on all of them, and measured
on the validation items. A row for every refit goes to plots/refits.tsv as it ends.
"""

import argparse

import numpy as np
from shared import data_dir, report

from ultragcn import UltraGCN, load_dataset
from ultragcn.data.split import hold_out
from ultragcn.models.refit import unfitted_for_refit

SPLIT_SEED = 99
"""Of what is held out again."""


def measure(name: str, seeds: list[int]) -> None:
    """Train, refit in both ways, and print the means."""
    data = load_dataset(name, data_dir())
    train, valid = hold_out(data.train, SPLIT_SEED)
    values: dict[str, list[list[float]]] = {}
    for seed in seeds:
        chosen = UltraGCN(seed=seed).fit(train, valid)
        of_best = chosen.history_[chosen.best_epoch_ - 1]["l2"]
        for how, l2 in {"of the best sweep": of_best, "mean with the one before": chosen.l2_}.items():
            config = unfitted_for_refit(chosen).config.replace(l2_user=l2, l2_item=l2)
            result = UltraGCN(config).fit(data.train).evaluate(data.valid)
            values.setdefault(how, []).append([result["recall@20"], result["ndcg@20"]])
            report(
                "refits",
                {"dataset": name, "seed": seed, "how": how, "l2": l2, "recall@20": values[how][-1][0], "ndcg@20": values[how][-1][1]},
            )
    for how, of_seeds in values.items():
        (recall, ndcg), (spread, _) = np.mean(of_seeds, axis=0), np.std(of_seeds, axis=0, ddof=1)
        print(f"{name}, {how}: {recall:.4f} ± {spread:.4f} / {ndcg:.4f} over {len(of_seeds)} seeds", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--datasets", default="electronics,ml-latest-small")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    arguments = parser.parse_args()
    for name in arguments.datasets.split(","):
        measure(name, [int(seed) for seed in arguments.seeds.split(",")])
