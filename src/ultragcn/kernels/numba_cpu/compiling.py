"""How kernels are compiled: what every one of them has in common, so that compiling them costs little.

* A kernel runs on one thread and without Python's lock; `threads.share_out` calls it in several. Numba's own `parallel=True` would compile
  every loop two more times.
* What kernels call is inlined in them by LLVM (`forceinline`) and has no entry from Python or C of its own. So a process holds one compiled
  copy of it, and a kernel that was compiled a moment ago computes the same bits as one that was loaded from the cache on disk.
* Kernels allocate nothing, sort by `search.sort`, and copy rows by loops: NumPy's own functions for that bring hundreds of lines of Numba's
  (messages of errors, for one), which would be compiled with each kernel.
* The first kernel that a process compiles, and does not find in the cache, says so: it takes long enough to look like a process that hangs.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numba
from numba.core import event

from ultragcn.kernels.numba_cpu.cache import choose_place
from ultragcn.progress import say

# Reassociation lets LLVM vectorise sums; NaN and infinity keep their meaning, because overflow is detected through them.
FAST = {"reassoc", "contract", "nsz", "arcp", "afn"}
_KERNEL: dict[str, Any] = {"nogil": True, "cache": choose_place(), "no_cfunc_wrapper": True}
_INLINED: dict[str, Any] = {"forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


_calls: list[Callable[[], None]] = []


@contextlib.contextmanager
def calling_when_a_kernel_is_compiled(call: Callable[[], None]) -> Iterator[None]:
    """Call a function before each kernel that is compiled, in the thread that compiles it. Kernels in the cache are not compiled."""
    _calls.append(call)
    try:
        yield
    finally:
        _calls.remove(call)


class _Notice(event.Listener):
    """Says that kernels are compiled, before the first of them is."""

    def on_start(self, event: event.Event) -> None:
        dispatcher = event.data["dispatcher"]
        if not dispatcher.py_func.__module__.startswith("ultragcn.") or not dispatcher.targetoptions.get("nogil"):
            return  # somebody else's, or part of a kernel
        place = dispatcher.stats.cache_path
        often = "once" if place else "in each process"
        kept = f"they are kept in {place}" if place else "there is no folder to keep them in"
        say(f"compiling the kernels that this needs, {often}: up to 20 seconds on most machines; {kept}")
        for call in tuple(_calls):
            call()

    def on_end(self, event: event.Event) -> None:
        pass


event.register("numba:compile", _Notice())

kernel = numba.njit(**_KERNEL, fastmath=False)
fast_kernel = numba.njit(**_KERNEL, fastmath=FAST)
inlined = numba.njit(**_INLINED, fastmath=False)  # without this, Numba would give it the fastmath of whatever calls it
fast_inlined = numba.njit(**_INLINED, fastmath=FAST)


def on_its_own(function: Any) -> Callable[..., Any]:
    """Return what is inlined in kernels as a function that Python can call, for tests; compiled when it is first called."""
    alone: Callable[..., Any] = numba.njit(fastmath=function.targetoptions.get("fastmath", False))(function.py_func)
    return alone
