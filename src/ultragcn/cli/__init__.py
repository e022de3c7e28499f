"""The command `ultragcn`: one file per subcommand. Data go to stdout, everything else to stderr.

Exit status: 0 done, 1 failed, 2 misused, 130 interrupted.
"""

import argparse
import contextlib
import errno
import itertools
import re
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from ultragcn import __version__
from ultragcn.cli import compare, datasets, evaluate, recommend, report, similar, sweep, train
from ultragcn.cli.messages import tell
from ultragcn.data.options import DATA_OPTIONS
from ultragcn.errors import DataWarning, UltraGCNError, UsageError, did_you_mean

_COMMANDS = (train, evaluate, recommend, similar, compare, sweep, report, datasets)
INTERRUPTED = 130
_CANNOT_PRINT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What printing may fail of. Writing files fails as `UltraGCNError`, which names them."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{_in_our_words(message)} (see {self.prog} --help)")


def _in_our_words(message: str) -> str:
    """Return what argparse says of a value as this command says it: what is allowed, then what was given."""
    if found := re.fullmatch(r"argument (\S+): invalid int value: (.*)", message):
        return f"{found[1]} must be a whole number, not {found[2]}"
    if found := re.fullmatch(r"argument (\S+): invalid choice: (.*) \(choose from (.*)\)", message):
        return f"{found[1]} must be one of {found[3]}, not {found[2]}"
    return message.removeprefix("argument ")


def build_parser() -> tuple[_Parser, dict[str, _Parser]]:
    """Return the parser and those of its subcommands by name."""
    parser = _Parser(prog="ultragcn", description="UltraGCN: recommendations from a log of who used what.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"ultragcn {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    named = {}
    for command in _COMMANDS:
        name = command.__name__.rsplit(".", 1)[-1]
        summary = (command.__doc__ or "").split("\n")[0]
        named[name] = subparsers.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        command.add_arguments(named[name])
        named[name].set_defaults(run=command.run)
    return parser, named


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line; anything it does not know raises `UsageError` with the nearest name."""
    parser, named = build_parser()
    if not argv:
        parser.print_help(sys.stderr)
        raise UsageError("give a command: " + ", ".join(named))
    if not argv[0].startswith("-") and argv[0] not in named:
        raise UsageError(f"unknown command {argv[0]!r}{did_you_mean(argv[0], named)} (commands: {', '.join(named)})")
    if argv[0] in named:
        # Unknown options first: argparse would complain about a missing one before it names a misspelt one.
        options = named[argv[0]]._option_string_actions
        for word in argv[1:]:
            name = word.split("=", 1)[0]
            if word.startswith("--") and word != "--" and name not in options:
                if argv[0] == "evaluate" and name[2:] in DATA_OPTIONS:
                    advice = ", which the run knows that was trained with it: give RUN, also beside --ranking"
                elif owners := [command for command, other in named.items() if name in other._option_string_actions]:
                    advice = f", which {argv[0]} has not; it belongs to {', '.join(owners)}"
                else:
                    near = did_you_mean(name.replace("-", "_").lstrip("_"), [known.lstrip("-") for known in options])
                    advice = near.replace("mean ", "mean --")
                raise UsageError(f"unknown option {name}{advice} (see ultragcn {argv[0]} --help)")
    for before, word in itertools.pairwise(["", *argv]):
        if not word or (word.startswith("--") and word.endswith("=")):
            name = word[:-1] if word else before if before.startswith("--") else "an argument"
            raise UsageError(f"{name} is empty; give it a value, or leave it out (see ultragcn {argv[0]} --help)")
    try:
        arguments, extra = parser.parse_known_args(argv)
    except UsageError as error:
        greedy = next((word for word in argv if word in ("--users", "--items")), None)
        if greedy is None or "required: RUN" not in str(error):
            raise
        raise UsageError(f"put RUN before {greedy}, which takes every word after it (see ultragcn {argv[0]} --help)") from None
    if extra:
        near = f"; did you mean --dataset {extra[0]}?" if arguments.command in ("train", "compare", "sweep") else ""
        raise UsageError(f"cannot make sense of {extra[0]!r}{near} (see ultragcn {arguments.command} --help)")
    if arguments.command is None:
        raise UsageError("give a command: " + ", ".join(named))
    arguments.given = [word.split("=", 1)[0] for word in argv if word.startswith("--")]
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return its exit status."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", DataWarning)
            warnings.showwarning = _show_warning
            arguments = parse(sys.argv[1:] if argv is None else argv)
            if sys.stdout is None:
                raise UsageError("stdout is closed, so there is nowhere to print to; leave it open, or send it to /dev/null")
            status: int = arguments.run(arguments)
            sys.stdout.flush()
            return status
    except UltraGCNError as error:
        tell(error)
        return error.exit_status
    except KeyboardInterrupt as interrupt:
        # What was interrupted may say what is kept.
        tell(str(interrupt) or "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout (head, less) has had enough: nothing more to say to it.
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in _CANNOT_PRINT or error.filename is not None:
            raise
        tell(f"cannot write to stdout: {error.strerror}")
        with contextlib.suppress(OSError):
            sys.stdout.close()  # else the interpreter tries once more
        return 1


def _show_warning(message, category, filename, lineno, file=None, line=None):
    tell(f"warning: {message}")
