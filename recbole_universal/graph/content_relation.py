"""What the content of a catalogue says about pairs of its items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.graph.sparse_sums import check_finite, csr_arrays, csr_of


@dataclass(frozen=True)
class ContentRelation:
    """How much the contents of two items are alike.

    Attributes:
        cosines: positive cosines of each item and its nearest items, csr float32 [n_items, n_items], zero diagonal.
        vectors: rows of length 1, whose products are about the cosines of all pairs, float32 [n_items, dim]; zeros for
            an item without content. An item that lacks one of several spaces is compared by the others.

    Raises:
        ValueError: if both are of another number of items.
    """

    cosines: sp.csr_matrix
    vectors: NDArray[np.float32]

    def __post_init__(self) -> None:
        n_items = len(self.vectors)
        if self.cosines.shape != (n_items, n_items):
            raise ValueError(f"content: {n_items} vectors do not fit cosines of shape {list(self.cosines.shape)}.")

    def relabelled(self, index: NDArray[np.int64], n_items: int) -> ContentRelation:
        """The same relation with other labels.

        Args:
            index: new index of each item, -1 for an item that is left out, int64 [n_items of this relation].
            n_items: new number of items. A label that no item gets has no content.
        """
        kept, cosines = index >= 0, self.cosines.tocoo()
        both = kept[cosines.row] & kept[cosines.col]
        entries = cosines.data[both], (index[cosines.row[both]], index[cosines.col[both]])
        relabelled = sp.csr_matrix(entries, shape=(n_items, n_items))
        relabelled.sort_indices()
        vectors = np.zeros((n_items, self.vectors.shape[1]), dtype=np.float32)
        vectors[index[kept]] = self.vectors[kept]
        return ContentRelation(relabelled, vectors)

    def grown(self, n_items: int) -> ContentRelation:
        """The relation with further items, which have no content; itself if there are none."""
        if n_items == len(self.vectors):
            return self
        return self.relabelled(np.arange(len(self.vectors)), n_items)

    def arrays(self) -> dict[str, NDArray]:
        """Numeric arrays by name; :meth:`from_arrays` takes them."""
        return {"content.vectors": self.vectors} | csr_arrays("content", self.cosines)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray], n_items: int) -> ContentRelation | None:
        """The relation of :meth:`arrays`; ``None`` where they have none.

        Raises:
            KeyError, ValueError: if an array is missing, is of another number of items, or holds NaN or infinity.
        """
        stored = {name: array for name, array in arrays.items() if name.startswith("content")}  # with its self-check
        if not stored:
            return None
        vectors = stored["content.vectors"]
        if vectors.ndim != 2 or vectors.dtype != np.float32:
            raise ValueError(f"its array content.vectors is {vectors.dtype} {list(vectors.shape)}")
        check_finite({name: array for name, array in stored.items() if name.startswith("content.")})
        return cls(csr_of("content", stored, (n_items, n_items)), vectors)
