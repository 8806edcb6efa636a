"""The nearest neighbours and the strongest relations of items as loops that Numba compiles; needs the extra ``fast``.

Each thread needs memory for one row of common users. Additions come in the same order as in SciPy's products.
"""

from __future__ import annotations

import numpy as np

from recbole_universal.graph.compiled_sums import compiled_loop


@compiled_loop
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


@compiled_loop
def row_products(by_ptr, by_idx, by_data, row_ptr, row_idx, row_data, first, products):  # pragma: no cover
    """See :func:`recbole_universal.graph.column_products.column_products`.

    Adds the products of the columns from ``first`` on with all columns to ``products``, [n, n_columns].
    """
    for column in range(len(products)):
        sums = products[column]
        for p in range(by_ptr[first + column], by_ptr[first + column + 1]):
            row, weight = by_idx[p], by_data[p]
            for e in range(row_ptr[row], row_ptr[row + 1]):
                sums[row_idx[e]] += weight * row_data[e]


@compiled_loop
def strongest(
    by_ptr,
    by_idx,
    by_data,
    user_ptr,
    user_idx,
    user_data,
    near_ptr,
    near_idx,
    near_data,
    half,
    one,
    cosine,
    walks,
    item_half,
    by_paths,
    block,
    dense,
    columns,
    first,
    dropped,
    items,
    values,
    lengths,
    pool_items,
    pool_values,
    pool_lengths,
):  # pragma: no cover
    """See :meth:`recbole_universal.graph.item_pairs.SparseTerms.strongest`.

    Two sums over the common users of each item of the block and another item, with the factors ``half`` and ``one`` of
    the users, times ``cosine`` and times ``walks`` of the first item and ``item_half`` of the other one. ``dense`` is
    added where the other item has a column. Fills the strongest pairs with a column and the strongest without one. If
    ``by_paths``, the latter are neighbours, and then those of the largest second sums.
    """
    n_items = len(item_half)
    sums = np.zeros((n_items, 2), np.float32)
    touched = np.empty(n_items + 1, np.int32)  # the last entry is never read
    near = np.zeros(n_items, np.float32)
    # Pairs that were among the strongest when they were met.
    met, met_values, keys = np.empty(n_items, np.int32), np.empty(n_items, np.float32), np.empty(n_items, np.int64)
    best, pool = np.empty(items.shape[1], np.int64), np.empty(pool_items.shape[1], np.int64)
    size = np.empty(1, np.float32)
    bits, half_step = size.view(np.int32), 1 << dropped - 1
    for row in range(len(block)):
        source, n_touched = block[row], 0
        for p in range(by_ptr[source], by_ptr[source + 1]):
            user = by_idx[p]
            a, b = by_data[p] * half[user], by_data[p] * one[user]
            for e in range(user_ptr[user], user_ptr[user + 1]):
                item = user_idx[e]
                touched[n_touched] = item
                n_touched += sums[item, 1] == 0  # all weights are positive
                sums[item, 0] += a * user_data[e]
                sums[item, 1] += b * user_data[e]
        for p in range(near_ptr[source], near_ptr[source + 1]):
            near[near_idx[p]] = near_data[p]
        best[:] = 0
        pool[:] = 0
        least_best = least_pool = np.float32(0)
        n_met = 0
        for t in range(n_touched):
            item = touched[t]
            column, paths = columns[item], sums[item, 1]
            value = sums[item, 0] * cosine + paths * walks[source] * item_half[item] + near[item]
            sums[item, 0] = sums[item, 1] = 0
            if column >= 0:
                value += dense[row, column]
            size[0] = abs(value)
            if by_paths and column < 0:
                size[0] = abs(near[item]) * first + paths * item_half[item]
            if item == source or size[0] < (least_best if column >= 0 else least_pool):
                continue
            # See recbole_universal.graph.item_pairs.strengths.
            key = ((np.int64(bits[0]) + half_step) >> dropped << 32) + (2**31 - 1 - item)
            strongest_keys = best if column >= 0 else pool
            if key <= strongest_keys[0]:
                continue
            _replace_least(strongest_keys, key)
            met[n_met], met_values[n_met], keys[n_met] = item, value, key
            n_met += 1
            # The smallest number that is rounded to the least of the strongest.
            bits[0] = max(0, (strongest_keys[0] >> 32 << dropped) - half_step)
            if column >= 0:
                least_best = size[0]
            else:
                least_pool = size[0]
        for p in range(near_ptr[source], near_ptr[source + 1]):
            near[near_idx[p]] = 0
        n_best = n_pool = 0
        for t in range(n_met):
            item = met[t]
            if columns[item] >= 0:
                if keys[t] >= best[0]:
                    items[row, n_best], values[row, n_best] = item, met_values[t]
                    n_best += 1
            elif keys[t] >= pool[0]:
                pool_items[row, n_pool], pool_values[row, n_pool] = item, met_values[t]
                n_pool += 1
        lengths[row], pool_lengths[row] = n_best, n_pool


@compiled_loop
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
