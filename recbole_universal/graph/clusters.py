"""Clusters of nodes and of edges in embedding space, with their sizes and densities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.cluster import MiniBatchKMeans

from recbole_universal import arguments
from recbole_universal.graph.centers import nearest_center
from recbole_universal.graph.interaction_graph import InteractionGraph
from recbole_universal.graph.threads import one_thread

MAX_CLUSTERS = 256
#: k-means is fitted to at most this many points. All points are then assigned to the nearest center.
FIT_SAMPLE = 65_536


@dataclass(frozen=True)
class ClusterStats:
    """Statistics of clusters.

    Attributes:
        size: number of nodes (node clusters) or edges (edge clusters) in it, int64 ``[n_clusters]``.
        density: share of its user-item pairs that are edges, float64 ``[n_clusters]`` in 0..1; 0 without any
            pair.
    """

    size: np.ndarray
    density: np.ndarray


def n_clusters_for(n: int) -> int:
    """Number of clusters for n points: the square root of n / 2, at least 2 and at most 256, never above n.

    The root is Mardia's rule of thumb (Multivariate Analysis, 1979, p. 365); the bounds are ours.

    Raises:
        ValueError: if n is below 1.
    """
    arguments.integer("number of clusters", "n", n, 1, below=2**63)
    return min(n, max(2, min(MAX_CLUSTERS, round((n / 2) ** 0.5))))


def cluster_nodes(embedding: np.ndarray, mask: np.ndarray, n_clusters: int | None = None, seed: int = 0) -> np.ndarray:
    """Cluster the rows of an embedding with MiniBatchKMeans.

    Args:
        embedding: float ``[n, d]``.
        mask: bool ``[n]``; only rows where it is true are clustered (nodes with at least one edge).
        n_clusters: number of clusters, 2..number of clustered rows; None takes `n_clusters_for`, and fewer
            where there are fewer distinct rows (a single row makes a single cluster).
        seed: seed of the initial centres and of the mini-batches.

    Returns:
        int64 ``[n]``: labels 0..n_clusters-1, and -1 where not ``mask``.

    Raises:
        ValueError: if ``n_clusters`` is out of range or no row is selected.
    """
    labels = np.full(len(embedding), -1, dtype=np.int64)
    labels[mask], _ = _cluster(np.asarray(embedding)[mask], n_clusters, seed, "nodes with interactions")
    return labels


def cluster_edges(features: Any, n_clusters: int | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Cluster edges with MiniBatchKMeans, in blocks, so that all features never exist at once.

    Args:
        features: float ``[n_edges, d]``, an array or anything with ``len()`` that returns an array for a
            slice and for an int array, such as `recbole_universal.graph.edge_operators.EdgeFeatures`.
        n_clusters: number of clusters, 2..n_edges; None takes `n_clusters_for`, and fewer where there are
            fewer distinct features.
        seed: seed of the sample that is fitted, of the initial centres and of the mini-batches.

    Returns:
        labels int64 ``[n_edges]`` and centers float32 ``[n_clusters, d]``.

    Raises:
        ValueError: if ``n_clusters`` is out of range or there is no edge.
    """
    return _cluster(features, n_clusters, seed, "edges")


def node_cluster_stats(graph: InteractionGraph, labels: np.ndarray) -> ClusterStats:
    """Sizes and densities of node clusters.

    The density of a cluster with n_u users, n_i items and m edges between them is ``m / (n_u * n_i)``, and 0
    where it has no user or no item.

    Args:
        graph: the graph.
        labels: int ``[n_nodes]``, -1 for nodes without a cluster.

    Raises:
        ValueError: if there is not one label for each node.
    """
    labels = np.asarray(labels)
    if labels.shape != (graph.n_nodes,):
        raise ValueError(f"labels must have shape [{graph.n_nodes}], got {list(labels.shape)}")
    n_clusters = int(labels.max(initial=-1)) + 1
    user_labels, item_labels = labels[: graph.n_users], labels[graph.n_users :]
    n_users = _count(user_labels, n_clusters)
    n_items = _count(item_labels, n_clusters)
    users, items = graph.edges()
    inside = user_labels[users] == item_labels[items]
    n_inside = _count(user_labels[users[inside]], n_clusters)
    return ClusterStats(size=n_users + n_items, density=n_inside / np.maximum(n_users * n_items, 1))


def edge_cluster_stats(users: np.ndarray, items: np.ndarray, labels: np.ndarray) -> ClusterStats:
    """Sizes and densities of edge clusters.

    The density of a cluster with m edges is ``m / (distinct users * distinct items)`` of these edges.

    Args:
        users: user of each edge, int ``[n_edges]``; no pair of user and item occurs twice.
        items: item of each edge, int ``[n_edges]``.
        labels: cluster of each edge, int ``[n_edges]``, all >= 0.

    Raises:
        ValueError: if the three differ in length.
    """
    users, items, labels = np.asarray(users), np.asarray(items), np.asarray(labels)
    if not len(users) == len(items) == len(labels):
        raise ValueError(f"users, items, labels must have one length, got {len(users)}, {len(items)}, {len(labels)}")
    n_clusters = int(labels.max(initial=-1)) + 1
    size = _count(labels, n_clusters)
    pairs = _distinct_per_cluster(users, labels, n_clusters) * _distinct_per_cluster(items, labels, n_clusters)
    return ClusterStats(size=size, density=size / np.maximum(pairs, 1))


def _cluster(features: Any, n_clusters: int | None, seed: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    n = len(features)
    if n == 0:
        raise ValueError(f"there are no {what} to cluster")
    if n_clusters is not None and not (arguments.is_integer(n_clusters) and 2 <= n_clusters <= n):
        raise ValueError(
            f"n_clusters must be at least 2 and at most the number of {what}, {n}; got {arguments.shown(n_clusters)}"
        )
    seed = arguments.seed("clusters", seed)
    sample = np.asarray(features[_sample(n, max(FIT_SAMPLE, n_clusters or 0), seed)], dtype=np.float32)
    k = n_clusters
    if k is None:
        k = min(n_clusters_for(n), len(np.unique(sample, axis=0)))
    if k == 1:
        return np.zeros(n, dtype=np.int64), sample.mean(axis=0, keepdims=True)
    state = random_state(seed)
    k_means = MiniBatchKMeans(k, random_state=state, n_init=3, batch_size=max(1024, 4 * k), compute_labels=False)
    # On several threads the order of a sum, and with it the last bits of the result, depends on their timing.
    with one_thread():
        centers = k_means.fit(sample).cluster_centers_.astype(np.float32)
    return nearest_center(features, centers), centers


def random_state(seed: int) -> int | np.random.RandomState:
    """A seed for scikit-learn, whose integer seeds have 32 bits."""
    return seed if seed < 2**32 else np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))


def _sample(n: int, size: int, seed: int) -> slice | np.ndarray:
    if n <= size:
        return slice(0, n)
    return np.sort(np.random.default_rng(seed).choice(n, size, replace=False))


def _count(labels: np.ndarray, n_clusters: int) -> np.ndarray:
    return np.bincount(labels[labels >= 0], minlength=n_clusters).astype(np.int64)


def _distinct_per_cluster(ids: np.ndarray, labels: np.ndarray, n_clusters: int) -> np.ndarray:
    n_ids = int(ids.max(initial=0)) + 1
    distinct = np.unique(labels.astype(np.int64) * n_ids + ids)
    return np.bincount(distinct // n_ids, minlength=n_clusters).astype(np.int64)
