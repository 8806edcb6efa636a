"""The regression and the neighbours of prefixes, against sums over all prefixes (tests/dense_reference_sequence.py)."""

from __future__ import annotations

import dense_reference_sequence as dense
import numpy as np
import pytest
from histories_data import histories_of, random_lists

from recbole_universal.graph.histories import Histories
from recbole_universal.graph.prefixes import PrefixNeighbors, prefix_regression
from recbole_universal.graph.transitions import Transitions

DECAYS = (0.7, 0.9)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("repeats", [False, True])
def test_the_regression(decay, repeats):
    lists = random_lists(repeats=repeats)
    degree = dense.degrees(lists, 17)
    items = np.argsort(-degree, kind="stable")[:16]
    weights = prefix_regression(Transitions(histories_of(lists), 17), degree, items, decay)
    expected = dense.prefix_regression(lists, 17, decay)
    np.testing.assert_allclose(weights, expected[np.ix_(items, items)], rtol=1e-3, atol=1e-5)
    assert weights.dtype == np.float32


def test_the_regression_relates_the_given_items_alone():
    lists = random_lists()
    transitions, degree = Transitions(histories_of(lists), 16), dense.degrees(lists, 16)
    items = np.array([3, 0, 7])
    gram = dense.closed_gram(lists, 16, 0.7)[np.ix_(items, items)]
    gram += 0.5 * degree[items].mean() / (1 - 0.7**2) * np.eye(3)
    following = dense.transitions(lists, 16, lambda gap: 0.7 ** (gap - 1))[np.ix_(items, items)]
    weights = prefix_regression(transitions, degree, items, 0.7)
    np.testing.assert_allclose(weights, np.linalg.solve(gram, following), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("decay", "error"), [(0.5, 0.01), (0.7, 0.015), (0.9, 0.15)])
def test_the_closed_form_is_the_gram_of_long_histories(decay, error):
    """Apart from the ends, and from gaps above the window, where 0.9 ** 21 is still 0.11."""
    rng = np.random.default_rng(1)
    lists = [rng.integers(0, 8, 400).tolist() for _ in range(4)]
    closed, exact = dense.closed_gram(lists, 8, decay), dense.prefix_gram(lists, 8, decay)
    diagonal = np.sqrt(np.outer(exact.diagonal(), exact.diagonal()))
    assert np.abs(closed - exact).max() < error * diagonal.max()
    # Without a window only the ends differ: by at most one history of weights after the end.
    whole = dense.transitions(lists, 8, lambda gap: decay ** (gap - 1), window=400)
    whole = (decay * (whole + whole.T) + np.diag(dense.degrees(lists, 8))) / (1 - decay**2)
    tails = dense.weighted(lists, 8, decay)
    np.testing.assert_allclose(whole - exact, tails.T @ tails * decay**2 / (1 - decay**2), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("period", [2, 3, 4, 5, 7])
def test_long_cycles_of_few_items_among_many_rare_ones(decay, period):
    """A kernel that ends at the window has negative frequencies, which the penalty must outweigh."""
    lists = [[step % period for step in range(30000)], *([period + item, period + item + 1] for item in range(200))]
    n_items = period + 201
    degree = dense.degrees(lists, n_items)
    weights = prefix_regression(Transitions(histories_of(lists), n_items), degree, np.arange(n_items), decay)
    assert np.isfinite(weights).all()
    if period > 2:
        assert (weights[:period, :period].argmax(axis=1) == (np.arange(period) + 1) % period).all()


@pytest.mark.parametrize("decay", [0.85, 0.6])
@pytest.mark.parametrize("repeats", [False, True])
def test_votes(decay, repeats):
    lists = random_lists(repeats=repeats)
    lists.append(np.random.default_rng(2).integers(0, 16, 40).tolist())  # longer than the window
    neighbors = PrefixNeighbors.of(histories_of(lists), 16, decay)
    queries = [*lists[::3], [5], [], [2, 2, 2], [15, 0]]
    strangers = neighbors.scores(Histories.of_lists(queries)).toarray()
    users = [-1] * len(queries)
    np.testing.assert_allclose(
        strangers, dense.prefix_neighbors(lists, queries, users, 16, decay), rtol=1e-4, atol=1e-5
    )
    own = histories_of(lists)[np.arange(0, len(lists), 3)]
    known = neighbors.scores(own).toarray()
    expected = dense.prefix_neighbors(lists, lists[::3], own.users.tolist(), 16, decay)
    np.testing.assert_allclose(known, expected, rtol=1e-4, atol=1e-5)
    assert (known <= strangers[: len(known)] * (1 + 1e-5)).all() and (known < strangers[: len(known)]).any()


def test_a_history_alone_has_no_other_prefix():
    lists = [[0, 1, 2, 0]]
    neighbors = PrefixNeighbors.of(histories_of(lists), 3, 0.85)
    assert not neighbors.scores(histories_of(lists)).toarray().any()
    assert neighbors.scores(Histories.of_lists(lists)).toarray().any()


def test_without_a_second_event_there_is_no_prefix():
    neighbors = PrefixNeighbors.of(histories_of([[0], [], [1]]), 2, 0.85)
    assert neighbors.scores(Histories.of_lists([[0, 1], []])).nnz == 0
    again = PrefixNeighbors(neighbors.arrays())
    assert again.scores(Histories.of_lists([[0]])).shape == (1, 2)


def test_stored_prefixes_are_the_computed_ones():
    histories = histories_of(random_lists())
    neighbors = PrefixNeighbors.of(histories, 16, 0.85)
    again = PrefixNeighbors(neighbors.arrays())
    np.testing.assert_array_equal(neighbors.scores(histories).toarray(), again.scores(histories).toarray())


@pytest.mark.parametrize("name", ["rarity", "by_item.data", "votes.data"])
@pytest.mark.parametrize("value", [0.0, 1e-30, np.nan])
def test_stored_weights_are_positive(name, value):
    """A sum of 0 tells the compiled loops that they reach a prefix or an item for the first time."""
    histories = Histories.of_lists([[0, 1, 2, 1], [2, 1, 0]])
    arrays = PrefixNeighbors.of(histories, 3, 0.8).arrays()
    damaged = arrays[name].copy()
    damaged[1] = value
    with pytest.raises(ValueError, match=f"its array {name}: weights must be from"):
        PrefixNeighbors({**arrays, name: damaged})
