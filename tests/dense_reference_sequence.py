"""Scorers of histories in order in dense float64 NumPy, by loops over events.

Written from the formulas of the docstrings of ``recbole_universal``; nothing here calls the package.
"""

from __future__ import annotations

import dense_reference as dense
import numpy as np

Lists = list[list[int]]
WINDOW = 20


def weighted(lists: Lists, n_items: int, decay: float) -> np.ndarray:
    """``decay ** age`` of each event, added by item; powers below 1e-4 are left out."""
    weights = np.zeros((len(lists), n_items))
    for row, items in enumerate(lists):
        for age, item in enumerate(reversed(items)):
            power = 1.0 if age == 0 else decay**age
            weights[row, item] += power if power >= 1e-4 else 0.0
    return weights


def transitions(lists: Lists, n_items: int, kernel, window: int = WINDOW) -> np.ndarray:
    """Sum of the kernel over the pairs of events of a history, row = earlier item."""
    counts = np.zeros((n_items, n_items))
    for items in lists:
        for later in range(len(items)):
            for earlier in range(max(0, later - window), later):
                counts[items[earlier], items[later]] += kernel(later - earlier)
    return counts


def degrees(lists: Lists, n_items: int) -> np.ndarray:
    """Number of events of each item."""
    return np.bincount([item for items in lists for item in items], minlength=n_items).astype(np.float64)


def prefix_gram(lists: Lists, n_items: int, decay: float) -> np.ndarray:
    """Sum of the outer products of all prefixes, the whole history included."""
    gram = np.zeros((n_items, n_items))
    for items in lists:
        prefix = np.zeros(n_items)
        for item in items:
            prefix *= decay
            prefix[item] += 1.0
            gram += np.outer(prefix, prefix)
    return gram


def closed_gram(lists: Lists, n_items: int, decay: float) -> np.ndarray:
    """The same, as if the weights of a history's last prefix went on to fall after its end."""
    following = transitions(lists, n_items, lambda gap: decay ** (gap - 1))
    return (decay * (following + following.T) + np.diag(degrees(lists, n_items))) / (1 - decay**2)


def prefix_regression(lists: Lists, n_items: int, decay: float) -> np.ndarray:
    """Ridge regression of the next item on the prefix, row = item of the prefix; items without events are 0."""
    degree = degrees(lists, n_items)
    present = np.flatnonzero(degree)
    penalty = 0.5 * degree[present].mean() / (1 - decay**2)
    gram = closed_gram(lists, n_items, decay)[np.ix_(present, present)] + penalty * np.eye(len(present))
    following = transitions(lists, n_items, lambda gap: decay ** (gap - 1))
    weights = np.zeros((n_items, n_items))
    weights[np.ix_(present, present)] = np.linalg.solve(gram, following[np.ix_(present, present)])
    return weights


def prefix_neighbors(lists: Lists, queries: Lists, users: list[int], n_items: int, decay: float) -> np.ndarray:
    """Votes of the prefixes of all histories but that of the query's user."""
    degree = degrees(lists, n_items)
    rarity = np.sqrt(np.log1p(len(lists) / np.maximum(degree, 1)))
    votes = np.zeros((len(queries), n_items))
    for row, (query, user) in enumerate(zip(queries, users, strict=True)):
        asked = weighted([query[-WINDOW:]], n_items, decay)[0] * rarity
        for owner, items in enumerate(lists):
            for end in range(len(items) - 1):
                if owner == user:
                    continue
                events = [(items[end - age], decay**age * rarity[items[end - age]]) for age in range(end + 1)]
                events = events[: next((a for a in range(WINDOW) if decay**a < 0.02), WINDOW)]
                norm = np.sqrt(sum(weight**2 for _, weight in events))
                similar = sum(asked[item] * weight for item, weight in events) / norm
                for step, vote in enumerate((1.0, 0.4, 0.2), 1):
                    if end + step < len(items):
                        target = items[end + step]
                        votes[row, target] += similar**4 * vote * degree[target] ** -0.25
    return votes


def low_rank(matrix: np.ndarray, rank: int) -> np.ndarray:
    """The best approximation of a rank."""
    left, values, right = np.linalg.svd(matrix)
    assert rank == len(values) or values[rank - 1] - values[rank] > 1e-4
    return (left[:, :rank] * values[:rank]) @ right[:rank]


def scores(lists: Lists, queries: Lists, users: list[int], n_items: int, n_neighbors: int) -> dict[str, np.ndarray]:
    """Scores of every item for some histories by each scorer but those of recent popularity.

    Args:
        lists: training histories.
        queries: histories to score.
        users: row of each query's user in ``lists``, -1 without one.
        n_items: number of items.
        n_neighbors: neighbours of an item.
    """
    seen = (weighted(lists, n_items, 1.0) > 0).astype(np.float64)
    degree = degrees(lists, n_items)
    user_half = dense.power(seen.sum(axis=1), 0.5)
    own = np.zeros((len(lists), len(queries)))
    own[[user for user in users if user >= 0], [row for row, user in enumerate(users) if user >= 0]] = 1.0

    def scaled(power: float) -> np.ndarray:
        return dense.power(degree, power)

    def of(decay: float) -> np.ndarray:
        return weighted(queries, n_items, decay)

    following = transitions(lists, n_items, lambda gap: (gap <= 10) / gap)
    nearest = dense.neighbors(seen, n_neighbors).T
    half = scaled(0.5)
    joined = low_rank(half[:, None] * following * half, min(max(8, n_items // 8), n_items))
    related = dense.item_relations(seen, n_neighbors)
    _, _, vectors = np.linalg.svd(
        dense.power(seen.sum(axis=1), 0.5)[:, None] * seen * dense.power(seen.sum(axis=0), 0.5)
    )
    rank = min(max(8, min(seen.shape) // 8), *seen.shape)
    passes = {cut: vectors[:cut].T @ vectors[:cut] for cut in (rank // 2, rank)}

    def squared(decay: float) -> np.ndarray:
        similar = (seen @ (of(decay) * scaled(0.7)).T) * (1 - own) * user_half[:, None]
        return (similar**2).T @ seen

    by_name = {
        "next_item": (of(0.0) * half) @ transitions(lists, n_items, lambda gap: gap == 1) * scaled(0.3),
        "transitions_short": (of(0.4) * scaled(0.8)) @ following * scaled(0.2),
        "transitions": (of(0.7) * scaled(0.8)) @ following * scaled(0.2),
        "transitions_long": (of(0.9) * scaled(0.8)) @ following * scaled(0.2),
        "cosine_transitions": (of(0.7) * half) @ following * half,
        "reversed_transitions": (of(0.7) * scaled(0.6)) @ following.T * scaled(0.4),
        "low_rank_transitions": (of(0.7) * half) @ joined * scaled(-0.3),
        "low_rank_transitions_long": (of(0.9) * half) @ joined * scaled(-0.3),
        "prefix_regression": of(0.7) @ prefix_regression(lists, n_items, 0.7),
        "prefix_regression_long": of(0.9) @ prefix_regression(lists, n_items, 0.9),
        "prefix_neighbors": prefix_neighbors(lists, queries, users, n_items, 0.85),
        "neighbors": of(1.0) @ nearest,
        "recent_neighbors": of(0.8) @ nearest,
        "full_pass": (of(1.0) * half) @ passes[rank] * scaled(-0.5),
        "recent_mid_pass": (of(0.9) * half) @ passes[rank // 2] * scaled(-0.5),
        "regression": of(1.0) @ related["regression"],
        "recent_regression": of(0.7) @ related["regression"],
        "user_squared": squared(1.0),
        "recent_user_squared": squared(0.8),
        "recent_user_cosine": ((seen @ of(0.8).T) * (1 - own) * user_half[:, None]).T @ seen,
        "popularity": np.where(squared(1.0) > 0, seen.sum(axis=0), 0.0),
        "repeats": of(1.0),
        "recent_repeats": of(0.7),
    }
    return by_name
