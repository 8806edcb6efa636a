"""The sums of :mod:`recbole_universal.graph.sums` as loops that Numba compiles; needs the extra ``fast``.

Each history needs memory for the columns that its sums reach alone, which fit the processor's cache. Additions come in
the same order as in SciPy's products.
"""

from __future__ import annotations

import math

import numba
import numpy as np

# Values of at least 2**-8 times the highest are counted in buckets of a 32nd of a power of two.
_N_BUCKETS, _BUCKET_SHIFT = 256, 18


def compiled_loop(function=None, **options):
    """The function as compiled code, which is kept in a folder for further processes where one can be written."""
    if function is None:
        return lambda wrapped: compiled_loop(wrapped, **options)
    try:
        return numba.njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(nogil=True, **options)(function)


@compiled_loop
def best_of_sums(
    row_ptr, row_idx, row_data, rel_ptr, rel_idx, rel_data, factor, ex_ptr, ex_idx, allowed, digits, items, values
):  # pragma: no cover
    """See :func:`recbole_universal.graph.sums.best_of_sums`; fills ``items`` and ``values``, [n, k]."""
    n_columns, k = len(factor), items.shape[1]
    sums = np.zeros(n_columns, np.float32)
    reached = np.zeros(n_columns, np.bool_)
    blocked = np.zeros(n_columns, np.bool_)
    touched = np.empty(n_columns + 1, np.int32)
    found = np.empty(n_columns, np.float32)
    for row in range(len(row_ptr) - 1):
        sources = row_idx[row_ptr[row] : row_ptr[row + 1]]
        # With many reads a pass over all columns costs less than a list of some.
        everything = (rel_ptr[sources + 1] - rel_ptr[sources]).sum() > n_columns
        n_touched = 0
        for p in range(row_ptr[row], row_ptr[row + 1]):
            weight, source = row_data[p], row_idx[p]
            for e in range(rel_ptr[source], rel_ptr[source + 1]):
                column = rel_idx[e]
                if not everything:
                    touched[n_touched] = column  # without a branch, which the processor could not predict
                    n_touched += not reached[column]
                    reached[column] = True
                sums[column] += weight * rel_data[e]
        if everything:
            n_touched = n_columns
            for column in range(n_columns):
                touched[column] = column
        highest = np.float32(0)
        for t in range(n_touched):
            highest = max(highest, sums[touched[t]])
        large = np.float32(0)
        if digits and highest > 0:
            large = np.float32(math.ldexp(1.5, math.frexp(highest)[1] + 23 - digits))
        for e in range(ex_ptr[row], ex_ptr[row + 1]):
            blocked[ex_idx[e]] = True
        filtered, filter_row = allowed.shape[0] > 0, min(row, allowed.shape[0] - 1)
        n_found = 0
        for t in range(n_touched):
            column = touched[t]
            value = ((sums[column] + large) - large) * factor[column]
            sums[column] = 0
            reached[column] = False
            touched[n_found], found[n_found] = column, value
            n_found += value > 0 and not blocked[column] and (not filtered or allowed[filter_row, column])
        for e in range(ex_ptr[row], ex_ptr[row + 1]):
            blocked[ex_idx[e]] = False
        take_best(touched, found, n_found, k, items[row], values[row])


@compiled_loop
def take_best(columns, found, n, k, items, values):  # pragma: no cover
    """Put the k best of n columns with positive values into ``items`` and ``values``, best first."""
    least = np.float32(0) if n <= k else _lower_bound(found, n, k)
    n_best = 0
    for t in range(n):
        value, column = found[t], columns[t]
        if value < least:
            continue
        # A heap whose first entry is the worst of the best so far.
        if n_best < k:
            at = n_best
            n_best += 1
            while at > 0:
                above = (at - 1) // 2
                if values[above] < value or (values[above] == value and items[above] > column):
                    break
                values[at], items[at] = values[above], items[above]
                at = above
            values[at], items[at] = value, column
        elif values[0] < value or (values[0] == value and items[0] > column):
            _sift(values, items, n_best, value, column)
    for last in range(n_best - 1, 0, -1):  # the worst goes to the end
        value, column = values[last], items[last]
        values[last], items[last] = values[0], items[0]
        _sift(values, items, last, value, column)


@compiled_loop
def _lower_bound(found, n, k):  # pragma: no cover
    """A number that at least k of n positive values reach, and few more."""
    bits = found.view(np.int32)  # ordered like the values
    highest = 0
    for t in range(n):
        highest = max(highest, bits[t])
    top = highest >> _BUCKET_SHIFT
    counts = np.zeros(_N_BUCKETS, np.int32)
    for t in range(n):
        counts[min(top - (bits[t] >> _BUCKET_SHIFT), _N_BUCKETS - 1)] += 1
    n_above = 0
    for bucket in range(_N_BUCKETS - 1):
        n_above += counts[bucket]
        if n_above >= k:
            edge = np.empty(1, np.int32)
            edge[0] = (top - bucket) << _BUCKET_SHIFT
            return edge.view(np.float32)[0]
    return np.float32(0)


@compiled_loop
def _sift(values, items, n, value, item):  # pragma: no cover
    """Put an entry in place of the first one of a heap of n entries."""
    at = 0
    while True:
        below = 2 * at + 1
        if below >= n:
            break
        other = below + 1
        if other < n and (
            values[other] < values[below] or (values[other] == values[below] and items[other] > items[below])
        ):
            below = other
        if value < values[below] or (value == values[below] and item > items[below]):
            break
        values[at], items[at] = values[below], items[below]
        at = below
    values[at], items[at] = value, item


@compiled_loop
def sums_at(row_ptr, row_idx, row_data, rel_ptr, rel_idx, rel_data, n_columns, columns, lengths, out):
    # pragma: no cover
    """See :func:`recbole_universal.graph.sums.sums_at`; fills ``out``, [n, width]."""
    sums = np.zeros(n_columns, np.float32)
    for row in range(len(row_ptr) - 1):
        for p in range(row_ptr[row], row_ptr[row + 1]):
            weight, source = row_data[p], row_idx[p]
            for e in range(rel_ptr[source], rel_ptr[source + 1]):
                sums[rel_idx[e]] += weight * rel_data[e]
        for place in range(lengths[row]):
            out[row, place] = sums[columns[row, place]]
        for p in range(row_ptr[row], row_ptr[row + 1]):
            source = row_idx[p]
            for e in range(rel_ptr[source], rel_ptr[source + 1]):
                sums[rel_idx[e]] = 0


@compiled_loop
def entries_at(row_ptr, row_idx, row_data, table, columns, lengths, out):  # pragma: no cover
    """See :func:`recbole_universal.graph.sums.entries_at`; fills ``out``, [n, width]."""
    for row in range(len(row_ptr) - 1):
        for p in range(row_ptr[row], row_ptr[row + 1]):
            weight, source = row_data[p], row_idx[p]
            for place in range(lengths[row]):
                column = columns[row, place]
                if column >= 0:
                    out[row, place] += weight * table[source, column]


@compiled_loop(fastmath={"reassoc", "contract", "nsz"})
def band_products(spectrum, vectors, cuts, items, lengths, out):  # pragma: no cover
    """See :func:`recbole_universal.graph.sums.band_products`; fills ``out``, [n_cuts, n, width]."""
    for row in range(len(spectrum)):
        for place in range(lengths[row]):
            item, start, total = items[row, place], 0, np.float32(0)
            for band in range(len(cuts)):
                part = np.float32(0)
                for d in range(start, cuts[band]):
                    part += spectrum[row, d] * vectors[item, d]
                total += part
                out[band, row, place] = total
                start = cuts[band]
