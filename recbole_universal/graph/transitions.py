"""Directed transitions: how often one item follows another in histories, and how long after.

A transition is a pair of items (i, j) of one history, i before j; its gap is the number of steps from i to j. A kernel
gives the weight of a transition by its gap.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.graph.histories import Histories

#: Largest gap that counts.
WINDOW = 20


class Transitions:
    """The transitions of some histories, counted once, from which a matrix of each kernel follows.

    Args:
        histories: the histories.
        n_items: number of items.
    """

    def __init__(self, histories: Histories, n_items: int) -> None:
        self.n_items = n_items
        rows, items = histories.rows, histories.items
        keys, gaps = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int8)]
        for gap in range(1, WINDOW + 1):
            same = np.flatnonzero(rows[:-gap] == rows[gap:])
            if not len(same):
                break
            keys.append(items[same] * n_items + items[same + gap])
            gaps.append(np.full(len(same), gap, dtype=np.int8))
        all_keys = np.concatenate(keys)
        order = np.argsort(all_keys, kind="stable")
        sorted_keys = all_keys[order]
        self._gaps = np.concatenate(gaps)[order].astype(np.int64)
        self._starts = np.flatnonzero(np.diff(sorted_keys, prepend=-1))
        self._pairs = sorted_keys[self._starts]

    def matrix(self, kernel: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> sp.csr_matrix:
        """Sum of the kernel over the transitions of each pair, csr float32 [n_items, n_items], row = earlier item.

        Args:
            kernel: weights of the gaps 1, 2, ..., float64 [n_gaps]; 0 leaves a gap out.
        """
        weights = kernel(np.arange(1.0, WINDOW + 1))[self._gaps - 1]
        totals = np.add.reduceat(weights, self._starts) if len(self._starts) else np.zeros(0)
        stored = totals > 0
        pairs = self._pairs[stored]
        entries = (totals[stored].astype(np.float32), (pairs // self.n_items, pairs % self.n_items))
        return sp.csr_matrix(entries, shape=(self.n_items, self.n_items))
