"""What the build of the graph scorers costs, by parts, and ways to invert for the regressions.

    OMP_NUM_THREADS=1 python benchmarks/scorer_build.py --data-path DATA --output OUT/build.jsonl
    OMP_NUM_THREADS=1 python benchmarks/scorer_build.py --inversions --output OUT/build.jsonl

A build is what the family ``proximity`` computes for a dataset: scorers of a support part, the self-check by them, and
the scorers of all interactions. Seconds are those of the processor, of all threads together. A part that calls another
part counts its remaining seconds alone.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np
import scipy.sparse as sp
import torch

import recbole_universal  # noqa: F401  patches RecBole, so it comes before any import of it

# isort: split
from results import add_result
from scorer_ablation import interactions

from recbole_universal.features.proximity import ProximityFeatures, ProximityPairs
from recbole_universal.graph import InteractionGraph, scorers
from recbole_universal.graph.scorers import GraphScorers

#: Functions that are timed, by the part of the build that they are.
PARTS = {
    "neighbors": (scorers, "nearest_neighbors"),
    "singular vectors": (scorers, "singular_vectors"),
    "regressions": (scorers, "ridge_weights"),
    "scores of the check users": (GraphScorers, "scores"),
    "candidates and columns of the check users": (ProximityPairs, "candidates"),
}


class Stopwatch:
    """Seconds of the processor by part; a part within another one stops the outer one's watch."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._running = ["rest"]
        self._since = time.process_time()

    def switch(self, running: list[str]) -> None:
        """Count what passed for the part that ran, and go on with another one."""
        now = time.process_time()
        self.seconds[self._running[-1]] += now - self._since
        self._running, self._since = running, now

    def timed(self, part: str, function):
        """The function, timed as a part; it must be called by one thread at a time."""

        def call(*arguments, **keys):
            self.switch([*self._running, part])
            try:
                return function(*arguments, **keys)
            finally:
                self.switch(self._running[:-1])

        return call


def profile(matrix: sp.csr_matrix) -> dict[str, float]:
    """Seconds of each part of a build."""
    watch = Stopwatch()
    with ExitStack() as stack:
        # Blocks of users run in turn, so that seconds of scores and of columns can be told apart.
        stack.enter_context(
            patch("recbole_universal.features.proximity.in_torch_threads", lambda f, parts: [f(part) for part in parts])
        )
        for part, (owner, name) in PARTS.items():
            stack.enter_context(patch.object(owner, name, watch.timed(part, getattr(owner, name))))
        graph = InteractionGraph(matrix)
        watch.switch(["rest"])
        watch.seconds.clear()
        ProximityFeatures().compute(graph, seed=2020)
    watch.switch(["rest"])
    return {part: round(seconds, 2) for part, seconds in watch.seconds.items()}


def scorer_seconds(matrix: sp.csr_matrix, n_users: int = 200) -> dict[str, float]:
    """Seconds of each kind of scores for some users."""
    model = GraphScorers(matrix)
    users = torch.arange(min(n_users, model.n_users))
    watch = Stopwatch()
    names = {"_put_neighbors": "neighbors", "_put_passes": "filters", "_put_regressions": "regressions"}
    with ExitStack() as stack:
        for name, part in names.items():
            stack.enter_context(patch.object(GraphScorers, name, watch.timed(part, getattr(GraphScorers, name))))
        for part in users.split(model.block_users):
            model.scores(part)
    watch.switch(["rest"])
    watch.seconds["paths"] = watch.seconds.pop("rest")
    return {part: round(seconds, 3) for part, seconds in watch.seconds.items()}


def inversions(n_users: int, n_items: int, penalties=(1.0, 3.0, 10.0)) -> dict[str, float]:
    """Seconds of ways to the inverses of a Gram matrix under several penalties."""
    matrix = sp.random(n_users, n_items, density=0.01, format="csr", dtype=np.float32, random_state=0)
    matrix.data[:] = 1.0
    gram = torch.from_numpy((matrix.T @ matrix).toarray())
    mean = float(gram.diagonal().mean())
    eye = torch.eye(n_items)
    seconds = {}

    def clock(name: str, function):
        start = time.process_time()
        result = function()
        seconds[name] = round(time.process_time() - start, 2)
        return result

    def inverse(system: torch.Tensor) -> torch.Tensor:
        return torch.cholesky_inverse(torch.linalg.cholesky(system))

    def from_spectrum(values: torch.Tensor, vectors: torch.Tensor) -> list[torch.Tensor]:
        return [(vectors / (values + penalty * mean)) @ vectors.T for penalty in penalties]

    exact = clock("one Cholesky inverse", lambda: inverse(gram + penalties[0] * mean * eye))
    clock("one LU inverse", lambda: torch.linalg.inv(gram + penalties[0] * mean * eye))
    values, vectors = clock("eigendecomposition", lambda: torch.linalg.eigh(gram))
    by_spectrum = clock("three products from the eigendecomposition", lambda: from_spectrum(values, vectors))
    error = float((by_spectrum[0] - exact).abs().max() / exact.abs().max())
    seconds["three Cholesky inverses"] = round(3 * seconds["one Cholesky inverse"], 2)
    seconds["eigendecomposition and three products"] = round(
        seconds["eigendecomposition"] + seconds["three products from the eigendecomposition"], 2
    )
    if n_users < n_items:
        clock("users' side: kernel", lambda: (matrix @ matrix.T).toarray())
        kernel = torch.from_numpy((matrix @ matrix.T).toarray())
        part = clock(
            "users' side: one Cholesky inverse", lambda: inverse(kernel + penalties[0] * mean * torch.eye(n_users))
        )

        def diagonal() -> torch.Tensor:
            products = np.asarray((matrix.multiply((part.numpy() @ matrix))).sum(axis=0)).ravel()
            return (1 - torch.from_numpy(products)) / (penalties[0] * mean)

        found = clock("users' side: diagonal of the inverse", diagonal)
        seconds["users' side: largest relative error"] = float(
            ((found - exact.diagonal()) / exact.diagonal()).abs().max()
        )
    return seconds | {"eigendecomposition: largest relative error": error}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", default="dataset/")
    parser.add_argument("--datasets", nargs="*", default=["ml-100k", "lastfm-2k", "citeulike-a"])
    parser.add_argument("--whole", action="store_true", help="all users and items, not those of the 5-core alone")
    parser.add_argument("--inversions", action="store_true", help="time the inversions, build nothing")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    sys.argv = sys.argv[:1]  # RecBole would read the rest as config
    logging.disable(logging.WARNING)
    if arguments.inversions:
        for n_users, n_items in ((2000, 1000), (6000, 3000), (1500, 3000), (12000, 6000)):
            add_result(arguments.output, {"users": n_users, "items": n_items, **inversions(n_users, n_items)})
        return
    for name in arguments.datasets:
        matrix = interactions(name, arguments.data_path, whole=arguments.whole)
        size = {"users": matrix.shape[0], "items": matrix.shape[1], "interactions": matrix.nnz}
        parts = profile(matrix)
        result = {"dataset": name, "whole": arguments.whole, **size, "parts": parts, "scores": scorer_seconds(matrix)}
        add_result(arguments.output, result)


if __name__ == "__main__":
    main()
