"""What the verbs of a fitted model may ask of it. `Recommender` has all of this."""

from contextlib import AbstractContextManager

import numpy as np
import scipy.sparse as sp

from ultragcn.data.ids import IdMap
from ultragcn.data.interactions import Interactions
from ultragcn.scoring.scorer import Scoring


class Fitted:
    """A fitted model, as its verbs see it: its users, its items, its train pairs, and what it ranks by."""

    train_: Interactions
    user_ids: IdMap
    item_ids: IdMap
    item_titles_: np.ndarray | None

    @property
    def seen_(self) -> sp.csr_matrix:
        """Train and validation pairs, and what users had besides, U x I."""
        raise NotImplementedError

    @property
    def scorer(self) -> Scoring:
        """What the model ranks by."""
        raise NotImplementedError

    def _check_fitted(self) -> None:
        raise NotImplementedError

    def _limited(self, name: str = "") -> AbstractContextManager[None]:
        raise NotImplementedError

    def _scorer_of(self, matrix: sp.csr_matrix) -> Scoring:
        raise NotImplementedError

    def _as_rows(self, matrix: sp.csr_matrix) -> sp.csr_matrix:
        raise NotImplementedError
