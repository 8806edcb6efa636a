"""Products of the columns of a matrix: known answers, by loops, by SciPy and by dense blocks."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from graph_data import random_matrix

from recbole_universal.graph import column_products as module
from recbole_universal.graph.column_products import column_products


@pytest.mark.parametrize("loops", [True, False])
@pytest.mark.parametrize("shares", [(2, 2), (0, 0), (0.3, 0.3)], ids=["short rows", "long rows", "both"])
def test_counts_are_those_of_a_dense_product(monkeypatch, loops, shares):
    if loops:
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(module, "compiled", lambda: None)
    monkeypatch.setattr(module, "_LONG_FOR_LOOPS", shares[0])
    monkeypatch.setattr(module, "_LONG_FOR_SCIPY", shares[1])
    monkeypatch.setattr(module, "_BLOCK_FLOATS", 100)
    monkeypatch.setattr(module, "_BLOCK_COLUMNS", 7)
    matrix = sp.vstack([random_matrix(60, 30, 0.1), random_matrix(9, 30, 0.8), sp.csr_matrix((2, 30))], format="csr")
    matrix = matrix.astype(np.float32)
    products = column_products(matrix)
    assert products.dtype == np.float32
    np.testing.assert_array_equal(products, matrix.toarray().T @ matrix.toarray())
    matrix.data = np.random.default_rng(0).random(matrix.nnz, dtype=np.float32) + 0.5
    np.testing.assert_allclose(column_products(matrix), matrix.toarray().T @ matrix.toarray(), rtol=1e-5)


def test_long_rows_are_multiplied_as_dense_blocks(monkeypatch):
    """Only rows that are filled by more than the share are taken out of the sums term by term."""
    taken = []
    short = module._short_products
    monkeypatch.setattr(module, "_short_products", lambda rows: taken.append(rows.shape[0]) or short(rows))
    row = np.zeros((1, 1200), dtype=np.float32)
    for filled, expected in ((20, 3), (1000, 2)):
        row[0, :filled] = 1
        column_products(sp.csr_matrix(np.vstack([row, np.eye(2, 1200, dtype=np.float32)])))
        assert taken.pop() == expected


def test_a_matrix_without_columns_or_rows_has_no_products():
    assert column_products(sp.csr_matrix((3, 0), dtype=np.float32)).shape == (0, 0)
    assert not column_products(sp.csr_matrix((0, 4), dtype=np.float32)).any()
