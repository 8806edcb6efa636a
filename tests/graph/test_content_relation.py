"""The contents of items under other labels, with further items, and as arrays."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from recbole_universal.graph.content_relation import ContentRelation


def relation() -> ContentRelation:
    cosines = np.array([[0, 0.5, 0.2], [0.5, 0, 0], [0.2, 0, 0]], dtype=np.float32)
    return ContentRelation(sp.csr_matrix(cosines), np.array([[1, 0], [0.5, 0.75], [0, 0]], dtype=np.float32))


def test_other_labels():
    moved = relation().relabelled(np.array([3, 1, -1]), 4)
    expected = np.zeros((4, 4))
    expected[1, 3] = expected[3, 1] = 0.5
    np.testing.assert_array_equal(moved.cosines.toarray(), expected)
    np.testing.assert_array_equal(moved.vectors, [[0, 0], [0.5, 0.75], [0, 0], [1, 0]])
    back = moved.relabelled(np.array([-1, 1, -1, 0]), 3)
    np.testing.assert_array_equal(back.vectors, relation().vectors)


def test_further_items_have_no_content():
    same, grown = relation(), relation().grown(5)
    assert same.grown(3) is same  # no copy of all vectors
    assert grown.cosines.shape == (5, 5) and not grown.vectors[3:].any()
    np.testing.assert_array_equal(grown.cosines[:3, :3].toarray(), relation().cosines.toarray())


def test_arrays_come_back():
    arrays = relation().arrays()
    copy = ContentRelation.from_arrays(arrays, 3)
    np.testing.assert_array_equal(copy.vectors, relation().vectors)
    np.testing.assert_array_equal(copy.cosines.toarray(), relation().cosines.toarray())
    assert ContentRelation.from_arrays({}, 3) is None
    with pytest.raises(ValueError, match="4 vectors do not fit cosines"):
        ContentRelation.from_arrays({**arrays, "content.vectors": np.zeros((4, 2), dtype=np.float32)}, 3)
