"""The nearest cluster center of given points, and of the edge of any user and any item."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from recbole_universal.graph.edge_operators import EDGE_OPERATORS

BLOCK = 65_536


def nearest_center(features: Any, centers: np.ndarray) -> np.ndarray:
    """Index of the nearest center of each point (Euclidean distance; the first among equals), in blocks.

    Args:
        features: float ``[n, d]``, an array or `recbole_universal.graph.edge_operators.EdgeFeatures`.
        centers: float ``[n_clusters, d]``.

    Returns:
        int64 ``[n]``.
    """
    centers = np.asarray(centers, dtype=np.float32)
    half_norms = (centers * centers).sum(axis=1) / 2
    labels = np.empty(len(features), dtype=np.int64)
    for start in range(0, len(features), BLOCK):
        block = np.asarray(features[start : start + BLOCK], dtype=np.float32)
        labels[start : start + BLOCK] = np.argmin(half_norms - block @ centers.T, axis=1)
    return labels


class EdgeCenterSearch:
    """Finds the center that is nearest to the edge of a user and an item.

    Distances are computed in float64. A bias of about 1e-11 favours the center with the lower index. It is far above
    rounding errors, so equally near centers are resolved the same way for one pair, a batch and all items.

    Args:
        user_embedding: float32 ``[n_users, d]``.
        item_embedding: float32 ``[n_items, d]``.
        centers: float ``[n_clusters, d]``, at least one.
        operator: a name of `EDGE_OPERATORS`.
    """

    #: Values (float64) in one temporary array: 1 MiB on a CPU, whose cache holds it, 128 MiB on an accelerator.
    chunk_cpu = 2**17
    chunk_accelerator = 2**24

    def __init__(
        self, user_embedding: torch.Tensor, item_embedding: torch.Tensor, centers: torch.Tensor, operator: str
    ) -> None:
        self.user_embedding, self.item_embedding = user_embedding, item_embedding
        self.operator = operator
        self.n_clusters, self.dim = centers.shape
        centers = centers.double()
        # Bounds on the terms of the expanded squared distance, hence on its rounding error.
        largest = max(float(z.abs().max()) if z.numel() else 0.0 for z in (user_embedding, item_embedding))
        edge = self.dim**0.5 * (largest if operator in ("average", "weighted_l1") else 4 * largest**2)
        center = float(centers.norm(dim=1).max())
        step = 1e-11 * center * (center + 2 * edge) / self.n_clusters
        order = torch.arange(self.n_clusters, dtype=torch.float64, device=centers.device)
        # The squared distance of an edge b and a center c, less |b|^2, is |c|^2 - 2 b.c.
        self._offset = (centers**2).sum(dim=1) + step * order
        self._factor = -2 * centers

    @property
    def _chunk(self) -> int:
        return self.chunk_cpu if self._factor.device.type == "cpu" else self.chunk_accelerator

    def of_pairs(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Index of the nearest center of each pair of a user and an item, int64 ``[n]``."""
        step = max(1, self._chunk // max(self.dim, self.n_clusters))
        blocks = zip(users.split(step), items.split(step), strict=True)
        return torch.cat([self._nearest(self.user_embedding[u], self.item_embedding[i]) for u, i in blocks])

    def of_all_items(self, users: torch.Tensor) -> torch.Tensor:
        """Index of the nearest center of each user with every item, int64 ``[n_batch, n_items]``."""
        n_items = len(self.item_embedding)
        nearest = torch.empty(len(users), n_items, dtype=torch.int64, device=users.device)
        # Some hundred items at once keep the matrix products efficient; the rest of a chunk is for users.
        size = max(self.dim, self.n_clusters)
        users_step = max(1, min(len(users), self._chunk // (256 * size)))
        items_step = max(1, self._chunk // (users_step * size))
        for user_start in range(0, len(users), users_step):
            rows = slice(user_start, user_start + users_step)
            left = self.user_embedding[users[rows]]
            for item_start in range(0, n_items, items_step):
                columns = slice(item_start, item_start + items_step)
                nearest[rows, columns] = self._nearest(left[:, None], self.item_embedding[columns])
        return nearest

    def _nearest(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        edges = EDGE_OPERATORS[self.operator](left.double(), right.double())
        distances = torch.addmm(self._offset, edges.flatten(0, -2), self._factor.T)
        return distances.argmin(dim=1).view(edges.shape[:-1])
