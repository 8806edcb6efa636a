"""The user-item graph and computations on it. Nothing here imports RecBole."""

from recbole_universal.graph.centers import EdgeCenterSearch, nearest_center
from recbole_universal.graph.clusters import (
    ClusterStats,
    cluster_edges,
    cluster_nodes,
    edge_cluster_stats,
    n_clusters_for,
    node_cluster_stats,
)
from recbole_universal.graph.edge_operators import EDGE_OPERATORS, EdgeFeatures
from recbole_universal.graph.interaction_graph import InteractionGraph, binary_matrix
from recbole_universal.graph.node2vec import factorize_walks, node2vec
from recbole_universal.graph.random_walk import RandomWalker
from recbole_universal.graph.scorer_definitions import SCORERS
from recbole_universal.graph.scorers import GraphScorers

__all__ = [
    "EDGE_OPERATORS",
    "SCORERS",
    "ClusterStats",
    "EdgeCenterSearch",
    "EdgeFeatures",
    "GraphScorers",
    "InteractionGraph",
    "RandomWalker",
    "binary_matrix",
    "cluster_edges",
    "cluster_nodes",
    "edge_cluster_stats",
    "factorize_walks",
    "n_clusters_for",
    "nearest_center",
    "node2vec",
    "node_cluster_stats",
]
