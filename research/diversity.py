"""What the rule `diversity` costs and gains, by its value: recall, and how alike the items of a list are.

    python research/diversity.py [--dataset ml-1m] [--users 3000]

Prints a table: for each value Recall@20 on test, the same relative to no diversity, the mean cosine of two items of a list by their
embeddings (which the rule lowers) and by their users (which it does not look at), the share of items that are in any list, and the share of
lists whose first item is another one.
"""

import argparse

import numpy as np
import scipy.sparse as sp

from ultragcn import UltraGCN, load_dataset
from ultragcn.evaluation.beyond_accuracy import coverage

VALUES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
TOP_K = 20


def recall(rows: np.ndarray, held: sp.csr_matrix) -> float:
    """Return the mean share of held-out items that are in the lists (B, K) of users, whose rows of `held` (B, I) they are."""
    hits = np.array([np.isin(held[user].indices, rows[user]).sum() for user in range(len(rows))])
    return float(np.mean(hits / np.diff(held.indptr)))


def alike(rows: np.ndarray, directions: sp.csr_matrix | np.ndarray) -> float:
    """Return the mean cosine of two items of a list, over lists (B, K); `directions` are those of the items, (I, any)."""
    means = []
    for items in rows:
        own = directions[items]
        product = own @ own.T
        product = product.toarray() if sp.issparse(product) else product
        means.append((product.sum() - np.trace(product)) / (len(items) * (len(items) - 1)))
    return float(np.mean(means))


def main() -> None:
    """Train a model, make lists for each value, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--users", type=int, default=3000)
    arguments = parser.parse_args()
    data = load_dataset(arguments.dataset)
    model = UltraGCN(seed=0).fit(data)
    asked = np.flatnonzero(np.diff(data.test.matrix.indptr))
    asked = asked[np.linspace(0, len(asked) - 1, min(len(asked), arguments.users)).astype(int)]
    held = sp.csr_matrix(data.test.matrix[asked])
    vectors = model.item_embedding_ / np.maximum(np.linalg.norm(model.item_embedding_, axis=1, keepdims=True), 1e-30)
    lengths = np.sqrt(np.maximum(model.train_.item_degrees, 1))
    by_users = sp.csr_matrix(sp.diags(1 / lengths) @ model.train_.matrix.T.tocsr())
    first = None
    print("diversity\trecall@20\trelative\tcosine of embeddings\tcosine of users\tcoverage\tother first item")
    for value in VALUES:
        items, _ = model.recommend(model.user_ids.ids[asked], TOP_K, diversity=value)
        rows = model.item_ids.rows(items.ravel()).reshape(items.shape)
        first = rows if first is None else first
        found, plain = recall(rows, held), recall(first, held)
        listed = np.bincount(rows.ravel(), minlength=len(model.item_ids))
        cells = (found, found / plain, alike(rows, vectors), alike(rows, by_users), coverage(listed), (rows[:, 0] != first[:, 0]).mean())
        print("\t".join([f"{value:g}", *(f"{cell:.3f}" for cell in cells)]), flush=True)


if __name__ == "__main__":
    main()
