"""Makes the plugin visible to stock RecBole. The only file that touches RecBole's look-ups.

Every hook, the RecBole 1.2 function it rests on, and why it is needed:

========================  =====================================================  =====================================
hook                      rests on                                               answers
========================  =====================================================  =====================================
``_add_model``            ``recbole.utils.get_model`` looks a model up as the    RecBole has no entry points; external
                          module ``recbole.model.<kind>.<name in lower case>``   models: RecBole #489, #1975
``_add_model``            ``create_dataset`` prefers ``<Model>Dataset`` on       "
                          ``recbole.data.dataset``
``_load_defaults``        ``Config._update_internal_config_dict`` reads the      keys without a default are ``None``
                          stock yaml files, ``overall.yaml`` first
``_keep_text``            ``Config._convert_config_dict`` evaluates strings      names of models and folders are text
``_load_base``            ``Config._get_model_and_dataset``,                     a wrapped model keeps its own defaults,
                          ``Config._load_internal_config_dict``                  kind and input type
``_tell_of_misspelt``     ``Config._get_final_config_dict`` merges all settings  RecBole takes any key without a word
``_read_pretrained``      ``Config._get_final_config_dict`` merges all settings  features and network of a
                                                                                 pre-trained model are its own
``_add_trainer``          ``recbole.utils.get_trainer`` prefers                  zero-shot has no epoch to train
                          ``<Model>Trainer`` on ``recbole.trainer``
``_add_train_loader``     ``recbole.data.utils.get_dataloader``                  candidate lists are no pairs with
                                                                                 sampled negatives
``_compare_saved``        ``recbole.utils.argument_list.dataset_arguments``      a changed key would silently load the
                          decides whether a saved data set still fits            data set saved before it changed
``_add_transform``        ``recbole.data.transform.construct_transform`` knows   RecBole has one open slot for the
                          a closed list of names                                 whole process (``user_defined``)
``_add_columns``          ``recbole.data.utils.create_dataset`` chooses the      float features without writing a
                          data set class by model                                model: RecBole #1150, #1306, #2043
========================  =====================================================  =====================================

With no universal key set, each hook hands over to the stock function unchanged.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import recbole.config.configurator as configurator
import recbole.data
import recbole.data.dataloader.abstract_dataloader as abstract_dataloader
import recbole.data.dataset as recbole_datasets
import recbole.data.transform
import recbole.data.utils
import recbole.trainer
import yaml
from recbole.utils import ModelType
from recbole.utils.argument_list import dataset_arguments

from recbole_universal.data.dataset import UniversalDataset, universal_dataset_class
from recbole_universal.data.support_query import SupportQueryDataLoader
from recbole_universal.data.transform import UniversalTransform
from recbole_universal.features.pipeline import features_of
from recbole_universal.model.universal_interpolation import UniversalInterpolation, base_class, read_base_checkpoint
from recbole_universal.model.universal_mlp import UniversalMLP
from recbole_universal.pretrained import load_pretrained
from recbole_universal.text_keys import TEXT_KEYS, text_value
from recbole_universal.trainer import UniversalMLPTrainer, interpolation_trainer

# Keys that change what a saved data set or saved data loaders hold.
DATA_KEYS = (
    "universal_features",
    "universal_feature_args",
    "universal_weight_field",
    "numerical_features",  # the form of the columns
    "transform",
    "unseen_users",
    "unseen_items",
    "eval_users",
    "eval_items",
)
# Keys about one run and its machine, which a run that starts from a checkpoint does not take over.
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
    "universal_peers",
)
# User-item pairs in an evaluation batch; RecBole's 4096 means one user a batch.
_EVAL_BATCH_SIZE = 2**19
_MARK = "_recbole_universal"


def register() -> None:
    """Register models, data sets, defaults and the transform with RecBole. Calling it again does nothing."""
    if getattr(configurator.Config, _MARK, False):
        return
    _add_model(UniversalMLP, UniversalDataset)
    _add_model(UniversalInterpolation)
    _add_trainer(UniversalMLP, UniversalMLPTrainer)
    _add_trainer(UniversalInterpolation, interpolation_trainer)
    _add_train_loader()
    _load_defaults()
    _keep_text()
    _load_base()
    _tell_of_misspelt()
    _read_pretrained()
    _compare_saved()
    _add_transform()
    _add_columns()
    setattr(configurator.Config, _MARK, True)


def properties_dir() -> Path:
    """Folder of the yaml defaults: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "properties"
    return installed if installed.is_dir() else package.parent / "properties"


def _add_model(model: type, dataset: type | None = None) -> None:
    # General recommenders are searched first; after the last kind RecBole reports an unrelated import error.
    name = f"recbole.model.general_recommender.{model.__name__.lower()}"
    module = types.ModuleType(name, doc=model.__doc__)
    module.__spec__ = ModuleSpec(name, loader=None, origin=model.__module__)
    setattr(module, model.__name__, model)
    sys.modules[name] = module
    if dataset:
        setattr(recbole_datasets, f"{model.__name__}Dataset", dataset)


def _load_defaults() -> None:
    stock = configurator.Config._update_internal_config_dict

    @functools.wraps(stock)
    def update(self, file):
        loaded = stock(self, file)
        if os.path.basename(file) == "overall.yaml":
            stock(self, str(properties_dir() / "overall_universal.yaml"))
            own = properties_dir() / "model" / f"{self.model}.yaml"
            if own.is_file():  # before a base model's own, whose keys are others
                stock(self, str(own))
        return loaded

    configurator.Config._update_internal_config_dict = update


def _keep_text() -> None:
    stock = configurator.Config._convert_config_dict  # evaluates every text

    @functools.wraps(stock)
    def convert_config_dict(self, given):
        text = {key: text_value(given[key]) for key in TEXT_KEYS & given.keys() if isinstance(given[key], str)}
        given.update(stock(self, {key: value for key, value in given.items() if key not in text}))
        given.update(text)
        return given

    configurator.Config._convert_config_dict = convert_config_dict


def _load_base() -> None:
    stock_names = configurator.Config._get_model_and_dataset
    stock_defaults = configurator.Config._load_internal_config_dict

    @functools.wraps(stock_names)
    def get_model_and_dataset(self, model, dataset):
        name = model if model is not None else self.external_config_dict.get("model")
        if name != UniversalInterpolation.__name__ and name is not UniversalInterpolation:
            return stock_names(self, model, dataset)
        _take_over_checkpoint(self.external_config_dict)
        base = base_class(self.external_config_dict.get("base_model"))
        _, _, dataset = stock_names(self, base, dataset)
        return UniversalInterpolation.__name__, base, dataset

    @functools.wraps(stock_defaults)
    def load_internal_config_dict(self, model, model_class, dataset):
        if model != UniversalInterpolation.__name__:
            return stock_defaults(self, model, model_class, dataset)
        stock_defaults(self, model_class.__name__, model_class, dataset)
        if model_class.type != ModelType.SEQUENTIAL:  # there the key counts users, not pairs
            self.internal_config_dict["eval_batch_size"] = _EVAL_BATCH_SIZE

    configurator.Config._get_model_and_dataset = get_model_and_dataset
    configurator.Config._load_internal_config_dict = load_internal_config_dict


@functools.cache  # read when first asked for, not on import
def _own_keys() -> frozenset[str]:
    files = [properties_dir() / "overall_universal.yaml", *(properties_dir() / "model").glob("*.yaml")]
    return frozenset(key for file in files for key in yaml.safe_load(file.read_text(encoding="utf-8")))


def _tell_of_misspelt() -> None:
    stock = configurator.Config._get_final_config_dict

    @functools.wraps(stock)
    def get_final_config_dict(self):
        for key in self.external_config_dict.keys() - self.internal_config_dict.keys() - _own_keys():
            near = difflib.get_close_matches(str(key), _own_keys(), 1, cutoff=0.85)
            if near:
                message = f"Nothing reads the config key [{key}]; did you mean [{near[0]}]?"
                if str(self.model).startswith("Universal"):
                    raise ValueError(message)  # the run would not be the one that was asked for
                warnings.warn(message, stacklevel=2)
        return stock(self)

    configurator.Config._get_final_config_dict = get_final_config_dict


def _take_over_checkpoint(given: dict) -> None:
    """Add the settings that the model of ``base_checkpoint`` was run with, where the user gives none."""
    if not given.get("base_checkpoint"):
        return
    config = read_base_checkpoint(given["base_checkpoint"], map_location="cpu")["config"]
    name = given.get("base_model", config["model"])
    if (name if isinstance(name, str) else name.__name__) != config["model"]:
        raise ValueError(
            f"base_model: [{name}] is set, but base_checkpoint [{given['base_checkpoint']}] holds a model of the kind "
            f"[{config['model']}]. Leave base_model out."
        )
    taken = {key: value for key, value in config.external_config_dict.items() if key not in _RUN_KEYS}
    for key, value in {**taken, "base_model": config["model"], "dataset": config["dataset"]}.items():
        given.setdefault(key, value)


def _read_pretrained() -> None:
    stock = configurator.Config._get_final_config_dict

    @functools.wraps(stock)
    def final_config_dict(self):
        final = stock(self)
        if self.model == UniversalMLP.__name__ and final["train_stage"] in ("zero_shot", "finetune"):
            final.update(_pretrained_settings(final, self.external_config_dict))
        return final

    configurator.Config._get_final_config_dict = final_config_dict


def _pretrained_settings(config: dict, given: dict) -> dict:
    """Features and network of the pre-trained model; a different setting of the user's is a contradiction."""
    schema = load_pretrained(config["pretrained"]).schema
    names, arguments = features_of(schema["features"])
    settings = {"universal_features": names, "universal_feature_args": arguments, **schema["network"]}
    for key, value in settings.items():
        if key in given and given[key] != value and not (key == "universal_feature_args" and not given[key]):
            raise ValueError(
                f"{key}: {given[key]!r} is set, but the pre-trained model [{config['pretrained']}] was made with "
                f"{value!r}. Leave the key out, or set train_stage: in_domain to train a model of your own."
            )
    return settings


def _add_trainer(model: type, trainer: Callable) -> None:
    setattr(recbole.trainer, f"{model.__name__}Trainer", trainer)


def _add_train_loader() -> None:
    stock = recbole.data.utils.get_dataloader

    @functools.wraps(stock)
    def get_dataloader(config, phase):
        if config["model"] == UniversalInterpolation.__name__:
            return stock({**config.final_config_dict, "model": base_class(config["base_model"]).__name__}, phase)
        if phase == "train" and config["model"] == UniversalMLP.__name__:
            if _asks_for_proximity(config):
                return SupportQueryDataLoader
            if config["unseen_users"] or config["unseen_items"]:
                raise ValueError(
                    "unseen_users, unseen_items: without the family proximity training draws negative items from the "
                    "whole catalogue, so no item stays unseen; add proximity to universal_features."
                )
        return stock(config, phase)

    recbole.data.utils.get_dataloader = get_dataloader


def _compare_saved() -> None:
    dataset_arguments.extend(key for key in DATA_KEYS if key not in dataset_arguments)


def _add_transform() -> None:
    stock = recbole.data.transform.construct_transform

    @functools.wraps(stock)
    def construct_transform(config):
        return UniversalTransform(config) if config["transform"] == "universal" else stock(config)

    _rebind(stock, construct_transform, recbole.data.transform, abstract_dataloader)


def _asks_for_proximity(config) -> bool:
    families = config["universal_features"]
    return isinstance(families, list) and "proximity" in families  # a wrong type is refused where families are read


def _add_columns() -> None:
    stock = recbole.data.utils.create_dataset

    @functools.wraps(stock)
    def create_dataset(config):
        if not config["universal_features"]:
            if config["transform"] == "universal":
                UniversalTransform(config)  # raises: it says which key is missing
            if config["model"] == UniversalInterpolation.__name__:
                with _dataset_class(config, _stock_dataset_class(config)):
                    return stock(config)
            return stock(config)
        if _asks_for_proximity(config) and config["model"] != UniversalMLP.__name__:
            raise ValueError(
                f"universal_features: proximity has no columns, so the model [{config['model']}] cannot use it (a "
                "training interaction's own proximity would contain itself); valid for other models than UniversalMLP: "
                "activity, cooccurrence, interaction."
            )
        with _dataset_class(config, universal_dataset_class(_stock_dataset_class(config))):
            return stock(config)

    _rebind(stock, create_dataset, recbole.data.utils, recbole.data)


@contextlib.contextmanager
def _dataset_class(config, found: type) -> Iterator[None]:
    """For the length of one call, let RecBole find a class as ``<Model>Dataset``."""
    name = f"{config['model']}Dataset"
    had = getattr(recbole_datasets, name, None)
    setattr(recbole_datasets, name, found)
    try:
        yield
    finally:
        if had is None:
            delattr(recbole_datasets, name)
        else:
            setattr(recbole_datasets, name, had)


def _stock_dataset_class(config) -> type:
    """The class that RecBole would take for the model, or for the base of an interpolation."""
    name = config["model"]
    if name == UniversalInterpolation.__name__:
        name = base_class(config["base_model"]).__name__
    by_type = {ModelType.SEQUENTIAL: "SequentialDataset", ModelType.KNOWLEDGE: "KnowledgeBasedDataset"}
    if config["MODEL_TYPE"] == ModelType.DECISIONTREE:
        raise ValueError(
            "universal_features cannot be used with decision-tree models (XGBoost, LightGBM): they read scalar "
            "columns only. Leave the key empty."
        )
    named = getattr(recbole_datasets, f"{name}Dataset", None)
    return named or getattr(recbole_datasets, by_type.get(config["MODEL_TYPE"], "Dataset"))


def _rebind(stock: Callable, ours: Callable, *modules: types.ModuleType) -> None:
    """Put ``ours`` where the modules, and quick_start once it is there, hold ``stock`` by name."""
    quick_start = importlib.import_module("recbole.quick_start.quick_start")
    for module in (*modules, quick_start):
        setattr(module, stock.__name__, ours)
