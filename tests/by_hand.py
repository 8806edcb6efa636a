"""Metrics of a model on one of RecBole's loaders, counted from its scores without RecBole's collector and metrics."""

from __future__ import annotations

import dense_reference as dense
import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader


@torch.no_grad()
def assert_ndcg(value: float, model, loader, k: int = 10) -> None:
    """Check the mean NDCG@k over the rows of a loader, of full ranking or of sampled negatives, to RecBole's 4 digits.

    Items with equal scores may be in any order. So the NDCG lies between that of the order that puts the relevant ones
    last, and that of the order that puts them first.
    """
    model.eval()
    n_items = loader._dataset.item_num
    bounds = []
    for batch in loader:
        interaction, where, *positive = batch
        if isinstance(loader, FullSortEvalDataLoader):
            scores = model.full_sort_predict(interaction).view(-1, n_items).numpy().astype(float)
            if where is not None:
                scores[where] = -np.inf
        else:
            scores = np.full((int(positive[0][-1]) + 1, n_items), -np.inf)
            scores[where.numpy(), interaction[model.ITEM_ID].numpy()] = model.predict(interaction).numpy()
        scores[:, 0] = -np.inf
        relevant: dict[int, set[int]] = {}
        for row, item in zip(*(column.tolist() for column in positive), strict=True):
            relevant.setdefault(row, set()).add(item)
        for row, items in relevant.items():
            relevant = np.isin(np.arange(n_items), list(items))
            orders = (np.lexsort((first * relevant, -scores[row]))[:k] for first in (1, -1))
            bounds.append([dense.ndcg(relevant[order], len(items), k) for order in orders])
    least, most = np.mean(bounds, axis=0)
    assert least - 6e-5 <= value <= most + 6e-5


@torch.no_grad()
def auc(model, loader) -> float:
    """Share of the pairs of a positive and a negative row of a loader in correct order by a model; a tie is half."""
    model.eval()
    labels, scores = [], []
    for batch in loader:
        labels += batch[0][model.LABEL].tolist()
        scores += model.predict(batch[0]).tolist()
    labels, scores = np.array(labels) > 0, np.array(scores)
    difference = scores[labels][:, None] - scores[~labels]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())
