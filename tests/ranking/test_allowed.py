"""Lists of allowed items: the candidates are the scorers' best among them, and popular ones fill the rest."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from histories_data import histories_of, random_lists
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_universal import UniversalRanker
from recbole_universal.graph import graph_scores, sequence_scores
from recbole_universal.graph.allowed_items import AllowedItems
from recbole_universal.ranking.ranking_network import MIN_CANDIDATE_SCORE, RankingNetwork

N_USERS, N_ITEMS, TOP_K = 40, 26, 3  # of each scorer, so that the candidates are few of the items


@functools.cache
def ranker_of(family: str) -> UniversalRanker:
    """Item 25 has no event, user 0 has none."""
    histories = histories_of(random_lists(N_USERS, N_ITEMS - 1, repeats=family == "sequence"))
    name = "universal-base" if family == "proximity" else "universal-sequential"
    ranker = UniversalRanker(histories.matrix(N_ITEMS), name, histories=histories)
    pairs = ranker.network.candidate_pairs
    pairs.top_k = pairs._generator.top_k = TOP_K
    if family == "proximity":
        ranker._state._fast_relations = ranker.item_item()
    return ranker


@pytest.fixture(autouse=True)
def personal(monkeypatch):
    """The small random data are no reason to fall back to popularity."""
    monkeypatch.setattr(RankingNetwork, "fallback_reason", lambda self: "")
    monkeypatch.setattr(graph_scores, "_N_POPULAR", TOP_K)
    monkeypatch.setattr(sequence_scores, "_N_POPULAR", TOP_K)


filters = st.integers(0, 2**N_ITEMS - 1).map(lambda bits: np.array([bits >> item & 1 for item in range(N_ITEMS)]) > 0)
families = pytest.mark.parametrize("family", ["proximity", "sequence"])


@families
@given(allowed=st.lists(filters, min_size=1, max_size=4), exclude_seen=st.booleans(), first=st.integers(0, 36))
def test_candidates_are_the_best_allowed_items_of_each_scorer(family, allowed, exclude_seen, first):
    """Against brute force over the scores of all items. Items of equal scores can replace each other."""
    pairs = ranker_of(family).network.candidate_pairs
    rows = np.stack(allowed) if len(allowed) > 1 else np.tile(allowed[0], (4, 1))
    users = np.arange(first, first + len(rows))
    histories = pairs._histories(torch.from_numpy(users))
    by_index = pairs._allowed_by_index(AllowedItems(rows))
    block = pairs._generator(histories, exclude_seen, by_index)
    lists = pairs.candidates(
        torch.from_numpy(users), exclude_seen, AllowedItems(rows if len(allowed) > 1 else rows[:1])
    )
    scores = pairs.scorers.scores_of(histories) * (1 + 1e-5 * pairs._generator.item_percentile)
    seen = histories.matrix(pairs.scorers.n_items).toarray() > 0
    places = ~seen if exclude_seen or not pairs.repeats else np.ones_like(seen)  # other items are added, or left out
    for row in range(len(rows)):
        found = lists.items[row][lists.mask[row]].tolist()
        assert len(set(found)) == len(found) and rows[row][found].all()
        expected = set() if exclude_seen or pairs.repeats else set(np.flatnonzero(seen[row] & by_index[row].numpy()))
        possible = places[row] & by_index[row].numpy() & (histories.lengths[row] > 0)
        indices = set(pairs.item_index[found])
        # The sources are some of the scorers, and all scorers order what these draw.
        popular = sorted(np.flatnonzero(possible), key=lambda item: -pairs.scorers.item_degree[item])[:TOP_K]
        joined = (scores[:, row] > 0).any(dim=0).numpy()
        assert indices >= {item for item in popular if joined[item]} | expected
        assert all(possible[item] or item in expected for item in indices)
        possible &= np.isin(np.arange(len(possible)), list(indices))
        for name, values, top, top_items in zip(
            pairs.scorers.names, scores[:, row], block.top_values[:, row], block.top_items[:, row], strict=True
        ):
            best = values.clamp(min=0)[torch.from_numpy(possible)].sort(descending=True).values[:TOP_K]
            # Rounding depends on the highest score among those that are computed.
            step = 2**-14 * float(values.amax())
            torch.testing.assert_close(top[: len(best)], best, rtol=2e-5, atol=step, msg=name)
            assert not top[len(best) :].any()
            torch.testing.assert_close(values[top_items[top_items >= 0]], top[top > 0], rtol=2e-5, atol=step)
            expected |= set(top_items[top_items >= 0].tolist())
        assert expected <= indices


@pytest.mark.parametrize("kind", ["network", "fast", "histories", "sequence", "sequence histories", "columns"])
@settings(max_examples=50)
@given(
    allowed=st.lists(filters, min_size=1, max_size=3),
    k=st.integers(1, N_ITEMS + 3),
    exclude_seen=st.booleans(),
    sparse=st.booleans(),
)
def test_no_other_item_appears_and_no_list_is_short(kind, allowed, k, exclude_seen, sparse):
    ranker = paper() if kind == "columns" else ranker_of("sequence" if "sequence" in kind else "proximity")
    users = np.arange(2, 2 + len(allowed)) if len(allowed) > 1 else np.arange(5)
    rows = np.stack(allowed) if len(allowed) > 1 else allowed[0]
    given_rows = sp.csr_matrix(rows) if sparse and rows.ndim == 2 else rows
    if "histories" in kind:
        lists = [ranker.matrix[user].indices for user in users]
        items, scores = ranker.top_k_of(lists, k, exclude_seen, allowed=given_rows)
    else:
        items, scores = ranker.top_k(users, k, exclude_seen, fast=kind == "fast", allowed=given_rows)
    possible = np.broadcast_to(rows, (len(users), N_ITEMS)).copy()
    if exclude_seen:
        possible &= ranker.matrix[users].toarray() == 0
    for row, values in enumerate(items):
        found = values[values >= 0]
        assert possible[row][found].all() and len(set(found)) == len(found)
        assert len(found) == min(k, possible[row].sum()) and (values[len(found) :] == -1).all()
    assert (np.isfinite(scores) == (items >= 0)).all()


@functools.cache
def paper() -> UniversalRanker:
    return UniversalRanker(ranker_of("proximity").matrix, "universal-paper")


@families
def test_a_list_of_few_allowed_items_is_personal(family):
    """Also of a user none of whose candidates without a filter is allowed."""
    ranker = ranker_of(family)
    users = np.arange(2, N_USERS)
    genre = np.zeros(N_ITEMS, dtype=bool)
    genre[15:25] = True
    items, scores = ranker.top_k(users, 3, allowed=genre)
    assert (scores >= MIN_CANDIDATE_SCORE).mean() > 0.9
    assert len({tuple(row) for row in items.tolist()}) > 5
    unfiltered = ranker.network.candidate_pairs.candidates(torch.from_numpy(users)).items.numpy()
    assert any(not np.isin(row, unfiltered_row).any() for row, unfiltered_row in zip(items, unfiltered, strict=True))


@pytest.mark.parametrize(("family", "fast"), [("proximity", False), ("proximity", True), ("sequence", False)])
@pytest.mark.filterwarnings("error")
def test_a_filter_that_allows_all_changes_nothing(family, fast):
    ranker, users = ranker_of(family), np.arange(N_USERS)
    everything = np.ones(N_ITEMS, dtype=bool)
    everything.flags.writeable = False  # such as a column of a frame
    for rows in (everything, np.tile(everything, (N_USERS, 1))):
        for ours, theirs in zip(
            ranker.top_k(users, 9, fast=fast, allowed=rows), ranker.top_k(users, 9, fast=fast), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "allowed",
    [np.ones(N_ITEMS), [1, 2, 3], np.ones((3, N_ITEMS), dtype=bool), np.ones(3, dtype=bool), "all", sp.eye(2).tocsr()],
)
def test_other_filters_are_refused(allowed):
    ranker = ranker_of("proximity")
    for call in (ranker.top_k, ranker.top_k_of):
        with pytest.raises(ValueError, match=r"allowed: must be bool \[26\], one value an item, or \[2, 26\]"):
            call([0, 1] if call == ranker.top_k else [[1], [2]], 3, allowed=allowed)
