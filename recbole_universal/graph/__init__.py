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
from recbole_universal.graph.node2vec import embed_walks, node2vec, node2vec_loss
from recbole_universal.graph.random_walk import RandomWalker
from recbole_universal.graph.scorers import SCORERS, GraphScorers
from recbole_universal.graph.walk_factorization import factorize_walks

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
    "embed_walks",
    "factorize_walks",
    "n_clusters_for",
    "nearest_center",
    "node2vec",
    "node2vec_loss",
    "node_cluster_stats",
]
