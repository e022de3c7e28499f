"""What reading, training and ranking will take of memory and time, said before anything starts.

The model of the costs (docs/scaling.md, "Plan before you start") has two parts. How the work grows with the sizes of the data follows
from the algorithms; here it stands as numbers of operations. How long an operation takes was measured once, and `speed.measured` says how
much faster or slower this machine is. Memory is counted array by array; what a process takes without data is measured.

Letters: U users, I items, N train pairs, D dimensions, K neighbours; T pairs of items that users have both of, C those that are different.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast

import numpy as np

from ultragcn import solvers
from ultragcn.config import Config
from ultragcn.data.sizes import CELLS, DISK, LINES, TABLE, TEXT, LogSizes
from ultragcn.experiments.speed import Speed
from ultragcn.machine import free_memory, num_cores, thread_limit
from ultragcn.models.baseline import Baseline
from ultragcn.models.recommender import Recommender
from ultragcn.models.registry import memory_for, name_of
from ultragcn.solvers import Sizes
from ultragcn.solvers.clusters import num_clusters

_GROUPS = 200  # of items by popularity, for which the pairs that users share are counted
_TASTE = 0.9
"""Users with a taste in common share the same pairs of items: so many shared pairs count for those that are different."""
_NS = 1e-9
_OTHER_DIMENSIONS = 0.25
"""Share of the work on an embedding that does not grow with its length."""
_USUAL_BEST = 6
"""Sweeps until the best one, on the data sets of the benchmarks."""
_TOP_K = 20
_LISTED_ROWS = 2**19 + _TOP_K * 8192
"""Rows of lists that are in memory at a time: those of a part of the file, and those of a block of users."""


class Stage(NamedTuple):
    """What a stage takes; None: there is no prediction. Memory is that of the whole process at its peak, seconds are the stage's own."""

    name: str
    memory: int | None
    cpu_seconds: float | None
    seconds: float | None


class Work(NamedTuple):
    """CPU seconds by kind of work, on the machine on which they were measured."""

    reading: float = 0.0
    graph: float = 0.0
    sweeps: float = 0.0
    ranking: float = 0.0

    def plus(self, other: "Work", times: float = 1.0) -> "Work":
        """Return this work and another one, so many times."""
        return Work(*(one + times * more for one, more in zip(self, other, strict=True)))

    def on(self, speed: Speed) -> float:
        """Return the CPU seconds on a machine."""
        return float(sum(getattr(self, name) * speed.factor[name] for name in self._fields))


@dataclass(frozen=True)
class Plan:
    """What is planned."""

    sizes: LogSizes
    model: str
    stages: list[Stage]
    sweeps: tuple[int, int, int] | None
    """At least, likely, at most; None where there is no prediction."""
    range_seconds: tuple[float, float] | None
    """Of training: with the fewest sweeps and with the most."""
    free: int | None
    """Bytes that are free; None where the system does not say."""
    threads: int
    advice: list[str] = field(default_factory=list)
    """What to change where it does not fit, a sentence each."""

    @property
    def memory(self) -> int:
        """Bytes of the stage that takes most."""
        return max(stage.memory or 0 for stage in self.stages)

    @property
    def fits(self) -> bool | None:
        """Whether all stages fit into the memory that is free; None where the system does not say."""
        return None if self.free is None else self.memory <= self.free

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON has it: megabytes are 10^6 bytes."""
        return {
            "model": self.model,
            "sizes": {name: value for name, value in self.sizes._asdict().items() if name not in ("kind", "spread", "disk_bytes")},
            "stages": [
                {
                    "stage": stage.name, "peak_memory_mb": None if stage.memory is None else round(stage.memory / 1e6, 1),
                    "cpu_seconds": _rounded(stage.cpu_seconds), "seconds": _rounded(stage.seconds),
                }
                for stage in self.stages
            ],
            "sweeps": None if self.sweeps is None else dict(zip(("least", "likely", "most"), self.sweeps, strict=True)),
            "training_seconds": (
                None if self.range_seconds is None else dict(zip(("least", "most"), map(_rounded, self.range_seconds), strict=True))
            ),
            "threads": self.threads,
            "scratch_mb": round(self.sizes.disk_bytes / 1e6, 1),
            "free_memory_mb": None if self.free is None else round(self.free / 1e6, 1),
            "fits": self.fits,
            "advice": self.advice,
        }  # fmt: skip


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds:.3g}")


class Shape(NamedTuple):
    """What the costs depend on beside the sizes themselves: how pairs lie, where it is not known taken as it usually is."""

    users: int
    items: int
    pairs: int
    spread: float

    @property
    def degree(self) -> float:
        """Mean degree of the users."""
        return self.pairs / self.users

    @property
    def shared(self) -> float:
        """T: pairs of items of the same user, one after the other, with repetitions."""
        return max(0.0, self.spread * self.degree**2 * self.users - self.pairs)

    @property
    def different(self) -> float:
        """C: different pairs of items that a user has both of, in both orders.

        Degrees of items are taken as exponentially distributed, which has a Gini index of one half.
        """
        place = (np.arange(_GROUPS) + 0.5) / _GROUPS
        popularity = -np.log1p(-place)
        popularity /= popularity.sum() * self.items / _GROUPS
        met = -np.expm1(-_TASTE * self.shared * np.outer(popularity, popularity))
        return float(met.sum()) * (self.items / _GROUPS) ** 2

    def entries(self, neighbors: int) -> float:
        """Return the entries of P: the pairs, and the neighbours of a user's items, many of which are the same.

        The share of them that are the same was fitted to eight data sets; on each of them it is within 24 % of the truth.
        """
        if neighbors == 0:
            return float(self.pairs)
        same = 3.7 * math.sqrt(self.degree) * float(self.items) ** -0.363
        return float(min(self.pairs * max(1.0, neighbors / (1 + same)), float(self.users) * self.items))


def neighbors_of(config: Config) -> int:
    """Return how many neighbours of an item count in the loss."""
    return config.num_item_neighbors if config.item_item_weight > 0 else 0


def _dimensions(config: Config) -> float:
    """Return the work on an embedding, relative to that on one of 64 numbers."""
    return _OTHER_DIMENSIONS + (1 - _OTHER_DIMENSIONS) * config.embedding_dim / 64


def _graph_entries(shape: Shape, config: Config) -> float:
    """Return the weights of the item graph: of regression, and of walks, which leave twice as many and are partly the same."""
    if config.resolved().item_graph_weight == 0:
        return 0.0
    each = config.item_graph_neighbors * (2.6 if config.item_graph_walk > 0 else 1.0)
    return min(each * shape.items, shape.different)


def graph_work(shape: Shape, config: Config) -> Work:
    """Return the work of making the item graph."""
    if config.resolved().item_graph_weight == 0:
        return Work()
    different, near = shape.different, min(config.item_graph_neighbors, shape.different / shape.items / 1.7)
    products = (3 if config.item_graph_walk > 0 else 2) * 1.5 * _NS * shape.shared
    choosing = (170 if config.item_graph_walk > 0 else 100) * _NS * different
    regressing = near * _NS * different + 220e-6 * shape.items * (near / 100) ** 1.7
    return Work(graph=products + choosing + regressing)


def sides_work(shape: Shape, config: Config) -> Work:
    """Return the work of P and of the start."""
    neighbors = neighbors_of(config)
    near = (3 * shape.shared + 6 * shape.different) * _NS if neighbors else 0.0
    start = (5e-6 * (shape.users + shape.items) + 0.5e-6 * shape.pairs) * _dimensions(config)
    return Work(sweeps=near + 100 * _NS * shape.entries(neighbors) + start)


def sweep_work(shape: Shape, config: Config) -> Work:
    """Return the work of a sweep."""
    positives = 2 * 40 * _NS * shape.entries(neighbors_of(config))
    clusters = num_clusters(config, shape.users, shape.items)
    if clusters is None:
        cells = 8.5 * _NS * shape.users * shape.items
    else:
        cells = 20 * _NS * (shape.users * clusters[1] + shape.items * clusters[0])
    return Work(sweeps=(positives + cells) * _dimensions(config))


def ranking_work(users: float, shape: Shape, config: Config) -> Work:
    """Return the work of ranking all items for some users."""
    weights = _graph_entries(shape, config) / shape.items
    a_user = 2.3 * _NS * shape.items * _dimensions(config) + 1.2 * _NS * shape.degree * weights + 2e-6
    return Work(ranking=users * a_user)


def sweeps_of(config: Config, chooses: bool) -> tuple[int, int, int]:
    """Return how many sweeps there will be: at least, likely, and at most.

    The rule is that of `training.course`: training ends when `patience` sweeps have brought nothing better, or after `epochs`.
    """
    settings: Any = (
        config.resolved() if chooses else config.replace(l2_user=config.l2_user or 0.1, l2_item=config.l2_item or 0.1).resolved()
    )
    most = settings.epochs
    return min(most, settings.patience + 1), min(most, settings.patience + _USUAL_BEST), most


def plan_ultragcn(sizes: LogSizes, config: Config, speed: Speed, everything: bool, refit: bool = False) -> Plan:
    """Plan reading, training and ranking of UltraGCN with the exact solver.

    Parameters
    ----------
    sizes : LogSizes
    config : Config
    speed : Speed
    everything : bool
        Whether the model to keep is trained once more on all pairs.
    refit : bool
        Whether what was chosen is trained again on train and validation pairs before it is measured.

    Returns
    -------
    Plan
    """
    first = Shape(sizes.num_users, sizes.num_items, max(1, sizes.num_train), sizes.spread)
    measured, whole = (first._replace(pairs=max(1, pairs)) for pairs in (sizes.num_train + sizes.num_valid, sizes.num_pairs))
    counts = sweeps_of(config, sizes.num_valid > 0)
    seen_users = min(sizes.num_users, sizes.num_valid)
    settings: Any = config.resolved()
    look = ranking_work(min(seen_users, settings.select_users or seen_users), first, config)

    def training(sweeps: int) -> Work:
        work = graph_work(first, config).plus(sides_work(first, config))
        work = work.plus(sweep_work(first, config), sweeps).plus(look, sweeps)
        if sizes.num_valid and config.chooses("item_graph_weight"):
            work = work.plus(look, 6)
        work = work.plus(ranking_work(seen_users, first, config)).plus(ranking_work(min(sizes.num_users, sizes.num_test), first, config))
        best = sweeps if sweeps == settings.epochs else max(1, sweeps - settings.patience)
        for again, shape in ((refit, measured), (everything and sizes.num_test, whole)):
            if again:
                work = work.plus(graph_work(shape, config)).plus(sides_work(shape, config)).plus(sweep_work(shape, config), best)
        return work

    reading = Work(reading=450 * _NS * sizes.num_pairs)
    ranking = ranking_work(sizes.num_users, whole, config).plus(Work(reading=250 * _NS * _TOP_K * sizes.num_users))
    kept = whole if everything else measured if refit else first
    least, likely, most = (training(sweeps).on(speed) for sweeps in counts)
    memory = _training_memory(sizes, kept, config, speed, everything)
    stages = [
        _stage("reading", _reading_memory(sizes, speed), reading.on(speed), speed.start_seconds, speed, "one"),
        _stage("training", memory, likely, speed.kernel_seconds, speed),
        _stage("ranking", _ranking_memory(sizes, kept, config, speed), ranking.on(speed), speed.ranking_start_seconds, speed),
    ]
    least_seconds, most_seconds = (_stage("", 0, work, speed.kernel_seconds, speed).seconds or 0.0 for work in (least, most))
    return Plan(sizes, "ultragcn", stages, counts, (least_seconds, most_seconds), free_memory(), thread_limit() or num_cores())


def _stage(name: str, memory: float, work: float, start: float, speed: Speed, clock: str = "threads") -> Stage:
    """Return a stage of `work` CPU seconds, and of those that its process takes to start; `clock` says which of both of `Speed`."""
    return Stage(name, int(memory), work + start, speed.clock["one"] * start + speed.clock[clock] * work)


def model_bytes(shape: Shape, config: Config) -> float:
    """Return the bytes of a trained model: its embeddings, the pairs that it knows, its item graph and its neighbours."""
    rows = shape.users + shape.items
    return 4 * config.embedding_dim * rows + 4 * shape.pairs + 8 * _graph_entries(shape, config) + 8 * neighbors_of(config) * shape.items


_READ_BYTES = {LINES: 85, TABLE: 85, TEXT: 125, CELLS: 240}
"""Bytes of a pair while it is read, by what it is read from."""
_BUFFER, _ID_BYTES = 390e6, 145
"""Of a log that is read on the disk: bytes in memory at a time, and bytes of an id."""


def _reading_memory(sizes: LogSizes, speed: Speed) -> float:
    """Return the bytes of the process at the peak of reading and splitting; pages of mapped files do not count."""
    if sizes.kind == DISK:
        return speed.reading_bytes + min(_BUFFER, 85 * sizes.num_pairs) + _ID_BYTES * (sizes.num_users + sizes.num_items)
    return speed.reading_bytes + _READ_BYTES[sizes.kind] * sizes.num_pairs


def _held_pairs(sizes: LogSizes) -> float:
    """Return the bytes of the data while a model is trained; on the disk they take none, but their ids do."""
    return _ID_BYTES * (sizes.num_users + sizes.num_items) if sizes.kind == DISK else 52 * sizes.num_pairs


_CLUSTER_KERNELS = 25e6
"""Bytes of the kernels of clusters and of what their threads hold; what is measured of a machine has those of full sweeps."""


def _training_memory(sizes: LogSizes, kept: Shape, config: Config, speed: Speed, everything: bool) -> float:
    """Return the bytes of the process at the peak of training.

    The peak is in one of two places: while the item graph is made, where each pair of items that are shared stands once, or while sweeps
    are done, with P from both sides. What the item graph took is partly still held by the allocator then.
    """
    base = speed.training_bytes + _held_pairs(sizes)
    graph = 8 * _graph_entries(kept, config)
    making = 4 * kept.different + 0.5 * graph if graph else 0.0
    left = 0.3 * making
    rows, larger = kept.users + kept.items, max(kept.users, kept.items)
    entries, neighbors = kept.entries(neighbors_of(config)), neighbors_of(config)
    tables = 4 * config.embedding_dim * (3 * rows + 2 * larger) + 80 * rows
    clusters = num_clusters(config, kept.users, kept.items)
    if clusters is None:
        work = 256.0 * larger
    else:
        spreads = 4 * max(clusters) * (2 * config.embedding_dim + config.embedding_dim**2 // 2)
        work = _CLUSTER_KERNELS + 4 * config.embedding_dim * larger + 12 * rows + 3 * spreads
    sweeping = entries * (24 if config.exclude_positives else 16) + 8 * kept.pairs + 8 * neighbors * kept.items
    before = 0.0
    if everything and sizes.num_test:  # the model that was measured, and what its training left
        before = model_bytes(kept, config) + 0.6 * left
    return base + before + max(making, graph + sweeping + max(left, tables + work))


def _ranking_memory(sizes: LogSizes, kept: Shape, config: Config, speed: Speed) -> float:
    """Return the bytes of the process that ranks for all users."""
    lists = min(_TOP_K * sizes.num_users, _LISTED_ROWS) * 90
    return speed.ranking_bytes + 1.1 * model_bytes(kept, config) + 8 * kept.pairs + lists


def plan(sizes: LogSizes, model: Recommender, speed: Speed, everything: bool, refit: bool = False) -> Plan:
    """Plan reading, training and ranking of any model, and say what to change where it does not fit.

    Parameters
    ----------
    sizes, speed, everything, refit
        As of `plan_ultragcn`.
    model : Recommender
        Not trained yet.

    Returns
    -------
    Plan
        For other models than UltraGCN with the exact solver, memory alone is predicted, and not that of ranking.
    """
    config: Any = model.config
    if isinstance(config, Config) and config.solver == "exact":
        made = plan_ultragcn(sizes, config, speed, everything, refit)
        return made if made.fits is not False else replace(made, advice=_advice(made, config, speed, everything, refit))
    kept = sizes.num_pairs if everything else sizes.num_train + sizes.num_valid if refit else sizes.num_train
    counts = Sizes(sizes.num_users, sizes.num_items, max(1, kept))
    squares = int(sizes.spread * counts.num_pairs**2 / sizes.num_users)
    arrays = solvers.memory(counts, config) if isinstance(config, Config) else memory_for(cast(Baseline, model), counts, squares)
    reading = Work(reading=450 * _NS * sizes.num_pairs)
    stages = [
        _stage("reading", _reading_memory(sizes, speed), reading.on(speed), speed.start_seconds, speed, "one"),
        Stage("training", int(max(speed.training_bytes + _held_pairs(sizes) + arrays, _reading_memory(sizes, speed))), None, None),
        Stage("ranking", None, None, None),
    ]
    made = Plan(sizes, name_of(model), stages, None, None, free_memory(), thread_limit() or num_cores())
    lighter = "fit on fewer items or fewer pairs" if isinstance(config, Config) else cast(Baseline, model)._lighter
    return made if made.fits is not False else replace(made, advice=[lighter, _machine_for(made)])


_SMALLER = (32, 16)
"""Lengths of embeddings that are tried where memory is short."""


def _advice(made: Plan, config: Config, speed: Speed, everything: bool, refit: bool) -> list[str]:
    """Return what to change in a training that does not fit, each with the memory that it would take then."""
    changes: list[dict[str, Any]] = [{"embedding_dim": size} for size in _SMALLER if size < config.embedding_dim]
    if config.resolved().item_graph_weight:
        changes.append({"item_graph_weight": 0.0})
    if neighbors_of(config):
        changes.append({"item_item_weight": 0.0})
    if num_clusters(config, made.sizes.num_users, made.sizes.num_items) is None:
        changes.append({"negatives": "clusters"})
    together: dict[str, Any] = {}
    advice = []
    for change in changes:
        memory = plan_ultragcn(made.sizes, config.replace(**change), speed, everything, refit).memory
        if memory < 0.97 * made.memory:
            together |= change
            advice.append(f"{_as_options(change)} would take {_gigabytes(memory)}")
    if everything:
        memory = plan_ultragcn(made.sizes, config, speed, False, refit).memory
        if memory < 0.97 * made.memory:
            advice.append(f"--keep measured would take {_gigabytes(memory)}")
    if len(together) > 1:
        memory = plan_ultragcn(made.sizes, config.replace(**together), speed, everything, refit).memory
        advice.append(f"{_as_options(together)} together would take {_gigabytes(memory)}")
    half = made.sizes._replace(
        num_users=max(1, made.sizes.num_users // 2), num_train=made.sizes.num_train // 2, num_valid=made.sizes.num_valid // 2,
        num_test=made.sizes.num_test // 2,
    )  # fmt: skip
    memory = plan_ultragcn(half, config, speed, everything, refit).memory
    advice.append(f"half of the users, or as many pairs less by --k_core, --min_rating or --where, would take {_gigabytes(memory)}")
    return [*advice, _machine_for(made)]


def _machine_for(made: Plan) -> str:
    return f"a machine with {_gigabytes(1.2 * made.memory)} of free memory has room for it as it is"


def _as_options(change: dict[str, Any]) -> str:
    return " ".join(f"--{name} {value:g}" if isinstance(value, float) else f"--{name} {value}" for name, value in change.items())


def _gigabytes(number: float) -> str:
    return f"{number / 1e9:.1f} GB"
