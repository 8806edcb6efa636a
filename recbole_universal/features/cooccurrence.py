"""The co-occurrence family: how large and how dense the neighbourhood of a user or an item is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_universal import arguments
from recbole_universal.features.binning import Binning
from recbole_universal.features.family import FamilyFeatures, FeatureFamily, take_rows
from recbole_universal.graph.clusters import cluster_nodes, node_cluster_stats

if TYPE_CHECKING:
    from recbole_universal.graph.interaction_graph import InteractionGraph


class CooccurrenceFeatures(FeatureFamily):
    """Bins of the size and of the density of the node cluster of a user or an item (arXiv 2309.01188).

    Users and items are clustered together by their node2vec embeddings. The size of a cluster is its number of
    nodes, its density the share of its user-item pairs that interact. Percentiles are taken among the clusters, each
    counting once. A row is [bins of size, bins of density]. Embeddings of disjoint copies of a dataset differ, so
    here the law of scale holds for given clusters, and only statistically for computed ones.

    Args:
        n_bins: number of bins of each statistic, >= 2.
        binning: "soft", "hard" (both of percentiles) or "log" (of the statistic itself).
        log_base: ratio of neighbouring edges of the log bins, > 1.
        n_clusters: number of clusters, >= 2; None: from the number of nodes, see
            :func:`recbole_universal.graph.clusters.n_clusters_for`.

    Raises:
        ValueError: with the argument and its valid values.
    """

    name = "cooccurrence"
    version = 1
    needs_embedding = True

    def __init__(
        self, n_bins: int = 10, binning: str = "soft", log_base: float = 4.0, n_clusters: int | None = None
    ) -> None:
        self.binning = Binning.checked(self.owner(), binning, n_bins, log_base)
        self.n_clusters = arguments.optional_integer(self.owner(), "n_clusters", n_clusters, 2)
        self.args = {**self.binning.args, "n_clusters": self.n_clusters}
        self.user_dim = self.item_dim = 2 * self.binning.n_bins

    def compute(
        self,
        graph: InteractionGraph,
        embedding: NDArray[np.float32] | None = None,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        show_progress: bool = False,
    ) -> FamilyFeatures:
        """Cluster the nodes and bin the clusters; see :meth:`FeatureFamily.compute`."""
        embedding = self._checked_embedding(graph, embedding)
        mask = graph.degree > 0
        self._check_n_clusters(self.n_clusters, int(mask.sum()), "nodes")
        return self.of_labels(graph, cluster_nodes(embedding, mask, self.n_clusters, seed=seed))

    def of_labels(self, graph: InteractionGraph, labels: NDArray[np.int64]) -> FamilyFeatures:
        """Features from given clusters.

        Args:
            graph: the training interactions.
            labels: cluster of each node, users first, [n_nodes]; -1 for none.
        """
        rows = take_rows(cluster_bins(node_cluster_stats(graph, labels), self.binning), labels)
        return FamilyFeatures(user=rows[: graph.n_users], item=rows[graph.n_users :])


def cluster_bins(stats, binning: Binning) -> NDArray[np.float32]:
    """Bins of the size and of the density of clusters.

    Args:
        stats: :class:`recbole_universal.graph.clusters.ClusterStats` of ``n_clusters`` clusters.
        binning: how to bin.

    Returns:
        Rows [bins of size, bins of density], float32 [n_clusters, 2 * n_bins]; all-zero for an empty cluster.
    """
    present = np.asarray(stats.size) > 0
    return np.hstack([binning.counts(stats.size, present), binning.densities(stats.density, present)])
