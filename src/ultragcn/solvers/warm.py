"""A warm start: the first embeddings of a log that has grown, made from those of the log before.

Rows that were there keep their embeddings. New items start from the users who have them, new users from their items: each where its own
row problem has its minimum, about, with everything else held still.

Letters: U users, I items, D dimensions, R rows of a side, C rows of the other side.
"""

import numpy as np

from ultragcn.solvers.half_sweeps import Side, grams_of, half_sweep, parabola_of, quadratic_half_sweep

_STEPS = 2  # with exact negatives, after one with quadratic negatives


def warm_start(
    users: Side, items: Side, x: np.ndarray, y: np.ndarray, new_users: np.ndarray, new_items: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the embeddings to begin with, (U, D) and (I, D) float32.

    Parameters
    ----------
    users, items : Side
        Of the log as it is now.
    x, y : (U, D) and (I, D) float32
        Embeddings of the log before, in the rows of the log as it is now; what stands in new rows does not count.
    new_users, new_items : (U,) and (I,) bool
        Rows of which the log before had no pair.

    Raises
    ------
    NumericalError
        The loss or a step is not finite.
    """
    x, y = x.copy(), y.copy()
    x[new_users | (np.diff(users.indptr) == 0)] = 0  # a user without items has the mean user's embedding for ranking alone
    y[new_items] = 0
    parabola = parabola_of(users.row_weight, users.positive, items.row_weight)
    rows = np.flatnonzero(new_users), np.flatnonzero(new_items)
    # In the first round new items know nothing of new users; in the second they do.
    for _ in range(2 if len(rows[0]) and len(rows[1]) else 1):
        _solve(items, rows[1], y, x, users.row_weight, parabola)
        _solve(users, rows[0], x, y, items.row_weight, parabola)
    return x, y


def _solve(side: Side, rows: np.ndarray, x: np.ndarray, y: np.ndarray, weight: np.ndarray, parabola: tuple[float, float]) -> None:
    """Put `rows` of `x` (R, D) where their own problem has its minimum, about, given `y` (C, D) and the weights of its rows (C, 2)."""
    if len(rows) == 0:
        return
    part = side.rows(rows)
    found = quadratic_half_sweep(part, x[rows], y, grams_of(weight, y), *parabola)
    for _ in range(_STEPS):
        found = half_sweep(part, found, y, np.ones(len(rows), np.float32)).x_new
    x[rows] = found
