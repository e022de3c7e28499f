"""Kernels: functions on arrays, one name for each, handed out when they are first needed.

    from ultragcn import kernels
    lists = kernels.rank_users(...)

`kernels.NAME` is the kernel of `numba_cpu`; naming it loads Numba, importing this package does not. The same names are in each
implementation: `reference` is slow, plain and in float64; `numba_cpu` runs on all cores; `torch_ops` has those that the solver sgd and
LightGCN need, on a processor or a GPU. `arguments` has the tuples of arrays that kernels take.
"""

from importlib import import_module
from typing import Any

_MODULES = ("arguments", "numba_cpu", "reference", "torch_ops")


def __getattr__(name: str) -> Any:
    # Whether the package has a module as its attribute is asked before the module is imported; that must not load Numba.
    if name in _MODULES or name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    fast = import_module(f"{__name__}.numba_cpu")
    if name not in fast.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(fast, name)
