"""Weighted sums over the items of users, against dense products."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_universal.graph.regression import ridge_regressions
from recbole_universal.graph.sparse_sums import UserItems

CPU = torch.device("cpu")


def weighted_matrix(n_users: int = 9, n_items: int = 12, seed: int = 0) -> sp.csr_matrix:
    """Random weights; the first and the last user have no item."""
    rng = np.random.default_rng(seed)
    dense = rng.random((n_users, n_items)) * (rng.random((n_users, n_items)) < 0.4)
    dense[0] = dense[-1] = 0
    return sp.csr_matrix(dense.astype(np.float32))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("by_item", [False, True])
def test_sums(weighted, by_item):
    matrix, rng = weighted_matrix(), np.random.default_rng(1)
    table, item_weights = (rng.normal(size=shape).astype(np.float32) for shape in ((12, 5), 12))
    user_items = UserItems.of(matrix, CPU, weighted)
    sums = user_items.sums(torch.from_numpy(table), torch.from_numpy(item_weights) if by_item else None)
    dense = matrix.toarray() if weighted else (matrix.toarray() > 0)
    expected = dense @ (table * item_weights[:, None] if by_item else table)
    np.testing.assert_allclose(sums, expected, rtol=1e-4, atol=1e-5)


def test_some_of_the_items_keep_their_weights():
    matrix = weighted_matrix()
    index = np.full(12, -1)
    index[[7, 2, 5]] = np.arange(3)
    among = UserItems.of(matrix, CPU, True).among(torch.from_numpy(index))
    np.testing.assert_allclose(among.sums(torch.eye(3)), matrix[:, [7, 2, 5]].toarray())
    unweighted = UserItems.of(matrix, CPU).among(torch.from_numpy(index))
    assert unweighted.weights is None
    np.testing.assert_allclose(unweighted.sums(torch.eye(3)), matrix[:, [7, 2, 5]].toarray() > 0)


@pytest.mark.parametrize("shape", [(40, 12), (9, 12)])
def test_a_regression_is_linear_in_the_weights(shape):
    """By the smaller side of the fitted matrix, for users with a row in it and strangers alike."""
    fitted = (weighted_matrix(*shape, seed=2) > 0).astype(np.float32)
    (regression,) = ridge_regressions(fitted, [2.5], 6000, CPU)
    inverse = np.linalg.inv((fitted.T @ fitted).toarray() + 2.5 * np.eye(12))
    for users in (torch.arange(9), torch.full((9,), -1)):
        for matrix in (weighted_matrix(), 3 * weighted_matrix(), fitted[:9]):
            scores = torch.empty(9, 12)
            regression.put_scores(scores, users, UserItems.of(matrix, CPU, weighted=True))
            expected = matrix.toarray() @ (np.eye(12) - inverse / np.diag(inverse))
            np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-4)
    unweighted = torch.empty(9, 12)
    regression.put_scores(unweighted, torch.arange(9), UserItems.of(fitted[:9], CPU))
    np.testing.assert_allclose(unweighted, scores, rtol=1e-3, atol=1e-4)  # of weights 1
