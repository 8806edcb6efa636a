"""The content that UniversalSASRec reads, out of a RecBole dataset and the keys ``content_*``."""

from __future__ import annotations

from typing import Any

import torch

from recbole_universal.array_store import ArrayStore
from recbole_universal.content.encoders import text_encoder
from recbole_universal.content.spaces import encoded_texts, text_space
from recbole_universal.plugin.content_fields import arrays_of_config, texts_of_config
from recbole_universal.sequential.item_inputs import ItemInputs, aligned, scaled, words_of_items


def item_content(config: Any, dataset: Any) -> ItemInputs:
    """The content of the items of a dataset, by RecBole's internal item ids.

    Args:
        config: RecBole ``Config`` with the keys of ``properties/model/UniversalSASRec.yaml``.
        dataset: the dataset, with its item file loaded.

    Raises:
        ValueError: if no item has content, a file does not fit the items, or a name is given twice.
        ImportError: if an encoder needs a package that is not installed.
    """
    if config["item_encoder"] == "id":
        return ItemInputs()
    texts = texts_of_config(dataset)
    if config["item_encoder"] == "words":
        if not any(texts):
            raise _without_content(dataset)
        pieces, starts = words_of_items(texts)
        return ItemInputs({}, pieces, starts)
    vectors = _text_vectors(config, texts) if any(texts) else {}
    vectors |= {name: aligned(array) for name, array in arrays_of_config(dataset).items()}
    if not vectors:
        raise _without_content(dataset)
    return ItemInputs(vectors)


def catalogue_bound(config: Any) -> list[str]:
    """Encoders of the config whose coordinates mean something else in every catalogue, so that nothing transfers."""
    return [name for name in config["content_encoders"] if text_encoder(name).counts_words]


def _text_vectors(config: Any, texts: list[str]) -> dict[str, torch.Tensor]:
    store = ArrayStore(config["universal_cache_dir"])
    vectors = {}
    for name in config["content_encoders"]:
        encoder = text_encoder(name)
        if encoder.counts_words:
            vectors[name] = scaled(text_space(texts, encoder).vectors)
        else:
            vectors[name] = aligned(encoded_texts(texts, encoder, store))
    return vectors


def _without_content(dataset: Any) -> ValueError:
    return ValueError(
        f"item_encoder: dataset [{dataset.dataset_name}] has no content that is read. Load text of the items, such as "
        "load_col: {inter: [...], item: [item_id, title]}, or name arrays with content_files; item_encoder: id needs "
        "none."
    )
