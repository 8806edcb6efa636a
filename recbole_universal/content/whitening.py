"""Whitening of the vectors of one catalogue: equal spread in every direction, no labels needed.

Vectors of a sentence encoder lie in a narrow cone. Within one catalogue most of their directions say the same about all
items. Whitening removes their mean and divides by their spread (Su et al., *Whitening Sentence Representations*, 2021).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Spread below this share of the mean spread is rounding.
_LEAST = 1e-6


def unit_rows(vectors: NDArray) -> NDArray[np.float32]:
    """Rows of length one, float32 [n, dim]; a row of zeros stays."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def whitened(vectors: NDArray, has_vector: NDArray[np.bool_], keep_axes: bool = False) -> NDArray[np.float32]:
    r"""Whitened rows of length one.

    The covariance C of n vectors in d dimensions is shrunk to (1 - a) C + a t I, with t the mean of its diagonal and
    a = d / (d + n). With fewer items than dimensions, an unshrunk covariance would only be noise in most directions.

    Args:
        vectors: float [n_items, dim].
        has_vector: whether an item has a vector, bool [n_items]. The others stay zero and do not count.
        keep_axes: whether the result is rotated back to the axes of ``vectors``. Otherwise its axes are the principal
            ones of this catalogue. Cosines are the same.

    Returns:
        float32 [n_items, dim], no NaN.
    """
    result = np.zeros(vectors.shape, dtype=np.float32)
    rows = unit_rows(vectors[has_vector]).astype(np.float64)
    n, dim = rows.shape
    if not n:
        return result
    rows -= rows.mean(axis=0)
    covariance = rows.T @ rows / n
    mean_spread = float(np.trace(covariance)) / max(1, dim)
    if mean_spread <= np.finfo(np.float32).eps:  # all vectors are the same one
        return result
    share = dim / (dim + n)
    values, directions = np.linalg.eigh(covariance)
    shrunk = (1 - share) * np.maximum(values, 0) + share * mean_spread
    scale = np.where(shrunk > _LEAST * mean_spread, shrunk, np.inf) ** -0.5
    transform = directions * scale
    result[has_vector] = unit_rows(rows @ (transform @ directions.T if keep_axes else transform))
    return result
