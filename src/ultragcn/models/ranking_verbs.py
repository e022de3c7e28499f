"""The verbs by which a fitted model is asked for items: recommend, recommend_frame, recommend_for, score, similar items and users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp

from ultragcn.data.ids import Id, IdMap, as_ids
from ultragcn.data.interactions import Interactions
from ultragcn.data.items_table import ItemsTable, as_items_table
from ultragcn.data.options import DataOptions
from ultragcn.errors import UsageError
from ultragcn.lazily import pl
from ultragcn.models import lists
from ultragcn.models.fitted import Fitted
from ultragcn.models.verbs import verb
from ultragcn.rules import Rules
from ultragcn.rules.bound import Bound
from ultragcn.rules.masks import empty_lists, joined, rows_of
from ultragcn.scoring.scorer import Ranking
from ultragcn.scoring.similar import WAYS

_MANY_USERS, _LARGE = 1024, 8
"""For blocks of so many users, of models with so many times as many, what is seen is put together for the block: for a million users the
whole takes 200 megabytes."""


class RankingVerbs(Fitted):
    """What follows from a scorer: a fitted model (`Recommender`) has one, and knows its users, its items and what was seen."""

    items_table_: ItemsTable | None
    valid_: Interactions | None
    had_: Interactions | None
    _seen: sp.csr_matrix | None
    _table: tuple[tuple[Any, ...], ItemsTable] | None
    similar_by: ClassVar[str | None] = "together"
    """By what `similar_items` compares items when nothing is given; None: something must be given."""

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
        only: Sequence[Id] | np.ndarray | None = None,
        exclude: Any = None,
        where: str | Sequence[str] | None = None,
        max_per: Mapping[str, int] | str | None = None,
        diversity: float | None = None,
        promote: Mapping[str, float] | str | None = None,
        unknown: str | None = None,
        rules: Rules | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the items with the highest scores for one user or several.

        Items that may not be listed are left out before the list is made. So a list has K items whenever K allowed items exist.

        Parameters
        ----------
        user_ids : id, or list of B ids
        top_k : int
            The length of a list, K >= 1. It is at most the number of items.
        exclude_seen : bool
            Leave out what the user has: in train, in validation, and rated below `min_rating` where the model knows it (`had_`).
        candidates, only : list of item ids, optional
            List only these items. The two names mean the same.
        exclude : list of item ids, or pairs, optional
            Never list these items. Of pairs of a user and an item, the item is left out for that user alone. Pairs are a list of tuples, a
            frame with columns of users and items, or `Interactions`.
        where : str or list of str, optional
            List only items for which this condition holds. It is SQL on the columns of the items table (`set_items_table`), such as "price
            < 20 and genre in ('jazz', 'folk')".
        max_per : dict of str -> int, or str, optional
            The most items of a list with the same value in a column, such as {"brand": 2} or "brand=2".
        diversity : float, optional
            How different the items of a list are: 0 ranks by score alone, and 1 makes them as different as possible. It needs a model that
            learns vectors of items. Scores do not descend then.
        promote : dict of str -> float, or str, optional
            The least share of the places that has items for which a condition holds, such as {"price < 20": 0.2} or "price < 20=20%".
        unknown : {"raise", "popular", "skip"}, optional
            What happens with a user whom the model does not know. "raise", the default, raises an error. "popular" lists the items that
            most users have, with the number of their users as score. "skip" makes a list without items.
        rules : Rules, optional
            The same rules as one object, such as the one that `Rules.read` makes from a file. Rules given by name hold too.

        Returns
        -------
        items : (K,) for one id, (B, K) for a list
            Item ids, best first. Where fewer than K items are left, the result for one id is shorter. The result for a list then has places
            with score -inf and the id -1 or "".
        scores : float32, same shape
            Only the order of the scores has a meaning.

        Raises
        ------
        UsageError
            A user or an item is unknown, top_k is below 1, or a rule makes no sense.

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
        bound = self._bound(rules, candidates, only, exclude, where, max_per, diversity, promote, unknown)
        one, top_k, ids, rows = self._asked(user_ids, top_k, bound)
        lists.ask_for_lists(len(rows), top_k)
        blocks = self._lists(ids, rows, top_k, exclude_seen, bound)
        return lists.named(self.item_ids, *joined(blocks, top_k), one)

    @verb
    def recommend_frame(
        self,
        user_ids: Id | Sequence[Id] | np.ndarray,
        top_k: int = 20,
        exclude_seen: bool = True,
        *,
        candidates: Sequence[Id] | np.ndarray | None = None,
        only: Sequence[Id] | np.ndarray | None = None,
        exclude: Any = None,
        where: str | Sequence[str] | None = None,
        max_per: Mapping[str, int] | str | None = None,
        diversity: float | None = None,
        promote: Mapping[str, float] | str | None = None,
        unknown: str | None = None,
        rules: Rules | None = None,
    ) -> pl.DataFrame:
        """Return the lists of `recommend` as a frame with a row for each listed item.

        Parameters
        ----------
        user_ids, top_k, exclude_seen, candidates, only, exclude, where, max_per, diversity, promote, unknown, rules
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
        bound = self._bound(rules, candidates, only, exclude, where, max_per, diversity, promote, unknown)
        _, top_k, ids, rows = self._asked(user_ids, top_k, bound)
        lists.ask_for_lists(len(rows), top_k)
        frames, start = [lists.frame_of(ids[:0], *empty_lists(0, 1), self.item_ids, self.item_titles_)], 0
        for listed, own in self._lists(ids, rows, top_k, exclude_seen, bound):
            block = ids[start : start + len(listed)]
            frames.append(lists.frame_of(block, listed, own, self.item_ids, self.item_titles_))
            start += len(listed)
        return pl.concat(frames)

    def set_items_table(self, items: Any, **reading: Any) -> Self:
        """Give the model a table of its items, whose columns rules can use; return the model.

        Parameters
        ----------
        items : str, Path, frame or ItemsTable
            A table with a column of item ids and any other columns. None removes the table. `save` keeps the table with the model.
        **reading
            `item_column`, where the column of item ids is not found by its name.

        Raises
        ------
        DataError
            The table cannot be read, or it has none of the items of the model.

        Examples
        --------
        >>> from ultragcn import Popularity
        >>> import polars as pl
        >>> model = Popularity().fit(pl.DataFrame({"user": [1, 1, 2], "item": ["tea", "pie", "tea"]}))
        >>> model = model.set_items_table(pl.DataFrame({"item": ["tea", "pie"], "price": [3.5, 12.0]}))
        >>> model.recommend(2, where="price > 10")[0].tolist()
        ['pie']
        """
        self._check_fitted()
        self.items_table_ = None if items is None else as_items_table(items, self.item_ids, DataOptions().replace(**reading))
        return self

    def _known_of_items(self) -> ItemsTable:
        """Return the items table, with the ids and the titles of the items; these alone where the model has no table."""
        kept = (self.items_table_, self.item_titles_, self.item_ids)
        if self._table is None or any(one is not other for one, other in zip(self._table[0], kept, strict=True)):
            frame = None if self.items_table_ is None else self.items_table_.kept
            self._table = kept, ItemsTable(frame, self.item_ids, self.item_titles_)
        return self._table[1]

    def _bound(
        self, rules: Any, candidates: Any, only: Any, exclude: Any, where: Any, max_per: Any, diversity: Any, promote: Any, unknown: Any
    ) -> Bound:
        """Return all rules that were given, over the rows of the model."""
        self._check_fitted()
        if rules is not None and not isinstance(rules, Rules):
            raise UsageError(f"rules must be a Rules object, such as Rules(where=...), not a {type(rules).__name__}")
        by_name = (only, exclude, where, max_per, diversity, promote, unknown)
        if candidates is not None or rules is None or any(one is not None for one in by_name):
            given = Rules(
                only=only, exclude=exclude, where=where, max_per=max_per, diversity=diversity, promote=promote, unknown=unknown
            )  # fmt: skip
            if candidates is not None:
                given = Rules(only=candidates, name_of_only="candidates") & given
            rules = given if rules is None else rules & given
        bound: Bound = rules.bind(self.user_ids, self.item_ids, self._known_of_items())
        if not bound.choice.diversity:
            return bound
        vectors = getattr(self.scorer, "item_embedding", None)
        if vectors is None:
            raise UsageError(
                f"diversity compares items by vectors, and {type(self).__name__} learns none; leave it out, limit lists by max_per, or use "
                "UltraGCN or another model with embeddings"
            )
        return bound.with_vectors(vectors)

    def _asked(self, user_ids: Any, top_k: Any, bound: Bound) -> tuple[bool, int, np.ndarray, np.ndarray]:
        """Return whether one user is meant, the places of a list, the ids (B,), and their rows (B,).

        The row of an unknown user, where such are allowed, is -1.
        """
        top_k = lists.checked_top_k(top_k, len(self.item_ids))
        one, listed = lists.one_or_many(user_ids)
        ids = as_ids(listed, "user")
        rows = self.user_ids.rows(ids) if bound.unknown == "raise" else self.user_ids.find(ids)
        return one, top_k, ids, rows

    def _lists(
        self, ids: np.ndarray, rows: np.ndarray, top_k: int, exclude_seen: bool, bound: Bound
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the lists of users by their ids and rows (B,), -1 for unknown users, a block of users at a time."""
        rank = None
        if (rows >= 0).any():
            scorer, seen = self.scorer, self._seen_by(rows) if exclude_seen else None

            def rank(users: np.ndarray) -> Ranking:
                return bound.rank(scorer, users, top_k, seen)

        return lists.lists_in_blocks(rank, rows, top_k, self._instead(ids, rows, top_k, bound))

    def _seen_by(self, rows: np.ndarray) -> sp.csr_matrix:
        """Return what lists leave out (U, I) of the users at `rows` (B,), -1 for unknown ones, and perhaps of others."""
        more = [part.matrix for part in (self.valid_, self.had_) if part is not None]
        if not _MANY_USERS <= len(rows) <= len(self.user_ids) // _LARGE or not more or self._seen is not None:
            return self.seen_
        own = np.unique(rows[rows >= 0])
        both = sp.csr_matrix(sum((part[own] for part in more), self.train_.matrix[own]))
        both.sort_indices()
        return rows_of(self.train_.matrix.shape, own, np.diff(both.indptr), both.indices)

    def _instead(self, ids: np.ndarray, rows: np.ndarray, top_k: int, bound: Bound) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the lists of the users the model does not know, if there are such and they get some."""
        if bound.unknown != "popular" or not (rows < 0).any():
            return None
        return bound.popular(self.train_.item_degrees, top_k, ids[rows < 0])

    @verb
    def recommend_for(
        self,
        item_ids: Sequence[Id] | Sequence[Sequence[Id]] | np.ndarray,
        top_k: int = 20,
        exclude_seen: bool = True,
        *,
        candidates: Sequence[Id] | np.ndarray | None = None,
        only: Sequence[Id] | np.ndarray | None = None,
        exclude: Any = None,
        where: str | Sequence[str] | None = None,
        max_per: Mapping[str, int] | str | None = None,
        diversity: float | None = None,
        promote: Mapping[str, float] | str | None = None,
        unknown: str | None = None,
        rules: Rules | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the items with the highest scores for a new user, who is given by items.

        The model is not trained again. A model with embeddings solves the new user's row, with the items held still. Other models need only
        the items.

        Parameters
        ----------
        item_ids : list of ids, or list of such lists
            The items of one new user, or of several.
        top_k, exclude_seen, candidates, only, exclude, where, max_per, diversity, promote, rules
            As in `recommend`. The seen items are those in `item_ids`. Pairs of a user and an item have no effect.
        unknown : {"raise", "popular", "skip"}, optional
            What happens with items that the model does not know. "raise", the default, raises an error. With "popular" and "skip" these
            items do not count. A user without other items then gets the items that most users have ("popular") or a list without items
            ("skip").

        Returns
        -------
        items, scores : (K,) for one user, (B, K) for several
            As in `recommend`.

        Raises
        ------
        UsageError
            An item is unknown, no item is given, top_k is below 1, or the model can learn the embedding of a user only by training.

        Examples
        --------
        >>> from ultragcn import ItemKNN, load_dataset
        >>> model = ItemKNN().fit(load_dataset("demo"))
        >>> items, scores = model.recommend_for(["Quiet River (jazz)"], top_k=5)
        >>> items.shape
        (5,)
        """
        bound = self._bound(rules, candidates, only, exclude, where, max_per, diversity, promote, unknown)
        top_k = lists.checked_top_k(top_k, len(self.item_ids))
        one, baskets = lists.baskets_of(self.item_ids, item_ids, bound.unknown)
        lists.ask_for_lists(len(baskets), top_k)
        blocks = self._lists_of_baskets(baskets, top_k, exclude_seen, bound)
        return lists.named(self.item_ids, *joined(blocks, top_k), one)

    def _lists_of_baskets(
        self, baskets: Sequence[np.ndarray], top_k: int, exclude_seen: bool, bound: Bound, left_out: Sequence[np.ndarray] | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the lists of B new users by the rows of what they have, a block of users at a time.

        `left_out` are the rows of what each of them may not be listed besides.
        """
        sizes = np.array([len(basket) for basket in baskets], np.int64)
        rows = np.where(sizes > 0, np.cumsum(sizes > 0) - 1, -1)
        matrix = self._as_rows(self._ones([basket for basket in baskets if len(basket)]))
        bound = bound.without_pairs()
        seen = matrix if exclude_seen else None
        if left_out is not None and any(map(len, left_out)):
            bound = replace(bound, strangers=dict(enumerate(left_out)))
            more = self._ones([out for out, size in zip(left_out, sizes, strict=True) if size])
            seen = more if seen is None else sp.csr_matrix(seen + more)
            seen.sort_indices()
        rank = None
        if matrix.shape[0]:
            scorer = self._scorer_of(matrix)

            def rank(users: np.ndarray) -> Ranking:
                return bound.rank(scorer, users, top_k, seen)

        return lists.lists_in_blocks(rank, rows, top_k, self._instead(np.arange(len(rows)), rows, top_k, bound))

    def _ones(self, item_rows: Sequence[np.ndarray]) -> sp.csr_matrix:
        """Return a matrix of ones at the item rows of each line, lines by I."""
        indptr = np.cumsum([0, *map(len, item_rows)])
        columns = np.concatenate([np.zeros(0, np.int64), *item_rows])
        return sp.csr_matrix((np.ones(len(columns), np.float32), columns, indptr), shape=(len(item_rows), len(self.item_ids)))

    @verb
    def score(self, user_id: Id | Sequence[Id] | np.ndarray, item_ids: Id | Sequence[Id] | np.ndarray) -> float | np.ndarray:
        """Return the scores of items for a user. These are the numbers that rank.

        Parameters
        ----------
        user_id : id, or list of N ids
        item_ids : id, or list of N ids
            They may be items that the user has. Two lists must have the same length: the first item goes with the first user, and so on.

        Returns
        -------
        float, or (N,) float32 where a list was given
            Only the order of the scores of a user has a meaning.

        Raises
        ------
        UsageError
            A user or an item is unknown, or the lists have different lengths.

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
        """Return the items that are most similar to an item or to several, and their similarities.

        Parameters
        ----------
        item_ids : id, or list of B ids
        top_k : int
            K >= 1.
        by : {"together", "embeddings"}, optional
            "together" compares items by the users who have both. The numbers are shrunk cosines of co-occurrence, as in ItemKNN. In a model
            that learns item weights (ItemKNN, RP3beta, EASE, SparseEASE) they are the weights: how much having the item adds to the scores
            of the others. "embeddings" compares items by their embeddings, and the numbers are cosines. The default is "together" for
            UltraGCN and for models with item weights, else "embeddings" (`similar_by` of the model).

        Returns
        -------
        items : (K,) for one id, (B, K) for a list
            Item ids, the most similar item first. The item itself is never among them, nor is an item that nobody has in train. Such an
            item gets an empty list. Lists with fewer than K items are as in `recommend`.
        similarities : float32, same shape

        Raises
        ------
        UsageError
            An item is unknown, top_k is below 1, `by` is another word, or the model has no embeddings to compare by.

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
        """Return the users that are most similar to a user or to several, and their similarities.

        The model must learn embeddings of users. A user without items in train is never listed and gets no list.

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
            A user is unknown, top_k is below 1, or the model has no embeddings of users.

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
