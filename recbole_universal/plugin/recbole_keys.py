"""Checks of RecBole's config keys whose wrong values end in errors of PyTorch, NumPy or pandas."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from recbole.evaluator import metric_types

from recbole_universal import arguments
from recbole_universal.plugin import key_forms as forms

#: Metrics that read a score as a probability or a rating.
VALUE_METRICS = ("logloss", "rmse", "mae")


def _name(value: Any) -> str:
    if not forms.is_line(value) or "/" in value or value in (".", ".."):
        raise forms.WrongValueError
    return value


def _one_field(holds: Callable[[Any], bool], most: float = math.inf) -> Callable[[Any], Any]:
    def read(value):
        if not isinstance(value, Mapping) or not 1 <= len(value) <= most or not all(map(holds, value.values())):
            raise forms.WrongValueError
        return value

    return read


def _interval(value: Any) -> str:
    """RecBole warns of an interval that it cannot read, and filters nothing."""
    for interval in value.split(";") if isinstance(value, str) else [""]:
        low, _, high = interval.strip()[1:-1].partition(",")
        try:
            ordered = float(low) <= float(high)
        except ValueError:
            raise forms.WrongValueError from None
        if not ordered or interval.strip()[0] not in "[(" or interval.strip()[-1] not in "])":
            raise forms.WrongValueError
    return value


def _three_names(value: Any) -> list[str]:
    if isinstance(value, str) or len(names := forms.names("").read(value)) != 3:
        raise forms.WrongValueError
    return names


def _ratios(value: Any) -> list[float]:
    if not isinstance(value, list) or len(value) != 3:  # RecBole takes no tuple
        raise forms.WrongValueError
    return [forms.real("", lambda x: 0 <= x < math.inf).read(size) for size in value]


def _split(value: Any) -> Any:
    kind, ratios = next(iter(value.items())) if isinstance(value, Mapping) and len(value) == 1 else (None, None)
    if kind == "LS" and ratios in ("valid_and_test", "valid_only", "test_only"):
        return value
    if kind not in ("RS", "TS"):
        raise forms.WrongValueError
    if not _ratios(ratios)[0]:
        raise forms.WrongValueError("the first is the training part, which would be empty.")
    return value


def _group_by(value: Any) -> Any:
    if value is not None and value != "user" and str(value).lower() != "none":
        raise forms.WrongValueError
    return value


# Keys of RecBole that choose the interactions and the held-out ones among them.
_EVALUATION = {
    "benchmark_filename": forms.Form(
        "a list of the three parts' names, e.g. [train, valid, test]",
        _three_names,
    ),
    "user_inter_num_interval": forms.Form('an interval, e.g. "[5,inf)"', _interval),
    "item_inter_num_interval": forms.Form('an interval, e.g. "[5,inf)"', _interval),
    "rm_dup_inter": forms.choice(["first", "last"]),
    "val_interval": forms.Form(
        'a mapping of fields to intervals, e.g. {rating: "[3,inf)"}, or to lists of tokens',
        _one_field(lambda interval: bool(isinstance(interval, (list, tuple)) or _interval(interval))),
    ),
    "threshold": forms.Form(
        "a mapping of one field to a number, e.g. {rating: 4}",
        _one_field(arguments.is_real, most=1),
    ),
}
_EVAL_ARGS = {
    "split": forms.Form(
        "{RS: [train, valid, test]} or {TS: [train, valid, test]} with three numbers of at least 0, the first above 0, "
        "or {LS: valid_and_test}, {LS: valid_only} or {LS: test_only}",
        _split,
    ),
    "order": forms.choice(["RO", "TO"]),
    "group_by": forms.Form("user or none", _group_by),
}


_RUN = {
    "dataset": forms.Form("the name of a folder in data_path", _name),
    "seed": forms.SEED,
    "train_batch_size": forms.POSITIVE,
    "eval_batch_size": forms.POSITIVE,
}


def check_metrics(config: Mapping[str, Any], model: str) -> None:
    """Check that the metric that chooses the best epoch is computed.

    RecBole looks it up only after the first epoch, and then fails with a bare ``KeyError``.

    Raises:
        ValueError: If it is not, or if a metric of a universal model reads its scores as probabilities.
    """
    metrics, topk = config["metrics"], config["topk"]
    metrics = [metrics] if isinstance(metrics, str) else metrics
    topk = [topk] if isinstance(topk, int) else topk
    if not isinstance(metrics, (list, tuple)) or not all(isinstance(metric, str) for metric in metrics):
        raise ValueError(forms.message("metrics", metrics, "must be a list of names, e.g. [NDCG, Recall]"))
    values = [metric for metric in metrics if metric.lower() in VALUE_METRICS]
    if model in ("UniversalMLP", "UniversalSequential", "UniversalSASRec") and values:
        raise ValueError(
            f"metrics: {values} read a score as a probability or a rating, which the scores of {model} are not; "
            "valid are metrics of rankings, such as NDCG, Recall and MRR, and AUC."
        )
    name, _, k = config["valid_metric"].partition("@")
    cutoffs = isinstance(topk, (list, tuple)) and all(isinstance(cutoff, int) and cutoff > 0 for cutoff in topk)
    if not k or not cutoffs or any(metric.lower() not in metric_types for metric in metrics):
        return  # RecBole raises a clear error
    computed = [f"{metric}@{cutoff}" for metric in metrics for cutoff in topk]
    if f"{name}@{k}".lower() not in map(str.lower, computed):
        raise ValueError(f"valid_metric: [{config['valid_metric']}] is not computed; metrics and topk give {computed}.")


def check_run(config: Mapping[str, Any], model: str) -> None:
    """Check the keys of RecBole that any run has.

    Raises:
        ValueError: If a value is not valid, with the key and the valid values.
    """
    for key, form in _RUN.items():
        forms.checked(key, form, config[key])
    check_metrics(config, model)
    check_evaluation(config)


def check_evaluation(config: Mapping[str, Any]) -> None:
    """Check how RecBole filters, labels and splits the interactions.

    Raises:
        ValueError: If a value is not valid, with the key and the valid values.
    """
    for key, form in _EVALUATION.items():
        if config.get(key) not in (None, {}):
            forms.checked(key, form, config[key])
    given = config.get("eval_args")
    given = given if isinstance(given, Mapping) else {}  # otherwise RecBole raises a clear error
    for key, form in _EVAL_ARGS.items():
        if key in given and not config.get("benchmark_filename"):
            forms.checked(f"eval_args, {key}", form, given[key])
