"""The ranks that new items earn in a list of items that others have had."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from sklearn.isotonic import IsotonicRegression


def rates_of_fewer(rates: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """The rates that a ranking would have if it ranked fewer items, drawn at random from its own.

    The item at rank j of N is among n drawn ones with r - 1 of the items before it with the probability
    C(j - 1, r - 1) C(N - j, n - r) / C(N, n), and has the rank r then.

    Args:
        rates: rate at each rank, float64 [N].
        n: number of items; N or more leave the rates as they are.

    Returns:
        float64 [min(n, N)].
    """
    total = len(rates)
    if n >= total:
        return rates
    before = np.arange(total)[:, None]  # j - 1
    drawn_before = np.arange(n)[None]  # r - 1
    after = total - 1 - before
    possible = (drawn_before <= before) & (n - 1 - drawn_before <= after)
    chosen, rest = np.minimum(drawn_before, before), np.minimum(n - 1 - drawn_before, after)
    logarithm = _log_binomial(before, chosen) + _log_binomial(after, rest)
    return rates @ np.where(possible, np.exp(logarithm - _log_binomial(np.array(total), np.array(n))), 0.0)


def _log_binomial(n: NDArray, k: NDArray) -> NDArray[np.float64]:
    """Logarithm of the number of ways to choose k of n."""
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def next_places(known: NDArray[np.float64], new: NDArray[np.float64], k: int) -> NDArray[np.bool_]:
    """Which ranks of a list new items earn.

    Both rates come from held-out interactions. They are smoothed to fall with the rank. Each rank goes to the list
    whose next item has the higher rate, so the expected number of hits is as high as it can be. Equal rates go to the
    item that others have had, and so do ranks beyond both lists of rates.

    Args:
        known: share of the users' next interactions with the item at each rank of the list of known items, float64 [n].
        new: the same for the list of new items, float64 [m].
        k: number of ranks.

    Returns:
        bool [k], the same for every user.
    """
    is_new = np.zeros(k, dtype=bool)
    order = np.argsort(-np.concatenate([_falling(known), _falling(new)]), kind="stable")[:k]
    is_new[: len(order)] = order >= len(known)
    return is_new


def even_places(n: int, k: int) -> NDArray[np.bool_]:
    """Some of the ranks, spread evenly; the last rank is one of them.

    Args:
        n: number of places.
        k: number of ranks, at least n.

    Returns:
        bool [k].
    """
    is_new = np.zeros(k, dtype=bool)
    is_new[-(-np.arange(1, n + 1) * k // n) - 1 if n else []] = True
    return is_new


def _falling(rate: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest rates that do not rise with the rank."""
    if len(rate) < 2:
        return np.asarray(rate, dtype=np.float64)
    return IsotonicRegression(increasing=False).fit_transform(np.arange(len(rate)), rate)


def merged(known: NDArray[np.int64], new: NDArray[np.int64], is_new: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Lists in which new items have the given ranks.

    Args:
        known: items that others have had, best first, int64 [n_users, k]; -1 is no item.
        new: new items, best first, int64 [n_users, m]; -1 is no item.
        is_new: which ranks go to new items, bool [k], such as of :func:`next_places`.

    Returns:
        int64 [n_users, k]. Where a list has no item left, the other one fills the rank; -1 if neither has.
    """
    lists = np.full((len(known), len(is_new)), -1, dtype=np.int64)
    for row, (of_known, of_new) in enumerate(zip(known.tolist(), new.tolist(), strict=True)):
        left, right = ([item for item in items if item >= 0][::-1] for items in (of_known, of_new))
        for rank, wanted in enumerate(is_new.tolist()):
            source = (right or left) if wanted else (left or right)
            if not source:
                break
            lists[row, rank] = source.pop()
    return lists
