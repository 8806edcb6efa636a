"""Configs of the baselines of a run (key ``universal_baselines``)."""

from __future__ import annotations

import contextlib
import copy
import logging
import sys
from collections.abc import Iterator
from typing import Any

from recbole.config import Config
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import ModelType
from recbole.utils.argument_list import dataset_arguments, evaluation_arguments, general_arguments

from recbole_universal.plugin.base_model import base_class, model_named
from recbole_universal.plugin.settings import DATA_KEYS, PLUGIN_KEYS
from recbole_universal.plugin.universal_model import UNIVERSAL_MODELS

logger = logging.getLogger(__name__)


def baseline_configs(config: Config) -> dict[str, Config]:
    """RecBole ``Config`` of each model of ``universal_baselines`` other than the chosen model, by its name.

    Raises:
        ValueError: If a baseline cannot run on this data and split. The check comes before any model is trained.
    """
    names = [name for name in config["universal_baselines"] if name != config["model"]]
    if names and {config["eval_users"], config["eval_items"]} - {None, "all"}:
        logger.warning(
            "eval_users, eval_items: only UniversalMLP is tested on a part of the test interactions, so "
            "there is no row of %s.",
            names,
        )
        return {}
    return {name: _baseline_config(name, config) for name in names}


def _baseline_config(name: str, config: Config) -> Config:
    try:
        model = model_named(name)
    except LookupError as error:
        raise ValueError(
            f"universal_baselines: there is no model [{name}], or it cannot be imported; give a list of names of "
            "RecBole's models, e.g. ['Pop', 'ItemKNN']."
        ) from error
    keys = _baseline_keys(config, model)
    try:
        with _no_arguments():
            baseline = Config(name, config["dataset"], config_dict=keys)
    except (ValueError, NotImplementedError, TypeError) as error:
        raise ValueError(f"universal_baselines: [{name}] cannot be run on this data and split: {error}") from error
    if baseline["MODEL_TYPE"] == ModelType.SEQUENTIAL and baseline["eval_args"]["order"] != "TO":
        raise ValueError(
            f"universal_baselines: the sequential model [{name}] needs a split in time, and eval_args has order: "
            f"{baseline['eval_args']['order']}; set order: TO, or leave the model out."
        )
    return baseline


def _baseline_keys(config: Config, model: type[AbstractRecommender]) -> dict[str, Any]:
    """Keys that a baseline shares with the chosen model: data, split, evaluation and device.

    All other keys, such as those of training, keep the baseline's defaults. The universal models also take the key
    ``pretrained``. The base model of an interpolation is trained as for the mixture.
    """
    given = config.external_config_dict
    if config["model"] == "UniversalInterpolation" and model is base_class(config["base_model"]):
        return copy.deepcopy(
            {key: value for key, value in given.items() if key not in {*PLUGIN_KEYS, "model", "dataset"}}
        )
    shared = [*dataset_arguments, *("eval_args", "metrics", "topk", "valid_metric", "metric_decimal_place")]
    keys = {key: config[key] for key in shared if key not in DATA_KEYS and config[key] is not None}
    of_the_run = {*general_arguments, *evaluation_arguments, *dataset_arguments, "encoding", "benchmark_filename"}
    of_the_model = {*DATA_KEYS, "save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path"}
    if model.__name__ in UNIVERSAL_MODELS:
        of_the_run |= {"pretrained", "universal_cache_dir"}
    keys |= {key: value for key, value in given.items() if key in of_the_run - of_the_model}
    if model.type == ModelType.SEQUENTIAL and not hasattr(model, "input_type"):
        keys["train_neg_sample_args"] = None  # RecBole demands this with the default loss CE
    return copy.deepcopy(keys)


@contextlib.contextmanager
def _no_arguments() -> Iterator[None]:
    """Remove the arguments of the command line, since each ``Config`` reads every ``--key=value`` of the process."""
    arguments = sys.argv
    sys.argv = arguments[:1]
    try:
        yield
    finally:
        sys.argv = arguments
