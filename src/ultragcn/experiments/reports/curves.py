"""How a run grew, from its history.tsv."""

import math
from pathlib import Path

from ultragcn import storage
from ultragcn.experiments.plots import Curve


def read_curve(path: Path, metric: str, against: str, label: str, at_the_end: float | None = None) -> Curve | None:
    """Return the metric against `epoch` or `seconds`; None where the history, or these columns, or two points are not there.

    A history calls its metrics by their labels; `valid_ndcg@20` is found as `ndcg@20` too. `at_the_end` is the metric of the finished
    model, if it is known.
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
    if len(measured) < 2:
        return None
    x, y = zip(*measured, strict=True)
    return Curve(label, x, y, at_the_end=at_the_end if at_the_end is not None and math.isfinite(at_the_end) else None)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
