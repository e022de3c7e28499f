"""Seconds and memory to get from a CSV file to a split data set.

    python benchmarks/reading.py [ROWS ...]        default: 10 million; 100 million need 3 GB of temporary files

Made-up rows `user,item,rating,timestamp`, popularity falling; each case in a process of its own, so that its peak is its own.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from measure import report

CASES = ({}, {"split": "time", "min_rating": 2, "k_core": 5})
_BLOCK = 5_000_000  # rows made at a time
_LOAD = """
import sys, time, warnings
from ultragcn import load_dataset
from ultragcn.experiments.runs.train import peak_memory_mb
warnings.simplefilter("ignore")
started = time.perf_counter(), time.process_time()
data = load_dataset(sys.argv[1], protocol="clean", **eval(sys.argv[2]))
print(len(data.train), time.perf_counter() - started[0], time.process_time() - started[1], peak_memory_mb())
"""


def write_rows(path: Path, rows: int) -> None:
    """Write the file block by block: the maker must not need the memory that is measured."""
    random = np.random.default_rng(0)
    with open(path, "wb") as file:
        file.write(b"user,item,rating,timestamp\n")
        for start in range(0, rows, _BLOCK):
            size = min(_BLOCK, rows - start)
            block = pl.DataFrame({
                "user": (random.random(size) ** 2 * rows / 50).astype(np.int64),
                "item": (random.random(size) ** 3 * 200_000).astype(np.int64),
                "rating": random.integers(1, 6, size),
                "timestamp": random.integers(1_300_000_000, 1_600_000_000, size),
            })  # fmt: skip
            block.write_csv(file, include_header=False)


def main(sizes: list[int]) -> None:
    """Measure every case at every size."""
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.csv"
            write_rows(path, rows)
            for options in CASES:
                done = subprocess.run([sys.executable, "-c", _LOAD, str(path), repr(options)], capture_output=True, text=True, check=True)
                train, seconds, cpu_seconds, megabytes = map(float, done.stdout.split())
                figures = {"train_pairs": int(train), "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_memory_mb": megabytes}
                report("reading", {"rows": rows, "options": str(options), "file_mb": path.stat().st_size / 2**20} | figures)


if __name__ == "__main__":
    main([int(float(word)) for word in sys.argv[1:]] or [10_000_000])
