"""Progress of long work: what shows it, and bars that show it in a terminal or in a notebook.

The library shows no progress unless it is given something to show it with, or `progress=True`. What every user should know all the same
goes to the logger "ultragcn" (`say`).
"""

import logging
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any, Protocol

from ultragcn.errors import UsageError

_SHORT = "{desc}: {n_fmt}/{total_fmt} |{bar}| {elapsed}<{remaining}{postfix}"
_SPARE_BAR = 6
"""Columns by which a bar may be shorter than tqdm draws it where there is room."""
_SLACK = 4
"""Columns that a bar may still need: its counts and times grow while it runs."""


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


SECONDS_BETWEEN_LINES = 30.0
"""How often progress is written where it cannot be drawn, such as into a log."""


class _Line:
    """Progress of a piece of work as plain lines, for a stderr that is a file or a pipe: a bar would fill it with redrawn lines.

    Short work writes nothing, so that a job of cron which succeeds has nothing to mail.
    """

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done = 0
        self._figures: Mapping[str, Any] = {}
        self._started = self._written = time.monotonic()

    def advance(self, steps: int, figures: Mapping[str, Any] | None = None) -> None:
        self._done, self._figures = self._done + steps, figures or self._figures
        if time.monotonic() - self._written >= SECONDS_BETWEEN_LINES and self._done != self._total:
            self._write()

    def finish(self) -> None:
        if self._written > self._started:  # whoever reads that it began reads that it ended
            self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        gone = self._written - self._started
        scale, unit = (1e6, "MB") if self._unit == "byte" else (1, f"{self._unit}s")
        of_all = "" if self._total is None else f" of {self._total / scale:.0f}"
        line = f"ultragcn: {self._what}: {self._done / scale:.0f}{of_all} {unit} in {_clock(gone)}"
        if self._total is not None and 0 < self._done < self._total:
            line += f", {_clock(gone / self._done * (self._total - self._done))} left"
        figures = ", ".join(f"{name}={_shown(value)}" for name, value in self._figures.items())
        print(f"{line}, {figures}" if figures else line, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    """Return `1:05` or `2:01:05`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def _shown(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


class Bars:
    """Shows progress with tqdm: steps done, time left, the latest figures. On stderr in a terminal, as a widget in a notebook.

    Where stderr is a file or a pipe, work of more than half a minute writes a plain line every half minute instead.
    """

    def __init__(self) -> None:
        self._bars: list[Any] = []

    def start(self, what: str, total: int | None, unit: str) -> None:
        """Begin a bar."""
        if sys.stderr is None:
            self._bars.append(Silent())
            return
        if not sys.stderr.isatty() and "ipykernel" not in sys.modules:
            self._bars.append(_Line(what, total, unit))
            return
        bytes_or_steps = {"unit": "B", "unit_scale": True} if unit == "byte" else {"unit": unit}
        self._bars.append(_tqdm()(total=total, desc=what, dynamic_ncols=True, mininterval=0.5, **bytes_or_steps))

    def advance(self, steps: int, figures: Mapping[str, Any] | None = None) -> None:
        """Move the latest bar on."""
        if isinstance(self._bars[-1], (Silent, _Line)):
            self._bars[-1].advance(steps, figures)
            return
        if figures:
            shown = {name: _shown(value) for name, value in figures.items()}
            self._bars[-1].set_postfix(_fitting(self._bars[-1], shown), refresh=steps == 0)
        self._bars[-1].update(steps)

    def finish(self) -> None:
        """End the latest bar."""
        if self._bars:
            bar = self._bars.pop()
            bar.finish() if isinstance(bar, (Silent, _Line)) else bar.close()


LOGGER = logging.getLogger("ultragcn")
_said: set[str] = set()


def say(sentence: str) -> None:
    """Say something that every user should know, once in each process: on the logger "ultragcn", which Python shows on stderr by itself.

    Examples
    --------
    >>> import logging
    >>> logging.getLogger("ultragcn").setLevel(logging.ERROR)  # silences it
    >>> say("this takes a minute")
    >>> logging.getLogger("ultragcn").setLevel(logging.NOTSET)
    """
    if sentence not in _said:
        _said.add(sentence)
        LOGGER.warning("%s", sentence)


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


def _fitting(bar: Any, figures: Mapping[str, str]) -> dict[str, str]:
    """Return those of the figures that fit beside `bar` in one line of its terminal, the last ones first of all.

    Where they do not all fit, the bar leaves out its share and its speed.
    """
    known = bar.format_dict
    width = known.get("ncols")
    if not isinstance(width, int) or isinstance(width, bool):  # a notebook, or no terminal
        return dict(figures)
    if _length(known, figures) > width:
        bar.bar_format = known["bar_format"] = _SHORT
    kept = dict(figures)
    while kept and _length(known, kept) > width:
        del kept[next(iter(kept))]
    return kept


def _length(known: Mapping[str, Any], figures: Mapping[str, str]) -> int:
    """Return how long the line of a bar may become with its shortest bar."""
    text = ", ".join(f"{name}={value}" for name, value in figures.items())
    return len(_tqdm().format_meter(**{**known, "ncols": None, "postfix": text})) - _SPARE_BAR + _SLACK


def _tqdm() -> Any:
    """Return tqdm for where this runs. It takes a moment to import, so only a bar does so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a notebook without ipywidgets gets a bar of text, which is no cause for a warning
        from tqdm.auto import tqdm
    return tqdm
