"""The network behind UniversalMLP: scores of user-item pairs from universal features. Imports no RecBole."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, cast

import torch
from torch import nn

from recbole_universal.features import UniversalFeatures
from recbole_universal.features.family import PairFeatures
from recbole_universal.features.fields import column
from recbole_universal.features.proximity import Candidates, ProximityPairs, SelfCheck, column_groups

logger = logging.getLogger(__name__)

COMBINATIONS = ("concatenation", "interpolation")
#: Scores of candidates lie in [-BOUND, 0]; every other item lies below.
BOUND = 60.0
# Upper bound on the floats of one block of pair features in full ranking (256 MB).
_BLOCK_FLOATS = 2**26
#: Larger networks are a mistake; the shipped ones have 33,000 weights.
LARGEST_LAYER, MOST_LAYERS, MOST_NETWORKS = 4096, 16, 100
# In all: 128 MB.
_MOST_WEIGHTS = 2**25
# Users of the self-check that are scored at once.
_CHECK_USERS = 50


def _forget_judged(scorer: UniversalScorer, _) -> None:
    scorer._judged = None


class UniversalScorer(nn.Module):
    r"""Scores a user-item pair from universal features; no weight belongs to a user or an item.

    With ``feature_combination: concatenation`` the features of all families enter one scorer

    .. math:: s(u, i) = f(x_u)^\top g(x_i) + h(x_{ui})

    with MLPs f (user tower), g (item tower) and h (pair head). With ``interpolation`` each family has its own scorer
    and :math:`s = \sum_k w_k s_k` with learned weights w on the simplex (arXiv 2309.01188, Eq. 11).

    With the family ``proximity`` only a user's candidates are scored, by the logarithm of their share of a softmax over
    the list; the other items follow in the order of their popularity, below every candidate. Where popularity does
    better on the data set (:meth:`outdone_by_popularity`), nobody has candidates, and it alone ranks.

    Args:
        dims: ``FeaturePipeline.dims``, whose order is the order of the columns.
        mlp_hidden_size: sizes of the hidden layers of towers and heads.
        embedding_size: output size of the towers.
        dropout_prob: dropout before each layer, in [0, 1).
        feature_combination: one of :data:`COMBINATIONS`.
        n_networks: networks of this form whose scores are averaged; each is trained by its own loss, and together they
            depend less on chance (Hansen and Salamon, TPAMI 1990).

    Raises:
        ValueError: naming the config key and what is valid.
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
        if isinstance(embedding_size, bool) or not isinstance(embedding_size, int) or embedding_size < 1:
            raise ValueError(f"embedding_size: must be a positive integer, got {embedding_size!r}.")
        real = isinstance(dropout_prob, (int, float)) and not isinstance(dropout_prob, bool)
        if not real or not 0 <= dropout_prob < 1:
            raise ValueError(f"dropout_prob: must be a number in [0, 1), got {dropout_prob!r}.")
        if feature_combination not in COMBINATIONS:
            raise ValueError(f"feature_combination: must be one of {list(COMBINATIONS)}, got {feature_combination!r}.")
        if isinstance(n_networks, bool) or not isinstance(n_networks, int) or not 1 <= n_networks <= MOST_NETWORKS:
            raise ValueError(f"n_networks: must be an integer from 1 to {MOST_NETWORKS}, got {n_networks!r}.")
        widest = sum(width for sides in dims.values() for width in sides.values())
        n_scorers = n_networks * (len(dims) if feature_combination == "interpolation" else 1)
        n_weights = 3 * n_scorers * sum((a + 1) * b for a, b in pairwise([widest, *hidden, embedding_size]))
        if n_weights > _MOST_WEIGHTS:
            raise ValueError(
                f"mlp_hidden_size, embedding_size, n_networks: {hidden}, {embedding_size} and {n_networks} make a "
                f"network of up to {n_weights} weights; at most {_MOST_WEIGHTS} are possible."
            )
        #: What rebuilds the network, as JSON.
        self.network: dict[str, Any] = {
            "mlp_hidden_size": hidden,
            "embedding_size": embedding_size,
            "dropout_prob": float(dropout_prob),
            "feature_combination": feature_combination,
            "n_networks": n_networks,
        }
        self.families = list(dims)
        groups = [self.families] if feature_combination == "concatenation" else [[name] for name in self.families]
        self.n_networks = n_networks
        self.scorers = nn.ModuleList(
            _FamilyScorer(group, dims, hidden, embedding_size, dropout_prob)
            for _ in range(n_networks)
            for group in groups
        )
        self.combination_logits = nn.Parameter(torch.zeros(len(groups)))
        self._pairs: dict[str, PairFeatures] = {}
        # Of these weights, by that check: the lead over popularity and the NDCG@10.
        self._judged: tuple[SelfCheck, float, float] | None = None
        self._told: tuple[SelfCheck | ProximityPairs, str] | None = None  # what it was said of that popularity ranks
        #: Takes the message that popularity ranks.
        self.tell: Callable[[str], Any] = logger.warning
        self.register_load_state_dict_post_hook(_forget_judged)

    @property
    def combination_weights(self) -> torch.Tensor:
        """Weights of the scorers of a network, on the simplex, shape [n_scorers]."""
        return torch.softmax(self.combination_logits, dim=0)

    @property
    def ranks_candidates(self) -> bool:
        """Whether only candidates are scored (family ``proximity``)."""
        return "proximity" in self.families

    def attach(self, features: UniversalFeatures) -> UniversalScorer:
        """Take the features of a data set, which :meth:`score_pairs` and :meth:`score_all` look up.

        They are no part of ``state_dict``: they belong to the data set, and a checkpoint must fit any.

        Args:
            features: what the pipeline with these families computed.

        Returns:
            This scorer.
        """
        device = self.combination_logits.device
        for family, values in features.items():
            for side, table in (("user", values.user), ("item", values.item)):
                tensor = torch.as_tensor(table).float().to(device)
                self.register_buffer(column(side, family), tensor, persistent=False)
        self._pairs = {family: values.pair for family, values in features.items() if values.pair is not None}
        return self

    def with_features(self, features: UniversalFeatures) -> UniversalScorer:
        """A scorer with these weights, shared, and the features of another data set; this one keeps its own."""
        other = copy.copy(self)
        other._buffers = dict(self._buffers)
        return other.attach(features)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.combination_logits.device

    def train(self, mode: bool = True) -> UniversalScorer:
        """See PyTorch; training changes what the network is worth."""
        self._judged = None
        return super().train(mode)

    def outdone_by_popularity(self) -> bool:
        """Whether the self-check speaks against the network on the attached data set.

        So it does where the same popular items for everybody find more of its hidden interactions (NDCG@10) than the
        network does, by more than one standard error over the users; where most users have a single interaction and
        the network does not clearly find more (:meth:`ProximityPairs.popularity_outdoes`); and where nobody has
        two. Such data look like nothing that a model was trained on, and its lists can be several times worse there
        than popularity. ``False`` in training mode, and of a model that also reads other families, of which the
        self-check has no columns. What the network finds is kept until other weights are loaded, features with another
        self-check attached or the mode set.
        """
        reason = self.why_popularity()
        if not reason:
            self._told = None
            return False
        pairs = cast(ProximityPairs, self.pairs("proximity"))
        of = pairs if pairs.check is None else pairs.check  # an update keeps its check
        if self._told is None or self._told[0] is not of or self._told[1] != reason:
            self.tell(f"All users get the same popular items: {reason}.")
            self._told = of, reason
        return True

    def why_popularity(self) -> str:
        """The reason for :meth:`outdone_by_popularity`, for people; empty if the network ranks."""
        if self.training or self.families != ["proximity"]:
            return ""
        pairs = cast(ProximityPairs, self.pairs("proximity"))
        check = pairs.check
        if check is None:
            return pairs.why_popularity("")
        if self._judged is None or self._judged[0] is not check:
            scores = self._check_scores(check)
            self._judged = check, check.lead(scores), float(check.ndcg(scores).mean())
        return pairs.why_popularity("the model", *self._judged[1:])

    @torch.no_grad()
    def _check_scores(self, check: SelfCheck) -> torch.Tensor:
        device = self.combination_logits.device
        no_columns = {"proximity": torch.zeros(1, 1, 0, device=device)}
        columns = (part.to(device).float() for part in check.features.split(_CHECK_USERS))
        return torch.cat([self(no_columns, no_columns, {"proximity": part}) for part in columns])

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
        return self._finite(self.each_network(user, item, pair).mean(dim=-1))

    def _finite(self, scores: torch.Tensor) -> torch.Tensor:
        if not self.training and not bool(scores.isfinite().all()):
            raise ValueError(
                "The scores of the model are NaN or infinite: its training diverged (a smaller learning_rate helps) or "
                "its weights are damaged."
            )
        return scores

    def each_network(self, user, item, pair) -> torch.Tensor:
        """As :meth:`forward`, one score a network: float32 [..., n_networks]."""
        scores = torch.stack([scorer(user, item, pair) for scorer in self._scorers()], dim=-1)
        return scores.unflatten(-1, (self.n_networks, -1)) @ self.combination_weights

    def standardise(self, pair: Mapping[str, torch.Tensor]) -> None:
        """Set mean and scale of the pair columns from a sample, before training.

        Args:
            pair: by family, float32 [n, pair_dim].
        """
        for scorer in self._scorers():
            if scorer.pair_families:
                scorer.set_scale(torch.cat([pair[family] for family in scorer.pair_families], dim=-1))

    def score_pairs(self, users: torch.Tensor, items: torch.Tensor, given=None) -> torch.Tensor:
        """Scores of the pairs (users[k], items[k]) of the attached data set, float32 [n]; as :meth:`score_all`'s.

        Args:
            users: user ids, int64 [n].
            items: item ids, int64 [n].
            given: columns that replace the attached ones, by name, float32 [n, dim]. A model with the family
                ``proximity`` scores a pair by its share of the user's whole list, so that they may not differ there.

        Raises:
            ValueError: if a given column is none of this model's, has another shape, or differs where it may not.
        """
        given = dict(given or {})
        for name, values in given.items():
            self._check_given(name, values, users, items)
        if self.ranks_candidates:
            return self._score_candidate_pairs(users, items)
        user = {f: given.get(column("user", f), getattr(self, column("user", f))[users]) for f in self.families}
        item = {f: given.get(column("item", f), getattr(self, column("item", f))[items]) for f in self.families}
        pair = {}
        for family in self._pairs:
            name = column("pair", family)
            pair[family] = given[name] if name in given else self.pairs(family)(users, items)
        return self(user, item, pair)

    def _check_given(self, name: str, values: torch.Tensor, users: torch.Tensor, items: torch.Tensor) -> None:
        sides = {column(side, family): (side, family) for family in self.families for side in ("user", "item")}
        sides |= {column("pair", family): ("pair", family) for family in self._pairs}
        if name not in sides:
            raise ValueError(f"given: this model reads {list(sides)}, and no column [{name}].")
        if not self.ranks_candidates:
            return
        side, family = sides[name]
        ids = {"user": users, "item": items}
        own = self.pairs(family)(users, items) if side == "pair" else getattr(self, name)[ids[side]]
        if values.shape != own.shape or not torch.allclose(values.to(own), own):
            raise ValueError(
                f"given: [{name}] differs from the attached column; a model with the family [proximity] scores whole "
                "lists, so it takes no other columns for single pairs."
            )

    def _score_candidate_pairs(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        distinct, row = users.unique(return_inverse=True)
        block = max(1, _BLOCK_FLOATS // self.pairs("proximity").n_items)
        scores = torch.empty(len(users), device=self.combination_logits.device)
        for start in range(0, len(distinct), block):
            here = (row >= start) & (row < start + block)
            scores[here] = self.score_all(distinct[start : start + block])[row[here] - start, items[here]]
        return scores

    def score_all(self, users: torch.Tensor, exclude_seen: bool = True) -> torch.Tensor:
        """Scores of all items of the attached data set, float32 [n, n_items]; higher is better.

        Args:
            users: user ids, int64 [n].
            exclude_seen: with ``proximity``, whether a user's own interactions rank below every candidate.
        """
        if self.ranks_candidates:
            return self._score_candidates(users, exclude_seen)
        n_items = getattr(self, column("item", self.families[0])).shape[0]
        scores = torch.zeros(len(users), n_items, device=self.combination_logits.device)
        weights = self.combination_weights.repeat(self.n_networks) / self.n_networks
        for scorer, weight in zip(self._scorers(), weights, strict=True):
            scores = scores + weight * self._towers(scorer, users)
            if scorer.pair_families:
                self._add_pair_scores(scores, scorer, weight, users)
        return self._finite(scores)

    def _towers(self, scorer: _FamilyScorer, users: torch.Tensor) -> torch.Tensor:
        user = scorer.user({family: getattr(self, column("user", family))[users] for family in scorer.families})
        item = scorer.item({family: getattr(self, column("item", family)) for family in scorer.families})
        return user @ item.T

    def _add_pair_scores(self, scores: torch.Tensor, scorer: _FamilyScorer, weight: torch.Tensor, users) -> None:
        pairs = {family: self.pairs(family) for family in scorer.pair_families}
        block = max(1, _BLOCK_FLOATS // (scores.shape[1] * scorer.widest))
        for start in range(0, len(users), block):
            part = users[start : start + block]
            if len(pairs) == 1:  # the head maps each distinct row once
                ((family, pair),) = pairs.items()
                rows, index = pair.full_rows(part)
                score = scorer.pair({family: rows})[index]
            else:
                score = scorer.pair({family: pair.full(part) for family, pair in pairs.items()})
            scores[start : start + block] += weight * score

    def _score_candidates(self, users: torch.Tensor, exclude_seen: bool) -> torch.Tensor:
        proximity = cast(ProximityPairs, self.pairs("proximity"))
        below = -BOUND - 1 - proximity.item_order
        if self.outdone_by_popularity():
            return below.repeat(len(users), 1)
        # Candidates have many columns: as many users at once as their columns fit a block.
        block = max(1, _BLOCK_FLOATS // (proximity.dim * proximity.most_candidates))
        if len(users) > block:
            return torch.cat([self._score_candidates(part, exclude_seen) for part in users.split(block)])
        lists, columns = self._candidate_columns(users, exclude_seen)
        # The loss leaves the level of a list's scores open; as shares of the list they have one.
        values = self(*columns).masked_fill(~lists.mask, -torch.inf).log_softmax(dim=1).clamp(min=-BOUND)
        scores = torch.cat([below, below.new_zeros(1)]).repeat(len(users), 1)
        # The last column takes what pads the lists.
        scores.scatter_(1, torch.where(lists.mask, lists.items, len(below)), values)
        return scores[:, :-1]

    def _candidate_columns(self, users: torch.Tensor, exclude_seen: bool) -> tuple[Candidates, list[dict]]:
        """Candidates of some users, and their columns by side and family."""
        lists = cast(ProximityPairs, self.pairs("proximity")).candidates(users, exclude_seen)
        safe = lists.items.clamp(min=0)
        user = {f: getattr(self, column("user", f))[users][:, None] for f in self.families}
        item = {f: getattr(self, column("item", f))[safe] for f in self.families}
        pair = {"proximity": lists.features}
        for family in self._pairs:
            if family != "proximity":
                repeated = users[:, None].expand_as(safe).flatten()
                pair[family] = self.pairs(family)(repeated, safe.flatten()).view(*safe.shape, -1)
        return lists, [user, item, pair]

    @torch.no_grad()
    def contributions(self, users: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """What each scorer and each other family adds to the score of each candidate.

        Occlusion: the columns of one part are replaced by their mean over the user's candidates; what the score loses
        is the part's contribution. Parts overlap in what they say, so contributions do not add up to the score.

        Args:
            users: user ids of the attached data set, int64 [n].

        Returns:
            Candidates int64 [n, n_candidates] (-1: none), their scores float32 of that shape before they are made
            shares of the list, and the contributions by part, of that shape and in the same unit.

        Raises:
            ValueError: if the model does not rank candidates.
        """
        if not self.ranks_candidates:
            raise ValueError("Only a model with the family [proximity] can be explained.")
        lists, columns = self._candidate_columns(users, True)
        whole = self(*columns)
        parts: dict[str, tuple[str, list[int] | slice]] = {
            name: ("proximity", places) for name, places in column_groups().items()
        }
        parts |= {f"family {family}": (family, slice(None)) for family in self.families if family != "proximity"}
        found = {}
        for name, (family, places) in parts.items():
            changed = [dict(side) for side in columns]
            for side in changed:
                if family in side and side[family].shape[-1]:
                    values = side[family].expand(*lists.items.shape, -1).clone()
                    mean = (values * lists.mask[..., None]).sum(dim=1) / lists.mask.sum(dim=1).clamp(min=1)[:, None]
                    values[..., places] = mean[:, None, places].expand_as(values[..., places])
                    side[family] = values
            found[name] = whole - self(*changed)
        return lists.items, whole, found

    def pairs(self, family: str) -> PairFeatures:
        """The attached pair features of a family, on this network's device."""
        self._pairs[family] = self._pairs[family].to(self.combination_logits.device)
        return self._pairs[family]

    def _scorers(self) -> Iterator[_FamilyScorer]:
        return (cast(_FamilyScorer, scorer) for scorer in self.scorers)


def floored(scores: torch.Tensor) -> torch.Tensor:
    """Scores of :meth:`UniversalScorer.score_all` in which every item below a user's candidates ties with the last one.

    How far below they lie only says how popular they are; for a mixture with another model's scores, they are equals.

    Args:
        scores: float32 [n_users, n_items].

    Returns:
        float32 [n_users, n_items]; zeros for a user without candidates.
    """
    candidate = scores >= -BOUND
    lowest = torch.where(candidate, scores, torch.inf).amin(dim=1, keepdim=True)
    return torch.where(candidate, scores, torch.where(lowest.isfinite(), lowest, 0.0))


class _FamilyScorer(nn.Module):
    """Two towers and a pair head over some families, each where a family has such columns."""

    def __init__(self, families: list[str], dims, hidden: list[int], embedding_size: int, dropout_prob: float):
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

    def forward(self, user, item, pair) -> torch.Tensor:
        """Columns by family -> scores [...]."""
        if not self.node_families:
            return self.pair(pair)
        scores = (self.user(user) * self.item(item)).sum(dim=-1)
        return scores if self.pair_head is None else scores + self.pair(pair)

    def user(self, columns) -> torch.Tensor:
        """By family [n, user_dim] -> [n, embedding_size]."""
        assert self.user_tower is not None
        return self.user_tower(torch.cat([columns[family] for family in self.node_families], dim=-1))

    def item(self, columns) -> torch.Tensor:
        """By family [n, item_dim] -> [n, embedding_size]."""
        assert self.item_tower is not None
        return self.item_tower(torch.cat([columns[family] for family in self.node_families], dim=-1))

    def pair(self, columns) -> torch.Tensor:
        """By family [..., pair_dim] -> [...]."""
        assert self.pair_head is not None
        values = torch.cat([columns[family] for family in self.pair_families], dim=-1)
        return self.pair_head((values - self.pair_mean) / self.pair_scale).squeeze(-1)


def mlp(sizes: list[int], dropout_prob: float) -> nn.Sequential:
    """Dropout, linear layer and ReLU for each pair of neighbouring sizes; none after the last."""
    layers: list[nn.Module] = []
    for size, following in pairwise(sizes):
        layers += [nn.Dropout(dropout_prob), nn.Linear(size, following), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _checked_sizes(hidden) -> list[int]:
    sizes = [hidden] if isinstance(hidden, int) else hidden
    if (
        not isinstance(sizes, (list, tuple))
        or len(sizes) > MOST_LAYERS
        or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes)
    ):
        raise ValueError(
            f"mlp_hidden_size: must be a list of at most {MOST_LAYERS} positive integers, e.g. [64], got {hidden!r}."
        )
    return list(sizes)
