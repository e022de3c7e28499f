"""How the exact solver grows with the data, and what it is worth on large ones, beside implicit's ALS. The data are fractal expansions.

    ULTRAGCN_DATA_DIR=... python benchmarks/growth.py --folder DIR [--parts growth,fractal] [--dataset ml-1m] [--users 1e4,1e5,1e6]
        [--negatives clusters] [--set NAME=VALUE ...]

growth   Seconds of a sweep, by the clock and of all cores, and peak memory, at about 60 train pairs a user and a fifth as many items as
         users; 64 dimensions, no item-item term. Then the exponent: seconds grow with this power of the number of users.
fractal  Whole trainings on the last of --users: UltraGCN to its best sweep, and ALS to its best iteration. Held-out pairs of some users
         choose the sweep and the settings; those of other users give the recall that is reported.

Data that are not in DIR/DATASET-USERS are made there first (`fractal.py`). Each measurement has a process of its own. In part fractal the
evaluation after each pass counts as training, for both models alike; choosing the settings of ALS does not. Both parts print tables and
write plots/growth_PART.tsv. Needs: pip install '.[bench]'
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fractal
import numpy as np
from measure import report
from threadpoolctl import threadpool_limits

from ultragcn import UltraGCN, evaluate, solvers
from ultragcn.config import Config
from ultragcn.data.interactions import Interactions
from ultragcn.loss.objective import Objective
from ultragcn.machine import peak_memory_mb
from ultragcn.scoring.ranking import rank

PAIRS_A_USER, USERS_AN_ITEM = 60, 5
SWEEPS = 3
"""Of part growth. The quickest counts: the first may look for clusters from nothing."""
ALS_GRID = [(20.0, 10.0), (5.0, 100.0), (20.0, 100.0), (60.0, 100.0), (5.0, 300.0), (20.0, 300.0), (60.0, 300.0), (20.0, 1000.0)]
"""alpha and regularization."""
ALS_TRIAL, ALS_ITERATIONS = 5, 15
"""Iterations with each setting, and with the best."""
OWN = {"item_item_weight": 0.0, "item_graph_weight": 0.0, "seed": 0}
"""Hyper-parameters of both parts, where --set does not change them: the item graph has a price of its own."""


def folder_of(folder: Path, dataset: str, users: int) -> Path:
    """Return where the data of one size are. Make them if they are not there."""
    path = folder / f"{dataset}-{users}"
    if not (path / "about.json").exists():
        sizes = {"users": users, "items": users // USERS_AN_ITEM, "pairs": users * PAIRS_A_USER}
        given = [f"--{name}={value}" for name, value in sizes.items()]
        subprocess.run(
            [sys.executable, str(Path(__file__).with_name("fractal.py")), f"--dataset={dataset}", *given, f"--out={path}"], check=True
        )
    return path


def grow(path: Path, hyper: dict[str, Any], sweeps: int) -> dict[str, Any]:
    """Return what sweeps on the data of one size take."""
    train, _ = fractal.read(path)
    config = Config(**hyper)
    solvers.compile_kernels(config)
    solver = solvers.make_solver(Objective.of(train, config), 0)
    start = timed(solver.start)
    wall, cpu = min(timed(solver.step) for _ in range(sweeps))
    return {
        "data": path.name, "negatives": hyper.get("negatives", ""), "users": train.num_users, "items": train.num_items, "pairs": len(train),
        "start_seconds": start[0], "sweep_seconds": wall, "sweep_cpu_seconds": cpu, "peak_memory_mb": peak_memory_mb(),
    }  # fmt: skip


def timed(work: Callable) -> tuple[float, float]:
    """Return the seconds that work takes: by the clock, and of all cores together."""
    clock, cores = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cores


def exponent(users: list[int], seconds: list[float]) -> float:
    """Return the power of the number of users that fits the seconds best, by least squares of logarithms."""
    return float(np.polyfit(np.log(users), np.log(seconds), 1)[0])


def held_out(test: Interactions, num_valid: int, num_test: int, seed: int = 0) -> tuple[Interactions, Interactions]:
    """Return the held-out pairs of two samples of users, none in both."""
    users = np.random.default_rng(seed).permutation(np.flatnonzero(test.user_degrees))
    if num_valid + num_test > len(users):  # data too small for both: a fifth of the users to choose by
        num_valid = len(users) // 5
    chosen = np.zeros((2, test.num_users), bool)
    for mask, sample in zip(chosen, (users[:num_valid], users[num_valid : num_valid + num_test]), strict=True):
        mask[sample] = True
    rows, _ = test.pairs
    return test.part(chosen[0][rows]), test.part(chosen[1][rows])


def ultragcn(train: Interactions, valid: Interactions, test: Interactions, hyper: dict[str, Any]) -> dict[str, Any]:
    """Train to the best sweep; return its row of the table."""

    def show(record: dict[str, Any]) -> None:
        print("  ".join(f"{name} {value:.5g}" for name, value in record.items()), file=sys.stderr, flush=True)

    model = UltraGCN(**hyper).fit(train, select_on=valid, on_epoch=show)
    best = model.history_[model.best_epoch_ - 1]
    values = evaluate(model, test)
    given = {name: value for name, value in hyper.items() if OWN.get(name) != value}
    return {
        "model": "ultragcn", "settings": json.dumps(given | model.chosen_), "passes": len(model.history_), "best_pass": model.best_epoch_,
        "seconds_to_best": best["seconds"], "seconds": model.train_seconds_, "choosing_seconds": 0.0,
        "valid_recall@20": best["recall@20"], "recall@20": values["recall@20"], "ndcg@20": values["ndcg@20"],
    }  # fmt: skip


def als(train: Interactions, valid: Interactions, test: Interactions, dim: int, settings: list[float] | None) -> dict[str, Any]:
    """Train implicit's ALS, with the settings given or the best of the grid; return the row of its best iteration."""
    started = time.perf_counter()
    if settings is None:
        tried = [max(recall for _, recall in als_curve(train, valid, dim, *setting, ALS_TRIAL)[0]) for setting in ALS_GRID]
        settings = list(ALS_GRID[int(np.argmax(tried))])
    choosing = time.perf_counter() - started
    curve, tables = als_curve(train, valid, dim, *settings, ALS_ITERATIONS)
    best = int(np.argmax([recall for _, recall in curve]))
    values = evaluate(Tables(train, *tables), test)
    return {
        "model": "als", "settings": json.dumps(dict(zip(("alpha", "regularization"), settings, strict=True))), "passes": len(curve),
        "best_pass": best + 1, "seconds_to_best": curve[best][0], "seconds": curve[-1][0], "choosing_seconds": choosing,
        "valid_recall@20": curve[best][1], "recall@20": values["recall@20"], "ndcg@20": values["ndcg@20"],
    }  # fmt: skip


def als_curve(
    train: Interactions, valid: Interactions, dim: int, alpha: float, regularization: float, iterations: int
) -> tuple[list[tuple[float, float]], tuple[np.ndarray, np.ndarray]]:
    """Return seconds of training and Recall@20 after each iteration, and the embeddings after the best one."""
    from implicit.cpu.als import AlternatingLeastSquares

    curve: list[tuple[float, float]] = []
    kept: tuple[np.ndarray, np.ndarray] | None = None
    model = AlternatingLeastSquares(dim, regularization, alpha, iterations=iterations, random_state=0)

    def look(*_):
        nonlocal kept
        seconds = time.perf_counter() - started
        tables = np.asarray(model.user_factors), np.asarray(model.item_factors)
        recall = evaluate(Tables(train, *tables), valid)["recall@20"]
        if not curve or recall > max(value for _, value in curve):
            kept = tables[0].copy(), tables[1].copy()
        curve.append((seconds, recall))
        print(f"als {alpha:g} {regularization:g}: {seconds:.1f} s  recall@20 {recall:.4f}", file=sys.stderr, flush=True)

    with threadpool_limits(1, "blas"):  # as it advises: its own threads call BLAS
        started = time.perf_counter()
        model.fit(train.matrix, show_progress=False, callback=look)
    assert kept is not None
    return curve, kept


class Tables:
    """A ranker made of two embedding tables."""

    def __init__(self, train: Interactions, user_embedding: np.ndarray, item_embedding: np.ndarray):
        self.train_, self.valid_ = train, None
        self.user_ids, self.item_ids = train.user_ids, train.item_ids
        self.tables = user_embedding, item_embedding

    def rank(self, users, top_k, seen):
        """Rank as the estimator does."""
        return rank(*self.tables, users, top_k, seen)


def one(part: str, path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure in this process; return a row."""
    hyper = OWN | settings_in(arguments.set) | ({"negatives": arguments.negatives} if arguments.negatives else {})
    if part == "sweep":
        return grow(path, hyper, arguments.sweeps)
    train, test = fractal.read(path)
    valid, test = held_out(test, arguments.valid_users, arguments.test_users)
    if part == "als":
        given = [float(value) for value in arguments.als.split(",")] if arguments.als else None
        row = als(train, valid, test, Config(**hyper).embedding_dim, given)
    else:
        row = ultragcn(train, valid, test, hyper)
    return {"data": path.name} | row | {"test_users": int((test.user_degrees > 0).sum()), "peak_memory_mb": peak_memory_mb()}


def settings_in(given: list[str]) -> dict[str, Any]:
    """Return hyper-parameters given as NAME=VALUE."""
    settings = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[name] = value
    return settings


def apart(part: str, path: Path) -> dict[str, Any]:
    """Measure in a process of its own, whose peak memory is its own too; return the row."""
    command = [sys.executable, __file__, *sys.argv[1:], "--one", part, str(path)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the data are, or will be")
    parser.add_argument("--dataset", default="ml-1m", help="the log to expand")
    parser.add_argument("--users", default="1e4,1e5,1e6")
    parser.add_argument("--parts", default="growth,fractal")
    parser.add_argument("--negatives", help="the hyper-parameter negatives; its default where it is not given")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another hyper-parameter")
    parser.add_argument("--sweeps", type=int, default=SWEEPS, help="of part growth")
    parser.add_argument("--models", default="ultragcn,als", help="of part fractal")
    parser.add_argument("--als", metavar="ALPHA,REGULARIZATION", help="settings of ALS, in place of choosing")
    parser.add_argument("--valid_users", type=int, default=10_000)
    parser.add_argument("--test_users", type=int, default=20_000)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(arguments.one[0], Path(arguments.one[1]), arguments)))
        sys.exit()
    try:
        parts, sizes = arguments.parts.split(","), [int(float(users)) for users in arguments.users.split(",")]
        paths = [folder_of(arguments.folder, arguments.dataset, users) for users in (sizes if "growth" in parts else sizes[-1:])]
        if "growth" in parts:
            rows = []
            for path in paths:
                rows.append(apart("sweep", path))
                report("growth_growth", rows[-1])
            for name in ("sweep_seconds", "sweep_cpu_seconds") if len(rows) > 1 else ():
                print(f"{name} grow with the number of users to the power {exponent(sizes, [row[name] for row in rows]):.3f}")
        if "fractal" in parts:
            for model in arguments.models.split(","):
                report("growth_fractal", apart(model, paths[-1]))
    except subprocess.CalledProcessError as error:  # whose message stands above
        sys.exit(error.returncode)
