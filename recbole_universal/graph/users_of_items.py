"""The users of items, as sums over users read them: of an item with very many users, a sample."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.graph.canonical_order import hashed
from recbole_universal.graph.popularity import item_degrees
from recbole_universal.graph.sums import best_of_sums

# Largest number of users of an item that a sum reads, on average over all samples. No item of the datasets of
# docs/zero_shot.md has more users in a training part.
_MOST_USERS_OF_ITEM = 2**13
_STEP = 4


class UsersOfItems:
    """The users of each item that sums over users read.

    An item with at most 2**13 users has all of them: its level is 0. An item of level l has twice as many users as one
    of level l - 1 may have, and sums read only those among the first half, quarter, and so on, of all users in a random
    order. So two items of high levels read the same users, and keep most of the users that they share: those that the
    item of the higher level reads. Each of these stands for ``scale`` users.

    The order of the users is that of a hash of their indices. If all levels are 0, it is that of the indices.

    Args:
        matrix: interactions, csr float32 [n_users, n_items]; 1, or the weight of each.
        half: factor of each user in similarities, degree ** -.5, float32 [n_users].

    Attributes:
        by_item: the users of each item that sums read, csr [n_items, n_users], a column for each user.
        users: user of each column, int64 [n_users].
        columns: column of each user, int64 [n_users].
        half: factor of the user of each column, float32 [n_users].
        level: level of each item, int64 [n_items].
        sizes: number of the first columns among which items of each level have theirs, int64 [n_levels].
        scale: number of users for whom a user of an item of each level stands, float32 [n_levels].
    """

    def __init__(self, matrix: sp.csr_matrix, half: NDArray[np.float32]) -> None:
        n_users, degree = matrix.shape[0], item_degrees(matrix)
        n_levels = max(1, int(degree.max(initial=1)).bit_length())
        self.level = np.searchsorted(_MOST_USERS_OF_ITEM * _STEP ** np.arange(n_levels), degree)
        self.sizes = np.maximum(n_users // _STEP ** np.arange(int(self.level.max(initial=0)) + 1), 1)
        self.scale = (n_users / self.sizes).astype(np.float32)
        self.users = self.columns = np.arange(n_users)
        self.by_item, self.half = matrix.T.tocsr(), half
        if len(self.sizes) > 1:
            self.users = np.argsort(hashed(self.users.astype(np.uint64)))
            self.columns = np.argsort(self.users)
            self.by_item, self.half = self._read(matrix[self.users].T.tocsr()), half[self.users]
        data = self.by_item.data
        self._data = data[:0] if (data == 1).all() else data

    def _read(self, by_item: sp.csr_matrix) -> sp.csr_matrix:
        """The users of each item among the first columns for its level."""
        size = self.sizes[self.level].astype(by_item.indices.dtype)
        stays = by_item.indices < np.repeat(size, np.diff(by_item.indptr))
        indptr = np.concatenate([[0], np.cumsum(stays, dtype=by_item.indptr.dtype)])[by_item.indptr]
        return sp.csr_matrix((by_item.data[stays], by_item.indices[stays], indptr), shape=by_item.shape)

    @property
    def parts(self) -> tuple[NDArray, ...]:
        """What compiled loops read: the users of each item, levels, their sizes and scales.

        The weights of the users are empty where all are 1.
        """
        by_item = self.by_item
        return by_item.indptr, by_item.indices, self._data, self.level, self.sizes, self.scale

    def columns_of(self, users: NDArray[np.int64]) -> NDArray[np.int64]:
        """Column of each of some users; -1 for user -1."""
        return np.where(users >= 0, self.columns[users], -1)

    def nearest(self, weights: sp.csr_matrix, own: NDArray[np.int64], k: int) -> sp.csr_matrix:
        """Users who are most similar to histories.

        Args:
            weights: weight of each item of each history in the similarities, csr float32 [n, n_items].
            own: each history's user, who is left out, -1 without one, int64 [n].
            k: number of users of a history.

        Returns:
            Squared similarity of each of these users, csr float32 [n, n_users]; columns are users.
        """
        n, known = len(own), np.flatnonzero(own >= 0)
        entries = np.ones(len(known), dtype=np.float32), (known, self.columns[own[known]])
        left_out = sp.csr_matrix(entries, shape=(n, len(self.users)))
        columns, similar = best_of_sums(weights, self.by_item, k, left_out, None, self.half)
        found = columns >= 0
        indptr = np.concatenate([[0], np.cumsum(found.sum(axis=1))])
        return sp.csr_matrix((similar[found] ** 2, self.users[columns[found]], indptr), shape=left_out.shape)
