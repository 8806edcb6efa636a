"""Weights of columns of lists, fitted to the held-out entries by a softmax over each list."""

from __future__ import annotations

from typing import NamedTuple

import torch

# Number of lists in one block, whose columns fit the processor's cache.
_BLOCK_LISTS = 50
# Newton's method ends after a step with a squared decrement (Boyd and Vandenberghe, Convex Optimization, 9.5.1) of at
# most this many nats. It converges quadratically, so the weights are then nearly exact and hardly depend on the
# processor.
_DECREMENT, _MOST_STEPS = 1e-6, 50
# Score of a position without entry. A finite one keeps empty lists free of NaN.
LOWEST = -1e30
# Share of the loss that rounding errors may add.
_ROUNDING = 1e-6


class Lists(NamedTuple):
    """Lists with columns and held-out entries.

    Attributes:
        features: columns of the entries, float16 or float32 [n_lists, width, dim].
        scores: what the weighted sum of the columns is added to, float32 [n_lists, width].
        mask: whether a position holds an entry, bool [n_lists, width].
        label: whether an entry is held out, bool [n_lists, width].
    """

    features: torch.Tensor
    scores: torch.Tensor
    mask: torch.Tensor
    label: torch.Tensor


def fitted_weights(
    lists: Lists, penalty: float, rows: torch.Tensor | None = None, first: torch.Tensor | None = None
) -> torch.Tensor:
    r"""The weights w of the columns x that maximise the likelihood of the held-out entries, with a penalty.

    The loss is the sum over the held-out entries of -log softmax(s + x w), where s are the scores. ``penalty`` times
    the sum of the squared distances of the weights from the first ones is added. The softmax is over a list. With few
    held-out entries, the weights are near the first ones. The loss is convex; Newton's method minimises it.

    Args:
        lists: the lists.
        penalty: in nats; the likelihood is summed over all held-out entries.
        rows: lists to fit to, int64 [n]; ``None``: all.
        first: weights without any held-out entry, float64 [dim]; ``None``: zeros.

    Returns:
        w, float64 [dim].
    """
    rows = torch.arange(len(lists.scores)) if rows is None else rows
    start = torch.zeros(lists.features.shape[-1], dtype=torch.float64) if first is None else first
    weights = best = start
    step, lowest = torch.zeros_like(weights), torch.inf
    for _ in range(_MOST_STEPS):
        loss, gradient, hessian = _derivatives(lists, penalty, rows, weights, start)
        if loss > lowest + _ROUNDING * abs(lowest):  # too far: half of the step back
            step = step / 2
            weights = best - step
            continue
        lowest, best = loss, weights
        step = torch.linalg.solve(hessian, gradient)
        weights = best - step
        if gradient @ step <= _DECREMENT:
            return weights
    return best


def _derivatives(
    lists: Lists, penalty: float, rows: torch.Tensor, weights: torch.Tensor, start: torch.Tensor
) -> tuple[float, torch.Tensor, torch.Tensor]:
    """The loss of :func:`fitted_weights`, its gradient, float64 [dim], and its Hessian, float64 [dim, dim]."""
    distance = weights - start
    loss = penalty * float(distance.square().sum())
    gradient = 2 * penalty * distance
    hessian = 2 * penalty * torch.eye(len(weights), dtype=torch.float64)
    for block in rows.split(_BLOCK_LISTS):
        features, mask, label = lists.features[block].float(), lists.mask[block], lists.label[block]
        log_share = (lists.scores[block] + features @ weights.float()).masked_fill(~mask, LOWEST).log_softmax(dim=1)
        n_hits = label.sum(dim=1, keepdim=True)
        share = log_share.exp()
        loss -= float(log_share[label].sum(dtype=torch.float64))
        residual = share * n_hits - label.float()
        gradient = gradient + torch.einsum("uc,ucd->d", residual, features).double()
        mean = torch.einsum("uc,ucd->ud", share, features)
        spread = ((features - mean[:, None]) * (share * n_hits).sqrt()[..., None]).flatten(0, 1)
        hessian = hessian + (spread.T @ spread).double()
    return loss, gradient, hessian
