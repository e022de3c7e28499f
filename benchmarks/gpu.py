"""What the exact solver reaches on a GPU: trainings of gowalla, and each pass beside a measured matrix product.

    ULTRAGCN_DATA_DIR=... python benchmarks/gpu.py [--device cuda] [--dataset gowalla] [--parts products,cells,sweeps,training] [--tf32]

products    TFLOP/s of a float32 product, square, and of the products that a tile of cells has.
cells       The pass over the cells of the users' side: products with a compiled step between them, and the kernel in Triton with several
            tiles. Seconds, TFLOP/s (4 operations for each cell and dimension), and the share of the square product.
sweeps      A full half-sweep and one over clusters, of either side: seconds with the copies to the GPU and back, the part that the host
            spends on dealing rows and k-means, and the share of the square product.
training    A training on train and validation items together, looked at on test after each sweep (protocol authors): seconds to the
            paper's Recall@20 and NDCG@20, and the best. Evaluation does not count as training.

`--device cpu` runs all of it on the processor, which shows that the script works and nothing else. Data sets are cut to `--users` users.
A row for each measurement goes to plots/gpu_PART.tsv as it ends.
"""

import argparse
import time
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import torch
from exact import Stopwatch
from measure import data_dir, report

from ultragcn import Interactions, load_dataset
from ultragcn.config import Config, configuration_for
from ultragcn.kernels import torch_ops
from ultragcn.loss.objective import Objective
from ultragcn.solvers import exact, half_sweeps
from ultragcn.solvers.clusters import cluster_columns, usual_clusters
from ultragcn.solvers.torch_sweeper import PASSES, TorchSweeper

PAPER = {"gowalla": (0.1862, 0.1580)}
"""Recall@20 and NDCG@20 of UltraGCN in the paper."""
ROUNDS = 5
"""Of which the quickest counts, after one that compiles."""
TILES = ((64, 32, 8), (32, 64, 8), (64, 64, 16), (128, 32, 8), (128, 64, 8))
"""Rows, columns and warps of Triton's programs."""


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Return the quickest of some rounds of `work`, whatever it leaves running on the device included."""
    best = np.inf
    for number in range(ROUNDS + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number > 0:
            best = min(best, time.perf_counter() - started)
    return best


def product_rate(rows: int, inner: int, columns: int, device: torch.device, tf32: bool) -> float:
    """Return the TFLOP/s of a float32 product of these sizes."""
    left, right = torch.rand(rows, inner, device=device), torch.rand(inner, columns, device=device)
    with torch_ops.products(tf32):
        return 2e-12 * rows * inner * columns / seconds_of(lambda: left @ right, device)


def products(dim: int, device: torch.device, tf32: bool) -> float:
    """Report products; return the rate of the square one."""
    size = 8192 if device.type == "cuda" else 1024
    shapes = {"square": (size, size, size), "scores": (size, dim, size), "gradients": (size, size, dim)}
    rates = {name: product_rate(*shape, device, tf32) for name, shape in shapes.items()}
    report("gpu_products", {"device": _name(device), "tf32": tf32} | {f"{name} TFLOP/s": rate for name, rate in rates.items()})
    return rates["square"]


def cells(objective: Objective, device: torch.device, tf32: bool, square: float) -> None:
    """Report the pass over the cells, made by each that can make it."""
    side, dim = half_sweeps.users_of(objective), objective.config.embedding_dim
    # Whole blocks, so many as a half-sweep works on together.
    count = min(side.num_blocks, max(1, torch_ops.cells.held(device) // side.column_weight.shape[1])) * side.block
    rows = np.arange(count) % len(side.l2)
    x = torch.from_numpy(0.3 * np.random.default_rng(0).standard_normal((count // side.block, side.block, dim), np.float32)).to(device)
    y = torch.from_numpy(0.3 * np.random.default_rng(1).standard_normal((side.column_weight.shape[1], dim), np.float32)).to(device)
    weights = torch.from_numpy(side.row_weight[rows]).to(device).view(-1, side.block, 2), torch.from_numpy(side.column_weight).to(device)
    flops = 4e-12 * count * len(y) * dim
    for name, visit in _visits(device):
        try:
            with torch_ops.products(tf32):
                seconds = seconds_of(lambda: visit(x, y, *weights), device)  # noqa: B023
        except (RuntimeError, ImportError) as error:  # a tile that takes more registers or memory than there are
            print(f"{name}: {str(error).splitlines()[0]}", flush=True)
            continue
        row = {"device": _name(device), "tf32": tf32, "pass": name, "rows": count, "columns": len(y), "seconds": seconds}
        report("gpu_cells", row | {"TFLOP/s": flops / seconds, "share": flops / seconds / square})


def _visits(device: torch.device):
    """Yield what can make the pass over the cells, by name."""
    yield "torch", torch_ops.visit_cells
    if device.type != "cuda":  # Triton's interpreter would take minutes
        return
    from ultragcn.kernels.torch_ops import triton_cells

    for rows, columns, warps in TILES:

        def visit(*given, sizes=(rows, columns, warps)):
            with patch.multiple(triton_cells, ROWS=sizes[0], COLUMNS=sizes[1], WARPS=sizes[2]):
                return triton_cells.visit_cells(*given)

        yield f"triton {rows} x {columns}, {warps} warps", visit


def sweeps(objective: Objective, device: torch.device, tf32: bool, square: float) -> None:
    """Report half-sweeps of both sides, full ones and those over clusters."""
    dim, random = objective.config.embedding_dim, np.random.default_rng(0)
    for passes in PASSES if device.type == "cuda" else PASSES[:1]:
        users, items = half_sweeps.sides_of(objective, TorchSweeper(device, tf32, passes))
        x, y = (0.3 * random.standard_normal((len(side.l2), dim)).astype(np.float32) for side in (users, items))
        for what, side, moved, frozen in (("users", users, x, y), ("items", items, y, x)):
            still = np.ones(len(moved), np.float32)
            row = {"device": _name(device), "tf32": tf32, "pass": passes, "side": what}
            seconds = seconds_of(lambda: half_sweeps.half_sweep(side, moved, frozen, still), device)  # noqa: B023
            dealing = seconds_of(lambda: half_sweeps._similar_together(moved, side.block), device)  # noqa: B023
            share = 4e-12 * len(moved) * len(frozen) * dim / seconds / square
            report("gpu_sweeps", row | {"negatives": "full", "seconds": seconds, "host seconds": dealing, "share": share})
            if passes != "torch":
                continue
            number, weight = usual_clusters(objective.config, len(frozen)), (side.column_weight, side.mean_weight)
            clusters, labels = cluster_columns(moved, frozen, *weight, number, random)
            _, own = cluster_columns(frozen, moved, *weight_of(users, items, what), usual_clusters(objective.config, len(moved)), random)
            dealing = seconds_of(lambda: cluster_columns(moved, frozen, *weight, number, random, labels), device)  # noqa: B023
            seconds = seconds_of(lambda: half_sweeps.clustered_half_sweep(side, moved, frozen, still, clusters, own), device)  # noqa: B023
            report("gpu_sweeps", row | {"negatives": "clusters", "seconds": seconds, "host seconds": dealing, "share": ""})


def weight_of(users, items, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights by which the rows of a side are dealt into clusters: those of the columns of the other side."""
    other = items if side == "users" else users
    return other.column_weight, other.mean_weight


def training(name: str, data, config: Config, device: torch.device, tf32: bool) -> None:
    """Report trainings on the device, full and over clusters, and by Numba over clusters beside them."""
    recall, ndcg = PAPER.get(name, (np.inf, np.inf))
    kinds = [("torch", "clusters"), ("torch", "full"), ("numba", "clusters")]
    for who, negatives in kinds:
        settings = config.replace(negatives=negatives)
        sweeper = TorchSweeper(device, tf32) if who == "torch" else half_sweeps.NUMBA
        exact.compile_kernels(settings)
        half_sweep_once(data.train, settings, sweeper)
        watch = Stopwatch(data.train, data.test)
        solver = exact.ExactSolver(Objective.of(data.train, settings), 0, sweeper)
        solver.start()
        for _ in range(settings.resolved().epochs):
            solver.step()
            watch.look(*solver.embeddings())
        best = max(watch.curve, key=lambda point: point[1])
        reached = [next((seconds for seconds, *values in watch.curve if values[place] >= least), "")
                   for place, least in ((0, recall), (1, ndcg))]  # fmt: skip
        report("gpu_training", {
            "dataset": name, "device": _name(device) if who == "torch" else "cpu", "by": who, "tf32": tf32, "negatives": negatives,
            "seconds to the paper's recall@20": reached[0], "seconds to the paper's ndcg@20": reached[1], "best recall@20": best[1],
            "ndcg@20 there": best[2], "seconds to the best": best[0], "seconds": watch.curve[-1][0], "sweeps": len(watch.curve),
        })  # fmt: skip


def half_sweep_once(train: Interactions, config: Config, sweeper) -> None:
    """Do a sweep that is not counted: what a device compiles or puts in place, it does then."""
    solver = exact.ExactSolver(Objective.of(train, config), 0, sweeper)
    solver.start()
    solver.step()


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


class Cut:
    """A data set of fewer users."""

    def __init__(self, data, users: int | None):
        few = slice(None, users)
        self.train, self.test = data.train, data.test
        if users is not None:
            ids = data.train.user_ids
            self.train, self.test = (
                Interactions(part.matrix[few], ids.part(np.arange(users)), part.item_ids) for part in (self.train, self.test)
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--dataset", default="gowalla")
    parser.add_argument("--parts", default="products,cells,sweeps,training")
    parser.add_argument("--users", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--tf32", action="store_true")
    given = parser.parse_args()
    device, parts = torch_ops.choose_device(given.device), given.parts.split(",")
    config = configuration_for(given.dataset, "exact", paper=True)
    config = config if given.epochs is None else config.replace(epochs=given.epochs)
    square = products(config.embedding_dim, device, given.tf32) if {"products", "cells", "sweeps"} & set(parts) else 0.0
    if {"cells", "sweeps", "training"} & set(parts):
        data = Cut(load_dataset(given.dataset, data_dir(), protocol="authors"), given.users)
        objective = Objective.of(data.train, config)
        if "cells" in parts:
            cells(objective, device, given.tf32, square)
        if "sweeps" in parts:
            sweeps(objective, device, given.tf32, square)
        if "training" in parts:
            training(given.dataset, data, config, device, given.tf32)
