"""A pre-trained model on disk: weights as safetensors, a description as JSON, a model card. Nothing is executable.

A model is a folder with ``model.json`` (format, schema, card, name and sha256 of the weights file), the weights file
and ``README.md`` (the card). The sha256 covers the weights alone. Each shape that the schema declares must be the shape
of a tensor. The name of the weights file is its hash, and ``model.json`` is replaced last in one step, so a reader sees
the old model or the new model.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, deserialize
from safetensors.torch import load, save

from recbole_universal.arguments import shown
from recbole_universal.files import atomic_write, locked_folder, write_text
from recbole_universal.model_card import is_card, model_card
from recbole_universal.model_json import FORMAT, MOST_JSON_BYTES, SEQUENCE_MODEL, read_description, weight_shapes

_JSON, _CARD = "model.json", "README.md"
_SHIPPED = Path(__file__).resolve().parent / "pretrained"
# The largest model that UniversalNetwork builds is smaller.
_MOST_BYTES, _MOST_HEADER_BYTES = 2**28, 2**24


@dataclass(frozen=True)
class Pretrained:
    """A pre-trained model.

    Attributes:
        state_dict: weights by name.
        schema: inputs and architecture: ``features`` (``FeaturePipeline.schema``) and ``network``
            (``UniversalNetwork.arguments``); of a model of UniversalSASRec ``sequence_model``.
        card: origin of the weights: name, sources, metrics, versions, seed, command.
    """

    state_dict: dict[str, torch.Tensor]
    schema: dict[str, Any]
    card: dict[str, Any]

    @property
    def families(self) -> list[str]:
        """Names of the feature families that the model reads."""
        return [family["name"] for family in self.schema["features"]["families"]]


def shipped() -> list[str]:
    """Names of the models that the package contains."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{_JSON}"))


def save_pretrained(
    folder: str | os.PathLike[str], state_dict: dict[str, torch.Tensor], schema: dict[str, Any], card: dict[str, Any]
) -> Path:
    """Write a model into a folder, and replace the model that is there.

    Other files in the folder stay. Weights of a killed call are removed. A ``README.md`` that is not the card of the
    old model stays, with a warning.

    Args:
        folder: the folder; it is created if it is missing.
        state_dict: weights by name.
        schema: as :attr:`Pretrained.schema`.
        card: as :attr:`Pretrained.card`, as JSON.

    Returns:
        The folder.

    Raises:
        ValueError: if the weights cannot rank, for example after a training that diverged, or the description is longer
            than a reader accepts; nothing is written.
        FileExistsError: if the folder holds a ``model.json`` of another program.
        OSError: if a file cannot be written.
    """
    try:
        refuse_useless(state_dict)
    except ValueError as error:
        raise ValueError(f"Nothing is saved in [{folder}]: {error}") from error
    folder = Path(os.path.expanduser(folder))
    weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()})
    digest = hashlib.sha256(weights).hexdigest()
    name = f"model-{digest[:12]}.safetensors"
    content = {"format": FORMAT, "weights": {"file": name, "sha256": digest}, "schema": schema, "card": card}
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    if len(text) > MOST_JSON_BYTES:  # in ASCII
        raise ValueError(
            f"Nothing is saved in [{folder}]: its {_JSON} would have {len(text)} bytes; at most {MOST_JSON_BYTES} are "
            "read."
        )
    content = json.loads(text)
    readme = model_card(content["schema"], content["card"])  # in the order of the file
    folder.mkdir(parents=True, exist_ok=True)
    with locked_folder(folder, wait=True):
        old = check_model_folder(folder)
        replaces_card = is_card(folder / _CARD, old)
        try:
            with atomic_write(folder / name) as file:
                file.write(weights)
            write_text(folder / _JSON, text)
            if replaces_card:
                write_text(folder / _CARD, readme)
            else:
                warnings.warn(
                    f"[{folder / _CARD}] is not the card of the old model and is kept. The card of the new model is in "
                    f"{_JSON}.",
                    stacklevel=2,
                )
        finally:
            _remove_unused_weights(folder, old)
    return folder


def check_model_folder(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Content of the ``model.json`` of a folder; ``None`` for a missing file.

    Args:
        folder: the folder that a model is to be saved in.

    Raises:
        FileExistsError: if it is a file of another program.
    """
    file = Path(os.path.expanduser(folder)) / _JSON
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        content["format"], content["schema"], content["card"], Path(content["weights"]["file"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileExistsError(
            f"[{file}] is not a model of recbole_universal and would be replaced; name another folder."
        ) from error
    return content


def _remove_unused_weights(folder: Path, old: dict[str, Any] | None) -> None:
    """Remove the weights of the old model, and all weights of this package that ``model.json`` does not name."""
    model = check_model_folder(folder)
    for path in folder.glob("model-*.safetensors"):
        digest = re.fullmatch(r"model-([0-9a-f]{12})\.safetensors", path.name)
        if digest is None or (model is not None and path.name == model["weights"]["file"]):
            continue
        with suppress(OSError):
            replaced = old is not None and path.name == old["weights"]["file"]
            # The name is the hash of the content, so this package wrote the file.
            if replaced or hashlib.sha256(_read_at_most(path)).hexdigest().startswith(digest[1]):
                path.unlink()


def load_pretrained(name_or_path: str | os.PathLike[str], sequence_model: bool = False) -> Pretrained:
    """Read a model.

    Args:
        name_or_path: name of a shipped model, or folder of one.
        sequence_model: whether it is to be a model of UniversalSASRec. Otherwise it is one of universal features.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: if its files are damaged, do not belong together, are of another format or another version of the
            features, or its weights cannot rank; or if it is a model of the other kind.
    """
    folder = model_folder(name_or_path)
    try:
        described = read_description(folder / _JSON)
        if (SEQUENCE_MODEL in described["schema"]) != sequence_model:
            kinds = "a model of universal features", "a model of UniversalSASRec"
            raise ValueError(f"describes {kinds[not sequence_model]}; {kinds[sequence_model]} is needed here.")
        shapes = weight_shapes(described["schema"])
    except ValueError as error:
        raise ValueError(f"Pre-trained model [{folder}]: {_JSON} {error}") from error
    try:
        state_dict = _read_weights(folder, shapes, **described["weights"])
    except FileNotFoundError:
        if read_description(folder / _JSON)["weights"] == described["weights"]:
            raise
        return load_pretrained(name_or_path, sequence_model)  # the model was replaced in the meantime
    except ValueError as error:
        raise ValueError(f"Pre-trained model [{folder}]: {error}") from error
    return Pretrained(state_dict, described["schema"], described["card"])


def _read_weights(folder: Path, shapes: dict[str, list[int]], file: str, sha256: str) -> dict[str, torch.Tensor]:
    """Read a weights file after a check of its hash, names and shapes.

    Args:
        folder: folder of the model.
        shapes: expected shape of each tensor by name.
        file: name of the weights file.
        sha256: expected hash of the weights file.

    Returns:
        float32 tensors by name.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if the file is another file than ``model.json`` describes.
    """
    if not re.fullmatch(r"\w[\w.-]{0,199}", file):
        raise ValueError(f"the weights file must be in the folder of the model, not at {file[:200]!r}.")
    path = folder / file
    if not path.is_file():
        raise FileNotFoundError(f"Pre-trained model [{folder}]: its weights file {file} is missing.")
    if path.resolve().parent != folder.resolve():
        raise ValueError(f"the weights file must be in the folder of the model; {file} is a link to another folder.")
    content = _read_at_most(path)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"{file} is larger than {_MOST_BYTES} bytes; no universal model is.")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(
            f"{file} is not the file that {_JSON} describes (sha256 differs): it is damaged or was replaced. Copy the "
            "model again."
        )
    try:
        if int.from_bytes(content[:8], "little") > _MOST_HEADER_BYTES:
            raise SafetensorError("its header is too long")
        tensors = dict(deserialize(content))
    except SafetensorError as error:
        raise ValueError(f"{file} is no safetensors file ({error}).") from error
    actual = {name: (tensor["dtype"], list(tensor["shape"])) for name, tensor in tensors.items()}
    expected = {name: ("F32", shape) for name, shape in shapes.items()}
    for name in sorted(actual.keys() | expected.keys()):
        if actual.get(name) != expected.get(name):
            raise ValueError(
                f"{file} does not hold the weights of the network that {_JSON} describes: {name[:200]} is "
                f"{_described(actual.get(name))}, not {_described(expected.get(name))}."
            )
    weights = load(content)
    refuse_useless(weights)
    return weights


def _read_at_most(path: Path) -> bytes:
    """Content of a file, at most one byte more than the largest model has."""
    with open(path, "rb") as stream:
        return stream.read(_MOST_BYTES + 1)


def refuse_useless(weights: dict[str, torch.Tensor]) -> None:
    """Check that weights can rank.

    Args:
        weights: tensors by name.

    Raises:
        ValueError: if any is NaN or infinite, a scale is not positive, or all are zero.
    """
    for name, tensor in weights.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(
                f"the weights {name} hold NaN or infinite numbers: they are damaged, or the training diverged (a "
                "smaller learning_rate helps)."
            )
        if name.endswith("pair_scale") and not bool((tensor > 0).all()):
            raise ValueError(f"the weights {name} must be greater than 0.")
    if not any(bool(tensor.any()) for name, tensor in weights.items() if name.endswith(".weight")):
        raise ValueError("all weights are 0, so the model cannot rank.")


def _described(tensor: tuple[str, list[int]] | None) -> str:
    return "missing" if tensor is None else f"{tensor[0]} {tensor[1]}"


def model_folder(name_or_path: str | os.PathLike[str]) -> Path:
    """Folder of a model.

    Args:
        name_or_path: as for :func:`load_pretrained`.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: if the argument is no name and no path.
    """
    if not isinstance(name_or_path, (str, os.PathLike)) or not os.fspath(name_or_path):
        raise ValueError(f"pretrained: must be a name or a folder, got {shown(name_or_path)}; shipped: {shipped()}.")
    if str(name_or_path) in shipped():
        return _SHIPPED / str(name_or_path)
    folder = Path(os.path.expanduser(name_or_path))
    if not (folder / _JSON).is_file():
        raise FileNotFoundError(
            f"pretrained: [{name_or_path}] is neither a shipped model (there are: {', '.join(shipped()) or 'none'}) "
            f"nor a folder with a {_JSON}."
        )
    return folder
