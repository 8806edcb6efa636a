"""Recent popularity, against sums over the events before each point."""

from __future__ import annotations

import numpy as np
import pytest
from histories_data import clocked, histories_of, random_lists

from recbole_universal.graph.histories import Histories
from recbole_universal.graph.recent_popularity import HORIZONS, recent_popularity


def by_events(histories: Histories, n_items: int, horizon: float, starts: np.ndarray) -> np.ndarray:
    """Counts at each point: an event loses the factor e for each horizon of events between its step and the point."""
    n, counts = len(histories.items), np.zeros((len(starts), n_items))
    for point, start in enumerate(starts):
        for item, time in zip(histories.items, histories.times, strict=True):
            if time < start:
                next_start = starts[starts > time].min()
                between = ((histories.times >= next_start) & (histories.times < start)).sum()
                counts[point, item] += np.exp(-between / n / horizon)
    return counts


def at(arrays: dict, horizon: float, time: float) -> np.ndarray:
    """Counts of a history that is asked about at a time."""
    index = np.searchsorted(arrays["recent.starts"], time, side="right") - 1
    return arrays[f"recent.counts_{horizon}"][max(index, 0)]


@pytest.mark.parametrize("n_users", [3, 40])
@pytest.mark.parametrize("horizon", HORIZONS)
def test_counts(n_users, horizon):
    """With fewer than a hundred events each has a step of its own; with more, several share one."""
    histories = clocked(random_lists(n_users))
    arrays = recent_popularity(histories, 16)
    starts = arrays["recent.starts"]
    assert (np.diff(starts) > 0).all() and len(starts) <= 102
    assert starts[0] == histories.times.min() and starts[-1] > histories.times.max()
    expected = by_events(histories, 16, horizon, starts)
    np.testing.assert_allclose(arrays[f"recent.counts_{horizon}"], expected, rtol=1e-4, atol=1e-6)


def test_known_answers():
    histories = histories_of([[0, 1], [1, 2]], np.array([10.0, 30.0, 20.0, 30.0]))
    arrays = recent_popularity(histories, 4)
    fade = np.exp(-0.25 / 0.1)
    np.testing.assert_array_equal(arrays["recent.starts"], [10, 20, 30, np.nextafter(30, 31)])
    expected = [[0, 0, 0, 0], [1, 0, 0, 0], [fade, 1, 0, 0], [fade * np.exp(-5), np.exp(-5) + 1, 1, 0]]
    np.testing.assert_allclose(arrays["recent.counts_0.1"], expected, rtol=1e-6)


@pytest.mark.parametrize("horizon", HORIZONS)
def test_an_event_does_not_count_at_its_own_time_or_before(horizon):
    """Events at the time of a query and later may be of any items."""
    lists = random_lists(40)
    histories = clocked(lists)
    one = recent_popularity(histories, 16)
    for time in np.quantile(histories.times, [0.0, 0.3, 0.7, 1.0]):
        later = histories.times >= time
        items = np.where(later, (histories.items + 5) % 16, histories.items)
        changed = Histories(items, histories.indptr, histories.users, histories.times)
        other = recent_popularity(changed, 16)
        np.testing.assert_array_equal(at(one, horizon, time), at(other, horizon, time))
        assert (at(one, horizon, np.inf) != at(other, horizon, np.inf)).any()
    assert not at(one, horizon, histories.times.min()).any() and not at(one, horizon, -np.inf).any()


@pytest.mark.parametrize("horizon", HORIZONS)
def test_equal_times_are_one_point(horizon):
    histories = histories_of([[0, 1, 1], [2]], np.full(4, 3.0))
    arrays = recent_popularity(histories, 3)
    assert len(arrays["recent.starts"]) == 2
    np.testing.assert_array_equal(at(arrays, horizon, 3.0), [0, 0, 0])
    np.testing.assert_array_equal(at(arrays, horizon, np.inf), [1, 2, 1])


def test_the_short_horizon_forgets_sooner():
    """Item 0 comes in the first half of the log, and item 1 in the second."""
    items = np.repeat([0, 1], 200)
    histories = Histories(items, np.array([0, 400]), None, np.arange(400.0))
    arrays = recent_popularity(histories, 2)
    short, long = (at(arrays, horizon, np.inf) for horizon in HORIZONS)
    assert short[0] / short[1] < long[0] / long[1] < 0.01
    assert short[1] < long[1] < 0.11 * 400
