"""The feature pipeline: from names of feature families to the features of a dataset."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import scipy.sparse as sp
import torch

from recbole_universal import arguments
from recbole_universal.array_store import DEFAULT_GB, ArrayStore, canonical_json
from recbole_universal.features.computation import FeatureComputation
from recbole_universal.features.family import FamilyFeatures
from recbole_universal.features.node2vec_args import node2vec_args
from recbole_universal.features.registry import FAMILIES, unknown_families
from recbole_universal.graph.content_relation import ContentRelation
from recbole_universal.graph.interaction_graph import InteractionGraph
from recbole_universal.graph.threads import register_fork_hook

#: Version of the meaning of the features; part of every schema.
SCHEMA_VERSION = 1


@dataclass(eq=False)
class UniversalFeatures(Mapping[str, FamilyFeatures]):
    """The features of one dataset by family name, in the order of the pipeline.

    Attributes:
        families: features by family name.
        schema: description of the features, see :attr:`FeaturePipeline.schema`.
        seconds: wall time of each computation by its name; empty if everything was loaded from the cache.
    """

    families: dict[str, FamilyFeatures]
    schema: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)

    def __getitem__(self, name: str) -> FamilyFeatures:
        """Features of one family.

        Raises:
            KeyError: if the family was not computed.
        """
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
    """Computes feature families from the training interactions of a dataset.

    The constructor checks all arguments. The features do not depend on the order of user ids and item ids: they are
    computed on the graph in canonical order, without users and items that have no interaction, and mapped back.
    Relabelling permutes the features exactly. Nodes with different neighbours that
    :meth:`InteractionGraph.canonical_order` does not distinguish (a symmetry of the graph) may exchange their features.
    The features depend on ``seed`` and not on the global random state.

    Args:
        families: names of families, see :data:`FAMILIES`.
        args: arguments by family name; the entry "node2vec" holds the arguments of the shared embedding.
        seed: seed of walks, embeddings and clusters.
        device: device of the long computations; the results are on the CPU.
        cache_dir: folder of computed features; ``None`` or "" for no cache.
        cache_gb: size limit of this folder in 10^9 bytes; ``None`` for no limit.
        show_progress: whether to draw progress bars.

    Attributes:
        families: the families by name, in order.
        dims: number of values by family and side, such as ``{"activity": {"user": 10, ...}}``.
        schema: description of the features as JSON: format version, families in order, all arguments, dimensions, and a
            hash of all this. Seed and device are not part of it.

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
        # Arguments of unused families are checked too, so that a mistake shows at once.
        built = {name: FAMILIES[name].from_args(given.get(name)) for name in FAMILIES if name in {*names, *given}}
        self.families = {name: built[name] for name in names}
        self.node2vec_args = node2vec_args(given.get("node2vec"))
        self.seed = arguments.seed("feature pipeline", seed)
        self.device = arguments.device(device)
        self.show_progress = arguments.flag("feature pipeline", "show_progress", show_progress)
        if cache_dir is not None and not isinstance(cache_dir, (str, os.PathLike)):
            shown = arguments.shown(cache_dir)
            raise ValueError(f"universal_cache_dir: must be the path of a folder, or empty for no cache, not {shown}")
        if cache_gb is not None and not (arguments.is_real(cache_gb) and cache_gb >= 0):
            shown = arguments.shown(cache_gb)
            raise ValueError(f"universal_cache_gb: must be a number of at least 0, or empty for no limit, not {shown}")
        self.cache = ArrayStore(cache_dir or None, limit_gb=cache_gb)
        self.dims = {name: family.dims for name, family in self.families.items()}
        self.schema = self._make_schema()

    def _make_schema(self) -> dict[str, Any]:
        """The schema with its ``schema_hash``; seed and device change values and not their meaning."""
        families = [{"name": name, "args": family.args, "dims": family.dims} for name, family in self.families.items()]
        schema: dict[str, Any] = {"version": SCHEMA_VERSION, "families": families}
        if self._needs_embedding:
            schema["node2vec"] = dict(self.node2vec_args)
        schema["schema_hash"] = hashlib.sha256(canonical_json(schema).encode()).hexdigest()
        return schema

    @property
    def _needs_embedding(self) -> bool:
        return any(family.needs_embedding for family in self.families.values())

    @property
    def needs_histories(self) -> bool:
        """Whether a family uses the order of the interactions."""
        return any(family.needs_histories for family in self.families.values())

    def __call__(
        self, matrix: sp.spmatrix | sp.sparray | InteractionGraph, *, support: bool = False
    ) -> UniversalFeatures:
        """Compute the features of a dataset, or load them from the cache.

        Args:
            matrix: training interactions, sparse [n_users, n_items]. The values are weights >= 0; an entry of weight 0
                is no interaction. Padding ids are empty rows and columns. A graph also tells the order of the
                interactions.
            support: whether these are a support set of the training interactions; families that are large on disk are
                then not stored.

        Returns:
            Features by family; all-zero rows for users and items without interactions.

        Raises:
            ValueError: if the matrix has no interaction or a weight that is NaN, infinite or negative, or if an
                argument does not fit the data.
        """
        arguments.flag("feature pipeline", "support", support)
        graph = matrix if isinstance(matrix, InteractionGraph) else InteractionGraph(matrix)
        computation = FeatureComputation(self, graph, support)
        return UniversalFeatures(computation.features(), self.schema, computation.seconds)

    def with_interactions(
        self,
        features: UniversalFeatures,
        matrix: sp.spmatrix | sp.sparray,
        content: ContentRelation | None = None,
    ) -> UniversalFeatures:
        """Features after new interactions, from those before; see :meth:`FeatureFamily.with_interactions`.

        Args:
            features: features that this pipeline computed before.
            matrix: all interactions, old and new, at least as large as the matrix before.
            content: as of :class:`InteractionGraph`; read if all features are computed anew.

        Raises:
            ValueError: as :meth:`__call__`; or if a family can only be computed again as a whole.
        """
        graph = InteractionGraph(matrix, content=content)
        if not isinstance(features, UniversalFeatures) or list(features) != list(self.families):
            raise ValueError(f"features: must be what this pipeline computed before, got {arguments.shown(features)}.")
        if features.schema != self.schema:
            raise ValueError("features: another pipeline computed them, with other arguments; use this one.")
        sizes = tuple(len(getattr(next(iter(features.values())), side)) for side in ("user", "item"))
        if graph.n_users < sizes[0] or graph.n_items < sizes[1]:
            raise ValueError(
                f"matrix: must have at least the users and items of before, {list(sizes)}, got "
                f"[{graph.n_users}, {graph.n_items}]."
            )
        families: dict[str, FamilyFeatures] = {}
        for name, family in self.families.items():
            updated = family.with_interactions(features[name], graph)
            if updated is None:
                return self(graph)
            families[name] = updated
        return UniversalFeatures(families, self.schema)


def features_of(schema: Mapping[str, Any]) -> tuple[list[str], dict[str, dict]]:
    """Families and arguments of a saved ``FeaturePipeline.schema``, as :class:`FeaturePipeline` takes them."""
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
