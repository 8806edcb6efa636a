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
``_load_base``            ``Config._get_model_and_dataset``,                     a wrapped model keeps its own defaults,
                          ``Config._load_internal_config_dict``                  kind and input type
``_convert_own_keys``     ``Config._convert_config_dict`` evaluates every text   a name or a path is no Python code
``_check_settings``       ``Config._get_final_config_dict`` merges all settings  RecBole takes any key and any value;
                                                                                 features and network of a
                                                                                 pre-trained model are its own
``_add_trainer``          ``recbole.utils.get_trainer`` prefers                  zero-shot has no epoch to train
                          ``<Model>Trainer`` on ``recbole.trainer``
``_get_dataloader``       ``recbole.data.utils.get_dataloader``                  candidate lists are no pairs with
                                                                                 sampled negatives
``_create_samplers``      ``recbole.data.utils.create_samplers``                 a run that draws no negative items is
                                                                                 refused where a user has had all items
``_compare_saved``        ``recbole.utils.argument_list.dataset_arguments``      a changed key would silently load the
                          decides whether a saved data set still fits            data set saved before it changed
``_construct_transform``  ``recbole.data.transform.construct_transform`` knows   RecBole has one open slot for the
                          a closed list of names                                 whole process (``user_defined``)
``_create_dataset``       ``recbole.data.utils.create_dataset`` chooses the      float features without writing a
                          data set class by model                                model: RecBole #1150, #1306, #2043
========================  =====================================================  =====================================

With no universal key set, each hook hands over to the stock function unchanged. RecBole's functions are changed in
place (:func:`_intercept`), so it does not matter whether a name was imported before this package or after it.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import logging
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import recbole.config.configurator as configurator
import recbole.data.dataset as recbole_datasets
import recbole.data.transform
import recbole.data.utils
import recbole.trainer
import yaml
from recbole.model.abstract_recommender import ContextRecommender
from recbole.model.layers import ContextSeqEmbLayer
from recbole.utils import ModelType
from recbole.utils.argument_list import dataset_arguments

from recbole_universal.checkpoint import load_pretrained
from recbole_universal.features.fields import column
from recbole_universal.features.pipeline import features_of
from recbole_universal.plugin import settings
from recbole_universal.plugin.atomic_file import reading_checked
from recbole_universal.plugin.dataset import SeenItems, UniversalDataset, pipeline_from_config, universal_dataset_class
from recbole_universal.plugin.support_query import SupportQueryDataLoader
from recbole_universal.plugin.trainer import UniversalMLPTrainer, interpolation_trainer
from recbole_universal.plugin.transform import UniversalTransform
from recbole_universal.plugin.universal_interpolation import UniversalInterpolation, base_class, read_base_checkpoint
from recbole_universal.plugin.universal_mlp import UniversalMLP

logger = logging.getLogger(__name__)

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
    _load_defaults()
    _load_base()
    _convert_own_keys()
    _check_settings()
    _compare_saved()
    _intercept(recbole.data.utils.get_dataloader, _get_dataloader)
    _intercept(recbole.data.utils.create_samplers, _create_samplers)
    _intercept(recbole.data.utils.create_dataset, _create_dataset)
    _intercept(recbole.data.transform.construct_transform, _construct_transform)
    setattr(configurator.Config, _MARK, True)


def properties_dir() -> Path:
    """Folder of the yaml defaults: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
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


class _Text(str):
    """A text of the command line or of ``config_dict``, until the model is known that gives its key a meaning."""


def _convert_own_keys() -> None:
    stock = configurator.Config._convert_config_dict

    @functools.wraps(stock)
    def convert_config_dict(self, config_dict):
        own = {k: v for k, v in config_dict.items() if k in settings.OWN_KEYS and isinstance(v, str)}
        config_dict.update(stock(self, {key: value for key, value in config_dict.items() if key not in own}))
        config_dict.update((key, _Text(value)) for key, value in own.items())
        return config_dict

    stock_names = configurator.Config._get_model_and_dataset

    @functools.wraps(stock_names)
    def get_model_and_dataset(self, model, dataset):
        given = self.external_config_dict
        name = model if model is not None else given.get("model")
        is_ours = (name if isinstance(name, str) else getattr(name, "__name__", "")) in settings.MODEL_KEYS
        keys = settings.OWN_KEYS if is_ours else settings.KEYS
        for key, text in given.items():
            if isinstance(text, _Text):
                given[key] = settings.from_text(key, str(text)) if key in keys else stock(self, {key: str(text)})[key]
        return stock_names(self, model, dataset)

    configurator.Config._convert_config_dict = convert_config_dict
    configurator.Config._get_model_and_dataset = get_model_and_dataset


def _check_settings() -> None:
    stock = configurator.Config._get_final_config_dict

    @functools.wraps(stock)
    def get_final_config_dict(self):
        _tell_of_misspelt(self)
        final = stock(self)
        read = settings.read(final, self.model)
        final.update(read)
        self.external_config_dict.update((key, read[key]) for key in read.keys() & self.external_config_dict.keys())
        if self.model == UniversalMLP.__name__ and final["train_stage"] in ("zero_shot", "finetune"):
            final.update(_pretrained_settings(final, self.external_config_dict))
        return final

    configurator.Config._get_final_config_dict = get_final_config_dict


def _tell_of_misspelt(config) -> None:
    is_ours = str(config.model).startswith("Universal")
    known = _own_keys() if is_ours else settings.KEYS.keys()  # another model may well read a key like one of ours
    for key in config.external_config_dict.keys() - config.internal_config_dict.keys() - _own_keys():
        near = difflib.get_close_matches(str(key), known, 1, cutoff=0.85)
        if near:
            message = f"Nothing reads the config key [{key}]; did you mean [{near[0]}]?"
            if is_ours:
                raise ValueError(message)  # the run would not be the one that was asked for
            warnings.warn(message, stacklevel=5)


def _take_over_checkpoint(given: dict) -> None:
    """Add the settings that the model of ``base_checkpoint`` was run with, where the user gives none."""
    keys = settings.MODEL_KEYS[UniversalInterpolation.__name__]
    if not settings.value("base_checkpoint", given.get("base_checkpoint"), keys):
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


def _pretrained_settings(config: dict, given: dict) -> dict:
    """Features and network of the pre-trained model; a different setting of the user's is a contradiction."""
    schema = load_pretrained(config["pretrained"]).schema
    names, arguments = features_of(schema["features"])
    own = {"universal_features": names, "universal_feature_args": arguments, **schema["network"]}
    for key, value in own.items():
        if key in given and given[key] != value and not (key == "universal_feature_args" and not given[key]):
            raise ValueError(
                f"{key}: {given[key]!r} is set, but the pre-trained model [{config['pretrained']}] was made with "
                f"{value!r}. Leave the key out, or set train_stage: in_domain to train a model of your own."
            )
    return own


def _add_trainer(model: type, trainer: Callable) -> None:
    setattr(recbole.trainer, f"{model.__name__}Trainer", trainer)


#: Our function for each RecBole function that :func:`_intercept` has changed, by its full name.
INTERCEPTED: dict[str, Callable] = {}


def _intercept(function: types.FunctionType, ours: Callable) -> None:
    """Make a RecBole function call ``ours(stock, *arguments)``, whoever has imported it already.

    Its code is exchanged for a call of ours; ``stock`` is a function of the code that it had.
    """
    stock = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    name = f"{function.__module__}.{function.__name__}"
    INTERCEPTED[name] = functools.partial(ours, stock)
    source = (
        f"def {function.__name__}(*args, **kwargs):\n"
        f"    from {__name__} import INTERCEPTED\n"
        f"    return INTERCEPTED[{name!r}](*args, **kwargs)\n"
    )
    module = compile(source, f"<{__name__}: {name}>", "exec", dont_inherit=True)
    function.__wrapped__ = stock  # type: ignore[attr-defined]  # so that inspect shows RecBole's signature and source
    function.__code__ = next(part for part in module.co_consts if isinstance(part, types.CodeType))


def _get_dataloader(stock, config, phase):
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


def _create_samplers(stock, config, dataset, built_datasets):
    try:
        return stock(config, dataset, built_datasets)
    except ValueError:  # some user has had all items, so RecBole's sampler could draw none
        if _draws_negatives(config):
            raise
        with _swapped(recbole.data.utils, "Sampler", SeenItems):  # which only says what a user has had
            return stock(config, dataset, built_datasets)


def _draws_negatives(config) -> bool:
    if config["model"] != UniversalMLP.__name__:
        return True
    trained = config["train_stage"] != "zero_shot" and not _asks_for_proximity(config)
    return trained or any(mode not in ("full", "labeled") for mode in config["eval_args"]["mode"].values())


def _compare_saved() -> None:
    dataset_arguments.extend(key for key in settings.DATA_KEYS if key not in dataset_arguments)


def _construct_transform(stock, config):
    return UniversalTransform(config) if config["transform"] == "universal" else stock(config)


def _asks_for_proximity(config) -> bool:
    return "proximity" in (config["universal_features"] or ())


def _create_dataset(stock, config):
    # A config out of an older checkpoint, or one that was changed since, is read once more.
    config.final_config_dict.update(settings.read(config.final_config_dict, config["model"]))
    if not config["universal_features"]:
        if config["transform"] == "universal":
            UniversalTransform(config)  # raises: it says which key is missing
        if config["model"] != UniversalInterpolation.__name__:
            return _checked_dataset(config, stock) if _checks_all else stock(config)
        dataset_class = _stock_dataset_class(config)
    else:
        if _asks_for_proximity(config) and config["model"] != UniversalMLP.__name__:
            raise ValueError(
                f"universal_features: proximity has no columns, so the model [{config['model']}] cannot use it (a "
                "training interaction's own proximity would contain itself); valid for other models than UniversalMLP: "
                "activity, cooccurrence, interaction."
            )
        if config["model"] != UniversalMLP.__name__:
            _tell_of_unread(config)
        dataset_class = universal_dataset_class(_stock_dataset_class(config))
    with _swapped(recbole_datasets, f"{config['model']}Dataset", dataset_class):
        dataset = _checked_dataset(config, stock)
    _tell_of_threshold(config)
    return dataset


#: Whether the data sets of RecBole's own models are checked too.
_checks_all = False


@contextlib.contextmanager
def checking_all_models() -> Iterator[None]:
    """Check what the files hold and the keys ask of them for RecBole's own models as for those of this package."""
    with _swapped(sys.modules[__name__], "_checks_all", True), reading_checked():
        yield


def _checked_dataset(config, stock):
    """The data set, or a sentence that says which key and what in the data do not go together."""
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
            f"Data set [{config['dataset']}] has one interaction after RecBole's filters; a run needs at least two, to "
            "train and to test."
        )
    _check_labels(config, dataset)
    needed = config["eval_args"]["order"] == "TO" and not config["benchmark_filename"]
    if needed and dataset.time_field not in dataset.inter_feat:
        raise ValueError(_not_loaded(config, "eval_args: {order: TO}", dataset.time_field))
    return dataset


def _check_labels(config, dataset) -> None:
    """A context-aware model that draws no negative items learns from labels of both kinds."""
    drawn = (config["train_neg_sample_args"] or {}).get("distribution", "none") != "none"
    if config["MODEL_TYPE"] != ModelType.CONTEXT or drawn:
        return
    label = dataset.label_field
    if label not in dataset.inter_feat:
        raise ValueError(
            f"threshold: [{_model_class(config).__name__}] learns from labels, and the data set [{config['dataset']}] "
            f"has no column [{label}] (key LABEL_FIELD); make labels of a loaded column, e.g. threshold: {{rating: 4}}."
        )
    of_two = {metric.lower() for metric in config["metrics"]} & {"auc", "gauc"}
    labels = dataset.inter_feat[label]
    if of_two and labels.min() == labels.max():
        raise ValueError(
            f"threshold: with {config['threshold']} every row of data set [{config['dataset']}] has the label "
            f"{int(labels.max())}; {sorted(of_two)} (key metrics) need rows of both kinds."
        )


def _not_loaded(config, what: str, field: str) -> str:
    loaded = [config["USER_ID_FIELD"], config["ITEM_ID_FIELD"], field]
    return (
        f"{what} needs the field [{field}], which is not loaded from the .inter file of data set "
        f"[{config['dataset']}]; load it with load_col: {{inter: [{', '.join(map(str, loaded))}]}}."
    )


def _tell_of_threshold(config) -> None:
    general = config["MODEL_TYPE"] in (ModelType.GENERAL, ModelType.TRADITIONAL)
    if not general or not config["threshold"] or not set(config["eval_args"]["mode"].values()) - {"labeled"}:
        return
    if config["model"] not in (UniversalMLP.__name__, UniversalInterpolation.__name__):
        return
    logger.warning(
        "threshold: %s labels the rows of data set [%s] and keeps them all; %s reads no labels, so every row counts "
        "as a positive. val_interval with load_col keeps the rows of high values alone.",
        config["threshold"],
        config["dataset"],
        config["model"],
    )


def _tell_of_unread(config) -> None:
    """Say that a model computes universal columns and reads none, or refuse columns that it would misread.

    What a model reads is seen by its class: RecBole's context-aware models and those with ``ContextSeqEmbLayer`` read
    ``numerical_features``; its other models read no float columns. Of a model outside RecBole nothing is said.
    """
    model = _model_class(config)
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


@contextlib.contextmanager
def _swapped(module: types.ModuleType, name: str, value: Any) -> Iterator[None]:
    """For the length of one call, let RecBole find a value of ours under a name in one of its modules."""
    had = getattr(module, name, None)
    setattr(module, name, value)
    try:
        yield
    finally:
        if had is None:
            delattr(module, name)
        else:
            setattr(module, name, had)


def _model_class(config) -> type:
    """The class of the model, or of the base of an interpolation."""
    if config["model"] == UniversalInterpolation.__name__:
        return base_class(config["base_model"])
    return config.model_class


def _stock_dataset_class(config) -> type:
    """The class that RecBole would take for the model, or for the base of an interpolation."""
    name = _model_class(config).__name__
    by_type = {ModelType.SEQUENTIAL: "SequentialDataset", ModelType.KNOWLEDGE: "KnowledgeBasedDataset"}
    if config["MODEL_TYPE"] == ModelType.DECISIONTREE:
        raise ValueError(
            "universal_features cannot be used with decision-tree models (XGBoost, LightGBM): they read scalar "
            "columns only. Leave the key empty."
        )
    named = getattr(recbole_datasets, f"{name}Dataset", None)
    return named or getattr(recbole_datasets, by_type.get(config["MODEL_TYPE"], "Dataset"))
