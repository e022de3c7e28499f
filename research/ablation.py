"""What each part of the model brings: Recall@20 / NDCG@20 on validation items with the settings kept, and with a part left out.

    ULTRAGCN_DATA_DIR=... python research/ablation.py [--datasets LIST]

Protocol clean, split seed 0, model seed 0; test is not read. A row for every variant goes to plots/ablation.tsv as it ends, and what stands
there already, with the same settings, is not trained again. `benchmarks/comparison.py` writes them into docs/results.md.
"""

import argparse

from shared import ROOT, data_dir, report

from ultragcn import UltraGCN, load_dataset, storage
from ultragcn.config import Config, configuration_for
from ultragcn.models.item_scorer import ItemWeightModel
from ultragcn.scoring.item_graph import item_graph

NAMES = "gowalla,ml-1m,amazoncds,electronics,ml-latest-small,movietweetings-100k"
LEFT_OUT: dict[str, dict] = {
    "everything": {},
    "no item graph at ranking time (the paper's model)": {"item_graph_weight": 0.0},
    "no walks in the item graph": {"item_graph_walk": 0.0},
    "no item-item term in the loss": {"item_item_weight": 0.0},
    "20 links an item in the item graph": {"item_graph_neighbors": 20},
}
"""Name of a variant -> what differs from the settings kept."""
GRAPH_ALONE = "the item graph alone"


def rows_of(name: str) -> list[dict[str, str]]:
    """Return the rows of one data set that there are, the last one of each variant."""
    file = ROOT / "plots" / "ablation.tsv"
    rows = storage.read_rows(file) if file.is_file() else []
    return list({row["variant"]: row for row in rows if row["dataset"] == name}.values())


def measure(name: str) -> None:
    """Train every variant on one data set, where that has not been done."""
    kept = configuration_for(name, "exact")
    known = {(row["variant"], row["settings"]) for row in rows_of(name)}
    data = None
    for variant in (*LEFT_OUT, GRAPH_ALONE):
        config = kept.replace(**LEFT_OUT.get(variant, {}))
        if (variant, config.fingerprint()) in known:
            continue
        data = data or load_dataset(name, data_dir())
        model = (ItemGraph if variant == GRAPH_ALONE else UltraGCN)(**config.to_dict())
        result = model.fit(data.train, data.valid).evaluate(data.valid)
        report("ablation", {
            "dataset": name, "variant": variant, "settings": config.fingerprint(), "recall@20": result["recall@20"],
            "ndcg@20": result["ndcg@20"], "train_seconds": model.train_seconds_,
        })  # fmt: skip


class ItemGraph(ItemWeightModel):
    """The model whose scores are those of the item graph."""

    Settings = Config

    def _learn(self, targets, show) -> None:
        self.item_weights_ = item_graph(self.train_, self.config)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--datasets", default=NAMES)
    for name in parser.parse_args().datasets.split(","):
        measure(name)
