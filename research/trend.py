"""Which half-lives the trend should be chosen from: rolling origins, so that test is never looked at.

    ULTRAGCN_DATA_DIR=... python research/trend.py [--datasets LIST]

Of a log split by time, train and validation together are cut off at four moments, and each of these shorter logs is split by time anew. The
defaults are fitted to it, the trend is chosen on its validation part among each of CHOICES (to have none, as training may, was the best
on none of them), then they are refitted and its last part is read. Beside them, popularity with the half-life of the best Recall@20 on
validation. A row for each goes to plots/trend.tsv.
"""

import argparse
import itertools
import math
import tempfile
import warnings
from pathlib import Path

import numpy as np
import polars as pl
from shared import data_dir, report

from ultragcn import UltraGCN, evaluate, load_dataset
from ultragcn.config.ultragcn import EXACT_TREND_HALF_LIVES, EXACT_TREND_WEIGHTS
from ultragcn.errors import DataWarning
from ultragcn.models.popularity import Popularity
from ultragcn.models.refit import unfitted_for_refit
from ultragcn.scoring.trend import log_recent_share

SHARES = (1.0, 0.85, 0.7, 0.55)
"""Of the pairs before test, oldest first."""
CHOICES = {"half-lives from 7 days": EXACT_TREND_HALF_LIVES[1:], "from 2 days": EXACT_TREND_HALF_LIVES}
LABELS = ["recall@20", "ndcg@20"]


def values(model, held_out) -> list[float]:
    """Return Recall@20 and NDCG@20."""
    result = evaluate(model, held_out, LABELS)
    return [result[label] for label in LABELS]


def with_trend(model: UltraGCN, half_life: float, weight: float) -> UltraGCN:
    """Put a trend in the place of the one that was chosen."""
    model.item_trend_ = model._trend(weight * log_recent_share(model.train_, half_life))
    return model


def roll(name: str, train, share: float) -> None:
    """Report what each of the choices comes to on the oldest `share` of `train`."""
    users, items = train.pairs
    kept = np.sort(np.argsort(train.times, kind="stable")[: int(share * len(users))])
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.csv"
        pl.DataFrame({"user": users[kept], "item": items[kept], "time": train.times[kept] // 10**6}).write_csv(log)
        data = load_dataset(log, split="time")
    chosen = UltraGCN().fit(data.train, data.valid)
    before_test = data.train.union(data.valid)
    refitted = unfitted_for_refit(chosen).fit(before_test)
    for choice, half_lives in CHOICES.items():
        tried = list(itertools.product(half_lives, EXACT_TREND_WEIGHTS))
        best = max(tried, key=lambda trend: math.prod(values(with_trend(chosen, *trend), data.valid)))
        _report(name, share, f"ultragcn-default, {choice}", best[0], values(with_trend(refitted, *best), data.test))
    by_recall = {life: values(Popularity(half_life=life).fit(data.train), data.valid)[0] for life in (0.0, *EXACT_TREND_HALF_LIVES)}
    life = max(by_recall, key=lambda one: by_recall[one])
    _report(name, share, "popularity", life, values(Popularity(half_life=life).fit(before_test), data.test))


def _report(name: str, share: float, model: str, half_life: float, found: list[float]) -> None:
    report("trend", {"dataset": name, "share": share, "model": model, "half_life": half_life, **dict(zip(LABELS, found, strict=True))})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--datasets", default="ml-latest-small,movietweetings-100k")
    warnings.simplefilter("ignore", DataWarning)
    for name in parser.parse_args().datasets.split(","):
        data = load_dataset(name, data_dir=data_dir(), split="time")
        for share in SHARES:
            roll(name, data.train.union(data.valid), share)
