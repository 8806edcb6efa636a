"""The best items of the rows of an evaluation batch, which RecBole's Collector takes in place of all scores."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from recbole.evaluator import Collector
from recbole.evaluator.register import metric_information

from recbole_universal.graph.threads import one_thread

#: What a metric may need of a run so that the best items suffice.
_SUFFICIENT = {"rec.items", "rec.topk", "data.num_items", "data.num_users", "data.count_items", "data.count_users"}


class TopItems(NamedTuple):
    """The best items of the rows of a batch.

    Attributes:
        items: item ids, best first, int64 [batch_size, max(topk)].
        n_items: number of item ids, with padding.
    """

    items: torch.Tensor
    n_items: int


class TopItemsCollector(Collector):
    """RecBole's Collector, which also takes :class:`TopItems`. It then holds what it makes of all scores.

    Args:
        config: RecBole ``Config``.
    """

    @property
    def needs_all_scores(self) -> bool:
        """Whether a metric reads more than the best items, as GAUC does."""
        return any(set(metric_information[metric]) - _SUFFICIENT for metric in self.register.metrics)

    def eval_batch_collect(
        self, scores_tensor: Any, interaction: Any, positive_u: torch.Tensor, positive_i: torch.Tensor
    ) -> None:
        """See RecBole's ``Collector.eval_batch_collect``; ``scores_tensor`` may be :class:`TopItems`."""
        if not isinstance(scores_tensor, TopItems):
            super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
            return
        with one_thread():
            self._collect_top(scores_tensor, positive_u, positive_i)

    def _collect_top(self, top: TopItems, positive_u: torch.Tensor, positive_i: torch.Tensor) -> None:
        items, n_items = top
        if self.register.need("rec.items"):
            self.data_struct.update_tensor("rec.items", items)
        if self.register.need("rec.topk"):
            hits = among_pairs(items, positive_u, positive_i, n_items)
            pairs = (positive_u * n_items + positive_i).unique().to(items.device)
            counts = (pairs // n_items).bincount(minlength=len(items))
            self.data_struct.update_tensor("rec.topk", torch.cat([hits.long(), counts[:, None]], dim=1))


def among_pairs(items: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, n_items: int) -> torch.Tensor:
    """Whether the items of each row are among some pairs of a row and an item, bool [n, k].

    Args:
        items: item ids of each row, int64 [n, k]; -1 stands for no item.
        rows: row of each pair, int64 [n_pairs].
        columns: item id of each pair, int64 [n_pairs].
        n_items: number of item ids.
    """
    pairs = (rows * n_items + columns).to(items.device)
    keys = torch.arange(len(items), device=items.device)[:, None] * n_items + items
    return torch.isin(keys, pairs) & (items >= 0)
