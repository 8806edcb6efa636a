"""Tensors and their description in one file (safetensors). Every changed bit is noticed; nothing is executable."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from recbole_universal.features.cache import array_digest, canonical_json
from recbole_universal.files import atomic_write


def write_tensors(file: str | os.PathLike[str], tensors: Mapping[str, torch.Tensor], described: Any) -> None:
    """Write a file whole or not at all.

    Args:
        file: the file; its folder exists.
        tensors: by name.
        described: what they are, as JSON.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = canonical_json(described)
    content = save(tensors, metadata={"described": text, "checksum": _checksum(tensors, text)})
    with atomic_write(file) as stream:
        stream.write(content)


def read_tensors(file: str | os.PathLike[str]) -> tuple[dict[str, torch.Tensor], Any]:
    """What :func:`write_tensors` wrote: the tensors, on the CPU, and their description.

    Raises:
        ValueError: if the file is damaged or of another kind.
    """
    try:
        with safe_open(file, framework="pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}
        if metadata.get("checksum") != _checksum(tensors, metadata.get("described", "")):
            raise ValueError("its checksum does not match")
        return tensors, json.loads(metadata["described"])
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(str(error)) from error


def _checksum(tensors: Mapping[str, torch.Tensor], text: str) -> str:
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return array_digest({**arrays, f"\\n{text}": torch.empty(0).numpy()})
