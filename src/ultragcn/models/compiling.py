"""Compiling all kernels beforehand: for an image, or before the first training.

python -c "from ultragcn.models.compiling import compile_all; compile_all()"
"""

import time

from ultragcn import kernels, solvers
from ultragcn.config import Config
from ultragcn.scoring import item_weights


def compile_all() -> float:
    """Compile every kernel of UltraGCN and of the baselines, or load it from the cache on disk; train nothing.

    The cache is in NUMBA_CACHE_DIR, or beside the kernels where that is not set.

    Returns
    -------
    float
        Seconds.
    """
    started = time.perf_counter()
    with kernels.interrupts_kept():
        kernels.compile_kernels()
        solvers.compile_kernels(Config(solver="exact"))
        item_weights.compile_kernels()
    return time.perf_counter() - started
