"""Fold-in: the embedding of a user that training has not seen, from the items it has.

The user's row problem of the expected loss, the items held still, solved to convergence: where training would put the user.

Letters: U users, I items, D dimensions, R rows that still move, M earlier steps.
"""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from ultragcn import kernels
from ultragcn.loss.objective import Objective
from ultragcn.solvers.half_sweeps import grams_of, half_sweep, parabola_of, quadratic_half_sweep, shuffle_columns, side_of

_SAMPLED_STEPS, _SAMPLED_SHARE = 6, 0.2  # steps at first, and the part of the cells that each looks at
_SAMPLED_TILES = 20  # at least: a part of few tiles would be too much or too little
_MEMORY = 6  # earlier steps that Anderson's rule mixes


class FrozenItems:
    """Items held still: what every new user's row problem has in common.

    Parameters
    ----------
    objective : Objective
        Of the train data; gives the items' degrees and neighbours.
    item_embedding : (I, D) float32
    """

    def __init__(self, objective: Objective, item_embedding: np.ndarray):
        self.objective = objective
        self.embedding = np.ascontiguousarray(item_embedding, np.float32)
        self.weight = objective.negative_columns()
        self.grams = grams_of(self.weight, self.embedding)
        self.shuffled = shuffle_columns(self.embedding, np.ascontiguousarray(self.weight.T), np.random.default_rng(0))


def fold_in(items: FrozenItems, matrix: sp.csr_matrix, max_steps: int = 40, tolerance: float = 5e-3) -> np.ndarray:
    """Return the embeddings of users that training has not seen: their rows' problem, items frozen, solved to convergence.

    A step on quadratic negatives, a few on another part of the cells each, then full ones, mixed by Anderson's rule, in which only
    rows that still move take part.

    Parameters
    ----------
    items : FrozenItems
    matrix : csr_matrix, U x I
        What the users have.
    max_steps : int
    tolerance : float
        A row is done when a step moves it by less than this share of its length.

    Returns
    -------
    (U, D) float32
    """
    objective, y = items.objective, items.embedding
    degrees = np.diff(matrix.indptr)
    side = side_of(objective, matrix, *objective.positives(matrix), items.weight, objective.l2_users(degrees))
    side = replace(side, tile=min(side.tile, max(16, len(y) // _SAMPLED_TILES // 16 * 16)))
    result = np.zeros((len(degrees), y.shape[1]), np.float32)
    random = np.random.default_rng(0)
    with kernels.numba_threads():
        parabola = parabola_of(side.row_weight, side.positive, items.weight)
        result = quadratic_half_sweep(side, result, y, items.grams, *parabola)
        for _ in range(_SAMPLED_STEPS):
            result = half_sweep(side, result, y, np.ones(len(result), np.float32), _SAMPLED_SHARE, random, items.shuffled).x_new
        active, x = np.arange(len(result)), result.copy()
        best_x, best_move, best_loss = x, np.zeros_like(x), np.full(len(x), np.inf)
        past: list[tuple[np.ndarray, np.ndarray]] = []
        for _ in range(max_steps):
            half = half_sweep(side.rows(active), x, y, np.ones(len(x), np.float32))
            move, loss = half.x_new - x, half.pending.loss
            # Measured losses have an error of about 1e-6.
            worse = (loss > best_loss + 1e-5 * np.abs(best_loss))[:, None]
            x_new = np.where(worse, best_x + 0.5 * best_move, _accelerated(x, move, past))
            best_move = np.where(worse, 0.5 * best_move, move)
            best_x, best_loss = np.where(worse, best_x, x), np.where(worse[:, 0], best_loss, loss)
            past = [*past[-_MEMORY:], (x, move)]
            result[active] = best_x + best_move
            moving = worse[:, 0] | (np.linalg.norm(move, axis=1) > tolerance * (np.linalg.norm(x, axis=1) + 1e-12))
            if not moving.any():
                break
            active, x = active[moving], np.ascontiguousarray(x_new[moving])
            best_x, best_move, best_loss = best_x[moving], best_move[moving], best_loss[moving]
            past = [(there[moving], moved[moving]) for there, moved in past]
    return result


def _accelerated(x: np.ndarray, move: np.ndarray, past: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the next point of each row by Anderson's rule: the step of the mixture of past points whose move is the smallest.

    Parameters
    ----------
    x, move : (R, D) float32
        Where the rows are, and where a plain step would take them.
    past : list of (x, move)
        Earlier ones.

    Returns
    -------
    (R, D) float32
    """
    if not past:
        result: np.ndarray = x + move
        return result
    moves = np.stack([move - moved for _, moved in past], axis=1)  # (R, M, D)
    points = np.stack([x - there for there, _ in past], axis=1)
    gram = np.einsum("rmd,rnd->rmn", moves, moves, dtype=np.float64)
    size = np.trace(gram, axis1=1, axis2=2)[:, None, None]
    gram += np.eye(len(past)) * (1e-6 * size + 1e-30)
    share = np.linalg.solve(gram, np.einsum("rmd,rd->rm", moves, move, dtype=np.float64)[..., None])[..., 0]
    return np.asarray(x + move - np.einsum("rm,rmd->rd", share, points + moves), np.float32)
