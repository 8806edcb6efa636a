"""The sums of :mod:`recbole_universal.graph.sequence_sums` as loops that Numba compiles; needs the extra ``fast``."""

from __future__ import annotations

import numpy as np

from recbole_universal.graph.compiled_sums import compiled_loop

_LEAST_VALUE = 1e-30


@compiled_loop
def weighted_sums_at(
    row_ptr, row_idx, weights, rel_ptr, rel_idx, rel_data, n_columns, columns, lengths, out
):  # pragma: no cover
    """See :func:`recbole_universal.graph.sequence_sums.weighted_sums_at`; fills ``out``, [4, n, width]."""
    sums = np.zeros((n_columns, 4), np.float32)
    for row in range(len(row_ptr) - 1):
        n_entries = 0
        for p in range(row_ptr[row], row_ptr[row + 1]):
            source, a, b, c, d = row_idx[p], weights[p, 0], weights[p, 1], weights[p, 2], weights[p, 3]
            n_entries += rel_ptr[source + 1] - rel_ptr[source]
            for e in range(rel_ptr[source], rel_ptr[source + 1]):
                column, value = rel_idx[e], rel_data[e]
                sums[column, 0] += a * value
                sums[column, 1] += b * value
                sums[column, 2] += c * value
                sums[column, 3] += d * value
        for place in range(lengths[row]):
            for w in range(4):
                out[w, row, place] = sums[columns[row, place], w]
        if n_entries >= n_columns:
            sums[:] = 0
            continue
        for p in range(row_ptr[row], row_ptr[row + 1]):
            source = row_idx[p]
            for e in range(rel_ptr[source], rel_ptr[source + 1]):
                sums[rel_idx[e]] = 0


@compiled_loop
def prefix_votes(
    row_ptr, row_idx, row_data, by_ptr, by_idx, by_data, vote_ptr, vote_idx, vote_data, owner, users, n_items
):  # pragma: no cover
    """See :meth:`recbole_universal.graph.prefixes.PrefixNeighbors.scores`; the arrays of a csr matrix [n, n_items]."""
    n_prefixes = len(owner)
    similar, votes = np.zeros(n_prefixes, np.float32), np.zeros(n_items, np.float32)
    touched, items = np.empty(n_prefixes + 1, np.int32), np.empty(n_items + 1, np.int32)
    indptr = np.zeros(len(row_ptr), np.int64)
    indices, data = np.empty(1024, np.int32), np.empty(1024, np.float32)
    for row in range(len(row_ptr) - 1):
        n_touched = n_voted = 0
        for p in range(row_ptr[row], row_ptr[row + 1]):
            weight, item = row_data[p], row_idx[p]
            for e in range(by_ptr[item], by_ptr[item + 1]):
                prefix = by_idx[e]
                before = similar[prefix]
                touched[n_touched] = prefix  # without a branch, which the processor could not predict
                n_touched += before == 0  # all terms are positive
                similar[prefix] = before + weight * by_data[e]
        for t in range(n_touched):
            prefix = touched[t]
            square = similar[prefix] * similar[prefix]
            value = square * square
            similar[prefix] = 0
            # Smaller values do not count, and their products with votes could be 0.
            if value < _LEAST_VALUE or (users[row] >= 0 and owner[prefix] == users[row]):
                continue
            for e in range(vote_ptr[prefix], vote_ptr[prefix + 1]):
                item = vote_idx[e]
                before = votes[item]
                items[n_voted] = item
                n_voted += before == 0
                votes[item] = before + value * vote_data[e]
        start = indptr[row]
        if start + n_voted > len(indices):
            more = max(start + n_voted, 2 * len(indices))
            grown, grown_data = np.empty(more, np.int32), np.empty(more, np.float32)
            grown[:start], grown_data[:start] = indices[:start], data[:start]
            indices, data = grown, grown_data
        for t in range(n_voted):
            item = items[t]
            indices[start + t], data[start + t] = item, votes[item]
            votes[item] = 0
        indptr[row + 1] = start + n_voted
    return data[: indptr[-1]], indices[: indptr[-1]], indptr


@compiled_loop
def products_at(table, by_ptr, by_idx, by_data, columns, lengths, out):  # pragma: no cover
    """See :func:`recbole_universal.graph.sequence_sums.products_at`; fills ``out``, [n, width]."""
    for row in range(len(table)):
        for place in range(lengths[row]):
            column, total = columns[row, place], np.float32(0)
            for e in range(by_ptr[column], by_ptr[column + 1]):
                total += table[row, by_idx[e]] * by_data[e]
            out[row, place] = total
