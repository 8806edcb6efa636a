"""One computation of the features of a graph: canonical order, shared embedding, families, cache keys."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
import scipy.sparse as sp
import sklearn
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from recbole_universal.array_store import array_digest
from recbole_universal.features.family import FamilyFeatures, FeatureFamily
from recbole_universal.graph.interaction_graph import InteractionGraph
from recbole_universal.graph.node2vec import node2vec
from recbole_universal.graph.sparse_sums import arrays_under

if TYPE_CHECKING:
    from recbole_universal.features.pipeline import FeaturePipeline

logger = logging.getLogger(__name__)

#: Version of the stored numbers; raise it with every change of code that changes any of them.
CACHE_VERSION = 7


def library_versions() -> dict[str, str]:
    """Versions of the libraries whose results may differ between versions, by name."""
    return {module.__name__: str(module.__version__) for module in (np, scipy, sklearn, torch)}


class FeatureComputation:
    """One call of a pipeline: it computes or loads each family. What several families use is computed at first use.

    Args:
        pipeline: the pipeline.
        graph: the interactions.
        support: whether they are a support set; families that are ``large`` are then not stored.

    Attributes:
        seconds: wall time of each computation by its name.
    """

    def __init__(self, pipeline: FeaturePipeline, graph: InteractionGraph, support: bool) -> None:
        self.pipeline = pipeline
        self.support = support
        self.graph = graph
        self.seconds: dict[str, float] = {}
        self._embedding: NDArray[np.float32] | None = None
        self._canonical: tuple[InteractionGraph, NDArray[np.int64], NDArray[np.int64]] | None = None
        self._data_key = self._key_of_data()

    def features(self) -> dict[str, FamilyFeatures]:
        """The features of all families of the pipeline."""
        items = self.pipeline.families.items()
        bar = tqdm(items, desc="universal features", unit="family", disable=not self.pipeline.show_progress)
        families = {}
        for name, family in bar:
            bar.set_postfix_str(name)
            families[name] = self._family(family)
        return families

    def _key_of_data(self) -> dict[str, Any]:
        if self.pipeline.cache.folder is None:
            return {}
        matrix = self.graph.user_item
        arrays = {
            "indptr": matrix.indptr.astype(np.int64),
            "indices": matrix.indices.astype(np.int64),
            "weights": matrix.data.astype(np.float32),
        }
        key = {"shape": [self.graph.n_users, self.graph.n_items], "matrix": array_digest(arrays)}
        return key | ({"weighted": True} if self.graph.weighted else {})

    def _key_of_histories(self) -> str:
        histories = self.graph.histories
        if self.pipeline.cache.folder is None or histories is None:
            return ""
        times = histories.times if histories.times is not None else np.zeros(0)
        arrays = {"items": histories.items, "indptr": histories.indptr, "times": times}
        if np.isfinite(histories.now).any():
            arrays["now"] = histories.now
        if histories.weights is not None:
            arrays["weights"] = histories.weights
        return array_digest(arrays)

    def _key_of_content(self) -> dict[str, Any]:
        content = self.graph.content
        if self.pipeline.cache.folder is None or content is None:
            return {}
        return {"content": array_digest(content.arrays())}

    def _key(self, content: dict[str, Any], embedding: bool, seeded: bool) -> dict[str, Any]:
        key = {"version": CACHE_VERSION, "data": self._data_key, **content}
        if embedding:
            key["node2vec"] = self.pipeline.node2vec_args
        if embedding or seeded:
            key["seed"] = self.pipeline.seed
            key["device"] = self.pipeline.device.type
            key["libraries"] = library_versions()
        return key

    def _family(self, family: FeatureFamily) -> FamilyFeatures:
        if (family.large and self.support) or family.version is None:
            return self._compute(family)
        content = {"family": family.name, "family version": family.version, "args": family.args}
        if family.needs_histories:
            content["histories"] = self._key_of_histories()
        if family.reads_content:
            content |= self._key_of_content()
        key = self._key(content, family.needs_embedding, family.seeded)
        shape = self.graph.n_users, self.graph.n_items
        features = self.pipeline.cache.load(
            family.name, key, lambda arrays: features_from_arrays(family, arrays, shape)
        )
        if features is None:
            features = self._compute(family)
            self.pipeline.cache.store(family.name, key, features_to_arrays(features))
        return features

    def _compute(self, family: FeatureFamily) -> FamilyFeatures:
        graph, user_rank, item_rank = self.canonical()
        embedding = self.embedding() if family.needs_embedding else None
        start = time.perf_counter()
        features = family.compute(
            graph,
            embedding,
            seed=self.pipeline.seed,
            device=self.pipeline.device,
            show_progress=self.pipeline.show_progress,
        )
        _check(family, features, (graph.n_users, graph.n_items))
        features = features.reindexed(user_rank, item_rank)
        self.seconds[family.name] = time.perf_counter() - start
        return features

    def canonical(self) -> tuple[InteractionGraph, NDArray[np.int64], NDArray[np.int64]]:
        """The graph in canonical order, without users and items that have no interaction.

        Returns:
            The graph, and the index of each user id and of each item id in it, int64; -1 for ids without interactions.
        """
        if self._canonical is None:
            start = time.perf_counter()
            users, items = self.graph.canonical_order()
            user_rank = _ranks(users, self.graph.user_degree)
            item_rank = _ranks(items, self.graph.item_degree)
            shape = (int(user_rank.max()) + 1, int(item_rank.max()) + 1)
            rows = self.graph.user_item[users[: shape[0]]]
            columns = item_rank.astype(rows.indices.dtype)[rows.indices]
            matrix = sp.csr_matrix((rows.data, columns, rows.indptr), shape=shape)
            matrix.sort_indices()
            histories = self.graph.histories
            if histories is not None:
                histories = histories[users[: shape[0]]].relabelled(np.arange(shape[0]), item_rank)
            content = self.graph.content
            content = None if content is None else content.relabelled(item_rank, shape[1])
            graph = InteractionGraph(matrix, histories, self.graph.weighted, copy=False, content=content)
            self._canonical = graph, user_rank, item_rank
            self.seconds["canonical order"] = time.perf_counter() - start
        return self._canonical

    def embedding(self) -> NDArray[np.float32]:
        """The node2vec embedding of the canonical graph after :func:`merge_twins`, float32 [n_nodes, embedding_dim]."""
        if self._embedding is None:
            key = self._key({"content": "embedding of the canonical graph"}, embedding=True, seeded=True)
            graph, _, _ = self.canonical()
            shape = (graph.n_nodes, self.pipeline.node2vec_args["embedding_dim"])

            def compute() -> dict[str, NDArray]:
                start = time.perf_counter()
                settings = {**self.pipeline.node2vec_args, "seed": self.pipeline.seed, "device": self.pipeline.device}
                embedding = merge_twins(graph, node2vec(graph, **settings))
                self.seconds["node2vec"] = time.perf_counter() - start
                return {"embedding": embedding}

            def convert(arrays: Mapping[str, NDArray]) -> NDArray[np.float32]:
                embedding = arrays["embedding"]
                if embedding.shape != shape or not np.isfinite(embedding).all():
                    raise ValueError(f"the node2vec embedding must be finite numbers, {list(shape)}")
                return embedding

            self._embedding = self.pipeline.cache.get("node2vec", key, compute, convert)
        return self._embedding


def merge_twins(graph: InteractionGraph, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give nodes with the same neighbours and weights the mean of their embeddings.

    The data do not distinguish such nodes, only the random walks do. Without this step, the features of two users with
    equal histories would depend on the order of their ids.

    Args:
        graph: the graph.
        embedding: one row per node, users first, float32 [n_nodes, embedding_dim].

    Returns:
        float32 [n_nodes, embedding_dim]; equal rows for equal neighbourhoods.
    """
    classes: dict[tuple[str, bytes, bytes], int] = {}
    labels = []
    for side, matrix in (("user", graph.user_item), ("item", graph.item_user)):
        for start, stop in pairwise(matrix.indptr.tolist()):
            key = (side, matrix.indices[start:stop].tobytes(), matrix.data[start:stop].tobytes())
            labels.append(classes.setdefault(key, len(classes)))
    if len(classes) == len(labels):
        return embedding
    members = sp.csr_matrix((np.ones(len(labels)), (labels, np.arange(len(labels)))))
    means = (members @ embedding.astype(np.float64)) / np.asarray(members.sum(axis=1))
    return means.astype(np.float32)[labels]


def _ranks(order: NDArray[np.int64], degree: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of each id in an order that leaves out ids without interactions; -1 for these."""
    ranks = np.full(len(degree), -1, dtype=np.int64)
    connected = order[degree[order] > 0]
    ranks[connected] = np.arange(len(connected))
    return ranks


def _check(family: FeatureFamily, features: FamilyFeatures, shape: tuple[int, int]) -> None:
    """Refuse tables that a family should not have computed, before a network meets them."""
    for side, rows, dim in zip(("user", "item"), shape, (family.user_dim, family.item_dim), strict=True):
        table = getattr(features, side)
        if getattr(table, "shape", None) != (rows, dim):
            raise ValueError(
                f"{family.owner()}: compute must give [{rows}, {dim}] numbers of {side}s ({side}_dim is {dim}), and "
                f"gives {list(np.shape(table))}"
            )
        if not np.isfinite(table).all():
            raise ValueError(f"{family.owner()}: compute gives numbers of {side}s that are not finite")


def features_to_arrays(features: FamilyFeatures) -> dict[str, NDArray]:
    """Features of one family as arrays by name, for :func:`features_from_arrays`."""
    arrays = {"user": features.user, "item": features.item}
    if features.pair is not None:
        arrays.update({f"pair.{name}": array for name, array in features.pair.arrays().items()})
    return arrays


def features_from_arrays(
    family: FeatureFamily, arrays: Mapping[str, NDArray], shape: tuple[int, int]
) -> FamilyFeatures:
    """Features from stored arrays.

    Args:
        family: the family.
        arrays: what :func:`features_to_arrays` returned.
        shape: number of users and of items.

    Raises:
        ValueError, TypeError, LookupError, RuntimeError: if the arrays are not those of this family and this shape.
    """
    tables = arrays_under("pair.", arrays)
    for name, array in tables.items():
        if array.size and np.isnan(array.min()):  # a minimum is NaN if any value is, and takes no memory
            raise ValueError(f"its array pair.{name} holds NaN")
    pair = None if family.pair_class is None else family.pair_class.from_arrays(tables)
    if pair is not None and (pair.n_users, pair.n_items, pair.dim) != (*shape, family.pair_dim):
        raise ValueError("its pair features are of another number of users, items or columns")
    features = FamilyFeatures(arrays["user"], arrays["item"], pair)
    _check(family, features, shape)
    return features
