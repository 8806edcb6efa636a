"""The spaces of a catalogue as one value that a folder can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.array_store import array_digest
from recbole_universal.content.spaces import Space
from recbole_universal.graph.sparse_sums import csr_arrays, csr_of


@dataclass(frozen=True)
class ItemContent:
    """What the items of a catalogue are.

    Attributes:
        spaces: spaces of item vectors, all of the same items, at least one.
    """

    spaces: tuple[Space, ...]

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.spaces[0].vectors)

    @property
    def has_content(self) -> NDArray[np.bool_]:
        """Whether an item has a vector in any space, bool [n_items]."""
        return np.any([space.has_vector for space in self.spaces], axis=0)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the vectors, for keys of caches, in hexadecimal."""
        return array_digest(self.arrays())

    def of_items(self, items: NDArray[np.int64]) -> ItemContent:
        """The content of other items.

        Args:
            items: index of each item in this content, -1 for an item without any, int64 [n].
        """
        return ItemContent(tuple(_of_items(space, items) for space in self.spaces))

    def arrays(self) -> dict[str, NDArray]:
        """The spaces as numeric arrays by name; :meth:`from_arrays` takes them."""
        arrays: dict[str, NDArray] = {}
        for index, space in enumerate(self.spaces):
            name = np.frombuffer(space.name.encode("utf-8", "replace"), dtype=np.uint8)
            arrays |= {f"{index}.name": name, f"{index}.vectors": space.vectors, f"{index}.has": space.has_vector}
            if space.words is not None:
                arrays[f"{index}.n_words"] = np.array(space.words.shape[1])
                arrays |= csr_arrays(f"{index}.words", space.words)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> ItemContent:
        """The content of :meth:`arrays`.

        Raises:
            KeyError, ValueError: if an array is missing or has another shape.
        """
        spaces: list[Space] = []
        while f"{len(spaces)}.vectors" in arrays:
            index = len(spaces)
            vectors, has_vector = arrays[f"{index}.vectors"], arrays[f"{index}.has"]
            words = None
            if any(name.startswith((f"{index}.n_words", f"{index}.words.")) for name in arrays):
                words = csr_of(f"{index}.words", arrays, (len(vectors), int(arrays[f"{index}.n_words"])))
            name = arrays[f"{index}.name"].tobytes().decode()
            if vectors.ndim != 2 or has_vector.shape != (len(vectors),) or len(vectors) != len(arrays["0.vectors"]):
                raise ValueError(f"the arrays of the space {name} have other shapes")
            spaces.append(Space(name, vectors, words, has_vector))
        if not spaces:
            raise ValueError("there is no space of item vectors")
        return cls(tuple(spaces))


def _of_items(space: Space, items: NDArray[np.int64]) -> Space:
    """A space of other items, by their index in this one, -1 for an item without a vector."""
    known, rows = items >= 0, np.maximum(items, 0)
    vectors = np.where(known[:, None], space.vectors[rows], np.float32(0))
    words = None
    if space.words is not None:
        words = sp.csr_matrix(sp.diags(known.astype(np.float32)) @ space.words[rows])
        words.eliminate_zeros()
    return Space(space.name, vectors, words, space.has_vector[rows] & known)
