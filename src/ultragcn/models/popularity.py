"""Popularity: everyone is recommended what most users have. The floor that every other model must clear."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from ultragcn.config import HyperParameters, parameter
from ultragcn.data.interactions import Interactions
from ultragcn.errors import UsageError
from ultragcn.models.baseline import Baseline
from ultragcn.progress import Progress
from ultragcn.scoring.scorer import Scorer
from ultragcn.scoring.trend import recent_counts


class Popularity(Baseline):
    """s_ui = d_i, the number of users who have item i; with a half-life, recent ones count more.

    Attributes
    ----------
    item_scores_ : (I,) float32
        d_i, or the sum of 2^(-age / half_life) over i's interactions.
    """

    @dataclass(frozen=True)
    class Settings(HyperParameters):
        """Settings of popularity."""

        half_life: float | None = parameter(
            None, "number of days after which an interaction counts half; needs the times of the interactions", auto="all count "
            "the same", unit="days",
            positive=True,
        )  # fmt: skip

    _version = 3
    similar_by = None
    item_scores_: np.ndarray
    _learned: ClassVar[dict[str, str]] = {"item_scores_": "I"}

    def _learn(self, targets: Interactions | None, show: Progress) -> None:
        self.item_scores_ = self.train_.item_degrees.astype(np.float32)
        if self.config.half_life is not None:
            if self.train_.times is None:
                raise UsageError("half_life needs the times of the interactions: give time_column, or a split by time")
            self.item_scores_ = recent_counts(self.train_, self.config.half_life).astype(np.float32)

    def _make_scorer(self) -> Scorer:
        # One dimension, in which every user is 1 and every item its degree.
        return Scorer(np.ones((len(self.user_ids), 1), np.float32), self.item_scores_[:, None], self.train_.matrix)

    def _scorer_of(self, matrix: sp.csr_matrix) -> Scorer:
        return Scorer(np.ones((matrix.shape[0], 1), np.float32), self.item_scores_[:, None], matrix)

    @property
    def _needs_times(self) -> bool:
        return self.config.half_life is not None
