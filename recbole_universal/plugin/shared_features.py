"""Features of one graph for several processes of a distributed run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from recbole_universal.features import FeaturePipeline, UniversalFeatures
from recbole_universal.graph.interaction_graph import InteractionGraph


def shared_features(pipeline: FeaturePipeline, graph: InteractionGraph, config: Any) -> UniversalFeatures:
    """The features of a graph; in a distributed run, one process on each machine computes them.

    The other processes of the machine read them from the cache. Without a cache each process computes them.

    Args:
        pipeline: computes the features.
        graph: training interactions, the same in all processes.
        config: RecBole ``Config``.

    Raises:
        ValueError, OSError, MemoryError, RuntimeError: in all processes, if the computation fails in one of them.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return pipeline(graph)
    first = config["local_rank"] == 0 or not config["universal_cache_dir"]
    features = _all_or_none(lambda: pipeline(graph) if first else None)
    return _all_or_none(lambda: features if first else pipeline(graph))


def _all_or_none(compute: Callable[[], Any]) -> Any:
    """The result of a computation; if it fails in one process, all processes raise the error."""
    result, error = None, None
    try:
        result = compute()
    except Exception as raised:  # whatever it is, the other processes must not wait for ever
        error = raised
    kind = next((kind for kind in (ValueError, OSError, MemoryError) if isinstance(error, kind)), RuntimeError)
    failures: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(failures, None if error is None else (kind, str(error)))
    if error is not None:
        raise error
    for failure in failures:
        if failure is not None:
            raise failure[0](failure[1])
    return result
