"""Would another loss be better? Softmax over all items, and embeddings trained on what the item graph leaves, on validation items.

    ULTRAGCN_DATA_DIR=... python research/losses.py [--datasets LIST] [--steps N]

From the embeddings that the settings kept give, every loss is minimised by Adam over all U x I scores at once, on a GPU where there is
one. A row for each goes to plots/losses.tsv: Recall@20 / NDCG@20 without the item graph, and at the weight c of it that gives the best
Recall@20.

    logistic  the loss of the model (objective.py): what Adam makes of it shows that the way of minimising is not the difference
    residual  the same, with c sigma / tau g_ui of the item graph added to every score while training
    softmax   sum_uj P_uj (log sum_k exp s_uk - s_uj) + rho / 2 (||E_users||^2 + ||E_items||^2), P = A or that of the model

Takes 4 U I bytes for scores of the graph. Needs PyTorch.
"""

import argparse
import math
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from shared import data_dir, report

from ultragcn import UltraGCN, load_dataset
from ultragcn.config import configuration_for
from ultragcn.loss.objective import Objective
from ultragcn.models.refit import unfitted_for_refit
from ultragcn.scoring.item_weights import mean_deviation
from ultragcn.scoring.ranking import graph_scale

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BLOCK = 2048
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)
BETAS = 0.9, 0.99


class Loss(NamedTuple):
    """What is minimised."""

    name: str
    positive: sp.csr_matrix
    softmax: bool
    l2: tuple[np.ndarray | float, np.ndarray | float]
    offset: float = 0.0
    """c of the item graph in every score."""


def losses(objective: Objective) -> list[Loss]:
    """Return what is compared."""
    positive, own = objective.positive_matrix(), objective.train.matrix
    kept = objective.l2_users(objective.train.user_degrees)[:, None], objective.l2_items()[:, None]
    return [
        Loss("logistic", positive, False, kept),
        *(Loss(f"residual, c {c}", positive, False, kept, c) for c in (0.05, 0.15)),
        *(Loss(f"softmax, P = A, rho {rho}", own, True, (rho, rho)) for rho in (1.0, 3.0, 8.0)),
        *(Loss(f"softmax, P kept, rho {rho}", positive, True, (rho, rho)) for rho in (0.1, 0.3, 1.0)),
    ]


def minimise(loss: Loss, objective: Objective, tables: tuple[np.ndarray, np.ndarray], graph: list[torch.Tensor], steps: int):
    """Return the embeddings after `steps` steps of Adam from `tables`, the step size falling to zero along a cosine."""
    x, y = (torch.tensor(table, device=DEVICE) for table in tables)
    positive = loss.positive.tocoo()
    rows, columns = (torch.tensor(index.astype(np.int64), device=DEVICE) for index in (positive.row, positive.col))
    weight = torch.tensor(positive.data, device=DEVICE)
    sums = torch.zeros(len(x), device=DEVICE).index_add_(0, rows, weight)
    factors = objective.negative_rows(objective.train.user_degrees), objective.negative_columns()
    row_weight, column_weight = (torch.tensor(factor, device=DEVICE) for factor in factors)
    l2 = [torch.as_tensor(strength, device=DEVICE) for strength in loss.l2]
    at_positives = torch.cat([block[rows[(rows // BLOCK) == b] % BLOCK, columns[(rows // BLOCK) == b]] for b, block in enumerate(graph)])
    first, second = ([torch.zeros_like(table) for table in (x, y)] for _ in range(2))
    for step in range(1, steps + 1):
        gradients = [l2[0] * x, l2[1] * y]
        for b, start in enumerate(range(0, len(x), BLOCK)):
            part = slice(start, start + BLOCK)
            scores = x[part] @ y.T + loss.offset * graph[b]
            if loss.softmax:
                slope = torch.softmax(scores, 1) * sums[part, None]
            else:
                slope = torch.sigmoid(scores) * (row_weight[part] @ column_weight.T)
            gradients[0][part] += slope @ y
            gradients[1] += slope.T @ x[part]
        own = (x[rows] * y[columns]).sum(1) + loss.offset * at_positives
        slope = -weight if loss.softmax else -weight * torch.sigmoid(-own)
        gradients[0].index_add_(0, rows, slope[:, None] * y[columns])
        gradients[1].index_add_(0, columns, slope[:, None] * x[rows])
        rate = 0.02 * 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))
        for table, gradient, mean, square in zip((x, y), gradients, first, second, strict=True):
            mean.lerp_(gradient, 1 - BETAS[0])
            square.lerp_(gradient**2, 1 - BETAS[1])
            table -= rate * (mean / (1 - BETAS[0] ** step)) / ((square / (1 - BETAS[1] ** step)).sqrt() + 1e-12)
    return x.cpu().numpy(), y.cpu().numpy()


def measure(name: str, steps: int) -> None:
    """Minimise every loss on one data set."""
    data = load_dataset(name, data_dir())
    model = UltraGCN(configuration_for(name, "exact")).fit(data.train, data.valid)
    tables = model.user_embedding_, model.item_embedding_
    scale = graph_scale(*tables, data.train.matrix, mean_deviation(model.item_graph_, data.train.matrix))
    owned = data.train.matrix
    graph = [
        torch.tensor(scale * (owned[start : start + BLOCK] @ model.item_graph_).toarray(), dtype=torch.float32, device=DEVICE)
        for start in range(0, owned.shape[0], BLOCK)
    ]
    objective = Objective.of(data.train, unfitted_for_refit(model).config)  # with the L2 that was chosen, where it was
    for loss in losses(objective):
        model.user_embedding_, model.item_embedding_ = minimise(loss, objective, tables, graph, steps)
        results = {}
        for weight in WEIGHTS:
            model.item_graph_weight_ = weight
            results[weight] = model.evaluate(data.valid)
        best = max(results, key=lambda weight: results[weight]["recall@20"])
        alone, with_graph = results[0.0], results[best]
        report("losses", {
            "dataset": name, "loss": loss.name, "steps": steps, "recall@20 alone": alone["recall@20"], "ndcg@20 alone": alone["ndcg@20"],
            "c": best, "recall@20": with_graph["recall@20"], "ndcg@20": with_graph["ndcg@20"],
        })  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--datasets", default="electronics,ml-1m,gowalla,amazoncds")
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    for name in arguments.datasets.split(","):
        measure(name, arguments.steps)
