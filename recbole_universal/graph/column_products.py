"""Products of the columns of a sparse matrix with each other, as a dense matrix (Gram matrix).

A row with d entries adds to d^2 products, so a few long rows can take most of the time. Long rows are multiplied as
dense matrices: an operation costs a fraction there, but also runs over the zeros.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recbole_universal.graph.sums import compiled
from recbole_universal.graph.threads import in_threads

# Filled share of a row from which a dense product is faster, with compiled loops and with SciPy. A term of the sum
# takes about 2 ns in a loop, 12 ns in SciPy and .013 ns in a dense product. The root of the quotient is the share.
_LONG_FOR_LOOPS, _LONG_FOR_SCIPY = 1 / 12, 1 / 30
# Largest number of floats of a dense block, and number of columns of which one thread computes the products at once.
_BLOCK_FLOATS, _BLOCK_COLUMNS = 2**23, 256


def column_products(matrix: sp.csr_matrix) -> NDArray[np.float32]:
    """``matrix.T @ matrix``; counts below 2**24 are exact.

    Args:
        matrix: csr float32 [n_rows, n], all values positive.

    Returns:
        float32 [n, n].
    """
    n = matrix.shape[1]
    share = _LONG_FOR_SCIPY if compiled() is None else _LONG_FOR_LOOPS
    long = np.diff(matrix.indptr) > share * n
    products = _short_products(matrix[~long] if long.any() else matrix)
    rows, total = np.flatnonzero(long), torch.from_numpy(products)
    step = max(1, _BLOCK_FLOATS // max(1, n))
    for start in range(0, len(rows), step):
        block = torch.from_numpy(matrix[rows[start : start + step]].toarray())
        total.addmm_(block.T, block)
    return products


def _short_products(matrix: sp.csr_matrix) -> NDArray[np.float32]:
    """As :func:`column_products`, term by term."""
    if compiled() is None:
        return (matrix.T @ matrix).toarray()
    from recbole_universal.graph import compiled_neighbors

    n = matrix.shape[1]
    by_column = matrix.T.tocsr()
    products = np.zeros((n, n), dtype=np.float32)
    arrays = [array for part in (by_column, matrix) for array in (part.indptr, part.indices, part.data)]
    in_threads(
        lambda start: compiled_neighbors.row_products(*arrays, start, products[start : start + _BLOCK_COLUMNS]),
        range(0, n, _BLOCK_COLUMNS),
    )
    return products
