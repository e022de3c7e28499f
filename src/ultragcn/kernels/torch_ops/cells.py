"""The pass over the cells of a half-sweep: a product, one step for each number, a product.

Letters: b blocks, B rows of a block, R = b B rows, I columns, D dimensions, T columns of a tile, K clusters of columns.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ultragcn.kernels.arguments import Visited

_HELD = {"cpu": 2**20, "cuda": 2**26}
"""Numbers of a tile of cells, by kind of device: a tile of a processor stays in its cache, and one of a GPU keeps all of it at work."""


def held(device: torch.device) -> int:
    """Return how many numbers a tile of cells has on `device`; a handful of such tiles are in memory at a time."""
    return _HELD.get(device.type, _HELD["cpu"])


def activate(scores: Tensor, row_weight: Tensor, column_weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return N sigmoid(s), N sigmoid'(s) and N softplus(s) of scores (R, T); weights (R, 2) and (2, T)."""
    weight = row_weight[:, :1] * column_weight[:1] + row_weight[:, 1:] * column_weight[1:]
    pulled = weight * torch.sigmoid(scores)
    return pulled, pulled * torch.sigmoid(-scores), weight * softplus(scores)


def visit_cells(x: Tensor, y: Tensor, row_weight: Tensor, column_weight: Tensor) -> Visited:
    """Visit every cell of rows and columns, tile by tile; return what the negatives give to gradients, curvatures and losses.

    N = row_weight column_weight, s = x y^T.

    Parameters
    ----------
    x : (b, B, D) float32
        Rows, block by block; a place without a row has weights of 0.
    y : (I, D) float32
    row_weight : (b, B, 2) float32
    column_weight : (2, I) float32

    Returns
    -------
    Visited
    """
    blocks, block, size = x.shape
    rows, weight = x.reshape(-1, size), row_weight.reshape(-1, 2)
    gradient, row_curvature = torch.zeros_like(rows), rows.new_zeros(len(rows))
    row_loss = torch.zeros(len(rows), dtype=torch.float64, device=x.device)
    column_curvature, column_loss = x.new_zeros(blocks, len(y)), torch.zeros(len(y), dtype=torch.float64, device=x.device)
    step = for_each(activate, x.device)
    tile = max(16, held(x.device) // max(len(rows), 1))
    for low in range(0, len(y), tile):
        part = slice(low, min(low + tile, len(y)))
        pulled, slope, loss = step(rows @ y[part].T, weight, column_weight[:, part])
        gradient.addmm_(pulled, y[part])
        row_curvature += slope.sum(dim=1)
        row_loss += loss.sum(dim=1)
        column_curvature[:, part] = slope.view(blocks, block, -1).sum(dim=1)
        column_loss[part] = loss.sum(dim=0, dtype=torch.float64)
    parts = gradient.view_as(x), row_curvature.view(blocks, block), row_loss.view(blocks, block), column_curvature, column_loss
    return Visited(*parts)  # type: ignore[arg-type]


def activate_clusters(scores: Tensor, deviation: Tensor, row_weight: Tensor, mass: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return m E sigmoid(s), m E sigmoid'(s) and m E softplus(s) of the scores of centres.

    E is the mean over a standard deviation below and above. Scores (b, B, K), deviation (b, 1, K), weights (b, B, 2) and (2, K).
    """
    weight = 0.5 * (row_weight[..., :1] * mass[0] + row_weight[..., 1:] * mass[1])
    lower, upper = scores - deviation, scores + deviation
    pulled_lower, pulled_upper = weight * torch.sigmoid(lower), weight * torch.sigmoid(upper)
    slope = pulled_lower * torch.sigmoid(-lower) + pulled_upper * torch.sigmoid(-upper)
    return pulled_lower + pulled_upper, slope, weight * (softplus(lower) + softplus(upper))


def cluster_loss(scores: Tensor, deviation: Tensor, row_weight: Tensor, mass: Tensor) -> Tensor:
    """Return m E softplus(s) alone; see `activate_clusters`."""
    weight = 0.5 * (row_weight[..., :1] * mass[0] + row_weight[..., 1:] * mass[1])
    return weight * (softplus(scores - deviation) + softplus(scores + deviation))


_COMPILED: dict[Callable[..., Any], Callable[..., Any]] = {}


def for_each(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """Return a function that computes each number by itself, on a GPU compiled into one pass over its arrays, which needs Triton."""
    if device.type != "cuda" or find_spec("triton") is None:
        return function
    if function not in _COMPILED:
        _COMPILED[function] = torch.compile(function, dynamic=True)
    return _COMPILED[function]
