"""Matrices of the caller's own: checked, copied, and what is made of them never changes."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp

from tests.conftest import interactions_of
from ultragcn import Interactions
from ultragcn.data.ids import IdMap
from ultragcn.data.matrices import own_csr
from ultragcn.errors import DataError, UsageError

DENSE = np.array([[0, 5, 1], [2, 0, 4]], dtype=float)


def damaged(**arrays):
    """A CSR matrix of 2 x 3 whose arrays are changed after SciPy looked at them."""
    matrix = sp.csr_matrix(DENSE)
    for name, array in arrays.items():
        setattr(matrix, name, np.asarray(array))
    return matrix


@pytest.mark.parametrize(
    "kind", ["csr_matrix", "csr_array", "csc_matrix", "coo_matrix", "coo_array", "lil_matrix", "dok_matrix", "bsr_matrix"]
)
def test_every_format_becomes_the_same_rows(kind):
    ours = own_csr(getattr(sp, kind)(DENSE))
    assert ours.toarray().tolist() == DENSE.tolist()
    assert ours.has_canonical_format


def test_entries_that_come_twice_are_added_and_columns_sorted():
    ours = own_csr(sp.csr_matrix((np.array([1.0, 2, 3]), np.array([2, 0, 2]), np.array([0, 3])), shape=(1, 3)))
    assert (ours.indices.tolist(), ours.data.tolist()) == ([0, 2], [2.0, 4.0])


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"indptr": [1, 2, 4]}, "indptr must have 3 numbers, from 0 to the number of entries"),
        ({"indptr": [0, 2, 9]}, "indptr must have 3 numbers, from 0 to the number of entries"),
        ({"indptr": [0, 4]}, "indptr has 2"),
        ({"indptr": [0, 2, 4.0]}, "arrays of whole numbers"),
        ({"indices": [1, 2, 0, 3]}, "row 1 has an entry in column 3, and there are 3 columns"),
        ({"indices": [-1, 2, 0, 2]}, "row 0 has an entry in column -1"),
        ({"indices": [1, 2, 0]}, "indices 3 and data 4"),
        ({"data": [5, 1, 2, np.nan]}, "row 1: nan is not a rating; give finite numbers"),
    ],
)
def test_a_damaged_matrix_is_refused_before_anything_walks_through_it(arrays, says):
    with pytest.raises(DataError, match=says):
        own_csr(damaged(**arrays))
    with pytest.raises(DataError, match=says):
        Interactions.from_frame(damaged(**arrays))


def test_row_starts_that_fall_are_refused():
    matrix = sp.csr_matrix(np.ones((3, 3)))
    matrix.indptr = np.array([0, 6, 3, 9])
    with pytest.raises(DataError, match="indptr falls after row 1; it must never fall"):
        own_csr(matrix)


def test_other_formats_are_checked_too():
    cells = sp.coo_matrix(DENSE)
    cells.row = np.array([0, 0, 1, 7], dtype=np.int32)
    with pytest.raises(DataError, match="an entry lies in row 7, and there are 2 rows"):
        own_csr(cells)
    columns = sp.csc_matrix(DENSE)
    columns.indices = np.array([1, 0, 0, 2], dtype=np.int32)
    with pytest.raises(DataError, match="column 2 has an entry in row 2, and there are 2 rows"):
        own_csr(columns)


@pytest.mark.parametrize("given", [DENSE, [[1]], "matrix", sp.csr_matrix(DENSE.astype(complex))])
def test_what_is_not_a_matrix_of_numbers_is_refused(given):
    with pytest.raises(UsageError, match="the matrix must"):
        own_csr(given)


def test_later_changes_of_the_caller_do_not_reach_what_was_made():
    matrix = sp.csr_matrix(DENSE)
    times = np.arange(4)
    users, items = IdMap(np.arange(2), "user"), IdMap(np.arange(3), "item")
    made = [Interactions(matrix, users, items, times), Interactions.from_frame(matrix), Interactions(matrix.tocoo(), users, items)]
    before = [pairs.hash for pairs in made]
    matrix.indices[:] = 0
    matrix.data[:] = 9
    times[:] = 0
    assert [pairs.hash for pairs in made] == before
    assert made[0].matrix.data.tolist() == [1, 1, 1, 1]


def test_interactions_do_not_change():
    pairs = interactions_of(np.eye(3))
    for name in ("matrix", "user_ids", "times", "anything"):
        with pytest.raises(AttributeError, match=f"interactions do not change, so {name} cannot be set"):
            setattr(pairs, name, None)
    with pytest.raises(AttributeError, match="cannot be deleted"):
        del pairs.matrix
    for same in (copy.copy(pairs), copy.deepcopy(pairs), pickle.loads(pickle.dumps(pairs))):
        assert same.hash == pairs.hash
