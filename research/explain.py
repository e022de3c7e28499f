"""How true explanations are: `explain` beside exact leave-one-out.

    python research/explain.py RUN ... [--users 100] [--seed 0]

RUN is a folder of UltraGCN that `ultragcn train` or `save` wrote. The first items of some users' lists are explained, PER_USER of each.
Leave-one-out folds the user in without each own item, to convergence, and looks how far the score of the listed item falls: the largest
fall is the true first reason. A row for each run goes to plots/explain.tsv:

first           share of pairs whose first reason is that of leave-one-out
first_embedding the same of the embedding part alone, the item graph left out
correlation     mean over pairs of the correlation of contributions and falls, over the own items of the user
chance          share of pairs whose first reason would be hit by drawing one of the own items
adds_up         largest difference of a score and the sum of its parts, relative to the spread of the user's scores
cpu_ms          median CPU time of a call; cpu_ms_95 is the 95th percentile
"""

import argparse
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from shared import report

from ultragcn import UltraGCN
from ultragcn.solvers.fold_in import fold_in

PER_USER = 5
LEAST, MOST = 2, 300  # own items of a user
STEPS, TOLERANCE = 100, 1e-4  # of folding in


def falls(model: UltraGCN, own: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far the scores of `items` (k,) fall without each of the own items (n,): of embeddings and of all terms, (k, n) each."""
    baskets = [own, *(np.delete(own, place) for place in range(len(own)))]
    indptr = np.cumsum([0, *map(len, baskets)])
    matrix = sp.csr_matrix((np.ones(indptr[-1], np.float32), np.concatenate(baskets), indptr), shape=(len(baskets), len(model.item_ids)))
    scorer = model.scorer.of_users(fold_in(model._frozen(), matrix, STEPS, TOLERANCE), matrix)
    rows, columns = np.repeat(np.arange(len(baskets)), len(items)), np.tile(items, len(baskets))
    parts = {name: part.reshape(-1, len(items)).T for name, part in scorer.parts(rows, columns).items()}
    whole = sum(parts.values())
    return tuple(scores[:, :1] - scores[:, 1:] for scores in (parts["embeddings"], whole))


def measure(folder: Path, num_users: int, seed: int) -> None:
    """Report one run."""
    model = UltraGCN.load(folder)
    degrees = model.train_.user_degrees
    users = np.random.default_rng(seed).permutation(np.flatnonzero((degrees >= LEAST) & (degrees <= MOST)))[:num_users]
    hits, hits_embedding, chance, correlations, apart, seconds = [], [], [], [], [], []
    ids, _ = model.recommend(model.user_ids.ids[users], PER_USER)
    model.explain(model.user_ids.ids[users[0]], ids[0, 0])  # makes what calls have in common
    for user, listed in zip(users, ids, strict=True):
        user_id = model.user_ids.ids[user]
        own = model.train_.matrix[[user]].indices.astype(np.int64)
        fall_embedding, fall = falls(model, own, model.item_ids.rows(listed))
        spread = float(np.std(model.score(user_id, model.item_ids.ids)))
        for place, item in enumerate(listed):
            started = time.process_time()
            why = model.explain(user_id, item)
            seconds.append(time.process_time() - started)
            order = np.searchsorted(own, model.item_ids.rows(why.item_ids))  # place of each reason among the own items
            hits.append(order[0] == np.argmax(fall[place]))
            hits_embedding.append(order[np.argmax(why.parts["embeddings"])] == np.argmax(fall_embedding[place]))
            chance.append(1 / len(own))
            if len(own) > 2:
                correlations.append(np.corrcoef(why.contributions, fall[place][order])[0, 1])
            apart.append(abs(why.contributions.sum() + why.trend + why.rest - model.score(user_id, item)) / spread)
    report("explain", {
        "run": folder.name, "items": len(model.item_ids), "pairs": len(hits), "first": float(np.mean(hits)),
        "first_embedding": float(np.mean(hits_embedding)), "correlation": float(np.mean(correlations)), "chance": float(np.mean(chance)),
        "adds_up": float(np.max(apart)), "cpu_ms": 1e3 * float(np.median(seconds)), "cpu_ms_95": 1e3 * float(np.quantile(seconds, 0.95)),
    })  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for run in arguments.runs:
        measure(run, arguments.users, arguments.seed)
