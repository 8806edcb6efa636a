"""Each component of the key of stored features, and the entries that it changes."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import scipy
import scipy.sparse as sp
import sklearn
import torch
from features_data import FAST, random_matrix

from recbole_universal.array_store import ArrayStore, canonical_json
from recbole_universal.features import FAMILIES, FamilyFeatures, FeaturePipeline, computation, pipeline
from recbole_universal.features.node2vec_args import node2vec_args

EMBEDDED = {"node2vec", "cooccurrence", "interaction"}
RANDOM = EMBEDDED | {"proximity", "sequence"}  # entries that depend on a seed, a device or a library
EVERY = RANDOM | {"activity"}


@pytest.fixture
def keys(monkeypatch, tmp_path):
    """A function that returns the keys, by kind, of all entries that a pipeline would store, without computing them."""
    asked: dict[str, str] = {}

    def load(self, kind, key, convert):
        asked[kind] = canonical_json(key)

    @functools.wraps(computation.node2vec)
    def embed(graph, *, embedding_dim, **settings):
        return np.zeros((graph.n_nodes, embedding_dim), dtype=np.float32)

    monkeypatch.setattr(ArrayStore, "load", load)
    monkeypatch.setattr(ArrayStore, "store", lambda self, kind, key, arrays: None)
    monkeypatch.setattr(computation, "node2vec", embed)
    monkeypatch.setattr(pipeline.arguments, "device", torch.device)  # a device that does not exist suffices

    def zeros(self, graph, *args, **settings):
        return FamilyFeatures(np.zeros((graph.n_users, self.user_dim)), np.zeros((graph.n_items, self.item_dim)))

    for family in FAMILIES.values():
        monkeypatch.setattr(family, "compute", zeros)

    def of(matrix=None, args=None, **settings) -> dict[str, str]:
        asked.clear()
        args = {"node2vec": FAST} if args is None else args
        matrix = random_matrix() if matrix is None else matrix
        FeaturePipeline(list(FAMILIES), args, cache_dir=tmp_path, **settings)(matrix)
        return dict(asked)

    return of


def differ(one: dict[str, str], other: dict[str, str]) -> set[str]:
    assert set(one) == set(other) == EVERY
    return {kind for kind in EVERY if one[kind] != other[kind]}


def test_a_key_is_the_same_again(keys):
    assert not differ(keys(), keys())


@pytest.mark.parametrize("settings", [{"seed": 7}, {"device": "cuda"}])
def test_seed_and_device_change_all_that_is_random(keys, settings):
    assert differ(keys(), keys(**settings)) == RANDOM


@pytest.mark.parametrize("library", [np, scipy, sklearn, torch], ids=lambda library: library.__name__)
def test_each_library_changes_all_that_it_computes(keys, monkeypatch, library):
    before = keys()
    monkeypatch.setattr(library, "__version__", "0.0.1")
    assert differ(before, keys()) == RANDOM


def test_the_version_of_the_stored_values_changes_all(keys, monkeypatch):
    before = keys()
    monkeypatch.setattr(computation, "CACHE_VERSION", computation.CACHE_VERSION + 1)
    assert differ(before, keys()) == EVERY


def _moved(matrix):
    """The same number of interactions and the same weights in each row, and one other item."""
    moved = matrix.tolil()
    row = int(np.flatnonzero(np.diff(matrix.indptr))[0])
    item = matrix[row].indices[0]
    other = int(np.flatnonzero(moved[row].toarray()[0] == 0)[-1])
    moved[row, other], moved[row, item] = moved[row, item], 0
    return moved.tocsr()


def _heavier(matrix):
    heavier = matrix.copy()
    heavier.data[-1] += 1
    return heavier


CHANGES = {
    "an item": _moved,
    "a weight": _heavier,
    "a user more": lambda matrix: sp.vstack([matrix, sp.csr_matrix((1, matrix.shape[1]))]).tocsr(),
    "an item more": lambda matrix: sp.hstack([matrix, sp.csr_matrix((matrix.shape[0], 1))]).tocsr(),
    "users and items": lambda matrix: matrix.T.tocsr(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_interactions_change_all(keys, change):
    assert differ(keys(), keys(change(random_matrix()))) == EVERY


def test_the_form_of_the_matrix_changes_nothing(keys):
    matrix = random_matrix()
    assert not differ(keys(matrix), keys(matrix.tocoo()))
    assert not differ(keys(matrix), keys(matrix.astype(np.float64)))
    assert not differ(keys(matrix), keys(sp.csc_array(matrix)))


def test_threads_and_progress_change_nothing(keys, monkeypatch):
    before = keys()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 17)
    monkeypatch.setenv("OMP_NUM_THREADS", "17")
    assert not differ(before, keys(show_progress=True))


OTHER_ARGUMENTS = [
    *(("activity", name, value) for name, value in [("n_bins", 7), ("binning", "hard"), ("log_base", 3.0)]),
    *(
        (family, name, value)
        for family in ("cooccurrence", "interaction")
        for name, value in [("n_bins", 7), ("binning", "log"), ("log_base", 3.0), ("n_clusters", 3)]
    ),
    ("interaction", "operator", "average"),
    *(
        (family, name, 7)
        for family in ("proximity", "sequence")
        for name in ("top_k", "n_neighbors", "max_rank", "max_regression_size", "n_check_users")
    ),
    ("proximity", "check_share", 0.7),
    *(
        ("node2vec", name, value)
        for name, value in [
            ("embedding_dim", 7),
            ("walk_length", 7),
            ("context_size", 2),
            ("walks_per_node", 7),
            ("p", 7.0),
            ("q", 7.0),
        ]
    ),
]


@pytest.mark.parametrize(("family", "name", "value"), OTHER_ARGUMENTS)
def test_an_argument_changes_its_family(keys, family, name, value):
    args = {"node2vec": FAST}
    other = {**args, family: {**args.get(family, {}), name: value}}
    assert differ(keys(), keys(args=other)) == (EMBEDDED if family == "node2vec" else {family})


def test_no_argument_is_left_out():
    of_families = {(name, argument) for name, family in FAMILIES.items() for argument in family.from_args().args}
    known = of_families | {("node2vec", argument) for argument in node2vec_args()}
    assert {(family, name) for family, name, _ in OTHER_ARGUMENTS} == known
