"""Progress bars on stderr."""

from collections.abc import Mapping
from typing import Any

from tqdm import tqdm


class Bars:
    """Shows progress with tqdm: steps done, time left, the latest figures."""

    def __init__(self) -> None:
        self._bars: list[tqdm] = []

    def start(self, what: str, total: int | None, unit: str) -> None:
        """Begin a bar."""
        bytes_or_steps = {"unit": "B", "unit_scale": True} if unit == "byte" else {"unit": unit}
        self._bars.append(tqdm(total=total, desc=what, dynamic_ncols=True, mininterval=0.5, **bytes_or_steps))

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
