"""Kernels in PyTorch, on a CPU or a GPU. Twins of the same names in `reference`.

device.py       where PyTorch computes, and how exactly it multiplies
batches.py      batches of the solver sgd and of LightGCN
cells.py        the pass over the cells of a half-sweep
triton_cells.py the same pass as one kernel of a GPU, written in Triton
rows.py         Newton's step of many rows at once
sweeps.py       half-sweeps of the exact solver
ranking.py      the best items of each user
"""

from ultragcn.kernels.torch_ops.device import (  # first: it says how threads wait
    choose_device,
    cpu_threads,
    free_memory,
    gpu_names,
    products,
)

# isort: split
from ultragcn.kernels.torch_ops.batches import BatchLoss, batch_loss, draw_negatives, pairwise_loss, propagate, sparse_matrix
from ultragcn.kernels.torch_ops.cells import visit_cells
from ultragcn.kernels.torch_ops.ranking import Ranker, rank_users
from ultragcn.kernels.torch_ops.sweeps import clustered_half_sweep, half_sweep, quadratic_half_sweep

__all__ = [
    "BatchLoss",
    "Ranker",
    "batch_loss",
    "choose_device",
    "clustered_half_sweep",
    "cpu_threads",
    "draw_negatives",
    "free_memory",
    "gpu_names",
    "half_sweep",
    "pairwise_loss",
    "products",
    "propagate",
    "quadratic_half_sweep",
    "rank_users",
    "sparse_matrix",
    "visit_cells",
]
