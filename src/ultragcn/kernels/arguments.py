"""What kernels take and work in: arrays that belong together, by name.

Every implementation of a kernel takes the same tuples. A tuple holds references, so making one copies no array.

Letters: U rows of the side that moves, I rows of the frozen side (columns), D dimensions, N entries of P, B rows of a block,
T columns of a tile, K clusters of columns, p entries of one row. For the items' half-sweep the two sides change places.
"""

from typing import NamedTuple

import numpy as np


class Rows(NamedTuple):
    """The rows that a half-sweep moves: their entries of P and their weights."""

    indptr: np.ndarray  # (U + 1,) int64, CSR rows of P over the frozen side
    indices: np.ndarray  # (N,) int32
    positive: np.ndarray  # (N,) float32, P
    excluded: np.ndarray  # (N,) float32, the negative weight to take back from each entry; (0,) where nothing is excluded
    weight: np.ndarray  # (U, 2) float32, the first factor of the negatives' weight
    l2: np.ndarray  # (U,) float32
    total: np.ndarray  # (U,) float32, the sum of P by row
    damping: np.ndarray  # (U,) float32, what the curvature of the negatives is multiplied by: larger numbers make shorter steps


class Cells(NamedTuple):
    """The columns of all cells, in the order in which tiles are cut from them."""

    y: np.ndarray  # (I, D) float32
    transposed: np.ndarray  # (D I,) float32, the tiles of `y`, each transposed, one after the other; (0,) where it does not pay
    weight: np.ndarray  # (2, I) float32, the second factor of the negatives' weight


class Blocks(NamedTuple):
    """How rows are dealt into blocks, and which tiles of columns each block visits."""

    order: np.ndarray  # (U,) int64, the rows, block after block
    block: int  # B
    tile: int  # T
    first_tile: np.ndarray  # (blocks,) int64, where each block starts to visit tiles, cyclically
    num_visited: int  # tiles that a block visits; fewer than all make sums over columns unbiased estimates
    gram_share: int  # 1 / the part of each tile's columns that the shared curvature is made of; above 1 the step bends a little
    starts: np.ndarray | None = None  # (blocks + 1,) int64, where each block begins in `order`; None: after every B rows
    strips: np.ndarray | None = (
        None  # (strips + 1,) int64, the first block of each strip, whose loss by column is added up; None: about even
    )


class Clusters(NamedTuple):
    """The columns as K clusters. Within one, scores are taken as normal around that of its centre. T = D (D + 1) / 2."""

    mass: np.ndarray  # (2, K) float32, the sum of the columns' weights, by term
    centre: np.ndarray  # (K, D) float32, the mean of the columns by their weight for the mean row
    transposed: np.ndarray  # (D, K) float32, the same
    spread: np.ndarray  # (K, T) float32, the covariance around the centre by the same weight: the upper triangle, row by row


class Groups(NamedTuple):
    """How rows are dealt into blocks, and how many blocks are worked on together."""

    order: np.ndarray  # (U,) int64, the rows, block after block
    block: int  # B
    together: int  # blocks
    starts: np.ndarray | None = None  # (groups + 1,) int64, where each group begins in `order`; None: after every B together rows


class System(NamedTuple):
    """What the Newton systems of all rows have in common."""

    prior: np.ndarray  # (D, D) float32, about the mean curvature of the positives of a row, for a total of 1
    steps: int  # of conjugate gradients


class Visited(NamedTuple):
    """What a pass over the cells of b blocks of B rows found: what the negatives give, N softplus(s) and its derivatives."""

    gradient: np.ndarray  # (b, B, D) float32, sum_j N_uj sigmoid(s_uj) y_j
    row_curvature: np.ndarray  # (b, B) float32, sum_j N_uj sigmoid'(s_uj)
    row_loss: np.ndarray  # (b, B) float64, sum_j N_uj softplus(s_uj)
    column_curvature: np.ndarray  # (b, I) float32, the sum of N_uj sigmoid'(s_uj) over the rows of each block
    column_loss: np.ndarray  # (I,) float64, the sum of N_uj softplus(s_uj) over all rows


class Swept(NamedTuple):
    """What a half-sweep writes."""

    x: np.ndarray  # (U, D) float32, the rows after the step
    stats: np.ndarray  # (U, 4) float64: loss of the negatives and of the sparse part before, sparse part after, promised decrease
    column_loss: np.ndarray  # (strips, I) float32, zero on entry: loss of the negatives before the step, by column, as cut


class Clustered(NamedTuple):
    """What a half-sweep over clusters writes."""

    x: np.ndarray  # (U, D) float32, the rows after the step
    stats: np.ndarray  # (U, 5) float64: loss of the negatives and of the sparse part before, both after, promised decrease


class Parabola(NamedTuple):
    """Quadratic negatives: softplus(s) replaced by linear s + curvature s^2 / 2. r is the term of the weight of rank two."""

    grams: np.ndarray  # (2, D, D) float32, sum_j weight[r, j] y_j y_j^T
    sums: np.ndarray  # (2, D) float32, sum_j weight[r, j] y_j
    linear: np.floating
    curvature: np.floating


class Means(NamedTuple):
    """What makes the system of about each row: means over all rows, of which those at hand may be a part."""

    weight: np.ndarray  # (2,) float32
    total: np.float32
    l2: np.float32


class Entries(NamedTuple):
    """The entries of one row in P."""

    indices: np.ndarray  # (p,) int32, rows of the frozen side
    positive: np.ndarray  # (p,) float32, P
    excluded: np.ndarray  # (p,) float32, the negative weight to take back; (0,) where nothing is excluded


class Curvature(NamedTuple):
    """The curvature of one row's problem but for that of its entries: scale gram + l2 1."""

    gram: np.ndarray  # (D, D) float32, symmetric
    scale: np.floating
    l2: np.floating
    inverse: np.ndarray  # (D, D or wider) float32, symmetric: of about the row's whole system


class RowWork(NamedTuple):
    """The work space of one row's Newton step. `gradient` holds that of the negatives before, `move` the step after."""

    gradient: np.ndarray  # (D,) float32
    move: np.ndarray  # (D,) float32
    residual: np.ndarray  # (D,) float32
    direction: np.ndarray  # (D,) float32
    curved: np.ndarray  # (D,) float32
    solved: np.ndarray  # (D,) float32
    bounds: np.ndarray  # (p or more,) float32
    scores: np.ndarray  # (p or more,) float32


class Sums(NamedTuple):
    """What `activate_tile` adds up over the cells of a tile: N sigmoid'(s) and N softplus(s), by row and by column."""

    row_curvature: np.ndarray  # (B,) float32
    row_loss: np.ndarray  # (B,) float64
    column_curvature: np.ndarray  # (T,) float32
    column_loss: np.ndarray  # (T,) float32


class Frozen(NamedTuple):
    """Columns held still, as the problems of many rows share them (`fold_in_rows`)."""

    weight: np.ndarray  # (2, I) float32, the second factor of the negatives' weight
    mass: np.ndarray  # (2, K) float32, of the clusters of columns: the sum of their weights, by term
    centre: np.ndarray  # (K, D) float32
    spread: np.ndarray  # (D, D) float32, the mean covariance of columns around their centre
    share: np.ndarray  # (K,) float32, how much a cluster is spread out, relative to that
    grams: np.ndarray  # (2, D, D) float32, sum_j weight[r, j] y_j y_j^T
    sums: np.ndarray  # (2, D) float32, sum_j weight[r, j] y_j
    inverse: np.ndarray  # (D, D) float32, about the inverse of a row's curvature


class GraphTerm(NamedTuple):
    """What an item graph adds to the scores of `rank_users`: scale times the sum of the weights from the items that a user owns."""

    owned_indptr: np.ndarray  # (U + 1,) int64, CSR rows of what each user owns
    owned_indices: np.ndarray  # int32
    graph_indptr: np.ndarray  # (I + 1,) int64, CSR rows of the weights; (U + 1,) without a graph
    graph_indices: np.ndarray  # int32
    graph_weights: np.ndarray  # float32
    scale: float  # 0 without a graph


class Triples(NamedTuple):
    """What BPR learns from: T users, each with an item of theirs and one that is drawn."""

    users: np.ndarray  # (T,) int32
    positives: np.ndarray  # (T,) int32
    negatives: np.ndarray  # (T,) int32


class Strength(NamedTuple):
    """How strongly an item i is tied to a neighbour j: C_ij column_j / (length_i length_j + shrinkage); C is the co-occurrence.

    Of the neighbours of one item that have the same C, those with a larger `column` and a smaller `length` are stronger. One of the two
    is the same for all items, so this is an order of all items.
    """

    column: np.ndarray  # (I,) float32, >= 0
    length: np.ndarray  # (I,) float32, >= 0
    shrinkage: np.float32  # where length_i length_j + shrinkage is 0, so is the strength
    place: np.ndarray  # (I,) int64: only items of a lower place are neighbours; (0,) where all are


class Wide(NamedTuple):
    """What users who have very many items add to the co-occurrence C. Items that the same of these users have are a group, P in all."""

    group: np.ndarray  # (I,) int32
    shared: np.ndarray  # (P, P) float32, what these users add to C_ij, i of a group and j of another
    starts: np.ndarray  # (P + 1,) int64, where the items of each group begin in `order`
    order: np.ndarray  # (I,) int32, the items of group after group, the strongest first; of equals, the lower item
    stops: np.ndarray  # (I,) int64, for each place of `order` where those that are equal to its item end
