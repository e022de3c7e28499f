"""Whether the order of the items in a line means something: how well simple models find the first, the last and random tenths of each line.

    ULTRAGCN_DATA_DIR=... python research/line_order.py [--datasets LIST]

Of each user's line of train, a tenth is held out: drawn at random, its first items or its last. Where the three differ, the order means
something, and a validation set must be held out of train as test was held out of the whole. Recall@20 of models that train in
seconds; test itself stands beside them. A row for each goes to plots/line_order.tsv as it is made.
"""

import argparse

from shared import data_dir, report

from ultragcn import Interactions, evaluate, load_dataset
from ultragcn.data.events import Events, events_of
from ultragcn.data.log import read_log
from ultragcn.data.options import DataOptions
from ultragcn.data.split import hold_out_by
from ultragcn.models.itemknn import ItemKNN
from ultragcn.models.rp3beta import RP3beta
from ultragcn.models.sparse_ease import SparseEASE

NAMES = "gowalla,electronics"
LAST = DataOptions(split="last", last_share=0.1)
MODELS = {"sparse-ease": SparseEASE(), "rp3beta": RP3beta(), "itemknn": ItemKNN()}


def parts_of(name: str) -> dict[str, tuple[Interactions, Interactions]]:
    """Return what each way of holding out leaves to train on, and what it holds out."""
    given = load_dataset(name, data_dir(), protocol="authors")
    lines = events_of(read_log(f"{data_dir()}/{name}/train.txt", DataOptions(split="last")))
    backwards = Events(lines.interactions, -lines.times)
    ways = {"random": (lines, DataOptions()), "first": (backwards, LAST), "last": (lines, LAST)}
    held = {way: hold_out_by(events, options, 0, "valid") for way, (events, options) in ways.items()}
    return {way: (kept.interactions, out.interactions) for way, (kept, out) in held.items()} | {"test": (given.train, given.test)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--datasets", default=NAMES)
    for name in parser.parse_args().datasets.split(","):
        for way, (train, held_out) in parts_of(name).items():
            recalls = {model: evaluate(made.fit(train), held_out, ["recall@20"])["recall@20"] for model, made in MODELS.items()}
            report("line_order", {"dataset": name, "held out": way} | {model: round(recall, 4) for model, recall in recalls.items()})
