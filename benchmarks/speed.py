"""The speed of a release, figure by figure: appends a line each to benchmarks/speed.csv, with commit, day and machine

    ULTRAGCN_DATA_DIR=... python benchmarks/speed.py [--datasets electronics,gowalla] [--out benchmarks/speed.csv]

Run it on an idle machine. CPU seconds are those of all threads, and say more than seconds by the clock where other work runs.
"""

import argparse
import csv
import datetime
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from measure import ROOT, data_dir

from ultragcn import UltraGCN, load_dataset
from ultragcn.config import configuration_for
from ultragcn.loss.objective import Objective
from ultragcn.machine import num_cores
from ultragcn.solvers.exact import ExactSolver

COLUMNS = ("commit", "day", "machine", "cores", "load", "what", "figure", "unit")
SWEEPS, SKIPPED = 5, 2
"""Sweeps that are timed, and those before them, in which clusters are found anew."""
PORT = 8765


def processor() -> str:
    """Return what the processor is called."""
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else "unknown"


def commit() -> str:
    """Return the commit of this clone, with + where files have changed since."""

    def asked(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    return asked("rev-parse", "--short", "HEAD") + ("+" if asked("status", "--porcelain", "--untracked-files=no") else "")


def run(*words: str, cwd: str | None = None) -> tuple[float, float]:
    """Run Python with these words; return seconds by the clock and of the processor."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=cwd, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - started, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands() -> Iterator[tuple[str, float, str]]:
    """Yield figures of commands, as a user meets them; the first run of each compiles kernels and does not count."""
    yield "import ultragcn", statistics.median(run("-c", "import ultragcn")[0] for _ in range(5)), "seconds"
    with tempfile.TemporaryDirectory() as folder:
        words = ("-m", "ultragcn", "train", "--dataset", "demo", "--quiet", "--overwrite", "--out", "run")
        run(*words, cwd=folder)
        seconds, cpu = run(*words, cwd=folder)
        yield "train --dataset demo", seconds, "seconds"
        yield "train --dataset demo", cpu, "CPU seconds"
        recommend = ("-m", "ultragcn", "recommend", "run", "--users", "user-0001")
        run(*recommend, cwd=folder)
        yield "recommend for one user of demo", run(*recommend, cwd=folder)[0], "seconds"
        yield "serve, until it is ready", started_server(folder), "seconds"


def started_server(folder: str) -> float:
    """Return the seconds from the start of a server of the run in a folder to its first answer that it is ready."""
    started = time.perf_counter()
    words = [sys.executable, "-m", "ultragcn", "serve", "run", "--port", str(PORT)]
    server = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.perf_counter() - started < 120:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health/ready", timeout=5):
                    return time.perf_counter() - started
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        raise SystemExit("the server was not ready after 120 seconds")
    finally:
        server.terminate()
        server.wait()


def sweeps(dataset: str) -> Iterator[tuple[str, float, str]]:
    """Yield the cost of a sweep, and how fast lists are made for all users."""
    data, config = load_dataset(dataset, data_dir()), configuration_for(dataset)
    config = config.replace(l2_user=config.l2_user or 0.1, l2_item=config.l2_item or 0.1)
    objective = Objective.of(data.train, config)
    solver = ExactSolver(objective, 0)
    solver.start()
    seconds, cpu = [], []
    for _ in range(SKIPPED + SWEEPS):
        clock, processor_clock = time.perf_counter(), time.process_time()
        solver.step()
        seconds.append(time.perf_counter() - clock)
        cpu.append(time.process_time() - processor_clock)
    yield f"a sweep on {dataset}", statistics.median(seconds[SKIPPED:]), "seconds"
    yield f"a sweep on {dataset}", statistics.median(cpu[SKIPPED:]), "CPU seconds"
    model = UltraGCN(config.replace(epochs=3), seed=0).fit(data.train)
    users = data.train.user_ids.ids
    model.recommend(users[:100], top_k=20)
    clock = time.perf_counter()
    model.recommend(users, top_k=20)
    yield f"lists of 20 items for all users of {dataset}", len(users) / (time.perf_counter() - clock), "users a second"


def main() -> None:
    """Measure, print, and append to the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--datasets", default="electronics,gowalla")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "speed.csv")
    arguments = parser.parse_args()
    known = (commit(), datetime.date.today().isoformat(), processor(), num_cores())
    is_new = not arguments.out.exists()
    with open(arguments.out, "a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(COLUMNS)
        names = [name for name in arguments.datasets.split(",") if name]
        for figures in (commands(), *map(sweeps, names)):
            for what, figure, unit in figures:
                writer.writerow((*known, f"{os.getloadavg()[0]:.1f}", what, f"{figure:.4g}", unit))
                file.flush()
                print(f"{what}: {figure:.4g} {unit}", flush=True)


if __name__ == "__main__":
    main()
