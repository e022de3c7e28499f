"""Sweeps whose processes are killed (kill -9) at random moments, against the same sweeps undisturbed.

    ULTRAGCN_DATA_DIR=... python benchmarks/kills.py [--kills N] [--sampler random|tpe]

random: two processes with a worker each share a study of electronics, and any of the four may be killed. tpe: one process and its
worker, because what TPE suggests depends on the order in which trials end. A process that was killed is started again at once. Of one
sweep no more than two workers are killed, because a run whose worker is killed three times is failed on purpose. A row for every study
goes to plots/kills.tsv.
"""

import argparse
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from measure import data_dir, report

from ultragcn import storage

TRIALS = 20
SECONDS_BETWEEN = (0.2, 5.0)
MEASURED = ("train_seconds", "peak_memory_mb", "ended")


def start(out: Path, sampler: str, sampler_seed: int) -> subprocess.Popen:
    """Start the sweep with one worker, in the folder `out`."""
    over = ["--vary", "l2_user,l2_item=log:0.2:1", "--vary", "item_item_weight=0:2", "--vary", "num_item_neighbors=5,10,20"]
    how = ["--trials", str(TRIALS), "--seeds", "2", "--sampler", sampler, "--sampler_seed", str(sampler_seed), "--threads", "1"]
    words = ["--dataset", "electronics", "--data_dir", data_dir(), *over, *how, "--out", str(out), "--quiet"]
    return subprocess.Popen(
        [sys.executable, "-m", "ultragcn", "sweep", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def table(out: Path) -> list[tuple[str, ...]]:
    """Return the lines of a study without what is measured, sorted."""
    return sorted(tuple(value for name, value in row.items() if name not in MEASURED) for row in storage.read_rows(out / "results.tsv"))


def is_whole(out: Path) -> bool:
    """Return whether every line of every file has all its columns, and ends."""
    for path in [out / "results.tsv", *out.glob("trials/*/history.tsv")]:
        text = path.read_text(encoding="utf-8")
        if not text.endswith("\n") or len({line.count("\t") for line in text.splitlines()}) != 1:
            return False
    return bool(storage.read_json(out / "study.json"))


def children(pid: int) -> list[str]:
    """Return the processes that a process has started; none if it has just ended."""
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


def disturbed(out: Path, sampler: str, sampler_seed: int, chance: random.Random) -> dict[str, int]:
    """Run a study to its end in spite of kills; return how many processes of which kind were killed."""
    killed, struck = {"sweeps": 0, "workers": 0}, Counter[int]()
    processes = [start(out, sampler, sampler_seed) for _ in range(2 if sampler == "random" else 1)]
    while any(process.poll() is None for process in processes):
        time.sleep(chance.uniform(*SECONDS_BETWEEN))
        alive = [process.pid for process in processes if process.poll() is None]
        if not alive:
            break
        workers = {int(pid): sweep for sweep in alive if struck[sweep] < 2 for pid in children(sweep)}
        victim = chance.choice([*alive, *workers])
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it has just ended by itself
        if victim in workers:
            struck[workers[victim]] += 1
        killed["workers" if victim in workers else "sweeps"] += 1
        for index, process in enumerate(processes):
            if process.pid == victim:
                process.wait()
                processes[index] = start(out, sampler, sampler_seed)
    start(out, sampler, sampler_seed).wait()  # what nobody took over
    return killed


def main() -> None:
    """Kill until there were enough kills."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--sampler", choices=("random", "tpe"), default="random")
    arguments = parser.parse_args()
    chance, kills = random.Random(0), 0
    with tempfile.TemporaryDirectory() as folder:
        for number in itertools.count():
            if kills >= arguments.kills:
                break
            whole, out = Path(folder) / f"whole-{number}", Path(folder) / f"killed-{number}"
            start(whole, arguments.sampler, number).wait()
            killed = disturbed(out, arguments.sampler, number, chance)
            kills += sum(killed.values())
            rows = storage.read_rows(out / "results.tsv")
            runs = [(row["trial"], row["seed"]) for row in rows]
            for line in sorted(set(table(whole)) ^ set(table(out))):
                print("only undisturbed:" if line in table(whole) else "only after kills:", *line, flush=True)
            report("kills", {
                "sampler": arguments.sampler, "study": number, "killed_sweeps": killed["sweeps"], "killed_workers": killed["workers"],
                "kills_so_far": kills, "runs": len(runs), "failed": sum(row["state"] == "failed" for row in rows),
                "doubled": len(runs) - len(set(runs)),
                "lost": len(table(whole)) - len(set(runs)), "whole_lines": is_whole(out), "same_table": table(out) == table(whole),
            })  # fmt: skip
            shutil.rmtree(out)


if __name__ == "__main__":
    main()
