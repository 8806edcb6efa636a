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

from recbole_universal.features.node2vec_args import largest_argument
from recbole_universal.features.pipeline import pipeline_of
from recbole_universal.ranking.network import UniversalNetwork

FORMAT = 1
_MOST_BYTES = 2**20
# Largest product of the node2vec arguments, which set the memory and time of the features and no shape of a weight.
_MOST_NODE2VEC_WORK = 10**8
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
        content = stream.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"is larger than {_MOST_BYTES} bytes.")
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
    _entries(schema, "schema", {"features": dict, "network": dict})
    _check_features(schema["features"])
    sizes = {"mlp_hidden_size": list, "embedding_size": int, "dropout_prob": (int, float), "feature_combination": str}
    _entries(schema["network"], "schema.network", sizes, {"n_networks": int})
    _check_card(described["card"])
    return described


def weight_shapes(schema: dict[str, Any]) -> dict[str, list[int]]:
    """Shape of each weight of the network of a schema, without memory for any weight.

    Args:
        schema: checked schema, with ``features`` and ``network``.

    Raises:
        ValueError: if the features or the network cannot be built, or the features are of another version.
    """
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
    arguments = {"node2vec": features.get("node2vec", {})}
    for index, family in enumerate(features["families"]):
        _entries(family, f"{where}.families[{index}]", {"name": str, "args": dict, "dims": dict})
        if family["name"] in arguments:
            raise ValueError(f"has two entries {_short(family['name'])} in {where}.families.")
        arguments[family["name"]] = family["args"]
    for owner, values in arguments.items():
        for name, value in values.items():
            if isinstance(value, (dict, list)) or (isinstance(value, (int, float)) and value > largest_argument(name)):
                raise ValueError(
                    f"must hold a text or a number up to {largest_argument(name)} as argument {_short(name)} of "
                    f"{_short(owner)}, got {_short(value)}."
                )
    work = [value for name in _WORK if isinstance(value := arguments["node2vec"].get(name), int)]
    if math.prod(work) > _MOST_NODE2VEC_WORK:
        raise ValueError(f"asks for a node2vec of too much work: the product of {', '.join(_WORK)} is too large.")


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
