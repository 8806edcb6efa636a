"""How well columns and their weights rank held-out items that the weights have not seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recbole_universal.content.weights import fitted_weights
from recbole_universal.metrics import ndcg

#: Number of ranks that count.
K = 10
_N_SHUFFLES = 200
#: Marks of half of the items, bool [n_items], and weights of the columns, float64 [n_columns]; one of each half.
Halves = list[tuple[NDArray[np.bool_], NDArray[np.float64]]]


def weights_of_other_items(columns: NDArray[np.float32], hits: NDArray[np.bool_], first: NDArray[np.float64]) -> Halves:
    """Each half of the items, and the weights that are fitted to the other half.

    New items are other items than those of the fit. Weights that know the items they rank look better than they are.
    """
    halves = np.arange(hits.shape[1]) % 2 == 0
    return [(half, fitted_weights(columns[:, ~half], hits[:, ~half], first)) for half in (halves, ~halves)]


def in_halves(columns: NDArray[np.float32], hits: NDArray[np.bool_], weights: Halves) -> NDArray[np.float64]:
    """NDCG@10 of each user in each half of the items, where the user has any, by the weights of the half."""
    values = []
    for half, of_half in weights:
        of_items = hits[:, half]
        users = of_items.any(axis=1)
        scores = columns[:, half][users] @ of_half.astype(np.float32)
        values.append(ndcg_by_user(scores, of_items[users], of_items[users].sum(axis=1))[0])
    return np.concatenate(values)


def is_beyond_chance(scores: NDArray[np.float32], hits: NDArray[np.bool_], n_relevant: NDArray[np.int64]) -> bool:
    """Whether NDCG@10 is at least two standard deviations above that with the scores shuffled among the items.

    A user's items are also other users' items, so users alone would make chance look rarer than it is.
    """
    best = best_items(scores)
    generator = np.random.default_rng(0)
    shuffled = [
        np.take_along_axis(hits, generator.permutation(hits.shape[1])[best], axis=1) for _ in range(_N_SHUFFLES)
    ]
    by_chance = [ndcg(in_list, n_relevant).mean() for in_list in shuffled]
    found = ndcg(np.take_along_axis(hits, best, axis=1), n_relevant).mean()
    return bool(found > 0 and found - np.mean(by_chance) >= 2 * np.std(by_chance))


def best_items(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """The ten best items of each user, int64 [n_users, at most 10]. Equal scores rank by index."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :K]


def ndcg_by_user(
    scores: NDArray[np.float32], hits: NDArray[np.bool_], n_relevant: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """NDCG@10 of each user, and the hits in the first ten ranks."""
    in_list = np.take_along_axis(hits, best_items(scores), axis=1)
    return ndcg(in_list, n_relevant), in_list


def ndcg_by_chance(n_relevant: NDArray[np.int64], n_items: int) -> NDArray[np.float64]:
    """Expected NDCG@10 of a random order for each user."""
    k = min(K, n_items)
    everything = np.ones((len(n_relevant), k), dtype=bool)
    return ndcg(everything, n_relevant) * n_relevant / n_items
