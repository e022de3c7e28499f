"""Models to compare with: simple ones are strong, and belong in every comparison. docs/baselines.md has their formulas.

Each has the verbs of UltraGCN: `EASE(l2=500).fit(train).recommend(user_id)`.
"""

import tomllib
from typing import Any

from ultragcn.baselines.base import Baseline
from ultragcn.baselines.bpr import BPR
from ultragcn.baselines.ease import EASE
from ultragcn.baselines.ials import IALS
from ultragcn.baselines.itemknn import ItemKNN
from ultragcn.baselines.lightgcn import LightGCN
from ultragcn.baselines.popularity import Popularity
from ultragcn.baselines.rp3beta import RP3beta
from ultragcn.baselines.sparse_ease import SparseEASE
from ultragcn.config import configs_folder
from ultragcn.errors import unknown_name

__all__ = [
    "BASELINES", "BPR", "EASE", "IALS", "ItemKNN", "LightGCN", "Popularity", "RP3beta", "SparseEASE", "baseline_for", "kept_settings",
]  # fmt: skip

SETTINGS_FILE = "baselines/settings.toml"  # in configs/, in a folder of its own: a file there would be a data set's

BASELINES: dict[str, type[Baseline]] = {
    "popularity": Popularity, "itemknn": ItemKNN, "rp3beta": RP3beta, "ease": EASE, "sparse-ease": SparseEASE, "ials": IALS, "bpr": BPR,
    "lightgcn": LightGCN,
}  # fmt: skip
"""The baselines by the name they have on the command line and in configs/baselines/settings.toml."""


def baseline_for(name: str, dataset: str | None = None, **changes: Any) -> Baseline:
    """Return the baseline `name` with the settings kept for the benchmark data set `dataset` (the defaults when there are none).

    Parameters
    ----------
    name : str
        One of `BASELINES`.
    dataset : str, optional
        Settings were chosen on its validation items (configs/baselines/settings.toml says how). A name that is none of those, a
        misspelt one too, is taken for a data set of your own: `kept_settings` tells.
    **changes
        Hyper-parameters that win over those.

    Raises
    ------
    UsageError
        No such baseline or hyper-parameter, or a value out of range.
    """
    if name not in BASELINES:
        raise unknown_name("baseline", name, BASELINES)
    kept = kept_settings(name, dataset) if dataset is not None else None
    return BASELINES[name](**((kept or {}) | changes))


def kept_settings(name: str, dataset: str) -> dict[str, Any] | None:
    """Return the settings kept for the baseline `name` on the benchmark data set `dataset`; None when there are none."""
    folder = configs_folder()
    if folder is None or not (folder / SETTINGS_FILE).is_file():
        return None
    settings: dict[str, Any] | None = tomllib.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8")).get(dataset, {}).get(name)
    return settings
