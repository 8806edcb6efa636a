"""Metrics of ranked lists, and the statistic that compares two rankings of the same users."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def ndcg(hits: NDArray[np.bool_], n_relevant: NDArray[np.int64]) -> NDArray[np.float64]:
    """Normalised discounted cumulative gain with binary relevance (Järvelin and Kekäläinen, TOIS 2002).

    Args:
        hits: whether each position of a list holds a relevant item, best position first, [..., n_users, k].
        n_relevant: number of relevant items of each user, at least 1, [n_users].

    Returns:
        NDCG@k in [0, 1], [..., n_users].
    """
    discount = 1 / np.log2(np.arange(2, hits.shape[-1] + 2))
    ideal = np.cumsum(discount)[np.minimum(n_relevant, hits.shape[-1]) - 1]
    return (hits * discount).sum(axis=-1) / ideal


def recall(hits: NDArray[np.bool_], n_relevant: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of a user's relevant items that are in the list; arguments and shape as in :func:`ndcg`."""
    return hits.sum(axis=-1) / n_relevant


def paired_z_score(difference: NDArray[np.float64]) -> float:
    """Mean of a paired difference in units of its standard error.

    The value is rounded to six digits. A single non-zero difference among zeros then gives exactly 1 or -1.

    Args:
        difference: metric of one ranking minus metric of the other, by user, [n_users].

    Returns:
        The z-score: 0 for fewer than two users, infinite if all users have the same non-zero difference.
    """
    mean = float(difference.mean()) if len(difference) else 0.0
    if len(difference) < 2 or not mean:
        return 0.0
    if difference.min() == difference.max():
        return math.copysign(math.inf, mean)
    return round(mean / (float(difference.std(ddof=1)) / len(difference) ** 0.5), 6)
