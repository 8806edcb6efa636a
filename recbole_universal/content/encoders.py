"""Encoders of texts, in one registry. Each turns texts into vectors and is not trained on the interactions."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal import arguments
from recbole_universal.content.arrays import real_numbers

#: An encoder of the user: from texts to an array [n_texts, dim].
Callback = Callable[[list[str]], Any]
# A word that fewer texts have relates no items; a word in more than half of them tells none apart.
_LEAST_TEXTS, _LARGEST_SHARE, _MOST_WORDS = 2, 0.5, 50_000


class TextEncoder:
    """One encoder.

    Attributes:
        name: its name.
        version: changes when its vectors do, for the cache; ``None``: unknown, so nothing is cached.
        counts_words: whether it returns counts of words, by :meth:`words`, and no dense vectors.
    """

    counts_words = False

    def __init__(self, name: str, version: str | None, encode: Callback | None) -> None:
        self.name, self.version, self._encode = name, version, encode

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of some texts, none of them empty, float32 [n_texts, dim].

        Raises:
            ValueError: if the function raises an error, or its result is no array of one finite vector a text.
        """
        assert self._encode is not None
        if not texts:
            return np.zeros((0, 1), dtype=np.float32)
        try:
            returned = self._encode(list(texts))
        except Exception as error:  # whatever a function of the user raises
            raise ValueError(f"The encoder [{self.name}] raised {type(error).__name__}: {error}") from error
        vectors = real_numbers(returned, f"The result of the encoder [{self.name}]")
        if vectors.ndim != 2 or len(vectors) != len(texts) or not vectors.shape[1]:
            raise ValueError(
                f"The encoder [{self.name}] returned an array of shape {vectors.shape} for {len(texts)} texts; it must "
                "be [n_texts, dim]."
            )
        if wrong := int((~np.isfinite(vectors)).any(axis=1).sum()):
            raise ValueError(f"The encoder [{self.name}] returned NaN or infinity for {wrong} of {len(texts)} texts.")
        return vectors

    def words(self, texts: Sequence[str]) -> sp.csr_matrix:
        """Weights of words in some texts, rows of length one, csr float32 [n_texts, n_words]."""
        raise NotImplementedError


class _WordCounts(TextEncoder):
    """TF-IDF of the catalogue's own words, any language."""

    counts_words = True

    def words(self, texts: Sequence[str]) -> sp.csr_matrix:
        from sklearn.feature_extraction.text import TfidfVectorizer

        least = _LEAST_TEXTS if len(texts) > 2 * _LEAST_TEXTS else 1
        most = max(least, int(_LARGEST_SHARE * len(texts))) if len(texts) > 2 * _LEAST_TEXTS else len(texts)
        counter = TfidfVectorizer(
            sublinear_tf=True,
            strip_accents="unicode",
            token_pattern=r"(?u)\b\w+\b",
            min_df=least,
            max_df=most,
            max_features=_MOST_WORDS,
            dtype=np.float32,
        )
        try:
            return sp.csr_matrix(counter.fit_transform(texts))
        except ValueError:  # no word is in two texts, or there is no text
            return sp.csr_matrix((len(texts), 1), dtype=np.float32)


def _distil(_: str) -> TextEncoder:
    from recbole_universal.content.static_table import TABLE_DIGEST, StaticTable

    return TextEncoder("distil", TABLE_DIGEST, StaticTable().encode)


def _minilm(_: str) -> TextEncoder:
    from recbole_universal.content.minilm import MiniLM

    return TextEncoder("minilm", "all-MiniLM-L6-v2, 128 pieces", MiniLM().encode)


def _sentence_transformers(model: str) -> TextEncoder:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ImportError(
            f"The encoder sentence-transformers:{model} needs pip install sentence-transformers"
        ) from error
    loaded = SentenceTransformer(model)
    version = _version("sentence-transformers", model)
    return TextEncoder(f"sentence-transformers:{model}", version, lambda texts: loaded.encode(texts))


def _model2vec(model: str) -> TextEncoder:
    try:
        from model2vec import StaticModel
    except ImportError as error:
        raise ImportError(f"The encoder model2vec:{model} needs pip install model2vec") from error
    loaded = StaticModel.from_pretrained(model)
    return TextEncoder(f"model2vec:{model}", _version("model2vec", model), lambda texts: loaded.encode(texts))


def _version(library: str, model: str) -> str | None:
    """Version of a library, for the cache; ``None`` for a model in a folder, whose files may change."""
    if os.path.exists(model):
        return None
    try:
        return f"{library} {importlib.metadata.version(library)}"
    except importlib.metadata.PackageNotFoundError:
        return None


#: Encoders by name, and libraries by the name before a colon and the name of a model.
ENCODERS: dict[str, Callable[[str], TextEncoder]] = {
    "tfidf": lambda _: _WordCounts("tfidf", None, None),
    "distil": _distil,
    "minilm": _minilm,
}
LIBRARIES: dict[str, Callable[[str], TextEncoder]] = {
    "sentence-transformers": _sentence_transformers,
    "model2vec": _model2vec,
}


def text_encoder(given: str | Callback | TextEncoder) -> TextEncoder:
    """An encoder by name, or made of a function.

    Args:
        given: ``tfidf``, ``distil``, ``minilm``, ``sentence-transformers:MODEL`` or ``model2vec:MODEL``, where MODEL is
            the name or the folder of a model; or a function from a list of texts to an array [n_texts, dim].

    Raises:
        ValueError: if there is no such encoder.
        ImportError: if it needs a package that is not installed.
    """
    if isinstance(given, TextEncoder):
        return given
    if isinstance(given, str):
        library, _, model = given.partition(":")
        if is_encoder(given):
            return ENCODERS[given](given) if given in ENCODERS else LIBRARIES[library](model)
    elif callable(given):
        return TextEncoder(getattr(given, "__name__", "function"), None, given)
    raise ValueError(f"encoder: must be one of {known_encoders()}, or a function, got {arguments.shown(given)}.")


def known_encoders() -> str:
    """The names of all encoders, for messages."""
    return ", ".join([*ENCODERS, *(f"{name}:MODEL" for name in LIBRARIES)])


def is_encoder(name: str) -> bool:
    """Whether :func:`text_encoder` knows a name; the model that it names may be missing."""
    library, _, model = name.partition(":")
    return name in ENCODERS or (library in LIBRARIES and bool(model))


def text_digest(texts: Sequence[str]) -> str:
    """SHA-256 of some texts in their order, in hexadecimal."""
    digest = hashlib.sha256()
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()
