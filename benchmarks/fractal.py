"""Make a large log out of a real one: a fractal expansion, which keeps long tails and latent structure.

    ULTRAGCN_DATA_DIR=... python benchmarks/fractal.py --dataset gowalla --users 1000000 --items 200000 --pairs 60000000 --out DIR

It writes DIR/train.parquet and DIR/test.parquet (user_id, item_id, 32-bit integers from 0) and DIR/about.json. One block of users is in
memory at a time. The same seed makes the same files.

The method is that of Belletti et al., "Scalable Realistic Recommendation Datasets through Fractal Expansions" (2019), with one change.
The reduced copy R (B x C) of the log has the log's leading singular values. The large log has B x C blocks. Block (b, c) holds every
pair of the log with probability R[b, c]. In the paper, each block shuffles all rows and all columns, so that no two blocks share
tastes. Here a block shuffles within small neighbourhoods of similar rows, and of similar columns, and it leaves half of the
neighbourhoods as they are. So blocks differ in detail and agree in tastes, and a model can learn from all of them together.

Held-out pairs are expanded in the same way, with the shuffles of the train pairs. All copies of a held-out pair are held out.

Letters: U0 users, I0 items, N0 pairs of the log; B x C blocks; K singular values.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp
from measure import data_dir
from polars.io.plugins import register_io_source
from scipy.sparse.linalg import svds

from ultragcn import load_dataset, rng, storage
from ultragcn.data.ids import IdMap
from ultragcn.data.interactions import Interactions
from ultragcn.machine import peak_memory_mb

PARTS = ("train", "test")
SCHEMA = {"user_id": pl.Int32, "item_id": pl.Int32}
SHUFFLED = 0.5
"""Share of the neighbourhoods that a block shuffles."""
USERS_TOGETHER, ITEMS_TOGETHER = 8, 4
"""Members of a neighbourhood, at most."""
DIRECTIONS = 32
"""Singular vectors that say which rows are similar; at least."""
DEGREE_COUNTS = 0.5
"""How much a degree counts for similarity, beside a taste of length 1; else shuffles would level the popular items."""
Pairs = tuple[np.ndarray, np.ndarray]
"""User and item numbers of pairs: (N,) int32 each."""


class Fractal:
    """A large log, made block by block from a smaller one.

    Parameters
    ----------
    train, test : SciPy sparse matrix, U0 x I0
        The log and its held-out pairs.
    num_users, num_items : int
        Of the large log.
    num_pairs : int
        Train pairs of the large log, within a few percent.
    seed : int
        Fixes everything random.

    Raises
    ------
    ValueError
        So many users and items cannot have so many pairs.
    """

    def __init__(self, train: sp.spmatrix, test: sp.spmatrix, num_users: int, num_items: int, num_pairs: int, seed: int = 0):
        self.shape, self.seed = (num_users, num_items), seed
        self._pairs = {name: _coordinates(matrix) for name, matrix in zip(PARTS, (train, test), strict=True)}
        counts = [-(-asked // have) for asked, have in zip(self.shape, train.shape, strict=True)]
        self._edges = [np.linspace(0, asked, count + 1).astype(np.int64) for asked, count in zip(self.shape, counts, strict=True)]
        size = min(max(DIRECTIONS, *counts), min(train.shape) - 1)
        start = rng.stream(seed, "fractal singular vectors").standard_normal(min(train.shape))
        left, values, right = svds(sp.csr_matrix(train, dtype=np.float64), size, v0=start)
        descending = np.argsort(-values)
        values, vectors = values[descending], [left[:, descending], right.T[:, descending]]
        degrees = [np.bincount(rows, minlength=have) for rows, have in zip(self._pairs["train"], train.shape, strict=True)]
        self._neighbourhoods = [
            neighbourhoods(_place(table * values, degree), together)
            for table, degree, together in zip(vectors, degrees, (USERS_TOGETHER, ITEMS_TOGETHER), strict=True)
        ]
        self.reduced = reduced(*(table[order] for table, (order, _) in zip(vectors, self._neighbourhoods, strict=True)), values, counts)
        whole = [np.diff(edges) / have for edges, have in zip(self._edges, train.shape, strict=True)]
        self.kept = scaled(self.reduced, train.nnz * np.outer(*whole), num_pairs)
        # Items of all blocks are mixed. Users stand in the order of their blocks, so that files are in the order of users.
        self._numbers = [np.arange(num_users), rng.stream(seed, "fractal items").permutation(num_items)]
        self._columns = [self._places(1, block) for block in range(len(self._edges[1]) - 1)]

    @property
    def num_blocks(self) -> int:
        """B, the blocks of users."""
        return len(self.kept)

    def block(self, number: int, part: str) -> Pairs:
        """Return the pairs of one block of users, by user, then item; `part` is train or test."""
        users, items = [], []
        rows = self._places(0, number)
        for column, columns in enumerate(self._columns):
            random = rng.stream(self.seed, f"fractal block {number} {column}")
            user_shuffle, item_shuffle = (shuffled(*leaves, random) for leaves in self._neighbourhoods)
            own_users, own_items = self._pairs[part]
            random = rng.stream(self.seed, f"fractal {part} of block {number} {column}")
            chosen = random.random(len(own_users), dtype=np.float32) < self.kept[number, column]
            user, item = rows[user_shuffle[own_users[chosen]]], columns[item_shuffle[own_items[chosen]]]
            there = (user >= 0) & (item >= 0)
            users.append(user[there])
            items.append(item[there])
        user, item = np.concatenate(users), np.concatenate(items)
        order = np.lexsort((item, user))
        return user[order], item[order]

    def blocks(self, part: str) -> Iterator[Pairs]:
        """Yield the pairs of one block of users after the other."""
        return (self.block(number, part) for number in range(self.num_blocks))

    def write(self, folder: Path) -> None:
        """Write train.parquet and test.parquet, one block of users in memory at a time."""
        for part in PARTS:
            frames = register_io_source(lambda *_, part=part: map(_frame, self.blocks(part)), schema=SCHEMA)
            with storage.atomic_path(folder / f"{part}.parquet") as temporary:
                frames.sink_parquet(temporary, compression="zstd")

    def _places(self, side: int, block: int) -> np.ndarray:
        """Return the numbers, in the large log, of the rows of a block, -1 for those that the block leaves out: (U0,) or (I0,) int32.

        Where a block is smaller than the log, every neighbourhood loses the same share, so that tails stay long.
        """
        order, _ = self._neighbourhoods[side]
        first, last = self._edges[side][block : block + 2]
        random = rng.stream(self.seed, f"fractal rows {side} {block}")
        chosen = order[((np.arange(last - first) + random.random()) * len(order) / (last - first)).astype(np.int64)]
        places = np.full(len(order), -1, np.int32)
        places[chosen] = random.permutation(self._numbers[side][first:last])
        return places


def neighbourhoods(points: np.ndarray, together: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points (R, K) in an order in which similar ones are close, and the neighbourhood of each place: (R,) int64 each.

    The points are halved at the median of the widest direction, until at most `together` are left.
    """
    pieces, waiting = [], [np.arange(len(points))]
    while waiting:
        rows = waiting.pop()
        if len(rows) <= together:
            pieces.append(rows)
            continue
        inside = points[rows]
        rows = rows[np.argsort(inside[:, inside.var(axis=0).argmax()], kind="stable")]
        waiting += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
    return np.concatenate(pieces), np.repeat(np.arange(len(pieces)), [len(rows) for rows in pieces])


def shuffled(order: np.ndarray, neighbourhood: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return a permutation (R,) that moves rows within their neighbourhoods, of which the share `SHUFFLED` is shuffled at all."""
    moves = random.random(neighbourhood[-1] + 1) < SHUFFLED
    keys = np.where(moves[neighbourhood], random.random(len(order)), np.arange(len(order)))
    permutation = np.empty_like(order)
    permutation[order] = order[np.lexsort((keys, neighbourhood))]
    return permutation


def reduced(left: np.ndarray, right: np.ndarray, values: np.ndarray, shape: list[int]) -> np.ndarray:
    """Return a small copy (B, C) of a matrix, with its leading singular values, as shares of the largest entry.

    Singular vectors (U0, K), (I0, K) become short by averaging, and then orthonormal again.
    """
    size = min(shape)
    short = []
    for table, count in zip((left, right), shape, strict=True):
        edges = np.linspace(0, len(table), count + 1).astype(np.int64)
        means = np.add.reduceat(table[:, :size], edges[:-1]) / np.diff(edges)[:, None]
        outer, _, inner = np.linalg.svd(means, full_matrices=False)
        short.append(outer @ inner)
    small = np.abs((short[0] * values[:size]) @ short[1].T)
    return small / small.max()


def scaled(shares: np.ndarray, sizes: np.ndarray, num_pairs: int) -> np.ndarray:
    """Return shares (B, C) times a number, 1 at most, such that blocks of `sizes` (B, C) pairs keep `num_pairs` of them together."""
    if num_pairs > sizes.sum():
        raise ValueError(
            f"so many users and items can have {int(sizes.sum()):,} pairs at most, not {num_pairs:,}; "
            "ask for fewer pairs, for more users or items, or take a denser data set"
        )
    low, high = 0.0, 1.0
    while (np.minimum(high * shares, 1.0) * sizes).sum() < num_pairs and high < 1e9:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        enough = (np.minimum(middle * shares, 1.0) * sizes).sum() >= num_pairs
        low, high = (low, middle) if enough else (middle, high)
    return np.minimum(high * shares, 1.0)


def expansion(dataset: str, num_users: int, num_items: int, num_pairs: int, seed: int = 0) -> Fractal:
    """Return the expansion of a data set by name."""
    data = load_dataset(dataset, data_dir(), protocol="authors")
    return Fractal(data.train.matrix, data.test.matrix, num_users, num_items, num_pairs, seed)


def make(folder: Path, dataset: str, num_users: int, num_items: int, num_pairs: int, seed: int = 0) -> dict:
    """Write an expansion into `folder`; return what about.json holds."""
    started = time.perf_counter()
    fractal = expansion(dataset, num_users, num_items, num_pairs, seed)
    folder.mkdir(parents=True, exist_ok=True)
    fractal.write(folder)
    about = {"dataset": dataset, "users": num_users, "items": num_items, "seed": seed, "blocks": list(fractal.kept.shape)}
    for part in PARTS:
        about[f"{part}_pairs"] = pl.scan_parquet(folder / f"{part}.parquet").select(pl.len()).collect().item()
    about |= {"seconds": round(time.perf_counter() - started, 1), "peak_memory_mb": peak_memory_mb()}
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return about


def read(folder: Path) -> tuple[Interactions, Interactions]:
    """Return the train and test pairs that `make` wrote into `folder`."""
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    ids = IdMap(np.arange(about["users"]), "user"), IdMap(np.arange(about["items"]), "item")
    train, test = (Interactions(_matrix(folder / f"{part}.parquet", (about["users"], about["items"])), *ids) for part in PARTS)
    return train, test


def _matrix(path: Path, shape: tuple[int, int]) -> sp.csr_matrix:
    """Return the pairs of a file, which stand by user, then item, as a matrix."""
    read = pl.read_parquet(path)
    indptr = np.concatenate(([0], np.cumsum(np.bincount(read["user_id"].to_numpy(), minlength=shape[0]))))
    return sp.csr_matrix((np.ones(len(read), np.float32), read["item_id"].to_numpy(), indptr), shape=shape)


def _coordinates(matrix: sp.spmatrix) -> Pairs:
    pairs = sp.csr_matrix(matrix).tocoo()
    return pairs.row.astype(np.int32), pairs.col.astype(np.int32)


def _place(table: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Return where rows lie for similarity: their tastes, at length 1, and the logarithm of their degree."""
    tastes = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    return np.column_stack((tastes, DEGREE_COUNTS * np.log(np.maximum(degrees, 1))))


def _frame(pairs: Pairs) -> pl.DataFrame:
    return pl.DataFrame(dict(zip(SCHEMA, pairs, strict=True)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", default="gowalla", help="the log to expand")
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--pairs", type=int, default=60_000_000, help="train pairs, about")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    arguments = parser.parse_args()
    try:
        print(json.dumps(make(arguments.out, arguments.dataset, arguments.users, arguments.items, arguments.pairs, arguments.seed)))
    except ValueError as error:
        sys.exit(str(error))
