"""The item file of a RecBole dataset: what it holds, and why a field of it is no text that was loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recbole.data.dataset import Dataset
from recbole.utils import FeatureType

from recbole_universal.io.column_names import listed_names
from recbole_universal.plugin.atomic_file import read_header

#: Types of fields that can hold text.
TEXT_TYPES = (FeatureType.TOKEN, FeatureType.TOKEN_SEQ)


def about_item_file(dataset: Dataset) -> str:
    """A sentence on the fields of the item file, for messages."""
    file = _file(dataset)
    fields = _fields(dataset)
    if not fields:
        return f"There is no item file [{file}]."
    loaded = listed_names(_loaded(dataset)) or "none"
    return f"The item file [{file}] has the fields {listed_names(fields)}; loaded are {loaded}."


def check_loaded(dataset: Dataset) -> None:
    """Refuse ``load_col`` with a field that the item file lacks, which RecBole leaves out without a word.

    Raises:
        ValueError: with the fields that are there.
    """
    named = (dataset.config["load_col"] or {}).get("item")
    if not isinstance(named, (list, tuple)) or not _file(dataset).is_file():
        return
    fields = _fields(dataset)
    if missing := [field for field in named if field not in fields]:
        raise ValueError(f"load_col: item: {listed_names(missing)} is no field. {about_item_file(dataset)}")


def check_texts(dataset: Dataset, named: Sequence[str]) -> None:
    """Refuse names of fields that are no loaded texts of the items.

    Args:
        dataset: a dataset of RecBole.
        named: the fields of the key ``content_fields``.

    Raises:
        ValueError: with what each field is, and the fields that are there.
    """
    reasons = [reason for field in named if (reason := _why_no_text(dataset, field))]
    if reasons:
        raise ValueError(f"content_fields: {'; '.join(reasons)}. {about_item_file(dataset)}")


def _why_no_text(dataset: Dataset, field: str) -> str:
    """Why a field is no loaded text, or ""."""
    if field == dataset.iid_field:
        return f"[{field}] is the id of the items"
    if field in _loaded(dataset):
        kind = dataset.field2type[field]
        return "" if kind in TEXT_TYPES else f"[{field}] is of the type {kind.value}, and texts are token or token_seq"
    if field in _fields(dataset):
        return f"[{field}] is not loaded (keys load_col and unload_col)"
    return f"[{field}] is no field of the items"


def _file(dataset: Dataset) -> Path:
    return Path(dataset.dataset_path) / f"{dataset.dataset_name}.item"


def _fields(dataset: Dataset) -> list[str]:
    """The fields of the item file; none if there is no file."""
    file = _file(dataset)
    if not file.is_file():
        return []
    header = read_header(file, dataset.config).split(dataset.config["field_separator"])
    return [name.partition(":")[0] for name in header]


def _loaded(dataset: Dataset) -> list[str]:
    return [] if dataset.item_feat is None else list(dataset.item_feat.columns)
