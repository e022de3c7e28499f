"""What every model can do: fit, refit, recommend, score, similar items and users, evaluate, save and load.

A model says how it learns (`fit`), what it ranks by (`_make_scorer`) and which arrays it has learned (`_learned`); the rest is here, once
for UltraGCN and for every baseline.
"""

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np
import scipy.sparse as sp

from ultragcn import kernels
from ultragcn.config import HyperParameters
from ultragcn.config.foreign_names import unknown_parameter
from ultragcn.data.datasets import Dataset
from ultragcn.data.had import with_had
from ultragcn.data.ids import Id, IdMap
from ultragcn.data.interactions import Interactions, ItemTotals
from ultragcn.data.items_table import ItemsTable
from ultragcn.data.reading import READING
from ultragcn.errors import NotFittedError, NumericalError, UsageError, counted
from ultragcn.evaluation.dialects import Dialect
from ultragcn.evaluation.evaluate import evaluate
from ultragcn.evaluation.metrics import DEFAULT_LABELS
from ultragcn.machine import limited_threads, thread_limit
from ultragcn.models.explanations import ExplainingVerbs
from ultragcn.models.files import (
    ITEMS_TABLE,
    MODEL_FILE,
    READING_OF_LOG,
    WITHOUT_HISTORY,
    Contents,
    DamagedError,
    Reader,
    _kind_in,
    _kind_of_ids,
    _model_file,
    _pack,
    _pack_ids,
    _pack_pairs,
    _pack_table,
    _pack_texts,
    is_finite,
    reader_of,
)
from ultragcn.models.given import Given, given
from ultragcn.models.ranking_verbs import RankingVerbs
from ultragcn.models.verbs import verb
from ultragcn.progress import Progress
from ultragcn.scoring.scorer import Scorer, Scoring, largest_size
from ultragcn.scoring.similar import Directions, Together
from ultragcn.storage import read_form, write_arrays

if TYPE_CHECKING:
    from ultragcn.models.update import Course, Growth, Plan, Updated


class Recommender(RankingVerbs, ExplainingVerbs):
    """The verbs that all models share.

    Attributes
    ----------
    config : HyperParameters
    num_threads : int or None
        The most threads that the verbs use; None means as many as there are cores.
    train_, valid_ : Interactions
        The pairs that the model has seen. `valid_` is None if no validation pairs were given.
    user_ids, item_ids : IdMap
        Ids of the rows and of the columns.
    train_seconds_ : float
        The seconds from data in memory to a model that can rank.
    """

    config: HyperParameters
    num_threads: int | None = None
    train_: Interactions
    valid_: Interactions | None
    user_ids: IdMap
    item_ids: IdMap
    train_seconds_: float
    had_: Interactions | None = None
    """What users had besides: pairs rated below `min_rating`. They are not learned, and lists leave them out as they do what was learned.
    None where nothing is known of such pairs, as in a model whose figures are measured."""
    reading_: Mapping[str, Any] = MappingProxyType({})
    """How the log was read that the model was fitted to, by the names of data options: so `refit` and `update` read files and frames. Empty
    where the model was fitted to interactions."""
    item_titles_: np.ndarray | None = None
    """Titles of the items, (I,) array of str, "" where there is none; None when the data came without. May be set after `fit`."""
    items_table_: ItemsTable | None = None
    """What is known of the items besides who has them; None when there is no such table. See `set_items_table`."""
    _table: tuple[tuple[Any, ...], ItemsTable] | None = None
    """The items table with ids and titles, made for the first rule that asks for it, and what it was made of."""
    _seen: sp.csr_matrix | None = None
    """`seen_`, made for the first list."""
    _scorer: Scoring | None = None
    """`scorer`, made for the first list."""

    _together: Together | None = None
    """Who has what, from both sides, made for the first similar items."""

    _format: ClassVar[str]
    """Name and version of the model's file."""
    _readers: ClassVar[Mapping[int, Reader]]
    """What reads the model's file, by its version: of every version from the first that was promised to stay readable to that of
    `_format`. tests/golden/models has a model of each."""
    _more: ClassVar[tuple[str, ...]] = (WITHOUT_HISTORY,)
    """What the file may have besides (`files.read_model`)."""
    _learned: ClassVar[dict[str, str]]
    """Attributes that hold what was learned, arrays or csr_matrix of float32, and their shapes in letters: U users, I items, D dimensions.

    Their presence means fitted, and `save` writes them.
    """
    _recorded: ClassVar[tuple[str, ...]] = ("train_seconds_",)
    """Attributes that `save` writes as JSON."""
    _caches: ClassVar[tuple[str, ...]] = ("_seen", "_scorer", "_together", "_table")
    """Attributes that are made again when they are needed; None in the class."""
    _made_of_learned: ClassVar[tuple[str, ...]] = ("_scorer", "_together")
    """Those of them that are made anew when an attribute changes that holds learned state."""

    def __repr__(self) -> str:
        if not self.is_fitted:
            return self._made_with()
        return f"{self._made_with()}, {'; '.join(f'{name} {said}' for name, said in self._about().items())}"

    def summary(self) -> str:
        """Return what the model is, what it was fitted on and what fitting it chose, a line each.

        Returns
        -------
        str
            To be printed.

        Examples
        --------
        >>> from ultragcn import UltraGCN, load_dataset
        >>> model = UltraGCN(embedding_dim=8, epochs=3, seed=0).fit(load_dataset("demo"))
        >>> print(model.summary())  # doctest: +ELLIPSIS
        model        UltraGCN(embedding_dim=8, epochs=3)
        fitted on    2,000 users x 600 items, 48,265 pairs
        embeddings   8 dimensions
        kept         sweep ... of 3
        chosen       l2=...
        seconds      ...
        """
        lines = {"model": self._made_with()}
        if self.is_fitted:
            lines |= self._about() | {"seconds": f"{self.train_seconds_:.3g}"}
        else:
            lines["fitted on"] = "nothing yet; call fit(data)"
        return "\n".join(f"{name:<12} {said}" for name, said in lines.items())

    def _about(self) -> dict[str, str]:
        """Return what a fitted model says of itself, by the name of the line."""
        if self.is_without_history:
            return {"fitted on": f"{counted(self.train_.num_items, 'item', ',')}, users left out"}
        users, items = counted(self.train_.num_users, "user", ","), counted(self.train_.num_items, "item", ",")
        return {"fitted on": f"{users} x {items}, {counted(len(self.train_), 'pair', ',')}"}

    def _made_with(self) -> str:
        """Return the call that makes a model with these hyper-parameters: those that are not defaults."""
        threads = {} if self.num_threads is None else {"num_threads": self.num_threads}
        shown = self.config.changed() | threads
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle or a copy of the model holds: all but what is made again when it is needed."""
        return {name: value for name, value in vars(self).items() if name not in self._caches}

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name == "had_":
            vars(self)["_seen"] = None
        elif name.endswith("_") and name not in ("item_titles_", "items_table_", "reading_"):
            vars(self).update(dict.fromkeys(self._made_of_learned))  # learned state has changed: what ranks is made anew

    def _set_data(self, train: Interactions, valid: Interactions | None) -> None:
        for name in self._learned:  # of other data, if it was fitted before: nothing that may be asked until this fit has learned its own
            vars(self).pop(name, None)
        self.train_, self.valid_, self._seen = train, valid, None
        self.item_titles_ = self.items_table_ = self.had_ = None
        self.reading_ = {}
        self.user_ids, self.item_ids = train.user_ids, train.item_ids

    def _take_beside(self, taken: Given) -> None:
        """Take what is known besides the pairs, of what `fit` was given."""
        self.item_titles_, self.items_table_ = taken.item_titles, taken.items_table
        self.had_, self.reading_ = taken.had, dict(taken.reading)

    @property
    def is_fitted(self) -> bool:
        """Whether the model has been fitted."""
        return all(hasattr(self, name) for name in self._learned)

    def _check_fitted(self) -> None:
        if not self.is_fitted:
            raise NotFittedError(f"this model is not fitted yet; call fit(data) or {type(self).__name__}.load(folder) first")

    def _check_learned(self) -> None:
        """Raise `NumericalError` where what was learned left the range of floating-point numbers."""
        for name in self._learned:
            value = getattr(self, name)
            if not is_finite(value if isinstance(value, np.ndarray) else value.data):
                vars(self).pop(name)
                raise NumericalError(
                    f"{name} of {self._made_with()} is not finite: a hyper-parameter leads out of the range of float32; take one nearer to "
                    f"its default (such as {', '.join(self.config.changed()) or 'l2'})"
                )

    def check_runnable(self) -> None:
        """Raise the error that `fit` would raise because a package or a device is missing."""

    @contextmanager
    def _limited(self, name: str = "") -> Iterator[None]:
        """Keep the work of the verb `name` to `num_threads`, and to the limit of the work that it is part of."""
        given = [number for number in (self.num_threads, thread_limit()) if number is not None]
        if not given:
            yield
            return
        number = min(given)
        with ExitStack() as limits:
            limits.enter_context(limited_threads(number))
            limits.enter_context(kernels.blas_threads(number))
            if name == "fit" and self._learns_with_torch:
                self.check_runnable()
                from ultragcn.kernels import torch_ops

                limits.enter_context(torch_ops.cpu_threads(number))
            yield

    @property
    def _learns_with_torch(self) -> bool:
        """Whether `fit` computes with PyTorch."""
        return False

    # ----------------------------------------------------------- hyper-parameters

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return all arguments of the constructor by name. With `set_params`, this is what `clone` of scikit-learn needs.

        Parameters
        ----------
        deep : bool
            It has no effect, because no hyper-parameter is a model.

        Examples
        --------
        >>> from ultragcn import EASE
        >>> EASE(l2=20.0).get_params()
        {'l2': 20.0, 'num_threads': None}
        """
        return self.config.to_dict() | {"num_threads": self.num_threads}

    def set_params(self, **hyper_parameters: Any) -> Self:
        """Change hyper-parameters by name; return the model.

        A model whose hyper-parameters change has to be fitted again, unless only `num_threads` changes.

        Raises
        ------
        UsageError
            A name is unknown, or a value is out of range. Nothing has changed then.

        Examples
        --------
        >>> from ultragcn import EASE
        >>> EASE().set_params(l2=20.0)
        EASE(l2=20.0)
        """
        changed = type(self)(**(self.get_params() | hyper_parameters))
        self.num_threads = changed.num_threads
        if changed.config != self.config:
            for name in self._learned:
                vars(self).pop(name, None)
            self.config = changed.config
        return self

    def untrained(self) -> Self:
        """Return a model that is not fitted, with the hyper-parameters of this model and the values that its fit chose, such as its epochs.

        Examples
        --------
        >>> from ultragcn import UltraGCN, load_dataset
        >>> chosen = UltraGCN(embedding_dim=8, epochs=3).fit(load_dataset("demo"))
        >>> chosen.untrained().config.epochs == chosen.best_epoch_
        True
        """
        self._check_fitted()
        return type(self)(**(self.get_params() | self._chosen()))

    def _chosen(self) -> dict[str, Any]:
        """Return the hyper-parameters that fitting chose or drew, by name."""
        return {"seed": self.seed_} if hasattr(self, "seed_") else {}

    # ------------------------------------------------------------------- learning

    def fit(self, data: Any, valid: Any = None, *, progress: Progress | bool | None = None, **options: Any) -> Self:
        """Learn from `data`; see `fit` of the model."""
        raise NotImplementedError

    def _given(self, data: Any, valid: Any, select_on: Any, reading: Mapping[str, Any]) -> Given:
        """Return the interactions in what `fit` was given."""
        for name in reading:
            if name not in READING:
                own = [one.name for one in inspect.signature(self.fit).parameters.values() if one.kind is not one.VAR_KEYWORD]
                raise unknown_parameter("argument of fit", name, [*own, *READING])
        return given(data, valid, select_on, **reading)

    def refit(self, data: Any = None, *, progress: Progress | bool | None = None, **options: Any) -> Self:
        """Return a new model that is trained on train and validation together, with the values that this model chose.

        Parameters
        ----------
        data : optional
            Other data to train on: anything that `fit` takes. With a data set that is a log of your own, the new model learns all of it,
            test too. This is the model to use. With any other data set it learns train and validation, so that test can still be read.
            A file or a frame is read as the log was that this model was fitted to: with its `min_rating`, its columns, its `where` and so
            on (`reading_`). Interactions are taken as they are.
        progress : bool or Progress, optional
            As in `fit`.
        **options
            Other arguments of `fit`. Those that say how a file or a frame is read take the place of what this model knows; None stands for
            the default.

        Returns
        -------
        Recommender
            A model of the same class. This model stays as it is.

        Raises
        ------
        NotFittedError
            This model has not been fitted yet.
        UsageError
            The model ranks by the times of the interactions, and it was loaded from a file, which does not hold them. Give `data`.

        Examples
        --------
        >>> from ultragcn import UltraGCN, load_dataset
        >>> data = load_dataset("demo")
        >>> model = UltraGCN(embedding_dim=8, epochs=3).fit(data).refit()
        >>> len(model.train_) == len(data.train) + len(data.valid)
        True
        """
        new = self.untrained()
        for name in ("valid", "select_on"):
            if options.get(name) is not None:
                raise UsageError(f"refit has nothing left to choose, so it takes no {name}; add those pairs to data, or call fit")
        reading = {name: options.pop(name) for name in READING if name in options}
        if data is None and self.is_without_history:
            raise UsageError("this model was saved without histories, so it holds nothing to train on; give refit the data")
        if data is None:
            train = self.train_ if self.valid_ is None else self.train_.union(self.valid_)
            beside = Given(
                train, None, None, self.item_titles_, items_table=self.items_table_, had=self.had_, reading=self.reading_
            )  # fmt: skip
            if new._needs_times and train.times is None:
                raise UsageError("this model needs the times of the interactions, which its file does not hold; give refit the data")
        else:
            taken = given(data, None, None, **self._reading_for(data, reading, new._needs_times))
            train, had = taken.everything, taken.had if taken.log is None else taken.had_beside_log
            beside = taken._replace(had=had, reading=self.reading_ if isinstance(data, Interactions) else taken.reading)
        new.fit(train, progress=progress, **options)
        new._take_beside(beside)
        return new

    def _reading_for(self, source: Any, given: Mapping[str, Any], needs_times: bool) -> dict[str, Any]:
        """Return how a source is read: as the log was that the model was fitted to, except for what is given."""
        if isinstance(source, (Dataset, Interactions)):
            return dict(given)
        left_out = [] if needs_times else ["split"]  # which says only that times are looked for
        if sp.issparse(source):  # it has ratings, and no columns
            left_out = [name for name in self.reading_ if name not in ("min_rating", "k_core")]
        return {name: value for name, value in self.reading_.items() if name not in left_out} | dict(given)

    @verb
    def update(
        self, interactions: Any, forget: Iterable[Id] = (), *, history: Interactions | None = None, sweeps: int | None = None,
        item_graph: str = "new", measure: str = "estimate", progress: Progress | bool | None = None, **reading: Any,
    ) -> "Updated":  # fmt: skip
        """Return a new model that also knows `interactions`, and a report of what changed; this model stays as it is.

        New users and new items are added. Users to `forget` are dropped with all their pairs. Degrees, weights and the item graph are those
        of the new log. The embeddings of UltraGCN go on from their present values. A model that is cheap to train is trained again on the
        new log.

        Parameters
        ----------
        interactions : Interactions, frame, str, Path or sparse matrix
            New pairs, of old and new users and items. Of a pair that the model has seen, only the time changes.
            A file or a frame is read as the log was that this model was fitted to: with its `min_rating`, its columns, its `where` and so
            on (`reading_`), but for `k_core`. Interactions are taken as they are. What is rated too low is not learned, and not listed.
        forget : list of ids
            Users of whom nothing is kept. What the embeddings of others have learned from these users fades with more sweeps, and `refit`
            removes it.
        history : Interactions, optional
            The pairs that the model has seen, with their times. Only a model that ranks by a trend and was loaded needs them, because its
            file does not hold times.
        sweeps : int, optional
            The number of passes over all rows, after the new rows are solved; by default 1.
        item_graph : {"new", "old"}
            `new` makes the item graph again, which is most of the work. `old` keeps the item graph of this model, and only new items get
            weights, which are simpler. It suits updates with few pairs, such as the pairs of a day, between updates with a new graph.
        measure : {"estimate", "retrain", "none"}
            How the report measures what a new training would gain. A second update holds out a tenth of the new pairs for this. With
            `estimate`, the second update goes on with its sweeps until they no longer help. With `retrain`, a new model is also trained.
            The model that is returned knows all pairs, and it is the same in each case.
        progress : bool or Progress, optional
            As in `fit`.
        **reading
            How a file, a frame or a matrix is read, as in `read_interactions`: `user_column`, `time_column` and the like. What is given
            takes the place of what this model knows; None stands for the default.

        Returns
        -------
        Updated
            `model` and `report`. The report is a dict, whose figures docs/updating.md explains. Where all pairs are known
            and nobody is forgotten, nothing is trained: `model` is this model, `report["how"]` is "nothing new", and
            `report["advice"]` says so.

        Raises
        ------
        NotFittedError
            This model has not been fitted yet.
        UsageError
            The model learns by samples or with PyTorch, so only `refit` teaches it more; the histories of its users or the times that it
            needs are missing; or a user to forget is unknown.
        DataError
            The update changes nothing, or no pair is left.

        Examples
        --------
        >>> from ultragcn import UltraGCN, load_dataset
        >>> data = load_dataset("demo")
        >>> model = UltraGCN(embedding_dim=8, epochs=3).fit(data.train)
        >>> new, report = model.update(data.valid)
        >>> len(new.train_) - len(model.train_) == report["pairs"]["new"] == len(data.valid)
        True
        """
        from ultragcn.models.update import updated

        self._check_fitted()
        return updated(
            self, interactions, forget, history=history, sweeps=sweeps, item_graph=item_graph, measure=measure, progress=progress,
            reading=reading,
        )  # fmt: skip

    @property
    def _update_refusal(self) -> str | None:
        """Why `update` cannot teach this model more; None where it can."""
        if not self._update_by_refit_alone:
            return None
        return (
            f"{type(self).__name__} learns by samples, so update cannot go on from what it learned; refit it on old and new pairs together"
        )

    @property
    def _update_by_refit_alone(self) -> bool:
        """Whether more pairs can be learned only by training at length."""
        return self._learns_with_torch

    @property
    def _update_needs_times(self) -> bool:
        """Whether `update` needs the times of all interactions."""
        return self.untrained()._needs_times

    def _grown(self, growth: "Growth", plan: "Plan", show: Progress) -> tuple[Self, "Course"]:
        """Return the model of a log that has grown, and how it followed."""
        from ultragcn.models.update import Course

        return self.untrained().fit(growth.log), Course("anew", [])

    @property
    def _needs_times(self) -> bool:
        """Whether the model can be fitted only to interactions whose times are known."""
        return False

    # ------------------------------------------------------------- what ranks

    @property
    def seen_(self) -> sp.csr_matrix:
        """Train and validation pairs, and what users had besides (`had_`), U x I: what `exclude_seen` leaves out."""
        self._check_fitted()
        if self._seen is None:
            self._seen = with_had(self.train_, self.valid_, self.had_).matrix
        return self._seen

    @property
    def scorer(self) -> Scoring:
        """The object that computes the scores. It does not change when the model is fitted again."""
        self._check_fitted()
        if self._scorer is None:
            self._scorer = self._make_scorer()
        return self._scorer

    def _make_scorer(self) -> Scoring:
        """Return the scorer of what was learned."""
        raise NotImplementedError

    @property
    def _popularity_of_items(self) -> np.ndarray:
        """How many users have each item: (I,) float32, the scores for users of whom the model has learned nothing."""
        return self.train_.item_degrees.astype(np.float32)

    def _items_together(self, rows: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        if self.is_without_history:
            other = "; give by embeddings" if hasattr(self.scorer, "item_embedding") and self.similar_by is not None else ""
            raise UsageError(f"this model was saved without histories, so it does not know which items the same users have{other}")
        if self._together is None:
            self._together = Together(self.train_.matrix)
        return self._together.nearest(rows, top_k)

    def _scorer_of(self, matrix: sp.csr_matrix) -> Scoring:
        """Return the scorer of users that training has not seen, given by their items: a (B, I) matrix."""
        raise NotImplementedError

    def _as_rows(self, matrix: sp.csr_matrix) -> sp.csr_matrix:
        """Return the items of new users as training has those of its own: ones, columns ascending, none twice."""
        self._check_fitted()
        if not sp.issparse(matrix):
            raise UsageError(f"fold_in takes a SciPy sparse matrix, users by items, not a {type(matrix).__name__}; recommend_for takes ids")
        if matrix.shape[1] != len(self.item_ids):
            raise UsageError(f"users to fold in need a column for each of the {len(self.item_ids)} items, not {matrix.shape[1]}")
        return Interactions(matrix, IdMap(np.arange(matrix.shape[0]), "user"), self.item_ids).matrix

    @verb
    def evaluate(
        self, targets: Interactions, metrics: Sequence[str] = DEFAULT_LABELS, dialect: str | Dialect = "lightgcn"
    ) -> dict[str, float]:
        """Return metrics on held-out interactions; see `ultragcn.evaluate`.

        Examples
        --------
        >>> from ultragcn import EASE, load_dataset
        >>> data = load_dataset("demo")
        >>> sorted(EASE().fit(data).evaluate(data.test, ["recall@20"]))
        ['num_users', 'recall@20']
        """
        self._check_fitted()
        if self.is_without_history:
            raise UsageError("this model was saved without histories and knows no users; evaluate the model that has them")
        return evaluate(self, targets, metrics, dialect)

    # ----------------------------------------------------------------- keeping

    def save(self, folder: str | Path, *, history: bool = True) -> Path:
        """Write the model into `folder` as one safetensors file, and return the folder. The folder is made if it does not exist.

        The file appears whole or not at all, and it has a checksum. It holds everything that recommending needs: learned arrays, ids, seen
        pairs, hyper-parameters and seconds. It does not hold the times of the train pairs. docs/model-format.md describes the file.

        Parameters
        ----------
        folder : str or Path
        history : bool
            False leaves out all that is known of single users: their pairs, what they had besides, their ids, and their embeddings, because
            an embedding reveals the items of its user. Such a model recommends to new users by their items (`recommend_for`) as this model
            does. It knows no users, so it cannot be updated, and it cannot be refitted without data. It also cannot find items that the
            same users have.

        Raises
        ------
        NotFittedError
            The model has not been fitted yet.
        UsageError
            The folder cannot be written to; or `history` is False and the model learns its users only by training (BPR, LightGCN).

        Examples
        --------
        >>> import tempfile
        >>> from ultragcn import EASE, load_dataset, load_model
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     loaded = load_model(EASE(l2=100.0).fit(load_dataset("demo")).save(folder))
        >>> loaded
        EASE(l2=100.0), fitted on 2,000 users x 600 items, 48,265 pairs
        """
        self._check_fitted()
        has_users = history and not self.is_without_history
        if not has_users and not self._takes_new_users:
            raise UsageError(
                f"{type(self).__name__} learns its users only by training, so without them it could recommend to nobody; save it with them"
            )
        arrays: dict[str, np.ndarray] = {}
        for name, letters in self._learned.items():
            if has_users or "U" not in letters:
                arrays |= _pack(name.rstrip("_"), getattr(self, name))
        arrays |= _pack_ids("item_ids", self.item_ids)
        if has_users:
            arrays |= _pack_ids("user_ids", self.user_ids) | _pack_pairs("train", self.train_)
        else:
            arrays["item_degrees"] = self.train_.item_degrees.astype(np.int64)
        if has_users and self.valid_ is not None:
            arrays |= _pack_pairs("valid", self.valid_)
        if has_users and self.had_ is not None:
            arrays |= _pack_pairs("had", self.had_)
        if self.item_titles_ is not None:
            arrays |= _pack_texts("item_titles", self.item_titles_)
        state = {"config": self.config.to_dict()} | {name.rstrip("_"): getattr(self, name) for name in self._recorded}
        if not has_users:
            state[WITHOUT_HISTORY] = _kind_of_ids(self.user_ids)
        if self.reading_:
            state[READING_OF_LOG] = dict(self.reading_)
        of_model, packed = self._packed(has_users)
        arrays, state = arrays | packed, state | of_model
        if self.items_table_ is not None:
            columns, packed = _pack_table(self.items_table_)
            arrays, state = arrays | packed, state | {ITEMS_TABLE: columns}
        write_arrays(Path(folder) / MODEL_FILE, arrays, self._format, state)
        return Path(folder)

    def _packed(self, has_users: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what the file of such a model has besides: as JSON, and as arrays."""
        return {}, {}

    @property
    def is_without_history(self) -> bool:
        """Whether the model was saved without histories (see `save`), so that it knows no users."""
        return isinstance(vars(self).get("train_"), ItemTotals)

    @property
    def _takes_new_users(self) -> bool:
        """Whether the model can recommend to users by their items alone."""
        return True

    @classmethod
    def kind(cls) -> str:
        """Return the name of this class of models in files."""
        return _kind_in(cls._format)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the model that `save` wrote into `folder`.

        Raises
        ------
        UsageError
            The folder has no model, the model is of another kind, or its file is damaged or not as `save` writes it.

        Examples
        --------
        >>> import tempfile
        >>> from ultragcn import EASE, load_dataset
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     loaded = EASE.load(EASE(l2=100.0).fit(load_dataset("demo")).save(folder))
        >>> loaded.recommend("user-0001", top_k=5)[0].shape
        (5,)
        """
        path = _model_file(folder)
        form = read_form(path)
        kind, ours = _kind_in(form), cls.kind()
        if kind != ours:
            raise UsageError(f"{path} holds a model of another kind ({kind or 'unknown'}, not {ours}); load it with that one's class")
        held = reader_of(path, form, cls._readers)(path, form, cls._settings(), cls._learned, cls._recorded, cls._more)
        try:
            model = cls(**held.config)
        except (UsageError, TypeError, ValueError) as error:
            raise DamagedError(path, f"of its hyper-parameters, {error}") from error
        written = json.loads(json.dumps(model.config.to_dict()))
        if odd := [name for name, value in held.config.items() if value != written[name]]:
            raise DamagedError(path, f"its hyper-parameter {odd[0]} is not written as save writes it")
        model._set_data(held.train, held.valid)
        model.item_titles_, model.items_table_ = held.item_titles, held.items_table
        model.had_, model.reading_ = held.had, held.reading
        for name, value in (held.learned | held.recorded).items():
            setattr(model, name, value)
        model._take(held)
        try:
            model._check_range()
        except NumericalError as error:
            raise DamagedError(path, str(error).partition(";")[0]) from error
        return model

    def _check_range(self) -> None:
        """Raise `NumericalError` where scores may leave the range of float32."""

    def _take(self, held: Contents) -> None:
        """Take what the file of such a model has besides, and what goes without saying where users were left out."""

    @classmethod
    def _settings(cls) -> type[HyperParameters]:
        """Return what declares the hyper-parameters."""
        raise NotImplementedError


class EmbeddingRecommender(Recommender):
    """A model whose score is a product of two embeddings, s_ui = e_u . e_i, to which a graph term may be added.

    Attributes
    ----------
    user_embedding_, item_embedding_ : (U, D) and (I, D) float32
    """

    user_embedding_: np.ndarray
    item_embedding_: np.ndarray
    similar_by: ClassVar[str | None] = "embeddings"

    _learned: ClassVar[dict[str, str]] = {"user_embedding_": "UD", "item_embedding_": "ID"}
    _items_by_direction: Directions | None = None
    """Directions of the items' embeddings, made for the first similar items."""
    _users_by_direction: Directions | None = None
    """Directions of the users' embeddings, made for the first similar users."""
    _caches = (*Recommender._caches, "_items_by_direction", "_users_by_direction")
    _made_of_learned = (*Recommender._made_of_learned, "_items_by_direction", "_users_by_direction")

    def _about(self) -> dict[str, str]:
        return super()._about() | {"embeddings": counted(self.item_embedding_.shape[1], "dimension")}

    def _take(self, held: Contents) -> None:
        if self.is_without_history:
            self.user_embedding_ = np.zeros((0, self.item_embedding_.shape[1]), np.float32)

    def _check_range(self) -> None:
        cast(Scorer, self.scorer).check_range()
        if self.is_without_history:  # a new user's embedding may be as long as an item's
            largest = largest_size(self.item_embedding_) ** 2 * self.item_embedding_.shape[1]
            if not largest < float(np.finfo(np.float32).max):
                raise NumericalError(f"scores leave the range of float32: products of embeddings may reach {largest:.2g}")

    @property
    def _takes_new_users(self) -> bool:
        return type(self).fold_in is not EmbeddingRecommender.fold_in

    def _make_scorer(self) -> Scorer:
        return Scorer(self.user_embedding_, self.item_embedding_, self.train_.matrix, popularity=self._popularity_of_items)

    def _scorer_of(self, matrix: sp.csr_matrix) -> Scorer:
        scorer: Any = self.scorer
        made: Scorer = scorer.of_users(self.fold_in(matrix), matrix)
        if self.is_without_history:  # what it folds in by was read from a file
            made.check_range()
        return made

    def fold_in(self, matrix: sp.csr_matrix) -> np.ndarray:
        """Return the embeddings of new users, given by their items: (B, I) csr_matrix to (B, D) float32."""
        raise UsageError(
            f"{type(self).__name__} learns a user's embedding only by training; for someone new, fit again or use UltraGCN or IALS"
        )

    def _items_near(self, rows: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        if self._items_by_direction is None:
            self._items_by_direction = Directions(self.item_embedding_, self.train_.item_degrees > 0)
        return self._items_by_direction.nearest(rows, top_k)

    def _similar_users(self, rows: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        if self._users_by_direction is None:
            self._users_by_direction = Directions(self.user_embedding_, self.train_.user_degrees > 0)
        return self._users_by_direction.nearest(rows, top_k)


def checked_threads(num_threads: Any) -> int | None:
    """Return how many threads a model may use, checked: a whole number of 1 or more, or None."""
    if num_threads is None:
        return None
    if isinstance(num_threads, bool) or not isinstance(num_threads, (int, np.integer)) or num_threads < 1:
        raise UsageError(f"num_threads must be a whole number of 1 or more, or None for all cores, not {num_threads!r}")
    return int(num_threads)
