"""UniversalMLP: a recommender that knows users and items by their universal features alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import cast

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.model.layers import MLPLayers
from recbole.model.loss import BPRLoss
from recbole.utils import InputType
from torch import nn

from recbole_universal.data.fields import column

COMBINATIONS = ("concatenation", "interpolation")
# Upper bound on the floats of one block of pair features in full ranking (256 MB).
_BLOCK_FLOATS = 2**26


class UniversalMLP(GeneralRecommender):
    r"""Scores a user-item pair from universal features; it has no weight that belongs to a user or an item.

    With ``feature_combination: concatenation`` the features of all families enter one scorer

    .. math:: s(u, i) = f(x_u)^\top g(x_i) + h(x_{ui})

    with MLPs f (user tower), g (item tower) and h (pair head). With ``interpolation`` each family has its own scorer
    and :math:`s = \sum_k w_k s_k` with learned weights w on the simplex. Trained with BPR (Rendle et al., 2009).
    Source: Wang et al., arXiv 2309.01188; the two combinations are its Eq. 11 and its alternative; layer sizes and the
    tower form are this project's choice (docs/method.md).

    Args:
        config: RecBole ``Config`` with the keys of ``properties/model/UniversalMLP.yaml``.
        dataset: The training part, with universal columns (:mod:`recbole_universal.data.dataset`).

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
        sizes = _checked_sizes(config)
        self.dropout_prob = _checked_dropout(config["dropout_prob"])
        self.schema = features.schema
        self.families = list(features)
        dims = dataset.universal_pipeline.dims
        combination = config["feature_combination"]
        if combination not in COMBINATIONS:
            raise ValueError(f"feature_combination: must be one of {list(COMBINATIONS)}, got {combination!r}.")
        groups = [self.families] if combination == "concatenation" else [[family] for family in self.families]
        self.scorers = nn.ModuleList(_FamilyScorer(group, dims, sizes, self.dropout_prob) for group in groups)
        self.combination_logits = nn.Parameter(torch.zeros(len(groups)))
        self.loss = BPRLoss()
        self._add_tables(features)

    def _add_tables(self, features) -> None:
        # Not persistent: they belong to the data set, and a checkpoint must fit any data set.
        for family, values in features.items():
            self.register_buffer(column("user", family), torch.as_tensor(values.user).float(), persistent=False)
            self.register_buffer(column("item", family), torch.as_tensor(values.item).float(), persistent=False)
        self._pairs = {family: values.pair for family, values in features.items() if values.pair is not None}

    @property
    def combination_weights(self) -> torch.Tensor:
        """Weights of the scorers, on the simplex, shape [n_scorers]."""
        return torch.softmax(self.combination_logits, dim=0)

    def _columns(self, side: str, family: str, ids: torch.Tensor, interaction=None, prefix: str = "") -> torch.Tensor:
        """Columns of the batch where it carries them, of the data set's tables where not; shape [n, dim]."""
        name = column(side, family)
        if interaction is not None and prefix + name in interaction:
            values = interaction[prefix + name]
            return values[..., 0] if values.dim() == 3 else values
        return getattr(self, name)[ids]

    def _pair_columns(self, family: str, users, items, interaction, prefix: str) -> torch.Tensor:
        name = prefix + column("pair", family)
        if name in interaction:
            values = interaction[name]
            return values[..., 0] if values.dim() == 3 else values
        return self._pair_features(family)(users, items)

    def _pair_features(self, family: str):
        self._pairs[family] = self._pairs[family].to(self.combination_logits.device)
        return self._pairs[family]

    def _scorers(self) -> Iterator[_FamilyScorer]:
        return (cast(_FamilyScorer, scorer) for scorer in self.scorers)

    def _score(self, interaction, prefix: str = "") -> torch.Tensor:
        users, items = interaction[self.USER_ID], interaction[prefix + self.ITEM_ID]
        scores = []
        for scorer in self._scorers():
            user = [self._columns("user", family, users, interaction) for family in scorer.families]
            item = [self._columns("item", family, items, interaction, prefix) for family in scorer.families]
            pair = [self._pair_columns(f, users, items, interaction, prefix) for f in scorer.pair_families]
            score = (scorer.user(user) * scorer.item(item)).sum(dim=-1)
            scores.append(score + scorer.pair(pair) if pair else score)
        return torch.stack(scores, dim=-1) @ self.combination_weights

    def forward(self, interaction) -> torch.Tensor:
        """Scores of the pairs of a batch, shape [batch_size]."""
        return self._score(interaction)

    def calculate_loss(self, interaction) -> torch.Tensor:
        """BPR loss of a pairwise batch, shape []."""
        return self.loss(
            self._score(interaction), self._score(interaction, prefix=self.NEG_ITEM_ID[: -len(self.ITEM_ID)])
        )

    def predict(self, interaction) -> torch.Tensor:
        """Scores of the pairs of a batch (real numbers, higher is better), shape [batch_size]."""
        return self._score(interaction)

    def full_sort_predict(self, interaction) -> torch.Tensor:
        """Scores of all items for the users of a batch, shape [batch_size * n_items]; the same as ``predict``'s."""
        users = interaction[self.USER_ID]
        scores = users.new_zeros((len(users), self.n_items), dtype=torch.float32)
        weights = self.combination_weights
        for scorer, weight in zip(self._scorers(), weights, strict=True):
            user = scorer.user([self._columns("user", family, users, interaction) for family in scorer.families])
            item = scorer.item([getattr(self, column("item", family)) for family in scorer.families])
            scores += weight * (user @ item.T)
            if scorer.pair_families:
                self._add_pair_scores(scores, scorer, weight, users)
        return scores.view(-1)

    def _add_pair_scores(self, scores: torch.Tensor, scorer: _FamilyScorer, weight: torch.Tensor, users) -> None:
        pairs = [self._pair_features(family) for family in scorer.pair_families]
        block = max(1, _BLOCK_FLOATS // (self.n_items * scorer.widest))
        for start in range(0, len(users), block):
            part = users[start : start + block]
            if len(pairs) == 1:  # the head maps each distinct row once
                rows, index = pairs[0].full_rows(part)
                score = scorer.pair([rows])[index]
            else:
                score = scorer.pair([pair.full(part) for pair in pairs])
            scores[start : start + block] += weight * score

    def get_extra_state(self) -> str:
        """The feature schema, kept in ``state_dict`` so that a checkpoint knows what it was trained on."""
        return json.dumps(self.schema, sort_keys=True)

    def set_extra_state(self, state: str) -> None:
        """Refuse weights of another feature schema."""
        saved = json.loads(state)
        if saved["schema_hash"] != self.schema["schema_hash"]:
            raise ValueError(
                "The checkpoint was trained on other universal features than this config describes.\n"
                f"checkpoint: {_described(saved)}\nconfig:     {_described(self.schema)}\n"
                "Set universal_features and universal_feature_args to those of the checkpoint, or train anew."
            )


class _FamilyScorer(nn.Module):
    """Two towers and, where a family has pair features, a pair head over some families.

    Args:
        families: Names, in the order their columns are concatenated.
        dims: ``FeaturePipeline.dims``.
        sizes: (hidden sizes, output size of the towers).
        dropout_prob: Dropout before each layer.
    """

    def __init__(self, families: list[str], dims: dict, sizes: tuple[list[int], int], dropout_prob: float):
        super().__init__()
        hidden, embedding_size = sizes
        self.families = families
        self.pair_families = [family for family in families if dims[family]["pair"]]
        pair_dim = sum(dims[family]["pair"] for family in self.pair_families)
        self.widest = max([pair_dim, *hidden])
        self.user_tower = _mlp(
            [sum(dims[family]["user"] for family in families), *hidden, embedding_size], dropout_prob
        )
        self.item_tower = _mlp(
            [sum(dims[family]["item"] for family in families), *hidden, embedding_size], dropout_prob
        )
        self.pair_head = _mlp([pair_dim, *hidden, 1], dropout_prob) if pair_dim else None

    def user(self, columns: list[torch.Tensor]) -> torch.Tensor:
        """[n, dim] a family -> [n, embedding_size]."""
        return self.user_tower(torch.cat(columns, dim=-1))

    def item(self, columns: list[torch.Tensor]) -> torch.Tensor:
        """[n, dim] a family -> [n, embedding_size]."""
        return self.item_tower(torch.cat(columns, dim=-1))

    def pair(self, columns: list[torch.Tensor]) -> torch.Tensor:
        """[..., dim] a family -> [...]."""
        assert self.pair_head is not None
        return self.pair_head(torch.cat(columns, dim=-1)).squeeze(-1)


def _mlp(sizes: list[int], dropout_prob: float) -> nn.Module:
    return MLPLayers(sizes, dropout=dropout_prob, activation="relu", last_activation=False)


def _checked_sizes(config) -> tuple[list[int], int]:
    hidden, out = config["mlp_hidden_size"], config["embedding_size"]
    if isinstance(hidden, int):
        hidden = [hidden]
    if not isinstance(hidden, (list, tuple)) or any(not isinstance(size, int) or size < 1 for size in hidden):
        raise ValueError(f"mlp_hidden_size: must be a list of positive integers, e.g. [64], got {hidden!r}.")
    if not isinstance(out, int) or out < 1:
        raise ValueError(f"embedding_size: must be a positive integer, got {out!r}.")
    return list(hidden), out


def _checked_dropout(probability) -> float:
    if not isinstance(probability, (int, float)) or not 0 <= probability < 1:
        raise ValueError(f"dropout_prob: must be a number in [0, 1), got {probability!r}.")
    return float(probability)


def _described(schema: dict) -> str:
    return json.dumps({key: value for key, value in schema.items() if key != "schema_hash"}, sort_keys=True)
