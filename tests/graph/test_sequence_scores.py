"""Candidates of histories in order: what the sources draw, by brute force, and what that costs in operations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from histories_data import clocked, histories_of, random_lists

from recbole_universal.graph import sequence_scorers, sequence_scores
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.sequence_scorers import SEQUENCE_SCORERS, SequenceScorers

N_ITEMS, K, N_POPULAR = 30, 3, 2
# In small data each source ranks as one scorer does.
SOURCES = ("transitions", "recent_neighbors", "prefix_neighbors", "recent_user_squared", "low_rank_transitions")
POPULAR = ("recent_popularity", "recent_popularity_long")


@pytest.fixture(params=[True, False], ids=["repeats", "plain"])
def scorers(request, monkeypatch) -> SequenceScorers:
    monkeypatch.setattr(sequence_scores, "_N_POPULAR", N_POPULAR)
    return SequenceScorers(clocked(random_lists(50, N_ITEMS, repeats=request.param)), N_ITEMS, n_neighbors=8)


def asked_of(scorers: SequenceScorers) -> Histories:
    histories = scorers.histories[:]
    histories.now = np.linspace(0, 4000, len(histories))
    return histories


@pytest.mark.parametrize("exclude", [True, False])
@pytest.mark.parametrize("filtered", [True, False])
def test_sources_draw_the_best_items_of_their_scorers(scorers, exclude, filtered):
    histories, rng = asked_of(scorers), np.random.default_rng(0)
    preference = torch.from_numpy(1 + 1e-5 * rng.random(N_ITEMS).astype(np.float32))
    seen = histories.matrix(N_ITEMS)
    excluded = seen if exclude else sp.csr_matrix(seen.shape, dtype=np.float32)
    allowed = rng.random((len(histories), N_ITEMS)) < 0.7 if filtered else None
    drawn = scorers.asked(histories, preference).draw(K, excluded, allowed)
    scores = dict(zip(SEQUENCE_SCORERS, (scorers.scores_of(histories) * preference).numpy(), strict=True))
    n_drawn = math.ceil(1.5 * K)
    sources = {name: n_drawn for name in (*SOURCES, *(("recent_repeats",) if scorers.repeats else ()))}
    sources |= dict.fromkeys(POPULAR, N_POPULAR)
    for row in range(len(histories)):
        possible = excluded[[row]].toarray()[0] == 0
        possible &= True if allowed is None else allowed[row]
        order = [item for item in np.argsort(-scorers.item_degree, kind="stable") if possible[item]]
        least, most = set(order[:N_POPULAR]), set(order[:N_POPULAR])
        for name, n in sources.items():
            values = np.where(possible & (scores[name][row] > 0), scores[name][row], 0)
            last = max(np.sort(values)[-n], 1e-12)  # items that tie but for rounding may stand for each other
            least |= set(np.flatnonzero(values > last * (1 + 1e-4)))
            most |= set(np.flatnonzero(values >= last * (1 - 1e-4)))
        found = set(drawn[row][drawn[row] >= 0].tolist())
        assert least <= found <= most


def test_the_history_is_drawn_only_where_items_repeat(scorers):
    """Item 29 is rare: after it nothing relates the history to itself."""
    rare = int(np.argmin(scorers.item_degree))
    history = Histories.of_lists([[rare]])
    nothing = sp.csr_matrix((1, N_ITEMS), dtype=np.float32)
    drawn = scorers.asked(history, torch.ones(N_ITEMS)).draw(K, nothing, None)
    assert (rare in drawn) or not scorers.repeats


def test_without_a_clock_nothing_is_drawn_by_time(monkeypatch):
    scorers = SequenceScorers(histories_of(random_lists(50, N_ITEMS, repeats=False)), N_ITEMS)
    nothing = sp.csr_matrix((50, N_ITEMS), dtype=np.float32)
    drawn = scorers.asked(scorers.histories, torch.ones(N_ITEMS)).draw(K, nothing, None)
    assert drawn.shape == (50, len(SOURCES) * math.ceil(1.5 * K) + 20)


def test_of_items_that_were_equally_popular_the_first_are_kept(scorers, monkeypatch):
    """Whichever of them a partition would take, which depends on the processor."""
    monkeypatch.setattr(sequence_scorers, "_N_RECENT", 4)
    counts = np.random.default_rng(0).integers(0, 3, (40, N_ITEMS)).astype(np.float32)
    monkeypatch.setattr(SequenceScorers, "recent_counts", lambda self, horizon: counts)
    best = np.sort(np.argsort(-counts, axis=1, kind="stable")[:, :4], axis=1)
    for matrix in scorers.recently_popular:
        np.testing.assert_array_equal(np.sort(matrix.indices.reshape(-1, 4), axis=1), best)
