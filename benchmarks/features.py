"""Time and memory of the universal feature columns of one dataset, family by family, in one process.

    python benchmarks/features.py --data-path DATA --dataset yelp2018 --file yelp2018.train.inter

Reads RecBole's atomic file with pandas. Each row is one part of the work; the embedding is made once, for the first
family that needs it. "peak RSS" is the largest resident memory of the process so far, imports included.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from recbole_universal.features import FAMILIES, FeaturePipeline
from recbole_universal.graph import InteractionGraph


def read_interactions(path: Path) -> sp.csr_matrix:
    """Interactions of an atomic file, [n_users + 1, n_items + 1]; id 0 is padding, ids follow first appearance."""
    pairs = pd.read_csv(path, sep="\t", usecols=["user_id:token", "item_id:token"], dtype=str)
    users, items = (pd.factorize(pairs[column])[0] + 1 for column in pairs.columns)
    return sp.csr_matrix((np.ones(len(users), dtype=np.float32), (users, items)))


def peak_rss_gib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def report(part: str, seconds: float, columns: str = "") -> None:
    print(f"{part:<24}{seconds:>9.1f}  {columns:<28}{peak_rss_gib():>13.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", type=Path, required=True, help="folder of the datasets, as RecBole's data_path")
    parser.add_argument("--dataset", required=True, help="name of the dataset")
    parser.add_argument("--file", help="atomic file of its training interactions (default: <dataset>.inter)")
    parser.add_argument("--features", nargs="+", default=list(FAMILIES), help="feature families")
    parser.add_argument("--feature-args", type=json.loads, default={}, help="JSON, as universal_feature_args")
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pair-users", type=int, default=20, help="users to time full ranking's pair features with")
    options = parser.parse_args()

    print(f"{'part':<24}{'seconds':>9}  {'columns':<28}{'peak RSS, GiB':>13}")
    report("imports (CPU time)", time.process_time())
    start = time.perf_counter()
    path = options.data_path / options.dataset / (options.file or f"{options.dataset}.inter")
    graph = InteractionGraph(read_interactions(path))
    report("reading", time.perf_counter() - start)
    total = 0.0
    with tempfile.TemporaryDirectory() as cache:
        for family in options.features:
            pipeline = FeaturePipeline(
                [family], options.feature_args, seed=options.seed, device=options.device, cache_dir=cache
            )
            start = time.perf_counter()
            features = pipeline(graph)
            elapsed = time.perf_counter() - start
            total += elapsed
            for part in features.seconds.keys() - {family}:
                report(f"  {part}", features.seconds[part])
            columns = ", ".join(f"{side} {dim}" for side, dim in pipeline.dims[family].items() if dim)
            report(family, elapsed - features.seconds.get("node2vec", 0.0), columns)
        pair = features[family].pair
        if pair is not None and options.pair_users:
            users = torch.arange(1, min(options.pair_users + 1, graph.n_users))
            start = time.perf_counter()
            for block in users.split(4):
                pair.full(block)
            seconds = (time.perf_counter() - start) / len(users)
            report("  full ranking, a user", seconds, f"{1000 * seconds:.1f} ms, {graph.n_items} items")
    report("all features", total)
    size = f"{graph.n_edges} interactions of {graph.n_users} users and {graph.n_items} items"
    print(f"{size}; ids include padding; {torch.get_num_threads()} threads, device {options.device}")


if __name__ == "__main__":
    main()
