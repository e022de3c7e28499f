"""Full ranking of gowalla at 64 dimensions: seconds for 24 metrics, users a second, and what bounds it.

    ULTRAGCN_DATA_DIR=... python benchmarks/evaluation.py [gowalla ...]

In one run, over the same blocks: the bare matrix product, the product with masking and the top 50, and the whole evaluation with 8
metrics at 3 list lengths, once more with the item graph of configs/ in the scores. Then what comes on top: bootstrap intervals, groups,
and paired tests. Best of several runs; kernels compiled.
"""

import sys
import time

import numpy as np
from measure import data_dir, report

from ultragcn import load_dataset
from ultragcn.config import configuration_for
from ultragcn.evaluation import significance
from ultragcn.evaluation.evaluate import evaluate_by_user
from ultragcn.kernels import numba_cpu
from ultragcn.scoring.item_graph import item_graph
from ultragcn.scoring.ranking import GraphTerm, rank

METRICS = ("recall", "ndcg", "precision", "map", "mrr", "hit_rate", "f1", "coverage")
LABELS = [f"{metric}@{top_k}" for metric in METRICS for top_k in (10, 20, 50)]
REPEATS = 5


class Fixed:
    """A ranker with random embeddings: speed does not depend on what they are."""

    def __init__(self, train, dim: int, graph: GraphTerm | None = None):
        random = np.random.default_rng(0)
        self.train_, self.valid_, self.graph = train, None, graph
        self.user_ids, self.item_ids = train.user_ids, train.item_ids
        self.user_embedding, self.item_embedding = (random.standard_normal((n, dim)).astype(np.float32) for n in train.matrix.shape)

    def rank(self, users, top_k, seen):
        """Rank as the estimator does."""
        return rank(self.user_embedding, self.item_embedding, users, top_k, seen, self.graph)


def best_of(work, clock=time.perf_counter) -> float:
    """Return the least seconds of several runs of `work`, by the wall or by another clock."""
    seconds = []
    for _ in range(REPEATS):
        started = clock()
        work()
        seconds.append(clock() - started)
    return min(seconds)


def measure(name: str, dim: int = 64) -> None:
    """Measure one data set."""
    data = load_dataset(name, data_dir(), protocol="authors")
    model = Fixed(data.train, dim)
    users = np.arange(data.train.num_users)
    step = 512
    scores = np.empty((step, data.train.num_items), np.float32)

    def product() -> None:
        for start in range(0, len(users), step):
            block = model.user_embedding[start : start + step]
            np.matmul(block, model.item_embedding.T, out=scores[: len(block)])

    numba_cpu.compile_kernels()
    bare = best_of(product)
    ranked = best_of(lambda: list(model.rank(users, 50, data.train.matrix)))
    whole = best_of(lambda: evaluate_by_user(model, data.test, LABELS))
    # What other programs on the machine take does not count here: seconds of all processors together.
    processor = best_of(lambda: evaluate_by_user(model, data.test, LABELS), time.process_time)
    term = GraphTerm(item_graph(data.train, configuration_for(name)), data.train.matrix, 1.0)
    with_graph = Fixed(data.train, dim, term)
    graphs = best_of(lambda: evaluate_by_user(with_graph, data.test, LABELS))
    result = evaluate_by_user(model, data.test, LABELS)
    values = result.values["ndcg@20"]
    other = np.random.default_rng(0).permutation(values)
    flops = 2 * len(users) * data.train.num_items * dim
    row = {
        "dataset": name, "dim": dim, "users": len(users), "metrics": len(LABELS), "evaluation_seconds": whole,
        "evaluation_processor_seconds": processor, "evaluation_with_item_graph_seconds": graphs,
        "ranking_seconds": ranked,
        "product_seconds": bare, "product_gflops": flops / bare / 1e9, "evaluation_users_per_second": len(users) / whole,
        "share_of_product": bare / whole, "intervals_seconds": best_of(result.intervals),
        "groups_seconds": best_of(lambda: (result.by_user_group(), result.by_item_group())),
        "permutation_test_seconds": best_of(lambda: significance.compare({"a": values, "b": other}, "permutation")),
    }  # fmt: skip
    report("evaluation", row)


if __name__ == "__main__":
    for name in sys.argv[1:] or ["gowalla"]:
        measure(name)
