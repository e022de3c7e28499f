"""The option --num_threads of the commands that compute."""

import argparse

from ultragcn.config import AUTO
from ultragcn.errors import UsageError


def add_argument(parser: argparse.ArgumentParser, whose: str = "") -> None:
    """Declare it; `whose` adds to its help."""
    parser.add_argument(
        "--num_threads",
        metavar="N",
        help=f"most threads that training, ranking and measuring may use{whose} (default: {AUTO}, as many as this process may use cores)",
    )


def number_of(arguments: argparse.Namespace) -> int | None:
    """Return how many threads a command may use, checked; None: as many as there are cores."""
    given: str | None = getattr(arguments, "num_threads", None)
    if given is None or given.lower() == AUTO:
        return None
    if not given.isascii() or not given.isdecimal() or int(given) < 1:
        raise UsageError(f"--num_threads must be a whole number of 1 or more, or {AUTO}, not {given}")
    return int(given)
