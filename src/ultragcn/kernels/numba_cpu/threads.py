"""Threads: Numba's share out the work, so the BLAS that they call must not start its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numba
import scipy.linalg.cython_blas  # noqa: F401 - the BLAS that Numba calls, loaded so that the controller finds it
from threadpoolctl import ThreadpoolController


@contextmanager
def numba_threads() -> Iterator[None]:
    """Run kernels that call BLAS: limit BLAS to one thread inside each call, and hand out pieces of work one by one.

    Several threads inside each call would cost a factor of four; pieces dealt out beforehand would wait for a thread that another
    program slows down. What a signal's handler raises while a kernel runs, an interrupt (Ctrl-C) or an exit, is raised as that, not as
    the `SystemError` that Numba makes of it.
    """
    try:
        with _blas().limit(limits=1, user_api="blas"), numba.parallel_chunksize(1):
            yield
    except SystemError as error:
        cause: BaseException | None = error
        while isinstance(cause, SystemError):
            cause = cause.__cause__
        if cause is not None and not isinstance(cause, Exception):
            raise cause from error
        raise


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()
