"""NDCG@10 of the next item: the frozen sequential model, training-free baselines, and models trained by RecBole.

    python benchmarks/next_item.py --data-path DATA --datasets amazon-toys --rows baselines frozen --output OUT
    python benchmarks/next_item.py --output OUT --report docs/next_item.md

Every row of a dataset sees the same split and the same queries. Each line of ``OUT/next_item.jsonl`` is a result. A run
that is started again skips the results in the file. ``--models`` is the file {row: {dataset: folder}} of
``benchmarks/pretrain.py --models universal-sequential --leave-out``. docs/next_item.md says how the figures are
measured.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from harness import Results, parse, parser_with
from ordered_baselines import ORDERED_BASELINES, ordered_baseline_ranks
from ordered_models import MIXED_ORDERED, TRAINED_ORDERED, trained_ordered_ranks
from ordered_split import OrderedSplit, ndcg_of_ranks
from report import cell, fill, markdown

from recbole_universal.app.analysis.order import shuffled as shuffled_histories
from recbole_universal.files import atomic_write
from recbole_universal.graph.histories import Histories
from recbole_universal.ranking.ranker import UniversalRanker

#: Frozen models by row, and the name of the shipped model.
FROZEN = {"sequential": "universal-sequential", "without order": "universal-base"}


def frozen_ranks(split: OrderedSplit, model: str) -> tuple[np.ndarray, dict]:
    """Test ranks of a frozen model, and its seconds."""
    start = time.perf_counter()
    train = split.test.train
    ranker = UniversalRanker(train.matrix(split.n_items), model, histories=train)
    fitted = time.perf_counter()

    @torch.no_grad()
    def scores(queries: Histories) -> np.ndarray:
        return ranker.network.score_histories(queries, exclude_seen=not split.repeats).numpy()

    ranks = split.evaluate(scores, "test")
    seconds = {"seconds_fit": fitted - start, "seconds": time.perf_counter() - start}
    return ranks, {**seconds, "fallback": ranker.fallback_reason()}


def shuffled(split: OrderedSplit) -> OrderedSplit:
    """The same split with the events of each training history and of each query in random order."""
    generator = np.random.default_rng(0)

    def mixed(histories: Histories) -> Histories:
        return shuffled_histories(histories, generator)

    split.valid = split.valid._replace(train=mixed(split.valid.train), queries=mixed(split.valid.queries))
    split.test = split.test._replace(train=mixed(split.test.train), queries=mixed(split.test.queries))
    return split


def ndcg_file(output: Path, result: dict) -> Path:
    """NDCG@10 of each query of a result, for paired comparisons."""
    return output / "next_item" / ("{dataset}-{split}-{max_users}-{row}.npy".format(**result))


def run(arguments) -> None:
    """Measure the rows that the results lack."""
    results = Results(arguments.output / "next_item.jsonl")
    groups = {"baselines": [*ORDERED_BASELINES], "frozen": [*FROZEN], "trained": [*TRAINED_ORDERED, *MIXED_ORDERED]}
    rows = [name for row in arguments.rows for name in groups.get(row, [row])]
    models = json.loads(arguments.models.read_text()) if arguments.models else {}
    left_out = models.get("zero-shot, universal-sequential", {})
    kind = ("in time" if arguments.in_time else "leave-one-out") + ", shuffled" * arguments.shuffled
    for dataset in arguments.datasets:
        setting = {"dataset": dataset, "split": kind, "max_users": arguments.max_users}
        missing = [row for row in rows if not results.has({**setting, "row": row})]
        if not missing:
            continue
        split = OrderedSplit(dataset, arguments.data_path, arguments.max_users, arguments.in_time)
        split = shuffled(split) if arguments.shuffled else split
        for row in missing:
            if row in FROZEN:
                model = left_out.get(dataset, FROZEN[row]) if row == "sequential" else FROZEN[row]
                ranks, more = frozen_ranks(split, model)
            elif row in TRAINED_ORDERED or row in MIXED_ORDERED:
                model = left_out.get(dataset, FROZEN["sequential"])
                checkpoints = arguments.output / "checkpoints"
                how = (arguments.rates, checkpoints, arguments.minutes)
                ranks, more = trained_ordered_ranks(split, row, arguments.data_path, model, *how)
            else:
                ranks, more = ordered_baseline_ranks(split, row)
            result = {**setting, "row": row, "n_queries": len(split.test.queries), **more}
            if ranks is not None:
                gains = ndcg_of_ranks(ranks)
                result |= {"ndcg@10": float(gains.mean()), "hr@10": float((ranks < 10).mean())}
                file = ndcg_file(arguments.output, result)
                file.parent.mkdir(parents=True, exist_ok=True)
                with atomic_write(file) as stream:
                    np.save(stream, gains)
            results.add(result)


def table(results: list[dict], split: str, output: Path) -> str:
    """NDCG@10 of all rows on the datasets of a split, the ratio to the best baseline, and its paired z-score."""
    frame = pd.DataFrame([row for row in results if row["split"] == split and "ndcg@10" in row and row["max_users"]])
    if frame.empty:
        return ""
    names = [*ORDERED_BASELINES, *FROZEN]
    names += [name for name in frame["row"].unique() if name not in names]
    lines, ratios = [], []
    for dataset, rows in frame.groupby("dataset", sort=False):
        of = rows.set_index("row")
        values = of["ndcg@10"]
        baselines = values[[name for name in ORDERED_BASELINES if name in values]]
        ratio = z = None
        if len(baselines) and "sequential" in values:
            best = baselines.idxmax()
            ratio = values["sequential"] / baselines[best]
            one, other = (
                np.load(ndcg_file(output, {**of.loc[n], "dataset": dataset, "row": n})) for n in ("sequential", best)
            )
            z = (one - other).mean() / max(1e-12, (one - other).std() / np.sqrt(len(one)))
            ratios.append(ratio)
        cells = [cell(values.get(name)) for name in names]
        lines.append([str(dataset), str(of["n_queries"].iloc[0]), *cells, cell(ratio, ".3f"), cell(z, "+.1f")])
    lines.append(["mean", "", *[""] * len(names), cell(float(np.mean(ratios)) if ratios else None, ".3f"), ""])
    return markdown(["dataset", "queries", *names, "ratio", "z"], lines)


def table_of_all_users(results: list[dict]) -> str:
    """NDCG@10 and HR@10 of the frozen models on all users."""
    rows = [row for row in results if row["split"] == "leave-one-out" and not row["max_users"] and "ndcg@10" in row]
    lines = [
        [row["dataset"], str(row["n_queries"]), row["row"], cell(row["ndcg@10"]), cell(row["hr@10"])] for row in rows
    ]
    return markdown(["dataset", "queries", "row", "NDCG@10", "HR@10"], lines) if lines else ""


def main() -> None:
    shared = ("data-path", "datasets", "models", "max-users", "output", "report")
    parser = parser_with(__doc__, *shared, max_users=2000)
    parser.add_argument(
        "--rows", nargs="*", default=["baselines", "frozen"], help="baselines, frozen, or names of rows"
    )
    parser.add_argument("--rates", nargs="*", type=float, default=[0.001, 0.003], help="learning rates of trained rows")
    parser.add_argument("--minutes", type=float, default=60, help="limit of the training at one learning rate")
    parser.add_argument("--in-time", action="store_true", help="one split in time in place of leave-one-out")
    parser.add_argument("--shuffled", action="store_true", help="shuffle each training history and query")
    arguments = parse(parser)
    if arguments.report:
        results = Results(arguments.output / "next_item.jsonl").rows
        splits = ("leave-one-out", "in time", "leave-one-out, shuffled")
        tables = {split: table(results, split, arguments.output) for split in splits}
        fill(arguments.report, {**tables, "all users": table_of_all_users(results)})
    else:
        run(arguments)


if __name__ == "__main__":
    main()
