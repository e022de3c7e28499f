"""What the benchmarks share: where data are, how a table is printed and kept."""

import os
import sys
from pathlib import Path

from ultragcn import storage

ROOT = Path(__file__).resolve().parents[1]


def data_dir() -> str:
    """Return the folder of the benchmark data sets, or stop with one sentence."""
    folder = os.environ.get("ULTRAGCN_DATA_DIR")
    if not folder:
        sys.exit("set ULTRAGCN_DATA_DIR to the folder of the benchmark data sets")
    return folder


def report(name: str, row: dict) -> None:
    """Print one measured row and append it to plots/NAME.tsv."""
    print("  ".join(f"{key}={value:.5g}" if isinstance(value, float) else f"{key}={value}" for key, value in row.items()), flush=True)
    storage.append_row(ROOT / "plots" / f"{name}.tsv", row)
