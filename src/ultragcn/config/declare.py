"""Declaring hyper-parameters and other options: type, default, unit, range and meaning stand in one place.

UltraGCN's are declared in `ultragcn.py`, a baseline's beside its model, and those of reading and splitting in `data/options.py`.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self, get_args

from ultragcn.errors import UsageError, unknown_name

AUTO = "auto"
"""What None is called where there is only text: on the command line, in files and in tables."""


def parameter(default: Any, meaning: str, *, auto: str = "", unit: str = "", low: float = -math.inf, high: float = math.inf,
               positive: bool = False, choices: tuple[str, ...] = (), authors: str = "") -> Any:  # fmt: skip
    """Declare one hyper-parameter or other option.

    Parameters
    ----------
    default : any
    meaning : str
    auto : str
        What None stands for; without it None is not allowed.
    unit : str
    low, high : float
        The least and the greatest value that are allowed.
    positive : bool
        The value must be above zero.
    choices : tuple of str
    authors : str
        The authors' name, understood in their `.ini` files.
    """
    return field(
        default=default,
        metadata={"meaning": meaning, "auto": auto, "unit": unit, "low": 0.0 if positive else low, "high": high, "positive": positive,
                  "choices": choices, "authors": authors},
    )  # fmt: skip


def seed_parameter() -> Any:
    """Declare the seed of a model that draws random numbers."""
    return parameter(0, "seed of all random numbers", auto="a seed is drawn and recorded", low=0)


@dataclass(frozen=True)
class HyperParameters:
    """What a model's hyper-parameters have in common. Values are checked when they are made; they never change afterwards.

    Raises
    ------
    UsageError
        A value has the wrong type or is out of range; the message says which values are allowed.
    """

    def __post_init__(self) -> None:
        for declared in fields(self):
            object.__setattr__(self, declared.name, checked(declared, getattr(self, declared.name)))

    def to_dict(self) -> dict[str, Any]:
        """Return all hyper-parameters by name."""
        return dataclasses.asdict(self)

    def resolved(self) -> Self:
        """Return a copy in which nothing is None that training needs: the value it stands for is in its place."""
        return self

    def in_use(self) -> dict[str, Any]:
        """Return all values in use by name. For a value that training chooses, return the values that it chooses from."""
        return self.resolved().to_dict()

    def fingerprint(self) -> str:
        """Return a hash of all values in use. It changes when a default changes in the code."""
        return hashlib.sha256(json.dumps(self.in_use(), sort_keys=True).encode()).hexdigest()[:16]

    def changed(self) -> dict[str, Any]:
        """Return those that differ from their defaults."""
        return {declared.name: value for declared in fields(self) if (value := getattr(self, declared.name)) != declared.default}


def kind_of(declared: dataclasses.Field[Any]) -> type:
    """Return the type of the values of a parameter, None left out."""
    if isinstance(declared.type, str):
        return {"int": int, "float": float, "bool": bool, "str": str}[declared.type]
    kinds: list[type] = [kind for kind in get_args(declared.type) or (declared.type,) if kind is not type(None)]
    return kinds[0]


def help_of(declared: dataclasses.Field[Any]) -> str:
    """Return what a parameter means, in which unit, what None stands for, and the default."""
    rule = declared.metadata
    unit = f" [{rule['unit']}]" if rule["unit"] else ""
    auto = f"; {AUTO}: {rule['auto']}" if rule["auto"] else ""
    return f"{rule['meaning']}{unit}{auto} (default: {in_text(declared.default)})"


def in_text(value: Any) -> Any:
    """Return a value as text has it: `auto` for None."""
    return AUTO if value is None else value


def checked(declared: dataclasses.Field[Any], value: Any) -> Any:
    """Return `value` as the declared type if it is allowed, else raise `UsageError` saying what is."""
    kind, rule = kind_of(declared), declared.metadata
    if type(value) is kind and value == declared.default:
        return value  # also a default out of the range of what can be given
    if rule["auto"] and (value is None or (isinstance(value, str) and value.strip().lower() == AUTO)):
        return None
    problem = UsageError(f"{declared.name} must be {_allowed(kind, rule)}{f', or None ({AUTO})' if rule['auto'] else ''}, not {value!r}")
    if kind is str:
        if not isinstance(value, str):
            raise problem
        if rule["choices"] and value not in rule["choices"]:
            raise unknown_name(declared.name, value, rule["choices"])
        return value
    if kind is bool:
        known = {
            True: True,
            False: False,
            "true": True,
            "false": False,
            "1": True,
            "0": False,
            "yes": True,
            "no": False,
        }
        key = value.strip().lower() if isinstance(value, str) else value
        if not isinstance(key, (str, bool)) or key not in known:
            raise problem
        return known[key]
    if isinstance(value, bool):
        raise problem
    try:
        number = float(value)
        # "2000" and 2000.0 are both 2000; 0.5 is not an integer, and neither is text such as "1e3.5". Never by way of a float: 2^53 + 1.
        converted = int(value) if kind is int else number
    except (TypeError, ValueError, OverflowError):
        raise problem from None
    if not math.isfinite(number) or (kind is int and not isinstance(value, str) and converted != value):
        raise problem
    if not _in_range(number, rule):
        raise problem
    return converted


def _in_range(number: float, rule: Mapping[str, Any]) -> bool:
    return rule["low"] <= number <= rule["high"] and not (rule["positive"] and number <= 0)


def _allowed(kind: type, rule: Mapping[str, Any]) -> str:
    if kind is bool:
        return "true or false"
    if kind is str:
        return "text"
    noun = "a whole number" if kind is int else "a number"
    most = f", {rule['high']:g} at most" if rule["high"] < math.inf else ""
    if rule["positive"]:
        return f"{noun} above 0{most}"
    if rule["low"] == -math.inf:
        return noun
    return f"{noun} of {rule['low']:g} or more{most}"
