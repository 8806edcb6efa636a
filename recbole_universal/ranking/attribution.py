"""Attribution: how much each scorer and each feature family contributes to the score of an item."""

from __future__ import annotations

import numpy as np
import torch

from recbole_universal.features.candidate_columns import column_groups
from recbole_universal.features.candidates import Candidates
from recbole_universal.graph.allowed_items import AllowedItems
from recbole_universal.graph.histories import Histories
from recbole_universal.ranking.ranking_network import RankingNetwork


@torch.no_grad()
def contributions(
    network: RankingNetwork, lists: Candidates, columns: list[dict[str, torch.Tensor]]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Contribution of each scorer and each other family to the score of each candidate.

    The method is occlusion. The columns of one group are replaced by their mean over the user's candidates, and the
    contribution of the group is the loss of score. Groups share information, so contributions do not add up to the
    score.

    Args:
        network: a network with the features of a dataset.
        lists: candidates, [n, n_candidates].
        columns: their user, item and pair columns by family.

    Returns:
        Scores of the candidates before the softmax over the list, float32 [n, n_candidates]. Contributions by group,
        of that shape and in the unit of the scores.
    """
    whole = network.candidate_scores(columns)
    candidate_family = str(network.candidate_family)
    groups: dict[str, tuple[str, list[int] | slice]] = {
        name: (candidate_family, indices)
        for name, indices in column_groups(network.candidate_pairs.scorers.names).items()
    }
    n_read, pairs = network.pairs(candidate_family).dim, network.candidate_pairs
    if pairs.dim > n_read:
        groups["content"] = candidate_family, list(range(n_read, pairs.dim))
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
    return whole, by_group


def attribution(
    network: RankingNetwork, asked: int | Histories, k: int, allowed: AllowedItems | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The best candidates of a user or of one history, and the share of each group in their scores.

    Args:
        network: a network with the features of a dataset.
        asked: user id of the dataset, or one history of item ids.
        k: length of the list.
        allowed: item ids that may be candidates; ``None``: all may.

    Returns:
        Item ids, int64 [at most k], best first. By group its contribution divided by the sum of the absolute
        contributions of all groups, in [-1, 1]; negative where it lowers the score.

    Raises:
        ValueError: if the model does not rank candidates, or cannot rank histories.
    """
    if not network.ranks_candidates:
        raise ValueError("Only a model with the family [proximity] or [sequence] can be explained.")
    exclude_seen = not network.candidate_pairs.repeats
    if isinstance(asked, Histories):
        lists, columns = network.history_columns(asked, exclude_seen, allowed)
    else:
        users = torch.tensor([asked], device=network.device)
        lists, columns = network.candidate_columns(users, exclude_seen, allowed)
    scores, by_group = contributions(network, lists, columns)
    items = lists.items[0]
    order = torch.where(items >= 0, scores[0], -torch.inf).argsort(descending=True, stable=True)
    order = order[items[order] >= 0][:k]
    effects = torch.stack([values[0, order] for values in by_group.values()])
    shares = (effects / effects.abs().sum(dim=0).clamp(min=1e-12)).cpu().numpy()
    return items[order].cpu().numpy(), dict(zip(by_group, shares, strict=True))
