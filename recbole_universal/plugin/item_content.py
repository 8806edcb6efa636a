"""The content that UniversalSASRec reads, out of a RecBole dataset and the keys ``content_*``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from numpy.typing import NDArray

from recbole_universal.array_store import ArrayStore
from recbole_universal.content.defaults import DEFAULT_ENCODERS
from recbole_universal.content.encoders import text_encoder
from recbole_universal.content.spaces import Space, array_space, encoded_texts, text_space
from recbole_universal.plugin.content_fields import arrays_of_config, check_join, encoder_cache, texts_of_config
from recbole_universal.plugin.dataset import training_matrix
from recbole_universal.plugin.item_file import about_item_file
from recbole_universal.sequential.item_inputs import ItemInputs, aligned, scaled, words_of_items


def item_content(config: Any, dataset: Any) -> ItemInputs:
    """The content of the items of a dataset, by RecBole's internal item ids.

    Args:
        config: RecBole ``Config`` with the keys of ``properties/model/UniversalSASRec.yaml``.
        dataset: the training dataset, with its item file loaded.

    Raises:
        ValueError: if no item has content, a file does not fit the items, a name is given twice, or the content belongs
            to other items.
        ImportError: if an encoder needs a package that is not installed.
    """
    if config["item_encoder"] == "id":
        return ItemInputs()
    texts, cache = texts_of_config(dataset), encoder_cache(config)
    if config["item_encoder"] == "words":
        if not any(texts):
            raise _without_content(dataset)
        check_join(dataset, training_matrix(dataset), _groups(texts, [], {}, cache))
        pieces, starts = words_of_items(texts)
        return ItemInputs({}, pieces, starts)
    arrays = arrays_of_config(dataset)
    encoded = [_encoded(name, texts, cache) for name in config["content_encoders"]] if any(texts) else []
    vectors = {space.name: rows for space, rows in encoded} | {name: aligned(rows) for name, rows in arrays.items()}
    if not vectors:
        raise _without_content(dataset)
    check_join(dataset, training_matrix(dataset), _groups(texts, [space for space, _ in encoded], arrays, cache))
    return ItemInputs(vectors)


def catalogue_bound(config: Any) -> list[str]:
    """Encoders of the config whose coordinates mean something else in every catalogue, so that nothing transfers."""
    return [name for name in config["content_encoders"] if text_encoder(name).counts_words]


def _encoded(name: str, texts: list[str], cache: ArrayStore) -> tuple[Space, torch.Tensor]:
    """The space of an encoder, and the vectors that the model reads, float32 [n_items, dim]."""
    encoder = text_encoder(name)
    if encoder.counts_words:
        space = text_space(texts, encoder)
        return space, scaled(space.vectors)
    rows = encoded_texts(texts, encoder, cache)
    return array_space(name, rows), aligned(rows)


def _groups(
    texts: list[str], read: list[Space], arrays: Mapping[str, NDArray], cache: ArrayStore
) -> Iterator[list[Space]]:
    """The spaces of the join test, a group for the texts and one for each array.

    The default encoders see texts, too: one of several that sees the join is enough, and words are read by none.

    Args:
        texts: text of each item.
        read: spaces of the texts that the model reads.
        arrays: arrays of the items by name.
        cache: cache of what encoders compute.
    """
    others = set(DEFAULT_ENCODERS) - {space.name for space in read}
    if any(texts):
        yield read + [text_space(texts, text_encoder(name), cache) for name in DEFAULT_ENCODERS if name in others]
    yield from ([array_space(name, array)] for name, array in arrays.items())


def _without_content(dataset: Any) -> ValueError:
    return ValueError(
        f"item_encoder: dataset [{dataset.dataset_name}] has no content that is read. Load text of the items, such as "
        "load_col: {inter: [...], item: [item_id, title]}, or name arrays with content_files; item_encoder: id needs "
        f"none. {about_item_file(dataset)}"
    )
