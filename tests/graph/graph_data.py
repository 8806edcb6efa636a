"""Random interaction matrices for the property tests, graphs under other ids, and walks."""

import numpy as np
import scipy.sparse as sp
import torch
from hypothesis import strategies as st

from recbole_universal.graph import InteractionGraph, RandomWalker


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


def permuted(graph: InteractionGraph, user_perm: np.ndarray, item_perm: np.ndarray) -> InteractionGraph:
    """The same graph under other ids: new user k is old user ``user_perm[k]``."""
    return InteractionGraph(graph.user_item[user_perm][:, item_perm])


def random_walks(graph: InteractionGraph, *arguments, device: str = "cpu", **settings) -> torch.Tensor:
    """Walks over a graph; see `RandomWalker.walk`."""
    return RandomWalker(*graph.adjacency(), device).walk(*arguments, **settings)
