"""Sparse matrices: their product, and the largest entries of each row.

Letters: R rows, C columns, N entries.
"""

import numpy as np
from numba import njit, prange

# Pieces that the rows of a product are dealt into, each with C sums of its own: some rows are far longer than others.
_CHUNKS = 16


@njit(parallel=True, cache=True)
def sparse_product(left_indptr, left_indices, left, right_indptr, right_indices, right, num_columns):
    """Return the rows of a product of sparse matrices; in each, sums are made in the order of the left row's entries.

    Parameters
    ----------
    left_indptr, left_indices, left : CSR rows of the left matrix, float32
    right_indptr, right_indices, right : CSR rows of the right matrix, float32
    num_columns : int
        C, of the right matrix.

    Returns
    -------
    indptr : (R + 1,) int64
    columns : (N,) int32
        In each row as they are met: not sorted.
    values : (N,) float32

    Notes
    -----
    Besides what is returned, address space of 8 R C bytes is taken, of which only what the rows fill becomes memory.
    """
    num_rows = len(left_indptr) - 1
    met_columns, sums = np.empty((num_rows, num_columns + 1), np.int32), np.empty((num_rows, num_columns), np.float32)
    indptr = np.zeros(num_rows + 1, np.int64)
    num_chunks = max(1, min(num_rows, _CHUNKS))
    for chunk in prange(num_chunks):
        met_in = np.full(num_columns, -1, np.int32)  # the row that a column was last met in
        total = np.empty(num_columns, np.float32)
        for row in range(chunk, num_rows, num_chunks):
            columns, count = met_columns[row], 0
            for p in range(left_indptr[row], left_indptr[row + 1]):
                factor = left[p]
                for q in range(right_indptr[left_indices[p]], right_indptr[left_indices[p] + 1]):
                    column = right_indices[q]
                    first = met_in[column] != row
                    columns[count] = column  # kept where it is the first of its kind: a branch would be guessed wrong too often
                    count += first
                    met_in[column] = row
                    total[column] = (np.float32(0) if first else total[column]) + factor * right[q]
            for n in range(count):
                sums[row, n] = total[columns[n]]
            indptr[row + 1] = count
    for row in range(num_rows):
        indptr[row + 1] += indptr[row]
    columns_out, values = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
    for row in prange(num_rows):
        start, stop = indptr[row], indptr[row + 1]
        columns_out[start:stop] = met_columns[row, : stop - start]
        values[start:stop] = sums[row, : stop - start]
    return indptr, columns_out, values


@njit(parallel=True, cache=True)
def largest_entries(indptr, indices, values, k):
    """Return where the k largest entries of each sparse row stand, by (larger value, lower column).

    Parameters
    ----------
    indptr, indices : CSR rows
    values : (N,) float32
        Entries that are not above zero are no candidates.
    k : int

    Returns
    -------
    (R, k) int64
        Places in `indices` and `values`; -1 where a row has fewer than k candidates.

    Notes
    -----
    The k best so far are a heap with the last of them on top: an entry that is better takes its place and sinks.
    """
    num_rows = len(indptr) - 1
    places = np.full((num_rows, k), -1, dtype=np.int64)
    for row in prange(num_rows):
        heap, count, p, stop = places[row], 0, indptr[row], indptr[row + 1]
        while p < stop and count < k:
            if values[p] > 0:
                heap[count] = p
                count += 1
            p += 1
        for place in range(count // 2 - 1, -1, -1):
            _sink(heap, count, place, indices, values)
        while p < stop and k > 0:
            if _before(p, heap[0], indices, values):
                heap[0] = p
                _sink(heap, count, 0, indices, values)
            p += 1
        for last in range(count - 1, 0, -1):  # the worst that is left to the end of what is left
            heap[0], heap[last] = heap[last], heap[0]
            _sink(heap, last, 0, indices, values)
    return places


@njit(cache=True)
def _before(p, q, indices, values):
    """Return whether entry p comes before entry q: larger, or as large in a lower column."""
    return values[p] > values[q] or (values[p] == values[q] and indices[p] < indices[q])


@njit(cache=True)
def _sink(heap, size, place, indices, values):
    """Let the entry at `place` of a heap sink until none below it comes after it."""
    entry = heap[place]
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and _before(heap[below], heap[below + 1], indices, values):
            below += 1
        if not _before(entry, heap[below], indices, values):
            break
        heap[place] = heap[below]
        place = below
    heap[place] = entry
