"""One epoch of the sampled solver at the authors' settings: seconds, peak memory, and the loss against its exact expectation.

    ULTRAGCN_DATA_DIR=... python benchmarks/sgd_epoch.py [ml-1m gowalla ...]

The authors' code needs 159 s for an ml-1m epoch on two CPU cores. The loss check holds the embeddings still: the sampled loss of an
epoch must lie within its sampling error of the exact expectation, computed blockwise from P and N.
"""

import subprocess
import sys
import time

import numpy as np
from measure import data_dir, report

AUTHORS_SECONDS = {"ml-1m": 159.0}


def measure(name: str) -> None:
    """Measure one data set in this process, so that peak memory is its own."""
    import torch

    from ultragcn import load_dataset
    from ultragcn.config import configuration_for
    from ultragcn.experiments.run import peak_memory_mb
    from ultragcn.kernels import numba_cpu
    from ultragcn.objective import Objective
    from ultragcn.solvers import sgd

    numba_cpu.compile_kernels()
    train = load_dataset(name, data_dir(), protocol="authors").train
    started = time.perf_counter()
    objective = Objective.of(train, configuration_for(name, "sgd"))
    graph_seconds = time.perf_counter() - started
    steps = sgd.solve(objective, 0, "cpu")
    started = time.perf_counter()
    step = next(steps)
    seconds = time.perf_counter() - started
    # Before the loss check, which needs memory of its own.
    peak = peak_memory_mb()
    expected, sampled, error = compare_losses(objective, step.user_embedding, step.item_embedding)
    authors = AUTHORS_SECONDS.get(name)
    row = {
        "dataset": name, "threads": torch.get_num_threads(), "graph_seconds": graph_seconds, "epoch_seconds": seconds,
        "times_faster_than_authors": authors / seconds if authors else "", "peak_memory_mb": peak, "expected_loss": expected,
        "sampled_loss": sampled, "standard_error": error, "deviation_in_errors": (sampled - expected) / error,
    }  # fmt: skip
    report("sgd_epoch", row)


def compare_losses(objective, user_embedding, item_embedding, num_pairs: int = 200_000):
    """Return the exact expected loss at given embeddings, its Monte-Carlo estimate by the solver's kernels, and that one's error."""
    import torch

    from ultragcn.graph import DegreeWeights, ItemNeighbors
    from ultragcn.kernels import reference, torch_ops
    from ultragcn.objective import batch_weights

    config, train = objective.config, objective.train
    positives = objective.positive_matrix()
    row, column = objective.negative_rows(train.user_degrees), objective.negative_columns()
    expected = 0.0
    for start in range(0, train.num_users, 512):
        block = slice(start, start + 512)
        scores = (user_embedding[block] @ item_embedding.T).astype(np.float64)
        negatives = row[block].astype(np.float64) @ column.T
        if config.exclude_positives:
            negatives[train.matrix[block].toarray() > 0] = 0
        expected += float((negatives * reference.softplus(scores)).sum())
        part = positives[block].tocoo()
        expected += float((part.data * reference.softplus(-scores[part.row, part.col])).sum())
    # Whole pairs drawn with replacement; each is worth num_train times its share of the epoch.
    random = np.random.default_rng(0)
    users, items = (torch.from_numpy(ids.astype(np.int64)) for ids in train.pairs)
    beta = DegreeWeights(*map(torch.from_numpy, objective.beta))
    neighbors = ItemNeighbors(torch.from_numpy(objective.neighbors.items.astype(np.int64)), torch.from_numpy(objective.neighbors.weights))
    tables = torch.from_numpy(user_embedding), torch.from_numpy(item_embedding)
    chunks = []
    for drawn in np.array_split(random.integers(0, len(train), num_pairs), 400):
        batch = torch.from_numpy(drawn)
        ranks = random.random((len(drawn), config.num_negatives))
        if config.exclude_positives:
            lacking = train.num_items - train.user_degrees[users[batch].numpy()]
            indptr, indices = (torch.from_numpy(part.astype(np.int64)) for part in (train.matrix.indptr, train.matrix.indices))
            negatives = torch_ops.draw_negatives(
                torch.from_numpy((ranks * lacking[:, None]).astype(np.int64)), users[batch], indptr, indices
            )
        else:
            negatives = torch.from_numpy((ranks * train.num_items).astype(np.int64))
        weights = batch_weights(config, beta, neighbors, users[batch], items[batch], negatives, torch.cat)
        chunks.append(float(torch_ops.batch_loss(*tables, users[batch], *weights).columns.double().sum()) / len(drawn))
    means = np.array(chunks) * len(train)
    return expected, float(means.mean()), float(means.std(ddof=1) / np.sqrt(len(means)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2])
    else:
        for name in sys.argv[1:] or ["electronics", "ml-1m", "gowalla"]:
            subprocess.run([sys.executable, __file__, "--one", name], check=True)
