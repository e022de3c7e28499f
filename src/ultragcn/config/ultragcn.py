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
    negative_weight: float = parameter(200.0, "weight of the mean over a pair's negatives", low=0)
    num_item_neighbors: int = parameter(10, "item neighbours K of an item", unit="items", low=0, authors="ii_neighbor_num")
    item_item_weight: float = parameter(1e-3, "weight of the item-item term", low=0, authors="lambda")
    omega: str = parameter("authors", "formula of the item-item weights", choices=("authors", "paper"))
    l2_weight: float = parameter(1e-4, "L2 weight of all embeddings, once a batch", low=0, authors="gamma")
    l2_user: float | None = parameter(
        None,
        "L2 strength of the users over an epoch",
        auto="for exact 0.13, or chosen on held-out pairs from 0.1 upwards; for sgd l2_weight times the batches",
        low=0,
    )
    l2_item: float | None = parameter(
        None,
        "L2 strength of the items over an epoch",
        auto="for exact 0.13, or chosen on held-out pairs from 0.1 upwards; for sgd l2_weight times the batches",
        low=0,
    )
    l2_user_exponent: float = parameter(0.0, "the L2 strength of a user grows with this power of its degree, at the same mean")
    l2_item_exponent: float = parameter(0.0, "the L2 strength of an item grows with this power of its degree, at the same mean")
    exclude_positives: bool = parameter(False, "never draw a user's own train items as negatives", authors="sampling_sift_pos")

    # The item graph at ranking time (docs/model.md).
    item_graph_weight: float | None = parameter(
        None,
        "how much the item graph adds to the scores when ranking, relative to how much they vary; 0: nothing, as in the paper",
        auto="for exact 0.2, or chosen on held-out pairs; for sgd 0",
        low=0,
    )
    item_graph_l2: float = parameter(100.0, "L2 strength of the item graph's weights", unit="users", positive=True)
    item_graph_neighbors: int = parameter(
        100, "weights that regression leaves an item in the item graph; walks leave twice as many", unit="items", low=1
    )
    item_graph_walk: float = parameter(
        0.5, "how much walks add to the item graph, relative to how much its regression weights vary; 0: regression weights alone", low=0
    )
    item_graph_walk_alpha: float = parameter(0.5, "power of the walks' transition probabilities", low=0)
    item_graph_walk_beta: float = parameter(0.5, "power of the item's degree that its walks are divided by", low=0)

    # The trend at ranking time (docs/model.md).
    item_trend_weight: float | None = parameter(
        None,
        "how much popularity of late counts when ranking, in place of the mean user's score; needs the times of the interactions; 0: that "
        "score stays",
        auto="for exact 0, or chosen on held-out pairs; for sgd 0",
        low=0,
    )
    item_trend_half_life: float | None = parameter(
        None,
        "days after which an interaction counts half for popularity of late",
        auto="30, or chosen on held-out pairs with the weight",
        unit="days",
        positive=True,
    )

    # The exact solver (docs/exact-solver.md).
    start: str = parameter(
        "quadratic",
        "first embeddings of exact: about the leading directions, then cheap sweeps on quadratic negatives; spectral: from the leading "
        "directions to convergence, so that the seed hardly counts; or random",
        choices=("quadratic", "spectral", "random"),
    )
    start_sweeps: int = parameter(2, "sweeps of the start", unit="sweeps", low=1)
    start_l2: float = parameter(0.5, "L2 strength of the start, relative to that of the sweeps", low=0)
    start_uniform_weight: float = parameter(
        0.0, "what the start adds to w1 and w3: the larger, the less its weights depend on degrees", low=0
    )
    negatives: str = parameter(
        "auto",
        "what stands for the negatives of a row in exact: full visits every cell; clusters of the other side stand for its members, which "
        "costs far less on large data; auto takes clusters where they are cheaper",
        choices=("auto", "full", "clusters"),
    )
    num_clusters: int | None = parameter(
        None,
        "clusters of each side",
        auto="about 500 for 40,000 rows, 750 for a million",
        unit="clusters",
        low=1,
    )
    tile_megabytes: float | None = parameter(
        None, "scores that exact holds at a time, per thread", auto="as many as suit the processor", unit="MB", positive=True, high=1024
    )

    # The sampled procedure.
    learning_rate: float = parameter(1e-3, "Adam's step size", positive=True)
    batch_size: int = parameter(1024, "train pairs in a batch", unit="pairs", low=1)
    num_negatives: int = parameter(200, "negatives drawn for each train pair", unit="items", low=1, authors="negative_num")
    init_std: float = parameter(1e-3, "standard deviation of the first embeddings", positive=True, authors="initial_weight")

    # When to stop.
    epochs: int | None = parameter(
        None,
        "passes over the train pairs (exact: sweeps) at most",
        auto="for exact 30, for sgd 2000",
        unit="epochs",
        low=1,
        authors="max_epoch",
    )
    patience: int | None = parameter(
        None,
        "evaluations without a better value before stopping",
        auto="for exact 3, or 8 where the L2 strength is not given; for sgd 15",
        unit="evaluations",
        low=1,
        authors="early_stop_epoch",
    )  # fmt: skip
    tolerance: float = parameter(
        1e-3, "without validation data, a pass of exact that lowers the loss by a smaller share than this is no better", low=0
    )
    evaluate_every: int = parameter(
        5, "epochs of sgd between evaluations during the first 50; afterwards, and for exact, every epoch", unit="epochs", low=1
    )
    select_by: str = parameter("recall@20", "metric that chooses the epoch to keep")
    select_users: int | None = parameter(
        None,
        "users, evenly spaced among those with held-out pairs, on whom training measures itself and chooses; the final figures are of all",
        auto="for exact 20,000 at most; for sgd all",
        unit="users",
        low=1,
    )

    # The machine.
    seed: int | None = seed_parameter()
    device: str = parameter(
        "auto", "where training computes; auto is the CPU for exact, and for sgd a GPU when there is one", choices=("auto", "cpu", "cuda")
    )
    tf32: bool = parameter(False, "on a GPU, round the factors of exact's products to TF32: faster, and exact to three digits")

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
        """Return a copy in which nothing is None that the solver needs: its own values are in place.

        What is chosen on held-out pairs has the value that it has without such pairs. What is still None is the seed, which is drawn,
        `tile_megabytes`, which suits the processor, `num_clusters`, which follows from the sizes of the data, and for sgd the L2 strengths,
        which follow from `l2_weight` and the train pairs, and `select_users`, which are all.
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
        """Return all values in use by name; of what training chooses itself, those that it chooses from."""
        values = super().in_use()
        rising = (EXACT_L2, EXACT_L2_FROM, EXACT_L2_FACTOR)
        rules = {"l2_user": rising, "l2_item": rising, "item_graph_weight": (EXACT_GRAPH_WEIGHT, *EXACT_GRAPH_WEIGHTS),
                 "item_trend_weight": EXACT_TREND_WEIGHTS}  # fmt: skip
        if self.chooses("item_trend_weight") and self.item_trend_half_life is None:
            values["item_trend_half_life"] = EXACT_TREND_HALF_LIVES
        return values | {name: rule for name, rule in rules.items() if self.chooses(name)}

    @property
    def without_effect(self) -> dict[str, str]:
        """Hyper-parameters that change nothing beside the others, and what each lacks."""
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
            raise UsageError(f"{ours} is given twice, once as {name!r}; give it once")
        renamed[ours] = value
    return known_names(renamed)


def parse_value(name: str, text: str) -> Any:
    """Return the value that `text` means for hyper-parameter `name`, checked."""
    return checked(PARAMETERS[name], text)
