"""Scores by content: the items of a history and the items that are like them, by one relation between items."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.graph.sums import DIGITS, best_of_sums, rounded, sums_at

#: Sources of a content score, by name.
CONTENT_SCORERS = {
    "content_neighbors": "Sum of the cosines to the user's items that have the item among their nearest items.",
    "content_of_item": "Sum of the cosines to the user's items among the nearest items of the item.",
    "content_nearest": "Cosine to the most similar item of the user, as the 8-norm of all cosines.",
}
# With this power the largest cosine of a few decides, and equal ones add little.
_POWER = 8


class ContentScorers:
    """Scores of items by the cosines of their content to the items of a history.

    Args:
        cosines: positive cosines of each item and its nearest items, csr float32 [n_items, n_items], zero diagonal. An
            item without content has an empty row.
        item_degree: number of interactions of each item; an item without any is no candidate, [n_items].
    """

    def __init__(self, cosines: sp.csr_matrix, item_degree: NDArray) -> None:
        self.cosines = cosines
        known = sp.diags((np.asarray(item_degree) > 0).astype(np.float32))
        outward = (cosines @ known).tocsr()
        outward.eliminate_zeros()
        inward = (cosines.T @ known).tocsr()
        inward.eliminate_zeros()
        self._either = outward.maximum(inward).tocsr()
        powered = self._either.copy()
        powered.data = powered.data**_POWER
        self._relations = outward, inward, powered
        for relation in (*self._relations, self._either):
            relation.sort_indices()

    def draw(
        self,
        history: sp.csr_matrix,
        k: int,
        excluded: sp.csr_matrix,
        allowed: NDArray[np.bool_] | None,
        preference: NDArray[np.float32],
    ) -> NDArray[np.int64]:
        """The items with the largest sums of cosines, in either direction of the relation.

        Args:
            history: weights of the items of each history, csr float32 [n, n_items].
            k: number of items.
            excluded: items that each history leaves out, csr [n, n_items].
            allowed: items that may be drawn, bool [n or 1, n_items]; ``None``: all may.
            preference: factor of each item's scores, float32 [n_items].

        Returns:
            int64 [n, k], -1 where nothing is left.
        """
        return best_of_sums(history, self._either, k, excluded, allowed, preference, DIGITS)[0]

    def of(
        self,
        history: sp.csr_matrix,
        items: NDArray[np.int64],
        lengths: NDArray[np.int64],
        preference: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Scores of some items.

        Args:
            history: as in :meth:`draw`.
            items: items of each history, int64 [n, width].
            lengths: number of items of each history; those after them score 0, int64 [n].
            preference: as in :meth:`draw`.

        Returns:
            float32 [n_content_scorers, n, width], at least 0, in the order of :data:`CONTENT_SCORERS`.
        """
        out = np.stack([sums_at(history, relation, items, lengths) for relation in self._relations])
        out[2] **= np.float32(1 / _POWER)
        return rounded(out) * preference[items]
