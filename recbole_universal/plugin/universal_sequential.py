"""UniversalSequential: a RecBole model that scores the next item of a history, without weights of single ids."""

from __future__ import annotations

from typing import Any

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType

from recbole_universal.features.fields import LIST_LABEL
from recbole_universal.plugin.histories import BatchHistories, check_ids, distinct_rows
from recbole_universal.plugin.universal_model import UniversalModel
from recbole_universal.ranking.list_loss import list_loss


class UniversalSequential(UniversalModel, SequentialRecommender):
    """RecBole model around :class:`~recbole_universal.ranking.ranking_network.RankingNetwork`, family ``sequence``.

    It scores the lists of a batch (``item_id_list``, ``item_length``), of whatever users. Where the training histories
    repeat items, the items of a list are candidates; otherwise they are not. It is trained on candidate lists with
    held-out last items (:mod:`recbole_universal.ranking.candidate_lists`) and the loss ``list_loss``.

    Args:
        config: RecBole ``Config`` with the keys of ``properties/model/UniversalSequential.yaml``.
        dataset: the training dataset, with universal columns.

    Raises:
        ValueError: as :class:`UniversalModel`.
    """

    input_type = InputType.POINTWISE

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self._histories = BatchHistories(config, dataset)
        self._time_field = config["TIME_FIELD"]

    def forward(self, interaction: Any) -> torch.Tensor:
        """Scores of all items for the histories of a batch, float32 [batch_size, n_items]."""
        repeats = self.network.candidate_pairs.repeats
        return self.network.score_histories(self._histories(interaction, repeats), exclude_seen=not repeats)

    def calculate_loss(self, interaction: Any) -> torch.Tensor:
        """Loss of a batch of candidate lists, shape [].

        Raises:
            ValueError: if the batch holds no candidate lists.
        """
        if LIST_LABEL not in interaction:
            raise ValueError(
                "UniversalSequential is trained on candidate lists, which the train_data of RecBole's "
                "data_preparation(config, dataset) holds; this batch has none."
            )
        return list_loss(self.network, interaction.interaction, self.list_loss_name)

    def predict(self, interaction: Any) -> torch.Tensor:
        """Scores of the item of each row, float32 [batch_size]; equal to those of :meth:`full_sort_predict`.

        Raises:
            ValueError: if an id is out of range.
        """
        items = interaction[self.ITEM_ID]
        check_ids(items, self.n_items, self.ITEM_ID)
        # Sampled evaluation asks about many items of one history, which is scored once.
        fields = (self.ITEM_SEQ, self.ITEM_SEQ_LEN, self.USER_ID, self._time_field)
        first, row = distinct_rows(interaction, [field for field in fields if field in interaction] or [self.ITEM_ID])
        return self(interaction[first.cpu()])[row, items]

    def full_sort_predict(self, interaction: Any) -> torch.Tensor:
        """Scores of all items for the histories of a batch, float32 [batch_size * n_items].

        Raises:
            ValueError: if an id is out of range.
        """
        return self(interaction).reshape(-1)

    def best_candidates(self, interaction: Any, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The best candidates of the histories of a batch; see :meth:`UniversalMLP.best_candidates`."""
        repeats = self.network.candidate_pairs.repeats
        return self.network.best_candidates(self._histories(interaction, repeats), k, exclude_seen=not repeats)
