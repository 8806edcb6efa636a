"""Checks of a dataset against the config keys, with sentences instead of RecBole's errors."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.model.abstract_recommender import ContextRecommender
from recbole.model.layers import ContextSeqEmbLayer
from recbole.utils import ModelType

from recbole_universal.features.fields import column
from recbole_universal.plugin.atomic_file import reading_checked
from recbole_universal.plugin.base_model import base_class
from recbole_universal.plugin.dataset import pipeline_from_config
from recbole_universal.plugin.swapped import swapped
from recbole_universal.plugin.universal_interpolation import UniversalInterpolation
from recbole_universal.plugin.universal_mlp import UniversalMLP

logger = logging.getLogger(__name__)

# Whether the datasets of RecBole's models are checked, too.
_checks_all = False


@contextlib.contextmanager
def checking_all_models() -> Iterator[None]:
    """Extend the checks of the files, and of the keys about them, to RecBole's models."""
    with swapped(sys.modules[__name__], "_checks_all", True), reading_checked():
        yield


def checked_dataset(config: Config, stock: Callable) -> Dataset:
    """The dataset. An error names the key and the part of the data that contradict each other."""
    threshold = config["threshold"] or {}
    try:
        dataset = stock(config)
    except ValueError as error:
        for field in threshold:
            if f"[{field}] not in inter_feat" in str(error):
                raise ValueError(_not_loaded(config, f"threshold: {threshold}", field)) from error
        for field in config["val_interval"] or {}:
            if f"[{field}] not defined in dataset" in str(error):
                what = f"val_interval: {config['val_interval']}"
                raise ValueError(_not_loaded(config, what, field)) from error
        raise
    if _checks_all and len(dataset.inter_feat) < 2:  # RecBole counts operations at the second one
        raise ValueError(
            f"Dataset [{config['dataset']}] has one interaction after RecBole's filters; a run needs at least two, to "
            "train and to test."
        )
    _check_labels(config, dataset)
    needed = config["eval_args"]["order"] == "TO" and not config["benchmark_filename"]
    if needed and dataset.time_field not in dataset.inter_feat:
        raise ValueError(_not_loaded(config, "eval_args: {order: TO}", dataset.time_field))
    return dataset


def _check_labels(config: Config, dataset: Dataset) -> None:
    """A context-aware model that draws no negative items learns from labels of both kinds."""
    drawn = (config["train_neg_sample_args"] or {}).get("distribution", "none") != "none"
    if config["MODEL_TYPE"] != ModelType.CONTEXT or drawn:
        return
    label = dataset.label_field
    if label not in dataset.inter_feat:
        raise ValueError(
            f"threshold: [{model_class(config).__name__}] learns from labels, and the dataset [{config['dataset']}] "
            f"has no column [{label}] (key LABEL_FIELD); make labels of a loaded column, e.g. threshold: {{rating: 4}}."
        )
    of_two = {metric.lower() for metric in config["metrics"]} & {"auc", "gauc"}
    labels = dataset.inter_feat[label]
    if of_two and labels.min() == labels.max():
        raise ValueError(
            f"threshold: with {config['threshold']} every row of dataset [{config['dataset']}] has the label "
            f"{int(labels.max())}; {sorted(of_two)} (key metrics) need rows of both kinds."
        )


def _not_loaded(config: Config, what: str, field: str) -> str:
    loaded = [config["USER_ID_FIELD"], config["ITEM_ID_FIELD"], field]
    return (
        f"{what} needs the field [{field}], which is not loaded from the .inter file of dataset "
        f"[{config['dataset']}]; load it with load_col: {{inter: [{', '.join(map(str, loaded))}]}}."
    )


def warn_of_threshold(config: Config) -> None:
    """Warn if a model that reads no labels is given a threshold, which keeps all rows as positives."""
    general = config["MODEL_TYPE"] in (ModelType.GENERAL, ModelType.TRADITIONAL)
    if not general or not config["threshold"] or not set(config["eval_args"]["mode"].values()) - {"labeled"}:
        return
    if config["model"] not in (UniversalMLP.__name__, UniversalInterpolation.__name__):
        return
    logger.warning(
        "threshold: %s labels the rows of dataset [%s] and keeps them all; %s reads no labels, so every row counts "
        "as a positive. val_interval with load_col keeps the rows of high values alone.",
        config["threshold"],
        config["dataset"],
        config["model"],
    )


def warn_of_unread(config: Config) -> None:
    """Warn if a model computes universal columns and reads none; refuse columns that it would misread.

    RecBole's context-aware models and its models with ``ContextSeqEmbLayer`` read ``numerical_features``. Its other
    models read no float columns. Models outside RecBole are not checked.
    """
    model = model_class(config)
    dims = pipeline_from_config(config).dims
    columns = {column(side, family) for family, sides in dims.items() for side, dim in sides.items() if dim}
    layers = vars(sys.modules[model.__module__]).values()
    if issubclass(model, ContextRecommender) or any(layer is ContextSeqEmbLayer for layer in layers):
        if not columns & set(config["numerical_features"] or ()):
            logger.warning(
                "universal_features: [%s] reads none of the columns %s: name those that it shall read in "
                "numerical_features.",
                model.__name__,
                sorted(columns),
            )
    elif model.__module__.startswith("recbole.model."):
        for key, value in config.final_config_dict.items():
            named = columns & {one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)}
            if named and key != "numerical_features":
                raise ValueError(
                    f"{key}: {sorted(named)} are universal columns, which hold several numbers, and [{model.__name__}] "
                    "cannot read such; context-aware models (FM, DeepFM, DCN, ...), DIN and DIEN can."
                )
        logger.warning(
            "universal_features: [%s] reads no columns, so they are computed and change nothing. Context-aware models "
            "(FM, DeepFM, DCN, ...), DIN and DIEN read those named in numerical_features, UniversalMLP reads all.",
            model.__name__,
        )


def model_class(config: Config) -> type:
    """Class of the model, or of the base model of an interpolation."""
    if config["model"] == UniversalInterpolation.__name__:
        return base_class(config["base_model"])
    return config.model_class


def checks_all_models() -> bool:
    """Whether :func:`checking_all_models` is in effect."""
    return _checks_all
