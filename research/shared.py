"""What the studies share with the benchmarks: where data are, how a table is printed and kept."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from measure import ROOT, data_dir, report

__all__ = ["ROOT", "data_dir", "report"]
