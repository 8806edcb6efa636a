"""Contrastive learning of user vectors: two halves of one history belong together.

The loss is the symmetric one of Radford et al., *Learning Transferable Visual Models From Natural Language
Supervision*, ICML 2021. CLUE (Shin et al., *Scaling Law for Recommendation Models: Towards General-purpose User
Representations*, AAAI 2023) contrasts the histories of one user in different services with those of other users.
"""

from __future__ import annotations

import torch
from torch.nn import functional

#: Divides the cosines. A small value makes the nearest other users count most.
TEMPERATURE = 0.1


def halves(items: torch.Tensor, lengths: torch.Tensor, generator: torch.Generator) -> list[torch.Tensor]:
    """Two disjoint halves of each history, each in the order of the history.

    Args:
        items: histories, int64 [n, longest]; zeros after the last item.
        lengths: their lengths, int64 [n]; each at least 2.
        generator: draws the half of each item. It belongs to the CPU.

    Returns:
        Items and lengths of the first halves, and of the second ones, with [n, (longest + 1) // 2] items. Of an odd
        number the first half has one more.
    """
    longest = items.shape[1]
    inside = torch.arange(longest, device=items.device) < lengths[:, None]
    draw = torch.rand(items.shape, generator=generator).to(items.device).masked_fill(~inside, 2.0)
    rank = draw.argsort(dim=1).argsort(dim=1)
    first = inside & (rank < (lengths[:, None] + 1) // 2)
    return [tensor for chosen in (first, inside & ~first) for tensor in (_packed(items, chosen), chosen.sum(dim=1))]


def _packed(items: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The chosen items of each row at its beginning, zeros behind them."""
    order = (~chosen).to(torch.int8).argsort(dim=1, stable=True)
    return (items * chosen).gather(1, order[:, : (items.shape[1] + 1) // 2])


def user_contrast(
    first: torch.Tensor, second: torch.Tensor, users: torch.Tensor, temperature: float = TEMPERATURE
) -> torch.Tensor:
    """Symmetric cross-entropy of finding the other half of a row among all rows of the batch, shape [].

    Other rows of the same user are neither right nor wrong, so they do not count.

    Args:
        first: vectors of one half of each row, float32 [n, dim].
        second: vectors of the other halves, float32 [n, dim].
        users: the user of each row, [n].
        temperature: divides the cosines, above 0.
    """
    cosines = functional.normalize(first, dim=1) @ functional.normalize(second, dim=1).T / temperature
    rows = torch.arange(len(users), device=users.device)
    cosines = cosines.masked_fill((users[:, None] == users) & (rows[:, None] != rows), -torch.inf)
    return (functional.cross_entropy(cosines, rows) + functional.cross_entropy(cosines.T, rows)) / 2
