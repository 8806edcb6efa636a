"""Ranking of histories in order: a ranker of the family sequence, and candidate lists whose last event is held out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from histories_data import clocked, histories_of, lists_of, random_lists, ring

from recbole_universal import FeaturePipeline, UniversalRanker
from recbole_universal.checkpoint import Pretrained, load_pretrained, save_pretrained
from recbole_universal.features.fields import LIST_LABEL, LIST_MASK
from recbole_universal.graph.held_out import last_event_split
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.interaction_graph import InteractionGraph
from recbole_universal.ranking import ranking_network
from recbole_universal.ranking.candidate_lists import CandidateLists, check_blocks, make_candidate_lists
from recbole_universal.ranking.ranking_network import MIN_CANDIDATE_SCORE, RankingNetwork

SETTINGS = {"mlp_hidden_size": [6], "embedding_size": 3, "dropout_prob": 0.0, "feature_combination": "concatenation"}


def untrained(families: list[str] | None = None, **args) -> Pretrained:
    """A model with random weights."""
    pipeline = FeaturePipeline(families or ["sequence"], {"sequence": args})
    torch.manual_seed(0)
    network = RankingNetwork(pipeline.dims, **SETTINGS)
    return Pretrained(network.state_dict(), {"features": pipeline.schema, "network": network.arguments}, {})


def ranker_of(histories: Histories, n_items: int, **args) -> UniversalRanker:
    return UniversalRanker(histories.matrix(n_items), untrained(**args), histories=histories, seed=0)


@pytest.fixture(scope="module")
def walks():
    """Walks on a ring of 24 items. Items 24 and 25 have no event, nor have the users 120 and 121."""
    histories = histories_of([*lists_of(ring()), [], []])
    return histories, ranker_of(histories, 26, top_k=6)


@pytest.fixture(scope="module")
def repeating():
    lists = [[item % 7, item % 5, item % 7, item % 7, item % 5, item % 7] for item in range(60)]
    return histories_of(lists), ranker_of(histories_of(lists), 7)


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("data", ["walks", "repeating"])
def test_histories_of_the_users_have_the_lists_of_the_users(request, data, exclude_seen):
    histories, ranker = request.getfixturevalue(data)
    users = np.arange(len(histories))
    items, scores = ranker.top_k(users, 5, exclude_seen)
    others, other_scores = ranker.top_k_of(histories, 5, exclude_seen)
    np.testing.assert_array_equal(items, others)
    np.testing.assert_array_equal(scores, other_scores)
    seen = histories.matrix(ranker.matrix.shape[1]).toarray() > 0
    hits = np.take_along_axis(seen, np.maximum(items, 0), axis=1) & (items >= 0)
    assert hits.any() == (not exclude_seen)


# The same two items in both orders.
ORDERS = (lambda start: [start, (start + 5) % 24], lambda start: [(start + 5) % 24, start])


def test_the_next_item_of_a_walk_is_first(walks):
    _, ranker = walks
    assert not ranker.network.falls_back()
    starts = np.arange(24)
    items, scores = ranker.top_k_of([[start, (start + 1) % 24, (start + 2) % 24] for start in starts], 3)
    assert (items[:, 0] == (starts + 3) % 24).mean() > 0.9
    assert (np.diff(scores, axis=1) <= 0).all() and (scores[:, 0] >= MIN_CANDIDATE_SCORE).all()
    one, other = (ranker.top_k_of([order(start) for start in starts], 1)[0][:, 0] for order in ORDERS)
    assert (one == (starts + 6) % 24).mean() > 0.9 and (other == (starts + 1) % 24).mean() > 0.9


def test_lists_are_scored_in_blocks_as_at_once(walks, monkeypatch):
    histories, ranker = walks
    at_once = ranker.network.score_histories(histories)
    monkeypatch.setattr(ranking_network, "_CACHED_LISTS", 7)
    with torch.no_grad():
        in_blocks = ranker.network.score_histories(histories)
    torch.testing.assert_close(in_blocks, at_once, rtol=1e-5, atol=1e-5)


def test_strangers_empty_and_unknown_histories(walks):
    _, ranker = walks
    lists = [[3, 4, 5], [], [24], [24, 3, 4, 5], np.array([3, 4, 5], dtype=np.uint8)]
    items, scores = ranker.top_k_of(lists, 26)
    popular, _ = ranker.top_k(np.array([120]), 26)
    np.testing.assert_array_equal(items[1], popular[0])
    assert set(popular[0][:24]) == set(range(24)) and (scores[1:3, :25] < MIN_CANDIDATE_SCORE).all()
    np.testing.assert_array_equal(items[0], items[4])
    np.testing.assert_array_equal(items[3][:20], items[0][:20])  # an item without events does not count
    assert 24 not in items[3] and 24 in items[0] and (items[3][-4:] == -1).all()
    assert not np.isnan(scores).any()
    none, _ = ranker.top_k_of([], 3)
    assert none.shape == (0, 3)
    one_by_one = np.concatenate([ranker.top_k_of([row], 26)[0] for row in lists])
    np.testing.assert_array_equal(items, one_by_one)


def test_a_stranger_with_the_history_of_a_user_ranks_with_it(walks):
    """Nothing is left out for a stranger, so scores differ a little, and the first item does not."""
    histories, ranker = walks
    own = ranker.top_k_of(histories[:24], 1)[0]
    stranger = ranker.top_k_of(lists_of(histories[:24]), 1)[0]
    assert (own == stranger).mean() > 0.9


@pytest.mark.parametrize(
    ("histories", "message"),
    [
        ([[0, 26]], "items are column indices from 0 to 25, got 26"),
        ([[-1]], "items are column indices from 0 to 25, got -1"),
        ([[0.5]], "each must be a list of column indices"),
        ([["a"]], "each must be a list of column indices"),
        ([[[1]]], "each must be a list of column indices"),
        ([1, 2], "each must be a list of column indices"),
        ("12", "must be lists of column indices"),
        (3, "must be lists of column indices"),
        (Histories.of_lists([[30]]), "items are column indices from 0 to 25, got 30"),
        (
            Histories(np.array([1]), np.array([0, 1]), np.array([122])),
            "users are row indices from 0 to 121 or -1, got 122",
        ),
        (
            Histories(np.array([1]), np.array([0, 1]), np.array([-2])),
            "users are row indices from 0 to 121 or -1, got -2",
        ),
    ],
)
def test_wrong_histories(walks, histories, message):
    with pytest.raises(ValueError, match=f"histories: {message}"):
        walks[1].top_k_of(histories, 3)


def test_wrong_arguments(walks):
    _, ranker = walks
    with pytest.raises(ValueError, match="k: must be a positive integer"):
        ranker.top_k_of([[1]], 0)
    with pytest.raises(ValueError, match="exclude_seen"):
        ranker.top_k_of([[1]], 1, exclude_seen="yes")
    with pytest.raises(ValueError, match=r"Only a model with the family \[proximity\]"):
        ranker.top_k(np.arange(2), 3, fast=True)


def test_a_ranker_of_this_family_needs_histories():
    histories = ring()
    with pytest.raises(ValueError, match="needs the order of the interactions, and only a matrix is given"):
        UniversalRanker(histories.matrix(24), untrained())
    with pytest.raises(ValueError, match="histories: must hold the interactions of the matrix"):
        UniversalRanker(histories.matrix(24), untrained(), histories=histories[:-1])


def test_a_ranker_of_several_families_scores_no_histories():
    ranker = UniversalRanker(ring().matrix(24), untrained(["activity", "sequence"]), histories=ring())
    assert ranker.top_k(np.arange(3), 4)[0].shape == (3, 4)
    with pytest.raises(ValueError, match="Histories can be scored by a model of one family"):
        ranker.top_k_of([[1]], 3)


def test_a_model_without_order_ranks_baskets():
    matrix = ring().matrix(24)
    ranker = UniversalRanker(matrix)
    items, _ = ranker.top_k(np.arange(5), 6)
    np.testing.assert_array_equal(ranker.top_k_of(Histories.of_events(*matrix.nonzero(), 120)[:5], 6)[0], items)
    one, other = ranker.top_k_of([[1, 2, 3], [3, 1, 2]], 6)[0]
    np.testing.assert_array_equal(one, other)


def test_where_no_user_has_two_events_popularity_ranks():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ranker = ranker_of(histories_of([[0], [0], [1], [2], [0], [1]]), 3)
        items, _ = ranker.top_k_of([[], [0]], 3)
    np.testing.assert_array_equal(items, [[0, 1, 2], [1, 2, -1]])
    assert any("no user has two interactions" in str(warning.message) for warning in caught)


def test_a_saved_model_ranks_as_before(walks, tmp_path):
    histories, ranker = walks
    model = untrained(top_k=6)
    folder = save_pretrained(tmp_path / "model", model.state_dict, model.schema, {"name": "walks"})
    again = UniversalRanker(histories.matrix(26), load_pretrained(folder), histories=histories, seed=0)
    np.testing.assert_array_equal(again.top_k(np.arange(9), 5)[0], ranker.top_k(np.arange(9), 5)[0])


@pytest.mark.parametrize("repeats", [False, True])
def test_the_last_events_are_held_out_of_candidate_lists(repeats):
    """Columns and labels are those of a draw by hand; a held-out event is the last one and not in the support."""
    histories = clocked(random_lists(60, repeats=repeats, seed=2)[1:])  # user 0 has an event
    n_users, pipeline = len(histories), FeaturePipeline(["activity", "sequence"], {"sequence": {"top_k": 3}}, seed=0)
    blocks = make_candidate_lists(histories.matrix(16), pipeline, 14, 0.3, seed=4, max_draws=1, histories=histories)
    check_blocks(blocks, pipeline.dims)
    support, held_out = last_event_split(histories, 16, 14, np.random.default_rng([4, 0]))
    users = np.flatnonzero(np.diff(held_out.indptr))
    assert len(users) == 14
    for user, items in enumerate(lists_of(histories)):
        assert lists_of(support)[user] == (items[:-1] if user in users else items)
        assert user not in users or held_out[user].indices.tolist() == items[-1:]
    assert (support.now[users] < np.inf).all() and np.isinf(np.delete(support.now, users)).all()
    features = pipeline(InteractionGraph(support.matrix(16), support))
    lists = features["sequence"].pair.candidates(torch.from_numpy(users))
    label = torch.from_numpy(held_out[users].toarray() > 0).gather(1, lists.items.clamp(min=0)) & lists.mask
    usable = label.any(dim=1)
    assert usable.sum() > 5 and len(blocks) == 1 and n_users == 59
    torch.testing.assert_close(blocks[0]["pair_sequence"], lists.features[usable].half(), rtol=0, atol=0)
    assert torch.equal(blocks[0][LIST_LABEL], label[usable]) and torch.equal(blocks[0][LIST_MASK], lists.mask[usable])
    assert (blocks[0][LIST_LABEL].sum(dim=1) == 1).all()
    activity = torch.from_numpy(features["activity"].user[users][usable.numpy()]).half()
    torch.testing.assert_close(blocks[0]["user_activity"], activity)


def test_padding_ids_change_no_candidate_list():
    histories, pipeline = ring(40), FeaturePipeline(["sequence"], {"sequence": {"top_k": 3}}, seed=0)
    shifted = Histories(histories.items + 1, np.append(0, histories.indptr), np.arange(41))
    one, other = (
        make_candidate_lists(some.matrix(n_items), pipeline, 30, 0.3, seed=1, histories=some)
        for some, n_items in ((histories, 24), (shifted, 26))
    )
    assert CandidateLists(one).digest() == CandidateLists(other).digest() and len(CandidateLists(one)) > 20


def test_candidate_lists_of_this_family_need_histories():
    with pytest.raises(ValueError, match="needs the order of the interactions"):
        make_candidate_lists(
            sp.eye(30, k=1, format="csr") + sp.eye(30, format="csr"), FeaturePipeline(["sequence"]), 9, 0.3, 0
        )


@pytest.mark.parametrize("data", ["walks", "repeating"])
def test_an_explanation_is_of_the_list_that_is_recommended(request, data):
    _, ranker = request.getfixturevalue(data)
    items, _ = ranker.explain(3, 4)
    assert set(items.tolist()) == set(ranker.top_k([3], len(items))[0][0].tolist())
