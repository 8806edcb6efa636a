"""The nearest neighbours of items as loops that Numba compiles; needs the extra ``fast``.

Each thread needs memory for one row of common users. Additions come in the same order as in SciPy's products.
"""

from __future__ import annotations

import numpy as np

from recbole_universal.graph.compiled_sums import _compiled


@_compiled
def nearest(
    by_ptr, by_idx, by_data, user_ptr, user_idx, user_data, targets, scale, k, most, items, values, lengths
):  # pragma: no cover
    """See :func:`recbole_universal.graph.item_models.nearest_neighbors`.

    Fills the neighbours of some targets: ``items`` and ``values``, [n, most], and their number, ``lengths`` [n].
    """
    n_items = len(scale)
    sums = np.zeros(n_items, np.float32)
    touched = np.empty(n_items + 1, np.int32)  # the last entry is never read
    near = np.empty(n_items, np.float32)
    best = np.empty(k + 1, np.float32)
    for row in range(len(targets)):
        target, n_touched = targets[row], 0
        for p in range(by_ptr[target], by_ptr[target + 1]):
            user, weight = by_idx[p], by_data[p]
            for e in range(user_ptr[user], user_ptr[user + 1]):
                item = user_idx[e]
                touched[n_touched] = item
                n_touched += sums[item] == 0  # all weights are positive; no branch takes half the time
                sums[item] += weight * user_data[e]
        # The item itself is one of the k + 1 nearest.
        n_best = min(n_touched, k + 1)
        best[:] = np.inf
        best[:n_best] = 0
        for t in range(n_touched):
            item = touched[t]
            value = sums[item] * scale[item]
            near[t] = value
            sums[item] = 0
            if best[0] < value:
                _replace_least(best, value)
        least, n_near = np.float32(0), n_touched
        if n_touched > k + 1:
            least = best[0]
            n_near = np.sum(near[:n_touched] >= least)
        with_ties, n = n_near <= most + 1, 0
        for t in range(n_touched):
            if near[t] > least or (with_ties and near[t] == least):
                if touched[t] != target:
                    items[row, n], values[row, n] = touched[t], near[t]
                    n += 1
        lengths[row] = n


@_compiled
def _replace_least(heap, value):  # pragma: no cover
    """Put a value in place of the first and least one of a heap."""
    at, n = 0, len(heap)
    while True:
        below = 2 * at + 1
        if below >= n:
            break
        if below + 1 < n and heap[below + 1] < heap[below]:
            below += 1
        if value <= heap[below]:
            break
        heap[at] = heap[below]
        at = below
    heap[at] = value
