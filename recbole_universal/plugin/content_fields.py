"""Content of the items of a RecBole dataset: texts of its ``.item`` file, and vectors of ``preload_weight``."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from recbole.data.dataset import Dataset

from recbole_universal.array_store import ArrayStore
from recbole_universal.content.arrays import item_vectors, read_vectors
from recbole_universal.content.defaults import DEFAULT_ENCODERS
from recbole_universal.content.encoders import Callback, TextEncoder, text_encoder
from recbole_universal.content.join_test import content_join_z, refuse_wrong_join
from recbole_universal.content.spaces import Space, array_space, content_relation, text_space
from recbole_universal.content.texts import chosen_fields, item_texts
from recbole_universal.graph.content_relation import ContentRelation
from recbole_universal.plugin.item_file import TEXT_TYPES, about_item_file, check_loaded, check_texts
from recbole_universal.ranking.network import CANDIDATE_FAMILIES

_READING = [[family] for family in CANDIDATE_FAMILIES]


def content_of_dataset(
    dataset: Dataset,
    fields: Sequence[str] | None = None,
    encoders: Sequence[str | Callback | TextEncoder] = DEFAULT_ENCODERS,
    store: ArrayStore | None = None,
) -> list[Space]:
    """Spaces of the items of a dataset, by RecBole's internal item ids; the padding id 0 has no content.

    The fields must be loaded, for example by ``load_col: {inter: [...], item: [item_id, title]}``. Vectors are those
    that ``preload_weight`` aligns with the items, by ``additional_feat_suffix`` and ``alias_of_item_id``.

    Args:
        dataset: a dataset of RecBole.
        fields: fields of type ``token`` or ``token_seq`` that hold text; ``None``: those whose values have letters, see
            :func:`recbole_universal.content.texts.is_text`. Float fields are no text.
        encoders: encoders of the texts.
        store: cache of what the encoders compute.

    Returns:
        One space for each encoder, if there is text, and one for each preloaded array.

    Raises:
        ValueError: if a field does not exist, or an array has NaN or another length.
    """
    return _spaces(texts_of_dataset(dataset, fields), encoders, preloaded_arrays(dataset), store)


def texts_of_dataset(dataset: Dataset, fields: Sequence[str] | None = None) -> list[str]:
    """The text of each item by RecBole's internal item id, [n_items]; "" for the padding id and items without text.

    Args:
        dataset: a dataset of RecBole.
        fields: as for :func:`content_of_dataset`.

    Raises:
        ValueError: if a field does not exist.
    """
    check_texts(dataset, fields or ())
    columns = _text_columns(dataset)
    return item_texts(columns, chosen_fields(columns, fields, "the item file"), dataset.item_num)


def preloaded_arrays(dataset: Dataset) -> dict[str, NDArray[np.float32]]:
    """Arrays of ``preload_weight`` by the name of their field, float32 [n_items, dim]; zeros for items without a row.

    Raises:
        ValueError: if an array has NaN or another length.
    """
    items = pd.Index(dataset.field2id_token[dataset.iid_field])
    arrays = {}
    for field in dataset.config["preload_weight"] or {}:
        if len(dataset.field2id_token.get(field, ())) == len(items):
            array = np.asarray(dataset.get_preload_weight(field), dtype=np.float32).reshape(len(items), -1)
            arrays[field] = item_vectors(array, items, f"preload_weight: [{field}]")
    return arrays


def texts_of_config(dataset: Dataset) -> list[str]:
    """The text of each item in the fields of ``content_fields``, [n_items]; all "" if the key is empty.

    Raises:
        ValueError: if a field does not exist, here or in ``load_col``.
    """
    fields = dataset.config["content_fields"]
    if not fields:
        return [""] * dataset.item_num
    check_loaded(dataset)
    return texts_of_dataset(dataset, None if fields == "auto" else fields)


def arrays_of_config(dataset: Dataset) -> dict[str, NDArray[np.float32]]:
    """Arrays of ``preload_weight`` and of the files of ``content_files`` by name, as :func:`preloaded_arrays`.

    Raises:
        ValueError: if an array does not fit the items, or a name is given twice.
        OSError: if a file cannot be read.
    """
    config, arrays = dataset.config, preloaded_arrays(dataset)
    items = pd.Index(dataset.field2id_token[dataset.iid_field][1:])  # without the padding id
    for name, path in (config["content_files"] or {}).items():
        if name in arrays:
            raise ValueError(f"content_files: the name [{name}] is that of a field of preload_weight; give another.")
        if config["content_fields"] and name in config["content_encoders"]:
            raise ValueError(f"content_files: the name [{name}] is an encoder's, too; give the file another name.")
        try:
            vectors = read_vectors(path, f"content_files, {name}")
        except OSError as error:
            raise type(error)(f"content_files, {name}: {error}") from error
        if vectors.ids is None:
            raise ValueError(
                f"{vectors.where}: has no ids of the items. The order of the items is RecBole's; give ids."
            )
        arrays[name] = np.pad(vectors.of_items(items), ((1, 0), (0, 0)))
    return arrays


def relation_of_dataset(dataset: Dataset, matrix: sp.csr_matrix, families: Sequence[str]) -> ContentRelation | None:
    """The contents of the items that the config names.

    Args:
        dataset: a split of a dataset of RecBole, whose config has the keys of
            :data:`recbole_universal.plugin.content_keys.KEYS`.
        matrix: the training interactions, csr [n_items of users, n_items].
        families: the feature families that the model reads.

    Returns:
        As :func:`recbole_universal.content.spaces.content_relation`; ``None`` if the keys name no content.

    Raises:
        ValueError: if the model reads other families than ``proximity`` or ``sequence``, there is no content, or the
            content belongs to other items.
        OSError: if a file cannot be read.
    """
    config = dataset.config
    if not config["content_fields"] and not config["content_files"]:
        return None
    key = "content_fields" if config["content_fields"] else "content_files"
    if list(families) not in _READING:
        raise ValueError(
            f"{key}: content is read with one family, proximity or sequence, and not with {list(families)}; leave the "
            "key empty, or set universal_features."
        )
    texts, arrays = texts_of_config(dataset), arrays_of_config(dataset)
    spaces = _spaces(texts, config["content_encoders"], arrays, encoder_cache(config))
    if not any(space.has_vector.any() for space in spaces):
        raise ValueError(
            f"{key}: no loaded field of the items holds text, and no array has a vector. The key load_col loads "
            "fields, such as load_col: {inter: [user_id, item_id], item: [item_id, title]}. " + about_item_file(dataset)
        )
    of_texts = spaces[: len(spaces) - len(arrays)]
    check_join(dataset, matrix, [of_texts, *([space] for space in spaces[len(of_texts) :])])
    return content_relation(spaces, np.bincount(matrix.indices, minlength=matrix.shape[1]))


def encoder_cache(config: Mapping[str, Any]) -> ArrayStore:
    """Where the keys ``universal_cache_dir`` and ``universal_cache_gb`` keep what encoders compute."""
    return ArrayStore(config["universal_cache_dir"] or None, limit_gb=config["universal_cache_gb"])


def check_join(dataset: Dataset, matrix: sp.csr_matrix, groups: Iterable[Sequence[Space]]) -> None:
    """Refuse content of other items, unless the key ``content_join_z`` accepts any.

    Args:
        dataset: a split of a dataset of RecBole.
        matrix: the training interactions, csr [user_num, item_num].
        groups: the spaces of the texts, and those of each array: each group has one join.

    Raises:
        ValueError: with the dataset and the spaces, if a group does not belong to the items.
    """
    least = dataset.config["content_join_z"]
    if least is None:
        return
    tokens = dataset.field2id_token[dataset.iid_field].tolist()
    by_id = np.array(sorted(range(len(tokens)), key=lambda index: (len(str(tokens[index])), str(tokens[index]))))
    for group in groups:
        tests = [content_join_z(matrix, space, by_id) for space in group]
        refuse_wrong_join(tests, least, f"dataset [{dataset.dataset_name}]: ")


def _spaces(
    texts: Sequence[str],
    encoders: Sequence[str | Callback | TextEncoder],
    arrays: Mapping[str, NDArray[np.float32]],
    store: ArrayStore | None,
) -> list[Space]:
    """One space for each encoder, if there is text, and one for each array."""
    spaces = [text_space(texts, text_encoder(encoder), store) for encoder in encoders] if any(texts) else []
    return spaces + [array_space(name, array) for name, array in arrays.items()]


def _text_columns(dataset: Dataset) -> dict[Hashable, list[str]]:
    """The tokens of each item as one text, by field; "" for an item without a row."""
    columns: dict[Hashable, list[str]] = {}
    if dataset.item_feat is None:
        return columns
    ids = np.asarray(dataset.item_feat[dataset.iid_field])
    for field in dataset.item_feat.columns:
        if field == dataset.iid_field or dataset.field2type[field] not in TEXT_TYPES:
            continue
        tokens = dataset.field2id_token[field]
        texts = [""] * dataset.item_num
        for item, value in zip(ids.tolist(), dataset.item_feat[field], strict=True):
            codes = np.atleast_1d(np.asarray(value, dtype=np.int64))  # a list or a padded row of a tensor
            texts[item] = " ".join(map(str, tokens[codes[codes > 0]]))
        columns[field] = texts
    return columns
