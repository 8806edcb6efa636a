"""A linear correction of a network's scores for one dataset, fitted to the held-out interactions of the self-check.

A network learns from many datasets how far to trust each column. One dataset can differ from them. The weights of the
network stay as they are; a weighted sum of the columns is added to its scores.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from recbole_universal.features.self_check import CheckResult, SelfCheck
from recbole_universal.list_weights import LOWEST, Lists, fitted_weights
from recbole_universal.metrics import paired_z_score

#: Penalty of the squared weights of the correction, in nats. The likelihood is summed over all held-out interactions.
#: docs/ablation.md compares other values.
CORRECTION_PENALTY = 10.0
# Users of the self-check whose scores are corrected at once.
_BLOCK_USERS = 50


def corrected(scores: torch.Tensor, features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The scores plus the weighted sum of the columns, float32 [n_users, n_candidates].

    Args:
        scores: scores by the network, float32 [n_users, n_candidates].
        features: columns of the candidates, float32 [n_users, n_candidates, dim].
        weights: weight of each column, float32 [dim].
    """
    # Unlike a product of matrices, this gives candidates with equal columns equal sums, at any position.
    return scores + (features * weights.to(features.device)).sum(dim=-1)


def choose_correction(check: SelfCheck, scores: torch.Tensor) -> tuple[torch.Tensor, CheckResult]:
    """The weights of the correction for a dataset, and the result of the corrected scores in the self-check.

    The weights are fitted to all users. The result is cross-fitted: each half of the users is ranked with the weights
    that are fitted to the other half. The halves are those of :class:`SelfCheck`, one after the other in its rows. They
    are not fully independent. Six columns are averages of the scorers, weighted by each scorer's NDCG@10 on the other
    half, and users of both halves choose the penalty of the regression. So some columns that a correction is fitted to
    depend a little on held-out items of the half that it then ranks.

    Args:
        check: the self-check of the dataset.
        scores: the network's scores of its candidates, float32 [n_users, n_candidates].

    Returns:
        Weights, float32 [dim], and the result. With a single user the weights are 0, since nobody could measure them.
    """
    scores = scores.cpu()
    # A constant added to a user's scores changes no share, but a large one takes digits from the sums.
    scores = scores - scores.masked_fill(~check.mask, LOWEST).amax(dim=1, keepdim=True)
    users = torch.arange(len(scores))
    first, second = users[: (len(users) + 1) // 2], users[(len(users) + 1) // 2 :]
    cross_fitted = scores.clone()
    for half, others in ((first, second), (second, first)):
        weights = fit_correction(check, scores, others)
        for block in half.split(_BLOCK_USERS):
            cross_fitted[block] = corrected(scores[block], check.features[block].float(), weights)
    return fit_correction(check, scores, users if len(second) else second), check.result(cross_fitted)


class ContentGain(NamedTuple):
    """What content adds to the corrected scores in the self-check.

    Attributes:
        without: NDCG@10 without content.
        with_content: NDCG@10 with content.
        z_score: paired z-score of the difference over the users.
    """

    without: float
    with_content: float
    z_score: float

    @property
    def helps(self) -> bool:
        """Whether content ranks. Contents that pass the join test seldom harm, so no significance is asked for."""
        return self.with_content > self.without


def content_gain(without: CheckResult, with_content: CheckResult) -> ContentGain:
    """Compare results of the same users in the self-check, both with ``by_user``."""
    assert without.by_user is not None and with_content.by_user is not None
    z_score = paired_z_score((with_content.by_user - without.by_user).numpy())
    return ContentGain(without.ndcg, with_content.ndcg, z_score)


def fit_correction(check: SelfCheck, scores: torch.Tensor, users: torch.Tensor) -> torch.Tensor:
    """The weights of the columns that maximise the likelihood of the held-out interactions.

    See :func:`~recbole_universal.list_weights.fitted_weights`, with the penalty :data:`CORRECTION_PENALTY`.

    Args:
        check: the self-check of a dataset.
        scores: the network's scores of its candidates, float32 [n_users, n_candidates].
        users: rows of the self-check to fit to, int64 [n].

    Returns:
        float32 [dim].
    """
    return fitted_weights(Lists(check.features, scores, check.mask, check.label), CORRECTION_PENALTY, users).float()
