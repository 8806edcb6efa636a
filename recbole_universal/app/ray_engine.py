"""Runs work in actors of Ray, on this machine or on a cluster (extra ``ray``)."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from recbole_universal import arguments
from recbole_universal.graph.shards import spread_by

# How often work is given to a worker again whose process or machine died in it.
_RETRIES = 3
# Ray reserves a third of the machine for its object store. Here only ids and results travel: the least that Ray takes.
_STORE_BYTES = 80 * 2**20


@contextmanager
def ray_cluster(workers: Any, address: Any, store_bytes: int | None = _STORE_BYTES) -> Iterator[tuple[Any, int]]:
    """Ray, which is started if it does not run, and stopped afterwards if it was started here.

    Nothing is reported to the makers of Ray, and the dashboard is off.

    Args:
        workers: number of workers; ``None``: one for each core that Ray has.
        address: address of a running cluster; ``None``: this machine, or the cluster to which this process is connected
            already.
        store_bytes: size of the object store if Ray is started; ``None``: Ray decides.

    Yields:
        The package, and the number of workers.

    Raises:
        ValueError: if an argument is of another type, or there are fewer cores than workers.
        ConnectionError: if there is no cluster at the address.
        ImportError: without Ray.
    """
    ray = checked_ray(workers, address)
    workers = None if workers is None else int(workers)  # Ray takes no integers of NumPy
    was_running = ray.is_initialized()
    if was_running and address is not None:
        raise ValueError("address (--address): this process is connected to Ray already, so leave the address out.")
    try:
        if not was_running:
            _start(ray, workers, address, store_bytes)
        cores = int(ray.cluster_resources().get("CPU", 0))
        if cores < (workers or 1):
            raise ValueError(f"workers (--workers): Ray has {cores} cores, which is fewer than {workers or 1}.")
        yield ray, workers or cores
    finally:
        if not was_running and ray.is_initialized():
            ray.shutdown()


def checked_ray(workers: Any, address: Any) -> Any:
    """The package Ray, after a check of the arguments of :func:`ray_cluster`; nothing is started.

    Raises:
        ValueError: if an argument is of another type.
        ImportError: without Ray.
    """
    if workers is not None:
        arguments.integer("Ray", "workers (--workers)", workers, 1)
    if address is not None and (not isinstance(address, str) or not address.strip()):
        raise ValueError(
            f"address (--address): must be the address of a Ray cluster, such as [auto] or [10.0.0.1:6379], got "
            f"{arguments.shown(address)}."
        )
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            f"The engine ray needs Ray, which cannot be imported ({error}): pip install 'recbole-universal[ray]'. Ray "
            "2.6.3, which RecBole 1.2.1 asks for, needs NumPy 1 and setuptools before 81."
        ) from error
    return ray


def _start(ray: Any, workers: int | None, address: str | None, store_bytes: int | None) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray replaces the handler of SIGTERM, and with it the exit status of a command.
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if in_main else None
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is None:
            ray.init(address="local", num_cpus=workers, object_store_memory=store_bytes, **quiet)
        else:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises plain exceptions where a start takes too long
        raise ConnectionError(f"Ray cannot be reached or started at [{address or 'this machine'}]: {error}") from error
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def in_actors(
    ray: Any, kind: type, method: str, shared: Any, calls: Sequence[Callable[[], tuple]], workers: int
) -> Iterator[Any]:
    """Results of calls of one method in actors, as they are done.

    A worker that dies is started again, and so is its call, also on another machine of the cluster.

    Args:
        ray: the package.
        kind: class of the actors, without arguments.
        method: name of the method.
        shared: first argument of all calls, of which a machine has one copy.
        calls: makes the further arguments of each call when its turn comes.
        workers: number of actors, each of which has one core.

    Raises:
        Exception: that of a call.
        ChildProcessError: if workers die again and again in one call.
    """
    remote = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=_RETRIES)(kind)
    stored = ray.put(shared)
    idle = [remote.remote() for _ in range(min(workers, len(calls)))]
    actors, busy, waiting = list(idle), {}, iter(calls)
    try:
        for call in waiting:
            actor = idle.pop()
            busy[getattr(actor, method).remote(stored, *call())] = actor
            if not idle:
                yield _next(ray, busy, idle)
        while busy:
            yield _next(ray, busy, idle)
    finally:
        for actor in actors:
            ray.kill(actor)


def _next(ray: Any, busy: dict[Any, Any], idle: list) -> Any:
    """The result of the call that is done next."""
    (done,), _ = ray.wait(list(busy), num_returns=1)
    idle.append(busy.pop(done))
    return _result(ray, done)


def _result(ray: Any, call: Any) -> Any:
    """The result of a call, or its error."""
    try:
        return ray.get(call)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise ChildProcessError(
            f"A worker of Ray died {_RETRIES + 1} times in the same work, perhaps for lack of memory; fewer workers "
            f"(--workers) need less. Ray says: {str(error).strip().splitlines()[0]}"
        ) from error


@contextmanager
def shards_on_ray(workers: Any, address: Any) -> Iterator[None]:
    """Let the workers of Ray find the neighbours of items in a fit, which stays equal to the last bit.

    Args:
        workers: as of :func:`ray_cluster`, like the next argument. A running cluster gives all its free cores.
        address: address of a running cluster.

    Raises:
        ValueError, ConnectionError, ImportError: as :func:`ray_cluster`.
        ChildProcessError: if workers die again and again.
    """
    with ray_cluster(workers, address, store_bytes=None) as (ray, _):

        def spread(function: Callable[..., Any], shared: tuple, shards: Sequence[Any]) -> list:
            compute = ray.remote(num_cpus=1, max_retries=_RETRIES)(_compute)
            stored = ray.put((function, shared))
            return [_result(ray, call) for call in [compute.remote(stored, shard) for shard in shards]]

        with spread_by(spread):
            yield


def _compute(shared: tuple[Callable[..., Any], tuple], shard: Any) -> Any:
    """What a worker computes of a shard, with one thread."""
    torch.set_num_threads(1)
    function, arguments_of_all = shared
    return function(*arguments_of_all, shard)
