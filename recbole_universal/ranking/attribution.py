"""Attribution: how much each scorer and each feature family contributes to the score of an item."""

from __future__ import annotations

import numpy as np
import torch

from recbole_universal.features.candidate_columns import column_groups
from recbole_universal.graph.allowed_items import AllowedItems
from recbole_universal.ranking.ranking_network import RankingNetwork


@torch.no_grad()
def contributions(
    network: RankingNetwork, users: torch.Tensor, allowed: AllowedItems | None = None
) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Contribution of each scorer and each other family to the score of each candidate.

    The method is occlusion. The columns of one group are replaced by their mean over the user's candidates, and the
    contribution of the group is the loss of score. Groups share information, so contributions do not add up to the
    score.

    Args:
        network: a network with the features of a dataset.
        users: user ids of the dataset, int64 [n].
        allowed: item ids that may be candidates; ``None``: all may.

    Returns:
        Candidates, int64 [n, n_candidates], -1 for none. Their scores before the softmax over the list, float32 of
        that shape. Contributions by group, of that shape and in the unit of the scores.

    Raises:
        ValueError: if the model does not rank candidates.
    """
    if not network.ranks_candidates:
        raise ValueError("Only a model with the family [proximity] or [sequence] can be explained.")
    lists, columns = network.candidate_columns(users, not network.candidate_pairs.repeats, allowed)
    whole = network.candidate_scores(columns)
    candidate_family = str(network.candidate_family)
    groups: dict[str, tuple[str, list[int] | slice]] = {
        name: (candidate_family, indices)
        for name, indices in column_groups(network.candidate_pairs.scorers.names).items()
    }
    others = [family for family in network.families if family != candidate_family]
    groups |= {f"family {family}": (family, slice(None)) for family in others}
    by_group = {}
    for name, (family, indices) in groups.items():
        changed = [dict(side) for side in columns]
        for side in changed:
            if family in side and side[family].shape[-1]:
                values = side[family].expand(*lists.items.shape, -1).clone()
                mean = (values * lists.mask[..., None]).sum(dim=1) / lists.mask.sum(dim=1).clamp(min=1)[:, None]
                values[..., indices] = mean[:, None, indices].expand_as(values[..., indices])
                side[family] = values
        by_group[name] = whole - network.candidate_scores(changed)
    return lists.items, whole, by_group


def attribution(
    network: RankingNetwork, user: int, k: int, allowed: AllowedItems | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The best candidates of a user, and the share of each group in their scores.

    Args:
        network: a network with the features of a dataset.
        user: user id of the dataset.
        k: length of the list.
        allowed: as of :func:`contributions`.

    Returns:
        Item ids, int64 [at most k], best first. By group its contribution divided by the sum of the absolute
        contributions of all groups, in [-1, 1]; negative where it lowers the score.

    Raises:
        ValueError: if the model does not rank candidates.
    """
    items, scores, by_group = contributions(network, torch.tensor([user], device=network.device), allowed)
    order = torch.where(items[0] >= 0, scores[0], -torch.inf).argsort(descending=True, stable=True)
    order = order[items[0][order] >= 0][:k]
    effects = torch.stack([values[0, order] for values in by_group.values()])
    shares = (effects / effects.abs().sum(dim=0).clamp(min=1e-12)).cpu().numpy()
    return items[0, order].cpu().numpy(), dict(zip(by_group, shares, strict=True))
