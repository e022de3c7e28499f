"""Newton's step of many rows at once: conjugate gradients in lock-step. One row alone is `newton_row` of `reference`.

Letters: b blocks, B rows of a block, R = b B rows of a group of blocks, I rows of the frozen side (columns), D dimensions, N entries of P,
r rows of a piece, P entries of each row of a piece, the last ones of weight 0.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, softplus

Tensors = Any
"""One of the tuples of `kernels.arguments`, which holds tensors of one device here."""
TINY, HUGE = 1e-30, 1e30
ROUNDING = 1e-10  # of a squared length, that is left where float32 has solved a system
_NEAR_ZERO = 1e-3  # scores of this size have a curvature of a quarter
_HELD = {"cpu": 2**24, "cuda": 2**28}
"""Numbers of the frozen side that a group of rows keeps beside it, by kind of device."""


def held(device: torch.device) -> int:
    """Return how many numbers of the frozen side a group of rows keeps beside it on `device`."""
    return _HELD.get(device.type, _HELD["cpu"])


def widths(lengths: np.ndarray) -> np.ndarray:
    """Return numbers of entries rounded up, to 2^n or 3 2^n, so that few sorts of rows are left: a third is padding at most."""
    power = 2 ** np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64)
    return np.where(lengths == 0, 0, np.where(lengths <= power * 3 // 4, np.maximum(power * 3 // 4, 1), power))


class Piece(NamedTuple):
    """Some rows of a group, their entries padded to the same number."""

    places: Tensor  # (r,) int64, of the rows among those of the group
    indices: Tensor  # (r, P) int64
    positive: Tensor  # (r, P) float32, P; 0 in padding
    excluded: Tensor | None  # (r, P) float32, the negative weight to take back
    columns: Tensor | None  # (r, P, D) float32, the frozen rows; None: they are fetched whenever they are needed


class Neighbours:
    """The entries of a group of rows in P, as pieces of rows that have about as many of them.

    Parameters
    ----------
    rows : Rows
    y : (I, D) float32
    members : (R,) int64
        The rows of the group.
    lengths : (R,) int64 array
        How many entries each has: 0 in places without a row.
    """

    def __init__(self, rows: Tensors, y: Tensor, members: Tensor, lengths: np.ndarray):
        self._y, self._num_rows = y, len(members)
        limit = held(y.device)
        keep = int(widths(lengths).sum()) * y.shape[1] <= limit
        self._pieces = [
            _piece(rows, y, members, torch.from_numpy(places).to(y.device), width, keep)
            for places, width in _pieces(lengths, max(1, limit // (1 if keep else 4) // y.shape[1]))
        ]

    def loss(self, x: Tensor) -> Tensor:
        """Return the sparse part of the loss of rows `x` (R, D): (R,) float64."""
        total = torch.zeros(self._num_rows, dtype=torch.float64, device=x.device)
        for piece in self._pieces:
            total[piece.places] = _loss(piece, _scores(self._columns(piece), x[piece.places]))
        return total

    def system(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return the sparse part of the loss (R,) float64, its gradient (R, D), and the weights of its curvature, piece by piece."""
        total = torch.zeros(self._num_rows, dtype=torch.float64, device=x.device)
        gradient, bounds = torch.zeros_like(x), []
        for piece in self._pieces:
            columns = self._columns(piece)
            scores = _scores(columns, x[piece.places])
            total[piece.places] = _loss(piece, scores)
            pull = piece.positive * torch.sigmoid(-scores)
            if piece.excluded is not None:
                pull = pull + piece.excluded * torch.sigmoid(scores)
            gradient[piece.places] = -_sums(columns, pull)
            size = scores.abs().clamp_min(_NEAR_ZERO)
            bounds.append(piece.positive * torch.tanh(size / 2) / (2 * size))
        return total, gradient, bounds

    def bend(self, direction: Tensor, bounds: list[Tensor]) -> Tensor:
        """Return sum_p bounds_p y_p (y_p . direction) of each row: (R, D)."""
        result = torch.zeros_like(direction)
        for piece, bound in zip(self._pieces, bounds, strict=True):
            columns = self._columns(piece)
            result[piece.places] = _sums(columns, bound * _scores(columns, direction[piece.places]))
        return result

    def _columns(self, piece: Piece) -> Tensor:
        return embedding(piece.indices, self._y) if piece.columns is None else piece.columns


def _pieces(lengths: np.ndarray, limit: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield rows of the same width, `limit` entries at most, and the width; a row of more entries is a piece of its own."""
    width = widths(lengths)
    order = np.argsort(width, kind="stable")
    order = order[np.searchsorted(width[order], 1) :]
    for size in np.unique(width[order]).tolist():
        own = order[np.searchsorted(width[order], size) : np.searchsorted(width[order], size, "right")]
        many = max(1, limit // size)
        yield from ((own[low : low + many], size) for low in range(0, len(own), many))


def _piece(rows: Tensors, y: Tensor, members: Tensor, places: Tensor, width: int, keep: bool) -> Piece:
    own = members[places]
    entry = rows.indptr[own][:, None] + torch.arange(width, device=y.device)
    there = entry < rows.indptr[own + 1][:, None]
    entry = torch.where(there, entry, 0)
    indices = torch.where(there, rows.indices[entry].long(), 0)
    excluded = torch.where(there, rows.excluded[entry], 0.0) if len(rows.excluded) else None
    return Piece(places, indices, torch.where(there, rows.positive[entry], 0.0), excluded, embedding(indices, y) if keep else None)


def _scores(columns: Tensor, x: Tensor) -> Tensor:
    """Return the products of (r, P, D) and (r, D): (r, P)."""
    return torch.bmm(columns, x[:, :, None])[:, :, 0]


def _sums(columns: Tensor, factors: Tensor) -> Tensor:
    """Return the sums of (r, P, D) times factors (r, P): (r, D)."""
    return torch.bmm(factors[:, None, :], columns)[:, 0]


def _loss(piece: Piece, scores: Tensor) -> Tensor:
    """Return sum_p positive_p softplus(-s_p) - excluded_p softplus(s_p): (r,) float64."""
    loss = piece.positive * softplus(-scores)
    if piece.excluded is not None:
        loss = loss - piece.excluded * softplus(scores)
    return loss.sum(dim=1, dtype=torch.float64)


def inverse_about(matrix: Tensor) -> Tensor:
    """Return the inverses of symmetric matrices (b, D, D), all at once, by the rules of Numba's `invert`.

    A pivot that rounding made not positive is replaced by a huge one: that direction does not move. NaN goes through.
    """
    matrix = matrix.clone()
    for k in range(matrix.shape[1]):
        pivot = matrix[:, k, k].clone()
        scale = 1 / torch.where(pivot <= TINY, HUGE, pivot)
        matrix[:, k, k] = 1.0
        row = matrix[:, k] * scale[:, None]
        factor = matrix[:, :, k].clone()
        factor[:, k] = 0.0
        matrix[:, :, k] *= (torch.arange(matrix.shape[1], device=matrix.device) == k).to(matrix.dtype)
        matrix -= factor[:, :, None] * row[:, None, :]
        matrix[:, k] = row
    return matrix


def newton_rows(
    x: Tensor, gradient: Tensor, bend: Callable[[Tensor], Tensor], inverse: Callable[[Tensor], Tensor], neighbours: Neighbours, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Take a Newton step on every row of a group, by conjugate gradients in lock-step.

    A row whose residual is rounding, or whose curvature along its direction is not positive, stays where it is while others go on.

    Parameters
    ----------
    x : (R, D) float32
    gradient : (R, D) float32
        Of the negatives and of L2.
    bend, inverse : callable
        The products of rows (R, D) with the curvature of the negatives and of L2, and with about the inverse of the whole.
    neighbours : Neighbours
    steps : int
        Of conjugate gradients.

    Returns
    -------
    move : (R, D) float32
    sparse_loss, predicted : (R,) float64
        The sparse part of the loss at `x`, and the decrease that the quadratic model of the step promises.
    """
    sparse_loss, sparse_gradient, bounds = neighbours.system(x)
    gradient = gradient + sparse_gradient
    move, direction, residual = torch.zeros_like(x), torch.zeros_like(x), -gradient
    goes_on = torch.ones(len(x), dtype=torch.bool, device=x.device)
    before, enough = x.new_ones(len(x)), x.new_full((len(x),), TINY)
    for step in range(steps):
        solved = inverse(residual)
        length = (residual * solved).sum(dim=1)
        goes_on = goes_on & ~(length <= enough)  # NaN goes on, for the caller to see
        if step == 0:
            enough = (ROUNDING * length).clamp_min(TINY)
        direction = torch.where(goes_on[:, None], solved + (length / before)[:, None] * direction, 0.0)
        curved = bend(direction) + neighbours.bend(direction, bounds)
        bent = (direction * curved).sum(dim=1)
        goes_on = goes_on & ~(bent <= TINY)
        share = torch.where(goes_on, length / bent, 0.0)[:, None]
        move = move + share * direction
        residual = residual - share * curved
        before = torch.where(goes_on, length, before)
    return move, sparse_loss, -0.5 * (move * gradient).sum(dim=1, dtype=torch.float64)
