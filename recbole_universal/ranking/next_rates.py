"""How often the item at each rank of a ranker's lists is the user's next one, by held-out interactions."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.graph.held_out import held_out_hits, support_query_split
from recbole_universal.graph.popularity import fill_with_popular, item_degrees, popularity_order
from recbole_universal.ranking.ranker import UniversalRanker

_N_USERS, _SHARE, _N_RANKS = 1000, 0.2, 100


def next_rates(ranker: UniversalRanker, fast: bool = False) -> NDArray[np.float64]:
    """Share of a user's held-out interactions that are with the item at each rank, mean over users, float64 [n_ranks].

    The self-check of the ranker measures them. Where popularity ranks, or a model without self-check, they are those of
    the most popular items.

    Args:
        ranker: the ranker.
        fast: whether the lists are those of ``fast``.
    """
    network = ranker.network
    if network.ranks_candidates and not ranker.fallback_reason(fast):
        check = network.candidate_pairs.check
        result = network.check_result()
        if fast and check is not None:
            result = check.result(check.linear_scores)
        if result is not None and result.next_rate is not None:
            return result.next_rate.numpy()
    return popular_rates(ranker.matrix)


def popular_rates(matrix: sp.csr_matrix) -> NDArray[np.float64]:
    """The rates of the most popular items that a user has not had; zeros if no user has two interactions.

    Args:
        matrix: interactions, csr [n_users, n_items].
    """
    support, query = support_query_split(matrix, _N_USERS, _SHARE, np.random.default_rng(0))
    n_held_out = np.diff(query.indptr)
    users = np.flatnonzero(n_held_out)
    lists = np.full((len(users), min(_N_RANKS, matrix.shape[1])), -1)
    if not len(users):
        return np.zeros(lists.shape[1])
    fill_with_popular(lists, popularity_order(item_degrees(support)), support[users])
    return (held_out_hits(lists, query[users]) / n_held_out[users, None]).mean(axis=0)
