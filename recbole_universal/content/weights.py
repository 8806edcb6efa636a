"""Weights of columns of scores, fitted to held-out interactions by a softmax over each user's items."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

#: Penalty of the squared distance from the first weights, in nats; the likelihood is summed over all interactions.
PENALTY = 30.0
_MOST_STEPS, _DECREMENT, _LARGEST_STEP = 50, 1e-5, 2.0
_BLOCK_USERS = 50


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
    """The weights that maximise the likelihood of the hits, by Newton's method; the loss is convex.

    Args:
        columns: standardised scores, float32 [n_users, n_items, n_columns].
        hits: the held-out interactions, bool [n_users, n_items].
        first: weights without any interaction, float64 [n_columns].
        penalty: see :data:`PENALTY`.

    Returns:
        float64 [n_columns].
    """
    features, label = torch.from_numpy(columns), torch.from_numpy(hits)
    start = torch.from_numpy(first)
    weights = start.clone()
    for _ in range(_MOST_STEPS):
        gradient = 2 * penalty * (weights - start)
        hessian = 2 * penalty * torch.eye(len(weights), dtype=torch.float64)
        for block, mark in zip(features.split(_BLOCK_USERS), label.split(_BLOCK_USERS), strict=True):
            share = (block @ weights.float()).softmax(dim=1) * mark.sum(dim=1, keepdim=True)
            gradient += torch.einsum("ui,uic->c", share - mark.float(), block).double()
            n_hits = mark.sum(dim=1).clamp(min=1)[:, None]
            mean = torch.einsum("ui,uic->uc", share, block) / n_hits
            spread = ((block - mean[:, None]) * share.sqrt()[..., None]).flatten(0, 1)
            hessian += (spread.T @ spread).double()
        step = torch.linalg.solve(hessian, gradient)
        length = float(step.norm())
        weights = weights - step * min(1.0, _LARGEST_STEP / max(length, 1e-12))
        if float(gradient @ step) <= _DECREMENT:
            break
    return weights.numpy()
