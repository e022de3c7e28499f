"""The machine: how many cores this process may use and how many of them it does use, how much memory is free, and how much it took."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_MEMORY_FILE = Path("/proc/meminfo")
_limit: ContextVar[int | None] = ContextVar("thread_limit", default=None)


@contextmanager
def limited_threads(number: int | None) -> Iterator[None]:
    """Let the work inside use `number` threads at most; None: leave it as it is.

    The limit belongs to the calling thread: others that work at the same time have limits of their own. What starts threads respects
    `thread_limit`.

    Examples
    --------
    >>> with limited_threads(2):
    ...     thread_limit()
    2
    >>> thread_limit() is None
    True
    """
    if number is None:
        yield
        return
    before = _limit.set(number)
    try:
        yield
    finally:
        _limit.reset(before)


def thread_limit() -> int | None:
    """Return how many threads the work at hand may use; None: as many as there are cores."""
    return _limit.get()


def num_cores() -> int:
    """Return how many cores this process may use; a batch system or a container may allow it fewer than there are."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def free_memory() -> int | None:
    """Return the bytes of memory that can be had without swapping (Linux), None where the system does not say."""
    try:
        lines = _MEMORY_FILE.read_text().splitlines()
    except OSError:
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if kilobytes is None else 1024 * int(kilobytes)


def peak_memory_mb() -> float | None:
    """Return the largest resident memory of this process so far, in MB; None where the system does not tell (Windows)."""
    try:
        # On Linux, getrusage also counts what the parent had before this program was started.
        with open("/proc/self/status", encoding="ascii") as status:
            return round(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**10, 1)
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
