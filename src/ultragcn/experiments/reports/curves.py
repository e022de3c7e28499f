"""How a run grew, from its history.tsv."""

import math
from pathlib import Path

from ultragcn import storage
from ultragcn.experiments.plots import Curve


def read_curve(path: Path, metric: str, against: str, label: str) -> Curve | None:
    """Return the metric against `epoch` or `seconds`; None where the history, or these columns, or two points are not there.

    A history calls its metrics by their labels; `valid_ndcg@20` is found as `ndcg@20` too.
    """
    try:
        rows = storage.read_rows(path)
    except OSError:
        return None
    names = (metric, metric.removeprefix("valid_").removeprefix("test_"))
    found = next((name for name in names if rows and name in rows[0]), None)
    if found is None or against not in rows[0]:
        return None
    pairs = [(_number(row[against]), _number(row[found])) for row in rows]
    measured = [(x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
    return Curve(label, *zip(*measured, strict=True)) if len(measured) > 1 else None


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
