"""Models to compare with: simple ones are strong, and belong in every comparison. docs/baselines.md has their formulas.

Each has the verbs of UltraGCN: `EASE(l2=500).fit(train).recommend(user_id)`.
"""

from ultragcn.baselines.base import Baseline
from ultragcn.baselines.bpr import BPR
from ultragcn.baselines.ease import EASE
from ultragcn.baselines.ials import IALS
from ultragcn.baselines.itemknn import ItemKNN
from ultragcn.baselines.lightgcn import LightGCN
from ultragcn.baselines.popularity import Popularity
from ultragcn.baselines.rp3beta import RP3beta
from ultragcn.baselines.sparse_ease import SparseEASE

__all__ = ["BASELINES", "BPR", "EASE", "IALS", "ItemKNN", "LightGCN", "Popularity", "RP3beta", "SparseEASE"]

BASELINES: dict[str, type[Baseline]] = {
    "popularity": Popularity, "itemknn": ItemKNN, "rp3beta": RP3beta, "ease": EASE, "sparse-ease": SparseEASE, "ials": IALS, "bpr": BPR,
    "lightgcn": LightGCN,
}  # fmt: skip
"""The baselines by the name they have on the command line and in configs/baselines.toml."""
