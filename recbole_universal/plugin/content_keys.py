"""The config keys that say what the content of items is, for all models that read content."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from recbole_universal import arguments
from recbole_universal.content import encoders
from recbole_universal.plugin import key_forms as forms


def _fields(value: Any) -> str | list[str] | None:
    return "auto" if value in ("auto", ["auto"]) else forms.names("").read(value) or None


def _encoders(value: Any) -> list[str]:
    names = forms.names("").read(value)
    for name in names:
        if not encoders.is_encoder(name):
            raise forms.WrongValueError(f"there is no encoder {arguments.shown(name)}.")
    return names


def _files(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(map(forms.is_line, value)):
        raise forms.WrongValueError
    return {str(name): forms.text("").read(path) for name, path in value.items()}


def _least(value: Any) -> float | None:
    return None if value is None or value == "none" else forms.real("", lambda x: 0 <= x < math.inf).read(value)


KEYS: dict[str, forms.Form] = {
    "content_fields": forms.Form("auto, a list of fields of the items, or empty", _fields),
    "content_encoders": forms.Form(f"a list of {encoders.known_encoders()}", _encoders),
    "content_files": forms.Form("a mapping of names to files of item vectors, e.g. {image: images.npz}", _files),
    "content_join_z": forms.Form("a number of at least 0, or empty (none)", _least),
}


def check_together(values: dict[str, Any], model: str, reading: tuple[str, ...]) -> None:
    """Check that a model reads the content that the keys name; without content all keys become ``None``.

    RecBole compares the keys with those of a saved dataset. One that stock RecBole saved has none, and fits then.

    Args:
        values: normalised values of the keys, which are changed.
        model: name of the model.
        reading: names of the models that read content beside interactions.

    Raises:
        ValueError: if the model reads none, or nothing encodes the texts.
    """
    if model == "UniversalSASRec":  # sasrec_settings checks it, since content may be all that this model reads
        return
    for key in ("content_fields", "content_files"):
        if values.get(key) and model not in reading:
            listed = ", ".join((*reading, "UniversalSASRec"))
            raise ValueError(forms.message(key, values[key], f"only {listed} read content"))
    if values.get("content_fields") and not values["content_encoders"]:
        raise ValueError(
            "content_encoders: content_fields names texts, which need an encoder, such as [tfidf, distil]; leave "
            "content_fields empty for content_files alone."
        )
    if not values.get("content_fields") and not values.get("content_files"):
        values.update((key, None) for key in KEYS.keys() & values.keys())
