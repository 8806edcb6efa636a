"""Scores of items that users have had, by collaborative models; new items take them over by content."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recbole_universal.graph.item_models import nearest_neighbors, sampled_users, singular_vectors
from recbole_universal.graph.regression import Regression, mean_degree, ridge_regressions
from recbole_universal.graph.sparse_sums import UserItems, arrays_under, csr_arrays, csr_of

_N_NEIGHBORS, _N_FACTORS = 100, 64
_MOST_INTERACTIONS, _MOST_USERS = 2**21, 2**18


class CollaborativeScores:
    """Three models of the interactions, each of which scores all items for a user.

    ``regression``: a ridge regression of an item on the others (EASE).

    ``neighbors``: the user's items are among the 100 collaborative neighbours of the item.

    ``factors``: the user's items, projected on the 64 largest singular vectors of the interactions.

    Args:
        matrix: interactions, csr [n_users, n_items]; any value but 0 counts as one.
        max_regression_size: items of the regression at most, the most popular ones.
    """

    def __init__(self, matrix: sp.csr_matrix, max_regression_size: int) -> None:
        sample = matrix[sampled_users(matrix, _MOST_INTERACTIONS, _MOST_USERS)]
        sample = sp.csr_matrix((np.ones(sample.nnz, dtype=np.float32), sample.indices, sample.indptr), sample.shape)
        penalty = mean_degree(sample, max_regression_size)
        device = torch.device("cpu")
        (self._regression,) = ridge_regressions(sample, [penalty], max_regression_size, device)
        self._neighbors = nearest_neighbors(sample, _N_NEIGHBORS)
        self._factors = singular_vectors(sample, _N_FACTORS, (1,))[0]

    def arrays(self) -> dict[str, NDArray]:
        """Everything as numeric arrays by name; :meth:`from_arrays` takes them."""
        arrays = {f"regression.{name}": array for name, array in self._regression.arrays().items()}
        return arrays | {"factors": self._factors} | csr_arrays("neighbors", self._neighbors)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray], n_items: int) -> CollaborativeScores:
        """The models of :meth:`arrays`.

        Raises:
            KeyError, ValueError: if an array is missing, has another shape or an index out of range.
        """
        made = cls.__new__(cls)
        regression = arrays_under("regression.", arrays)
        made._regression = Regression.from_arrays(regression, torch.device("cpu"), n_items)
        made._neighbors = csr_of("neighbors", arrays, (n_items, n_items))
        made._factors = arrays["factors"]
        if made._factors.ndim != 2 or len(made._factors) != n_items:
            raise ValueError("the array [factors] has another shape")
        return made

    def scores(self, model: str, user_items: sp.csr_matrix) -> NDArray[np.float32]:
        """Scores of all items by one of the models.

        Args:
            model: ``regression``, ``neighbors`` or ``factors``.
            user_items: the items of some users, csr [n_users, n_items].

        Returns:
            float32 [n_users, n_items].
        """
        if model == "regression":
            return self._regression_scores(user_items)
        if model == "neighbors":
            return (user_items @ self._neighbors.T).toarray()
        return (user_items @ self._factors) @ self._factors.T

    def _regression_scores(self, user_items: sp.csr_matrix) -> NDArray[np.float32]:
        scores = torch.zeros(user_items.shape)
        users = torch.full((user_items.shape[0],), -1)
        self._regression.put_scores(scores, users, UserItems.of(user_items, torch.device("cpu")))
        return scores.numpy()
