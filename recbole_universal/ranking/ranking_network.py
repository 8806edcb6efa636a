"""The network with the features of one dataset: it scores and ranks that dataset's items by id."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_universal.checkpoint import Pretrained
from recbole_universal.features import FeaturePipeline, UniversalFeatures
from recbole_universal.features.candidate_pairs import CandidatePairs
from recbole_universal.features.candidates import Candidates
from recbole_universal.features.family import PairFeatures
from recbole_universal.features.fields import column
from recbole_universal.features.self_check import CheckResult, SelfCheck
from recbole_universal.graph.allowed_items import AllowedItems
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.threads import in_torch_threads, one_thread
from recbole_universal.ranking.correction import ContentGain, choose_correction, content_gain, corrected
from recbole_universal.ranking.fallback import Fallback
from recbole_universal.ranking.network import FamilyNetwork, UniversalNetwork
from recbole_universal.ranking.pair_products import PairProducts

#: All candidates score at least this and at most 0; all other items score less.
MIN_CANDIDATE_SCORE = -60.0
# Logarithms of shares from here to 0 are the scores. Lower ones are compressed.
_UNCOMPRESSED = -30.0
# Upper bound on the floats of one block of pair features in full ranking (256 MB).
_BLOCK_FLOATS = 2**26
# Number of lists whose layers fit the processor's cache. More at once take three times as long.
_CACHED_LISTS = 16
# Number of users of the self-check that are scored at once.
_CHECK_USERS = 50


class _Checked(NamedTuple):
    """What the self-check says about a network.

    Attributes:
        check: the self-check without content.
        weights: the network's weights at that time.
        correction: weights of the candidates' columns.
        result: result of the corrected scores.
        content: what content adds; ``None`` without content.
    """

    check: SelfCheck
    weights: torch.Tensor
    correction: torch.Tensor
    result: CheckResult
    content: ContentGain | None


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


class RankingNetwork(UniversalNetwork):
    """A :class:`UniversalNetwork` that scores the users and items of one dataset, whose features it holds.

    With the family ``proximity`` or ``sequence`` only a user's candidates are scored. The score of a candidate is the
    logarithm of its share in a softmax over the list; logarithms below -30 are compressed to scores from -30 to -60.
    All other items follow in the order of their popularity. The self-check corrects the scores for the dataset
    (:mod:`recbole_universal.ranking.correction`). Where it finds popularity better, popularity alone ranks
    (:meth:`falls_back`).

    Arguments are those of :class:`UniversalNetwork`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pairs: dict[str, PairFeatures] = {}
        self.fallback = Fallback()
        self._checked: _Checked | None = None

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

    def pairs(self, family: str) -> PairFeatures:
        """The pair features of a family, on this network's device."""
        self._pairs[family] = self._pairs[family].to(self.device)
        return self._pairs[family]

    @property
    def candidate_pairs(self) -> CandidatePairs:
        """The pair features of the family that makes candidates; with content if that ranks here."""
        pairs = self._pairs_without_content
        if pairs.with_content is None:  # most rankers; the gain compares all weights of the network
            return pairs
        gain = self.content_gain
        return pairs.with_content if gain is not None and gain.helps else pairs

    @property
    def _pairs_without_content(self) -> CandidatePairs:
        return cast(CandidatePairs, self.pairs(self._candidate_family))

    @property
    def _candidate_family(self) -> str:
        assert self.candidate_family is not None
        return self.candidate_family

    def falls_back(self) -> bool:
        """Whether popularity ranks on this dataset instead of the network; warns about it once.

        Popularity ranks if it has the better NDCG@10 on the held-out interactions of the self-check
        (:func:`recbole_universal.features.self_check.falls_back`), or if no user has two interactions. The network
        always ranks in training mode. It also always ranks if it reads further families, since the self-check has no
        columns of them.

        The result is cached until the weights or the self-check change.
        """
        reason = self.fallback_reason()
        if self.ranks_candidates:
            self.fallback.warn(self.candidate_pairs, reason)
        return bool(reason)

    def fallback_reason(self) -> str:
        """The reason of :meth:`falls_back`, a phrase for messages; empty if the network ranks."""
        if not self._is_checked:
            return ""
        return self.candidate_pairs.fallback_reason("the model", self.check_result())

    @property
    def content_gain(self) -> ContentGain | None:
        """What content adds in the self-check; ``None`` without content or self-check."""
        checked = self._self_checked() if self._is_checked else None
        return None if checked is None else checked.content

    @property
    def correction(self) -> torch.Tensor | None:
        """Weights of the candidates' columns in the correction, float32 [dim]; ``None`` without self-check."""
        checked = self._self_checked() if self._is_checked else None
        return None if checked is None else checked.correction

    def check_result(self) -> CheckResult | None:
        """What the self-check measures about the corrected network; ``None`` without self-check."""
        checked = self._self_checked() if self._is_checked else None
        return None if checked is None else checked.result

    def check_arrays(self) -> dict[str, NDArray]:
        """The correction and the result of the self-check, for :meth:`restore_check`; empty without self-check."""
        checked = self._self_checked() if self._is_checked else None
        if checked is None:
            return {}
        arrays = {name: np.asarray(value) for name, value in checked.result._asdict().items() if value is not None}
        arrays["correction"] = checked.correction.numpy()
        return arrays if checked.content is None else arrays | {"content": np.array(checked.content)}

    def restore_check(self, arrays: Mapping[str, NDArray]) -> None:
        """Take the correction and the result of :meth:`check_arrays` for the present weights and features."""
        check = self._pairs_without_content.check
        if check is None:
            raise ValueError("there is no self-check")
        by_user = torch.from_numpy(arrays["by_user"])
        next_rate = torch.from_numpy(arrays["next_rate"]) if "next_rate" in arrays else None  # not in old folders
        result = CheckResult(float(arrays["ndcg"]), float(arrays["z_score"]), by_user, next_rate)
        gain = ContentGain(*arrays["content"].tolist()) if "content" in arrays else None
        self._checked = _Checked(check, self.weights(), torch.from_numpy(arrays["correction"]), result, gain)

    def weights(self) -> torch.Tensor:
        """All weights and buffers of the networks, float32 [n]."""
        tensors = (*self.parameters(), *self.scorers.buffers())  # `scorers` are the single networks
        return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])

    @property
    def _is_checked(self) -> bool:
        """Whether the self-check judges the network; it has no columns of further families."""
        return not self.training and self.families == [self.candidate_family]

    def _self_checked(self) -> _Checked | None:
        """The correction and its result for the present weights; ``None`` without self-check."""
        pairs = self._pairs_without_content
        check = pairs.check
        if check is None:
            return None
        weights = self.weights()  # compared, since PyTorch counts no version for some changes in place
        checked = self._checked  # other threads may replace it
        if checked is None or checked.check is not check or not torch.equal(checked.weights, weights):
            # Calls outside of inference mode use the cached tensors. The operations are small. While other processes
            # are busy, two threads take many times as long, because each operation waits for both.
            with torch.inference_mode(False), one_thread():
                checked = self._measured(check, None if pairs.with_content is None else pairs.with_content.check)
            self._checked = checked
        return checked

    def _measured(self, check: SelfCheck, with_content: SelfCheck | None) -> _Checked:
        weights = self.weights()
        correction, result = choose_correction(check, self._check_scores(check))
        if with_content is None:
            return _Checked(check, weights, correction, result, None)
        other = choose_correction(with_content, self._check_scores(with_content))
        gain = content_gain(result, other[1])
        return _Checked(check, weights, *(other if gain.helps else (correction, result)), gain)

    @torch.no_grad()
    def _check_scores(self, check: SelfCheck) -> torch.Tensor:
        family, n_read = self._candidate_family, self._pairs_without_content.dim
        no_columns = {family: torch.zeros(1, 1, 0, device=self.device)}
        blocks = (block[..., :n_read].to(self.device).float() for block in check.features.split(_CHECK_USERS))
        return torch.cat([self(no_columns, no_columns, {family: block}) for block in blocks])

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
