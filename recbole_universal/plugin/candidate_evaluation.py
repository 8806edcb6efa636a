"""Evaluation of the universal models by the best candidates of each row, without a score of every item."""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.trainer import Trainer
from recbole.utils import ModelType

from recbole_universal.graph.threads import one_thread
from recbole_universal.plugin.top_items import TopItems, TopItemsCollector, among_pairs
from recbole_universal.plugin.universal_mlp import UniversalMLP
from recbole_universal.plugin.universal_sequential import UniversalSequential
from recbole_universal.plugin.user_candidates import UserCandidates


class CandidateEvaluation(Trainer):
    """RecBole's Trainer, which evaluates a universal model by its best candidates where they decide the metrics.

    RecBole masks the items of a user in a row of scores of all items, and takes the best of the rest. Here the items
    are masked among the candidates, with the same results. RecBole's code ranks a row where candidates tie, or where
    too few of them are left. It ranks every row where a metric, or a subclass of this trainer, reads all scores.
    """

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        self.eval_collector = TopItemsCollector(config)
        self._by_candidates = False
        self._upcoming = torch.zeros(0, dtype=torch.int64)
        self._user_candidates: UserCandidates | None = None

    def evaluate(
        self, eval_data: Any, load_best_model: bool = True, model_file: Any = None, show_progress: bool = False
    ) -> dict[str, float] | None:
        """See RecBole's ``Trainer.evaluate``."""
        if isinstance(eval_data, FullSortEvalDataLoader) and not eval_data.is_sequential:
            self._upcoming = eval_data.uid_list[list(eval_data.sampler)]  # each process has users of its own
        self._by_candidates = self._candidates_suffice()
        try:
            return super().evaluate(eval_data, load_best_model, model_file, show_progress)
        finally:
            self._by_candidates = False  # any other caller of the next method expects scores

    def _full_sort_batch_eval(self, batched_data: tuple) -> tuple:
        if not self._by_candidates:
            return super()._full_sort_batch_eval(batched_data)
        interaction, history_index, *positive = batched_data
        items, scores = self._best_candidates(interaction)
        with one_thread():  # on a busy machine, two threads wait for each other in small operations
            top, is_decided = self._best_left(items, scores, history_index)
        rest = (~is_decided).nonzero()[:, 0]
        if len(rest):
            top[rest] = self._best_of_all(rest.cpu(), interaction, history_index)
        return interaction, TopItems(top, self.tot_item_num), *positive

    def _best_left(
        self, items: torch.Tensor, scores: torch.Tensor, history_index: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The best candidates without those that RecBole masks, int64 [n, max(topk)], and where they are certain."""
        is_complete = scores[:, -1:].isneginf()
        if history_index is not None:
            rows, columns = history_index
            scores = scores.masked_fill(among_pairs(items, rows, columns, self.tot_item_num), -torch.inf)
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        k = max(self.config["topk"])
        # Minus infinity is not above itself, so too few candidates decide nothing.
        is_decided = (scores[:, :k] > scores[:, 1 : k + 1]) & (is_complete | scores[:, k : k + 1].isfinite())
        return items.gather(1, order[:, :k]), is_decided.all(dim=1)

    def _candidates_suffice(self) -> bool:
        """Whether the best candidates are enough for the model, the metrics and a subclass of this trainer."""
        collector, batch_eval = self.eval_collector, self._full_sort_batch_eval
        return (
            type(self.model) in (UniversalMLP, UniversalSequential)  # a subclass may score in a way of its own
            and "full_sort_predict" not in vars(self.model)
            and self.model.network.ranks_candidates
            and isinstance(collector, TopItemsCollector)
            and not collector.needs_all_scores
            # A method of a subclass reads the scores that this one returns.
            and getattr(batch_eval, "__func__", None) is CandidateEvaluation._full_sort_batch_eval
        )

    def _best_candidates(self, interaction: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Best candidates of the rows of a batch, more than the metrics read, and their scores; best first."""
        k = max(self.config["topk"])
        if self.model.type == ModelType.SEQUENTIAL:
            return self.model.best_candidates(interaction.to(self.device), k + 1)
        if self._user_candidates is None or not self._user_candidates.is_valid:
            self._user_candidates = UserCandidates(self.model, 2 * k + 16)  # RecBole masks some of them
        return self._user_candidates.of(interaction[self.model.USER_ID], self._upcoming)

    def _best_of_all(self, rows: torch.Tensor, interaction: Any, history_index: Any) -> torch.Tensor:
        """The best items of some rows of a batch by RecBole's own code, int64 [n_rows, max(topk)]."""
        if history_index is not None:
            index = torch.full((len(interaction),), -1)
            index[rows] = torch.arange(len(rows))
            history_rows, history_items = history_index
            is_asked = index[history_rows] >= 0
            history_index = index[history_rows[is_asked]], history_items[is_asked]
        _, scores, *_ = super()._full_sort_batch_eval((interaction[rows], history_index, None, None))
        return scores.topk(max(self.config["topk"]), dim=-1).indices
