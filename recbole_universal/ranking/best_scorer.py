"""A mixture of a network's scores with the best scorer of the dataset, where held-out interactions speak for it.

A network learns from many datasets how far to trust each scorer. On a dataset where one scorer is far better than the
others, it trusts the others too much. The self-check shows that.
"""

from __future__ import annotations

import torch

from recbole_universal.features.proximity_columns import best_scorer_column
from recbole_universal.features.self_check import CheckResult, SelfCheck
from recbole_universal.metrics import paired_z_score

#: Weights of the best scorer of which the self-check chooses one.
BEST_SCORER_WEIGHTS = (0.0, 0.25, 0.5)
# The z-score that 5% of normal variables exceed.
_SIGNIFICANT = 1.645


def with_best_scorer(scores: torch.Tensor, features: torch.Tensor, mask: torch.Tensor, weight: float) -> torch.Tensor:
    r"""The mixture :math:`(1 - w) z(s) + w z(b)` on the scale of the network's scores s.

    b is the score by the best scorer of the dataset; scorers that tie are averaged. z has mean 0 and standard deviation
    1 over the list, and the mixture has the mean 0.

    Args:
        scores: scores of candidates by a network, float32 [n_users, n_candidates].
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


def choose_weight(check: SelfCheck, scores: torch.Tensor) -> tuple[float, CheckResult]:
    """The weight of the best scorer, and its result in the self-check.

    It has the highest NDCG@10 among 0 and the weights that are significantly better than 0, each in a one-sided test at
    the level of 5%. Otherwise the best of several weights would often be best by chance. The result is measured on the
    users who chose the weight, so it is slightly too good. In the self-check each half of the users has the best scorer
    of the other half.

    Args:
        check: the self-check of the dataset.
        scores: the network's scores of its candidates, float32 [n_users, n_candidates].
    """
    scores, features = scores.cpu(), check.features.float()
    mixtures = {weight: with_best_scorer(scores, features, check.mask, weight) for weight in BEST_SCORER_WEIGHTS}
    ndcg = {weight: check.ndcg(mixture) for weight, mixture in mixtures.items()}
    better = [0.0]
    better += [weight for weight in ndcg if paired_z_score((ndcg[weight] - ndcg[0.0]).numpy()) > _SIGNIFICANT]
    best = max(better, key=lambda weight: float(ndcg[weight].mean()))
    return best, check.result(mixtures[best])
