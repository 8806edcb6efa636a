"""Embeddings by factorisation: the matrix they factorise, known structure, and nodes that no walk visits."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_universal.features import FeaturePipeline
from recbole_universal.graph import InteractionGraph, factorize_walks, node2vec


def test_products_are_the_logarithms_of_the_ratios_to_chance():
    # Users 0, 1; items 2, 3. Distance 1: 0-2 twice, 1-2, 1-3; distance 3: 0-3.
    walks = torch.tensor([[0, 2, 1, 3], [2, 0, 2, 0]])
    near = np.array([[2 + 2.0, 0.0], [1.0, 1.0]])  # walk 2: 2-0, 0-2, 2-0; walk 1: 0-2, 2-1, 1-3
    far = np.array([[1.0, 1.0], [0.0, 0.0]])  # walk 1: 0-3; walk 2: 2-0
    for context_size, counts in ((2, near), (3, near), (4, near + far), (10, near + far)):
        z = factorize_walks(walks, 2, 2, embedding_dim=3, context_size=context_size)
        assert z.shape == (4, 3)
        assert not z[:, 2].any()
        np.testing.assert_allclose(z[:2] @ z[2:].T, np.log1p(counts * 4 / counts.sum()), atol=1e-5)


def test_planted_groups_are_recovered_and_nodes_without_edges_are_zero():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 30)
    dense = rng.random((60, 60)) < np.where(group[:, None] == group[None, :], 0.3, 0.03)
    dense[5], dense[:, 7] = False, False
    graph = InteractionGraph(sp.csr_matrix(dense.astype(float)))
    arguments = {"embedding_dim": 8, "walk_length": 8, "context_size": 4, "objective": "factorization"}
    z = node2vec(graph, **arguments)
    assert np.array_equal(z, node2vec(graph, **arguments))
    assert not z[5].any()
    assert not z[60 + 7].any()
    scores = z[:60] @ z[60:].T
    active = np.flatnonzero(graph.user_degree)[:, None], np.flatnonzero(graph.item_degree)[None, :]
    same = (group[:, None] == group[None, :])[active]
    assert scores[active][same].mean() > 3 * scores[active][~same].mean()


def test_blocks_of_walks_add_up(monkeypatch):
    walks = torch.randint(0, 5, (50, 1), generator=torch.Generator().manual_seed(0))
    walks = torch.cat([walks, walks + 5, (walks + 2) % 5, walks + 5], dim=1)
    whole = factorize_walks(walks, 5, 5, embedding_dim=4)
    monkeypatch.setattr("recbole_universal.graph.walk_factorization._WALKS_PER_BLOCK", 7)
    np.testing.assert_allclose(factorize_walks(walks, 5, 5, embedding_dim=4), whole, atol=1e-6)


def test_objective_is_an_argument_of_the_families_and_part_of_the_schema_only_where_it_differs():
    matrix = sp.random(40, 30, 0.3, random_state=0, format="csr")
    plain = FeaturePipeline(["cooccurrence"])
    assert "objective" not in plain.schema["node2vec"]
    other = FeaturePipeline(["cooccurrence"], {"node2vec": {"objective": "factorization"}})
    assert other.schema["node2vec"]["objective"] == "factorization"
    assert other.schema["schema_hash"] != plain.schema["schema_hash"]
    assert other(matrix)["cooccurrence"].user.shape == plain(matrix)["cooccurrence"].user.shape


@pytest.mark.parametrize("value", ["skipgram", 3])
def test_unknown_objective(value):
    with pytest.raises(ValueError, match="objective must be one of skip_gram, factorization"):
        FeaturePipeline(["cooccurrence"], {"node2vec": {"objective": value}})
    with pytest.raises(ValueError, match="objective must be one of skip_gram, factorization"):
        node2vec(InteractionGraph(sp.csr_matrix([[1.0]])), objective=value)


def test_window_longer_than_the_walk():
    with pytest.raises(ValueError, match="context_size must be from 2 to walk_length 5, got 10"):
        node2vec(InteractionGraph(sp.csr_matrix([[1.0]])), objective="factorization", walk_length=5)


def test_walks_without_steps():
    for walks in (torch.zeros(0, 4), torch.zeros(3, 1)):
        with pytest.raises(ValueError, match="at least one walk of at least two nodes"):
            factorize_walks(walks.long(), 2, 2)
    with pytest.raises(ValueError, match="context_size must be at least 2, got 1"):
        factorize_walks(torch.tensor([[0, 1]]), 1, 1, context_size=1)


def test_any_seed_that_the_pipeline_takes():
    factorize_walks(torch.tensor([[0, 1]]), 1, 1, seed=2**40)
