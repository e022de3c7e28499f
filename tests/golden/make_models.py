"""Make tests/golden/models: a small model of each kind, and its lists.

Run it for a new version of a kind's file, and never again for an old one.

python tests/golden/make_models.py [KIND-VERSION ...]
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl

from ultragcn import Interactions, UltraGCN
from ultragcn.data.ids import IdMap
from ultragcn.models.registry import BASELINES

WITHOUT_HISTORY = ("ultragcn-5", "itemknn-2", "ials-2", "popularity-3")
"""The models that are also kept without histories."""
FOLDER = Path(__file__).parent / "models"
USERS, ITEMS, TOP_K = 12, 21, 5


def log() -> tuple[Interactions, Interactions]:
    """Return made-up train and validation pairs with times: users of four tastes, who have some of the items of their taste."""
    random = np.random.default_rng(20)
    alike = np.add.outer(np.arange(USERS), np.arange(ITEMS)) % 4 == 0
    dense = random.random((USERS, ITEMS)) < np.where(alike, 0.75, 0.12)
    dense[:, 0] = True
    rows, columns = np.nonzero(dense)
    users, items = [f"user {row:02} é" for row in range(USERS)], [f"item {column:02}" for column in range(ITEMS)]
    ids = IdMap.of(users, "user"), IdMap.of(items, "item")
    pairs = Interactions.from_pairs([users[row] for row in rows], [items[column] for column in columns], *ids)
    dated = Interactions(pairs.matrix, *ids, random.integers(0, 10**14, len(pairs)))
    held = random.random(len(dated)) < 0.15
    return dated.part(~held), dated.part(held)


def untrained() -> dict[str, object]:
    """Return a model of each kind, by the name and version of its file."""
    small = {"ials": {"embedding_dim": 3}, "bpr": {"embedding_dim": 3}, "lightgcn": {"embedding_dim": 3, "epochs": 3}}
    models = [UltraGCN(embedding_dim=3, epochs=4, seed=0, item_graph_weight=0.7, item_trend_weight=0.5, num_item_neighbors=3)]
    models += [made(**small.get(name, {})) for name, made in BASELINES.items()]
    return {model._format: model for model in models}


def main(wanted: list[str]) -> None:
    """Make the models of these kinds and versions, or all that are not there."""
    train, valid = log()
    table = pl.DataFrame({"item": train.item_ids.ids.tolist(), "price": [0.5 * n for n in range(ITEMS)], "brand": ["a", None, "b"] * 7})
    for name, model in untrained().items():
        folder = FOLDER / name
        if folder.exists() and name not in wanted:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        model.fit(train, valid).set_items_table(table)
        model.item_titles_ = np.array([f"Title {number}" for number in range(ITEMS)], object)
        model.save(folder)
        lists = {"recommend": shown(*model.recommend(model.user_ids.ids, TOP_K))}
        if model._takes_new_users:
            lists["recommend_for"] = shown(*model.recommend_for(["item 03", "item 07"], TOP_K))
        if name in WITHOUT_HISTORY:
            model.save(folder / "without_history", history=False)
        lists["recommend_where"] = shown(*model.recommend("user 01 é", TOP_K, where="price > 5 and brand = 'b'"))
        (folder / "lists.json").write_text(json.dumps(lists, ensure_ascii=False) + "\n", encoding="utf-8")


def shown(items: np.ndarray, scores: np.ndarray) -> list[list[object]]:
    """Return a list, or several, as JSON can hold it."""
    return [items.tolist(), np.vectorize(lambda score: float(f"{score:.7g}"))(scores).tolist()]


if __name__ == "__main__":
    main(sys.argv[1:])
