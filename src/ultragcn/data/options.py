"""How interactions are made from files and split, declared once: the API, the command and the run's manifest read this one list."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from os import PathLike
from typing import Any

from ultragcn.config import checked, parameter
from ultragcn.errors import UsageError, did_you_mean

TIMED_SPLITS = ("last", "time")
"""The splits that ask when an interaction was."""


@dataclass(frozen=True)
class DataOptions:
    """What to take from a file and what to hold out of it. None stands for the default of any option.

    Raises
    ------
    UsageError
        A value has the wrong type or is out of range, or two options contradict each other.
    """

    user_column: str = parameter("", "column of the user ids, by name or by number from 1 (default: found by its name)")
    item_column: str = parameter("", "column of the item ids, likewise")
    rating_column: str = parameter("", "column of the ratings, likewise; read when min_rating is given")
    time_column: str = parameter("", "column of the times, likewise; read when it is given or the split needs it")
    title_column: str = parameter("", "column of the titles in the file of titles, likewise")
    header: str = parameter("auto", "whether the first row names the columns", choices=("auto", "yes", "no"))
    separator: str = parameter("", "what stands between two cells, tab for a tab (default: found in the first row)")
    min_rating: float = parameter(-math.inf, "keep the rows rated so or higher (default: all)")
    k_core: int = parameter(1, "drop users and items with fewer interactions than this, again and again", low=1)
    split: str = parameter(
        "random",
        "what is held out: items of each user at random, the last items of each user, or everything from some time on",
        choices=("random", "last", "time"),
    )
    test_share: float = parameter(0.2, "share held out for test, of each user's items or (time) of all pairs", positive=True, high=0.9)
    last_k: int = parameter(1, "items of each user that split last holds out", unit="items", low=1)
    last_share: float = parameter(
        0.0, "share of each user's items that split last holds out for test, in place of last_k; a tenth for validation", low=0, high=0.9
    )
    test_from: str = parameter("", "first time that split time holds out, such as 2020-01-31 (default: as test_share says)")

    def __post_init__(self) -> None:
        for declared in fields(self):
            value = getattr(self, declared.name)
            if value is None:
                value = declared.default
            elif declared.type is str and isinstance(value, (int, PathLike)) and not isinstance(value, bool):
                value = str(value)
            object.__setattr__(self, declared.name, checked(declared, value))
        if self.last_k != 1 and self.split != "last":
            raise UsageError(f"last_k needs split last, not {self.split}")
        if self.last_share and self.split != "last":
            raise UsageError(f"last_share needs split last, not {self.split}")
        if self.last_share and self.last_k != 1:
            raise UsageError("split last holds out last_k items of each user or last_share of them; drop one of the two")
        if self.test_from and self.split != "time":
            raise UsageError(f"test_from needs split time, not {self.split}")
        if self.test_from and self.test_share != DATA_OPTIONS["test_share"].default:
            raise UsageError("test_from says where test begins; drop test_share, or drop test_from")
        if self.split == "last" and self.test_share != DATA_OPTIONS["test_share"].default:
            raise UsageError("split last holds out last_k items of each user, or last_share of them; drop test_share")

    @property
    def needs_times(self) -> bool:
        """Whether times are read at all."""
        return self.split in TIMED_SPLITS or bool(self.time_column)

    @property
    def needs_ratings(self) -> bool:
        """Whether ratings are read at all."""
        return self.min_rating > -math.inf

    def replace(self, **changes: Any) -> "DataOptions":
        """Return a copy with `changes`; an unknown name raises `UsageError` with the nearest known one."""
        for name in changes:
            if name not in DATA_OPTIONS:
                known = ", ".join(DATA_OPTIONS)
                raise UsageError(f"unknown data option {name!r}{did_you_mean(name, DATA_OPTIONS)} (allowed: {known})")
        return dataclasses.replace(self, **changes)

    def changed(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, by name: what a manifest has to record."""
        return {name: getattr(self, name) for name, declared in DATA_OPTIONS.items() if getattr(self, name) != declared.default}


DATA_OPTIONS: Mapping[str, dataclasses.Field] = {declared.name: declared for declared in fields(DataOptions)}
"""Every data option by name."""
