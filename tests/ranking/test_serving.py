"""A ranker in a service: forked workers, several threads at once, updates while others read."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import select
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import fresh
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from recbole_universal import UniversalRanker, recommend
from recbole_universal.checkpoint import Pretrained
from recbole_universal.features.pipeline import FeaturePipeline
from recbole_universal.features.proximity_pairs import ProximityPairs
from recbole_universal.graph import GraphScorers, scorers, threads
from recbole_universal.ranking.pair_products import PairProducts
from recbole_universal.ranking.ranker_state import RankerState
from recbole_universal.ranking.ranking_network import RankingNetwork


def communities(seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    dense = rng.random((60, 45)) < np.where(np.arange(60)[:, None] % 3 == np.arange(45) % 3, 0.35, 0.04)
    return sp.csr_matrix(dense.astype(np.float32))


@pytest.fixture
def two_threads():
    """PyTorch on two threads, both of which have worked."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.ones(600, 600).matmul(torch.ones(600, 600)).exp().sum()
    yield
    torch.set_num_threads(before)


forks = pytest.mark.skipif(sys.platform != "linux", reason="needs fork")


def in_fork(function, seconds: float = 60):
    """The result of a function in a forked process; fails if the function does not return."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, pickle.dumps(function()))
        finally:
            os._exit(0)
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], seconds)
        assert ready, "the forked process does not answer"
        return pickle.loads(os.read(reading, 2**16))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_ranker_made_before_a_fork_answers_after_it(two_threads):
    ranker = UniversalRanker(communities())
    users = np.arange(60)
    expected = [ranker.top_k(users, 5)[0], ranker.top_k([3], 5)[0], ranker.top_k([3], 5, fast=True)[0]]

    def worker():
        results = [ranker.top_k(users, 5)[0], ranker.top_k([3], 5)[0], ranker.top_k([3], 5, fast=True)[0]]
        ranker.update([3], [44])  # sums that PyTorch spreads over threads, in the main thread and in another
        with ThreadPoolExecutor(1) as executor:
            executor.submit(ranker.top_k, users, 5).result()
        new = UniversalRanker(communities(1))
        torch.ones(600, 600).matmul(torch.ones(600, 600)).exp().sum()
        return results, new.top_k([3], 5)[0].shape

    results, shape = in_fork(worker)
    for ours, theirs in zip(results, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert shape == (1, 5)
    assert torch.get_num_threads() == 2


@forks
def test_only_processes_that_compute_features_change_their_forks():
    code = """
import os, pickle, torch
from recbole_universal import FeaturePipeline

def threads_in_fork(before=lambda: None):
    process = os.fork()
    if not process:
        before()
        os._exit(torch.get_num_threads())
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

made = b"MADE"
def make():
    return pickle.loads(made) if made else FeaturePipeline(["activity"])

torch.set_num_threads(2)
print(threads_in_fork(), threads_in_fork(make), threads_in_fork())
make()
torch.set_num_threads(2)
print(threads_in_fork(), torch.get_num_threads())
"""
    for made in (b"", pickle.dumps(FeaturePipeline(["activity"]))):
        done = fresh.run("-c", code.replace('b"MADE"', repr(made)))
        assert done.stdout.split() == ["2", "1", "2", "1", "2"], done.stderr


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_few_users_are_ranked_in_a_fork_even_on_two_threads(two_threads, monkeypatch):
    """A computation on one thread waits for no other thread."""
    ranker = UniversalRanker(communities())
    expected = ranker.top_k([3, 4], 5)[0], ranker.explain(3, 5)[0]

    def worker():
        torch.set_num_threads(2)  # after the hook of the package
        return ranker.top_k([3, 4], 5)[0], ranker.explain(3, 5)[0]

    for ours, theirs in zip(in_fork(worker), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def _recommended(user: int) -> int:
    rows, columns = communities().nonzero()
    frame = pd.DataFrame({"user": rows, "item": columns})
    return len(recommend(frame, top_k=3, users=[user], show_progress=False))


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_pool_of_forked_processes_recommends(two_threads):
    _recommended(0)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(_recommended, [1, 2]).get(timeout=120) == [3, 3]


def test_few_users_are_ranked_by_the_calling_thread_alone(two_threads, monkeypatch):
    ranker = UniversalRanker(communities())
    expected = ranker.top_k(np.arange(60), 5)[0]
    ranker.item_item()
    used = []

    def spied(name, function):
        def call(*args, **kwargs):
            used.append((name, torch.get_num_threads(), threading.current_thread() is threading.main_thread()))
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(GraphScorers, "asked", spied("scorers", GraphScorers.asked))
    monkeypatch.setattr(PairProducts, "__call__", spied("network", PairProducts.__call__))
    monkeypatch.setattr(threads, "ThreadPoolExecutor", None)
    np.testing.assert_array_equal(ranker.top_k([3], 5)[0], expected[[3]])
    assert {name for name, *_ in used} == {"scorers", "network"} and {tuple(rest) for _, *rest in used} == {(1, True)}
    assert (ranker.top_k([3], 5, fast=True)[0] >= 0).all()
    ranker.explain(3, 5)
    assert {tuple(rest) for _, *rest in used} == {(1, True)}
    paper = UniversalRanker(communities(), "universal-paper")
    used.clear()
    monkeypatch.setattr(RankingNetwork, "score_all", spied("scores", RankingNetwork.score_all))
    paper.top_k([3], 5)
    assert used == [("scores", 1, True)]
    assert torch.get_num_threads() == 2


def test_rankings_in_two_threads_run_at_the_same_time(two_threads, monkeypatch):
    monkeypatch.setattr(scorers, "_BLOCK_USERS", 5)
    ranker = UniversalRanker(communities())
    halves = np.arange(30), np.arange(30, 60)
    expected = [ranker.top_k(users, 5) for users in halves]
    threads_of_others = []

    def look() -> None:  # while both are inside
        with ThreadPoolExecutor(1) as executor:
            threads_of_others.append(executor.submit(torch.get_num_threads).result())

    together = threading.Barrier(2, action=look, timeout=60)
    block = ProximityPairs._described
    first = {int(ranker.network.candidate_pairs.user_index[users[0]]) for users in halves}

    def meeting(pairs, scored):
        if int(scored.histories.users[0]) in first:
            together.wait()
        assert torch.get_num_threads() == 1
        return block(pairs, scored)

    monkeypatch.setattr(ProximityPairs, "_described", meeting)
    with ThreadPoolExecutor(2) as service:
        results = list(service.map(lambda users: (ranker.top_k(users, 5), torch.get_num_threads()), halves))
    for (ours, n_threads), theirs in zip(results, expected, strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])
        assert n_threads == 2
    assert threads_of_others == [2] and torch.get_num_threads() == 2


def test_a_ranking_during_an_update_uses_the_old_state(monkeypatch):
    ranker, alone = UniversalRanker(communities()), UniversalRanker(communities())
    users = np.arange(60)
    before = ranker.top_k(users, 5)
    fast = ranker.top_k(users, 5, fast=True)
    arrived = np.array([0, 0, 0, 60]), np.array([1, 2, 45, 45])
    alone.update(*arrived)
    after = alone.top_k(users, 5)
    assert (before[0] != after[0]).any()
    inside, go_on = threading.Event(), threading.Event()
    attach = RankingNetwork.attach

    def slow(*args):
        inside.set()
        assert go_on.wait(60)
        return attach(*args)

    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as service:
        patch.setattr(RankingNetwork, "attach", slow)
        update = service.submit(ranker.update, *arrived)
        assert inside.wait(60)
        during = ranker.top_k(users, 5), ranker.top_k(users, 5, fast=True)
        go_on.set()
        update.result(60)
    for ours, theirs in zip((*during[0], *during[1]), (*before, *fast), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(ranker.top_k(users, 5), after, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert ranker.matrix.shape == (61, 46)


def test_no_update_is_lost_to_another_thread_s(monkeypatch):
    ranker = UniversalRanker(communities())
    new = np.argwhere(communities().toarray() == 0)[[0, -1]]
    original, calls = FeaturePipeline.with_interactions, []

    def slow(*args):
        calls.append(args)
        if len(calls) == 1:  # another one, from beginning to end
            ranker.update(new[1:, 0], new[1:, 1])
        return original(*args)

    monkeypatch.setattr(FeaturePipeline, "with_interactions", slow)
    ranker.update(new[:1, 0], new[:1, 1])
    assert ranker.matrix.nnz == communities().nnz + 2 and ranker.matrix[tuple(new.T)].min() == 1


def mixed_model() -> Pretrained:
    """A model that reads tables of users and items too."""
    pipeline = FeaturePipeline(["activity", "proximity"], {"activity": {"n_bins": 4}})
    torch.manual_seed(0)
    network = RankingNetwork(pipeline.dims, [4], 4, 0.0, "concatenation")
    return Pretrained(network.state_dict(), {"features": pipeline.schema, "network": network.arguments}, {})


STEPS = [
    (FeaturePipeline, "with_interactions"),
    (GraphScorers, "with_interactions"),
    (RankingNetwork, "attach"),
    (RankerState, "__init__"),
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step[0].__name__)
def test_an_update_that_fails_changes_nothing(monkeypatch, step):
    ranker = UniversalRanker(communities(), mixed_model())
    users = np.arange(60)
    before = ranker.top_k(users, 5), ranker.features, ranker.matrix, ranker.item_item()

    def fails(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(*step, fails)
        with pytest.raises(MemoryError):
            ranker.update(np.zeros(30, dtype=int), np.arange(30))
    assert (ranker.features, ranker.matrix, ranker.item_item()) == before[1:]
    for ours, theirs in zip(ranker.top_k(users, 5), before[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)
