"""What a constant part of the pair weights, w1 = w3, is worth in the defaults: a share of the mean of beta over the train pairs.

    ULTRAGCN_DATA_DIR=... python research/constant_weights.py [--datasets LIST] [--shares LIST] [--seeds LIST] [--test]

A tenth of the train items of `clean` is held out again and chosen on; the refit is trained on all of them, and measured on the validation
items. With `--test`, validation items are chosen on, the refit is trained on train and validation, and measured on test: this shows whether
a gain is more than that of one set of held-out pairs. The L2 strength begins higher by the factor by which the mean weight is larger.
A row for every refit goes to plots/constant_weights.tsv as it ends; the seconds of the first have the loading of the kernels in them.
"""

import argparse
import time

import numpy as np
from refits import SPLIT_SEED
from shared import data_dir, report

from ultragcn import Interactions, UltraGCN, load_dataset
from ultragcn.config.ultragcn import EXACT_L2_FROM
from ultragcn.data.split import hold_out
from ultragcn.loss.weights import degree_weights
from ultragcn.models.refit import unfitted_for_refit
from ultragcn.training import choices

AUTHORS = 1e-7
"""The constant part where the share is 0."""


def mean_beta(train: Interactions) -> float:
    """Return the mean of beta over the train pairs."""
    beta, (users, items) = degree_weights(train), train.pairs
    return float((beta.user[users] * beta.item[items]).mean())


def measure(name: str, shares: list[float], seeds: list[int], on_test: bool) -> None:
    """Train and refit with every share, and print the means over seeds."""
    data = load_dataset(name, data_dir())
    train, valid = (data.train, data.valid) if on_test else hold_out(data.train, SPLIT_SEED)
    everything, held_out = (data.train.union(data.valid), data.test) if on_test else (data.train, data.valid)
    for share in shares:
        constant = share * mean_beta(train) or AUTHORS
        choices.EXACT_L2_FROM = EXACT_L2_FROM * (1 + share)
        products = []
        for seed in seeds:
            before = time.process_time()
            chosen = UltraGCN(w1=constant, w3=constant, seed=seed).fit(train, valid)
            again = unfitted_for_refit(chosen).fit(everything)
            seconds = time.process_time() - before
            result = again.evaluate(held_out)
            products.append(result["recall@20"] * result["ndcg@20"])
            report("constant_weights", {
                "dataset": name, "measured_on": "test" if on_test else "validation", "share": share, "seed": seed, "l2": chosen.l2_,
                "epochs": chosen.best_epoch_, "item_graph_weight": chosen.item_graph_weight_, "cpu_seconds": seconds,
                "recall@20": result["recall@20"], "ndcg@20": result["ndcg@20"], "product": products[-1],
            })  # fmt: skip
        print(f"{name}, share {share:g}: product {np.mean(products):.6f} over {len(seeds)} seeds", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--datasets", default="electronics,ml-latest-small,movietweetings-100k,ml-1m")
    parser.add_argument("--shares", default="0,0.3,0.5,1")
    parser.add_argument("--seeds", default="0,1,2,3")
    parser.add_argument("--test", action="store_true")
    arguments = parser.parse_args()
    shares, seeds = ([kind(text) for text in given.split(",")] for kind, given in ((float, arguments.shares), (int, arguments.seeds)))
    for name in arguments.datasets.split(","):
        measure(name, shares, seeds, arguments.test)
