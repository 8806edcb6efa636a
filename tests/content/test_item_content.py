from __future__ import annotations

import numpy as np
import pytest
from content_data import N_ITEMS, texts

from recbole_universal.content.encoders import text_encoder
from recbole_universal.content.item_content import ItemContent
from recbole_universal.content.spaces import array_space, text_space


@pytest.fixture(scope="module")
def content():
    some = texts()
    some[5] = ""
    vectors = np.random.default_rng(0).normal(size=(N_ITEMS, 6))
    return ItemContent((text_space(some, text_encoder("tfidf")), array_space("bild é", vectors)))


def test_arrays_hold_everything(content):
    again = ItemContent.from_arrays(content.arrays())
    assert [space.name for space in again.spaces] == ["tfidf", "bild é"] and again.digest == content.digest
    rows = np.arange(N_ITEMS)
    for space, other in zip(content.spaces, again.spaces, strict=True):
        assert np.array_equal(space.cosines(rows, rows), other.cosines(rows, rows))


def test_the_digest_changes_with_a_vector(content):
    arrays = content.arrays()
    arrays["1.vectors"] = arrays["1.vectors"].copy()
    arrays["1.vectors"][3, 0] += 1
    assert ItemContent.from_arrays(arrays).digest != content.digest


def test_content_of_other_items(content):
    other = content.of_items(np.array([7, -1, 5, 0]))
    assert other.n_items == 4 and other.has_content.tolist() == [True, False, True, True]
    tfidf, vectors = other.spaces
    assert tfidf.has_vector.tolist() == [True, False, False, True]
    cosines = content.spaces[0].cosines(np.array([7]), np.array([0]))
    assert np.allclose(tfidf.cosines(np.array([0]), np.array([3])), cosines)
    assert not tfidf.words[1].nnz and not vectors.vectors[1].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.update({"1.vectors": arrays["1.vectors"][:-1]}), "other shapes"),
        (lambda arrays: arrays.update({"0.has": arrays["0.has"][:3]}), "other shapes"),
        (lambda arrays: arrays.pop("0.vectors"), "no space"),
    ],
)
def test_arrays_that_do_not_fit(content, change, message):
    arrays = content.arrays()
    change(arrays)
    with pytest.raises(ValueError, match=message):
        ItemContent.from_arrays(arrays)
