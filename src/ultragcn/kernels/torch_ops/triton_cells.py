"""The pass over the cells as one kernel of a GPU, written in Triton: scores never leave the registers.

It is attention whose weights are N sigmoid(s) in place of a softmax, N of rank two, with two more sums for each row and two for each
column. A program has M rows of one block and walks over all columns, N at a time. Triton is loaded by this module and by no other.

Letters: b blocks, B rows of a block, I columns, D dimensions.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ultragcn.kernels.arguments import Visited

ROWS, COLUMNS, WARPS = 64, 32, 8
"""M and N, and the warps that work on them.

They were chosen without a GPU, by what the assembler says of sm_90 at D = 64: 156 registers a thread, and none of them spilt to memory.
With 64 columns and 4 warps 19 kB are spilt. `benchmarks/gpu.py` times other choices beside this one.
"""
POINTERS = (
    "x", "y", "row_weight", "column_weight", "gradient", "row_curvature", "row_loss", "column_curvature", "column_loss",
)  # fmt: skip
"""The arrays of the kernel in the order of its arguments: float32, but for `row_loss`, which is float64."""


@triton.jit
def _softplus_of_minus(power):
    """Return log(1 + power) of powers in [0, 1], correct to 2e-7 of itself: the Chebyshev fit of numba_cpu/vectors.py.

    The logarithm of a GPU is correct to so much of 1, which is not enough where powers are small.
    """
    fit = -0.0085746758
    fit = fit * power + 0.044214193
    fit = fit * power - 0.10785369
    fit = fit * power + 0.17757024
    fit = fit * power - 0.24499612
    fit = fit * power + 0.33276176
    fit = fit * power - 0.4999745
    fit = fit * power + 0.9999998
    return fit * power


@triton.jit
def cells_kernel(  # type: ignore[no-untyped-def]
    x, y, row_weight, column_weight, gradient, row_curvature, row_loss, column_curvature, column_loss,
    num_columns, size, block, pieces,
    M: tl.constexpr, N: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Visit all columns for M rows of a block, which has `pieces` programs; WIDTH is D rounded up to a power of two."""
    program = tl.program_id(0)
    place = (program % pieces) * M + tl.arange(0, M)
    inside = place < block
    row = (program // pieces).to(tl.int64) * block + place
    dimension = tl.arange(0, WIDTH)
    within = dimension < size
    own = row[:, None] * size + dimension[None, :]
    own_mask = inside[:, None] & within[None, :]
    rows = tl.load(x + own, mask=own_mask, other=0.0)
    first, second = tl.load(row_weight + 2 * row, mask=inside, other=0.0), tl.load(row_weight + 2 * row + 1, mask=inside, other=0.0)
    total = tl.zeros((M, WIDTH), tl.float32)
    curvature = tl.zeros((M,), tl.float32)
    loss = tl.zeros((M,), tl.float64)
    written = program.to(tl.int64) * num_columns
    for low in range(0, num_columns, N):
        column = low + tl.arange(0, N)
        there = column < num_columns
        tile_mask = there[:, None] & within[None, :]
        tile = tl.load(y + column.to(tl.int64)[:, None] * size + dimension[None, :], mask=tile_mask, other=0.0)
        first_column = tl.load(column_weight + column, mask=there, other=0.0)
        second_column = tl.load(column_weight + num_columns + column, mask=there, other=0.0)
        scores = tl.dot(rows, tl.trans(tile), input_precision=PRECISION)
        weight = first[:, None] * first_column[None, :] + second[:, None] * second_column[None, :]
        power = tl.exp(-tl.abs(scores))
        larger = 1.0 / (1.0 + power)
        smaller = power * larger
        slope = weight * (larger * smaller)
        softplus = weight * (tl.maximum(scores, 0.0) + _softplus_of_minus(power))
        total += tl.dot(weight * tl.where(scores > 0, larger, smaller), tile, input_precision=PRECISION)
        curvature += tl.sum(slope, axis=1)
        loss += tl.sum(softplus, axis=1).to(tl.float64)
        tl.store(column_curvature + written + column, tl.sum(slope, axis=0), mask=there)
        tl.store(column_loss + written + column, tl.sum(softplus, axis=0), mask=there)
    tl.store(gradient + own, total, mask=own_mask)
    tl.store(row_curvature + row, curvature, mask=inside)
    tl.store(row_loss + row, loss, mask=inside)


def visit_cells(x: Tensor, y: Tensor, row_weight: Tensor, column_weight: Tensor) -> Visited:
    """Visit every cell of rows and columns, as `cells.visit_cells` does, by one kernel of a GPU.

    Products are those of float32, unless PyTorch is set to allow TF32.

    Parameters
    ----------
    x : (b, B, D) float32
        Rows, block by block; a place without a row has weights of 0.
    y : (I, D) float32
    row_weight : (b, B, 2) float32
    column_weight : (2, I) float32

    Returns
    -------
    Visited
    """
    blocks, block, size = x.shape
    pieces = -(-block // ROWS)
    x, y, row_weight, column_weight = (part.contiguous() for part in (x, y, row_weight, column_weight))
    gradient, row_curvature = torch.empty_like(x), x.new_empty(blocks, block)
    row_loss = torch.empty(blocks, block, dtype=torch.float64, device=x.device)
    column_curvature, column_loss = (x.new_empty(blocks, pieces, len(y)) for _ in range(2))
    cells_kernel[(blocks * pieces,)](
        x, y, row_weight, column_weight, gradient, row_curvature, row_loss, column_curvature, column_loss,
        len(y), size, block, pieces,
        M=ROWS, N=COLUMNS, WIDTH=max(16, triton.next_power_of_2(size)), PRECISION=precision(), num_warps=WARPS, enable_fp_fusion=True,
    )  # fmt: skip
    parts = gradient, row_curvature, row_loss, column_curvature.sum(dim=1), column_loss.sum(dim=(0, 1), dtype=torch.float64)
    return Visited(*parts)  # type: ignore[arg-type]


def precision() -> str:
    """Return how products treat float32, in Triton's words: as PyTorch is set to treat it."""
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"
