"""What the build of the graph scorers costs by parts, and ways to invert for the regressions.

    make DATA=DATA OUT=OUT scorer-build

A build is what the family ``proximity`` computes for a dataset. Seconds are those of the processor, on one thread.
"""

from __future__ import annotations

import cProfile
import pstats
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from ablation import KINDS
from harness import Results, Split, parse, parser_with
from report import cell, fill, markdown

from recbole_universal.features.proximity import ProximityFeatures
from recbole_universal.graph import SCORERS, InteractionGraph
from recbole_universal.graph.scorers import GraphScorers

#: Parts of a build, and kinds of the scores of a user, by the function that computes them.
PARTS = {"neighbors": "nearest_neighbors", "singular vectors": "singular_vectors", "regressions": "ridge_weights"}
KINDS_OF_SCORES = {"neighbors": "_put_neighbors", "filters": "_put_filters", "regressions": "_put_regressions"}
SCORES, LISTS, USERS = "scores of the check users", "candidates and columns of the check users", "scores of 200 users: "


def compact(matrix: sp.csr_matrix) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    """A matrix without its empty rows and columns, and the indices of the other rows and columns."""
    rows = np.flatnonzero(np.diff(matrix.indptr))
    columns = np.flatnonzero(np.bincount(matrix.indices, minlength=matrix.shape[1]))
    return matrix[rows][:, columns].tocsr(), rows, columns


def interactions(name: str, data_path: str) -> sp.csr_matrix:
    """The training interactions of the 5-core of a dataset, csr without empty rows and columns."""
    return compact(Split(name, data_path, seed=2020, max_users=0).train)[0]


def profiled(function: Callable[[], object]) -> dict[tuple[str, str], dict]:
    """Processor seconds by module and function, each by the caller's module and function, and "all" of them."""
    profiler = cProfile.Profile(time.process_time)
    profiler.runcall(function)
    seconds: dict[tuple[str, str], dict] = {}
    for (file, _, name), (*_, total, callers) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        by_caller = {(Path(file).stem, name): values[3] for (file, _, name), values in callers.items()}
        seconds[Path(file).stem, name] = {"all": total, **by_caller}
    return seconds


def build_seconds(matrix: sp.csr_matrix) -> dict[str, float]:
    """Seconds of each part of a build, and of each kind of scores for 200 users."""
    graph, scorers = InteractionGraph(matrix), GraphScorers(matrix)
    seconds = profiled(lambda: ProximityFeatures().compute(graph, seed=2020))
    parts = {part: seconds["item_models", name]["all"] for part, name in PARTS.items()}
    parts[SCORES] = seconds["scorers", "scores"]["all"]
    in_lists = seconds["scorers", "scores"]["candidates", "scores"]
    parts[LISTS] = seconds["proximity_pairs", "candidates"]["all"] - in_lists
    total = seconds["proximity", "compute"]["all"]
    blocks = torch.arange(min(200, scorers.n_users)).split(scorers.block_users)
    seconds = profiled(lambda: [scorers.scores(users).shape for users in blocks])
    kinds = {USERS + kind: seconds["scorers", name]["all"] for kind, name in KINDS_OF_SCORES.items()}
    kinds[USERS + "paths"] = seconds["scorers", "scores"]["all"] - sum(kinds.values())
    every = {"rest": total - sum(parts.values()), **parts, "all": total, **kinds}
    return {name: round(value, 3) for name, value in every.items()}


def inversion_seconds(n_users: int, n_items: int, penalties: tuple[float, ...] = (1.0, 3.0, 10.0)) -> dict[str, float]:
    """Seconds of ways to the inverses of a Gram matrix under several penalties, and their errors."""
    matrix = sp.random(n_users, n_items, density=0.01, format="csr", dtype=np.float32, random_state=0)
    matrix.data[:] = 1.0
    gram, seconds = torch.from_numpy((matrix.T @ matrix).toarray()), {}
    penalty, *_ = strengths = [factor * float(gram.diagonal().mean()) for factor in penalties]

    def clock(name: str, function: Callable):
        start = time.process_time()
        result = function()
        seconds[name] = time.process_time() - start
        return result

    def inverse(gram: torch.Tensor) -> torch.Tensor:
        return torch.cholesky_inverse(torch.linalg.cholesky(gram + penalty * torch.eye(len(gram))))

    exact = clock("one Cholesky inverse", lambda: inverse(gram))
    clock("one LU inverse", lambda: torch.linalg.inv(gram + penalty * torch.eye(n_items)))
    values, vectors = clock("eigendecomposition", lambda: torch.linalg.eigh(gram))
    products = "three products from the eigendecomposition"
    inverses = clock(products, lambda: [(vectors / (values + strength)) @ vectors.T for strength in strengths])
    seconds["three Cholesky inverses"] = 3 * seconds["one Cholesky inverse"]
    seconds["eigendecomposition and three products"] = seconds["eigendecomposition"] + seconds[products]
    error = float((inverses[0] - exact).abs().max() / exact.abs().max())
    seconds["eigendecomposition: largest relative error"] = error
    if n_users < n_items:
        kernel = torch.from_numpy(clock("users' side: kernel", lambda: (matrix @ matrix.T).toarray()))
        part = clock("users' side: one Cholesky inverse", lambda: inverse(kernel).numpy())

        def diagonal() -> np.ndarray:
            return (1 - np.asarray(matrix.multiply(part @ matrix).sum(axis=0)).ravel()) / penalty

        ratio = clock("users' side: diagonal of the inverse", diagonal) / exact.diagonal().numpy()
        seconds["users' side: largest relative error"] = float(np.abs(ratio - 1).max())
    return seconds


def remaining_share(names: list[str], builds: list[dict]) -> float:
    """Estimated seconds of a build with these scorers alone, divided by those with all; mean over the builds."""
    kinds = {"neighbors": KINDS["neighbours"], "filters": KINDS["filters"], "regressions": KINDS["regressions"]}
    kinds["paths"] = [name for name in SCORERS if not any(name in members for members in kinds.values())]
    left = {kind: len(set(names) & set(members)) / len(members) for kind, members in kinds.items()}
    left["filters"] = float(left["filters"] > 0)  # one decomposition serves all filters
    shares = []
    for build in builds:
        scores = {kind: build[USERS + kind] for kind in kinds}
        seconds = build["rest"] + build["neighbors"] * left["neighbors"] + build["singular vectors"] * left["filters"]
        seconds += build["regressions"] * left["regressions"] + build[LISTS] * len(names) / len(SCORERS)
        seconds += build[SCORES] * sum(scores[kind] * left[kind] for kind in kinds) / sum(scores.values())
        shares.append(seconds / build["all"])
    return float(np.mean(shares))


def table_of_seconds(first: str, results: list[dict], form: str) -> str:
    """Markdown with a column for each result; "" without a result."""
    names = dict.fromkeys(name for result in results for name in result if name not in ("dataset", "size"))
    head = [f"{one['dataset']} ({one['size']})" if "dataset" in one else one["size"] for one in results]
    forms = {name: ".2f" if name.startswith(USERS) else form for name in names}
    rows = [[name, *(cell(result.get(name), forms[name]) for result in results)] for name in names]
    return markdown([first, *head], rows) if results else ""


def main() -> None:
    datasets = ["ml-100k", "lastfm-2k", "citeulike-a"]
    parser = parser_with(__doc__, "data-path", "datasets", "output", "report", datasets=datasets)
    parser.add_argument("--inversions", action="store_true", help="time the inversions; build nothing")
    arguments = parse(parser)
    results = Results(arguments.output)
    if arguments.report:
        builds, timed = ([row for row in results.rows if ("dataset" in row) == built] for built in (True, False))
        tables = {"build": table_of_seconds("part", builds, ".1f"), "inversions": table_of_seconds("way", timed, ".2g")}
        fill(arguments.report, tables)
        return
    torch.set_num_threads(1)  # a profile is that of one thread
    if arguments.inversions:
        for n_users, n_items in ((2000, 1000), (6000, 3000), (1500, 3000), (12000, 6000)):
            size = {"size": f"{n_users:,} x {n_items:,}"}
            if not results.has(size):
                results.add(size | inversion_seconds(n_users, n_items))
        return
    for name in arguments.datasets:
        if results.has({"dataset": name}):
            continue
        matrix = interactions(name, arguments.data_path)
        size = f"{matrix.shape[0]:,} x {matrix.shape[1]:,}"
        results.add({"dataset": name, "size": size, **build_seconds(matrix)})


if __name__ == "__main__":
    main()
