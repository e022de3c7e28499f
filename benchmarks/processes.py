"""What processes cost and bring: seconds of a sweep, and bytes that a process receives, against the formula.

    ULTRAGCN_DATA_DIR=... python benchmarks/processes.py [--datasets LIST] [--processes 1,2,4] [--sweeps 5] [--negatives auto]

Every process receives the rows that are not its own: (U + I)(4 D + 8)(P - 1) / P bytes a sweep over clusters, for embeddings (4 D), labels
and masses (4 each). `constant` is what comes on top and hardly grows with the data: centres and spreads of clusters, and sums. The rounds
of the first sweep, in which clusters begin, are left out. `waiting` is the share of the time that the first process waits for others or
for the network. All processes share the cores of this machine, so seconds show what working together costs, not what it brings.
A row for each number of processes goes to plots/processes.tsv.
"""

import argparse
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import Any

from measure import ROOT, data_dir, report

from ultragcn import kernels, load_dataset, solvers
from ultragcn.config import configuration_for
from ultragcn.loss.objective import Objective
from ultragcn.machine import num_cores
from ultragcn.processes import ALONE, launched, together

WORKER = "ULTRAGCN_BENCHMARK_WORKER"


def measure(dataset: str, sweeps: int, negatives: str) -> None:
    """Sweep, in one of the processes; the first one reports."""
    launch = launched()
    if launch is None:
        _sweep(dataset, sweeps, negatives, ALONE)
        return
    from ultragcn.processes.torchrun import joined

    with joined(launch) as processes:
        _sweep(dataset, sweeps, negatives, processes)


def _sweep(dataset: str, sweeps: int, negatives: str, processes: Any) -> None:
    train = load_dataset(dataset, data_dir()).train
    config = configuration_for(dataset, "exact").replace(seed=0, negatives=negatives).resolved()
    if config.l2_user is None:
        config = config.with_l2(0.13).resolved()
    waited = _watch(processes)
    with together(processes) if processes.number > 1 else nullcontext():
        solvers.compile_kernels(config, solvers.Sizes(train.num_users, train.num_items, len(train)))
        solver = solvers.make_solver(Objective.of(train, config), 0)
        solver.start()
        solver.step()  # with the rounds in which clusters begin
        processes.same(None)
        received, waited[0], started, cpu = getattr(processes, "received", 0), 0.0, time.perf_counter(), time.process_time()
        for _ in range(sweeps):
            loss = solver.step()
        seconds, cpu = (time.perf_counter() - started) / sweeps, (time.process_time() - cpu) / sweeps
        received = (getattr(processes, "received", 0) - received) / sweeps
    if processes.rank == 0:
        rows, number = train.num_users + train.num_items, processes.number
        formula = rows * (4 * config.embedding_dim + 8) * (number - 1) / number
        report(
            "processes",
            {
                "dataset": dataset, "negatives": negatives, "processes": number, "cores": num_cores(), "seconds": seconds, "cpu": cpu,
                "received_mb": received / 1e6, "formula_mb": formula / 1e6, "constant_mb": (received - formula) / 1e6,
                "waiting": waited[0] / (seconds * sweeps), "loss": loss,
            },
        )  # fmt: skip


def _watch(processes: Any) -> list[float]:
    """Return what counts the seconds that a process waits in exchanges."""
    waited, do = [0.0], getattr(processes, "_do", None)

    def timed(operation: Any) -> None:
        started = time.perf_counter()
        do(operation)
        waited[0] += time.perf_counter() - started

    if do is not None:
        processes._do = timed
    return waited


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--datasets", default="ml-1m,gowalla")
    parser.add_argument("--processes", default="1,2,4")
    parser.add_argument("--sweeps", type=int, default=5)
    parser.add_argument("--negatives", default="auto")
    arguments = parser.parse_args()
    if WORKER in os.environ:
        with kernels.interrupts_kept():
            measure(arguments.datasets, arguments.sweeps, arguments.negatives)
        sys.exit()
    for name in arguments.datasets.split(","):
        for number in arguments.processes.split(","):
            agent = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}"] if number != "1" else []
            own = [__file__, "--datasets", name, f"--sweeps={arguments.sweeps}", f"--negatives={arguments.negatives}"]
            environment = os.environ | {WORKER: "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
            subprocess.run([sys.executable, *agent, *own], check=True, env=environment)
