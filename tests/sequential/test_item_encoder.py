"""Item encoders: shapes, known answers, a catalogue that can be exchanged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from recbole_universal.content.whitening import whitened
from recbole_universal.sequential.item_encoder import ItemEncoder, VectorAdaptor, WordAdaptor
from recbole_universal.sequential.item_inputs import MOST_PIECES, ItemInputs, aligned, vocabulary, words_of_items

HIDDEN = 8


def content(n_items: int, seed: int = 0, **dims: int) -> ItemInputs:
    generator = torch.Generator().manual_seed(seed)
    return ItemInputs({name: torch.randn(n_items, dim, generator=generator) for name, dim in dims.items()})


def encoder(of: ItemInputs) -> ItemEncoder:
    torch.manual_seed(1)
    made = ItemEncoder(VectorAdaptor(of.dims, HIDDEN), None)
    made.attach(of)
    return made


def test_a_call_gives_rows_of_the_table():
    made = encoder(content(6, text=5, image=3))
    ids = torch.tensor([[1, 2, 0], [5, 5, 4]])
    assert made.weight.shape == (6, HIDDEN) and made(ids).shape == (2, 3, HIDDEN)
    assert torch.equal(made(ids), made.weight[ids])


def test_a_permutation_of_the_items_permutes_the_vectors():
    of = content(6, text=5, image=3)
    made, order = encoder(of), torch.tensor([0, 3, 1, 5, 2, 4])
    before = made.weight
    made.attach(ItemInputs({name: rows[order] for name, rows in of.vectors.items()}))
    torch.testing.assert_close(made.weight, before[order])


def test_a_missing_modality_does_not_count():
    of = content(4, text=5, image=3)
    of.vectors["image"][1] = 0
    alone = ItemInputs({"text": of.vectors["text"], "image": torch.zeros(4, 3)})
    made = encoder(of)
    with_images = made.weight
    made.attach(alone)
    torch.testing.assert_close(with_images[1], made.weight[1])
    assert not torch.allclose(with_images[2], made.weight[2])
    made.attach(ItemInputs({"text": torch.zeros(4, 5), "image": torch.zeros(4, 3)}))
    torch.testing.assert_close(made.weight[1], made.content.output.bias)  # and no NaN


def test_any_name_of_a_modality_has_a_projection():
    made = VectorAdaptor({"items": 3, "a.b": 2}, HIDDEN)
    assert made({"items": torch.ones(4, 3), "a.b": torch.ones(4, 2)}).shape == (4, HIDDEN)
    with pytest.raises(ValueError, match="dots and underscores"):
        VectorAdaptor({"a.b": 2, "a_b": 2}, HIDDEN)


def test_the_mean_of_two_modalities_is_the_mean_of_their_projections():
    of = content(3, text=5, image=3)
    made = encoder(of)
    parts = [made.content.projections[name](of.vectors[name]) for name in ("text", "image")]
    expected = made.content.output(nn.functional.gelu((parts[0] + parts[1]) / 2))
    torch.testing.assert_close(made.weight, expected)


def test_one_table_is_the_same_and_gets_all_gradients():
    made = encoder(content(5, text=4))
    ids = torch.tensor([1, 1, 3])
    (made(ids).sum() + made.weight.pow(2).sum()).backward()
    expected = [weights.grad.clone() for weights in made.parameters()]
    made.zero_grad()
    with made.one_table():
        assert made.weight is made.weight
        (made(ids).sum() + made.weight.pow(2).sum()).backward()
    assert made.weight is not made.weight
    for weights, grad in zip(made.parameters(), expected, strict=True):
        torch.testing.assert_close(weights.grad, grad)


def test_the_content_is_no_part_of_the_state_and_moves_with_the_weights():
    made = encoder(content(5, text=4))
    assert {name.split(".")[0] for name in made.state_dict()} == {"content"}
    assert made.to("meta")._catalogue.vectors["text"].is_meta
    pieces, starts = words_of_items(["red car"])
    made = ItemEncoder(WordAdaptor(len(vocabulary()), HIDDEN), None)
    made.attach(ItemInputs({}, pieces, starts))
    assert made.double()._catalogue.pieces.dtype == torch.int64


def test_words_are_a_mean_of_pieces():
    pieces, starts = words_of_items(["red car", "", "car red", "blue car", "word " * 500])
    assert pieces.shape == (2 + 0 + 2 + 2 + MOST_PIECES,) and starts.tolist() == [0, 2, 2, 4, 6]
    torch.manual_seed(0)
    made = ItemEncoder(WordAdaptor(len(vocabulary()), HIDDEN), None)
    made.attach(ItemInputs({}, pieces, starts))
    rows = made.weight
    torch.testing.assert_close(rows[0], rows[2])
    assert not torch.allclose(rows[0], rows[3])
    torch.testing.assert_close(rows[1], made.content.output.bias)
    assert torch.isfinite(rows).all()


def test_ids_are_added_to_content():
    of = content(5, text=4)
    made = encoder(of)
    both = ItemEncoder(made.content, nn.Embedding(5, HIDDEN))
    both.attach(of)
    torch.testing.assert_close(both.weight, made.weight + both.ids.weight)
    alone = ItemEncoder(None, both.ids)
    assert alone.weight is both.ids.weight and torch.equal(alone(torch.tensor([2])), both.ids.weight[2:3])


def test_aligned_vectors_keep_the_axes_and_the_cosines():
    """Two catalogues of the same kind have near vectors. Their principal axes, of equal spread, are any."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4000, 4)).astype(np.float32)
    rows[0] = rows[2000] = 0
    rows[1] = rows[2001]
    one, other = aligned(rows[:2000]).numpy(), aligned(rows[2000:]).numpy()
    assert not one[0].any()
    np.testing.assert_allclose(np.linalg.norm(one[1:], axis=1), 2.0, rtol=1e-5)
    assert one[1] @ other[1] / 4 > 0.99
    has = np.abs(rows[:2000]).max(axis=1) > 0
    principal = whitened(rows[:2000], has)
    np.testing.assert_allclose(one @ one[:50].T / 4, principal @ principal[:50].T, atol=1e-4)
