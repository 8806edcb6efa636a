"""What the universal models of RecBole share: the stages, the network with the features of a dataset, the schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from recbole_universal.plugin.pretrained_model import pretrained_model
from recbole_universal.ranking.network import UniversalNetwork
from recbole_universal.ranking.ranking_network import RankingNetwork

if TYPE_CHECKING:  # the base class of the mixin
    from recbole.model.abstract_recommender import AbstractRecommender as _Base
else:
    _Base = object

#: Values of ``train_stage`` for a run of RecBole.
TRAIN_STAGES = ("in_domain", "zero_shot", "finetune")
#: Names of the models that have these stages.
UNIVERSAL_MODELS = ("UniversalMLP", "UniversalSequential")
#: Config keys of the network, in the order of the arguments of ``UniversalNetwork``.
NETWORK_KEYS = ("mlp_hidden_size", "embedding_size", "dropout_prob", "feature_combination", "n_networks")


class UniversalModel(_Base):
    """Mixin for a class of RecBole models around a :class:`RankingNetwork`.

    Args:
        config: RecBole ``Config`` with the keys of the model's yaml file in ``properties/model``.
        dataset: the training dataset, with universal columns (:mod:`recbole_universal.plugin.dataset`).

    Attributes:
        schema: the schema of the dataset's features.
        train_stage: the key.
        list_loss_name: the key ``list_loss``.

    Raises:
        ValueError: if a key is out of range, the dataset has no universal columns, or the features of ``pretrained``
            differ from those of the config.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        features = getattr(dataset, "universal", None)
        if features is None:
            raise ValueError(
                f"{type(self).__name__} needs a dataset with universal columns. Build it after `import "
                "recbole_universal` with RecBole's create_dataset(config) and data_preparation(config, dataset)."
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

    def get_extra_state(self) -> str:
        """The feature schema as JSON; it is part of ``state_dict``, so a checkpoint holds it."""
        return json.dumps(self.schema, sort_keys=True)

    def set_extra_state(self, state: str) -> None:
        """Check the feature schema of a checkpoint.

        Raises:
            ValueError: if it is another schema than that of the dataset.
        """
        refuse_other_schema(json.loads(state), self.schema, "The checkpoint")


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
