"""Threads: kernels share out their work themselves, so the BLAS that they call must not start threads of its own."""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import cache
from types import FrameType

import numba
import numpy as np
import scipy.linalg.cython_blas  # noqa: F401 - the BLAS that Numba calls, loaded so that the controller finds it
from llvmlite import ir
from numba.extending import intrinsic
from threadpoolctl import ThreadpoolController

from ultragcn.machine import num_cores, thread_limit

_lock = threading.Lock()
_limits: list[int] = []  # what calls, of any thread, want BLAS to have at most
_in_force: int | None = None  # the least of them, once it is set
_before: list[int] = []  # how many threads each BLAS had before there were any
_pool: ThreadPoolExecutor | None = None  # the threads that help; each is started when it is first needed


def num_threads() -> int:
    """Return how many threads kernels use here: what `numba.set_num_threads` was given, else NUMBA_NUM_THREADS or the number of cores,
    that this process may use, and no more than the limit of the work at hand (`machine.thread_limit`).
    """
    try:
        numba.threading_layer()
        most = int(numba.get_num_threads())
    except ValueError:  # nobody set the number of Numba's own threads; to ask for it would start them
        most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
        if "NUMBA_NUM_THREADS" not in os.environ:
            most = min(most, _cores())  # Numba does not know the quota of a container
    limit = thread_limit()
    return most if limit is None else min(limit, most)


_cores_known: tuple[float, int] = -math.inf, 1  # when the cores were counted, and how many they were
_CORES_LAST = 1.0  # seconds: counting them reads several files, which takes as long as the lists of several users


def _cores() -> int:
    """Return how many cores this process may use, as of a second ago at most."""
    global _cores_known
    now = time.monotonic()
    counted, cores = _cores_known
    if now - counted > _CORES_LAST:
        cores = num_cores()
        _cores_known = now, cores
    return cores


def share_out(pieces: int, run: Callable[[np.ndarray], object]) -> None:
    """Call `run(counter)` once in each of as many threads as there is work for; the calling thread is one of them.

    Pieces are taken one by one: pieces dealt out beforehand would wait for a thread that another program slows down. The work is cut
    into pieces in the same way whatever the number of threads, so results do not depend on it.

    Parameters
    ----------
    pieces : int
    run : callable
        Calls a kernel with the counter, (1,) int64, where it takes the number of its next piece by `take_next`.
    """
    global _pool
    counter = np.zeros(1, np.int64)
    helpers = min(num_threads(), pieces) - 1 if pieces > 1 else 0
    if helpers <= 0:
        run(counter)
        return
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max(64, os.cpu_count() or 1), "ultragcn")
        pool = _pool
    work = [run]
    futures = []
    with suppress(RuntimeError):  # no thread can be started, for want of memory or because Python is ending: those that there are do it
        futures.extend(pool.submit(_help, work, counter) for _ in range(helpers))
    try:
        run(counter)
    finally:
        begun = [future for future in futures if not future.cancel()]  # a helper that has not begun by now comes too late
        wait(begun)
        work.clear()  # what waits in the queue of the pool, and was cancelled, keeps no arrays alive
    for future in begun:
        future.result()


def _help(work: list[Callable[[np.ndarray], object]], counter: np.ndarray) -> None:
    for run in work:
        run(counter)


@intrinsic
def take_next(typing_context, counter):
    """Return counter[0] and add 1 to it, as one step that no other thread comes between."""
    signature = numba.int64(counter)

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return signature, generate


@contextmanager
def numba_threads() -> Iterator[None]:
    """Run kernels that call BLAS: limit BLAS to one thread inside each call; several would cost a factor of four.

    What a signal's handler raises while a kernel runs, an interrupt (Ctrl-C) or an exit, is raised as that, not as the `SystemError`
    that Numba makes of it.
    """
    with interrupts_named(), _inside(), blas_threads(1):
        yield


@contextmanager
def interrupts_named() -> Iterator[None]:
    """Run kernels that do not call BLAS: what a signal's handler raises meanwhile is raised as that, as `numba_threads` does it."""
    try:
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


def blas_libraries() -> list[tuple[str, str, int]]:
    """Return the BLAS libraries that this process has loaded: name, version and threads of each."""
    found = [library for library in _blas().info() if library["user_api"] == "blas"]
    return [(library["internal_api"], str(library["version"]), library["num_threads"]) for library in found]


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


_gate = threading.Condition()
_num_inside = 0  # threads that are in kernels that call BLAS
_num_forking = 0  # threads that are about to fork; while there are any, no other thread goes in
_own = threading.local()
_WAIT_TO_FORK = 5.0  # seconds; whoever trains in one thread and forks in another meanwhile must not wait for a whole sweep


@contextmanager
def _inside() -> Iterator[None]:
    """Keep other threads from forking meanwhile, and wait while one does.

    BLAS has locks of its own. A child that is forked while another thread holds one waits for it for ever, because that thread does not
    come along: of 1,000 children, a third of them forked while two threads ranked, one hung in setting how many threads BLAS has.
    """
    global _num_inside
    depth = getattr(_own, "depth", 0)
    if depth == 0:
        with _gate:
            while _num_forking:
                _gate.wait()
            _num_inside += 1
    _own.depth = depth + 1
    try:
        yield
    finally:
        _own.depth = depth
        if depth == 0:
            with _gate:
                _num_inside -= 1
                _gate.notify_all()


def _before_fork() -> None:
    """Wait until no other thread is in a kernel, or sets how many threads BLAS has, and keep it so."""
    global _num_forking
    ours = 1 if getattr(_own, "depth", 0) else 0
    end = time.monotonic() + _WAIT_TO_FORK
    with _gate:
        _num_forking += 1
        while _num_inside > ours and (left := end - time.monotonic()) > 0:
            _gate.wait(left)
    _own.holds = _lock.acquire(timeout=_WAIT_TO_FORK)


def _in_parent() -> None:
    global _num_forking
    if _own.holds:
        _lock.release()
    with _gate:
        _num_forking -= 1
        _gate.notify_all()


def _in_child() -> None:
    """Forget, in a process that was forked, threads and locks that did not come along."""
    global _lock, _pool, _gate, _num_inside, _num_forking
    _lock, _pool = threading.Lock(), None
    _gate, _num_forking = threading.Condition(), 0
    _num_inside = 1 if getattr(_own, "depth", 0) else 0
    if _limits:  # of threads that did not come along
        _limits.clear()
        _set_blas_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
