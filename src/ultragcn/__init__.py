"""UltraGCN: graph collaborative filtering without message passing (Mao et al., CIKM 2021), and models to compare it with.

    from ultragcn import UltraGCN, load_dataset, evaluate

Importing this package loads neither torch nor numba, reads no command line and touches no disk: names are resolved on first use.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ultragcn.config import Config
    from ultragcn.data.datasets import Dataset, load_dataset
    from ultragcn.data.interactions import Interactions
    from ultragcn.data.options import DataOptions
    from ultragcn.data.reading import read_interactions
    from ultragcn.evaluation.difference import diff
    from ultragcn.evaluation.evaluate import evaluate
    from ultragcn.experiments.comparing import compare
    from ultragcn.models.bpr import BPR
    from ultragcn.models.ease import EASE
    from ultragcn.models.ials import IALS
    from ultragcn.models.itemknn import ItemKNN
    from ultragcn.models.lightgcn import LightGCN
    from ultragcn.models.popularity import Popularity
    from ultragcn.models.registry import load_model
    from ultragcn.models.rp3beta import RP3beta
    from ultragcn.models.sparse_ease import SparseEASE
    from ultragcn.models.ultragcn import UltraGCN
    from ultragcn.rules import Rules
    from ultragcn.serving.export import export

__version__ = "0.1.0"
__all__ = [
    "BPR",
    "EASE",
    "IALS",
    "Config",
    "DataOptions",
    "Dataset",
    "Interactions",
    "ItemKNN",
    "LightGCN",
    "Popularity",
    "RP3beta",
    "Rules",
    "SparseEASE",
    "UltraGCN",
    "compare",
    "diff",
    "evaluate",
    "export",
    "load_dataset",
    "load_model",
    "read_interactions",
]

_HOME = {
    "BPR": "ultragcn.models.bpr",
    "Config": "ultragcn.config",
    "DataOptions": "ultragcn.data.options",
    "Dataset": "ultragcn.data.datasets",
    "EASE": "ultragcn.models.ease",
    "IALS": "ultragcn.models.ials",
    "Interactions": "ultragcn.data.interactions",
    "ItemKNN": "ultragcn.models.itemknn",
    "LightGCN": "ultragcn.models.lightgcn",
    "Popularity": "ultragcn.models.popularity",
    "RP3beta": "ultragcn.models.rp3beta",
    "Rules": "ultragcn.rules",
    "SparseEASE": "ultragcn.models.sparse_ease",
    "UltraGCN": "ultragcn.models.ultragcn",
    "compare": "ultragcn.experiments.comparing",
    "diff": "ultragcn.evaluation.difference",
    "evaluate": "ultragcn.evaluation.evaluate",
    "export": "ultragcn.serving.export",
    "load_dataset": "ultragcn.data.datasets",
    "load_model": "ultragcn.models.registry",
    "read_interactions": "ultragcn.data.reading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ultragcn' has no attribute {name!r}")
    if "numpy" not in sys.modules:
        from ultragcn.machine import refuse_few_addresses

        refuse_few_addresses()
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
