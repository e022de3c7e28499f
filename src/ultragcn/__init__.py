"""UltraGCN: graph collaborative filtering without message passing (Mao et al., CIKM 2021).

    from ultragcn import UltraGCN, load_dataset, evaluate

Importing this package loads neither torch nor numba, reads no command line and touches no disk: names are resolved on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ultragcn.config import Config
    from ultragcn.data.datasets import Dataset, load_dataset
    from ultragcn.data.interactions import Interactions
    from ultragcn.data.options import DataOptions
    from ultragcn.evaluation.evaluate import evaluate
    from ultragcn.models.ultragcn import UltraGCN

__version__ = "0.1.0"
__all__ = ["Config", "DataOptions", "Dataset", "Interactions", "UltraGCN", "evaluate", "load_dataset"]

_HOME = {
    "Config": "ultragcn.config",
    "DataOptions": "ultragcn.data.options",
    "Dataset": "ultragcn.data.datasets",
    "Interactions": "ultragcn.data.interactions",
    "UltraGCN": "ultragcn.models.ultragcn",
    "evaluate": "ultragcn.evaluation.evaluate",
    "load_dataset": "ultragcn.data.datasets",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ultragcn' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
