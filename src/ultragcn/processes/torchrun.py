"""Processes that torchrun started, on one machine or several: they exchange arrays by PyTorch's gloo, over the network.

This is the only module of its package that imports PyTorch. Arrays go from each process to each other process directly: a process
receives every row that is not its own once, (P - 1) / P of a table.
"""

import os
import pickle
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar, cast

import numpy as np

from ultragcn.errors import MissingDependencyError
from ultragcn.processes import Launch, ProcessLostError, in_order

try:
    import torch
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous
except ImportError as error:
    raise MissingDependencyError("a training over processes needs PyTorch; install ultragcn[torch]") from error

T = TypeVar("T")
_LONGEST = timedelta(hours=6)  # that a process waits for another one: the first process may read data meanwhile
_AGREED = timedelta(minutes=10)  # in which all processes must have come
_LOOK = 0.05  # seconds between two looks at the store
_LAST_WORD = 2.0  # seconds in which an interrupt may still arrive, where another process has ended before this one


class TorchProcesses:
    """Processes of one process group of gloo; use `joined`.

    Attributes
    ----------
    received : int
        Bytes that this process received so far.
    """

    def __init__(self, launch: Launch, store: Any):
        self.rank, self.number, self.received = launch.rank, launch.number, 0
        self._store = store

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows of all processes, those of the first process first."""
        rows = np.require(rows, requirements=("C", "W"))
        lengths = self._lengths(len(rows))
        ends = np.cumsum(lengths)
        out = np.empty((int(ends[-1]), *rows.shape[1:]), rows.dtype)
        out[ends[self.rank] - lengths[self.rank] : ends[self.rank]] = rows
        size = int(np.prod(rows.shape[1:])) * rows.dtype.itemsize
        places = [_bytes(out)[size * (end - length) : size * end] for end, length in zip(ends, lengths, strict=True)]
        self._exchange(_bytes(rows), places)
        return out

    def add(self, parts: np.ndarray) -> np.ndarray:
        """Return the sum over all shards, in their order."""
        return in_order(self.gather(np.asarray(parts, np.float64)))

    def same(self, value: T) -> T:
        """Return the value of the first process, which sends it to the others."""
        sent = pickle.dumps(value, protocol=5) if self.rank == 0 else b""
        size = torch.tensor([len(sent)])
        self._do(lambda: dist.broadcast(size, 0))
        content = torch.empty(int(size), dtype=torch.uint8)
        if self.rank == 0:
            content.numpy()[:] = np.frombuffer(sent, np.uint8)
        self._do(lambda: dist.broadcast(content, 0))
        if self.rank == 0:
            return value
        self.received += len(content)
        return cast(T, pickle.loads(content.numpy()))  # by the first process of this very training

    def is_first_to_tell(self) -> bool:
        """Return whether no other process has said yet why this training ended."""
        try:
            return bool(self._store.add("told", 1) == 1)
        except (RuntimeError, ConnectionError):  # the store has ended with the process that held it
            return self.rank == 0

    def _lengths(self, length: int) -> list[int]:
        """Return how many rows each process has."""
        own = torch.tensor([length])
        lengths = [torch.empty_like(own) for _ in range(self.number)]
        self._do(lambda: dist.all_gather(lengths, own))
        self.received += 8 * (self.number - 1)
        return [int(number) for number in lengths]

    def _exchange(self, own: np.ndarray, places: list[np.ndarray]) -> None:
        """Send `own` to all others, and receive what they send, each in its place."""
        work = [
            dist.P2POp(operation, torch.from_numpy(array), other)
            for other, place in enumerate(places) if other != self.rank
            for operation, array in ((dist.irecv, place), (dist.isend, own)) if len(array)
        ]  # fmt: skip
        self._do(lambda: [request.wait() for request in dist.batch_isend_irecv(work)] if work else [])
        self.received += sum(len(place) for other, place in enumerate(places) if other != self.rank)

    def _do(self, operation: Callable[[], object]) -> None:
        """Do what needs the other processes.

        An interrupt comes to all processes at about the same time. The first to end closes its connections; the others then find
        their own interrupt, if they wait for it.
        """
        try:
            operation()
        except RuntimeError as error:
            time.sleep(_LAST_WORD)
            first = str(error).strip().partition("\n")[0]
            raise ProcessLostError(
                f"process {self.rank} of {self.number} has lost another one, so the training ends ({first}); torchrun starts all again "
                "where --max-restarts allows it, else go on by --resume"
            ) from error


def _bytes(array: np.ndarray) -> np.ndarray:
    """Return the bytes of an array, (n,) uint8; the same memory."""
    return array.reshape(-1).view(np.uint8) if array.size else np.empty(0, np.uint8)


def _agreed_name(store: Any, rank: int, number: int) -> str:
    """Return a name that the processes of this start have in common, and those of earlier starts did not have.

    torchrun may keep its store when it starts all processes again, with the addresses of those that have ended. Each process leaves a
    fresh name of its own, and the first process answers to it, so that nothing of earlier starts is taken for an answer.
    """
    own = uuid.uuid4().hex
    if rank > 0:
        store.set(f"ultragcn/here/{rank}", own)
        store.wait([f"ultragcn/answer/{own}"], _AGREED)
        common: str = store.get(f"ultragcn/answer/{own}").decode()
        store.set(f"ultragcn/{common}/{rank}", "heard")
        return common
    missing, until = set(range(1, number)), time.monotonic() + _AGREED.total_seconds()
    while missing:
        for other in sorted(missing):
            if store.check([f"ultragcn/{own}/{other}"]):
                missing.remove(other)
            elif store.check([f"ultragcn/here/{other}"]):
                store.set(f"ultragcn/answer/{store.get(f'ultragcn/here/{other}').decode()}", own)
        if missing and time.monotonic() > until:
            raise RuntimeError(f"{len(missing)} of {number} did not come within {_AGREED}")
        time.sleep(_LOOK)
    return own


@contextmanager
def joined(launch: Launch) -> Iterator[TorchProcesses]:
    """Join the other processes that torchrun started, and leave them at the end.

    Raises
    ------
    ProcessLostError
        They cannot be reached.
    """
    torch.set_num_threads(1)
    try:
        store, rank, number = next(rendezvous("env://", timeout=_AGREED))
        store = dist.distributed_c10d.PrefixStore(_agreed_name(store, rank, number), store)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=number, timeout=_LONGEST)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        first = str(error).strip().partition("\n")[0]
        raise ProcessLostError(
            f"the processes cannot reach each other at {where} ({first}); where a machine has several networks, name one in "
            "GLOO_SOCKET_IFNAME"
        ) from error
    processes = TorchProcesses(launch, store)
    try:
        yield processes
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()
