"""Time and memory of zero-shot ranking: against one epoch of LightGCN, against `implicit`, and as the data grow.

    python benchmarks/speed.py --part yelp2018 --data-path DATA --output OUT/speed.jsonl
    python benchmarks/speed.py --part implicit --data-path DATA --output OUT/speed.jsonl
    python benchmarks/speed.py --part update --data-path DATA --output OUT/speed.jsonl
    python benchmarks/speed.py --part sample --data-path DATA --output OUT/speed.jsonl
    python benchmarks/speed.py --part growth --sizes 1 4 16 64 --sample 500 --output OUT/speed.jsonl
    python benchmarks/speed.py --part whole --output OUT/speed.jsonl
    python benchmarks/speed.py --part busy --data-path DATA --output OUT/speed.jsonl
    python benchmarks/speed.py --output OUT/speed.jsonl --report docs/scale_results.md

Each measurement runs in a new process, whose peak resident memory is that of the measurement. Each line of the output
is a result with the load of the machine before it. Every run measures anew, and the last measurement counts.
docs/scale_results.md explains each part. ``implicit`` needs ``pip install implicit``.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path

import generate
import numpy as np
import scipy.sparse as sp
import torch
from harness import PublishedSplit, add_result, parse, parser_with, read_results
from report import fill
from speed_busy import busy
from speed_stock import stock
from speed_tables import BATCHES, EPOCH, STOCK, tables_of

import recbole_universal
from recbole_universal import UniversalRanker
from recbole_universal.graph import item_models
from recbole_universal.graph.item_models import nearest_neighbors

#: Batches of an epoch that are timed.
N_BATCHES = 40
#: Number of users, and shares of the interactions which the first passes of the filters read.
SAMPLES = {"yelp2018": (10_000, (1.0, 0.42, 0.2)), "ml-1m": (3_000, (1.0, 0.33, 0.2))}
#: Neighbours of an item.
K = 100
#: Users who get lists before time is taken.
N_WARM_UP = 256
#: Interactions that arrive one by one.
N_ALONE = 10
#: Users and items of one million draws. Both grow with the square root of the draws, as they do in public datasets.
USERS_1M, ITEMS_1M = 30_000, 12_000


def peak_gib() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def ranking(data_path: str) -> dict:
    """All users of yelp2018's published split, from interactions to metrics."""
    split = PublishedSplit("yelp2018", data_path, 2020, 0)
    start = time.perf_counter()
    ranker = UniversalRanker(split.train, "universal-base")
    fitted = time.perf_counter()
    users = split.test_users
    lists, _ = ranker.top_k(users, 20)
    metrics = {"ndcg@20": split.ndcg_of_lists(users, lists), "recall@20": split.recall_of_lists(users, lists)}
    end = time.perf_counter()
    return {
        "what": "yelp2018, zero-shot",
        "users": len(users),
        "features_s": fitted - start,
        "ranking_s": end - fitted,
        "seconds": end - start,
        "recall@20": metrics["recall@20"],
        "ndcg@20": metrics["ndcg@20"],
    }


def fast_ranking(data_path: str) -> dict:
    """All users of yelp2018's published split, ranked by the item-item matrix."""
    split = PublishedSplit("yelp2018", data_path, 2020, 0)
    start = time.perf_counter()
    ranker = UniversalRanker(split.train, "universal-base")
    lists, _ = ranker.top_k(split.test_users, 20, fast=True)
    score = split.ndcg_of_lists(split.test_users, lists)
    return {"what": "yelp2018, zero-shot, fast", "seconds": time.perf_counter() - start, "ndcg@20": score}


def epoch(argument: tuple[str, int]) -> dict:
    """Part of an epoch of RecBole's LightGCN on the same interactions, in batches of a size."""
    data_path, batch_size = argument
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, init_seed

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "yelp2018").mkdir()
        source = Path(data_path) / "yelp2018" / "yelp2018.train.inter"
        (Path(folder) / "yelp2018" / "yelp2018.inter").write_bytes(source.read_bytes())
        keys = {"data_path": folder, "load_col": {"inter": ["user_id", "item_id"]}, "state": "ERROR"}
        keys["train_batch_size"] = batch_size
        keys["eval_args"] = {"split": {"RS": [1.0, 0.0, 0.0]}, "order": "RO", "group_by": "user", "mode": "full"}
        config = Config("LightGCN", "yelp2018", config_dict=keys)
        init_seed(config["seed"], True)
        train, *_ = data_preparation(config, create_dataset(config))
    model = get_model("LightGCN")(config, train._dataset)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    done, start = 0, time.perf_counter()
    for batch in train:
        optimizer.zero_grad()
        model.calculate_loss(batch).backward()
        optimizer.step()
        done += 1
        if done == N_BATCHES:
            break
    seconds = (time.perf_counter() - start) / done * len(train)
    what = EPOCH.format(batch_size)
    return {"what": what, "batches": len(train), "timed": done, "seconds": seconds}


def against_implicit(argument: tuple[str, str]) -> dict:
    """Item-item cosines by implicit and by us, each the best of three turns, and recommendations of both."""
    from implicit.nearest_neighbours import CosineRecommender

    dataset, data_path = argument
    split = PublishedSplit(dataset, data_path, 2020, 0)
    threads = torch.get_num_threads()
    users = split.test_users
    cosines: dict[str, list[float]] = {"implicit": [], "ours": []}
    for _ in range(3):
        start = time.perf_counter()
        model = CosineRecommender(K=K, num_threads=threads)
        model.fit(split.train, show_progress=False)
        cosines["implicit"].append(time.perf_counter() - start)
        start = time.perf_counter()
        nearest_neighbors(split.train, K)
        cosines["ours"].append(time.perf_counter() - start)
    model.recommend(users[:N_WARM_UP], split.train[users[:N_WARM_UP]], N=20)
    start = time.perf_counter()
    lists, _ = model.recommend(users, split.train[users], N=20)
    theirs = time.perf_counter() - start
    ranker = UniversalRanker(split.train, "universal-base")
    ranker.top_k(users[:N_WARM_UP], 20)
    start = time.perf_counter()
    ours, _ = ranker.top_k(users, 20)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    ranker.item_item()
    related = time.perf_counter() - start
    start = time.perf_counter()
    fast, _ = ranker.top_k(users, 20, fast=True)
    return {
        "what": f"{dataset}, against implicit",
        "users": len(users),
        "fast_lists_s": time.perf_counter() - start,
        "item_item_s": related,
        "fast_ndcg@20": split.ndcg_of_lists(users, fast),
        "cosine_s": min(cosines["ours"]),
        "implicit_cosine_s": min(cosines["implicit"]),
        "lists_s": seconds,
        "implicit_lists_s": theirs,
        "ndcg@20": split.ndcg_of_lists(users, ours),
        "implicit_ndcg@20": split.ndcg_of_lists(users, lists),
    }


def update(data_path: str) -> dict:
    """A twentieth of yelp2018's training interactions arrives later."""
    split = PublishedSplit("yelp2018", data_path, 2020, 4000)
    users = split.test_users
    rows, columns = split.train.nonzero()
    late = np.random.default_rng(0).random(len(rows)) < 0.05
    ones = np.ones(int((~late).sum()), dtype=np.float32)
    early = sp.csr_matrix((ones, (rows[~late], columns[~late])), shape=split.train.shape)
    ranker = UniversalRanker(early, "universal-base")
    result = {"what": "yelp2018, update", "late": int(late.sum())}
    alone = np.random.default_rng(1).choice(np.flatnonzero(late), N_ALONE, replace=False)  # these arrive one by one
    late[alone] = False
    result["before"] = split.ndcg_of_lists(users, ranker.top_k(users, 20)[0])
    start = time.perf_counter()
    ranker.update(rows[late], columns[late])
    result["update_s"] = time.perf_counter() - start
    result["updated"] = split.ndcg_of_lists(users, ranker.top_k(users, 20)[0])
    result["one_s"] = []
    for pair in alone:
        start = time.perf_counter()
        ranker.update(rows[[pair]], columns[[pair]])
        result["one_s"].append(time.perf_counter() - start)
    start = time.perf_counter()
    ranker = UniversalRanker(split.train, "universal-base")
    result["rebuild_s"] = time.perf_counter() - start
    result["rebuilt"] = split.ndcg_of_lists(users, ranker.top_k(users, 20)[0])
    return result


def sampled(argument: tuple[str, float, str]) -> dict:
    """NDCG@20 if the first passes of the filters read a share of the interactions."""
    dataset, share, data_path = argument
    split = PublishedSplit(dataset, data_path, 2020, SAMPLES[dataset][0])
    item_models._FIRST_PASSES = round(share * split.train.nnz)  # in this process alone
    lists, _ = UniversalRanker(split.train, "universal-base").top_k(split.test_users, 20)
    score = split.ndcg_of_lists(split.test_users, lists)
    return {
        "what": f"{dataset}, sample of {share:.0%}",
        "dataset": dataset,
        "users": len(split.test_users),
        "share": share,
        "ndcg@20": score,
    }


def grown(argument: tuple[float, int]) -> dict:
    """Features and ranking on generated data."""
    millions, n_sample = argument
    users, items = (int(size * millions**0.5) for size in (USERS_1M, ITEMS_1M))
    matrix = generate.matrix(users, items, int(millions * 1e6))
    start = time.perf_counter()
    ranker = UniversalRanker(matrix, "universal-base")
    fitted = time.perf_counter()
    able = np.flatnonzero(np.diff(matrix.indptr))
    drawn = np.random.default_rng(0).permutation(able)
    sample = np.sort(drawn[:n_sample])
    # The first list of a process loads compiled loops and makes tables. So other users get lists that are not timed.
    ranker.top_k(drawn[-N_WARM_UP:], 20)
    start_ranking, processor = time.perf_counter(), time.process_time()
    ranker.top_k(sample, 20)
    end, processor = time.perf_counter(), time.process_time() - processor
    ranker.item_item()
    related = time.perf_counter()
    ranker.top_k(sample, 20, fast=True)
    return {
        "fast_ms_a_user": (time.perf_counter() - related) / len(sample) * 1e3,
        "item_item_s": related - end,
        "what": f"generated, {millions:g} M draws",
        "users": users,
        "items": items,
        "interactions": int(matrix.nnz),
        "ranked": len(sample),
        "features_s": fitted - start,
        "ms_a_user": (end - start_ranking) / len(sample) * 1e3,
        "cpu_ms_a_user": processor / len(sample) * 1e3,
        "seconds": end - start,
    }


def all_users(millions: float) -> dict:
    """From generated interactions to recommendations of all users; the shape is that of MovieLens 20M."""
    users, items = 138_000, 27_000
    matrix = generate.matrix(users, items, int(millions * 1e6))
    start = time.perf_counter()
    ranker = UniversalRanker(matrix, "universal-base")
    fitted = time.perf_counter()
    able = np.flatnonzero(np.diff(matrix.indptr))
    ranker.top_k(able, 20)
    end = time.perf_counter()
    ranker.top_k(able, 20, fast=True)
    return {
        "fast_s": time.perf_counter() - end,
        "what": f"all users of {millions:g} M draws",
        "users": len(able),
        "items": items,
        "interactions": int(matrix.nnz),
        "features_s": fitted - start,
        "ranking_s": end - fitted,
        "seconds": end - start,
    }


def _stock(data_path: str) -> dict:
    return {"what": STOCK, **stock(data_path)}


def _busy(argument: tuple[str, str]) -> dict:
    return busy(*argument)


def measured(function, argument, output: Path) -> None:
    """Run a measurement in a fresh process and append its result."""
    load = os.getloadavg()[0]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply(_with_peak, (function, argument))
    result |= {"threads": torch.get_num_threads(), "torch": torch.__version__, "load": load}
    result["version"] = recbole_universal.__version__
    add_result(output, result)


def _with_peak(function, argument) -> dict:
    logging.disable(logging.WARNING)
    return {**function(argument), "peak_gib": peak_gib()}


def main() -> None:
    parser = parser_with(__doc__, "data-path", "output", "report", output=Path("speed.jsonl"))
    parser.add_argument("--part", choices=["yelp2018", "implicit", "update", "sample", "growth", "whole", "busy"])
    parser.add_argument("--sizes", nargs="*", type=float, default=[1, 4, 16], help="millions of draws of growth")
    parser.add_argument("--sample", type=int, default=2000, help="users that growth ranks")
    arguments = parse(parser)
    data_path = arguments.data_path
    parts = {
        "yelp2018": [
            *((epoch, (data_path, size)) for size in BATCHES),
            (ranking, data_path),
            (fast_ranking, data_path),
            (_stock, data_path),
        ],
        "implicit": [(against_implicit, (dataset, data_path)) for dataset in ("yelp2018", "ml-1m")],
        "update": [(update, data_path)],
        "sample": [(sampled, (name, share, data_path)) for name, (_, shares) in SAMPLES.items() for share in shares],
        "growth": [(grown, (millions, arguments.sample)) for millions in arguments.sizes],
        "whole": [(all_users, 20.0)],
        "busy": [(_busy, (dataset, data_path)) for dataset in ("yelp2018", "ml-1m")],
    }
    for function, argument in parts.get(arguments.part, ()):
        measured(function, argument, arguments.output)
    if arguments.report:
        fill(arguments.report, tables_of(read_results(arguments.output)))


if __name__ == "__main__":
    main()
