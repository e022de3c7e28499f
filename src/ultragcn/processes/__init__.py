"""Processes that train together: which rows each of them works on, and the three verbs by which they share what they found.

    gather(rows)     every process gets the rows of all processes
    add(parts)       every process gets the sum over all shards
    same(value)      every process gets the value of the first process

The rows of a table are cut into shards. How many shards there are depends on the size of the table alone, and a process works on whole
shards. What is computed of a shard, and the order in which sums over shards are added, does not depend on the number of processes. So any
number of processes computes the same bits. With one process the verbs do nothing, and PyTorch is not imported.

Letters: R rows, S shards, P processes.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from ultragcn.errors import UltraGCNError, UsageError
from ultragcn.machine import limited_threads, num_cores, thread_limit

T = TypeVar("T")
_SOME, _FEW_ROWS = 4, 1024  # so many shards from so many rows on: enough for four processes
_ROWS = 2048  # rows of a shard at least where there are more shards: similar rows are looked for within one
_MOST = 64  # shards of a table at most, and so processes


class ProcessLostError(UltraGCNError, RuntimeError):
    """Another process of the training has ended, or cannot be reached."""


class Processes(Protocol):
    """Processes that do the same work, each on its own rows."""

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""

    @property
    def number(self) -> int:
        """P."""

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows of all processes, those of the first process first."""

    def add(self, parts: np.ndarray) -> np.ndarray:
        """Return the sum over all shards, in their order, of what each process gives for its own: (own shards, ...) to (...) float64."""

    def same(self, value: T) -> T:
        """Return the value of the first process."""


class OneProcess:
    """A process that works alone."""

    rank, number = 0, 1

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Return `rows`."""
        return rows

    def add(self, parts: np.ndarray) -> np.ndarray:
        """Return the sum over the first axis, in its order."""
        return in_order(parts)

    def same(self, value: T) -> T:
        """Return `value`."""
        return value


ALONE = OneProcess()


def in_order(parts: np.ndarray) -> np.ndarray:
    """Return the sum over the first axis in float64, one part after another: (S, ...) to (...).

    Examples
    --------
    >>> in_order(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([4., 6.])
    """
    total = np.zeros(parts.shape[1:])
    for part in parts:
        total += part
    return total


def num_shards(num_users: int, num_items: int) -> int:
    """Return into how many shards both users and items are cut: by the size of the smaller side alone.

    Examples
    --------
    >>> [num_shards(rows, 10**6) for rows in (100, 2_000, 40_000, 10**7)]
    [1, 4, 16, 64]
    """
    rows = min(num_users, num_items)
    if rows < _FEW_ROWS:
        return 1
    return min(_MOST, max(_SOME, 2 ** ((rows // _ROWS).bit_length() - 1) if rows >= _ROWS else 1))


def cut(costs: np.ndarray, number: int) -> np.ndarray:
    """Return where each of `number` shards begins, and where the last one ends: (S + 1,) int64. Their costs are about equal.

    Parameters
    ----------
    costs : (R,)
        What each row costs, in any unit.
    number : int
        S.

    Examples
    --------
    >>> cut(np.array([3, 1, 1, 1, 3, 3]), 2)
    array([0, 4, 6])
    """
    until = np.concatenate([[0.0], np.cumsum(costs, dtype=np.float64)])
    inner = np.searchsorted(until, until[-1] * np.arange(1, number) / number)
    return np.concatenate([[0], inner, [len(costs)]]).astype(np.int64)


class Share:
    """The rows of a table that this process works on.

    Parameters
    ----------
    bounds : (S + 1,) int
        Where each shard begins, and where the last one ends.
    processes : Processes

    Attributes
    ----------
    own : slice
        The rows.
    shards : list of slice
        The same, shard by shard.
    parts : list of slice
        The shards, counted from the first row of this process.
    """

    def __init__(self, bounds: Sequence[int] | np.ndarray, processes: Processes = ALONE):
        self.bounds, self.processes = np.asarray(bounds, np.int64), processes
        first, last = (len(self.bounds) - 1) * np.array([processes.rank, processes.rank + 1]) // processes.number
        edges = self.bounds[first : last + 1].tolist()
        self.own = slice(edges[0], edges[-1])
        self.shards = [slice(*pair) for pair in pairwise(edges)]
        self.parts = [slice(shard.start - edges[0], shard.stop - edges[0]) for shard in self.shards]

    @classmethod
    def even(cls, rows: int, processes: Processes = ALONE) -> "Share":
        """Return the share of a small table that is cut as finely as may be, for work on single rows; nothing is added up over them."""
        number = max(1, min(rows, _MOST))
        return cls(rows * np.arange(number + 1) // number, processes)

    @property
    def total(self) -> int:
        """R, the rows of all processes."""
        return int(self.bounds[-1])

    def sum(self, function: Callable[[slice], Any]) -> np.ndarray:
        """Return the sum over all shards of `function(shard)`, in float64 and in the order of the shards."""
        return self.processes.add(np.stack([np.asarray(function(shard), np.float64) for shard in self.shards]))

    def sum_rows(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over all rows of `values`, which are those of this process: (own rows, ...) to (...) float64."""
        own = [values[part].sum(axis=0, dtype=np.float64) for part in self.parts]
        return self.processes.add(np.stack(own))

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows of all processes."""
        return self.processes.gather(rows)


_current: ContextVar[Processes] = ContextVar("processes", default=ALONE)
_leading: ContextVar[Processes] = ContextVar("processes_to_lead", default=ALONE)


def current() -> Processes:
    """Return the processes that do the work at hand: one, unless a training over several is under way."""
    return _current.get()


def to_lead() -> Processes:
    """Return the processes that wait for this process to begin a training; one, where none do."""
    return _leading.get()


@contextmanager
def leading(processes: Processes) -> Iterator[None]:
    """Let trainings that are begun inside be done by `processes`, of which this process is the first."""
    before = _leading.set(processes)
    try:
        yield
    finally:
        _leading.reset(before)


@contextmanager
def together(processes: Processes) -> Iterator[None]:
    """Do the work inside with `processes`, each on its part of the machine's cores; all of them must do it."""
    if processes.number == 1:
        yield
        return
    before = _current.set(processes)
    cores = max(1, num_cores() // _on_this_machine())
    limit = thread_limit()
    try:
        with limited_threads(cores if limit is None else min(limit, cores)):
            yield
    finally:
        _current.reset(before)


class Launch(NamedTuple):
    """What torchrun says to a process that it started."""

    rank: int
    number: int  # processes
    restarts: int  # how often it has started all processes again
    most_restarts: int


def launched() -> Launch | None:
    """Return what torchrun says to this process; None where torchrun did not start it, or no other process.

    Raises
    ------
    UsageError
        The variables are there, but make no sense.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    names = ("RANK", "WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS")
    try:
        launch = Launch(*(int(os.environ[name]) for name in names))
    except (KeyError, ValueError):
        raise UsageError(f"torchrun must give whole numbers in {', '.join(names)}; start this command by torchrun, or without it") from None
    return launch if launch.number > 1 else None


def _on_this_machine() -> int:
    """Return how many of the processes run on this machine."""
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
