"""By what similar items should be found: how like in genre the nearest items of films are.

    ULTRAGCN_DATA_DIR=... python research/similar.py [--datasets LIST]

A film and a neighbour share |G_i and G_j| / |G_i or G_j| of their genres. The value of a film is the mean over its ten nearest; empty
places of a list count 0. Films with at least MIN_USERS users are looked at, and any film may be a neighbour. `by_film` counts every
film alike; `by_view` counts a film as often as users have it, as visitors of its page do. `item graph` takes what UltraGCN's item graph
adds to the scores, `chance` any ten films. A row for each way goes to plots/similar.tsv.
"""

import argparse
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from shared import data_dir, report

from ultragcn import EASE, IALS, ItemKNN, UltraGCN, load_dataset
from ultragcn.scoring.similar import heaviest

TOP_K = 10
MIN_USERS = 5
FILES = {"ml-latest-small": "movies.csv", "movietweetings-100k": "movies.dat"}


def genres_of(path: Path) -> dict[int, set[str]]:
    """Return the genres of each film, which stand last in its line; films without known ones are left out."""
    found = {}
    separator = "::" if path.suffix == ".dat" else ","
    for line in path.read_text(encoding="utf-8").splitlines():
        film, _, genres = line.split(separator)[0], *line.rpartition(separator)[1:]
        if film.isdecimal() and genres and "no genres" not in genres:
            found[int(film)] = set(genres.split("|"))
    return found


def genre_matrix(ids: np.ndarray, genres: dict[int, set[str]]) -> sp.csr_matrix:
    """Return which genres each item has: (I, G)."""
    names = sorted(set().union(*genres.values()))
    pairs = [(row, names.index(name)) for row, film in enumerate(ids) for name in genres.get(int(film), ())]
    rows, columns = np.array(pairs).T
    return sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(ids), len(names)))


def values_of(neighbors: np.ndarray, films: np.ndarray, has: np.ndarray) -> np.ndarray:
    """Return the mean share of genres of the neighbours (B, K) of films (B,): (B,)."""
    own, other = has[films][:, None, :], has[neighbors]
    both, either = np.minimum(own, other).sum(axis=2), np.maximum(own, other).sum(axis=2)
    shared = np.where(neighbors >= 0, both / np.maximum(either, 1), 0.0)
    return shared.mean(axis=1)


def measure(name: str) -> None:
    """Report every way on one data set."""
    data = load_dataset(name)
    genres = genres_of(Path(data_dir()) / name / FILES[name])
    models = [(UltraGCN(seed=0), ("embeddings", "together")), (ItemKNN(), ("together",)), (EASE(), ("together",)),
              (IALS(seed=0), ("embeddings",))]  # fmt: skip
    for unfitted, ways in models:
        model = unfitted.fit(data).refit()
        has = genre_matrix(model.item_ids.ids, genres).toarray()
        degrees = model.train_.item_degrees
        films = np.flatnonzero((degrees >= MIN_USERS) & (has.sum(axis=1) > 0))
        lists = {way: (model._items_near if way == "embeddings" else model._items_together)(films, TOP_K)[0] for way in ways}
        if isinstance(model, UltraGCN):
            graph = model.item_graph_
            lists["item graph"] = heaviest(lambda rows, graph=graph: graph[rows].toarray(), graph.shape[0], films, TOP_K)[0]
            lists["chance"] = np.random.default_rng(0).integers(0, len(degrees), (len(films), TOP_K))
        for way, found in lists.items():
            values = values_of(found, films, has)
            listed = np.where(found >= 0, degrees[found], 0)
            report("similar", {
                "dataset": name, "model": type(model).__name__, "by": way, "films": len(films), "by_film": float(values.mean()),
                "by_view": float(np.average(values, weights=degrees[films])), "places_filled": float((found >= 0).mean()),
                "median_users_of_neighbors": float(np.median(listed)),
            })  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", default=",".join(FILES), help="separated by commas")
    for dataset in parser.parse_args().datasets.split(","):
        measure(dataset)
