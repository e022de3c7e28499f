"""What every model can be asked: recommend, recommend_for, similar_items, evaluate, save and load.

A model says how it learns (`fit`), how it ranks (`rank`) and which arrays it has learned (`_learned`); the rest is here, once for
UltraGCN and for every baseline.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp

from ultragcn.config import HyperParameters
from ultragcn.data.ids import Id, IdMap
from ultragcn.data.interactions import Interactions
from ultragcn.errors import NotFittedError, UsageError
from ultragcn.evaluation.dialects import Dialect
from ultragcn.evaluation.evaluate import evaluate
from ultragcn.evaluation.metrics import DEFAULT_LABELS
from ultragcn.models.files import (
    MODEL_FILE,
    _kind_in,
    _model_file,
    _pack,
    _pack_ids,
    _pack_pairs,
    _pack_texts,
    _unpack,
    _unpack_ids,
    _unpack_pairs,
    _unpack_texts,
)
from ultragcn.scoring.ranking import best_columns
from ultragcn.scoring.scorer import Ranking, Scorer, Scoring
from ultragcn.storage import read_safetensors, write_safetensors


class Recommender:
    """The verbs that all models share.

    Attributes
    ----------
    config : HyperParameters
    train_, valid_ : Interactions
        What the model has seen; `valid_` is None when there was none.
    user_ids, item_ids : IdMap
        Ids of the rows and of the columns.
    train_seconds_ : float
        Seconds from data in memory to a model that can rank.
    """

    config: HyperParameters
    train_: Interactions
    valid_: Interactions | None
    user_ids: IdMap
    item_ids: IdMap
    train_seconds_: float
    item_titles_: np.ndarray | None = None
    """Titles of the items, (I,) array of str, "" where there is none; None when the data came without. May be set after `fit`."""
    _seen: sp.csr_matrix | None
    """`seen_`, made for the first list."""
    _scorer: Scoring | None
    """`scorer`, made for the first list."""

    _format: ClassVar[str]
    """Name and version of the model's file."""
    _learned: ClassVar[tuple[str, ...]]
    """Attributes that hold what was learned, arrays or csr_matrix: their presence means fitted, and `save` writes them."""
    _recorded: ClassVar[tuple[str, ...]] = ("train_seconds_",)
    """Attributes that `save` writes as JSON."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.config.changed().items())})"

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name.endswith("_"):  # learned state has changed, so what ranks by it is made anew
            vars(self)["_scorer"] = None

    def _set_data(self, train: Interactions, valid: Interactions | None) -> None:
        for name in self._learned:  # of other data, if it was fitted before: nothing that may be asked until this fit has learned its own
            vars(self).pop(name, None)
        self.train_, self.valid_, self._seen = train, valid, None
        self.item_titles_ = None
        self.user_ids, self.item_ids = train.user_ids, train.item_ids

    @property
    def is_fitted(self) -> bool:
        """Whether there is something learned to ask."""
        return all(hasattr(self, name) for name in self._learned)

    def _check_fitted(self) -> None:
        if not self.is_fitted:
            raise NotFittedError(f"this model is not fitted yet; call fit(train) or {type(self).__name__}.load(folder) first")

    def check_runnable(self) -> None:
        """Raise now what `fit` would raise for want of a package or of a device."""

    # ------------------------------------------------------------ recommending

    @property
    def seen_(self) -> sp.csr_matrix:
        """Train and validation pairs, U x I: what `exclude_seen` leaves out."""
        self._check_fitted()
        if self._seen is None:
            self._seen = self.train_.matrix if self.valid_ is None else self.train_.union(self.valid_).matrix
        return self._seen

    @property
    def scorer(self) -> Scoring:
        """What the model ranks by; it stays as it is when the model is fitted again."""
        self._check_fitted()
        if self._scorer is None:
            self._scorer = self._make_scorer()
        return self._scorer

    def _make_scorer(self) -> Scoring:
        """Return the scorer of what was learned."""
        raise NotImplementedError

    def _scorer_of(self, matrix: sp.csr_matrix) -> Scoring:
        """Return the scorer of users that training has not seen, given by their items: a (B, I) matrix."""
        raise NotImplementedError

    def rank(self, users: np.ndarray, top_k: int, seen: sp.csr_matrix | None = None) -> Ranking:
        """Yield the top_k items of user rows in blocks; see `scoring.scorer.Scoring.rank`."""
        return self.scorer.rank(users, top_k, seen)

    def recommend(
        self, user_ids: Id | Sequence[Id] | np.ndarray, top_k: int = 20, exclude_seen: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the items with the highest scores for one user or several.

        Parameters
        ----------
        user_ids : id, or list of B ids
        top_k : int
            K >= 1.
        exclude_seen : bool
            Leave out what the user has in train and validation.

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
            Unknown user, or top_k below 1.
        """
        self._check_fitted()
        one, ids = _one_or_many(user_ids)
        rows = self.user_ids.rows(ids)
        _check_top_k(top_k)
        return _named(self.item_ids, *_joined(self.rank(rows, top_k, self.seen_ if exclude_seen else None), top_k), one)

    def recommend_for(
        self, item_ids: Sequence[Id] | Sequence[Sequence[Id]] | np.ndarray, top_k: int = 20, exclude_seen: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the items with the highest scores for someone training has not seen, by what they have.

        Nothing is retrained: an embedding model solves the new user's row, items held still; others need the items alone.

        Parameters
        ----------
        item_ids : list of ids, or list of such lists
            What one new user has, or several.
        top_k, exclude_seen
            As in `recommend`; seen is what was given.

        Returns
        -------
        items, scores : (K,) for one user, (B, K) for several
            As in `recommend`.

        Raises
        ------
        UsageError
            Unknown item, no item, top_k below 1, or a model that learns its users' embeddings only by training.
        """
        _check_top_k(top_k)
        one, matrix = self._baskets(item_ids)
        return _named(
            self.item_ids,
            *_joined(self._scorer_of(matrix).rank(np.arange(matrix.shape[0]), top_k, matrix if exclude_seen else None), top_k),
            one,
        )

    def _baskets(self, item_ids: Any) -> tuple[bool, sp.csr_matrix]:
        """Return whether one user is meant, and the B x I matrix of what the users have."""
        self._check_fitted()
        if _is_one(item_ids):
            raise UsageError(f"give the items of a new user as a list, such as [{item_ids!r}]")
        listed = list(item_ids)
        one = not listed or _is_one(listed[0])
        baskets = [self.item_ids.rows(basket) for basket in ([listed] if one else listed)]
        if any(len(basket) == 0 for basket in baskets):
            raise UsageError("a new user needs at least one item; for nobody in particular, recommend what is popular")
        rows = np.repeat(np.arange(len(baskets)), [len(basket) for basket in baskets])
        columns = np.concatenate(baskets)
        matrix = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(baskets), len(self.item_ids)))
        return one, self._as_rows(matrix)

    def _as_rows(self, matrix: sp.csr_matrix) -> sp.csr_matrix:
        """Return the items of new users as training has those of its own: ones, columns ascending, none twice."""
        self._check_fitted()
        if not sp.issparse(matrix):
            raise UsageError(f"fold_in takes a SciPy sparse matrix, users by items, not a {type(matrix).__name__}; recommend_for takes ids")
        if matrix.shape[1] != len(self.item_ids):
            raise UsageError(f"users to fold in need a column for each of the {len(self.item_ids)} items, not {matrix.shape[1]}")
        return Interactions(matrix, IdMap(np.arange(matrix.shape[0]), "user"), self.item_ids).matrix

    def similar_items(self, item_id: Id, top_k: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """Return the top_k items most like `item_id`, itself left out, and how like they are: (K,) each, fewer if there are fewer."""
        raise NotImplementedError

    def similar_users(self, user_id: Id, top_k: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """Return the top_k users most like `user_id`, and how like they are: (K,) each; only of models that learn users' embeddings."""
        raise UsageError(f"{type(self).__name__} learns no embeddings of users, by which they could be compared; UltraGCN does")

    def evaluate(
        self, targets: Interactions, metrics: Sequence[str] = DEFAULT_LABELS, dialect: str | Dialect = "lightgcn"
    ) -> dict[str, float]:
        """Return metrics on held-out interactions; see `ultragcn.evaluate`."""
        self._check_fitted()
        return evaluate(self, targets, metrics, dialect)

    # ----------------------------------------------------------------- keeping

    def save(self, folder: str | Path) -> Path:
        """Write the model into `folder` (made if need be) as one safetensors file; return the folder.

        The file appears whole or not at all, and holds everything that recommending needs: what was learned, ids, seen pairs,
        hyper-parameters, seconds. The times of the train pairs are not among it.
        """
        self._check_fitted()
        arrays: dict[str, np.ndarray] = {}
        for name in self._learned:
            arrays |= _pack(name.rstrip("_"), getattr(self, name))
        arrays |= _pack_ids("user_ids", self.user_ids) | _pack_ids("item_ids", self.item_ids) | _pack_pairs("train", self.train_)
        if self.valid_ is not None:
            arrays |= _pack_pairs("valid", self.valid_)
        if self.item_titles_ is not None:
            arrays |= _pack_texts("item_titles", self.item_titles_)
        state = {"config": self.config.to_dict()} | {name.rstrip("_"): getattr(self, name) for name in self._recorded}
        write_safetensors(Path(folder) / MODEL_FILE, arrays, {"format": self._format, "state": json.dumps(state)})
        return Path(folder)

    @classmethod
    def kind(cls) -> str:
        """Return the name that files have of models of this class."""
        return _kind_in(cls._format)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the model that `save` wrote into `folder`.

        Raises
        ------
        UsageError
            There is no model, it is of another kind, or its file is damaged.
        """
        path = _model_file(folder)
        arrays, metadata = read_safetensors(path)
        kind, ours = _kind_in(metadata.get("format", "")), cls.kind()
        if kind != ours:
            raise UsageError(f"{path} holds a model of another kind ({kind or 'unknown'}, not {ours}); load it with that one's class")
        if metadata["format"] != cls._format:
            raise UsageError(f"{path} is not a model of this version ({cls._format}); train it anew")
        state = json.loads(metadata["state"])
        model = cls(**state["config"])
        user_ids, item_ids = _unpack_ids("user_ids", arrays, "user"), _unpack_ids("item_ids", arrays, "item")
        train = _unpack_pairs("train", arrays, user_ids, item_ids)
        model._set_data(train, _unpack_pairs("valid", arrays, user_ids, item_ids) if "valid.indptr" in arrays else None)
        model.item_titles_ = _unpack_texts("item_titles", arrays) if "item_titles.ends" in arrays else None
        for name in cls._learned:
            setattr(model, name, _unpack(name.rstrip("_"), arrays))
        for name in cls._recorded:
            setattr(model, name, state[name.rstrip("_")])
        return model


class EmbeddingRecommender(Recommender):
    """A model whose score is a product of two embeddings, s_ui = e_u . e_i, to which a graph term may be added.

    Attributes
    ----------
    user_embedding_, item_embedding_ : (U, D) and (I, D) float32
    """

    user_embedding_: np.ndarray
    item_embedding_: np.ndarray

    _learned: ClassVar[tuple[str, ...]] = ("user_embedding_", "item_embedding_")

    def _make_scorer(self) -> Scorer:
        return Scorer(self.user_embedding_, self.item_embedding_, self.train_.matrix)

    def _scorer_of(self, matrix: sp.csr_matrix) -> Scorer:
        scorer: Any = self.scorer
        made: Scorer = scorer.of_users(self.fold_in(matrix), matrix)
        return made

    def fold_in(self, matrix: sp.csr_matrix) -> np.ndarray:
        """Return the embeddings of new users, given by their items: (B, I) csr_matrix to (B, D) float32."""
        raise UsageError(
            f"{type(self).__name__} learns a user's embedding only by training; for someone new, fit again or use UltraGCN or IALS"
        )

    def similar_items(self, item_id: Id, top_k: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """Return the top_k items whose embeddings point most nearly the same way, and the cosines: (K,) each."""
        self._check_fitted()
        return _similar(self.item_embedding_, self.item_ids, item_id, top_k)

    def similar_users(self, user_id: Id, top_k: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """Return the top_k users whose embeddings point most nearly the same way, and the cosines: (K,) each."""
        self._check_fitted()
        return _similar(self.user_embedding_, self.user_ids, user_id, top_k)


def _joined(blocks: Ranking, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return items and scores of all blocks, (B, K) each."""
    listed = list(blocks)
    if not listed:
        return np.zeros((0, top_k), np.int32), np.zeros((0, top_k), np.float32)
    return np.concatenate([items for _, items, _ in listed]), np.concatenate([scores for _, _, scores in listed])


def _is_one(ids: Any) -> bool:
    """Return whether an id is given and not a list; what is neither is refused later, as the id that it is not."""
    return isinstance(ids, str) or not isinstance(ids, Iterable)


def _one_or_many(ids: Id | Sequence[Id] | np.ndarray) -> tuple[bool, list[Id] | np.ndarray]:
    if isinstance(ids, np.ndarray) and ids.ndim:
        return False, ids
    one = _is_one(ids)
    return one, [ids] if one else list(ids)  # type: ignore[arg-type, list-item]


def _check_top_k(top_k: int) -> None:
    if not isinstance(top_k, (int, np.integer)) or top_k < 1:
        raise UsageError(f"top_k must be a whole number of 1 or more, not {top_k!r}")


def _named(ids: IdMap, rows: np.ndarray, scores: np.ndarray, one: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (B, K) as ids, empty places (-1) as -1 or ""; the first line alone, without empty places, for `one`."""
    names = np.where(rows >= 0, ids.ids[rows], "" if ids.are_strings else -1)
    if one:
        listed = rows[0] >= 0
        return names[0][listed], scores[0][listed]
    return names, scores


def best_others(row: int, scores: np.ndarray, ids: IdMap, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of the top_k largest of `scores` (N,) float32 without that of `row` itself, and the scores: (K,) each."""
    _check_top_k(top_k)
    scores[row] = -np.inf
    columns, values = best_columns(scores[None, :], top_k)
    return _named(ids, columns, values, one=True)


def _similar(embedding: np.ndarray, ids: IdMap, one_id: Id, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    row = int(ids.rows([one_id])[0])
    lengths = np.linalg.norm(embedding, axis=1)
    unit = embedding / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]
    return best_others(row, (unit[row] @ unit.T).astype(np.float32), ids, top_k)
