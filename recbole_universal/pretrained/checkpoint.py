"""A pre-trained model on disk: weights as safetensors, their meaning as JSON, a model card. Nothing is executable.

A model is a folder with ``model.json`` (format, schema, card, and name and sha256 of the weights file), the weights
file and ``README.md`` (the card for people). The weights file is named by its hash and ``model.json`` is replaced last,
in one step: a reader sees the old model or the new one, never half of each.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from recbole_universal.files import atomic_write, locked_folder, write_text

FORMAT = 1
_JSON, _CARD = "model.json", "README.md"
_SHIPPED = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Pretrained:
    """A pre-trained model.

    Attributes:
        state_dict: weights by name.
        schema: what they mean: ``features`` (``FeaturePipeline.schema``) and ``network`` (``UniversalScorer.network``).
        card: where they come from: name, sources, metrics, versions, seed, command.
    """

    state_dict: dict[str, torch.Tensor]
    schema: dict[str, Any]
    card: dict[str, Any]

    @property
    def families(self) -> list[str]:
        """Names of the families of features that it reads."""
        return [family["name"] for family in self.schema["features"]["families"]]


def shipped() -> list[str]:
    """Names of the models in the package."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{_JSON}"))


def save_pretrained(
    folder: str | os.PathLike[str], state_dict: dict[str, torch.Tensor], schema: dict[str, Any], card: dict[str, Any]
) -> Path:
    """Write a model into a folder, replacing the one that is there.

    Of the files in the folder, only those of the old model are replaced or removed. A ``README.md`` that is not the old
    model's card is kept, and a warning says so.

    Args:
        folder: made if missing.
        state_dict: weights by name.
        schema: as :attr:`Pretrained.schema`.
        card: as :attr:`Pretrained.card`; anything JSON can hold.

    Returns:
        The folder.

    Raises:
        FileExistsError: if the folder holds a ``model.json`` of another program.
        OSError: if a file cannot be written.
    """
    folder = Path(os.path.expanduser(folder))
    folder.mkdir(parents=True, exist_ok=True)
    weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()})
    digest = hashlib.sha256(weights).hexdigest()
    name = f"model-{digest[:12]}.safetensors"
    content = {"format": FORMAT, "weights": {"file": name, "sha256": digest}, "schema": schema, "card": card}
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    content = json.loads(text)
    readme = model_card(content["schema"], content["card"])  # in the order of the file, which the next save compares
    with locked_folder(folder, wait=True):
        old = check_model_folder(folder)
        own_readme = _is_card(folder / _CARD, old)
        with atomic_write(folder / name) as file:
            file.write(weights)
        write_text(folder / _JSON, text)
        if own_readme:
            write_text(folder / _CARD, readme)
        else:
            warnings.warn(
                f"[{folder / _CARD}] is not the card of the model that was there; it is kept. The new model's card is "
                f"in {_JSON}.",
                stacklevel=2,
            )
        old_name = old["weights"]["file"] if old else name
        if old_name != name and re.fullmatch(r"model-[0-9a-f]{12}\.safetensors", old_name):
            (folder / old_name).unlink(missing_ok=True)
    return folder


def check_model_folder(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The content of the ``model.json`` of a folder that a model is to be saved in; ``None`` if there is none.

    Raises:
        FileExistsError: if it is not a model of this package, which would be lost.
    """
    file = Path(os.path.expanduser(folder)) / _JSON
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        content["format"], content["schema"], content["card"], Path(content["weights"]["file"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise FileExistsError(
            f"[{file}] is not a model of recbole_universal and would be replaced; name another folder."
        ) from error
    return content


def _is_card(file: Path, model: dict[str, Any] | None) -> bool:
    """Whether a file is missing, or the card of a model."""
    if not file.exists():
        return True
    try:
        return model is not None and file.read_text(encoding="utf-8") == model_card(model["schema"], model["card"])
    except (ValueError, KeyError, TypeError, AttributeError):  # no text, or a card of another form
        return False


def load_pretrained(name_or_path: str | os.PathLike[str]) -> Pretrained:
    """Read a model.

    Args:
        name_or_path: name of a shipped model, or folder of one.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: if its files are damaged, do not belong together, or are of another format.
    """
    folder = _folder(name_or_path)
    try:
        content = json.loads((folder / _JSON).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"Pre-trained model [{folder}]: {_JSON} is no JSON ({error}).") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else content
        raise ValueError(
            f"Pre-trained model [{folder}]: {_JSON} is of format {found!r}, this version of recbole_universal reads "
            f"format {FORMAT}."
        )
    try:
        file, digest = content["weights"]["file"], content["weights"]["sha256"]
        schema, card = content["schema"], content["card"]
        schema["features"]["schema_hash"], schema["network"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"Pre-trained model [{folder}]: {_JSON} has no entry {error}.") from error
    if Path(file).name != file:
        raise ValueError(f"Pre-trained model [{folder}]: the weights file must stand in the folder, not at {file!r}.")
    if not (folder / file).is_file():
        raise FileNotFoundError(f"Pre-trained model [{folder}]: its weights file {file} is missing.")
    weights = (folder / file).read_bytes()
    if hashlib.sha256(weights).hexdigest() != digest:
        raise ValueError(
            f"Pre-trained model [{folder}]: {file} is not the file that {_JSON} describes (sha256 differs): it is "
            "damaged or was exchanged. Copy the model again."
        )
    try:
        return Pretrained(load(weights), schema, card)
    except SafetensorError as error:
        raise ValueError(f"Pre-trained model [{folder}]: {file} is no safetensors file ({error}).") from error


def _folder(name_or_path: str | os.PathLike[str]) -> Path:
    if not isinstance(name_or_path, (str, os.PathLike)) or not os.fspath(name_or_path):
        raise ValueError(f"pretrained: must be a name or a folder, got {name_or_path!r}; shipped: {shipped()}.")
    if str(name_or_path) in shipped():
        return _SHIPPED / str(name_or_path)
    folder = Path(name_or_path)
    if not (folder / _JSON).is_file():
        raise FileNotFoundError(
            f"pretrained: [{name_or_path}] is neither a shipped model (there are: {', '.join(shipped()) or 'none'}) "
            f"nor a folder with a {_JSON}."
        )
    return folder


def model_card(schema: dict[str, Any], card: dict[str, Any]) -> str:
    """The card as Markdown."""
    lines = [f"# {card.get('name', 'A pre-trained universal recommender')}", ""]
    lines += [str(card.get("description", "")), "", "## Features", "", "| family | arguments |", "|---|---|"]
    for family in schema["features"]["families"]:
        arguments = ", ".join(f"{name} {value}" for name, value in family["args"].items())
        lines.append(f"| {family['name']} | {arguments} |")
    lines += ["", f"Network: `{json.dumps(schema['network'])}`", ""]
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
            "It has seen these data sets, so its results on one of them show how it works, not how good it is.",
            "",
        ]
    lines += ["Load it with the config key `pretrained`, or `recbole_universal.pretrained.load_pretrained`.", ""]
    return "\n".join(lines)
