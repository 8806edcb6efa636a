"""The encoder ``distil``: the mean of shipped token vectors, which no network computes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recbole_universal.array_store import read_arrays
from recbole_universal.content.wordpiece import WordPiece

#: Folder of the shipped table. ``benchmarks/distil_tokens.py`` makes it; its README.md names source and licence.
FOLDER = Path(__file__).parent / "distil"
TABLE, VOCABULARY = "tokens.safetensors", "vocabulary.json"
KEY = {"format": 1, "name": "distil"}
#: Changes with the table, for caches of what it computes. A test compares it with the file.
TABLE_DIGEST = "111b6f49f36d53b2"
# Texts whose pieces are in memory at once.
_BLOCK = 4096


class StaticTable:
    """Token vectors, weighted by how rare the tokens are.

    Args:
        folder: folder of the table.

    Raises:
        OSError: if a file is missing.
        ValueError: if a file is damaged.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        arrays, _ = read_arrays(folder / TABLE, KEY)
        self._tokenizer = WordPiece(json.loads((folder / VOCABULARY).read_text(encoding="utf-8")))
        self._vectors = arrays["codes"].astype(np.float32) * arrays["scale"].astype(np.float32)[:, None]
        if len(self._vectors) != len(self._tokenizer):
            raise ValueError(f"{folder}: the table and its vocabulary differ in length")

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Mean of the vectors of each text's pieces, float32 [n_texts, 64]; 0 for a text without pieces."""
        means = np.zeros((len(texts), self._vectors.shape[1]), dtype=np.float32)
        for start in range(0, len(texts), _BLOCK):
            pieces = self._tokenizer.all_pieces(texts[start : start + _BLOCK])
            for row, each in enumerate(pieces, start):
                if each:
                    means[row] = self._vectors[each].mean(axis=0)
        return means
