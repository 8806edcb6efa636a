"""The recommenders that are compared. Each is a function that fits a fold and returns a function that ranks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from recbole_universal.app.evaluation.splits import Fold
from recbole_universal.app.explanation import strongest_items
from recbole_universal.app.model_choice import ranker_of
from recbole_universal.checkpoint import Pretrained
from recbole_universal.features.binning import percentile
from recbole_universal.features.candidates import best_unseen
from recbole_universal.graph.item_models import nearest_neighbors, thinned
from recbole_universal.graph.popularity import fill_with_popular, popular_lists, popularity_order
from recbole_universal.graph.regression import mean_degree, ridge_regressions
from recbole_universal.graph.scorers import PENALTY
from recbole_universal.graph.sparse_sums import UserItems
from recbole_universal.io.source import Report
from recbole_universal.ranking.ranker import UniversalRanker

#: Ranks: from user indices int64 [n] and k to item indices int64 [n, k], best first, -1 where no items are left.
Rank = Callable[[np.ndarray, int], np.ndarray]
Fit = Callable[[Fold], Rank]
#: Name of the row of the pre-trained model, and of MostPop.
UNIVERSAL, POPULAR = "universal model", "MostPop"
#: EASE inverts a matrix of users or items. It is left out if both are more than this number.
LARGEST_REGRESSION = 6000
_N_NEIGHBORS, _MOST_ITEMS = 100, 10_000
# Floats of the scores of a block of users.
_BLOCK_FLOATS = 2**23


def baselines(fold: Fold) -> dict[str, Fit]:
    """The baselines by name.

    EASE is among them where the matrix is small enough, and the users' own items where users come back to them.
    """
    fits: dict[str, Fit] = {POPULAR: most_popular}
    if fold.repeats:
        fits["own items"] = own_items
    fits["ItemKNN"] = item_knn
    return fits | ({"EASE": ease} if min(fold.train.shape) <= LARGEST_REGRESSION else {})


def most_popular(fold: Fold) -> Rank:
    """MostPop: the items with the most users."""
    degree = _degree(fold)
    return lambda users, k: popular_lists(degree, fold.excluded(users), k)


def own_items(fold: Fold) -> Rank:
    """The items that the user had most often; the order of the fold is known."""
    histories, n_items = fold.histories, fold.train.shape[1]
    assert histories is not None
    return _by_scores(fold, lambda users: torch.from_numpy(histories[users].weighted(n_items, 1.0).toarray()))


def item_knn(fold: Fold) -> Rank:
    """ItemKNN: the sum of the cosines between an item and the user's items, among each item's 100 nearest."""
    neighbors = nearest_neighbors(thinned(fold.train, _MOST_ITEMS), _N_NEIGHBORS).T.tocsr()
    return _by_scores(fold, lambda users: torch.from_numpy((fold.train[users] @ neighbors).toarray()))


def ease(fold: Fold) -> Rank:
    """EASE (Steck, WWW 2019), with a penalty of three times the mean number of users of an item."""
    cpu = torch.device("cpu")
    ridge = PENALTY * mean_degree(fold.train, LARGEST_REGRESSION)
    (regression,) = ridge_regressions(fold.train, [ridge], LARGEST_REGRESSION, cpu)

    def scores(users: np.ndarray) -> torch.Tensor:
        out = torch.empty(len(users), fold.train.shape[1])
        regression.put_scores(out, torch.from_numpy(users), UserItems.of(fold.train[users], cpu))
        return out

    return _by_scores(fold, scores)


def universal(model: Pretrained | None, report: Report, **settings) -> Fit:
    """The pre-trained model.

    Args:
        model: the model; ``None``: a shipped one, chosen as :func:`recbole_universal.recommend` does.
        report: receives the reason of the choice, and of a fallback to popularity.
        **settings: arguments of :class:`UniversalRanker`.
    """

    def fit(fold: Fold) -> Rank:
        ranker = ranker_of(fold.seen(), fold.histories, model, report, weights=fold.weights, **settings)
        ranker.on_fallback = report
        ranker.show_progress = False
        return Universal(ranker)

    return fit


class Universal:
    """Ranks with a fitted ranker, and gives reasons.

    Args:
        ranker: the ranker.
    """

    def __init__(self, ranker: UniversalRanker) -> None:
        self._ranker = ranker

    def __call__(self, users: np.ndarray, k: int) -> np.ndarray:
        """The lists of users; see :data:`Rank`."""
        return self._ranker.top_k(users, k)[0]

    def reasons(self, user: int, items: list[int]) -> list[list[int]]:
        """For each item of a user's list, the user's items that speak for it most, at most two."""
        return strongest_items(self._ranker, user, items, 2)


def _degree(fold: Fold) -> np.ndarray:
    return np.bincount(fold.train.indices, minlength=fold.train.shape[1])


def _by_scores(fold: Fold, scores: Callable[[np.ndarray], torch.Tensor]) -> Rank:
    """Ranks by scores. Of equal ones the more popular item comes first; popular items follow those with a score."""
    degree = _degree(fold)
    order = popularity_order(degree)
    preference = 1 + 1e-5 * torch.from_numpy(percentile(degree).astype(np.float32))
    size = max(1, _BLOCK_FLOATS // len(degree))

    def rank(users: np.ndarray, k: int) -> np.ndarray:
        lists = np.full((len(users), k), -1)
        for start in range(0, len(users), size):
            block = users[start : start + size]
            excluded = fold.excluded(block)
            values, items = best_unseen(scores(block)[None] * preference, excluded, k)
            best = items[0].numpy().copy()
            best[values[0].numpy() <= 0] = -1  # the scores fall, so these are at the end
            lists[start : start + size, : best.shape[1]] = best
            fill_with_popular(lists[start : start + size], order, excluded)
        return lists

    return rank
