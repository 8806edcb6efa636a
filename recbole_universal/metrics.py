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


def hit_rate(hits: NDArray[np.bool_]) -> NDArray[np.float64]:
    """1 for a list with a relevant item, otherwise 0; argument and shape as in :func:`ndcg`."""
    return np.asarray(hits.any(axis=-1), dtype=np.float64)


def precision(hits: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of the k positions that hold a relevant item; argument and shape as in :func:`ndcg`."""
    return hits.sum(axis=-1) / hits.shape[-1]


def reciprocal_rank(hits: NDArray[np.bool_]) -> NDArray[np.float64]:
    """1 / position of the first relevant item, from 1, and 0 without one; its mean over users is MRR.

    Argument and shape as in :func:`ndcg`.
    """
    return np.where(hits.any(axis=-1), 1 / (hits.argmax(axis=-1) + 1), 0.0)


def novelty(lists: NDArray[np.int64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean self-information of the items of each list, in bits (Zhou et al., PNAS 2010).

    Args:
        lists: item indices, int64 [n_users, k]; -1 is no item.
        share: share of the users who have an item, in (0, 1], [n_items]. An item that nobody has does not count.

    Returns:
        Mean of -log2(share) over the items of each list, float64 [n_users]; 0 for an empty list.
    """
    counts = (lists >= 0) & (share[lists] > 0)
    bits = np.zeros(lists.shape)
    bits[counts] = -np.log2(share[lists[counts]])
    return bits.sum(axis=1) / np.maximum(1, counts.sum(axis=1))


def overlap(lists: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the items of each list that are in the other list of the same user.

    Args:
        lists: distinct item indices, int64 [n_users, k]; -1 is no item.
        others: likewise.

    Returns:
        float64 [n_users]; 0 for an empty list.
    """
    is_item = lists >= 0
    common = (lists[:, :, None] == others[:, None, :]).any(axis=2) & is_item
    return common.sum(axis=1) / np.maximum(1, is_item.sum(axis=1))


def coverage_and_gini(lists: NDArray[np.int64], items: NDArray[np.integer]) -> tuple[float, float]:
    """How many items are recommended, and how unequally.

    Args:
        lists: item indices, int64 [n_users, k]; -1 is no item.
        items: indices of the items that count, such as those with a training interaction, [n].

    Returns:
        Share of these items that are in a list, in [0, 1], and the Gini coefficient of their numbers of lists.
    """
    counts = np.bincount(lists[lists >= 0], minlength=int(items.max(initial=-1)) + 1)[items]
    return float((counts > 0).mean()), gini(counts)


def gini(values: np.ndarray) -> float:
    """Gini coefficient in [0, 1): 0 = all equal."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    total = ordered.sum()
    if total == 0:
        return 0.0
    n = len(ordered)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * total))


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
