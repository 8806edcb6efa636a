"""The config keys of the plugin: one table of what each takes. ``integration`` asks it once for every RecBole config.

A value that passes is brought to one form (a name to a list of one name, ``None`` to an empty list or to the value
that it stands for), so that later readers have one form to read.
"""

from __future__ import annotations

import ast
import difflib
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from recbole.evaluator import metric_types

from recbole_universal import arguments
from recbole_universal.features import node2vec_args, pipeline
from recbole_universal.plugin.universal_mlp import TRAIN_STAGES
from recbole_universal.plugin.unseen import EVAL_GROUPS
from recbole_universal.ranking.list_loss import LIST_LOSSES
from recbole_universal.ranking.mixing import SCORE_SPACES
from recbole_universal.ranking.network import COMBINATIONS, LARGEST_LAYER, MOST_LAYERS, MOST_NETWORKS

#: Keys that change what a saved data set or saved data loaders hold.
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
#: Metrics that read a score as a probability or a rating.
VALUE_METRICS = ("logloss", "rmse", "mae")
# Bounds that keep a slip of the pen from taking all memory.
_LARGEST_INTEGER, _LONGEST_NAME = 2**31 - 1, 255


class _Wrong(Exception):
    """A value is not valid; the text, if any, says more than the table."""


@dataclass(frozen=True)
class _Key:
    """What a key takes.

    Attributes:
        valid: In words, after "must be".
        read: Gives the value in its one form.
        is_text: Whether a text, even one that looks like a number, is what it takes.
    """

    valid: str
    read: Callable[[Any], Any]
    is_text: bool = False


def _integer(least: int, most: int = _LARGEST_INTEGER) -> _Key:
    def read(value):
        if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
            raise _Wrong
        return int(value)

    return _Key(f"an integer from {least} to {most}", read)


def _real(valid: str, holds: Callable[[float], bool]) -> _Key:
    def read(value):
        if isinstance(value, bool) or not isinstance(value, Real):
            raise _Wrong
        try:
            number = float(value)
        except OverflowError:
            raise _Wrong from None
        if not holds(number):
            raise _Wrong
        return number

    return _Key(valid, read)


def _choice(choices: Iterable[str]) -> _Key:
    names = list(choices)

    def read(value):
        if not isinstance(value, str) or value not in names:
            near = difflib.get_close_matches(str(value), names, 1) if isinstance(value, str) else []
            raise _Wrong(f"did you mean {near[0]}?" if near else "")
        return value

    return _Key(f"one of {names}", read, is_text=True)


def _text(valid: str, *, empty: bool = False) -> _Key:
    def read(value):
        if empty and (value is None or value == ""):
            return None
        if not isinstance(value, (str, os.PathLike)) or not _is_line(os.fspath(value)):
            raise _Wrong
        return str(value)

    return _Key(valid + (", or empty" if empty else ""), read, is_text=True)


def _is_line(text: Any) -> bool:
    """Whether a text can be a name or a path: one line that is not empty, with parts as short as those of a path."""
    if not isinstance(text, str) or not text.strip() or not text.isprintable():
        return False
    return len(text) <= 4000 and max(map(len, text.split("/"))) <= _LONGEST_NAME


def _names(what: str) -> _Key:
    def read(value):
        names = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(names, (list, tuple)) or not all(map(_is_line, names)):
            raise _Wrong
        if len(set(names)) < len(names):
            raise _Wrong("a name is given twice.")
        return list(names)

    return _Key(f"a list of {what}", read)


def _or(key: _Key, special: Mapping[Any, Any], valid: str) -> _Key:
    """``key``, or one of some special values, which stand for others."""

    def read(value):
        if value is None or isinstance(value, str):
            if value in special:
                return special[value]
        return key.read(value)

    return _Key(f"{key.valid}, or {valid}", read, key.is_text)


def _families(value: Any) -> list[str] | None:
    names = _names("").read(value)
    for name in names:
        if name not in pipeline.FAMILIES:
            near = difflib.get_close_matches(name, pipeline.FAMILIES, 1)
            raise _Wrong(
                f"there is no family {arguments.shown(name)}" + (f"; did you mean {near[0]}?" if near else ".")
            )
    return names or None


def _feature_args(value: Any) -> dict[str, dict[str, Any]] | None:
    """Arguments of families, each checked by the family that takes it."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise _Wrong
    for name, given in value.items():
        for argument, number in given.items() if isinstance(given, Mapping) else ():
            most = node2vec_args.largest_argument(argument)
            if isinstance(number, Integral) and int(number) > most:
                raise _Wrong(f"{name}: {argument} must be at most {most}.")
        if name == "node2vec":
            node2vec_args.node2vec_args(given)
        elif isinstance(name, str) and name in pipeline.FAMILIES:
            pipeline.FAMILIES[name].from_args(given)
        else:
            raise _Wrong(f"there is no family {arguments.shown(name)}.")
    return dict(value) or None


def _layers(value: Any) -> list[int]:
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= MOST_LAYERS:
        raise _Wrong
    return [_integer(1, LARGEST_LAYER).read(size) for size in value]


def _amount(value: Any) -> float | int | None:
    """``finetune_interactions``: a float is a share, an integer a number."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer() and value > 1:
        value = int(value)
    if isinstance(value, float):
        return _real("", lambda x: 0 < x <= 1).read(value)
    return _integer(1).read(value)


def _sources(value: Any) -> list[Any] | None:
    """``pretrain_sources``; :func:`recbole_universal.pretrain` reads what the mappings hold."""
    if value is None:
        return None
    sources = [value] if isinstance(value, str) else value
    if not isinstance(sources, (list, tuple)) or not all(
        _is_line(one) or (isinstance(one, Mapping) and _is_line(one.get("dataset"))) for one in sources
    ):
        raise _Wrong
    return list(sources)


def _metric(value: Any) -> str:
    name, at, cutoff = value.partition("@") if isinstance(value, str) else ("", "", "")
    if name.lower() not in metric_types or (at and not (cutoff.isdecimal() and int(cutoff) > 0)):
        raise _Wrong
    return value


def _limit(value: Any) -> float | None:
    return None if value is None else _real("", lambda x: 0 <= x < math.inf).read(value)


def _transform(value: Any) -> str | None:
    """RecBole looks the name up when training begins."""
    if value is None or value == "":
        return None
    return _choice(
        ["universal", "mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq", "user_defined"]
    ).read(value)


def _name(value: Any) -> str:
    if not _is_line(value) or "/" in value or value in (".", ".."):
        raise _Wrong
    return value


def _one_field(holds: Callable[[Any], bool], most: float = math.inf) -> Callable[[Any], Any]:
    def read(value):
        if not isinstance(value, Mapping) or not 1 <= len(value) <= most or not all(map(holds, value.values())):
            raise _Wrong
        return value

    return read


def _interval(value: Any) -> str:
    """RecBole warns of an interval that it cannot read, and filters nothing."""
    for part in value.split(";") if isinstance(value, str) else [""]:
        low, _, high = part.strip()[1:-1].partition(",")
        try:
            ordered = float(low) <= float(high)
        except ValueError:
            raise _Wrong from None
        if not ordered or part.strip()[0] not in "[(" or part.strip()[-1] not in "])":
            raise _Wrong
    return value


def _three_names(value: Any) -> list[str]:
    if isinstance(value, str) or len(names := _names("").read(value)) != 3:
        raise _Wrong
    return names


def _parts(value: Any) -> list[float]:
    if not isinstance(value, list) or len(value) != 3:  # RecBole takes no tuple
        raise _Wrong
    return [_real("", lambda x: 0 <= x < math.inf).read(size) for size in value]


def _split(value: Any) -> Any:
    kind, parts = next(iter(value.items())) if isinstance(value, Mapping) and len(value) == 1 else (None, None)
    if kind == "LS" and parts in ("valid_and_test", "valid_only", "test_only"):
        return value
    if kind not in ("RS", "TS"):
        raise _Wrong
    if not _parts(parts)[0]:
        raise _Wrong("the first is the training part, which would be empty.")
    return value


def _group_by(value: Any) -> Any:
    if value is not None and value != "user" and str(value).lower() != "none":
        raise _Wrong
    return value


_POSITIVE = _integer(1)
_SHARE = _or(_real("a share in [0, 1)", lambda x: 0 <= x < 1), {None: 0.0}, "empty")
_GROUP = _or(_choice(EVAL_GROUPS), {None: "all"}, "empty")
_FAMILIES = _Key(f"a list of families among {list(pipeline.FAMILIES)}, e.g. [activity, cooccurrence]", _families)

#: Keys that every model may be given.
KEYS: dict[str, _Key] = {
    "universal_features": _FAMILIES,
    "universal_feature_args": _Key("a mapping of families (or node2vec) to arguments", _feature_args),
    "universal_weight_field": _text("the name of a field", empty=True),
    "universal_cache_dir": _text("the path of a folder", empty=True),
    "universal_cache_gb": _Key("a number of at least 0, or empty", _limit),
    "universal_peers": _names("model names, e.g. [Pop, ItemKNN]"),
}
_COLUMNS = {"numerical_features": _names("names of columns, e.g. [user_activity]")}
#: Keys of one model, RecBole's among them where their values reach this package.
MODEL_KEYS: dict[str, dict[str, _Key]] = {
    "UniversalInterpolation": {
        "pretrained": _text("the name of a shipped model or the path of a folder"),
        "base_checkpoint": _text("the path of a file", empty=True),
        "interpolation_weight": _or(
            _real("a number from 0 (base alone) to 1 (universal model alone)", lambda x: 0 <= x <= 1),
            {"auto": "auto", "by_activity": "by_activity"},
            "auto or by_activity",
        ),
        "interpolation_space": _choice(SCORE_SPACES),
        "valid_metric": _Key("the name of a metric, e.g. NDCG@10", _metric),
        "seed": _integer(0, 2**32 - 1),
    },
    "UniversalMLP": {
        "train_stage": _choice(["pretrain", *TRAIN_STAGES]),
        "transform": _Key("universal, or a name that RecBole knows", _transform),
        "pretrained": _text("the name of a shipped model or the path of a folder", empty=True),
        "feature_combination": _choice(COMBINATIONS),
        "mlp_hidden_size": _Key(f"a list of 1 to {MOST_LAYERS} integers from 1 to {LARGEST_LAYER}", _layers),
        "embedding_size": _integer(1, LARGEST_LAYER),
        "n_networks": _integer(1, MOST_NETWORKS),
        "dropout_prob": _real("a number in [0, 1)", lambda x: 0 <= x < 1),
        "list_loss": _choice(LIST_LOSSES),
        "query_users": _POSITIVE,
        "query_share": _real("a share in (0, 1)", lambda x: 0 < x < 1),
        "list_batch_size": _POSITIVE,
        "finetune_parameters": _choice(("all", "head")),
        "finetune_interactions": _Key("a share in (0, 1], a number of interactions, or empty", _amount),
        "unseen_users": _SHARE,
        "unseen_items": _SHARE,
        "eval_users": _GROUP,
        "eval_items": _GROUP,
        "pretrain_sources": _Key("a list of datasets, each a name or a mapping with the key dataset", _sources),
        "pretrain_held_out": _names("names among pretrain_sources"),
        "pretrain_dir": _text("the path of a folder"),
        "pretrain_lists": _text("the path of a folder"),
        "pretrain_name": _text("a name in one line"),
        "pretrain_command": _text("a command in one line", empty=True),
        "train_batch_size": _POSITIVE,
        "eval_batch_size": _POSITIVE,
        "learning_rate": _real("a number above 0, at most 1", lambda x: 0 < x <= 1),
        "epochs": _POSITIVE,
        "stopping_step": _POSITIVE,
        "valid_metric": _Key("the name of a metric, e.g. NDCG@10", _metric),
        "seed": _integer(0, 2**32 - 1),
    },
}


# Keys of RecBole that change which interactions there are and which of them are held out.
_EVALUATION = {
    "benchmark_filename": _Key(
        "a list of the three parts' names, e.g. [train, valid, test]",
        _three_names,
    ),
    "user_inter_num_interval": _Key('an interval, e.g. "[5,inf)"', _interval),
    "item_inter_num_interval": _Key('an interval, e.g. "[5,inf)"', _interval),
    "rm_dup_inter": _choice(["first", "last"]),
    "val_interval": _Key(
        'a mapping of fields to intervals, e.g. {rating: "[3,inf)"}, or to lists of tokens',
        _one_field(lambda interval: bool(isinstance(interval, (list, tuple)) or _interval(interval))),
    ),
    "threshold": _Key(
        "a mapping of one field to a number, e.g. {rating: 4}",
        _one_field(arguments.is_real, most=1),
    ),
}
_EVAL_ARGS = {
    "split": _Key(
        "{RS: [train, valid, test]} or {TS: [train, valid, test]} with three numbers of at least 0, the first above 0, "
        "or {LS: valid_and_test}, {LS: valid_only} or {LS: test_only}",
        _split,
    ),
    "order": _choice(["RO", "TO"]),
    "group_by": _Key("user or none", _group_by),
}


# Keys of the tables that stock models of RecBole have too.
_STOCK = {
    *("seed", "epochs", "stopping_step", "learning_rate", "train_batch_size", "eval_batch_size", "valid_metric"),
    *("mlp_hidden_size", "embedding_size", "dropout_prob", "transform"),
}
#: Keys that the plugin alone reads.
OWN_KEYS = frozenset({*KEYS, "base_model", *(key for keys in MODEL_KEYS.values() for key in keys)} - _STOCK)


def read(config: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The plugin's keys of a config, each in its one form.

    Args:
        config: All settings of a run.
        model: Name of the model.

    Raises:
        ValueError: If a value is not valid, with the key and what is.
    """
    keys = {**KEYS, **MODEL_KEYS.get(model, {})}
    found = {key: value(key, config[key], keys) for key in keys if key in config}
    if found.get("universal_features"):
        found["numerical_features"] = value("numerical_features", config.get("numerical_features"), _COLUMNS)
    if model == "UniversalMLP" and not found.get("universal_features"):
        raise ValueError(_message("universal_features", config["universal_features"], "at least one family is needed."))
    if found.get("train_stage") in ("zero_shot", "finetune") and not found["pretrained"]:
        needed = MODEL_KEYS["UniversalInterpolation"]["pretrained"].valid
        raise ValueError(_message("pretrained", config["pretrained"], f"must be {needed}"))
    if model in MODEL_KEYS:
        check_metrics(config, model)
        check_evaluation(config)
    return found


def value(key: str, given: Any, keys: Mapping[str, _Key] = KEYS) -> Any:
    """One value in its one form.

    Raises:
        ValueError: If it is not valid, with the key and what is.
    """
    return _checked(key, keys[key], given)


def _checked(key: str, valid: _Key, given: Any) -> Any:
    try:
        return valid.read(given)
    except _Wrong as error:
        raise ValueError(_message(key, given, f"must be {valid.valid}", str(error))) from None
    except ValueError as error:  # of an argument of a family
        raise ValueError(f"{key}: {_cut(str(error), 300)}") from error


def check_metrics(config: Mapping[str, Any], model: str) -> None:
    """Look whether the metric that chooses the best epoch is computed.

    RecBole looks it up only after the first epoch, and then fails with a bare ``KeyError``.

    Raises:
        ValueError: If it is not, or if UniversalMLP is to be judged by metrics that read its scores as probabilities.
    """
    metrics, topk = config["metrics"], config["topk"]
    metrics = [metrics] if isinstance(metrics, str) else metrics
    topk = [topk] if isinstance(topk, int) else topk
    if not isinstance(metrics, (list, tuple)) or not all(isinstance(metric, str) for metric in metrics):
        raise ValueError(_message("metrics", metrics, "must be a list of names, e.g. [NDCG, Recall]"))
    values = [metric for metric in metrics if metric.lower() in VALUE_METRICS]
    if model == "UniversalMLP" and values:
        raise ValueError(
            f"metrics: {values} read a score as a probability or a rating, which the scores of UniversalMLP are not; "
            "valid are metrics of rankings, such as NDCG, Recall and MRR, and AUC."
        )
    name, _, k = config["valid_metric"].partition("@")
    cutoffs = isinstance(topk, (list, tuple)) and all(isinstance(cutoff, int) and cutoff > 0 for cutoff in topk)
    if not k or not cutoffs or any(metric.lower() not in metric_types for metric in metrics):
        return  # RecBole says what is wrong
    computed = [f"{metric}@{cutoff}" for metric in metrics for cutoff in topk]
    if f"{name}@{k}".lower() not in map(str.lower, computed):
        raise ValueError(f"valid_metric: [{config['valid_metric']}] is not computed; metrics and topk give {computed}.")


def check_run(config: Mapping[str, Any], model: str) -> None:
    """Check the keys of RecBole that any run has; RecBole itself ends in an error of PyTorch, NumPy or pandas.

    Raises:
        ValueError: If a value is not valid, with the key and what is.
    """
    _checked("dataset", _Key("the name of a folder in data_path", _name), config["dataset"])
    for key in ("seed", "train_batch_size", "eval_batch_size"):
        value(key, config[key], MODEL_KEYS["UniversalMLP"])
    check_metrics(config, model)
    check_evaluation(config)


def check_evaluation(config: Mapping[str, Any]) -> None:
    """Check how RecBole filters, labels and splits the interactions.

    Raises:
        ValueError: If a value is not valid, with the key and what is.
    """
    for key, valid in _EVALUATION.items():
        if config.get(key) not in (None, {}):
            _checked(key, valid, config[key])
    given = config.get("eval_args")
    given = given if isinstance(given, Mapping) else {}  # else RecBole says so
    for key, valid in _EVAL_ARGS.items():
        if key in given and not config.get("benchmark_filename"):
            _checked(f"eval_args, {key}", valid, given[key])


def from_text(key: str, text: str) -> Any:
    """The value of one of :data:`OWN_KEYS` that was given as text, such as on the command line.

    Unlike in RecBole, nothing in the text is run.
    """
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        found = {"true": True, "false": False}.get(text.lower(), text)
    is_text = key == "base_model" or any(keys[key].is_text for keys in (KEYS, *MODEL_KEYS.values()) if key in keys)
    return text if is_text and found is not None and not isinstance(found, str) else found


def _message(key: str, given: Any, what: str, hint: str = "") -> str:
    return f"{key}: {what}, got {arguments.shown(given)}" + (f"; {hint}" if hint else ".")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}..."
