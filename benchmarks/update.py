"""What an update loses against a full retrain, and what it costs.

    ULTRAGCN_DATA_DIR=... python benchmarks/update.py [--datasets LIST] [--settings kept|defaults] [--cases LIST] [--seeds LIST]
        [--sweeps N] [--item_graph new,old]

The log is train and validation of `clean`; figures are of test. The old model is trained on a part of the log (it chooses on held-out
pairs, and is refitted), and a full retrain is what it chose, trained on the whole log. Cases:

    half      the old model lacks half of the pairs, and one update adds them: more than an update is for
    tenth     the old model lacks 10 % of the pairs, drawn at random (the latest, were times read); one update adds them
    ten       it lacks 10 %, and ten updates of 1 % add them one after the other
    items     it lacks 5 % of the items with all their pairs; an update adds them, and recall is that of these items alone

A row for each goes to plots/update.tsv as it ends. Seconds are those of all cores. `retrain` is the refit alone; `anew` has also the
training that chooses. `loss` is 1 - updated / retrain, relative; `estimate` is what the report of the update says of it.
"""

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from measure import data_dir, report

from ultragcn import UltraGCN, load_dataset
from ultragcn.config import configuration_for
from ultragcn.data.interactions import Interactions
from ultragcn.data.split import hold_out
from ultragcn.scoring.item_graph import item_graph

CASES = ("tenth", "ten", "items", "half")


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what `work` returns, and the seconds of all cores."""
    before = time.process_time()
    result = work()
    return result, time.process_time() - before


def lacking(log: Interactions, case: str, seed: int) -> np.ndarray:
    """Return the mask (N,) of the pairs that the old model lacks."""
    random = np.random.default_rng([seed, 29])
    if case == "items":
        return (random.random(log.num_items) < 0.05)[log.pairs[1]]
    share = 0.5 if case == "half" else 0.1
    return random.random(len(log)) < share if log.times is None else log.times >= np.quantile(log.times, 1 - share)


def shares(log: Interactions, new: np.ndarray, number: int, seed: int) -> list[Interactions]:
    """Return the new pairs in so many parts, by time where it is known."""
    rows = np.flatnonzero(new)
    order = np.random.default_rng([seed, 31]).permutation(rows) if log.times is None else rows[np.argsort(log.times[rows], kind="stable")]
    masks = []
    for part in np.array_split(order, number):
        mask = np.zeros(len(log), bool)
        mask[part] = True
        masks.append(log.part(mask))
    return masks


def without_empty(part: Interactions) -> Interactions:
    """Return the pairs over those ids alone that have some."""
    users, items = part.pairs
    return Interactions.from_pairs(part.user_ids.ids[users], part.item_ids.ids[items])


def figures(model: UltraGCN, test: Interactions) -> dict[str, float]:
    """Return the metrics of test."""
    return {label: value for label, value in model.evaluate(test).items() if label != "num_users"}


def measure(name: str, settings: str, case: str, seed: int, sweeps: int | None, graphs: list[str]) -> None:
    """Train, update, retrain, and report."""
    data = load_dataset(name, data_dir())
    log = data.train.union(data.valid)
    new = lacking(log, case, seed)
    config = UltraGCN().config if settings == "defaults" else configuration_for(name, "exact")
    train, valid = hold_out(without_empty(log.part(~new)), seed)
    chosen, choosing = timed(lambda: UltraGCN(config.replace(seed=seed)).fit(train, valid=valid))
    old = chosen.refit()
    retrained, retraining = timed(lambda: old.untrained().fit(without_empty(log)))
    _, graph_seconds = timed(lambda: item_graph(retrained.train_, retrained.config))
    test = data.test
    if case == "items":
        gone = np.zeros(log.num_items, bool)
        gone[log.pairs[1][new]] = True
        test = test.part(gone[test.pairs[1]])
    test = test.part(np.isin(test.user_ids.ids[test.pairs[0]], retrained.user_ids.ids))
    ideal = figures(retrained, test)
    for graph in graphs:
        model, updating, found = old, 0.0, {}
        for part in shares(log, new, 10 if case == "ten" else 1, seed):
            make = partial(model.update, part, sweeps=sweeps, item_graph=graph, measure="none")
            (model, found), seconds = timed(make)
            updating += seconds
        (_, told), measuring = timed(partial(old.update, log.part(new), sweeps=sweeps, item_graph=graph))
        ours, distance = figures(model, test), told["distance"] or dict.fromkeys(("value", "low", "high"), math.nan)
        report(
            "update",
            {"dataset": name, "settings": settings, "case": case, "seed": seed, "sweeps": found["sweeps"], "item_graph": graph}
            | {"pairs": len(log), "new": int(new.sum()), "epochs": old.config.epochs}
            | {"old": math.nan if case == "items" else old_figure(old, test)}
            | {f"updated_{label}": value for label, value in ours.items()}
            | {f"retrain_{label}": value for label, value in ideal.items()}
            | {"loss": 1 - ours["recall@20"] / ideal["recall@20"]}
            | {"estimate": distance["value"], "low": distance["low"], "high": distance["high"]}
            | {"update_seconds": updating, "measured_seconds": measuring, "graph_seconds": graph_seconds}
            | {"retrain_seconds": retraining, "anew_seconds": choosing + retraining},
        )


def old_figure(old: UltraGCN, test: Interactions) -> float:
    """Return recall@20 of the old model on the users and items that it knows."""
    known = (old.user_ids.find(test.user_ids.ids)[test.pairs[0]] >= 0) & (old.item_ids.find(test.item_ids.ids)[test.pairs[1]] >= 0)
    return figures(old, test.part(known))["recall@20"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--datasets", default="electronics,movietweetings-100k,ml-1m,gowalla")
    parser.add_argument("--settings", default="defaults", choices=("kept", "defaults"))
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--sweeps", type=int)
    parser.add_argument("--item_graph", default="new,old")
    arguments = parser.parse_args()
    for name in arguments.datasets.split(","):
        for seed in arguments.seeds.split(","):
            for case in arguments.cases.split(","):
                measure(name, arguments.settings, case, int(seed), arguments.sweeps, arguments.item_graph.split(","))
