"""UniversalRanker with the content of the items: laws, the choice of the self-check, state, wrong arguments."""

from __future__ import annotations

import itertools
from unittest.mock import patch

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_universal import UniversalRanker
from recbole_universal.content.spaces import array_space, content_relation
from recbole_universal.features.candidate_columns import N_CONTENT_COLUMNS, n_columns
from recbole_universal.graph import content_scorers
from recbole_universal.graph.content_scorers import ContentScorers
from recbole_universal.graph.histories import Histories
from recbole_universal.metrics import paired_z_score
from recbole_universal.ranking.correction import ContentGain

N_USERS, N_ITEMS, N_TOPICS = 400, 600, 100


def topics() -> np.ndarray:
    return np.arange(N_ITEMS) % N_TOPICS


def events(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Each user has three items of any topic, and then four of the six of one topic. An item has five users."""
    rng = np.random.default_rng(seed)
    items = []
    for _ in range(N_USERS):
        liked = np.flatnonzero(topics() == rng.integers(N_TOPICS))
        others = rng.permutation(np.setdiff1d(np.arange(N_ITEMS), liked))
        items.append(np.concatenate([others[:3], rng.permutation(liked)[:4]]))
    return np.repeat(np.arange(N_USERS), 7), np.concatenate(items)


def sparse_log() -> sp.csr_matrix:
    users, items = events()
    return sp.csr_matrix((np.ones(len(users), dtype=np.float32), (users, items)), shape=(N_USERS, N_ITEMS))


def space(seed: int = 0, noise: float = 0.1, shuffled: bool = False):
    """Vectors near the topic of each item."""
    rng = np.random.default_rng(seed)
    vectors = np.eye(N_TOPICS)[topics()] + noise * rng.normal(size=(N_ITEMS, N_TOPICS))
    return array_space("topics", rng.permutation(vectors) if shuffled else vectors)


def split_off(matrix: sp.csr_matrix) -> tuple[sp.csr_matrix, np.ndarray]:
    """The log without one item of each user, and these items."""
    rng = np.random.default_rng(1)
    held_out = np.array([rng.choice(matrix[user].indices) for user in range(N_USERS)])
    train = matrix.tolil()
    train[np.arange(N_USERS), held_out] = 0
    return train.tocsr(), held_out


@pytest.fixture(scope="module")
def train():
    return split_off(sparse_log())[0]


@pytest.fixture(scope="module")
def with_topics(train):
    return UniversalRanker(train, content=[space()])


@pytest.fixture(scope="module")
def without(train):
    return UniversalRanker(train)


def test_topics_that_the_interactions_hardly_show_win(train, with_topics, without):
    held_out = split_off(sparse_log())[1]
    hits = [(one.top_k(np.arange(N_USERS), 5)[0] == held_out[:, None]).any(axis=1) for one in (with_topics, without)]
    gain = with_topics.network.content_gain
    assert gain.helps and gain.with_content > 1.1 * gain.without
    assert paired_z_score(hits[0].astype(float) - hits[1]) > 3
    assert with_topics.network.candidate_pairs.dim == n_columns() + N_CONTENT_COLUMNS
    assert without.network.content_gain is None


def test_content_that_says_nothing_changes_no_list(train, without):
    ranker = UniversalRanker(train, content=[space(shuffled=True)])
    assert not ranker.network.content_gain.helps
    for ours, theirs in zip(ranker.top_k(np.arange(N_USERS), 15), without.top_k(np.arange(N_USERS), 15), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    torch.testing.assert_close(ranker.network.correction, without.network.correction, rtol=0, atol=0)


def test_no_space_means_no_content(train, without):
    ranker = UniversalRanker(train, content=[])
    np.testing.assert_array_equal(ranker.top_k(np.arange(9), 5)[1], without.top_k(np.arange(9), 5)[1])


@torch.no_grad()
def test_several_threads_batches_and_all_items_agree(with_topics):
    users = np.array([3, 50, 7, 7, N_USERS - 1])
    items, scores = with_topics.top_k(users, 12)
    for row, user in enumerate(users):
        alone = with_topics.top_k([user], 12)
        np.testing.assert_array_equal(alone[0][0], items[row])
        np.testing.assert_allclose(alone[1][0], scores[row], rtol=1e-5, atol=1e-6)
        full = with_topics.network.score_all(torch.tensor([user]))[0].numpy()
        np.testing.assert_allclose(full[items[row]], scores[row], rtol=1e-5, atol=1e-6)
        pairs = with_topics.network.score_pairs(torch.full((12,), user), torch.from_numpy(items[row]))
        np.testing.assert_allclose(pairs.numpy(), scores[row], rtol=1e-5, atol=1e-6)


def test_relabelling_permutes_the_lists(train, with_topics):
    rng = np.random.default_rng(5)
    users, items = rng.permutation(N_USERS), rng.permutation(N_ITEMS)
    relabelled = UniversalRanker(train[users][:, items].tocsr(), content=[permuted(space(), items)])
    asked = np.arange(40)
    ours, scores = relabelled.top_k(asked, 10)
    theirs, expected = with_topics.top_k(users[asked], 10)
    same = items[ours] == theirs
    # Items with the same users tie by all scorers, and their order by the labels is a column of theirs.
    np.testing.assert_allclose(scores, expected, atol=0.05)
    assert same.mean() > 0.95


def permuted(given, items: np.ndarray):
    return type(given)(given.name, given.vectors[items], None, given.has_vector[items])


def test_a_held_out_item_takes_no_part_in_its_columns(train):
    """Columns of an item that a user has not had do not change if the user's row of it is filled elsewhere only."""
    relation = content_relation([space()], np.ones(N_ITEMS, dtype=np.int64))
    cosines = relation.cosines
    assert cosines.diagonal().max() == 0
    scorers = ContentScorers(relation, np.ones(N_ITEMS))
    history = train[:20]
    items = np.tile(np.arange(N_ITEMS), (20, 1))
    ones = np.ones(N_ITEMS, dtype=np.float32)
    scores = scorers.of(history, items, np.full(20, N_ITEMS), ones)
    by_hand = np.stack([(history @ cosines).toarray(), (history @ cosines.T).toarray()])
    np.testing.assert_allclose(scores[:2], by_hand, rtol=1e-3, atol=1e-3)
    of_pairs = space().cosines(np.arange(N_ITEMS), np.arange(N_ITEMS))
    np.fill_diagonal(of_pairs, 0)
    for user in range(20):
        ordered = -np.sort(-of_pairs[:, history[user].indices], axis=1)
        for values, expected in zip(scores[2:, user], (ordered[:, :1], ordered[:, :3], ordered), strict=True):
            np.testing.assert_allclose(values, expected.sum(axis=1).clip(min=0), rtol=1e-3, atol=1e-3)


def test_weights_of_a_history_count_in_all_scores():
    relation = content_relation([space()], np.ones(N_ITEMS, dtype=np.int64))
    scorers, ones = ContentScorers(relation, np.ones(N_ITEMS)), np.ones(N_ITEMS, dtype=np.float32)
    full, half = (sp.csr_matrix(([np.float32(weight)], ([0], [0])), (1, N_ITEMS)) for weight in (1, 0.5))
    asked = np.array([[300, 400]]), np.array([2])  # items of the topic of item 0
    scores = scorers.of(full, *asked, ones)
    assert scores.min() > 0
    np.testing.assert_allclose(scorers.of(half, *asked, ones), scores / 2, rtol=1e-4)


def test_long_histories_are_compared_in_parts(train, monkeypatch):
    relation = content_relation([space()], np.ones(N_ITEMS, dtype=np.int64))
    scorers, ones = ContentScorers(relation, np.ones(N_ITEMS)), np.ones(N_ITEMS, dtype=np.float32)
    asked = np.tile(np.arange(N_ITEMS), (20, 1)), np.arange(20) * 7
    at_once = scorers.of(train[:20], *asked, ones)
    monkeypatch.setattr(content_scorers, "_MOST_COSINES", 50)
    in_parts = scorers.of(train[:20], *asked, ones)
    np.testing.assert_allclose(in_parts, at_once, rtol=1e-3, atol=1e-4)
    assert at_once[:, 19].any() and not at_once[:, 0].any()


def test_an_item_of_the_history_is_not_like_itself():
    relation = content_relation([space()], np.ones(N_ITEMS, dtype=np.int64))
    scorers, ones = ContentScorers(relation, np.ones(N_ITEMS)), np.ones(N_ITEMS, dtype=np.float32)
    history = sp.csr_matrix((np.ones(2, dtype=np.float32), ([0, 0], [0, 300])), (1, N_ITEMS))  # both of one topic
    scores = scorers.of(history, np.array([[0, 300]]), np.array([2]), ones)
    cosine = space().cosines(np.array([0]), np.array([300]))[0, 0]
    np.testing.assert_allclose(scores[:, 0], cosine, rtol=1e-3)


def test_items_without_interactions_are_no_candidates():
    relation = content_relation([space()], np.ones(N_ITEMS, dtype=np.int64))
    degree = np.ones(N_ITEMS)
    degree[:300] = 0
    scorers, ones = ContentScorers(relation, degree), np.ones(N_ITEMS, dtype=np.float32)
    history = sparse_log()[:30]
    drawn = scorers.draw(history, 25, history, None, ones)
    assert drawn.min() >= 300
    allowed = np.zeros((1, N_ITEMS), dtype=bool)
    allowed[0, 400:410] = True
    some = scorers.draw(history, 25, history, allowed, ones)
    assert set(np.unique(some)) <= {-1, *range(400, 410)} and some.max() > 0
    all_items = np.tile(np.arange(N_ITEMS), (30, 1))
    assert scorers.of(history, all_items, np.full(30, N_ITEMS), ones)[:, :, :300].max() == 0


def test_content_adds_candidates_that_no_path_joins():
    """Users of other items alone: content alone joins their items."""
    dense = np.zeros((60, 60), dtype=np.float32)
    for user in range(60):
        dense[user, [user % 30, 30 + user % 30]] = 1
    vectors = np.eye(6)[np.arange(60) % 6] + 0.01 * np.random.default_rng(0).normal(size=(60, 6))
    ranker = UniversalRanker(sp.csr_matrix(dense), content=[array_space("a", vectors)])
    pairs = ranker.network.pairs("proximity")
    plain, alike = (set(p.candidates(torch.tensor([0])).items[0].tolist()) for p in (pairs, pairs.with_content))
    joined = {item for item in range(60) if item % 6 == 0} - {0, 30}
    assert joined <= alike and not joined & plain


def test_state_comes_back(with_topics, train):
    copy = UniversalRanker.from_arrays(with_topics.arrays(), with_topics.pretrained)
    assert copy.network.content_gain == pytest.approx(with_topics.network.content_gain)
    for ours, theirs in zip(copy.top_k(np.arange(30), 9), with_topics.top_k(np.arange(30), 9), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    damaged = dict(with_topics.arrays())
    name = next(name for name in damaged if name.endswith("content.indices"))
    damaged[name] = damaged[name] + N_ITEMS
    with pytest.raises(ValueError):
        UniversalRanker.from_arrays(damaged, with_topics.pretrained)


def test_the_cache_tells_contents_apart(train, tmp_path):
    def lists(**settings):
        return UniversalRanker(train, cache_dir=str(tmp_path), **settings).top_k(np.arange(N_USERS), 8)[0]

    plain, first = lists(), lists(content=[space()])
    assert (plain != first).any()
    np.testing.assert_array_equal(lists(content=[space()]), first)
    assert (lists(content=[space(seed=3, noise=0.3)]) != first).any()
    np.testing.assert_array_equal(lists(), plain)


def test_updates_keep_the_content(train, with_topics):
    ranker = UniversalRanker(train, content=[space()])
    ranker.update(np.array([0, N_USERS, N_USERS]), np.array([5, 5, N_ITEMS]))
    assert ranker.network.content_gain.helps
    items, scores = ranker.top_k(np.array([0, N_USERS]), 10)
    assert np.isfinite(scores).all() and 5 not in items[0]
    assert (items[1] % N_TOPICS == 5).sum() >= 3  # the new user had an item of topic 5
    small = UniversalRanker(train[:6].tocsr(), content=[space()])
    rows, columns = train[6:].nonzero()
    small.update(rows + 6, columns)  # so many that all features are computed anew
    assert small.network.content_gain is not None


def test_histories_and_fast_lists(with_topics, without, train):
    history = Histories.of_lists([train[0].indices.tolist()])
    assert (with_topics.top_k_of(history, 5)[0] == with_topics.top_k([0], 5)[0]).mean() >= 0.8
    np.testing.assert_array_equal(with_topics.top_k([0, 1], 5, fast=True)[0], without.top_k([0, 1], 5, fast=True)[0])
    items, shares = with_topics.explain(0, 5)
    assert len(items) == 5 and np.abs(shares["content"]).max() > 0.01
    assert "content" not in without.explain(0, 5)[1]


def test_the_order_reads_content_too():
    histories = Histories.of_events(*events(), N_USERS)
    matrix = histories.matrix(N_ITEMS)
    ranker = UniversalRanker(matrix, "universal-sequential", histories=histories, content=[space()])
    gain = ranker.network.content_gain
    assert gain.helps and gain.with_content > 1.1 * gain.without
    last = topics()[histories.last_items()]
    assert (topics()[ranker.top_k(np.arange(N_USERS), 2)[0]] == last[:, None]).mean() > 0.8


def test_content_ranks_where_the_lists_are_better_with_it():
    assert ContentGain(0.1, 0.11, 0.4).helps
    assert not ContentGain(0.1, 0.1, 0.0).helps and not ContentGain(0.1, 0.05, -3.0).helps


def test_popularity_can_fall_back_with_content(train):
    """The fallback is decided about the lists that rank."""
    ranker = UniversalRanker(train, content=[space()])
    assert not ranker.fallback_reason()
    with patch.object(ContentGain, "helps", False):
        ranker.network._checked = None
        plain = ranker.network.check_result()
    ranker.network._checked = None
    assert ranker.network.check_result().ndcg > plain.ndcg


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "must be spaces.*int"),
        ([array_space("a", np.eye(3))], r"the space \[a\] has 3 items, and there are 600"),
        (5, "content: must be"),
    ],
)
def test_wrong_content(train, content, message):
    with pytest.raises(ValueError, match=message):
        UniversalRanker(train, content=content)


def test_items_without_vectors(train):
    vectors = np.eye(N_TOPICS)[topics()] + 0.1 * np.random.default_rng(0).normal(size=(N_ITEMS, N_TOPICS))
    vectors[::2] = 0
    ranker = UniversalRanker(train, content=[array_space("half", vectors)])
    assert np.isfinite(ranker.top_k(np.arange(N_USERS), 10)[1]).all()
    nothing = UniversalRanker(train, content=[array_space("none", np.zeros((N_ITEMS, 4)))])
    assert not nothing.network.content_gain.helps


def test_two_spaces_count_the_same():
    first, second = space(0, 1.0), space(1, 1.0)
    relation = content_relation([first, second], np.ones(N_ITEMS, dtype=np.int64))
    both = relation.cosines
    mean = (first.vectors @ first.vectors.T + second.vectors @ second.vectors.T) / 2
    np.testing.assert_allclose(relation.vectors @ relation.vectors.T, mean, atol=1e-5)
    np.fill_diagonal(mean, 0)
    for item in itertools.islice(range(N_ITEMS), 0, None, 97):
        best = np.sort(np.argsort(-mean[item])[:50])
        assert len(np.intersect1d(best, both[item].indices)) >= 49
        np.testing.assert_allclose(both[item].data, mean[item][both[item].indices], rtol=1e-4, atol=1e-5)
