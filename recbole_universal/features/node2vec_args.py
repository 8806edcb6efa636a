"""The arguments of the node2vec embedding that feature families share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_universal import arguments
from recbole_universal.graph.node2vec import node2vec

# Larger numbers are typing errors or attacks: they set how much memory and time the features take.
_LARGEST_ARGUMENTS = {
    "n_bins": 1000,
    "embedding_dim": 4096,
    "walk_length": 1000,
    "context_size": 1000,
    "walks_per_node": 1000,
}

_NODE2VEC_CHECKS: dict[str, tuple[Any, Any]] = {
    "embedding_dim": (arguments.integer, 1),
    "walk_length": (arguments.integer, 2),
    "context_size": (arguments.integer, 2),
    "walks_per_node": (arguments.integer, 1),
    "p": (arguments.real, 0),
    "q": (arguments.real, 0),
}


def largest_argument(name: str) -> int:
    """The largest value of an integer argument of a family or of node2vec in a config or a pre-trained model.

    Args:
        name: name of the argument.
    """
    return _LARGEST_ARGUMENTS.get(name, 10**6)


def node2vec_args(args: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All arguments of the shared node2vec embedding, checked, with defaults.

    Args:
        args: arguments that differ from the defaults of :func:`recbole_universal.graph.node2vec.node2vec`.

    Raises:
        ValueError: if an argument is unknown or its value is not valid.
    """
    given = arguments.mapping("node2vec", args)
    default = arguments.defaults(node2vec, exclude=("graph", "seed", "device"))
    arguments.known("node2vec", given, list(default))
    full = {**default, **given}
    for name, (check, bound) in _NODE2VEC_CHECKS.items():
        full[name] = check("node2vec", name, full[name], bound)
    if full["context_size"] > full["walk_length"]:
        raise ValueError(
            f"node2vec: argument context_size must be at most walk_length ({full['walk_length']}), "
            f"not {full['context_size']}"
        )
    return full
