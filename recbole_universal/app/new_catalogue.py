"""The items of a catalogue that nobody has had yet, and what all items are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.app.content_settings import NEW_ITEMS, ContentSettings
from recbole_universal.content.arrays import ItemVectors, read_vectors
from recbole_universal.content.encoders import text_encoder
from recbole_universal.content.item_content import ItemContent
from recbole_universal.content.join_test import content_join_z, refuse_wrong_join
from recbole_universal.content.new_item_lists import NewItemLists
from recbole_universal.content.spaces import Space, array_space, text_space
from recbole_universal.content.texts import texts_of_table
from recbole_universal.graph.sparse_sums import arrays_under, check_finite
from recbole_universal.io.column_names import listed_names
from recbole_universal.io.ids import IdLookup
from recbole_universal.io.interaction_table import order_of_ids
from recbole_universal.io.item_table import ItemTable
from recbole_universal.ranking.next_rates import next_rates
from recbole_universal.ranking.ranker import UniversalRanker

_ITEMS, _VECTORS = "items (--items)", "item_vectors (--item-vectors)"


@dataclass(frozen=True)
class ReadCatalogue:
    """The new items and the content of all items.

    Attributes:
        new: ids of the new items, in the order of their text, [n_new].
        content: the content of the known items, in their order, and of the new ones after them.
    """

    new: pd.Index
    content: ItemContent

    @property
    def spaces_of_known(self) -> tuple[Space, ...]:
        """The spaces of the known items, for :class:`UniversalRanker`."""
        return self.content.of_items(np.arange(self.content.n_items - len(self.new))).spaces

    def fitted(self, ranker: UniversalRanker, show_progress: bool = False) -> NewCatalogue:
        """The catalogue with a ranking of the new items.

        Args:
            ranker: the ranker of the known items.
            show_progress: whether to draw a progress bar on stderr.
        """
        rates = {"": next_rates(ranker)}
        if "proximity" in ranker.pretrained.families:
            rates["fast"] = next_rates(ranker, fast=True)
        return NewCatalogue(self.new, NewItemLists(ranker.evidence, self.content, show_progress=show_progress), rates)


@dataclass(frozen=True)
class NewCatalogue:
    """The new items with their ranking.

    Attributes:
        ids: ids of the new items, [n_new].
        lists: what ranks them.
        rates: what :func:`next_rates` returns about lists of known items, and, by ``fast``, about fast ones.
    """

    ids: pd.Index
    lists: NewItemLists
    rates: Mapping[str, NDArray[np.float64]]

    @cached_property
    def find(self) -> IdLookup:
        """Finds the new items by their ids."""
        return IdLookup(self.ids)

    def of_known(self, before: pd.Index, now: pd.Index, erased: NDArray[np.int64]) -> ReadCatalogue:
        """The catalogue with the same content after the interactions changed.

        A new item that somebody has had is known. A known item without users is new again, unless it was erased.

        Args:
            before: ids of the known items until now, [n_known].
            now: ids of the known items from now on.
            erased: index in ``before`` of the items that are erased, which the catalogue forgets.
        """
        every = IdLookup(joined(before, self.ids))
        index = every.indices(now.tolist())
        left = np.setdiff1d(np.arange(len(before) + len(self.ids)), [*index, *erased])
        left = left[self.lists.content.has_content[left] | (left >= len(before))]
        new = joined(before, self.ids).take(left)
        order = order_of_ids(new)
        return ReadCatalogue(new.take(order), self.lists.content.of_items(np.concatenate([index, left[order]])))

    def arrays(self) -> dict[str, NDArray]:
        """Everything but the ids as numeric arrays by name."""
        return self.lists.arrays() | {f"rates.{name}": rate for name, rate in self.rates.items()}

    @classmethod
    def from_arrays(cls, ids: pd.Index, arrays: Mapping[str, NDArray]) -> NewCatalogue:
        """The catalogue of :meth:`arrays`.

        Raises:
            KeyError, ValueError: if an array is missing, has another shape, or holds NaN or infinity.
        """
        check_finite(arrays)
        rates = arrays_under("rates.", arrays)
        made = cls(ids, NewItemLists.from_arrays(arrays), rates)
        if made.lists.n_new != len(ids) or "" not in rates or any(rate.ndim != 1 for rate in rates.values()):
            raise ValueError("the arrays of the new items have other shapes")
        return made


def read_catalogue(
    known: pd.Index, matrix: sp.csr_matrix, table: ItemTable | None, settings: ContentSettings
) -> ReadCatalogue:
    """The items of an item table, and what they are. Without a table, all items that have vectors.

    Args:
        known: ids of the items of the interactions, [n_known].
        matrix: the interactions, csr [n_users, n_known].
        table: the item table, or ``None``.
        settings: what the content is.

    Raises:
        ValueError: if there is no content, it fits no item, or belongs to other items (the join test).
        OSError: if a file of vectors cannot be read.
        ImportError: if an encoder needs a package that is not installed.
    """
    vectors = {name: read_vectors(source, _VECTORS) for name, source in (settings.vectors or {}).items()}
    if table is None and (not vectors or any(each.ids is None for each in vectors.values())):
        raise ValueError(
            f"{_asking(settings)}: needs an item table, items (--items), or item_vectors (--item-vectors) with ids."
        )
    if table is None and settings.fields is not None:
        raise ValueError("content_fields (--content-fields): needs the table of the columns, items (--items).")
    listed = table.ids if table is not None else _ids_of(vectors.values())
    new = _new_ids(known, listed)
    if len(new) == len(listed):
        where = _VECTORS if table is None else f"{_ITEMS}: column [{table.frame.columns[0]}]"
        raise ValueError(
            f"{where}: no id is an item of the interactions, such as "
            f"{listed_names(known.tolist()[:3])}; it has ids such as {listed_names(listed.tolist()[:3])}."
        )
    items = joined(known, new)
    wide = sp.csr_matrix((matrix.data, matrix.indices, matrix.indptr), shape=(matrix.shape[0], len(items)))
    spaces: list[Space] = []
    for group in _groups(items, table, vectors, settings):
        order = IdLookup(items).indices(listed.tolist())
        tests = [content_join_z(wide, space, order[order >= 0]) for space in group]
        refuse_wrong_join(tests, settings.join_z)
        spaces += group
    return ReadCatalogue(new, ItemContent(tuple(spaces)))


def _asking(settings: ContentSettings) -> str:
    """The argument that asks for content, for messages."""
    named = "item_vectors (--item-vectors)" if settings.vectors else "content_fields (--content-fields)"
    return named if settings.asked else NEW_ITEMS


def _groups(
    items: pd.Index, table: ItemTable | None, vectors: Mapping[str, ItemVectors], settings: ContentSettings
) -> Iterator[list[Space]]:
    """The spaces of the texts, and those of each source of vectors; each group has one join."""
    if table is not None:
        texts = texts_of_table(table.frame, table.ids, items, settings.fields, _ITEMS)
        if any(texts):
            yield [text_space(texts, text_encoder(encoder)) for encoder in settings.encoders]
        elif not vectors or settings.fields is not None:
            raise ValueError(
                f"{_ITEMS}: no column holds text. Name the columns with content_fields (--content-fields), or give "
                f"vectors with {_VECTORS}."
            )
    for name, each in vectors.items():
        if each.ids is None:  # one row for each row of the table
            assert table is not None
            each = ItemVectors(pd.Index([str(one) for one in table.ids]), each.of_items(table.ids), each.where)
        yield [array_space(name, each.of_items(items))]


def _ids_of(vectors: Iterable[ItemVectors]) -> pd.Index:
    """The ids of vectors, each once."""
    return pd.Index(list(dict.fromkeys(one for each in vectors if each.ids is not None for one in each.ids)))


def _new_ids(known: pd.Index, listed: pd.Index) -> pd.Index:
    """The listed ids that are not known, in the order of their text.

    Texts of whole numbers become numbers if all known ids are numbers.
    """
    found = IdLookup(known).indices(listed.tolist())
    new = listed[found < 0]
    if pd.api.types.is_integer_dtype(known) and all(_is_whole(str(one)) for one in new):
        new = pd.Index([int(one) for one in new], dtype=known.dtype)
    return new.take(order_of_ids(new)).rename(known.name)


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and str(int(text)) == text and -(2**63) <= int(text) < 2**63


def joined(known: pd.Index, new: pd.Index) -> pd.Index:
    """The ids of the known and of the new items."""
    if not len(new):
        return known
    if known.dtype == new.dtype:
        return known.append(new).rename(known.name)
    return pd.Index([*known.tolist(), *new.tolist()], dtype=object, name=known.name)
