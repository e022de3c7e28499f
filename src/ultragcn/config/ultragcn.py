"""Every hyper-parameter of UltraGCN, declared once: type, default, unit, range, meaning, and the name the authors gave it.

The estimator, the command line, the configuration files and the documentation all read this one list.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ultragcn.config.declare import HyperParameters, checked, parameter, seed_parameter
from ultragcn.config.foreign_names import suggestion
from ultragcn.errors import UsageError

EXACT_L2 = 0.13
"""rho for the exact solver where nothing is known of the data and nothing is held out: between the values chosen on validation data for the
benchmarks (configs/). The authors' l2_weight leans on early stopping, and over-fits where the loss is really minimised."""


EXACT_L2_FROM, EXACT_L2_FACTOR = 0.1, 1.7
"""Where pairs are held out, rho begins with the first, and is raised by the factor after every sweep no better than the one before."""


EXACT_GRAPH_WEIGHT = 0.2
"""Of the exact solver, where nothing is known of the data."""
EXACT_GRAPH_WEIGHTS = (0.05, 0.1, 0.2, 0.35, 0.6, 1.0)
"""Where pairs are held out, the one of these is kept that is best at the epoch kept: whose metrics have the greatest product."""


EXACT_TREND_WEIGHTS, EXACT_TREND_HALF_LIVES = (1.0, 2.0, 4.0), (2.0, 7.0, 30.0, 90.0, 365.0, 1000.0)
"""Where pairs are held out and times are known, the best of these weights and half-lives is kept, or no trend where that is better."""
_TREND_HALF_LIFE = 30.0
EXACT_SELECT_USERS = 20_000
"""What is chosen on so many users differs little from what is chosen on all of them, and costs less than a sweep."""
_CHOSEN = ("l2_user", "l2_item", "item_graph_weight", "item_trend_weight", "item_trend_half_life")


@dataclass(frozen=True)
class Config(HyperParameters):
    """The hyper-parameters of UltraGCN."""

    embedding_dim: int = parameter(64, "length of an embedding", unit="numbers", low=1)
    solver: str = parameter(
        "exact", "how the loss is minimised: exact samples nothing, sgd is the authors' procedure", choices=("exact", "sgd")
    )

    # The loss (docs/model.md).
    w1: float = parameter(1e-7, "constant part of a positive pair's weight", low=0)
    w2: float = parameter(1.0, "factor of beta in a positive pair's weight", low=0)
    w3: float = parameter(1e-7, "constant part of a negative pair's weight", low=0)
    w4: float = parameter(1.0, "factor of beta in a negative pair's weight", low=0)
    negative_weight: float = parameter(200.0, "weight of the mean over the negatives of a pair", low=0)
    num_item_neighbors: int = parameter(
        10, "number K of neighbours of an item in the co-occurrence graph", unit="items", low=0, authors="ii_neighbor_num"
    )
    item_item_weight: float = parameter(1e-3, "weight of the item-item term", low=0, authors="lambda")
    omega: str = parameter("authors", "formula of the item-item weights", choices=("authors", "paper"))
    l2_weight: float = parameter(1e-4, "L2 weight of all embeddings, applied once in each batch", low=0, authors="gamma")
    l2_user: float | None = parameter(
        None,
        "L2 strength of the users over an epoch",
        auto="exact chooses it on held-out pairs, from 0.1 upwards, or takes 0.13 without such pairs; sgd takes l2_weight times "
        "the number of batches",
        low=0,
    )
    l2_item: float | None = parameter(
        None,
        "L2 strength of the items over an epoch",
        auto="exact chooses it on held-out pairs, from 0.1 upwards, or takes 0.13 without such pairs; sgd takes l2_weight times "
        "the number of batches",
        low=0,
    )
    l2_user_exponent: float = parameter(0.0, "the L2 strength of a user grows with this power of its degree, at the same mean")
    l2_item_exponent: float = parameter(0.0, "the L2 strength of an item grows with this power of its degree, at the same mean")
    exclude_positives: bool = parameter(False, "never draw a user's own train items as negatives", authors="sampling_sift_pos")

    # The item graph at ranking time (docs/model.md).
    item_graph_weight: float | None = parameter(
        None,
        "weight of the item graph in the scores when ranking, relative to the spread of the scores; 0: no item graph, as in the paper",
        auto="exact chooses it on held-out pairs, or takes 0.2 without such pairs; sgd takes 0",
        low=0,
    )
    item_graph_l2: float = parameter(100.0, "L2 strength of the item graph's weights", unit="users", positive=True)
    item_graph_neighbors: int = parameter(
        100, "number of weights of an item in the item graph that the regression keeps; the walks keep twice as many", unit="items", low=1
    )
    item_graph_walk: float = parameter(
        0.5, "weight of the walks in the item graph, relative to the spread of its regression weights; 0: no walks", low=0
    )
    item_graph_walk_alpha: float = parameter(0.5, "power of the walks' transition probabilities", low=0)
    item_graph_walk_beta: float = parameter(0.5, "the walks of an item are divided by this power of its degree", low=0)

    # The trend at ranking time (docs/model.md).
    item_trend_weight: float | None = parameter(
        None,
        "weight of recent popularity when ranking, in place of the score of the mean user; needs the times of the interactions; "
        "0: no recent popularity",
        auto="exact chooses it on held-out pairs, or takes 0 without such pairs; sgd takes 0",
        low=0,
    )
    item_trend_half_life: float | None = parameter(
        None,
        "number of days after which an interaction counts half for recent popularity",
        auto="chosen on held-out pairs together with the weight, or 30 without such pairs",
        unit="days",
        positive=True,
    )

    # The exact solver (docs/exact-solver.md).
    start: str = parameter(
        "quadratic",
        "first embeddings of exact: quadratic: near the leading directions, then cheap sweeps on quadratic negatives; spectral: "
        "the leading directions to convergence, so that the seed hardly matters; random: random numbers",
        choices=("quadratic", "spectral", "random"),
    )
    start_sweeps: int = parameter(2, "number of sweeps of the start", unit="sweeps", low=1)
    start_l2: float = parameter(0.5, "L2 strength of the start, relative to the L2 strength of the sweeps", low=0)
    start_uniform_weight: float = parameter(
        0.0, "number that the start adds to w1 and w3; with a larger number, the weights of the start depend less on degrees", low=0
    )
    negatives: str = parameter(
        "auto",
        "how exact sums over the negatives of a row: full: over every cell; clusters: over clusters of the other side, which "
        "costs far less on large data; auto: clusters where they are cheaper",
        choices=("auto", "full", "clusters"),
    )
    num_clusters: int | None = parameter(
        None,
        "number of clusters of each side",
        auto="about 500 for 40,000 rows, 750 for a million",
        unit="clusters",
        low=1,
    )
    tile_megabytes: float | None = parameter(
        None,
        "memory for the scores that exact holds at a time, for each thread",
        auto="chosen for the processor",
        unit="MB",
        positive=True,
        high=1024,
    )

    # The sampled procedure.
    learning_rate: float = parameter(1e-3, "Adam's step size", positive=True)
    batch_size: int = parameter(1024, "number of train pairs in a batch", unit="pairs", low=1)
    num_negatives: int = parameter(200, "number of negatives drawn for each train pair", unit="items", low=1, authors="negative_num")
    init_std: float = parameter(1e-3, "standard deviation of the first embeddings", positive=True, authors="initial_weight")

    # When to stop.
    epochs: int | None = parameter(
        None,
        "most passes over the train pairs; for exact, most sweeps",
        auto="30 for exact, 2000 for sgd",
        unit="epochs",
        low=1,
        authors="max_epoch",
    )
    patience: int | None = parameter(
        None,
        "number of evaluations without a better value after which training stops",
        auto="3 for exact, or 8 where exact chooses the L2 strength; 15 for sgd",
        unit="evaluations",
        low=1,
        authors="early_stop_epoch",
    )  # fmt: skip
    tolerance: float = parameter(
        1e-3, "without validation data, a sweep of exact counts as better only if it lowers the loss by this share or more", low=0
    )
    evaluate_every: int = parameter(
        5,
        "number of epochs between evaluations of sgd, during its first 50 epochs; after these, and for exact, every epoch is evaluated",
        unit="epochs",
        low=1,
    )
    select_by: str = parameter("recall@20", "metric that chooses the epoch to keep")
    select_users: int | None = parameter(
        None,
        "number of users, evenly spaced among those with held-out pairs, on whom training is measured and choices are made; the "
        "final figures are of all users",
        auto="at most 20,000 for exact; all for sgd",
        unit="users",
        low=1,
    )

    # The machine.
    seed: int | None = seed_parameter()
    device: str = parameter(
        "auto",
        "the device on which training computes; auto: the CPU for exact, and for sgd a GPU if there is one",
        choices=("auto", "cpu", "cuda"),
    )
    tf32: bool = parameter(
        False, "on a GPU, exact rounds the factors of its products to TF32, which is faster and accurate to three digits"
    )

    def chooses(self, name: str) -> bool:
        """Return whether training chooses the hyper-parameter `name` on held-out pairs: exact chooses what is not given."""
        return self.solver == "exact" and name in _CHOSEN and getattr(self, name) is None

    @property
    def chooses_l2(self) -> bool:
        """Whether training chooses an L2 strength, given held-out pairs."""
        return self.chooses("l2_user") or self.chooses("l2_item")

    def with_l2(self, strength: float | None) -> "Config":
        """Return a copy with `strength` in place of L2 strengths that are not given."""
        return self.replace(**{name: strength for name in ("l2_user", "l2_item") if getattr(self, name) is None})

    def resolved(self) -> "Config":
        """Return a copy in which the values that the solver needs are not None: they have the solver's own defaults.

        Values that are chosen on held-out pairs have the value that they have without such pairs. Some values are still None. The seed is
        drawn, `tile_megabytes` depends on the processor, and `num_clusters` depends on the sizes of the data. For sgd, the L2 strengths
        depend on `l2_weight` and the train pairs, and `select_users` means all.
        """
        if self.solver == "exact":
            # An L2 strength that rises with sweeps that are no better than the one before must reach what data with much noise need.
            patience = 8 if self.chooses_l2 else 3
            own: dict[str, Any] = {
                "epochs": 30, "patience": patience, "l2_user": EXACT_L2, "l2_item": EXACT_L2, "item_graph_weight": EXACT_GRAPH_WEIGHT,
                "select_users": EXACT_SELECT_USERS,
            }  # fmt: skip
        else:
            own = {"epochs": 2000, "patience": 15, "item_graph_weight": 0.0}
        own |= {"item_trend_weight": 0.0, "item_trend_half_life": _TREND_HALF_LIFE}
        return dataclasses.replace(self, **{name: value for name, value in own.items() if getattr(self, name) is None})

    def in_use(self) -> dict[str, Any]:
        """Return all values in use by name. For a value that training chooses, return the values that it chooses from."""
        values = super().in_use()
        rising = (EXACT_L2, EXACT_L2_FROM, EXACT_L2_FACTOR)
        rules = {"l2_user": rising, "l2_item": rising, "item_graph_weight": (EXACT_GRAPH_WEIGHT, *EXACT_GRAPH_WEIGHTS),
                 "item_trend_weight": EXACT_TREND_WEIGHTS}  # fmt: skip
        if self.chooses("item_trend_weight") and self.item_trend_half_life is None:
            values["item_trend_half_life"] = EXACT_TREND_HALF_LIVES
        return values | {name: rule for name, rule in rules.items() if self.chooses(name)}

    @property
    def without_effect(self) -> dict[str, str]:
        """Hyper-parameters that have no effect beside the others, and what each of them needs."""
        return {name: lacking for names, lacking, has in _NEEDS if not has(self) for name in names}

    def replace(self, **changes: Any) -> "Config":
        """Return a copy with `changes`; an unknown name raises `UsageError` with the nearest known one."""
        return dataclasses.replace(self, **known_names(changes))


_NEEDS: tuple[tuple[tuple[str, ...], str, Callable[[Config], bool]], ...] = (
    (("l2_weight",), "l2_user or l2_item at auto", lambda config: config.l2_user is None or config.l2_item is None),
    (
        ("l2_weight", "learning_rate", "batch_size", "num_negatives", "init_std", "evaluate_every"), "solver sgd",
        lambda config: config.solver == "sgd",
    ),
    (
        ("start", "start_sweeps", "start_l2", "start_uniform_weight", "negatives", "num_clusters"), "solver exact",
        lambda config: config.solver == "exact",
    ),
    (("tf32",), "solver exact and device cuda", lambda config: config.solver == "exact" and config.device == "cuda"),
    (("start_sweeps", "start_l2", "start_uniform_weight"), "start quadratic or spectral", lambda config: config.start != "random"),
    (("num_clusters",), "negatives auto or clusters", lambda config: config.negatives != "full"),
    (("tile_megabytes",), "negatives auto or full", lambda config: config.negatives != "clusters"),
    (("num_item_neighbors", "omega"), "item_item_weight above 0", lambda config: config.item_item_weight > 0),
    (
        ("item_graph_l2", "item_graph_neighbors", "item_graph_walk", "item_graph_walk_alpha", "item_graph_walk_beta"),
        "item_graph_weight above 0", lambda config: bool(config.resolved().item_graph_weight),
    ),
    (("item_graph_walk_alpha", "item_graph_walk_beta"), "item_graph_walk above 0", lambda config: config.item_graph_walk > 0),
    (
        ("item_trend_half_life",), "item_trend_weight above 0",
        lambda config: config.chooses("item_trend_weight") or bool(config.item_trend_weight),
    ),
)  # fmt: skip
"""Names, what they need to have an effect, and whether a configuration has it."""


PARAMETERS: dict[str, dataclasses.Field[Any]] = {declared.name: declared for declared in fields(Config)}
"""Every hyper-parameter by our name."""
TOPICS: dict[str, str] = {
    "embedding_dim": "the model",
    "w1": "the loss",
    "item_graph_weight": "ranking",
    "start": "solver exact",
    "learning_rate": "solver sgd",
    "epochs": "when to stop",
    "seed": "the machine",
}
"""The hyper-parameter that a group of them begins with -> what the group is about."""


AUTHORS_NAMES: dict[str, str] = {p.metadata["authors"]: p.name for p in PARAMETERS.values() if p.metadata["authors"]}
"""The authors' name of a hyper-parameter -> ours, understood in their `.ini` files: on some the paper and the code disagree."""


def known_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values`, whose names are all ours; any other name raises `UsageError` with the one that is probably meant."""
    for name in values:
        if name not in PARAMETERS:
            near = suggestion(name, PARAMETERS)
            raise UsageError(f"unknown hyper-parameter {name!r}{near or '; ultragcn train --help lists them all'}")
    return dict(values)


def from_authors(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an `.ini` file says, which may have the authors' names and ours, under our names."""
    renamed: dict[str, Any] = {}
    for name, value in values.items():
        ours = AUTHORS_NAMES.get(name, name)
        if ours in renamed:
            raise UsageError(f"{ours} is given twice, once under the name {name!r}; give it once")
        renamed[ours] = value
    return known_names(renamed)


def parse_value(name: str, text: str) -> Any:
    """Return the value that `text` means for hyper-parameter `name`, checked."""
    return checked(PARAMETERS[name], text)
