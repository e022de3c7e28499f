"""Rules over the rows of a model.

Letters: U users, I items, B users asked about, K places of a list.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from ultragcn.data.ids import Id
from ultragcn.rules.choosing import Choice, chosen
from ultragcn.rules.masks import Allowed, joined, rows_of, with_pairs
from ultragcn.scoring.scorer import OwnedScorer, Ranking, Scoring


@dataclass(frozen=True, eq=False)
class Bound:
    """What may be listed, and how lists are chosen, as rows of a model.

    Attributes
    ----------
    items : Allowed
        Which items may be listed.
    choice : Choice
        What lists must keep beyond that.
    pairs : csr_matrix (U, I), optional
        Items that may not be listed for single users.
    strangers : dict of id -> array
        The same for users whom the model does not know.
    unknown : {"raise", "popular", "skip"}
        What users get whom the model does not know.
    """

    items: Allowed
    choice: Choice
    pairs: sp.csr_matrix | None
    strangers: Mapping[Id, np.ndarray]
    unknown: str

    def with_vectors(self, vectors: np.ndarray | None) -> "Bound":
        """Return the same rules with the vectors (I, D) by which items are alike."""
        return replace(self, choice=replace(self.choice, vectors=vectors))

    def without_pairs(self) -> "Bound":
        """Return the same rules for users who are none of those the pairs are about."""
        return replace(self, pairs=None, strangers={})

    def rank(self, scorer: Scoring, users: np.ndarray, top_k: int, seen: sp.csr_matrix | None) -> Ranking:
        """Yield the lists of user rows (B,) in blocks; see `scoring.scorer.Scoring.rank`."""
        return chosen(scorer, users, top_k, with_pairs(seen, self.pairs, users), self.items, self.choice)

    def popular(self, item_degrees: np.ndarray, top_k: int, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the lists of users whom the model does not know, by how many users have an item: items and scores, (B, K) each.

        Parameters
        ----------
        item_degrees : (I,)
        top_k : int
        users : (B,)
            Their ids.
        """
        scores = item_degrees.astype(np.float32)
        own = sorted({id_ for id_ in users.tolist() if id_ in self.strangers}) if self.strangers else []
        row_of = {id_: row for row, id_ in enumerate(own)}  # the others share the row after those
        shape = (len(own) + 1, len(scores))
        scorer = OwnedScorer(lambda some: np.tile(scores, (some.shape[0], 1)), sp.csr_matrix(shape, dtype=np.float32))
        left_out = [self.strangers[id_] for id_ in own]
        counts = np.array([len(items) for items in left_out], np.int64)
        seen = rows_of(shape, np.arange(len(own)), counts, np.concatenate(left_out)) if own else None
        blocks = chosen(scorer, np.arange(len(own) + 1), top_k, seen, self.items, self.choice)
        items, values = joined(((listed, found) for _, listed, found in blocks), top_k)
        which = np.array([row_of.get(id_, len(own)) for id_ in users.tolist()], np.int64) if own else np.zeros(len(users), np.int64)
        return items[which], values[which]
