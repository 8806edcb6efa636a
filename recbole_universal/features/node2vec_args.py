"""The arguments of the node2vec embedding that feature families share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_universal import arguments
from recbole_universal.graph.node2vec import node2vec

# The check of each argument and its bounds. Larger numbers are typing errors or attacks.
_CHECKS: dict[str, tuple] = {
    "embedding_dim": (arguments.integer, 1, 2**13),
    "walk_length": (arguments.integer, 2, 2**10),
    "context_size": (arguments.integer, 2, 2**10),
    "walks_per_node": (arguments.integer, 1, 2**10),
    "p": (arguments.real, 0),
    "q": (arguments.real, 0),
}


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
    for name, (check, *bounds) in _CHECKS.items():
        full[name] = check("node2vec", name, full[name], *bounds)
    if full["context_size"] > full["walk_length"]:
        raise ValueError(
            f"node2vec: argument context_size must be at most walk_length ({full['walk_length']}), "
            f"not {full['context_size']}"
        )
    return full
