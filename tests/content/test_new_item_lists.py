from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from content_data import N_ITEMS, interactions, texts

from recbole_universal.content.encoders import text_encoder
from recbole_universal.content.item_content import ItemContent
from recbole_universal.content.new_item_lists import NewItemLists
from recbole_universal.content.spaces import text_space
from recbole_universal.graph.allowed_items import AllowedItems

N_NEW = 24
KNOWN = N_ITEMS - N_NEW


@pytest.fixture(scope="module")
def matrix():
    return sp.csr_matrix(interactions()[:, :KNOWN])


@pytest.fixture(scope="module")
def lists(matrix):
    some = texts()
    some[KNOWN + 4] = ""
    return NewItemLists(
        matrix, ItemContent(tuple(text_space(some, text_encoder(name)) for name in ("tfidf", "distil")))
    )


def test_the_best_are_those_of_the_scores(lists, matrix):
    items, values = lists.best(matrix, 5)
    scores = lists.model.scores(lists._wide(matrix), KNOWN + np.arange(N_NEW))
    scores[:, 4] = -np.inf
    assert np.array_equal(items, KNOWN + np.argsort(-scores, axis=1, kind="stable")[:, :5])
    assert np.allclose(values, -np.sort(-scores, axis=1)[:, :5], atol=1e-5)


def test_blocks_of_users_change_nothing(lists, matrix, monkeypatch):
    whole = lists.best(matrix, 5)[0]
    monkeypatch.setattr("recbole_universal.content.relations._BLOCK_PAIRS", 60)
    assert np.array_equal(lists.best(matrix, 5)[0], whole)


def test_an_item_without_content_and_those_that_are_not_allowed_are_left_out(lists, matrix):
    everything = lists.best(matrix[:3], N_NEW)[0]
    assert (everything[:, -1] == -1).all() and KNOWN + 4 not in everything
    allowed = np.zeros((3, N_NEW), dtype=bool)
    allowed[0, [2, 4, 9]] = allowed[2, 7] = True
    for rows in (allowed, sp.csr_matrix(allowed)):
        items = lists.best(matrix[:3], 4, AllowedItems.checked(rows, 3, N_NEW))[0]
        assert set(items[0]) == {KNOWN + 2, KNOWN + 9, -1} and items[2].tolist() == [KNOWN + 7, -1, -1, -1]
        assert (items[1] == -1).all()
    one_row = AllowedItems.checked(allowed[2], 3, N_NEW)
    assert lists.best(matrix[:3], 1, one_row)[0].ravel().tolist() == [KNOWN + 7] * 3


def test_arrays_hold_everything(lists, matrix):
    again = NewItemLists.from_arrays(lists.arrays())
    for one, other in zip(again.best(matrix, 7), lists.best(matrix, 7), strict=True):
        assert np.array_equal(one, other)
    assert again.check.choice == lists.check.choice and again.check.trust == lists.check.trust > 0


def test_arrays_that_an_earlier_version_wrote_are_read(lists, matrix):
    arrays = {**lists.arrays(), "check.hit_rate": np.zeros(10)}
    assert np.array_equal(NewItemLists.from_arrays(arrays).best(matrix, 3)[0], lists.best(matrix, 3)[0])


def test_the_nearest_known_items(lists):
    items, cosines = lists.nearest_items(6, 5)
    assert (items < KNOWN).all() and (np.diff(cosines) <= 0).all() and len(items) == 5
    topic = np.arange(N_ITEMS) // 4 % 8
    assert (topic[items] == topic[KNOWN + 6]).all()
    without = np.ones(KNOWN, dtype=bool)
    without[items[0]] = False
    assert lists.nearest_items(6, 4, without)[0].tolist() == items[1:].tolist()


@pytest.mark.parametrize(
    "name", ["relations.map.0", "relations.factors", "check.weights", "near.1.indices", "content.0.vectors"]
)
def test_damaged_arrays(lists, name):
    arrays = lists.arrays()
    arrays[name] = arrays[name][:-1]
    with pytest.raises(ValueError):
        NewItemLists.from_arrays(arrays)
