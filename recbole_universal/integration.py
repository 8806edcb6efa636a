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
import functools
import importlib
import os
import sys
import types
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
from recbole.utils import ModelType
from recbole.utils.argument_list import dataset_arguments

from recbole_universal.data.dataset import UniversalDataset, universal_dataset_class
from recbole_universal.data.support_query import SupportQueryDataLoader
from recbole_universal.data.transform import UniversalTransform
from recbole_universal.model.universal_mlp import UniversalMLP
from recbole_universal.pretrained import load_pretrained
from recbole_universal.trainer import UniversalMLPTrainer

# Keys that change what a saved data set or saved data loaders hold.
DATA_KEYS = (
    "universal_features",
    "universal_feature_args",
    "universal_weight_field",
    "numerical_features",  # the form of the columns
    "transform",
)
_MARK = "_recbole_universal"


def register() -> None:
    """Register models, data sets, defaults and the transform with RecBole. Calling it again does nothing."""
    if getattr(configurator.Config, _MARK, False):
        return
    _add_model(UniversalMLP, UniversalDataset)
    _add_trainer(UniversalMLP, UniversalMLPTrainer)
    _add_train_loader()
    _load_defaults()
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


def _add_model(model: type, dataset: type) -> None:
    # General recommenders are searched first; after the last kind RecBole reports an unrelated import error.
    name = f"recbole.model.general_recommender.{model.__name__.lower()}"
    module = types.ModuleType(name, doc=model.__doc__)
    module.__spec__ = ModuleSpec(name, loader=None, origin=model.__module__)
    setattr(module, model.__name__, model)
    sys.modules[name] = module
    setattr(recbole_datasets, f"{model.__name__}Dataset", dataset)


def _load_defaults() -> None:
    stock = configurator.Config._update_internal_config_dict

    @functools.wraps(stock)
    def update(self, file):
        loaded = stock(self, file)
        if os.path.basename(file) == "overall.yaml":
            stock(self, str(properties_dir() / "overall_universal.yaml"))
            own = properties_dir() / "model" / f"{self.model}.yaml"
            if own.is_file():
                stock(self, str(own))
        return loaded

    configurator.Config._update_internal_config_dict = update


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
    features = schema["features"]
    arguments = {family["name"]: family["args"] for family in features["families"]}
    if "node2vec" in features:
        arguments["node2vec"] = features["node2vec"]
    settings = {
        "universal_features": [family["name"] for family in features["families"]],
        "universal_feature_args": arguments,
        **schema["network"],
    }
    for key, value in settings.items():
        if key in given and given[key] != value and not (key == "universal_feature_args" and not given[key]):
            raise ValueError(
                f"{key}: {given[key]!r} is set, but the pre-trained model [{config['pretrained']}] was made with "
                f"{value!r}. Leave the key out, or set train_stage: in_domain to train a model of your own."
            )
    return settings


def _add_trainer(model: type, trainer: type) -> None:
    setattr(recbole.trainer, f"{model.__name__}Trainer", trainer)


def _add_train_loader() -> None:
    stock = recbole.data.utils.get_dataloader

    @functools.wraps(stock)
    def get_dataloader(config, phase):
        if phase == "train" and config["model"] == UniversalMLP.__name__:
            if _asks_for_proximity(config):
                return SupportQueryDataLoader
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
            return stock(config)
        if _asks_for_proximity(config) and config["model"] != UniversalMLP.__name__:
            raise ValueError(
                f"universal_features: proximity has no columns, so the model [{config['model']}] cannot use it (a "
                "training interaction's own proximity would contain itself); valid for other models than UniversalMLP: "
                "activity, cooccurrence, interaction."
            )
        with _dataset_class_for(config):
            return stock(config)

    _rebind(stock, create_dataset, recbole.data.utils, recbole.data)


@contextlib.contextmanager
def _dataset_class_for(config) -> Iterator[None]:
    """For the length of one call, let RecBole find the class with universal columns as ``<Model>Dataset``."""
    name = f"{config['model']}Dataset"
    had = getattr(recbole_datasets, name, None)
    setattr(recbole_datasets, name, universal_dataset_class(had or _stock_dataset_class(config["MODEL_TYPE"])))
    try:
        yield
    finally:
        if had is None:
            delattr(recbole_datasets, name)
        else:
            setattr(recbole_datasets, name, had)


def _stock_dataset_class(model_type: ModelType) -> type:
    by_type = {ModelType.SEQUENTIAL: "SequentialDataset", ModelType.KNOWLEDGE: "KnowledgeBasedDataset"}
    if model_type == ModelType.DECISIONTREE:
        raise ValueError(
            "universal_features cannot be used with decision-tree models (XGBoost, LightGBM): they read scalar "
            "columns only. Leave the key empty."
        )
    return getattr(recbole_datasets, by_type.get(model_type, "Dataset"))


def _rebind(stock: Callable, ours: Callable, *modules: types.ModuleType) -> None:
    """Put ``ours`` where the modules, and quick_start once it is there, hold ``stock`` by name."""
    quick_start = importlib.import_module("recbole.quick_start.quick_start")
    for module in (*modules, quick_start):
        setattr(module, stock.__name__, ours)
