"""InteractionGraph: known answers on a small graph, bad input, and the laws of splits and orders."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from graph_data import matrices, permuted
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_universal import FeaturePipeline, UniversalRanker
from recbole_universal.app.analysis.evaluation import RandomSplit
from recbole_universal.graph import (
    GraphScorers,
    InteractionGraph,
    binary_matrix,
    canonical_order,
    cluster_edges,
    cluster_nodes,
    factorize_walks,
    node2vec,
)

# user 0 and item 0 are padding; user 1 has items 1, 3; user 2 has item 3
DENSE = np.array([[0, 0, 0, 0], [0, 2, 0, 0.5], [0, 0, 0, 1]])


def pairs(users, items):
    return set(zip(users.tolist(), items.tolist(), strict=True))


def test_known_answers():
    graph = InteractionGraph(sp.csr_matrix(DENSE))
    assert (graph.n_users, graph.n_items, graph.n_nodes, graph.n_edges) == (3, 4, 7, 3)
    assert repr(graph) == "InteractionGraph(n_users=3, n_items=4, n_edges=3)"
    assert graph.user_item.dtype == np.float32
    np.testing.assert_array_equal(graph.item_user.toarray(), DENSE.T)
    np.testing.assert_array_equal(graph.user_degree, [0, 2, 1])
    np.testing.assert_array_equal(graph.item_degree, [0, 1, 0, 2])
    np.testing.assert_array_equal(graph.degree, [0, 2, 1, 0, 1, 0, 2])
    np.testing.assert_array_equal(graph.user_marginal, [0, 2.5, 1])
    np.testing.assert_array_equal(graph.item_marginal, [0, 2, 0, 1.5])
    users, items = graph.edges()
    np.testing.assert_array_equal(users, [1, 1, 2])
    np.testing.assert_array_equal(items, [1, 3, 3])
    indptr, indices = graph.adjacency()
    np.testing.assert_array_equal(indptr, [0, 0, 2, 3, 3, 4, 4, 6])
    np.testing.assert_array_equal(indices, [4, 6, 6, 1, 1, 2])
    assert indptr.dtype == indices.dtype == users.dtype == items.dtype == np.int64


@pytest.mark.parametrize("kind", [sp.coo_matrix, sp.csc_matrix, sp.csr_array, sp.lil_matrix, sp.dok_matrix])
@pytest.mark.parametrize("dtype", [np.float64, np.int32, bool])
def test_every_sparse_format_and_dtype(kind, dtype):
    graph = InteractionGraph(kind((DENSE > 0).astype(dtype)))
    np.testing.assert_array_equal(graph.user_item.toarray(), DENSE > 0)


def test_duplicates_are_one_edge_zeros_are_none_and_the_input_is_unchanged():
    matrix = sp.coo_matrix(([1.0, 2.0, 0.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    graph = InteractionGraph(matrix)
    assert graph.n_edges == 1
    assert graph.user_item[0, 1] == 3
    assert matrix.nnz == 3


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csr_array, sp.coo_matrix])
def test_a_graph_and_a_binary_matrix_do_not_change_with_the_input(form):
    matrix = form(DENSE.astype(np.float32))
    graph, binary = InteractionGraph(matrix), binary_matrix(matrix)
    matrix.data[:] = 5.0
    if matrix.format == "csr":
        matrix.indices[:] = 0
    np.testing.assert_array_equal(graph.user_item.toarray(), DENSE)
    np.testing.assert_array_equal(binary.toarray(), DENSE > 0)


def test_without_a_copy_a_graph_shares_a_matrix_of_its_form_alone():
    matrix = sp.csr_matrix(DENSE.astype(np.float32))
    assert np.shares_memory(InteractionGraph(matrix, copy=False).user_item.indices, matrix.indices)
    unsorted = matrix.copy()
    unsorted.indices[:2], unsorted.data[:2] = unsorted.indices[1::-1].copy(), unsorted.data[1::-1].copy()
    unsorted.has_sorted_indices = True  # a flag that is wrong does not count
    graph = InteractionGraph(unsorted, copy=False)
    assert graph.user_item.indices.tolist() == [1, 3, 3]
    np.testing.assert_array_equal(graph.user_item.toarray(), DENSE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 1e300])
@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bad_weight_in_rows_is_named(value, dtype):
    matrix = sp.csr_matrix(DENSE.astype(dtype))
    matrix.data[1] = value
    with pytest.raises(ValueError, match=r"row 1, column 3 \(1 such weights\)"):
        InteractionGraph(matrix)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 1e300])
def test_bad_weight_names_the_first_row_and_column(value):
    matrix = sp.coo_matrix(([1.0, value, value], ([0, 3, 2], [0, 0, 1])), shape=(4, 3))
    with pytest.raises(ValueError, match=r"row 2, column 1 \(2 such weights\)"):
        InteractionGraph(matrix)


def test_duplicates_that_overflow_are_named():
    matrix = sp.coo_matrix(([3e38, 3e38], ([1, 1], [1, 1])), shape=(2, 2))
    with pytest.raises(ValueError, match="row 1, column 1"):
        InteractionGraph(matrix)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (DENSE, "must be a SciPy sparse matrix.*ndarray"),
        (sp.csr_matrix((0, 3)), r"at least one user and one item, got shape \(0, 3\)"),
        (sp.csr_matrix((3, 0)), "at least one user"),
        (sp.csr_matrix((3, 2)), r"matrix \[3, 2\] holds no interaction"),
        (sp.csr_matrix(DENSE * 1j), "complex"),
    ],
)
def test_bad_matrix(matrix, message):
    with pytest.raises(ValueError, match=message):
        InteractionGraph(matrix)


def relabelled(graph, seed):
    rng = np.random.default_rng(seed)
    return permuted(graph, rng.permutation(graph.n_users), rng.permutation(graph.n_items))


def canonical_matrix(graph):
    return permuted(graph, *graph.canonical_order()).user_item.toarray()


@settings(max_examples=150)
@given(matrices(), st.integers(0, 1000))
def test_canonical_graph_does_not_depend_on_the_ids(matrix, seed):
    graph = InteractionGraph(matrix)
    np.testing.assert_array_equal(canonical_matrix(graph), canonical_matrix(relabelled(graph, seed)))


@settings(max_examples=50)
@given(matrices(max_users=4, max_items=4), st.integers(2, 4), st.integers(0, 1000))
def test_canonical_graph_of_disjoint_copies_does_not_depend_on_the_ids(matrix, n_copies, seed):
    graph = InteractionGraph(sp.block_diag([matrix] * n_copies))
    np.testing.assert_array_equal(canonical_matrix(graph), canonical_matrix(relabelled(graph, seed)))


@settings(max_examples=50)
@given(matrices())
def test_canonical_order_is_a_permutation_with_empty_nodes_last(matrix):
    graph = InteractionGraph(matrix)
    for perm, degree in zip(graph.canonical_order(), (graph.user_degree, graph.item_degree), strict=True):
        np.testing.assert_array_equal(np.sort(perm), np.arange(len(degree)))
        assert np.all(np.diff((degree[perm] == 0).astype(int)) >= 0)


def test_empty_rows_and_columns_do_not_change_the_canonical_graph():
    dense = sp.random(8, 6, 0.4, random_state=0).toarray()
    padded = np.pad(dense, ((1, 2), (1, 3)))
    n_users, n_items = (dense > 0).any(axis=1).sum(), (dense > 0).any(axis=0).sum()
    ours, theirs = (canonical_matrix(InteractionGraph(sp.csr_matrix(m)))[:n_users, :n_items] for m in (dense, padded))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("weighted", [False, True])
def test_canonical_order_does_not_depend_on_how_much_is_read_at_once(weighted, monkeypatch):
    rng = np.random.default_rng(0)
    small = sp.random(9, 7, 0.4, random_state=0, format="csr", data_rvs=np.ones)
    matrix = sp.block_diag([small, small, sp.csr_matrix(np.ones((3, 2)))], format="csr")
    if weighted:
        matrix.data = rng.integers(1, 3, matrix.nnz).astype(float)
    graph = InteractionGraph(matrix)
    whole = graph.canonical_order()
    for size in (1, 2, 5):
        monkeypatch.setattr(canonical_order, "_BLOCK_EDGES", size)
        for ours, expected in zip(graph.canonical_order(), whole, strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_weights_break_ties():
    graph = InteractionGraph(sp.csr_matrix(np.diag([1.0, 2.0, 3.0])))
    np.testing.assert_array_equal(canonical_matrix(graph), canonical_matrix(relabelled(graph, 1)))


PAIRS = [(0, 1), (0, 3), (1, 0), (2, 2), (2, 3)]


def stored(dtype="float32", form="csr", repeats=1, values=1):
    rows, columns = np.array(PAIRS * repeats).T
    data = np.full(len(rows), values, dtype=dtype)
    matrix = sp.coo_array((data, (rows, columns)), shape=(3, 4))
    if form == "unsummed csr":
        order = np.argsort(rows, kind="stable")
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=3))])
        return sp.csr_matrix((data[order], columns[order], indptr), shape=(3, 4))
    return matrix if form == "coo" else getattr(matrix, "to" + form)()


BINARY = np.zeros((3, 4), dtype=np.float32)
BINARY[tuple(np.array(PAIRS).T)] = 1.0


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "lil", "dok", "dia"])
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "uint64", "float32", "float64"])
def test_any_type_and_format_counts_the_same(dtype, form):
    matrix = stored(dtype, form)
    binary = binary_matrix(matrix)
    assert type(binary) is sp.csr_matrix and binary.dtype == np.float32 and binary.has_canonical_format
    np.testing.assert_array_equal(binary.toarray(), BINARY)
    np.testing.assert_array_equal(InteractionGraph(matrix).user_item.toarray(), BINARY)


@pytest.mark.parametrize(
    ("dtype", "repeats", "values"),
    [
        ("uint8", 256, 1),
        ("int8", 256, 1),
        ("bool", 2, True),
        ("uint8", 2, 128),
        ("int64", 2, 2**62),
    ],
)
@pytest.mark.parametrize("form", ["coo", "unsummed csr"])
def test_repeated_pairs_do_not_overflow(dtype, repeats, values, form):
    matrix = stored(dtype, form, repeats, values)
    before = matrix.data.copy()
    np.testing.assert_array_equal(binary_matrix(matrix).toarray(), BINARY)
    total = float(np.array(values, dtype=dtype)) * repeats
    np.testing.assert_allclose(InteractionGraph(matrix).user_item.toarray(), BINARY * total, rtol=1e-6)
    assert matrix.nnz == len(PAIRS) * repeats
    np.testing.assert_array_equal(matrix.data, before)


def test_nonzero_values_of_any_type_are_interactions():
    values = np.array([1e-50, -1.0, 0.0, 1e300, 1.0])
    matrix = sp.coo_matrix((values, np.array(PAIRS).T), shape=(3, 4))
    expected = BINARY.copy()
    expected[PAIRS[2]] = 0.0  # an explicit zero is none
    np.testing.assert_array_equal(binary_matrix(matrix).toarray(), expected)
    opposite = sp.coo_matrix(([1.0, -1.0, 0.0], ([0, 0, 0], [1, 1, 1])), shape=(1, 2))
    assert binary_matrix(opposite).toarray().tolist() == [[0, 1]]
    with pytest.raises(ValueError, match=r"weight 1e-50 at row 0, column 1 \(1 such weights\).* so small"):
        InteractionGraph(sp.coo_matrix(([1e-50], ([0], [1])), shape=(2, 2)))


def damaged(**parts):
    matrix = sp.csr_matrix(BINARY)
    for name, value in parts.items():
        setattr(matrix, name, np.array(value, dtype=np.int32))
    return matrix


def misplaced():
    matrix = sp.coo_matrix(BINARY)
    matrix.row[0] = 5
    return matrix


@pytest.mark.parametrize(
    "check", [binary_matrix, InteractionGraph, GraphScorers, UniversalRanker, FeaturePipeline(["activity"])]
)
@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (sp.csr_matrix([[1.0, np.nan], [np.nan, 4.0]]), r"weight nan at row 0, column 1 \(2 such weights\)"),
        (sp.csr_array([[1.0, 0.0], [0.0, np.inf]]), "weight inf at row 1, column 1"),
        (BINARY, "SciPy sparse matrix.*ndarray"),
        (pd.DataFrame(BINARY), "SciPy sparse matrix.*DataFrame"),
        (BINARY.tolist(), "SciPy sparse matrix.*list"),
        (np.asmatrix(BINARY), "SciPy sparse matrix.*matrix"),
        (None, "SciPy sparse matrix.*NoneType"),
        (sp.coo_array(np.ones(3)), "two dimensions"),
        (sp.coo_array(np.ones((2, 2, 2))), "two dimensions"),
        (sp.csr_matrix(BINARY * 1j), "real numbers, got dtype complex"),
        (sp.csr_matrix((0, 3)), "at least one user"),
        (sp.csr_matrix((3, 0)), "at least one user"),
        (sp.csr_matrix((3, 2)), "holds no interaction"),
        (sp.coo_matrix(([0.0], ([1], [1])), shape=(2, 2)), "holds no interaction"),
        (sp.coo_matrix(([1.0], ([0], [2**33])), shape=(2, 2**40)), "at most"),
        (damaged(indices=[1, 3, 0, 2, 9]), "damaged: .*9"),
        (damaged(indices=[1, 3, 0, -2, 3]), "damaged: .*-2"),
        (misplaced(), "damaged: .*5"),
        (damaged(indptr=[0, 4, 2, 5]), "damaged: its indptr"),
    ],
)  # fmt: skip
def test_invalid_matrices_are_refused_everywhere(check, matrix, message):
    with pytest.raises(ValueError, match=message) as error:
        check(matrix)
    assert "matrix" in str(error.value) and "\n" not in str(error.value)


def test_unused_capacity_of_a_matrix_is_no_interaction():
    matrix = sp.csr_matrix(BINARY)
    matrix.indices, matrix.data = np.append(matrix.indices, [99, 99]), np.append(matrix.data, [np.nan, 1])
    np.testing.assert_array_equal(binary_matrix(matrix).toarray(), BINARY)
    np.testing.assert_array_equal(InteractionGraph(matrix).user_item.toarray(), BINARY)
    assert len(matrix.indices) == 7


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**32, 2**64 - 1, np.int64(5), np.uint64(2**63)])
def test_every_seed_of_64_bits_passes_everywhere(seed):
    matrix = sp.random(20, 15, 0.3, random_state=0, format="csr", data_rvs=np.ones)
    graph = InteractionGraph(matrix)
    small = {"embedding_dim": 4, "walk_length": 4, "context_size": 2, "walks_per_node": 1}
    embedding = node2vec(graph, **small, seed=seed)
    np.testing.assert_array_equal(
        cluster_nodes(embedding, graph.degree > 0, seed=seed),
        cluster_nodes(embedding, graph.degree > 0, seed=int(seed)),
    )
    cluster_edges(np.random.default_rng(0).random((50, 3)), seed=seed)
    RandomSplit(matrix, 5, seed)
    arguments = {"cooccurrence": {"n_clusters": 3}, "node2vec": small}
    FeaturePipeline(["cooccurrence", "interaction", "proximity"], arguments, seed=seed)(matrix)
    assert UniversalRanker(matrix, seed=seed).top_k([0], 3)[0].shape == (1, 3)


@pytest.mark.parametrize("seed", [-1, 2**64, True, 1.0, "1", None, np.nan])
def test_invalid_seeds_are_refused_everywhere(seed):
    matrix = sp.csr_matrix(BINARY)
    graph, embedding = InteractionGraph(matrix), np.random.default_rng(0).random((7, 3))
    for call in (
        lambda: node2vec(graph, seed=seed),
        lambda: cluster_nodes(embedding, graph.degree > 0, seed=seed),
        lambda: cluster_edges(embedding, seed=seed),
        lambda: factorize_walks([torch.tensor([[0, 4]])], 3, 4, embedding_dim=2, seed=seed),
        lambda: RandomSplit(matrix, 5, seed),
        lambda: FeaturePipeline(["activity"], seed=seed),
        lambda: UniversalRanker(matrix, seed=seed),
    ):
        with pytest.raises(ValueError, match=r"seed must be an integer >= 0 and below 2\*\*64, not"):
            call()
