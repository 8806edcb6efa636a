"""Models by name, and the base model of UniversalInterpolation: its class, and its checkpoint if it has one."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from recbole.data import create_dataset
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import ModelType, get_model

from recbole_universal.plugin.dataset import training_matrix
from recbole_universal.plugin.saved_run import changed_config, random_state_of_run, read_checkpoint


def model_named(name: str) -> type:
    """The class of a model of RecBole or of the plugin.

    Raises:
        LookupError: if there is no such class, or it cannot be imported.
    """
    try:
        model = get_model(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise LookupError(name) from error
    if not isinstance(model, type):
        raise LookupError(name)
    return model


def base_class(base_model: str | type | None) -> type:
    """The class of a base model.

    Args:
        base_model: name of a RecBole model, or a class.

    Raises:
        ValueError: if there is no such model or it cannot be wrapped, with the reason.
    """
    if base_model is None:
        raise ValueError(
            "base_model: UniversalInterpolation needs the name of the RecBole model to improve, e.g. base_model: "
            "LightGCN, or base_checkpoint: a file that RecBole saved."
        )
    model: Any = base_model
    if isinstance(base_model, str):
        try:
            model = model_named(base_model)
        except LookupError as error:
            shown = repr(base_model)[1:-1][:100]
            raise ValueError(f"base_model: there is no RecBole model [{shown}], or it cannot be imported.") from error
    name = getattr(model, "__name__", str(model))
    if not (isinstance(model, type) and issubclass(model, AbstractRecommender)) or name in (
        "UniversalInterpolation",
        "UniversalMLP",
        "UniversalSequential",
        "UniversalSASRec",
    ):
        raise ValueError(f"base_model: [{name}] must be another RecBole model, e.g. LightGCN.")
    if getattr(model, "type", None) == ModelType.DECISIONTREE:
        raise ValueError(
            f"base_model: [{name}] cannot be wrapped: a decision-tree model classifies labelled rows and has no "
            "scores of all items for a user."
        )
    return model


def load_base_checkpoint(config: Any, model: Any, dataset: Any) -> None:
    """Load ``base_checkpoint`` into a model, after a check that it was trained on the same training interactions.

    The dataset of the checkpoint is built again from its config. The ids of users and items and all training
    interactions are compared.

    Args:
        config: RecBole ``Config`` of this run.
        model: the model that takes the weights.
        dataset: the training dataset of this run.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if data, split or architecture differ.
    """
    checkpoint = read_checkpoint(config["base_checkpoint"], "base_checkpoint", map_location=config["device"])
    where = f"base_checkpoint: [{config['base_checkpoint']}]"
    _check_same_data(where, _rebuilt_training_data(checkpoint["config"], config), dataset)
    try:
        model.load_state_dict(checkpoint["state_dict"])
        other = checkpoint.get("other_parameter") or {}
        model.load_other_parameter({key: value for key, value in other.items() if key != "universal_interpolation"})
    except RuntimeError as error:
        raise ValueError(
            f"{where} has weights of another architecture than this config describes: {error}\nLeave the keys of the "
            "base model out, and they are taken from the checkpoint."
        ) from error


def _rebuilt_training_data(base_config: Any, config: Any) -> Any:
    """The training dataset of a checkpoint's config, with this run's device and folders."""
    # The data may have been moved since.
    moved = () if os.path.isdir(base_config["data_path"]) else ("data_path",)
    keys = ("device", "checkpoint_dir", "single_spec", "local_rank", *moved)
    base_config = changed_config(base_config, {key: config[key] for key in keys})
    with random_state_of_run(base_config):
        return create_dataset(base_config).build()[0]


def _check_same_data(where: str, base: Any, dataset: Any) -> None:
    """Raise ValueError if two training datasets have other ids or other interactions."""
    for field in (dataset.uid_field, dataset.iid_field):
        if not np.array_equal(base.field2id_token[field], dataset.field2id_token[field]):
            raise ValueError(
                f"{where} was trained on other data: [{base.dataset_name}] with {base.num(field) - 1} ids in the "
                f"column {field}. This run has [{dataset.dataset_name}] with {dataset.num(field) - 1} ids, which are "
                "not the same. Leave out the dataset (--dataset) and its filters (load_col, *_inter_num_interval, "
                "val_interval): they are taken from the checkpoint."
            )
    if (training_matrix(base) != training_matrix(dataset)).nnz:
        raise ValueError(
            f"{where} was trained on another split of the data, so its training data hold interactions that this run "
            "validates or tests on. Use its seed, eval_args and filters: leave those keys out, and they are taken from "
            "the checkpoint."
        )
