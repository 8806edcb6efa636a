"""Small datasets and settings shared by the tests of the features."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

FAST = {"embedding_dim": 4, "walk_length": 5, "context_size": 3, "walks_per_node": 2}
ALL = ["activity", "cooccurrence", "interaction"]
ARGS = {"node2vec": FAST, **{family: {"n_bins": 4} for family in ALL}}


def random_matrix(n_users: int = 30, n_items: int = 20, density: float = 0.2, seed: int = 0) -> sp.csr_matrix:
    """Random interactions with weights 1..5; id 0 is padding on both sides, the last ids have no interaction."""
    rng = np.random.default_rng(seed)
    dense = (rng.random((n_users, n_items)) < density) * rng.integers(1, 6, (n_users, n_items))
    dense[0] = dense[:, 0] = dense[-1] = dense[:, -1] = 0
    return sp.csr_matrix(dense.astype(np.float32))


@st.composite
def matrices(draw, max_users: int = 6, max_items: int = 7) -> sp.csr_matrix:
    """Interaction matrices with at least one interaction; some users or items may have none."""
    shape = draw(st.tuples(st.integers(1, max_users), st.integers(1, max_items)))
    dense = draw(arrays(np.float32, shape, elements=st.sampled_from([0.0, 0.0, 1.0, 2.0])))
    cell = draw(st.tuples(st.integers(0, shape[0] - 1), st.integers(0, shape[1] - 1)))
    dense[cell] = 1.0
    return sp.csr_matrix(dense)


def assert_equal(left, right, users=slice(None), items=slice(None)) -> None:
    """Check that features agree to the last bit, ``left`` taken at ``users`` and ``items``."""
    assert list(left) == list(right)
    for family in left:
        np.testing.assert_array_equal(left[family].user[users], right[family].user, err_msg=family)
        np.testing.assert_array_equal(left[family].item[items], right[family].item, err_msg=family)
        assert (left[family].pair is None) == (right[family].pair is None)
        if left[family].pair is not None:
            whole = all_pairs(left[family].pair)[users][:, items]
            np.testing.assert_array_equal(whole, all_pairs(right[family].pair), err_msg=family)


def all_pairs(pair) -> np.ndarray:
    """Features of all pairs, [n_users, n_items, dim]."""
    return pair.full(torch.arange(pair.n_users)).numpy()
