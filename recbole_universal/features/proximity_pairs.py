"""Proximity of user-item pairs on one dataset: candidate lists with columns, by user and item id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recbole_universal.features.candidates import CandidateGenerator, Candidates, ScoredCandidates, best_unseen, padded
from recbole_universal.features.family import PairFeatures
from recbole_universal.features.proximity_columns import ProximityColumns, n_columns
from recbole_universal.features.self_check import CheckResult, SelfCheck, fallback_reason
from recbole_universal.graph.popularity import popularity_rank as rank_by_popularity
from recbole_universal.graph.scorers import LINEAR, SCORERS, GraphScorers
from recbole_universal.graph.threads import in_torch_threads, lazy_property

# Number of users that the scale of a scorer is estimated from.
_N_SCALE_USERS = 300

_Result = TypeVar("_Result")


class ProximityPairs(PairFeatures):
    """Proximity of the users and items of one dataset, computed on request.

    A user's candidates are the union of every scorer's ``top_k`` best items that the user has not interacted with. All
    other pairs have all-zero features. Use :meth:`candidates` to rank.

    Args:
        scorers: the scorers of the dataset.
        scorer_weights: held-out NDCG@10 of each scorer relative to the best scorer's, in [0, 1], float32 [n_scorers].
        top_k: number of candidates from each scorer.
        user_index: scorer index of each user id, -1 without interactions, int64 [n_users].
        item_index: the same for items, int64 [n_items].
        check: the self-check that measured the scorer weights; ``None`` if no interaction could be held out.

    Attributes:
        origin: an object that all updates of the same features share.
    """

    def __init__(
        self,
        scorers: GraphScorers,
        scorer_weights: NDArray[np.float32],
        top_k: int,
        user_index: NDArray[np.int64] | None = None,
        item_index: NDArray[np.int64] | None = None,
        check: SelfCheck | None = None,
    ) -> None:
        self.scorers, self.scorer_weights, self.top_k, self.check = scorers, scorer_weights, top_k, check
        self.user_index = np.arange(scorers.n_users) if user_index is None else user_index
        self.item_index = np.arange(scorers.n_items) if item_index is None else item_index
        self.n_users, self.n_items = len(self.user_index), len(self.item_index)
        self.dim = n_columns()
        self.origin = object()
        self._generator = CandidateGenerator(scorers, top_k)
        self._columns = ProximityColumns(scorers, scorer_weights, self._generator.item_percentile)
        known = np.flatnonzero(self.item_index >= 0)
        item_id = np.full(scorers.n_items, -1, dtype=np.int64)
        item_id[self.item_index[known]] = known
        self._user_index = torch.from_numpy(self.user_index).to(scorers.device)
        self._item_id = torch.from_numpy(item_id).to(scorers.device)

    def __deepcopy__(self, memo) -> ProximityPairs:
        return self  # immutable and as large as the dataset; RecBole copies a model to count its operations

    @property
    def max_candidates(self) -> int:
        """Length of the longest possible list of unseen items."""
        return self._generator.max_candidates

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

    def candidates(self, users: torch.Tensor, exclude_seen: bool = True) -> Candidates:
        """Candidate lists of some users.

        Args:
            users: user ids, int64 [n]. The list of an id without interactions is empty.
            exclude_seen: whether to leave out the user's items; otherwise all of them are candidates too.

        Returns:
            Lists padded to the longest, in no particular order, on the scorers' device.
        """
        return _joined(self._by_block(users, lambda block: self._described(self._generator(block, exclude_seen))))

    def scored(self, users: torch.Tensor) -> list[ScoredCandidates]:
        """Candidates of some users without their columns, by block of users; ``users`` as in :meth:`candidates`."""
        return self._by_block(users, self._generator)

    def described(self, blocks: list[ScoredCandidates]) -> Candidates:
        """Candidate lists of the users of :meth:`scored`, as :meth:`candidates` returns them."""
        return _joined([self._described(block) for block in blocks])

    def _by_block(self, users: torch.Tensor, function: Callable[[torch.Tensor], _Result]) -> list[_Result]:
        blocks = self._user_index[users.to(self.scorers.device)].split(self.scorers.block_users)
        if self.scorers.device.type == "cpu":
            return in_torch_threads(function, blocks)
        return [function(block) for block in blocks]

    def _described(self, block: ScoredCandidates) -> Candidates:
        return Candidates(torch.where(block.mask, self._item_id[block.items], -1), self._columns(block))

    def linear_scores(self, features: torch.Tensor) -> torch.Tensor:
        """See :meth:`ProximityColumns.linear_scores`."""
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

    def item_item(self, n_relations: int, show_progress: bool = False) -> sp.csr_matrix:
        """The weighted linear scorers as one item-item matrix, see :meth:`GraphScorers.item_item`.

        Scorers differ in scale. So each is divided by its score of a user's best item, averaged over some users, and
        then weighted as in the columns.

        Args:
            n_relations: number of relations of an item to keep.
            show_progress: whether to draw a progress bar.

        Returns:
            csr float32 by item id, [n_items, n_items], row = item of the user.
        """
        drawn = np.random.default_rng(0).permutation(self.scorers.n_users)[:_N_SCALE_USERS]
        best = torch.zeros(len(SCORERS), device=self.scorers.device)
        for users in torch.from_numpy(drawn).split(self.scorers.block_users):
            with self._generator.scores(users) as values:
                top_values, _ = best_unseen(values, self.scorers.matrix[users.numpy()], 1)
                best += top_values.clamp(min=0.0).sum(dim=(1, 2))
        weights = torch.where(best > 0, self._columns.averages[0] / best * len(drawn), 0.0).tolist()
        linear = {name: weight for name, weight in zip(SCORERS, weights, strict=True) if name in LINEAR}
        relations = self.scorers.item_item(linear, n_relations, show_progress)
        ids = np.flatnonzero(self.item_index >= 0)
        entries = (np.ones(len(ids), dtype=np.float32), (ids, self.item_index[ids]))
        by_id = sp.csr_matrix(entries, shape=(self.n_items, self.scorers.n_items))
        return by_id @ relations @ by_id.T.tocsr()

    def arrays(self) -> dict[str, NDArray]:
        """See :meth:`PairFeatures.arrays`; as large as the scorers, most of which is the regression."""
        arrays = {"scorer_weights": self.scorer_weights, "top_k": np.array(self.top_k)}
        arrays |= {"user_index": self.user_index, "item_index": self.item_index}
        if self.check is not None:
            arrays |= {f"check.{name}": tensor.numpy() for name, tensor in vars(self.check).items()}
        return arrays | {f"scorers.{name}": array for name, array in self.scorers.arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> ProximityPairs:
        """See :meth:`PairFeatures.from_arrays`."""

        def part(prefix: str) -> dict[str, NDArray]:
            return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

        scorers = GraphScorers.from_arrays(part("scorers."))
        tensors = {name: torch.from_numpy(array) for name, array in part("check.").items()}
        check = SelfCheck(**tensors) if tensors else None
        index = arrays["user_index"], arrays["item_index"]
        return cls(scorers, arrays["scorer_weights"], int(arrays["top_k"]), *index, check)

    def to(self, device: str | torch.device) -> ProximityPairs:
        """The same features computed on another device."""
        wanted, present = torch.device(device), self.scorers.device
        if wanted.type == present.type and (wanted.index is None or wanted.index == present.index):
            return self
        return self._with(self.scorers.to(device), self.user_index, self.item_index)

    def reindexed(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> ProximityPairs:
        """See :meth:`PairFeatures.reindexed`."""
        user_index = np.where(users >= 0, self.user_index[users], -1)
        item_index = np.where(items >= 0, self.item_index[items], -1)
        return self._with(self.scorers, user_index, item_index)

    def with_interactions(self, matrix: sp.csr_matrix) -> ProximityPairs:
        """The features of a matrix with further interactions.

        Counts, percentiles, user similarities and neighbours are those of a rebuild. Filters, regression and scorer
        weights stay those of the last build, see :meth:`GraphScorers.with_interactions`.

        Args:
            matrix: all interactions by id, csr [n_users, n_items], at least as large as before.
        """
        user_index = _grown(self.user_index, np.diff(matrix.indptr), self.scorers.n_users)
        item_degree = np.bincount(matrix.indices, minlength=matrix.shape[1])
        item_index = _grown(self.item_index, item_degree, self.scorers.n_items)
        rows, columns = matrix.nonzero()
        shape = (int(user_index.max()) + 1, int(item_index.max()) + 1)
        entries = (np.ones(len(rows), dtype=np.float32), (user_index[rows], item_index[columns]))
        return self._with(self.scorers.with_interactions(sp.csr_matrix(entries, shape=shape)), user_index, item_index)

    def _with(
        self, scorers: GraphScorers, user_index: NDArray[np.int64], item_index: NDArray[np.int64]
    ) -> ProximityPairs:
        other = ProximityPairs(scorers, self.scorer_weights, self.top_k, user_index, item_index, self.check)
        other.origin = self.origin
        return other


def _joined(lists: list[Candidates]) -> Candidates:
    width = max(block.items.shape[1] for block in lists)
    return Candidates(
        torch.cat([padded(block.items, width, -1) for block in lists]),
        torch.cat([padded(block.features, width, 0.0) for block in lists]),
    )


def _grown(index: NDArray[np.int64], degree: NDArray[np.int64], n_known: int) -> NDArray[np.int64]:
    """Scorer index of each id. Ids whose first interaction is new get the indices from ``n_known`` on."""
    grown = np.concatenate([index, np.full(len(degree) - len(index), -1, dtype=np.int64)])
    new = np.flatnonzero((grown < 0) & (degree > 0))
    grown[new] = n_known + np.arange(len(new))
    return grown
