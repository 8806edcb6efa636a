"""RecBole datasets that carry the universal columns.

:func:`universal_dataset_class` adds them to any of RecBole's dataset classes. The columns are declared when the dataset
is loaded, and filled in ``build()`` from the training split alone. All splits share ``user_feat`` and ``item_feat``, so
all of them see the values.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import recbole.data.dataset as recbole_datasets
import scipy.sparse as sp
import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType, ModelType

from recbole_universal.features import FeaturePipeline, UniversalFeatures
from recbole_universal.features.fields import column
from recbole_universal.graph.interaction_graph import InteractionGraph
from recbole_universal.plugin.atomic_file import reading_as_text
from recbole_universal.plugin.content_fields import relation_of_dataset
from recbole_universal.plugin.histories import training_histories
from recbole_universal.plugin.shared_features import shared_features
from recbole_universal.plugin.transform import PairInteraction, pair_field_names
from recbole_universal.plugin.unseen import rows_to_test

logger = logging.getLogger(__name__)

WEIGHT_FIELD = "universal_weight"
_SOURCES = {"user": FeatureSource.USER, "item": FeatureSource.ITEM, "pair": FeatureSource.INTERACTION}


if TYPE_CHECKING:  # the base class of the mixin
    from recbole.data.dataset import Dataset as _Base
else:
    _Base = object


class UniversalColumns(_Base):
    """Mixin for RecBole's ``Dataset`` classes: columns ``user_<family>``, ``item_<family>``, ``pair_<family>``.

    Each column is one field of type ``FLOAT_SEQ``, float32 [n, dim], where ``dim`` is the number of values of the
    family on that side. A field in ``numerical_features`` is float32 [n, dim, 2] (value, index from 1), which RecBole's
    context-aware models read.

    Attributes:
        universal: the features, after ``build()``.
        universal_pipeline: the pipeline that computes them.
    """

    universal: UniversalFeatures | None = None

    def _get_preset(self) -> None:
        super()._get_preset()
        self.universal_pipeline = pipeline_from_config(self.config)
        pairs = set(pair_field_names(self.universal_pipeline.dims)) & set(self.config["numerical_features"] or ())
        if pairs and self.config["transform"] != "universal":
            raise ValueError(
                f"numerical_features: {sorted(pairs)} depend on user and item together and come with each batch; set "
                f"transform: universal (it is {self.config['transform']})."
            )

    def _load_feat(self, filepath: str, source: Any) -> Any:
        with reading_as_text():
            return super()._load_feat(filepath, source)

    def _fill_nan(self) -> None:
        # RecBole then fills missing values and may normalise; the weights are those of the file.
        self._check_interactions()
        weight_field = self.config["universal_weight_field"]
        weights = self._checked_weights(weight_field) if weight_field else None
        super()._fill_nan()
        self._universal_weights = weights

    def _data_processing(self) -> None:
        super()._data_processing()
        if self._universal_weights is not None:
            self.inter_feat[WEIGHT_FIELD] = self._universal_weights
            self.set_field_property(WEIGHT_FIELD, FeatureType.FLOAT, FeatureSource.INTERACTION, 1)
            del self._universal_weights
        for field, (source, dim) in self._universal_fields().items():
            self._declare(field, source, dim)

    def _reset_index(self) -> None:
        self._check_interactions()  # before RecBole raises an error that names neither table nor reason
        super()._reset_index()

    def _check_interactions(self) -> None:
        if len(self.inter_feat) == 0:
            raise ValueError(
                f"Dataset [{self.dataset_name}] has no interaction left after RecBole's filters; check its .inter "
                "file and the keys val_interval, user_inter_num_interval and item_inter_num_interval."
            )

    def _checked_weights(self, field: str) -> np.ndarray:
        if field not in self.inter_feat:
            raise ValueError(
                f"universal_weight_field: [{field}] is not a loaded field of the interactions of "
                f"[{self.dataset_name}]; loaded are {list(self.inter_feat)} (key load_col adds fields)."
            )
        if self.config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
            raise ValueError(
                "universal_weight_field cannot be used with sequential models: their datasets have no weight of the "
                "items in a history; leave the key empty."
            )
        if self.field2type[field] != FeatureType.FLOAT:
            raise ValueError(
                f"universal_weight_field: field [{field}] of dataset [{self.dataset_name}] is of type "
                f"{self.field2type[field].value}; weights must be of type float."
            )
        weights = np.asarray(self.inter_feat[field], dtype=np.float64)
        bad = np.flatnonzero(~(weights <= np.finfo(np.float32).max) | (weights < 0))
        if len(bad):
            row = self.inter_feat.iloc[int(bad[0])]
            user = str(self.id2token(self.uid_field, int(row[self.uid_field])))
            item = str(self.id2token(self.iid_field, int(row[self.iid_field])))
            raise ValueError(
                f"universal_weight_field: field [{field}] of dataset [{self.dataset_name}] has {len(bad)} values "
                f"that are negative, NaN or infinite, the first ({weights[bad[0]]}) at user {user!r}, item {item!r}. "
                "Weights must be finite and at least 0: filter them with val_interval, or leave the key empty."
            )
        if not weights.any():
            raise ValueError(
                f"universal_weight_field: every value of field [{field}] of dataset [{self.dataset_name}] is 0, which "
                "is no interaction; leave the key empty."
            )
        return weights.copy()

    def field2feats(self, field: str) -> list:
        """See RecBole. The tables have no universal columns until RecBole has prepared the tables.

        Raises:
            ValueError: if ``numerical_features`` names a field that is not loaded.
        """
        universal = self._universal_fields()
        if field in universal:
            return []
        if field not in self.field2type and field in (self.config["numerical_features"] or ()):
            raise ValueError(
                f"numerical_features: [{field}] is no loaded column of dataset [{self.dataset_name}] and no universal "
                f"column of this run, which has {sorted(universal)}."
            )
        return super().field2feats(field)

    def _universal_fields(self) -> dict[str, tuple[FeatureSource, int]]:
        """Universal column -> (source, number of values)."""
        return {
            column(side, family): (_SOURCES[side], dim)
            for family, dims in self.universal_pipeline.dims.items()
            for side, dim in dims.items()
            if dim
        }

    def _declare(self, field: str, source: FeatureSource, dim: int) -> None:
        if field in self.field2type:
            raise ValueError(
                f"Dataset [{self.dataset_name}] has a field [{field}] of its own, which is the name of a universal "
                "column; leave it out with the key unload_col or rename it."
            )
        self.set_field_property(field, FeatureType.FLOAT_SEQ, source, dim)
        self.field2bucketnum[field] = dim + 1

    def _change_feat_format(self) -> None:
        super()._change_feat_format()
        if self.user_feat is None:
            self.user_feat: Interaction = Interaction({self.uid_field: torch.arange(self.user_num)})
        if self.item_feat is None:
            self.item_feat: Interaction = Interaction({self.iid_field: torch.arange(self.item_num)})
        for family, dims in self.universal_pipeline.dims.items():
            self._set_columns(
                family, torch.zeros(self.user_num, dims["user"]), torch.zeros(self.item_num, dims["item"])
            )

    def build(self) -> list:
        """See RecBole; then compute the features of the training split and fill the columns of all splits.

        Returns:
            The training, validation and test dataset.

        Raises:
            ValueError: if the features do not fit the data, or the test split has no interaction of the groups that
                ``eval_users`` and ``eval_items`` name.
        """
        splits = super().build()
        graph = training_graph(splits[0], self.universal_pipeline, content=True)
        self._warn_of_repeated(graph.user_item, splits[1:])
        if {self.config["eval_users"], self.config["eval_items"]} - {None, "all"}:
            splits[-1].inter_feat = splits[-1].inter_feat[rows_to_test(self.config, splits[-1])]
        features = shared_features(self.universal_pipeline, graph, self.config)
        for family, values in features.items():
            self._set_columns(family, torch.as_tensor(values.user), torch.as_tensor(values.item))
        for dataset in (self, *splits):
            dataset.universal = features
        return splits

    def _warn_of_repeated(self, training: sp.csr_matrix, held_out: list) -> None:
        """Warn of pairs in training and another split: candidates are unseen items, so the model misses them."""
        if "proximity" not in self.universal_pipeline.families:
            return
        n_repeated = sum(
            int(training.multiply(training_matrix(split, histories=False)).count_nonzero()) for split in held_out
        )
        if n_repeated:
            remedy = (
                "remove them from the files"
                if self.benchmark_filename_list
                else "rm_dup_inter: first keeps one of each"
            )
            logger.warning(
                "%d pairs of user and item of dataset [%s] are in the training split and in another split. With "
                "proximity, items of the training split rank after all candidates, so nearly all of these pairs are "
                "missed; %s.",
                n_repeated,
                self.dataset_name,
                remedy,
            )

    def _set_columns(self, family: str, user: torch.Tensor, item: torch.Tensor) -> None:
        for side, feat, values in (("user", self.user_feat, user), ("item", self.item_feat, item)):
            if values.shape[1]:
                name = column(side, family)
                feat[name] = self._column_values(name, values)

    def _column_values(self, field: str, values: torch.Tensor) -> torch.Tensor:
        values = values.to(torch.float32)
        if field not in (self.config["numerical_features"] or ()):
            return values
        index = torch.arange(1, values.shape[-1] + 1, dtype=torch.float32, device=values.device)
        return torch.stack([values, index.expand_as(values)], dim=-1)

    def join(self, df: Interaction) -> Interaction:
        """See RecBole; with ``transform: universal``, the batch has pair columns too."""
        joined = super().join(df)
        if self.config["transform"] != "universal" or isinstance(joined, PairInteraction):
            return joined
        return PairInteraction(joined.interaction, self)

    def pair_columns(self, users: torch.Tensor, items: torch.Tensor) -> dict[str, torch.Tensor]:
        """Pair columns of given pairs.

        Args:
            users: internal user ids, int64 [n].
            items: internal item ids, int64 [n].

        Returns:
            Values by column name, float32 [n, dim], or [n, dim, 2] for columns in ``numerical_features``; zeros before
            ``build()``.
        """
        columns = {}
        for name, dim in pair_field_names(self.universal_pipeline.dims).items():
            pair = None if self.universal is None else self.universal[name.removeprefix("pair_")].pair
            values = torch.zeros(len(users), dim) if pair is None else pair(users.cpu(), items.cpu())
            columns[name] = self._column_values(name, values).to(users.device)
        return columns


def pipeline_from_config(config: Any) -> FeaturePipeline:
    """The feature pipeline of a RecBole config.

    Args:
        config: RecBole ``Config`` with the keys of ``properties/overall_universal.yaml``.

    Raises:
        ValueError: if a family or an argument is unknown or out of range.
    """
    return FeaturePipeline(
        config["universal_features"],
        config["universal_feature_args"],
        seed=config["seed"],
        device=config["device"],
        cache_dir=config["universal_cache_dir"],
        cache_gb=config["universal_cache_gb"],
        show_progress=bool(config["show_progress"]),
    )


def training_matrix(dataset: Any, *, histories: bool = True) -> sp.csr_matrix:
    """Interactions of a built dataset as a matrix.

    Args:
        dataset: a built RecBole dataset, one split of the data.
        histories: whether the items of each history of a sequential dataset count too.

    Returns:
        Weights (1, or ``universal_weight_field``), float32 csr [user_num, item_num]. Row and column 0 (padding) are
        empty. Repeated interactions count once; with weights, their weights are added.
    """
    users, items = dataset.inter_feat[dataset.uid_field].numpy(), dataset.inter_feat[dataset.iid_field].numpy()
    weighted = WEIGHT_FIELD in dataset.inter_feat
    weights = dataset.inter_feat[WEIGHT_FIELD].numpy() if weighted else np.ones(len(users), dtype=np.float32)
    history = dataset.iid_field + (dataset.config["LIST_SUFFIX"] or "")
    if histories and history != dataset.iid_field and history in dataset.inter_feat:
        lists = dataset.inter_feat[history].numpy()
        users = np.concatenate([users, np.repeat(users, lists.shape[1])])
        items = np.concatenate([items, lists.ravel()])
        weights = np.ones(len(users), dtype=np.float32)
    known = (users != 0) & (items != 0)
    matrix = sp.csr_matrix(
        (weights[known].astype(np.float32), (users[known], items[known])), shape=(dataset.user_num, dataset.item_num)
    )
    if not weighted:
        matrix.data[:] = 1.0
    return matrix


def training_graph(
    dataset: Any, pipeline: FeaturePipeline, weighted: bool = True, content: bool = False
) -> InteractionGraph:
    """Interactions of a built dataset, one split of the data, with their order if a family reads it.

    Args:
        dataset: the dataset.
        pipeline: computes the features of the graph.
        weighted: whether the weights of ``universal_weight_field`` count.
        content: whether the content of the items belongs to the graph, if the config names any.
    """
    matrix = training_matrix(dataset)
    if not weighted:
        matrix.data[:] = 1.0
    relation = relation_of_dataset(dataset, matrix, list(pipeline.families)) if content else None
    histories = training_histories(dataset) if pipeline.needs_histories else None
    return InteractionGraph(matrix, histories, content=relation)


def universal_dataset_class(base: type) -> type:
    """The class of ``base`` with universal columns, e.g. ``UniversalSequentialDataset``.

    Args:
        base: a RecBole dataset class that can be found by its name in ``recbole.data.dataset``.
    """
    if issubclass(base, UniversalColumns):
        return base
    name = "Universal" + ("" if base.__name__ == "Dataset" else base.__name__.removesuffix("Dataset")) + "Dataset"
    if name not in globals():
        # A class of this module, so that saved datasets find it again by name.
        globals()[name] = type(name, (UniversalColumns, base), {"__module__": __name__, "__doc__": base.__doc__})
    return globals()[name]


def __getattr__(name: str) -> type:
    """Make the class that a pickle names, in a process that has not made it yet."""
    base = None
    if name.startswith("Universal") and name.endswith("Dataset"):
        base = getattr(recbole_datasets, name.removeprefix("Universal"), None)
    if base is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return universal_dataset_class(base)


UniversalDataset = universal_dataset_class(recbole_datasets.Dataset)
