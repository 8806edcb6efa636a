"""The sums of :mod:`recbole_universal.graph.user_sums` as loops that Numba compiles; needs the extra ``fast``.

The users come in tiles. The sums of a tile's users stay in the processor's cache while the users of all items of the
history are read, and then those of all asked items. The users of an item are sorted, so additions come in the same
order as without tiles.
"""

from __future__ import annotations

import numpy as np

from recbole_universal.graph.compiled_sums import compiled_loop, take_best

# Users of a tile, and sums of a user.
_TILE, _N_SUMS = 2**15, 4


@compiled_loop
def user_sums(
    row_ptr, row_idx, weights, by_ptr, by_idx, by_data, half, kinds, own, items, lengths, out
):  # pragma: no cover
    """See :meth:`recbole_universal.graph.user_sums.UserSums.at`; fills ``out``, [4, n, width].

    No ``by_data`` says that all are 1. The rows of ``kinds`` are those of
    :class:`~recbole_universal.graph.user_sums.Kinds`.
    """
    n_users, weighted, weight = len(half), len(by_data) > 0, np.float32(1)
    tile = min(_TILE, n_users)
    sums = np.zeros((tile, _N_SUMS), np.float32)
    reached, touched = np.zeros(tile, np.bool_), np.empty(tile + 1, np.int32)
    for row in range(len(row_ptr) - 1):
        history, asked = row_idx[row_ptr[row] : row_ptr[row + 1]], items[row, : lengths[row]]
        # With many reads a pass over all users costs less than a list of some.
        everyone = (by_ptr[history + 1] - by_ptr[history]).sum() > n_users
        read, summed = by_ptr[history], by_ptr[asked]  # the next user of each item
        for first in range(0, n_users, tile):
            last, n_touched = min(first + tile, n_users), 0
            for p in range(len(history)):
                at, start = row_ptr[row] + p, read[p]
                read[p] = _end(by_idx, start, by_ptr[history[p] + 1], last)
                a, b, c, d = weights[at, 0], weights[at, 1], weights[at, 2], weights[at, 3]
                for e in range(start, read[p]):
                    user = by_idx[e] - first
                    if not everyone:
                        touched[n_touched] = user  # without a branch, which the processor could not predict
                        n_touched += not reached[user]
                        reached[user] = True
                    if weighted:
                        weight = by_data[e]
                    sums[user, 0] += a * weight
                    sums[user, 1] += b * weight
                    sums[user, 2] += c * weight
                    sums[user, 3] += d * weight
            n_touched = last - first if everyone else n_touched
            _finish(sums, half[first:last], touched, n_touched, everyone, kinds)
            if first <= own[row] < last:
                for column in range(_N_SUMS):
                    if kinds[2, column]:
                        sums[own[row] - first, column] = 0
            for place in range(len(asked)):
                start = summed[place]
                summed[place] = _end(by_idx, start, by_ptr[asked[place] + 1], last)
                a, b, c, d = out[0, row, place], out[1, row, place], out[2, row, place], out[3, row, place]
                for e in range(start, summed[place]):
                    user = by_idx[e] - first
                    if weighted:
                        weight = by_data[e]
                    a += sums[user, 0] * weight
                    b += sums[user, 1] * weight
                    c += sums[user, 2] * weight
                    d += sums[user, 3] * weight
                out[0, row, place], out[1, row, place], out[2, row, place], out[3, row, place] = a, b, c, d
            if everyone:
                sums[:] = 0
            else:
                for t in range(n_touched):
                    sums[touched[t]] = 0
                    reached[touched[t]] = False


@compiled_loop
def _end(by_idx, start, stop, last):  # pragma: no cover
    """The first position from ``start`` to ``stop`` whose user is not below ``last``; the users are sorted."""
    if start == stop or by_idx[stop - 1] < last:
        return stop
    while start < stop:
        middle = (start + stop) // 2
        if by_idx[middle] < last:
            start = middle + 1
        else:
            stop = middle
    return start


@compiled_loop
def _finish(sums, half, touched, n_touched, everyone, kinds):  # pragma: no cover
    """Multiply the sums of users by their factors, once or twice, and square those that are squared."""
    for column in range(_N_SUMS):
        is_squared, is_twice = kinds[0, column], kinds[1, column]
        for t in range(n_touched):
            user = t if everyone else touched[t]
            power = half[user]
            value = sums[user, column] * (power * power if is_twice else power)
            sums[user, column] = value * value if is_squared else value


@compiled_loop
def nearest_users(row_ptr, row_idx, row_data, by_ptr, by_idx, by_data, half, own, users, values):  # pragma: no cover
    """See :meth:`recbole_universal.graph.user_sums.UserSums.nearest`; fills ``users`` and ``values``, [n, k]."""
    n_users, k, weighted, weight = len(half), users.shape[1], len(by_data) > 0, np.float32(1)
    tile = min(_TILE, n_users)
    sums = np.zeros(tile, np.float32)
    candidates, similar = np.empty(k + tile + 1, np.int32), np.empty(k + tile + 1, np.float32)
    for row in range(len(row_ptr) - 1):
        history, n_best, least = row_idx[row_ptr[row] : row_ptr[row + 1]], 0, np.float32(0)
        read = by_ptr[history]  # the next user of each item
        for first in range(0, n_users, tile):
            last, n_found = min(first + tile, n_users), n_best
            for p in range(len(history)):
                mine, start = row_data[row_ptr[row] + p], read[p]
                read[p] = _end(by_idx, start, by_ptr[history[p] + 1], last)
                for e in range(start, read[p]):
                    if weighted:
                        weight = by_data[e]
                    sums[by_idx[e] - first] += mine * weight
            if first <= own[row] < last:
                sums[own[row] - first] = 0
            for user in range(last - first):
                value = sums[user] * half[first + user]
                sums[user] = 0
                candidates[n_found], similar[n_found] = first + user, value
                n_found += value > least  # of equal users the first stay
            if n_found > n_best:
                take_best(candidates, similar, n_found, k, users[row], values[row])
                n_best = min(n_found, k)
                candidates[:n_best], similar[:n_best] = users[row, :n_best], values[row, :n_best]
                least = values[row, k - 1]
