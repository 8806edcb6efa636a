"""Weights of interactions: what a purchase, a click, a play count or a rating says about the taste of a user.

The weights count in the items of a user and in the relations of items. Two functions change them first; docs/weights.md
measures both.

- Play counts span four digits, and a hundred times as many plays is not a hundred times the evidence. So the amounts of
  a pair are added, and the cube root of the sum is the weight.
- A user with large amounts should not count more than others. So the weights of a user are divided by their mean. A
  factor of all weights then changes nothing.

A half-life of events acts after the root, so an event of twice the age of another has the weight that the half-life
says. A pair of events with amounts a_e and ages t_e has the weight (sum_e a_e d_e^3)^(1/3), d_e = 2^(-t_e / half-life).
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recbole_universal.graph.histories import Histories

#: The sum of a pair's amounts is raised to this power.
WEIGHT_POWER = 1 / 3
_SECONDS_OF_A_DAY = 86400.0
# However small a weight is, it stays evidence: the least relative weight, and the highest age in half-lives.
_LEAST, _MOST_HALF_LIVES = 1e-6, 100.0


def pair_weights(amounts: sp.csr_matrix) -> sp.csr_matrix:
    """Weight of each pair from its amounts, such as ratings, numbers of plays, or sums over its events.

    Args:
        amounts: at least 0, csr [n_users, n_items]; an entry of 0 is no evidence of taste.

    Returns:
        csr float64 with the entries of ``amounts``.
    """
    values = amounts.data.astype(np.float64) ** WEIGHT_POWER
    return sp.csr_matrix((values, amounts.indices, amounts.indptr), shape=amounts.shape)


def event_weights(histories: Histories, n_items: int, half_life: float | None) -> sp.csr_matrix:
    """Weight of each pair from its events.

    Args:
        histories: events with weights; without them, all events weigh 1 and the latest one of a pair counts.
        n_items: number of items.
        half_life: age in days at which an event weighs half, > 0, with times in seconds. ``None``: age does not count.

    Returns:
        csr float64 [n_histories, n_items] with an entry for each pair, which is 0 if all of its events have weight 0.
    """
    decay = np.ones(len(histories.items))
    if half_life is not None and histories.times is not None and len(histories.times):
        ages = (histories.times.max() - histories.times) / (half_life * _SECONDS_OF_A_DAY)
        decay = 0.5 ** np.minimum(ages, _MOST_HALF_LIVES)
    pairs = histories.rows * n_items + histories.items
    order = np.argsort(pairs, kind="stable")
    starts = np.flatnonzero(np.diff(pairs[order], prepend=-1))
    if histories.weights is None:
        values = np.maximum.reduceat(decay[order], starts) if len(starts) else decay
    else:
        amounts = histories.weights * decay ** (1 / WEIGHT_POWER)
        values = np.add.reduceat(amounts[order], starts) ** WEIGHT_POWER if len(starts) else amounts
    found = pairs[order][starts]
    indptr = np.searchsorted(found, np.arange(len(histories) + 1) * n_items)
    return sp.csr_matrix((values, found % n_items, indptr), shape=(len(histories), n_items))


def evidence_of(matrix: sp.csr_matrix, weights: sp.csr_matrix) -> sp.csr_matrix:
    """The interactions that are evidence of taste, with weights of mean 1 within each user.

    Args:
        matrix: interactions, binary csr [n_users, n_items].
        weights: weight of each interaction, at least 0.

    Returns:
        csr float32 [n_users, n_items], each positive. A value is exactly 1 where the weights of a user are equal.

    Raises:
        ValueError: if the weights have another shape, are negative or not finite, all 0, or those of no interaction.
    """
    if weights.shape != matrix.shape:
        raise ValueError(
            f"weights: must have the shape of the matrix, {list(matrix.shape)}, got {list(weights.shape)}."
        )
    positive = sp.csr_matrix(weights, dtype=np.float64, copy=True)
    if not np.isfinite(positive.data).all() or (positive.data < 0).any():
        raise ValueError("weights: must be finite and at least 0; some are negative, NaN or infinite.")
    positive.sum_duplicates()
    positive.eliminate_zeros()
    if not positive.nnz:
        raise ValueError("weights: all are 0, so no interaction is evidence of taste; at least one must be positive.")
    if positive.astype(bool).multiply(matrix).nnz < positive.nnz:
        raise ValueError("weights: must be those of interactions; some have no entry in the matrix.")
    lengths = np.diff(positive.indptr)
    users = np.repeat(np.arange(len(lengths)), lengths)
    largest = np.zeros(len(lengths))
    np.maximum.at(largest, users, positive.data)
    positive.data /= largest[users]  # equal weights are then exactly 1, and so is their mean
    mean = np.bincount(users, positive.data, minlength=len(lengths)) / np.maximum(lengths, 1)
    positive.data = np.maximum(positive.data / mean[users], _LEAST)
    return positive.astype(np.float32)
