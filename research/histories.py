"""How much of a user's history the user's embedding gives away: why a copy without histories has no embeddings of users.

    python research/histories.py [--dataset ml-1m]

Items are ranked by the product with the user's embedding alone. Of the first d_u, d_u the number of the user's items in train, the share is
counted that are the user's own; and likewise by popularity.
"""

import argparse

import numpy as np

from ultragcn import UltraGCN, load_dataset


def main() -> None:
    """Train a model, rank by embeddings and by popularity, and print both shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-1m")
    data = load_dataset(parser.parse_args().dataset)
    model = UltraGCN(seed=0).fit(data)
    train, degrees = model.train_, model.train_.user_degrees
    popular = np.argsort(-train.item_degrees, kind="stable")
    own: dict[str, list[float]] = {"embedding": [], "popularity": []}
    for user in np.flatnonzero(degrees):
        ranked = np.argsort(-(model.item_embedding_ @ model.user_embedding_[user]), kind="stable")
        for name, order in (("embedding", ranked), ("popularity", popular)):
            own[name].append(float(np.isin(order[: degrees[user]], train.items_of(user)).mean()))
    for name, shares in own.items():
        print(f"{name}\t{np.mean(shares):.3f}")


if __name__ == "__main__":
    main()
