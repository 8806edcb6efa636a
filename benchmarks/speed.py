"""Time and memory of zero-shot ranking: beside one epoch of LightGCN, and as the data grow.

    python benchmarks/speed.py --part yelp2018 --data-path DATA
    python benchmarks/speed.py --part peer --data-path DATA
    python benchmarks/speed.py --part update --data-path DATA
    python benchmarks/speed.py --part sample --data-path DATA
    python benchmarks/speed.py --part growth --sizes 1 4 16
    python benchmarks/speed.py --report docs/scale_results.md

Each measurement runs in a process of its own, whose peak resident memory is that of the measurement. ``yelp2018``:
from the published interactions in memory to Recall@20 and NDCG@20 of all users, with and without ``fast``, and
RecBole's LightGCN with its default embedding size (64) on the same interactions, in its default batches of 2048 and in
those of 8192 that the accuracy tables train it in, timed over the first batches of an epoch and scaled to all. ``peer``
(``pip install implicit``): item-item cosines and lists of 20 for all users by `implicit`'s CosineRecommender and by us,
with and without ``fast``, on the interactions of yelp2018 and ml-1m. ``update``: a twentieth of yelp2018's training
interactions arrives later, taken in by `UniversalRanker.update` or by building anew. ``sample``: what it costs that
items are related by a sample of the users, forced where it is not needed. ``growth``: generated interactions
(benchmarks/generate.py) of so many million draws; features of the whole data set, and ranking of a sample of users.
``whole``: 20 million draws of 138,000 users and 27,000 items, all users ranked.
One result a line in ``speed.jsonl``, with the load of the machine (processes that want a core) before it.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import recbole_universal

# isort: split
import generate
import pandas as pd
import scipy.sparse as sp
from results import add_result, read_results
from zero_shot import PublishedSplit

from recbole_universal import UniversalRanker
from recbole_universal.files import write_text
from recbole_universal.graph import scorers
from recbole_universal.graph.item_models import nearest_neighbors
from recbole_universal.metrics import ndcg

N_BATCHES = 40
EPOCH = "yelp2018, one epoch of LightGCN in batches of {}"
# RecBole's default, and what the accuracy tables train LightGCN in.
BATCHES = (2048, 8192)
# Shares of the interactions that a sample has.
SAMPLES = {"yelp2018": (1.0, 0.85, 0.42), "ml-1m": (1.0, 0.66, 0.33)}
# Neighbours of an item.
K = 100
# Interactions that arrive one by one.
N_ALONE = 10
# Users and items of one million draws; both grow with the square root of the draws, as in the data sets we know.
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

    def scores(users: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return ranker.network.score_all(torch.from_numpy(users)).numpy()

    metrics = split.evaluate(scores, "test")
    end = time.perf_counter()
    return {
        "what": "yelp2018, zero-shot",
        "users": len(split.test_users),
        "features_s": fitted - start,
        "ranking_s": end - fitted,
        "seconds": end - start,
        "recall@20": metrics["recall@20"],
        "ndcg@20": metrics["ndcg@20"],
    }


def fast_ranking(data_path: str) -> dict:
    """As :func:`ranking`, by the item-item matrix."""
    split = PublishedSplit("yelp2018", data_path, 2020, 0)
    start = time.perf_counter()
    ranker = UniversalRanker(split.train, "universal-base")
    lists, _ = ranker.top_k(split.test_users, 20, fast=True)
    score = ndcg_of_lists(split, split.test_users, lists)
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


def peer(argument: tuple[str, str]) -> dict:
    """Item-item cosines of implicit and ours in turns, of which the best counts, and lists of both for all users."""
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
    start = time.perf_counter()
    lists, _ = model.recommend(users, split.train[users], N=20)
    theirs = time.perf_counter() - start
    ranker = UniversalRanker(split.train, "universal-base")
    start = time.perf_counter()
    ours, _ = ranker.top_k(users, 20)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    ranker.item_item()
    related = time.perf_counter() - start
    start = time.perf_counter()
    fast, _ = ranker.top_k(users, 20, fast=True)
    return {
        "what": f"{dataset}, beside implicit",
        "users": len(users),
        "fast_lists_s": time.perf_counter() - start,
        "item_item_s": related,
        "fast_ndcg@20": ndcg_of_lists(split, users, fast),
        "cosine_s": min(cosines["ours"]),
        "implicit_cosine_s": min(cosines["implicit"]),
        "lists_s": seconds,
        "implicit_lists_s": theirs,
        "ndcg@20": ndcg_of_lists(split, users, ours),
        "implicit_ndcg@20": ndcg_of_lists(split, users, lists),
    }


def ndcg_of_lists(split: PublishedSplit, users: np.ndarray, lists: np.ndarray) -> float:
    """Mean NDCG of ranked lists, [n_users, k], on the test part."""
    hits = np.stack([np.isin(found, split.test[user].indices) for user, found in zip(users, lists, strict=True)])
    return float(ndcg(hits, np.diff(split.test.indptr)[users]).mean())


def update(data_path: str) -> dict:
    """A twentieth of yelp2018's training interactions arrives later."""
    split = PublishedSplit("yelp2018", data_path, 2020, 4000)
    users = split.test_users
    rows, columns = split.train.nonzero()
    late = np.random.default_rng(0).random(len(rows)) < 0.05
    ones = np.ones(int((~late).sum()), dtype=np.float32)
    early = sp.csr_matrix((ones, (rows[~late], columns[~late])), shape=split.train.shape)
    ranker = UniversalRanker(early, "universal-base")
    found = {"what": "yelp2018, update", "late": int(late.sum())}
    alone = np.random.default_rng(1).choice(np.flatnonzero(late), N_ALONE, replace=False)  # these arrive one by one
    late[alone] = False
    found["before"] = ndcg_of_lists(split, users, ranker.top_k(users, 20)[0])
    start = time.perf_counter()
    ranker.update(rows[late], columns[late])
    found["update_s"] = time.perf_counter() - start
    found["updated"] = ndcg_of_lists(split, users, ranker.top_k(users, 20)[0])
    found["one_s"] = []
    for pair in alone:
        start = time.perf_counter()
        ranker.update(rows[[pair]], columns[[pair]])
        found["one_s"].append(time.perf_counter() - start)
    start = time.perf_counter()
    ranker = UniversalRanker(split.train, "universal-base")
    found["rebuild_s"] = time.perf_counter() - start
    found["rebuilt"] = ndcg_of_lists(split, users, ranker.top_k(users, 20)[0])
    return found


def sampled(argument: tuple[str, float, str]) -> dict:
    """NDCG@20 of 2,000 users where items are related by a share of the interactions."""
    dataset, share, data_path = argument
    split = PublishedSplit(dataset, data_path, 2020, 2000)
    scorers._MOST_INTERACTIONS = round(share * split.train.nnz)  # in this process alone
    lists, _ = UniversalRanker(split.train, "universal-base").top_k(split.test_users, 20)
    score = ndcg_of_lists(split, split.test_users, lists)
    return {"what": f"{dataset}, sample of {share:.0%}", "dataset": dataset, "share": share, "ndcg@20": score}


def grown(argument: tuple[float, int]) -> dict:
    """Features and ranking on generated data."""
    millions, n_sample = argument
    users, items = (int(number * millions**0.5) for number in (USERS_1M, ITEMS_1M))
    matrix = generate.matrix(users, items, int(millions * 1e6))
    start = time.perf_counter()
    ranker = UniversalRanker(matrix, "universal-base")
    fitted = time.perf_counter()
    able = np.flatnonzero(np.diff(matrix.indptr))
    sample = np.sort(np.random.default_rng(0).permutation(able)[:n_sample])
    ranker.top_k(sample, 20)
    end = time.perf_counter()
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
        "ms_a_user": (end - fitted) / len(sample) * 1e3,
        "seconds": end - start,
    }


def whole(millions: float) -> dict:
    """From generated interactions to the lists of all users, the shape of MovieLens 20M."""
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


def measured(function, argument, output: Path) -> None:
    """Run a measurement in a fresh process and append its result."""
    load = os.getloadavg()[0]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply(_with_peak, (function.__name__, argument))
    result |= {"threads": torch.get_num_threads(), "torch": torch.__version__, "load": load}
    result["version"] = recbole_universal.__version__
    add_result(output, result)


def _with_peak(name: str, argument) -> dict:
    logging.disable(logging.WARNING)
    return {**globals()[name](argument), "peak_gib": peak_gib()}


def report(results: list[dict]) -> str:
    """Markdown page."""
    table = pd.DataFrame(results)
    lines = ["# Time and memory: measured", ""]
    last_of = table.drop_duplicates("what", keep="last").set_index("what")
    names = ["yelp2018, zero-shot", "yelp2018, zero-shot, fast", *(EPOCH.format(size) for size in BATCHES)]
    if set(names) <= set(last_of.index):
        ours, fast, *epochs = (last_of.loc[name] for name in names)
        lines += [
            f"yelp2018, published split, {int(ours['users'])} users ranked over all items, from interactions "
            f"to metrics: {ours['seconds']:.0f} s (fit {ours['features_s']:.0f}, scores {ours['ranking_s']:.0f}), "
            f"peak {ours['peak_gib']:.2f} GiB. With `fast`: {fast['seconds']:.0f} s, peak {fast['peak_gib']:.2f} GiB, "
            f"NDCG@20 {fast['ndcg@20']:.4f} instead of {ours['ndcg@20']:.4f}.",
            "",
            "| beside one training epoch of RecBole's LightGCN, in batches of | s | batches timed | peak GiB | "
            "zero-shot by it | `fast` by it |",
            "|---|---|---|---|---|---|",
        ]
        for size, theirs in zip(BATCHES, epochs, strict=True):
            ratios = (f"{own['seconds'] / theirs['seconds']:.2f}" for own in (ours, fast))
            lines.append(
                f"| {size} | {theirs['seconds']:.0f} | {int(theirs['timed'])} of {int(theirs['batches'])} | "
                f"{theirs['peak_gib']:.2f} | {' | '.join(ratios)} |"
            )
        lines.append("")
    for _, row in table[table["what"].str.startswith("all users")].drop_duplicates("what", keep="last").iterrows():
        lines += [
            f"{int(row['interactions']):,} generated interactions of {int(row['users']):,} users with "
            f"{int(row['items']):,} items, lists of 20 for all users: {row['seconds'] / 60:.1f} min (fit "
            f"{row['features_s']:.0f} s, ranking {row['ranking_s'] / row['users'] * 1e3:.1f} ms a user), peak "
            f"{row['peak_gib']:.2f} GiB; lists with `fast` in {row['fast_s']:.0f} s after the same fit.",
            "",
        ]
    beside = table[table["what"].str.endswith("beside implicit")].drop_duplicates("what", keep="last")
    for _, row in beside.iterrows():
        lines += [
            f"{row['what'].split(',')[0]} beside `implicit`: item-item cosines to the {K} nearest "
            f"{row['cosine_s']:.2f} s, implicit {row['implicit_cosine_s']:.2f} s (ratio "
            f"{row['cosine_s'] / row['implicit_cosine_s']:.2f}). "
            f"Lists of 20 for {int(row['users']):,} users: {row['lists_s']:.1f} s, NDCG@20 {row['ndcg@20']:.4f}; with "
            f"`fast` {row['fast_lists_s']:.2f} s ({row['item_item_s']:.1f} s once before them), "
            f"{row['fast_ndcg@20']:.4f}; implicit {row['implicit_lists_s']:.2f} s, {row['implicit_ndcg@20']:.4f}.",
            "",
        ]
    for _, row in table[table["what"].str.endswith(", update")].tail(1).iterrows():
        lines += [
            f"{int(row['late']):,} interactions of yelp2018 (a twentieth) that arrive later: `UniversalRanker.update` "
            f"{row['update_s']:.1f} s, ten of them one by one {min(row['one_s']):.2f} to {max(row['one_s']):.2f} s "
            f"each, a new ranker {row['rebuild_s']:.1f} s. NDCG@20 of 4,000 users without them {row['before']:.4f}, "
            f"updated {row['updated']:.4f}, built anew {row['rebuilt']:.4f}.",
            "",
        ]
    drawn = last_of[last_of.index.str.contains(", sample of ")]
    for dataset, rows in drawn.groupby("dataset", sort=False) if len(drawn) else ():
        said = ", ".join(f"{row['share']:.0%} {row['ndcg@20']:.4f}" for _, row in rows.iterrows())
        lines += [f"{dataset}, items related by a share of the interactions, NDCG@20 of 2,000 users: {said}.", ""]
    growth = table[table["what"].str.startswith("generated")].drop_duplicates("what", keep="last")
    if len(growth):
        lines += [
            "| interactions | users | items | features, s | ms a ranked user | item-item matrix, s | "
            "ms a user with `fast` | peak GiB |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for _, row in growth.sort_values("interactions").iterrows():
            lines.append(
                f"| {int(row['interactions']):,} | {int(row['users']):,} | {int(row['items']):,} | "
                f"{row['features_s']:.1f} | {row['ms_a_user']:.2f} | {row['item_item_s']:.1f} | "
                f"{row['fast_ms_a_user']:.2f} | {row['peak_gib']:.2f} |".replace(" nan ", " - ")
            )
    if len(growth) > 1:
        growth = growth.sort_values("interactions")
        size = np.log(growth["interactions"].astype(float).to_numpy())
        said = []
        labels = {"features_s": "time of the features", "item_item_s": "of the item-item matrix", "peak_gib": "memory"}
        for name, label in labels.items():
            value = np.log(growth[name].astype(float).to_numpy())
            known = np.isfinite(value)
            power = np.polyfit(size[known], value[known], 1)[0]
            steps = np.diff(value[known]) / np.diff(size[known])
            said.append(f"{label} {power:.2f} (from one size to the next at most {steps.max():.2f})")
        lines += ["", f"Exponent of growth: {', '.join(said)}."]
    loads = [f"{result['load']:.1f}" for result in results if "load" in result]
    if loads:
        lines += [
            "",
            f"Load average before each measurement that recorded it, to which the one before adds: {', '.join(loads)}.",
        ]
    last = results[-1]
    lines += ["", f"Made by `make speed`; {last['threads']} threads, PyTorch {last['torch']}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["yelp2018", "peer", "update", "sample", "growth", "whole"])
    parser.add_argument("--data-path", default="dataset/")
    parser.add_argument("--sizes", nargs="*", type=float, default=[1, 4, 16])
    parser.add_argument("--output", type=Path, default=Path("speed.jsonl"))
    parser.add_argument("--report", type=Path, help="write the Markdown page of what is there")
    parser.add_argument("--sample", type=int, default=2000, help="users that growth ranks")
    arguments = parser.parse_args()
    sys.argv = sys.argv[:1]  # RecBole would read the rest as config
    if arguments.part == "yelp2018":
        for batch_size in BATCHES:
            measured(epoch, (arguments.data_path, batch_size), arguments.output)
        measured(ranking, arguments.data_path, arguments.output)
        measured(fast_ranking, arguments.data_path, arguments.output)
    if arguments.part == "peer":
        for dataset in ("yelp2018", "ml-1m"):
            measured(peer, (dataset, arguments.data_path), arguments.output)
    if arguments.part == "update":
        measured(update, arguments.data_path, arguments.output)
    if arguments.part == "sample":
        for dataset, shares in SAMPLES.items():
            for share in shares:
                measured(sampled, (dataset, share, arguments.data_path), arguments.output)
    if arguments.part == "growth":
        for millions in arguments.sizes:
            measured(grown, (millions, arguments.sample), arguments.output)
    if arguments.part == "whole":
        measured(whole, 20.0, arguments.output)
    if arguments.report:
        results = read_results(arguments.output)
        write_text(arguments.report, report(results))
        print(report(results))


if __name__ == "__main__":
    main()
