"""The largest singular values of a large sparse matrix, by subspace iteration (Halko, Martinsson, Tropp 2011).

scikit-learn's ``randomized_svd`` multiplies on one thread, and factorises dense matrices of users and of items in each
pass. Here a pass has two products in PyTorch's threads and one small eigenvalue problem.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recbole_universal.graph.sparse_sums import sparse_tensor

# Number of additional vectors, and number of passes. On yelp2018 (3,000 users), NDCG@20 is .0601,
# .0598 and .0602 with four, five and ten passes, and .0601 and .0602 by scikit-learn with two seeds. That is noise.
_MORE_VECTORS, _N_PASSES = 10, 4
# With a sample of the rows, its passes replace all but this number of those over all rows.
_N_WHOLE_PASSES = 2
# Number of rows whose products are summed in float32; the sums of such blocks are added in float64.
_BLOCK_ROWS = 8192


def largest_singular(
    matrix: sp.csr_matrix, rank: int, sample: sp.csr_matrix | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The largest singular values of a matrix and their right singular vectors, from a fixed seed.

    Args:
        matrix: csr float32 [n_rows, n_columns], both sides larger than ``rank``.
        rank: number of values.
        sample: some rows of a large matrix, for the first passes; ``None``: all passes use the whole matrix.

    Returns:
        Squares of the values, largest first, float64 [rank], and the vectors, float32 [n_columns, rank]. Vectors of
        values near 0 are 0.
    """
    n_vectors = min(rank + _MORE_VECTORS, *matrix.shape)
    drawn = np.random.default_rng(0).standard_normal((matrix.shape[1], n_vectors), dtype=np.float32)
    vectors = torch.from_numpy(drawn)
    n_passes = _N_PASSES
    if sample is not None:
        vectors, n_passes = _passed(vectors, *_both_ways(sample), _N_PASSES - 1), _N_WHOLE_PASSES
    rows, columns = _both_ways(matrix)
    vectors = _passed(vectors, rows, columns, n_passes)
    vectors = _orthonormal(vectors)  # once more, without the rounding errors of the first time
    squares, rotation = _largest_first(_gram(rows @ vectors))
    vectors = vectors @ (rotation * (squares > 1e-9)).float()
    return squares[:rank].numpy(), np.ascontiguousarray(vectors[:, :rank].numpy())


def _both_ways(matrix: sp.csr_matrix) -> tuple[torch.Tensor, torch.Tensor]:
    """The matrix and its transpose."""
    rows, columns = (sparse_tensor(some, torch.device("cpu")) for some in (matrix, matrix.T.tocsr()))
    return rows, columns


def _passed(vectors: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, n_passes: int) -> torch.Tensor:
    """The vectors after some passes of subspace iteration."""
    for _ in range(n_passes):
        vectors = _orthonormal(columns @ (rows @ vectors))
    return vectors


def _orthonormal(vectors: torch.Tensor) -> torch.Tensor:
    """An orthonormal basis of the columns; columns of 0 for what they lack."""
    squares, rotation = _largest_first(_gram(vectors))
    kept = squares > 1e-10 * squares[0]
    scale = torch.where(kept, squares.clamp(min=torch.finfo(torch.float64).tiny) ** -0.5, 0.0)
    return vectors @ (rotation * scale).float()


def _gram(vectors: torch.Tensor) -> torch.Tensor:
    """Products of the columns, float64 [n_columns, n_columns]."""
    gram = torch.zeros(vectors.shape[1], vectors.shape[1], dtype=torch.float64)
    for block in vectors.split(_BLOCK_ROWS):
        gram += block.T @ block
    return gram


def _largest_first(gram: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvalues and eigenvectors of a symmetric matrix, largest value first."""
    values, vectors = torch.linalg.eigh(gram)
    return values.flip(0), vectors.flip(1)
