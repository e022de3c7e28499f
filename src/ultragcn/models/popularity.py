"""Popularity: everyone is recommended what most users have. The floor that every other model must clear."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from ultragcn.config import HyperParameters, parameter
from ultragcn.config.ultragcn import EXACT_TREND_HALF_LIVES
from ultragcn.data.interactions import Interactions
from ultragcn.errors import UsageError
from ultragcn.models.baseline import Baseline
from ultragcn.progress import Progress
from ultragcn.scoring.scorer import Scorer
from ultragcn.scoring.trend import has_span, recent_counts
from ultragcn.training import choices

HALF_LIVES = (None, *EXACT_TREND_HALF_LIVES)
"""Half-lives in days among which `choose_half_life` chooses, those of UltraGCN's trend; None: all interactions count the same."""


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


def may_choose_half_life(train: Interactions, valid: Interactions | None) -> bool:
    """Return whether a half-life can be chosen: times are known, and validation pairs are held out. UltraGCN chooses a trend then too."""
    return valid is not None and len(valid) > 0 and has_span(train)


def choose_half_life(train: Interactions, valid: Interactions, select_by: str = "recall@20") -> Popularity:
    """Return the fitted model with that of `HALF_LIVES` which is worth most on validation pairs, the first of equals.

    Parameters
    ----------
    train : Interactions
        With times.
    valid : Interactions
    select_by : str
        The metric; what a model is worth is what it is worth when UltraGCN chooses its trend.

    Examples
    --------
    >>> import datetime
    >>> import polars as pl
    >>> from ultragcn import Interactions, read_interactions
    >>> days = [datetime.datetime(2020, month, 1) for month in (1, 1, 2, 12)]
    >>> seen = pl.DataFrame({"user": [1, 2, 3, 4], "item": ["tea", "tea", "tea", "pie"], "time": days})
    >>> train = read_interactions(seen, time_column="time")
    >>> later = Interactions.from_pairs([1, 2], ["pie", "pie"], train.user_ids, train.item_ids)
    >>> choose_half_life(train, later).recommend(3, top_k=1)[0].tolist()
    ['pie']
    """
    models = [Popularity(half_life=half_life).fit(train, valid) for half_life in HALF_LIVES]
    return max(models, key=lambda model: choices.worth(model, valid, select_by))
