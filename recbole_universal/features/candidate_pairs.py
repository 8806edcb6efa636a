"""Candidate pairs of one dataset: candidate lists of histories with columns, by user and item id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_universal.features.candidate_columns import N_CONTENT_COLUMNS, CandidateColumns, n_columns
from recbole_universal.features.candidates import CandidateGenerator, Candidates, ScoredCandidates, Scorers
from recbole_universal.features.family import FamilyFeatures, PairFeatures
from recbole_universal.features.self_check import CheckResult, SelfCheck, fallback_reason
from recbole_universal.graph.allowed_items import AllowedItems
from recbole_universal.graph.content_relation import ContentRelation
from recbole_universal.graph.content_scorers import ContentScorers
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.popularity import popularity_rank as rank_by_popularity
from recbole_universal.graph.sparse_sums import arrays_under, check_indices
from recbole_universal.graph.threads import in_torch_threads, lazy_property

# Fewer users than this are not divided among threads.
_LEAST_USERS = 16

_Result = TypeVar("_Result")
AnyScorers = TypeVar("AnyScorers", bound=Scorers)
Pairs = TypeVar("Pairs", bound="CandidatePairs")


class CandidatePairs(PairFeatures, Generic[AnyScorers]):
    """Histories and candidates of one dataset, described on request by scorers.

    The candidates of a history are the items that the sources of the scorers draw. All other pairs have all-zero
    features. Use :meth:`candidates` or :meth:`candidates_of` to rank.

    Args:
        scorers: the scorers of the dataset.
        scorer_weights: held-out NDCG@10 of each scorer relative to the best scorer's, in [0, 1], float32 [n_scorers].
        top_k: number of candidates from each source of the scorers.
        user_index: scorer index of each user id, -1 without interactions, int64 [n_users].
        item_index: the same for items, int64 [n_items].
        check: the self-check that measured the scorer weights; ``None`` if no interaction could be held out.
        content: scores by content, which draw candidates and add columns; ``None``: there is none.

    Attributes:
        content_decay: weight of an item of age a in the content of a history is ``content_decay ** a``.
        with_content: the same pairs with content. Their self-check has the lists with content of the same users and
            held-out interactions. ``None`` if the content of the items is not known.
        repeats: whether the training histories repeat items. The items of a history are then candidates like others,
            where a call does not say otherwise.
        origin: an object that all updates of the same features share.
    """

    content_decay: ClassVar[float] = 1.0

    def __init__(
        self,
        scorers: AnyScorers,
        scorer_weights: NDArray[np.float32],
        top_k: int,
        user_index: NDArray[np.int64] | None = None,
        item_index: NDArray[np.int64] | None = None,
        check: SelfCheck | None = None,
        content: ContentScorers | None = None,
    ) -> None:
        self.scorers, self.scorer_weights, self.top_k, self.check = scorers, scorer_weights, top_k, check
        self.user_index = np.arange(scorers.n_users) if user_index is None else user_index
        self.item_index = np.arange(scorers.n_items) if item_index is None else item_index
        self.n_users, self.n_items = len(self.user_index), len(self.item_index)
        self.dim = n_columns(scorers.names) + (0 if content is None else N_CONTENT_COLUMNS)
        self.with_content: CandidatePairs | None = None
        self.origin = object()
        self.repeats = scorers.repeats
        self._generator = CandidateGenerator(scorers, top_k, self.repeats, content, self.content_decay)
        self._columns = CandidateColumns(scorers, scorer_weights, self._generator.item_percentile)
        known = np.flatnonzero(self.item_index >= 0)
        item_id = np.full(scorers.n_items, -1, dtype=np.int64)
        item_id[self.item_index[known]] = known
        self._item_id = torch.from_numpy(item_id).to(scorers.device)

    def add_content(self, relation: ContentRelation, check: SelfCheck | None = None) -> None:
        """Set :attr:`with_content`.

        Args:
            relation: as of :class:`ContentScorers`, by index in the scorers.
            check: the self-check with content; ``None`` if no interaction could be held out.
        """
        content = ContentScorers(relation, self.scorers.item_degree)
        index = self.user_index, self.item_index
        self.with_content = type(self)(self.scorers, self.scorer_weights, self.top_k, *index, check, content)
        self.with_content.origin = self.origin

    @property
    def content(self) -> ContentRelation | None:
        """The argument of :meth:`add_content`; ``None`` without content."""
        scorers = None if self.with_content is None else self.with_content._generator.content
        return None if scorers is None else scorers.relation

    def content_by_id(self) -> ContentRelation | None:
        """The relation of :meth:`add_content` by item id; ``None`` without content."""
        return None if self.content is None else self.content.relabelled(self._item_id.cpu().numpy(), self.n_items)

    def __deepcopy__(self, memo) -> CandidatePairs:
        return self  # immutable and as large as the dataset; RecBole copies a model to count its operations

    @lazy_property
    def popularity_rank(self) -> torch.Tensor:
        """Popularity rank of each item id in [0, 1), 0 = most popular, equal for equals; float32 [n_items]."""
        degree = np.where(self.item_index >= 0, self.scorers.item_degree[self.item_index], -1.0)
        with torch.inference_mode(False):  # calls outside of inference mode use the cached tensor
            return torch.from_numpy(rank_by_popularity(degree)).to(self.scorers.device)

    @lazy_property
    def _mostly_one_interaction(self) -> bool:
        """Whether most users with interactions have a single one."""
        degree = self.scorers.user_degree
        return bool(np.mean(degree[degree > 0] == 1) > 0.5)

    def fallback_reason(self, name: str, result: CheckResult | None) -> str:
        """Why popularity ranks on this dataset instead of a ranking; empty if it does not.

        Args:
            name: what the message calls the ranking.
            result: the ranking's result in the self-check; not read if there is no self-check.
        """
        return fallback_reason(self.check, self._mostly_one_interaction, name, result)

    @lazy_property
    def linear_fallback_reason(self) -> str:
        """:meth:`fallback_reason` of lists from :meth:`item_item`."""
        result = None if self.check is None else self.check.result(self.check.linear_scores)
        return self.fallback_reason("fast lists", result)

    def candidates(
        self, users: torch.Tensor, exclude_seen: bool | None = None, allowed: AllowedItems | None = None
    ) -> Candidates:
        """Candidate lists of some users.

        Args:
            users: user ids, int64 [n]. The list of an id without interactions is empty.
            exclude_seen: whether to leave out the user's items; ``None``: unless the data :attr:`repeats` items.
            allowed: item ids that may be candidates; ``None``: all may.

        Returns:
            Lists padded to the longest, in no particular order, on the scorers' device.
        """
        return self._candidates(self._histories(users), exclude_seen, allowed)

    def candidates_of(
        self, histories: Histories, exclude_seen: bool | None = None, allowed: AllowedItems | None = None
    ) -> Candidates:
        """Candidate lists of some histories.

        Args:
            histories: item ids of each history, and user ids or -1. Items without training interactions do not count.
            exclude_seen: as in :meth:`candidates`.
            allowed: as in :meth:`candidates`.

        Returns:
            As :meth:`candidates`.
        """
        return self._candidates(self._by_index(histories), exclude_seen, allowed)

    def _candidates(self, histories: Histories, exclude_seen: bool | None, allowed: AllowedItems | None) -> Candidates:
        return _joined(self._map(lambda lists, _: lists, histories, exclude_seen, allowed))

    def map_lists(
        self,
        function: Callable[[Candidates, slice], _Result],
        asked: torch.Tensor | Histories,
        exclude_seen: bool | None = None,
        allowed: AllowedItems | None = None,
    ) -> list[_Result]:
        """Results of a function for the candidate lists of each block of users or histories, in several threads.

        The lists of a block stay in the processor's cache, and no other lists are in memory.

        Args:
            function: takes the lists of a block, in which the columns of features come before the users in memory, and
                the rows of the block in ``asked``.
            asked: user ids, int64 [n], or histories of item ids.
            exclude_seen: as in :meth:`candidates`.
            allowed: as in :meth:`candidates`.

        Returns:
            One result a block, in the order of the blocks; at least one.
        """
        histories = self._by_index(asked) if isinstance(asked, Histories) else self._histories(asked)
        return self._map(function, histories, exclude_seen, allowed)

    def _map(
        self,
        function: Callable[[Candidates, slice], _Result],
        histories: Histories,
        exclude_seen: bool | None,
        allowed: AllowedItems | None,
    ) -> list[_Result]:
        """:meth:`map_lists` of histories by index."""
        exclude_seen = not self.repeats if exclude_seen is None else exclude_seen

        def result(block: slice) -> _Result:
            some = None if allowed is None else self._allowed_by_index(allowed[block])
            return function(self._described(self._generator(histories[block], exclude_seen, some)), block)

        return self._by_block(len(histories), result)

    def _allowed_by_index(self, allowed: AllowedItems) -> torch.Tensor:
        """Whether an item may be a candidate, by index in the scorers, bool [n or 1, n_items]."""
        by_id = torch.tensor(allowed.dense(), device=self.scorers.device)
        return by_id[:, self._item_id.clamp(min=0)] & (self._item_id >= 0)

    def _histories(self, users: torch.Tensor) -> Histories:
        """The histories of user ids, by index in the scorers; those of ids without interactions are empty."""
        index = self.user_index[users.cpu().numpy()]
        histories = self.scorers.histories[np.maximum(index, 0)]
        if (index < 0).any():
            histories = histories.where(np.repeat(index >= 0, histories.lengths))
        histories.users = index
        return histories

    def _by_index(self, histories: Histories) -> Histories:
        """Histories of ids, by index in the scorers, without items that have no training interaction."""
        users = np.where(histories.users >= 0, self.user_index[histories.users], -1)
        return histories.relabelled(users, self.item_index)

    def scored(self, users: torch.Tensor) -> list[ScoredCandidates]:
        """Candidates of some users without their columns, by block of users; ``users`` as in :meth:`candidates`."""
        histories = self._histories(users)
        return self._by_block(len(histories), lambda block: self._generator(histories[block], not self.repeats))

    def described(self, blocks: list[ScoredCandidates]) -> Candidates:
        """Candidate lists of the users of :meth:`scored`, as :meth:`candidates` returns them."""
        return _joined([self._described(block) for block in blocks])

    def _by_block(self, n: int, function: Callable[[slice], _Result]) -> list[_Result]:
        """Results of a function for each block of n histories; at least one block."""
        # A batch of few users becomes a block for each thread.
        n_blocks = max(1, -(-n // self.scorers.block_users), min(torch.get_num_threads(), n // _LEAST_USERS))
        edges = [n * block // n_blocks for block in range(n_blocks + 1)]
        blocks = [slice(*edge) for edge in pairwise(edges)]
        if self.scorers.device.type == "cpu":
            return in_torch_threads(function, blocks)
        return [function(block) for block in blocks]

    def _described(self, block: ScoredCandidates) -> Candidates:
        return Candidates(torch.where(block.mask, self._item_id[block.items], -1), self._columns(block))

    def linear_parts(
        self, asked: int | Histories, item: int
    ) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]:
        """What each item of a user or a history adds to the linear scores of an item, up to a factor of the scorer.

        Args:
            asked: user id with interactions, or one history of item ids.
            item: item id with interactions.

        Returns:
            The user's items by id, int64 [n], and by scorer the part of each, float32 [n].
        """
        scorers = self.scorers
        history = self._by_index(asked) if isinstance(asked, Histories) else self._histories(torch.tensor([asked]))
        own = np.unique(history.items)
        alone = Histories.of_lists(own[:, None])
        blocks = [alone[start : start + scorers.block_users] for start in range(0, len(own), scorers.block_users)]
        index, one = int(self.item_index[item]), torch.ones(scorers.n_items, device=scorers.device)
        scores = [
            scorers.asked(block, one).of(np.full((len(block), 1), index), np.ones(len(block), dtype=np.int64))[:, :, 0]
            for block in blocks
        ]
        parts = torch.cat(scores, dim=1).cpu().numpy()
        weights = {
            decay: history.weighted(scorers.n_items, decay).toarray()[0, own] for decay in scorers.decays.values()
        }
        by_scorer = {
            name: part * weights[scorers.decays[name]]
            for name, part in zip(scorers.names, parts, strict=True)
            if name in scorers.linear
        }
        return self._item_id[own].cpu().numpy(), by_scorer

    def linear_scores(self, features: torch.Tensor) -> torch.Tensor:
        """See :meth:`CandidateColumns.linear_scores`."""
        return self._columns.linear_scores(features)

    def __call__(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """See :meth:`PairFeatures.__call__`; all zeros for a pair outside the user's candidates."""
        device = self.scorers.device
        distinct, row = users.to(device).unique(return_inverse=True)
        lists = self.candidates(distinct)
        items = items.to(device)
        features = torch.zeros(len(items), self.dim, device=device)
        if lists.items.shape[1]:
            match = lists.items[row] == items[:, None]
            present = match.any(dim=1)
            features[present] = lists.features[row[present], match[present].int().argmax(dim=1)]
        return features

    def full(self, users: torch.Tensor) -> torch.Tensor:
        """See :meth:`PairFeatures.full`; for a few users only, since most rows are zeros."""
        lists = self.candidates(users)
        full = torch.zeros(len(users), self.n_items + 1, self.dim, device=self.scorers.device)
        index = torch.where(lists.mask, lists.items, self.n_items)
        full.scatter_(1, index[..., None].expand(-1, -1, self.dim), lists.features)
        return full[:, : self.n_items]

    def alone(self) -> FamilyFeatures:
        """These features as those of a family without columns of users or items."""
        user, item = (np.zeros((size, 0), dtype=np.float32) for size in (self.n_users, self.n_items))
        return FamilyFeatures(user, item, self)

    def arrays(self) -> dict[str, NDArray]:
        """See :meth:`PairFeatures.arrays`; as large as the scorers, most of which is the regression."""
        arrays = {"scorer_weights": self.scorer_weights, "top_k": np.array(self.top_k)}
        arrays |= {"user_index": self.user_index, "item_index": self.item_index}
        arrays |= _check_arrays("check.", self.check)
        if self.content is not None and self.with_content is not None:
            arrays |= self.content.arrays() | _check_arrays("content check.", self.with_content.check)
        return arrays | {f"scorers.{name}": array for name, array in self.scorers.arrays().items()}

    @classmethod
    def _of_arrays(cls: type[Pairs], arrays: Mapping[str, NDArray], scorers_of: Callable[[dict], Any]) -> Pairs:
        """The features with a state from :meth:`arrays`, whose scorers ``scorers_of`` makes of their arrays."""

        def check_of(prefix: str) -> SelfCheck | None:
            tensors = {name: torch.from_numpy(array) for name, array in arrays_under(prefix, arrays).items()}
            return SelfCheck(**tensors) if tensors else None

        scorers = scorers_of(arrays_under("scorers.", arrays))
        for name, below in (("user_index", scorers.n_users), ("item_index", scorers.n_items)):
            check_indices(name, arrays[name], below, least=-1)
        index = arrays["user_index"], arrays["item_index"]
        pairs = cls(scorers, arrays["scorer_weights"], int(arrays["top_k"]), *index, check_of("check."))
        relation = ContentRelation.from_arrays(arrays, scorers.n_items)
        if relation is not None:
            pairs.add_content(relation, check_of("content check."))
        return pairs

    def reindexed(self: Pairs, users: NDArray[np.int64], items: NDArray[np.int64]) -> Pairs:
        """See :meth:`PairFeatures.reindexed`."""
        user_index = np.where(users >= 0, self.user_index[users], -1)
        item_index = np.where(items >= 0, self.item_index[items], -1)
        return self._with(self.scorers, user_index, item_index)

    def _with(self: Pairs, scorers: Any, user_index: NDArray[np.int64], item_index: NDArray[np.int64]) -> Pairs:
        other = type(self)(scorers, self.scorer_weights, self.top_k, user_index, item_index, self.check)
        other.origin = self.origin
        if self.content is not None and self.with_content is not None:
            # An item that is new since has no content.
            other.add_content(self.content.grown(scorers.n_items), self.with_content.check)
        return other


def _check_arrays(prefix: str, check: SelfCheck | None) -> dict[str, NDArray]:
    stored = {} if check is None else {name: tensor for name, tensor in vars(check).items() if tensor is not None}
    return {prefix + name: tensor.numpy() for name, tensor in stored.items()}


def _joined(lists: list[Candidates]) -> Candidates:
    """The lists of some blocks, padded to the longest."""
    first = lists[0]
    shape = sum(len(block.items) for block in lists), max(block.items.shape[1] for block in lists)
    items, features = first.items.new_full(shape, -1), first.features.new_zeros(*shape, first.features.shape[2])
    start = 0
    for block in lists:
        rows = slice(start, start + len(block.items))
        items[rows, : block.items.shape[1]] = block.items
        features[rows, : block.items.shape[1]] = block.features
        start = rows.stop
    return Candidates(items, features)
