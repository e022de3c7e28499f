"""The vectors of a model: its embeddings, dimensions for what its score has besides, and a rotation to those of an earlier model.

Letters: U users, I items, D dimensions of a block, R rank.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from ultragcn import rng
from ultragcn.data.ids import IdMap
from ultragcn.errors import UsageError
from ultragcn.machine import ask_for
from ultragcn.models.recommender import EmbeddingRecommender, Recommender
from ultragcn.scoring.scorer import Scorer

_SPARE, _ROUNDS = 16, 4
"""Directions besides those that are wanted, at least, and rounds of the iteration."""
EMBEDDINGS, BIAS, GRAPH = "embeddings", "item bias", "item graph"


class Block(NamedTuple):
    """Dimensions that belong together: the product of both tables is a part of the score."""

    name: str
    user: np.ndarray  # (U, D) float32
    item: np.ndarray  # (I, D) float32


class Alignment(NamedTuple):
    """How near the vectors of the ids that two models know are to each other."""

    common: int
    """Users and items that both know."""
    before: float
    """Mean cosine of the old and the new vector of an id."""
    after: float
    """The same after the rotation."""


def refuse_without_vectors(model: Recommender) -> EmbeddingRecommender:
    """Return the model; raise `UsageError` for one that has no vectors of users and items."""
    if not isinstance(model, EmbeddingRecommender):
        raise UsageError(
            f"{type(model).__name__} has no vectors to export; export a model with embeddings: UltraGCN, LightGCN, BPR or IALS"
        )
    return model


def parts_left_out(scorer: Scorer) -> list[str]:
    """Return the names of what the score has besides the product of the embeddings."""
    graph = [GRAPH] if scorer.item_graph is not None and scorer.scale != 0 and scorer.item_graph.nnz else []
    return ([BIAS] if scorer.item_bias is not None else []) + graph


def blocks_of(scorer: Scorer, extended: int | None) -> list[Block]:
    """Return the embeddings, and with `extended` also a dimension for the item bias and so many for the item graph.

    Parameters
    ----------
    scorer : Scorer
    extended : int, optional
        R >= 0.

    Raises
    ------
    UsageError
        The score has nothing besides the product of the embeddings, or R is not possible.
    """
    blocks = [Block(EMBEDDINGS, scorer.user_embedding, scorer.item_embedding)]
    if extended is None:
        return blocks
    _check_rank(extended, scorer)
    others = parts_left_out(scorer)
    if not others:
        raise UsageError("the score of this model is the product of its embeddings, so there is nothing to extend them by; drop --extended")
    if BIAS in others:
        blocks.append(Block(BIAS, np.ones((len(scorer.user_embedding), 1), np.float32), _column(scorer.item_bias)))
    if GRAPH in others and extended > 0:
        blocks.append(Block(GRAPH, *graph_factors(scorer, extended)))
    return blocks


def graph_factors(scorer: Scorer, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return factors (U, R) and (I, R) float32 whose product is what the item graph adds to the score, as nearly as rank R allows.

    The item graph adds G = scale A W, A what users own. The truncated singular value decomposition G ~ P S Q^T is nearest to G in the sum
    of squares. The factors are G Q S^-1/2 and Q S^1/2: a user's factor is the sum of rows of W Q S^-1/2 over the items of the user.
    Q is found by subspace iteration from a random start (Halko, Martinsson, Tropp, SIAM Review 2011), of which each round takes all
    directions through the matrices at once.
    """
    owned, graph = (sp.csr_matrix(matrix, dtype=np.float64) for matrix in (scorer.owned, scorer.item_graph))
    ask_for(
        8 * 4 * max(owned.shape) * (rank + max(_SPARE, rank // 4)), f"a decomposition of rank {rank} of the item graph", "lower --extended"
    )

    def forward(vectors: np.ndarray) -> np.ndarray:
        return np.asarray(owned @ (graph @ vectors))

    def backward(vectors: np.ndarray) -> np.ndarray:
        return np.asarray(graph.T @ (owned.T @ vectors))

    width = min(graph.shape[0], rank + max(_SPARE, rank // 4))
    directions = rng.stream(0, "export").standard_normal((graph.shape[0], width))
    for _ in range(_ROUNDS):
        directions, _ = np.linalg.qr(backward(forward(directions)))
    values, vectors = np.linalg.eigh(_gram(forward(directions)))
    sizes, directions = np.sqrt(np.maximum(values[::-1][:rank], 0)), directions @ vectors[:, ::-1][:, :rank]
    directions *= np.where(directions[np.abs(directions).argmax(axis=0), np.arange(rank)] < 0, -1.0, 1.0)  # one sign of two
    kept = sizes > 1e-6 * max(sizes[0], np.finfo(np.float64).tiny)
    roots = np.sqrt(abs(scorer.scale) * np.where(kept, sizes, 1.0))
    user = scorer.scale * forward(directions) / roots * kept
    return user.astype(np.float32), (directions * roots * kept).astype(np.float32)


def _gram(table: np.ndarray) -> np.ndarray:
    product: np.ndarray = table.T @ table
    return product


def joined(blocks: Sequence[Block]) -> tuple[np.ndarray, np.ndarray]:
    """Return the tables (U, D) and (I, D) float32 of all blocks beside each other."""
    user, item = (np.ascontiguousarray(np.column_stack([getattr(one, side) for one in blocks]), np.float32) for side in ("user", "item"))
    return user, item


def aligned(
    blocks: Sequence[Block], ids: tuple[IdMap, IdMap], old_blocks: Sequence[Block], old_ids: tuple[IdMap, IdMap]
) -> tuple[list[Block], Alignment]:
    """Return the blocks turned so that they come as near to those of an earlier model as a rotation can, and how near.

    A block's tables X and Y become X T and Y T with one orthogonal T (orthogonal Procrustes), so no product changes:
    T = P Q^T of the singular value decomposition P S Q^T of Z^T Z', Z and Z' the rows of the ids that both models know.

    Raises
    ------
    UsageError
        The blocks are others, or the models have too few ids in common.
    """
    shapes, old_shapes = ({one.name: one.user.shape[1] for one in some} for some in (blocks, old_blocks))
    if shapes != old_shapes:
        described, old_described = (" and ".join(f"{size} of the {name}" for name, size in some.items()) for some in (shapes, old_shapes))
        raise UsageError(
            f"the vectors of the two runs have other dimensions ({described}; --align_to {old_described}), so one cannot be turned to the "
            "other; align runs of equal embedding_dim and equal terms"
        )
    rows = [_common(new, old) for new, old in zip(ids, old_ids, strict=True)]
    common = sum(len(here) for here, _ in rows)
    if common < max(shapes.values()):
        raise UsageError(
            f"the two runs know only {common} users and items in common, and a rotation in {max(shapes.values())} dimensions needs as "
            "many; align to a run of the same shop"
        )
    turned = [one if one.name == BIAS else _turned(one, old, rows) for one, old in zip(blocks, old_blocks, strict=True)]
    before, after = (_mean_cosine(some, old_blocks, rows) for some in (blocks, turned))
    return turned, Alignment(common, before, after)


def _turned(block: Block, old: Block, rows: Sequence[tuple[np.ndarray, np.ndarray]]) -> Block:
    """Return the block turned towards the old one; `rows` are the users and the items, here and there, that both models know."""
    product = np.zeros((block.user.shape[1],) * 2)
    for here, there, (new_rows, old_rows) in zip(block[1:], old[1:], rows, strict=True):
        product += here[new_rows].astype(np.float64).T @ there[old_rows].astype(np.float64)
    left, _, right = np.linalg.svd(product)
    turn = left @ right
    user, item = ((table.astype(np.float64) @ turn).astype(np.float32) for table in (block.user, block.item))
    return Block(block.name, user, item)


def _common(new: IdMap, old: IdMap) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows, in the new map and in the old one, of the ids in both."""
    found = old.find(new.ids)
    here = np.flatnonzero(found >= 0)
    return here, found[here]


def _mean_cosine(blocks: Sequence[Block], old_blocks: Sequence[Block], rows: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    cosines = []
    for here, there, (new_rows, old_rows) in zip(joined(blocks), joined(old_blocks), rows, strict=True):
        x, y = here[new_rows].astype(np.float64), there[old_rows].astype(np.float64)
        sizes = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
        cosines.append(np.einsum("nd,nd->n", x, y)[sizes > 0] / sizes[sizes > 0])
    whole = np.concatenate(cosines)
    return float(whole.mean()) if len(whole) else 0.0


def _check_rank(rank: int, scorer: Scorer) -> None:
    most = min(scorer.owned.shape)
    if isinstance(rank, bool) or not isinstance(rank, (int, np.integer)) or not 0 <= rank < most:
        raise UsageError(f"extended must be a whole number from 0 to {most - 1}, less than the users and the items, not {rank!r}")


def _column(bias: np.ndarray | None) -> np.ndarray:
    assert bias is not None
    return bias[:, None]
