"""How sure the numbers are: confidence intervals over users, and paired tests between models with Holm's correction.

Q users, B samples. Everything random is seeded, and made block by block, so memory does not grow with B.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np

from ultragcn.errors import UsageError, unknown_name
from ultragcn.evaluation.metrics import UserValues

# Numbers of a block of samples: 32 MB of float64.
_BLOCK = 4_000_000


class Comparison(NamedTuple):
    """One model against another on the same users."""

    first: str
    second: str
    difference: float
    """Mean of the first less mean of the second."""
    p_value: float
    """Two-sided, of this test alone."""
    p_holm: float
    """Holm's, over all the tests made: below 0.05 in any of them happens by chance at most once in twenty times."""


def bootstrap_intervals(table: UserValues, level: float = 0.95, num_samples: int = 1000, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Return percentile bootstrap intervals of the means: users are drawn anew with replacement, B times.

    What is drawn from is who is averaged: under a dialect that averages all users, those without relevant items too. A pooled
    metric and F1 of means are computed anew from each sample. Coverage and Gini index are no means over users and have none.

    Parameters
    ----------
    table : UserValues
    level : float
        Between 0 and 1.
    num_samples : int
        B.
    seed : int

    Returns
    -------
    dict of label -> (low, high)
        Each is the quantile of the B means at (1 -+ level) / 2. Efron, Annals of Statistics 1979.
    """
    if not 0 < level < 1:
        raise UsageError(f"level must be between 0 and 1, not {level}")
    _check_samples(num_samples)
    num_users = len(next(iter(table.values.values()), ()))
    random = np.random.default_rng(seed)
    blocks = []
    for drawn in _draws(random, table.population, num_samples):
        counts = np.stack([np.bincount(sample, minlength=table.population)[:num_users] for sample in drawn])
        blocks.append(table.means(counts.astype(np.float64), table.population))
    tails = [(1 - level) / 2, (1 + level) / 2]
    intervals = {}
    for label in blocks[0]:
        low, high = np.quantile(np.concatenate([means[label] for means in blocks]), tails)
        intervals[str(label)] = (float(low), float(high))
    return intervals


def compare(
    values_by_model: Mapping[str, np.ndarray], test: str = "t", baseline: str | None = None, num_samples: int = 10_000, seed: int = 0
) -> list[Comparison]:
    """Return paired two-sided tests of the difference between models, with Holm's correction.

    Parameters
    ----------
    values_by_model : dict of name -> (Q,)
        One metric's values by user (`Evaluation.values[label]`), the same users in the same order for all models.
    test : {"t", "wilcoxon", "permutation", "bootstrap"}
        Student's t; Wilcoxon's signed ranks; random signs of the differences; differences centred and drawn anew.
    baseline : str, optional
        Compare every other model with this one; without it, all pairs.
    num_samples : int
        B, for the last two.
    seed : int

    Returns
    -------
    list of Comparison
        In the order of the models.

    Raises
    ------
    UsageError
        Fewer than two models, users that do not pair, values that are not finite, an unknown test or baseline.
    """
    if test not in _TESTS:
        raise unknown_name("test", test, _TESTS)
    _check_samples(num_samples)
    values = {name: np.asarray(given, dtype=np.float64) for name, given in values_by_model.items()}
    if len(values) < 2:
        raise UsageError(f"there is nothing to compare in {len(values)} model; give the values of two or more")
    if baseline is not None and baseline not in values:
        raise unknown_name("baseline", baseline, values)
    shapes = {value.shape for value in values.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1 or next(iter(shapes))[0] < 2:
        raise UsageError(f"values must be of the same two or more users for every model, not of shapes {sorted(shapes)}")
    for name, value in values.items():
        if not np.isfinite(value).all():
            raise UsageError(f"the values of {name} are not all finite; leave such users out for every model")
    pairs = list(combinations(values, 2)) if baseline is None else [(name, baseline) for name in values if name != baseline]
    differences = [values[first] - values[second] for first, second in pairs]
    # Models that agree on everyone do not differ; the tests would divide by zero.
    p_values = [_TESTS[test](d, num_samples, seed) if d.any() else 1.0 for d in differences]
    return [
        Comparison(first, second, float(d.mean()), p, float(corrected))
        for (first, second), d, p, corrected in zip(pairs, differences, p_values, holm(p_values), strict=True)
    ]


def holm(p_values: list[float] | np.ndarray) -> np.ndarray:
    """Return Holm's corrected p-values: the k-th smallest of m times (m - k + 1), none below one before it, at most 1.

    Holm, Scandinavian Journal of Statistics 1979.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return corrected


def _t(differences: np.ndarray, num_samples: int, seed: int) -> float:
    from scipy import stats

    if np.ptp(differences) == 0:
        return 0.0  # the same difference for everyone: no spread at all
    return float(stats.ttest_1samp(differences, 0).pvalue)


def _wilcoxon(differences: np.ndarray, num_samples: int, seed: int) -> float:
    from scipy import stats

    return float(stats.wilcoxon(differences).pvalue)


def _permutation(differences: np.ndarray, num_samples: int, seed: int) -> float:
    """The share of random signs, the true ones among them, that give a mean as far from 0."""
    # If the models were the same, each difference could as well have had the other sign.
    random = np.random.default_rng(seed)
    total = differences.sum()
    sums = (total - 2 * (flips @ differences) for flips in _random_flips(random, len(differences), num_samples))
    return _share_as_far(sums, total, num_samples, np.abs(differences).sum())


def _bootstrap(differences: np.ndarray, num_samples: int, seed: int) -> float:
    """The share of samples of centred differences, the true one among them, whose mean is as far from 0."""
    random = np.random.default_rng(seed)
    centred = differences - differences.mean()
    sums = (centred[drawn].sum(axis=1) for drawn in _draws(random, len(centred), num_samples))
    return _share_as_far(sums, differences.sum(), num_samples, np.abs(differences).sum())


_TESTS: dict[str, Callable[[np.ndarray, int, int], float]] = {
    "t": _t, "wilcoxon": _wilcoxon, "permutation": _permutation, "bootstrap": _bootstrap,
}  # fmt: skip


def _share_as_far(sums: Iterator[np.ndarray], total: float, num_samples: int, scale: float) -> float:
    # Sums that are equal in exact arithmetic may differ in the last digits.
    least = abs(total) - 1e-12 * scale
    return (1 + sum(int((np.abs(block) >= least).sum()) for block in sums)) / (1 + num_samples)


def _block_sizes(width: int, num_samples: int) -> Iterator[int]:
    step = max(_BLOCK // max(width, 1), 1)
    for start in range(0, num_samples, step):
        yield min(step, num_samples - start)


def _draws(random: np.random.Generator, num_users: int, num_samples: int) -> Iterator[np.ndarray]:
    """Yield blocks (b, Q) of rows of users, each sample Q draws with replacement."""
    for size in _block_sizes(num_users, num_samples):
        yield random.integers(0, num_users, (size, num_users), dtype=np.int32)


def _random_flips(random: np.random.Generator, num_users: int, num_samples: int) -> Iterator[np.ndarray]:
    """Yield blocks (b, Q) of 0 and 1, each with probability 1/2."""
    for size in _block_sizes(num_users, num_samples):
        bits = np.frombuffer(random.bytes(size * -(-num_users // 8)), dtype=np.uint8).reshape(size, -1)
        yield np.unpackbits(bits, axis=1, count=num_users).astype(np.float64)


def _check_samples(num_samples: int) -> None:
    if num_samples < 1:
        raise UsageError(f"num_samples must be 1 or more, not {num_samples}")
