"""Sparse matrices: their product, the largest entries of each row, both at once, and neighbours beside users who have very many items.

Letters: R rows, C columns, N entries.
"""

import numpy as np

from ultragcn.kernels.numba_cpu.compiling import inlined, kernel
from ultragcn.kernels.numba_cpu.threads import share_out, take_next

# Pieces that rows are dealt into: some rows are far longer than others.
_PIECES, _MANY_PIECES = 16, 256
# Rows that a thread takes at a time where each is little work.
_ROWS = 128
# Where it is more.
_FEW_ROWS = 8


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
    met = np.empty((num_rows, num_columns + 1), np.int32), np.empty((num_rows, num_columns), np.float32)
    indptr = np.zeros(num_rows + 1, np.int64)
    pieces = min(num_rows, _PIECES)
    matrices = (left_indptr, left_indices, left), (right_indptr, right_indices, right)

    def multiply(counter):
        work = np.full(num_columns, -1, np.int32), np.empty(num_columns, np.float32)
        _multiply_rows(counter, pieces, *matrices, met, indptr, work)

    share_out(pieces, multiply)
    np.cumsum(indptr, out=indptr)
    columns, values = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
    share_out(-(-num_rows // _ROWS), lambda counter: _gather_rows(counter, met, indptr, columns, values))
    return indptr, columns, values


def strongest_of_product(left, right, factors, before, k):
    """Return the k entries of largest size of each row of a product of sparse matrices, the diagonal left out.

    Rows of the product are never kept: at a time, a thread holds one.

    Parameters
    ----------
    left, right : tuple of indptr, indices, values
        CSR rows; values float32.
    factors : (C,) float32
        What the columns are multiplied by before sizes are compared; the entries that are returned have been.
    before : (C,) int64, or (0,)
        Row r keeps only columns c with before[c] < before[r].
    k : int

    Returns
    -------
    columns : (R, k) int32
        By (larger size, lower column); -1 where a row has fewer entries than k that are not 0.
    values : (R, k) float32
        0 there.
    """
    num_rows, num_columns = len(left[0]) - 1, len(factors)
    lists = np.full((num_rows, k), -1, np.int32), np.zeros((num_rows, k), np.float32)
    pieces = min(num_rows, _MANY_PIECES)

    def run(counter):
        work = (
            np.full(num_columns, -1, np.int32), np.empty(num_columns, np.float32), np.empty(num_columns + 1, np.int32),
            np.empty(num_columns, np.float32), np.empty(k, np.int64),
        )  # fmt: skip
        _strongest_rows(counter, pieces, left, right, factors, before, lists, work)

    share_out(pieces, run)
    return lists


@inlined
def _multiply_row(row, left, right, met, met_in, total):
    """Write the columns that a row of the product meets into `met`, and its sums there into `total`; return how many columns there are.

    `met_in` says of each column the row that it was last met in.
    """
    left_indptr, left_indices, left_values = left
    right_indptr, right_indices, right_values = right
    count = 0
    for p in range(left_indptr[row], left_indptr[row + 1]):
        factor = left_values[p]
        for q in range(right_indptr[left_indices[p]], right_indptr[left_indices[p] + 1]):
            column = right_indices[q]
            first = met_in[column] != row
            met[count] = column  # kept where it is the first of its kind: a branch would be guessed wrong too often
            count += first
            met_in[column] = row
            total[column] = (np.float32(0) if first else total[column]) + factor * right_values[q]
    return count


@kernel
def _strongest_rows(counter, pieces, left, right, factors, before, lists, work):
    """Write the strongest entries of the rows of piece after piece."""
    columns, values = lists
    met_in, total, met, sizes, heap = work
    num_rows = len(columns)
    while True:
        piece = take_next(counter)
        if piece >= pieces:
            break
        for row in range(piece, num_rows, pieces):
            count = _multiply_row(row, left, right, met, met_in, total)
            for n in range(count):
                column = met[n]
                total[column] *= factors[column]
                left_out = column == row or (len(before) > 0 and before[column] >= before[row])
                sizes[n] = np.float32(0) if left_out else abs(total[column])
            kept = _largest(met, sizes, 0, count, heap)
            for n in range(kept):
                columns[row, n] = met[heap[n]]
                values[row, n] = total[met[heap[n]]]


@kernel
def _multiply_rows(counter, pieces, left, right, met, indptr, work):
    """Write the columns that each row of the product meets, and its sums there, for the rows of piece after piece."""
    columns, sums = met
    met_in, total = work  # by column: the row that it was last met in, and its sum there
    num_rows = len(indptr) - 1
    while True:
        piece = take_next(counter)
        if piece >= pieces:
            break
        for row in range(piece, num_rows, pieces):
            count = _multiply_row(row, left, right, columns[row], met_in, total)
            for n in range(count):
                sums[row, n] = total[columns[row, n]]
            indptr[row + 1] = count


@kernel
def _gather_rows(counter, met, indptr, columns, values):
    """Write the entries of all rows one after the other."""
    met_columns, sums = met
    while True:
        first = take_next(counter) * _ROWS
        if first >= len(indptr) - 1:
            break
        for row in range(first, min(first + _ROWS, len(indptr) - 1)):
            start = indptr[row]
            for n in range(indptr[row + 1] - start):
                columns[start + n] = met_columns[row, n]
                values[start + n] = sums[row, n]


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
    places = np.full((num_rows, k), -1, np.int64)
    share_out(-(-num_rows // _ROWS), lambda counter: _largest_of_rows(counter, indptr, indices, values, places))
    return places


@kernel
def _largest_of_rows(counter, indptr, indices, values, places):
    num_rows = len(places)
    while True:
        first = take_next(counter) * _ROWS
        if first >= num_rows:
            break
        for row in range(first, min(first + _ROWS, num_rows)):
            _largest(indices, values, indptr[row], indptr[row + 1], places[row])


@inlined
def _largest(indices, values, start, stop, heap):
    """Write the places from `start` to `stop` of the largest values above zero into `heap`, in order; return how many there are."""
    k, count, p = len(heap), 0, start
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
    return count


@inlined
def _before(p, q, indices, values):
    """Return whether entry p comes before entry q: larger, or as large in a lower column."""
    return values[p] > values[q] or (values[p] == values[q] and indices[p] < indices[q])


@inlined
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


def strongest_beside(first, indptr, columns, values, strength, wide, k):
    """Return the k strongest neighbours of some items: of those given, and of those that items share users of `wide` alone with.

    Parameters
    ----------
    first : int
        The item of the first row; those of the other rows follow.
    indptr, columns, values : CSR rows, float32
        The neighbours that an item shares other users with, and how strong they are; those not above zero are no candidates.
    strength : arguments.Strength
    wide : arguments.Wide
    k : int

    Returns
    -------
    items : (R, k) int32
        By (stronger, lower item); -1 where a row has fewer than k candidates.
    strengths : (R, k) float32
        0 there.

    Notes
    -----
    The items of a group are looked at from the strongest on, and only until they are weaker than the k-th best so far. Equals stand by
    their number, so from the first that is too late on they are all too late. A row takes about k steps, not I.
    """
    num_rows = len(indptr) - 1
    places = largest_entries(indptr, columns, values, k)
    items, strengths = np.full((num_rows, k), -1, np.int32), np.zeros((num_rows, k), np.float32)

    def run(counter):
        met = np.full(len(wide.group), -1, np.int32)
        _strongest_beside(counter, first, (indptr, columns, values, places), strength, wide, (items, strengths), met)

    share_out(-(-num_rows // _FEW_ROWS), run)
    return items, strengths


@kernel
def _strongest_beside(counter, first, near, strength, wide, best, met):
    indptr, columns, values, places = near
    items, strengths = best
    num_rows, k = items.shape
    num_groups = len(wide.starts) - 1
    ordered = len(strength.place) > 0
    while True:
        start = take_next(counter) * _FEW_ROWS
        if start >= num_rows:
            break
        for row in range(start, min(start + _FEW_ROWS, num_rows)):
            i = first + row
            count = 0
            while count < k and places[row, count] >= 0:
                items[row, count] = columns[places[row, count]]
                strengths[row, count] = values[places[row, count]]
                count += 1
            for p in range(indptr[row], indptr[row + 1]):
                met[columns[p]] = row
            met[i] = row
            for group in range(num_groups):
                c = wide.shared[wide.group[i], group]
                n, stop = wide.starts[group], wide.starts[group + 1]
                while n < stop and c > 0 and k > 0:
                    j = wide.order[n]
                    if ordered and strength.place[j] >= strength.place[i]:
                        n = wide.stops[n]  # equals have ascending places
                        continue
                    if met[j] == row:
                        n += 1
                        continue
                    below = strength.length[i] * strength.length[j] + strength.shrinkage
                    value = c * strength.column[j] / below if below > 0 else np.float32(0)
                    if not value > 0 or (count == k and value < strengths[row, k - 1]):
                        break
                    if count == k and value == strengths[row, k - 1] and j > items[row, k - 1]:
                        n = wide.stops[n]
                        continue
                    count = min(count + 1, k)
                    place = count - 1
                    while place > 0 and (
                        strengths[row, place - 1] < value or (strengths[row, place - 1] == value and items[row, place - 1] > j)
                    ):
                        items[row, place], strengths[row, place] = items[row, place - 1], strengths[row, place - 1]
                        place -= 1
                    items[row, place], strengths[row, place] = j, value
                    n += 1
