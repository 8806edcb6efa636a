"""The content of one catalogue, in a form that weights of another catalogue can read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_universal.content.static_table import FOLDER, VOCABULARY
from recbole_universal.content.whitening import whitened
from recbole_universal.content.wordpiece import WordPiece

#: Pieces of a text that are read: the beginning of a title with its description.
MOST_PIECES = 64


@dataclass(frozen=True)
class ItemInputs:
    """Vectors and words of the items of a catalogue.

    Attributes:
        vectors: by modality, float32 [n_items, dim]; a row of zeros is an item without this modality.
        pieces: word pieces of all items one after another, int64 [n_pieces]; ``None``: no words are read.
        starts: index in ``pieces`` of the first piece of each item, int64 [n_items].
    """

    vectors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    pieces: torch.Tensor | None = None
    starts: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> ItemInputs:
        """The same on a device."""
        words = (None if part is None else part.to(device) for part in (self.pieces, self.starts))
        return ItemInputs({name: rows.to(device) for name, rows in self.vectors.items()}, *words)

    @property
    def dims(self) -> dict[str, int]:
        """Dimensions by modality."""
        return {name: vectors.shape[1] for name, vectors in self.vectors.items()}


def aligned(vectors: NDArray) -> torch.Tensor:
    """Whitened vectors on the axes of their encoder, so that weights of one catalogue fit another.

    :func:`whitened` alone returns the principal axes of the catalogue, and its first axis is another one in every
    catalogue. Rows have length sqrt(dim), so that a coordinate is about 1 whatever the encoder.

    Args:
        vectors: finite, float [n_items, dim]; a row of zeros is an item without a vector.

    Returns:
        float32 [n_items, dim].
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    has_vector = np.abs(vectors).max(axis=1, initial=0) > 0
    return torch.from_numpy(whitened(vectors, has_vector, keep_axes=True) * np.float32(vectors.shape[1] ** 0.5))


def scaled(vectors: NDArray) -> torch.Tensor:
    """Rows of length one, brought to the length sqrt(dim), float32 [n_items, dim]."""
    return torch.from_numpy(np.asarray(vectors, dtype=np.float32) * np.float32(vectors.shape[1] ** 0.5))


def vocabulary() -> list[str]:
    """The shipped word pieces by index."""
    return json.loads((FOLDER / VOCABULARY).read_text(encoding="utf-8"))


def words_of_items(texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Word pieces of the items, see :attr:`ItemInputs.pieces` and :attr:`ItemInputs.starts`.

    Args:
        texts: text of each item, [n_items]; "" for an item without text.
    """
    pieces = WordPiece(vocabulary()).all_pieces(texts, MOST_PIECES)
    lengths = np.array([len(each) for each in pieces], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(lengths) else np.zeros(0, dtype=np.int64)
    flat = np.array([piece for each in pieces for piece in each], dtype=np.int64)
    return torch.from_numpy(flat), torch.from_numpy(starts)
