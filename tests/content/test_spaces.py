from __future__ import annotations

import numpy as np
import pytest
from content_data import texts, topic_of_items

from recbole_universal.array_store import ArrayStore
from recbole_universal.content.encoders import text_encoder
from recbole_universal.content.spaces import MOST_DIMS, array_space, combined, content_relation, text_space
from recbole_universal.content.whitening import unit_rows, whitened


def test_whitened_vectors_spread_equally_and_have_length_one():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(4000, 4)) * [1, 1, 1, 0.3] + [5, 0, 0, 0]
    result = whitened(vectors, np.ones(4000, dtype=bool))
    assert np.allclose(np.linalg.norm(result, axis=1), 1, atol=1e-5)
    values = np.linalg.eigvalsh(np.cov(result.T))
    before = np.linalg.eigvalsh(np.cov(unit_rows(vectors).T))
    assert values[0] / values[-1] > 0.5 > 5 * before[0] / before[-1]


def test_whitening_ignores_items_without_a_vector():
    vectors = np.random.default_rng(0).normal(size=(20, 3))
    mask = np.arange(20) % 3 > 0
    result = whitened(np.where(mask[:, None], vectors, 0), mask)
    assert (result[~mask] == 0).all()
    assert np.allclose(result[mask], whitened(vectors[mask], np.ones(mask.sum(), dtype=bool)))


@pytest.mark.parametrize(
    "vectors", [np.ones((5, 3)), np.zeros((5, 3)), np.ones((1, 3)), np.eye(2, 500), np.ones((5, 500))]
)
@pytest.mark.filterwarnings("error")
def test_few_or_equal_vectors_are_no_nan(vectors):
    space = array_space("x", vectors)
    assert np.isfinite(space.vectors).all()
    assert np.isfinite(space.cosines(np.arange(len(vectors)), np.arange(len(vectors)))).all()


@pytest.mark.parametrize("vectors", [np.full((5, 3), np.nan), np.full((5, 3), 1e300), np.ones(5), [["x"]]])
@pytest.mark.filterwarnings("error")
def test_arrays_that_are_no_vectors(vectors):
    with pytest.raises(ValueError, match=r"array_space: \[x\]"):
        array_space("x", vectors)


@pytest.mark.filterwarnings("error")
def test_equal_texts_are_equal():
    space = text_space(["apple pie"] * 2, text_encoder("tfidf"))
    assert np.allclose(space.cosines(np.arange(2), np.arange(2)), 1) and np.allclose(space.vectors @ space.vectors.T, 1)


def test_wide_vectors_are_reduced():
    assert array_space("x", np.random.default_rng(0).normal(size=(400, 1000))).vectors.shape == (400, MOST_DIMS)


@pytest.mark.parametrize("name", ["tfidf", "distil"])
def test_texts_of_one_topic_are_near(name):
    space = text_space(texts(), text_encoder(name))
    near = space.neighbors(np.arange(len(space.vectors)), np.arange(len(space.vectors)), 5)
    topic = topic_of_items()
    rows = np.repeat(np.arange(len(topic)), np.diff(near.indptr))
    assert (topic[rows] == topic[near.indices]).mean() > 0.9
    assert not (rows == near.indices).any()


def test_items_without_text_have_no_vector_and_no_neighbours():
    content = texts()
    content[3] = content[7] = ""
    for name in ("tfidf", "distil"):
        space = text_space(content, text_encoder(name))
        assert np.flatnonzero(~space.has_vector).tolist() == [3, 7]
        everything = np.arange(len(content))
        near = space.neighbors(everything, everything, 5)
        assert near[3].nnz == 0 and near[:, 7].nnz == 0


@pytest.mark.parametrize("content", [[""] * 4, ["a"], ["a"] * 5, ["日本語", "русский", "हिन्दी", "עברית"]])
@pytest.mark.parametrize("name", ["tfidf", "distil"])
def test_poor_texts(content, name):
    space = text_space(content, text_encoder(name))
    assert space.vectors.shape[0] == len(content) and np.isfinite(space.vectors).all()


def test_neighbours_are_the_nearest_of_the_given_items():
    space = array_space("x", np.random.default_rng(0).normal(size=(50, 8)))
    sources = np.arange(0, 50, 2)
    near = space.neighbors(np.array([1, 2]), sources, 3).toarray()
    cosines = space.vectors[[1, 2]] @ space.vectors.T
    cosines[1, 2] = cosines[:, 1::2] = -1
    for row in range(2):
        best = np.argsort(-cosines[row])[:3]
        assert sorted(np.flatnonzero(near[row])) == sorted(best)
        assert np.allclose(near[row, best], cosines[row, best])


def test_the_mean_of_cosines():
    generator = np.random.default_rng(0)
    one, other = (array_space(name, generator.normal(size=(30, 4))) for name in "xy")
    items = np.arange(30)
    expected = (one.cosines(items, items) + other.cosines(items, items)) / 2
    assert np.allclose(combined([one, other]).cosines(items, items), expected)


def test_vectors_are_computed_once_for_the_same_texts(tmp_path):
    calls = []
    encoder = text_encoder("distil")
    encode = encoder._encode
    encoder._encode = lambda given: calls.append(len(given)) or encode(given)
    store = ArrayStore(tmp_path)
    first = text_space(texts(), encoder, store)
    again = text_space(texts(), encoder, store)
    text_space(["other", *texts()[1:]], encoder, store)
    assert calls == [128, 128] and (first.vectors == again.vectors).all()


def test_nearest_items_are_searched_among_the_most_popular_ones(monkeypatch):
    generator = np.random.default_rng(0)
    space = combined([array_space(name, generator.normal(size=(30, 5))) for name in "xy"])
    degree = generator.permutation(30)
    monkeypatch.setattr("recbole_universal.content.spaces.MOST_SEARCHED", 8)
    relation = content_relation(space.parts, degree)
    near = relation.cosines
    assert not relation.vectors[degree == 0].any() and relation.vectors[degree > 0].any(axis=1).all()
    searched = np.sort(np.argsort(-degree)[:8])
    assert np.array_equal(np.unique(near.indices), searched)
    assert near[degree == 0].nnz == 0 and (np.diff(near.indptr)[degree > 0] > 0).all()
    cosines = space.cosines(np.arange(30), searched)
    cosines[searched, np.arange(8)] = 0
    cosines[degree == 0] = 0
    assert np.allclose(near[:, searched].toarray(), np.maximum(cosines, 0))
