"""Encoders of items that stand in the place of an embedding of ids: content vectors, words, ids, or both."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.nn import functional

from recbole_universal.sequential.item_inputs import ItemInputs

#: What an item is to the model.
ITEM_ENCODERS = ("id", "content", "id_plus_content", "words")
# Spread of new weights of the last layer, and of new word vectors, of which a text is the mean of some ten. RecBole's
# spread of 0.02, meant for one embedding, makes the product of several layers so small that training starts late.
_SPREAD, _WORD_SPREAD = 0.1, 0.5


class VectorAdaptor(nn.Module):
    """Content vectors to the hidden size: one projection a modality, their mean for an item, GELU, linear.

    The bias of a projection is the embedding of its modality. An item without any modality has the vector of zeros
    before GELU.

    Args:
        dims: dimensions by modality.
        hidden_size: size of the result.

    Raises:
        ValueError: if two names of modalities differ in nothing but dots and underscores.
    """

    def __init__(self, dims: Mapping[str, int], hidden_size: int) -> None:
        super().__init__()
        self.names = list(dims)
        if len(set(map(_module_name, dims))) < len(dims):
            raise ValueError(f"content_files: two names differ in dots and underscores alone: {self.names}.")
        self.projections = nn.ModuleDict({_module_name(name): nn.Linear(dims[name], hidden_size) for name in dims})
        self.output = _last_layer(hidden_size)

    def forward(self, vectors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Vectors of all items, float32 [n_items, hidden_size].

        Args:
            vectors: as :attr:`ItemInputs.vectors`.
        """
        total, count = torch.zeros(()), torch.zeros(())
        for name in self.names:
            rows = vectors[name]
            has = rows.any(dim=1, keepdim=True).to(rows.dtype)
            total = total + has * self.projections[_module_name(name)](rows)
            count = count + has
        return self.output(functional.gelu(total / count.clamp(min=1)))


class WordAdaptor(nn.Module):
    """A small text encoder without weights of others: the mean of the vectors of a text's word pieces, GELU, linear.

    Args:
        n_pieces: size of the vocabulary.
        hidden_size: size of the result.
    """

    def __init__(self, n_pieces: int, hidden_size: int) -> None:
        super().__init__()
        self.pieces = nn.EmbeddingBag(n_pieces, hidden_size, mode="mean")
        nn.init.normal_(self.pieces.weight, std=_WORD_SPREAD)
        self.output = _last_layer(hidden_size)

    def forward(self, pieces: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """Vectors of all items, float32 [n_items, hidden_size]; see :class:`ItemInputs`."""
        return self.output(functional.gelu(self.pieces(pieces, starts)))


class ItemEncoder(nn.Module):
    """Stands in the place of the ``item_embedding`` of a model: it is called with ids, and has all rows as ``weight``.

    The content belongs to a catalogue and is no part of ``state_dict``. :meth:`attach` exchanges it, so that one set of
    weights reads several catalogues.

    Args:
        content: the adaptor of the content; ``None``: the items are ids alone.
        ids: the embedding of ids, [n_items, hidden_size]; ``None``: the items are their content alone.
    """

    def __init__(self, content: VectorAdaptor | WordAdaptor | None, ids: nn.Embedding | None) -> None:
        super().__init__()
        self.content, self.ids = content, ids
        self._catalogue = ItemInputs()
        self._table: torch.Tensor | None = None

    def attach(self, content: ItemInputs) -> None:
        """Read the items of a catalogue from now on."""
        self._catalogue = content

    def _apply(self, function, recurse=True):  # type: ignore[no-untyped-def]
        """Move the content of the catalogue to the device of the weights, too."""
        super()._apply(function, recurse)
        old = self._catalogue
        vectors = {name: _moved(rows, function) for name, rows in old.vectors.items()}
        self._catalogue = ItemInputs(vectors, _moved(old.pieces, function), _moved(old.starts, function))
        return self

    @property
    def weight(self) -> torch.Tensor:
        """Vectors of all items, float32 [n_items, hidden_size]."""
        return self._computed() if self._table is None else self._table

    def _computed(self) -> torch.Tensor:
        total = None if self.ids is None else self.ids.weight
        if isinstance(self.content, WordAdaptor):
            rows = self.content(self._catalogue.pieces, self._catalogue.starts)
            return rows if total is None else total + rows
        if self.content is not None:
            rows = self.content(self._catalogue.vectors)
            return rows if total is None else total + rows
        assert total is not None
        return total

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Vectors of some items, float32 [*ids.shape, hidden_size]."""
        if self.content is None and self.ids is not None:
            return self.ids(ids)  # as the model that has ids alone, also in the gradient of the padding row
        return functional.embedding(ids, self.weight)

    @contextlib.contextmanager
    def one_table(self) -> Iterator[None]:
        """Within the block the vectors are computed once. The block must not change the weights."""
        if self.content is None or self._table is not None:
            yield
            return
        self._table = self._computed()
        try:
            yield
        finally:
            self._table = None


def _moved(tensor, function):  # type: ignore[no-untyped-def]
    """A tensor on the device of the weights. Indices keep their type where the weights change theirs."""
    if tensor is None:
        return None
    return function(tensor) if tensor.is_floating_point() else tensor.to(function(torch.zeros(())).device)


def _last_layer(size: int) -> nn.Linear:
    layer = nn.Linear(size, size)
    nn.init.normal_(layer.weight, std=_SPREAD)
    nn.init.zeros_(layer.bias)
    return layer


def _module_name(name: str) -> str:
    """A name for a module, which has no dot and is no attribute of a dictionary of modules, such as ``items``."""
    name = name.replace(".", "_")
    return f"{name}_" if hasattr(nn.ModuleDict(), name) else name
