"""Items that are held out with all their interactions, and how well scores rank them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.content.relations import ContentRelations
from recbole_universal.content.spaces import Space
from recbole_universal.content.weights import standardised
from recbole_universal.metrics import ndcg

#: Number of ranks that count.
K = 10
_MOST_USERS, _N_SHUFFLES = 500, 200


class HeldOutItems(NamedTuple):
    """Items that are held out with all their interactions, and users who have some of them.

    Attributes:
        items: the items, sorted, int64 [n_held_out].
        users: users with some of them and with other items, sorted, int64 [n_users].
        support: the interactions with the other items, csr.
        query: the interactions with the held-out items, csr.
        share_tested: share of the users with a list who have a held-out item.
    """

    items: NDArray[np.int64]
    users: NDArray[np.int64]
    support: sp.csr_matrix
    query: sp.csr_matrix
    share_tested: float

    @classmethod
    def drawn(cls, matrix: sp.csr_matrix, items: NDArray[np.int64], generator: np.random.Generator) -> HeldOutItems:
        """Hold out some items, and draw 500 users at most."""
        support, query = split_items(matrix, items)
        has_list = (np.diff(support.indptr) > 0) & (np.diff(matrix.indptr) > 1)
        tested = has_list & (np.diff(query.indptr) > 0)
        users = np.sort(generator.permutation(np.flatnonzero(tested))[:_MOST_USERS])
        return cls(items, users, support, query, tested.sum() / max(1, has_list.sum()))

    def columns(self, spaces: Sequence[Space], max_regression_size: int) -> NDArray[np.float32]:
        """Standardised scores of the held-out items, float32 [n_users, n_held_out, n_columns]."""
        relations = ContentRelations(self.support, spaces, max_regression_size)
        return standardised(relations.columns(self.support[self.users], self.items))

    def hits(self) -> NDArray[np.bool_]:
        """The held-out interactions, bool [n_users, n_held_out]."""
        return self.query[self.users][:, self.items].toarray() > 0


def split_items(matrix: sp.csr_matrix, held_out: NDArray[np.int64]) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """The interactions with all other items, and those with the held-out items; csr of the same shape."""
    marked = np.zeros(matrix.shape[1], dtype=bool)
    marked[held_out] = True

    def part(chosen: NDArray[np.bool_]) -> sp.csr_matrix:
        indptr = np.concatenate([[0], np.cumsum(chosen)])[matrix.indptr]
        return sp.csr_matrix((matrix.data[chosen], matrix.indices[chosen], indptr), shape=matrix.shape)

    return part(~marked[matrix.indices]), part(marked[matrix.indices])


def is_beyond_chance(scores: NDArray[np.float32], hits: NDArray[np.bool_], n_relevant: NDArray[np.int64]) -> bool:
    """Whether NDCG@10 is more than two standard deviations above that with the scores shuffled among the items.

    A user's items are also other users' items, so users alone would make chance look rarer than it is.
    """
    best = best_items(scores)
    generator = np.random.default_rng(0)
    shuffled = [
        np.take_along_axis(hits, generator.permutation(hits.shape[1])[best], axis=1) for _ in range(_N_SHUFFLES)
    ]
    by_chance = [ndcg(in_list, n_relevant).mean() for in_list in shuffled]
    found = ndcg_by_user(scores, hits, n_relevant).mean()
    return bool(found > 0 and found - np.mean(by_chance) > 2 * np.std(by_chance))


def best_items(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """The ten best items of each user, int64 [n_users, at most 10]. Equal scores rank by index."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :K]


def ndcg_by_user(
    scores: NDArray[np.float32], hits: NDArray[np.bool_], n_relevant: NDArray[np.int64]
) -> NDArray[np.float64]:
    """NDCG@10 of each row of scores, float64 [n_rows]; arguments as of :func:`ndcg_by_item`."""
    return ndcg(np.take_along_axis(hits, best_items(scores), axis=1), n_relevant)


def ndcg_by_item(
    scores: NDArray[np.float32], hits: NDArray[np.bool_], n_relevant: NDArray[np.int64], first_item: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The part of the sum of NDCG@10 over users that comes from each held-out item.

    The difference of two rankings has its standard error over items. Users share the few held-out items, so a
    difference over users can be certain of what one item does.

    Args:
        scores: scores, float32 [n_rows, n_held_out].
        hits: the held-out interactions, bool [n_rows, n_held_out].
        n_relevant: their number in each row, int64 [n_rows].
        first_item: number of the first item of each row, int64 [n_rows]; each draw has other items.

    Returns:
        float64 [number of items of all draws].
    """
    best = best_items(scores)
    in_list = np.take_along_axis(hits, best, axis=1)
    alone = in_list[:, :, None] & np.eye(best.shape[1], dtype=bool)  # each rank as a list of its own
    gains = ndcg(alone.transpose(1, 0, 2), n_relevant).T
    by_item = np.zeros(int(first_item.max()) + hits.shape[1])
    np.add.at(by_item, first_item[:, None] + best, gains)
    return by_item


def ndcg_by_chance(n_relevant: NDArray[np.int64], n_items: int) -> NDArray[np.float64]:
    """Expected NDCG@10 of a random order for each user."""
    k = min(K, n_items)
    everything = np.ones((len(n_relevant), k), dtype=bool)
    return ndcg(everything, n_relevant) * n_relevant / n_items
