"""From names of feature families to numbers: one registry, one embedding, one cache."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import scipy
import scipy.sparse as sp
import sklearn
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from recbole_universal import arguments
from recbole_universal.features.cache import DEFAULT_GB, ArrayCache, array_digest, canonical_json
from recbole_universal.features.family import FamilyFeatures, FeatureFamily
from recbole_universal.features.registry import FAMILIES, unknown_families
from recbole_universal.graph.interaction_graph import InteractionGraph
from recbole_universal.graph.node2vec import OBJECTIVES, node2vec
from recbole_universal.graph.threads import register_fork_hook

logger = logging.getLogger(__name__)

#: Version of the meaning of the features; part of every schema.
SCHEMA_VERSION = 1
#: Version of the stored numbers; raise it with every change of code that changes any of them.
CACHE_VERSION = 4

# Larger numbers are slips of the pen, or somebody's attack: they set how much memory and time the features take.
_LARGEST_ARGUMENTS = {
    **{"n_bins": 1000, "embedding_dim": 4096, "walk_length": 1000, "context_size": 1000, "walks_per_node": 1000},
    "num_negative_samples": 1000,
}

_NODE2VEC_CHECKS: dict[str, tuple[Any, Any]] = {
    "embedding_dim": (arguments.integer, 1),
    "walk_length": (arguments.integer, 2),
    "context_size": (arguments.integer, 2),
    "walks_per_node": (arguments.integer, 1),
    "p": (arguments.real, 0),
    "q": (arguments.real, 0),
    "num_negative_samples": (arguments.integer, 1),
    "epochs": (arguments.integer, 1),
    "lr": (arguments.real, 0),
    "batch_size": (arguments.optional_integer, 1),
    "objective": (arguments.choice, OBJECTIVES),
}


def largest_argument(name: str) -> int:
    """The largest number that a config or a pre-trained model may give to an argument of a family or of node2vec."""
    return _LARGEST_ARGUMENTS.get(name, 10**6)


def node2vec_args(args: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All arguments of the shared embedding, checked, defaults included.

    Args:
        args: those that differ from the defaults of :func:`recbole_universal.graph.node2vec.node2vec`.

    Raises:
        ValueError: if an argument is unknown or its value is not valid.
    """
    given = arguments.mapping("node2vec", args)
    default = arguments.defaults(node2vec, exclude=("graph", "seed", "device", "show_progress"))
    arguments.known("node2vec", given, list(default))
    full = {**default, **given}
    for name, (check, bound) in _NODE2VEC_CHECKS.items():
        if full[name] is None and default[name] is None:
            continue  # None: chosen from the size of the data
        full[name] = check("node2vec", name, full[name], bound)
    if full["context_size"] > full["walk_length"]:
        raise ValueError(
            f"node2vec: argument context_size must be at most walk_length ({full['walk_length']}), "
            f"not {full['context_size']}"
        )
    return full


@dataclass(eq=False)
class UniversalFeatures(Mapping[str, FamilyFeatures]):
    """The features of one data set, by family name, in the order asked for.

    Attributes:
        families: features by family name.
        schema: what the numbers mean, see :attr:`FeaturePipeline.schema`.
        seconds: wall time of each part that was computed or loaded.
    """

    families: dict[str, FamilyFeatures]
    schema: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)

    def __getitem__(self, name: str) -> FamilyFeatures:
        """Features of one family."""
        if name not in self.families:
            raise KeyError(f"feature family {name!r} was not computed; computed: {', '.join(self.families)}")
        return self.families[name]

    def __iter__(self) -> Iterator[str]:
        """Family names in order."""
        return iter(self.families)

    def __len__(self) -> int:
        """Number of families."""
        return len(self.families)


class FeaturePipeline:
    """Computes chosen feature families from the training interactions of a data set.

    All arguments are checked here, before any data are touched. The numbers do not depend on how users and items are
    numbered: the graph is brought to an order of its own first, without users and items that have no interaction, and
    the results are mapped back. Relabelling permutes them exactly, with one limit: nodes that have different
    neighbours but that :meth:`InteractionGraph.canonical_order` cannot tell apart (a symmetry of the graph) may
    exchange their numbers. They depend on ``seed``, never on the global random state.

    Args:
        families: names of families, see :data:`FAMILIES`.
        args: arguments by family name; the entry "node2vec" holds those of the embedding that families share.
        seed: seed of walks, embeddings and clusters.
        device: device of the long computations; the results are on the CPU. Experimental: not tried on CUDA.
        cache_dir: folder for computed features; None or "": no cache.
        cache_gb: size of that folder at most, in 10^9 bytes; None: no limit.
        show_progress: whether to draw progress bars.

    Attributes:
        families: the families by name, in order.
        dims: number of values by family and side, known before any data: ``{"activity": {"user": 10, ...}}``.
        schema: what the numbers mean; see :meth:`_make_schema`.

    Raises:
        ValueError: if a family or an argument is unknown, or a value is not valid.
    """

    def __new__(cls, *args: Any, **settings: Any) -> FeaturePipeline:
        """Prepare the process for forks; in this method, since an unpickled pipeline computes too."""
        register_fork_hook()
        return super().__new__(cls)

    def __init__(
        self,
        families: Sequence[str],
        args: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        seed: int = 2020,
        device: str | torch.device = "cpu",
        cache_dir: str | os.PathLike[str] | None = None,
        cache_gb: float | None = DEFAULT_GB,
        show_progress: bool = False,
    ) -> None:
        names = _checked_names(families)
        given = arguments.mapping("feature arguments", args)
        unknown = [name for name in given if name not in FAMILIES and name != "node2vec"]
        if unknown:
            valid = ", ".join([*FAMILIES, "node2vec"])
            raise ValueError(f"feature arguments: unknown entry {', '.join(unknown)}; valid entries: {valid}")
        # Arguments of families that are not asked for are checked too: a mistake there would wait for its moment.
        built = {name: FAMILIES[name].from_args(given.get(name)) for name in FAMILIES if name in {*names, *given}}
        self.families = {name: built[name] for name in names}
        self.node2vec_args = node2vec_args(given.get("node2vec"))
        self.seed = arguments.seed("feature pipeline", seed)
        self.device = arguments.device(device)
        self.show_progress = arguments.flag("feature pipeline", "show_progress", show_progress)
        if cache_dir is not None and not isinstance(cache_dir, (str, os.PathLike)):
            shown = arguments.shown(cache_dir)
            raise ValueError(f"universal_cache_dir: must be the path of a folder, or empty for no cache, not {shown}")
        number = isinstance(cache_gb, (int, float)) and not isinstance(cache_gb, bool)
        if cache_gb is not None and not (number and cache_gb >= 0):
            shown = arguments.shown(cache_gb)
            raise ValueError(f"universal_cache_gb: must be a number of at least 0, or empty for no limit, not {shown}")
        self.cache = ArrayCache(cache_dir or None, limit_gb=cache_gb)
        self.dims = {name: family.dims for name, family in self.families.items()}
        self.schema = self._make_schema()

    def _make_schema(self) -> dict[str, Any]:
        """Describe what the numbers mean, as JSON: format version, families in order, all arguments, dimensions.

        ``schema_hash`` sums it up. Seed and device are not part of it: they change numbers, not what they mean.
        """
        families = [{"name": name, "args": family.args, "dims": family.dims} for name, family in self.families.items()]
        schema: dict[str, Any] = {"version": SCHEMA_VERSION, "families": families}
        if self._needs_embedding:
            schema["node2vec"] = dict(self.node2vec_args)
            if schema["node2vec"]["objective"] == "skip_gram":
                # Models older than the choice of objective were trained on it and do not name it.
                del schema["node2vec"]["objective"]
        schema["schema_hash"] = hashlib.sha256(canonical_json(schema).encode()).hexdigest()
        return schema

    @property
    def _needs_embedding(self) -> bool:
        return any(family.needs_embedding for family in self.families.values())

    def __call__(self, matrix: sp.spmatrix | sp.sparray | InteractionGraph, *, part: bool = False) -> UniversalFeatures:
        """Compute, or load from the cache, the features of a data set.

        Args:
            matrix: training interactions, sparse [n_users, n_items], the values being weights >= 0; zeros are no
                interaction. Padding ids are empty rows and columns.
            part: whether these are a support part of a training part; families that are large on disk are then not
                stored.

        Returns:
            Features by family; all-zero rows for users and items without interactions.

        Raises:
            ValueError: if the matrix has no interaction or a weight that is NaN, infinite or negative, or if an
                argument does not fit the data.
        """
        arguments.flag("feature pipeline", "part", part)
        graph = matrix if isinstance(matrix, InteractionGraph) else InteractionGraph(matrix)
        return _Run(self, graph, part).features()

    def updated(self, features: UniversalFeatures, matrix: sp.spmatrix | sp.sparray) -> UniversalFeatures:
        """Features of a data set that has grown, from those before; see :meth:`FeatureFamily.updated`.

        Args:
            features: what this pipeline computed before.
            matrix: all interactions by now, at least as large.

        Raises:
            ValueError: as when called; or if a family can only be computed anew.
        """
        graph = InteractionGraph(matrix)
        if not isinstance(features, UniversalFeatures) or list(features) != list(self.families):
            raise ValueError(f"features: must be what this pipeline computed before, got {arguments.shown(features)}.")
        families: dict[str, FamilyFeatures] = {}
        for name, family in self.families.items():
            updated = family.updated(features[name], graph)
            if updated is None:
                return self(graph)
            families[name] = updated
        return UniversalFeatures(families, self.schema)


def library_versions() -> dict[str, str]:
    """Versions of the libraries whose numbers may differ from version to version."""
    return {module.__name__: str(module.__version__) for module in (np, scipy, sklearn, torch)}


def features_of(schema: Mapping[str, Any]) -> tuple[list[str], dict[str, dict]]:
    """What a saved ``FeaturePipeline.schema`` was made with: the families and their arguments."""
    arguments = {family["name"]: family["args"] for family in schema["families"]}
    names = list(arguments)
    if "node2vec" in schema:
        arguments["node2vec"] = schema["node2vec"]
    return names, arguments


def pipeline_of(schema: Mapping[str, Any], **settings) -> FeaturePipeline:
    """The feature pipeline of a pre-trained model's feature schema.

    Args:
        schema: ``FeaturePipeline.schema`` as saved.
        **settings: other arguments of :class:`FeaturePipeline`, such as seed and device.

    Raises:
        ValueError: if a family of the schema is not registered, or this version of the package gives the schema
            another meaning.
    """
    names, args = features_of(schema)
    unknown = unknown_families(names)
    if unknown:
        raise ValueError(
            f"The model reads the feature family {', '.join(unknown)}, which is not registered here. Import the module "
            "that defines it and calls recbole_universal.register_family, then load the model; registered families: "
            f"{', '.join(FAMILIES)}."
        )
    pipeline = FeaturePipeline(names, args, **settings)
    if pipeline.schema["schema_hash"] != schema["schema_hash"]:
        raise ValueError(
            "The model was trained on universal features of another version of recbole_universal "
            f"(schema version {schema.get('version')}, here {pipeline.schema['version']}); install that version."
        )
    return pipeline


def _checked_names(families: Sequence[str]) -> list[str]:
    valid = f"valid families: {', '.join(FAMILIES)}"
    if isinstance(families, str) or not isinstance(families, Sequence) or not families:
        raise ValueError(
            f"feature families must be a non-empty list of names, not {arguments.shown(families)}; {valid}"
        )
    unknown = unknown_families(families)
    if unknown:
        raise ValueError(f"unknown feature family {', '.join(unknown)}; {valid}")
    if len(set(families)) < len(families):
        raise ValueError(f"a feature family is named twice in {list(families)}")
    return list(families)


class _Run:
    """One call of a pipeline: what its families share, each part made when first needed."""

    def __init__(self, pipeline: FeaturePipeline, graph: InteractionGraph, part: bool) -> None:
        self.pipeline = pipeline
        self.part = part
        self.graph = graph
        self.seconds: dict[str, float] = {}
        self._embedding: NDArray[np.float32] | None = None
        self._canonical: tuple[InteractionGraph, NDArray[np.int64], NDArray[np.int64]] | None = None
        self._data_key = self._key_of_data()

    def features(self) -> UniversalFeatures:
        """All families of the pipeline."""
        items = self.pipeline.families.items()
        bar = tqdm(items, desc="universal features", unit="family", disable=not self.pipeline.show_progress)
        families = {}
        for name, family in bar:
            bar.set_postfix_str(name)
            families[name] = self._family(family)
        return UniversalFeatures(families, self.pipeline.schema, self.seconds)

    def _key_of_data(self) -> dict[str, Any]:
        if self.pipeline.cache.folder is None:
            return {}
        matrix = self.graph.user_item
        arrays = {
            "indptr": matrix.indptr.astype(np.int64),
            "indices": matrix.indices.astype(np.int64),
            "weights": matrix.data.astype(np.float32),
        }
        return {"shape": [self.graph.n_users, self.graph.n_items], "matrix": array_digest(arrays)}

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
        if (family.large and self.part) or family.version is None:
            return self._compute(family)
        content = {"family": family.name, "family version": family.version, "args": family.args}
        key = self._key(content, family.needs_embedding, family.seeded)
        arrays = self.pipeline.cache.load(family.name, key)
        features = None if arrays is None else _from_arrays(family, arrays)
        if features is None:
            features = self._compute(family)
            self.pipeline.cache.store(family.name, key, _to_arrays(features))
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
        features = features.reindexed(user_rank, item_rank)
        self.seconds[family.name] = time.perf_counter() - start
        return features

    def canonical(self) -> tuple[InteractionGraph, NDArray[np.int64], NDArray[np.int64]]:
        """The graph without empty users and items in its own order, and the place of each id there (-1: none)."""
        if self._canonical is None:
            start = time.perf_counter()
            users, items = self.graph.canonical_order()
            user_rank = _ranks(users, self.graph.user_degree)
            item_rank = _ranks(items, self.graph.item_degree)
            shape = (int(user_rank.max()) + 1, int(item_rank.max()) + 1)
            edge_users, edge_items = self.graph.edges()
            ends = (user_rank[edge_users], item_rank[edge_items])
            graph = InteractionGraph(sp.csr_matrix((self.graph.user_item.data, ends), shape=shape))
            self._canonical = graph, user_rank, item_rank
            self.seconds["canonical order"] = time.perf_counter() - start
        return self._canonical

    def embedding(self) -> NDArray[np.float32]:
        """The node2vec embedding of the canonical graph, twins merged, [n_nodes, embedding_dim]."""
        if self._embedding is None:
            key = self._key({"content": "embedding of the canonical graph"}, embedding=True, seeded=True)
            arrays = self.pipeline.cache.load("node2vec", key)
            graph, _, _ = self.canonical()
            shape = (graph.n_nodes, self.pipeline.node2vec_args["embedding_dim"])
            if arrays is None or set(arrays) != {"embedding"} or arrays["embedding"].shape != shape:
                start = time.perf_counter()
                arrays = {"embedding": merge_twins(graph, self._node2vec(graph))}
                self.seconds["node2vec"] = time.perf_counter() - start
                self.pipeline.cache.store("node2vec", key, arrays)
            self._embedding = arrays["embedding"]
        return self._embedding

    def _node2vec(self, graph: InteractionGraph) -> NDArray[np.float32]:
        return node2vec(
            graph,
            **self.pipeline.node2vec_args,
            seed=self.pipeline.seed,
            device=self.pipeline.device,
            show_progress=self.pipeline.show_progress,
        )


def merge_twins(graph: InteractionGraph, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give nodes with the same neighbours and weights the mean of their embeddings.

    Nothing in the data tells such nodes apart, only chance would: without this, which of two users with one history
    gets which features would depend on how they are numbered.

    Args:
        graph: the graph.
        embedding: one row a node, users first, [n_nodes, embedding_dim].

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
    """Place of each id among those with interactions, -1 for the others."""
    ranks = np.full(len(degree), -1, dtype=np.int64)
    connected = order[degree[order] > 0]
    ranks[connected] = np.arange(len(connected))
    return ranks


def _to_arrays(features: FamilyFeatures) -> dict[str, NDArray]:
    arrays = {"user": features.user, "item": features.item}
    if features.pair is not None:
        arrays.update({f"pair.{name}": array for name, array in features.pair.arrays().items()})
    return arrays


def _from_arrays(family: FeatureFamily, arrays: Mapping[str, NDArray]) -> FamilyFeatures | None:
    """Features as stored; None, with a message in the log, if the arrays are not those of this family."""
    tables = {name.removeprefix("pair."): array for name, array in arrays.items() if name.startswith("pair.")}
    try:
        pair = None if family.pair_class is None else family.pair_class.from_arrays(tables)
        return FamilyFeatures(arrays["user"], arrays["item"], pair)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        logger.warning("Stored features of %s have another form (%s); computed anew.", family.owner(), error)
        return None
