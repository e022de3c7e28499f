"""The machine: how many cores and how much memory this process may use, how much it took, and what a fork took from it.

Whatever is about to take much memory says so first, by `ask_for`.
"""

import errno
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from ultragcn.errors import UltraGCNError, UsageError

_MEMORY_FILE = Path("/proc/meminfo")
_GROUPS_FILE = Path("/proc/self/cgroup")
_GROUPS_MOUNT = Path("/sys/fs/cgroup")
_MEMORY_NAMES = (
    ("memory.max", "memory.current", "inactive_file"), ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)  # fmt: skip
"""Files of version 2 and 1 of control groups: the limit, what is used, and what of that are files in memory."""
_NO_LIMIT = 2**60
"""From here on, a limit of version 1 says that there is none: its largest number is 2^63 less a page."""
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
    """Return how many cores this process may use: those that its affinity allows, and no more than a container's quota of time pays for."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota() -> float | None:
    """Return how many cores' time the control groups of this process allow it (containers, batch systems); None: no limit."""
    quotas = []
    for folder in _groups("cpu"):
        try:
            if (folder / "cpu.max").exists():
                quota, period = (folder / "cpu.max").read_text().split()
            else:
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
            if quota not in ("max", "-1"):
                quotas.append(int(quota) / int(period))
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return min(quotas, default=None)


def free_memory() -> int | None:
    """Return the bytes of memory that this process can still have without swapping, None where the system does not say.

    The least of what the machine has left, what control groups leave it (containers, batch systems), and what a limit of addresses
    leaves it (`ulimit -v`).
    """
    return min((left for left in (_left_of_machine(), _left_of_groups(), _left_of_addresses()) if left is not None), default=None)


_WORTH_ASKING = 64 * 2**20
"""Bytes below which `ask_for` does not look: looking takes longer than the answer to one user."""
_ADDRESSES = 5 * 2**28
"""Bytes of addresses without which the libraries that this one needs do not load, or wait for ever for threads of their own."""
_OF_TORCH = ("can't allocate memory", "out of memory")
"""What PyTorch's errors say where memory has run out, on a processor and on a GPU."""


class MemoryShortError(UsageError, MemoryError):
    """What is asked for needs more memory than is free. Nothing was begun."""


class OutOfMemoryError(UltraGCNError, MemoryError):
    """Memory ran out in the middle of the work."""


def ask_for(needed: int, what: str, advice: str, free: int | None = None) -> None:
    """Raise `MemoryShortError` where something needs more memory than is free; to be called before it takes any.

    Parameters
    ----------
    needed : int
        Bytes. Needs of less than 64 MB are not looked at.
    what : str
        What needs them, in the singular, such as "EASE on 70000 items".
    advice : str
        What to do instead.
    free : int, optional
        Bytes that are free, where the memory is not that of this process (a GPU); by default `free_memory()`.

    Examples
    --------
    >>> ask_for(2 * 10**9, "a table of 500 million numbers", "take fewer", free=10**9)
    Traceback (most recent call last):
    ultragcn.machine.MemoryShortError: a table of 500 million numbers needs 2.0 GB of memory, but 1.0 GB are free; take fewer
    """
    if needed < _WORTH_ASKING:
        return
    free = free_memory() if free is None else free
    if free is not None and needed > free:
        raise MemoryShortError(f"{what} needs {needed / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB are free; {advice}")


def ran_out(error: BaseException) -> OutOfMemoryError | None:
    """Return the one sentence for an error of any library that says that memory ran out; None where `error` says something else.

    Examples
    --------
    >>> type(ran_out(MemoryError())).__name__, ran_out(ValueError("wrong"))
    ('OutOfMemoryError', None)
    """
    if isinstance(error, OutOfMemoryError):
        return error
    ours = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if not ours and not (isinstance(error, RuntimeError) and any(words in str(error) for words in _OF_TORCH)):
        return None
    free = free_memory()
    left = "" if free is None else f" ({free / 1e9:.1f} GB are left)"
    first = str(error).strip().partition("\n")[0] or "no more can be had"
    return OutOfMemoryError(f"memory ran out{left}: {first}; give this process more, or take less data or a smaller model")


def refuse_few_addresses() -> None:
    """Raise `UsageError` where a limit of addresses (`ulimit -v`) is too low for the libraries that this one needs.

    NumPy, polars and Numba would end this process with messages of their own, or wait for ever; so it is called before they are loaded.
    """
    limit = _limit_of_addresses()
    if limit is not None and limit < _ADDRESSES:
        raise UsageError(
            f"this process may have {limit / 1e9:.1f} GB of addresses (ulimit -v), but NumPy, polars and Numba need "
            f"{_ADDRESSES / 1e9:.1f} GB before any work begins, most of it never used; raise the limit, as by ulimit -v unlimited"
        )


def _left_of_machine() -> int | None:
    try:
        lines = _MEMORY_FILE.read_text().splitlines()
    except OSError:
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if kilobytes is None else 1024 * int(kilobytes)


def _left_of_groups() -> int | None:
    left = []
    for folder in _groups("memory"):
        for limit_name, used_name, cached_name in _MEMORY_NAMES:
            try:
                limit, used = (int((folder / name).read_text()) for name in (limit_name, used_name))
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):  # "max": no limit
                continue
            if limit < _NO_LIMIT:
                left.append(max(0, limit - used + int(stat.get(cached_name, 0))))  # files in memory make room when it is needed
    return min(left, default=None)


def _limit_of_addresses() -> int | None:
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    except (ImportError, OSError, ValueError):
        return None
    return None if limit == resource.RLIM_INFINITY else limit


def _left_of_addresses() -> int | None:
    limit = _limit_of_addresses()
    if limit is None:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return max(0, limit - pages * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError):
        return None


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups that this process is in, from its own to the outermost, of both versions."""
    try:
        lines = _GROUPS_FILE.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for mount in (
            [_GROUPS_MOUNT / controllers, _GROUPS_MOUNT / controller] if controllers else [_GROUPS_MOUNT, _GROUPS_MOUNT / "unified"]
        ):
            if not mount.is_dir():
                continue
            own = mount / path.lstrip("/")  # in a container, the group may be mounted as the root itself
            for folder in (own, *own.parents):
                if folder.is_dir():
                    yield folder
                if folder == mount:
                    break
            break


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


_lost_threads = False
"""Whether this process was forked from one in which polars had threads: they did not come along, and who waits for them waits for ever."""


def _before_fork() -> None:
    """Note, in the process that is about to fork, whether polars has threads."""
    if "polars" not in sys.modules:
        return
    try:
        names = [Path(task.path, "comm").read_text() for task in os.scandir("/proc/self/task")]
    except OSError:  # not Linux: a package that is loaded is likely to have been used
        names = ["polars"]
    _forked.clear()
    _forked.append(any(name.startswith(("polars", "async-executor", "tokio-runtime")) for name in names))


def _after_fork_in_child() -> None:
    global _lost_threads
    _lost_threads = _lost_threads or (bool(_forked) and _forked[0])


_forked: list[bool] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)


class ForkedError(UltraGCNError, RuntimeError):
    """Something was asked of a process that was forked and lacks the threads that it needs."""


def refuse_lost_threads() -> None:
    """Raise `ForkedError` where reading would hang: in a process forked from one that has read with polars.

    Ranking, training and what else computes in kernels works in such a process.
    """
    if _lost_threads:
        raise ForkedError(
            "this process was forked from one that had read with polars, whose threads did not come along, so polars would wait for ever; "
            "do it before the fork, or start processes with multiprocessing.get_context('spawn') or 'forkserver'"
        )
