"""How fast this machine is, and what a process takes before any data are in it: seconds and bytes of small made-up work.

The work is done by processes of their own, by the commands and the functions that do the real work, so what is measured is what will
happen. `measured` takes about four seconds. `python -m ultragcn.experiments.speed FOLDER lines|table` is what it starts.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ultragcn.data.sizes import LINES, TABLE
from ultragcn.errors import UltraGCNError
from ultragcn.machine import num_cores, peak_memory_mb, thread_limit

REFERENCE = {"reading": 0.077, "graph": 0.62, "sweeps": 0.095, "ranking": 0.045}
"""CPU seconds that the pieces of made-up work took on the machine on which the coefficients of `plans` were found: the least of ten."""
_TIMEOUT = 600
"""Seconds: the first process on a machine compiles kernels, which takes a minute or two."""
_COMPILED = 5.0
"""Seconds of loading kernels from which on they were compiled. Compiling takes memory that a later process does not need."""


class Speed(NamedTuple):
    """What was measured."""

    factor: dict[str, float]
    """CPU seconds of each kind of work, relative to `REFERENCE`."""
    clock: dict[str, float]
    """Seconds by the clock for a CPU second: of work that threads share, "threads", and of other work, "one". A machine that does other
    work as well has larger ones."""
    start_seconds: float
    """CPU seconds of starting and importing."""
    kernel_seconds: float
    """CPU seconds of loading kernels and of a training of next to no data."""
    ranking_start_seconds: float
    """CPU seconds of a whole `recommend` of next to no users."""
    reading_bytes: int
    """Memory of a process that has read next to nothing."""
    training_bytes: int
    """Memory of a process that has trained on next to nothing."""
    ranking_bytes: int
    """Memory of a process that has ranked for next to no users."""


def measured(kind: str = TABLE) -> Speed:
    """Return how fast this machine is for a process that will read a file of this kind (`data.sizes`).

    Raises
    ------
    UltraGCNError
        The made-up work failed; the message has the last line of what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = _asked(folder, kind)
        if found["loading"] > _COMPILED:
            found = _asked(folder, kind)
        ranking_seconds, ranking_bytes = _ranked(folder)
    factor = {name: found[name] / seconds for name, seconds in REFERENCE.items()}
    clock = {"threads": found["threads"], "one": found["one"]}
    return Speed(
        factor,
        clock,
        found["start"],
        found["loading"] + found["tiny"],
        ranking_seconds,
        int(found["reading_bytes"]),
        int(found["training_bytes"]),
        ranking_bytes,
    )


def _asked(folder: str, kind: str) -> dict[str, float]:
    threads = [str(thread_limit() or num_cores())]
    done = _run([sys.executable, "-m", __name__, folder, kind, *threads])
    found: dict[str, float] = json.loads(done.splitlines()[-1])
    return found


_RANKING = """
import sys, time
from ultragcn.cli import main
from ultragcn.machine import peak_memory_mb
status = main(["recommend", sys.argv[1], "--all", "--output", sys.argv[2]])
print(status, time.process_time(), peak_memory_mb() or 0)
"""


def _ranked(folder: str) -> tuple[float, int]:
    """Return CPU seconds and bytes of a process that ranks for the users of the tiny model in `folder`."""
    done = _run([sys.executable, "-c", _RANKING, str(Path(folder) / "run"), str(Path(folder) / "lists.parquet")])
    _, seconds, peak = done.split()
    return float(seconds), int(float(peak) * 2**20)


def _run(command: list[str]) -> str:
    package = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT, env={**os.environ, "PYTHONPATH": paths}, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise UltraGCNError(f"cannot measure this machine: {said[-1] if said else error}") from error
    return done.stdout


class _Times:
    """Seconds of pieces of work, by name: of all cores together, and by the clock."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self.clock: dict[str, float] = {}

    def add(self, name: str, work: Callable[[], object]) -> None:
        """Do some work; of work that is done again, the quicker time counts."""
        cpu, clock = time.process_time(), time.perf_counter()
        work()
        cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
        if cpu < self.cpu.get(name, float("inf")):
            self.cpu[name], self.clock[name] = cpu, clock

    def ratio(self, *names: str) -> float:
        """Return the seconds by the clock for a CPU second of some pieces of work together."""
        return sum(self.clock[name] for name in names) / max(sum(self.cpu[name] for name in names), 1e-9)


def _measure(folder: Path, kind: str) -> dict[str, float]:
    """Return what is measured in this process."""
    import numpy as np

    from ultragcn import kernels, solvers
    from ultragcn.config import Config
    from ultragcn.data.datasets import load_dataset
    from ultragcn.data.interactions import Interactions
    from ultragcn.experiments.runs.train import train_run
    from ultragcn.loss.objective import Objective
    from ultragcn.models.ultragcn import UltraGCN
    from ultragcn.scoring.item_graph import item_graph
    from ultragcn.scoring.ranking import GraphTerm, rank

    found, times = {"start": time.process_time()}, _Times()
    random = np.random.default_rng(0)

    def made(users: int, items: int, pairs: int) -> tuple[np.ndarray, np.ndarray]:
        return random.integers(users, size=pairs), (items * random.random(pairs) ** 2).astype(np.int64)

    def written(name: str, users: np.ndarray, items: np.ndarray) -> Path:
        path = folder / (f"{name}.txt" if kind == LINES else f"{name}.csv")
        if kind == LINES:
            order = np.argsort(users, kind="stable")
            starts = np.flatnonzero(np.diff(users[order], prepend=-1))
            rows = zip(users[order][starts], np.split(items[order], starts[1:]), strict=True)
            path.write_text("".join(f"{user} {' '.join(map(str, np.unique(of_user)))}\n" for user, of_user in rows))
        else:
            lines = (f"{user},{item}\n" for user, item in zip(users.tolist(), items.tolist(), strict=True))
            path.write_text("user,item\n" + "".join(lines))
        return path

    tiny = load_dataset(written("tiny", *made(200, 100, 2000)))
    found["reading_bytes"] = (peak_memory_mb() or 0) * 2**20
    config = Config(seed=0, epochs=1, embedding_dim=64, negatives="clusters")
    found["loading"] = solvers.compile_kernels(config, solvers.Sizes(200, 100, 2000))
    times.add("tiny", lambda: train_run(tiny, UltraGCN(config), folder / "run", overwrite=True, keep="measured"))
    found["training_bytes"] = (peak_memory_mb() or 0) * 2**20

    log = written("log", *made(5000, 3000, 150_000))
    times.add("reading", lambda: load_dataset(log))
    users, items = made(5000, 1500, 80_000)
    train = Interactions.from_pairs(users, items)
    graph = None

    def make_graph() -> None:
        nonlocal graph
        graph = item_graph(train, config)

    times.add("graph", make_graph)
    assert graph is not None
    solver = solvers.make_solver(Objective.of(train, config), 0)
    solver.start()
    for _ in range(2):
        times.add("sweeps", solver.step)
    term = GraphTerm(graph, train.matrix, 1.0)

    def rank_all() -> None:
        for _ in rank(*solver.embeddings(), np.arange(train.num_users), 20, train.matrix, term):
            pass

    with kernels.interrupts_kept():
        times.add("ranking", rank_all)
    return found | times.cpu | {"threads": times.ratio("graph", "sweeps", "ranking"), "one": times.ratio("tiny", "reading")}


if __name__ == "__main__":
    import warnings

    from ultragcn.machine import limited_threads

    warnings.simplefilter("ignore")
    with limited_threads(int(sys.argv[3])):
        print(json.dumps(_measure(Path(sys.argv[1]), sys.argv[2])))
