"""Scores of pairs by networks without towers, in few passes over memory."""

from __future__ import annotations

import torch
from torch import nn

from recbole_universal.ranking.network import UniversalNetwork


class PairProducts:
    """The scores of a network that reads pair columns alone, outside of training.

    They equal those of :meth:`UniversalNetwork.forward` but for rounding. All networks share one standardisation where
    they have the same, and all arrays hold one column after the other, as
    :meth:`~recbole_universal.features.candidate_pairs.CandidatePairs.map_lists` gives them.

    Args:
        network: the network. It must not change while this object is in use.
        weights: weight of each column that is added to the scores, float32 [dim]; ``None``: no column is added.
    """

    def __init__(self, network: UniversalNetwork, weights: torch.Tensor | None = None) -> None:
        self._network, self._weights = network, weights
        shares = network.combination_weights.detach().repeat(network.n_networks) / network.n_networks
        self._heads = []
        for family_network, share in zip(network.family_networks(), shares.tolist(), strict=True):
            layers = [layer for layer in family_network.pair_head or () if isinstance(layer, nn.Linear)]
            scale = family_network.pair_mean[:, None], family_network.pair_scale[:, None]
            self._heads.append((scale, [(layer.weight, layer.bias[:, None]) for layer in layers], share))

    @torch.no_grad()
    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Scores of the pairs, float32 [n_users, n_candidates].

        Args:
            features: columns of the pairs, float32 [n_users, n_candidates, dim]. The network reads the first ones, and
                the weights belong to all.

        Raises:
            ValueError: if a score is NaN or infinite.
        """
        columns = features.flatten(0, 1).T
        total = columns.new_zeros(1, columns.shape[1])
        before: tuple[torch.Tensor, torch.Tensor] | None = None
        for (mean, scale), layers, share in self._heads:
            if before is None or not (torch.equal(before[0], mean) and torch.equal(before[1], scale)):
                standard, before = (columns[: len(mean)] - mean).div_(scale), (mean, scale)
            hidden = standard
            for weight, bias in layers[:-1]:
                hidden = torch.addmm(bias, weight, hidden).relu_()
            weight, bias = layers[-1]
            total.add_(torch.addmm(bias, weight, hidden), alpha=share)
        scores = self._network.checked_finite(total[0])
        if self._weights is not None:
            # As `corrected` adds them: unlike a product of matrices, this gives equal pairs equal sums.
            scores = scores + (columns * self._weights[:, None]).sum(dim=0)
        return scores.view(features.shape[:2])
