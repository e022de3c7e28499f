"""Full ranking of gowalla at 64 dimensions: users a second, and what bounds it.

    ULTRAGCN_DATA_DIR=... python benchmarks/evaluation.py [gowalla ...]

In one run, over the same blocks: the bare matrix product, the product with masking and top-20, and the whole evaluation.
"""

import sys
import time

import numpy as np
from measure import data_dir, report

from ultragcn import evaluate, load_dataset
from ultragcn.evaluation.ranking import rank
from ultragcn.kernels import numba_cpu


class Fixed:
    """A ranker with random embeddings: speed does not depend on what they are."""

    def __init__(self, train, dim: int):
        random = np.random.default_rng(0)
        self.train_, self.valid_ = train, None
        self.user_ids, self.item_ids = train.user_ids, train.item_ids
        self.user_embedding, self.item_embedding = (random.standard_normal((n, dim)).astype(np.float32) for n in train.matrix.shape)

    def rank(self, users, top_k, seen):
        """Rank as the estimator does."""
        return rank(self.user_embedding, self.item_embedding, users, top_k, seen)


def best_of(repeats: int, work) -> float:
    """Return the least seconds of several runs of `work`."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
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
    bare = best_of(3, product)
    ranked = best_of(3, lambda: list(model.rank(users, 20, data.train.matrix)))
    whole = best_of(3, lambda: evaluate(model, data.test, ["recall@20", "ndcg@20", "recall@50", "map@10"]))
    flops = 2 * len(users) * data.train.num_items * dim
    row = {
        "dataset": name, "dim": dim, "product_users_per_second": len(users) / bare, "product_gflops": flops / bare / 1e9,
        "ranking_users_per_second": len(users) / ranked, "evaluation_users_per_second": len(users) / whole,
        "share_of_product": bare / whole,
    }  # fmt: skip
    report("evaluation", row)


if __name__ == "__main__":
    for name in sys.argv[1:] or ["gowalla"]:
        measure(name)
