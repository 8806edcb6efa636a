"""Threads: a limit holds for one thread, and a forked process does not wait for threads that it lacks."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch
from sklearn.cluster import MiniBatchKMeans

import recbole_universal
from recbole_universal.graph import cluster_nodes, threads
from recbole_universal.graph.threads import in_threads, in_torch_threads, lazy_property, one_thread


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def threads_of_a_new_thread() -> int:
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(torch.get_num_threads).result()


def mkl_limit() -> int:
    """MKL's limit of this thread, 0 for none."""
    limit = threads._set_mkl()(1)
    threads._set_mkl()(limit)
    return limit


def test_one_thread_is_the_calling_thread_s_alone(two_threads):
    outside = mkl_limit()
    with one_thread():
        assert torch.get_num_threads() == 1
        assert mkl_limit() == (1 if outside else 0)
        assert threads_of_a_new_thread() == 2
        with one_thread():
            pass
        assert torch.get_num_threads() == 1
    assert (torch.get_num_threads(), mkl_limit()) == (2, outside)
    with pytest.raises(MemoryError), one_thread():
        raise MemoryError
    assert (torch.get_num_threads(), mkl_limit()) == (2, outside)


def test_parallel_calls_change_no_other_thread(two_threads):
    together = Barrier(2, timeout=60)

    def job(part: int) -> tuple[int, int, int, int]:
        together.wait()
        return part, torch.get_num_threads(), mkl_limit() and 1, threads_of_a_new_thread()

    has_mkl = min(1, mkl_limit())
    assert in_torch_threads(job, [3, 1]) == [(3, 1, has_mkl, 2), (1, 1, has_mkl, 2)]
    assert in_threads(lambda part: (together.wait() >= 0, part, torch.get_num_threads()), [3, 1]) == [
        (True, 3, 2),
        (True, 1, 2),
    ]
    with pytest.raises(MemoryError):
        in_torch_threads(lambda _: (_ for _ in ()).throw(MemoryError), [1, 2])
    assert torch.get_num_threads() == threads_of_a_new_thread() == 2


def test_a_single_argument_needs_no_other_thread(two_threads, monkeypatch):
    monkeypatch.setattr(threads, "ThreadPoolExecutor", None)
    assert in_torch_threads(lambda part: (part, torch.get_num_threads()), [3]) == [(3, 1)]
    assert in_threads(lambda part: (part, torch.get_num_threads()), [3]) == [(3, 2)]
    assert in_torch_threads(str, []) == []
    with one_thread():
        assert in_threads(str, [1, 2]) == ["1", "2"]
    assert torch.get_num_threads() == 2


def test_calls_from_several_threads_run_at_the_same_time(two_threads):
    """Two calls meet at a barrier, which a call that waits for the other would never reach."""
    together = Barrier(2, timeout=60)

    def call(_) -> list[int]:
        def job(part: int) -> int:
            if part == 0:
                together.wait()
            return torch.get_num_threads()

        return in_torch_threads(job, range(3))

    with ThreadPoolExecutor(2) as service:
        assert list(service.map(call, range(2))) == [[1, 1, 1]] * 2
    assert torch.get_num_threads() == threads_of_a_new_thread() == 2


def test_clusters_change_no_other_thread(two_threads, monkeypatch):
    seen, fit = set(), MiniBatchKMeans.fit

    def spied(*args, **kwargs):
        seen.add((torch.get_num_threads(), threads_of_a_new_thread()))
        return fit(*args, **kwargs)

    monkeypatch.setattr(MiniBatchKMeans, "fit", spied)
    cluster_nodes(np.random.default_rng(0).random((65, 3)), np.ones(65, dtype=bool))
    assert seen == {(1, 2)}
    assert torch.get_num_threads() == threads_of_a_new_thread() == 2


class Slow:
    def __init__(self, started=None, go_on=None):
        self.started, self.go_on, self.times = started, go_on, 0

    @lazy_property
    def value(self):
        self.times += 1
        if self.started is not None:
            self.started.set()
            self.go_on.wait()
        return [self.times]


def test_a_lazy_property_is_computed_once_and_holds_no_lock_of_its_class():
    started, go_on = threading.Event(), threading.Event()
    slow, other = Slow(started, go_on), Slow()
    thread = threading.Thread(target=lambda: slow.value, daemon=True)
    thread.start()
    started.wait()
    values = []
    second = threading.Thread(target=lambda: values.append(other.value), daemon=True)
    second.start()
    second.join(600)  # a lock of the class would hold it for ever
    go_on.set()
    thread.join()
    assert values == [[1]] and other.value is values[0] and slow.value is slow.value
    assert other.times == slow.times == 1


def test_no_class_that_ranks_has_a_lock_of_its_class():
    package = Path(recbole_universal.__file__).parent
    for folder in ("graph", "features", "ranking"):
        paths = list((package / folder).glob("*.py"))
        assert paths
        for path in paths:
            text = path.read_text(encoding="utf-8")
            assert "cached_property" not in text.replace("functools.cached_property):", ""), path


@pytest.mark.parametrize("n_arguments", [1, 3])
def test_threads_have_gradients_if_the_caller_has(two_threads, n_arguments):
    weight = torch.ones(1, requires_grad=True)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            results = in_torch_threads(lambda value: weight * value, range(n_arguments))
        assert [result.requires_grad for result in results] == [grad] * n_arguments


@pytest.mark.parametrize("inference", [True, False])
def test_threads_may_change_the_tensors_of_a_caller_in_inference_mode(two_threads, inference):
    with torch.inference_mode(inference), torch.no_grad():
        out = torch.zeros(4)

        def put(index: int) -> tuple[bool, bool]:
            out[index] = 1.0
            return torch.is_inference_mode_enabled(), torch.is_grad_enabled()

        assert set(in_torch_threads(put, range(4))) == {(inference, False)}
    assert out.tolist() == [1.0] * 4
