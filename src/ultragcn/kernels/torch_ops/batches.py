"""Batches of the solver sgd and of LightGCN in PyTorch.

Letters: U users, I items, D dimensions, B rows of a batch, C columns (items looked at for a row), R negatives of a row.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn.functional import softplus


class BatchLoss(NamedTuple):
    """What `batch_loss` returns."""

    columns: Tensor  # (C,) loss summed over the batch, by column
    user_gradient: Tensor  # (B, D), of the batch's rows: add them at `users`
    item_gradient: Tensor  # (I, D)


@contextlib.contextmanager
def _sparse_layouts() -> Iterator[None]:
    """Silence PyTorch's notice that its CSR layout may still change."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Sparse CSR tensor support is in beta state.*")
        # The CSR tensors here are right by construction; checking each would cost as much as using it.
        warnings.filterwarnings("ignore", message=".*[Ss]parse invariant checks.*")
        yield


def batch_loss(user_embedding: Tensor, item_embedding: Tensor, users: Tensor, columns: Tensor, weights: Tensor,
               num_positive: int) -> BatchLoss:  # fmt: skip
    """Return the weighted logistic loss of a batch and its gradients.

    loss = sum_b sum_c weights[b, c] * softplus(-+ e_users[b] . e_columns[b, c]), minus for the first `num_positive` columns,
    which should score high, plus for the others.

    The B x C items of a batch form a sparse B x I matrix with C entries a row. Its scores are a sampled dense-dense product, and
    both gradients are sparse-dense products with the slopes; nothing of size B x C x D is made, and B x I only where I < C.

    Parameters
    ----------
    user_embedding : (U, D) float
    item_embedding : (I, D) float
    users : (B,) int64
    columns : (B, C) int64
    weights : (B, C) float, >= 0
    num_positive : int

    Returns
    -------
    BatchLoss
        `user_gradient` has the batch's rows only.
    """
    num_rows, num_columns = columns.shape
    num_items = item_embedding.shape[0]
    rows = user_embedding[users]
    sign = torch.ones(num_columns, dtype=weights.dtype, device=weights.device)
    sign[:num_positive] = -1
    flat = columns.reshape(-1)
    row_ends = torch.arange(0, flat.numel() + 1, num_columns, device=flat.device)
    # The same entries by item: a stable sort keeps rows ascending within an item.
    by_item, order = torch.sort(flat.int(), stable=True)
    item_ends = torch.searchsorted(by_item, torch.arange(num_items + 1, dtype=torch.int32, device=flat.device))
    with _sparse_layouts():
        if num_columns > num_items:
            # PyTorch takes no sparse matrix with more entries than cells; with so few items all scores are fewer than asked for.
            scores = (rows @ item_embedding.T).gather(1, columns)
        else:
            pattern = torch.sparse_csr_tensor(row_ends, flat, torch.ones_like(weights).reshape(-1), size=(num_rows, num_items))
            scores = torch.sparse.sampled_addmm(pattern, rows, item_embedding.T, beta=0.0).values().view(num_rows, num_columns)
        signed = sign * scores
        loss = weights * softplus(signed)
        slope = (weights * sign * torch.sigmoid(signed)).reshape(-1)
        by_row = torch.sparse_csr_tensor(row_ends, flat, slope, size=(num_rows, num_items))
        by_column = torch.sparse_csr_tensor(
            item_ends, torch.div(order, num_columns, rounding_mode="floor"), slope[order], size=(num_items, num_rows)
        )
        return BatchLoss(loss.sum(dim=0), by_row @ item_embedding, by_column @ rows)


def draw_negatives(ranks: Tensor, users: Tensor, indptr: Tensor, indices: Tensor) -> Tensor:
    """Return the items that are not among a user's own, by rank: negatives[b, r] = the ranks[b, r]-th item (from 0) user b lacks.

    With the user's items p_0 < p_1 < ..., the item of rank r is r + the number of n with p_n - n <= r. The values p_n - n ascend
    within a user, so one binary search over all users' values, set apart by user, answers every rank at once.

    Parameters
    ----------
    ranks : (B, R) int64
        Below I - d_u; -1 (the user has every item) stays -1.
    users : (B,) int64
    indptr, indices : CSR rows of the users' items, ascending, int64

    Returns
    -------
    (B, R) int64
    """
    if indices.numel() == 0 or ranks.numel() == 0:
        return ranks.clone()
    degrees = indptr[1:] - indptr[:-1]
    owners = torch.repeat_interleave(torch.arange(len(degrees), device=indices.device), degrees)
    place = torch.arange(len(indices), device=indices.device) - indptr[owners]
    # Larger than any rank and any shifted item, so that the users' values never mix.
    stride = int(max(int(indices.max()), int(ranks.max()))) + 2
    shifted = owners * stride + (indices - place)
    wanted = users[:, None] * stride + ranks
    passed = torch.searchsorted(shifted, wanted, right=True) - indptr[users][:, None]
    return torch.where(ranks < 0, ranks, ranks + passed)


def sparse_matrix(matrix: sp.csr_matrix, device: torch.device) -> Tensor:
    """Return a csr_matrix as a sparse CSR tensor on `device`."""
    # 32-bit indices: a fifth less to read in a product that is bound by reading.
    indptr, indices = (torch.from_numpy(part.astype(np.int32)) for part in (matrix.indptr, matrix.indices))
    with _sparse_layouts():
        return torch.sparse_csr_tensor(indptr, indices, torch.from_numpy(matrix.data), size=matrix.shape).to(device)


def propagate(adjacency: Tensor, embedding: Tensor, num_layers: int) -> Tensor:
    """Return (E + A E + ... + A^L E) / (L + 1): the mean of a graph's layers (LightGCN, eq. 8).

    Parameters
    ----------
    adjacency : (N, N) sparse CSR float
    embedding : (N, D) float
    num_layers : int
        L.

    Returns
    -------
    (N, D) float
    """
    layer, total = embedding, embedding.clone()
    for _ in range(num_layers):
        layer = adjacency @ layer
        total += layer
    return total / (num_layers + 1)


def pairwise_loss(embedding: Tensor, users: Tensor, positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """Return the BPR loss of a batch, sum_b softplus(s_negative - s_positive), and its gradient.

    Parameters
    ----------
    embedding : (N, D) float
        Of users and items together.
    users, positives, negatives : (B,) int64
        Rows of `embedding`.

    Returns
    -------
    loss : float, 0-D
    gradient : (N, D) float
    """
    user, difference = embedding[users], embedding[positives] - embedding[negatives]
    margin = (user * difference).sum(dim=1)
    slope = -torch.sigmoid(-margin)[:, None]
    gradient = torch.zeros_like(embedding)
    gradient.index_add_(0, users, slope * difference)
    pull = slope * user
    gradient.index_add_(0, positives, pull)
    gradient.index_add_(0, negatives, -pull)
    return softplus(-margin).sum(), gradient
