"""Proximity of user-item pairs on one dataset: candidate pairs by the graph scorers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recbole_universal.features.candidate_pairs import CandidatePairs
from recbole_universal.graph.scorer_definitions import LINEAR, SCORERS
from recbole_universal.graph.scorers import GraphScorers

# Number of users that the scale of a scorer is estimated from.
_N_SCALE_USERS = 300


class ProximityPairs(CandidatePairs[GraphScorers]):
    """Proximity of the users and items of one dataset, see :class:`CandidatePairs`; the order does not count."""

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
        for start in range(0, len(drawn), self.scorers.block_users):
            users = drawn[start : start + self.scorers.block_users]
            best += self._generator(self.scorers.histories[users]).top_values[:, :, 0].sum(dim=1)
        weights = torch.where(best > 0, self._columns.averages[0] / best * len(drawn), 0.0).tolist()
        linear = {name: weight for name, weight in zip(SCORERS, weights, strict=True) if name in LINEAR}
        relations = self.scorers.item_item(linear, n_relations, show_progress)
        ids = np.flatnonzero(self.item_index >= 0)
        entries = (np.ones(len(ids), dtype=np.float32), (ids, self.item_index[ids]))
        by_id = sp.csr_matrix(entries, shape=(self.n_items, self.scorers.n_items))
        return by_id @ relations @ by_id.T.tocsr()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> ProximityPairs:
        """See :meth:`PairFeatures.from_arrays`."""
        return cls._of_arrays(arrays, GraphScorers.from_arrays)

    def to(self, device: str | torch.device) -> ProximityPairs:
        """The same features computed on another device."""
        wanted, present = torch.device(device), self.scorers.device
        if wanted.type == present.type and (wanted.index is None or wanted.index == present.index):
            return self
        return self._with(self.scorers.to(device), self.user_index, self.item_index)

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


def _grown(index: NDArray[np.int64], degree: NDArray[np.int64], n_known: int) -> NDArray[np.int64]:
    """Scorer index of each id. Ids whose first interaction is new get the indices from ``n_known`` on."""
    grown = np.concatenate([index, np.full(len(degree) - len(index), -1, dtype=np.int64)])
    new = np.flatnonzero((grown < 0) & (degree > 0))
    grown[new] = n_known + np.arange(len(new))
    return grown
