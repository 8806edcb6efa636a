"""Scores of some histories without order: few relations draw candidates, and all scorers score these alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch

from recbole_universal.graph.histories import Histories
from recbole_universal.graph.popularity import popular_rows
from recbole_universal.graph.scorer_definitions import BY_USERS, FILTERS, POWERS, SCORERS
from recbole_universal.graph.sums import DIGITS, band_products, best_of_scores, best_of_sums, rounded, sums_at
from recbole_universal.graph.threads import lazy_property
from recbole_universal.graph.user_sums import Kinds

if TYPE_CHECKING:
    from recbole_universal.graph.scorers import GraphScorers

_INDEX = {name: index for index, name in enumerate(SCORERS)}
# A product of a filter is 0 below this share of the norm of the history.
_NO_PASS = 2.0**-18
# Candidates are items of this number of nearest users, and this number of the most popular items. The columns of a
# candidate read the 20th best score of each scorer.
_N_NEAREST_USERS, _N_POPULAR = 100, 20
# The scorers that sum over users: walks have the user's factor twice, and similarities are those of other users.
_BY_USERS = Kinds(
    squared=(False, True, False, False), twice=(False, False, True, True), without_own=(False, True, False, False)
)


class GraphScores:
    """Scores of some histories by the scorers of one matrix.

    Args:
        scorers: the scorers.
        histories: the histories.
        preference: factor of each item's scores, which orders items of equal scores, float32 [n_items].
    """

    def __init__(self, scorers: GraphScorers, histories: Histories, preference: torch.Tensor) -> None:
        self._scorers, self._users, self._preference = scorers, histories.users, preference.cpu().numpy()
        items, weighted = histories.matrix(scorers.n_items), histories.weights is not None
        self._matrix = histories.weighted(scorers.n_items, 1.0) if weighted else items
        self._row_in_sample = np.where(self._users >= 0, scorers._sample_index[self._users], -1)
        users = np.where(self._has_own_items(items), self._users, -1)
        self._regression = scorers._regression.asked(users, self._matrix)

    def _has_own_items(self, items: sp.csr_matrix) -> np.ndarray:
        """Whether each history, with these items, holds those that its user has in the matrix, bool [n]."""
        own = self._scorers.matrix[np.maximum(self._users, 0)]
        same = (self._users >= 0) & (np.diff(own.indptr) == np.diff(items.indptr))
        same[same] = np.diff((own[same] != items[same]).indptr) == 0
        return same

    def draw(self, k: int, excluded: sp.csr_matrix, allowed: np.ndarray | None) -> np.ndarray:
        """Items that some scorer ranks high: candidates.

        The sources are those whose best items take few operations to find: the neighbours of the user's items, the
        items of the nearest users, the shortest filter among popular items, the regression, and popularity. Together
        they have nearly all items that stand high in a list of the candidates of all scorers.

        Args:
            k: number of items that each source draws; popularity draws 20.
            excluded: items that each history leaves out, csr [n, n_items].
            allowed: items that may be drawn, bool [n or 1, n_items]; ``None``: all may.

        Returns:
            int64 [n, n_drawn], -1 where nothing is left. Items can be drawn twice.
        """
        scorers, preference = self._scorers, self._preference
        near, _ = best_of_sums(self._matrix, scorers._by_source, k, excluded, allowed, preference, DIGITS)
        theirs, _ = best_of_sums(self._nearest_users(), scorers._base, k, excluded, allowed, preference, DIGITS)
        regressed = self._regression.draw(k, excluded, allowed, preference)
        smooth = self._spectrum[:, : len(scorers._low_pass)] @ scorers._low_pass
        columns = scorers._filtered, scorers._filter_columns
        filtered = best_of_scores(smooth, *columns, k, excluded, allowed, preference)
        popular = popular_rows(scorers._popular, excluded, _N_POPULAR, allowed)
        return np.concatenate([near, theirs, regressed, filtered, popular], axis=1)

    def _nearest_users(self) -> sp.csr_matrix:
        """Squared similarity of the nearest sampled users, csr [n, n_sampled_users]."""
        scorers, rare = self._scorers, self._matrix.copy()
        rare.data *= scorers._item_powers[rare.indices, POWERS.index(0.7)]
        return scorers._user_sums.nearest(rare, self._row_in_sample, _N_NEAREST_USERS)

    def of(self, items: np.ndarray, lengths: np.ndarray) -> torch.Tensor:
        """Scores of some items of each history.

        Args:
            items: items of each history, int64 [n, width].
            lengths: number of items of each history; those after them do not count, int64 [n].

        Returns:
            float32 [n_scorers, n, width] in the order of ``SCORERS``, on the scorers' device; 0 after the items of
            a history.
        """
        scorers = self._scorers
        out = np.empty((len(SCORERS), *items.shape), dtype=np.float32)
        mine = self._matrix
        weights = scorers._item_powers[mine.indices] * mine.data[:, None]
        own = self._row_in_sample
        by_users = scorers._user_sums.at(mine, weights, _BY_USERS, own, items, lengths)
        half = scorers._half[items]
        by_users[2:] *= half
        out[: len(BY_USERS)] = by_users
        out[_INDEX["neighbors"]] = sums_at(self._matrix, scorers._by_source, items, lengths)
        cuts = scorers._arrays["cuts"]
        passes = band_products(self._spectrum, scorers._arrays["vectors"], cuts, items, lengths)
        # An item without a path from the history differs from 0 by the rounding errors of a product.
        norms = np.sqrt(np.cumsum(self._spectrum**2, axis=1))[:, cuts - 1].T
        passes[np.abs(passes) < _NO_PASS * norms[..., None]] = 0.0
        passes *= scorers._root[items]
        first = _INDEX[FILTERS[0]]
        out[first : first + len(FILTERS)] = passes
        out[_INDEX["regression"]] = self._regression.at(items, lengths)
        out[_INDEX["popularity"]] = (out[_INDEX["user_cosine"]] > 0) * scorers.item_degree[items]
        rounded(out)
        out *= self._preference[items]
        out *= np.arange(items.shape[1]) < lengths[:, None]
        return torch.from_numpy(out).to(scorers.device)

    @lazy_property
    def _spectrum(self) -> np.ndarray:
        """The histories in the basis of the singular vectors, float32 [n, rank]."""
        entries = self._matrix.data * self._scorers._half[self._matrix.indices]
        scaled = sp.csr_matrix((entries, self._matrix.indices, self._matrix.indptr), shape=self._matrix.shape)
        return scaled @ self._scorers._arrays["vectors"]
