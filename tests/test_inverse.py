"""The inverse in place, by LAPACK and by blocks, against NumPy's in float64."""

import numpy as np
import pytest

from tests.conftest import Heard, random_interactions
from ultragcn.errors import NumericalError
from ultragcn.models import inverse
from ultragcn.models.ease import EASE
from ultragcn.progress import Silent


def positive_definite(size, smallest, largest=1.0, seed=0):
    """A random symmetric matrix with eigenvalues between the two, evenly spread over the orders of magnitude."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))
    return (basis * np.geomspace(smallest, largest, size)) @ basis.T


@pytest.mark.parametrize("tile", [5, 4096])
@pytest.mark.parametrize("block", [1, 7, 64, 65, 500])
@pytest.mark.parametrize("size", [1, 2, 7, 64, 65, 131])
def test_inverting_by_blocks_equals_numpy_whatever_the_sizes(size, block, tile, monkeypatch):
    monkeypatch.setattr(inverse, "_TILE_ROWS", tile)
    exact = positive_definite(size, 0.1, 10)
    matrix = exact.astype(np.float32)
    inverse.invert_by_blocks(matrix, block, Silent())
    expected = np.linalg.inv(exact)
    np.testing.assert_allclose(matrix, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(matrix, matrix.T)


@pytest.mark.parametrize("condition", [10, 1e3, 1e5])
def test_inverting_by_blocks_is_as_exact_as_lapack(condition):
    matrix = positive_definite(300, 1 / condition).astype(np.float32)
    expected = np.linalg.inv(matrix.astype(np.float64))
    by_blocks, by_lapack = matrix.copy(), matrix.copy()
    inverse.invert_by_blocks(by_blocks, 32, Silent())
    inverse.invert_by_lapack(by_lapack)
    away, lapack_away = (np.linalg.norm(found - expected) / np.linalg.norm(expected) for found in (by_blocks, by_lapack))
    assert away < 3 * lapack_away
    assert away < 3e-7 * condition


@pytest.mark.parametrize("bad", [0, 17, 49])
def test_what_is_not_positive_definite_is_refused_in_whichever_block_it_shows(bad):
    indefinite = np.eye(50, dtype=np.float32)
    indefinite[bad, bad] = -1
    for how in (inverse.invert_by_lapack, lambda matrix: inverse.invert_by_blocks(matrix, 16, Silent())):
        with pytest.raises(np.linalg.LinAlgError):
            how(indefinite.copy())


def test_a_matrix_too_large_for_lapack_is_inverted_by_blocks_which_ease_shows(monkeypatch):
    train = random_interactions(80, 45, 0.3)
    whole = EASE(l2=3).fit(train)
    monkeypatch.setattr(inverse, "LAPACK_ROWS", 44)
    monkeypatch.setattr(inverse, "_BLOCK_ROWS", 20)
    shown = Heard()
    np.testing.assert_allclose(EASE(l2=3).fit(train, progress=shown).item_weights_, whole.item_weights_, rtol=1e-4, atol=1e-6)
    assert shown.told == [("training", None, "epoch"), ("inverting", 3, "block"), 1, 1, 1, "finished", "finished"]


def test_ease_says_what_to_raise_where_the_matrix_is_not_positive_definite():
    # One user with two items: rounding leaves nothing of so small an l2.
    with pytest.raises(NumericalError, match=r"not positive definite in float32; raise l2 \(1e-12\)"):
        EASE(l2=1e-12).fit(random_interactions(1, 2, 1.0))


def test_the_memory_of_an_inverse_is_that_of_its_panels_tile_and_blocks():
    assert inverse.scratch_bytes(1000) == 0  # LAPACK works in place
    assert inverse.scratch_bytes(40_981) == 4 * (2 * 40_981 * 1024 + 1024 * 4096 + 2 * 1024**2)


def test_mirroring_copies_the_upper_triangle_tile_by_tile():
    matrix = np.triu(np.arange(45.0 * 45).reshape(45, 45))
    expected = matrix + np.triu(matrix, 1).T
    inverse.mirror(matrix, tile=16)
    np.testing.assert_array_equal(matrix, expected)
