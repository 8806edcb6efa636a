"""Spaces of item vectors: one for each encoder of the texts and for each array that a user brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal import arguments
from recbole_universal.array_store import ArrayStore
from recbole_universal.content.arrays import real_numbers
from recbole_universal.content.encoders import TextEncoder, text_digest
from recbole_universal.content.whitening import unit_rows, whitened
from recbole_universal.graph.content_relation import ContentRelation
from recbole_universal.graph.item_models import row_blocks

#: Dimensions of a space. More say little about an item and cost memory.
MOST_DIMS = 256


@dataclass(frozen=True)
class Space:
    """Vectors of items in one space. An item without a vector has a row of zeros, whose cosines are 0.

    Attributes:
        name: the encoder or the array.
        vectors: rows of length one, float32 [n_items, dim].
        words: rows of length one that are more exact for cosines, csr float32 [n_items, n_words]; ``None``: there are
            none.
        has_vector: bool [n_items].
        parts: the spaces that this one combines; its cosines are the mean of theirs.
    """

    name: str
    vectors: NDArray[np.float32]
    words: sp.csr_matrix | None
    has_vector: NDArray[np.bool_]
    parts: tuple[Space, ...] = ()

    def cosines(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Cosines of some items and others, float32 [n_rows, n_columns]."""
        return self._cosines(rows, self._transposed(columns))

    def _transposed(self, columns: NDArray[np.int64]) -> list[Any]:
        """The rows of some items in each part as columns, dense or sparse [dim, n_columns]."""
        if self.parts:
            return [transposed for part in self.parts for transposed in part._transposed(columns)]
        return [self.vectors[columns].T if self.words is None else self.words[columns].T.tocsr()]

    def _cosines(self, rows: NDArray[np.int64], transposed: Sequence[Any]) -> NDArray[np.float32]:
        """Cosines of some items and those of :meth:`_transposed`, float32 [n_rows, n_columns]."""
        if self.parts:
            of_parts = [part._cosines(rows, [each]) for part, each in zip(self.parts, transposed, strict=True)]
            return np.mean(of_parts, axis=0, dtype=np.float32)
        if self.words is None:
            return self.vectors[rows] @ transposed[0]
        return (self.words[rows] @ transposed[0]).toarray()

    def neighbors(self, rows: NDArray[np.int64], columns: NDArray[np.int64], k: int) -> sp.csr_matrix:
        """The k nearest items of some items by cosine.

        Args:
            rows: the items, int64 [n_rows].
            columns: the items among which to search, distinct, int64 [n_columns].
            k: number of neighbours.

        Returns:
            Positive cosines, csr float32 [n_rows, n_items]. An item is no neighbour of itself. An item without a vector
            has no neighbours.
        """
        n_items = len(self.vectors)
        transposed = self._transposed(columns)  # once, since a copy of a large catalogue takes as long as a block
        blocks = []
        for block in row_blocks(np.full(len(rows), len(columns)), len(columns)):
            cosines = self._cosines(rows[block], transposed)
            cosines[rows[block][:, None] == columns[None, :]] = 0.0
            blocks.append(_largest(cosines, columns, k, n_items))
        return sp.vstack(blocks, format="csr", dtype=np.float32)


def combined(spaces: Sequence[Space]) -> Space:
    """One space of several, in which a cosine is the mean of the cosines; the spaces have the same items."""
    vectors = np.concatenate([space.vectors for space in spaces], axis=1)
    has_vector = np.any([space.has_vector for space in spaces], axis=0)
    return Space("combined", unit_rows(vectors), None, has_vector, tuple(spaces))


#: Number of nearest items of an item in :func:`content_relation`, and of the items among which they are searched.
N_NEAREST, MOST_SEARCHED = 50, 100_000


def content_relation(spaces: Sequence[Space], degree: NDArray[np.int64]) -> ContentRelation:
    """The nearest items of each item with interactions by content, and vectors for the cosines of all pairs.

    Several spaces count the same. The nearest items are searched among the 100,000 items with the most interactions.
    So the time is quadratic in the number of items up to there, and linear beyond (docs/content.md has figures).

    Args:
        spaces: at least one, of the same items.
        degree: number of interactions of each item, int64 [n_items].

    Returns:
        The relation, in which items without interactions have no content.

    Raises:
        ValueError: if a space is of another number of items.
    """
    for space in spaces:
        if not isinstance(space, Space):
            raise ValueError(f"content: must be spaces (text_space, array_space), got {type(space).__name__}.")
        if len(space.vectors) != len(degree):
            raise ValueError(
                f"content: the space [{space.name}] has {len(space.vectors)} items, and there are {len(degree)}."
            )
    items = np.flatnonzero(degree)
    searched = np.sort(items[np.argsort(-degree[items], kind="stable")[:MOST_SEARCHED]])
    space = spaces[0] if len(spaces) == 1 else combined(spaces)
    cosines = _spread_rows(space.neighbors(items, searched, N_NEAREST), degree > 0)
    vectors = np.where(degree[:, None] > 0, space.vectors, np.float32(0))
    return ContentRelation(cosines, vectors)


def _largest(values: NDArray[np.float32], columns: NDArray[np.int64], k: int, n_items: int) -> sp.csr_matrix:
    """The k largest positive entries of each row, csr [n, n_items]."""
    k = min(k, values.shape[1])
    best = np.argpartition(-values, k - 1, axis=1)[:, :k] if k < values.shape[1] else np.argsort(-values, axis=1)
    chosen = np.take_along_axis(values, best, axis=1)
    row, place = np.nonzero(chosen > 0)
    entries = (row, columns[best[row, place]])
    return sp.csr_matrix((chosen[row, place], entries), shape=(len(values), n_items), dtype=np.float32)


def text_space(texts: Sequence[str], encoder: TextEncoder, store: ArrayStore | None = None) -> Space:
    """The space of an encoder, whitened for this catalogue.

    Args:
        texts: text of each item, [n_items]; "" for an item without text, which gets no vector.
        encoder: the encoder.
        store: cache of what the encoder computes, keyed by encoder and texts; ``None``: none.

    Raises:
        ValueError: if the encoder returns no array of one finite vector a text.
    """
    has_text = np.array([bool(text) for text in texts], dtype=bool)
    given = [text for text in texts if text]
    if encoder.counts_words:
        words = encoder.words(given)
        vectors = unit_rows(_largest_components(words))
        full = _spread_rows(words, has_text)
        dense = np.zeros((len(texts), vectors.shape[1]), dtype=np.float32)
        dense[has_text] = vectors
        return Space(encoder.name, dense, full, np.diff(full.indptr) > 0)
    return array_space(encoder.name, encoded_texts(texts, encoder, store))


def encoded_texts(texts: Sequence[str], encoder: TextEncoder, store: ArrayStore | None = None) -> NDArray[np.float32]:
    """Vectors of a dense encoder as it returns them, float32 [n_texts, dim]; zeros for "".

    Args:
        texts: as for :func:`text_space`.
        encoder: as for :func:`text_space`.
        store: as for :func:`text_space`.

    Raises:
        ValueError: as :func:`text_space`.
    """
    given = [text for text in texts if text]
    key = {"encoder": encoder.name, "version": encoder.version, "texts": text_digest(given)}
    folder = ArrayStore(None) if store is None or encoder.version is None else store
    encoded = folder.get(f"content-{encoder.name}", key, lambda: {"vectors": encoder.encode(given)})["vectors"]
    dense = np.zeros((len(texts), encoded.shape[1]), dtype=np.float32)
    dense[np.array([bool(text) for text in texts], dtype=bool)] = encoded
    return dense


def array_space(name: str, array: NDArray) -> Space:
    """The space of an array, whitened for this catalogue.

    Args:
        name: name of the space.
        array: finite, float [n_items, dim]; a row of zeros is an item without a vector.

    Raises:
        ValueError: if it is no such array.
    """
    vectors = real_numbers(array, f"array_space: [{name}]")
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ValueError(f"array_space: [{name}] must be finite numbers [n_items, dim], got {arguments.shown(array)}.")
    has_vector = np.abs(vectors).max(axis=1, initial=0) > 0
    if vectors.shape[1] > MOST_DIMS and has_vector.any():
        rows = unit_rows(vectors[has_vector])
        reduced = _largest_components(rows - rows.mean(axis=0))
        vectors = np.zeros((len(vectors), reduced.shape[1]), dtype=np.float32)
        vectors[has_vector] = reduced
    return Space(name, whitened(vectors, has_vector), None, has_vector)


def _largest_components(rows: NDArray | sp.csr_matrix) -> NDArray[np.float32]:
    """Truncated singular value decomposition, float32 [n, at most MOST_DIMS]; few or zero rows stay as they are."""
    from sklearn.decomposition import TruncatedSVD

    rank = min(MOST_DIMS, min(rows.shape) - 1)
    if rank < 1 or not abs(rows).max():
        return np.asarray(rows if isinstance(rows, np.ndarray) else rows.toarray(), dtype=np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):  # shares of the variance of equal rows, which nothing reads
        return TruncatedSVD(rank, random_state=0).fit_transform(rows).astype(np.float32)


def _spread_rows(rows: sp.csr_matrix, to: NDArray[np.bool_]) -> sp.csr_matrix:
    """A matrix with the given rows at the marked places, and empty rows elsewhere."""
    lengths = np.zeros(len(to), dtype=np.int64)
    lengths[to] = np.diff(rows.indptr)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return sp.csr_matrix((rows.data, rows.indices, indptr), shape=(len(to), rows.shape[1]))
