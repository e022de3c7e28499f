"""The course of a training: what was measured, what is best so far, and what is kept."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Record = dict[str, Any]
"""One line of a training history: epoch, seconds, loss, and metrics when they were measured."""
LOST = 0.9
"""Where the L2 strength rises, two values in a row below this share of the best end training. Of ten trainings on five data sets, none
that found a new best had fallen below .97 of the one before."""
Kept = tuple[np.ndarray, np.ndarray]
"""Embeddings of users and items."""


@dataclass
class Course:
    """How a training went so far."""

    seed: int
    history: list[Record] = field(default_factory=list)
    best: float = -math.inf
    """The best value so far, larger is better."""
    best_epoch: int = 0
    """The epoch kept: the one of that value; without held-out pairs, or before the first value, the last."""
    without_better: int = 0
    """Evaluations since the best value."""
    low: int = 0
    """Evaluations in a row whose value is below the share `LOST` of the best."""
    last: float = -math.inf
    """The value measured last."""
    rising: bool = True
    """Whether it was better than the one before."""
    l2: float | None = None
    """The L2 strength in use, where training chooses it."""
    kept_l2: float | None = None
    """The geometric mean of that of the epoch kept and of the one before: right after a rise, embeddings lie between what the two make."""
    seconds: float = 0.0
    kept: Kept | None = None

    @property
    def is_measured(self) -> bool:
        """Whether there is a value yet."""
        return self.best > -math.inf

    @property
    def l2_in_use(self) -> Record:
        """The part of a record that says which L2 strength is in use, where training chooses it."""
        return {} if self.l2 is None else {"l2": self.l2}

    @property
    def is_lost(self) -> bool:
        """Whether the L2 strength has risen so far beyond the best one that no larger one can be better: the last two values are low."""
        return self.l2 is not None and self.low >= 2

    def note(self, value: float, least: float = 0.0) -> None:
        """Note a value: it is better where it exceeds the best so far by more than the share `least` of that."""
        self.rising, self.last = value > self.last, value
        better = value > self.best + (least * abs(self.best) if self.is_measured else 0.0)
        self.without_better = 0 if better else self.without_better + 1
        self.low = self.low + 1 if self.is_measured and value < LOST * self.best else 0
        if better:
            self.best = value

    def keep(self, epoch: int, embeddings: Kept) -> None:
        """Keep a copy of the embeddings of `epoch`, the latest of the history."""
        self.best_epoch = epoch
        self.kept = embeddings[0].copy(), embeddings[1].copy()
        self.kept_l2 = None if self.l2 is None else math.sqrt(self.l2 * self.history[-2:][0]["l2"])
