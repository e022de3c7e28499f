"""Processes that compute apart from this one: each has its own memory, its share of the threads, and ends when this one does.

A worker is started once and used again, so that packages are loaded and kernels compiled once. What one is asked for is a call of the
function it was made with; what it answers are messages, in order: once `Started`, then any number of `Report`s and one `Done` or
`Failed` a call. In between may come what the library has to say (`Said`).
"""

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from ultragcn.machine import peak_memory_mb
from ultragcn.progress import LOGGER, say

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_SECONDS_TO_END = 3  # before a process is killed that was asked to end


class Started(NamedTuple):
    """The worker can be used."""


class Report(NamedTuple):
    """What a call said of itself while it ran. It waits for an answer: whether to go on."""

    values: Any


class Said(NamedTuple):
    """What the library has to say in the worker; the process that has the worker says it, once for all of its workers."""

    sentence: str


class Done(NamedTuple):
    """How a call ended."""

    result: Any
    seconds: float
    peak_memory_mb: float | None
    """Of this call alone where the system lets a process forget its peak (Linux), else of the worker so far."""


class Failed(NamedTuple):
    """How a call ended that raised."""

    error: Exception


class Killed(NamedTuple):
    """The worker's process is gone."""


Message = Started | Report | Said | Done | Failed | Killed


class Worker:
    """A process that computes `function`.

    Parameters
    ----------
    function : callable
        Of any arguments that can be pickled; it can be imported, or is an object of a class that can. What it has to say before it
        ends it says with `report`.
    threads : int, optional
        Threads of everything that computes in it; by default what each library takes.
    """

    def __init__(self, function: Callable[..., Any], threads: int | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._calling = False
        self._process = context.Process(target=_serve, args=(theirs, function))
        with _without_interrupts(), _environment({} if threads is None else dict.fromkeys(_THREAD_VARIABLES, str(threads))):
            self._process.start()
        theirs.close()

    def call(self, *arguments: Any, log: Path | None = None) -> None:
        """Begin a call; what it prints goes into the file `log`, if one is given."""
        self._calling = True
        with contextlib.suppress(OSError):  # a dead worker is noticed when its answer is asked for
            self.connection.send((arguments, log))

    def answer(self, go_on: bool) -> None:
        """Answer a `Report`."""
        with contextlib.suppress(OSError):
            self.connection.send(go_on)

    def message(self) -> Message:
        """Return the next message of the call, waiting for it."""
        try:
            message: Message = self.connection.recv()
        except (EOFError, OSError):
            return Killed()
        self._calling = isinstance(message, (Started, Report, Said))
        return message

    def result(self) -> Message:
        """Return how the call ended, letting it go on whatever it reports."""
        while True:
            while not wait([self.connection], timeout=0.5):
                pass  # in a wait without end, an interrupt would go unnoticed: the handler that polars installs has it go on
            message = self.message()
            if isinstance(message, Report):
                self.answer(True)
            elif isinstance(message, Said):
                say(message.sentence)
            elif not isinstance(message, Started):
                return message

    def stop(self) -> None:
        """Ask the process to end, in the middle of a call too."""
        self.connection.close()  # whoever waits for a call sees that none will come
        if self._calling:
            self._process.terminate()

    def end(self) -> None:
        """End the process, and wait for that."""
        self.stop()
        self._process.join(_SECONDS_TO_END)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def ready(workers: Sequence[Worker], timeout: float) -> list[Worker]:
    """Return the workers that have a message, after `timeout` seconds at most."""
    waiting = {worker.connection: worker for worker in workers}
    return [waiting[connection] for connection in wait(list(waiting), timeout) if isinstance(connection, Connection)]


def report(values: Any) -> bool:
    """Say something to the process that asked for the call that is going on here; return whether it should go on."""
    if _asked_by is None:
        return True
    _asked_by.send(Report(values))
    go_on: bool = _asked_by.recv()
    return go_on


_asked_by: Connection | None = None
"""In the process of a worker, the way to the one that asks."""


def _serve(connection: Connection, function: Callable[..., Any]) -> None:
    """Answer calls until the process that asks is gone."""
    global _asked_by
    _asked_by = connection
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what Python cleans up at its end is cleaned up
    threading.Thread(target=_end_with_parent, daemon=True).start()
    LOGGER.addHandler(_Sent(connection))
    LOGGER.propagate = False
    with contextlib.suppress(EOFError, OSError):
        connection.send(Started())
        while True:
            arguments, log = connection.recv()
            with _said_into(log):
                connection.send(_outcome(function, arguments))


class _Sent(logging.Handler):
    """Sends what the library has to say to the process that asks."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            self._connection.send(Said(record.getMessage()))


def _outcome(function: Callable[..., Any], arguments: Sequence[Any]) -> Done | Failed:
    _forget_peak_memory()
    started = time.perf_counter()
    try:
        done = Done(function(*arguments), time.perf_counter() - started, peak_memory_mb())
        pickle.dumps(done)
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))  # where it was raised; that does not travel by itself
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # nor does an exception of some classes
            return Failed(RuntimeError(f"{type(error).__name__}: {error}"))
        return Failed(error)
    return done


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _forget_peak_memory() -> None:
    """Let the peak of this process begin anew at what it holds now; Linux does, other systems do not."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Keep an interrupt (Ctrl-C) waiting meanwhile; a process that is started never gets one.

    Ctrl-C reaches all processes of a terminal; only the first one is to speak, also while another is just starting.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables meanwhile; a process that is started inherits them."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _said_into(log: Path | None) -> Iterator[None]:
    """Send what this process prints, from C code too, into the file `log` meanwhile."""
    if log is None:
        yield
        return
    kept = [(number, os.dup(number)) for number in (1, 2)]
    into = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for number, _ in kept:
        os.dup2(into, number)
    os.close(into)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        for number, before in kept:
            os.dup2(before, number)
            os.close(before)
