"""The verbs by which a fitted model says why: which of a user's own items raise the score of another item, and by how much.

Letters: I items, n items that the user has, J items that are explained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import scipy.sparse as sp

from ultragcn import kernels
from ultragcn.data.ids import Id, as_python
from ultragcn.errors import UsageError, counted
from ultragcn.lazily import pl
from ultragcn.models import lists
from ultragcn.models.fitted import Fitted
from ultragcn.models.verbs import verb
from ultragcn.scoring.scorer import Scorer, Scoring


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why an item has its score with a user: what each item that the user has adds to it, and what does not come from any of them.

    `contributions.sum() + trend + rest` is the score.

    Attributes
    ----------
    user_id : int, str or None
        None where the user was given by items.
    item_id : int or str
        The item that is explained.
    title : str
        Its title, "" where none is known.
    score : float
        As `score` returns it.
    item_ids : (n,)
        The items that the user has in train, by descending contribution.
    titles : (n,) array of str, or None
        Their titles, None where the data came without.
    parts : dict of str to (n,) float64
        What each of these items adds, by term of the score: "embeddings" and "item graph", or "item weights".
    trend : float
        What the item's trend adds for every user; 0 without a trend.
    rest : float
        What no single item of the user brings: negatives, L2, and what the items have in common.
    is_owned : bool
        Whether the user has the item already, in train or validation, so that it is not listed.

    Examples
    --------
    >>> from ultragcn import EASE
    >>> import polars as pl
    >>> pairs = pl.DataFrame({"user": [1, 1, 2, 2, 3], "item": ["tea", "pie", "tea", "pie", "jam"]})
    >>> why = EASE(l2=1.0).fit(pairs).explain_for(["tea", "jam"], "pie")
    >>> why.item_ids.tolist(), bool(abs(why.contributions.sum() + why.rest - why.score) < 1e-6)
    (['tea', 'jam'], True)
    """

    user_id: Id | None
    item_id: Id
    title: str
    score: float
    item_ids: np.ndarray
    titles: np.ndarray | None
    parts: dict[str, np.ndarray]
    trend: float
    rest: float
    is_owned: bool = False

    @property
    def contributions(self) -> np.ndarray:
        """What each of the user's items adds to the score: (n,) float64."""
        return _sum(self.parts, len(self.item_ids))

    @property
    def shares(self) -> np.ndarray:
        """The part that each of the user's items has in all that raises the score, items and trend: (n,) float64.

        An item that lowers the score has a share below 0. The shares of what raises the score add up to 1.
        """
        contributions, raised = self.contributions, self._raised
        return contributions / raised if raised > 0 else np.zeros(len(contributions))

    @property
    def _raised(self) -> float:
        return float(np.maximum(self.contributions, 0).sum()) + max(self.trend, 0.0)

    def frame(self) -> pl.DataFrame:
        """Return the user's items as a frame: item_id, title where titles are known, contribution, share, and a column for each part.

        Examples
        --------
        >>> from ultragcn import EASE
        >>> import polars as pl
        >>> model = EASE(l2=1.0).fit(pl.DataFrame({"user": [1, 1, 2], "item": ["tea", "pie", "tea"]}))
        >>> model.explain(2, "pie").frame().columns
        ['item_id', 'contribution', 'share', 'item weights']
        """
        named = {"item_id": self.item_ids} | ({} if self.titles is None else {"title": self.titles})
        columns = {name: pl.Series(values.tolist()) if values.dtype == object else pl.Series(values) for name, values in named.items()}
        if len(self.item_ids) == 0:
            columns = {name: pl.Series([], dtype=pl.String if values.dtype == object else pl.Int64) for name, values in named.items()}
        numbers = {"contribution": self.contributions, "share": self.shares} | self.parts
        return pl.DataFrame(columns | {name: pl.Series(values) for name, values in numbers.items()})

    def to_dict(self, most: int | None = None) -> dict[str, Any]:
        """Return the explanation as JSON can hold it, with the `most` largest reasons, all by default.

        Where some are left out, "others" is what those add together, so that the numbers still add up to the score.

        Examples
        --------
        >>> from ultragcn import EASE
        >>> import polars as pl
        >>> model = EASE(l2=1.0).fit(pl.DataFrame({"user": [1, 1, 2], "item": ["tea", "pie", "tea"]}))
        >>> sorted(model.explain(2, "pie").to_dict())
        ['is_owned', 'item_id', 'others', 'reasons', 'rest', 'score', 'trend', 'user_id', 'words']
        """
        shown = self.frame().head(len(self.item_ids) if most is None else most)
        named = {"item_id": self.item_id} | ({"title": self.title} if self.titles is not None else {})
        others = float(self.contributions[len(shown) :].sum())
        numbers = {"score": self.score, "trend": self.trend, "rest": self.rest, "others": others}
        told = {"words": self.words(), "is_owned": self.is_owned, "reasons": shown.to_dicts()}
        return {"user_id": self.user_id} | named | numbers | told

    def words(self, most: int = 3) -> str:
        """Return the explanation as a sentence that names the `most` strongest reasons.

        Examples
        --------
        >>> from ultragcn import EASE
        >>> import polars as pl
        >>> model = EASE(l2=1.0).fit(pl.DataFrame({"user": [1, 1, 2], "item": ["tea", "pie", "tea"]}))
        >>> model.explain(2, "pie").words()
        "User 2 may like 'pie' because of 'tea' (100 %)."
        """
        shares, what = self.shares, _called(self.item_id, self.title)
        who = "the user" if self.user_id is None else f"user {self.user_id!r}"
        named = [
            ("itself" if item == self.item_id else _called(as_python(item), self._title(row)), shares[row])
            for row, item in enumerate(self.item_ids[:most])
        ]
        reasons = [f"{name} ({100 * share:.0f} %)" for name, share in named if share > 0]
        raised = int((shares > 0).sum())
        if raised > len(reasons):
            reasons.append(f"{counted(raised - len(reasons), 'other item')} ({100 * shares[len(reasons) : raised].sum():.0f} %)")
        if self.trend > 0:
            reasons.append(f"its trend ({100 * self.trend / self._raised:.0f} %)")
        if not reasons:
            sentence = f"no item of {who} raises the score of {what}: it is what it is for anyone"
            sentence += ". The user has it already, so it is not listed" if self.is_owned else ""
        elif self.is_owned:
            listed = f"{', '.join(reasons[:-1])}{' and ' if reasons[1:] else ''}{reasons[-1]}"
            sentence = f"{who} has {what} already, so it is not listed; its score comes from {listed}"
        else:
            sentence = f"{who} may like {what} because of {', '.join(reasons[:-1])}{' and ' if reasons[1:] else ''}{reasons[-1]}"
        return f"{sentence[0].upper()}{sentence[1:]}."

    def _title(self, row: int) -> str:
        return "" if self.titles is None else str(self.titles[row])

    def __str__(self) -> str:
        return self.words()


class ExplainingVerbs(Fitted):
    """Why an item is listed: of a fitted model (`Recommender`) that says what each item of a user adds to a score."""

    def _reasons(self, scorer: Any, user: int, own: np.ndarray, items: np.ndarray) -> dict[str, np.ndarray]:
        """Return what each item that a user has adds to the scores of some items, by term of the score.

        Parameters
        ----------
        scorer : Scoring
            In which `user` is a row.
        user : int
        own : (n,) int
            The items that the user has.
        items : (J,) int

        Returns
        -------
        dict of str to (n, J) float64
        """
        raise UsageError(
            f"{type(self).__name__} cannot say which items of a user raise a score: its scores are not made from a user's items one by "
            "one; UltraGCN, IALS, ItemKNN, RP3beta, EASE and SparseEASE can"
        )

    @overload
    def explain(self, user_id: Id, item_id: Id) -> Explanation: ...

    @overload
    def explain(self, user_id: Id, item_id: list[Any] | np.ndarray) -> list[Explanation]: ...

    @verb
    def explain(self, user_id: Id, item_id: Any) -> Any:
        """Return why an item has its score with a user: how much each item that the user has adds to the score.

        In a model with item weights (ItemKNN, RP3beta, EASE, SparseEASE), an item adds its weight. In UltraGCN and IALS, an item adds what
        the score would lose without the item's term of the loss. The other terms and the embeddings of the other items stay as they are.
        The loss is computed to second order. In UltraGCN an item also adds its weight in the item graph. The rest is what no single item
        adds. All of it together is the score.

        Parameters
        ----------
        user_id : id
            A user of the model. Its items are those in train.
        item_id : id, or list of ids
            Any items of the model. A list takes little longer than one item.

        Returns
        -------
        Explanation, or list of them
            `print` shows a sentence; `frame()` and `to_dict()` return the numbers.

        Raises
        ------
        UsageError
            A user or an item is unknown, or the model does not make a score from a user's items one by one (Popularity, BPR, LightGCN).

        Examples
        --------
        >>> from ultragcn import UltraGCN, load_dataset
        >>> model = UltraGCN(embedding_dim=8, epochs=3, seed=0).fit(load_dataset("demo"))
        >>> items, scores = model.recommend("user-0001", top_k=1)
        >>> why = model.explain("user-0001", items[0])
        >>> bool(abs(why.contributions.sum() + why.trend + why.rest - scores[0]) < 1e-5)
        True
        """
        self._check_fitted()
        if not lists.is_one(user_id):
            raise UsageError(f"explain takes one id as user_id, not a {type(user_id).__name__}; call it once for each")
        row = int(self.user_ids.rows(lists.one_or_many(user_id)[1])[0])
        return self._explained(self.scorer, row, self.train_.matrix, as_python(self.user_ids.ids[row]), item_id, self.seen_)

    @overload
    def explain_for(self, item_ids: Sequence[Id] | np.ndarray, item_id: Id) -> Explanation: ...

    @overload
    def explain_for(self, item_ids: Sequence[Id] | np.ndarray, item_id: list[Any] | np.ndarray) -> list[Explanation]: ...

    @verb
    def explain_for(self, item_ids: Sequence[Id] | np.ndarray, item_id: Any) -> Any:
        """Return why an item has its score with a new user, who is given by items; see `explain`.

        Parameters
        ----------
        item_ids : list of ids
            The items that the new user has.
        item_id : id, or list of ids
            Any items of the model. A list takes little longer than one item.

        Returns
        -------
        Explanation, or list of them
            Its `user_id` is None.

        Raises
        ------
        UsageError
            An item is unknown, no item is given, or the model cannot explain its scores.

        Examples
        --------
        >>> from ultragcn import ItemKNN, load_dataset
        >>> model = ItemKNN().fit(load_dataset("demo"))
        >>> [listed], _ = model.recommend_for(["Quiet River (jazz)", "Amber Avenue (blues)"], top_k=1)
        >>> sorted(model.explain_for(["Quiet River (jazz)", "Amber Avenue (blues)"], listed).item_ids.tolist())
        ['Amber Avenue (blues)', 'Quiet River (jazz)']
        """
        self._check_fitted()
        one, baskets = lists.baskets_of(self.item_ids, item_ids, "raise")
        if not one:
            raise UsageError("explain_for takes the items of one new user, not a list of such lists; call it once for each")
        self.item_ids.rows(lists.one_or_many(item_id)[1])  # an unknown item is refused before any work
        columns = np.unique(baskets[0])
        matrix = self._as_rows(
            sp.csr_matrix((np.ones(len(columns), np.float32), columns, [0, len(columns)]), shape=(1, len(self.item_ids)))
        )
        return self._explained(self._scorer_of(matrix), 0, matrix, None, item_id, matrix)

    def _explained(
        self, scorer: Scoring, user: int, has: sp.csr_matrix, user_id: Id | None, item_id: Any, seen: sp.csr_matrix
    ) -> Any:  # fmt: skip
        """Return why items have their scores with the row `user` of `scorer`, who has that row of `has` and of `seen`."""
        one, listed = lists.one_or_many(item_id)
        items = self.item_ids.rows(listed)
        own = has.indices[has.indptr[user] : has.indptr[user + 1]].astype(np.int64)
        seen_items = seen.indices[seen.indptr[user] : seen.indptr[user + 1]]
        with kernels.blas_threads(1):  # what there is to do is over before a second thread has woken
            parts = self._reasons(scorer, user, own, items)
        scores = scorer.scores(np.full(len(items), user), items)
        found = [
            self._explanation(
                user_id, item, own, float(score), {name: part[:, place] for name, part in parts.items()}, trend_of(scorer, item),
                item in seen_items,
            )
            for place, (item, score) in enumerate(zip(items.tolist(), scores, strict=True))
        ]  # fmt: skip
        return found[0] if one else found

    def _explanation(
        self, user_id: Id | None, item: int, own: np.ndarray, score: float, parts: dict[str, np.ndarray], trend: float, is_owned: bool
    ) -> Explanation:
        """Return the explanation of one score, the strongest reason first."""
        contributions = _sum(parts, len(own))
        order = np.argsort(-contributions, kind="stable")
        titles = self.item_titles_
        return Explanation(
            user_id, as_python(self.item_ids.ids[item]), "" if titles is None else str(titles[item]), score, self.item_ids.ids[own[order]],
            None if titles is None else titles[own[order]], {name: part[order] for name, part in parts.items()}, trend,
            score - float(contributions.sum()) - trend, is_owned,
        )  # fmt: skip


def _sum(parts: dict[str, np.ndarray], number: int) -> np.ndarray:
    """Return the sum of the parts of `number` contributions: (n,) float64."""
    total: np.ndarray = sum(parts.values(), np.zeros(number))
    return total


def _called(item: Id, title: str) -> str:
    """Return how a sentence names an item."""
    return f"'{title}'" if title else f"item {item}" if isinstance(item, int) else repr(item)


def trend_of(scorer: Scoring, item: int) -> float:
    """Return what an item's trend adds to its score."""
    return float(scorer.item_bias[item]) if isinstance(scorer, Scorer) and scorer.item_bias is not None else 0.0


def graph_part(scorer: Scorer, own: np.ndarray, items: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the item graph adds to items' scores from each of a user's items, (n, J) float64; nothing where there is no graph."""
    if scorer.item_graph is None or scorer.scale == 0:
        return {}
    return {"item graph": scorer.scale * weights_of(scorer.item_graph, own, items)}


def weights_of(weights: sp.csr_matrix | np.ndarray, own: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return the weights (I, I) of a user's items towards some items: (n, J) float64."""
    if isinstance(weights, np.ndarray):
        return np.asarray(weights[np.ix_(own, items)], np.float64)
    return np.asarray(weights[own][:, items].toarray(), np.float64)
