"""Updating a trained model with new interactions: the log grows, the model follows, and a report says what that did.

Letters: U users, I items, Q users whose lists are compared.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from ultragcn import rng
from ultragcn.data.had import had_beside
from ultragcn.data.ids import Id, IdMap
from ultragcn.data.interactions import Interactions
from ultragcn.data.options import DataOptions
from ultragcn.data.reading import Rated, read_rated
from ultragcn.errors import DataError, UsageError, counted, unknown_name
from ultragcn.evaluation.evaluate import evaluate_by_user
from ultragcn.progress import Progress, progress_of

MEASURES = ("estimate", "retrain", "none")
"""How far the new model is from one trained anew: estimated by going on with the sweeps; measured by training anew; or not looked at."""
GRAPHS = ("new", "old")
"""Which item graph the new model has: that of the new log, or the old one, with weights of walks for new items alone."""
BOUND = 0.01
"""Of Recall@20, relative: where the distance passes it, the report advises to train anew."""
FEWEST_PAIRS = 100
"""Of fewer held-out pairs the report gives no advice."""
NOTHING = "nothing new"
"""How a model followed a log in which nothing is new: it is the old one."""
SWEEPS = 1
"""Of all rows, after new rows have been put in place."""
_HELD_SHARE, _HELD_PAIRS, _MOST_HELD = 0.1, 2000, 3  # a tenth of the new pairs, of few more, but at most a third
_TOP_K = 20
_LABELS = ("recall@20", "ndcg@20")
_LIST_USERS = 2000


class Updated(NamedTuple):
    """What `update` returns."""

    model: Any
    """The new model; the old one has not changed. Where nothing is new, the old one itself."""
    report: dict[str, Any]
    """What changed; docs/updating.md says what each figure is."""


@dataclass(frozen=True)
class Growth:
    """A log that has grown, and where the rows of the log before are in it."""

    log: Interactions
    user_rows: np.ndarray  # (users before,) int64, -1 where the user is forgotten
    item_rows: np.ndarray  # (items before,) int64
    new_users: np.ndarray  # (U,) bool: without a pair before
    new_items: np.ndarray  # (I,) bool
    fresh: np.ndarray  # (N,) bool: which pairs of the log are new
    when: np.ndarray | None = None  # (N,) int64, when the new ones were; None: not known

    def without(self, held_out: np.ndarray) -> "Growth":
        """Return the same without the pairs of a mask (N,), all of them new; ids and rows stay."""
        return replace(
            self, log=self.log.part(~held_out), fresh=self.fresh[~held_out], when=None if self.when is None else self.when[~held_out]
        )

    def moved(self, table: np.ndarray, rows: np.ndarray, number: int) -> np.ndarray:
        """Return a `table` of the log before, (rows before, ...), in the rows of this log: (number, ...), zero in new rows."""
        result = np.zeros((number, *table.shape[1:]), table.dtype)
        result[rows[rows >= 0]] = table[rows >= 0]
        return result

    def moved_graph(self, graph: sp.csr_matrix) -> sp.csr_matrix:
        """Return an item graph of the log before over the items of this log, (I, I), without weights of new items."""
        lengths = np.zeros(self.log.num_items, np.int64)
        lengths[self.item_rows] = np.diff(graph.indptr)
        # Items keep their order, so rows and columns do.
        columns, indptr = self.item_rows[graph.indices].astype(graph.indices.dtype), np.concatenate([[0], np.cumsum(lengths)])
        return sp.csr_matrix((graph.data, columns, indptr), (self.log.num_items,) * 2)


def updated(
    model: Any,
    interactions: Any,
    forget: Iterable[Id] = (),
    *,
    history: Interactions | None = None,
    sweeps: int | None = None,
    item_graph: str = "new",
    measure: str = "estimate",
    progress: Progress | bool | None = None,
    reading: Mapping[str, Any] | None = None,
) -> Updated:
    """Return the model that `model` becomes with more interactions, and a report; see `Recommender.update`."""
    if measure not in MEASURES:
        raise unknown_name("measure", measure, MEASURES)
    if item_graph not in GRAPHS:
        raise unknown_name("item_graph", item_graph, GRAPHS)
    if sweeps is not None and (isinstance(sweeps, bool) or not isinstance(sweeps, (int, np.integer)) or sweeps < 0):
        raise UsageError(f"sweeps must be a whole number of 0 or more, or None for {SWEEPS}, not {sweeps!r}")
    if (refusal := model._update_refusal) is not None:
        raise UsageError(refusal)
    forget = list(forget)
    had: Interactions | None = None
    if interactions is None or (isinstance(interactions, (list, tuple)) and len(interactions) == 0):
        if not forget:
            raise UsageError("there are no new interactions and nobody to forget, so nothing changes; give interactions, forget or both")
        new = _history(model, history).part(np.zeros(len(_history(model, history)), np.bool_))
    elif isinstance(interactions, Interactions):
        if reading:
            raise UsageError(f"{next(iter(reading))} says how files, frames and matrices are read, and interactions are read already")
        new = interactions
    else:
        new, had = interactions if isinstance(interactions, Rated) else _read(model, interactions, reading or {})
    old, show = _history(model, history), progress_of(progress)
    growth, counts = grow(old, new, forget)
    if model._update_needs_times and growth.log.times is None:
        lacking = "the new interactions" if old.times is not None else "the interactions it was trained on, which its file does not hold"
        raise UsageError(
            f"this model ranks by a trend, so update needs the times of {lacking}; give time_column for new ones, and history for those "
            "before, or refit"
        )
    had_after = had_beside([model.had_, had], growth.log)
    if _is_nothing_new(model, old, growth, counts) and len(had_after or ()) == len(model.had_ or ()):
        return Updated(model, _report_of_nothing(model, counts))
    plan = Plan(SWEEPS if sweeps is None else int(sweeps), item_graph == "old")
    started = time.perf_counter()
    grown, course = model._grown(growth, plan, show)
    seconds = time.perf_counter() - started
    grown.had_, grown.reading_ = had_after, dict(model.reading_)
    grown.item_titles_ = _titles(model.item_titles_, growth)
    grown.items_table_ = None if model.items_table_ is None else model.items_table_.moved(growth.item_rows, growth.log.item_ids)
    report = {"how": course.how, "sweeps": course.sweeps, "losses": course.losses} | counts | _overlap(model, grown, growth)
    report["held_out"] = report["distance"] = None
    if measure != "none" and (found := _held_out(growth, getattr(model, "seed_", 0))) is not None:
        report |= _measured(model, growth, *found, plan, measure, show)
    report["advice"] = _advice(report)
    report["seconds"], report["measuring_seconds"] = seconds, time.perf_counter() - started - seconds
    return Updated(grown, report)


def _is_nothing_new(model: Any, old: Interactions, growth: Growth, counts: Mapping[str, Any]) -> bool:
    """Return whether all given pairs are known and nobody is forgotten; of a model that ranks by a trend, whether times are known too."""
    if counts["pairs"]["new"] or counts["pairs"]["forgotten"] or counts["users"]["forgotten"]:
        return False
    before, after = old.times, growth.log.times
    return not model._update_needs_times or (before is not None and after is not None and np.array_equal(before, after))


def _report_of_nothing(model: Any, counts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report of an update that brings nothing."""
    known, users = counts["pairs"]["known_already"], int((np.diff(model.seen_.indptr) > 0).sum())
    return {"how": NOTHING, "sweeps": 0, "losses": []} | dict(counts) | {
        "overlap@20": 1.0 if users else None, "overlap_users": min(users, _LIST_USERS), "held_out": None, "distance": None,
        "advice": nothing_new(known), "seconds": 0.0, "measuring_seconds": 0.0,
    }  # fmt: skip


def nothing_new(known: int) -> str:
    """Return what is said where all of so many pairs are known."""
    return f"nothing is new: {'the pair is' if known == 1 else f'all {known} pairs are'} known"


def _read(model: Any, source: Any, reading: Mapping[str, Any]) -> Rated:
    """Return what a source says, read as the log of `model` was, except for what `reading` says and for `k_core`."""
    kept = model._reading_for(source, reading, model._update_needs_times)
    if "k_core" not in reading:  # a few new pairs are no core by themselves
        kept.pop("k_core", None)
    return read_rated(source, DataOptions().replace(**kept))


class Plan(NamedTuple):
    """How a model is to follow its log."""

    sweeps: int
    keeps_graph: bool = False
    """Whether the old item graph stays, which is most of the work of an update."""


@dataclass
class Course:
    """How a model followed its log."""

    how: str
    """ "warm": its embeddings went on from where they were; "anew": it was trained on the whole log."""
    losses: list[float]
    solver: Any = None
    """What goes on from here; None where nothing does."""

    @property
    def sweeps(self) -> int:
        """Passes over all rows."""
        return len(self.losses)


def _history(model: Any, history: Interactions | None) -> Interactions:
    """Return all pairs that `model` has seen, with their times where they are known."""
    seen: Interactions = model.train_ if model.valid_ is None else model.train_.union(model.valid_)
    if len(seen) == 0:
        raise UsageError(
            "this model holds no histories of its users, and update needs them; update the model that has them, or refit on all pairs"
        )
    if history is None:
        return seen
    same = history.user_ids == seen.user_ids and history.item_ids == seen.item_ids and len(history) == len(seen)
    if not same or not np.array_equal(history.matrix.indices, seen.matrix.indices):
        raise UsageError(
            f"history must be the {counted(len(seen), 'pair')} that the model was trained on, and it is other "
            f"{counted(len(history), 'pair')}; give those, or refit"
        )
    return history


def grow(old: Interactions, new: Interactions, forget: Iterable[Id] = ()) -> tuple[Growth, dict[str, Any]]:
    """Return the log `old` with the pairs of `new` and without the users to `forget`, and what changed, counted.

    Ids that no pair of `new` has are left out of it. Pairs that were there count once, with their later time. A user to forget is
    forgotten in `new` too.

    Raises
    ------
    UsageError
        A user to forget is unknown to both; or ids are of another kind than before.
    DataError
        The update changes nothing, or no pair is left.
    """
    new = _like(old, new)
    forget = list(forget)
    before, among_new = old.user_ids.find(forget), new.user_ids.find(forget)
    if (strange := (before < 0) & (among_new < 0)).any():
        old.user_ids.rows([forget[int(np.flatnonzero(strange)[0])]])  # which says what is wrong
    forgotten = np.isin(np.arange(old.num_users), before)
    new = new.part(~np.isin(new.pairs[0], among_new))
    if len(new) == 0 and not forgotten.any():
        raise DataError("there are no new interactions and nobody to forget, so nothing changes; give at least one pair")
    kept = old.part(~forgotten[old.pairs[0]])
    if len(kept) + len(new) == 0:
        raise DataError("no interactions are left when these users are forgotten; keep at least one user")
    given_users, given_items = new.user_ids.ids[new.user_degrees > 0], new.item_ids.ids[new.item_degrees > 0]
    user_ids = IdMap.of(np.concatenate([old.user_ids.ids[~forgotten], given_users]), "user")
    item_ids = IdMap.of(np.concatenate([old.item_ids.ids, given_items]), "item")
    kept, new = (_over(part, user_ids, item_ids) for part in (kept, new))
    log = kept.union(new)
    was_there = np.zeros(len(log), bool)
    was_there[np.searchsorted(log._keys, kept._keys)] = True
    when = None
    if new.times is not None:
        when = np.zeros(len(log), np.int64)
        when[np.searchsorted(log._keys, new._keys)] = new.times
    growth = Growth(
        log, user_ids.find(old.user_ids.ids), item_ids.find(old.item_ids.ids), (kept.user_degrees == 0) & (log.user_degrees > 0),
        (kept.item_degrees == 0) & (log.item_degrees > 0), ~was_there, when,
    )  # fmt: skip
    added = len(log) - len(kept)
    sizes = (
        (old.num_users, log.num_users, int(forgotten.sum())),
        (old.num_items, log.num_items, 0),
        (len(old), len(log), len(old) - len(kept)),
    )
    counts: dict[str, Any] = {
        name: {"before": first, "new": last - first + gone, "forgotten": gone, "after": last}
        for name, (first, last, gone) in zip(("users", "items", "pairs"), sizes, strict=True)
    }
    counts["pairs"]["known_already"] = len(new) - added
    return growth, counts


def _like(old: Interactions, new: Interactions) -> Interactions:
    """Return `new` with ids of the kind that `old` has: numbers become texts where those of `old` are texts."""
    maps = []
    for ours, theirs in ((old.user_ids, new.user_ids), (old.item_ids, new.item_ids)):
        if ours.are_strings == theirs.are_strings or not len(theirs):
            maps.append((theirs if len(theirs) else IdMap(ours.ids[:0], ours.what), np.arange(len(theirs))))
        elif ours.are_strings:
            texts = np.array([str(one) for one in theirs.ids.tolist()], dtype=object)
            order = np.argsort(texts)
            maps.append((IdMap(texts[order], ours.what), order))
        else:
            raise UsageError(
                f"{ours.what} ids of the model are integers such as {ours.shown(0)}, and those of the new interactions are strings such as "
                f"{theirs.shown(0)}; give them as integers"
            )
    (user_ids, users), (item_ids, items) = maps
    if user_ids is new.user_ids and item_ids is new.item_ids:
        return new
    keys = np.empty(len(new), np.int64) if new.times is None else new.times
    places = sp.csr_matrix((np.arange(1, len(new) + 1), new.matrix.indices, new.matrix.indptr), new.matrix.shape)[users][:, items]
    places.sort_indices()
    return Interactions(places, user_ids, item_ids, None if new.times is None else keys[places.data - 1])


def _over(part: Interactions, user_ids: IdMap, item_ids: IdMap) -> Interactions:
    """Return the pairs over other ids, among which are those of all pairs."""
    degrees = np.zeros(len(user_ids), np.int64)
    there = np.flatnonzero(part.user_degrees)
    degrees[user_ids.rows(part.user_ids.ids[there])] = part.user_degrees[there]
    # Both maps ascend, so rows and columns keep their order.
    columns = item_ids.find(part.item_ids.ids)[part.matrix.indices].astype(np.int32)
    matrix = sp.csr_matrix(
        (np.ones(len(part), np.float32), columns, np.concatenate([[0], np.cumsum(degrees)])), (len(user_ids), len(item_ids))
    )
    return Interactions._of(matrix, user_ids, item_ids, part.times)


def _titles(titles: np.ndarray | None, growth: Growth) -> np.ndarray | None:
    """Return the titles of the items, "" for new ones; None where there were none."""
    if titles is None:
        return None
    result = np.full(growth.log.num_items, "", dtype=object)
    result[growth.item_rows] = titles
    return result


# ------------------------------------------------------------------- measuring


class _Before:
    """The old model as a ranker over the new ids: it lists old items alone, and folds new users in by the old items they have."""

    def __init__(self, model: Any, growth: Growth):
        self._model, self._growth = model, growth
        self.train_, self.valid_ = growth.log, None
        self.user_ids, self.item_ids = growth.log.user_ids, growth.log.item_ids
        self._old_row = np.full(growth.log.num_users, -1, np.int64)
        kept = growth.user_rows >= 0
        self._old_row[growth.user_rows[kept]] = np.flatnonzero(kept)

    def rank(self, users: np.ndarray, top_k: int, seen: sp.csr_matrix | None) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield the lists of `users`, as every ranker does."""
        users = np.asarray(users, np.int64)
        items = np.full((len(users), top_k), -1, np.int32)
        scores = np.full((len(users), top_k), -np.inf, np.float32)
        has = sp.csr_matrix(self.train_.matrix[users][:, self._growth.item_rows])
        left_out = None if seen is None else sp.csr_matrix(seen[users][:, self._growth.item_rows])
        known = self._old_row[users]
        known[(known >= 0) & (self._model.train_.user_degrees[known] == 0)] = -1
        model, strangers = self._model, np.flatnonzero((known < 0) & (np.diff(has.indptr) > 0))
        there = np.flatnonzero(known >= 0)
        if len(there):
            # The rows of a mask are those of the scorer's users.
            place = np.full(len(model.user_ids), -1, np.int64)
            place[known[there]] = there
            mask = None if left_out is None else _in_rows(left_out, known[there], there, len(model.user_ids))
            self._fill(items, scores, model.scorer.rank(known[there], top_k, mask), place)
        if len(strangers):
            scorer = model._scorer_of(has[strangers])
            self._fill(
                items, scores, scorer.rank(np.arange(len(strangers)), top_k, None if left_out is None else left_out[strangers]), strangers
            )
        yield users, items, scores

    def _fill(self, items: np.ndarray, scores: np.ndarray, ranking: Any, place: np.ndarray) -> None:
        for rows, listed, values in ranking:
            width = listed.shape[1]
            items[place[rows], :width] = np.where(listed >= 0, self._growth.item_rows[listed], -1)
            scores[place[rows], :width] = values


def _in_rows(matrix: sp.csr_matrix, rows: np.ndarray, chosen: np.ndarray, number: int) -> sp.csr_matrix:
    """Return a matrix of `number` rows in which `rows` are the rows `chosen` of `matrix`, and the others empty."""
    to = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, chosen)), (number, matrix.shape[0]))
    result = sp.csr_matrix(to @ matrix)
    result.sort_indices()
    return result


def _held_out(growth: Growth, seed: int) -> tuple[np.ndarray, str] | None:
    """Return which pairs of the log are held out to measure on, (N,) bool, and how they were chosen; None where too few are new.

    A tenth of the new pairs, of few up to a third: the latest where times are known, else at random. Their user and their item have
    other pairs.
    """
    log, fresh = growth.log, np.flatnonzero(growth.fresh)
    wanted = min(len(fresh) // _MOST_HELD, max(int(_HELD_SHARE * len(fresh)), _HELD_PAIRS))
    if wanted == 0:
        return None
    order = rng.stream(seed, "held out of an update").permutation(len(fresh))
    by = "random"
    if growth.when is not None:
        order, by = order[np.argsort(-growth.when[fresh[order]], kind="stable")], "latest"
    out = np.zeros(len(log), bool)
    out[fresh[order[:wanted]]] = True
    users, items = log.pairs
    stays = ~out
    user_left = np.bincount(users[stays], minlength=log.num_users) > 0
    item_left = np.bincount(items[stays], minlength=log.num_items) > 0
    out &= user_left[users] & item_left[items]
    return (out, by) if out.any() else None


def _measured(model: Any, growth: Growth, out: np.ndarray, by: str, plan: Plan, measure: str, show: Progress) -> dict[str, Any]:
    """Return what the report says of an update without the held-out pairs: metrics before and after, and the distance to a retrain."""
    targets, rest = growth.log.part(out), growth.without(out)
    before = evaluate_by_user(_Before(model, rest), targets, _LABELS)
    grown, course = model._grown(rest, plan, show)
    after = evaluate_by_user(grown, targets, _LABELS)
    held_out = {
        "by": by, "pairs": len(targets), "users": after.means["num_users"],
        "before": {label: before.means[label] for label in _LABELS}, "after": {label: after.means[label] for label in _LABELS},
    }  # fmt: skip
    if course.how == "anew":
        return {"held_out": held_out, "distance": {"by": "anew", "value": 0.0, "low": 0.0, "high": 0.0, "bound": BOUND}}
    if measure == "retrain":
        far = model.untrained().fit(rest.log)
    else:
        far = grown._gone_on(course.solver, plan, show)
    ideal = evaluate_by_user(far, targets, _LABELS)
    return {
        "held_out": held_out,
        "distance": {"by": measure} | _loss(after.values["recall@20"], ideal.values["recall@20"]) | {"bound": BOUND},
    }


def _loss(ours: np.ndarray, ideal: np.ndarray) -> dict[str, float]:
    """Return the loss of the mean of `ours` (Q,) relative to that of `ideal` (Q,), and its interval of 95 %, users drawn anew."""
    mean = max(float(ideal.mean()), 1e-12)
    value = float((ideal - ours).mean()) / mean
    error = float((ideal - ours).std()) / np.sqrt(len(ours)) / mean
    return {"value": value, "low": value - 1.96 * error, "high": value + 1.96 * error}


def _overlap(model: Any, grown: Any, growth: Growth) -> dict[str, Any]:
    """Return the mean share of the old lists of 20 that the new ones have, over users who were known and had items."""
    known = np.flatnonzero((growth.user_rows >= 0) & (np.diff(model.seen_.indptr) > 0))
    if not len(known):
        return {"overlap@20": None, "overlap_users": 0}
    known = known[np.linspace(0, len(known) - 1, min(len(known), _LIST_USERS)).astype(np.int64)]
    lists = [
        np.concatenate([items for _, items, _ in one.scorer.rank(rows, _TOP_K, one.seen_)])
        for one, rows in ((model, known), (grown, growth.user_rows[known]))
    ]
    old = np.where(lists[0] >= 0, growth.item_rows[lists[0]], -1)
    shared = (old[:, :, None] == lists[1][:, None, :]).any(axis=2) & (old >= 0)
    number = np.maximum((old >= 0).sum(axis=1), 1)
    return {"overlap@20": float((shared.sum(axis=1) / number).mean()), "overlap_users": len(known)}


def _advice(report: Mapping[str, Any]) -> str | None:
    """Return what to do where the distance to a retrain passes the bound, or nothing was gained; else None."""
    distance, held_out = report["distance"], report["held_out"]
    if held_out is not None and held_out["pairs"] < FEWEST_PAIRS:
        return (
            f"{counted(held_out['pairs'], 'held-out pair')} cannot tell whether the new model is better; with {FEWEST_PAIRS} or more there "
            "is advice"
        )
    if distance is not None and distance["value"] > distance["bound"] and distance["low"] > 0:
        return (
            f"train anew: the update is {100 * distance['value']:.1f} % of recall@20 below a retrain, and the bound is "
            f"{100 * distance['bound']:.0f} %"
        )
    if held_out is not None and held_out["after"]["recall@20"] < (1 - BOUND) * held_out["before"]["recall@20"]:
        return "keep the old model: on the new pairs that were held out, it is better than the new one"
    return None


def lines_of(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the report as the rows of a table, texts."""
    rows: list[tuple[str, ...]] = [("", "before", "new", "forgotten", "after")]
    rows += [(name, *(str(report[name][column]) for column in rows[0][1:])) for name in ("users", "items", "pairs")]
    if report["overlap@20"] is not None:
        rows.append(("overlap@20", "", "", "", f"{report['overlap@20']:.3f}"))
    if (held := report["held_out"]) is not None:
        rows += [
            (f"{label}, {held['by']} new pairs", f"{held['before'][label]:.4g}", "", "", f"{held['after'][label]:.4g}") for label in _LABELS
        ]
    if (distance := report["distance"]) is not None:
        by = {"estimate": "estimated", "retrain": "measured", "anew": "trained anew"}[distance["by"]]
        shown = f"{100 * distance['value']:.2f} % ({100 * distance['low']:.2f} to {100 * distance['high']:.2f})"
        rows.append((f"recall@20 below a retrain, {by}", "", "", "", shown))
    return rows
