"""What a fitted model ranks by, as one object: it ranks, it scores pairs, and it says what a score is made of.

A scorer is immutable, so threads may share it. A scorer with another weight, or for other users, shares all its arrays.

Letters: U users, I items, D dimensions, B users asked about, C candidates, K places of a list, N pairs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, Self

import numpy as np
import scipy.sparse as sp

from ultragcn import kernels
from ultragcn.errors import NumericalError
from ultragcn.kernels import arguments
from ultragcn.scoring.item_weights import blocks, mean_deviation
from ultragcn.scoring.ranking import GraphTerm, batch_users, best_columns, graph_scale, no_rows, no_term, rank, rows_of

Ranking = Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Blocks of (users (B,) int64, items (B, K) int32, scores (B, K) float32), as `ranking.rank` yields them."""


_PROBES = 16  # items whose scores are compared first, to find users for whom all items have the same score
_PAIRS = 256  # whose users are ranked together, with the items of all of them as candidates


class Scoring(Protocol):
    """What every scorer can do; users and items are rows."""

    @property
    def num_items(self) -> int:
        """I, the number of items."""

    def rank(self, users: np.ndarray, top_k: int, seen: sp.csr_matrix | None = None, candidates: np.ndarray | None = None) -> Ranking:
        """Yield the top_k items of `users` (B,) in blocks, by (higher score, then lower item).

        Parameters
        ----------
        users : (B,) int
        top_k : int
            K >= 1; may exceed the number of items.
        seen : csr_matrix (U, I), optional
            Items that are never listed.
        candidates : (C,) int, ascending, optional
            The only items that may be listed.

        Yields
        ------
        users : (B,) int64
        items : (B, K) int32
            -1 where fewer than K items may be listed.
        scores : (B, K) float32
            -inf there.
        """

    def scores(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return the scores of pairs, the same numbers that rank: users (N,) and items (N,) to (N,) float32."""

    def parts(self, users: np.ndarray, items: np.ndarray) -> dict[str, np.ndarray]:
        """Return what the scores of N pairs are made of: name of the part to (N,) float64. The parts add up to the score."""


def scores_by_ranking(scorer: Scoring, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return the scores of pairs (N,) as `Scoring.scores` does, out of lists of the pairs' items alone."""
    users, items = np.asarray(users, np.int64), np.asarray(items, np.int64)
    result = np.empty(len(users), np.float32)
    order = np.argsort(users, kind="stable")
    for start in range(0, len(order), _PAIRS):
        pairs = order[start : start + _PAIRS]
        (asked, row), (wanted, column) = (np.unique(side[pairs], return_inverse=True) for side in (users, items))
        table = np.empty((len(asked), len(wanted)), np.float32)
        first = 0
        for block, listed, values in scorer.rank(asked, len(wanted), None, wanted):
            table[first + np.arange(len(block))[:, None], np.searchsorted(wanted, listed)] = values
            first += len(block)
        result[pairs] = table[row, column]
    return result


def largest_size(array: np.ndarray) -> float:
    """Return the largest size of a number of an array, without a copy of it; 0 of none."""
    return max(float(array.max(initial=0)), -float(array.min(initial=0)))


@dataclass(frozen=True, eq=False)
class Scorer:
    """The score of a model with embeddings: s_ui = e_u . e_i + b_i + scale g_ui, g = owned W.

    Attributes
    ----------
    user_embedding, item_embedding : (U, D) and (I, D) float32
    owned : csr_matrix (U, I)
        What each user has: what the item graph starts from.
    item_bias : (I,) float32, optional
        b, such as the trend.
    item_graph : csr_matrix (I, I) float32, optional
        W: row i is what having item i adds to the others.
    graph_weight : float
        How much the graph's scores vary, relative to how much the products vary. 0: there is no such term.
    deviation : float, optional
        How much the graph's scores vary by themselves (`item_weights.mean_deviation`); found when it is first needed.
    popularity : (I,) float32, optional
        The scores of users who have nothing. Without it, theirs are made as everybody's are.

    Examples
    --------
    >>> import numpy as np, scipy.sparse as sp
    >>> scorer = Scorer(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), sp.csr_matrix((2, 2)))
    >>> [items.tolist() for _, items, _ in scorer.rank(np.array([0, 1]), 1)]
    [[[0], [1]]]
    """

    user_embedding: np.ndarray
    item_embedding: np.ndarray
    owned: sp.csr_matrix
    item_bias: np.ndarray | None = None
    item_graph: sp.csr_matrix | None = None
    graph_weight: float = 0.0
    deviation: float | None = None
    popularity: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.item_bias is not None and not self.item_bias.any():
            object.__setattr__(self, "item_bias", None)

    @property
    def num_items(self) -> int:
        """I, the number of items."""
        return len(self.item_embedding)

    @cached_property
    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Tables of users and items whose product is the score but for the graph: (U, D or D + 1) and (I, D or D + 1) float32.

        A bias is one more dimension, in which every user is 1.
        """
        user, item = self.user_embedding, self.item_embedding
        if self.item_bias is None:
            return user, item
        return np.column_stack([user, np.ones(len(user), np.float32)]), np.column_stack([item, self.item_bias])

    @cached_property
    def unit_scale(self) -> float:
        """The scale at which the graph's scores vary as much as the products."""
        if self.item_graph is None:
            return 0.0
        deviation = mean_deviation(self.item_graph, self.owned) if self.deviation is None else self.deviation
        return graph_scale(self.user_embedding, self.item_embedding, self.owned, deviation)

    @cached_property
    def _graph_rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The item graph as kernels take it: indptr, indices, ascending in each row, and weights."""
        if self.item_graph is None:
            return *no_rows(self.num_items), np.zeros(0, np.float32)
        graph = self.item_graph if self.item_graph.has_sorted_indices else self.item_graph.sorted_indices()
        return *rows_of(graph), graph.data

    @cached_property
    def _term(self) -> arguments.GraphTerm:
        """What the item graph adds, as kernels take it."""
        if self.item_graph is None or self.scale == 0:
            return no_term()
        return arguments.GraphTerm(*rows_of(self.owned), *self._graph_rows, float(self.scale))

    @property
    def scale(self) -> float:
        """What the graph's scores are multiplied by; 0 without a graph."""
        return 0.0 if self.graph_weight == 0 else self.graph_weight * self.unit_scale

    @cached_property
    def _largest_item(self) -> float:
        return largest_size(self.tables[1])

    @cached_property
    def _largest_weight(self) -> float:
        return 0.0 if self.item_graph is None else largest_size(self.item_graph.data)

    def check_range(self) -> None:
        """Raise `NumericalError` where scores may leave the range of float32, by a bound that is far above what they are."""
        users, items = largest_size(self.tables[0]), self._largest_item
        largest = users * items * self.tables[0].shape[1]
        graph = 0.0
        if self.item_graph is not None and self.scale != 0:
            graph = abs(self.scale) * self._largest_weight * float(np.diff(self.owned.indptr).max(initial=0))
        if not largest + graph < float(np.finfo(np.float32).max):
            raise NumericalError(
                f"scores leave the range of float32: products of embeddings reach {largest:.2g} and the item graph {graph:.2g}; "
                f"{'lower item_graph_weight' if graph > largest else 'lower the learning rate or init_std, or raise l2'}"
            )

    def with_graph_weight(self, weight: float) -> Self:
        """Return the scorer with another weight of the item graph."""
        return self._sharing("tables", "unit_scale", "_graph_rows", graph_weight=weight)

    def with_item_bias(self, bias: np.ndarray | None) -> Self:
        """Return the scorer with another bias of the items, (I,) float32."""
        return self._sharing("unit_scale", "_graph_rows", item_bias=bias)

    def of_users(self, user_embedding: np.ndarray, owned: sp.csr_matrix) -> Self:
        """Return the scorer of other users, such as new ones: their embeddings (B, D) and what they have (B, I)."""
        if self.graph_weight != 0:
            _ = self.unit_scale, self._graph_rows  # the scale is that of the users it was made for
        kept = ("unit_scale", "_graph_rows", "_largest_item", "_largest_weight")
        other = self._sharing(*kept, user_embedding=user_embedding, owned=owned)
        if self.item_bias is not None:
            vars(other)["tables"] = np.column_stack([user_embedding, np.ones(len(user_embedding), np.float32)]), self.tables[1]
        return other

    def _sharing(self, *known: str, **changes: object) -> Self:
        other = replace(self, **changes)  # type: ignore[arg-type]
        vars(other).update({name: vars(self)[name] for name in known if name in vars(self)})
        return other

    def rank(self, users: np.ndarray, top_k: int, seen: sp.csr_matrix | None = None, candidates: np.ndarray | None = None) -> Ranking:
        """Yield the top_k items of `users`; see `Scoring.rank`."""
        users = np.asarray(users, np.int64)
        if (have_nothing := self._have_nothing(users)).any():
            return self._rank_both(users, have_nothing, top_k, seen, candidates)
        if candidates is None:
            return rank(*self.tables, users, top_k, seen, self._term)
        graph = self.item_graph if self.scale != 0 else None
        return self._rank_some(users, top_k, seen, np.asarray(candidates, np.int64), graph)

    def _have_nothing(self, users: np.ndarray) -> np.ndarray:
        """Return which of `users` (B,) have nothing and are ranked by popularity for that: (B,) bool."""
        if self.popularity is None:
            return np.zeros(len(users), np.bool_)
        nothing: np.ndarray = self.owned.indptr[users + 1] == self.owned.indptr[users]
        return nothing

    @cached_property
    def _by_popularity(self) -> "Scorer":
        """The scorer of the same users by popularity alone: one dimension, in which every user is 1."""
        assert self.popularity is not None
        return Scorer(np.ones((len(self.user_embedding), 1), np.float32), self.popularity[:, None], self.owned)

    def _rank_both(
        self, users: np.ndarray, have_nothing: np.ndarray, top_k: int, seen: sp.csr_matrix | None, candidates: np.ndarray | None
    ) -> Ranking:
        """Yield the lists of users of whom some have nothing."""
        step = batch_users(top_k)
        for start in range(0, len(users), step):
            batch, nothing = users[start : start + step], have_nothing[start : start + step]
            items, values = np.empty((len(batch), top_k), np.int32), np.empty((len(batch), top_k), np.float32)
            for scorer, places in ((self, np.flatnonzero(~nothing)), (self._by_popularity, np.flatnonzero(nothing))):
                done = 0
                for some, listed, scores in scorer.rank(batch[places], top_k, seen, candidates):
                    rows = places[done : done + len(some)]
                    items[rows], values[rows] = listed, scores
                    done += len(some)
            yield batch, items, values

    def scores(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return the scores of pairs, the same numbers that rank; see `Scoring.scores`."""
        if self.popularity is not None and (have_nothing := self._have_nothing(np.asarray(users, np.int64))).any():
            return np.where(have_nothing, self.popularity[items], replace(self, popularity=None).scores(users, items))
        tables = (np.ascontiguousarray(table, np.float32) for table in self.tables)
        pairs = (np.ascontiguousarray(side, np.int64) for side in (users, items))
        with kernels.interrupts_named():
            found: np.ndarray = kernels.pair_scores(*tables, *pairs, self._term)
        return found

    def _rank_some(
        self, users: np.ndarray, top_k: int, seen: sp.csr_matrix | None, candidates: np.ndarray, graph: sp.csr_matrix | None
    ) -> Ranking:
        user_table, item_table = self.tables[0], self.tables[1][candidates]
        step = batch_users(top_k)  # as `rank` takes them at a time
        for start in range(0, len(users), step):
            batch = users[start : start + step]
            rows = np.arange(len(batch))
            left_out = None if seen is None else seen[batch][:, candidates]
            term = None if graph is None else _graph_term(graph, self.owned[batch], candidates, self.scale)
            for _, items, values in rank(user_table[batch], item_table, rows, top_k, left_out, term):
                yield batch, _named(items, candidates), values

    def parts(self, users: np.ndarray, items: np.ndarray) -> dict[str, np.ndarray]:
        """Return what the scores of pairs are made of; see `Scoring.parts`."""
        x, y = (table[rows].astype(np.float64) for table, rows in ((self.user_embedding, users), (self.item_embedding, items)))
        found = {"embeddings": np.einsum("nd,nd->n", x, y)}
        if self.item_graph is not None and self.scale != 0:
            found["item graph"] = self.scale * _sums(self.owned, self.item_graph, users, items)
        if self.item_bias is not None:
            found["trend"] = self.item_bias[items].astype(np.float64)
        if self.popularity is not None and (have_nothing := self._have_nothing(np.asarray(users, np.int64))).any():
            found = {name: np.where(have_nothing, 0.0, part) for name, part in found.items()}
            found["popularity"] = np.where(have_nothing, self.popularity[items].astype(np.float64), 0.0)
        return found


@dataclass(frozen=True, eq=False)
class OwnedScorer:
    """The score of a model that knows users by their items alone: any function of what they have.

    Attributes
    ----------
    scores_of : callable
        From what B users have, csr_matrix (B, I), to the scores of all items, (B, I) float32, which may be overwritten.
    owned : csr_matrix (U, I)
        What each user has.
    popularity : (I,) float32, optional
        The scores of users for whom every item has the same score, such as those who have nothing. Without it, lists of them go by item.
    """

    scores_of: Callable[[sp.csr_matrix], np.ndarray]
    owned: sp.csr_matrix
    popularity: np.ndarray | None = None

    @property
    def num_items(self) -> int:
        """I, the number of items."""
        return int(self.owned.shape[1])

    @cached_property
    def _probes(self) -> np.ndarray:
        """The most popular items, which hardly any user with a history has the same score for."""
        assert self.popularity is not None
        return np.argsort(-self.popularity, kind="stable")[:_PROBES]

    def of_users(self, owned: sp.csr_matrix) -> "OwnedScorer":
        """Return the scorer of other users, by what they have, (B, I)."""
        other = replace(self, owned=owned)
        if self.popularity is not None:
            vars(other)["_probes"] = self._probes
        return other

    def rank(self, users: np.ndarray, top_k: int, seen: sp.csr_matrix | None = None, candidates: np.ndarray | None = None) -> Ranking:
        """Yield the top_k items of `users`; see `Scoring.rank`."""
        users = np.asarray(users, np.int64)
        for block in blocks(len(users), self.num_items):
            rows = users[block]
            values = self.scores_of(self.owned[rows])
            if self.popularity is not None:
                values[_flat_rows(values, self._probes)] = self.popularity
            if seen is not None:
                with kernels.numba_threads():
                    kernels.mask_seen(values, rows, seen.indptr, seen.indices)
            if candidates is None:
                yield rows, *best_columns(values, top_k)
            else:
                columns, best = best_columns(np.ascontiguousarray(values[:, candidates]), top_k)
                yield rows, _named(columns, candidates), best

    def scores(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return the scores of pairs, the same numbers that rank; see `Scoring.scores`."""
        return scores_by_ranking(self, users, items)

    def parts(self, users: np.ndarray, items: np.ndarray) -> dict[str, np.ndarray]:
        """Return the scores of pairs as their one part; see `Scoring.parts`."""
        return {"item weights": self.scores(users, items).astype(np.float64)}


def _flat_rows(values: np.ndarray, probes: np.ndarray) -> np.ndarray:
    """Return the rows of values (B, N) whose columns are all equal. Of most rows only the columns `probes` are looked at."""
    few = values[:, probes]
    perhaps = np.flatnonzero((few == few[:, :1]).all(axis=1))
    flat: np.ndarray = perhaps[(values[perhaps] == values[perhaps, :1]).all(axis=1)]
    return flat


def _named(columns: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Return which items the columns of a list of candidates are: (B, K) int32, -1 where a place is empty."""
    listed = np.full(columns.shape, -1, np.int32)
    listed[columns >= 0] = candidates[columns[columns >= 0]]
    return listed


def _graph_term(graph: sp.csr_matrix, owned: sp.csr_matrix, candidates: np.ndarray, scale: float) -> GraphTerm:
    """Return the term of the graph for users by what they have, (B, I), and candidates alone.

    Only the rows of what somebody has are cut to the candidates: for one user a hundredth of the time that the whole graph takes.
    """
    occurring, which = np.unique(owned.indices, return_inverse=True)
    cut = sp.csr_matrix((owned.data, which.astype(np.int32), owned.indptr), shape=(owned.shape[0], len(occurring)))
    return GraphTerm(graph[occurring][:, candidates], cut, scale)


def _sums(owned: sp.csr_matrix, weights: sp.csr_matrix, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return sum_j owned_uj weights_ji of N pairs (u, i): (N,) float64."""
    wanted, places = np.unique(items, return_inverse=True)
    rows, of_user = np.unique(users, return_inverse=True)
    product = sp.csr_matrix(owned[rows].astype(np.float64) @ weights[:, wanted].astype(np.float64))
    return np.asarray(product[of_user, places], np.float64).ravel()
