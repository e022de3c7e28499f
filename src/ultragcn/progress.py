"""Progress of long work: what shows it, and bars that show it in a terminal or in a notebook.

The library itself prints nothing unless it is given something to show progress with, or `progress=True`.
"""

import sys
import warnings
from collections.abc import Mapping
from typing import Any, Protocol

from ultragcn.errors import UsageError


class Progress(Protocol):
    """Something that shows progress: a bar, a log, a test's list."""

    def start(self, what: str, total: int | None, unit: str) -> None:
        """Begin a piece of work of `total` steps (None: unknown), counted in `unit` (epoch, sweep, byte, ...)."""

    def advance(self, steps: int, figures: Mapping[str, Any] | None = None) -> None:
        """Count `steps` more as done; `figures` are the latest numbers worth showing (loss, recall@20, ...)."""

    def finish(self) -> None:
        """End the piece of work begun last."""


class Silent:
    """Shows nothing."""

    def start(self, what: str, total: int | None, unit: str) -> None:
        """Do nothing."""

    def advance(self, steps: int, figures: Mapping[str, Any] | None = None) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


class Bars:
    """Shows progress with tqdm: steps done, time left, the latest figures. On stderr in a terminal, as a widget in a notebook."""

    def __init__(self) -> None:
        self._bars: list[Any] = []

    def start(self, what: str, total: int | None, unit: str) -> None:
        """Begin a bar."""
        bytes_or_steps = {"unit": "B", "unit_scale": True} if unit == "byte" else {"unit": unit}
        self._bars.append(_tqdm()(total=total, desc=what, dynamic_ncols=True, mininterval=0.5, **bytes_or_steps))

    def advance(self, steps: int, figures: Mapping[str, Any] | None = None) -> None:
        """Move the latest bar on."""
        if figures:
            shown = {name: f"{value:.5g}" if isinstance(value, float) else value for name, value in figures.items()}
            self._bars[-1].set_postfix(shown, refresh=steps == 0)
        self._bars[-1].update(steps)

    def finish(self) -> None:
        """End the latest bar."""
        if self._bars:
            self._bars.pop().close()

    def note(self, text: str) -> None:
        """Write a line that does not disturb the bars."""
        _tqdm().write(text, file=sys.stderr)


def progress_of(given: Progress | bool | None) -> Progress:
    """Return what shows the progress of a verb: bars for True, nothing for False and None, and any other progress as it is.

    Examples
    --------
    >>> type(progress_of(True)).__name__, type(progress_of(None)).__name__
    ('Bars', 'Silent')
    """
    if given is None or isinstance(given, bool):
        return Bars() if given else Silent()
    if not all(callable(getattr(given, name, None)) for name in ("start", "advance", "finish")):
        raise UsageError(f"progress must be True, False or an object with start, advance and finish, not {given!r}")
    return given


def _tqdm() -> Any:
    """Return tqdm for where this runs. It takes a moment to import, so only a bar does so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a notebook without ipywidgets gets a bar of text, which is no cause for a warning
        from tqdm.auto import tqdm
    return tqdm
