"""The scorers of histories in order: by formula, known answers and laws."""

from __future__ import annotations

import dense_reference_sequence as dense
import numpy as np
import pytest
import torch
from histories_data import clocked, histories_of, lists_of, random_lists, ring

from recbole_universal.graph import sequence_scorers, sums
from recbole_universal.graph.held_out import last_event_split
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.item_models import sampled_users
from recbole_universal.graph.prefixes import PrefixNeighbors, prefix_regression
from recbole_universal.graph.recent_popularity import HORIZONS, recent_popularity
from recbole_universal.graph.scorer_definitions import SCORERS
from recbole_universal.graph.scorers import GraphScorers
from recbole_universal.graph.sequence_scorers import SEQUENCE_SCORERS, SequenceScorers
from recbole_universal.graph.transitions import Transitions

RECENT = {"recent_popularity": HORIZONS[0], "recent_popularity_long": HORIZONS[1]}
STRANGERS = [[5], [1, 2, 3], [2, 2, 2, 4], [], list(range(16)), [15, 14]]


def by_name(scorers: SequenceScorers, histories: Histories) -> dict[str, np.ndarray]:
    return dict(zip(SEQUENCE_SCORERS, scorers.scores_of(histories).numpy(), strict=True))


@pytest.fixture(scope="module", params=[(30, True, 200), (30, False, 4), (13, True, 3), (200, False, 200)], ids=str)
def built(request):
    """Data, with users more or fewer than items, and number of neighbours."""
    n_users, repeats, n_neighbors = request.param
    lists = random_lists(n_users, repeats=repeats, seed=2)
    return lists, clocked(lists), SequenceScorers(clocked(lists), 16, n_neighbors=n_neighbors), n_neighbors


def test_the_reference_has_all_scorers(built):
    lists, *_ = built
    expected = dense.scores(lists, [[1]], [-1], 16, 200)
    assert set(expected) | set(RECENT) == set(SEQUENCE_SCORERS) and not set(expected) & set(RECENT)


@pytest.fixture(params=["loops", "products"])
def way(request, monkeypatch):
    """Compiled loops, or products by SciPy and NumPy."""
    if request.param == "products":
        monkeypatch.setattr(sums, "compiled", lambda: None)
    elif sums.compiled() is None:
        pytest.skip("Numba is not installed")


def test_scores(built, way):
    """Of the users by row, and of strangers with the histories of some of them and others."""
    lists, histories, scorers, n_neighbors = built
    for queries, users, asked in (
        (lists, list(range(len(lists))), histories),
        (lists[::2] + STRANGERS, [-1] * (len(lists[::2]) + len(STRANGERS)), None),
    ):
        asked = Histories.of_lists(queries) if asked is None else asked
        scores, expected = by_name(scorers, asked), dense.scores(lists, queries, users, 16, n_neighbors)
        for name, values in expected.items():
            np.testing.assert_allclose(
                scores[name], values, rtol=1e-3, atol=1e-4 * max(1, np.abs(values).max()), err_msg=name
            )
            assert np.abs(values).max() > 0.01, name


def test_scores_of_pairs_are_those_of_every_item(built, way):
    """Each history is asked about other items, and about another number of them; the preference is a factor."""
    _, histories, scorers, _ = built
    rng = np.random.default_rng(0)
    items = np.stack([rng.permutation(16)[:11] for _ in range(len(histories))])
    lengths, preference = rng.integers(0, 12, len(histories)), torch.from_numpy(rng.random(16).astype(np.float32))
    some = scorers.asked(histories, preference).of(items, lengths)
    whole = (scorers.scores_of(histories) * preference).gather(2, torch.from_numpy(items).expand(len(some), -1, -1))
    after = np.arange(11) >= lengths[:, None]
    assert not some[:, after].any() and some[:, ~after].any()
    torch.testing.assert_close(some[:, ~after], whole[:, ~after], rtol=1e-5, atol=1e-6)


def test_recent_popularity_is_that_of_the_time_of_the_query(built):
    _, histories, scorers, _ = built
    arrays = recent_popularity(histories, 16)
    asked = histories[:]
    asked.now = np.random.default_rng(0).uniform(histories.times.min() - 5, histories.times.max() + 5, len(histories))
    asked.now[0] = np.inf
    scores = by_name(scorers, asked)
    for name, horizon in RECENT.items():
        for row, now in enumerate(asked.now):
            index = np.flatnonzero(arrays["recent.starts"] <= now).max(initial=0)
            np.testing.assert_array_equal(scores[name][row], arrays[f"recent.counts_{horizon}"][index])
    assert (scores["recent_popularity"][0] != scores["recent_popularity_long"][0]).any()


def test_without_a_clock_no_item_is_popular_recently():
    scorers = SequenceScorers(histories_of(random_lists()), 16)
    scores = by_name(scorers, scorers.histories)
    for name in RECENT:
        assert not scores[name].any()


@pytest.mark.parametrize("shape", [(40, 16), (12, 16)])
def test_scorers_without_order_are_the_graph_scorers(shape):
    lists = random_lists(*shape, repeats=False, seed=4)
    scorers = SequenceScorers(histories_of(lists), shape[1], n_neighbors=5)
    graph = GraphScorers(scorers.matrix, n_neighbors=5)
    other = dict(zip(SCORERS, graph.scores(torch.arange(shape[0])).numpy(), strict=True))
    scores, unseen = by_name(scorers, scorers.histories), scorers.matrix.toarray() == 0
    for name in ("neighbors", "full_pass", "regression", "user_squared", "popularity"):
        # The graph scorers are rounded to 2**-16 of the user's highest.
        atol = 2**-15 * np.abs(other[name]).max()
        np.testing.assert_allclose(scores[name][unseen], other[name][unseen], atol=atol, rtol=1e-4, err_msg=name)
    np.testing.assert_array_equal(scorers.item_degree, graph.item_degree)
    np.testing.assert_array_equal(scorers.user_degree, graph.user_degree)


@pytest.mark.parametrize("n_users", [30, 13])
def test_regressions_of_the_most_popular_items(n_users):
    """Others have neither influence nor score."""
    lists = random_lists(n_users, seed=2)
    histories = histories_of(lists)
    scorers = SequenceScorers(histories, 16, max_regression_size=6)
    arrays, scores = scorers.arrays(), by_name(scorers, histories)
    popular = arrays["popular"]
    degree = dense.degrees(lists, 16)
    assert len(popular) == 6 and degree[popular].min() >= np.delete(degree, popular).max()
    for name, decay in (("prefix_regression", 0.7), ("prefix_regression_long", 0.9)):
        values = np.zeros((n_users, 16))
        weights = prefix_regression(Transitions(histories, 16), degree, popular, decay)
        values[:, popular] = dense.weighted(lists, 16, decay)[:, popular] @ weights
        np.testing.assert_allclose(scores[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
    related = arrays["regression.popular"]
    chosen = (dense.weighted(lists, 16, 1.0) > 0)[:, related].astype(np.float64)
    inverse = np.linalg.inv(chosen.T @ chosen + 3 * chosen.sum(axis=0).mean() * np.eye(6))
    for name, decay in (("regression", 1.0), ("recent_regression", 0.7)):
        values = np.zeros((n_users, 16))
        weights = np.eye(6) - inverse / np.diag(inverse)
        values[:, related] = dense.weighted(lists, 16, decay)[:, related] @ weights
        np.testing.assert_allclose(scores[name], values, rtol=1e-3, atol=1e-4, err_msg=name)


def test_prefixes_of_a_large_log_are_those_of_a_sample_of_users(monkeypatch):
    """Only the neighbours among prefixes change; a user's own prefixes stay left out."""
    lists = random_lists(60)
    histories = histories_of(lists)
    whole = by_name(SequenceScorers(histories, 16), histories)
    monkeypatch.setattr(sequence_scorers, "_MOST_PREFIXES", 150)
    scorers = SequenceScorers(histories, 16)
    users = np.unique(scorers.arrays()["prefixes.user"])
    assert 1 < len(users) < 50
    some = sampled_users(sequence_scorers._events(histories, 16), 150, 100)
    expected = PrefixNeighbors.of(histories[some], 16, 0.85).scores(histories).toarray()
    scores = by_name(scorers, histories)
    np.testing.assert_allclose(scores.pop("prefix_neighbors"), expected, rtol=1e-5)
    for name, values in scores.items():
        np.testing.assert_array_equal(values, whole[name], err_msg=name)


def test_stored_scorers_are_the_computed_ones(built):
    _, histories, scorers, _ = built
    again = SequenceScorers.from_arrays(scorers.arrays())
    assert set(again.arrays()) == set(scorers.arrays())
    assert (again.repeats, again.n_users, again.n_items, again.block_users) == (
        scorers.repeats,
        scorers.n_users,
        16,
        scorers.block_users,
    )
    assert torch.equal(again.scores_of(histories), scorers.scores_of(histories))
    arrays = dict(scorers.arrays())
    del arrays["next.indptr"]
    with pytest.raises(KeyError):
        SequenceScorers.from_arrays(arrays)


@pytest.mark.parametrize(
    "name",
    [
        *("degree", "prefixes.rarity", "vectors", "low_rank.sources", "low_rank.targets", "prefix_regression_0.9"),
        *(f"recent.counts_{HORIZONS[1]}", "popular"),
    ],
)
def test_a_stored_table_of_another_shape_is_refused(built, name):
    """Compiled code would read outside of it."""
    arrays = built[2].arrays()
    with pytest.raises(ValueError, match="its array"):
        SequenceScorers.from_arrays({**arrays, name: arrays[name][:-1]})


def test_a_batch_is_one_by_one(built):
    _, histories, scorers, _ = built
    whole = scorers.scores_of(histories)
    for user in range(len(histories)):
        alone = scorers.scores_of(histories[user : user + 1])
        torch.testing.assert_close(alone[:, 0], whole[:, user], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "lists",
    [
        [[0]],
        [[0], [0], [0]],
        [[0] * 9],
        [[0, 1] * 500],
        [[], [2, 1], []],
        [[0], [1], [2]],
        [[0, 1, 2], [0, 1, 2]],
        [np.random.default_rng(0).integers(0, 3, 1000).tolist(), [2]],
    ],
    ids=lambda lists: f"{len(lists)}-{len(lists[0])}",
)
@pytest.mark.parametrize("timed", [False, True])
def test_extreme_data(lists, timed):
    histories = clocked(lists) if timed else histories_of(lists)
    scorers = SequenceScorers(histories, 3)
    queries = Histories.of_lists([[], [0], [1] * 50, [2, 2, 0], np.arange(1000) % 3, [2]])
    for asked in (histories, queries, queries[:0]):
        scores = scorers.scores_of(asked)
        assert scores.shape == (len(SEQUENCE_SCORERS), len(asked), 3) and torch.isfinite(scores).all()
    own_and_popular = torch.tensor(["popularity" in name for name in SEQUENCE_SCORERS])
    assert not scorers.scores_of(queries)[~own_and_popular, 0].any()  # the empty history


def test_long_and_rare_histories():
    lists = random_lists(60, 15)
    lists[5] = np.random.default_rng(0).integers(0, 15, 1000).tolist()
    scorers = SequenceScorers(histories_of([*lists, [15]]), 18)  # item 15 has one event, 16 and 17 none
    queries = [[15], [16], [16, 17, 16], [15, 15, 15], lists[5], [16, *lists[7]]]
    scores = by_name(scorers, Histories.of_lists(queries))
    for name, values in scores.items():
        assert np.isfinite(values).all(), name
        if "recent_popularity" not in name and "repeats" not in name:
            assert not values[1:3].any(), name
    assert scores["repeats"][2, 16] == 2 and scores["repeats"][3, 15] == 3


def test_relabelling_permutes_the_scores():
    lists = random_lists(80)
    rng = np.random.default_rng(1)
    users, items = rng.permutation(80), rng.permutation(16)  # new item k is the old item items[k]
    histories = clocked(lists)
    renamed = histories[users].relabelled(np.arange(80), np.argsort(items))
    one, other = (by_name(SequenceScorers(some, 16), some) for some in (histories, renamed))
    for name in SEQUENCE_SCORERS:
        np.testing.assert_allclose(one[name][users][:, items], other[name], rtol=1e-3, atol=2e-4, err_msg=name)


def test_what_is_held_out_changes_no_score_of_the_query():
    """Another item in the place of each held-out one: the support, and so its scorers, are equal."""
    lists = random_lists(60, repeats=False)
    histories = clocked(lists)
    support, query = last_event_split(histories, 16, 15, np.random.default_rng(0))
    drawn = np.flatnonzero(np.diff(query.indptr))
    last = np.isin(histories.rows, drawn) & (histories.ages == 0)
    items = np.where(last, (histories.items + 3) % 16, histories.items)
    changed = Histories(items, histories.indptr, histories.users, histories.times)
    other, other_query = last_event_split(changed, 16, 15, np.random.default_rng(0))
    assert (query != other_query).nnz == 30
    one, two = (SequenceScorers(some, 16).scores_of(some[drawn]) for some in (support, other))
    assert torch.equal(one, two)


def test_repeats_of_the_histories_are_noticed():
    assert SequenceScorers(histories_of(random_lists()), 16).repeats
    assert not SequenceScorers(histories_of(random_lists(repeats=False)), 16).repeats
    few = [*(list(range(16)) for _ in range(60)), [3, 3]]  # one event of a thousand
    assert not SequenceScorers(histories_of(few), 16).repeats


def test_the_next_item_on_a_ring_is_first():
    histories = ring()
    scores = by_name(SequenceScorers(histories, 24), histories)
    following = (histories.last_items() + 1) % 24
    for name in ("next_item", "transitions_short", "prefix_regression", "prefix_neighbors"):
        unseen = np.where(histories.matrix(24).toarray() > 0, -np.inf, scores[name])
        np.testing.assert_array_equal(unseen.argmax(axis=1), following, err_msg=name)
    # Without order the item before the first one is as near.
    before, rows = (histories.items[histories.indptr[:-1]] - 1) % 24, np.arange(len(histories))
    for name in ("neighbors", "user_squared", "regression", "full_pass"):
        np.testing.assert_allclose(scores[name][rows, before], scores[name][rows, following], rtol=1e-3, err_msg=name)


def test_a_large_log_is_scored_by_a_sample_of_users(monkeypatch):
    """Users outside the sample are scored as strangers."""
    lists = random_lists(60)
    histories = histories_of(lists)
    monkeypatch.setattr(sequence_scorers, "_MOST_EVENTS", 150)
    scorers = SequenceScorers(histories, 16)
    sample = scorers.arrays()["sample"]
    assert 1 < len(sample) < 50
    of_sample = SequenceScorers(histories[sample].relabelled(np.arange(len(sample)), np.arange(16)), 16)
    known = torch.tensor([name != "popularity" for name in SEQUENCE_SCORERS])
    strangers = Histories.of_lists([lists[user] for user in np.setdiff1d(np.arange(60), sample)])
    outside = histories[np.setdiff1d(np.arange(60), sample)]
    torch.testing.assert_close(scorers.scores_of(outside)[known], of_sample.scores_of(strangers)[known])
    inside = of_sample.scores_of(of_sample.histories)
    torch.testing.assert_close(scorers.scores_of(histories[sample])[known], inside[known])
    assert torch.equal(SequenceScorers.from_arrays(scorers.arrays()).scores_of(histories), scorers.scores_of(histories))
    np.testing.assert_array_equal(scorers.item_degree, np.asarray(histories.matrix(16).sum(axis=0))[0])


def test_histories_may_come_in_any_order_of_users():
    lists = random_lists(40)
    histories = histories_of(lists)
    assert lists_of(histories) == lists
    scorers = SequenceScorers(histories, 16)
    rows = np.random.default_rng(0).permutation(40)
    torch.testing.assert_close(scorers.scores_of(histories[rows]), scorers.scores_of(histories)[:, rows])
