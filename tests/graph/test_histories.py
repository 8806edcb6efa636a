"""Histories: known answers of every method on tiny data, and wrong input."""

from __future__ import annotations

import numpy as np
import pytest
from histories_data import clocked, histories_of, lists_of, random_lists

from recbole_universal.graph import held_out
from recbole_universal.graph.held_out import last_event_split, next_item_splits, split_in_time
from recbole_universal.graph.histories import Histories


def small() -> Histories:
    """Users 0 to 3 with the items 3 1 3, none, 2, and 0 1."""
    return histories_of([[3, 1, 3], [], [2], [0, 1]], np.array([5.0, 7, 9, 4, 1, 8]))


def test_events_are_sorted_by_user_and_time_and_ties_keep_the_order_of_the_rows():
    users, items = np.array([1, 0, 1, 0, 1, 0]), np.array([5, 4, 3, 2, 1, 0])
    times = np.array([2, 7, 1, 7, 2, 3])
    timed = Histories.of_events(users, items, 3, times)
    assert lists_of(timed) == [[0, 4, 2], [3, 5, 1], []]
    np.testing.assert_array_equal(timed.times, [3, 7, 7, 1, 2, 2])
    np.testing.assert_array_equal(timed.users, [0, 1, 2])
    by_row = Histories.of_events(users, items, 3)
    assert lists_of(by_row) == [[4, 2, 0], [5, 3, 1], []] and by_row.times is None
    assert np.isinf(timed.now).all() and np.isinf(by_row.now).all()


def test_no_events():
    empty = Histories.of_events(np.zeros(0, int), np.zeros(0, int), 2)
    assert lists_of(empty) == [[], []] and not empty.has_clock
    np.testing.assert_array_equal(empty.last_items(), [-1, -1])
    assert empty.weighted(5, 0.5).shape == empty.matrix(5).shape == (2, 5) and len(empty.latest(3).items) == 0
    none = Histories.of_lists([])
    assert len(none) == 0 and none.matrix(4).shape == (0, 4) and len(none[:0]) == 0


def test_lists_are_histories_of_no_user():
    histories = Histories.of_lists([[4, 4], [], np.array([1])])
    assert lists_of(histories) == [[4, 4], [], [1]] and histories.items.dtype == np.int64
    np.testing.assert_array_equal(histories.users, [-1, -1, -1])
    assert histories.times is None


@pytest.mark.parametrize(
    ("rows", "users"),
    [
        (np.array([3, 0, 3]), [3, 0, 3]),
        (slice(1, 3), [1, 2]),
        (np.array([False, True, False, True]), [1, 3]),
        (np.zeros(0, dtype=np.int64), []),
    ],
)
def test_rows(rows, users):
    histories = small()
    histories.now = np.array([10.0, 20, 30, 40])
    chosen, lists = histories[rows], lists_of(histories)
    assert len(chosen) == len(users) and (not users or lists_of(chosen) == [lists[user] for user in users])
    np.testing.assert_array_equal(chosen.users, users)
    np.testing.assert_array_equal(chosen.now, histories.now[users])
    times = np.split(histories.times, histories.indptr[1:-1])
    np.testing.assert_array_equal(chosen.times, np.concatenate([[], *(times[user] for user in users)]))


def test_lengths_rows_and_ages():
    histories = small()
    np.testing.assert_array_equal(histories.lengths, [3, 0, 1, 2])
    np.testing.assert_array_equal(histories.rows, [0, 0, 0, 2, 3, 3])
    np.testing.assert_array_equal(histories.ages, [2, 1, 0, 0, 1, 0])


def test_some_events_and_the_latest():
    histories = small()
    kept = histories.where(histories.items != 1)
    assert lists_of(kept) == [[3, 3], [], [2], [0]]
    np.testing.assert_array_equal(kept.times, [5, 9, 4, 1])
    np.testing.assert_array_equal(kept.users, histories.users)
    assert lists_of(histories.latest(1)) == [[3], [], [2], [1]]
    assert lists_of(histories.latest(2)) == [[1, 3], [], [2], [0, 1]]
    assert lists_of(histories.latest(0)) == [[], [], [], []]
    assert lists_of(histories.latest(9)) == lists_of(histories)


def test_last_items():
    np.testing.assert_array_equal(small().last_items(), [3, -1, 2, 1])
    np.testing.assert_array_equal(Histories.of_lists([[], [7], []]).last_items(), [-1, 7, -1])


def test_histories_without_their_last_event_are_asked_about_at_its_time():
    shorter = small().without_last(np.array([0, 2]))
    assert lists_of(shorter) == [[3, 1], [], [], [0, 1]]
    np.testing.assert_array_equal(shorter.now, [9, np.inf, 4, np.inf])
    np.testing.assert_array_equal(shorter.times, [5, 7, 1, 8])
    untimed = histories_of([[3, 1, 3], [2]]).without_last(np.array([0]))
    assert lists_of(untimed) == [[3, 1], [2]] and np.isinf(untimed.now).all()


@pytest.mark.parametrize("lists", [[[], [1, 2]], [[1, 2], []], [[], []]])
def test_an_empty_history_has_no_last_event(lists):
    histories = histories_of(lists, np.arange(sum(map(len, lists)), dtype=np.float64))
    empty = np.flatnonzero(histories.lengths == 0)
    shorter = histories.without_last(empty)
    assert lists_of(shorter) == lists and np.isinf(shorter.now).all()


def test_other_indices():
    renamed = small().relabelled(np.array([8, 9, -1, 5]), np.array([6, -1, 0, 2]))
    assert lists_of(renamed) == [[2, 2], [], [0], [6]]
    np.testing.assert_array_equal(renamed.users, [8, 9, -1, 5])
    np.testing.assert_array_equal(renamed.times, [5, 9, 4, 1])


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        (0.0, [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]),
        (0.5, [[0, 0.5, 0, 1.25], [0, 0, 0, 0], [0, 0, 1, 0], [0.5, 1, 0, 0]]),
        (1.0, [[0, 1, 0, 2], [0, 0, 0, 0], [0, 0, 1, 0], [1, 1, 0, 0]]),
    ],
)
def test_weights_fall_with_age_and_add_up(decay, expected):
    weighted = small().weighted(4, decay)
    assert weighted.has_canonical_format and weighted.dtype == np.float32
    np.testing.assert_array_equal(weighted.toarray(), expected)


def test_tiny_weights_are_left_out():
    """Powers of a half above 1e-4 are those of the ages 0 to 13."""
    weighted = Histories.of_lists([range(40)]).weighted(40, 0.5)
    np.testing.assert_array_equal(np.sort(weighted.indices), np.arange(26, 40))
    assert Histories.of_lists([range(40)]).weighted(40, 1.0).nnz == 40


def test_the_matrix_has_neither_order_nor_repetitions():
    matrix = small().matrix(5)
    np.testing.assert_array_equal(
        matrix.toarray(), [[0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [1, 1, 0, 0, 0]]
    )
    assert matrix.dtype == np.float32


def test_positions_are_no_clock():
    lists = random_lists()
    histories = histories_of(lists)
    positions = np.concatenate([np.arange(len(items)) for items in lists]).astype(np.float64)
    assert not histories.has_clock and not histories_of(lists, positions).has_clock
    # Positions in the whole data, of which a filter left some rows.
    stays = np.random.default_rng(0).random(len(positions)) < 0.7
    assert not histories_of(lists, positions).where(stays).has_clock
    assert clocked(lists).has_clock
    assert not histories_of([[1, 2, 3]], np.array([1.0, 5.0, 6.0])).has_clock  # one user's times are an order


@pytest.mark.parametrize(
    ("items", "indptr", "message"),
    [
        ([1, 2], [0, 1], r"items: must have indptr\[-1\] = 1 entries, got shape \(2,\)"),
        ([[1, 2]], [0, 2], "items: must be integers"),
        ([1, 2], [1, 2], "indptr: must rise from 0"),
        ([1, 2], [0, 2, 1, 2], "indptr: must rise from 0"),
        ([], [], "indptr: must rise from 0"),
        ([1, 2], [[0, 2]], "indptr: must be integers"),
    ],
)
def test_wrong_arrays(items, indptr, message):
    with pytest.raises(ValueError, match=message):
        Histories(np.array(items), np.array(indptr))


def test_the_last_events_of_some_users_are_held_out():
    lists = random_lists(50)
    histories = clocked(lists)
    support, query = last_event_split(histories, 16, 12, np.random.default_rng(3))
    drawn = np.flatnonzero(np.diff(query.indptr))
    assert len(drawn) == 12 and query.sum() == 12 and (histories.lengths[drawn] >= 2).all()
    kept, last_time = lists_of(support), np.append(histories.times, np.inf)[histories.indptr[1:] - 1]
    for user, items in enumerate(lists):
        held_out = user in drawn
        assert kept[user] == (items[:-1] if held_out else items)
        assert not held_out or query[user].indices.tolist() == items[-1:]
        assert support.now[user] == (last_time[user] if held_out else np.inf)
    _, every = last_event_split(histories, 16, 1000, np.random.default_rng(3))
    np.testing.assert_array_equal(np.flatnonzero(np.diff(every.indptr)), np.flatnonzero(histories.lengths >= 2))


def test_a_split_in_time_holds_out_the_first_known_item_afterwards():
    """The event at the cut is held out; item 8 is new then; the last user has no event before."""
    times = np.array([1.0, 5.0, 6.0, 2.0, 6.5, 7.0, 3.0, 9.0])
    histories = histories_of([[0, 9, 1], [1, 8, 0], [2], [1]], times)
    support, query, cut = split_in_time(histories, 10, 6.0)
    assert cut == 6 and lists_of(support) == [[0, 9], [1], [2], []]
    assert query.nnz == 2 and query[0, 1] == 1 and query[1, 0] == 1
    np.testing.assert_array_equal(support.now, [6, 7, np.inf, np.inf])


@pytest.mark.parametrize("n_users", [60, 400])
def test_each_held_out_item_comes_after_the_end_of_its_support(n_users):
    histories = clocked(random_lists(n_users, seed=2)).asked_later()
    splits = next_item_splits(histories, 16, 30, np.random.default_rng(0))
    asked = []
    for support, query, cut in splits:
        assert support.times.max() < cut and len(support.items) > 0.4 * len(histories.items)
        users = np.flatnonzero(np.diff(query.indptr))
        assert (support.now[users] >= cut).all() and (support.lengths[users] > 0).all()
        asked += users.tolist()
    assert len(asked) == len(set(asked)) == 30
    assert (len(splits) == 1) == (n_users == 400)


def test_earlier_periods_follow_until_enough_users_came_back(monkeypatch):
    """A user who comes back in two periods is asked about in the later one."""
    histories = clocked(random_lists(400, seed=2)).asked_later()

    def returns(n_users: int) -> list[set[int]]:
        splits = next_item_splits(histories, 16, n_users, np.random.default_rng(0))
        return [set(np.flatnonzero(np.diff(split.query.indptr)).tolist()) for split in splits]

    (latest,) = returns(50)
    every = returns(400)
    assert len(latest) == 50 and latest <= every[0] and 50 < len(every[0]) < 400
    assert len(every) > 1 and sum(map(len, every)) == len(set.union(*every))
    monkeypatch.setattr(held_out, "_ENOUGH_RETURNS", 50)
    assert len(returns(400)) == 1


def test_a_period_after_nearly_no_event_is_left_out():
    """Most events have one time, so nothing comes before them."""
    times = np.concatenate([np.arange(10.0), np.full(100, 50.0), np.arange(60.0, 70.0)])
    users = np.concatenate([np.arange(10), np.arange(100) % 60, np.arange(10)])
    histories = Histories.of_events(users, np.arange(120) % 16, 60, times).asked_later()
    (split,) = next_item_splits(histories, 16, 10, np.random.default_rng(0))
    assert split.cut is None or len(split.support.items) > 48


def test_users_who_are_not_asked_later_lose_their_last_items():
    """So do users without a clock, and users of whom too few come back."""
    histories = clocked(random_lists(60, repeats=False, seed=2))
    arrived = histories_of([[row % 16, (row + 1) % 16] for row in range(60)], np.repeat(np.arange(60) * 1e3, 2))
    for some in (histories, histories_of(random_lists(60)).asked_later(), arrived.asked_later()):
        ((_, query, cut),) = next_item_splits(some, 16, 20, np.random.default_rng(0))
        users = np.flatnonzero(np.diff(query.indptr))
        assert cut is None and len(users) == 20
        np.testing.assert_array_equal(query[users].indices, some.last_items()[users])
    assert histories.asked_later().are_asked_later and not histories.are_asked_later
    assert not histories.without_last(np.arange(60)).are_asked_later
