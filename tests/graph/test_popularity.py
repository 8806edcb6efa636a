"""The order of items by popularity: known answers."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recbole_universal.graph import popularity
from recbole_universal.graph.allowed_items import AllowedItems
from recbole_universal.graph.popularity import (
    fill_with_popular,
    next_popular,
    popularity_order,
    popularity_rank,
    popularity_share,
)

DEGREE = np.array([2, 0, 5, 2, 1])


def test_equals_are_in_the_order_of_their_index():
    np.testing.assert_array_equal(popularity_order(DEGREE), [2, 0, 3, 4, 1])


def test_equals_have_equal_ranks():
    np.testing.assert_array_equal(popularity_rank(DEGREE), [0.25, 0.75, 0.0, 0.25, 0.5])
    assert popularity_rank(DEGREE).dtype == np.float32


def test_shares_are_relative_to_the_most_popular():
    np.testing.assert_array_equal(popularity_share(DEGREE), np.array([0.4, 0, 1, 0.4, 0.2], dtype=np.float32))
    np.testing.assert_array_equal(popularity_share(np.zeros(3, dtype=np.int64)), 0)


def test_excluded_items_are_left_out():
    order = np.array([4, 2, 0, 1, 3])
    np.testing.assert_array_equal(next_popular(order, np.array([2, 3]), 2), [4, 0])
    np.testing.assert_array_equal(next_popular(order, np.array([4, 2, 0]), 9), [1, 3])
    assert not len(next_popular(order, np.array([2]), 0))


def test_popular_items_fill_the_end_of_lists():
    order = np.array([3, 1, 0, 2, 4])
    excluded = sp.csr_matrix(np.array([[0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 0]]))
    lists = np.array([[4, 1, -1, -1], [2, 0, 1, 3], [-1, -1, -1, -1]])
    fill_with_popular(lists, order, excluded)
    np.testing.assert_array_equal(lists, [[4, 1, 0, 2], [2, 0, 1, 3], [4, -1, -1, -1]])
    lists = np.full((3, 2), -1)
    allowed = AllowedItems.checked(np.array([[1, 1, 0, 1, 0], [0, 0, 1, 0, 1], [1, 0, 0, 0, 0]], dtype=bool), 3, 5)
    fill_with_popular(lists, order, excluded, allowed)
    np.testing.assert_array_equal(lists, [[1, 0], [2, 4], [-1, -1]])


def test_item_degrees_do_not_depend_on_how_much_is_counted_at_once(monkeypatch):
    matrix = sp.csr_matrix(np.array([[1, 0, 0, 2], [0, 0, 3, 1], [1, 0, 0, 1]], dtype=np.float32))
    assert popularity.item_degrees(matrix).tolist() == [2, 0, 1, 3]
    monkeypatch.setattr(popularity, "_BLOCK_ENTRIES", 2)
    degree = popularity.item_degrees(matrix)
    assert degree.tolist() == [2, 0, 1, 3] and degree.dtype == np.int64
