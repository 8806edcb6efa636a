"""Every graph scorer against a dense reference, written from the formulas (tests/dense_reference.py)."""

from __future__ import annotations

import dense_reference as dense
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_universal.graph.scorer_definitions import LINEAR, SCORERS
from recbole_universal.graph.scorers import GraphScorers
from recbole_universal.ranking.ranker_state import N_RELATIONS

# Dataset, number of neighbours, largest size and penalty of the regression.
SETTINGS = [
    ("small", 100, 6000, 3.0),
    ("small", 4, 16, 1.0),
    ("large", 100, 6000, 10.0),
    ("large", 9, 40, 3.0),
    ("wide", 100, 6000, 1.0),
    ("wide", 100, 89, 3.0),
    ("weighted", 9, 6000, 10.0),
    ("weighted", 100, 40, 3.0),
    ("weighted wide", 9, 6000, 1.0),
]


@pytest.fixture(scope="module", params=SETTINGS, ids=lambda setting: "-".join(map(str, setting)))
def built(request):
    name, n_neighbors, size, penalty = request.param
    matrix = (dense.MATRICES | dense.WEIGHTED)[name]
    scorers = GraphScorers(
        sp.csr_matrix(matrix),
        weighted=name in dense.WEIGHTED,
        n_neighbors=n_neighbors,
        max_regression_size=size,
        penalty=penalty,
    )
    return matrix, scorers, (n_neighbors, size, penalty)


def test_the_reference_has_all_scorers():
    assert tuple(SCORERS) == dense.SCORERS


def test_scores(built):
    matrix, scorers, how = built
    scores = scorers.scores(torch.arange(len(matrix))).numpy()
    for name, one, other in zip(SCORERS, scores, dense.scores(matrix, *how), strict=True):
        # Both are rounded to 2**-16 of a power of two above the user's highest.
        error = np.abs(one - other) / np.maximum(other.max(axis=1, keepdims=True), 1)
        assert error.max() < 2**-15 + 1e-5, name
        assert np.abs(other).max() > 0.05, name


def test_the_item_item_matrix_is_the_weighted_sum(built):
    """All linear scorers have different weights, and the strongest relations stay."""
    matrix, scorers, how = built
    related = dense.item_relations(matrix, *how)
    weights = {name: 1.3**-k for k, name in enumerate(LINEAR)}
    expected = sum(weight * related[name] for name, weight in weights.items())
    expected *= matrix.T @ matrix > 0  # items without a user in common are left out
    np.fill_diagonal(expected, 0.0)
    np.testing.assert_allclose(scorers.item_item(weights, matrix.shape[1]).toarray(), expected, rtol=2e-4, atol=2e-5)
    strong = scorers.item_item(weights, 3).toarray()
    for row, whole in zip(strong, expected, strict=True):
        least = np.sort(np.abs(whole))[-3]
        assert (row != 0).sum() <= 3
        np.testing.assert_allclose(row[np.abs(whole) > least + 1e-5], whole[np.abs(whole) > least + 1e-5], rtol=1e-3)
    assert N_RELATIONS == 200


@pytest.mark.parametrize("side", [96, 104, 200])
def test_the_rank_of_the_filters_follows_the_smaller_side(side):
    wide = (np.random.default_rng(0).random((side, 210)) < 0.2).astype(np.float64)
    wide[:, -1] = 1
    for matrix in (wide, wide.T):
        assert GraphScorers(sp.csr_matrix(matrix)).arrays()["vectors"].shape[1] == side // 8
        assert GraphScorers(sp.csr_matrix(matrix), max_rank=5).arrays()["vectors"].shape[1] == 5
