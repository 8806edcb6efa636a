"""Random interaction matrices for the property tests."""

import numpy as np
import scipy.sparse as sp
from hypothesis import strategies as st


@st.composite
def matrices(draw, weighted=True, max_users=12, max_items=10):
    n_users = draw(st.integers(1, max_users))
    n_items = draw(st.integers(1, max_items))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dense = rng.random((n_users, n_items)) < draw(st.floats(0.05, 0.9))
    dense[rng.integers(n_users), rng.integers(n_items)] = True
    return sp.csr_matrix(dense * (rng.integers(1, 4, dense.shape) if weighted else 1.0))


def random_matrix(n_users: int = 40, n_items: int = 25, density: float = 0.15, seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    return sp.csr_matrix((rng.random((n_users, n_items)) < density).astype(np.float32))
