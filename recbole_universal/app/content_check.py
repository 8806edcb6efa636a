"""The join test of a table of items with a file of interactions, for ``doctor`` and ``analyze``."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd

from recbole_universal.content.arrays import item_vectors
from recbole_universal.content.defaults import DEFAULT_ENCODERS
from recbole_universal.content.encoders import text_encoder
from recbole_universal.content.join_test import JoinTest, content_join_z
from recbole_universal.content.spaces import Space, array_space, text_space
from recbole_universal.content.texts import texts_of_table
from recbole_universal.io.interaction_table import InteractionTable
from recbole_universal.io.item_table import read_items
from recbole_universal.io.source import Report

_VECTORS = (".npz", ".npy")


def content_spaces(
    source: str | os.PathLike[str] | pd.DataFrame,
    items: pd.Index,
    fields: Sequence[str] | None,
    encoders: Sequence[str],
    report: Report,
) -> list[Space]:
    """Spaces of a catalogue's items out of one file.

    Args:
        source: a table of items, or a file ``.npz`` or ``.npy`` of vectors.
        items: the ids of the catalogue, [n_items].
        fields: columns of text; ``None``: all that hold text.
        encoders: names of encoders of the texts.
        report: receives a sentence on rows that are left out.

    Raises:
        ValueError: if the file is no such table or array, fits no item, or holds no text.
        OSError: if it cannot be read.
        ImportError: if an encoder needs a package that is not installed.
    """
    if isinstance(source, (str, os.PathLike)) and os.fspath(source).lower().endswith(_VECTORS):
        return [array_space("vectors", item_vectors(source, items, "items (--items)"))]
    table = read_items(source, None, report)
    texts = texts_of_table(table.frame, table.ids, items, fields, "items (--items)")
    if not any(texts):
        raise ValueError("items (--items): no column holds text; name the columns with --content-fields.")
    return [text_space(texts, text_encoder(name)) for name in encoders]


def join_tests(
    interactions: InteractionTable,
    source: str | os.PathLike[str] | pd.DataFrame,
    report: Report,
    fields: Sequence[str] | None = None,
    encoders: Sequence[str] = DEFAULT_ENCODERS,
) -> list[JoinTest]:
    """Test whether a file of content belongs to the items of some interactions.

    Args:
        interactions: the interactions.
        source: as in :func:`content_spaces`.
        report: likewise.
        fields: likewise.
        encoders: likewise.

    Returns:
        The result of each space.

    Raises:
        ValueError, OSError, ImportError: as :func:`content_spaces`.
    """
    matrix = interactions.matrix()
    items = interactions.items[interactions.item_order]  # in the order of the columns
    spaces = content_spaces(source, items, fields, encoders, report)
    return [content_join_z(matrix, space, np.arange(len(items))) for space in spaces]


def join_table(tests: Sequence[JoinTest]) -> pd.DataFrame:
    """The results as a table, one row a space."""
    return pd.DataFrame(
        [
            {
                "space": test.space,
                "z": test.z,
                "cosine, one user": test.same_user,
                "cosine, shuffled": test.shuffled,
                "pairs": test.n_pairs,
                "interactions with content": test.share,
                "z of a shift": test.shift_z,
                "belongs": "no" if test.refused() else "too few pairs" if np.isnan(test.z) else "yes",
            }
            for test in tests
        ]
    )
