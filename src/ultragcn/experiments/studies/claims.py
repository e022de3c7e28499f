"""Who does what, when several processes or machines share a folder: locks that end with the process that holds them.

A lock is the system's own on an open file (flock), so nothing is left to clean up after a `kill -9` or a power cut. Machines can share
a folder if its file system passes such locks on: NFS 4, or NFS 3 with its lock daemon; Lustre mounted with `flock`; GPFS; CephFS. Where
there are none, everything is free: one process alone works as ever, several may do the same thing twice.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ultragcn.errors import UsageError
from ultragcn.storage import lock


class Claim:
    """The right to do one thing, held until it is released or this process ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Give the right back when what had to be done is done and recorded."""
        # Whoever opened the file before it went gets a lock on a file without a name, looks at what is recorded, and lets it go.
        self._path.unlink(missing_ok=True)
        self.abandon()

    def abandon(self) -> None:
        """Give the right back with nothing done; somebody else may. One that is back already stays so.

        An interrupt may come just after a claim was released, and what tidies up then abandons all it knows of.
        """
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def claim(path: Path) -> Claim | None:
    """Return the claim on `path`, or None while somebody else holds it. The file says who, for people to read.

    What the claim is for may have been done until it was got: look again at what is recorded.
    """
    descriptor = _locked(path, wait=False)
    if descriptor is None:
        return None
    who = {"host": socket.gethostname(), "pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
    os.ftruncate(descriptor, 0)
    os.write(descriptor, (json.dumps(who) + "\n").encode())
    return Claim(path, descriptor)


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process is in a block under the same `path`."""
    descriptor = _locked(path, wait=True)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


class JournalLock:
    """`one_at_a_time` in the form in which Optuna's journal wants its lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: contextlib.ExitStack | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        held = contextlib.ExitStack()
        held.enter_context(one_at_a_time(self._path))
        self._held = held
        return True

    def release(self) -> None:
        """Let the next one in."""
        if self._held is not None:
            self._held.close()


def _locked(path: Path, wait: bool) -> int | None:
    """Return a descriptor of the locked file; None where another process holds it and we do not wait."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            lock(descriptor, wait)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            raise
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose a folder you can write to") from error
    return descriptor
