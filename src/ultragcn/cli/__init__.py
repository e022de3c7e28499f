"""The command `ultragcn`: one file per subcommand. Data go to stdout, everything else to stderr.

Exit status: 0 done, 1 failed, 2 misused, 130 interrupted.
"""

import argparse
import contextlib
import errno
import itertools
import logging
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from ultragcn import __version__
from ultragcn.cli import (
    compare,
    copy,
    datasets,
    diff,
    doctor,
    evaluate,
    explain,
    export,
    plan,
    processes,
    recommend,
    report,
    serve,
    similar,
    sweep,
    threads,
    train,
    update,
)
from ultragcn.cli.messages import fill_streams, tell
from ultragcn.config.foreign_names import suggestion
from ultragcn.errors import DataWarning, UltraGCNError, UsageError, did_you_mean
from ultragcn.machine import limited_threads, ran_out
from ultragcn.progress import LOGGER

_COMMANDS = (
    train,
    evaluate,
    recommend,
    similar,
    explain,
    update,
    copy,
    diff,
    export,
    serve,
    compare,
    sweep,
    report,
    plan,
    datasets,
    doctor,
)
_OF_ONE_LETTER = {
    "-d": "--dataset", "-m": "--model", "-o": "--out", "-k": "--top_k", "-n": "--top_k", "-s": "--seed", "-e": "--epochs", "-j": "--jobs",
    "-u": "--users", "-i": "--items", "-f": "--format", "-q": "--quiet", "-c": "--config", "-t": "--threads",
}  # fmt: skip
"""What options of one letter mean elsewhere; here there are none but -h."""
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


def build_parser(argv: Sequence[str] = ()) -> tuple[_Parser, dict[str, _Parser]]:
    """Return the parser and those of its subcommands by name; the options of `train` and `plan` depend on the model in `argv`."""
    parser = _Parser(
        prog="ultragcn", description="UltraGCN makes recommendations from a log of users and the items that they used.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"ultragcn {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    named = {}
    for command in _COMMANDS:
        name = _name(command)
        summary = (command.__doc__ or "").split("\n")[0]
        named[name] = subparsers.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        if command in (train, plan) and argv[:1] == [name]:
            command.add_arguments(named[name], train.model_named(argv))
        else:
            command.add_arguments(named[name])
        named[name].set_defaults(run=command.run)
    return parser, named


def _name(command: Any) -> str:
    name: str = command.__name__.rsplit(".", 1)[-1]
    return name


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line; anything it does not know raises `UsageError` with the nearest name."""
    argv = list(argv)
    parser, named = build_parser(argv)
    if not argv:
        if sys.stderr is not None:
            parser.print_help(sys.stderr)
        raise UsageError("give a command: " + ", ".join(named))
    if not argv[0].startswith("-") and argv[0] not in named:
        raise UsageError(f"unknown command {argv[0]!r}{did_you_mean(argv[0], named)} (commands: {', '.join(named)})")
    if argv[0] in named:
        _refuse_unknown_options(argv, named)
    for before, word in itertools.pairwise(["", *argv]):
        if not word or (word.startswith("--") and word.endswith("=")):
            name = word[:-1] if word else before if before.startswith("--") else "an argument"
            raise UsageError(f"{name} is empty; give a value, or leave the option out (see ultragcn {argv[0]} --help)")
    try:
        arguments, extra = parser.parse_known_args(argv)
    except UsageError as error:
        if like_option := _id_like_an_option(str(error), argv):
            raise UsageError(like_option) from None
        greedy = next((word for word in argv if word in ("--users", "--items", "--interactions", "--forget")), None)
        if greedy is None or "required: RUN" not in str(error):
            raise
        raise UsageError(
            f"put RUN before {greedy}, because that option takes every word after it (see ultragcn {argv[0]} --help)"
        ) from None
    if extra:
        advice = _advice_on_word(extra[0], argv, named[arguments.command])
        raise UsageError(f"cannot make sense of {extra[0]!r}{advice} (see ultragcn {arguments.command} --help)")
    if arguments.command is None:
        raise UsageError("give a command: " + ", ".join(named))
    arguments.given = [word.split("=", 1)[0] for word in argv if word.startswith("--")]
    return arguments


_OF_IDS = ("--users", "--items", "--user", "--item", "--forget")
"""Options that take ids as they are in the data, which may begin with a dash."""


def _id_like_an_option(message: str, argv: Sequence[str]) -> str:
    """Return how to type an id that was taken for an option, where the message is about such a one; else an empty string."""
    for option, word in itertools.pairwise(argv):
        if option in _OF_IDS and word.startswith("-") and message.startswith(f"{option}: expected"):
            return f"{option} is followed by {word!r}; write an id that begins with - as {option}={word}"
    return ""


def _refuse_unknown_options(argv: Sequence[str], named: Mapping[str, _Parser]) -> None:
    """Raise `UsageError` for the first option that the command does not have.

    argparse would complain about a missing option before it names a misspelt one.
    """
    options = named[argv[0]]._option_string_actions
    for word in argv[1:]:
        name = word.split("=", 1)[0]
        if word.startswith("--") and word != "--" and name not in options:
            raise UsageError(f"unknown option {name}{_advice_on_option(name, argv, named)} (see ultragcn {argv[0]} --help)")


def _advice_on_option(name: str, argv: Sequence[str], named: Mapping[str, _Parser]) -> str:
    """Return what to do in place of an option that the command does not have: its own advice first."""
    command: Any = next(command for command in _COMMANDS if _name(command) == argv[0])
    own: str = command.advice(name, argv) if hasattr(command, "advice") else ""
    if own:
        return own
    if owners := [other for other, parser in named.items() if other != argv[0] and name in parser._option_string_actions]:
        return f", which is not an option of {argv[0]}; these commands have it: {', '.join(owners)}"
    options = [known.removeprefix("--") for known in named[argv[0]]._option_string_actions if known.startswith("--")]
    return suggestion(name.replace("-", "_").lstrip("_"), options, "--")


def _advice_on_word(word: str, argv: Sequence[str], parser: _Parser) -> str:
    """Return what to do in place of a word that stands alone."""
    options = parser._option_string_actions
    before = [known for known in argv[: argv.index(word)] if known.startswith("--")] if word in argv else []
    if word.startswith("-") and before and before[-1] in _OF_IDS:
        return f"; write an id that begins with - as {before[-1]}={word}"
    if not word.startswith("-"):
        return f"; did you mean --dataset {word}?" if "--dataset" in options and argv[0] != "evaluate" else ""
    long = f"-{word}"
    if long.split("=", 1)[0] in options:
        return f"; options begin with two dashes: {long}"
    meant = _OF_ONE_LETTER.get(word)
    return f"; options have whole names; did you mean {meant}?" if meant in options else "; options have whole names and two dashes"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return its exit status."""
    fill_streams()
    processes.choose_voice()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", DataWarning)
            warnings.showwarning = _show_warning
            arguments = parse(sys.argv[1:] if argv is None else argv)
            if sys.stdout is None:
                raise UsageError("stdout is closed, so nothing can be printed; leave stdout open, or redirect it to /dev/null")
            processes.refuse_others(arguments.command)
            with _log_told(getattr(arguments, "quiet", False)), limited_threads(threads.number_of(arguments)):
                status: int = arguments.run(arguments)
            sys.stdout.flush()
            return status
    except UltraGCNError as error:
        tell(error)
        processes.let_first_speak()
        return error.exit_status
    except KeyboardInterrupt as interrupt:
        # What was interrupted may say what is kept.
        tell(str(interrupt) or "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout (head, less) has had enough: nothing more to say to it.
        if sys.stderr is not None:
            sys.stderr.close()
        return 0
    except (MemoryError, OSError, RuntimeError) as error:
        if (short := ran_out(error)) is not None:
            tell(short)
            return short.exit_status
        if not isinstance(error, OSError) or error.errno not in _CANNOT_PRINT or error.filename is not None:
            raise
        tell(f"cannot write to stdout: {error.strerror}")
        with contextlib.suppress(OSError):
            sys.stdout.close()  # else the interpreter tries once more
        return 1


class _Told(logging.Handler):
    """Says on stderr what the library has to say."""

    def emit(self, record: logging.LogRecord) -> None:
        tell(record.getMessage())


@contextlib.contextmanager
def _log_told(quiet: bool) -> Iterator[None]:
    """Let what the library says come out as this command's own lines; nothing of it with --quiet."""
    handler, propagated = logging.NullHandler() if quiet else _Told(), LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.propagate = False
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.propagate = propagated


def _show_warning(message: Warning | str, *where: Any, **more: Any) -> None:
    tell(f"warning: {message}")
