"""The network with the features of one dataset: it scores and ranks that dataset's items by id."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch

from recbole_universal.checkpoint import Pretrained
from recbole_universal.features import FeaturePipeline, UniversalFeatures
from recbole_universal.features.candidates import Candidates
from recbole_universal.features.fields import column
from recbole_universal.graph.allowed_items import AllowedItems
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.threads import in_torch_threads
from recbole_universal.ranking.checked_network import CheckedNetwork
from recbole_universal.ranking.correction import corrected
from recbole_universal.ranking.network import FamilyNetwork
from recbole_universal.ranking.pair_products import PairProducts

#: All candidates score at least this and at most 0; all other items score less.
MIN_CANDIDATE_SCORE = -60.0
# Logarithms of shares from here to 0 are the scores. Lower ones are compressed.
_UNCOMPRESSED = -30.0
# Upper bound on the floats of one block of pair features in full ranking (256 MB).
_BLOCK_FLOATS = 2**26
# Number of lists whose layers fit the processor's cache. More at once take three times as long.
_CACHED_LISTS = 16


def load_network(pretrained: Pretrained, pipeline: FeaturePipeline) -> RankingNetwork:
    """The network of a pre-trained model with its weights, in evaluation mode.

    Raises:
        ValueError: if the weights do not fit the network.
    """
    network = RankingNetwork(pipeline.dims, **pretrained.schema["network"])
    try:
        network.load_state_dict(pretrained.state_dict)
    except RuntimeError as error:
        raise ValueError(f"The weights do not fit the network that their schema describes: {error}") from error
    return network.eval()


class RankingNetwork(CheckedNetwork):
    """A :class:`UniversalNetwork` that scores the users and items of one dataset, whose features it holds.

    With the family ``proximity`` or ``sequence`` only a user's candidates are scored. The score of a candidate is the
    logarithm of its share in a softmax over the list; logarithms below -30 are compressed to scores from -30 to -60.
    All other items follow in the order of their popularity. The self-check corrects the scores for the dataset
    (:mod:`recbole_universal.ranking.correction`). Where it finds popularity better, popularity alone ranks
    (:meth:`falls_back`).

    Arguments are those of :class:`UniversalNetwork`.
    """

    def attach(self, features: UniversalFeatures) -> RankingNetwork:
        """Hold the features of a dataset, which :meth:`score_pairs` and :meth:`score_all` look up.

        ``state_dict`` does not contain them, since a checkpoint must fit every dataset.

        Args:
            features: features of the dataset, of the families of this network.

        Returns:
            This network.
        """
        for family, values in features.items():
            for side, table in (("user", values.user), ("item", values.item)):
                tensor = torch.as_tensor(table).float().to(self.device)
                self.register_buffer(column(side, family), tensor, persistent=False)
        self._pairs = {family: values.pair for family, values in features.items() if values.pair is not None}
        return self

    def with_features(self, features: UniversalFeatures) -> RankingNetwork:
        """A network that shares these weights and holds the features of another dataset."""
        other = copy.copy(self)
        other._buffers = dict(self._buffers)
        other.fallback = copy.copy(self.fallback)
        return other.attach(features)

    def score_pairs(
        self, users: torch.Tensor, items: torch.Tensor, given: Mapping[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Scores of the pairs (users[k], items[k]) of the dataset, float32 [n]; equal to those of :meth:`score_all`.

        Args:
            users: user ids, int64 [n].
            items: item ids, int64 [n].
            given: columns that replace those of the dataset, by name, float32 [n, dim]. With the family ``proximity``
                they must equal those of the dataset, because the score of a pair depends on the user's whole list.

        Raises:
            ValueError: if the model does not read a given column, or its shape or values are not valid.
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
        attached = self.pairs(family)(users, items) if side == "pair" else getattr(self, name)[ids[side]]
        if values.shape != attached.shape or not torch.allclose(values.to(attached), attached):
            raise ValueError(
                f"given: [{name}] differs from the attached column; a model with the family [proximity] scores whole "
                "lists, so it takes no other columns for single pairs."
            )

    def _score_candidate_pairs(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        distinct, row = users.unique(return_inverse=True)
        block_size = max(1, _BLOCK_FLOATS // self.candidate_pairs.n_items)
        scores = torch.empty(len(users), device=self.device)
        for start in range(0, len(distinct), block_size):
            in_block = (row >= start) & (row < start + block_size)
            block_scores = self.score_all(distinct[start : start + block_size])
            scores[in_block] = block_scores[row[in_block] - start, items[in_block]]
        return scores

    def score_all(
        self, users: torch.Tensor, exclude_seen: bool = True, allowed: AllowedItems | None = None
    ) -> torch.Tensor:
        """Scores of all items of the dataset, float32 [n, n_items]; higher is better.

        Args:
            users: user ids, int64 [n].
            exclude_seen: with ``proximity``, whether the user's items are no candidates. They then score by popularity
                like all other items. Without ``proximity`` it has no effect.
            allowed: item ids that may be candidates; ``None``: all may. It has no effect on the scores of other items.
        """
        if self.ranks_candidates:
            return self._score_candidates(users, exclude_seen, allowed)
        n_items = getattr(self, column("item", self.families[0])).shape[0]
        scores = torch.zeros(len(users), n_items, device=self.device)
        weights = self.combination_weights.repeat(self.n_networks) / self.n_networks
        for family_network, weight in zip(self.family_networks(), weights, strict=True):
            scores = scores + weight * self._tower_scores(family_network, users)
            if family_network.pair_families:
                self._add_pair_scores(scores, family_network, weight, users)
        return self.checked_finite(scores)

    def _tower_scores(self, family_network: FamilyNetwork, users: torch.Tensor) -> torch.Tensor:
        families = family_network.families
        user = family_network.user({family: getattr(self, column("user", family))[users] for family in families})
        item = family_network.item({family: getattr(self, column("item", family)) for family in families})
        return user @ item.T

    def _add_pair_scores(
        self, scores: torch.Tensor, family_network: FamilyNetwork, weight: torch.Tensor, users: torch.Tensor
    ) -> None:
        pairs = {family: self.pairs(family) for family in family_network.pair_families}
        block_size = max(1, _BLOCK_FLOATS // (scores.shape[1] * family_network.widest))
        for start in range(0, len(users), block_size):
            block = users[start : start + block_size]
            if len(pairs) == 1:  # equal rows have equal scores, so each distinct row is scored once
                ((family, pair),) = pairs.items()
                rows, index = pair.full_rows(block)
                score = family_network.pair({family: rows})[index]
            else:
                score = family_network.pair({family: pair.full(block) for family, pair in pairs.items()})
            scores[start : start + block_size] += weight * score

    def _score_candidates(
        self, asked: torch.Tensor | Histories, exclude_seen: bool, allowed: AllowedItems | None
    ) -> torch.Tensor:
        by_popularity = self._by_popularity
        if self.falls_back():
            return by_popularity.repeat(len(asked), 1)
        scores = torch.empty(len(asked), len(by_popularity), device=self.device)

        def put(lists: Candidates, values: torch.Tensor, block: slice) -> None:
            scores[block] = by_popularity
            rows, columns = lists.mask.nonzero(as_tuple=True)
            scores[block][rows, lists.items[rows, columns]] = values[rows, columns]

        self._map_scores(put, asked, exclude_seen, allowed)
        return scores

    def best_candidates(
        self, asked: torch.Tensor | Histories, k: int, exclude_seen: bool = True, allowed: AllowedItems | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The best candidates of users or histories, without the scores of other items.

        Args:
            asked: user ids, int64 [n], or histories as :meth:`score_histories` takes them.
            k: number of candidates.
            exclude_seen: whether the items of a history are no candidates.
            allowed: as in :meth:`score_all`.

        Returns:
            Item ids int64 [n, k], best first and those of equal scores in an order that no label changes, and their
            scores float32 [n, k] as :meth:`score_all` has them. -1 and minus infinity where no candidates are left:
            popular items follow. All are -1 where popularity ranks (:meth:`falls_back`).
        """
        if isinstance(asked, Histories):
            self._check_histories()
        items = torch.full((len(asked), k), -1, device=self.device)
        scores = torch.full((len(asked), k), -torch.inf, device=self.device)
        if self.falls_back():
            return items, scores

        def put(lists: Candidates, values: torch.Tensor, block: slice) -> None:
            best, index = values.masked_fill(~lists.mask, -torch.inf).sort(dim=1, descending=True, stable=True)
            width = min(k, best.shape[1])
            scores[block, :width] = best[:, :width]
            items[block, :width] = lists.items.gather(1, index[:, :width])

        self._map_scores(put, asked, exclude_seen, allowed)
        return items, scores

    def _map_scores(
        self,
        put: Callable[[Candidates, torch.Tensor, slice], None],
        asked: torch.Tensor | Histories,
        exclude_seen: bool,
        allowed: AllowedItems | None,
    ) -> None:
        """Call a function with the candidates of each block of users or histories, their scores and its rows."""
        products = None
        if self.families == [self._candidate_family] and not torch.is_grad_enabled():
            products = PairProducts(self, self.correction)

        def scored(lists: Candidates, block: slice) -> None:
            lists = self._here(lists)
            if products is None:
                values = self.candidate_scores(self._columns_of(lists, asked[block]))
            else:
                values = products(lists.features)
            # The loss is invariant to a constant added to a list's scores. The log-softmax removes this constant.
            values = values.masked_fill(~lists.mask, -torch.inf).log_softmax(dim=1)
            put(lists, _above_minimum(values), block)

        self.candidate_pairs.map_lists(scored, asked, exclude_seen, allowed)

    def score_histories(
        self, histories: Histories, exclude_seen: bool = True, allowed: AllowedItems | None = None
    ) -> torch.Tensor:
        """Scores of all items of the dataset for some histories, which may belong to no user of it.

        Args:
            histories: item ids of each history, and user ids or -1. Items without training interactions do not count.
            exclude_seen: whether the items of a history are no candidates.
            allowed: as in :meth:`score_all`.

        Returns:
            float32 [n, n_items], as :meth:`score_all`.

        Raises:
            ValueError: if the network reads further families, which describe users by id.
        """
        self._check_histories()
        return self._score_candidates(histories, exclude_seen, allowed)

    def _check_histories(self) -> None:
        if self.families != [self.candidate_family]:
            raise ValueError(
                f"Histories can be scored by a model of one family, proximity or sequence; this one reads "
                f"{self.families}."
            )

    def history_columns(
        self, histories: Histories, exclude_seen: bool = True, allowed: AllowedItems | None = None
    ) -> tuple[Candidates, list[dict[str, torch.Tensor]]]:
        """Candidates of some histories and their columns, as :meth:`candidate_columns`.

        Raises:
            ValueError: if the network reads further families, which describe users by id.
        """
        self._check_histories()
        lists = self._here(self.candidate_pairs.candidates_of(histories, exclude_seen, allowed))
        return lists, self._columns_of(lists, histories)

    def _here(self, lists: Candidates) -> Candidates:
        """Candidate lists on the device of this network; scorers may compute elsewhere."""
        return Candidates(lists.items.to(self.device), lists.features.to(self.device))

    @property
    def _by_popularity(self) -> torch.Tensor:
        """Scores of items that are no candidates, float32 [n_items]."""
        return MIN_CANDIDATE_SCORE - 1 - self.candidate_pairs.popularity_rank.to(self.device)

    def candidate_scores(self, columns: list[dict[str, torch.Tensor]]) -> torch.Tensor:
        """Scores of the candidates with these columns before the softmax over the list, float32 [n, n_candidates]."""
        weights, family = self.correction, self._candidate_family
        n_read = self._pairs_without_content.dim  # the columns by content after them are the correction's alone

        def scores_of(some: list[dict[str, torch.Tensor]]) -> torch.Tensor:
            user, item, pair = some
            scores = self(user, item, {**pair, family: pair[family][..., :n_read]})
            return scores if weights is None else corrected(scores, pair[family], weights)

        n_lists = len(columns[2][family])
        if self.device.type != "cpu" or torch.is_grad_enabled() or n_lists <= _CACHED_LISTS:
            return scores_of(columns)
        blocks = [
            [{name: values[start : start + _CACHED_LISTS] for name, values in side.items()} for side in columns]
            for start in range(0, n_lists, _CACHED_LISTS)
        ]
        return torch.cat(in_torch_threads(scores_of, blocks))

    def candidate_columns(
        self, users: torch.Tensor, exclude_seen: bool = True, allowed: AllowedItems | None = None
    ) -> tuple[Candidates, list[dict[str, torch.Tensor]]]:
        """Candidates of some users, and their user, item and pair columns by family, as :meth:`forward` takes them."""
        lists = self._here(self.candidate_pairs.candidates(users, exclude_seen, allowed))
        return lists, self._columns_of(lists, users)

    def _columns_of(self, lists: Candidates, asked: torch.Tensor | Histories) -> list[dict[str, torch.Tensor]]:
        """User, item and pair columns of candidates by family; those of users or of histories, which have no others."""
        pair = {self._candidate_family: lists.features}
        if isinstance(asked, Histories):
            none = {self._candidate_family: lists.features[..., :0]}
            return [none, none, pair]
        items = lists.items.clamp(min=0)
        user = {f: getattr(self, column("user", f))[asked][:, None] for f in self.families}
        item = {f: getattr(self, column("item", f))[items] for f in self.families}
        for family in self._pairs:
            if family != self._candidate_family:
                repeated = asked[:, None].expand_as(items).flatten()
                pair[family] = self.pairs(family)(repeated, items.flatten()).view(*items.shape, -1)
        return [user, item, pair]


def _above_minimum(log_shares: torch.Tensor) -> torch.Tensor:
    """Logarithms of shares as scores of at least :data:`MIN_CANDIDATE_SCORE`, in the same order; the lowest may tie."""
    below = (_UNCOMPRESSED - log_shares).clamp(0.0, 1e30)
    width = _UNCOMPRESSED - MIN_CANDIDATE_SCORE
    return log_shares.clamp(min=_UNCOMPRESSED) - below * (width / (width + below))


def mask_non_candidates(scores: torch.Tensor) -> torch.Tensor:
    """Scores of :meth:`RankingNetwork.score_all` with the popularity of non-candidates masked out.

    The score of an item that is no candidate says only how popular the item is. A mixture with the scores of another
    model should not read that. So all such items get the score of the user's last candidate.

    Args:
        scores: float32 [n_users, n_items].

    Returns:
        float32 [n_users, n_items]; zeros for a user without candidates.
    """
    candidate = scores >= MIN_CANDIDATE_SCORE
    lowest = torch.where(candidate, scores, torch.inf).amin(dim=1, keepdim=True)
    return torch.where(candidate, scores, torch.where(lowest.isfinite(), lowest, 0.0))
