"""Every key of the plugin with wrong values of all kinds: a clear sentence that names the key, or a defined result."""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import run_recbole

from recbole_universal.app import baselines, pretrain
from recbole_universal.features.pipeline import FAMILIES
from recbole_universal.plugin import settings
from recbole_universal.plugin.config_hooks import _plugin_keys

pytestmark = pytest.mark.slow
CPU_SECONDS = 120  # a value that takes longer counts as hanging


def wrong_values() -> list[Any]:
    """Some forty values, of which a key takes few."""
    return [
        *(None, True, False, 0, -1, 1, 3, 2**31, 10**30, -(10**30), 0.5, 1.0, 2.5, -0.5, 1e308),
        *(math.nan, math.inf, -math.inf, "", " ", "fool", "zero-shot", "finetunee", "Softmax", "activty"),
        *("/proc/nowhere/x", "no/such/place", "nowhere.pth", "two\nlines", "ünïcødé ☕", "x" * 5000),
        *([], [1], ["fool"], [None], [[1]], [math.nan], ["a", "a"], {}, {"a": 1}, {"dataset": 3}),
        *((1, 2), {1}, object(), b"bytes", 1j, len, np.array([1, 2]), [{"dataset": "a"}, {}], Path("no/path")),
    ]


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31


def is_real(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -1e309 < value < 1e309


def is_text(value: Any) -> bool:
    return (
        isinstance(value, (str, Path)) and bool(str(value).strip()) and "\n" not in str(value) and len(str(value)) < 99
    )


def nothing(value: Any) -> bool:
    return value is None or value == ""


def is_share(value: Any) -> bool:
    return value is None or (is_real(value) and 0 <= value < 1)


def are_names(value: Any) -> bool:
    return is_text(value) or value is None or value == [] or value == ["fool"]


#: Key -> whether a value makes sense; nothing else may be accepted.
SENSIBLE: dict[str, Callable[[Any], bool]] = {
    "universal_features": lambda v: False,
    "universal_feature_args": lambda v: v is None or v == {},
    "universal_weight_field": nothing,
    "content_fields": lambda v: v is None or v == [],
    "content_encoders": lambda v: v is None or v == [],
    "content_files": lambda v: v is None or v == {},
    "content_join_z": lambda v: v is None or (is_real(v) and v >= 0),
    "universal_cache_dir": lambda v: nothing(v) or is_text(v),
    "universal_cache_gb": lambda v: v is None or (is_real(v) and v >= 0),
    "universal_baselines": lambda v: v is None or v == [],
    "base_model": lambda v: False,
    "base_checkpoint": nothing,
    "pretrained": lambda v: False,
    "interpolation_weight": lambda v: is_real(v) and 0 <= v <= 1,
    "interpolation_space": lambda v: False,
    "train_stage": lambda v: False,
    "feature_combination": lambda v: False,
    "mlp_hidden_size": lambda v: v in ([1], (1, 2)),
    "embedding_size": lambda v: is_integer(v),
    "n_networks": lambda v: is_integer(v),
    "dropout_prob": lambda v: is_real(v) and 0 <= v < 1,
    "list_loss": lambda v: False,
    "query_users": is_integer,
    "query_share": lambda v: is_real(v) and 0 < v < 1,
    "list_batch_size": is_integer,
    "finetune_parameters": lambda v: False,
    "finetune_interactions": lambda v: v is None or is_integer(v) or (isinstance(v, float) and 0 < v <= 1),
    "unseen_users": is_share,
    "unseen_items": is_share,
    "eval_users": lambda v: v is None,
    "eval_items": lambda v: v is None,
    "pretrain_sources": lambda v: (is_text(v) and isinstance(v, str)) or v == ["fool"],
    "pretrain_held_out": lambda v: v is None or v == [],
    "pretrain_dir": is_text,
    "pretrain_lists": is_text,
    "pretrain_name": is_text,
    "pretrain_command": lambda v: nothing(v) or is_text(v),
    "train_batch_size": is_integer,
    "eval_batch_size": is_integer,
    "learning_rate": lambda v: is_real(v) and 0 < v <= 1,
    "epochs": is_integer,
    "stopping_step": is_integer,
    "valid_metric": lambda v: False,
    "transform": nothing,
    "numerical_features": lambda v: v is None or v == [],
    "seed": lambda v: isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 2**32,
}
# Of UniversalSASRec by ids. Sizes that n_heads, 2, does not divide are refused.
SASREC: dict[str, Callable[[Any], bool]] = {
    "item_encoder": lambda v: False,
    "content_fields": lambda v: are_names(v) and not isinstance(v, Path),
    "pretrain_objective": lambda v: False,
    "pretrain_order": lambda v: False,
    "task_share": lambda v: is_real(v) and 0 < v < 1,
    "adapter_size": lambda v: is_integer(v) and v <= 4096,
    "lora_rank": lambda v: is_integer(v) and v <= 4096,
    "loss_type": lambda v: False,
    "n_layers": lambda v: is_integer(v) and v <= 64,
    "n_heads": lambda v: is_integer(v) and v == 1,
    "hidden_size": lambda v: False,
    "inner_size": is_integer,
    "hidden_act": lambda v: False,
    "hidden_dropout_prob": lambda v: is_real(v) and 0 <= v < 1,
    "attn_dropout_prob": lambda v: is_real(v) and 0 <= v < 1,
    "layer_norm_eps": lambda v: is_real(v) and v > 0,
    "initializer_range": lambda v: is_real(v) and v > 0,
    "train_neg_sample_args": lambda v: v is None,
    "MAX_ITEM_LIST_LENGTH": is_integer,
}
INTERPOLATION = ("base_model", "base_checkpoint", "interpolation_weight", "interpolation_space", "pretrained", "seed")


class Hangs(BaseException):
    """A value that takes too long."""


def attempt(run: Callable[[], Any], names: str) -> str:
    """``clear``, ``accepted``, or the problem of the answer."""

    def give_up(*_):
        raise Hangs

    signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        run()
    except (ValueError, OSError) as error:
        text = str(error)
        if not re.search(rf"\b{names}\b", text):
            return f"an error that does not name the key: {text[:200]}"
        return "clear" if "\n" not in text and len(text) < 700 else f"no sentence: {text[:900]}"
    except Hangs:
        return "hangs"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "accepted"


def check_answers(key: str, values: list, run: Callable[[Any], Any], sensible: Callable[[Any], bool]) -> dict[str, int]:
    """Count the answers; fail with all wrong answers."""
    counts, bad = {"clear": 0, "accepted": 0}, []
    for value in values:
        answer = attempt(lambda value=value: run(value), key)
        try:
            makes_sense = bool(sensible(value))
        except ValueError:  # an array
            makes_sense = False
        if answer == ("accepted" if makes_sense else "clear"):
            counts[answer] += 1
        else:
            bad.append(f"{value!r:.60}: {answer}")
    print(f"{key}: {counts}, bad {len(bad)}")
    assert not bad, f"{key}\n" + "\n".join(bad)
    return counts


def defined(result: dict) -> None:
    values = [*result["test_result"].values(), *(result["best_valid_result"] or {}).values()]
    assert values and np.isfinite(values).all(), result


def test_every_key_has_an_oracle():
    assert _plugin_keys() <= {*SENSIBLE, *SASREC}


KEYS = [key for key in SENSIBLE if key not in INTERPOLATION[:4] and (key in _plugin_keys() or key not in settings.KEYS)]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_of_universal_mlp(tiny, small_config, key):
    base = {**tiny, **small_config, "universal_features": ["proximity"], "universal_feature_args": None, "epochs": 1}
    if key.startswith("finetune") or key == "pretrained":
        base["train_stage"] = "finetune"
    base.pop("universal_baselines", None)

    def run(value):
        keys = {**base, key: value}
        if key.startswith("pretrain_"):
            sources = {"pretrain_sources": ["a", "b"], "train_stage": "pretrain"}
            pretrain.checked_sources(Config("UniversalMLP", "tiny", config_dict={**sources, **keys} | {key: value}))
            return
        if key == "universal_baselines":
            baselines.baseline_configs(Config("UniversalMLP", "tiny", config_dict=keys))
            return
        defined(run_recbole("UniversalMLP", "tiny", config_dict=keys, saved=False))

    check_answers(key, wrong_values(), run, SENSIBLE[key])


@pytest.mark.parametrize("key", SASREC)
def test_a_key_of_universal_sasrec(tiny, key):
    base = {**tiny, "item_encoder": "id", "show_progress": False, "gpu_id": "", "state": "ERROR"}

    def run(value):
        Config("UniversalSASRec", "tiny", config_dict={**base, key: value})

    check_answers(key, wrong_values(), run, SASREC[key])


@pytest.mark.parametrize("key", INTERPOLATION)
def test_a_key_of_universal_interpolation(tiny, key):
    base = {**tiny, "base_model": "BPR", "epochs": 1, "show_progress": False, "gpu_id": "", "state": "ERROR"}

    def run(value):
        defined(run_recbole("UniversalInterpolation", "tiny", config_dict={**base, key: value}, saved=False))

    check_answers(key, wrong_values(), run, SENSIBLE[key])


@pytest.mark.parametrize("key", ["universal_features", "universal_feature_args", "universal_weight_field"])
def test_a_key_of_a_stock_model(tiny, small_config, key):
    def run(value):
        keys = {**tiny, **small_config, "universal_features": ["activity"], key: value}
        data_preparation(*(lambda c: (c, create_dataset(c)))(Config("BPR", "tiny", config_dict=keys)))

    sensible = {**SENSIBLE, "universal_features": lambda v: v is None or v == []}[key]
    check_answers(key, wrong_values(), run, sensible)


@pytest.mark.parametrize("family", [*FAMILIES, "node2vec"])
def test_the_arguments_of_a_family(tiny, family):
    from recbole_universal.features.node2vec_args import node2vec_args

    arguments = node2vec_args() if family == "node2vec" else FAMILIES[family].from_args(None).args
    for argument, usual in arguments.items():

        def run(value, argument=argument):
            families = ["activity"] if family == "node2vec" else [family]
            keys = {**tiny, "universal_features": families, "universal_feature_args": {family: {argument: value}}}
            keys |= {"train_stage": "in_domain", "gpu_id": "", "state": "ERROR", "show_progress": False}
            create_dataset(Config("UniversalMLP", "tiny", config_dict=keys))

        # A number may be sensible where a number is usual; nothing else may, but None for what is chosen from the data.
        def sensible(value, argument=argument, usual=usual, run=run):
            number = (is_real(value) and isinstance(usual, (int, float))) or value is None or is_integer(value)
            return number and attempt(lambda: run(value), argument) == "accepted"

        check_answers(argument, wrong_values(), run, sensible)
