"""The verbs by which a fitted model is asked for items: recommend, recommend_frame, recommend_for, score, similar items and users."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np
import polars as pl
import scipy.sparse as sp

from ultragcn.data.ids import Id, IdMap, as_ids
from ultragcn.data.interactions import Interactions
from ultragcn.errors import UsageError
from ultragcn.models import lists
from ultragcn.models.verbs import verb
from ultragcn.scoring.scorer import Ranking, Scoring
from ultragcn.scoring.similar import WAYS


class RankingVerbs:
    """What follows from a scorer: a fitted model (`Recommender`) has one, and knows its users, its items and what was seen."""

    train_: Interactions
    user_ids: IdMap
    item_ids: IdMap
    item_titles_: np.ndarray | None
    similar_by: ClassVar[str | None] = "together"
    """By what `similar_items` compares items when nothing is given; None: something must be given."""

    @property
    def seen_(self) -> sp.csr_matrix:
        """Train and validation pairs, U x I."""
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

    def rank(self, users: np.ndarray, top_k: int, seen: sp.csr_matrix | None = None) -> Ranking:
        """Yield the top_k items of user rows in blocks; see `scoring.scorer.Scoring.rank`."""
        blocks = self.scorer.rank(users, top_k, seen)
        while True:
            with self._limited():  # not around `yield`: the caller is not limited
                block = next(blocks, None)
            if block is None:
                return
            yield block

    @verb
    def recommend(
        self,
        user_ids: Id | Sequence[Id] | np.ndarray,
        top_k: int = 20,
        exclude_seen: bool = True,
        *,
        candidates: Sequence[Id] | np.ndarray | None = None,
        exclude: Sequence[Id] | np.ndarray | None = None,
        unknown: str = "raise",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the items with the highest scores for one user or several.

        What may not be listed is left out before the list is made: it has K items whenever K allowed ones exist.

        Parameters
        ----------
        user_ids : id, or list of B ids
        top_k : int
            K >= 1; of more than there are items, as many are taken.
        exclude_seen : bool
            Leave out what the user has in train and validation.
        candidates : list of item ids, optional
            List only these.
        exclude : list of item ids, optional
            Never list these.
        unknown : {"raise", "popular", "skip"}
            What users get whom the model does not know: an error; the items that most users have, with the number of those users as
            score; or a list without items.

        Returns
        -------
        items : (K,) for one id, (B, K) for a list
            Item ids, best first. A user with fewer than K items left gets fewer (one id), or places of score -inf, whose id is
            -1 or "" (a list).
        scores : float32, same shape
            Only their order means something.

        Raises
        ------
        UsageError
            Unknown user or item, or top_k below 1.

        Examples
        --------
        >>> from ultragcn import Popularity, read_interactions
        >>> import polars as pl
        >>> pairs = pl.DataFrame({"user": ["ann", "ann", "bob", "eve"], "item": ["tea", "pie", "tea", "jam"]})
        >>> model = Popularity().fit(pairs)
        >>> items, scores = model.recommend("bob", top_k=2)
        >>> items.tolist(), scores.tolist()
        (['jam', 'pie'], [1.0, 1.0])
        >>> model.recommend(["ann", "zoe"], top_k=2, exclude=["tea"], unknown="popular")[0].tolist()
        [['jam', ''], ['jam', 'pie']]
        """
        one, top_k, _, rows, items = self._asked(user_ids, top_k, candidates, exclude, unknown)
        lists.ask_for_lists(len(rows), top_k)
        blocks = self._lists(rows, top_k, exclude_seen, items, unknown)
        return lists.named(self.item_ids, *lists.joined(blocks, top_k), one)

    @verb
    def recommend_frame(
        self,
        user_ids: Id | Sequence[Id] | np.ndarray,
        top_k: int = 20,
        exclude_seen: bool = True,
        *,
        candidates: Sequence[Id] | np.ndarray | None = None,
        exclude: Sequence[Id] | np.ndarray | None = None,
        unknown: str = "raise",
    ) -> pl.DataFrame:
        """Return the lists of `recommend` as a frame, a row an item.

        Parameters
        ----------
        user_ids, top_k, exclude_seen, candidates, exclude, unknown
            As in `recommend`. A user who is skipped has no rows.

        Returns
        -------
        polars.DataFrame
            Columns user_id, rank (from 1), item_id, title (where the data came with titles) and score. Users are in the given order.

        Examples
        --------
        >>> from ultragcn import Popularity
        >>> import polars as pl
        >>> model = Popularity().fit(pl.DataFrame({"user": [1, 1, 2], "item": ["tea", "pie", "tea"]}))
        >>> model.recommend_frame([1, 2]).rows()
        [(2, 1, 'pie', 1.0)]
        """
        _, top_k, ids, rows, items = self._asked(user_ids, top_k, candidates, exclude, unknown)
        lists.ask_for_lists(len(rows), top_k)
        frames, start = [lists.frame_of(ids[:0], *lists.empty_lists(0, 1), self.item_ids, self.item_titles_)], 0
        for listed, own in self._lists(rows, top_k, exclude_seen, items, unknown):
            block = ids[start : start + len(listed)]
            frames.append(lists.frame_of(block, listed, own, self.item_ids, self.item_titles_))
            start += len(listed)
        return pl.concat(frames)

    def _asked(
        self, user_ids: Any, top_k: Any, candidates: Any, exclude: Any, unknown: Any
    ) -> tuple[bool, int, np.ndarray, np.ndarray, lists.Allowed]:
        """Return whether one user is meant, the places of a list, the ids (B,), their rows (B,), and the allowed items.

        The row of an unknown user, where such are allowed, is -1.
        """
        self._check_fitted()
        top_k = lists.checked_top_k(top_k, len(self.item_ids))
        lists.check_unknown(unknown)
        one, listed = lists.one_or_many(user_ids)
        ids = as_ids(listed, "user")
        rows = self.user_ids.rows(ids) if unknown == "raise" else self.user_ids.find(ids)
        return one, top_k, ids, rows, lists.allowed(self.item_ids, candidates, exclude)

    def _lists(
        self, rows: np.ndarray, top_k: int, exclude_seen: bool, items: lists.Allowed, unknown: str
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the lists of user rows (B,), -1 for unknown users, a block of users at a time."""
        scorer = self.scorer if (rows >= 0).any() else None
        instead = self._instead(rows, top_k, items, unknown)
        return lists.lists_in_blocks(scorer, rows, top_k, self.seen_ if exclude_seen else None, items, instead)

    def _instead(self, rows: np.ndarray, top_k: int, items: lists.Allowed, unknown: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the list of users the model does not know, if there are such and they get one."""
        return lists.popular(self.train_.item_degrees, top_k, items) if unknown == "popular" and (rows < 0).any() else None

    @verb
    def recommend_for(
        self,
        item_ids: Sequence[Id] | Sequence[Sequence[Id]] | np.ndarray,
        top_k: int = 20,
        exclude_seen: bool = True,
        *,
        candidates: Sequence[Id] | np.ndarray | None = None,
        exclude: Sequence[Id] | np.ndarray | None = None,
        unknown: str = "raise",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the items with the highest scores for someone training has not seen, by what they have.

        Nothing is retrained: an embedding model solves the new user's row, items held still; others need the items alone.

        Parameters
        ----------
        item_ids : list of ids, or list of such lists
            What one new user has, or several.
        top_k, exclude_seen, candidates, exclude
            As in `recommend`; seen is what was given.
        unknown : {"raise", "popular", "skip"}
            What happens to items that the model does not know: an error, or they do not count. Who has no other items gets what most
            users have ("popular") or a list without items ("skip").

        Returns
        -------
        items, scores : (K,) for one user, (B, K) for several
            As in `recommend`.

        Raises
        ------
        UsageError
            Unknown item, no item, top_k below 1, or a model that learns its users' embeddings only by training.

        Examples
        --------
        >>> from ultragcn import ItemKNN, load_dataset
        >>> model = ItemKNN().fit(load_dataset("demo"))
        >>> items, scores = model.recommend_for(["Quiet River (jazz)"], top_k=5)
        >>> items.shape
        (5,)
        """
        self._check_fitted()
        top_k = lists.checked_top_k(top_k, len(self.item_ids))
        lists.check_unknown(unknown)
        items = lists.allowed(self.item_ids, candidates, exclude)
        one, baskets = lists.baskets_of(self.item_ids, item_ids, unknown)
        lists.ask_for_lists(len(baskets), top_k)
        sizes = np.array([len(basket) for basket in baskets], np.int64)
        users = np.repeat(np.cumsum(sizes > 0) - 1, sizes)
        columns = np.concatenate([np.zeros(0, np.int64), *baskets])
        shape = (int((sizes > 0).sum()), len(self.item_ids))
        matrix = self._as_rows(sp.csr_matrix((np.ones(len(users), np.float32), (users, columns)), shape=shape))
        rows = np.where(sizes > 0, np.cumsum(sizes > 0) - 1, -1)
        scorer = self._scorer_of(matrix) if matrix.shape[0] else None
        instead = self._instead(rows, top_k, items, unknown)
        blocks = lists.lists_in_blocks(scorer, rows, top_k, matrix if exclude_seen else None, items, instead)
        return lists.named(self.item_ids, *lists.joined(blocks, top_k), one)

    @verb
    def score(self, user_id: Id | Sequence[Id] | np.ndarray, item_ids: Id | Sequence[Id] | np.ndarray) -> float | np.ndarray:
        """Return how high items stand with a user: the same numbers that rank.

        Parameters
        ----------
        user_id : id, or list of N ids
        item_ids : id, or list of N ids
            What the user has may be among them. Two lists are read in step: the first user with the first item, and so on.

        Returns
        -------
        float, or (N,) float32 where a list was given
            Only the order of a user's scores means something.

        Raises
        ------
        UsageError
            Unknown user or item, or lists of different lengths.

        Examples
        --------
        >>> from ultragcn import Popularity
        >>> import polars as pl
        >>> model = Popularity().fit(pl.DataFrame({"user": [1, 1, 2], "item": ["tea", "pie", "tea"]}))
        >>> model.score(1, "tea")
        2.0
        >>> model.score(1, ["pie", "tea"]).tolist()
        [1.0, 2.0]
        """
        self._check_fitted()
        one, rows, columns = lists.pairs_of(self.user_ids, self.item_ids, user_id, item_ids)
        found = self.scorer.scores(rows, columns)
        return float(found[0]) if one else found

    @verb
    def similar_items(
        self, item_ids: Id | Sequence[Id] | np.ndarray, top_k: int = 10, *, by: str | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the items most like an item or several, and how like they are.

        Parameters
        ----------
        item_ids : id, or list of B ids
        top_k : int
            K >= 1.
        by : {"together", "embeddings"}, optional
            "together": the same users have them. The numbers are shrunk cosines of co-occurrence, as in ItemKNN; in a model that
            learns item weights (ItemKNN, RP3beta, EASE, SparseEASE), how much having the item adds to the scores of the others.
            "embeddings": their embeddings point the same way, and the numbers are cosines. By default what `similar_by` of the model
            says: "together" of UltraGCN and of models with item weights, else "embeddings".

        Returns
        -------
        items : (K,) for one id, (B, K) for a list
            Item ids, the most similar first, never the item itself and never an item that nobody has in train. Where there are fewer
            than K, as in `recommend`: an item that nobody has in train gets none.
        similarities : float32, same shape

        Raises
        ------
        UsageError
            Unknown item, top_k below 1, another `by`, or a model without embeddings asked for them.

        Examples
        --------
        >>> from ultragcn import ItemKNN, load_dataset
        >>> model = ItemKNN().fit(load_dataset("demo"))
        >>> items, similarities = model.similar_items(["Quiet River (jazz)", "Amber Avenue (blues)"], top_k=3)
        >>> items.shape
        (2, 3)
        """
        self._check_fitted()
        lists.checked_top_k(top_k, len(self.item_ids))
        way = self.similar_by if by is None else by
        if way is None:
            raise UsageError(f"{type(self).__name__} itself knows no similar items; give by together, or fit ItemKNN or another model")
        if way not in WAYS:
            raise UsageError(f"by must be {' or '.join(WAYS)}, not {by!r}")
        return self._similar(self._items_together if way == "together" else self._items_near, "item_ids", item_ids, top_k)

    @verb
    def similar_users(self, user_ids: Id | Sequence[Id] | np.ndarray, top_k: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """Return the users most like a user or several, and how like they are; only of models that learn users' embeddings.

        A user without items in train is never listed, and gets no list.

        Parameters
        ----------
        user_ids : id, or list of B ids
        top_k : int
            K >= 1.

        Returns
        -------
        users, cosines : (K,) for one id, (B, K) for a list
            As of `similar_items`.

        Raises
        ------
        UsageError
            Unknown user, top_k below 1, or a model without embeddings of users.

        Examples
        --------
        >>> from ultragcn import IALS, load_dataset
        >>> model = IALS(embedding_dim=8, epochs=2).fit(load_dataset("demo"))
        >>> users, cosines = model.similar_users("user-0001", top_k=3)
        >>> users.shape
        (3,)
        """
        return self._similar(self._similar_users, "user_ids", user_ids, top_k)

    def _similar(self, find: Any, side: str, given_ids: Any, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        self._check_fitted()
        ids: IdMap = getattr(self, side)
        top_k = lists.checked_top_k(top_k, len(ids))
        one, listed = lists.one_or_many(given_ids)
        lists.ask_for_lists(len(listed), top_k)
        rows, likeness = find(ids.rows(listed), top_k)
        return lists.named(ids, rows, likeness, one)

    def _items_together(self, rows: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the items that the same users have as those at `rows` (B,): rows and values, (B, K) each, -1 and -inf in empty places."""
        raise NotImplementedError

    def _items_near(self, rows: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the items whose embeddings point most nearly the same way, likewise."""
        raise UsageError(f"{type(self).__name__} learns no embeddings of items, by which they could be compared; give by together")

    def _similar_users(self, rows: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the users most like those at `rows` (B,), likewise."""
        raise UsageError(f"{type(self).__name__} learns no embeddings of users, by which they could be compared; UltraGCN does")
