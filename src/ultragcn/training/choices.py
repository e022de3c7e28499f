"""What training chooses on held-out pairs where it is not given: the L2 strength, the weight of the item graph, and the trend."""

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from ultragcn.config import Config
from ultragcn.config.ultragcn import EXACT_GRAPH_WEIGHTS, EXACT_L2_FACTOR, EXACT_L2_FROM, EXACT_TREND_HALF_LIVES, EXACT_TREND_WEIGHTS
from ultragcn.data.interactions import Interactions
from ultragcn.evaluation.evaluate import Ranker, evaluate
from ultragcn.evaluation.metrics import labels_in_training
from ultragcn.loss.objective import Objective
from ultragcn.processes import current
from ultragcn.scoring.scorer import Scorer
from ultragcn.scoring.trend import has_span, log_recent_share
from ultragcn.solvers import Solver
from ultragcn.training.course import Course

T = TypeVar("T")


def measure_on(model: Ranker, targets: Interactions | None, select_by: str) -> Callable[[], dict[str, float]] | None:
    """Return what measures a model while it trains: metrics on held-out pairs by label, the first of them `select_by`.

    Without held-out pairs it is None. A `select_by` that is not a metric is refused in either case.
    """
    labels = labels_in_training(select_by)
    if targets is None:
        return None

    def measure() -> dict[str, float]:
        result = evaluate(model, targets, labels)
        return current().same({label: result[label] for label in labels})

    return measure


def worth(model: Ranker, targets: Interactions, select_by: str) -> float:
    """Return what a model is worth when its terms are chosen: the product of the metrics and of the number of users.

    Beyond the best recall, NDCG loses sooner than recall gains.
    """
    return current().same(math.prod(evaluate(model, targets, labels_in_training(select_by)).values()))


def on_some_users(targets: Interactions, number: int | None) -> Interactions:
    """Return the held-out pairs of at most `number` users, evenly spaced among those who have any; of all where it is None."""
    users = np.flatnonzero(targets.user_degrees)
    if number is None or len(users) <= number:
        return targets
    chosen = np.zeros(targets.num_users, np.bool_)
    chosen[users[np.linspace(0, len(users) - 1, number).astype(np.int64)]] = True
    return targets.part(chosen[targets.pairs[0]])


def first_l2(config: Config, targets: Interactions | None) -> float | None:
    """Return the L2 strength to begin with where it is chosen; None where it is given, or no pairs are held out."""
    return EXACT_L2_FROM if config.chooses_l2 and targets is not None else None


class L2Path:
    """The path of the L2 strength, along which validation says where to stop: it rises after every pass no better than the one before.

    Parameters
    ----------
    solver : Solver
        Told of every rise.
    objective : Objective
        The one it minimises now.
    config : Config
        The hyper-parameters as they were given, in which the L2 strengths to choose are open.
    course : Course
    """

    def __init__(self, solver: Solver, objective: Objective, config: Config, course: Course):
        self._solver, self._objective, self._config, self._course = solver, objective, config, course

    def go_on(self) -> None:
        """Raise the strength, if the last pass was no better than the one before."""
        course = self._course
        if course.l2 is not None and not course.rising:
            course.l2 *= EXACT_L2_FACTOR
            self._objective = self._objective.with_l2(self._config.with_l2(course.l2))
            self._solver.change(self._objective)


def choose_terms(
    config: Config, train: Interactions, scorer: Scorer, trend: Callable[[np.ndarray], np.ndarray], value: Callable[[Scorer], float]
) -> tuple[dict[str, float], Scorer]:
    """Choose the weight of the item graph, then that of the trend and its half-life, where they are not given.

    Parameters
    ----------
    config : Config
        The hyper-parameters as they were given.
    train : Interactions
    scorer : Scorer
        What the model ranks by now.
    trend : callable
        Returns the bias of the items, (I,) float32, that stands for a popularity b log q (I,).
    value : callable
        Returns what a scorer is worth on held-out pairs; larger is better.

    Returns
    -------
    chosen : dict
        Hyper-parameters by name.
    scorer : Scorer
        The one with them.
    """
    chosen: dict[str, float] = {}
    if config.chooses("item_graph_weight"):
        _ = scorer.unit_scale  # found once, and shared by all that follow
        weight, scorer = _best(((weight, scorer.with_graph_weight(weight)) for weight in EXACT_GRAPH_WEIGHTS), value)
        chosen["item_graph_weight"] = weight
    if config.chooses("item_trend_weight") and has_span(train):
        half_lives = EXACT_TREND_HALF_LIVES if config.item_trend_half_life is None else (config.item_trend_half_life,)
        shares = {half_life: log_recent_share(train, half_life) for half_life in half_lives}
        with_trend = (
            ((weight, half_life), scorer.with_item_bias(trend(weight * shares[half_life])))
            for weight, half_life in itertools.product(EXACT_TREND_WEIGHTS, half_lives)
        )
        usual: Any = config.resolved()
        none = (0.0, usual.item_trend_half_life), scorer.with_item_bias(None)
        (chosen["item_trend_weight"], chosen["item_trend_half_life"]), scorer = _best(itertools.chain([none], with_trend), value)
    return chosen, scorer


def _best(candidates: Iterable[tuple[T, Scorer]], value: Callable[[Scorer], float]) -> tuple[T, Scorer]:
    """Return the candidate of the largest value, the first of equals."""
    return max(candidates, key=lambda candidate: value(candidate[1]))
