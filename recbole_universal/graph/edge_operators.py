"""Binary operators that compute the embedding of an edge from those of its user and item."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def average(z_u: Any, z_i: Any) -> Any:
    """``(z_u + z_i) / 2``, elementwise."""
    return (z_u + z_i) / 2


def hadamard(z_u: Any, z_i: Any) -> Any:
    """``z_u * z_i``, elementwise."""
    return z_u * z_i


def weighted_l1(z_u: Any, z_i: Any) -> Any:
    """``|z_u - z_i|``, elementwise."""
    return abs(z_u - z_i)


def weighted_l2(z_u: Any, z_i: Any) -> Any:
    """``(z_u - z_i) ** 2``, elementwise."""
    difference = z_u - z_i
    return difference * difference


#: Name -> function of two NumPy arrays or two tensors ``[..., d]`` that returns ``[..., d]``.
#: All four are symmetric. Source: Grover and Leskovec, node2vec (2016), table 1.
EDGE_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "average": average,
    "hadamard": hadamard,
    "weighted_l1": weighted_l1,
    "weighted_l2": weighted_l2,
}


class EdgeFeatures:
    """Embeddings of edges, computed on access: all of them would fill ``n_edges * d`` floats.

    ``len(features)`` is the number of edges; ``features[index]`` (a slice or an int array) is ``[n, d]``
    float32.

    Args:
        z_u: embeddings of the users, float ``[n_users, d]``.
        z_i: embeddings of the items, float ``[n_items, d]``.
        users: user of each edge, int ``[n_edges]``.
        items: item of each edge, int ``[n_edges]``.
        operator: a name of `EDGE_OPERATORS`.

    Raises:
        ValueError: if the operator is unknown, or users and items differ in length.
    """

    def __init__(
        self,
        z_u: np.ndarray,
        z_i: np.ndarray,
        users: np.ndarray,
        items: np.ndarray,
        operator: str = "hadamard",
    ) -> None:
        if operator not in EDGE_OPERATORS:
            raise ValueError(f"operator must be one of {', '.join(EDGE_OPERATORS)}, got {operator!r}")
        if len(users) != len(items):
            raise ValueError(f"users and items must have one length, got {len(users)} and {len(items)}")
        self.z_u, self.z_i, self.users, self.items = z_u, z_i, users, items
        self.operator = EDGE_OPERATORS[operator]

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        edges = self.operator(self.z_u[self.users[index]], self.z_i[self.items[index]])
        return np.asarray(edges, dtype=np.float32)
