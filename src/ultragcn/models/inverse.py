"""The inverse of a symmetric positive definite matrix, in its own memory and of any size.

SciPy's LAPACK (`potrf`, `potri`) has 32-bit integers and crashes on 40,981 rows. Larger matrices are therefore inverted by blocks: LAPACK
sees one block at a time, and the rest is matrix products of NumPy, whose BLAS has 64-bit integers.

Letters: I rows, S rows of a block.
"""

from collections.abc import Iterator

import numpy as np

from ultragcn.progress import Progress, Silent

LAPACK_ROWS = 23_170  # the largest matrix whose 4 I^2 bytes are counted in 31 bits
_BLOCK_ROWS = 1024  # S: at twice or half of it 10,000 rows took 5 to 25 % longer
_TILE_ROWS = 4096  # products are made in tiles of S times as many: 16 MB, near the processor


def invert(matrix: np.ndarray, show: Progress | None = None) -> None:
    """Replace a symmetric positive definite matrix, (I, I) float32, by its inverse; besides it, `scratch_bytes(I)` are needed.

    Parameters
    ----------
    matrix : (I, I) float32, C-contiguous
    show : Progress, optional
        Shown the blocks, where there are several.

    Raises
    ------
    numpy.linalg.LinAlgError
        In float32 it is not positive definite; what it holds now is of no use.
    """
    if len(matrix) <= LAPACK_ROWS:
        invert_by_lapack(matrix)
    else:
        invert_by_blocks(matrix, _BLOCK_ROWS, show or Silent())


def scratch_bytes(num_rows: int) -> int:
    """Return the bytes that `invert` needs besides the matrix: two panels, a tile of products, a block and its inverse."""
    return 0 if num_rows <= LAPACK_ROWS else 4 * _BLOCK_ROWS * (2 * num_rows + _TILE_ROWS + 2 * _BLOCK_ROWS)


def invert_by_lapack(matrix: np.ndarray) -> None:
    """Replace a symmetric positive definite matrix by its inverse, by Cholesky."""
    from scipy.linalg import lapack

    # LAPACK wants columns in a row: the transpose is that without a copy, and the matrix is symmetric.
    _, info = lapack.spotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
    if info == 0:
        _, info = lapack.spotri(matrix.T, lower=1, overwrite_c=1)
    if info != 0:
        raise np.linalg.LinAlgError("not positive definite")
    mirror(matrix)


def invert_by_blocks(matrix: np.ndarray, block_rows: int, show: Progress) -> None:
    """Replace a symmetric positive definite matrix by its inverse, by sweeping block after block.

    To sweep block K (Goodnight: A tutorial on the SWEEP operator, The American Statistician 1979) is, with D = M_KK^-1 and I, J all
    other blocks,

        M_IJ -= M_IK D M_KJ,    M_IK = M_IK D,    M_KK = -D.

    M stays symmetric, so only blocks on and above the diagonal are worked on: about I^3 multiplications and additions, as many as
    Cholesky's way takes. When all blocks are swept, M is minus the inverse. Every M_KK is met as the Schur complement of a positive
    definite matrix, so it is one itself, and no pivoting is needed.
    """
    size, dtype = len(matrix), matrix.dtype
    step = min(block_rows, size)
    panel, swept, tile = np.empty((size, step), dtype), np.empty((size, step), dtype), np.empty(step * _TILE_ROWS, dtype)
    show.start("inverting", -(-size // step), "block")
    for k in _slices(0, size, step):
        m, md = panel[:, : k.stop - k.start], swept[:, : k.stop - k.start]  # M_.K and M_.K D
        m[: k.start], m[k], m[k.stop :] = matrix[: k.start, k], 0, matrix[k, k.stop :].T
        d = matrix[k, k].copy()
        invert_by_lapack(d)
        np.matmul(m, d, out=md)
        for i in _slices(0, size, step):
            for j in _slices(i.start, size, _TILE_ROWS):
                product = tile[: (i.stop - i.start) * (j.stop - j.start)].reshape(i.stop - i.start, -1)
                if i != k:
                    matrix[i, j] -= np.matmul(md[i], m[j].T, out=product)
        matrix[: k.start, k], matrix[k, k], matrix[k, k.stop :] = md[: k.start], -d, md[k.stop :].T
        show.advance(1)
    show.finish()
    np.negative(matrix, out=matrix)
    mirror(matrix)


def mirror(matrix: np.ndarray, tile: int = 1024) -> None:
    """Copy the upper triangle of a square matrix to the lower, in place."""
    for k in _slices(0, len(matrix), tile):
        corner = matrix[k, k]
        corner[...] = np.triu(corner) + np.triu(corner, 1).T
        matrix[k.stop :, k] = matrix[k, k.stop :].T


def _slices(start: int, stop: int, step: int) -> Iterator[slice]:
    for first in range(start, stop, step):
        yield slice(first, min(first + step, stop))
