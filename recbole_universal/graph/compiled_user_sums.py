"""The sums of :mod:`recbole_universal.graph.user_sums` as loops that Numba compiles; needs the extra ``fast``.

The users come in tiles, so that the sums of a tile's users stay in the processor's cache while the users of all items
of the history are read, and then those of all asked items. The users of an item are sorted, so additions come in the
same order as without tiles.
"""

from __future__ import annotations

import numpy as np

from recbole_universal.graph.compiled_sums import compiled_loop

# Users of a tile, and sums of a user.
_TILE, _N_SUMS = 2**15, 4


@compiled_loop
def user_sums(
    row_ptr, row_idx, weights, by_ptr, by_idx, by_data, level, sizes, scale, half, kinds, own, items, lengths, out
):  # pragma: no cover
    """See :func:`recbole_universal.graph.user_sums.user_sums`; fills ``out``, [4, n, width].

    No ``by_data`` says that all are 1. ``kinds`` are the rows of :class:`~recbole_universal.graph.user_sums.Kinds`.
    """
    n_users, weighted, weight = len(half), len(by_data) > 0, np.float32(1)
    tile, ratios = min(_TILE, n_users), _ratios(scale, kinds[0])
    table = np.zeros((len(sizes), tile, _N_SUMS), np.float32)
    reached, touched = np.zeros(tile, np.bool_), np.empty(tile + 1, np.int32)
    inside = np.empty(len(sizes), np.int64)
    for row in range(len(row_ptr) - 1):
        history, asked = row_idx[row_ptr[row] : row_ptr[row + 1]], items[row, : lengths[row]]
        everyone = _reaches_many(history, by_ptr, n_users)
        read, summed = by_ptr[history], by_ptr[asked]  # next user of each item
        for first in range(0, n_users, tile):
            last, n_touched = min(first + tile, n_users), 0
            for p in range(len(history)):
                item, at = history[p], row_ptr[row] + p
                a, b, c, d = weights[at, 0], weights[at, 1], weights[at, 2], weights[at, 3]
                sums, e, stop = table[level[item]], read[p], by_ptr[item + 1]
                while e < stop and by_idx[e] < last:
                    user = by_idx[e] - first
                    if not everyone:
                        touched[n_touched] = user
                        n_touched += not reached[user]
                        reached[user] = True
                    if weighted:
                        weight = by_data[e]
                    sums[user, 0] += a * weight
                    sums[user, 1] += b * weight
                    sums[user, 2] += c * weight
                    sums[user, 3] += d * weight
                    e += 1
                read[p] = e
            n_touched = last - first if everyone else n_touched
            for depth in range(len(sizes)):
                inside[depth] = max(0, min(sizes[depth], last) - first)
            _spread(table, touched, n_touched, everyone, inside, ratios)
            for depth in range(len(sizes)):
                n_there = inside[depth] if everyone else n_touched
                _finish(table[depth], half[first:last], touched, n_there, everyone, inside[depth], kinds)
            if first <= own[row] < last:
                for column in range(_N_SUMS):
                    if kinds[2, column]:
                        table[:, own[row] - first, column] = 0
            for place in range(len(asked)):
                item = asked[place]
                sums, e, stop = table[level[item]], summed[place], by_ptr[item + 1]
                a, b, c, d = out[0, row, place], out[1, row, place], out[2, row, place], out[3, row, place]
                while e < stop and by_idx[e] < last:
                    user = by_idx[e] - first
                    if weighted:
                        weight = by_data[e]
                    a += sums[user, 0] * weight
                    b += sums[user, 1] * weight
                    c += sums[user, 2] * weight
                    d += sums[user, 3] * weight
                    e += 1
                summed[place] = e
                out[0, row, place], out[1, row, place], out[2, row, place], out[3, row, place] = a, b, c, d
            _clear(table, reached, touched, n_touched, everyone, inside)
        for place in range(len(asked)):
            out[:, row, place] *= scale[level[asked[place]]]


@compiled_loop
def _reaches_many(items, by_ptr, n_users):  # pragma: no cover
    """Whether the items of a history have so many users that a pass over all users costs less than a list of some."""
    n_read = 0
    for item in items:
        n_read += by_ptr[item + 1] - by_ptr[item]
    return 4 * n_read > n_users


@compiled_loop
def _ratios(scale, squared):  # pragma: no cover
    """How many users of a level a user of a level above stands for, by sum; 1 for a sum that is squared."""
    ratios = np.ones((len(scale), len(scale), _N_SUMS), np.float32)
    for level in range(len(scale)):
        for above in range(level + 1, len(scale)):
            for column in range(_N_SUMS):
                if not squared[column]:
                    ratios[level, above, column] = scale[above] / scale[level]
    return ratios


@compiled_loop
def _spread(table, touched, n_touched, everyone, inside, ratios):  # pragma: no cover
    """Change sums by level of the history's item to those that asked items of each level read.

    See :func:`recbole_universal.graph.user_sums._by_asked_level`.
    """
    if len(inside) == 1:
        return
    for t in range(inside[1] if everyone else n_touched):
        user, n_levels = t if everyone else touched[t], 1
        while n_levels < len(inside) and user < inside[n_levels]:
            n_levels += 1
        for level in range(n_levels - 1):
            here, following = table[level, user], table[level + 1, user]
            a, b, c, d = here[0], here[1], here[2], here[3]
            w = x = y = z = np.float32(0)
            for above in range(level + 1, n_levels):
                there, ratio = table[above, user], ratios[level, above]
                w += ratio[0] * there[0]
                x += ratio[1] * there[1]
                y += ratio[2] * there[2]
                z += ratio[3] * there[3]
            here[0], here[1], here[2], here[3] = a + w, b + x, c + y, d + z
            following[0] += a
            following[1] += b
            following[2] += c
            following[3] += d


@compiled_loop
def _finish(sums, half, touched, n_touched, everyone, n_inside, kinds):  # pragma: no cover
    """Multiply the sums of users by their factors, once or twice, and square those that are squared."""
    for t in range(n_touched):
        user = t if everyone else touched[t]
        if user < n_inside:
            power = half[user]
            for column in range(_N_SUMS):
                value = sums[user, column] * (power * power if kinds[1, column] else power)
                sums[user, column] = value * value if kinds[0, column] else value


@compiled_loop
def _clear(table, reached, touched, n_touched, everyone, inside):  # pragma: no cover
    """Set the sums of the users that a history has reached to 0."""
    for level in range(len(inside)):
        if everyone:
            table[level, : inside[level]] = 0
        else:
            for t in range(n_touched):
                table[level, touched[t]] = 0
    for t in range(0 if everyone else n_touched):
        reached[touched[t]] = False
