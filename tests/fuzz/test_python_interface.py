"""Wrong values of every kind for every argument of the Python interface: a sentence that names it, or the right result.

A value that an argument takes is listed as such; any other one must be refused. Slow: some 900 calls.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from recbole_universal import FeaturePipeline, InteractionGraph, Recommender, UniversalRanker, interpolate, recommend
from recbole_universal.app.analysis import evaluation, statistics
from recbole_universal.checkpoint import load_pretrained
from recbole_universal.features.activity import ActivityFeatures
from recbole_universal.features.interaction import InteractionFeatures
from recbole_universal.features.proximity import ProximityFeatures
from recbole_universal.graph import GraphScorers, cluster_nodes, node2vec
from recbole_universal.ranking.network import UniversalNetwork

MATRIX = sp.csr_matrix((np.random.default_rng(0).random((20, 15)) < 0.3).astype(np.float32))
WRONG: dict[str, Any] = {
    "None": None,
    "True": True,
    "-1": -1,
    "0": 0,
    "1": 1,
    "1.5": 1.5,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "10**9": 10**9,
    "2**70": 2**70,
    "1e300": 1e300,
    "complex": 1j,
    "empty text": "",
    "text": "no such thing",
    "bytes": b"\x00",
    "empty list": [],
    "ragged list": [[1], [2, 3]],
    "list of texts": ["a", "b"],
    "list of NaN": [float("nan")],
    "list of None": [None],
    "list of -1": [-1],
    "list of 99": [99],
    "list of 2**70": [2**70],
    "list of True": [True, False],
    "empty dict": {},
    "dict": {"a": 1},
    "dict of 1": {1: 1},
    "set": {1, 2},
    "object": object(),
    "function": len,
    "type": int,
    "array 0-d": np.array(5),
    "array 2-d": np.ones((2, 2)),
    "array 3-d": np.ones((2, 2, 2), dtype=np.int64),
    "array of objects": np.array([None, "a"], dtype=object),
    "array of times": np.array(["2020-01-01"], dtype="datetime64[D]"),
    "array of complex": np.array([1j]),
    "masked array": np.ma.masked_array([1, 2], [True, False]),
    "long array": np.arange(10**5) - 1,
    "tensor": torch.ones(2, 2),
    "sparse tensor": torch.eye(3).to_sparse(),
    "frame": pd.DataFrame({"a": [1]}),
    "empty frame": pd.DataFrame(),
    "sparse 1-d": sp.coo_array(np.ones(3)),
    "sparse NaN": sp.csr_matrix([[np.nan, 1.0]]),
    "sparse empty": sp.csr_matrix((0, 0)),
    "sparse zeros": sp.csr_matrix((3, 3)),
    "sparse complex": sp.csr_matrix([[1j]]),
}


@dataclass
class Call:
    """A function, valid values of its arguments, and values of the list of wrong ones that an argument accepts."""

    function: Callable
    right: dict[str, Any]
    takes: dict[str, set[str]] = field(default_factory=dict)
    errors: tuple[type[Exception], ...] = (ValueError, TypeError)
    names: dict[str, str] = field(default_factory=dict)  # pattern of the argument's name in messages


@functools.cache
def ranker() -> UniversalRanker:
    return UniversalRanker(MATRIX)


@functools.cache
def recommender() -> Recommender:
    return Recommender.fit(FRAME, show_progress=False, items=pd.DataFrame({"item": [1, 2], "price": [1, 2]}))


@functools.cache
def another() -> Recommender:
    return Recommender.fit(FRAME, show_progress=False)


@functools.cache
def features():
    return FeaturePipeline(["activity"])(MATRIX)


def updated(**arguments) -> None:
    made = UniversalRanker(MATRIX, "universal-base")
    before = made.matrix
    try:
        made.update(**arguments)
    except Exception:
        assert made.matrix is before
        raise


FRAME = pd.DataFrame(dict(zip(("user", "item"), MATRIX.nonzero(), strict=True)))
# An id of a user may be of any type; one that is not in the data gets the most popular items.
NO_USERS = {kind for kind in WRONG if kind.startswith(("empty", "sparse", "tensor")) and kind != "sparse 1-d"}
NO_USERS |= {"NaN", "list of NaN", "list of None", "ragged list", "array 2-d", "array 3-d"}
FLAG = {"True"}
SEED = {"0", "1", "10**9"}
SMALL = {"embedding_dim": 2, "walk_length": 4, "context_size": 2, "walks_per_node": 1}
GRAPH = InteractionGraph(MATRIX)

CALLS: dict[str, Call] = {
    "UniversalRanker": Call(
        UniversalRanker,
        {
            "matrix": MATRIX,
            "device": "cpu",
            "seed": 1,
            "cache_dir": None,
            "show_progress": False,
        },
        {
            "seed": SEED,
            "cache_dir": {"None", "empty text", "text"},
            "show_progress": FLAG,
        },
        names={"cache_dir": "universal_cache_dir"},
    ),
    "top_k": Call(
        lambda **arguments: ranker().top_k(**arguments),
        {"users": [0, 1], "k": 3, "exclude_seen": True, "fast": False, "allowed": None},
        {"users": {"empty list"}, "k": {"1"}, "exclude_seen": {"True", "None"}, "fast": FLAG, "allowed": {"None"}},
    ),
    "explain": Call(
        lambda **arguments: ranker().explain(**arguments),
        {"user": 0, "k": 3},
        {"user": {"0", "1"}, "k": {"1"}},
    ),
    # Of ids, other tests: any value is an id.
    "Recommender.recommend": Call(
        lambda **arguments: recommender().recommend(**arguments),
        {"k": 3, "filter_seen": True, "histories": [[1, 2], [3]], "where": "price < 3"},
        {
            "k": {"1"},
            "where": {"None"},
            "filter_seen": {"True", "None"},
            "histories": {"None", "empty list", "ragged list", "empty dict", "array 2-d", "tensor", "sparse empty"},
        },
    ),
    "Recommender.set_items": Call(
        lambda items: another().set_items(items),
        {"items": None},
        {"items": {"None"}},
        (ValueError, OSError),
        {"items": "(items|file)"},
    ),
    "Recommender.load": Call(
        Recommender.load, {"folder": "none"}, errors=(ValueError, OSError), names={"folder": "(folder|recommender)"}
    ),
    "fallback_reason": Call(lambda **arguments: ranker().fallback_reason(**arguments), {"fast": False}, {"fast": FLAG}),
    "update": Call(updated, {"users": [0], "items": [1]}, {}),
    "interpolate": Call(
        interpolate,
        {"base": torch.ones(2, 3), "universal": torch.ones(2, 3), "weight": 0.5, "space": "rank"},
        {"weight": {"True", "0", "1", "list of True"}},
        names={"space": "interpolation_space"},
    ),
    "FeaturePipeline": Call(
        FeaturePipeline,
        {
            "families": ["activity"],
            "args": None,
            "seed": 1,
            "device": "cpu",
            "cache_dir": None,
            "show_progress": False,
        },
        {
            "args": {"None", "empty dict"},
            "seed": SEED,
            "cache_dir": {"None", "empty text", "text"},
            "show_progress": FLAG,
        },
        names={"families": "famil(y|ies)", "args": "feature arguments", "cache_dir": "universal_cache_dir"},
    ),
    "pipeline": Call(
        lambda **arguments: FeaturePipeline(["activity"])(**arguments),
        {"matrix": MATRIX, "support": False},
        {"support": FLAG},
    ),
    "with_interactions": Call(
        lambda **arguments: FeaturePipeline(["activity"]).with_interactions(**arguments),
        {"features": features, "matrix": MATRIX},
    ),
    "InteractionGraph": Call(InteractionGraph, {"matrix": MATRIX}),
    "GraphScorers": Call(
        GraphScorers,
        {"matrix": MATRIX, "n_neighbors": 2, "max_rank": 2, "max_regression_size": 2, "device": "cpu"},
        {"n_neighbors": {"1"}, "max_rank": {"1"}, "max_regression_size": {"1"}},
    ),
    "ActivityFeatures": Call(
        ActivityFeatures,
        {"n_bins": 4, "binning": "log", "log_base": 2.0},
        {"log_base": {"1.5", "10**9", "2**70", "1e300"}},
    ),
    "InteractionFeatures": Call(
        InteractionFeatures,
        {"n_bins": 4, "binning": "log", "log_base": 2.0, "n_clusters": 3, "operator": "average"},
        {"log_base": {"1.5", "10**9", "2**70", "1e300"}, "n_clusters": {"None"}},
    ),
    "ProximityFeatures": Call(
        ProximityFeatures,
        {"top_k": 5, "n_neighbors": 5, "max_rank": 5, "max_regression_size": 5, "n_check_users": 5},
        {
            **{name: {"1"} for name in ("top_k", "n_neighbors", "max_regression_size")},
            "n_check_users": {"1", "10**9"},
        },
    ),
    "UniversalNetwork": Call(
        functools.partial(UniversalNetwork, FeaturePipeline(["activity"]).dims),
        {
            "mlp_hidden_size": [4],
            "embedding_size": 4,
            "dropout_prob": 0.1,
            "feature_combination": "interpolation",
            "n_networks": 2,
        },
        {
            "mlp_hidden_size": {"1", "empty list", "list of 99"},
            "embedding_size": {"1"},
            "dropout_prob": {"0"},
            "n_networks": {"1"},
        },
    ),
    "node2vec": Call(
        functools.partial(node2vec, GRAPH),
        {**SMALL, "p": 1.0, "q": 1.0, "seed": 1, "device": "cpu"},
        {
            **{name: {"1"} for name in ("embedding_dim", "walks_per_node")},
            "p": {"1", "1.5", "1e300", "10**9", "2**70"},
            "q": {"1", "1.5", "1e300", "10**9", "2**70"},
            "seed": SEED,
        },
    ),
    "cluster_nodes": Call(
        functools.partial(cluster_nodes, np.random.default_rng(0).random((30, 3)), np.ones(30, dtype=bool)),
        {"n_clusters": 3, "seed": 1},
        {"n_clusters": {"None"}, "seed": SEED},
    ),
    "HeldOut": Call(
        evaluation.RandomSplit,
        {"matrix": MATRIX, "n_users": 5, "seed": 1},
        {"n_users": {"1", "10**9"}, "seed": SEED},
    ),
    "k_core": Call(statistics.k_core, {"matrix": MATRIX, "k": 1}, {"k": {"0", "1", "10**9"}}),
    "recommend": Call(
        recommend,
        {
            "interactions": FRAME,
            "top_k": 2,
            "users": [0, 1],
            "user_column": "user",
            "item_column": "item",
            "include_seen": False,
            "fast": False,
            "pretrained": "universal-base",
            "device": "cpu",
            "show_progress": False,
            "items": pd.DataFrame({"item": [1, 2], "price": [1, 2]}),
            "where": "price < 3",
        },
        {
            "top_k": {"1"},
            "users": {kind for kind in WRONG if kind not in NO_USERS},
            "user_column": {"None"},
            "item_column": {"None"},
            "include_seen": FLAG,
            "fast": FLAG,
            "device": {"None"},
            "show_progress": FLAG,
        },
        (ValueError, OSError),
        {"interactions": "(interactions|file|folder|data frame)", "items": "(items|file)"},
    ),
    "load_pretrained": Call(
        load_pretrained,
        {"name_or_path": "universal-base"},
        errors=(ValueError, OSError),
        names={"name_or_path": "pretrained"},
    ),
}
CASES = [(call, argument) for call in CALLS for argument in CALLS[call].right]


def outcome(call: Call, argument: str, kind: str) -> str:
    """The problem of the answer to a wrong value; empty: none."""
    right = {name: value() if callable(value) else value for name, value in call.right.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call.function(**{**right, argument: WRONG[kind]})
        except call.errors as error:
            text = str(error)
            if kind in call.takes.get(argument, ()):
                return f"{kind}: refused, {text}"
            if "\n" in text or len(text) > 600:
                return f"{kind}: no sentence, {text[:100]!r}"
            named = re.search(rf"\b{call.names.get(argument, argument)}\b", text)
            return "" if named else f"{kind}: not named, {type(error)} {text}"
        except Exception as error:
            return f"{kind}: {type(error).__name__}: {error}"
    return "" if kind in call.takes.get(argument, ()) else f"{kind}: taken"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "argument"), CASES)
def test_wrong_values_are_refused_by_name(name, argument):
    # The sizes of the function ``node2vec`` may be up to 2**31, which takes all memory; a pipeline refuses them before.
    kinds = WRONG.keys() - {"10**9"} if name == "node2vec" else WRONG
    found = [outcome(CALLS[name], argument, kind) for kind in kinds]
    assert not [problem for problem in found if problem]


# Of each kind of argument one, and of each kind of value some.
FAST_CALLS = (
    "InteractionFeatures",
    "ProximityFeatures",
    "UniversalNetwork",
    "GraphScorers",
    "top_k",
    "explain",
    "interpolate",
    "FeaturePipeline",
    "load_pretrained",
)
REPRESENTATIVE = ["NaN", "10**9", "2**70", "text", "ragged list", "array of objects", "sparse NaN"]


@pytest.mark.parametrize(
    ("name", "argument"),
    [(name, argument) for name, argument in CASES if name in FAST_CALLS or argument in ("user_column", "item_column")],
)
def test_some_wrong_values_are_refused_by_name(name, argument):
    found = [outcome(CALLS[name], argument, kind) for kind in REPRESENTATIVE]
    assert not [problem for problem in found if problem]


def test_there_are_enough_calls():
    assert len(CASES) * len(WRONG) >= 250
