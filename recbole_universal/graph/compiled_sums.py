"""The sums of :mod:`recbole_universal.graph.sums` as loops that Numba compiles; needs the extra ``fast``.

Each history needs memory for the columns that its sums reach alone, which fit the processor's cache. Additions come in
the same order as in SciPy's products.
"""

from __future__ import annotations

import math

import numba
import numpy as np


def _compiled(function):
    """The function as compiled code, which is kept in a folder for further processes where one can be written."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)


@_compiled
def best_of_sums(
    row_ptr, row_idx, row_data, rel_ptr, rel_idx, rel_data, factor, ex_ptr, ex_idx, allowed, digits, items, values
):  # pragma: no cover
    """See :func:`recbole_universal.graph.sums.best_of_sums`; fills ``items`` and ``values``, [n, k]."""
    n_columns, k = len(factor), items.shape[1]
    sums = np.zeros(n_columns, np.float32)
    reached = np.zeros(n_columns, np.bool_)
    blocked = np.zeros(n_columns, np.bool_)
    touched = np.empty(n_columns, np.int32)
    for row in range(len(row_ptr) - 1):
        n_touched = 0
        for p in range(row_ptr[row], row_ptr[row + 1]):
            weight, source = row_data[p], row_idx[p]
            for e in range(rel_ptr[source], rel_ptr[source + 1]):
                column = rel_idx[e]
                if not reached[column]:
                    reached[column] = True
                    touched[n_touched] = column
                    n_touched += 1
                sums[column] += weight * rel_data[e]
        highest = np.float32(0)
        for t in range(n_touched):
            highest = max(highest, sums[touched[t]])
        large = np.float32(0)
        if digits and highest > 0:
            large = np.float32(math.ldexp(1.5, math.frexp(highest)[1] + 23 - digits))
        for e in range(ex_ptr[row], ex_ptr[row + 1]):
            blocked[ex_idx[e]] = True
        filtered, filter_row = allowed.shape[0] > 0, min(row, allowed.shape[0] - 1)
        best_items, best_values, n_best = items[row], values[row], 0
        for t in range(n_touched):
            column = touched[t]
            value = (sums[column] + large) - large
            sums[column] = 0
            reached[column] = False
            value *= factor[column]
            if value <= 0 or blocked[column] or (filtered and not allowed[filter_row, column]):
                continue
            # A heap whose first entry is the worst of the best so far.
            if n_best < k:
                at = n_best
                n_best += 1
                while at > 0:
                    above = (at - 1) // 2
                    if best_values[above] < value or (best_values[above] == value and best_items[above] > column):
                        break
                    best_values[at], best_items[at] = best_values[above], best_items[above]
                    at = above
                best_values[at], best_items[at] = value, column
            elif best_values[0] < value or (best_values[0] == value and best_items[0] > column):
                _sift(best_values, best_items, n_best, value, column)
        for e in range(ex_ptr[row], ex_ptr[row + 1]):
            blocked[ex_idx[e]] = False
        for last in range(n_best - 1, 0, -1):  # the worst goes to the end
            value, column = best_values[last], best_items[last]
            best_values[last], best_items[last] = best_values[0], best_items[0]
            _sift(best_values, best_items, last, value, column)


@_compiled
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


@_compiled
def sums_at(row_ptr, row_idx, row_data, rel_ptr, rel_idx, rel_data, n_columns, ptr, items, out):  # pragma: no cover
    """See :func:`recbole_universal.graph.sums.sums_at`; fills ``out``, [n_pairs]."""
    sums = np.zeros(n_columns, np.float32)
    for row in range(len(row_ptr) - 1):
        for p in range(row_ptr[row], row_ptr[row + 1]):
            weight, source = row_data[p], row_idx[p]
            for e in range(rel_ptr[source], rel_ptr[source + 1]):
                sums[rel_idx[e]] += weight * rel_data[e]
        for pair in range(ptr[row], ptr[row + 1]):
            out[pair] = sums[items[pair]]
        for p in range(row_ptr[row], row_ptr[row + 1]):
            source = row_idx[p]
            for e in range(rel_ptr[source], rel_ptr[source + 1]):
                sums[rel_idx[e]] = 0


@_compiled
def user_sums(
    row_ptr, row_idx, row_data, by_ptr, by_idx, by_data, powers, half, own, ptr, items, out
):  # pragma: no cover
    """See :meth:`recbole_universal.graph.sums.UserSums.at`; fills ``out``, [n_pairs, 4]; no ``by_data``: all are 1."""
    n_users, weighted, weight = len(half), len(by_data) > 0, np.float32(1)
    table = np.zeros((n_users, 4), np.float32)
    reached = np.zeros(n_users, np.bool_)
    touched = np.empty(n_users, np.int32)
    for row in range(len(row_ptr) - 1):
        n_touched = 0
        for p in range(row_ptr[row], row_ptr[row + 1]):
            item, mine = row_idx[p], row_data[p]
            a, b, c, d = powers[item, 0] * mine, powers[item, 1] * mine, powers[item, 2] * mine, powers[item, 3] * mine
            for e in range(by_ptr[item], by_ptr[item + 1]):
                user = by_idx[e]
                if not reached[user]:
                    reached[user] = True
                    touched[n_touched] = user
                    n_touched += 1
                if weighted:
                    weight = by_data[e]
                table[user, 0] += a * weight
                table[user, 1] += b * weight
                table[user, 2] += c * weight
                table[user, 3] += d * weight
        for t in range(n_touched):
            user = touched[t]
            power = half[user]
            similar = table[user, 1] * power
            table[user, 0] *= power
            table[user, 1] = similar * similar
            table[user, 2] *= power * power
            table[user, 3] *= power * power
        if own[row] >= 0:
            table[own[row], 1] = 0
        for pair in range(ptr[row], ptr[row + 1]):
            item = items[pair]
            a = b = c = d = np.float32(0)
            for e in range(by_ptr[item], by_ptr[item + 1]):
                user = by_idx[e]
                if weighted:
                    weight = by_data[e]
                a += table[user, 0] * weight
                b += table[user, 1] * weight
                c += table[user, 2] * weight
                d += table[user, 3] * weight
            out[pair, 0], out[pair, 1], out[pair, 2], out[pair, 3] = a, b, c, d
        for t in range(n_touched):
            user = touched[t]
            reached[user] = False
            table[user, 0] = table[user, 1] = table[user, 2] = table[user, 3] = 0
