"""Weights of columns of scores, fitted to held-out interactions by a softmax over each user's items."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_universal import list_weights
from recbole_universal.list_weights import Lists

#: Penalty of the squared distance from the first weights, in nats; the likelihood is summed over all interactions.
PENALTY = 30.0


def standardised(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each user's scores minus their mean, divided by their standard deviation, along the second axis of two or three.

    Equal scores become 0. So a column has the same scale on every dataset and for every user.
    """
    centred = columns - columns.mean(axis=1, keepdims=True)
    spread = np.sqrt(np.mean(np.square(centred), axis=1, keepdims=True))
    largest = np.abs(columns).max(axis=1, keepdims=True, initial=0)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-6 * largest)


def fitted_weights(
    columns: NDArray[np.float32], hits: NDArray[np.bool_], first: NDArray[np.float64], penalty: float = PENALTY
) -> NDArray[np.float64]:
    """The weights that maximise the likelihood of the hits, see :func:`~recbole_universal.list_weights.fitted_weights`.

    Args:
        columns: standardised scores, float32 [n_users, n_items, n_columns].
        hits: the held-out interactions, bool [n_users, n_items].
        first: weights without any interaction, float64 [n_columns].
        penalty: see :data:`PENALTY`.

    Returns:
        float64 [n_columns].
    """
    n_users, n_items, _ = columns.shape
    lists = Lists(
        torch.from_numpy(columns),
        torch.zeros(n_users, n_items),
        torch.ones(n_users, n_items, dtype=torch.bool),
        torch.from_numpy(hits),
    )
    return list_weights.fitted_weights(lists, penalty, first=torch.from_numpy(first)).numpy()
