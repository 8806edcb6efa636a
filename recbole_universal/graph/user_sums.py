"""Sums over users: from the items of a history to the users who have them, and on to some of their items.

With Numba (the extra ``fast``) the sums are compiled loops; the results are the same without, but for rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.graph import sums


class Kinds(NamedTuple):
    """What becomes of each of four sums over the items that a history and a user share."""

    squared: tuple[bool, bool, bool, bool]
    """Whether it is squared at last."""
    twice: tuple[bool, bool, bool, bool]
    """Whether the user's factor multiplies it twice."""
    without_own: tuple[bool, bool, bool, bool]
    """Whether the history's own user adds nothing."""


class UserSums:
    """Sums over users of what they share with histories.

    Args:
        matrix: interactions, csr float32 [n_users, n_items]; 1, or the weight of each.
        half: factor of each user, degree ** -.5, float32 [n_users].

    Attributes:
        by_item: the users of each item, csr [n_items, n_users] with sorted indices.
        n_users: number of users.
    """

    def __init__(self, matrix: sp.csr_matrix, half: NDArray[np.float32]) -> None:
        self.by_item: sp.csr_matrix = matrix.T.tocsr()
        self.n_users, self._half = matrix.shape[0], half
        # The loops read no weights where all are 1.
        data = self.by_item.data
        self._data = data[:0] if (data == 1).all() else data

    def at(
        self,
        histories: sp.csr_matrix,
        weights: NDArray[np.float32],
        kinds: Kinds,
        own: NDArray[np.int64],
        items: NDArray[np.int64],
        lengths: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Sums over the users v of an item of what the history and v share, for some items.

        What they share is a sum of weights over the items that both have, each times the weight of the item in v. It
        is multiplied by the factor of v, squared or not, and by the weight of the asked item in v.

        Args:
            histories: items of each history, csr [n, n_items]; the values are not read.
            weights: four weights of each of these items, for four sums, float32 [n_entries, 4].
            kinds: what becomes of each sum.
            own: index of each history's user, -1 without one, int64 [n].
            items: items of each history, int64 [n, width].
            lengths: number of items of each history; those after them do not count, int64 [n].

        Returns:
            float32 [4, n, width], 0 after the items of a history.
        """
        out, flags = np.zeros((4, *items.shape), dtype=np.float32), np.array(kinds)
        loops = sums.compiled_file("compiled_user_sums")
        if loops is not None:
            by_item = self.by_item.indptr, self.by_item.indices, self._data
            loops.user_sums(
                histories.indptr, histories.indices, weights, *by_item, self._half, flags, own, items, lengths, out
            )
            return out
        half = self._half[:, None]
        factors = np.where(flags[1], half * half, half)
        for row, length in enumerate(lengths.tolist()):
            entries = slice(histories.indptr[row], histories.indptr[row + 1])
            table = self.by_item[histories.indices[entries]].T @ weights[entries] * factors
            table[:, flags[0]] *= table[:, flags[0]]
            if own[row] >= 0:
                table[own[row], flags[2]] = 0.0
            out[:, row, :length] = (self.by_item[items[row, :length]] @ table).T
        return out

    def nearest(self, histories: sp.csr_matrix, own: NDArray[np.int64], k: int) -> sp.csr_matrix:
        """Squared similarities of the users who share most with histories.

        Args:
            histories: weight of each item of each history, csr float32 [n, n_items].
            own: index of each history's user, who is left out, -1 without one, int64 [n].
            k: number of users of a history.

        Returns:
            csr float32 [n, n_users], at most k users a row.
        """
        n, loops = len(own), sums.compiled_file("compiled_user_sums")
        n_read = np.diff(self.by_item.indptr)[histories.indices].sum(dtype=np.int64)
        if loops is not None and n_read > n * self.n_users:
            users, similar = np.full((n, k), -1, dtype=np.int64), np.zeros((n, k), dtype=np.float32)
            by_item = self.by_item.indptr, self.by_item.indices, self._data
            loops.nearest_users(
                histories.indptr, histories.indices, histories.data, *by_item, self._half, own, users, similar
            )
        else:
            known = np.flatnonzero(own >= 0)
            ones = np.ones(len(known), dtype=np.float32)
            left_out = sp.csr_matrix((ones, (known, own[known])), shape=(n, self.n_users))
            users, similar = sums.best_of_sums(histories, self.by_item, k, left_out, None, self._half)
        found = users >= 0
        indptr = np.concatenate([[0], np.cumsum(found.sum(axis=1))])
        return sp.csr_matrix((similar[found] ** 2, users[found], indptr), shape=(n, self.n_users))
