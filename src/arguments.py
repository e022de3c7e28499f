"""Command-line flags of the workbench: declared once, checked before any work begins.

python-fire alone looks for mistyped flags only when the work is done, and passes `--epochs abc` on as a string. So each
command lets `read_flags` check everything first, and fire gets what is known to be right.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ultragcn.errors import UltraGCNError, UsageError, unknown_name

# What requirements.txt brings, by the names it is imported under.
_REQUIRED = ("fire", "loguru", "numba", "numpy", "polars", "safetensors", "scipy", "sklearn", "threadpoolctl", "torch", "tqdm")


def text(given: str) -> str:
    """Any text."""
    return given


def whole_number(low: int, high: int = 2**31 - 1) -> Callable[[str], int]:
    """Return a reader of whole numbers from `low` to `high`."""

    def read(given: str) -> int:
        # int() alone would also take '1_000', ' 7 ' and digits of other scripts.
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", given) or not low <= int(given) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(given)

    return read


def positive_number(given: str) -> float:
    """Read a number above 0 that leaves room for computing with it in float32, which ends at 3e38."""
    allowed = ValueError("a number above 0 and at most 1e30")
    try:
        number = float(given)
    except ValueError:
        raise allowed from None
    if "_" in given or not 0 < number <= 1e30:
        raise allowed
    return number


def readable_folder(given: str) -> str:
    """Read the path of a folder that is there and can be listed."""
    try:
        os.listdir(given)
    except OSError as error:
        raise ValueError(f"a folder that can be read ({error.strerror})") from None
    return given


@dataclass(frozen=True)
class Flag:
    """A flag `--name`. `read` turns its text into a value, or raises ValueError with what is allowed."""

    name: str
    read: Callable[[str], Any]
    default: Any
    meaning: str


FLAGS = (
    Flag("model", text, "mymodel", "which model to train: the name of a folder in src/models/"),
    Flag("seed", whole_number(-1, 2**32 - 1), -1, "fixes everything random; -1: one is drawn, and logged"),
    Flag("batch_size", whole_number(1), 100, "train examples in one step"),
    Flag("epochs", whole_number(1), 15, "passes over the train data"),
    Flag("learning_rate", positive_number, 0.001, "step size of the optimiser"),
    Flag("dataset", text, None, "extra: which data to learn from (default: what the model names first)"),
    Flag("data_dir", readable_folder, None, "extra: where data are looked for and put (default: datasets/)"),
)


def read_flags(argv: Sequence[str], flags: Iterable[Flag], about: str) -> dict[str, Any]:
    """Return the values of the flags that `argv` gives, and of those alone.

    `--flag value`, `--flag=value` and `--batch-size` for `--batch_size` are understood; `--help` prints `about` and the
    flags to stdout and ends the program.

    Raises
    ------
    UsageError
        For anything that is not exactly right, with the nearest flag's name.
    """
    by_name = {flag.name: flag for flag in flags}
    if "--help" in argv or "-h" in argv:
        print(_help(by_name.values(), about), flush=True)
        sys.exit(0)
    values: dict[str, Any] = {}
    rest = list(argv)
    while rest:
        given, equals, value = rest.pop(0).partition("=")
        name = given.lstrip("-").replace("-", "_")
        if not given.startswith("-") or not name:
            raise UsageError(f"unexpected {given!r}: every argument is a flag with its value, such as --epochs 3")
        if name not in by_name or not given.startswith("--") or given.startswith("---"):
            raise unknown_name("flag", given, [f"--{known}" for known in by_name])
        if name in values:
            raise UsageError(f"--{name} is given twice; give it once")
        if not equals and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        if not value:
            raise UsageError(f"--{name} needs a value, such as --{name} {by_name[name].default or 'VALUE'}")
        try:
            values[name] = by_name[name].read(value)
        except ValueError as allowed:
            raise UsageError(f"--{name} must be {allowed}, not {value!r}") from None
    return values


def fire_command(values: dict[str, Any]) -> list[str]:
    """Return `values` as the command line that fire reads back as exactly these: a folder called 7 stays a string."""
    return [f"--{name}={value!r}" for name, value in values.items()]


def run_as_program(command: Callable[[Sequence[str]], None]) -> NoReturn:
    """Run a command on the arguments of this process; what goes wrong on purpose is one line and an exit status."""
    try:
        command(sys.argv[1:])
    except UltraGCNError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(error.exit_status)
    except ModuleNotFoundError as error:
        package = str(error.name).split(".")[0]
        if package not in _REQUIRED:
            raise
        print(f"error: {package} is not installed; run pip install -r requirements.txt in the folder above src/", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        # An interrupt that hit exec() inside some import is remembered by `python -m`, which would then end with the
        # signal instead of our status; the next exec() makes it forget.
        exec("")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of stdout (head, less) has had enough: nothing more to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def _help(flags: Iterable[Flag], about: str) -> str:
    lines = [f"  --{flag.name:<15}{flag.meaning}" + ("" if flag.default is None else f" (default: {flag.default})") for flag in flags]
    return "\n".join([about.strip(), "", "Flags:", *lines])
