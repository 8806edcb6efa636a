"""Scores of some histories in order: few relations draw candidates, and all scorers score these alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recbole_universal.graph.histories import Histories
from recbole_universal.graph.popularity import popular_rows
from recbole_universal.graph.recent_popularity import HORIZONS
from recbole_universal.graph.sequence_definitions import POWERS, SEQUENCE_SCORERS
from recbole_universal.graph.sequence_sums import Weightings, weighted_sums_at
from recbole_universal.graph.sums import band_products, best_of_scores, best_of_sums, entries_at, sums_at
from recbole_universal.graph.threads import lazy_property
from recbole_universal.graph.user_sums import Kinds

if TYPE_CHECKING:
    from recbole_universal.graph.sequence_scorers import SequenceScorers

# A source draws this multiple of the number of candidates. The network was trained on the lists of all scorers: lists
# of about their length keep what a rank in a list means.
_SHARE = 1.5
# Candidates are items of this number of nearest users, and this number of the items popular at all, now and of late.
_N_NEAREST_USERS, _N_POPULAR = 100, 20
# Scorers of one sparse matrix, which share a pass over it. The history of the last one has the items of all others.
_SHARED = {
    "next": ("next_item",),
    "transitions": ("transitions_short", "transitions", "cosine_transitions", "transitions_long"),
    "reversed_transitions": ("reversed_transitions",),
    "neighbors": ("recent_neighbors", "neighbors"),
    "identity": ("recent_repeats", "repeats"),
}
# The scorers that sum over other users.
_BY_USERS = Kinds(squared=(True, True, False, False), twice=(False,) * 4, without_own=(True,) * 4)


class SequenceScores:
    """Scores of some histories by the scorers of one log.

    Args:
        scorers: the scorers.
        histories: the histories.
        preference: factor of each item's scores, which orders items of equal scores, float32 [n_items].
    """

    def __init__(self, scorers: SequenceScorers, histories: Histories, preference: torch.Tensor) -> None:
        self._scorers, self._histories, self._preference = scorers, histories, preference.numpy()
        decays = sorted(set(scorers.decays.values()))
        self._weighted = {decay: histories.weighted(scorers.n_items, decay) for decay in decays}

    def draw(self, k: int, excluded: sp.csr_matrix, allowed: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """Items that some scorer ranks high: candidates.

        The sources are those whose best items take few operations to find: what followed the latest items, their
        neighbours, what followed similar histories, the items of similar users, the largest factors of the transitions,
        what is popular now and at all, and the history itself where the log repeats items. Together they have nearly
        all items that stand high in a list of the candidates of all scorers.

        Args:
            k: number of candidates of a source, which draws half as many again; popularity draws 20 of each kind.
            excluded: items that each history leaves out, csr [n, n_items].
            allowed: items that may be drawn, bool [n or 1, n_items]; ``None``: all may.

        Returns:
            int64 [n, n_drawn], -1 where nothing is left. Items can be drawn twice.
        """
        scorers, n_drawn = self._scorers, math.ceil(_SHARE * k)
        which = excluded, allowed

        def best(weights: sp.csr_matrix, relations: sp.csr_matrix, power: float = 0.0, n: int = n_drawn) -> NDArray:
            return best_of_sums(weights, relations, n, *which, self._preference * scorers.power(power))[0]

        powers = POWERS["transitions"]
        followed = best(self._scaled(0.7, powers[0]), scorers.relations["transitions"], powers[1])
        near = best(self._weighted[0.8], scorers.relations["neighbors"])
        drawn = [followed, near, best(self._each, self._votes), best(self._nearest_users(), scorers.base)]
        smooth = self._spectra[0][:, : len(scorers.drawing_targets)] @ scorers.drawing_targets
        columns = scorers.drawn_from, scorers.drawing_column
        drawn.append(best_of_scores(smooth, *columns, n_drawn, *which, self._preference))
        drawn.append(popular_rows(scorers.popularity_order, excluded, _N_POPULAR, allowed))
        if self._step is not None:
            ones = np.ones(len(self._step), dtype=np.float32)
            for recent in scorers.recently_popular:
                now = sp.csr_matrix((ones, self._step, np.arange(len(ones) + 1)), shape=(len(ones), recent.shape[0]))
                drawn.append(best(now, recent, n=_N_POPULAR))
        if scorers.repeats:
            drawn.append(best(self._weighted[0.7], scorers.relations["identity"]))
        return np.concatenate(drawn, axis=1)

    def of(self, items: NDArray[np.int64], lengths: NDArray[np.int64]) -> torch.Tensor:
        """Scores of some items of each history.

        Args:
            items: items of each history, int64 [n, width].
            lengths: number of items of each history; those after them do not count, int64 [n].

        Returns:
            float32 [n_scorers, n, width] in the order of the scorers, 0 after the items of a history.
        """
        scorers = self._scorers
        by_name = self._by_relations(items, lengths) | self._by_factors(items, lengths)
        by_name |= self._by_weights(items, lengths) | self._by_users(items, lengths)
        by_name["prefix_neighbors"] = sums_at(self._each, self._votes, items, lengths)
        by_name |= self._by_popularity(items, by_name["user_squared"] > 0)
        out = np.stack([by_name[name] for name in scorers.names])
        out *= self._preference[items]
        out *= np.arange(items.shape[1]) < lengths[:, None]
        return torch.from_numpy(out)

    def _by_relations(self, items: NDArray[np.int64], lengths: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """Scores that are sums of rows of sparse matrices. Scorers of one matrix share a pass."""
        scorers, scores = self._scorers, {}
        for matrix, names in _SHARED.items():
            powers = [POWERS.get(SEQUENCE_SCORERS[name].relation, (0.0, 0.0)) for name in names]
            weighted = [self._scaled(scorers.decays[name], p) for name, (p, _) in zip(names, powers, strict=True)]
            values = weighted_sums_at(Weightings(weighted), scorers.relations[matrix], items, lengths)
            for name, value, (_, power) in zip(names, values, powers, strict=True):
                scores[name] = value * scorers.power(power)[items] if power else value
        return scores

    def _by_factors(self, items: NDArray[np.int64], lengths: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """Scores that are products of factors."""
        scorers, scores, targets = self._scorers, {}, self._scorers.low_rank[1]
        power = scorers.power(POWERS["low_rank"][1])[items]
        cuts = np.array([targets.shape[1]])
        for name, spectrum in zip(("low_rank_transitions", "low_rank_transitions_long"), self._spectra, strict=True):
            scores[name] = band_products(spectrum, targets, cuts, items, lengths)[0] * power
        for name in ("full_pass", "recent_mid_pass"):
            scorer = SEQUENCE_SCORERS[name]
            source_power, target_power = POWERS[scorer.relation]
            cuts = np.array([scorers.cuts[scorer.relation]])
            spectrum = self._scaled(scorer.decay, source_power) @ scorers.vectors
            products = band_products(spectrum, scorers.vectors, cuts, items, lengths)[0]
            scores[name] = products * scorers.power(target_power)[items]
        return scores

    def _by_weights(self, items: NDArray[np.int64], lengths: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """Scores by the regressions."""
        scorers, scores = self._scorers, {}
        columns = scorers.popular_column[items]
        for name in ("prefix_regression", "prefix_regression_long"):
            decay = SEQUENCE_SCORERS[name].decay
            weighted = self._weighted[decay][:, scorers.popular]
            scores[name] = entries_at(weighted, scorers.prefix_weights[decay], columns, lengths)
        for name in ("regression", "recent_regression"):
            scores[name] = scorers.regression.at(self._weighted[scorers.decays[name]], items, lengths)
        return scores

    def _by_users(self, items: NDArray[np.int64], lengths: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """Scores by the users who share items with the history."""
        weightings = Weightings([self._scaled(0.8, 0.7), self._weighted[0.8], self._scaled(1.0, 0.7)])
        # The last weighting has all entries. The two sums that are squared come first, and the fourth is of nothing.
        weights = np.pad(weightings.weights[:, [2, 0, 1]], ((0, 0), (0, 1)))
        user_sums, pattern = self._scorers.user_sums, weightings.pattern
        values = user_sums.at(pattern, weights, _BY_USERS, self._own, items, lengths)[:3]
        return dict(zip(("user_squared", "recent_user_squared", "recent_user_cosine"), values, strict=True))

    def _by_popularity(self, items: NDArray[np.int64], reached: NDArray[np.bool_]) -> dict[str, NDArray[np.float32]]:
        """Popularity of items that some user shares with the history, and recent popularity."""
        scorers = self._scorers
        scores = {"popularity": reached * scorers.item_degree[items]}
        for name, horizon in zip(("recent_popularity", "recent_popularity_long"), HORIZONS, strict=True):
            if self._step is None:
                scores[name] = np.zeros(items.shape, dtype=np.float32)
            else:
                scores[name] = scorers.recent_counts(horizon)[self._step[:, None], items]
        return scores

    def _scaled(self, decay: float, power: float) -> sp.csr_matrix:
        """Weighted histories with each item divided by a power of its degree."""
        weighted = self._weighted[decay]
        if not power:
            return weighted
        data = weighted.data * self._scorers.power(power)[weighted.indices]
        return sp.csr_matrix((data, weighted.indices, weighted.indptr), shape=weighted.shape)

    def _nearest_users(self) -> sp.csr_matrix:
        """Squared similarity of the nearest sampled users, csr [n, n_sampled_users]."""
        return self._scorers.user_sums.nearest(self._scaled(0.8, 0.7), self._own, _N_NEAREST_USERS)

    @lazy_property
    def _own(self) -> NDArray[np.int64]:
        """Row of each history's user in the sample, -1 without one, int64 [n]."""
        users = self._histories.users
        return np.where(users >= 0, self._scorers.row_in_sample[users], -1)

    @lazy_property
    def _each(self) -> sp.csr_matrix:
        """A row for each history, which has this history alone."""
        return sp.eye(len(self._histories), format="csr", dtype=np.float32)

    @lazy_property
    def _votes(self) -> sp.csr_matrix:
        """Votes of the prefixes of other users for each item, csr [n, n_items]."""
        histories = self._histories
        users = np.where(self._own >= 0, histories.users, -1)
        return self._scorers.prefixes.scores(Histories(histories.items, histories.indptr, users))

    @lazy_property
    def _spectra(self) -> Sequence[NDArray[np.float32]]:
        """The latest items, and the history, in the basis of the transitions, float32 [n, rank] each."""
        power = POWERS["low_rank"][0]
        return [self._scaled(decay, power) @ self._scorers.low_rank[0] for decay in (0.7, 0.9)]

    @lazy_property
    def _step(self) -> NDArray[np.int64] | None:
        """Index of each history's point in time among those of the recent popularity; ``None`` without a clock."""
        return self._scorers.steps_of(self._histories.now)
