"""The table of the plugin's config keys and their valid values, by which every RecBole ``Config`` is checked once.

A valid value is normalised (a name to a list of one name, ``None`` to an empty list or to the value that it
means), so that later readers have one form to read.
"""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Mapping
from typing import Any

from recbole.evaluator import metric_types

from recbole_universal import arguments
from recbole_universal.features import node2vec_args, pipeline
from recbole_universal.plugin import content_keys, sasrec_settings
from recbole_universal.plugin import key_forms as forms
from recbole_universal.plugin.recbole_keys import check_evaluation, check_metrics
from recbole_universal.plugin.universal_model import TRAIN_STAGES, UNIVERSAL_MODELS
from recbole_universal.plugin.unseen import GROUP, SHARE
from recbole_universal.ranking.list_loss import LIST_LOSSES
from recbole_universal.ranking.mixing import SCORE_SPACES
from recbole_universal.ranking.network import COMBINATIONS, LARGEST_LAYER, MOST_LAYERS, MOST_NETWORKS

#: Keys that change what a saved dataset or saved data loaders hold.
DATA_KEYS = (
    "universal_features",
    "universal_feature_args",
    "universal_weight_field",
    *content_keys.KEYS,
    "numerical_features",  # the form of the columns
    "transform",
    "unseen_users",
    "unseen_items",
    "eval_users",
    "eval_items",
)


def _families(value: Any) -> list[str] | None:
    try:
        names = forms.names("").read(value)
    except forms.WrongValueError as error:
        raise forms.WrongValueError(f"{error} {_registered()}".strip()) from None
    for name in names:
        if name not in pipeline.FAMILIES:
            raise forms.WrongValueError(_no_family(name))
    return names or None


def _no_family(name: Any) -> str:
    near = difflib.get_close_matches(name, pipeline.FAMILIES, 1) if isinstance(name, str) else []
    hint = f"; did you mean {near[0]}?" if near else "."
    return f"there is no family {arguments.shown(name)}{hint} {_registered()}"


def _registered() -> str:
    """The families that are registered now, for a message."""
    return f"The families are {', '.join(pipeline.FAMILIES)}; register_family adds a family of your own."


def _feature_args(value: Any) -> dict[str, dict[str, Any]] | None:
    """Arguments of families, each checked by the family that takes it."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise forms.WrongValueError
    for name, given in value.items():
        if name == "node2vec":
            node2vec_args.node2vec_args(given)
        elif isinstance(name, str) and name in pipeline.FAMILIES:
            pipeline.FAMILIES[name].from_args(given)
        else:
            raise forms.WrongValueError(_no_family(name))
    return dict(value) or None


def _layers(value: Any) -> list[int]:
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= MOST_LAYERS:
        raise forms.WrongValueError
    return [forms.integer(1, LARGEST_LAYER).read(size) for size in value]


def _amount(value: Any) -> float | int | None:
    """``finetune_interactions``: a float is a share, an integer a number."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer() and value > 1:
        value = int(value)
    if isinstance(value, float):
        return forms.real("", lambda x: 0 < x <= 1).read(value)
    return forms.integer(1).read(value)


def _sources(value: Any) -> list[Any] | None:
    """``pretrain_sources``; :func:`recbole_universal.pretrain` reads what the mappings hold."""
    if value is None:
        return None
    sources = [value] if isinstance(value, str) else value
    if not isinstance(sources, (list, tuple)) or not all(
        forms.is_line(one) or (isinstance(one, Mapping) and forms.is_line(one.get("dataset"))) for one in sources
    ):
        raise forms.WrongValueError
    return list(sources)


def _metric(value: Any) -> str:
    name, at, cutoff = value.partition("@") if isinstance(value, str) else ("", "", "")
    if name.lower() not in metric_types or (at and not (cutoff.isdecimal() and int(cutoff) > 0)):
        raise forms.WrongValueError
    return value


def _limit(value: Any) -> float | None:
    return None if value is None else forms.real("", lambda x: 0 <= x < math.inf).read(value)


def _transform(value: Any) -> str | None:
    """RecBole looks the name up when training begins."""
    if value is None or value == "":
        return None
    return forms.choice(
        ["universal", "mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq", "user_defined"]
    ).read(value)


_FAMILIES = forms.Form("a list of families, e.g. [activity, cooccurrence]", _families)

#: Keys that every model may be given.
KEYS: dict[str, forms.Form] = {
    "universal_features": _FAMILIES,
    "universal_feature_args": forms.Form("a mapping of families (or node2vec) to arguments", _feature_args),
    "universal_weight_field": forms.text("the name of a field", empty=True),
    **content_keys.KEYS,
    "universal_cache_dir": forms.text("the path of a folder", empty=True),
    "universal_cache_gb": forms.Form("a number of at least 0, or empty", _limit),
    "universal_baselines": forms.names("model names, e.g. [Pop, ItemKNN]"),
}
_COLUMNS = {"numerical_features": forms.names("names of columns, e.g. [user_activity]")}
#: Keys of one model, RecBole's among them where their values reach this package.
MODEL_KEYS: dict[str, dict[str, forms.Form]] = {
    "UniversalInterpolation": {
        "pretrained": forms.text("the name of a shipped model or the path of a folder"),
        "base_checkpoint": forms.text("the path of a file", empty=True),
        "interpolation_weight": forms.or_special(
            forms.real("a number from 0 (base alone) to 1 (universal model alone)", lambda x: 0 <= x <= 1),
            {"auto": "auto", "by_activity": "by_activity"},
            "auto or by_activity",
        ),
        "interpolation_space": forms.choice(SCORE_SPACES),
        "valid_metric": forms.Form("the name of a metric, e.g. NDCG@10", _metric),
        "seed": forms.SEED,
    },
    "UniversalMLP": {
        "train_stage": forms.choice(["pretrain", *TRAIN_STAGES]),
        "transform": forms.Form("universal, or a name that RecBole knows", _transform),
        "pretrained": forms.text("the name of a shipped model or the path of a folder", empty=True),
        "feature_combination": forms.choice(COMBINATIONS),
        "mlp_hidden_size": forms.Form(f"a list of 1 to {MOST_LAYERS} integers from 1 to {LARGEST_LAYER}", _layers),
        "embedding_size": forms.integer(1, LARGEST_LAYER),
        "n_networks": forms.integer(1, MOST_NETWORKS),
        "dropout_prob": forms.real("a number in [0, 1)", lambda x: 0 <= x < 1),
        "list_loss": forms.choice(LIST_LOSSES),
        "query_users": forms.POSITIVE,
        "query_share": forms.real("a share in (0, 1)", lambda x: 0 < x < 1),
        "list_batch_size": forms.POSITIVE,
        "finetune_parameters": forms.choice(("all", "head")),
        "finetune_interactions": forms.Form("a share in (0, 1], a number of interactions, or empty", _amount),
        "unseen_users": SHARE,
        "unseen_items": SHARE,
        "eval_users": GROUP,
        "eval_items": GROUP,
        "pretrain_sources": forms.Form("a list of datasets, each a name or a mapping with the key dataset", _sources),
        "pretrain_held_out": forms.names("names among pretrain_sources"),
        "pretrain_dir": forms.text("the path of a folder"),
        "pretrain_lists": forms.text("the path of a folder"),
        "pretrain_name": forms.text("a name in one line"),
        "pretrain_command": forms.text("a command in one line", empty=True),
        "train_batch_size": forms.POSITIVE,
        "eval_batch_size": forms.POSITIVE,
        "learning_rate": forms.real("a number above 0, at most 1", lambda x: 0 < x <= 1),
        "epochs": forms.POSITIVE,
        "stopping_step": forms.POSITIVE,
        "valid_metric": forms.Form("the name of a metric, e.g. NDCG@10", _metric),
        "seed": forms.SEED,
    },
}

# Keys about users and items that only the general model ranks for, and about columns.
_GENERAL_ONLY = ("transform", "query_share", "unseen_users", "unseen_items", "eval_users", "eval_items")
MODEL_KEYS["UniversalSequential"] = {
    key: form for key, form in MODEL_KEYS["UniversalMLP"].items() if key not in _GENERAL_ONLY
}
MODEL_KEYS["UniversalSequential"] |= {"MAX_ITEM_LIST_LENGTH": forms.POSITIVE}

MODEL_KEYS["UniversalSASRec"] = sasrec_settings.KEYS
# Keys of the training that both kinds of models have.
_SHARED = (
    *("train_stage", "pretrain_sources", "pretrain_held_out", "pretrain_dir", "pretrain_name", "pretrain_command"),
    *("train_batch_size", "eval_batch_size", "learning_rate", "epochs", "stopping_step", "valid_metric", "seed"),
)
MODEL_KEYS["UniversalSASRec"] |= {key: MODEL_KEYS["UniversalMLP"][key] for key in _SHARED}

# Stock models of RecBole have these keys of the tables, too.
_STOCK = {
    *("seed", "epochs", "stopping_step", "learning_rate", "train_batch_size", "eval_batch_size", "valid_metric"),
    *("mlp_hidden_size", "embedding_size", "dropout_prob", "transform", "MAX_ITEM_LIST_LENGTH", "loss_type"),
    *("n_layers", "n_heads", "hidden_size", "inner_size", "hidden_dropout_prob", "attn_dropout_prob"),
    *("hidden_act", "layer_norm_eps", "initializer_range", "train_neg_sample_args"),
}
#: Keys that the plugin alone reads.
PLUGIN_KEYS = frozenset({*KEYS, "base_model", *(key for keys in MODEL_KEYS.values() for key in keys)} - _STOCK)


def read(config: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The plugin's keys of a config, with normalised values.

    Args:
        config: All settings of a run.
        model: Name of the model.

    Raises:
        ValueError: If a value is not valid, with the key and the valid values.
    """
    keys = {**KEYS, **MODEL_KEYS.get(model, {})}
    values = {key: value(key, config[key], keys) for key in keys if key in config}
    if values.get("universal_features"):
        values["numerical_features"] = value("numerical_features", config.get("numerical_features"), _COLUMNS)
    if model in UNIVERSAL_MODELS and not values.get("universal_features"):
        raise ValueError(
            forms.message("universal_features", config["universal_features"], "at least one family is needed.")
        )
    if model == "UniversalSequential":
        for key in _GENERAL_ONLY:
            if config.get(key):
                raise ValueError(forms.message(key, config[key], "UniversalSequential does not read this key."))
    content_keys.check_together(values, model, (*UNIVERSAL_MODELS, "UniversalInterpolation"))
    if values.get("train_stage") in ("zero_shot", "finetune") and not values["pretrained"]:
        needed = MODEL_KEYS["UniversalInterpolation"]["pretrained"].valid
        raise ValueError(forms.message("pretrained", config["pretrained"], f"must be {needed}"))
    if model == "UniversalSASRec":
        sasrec_settings.check_together(values)
    if model in MODEL_KEYS:
        check_metrics(config, model)
        check_evaluation(config)
    return values


def is_ours(model: Any) -> bool:
    """Whether a model, given by name or class, is one of this package."""
    return (model if isinstance(model, str) else getattr(model, "__name__", "")) in MODEL_KEYS


def value(key: str, given: Any, keys: Mapping[str, forms.Form] = KEYS) -> Any:
    """One normalised value.

    Raises:
        ValueError: If it is not valid, with the key and the valid values.
    """
    return forms.checked(key, keys[key], given)


def from_text(key: str, text: str) -> Any:
    """The value of one of :data:`PLUGIN_KEYS` that was given as text, such as on the command line.

    Unlike in RecBole, nothing in the text is run.
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = {"true": True, "false": False}.get(text.lower(), text)
    is_text = key == "base_model" or any(keys[key].is_text for keys in (KEYS, *MODEL_KEYS.values()) if key in keys)
    return text if is_text and value is not None and not isinstance(value, str) else value
