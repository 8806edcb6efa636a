"""Hooks into RecBole's functions that make datasets, samplers, loaders and transforms.

Each hook replaces the RecBole function that has its name. Its first argument is that function.
"""

from __future__ import annotations

from collections.abc import Callable

import recbole.data.dataset as recbole_datasets
import recbole.data.utils
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.utils import ModelType

from recbole_universal.plugin import settings
from recbole_universal.plugin.atomic_file import reading_as_text
from recbole_universal.plugin.base_model import base_class
from recbole_universal.plugin.config_hooks import compare_saved
from recbole_universal.plugin.dataset import UniversalDataset, universal_dataset_class
from recbole_universal.plugin.dataset_checks import (
    checked_dataset,
    checks_all_models,
    model_class,
    warn_of_threshold,
    warn_of_unread,
)
from recbole_universal.plugin.loader import CandidateListDataLoader
from recbole_universal.plugin.sampler import SeenItemsSampler
from recbole_universal.plugin.swapped import swapped
from recbole_universal.plugin.transform import UniversalTransform
from recbole_universal.plugin.universal_interpolation import UniversalInterpolation
from recbole_universal.plugin.universal_mlp import UniversalMLP
from recbole_universal.plugin.universal_model import UNIVERSAL_MODELS
from recbole_universal.ranking.network import CANDIDATE_FAMILIES


def get_dataloader(stock: Callable, config: Config, phase: str) -> type:
    """Class of the loader: for candidate lists that of the plugin, otherwise that of RecBole."""
    if config["model"] == UniversalInterpolation.__name__:
        return stock({**config.final_config_dict, "model": base_class(config["base_model"]).__name__}, phase)
    if phase == "train" and config["model"] in UNIVERSAL_MODELS:
        if _candidate_families(config):
            return CandidateListDataLoader
        if config["unseen_users"] or config["unseen_items"]:
            raise ValueError(
                "unseen_users, unseen_items: without the family proximity training draws negative items from the "
                "whole catalogue, so no item stays unseen; add proximity to universal_features."
            )
    return stock(config, phase)


def create_samplers(stock: Callable, config: Config, dataset: Dataset, built_datasets: list[Dataset]) -> tuple:
    """Samplers that accept users with all items, if the run draws no negative items."""
    try:
        return stock(config, dataset, built_datasets)
    except ValueError:  # a user has interacted with all items, so RecBole's sampler has no negative to draw
        if _draws_negatives(config):
            raise
        with swapped(recbole.data.utils, "Sampler", SeenItemsSampler):  # this sampler only lists the user's items
            return stock(config, dataset, built_datasets)


def create_dataset(stock: Callable, config: Config) -> Dataset:
    """A dataset with the universal columns that the config asks for.

    RecBole looks up the class by the model's name, so our class has that name for the length of the call.
    """
    compare_saved()
    # The config may be of an older checkpoint, or changed since it was made.
    config.final_config_dict.update(settings.read(config.final_config_dict, config["model"]))
    if not config["universal_features"]:
        if config["transform"] == "universal":
            UniversalTransform(config)  # raises an error that names the missing key
        if config["model"] != UniversalInterpolation.__name__:
            if settings.is_ours(config["model"]):
                with reading_as_text():  # a quote in a title is a character
                    return checked_dataset(config, stock)
            return checked_dataset(config, stock) if checks_all_models() else stock(config)
        dataset_class = _stock_dataset_class(config)
    else:
        _check_candidate_families(config)
        if config["model"] not in UNIVERSAL_MODELS:
            warn_of_unread(config)
        dataset_class = universal_dataset_class(_stock_dataset_class(config))
    with swapped(recbole_datasets, f"{config['model']}Dataset", dataset_class):
        dataset = checked_dataset(config, stock)
    warn_of_threshold(config)
    return dataset


def construct_transform(stock: Callable, config: Config) -> Callable:
    """`transform: universal`; RecBole knows a closed list of names."""
    return UniversalTransform(config) if config["transform"] == "universal" else stock(config)


def _draws_negatives(config: Config) -> bool:
    if config["model"] not in UNIVERSAL_MODELS:
        return True
    trained = config["train_stage"] != "zero_shot" and not _candidate_families(config)
    return trained or any(mode not in ("full", "labeled") for mode in config["eval_args"]["mode"].values())


def _candidate_families(config: Config) -> list[str]:
    """The families of the config that make candidates."""
    return [family for family in config["universal_features"] or () if family in CANDIDATE_FAMILIES]


def _check_candidate_families(config: Config) -> None:
    """Refuse a family that makes candidates where the model does not rank its candidates."""
    found, families = _candidate_families(config), config["universal_features"]
    if config["model"] == "UniversalSequential":
        if families != ["sequence"]:
            raise ValueError(
                f"universal_features: UniversalSequential reads the family [sequence] alone, not {families}."
            )
    elif "sequence" in found:
        raise ValueError(
            f"universal_features: the family sequence describes histories in order, which the model "
            f"[{config['model']}] does not read; set model: UniversalSequential, or use other families."
        )
    elif found and config["model"] != UniversalMLP.__name__:
        raise ValueError(
            f"universal_features: proximity has no columns, so the model [{config['model']}] cannot use it (a "
            "training interaction's own proximity would contain itself); valid for other models than UniversalMLP: "
            "activity, cooccurrence, interaction."
        )


def _stock_dataset_class(config: Config) -> type:
    """Dataset class that RecBole takes for the model, or for the base model of an interpolation."""
    name = model_class(config).__name__
    by_type = {ModelType.SEQUENTIAL: "SequentialDataset", ModelType.KNOWLEDGE: "KnowledgeBasedDataset"}
    if config["MODEL_TYPE"] == ModelType.DECISIONTREE:
        raise ValueError(
            "universal_features cannot be used with decision-tree models (XGBoost, LightGBM): they read scalar "
            "columns only. Leave the key empty."
        )
    if name == UniversalMLP.__name__:
        return UniversalDataset
    named = getattr(recbole_datasets, f"{name}Dataset", None)
    return named or getattr(recbole_datasets, by_type.get(config["MODEL_TYPE"], "Dataset"))
