from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recbole_universal.features.binning import Binning, hard_one_hot, log_one_hot, percentile, soft_two_hot

fractions = arrays(np.float64, st.integers(0, 20), elements=st.floats(0, 1))
values = arrays(np.float64, st.integers(0, 20), elements=st.sampled_from([0.0, 0.1, 1.0, 2.5, 7.0, 1e9]))


def test_percentile_is_the_mid_rank():
    np.testing.assert_array_equal(percentile([5, 1, 5, 9]), [0.5, 0.125, 0.5, 0.875])
    np.testing.assert_array_equal(percentile([3, 3, 3]), [0.5, 0.5, 0.5])


def test_percentile_leaves_out_entities_without_data():
    result = percentile([0, 4, np.nan, 2], [False, True, False, True])
    np.testing.assert_array_equal(result, [np.nan, 0.75, np.nan, 0.25])
    assert np.isnan(percentile([1, 2], [False, False])).all()


@given(values, st.integers(2, 7))
def test_percentile_is_unchanged_by_disjoint_copies(sample, copies):
    np.testing.assert_array_equal(np.tile(percentile(sample), copies), percentile(np.tile(sample, copies)))


@given(values)
def test_percentile_keeps_order_and_range(sample):
    result = percentile(sample)
    assert ((result > 0) & (result < 1)).all()
    assert (np.sign(np.subtract.outer(sample, sample)) == np.sign(np.subtract.outer(result, result))).all()


def test_soft_bins_known_answers():
    rows = soft_two_hot([0.0, 0.25, 0.5, 1.0, np.nan], 3)
    np.testing.assert_array_equal(rows, [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    assert rows.dtype == np.float32


@given(fractions, st.integers(2, 12))
def test_soft_bins_interpolate_their_knots(sample, n_bins):
    rows = soft_two_hot(sample, n_bins)
    assert rows.shape == (len(sample), n_bins)
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(rows @ np.linspace(0, 1, n_bins), sample, atol=1e-6)
    for row in rows:
        index = np.flatnonzero(row)
        assert len(index) <= 2 and index[-1] - index[0] <= 1


def test_hard_bins_known_answers():
    rows = hard_one_hot([0.0, 0.49, 0.5, 1.0, np.nan], 2)
    np.testing.assert_array_equal(rows, [[1, 0], [1, 0], [0, 1], [0, 1], [0, 0]])


def test_log_bins_known_answers():
    rows = log_one_hot([1, 2, 3, 4, 7, 8, 1000, 0.5], 4)
    np.testing.assert_array_equal(rows.argmax(axis=1), [0, 1, 1, 2, 2, 3, 3, 0])
    densities = log_one_hot([1.0, 0.5, 0.49, 0.0], 3, first=0.125)
    np.testing.assert_array_equal(densities.argmax(axis=1), [2, 2, 1, 0])
    assert not log_one_hot([1, 2], 4, mask=[False, False]).any()


def test_log_bins_put_exact_powers_into_the_upper_bin():
    powers = 10.0 ** np.arange(8)
    np.testing.assert_array_equal(log_one_hot(powers, 8, base=10).argmax(axis=1), np.arange(8))


@pytest.mark.parametrize("kind", ["soft", "hard", "log"])
def test_binning_gives_one_row_each_and_zeros_without_data(kind):
    binning = Binning(kind, 5, 2.0)
    for rows in (binning.counts([1, 9, 3], [True, True, False]), binning.densities([0.2, 1, 0], [True, True, False])):
        assert rows.shape == (3, 5) and rows.dtype == np.float32
        np.testing.assert_allclose(rows.sum(axis=1), [1, 1, 0])


@pytest.mark.parametrize("bins", [soft_two_hot, hard_one_hot])
def test_bins_reject_values_outside_0_to_1(bins):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        bins([1.5], 3)
    for n_bins in (1, 0, -3, 2.5, True, None, 2**10, 2**70):
        with pytest.raises(ValueError, match="n_bins must be an integer >= 2"):
            bins([0.5], n_bins)


def test_bins_reject_bad_arguments():
    with pytest.raises(ValueError, match="n_bins must be an integer >= 2"):
        log_one_hot([1], 1)
    with pytest.raises(ValueError, match="n_bins must be an integer >= 2"):
        log_one_hot([1], 10**9)
    with pytest.raises(ValueError, match="base must be a finite number > 1"):
        log_one_hot([1], 3, base=1)
    with pytest.raises(ValueError, match="first must be a finite number > 0"):
        log_one_hot([1], 3, first=0)
    with pytest.raises(ValueError, match="NaN"):
        percentile([np.nan, 1])
    with pytest.raises(ValueError, match="one length"):
        percentile([1, 2], [True])
