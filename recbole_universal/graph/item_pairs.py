"""The strongest pairs of items by the terms of a relation that are sums over common users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.graph.item_models import paths_from_items, row_blocks
from recbole_universal.graph.sums import DIGITS, compiled
from recbole_universal.graph.threads import lazy_property

# Factor that puts neighbours before all sums.
_FIRST = np.float32(2**64)
# Bits of a float32 beyond DIGITS. The last ones depend on the order of additions.
_DROPPED = 23 - DIGITS


class Pairs(NamedTuple):
    """Some pairs of each item of a block.

    Attributes:
        items: second items, int64 [n, width].
        values: value of each pair, float32 [n, width].
        lengths: number of pairs of each item; those after them do not count, int64 [n].
    """

    items: NDArray[np.int64]
    values: NDArray[np.float32]
    lengths: NDArray[np.int64]

    @classmethod
    def empty(cls, n: int, width: int) -> Pairs:
        """Room for the pairs of n items."""
        return cls(np.zeros((n, width), np.int64), np.zeros((n, width), np.float32), np.zeros(n, np.int64))

    def inside(self) -> NDArray[np.bool_]:
        """Whether an entry is a pair, bool [n, width]."""
        return np.arange(self.items.shape[1]) < self.lengths[:, None]


@dataclass(frozen=True)
class SparseTerms:
    """The terms of a relation of items that are sums over common users, and the nearest neighbours.

    Attributes:
        by_item: users of each item, csr float32 [n_items, n_users].
        matrix: items of each user, csr float32 [n_users, n_items].
        neighbors: weighted cosines of nearest neighbours, csr float32 [n_items, n_items], row = item of the user.
        half: factor of each user in the cosine, float32 [n_users].
        one: factor of each user in the walks, float32 [n_users].
        cosine: weight of the cosine.
        walks: factor of the first item in the walks, float32 [n_items].
        item_half: factor of the second item in the walks, float32 [n_items].
    """

    by_item: sp.csr_matrix
    matrix: sp.csr_matrix
    neighbors: sp.csr_matrix
    half: NDArray[np.float32]
    one: NDArray[np.float32]
    cosine: np.float32
    walks: NDArray[np.float32]
    item_half: NDArray[np.float32]

    @property
    def are_zero(self) -> bool:
        """Whether the weights of all sums over common users are 0."""
        return not (self.cosine or self.walks.any())

    def blocks(self, n_popular: int) -> list[NDArray[np.int64]]:
        """All items in blocks for :meth:`strongest`, which hold the dense terms of a block in memory."""
        n_items = self.matrix.shape[1]
        if compiled() is None:
            return row_blocks(np.maximum(paths_from_items(self.matrix), n_popular), n_items, n_arrays=4)
        return row_blocks(np.full(n_items, n_popular), n_popular, n_arrays=2)

    @lazy_property
    def _weighted(self) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """The matrix with the factors of the users in the cosine and in the walks."""
        return sp.diags(self.half) @ self.matrix, sp.diags(self.one) @ self.matrix

    def strongest(
        self, block: NDArray[np.int64], dense: NDArray[np.float32], columns: NDArray[np.int32], k: int, n_pool: int
    ) -> tuple[Pairs, Pairs]:
        """The strongest pairs of some items.

        Args:
            block: the items, int64 [n].
            dense: the other terms of the relations to popular items, float32 [n, n_popular].
            columns: column of each item in ``dense``, -1 without one, int32 [n_items].
            k: number of pairs with a popular item, those of the largest absolute values.
            n_pool: number of pairs with any other item, those of the largest absolute sums. If the weights of the sums
                are all 0, these are the nearest neighbours and then those with the largest linear filter.

        Returns:
            The pairs with popular items, with all terms, and the pool, with the sparse terms only.
        """
        best, pool = Pairs.empty(len(block), k), Pairs.empty(len(block), n_pool)
        if compiled() is None:
            self._by_products(block, dense, columns, best, pool)
        else:
            from recbole_universal.graph import compiled_neighbors

            parts = (
                array
                for matrix in (self.by_item, self.matrix, self.neighbors)
                for array in (matrix.indptr, matrix.indices, matrix.data)
            )
            factors = self.half, self.one, self.cosine, self.walks, self.item_half, self.are_zero
            compiled_neighbors.strongest(*parts, *factors, block, dense, columns, _FIRST, _DROPPED, *best, *pool)
        return best, pool

    def _by_products(
        self,
        block: NDArray[np.int64],
        dense: NDArray[np.float32],
        columns: NDArray[np.int32],
        best: Pairs,
        pool: Pairs,
    ) -> None:
        """As the compiled loop by products of SciPy, with additions in the same order."""
        # Both products sum over the same paths, so their entries are in the same order.
        users = self.by_item[block]
        related, walked = (users @ weighted for weighted in self._weighted)
        near, near_row = self.neighbors[block], np.zeros(self.matrix.shape[1], dtype=np.float32)
        for row, source in enumerate(block):
            entries, close = (slice(*part.indptr[row : row + 2]) for part in (related, near))
            items, paths = related.indices[entries], walked.data[entries]
            near_row[near.indices[close]] = near.data[close]
            values = related.data[entries] * self.cosine + paths * self.walks[source] * self.item_half[items]
            nearness = near_row[items]
            near_row[near.indices[close]] = 0.0
            values += nearness
            order = np.abs(nearness) * _FIRST + paths * self.item_half[items] if self.are_zero else values
            others, popular = items != source, columns[items] >= 0
            full = np.flatnonzero(others & popular)
            values[full] += dense[row, columns[items[full]]]
            keys = strengths(np.where(popular, values, order), items)
            for pairs, rest in ((best, full), (pool, np.flatnonzero(others & ~popular))):
                width = pairs.items.shape[1]
                if len(rest) > width:
                    rest = rest[np.argpartition(keys[rest], -width)[-width:]]
                pairs.lengths[row] = len(rest)
                pairs.items[row, : len(rest)], pairs.values[row, : len(rest)] = items[rest], values[rest]


def strengths(values: NDArray[np.float32], items: NDArray[np.integer]) -> NDArray[np.int64]:
    """Numbers that order pairs by absolute value, rounded to 16 binary digits, and equal ones by item.

    Rounding errors would otherwise decide which of equally strong pairs stay.

    Args:
        values: float32, any shape.
        items: the items, below 2**31, of the same shape.

    Returns:
        int64, larger for a stronger pair and for the first of equally strong items.
    """
    bits = np.abs(values).view(np.int32).astype(np.int64)
    return ((bits + (1 << _DROPPED - 1)) >> _DROPPED << 32) + (2**31 - 1 - items.astype(np.int64))


def strongest_of(first: Pairs, second: Pairs, k: int) -> Pairs:
    """The k strongest of two sets of pairs."""
    items = np.concatenate([first.items, second.items], axis=1)
    values = np.concatenate([first.values, second.values], axis=1)
    inside = np.concatenate([first.inside(), second.inside()], axis=1)
    keys = np.where(inside, strengths(values, items), -1)
    width = keys.shape[1]
    kept = np.argpartition(keys, width - k, axis=1)[:, width - k :]
    # The pairs of an item come before entries without one.
    kept = np.take_along_axis(kept, np.argsort(-np.take_along_axis(keys, kept, axis=1), axis=1), axis=1)
    items, values = (np.take_along_axis(array, kept, axis=1) for array in (items, values))
    return Pairs(items, values, np.minimum(first.lengths + second.lengths, k))
