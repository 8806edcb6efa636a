"""The card of a pre-trained model as Markdown: features, network, sources, metrics, versions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from recbole_universal.model_json import SEQUENCE_MODEL


def model_card(schema: dict[str, Any], card: dict[str, Any]) -> str:
    """A model card as Markdown.

    Args:
        schema: ``Pretrained.schema``.
        card: ``Pretrained.card``.
    """
    lines = [f"# {card.get('name', 'A pre-trained universal recommender')}", ""]
    lines += [str(card.get("description", "")), ""]
    if SEQUENCE_MODEL in schema:
        lines += [f"UniversalSASRec: `{json.dumps(schema[SEQUENCE_MODEL]['arguments'])}`", ""]
    else:
        lines += _features(schema)
    for title in ("sources", "metrics", "versions"):
        values = card.get(title)
        if not values:
            continue
        lines += [f"## {title.capitalize()}", ""]
        if isinstance(values, dict):
            lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in values.items()), ""]
        else:
            lines += [", ".join(map(str, values)), ""]
    if card.get("command"):
        lines += [f"Made by `{card['command']}`, seed {card.get('seed')}.", ""]
    if card.get("sources"):
        lines += [
            "It was trained on these datasets. Results on one of them do not show how good it is on another dataset.",
            "",
        ]
    lines += ["Load it with the config key `pretrained`, or `recbole_universal.checkpoint.load_pretrained`.", ""]
    return "\n".join(lines)


def _features(schema: dict[str, Any]) -> list[str]:
    lines = ["## Features", "", "| family | arguments |", "|---|---|"]
    for family in schema["features"]["families"]:
        arguments = ", ".join(f"{name} {value}" for name, value in family["args"].items())
        lines.append(f"| {family['name']} | {arguments} |")
    return [*lines, "", f"Network: `{json.dumps(schema['network'])}`", ""]


def is_card(file: Path, model: dict[str, Any] | None) -> bool:
    """Whether a file is missing, or is the card of a model.

    The order of words is not compared: version 0.1.0 wrote the card in the order of the caller's dicts.

    Args:
        file: the file.
        model: content of a ``model.json``, or ``None`` for no model.
    """
    if not file.exists():
        return True
    try:
        return model is not None and (
            _words(file.read_text(encoding="utf-8")) == _words(model_card(model["schema"], model["card"]))
        )
    except (ValueError, KeyError, TypeError, AttributeError):  # no text, or a card of another form
        return False


def _words(text: str) -> list[str]:
    return sorted(re.split(r"[\s,{}]+", text))
