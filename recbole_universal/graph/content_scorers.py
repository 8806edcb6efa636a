"""Scores by content: the items of a history and the items that are like them, by one relation between items."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recbole_universal.graph.content_relation import ContentRelation
from recbole_universal.graph.sums import DIGITS, best_of_sums, rounded, sums_at

#: Sources of a content score, by name.
CONTENT_SCORERS = {
    "content_neighbors": "Sum of the cosines to the user's items that have the item among their nearest items.",
    "content_of_item": "Sum of the cosines to the user's items among the nearest items of the item.",
    "content_nearest": "Cosine to the most similar item of the user.",
    "content_nearest_3": "Mean of the cosines to the three most similar items of the user.",
    "content_mean": "Mean of the cosines to all items of the user.",
}
_N_LARGEST = 3
# Bound on the cosines of one product, some items and all of a history (16 MB).
_MOST_COSINES = 2**22


class ContentScorers:
    """Scores of items by the cosines of their content to the items of a history.

    Args:
        relation: the contents of the items.
        item_degree: number of interactions of each item; an item without any is no candidate, [n_items].
    """

    def __init__(self, relation: ContentRelation, item_degree: NDArray) -> None:
        self.relation, cosines = relation, relation.cosines
        has_degree = np.asarray(item_degree) > 0
        known = sp.diags(has_degree.astype(np.float32))
        outward = (cosines @ known).tocsr()
        outward.eliminate_zeros()
        inward = (cosines.T @ known).tocsr()
        inward.eliminate_zeros()
        self._either = outward.maximum(inward).tocsr()
        self._relations = outward, inward
        vectors = relation.vectors
        if not has_degree.all():
            vectors = np.where(has_degree[:, None], vectors, np.float32(0))
        self._vectors = torch.from_numpy(vectors)
        for cosines in (*self._relations, self._either):
            cosines.sort_indices()

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
        sums = [sums_at(history, relation, items, lengths) for relation in self._relations]
        return rounded(np.stack([*sums, *self._of_vectors(history, items, lengths)])) * preference[items]

    def _of_vectors(
        self, history: sp.csr_matrix, items: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The scores of the last three scorers, at least 0, float32 [3, n, width].

        Sums are as good as means, since a score counts beside others of the same history alone.
        """
        out = np.zeros((3, *items.shape), dtype=np.float32)
        for row, length in enumerate(lengths.tolist()):
            entries = slice(history.indptr[row], history.indptr[row + 1])
            own, weights = history.indices[entries], torch.from_numpy(history.data[entries])
            # PyTorch keeps to the threads of its caller. NumPy's products do not.
            own_vectors = self._vectors[own].T
            step = max(1, _MOST_COSINES // max(1, len(own)))
            for start in range(0, length, step):
                part = slice(start, min(start + step, length))
                asked = items[row, part]
                cosines = self._vectors[asked] @ own_vectors * weights
                cosines[torch.from_numpy(asked[:, None] == own)] = 0.0  # no item is like itself
                largest = cosines.topk(min(_N_LARGEST, len(own)), dim=1).values
                for scores, values in zip(out, (largest[:, :1], largest, cosines), strict=True):
                    scores[row, part] = values.sum(dim=1)
        return out.clip(min=0.0)
