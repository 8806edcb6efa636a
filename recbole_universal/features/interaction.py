"""The interaction family: clusters of interactions, and the cluster that any pair of user and item would join."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recbole_universal import arguments
from recbole_universal.features.binning import Binning
from recbole_universal.features.cooccurrence import cluster_bins
from recbole_universal.features.family import FamilyFeatures, FeatureFamily, PairFeatures, take_rows
from recbole_universal.graph.centers import EdgeCenterSearch
from recbole_universal.graph.clusters import cluster_edges, edge_cluster_stats, n_clusters_for
from recbole_universal.graph.edge_operators import EDGE_OPERATORS, EdgeFeatures

if TYPE_CHECKING:
    from recbole_universal.graph.interaction_graph import InteractionGraph


#: Largest number of clusters that is chosen automatically. The cost of ranking a catalogue grows with their number, and
#: more clusters separated held-out interactions from random pairs no better (mean AUC of Hadamard on ml-latest-small
#: and citeulike-a: 64 clusters .779, 128 .790, 256 .783).
MAX_CLUSTERS = 128
#: Most bytes for a cache of the nearest cluster of every user-item pair.
MEMO_BYTES = 2**28


def operator_name(owner: str, value: Any) -> str:
    """Name of an edge operator. The paper's spelling, such as "Weighted-L1", is accepted too.

    Raises:
        ValueError: if there is no such operator.
    """
    if isinstance(value, str):
        value = value.strip().lower().replace("-", "_").replace(" ", "_")
    return arguments.choice(owner, "operator", value, EDGE_OPERATORS)


class EdgeClusterPairs(PairFeatures):
    """For any user and item, the bins of the edge cluster that their edge would belong to.

    The nearest center decides; see `recbole_universal.graph.centers.EdgeCenterSearch`.

    Args:
        user_embedding: float32 [n_users, embedding_dim].
        item_embedding: float32 [n_items, embedding_dim].
        user_present: False for users without an embedding, bool [n_users].
        item_present: the same for items, bool [n_items].
        centers: centers of the non-empty edge clusters, [n_clusters, embedding_dim].
        bins: values of each cluster, float32 [n_clusters, dim].
        operator: one of :data:`~recbole_universal.graph.edge_operators.EDGE_OPERATORS`.
    """

    _tables = ("user_embedding", "item_embedding", "user_present", "item_present", "centers", "bins")

    def __init__(
        self,
        user_embedding: torch.Tensor,
        item_embedding: torch.Tensor,
        user_present: torch.Tensor,
        item_present: torch.Tensor,
        centers: torch.Tensor,
        bins: torch.Tensor,
        operator: str,
    ) -> None:
        self.user_embedding, self.item_embedding = user_embedding, item_embedding
        self.user_present, self.item_present = user_present, item_present
        self.centers, self.bins, self.operator = centers, bins, operator
        self.n_users, self.n_items = len(user_embedding), len(item_embedding)
        self.n_clusters, self.dim = bins.shape
        self._search = EdgeCenterSearch(user_embedding, item_embedding, centers, operator)
        # Row n_clusters is for pairs without data.
        self._rows = torch.cat([bins, bins.new_zeros(1, self.dim)])
        self._memo: torch.Tensor | None = None
        self._in_memo = torch.zeros(self.n_users, dtype=torch.bool, device=self.device)

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and saved datasets hold the tables alone; the rest is computed from them.
        return EdgeClusterPairs, (*(getattr(self, name) for name in self._tables), self.operator)

    @property
    def device(self) -> torch.device:
        """Where the tables are."""
        return self.bins.device

    def __call__(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """See :meth:`PairFeatures.__call__`."""
        return self._rows[self.nearest(users, items)]

    def full(self, users: torch.Tensor) -> torch.Tensor:
        """See :meth:`PairFeatures.full`."""
        return self._rows[self.nearest_full(users)]

    def full_rows(self, users: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :meth:`PairFeatures.full_rows`; the rows are those of :meth:`table`."""
        return self._rows, self._cached_nearest_full(users.to(self.device)).long()

    def _cached_nearest_full(self, users: torch.Tensor) -> torch.Tensor:
        """:meth:`nearest_full`, computed once per user if all indices fit in memory, since each epoch validates."""
        if self.n_users * self.n_items > MEMO_BYTES or self.n_clusters > torch.iinfo(torch.uint8).max:
            return self.nearest_full(users)
        if self._memo is None:
            self._memo = torch.empty(self.n_users, self.n_items, dtype=torch.uint8, device=self.device)
        new = users[~self._in_memo[users]].unique()
        if len(new):
            self._memo[new] = self.nearest_full(new).to(torch.uint8)
            self._in_memo[new] = True
        return self._memo[users]

    def table(self) -> torch.Tensor:
        """Values of each cluster and, last, of a pair without data (zeros), float32 [n_clusters + 1, dim]."""
        return self._rows

    def nearest(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Row of :meth:`table` of each pair.

        Args:
            users: user indices, int64 [n].
            items: item indices, int64 [n].

        Returns:
            int64 [n].
        """
        users, items = users.to(self.device), items.to(self.device)
        present = self.user_present[users] & self.item_present[items]
        return self._search.of_pairs(users, items).masked_fill_(~present, self.n_clusters)

    def nearest_full(self, users: torch.Tensor) -> torch.Tensor:
        """Row of :meth:`table` of each given user with every item.

        Args:
            users: user indices, int64 [n_batch].

        Returns:
            int64 [n_batch, n_items].
        """
        users = users.to(self.device)
        present = self.user_present[users][:, None] & self.item_present
        return self._search.of_all_items(users).masked_fill_(~present, self.n_clusters)

    def arrays(self) -> dict[str, NDArray]:
        """See :meth:`PairFeatures.arrays`."""
        tables = {name: getattr(self, name).cpu().numpy() for name in self._tables}
        return {**tables, "operator": np.array(list(EDGE_OPERATORS).index(self.operator))}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> EdgeClusterPairs:
        """See :meth:`PairFeatures.from_arrays`."""
        tables = {name: torch.from_numpy(array) for name, array in arrays.items() if name != "operator"}
        return cls(**tables, operator=list(EDGE_OPERATORS)[int(arrays["operator"])])

    def to(self, device: str | torch.device) -> EdgeClusterPairs:
        """See :meth:`PairFeatures.to`."""
        if torch.empty(0, device=device).device == self.device:
            return self
        tables = {name: getattr(self, name).to(device) for name in self._tables}
        return EdgeClusterPairs(**tables, operator=self.operator)

    def reindexed(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> EdgeClusterPairs:
        """See :meth:`PairFeatures.reindexed`."""
        arrays = self.arrays()
        for side, rows in (("user", users), ("item", items)):
            for kind in ("embedding", "present"):
                arrays[f"{side}_{kind}"] = take_rows(arrays[f"{side}_{kind}"], rows)
        return self.from_arrays(arrays).to(self.device)


class InteractionFeatures(FeatureFamily):
    """Bins of the size and of the density of clusters of interactions (arXiv 2309.01188).

    Every training interaction (u, i) gets the embedding b(z_u, z_i) of the node2vec embeddings of its ends, and these
    are clustered. The size of a cluster is its number of interactions m, its density m / (distinct users * distinct
    items). Percentiles are taken among the clusters, each counting once; the row of a cluster is [bins of size, bins
    of density]. A user has the mean row of its interactions, an item likewise, and a pair the row of the cluster whose
    center is nearest to b(z_u, z_i), whether it interacts or not.

    Args:
        operator: b, one of :data:`~recbole_universal.graph.edge_operators.EDGE_OPERATORS`.
        n_bins: number of bins of each statistic, >= 2.
        binning: "soft", "hard" (both of percentiles) or "log" (of the statistic itself).
        log_base: ratio of neighbouring edges of the log bins, > 1.
        n_clusters: number of clusters, >= 2; None: from the number of interactions, see
            :func:`recbole_universal.graph.clusters.n_clusters_for`, and at most :data:`MAX_CLUSTERS`.

    Raises:
        ValueError: with the argument and its valid values.
    """

    name = "interaction"
    version = 1
    needs_embedding = True
    pair_class = EdgeClusterPairs

    def __init__(
        self,
        operator: str = "hadamard",
        n_bins: int = 10,
        binning: str = "soft",
        log_base: float = 4.0,
        n_clusters: int | None = None,
    ) -> None:
        self.operator = operator_name(self.owner(), operator)
        self.binning = Binning.checked(self.owner(), binning, n_bins, log_base)
        self.n_clusters = arguments.optional_integer(self.owner(), "n_clusters", n_clusters, 2)
        self.args = {"operator": self.operator, **self.binning.args, "n_clusters": self.n_clusters}
        self.user_dim = self.item_dim = self.pair_dim = 2 * self.binning.n_bins

    def compute(
        self,
        graph: InteractionGraph,
        embedding: NDArray[np.float32] | None = None,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        show_progress: bool = False,
    ) -> FamilyFeatures:
        """Cluster the interactions and bin the clusters; see :meth:`FeatureFamily.compute`."""
        embedding = self._checked_embedding(graph, embedding)
        self._check_n_clusters(self.n_clusters, graph.n_edges, "interactions")
        users, items = graph.edges()
        left, right = np.split(embedding, [graph.n_users])
        edges = EdgeFeatures(left, right, users, items, self.operator)
        n_clusters = self.n_clusters
        if n_clusters is None and n_clusters_for(graph.n_edges) > MAX_CLUSTERS:
            n_clusters = MAX_CLUSTERS
        labels, centers = cluster_edges(edges, n_clusters, seed=seed)
        return self.of_labels(graph, embedding, labels, centers)

    def of_labels(
        self, graph: InteractionGraph, embedding: NDArray[np.float32], labels: NDArray, centers: NDArray
    ) -> FamilyFeatures:
        """Features from given clusters.

        Args:
            graph: the training interactions.
            embedding: node2vec embedding of all nodes, [n_nodes, embedding_dim].
            labels: cluster of each interaction, in the order of ``graph.edges()``, [n_edges].
            centers: centers of the clusters, [n_clusters, embedding_dim].
        """
        users, items = graph.edges()
        # An empty cluster has no statistics, so it may not be the nearest of a pair.
        occupied, labels = np.unique(labels, return_inverse=True)
        bins = cluster_bins(edge_cluster_stats(users, items, labels), self.binning)
        nodes = torch.from_numpy(embedding)
        pair = EdgeClusterPairs(
            nodes[: graph.n_users],
            nodes[graph.n_users :],
            torch.from_numpy(graph.user_degree > 0),
            torch.from_numpy(graph.item_degree > 0),
            torch.from_numpy(np.asarray(centers[occupied], dtype=np.float32)),
            torch.from_numpy(bins),
            self.operator,
        )
        return FamilyFeatures(
            user=_mean_rows(users, labels, bins, graph.n_users),
            item=_mean_rows(items, labels, bins, graph.n_items),
            pair=pair,
        )


def _mean_rows(ids: NDArray, labels: NDArray, bins: NDArray[np.float32], n_ids: int) -> NDArray[np.float32]:
    """Mean row of ``bins`` over the interactions of each id, [n_ids, dim]; zeros for an id without any."""
    shape = (n_ids, len(bins))
    counts = sp.csr_matrix((np.ones(len(ids)), (ids, labels)), shape=shape)
    total = np.maximum(np.asarray(counts.sum(axis=1)), 1.0)
    return ((counts @ bins.astype(np.float64)) / total).astype(np.float32)
