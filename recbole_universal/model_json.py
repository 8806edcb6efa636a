"""``model.json``, the description of a pre-trained model, checked field by field; its author may be hostile.

The hash in the file covers the weights alone. Feature dimensions are therefore derived from the feature arguments, the
schema hash is computed again, and the shapes of all weights are derived from the network arguments.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import torch

from recbole_universal.features.pipeline import pipeline_of
from recbole_universal.ranking.network import UniversalNetwork

FORMAT = 1
#: Entry of the schema of a model of UniversalSASRec. It stands in the place of ``features`` and ``network``.
SEQUENCE_MODEL = "sequence_model"
#: Largest size of the file.
MOST_JSON_BYTES = 2**20
# Largest product of the node2vec arguments, which set the memory and time of the features and no shape of a weight. The
# product of the defaults is a million. A step on few dimensions takes as long as one on 512.
_MOST_NODE2VEC_WORK, _FEW_DIMENSIONS = 10**8, 512
#: Largest number of weights of one tensor of a sequence model.
_MOST_WEIGHTS = 2**26
_WORK = ("walks_per_node", "walk_length", "context_size", "embedding_dim")


def read_description(file: Path) -> dict[str, Any]:
    """Parse a ``model.json`` and check its form, see :func:`checked`.

    Args:
        file: the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is malformed; the message begins with a verb, and its subject is the file.
    """
    with open(file, "rb") as stream:
        content = stream.read(MOST_JSON_BYTES + 1)
    if len(content) > MOST_JSON_BYTES:
        raise ValueError(f"is larger than {MOST_JSON_BYTES} bytes.")
    try:
        described = json.loads(
            content.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_refused, parse_float=_finite
        )
    except RecursionError as error:
        raise ValueError("is nested too deeply.") from error
    except ValueError as error:
        raise ValueError(f"is no JSON ({error}).") from error
    return checked(described)


def checked(described: Any) -> dict[str, Any]:
    """Check the form of a description; :func:`weight_shapes` checks that it fits the package.

    Args:
        described: the parsed ``model.json``.

    Returns:
        ``described``.

    Raises:
        ValueError: if an entry is not valid, with its name and what is valid.
    """
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        given = described.get("format") if isinstance(described, dict) else described
        raise ValueError(f"is of format {_short(given)}, this version of recbole_universal reads format {FORMAT}.")
    _entries(described, "", {"format": int, "weights": dict, "schema": dict, "card": dict})
    _entries(described["weights"], "weights", {"file": str, "sha256": str})
    if not re.fullmatch("[0-9a-f]{64}", described["weights"]["sha256"]):
        raise ValueError("must hold 64 hexadecimal digits at weights.sha256.")
    schema = described["schema"]
    if isinstance(schema, dict) and SEQUENCE_MODEL in schema:
        _check_sequence_model(schema)
        _check_card(described["card"])
        return described
    _entries(schema, "schema", {"features": dict, "network": dict})
    _check_features(schema["features"])
    sizes = {"mlp_hidden_size": list, "embedding_size": int, "dropout_prob": (int, float), "feature_combination": str}
    _entries(schema["network"], "schema.network", sizes, {"n_networks": int})
    _check_card(described["card"])
    return described


def weight_shapes(schema: dict[str, Any]) -> dict[str, list[int]]:
    """Shape of each weight of the network of a schema, without memory for any weight.

    Args:
        schema: checked schema, with ``features`` and ``network``. That of a sequence model names the shapes itself,
            and the model refuses weights of other shapes than its own.

    Raises:
        ValueError: if the features or the network cannot be built, or the features are of another version.
    """
    if SEQUENCE_MODEL in schema:
        return schema[SEQUENCE_MODEL]["shapes"]
    try:
        pipeline = pipeline_of(schema["features"])
        with torch.device("meta"):
            network = UniversalNetwork(pipeline.dims, **schema["network"])
    except ValueError as error:
        raise ValueError(f"describes no model of this version of recbole_universal: {_short(error, str)}") from error
    if pipeline.schema != schema["features"]:
        raise ValueError("has entries in schema.features that do not fit their schema_hash.")
    return {name: list(tensor.shape) for name, tensor in network.state_dict().items()}


def _check_features(features: dict[str, Any]) -> None:
    where = "schema.features"
    _entries(features, where, {"version": int, "families": list, "schema_hash": str}, {"node2vec": dict})
    names = set()
    for index, family in enumerate(features["families"]):
        _entries(family, f"{where}.families[{index}]", {"name": str, "args": dict, "dims": dict})
        if family["name"] in names:
            raise ValueError(f"has two entries {_short(family['name'])} in {where}.families.")
        names.add(family["name"])
    node2vec = features.get("node2vec", {})
    work = {name: value for name in _WORK if isinstance(value := node2vec.get(name), int)}
    work["embedding_dim"] = max(_FEW_DIMENSIONS, work.get("embedding_dim", 0))
    if math.prod(work.values()) > _MOST_NODE2VEC_WORK:
        raise ValueError(f"asks for a node2vec of too much work: the product of {', '.join(_WORK)} is too large.")


def _check_sequence_model(schema: dict[str, Any]) -> None:
    where = f"schema.{SEQUENCE_MODEL}"
    _entries(schema, "schema", {SEQUENCE_MODEL: dict})
    _entries(schema[SEQUENCE_MODEL], where, {"arguments": dict, "shapes": dict})
    for name, shape in schema[SEQUENCE_MODEL]["shapes"].items():
        is_shape = isinstance(shape, list) and all(isinstance(size, int) and size > 0 for size in shape)
        if not is_shape or math.prod(shape) > _MOST_WEIGHTS:
            raise ValueError(f"must hold the shape of {_short(name)} in {where}.shapes, got {_short(shape)}.")


def _check_card(card: dict[str, Any]) -> None:
    for name in ("name", "description", "command"):
        if not isinstance(card.get(name, ""), str):
            raise ValueError(f"must hold a text at card.{name}, got {_short(card[name])}.")
    sources = card.get("sources", [])
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        raise ValueError(f"must hold a list of dataset names at card.sources, got {_short(sources)}.")


def _entries(value: Any, where: str, required: dict[str, Any], optional: dict[str, Any] | None = None) -> None:
    """Check that ``value`` is an object with all required entries and no unknown entry, each of its type."""
    inside = f" in {where}" if where else ""
    if not isinstance(value, dict):
        raise ValueError(f"must hold an object at {where}, got {_short(value)}.")
    known = {**required, **(optional or {})}
    for name in required:
        if name not in value:
            raise ValueError(f"has no entry {name!r}{inside}.")
    for name, entry in value.items():
        if name not in known:
            raise ValueError(f"has an unknown entry {_short(name)}{inside}; known are {', '.join(known)}.")
        if not isinstance(entry, known[name]) or isinstance(entry, bool):
            types = known[name] if isinstance(known[name], tuple) else (known[name],)
            expected = " or ".join(_JSON_NAMES[kind] for kind in types)
            raise ValueError(f"must hold {expected} as {name!r}{inside}, got {_short(entry)}.")


_JSON_NAMES = {int: "an integer", float: "a number", str: "a text", list: "a list", dict: "an object"}


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for name, value in pairs:
        if name in entries:
            raise ValueError(f"the entry {_short(name)} occurs twice")
        entries[name] = value
    return entries


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _short(value: Any, text=repr) -> str:
    shown = text(value)
    return shown if len(shown) <= 300 else f"{shown[:300]}…"
