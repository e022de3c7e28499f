"""The estimator: UltraGCN, how it learns and folds in; its other verbs are those of every model (`recommender.py`)."""

import copy
import inspect
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import scipy.sparse as sp

from ultragcn import kernels, rng, solvers
from ultragcn.config import PARAMETERS, Config
from ultragcn.config.foreign_names import suggestion
from ultragcn.data.ids import IdMap
from ultragcn.data.interactions import Interactions, ItemTotals, refuse_empty, refuse_leaks
from ultragcn.errors import UsageError, counted
from ultragcn.loss.objective import Objective
from ultragcn.machine import ask_for
from ultragcn.models.explanations import graph_part
from ultragcn.models.files import (
    FOLD_IN,
    ITEM_GRAPH,
    MODEL_FILE,
    WITHOUT_HISTORY,
    Contents,
    GraphScale,
    OfUsers,
    Reader,
    _pack_of_users,
    read_model,
)
from ultragcn.models.recommender import EmbeddingRecommender, checked_threads
from ultragcn.models.update import Course as Updating
from ultragcn.models.update import Growth, Plan
from ultragcn.models.verbs import NUM_THREADS, refuse_positional, verb
from ultragcn.processes import Processes, num_shards, to_lead, together
from ultragcn.progress import Progress, Silent, progress_of
from ultragcn.scoring import item_weights
from ultragcn.scoring.item_graph import item_graph
from ultragcn.scoring.kept_graph import with_new_items
from ultragcn.scoring.ranking import ranked_by
from ultragcn.scoring.scorer import Scorer
from ultragcn.scoring.trend import log_recent_share
from ultragcn.training import choices
from ultragcn.training.checkpoint import Checkpoint
from ultragcn.training.course import Course, Record
from ultragcn.training.loop import train as train_loop

__all__ = ["MODEL_FILE", "Record", "UltraGCN"]


_FOLD_IN_ROWS = 4096


class UltraGCN(EmbeddingRecommender):
    """Graph collaborative filtering without message passing (Mao et al., CIKM 2021).

    Parameters
    ----------
    config : Config, optional
        Hyper-parameters, by default their defaults.
    **hyper_parameters
        Any hyper-parameter by its name (`ultragcn.config.Config`). It takes precedence over `config`.
    num_threads : int, optional
        The most threads that the verbs use, by default as many as there are cores. It changes no scores.

    Attributes
    ----------
    user_embedding_, item_embedding_ : (U, D) and (I, D) float32
    item_graph_ : (I, I) csr_matrix, float32
        How much having item i adds to the scores of the others; empty if the item graph has no weight.
    user_ids, item_ids : IdMap
        Ids of their rows.
    train_, valid_ : Interactions
        The pairs that the model has seen. `valid_` is None if no validation pairs were given.
    history_ : list of dict
        A record per epoch.
    best_epoch_ : int
        The epoch whose embeddings were kept.
    item_trend_ : (I,) float32
        The number that recent popularity adds to the score of each item; zeros if the trend has no weight.
    l2_ : float or None
        The L2 strength of the training, if it was chosen on held-out pairs because it was not given.
    item_graph_weight_ : float or None
        The weight of the item graph, if it was chosen in the same way.
    item_trend_weight_, item_trend_half_life_ : float or None
        The weight and the half-life of the trend, if they were chosen in the same way.
    stopped_ : {"patience", "epochs", "interrupted"}
        Why training ended.
    train_seconds_, compile_seconds_ : float
        The seconds from data in memory to embeddings. The seconds to compile kernels, or to load them from disk, are apart.

    Examples
    --------
    >>> from ultragcn import UltraGCN, load_dataset
    >>> data = load_dataset("demo")
    >>> model = UltraGCN(embedding_dim=32, epochs=5).fit(data.train, valid=data.valid)
    >>> items, scores = model.recommend("user-0001", top_k=3)
    """

    config: Config
    _format = "ultragcn-5"
    _readers: ClassVar[Mapping[int, Reader]] = {5: read_model}
    _more = (WITHOUT_HISTORY, ITEM_GRAPH, FOLD_IN)
    _learned = EmbeddingRecommender._learned | {"item_graph_": "II", "item_trend_": "I"}
    similar_by = "together"  # research/similar.py: on both data sets neighbours share more genres than by cosines of embeddings
    item_graph_weight_: float | None
    item_trend_weight_: float | None
    item_trend_half_life_: float | None
    _deviation: float | None = None
    """How much the scores of the item graph vary: found once for the same data."""
    _frozen_items: Any = None
    """What new users are folded in by: made when the first one comes."""
    _popularity: np.ndarray | None = None
    """What the trend is made of, b log q (I,): None without a trend."""
    _graph_scale: GraphScale | None = None
    """Of the model as it was loaded; None where it follows from what is learned."""
    _of_users: OfUsers | None = None
    """What is left of users that were left out when the model was saved."""
    _caches = (*EmbeddingRecommender._caches, "_deviation", "_frozen_items", "_popularity")
    _made_of_learned = (*EmbeddingRecommender._made_of_learned, "_graph_scale")
    _recorded = (
        "seed_", "history_", "best_epoch_", "l2_", "item_graph_weight_", "item_trend_weight_", "item_trend_half_life_", "stopped_",
        "train_seconds_", "compile_seconds_",
    )  # fmt: skip

    def __init__(self, config: Config | None = None, *given: Any, num_threads: int | None = None, **hyper_parameters: Any):
        positional = given if config is None or isinstance(config, Config) else (config, *given)
        refuse_positional(type(self), positional, "embedding_dim")
        for name in hyper_parameters:
            if name not in PARAMETERS:
                near = suggestion(name, [*PARAMETERS, "num_threads"])
                raise UsageError(f"unknown hyper-parameter of UltraGCN {name!r}{near or '; help(UltraGCN) lists them all'}")
        self.config = (config or Config()).replace(**hyper_parameters)
        self.num_threads = checked_threads(num_threads)

    @classmethod
    def _settings(cls) -> type[Config]:
        return Config

    def check_runnable(self) -> None:
        """Raise the error that `fit` would raise because a package or a device is missing."""
        solvers.check_runnable(self.config)

    @verb
    def fit(
        self,
        data: Any,
        valid: Any = None,
        *,
        select_on: Any = None,
        progress: Progress | bool | None = None,
        on_epoch: Callable[[Record], None] | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int | None = None,
        **reading: Any,
    ) -> "UltraGCN":
        """Learn embeddings from `data`.

        Parameters
        ----------
        data : Dataset, Interactions, frame, str, Path or sparse matrix
            A data set as `load_dataset` returns it: the model learns its train pairs, and its validation pairs are `valid`. Or train pairs
            alone: interactions, a polars or pandas frame, a file, or a SciPy matrix of users by items. The loss, the degrees, the
            co-occurrence graph and the item graph are made from train pairs.
        valid : Interactions or the like, optional
            Held-out pairs. They decide which epoch is kept and when training stops (`select_by`, `patience`). With the exact solver they
            also decide hyper-parameters that are not given: the L2 strength, the weight of the item graph, and the weight of the trend
            where times are known. They count as seen when recommending. Without them, training stops when the loss stops falling, and the
            last epoch is kept.
        select_on : Interactions or the like, optional
            Choose on these pairs instead of `valid`, and do not count them as seen. The protocol `authors` chooses on test data, also for a
            data set that was loaded under it. Do not choose on test data for any other reason.
        progress : bool or Progress, optional
            True shows a bar, in a terminal and in a notebook.
        on_epoch : callable, optional
            A function that is called with every record of the history as soon as it is made.
        checkpoint : str or Path, optional
            A file that holds the state of the training (docs/training.md). If the file exists, training goes on from it and reaches the
            same embeddings as without a stop. Else the file is made. Remove it when the model is saved.
        checkpoint_every : int, optional
            The number of epochs between checkpoints. By default they are written by the clock, the first after ten seconds.
        **reading
            How a file, a frame or a matrix is read, as in `read_interactions`: `user_column`, `item_column`, `min_rating` and the like.

        Returns
        -------
        UltraGCN
            This model. An interrupt (Ctrl-C) is raised again, and the model then has its best embeddings so far.

        Raises
        ------
        UsageError
            The data cannot be read, or the checkpoint is damaged or of another training.
        DataError
            There are no train interactions, or a held-out pair is in train.
        NumericalError
            The loss became infinite; the message says what to change.

        Examples
        --------
        >>> from ultragcn import UltraGCN, load_dataset
        >>> UltraGCN(embedding_dim=8, epochs=3).fit(load_dataset("demo")).is_fitted
        True
        """
        taken = self._given(data, valid, select_on, reading)
        train, valid, select_on = taken.train, taken.valid, taken.select_on
        show = progress_of(progress)
        self._refuse_unfit(train, valid, select_on)
        self._ask_for_memory(train)
        # Take PyTorch's kernels and Numba's into memory before the clock starts: neither is part of training.
        compile_seconds = _compile_kernels(self.config, solvers.Sizes(train.num_users, train.num_items, len(train)))
        started = time.perf_counter()
        targets = valid if select_on is None else select_on
        targets = targets and choices.on_some_users(targets, cast(Any, self.config.resolved()).select_users)
        checkpoints = Checkpoint(checkpoint, checkpoint_every, self.config.to_dict(), (train, valid, select_on))
        first = Course(rng.given_or_fresh(self.config.seed), l2=choices.first_l2(self.config, targets))
        course, state = checkpoints.read() or (first, None)
        started -= course.seconds
        self._set_data(train, valid)
        self._take_beside(taken)
        self.compile_seconds_ = compile_seconds
        self.seed_, self.history_, self.stopped_ = course.seed, course.history, "epochs"
        self.item_graph_ = item_graph(train, self.config, show)
        objective, processes = Objective.of(train, self._config_with(course.l2)), to_lead()
        if processes.number > 1:
            _refuse_many(processes, self.config, train)
            processes.same(self._training(objective, course, state, targets))
        with together(processes):
            self._learn(objective, course, state, targets, started, show, checkpoints, on_epoch)
        self._check_learned()
        cast(Scorer, self.scorer).check_range()
        return self

    def _learn(
        self,
        objective: Objective,
        course: Course,
        state: solvers.State | None,
        targets: Interactions | None,
        started: float,
        show: Progress,
        checkpoints: Checkpoint,
        on_epoch: Callable[[Record], None] | None,
    ) -> None:
        """Learn embeddings from where `course` and `state` stand, and choose what is added to their product.

        Several processes do this together; only the first one shows and writes anything.
        """
        settings: Any = self.config.resolved()
        solver, ranker = solvers.make_solver(objective, course.seed), solvers.make_ranker(self.config)
        show.start("training", settings.epochs, solver.unit)
        show.advance(len(course.history))
        try:
            solver.start(state)
            with ranked_by(ranker):
                self.stopped_ = train_loop(
                    solver, course, self._place, choices.measure_on(self, targets, self.config.select_by),
                    epochs=settings.epochs, patience=settings.patience, started=started, show=show, checkpoints=checkpoints,
                    change=choices.L2Path(solver, objective, self.config, course).go_on, on_epoch=on_epoch,
                )  # fmt: skip
        except KeyboardInterrupt:
            self.stopped_ = "interrupted"
            raise
        finally:
            show.finish()
            if course.kept is not None:
                self._place(course.kept)
            self.best_epoch_, self.l2_ = course.best_epoch, course.kept_l2
            self.train_seconds_ = time.perf_counter() - started
        if targets is not None:
            with ranked_by(ranker):
                self._choose_terms(targets)
            self.train_seconds_ = time.perf_counter() - started

    def _training(self, objective: Objective, course: Course, state: solvers.State | None, targets: Interactions | None) -> dict[str, Any]:
        """Return what another process needs to take part in a training that this one has begun. Ids are not among it."""
        parts = {"train": self.train_, "valid": self.valid_, "targets": targets}
        _ = objective.neighbors  # found once, by this process
        return {
            "config": self.config, "course": course, "state": state, "item_graph": self.item_graph_,
            "known": {name: vars(objective)[name] for name in ("beta", "neighbors") if name in vars(objective)},
            "pairs": {name: (part.matrix, part.times) for name, part in parts.items() if part is not None},
        }  # fmt: skip

    @classmethod
    def follow(cls, processes: Processes) -> None:
        """Take part in every training that the first process begins, until it sends None.

        Parameters
        ----------
        processes : Processes
            Of which this process is not the first.
        """
        while (training := processes.same(cast(Any, None))) is not None:
            model, pairs = cls(training["config"]), training["pairs"]
            users, items = (IdMap(np.arange(n), what) for n, what in zip(pairs["train"][0].shape, ("user", "item"), strict=True))
            train, valid, targets = (
                Interactions._of(pairs[name][0], users, items, pairs[name][1]) if name in pairs else None
                for name in ("train", "valid", "targets")
            )
            assert train is not None
            model._set_data(train, valid)
            course: Course = training["course"]
            model.seed_, model.history_, model.item_graph_ = course.seed, course.history, training["item_graph"]
            _compile_kernels(model.config, solvers.Sizes(train.num_users, train.num_items, len(train)))
            objective = Objective.of(train, model._config_with(course.l2))
            vars(objective).update(training["known"])
            never = Checkpoint(None, None, {}, ())
            with together(processes):
                model._learn(objective, course, training["state"], targets, time.perf_counter(), Silent(), never, None)

    def _place(self, embeddings: solvers.Embeddings) -> None:
        """Rank by these embeddings: the mean user's in place of those of users without items, and the trend that goes with them."""
        self.user_embedding_, self.item_embedding_ = embeddings
        self.user_embedding_ = _mean_where_empty(self.user_embedding_, self.train_.user_degrees, self._mean_user)
        self.item_trend_ = self._trend(self._popularity)

    def _chosen(self) -> dict[str, Any]:
        chosen = dict(self.chosen_)
        strength = chosen.pop("l2", None)
        kept = {} if strength is None else self.config.with_l2(strength).to_dict()
        # Patience too: else the loss alone might end it earlier.
        return kept | super()._chosen() | {"epochs": self.best_epoch_, "patience": self.best_epoch_} | chosen

    @property
    def _learns_with_torch(self) -> bool:
        return self.config.solver == "sgd"

    @property
    def _needs_times(self) -> bool:
        return bool(self.config.item_trend_weight)

    def _refuse_unfit(self, train: Interactions, valid: Interactions | None, select_on: Interactions | None) -> None:
        """Raise what `fit` raises of its data."""
        refuse_empty(train)
        if self.config.item_trend_weight and train.times is None:
            raise UsageError(
                "item_trend_weight needs the times of the interactions, which are read when time_column is given or the split is by time; "
                "give it, or set item_trend_weight to 0"
            )
        refuse_leaks(train, valid, select_on)

    def _ask_for_memory(self, train: Interactions) -> None:
        """Raise `MemoryShortError` where there is too little memory for training."""
        free = None
        if self.config.solver == "sgd":
            self.check_runnable()
            from ultragcn.kernels import torch_ops

            free = torch_ops.free_memory(torch_ops.choose_device(self.config.device))
        needed = solvers.memory(solvers.Sizes(train.num_users, train.num_items, len(train)), self.config)
        what = f"UltraGCN on {train.num_users} users and {train.num_items} items"
        advice = "lower embedding_dim, or fit on fewer users and items"
        ask_for(needed, what, advice, free)
        if self.config.solver == "exact" and self.config.device == "cuda":
            ask_for(needed + solvers.GPU_SPACE, f"{what} on a GPU", f"{advice}, or give device cpu", solvers.free_gpu_memory())
        if self.config.resolved().item_graph_weight:
            entries = item_weights.most_entries(train.matrix, self.config.item_graph_neighbors)
            advice = "lower item_graph_neighbors, or set item_graph_weight to 0"
            ask_for(item_weights.WEIGHT_BYTES * entries, f"the item graph of {train.num_items} items", advice)

    def _about(self) -> dict[str, str]:
        unit = "sweep" if self.config.solver == "exact" else "epoch"
        chosen = ", ".join(f"{name}={value:.4g}" for name, value in self.chosen_.items())
        kept = f"{unit} {self.best_epoch_} of {len(self.history_)}"
        return super()._about() | {"kept": kept} | ({"chosen": chosen} if chosen else {})

    @property
    def chosen_(self) -> dict[str, float]:
        """The hyper-parameters, by name, that training chose on held-out pairs because they were not given."""
        names = ("l2", "item_graph_weight", "item_trend_weight", "item_trend_half_life")
        return {name: value for name in names if (value := getattr(self, f"{name}_")) is not None}

    def _choose_terms(self, targets: Interactions) -> None:
        """Choose on held-out pairs what is added to the product of the embeddings, where it is not given."""

        def value(scorer: Scorer) -> float:
            self._scorer = scorer
            return choices.worth(self, targets, self.config.select_by)

        try:
            chosen, scorer = choices.choose_terms(self.config, self.train_, self._make_scorer(), self._trend, value)
        except BaseException as ended:
            self._scorer = None  # what was just being tried is not what was chosen
            self.stopped_ = "interrupted" if isinstance(ended, KeyboardInterrupt) else self.stopped_
            raise
        self._set_terms(chosen)
        if scorer.item_bias is not None:
            self.item_trend_ = scorer.item_bias
        self._scorer = scorer

    def _set_terms(self, chosen: dict[str, float]) -> None:
        """Record what was chosen of the terms beside the product of the embeddings."""
        self.item_graph_weight_ = chosen.get("item_graph_weight")
        self.item_trend_weight_, self.item_trend_half_life_ = chosen.get("item_trend_weight"), chosen.get("item_trend_half_life")

    def _trend(self, popularity: np.ndarray | None) -> np.ndarray:
        """Return what puts `popularity`, b log q_i (I,), in place of the mean user's score: (I,) float32, zeros without it."""
        if popularity is None:
            return np.zeros(self.train_.num_items, np.float32)
        result: np.ndarray = (popularity - self.item_embedding_ @ self._mean_user()).astype(np.float32)
        return result

    def _mean_user(self) -> np.ndarray:
        """Return the mean embedding of the users with items."""
        if self._of_users is not None:
            return self._of_users.mean
        mean: np.ndarray = self.user_embedding_[self.train_.user_degrees > 0].mean(axis=0)
        return mean

    def _config_with(self, l2: float | None) -> Config:
        """Return the hyper-parameters with the L2 strength that was chosen, if one was."""
        return self.config if l2 is None else self.config.with_l2(l2)

    def _set_data(self, train: Interactions, valid: Interactions | None) -> None:
        super()._set_data(train, valid)
        self._frozen_items = self._deviation = self._of_users = None
        self._set_terms({})
        settings: Any = self.config.resolved()
        weight, half_life = settings.item_trend_weight, settings.item_trend_half_life
        self._popularity = weight * log_recent_share(train, half_life) if weight > 0 and train.times is not None else None

    def _make_scorer(self) -> Scorer:
        tables = self.user_embedding_, self.item_embedding_
        graph = self._graph_scale
        if graph is None and self._of_users is not None:  # something was changed by hand, and there are no users to find the unit by
            graph = self._of_users.graph
            graph = graph if self.item_graph_weight_ is None else graph._replace(weight=self.item_graph_weight_)
        if graph is not None:
            scorer = Scorer(*tables, self.train_.matrix, self.item_trend_, self.item_graph_, graph.weight)
            vars(scorer)["unit_scale"] = graph.unit
            return scorer
        settings: Any = self.config.resolved()
        weight = settings.item_graph_weight if self.item_graph_weight_ is None else self.item_graph_weight_
        if weight != 0 and self._deviation is None:
            self._deviation = item_weights.mean_deviation(self.item_graph_, self.train_.matrix)
        return Scorer(*tables, self.train_.matrix, self.item_trend_, self.item_graph_, weight, self._deviation)

    def _packed(self, has_users: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        scorer = cast(Scorer, self.scorer)
        weight = float(scorer.graph_weight)
        of_graph = {ITEM_GRAPH: {"weight": weight, "unit": 0.0 if weight == 0 else float(scorer.unit_scale)}}
        if has_users:
            return of_graph, {}
        kept = self._of_users
        if kept is None:
            frozen = self._frozen()
            objective = frozen.objective
            kept = OfUsers(
                self._mean_user(), objective.neighbors, objective.l2_strengths[0], objective.l2_user_scale, frozen.shared,
                GraphScale(**of_graph[ITEM_GRAPH]),
            )  # fmt: skip
        of_users, arrays = _pack_of_users(kept)
        return of_graph | of_users, arrays

    def _take(self, held: Contents) -> None:
        super()._take(held)
        self._graph_scale, self._of_users = held.graph_scale, held.of_users

    def _grown(self, growth: Growth, plan: Plan, show: Progress) -> "tuple[UltraGCN, Updating]":
        new, log = self.untrained(), growth.log
        new.num_threads = self.num_threads
        new._refuse_unfit(log, None, None)
        new._ask_for_memory(log)
        compile_seconds = _compile_kernels(new.config, solvers.Sizes(log.num_users, log.num_items, len(log)))
        started = time.perf_counter()
        new._set_data(log, None)
        # The epoch that was chosen is what a refit of the new model repeats.
        new.seed_, new.history_, new.best_epoch_, new.l2_ = self.seed_, list(self.history_), self.best_epoch_, None
        new.stopped_, new.compile_seconds_ = "epochs", compile_seconds
        if plan.keeps_graph:
            new.item_graph_ = with_new_items(growth.moved_graph(self.item_graph_), log, new.config, growth.new_items)
        else:
            new.item_graph_ = item_graph(log, new.config, show)
        solver: Any = solvers.make_solver(Objective.of(log, new.config), self.seed_)
        user_embedding = growth.moved(self.user_embedding_, growth.user_rows, log.num_users)
        item_embedding = growth.moved(self.item_embedding_, growth.item_rows, log.num_items)
        show.start("updating", plan.sweeps, solver.unit)
        try:
            solver.start_from(user_embedding, item_embedding, growth.new_users, growth.new_items)
            losses = []
            for _ in range(plan.sweeps):
                losses.append(solver.step())
                show.advance(1, {"loss": losses[-1]})
        finally:
            show.finish()
        new._place(solver.embeddings())
        new.train_seconds_ = time.perf_counter() - started
        new._check_learned()
        cast(Scorer, new.scorer).check_range()
        return new, Updating("warm", losses, solver)

    def _gone_on(self, solver: solvers.Solver, plan: Plan, show: Progress) -> "UltraGCN":
        """Return this model after as many more sweeps as bring something, at most as many as a training has, with a new item graph."""
        new, loss = copy.copy(self), math.inf
        if plan.keeps_graph:
            new.item_graph_, new._deviation = item_graph(self.train_, self.config, show), None
        settings: Any = self.config.resolved()
        show.start("going on", settings.epochs, solver.unit)
        try:
            for _ in range(settings.epochs):
                before, loss = loss, solver.step()
                show.advance(1, {"loss": loss})
                if loss > before * (1 - solver.tolerance):
                    break
        finally:
            show.finish()
        new._place(solver.embeddings())
        return new

    @property
    def _update_by_refit_alone(self) -> bool:
        return self.config.solver != "exact"

    def fold_in(self, matrix: sp.csr_matrix) -> np.ndarray:
        """Return the embeddings of new users, given by their items: (B, I) csr_matrix to (B, D) float32.

        Each row is solved to convergence, with the items held still. For a train user, the result is the embedding to which training
        converges. A user without items gets the mean of the train users, as in training.
        """
        from ultragcn.solvers.fold_in import fold_in

        matrix = self._as_rows(matrix)
        frozen = self._frozen()
        # In batches, because folding in remembers several steps of every row.
        starts = range(0, matrix.shape[0], _FOLD_IN_ROWS)
        folded = [fold_in(frozen, matrix[start : start + _FOLD_IN_ROWS]) for start in starts]
        embedding = np.concatenate([np.zeros((0, self.config.embedding_dim), np.float32), *folded])
        return _mean_where_empty(embedding, np.diff(matrix.indptr), self._mean_user)

    def _frozen(self) -> Any:
        """Return what the row problems of users have in common, `FrozenItems` of what was learned; made when first needed."""
        from ultragcn.solvers.fold_in import FrozenItems

        frozen = self._frozen_items
        if frozen is None or frozen.embedding is not self.item_embedding_:
            config, kept = self._config_with(self.l2_), self._of_users
            if kept is None:
                frozen = FrozenItems(Objective.of(self.train_, config), self.item_embedding_)
            else:
                totals = cast(ItemTotals, self.train_)
                objective = Objective.without_users(totals, config, kept.neighbors, kept.l2, kept.l2_scale)
                frozen = FrozenItems(objective, self.item_embedding_, kept.frozen)
            self._frozen_items = frozen
        return frozen

    def _reasons(self, scorer: Any, user: int, own: np.ndarray, items: np.ndarray) -> dict[str, np.ndarray]:
        from ultragcn.solvers.reasons import reasons

        return {"embeddings": reasons(self._frozen(), scorer.user_embedding[user], own, items)} | graph_part(scorer, own, items)


def _refuse_many(processes: Processes, config: Config, train: Interactions) -> None:
    """Raise `UsageError` where several processes cannot train together."""
    if config.solver != "exact":
        raise UsageError(f"solver {config.solver} trains in one process; take solver exact, or start without torchrun")
    shards = num_shards(train.num_users, train.num_items)
    if processes.number > shards:
        most = "start without torchrun" if shards == 1 else f"take {shards} processes at most"
        raise UsageError(
            f"{processes.number} processes are too many: {train.num_users} users and {train.num_items} items are cut into "
            f"{counted(shards, 'shard')} each, and a process needs one of both; {most}"
        )


def _mean_where_empty(embedding: np.ndarray, degrees: np.ndarray, mean: Callable[[], np.ndarray]) -> np.ndarray:
    """Return embeddings with the mean user's for users without items: of them the loss says nothing but to be zero."""
    empty = degrees == 0
    return np.where(empty[:, None], mean(), embedding) if empty.any() else embedding


# The one declaration of every hyper-parameter is `Config`; help(UltraGCN) shows it as the signature.
UltraGCN.__init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY),
        inspect.Parameter("config", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=Config | None),
        *(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=declared.default, annotation=declared.type)
            for name, declared in PARAMETERS.items()
        ),
        NUM_THREADS,
    ]
)


def _compile_kernels(config: Config, sizes: solvers.Sizes) -> float:
    """Compile the kernels that training needs, or load them from the cache on disk; return the seconds."""
    started = time.perf_counter()
    with kernels.interrupts_kept():
        kernels.compile_kernels("rank_users", "find_hits", "list_statistics")
        if config.item_item_weight > 0:
            kernels.compile_kernels("item_neighbors")
        solvers.compile_kernels(config, sizes)
        if config.resolved().item_graph_weight:
            item_weights.compile_kernels()
    return time.perf_counter() - started
