"""Progress of long work, told to whoever wants to show it. The library itself prints nothing."""

from collections.abc import Mapping
from typing import Any, Protocol


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
