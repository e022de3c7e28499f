"""The exact solver against its rivals and against the machine, all in one run.

    ULTRAGCN_DATA_DIR=... python benchmarks/exact.py [--datasets LIST] [--parts race,peak,foldin] [--limit SECONDS]

race    Recall@20 on test against seconds of training, for exact, sgd and implicit's ALS and BPR. The settings of ALS and BPR are
        chosen here on validation items; ours are those of configs/, but for a quicker start (QUICK_START). Evaluation does not count as
        training for any of them. The best pass of every solver is taken on test alike (protocol authors), and sgd stops after --limit
        seconds.
peak    What the pass over the cells, and a half-sweep as a whole, reach of the machine's own matrix product, measured beside it.
foldin  Milliseconds for a user who is new, among 4,096 and alone, the kernels compiled; and the cosine of train users, folded in, with
        where training put them and with their rows' problem solved far on.

How it grows with the data: `growth.py`.

Prints tables; writes a plots/exact_PART.tsv for each, and plots/exact_race.png. Needs: pip install '.[bench]'
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from measure import ROOT, data_dir, report
from threadpoolctl import threadpool_limits

from ultragcn import load_dataset, storage
from ultragcn.config import Config, configuration_for
from ultragcn.evaluation.evaluate import evaluate
from ultragcn.loss.objective import Objective
from ultragcn.scoring.ranking import rank

ALS_GRID = list(itertools.product((1.0, 5.0, 20.0, 60.0), (0.1, 1.0, 10.0, 50.0, 200.0)))  # alpha, regularization
ALS_ITERATIONS = 15
BPR_GRID = list(itertools.product((0.02, 0.1), (0.002, 0.02)))  # learning_rate, regularization
BPR_ITERATIONS = 150
QUICK_START = {"electronics": {"start": "quadratic", "start_sweeps": 3, "start_l2": 0.35}, "ml-1m": {"start_l2": 0.6}}
"""Instead of a start that ends better on validation, but later."""
ROUNDS = 5
"""Of which the best counts."""
SHORT = 15.0
"""Seconds of training after which the race does not train once more."""
SHOWN = {
    "exact": ("ultragcn", "tab:blue"), "als": ("ALS (implicit)", "tab:orange"), "bpr": ("BPR (implicit)", "tab:green"),
    "sgd": ("UltraGCN, the authors' procedure", "tab:red"),
}  # fmt: skip
"""What a solver is called in the plot, and its colour."""
Curve = list[tuple[float, float, float]]
"""Seconds of training, Recall@20, NDCG@20 after each pass."""


class Tables:
    """A ranker made of two embedding tables."""

    def __init__(self, train, user_embedding, item_embedding):
        self.train_, self.valid_ = train, None
        self.user_ids, self.item_ids = train.user_ids, train.item_ids
        self.tables = user_embedding, item_embedding

    def rank(self, users, top_k, seen):
        """Rank as the estimator does."""
        return rank(*self.tables, users, top_k, seen)


class Stopwatch:
    """Counts the seconds of training, and stands still while results are looked at."""

    def __init__(self, train, held_out):
        self.train, self.held_out, self.curve = train, held_out, []
        self.seconds, self.since = 0.0, time.perf_counter()

    def look(self, user_embedding, item_embedding) -> float:
        """Note what embeddings are worth; return the seconds of training so far."""
        self.seconds += time.perf_counter() - self.since
        result = evaluate(Tables(self.train, user_embedding, item_embedding), self.held_out)
        self.curve.append((self.seconds, result["recall@20"], result["ndcg@20"]))
        self.since = time.perf_counter()
        return self.seconds


def als(train, held_out, dim: int, alpha: float, regularization: float, every: int = 1) -> Curve:
    """Train implicit's ALS."""
    from implicit.cpu.als import AlternatingLeastSquares

    with threadpool_limits(1, "blas"):  # as it advises: its own threads call BLAS
        model = AlternatingLeastSquares(dim, regularization, alpha, iterations=ALS_ITERATIONS, random_state=0)
        watch = Stopwatch(train, held_out)
        model.fit(train.matrix, show_progress=False, callback=_looking(watch, model, every, ALS_ITERATIONS))
    return watch.curve


def bpr(train, held_out, dim: int, learning_rate: float, regularization: float, every: int = 10) -> Curve:
    """Train implicit's BPR."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    model = BayesianPersonalizedRanking(dim - 1, learning_rate, regularization, iterations=BPR_ITERATIONS, random_state=0)
    watch = Stopwatch(train, held_out)
    model.fit(train.matrix, show_progress=False, callback=_looking(watch, model, every, BPR_ITERATIONS))
    return watch.curve


def _looking(watch: Stopwatch, model, every: int, last: int) -> Callable:
    def callback(iteration, *_):
        if (iteration + 1) % every == 0 or iteration + 1 == last:
            watch.look(np.asarray(model.user_factors), np.asarray(model.item_factors))

    return callback


def ours(train, held_out, config: Config, limit: float) -> Curve:
    """Train with one of our solvers, until patience, epochs or `limit` seconds end it; of exact, the start comes first."""
    from ultragcn import solvers

    solvers.compile_kernels(config)
    settings = config.resolved()
    start = beginning(train, held_out, config) if config.solver == "exact" else []
    watch, solver = Stopwatch(train, held_out), solvers.make_solver(Objective.of(train, config), 0)
    solver.start()
    while True:
        solver.step()
        seconds = watch.look(*solver.embeddings())
        best = int(np.argmax([recall for _, recall, _ in watch.curve]))
        if seconds > limit or solver.epoch >= settings.epochs or solver.epoch - best > settings.patience:
            return start + watch.curve


def beginning(train, held_out, config: Config) -> Curve:
    """Return what exact has before its first sweep, after each sweep of the start."""
    from ultragcn.kernels import numba_cpu
    from ultragcn.solvers import exact

    watch = Stopwatch(train, held_out)
    starts = exact.start_sweeps(Objective.of(train, config), 0)
    while True:
        with numba_cpu.numba_threads():
            tables = next(starts, None)
        if tables is None:
            return watch.curve
        watch.look(*tables)


def race(names: list[str], limit: float) -> None:
    """Race all solvers on each data set, tabulate seconds to the recall of the others, and draw the curves."""
    curves: dict[str, dict[str, Curve]] = {}
    for name in names:
        dim = configuration_for(name).embedding_dim
        clean = load_dataset(name, data_dir())
        data = load_dataset(name, data_dir(), protocol="authors")
        chosen = {}
        for solver, train, grid in (("als", als, ALS_GRID), ("bpr", bpr, BPR_GRID)):
            values = [max(recall for _, recall, _ in train(clean.train, clean.valid, dim, *setting, every=5)) for setting in grid]
            chosen[solver] = grid[int(np.argmax(values))]
            print(f"{name}: {solver} chosen on validation: {chosen[solver]} of {len(grid)}, Recall@20 {max(values):.4f}", flush=True)
        config = configuration_for(name, "exact", paper=True).replace(**QUICK_START.get(name, {}))
        ours(clean.train, clean.valid, config, 0)  # once before, as the others were
        curves[name] = {
            "exact": quickest(partial(ours, data.train, data.test, config, np.inf)),
            "als": quickest(partial(als, data.train, data.test, dim, *chosen["als"])),
            "bpr": quickest(partial(bpr, data.train, data.test, dim, *chosen["bpr"])),
        }
        try:
            curves[name]["sgd"] = ours(data.train, data.test, configuration_for(name, "sgd"), limit)
        except ImportError as error:
            print(f"{name}: {error}", file=sys.stderr)
        best_als = max(recall for _, recall, _ in curves[name]["als"])
        for solver, curve in curves[name].items():
            best = max(curve, key=lambda point: point[1])
            report("exact_race", {
                "dataset": name, "solver": solver, "settings": str(chosen.get(solver, "configs")), "recall@20": best[1], "ndcg@20": best[2],
                "seconds_to_best": best[0], "seconds_to_als_best": seconds_to(curve, best_als),
            })  # fmt: skip
    _draw(curves)


def quickest(train: Callable[[], Curve]) -> Curve:
    """Train, where it is short as often as ROUNDS, and return the quickest: what takes a tenth of a second is disturbed by anything."""
    curves = [train()]
    while len(curves) < ROUNDS and sum(curve[-1][0] for curve in curves) < SHORT:
        curves.append(train())
    return min(curves, key=lambda curve: curve[-1][0])


def seconds_to(curve: Curve, recall: float) -> float | str:
    """Return the seconds after which a curve first reaches `recall`, "" when it never does."""
    return next((seconds for seconds, value, _ in curve if value >= recall), "")


def _draw(curves: dict[str, dict[str, Curve]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(curves), figsize=(max(6.4, 4.2 * len(curves)), 3.6), squeeze=False)
    for axis, (name, by_solver) in zip(axes[0], curves.items(), strict=True):
        for solver, (label, color) in SHOWN.items():
            if solver in by_solver:
                seconds, recall, _ = zip(*by_solver[solver], strict=True)
                axis.plot(seconds, recall, marker=".", markersize=4, label=label, color=color)
        axis.set(title=name, xlabel="seconds of training, two CPU cores", ylabel="Recall@20 on test", xscale="log")
        axis.grid(alpha=0.3)
    axes[0][-1].legend(loc=(0.56, 0.5), fontsize="small")  # where no curve goes
    figure.tight_layout()
    (ROOT / "plots").mkdir(exist_ok=True)
    with storage.atomic_path(ROOT / "plots/exact_race.png") as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def gemm_peak() -> float:
    """Return the best GFLOP/s of a float32 matrix product on all cores."""
    random = np.random.default_rng(0)
    left, right = (random.random(shape, dtype=np.float32) for shape in ((4096, 1024), (1024, 4096)))
    return max(2 * 4096 * 1024 * 4096 / _seconds(lambda: left @ right) / 1e9 for _ in range(3))


def peak(names: list[str]) -> None:
    """Time the pass over the cells, which is bound by matrix products, and half-sweeps as a whole against the matrix product."""
    from ultragcn.kernels import numba_cpu
    from ultragcn.solvers import exact, half_sweeps

    for name in names:
        config = configuration_for(name, "exact")
        exact.compile_kernels(config)
        objective = Objective.of(load_dataset(name, data_dir(), protocol="authors").train, config)
        sides = half_sweeps.sides_of(objective)
        random = np.random.default_rng(0)
        tables = [(0.3 * random.standard_normal((len(side.l2), config.embedding_dim))).astype(np.float32) for side in sides]
        for what, side, x, y in (("users", sides[0], *tables), ("items", sides[1], *tables[::-1])):
            damping = np.ones(len(x), np.float32)
            best, cells, whole = 0.0, np.inf, np.inf
            # In turns: the clock of a machine that is shared goes up and down within seconds.
            for _ in range(ROUNDS):
                best = max(best, gemm_peak())
                time.sleep(0.3)  # meanwhile BLAS's own threads end to spin, which would take time from ours
                with numba_cpu.numba_threads():
                    cells = min(cells, _seconds(cells_alone(side, x, y)))
                    whole = min(whole, _seconds(lambda: half_sweeps.half_sweep(side, x, y, damping)))  # noqa: B023
            dim, share = config.embedding_dim, half_sweeps.gram_share(side, y)
            flops = 4 * len(x) * len(y) * dim + 2 * len(y) * dim**2 * side.num_blocks / share
            report("exact_peak", {
                "dataset": name, "side": what, "dim": dim, "gemm_gflops": best, "cells_gflops": flops / cells / 1e9,
                "cells_share": flops / cells / 1e9 / best, "half_sweep_seconds": whole, "half_sweep_share": flops / whole / 1e9 / best,
            })  # fmt: skip


def cells_alone(side, x: np.ndarray, y: np.ndarray) -> Callable:
    """Return the pass over all cells, scores, slopes, gradients and curvature: no positives, no steps, rows in the order they are in."""
    from ultragcn.kernels import numba_cpu
    from ultragcn.kernels.arguments import Blocks, Cells, Rows, Swept, System
    from ultragcn.solvers import half_sweeps

    empty = np.zeros(len(x) + 1, np.int64), side.indices[:0], half_sweeps.NOTHING, half_sweeps.NOTHING
    rows = Rows(*empty, side.row_weight, side.l2, side.total, np.ones(len(x), np.float32))
    cells = Cells(y, half_sweeps.transposed(side, y), side.column_weight)
    first, share = np.zeros(side.num_blocks, np.int64), half_sweeps.gram_share(side, y)
    blocks = Blocks(np.arange(len(x)), side.block, side.tile, first, side.num_tiles, share)
    out = Swept(np.empty_like(x), np.zeros((len(x), 4)), np.zeros((side.strips, len(y)), np.float32))
    return lambda: numba_cpu.half_sweep(x, y, rows, cells, blocks, System(side.prior(y), 0), out)


def folding(names: list[str]) -> None:
    """Fold train users into a model that has been trained with the settings of configs/."""
    from ultragcn import UltraGCN

    for name in names:
        data = load_dataset(name, data_dir(), protocol="authors")
        model = UltraGCN(configuration_for(name, "exact")).fit(data.train, select_on=data.test)
        report("exact_foldin", {"dataset": name, "dim": model.config.embedding_dim} | fold(model, data.train.matrix))


def fold(model, matrix) -> dict[str, float]:
    """Return how long folding in takes, and how near it comes."""
    from ultragcn.solvers.fold_in import fold_in

    users = np.random.default_rng(0).permutation(matrix.shape[0])[:4096]
    model.fold_in(matrix[users[:1]])  # makes what all share
    many = min(_seconds(lambda: model.fold_in(matrix[users])) for _ in range(3))
    alone = [_seconds(lambda: model.fold_in(matrix[[user]])) for user in users[:50]]  # noqa: B023
    folded = model.fold_in(matrix[users])
    solved = fold_in(model._frozen_items, matrix[users[:512]], max_steps=100, tolerance=1e-4)
    trained, far = _cosines(folded, model.user_embedding_[users]), _cosines(folded[:512], solved)
    return {
        "users": len(users), "ms_a_user": many / len(users) * 1e3, "ms_alone": float(np.median(alone)) * 1e3,
        "cosine_trained_median": float(np.median(trained)), "cosine_trained_1_percent": float(np.quantile(trained, 0.01)),
        "cosine_solved_1_percent": float(np.quantile(far, 0.01)), "cosine_solved_least": float(far.min()),
    }  # fmt: skip


def _cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.einsum("rd,rd->r", x, y) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))


def _seconds(work: Callable) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--datasets", default="electronics,ml-1m,gowalla,amazoncds")
    parser.add_argument("--parts", default="peak,foldin,race")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that sgd may train in the race")
    arguments = parser.parse_args()
    parts, datasets = arguments.parts.split(","), arguments.datasets.split(",")
    if "peak" in parts:
        peak([name for name in datasets if name in ("gowalla", "amazoncds", "ml-1m")])
    if "foldin" in parts:
        folding(datasets)
    if "race" in parts:
        race(datasets, arguments.limit)
