"""UniversalMLP: a recommender that knows users and items by their universal features alone."""

from __future__ import annotations

import json

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.model.loss import BPRLoss
from recbole.utils import InputType

from recbole_universal.features.fields import LIST_LABEL, LIST_MASK, column
from recbole_universal.plugin.pretrained_model import pretrained_model
from recbole_universal.ranking.scorer import UniversalScorer

TRAIN_STAGES = ("in_domain", "zero_shot", "finetune")
LIST_LOSSES = ("softmax", "BPR")
NETWORK_KEYS = ("mlp_hidden_size", "embedding_size", "dropout_prob", "feature_combination", "n_networks")


class UniversalMLP(GeneralRecommender):
    """RecBole model around :class:`~recbole_universal.ranking.scorer.UniversalScorer`.

    Trained pairwise with BPR (Rendle et al., UAI 2009) on RecBole's own batches; with the family ``proximity``, whose
    columns would show a training interaction itself, on candidate lists of hidden interactions
    (:mod:`recbole_universal.plugin.support_query`) with the loss ``list_loss``.

    Args:
        config: RecBole ``Config`` with the keys of ``properties/model/UniversalMLP.yaml``.
        dataset: The training part, with universal columns (:mod:`recbole_universal.plugin.dataset`).

    Raises:
        ValueError: If a key is out of range, the data set has no universal columns, or a checkpoint of another
            feature schema is loaded.
    """

    input_type = InputType.PAIRWISE

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        features = getattr(dataset, "universal", None)
        if features is None:
            raise ValueError(
                "UniversalMLP needs a data set with universal columns. Build it after `import recbole_universal` with "
                "RecBole's create_dataset(config) and data_preparation(config, dataset)."
            )
        if max(config["topk"]) > dataset.item_num:
            raise ValueError(
                f"topk: {config['topk']} asks for more items than the data set has ({dataset.item_num - 1} and the "
                f"padding item); valid: 1 to {dataset.item_num}."
            )
        self.train_stage = config["train_stage"]
        if self.train_stage == "pretrain":
            raise ValueError(
                "train_stage: pretrain trains on many data sets and not by RecBole's run_recbole; call "
                "recbole_universal.pretrain(...) or run_recbole_universal.py --train_stage=pretrain."
            )
        self.list_loss_name = config["list_loss"]
        self.schema = features.schema
        self.scorer = UniversalScorer(dataset.universal_pipeline.dims, *(config[key] for key in NETWORK_KEYS))
        self.loss = BPRLoss()
        if self.train_stage != "in_domain":
            self._load_pretrained(config["pretrained"])
            if self.train_stage == "finetune" and config["finetune_parameters"] == "head":
                _freeze_all_but_last_layers(self.scorer)
        self.scorer.attach(features)

    def _load_pretrained(self, name: str) -> None:
        pretrained = pretrained_model(name)
        refuse_other_schema(pretrained.schema["features"], self.schema, f"pretrained: [{name}]")
        self.scorer.load_state_dict(pretrained.state_dict)

    def _given(self, interaction, prefix: str = "") -> dict[str, torch.Tensor]:
        """Universal columns that the batch itself carries."""
        given = {}
        for family in self.scorer.families:
            for side, name_prefix in (("user", ""), ("user", prefix), ("item", prefix), ("pair", prefix)):
                name = column(side, family)
                if name_prefix + name in interaction:
                    values = interaction[name_prefix + name]
                    given[name] = values[..., 0] if values.dim() == 3 else values
        return given

    def _score(self, interaction, prefix: str = "") -> torch.Tensor:
        users, items = interaction[self.USER_ID], interaction[prefix + self.ITEM_ID]
        return self.scorer.score_pairs(users, items, self._given(interaction, prefix))

    def forward(self, interaction) -> torch.Tensor:
        """Scores of the pairs of a batch, shape [batch_size]."""
        return self._score(interaction)

    def calculate_loss(self, interaction) -> torch.Tensor:
        """Loss of a pairwise batch or of a batch of candidate lists, shape []."""
        if LIST_LABEL in interaction:
            return list_loss(self.scorer, interaction, self.list_loss_name)
        return self.loss(
            self._score(interaction), self._score(interaction, prefix=self.NEG_ITEM_ID[: -len(self.ITEM_ID)])
        )

    def predict(self, interaction) -> torch.Tensor:
        """Scores of the pairs of a batch (real numbers, higher is better), shape [batch_size].

        Raises:
            ValueError: If an id is not one of the data set.
        """
        check_ids(interaction[self.USER_ID], self.n_users, self.USER_ID)
        check_ids(interaction[self.ITEM_ID], self.n_items, self.ITEM_ID)
        return self._score(interaction)

    def full_sort_predict(self, interaction) -> torch.Tensor:
        """Scores of all items for the users of a batch, shape [batch_size * n_items]; the same as ``predict``'s.

        Raises:
            ValueError: If an id is not one of the data set.
        """
        check_ids(interaction[self.USER_ID], self.n_users, self.USER_ID)
        return self.scorer.score_all(interaction[self.USER_ID]).reshape(-1)

    def get_extra_state(self) -> str:
        """The feature schema, kept in ``state_dict`` so that a checkpoint knows what it was trained on."""
        return json.dumps(self.schema, sort_keys=True)

    def set_extra_state(self, state: str) -> None:
        """Refuse weights of another feature schema."""
        refuse_other_schema(json.loads(state), self.schema, "The checkpoint")


def check_ids(ids: torch.Tensor, number: int, field: str) -> None:
    """Look whether internal ids are in range: an index of -1 would be answered with the scores of the last one.

    Raises:
        ValueError: If one is not.
    """
    if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= number):
        wrong = ids[(ids < 0) | (ids >= number)][0]
        raise ValueError(f"{field}: internal ids go from 0 (padding) to {number - 1}, got {int(wrong)}.")


def refuse_other_schema(saved: dict, schema: dict, what: str) -> None:
    """Compare the feature schemas of weights and data set.

    Raises:
        ValueError: If they differ, with both.
    """
    if saved["schema_hash"] != schema["schema_hash"]:
        raise ValueError(
            f"{what} was trained on other universal features than this config describes.\n"
            f"weights: {_described(saved)}\nconfig:  {_described(schema)}\n"
            "Set universal_features and universal_feature_args to those of the weights, or train anew."
        )


def list_loss(scorer: UniversalScorer, batch, name: str) -> torch.Tensor:
    """Loss of candidate lists with hidden interactions.

    Args:
        scorer: The network.
        batch: Columns of :mod:`recbole_universal.plugin.support_query`, one row a user.
        name: ``softmax``: cross-entropy of the hidden items among the candidates (listwise; ListNet, Cao et al., ICML
            2007); ``BPR``: mean over all pairs of a hidden and another candidate.

    Returns:
        Mean over the lists and the networks, shape [].
    """
    columns = list_columns(scorer, batch)
    mask, label = batch[LIST_MASK][..., None], batch[LIST_LABEL][..., None]
    values = scorer.each_network(*columns)  # [n_users, n_candidates, n_networks]
    hidden = label.sum(dim=1).clamp(min=1)
    if name == "softmax":
        log_share = values.masked_fill(~mask, -1e9).log_softmax(dim=1)
        return -((log_share * label).sum(dim=1) / hidden).mean()
    other = mask & ~label
    difference = values[:, :, None] - values[:, None, :]
    pairs = label[:, :, None] & other[:, None, :]
    losses = torch.nn.functional.softplus(-difference) * pairs
    return (losses.sum(dim=(1, 2)) / pairs.sum(dim=(1, 2)).clamp(min=1)).mean()


def list_scores(scorer: UniversalScorer, batch) -> torch.Tensor:
    """Scores of candidate lists, float32 [n_users, n_candidates]."""
    return scorer(*list_columns(scorer, batch))


def list_columns(scorer: UniversalScorer, batch) -> tuple[dict[str, torch.Tensor], ...]:
    """User, item and pair columns of a batch of lists, by family, as ``UniversalScorer.forward`` takes them."""
    sides = []
    for side in ("user", "item", "pair"):
        names = {family: column(side, family) for family in scorer.families}
        sides.append({family: batch[name].float() for family, name in names.items() if name in batch})
    user, item, pair = sides
    return {family: values[:, None] for family, values in user.items()}, item, pair


def _freeze_all_but_last_layers(scorer: UniversalScorer) -> None:
    for parameter in scorer.parameters():
        parameter.requires_grad_(False)
    scorer.combination_logits.requires_grad_(True)
    for name, network in scorer.named_modules():
        if name.endswith(("user_tower", "item_tower", "pair_head")):
            list(network.children())[-1].requires_grad_(True)


def _described(schema: dict) -> str:
    return json.dumps({key: value for key, value in schema.items() if key != "schema_hash"}, sort_keys=True)
