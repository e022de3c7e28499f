"""What one user with very many items costs: peak memory and seconds of what is made of items that users share.

    python benchmarks/giant_user.py [--items N] [--giants N] [--models LIST] [--most_gigabytes N]

The log is made up: 2,000 users have 30 items each, popular items more often, and each of a few others (`--giants`, one by default) has
every item. Each model is fitted in a process of its own, which may take `--most_gigabytes` of address space for its data. A row for each
goes to plots/giant_user.tsv. `extra_mb` is the peak of the process over what it held before the fit.
"""

import argparse
import multiprocessing
import resource
import time

import numpy as np
import scipy.sparse as sp
from measure import report

from ultragcn import UltraGCN
from ultragcn.config import Config
from ultragcn.data.ids import IdMap
from ultragcn.data.interactions import Interactions
from ultragcn.machine import peak_memory_mb
from ultragcn.models.itemknn import ItemKNN
from ultragcn.models.rp3beta import RP3beta
from ultragcn.models.sparse_ease import SparseEASE
from ultragcn.scoring.item_graph import item_graph

USERS, ITEMS_EACH = 2_000, 30
WAYS = {
    "itemknn": lambda train: ItemKNN().fit(train),
    "itemknn-idf": lambda train: ItemKNN(weighting="idf").fit(train),
    "rp3beta": lambda train: RP3beta().fit(train),
    "item-graph": lambda train: item_graph(train, Config(item_graph_weight=0.2)),
    "sparse-ease": lambda train: SparseEASE().fit(train),
    "ultragcn": lambda train: UltraGCN(seed=0, epochs=3).fit(train),
}


def log_with_giants(num_items: int, num_giants: int) -> Interactions:
    """Return the made-up log."""
    random = np.random.default_rng(0)
    popularity = 1 / (np.arange(num_items) + 10.0)
    popularity = random.permutation(popularity / popularity.sum())
    rows = [random.choice(num_items, ITEMS_EACH, replace=False, p=popularity) for _ in range(USERS)]
    rows += [np.arange(num_items)] * num_giants
    indptr = np.cumsum([0, *map(len, rows)])
    matrix = sp.csr_matrix((np.ones(indptr[-1], np.float32), np.concatenate(rows), indptr), shape=(len(rows), num_items))
    matrix.sort_indices()
    return Interactions(matrix, IdMap(np.arange(len(rows)), "user"), IdMap(np.arange(num_items), "item"))


def _measure(way: str, num_items: int, num_giants: int, most_gigabytes: float, answer: multiprocessing.SimpleQueue) -> None:
    WAYS[way](log_with_giants(50, 1))  # compiles what there is to compile
    train = log_with_giants(num_items, num_giants)
    resource.setrlimit(resource.RLIMIT_DATA, (int(most_gigabytes * 2**30),) * 2)
    before = peak_memory_mb()
    started, cpu = time.perf_counter(), time.process_time()
    try:
        WAYS[way](train)
        outcome = "done"
    except MemoryError:
        outcome = "out of memory"
    answer.put({"outcome": outcome, "cpu_seconds": time.process_time() - cpu, "seconds": time.perf_counter() - started,
                "extra_mb": peak_memory_mb() - before, "peak_mb": peak_memory_mb()})  # fmt: skip


def main() -> None:
    """Measure each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--giants", type=int, default=1)
    parser.add_argument("--models", default="itemknn,rp3beta,item-graph", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--most_gigabytes", type=float, default=8)
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for way in given.models.split(","):
        answer = context.SimpleQueue()
        process = context.Process(target=_measure, args=(way, given.items, given.giants, given.most_gigabytes, answer))
        process.start()
        process.join()
        measured = {"outcome": f"ended with {process.exitcode}"} if answer.empty() else answer.get()
        report("giant_user", {"model": way, "items": given.items, "giants": given.giants, **measured})


if __name__ == "__main__":
    main()
