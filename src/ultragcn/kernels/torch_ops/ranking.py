"""The best items of each user in PyTorch.

Letters: U users, I items, D dimensions, B users who are ranked, K places of a list, C candidates for them.
"""

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from ultragcn.kernels.torch_ops.batches import sparse_matrix
from ultragcn.kernels.torch_ops.cells import held
from ultragcn.kernels.torch_ops.device import products

_SPARE = 16  # candidates beside those that a list needs: scores in single precision may put the last ones in another order
_LARGEST = 2**31 - 1


def rank_users(
    user_embedding: Tensor, item_embedding: Tensor, users: Tensor, k: int, seen: tuple[Tensor, Tensor], term: Any, block: int, tile: int
) -> tuple[Tensor, Tensor]:
    """Return the k items of highest score of each user, seen ones left out, by (higher score, lower item).

    The scores of a list are made again in double precision, as `numba_cpu.rank_users` does: a user's list is the same alone and among
    others.

    Parameters
    ----------
    user_embedding, item_embedding : (U, D) and (I, D) float32
    users : (B,) int64
    k : int
    seen : tuple of (U + 1,) int64 and int32
        CSR rows, indptr and indices, of what each user has seen.
    term : GraphTerm
        Of tensors.
    block, tile : int
        Without use: how many users are ranked at a time follows from the device.

    Returns
    -------
    items : (B, k) int32
        -1 where there are fewer than k candidates.
    scores : (B, k) float32
        -inf there.
    """
    device, num_items = user_embedding.device, len(item_embedding)
    items = torch.full((len(users), k), -1, dtype=torch.int32, device=device)
    scores = torch.full((len(users), k), -torch.inf, dtype=torch.float32, device=device)
    weights = _by_item(term, num_items, device) if term.scale != 0 else None
    wide, longest = item_embedding.double(), min(k, num_items)
    step = max(1, held(device) // (4 * num_items))  # of the numbers in a tile, an item's score and its place in the order take several
    for low in range(0, len(users), step):
        part = users[low : low + step]
        of_part = user_embedding[part] @ item_embedding.T
        graph = None
        if weights is not None:
            owned = torch.zeros_like(of_part)
            owned[_entries(term.owned_indptr, term.owned_indices, part)] = 1.0
            graph = (weights @ owned.T).T
            of_part += term.scale * graph
        of_part.masked_fill_(of_part.isnan(), -torch.inf)
        of_part[_entries(*seen, part)] = -torch.inf
        columns = torch.arange(num_items, device=device)
        candidates = _best(of_part, columns.expand_as(of_part), min(k + _SPARE, num_items))
        exact = torch.einsum("bd,bcd->bc", user_embedding[part].double(), wide[candidates])
        if graph is not None:
            exact += term.scale * graph.gather(1, candidates).double()
        may_be_listed = of_part.gather(1, candidates) > -torch.inf
        exact = torch.where(may_be_listed, exact, -torch.inf).float()
        chosen = _best(exact, candidates, longest, places=True)
        values = exact.gather(1, chosen)
        rows = slice(low, low + len(part))
        items[rows, :longest] = torch.where(values > -torch.inf, candidates.gather(1, chosen), -1).int()
        scores[rows, :longest] = values
    return items, scores


def _best(scores: Tensor, columns: Tensor, number: int, places: bool = False) -> Tensor:
    """Return the columns of the largest scores of each row, by (higher score, lower column), or the places where they stand.

    A score and a column make one whole number, of which no two are equal: so it does not matter in which order a device looks at them.
    """
    bits = (scores + 0.0).contiguous().view(torch.int32)  # + 0.0 makes 0 of -0
    ordered = torch.where(bits < 0, bits ^ _LARGEST, bits).long()
    key = (ordered << 32) + (_LARGEST - columns)
    best = torch.topk(key, number, dim=1)
    return best.indices if places else _LARGEST - (best.values & 0xFFFFFFFF)


def _entries(indptr: Tensor, indices: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the entries of CSR rows: which of `rows` each belongs to, and its column."""
    lengths = indptr[rows + 1] - indptr[rows]
    row = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), lengths)
    ends = torch.cumsum(lengths, 0)
    place = torch.arange(len(row), device=rows.device) - (ends - lengths)[row] + indptr[rows][row]
    return row, indices[place].long()


def _by_item(term: Any, num_items: int, device: torch.device) -> Tensor:
    """Return the weights of the item graph, transposed: row i has what other items add to item i."""
    parts = (part.cpu().numpy() for part in (term.graph_weights, term.graph_indices, term.graph_indptr))
    return sparse_matrix(sp.csr_matrix(tuple(parts), (num_items, num_items)).T.tocsr(), device)


class Ranker:
    """`rank_users` of arrays on a device, where tables and rows stay as long as the same ones are given.

    Parameters
    ----------
    device : torch.device or str

    Examples
    --------
    >>> Ranker("cpu").device
    device(type='cpu')
    """

    def __init__(self, device: torch.device | str):
        self.device = torch.device(device)
        self._kept: dict[str, tuple[np.ndarray, Tensor]] = {}

    def __call__(
        self, user_embedding: np.ndarray, item_embedding: np.ndarray, users: np.ndarray, k: int, seen: Any, term: Any, block: int, tile: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return items (B, k) int32 and scores (B, k) float32."""
        tables = self._moved("users", user_embedding), self._moved("items", item_embedding)
        rows = tuple(self._moved(f"seen {number}", part) for number, part in enumerate(seen))
        graph = term._replace(**{name: self._moved(name, part) for name, part in term._asdict().items() if isinstance(part, np.ndarray)})
        with products(tf32=False):  # candidates are chosen by products
            items, scores = rank_users(*tables, torch.from_numpy(users).to(self.device), k, rows, graph, block, tile)  # type: ignore[arg-type]
        return items.cpu().numpy(), scores.cpu().numpy()

    def _moved(self, name: str, array: np.ndarray) -> Tensor:
        held = self._kept.get(name)
        if held is None or held[0] is not array:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*not writable.*")  # nobody writes to it
                held = self._kept[name] = array, torch.from_numpy(array).to(self.device)
        return held[1]
