"""What can go wrong, in one sentence each: what was given, what is allowed, what to do.

Every error the library raises on purpose is an `UltraGCNError`; the command prints its message as one line and ends with the
exit status of its class.
"""

import difflib
import sys
import warnings
from collections.abc import Iterable


class UltraGCNError(Exception):
    """Base of all errors raised on purpose. `exit_status` is what the command ends with."""

    exit_status = 1


class UsageError(UltraGCNError, ValueError):
    """The caller asked for something that does not exist or is out of range: nothing was started."""

    exit_status = 2


class DataError(UltraGCNError, ValueError):
    """Data that cannot be read or that contradict themselves. The message names the file and the line."""

    exit_status = 2


class MissingDependencyError(UltraGCNError, ImportError):
    """An optional package is needed and not installed. The message says what to install."""

    exit_status = 2


class DownloadError(UltraGCNError, OSError):
    """A file could not be fetched. The message names the file and where to put it by hand."""


class NotFittedError(UltraGCNError, RuntimeError):
    """The model was asked before it was fitted."""


class NumericalError(UltraGCNError, ArithmeticError):
    """Training left the range of floating-point numbers. The message says what to change."""


class DataWarning(UserWarning):
    """Something in the data was put right, and counted. The message names the file and the first line concerned."""


def warn(message: str) -> None:
    """Issue a `DataWarning` that points to the line outside the library from which it was called."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).split(".")[0] == __package__:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, DataWarning, stacklevel=level)


def counted(number: int, noun: str, form: str = "") -> str:
    """Return `1 pair`, `2 pairs`; with the form `,`, `48,265 pairs`."""
    return f"{number:{form}} {noun}" if number == 1 else f"{number:{form}} {noun}s"


_NEAR = 0.6
"""Least share of letters in common, by difflib: with less, `lr` is near `solver` and `iterations` near `tolerance`. Names of the same
length need half: `l3` is near `l2`."""
_WHOLE_WORD = 4
"""Letters from which on the beginning of a name stands for it."""


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Return '; did you mean X?' for the nearest allowed name, or '' when none is near.

    A name that begins with what was given, or is the beginning of it, is near, however long the rest is.
    """
    typed, names = given.lower(), list(allowed)
    near = [name for name in names if min(len(typed), len(name)) >= _WHOLE_WORD and (name.startswith(typed) or typed.startswith(name))]
    near = near or difflib.get_close_matches(typed, names, n=1, cutoff=_NEAR)
    near = near or difflib.get_close_matches(typed, [name for name in names if len(name) == len(typed)], n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def unknown_name(what: str, given: str, allowed: Iterable[str]) -> UsageError:
    """Return the error for a name that is not one of `allowed`, with the nearest suggested."""
    names = list(allowed)
    return UsageError(f"unknown {what} {given!r}{did_you_mean(given, names)} (allowed: {', '.join(names)})")
