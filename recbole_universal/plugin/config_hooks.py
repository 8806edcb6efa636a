"""Hooks into RecBole's `Config`: defaults, valid values of keys, settings of a checkpoint.

Each public function replaces the method of `Config` that has its name. Its first argument is that method.
"""

from __future__ import annotations

import difflib
import functools
import os
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from recbole.config import Config
from recbole.utils import ModelType
from recbole.utils.argument_list import dataset_arguments

from recbole_universal.features.pipeline import features_of
from recbole_universal.plugin import sasrec_settings, settings
from recbole_universal.plugin.base_model import base_class
from recbole_universal.plugin.pretrained_model import pretrained_model
from recbole_universal.plugin.saved_run import read_checkpoint
from recbole_universal.plugin.universal_interpolation import UniversalInterpolation
from recbole_universal.plugin.universal_model import UNIVERSAL_MODELS

# Keys about one run and its machine. A run that starts from a checkpoint does not take them over.
_RUN_KEYS = (
    "model",
    "gpu_id",
    "device",
    "use_gpu",
    "show_progress",
    "state",
    "checkpoint_dir",
    "config_files",
    "world_size",
    "nproc",
    "local_rank",
    "offset",
    "ip",
    "port",
    "eval_batch_size",
    "universal_baselines",
)
# User-item pairs in an evaluation batch; RecBole's 4096 means one user a batch.
_EVAL_BATCH_SIZE = 2**19


def properties_dir() -> Path:
    """Folder of the yaml defaults: inside the installed package, or next to it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "properties"
    return installed if installed.is_dir() else package.parent / "properties"


def update_internal_config_dict(stock: Callable, config: Config, file: str) -> dict[str, Any] | None:
    """RecBole's defaults of one file, and after `overall.yaml` the plugin's."""
    loaded = stock(config, file)
    if os.path.basename(file) == "overall.yaml":
        stock(config, str(properties_dir() / "overall_universal.yaml"))
        defaults = properties_dir() / "model" / f"{config.model}.yaml"
        if defaults.is_file():  # before the defaults of a base model, which have other keys
            stock(config, str(defaults))
    return loaded


def load_internal_config_dict(stock: Callable, config: Config, model: str, model_class: Any, dataset: str) -> None:
    """The defaults of a model. An interpolation takes the defaults of its base model."""
    if model != UniversalInterpolation.__name__:
        stock(config, model, model_class, dataset)
        return
    stock(config, model_class.__name__, model_class, dataset)
    if model_class.type != ModelType.SEQUENTIAL:  # there the key counts users, not pairs
        config.internal_config_dict["eval_batch_size"] = _EVAL_BATCH_SIZE


# Plugin keys that the command line or `config_dict` gives as text, until the model is known that says what they mean.
_TEXT_KEYS: weakref.WeakKeyDictionary[Config, set[str]] = weakref.WeakKeyDictionary()


def convert_config_dict(stock: Callable, config: Config, config_dict: dict[str, Any]) -> dict[str, Any]:
    """RecBole evaluates every text as Python; texts of the plugin's keys wait for :func:`get_model_and_dataset`."""
    texts = {k: v for k, v in config_dict.items() if k in settings.PLUGIN_KEYS and isinstance(v, str)}
    config_dict.update(stock(config, {key: value for key, value in config_dict.items() if key not in texts}))
    _TEXT_KEYS.setdefault(config, set()).update(texts)
    return config_dict


def get_model_and_dataset(
    stock: Callable, config: Config, model: str | type | None, dataset: str | None
) -> tuple[str, type, str]:
    """Names and class of the model. An interpolation has the class of its base model."""
    given = config.external_config_dict
    name = model if model is not None else given.get("model")
    keys = settings.PLUGIN_KEYS if settings.is_ours(name) else settings.KEYS
    convert = Config._convert_config_dict.__wrapped__  # type: ignore[attr-defined]  # RecBole's own
    for key in _TEXT_KEYS.pop(config, set()):
        text = given[key]
        given[key] = settings.from_text(key, text) if key in keys else convert(config, {key: text})[key]
    if name != UniversalInterpolation.__name__ and name is not UniversalInterpolation:
        return stock(config, model, dataset)
    _take_over_checkpoint(given)
    base = base_class(given.get("base_model"))
    _, _, dataset = stock(config, base, dataset)
    return UniversalInterpolation.__name__, base, dataset


def get_final_config_dict(stock: Callable, config: Config) -> dict[str, Any]:
    """All settings. The plugin's keys are checked, and each value is normalised."""
    _warn_of_misspelt(config)
    compare_saved()
    final = stock(config)
    read = settings.read(final, config.model)
    final.update(read)
    given = config.external_config_dict
    given.update((key, read[key]) for key in read.keys() & given.keys())
    if config.model in UNIVERSAL_MODELS and final["train_stage"] in ("zero_shot", "finetune"):
        final.update(_pretrained_settings(final, given))
    if config.model == "UniversalSASRec" and final["train_stage"] in ("zero_shot", "finetune"):
        final.update(sasrec_settings.pretrained_settings(final, given))
        sasrec_settings.check_together(final)
    return final


def compare_saved() -> None:
    """Make RecBole compare the plugin's data keys too, when it decides whether a saved dataset still fits."""
    dataset_arguments.extend(key for key in settings.DATA_KEYS if key not in dataset_arguments)


@functools.cache  # so that the import reads no file
def _plugin_keys() -> frozenset[str]:
    files = [properties_dir() / "overall_universal.yaml", *(properties_dir() / "model").glob("*.yaml")]
    return frozenset(key for file in files for key in yaml.safe_load(file.read_text(encoding="utf-8")))


def _warn_of_misspelt(config) -> None:
    is_ours = settings.is_ours(config.model)
    known = _plugin_keys() if is_ours else settings.KEYS.keys()  # another model may read a similar key of its own
    for key in config.external_config_dict.keys() - config.internal_config_dict.keys() - _plugin_keys():
        near = difflib.get_close_matches(str(key), known, 1, cutoff=0.85)
        if near:
            message = f"Nothing reads the config key [{key}]; did you mean [{near[0]}]?"
            if is_ours:
                raise ValueError(message)  # the run would ignore a setting of the user
            warnings.warn(message, stacklevel=5)


def _take_over_checkpoint(given: dict) -> None:
    """Take over the settings of the run that saved ``base_checkpoint``, where the user gives none."""
    keys = settings.MODEL_KEYS[UniversalInterpolation.__name__]
    if not settings.value("base_checkpoint", given.get("base_checkpoint"), keys):
        return
    config = read_checkpoint(given["base_checkpoint"], "base_checkpoint", map_location="cpu")["config"]
    name = given.get("base_model", config["model"])
    if (name if isinstance(name, str) else name.__name__) != config["model"]:
        raise ValueError(
            f"base_model: [{name}] is set, but base_checkpoint [{given['base_checkpoint']}] holds a model of the kind "
            f"[{config['model']}]. Leave base_model out."
        )
    taken = {key: value for key, value in config.external_config_dict.items() if key not in _RUN_KEYS}
    for key, value in {**taken, "base_model": config["model"], "dataset": config["dataset"]}.items():
        given.setdefault(key, value)


def _pretrained_settings(config: dict, given: dict) -> dict:
    """Features and network of the pre-trained model. A different setting of the user is an error."""
    schema = pretrained_model(config["pretrained"]).schema
    names, arguments = features_of(schema["features"])
    settings_of_model = {"universal_features": names, "universal_feature_args": arguments, **schema["network"]}
    for key, value in settings_of_model.items():
        if key in given and given[key] != value and not (key == "universal_feature_args" and not given[key]):
            raise ValueError(
                f"{key}: {given[key]!r} is set, but the pre-trained model [{config['pretrained']}] was made with "
                f"{value!r}. Leave the key out, or set train_stage: in_domain to train a model of your own."
            )
    return settings_of_model
