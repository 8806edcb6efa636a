"""Time and memory of the sequential model: against one epoch of SASRec, and as the data grow.

    python benchmarks/next_item_speed.py --part epoch --data-path DATA --output OUT/next_item_speed.jsonl
    python benchmarks/next_item_speed.py --part growth --sizes 1 4 16 --output OUT/next_item_speed.jsonl
    python benchmarks/next_item_speed.py --output OUT/next_item_speed.jsonl --report docs/next_item.md

Each measurement runs in a new process, as those of benchmarks/speed.py.
"""

from __future__ import annotations

import time
from pathlib import Path

import generate
import numpy as np
import torch
from harness import FIVE_CORE, IN_TIME_ORDER, parse, parser_with, read_results
from ordered_split import OrderedSplit
from report import fill, table_of
from speed import ITEMS_1M, USERS_1M, measured, peak_gib
from speed_tables import exponents

from recbole_universal.graph.histories import Histories
from recbole_universal.ranking.ranker import UniversalRanker

#: Batches of an epoch that are timed, after two others.
N_BATCHES = 8
DATASET, MODEL = "amazon-sports", "universal-sequential"
EPOCH = {
    "dataset": ("dataset", ""),
    "histories": ("users", ",.0f"),
    "fit, s": ("features_s", ".0f"),
    "ranking, s": ("ranking_s", ".0f"),
    "ms a history": ("ms_a_user", ".2f"),
    "peak GiB": ("ranking_peak_gib", ".2f"),
    "epoch of SASRec, s": ("epoch_s", ".0f"),
    "fit and ranking / epoch": ("ratio", ".2f"),
}
GROWTH = {
    "interactions": ("interactions", ",.0f"),
    "users": ("users", ",.0f"),
    "items": ("items", ",.0f"),
    "fit, s": ("features_s", ".1f"),
    "ms a history": ("ms_a_user", ".2f"),
    "peak GiB": ("peak_gib", ".2f"),
}


def against_epoch(data_path: str) -> dict:
    """Fit and lists of all users of a dataset, and part of an epoch of RecBole's SASRec with cross-entropy."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, init_seed

    split = OrderedSplit(DATASET, data_path, 0)
    train, queries = split.test.train, split.test.queries
    start = time.perf_counter()
    ranker = UniversalRanker(train.matrix(split.n_items), MODEL, histories=train)
    fitted = time.perf_counter()
    ranker.top_k_of(queries, 10)
    end, peak = time.perf_counter(), peak_gib()
    keys = {"data_path": data_path, "show_progress": False, "state": "ERROR", "loss_type": "CE"}
    keys |= {"train_neg_sample_args": None, **FIVE_CORE, **IN_TIME_ORDER}
    config = Config("SASRec", DATASET, config_dict=keys)
    init_seed(config["seed"], True)
    batches, *_ = data_preparation(config, create_dataset(config))
    model = get_model("SASRec")(config, batches.dataset)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    begin = time.perf_counter()
    for done, batch in enumerate(batches):
        if done == 2:
            begin = time.perf_counter()
        if done == N_BATCHES + 2:
            break
        optimizer.zero_grad()
        model.calculate_loss(batch).backward()
        optimizer.step()
    epoch = (time.perf_counter() - begin) / N_BATCHES * len(batches)
    return {
        "what": "epoch",
        "dataset": DATASET,
        "users": len(queries),
        "features_s": fitted - start,
        "ranking_s": end - fitted,
        "ms_a_user": (end - fitted) / len(queries) * 1e3,
        "epoch_s": epoch,
        "ratio": (end - start) / epoch,
        "ranking_peak_gib": peak,
    }


def grown(argument: tuple[float, int]) -> dict:
    """Fit and lists on generated histories, each in random order."""
    millions, n_sample = argument
    users, items = (int(size * millions**0.5) for size in (USERS_1M, ITEMS_1M))
    matrix = generate.matrix(users, items, int(millions * 1e6))
    generator = np.random.default_rng(0)
    rows, columns = matrix.nonzero()
    order = generator.permutation(len(rows))
    histories = Histories.of_events(rows[order], columns[order], users)
    start = time.perf_counter()
    ranker = UniversalRanker(matrix, MODEL, histories=histories)
    fitted = time.perf_counter()
    sample = np.sort(generator.permutation(np.flatnonzero(histories.lengths))[:n_sample])
    ranker.top_k_of(histories[sample], 10)
    end = time.perf_counter()
    return {
        "what": f"generated, {millions:g} M draws",
        "users": users,
        "items": items,
        "interactions": int(matrix.nnz),
        "features_s": fitted - start,
        "ms_a_user": (end - fitted) / len(sample) * 1e3,
    }


def main() -> None:
    parser = parser_with(__doc__, "data-path", "output", "report", output=Path("next_item_speed.jsonl"))
    parser.add_argument("--part", choices=["epoch", "growth"])
    parser.add_argument("--sizes", nargs="*", type=float, default=[1, 4, 16], help="millions of draws of growth")
    parser.add_argument("--sample", type=int, default=2000, help="histories that growth ranks")
    arguments = parse(parser)
    if arguments.part == "epoch":
        measured(against_epoch, arguments.data_path, arguments.output)
    if arguments.part == "growth":
        for millions in arguments.sizes:
            measured(grown, (millions, arguments.sample), arguments.output)
    if arguments.report:
        last = {result["what"]: result for result in read_results(arguments.output)}
        epoch = [result for what, result in last.items() if what == "epoch"]
        growth = sorted((last[what] for what in last if what != "epoch"), key=lambda result: result["interactions"])
        labels = {"features_s": "time of the fit", "peak_gib": "memory"}
        tables = {"epoch": table_of(epoch, EPOCH), "growth": table_of(growth, GROWTH)}
        fill(arguments.report, {**tables, "exponents": exponents(growth, labels)})


if __name__ == "__main__":
    main()
