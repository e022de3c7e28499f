"""Every hyper-parameter of UltraGCN, declared once: type, default, unit, range, meaning, and the name the authors gave it.

The estimator, the command line, the configuration files and the documentation all read this one list.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ultragcn.config.declare import HyperParameters, checked, parameter
from ultragcn.errors import UsageError, did_you_mean

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
    l2_user: float = parameter(
        -1.0,
        "L2 strength of the users over an epoch; -1: the solver's own, l2_weight times the batches for sgd; for exact 0.13, or chosen on "
        "held-out pairs, from 0.1 upwards",
        low=0,
    )
    l2_item: float = parameter(
        -1.0,
        "L2 strength of the items over an epoch; -1: the solver's own, l2_weight times the batches for sgd; for exact 0.13, or chosen on "
        "held-out pairs, from 0.1 upwards",
        low=0,
    )
    l2_user_exponent: float = parameter(0.0, "the L2 strength of a user grows with this power of its degree, at the same mean")
    l2_item_exponent: float = parameter(0.0, "the L2 strength of an item grows with this power of its degree, at the same mean")
    exclude_positives: bool = parameter(False, "never draw a user's own train items as negatives", authors="sampling_sift_pos")

    # The item graph at ranking time (docs/model.md).
    item_graph_weight: float = parameter(
        -1.0,
        "how much the item graph adds to the scores when ranking, relative to how much they vary; 0: nothing, as in the paper; "
        "-1: the solver's own, 0 for sgd; for exact 0.2, or chosen on held-out pairs",
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
    item_trend_weight: float = parameter(
        -1.0,
        "how much popularity of late counts when ranking, in place of the mean user's score; needs the times of the interactions; 0: that "
        "score stays; -1: the solver's own, 0 for sgd; for exact 0, or chosen on held-out pairs",
        low=0,
    )
    item_trend_half_life: float = parameter(
        -1.0,
        "days after which an interaction counts half for popularity of late; -1: 30, or chosen on held-out pairs with the weight",
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
    sampled_sweeps: int = parameter(0, "sweeps of exact, from the first, that look at a share of the cells", unit="sweeps", low=0)
    cell_share: float = parameter(0.5, "share of the cells that sampled_sweeps look at", positive=True, high=1)
    tile_megabytes: float = parameter(
        0.0, "scores that exact holds at a time, per thread; 0: as many as suit the processor", unit="MB", low=0, high=1024
    )

    # The sampled procedure.
    learning_rate: float = parameter(1e-3, "Adam's step size", positive=True)
    batch_size: int = parameter(1024, "train pairs in a batch", unit="pairs", low=1)
    num_negatives: int = parameter(200, "negatives drawn for each train pair", unit="items", low=1, authors="negative_num")
    init_std: float = parameter(1e-3, "standard deviation of the first embeddings", positive=True, authors="initial_weight")

    # When to stop.
    epochs: int = parameter(
        0,
        "passes over the train pairs (exact: sweeps) at most; 0: the solver's own, 2000 for sgd and 30 for exact",
        unit="epochs",
        low=1,
        authors="max_epoch",
    )
    patience: int = parameter(
        0,
        "evaluations without a better value before stopping; 0: the solver's own, 15 for sgd and 3 for exact, 8 where the L2 strength is "
        "not given",
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

    # The machine.
    seed: int = parameter(0, "fixes everything random; -1 draws one and records it", low=-1)
    device: str = parameter("auto", "where sgd computes; auto takes a GPU when there is one", choices=("auto", "cpu", "cuda"))

    @property
    def max_epochs(self) -> int:
        """Passes at most: `epochs`, or the solver's usual number."""
        return self.epochs or {"exact": 30, "sgd": 2000}[self.solver]

    @property
    def max_patience(self) -> int:
        """Evaluations without a better value before stopping: `patience`, or the solver's usual number."""
        # An L2 strength that rises with sweeps that are no better than the one before must reach what data with much noise need.
        return self.patience or {"exact": 8 if self.chooses_l2 else 3, "sgd": 15}[self.solver]

    @property
    def graph_weight(self) -> float:
        """Weight of the item graph when ranking: `item_graph_weight`, or the solver's own."""
        return self.item_graph_weight if self.item_graph_weight >= 0 else {"exact": EXACT_GRAPH_WEIGHT, "sgd": 0.0}[self.solver]

    @property
    def chooses_graph_weight(self) -> bool:
        """Return whether training chooses the weight of the item graph, given held-out pairs."""
        return self.solver == "exact" and self.item_graph_weight < 0

    @property
    def trend_weight(self) -> float:
        """Weight of the trend when ranking: `item_trend_weight`, or the solver's own."""
        return max(self.item_trend_weight, 0.0)

    @property
    def trend_half_life(self) -> float:
        """Half-life of the trend in days: `item_trend_half_life`, or the usual one."""
        return self.item_trend_half_life if self.item_trend_half_life > 0 else _TREND_HALF_LIFE

    @property
    def chooses_trend(self) -> bool:
        """Return whether training chooses the weight of the trend, given held-out pairs and times."""
        return self.solver == "exact" and self.item_trend_weight < 0

    @property
    def chooses_l2(self) -> bool:
        """Return whether training chooses an L2 strength, given held-out pairs."""
        return self.solver == "exact" and min(self.l2_user, self.l2_item) < 0

    def with_l2(self, strength: float) -> "Config":
        """Return a copy with `strength` in place of L2 strengths that are not given."""
        return self.replace(**{name: strength for name in ("l2_user", "l2_item") if getattr(self, name) < 0})

    def resolved(self) -> dict[str, Any]:
        """Return all hyper-parameters by name, the solver's own values in place of what stands for them."""
        own: dict[str, Any] = {"epochs": self.max_epochs, "patience": self.max_patience, "item_graph_weight": self.graph_weight}
        if self.solver == "exact":
            rising = (EXACT_L2, EXACT_L2_FROM, EXACT_L2_FACTOR)
            own |= {name: rising for name in ("l2_user", "l2_item") if getattr(self, name) < 0}
        if self.chooses_graph_weight:
            own["item_graph_weight"] = (EXACT_GRAPH_WEIGHT, *EXACT_GRAPH_WEIGHTS)
        own |= {"item_trend_weight": self.trend_weight, "item_trend_half_life": self.trend_half_life}
        if self.chooses_trend:
            own["item_trend_weight"] = EXACT_TREND_WEIGHTS
            own["item_trend_half_life"] = EXACT_TREND_HALF_LIVES if self.item_trend_half_life < 0 else self.item_trend_half_life
        return self.to_dict() | own

    @property
    def without_effect(self) -> dict[str, str]:
        """Hyper-parameters that change nothing beside the others, and what each lacks."""
        return {name: lacking for names, lacking, has in _NEEDS if not has(self) for name in names}

    def replace(self, **changes: Any) -> "Config":
        """Return a copy with `changes`; the authors' names are understood too."""
        return dataclasses.replace(self, **our_names(changes))


_NEEDS: tuple[tuple[tuple[str, ...], str, Callable[[Config], bool]], ...] = (
    (("l2_weight",), "l2_user or l2_item at -1", lambda config: min(config.l2_user, config.l2_item) < 0),
    (
        ("l2_weight", "learning_rate", "batch_size", "num_negatives", "init_std", "evaluate_every", "device"), "solver sgd",
        lambda config: config.solver == "sgd",
    ),
    (
        ("start", "start_sweeps", "start_l2", "start_uniform_weight", "sampled_sweeps", "cell_share"), "solver exact",
        lambda config: config.solver == "exact",
    ),
    (("start_sweeps", "start_l2", "start_uniform_weight"), "start quadratic or spectral", lambda config: config.start != "random"),
    (("cell_share",), "sampled_sweeps above 0", lambda config: config.sampled_sweeps > 0),
    (("num_item_neighbors", "omega"), "item_item_weight above 0", lambda config: config.item_item_weight > 0),
    (
        ("item_graph_l2", "item_graph_neighbors", "item_graph_walk", "item_graph_walk_alpha", "item_graph_walk_beta"),
        "item_graph_weight above 0", lambda config: config.graph_weight > 0,
    ),
    (("item_graph_walk_alpha", "item_graph_walk_beta"), "item_graph_walk above 0", lambda config: config.item_graph_walk > 0),
    (("item_trend_half_life",), "item_trend_weight above 0", lambda config: config.chooses_trend or config.trend_weight > 0),
)  # fmt: skip
"""Names, what they need to have an effect, and whether a configuration has it."""


PARAMETERS: dict[str, dataclasses.Field] = {declared.name: declared for declared in fields(Config)}
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
"""The authors' name of a hyper-parameter -> ours."""


def our_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` under our names; an unknown name raises `UsageError` with the nearest known one."""
    renamed: dict[str, Any] = {}
    for name, value in values.items():
        ours = AUTHORS_NAMES.get(name, name)
        if ours not in PARAMETERS:
            near = did_you_mean(name, [*PARAMETERS, *AUTHORS_NAMES])
            raise UsageError(f"unknown hyper-parameter {name!r}{near or '; ultragcn train --help lists them all'}")
        if ours in renamed:
            raise UsageError(f"{ours} is given twice, once as {name!r}; give it once")
        renamed[ours] = value
    return renamed


def parse_value(name: str, text: str) -> Any:
    """Return the value that `text` means for hyper-parameter `name`, checked."""
    return checked(PARAMETERS[name], text)
