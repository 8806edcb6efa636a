"""Scores of some histories by a regression: the best of them, and those of given items."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.graph.sums import DIGITS, best_of_scores, best_of_sums, entries_at

# Mean number of weights of an item that are read to draw the best items. On yelp2018 and ml-1m, of the 50 items with
# the highest scores by all weights, these draw 99.9 % among their own best 200.
_N_STRONG = 512
# Number of weights from which the limit is estimated.
_N_DRAWN = 2**18
_BLOCK_VALUES = 2**22


class RegressionScores(Protocol):
    """Scores of some histories."""

    def draw(
        self, k: int, excluded: sp.csr_matrix, allowed: NDArray[np.bool_] | None, preference: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        """Items with the highest positive scores, int64 [n, k], -1 where no items are left.

        Args:
            k: number of items.
            excluded: items that each history leaves out, csr [n, n_items].
            allowed: items that may be drawn, bool [n or 1, n_items]; ``None``: all may.
            preference: factor of each item's scores, float32 [n_items].
        """

    def at(self, items: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of some items, float32 [n, width].

        Args:
            items: items of each history, int64 [n, width].
            lengths: number of items of each history; those after them do not count, int64 [n].
        """


class ItemRegressionScores:
    """Scores by weights of items, which are summed where they are asked for.

    Args:
        weighted: items of the histories, by row of the weights, csr [n, n_related].
        table: the weights, float32 [n_related, n_related].
        strong: the weights of the largest absolute value, by item, csr [n_related, n_items].
        columns: row and column of each item in the weights, -1 without one, int64 [n_items].
    """

    def __init__(
        self,
        weighted: sp.csr_matrix,
        table: NDArray[np.float32],
        strong: sp.csr_matrix,
        columns: NDArray[np.int64],
    ) -> None:
        self._weighted, self._table, self._strong, self._columns = weighted, table, strong, columns

    def draw(
        self, k: int, excluded: sp.csr_matrix, allowed: NDArray[np.bool_] | None, preference: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        """See :meth:`RegressionScores.draw`; the sums are those of the strong weights."""
        return best_of_sums(self._weighted, self._strong, k, excluded, allowed, preference, DIGITS)[0]

    def at(self, items: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """See :meth:`RegressionScores.at`."""
        return entries_at(self._weighted, self._table, self._columns[items], lengths)


class DenseRegressionScores:
    """Scores of every item, which are computed before.

    Args:
        scores: float32 [n, n_items].
    """

    def __init__(self, scores: NDArray[np.float32]) -> None:
        self._scores = scores

    def draw(
        self, k: int, excluded: sp.csr_matrix, allowed: NDArray[np.bool_] | None, preference: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        """See :meth:`RegressionScores.draw`."""
        items = np.arange(self._scores.shape[1])
        return best_of_scores(self._scores.copy(), items, items, k, excluded, allowed, preference)

    def at(self, items: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """See :meth:`RegressionScores.at`."""
        inside = np.arange(items.shape[1]) < lengths[:, None]
        return np.where(inside, np.take_along_axis(self._scores, items, 1), np.float32(0))


def strong_weights(weights: NDArray[np.float32], items: NDArray[np.int64], n_items: int) -> sp.csr_matrix:
    """The weights of the largest absolute value, at most 512 a row on average. Weights of 0 are left out.

    Args:
        weights: float32 [n, n].
        items: item of each column, int64 [n].
        n_items: number of items.

    Returns:
        csr float32 [n, n_items].
    """
    n = len(weights)
    drawn = np.random.default_rng(0).integers(0, max(1, n * n), _N_DRAWN)
    least = np.quantile(np.abs(weights.reshape(-1)[drawn]), 1 - _N_STRONG / n) if n > _N_STRONG else 0.0
    indices, data, lengths = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.float32)], []
    step = max(1, _BLOCK_VALUES // max(1, n))
    for block in np.split(weights, range(step, n, step)):
        strong = (np.abs(block) >= least) & (block != 0)
        lengths.append(strong.sum(axis=1))
        indices.append(items[np.nonzero(strong)[1]])
        data.append(block[strong])
    indptr = np.concatenate([[0], np.cumsum(np.concatenate([*lengths, []]))]).astype(np.int64)
    return sp.csr_matrix((np.concatenate(data), np.concatenate(indices), indptr), shape=(n, n_items))
