"""What a study varies: lists of values and ranges, and the points that a grid, a list or chance takes from them."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ultragcn import rng
from ultragcn.errors import UsageError, did_you_mean

Value = bool | int | float | str
Point = dict[str, Value]
"""A value for each parameter."""

_DIGITS = 6  # of drawn numbers, so that a table shows them whole
_MAX_POINTS = 100_000


@dataclass(frozen=True)
class Values:
    """A list of values.

    Raises
    ------
    UsageError
        There are none.
    """

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise UsageError("a list of values needs at least one")

    @property
    def repeats(self) -> bool:
        """Return whether a value comes twice."""
        return len(set(map(str, self.values))) < len(self.values)

    def all(self) -> tuple[Value, ...]:
        """Return them."""
        return self.values

    def has(self, value: Value) -> bool:
        """Return whether `value` is one of them."""
        return any(type(value) is type(one) and value == one for one in self.values)

    def draw(self, random: np.random.Generator) -> Value:
        """Return one of them by chance."""
        return self.values[int(random.integers(len(self.values)))]

    def read(self, cell: str) -> Value:
        """Return the value that stands in a table as `cell`."""
        return next((value for value in self.values if str(value) == cell), cell)

    def described(self) -> Any:
        """Return it as JSON and TOML have it."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included: whole ones if both ends are, otherwise all.

    Raises
    ------
    UsageError
        The ends or the step make no range.
    """

    low: int | float
    high: int | float
    log: bool = False
    """Every factor is as likely as every other, instead of every difference."""
    step: int | float | None = None

    def __post_init__(self) -> None:
        numbers = [self.low, self.high, *([] if self.step is None else [self.step])]
        if any(isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number) for number in numbers):
            raise UsageError(f"a range has numbers as low, high and step, not {', '.join(map(repr, numbers))}")
        if not self.low < self.high:
            raise UsageError(f"a range goes from low to a larger high, not from {self.low} to {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise UsageError(
                f"a log range begins above 0 and has no step, such as log:0.01:1, not "
                f"log:{self.low:g}:{self.high:g}" + ("" if self.step is None else f":{self.step:g}")
            )
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise UsageError(f"the step of a range is above 0 and at most {self.high - self.low:g}, not {self.step}")

    @property
    def whole(self) -> bool:
        """Whether it has whole numbers alone."""
        return all(isinstance(number, int) for number in (self.low, self.high, 1 if self.step is None else self.step))

    def all(self) -> tuple[Value, ...]:
        """Return its numbers, if it has a step."""
        if self.step is None:
            raise UsageError("a grid and a list need values or a range with a step; random and tpe draw from a range without one")
        steps = (self.high - self.low) / self.step * (1 + 1e-12)
        if not steps < _MAX_POINTS:
            raise UsageError(f"a range has {_MAX_POINTS} numbers at most; take a larger step than {self.step:g}")
        count = int(steps) + 1
        return tuple(self.rounded(self.low + index * self.step) for index in range(count))

    def has(self, value: Value) -> bool:
        """Return whether `value` is one of its numbers."""
        if isinstance(value, (bool, str)) or not self.low <= value <= self.high or (self.whole and value != int(value)):
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-8)

    def draw(self, random: np.random.Generator) -> Value:
        """Return one of its numbers by chance."""
        if self.step is not None:
            every = self.all()
            return every[int(random.integers(len(every)))]
        # Whole numbers: as if each owned the half to its left and to its right.
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        drawn = math.exp(random.uniform(math.log(low), math.log(high))) if self.log else random.uniform(low, high)
        return self.rounded(drawn)

    def rounded(self, number: float) -> Value:
        """Return `number` with as many digits as a table shows, within the range."""
        near = round(number) if self.whole else float(f"{number:.{_DIGITS}g}")
        return min(max(near, self.low), self.high)

    def read(self, cell: str) -> Value:
        """Return the number that stands in a table as `cell`."""
        return int(cell) if self.whole else float(cell)

    def described(self) -> Any:
        """Return it as JSON and TOML have it."""
        return (
            {"low": self.low, "high": self.high} | ({"log": True} if self.log else {}) | ({} if self.step is None else {"step": self.step})
        )


Space = Mapping[str, Values | Range]
"""What each parameter varies over, by its name."""


def space_of(described: Mapping[str, Any]) -> dict[str, Values | Range]:
    """Return what `[vary]` of a study file, or study.json, describes: a list of values, or a table with low and high, for each name."""
    space: dict[str, Values | Range] = {}
    for name, over in described.items():
        try:
            if isinstance(over, Mapping):
                for key in over:
                    if key not in ("low", "high", "log", "step"):
                        raise UsageError(
                            f"a range has low, high, log and step, not {key!r}{did_you_mean(key, ('low', 'high', 'log', 'step'))}"
                        )
                if not {"low", "high"} <= over.keys():
                    raise UsageError("a range needs low and high")
                space[name] = Range(**over)
            elif isinstance(over, Sequence) and not isinstance(over, str):
                space[name] = Values(tuple(over))
            else:
                raise UsageError(f"give a list of values or a range such as {{low = 0.1, high = 1}}, not {over!r}")
        except UsageError as error:
            raise UsageError(f"vary {name}: {error}") from None
    return space


def grid(space: Space) -> list[Point]:
    """Return every combination; the last parameter changes fastest."""
    every = [over.all() for over in space.values()]
    if math.prod(map(len, every)) > _MAX_POINTS:
        raise UsageError(f"this grid has {math.prod(map(len, every))} points, more than {_MAX_POINTS}; take sampler random")
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*every)]


def together(space: Space) -> list[Point]:
    """Return the first values of all lists, then the second ones, and so on."""
    every = [over.all() for over in space.values()]
    lengths = {name: len(values) for name, values in zip(space, every, strict=True)}
    if len(set(lengths.values())) > 1:
        raise UsageError(f"sampler list takes values together, first with first, so all lists are as long as each other, not {lengths}")
    points = [dict(zip(space, values, strict=True)) for values in zip(*every, strict=True)]
    for number, point in enumerate(points):
        if point in points[:number]:
            raise UsageError(f"trials {points.index(point) + 1} and {number + 1} of this list are the same, {point}; drop one")
    return points


def drawn(space: Space, seed: int, trial: int) -> Point:
    """Return the point of a trial that chance decides; it depends on nothing else."""
    return {name: over.draw(rng.stream(seed, f"sweep {trial} {name}")) for name, over in space.items()}
