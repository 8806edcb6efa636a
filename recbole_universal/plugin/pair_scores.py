"""Scores of all items from a model that scores pairs only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def pair_scores(predict: Callable[[Any], torch.Tensor], rows: Any, items: Any, batch_size: int) -> torch.Tensor:
    """Scores of all items for the users or histories of a batch, float32 [n_rows, n_items].

    Args:
        predict: ``predict`` of a RecBole model.
        rows: the batch.
        items: features of all items, as ``get_item_feature()`` of a dataset returns.
        batch_size: pairs at a time; at least all items of one row.
    """
    block = max(1, batch_size // len(items))
    scores = []
    for start in range(0, len(rows), block):
        some = rows[start : start + block]
        pairs = some.repeat_interleave(len(items))
        pairs.update(items.repeat(len(some)))
        scores.append(predict(pairs).view(len(some), -1).float())
    return torch.cat(scores)
