"""UniversalMLP: a RecBole model that scores items from universal features, without weights of single ids."""

from __future__ import annotations

from typing import Any

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.model.loss import BPRLoss
from recbole.utils import InputType

from recbole_universal.features.fields import LIST_LABEL, column
from recbole_universal.plugin.histories import check_ids
from recbole_universal.plugin.universal_model import UniversalModel
from recbole_universal.ranking.list_loss import list_loss


class UniversalMLP(UniversalModel, GeneralRecommender):
    """RecBole model around :class:`~recbole_universal.ranking.ranking_network.RankingNetwork`.

    Without the family ``proximity`` it is trained pairwise with BPR (Rendle et al., UAI 2009) on RecBole's batches.
    With ``proximity`` it is trained on candidate lists with held-out interactions
    (:mod:`recbole_universal.ranking.candidate_lists`) and the loss ``list_loss``, since the features of a training
    interaction would contain that interaction.

    Args:
        config: RecBole ``Config`` with the keys of ``properties/model/UniversalMLP.yaml``.
        dataset: the training dataset, with universal columns (:mod:`recbole_universal.plugin.dataset`).

    Raises:
        ValueError: as :class:`UniversalModel`.
    """

    input_type = InputType.PAIRWISE

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.loss = BPRLoss()

    def _given_columns(self, interaction: Any, prefix: str = "") -> dict[str, torch.Tensor]:
        """Universal columns that a batch carries, by their name without the prefix of negative items.

        RecBole adds its prefix to the columns of negative items. It stores some floats as [batch_size, dim, 2], where
        the last axis holds a value and an index.
        """
        given = {}
        for family in self.network.families:
            for side, name_prefix in (("user", ""), ("user", prefix), ("item", prefix), ("pair", prefix)):
                name = column(side, family)
                if name_prefix + name in interaction:
                    values = interaction[name_prefix + name]
                    given[name] = values[..., 0] if values.dim() == 3 else values
        return given

    def _score(self, interaction: Any, prefix: str = "") -> torch.Tensor:
        users, items = interaction[self.USER_ID], interaction[prefix + self.ITEM_ID]
        return self.network.score_pairs(users, items, self._given_columns(interaction, prefix))

    def forward(self, interaction: Any) -> torch.Tensor:
        """Scores of the pairs of a batch, float32 [batch_size]."""
        return self._score(interaction)

    def calculate_loss(self, interaction: Any) -> torch.Tensor:
        """Loss of a pairwise batch or of a batch of candidate lists, shape []."""
        if LIST_LABEL in interaction:
            return list_loss(self.network, interaction.interaction, self.list_loss_name)
        return self.loss(
            self._score(interaction), self._score(interaction, prefix=self.NEG_ITEM_ID[: -len(self.ITEM_ID)])
        )

    def predict(self, interaction: Any) -> torch.Tensor:
        """Scores of the pairs of a batch, real numbers, float32 [batch_size]; the best pair has the highest.

        Raises:
            ValueError: if an id is out of range.
        """
        check_ids(interaction[self.USER_ID], self.n_users, self.USER_ID)
        check_ids(interaction[self.ITEM_ID], self.n_items, self.ITEM_ID)
        return self._score(interaction)

    def full_sort_predict(self, interaction: Any) -> torch.Tensor:
        """Scores of all items for the users of a batch, float32 [batch_size * n_items]; equal to ``predict``.

        Raises:
            ValueError: if an id is out of range.
        """
        check_ids(interaction[self.USER_ID], self.n_users, self.USER_ID)
        return self.network.score_all(interaction[self.USER_ID]).reshape(-1)

    def best_candidates(self, interaction: Any, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The best candidates of the users of a batch, without the scores of other items.

        Args:
            interaction: the batch.
            k: number of candidates.

        Returns:
            Item ids int64 [batch_size, k] and scores, as :meth:`RankingNetwork.best_candidates` has them. No other item
            has a higher score in :meth:`full_sort_predict`.

        Raises:
            ValueError: if an id is out of range.
        """
        check_ids(interaction[self.USER_ID], self.n_users, self.USER_ID)
        return self.network.best_candidates(interaction[self.USER_ID], k)
