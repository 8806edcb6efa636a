"""UniversalMLP: a RecBole model that scores items from universal features, without weights of single ids."""

from __future__ import annotations

import json
from typing import Any, cast

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.model.loss import BPRLoss
from recbole.utils import InputType

from recbole_universal.features.fields import LIST_LABEL, column
from recbole_universal.plugin.pretrained_model import pretrained_model
from recbole_universal.ranking.list_loss import list_loss
from recbole_universal.ranking.network import UniversalNetwork
from recbole_universal.ranking.ranking_network import RankingNetwork

#: Values of ``train_stage`` for a run of RecBole.
TRAIN_STAGES = ("in_domain", "zero_shot", "finetune")
#: Config keys of the network, in the order of the arguments of ``UniversalNetwork``.
NETWORK_KEYS = ("mlp_hidden_size", "embedding_size", "dropout_prob", "feature_combination", "n_networks")


class UniversalMLP(GeneralRecommender):
    """RecBole model around :class:`~recbole_universal.ranking.ranking_network.RankingNetwork`.

    Without the family ``proximity`` it is trained pairwise with BPR (Rendle et al., UAI 2009) on RecBole's batches.
    With ``proximity`` it is trained on candidate lists with held-out interactions
    (:mod:`recbole_universal.ranking.candidate_lists`) and the loss ``list_loss``, since the features of a training
    interaction would contain that interaction.

    Args:
        config: RecBole ``Config`` with the keys of ``properties/model/UniversalMLP.yaml``.
        dataset: the training dataset, with universal columns (:mod:`recbole_universal.plugin.dataset`).

    Attributes:
        schema: the schema of the dataset's features.

    Raises:
        ValueError: if a key is out of range, the dataset has no universal columns, or the features of ``pretrained``
            differ from those of the config.
    """

    input_type = InputType.PAIRWISE

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        features = getattr(dataset, "universal", None)
        if features is None:
            raise ValueError(
                "UniversalMLP needs a dataset with universal columns. Build it after `import recbole_universal` with "
                "RecBole's create_dataset(config) and data_preparation(config, dataset)."
            )
        if max(config["topk"]) > dataset.item_num:
            raise ValueError(
                f"topk: {config['topk']} asks for more items than the dataset has ({dataset.item_num - 1} and the "
                f"padding item); valid: 1 to {dataset.item_num}."
            )
        self.train_stage = config["train_stage"]
        if self.train_stage == "pretrain":
            raise ValueError(
                "train_stage: pretrain trains on many datasets and not by RecBole's run_recbole; call "
                "recbole_universal.pretrain(...) or run_recbole_universal.py --train_stage=pretrain."
            )
        self.list_loss_name = config["list_loss"]
        self.schema = features.schema
        # In checkpoints the network has the key "scorer". It is none of the graph scorers.
        self.add_module(
            "scorer", RankingNetwork(dataset.universal_pipeline.dims, *(config[key] for key in NETWORK_KEYS))
        )
        self.loss = BPRLoss()
        if self.train_stage != "in_domain":
            self._load_pretrained(config["pretrained"])
            if self.train_stage == "finetune" and config["finetune_parameters"] == "head":
                _freeze_all_but_last_layers(self.network)
        self.network.attach(features)

    @property
    def network(self) -> RankingNetwork:
        """The network, with the features of the dataset attached."""
        return cast(RankingNetwork, self.get_submodule("scorer"))

    def _load_pretrained(self, name: str) -> None:
        pretrained = pretrained_model(name)
        refuse_other_schema(pretrained.schema["features"], self.schema, f"pretrained: [{name}]")
        self.network.load_state_dict(pretrained.state_dict)

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

    def get_extra_state(self) -> str:
        """The feature schema as JSON; it is part of ``state_dict``, so a checkpoint holds it."""
        return json.dumps(self.schema, sort_keys=True)

    def set_extra_state(self, state: str) -> None:
        """Check the feature schema of a checkpoint.

        Raises:
            ValueError: if it is another schema than that of the dataset.
        """
        refuse_other_schema(json.loads(state), self.schema, "The checkpoint")


def check_ids(ids: torch.Tensor, n_ids: int, field: str) -> None:
    """Check the range of internal ids; an id of -1 would get the scores of the last id.

    Args:
        ids: int64 of any shape.
        n_ids: number of internal ids, with padding.
        field: field of the ids, for the message.

    Raises:
        ValueError: if an id is out of range.
    """
    if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= n_ids):
        wrong = ids[(ids < 0) | (ids >= n_ids)][0]
        raise ValueError(f"{field}: internal ids go from 0 (padding) to {n_ids - 1}, got {int(wrong)}.")


def refuse_other_schema(saved: dict, schema: dict, what: str) -> None:
    """Compare the feature schema of weights with that of a dataset.

    Args:
        saved: schema of the weights.
        schema: schema of the dataset.
        what: name of the weights, the subject of the message.

    Raises:
        ValueError: if they differ, with both schemas.
    """
    if saved["schema_hash"] != schema["schema_hash"]:
        raise ValueError(
            f"{what} was trained on other universal features than this config describes.\n"
            f"weights: {_described(saved)}\nconfig:  {_described(schema)}\n"
            "Set universal_features and universal_feature_args to those of the weights, or train anew."
        )


def _freeze_all_but_last_layers(network: UniversalNetwork) -> None:
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    network.combination_logits.requires_grad_(True)
    for name, module in network.named_modules():
        if name.endswith(("user_tower", "item_tower", "pair_head")):
            list(module.children())[-1].requires_grad_(True)


def _described(schema: dict) -> str:
    return json.dumps({key: value for key, value in schema.items() if key != "schema_hash"}, sort_keys=True)
