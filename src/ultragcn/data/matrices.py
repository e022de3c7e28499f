"""Sparse matrices that a caller gives: checked before any compiled code walks through them, and copied.

SciPy believes the three arrays of a matrix. An index out of range is then read or written somewhere else in memory, so every way from a
matrix of the user's own into the library goes through `own_csr`.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp

from ultragcn.errors import DataError, UsageError


def own_csr(matrix: Any, what: str = "the matrix") -> sp.csr_matrix:
    """Return a sparse matrix as CSR whose arrays are nobody else's.

    Parameters
    ----------
    matrix : SciPy sparse matrix or array, U x I
        Of any format.
    what : str
        What it is called in messages.

    Returns
    -------
    scipy.sparse.csr_matrix, U x I
        Columns ascending in each row and none twice; of entries that come twice the values are added.

    Raises
    ------
    UsageError
        It is not a sparse matrix of two dimensions with numbers in it.
    DataError
        Its arrays contradict each other: `indptr` does not run from 0 to the number of entries or falls, an index is out of range, or a
        value is not finite.

    Examples
    --------
    >>> own_csr(sp.coo_matrix(([1, 1], ([0, 1], [2, 0])), shape=(2, 3))).indices.tolist()
    [2, 0]
    """
    if not sp.issparse(matrix):
        raise UsageError(f"{what} must be a SciPy sparse matrix, not a {type(matrix).__name__}")
    if matrix.ndim != 2:
        raise UsageError(f"{what} must have two dimensions, users by items, not the shape {matrix.shape}")
    if matrix.dtype.kind not in "biuf":
        raise UsageError(f"{what} must hold numbers, not values of type {matrix.dtype}")
    if matrix.format in ("csr", "csc"):
        _check_compressed(matrix, what)
        ours = (sp.csr_matrix if matrix.format == "csr" else sp.csc_matrix)(
            (matrix.data.copy(), matrix.indices.copy(), matrix.indptr.copy()), shape=matrix.shape
        ).tocsr()
    else:
        cells = matrix.tocoo()
        _check_cells(cells, what)
        ours = sp.csr_matrix((cells.data.copy(), (cells.row, cells.col)), shape=cells.shape)
    if not ours.has_canonical_format:
        ours.sum_duplicates()
    _check_finite(ours, what)
    return ours


def _check_compressed(matrix: Any, what: str) -> None:
    """Raise `DataError` unless the arrays of a CSR or CSC matrix describe one."""
    lines, places = matrix.shape if matrix.format == "csr" else matrix.shape[::-1]
    line, place = ("row", "column") if matrix.format == "csr" else ("column", "row")
    indptr, indices, data = matrix.indptr, matrix.indices, matrix.data
    if any(array.ndim != 1 for array in (indptr, indices, data)) or indptr.dtype.kind not in "iu" or indices.dtype.kind not in "iu":
        raise DataError(f"{what} is damaged: indptr and indices must be one-dimensional arrays of whole numbers")
    if len(indptr) != lines + 1 or indptr[0] != 0 or indptr[-1] != len(indices) or len(indices) != len(data):
        raise DataError(
            f"{what} is damaged: indptr must have {lines + 1} numbers, from 0 to the number of entries, and indices and data must be "
            f"equally long; indptr has {len(indptr)}, indices {len(indices)} and data {len(data)}"
        )
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    if len(falls):
        raise DataError(f"{what} is damaged: indptr falls after {line} {falls[0]}; it must never fall")
    if len(indices) and (indices.min() < 0 or indices.max() >= places):
        bad = int(np.flatnonzero((indices < 0) | (indices >= places))[0])
        of = int(np.searchsorted(indptr, bad, side="right")) - 1
        raise DataError(f"{what} is damaged: {line} {of} has an entry in {place} {indices[bad]}, and there are {places} {place}s")


def _check_cells(cells: sp.coo_matrix, what: str) -> None:
    """Raise `DataError` unless every entry of a COO matrix lies inside it."""
    for axis, places, size in (("row", cells.row, cells.shape[0]), ("column", cells.col, cells.shape[1])):
        if len(places) != len(cells.data):
            raise DataError(f"{what} is damaged: {len(places)} {axis} numbers do not fit {len(cells.data)} values")
        if len(places) and (places.min() < 0 or places.max() >= size):
            bad = int(places[(places < 0) | (places >= size)][0])
            raise DataError(f"{what} is damaged: an entry lies in {axis} {bad}, and there are {size} {axis}s")


def _check_finite(matrix: sp.csr_matrix, what: str) -> None:
    if matrix.data.dtype.kind != "f":
        return
    bad = np.flatnonzero(~np.isfinite(matrix.data))
    if len(bad):
        row = int(np.searchsorted(matrix.indptr, bad[0], side="right")) - 1
        raise DataError(f"{what}, row {row}: {matrix.data[bad[0]]} is not a rating; give finite numbers")
