"""The estimator: UltraGCN with the verbs fit, recommend, recommend_for, similar_items, similar_users, evaluate, save and load."""

import inspect
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from ultragcn import rng, solvers
from ultragcn.config import PARAMETERS, Config
from ultragcn.data.ids import Id, IdMap
from ultragcn.data.interactions import Interactions, refuse_overlap
from ultragcn.errors import NotFittedError, UsageError
from ultragcn.evaluation.evaluate import evaluate
from ultragcn.evaluation.metrics import DEFAULT_LABELS, parse_labels
from ultragcn.evaluation.ranking import rank
from ultragcn.objective import Objective
from ultragcn.progress import Progress, Silent
from ultragcn.storage import atomic_path

MODEL_FILE = "model.safetensors"
_FORMAT = "ultragcn-1"
# Before this epoch, validation passes are `evaluate_every` epochs apart; the authors do the same.
_EVERY_EPOCH_FROM = 50

_FOLD_IN_ROWS = 4096

Record = dict[str, Any]
"""One line of a training history: epoch, seconds, loss, and metrics when they were measured."""


class UltraGCN:
    """Graph collaborative filtering without message passing (Mao et al., CIKM 2021).

    Parameters
    ----------
    config : Config, optional
        Hyper-parameters; the defaults when absent.
    **hyper_parameters
        Any hyper-parameter by its name (`ultragcn.config.Config`), taking precedence over `config`.

    Attributes
    ----------
    user_embedding_, item_embedding_ : (U, D) and (I, D) float32
    user_ids, item_ids : IdMap
        Ids of their rows.
    item_titles_ : (I,) array of str, or None
        Titles of the items, "" where there is none; None when the data came without.
    train_, valid_ : Interactions
        What the model has seen; `valid_` is None when there was none.
    history_ : list of dict
        A record per epoch.
    best_epoch_ : int
        The epoch whose embeddings were kept.
    stopped_ : {"patience", "epochs", "interrupted"}
        Why training ended.
    train_seconds_, compile_seconds_ : float
        Seconds from data in memory to embeddings, and seconds to compile kernels or load them from disk, apart.

    Examples
    --------
    >>> from ultragcn import UltraGCN, load_dataset
    >>> data = load_dataset("demo")
    >>> model = UltraGCN(embedding_dim=32, epochs=5).fit(data.train, valid=data.valid)
    >>> items, scores = model.recommend("user-0001", top_k=3)
    """

    def __init__(self, config: Config | None = None, **hyper_parameters: Any):
        self.config = (config or Config()).replace(**hyper_parameters)

    def __repr__(self) -> str:
        changed = {name: value for name, value in self.config.to_dict().items() if value != PARAMETERS[name].default}
        return f"UltraGCN({', '.join(f'{name}={value!r}' for name, value in changed.items())})"

    # ---------------------------------------------------------------- learning

    def fit(
        self,
        train: Interactions,
        valid: Interactions | None = None,
        *,
        select_on: Interactions | None = None,
        progress: Progress | None = None,
        on_epoch: Callable[[Record], None] | None = None,
    ) -> "UltraGCN":
        """Learn embeddings from `train`.

        Parameters
        ----------
        train : Interactions
            Everything the loss, the degrees and the item graph are made from.
        valid : Interactions, optional
            Held-out pairs that choose the epoch to keep and when to stop (`select_by`, `patience`). They count as seen when
            recommending. Without them, training stops when the loss stops falling.
        select_on : Interactions, optional
            Choose on these instead of `valid`, and do not count them as seen. Selecting on test data is what the `authors`
            protocol does; nothing else should.
        progress : Progress, optional
            Shown a step per epoch.
        on_epoch : callable, optional
            Called with every record of the history as it is made.

        Returns
        -------
        UltraGCN
            This model. An interrupt (Ctrl-C) is raised again after the best embeddings so far were put in place.

        Raises
        ------
        DataError
            There are no train interactions, or a held-out pair stands in train.
        NumericalError
            The loss became infinite; the message says what to change.
        """
        # Take PyTorch's kernels and Numba's into memory before the clock starts: neither is part of training.
        compile_seconds = _compile_kernels() + solvers.compile_kernels(self.config)
        started = time.perf_counter()
        labels = [str(label) for label in parse_labels(list(dict.fromkeys([self.config.select_by, *DEFAULT_LABELS])))]
        self._set_data(train, valid)
        for name, held_out in (("valid", valid), ("test", select_on)):
            if held_out is not None:
                refuse_overlap(train, held_out, name)
        self.compile_seconds_ = compile_seconds
        self.seed_ = rng.fresh_seed() if self.config.seed == -1 else self.config.seed
        self.history_: list[Record] = []
        self.best_epoch_ = 0
        self.stopped_ = "epochs"
        best = -np.inf
        kept: tuple[np.ndarray, np.ndarray] | None = None
        without_better = 0
        targets = select_on if select_on is not None else valid
        show = progress or Silent()
        show.start("training", self.config.max_epochs, "epoch" if self.config.solver == "sgd" else "sweep")
        try:
            for step in solvers.solve(Objective.of(train, self.config), self.seed_, self.config.device):
                self.user_embedding_, self.item_embedding_ = step.user_embedding, step.item_embedding
                record: Record = {"epoch": step.epoch, "seconds": time.perf_counter() - started, "loss": step.loss}
                value = -step.loss
                measured = targets is None or self._evaluation_is_due(step.epoch)
                if measured and targets is not None:
                    result = evaluate(self, targets, labels)
                    record |= {label: result[label] for label in labels}
                    value = record[labels[0]]
                self.history_.append(record)
                # Without held-out pairs, creeping on is no better.
                least = self.config.tolerance * abs(best) if targets is None and self.config.solver == "exact" and best > -np.inf else 0.0
                if measured and value > best + least:
                    best, self.best_epoch_, without_better = value, step.epoch, 0
                    kept = step.user_embedding.copy(), step.item_embedding.copy()
                elif measured:
                    without_better += 1
                if on_epoch is not None:
                    on_epoch(record)
                show.advance(1, {name: figure for name, figure in record.items() if name not in ("epoch", "seconds")})
                if without_better >= self.config.max_patience:
                    self.stopped_ = "patience"
                    break
                if step.epoch >= self.config.max_epochs:
                    break
        except KeyboardInterrupt:
            self.stopped_ = "interrupted"
            raise
        finally:
            show.finish()
            if kept is not None:
                self.user_embedding_, self.item_embedding_ = kept
            self.train_seconds_ = time.perf_counter() - started
        return self

    def _evaluation_is_due(self, epoch: int) -> bool:
        """Return whether validation metrics are measured after `epoch`; always after the last."""
        often = self.config.solver != "sgd" or epoch >= _EVERY_EPOCH_FROM or epoch % self.config.evaluate_every == 0
        return often or epoch == self.config.max_epochs

    def _set_data(self, train: Interactions, valid: Interactions | None) -> None:
        if valid is not None and (valid.user_ids != train.user_ids or valid.item_ids != train.item_ids):
            raise UsageError("train and valid must have the same ids; make both from one data set, as load_dataset does")
        self.train_, self.valid_ = train, valid
        self._frozen_items: Any = None  # made when the first new user comes
        self.user_ids, self.item_ids = train.user_ids, train.item_ids

    def _check_fitted(self) -> None:
        if not hasattr(self, "user_embedding_"):
            raise NotFittedError("this model is not fitted yet; call fit(train) or UltraGCN.load(folder) first")

    @property
    def item_titles_(self) -> np.ndarray | None:
        """Titles of the items, (I,), "" where there is none; None when the data came without."""
        self._check_fitted()
        return self.item_ids.titles

    # ------------------------------------------------------------ recommending

    @property
    def seen_(self) -> sp.csr_matrix:
        """Train and validation pairs, U x I: what `exclude_seen` leaves out."""
        self._check_fitted()
        return self.train_.matrix if self.valid_ is None else self.train_.union(self.valid_).matrix

    def rank(self, users: np.ndarray, top_k: int, seen: sp.csr_matrix | None = None) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield the top_k items of user rows in blocks; see `evaluation.ranking.rank`."""
        self._check_fitted()
        return rank(self.user_embedding_, self.item_embedding_, users, top_k, seen)

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
            e_u . e_i; only their order means something.

        Raises
        ------
        UsageError
            Unknown user, or top_k below 1.
        """
        self._check_fitted()
        one, ids = _one_or_many(user_ids)
        rows = self.user_ids.rows(ids)
        _check_top_k(top_k)
        blocks = list(self.rank(rows, top_k, self.seen_ if exclude_seen else None))
        items = np.concatenate([block[1] for block in blocks]) if blocks else np.zeros((0, top_k), np.int32)
        scores = np.concatenate([block[2] for block in blocks]) if blocks else np.zeros((0, top_k), np.float32)
        return _named(self.item_ids, items, scores, one)

    def recommend_for(
        self, item_ids: Sequence[Id] | Sequence[Sequence[Id]] | np.ndarray, top_k: int = 20, exclude_seen: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the items with the highest scores for someone training has not seen, by what they have.

        Their embedding is the exact minimiser of the loss with all items held still (`fold_in`): nothing is retrained.

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
            Unknown item, no item, or top_k below 1.
        """
        _check_top_k(top_k)
        one, matrix = self._baskets(item_ids)
        embedding = self.fold_in(matrix)
        blocks = list(rank(embedding, self.item_embedding_, np.arange(len(embedding)), top_k, matrix if exclude_seen else None))
        return _named(self.item_ids, np.concatenate([b[1] for b in blocks]), np.concatenate([b[2] for b in blocks]), one)

    def fold_in(self, matrix: sp.csr_matrix) -> np.ndarray:
        """Return the embeddings of new users, given by their items: (B, I) csr_matrix to (B, D) float32.

        Each row is solved to convergence, items held still; folding in a train user gives what training converges to.
        """
        from ultragcn.solvers import exact

        self._check_fitted()
        if self._frozen_items is None or self._frozen_items.embedding is not self.item_embedding_:
            self._frozen_items = exact.FrozenItems(Objective.of(self.train_, self.config), self.item_embedding_)
        # In batches, because folding in remembers several steps of every row.
        starts = range(0, matrix.shape[0], _FOLD_IN_ROWS)
        return np.concatenate([exact.fold_in(self._frozen_items, matrix[start : start + _FOLD_IN_ROWS]) for start in starts])

    def _baskets(self, item_ids: Any) -> tuple[bool, sp.csr_matrix]:
        """Return whether one user is meant, and the B x I matrix of what the users have."""
        self._check_fitted()
        if isinstance(item_ids, (str, int, np.integer)):
            raise UsageError(f"give the items of a new user as a list, such as [{item_ids!r}]")
        listed = list(item_ids)
        one = not listed or isinstance(listed[0], (str, int, np.integer))
        baskets = [self.item_ids.rows(basket) for basket in ([listed] if one else listed)]
        if any(len(basket) == 0 for basket in baskets):
            raise UsageError("a new user needs at least one item; for nobody in particular, recommend what is popular")
        rows = np.repeat(np.arange(len(baskets)), [len(basket) for basket in baskets])
        columns = np.concatenate(baskets)
        matrix = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(baskets), len(self.item_ids)))
        return one, Interactions(matrix, IdMap(np.arange(len(baskets)), "user"), self.item_ids).matrix

    def similar_items(self, item_id: Id, top_k: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """Return the top_k items whose embeddings point most nearly the same way, and the cosines: (K,) each."""
        self._check_fitted()
        return _similar(self.item_embedding_, self.item_ids, item_id, top_k)

    def similar_users(self, user_id: Id, top_k: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """Return the top_k users whose embeddings point most nearly the same way, and the cosines: (K,) each."""
        self._check_fitted()
        return _similar(self.user_embedding_, self.user_ids, user_id, top_k)

    def evaluate(self, targets: Interactions, metrics: Sequence[str] = DEFAULT_LABELS, dialect: str = "lightgcn") -> dict[str, float]:
        """Return metrics on held-out interactions; see `ultragcn.evaluate`."""
        self._check_fitted()
        return evaluate(self, targets, metrics, dialect)

    # ----------------------------------------------------------------- keeping

    def save(self, folder: str | Path) -> Path:
        """Write the model into `folder` (made if need be) as one safetensors file; return the folder.

        The file appears whole or not at all, and holds everything: embeddings, ids, seen pairs, hyper-parameters, history.
        """
        from safetensors.numpy import save_file

        self._check_fitted()
        arrays = {
            "user_embedding": np.ascontiguousarray(self.user_embedding_),
            "item_embedding": np.ascontiguousarray(self.item_embedding_),
            **_pack_ids("user_ids", self.user_ids),
            **_pack_ids("item_ids", self.item_ids),
            **_pack_pairs("train", self.train_),
        }
        if self.valid_ is not None:
            arrays |= _pack_pairs("valid", self.valid_)
        if self.item_ids.titles is not None:
            arrays |= _pack_texts("item_titles", self.item_ids.titles)
        state = {
            "config": self.config.to_dict(), "seed": self.seed_, "history": self.history_, "best_epoch": self.best_epoch_,
            "stopped": self.stopped_, "train_seconds": self.train_seconds_, "compile_seconds": self.compile_seconds_,
        }  # fmt: skip
        with atomic_path(Path(folder) / MODEL_FILE) as temporary:
            save_file(arrays, temporary, metadata={"format": _FORMAT, "state": json.dumps(state)})
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "UltraGCN":
        """Return the model that `save` wrote into `folder`.

        Raises
        ------
        UsageError
            There is no model, or its file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(folder) / MODEL_FILE
        if not path.is_file():
            raise UsageError(f"no model in {folder}: {MODEL_FILE} is missing; give a folder that save or ultragcn train wrote")
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != _FORMAT:
                    raise UsageError(f"{path} is not a model of this version ({_FORMAT}); train it anew")
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (SafetensorError, OSError) as error:
            raise UsageError(f"cannot read {path}: {error}; the file is damaged or not readable") from error
        state = json.loads(metadata["state"])
        model = cls(Config(**state["config"]))
        user_ids, item_ids = _unpack_ids("user_ids", arrays, "user"), _unpack_ids("item_ids", arrays, "item")
        item_ids.titles = _unpack_texts("item_titles", arrays) if "item_titles.ends" in arrays else None
        train = _unpack_pairs("train", arrays, user_ids, item_ids)
        model._set_data(train, _unpack_pairs("valid", arrays, user_ids, item_ids) if "valid.indptr" in arrays else None)
        model.user_embedding_, model.item_embedding_ = arrays["user_embedding"], arrays["item_embedding"]
        model.seed_, model.history_, model.best_epoch_ = state["seed"], state["history"], state["best_epoch"]
        model.stopped_, model.train_seconds_ = state["stopped"], state["train_seconds"]
        model.compile_seconds_ = state["compile_seconds"]
        return model


# The one declaration of every hyper-parameter is `Config`; help(UltraGCN) shows it as the signature.
UltraGCN.__init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY),
        inspect.Parameter("config", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=Config | None),
        *(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=declared.default, annotation=declared.type)
            for name, declared in PARAMETERS.items()
        ),
    ]
)


def _compile_kernels() -> float:
    from ultragcn.kernels import numba_cpu

    return numba_cpu.compile_kernels()


def _one_or_many(ids: Id | Sequence[Id] | np.ndarray) -> tuple[bool, list[Id] | np.ndarray]:
    one = isinstance(ids, (str, int, np.integer))
    return one, [ids] if one else (ids if isinstance(ids, np.ndarray) else list(ids))  # type: ignore[arg-type, list-item]


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


def _similar(embedding: np.ndarray, ids: IdMap, one_id: Id, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    from ultragcn.kernels import numba_cpu

    _check_top_k(top_k)
    row = int(ids.rows([one_id])[0])
    lengths = np.linalg.norm(embedding, axis=1)
    unit = embedding / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]
    cosines = (unit[row] @ unit.T)[None, :].astype(np.float32)
    cosines[0, row] = -np.inf
    columns, values = numba_cpu.top_k(cosines, top_k)
    return _named(ids, columns, values, one=True)


def _pack_ids(name: str, ids: IdMap) -> dict[str, np.ndarray]:
    return _pack_texts(name, ids.ids) if ids.are_strings else {name: ids.ids}


def _unpack_ids(name: str, arrays: Mapping[str, np.ndarray], what: str) -> IdMap:
    return IdMap(arrays[name] if name in arrays else _unpack_texts(name, arrays), what)


def _pack_texts(name: str, texts: np.ndarray) -> dict[str, np.ndarray]:
    encoded = [str(text).encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    return {f"{name}.utf8": np.frombuffer(b"".join(encoded), dtype=np.uint8), f"{name}.ends": ends}


def _unpack_texts(name: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    text, ends = arrays[f"{name}.utf8"].tobytes(), arrays[f"{name}.ends"].tolist()
    pieces = [text[start:end].decode("utf-8", "surrogatepass") for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return np.array(pieces, dtype=object)


def _pack_pairs(name: str, pairs: Interactions) -> dict[str, np.ndarray]:
    return {f"{name}.indptr": pairs.matrix.indptr, f"{name}.indices": pairs.matrix.indices}


def _unpack_pairs(name: str, arrays: Mapping[str, np.ndarray], user_ids: IdMap, item_ids: IdMap) -> Interactions:
    indices = arrays[f"{name}.indices"]
    ones = np.ones(len(indices), dtype=np.float32)
    shape = (len(user_ids), len(item_ids))
    return Interactions(sp.csr_matrix((ones, indices, arrays[f"{name}.indptr"]), shape=shape), user_ids, item_ids)
