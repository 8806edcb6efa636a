"""Known answers on tiny matrices, and the errors of the families."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from features_data import matrices
from hypothesis import given
from hypothesis import strategies as st

from recbole_universal.features import ActivityFeatures, CooccurrenceFeatures, InteractionFeatures
from recbole_universal.features.family import take_rows
from recbole_universal.graph import InteractionGraph

# Users 0 and 3 and item 3 have no interaction.
DENSE = np.array([[0, 0, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])


@pytest.fixture
def graph():
    return InteractionGraph(sp.csr_matrix(DENSE))


def test_activity_known_answer(graph):
    features = ActivityFeatures(n_bins=3).compute(graph)
    # Of two users the less active is at percentile 1/4, the other at 3/4; of three items two share 1/3.
    np.testing.assert_allclose(features.user, [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0.5, 0], [0, 0, 0]])
    np.testing.assert_allclose(
        features.item, [[0, 1 / 3, 2 / 3], [1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0], [0, 0, 0]], 1e-6
    )
    assert features.pair is None


def test_activity_hard_and_log(graph):
    hard = ActivityFeatures(n_bins=2, binning="hard").compute(graph)
    np.testing.assert_array_equal(hard.user, [[0, 0], [0, 1], [1, 0], [0, 0]])
    log = ActivityFeatures(n_bins=3, binning="log").compute(graph)
    np.testing.assert_array_equal(log.user, [[0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(log.item, [[0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]])


def test_activity_sums_weights():
    matrix = sp.csr_matrix(np.array([[1.0, 1.0, 1.0], [9.0, 0.0, 0.0]]))
    features = ActivityFeatures(n_bins=2, binning="hard").compute(InteractionGraph(matrix))
    np.testing.assert_array_equal(features.user, [[1, 0], [0, 1]])


def test_all_degrees_equal_are_all_in_the_middle():
    features = ActivityFeatures(n_bins=3).compute(InteractionGraph(sp.csr_matrix(np.ones((4, 5)))))
    np.testing.assert_array_equal(features.user, np.tile([0, 1, 0], (4, 1)))


@given(matrices(), st.integers(2, 4), st.sampled_from(["soft", "hard", "log"]))
def test_activity_is_unchanged_by_disjoint_copies(matrix, copies, binning):
    family = ActivityFeatures(n_bins=4, binning=binning)
    one = family.compute(InteractionGraph(matrix))
    many = family.compute(InteractionGraph(sp.block_diag([matrix] * copies)))
    np.testing.assert_array_equal(np.tile(one.user, (copies, 1)), many.user)
    np.testing.assert_array_equal(np.tile(one.item, (copies, 1)), many.item)


def test_cooccurrence_known_answer(graph):
    # Cluster 0: users 1, 2 and item 0, both pairs interact. Cluster 1: items 1, 2, so no pair.
    labels = np.array([-1, 0, 0, -1, 0, 1, 1, -1])
    features = CooccurrenceFeatures(n_bins=2, binning="hard").of_labels(graph, labels)
    large_and_dense, small_and_sparse = [0, 1, 0, 1], [1, 0, 1, 0]
    np.testing.assert_array_equal(features.user, [[0] * 4, large_and_dense, large_and_dense, [0] * 4])
    np.testing.assert_array_equal(features.item, [large_and_dense, small_and_sparse, small_and_sparse, [0] * 4])


def test_interaction_known_answer(graph):
    # Interactions (1,0) (1,1) (1,2) (2,0). Cluster 0: the first and the last, density 2/(2*1) = 1, like cluster 2;
    # cluster 1 is empty; cluster 2: the other two, density 2/(1*2) = 1.
    embedding = np.zeros((8, 1), dtype=np.float32)
    embedding[1:3], embedding[4], embedding[5:7] = 1.0, -1.0, 1.0
    centers = np.array([[-1.0], [0.9], [1.0]], dtype=np.float32)
    family = InteractionFeatures(n_bins=3, binning="soft")
    features = family.of_labels(graph, embedding, np.array([0, 2, 2, 0]), centers)
    middle = [0, 1, 0, 0, 1, 0]
    np.testing.assert_array_equal(features.user, [[0] * 6, middle, middle, [0] * 6])
    # The product of the ends is 1 for item 1: the empty cluster would be nearest if its center stayed.
    nearest = features.pair.nearest(torch.tensor([1, 1, 2, 0, 1]), torch.tensor([0, 1, 2, 1, 3]))
    np.testing.assert_array_equal(nearest, [0, 1, 1, 2, 2])
    np.testing.assert_array_equal(features.pair(torch.tensor([0, 2]), torch.tensor([0, 2])), [[0] * 6, middle])


def test_interaction_mean_of_bins():
    # User 0 has three interactions in cluster 0 and one in cluster 1, user 1 one in cluster 0.
    graph = InteractionGraph(sp.csr_matrix(np.array([[1, 1, 1, 1], [1, 0, 0, 0]])))
    family = InteractionFeatures(n_bins=2, binning="hard")
    features = family.of_labels(graph, np.ones((6, 1), np.float32), np.array([0, 0, 0, 1, 0]), np.eye(2, 1))
    large, small = [0, 1], [1, 0]
    sparse, dense = [1, 0], [0, 1]  # 4 / (2 * 3) and 1 / (1 * 1)
    first, second = np.array([*large, *sparse]), np.array([*small, *dense])
    np.testing.assert_array_equal(features.user, [0.75 * first + 0.25 * second, first])
    np.testing.assert_array_equal(features.item, [first, first, first, second])


@pytest.mark.parametrize("binning", ["soft", "hard", "log"])
@given(matrix=matrices(), copies=st.integers(2, 3), data=st.data())
def test_cluster_families_are_unchanged_by_disjoint_copies_of_clusters(binning, matrix, copies, data):
    one, many = InteractionGraph(matrix), InteractionGraph(sp.block_diag([matrix] * copies))
    n = one.n_nodes
    labels = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    labels[one.degree == 0] = -1
    shifted = [np.where(labels < 0, -1, labels + 3 * copy) for copy in range(copies)]
    copied = np.concatenate([part[: one.n_users] for part in shifted] + [part[one.n_users :] for part in shifted])
    family = CooccurrenceFeatures(n_bins=4, binning=binning)
    left, right = family.of_labels(one, labels), family.of_labels(many, copied)
    np.testing.assert_array_equal(np.tile(left.user, (copies, 1)), right.user)
    np.testing.assert_array_equal(np.tile(left.item, (copies, 1)), right.item)

    labels = np.array(data.draw(st.lists(st.integers(0, 2), min_size=one.n_edges, max_size=one.n_edges)))
    copied = np.concatenate([labels + 3 * copy for copy in range(copies)])
    edges = InteractionFeatures(n_bins=4, binning=binning)
    left = edges.of_labels(one, np.zeros((n, 1), np.float32), labels, np.zeros((3, 1)))
    right = edges.of_labels(many, np.zeros((copies * n, 1), np.float32), copied, np.zeros((3 * copies, 1)))
    np.testing.assert_array_equal(np.tile(left.user, (copies, 1)), right.user)
    np.testing.assert_array_equal(np.tile(left.item, (copies, 1)), right.item)


@pytest.mark.parametrize("family", [ActivityFeatures, CooccurrenceFeatures, InteractionFeatures])
@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"n_bins": 1}, r"argument n_bins must be an integer >= 2 and below 2\*\*10, not 1"),
        ({"n_bins": 0}, r"argument n_bins must be an integer >= 2 and below 2\*\*10, not 0"),
        ({"n_bins": "ten"}, r"argument n_bins must be an integer >= 2 and below 2\*\*10, not 'ten'"),
        ({"n_bins": 10**9}, "argument n_bins must be an integer >= 2 and below .*, not 1000000000"),
        ({"n_bins": 2**70}, "argument n_bins must be an integer >= 2 and below"),
        ({"log_base": 10**400}, "argument log_base must be a finite number > 1"),
        ({"binning": "quantile"}, "argument binning must be one of soft, hard, log, not 'quantile'"),
        ({"binning": 3}, "argument binning must be one of"),
        ({"log_base": 1.0}, "argument log_base must be a finite number > 1, not 1.0"),
        ({"log_base": float("nan")}, "argument log_base must be a finite number > 1"),
        ({"log_base": "2"}, "argument log_base must be a finite number > 1"),
        ({"bins": 3}, "unknown argument bins; valid arguments: .*n_bins"),
        ([("n_bins", 3)], "arguments must be a mapping"),
        ({3: 4}, "arguments must be a mapping"),
    ],
)
def test_errors_name_family_argument_and_valid_values(family, args, message):
    with pytest.raises(ValueError, match=f"feature family '{family.name}': {message}"):
        family.from_args(args)


@pytest.mark.parametrize("family", [CooccurrenceFeatures, InteractionFeatures])
@pytest.mark.parametrize("n_clusters", [0, 1, -1, 2.0, "3", False, 2**20, 2**70])
def test_number_of_clusters_is_checked(family, n_clusters):
    valid = r"an integer >= 2 and below 2\*\*20, or None"
    with pytest.raises(ValueError, match=f"'{family.name}': argument n_clusters must be {valid}"):
        family(n_clusters=n_clusters)


@pytest.mark.parametrize(("family", "n"), [(CooccurrenceFeatures, 6), (InteractionFeatures, 5)])
def test_more_clusters_than_points(family, n, graph):
    embedding = np.random.default_rng(0).random((graph.n_nodes, 3), dtype=np.float32)
    with pytest.raises(ValueError, match=rf"'{family.name}': argument n_clusters is {n}, more than the {n - 1} \w+"):
        family(n_clusters=n).compute(graph, embedding)
    assert family(n_clusters=n - 1).compute(graph, embedding).user.shape == (4, 20)


@pytest.mark.parametrize("family", [CooccurrenceFeatures, InteractionFeatures])
def test_embedding_is_checked(family, graph):
    for embedding in (None, np.zeros((3, 2), np.float32), np.zeros(8, np.float32)):
        with pytest.raises(ValueError, match=r"embedding must have one row per node, \[8, embedding_dim\]"):
            family().compute(graph, embedding)


@pytest.mark.parametrize("spelling", ["Weighted-L1", "weighted l1", "WEIGHTED_L1"])
def test_operator_accepts_the_spelling_of_the_paper(spelling):
    assert InteractionFeatures(operator=spelling).args["operator"] == "weighted_l1"


@pytest.mark.parametrize("operator", ["sum", None, 1])
def test_unknown_operator(operator):
    with pytest.raises(
        ValueError, match="argument operator must be one of average, hadamard, weighted_l1, weighted_l2"
    ):
        InteractionFeatures(operator=operator)


def test_dimensions_are_known_before_any_data():
    assert ActivityFeatures(n_bins=7).dims == {"user": 7, "item": 7, "pair": 0}
    assert CooccurrenceFeatures(n_bins=7).dims == {"user": 14, "item": 14, "pair": 0}
    assert InteractionFeatures(n_bins=7).dims == {"user": 14, "item": 14, "pair": 14}


def test_take_rows_gives_zeros_for_no_row():
    table = np.array([[1, 2], [3, 4]])
    np.testing.assert_array_equal(take_rows(table, np.array([1, -1, 0])), [[3, 4], [0, 0], [1, 2]])
