"""The config keys of UniversalSASRec: their forms, which go together, and which a pre-trained model sets."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from recbole_universal.content.encoders import ENCODERS
from recbole_universal.plugin import key_forms as forms
from recbole_universal.plugin.pretrained_model import pretrained_model
from recbole_universal.sequential.adapters import FINETUNE_PARAMETERS
from recbole_universal.sequential.item_encoder import ITEM_ENCODERS

#: Keys that the weights of a model depend on. ``n_items`` is none of them.
ARCHITECTURE = (
    *("n_layers", "n_heads", "hidden_size", "inner_size", "hidden_act", "layer_norm_eps"),
    *("MAX_ITEM_LIST_LENGTH", "item_encoder"),
)


def _negatives(value: Any) -> Mapping[str, Any] | None:
    """RecBole checks what the mapping holds."""
    if value is not None and not isinstance(value, Mapping):
        raise forms.WrongValueError
    return value


#: What pre-training learns, and how it goes through its sources.
PRETRAIN_OBJECTIVES, PRETRAIN_ORDERS = ("next_item", "user_contrast"), ("mixed", "in_turn", "task_masks")
_DROPOUT = forms.real("a number in [0, 1)", lambda x: 0 <= x < 1)
_SIZE = forms.integer(1, 4096)
KEYS: dict[str, forms.Form] = {
    "pretrained": forms.text("the path of a folder", empty=True),
    "item_encoder": forms.choice(ITEM_ENCODERS),
    "finetune_parameters": forms.choice(FINETUNE_PARAMETERS),
    "adapter_size": _SIZE,
    "lora_rank": _SIZE,
    "pretrain_objective": forms.choice(PRETRAIN_OBJECTIVES),
    "pretrain_order": forms.choice(PRETRAIN_ORDERS),
    "task_share": forms.real("a share in (0, 1)", lambda x: 0 < x < 1),
    "loss_type": forms.choice(("CE", "BPR")),
    "n_layers": forms.integer(1, 64),
    "n_heads": forms.integer(1, 64),
    "hidden_size": _SIZE,
    "inner_size": forms.POSITIVE,
    "hidden_dropout_prob": _DROPOUT,
    "attn_dropout_prob": _DROPOUT,
    "hidden_act": forms.choice(("gelu", "relu", "swish", "tanh", "sigmoid")),
    "layer_norm_eps": forms.real("a number above 0", lambda x: 0 < x < math.inf),
    "initializer_range": forms.real("a number above 0", lambda x: 0 < x < math.inf),
    "train_neg_sample_args": forms.Form("a mapping, with loss_type: BPR, or empty", _negatives),
    "MAX_ITEM_LIST_LENGTH": forms.POSITIVE,
}


def check_together(values: Mapping[str, Any]) -> None:
    """Check keys that depend on others.

    Args:
        values: normalised values of the keys.

    Raises:
        ValueError: if two of them contradict each other, with both keys.
    """
    encoder, stage = values["item_encoder"], values["train_stage"]
    if values["hidden_size"] % values["n_heads"]:
        raise ValueError(
            forms.message("n_heads", values["n_heads"], f"must divide hidden_size, which is {values['hidden_size']}")
        )
    if stage in ("pretrain", "zero_shot") and encoder in ("id", "id_plus_content"):
        raise ValueError(
            f"item_encoder: must be content or words with train_stage: {stage}, got {encoder!r}; ids of one dataset "
            "mean nothing in another."
        )
    if stage == "finetune" and encoder == "id":
        raise ValueError(
            "item_encoder: must be content, id_plus_content or words with train_stage: finetune, got 'id'."
        )
    if encoder in ("content", "id_plus_content") and not values["content_encoders"] and not values["content_files"]:
        raise ValueError(
            f"content_encoders: item_encoder: {encoder} needs an encoder of texts, or files named by content_files."
        )
    if values["content_files"] and encoder in ("id", "words"):
        raise ValueError(f"content_files: item_encoder: {encoder} reads no vectors; leave the key empty.")
    drawn = (values["train_neg_sample_args"] or {}).get("distribution", "uniform") != "none"
    if values["loss_type"] == "BPR" and not (values["train_neg_sample_args"] and drawn):
        raise ValueError(
            "loss_type: BPR compares with drawn items; set train_neg_sample_args, such as "
            "{distribution: uniform, sample_num: 1}."
        )
    if stage == "pretrain" and "tfidf" in values["content_encoders"]:
        raise ValueError(
            "content_encoders: the axes of tfidf are those of one catalogue, so weights that read them cannot be "
            "transferred; pre-train with distil or another dense encoder."
        )


def pretrained_settings(config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Architecture of the pre-trained model of a run.

    Args:
        config: all settings of the run.
        given: the settings that the user made.

    Raises:
        ValueError: if the user set a key to something else.
    """
    arguments = pretrained_model(config["pretrained"], sequence_model=True).schema["sequence_model"]["arguments"]
    try:
        settings = {key: arguments[key] for key in ARCHITECTURE}
        modalities = dict(arguments["modalities"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"pretrained: [{os.fspath(config['pretrained'])}] has no entry {error} in its schema; it was made by "
            "another version."
        ) from error
    for key, form in KEYS.items():
        if key in settings:
            settings[key] = forms.checked(f"pretrained: [{config['pretrained']}], {key}", form, settings[key])
    if given.get("item_encoder") == "id_plus_content" and settings["item_encoder"] == "content":
        settings["item_encoder"] = "id_plus_content"  # ids of the target beside the content
    for key, value in settings.items():
        if key in given and given[key] != value:
            raise ValueError(
                f"{key}: {given[key]!r} is set, but the pre-trained model [{config['pretrained']}] was made with "
                f"{value!r}. Leave the key out, or set train_stage: in_domain to train a model of your own."
            )
    if "content_encoders" not in given:
        # A model of a library is loaded only where the user names it: the file of weights may be anybody's.
        settings["content_encoders"] = [name for name in modalities if name in ENCODERS]
    return settings
