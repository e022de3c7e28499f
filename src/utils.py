"""Small things that every model and experiment of the workbench needs."""

import contextlib
import random
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from loguru import logger
from tqdm import tqdm

DEFAULT_SEED = 0
"""What seed -1 stands for."""


def chosen_seed(seed: int) -> int:
    """Return `seed`, or for -1 the default seed. Either way, two runs with the same flags are equal."""
    return DEFAULT_SEED if seed == -1 else seed


def set_random_seed(seed: int) -> None:
    """Fix every source of random numbers with `seed`; -1 stands for the default seed."""
    seed = chosen_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (models may use NumPy's global generator, so it is fixed too)
    torch.manual_seed(seed)
    # On a GPU, cuDNN may otherwise choose algorithms that add in a different order every time.
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def choose_device() -> torch.device:
    """Return the GPU when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def log_param(param: Mapping[str, Any]) -> None:
    """Log the parameters of a run, one a line; None means that nobody chose one."""
    for name, value in param.items():
        if value is not None:
            logger.info("{}: {}", name, value)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one CPU thread meanwhile; the result is then the same on any number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def progress_bar(steps: Iterable | None = None, *, leave: bool = True, **options: Any) -> tqdm:
    """Return a tqdm bar on stderr. Where that is a file, and no terminal, it is drawn every ten seconds only."""
    if not sys.stderr.isatty():
        # A bar that leaves nothing behind need not appear at all if its work takes less than that.
        options |= {"mininterval": 10, "delay": 0 if leave else 10}
    return tqdm(steps, file=sys.stderr, leave=leave, **options)


class ProgressBars:
    """Shows the progress that the library reports (`ultragcn.progress.Progress`) as tqdm bars, one inside the other."""

    def __init__(self) -> None:
        self._bars: list[tqdm] = []

    def start(self, what: str, total: int | None, unit: str) -> None:
        """Open a bar; bytes are counted in kB, MB and so on."""
        options = {"unit": "B", "unit_scale": True, "unit_divisor": 1024} if unit == "byte" else {"unit": unit}
        self._bars.append(progress_bar(desc=what, total=total, leave=not self._bars, **options))

    def advance(self, steps: int, figures: Mapping[str, Any] | None = None) -> None:
        """Move the innermost bar and show the latest figures beside it."""
        if figures:
            self._bars[-1].set_postfix(figures, refresh=False)
        self._bars[-1].update(steps)

    def finish(self) -> None:
        """Close the innermost bar."""
        self._bars.pop().close()
