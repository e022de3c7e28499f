"""One epoch of the sampled solver at the authors' settings: seconds, peak memory, and the loss against its exact expectation.

    ULTRAGCN_DATA_DIR=... python benchmarks/sgd_epoch.py [--device cuda] [ml-1m gowalla ...]

The authors' code needs 159 s for an ml-1m epoch on two CPU cores. The loss check holds the embeddings still: the sampled loss of an
epoch must lie within its sampling error of the exact expectation, computed blockwise from P and N. What is timed is the second epoch: in
the first, a GPU is warming up.
"""

import argparse
import subprocess
import sys
import time

import numpy as np
from measure import data_dir, report

AUTHORS_SECONDS = {"ml-1m": 159.0}


def measure(name: str, device: str) -> None:
    """Measure one data set in this process, so that peak memory is its own."""
    import torch

    from ultragcn import load_dataset
    from ultragcn.config import configuration_for
    from ultragcn.kernels import numba_cpu, torch_ops
    from ultragcn.loss.objective import Objective
    from ultragcn.machine import peak_memory_mb
    from ultragcn.solvers import sgd

    numba_cpu.compile_kernels()
    train = load_dataset(name, data_dir(), protocol="authors").train
    started = time.perf_counter()
    objective = Objective.of(train, configuration_for(name, "sgd", device=device))
    graph_seconds = time.perf_counter() - started
    solver = sgd.SgdSolver(objective, 0)
    solver.start()
    solver.step()
    started = time.perf_counter()
    solver.step()
    seconds = time.perf_counter() - started
    # Before the loss check, which needs memory of its own.
    peak = peak_memory_mb()
    where = torch_ops.choose_device(device)
    device_peak = torch.cuda.max_memory_allocated() / 1e6 if where.type == "cuda" else ""
    expected, sampled, error = compare_losses(objective, *solver.embeddings(), where)
    authors = AUTHORS_SECONDS.get(name)
    row = {
        "dataset": name, "device": torch.cuda.get_device_name() if where.type == "cuda" else "cpu", "threads": torch.get_num_threads(), 
        "graph_seconds": graph_seconds, "epoch_seconds": seconds,
        "times_faster_than_authors": authors / seconds if authors else "", "peak_memory_mb": peak,
        "peak_device_memory_mb": device_peak, "expected_loss": expected,
        "sampled_loss": sampled, "standard_error": error, "deviation_in_errors": (sampled - expected) / error,
    }  # fmt: skip
    report("sgd_epoch", row)


def compare_losses(objective, user_embedding, item_embedding, where, num_pairs: int = 200_000):
    """Return the exact expected loss at given embeddings, its Monte-Carlo estimate by the solver's kernels, and that one's error."""
    import torch

    from ultragcn.kernels import reference, torch_ops
    from ultragcn.loss.objective import batch_weights
    from ultragcn.loss.weights import DegreeWeights, ItemNeighbors

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
    own = (train.matrix.indptr, train.matrix.indices)
    users, items, indptr, indices = (torch.from_numpy(ids.astype(np.int64)).to(where) for ids in (*train.pairs, *own))
    beta = DegreeWeights(*(torch.from_numpy(part).to(where) for part in objective.beta))
    neighbors = ItemNeighbors(
        torch.from_numpy(objective.neighbors.items.astype(np.int64)).to(where), torch.from_numpy(objective.neighbors.weights).to(where)
    )
    tables = torch.from_numpy(user_embedding).to(where), torch.from_numpy(item_embedding).to(where)
    chunks = []
    for drawn in np.array_split(random.integers(0, len(train), num_pairs), 400):
        batch = torch.from_numpy(drawn).to(where)
        ranks = random.random((len(drawn), config.num_negatives))
        if config.exclude_positives:
            lacking = train.num_items - train.user_degrees[train.pairs[0][drawn]]
            ranks = torch.from_numpy((ranks * lacking[:, None]).astype(np.int64)).to(where)
            negatives = torch_ops.draw_negatives(ranks, users[batch], indptr, indices)
        else:
            negatives = torch.from_numpy((ranks * train.num_items).astype(np.int64)).to(where)
        weights = batch_weights(config, beta, neighbors, users[batch], items[batch], negatives, torch.cat)
        chunks.append(float(torch_ops.batch_loss(*tables, users[batch], *weights).columns.double().sum()) / len(drawn))
    means = np.array(chunks) * len(train)
    return expected, float(means.mean()), float(means.std(ddof=1) / np.sqrt(len(means)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=["electronics", "ml-1m", "gowalla"])
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure(arguments.names[0], arguments.device)
    else:
        for name in arguments.names:
            subprocess.run([sys.executable, __file__, "--one", "--device", arguments.device, name], check=True)
