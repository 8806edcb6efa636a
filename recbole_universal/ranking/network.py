"""The network behind UniversalMLP: it maps universal features of user-item pairs to scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, cast

import torch
from torch import nn

from recbole_universal import arguments

COMBINATIONS = ("concatenation", "interpolation")
#: Families whose candidates alone are scored.
CANDIDATE_FAMILIES = ("proximity", "sequence")
#: Limits that larger networks exceed by mistake only; the shipped ones have 28,000 weights.
LARGEST_LAYER, MOST_LAYERS, MOST_NETWORKS = 4096, 16, 100
# Limit on all weights (128 MB).
_MOST_WEIGHTS = 2**25
# Owner of the arguments in messages.
_OWNER = "UniversalNetwork"


class UniversalNetwork(nn.Module):
    r"""Scores user-item pairs from universal features. No weight belongs to a single user or item.

    With ``feature_combination: concatenation`` the features of all families enter one network

    .. math:: s(u, i) = f(x_u)^\top g(x_i) + h(x_{ui})

    with MLPs f (user tower), g (item tower) and h (pair head). With ``interpolation`` each family has its own network
    and :math:`s = \sum_k w_k s_k` with learned weights w on the simplex (arXiv 2309.01188, Eq. 11).

    Args:
        dims: ``FeaturePipeline.dims``, whose order is the order of the columns.
        mlp_hidden_size: sizes of the hidden layers of towers and heads.
        embedding_size: output size of the towers.
        dropout_prob: dropout before each layer, in [0, 1).
        feature_combination: one of :data:`COMBINATIONS`.
        n_networks: number of networks of this form whose scores are averaged. Each is trained by its own loss; the
            average depends less on chance (Hansen and Salamon, TPAMI 1990).

    Attributes:
        families: names of the feature families, in order.
        arguments: all arguments but ``dims``, as JSON; they rebuild the network.

    Raises:
        ValueError: with the argument and its valid values.
    """

    def __init__(
        self,
        dims: Mapping[str, Mapping[str, int]],
        mlp_hidden_size: list[int],
        embedding_size: int,
        dropout_prob: float,
        feature_combination: str,
        n_networks: int = 1,
    ) -> None:
        super().__init__()
        hidden = _checked_sizes(mlp_hidden_size)
        embedding_size = arguments.integer(_OWNER, "embedding_size", embedding_size, 1, LARGEST_LAYER + 1)
        dropout_prob = arguments.share(_OWNER, "dropout_prob", dropout_prob)
        feature_combination = arguments.choice(_OWNER, "feature_combination", feature_combination, COMBINATIONS)
        n_networks = arguments.integer(_OWNER, "n_networks", n_networks, 1, MOST_NETWORKS + 1)
        self.families = list(dims)
        groups = [self.families] if feature_combination == "concatenation" else [[name] for name in self.families]
        _check_size(dims, hidden, embedding_size, n_networks, len(groups))
        self.arguments: dict[str, Any] = {
            "mlp_hidden_size": hidden,
            "embedding_size": embedding_size,
            "dropout_prob": dropout_prob,
            "feature_combination": feature_combination,
            "n_networks": n_networks,
        }
        self.n_networks = n_networks
        # Checkpoints call these networks "scorers".
        self.scorers = nn.ModuleList(
            FamilyNetwork(group, dims, hidden, embedding_size, dropout_prob)
            for _ in range(n_networks)
            for group in groups
        )
        self.combination_logits = nn.Parameter(torch.zeros(len(groups)))

    @property
    def combination_weights(self) -> torch.Tensor:
        """Weights of the feature combination, on the simplex, shape [n_groups]."""
        return torch.softmax(self.combination_logits, dim=0)

    @property
    def candidate_family(self) -> str | None:
        """The family that makes candidates, of :data:`CANDIDATE_FAMILIES`; ``None`` if all items are scored."""
        return next((family for family in self.families if family in CANDIDATE_FAMILIES), None)

    @property
    def ranks_candidates(self) -> bool:
        """Whether only candidates are scored."""
        return self.candidate_family is not None

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.combination_logits.device

    def family_networks(self) -> Iterator[FamilyNetwork]:
        """The networks of each group of families, of one network after the other."""
        return (cast(FamilyNetwork, network) for network in self.scorers)

    def forward(
        self, user: Mapping[str, torch.Tensor], item: Mapping[str, torch.Tensor], pair: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Scores from columns.

        Args:
            user: by family, float32 [..., user_dim], which may be broadcast against the items.
            item: by family, float32 [..., item_dim].
            pair: by family with pair features, float32 [..., pair_dim].

        Returns:
            float32 [...].

        Raises:
            ValueError: outside of training, if a score is NaN or infinite.
        """
        return self.checked_finite(self.each_network(user, item, pair).mean(dim=-1))

    def checked_finite(self, scores: torch.Tensor) -> torch.Tensor:
        """The scores as given.

        Raises:
            ValueError: outside of training, if a score is NaN or infinite.
        """
        if not self.training and not bool(scores.isfinite().all()):
            raise ValueError(
                "The scores of the model are NaN or infinite: its training diverged (a smaller learning_rate helps) or "
                "its weights are damaged."
            )
        return scores

    def each_network(
        self, user: Mapping[str, torch.Tensor], item: Mapping[str, torch.Tensor], pair: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Scores of each network, arguments as of :meth:`forward`; float32 [..., n_networks]."""
        scores = torch.stack([network(user, item, pair) for network in self.family_networks()], dim=-1)
        return scores.unflatten(-1, (self.n_networks, -1)) @ self.combination_weights

    def standardise(self, pair: Mapping[str, torch.Tensor]) -> None:
        """Set mean and scale of the pair columns from a sample, before training.

        Args:
            pair: by family, float32 [n, pair_dim].
        """
        for network in self.family_networks():
            if network.pair_families:
                network.set_scale(torch.cat([pair[family] for family in network.pair_families], dim=-1))


class FamilyNetwork(nn.Module):
    """Two towers and a pair head over a group of families. A tower or head exists if a family has such columns.

    Args:
        families: names of the families, in order.
        dims: ``FeaturePipeline.dims``.
        hidden: sizes of the hidden layers.
        embedding_size: output size of the towers.
        dropout_prob: dropout before each layer.
    """

    def __init__(
        self,
        families: list[str],
        dims: Mapping[str, Mapping[str, int]],
        hidden: list[int],
        embedding_size: int,
        dropout_prob: float,
    ) -> None:
        super().__init__()
        self.families = families
        self.pair_families = [family for family in families if dims[family]["pair"]]
        widths = {side: sum(dims[family][side] for family in families) for side in ("user", "item", "pair")}
        self.widest = max([widths["pair"], *hidden])
        self.node_families = [family for family in families if dims[family]["user"] and dims[family]["item"]]
        towers = bool(self.node_families)
        self.user_tower = mlp([widths["user"], *hidden, embedding_size], dropout_prob) if towers else None
        self.item_tower = mlp([widths["item"], *hidden, embedding_size], dropout_prob) if towers else None
        self.pair_head = mlp([widths["pair"], *hidden, 1], dropout_prob) if widths["pair"] else None
        self.register_buffer("pair_mean", torch.zeros(widths["pair"]))
        self.register_buffer("pair_scale", torch.ones(widths["pair"]))

    def set_scale(self, sample: torch.Tensor) -> None:
        """Standardise the pair columns by a sample, float32 [n, pair_dim]."""
        self.pair_mean = sample.mean(dim=0)
        self.pair_scale = sample.std(dim=0) + 1e-3

    def forward(
        self, user: Mapping[str, torch.Tensor], item: Mapping[str, torch.Tensor], pair: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Columns by family -> scores [...]."""
        if not self.node_families:
            return self.pair(pair)
        scores = (self.user(user) * self.item(item)).sum(dim=-1)
        return scores if self.pair_head is None else scores + self.pair(pair)

    def user(self, columns: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """By family [n, user_dim] -> [n, embedding_size]."""
        assert self.user_tower is not None
        return self.user_tower(torch.cat([columns[family] for family in self.node_families], dim=-1))

    def item(self, columns: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """By family [n, item_dim] -> [n, embedding_size]."""
        assert self.item_tower is not None
        return self.item_tower(torch.cat([columns[family] for family in self.node_families], dim=-1))

    def pair(self, columns: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """By family [..., pair_dim] -> [...]."""
        assert self.pair_head is not None
        values = torch.cat([columns[family] for family in self.pair_families], dim=-1)
        return self.pair_head((values - self.pair_mean) / self.pair_scale).squeeze(-1)


def mlp(sizes: list[int], dropout_prob: float) -> nn.Sequential:
    """Dropout, linear layer and ReLU between each two consecutive sizes; no ReLU after the last layer."""
    layers: list[nn.Module] = []
    for size, following in pairwise(sizes):
        layers += [nn.Dropout(dropout_prob), nn.Linear(size, following), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _check_size(
    dims: Mapping[str, Mapping[str, int]], hidden: list[int], embedding_size: int, n_networks: int, n_groups: int
) -> None:
    widest = sum(width for sides in dims.values() for width in sides.values())
    n_weights = 3 * n_networks * n_groups * sum((a + 1) * b for a, b in pairwise([widest, *hidden, embedding_size]))
    if n_weights > _MOST_WEIGHTS:
        raise ValueError(
            f"mlp_hidden_size, embedding_size, n_networks: {hidden}, {embedding_size} and {n_networks} make a "
            f"network of up to {n_weights} weights; at most {_MOST_WEIGHTS} are possible."
        )


def _checked_sizes(hidden: Any) -> list[int]:
    sizes = [hidden] if isinstance(hidden, int) else hidden
    if not isinstance(sizes, (list, tuple)) or len(sizes) > MOST_LAYERS:
        raise ValueError(
            f"{_OWNER}: argument mlp_hidden_size must be a list of at most {MOST_LAYERS} integers, not "
            f"{arguments.shown(hidden)}"
        )
    return [arguments.integer(_OWNER, "mlp_hidden_size", size, 1, LARGEST_LAYER + 1) for size in sizes]
