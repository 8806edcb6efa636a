from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse as sp
from content_data import N_ITEMS, interactions, texts

from recbole_universal.content.encoders import text_encoder
from recbole_universal.content.join_test import JoinTest, content_join_z, refuse_wrong_join, wrong_joins
from recbole_universal.content.spaces import array_space, text_space


def joined(order) -> object:
    """The test with each item's text from another place."""
    content = texts()
    return content_join_z(interactions(), text_space([content[k] for k in order], text_encoder("tfidf")))


def test_a_right_join_is_accepted():
    test = joined(np.arange(N_ITEMS))
    assert test.z > 10 and not test.refused() and test.share == 1 and test.shift == 0
    refuse_wrong_join([test])


@pytest.mark.parametrize("seed", range(3))
def test_a_permuted_join_is_refused(seed):
    test = joined(np.random.default_rng(seed).permutation(N_ITEMS))
    assert abs(test.z) < 3 and test.refused()
    with pytest.raises(ValueError, match=r"content_join_z: .*tfidf: z .*Check the ids"):
        refuse_wrong_join([test])
    refuse_wrong_join([test], None)


@pytest.mark.parametrize("shift", [-2, 1, 2])
def test_a_shifted_join_is_refused_though_neighbours_are_alike(shift):
    """Item k has the text of item k + shift."""
    test = joined(np.roll(np.arange(N_ITEMS), -shift))
    assert test.z > 3
    assert np.sign(test.shift) == -np.sign(shift) and test.shift_z > 3 and test.refused()


def test_the_order_of_ids_finds_a_shift_that_the_order_of_indices_hides():
    content, order = texts(), np.random.default_rng(0).permutation(N_ITEMS)
    matrix = interactions()[:, order]  # the item with index k has the id order[k]
    space = text_space([content[(k + 1) % N_ITEMS] for k in order], text_encoder("tfidf"))
    assert content_join_z(matrix, space, np.argsort(order)).refused()
    assert not content_join_z(matrix, space).refused()


def test_an_order_may_lack_items():
    """A table of items can list fewer of the known items than a file of vectors has."""
    space = text_space(texts(), text_encoder("tfidf"))
    few, every = (content_join_z(interactions(), space, order) for order in (np.arange(N_ITEMS)[::7], None))
    assert few.same_user == pytest.approx(every.same_user) and few.z > 10 and not few.refused()


def result(z: float, shift_z: float = 0.0) -> JoinTest:
    return JoinTest("x", z, 0.1, 0.0, 100, 1.0, int(shift_z > 0), shift_z)


def test_one_space_that_sees_the_join_is_enough_but_a_shift_in_one_is_too_much():
    assert wrong_joins([result(1.7), result(11)]) == []
    assert wrong_joins([result(1.7), result(2.9)]) == [result(1.7), result(2.9)]
    assert wrong_joins([result(15, 5.5), result(9)]) == [result(15, 5.5)]
    assert wrong_joins([result(math.nan)]) == []
    assert wrong_joins([result(1.7)], least=1) == []


@pytest.mark.parametrize("least", [0.0, 3.0, 50.0])
def test_the_limit_of_a_shift_is_that_of_no_caller(least):
    assert wrong_joins([result(60, 2.9)], least) == []
    assert wrong_joins([result(60, 3.1)], least) == [result(60, 3.1)]


def test_the_message_says_whether_other_rows_fit_better():
    with pytest.raises(ValueError, match=r"content_join_z: the content of other rows .* off by some rows: x: z 15\.0"):
        refuse_wrong_join([result(15, 5.5), result(9)])
    with pytest.raises(
        ValueError, match=r"content_join_z: two items of one user are not more alike than any two by a z of 3,"
    ):
        refuse_wrong_join([result(1.7)])


def test_too_few_pairs_cannot_tell():
    matrix = sp.csr_matrix(np.eye(5, dtype=np.float32))
    test = content_join_z(matrix, array_space("x", np.random.default_rng(0).normal(size=(5, 3))))
    assert math.isnan(test.z) and not test.refused() and "too few" in str(test)


def test_the_same_pair_of_many_users_counts_once():
    """40 users have the same three items: three pairs say little, whatever their cosines."""
    space = array_space("x", np.random.default_rng(0).normal(size=(N_ITEMS, 3)))
    matrix = sp.csr_matrix((np.ones(120), np.tile([0, 1, 2], 40), np.arange(0, 121, 3)), shape=(40, N_ITEMS))
    test = content_join_z(matrix.astype(np.float32), space)
    assert math.isnan(test.z) and test.n_pairs == 3 and not test.refused()


def test_items_without_content_take_no_part():
    content = texts()
    space = text_space(["" if k % 2 else text for k, text in enumerate(content)], text_encoder("tfidf"))
    test = content_join_z(interactions(), space)
    assert 0.3 < test.share < 0.7 and test.z > 5


def test_one_vector_for_all_items_is_refused():
    test = content_join_z(interactions(), array_space("x", np.ones((N_ITEMS, 4))))
    assert test.z == 0 and test.refused()


def test_one_seed_gives_one_result():
    np.random.seed(1)
    first = joined(np.arange(N_ITEMS))
    np.random.seed(2)
    assert first == joined(np.arange(N_ITEMS))
