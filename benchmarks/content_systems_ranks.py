"""What single test users get, for the benchmarks of systems: ranks, hits, differences with their standard errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction

K = 10


@torch.no_grad()
def ranks(model: Any, pairs: list, code: dict[str, int], among: torch.Tensor | None = None) -> np.ndarray:
    """Rank of the target of each pair of a history and a target, from 0; ties count half of the tied items.

    Args:
        model: a UniversalSASRec.
        pairs: items of a history, oldest first, and the target.
        code: RecBole's index of each item.
        among: items that are ranked; ``None``: all.
    """
    model.eval()
    longest, found = model.max_seq_length, []
    for start in range(0, len(pairs), 512):
        block = pairs[start : start + 512]
        lists = torch.zeros(len(block), longest, dtype=torch.int64)
        for row, (items, _) in enumerate(block):
            last = [code[item] for item in items[-longest:]]
            lists[row, : len(last)] = torch.tensor(last)
        lengths = (lists > 0).sum(dim=1)
        scores = model.full_sort_predict(Interaction({"item_id_list": lists, "item_length": lengths}))
        target = scores.gather(1, torch.tensor([[code[item]] for _, item in block]))
        others = scores if among is None else scores[:, among]
        above = (others > target).sum(dim=1) + ((others == target).sum(dim=1) - 1) / 2
        found.append(above.numpy())
    return np.concatenate(found)


def hits(model: Any, histories: Iterable[Sequence[str]], code: dict[str, int]) -> dict[str, float]:
    """The rank of the last item of each history, by the index of the history; only those among the first K."""
    found = ranks(model, [(items[:-1], items[-1]) for items in histories], code)
    return {str(index): float(rank) for index, rank in enumerate(found) if rank < K}


def gains(found: dict[str, float], n_users: int) -> np.ndarray:
    """NDCG@10 of each user out of :func:`hits`, float64 [n_users]."""
    values = np.zeros(n_users)
    for index, rank in found.items():
        values[int(index)] = 1 / np.log2(rank + 2)
    return values


def difference(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """Mean of the difference of the same users, and its standard error."""
    each = ours - theirs
    return float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))
