"""The laws of all features, for the whole pipeline; its schema, its errors, and extreme data."""

from __future__ import annotations

import functools
import json
import random

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from features_data import ALL, ARGS, FAST, all_pairs, assert_equal, matrices, random_matrix
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recbole_universal.features import FeaturePipeline, UniversalFeatures, computation
from recbole_universal.features.computation import merge_twins
from recbole_universal.features.node2vec_args import node2vec_args
from recbole_universal.graph import InteractionGraph

slow_law = settings(max_examples=25)


def permutation(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(n)


def separated(matrix: sp.csr_matrix) -> bool:
    """Whether colour refinement, in a second implementation, separates all nodes that have different neighbours."""
    dense = matrix.toarray()
    full = np.block([[np.zeros((len(dense),) * 2), dense], [dense.T, np.zeros((dense.shape[1],) * 2)]])
    n_users, n_nodes = len(dense), len(full)
    colours = [int(node < n_users) for node in range(n_nodes)]
    for _ in range(n_nodes):
        seen = [
            (colours[v], *sorted((full[v, w], colours[w]) for w in np.flatnonzero(full[v]))) for v in range(n_nodes)
        ]
        colours = [sorted(set(seen)).index(colour) for colour in seen]
    return all(np.array_equal(full[v], full[w]) for v in range(n_nodes) for w in range(v) if colours[v] == colours[w])


@slow_law
@given(matrix=matrices(), seed=st.integers(0, 1000))
def test_relabelling_permutes_the_features_and_nothing_else(matrix, seed):
    assume(separated(matrix))
    pipeline = FeaturePipeline(ALL, ARGS)
    users, items = permutation(matrix.shape[0], seed), permutation(matrix.shape[1], seed + 1)
    assert_equal(pipeline(matrix), pipeline(matrix[users][:, items]), users, items)


@pytest.mark.parametrize(
    "dense",
    [
        np.eye(5),
        np.array([[1, 1, 0], [0, 1, 1]]),
        np.eye(6) + np.roll(np.eye(6), 1, axis=0),
        np.kron(np.eye(3), [1, 1]),
    ],
    ids=["disjoint pairs", "path", "cycle", "stars"],
)
def test_relabelling_may_exchange_nodes_of_a_symmetric_graph(dense):
    pipeline = FeaturePipeline(ALL, ARGS)
    features = pipeline(sp.csr_matrix(dense))
    for seed in range(5):
        users, items = permutation(dense.shape[0], seed), permutation(dense.shape[1], seed + 1)
        relabelled = pipeline(sp.csr_matrix(dense[users][:, items]))
        for name, family in features.items():
            for side in ("user", "item"):
                rows, others = (sorted(map(tuple, getattr(f, side))) for f in (family, relabelled[name]))
                assert rows == others


@pytest.mark.parametrize("operator", ["average", "weighted_l1", "weighted_l2"])
def test_relabelling_with_every_operator(operator):
    pipeline = FeaturePipeline(["interaction"], {**ARGS, "interaction": {"operator": operator}})
    matrix = random_matrix()
    users, items = permutation(matrix.shape[0], 0), permutation(matrix.shape[1], 1)
    assert_equal(pipeline(matrix), pipeline(matrix[users][:, items]), users, items)


@slow_law
@given(matrix=matrices(), user=st.integers(0, 6), item=st.integers(0, 7))
def test_ids_without_interactions_change_nothing_and_get_zeros(matrix, user, item):
    pipeline = FeaturePipeline(ALL, ARGS)
    user, item = min(user, matrix.shape[0]), min(item, matrix.shape[1])
    users, items = (np.insert(np.arange(n), at, -1) for n, at in zip(matrix.shape, (user, item), strict=True))
    dense = np.zeros((len(users), len(items)), dtype=np.float32)
    dense[np.ix_(users >= 0, items >= 0)] = matrix.toarray()
    wide = pipeline(sp.csr_matrix(dense))
    assert_equal(wide, pipeline(matrix), np.flatnonzero(users >= 0), np.flatnonzero(items >= 0))
    for family in wide.values():
        assert not family.user[user].any() and not family.item[item].any()
        if family.pair is not None:
            assert not all_pairs(family.pair)[user].any() and not all_pairs(family.pair)[:, item].any()


@slow_law
@given(matrix=matrices())
def test_values_are_finite_and_memberships_sum_to_one(matrix):
    features = FeaturePipeline(ALL, ARGS)(matrix)
    connected = {"user": np.diff(matrix.indptr) > 0, "item": np.bincount(matrix.indices, minlength=matrix.shape[1]) > 0}
    for name, family in features.items():
        statistics = 1 if name == "activity" else 2
        for side in ("user", "item"):
            rows = getattr(family, side)
            assert rows.dtype == np.float32 and np.isfinite(rows).all()
            np.testing.assert_allclose(rows.sum(axis=1), statistics * connected[side], atol=1e-5)
    pairs = all_pairs(features["interaction"].pair)
    np.testing.assert_allclose(pairs.sum(axis=2), 2 * np.outer(connected["user"], connected["item"]), atol=1e-5)


def test_features_depend_on_the_seed_and_not_on_the_global_state():
    matrix = random_matrix()
    outcomes = []
    for seed in (1, 2):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        outcomes.append(FeaturePipeline(ALL, ARGS, seed=7)(matrix))
        assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert_equal(*outcomes)
    other = FeaturePipeline(ALL, ARGS, seed=8)(matrix)
    assert not np.array_equal(outcomes[0]["cooccurrence"].user, other["cooccurrence"].user)


def test_repeated_interactions_and_formats_do_not_matter():
    pipeline = FeaturePipeline(ALL, ARGS)
    matrix = random_matrix()
    coo = matrix.tocoo()
    order = permutation(coo.nnz, 3)
    shuffled = sp.coo_matrix((coo.data[order], (coo.row[order], coo.col[order])), shape=coo.shape)
    halves = sp.coo_matrix((np.tile(coo.data / 2, 2), (np.tile(coo.row, 2), np.tile(coo.col, 2))), shape=coo.shape)
    expected = pipeline(matrix)
    for other in (shuffled, halves, matrix.tocsc(), matrix.astype(np.float64), InteractionGraph(matrix)):
        assert_equal(expected, pipeline(other))


def test_families_do_not_influence_each_other():
    matrix = random_matrix()
    together = FeaturePipeline(ALL, ARGS)(matrix)
    for name in ALL:
        alone = FeaturePipeline([name], ARGS)(matrix)
        assert_equal({name: together[name]}, alone)


def test_the_embedding_is_computed_once(monkeypatch):
    calls = []

    @functools.wraps(computation.node2vec)
    def counted(graph, **args):
        calls.append(graph.n_nodes)
        return original(graph, **args)

    original = computation.node2vec
    monkeypatch.setattr(computation, "node2vec", counted)
    FeaturePipeline(["interaction", "activity", "cooccurrence"], ARGS)(sp.csr_matrix(np.eye(5, 7)))
    assert calls == [10]


def test_users_with_one_history_have_one_row():
    dense = random_matrix().toarray()
    dense[5] = dense[9]
    features = FeaturePipeline(ALL, ARGS)(sp.csr_matrix(dense))
    for family in features.values():
        np.testing.assert_array_equal(family.user[5], family.user[9])
    pairs = all_pairs(features["interaction"].pair)
    np.testing.assert_array_equal(pairs[5], pairs[9])


def test_merge_twins_takes_the_mean():
    graph = InteractionGraph(sp.csr_matrix(np.array([[1, 1], [1, 1], [1, 2]])))
    embedding = np.array([[1.0], [3.0], [9.0], [5.0], [7.0]], dtype=np.float32)
    # Users 0 and 1 are alike; user 2 has another weight, so the two items differ as well.
    np.testing.assert_array_equal(merge_twins(graph, embedding), [[2], [2], [9], [5], [7]])


def test_shape_and_access():
    features = FeaturePipeline(ALL, ARGS)(random_matrix())
    assert isinstance(features, UniversalFeatures)
    assert list(features) == ALL and len(features) == 3
    assert features["activity"].user.shape == (30, 4) and features["activity"].pair is None
    assert features["interaction"].item.shape == (20, 8)
    assert all_pairs(features["interaction"].pair).shape == (30, 20, 8)
    assert set(features.seconds) == {"canonical order", "node2vec", *ALL}
    with pytest.raises(KeyError, match="'proximity' was not computed; computed: activity, cooccurrence, interaction"):
        features["proximity"]


def test_dimensions_are_known_before_any_data():
    pipeline = FeaturePipeline(["interaction", "activity"], {"interaction": {"n_bins": 3}})
    assert pipeline.dims == {
        "interaction": {"user": 6, "item": 6, "pair": 6},
        "activity": {"user": 10, "item": 10, "pair": 0},
    }
    features = pipeline(random_matrix())
    for name, dims in pipeline.dims.items():
        assert (features[name].user.shape[1], features[name].item.shape[1]) == (dims["user"], dims["item"])


def test_schema_is_json_and_its_hash_covers_all_arguments():
    schema = FeaturePipeline(ALL, ARGS).schema
    assert json.loads(json.dumps(schema)) == schema
    assert [family["name"] for family in schema["families"]] == ALL
    assert schema["families"][2]["args"] == {
        "operator": "hadamard",
        "n_bins": 4,
        "binning": "soft",
        "log_base": 4.0,
        "n_clusters": None,
    }
    assert schema["node2vec"]["embedding_dim"] == 4 and schema["node2vec"]["p"] == 1.0
    same = FeaturePipeline(ALL, {**ARGS, "activity": {"n_bins": 4, "binning": "soft"}}, seed=3, cache_dir="elsewhere")
    assert same.schema == schema
    others = [
        FeaturePipeline(ALL[::-1], ARGS),
        FeaturePipeline(ALL[:2], ARGS),
        FeaturePipeline(ALL, {**ARGS, "activity": {"n_bins": 5}}),
        FeaturePipeline(ALL, {**ARGS, "node2vec": {**FAST, "q": 2}}),
    ]
    assert len({schema["schema_hash"], *(other.schema["schema_hash"] for other in others)}) == 5


def test_schema_leaves_out_an_embedding_that_no_family_uses():
    left, right = (FeaturePipeline(["activity"], {"node2vec": {"p": p}}).schema for p in (1, 2))
    assert left == right and "node2vec" not in left


@pytest.mark.parametrize(
    ("families", "args", "message"),
    [
        (["activty"], {}, "unknown feature family 'activty'; valid families: activity, cooccurrence, interaction"),
        (["activity", 3], {}, "unknown feature family 3"),
        ([], {}, "must be a non-empty list of names, not .*valid families: activity"),
        ("activity", {}, "must be a non-empty list of names, not 'activity'"),
        (None, {}, "must be a non-empty list"),
        (["activity", "activity"], {}, "named twice"),
        (["activity"], {"aktivity": {}}, "unknown entry aktivity; valid entries: activity, .*, node2vec"),
        (["activity"], ["n_bins"], "feature arguments: arguments must be a mapping"),
        (["activity"], {"interaction": {"operator": "x"}}, "feature family 'interaction': argument operator"),
        (["activity"], {"node2vec": {"dim": 3}}, "node2vec: unknown argument dim; valid arguments: embedding_dim"),
        (["activity"], {"node2vec": {"embedding_dim": 0}}, "node2vec: argument embedding_dim must be an integer >= 1"),
        (["activity"], {"node2vec": {"walk_length": 1}}, "node2vec: argument walk_length must be an integer >= 2"),
        (["activity"], {"node2vec": {"p": 0}}, "node2vec: argument p must be a finite number > 0, not 0"),
        (["activity"], {"node2vec": {"q": float("inf")}}, "node2vec: argument q must be a finite number > 0, not inf"),
        (["activity"], {"node2vec": {"walks_per_node": 1.5}}, "argument walks_per_node must be an integer >= 1"),
        (["activity"], {"node2vec": {"epochs": 3}}, "node2vec: unknown argument epochs"),
        (["activity"], {"node2vec": {"context_size": 21}}, r"context_size must be at most walk_length \(20\), not 21"),
    ],
)
def test_every_argument_is_checked_before_any_data(families, args, message):
    with pytest.raises(ValueError, match=message):
        FeaturePipeline(families, args)


@pytest.mark.parametrize("seed", [-1, 1.5, "2020", None])
def test_seed_is_checked(seed):
    with pytest.raises(ValueError, match="argument seed must be an integer >= 0"):
        FeaturePipeline(["activity"], seed=seed)


def test_every_argument_of_node2vec_is_checked():
    default = node2vec_args()
    assert {"embedding_dim", "walk_length", "context_size", "walks_per_node", "p", "q"} <= set(default)
    for name in default:
        for value in ("many", 10**400) if isinstance(default[name], float) else ("many", 10**9, 2**70):
            with pytest.raises(ValueError, match=f"node2vec: argument {name} must be"):
                node2vec_args({name: value})


@pytest.mark.parametrize("weight", [np.nan, np.inf, -1.0])
def test_bad_weights_are_named(weight):
    matrix = random_matrix()
    matrix.data[0] = weight
    with pytest.raises(ValueError, match=r"row \d+, column \d+"):
        FeaturePipeline(["activity"])(matrix)


def test_no_interaction():
    with pytest.raises(ValueError, match="no interaction"):
        FeaturePipeline(ALL, ARGS)(sp.csr_matrix((3, 4)))


def test_more_clusters_than_nodes_or_interactions():
    matrix = sp.csr_matrix(np.ones((2, 2)))
    for family, points in (("cooccurrence", "4 nodes"), ("interaction", "4 interactions")):
        with pytest.raises(ValueError, match=f"'{family}': argument n_clusters is 5, more than the {points}"):
            FeaturePipeline([family], {**ARGS, family: {"n_clusters": 5}})(matrix)


@pytest.mark.parametrize("binning", ["soft", "hard", "log"])
@pytest.mark.parametrize(
    "dense",
    [
        np.ones((1, 1)),
        np.ones((1, 6)),
        np.ones((6, 1)),
        np.ones((5, 5)),
        np.eye(6),
        np.diag([1, 0, 0, 0]),
        np.pad(np.ones((1, 1)), ((1, 2), (3, 0))),
    ],
    ids=["one pair", "one user", "one item", "complete", "disjoint pairs", "isolated ids", "padding"],
)
def test_data_at_the_edge(dense, binning):
    args = {"node2vec": FAST, **{family: {"n_bins": 3, "binning": binning} for family in ALL}}
    features = FeaturePipeline(ALL, args)(sp.csr_matrix(dense))
    for family in features.values():
        np.testing.assert_array_equal(family.user.any(axis=1), dense.any(axis=1))
        np.testing.assert_array_equal(family.item.any(axis=1), dense.any(axis=0))
    pairs = all_pairs(features["interaction"].pair)
    np.testing.assert_array_equal(pairs.any(axis=2), np.outer(dense.any(axis=1), dense.any(axis=0)))


def test_progress_is_shown_on_demand_only(capsys):
    matrix = random_matrix()
    FeaturePipeline(ALL, ARGS)(matrix)
    assert capsys.readouterr().err == ""
    FeaturePipeline(ALL, ARGS, show_progress=True)(matrix)
    assert "universal features" in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_computes_too_and_results_are_on_the_cpu():
    features = FeaturePipeline(ALL, ARGS, device="cuda")(random_matrix())
    assert features["interaction"].pair.device.type == "cpu"
    assert np.isfinite(all_pairs(features["interaction"].pair)).all()
