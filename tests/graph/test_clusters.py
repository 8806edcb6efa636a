"""Clusters: known blobs, known densities, tiny graphs, blocks, bad input."""

import numpy as np
import pytest
import scipy.sparse as sp
from graph_data import matrices
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_universal.graph import (
    EDGE_OPERATORS,
    EdgeFeatures,
    InteractionGraph,
    cluster_edges,
    cluster_nodes,
    clusters,
    edge_cluster_stats,
    n_clusters_for,
    nearest_center,
    node_cluster_stats,
)


def blobs(n_blobs=4, size=30, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(n_blobs), size)
    points = 10 * np.eye(n_blobs)[truth] + rng.normal(0, 0.1, (len(truth), n_blobs))
    return points.astype(np.float32), truth


def same_partition(a, b):
    return len(set(zip(a.tolist(), b.tolist(), strict=True))) == len(set(a.tolist())) == len(set(b.tolist()))


def test_number_of_clusters():
    assert [n_clusters_for(n) for n in (1, 2, 3, 8, 50, 200, 20_000, 131_072, 10**9)] == [
        *(1, 2, 2, 2, 5, 10, 100, 256, 256)
    ]
    with pytest.raises(ValueError, match="n must be an integer >= 1"):
        n_clusters_for(0)


def test_blobs_are_recovered_and_masked_rows_left_out():
    points, truth = blobs()
    mask = np.ones(len(points), dtype=bool)
    mask[::7] = False
    points[~mask] = 1e6
    labels = cluster_nodes(points, mask, n_clusters=4)
    assert labels.dtype == np.int64
    assert np.all(labels[~mask] == -1)
    assert same_partition(labels[mask], truth[mask])


def test_one_seed_one_result_whatever_the_global_state():
    points = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
    mask = np.ones(500, dtype=bool)
    np.random.seed(0)
    first = cluster_nodes(points, mask, seed=3)
    np.random.seed(1)
    np.testing.assert_array_equal(first, cluster_nodes(points, mask, seed=3))
    assert first.max() + 1 == n_clusters_for(500)


@pytest.mark.parametrize("n_clusters", [-1, 0, 1, 121])
def test_number_of_clusters_out_of_range(n_clusters):
    points, _ = blobs()
    message = f"n_clusters must be at least 2 and at most the number of .*, 120; got {n_clusters}"
    with pytest.raises(ValueError, match=message):
        cluster_nodes(points, np.ones(120, dtype=bool), n_clusters)
    with pytest.raises(ValueError, match=message):
        cluster_edges(points, n_clusters)


def test_nothing_to_cluster():
    with pytest.raises(ValueError, match="no nodes with interactions to cluster"):
        cluster_nodes(np.ones((3, 2)), np.zeros(3, dtype=bool))
    with pytest.raises(ValueError, match="no edges to cluster"):
        cluster_edges(np.ones((0, 2)))


def test_one_edge_and_equal_rows_make_one_cluster_unless_a_number_is_given():
    labels, centers = cluster_edges(np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(labels, [0])
    np.testing.assert_array_equal(centers, [[1.0, 2.0]])
    labels, _ = cluster_edges(np.ones((50, 3)))
    assert not labels.any()
    labels = cluster_nodes(np.array([[0.0], [1.0]]), np.ones(2, dtype=bool))
    assert sorted(labels) == [0, 1]


def test_edges_in_blocks_are_clustered_as_one(monkeypatch):
    points, truth = blobs(size=100)
    whole, _ = cluster_edges(points, 4)
    assert same_partition(whole, truth)
    monkeypatch.setattr("recbole_universal.graph.centers.BLOCK", 17)
    in_blocks, _ = cluster_edges(points, 4)
    np.testing.assert_array_equal(whole, in_blocks)
    monkeypatch.setattr(clusters, "FIT_SAMPLE", 150)
    sampled, centers = cluster_edges(points, 4)
    assert same_partition(sampled, truth)
    np.testing.assert_array_equal(nearest_center(points, centers), sampled)


def test_the_automatic_number_of_clusters_fits_the_sample(monkeypatch):
    monkeypatch.setattr(clusters, "FIT_SAMPLE", 5)
    points = np.random.default_rng(0).normal(size=(400, 2))
    labels, centers = cluster_edges(points)
    assert len(centers) == 5
    assert labels.max() < 5


def test_more_clusters_than_the_sample_grows_the_sample(monkeypatch):
    monkeypatch.setattr(clusters, "FIT_SAMPLE", 5)
    points = np.random.default_rng(0).normal(size=(40, 2))
    _, centers = cluster_edges(points, 8)
    assert len(centers) == 8


def test_nearest_center_by_definition():
    rng = np.random.default_rng(0)
    points, centers = rng.normal(size=(50, 3)), rng.normal(size=(6, 3))
    distance = ((points[:, None] - centers[None]) ** 2).sum(axis=-1)
    np.testing.assert_array_equal(nearest_center(points, centers), distance.argmin(axis=1))


def test_node_statistics_by_hand():
    #            items 0  1  2  3
    dense = np.array([[1, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]])
    graph = InteractionGraph(sp.csr_matrix(dense.astype(float)))
    # cluster 0: users 0, 1 and items 0, 1, 3 edges among 4 pairs; 1: user 2 alone; 2: items 2, 3; user 3 is empty
    stats = node_cluster_stats(graph, np.array([0, 0, 1, -1, 0, 0, 2, 2]))
    np.testing.assert_array_equal(stats.size, [4, 1, 2])
    np.testing.assert_array_equal(stats.density, [0.75, 0, 0])
    with pytest.raises(ValueError, match=r"labels must have shape \[8\], got \[3\]"):
        node_cluster_stats(graph, np.zeros(3, dtype=int))


def test_edge_statistics_by_hand():
    users, items = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 0, 1, 2])
    # cluster 0: 3 edges over users {0, 1} and items {0, 1}; 2: edges of user 2 over items {1, 2}; 1 is empty
    stats = edge_cluster_stats(users, items, np.array([0, 0, 0, 2, 2]))
    np.testing.assert_array_equal(stats.size, [3, 0, 2])
    np.testing.assert_array_equal(stats.density, [0.75, 0, 1])
    with pytest.raises(ValueError, match="must have one length, got 5, 4, 5"):
        edge_cluster_stats(users, items[:4], users)


@settings(max_examples=60)
@given(matrices(weighted=False), st.integers(1, 5), st.integers(0, 99))
def test_sizes_add_up_and_densities_are_shares(matrix, n_clusters, seed):
    graph = InteractionGraph(matrix)
    rng = np.random.default_rng(seed)
    users, items = graph.edges()
    node_labels = np.where(graph.degree > 0, rng.integers(0, n_clusters, graph.n_nodes), -1)
    edge_labels = rng.integers(0, n_clusters, graph.n_edges)
    nodes, edges = node_cluster_stats(graph, node_labels), edge_cluster_stats(users, items, edge_labels)
    assert nodes.size.sum() == (graph.degree > 0).sum()
    assert edges.size.sum() == graph.n_edges
    for stats in (nodes, edges):
        assert np.all((stats.density >= 0) & (stats.density <= 1))
    assert np.all((edges.density > 0) == (edges.size > 0))
    whole = node_cluster_stats(graph, np.where(graph.degree > 0, 0, -1))
    n_pairs = (graph.user_degree > 0).sum() * (graph.item_degree > 0).sum()
    assert whole.density[0] == pytest.approx(graph.n_edges / n_pairs)


@settings(max_examples=20)
@given(matrices(), st.integers(0, 9))
def test_any_graph_can_be_clustered_with_the_automatic_number(matrix, seed):
    graph = InteractionGraph(matrix)
    embedding = np.random.default_rng(seed).normal(size=(graph.n_nodes, 3)).astype(np.float32)
    labels = cluster_nodes(embedding, graph.degree > 0, seed=seed)
    assert np.all((labels >= 0) == (graph.degree > 0))
    users, items = graph.edges()
    features = EdgeFeatures(embedding[: graph.n_users], embedding[graph.n_users :], users, items)
    edge_labels, centers = cluster_edges(features, seed=seed)
    assert len(centers) == n_clusters_for(graph.n_edges)
    assert edge_labels.min() >= 0
    assert edge_labels.max() < len(centers)


def test_operators_by_hand():
    z_u, z_i = np.array([1.0, -2.0]), np.array([3.0, 0.5])
    expected = {"average": [2, -0.75], "hadamard": [3, -1], "weighted_l1": [2, 2.5], "weighted_l2": [4, 6.25]}
    assert set(EDGE_OPERATORS) == set(expected)
    for name, operator in EDGE_OPERATORS.items():
        np.testing.assert_array_equal(operator(z_u, z_i), expected[name])
        np.testing.assert_array_equal(operator(z_i, z_u), expected[name])


def test_edge_features_are_computed_when_asked_for():
    rng = np.random.default_rng(0)
    z_u, z_i = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    users, items = np.array([0, 1, 3]), np.array([4, 4, 0])
    features = EdgeFeatures(z_u, z_i, users, items, "weighted_l1")
    assert len(features) == 3
    np.testing.assert_allclose(features[1:], np.abs(z_u[[1, 3]] - z_i[[4, 0]]), rtol=1e-6)
    assert features[np.array([2, 0])].dtype == np.float32
    with pytest.raises(ValueError, match=r"operator must be one of average, hadamard.*got 'cosine'"):
        EdgeFeatures(z_u, z_i, users, items, "cosine")
    with pytest.raises(ValueError, match="one length, got 3 and 2"):
        EdgeFeatures(z_u, z_i, users, items[:2])
