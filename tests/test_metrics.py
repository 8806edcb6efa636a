"""Metrics: known answers."""

from __future__ import annotations

import math

import dense_reference as dense
import numpy as np
import pytest

from recbole_universal.metrics import coverage_and_gini, ndcg, paired_z_score, recall


def test_ndcg_by_hand():
    hits = np.array([[True, False, True], [False, True, False], [False, False, False]])
    expected = [1.5 / (1 + 1 / math.log2(3)), 1 / math.log2(3), 0.0]
    np.testing.assert_allclose(ndcg(hits, np.array([2, 1, 4])), expected)


def test_ndcg_of_several_rankings_is_that_of_each():
    rng = np.random.default_rng(0)
    hits, n_relevant = rng.random((3, 7, 10)) < 0.3, rng.integers(1, 15, 7)
    values = ndcg(hits, n_relevant)
    assert values.shape == (3, 7)
    for index in np.ndindex(3, 7):
        assert values[index] == pytest.approx(dense.ndcg(hits[index], int(n_relevant[index[1]])))


def test_a_perfect_list_has_an_ndcg_of_one():
    np.testing.assert_allclose(ndcg(np.ones((2, 5), dtype=bool), np.array([5, 9])), 1)


def test_the_paired_z_score_is_the_mean_in_standard_errors():
    difference = np.random.default_rng(0).normal(0.1, 1, 400)
    expected = difference.mean() / (difference.std(ddof=1) / 20)
    assert paired_z_score(difference) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("difference", "expected"),
    [([], 0), ([1.0], 0), ([0.0, 0.0], 0), ([0.1] * 7, math.inf), ([-1 / 3] * 3, -math.inf), ([0, 0, 1 / 3], 1)],
)
def test_paired_z_scores_at_the_edge(difference, expected):
    assert paired_z_score(np.array(difference, dtype=float)) == expected


def test_recall_by_hand():
    hits = np.array([[True, False, True], [False, True, False], [False, False, False]])
    np.testing.assert_allclose(recall(hits, np.array([2, 4, 1])), [1.0, 0.25, 0.0])


def test_coverage_and_gini_count_the_items_that_are_named():
    lists = np.array([[0, 3], [0, -1], [0, 5]])
    coverage, gini = coverage_and_gini(lists, np.array([0, 1, 2, 3]))  # item 5 does not count
    assert coverage == 0.5
    assert gini == pytest.approx((-3 * 0 - 1 * 0 + 1 * 1 + 3 * 3) / (4 * 4))
