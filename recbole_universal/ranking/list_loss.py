"""Losses and scores of a network on candidate lists; imports no RecBole.

A batch is a block of :mod:`recbole_universal.ranking.candidate_lists`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch

from recbole_universal.features.fields import LIST_LABEL, LIST_MASK, column
from recbole_universal.ranking.network import UniversalNetwork

#: Names of the losses.
LIST_LOSSES = ("softmax", "BPR")


def list_loss(network: UniversalNetwork, batch: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    """Loss of candidate lists with held-out interactions.

    Args:
        network: the network.
        batch: a block of candidate lists.
        name: ``softmax``: cross-entropy of the held-out items among the candidates (ListNet, Cao et al., ICML 2007);
            ``BPR``: mean over all pairs of a held-out and another candidate (Rendle et al., UAI 2009).

    Returns:
        Mean over the lists and the networks, shape [].
    """
    mask, label = batch[LIST_MASK][..., None], batch[LIST_LABEL][..., None]
    scores = network.each_network(*list_columns(network, batch))  # [n_lists, n_candidates, n_networks]
    if name == "softmax":
        log_share = scores.masked_fill(~mask, -1e9).log_softmax(dim=1)
        return -((log_share * label).sum(dim=1) / label.sum(dim=1).clamp(min=1)).mean()
    difference = scores[:, :, None] - scores[:, None, :]
    pairs = label[:, :, None] & (mask & ~label)[:, None, :]
    losses = torch.nn.functional.softplus(-difference) * pairs
    return (losses.sum(dim=(1, 2)) / pairs.sum(dim=(1, 2)).clamp(min=1)).mean()


def list_scores(network: UniversalNetwork, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Scores of the candidates of a block, float32 [n_lists, n_candidates]; padding has a score too."""
    return network(*list_columns(network, batch))


def list_columns(network: UniversalNetwork, batch: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], ...]:
    """User, item and pair columns of a block by family, as ``UniversalNetwork.forward`` takes them."""
    sides = []
    for side in ("user", "item", "pair"):
        names = {family: column(side, family) for family in network.families}
        sides.append({family: batch[name].float() for family, name in names.items() if name in batch})
    user, item, pair = sides
    return {family: values[:, None] for family, values in user.items()}, item, pair


def refuse_divergence(loss: float, learning_rate: float, weights: Iterable[torch.Tensor] = ()) -> None:
    """Check a loss, and the weights of a network, after a training step.

    Raises:
        ValueError: if the loss or a weight is NaN or infinite.
    """
    if not math.isfinite(loss) or not all(bool(values.isfinite().all()) for values in weights):
        raise ValueError(
            f"learning_rate: the training diverged with {learning_rate}, its loss or weights are NaN or infinite; try "
            "a smaller one."
        )
