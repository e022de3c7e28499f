"""Half-sweeps in PyTorch: what `half_sweeps.HalfSweeper` is on a GPU, or on a processor for comparison.

P, its indices and the weights of rows stay on the device from one half-sweep to the next. Embeddings, dampings and what is measured
travel: 4 (U + I) D bytes there and as many back, while a half-sweep reads P alone some ten times.

Letters: those of `kernels.arguments`.
"""

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ultragcn.errors import MissingDependencyError, UsageError
from ultragcn.kernels.arguments import Blocks, Cells, Clustered, Clusters, Groups, Means, Parabola, Rows, Swept, System

try:
    from ultragcn.kernels import torch_ops
except ImportError as error:
    raise MissingDependencyError(
        "solver exact on device cuda needs PyTorch, which is not installed; in the repository, run: pip install '.[torch]'"
    ) from error

import torch

from ultragcn.kernels.torch_ops import choose_device, sweeps

__all__ = ["PASSES", "TorchSweeper", "choose_device"]

_Arrays = TypeVar("_Arrays", bound=tuple[Any, ...])
_STAY = ("indptr", "indices", "positive", "excluded", "weight", "total", "l2")
PASSES = ("torch", "triton")
"""What can make the pass over the cells: products of PyTorch with a step for each number between them, or one kernel in Triton."""


class _Kept(NamedTuple):
    """An array that was moved to the device."""

    array: weakref.ref[np.ndarray]
    tensor: torch.Tensor


class TorchSweeper:
    """Half-sweeps on a device of PyTorch; arrays come and go as those of NumPy.

    Parameters
    ----------
    device : torch.device or str
    tf32 : bool
        Whether a GPU may round the factors of products to TF32. It changes results in the fourth digit.
    cells : {"torch", "triton"}
        What makes the pass over the cells of a full sweep.

    Raises
    ------
    UsageError
        `cells` is neither of the two.
    ImportError
        `cells` is "triton", and Triton is not installed.

    Examples
    --------
    >>> TorchSweeper("cpu").device
    device(type='cpu')
    """

    def __init__(self, device: torch.device | str, tf32: bool = False, cells: str = "torch"):
        if cells not in PASSES:
            raise UsageError(f"cells is {cells!r}; give one of {', '.join(PASSES)}")
        self.device, self.tf32 = torch.device(device), tf32
        self._visit = _visit_of(cells)
        self._on_device: dict[int, _Kept] = {}

    def half_sweep(self, x: np.ndarray, y: np.ndarray, rows: Rows, cells: Cells, blocks: Blocks, system: System, out: Swept) -> None:
        """Take one step of every row, with exact negatives; see `kernels.half_sweep`."""
        table = self._moved(y)
        on_device = Cells(table, None, self._kept(cells.weight))  # type: ignore[arg-type]
        out = out._replace(column_loss=out.column_loss[:1])  # sums of one device are not cut into strips
        written = self._room(out)
        with self._exactly():
            sweeps.half_sweep_by(
                self._visit, self._moved(x), table, self._rows(rows), on_device, self._all(blocks), self._all(system), written
            )  # fmt: skip
        _fetch(written, out)

    def clustered_half_sweep(
        self, x: np.ndarray, y: np.ndarray, rows: Rows, clusters: Clusters, groups: Groups, system: System, out: Clustered
    ) -> None:
        """Take one step of every row, with clusters for negatives; see `kernels.clustered_half_sweep`."""
        written = self._room(out)
        with self._exactly():
            torch_ops.clustered_half_sweep(
                self._moved(x), self._moved(y), self._rows(rows), self._all(clusters), self._all(groups), self._all(system), written
            )
        _fetch(written, out)

    def quadratic_half_sweep(
        self, x: np.ndarray, y: np.ndarray, rows: Rows, negatives: Parabola, system: System, strips: int, x_new: np.ndarray, means: Means
    ) -> None:
        """Take one step of every row, with quadratic negatives; see `kernels.quadratic_half_sweep`."""
        written = self._room((x_new,))
        with self._exactly():
            torch_ops.quadratic_half_sweep(
                self._moved(x), self._moved(y), self._rows(rows), self._all(negatives), self._all(system), strips, written[0],
                self._all(means),
            )  # fmt: skip
        _fetch(written, (x_new,))

    def _exactly(self) -> AbstractContextManager[None]:
        return torch_ops.products(self.tf32)

    def _moved(self, array: np.ndarray) -> torch.Tensor:
        # PyTorch warns of arrays that must not be written to.
        return torch.from_numpy(array if array.flags.writeable else array.copy()).to(self.device)

    def _kept(self, array: np.ndarray) -> torch.Tensor:
        """Return an array on the device. It stays there as long as the array itself lives, which nobody writes to."""
        key, kept = id(array), self._on_device
        if key not in kept or kept[key].array() is not array:
            # A copy also on a processor: memory that is shared would keep the array alive.
            kept[key] = _Kept(weakref.ref(array, lambda _: kept.pop(key, None)), torch.tensor(array, device=self.device))
        return kept[key].tensor

    def _rows(self, rows: Rows) -> Rows:
        parts = (self._kept(value) if name in _STAY else self._moved(value) for name, value in rows._asdict().items())
        return Rows(*parts)  # type: ignore[arg-type]

    def _all(self, arrays: _Arrays) -> _Arrays:
        parts = [self._moved(part) if isinstance(part, np.ndarray) else part for part in arrays]
        return type(arrays)(*parts)

    def _room(self, arrays: tuple[Any, ...]) -> Any:
        parts = [torch.zeros(part.shape, dtype=torch.from_numpy(part).dtype, device=self.device) for part in arrays]
        return type(arrays)(*parts) if hasattr(arrays, "_fields") else tuple(parts)


def _fetch(written: Any, out: tuple[np.ndarray, ...]) -> None:
    """Copy what was written on the device into arrays."""
    for tensor, array in zip(written, out, strict=True):
        array[...] = tensor.cpu().numpy()


def _visit_of(cells: str) -> Callable[..., Any]:
    if cells == "torch":
        return torch_ops.visit_cells
    from ultragcn.kernels.torch_ops import triton_cells

    return triton_cells.visit_cells
