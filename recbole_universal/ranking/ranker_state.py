"""The state of a ranker: an interaction matrix, its features, the network, and the recommendations from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from recbole_universal import arguments
from recbole_universal.features import UniversalFeatures
from recbole_universal.features.candidate_pairs import CandidatePairs
from recbole_universal.features.proximity_pairs import ProximityPairs
from recbole_universal.graph.allowed_items import AllowedItems
from recbole_universal.graph.content_relation import ContentRelation
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.item_models import best_by_relations
from recbole_universal.graph.popularity import fill_with_popular, popularity_share
from recbole_universal.graph.sparse_sums import checked_csr
from recbole_universal.graph.threads import lazy_property
from recbole_universal.ranking.attribution import attribution
from recbole_universal.ranking.ranking_network import MIN_CANDIDATE_SCORE, RankingNetwork

#: Number of relations of an item in the item-item matrix.
N_RELATIONS = 200
# Floats of the scores of one block of users (64 MB), for a model without candidates.
_BLOCK_FLOATS = 2**24
# Number of lists between two steps of the progress bar.
_BLOCK_LISTS = 4096
# Number of scores of a model without candidates that one thread computes.
_FEW_SCORES = 2**19
# Limit on the length of a list, if the matrix has fewer items.
_MAX_K = 10**6


class RankerState:
    """Immutable state of a ranker. An update makes a new one, so a call uses one state from beginning to end.

    Args:
        matrix: interactions, csr float32 [n_users, n_items], each 1.
        features: universal features of ``evidence``.
        network: a network that holds ``features``.
        evidence: weights of the interactions that are evidence of taste, csr float32 [n_users, n_items], each positive.
            The other interactions are seen items alone.

    Attributes:
        is_weighted: whether the evidence differs from the matrix.
    """

    def __init__(
        self,
        matrix: sp.csr_matrix,
        features: UniversalFeatures,
        network: RankingNetwork,
        evidence: sp.csr_matrix,
    ) -> None:
        self.matrix, self.features, self.network, self.evidence = matrix, features, network, evidence
        self.is_weighted = evidence.nnz < matrix.nnz or bool((evidence.data != 1).any())
        self._seen_only: sp.csr_matrix | None = None
        if evidence.nnz < matrix.nnz:
            self._seen_only = (matrix - evidence.sign()).tocsr()
            self._seen_only.eliminate_zeros()
        network.fallback_reason()  # checked once here, and not by each of the first calls
        self._item_item: sp.csr_matrix | None = None
        self._fast_relations: sp.csr_matrix | None = None
        degree = np.bincount(self.evidence.indices, minlength=matrix.shape[1])
        self._popularity = torch.from_numpy(popularity_share(degree)).to(network.device)

    def content_by_id(self) -> ContentRelation | None:
        """The contents of the items; ``None`` without content."""
        family = self.network.candidate_family
        return None if family is None else cast(CandidatePairs, self.network.pairs(family)).content_by_id()

    @property
    def max_one_thread_users(self) -> int:
        """Number of users whose scores are so few that a second thread costs more than it brings."""
        if self.network.ranks_candidates:
            return self.network.candidate_pairs.scorers.block_users
        return max(1, _FEW_SCORES // self.matrix.shape[1])

    def checked_users(self, users: Any, name: str = "users") -> NDArray[np.int64]:
        """Row indices as int64 [n].

        Raises:
            ValueError: if a user is no row of the matrix.
        """
        n_users = self.matrix.shape[0]
        rows = arguments.array(name, users)
        if rows.ndim != 1 or (len(rows) and (rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= n_users)):
            valid = "row indices" if name == "users" else "a row index"
            raise ValueError(f"{name}: must be {valid} from 0 to {n_users - 1}, [n], got {arguments.shown(users)}.")
        return rows.astype(np.int64)

    def checked_k(self, k: Any) -> int:
        """The length of a list.

        Raises:
            ValueError: if it is not a positive integer within the limit.
        """
        most = max(_MAX_K, self.matrix.shape[1])
        if not arguments.is_integer(k) or not 1 <= int(k) <= most:
            raise ValueError(f"k: must be a positive integer, at most {most}, got {arguments.shown(k)}.")
        return int(k)

    def excludes_seen(self, owner: str, given: Any) -> bool:
        """Whether to leave out seen items; ``None``: unless the histories repeat items.

        Raises:
            ValueError: if the argument is neither a truth value nor ``None``.
        """
        if given is not None:
            return arguments.flag(owner, "exclude_seen", given)
        return not (self.network.ranks_candidates and self.network.candidate_pairs.repeats)

    def checked_histories(self, histories: Any) -> Histories:
        """Histories of column indices.

        Raises:
            ValueError: if an item is no column of the matrix, or a user no row.
        """
        if not isinstance(histories, Histories):
            if isinstance(histories, (str, bytes)) or not hasattr(histories, "__iter__"):
                raise ValueError(f"histories: must be lists of column indices, got {arguments.shown(histories)}.")
            rows = [arguments.array("histories", list(row) if hasattr(row, "__iter__") else row) for row in histories]
            for row in rows:
                if row.dtype == np.uint64 and len(row) and row.max() >= self.matrix.shape[1]:
                    raise ValueError(f"histories: items are column indices, got {row.max()}.")
                if row.ndim != 1 or (len(row) and row.dtype.kind not in "iu"):
                    raise ValueError(f"histories: each must be a list of column indices, got {arguments.shown(row)}.")
            histories = Histories.of_lists(rows)
        n_users, n_items = self.matrix.shape
        wrong = histories.items[(histories.items < 0) | (histories.items >= n_items)]
        if len(wrong):
            raise ValueError(f"histories: items are column indices from 0 to {n_items - 1}, got {wrong[0]}.")
        wrong = histories.users[(histories.users < -1) | (histories.users >= n_users)]
        if len(wrong):
            raise ValueError(f"histories: users are row indices from 0 to {n_users - 1} or -1, got {wrong[0]}.")
        return histories

    def checked_allowed(self, allowed: Any, n_lists: int) -> AllowedItems | None:
        """The items that may be recommended; ``None``: all may.

        Raises:
            ValueError: if it has another type or shape.
        """
        return AllowedItems.checked(allowed, n_lists, self.matrix.shape[1])

    def _without_seen_only(
        self, allowed: AllowedItems | None, users: NDArray[np.int64], exclude_seen: bool
    ) -> AllowedItems | None:
        """Allowed items without those that each user has had with weight 0, which the features do not know."""
        if self._seen_only is None or not exclude_seen:
            return allowed
        return AllowedItems.all_but(allowed, self._seen_only[users])

    def _evidence_of(
        self, histories: Histories, allowed: AllowedItems | None, exclude_seen: bool
    ) -> tuple[Histories, AllowedItems | None]:
        """The evidence of taste in histories, and allowed items without those that have weight 0 and were seen."""
        evidence = histories.of_positive_weight()
        if len(evidence.items) < len(histories.items) and exclude_seen:
            allowed = AllowedItems.all_but(allowed, histories.matrix(self.matrix.shape[1]))
        if "proximity" not in self.network.families:  # scorers of the order read no weights
            evidence = evidence.without_weights()
        return evidence, allowed

    def top_k(
        self,
        users: NDArray[np.int64],
        k: int,
        exclude_seen: bool,
        show_progress: bool,
        allowed: AllowedItems | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See :meth:`UniversalRanker.top_k`."""
        allowed = self._without_seen_only(allowed, users, exclude_seen)
        if self.network.ranks_candidates:
            return self._best_candidates(users, users, k, exclude_seen, show_progress, allowed)
        return self._best(users, k, exclude_seen, show_progress, allowed)

    def top_k_of(
        self, histories: Histories, k: int, exclude_seen: bool, allowed: AllowedItems | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See :meth:`UniversalRanker.top_k_of`."""
        evidence, allowed = self._evidence_of(histories, allowed, exclude_seen)
        return self._best_candidates(evidence, histories, k, exclude_seen, False, allowed)

    def _best_candidates(
        self,
        evidence: NDArray[np.int64] | Histories,
        asked: NDArray[np.int64] | Histories,
        k: int,
        exclude_seen: bool,
        show_progress: bool,
        allowed: AllowedItems | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best candidates of users or histories with this evidence of taste, and popular items after them."""
        n, n_ranked = len(asked), min(k, self.matrix.shape[1])
        items = np.full((n, k), -1, dtype=np.int64)
        values = np.full((n, k), -np.inf, dtype=np.float32)
        with tqdm(total=n, desc="ranking", unit="user", disable=not show_progress) as bar:
            for start in range(0, max(1, n), _BLOCK_LISTS):
                block = slice(start, min(n, start + _BLOCK_LISTS))
                some = None if allowed is None else allowed[block]
                part = evidence[block]
                rows = part if isinstance(part, Histories) else torch.from_numpy(part).to(self.network.device)
                best = self.network.best_candidates(rows, n_ranked, exclude_seen, some)
                items[block, :n_ranked], values[block, :n_ranked] = (tensor.cpu().numpy() for tensor in best)
                bar.update(block.stop - start)
        self._fill_with_popular(items, values, asked if exclude_seen else None, allowed, MIN_CANDIDATE_SCORE - 1)
        return items, values

    @lazy_property
    def _popular(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Popularity rank of each item, and the items by it."""
        rank = self.network.candidate_pairs.popularity_rank.cpu().numpy()
        return rank, np.argsort(rank, kind="stable")

    def _fill_with_popular(
        self,
        items: NDArray[np.int64],
        values: NDArray[np.float32],
        asked: NDArray[np.int64] | Histories | None,
        allowed: AllowedItems | None,
        highest: float,
    ) -> None:
        """Fill the ends of lists with popular items.

        Args:
            items: items of each list, int64 [n, k], -1 at the end; changed in place.
            values: their scores, float32 [n, k]; changed in place.
            asked: users or histories whose items the lists leave out; ``None``: they leave out no items.
            allowed: the items that may follow; ``None``: all may.
            highest: score of an item that is as popular as the most popular one.
        """
        rows = np.flatnonzero((items < 0).any(axis=1))
        if not len(rows):
            return
        rank, order = self._popular
        lists, n_items = items[rows], self.matrix.shape[1]
        if asked is None:
            seen = sp.csr_matrix((len(rows), n_items))
        else:
            seen = asked[rows].matrix(n_items) if isinstance(asked, Histories) else self.matrix[asked[rows]]
        is_popular = lists < 0
        fill_with_popular(lists, order, seen, None if allowed is None else allowed[rows])
        items[rows] = lists
        values[rows] = np.where(is_popular, np.where(lists >= 0, highest - rank[lists], -np.inf), values[rows])

    def _best(
        self, users: NDArray[np.int64], k: int, exclude_seen: bool, show_progress: bool, allowed: AllowedItems | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best allowed items of users by a network without candidates."""
        n, n_items = len(users), self.matrix.shape[1]
        n_ranked = min(k, n_items)
        block_size = max(1, _BLOCK_FLOATS // n_items)
        items = np.full((n, k), -1, dtype=np.int64)
        values = np.full((n, k), -np.inf, dtype=np.float32)
        with tqdm(total=n, desc="ranking", unit="user", disable=not show_progress) as bar:
            for start in range(0, n, block_size):
                block = slice(start, min(n, start + block_size))
                scores = self._scores(users[block], exclude_seen)
                if allowed is not None:
                    scores.masked_fill_(~torch.tensor(allowed[block].dense(), device=scores.device), -torch.inf)
                best, index = scores.topk(n_ranked, dim=1)
                index = torch.where(best > -torch.inf, index, -1)
                items[block, :n_ranked] = index.cpu().numpy()
                values[block, :n_ranked] = best.cpu().numpy()
                bar.update(block.stop - start)
        return items, values

    def _scores(self, users: NDArray[np.int64], exclude_seen: bool) -> torch.Tensor:
        """Scores of all items, minus infinity for excluded items; float32 [n_users, n_items]."""
        device = self.network.device
        scores = self.network.score_all(torch.from_numpy(users).to(device))
        unknown = torch.from_numpy(np.diff(self.evidence.indptr)[users] == 0).to(device)
        if unknown.any():
            scores[unknown] = self._popularity
        return self._without(scores, self.matrix[users]) if exclude_seen else scores

    def _without(self, scores: torch.Tensor, seen: sp.csr_matrix) -> torch.Tensor:
        """Scores with minus infinity for the entries of a matrix."""
        rows, columns = (torch.from_numpy(index.astype(np.int64)).to(scores.device) for index in seen.nonzero())
        scores[rows, columns] = -torch.inf
        return scores

    def item_item(self, show_progress: bool) -> sp.csr_matrix:
        """See :meth:`UniversalRanker.item_item`."""
        if self._item_item is None:
            self._check_fast()
            relations = cast(ProximityPairs, self.network.pairs("proximity")).item_item(N_RELATIONS, show_progress)
            relations.data.flags.writeable = False
            self._item_item = relations
        return self._item_item

    @property
    def has_item_item(self) -> bool:
        """Whether :meth:`item_item` is computed."""
        return self._item_item is not None

    def item_item_arrays(self) -> dict[str, NDArray]:
        """The matrix of :meth:`item_item` as arrays by name; none if it is not computed."""
        relations = self._item_item
        return {} if relations is None else {name: getattr(relations, name) for name in ("data", "indices", "indptr")}

    def restore_item_item(self, arrays: Mapping[str, NDArray]) -> None:
        """Take the matrix of :meth:`item_item_arrays`.

        Raises:
            ValueError, LookupError: if the arrays are no matrix of this size.
        """
        if arrays:
            n_items = self.matrix.shape[1]
            self._item_item = checked_csr(arrays["data"], arrays["indices"], arrays["indptr"], (n_items, n_items))

    def _check_fast(self) -> None:
        """Refuse a model without an item-item matrix."""
        if not self.network.ranks_candidates or not isinstance(self.network.candidate_pairs, ProximityPairs):
            raise ValueError(
                "Only a model with the family [proximity] has an item-item matrix. Leave out fast (--fast), or choose "
                "the model universal-base (--model)."
            )

    def fallback_reason(self, fast: bool) -> str:
        """See :meth:`UniversalRanker.fallback_reason`."""
        if not fast:
            return self.network.fallback_reason()
        pairs = self.network.pairs("proximity") if "proximity" in self.network.families else None
        return pairs.linear_fallback_reason if isinstance(pairs, ProximityPairs) else ""

    def fast_relations(self, show_progress: bool) -> sp.csr_matrix:
        """The matrix whose rows ``fast`` lists sum: :meth:`item_item`, or an empty one if popularity ranks."""
        if self._fast_relations is None:
            self._check_fast()
            reason = self.fallback_reason(fast=True)
            personal = bool(reason) and not self.fallback_reason(fast=False)
            advice = "Lists that are not fast are personal." if personal else ""
            self.network.fallback.warn(self.network.candidate_pairs, reason, fast=True, advice=advice)
            if reason:
                n_items = self.matrix.shape[1]
                self._fast_relations = sp.csr_matrix((n_items, n_items), dtype=np.float32)
            else:
                self._fast_relations = self.item_item(show_progress)
        return self._fast_relations

    def fast_top_k(
        self,
        asked: NDArray[np.int64] | Histories,
        k: int,
        exclude_seen: bool,
        show_progress: bool,
        allowed: AllowedItems | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best items of users or histories, see :meth:`UniversalRanker.top_k`."""
        all_asked = asked
        if isinstance(asked, Histories):
            of_lists = asked.matrix(self.matrix.shape[1])
            if asked.weights is not None:
                of_lists = asked.weighted(self.matrix.shape[1], 1.0)
                asked, allowed = self._evidence_of(asked, allowed, exclude_seen)
        else:
            allowed = self._without_seen_only(allowed, asked, exclude_seen)
            of_lists = self.evidence[asked]
        items, values = best_by_relations(of_lists, self.fast_relations(show_progress), k, exclude_seen, allowed)
        # Popular items fill up a short list, as they follow the candidates of the network.
        self._fill_with_popular(items, values, all_asked if exclude_seen else None, allowed, 0.0)
        return items, values

    @torch.no_grad()
    def explain(self, asked: int | Histories, k: int) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]:
        """See :meth:`UniversalRanker.explain` and :meth:`UniversalRanker.explain_history`."""
        if self.network.falls_back():
            exclude_seen = self.excludes_seen("explain", None)
            if isinstance(asked, Histories):
                popular = self.top_k_of(asked, k, exclude_seen)[0][0]
            else:
                popular = self.top_k(np.asarray([asked]), k, exclude_seen, False)[0][0]
            popular = popular[popular >= 0]
            return popular, {"popularity": np.ones(len(popular), dtype=np.float32)}
        if isinstance(asked, Histories):
            asked, allowed = self._evidence_of(asked, None, self.excludes_seen("explain", None))
            return attribution(self.network, asked, k, allowed)
        allowed = self._without_seen_only(None, np.asarray([asked]), self.excludes_seen("explain", None))
        return attribution(self.network, asked, k, allowed)
