"""Threads: Numba's share out the work, so the BLAS that they call must not start its own."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType

import numba
import scipy.linalg.cython_blas  # noqa: F401 - the BLAS that Numba calls, loaded so that the controller finds it
from threadpoolctl import ThreadpoolController

from ultragcn.errors import UsageError
from ultragcn.machine import thread_limit

_lock = threading.Lock()
_limits: list[int] = []  # what calls, of any thread, want BLAS to have at most
_in_force: int | None = None  # the least of them, once it is set
_before: list[int] = []  # how many threads each BLAS had before there were any
_lost = False  # whether this process was forked from one whose threads it would need


@contextmanager
def numba_threads() -> Iterator[None]:
    """Run kernels that call BLAS: limit BLAS to one thread inside each call, and hand out pieces of work one by one.

    Several threads inside each call would cost a factor of four; pieces dealt out beforehand would wait for a thread that another
    program slows down. What a signal's handler raises while a kernel runs, an interrupt (Ctrl-C) or an exit, is raised as that, not as
    the `SystemError` that Numba makes of it.

    Raises
    ------
    UsageError
        This process was forked from one that had started threads by GNU OpenMP, which would end it here.
    """
    if _lost:
        raise UsageError(
            "this process was forked from one that had already trained or recommended, and its threads did not come along; start it by "
            'multiprocessing.get_context("spawn"), or load the model in the new process alone'
        )
    try:
        with blas_threads(1), _numba_limited(), numba.parallel_chunksize(1):
            yield
    except SystemError as error:
        cause: BaseException | None = error
        while isinstance(cause, SystemError):
            cause = cause.__cause__
        if cause is not None and not isinstance(cause, Exception):
            raise cause from error
        raise


@contextmanager
def _numba_limited() -> Iterator[None]:
    """Keep Numba to the limit of the work at hand (`machine.thread_limit`). Numba's own number is the calling thread's alone."""
    limit = thread_limit()
    if limit is None:
        yield
        return
    before = numba.get_num_threads()
    numba.set_num_threads(min(limit, before))
    try:
        yield
    finally:
        numba.set_num_threads(before)


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Raise an interrupt (Ctrl-C) that comes within at the end of it at the latest: Numba loses one that meets it in a callback of LLVM."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    came = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


@contextmanager
def blas_threads(number: int) -> Iterator[None]:
    """Let BLAS use `number` threads at most.

    The limit is the whole process's: while several threads want one, the smallest counts. The last one out restores what was there
    before the first one came. threadpoolctl alone would let no thread undo what another one set, and one that came in meanwhile would
    take the limit for what was there before.
    """
    global _before
    with _lock:
        if not _limits:
            _before = _blas_threads()
        _limits.append(number)
        _set_blas_threads()
    try:
        yield
    finally:
        with _lock:
            _limits.remove(number)
            _set_blas_threads()


def _set_blas_threads() -> None:
    """Set how many threads each BLAS has: as many as before, and no more than any limit."""
    global _in_force
    least = min(_limits, default=None)
    if least == _in_force:
        return
    _in_force = least
    for library, threads in zip(_blas().lib_controllers, _before, strict=True):
        # Newer versions of threadpoolctl let only the first thread that sets a limit change it; any of ours may.
        free = getattr(library, "clear_controlling_thread", lambda force: None)
        free(force=True)
        library.set_num_threads(threads if least is None else min(threads, least))
        free(force=True)


def _blas_threads() -> list[int]:
    return [library.get_num_threads() for library in _blas().lib_controllers]


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def _in_child() -> None:
    """Take note, in a process that was forked, of what does not work in it."""
    global _lock, _lost
    try:
        _lost = numba.threading_layer() == "omp"
    except ValueError:  # no kernel has run yet, so there are no threads to lose
        _lost = False
    _lock = threading.Lock()
    if _limits:  # of threads that did not come along
        _limits.clear()
        _set_blas_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
