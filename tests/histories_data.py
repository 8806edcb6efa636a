"""Histories for the tests: at random, on a ring, and as lists."""

from __future__ import annotations

import numpy as np

from recbole_universal.graph.histories import Histories


def random_lists(n_users: int = 30, n_items: int = 16, repeats: bool = True, seed: int = 0) -> list[list[int]]:
    """Histories of 0 to 12 items: the first is empty, the second has one item."""
    rng = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, n_items + 1) ** 0.6
    lengths = np.concatenate([[0, 1], rng.integers(2, 13, n_users - 2)])
    share = popularity / popularity.sum()
    return [rng.choice(n_items, min(n, n_items), replace=repeats, p=share).tolist() for n in lengths]


def histories_of(lists: list[list[int]], times: np.ndarray | None = None) -> Histories:
    """The histories of the users 0, 1, ... of a dataset."""
    users = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    items = np.array([item for row in lists for item in row], dtype=np.int64)
    return Histories.of_events(users, items, len(lists), times)


def clocked(lists: list[list[int]], seed: int = 0) -> Histories:
    """The same, with a time of each event on one clock."""
    rng = np.random.default_rng(seed)
    n_events = sum(map(len, lists))
    times = np.concatenate([np.sort(rng.choice(10 * n_events, len(items), replace=False)) for items in lists])
    return histories_of(lists, times)


def lists_of(histories: Histories) -> list[list[int]]:
    """The items of each history."""
    return [part.tolist() for part in np.split(histories.items, histories.indptr[1:-1])]


def ring(n_users: int = 120, n_items: int = 24, length: int = 8) -> Histories:
    """Each user walks i, i + 1, i + 2, ... on a ring, from each item equally often."""
    return histories_of([[(user + step) % n_items for step in range(length)] for user in range(n_users)])
