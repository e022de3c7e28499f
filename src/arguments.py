"""Command-line flags of the workbench: declared once, checked before any work begins.

A command is a function. Its parameters are its flags, and its docstring is its help page (`flags_of`, `help_page`).

python-fire alone looks for mistyped flags only when the work is done, and passes `--epochs abc` on as a string. So each
command lets `read_flags` check everything first, and fire gets what is known to be right.
"""

import inspect
import math
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NoReturn

from ultragcn.errors import UltraGCNError, UsageError, unknown_name
from ultragcn.machine import ran_out

# What requirements.txt brings, by the names it is imported under.
REQUIRED = (
    "fire", "loguru", "matplotlib", "numba", "numpy", "polars", "safetensors", "scipy", "sklearn", "threadpoolctl", "torch", "tqdm",
)  # fmt: skip


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
    number = _float(given)
    if not 0 < number <= 1e30:
        raise ValueError("a number above 0 and at most 1e30")
    return number


def any_number(given: str) -> float:
    """Read a number of either sign that leaves room for computing with it in float32."""
    number = _float(given)
    if not abs(number) <= 1e30:
        raise ValueError("a number from -1e30 to 1e30")
    return number


def _float(given: str) -> float:
    """Return the number, or NaN where `given` is not one; float() alone would also take '1_000'."""
    try:
        return math.nan if "_" in given else float(given)
    except ValueError:
        return math.nan


def seed_list(given: str) -> str:
    """Read seeds separated by commas; return them as text, without spaces and none twice."""
    words = [word.strip() for word in given.split(",")]
    if not all(re.fullmatch("[0-9]{1,10}", word) and int(word) < 2**32 for word in words):
        raise ValueError(f"whole numbers from 0 to {2**32 - 1} with commas between them, such as 1,2,3")
    return ",".join(dict.fromkeys(str(int(word)) for word in words))


def true_or_false(given: str) -> bool:
    """Read true or false, in any case of letters."""
    if given.lower() not in ("true", "false"):
        raise ValueError("true or false")
    return given.lower() == "true"


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


READERS: dict[str, Callable[[str], Any]] = {
    "model": text,
    "seed": whole_number(-1, 2**32 - 1),
    "seeds": seed_list,
    "batch_size": whole_number(1),
    "epochs": whole_number(1),
    "learning_rate": positive_number,
    "dataset": text,
    "data_dir": readable_folder,
    "workers": whole_number(1),
}
"""How the text of a flag is read. A flag that is not listed takes what is like its default (`reader_like`)."""

DATA_DIR = Flag("data_dir", readable_folder, None, "folder of the data sets (None: $ULTRAGCN_DATA_DIR, else datasets/)")


def reader_like(default: Any) -> Callable[[str], Any] | None:
    """Return the reader of a flag with this default: of true or false, whole numbers, numbers or text. None: there is none."""
    readers = {bool: true_or_false, int: whole_number(-(2**31)), float: any_number, str: text}
    return readers.get(type(default))


def flags_of(command: Callable[..., Any]) -> tuple[Flag, ...]:
    """Return the flags of a command: its parameters with their defaults, and what `:param name:` of its docstring says of each."""
    from fire import docstrings  # only here, where `run_as_program` says what to do if it is not installed

    meanings = {documented.name: documented.description for documented in docstrings.parse(inspect.getdoc(command)).args or ()}
    return tuple(
        Flag(name, READERS.get(name) or reader_like(parameter.default) or text, parameter.default, meanings.get(name) or "")
        for name, parameter in inspect.signature(command).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    )


def help_page(name: str, about: str | None, flags: Iterable[Flag], notes: str = "") -> str:
    """Return the help page of a command, in the layout of python-fire.

    Parameters
    ----------
    name : str
        Of the file, such as main.py.
    about : str
        A docstring. Its first line stands beside the name. What follows, up to the first `:param`, is the description.
    flags : iterable of Flag
    notes : str, optional
        A last section.
    """
    summary, _, description = inspect.cleandoc(about or "").partition("\n")
    description = re.split(r"^:param ", description, maxsplit=1, flags=re.M)[0].strip("\n")
    sections = {
        "NAME": f"{name} - {summary}",
        "SYNOPSIS": f"{name} <flags>",
        "DESCRIPTION": description or summary,
        "FLAGS": "\n".join(_flag_help(flag) for flag in flags),
        "NOTES": notes,
    }
    return "\n\n".join(f"{title}\n{textwrap.indent(content, '    ')}" for title, content in sections.items() if content)


def _flag_help(flag: Flag) -> str:
    lines = [f"--{flag.name}={flag.name.upper()}", f"    Default: {flag.default!r}", f"    {flag.meaning}"]
    return "\n".join(line for line in lines if line.strip())


def value_given(argv: Sequence[str], name: str) -> str | None:
    """Return the text that `argv` gives to the flag `name`, before anything is checked; None where it gives none."""
    for argument, following in pairwise([*argv, ""]):
        given, equals, value = argument.partition("=")
        if given.replace("-", "_") == f"__{name}":
            return value if equals else None if following.startswith("--") else following or None
    return None


def read_flags(argv: Sequence[str], flags: Iterable[Flag], page: str) -> dict[str, Any]:
    """Return the values of the flags that `argv` gives, and of those alone.

    `--flag value`, `--flag=value` and `--batch-size` for `--batch_size` are understood; `--help` prints `page` to stdout
    and ends the program.

    Raises
    ------
    UsageError
        For anything that is not exactly right, with the nearest flag's name.
    """
    by_name = {flag.name: flag for flag in flags}
    if "--help" in argv or "-h" in argv:
        print(page, flush=True)
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
            raise UsageError(f"--{name} needs a value, such as --{name} {_example(by_name[name])}")
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
        if sys.flags.dev_mode:  # python -X dev -m main ...
            traceback.print_exc()
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(error.exit_status)
    except MemoryError as error:
        print("error:", ran_out(error), file=sys.stderr)
        sys.exit(1)
    except ModuleNotFoundError as error:
        package = str(error.name).split(".")[0]
        if package not in REQUIRED:
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


def _example(flag: Flag) -> str:
    return "VALUE" if flag.default in (None, "") else str(flag.default)
