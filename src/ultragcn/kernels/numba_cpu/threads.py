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

_lock = threading.Lock()
_inside = 0  # calls, of any thread, that want BLAS to have one thread
_before = 1  # how many threads BLAS had, if the first of them is out already
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
        with _blas_on_one_thread(), numba.parallel_chunksize(1):
            yield
    except SystemError as error:
        cause: BaseException | None = error
        while isinstance(cause, SystemError):
            cause = cause.__cause__
        if cause is not None and not isinstance(cause, Exception):
            raise cause from error
        raise


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
def _blas_on_one_thread() -> Iterator[None]:
    """Limit BLAS to one thread. The limit is the whole process's: of several threads the first one in sets it, the last one out ends it.

    threadpoolctl lets no thread undo what another one set, and one that came in meanwhile takes the limit for what was there before.
    """
    global _inside, _before
    with _lock:
        mine = _blas().limit(limits=1, user_api="blas").__enter__() if _inside == 0 else None
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if mine is not None:
                mine.__exit__(None, None, None)
                if _inside > 0:  # others still want it
                    _before = max((library["num_threads"] for library in _blas().info() if library["user_api"] == "blas"), default=1)
                    _set_blas_threads(1)
            elif _inside == 0:
                _set_blas_threads(_before)


def _set_blas_threads(number: int) -> None:
    """Set how many threads BLAS has, in such a way that any thread may change it again."""
    _blas().limit(limits=number, user_api="blas")
    with _blas().limit(limits=None):  # the limit before belongs to this thread until it is through with some `with`
        pass


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def _in_child() -> None:
    """Take note, in a process that was forked, of what does not work in it."""
    global _lock, _inside, _lost
    try:
        _lost = numba.threading_layer() == "omp"
    except ValueError:  # no kernel has run yet, so there are no threads to lose
        _lost = False
    _lock, _inside = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
