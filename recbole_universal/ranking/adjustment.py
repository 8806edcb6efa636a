"""Adjustment of a network's scores to a dataset, by the held-out interactions of the self-check.

A network learns from many datasets how far to trust each column. One dataset can differ from them. A linear correction
with a strong penalty adapts the trust in each column, and where one scorer is far better than all others, the scores
are mixed with it. The weights of the network stay as they are.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from recbole_universal.features.proximity_columns import best_scorer_column
from recbole_universal.features.self_check import CheckResult, SelfCheck
from recbole_universal.metrics import paired_z_score

#: Penalty of the squared weights of the correction, in nats per held-out interaction. docs/ablation.md compares others.
CORRECTION_PENALTY = 30.0
#: Weights of the best scorer of which the self-check chooses one.
BEST_SCORER_WEIGHTS = (0.0, 0.25, 0.5)
# The z-score that 10% of normal variables exceed.
_SIGNIFICANT = 1.2816
# Users of the self-check in one block, whose columns fit the processor's cache.
_BLOCK_USERS = 50
# Newton's method ends after a step with a decrement (Boyd and Vandenberghe, Convex Optimization, 9.5.1) of at most this
# many nats. It converges quadratically, so the weights are then nearly exact and do not depend on the processor.
_DECREMENT, _MOST_STEPS = 1e-6, 50
# Share of the loss that rounding errors may add.
_ROUNDING = 1e-6


class Adjustment(NamedTuple):
    """What the self-check of a dataset changes in a network's scores.

    Attributes:
        correction: weights of the columns of ``proximity``, whose weighted sum is added, float32 [dim].
        best_scorer_weight: weight of the best scorer in the mixture, in [0, 1].
    """

    correction: torch.Tensor
    best_scorer_weight: float

    def __call__(self, scores: torch.Tensor, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The adjusted scores of candidates, float32 [n_users, n_candidates].

        Args:
            scores: scores by the network, float32 [n_users, n_candidates].
            features: columns of the family ``proximity``, float32 [n_users, n_candidates, dim].
            mask: whether a position holds a candidate, bool [n_users, n_candidates].
        """
        corrected = scores + features @ self.correction.to(features.device)
        return with_best_scorer(corrected, features, mask, self.best_scorer_weight)


def choose_adjustment(check: SelfCheck, scores: torch.Tensor) -> tuple[Adjustment, CheckResult]:
    """The adjustment for a dataset, and the result of the adjusted scores in the self-check.

    For the result each half of the users has the correction that is fitted on the other half, as it has the scorer
    weights of the other half. The weight of the best scorer is chosen on all users, so the result is slightly too good.

    Args:
        check: the self-check of the dataset.
        scores: the network's scores of its candidates, float32 [n_users, n_candidates].
    """
    scores = scores.cpu()
    users = torch.arange(len(scores))
    halves = users.split(max(1, (len(users) + 1) // 2))
    corrected = scores.clone()
    for half, others in zip(halves, reversed(halves), strict=True):
        if half is not others:
            corrected[half] += check.features[half].float() @ fit_correction(check, scores, others)
    weight, result = choose_best_scorer_weight(check, corrected)
    return Adjustment(fit_correction(check, scores, users), weight), result


def fit_correction(check: SelfCheck, scores: torch.Tensor, users: torch.Tensor) -> torch.Tensor:
    r"""The weights w of the columns x that maximise the likelihood of the held-out interactions, with a penalty.

    The loss is the sum over the held-out candidates of -log softmax(s + x w), plus :data:`CORRECTION_PENALTY` times
    the sum of the squared weights, where s are the network's scores. The softmax is that of the pre-training, over a
    user's candidates. With few users, the weights are near 0. The loss is convex; Newton's method minimises it.

    Args:
        check: the self-check of a dataset.
        scores: the network's scores of its candidates, float32 [n_users, n_candidates].
        users: rows of the self-check to fit to, int64 [n].

    Returns:
        w, float32 [dim].
    """
    weights, lowest = torch.zeros(check.features.shape[-1], dtype=torch.float64), torch.inf
    step = torch.zeros_like(weights)
    for _ in range(_MOST_STEPS):
        loss, gradient, hessian = _derivatives(check, scores, users, weights)
        if loss > lowest + _ROUNDING * abs(lowest):  # too far: half of the step back
            step = step / 2
            weights = weights + step
            continue
        lowest, step = loss, torch.linalg.solve(hessian, gradient)
        weights = weights - step
        if gradient @ step <= _DECREMENT:
            break
    return weights.float()


def _derivatives(
    check: SelfCheck, scores: torch.Tensor, users: torch.Tensor, weights: torch.Tensor
) -> tuple[float, torch.Tensor, torch.Tensor]:
    """The loss of :func:`fit_correction`, its gradient, float64 [dim], and its Hessian, float64 [dim, dim]."""
    loss = CORRECTION_PENALTY * float(weights.square().sum())
    gradient = 2 * CORRECTION_PENALTY * weights
    hessian = 2 * CORRECTION_PENALTY * torch.eye(len(weights), dtype=torch.float64)
    for block in users.split(_BLOCK_USERS):
        features, mask, label = check.features[block].float(), check.mask[block], check.label[block]
        log_share = (scores[block] + features @ weights.float()).masked_fill(~mask, -1e9).log_softmax(dim=1)
        n_hits = label.sum(dim=1, keepdim=True)
        share = log_share.exp() * mask
        loss -= float(log_share[label].sum(dtype=torch.float64))
        residual = share * n_hits - label.float()
        gradient = gradient + torch.einsum("uc,ucd->d", residual, features).double()
        mean = torch.einsum("uc,ucd->ud", share, features)
        spread = ((features - mean[:, None]) * (share * n_hits).sqrt()[..., None]).flatten(0, 1)
        hessian = hessian + (spread.T @ spread).double()
    return loss, gradient, hessian


def choose_best_scorer_weight(check: SelfCheck, scores: torch.Tensor) -> tuple[float, CheckResult]:
    """The weight of the best scorer, and its result in the self-check.

    It has the highest NDCG@10 among 0 and the weights that are significantly better than 0, each in a one-sided test at
    the level of 10%. Otherwise the best of several weights would often be best by chance. In the self-check each half
    of the users has the best scorer of the other half.

    Args:
        check: the self-check of the dataset.
        scores: scores of its candidates, float32 [n_users, n_candidates].
    """
    features = check.features.float()
    mixtures = {weight: with_best_scorer(scores, features, check.mask, weight) for weight in BEST_SCORER_WEIGHTS}
    ndcg = {weight: check.ndcg(mixture) for weight, mixture in mixtures.items()}
    better = [0.0]
    better += [weight for weight in ndcg if paired_z_score((ndcg[weight] - ndcg[0.0]).numpy()) > _SIGNIFICANT]
    best = max(better, key=lambda weight: float(ndcg[weight].mean()))
    return best, check.result(mixtures[best])


def with_best_scorer(scores: torch.Tensor, features: torch.Tensor, mask: torch.Tensor, weight: float) -> torch.Tensor:
    r"""The mixture :math:`(1 - w) z(s) + w z(b)` on the scale of the scores s.

    b is the score by the best scorer of the dataset; scorers that tie are averaged. z has mean 0 and standard deviation
    1 over the list, and the mixture has the mean 0.

    Args:
        scores: scores of candidates, float32 [n_users, n_candidates].
        features: columns of the family ``proximity``, float32 [n_users, n_candidates, dim].
        mask: whether a position holds a candidate, bool [n_users, n_candidates].
        weight: w in [0, 1].

    Returns:
        float32 [n_users, n_candidates]; the same scores for weight 0.
    """
    if not weight:
        return scores
    centred, spread = _centred(scores, mask)
    best, spread_of_best = _centred(features[..., best_scorer_column()], mask)
    return (1 - weight) * centred + weight * best * spread / spread_of_best.clamp(min=1e-6)


def _centred(values: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values minus their mean over the list, and their standard deviation, [n_users, 1]."""
    n_items = mask.sum(dim=1, keepdim=True).clamp(min=1)
    centred = (values - (values * mask).sum(dim=1, keepdim=True) / n_items) * mask
    return centred, (centred.square().sum(dim=1, keepdim=True) / n_items).sqrt()
