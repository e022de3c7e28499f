"""What `ultragcn plan` says before, against what then happens: peak memory and time of reading, training and ranking.

    ULTRAGCN_DATA_DIR=... python benchmarks/plan.py --folder DIR [--datasets demo,movietweetings-100k,ml-1m,gowalla,fractal]

Each data set is planned in a process of its own. Then `train` reads it and trains, and `recommend --all` ranks for all users into a
Parquet file, in processes of their own. A row for each stage goes to plots/plan.tsv: predicted and true megabytes (10^6 bytes), CPU
seconds of all cores, and seconds by the clock. On a machine that does other work as well, the last ones say little.

`fractal` is a log of 10^5 users, 2*10^4 items and 3 million pairs, which is made in DIR from ml-1m (`fractal.py`) where it is not there.
It is one log of somebody's own, so the model that is kept is trained once more on all pairs.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import report

from ultragcn.machine import peak_memory_mb

DATASETS = "demo,movietweetings-100k,ml-1m,gowalla,fractal"
SIZES = {"users": 100_000, "items": 20_000, "pairs": 3_000_000}
"""Of the fractal log."""


def fractal_log(folder: Path) -> Path:
    """Return the fractal log as one Parquet file. Make it if it is not there."""
    path = folder / "fractal.parquet"
    if not path.exists():
        import polars as pl

        made = folder / "fractal"
        given = [f"--{name}={value}" for name, value in SIZES.items()]
        subprocess.run(
            [sys.executable, str(Path(__file__).with_name("fractal.py")), "--dataset=ml-1m", *given, f"--out={made}"], check=True
        )
        pl.concat([pl.read_parquet(made / f"{part}.parquet") for part in ("train", "test")]).write_parquet(path)
    return path


def train(started: float, source: str, out: Path, options: list[str]) -> list[dict[str, Any]]:
    """Read and train as `ultragcn train` does; return what each took."""
    from ultragcn import cli
    from ultragcn.cli import data_options

    rows = []
    read = data_options.load

    def load(*given: Any) -> Any:
        data = read(*given)
        rows.append(taken("reading", started))
        return data

    data_options.load = load
    status = cli.main(["train", "--dataset", source, "--out", str(out), "--quiet", "--seed", "0", *options])
    whole = taken("training", started)
    if status:
        sys.exit(status)
    return [*rows, whole | {name: whole[name] - rows[0][name] for name in ("cpu_seconds", "seconds")}]


def rank(started: float, out: Path, lists: Path) -> list[dict[str, Any]]:
    """Rank for all users as `ultragcn recommend` does; return what it took."""
    from ultragcn import cli

    status = cli.main(["recommend", str(out), "--all", "--output", str(lists)])
    if status:
        sys.exit(status)
    return [taken("ranking", started)]


def taken(stage: str, started: float) -> dict[str, Any]:
    """Return what this process took up to now: peak memory in 10^6 bytes, CPU seconds, and seconds since it was `started`."""
    return {
        "stage": stage, "peak_memory_mb": (peak_memory_mb() or 0) * 2**20 / 1e6, "cpu_seconds": time.process_time(),
        "seconds": time.time() - started,
    }  # fmt: skip


def apart(*words: str) -> list[dict[str, Any]]:
    """Return the rows of a process of its own."""
    command = [sys.executable, __file__, "--folder=.", "--one", words[0], str(time.time()), *words[1:]]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def planned(source: str, options: list[str]) -> dict[str, Any]:
    """Return what `ultragcn plan` says, and the seconds that it took."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "ultragcn", "plan", "--dataset", source, "--json", *options], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout) | {"plan_seconds": time.perf_counter() - started}


def compare(name: str, source: str, folder: Path, options: list[str]) -> None:
    """Plan, do it, and print a row a stage."""
    plan, out = planned(source, options), folder / f"run-{name}"
    shutil.rmtree(out, ignore_errors=True)
    true = apart("train", source, str(out), *options) + apart("rank", str(out), str(folder / "lists.parquet"))
    sweeps = json.loads((out / "metrics.json").read_text())["epochs"]
    for before, after in zip(plan["stages"], true, strict=True):
        row = {"data": name, "stage": before["stage"]}
        for figure in ("peak_memory_mb", "cpu_seconds", "seconds"):
            row |= {f"planned_{figure}": before[figure], f"true_{figure}": after[figure], f"ratio_{figure}": before[figure] / after[figure]}
        report("plan", row | {"planned_sweeps": plan["sweeps"]["likely"], "true_sweeps": sweeps, "plan_seconds": plan["plan_seconds"]})


ONE: dict[str, Callable[..., list[dict[str, Any]]]] = {
    "train": lambda started, source, out, *options: train(float(started), source, Path(out), list(options)),
    "rank": lambda started, out, lists: rank(float(started), Path(out), Path(lists)),
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="where runs and the fractal log go")
    parser.add_argument("--datasets", default=DATASETS)
    parser.add_argument("--one", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments, options = parser.parse_known_args()
    if arguments.one:
        warnings.simplefilter("ignore")
        sys.stdout, stdout = sys.stderr, sys.stdout
        found = ONE[arguments.one[0]](*arguments.one[1:])
        print(json.dumps(found), file=stdout)
        sys.exit()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    try:
        for name in arguments.datasets.split(","):
            compare(name, str(fractal_log(arguments.folder)) if name == "fractal" else name, arguments.folder, options)
    except subprocess.CalledProcessError as error:  # whose message stands above
        sys.exit(error.returncode)
