"""Sums over the items of histories for several weightings of the same histories at once.

One pass over the relations of a history's items serves all weightings. With Numba (the extra ``fast``) the sums are
compiled loops; the results are the same without, but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.graph import sums
from recbole_universal.graph.sums import sums_at

_MOST_WEIGHTS = 4


class Weightings:
    """Several weightings of the items of the same histories.

    Args:
        matrices: csr float32 [n, n_items] each with sorted indices; the last one has all entries of the others.

    Attributes:
        pattern: the last matrix.
        weights: weight of each of its entries by each matrix, float32 [n_entries, n_matrices].
    """

    def __init__(self, matrices: Sequence[sp.csr_matrix]) -> None:
        self.pattern = matrices[-1]
        keys = _keys(self.pattern)
        self.weights = np.zeros((len(keys), len(matrices)), dtype=np.float32)
        for column, matrix in enumerate(matrices):
            self.weights[np.searchsorted(keys, _keys(matrix)), column] = matrix.data

    def matrix(self, column: int) -> sp.csr_matrix:
        """One of the matrices, with explicit zeros in the entries of the others."""
        parts = np.ascontiguousarray(self.weights[:, column]), self.pattern.indices, self.pattern.indptr
        return sp.csr_matrix(parts, shape=self.pattern.shape)


def weighted_sums_at(
    weightings: Weightings, relations: sp.csr_matrix, columns: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Entries of the products of several weightings and one sparse matrix.

    Args:
        weightings: n_weights weightings of n histories, at most four.
        relations: csr [n_items, n_columns].
        columns: columns of each history, int64 [n, width].
        lengths: number of columns of each history; those after them do not count, int64 [n].

    Returns:
        float32 [n_weights, n, width], 0 after the columns of a history.
    """
    n_weights = weightings.weights.shape[1]
    loops = sums.compiled_file("compiled_sequence_sums")
    if loops is None:
        return np.stack([sums_at(weightings.matrix(w), relations, columns, lengths) for w in range(n_weights)])
    # The processor adds four numbers at once.
    weights = np.zeros((len(weightings.weights), _MOST_WEIGHTS), dtype=np.float32)
    weights[:, :n_weights] = weightings.weights
    out = np.zeros((_MOST_WEIGHTS, *columns.shape), dtype=np.float32)
    pattern, parts = weightings.pattern, (relations.indptr, relations.indices, relations.data)
    loops.weighted_sums_at(pattern.indptr, pattern.indices, weights, *parts, relations.shape[1], columns, lengths, out)
    return out[:n_weights]


def products_at(
    table: NDArray[np.float32], by_column: sp.csr_matrix, columns: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Entries of the product of a dense matrix and a sparse one.

    Args:
        table: float32 [n, n_sources].
        by_column: the sparse matrix, transposed, csr float32 [n_columns, n_sources].
        columns: columns of each row, int64 [n, width].
        lengths: number of columns of each row; those after them do not count, int64 [n].

    Returns:
        float32 [n, width], 0 after the columns of a row.
    """
    out, loops = np.zeros(columns.shape, dtype=np.float32), sums.compiled_file("compiled_sequence_sums")
    if loops is not None:
        parts = by_column.indptr, by_column.indices, by_column.data
        loops.products_at(np.ascontiguousarray(table), *parts, columns, lengths, out)
        return out
    for row, length in enumerate(lengths.tolist()):
        out[row, :length] = by_column[columns[row, :length]] @ table[row]
    return out


def _keys(matrix: sp.csr_matrix) -> NDArray[np.int64]:
    """Row and column of each entry as one number, int64 [n_entries]."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return rows * matrix.shape[1] + matrix.indices
