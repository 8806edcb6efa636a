"""Weights of interactions: known answers and laws, and the scorers with weights against dense formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from graph_data import random_matrix

from recbole_universal.graph.histories import Histories
from recbole_universal.graph.interaction_weights import event_weights, evidence_of, pair_weights
from recbole_universal.graph.scorer_definitions import LINEAR, SCORERS
from recbole_universal.graph.scorers import GraphScorers

DAY = 86400.0


def weighted_matrix(*shape: int, seed: int = 3) -> sp.csr_matrix:
    """Evidence with weights between 1/8 and 8 before they are made relative."""
    matrix = random_matrix(*shape)
    weights = matrix.copy()
    weights.data = 2.0 ** np.random.default_rng(seed).integers(-3, 4, matrix.nnz)
    return evidence_of(matrix, weights)


def test_the_weight_of_a_pair_is_the_cube_root_of_its_amounts():
    amounts = sp.csr_matrix(np.array([[8.0, 1.0, 27.0]]))
    np.testing.assert_allclose(pair_weights(amounts).toarray(), [[2.0, 1.0, 3.0]])


def test_events_of_a_pair_are_added_and_weight_0_keeps_its_entry():
    histories = Histories.of_events(
        np.array([0, 0, 0, 1]), np.array([2, 0, 2, 1]), 2, weights=np.array([3.0, 0.0, 5.0, 1.0])
    )
    found = event_weights(histories, 4, None)
    assert found.nnz == 3
    np.testing.assert_allclose(found.toarray(), [[0, 0, 2, 0], [0, 1, 0, 0]])


def test_a_half_life_halves_the_weight_whatever_the_power():
    times = np.array([0.0, 10 * DAY, 20 * DAY])
    histories = Histories.of_events(np.zeros(3, int), np.arange(3), 1, times, np.full(3, 5.0))
    values = event_weights(histories, 3, 10.0).data
    np.testing.assert_allclose(values / values[-1], [0.25, 0.5, 1.0])
    without = event_weights(Histories.of_events(np.zeros(3, int), np.arange(3), 1, times), 3, 10.0)
    np.testing.assert_allclose(without.data, [0.25, 0.5, 1.0])


def test_without_weights_the_latest_event_of_a_pair_counts():
    times = np.array([0.0, 10 * DAY, 10 * DAY])
    histories = Histories.of_events(np.zeros(3, int), np.array([0, 0, 1]), 1, times)
    np.testing.assert_allclose(event_weights(histories, 2, 10.0).data, [1.0, 1.0])


def test_one_more_event_never_lowers_a_weight():
    rng = np.random.default_rng(0)
    for _ in range(50):
        times, amounts = rng.random(4) * 50 * DAY, rng.random(4) * 10
        more = Histories.of_events(
            np.zeros(5, int), np.array([0, 0, 0, 0, 1]), 1, np.append(times, 60 * DAY), np.append(amounts, 1)
        )
        fewer = more.where(np.arange(5) != 0)
        assert event_weights(more, 2, 7.0)[0, 0] >= event_weights(fewer, 2, 7.0)[0, 0]


def test_very_old_events_stay_evidence():
    histories = Histories.of_events(np.zeros(2, int), np.arange(2), 1, np.array([0.0, 1e9]), np.ones(2))
    weights = event_weights(histories, 2, 1e-3)
    assert (weights.data > 0).all()
    assert evidence_of(histories.matrix(2), weights).nnz == 2


def test_evidence_has_mean_1_within_the_user_and_no_zeros():
    matrix = random_matrix()
    weights = matrix.copy()
    weights.data = np.random.default_rng(0).integers(0, 9, matrix.nnz).astype(float)
    evidence = evidence_of(matrix, weights)
    assert evidence.dtype == np.float32 and evidence.nnz == np.count_nonzero(weights.data)
    rows = [row.data for row in map(evidence.getrow, range(evidence.shape[0])) if row.nnz]
    np.testing.assert_allclose([row.mean() for row in rows], 1.0, rtol=1e-5)


@pytest.mark.parametrize("factor", [0.1, 1.0, 7.0, 1e20, 1e-20])
def test_equal_weights_are_exactly_1(factor):
    matrix = random_matrix()
    assert (evidence_of(matrix, matrix * factor).data == 1).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, -1.0], "some are negative, NaN or infinite"),
        ([1.0, np.nan], "some are negative, NaN or infinite"),
        ([1.0, np.inf], "some are negative, NaN or infinite"),
        ([0.0, 0.0], "all are 0"),
    ],
)
def test_bad_weights(values, message):
    matrix = sp.csr_matrix(np.array([[1.0, 1.0]]))
    with pytest.raises(ValueError, match=message):
        evidence_of(matrix, sp.csr_matrix((np.array(values), matrix.indices, matrix.indptr), shape=matrix.shape))


def test_weights_of_other_interactions():
    matrix = sp.csr_matrix(np.array([[1.0, 0.0]]))
    with pytest.raises(ValueError, match="some have no entry in the matrix"):
        evidence_of(matrix, sp.csr_matrix(np.array([[1.0, 1.0]])))
    with pytest.raises(ValueError, match=r"must have the shape of the matrix, \[1, 2\], got \[1, 1\]"):
        evidence_of(matrix, sp.csr_matrix(np.array([[1.0]])))


@pytest.mark.parametrize("shape", [(40, 25), (25, 40)])
def test_scorers_with_weights_follow_the_formulas(shape):
    """The weights take the place of the ones in every product; the popularity stays a count."""
    matrix = weighted_matrix(*shape)
    x = matrix.toarray().astype(np.float64)
    user, item, square = x.sum(axis=1), x.sum(axis=0), (x**2).sum(axis=0)

    def power(sums, exponent):
        return np.where(sums > 0, np.maximum(sums, 1.0) ** -exponent, 0.0)

    def similar(exponent):
        found = (x * power(item, exponent)) @ x.T
        np.fill_diagonal(found, 0.0)
        return found

    cosines = power(square, 0.5)[:, None] * (x.T @ x) * power(square, 0.5)
    np.fill_diagonal(cosines, 0.0)
    inverse = np.linalg.inv(x.T @ x + 3 * square[square > 0].mean() * np.eye(shape[1]))
    ease = -inverse / np.diag(inverse)
    np.fill_diagonal(ease, 0.0)
    half = power(item, 0.5)
    _, _, vectors = np.linalg.svd(power(user, 0.5)[:, None] * x * half)
    largest = vectors[:8].T
    expected = {
        "user_cosine": (x @ x.T * power(user, 0.5)) @ x,
        "user_squared": (similar(0.7) * power(user, 0.5)) ** 2 @ x,
        "rp3": ((x * power(item, 1.0)) @ x.T * power(user, 1.0)) @ x * half,
        "linear_filter": ((x * half) @ x.T * power(user, 1.0)) @ x * half,
        "neighbors": x @ cosines,
        "full_pass": (x * half) @ largest @ largest.T * np.where(half > 0, 1 / np.where(half > 0, half, 1), 0),
        "regression": x @ ease,
        "popularity": np.where(x @ x.T @ x > 0, (x > 0).sum(axis=0), 0),
    }
    scorers = GraphScorers(matrix, weighted=True)
    again = GraphScorers.from_arrays(scorers.arrays())
    for each in (scorers, again):
        scores = dict(zip(SCORERS, each.scores(torch.arange(shape[0])).numpy(), strict=True))
        for name, values in expected.items():
            np.testing.assert_allclose(scores[name], values, rtol=2e-3, atol=2e-3, err_msg=name)


@pytest.mark.parametrize("shape", [(40, 25), (25, 40)])
def test_the_item_item_matrix_sums_the_weighted_scores(shape):
    matrix = weighted_matrix(*shape)
    scorers = GraphScorers(matrix, weighted=True)
    scores = dict(zip(SCORERS, scorers.scores(torch.arange(shape[0])).numpy(), strict=True))
    connected = (matrix.T @ matrix).toarray() > 0
    for name in LINEAR:
        relations = scorers.item_item({name: 1.0}, shape[1]).toarray()
        # Only pairs without an own relation and with a common user are in both.
        for user in range(0, shape[0], 5):
            items = matrix[user].indices
            others = [i for i in range(shape[1]) if i not in items and connected[items, i].all()]
            sums = matrix[user].data @ relations[np.ix_(items, others)]
            np.testing.assert_allclose(sums, scores[name][user][others], rtol=5e-3, atol=5e-3, err_msg=name)


def test_stored_weights_of_another_size_are_refused():
    arrays = GraphScorers(weighted_matrix(), weighted=True).arrays()
    with pytest.raises(ValueError, match="indices and data should have the same size"):
        GraphScorers.from_arrays({**arrays, "matrix.data": arrays["matrix.data"][:-1]})


def test_weights_of_1_give_the_scores_without_weights():
    matrix = random_matrix()
    users = torch.arange(matrix.shape[0])
    ours, theirs = (GraphScorers(matrix, weighted=weighted).scores(users) for weighted in (True, False))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-4)


def test_values_count_only_where_the_caller_says_so():
    matrix = weighted_matrix()
    users = torch.arange(matrix.shape[0])
    ones, ignored, read = (
        GraphScorers(some, weighted=weighted).scores(users).numpy()
        for some, weighted in ((matrix.sign(), False), (matrix, False), (matrix, True))
    )
    assert np.array_equal(ones, ignored) and not np.allclose(ones, read, rtol=0.1)


def test_scorers_with_weights_are_not_updated():
    with pytest.raises(ValueError, match="weights cannot be updated"):
        GraphScorers(weighted_matrix(), weighted=True).with_interactions(random_matrix())


def test_weights_stay_with_their_events():
    histories = Histories.of_events(
        np.array([1, 0, 1, 0]), np.array([3, 2, 1, 0]), 2, np.array([4.0, 3, 2, 1]), np.array([40.0, 30, 20, 10])
    )
    assert histories.weights.tolist() == [10, 30, 20, 40] and histories.items.tolist() == [0, 2, 1, 3]
    assert histories[np.array([1])].weights.tolist() == [20, 40]
    assert histories.where(histories.items > 0).weights.tolist() == [30, 20, 40]
    assert histories.without_last(np.array([0])).weights.tolist() == [10, 20, 40]
    assert histories.relabelled(np.array([0, 1]), np.array([0, -1, 1, 2])).weights.tolist() == [10, 30, 40]
    assert histories.without_weights().weights is None
    assert histories.weighted(4, 0.5).toarray().tolist() == [[5, 0, 30, 0], [0, 10, 0, 40]]
    assert histories.matrix(4).toarray().tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]]
    chosen = sp.csr_matrix(np.array([[1.0, 0, 0, 0], [0, 0, 0, 1]]))
    assert histories.among(chosen).weights.tolist() == [10, 40]


@pytest.mark.parametrize(
    ("weights", "message"), [([1.0], "one entry an item"), ([1.0, -1.0], "at least 0"), ([1.0, math.nan], "NaN")]
)
def test_bad_weights_of_histories(weights, message):
    with pytest.raises(ValueError, match=f"weights: .*{message}"):
        Histories(np.array([0, 1]), np.array([0, 2]), weights=np.array(weights))
